//! What mbsync prints, and what became of its run (`syncer::mbsync::judge`).

use mailsync_module::syncer::outcome::Exit;
use mailsync_module::syncer::{Outcome, Program};

use crate::fuzzing::{Stock, each, only};
use crate::{Runs, printed};

const WORDS: [&[u8]; 22] = [
    b"\n",
    b"\r",
    b"\0",
    b"\x1b[1m",
    b"\xff",
    "é".as_bytes(),
    b"Error: ",
    b"Maildir error: ",
    b"IMAP error: ",
    b"Warning: channel c",
    b"Error: channel c: far side box ",
    b"Error: channel c: both far side ",
    b" and near side ",
    b" cannot be opened",
    b" is locked",
    b" changed.",
    b": ",
    b"UIDVALIDITY",
    b"duplicate UID 3.",
    b"timeout.",
    b"IMAP command 'CREATE \"a\"' returned an error: NO ",
    b"[CANNOT]",
];

#[test]
fn mbsync_output() {
    let stock = Stock::of("mbsync_output", &WORDS)
        .with_literals(include_str!("../../src/syncer/mbsync/judge/tests.rs"));
    let program = Program::Mbsync {
        program: "mbsync".into(),
        target: None,
        config: None,
        args: Vec::new(),
    };
    let runs = Runs::of(program, 9, ["a", "b\nc", "d"], |folder| {
        [b"c:", &folder.name[..]].concat()
    });
    each("mbsync_output", 10_000, |chance| {
        let text = stock.input(chance);
        if only().is_some() {
            println!("{}", text.escape_ascii());
        }
        let output = printed(chance, text);
        let exit = match chance.index(8) {
            0..=3 => Exit::Code(0),
            4 => Exit::Code(9),
            5 => Exit::Signal(15),
            _ => Exit::Code(1),
        };
        let verdict = runs.judged(chance, &[], exit, &output);
        let partial = verdict.outcome == Outcome::Partial;
        assert!(partial || verdict.failed.is_empty());
        assert!(verdict.failed.is_sorted_by(|one, other| one < other));
    });
}
