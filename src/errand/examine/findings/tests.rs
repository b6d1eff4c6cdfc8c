//! Every finding once, by facts: what is so on few machines, too.

use super::*;
use crate::errand::examine::facts::Folder;
use crate::syncer::inspect::Wait;

const OK: Level = Level::Ok;
const NOTE: Level = Level::Note;
const WARNING: Level = Level::Warning;
const PROBLEM: Level = Level::Problem;

/// Check, level, and what the text, the remedy and the place have in them.
type Expected = (
    &'static str,
    Level,
    &'static str,
    &'static str,
    &'static str,
);

fn expect(what: &str, findings: &[Finding], expected: &[Expected]) {
    let matches = |finding: &Finding, (check, level, text, remedy, place): Expected| {
        finding.check == check
            && finding.level == level
            && finding.text.contains(text)
            && finding.remedy.contains(remedy)
            && finding.place == place
    };
    let all = findings.len() == expected.len()
        && (findings.iter().zip(expected)).all(|(finding, it)| matches(finding, *it));
    assert!(all, "{what}: {findings:#?}");
    for finding in findings {
        let nothing = finding.level == OK;
        assert_eq!(finding.remedy.is_empty(), nothing, "{what}: {finding:?}");
        let lines = [&finding.text, &finding.remedy]
            .iter()
            .any(|it| it.contains('\n'));
        assert!(!lines, "{what}: {finding:?}");
    }
}

fn folder(name: &str) -> Folder {
    Folder {
        name: name.as_bytes().to_vec(),
        directory: format!("/m/{name}").into(),
        real: format!("/m/{name}").into(),
    }
}

fn there() -> There {
    There {
        real: "/m".into(),
        writable: true,
        kind: Some(0xef53),
        tree: Some(Tree {
            folders: vec![folder("a"), folder("b")],
            nested: 2,
            ..Tree::default()
        }),
        ..There::default()
    }
}

fn root(change: impl FnOnce(&mut Root, &mut There)) -> Account {
    let mut root = Root {
        spelled: "/m".into(),
        layout: Layout::Auto,
        poll: None,
        shared: Vec::new(),
        found: Found::Missing,
    };
    let mut there = there();
    change(&mut root, &mut there);
    root.found = Found::There(Box::new(there));
    Account {
        name: "w".to_owned(),
        roots: vec![root],
        ..Account::default()
    }
}

/// Of an account without a syncer.
const NO_SYNCER: Expected = ("syncer", OK, "no :syncer", "", "");
const ON_DISK: Expected = ("file system", OK, "on ext4: the kernel tells", "", "");
const NESTED: Expected = ("layout", OK, "2 folders in /m, nested", "", "");

#[test]
fn a_maildir_that_is_not_as_it_should_be() {
    let silent = "has not answered for 4 seconds";
    let table = [
        (Found::Silent, silent, "findmnt -T /m", ""),
        (
            Found::Missing,
            "there is no directory /m",
            ":maildir",
            ACCOUNTS,
        ),
        (
            Found::NotADirectory,
            "not a directory",
            ":maildir",
            ACCOUNTS,
        ),
        (
            Found::Refused("Permission denied".to_owned()),
            "cannot be read: Permission denied",
            "chmod",
            "",
        ),
    ];
    for (found, text, remedy, place) in table {
        let mut facts = root(|_, _| {});
        facts.roots[0].found = found;
        let expected = [("directory", PROBLEM, text, remedy, place), NO_SYNCER];
        expect(text, &account(&facts), &expected);
    }
}

#[test]
fn a_maildir_that_is_there() {
    type Change = fn(&mut Root, &mut There);
    let directory = "directory";
    let system = "file system";
    let table: [(Change, Vec<Expected>); 17] = [
        (|_, _| {}, vec![ON_DISK, NESTED]),
        (
            |_, it| it.owner = 7,
            vec![
                (
                    directory,
                    WARNING,
                    "belongs to the user number 7",
                    "chown",
                    "",
                ),
                ON_DISK,
                NESTED,
            ],
        ),
        (
            |_, it| it.writable = false,
            vec![
                (directory, WARNING, "may not write", "chmod u+w", ""),
                ON_DISK,
                NESTED,
            ],
        ),
        (
            |_, it| (it.kind, it.remote) = (Some(0x6969), true),
            vec![
                (
                    system,
                    NOTE,
                    "on NFS: the kernel does not",
                    ":poll",
                    ACCOUNTS,
                ),
                NESTED,
            ],
        ),
        (
            |root, it| {
                (it.kind, it.remote) = (Some(0x6573_5546), true);
                root.poll = Some(Duration::from_secs(30));
            },
            vec![
                (system, OK, "on FUSE, and looked at every 30 s", "", ""),
                NESTED,
            ],
        ),
        (
            |_, it| (it.kind, it.remote) = (Some(1), true),
            vec![(system, NOTE, "on a network", ":poll", ACCOUNTS), NESTED],
        ),
        (
            |_, it| it.kind = Some(0x794c_7630),
            vec![(system, NOTE, "on an overlay", ":poll", ACCOUNTS), NESTED],
        ),
        (
            |root, it| {
                it.kind = Some(0x794c_7630);
                root.poll = Some(Duration::from_secs(30));
            },
            vec![(system, OK, "overlay, and looked at", "", ""), NESTED],
        ),
        (
            |root, _| root.poll = Some(Duration::from_millis(500)),
            vec![
                (
                    system,
                    NOTE,
                    "yet looked at every 0.5 s",
                    "take :poll out",
                    ACCOUNTS,
                ),
                NESTED,
            ],
        ),
        (
            |_, it| it.kind = None,
            vec![(system, OK, "on a local disk", "", ""), NESTED],
        ),
        (
            |_, it| it.tree = None,
            vec![
                ON_DISK,
                ("folders", NOTE, "still being read", "press g", ""),
            ],
        ),
        (
            |_, it| it.tree = Some(Tree::default()),
            vec![
                ON_DISK,
                (
                    "folders",
                    WARNING,
                    "no folder is in /m",
                    ":maildir",
                    ACCOUNTS,
                ),
            ],
        ),
        (
            |_, it| {
                let tree = it.tree.as_mut().unwrap();
                tree.problems = ["1", "2", "3", "4"].map(str::to_owned).into();
            },
            vec![
                ON_DISK,
                (
                    "folders",
                    WARNING,
                    "4 directories in /m cannot be read: 1, 2, 3 and 1 more",
                    "chmod",
                    "",
                ),
                NESTED,
            ],
        ),
        (
            |root, it| {
                root.layout = Layout::MaildirPlusPlus;
                it.tree.as_mut().unwrap().beyond = vec![b"x\ny".to_vec()];
            },
            vec![
                ON_DISK,
                (
                    "layout",
                    WARNING,
                    "1 folder in /m, such as x?y, do not lie as :layout maildir++",
                    ":layout",
                    ACCOUNTS,
                ),
            ],
        ),
        (
            |_, it| it.tree.as_mut().unwrap().dotted = 1,
            vec![
                ON_DISK,
                ("layout", NOTE, "two layouts: 1", ":layout", ACCOUNTS),
            ],
        ),
        (
            |_, it| {
                let tree = it.tree.as_mut().unwrap();
                (tree.dotted, tree.nested) = (1, 0);
            },
            vec![ON_DISK, ("layout", OK, "Maildir++", "", "")],
        ),
        (
            |root, _| root.shared = vec!["other".to_owned()],
            vec![
                ON_DISK,
                NESTED,
                (
                    directory,
                    WARNING,
                    "a maildir of other, too",
                    "one account",
                    ACCOUNTS,
                ),
            ],
        ),
    ];
    for (at, (change, mut expected)) in table.into_iter().enumerate() {
        expected.push(NO_SYNCER);
        expect(&at.to_string(), &account(&root(change)), &expected);
    }
}

fn syncer(called: &str, change: impl FnOnce(&mut Syncer, &mut Inspection)) -> Account {
    let mut inspection = Inspection {
        file: "/rc".into(),
        synced: 2,
        places: vec![("MaildirStore n".to_owned(), "/m".into())],
        waits: vec![Wait {
            of: "acc".to_owned(),
            seconds: 20,
        }],
        ..Inspection::default()
    };
    let mut syncer = Syncer {
        called: called.to_owned(),
        program: Ok("/bin/it".into()),
        inspection: Ok(None),
        silence: Some(Duration::from_secs(300)),
        ignored: vec![b"local".to_vec()],
    };
    change(&mut syncer, &mut inspection);
    if syncer.inspection.is_ok() && matches!(called, "mbsync" | "offlineimap") {
        syncer.inspection = Ok(Some(inspection));
    }
    let mut facts = root(|_, _| {});
    facts.watched = vec!["/m".into()];
    facts.syncer = Some(syncer);
    facts
}

#[test]
fn a_syncer_and_its_configuration() {
    type Change = fn(&mut Syncer, &mut Inspection);
    let file = "syncer's file";
    let rc = "file /rc";
    let ok: Expected = (file, OK, "mbsync syncs 2 folders, says /rc", "", "");
    let waits: Expected = ("time-outs", OK, "mbsync waits at most 20 s", "", "");
    let offline_ok: Expected = (file, OK, "offlineimap syncs 2", "", "");
    let offline_waits: Expected = ("time-outs", OK, "offlineimap waits at most", "", "");
    let table: [(&str, Change, Vec<Expected>); 17] = [
        ("mbsync", |_, _| {}, vec![ok, waits]),
        (
            "true",
            |_, _| {},
            vec![("syncer", OK, "true is /bin/it", "", "")],
        ),
        (
            "mbsync",
            |it, _| it.program = Err("no mbsync; install it, or set :executable".to_owned()),
            vec![
                (
                    "syncer",
                    PROBLEM,
                    "no mbsync",
                    "install it, or set",
                    ACCOUNTS,
                ),
                ok,
                waits,
            ],
        ),
        (
            "mbsync",
            |it, _| it.program = Err("it says one thing only".to_owned()),
            vec![
                (
                    "syncer",
                    PROBLEM,
                    "one thing only",
                    "mend :syncer",
                    ACCOUNTS,
                ),
                ok,
                waits,
            ],
        ),
        (
            "mbsync",
            |it, _| it.inspection = Err("no channel x; define it".to_owned()),
            vec![(file, PROBLEM, "no channel x", "define it", ACCOUNTS)],
        ),
        (
            "mbsync",
            |_, it| (it.synced, it.unsynced) = (0, vec![b"a".to_vec(), b"b".to_vec()]),
            vec![
                (
                    file,
                    PROBLEM,
                    "syncs none of the 2 folders",
                    ":maildir",
                    ACCOUNTS,
                ),
                waits,
            ],
        ),
        (
            "mbsync",
            |_, it| it.unsynced = vec![b"a".to_vec(), b"local".to_vec()],
            vec![
                (file, NOTE, "no channel syncs 1 folder: a", "Patterns", rc),
                waits,
            ],
        ),
        (
            "mbsync",
            |_, it| it.unsynced = vec![b"local".to_vec()],
            vec![ok, waits],
        ),
        (
            "offlineimap",
            |_, it| it.unsynced = vec![b"a".to_vec()],
            vec![
                (file, NOTE, "does not sync 1 folder: a", "localfolders", rc),
                offline_waits,
            ],
        ),
        (
            "offlineimap",
            |_, it| it.filtered = true,
            vec![(file, OK, "up to 2 folders; Python", "", ""), offline_waits],
        ),
        (
            "mbsync",
            |_, it| {
                it.places
                    .push(("MaildirStore o".to_owned(), "/other".into()))
            },
            vec![
                ok,
                (
                    file,
                    WARNING,
                    "keeps mail in /other (MaildirStore o)",
                    "add /other",
                    ACCOUNTS,
                ),
                waits,
            ],
        ),
        (
            "mbsync",
            // What is in it is watched, or it is in what is watched.
            |_, it| it.places = vec![(String::new(), "/".into()), (String::new(), "/m/a".into())],
            vec![ok, waits],
        ),
        (
            "mbsync",
            |_, it| it.waits[0].seconds = 0,
            vec![
                ok,
                ("time-outs", WARNING, "for ever", "write Timeout 20", rc),
            ],
        ),
        (
            "offlineimap",
            |_, it| it.waits[0].seconds = 0,
            vec![
                offline_ok,
                ("time-outs", WARNING, "for ever", "socktimeout = 60", rc),
            ],
        ),
        (
            "mbsync",
            |_, it| it.waits[0].seconds = 300,
            vec![
                ok,
                (
                    "time-outs",
                    NOTE,
                    "ends it after 300 s",
                    "raise",
                    "option mailsync-sync-timeout",
                ),
            ],
        ),
        (
            "offlineimap",
            |_, it| it.connections = Some(9),
            vec![
                offline_ok,
                offline_waits,
                (
                    "time-outs",
                    NOTE,
                    "9 connections",
                    "lower maxconnections",
                    rc,
                ),
            ],
        ),
        (
            "offlineimap",
            |_, it| it.lock = Some(Some(7)),
            vec![
                offline_ok,
                offline_waits,
                ("lock", NOTE, "process 7 holds", "end what else", ""),
            ],
        ),
    ];
    for (at, (called, change, mut expected)) in table.into_iter().enumerate() {
        expected.splice(0..0, [ON_DISK, NESTED]);
        expect(
            &at.to_string(),
            &account(&syncer(called, change)),
            &expected,
        );
    }
}

#[test]
fn a_lock() {
    let table = [
        (None, None),
        (
            Some(Seen::Free),
            Some(("lock", OK, "no other Emacs", "", "")),
        ),
        (
            Some(Seen::Emacs(Some(1))),
            Some(("lock", OK, "this Emacs", "", "")),
        ),
        (
            Some(Seen::Emacs(Some(2))),
            Some(("lock", NOTE, "(process 2)", "takes over", "")),
        ),
        (
            Some(Seen::Emacs(None)),
            Some(("lock", NOTE, "(a process)", "takes over", "")),
        ),
        (
            Some(Seen::Run(Some(3))),
            Some(("lock", WARNING, "(process 3)", "kill", "")),
        ),
    ];
    for (seen, expected) in table {
        let mut facts = syncer("true", |_, _| {});
        facts.roots.clear();
        (facts.lock, facts.process) = (seen, 1);
        let syncer = ("syncer", OK, "true is", "", "");
        let expected: Vec<_> = [syncer].into_iter().chain(expected).collect();
        expect(&format!("{seen:?}"), &account(&facts), &expected);
    }
}

#[test]
fn limits() {
    let limit = |most, used, needed| Some(Limit { most, used, needed });
    let table = [
        (
            limit(100, 20, 10),
            OK,
            "10 watched directories needed; 100 allowed, 20",
        ),
        (limit(100, 20, 64), OK, "64"),
        (limit(100, 20, 65), WARNING, "65"),
        (limit(100, 20, 80), WARNING, "80"),
        (limit(100, 20, 81), PROBLEM, "looked at from time to time"),
        (limit(100, 200, 1), PROBLEM, "looked at from time to time"),
    ];
    for (watches, level, text) in table {
        let facts = Machine {
            watches,
            locks: Some("/run/x/mailsync".into()),
            runtime: Some("/run/x".into()),
            ..Machine::default()
        };
        let remedy = if level == OK {
            ""
        } else {
            "sysctl fs.inotify.max_user_watches="
        };
        let here = (
            "XDG_RUNTIME_DIR",
            OK,
            "locks are in /run/x/mailsync",
            "",
            "",
        );
        expect(
            text,
            &machine(&facts),
            &[("limits", level, text, remedy, ""), here],
        );
    }
    let facts = Machine {
        instances: limit(1, 1, 1),
        files: limit(1, 1, 1),
        locks: Some("/run/x/mailsync".into()),
        runtime: Some("/run/x".into()),
        ..Machine::default()
    };
    let expected = [
        (
            "limits",
            PROBLEM,
            "1 watcher needed",
            "max_user_instances",
            "",
        ),
        ("limits", PROBLEM, "1 open file needed", "ulimit -n", ""),
        ("XDG_RUNTIME_DIR", OK, "", "", ""),
    ];
    expect("others", &machine(&facts), &expected);
}

#[test]
fn what_the_kernel_tells() {
    let restart = "command mailsync-restart";
    let table = [
        (Told::Sleep, "that it slept", "after a sleep", restart),
        (
            Told::Clock,
            "its clock was set",
            "mailsync-restart",
            restart,
        ),
        (
            Told::Network,
            "its network changed",
            "mailsync-resume",
            "command mailsync-resume",
        ),
        (Told::Mounts, "what is mounted", "after mounting", restart),
    ];
    let here = ("XDG_RUNTIME_DIR", OK, "", "", "");
    let facts = |support| Machine {
        support,
        locks: Some("/run/x/mailsync".into()),
        runtime: Some("/run/x".into()),
        ..Machine::default()
    };
    for (what, text, remedy, place) in table {
        let refused = Some("refused".to_owned());
        let support = vec![Support { what, refused }];
        let expected = [("sleep and network", WARNING, text, remedy, place), here];
        expect(text, &machine(&facts(support)), &expected);
    }
    let all = table.map(|(what, ..)| Support {
        what,
        refused: None,
    });
    let expected = [("sleep and network", OK, "the kernel tells", "", ""), here];
    expect("all", &machine(&facts(all.into())), &expected);
}

#[test]
fn where_locks_and_sockets_are() {
    let check = "XDG_RUNTIME_DIR";
    let table = [
        (
            None,
            Some("/run/x"),
            PROBLEM,
            "not kept from syncing at the same time: why",
        ),
        (
            Some("/tmp/mailsync"),
            Some("/run/x"),
            WARNING,
            "/run/x cannot be used (why)",
        ),
        (
            Some("/tmp/mailsync"),
            None,
            NOTE,
            "not set; locks are in /tmp/mailsync",
        ),
    ];
    for (locks, runtime, level, text) in table {
        let facts = Machine {
            locks: locks.map(PathBuf::from),
            runtime: runtime.map(PathBuf::from),
            refused: vec!["why".to_owned()],
            ..Machine::default()
        };
        expect(text, &machine(&facts), &[(check, level, text, "set", "")]);
    }
    let option = "option mailsync-listen";
    let table = [
        (true, None, OK, "at /s", "", ""),
        (
            false,
            None,
            WARNING,
            "no socket",
            "restart",
            "command mailsync-restart",
        ),
        (
            true,
            Some("/ can be entered by others"),
            PROBLEM,
            "by others",
            "of your own",
            option,
        ),
    ];
    for (there, refused, level, text, remedy, place) in table {
        let facts = Machine {
            locks: Some("/run/x/mailsync".into()),
            runtime: Some("/run/x".into()),
            listen: Some(Socket {
                file: "/s".into(),
                there,
                refused: refused.map(str::to_owned),
            }),
            ..Machine::default()
        };
        let here = (check, OK, "", "", "");
        expect(
            text,
            &machine(&facts),
            &[here, ("socket", level, text, remedy, place)],
        );
    }
}

#[test]
fn a_server() {
    let table = [
        (Ok(Duration::from_millis(12)), OK, "after 12 ms", "", ""),
        (
            Err("refused".to_owned()),
            PROBLEM,
            "not answer: refused",
            ":host",
            ACCOUNTS,
        ),
    ];
    for (found, level, text, remedy, place) in table {
        let finding = reached("h", 993, found);
        expect(text, &[finding], &[("server", level, text, remedy, place)]);
    }
}
