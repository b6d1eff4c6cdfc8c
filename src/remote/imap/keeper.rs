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
//!   row, or a mistake that only the user can mend, pauses the store until the user does something; so does
//!   a third time that a tunnel is refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::secret::Secret;
use super::session::{End, Mode, Why};
use super::snapshot::Snapshot;
use crate::change::Kinds;
use crate::remote::attempts::{AT_MOST, Attempts, GOOD, Retry, Stand, State};

/// The wait after the first failure, and the longest one.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);

/// So many refusals in a row pause the store.
const MOST_REFUSALS: u32 = 2;

/// And so many where nobody came as far as the server, as with the programs that `watcher` runs.
const MOST_DENIALS: u32 = 3;

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
    pub changes: BTreeMap<Vec<u8>, Kinds>,
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
    Changes(BTreeMap<Vec<u8>, Kinds>),
}

/// Keeps one store watched.
#[derive(Debug)]
pub struct Keeper {
    retry: Retry,
    tries: Attempts,
    mode: Option<Mode>,
    refusals: u32,
    /// Tunnels that were refused, in a row.
    denials: u32,
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
            tries: Attempts::new(now, seed),
            mode: None,
            refusals: 0,
            denials: 0,
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
            // Whether it is being ended or not: what it has told it will not tell again, for its snapshot
            // knows of it.
            Event::Heard(number, heard) if self.tries.running() == Some(number) => {
                self.heard(now, heard, &mut acts);
            }
            Event::Asked(number) if self.tries.is_heard(number) => match &self.secret {
                Some(secret) => acts.push(Act::Give(number, Ok(secret.clone()))),
                None => {
                    self.asked = Some(now + SECRET_PATIENCE);
                    acts.push(Act::Ask(number, self.refused));
                }
            },
            Event::Secret(number, secret)
                if self.tries.is_heard(number) && self.asked.is_some() =>
            {
                self.asked = None;
                self.secret = secret.clone().ok();
                acts.push(Act::Give(number, secret));
            }
            Event::Over(number, end, snapshot) if self.tries.running() == Some(number) => {
                self.asked = None;
                self.mode = None;
                self.snapshot = snapshot;
                // If we have ended it, what is next was decided then; but a refusal counts.
                if self.tries.over(number) || end.why == Why::Refused {
                    self.over(now, end);
                }
            }
            Event::Heard(..)
            | Event::Asked(_)
            | Event::Secret(..)
            | Event::Over(..)
            | Event::Tick => {}
            Event::Woke => {
                if let Some(number) = self.tries.woke(now) {
                    self.asked = None;
                    acts.push(Act::End(number));
                }
                self.hurry(now);
            }
            Event::Network => {
                self.tries.failures = 0;
                if self.tries.stands() && self.tries.state == State::Connected {
                    acts.push(Act::Poke(self.tries.number));
                }
                self.hurry(now);
            }
            Event::Resume => {
                self.refusals = 0;
                self.denials = 0;
                self.tries.resume(now);
                self.hurry(now);
            }
        }
        self.due(now, &mut acts);
        acts
    }

    fn heard(&mut self, now: Instant, heard: Heard, acts: &mut Vec<Act>) {
        self.tries.news = Some(now);
        if let Some(mode) = heard.watching {
            // Whether it is being ended or not, it was let in.
            self.refusals = 0;
            self.refused = false;
            if self.tries.stands() {
                self.mode = Some(mode);
                if self.tries.state == State::Starting {
                    self.tries.connected(now);
                }
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
        let tries = &mut self.tries;
        let lasted = now.saturating_duration_since(tries.since);
        let connected = tries.state == State::Connected;
        let well = connected && lasted >= GOOD;
        let denied = end.why == Why::Denied && !connected;
        self.denials = if denied { self.denials + 1 } else { 0 };
        let text = if denied {
            format!(
                "{}; see that the tunnel's command logs in by itself, from a terminal",
                end.text
            )
        } else {
            end.text
        };
        tries.went_wrong(now, text);
        match end.why {
            Why::Config => {
                self.refused = true;
                tries.pause(now);
            }
            Why::Refused => {
                self.secret = None;
                self.refused = true;
                self.refusals += 1;
                if self.refusals >= MOST_REFUSALS {
                    tries.pause(now);
                } else {
                    tries.wait(now, now + self.retry.inter.max(AT_MOST));
                }
            }
            Why::Denied if self.denials >= MOST_DENIALS => tries.pause(now),
            Why::Lost | Why::Denied if well => {
                tries.failures = 0;
                tries.again(now);
            }
            Why::Lost | Why::Denied => {
                tries.failures = tries.failures.saturating_add(1);
                tries.back_off(now, FIRST, LONGEST.min(self.retry.max.max(FIRST)));
            }
        }
    }

    /// What waits does so no longer; but who was refused is not tried more often for that.
    fn hurry(&mut self, now: Instant) {
        if self.refusals == 0 {
            self.tries.hurry(now);
        }
    }

    /// Whatever is due, done.
    fn due(&mut self, now: Instant, acts: &mut Vec<Act>) {
        if self.asked.is_some_and(|until| until <= now) {
            self.asked = None;
            let text = "nobody has given a password; M-x mailsync-resume asks again".to_owned();
            acts.push(Act::Give(self.tries.number, Err(text)));
        }
        if let Some(number) = self.tries.begin(now) {
            let snapshot = std::mem::take(&mut self.snapshot);
            acts.push(Act::Start(number, snapshot));
        }
    }

    /// When to call `handle` with a `Tick` at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.tries.state {
            State::Starting => self.asked,
            _ => self.tries.deadline(),
        }
    }

    /// The number of the connection, if there is one.
    #[must_use]
    pub fn running(&self) -> Option<u64> {
        self.tries.running()
    }

    /// How the server is watched, while it is.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// How it stands.
    #[must_use]
    pub fn stand(&self) -> Stand {
        self.tries.stand()
    }
}

#[cfg(test)]
mod tests;
