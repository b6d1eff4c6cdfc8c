//! Anything at all, said to whatever reads a server: seeded, from the conversations and responses of the
//! tables, mixed and damaged.
//!
//! `FUZZ=10000000` tries so many, `FUZZ_CASE=17` the one that failed.  For millions:
//! `CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true FUZZ=10000000 cargo test --release --test imap fuzz`.

use std::time::{Duration, Instant};

use mailsync_module::remote::imap::frame::{Broken, Frame, Framer};
use mailsync_module::remote::imap::response;
use mailsync_module::remote::imap::sasl::Mechanism;
use mailsync_module::remote::imap::secret::Secret;
use mailsync_module::remote::imap::session::{Act, Input, Name, Role, Session, Settings};
use mailsync_module::remote::imap::snapshot::Snapshot;
use mailsync_module::remote::names::Naming;

use crate::fuzzing::{Rng, Stock, each, literals, only};
use crate::plain;

/// So many each time that the tests run.
const USUAL: u64 = 50_000;

/// What must not be shown.
const SECRET: &str = "geheim";

const CONVERSATIONS: &str = include_str!("../../src/remote/imap/session/tests.rs");
const RESPONSES: &str = include_str!("../../src/remote/imap/response/tests.rs");

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

/// What inputs are made of.
struct Seeds {
    conversations: Vec<Vec<Event>>,
    /// Responses, and words in them.
    stock: Stock,
}

impl Seeds {
    fn new() -> Self {
        let stock = Stock {
            samples: Vec::new(),
            words: &WORDS,
        };
        let mut seeds = Seeds {
            conversations: Vec::new(),
            stock: stock.with_literals(RESPONSES),
        };
        for text in literals(CONVERSATIONS) {
            let events: Vec<Event> = text.lines().filter_map(|it| event(it.trim())).collect();
            if !events.is_empty() {
                seeds.conversations.push(events);
            }
        }
        assert!(seeds.conversations.len() > 40 && seeds.stock.samples.len() > 100);
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

const WORDS: [&[u8]; 40] = [
    b"* ",
    b"a1 ",
    b"a2 ",
    b"a3 ",
    b"a4 ",
    b"a5 ",
    b"a6 ",
    b"OK ",
    b"NO ",
    b"BAD ",
    b"BYE ",
    b"PREAUTH ",
    b"+ ",
    b"\r\n",
    b"\n",
    b"\r",
    b"{0}\r\n",
    b"{3}\r\nabc",
    b"{4294967296}\r\n",
    b"{5}",
    b"~{2+}\r\n",
    b"\"",
    b"\\",
    b"(",
    b")",
    b"((((((((((((((((((((((((((((((((((",
    b"NIL ",
    b"LIST () \"/\" ",
    b"STATUS INBOX (",
    b"(\\NonExistent) ",
    b"(\"OLDNAME\" (a)) ",
    b"EXISTS\r\n",
    b"EXPUNGE\r\n",
    b"FETCH ()\r\n",
    b"[ALERT] ",
    b"[CAPABILITY IMAP4rev1 IDLE NOTIFY ENABLE CONDSTORE LIST-STATUS ID NAMESPACE STARTTLS AUTH=PLAIN SASL-IR] ",
    b"[NOTIFICATIONOVERFLOW] ",
    b"&AOk-",
    "é".as_bytes(),
    b"\0",
];

fn anything(chance: &mut Rng, seeds: &Seeds) -> Event {
    match chance.index(16) {
        0 => Event::Passes([1, 9, 59, 60, 300, 540, 700][chance.index(7)]),
        1 => Event::Poke,
        2 => Event::Secured,
        3 => Event::Secret,
        4 => Event::Told(b"a".to_vec()),
        5 if chance.once_in(4) => Event::Closed,
        6 if chance.once_in(4) => Event::NoSecret,
        7..10 => Event::Bytes([&chance.choose(&seeds.stock.samples)[..], b"\r\n"].concat()),
        _ => {
            let conversation = chance.choose(&seeds.conversations);
            chance.choose(conversation).clone()
        }
    }
}

/// What happens, and to whom.
struct Case {
    settings: Settings,
    role: Role,
    events: Vec<Event>,
}

fn case(chance: &mut Rng, seeds: &Seeds, beginnings: &[Vec<Event>]) -> Case {
    let mut events = chance.choose(beginnings).clone();
    for _ in 0..chance.index(3) {
        events.extend(chance.choose(&seeds.conversations).iter().cloned());
    }
    for _ in 0..chance.index(6) {
        let at = chance.index(events.len() + 1);
        match chance.index(6) {
            0 if at < events.len() => drop(events.remove(at)),
            1 if at < events.len() => {
                let other = chance.index(events.len());
                events.swap(at, other);
            }
            2 if at < events.len() => {
                let again = events[at].clone();
                events.insert(at, again);
            }
            3 => events.insert(at, anything(chance, seeds)),
            _ => {
                if let Some(Event::Bytes(bytes)) = events.get_mut(at) {
                    seeds.stock.damage(chance, bytes);
                }
            }
        }
    }
    let mut settings = plain(993, "me").settings;
    settings.starttls = chance.once_in(8);
    settings.token = chance.once_in(16);
    if chance.once_in(8) {
        settings.mechanism = Some(*chance.choose(&[
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
        let separator = chance.choose(&[&b""[..], b".", b"/", b"::"]).to_vec();
        let prefix = chance.choose(&[&b""[..], b"INBOX.", b"x/"]).to_vec();
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

fn try_it(chance: &mut Rng, seeds: &Seeds, beginnings: &[Vec<Event>]) {
    let case = case(chance, seeds, beginnings);
    if only().is_some() {
        for event in &case.events {
            match event {
                Event::Bytes(bytes) => println!("{}", bytes.escape_ascii()),
                other => println!("{other:?}"),
            }
        }
    }
    let now = Instant::now();
    let (mut whole, mut cut) = (Held::new(now, &case), Held::new(now, &case));
    let size = [1, 2, 3, 7, 40][chance.index(5)];
    for event in &case.events {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        whole.event(event, &mut a_line, &mut one);
        cut.event(
            event,
            &mut |rest| a_line(rest).min(1 + chance.index(size)),
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
    assert_eq!(whole, frames(&bytes, &mut |_| 1 + chance.index(size)));
    for frame in &whole.0 {
        let _ = response::read(frame);
    }
}

// Security: S34.
#[test]
fn anything_at_all() {
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
    each("imap", USUAL, |chance| try_it(chance, &seeds, &beginnings));
}
