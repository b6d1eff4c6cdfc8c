//! When a watcher program is run, and what its end means.
//!
//! A pure machine, one a remote store: `(now, event)` in, [`Act`]s out, and the next deadline.  How a
//! program is run is `connection`'s business, what it prints `protocol`'s, what a change is good for
//! `engine`'s.
//!
//! The rules, of which the tests are the table:
//!
//! - The first empty line says that the store is being watched.  Until then it was not, so that then
//!   (each time) everything is in doubt.  Where it does not come within a minute, the program is ended.
//! - A program that ends is started again, after a wait that doubles with each failure and begins anew
//!   after a minute that went well.  Wake and network change end the wait, and a wake ends a
//!   connection, too: nobody would tell that it is dead.
//! - mswatch's `watch_maildirs` exits with 2 when folders came or went: it is started again at once, but
//!   never more often than once a second.  Before its first empty line, 2 is an error as any other.
//! - A program that is not there (127), or that the server refuses (ssh's 255 with the words for it),
//!   pauses the store the third time in a row, until the user does something.
//! - mailsync-watch is asked for kinds.  One that does not know them (64, or another version of the
//!   protocol, or a greeting that never comes) is asked once more, without.
//! - One program at a time: the next one waits until the last has been waited for.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::attempts::{AT_MOST, Attempts, GOOD, Retry, Stand, State};
use super::heard::Heard;
use super::names::Naming;
use super::protocol::Dialect;
use crate::backoff;
use crate::change::Kinds;
use crate::syncer::outcome::Exit;

/// The first empty line is waited for so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// So many refusals in a row pause the store.
const MOST_REFUSALS: u32 = 3;

/// What mswatch's watcher says when folders came or went.
const FOLDERS_CHANGED: i32 = 2;
/// What a program says that does not know an option (`EX_USAGE`).
const USAGE: i32 = 64;
/// What a shell says where there is no such program.
const NOT_FOUND: i32 = 127;
/// What ssh says of its own errors.
const SSH: i32 = 255;

/// What is run, and what it calls folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Where programs are.
    pub search: Vec<PathBuf>,
    /// The whole environment.
    pub environment: Vec<OsString>,
    /// What a plain watcher calls folders.
    pub naming: Naming,
}

/// Our own watcher, which can be asked for more.
const OURS: &[u8] = b"mailsync-watch";

impl Program {
    /// Where our own watcher is named: the last word that ends in it, since a key of ssh may be called
    /// so too.
    fn ours(&self) -> Option<usize> {
        let named = |word: &OsString| {
            let before = word.as_bytes().strip_suffix(OURS);
            before.is_some_and(|before| matches!(before.last(), None | Some(b'/' | b' ')))
        };
        self.argv.iter().rposition(named)
    }

    /// The command line by which a program is asked to speak this dialect.
    #[must_use]
    pub fn argv(&self, dialect: Dialect) -> Vec<OsString> {
        let mut argv = self.argv.clone();
        if let (Dialect::Kinds, Some(at)) = (dialect, self.ours()) {
            // Changes are merged at this end anyway.
            let words = ["--kinds", "--delay", "0"].map(OsString::from);
            argv.splice(at + 1..at + 1, words);
        }
        argv
    }

    /// The command in short, for the user: words of a shell, though not quoted.
    #[must_use]
    pub fn called(&self) -> String {
        const MOST: usize = 200;
        let words = self.argv.iter().map(|word| word.to_string_lossy());
        let words = words.collect::<Vec<_>>().join(" ");
        match words.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}...", &words[..end]),
            None => words,
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        let program = self.argv.first().map(OsString::as_os_str);
        let name = Path::new(program.unwrap_or_default()).file_name();
        name.unwrap_or(OsStr::new("?"))
            .to_string_lossy()
            .into_owned()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something was heard from the program with this number.
    Heard(u64, Heard),
    /// The program with this number is over, and was waited for.
    Over(u64, Over),
    /// The machine slept.
    Woke,
    /// An address or a route came or went.
    Network,
    /// The user wants it to go on, or has done something that may help.
    Resume,
    /// Only time has passed.
    Tick,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// How.
    pub how: How,
    /// It said that the server refuses it.
    pub denied: bool,
    /// What it said last on its standard error.
    pub said: String,
}

/// As above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// So.
    Exit(Exit),
    /// It was never started, and will not be until the user mends that.
    Missing(String),
    /// It was not started, or not waited for, this time.
    Failed(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Start the program, under this number, and ask it to speak so.
    Start(u64, Dialect),
    /// End it; its `Over` follows.
    End(u64),
    /// Anything may have changed in the store.
    Everything,
    /// Something changed in these folders (canonical names).
    Changes(BTreeMap<Vec<u8>, Kinds>),
}

/// The watcher of one store.
pub struct Watcher {
    name: String,
    retry: Retry,
    /// It names our own program.
    ours: bool,
    /// That is asked for kinds.
    kinds: bool,
    tries: Attempts,
    /// It has greeted.
    hello: bool,
    /// An empty line came instead.
    blank: bool,
    refusals: u32,
}

impl Watcher {
    /// A watcher that starts at the first tick; `seed` decides the jitter of waits, of which there is
    /// none with 0.
    #[must_use]
    pub fn new(now: Instant, program: &Program, retry: Retry, seed: u64) -> Self {
        let ours = program.ours().is_some();
        Watcher {
            name: program.name(),
            retry,
            ours,
            kinds: ours,
            tries: Attempts::new(now, seed),
            hello: false,
            blank: false,
            refusals: 0,
        }
    }

    /// Other delays from now on.
    pub fn retime(&mut self, retry: Retry) {
        self.retry = retry;
    }

    /// Take in what happened; says what to do.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Act> {
        let mut acts = Vec::new();
        match event {
            Event::Heard(number, heard) if self.tries.is_heard(number) => {
                self.heard(now, heard, &mut acts);
            }
            Event::Over(number, over) => {
                // If we have ended it, what is next was decided then.
                if self.tries.over(number) {
                    self.over(now, &over);
                }
            }
            Event::Heard(..) | Event::Tick => {}
            Event::Woke => {
                acts.extend(self.tries.woke(now).map(Act::End));
                self.tries.hurry(now);
            }
            Event::Network => {
                self.tries.failures = 0;
                self.tries.hurry(now);
            }
            Event::Resume => {
                self.refusals = 0;
                if self.tries.running().is_none() {
                    // It may be another one by now.
                    self.kinds = self.ours;
                }
                self.tries.resume(now);
                self.tries.hurry(now);
            }
        }
        self.due(now, &mut acts);
        acts
    }

    fn heard(&mut self, now: Instant, heard: Heard, acts: &mut Vec<Act>) {
        self.hello |= heard.hello;
        self.blank |= heard.blank;
        self.tries.news = Some(now);
        if heard.foreign && self.kinds {
            self.without_kinds(now);
            acts.push(Act::End(self.tries.end()));
            return;
        }
        if heard.everything {
            if self.tries.state == State::Starting {
                self.tries.connected(now);
                self.refusals = 0;
            }
            acts.push(Act::Everything);
        }
        if !heard.changes.is_empty() && self.tries.state == State::Connected {
            acts.push(Act::Changes(heard.changes));
        }
    }

    /// It has ended by itself.
    fn over(&mut self, now: Instant, over: &Over) {
        let connected = self.tries.state == State::Connected;
        if connected && now.saturating_duration_since(self.tries.since) >= GOOD {
            self.tries.failures = 0;
        }
        let code = match over.how {
            How::Exit(Exit::Code(code)) => Some(code),
            _ => None,
        };
        let absent = matches!(over.how, How::Missing(_)) || code == Some(NOT_FOUND);
        let denied = code == Some(SSH) && over.denied;
        if code == Some(USAGE) && self.kinds && !self.hello {
            self.without_kinds(now);
        } else if code == Some(FOLDERS_CHANGED) && connected && self.tries.failures == 0 {
            // Once.  One that goes on so would have everything synced for ever.
            self.tries.failures = 1;
            self.tries.again(now);
        } else if !connected && (absent || denied) {
            self.refusals += 1;
            let advice = if denied {
                "see that the same command logs in by itself, from a terminal"
            } else if code.is_some() {
                "install it, or correct :remote"
            } else {
                // What was not found is said with what to do.
                ""
            };
            self.fail(now, self.text(over), advice);
        } else {
            self.refusals = 0;
            self.fail(now, self.text(over), "");
        }
    }

    /// It went wrong: wait, or give up.
    fn fail(&mut self, now: Instant, text: String, advice: &str) {
        let text = if advice.is_empty() {
            text
        } else {
            format!("{text}; {advice}")
        };
        self.tries.failures = self.tries.failures.saturating_add(1);
        self.tries.went_wrong(now, text);
        if self.refusals >= MOST_REFUSALS {
            self.tries.pause(now);
            return;
        }
        let first = self.retry.inter.max(backoff::LEAST);
        self.tries.back_off(now, first, self.retry.max.max(AT_MOST));
    }

    /// The program does not know of kinds.
    fn without_kinds(&mut self, now: Instant) {
        self.kinds = false;
        self.tries.again(now);
    }

    fn text(&self, over: &Over) -> String {
        let name = &self.name;
        let what = match &over.how {
            How::Exit(Exit::Code(0)) => format!("{name} ended"),
            How::Exit(Exit::Code(NOT_FOUND)) => format!("{name} exited with 127 (no such program)"),
            How::Exit(Exit::Code(code)) => format!("{name} exited with {code}"),
            How::Exit(Exit::Signal(signal)) => format!("{name} was ended by signal {signal}"),
            How::Missing(text) | How::Failed(text) => text.clone(),
        };
        if over.said.is_empty() {
            what
        } else {
            format!("{what}: {}", over.said)
        }
    }

    /// Whatever is due, done.
    fn due(&mut self, now: Instant, acts: &mut Vec<Act>) {
        if self.tries.state == State::Starting && self.tries.since + PATIENCE <= now {
            acts.push(Act::End(self.tries.end()));
            if self.kinds && self.blank && !self.hello {
                self.without_kinds(now);
            } else {
                self.refusals = 0;
                let text = format!(
                    "{} did not say within {} s that it watches (it has to print an empty line)",
                    self.name,
                    PATIENCE.as_secs()
                );
                self.fail(now, text, "");
            }
        }
        if let Some(number) = self.tries.begin(now) {
            self.hello = false;
            self.blank = false;
            acts.push(Act::Start(number, self.dialect()));
        }
    }

    fn dialect(&self) -> Dialect {
        if self.kinds {
            Dialect::Kinds
        } else {
            Dialect::Plain
        }
    }

    /// When to call `handle` with a `Tick` at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.tries.state {
            State::Starting => Some(self.tries.since + PATIENCE),
            _ => self.tries.deadline(),
        }
    }

    /// The number of the program that runs, if one does.
    #[must_use]
    pub fn running(&self) -> Option<u64> {
        self.tries.running()
    }

    /// How it stands.
    #[must_use]
    pub fn stand(&self) -> Stand {
        self.tries.stand()
    }
}

#[cfg(test)]
mod tests;
