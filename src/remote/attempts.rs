//! One connection to a store after the other: which there is, how it stands, when the next one may be made.
//! Pure.
//!
//! Programs and servers differ in what their ends mean, which [`super::watcher`] and `imap::keeper`
//! decide; that one is made at a time, how trouble is shown, and how long to wait is the same for both.

use std::time::{Duration, Instant};

use crate::backoff;

/// What lasted so long went well.
pub const GOOD: Duration = Duration::from_secs(60);

/// No connection is made more often.
pub const AT_MOST: Duration = Duration::from_secs(1);

/// How long to wait after failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// After the first one.
    pub inter: Duration,
    /// At most.
    pub max: Duration,
}

/// How a store is being watched, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// `starting`, `connected`, `waiting` (from the first failure until it is watched again) or `paused`.
    pub state: &'static str,
    /// What a user should know, and do.
    pub text: String,
    /// Since when.
    pub since: Instant,
    /// When something was heard last.
    pub news: Option<Instant>,
    /// When it is tried again; none while it is.
    pub next: Option<Instant>,
}

/// As a machine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Whether the store is watched is to be seen.
    Starting,
    Connected,
    /// It is tried again then.
    Waiting(Instant),
    /// Not before the user does something.
    Paused,
}

/// The connections of one store.
#[derive(Debug)]
pub(super) struct Attempts {
    pub(super) state: State,
    /// Since when it is so.
    pub(super) since: Instant,
    /// What went wrong last, and since when it does; none once the store is watched, or the user has
    /// seen to it.
    trouble: Option<(Instant, String)>,
    /// The number of the last connection.
    pub(super) number: u64,
    lives: bool,
    /// It is being ended.
    ending: bool,
    /// When it was begun.
    started: Option<Instant>,
    pub(super) news: Option<Instant>,
    pub(super) failures: u32,
    chance: u64,
}

impl Attempts {
    /// The first one may be made now; `seed` decides the jitter of waits, of which there is none with 0.
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Attempts {
            state: State::Waiting(now),
            since: now,
            trouble: None,
            number: 0,
            lives: false,
            ending: false,
            started: None,
            news: None,
            failures: 0,
            chance: seed,
        }
    }

    /// Whether this is the connection that there is, and is not being ended.
    pub(super) fn is_heard(&self, number: u64) -> bool {
        number == self.number && self.stands()
    }

    /// Whether there is one that is not being ended.
    pub(super) fn stands(&self) -> bool {
        self.lives && !self.ending
    }

    /// The number of the connection, if there is one.
    pub(super) fn running(&self) -> Option<u64> {
        self.lives.then_some(self.number)
    }

    /// The next connection, if it is due: its number.
    pub(super) fn begin(&mut self, now: Instant) -> Option<u64> {
        match self.state {
            State::Waiting(at) if at <= now && !self.lives => {}
            _ => return None,
        }
        self.number += 1;
        self.lives = true;
        self.started = Some(now);
        self.set(now, State::Starting);
        Some(self.number)
    }

    /// The store is watched.
    pub(super) fn connected(&mut self, now: Instant) {
        self.set(now, State::Connected);
        self.trouble = None;
    }

    /// The connection is to end: its number.  What is next has to be decided now.
    pub(super) fn end(&mut self) -> u64 {
        self.ending = true;
        self.number
    }

    /// The connection with this number is over; true if it was the last one and ended by itself.
    pub(super) fn over(&mut self, number: u64) -> bool {
        if number != self.number || !self.lives {
            return false;
        }
        self.lives = false;
        !std::mem::take(&mut self.ending)
    }

    /// The machine slept: the number of a connection that is to end, since nobody would tell that it is
    /// dead.
    pub(super) fn woke(&mut self, now: Instant) -> Option<u64> {
        self.failures = 0;
        self.stands().then(|| {
            self.again(now);
            self.end()
        })
    }

    /// The user has done something: what was paused is not.
    pub(super) fn resume(&mut self, now: Instant) {
        self.failures = 0;
        if self.state == State::Paused {
            self.trouble = None;
            self.again(now);
        }
    }

    /// This went wrong.
    pub(super) fn went_wrong(&mut self, now: Instant, text: String) {
        let since = self.trouble.take().map_or(now, |(since, _)| since);
        self.trouble = Some((since, text));
    }

    /// Another one as soon as may be.
    pub(super) fn again(&mut self, now: Instant) {
        self.wait(now, self.soon(now));
    }

    /// Another one then.
    pub(super) fn wait(&mut self, now: Instant, until: Instant) {
        self.set(now, State::Waiting(until));
    }

    /// Another one after a wait that begins with `first` and doubles with each failure up to `most`.
    pub(super) fn back_off(&mut self, now: Instant, first: Duration, most: Duration) {
        let wait = backoff::wait(self.failures, first, most, &mut self.chance);
        self.wait(now, now + wait);
    }

    /// None before the user does something.
    pub(super) fn pause(&mut self, now: Instant) {
        self.set(now, State::Paused);
    }

    /// What waits does so no longer.
    pub(super) fn hurry(&mut self, now: Instant) {
        let soon = self.soon(now);
        if let State::Waiting(at) = &mut self.state {
            *at = soon.min(*at);
        }
    }

    fn soon(&self, now: Instant) -> Instant {
        self.started.map_or(now, |at| now.max(at + AT_MOST))
    }

    fn set(&mut self, now: Instant, state: State) {
        self.state = state;
        self.since = now;
    }

    /// When the next one is due.  One that is being ended is waited for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(at) => (!self.lives).then_some(at),
            _ => None,
        }
    }

    /// How it stands.
    pub(super) fn stand(&self) -> Stand {
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
