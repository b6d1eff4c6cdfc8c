//! What is sent when, and what is acknowledged.

use super::*;
use crate::change::Kinds;
use crate::change::testing::change;
use crate::frame::Synced;
use crate::syncer::Output;
use std::time::SystemTime;

fn log(text: &str) -> Notice {
    let (level, text) = ("info", text.to_owned());
    Notice::Log { level, text }
}

fn answer(slot: &str, request: i64, part: usize, parts: usize) -> Notice {
    Notice::Answer {
        slot: slot.to_owned(),
        request,
        part: (part, parts),
        fields: Vec::new(),
    }
}

fn store(number: usize, state: &'static str) -> Notice {
    Notice::Remote {
        account: AccountId(1),
        remote: RemoteId(number),
        what: "imap".to_owned(),
        state,
        text: String::new(),
    }
}

fn secret(number: usize) -> Notice {
    Notice::Secret {
        account: AccountId(1),
        remote: RemoteId(number),
        number: 1,
        host: "host".to_owned(),
        port: 993,
        user: "me".to_owned(),
        anew: false,
    }
}

/// What is done to a notifier, and `Frame`: the frame that comes now, as "generation.sequence"
/// and its records in short ("-": none).
enum Do {
    Change(&'static str, Kinds),
    Tell(Notice),
    Attach(i64, usize),
    Detach,
    Acknowledge(i64, u64, bool),
    Frame(&'static str),
}

/// The records in short: a change is "folder:kinds", a notice its first fields.
fn short(frame: Option<Vec<u8>>) -> String {
    let Some(frame) = frame else {
        return "-".to_owned();
    };
    let text = String::from_utf8(frame).unwrap();
    let (header, payload) = text.split_once('\n').unwrap();
    let header: Vec<&str> = header.split(' ').collect();
    assert_eq!(header[4], (payload.len() - 1).to_string());
    let mut words = vec![format!("{}.{}", header[2], header[3])];
    let mut fields = payload.trim_end_matches('\n').split_terminator('\0');
    while let Some(record) = fields.next() {
        let mut take = |count| (0..count).map(|_| fields.next().unwrap()).collect();
        let fields: Vec<&str> = match record {
            "change" => take(8),
            "state" => take(3),
            "log" | "ready" => take(2),
            "answer" | "remote" => take(5),
            "secret" => take(7),
            other => panic!("a record {other}"),
        };
        words.push(match record {
            "change" => format!("{}:{}", fields[1], fields[4]),
            "answer" => format!("{}#{}.{}", fields[0], fields[1], fields[2]),
            "remote" => format!("{}:{}", fields[1], fields[3]),
            "secret" => format!("{}?", fields[1]),
            _ => fields[1].to_owned(),
        });
    }
    words.join(" ")
}

#[test]
fn one_frame_is_in_flight_and_the_rest_is_merged() {
    use Do::*;
    const MUCH: usize = 32_768;
    let (new, flags, gone) = (Kinds::NEW, Kinds::FLAGS, Kinds::GONE);
    let state = |state| Notice::State {
        account: AccountId(0),
        state,
        text: String::new(),
    };
    // "change\0" "work\0" "a\0" "a\0" "\0" "n\0" "l\0" "0\0" "\0"
    const ONE: usize = 24;
    let table: Vec<(&str, Vec<Do>)> = vec![
        ("nothing to say", vec![Attach(1, MUCH), Frame("-")]),
        (
            "no pipe, no frame; all waits for one",
            vec![
                Change("a", new),
                Frame("-"),
                Attach(1, MUCH),
                Frame("1.1 a:n"),
                Frame("-"),
            ],
        ),
        (
            "first come, first served; what is merged keeps its place",
            vec![
                Attach(1, MUCH),
                Change("b", new),
                Change("a", flags),
                Change("b", gone),
                Frame("1.1 b:ng a:f"),
            ],
        ),
        (
            "while one is in flight, the next is merged",
            vec![
                Attach(1, MUCH),
                Change("a", new),
                Frame("1.1 a:n"),
                Change("a", flags),
                Change("a", gone),
                Frame("-"),
                Acknowledge(1, 1, true),
                Frame("1.2 a:fg"),
            ],
        ),
        (
            "only the one in flight is acknowledged, and once",
            vec![
                Attach(3, MUCH),
                Acknowledge(3, 0, false),
                Acknowledge(3, 1, false),
                Change("a", new),
                Frame("3.1 a:n"),
                Change("b", new),
                Acknowledge(3, 0, false),
                Acknowledge(3, 2, false),
                Acknowledge(2, 1, false),
                Acknowledge(4, 1, false),
                Frame("-"),
                Acknowledge(3, 1, true),
                Acknowledge(3, 1, false),
                Frame("3.2 b:n"),
                Acknowledge(3, 1, false),
                Frame("-"),
            ],
        ),
        (
            "a frame takes what fits, to the byte",
            vec![
                Attach(1, 2 * ONE),
                Change("a", new),
                Change("b", new),
                Change("c", new),
                Frame("1.1 a:n b:n"),
                Acknowledge(1, 1, true),
                Frame("1.2 c:n"),
            ],
        ),
        (
            "one byte less",
            vec![
                Attach(1, 2 * ONE - 1),
                Change("a", new),
                Change("b", new),
                Frame("1.1 a:n"),
                Acknowledge(1, 1, true),
                Frame("1.2 b:n"),
            ],
        ),
        (
            "what never fits goes alone, and holds up nobody",
            vec![
                Attach(1, ONE - 1),
                Change("a", new),
                Change("b", new),
                Frame("1.1 a:n"),
                Acknowledge(1, 1, true),
                Frame("1.2 b:n"),
            ],
        ),
        (
            "a new pipe gets again what was in flight, with what came later",
            vec![
                Attach(1, MUCH),
                Change("a", new),
                Change("b", new),
                Tell(state("watching")),
                Frame("1.1 watching a:n b:n"),
                Change("a", flags),
                Attach(2, MUCH),
                Acknowledge(1, 1, false),
                Frame("2.1 watching a:nf b:n"),
            ],
        ),
        (
            "a deletion that was in flight is followed by what came later",
            vec![
                Attach(1, MUCH),
                Change("a", Kinds::DELETED),
                Frame("1.1 a:d"),
                Change("a", Kinds::CREATED),
                Attach(2, MUCH),
                Frame("2.1 a:cu"),
            ],
        ),
        (
            "a pipe that is gone takes nothing",
            vec![
                Attach(1, MUCH),
                Change("a", new),
                Frame("1.1 a:n"),
                Detach,
                Change("b", new),
                Acknowledge(1, 1, false),
                Frame("-"),
                Attach(2, MUCH),
                Frame("2.1 a:n b:n"),
            ],
        ),
        (
            "notices are one a key, the last, and come before changes",
            vec![
                Attach(1, MUCH),
                Change("a", new),
                Tell(state("starting")),
                Tell(log("x")),
                Tell(log("x")),
                Tell(state("watching")),
                Frame("1.1 watching x a:n"),
            ],
        ),
        (
            "a notice in flight is not sent again over a newer one",
            vec![
                Attach(1, MUCH),
                Tell(state("starting")),
                Frame("1.1 starting"),
                Tell(state("watching")),
                Attach(2, MUCH),
                Frame("2.1 watching"),
            ],
        ),
        (
            "an answer replaces an older one of its slot, whole",
            vec![
                Attach(1, MUCH),
                Tell(answer("s", 1, 0, 2)),
                Tell(answer("s", 1, 1, 2)),
                Tell(answer("t", 2, 0, 1)),
                Tell(answer("s", 3, 0, 1)),
                Frame("1.1 t#2.0 s#3.0"),
            ],
        ),
        (
            "that a store is gone is told who has heard of it",
            vec![
                Attach(1, MUCH),
                Tell(store(1, "starting")),
                Frame("1.1 1:starting"),
                Acknowledge(1, 1, true),
                Tell(store(1, "waiting")),
                Tell(store(1, GONE)),
                Tell(store(2, "starting")),
                Frame("1.2 1:gone 2:starting"),
                Acknowledge(1, 2, true),
                Tell(store(1, GONE)),
                Frame("-"),
            ],
        ),
        (
            "of a store of which nobody has heard nothing is told, and nothing asked",
            vec![
                Attach(1, MUCH),
                Tell(store(1, "starting")),
                Tell(secret(1)),
                Tell(store(1, GONE)),
                Tell(store(2, "starting")),
                Tell(secret(2)),
                Frame("1.1 2:starting 2?"),
            ],
        ),
        (
            "the password of a store that is gone is wanted no more",
            vec![
                Attach(1, MUCH),
                Tell(store(1, "starting")),
                Frame("1.1 1:starting"),
                Tell(secret(1)),
                Tell(store(1, GONE)),
                Acknowledge(1, 1, true),
                Frame("1.2 1:gone"),
            ],
        ),
        (
            "what was in flight was not heard, but if it was acknowledged",
            vec![
                Attach(1, MUCH),
                Tell(store(1, "starting")),
                Frame("1.1 1:starting"),
                Acknowledge(1, 1, true),
                Tell(store(2, "starting")),
                Frame("1.2 2:starting"),
                Tell(store(1, GONE)),
                Tell(store(2, GONE)),
                Attach(2, MUCH),
                Frame("2.1 1:gone"),
                Attach(3, MUCH),
                Frame("3.1 1:gone"),
            ],
        ),
    ];
    for (what, steps) in table {
        let mut notifier = Notifier::default();
        notifier.account(AccountId(1), "work".to_owned());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Change(name, kinds) => notifier.change(change(name, kinds)),
                Tell(notice) => notifier.notice(notice),
                Attach(generation, limit) => notifier.attach(generation, limit),
                Detach => notifier.detach(),
                Acknowledge(generation, sequence, ours) => {
                    let was = notifier.acknowledge(generation, sequence);
                    assert_eq!(was, ours, "{what}, step {number}");
                }
                Frame(expected) => {
                    let frame = short(notifier.frame(Instant::now()));
                    assert_eq!(frame, expected, "{what}, step {number}");
                }
            }
        }
    }
}

#[test]
fn an_acknowledgement_is_listened_for_at_once_where_something_waits_for_it() {
    let start = Instant::now();
    let mut notifier = Notifier::default();
    notifier.account(AccountId(1), "work".to_owned());
    notifier.attach(1, 32_768);
    assert_eq!(notifier.listens(), None, "nothing to tell");
    notifier.change(change("a", Kinds::NEW));
    assert_eq!(notifier.listens(), None, "nothing in flight");
    notifier.frame(start);
    assert_eq!(notifier.listens(), Some(start + LEISURE), "one in flight");
    notifier.change(change("a", Kinds::FLAGS));
    assert_eq!(notifier.listens(), Some(start), "a change waits");
    notifier.acknowledge(1, 1);
    assert_eq!(notifier.listens(), None, "none in flight any more");
    notifier.frame(start);
    notifier.notice(log("a line"));
    assert_eq!(notifier.listens(), Some(start), "a notice waits");
    notifier.detach();
    assert_eq!(notifier.listens(), None, "no pipe");
}

#[test]
fn who_asked_for_a_run_is_told_how_that_went_however_many_results_wait() {
    const ENDS: [&str; 3] = ["ok", "partial", "transient"];
    let ended = |request: i64| ENDS[request as usize % 3];
    let mut notifier = Notifier::default();
    for request in 0..40 {
        let result = Synced {
            status: ended(request),
            exit: None,
            started: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            requests: vec![request],
            text: String::new(),
            output: Output::default(),
            total: 0,
            names: Vec::new(),
        };
        notifier.notice(Notice::Synced {
            account: AccountId(1),
            run: request as u64,
            result: Box::new(result),
        });
    }
    assert!(notifier.len() < MOST_RESULTS + ENDS.len());
    let mut answered = Vec::new();
    while let Some(notice) = notifier.notices.pop() {
        let Notice::Synced { result, .. } = notice else {
            panic!("another notice");
        };
        for request in result.requests {
            assert_eq!(result.status, ended(request), "request {request}");
            answered.push(request);
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..40).collect::<Vec<_>>(), "once each");
}

#[test]
fn memory_is_bounded_by_folders_and_by_some_lines() {
    let mut notifier = Notifier::default();
    notifier.account(AccountId(1), "work".to_owned());
    notifier.attach(1, 32_768);
    for i in 0..10_000 {
        notifier.change(change(&format!("f{}", i % 10), Kinds::NEW));
        notifier.notice(log(&format!("line {i}")));
        // Another configuration each time.
        notifier.notice(store(i, "starting"));
        notifier.notice(secret(i));
        notifier.notice(store(i, GONE));
        notifier.frame(Instant::now());
    }
    assert!(notifier.len() <= 2 * (10 + MOST_LOG_LINES));
    assert_eq!(notifier.pending(AccountId(1)), 0);
    // At most in flight, and again behind it.
    assert!((10..=20).contains(&notifier.pending(AccountId(0))));
    while let Some(flight) = notifier.flight.as_ref().map(|flight| flight.sequence) {
        assert!(notifier.acknowledge(1, flight));
        notifier.frame(Instant::now());
    }
    assert!(notifier.is_empty());
}
