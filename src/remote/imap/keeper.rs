//! When a server is connected to, and what the end of a connection means.
//!
//! A pure machine, one a store: `(now, event)` in, [`Act`]s out, and the next deadline; the same for
//! servers as `watcher` is for programs.  What is said on a connection is `session`'s business.
//!
//! The rules, of which the tests are the table:
//!
//! - A connection that is lost is made anew at once; if that fails, after 2 s, 4 s, 8 s and so on, up to
//!   five minutes.  A minute that went well begins anew.  Wake and network change end the wait, and a
//!   wake ends a connection: nobody would tell that it is dead.  After a change of the network one that
//!   stands has to prove that it lives.
//! - What was missed meanwhile shows by the snapshot, which goes from one connection to the next.
//! - A secret from Emacs is kept, and asked for anew when the server refuses it.  A second refusal in a
//!   row, or a mistake that only the user can mend, pauses the store until the user does something.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::secret::Secret;
use super::session::{End, Mode, Why};
use super::snapshot::Snapshot;
use crate::backoff;
use crate::change::Kinds;
use crate::remote::watcher::{Retry, Stand};

/// What lasted so long went well.
pub const GOOD: Duration = Duration::from_secs(60);

/// No connection is made more often.
pub const AT_MOST: Duration = Duration::from_secs(1);

/// The wait after the first failure, and the longest one.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);

/// So many refusals in a row pause the store.
const MOST_REFUSALS: u32 = 2;

/// Emacs has so long to give a secret: somebody may have to type it.
pub const SECRET_PATIENCE: Duration = Duration::from_secs(300);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something was heard on the connection with this number.
    Heard(u64, Heard),
    /// The connection with this number wants the secret.
    Asked(u64),
    /// Emacs has this secret, or none for this reason, for the question with this number.
    Secret(u64, Result<Secret, String>),
    /// The connection with this number is over; so much is known of the mailboxes.
    Over(u64, End, Snapshot),
    /// The machine slept.
    Woke,
    /// An address or a route came or went.
    Network,
    /// The user wants it to go on, or has done something that may help.
    Resume,
    /// Only time has passed.
    Tick,
}

/// What was heard and not yet seen to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The server is watched from now on, like this.
    pub watching: Option<Mode>,
    /// Anything may have changed.
    pub everything: bool,
    /// Changes after that, by canonical names.
    pub changes: HashMap<Vec<u8>, Kinds>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Connect, under this number; so much is known of the mailboxes.
    Start(u64, Snapshot),
    /// End that connection; its `Over` follows.
    End(u64),
    /// Have that connection prove that it lives.
    Poke(u64),
    /// Ask Emacs for the secret, under the number of the connection; it is another one than before.
    Ask(u64, bool),
    /// Give that connection its secret.
    Give(u64, Result<Secret, String>),
    /// Anything may have changed in the store.
    Everything,
    /// Something changed in these folders (canonical names).
    Changes(HashMap<Vec<u8>, Kinds>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The first look is to come.
    Starting,
    Connected,
    /// It is tried again then.
    Waiting(Instant),
    /// Not before the user does something.
    Paused,
}

/// Keeps one store watched.
#[derive(Debug)]
pub struct Keeper {
    retry: Retry,
    state: State,
    since: Instant,
    /// What went wrong last, and since when it does; none once the store is watched, or the user has
    /// seen to it.
    trouble: Option<(Instant, String)>,
    /// The number of the last connection.
    number: u64,
    lives: bool,
    /// It is being ended.
    ending: bool,
    started: Option<Instant>,
    mode: Option<Mode>,
    news: Option<Instant>,
    failures: u32,
    refusals: u32,
    chance: u64,
    /// While no connection has it.
    snapshot: Snapshot,
    secret: Option<Secret>,
    /// Emacs was asked, and has so long to answer.
    asked: Option<Instant>,
    /// The last one was refused.
    refused: bool,
}

impl Keeper {
    /// A store that is connected to at the first tick; `seed` decides the jitter of waits, of which there
    /// is none with 0.
    #[must_use]
    pub fn new(now: Instant, retry: Retry, seed: u64) -> Self {
        Keeper {
            retry,
            state: State::Waiting(now),
            since: now,
            trouble: None,
            number: 0,
            lives: false,
            ending: false,
            started: None,
            mode: None,
            news: None,
            failures: 0,
            refusals: 0,
            chance: seed,
            snapshot: Snapshot::default(),
            secret: None,
            asked: None,
            refused: false,
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
            Event::Heard(number, heard) if self.is_heard(number) => {
                self.heard(now, heard, &mut acts);
            }
            Event::Asked(number) if self.is_heard(number) => match &self.secret {
                Some(secret) => acts.push(Act::Give(number, Ok(secret.clone()))),
                None => {
                    self.asked = Some(now + SECRET_PATIENCE);
                    acts.push(Act::Ask(number, self.refused));
                }
            },
            Event::Secret(number, secret) if self.is_heard(number) && self.asked.is_some() => {
                self.asked = None;
                self.secret = secret.clone().ok();
                acts.push(Act::Give(number, secret));
            }
            Event::Over(number, end, snapshot) if number == self.number && self.lives => {
                self.lives = false;
                self.asked = None;
                self.mode = None;
                self.snapshot = snapshot;
                // If we have ended it, what is next was decided then.
                if !std::mem::take(&mut self.ending) {
                    self.over(now, end);
                }
            }
            Event::Heard(..)
            | Event::Asked(_)
            | Event::Secret(..)
            | Event::Over(..)
            | Event::Tick => {}
            Event::Woke => {
                self.failures = 0;
                if self.lives && !self.ending {
                    self.end(&mut acts);
                    self.wait(now, self.soon(now));
                }
                self.hurry(now);
            }
            Event::Network => {
                self.failures = 0;
                if self.lives && !self.ending && self.state == State::Connected {
                    acts.push(Act::Poke(self.number));
                }
                self.hurry(now);
            }
            Event::Resume => {
                self.failures = 0;
                self.refusals = 0;
                if self.state == State::Paused {
                    self.trouble = None;
                    self.wait(now, self.soon(now));
                }
                self.hurry(now);
            }
        }
        self.due(now, &mut acts);
        acts
    }

    fn is_heard(&self, number: u64) -> bool {
        number == self.number && self.lives && !self.ending
    }

    fn heard(&mut self, now: Instant, heard: Heard, acts: &mut Vec<Act>) {
        self.news = Some(now);
        if let Some(mode) = heard.watching {
            self.mode = Some(mode);
            if self.state == State::Starting {
                self.set(now, State::Connected);
                self.trouble = None;
                self.refusals = 0;
                self.refused = false;
            }
        }
        if heard.everything {
            acts.push(Act::Everything);
        }
        if !heard.changes.is_empty() {
            acts.push(Act::Changes(heard.changes));
        }
    }

    /// It has ended by itself.
    fn over(&mut self, now: Instant, end: End) {
        let lasted = now.saturating_duration_since(self.since);
        let well = self.state == State::Connected && lasted >= GOOD;
        let since = self.trouble.take().map_or(now, |(since, _)| since);
        self.trouble = Some((since, end.text));
        match end.why {
            Why::Config => {
                self.refused = true;
                self.set(now, State::Paused);
            }
            Why::Refused => {
                self.secret = None;
                self.refused = true;
                self.refusals += 1;
                if self.refusals >= MOST_REFUSALS {
                    self.set(now, State::Paused);
                } else {
                    self.wait(now, now + self.retry.inter.max(AT_MOST));
                }
            }
            Why::Lost if well => {
                self.failures = 0;
                self.wait(now, self.soon(now));
            }
            Why::Lost => {
                self.failures = self.failures.saturating_add(1);
                let most = LONGEST.min(self.retry.max.max(FIRST));
                let wait = backoff::wait(self.failures, FIRST, most, &mut self.chance);
                self.wait(now, now + wait);
            }
        }
    }

    /// As soon as may be.
    fn soon(&self, now: Instant) -> Instant {
        self.started.map_or(now, |at| now.max(at + AT_MOST))
    }

    /// What waits does so no longer; but who was refused is not tried more often for that.
    fn hurry(&mut self, now: Instant) {
        let soon = self.soon(now);
        if let State::Waiting(at) = &mut self.state
            && self.refusals == 0
        {
            *at = soon.min(*at);
        }
    }

    fn wait(&mut self, now: Instant, until: Instant) {
        self.set(now, State::Waiting(until));
    }

    fn set(&mut self, now: Instant, state: State) {
        self.state = state;
        self.since = now;
    }

    fn end(&mut self, acts: &mut Vec<Act>) {
        self.ending = true;
        self.asked = None;
        acts.push(Act::End(self.number));
    }

    /// Whatever is due, done.
    fn due(&mut self, now: Instant, acts: &mut Vec<Act>) {
        if self.asked.is_some_and(|until| until <= now) {
            self.asked = None;
            let text = "nobody has given a password; M-x mailsync-resume asks again".to_owned();
            acts.push(Act::Give(self.number, Err(text)));
        }
        if let State::Waiting(at) = self.state
            && at <= now
            && !self.lives
        {
            self.number += 1;
            self.lives = true;
            self.started = Some(now);
            self.set(now, State::Starting);
            let snapshot = std::mem::take(&mut self.snapshot);
            acts.push(Act::Start(self.number, snapshot));
        }
    }

    /// When to call `handle` with a `Tick` at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            // One that is being ended is waited for.
            State::Waiting(at) => (!self.lives).then_some(at),
            State::Starting => self.asked,
            State::Connected | State::Paused => None,
        }
    }

    /// The number of the connection, if there is one.
    #[must_use]
    pub fn running(&self) -> Option<u64> {
        self.lives.then_some(self.number)
    }

    /// How the server is watched, while it is.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// How it stands.
    #[must_use]
    pub fn stand(&self) -> Stand {
        let trouble = self.trouble.as_ref();
        let (since, text) = trouble.map_or((self.since, ""), |(since, text)| (*since, text));
        let (state, next) = match self.state {
            State::Connected => ("connected", None),
            // Another try does not end the trouble.
            State::Starting if trouble.is_some() => ("waiting", None),
            State::Waiting(at) if trouble.is_some() => ("waiting", Some(at)),
            // That takes a moment, and is no trouble.
            State::Starting | State::Waiting(_) => ("starting", None),
            State::Paused => ("paused", None),
        };
        Stand {
            state,
            text: text.to_owned(),
            since,
            news: self.news,
            next,
        }
    }
}

#[cfg(test)]
mod tests;
