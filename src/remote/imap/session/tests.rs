//! Conversations, each of which is held twice: in whole lines, and byte by byte.
//!
//! | Line | means |
//! |---|---|
//! | `S text` | the server says it |
//! | `C text` | it is told this |
//! | `T 60` | so many seconds pass |
//! | `! word` | something else happens |
//! | `= word` | something else is to be done |
//!
//! What is to be done has to follow at once, all of it and in this order.

use super::super::snapshot::MOST_MAILBOXES;
use super::*;

fn settings() -> Settings {
    Settings::new("me", "imap.example.org", 993)
}

fn shown(act: &Act) -> String {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.trim_end_matches("\r\n").replace("\r\n", "\\n")
    };
    let shown = match act {
        Act::Send(bytes) => format!("C {}", text(bytes)),
        Act::Secure => "= secure".to_owned(),
        Act::Ask => "= ask".to_owned(),
        Act::Everything => "= everything".to_owned(),
        Act::Change(name, kinds) => format!("= {} {}", text(name), crate::notation::words(*kinds)),
        Act::Watching(mode) => format!("= watching by {mode:?}"),
        Act::Others(others) => {
            let others = others.iter();
            let others =
                others.map(|it| format!("{} is {}", text(&it.server), text(&it.canonical)));
            format!("= others {}", others.collect::<Vec<_>>().join(", "))
        }
        Act::Log(level, line) => format!("= {level}: {line}"),
        Act::End(end) => format!("= {:?}: {}", end.why, end.text),
    };
    shown.trim_end().to_owned()
}

/// A conversation in pieces of `size` bytes; gives the session as it is then.
fn hold(mut session: Session, mut now: Instant, script: &str, size: usize) -> (Session, Instant) {
    let mut acts: VecDeque<String> = VecDeque::new();
    for (number, line) in script.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let place = format!("line {number}: {line}, in pieces of {size}");
        let (kind, text) = line.split_at_checked(2).unwrap_or((line, ""));
        if matches!(kind, "C" | "C " | "= ") {
            assert_eq!(acts.pop_front().as_deref(), Some(line), "{place}");
            continue;
        }
        assert!(acts.is_empty(), "{place}: but before it {acts:?}");
        let mut done = |session: &mut Session, input: Input| {
            acts.extend(session.handle(now, input).iter().map(shown));
        };
        match (kind, text) {
            ("S ", text) => {
                let line = [text.replace("\\n", "\r\n").as_bytes(), b"\r\n"].concat();
                for piece in line.chunks(size) {
                    done(&mut session, Input::Bytes(piece));
                }
            }
            ("T ", seconds) => {
                now += Duration::from_secs(seconds.parse().expect("seconds"));
                acts.extend(session.handle(now, Input::Tick).iter().map(shown));
            }
            ("! ", "poke") => done(&mut session, Input::Poke),
            ("! ", "secured") => done(&mut session, Input::Secured),
            ("! ", "closed") => done(&mut session, Input::Closed("the line is dead".to_owned())),
            ("! ", text) => match text.split_once(' ') {
                Some(("secret", secret)) => {
                    done(&mut session, Input::Secret(Secret::new(secret.into())))
                }
                Some(("none", why)) => done(&mut session, Input::NoSecret(why.to_owned())),
                Some(("untold", name)) => done(&mut session, Input::Untold(name.as_bytes())),
                Some(("told", name)) => {
                    done(&mut session, Input::Told(name.as_bytes(), Kinds::NEW))
                }
                _ => panic!("{place}"),
            },
            _ => panic!("{place}"),
        }
    }
    assert!(acts.is_empty(), "{acts:?} at the end");
    (session, now)
}

fn converse(settings: &Settings, role: &Role, script: &str) -> Session {
    let now = Instant::now();
    let new = || Session::new(now, settings.clone(), role.clone());
    hold(new(), now, script, 1);
    hold(new(), now, script, 1000).0
}

fn all() -> Role {
    Role::All(Snapshot::default())
}

/// A server with NOTIFY that needs no login, up to where it is watched.
const NOTIFY: &str = r#"
    S * PREAUTH [CAPABILITY IMAP4rev1 IDLE ENABLE CONDSTORE LIST-STATUS NOTIFY] hello
    C a1 ENABLE CONDSTORE
    C a2 NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))
    C a3 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
    S * ENABLED CONDSTORE
    S a1 OK
    S a2 OK
    S * LIST () "/" INBOX
    S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0 HIGHESTMODSEQ 9)
    S * LIST (\NoSelect) "/" lists
    S * LIST () "/" lists/a
    S * STATUS lists/a (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 2 UNSEEN 0 HIGHESTMODSEQ 1)
    S a3 OK
    = everything
    = watching by Notify
    C a4 IDLE
    S + idling
"#;

/// One without, up to where its inbox is watched.
const IDLE: &str = r#"
    S * PREAUTH [CAPABILITY IMAP4rev1 IDLE ENABLE CONDSTORE LIST-STATUS] hello
    C a1 ENABLE CONDSTORE
    C a2 EXAMINE "INBOX"
    C a3 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
    S a1 OK
    S * 3 EXISTS
    S * 0 RECENT
    S a2 OK [READ-ONLY]
    S * LIST () "/" INBOX
    S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0 HIGHESTMODSEQ 9)
    S * LIST () "/" a
    S * STATUS a (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0 HIGHESTMODSEQ 9)
    S a3 OK
    = everything
    = watching by Idle
    C a4 IDLE
    S + idling
"#;

#[test]
fn the_server_tells_of_all_mailboxes() {
    let script = r#"
        S * STATUS INBOX (MESSAGES 4 UIDNEXT 5 UNSEEN 1)
        = INBOX new
        S * STATUS INBOX (HIGHESTMODSEQ 11)
        = INBOX flags
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 5 UNSEEN 1 HIGHESTMODSEQ 12)
        = INBOX gone
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 5 UNSEEN 1 HIGHESTMODSEQ 12)
        S * OK Still here
        S * LIST () "/" N
        = N folder-created
        S * STATUS N (MESSAGES 1 UIDNEXT 2 UNSEEN 1)
        = N unknown
        S * LIST () "/" N2 ("OLDNAME" (N))
        = N folder-deleted
        = N2 folder-created
        S * LIST (\NonExistent) "/" N2
        = N2 folder-deleted
        S * LIST (\NonExistent) "/" N3
    "#;
    converse(&settings(), &all(), &[NOTIFY, script].concat());
}

#[test]
fn names_in_either_spelling_are_one() {
    let script = r#"
        S * LIST () "/" Ctr&AOk-
        = Ctré folder-created
        S * STATUS {5}\nCtré (MESSAGES 1 UIDNEXT 2 UNSEEN 1)
        = Ctré unknown
        S * STATUS Ctr&AOk- (MESSAGES 2 UIDNEXT 3 UNSEEN 2)
        = Ctré new
        S * STATUS inbox (MESSAGES 4 UIDNEXT 5 UNSEEN 1)
        = INBOX new
    "#;
    converse(&settings(), &all(), &[NOTIFY, script].concat());
}

#[test]
fn a_reconnection_tells_what_was_missed() {
    let session = converse(&settings(), &all(), NOTIFY);
    let script = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 IDLE ENABLE CONDSTORE LIST-STATUS NOTIFY] hello
        C a1 ENABLE CONDSTORE
        C a2 NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))
        C a3 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S a1 OK
        S a2 OK
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0 HIGHESTMODSEQ 10)
        = INBOX flags
        S * LIST () "/" new
        S * STATUS new (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 5 UNSEEN 0 HIGHESTMODSEQ 1)
        = new folder-created
        S a3 OK
        = lists/a folder-deleted
        = watching by Notify
        C a4 IDLE
    "#;
    converse(&settings(), &Role::All(session.into_snapshot()), script);
}

#[test]
fn without_modseq_a_reconnection_doubts_everything() {
    let first = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1] hello
        C a1 LIST "" "*"
        S * LIST () "/" INBOX
        S * LIST () "/" "a b"
        S a1 OK
        C a2 STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)
        C a3 STATUS "a b" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0)
        S a2 OK
        S a3 NO it is gone
        = everything
        = watching by Sweep
    "#;
    let session = converse(&settings(), &all(), first);
    let again = first.replace("UIDNEXT 4", "UIDNEXT 5");
    let again = again.replace("S a2 OK", "= INBOX new,gone\nS a2 OK");
    let session = converse(&settings(), &Role::All(session.into_snapshot()), &again);
    // What is gone is told last: of what was told of it before, something may still be on its way.
    let gone = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1] hello
        C a1 LIST "" "*"
        S * LIST () "/" "a b"
        S a1 OK
        C a2 STATUS "a b" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)
        S * STATUS "a b" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 2 UNSEEN 0)
        = a b folder-created
        S a2 OK
        = everything
        = INBOX folder-deleted
        = watching by Sweep
    "#;
    converse(&settings(), &Role::All(session.into_snapshot()), gone);
}

#[test]
fn the_server_tells_of_the_inbox_and_the_rest_is_swept() {
    let script = r#"
        S * 4 EXISTS
        = INBOX new
        S * 1 RECENT
        S * 4 EXISTS
        S * 2 EXPUNGE
        = INBOX gone
        S * 4 EXISTS
        = INBOX new
        S * 4 FETCH (FLAGS (\Seen))
        = INBOX flags
        S * VANISHED 3
        = INBOX gone
        S * OK Still here
        T 300
        C DONE
        S a4 OK
        C a5 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 6 UIDVALIDITY 1 UNSEEN 1 HIGHESTMODSEQ 12)
        S * LIST () "/" a
        S * STATUS a (MESSAGES 4 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 1 HIGHESTMODSEQ 10)
        = a new
        S a5 OK
        C a6 IDLE
        S + idling
        T 300
        C DONE
        S * 4 EXISTS
        = INBOX new
        S a6 OK
        C a7 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 4 UIDNEXT 7 UIDVALIDITY 1 UNSEEN 1 HIGHESTMODSEQ 13)
        S * LIST () "/" a
        S * STATUS a (MESSAGES 4 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 1 HIGHESTMODSEQ 10)
        S a7 OK
        C a8 IDLE
    "#;
    converse(&settings(), &all(), &[IDLE, script].concat());
}

#[test]
fn idle_is_begun_anew() {
    let script = r#"
        T 539
        T 1
        C DONE
        S * STATUS INBOX (MESSAGES 4 UIDNEXT 5 UNSEEN 1)
        = INBOX new
        S a4 OK
        C a5 IDLE
        S + idling
        T 540
        C DONE
        T 60
        = Lost: the server did not answer for 60 s
    "#;
    let session = converse(&settings(), &all(), &[NOTIFY, script].concat());
    assert_eq!(session.deadline(), None);
}

#[test]
fn a_poke_is_answered_soon() {
    let script = r#"
        T 100
        ! poke
        C DONE
        ! poke
        T 9
        S a4 OK
        C a5 IDLE
        S + idling
        ! poke
        C DONE
        T 10
        = Lost: the server did not answer for 10 s
    "#;
    converse(&settings(), &all(), &[NOTIFY, script].concat());
    // A command that is under way is one, too.
    let script = r#"
        T 300
        C DONE
        S a4 OK
        C a5 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        ! poke
        T 10
        = Lost: the server did not answer for 10 s
    "#;
    converse(&settings(), &all(), &[IDLE, script].concat());
}

#[test]
fn other_mailboxes_are_watched_by_others() {
    let script = IDLE
        .replace(r#"LIST () "/" a"#, r#"LIST (\All) "." R&AOk-.x"#)
        .replace("STATUS a", "STATUS R&AOk-.x");
    let (head, tail) = script.split_once("    C a4 IDLE").expect("it idles");
    let default = format!("{head}    = others R&AOk-.x is Ré/x\n    C a4 IDLE{tail}");
    let told = r#"
        ! told Ré/x
        T 300
        C DONE
        S a4 OK
        C a5 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * LIST () "/" INBOX
        S * LIST (\All) "." R&AOk-.x
        S * STATUS R&AOk-.x (MESSAGES 4 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 0 HIGHESTMODSEQ 10)
        S a5 OK
        C a6 IDLE
    "#;
    converse(&settings(), &all(), &[&default, told].concat());
    // One that was made and looked at since the last sweep: when it is gone, that is told.
    let made = r#"
        ! told new
        = new folder-created
        T 300
        C DONE
        S a4 OK
        C a5 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * LIST () "/" INBOX
        S * LIST (\All) "." R&AOk-.x
        S a5 OK
        = new folder-deleted
        C a6 IDLE
    "#;
    converse(&settings(), &all(), &[&default, made].concat());
    // The one that has told it is no more: nobody else tells what the sweep sees.
    let untold = told
        .replace("        T 300", "        ! untold Ré/x\n        T 300")
        .replace("        S a5 OK", "        = Ré/x new\n        S a5 OK");
    converse(&settings(), &all(), &[&default, &untold[..]].concat());
    let mut none = settings();
    none.idle = Some(vec![b"INBOX".to_vec(), b"unknown".to_vec()]);
    converse(&none, &all(), &script);
}

// Security: S35.
#[test]
fn one_mailbox_by_a_session_of_its_own() {
    let script = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 IDLE NOTIFY LIST-STATUS] hello
        C a1 EXAMINE "x\"y"
        S * STATUS (
        S * 3 EXISTS
        S a1 OK
        = watching by Idle
        C a2 IDLE
        S + idling
        S * 4 EXISTS
        = x new
        S * STATUS (
        = x unknown
        S * STATUS (
        T 60
        S * STATUS (
        = x unknown
    "#;
    let role = Role::One(Name {
        server: b"x\"y".to_vec(),
        canonical: b"x".to_vec(),
    });
    converse(&settings(), &role, script);
    let refused = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 IDLE] hello
        C a1 EXAMINE "x\"y"
        S a1 NO there is none
        = Config: a mailbox cannot be watched: there is none
    "#;
    converse(&settings(), &role, refused);
    let without = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 NOTIFY] hello
        = Config: the server has no IDLE
    "#;
    converse(&settings(), &role, without);
    let unwilling = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 IDLE] hello
        C a1 EXAMINE "x\"y"
        S a1 OK
        = watching by Idle
        C a2 IDLE
        S a2 NO not today
        = Config: the server does not do IDLE
    "#;
    converse(&settings(), &role, unwilling);
}

#[test]
fn what_is_not_understood_leads_to_a_sweep() {
    let script = r#"
        S * STATUS INBOX (MESSAGES NIL)
        C DONE
        S a4 OK
        C a5 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 4 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 1 HIGHESTMODSEQ 10)
        = INBOX new
        S * LIST () "/" lists/a
        S * STATUS lists/a (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 2 UNSEEN 0 HIGHESTMODSEQ 1)
        S a5 OK
        C a6 IDLE
        S + idling
        S * LIST
        S * XGARBAGE ((((
        T 59
        T 1
        C DONE
    "#;
    converse(&settings(), &all(), &[NOTIFY, script].concat());
}

#[test]
fn what_a_server_does_not_know_is_done_without() {
    // NOTIFY is refused, IDLE is not there
    let script = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 NOTIFY LIST-STATUS ID] hello
        C a1 ID ("name" "mailsync")
        C a2 NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))
        C a3 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))
        S a1 BAD what?
        S a2 NO [NOTIFICATIONOVERFLOW] not now
        = info: no NOTIFY: not now
        S a3 BAD no such thing
        C a4 LIST "" "*"
        S * LIST () "/" INBOX
        S a4 OK
        C a5 STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0)
        S a5 OK
        = everything
        = watching by Sweep
        T 300
        C a6 LIST "" "*"
        S a6 NO go away
        = Lost: the server does not list its mailboxes: go away
    "#;
    converse(&settings(), &all(), script);
    // NOTIFY, but no IDLE while nothing is selected
    let script = r#"
        S a4 BAD select something first
    "#;
    let head = NOTIFY.replace("S + idling", "");
    let rest = r#"
        T 540
        C a5 NOOP
        S * STATUS INBOX (MESSAGES 4 UIDNEXT 5 UNSEEN 1)
        = INBOX new
        S a5 OK
        T 540
        C a6 NOOP
    "#;
    converse(&settings(), &all(), &[&head, script, rest].concat());
    // IDLE is offered, but not done
    let head = IDLE.replace("S + idling", "");
    let rest = r#"
        S a4 NO not today
        = watching by Sweep
        T 300
        C a5 NOOP
        C a6 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * 2 FETCH (FLAGS (\Flagged))
        = INBOX flags
        S * 4 EXISTS
        S * 1 EXPUNGE
        S a5 OK
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 1 HIGHESTMODSEQ 11)
        = INBOX new,gone
        S * LIST () "/" a
        S a6 OK
        T 300
        C a7 NOOP
        C a8 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
    "#;
    converse(&settings(), &all(), &[&head, rest].concat());
}

#[test]
fn namespaces() {
    let script = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 LIST-STATUS NAMESPACE] hello
        C a1 NAMESPACE
        C a2 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))
        S * NAMESPACE (("INBOX." ".")) NIL NIL
        S a1 OK
        S * LIST () "." INBOX
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0)
        S * LIST () "." INBOX.a.b
        S * STATUS INBOX.a.b (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0)
        S a2 OK
        = everything
        = watching by Sweep
        T 300
        C a3 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))
        S * LIST () "." INBOX
        S * STATUS INBOX (MESSAGES 4 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 0)
        = INBOX new
        S * LIST () "." INBOX.a.b
        S * STATUS INBOX.a.b (MESSAGES 4 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 0)
        = a/b new
        S a3 OK
    "#;
    converse(&settings(), &all(), script);
    // The user knows better.
    let mut given = settings();
    given.naming = Some(Naming {
        prefix: b"x/".to_vec(),
        separator: b"/".to_vec(),
    });
    let script = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 LIST-STATUS NAMESPACE] hello
        C a1 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))
        S * LIST () "/" x/a.b
        S * STATUS x/a.b (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0)
        S a1 OK
        = everything
        = watching by Sweep
        T 300
        C a2 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))
        S * STATUS x/a.b (MESSAGES 4 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 0)
        = a.b new
    "#;
    converse(&given, &all(), script);
}

#[test]
fn what_crosses_a_sweep() {
    // A message that the sweep has missed, and IDLE has told of.
    let crossed = r#"
        T 300
        C DONE
        S a4 OK
        C a5 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0 HIGHESTMODSEQ 9)
        S * 4 EXISTS
        = INBOX new
        S * LIST () "/" a
        S a5 OK
        C a6 IDLE
    "#;
    let again = r#"
        S + idling
        T 300
        C DONE
        S a6 OK
        C a7 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 4 UIDNEXT 5 UIDVALIDITY 1 UNSEEN 1 HIGHESTMODSEQ 10)
        S * LIST () "/" a
        S a7 OK
        C a8 IDLE
    "#;
    converse(&settings(), &all(), &[IDLE, crossed, again].concat());
    // But nobody tells of it any more.
    let refused = r#"
        S a6 NO not today
        = watching by Sweep
        T 300
        C a7 NOOP
        C a8 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * 5 EXISTS
        S a7 OK
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 5 UIDNEXT 6 UIDVALIDITY 1 UNSEEN 2 HIGHESTMODSEQ 11)
        = INBOX new
    "#;
    converse(&settings(), &all(), &[IDLE, crossed, refused].concat());
    // The sweep has seen what happened since the server spoke, and will see it no more.
    let left = r#"
        S * 4 EXISTS
        = INBOX new
        T 300
        C DONE
        S a4 OK
        C a5 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
        S * LIST () "/" INBOX
        S * STATUS INBOX (MESSAGES 5 UIDNEXT 6 UIDVALIDITY 1 UNSEEN 2 HIGHESTMODSEQ 11)
        S * LIST () "/" a
        S a5 OK
        C a6 IDLE
    "#;
    let table = [
        (
            "it is told by and by, and once",
            "S + idling\nS * 5 EXISTS\n= INBOX new",
            false,
        ),
        (
            "there is no IDLE any more",
            "S a6 NO not today\n= watching by Sweep\n= INBOX new",
            false,
        ),
        (
            "the connection is lost before",
            "! closed\n= Lost: the line is dead",
            true,
        ),
        (
            "and after",
            "S + idling\nS * 5 EXISTS\n= INBOX new\nT 300\nC DONE\nS a6 OK\nC a7 LIST \"\" \"*\" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))\n! closed\n= Lost: the line is dead",
            false,
        ),
    ];
    for (case, script, again) in table {
        println!("{case}");
        let session = converse(&settings(), &all(), &[IDLE, left, script].concat());
        let script = format!(
            "S * PREAUTH [CAPABILITY IMAP4rev1 LIST-STATUS] hello
            C a1 LIST \"\" \"*\" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))
            S * LIST () \"/\" INBOX
            S * STATUS INBOX (MESSAGES 5 UIDNEXT 6 UIDVALIDITY 1 UNSEEN 2 HIGHESTMODSEQ 11)
            {}
            S * LIST () \"/\" a
            S a1 OK
            = watching by Sweep",
            if again { "= INBOX new" } else { "" }
        );
        converse(&settings(), &Role::All(session.into_snapshot()), &script);
    }
    // The server speaks of one before it is looked at: it is asked for the rest all the same.
    let early = r#"
        S * PREAUTH [CAPABILITY IMAP4rev1 NOTIFY] hello
        C a1 NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))
        C a2 LIST "" "*"
        S a1 OK
        S * STATUS a (UNSEEN 0)
        S * LIST () "/" a
        S a2 OK
        C a3 STATUS "a" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)
    "#;
    converse(&settings(), &all(), early);
    // A mailbox that goes while it is looked at is not there afterwards: made again, it is new.
    let goes = NOTIFY.replace(
        "    S a3 OK",
        r#"    S * LIST () "/" t
    S * STATUS t (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 3 UNSEEN 0 HIGHESTMODSEQ 1)
    S * LIST (\NonExistent) "/" t
    = t folder-deleted
    S a3 OK"#,
    );
    let comes = r#"
        S * LIST () "/" t
        = t folder-created
    "#;
    converse(&settings(), &all(), &[&goes, comes].concat());
}

/// Up to where the secret is wanted.
fn greeted(capabilities: &str) -> String {
    format!("S * OK [CAPABILITY IMAP4rev1 {capabilities}] ready\n= ask\n")
}

#[test]
fn logins() {
    // "\0me\0geheim", and what comes after it
    let plain = "AG1lAGdlaGVpbQ==";
    let after = "S a1 OK [CAPABILITY IMAP4rev1 LIST-STATUS]\nC a2 LIST \"\" \"*\" RETURN \
                 (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))\n";
    let later = after.replace("a2", "a3").replace("a1", "a2");
    let table = [
        // with the first answer at once, and when it is asked for
        ("AUTH=PLAIN SASL-IR", "geheim", format!("C a1 AUTHENTICATE PLAIN {plain}\n{after}")),
        ("AUTH=PLAIN", "geheim", format!("C a1 AUTHENTICATE PLAIN\nS + \nC {plain}\n{after}")),
        // by the command
        ("", "geheim", format!("C a1 LOGIN \"me\" \"geheim\"\n{after}")),
        ("", "ge\"heim", format!("C a1 LOGIN \"me\" {{7}}\nS + OK\nC ge\"heim\n{after}")),
        // what is offered is not understood
        (
            "AUTH=PLAIN SASL-IR",
            "geheim",
            format!("C a1 AUTHENTICATE PLAIN {plain}\nS a1 BAD what?\nC a2 LOGIN \"me\" \"geheim\"\n{later}"),
        ),
        (
            "AUTH=PLAIN SASL-IR LOGINDISABLED",
            "geheim",
            format!("C a1 AUTHENTICATE PLAIN {plain}\nS a1 BAD what?\nC a2 AUTHENTICATE PLAIN\nS +\nC {plain}\n{later}"),
        ),
        (
            "AUTH=PLAIN SASL-IR LOGINDISABLED",
            "geheim",
            format!(
                "C a1 AUTHENTICATE PLAIN {plain}\nS a1 BAD what?\nC a2 AUTHENTICATE PLAIN\n\
                 S a2 BAD what?\n= Refused: the server does not let me in: what?\n"
            ),
        ),
        // what it is offered after the login is asked for, if it is not said
        (
            "AUTH=PLAIN SASL-IR",
            "geheim",
            format!(
                "C a1 AUTHENTICATE PLAIN {plain}\nS a1 OK\nC a2 CAPABILITY\nS * CAPABILITY IMAP4rev1 LIST-STATUS\n\
                 S a2 OK\nC a3 LIST \"\" \"*\" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))\n"
            ),
        ),
        // refusals
        (
            "",
            "x",
            "C a1 LOGIN \"me\" \"x\"\nS a1 NO [AUTHENTICATIONFAILED] wrong\n\
             = Refused: the server does not let me in: wrong\n"
                .to_owned(),
        ),
        (
            "",
            "x",
            "C a1 LOGIN \"me\" \"x\"\nS a1 NO [UNAVAILABLE] later\n\
             = Lost: the server does not let me in: later\n"
                .to_owned(),
        ),
        (
            "",
            "x",
            "C a1 LOGIN \"me\" \"x\"\nS a1 NO [LIMIT] too many\n\
             = Lost: the server does not let me in: too many\n"
                .to_owned(),
        ),
        (
            "",
            "x",
            "C a1 LOGIN \"me\" \"x\"\nS * BYE too many\n= Lost: the server hung up: too many\n".to_owned(),
        ),
        // Security: S55.
        (
            "",
            "x",
            "C a1 LOGIN \"me\" \"x\"\nS * BYE [AUTHENTICATIONFAILED] wrong\n\
             = Refused: the server hung up: wrong\n"
                .to_owned(),
        ),
        (
            "",
            "x",
            "C a1 LOGIN \"me\" \"x\"\nS a1 NO [ALERT] Read this!\n= warning: the server says: Read this!\n\
             = Refused: the server does not let me in: Read this!\n"
                .to_owned(),
        ),
    ];
    for (capabilities, secret, rest) in table {
        let script = format!("{}! secret {secret}\n{rest}", greeted(capabilities));
        converse(&settings(), &all(), &script);
    }
}

#[test]
fn logins_with_a_token() {
    let mut token = settings();
    token.token = true;
    let table = [
        (
            "AUTH=XOAUTH2 SASL-IR",
            // what Google says to one that is expired
            "C a1 AUTHENTICATE XOAUTH2 dXNlcj1tZQFhdXRoPUJlYXJlciB0AQE=\n\
             S + eyJzdGF0dXMiOiI0MDEifQ==\n\
             C \n\
             S a1 NO [AUTHENTICATIONFAILED] Invalid.\n\
             = Refused: the server does not let me in: Invalid: {\"status\":\"401\"}\n",
        ),
        (
            "AUTH=OAUTHBEARER AUTH=XOAUTH2",
            "C a1 AUTHENTICATE OAUTHBEARER\n\
             S + \n\
             C bixhPW1lLAFob3N0PWltYXAuZXhhbXBsZS5vcmcBcG9ydD05OTMBYXV0aD1CZWFyZXIgdAEB\n\
             S + e30=\n\
             C AQ==\n\
             S a1 NO\n\
             = Refused: the server does not let me in: {}\n",
        ),
    ];
    for (capabilities, rest) in table {
        let script = format!("{}! secret t\n{rest}", greeted(capabilities));
        converse(&token, &all(), &script);
    }
    let none = "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\n\
                = Config: the server does not take a token (it has neither OAUTHBEARER nor XOAUTH2); \
                use :secret-command or auth-source\n";
    converse(&token, &all(), none);
}

// Security: S32.
#[test]
fn a_login_that_cannot_be() {
    let table = [
        (
            "S * OK [CAPABILITY IMAP4rev1 LOGINDISABLED STARTTLS] ready",
            "= Config: the server does not take a password on this connection (LOGINDISABLED); set :tls in :remote",
        ),
        ("! closed", "= Lost: the line is dead"),
        ("T 60", "= Lost: the server did not answer for 60 s"),
        (
            "S * BYE overloaded",
            "= Lost: the server hung up: overloaded",
        ),
        (
            "S * NO [ALERT] go",
            "= warning: the server says: go\n= Lost: the server greets with: go",
        ),
        (
            "S SSH-2.0-OpenSSH_9.2",
            "= Lost: what answers is no IMAP server",
        ),
        (
            "S +OK POP3 ready",
            "= Lost: the server wants more of a command that is whole",
        ),
        (
            "S a1 OK",
            "= Lost: the server answers a command that was not given",
        ),
    ];
    for (said, expected) in table {
        converse(&settings(), &all(), &format!("{said}\n{expected}\n"));
    }
    let script = [
        &greeted("")[..],
        "S * CAPABILITY LOGINDISABLED\n! secret geheim\n= Config: the server does not take a password on \
         this connection (LOGINDISABLED); set :tls in :remote\n",
    ]
    .concat();
    converse(&settings(), &all(), &script);
    let script = [
        &greeted("")[..],
        "! none no password found\n= Config: no password found",
    ]
    .concat();
    converse(&settings(), &all(), &script);
}

// Security: S32.
#[test]
fn starttls_comes_first() {
    let mut starttls = settings();
    starttls.starttls = true;
    let well = r#"
        S * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready
        C a1 STARTTLS
        S a1 OK begin
        = secure
        ! secured
        C a2 CAPABILITY
        S * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR
        S a2 OK
        = ask
    "#;
    converse(&starttls, &all(), well);
    let table = [
        (
            "S * PREAUTH [CAPABILITY IMAP4rev1] hello",
            "= Lost: the server is logged in before STARTTLS: somebody may be in between",
        ),
        (
            "S * OK [CAPABILITY IMAP4rev1] ready",
            "= Config: the server does not offer STARTTLS; correct :tls in :remote",
        ),
        (
            "S * OK [CAPABILITY IMAP4rev1 STARTTLS] ready\nC a1 STARTTLS\nS a1 NO not now",
            "= Lost: the server refuses STARTTLS: not now",
        ),
    ];
    for (said, expected) in table {
        converse(&starttls, &all(), &format!("{said}\n{expected}\n"));
    }
    // What was put behind the answer is not taken for what is said by TLS (CVE-2011-0411 and its kin).
    let now = Instant::now();
    let mut session = Session::new(now, starttls, all());
    session.handle(now, Input::Bytes(b"* OK [CAPABILITY STARTTLS] ready\r\n"));
    let acts = session.handle(
        now,
        Input::Bytes(b"a1 OK begin\r\n* CAPABILITY AUTH=PLAIN\r\n"),
    );
    let shown: Vec<String> = acts.iter().map(shown).collect();
    let text =
        "= Lost: the server said something between STARTTLS and TLS; somebody may be in between";
    assert_eq!(shown, ["= secure", text]);
}

// Security: S34, S35, S37.
#[test]
fn hostile_servers() {
    let table = [
        (
            "S a9 OK",
            "= Lost: the server answers a command that was not given",
        ),
        ("S + more", ""),
        ("S a4 OK", "= Lost: the server ended IDLE"),
        ("S * BYE", "= Lost: the server hung up"),
        (
            "S * OK [NOTIFICATIONOVERFLOW] sorry",
            "= Lost: the server tells of changes no longer (NOTIFICATIONOVERFLOW)",
        ),
        (
            "S * X {99999999999999999999}",
            "= Lost: the server announced more bytes than can be counted",
        ),
        // unsolicited: nothing is selected, nobody logs in
        (
            "S * 5 EXISTS\nS * 5 EXPUNGE\nS * VANISHED 1\nS * 1 FETCH ()",
            "",
        ),
        (
            "S * CAPABILITY IMAP4rev1\nS * ENABLED X\nS * FLAGS ()\nS * SEARCH 1\nS * PREAUTH hi",
            "",
        ),
        ("S * STATUS INBOX ()\nS * LIST () \"/\" INBOX", ""),
        ("S * LIST () \"/\" \"\"\nS * LIST () NIL \"\"", ""),
        // it knows a better place
        ("S * OK [REFERRAL imap://other.example.org/] go there", ""),
        ("S * NO [REFERRAL imap://other.example.org/] go there", ""),
        // a name that would be a command, were it asked for
        ("S * LIST () \"/\" {13}\\nx\"\\na9 DELETE y", ""),
    ];
    for (said, expected) in table {
        let script = format!("{NOTIFY}\n{said}\n{expected}\n");
        converse(&settings(), &all(), &script);
    }
}

// Security: S36.
#[test]
fn what_the_server_wants_people_to_see_is_shown_once() {
    let mut script = NOTIFY.to_owned();
    for number in 0..MOST_ALERTS + 2 {
        script += &format!("S * OK [ALERT] {number}\n");
        if number < MOST_ALERTS {
            script += &format!("= warning: the server says: {number}\nS * NO [ALERT] {number}\n");
        }
    }
    converse(&settings(), &all(), &script);
}

#[test]
fn a_rename_behind_a_look() {
    // The old name was seen before, the new one would have come before it.
    let script = NOTIFY.replace("lists/a", "b").replace(
        "S a3 OK\n    = everything",
        "S * LIST () \"/\" a (\"OLDNAME\" (b))\n= b folder-deleted\nS * STATUS a (MESSAGES 0)\nS a3 OK\n= everything",
    );
    let session = converse(&settings(), &all(), &script);
    assert!(session.snapshot.knows(b"a") && !session.snapshot.knows(b"b"));
    // Another one takes the old name: what was known of the first says nothing about it.
    let session = converse(&settings(), &all(), NOTIFY);
    let script = NOTIFY
        .replace("= everything", "= lists/a folder-created")
        .replace(
            "S a3 OK",
            "S * LIST () \"/\" b (\"OLDNAME\" (lists/a))\n= lists/a folder-deleted
        S * LIST (\\NonExistent) \"/\" b\nS * LIST () \"/\" lists/a\nS a3 OK",
        );
    converse(&settings(), &Role::All(session.into_snapshot()), &script);
}

#[test]
fn a_mailbox_that_is_made_during_a_look() {
    let session = converse(&settings(), &all(), NOTIFY);
    // The look has gone past it: the server tells its name, and nothing else of it.
    let script = NOTIFY
        .replace("S a3 OK", "S * LIST () \"/\" N\nS a3 OK")
        .replace("= everything", "= N folder-created");
    converse(&settings(), &Role::All(session.into_snapshot()), &script);
    // One that was removed before the look, and is made anew behind it.
    let session = converse(&settings(), &all(), NOTIFY);
    let status =
        "S * STATUS lists/a (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 2 UNSEEN 0 HIGHESTMODSEQ 1)\n";
    let script = NOTIFY
        .replace(status, "")
        .replace("= everything", "= lists/a unknown");
    // What was known of the first says nothing about the numbers of the other.
    let script = script + "S * STATUS lists/a (MESSAGES 1 UIDNEXT 2 UNSEEN 0)\n= lists/a unknown\n";
    converse(&settings(), &Role::All(session.into_snapshot()), &script);
}

// Security: S33.
#[test]
fn more_mailboxes_than_anybody_has() {
    let mut session = converse(&settings(), &all(), NOTIFY);
    let now = Instant::now();
    let mut say = |line: String| session.handle(now, Input::Bytes(line.as_bytes()));
    for number in 0..2 * MOST_MAILBOXES {
        say(format!("* LIST () \"/\" m{number}\r\n"));
    }
    // Of those that are known it is known what happened, of the others that something did.
    let shown = |acts: Vec<Act>| acts.iter().map(shown).collect::<Vec<_>>();
    let push = |name: &str| format!("* STATUS {name} (MESSAGES 4 UIDNEXT 5 UNSEEN 1)\r\n");
    assert_eq!(shown(say(push("INBOX"))), ["= INBOX new"]);
    let last = format!("m{}", 2 * MOST_MAILBOXES - 1);
    for _ in 0..2 {
        assert_eq!(shown(say(push(&last))), [format!("= {last} unknown")]);
    }
    assert!(session.names.len() <= MOST_MAILBOXES && session.snapshot.len() <= MOST_MAILBOXES);
    assert!(!session.snapshot.is_complete());
    // A look at them is doubt as a whole, and none of them is taken to be gone.
    let mut script = String::from(
        "S * PREAUTH [CAPABILITY IMAP4rev1 LIST-STATUS] hello\nC a1 LIST \"\" \"*\" RETURN \
         (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))\n",
    );
    for number in 0..MOST_MAILBOXES + 5 {
        script += &format!("S * LIST () \"/\" n{number}\nS * STATUS n{number} (MESSAGES 1)\n");
    }
    script += "S a1 OK\n= everything\n= watching by Sweep\n";
    let role = Role::All(session.into_snapshot());
    let (session, _) = hold(Session::new(now, settings(), role), now, &script, 1000);
    assert!(session.snapshot.knows(b"INBOX"));
}

// Security: S34.
#[test]
fn a_bye_at_every_moment() {
    let lines: Vec<&str> = NOTIFY.lines().map(str::trim).collect();
    for end in 0..lines.len() {
        if lines[end].starts_with("C ") || lines[end].starts_with("= ") {
            continue;
        }
        let script = lines[..end].join("\n");
        let script = format!("{script}\nS * BYE x\n= Lost: the server hung up: x\n");
        let session = converse(&settings(), &all(), &script);
        assert_eq!(session.deadline(), None);
    }
}

#[test]
fn nothing_is_due_while_the_server_is_silent() {
    let now = Instant::now();
    let session = Session::new(now, settings(), all());
    let (session, now) = hold(session, now, NOTIFY, 1000);
    assert_eq!(session.deadline(), Some(now + Duration::from_secs(540)));
    let session = Session::new(now, settings(), all());
    let (session, now) = hold(session, now, IDLE, 1000);
    assert_eq!(session.deadline(), Some(now + Duration::from_secs(300)));
}

// Security: S34.
#[test]
fn any_server_at_all() {
    let mut chance = 88_172_645_463_325_252u64;
    let mut next = move |most: usize| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        (chance % most as u64) as usize
    };
    let words = [
        "* ",
        "a1 ",
        "a2 ",
        "a3 ",
        "a4 ",
        "a5 ",
        "OK ",
        "NO ",
        "BAD ",
        "BYE ",
        "PREAUTH ",
        "+ ",
        "[CAPABILITY IMAP4rev1 IDLE ENABLE CONDSTORE LIST-STATUS NOTIFY] ",
        "[CAPABILITY IDLE] ",
        "LIST ",
        "STATUS ",
        "() ",
        "(MESSAGES 3 UIDNEXT 5) ",
        "\"/\" ",
        "NIL ",
        "INBOX ",
        "{3}\r\nabc ",
        "3 ",
        "EXISTS ",
        "EXPUNGE ",
        "FETCH ",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "(OLDNAME (a)) ",
        "&AOk- ",
        "é ",
    ];
    for _ in 0..3000 {
        let mut now = Instant::now();
        let mut session = Session::new(now, settings(), all());
        let mut over = false;
        for _ in 0..next(80) {
            let word = words[next(words.len())];
            let input = match next(40) {
                0 => Input::Secured,
                1 => Input::Secret(Secret::new(b"geheim".to_vec())),
                2 => {
                    now += Duration::from_secs(next(700) as u64);
                    Input::Tick
                }
                _ => Input::Bytes(word.as_bytes()),
            };
            let acts = session.handle(now, input);
            assert!(
                !over || acts.is_empty(),
                "it goes on after its end: {acts:?}"
            );
            over |= acts.iter().any(|act| matches!(act, Act::End(_)));
            assert!(!format!("{session:?}{acts:?}").contains("geheim"));
            if let Some(deadline) = session.deadline() {
                assert!(deadline > now, "it is late already");
            }
        }
    }
}
