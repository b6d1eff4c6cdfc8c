//! Anything at all, said to whatever reads a server: seeded, from the conversations and responses of the
//! tables, mixed and damaged.
//!
//! `FUZZ=10000000` tries so many, `FUZZ_CASE=17` the one that failed.  For millions:
//! `CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true FUZZ=10000000 cargo test --release --test imap fuzz`.

use std::env;
use std::time::{Duration, Instant};

use mailsync_module::remote::imap::frame::{Broken, Frame, Framer};
use mailsync_module::remote::imap::response;
use mailsync_module::remote::imap::sasl::Mechanism;
use mailsync_module::remote::imap::secret::Secret;
use mailsync_module::remote::imap::session::{Act, Input, Name, Role, Session, Settings};
use mailsync_module::remote::imap::snapshot::Snapshot;
use mailsync_module::remote::names::Naming;

use crate::plain;

/// So many each time that the tests run.
const USUAL: u64 = 50_000;

/// What must not be shown.
const SECRET: &str = "geheim";

const CONVERSATIONS: &str = include_str!("../../src/remote/imap/session/tests.rs");
const RESPONSES: &str = include_str!("../../src/remote/imap/response/tests.rs");

/// A number that is not to be guessed, and always the same.
struct Chance(u64);

impl Chance {
    fn of(case: u64) -> Self {
        Chance(case.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % most.max(1) as u64) as usize
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What happens to a session.
#[derive(Clone, Debug)]
enum Event {
    Bytes(Vec<u8>),
    Passes(u64),
    Poke,
    Secured,
    Secret,
    NoSecret,
    Told(Vec<u8>),
    Closed,
}

/// The texts of string literals in a program in Rust, as far as these have what is of use.
fn literals(program: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = program;
    while let Some(at) = rest.find('"') {
        let hashes = rest[..at].len() - rest[..at].trim_end_matches('#').len();
        let raw = rest[..at - hashes].ends_with('r');
        rest = &rest[at + 1..];
        if raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let Some((text, after)) = rest.split_once(&end) else {
                break;
            };
            found.push(text.to_owned());
            rest = after;
            continue;
        }
        let mut text = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    rest = &rest[at + 1..];
                    break;
                }
                '\\' => match chars.next().map_or(' ', |it| it.1) {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    '\n' => {}
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
        found.push(text);
    }
    found
}

/// What inputs are made of.
struct Seeds {
    conversations: Vec<Vec<Event>>,
    lines: Vec<Vec<u8>>,
}

impl Seeds {
    fn new() -> Self {
        let mut seeds = Seeds {
            conversations: Vec::new(),
            lines: Vec::new(),
        };
        for text in literals(CONVERSATIONS) {
            let events: Vec<Event> = text.lines().filter_map(|it| event(it.trim())).collect();
            if !events.is_empty() {
                seeds.conversations.push(events);
            }
        }
        let lines = literals(RESPONSES).into_iter().map(String::into_bytes);
        seeds.lines.extend(lines.filter(|it| it.len() > 1));
        assert!(seeds.conversations.len() > 40 && seeds.lines.len() > 100);
        seeds
    }

    /// The conversation that begins so, and goes on.
    fn beginning(&self, with: &str) -> Vec<Event> {
        let mut longest: Vec<Event> = Vec::new();
        for events in &self.conversations {
            if let Some(Event::Bytes(first)) = events.first()
                && first.starts_with(with.as_bytes())
                && events.len() > longest.len()
            {
                longest.clone_from(events);
            }
        }
        assert!(longest.len() > 1, "{with}");
        longest
    }
}

/// A line of a conversation, if it is one that happens to the session.
fn event(line: &str) -> Option<Event> {
    let (kind, text) = line.split_at_checked(2)?;
    Some(match (kind, text) {
        ("S ", _) => Event::Bytes([&text.replace("\\n", "\r\n"), "\r\n"].concat().into()),
        ("T ", _) => Event::Passes(text.parse().ok()?),
        ("! ", "poke") => Event::Poke,
        ("! ", "secured") => Event::Secured,
        ("! ", "closed") => Event::Closed,
        ("! ", text) => match text.split_once(' ')? {
            ("secret", _) => Event::Secret,
            ("none", _) => Event::NoSecret,
            (_, name) => Event::Told(name.into()),
        },
        _ => return None,
    })
}

const WORDS: [&str; 40] = [
    "* ",
    "a1 ",
    "a2 ",
    "a3 ",
    "a4 ",
    "a5 ",
    "a6 ",
    "OK ",
    "NO ",
    "BAD ",
    "BYE ",
    "PREAUTH ",
    "+ ",
    "\r\n",
    "\n",
    "\r",
    "{0}\r\n",
    "{3}\r\nabc",
    "{4294967296}\r\n",
    "{5}",
    "~{2+}\r\n",
    "\"",
    "\\",
    "(",
    ")",
    "((((((((((((((((((((((((((((((((((",
    "NIL ",
    "LIST () \"/\" ",
    "STATUS INBOX (",
    "(\\NonExistent) ",
    "(\"OLDNAME\" (a)) ",
    "EXISTS\r\n",
    "EXPUNGE\r\n",
    "FETCH ()\r\n",
    "[ALERT] ",
    "[CAPABILITY IMAP4rev1 IDLE NOTIFY ENABLE CONDSTORE LIST-STATUS ID NAMESPACE STARTTLS AUTH=PLAIN SASL-IR] ",
    "[NOTIFICATIONOVERFLOW] ",
    "&AOk-",
    "é",
    "\0",
];

const NUMBERS: [&str; 8] = [
    "0",
    "1",
    "4",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "00000000000000000000000000009",
];

fn damage(chance: &mut Chance, seeds: &Seeds, bytes: &mut Vec<u8>) {
    let at = chance.below(bytes.len() + 1);
    match chance.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
        2 => bytes.truncate(at),
        3 => {
            let end = (at + 1 + chance.below(8)).min(bytes.len());
            drop(bytes.drain(at..end));
        }
        4 => {
            let digit = bytes.iter().position(u8::is_ascii_digit);
            if let Some(from) = digit {
                let more = bytes[from..].iter().take_while(|it| it.is_ascii_digit());
                let until = from + more.count();
                bytes.splice(from..until, chance.pick(&NUMBERS).bytes());
            }
        }
        5 => {
            let line = chance.pick(&seeds.lines).clone();
            bytes.splice(at..at, line);
        }
        _ => {
            bytes.splice(at..at, chance.pick(&WORDS).bytes());
        }
    }
}

fn anything(chance: &mut Chance, seeds: &Seeds) -> Event {
    match chance.below(16) {
        0 => Event::Passes([1, 9, 59, 60, 300, 540, 700][chance.below(7)]),
        1 => Event::Poke,
        2 => Event::Secured,
        3 => Event::Secret,
        4 => Event::Told(b"a".to_vec()),
        5 if chance.once_in(4) => Event::Closed,
        6 if chance.once_in(4) => Event::NoSecret,
        7..10 => Event::Bytes([chance.pick(&seeds.lines), &b"\r\n"[..]].concat()),
        _ => {
            let conversation = chance.pick(&seeds.conversations);
            chance.pick(conversation).clone()
        }
    }
}

/// What happens, and to whom.
struct Case {
    settings: Settings,
    role: Role,
    events: Vec<Event>,
}

fn case(chance: &mut Chance, seeds: &Seeds, beginnings: &[Vec<Event>]) -> Case {
    let mut events = chance.pick(beginnings).clone();
    for _ in 0..chance.below(3) {
        events.extend(chance.pick(&seeds.conversations).iter().cloned());
    }
    for _ in 0..chance.below(6) {
        let at = chance.below(events.len() + 1);
        match chance.below(6) {
            0 if at < events.len() => drop(events.remove(at)),
            1 if at < events.len() => {
                let other = chance.below(events.len());
                events.swap(at, other);
            }
            2 if at < events.len() => {
                let again = events[at].clone();
                events.insert(at, again);
            }
            3 => events.insert(at, anything(chance, seeds)),
            _ => {
                if let Some(Event::Bytes(bytes)) = events.get_mut(at) {
                    damage(chance, seeds, bytes);
                }
            }
        }
    }
    let mut settings = plain(993, "me").settings;
    settings.starttls = chance.once_in(8);
    settings.token = chance.once_in(16);
    if chance.once_in(8) {
        settings.mechanism = Some(*chance.pick(&[
            Mechanism::Plain,
            Mechanism::Login,
            Mechanism::Xoauth2,
            Mechanism::Oauthbearer,
        ]));
    }
    if chance.once_in(8) {
        settings.idle = Some(vec![b"a".to_vec(), b"b".to_vec(), b"lists/a".to_vec()]);
    }
    if chance.once_in(8) {
        let separator = chance.pick(&[&b""[..], b".", b"/", b"::"]).to_vec();
        let prefix = chance.pick(&[&b""[..], b"INBOX.", b"x/"]).to_vec();
        settings.naming = Some(Naming { prefix, separator });
    }
    let role = if chance.once_in(6) {
        let (server, canonical) = (b"x\"y".to_vec(), b"x".to_vec());
        Role::One(Name { server, canonical })
    } else {
        Role::All(Snapshot::default())
    };
    Case {
        settings,
        role,
        events,
    }
}

/// How much of what is left comes next.
type Sizes<'a> = &'a mut dyn FnMut(&[u8]) -> usize;

/// All up to the next line: a session does what is due whenever something has come, and that may matter
/// for what it makes of the next response.
fn a_line(rest: &[u8]) -> usize {
    let end = rest.iter().position(|it| *it == b'\n');
    end.map_or(rest.len(), |end| end + 1)
}

/// A session, and what has to be so of it at any time.
struct Held {
    session: Session,
    now: Instant,
    over: bool,
    /// It waits for what may take its time.
    asks: bool,
    secures: bool,
}

impl Held {
    fn new(now: Instant, case: &Case) -> Self {
        Held {
            session: Session::new(now, case.settings.clone(), case.role.clone()),
            now,
            over: false,
            asks: false,
            secures: false,
        }
    }

    fn handle(&mut self, input: Input, acts: &mut Vec<String>) {
        match input {
            Input::Secret(_) | Input::NoSecret(_) => self.asks = false,
            Input::Secured => self.secures = false,
            _ => {}
        }
        let done = self.session.handle(self.now, input);
        assert!(!self.over || done.is_empty(), "after its end: {done:?}");
        for act in &done {
            assert!(!self.over, "{done:?}");
            match act {
                Act::Send(bytes) => {
                    let line = bytes.strip_suffix(b"\r\n").expect("a line");
                    let strange = line.iter().any(|it| matches!(it, b'\r' | b'\n' | 0));
                    assert!(!strange, "more than a line: {}", line.escape_ascii());
                }
                Act::Ask => self.asks = true,
                Act::Secure => self.secures = true,
                Act::End(_) => self.over = true,
                Act::Change(name, kinds) => {
                    assert!(!name.is_empty() && !name.contains(&0) && !kinds.is_empty());
                }
                _ => {}
            }
        }
        // What is told at once is told in any order.
        let from = acts.len();
        acts.extend(done.iter().map(|act| format!("{act:?}")));
        acts[from..].sort_unstable();
        match self.session.deadline() {
            Some(deadline) => assert!(!self.over && deadline > self.now, "it is late already"),
            None => assert!(self.over || self.asks || self.secures, "it waits for ever"),
        }
    }

    fn event(&mut self, event: &Event, sizes: Sizes, acts: &mut Vec<String>) {
        match event {
            Event::Bytes(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(sizes(rest).clamp(1, rest.len()));
                    self.handle(Input::Bytes(piece), acts);
                    rest = after;
                }
            }
            Event::Passes(seconds) => {
                self.now += Duration::from_secs(*seconds);
                self.handle(Input::Tick, acts);
            }
            Event::Poke => self.handle(Input::Poke, acts),
            Event::Secured => self.handle(Input::Secured, acts),
            Event::Secret => self.handle(Input::Secret(Secret::new(SECRET.into())), acts),
            Event::NoSecret => self.handle(Input::NoSecret("none".to_owned()), acts),
            Event::Told(name) => {
                let kinds = mailsync_module::change::Kinds::NEW;
                self.handle(Input::Told(name, kinds), acts);
            }
            Event::Closed => self.handle(Input::Closed("the line is dead".to_owned()), acts),
        }
    }

    /// A server that says nothing any more is left in the end.
    fn wait(&mut self) {
        let began = self.now;
        for _ in 0..20 {
            let Some(deadline) = self.session.deadline() else {
                return;
            };
            self.now = deadline;
            self.handle(Input::Tick, &mut Vec::new());
        }
        panic!("it waits after {:?}", self.now - began);
    }
}

fn frames(bytes: &[u8], sizes: Sizes) -> (Vec<Frame>, Option<Broken>) {
    let (mut framer, mut frames, mut rest) = (Framer::default(), Vec::new(), bytes);
    while !rest.is_empty() {
        let (mut piece, after) = rest.split_at(sizes(rest).clamp(1, rest.len()));
        rest = after;
        loop {
            match framer.next(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(broken) => return (frames, Some(broken)),
            }
        }
        assert!(piece.is_empty());
    }
    (frames, None)
}

/// Says which case it is that fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("FUZZ_CASE={}", self.0);
        }
    }
}

fn try_it(number: u64, seeds: &Seeds, beginnings: &[Vec<Event>]) {
    let _told = Told(number);
    let mut chance = Chance::of(number);
    let case = case(&mut chance, seeds, beginnings);
    if env::var_os("FUZZ_CASE").is_some() {
        for event in &case.events {
            match event {
                Event::Bytes(bytes) => println!("{}", bytes.escape_ascii()),
                other => println!("{other:?}"),
            }
        }
    }
    let now = Instant::now();
    let (mut whole, mut cut) = (Held::new(now, &case), Held::new(now, &case));
    let size = [1, 2, 3, 7, 40][chance.below(5)];
    for event in &case.events {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        whole.event(event, &mut a_line, &mut one);
        cut.event(
            event,
            &mut |rest| a_line(rest).min(1 + chance.below(size)),
            &mut other,
        );
        one.sort_unstable();
        other.sort_unstable();
        assert_eq!(one, other, "it matters how it was cut: {event:?}");
    }
    if chance.once_in(64) {
        assert!(!format!("{:?}", whole.session).contains(SECRET));
    }
    whole.wait();
    let bytes = case.events.iter().filter_map(|event| match event {
        Event::Bytes(bytes) => Some(&bytes[..]),
        _ => None,
    });
    let bytes: Vec<u8> = bytes.flatten().copied().collect();
    let whole = frames(&bytes, &mut |_| usize::MAX);
    assert_eq!(whole, frames(&bytes, &mut |_| 1 + chance.below(size)));
    for frame in &whole.0 {
        let _ = response::read(frame);
    }
}

// Security: S34.
#[test]
fn anything_at_all() {
    let number = |name| env::var(name).ok().map(|it| it.parse::<u64>().expect(name));
    let seeds = Seeds::new();
    let beginnings = [
        seeds
            .beginning("* PREAUTH [CAPABILITY IMAP4rev1 IDLE ENABLE CONDSTORE LIST-STATUS NOTIFY]"),
        seeds.beginning("* PREAUTH [CAPABILITY IMAP4rev1 IDLE ENABLE CONDSTORE LIST-STATUS]"),
        seeds.beginning("* PREAUTH [CAPABILITY IMAP4rev1 NOTIFY LIST-STATUS ID]"),
        seeds.beginning("* PREAUTH [CAPABILITY IMAP4rev1 LIST-STATUS NAMESPACE]"),
        seeds.beginning("* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED]"),
        vec![
            Event::Bytes(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n".to_vec()),
            Event::Secret,
            Event::Bytes(b"a1 OK [CAPABILITY IMAP4rev1 IDLE NOTIFY] in\r\n".to_vec()),
        ],
        vec![
            Event::Bytes(b"* OK [CAPABILITY AUTH=XOAUTH2 AUTH=PLAIN] ready\r\n".to_vec()),
            Event::Secret,
        ],
        Vec::new(),
    ];
    if let Some(only) = number("FUZZ_CASE") {
        return try_it(only, &seeds, &beginnings);
    }
    let began = Instant::now();
    let count = number("FUZZ").unwrap_or(USUAL);
    for case in 0..count {
        try_it(case, &seeds, &beginnings);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{count} cases in {seconds:.1} s");
}
