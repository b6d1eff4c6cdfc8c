//! What mbsync printed, and what that means.

use std::collections::HashMap;

use super::super::super::{Memory, Program, Syncer};
use super::*;
use crate::change::{AccountId, Folder};

/// An order for the folders `a` and `b` of channel `c`, and its plan.
fn case(everything: bool) -> (Order, Plan) {
    let folder = |name: &str| {
        Arc::new(Folder {
            account: AccountId(0),
            real: Path::new("/m").join(name).into(),
            directory: Path::new("/m").join(name).into(),
            name: name.as_bytes().into(),
        })
    };
    let order = Order::new(
        "mine",
        Syncer {
            success: vec![9],
            ..Syncer::new(Program::Mbsync {
                program: "mbsync".into(),
                target: None,
                config: None,
                args: Vec::new(),
            })
        },
        Scope::Folders(vec![folder("a"), folder("b")]),
    );
    let name = |name: &str| {
        (
            format!("c:{name}").into_bytes(),
            Path::new("/m").join(name).into(),
        )
    };
    let plan = Plan {
        argv: Vec::new(),
        environment: Vec::new(),
        everything,
        names: HashMap::from([name("a"), name("b")]),
        memory: Memory::default(),
        config: Some("/rc".into()),
    };
    (order, plan)
}

fn judged(exit: Exit, text: &str, everything: bool) -> Verdict {
    let (order, plan) = case(everything);
    let output = Output {
        first: text.as_bytes().to_vec(),
        ..Output::default()
    };
    judge(&order, &plan, exit, &output)
}

#[test]
fn lines_tell_how_it_went() {
    use Outcome::{Auth, Config, Interrupted, Locked, Ok, Partial, Transient};
    let refused = "Cannot connect to h (1.2.3.4:143): Connection refused\n\
                   No working address found for h\n";
    let login = "IMAP command 'LOGIN <user> <pass>' returned an error: NO ";
    let plain = "IMAP command 'AUTHENTICATE PLAIN <authdata>' returned an error: NO ";
    let far = "Error: channel c: far side box a cannot be opened.\n";
    // exit code, what it printed, outcome, part of the text
    let warned =
        "Warning: channel c: near side box b cannot be opened and far side box b is not empty.\n";
    let made = "IMAP command 'CREATE \"a\"' returned an error: NO [ALREADYEXISTS] Mailbox already exists\n";
    let crowded = "b: 120 unread messages in excess of MaxMessages (100).\n\
                   Please set ExpireUnread to decide outcome. Skipping mailbox.\n";
    let refused_message = "IMAP command 'APPEND \"b\" (\\Seen) ' returned an error: NO [OVERQUOTA] x\n\
                           Warning: far side refuses to store message 5 from near side.\n";
    let never = "IMAP command 'CREATE \"INBOX.a\"' returned an error: NO [CANNOT] Invalid mailbox name (0.001 secs).\n";
    let table: [(i32, &str, Outcome, &str); 62] = [
        (0, "", Ok, ""),
        (9, "", Ok, ""),
        (
            0,
            "Maildir notice: no UIDVALIDITY in /m/a, creating new.\n",
            Ok,
            "",
        ),
        (0, "Warning: lost track of 3 pulled message(s)\n", Ok, ""),
        (
            0,
            "Warning: message 3 from near side has incomplete header; skipping.\n",
            Ok,
            "",
        ),
        (0, "Opening far side box Error: x...\n", Ok, ""),
        // the configuration
        (
            1,
            "SSL error connecting h: self-signed certificate\n",
            Config,
            "CertificateFile in /rc",
        ),
        (
            1,
            "Error, certificate owner does not match hostname h\n",
            Config,
            "Host",
        ),
        (
            1,
            "Socket error: secure connect to h (1.2.3.4:993): error:0A00010B:SSL routines::wrong version number\n",
            Config,
            "SSLType and Port",
        ),
        (
            1,
            "/rc:3: unknown keyword 'x'\n",
            Config,
            "/rc:3: unknown keyword 'x'; mend that line",
        ),
        (
            1,
            "/rc:3: Notice: URL notation is deprecated\nx\n",
            Transient,
            "exit code 1): x",
        ),
        (
            1,
            "Cannot open config file '/rc': No such file\n",
            Config,
            "write it in /rc",
        ),
        (
            1,
            "No channel or group named 'x' defined.\n",
            Config,
            "define it in /rc",
        ),
        (
            1,
            "Cannot override mailbox in channel 'x' - no Patterns.\n",
            Config,
            "give Patterns",
        ),
        (
            1,
            "IMAP error: server supports no acceptable authentication mechanism\n",
            Config,
            "AuthMechs",
        ),
        (
            1,
            "IMAP error: selected SASL mechanism(s) not available;\n   selected: PLAIN\n   available:\n",
            Config,
            "not available; install SASL's modules (Debian: libsasl2-modules), or correct AuthMechs in /rc",
        ),
        (
            1,
            "Skipping account acc, no password\n",
            Config,
            "give PassCmd or Pass",
        ),
        (
            1,
            &(plain.to_owned() + "[PRIVACYREQUIRED] x\n"),
            Config,
            "set SSLType",
        ),
        (1, "mbsync: unknown option '--x'\n", Config, ":args"),
        // the login
        (
            1,
            &(plain.to_owned() + "[AUTHENTICATIONFAILED] no.\n"),
            Auth,
            "the server refuses the login of account mine: IMAP command",
        ),
        (
            1,
            &(login.to_owned() + "no.\n"),
            Auth,
            "correct User, and PassCmd or Pass, in /rc",
        ),
        (
            1,
            &(login.to_owned() + "[UNAVAILABLE] later\n"),
            Transient,
            "later",
        ),
        (1, &(login.to_owned() + "[LIMIT] x\n"), Transient, ""),
        (
            1,
            "Skipping account acc, PassCmd exited with status 3\n",
            Transient,
            "no password came for account mine: Skipping account acc, PassCmd exited with status 3; see PassCmd in /rc",
        ),
        (
            1,
            "gpg: timeout.\nSkipping account acc, PassCmd produced no output\n",
            Transient,
            "no password came",
        ),
        (
            1,
            "Skipping account acc, PassCmd crashed\n",
            Transient,
            "no password came",
        ),
        // locks
        (
            1,
            "Error: channel :far:a-:near:a is locked\n",
            Locked,
            "another mbsync syncs folders of account mine: Error",
        ),
        (
            1,
            "Error: channel :far:a-:near:a is locked\nError: channel c: far side box b cannot be opened.\n",
            Locked,
            "",
        ),
        (
            1,
            "Maildir error: cannot fcntl lock UIDVALIDITY.\n",
            Locked,
            "",
        ),
        // what passes
        (
            1,
            refused,
            Transient,
            "mbsync could not sync account mine: Cannot connect to h (1.2.3.4:143): Connection refused",
        ),
        (
            1,
            "Error: Cannot resolve server 'h': Name or service not known\n",
            Transient,
            "resolve",
        ),
        (
            1,
            "Socket error on h (1.2.3.4:143): timeout.\n",
            Transient,
            "timeout",
        ),
        (
            1,
            "IMAP error: unexpected EOF from h (1.2.3.4:143)\n",
            Transient,
            "EOF",
        ),
        (
            1,
            "IMAP error: unexpected BYE response: down\n",
            Transient,
            "BYE",
        ),
        (
            1,
            &(far.to_owned() + "IMAP error: unexpected EOF from h\n"),
            Transient,
            "EOF",
        ),
        (
            0,
            "Maildir error: cannot write /m/a/tmp/x: No space left on device\n",
            Transient,
            "the disk is full",
        ),
        (
            0,
            "Maildir error: cannot write /m/a/tmp/x. Disk full?\n",
            Transient,
            "the disk is full",
        ),
        (
            1,
            "Error: cannot write file: No space left on device\n",
            Transient,
            "the disk is full",
        ),
        (
            1,
            "Error: cannot create lock file /m/a/.mbsyncstate.lock: Read-only file system\n",
            Transient,
            "the disk is mounted read-only: Error: cannot create lock file /m/a/.mbsyncstate.lock: Read-only file system; have it mounted for writing",
        ),
        // single boxes
        (
            1,
            far,
            Partial,
            "mbsync could not sync folder a of channel c: Error: channel c: far side box a cannot be opened; if it is only here, set Create Far or Create Both in /rc",
        ),
        (
            1,
            "Error: channel c: far side box a\u{1b}[2J\u{85}b cannot be opened.\n",
            Partial,
            "mbsync could not sync folder a [2J b of channel c: Error: channel c: far side box a [2J b cannot",
        ),
        (
            1,
            "Error: channel c: near side box a cannot be opened.\n",
            Partial,
            "Create Near",
        ),
        (
            1,
            "Error: channel c: both far side a and near side a cannot be opened.\n",
            Partial,
            "on neither side",
        ),
        (
            1,
            "Error: channel c, far side box a: UIDVALIDITY genuinely changed (at UID 1).\n",
            Partial,
            "the messages of folder a were renumbered: ",
        ),
        (
            1,
            "Error: channel c, far side box a: Unable to recover from UIDVALIDITY change.\n",
            Partial,
            "renumbered",
        ),
        (
            1,
            "Error: channel c: UIDVALIDITY of both far side a and near side a changed.\n",
            Partial,
            "renumbered",
        ),
        (
            1,
            "Error: malformed sync state header entry at /m/a/.mbsyncstate:1\n",
            Partial,
            "/m/a/.mbsyncstate:1; mbsync leaves it out",
        ),
        (
            1,
            &("IMAP error: it is gone\n".to_owned() + far),
            Partial,
            "it is gone; if",
        ),
        (
            1,
            "Error: channel c: far side box no space left on device cannot be opened.\n",
            Partial,
            "Create Far",
        ),
        (
            0,
            "Maildir error: cannot write x: Input/output error\n",
            Partial,
            "mbsync did not sync all of account mine: Maildir error: cannot",
        ),
        // what is left out with a warning does not make a run fail
        (0, warned, Ok, ""),
        (
            1,
            &(warned.to_owned() + made),
            Transient,
            "mbsync could not sync account mine (exit code 1): IMAP command 'CREATE \"a\"' returned",
        ),
        (
            1,
            warned,
            Transient,
            "(exit code 1): Warning: channel c: near side box b",
        ),
        // but for what a server will never make
        (
            1,
            never,
            Partial,
            "the server does not take folder INBOX.a: IMAP command 'CREATE \"INBOX.a\"' returned an error: NO [CANNOT] Invalid mailbox name (0.001 secs); rename it, or leave it out by Patterns in /rc",
        ),
        (
            1,
            &never.replace("INBOX.a", "x"),
            Transient,
            "'CREATE \"x\"'",
        ),
        // what a server answers is about another box than the next line, and so is what names none
        (1, &(made.to_owned() + far), Transient, "'CREATE \"a\"'"),
        (1, &(far.to_owned() + made), Transient, "'CREATE \"a\"'"),
        (1, &(crowded.to_owned() + far), Transient, "b: 120 unread"),
        (1, crowded, Transient, "b: 120 unread"),
        (
            0,
            refused_message,
            Partial,
            "mbsync did not sync all of account mine: IMAP command 'APPEND",
        ),
        // anything else
        (
            1,
            "Channel c\nsomething\n",
            Transient,
            "mbsync could not sync account mine (exit code 1): something",
        ),
        (
            1,
            "",
            Transient,
            "mbsync could not sync account mine (exit code 1)",
        ),
    ];
    for (code, text, outcome, part) in table {
        let verdict = judged(Exit::Code(code), text, false);
        assert_eq!(verdict.outcome, outcome, "{text}: {}", verdict.text);
        assert!(verdict.text.contains(part), "{text}: {}", verdict.text);
        assert!(!verdict.text.contains('\n'));
        assert_eq!(verdict.text.is_empty(), outcome == Ok);
    }
    let killed = judged(Exit::Signal(15), far, false);
    assert_eq!(killed.outcome, Interrupted);
    assert_eq!(
        killed.text,
        "mbsync was ended by signal 15; it is run again"
    );
}

#[test]
fn boxes_are_folders() {
    let line = |name: &str| format!("Error: channel c: far side box {name} cannot be opened.\n");
    // what it printed, of everything, the folders that failed
    let error = "Maildir error: cannot read /m/x\n";
    let made = "IMAP command 'CREATE \"x\"' returned an error: NO [ALREADYEXISTS] Mailbox already exists\n";
    let warned =
        "Warning: channel c: near side box b cannot be opened and far side box b is not empty.\n";
    let near = "Error: channel c: near side box a cannot be opened.\n";
    let never =
        |name: &str| format!("IMAP command 'CREATE \"{name}\"' returned an error: NO [NOPERM] x\n");
    let table: [(String, bool, &[&str]); 12] = [
        (line("a"), false, &["/m/a"]),
        (
            line("b") + &line("a") + &line("a"),
            false,
            &["/m/a", "/m/b"],
        ),
        (line("a"), true, &["/m/a"]),
        // an error of the store right before it is its reason
        (error.to_owned() + near, false, &["/m/a"]),
        (line("a") + warned, true, &["/m/a"]),
        // and so is what a server will never make
        (never("b"), true, &["/m/b"]),
        (never("INBOX.b"), false, &["/m/b"]),
        (line("a") + &never("Mail/b"), true, &["/m/a", "/m/b"]),
        // a box of which nothing is known
        (line("x"), false, &["/m/a", "/m/b"]),
        (line("x"), true, &[]),
        (line("x") + &line("b"), true, &["/m/b"]),
        (
            "Error: channel d: near side box a cannot be opened.\n".to_owned(),
            true,
            &[],
        ),
    ];
    for (text, everything, failed) in table {
        let verdict = judged(Exit::Code(1), &text, everything);
        assert_eq!(verdict.outcome, Outcome::Partial);
        let failed: Vec<_> = failed.iter().map(Path::new).collect();
        let found: Vec<_> = verdict.failed.iter().map(|path| &**path).collect();
        assert_eq!(found, failed, "{text}");
    }
    // Any other error is about nobody knows which, and so is what is not kept.
    let unclear = [
        (error.to_owned() + &line("a"), 0),
        (line("a") + error, 0),
        (line("a") + made, 0),
        (made.to_owned() + near, 0),
        (never("elsewhere"), 0),
        (line("a"), 1),
    ];
    for (spelled, name, is) in [
        ("a", "a", true),
        ("a.b", "a/b", true),
        ("INBOX/a/b", "a/b", true),
        ("xa", "a", false),
        ("a", "a/b", false),
        ("Entw&APw-rfe.R&-D", "Entwürfe/R&D", true),
        ("Entw&APw-rfe", "Entw&APw-rfe", true),
        ("b/a", "b", false),
    ] {
        assert_eq!(spells(spelled, name), is, "{spelled} {name}");
    }
    let (order, plan) = case(true);
    for (text, dropped) in unclear {
        let output = Output {
            first: text.clone().into_bytes(),
            dropped,
            ..Output::default()
        };
        let verdict = judge(&order, &plan, Exit::Code(1), &output);
        assert_eq!(verdict.outcome, Outcome::Transient, "{text}");
        assert_eq!(verdict.failed, [] as [Arc<Path>; 0]);
    }
    // A line break in a name is none in the message, and nowhere else one is.
    let (order, mut plan) = case(true);
    let real: Arc<Path> = Path::new("/m/l\nb").into();
    plan.names.insert(b"c:l\nb".to_vec(), real.clone());
    plan.names
        .insert(b"c:e\n".to_vec(), Path::new("/m/e\n").into());
    let output = Output {
        first: ("Notice: one\n".to_owned() + &line("l\nb")).into_bytes(),
        ..Output::default()
    };
    let verdict = judge(&order, &plan, Exit::Code(1), &output);
    assert_eq!(
        (verdict.outcome, verdict.failed),
        (Outcome::Partial, vec![real])
    );
    assert!(
        verdict.text.contains("folder l␤b") && verdict.text.contains("rename the folder"),
        "{}",
        verdict.text
    );
    let two = judged(Exit::Code(1), &(line("a") + &line("b")), false);
    assert!(
        two.text
            .contains("folder a of channel c, and 1 more went wrong: "),
        "{}",
        two.text
    );
    for everything in [false, true] {
        let one = judged(Exit::Code(0), "Maildir error: x\n", everything);
        assert_eq!(one.failed.len(), 2);
    }
}

#[test]
fn stores_are_to_be_mended() {
    let table = [
        (
            "Maildir error: cannot open store '/m/'",
            "make that directory",
        ),
        ("Maildir error: store 'near' has no Path", "give Path"),
        (
            "Maildir error: found subfolder 'a/b', but store 'near' does not specify SubFolders style",
            "give SubFolders",
        ),
        (
            "IMAP account 'acc' has neither Tunnel nor Host",
            "give Host",
        ),
        (
            "Error: cannot create SyncState directory '/none': No such file or directory",
            "correct SyncState",
        ),
    ];
    for (line, advice) in table {
        let verdict = judged(Exit::Code(1), &format!("{line}\n"), false);
        assert_eq!(verdict.outcome, Outcome::Config, "{line}");
        let advice = format!("; {advice}");
        assert!(verdict.text.contains(&advice), "{}", verdict.text);
    }
}

#[test]
fn a_damaged_state_is_the_trouble_of_its_folder_alone() {
    let table = [
        (
            "incomplete sync state header entry at /m/b/.mbsyncstate:1",
            1,
        ),
        ("unterminated sync state header in /m/b/.mbsyncstate", 1),
        ("incomplete journal header in /m/b/.mbsyncstate.journal", 1),
        (
            "journal entry at /m/b/.mbsyncstate.journal:7 refers to non-existing sync state entry",
            1,
        ),
        // It is not kept in folders.
        ("invalid sync state entry at /home/.mbsync/c:12:3", 2),
    ];
    for (line, failed) in table {
        let verdict = judged(Exit::Code(1), &format!("Error: {line}\n"), false);
        assert_eq!(verdict.outcome, Outcome::Partial, "{line}");
        assert_eq!(verdict.failed.len(), failed, "{line}");
        assert!(verdict.failed.contains(&Path::new("/m/b").into()), "{line}");
    }
    let other = judged(
        Exit::Code(1),
        "Error: cannot create journal /m/a/x\n",
        false,
    );
    assert_eq!(other.outcome, Outcome::Transient);
}
