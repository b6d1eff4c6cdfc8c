//! IMAP as it is on the wire: a real Dovecot, and servers of the tests' own that do what none should.
//!
//! What is said and meant are tables of scripts (`src/remote/imap/session/tests.rs`).  Nothing here waits
//! for a fixed time: that something is *not* told is shown by what is told next.

mod certificates;
mod dovecot;
mod fuzz;
#[path = "../support/fuzz.rs"]
mod fuzzing;
#[path = "../support/imap.rs"]
mod imap;
mod memory;
mod scripted;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/syncing.rs"]
mod syncing;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use mailsync_module::remote::imap::keeper::Heard;
use mailsync_module::remote::imap::line::{self, Line, News, Order, Server, Source};
use mailsync_module::remote::imap::secret::Secret;
use mailsync_module::remote::imap::session::{End, Mode, Settings};
use mailsync_module::remote::imap::snapshot::Snapshot;
use mailsync_module::remote::imap::wire::Way;
use support::LONG;

/// A thread that is told to end does so within this, on a machine that does other things.
pub const MOMENT: Duration = Duration::from_secs(3);

/// A server at this place of the machine's own, whose user is `user`.
fn server(way: Way, user: &str) -> Server {
    let port = match &way {
        Way::Host(_, port, _) => *port,
        Way::Tunnel { .. } => 0,
    };
    Server {
        way,
        pin: None,
        source: Source::Emacs,
        settings: Settings::new(user, "localhost", port),
    }
}

/// The same by a port without TLS.
fn plain(port: u16, user: &str) -> Server {
    server(Way::Host("localhost".to_owned(), port, false), user)
}

/// The variables that programs get.
fn environment() -> Vec<OsString> {
    let mut path = OsString::from("PATH=");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    vec![path]
}

/// A connection, and what it has told.
struct Watch {
    line: Line,
    news: Receiver<News>,
    /// What Emacs would answer.
    password: Result<Secret, String>,
    asked: usize,
    log: Vec<String>,
    heard: Heard,
}

impl Watch {
    fn start(server: Server) -> Self {
        Self::start_with(server, Snapshot::default())
    }

    fn start_with(server: Server, snapshot: Snapshot) -> Self {
        let (tell, news) = channel();
        let order = Order {
            number: 1,
            label: "test".to_owned(),
            server,
            snapshot,
        };
        Watch {
            line: line::start(order, move |news| drop(tell.send(news))).unwrap(),
            news,
            password: Ok(Secret::new(b"secret".to_vec())),
            asked: 0,
            log: Vec::new(),
            heard: Heard::default(),
        }
    }

    /// Connect, and wait until it is watched like this; what it tells of that is forgotten.
    fn watching(server: Server, mode: Mode) -> Self {
        let mut watch = Self::start(server);
        watch.wait("watching", |heard| heard.watching == Some(mode));
        assert!(watch.heard.everything, "nothing is known at first");
        watch.heard = Heard::default();
        watch
    }

    /// The next thing that is told; its end if it is that.
    fn next(&mut self, what: &str) -> Option<(End, Snapshot)> {
        match self.news.recv_timeout(LONG) {
            Ok(News::Heard) => {
                let Heard {
                    watching,
                    everything,
                    changes,
                } = self.line.take();
                self.heard.watching = watching.or(self.heard.watching);
                self.heard.everything |= everything;
                for (name, kinds) in changes {
                    *self.heard.changes.entry(name).or_default() |= kinds;
                }
            }
            Ok(News::Asked) => {
                self.asked += 1;
                self.line.give(self.password.clone());
            }
            Ok(News::Log(level, line)) => self.log.push(format!("{level}: {line}")),
            Ok(News::Over(end, snapshot)) => return Some((end, snapshot)),
            Err(error) => panic!("{what}: {error}; so far {:?} {:?}", self.heard, self.log),
        }
        None
    }

    fn wait(&mut self, what: &str, mut enough: impl FnMut(&Heard) -> bool) {
        while !enough(&self.heard) {
            if let Some((end, _)) = self.next(what) {
                panic!("{what}: it is over: {end:?}, {:?}", self.log);
            }
        }
    }

    /// Wait for a change of this folder, and say what else there was, in words.
    fn change(&mut self, folder: &str) -> BTreeMap<String, String> {
        self.wait(folder, |heard| {
            heard.changes.contains_key(folder.as_bytes())
        });
        assert!(!self.heard.everything, "doubt");
        words(std::mem::take(&mut self.heard.changes))
    }

    /// Wait for a line of the log with this in it.
    fn logged(&mut self, text: &str) {
        while !self.log.iter().any(|line| line.contains(text)) {
            let over = self.next(text);
            assert!(over.is_none(), "{text}: it is over: {over:?}");
        }
    }

    /// Its end, whoever has caused it.
    fn over(&mut self) -> (End, Snapshot) {
        let over = loop {
            if let Some(over) = self.next("its end") {
                break over;
            }
        };
        self.gone();
        over
    }

    /// End it; it has to be soon.
    fn end(&mut self) -> (End, Snapshot) {
        let began = Instant::now();
        self.line.end();
        let over = self.over();
        assert!(began.elapsed() < MOMENT, "{:?}", began.elapsed());
        over
    }

    /// The thread is gone.
    fn gone(&self) {
        let left = self.line.over().recv_timeout(LONG);
        assert!(left.is_err_and(|it| it.is_disconnected()), "a thread stays");
    }
}

fn words(changes: BTreeMap<Vec<u8>, mailsync_module::change::Kinds>) -> BTreeMap<String, String> {
    let words = changes.into_iter().map(|(name, kinds)| {
        let name = String::from_utf8_lossy(&name).into_owned();
        (name, mailsync_module::notation::words(kinds))
    });
    words.collect()
}

/// Folders and what happens in them, `FOLDER KINDS`.
fn expected(lines: &[&str]) -> BTreeMap<String, String> {
    let lines = lines.iter().map(|line| line.rsplit_once(' ').unwrap());
    lines
        .map(|(name, kinds)| (name.into(), kinds.into()))
        .collect()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "not within time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// The children of this process.
fn children() -> usize {
    let own = format!("/proc/self/task/{}/children", std::process::id());
    let all = fs::read_to_string(own).unwrap_or_default();
    all.split_whitespace().count()
}
