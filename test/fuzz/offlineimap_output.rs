//! What OfflineIMAP prints, and what became of its run (`syncer::offlineimap::Report`, `judge`).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use mailsync_module::syncer::offlineimap::Report;
use mailsync_module::syncer::outcome::{Exit, judge};
use mailsync_module::syncer::plan::Plan;
use mailsync_module::syncer::{Memory, Order, Outcome, Output, Program, Scope, Syncer};

use crate::fuzzing::{Stock, assert_shown, each, only};
use crate::{folder, printed};

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

const LONGEST: usize = 1200;

#[test]
fn offlineimap_output() {
    let stock = Stock::of("offlineimap_output", &WORDS)
        .with_literals(include_str!("../../src/syncer/offlineimap/judge/tests.rs"))
        .with_literals(include_str!("../../src/syncer/offlineimap/report.rs"));
    let folders = [folder("a"), folder("a/b"), folder("d")];
    let program = Program::OfflineImap {
        program: "offlineimap".into(),
        account: "home".to_owned(),
        config: Some("/nowhere/rc".into()),
        args: Vec::new(),
    };
    let syncer = Arc::new(Syncer {
        success: vec![42],
        ..Syncer::new(program)
    });
    let order = |scope| Order::new("mine", syncer.clone(), scope);
    let orders = [
        order(Scope::Everything),
        order(Scope::Folders(folders.to_vec())),
    ];
    let names: HashMap<Vec<u8>, Arc<Path>> = folders
        .iter()
        .map(|it| (it.name.to_vec(), it.real.clone()))
        .collect();
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
        let at = chance.index(2);
        let interface = if machine { "machineui" } else { "quiet" };
        let plan = Plan {
            argv: ["/bin/offlineimap", "-u", interface]
                .map(Into::into)
                .to_vec(),
            environment: Vec::new(),
            everything: at == 0,
            names: names.clone(),
            memory: Memory::default(),
            config: Some("/nowhere/rc".into()),
        };
        let exit = match chance.index(6) {
            0..=2 => Exit::Code(0),
            3 => Exit::Code(42),
            4 => Exit::Signal(9),
            _ => Exit::Code(1),
        };
        let order = &orders[at];
        let verdict = judge(order, &plan, exit, &output);
        assert_shown(&verdict.text, LONGEST);
        if verdict.outcome == Outcome::Ok {
            assert!(verdict.text.is_empty() && verdict.failed.is_empty());
            assert!(report.errors.is_empty() && matches!(exit, Exit::Code(0 | 42)));
        } else {
            assert!(!verdict.text.is_empty());
        }
        let known = |real: &Arc<Path>| folders.iter().any(|it| it.real == *real);
        assert!(verdict.failed.iter().all(known));
        assert!(verdict.memory.remote_names.len() <= report.synced.len());
        assert_eq!(judge(order, &plan, exit, &output), verdict);
        let nothing = judge(order, &plan, Exit::Code(0), &Output::default());
        assert_eq!(nothing.outcome, Outcome::Ok);
    });
}
