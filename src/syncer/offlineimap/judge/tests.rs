//! What OfflineIMAP printed, and what that means.

use std::collections::HashMap;
use std::path::PathBuf;

use super::super::super::Syncer;
use super::*;
use crate::change::{AccountId, Folder};

fn order(folders: &[&str]) -> Order {
    let folders = folders.iter().map(|name| {
        Arc::new(Folder {
            account: AccountId(0),
            real: Path::new(name).into(),
            directory: Path::new(name).into(),
            name: name.as_bytes().into(),
        })
    });
    Order::new(
        "mine",
        Syncer {
            success: vec![42],
            ..Syncer::new(Program::OfflineImap {
                program: "offlineimap".into(),
                account: "home".to_owned(),
                config: Some("/nowhere/rc".into()),
                args: Vec::new(),
            })
        },
        Scope::Folders(folders.collect()),
    )
}

fn plan(order: &Order, interface: &str) -> Plan {
    let Scope::Folders(folders) = &order.scope else {
        unreachable!()
    };
    let names = folders.iter();
    Plan {
        argv: ["/bin/offlineimap", "-o", "-u", interface]
            .map(Into::into)
            .to_vec(),
        environment: Vec::new(),
        everything: interface == TEACHING,
        names: names
            .map(|folder| (folder.name.to_vec(), folder.real.clone()))
            .collect(),
        memory: Memory::default(),
        config: Some("/nowhere/rc".into()),
    }
}

fn verdict(interface: &str, exit: Exit, text: &str) -> Verdict {
    let order = order(&["a", "a/b"]);
    let output = Output {
        first: text.as_bytes().to_vec(),
        ..Output::default()
    };
    judge(&order, &plan(&order, interface), exit, &output)
}

#[test]
fn quiet_runs() {
    use Outcome::*;
    const DENIED: &str = "ERROR: All authentication types failed:\n\tPLAIN: b'[AUTHENTICATIONFAILED] Authentication failed.'\n";
    const CUT: &str = "ERROR: All authentication types failed:\n\tPLAIN: command: b'AUTHENTICATE' => socket error: <class 'OSError'> - Too many read 0\n\tLOGIN: connection closed\n";
    // code, text, outcome, a part of what is told, the folders that are not synced
    let table: [(i32, &str, Outcome, &str, &[&str]); 35] = [
        (0, "", Ok, "", &[]),
        (42, "", Ok, "", &[]),
        (0, "PLAIN authentication failed: b'no'\n", Ok, "", &[]),
        (
            1,
            DENIED,
            Auth,
            "login of account home: PLAIN: b'[AUTHENTICATIONFAILED] Authentication failed.'; correct the user or the password in /nowhere/rc",
            &[],
        ),
        (1, CUT, Transient, "Too many read 0", &[]),
        (
            1,
            "ERROR: While attempting to sync account 'home'\n  Prompting for a password is not supported in this UI backend.\n",
            Config,
            "no password for account home",
            &[],
        ),
        (
            1,
            "ERROR: While attempting to sync account 'home'\n  (-1, 'could not open socket')\n",
            Transient,
            "could not open socket",
            &[],
        ),
        (
            1,
            "ERROR: Could not resolve name 'h' for repository 'r'. Make sure\n",
            Transient,
            "resolve",
            &[],
        ),
        (
            1,
            "ERROR: while syncing INBOX [account home]\n  [Errno 28] No space left on device\n",
            Transient,
            "account home, the disk is full: [Errno 28] No space left on device; make room",
            &[],
        ),
        (
            1,
            "ERROR: while syncing INBOX [account home]\n  ('database or disk is full while inserting UID 3', <traceback object at 0x7f>)\n",
            Transient,
            "make room",
            &[],
        ),
        (
            1,
            "ERROR: while syncing INBOX [account home]\n  [Errno 30] Read-only file system: '/m/INBOX/tmp/1'\n",
            Transient,
            "the disk is mounted read-only",
            &[],
        ),
        (
            1,
            "ERROR: While attempting to sync account 'home'\n  no response after 20 secs\n",
            Transient,
            "no response",
            &[],
        ),
        (
            1,
            "ERROR: While attempting to sync account 'home'\n  unrecognised server welcome message: b'* BYE later'\n",
            Transient,
            "BYE",
            &[],
        ),
        (
            1,
            "ERROR: Could not connect via SSL to host 'h' and non-standard ssl port 1 configured. Make sure you connect to the correct port. Got: CERTIFICATE_VERIFY_FAILED\n",
            Config,
            "sslcacertfile",
            &[],
        ),
        (
            1,
            "ERROR: Could not lock account home. Is another instance using this account?\n",
            Locked,
            "account home",
            &[],
        ),
        (
            1,
            "ERROR: Aborting sync, folder 'a/b' [acc: 'home']\n  server said NO\n",
            Partial,
            "folder a/b: server said NO; the others",
            &["a/b"],
        ),
        (
            1,
            "ERROR: Aborting sync, folder 'a' [acc: 'home']\n  NO\nERROR: while syncing a/b [account home]\n  NO\n",
            Partial,
            "folder a and another one",
            &["a", "a/b"],
        ),
        (
            1,
            "ERROR: Aborting sync, folder 'timeout' [acc: 'home']\n  server said NO\n",
            Partial,
            "folder timeout and another one",
            &["a", "a/b"],
        ),
        (
            1,
            "ERROR: Aborting sync, folder 'a' [acc: 'home']\n  socket error: x\n",
            Transient,
            "socket error",
            &[],
        ),
        (
            1,
            "ERROR: ERROR in syncfolder for home folder a/b: Traceback (most recent call last):\n  File \"timeout.py\", line 1\nKeyError: 'x'\n\n  'x'\n",
            Partial,
            "folder a/b: 'x'",
            &["a/b"],
        ),
        (
            1,
            "ERROR: Saving msg (no certificate: timeout in folder 'x') folder 'a/b', repo 'r' failed (error). Server responded: NO\n",
            Partial,
            "folder a/b",
            &["a/b"],
        ),
        (
            2,
            "UID validity problem for folder a (repo r) (saved 1; got 2); skipping it.\nAt least one folder skipped due to UID validity problem\n",
            Partial,
            "renumbered folder a (UIDVALIDITY)",
            &["a"],
        ),
        (
            1,
            "ERROR: Account home: no folder to sync (folderfilter issue?)\n",
            Partial,
            "see folderfilter and nametrans in /nowhere/rc",
            &["a", "a/b"],
        ),
        (
            1,
            "ERROR: The account 'x' does not exist\nERROR: Exceptions occurred during the run!\nERROR: The account 'x' does not exist\nNo accounts are defined!\n",
            Config,
            "The account 'x' does not exist",
            &[],
        ),
        (
            1,
            "ERROR: 'Foo' repository not supported for 'remote' repositories.\n",
            Config,
            "type",
            &[],
        ),
        (
            2,
            "Usage: offlineimap [options]\n\nofflineimap: error: no such option: --foo\n",
            Config,
            "no such option",
            &[],
        ),
        (
            1,
            "Traceback (most recent call last):\n  File \"x\"\nconfigparser.ParsingError: Source\n\t[line 44]: 'junk'\n",
            Config,
            "configparser.ParsingError",
            &[],
        ),
        (
            100,
            "Thread 'Account sync home' terminated with exception:\nTraceback (most recent call last):\n  File \"x\"\nKeyError: 'foo'\n",
            Config,
            "(exit code 100): KeyError: 'foo'; correct /nowhere/rc",
            &[],
        ),
        (
            100,
            "Thread 'x' terminated with exception:\nTraceback (most recent call last):\n  File \"x\"\nOfflineImapError: Could not connect to remote server 'h' for repository 'r'. Connection Refused.\n",
            Transient,
            "Connection Refused",
            &[],
        ),
        (
            0,
            "Preparing to shutdown after sync (this may take some time)\n",
            Interrupted,
            "told to end",
            &[],
        ),
        (
            1,
            "ERROR: While attempting to sync account 'home'\n  division by zero\n",
            Transient,
            "division by zero",
            &[],
        ),
        // beside one folder another may have gone wrong, or all
        (
            1,
            "ERROR: Aborting sync, folder 'a' [acc: 'home']\n  NO\nERROR: While attempting to sync account 'home'\n  division by zero\n",
            Transient,
            "division by zero",
            &[],
        ),
        (
            100,
            "ERROR: Aborting sync, folder 'a' [acc: 'home']\n  NO\nThread 'Folder a/b [acc: home]' terminated with exception:\nTraceback (most recent call last):\n  File \"x\"\nKeyError: 'foo'\n",
            Transient,
            "account home: NO",
            &[],
        ),
        (
            1,
            "UID validity problem for folder a (repo r) (saved 1; got 2); skipping it.\nERROR: While attempting to sync account 'home'\n  division by zero\n",
            Transient,
            "division by zero",
            &[],
        ),
        (3, "", Transient, "exit code 3", &[]),
    ];
    for (code, text, outcome, told, failed) in table {
        let verdict = verdict("quiet", Exit::Code(code), text);
        assert_eq!(verdict.outcome, outcome, "{text}{}", verdict.text);
        assert!(verdict.text.contains(told), "{text}{}", verdict.text);
        assert_eq!(verdict.text.is_empty(), outcome == Ok, "{}", verdict.text);
        assert!(!verdict.text.contains('\n'), "{}", verdict.text);
        let failed: Vec<Arc<Path>> = failed.iter().map(|name| Path::new(name).into()).collect();
        assert_eq!(verdict.failed, failed, "{text}");
    }
}

#[test]
fn teaching_runs() {
    use Outcome::*;
    // The exit code is 0 whatever happened.
    let table = [
        ("msg:acctdone:t:home\n", Ok),
        (
            "error::t:ERROR%3A+All+authentication+types+failed%3A%0A%09PLAIN%3A+no\n",
            Auth,
        ),
        ("error::t:ERROR%3A+x%0A++could+not+open+socket\n", Transient),
        ("warn:validityproblem:t:a%0Ar%0A1%0A2\n", Partial),
        ("warn::t:Preparing+to+shutdown+after+sync\n", Interrupted),
        ("warn::t:PLAIN+authentication+failed%3A+no\n", Ok),
        (
            "msg:getpass:t:me\nerror::t:ERROR%3A+All+authentication+types+failed%3A%0A%09PLAIN%3A+no\n",
            Config,
        ),
        (
            "error::t:ERROR%3A+Aborting+sync%2C+folder+%27nowhere%27+%5Bacc%3A+%27home%27%5D%0A++NO\n",
            Transient,
        ),
        (
            "error::t:ERROR%3A+Account+home%3A+no+folder+to+sync+%28x%29\n",
            Config,
        ),
    ];
    for (text, outcome) in table {
        let verdict = verdict(TEACHING, Exit::Code(0), text);
        assert_eq!(verdict.outcome, outcome, "{text}{}", verdict.text);
    }
}

#[test]
fn signals_interrupt() {
    for signal in [2, 9, 15] {
        let verdict = verdict("quiet", Exit::Signal(signal), "ERROR: x\n");
        assert_eq!(verdict.outcome, Outcome::Interrupted);
        assert!(verdict.text.contains(&signal.to_string()));
    }
}

#[test]
fn names_are_learned() {
    const ONE: &str = "msg:syncingfolder:t:IMAP%0AFar.a%0AMaildir%0A.a%0A\n";
    const FAILED: &str = "error::t:ERROR%3A+x\n";
    let pair = |local: &str, remote: &str| (local.as_bytes().to_vec(), remote.as_bytes().to_vec());
    let old = || pair(".old", "old");
    let new = || pair(".a", "Far.a");
    let of = Some((PathBuf::from("/nowhere/rc"), None));
    // what is printed, how much is left out, what is known then
    let table = [
        (ONE.to_owned(), 0, vec![new()]),
        (ONE.to_owned(), 1, vec![old(), new()]),
        (format!("{ONE}{FAILED}"), 0, vec![old(), new()]),
        (String::new(), 0, vec![old()]),
    ];
    for (text, dropped, known) in table {
        let order = order(&["a"]);
        let mut plan = plan(&order, TEACHING);
        plan.memory = Memory {
            remote_names: HashMap::from([old()]),
            of: of.clone(),
        };
        let output = Output {
            first: Vec::new(),
            dropped,
            last: text.clone().into_bytes(),
            ..Output::default()
        };
        let verdict = judge(&order, &plan, Exit::Code(0), &output);
        let expected = Memory {
            remote_names: known.into_iter().collect(),
            of: of.clone(),
        };
        assert_eq!(verdict.memory, expected, "{text}");
    }
}
