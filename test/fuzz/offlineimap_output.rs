//! What OfflineIMAP prints, and what became of its run (`syncer::offlineimap::Report`, `judge`).

use std::collections::BTreeSet;

use mailsync_module::syncer::offlineimap::Report;
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
    b":",
    b"%0A",
    b"%1B",
    b"%+1",
    b"%25",
    b"+",
    b"ERROR: ",
    b"ERROR: Exceptions occurred during the run!\n",
    b"msg:syncingfolder:t:",
    b"error::t:",
    b"warn:validityproblem:t:",
    b"msg:getpass:t:x\n",
    b"UID validity problem for folder ",
    b" (repo",
    b"Aborting sync, folder '",
    b"' [acc: ",
];

#[test]
fn offlineimap_output() {
    let stock = Stock::of("offlineimap_output", &WORDS)
        .with_literals(include_str!("../../src/syncer/offlineimap/judge/tests.rs"))
        .with_literals(include_str!("../../src/syncer/offlineimap/report.rs"));
    let program = Program::OfflineImap {
        program: "offlineimap".into(),
        account: "home".to_owned(),
        config: Some("/nowhere/rc".into()),
        args: Vec::new(),
    };
    let runs = Runs::of(program, 42, ["a", "a/b", "d"], |folder| {
        folder.name.to_vec()
    });
    each("offlineimap_output", 10_000, |chance| {
        let text = stock.input(chance);
        if only().is_some() {
            println!("{}", text.escape_ascii());
        }
        let length = text.len();
        let output = printed(chance, text);
        let machine = chance.once_in(2);
        let report = Report::of(&output, machine);
        let distinct: BTreeSet<&String> = report.errors.iter().collect();
        assert_eq!(distinct.len(), report.errors.len(), "an error twice");
        let texts = report.errors.iter().chain(&report.remarks).map(String::len);
        let pairs = report
            .synced
            .iter()
            .map(|(one, other)| one.len() + other.len());
        // A byte that is no text is three, a remark of ours is a few words about a short line.
        let bytes: usize = texts.chain(pairs).sum();
        assert!(bytes <= 8 * length, "{bytes} of {length}");
        // Kept in one line each, whatever ends lines elsewhere.
        assert!(report.remarks.iter().all(|it| !it.contains('\n')));
        let exit = match chance.index(6) {
            0..=2 => Exit::Code(0),
            3 => Exit::Code(42),
            4 => Exit::Signal(9),
            _ => Exit::Code(1),
        };
        let interface = if machine { "machineui" } else { "quiet" };
        let argv = ["/bin/offlineimap", "-u", interface];
        let verdict = runs.judged(chance, &argv, exit, &output);
        assert!(verdict.outcome != Outcome::Ok || report.errors.is_empty());
        assert!(verdict.memory.remote_names.len() <= report.synced.len());
    });
}
