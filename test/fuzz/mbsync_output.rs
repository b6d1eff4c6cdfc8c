//! What mbsync prints, and what became of its run (`syncer::mbsync::judge`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use mailsync_module::syncer::outcome::{Exit, judge};
use mailsync_module::syncer::plan::Plan;
use mailsync_module::syncer::{Memory, Order, Outcome, Output, Program, Scope, Syncer};

use crate::fuzzing::{Stock, assert_shown, each, only};
use crate::{folder, printed};

const WORDS: [&[u8]; 20] = [
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
];

/// A line for the user is no longer than this: what happened, the program's words, what to do.
const LONGEST: usize = 1200;

#[test]
fn mbsync_output() {
    let stock = Stock::of("mbsync_output", &WORDS)
        .with_literals(include_str!("../../src/syncer/mbsync/judge/tests.rs"));
    let folders = [folder("a"), folder("b\nc"), folder("d")];
    let program = Program::Mbsync {
        program: "mbsync".into(),
        target: None,
        config: None,
        args: Vec::new(),
    };
    let syncer = Arc::new(Syncer {
        success: vec![9],
        ..Syncer::new(program)
    });
    let order = |scope| Order::new("mine", syncer.clone(), scope);
    let orders = [
        order(Scope::Everything),
        order(Scope::Folders(folders.to_vec())),
    ];
    let names: HashMap<Vec<u8>, Arc<Path>> = folders
        .iter()
        .map(|it| ([b"c:", &it.name[..]].concat(), it.real.clone()))
        .collect();
    each("mbsync_output", 10_000, |chance| {
        let text = stock.input(chance);
        if only().is_some() {
            println!("{}", text.escape_ascii());
        }
        let output = printed(chance, text);
        let at = chance.index(2);
        let order = &orders[at];
        let plan = Plan {
            argv: Vec::new(),
            environment: Vec::new(),
            everything: at == 0 || chance.once_in(4),
            names: names.clone(),
            memory: Memory::default(),
            config: Some("/rc".into()),
        };
        let exit = match chance.index(8) {
            0..=3 => Exit::Code(0),
            4 => Exit::Code(9),
            5 => Exit::Signal(15),
            _ => Exit::Code(1),
        };
        let verdict = judge(order, &plan, exit, &output);
        assert_shown(&verdict.text, LONGEST);
        match verdict.outcome {
            Outcome::Ok => {
                assert!(verdict.text.is_empty() && verdict.failed.is_empty());
                assert!(matches!(exit, Exit::Code(0 | 9)), "it failed");
            }
            Outcome::Partial => assert!(!verdict.text.is_empty()),
            _ => assert!(!verdict.text.is_empty() && verdict.failed.is_empty()),
        }
        // Nothing fails but what there is.
        let known = |real: &Arc<Path>| folders.iter().any(|it| it.real == *real);
        assert!(verdict.failed.iter().all(known));
        assert!(verdict.failed.is_sorted_by(|one, other| one < other));
        // It says so every time.
        assert_eq!(judge(order, &plan, exit, &output), verdict);
        let nothing = judge(order, &plan, Exit::Code(0), &Output::default());
        assert_eq!(nothing.outcome, Outcome::Ok);
    });
}
