//! A program that listens: it hears what Lisp has checked, since it syncs from this store.
//!
//! What it has to hear, and when, is written down here a second time, from what
//! `listen::ledger` says that it does and not from its code.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mailsync_module::engine::core::Input;
use mailsync_module::listen::Told;

use super::{World, lies};
use crate::syncs::mail::ROOT;
use crate::world::{Outcome as Verdict, ms};

/// What was checked is kept for no longer.
const MOST_KEPT: Duration = ms(2_000);

/// A change that Lisp is being told of, and this not.
#[derive(Debug)]
struct Due {
    serial: u64,
    /// When Lisp had checked it.
    checked: Option<Duration>,
}

/// What it is owed of a folder.
#[derive(Debug, Default)]
struct Owed {
    due: Vec<Due>,
    /// No answer to what was before this counts.
    from: u64,
    /// Since when one is awaited, if any is.
    since: Duration,
    /// One counted, of which this has not heard.
    counted: bool,
}

impl Owed {
    fn is_awaited(&self) -> bool {
        self.due.iter().any(|it| it.checked.is_none())
    }
}

/// What it knows, and what it is owed.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Lisp is silent when it has not answered for so long; `None`: nobody listens.
    timeout: Option<Duration>,
    /// The maildir is among those that are watched.
    watched: bool,
    /// Lisp does not answer.
    silent: bool,
    /// It has come since, and has to be told.
    ignorant: bool,
    /// When Lisp answered anything.
    answered: Option<Duration>,
    owed: BTreeMap<&'static str, Owed>,
}

impl Listener {
    /// It is there from now on, and knows nothing.
    fn begins(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
        self.watched = false;
        self.ignorant = self.silent;
    }

    /// It is told which maildirs are watched, which decides on what changes it is told of besides.
    pub(super) fn hears_of_roots(&mut self, told: &[Told]) {
        for told in told {
            if let Told::Roots(roots) = told {
                self.watched = roots.iter().any(|root| root == Path::new(ROOT));
            }
        }
    }

    /// Lisp answers for nothing any more.
    pub(super) fn is_owed_nothing(&mut self) {
        self.owed.clear();
    }

    /// Lisp is being told of a change that is of interest to it.
    pub(super) fn owes(&mut self, now: Duration, folder: &'static str, serial: u64) {
        // Of a maildir that has gone it hears that it has, which covers what is there.
        if self.timeout.is_none() || !self.watched {
            return;
        }
        let owed = self.owed.entry(folder).or_default();
        if !owed.is_awaited() {
            owed.from = serial;
            owed.since = now;
        }
        owed.due.push(Due {
            serial,
            checked: None,
        });
    }

    /// Lisp has checked a folder, as of this number.
    pub(super) fn checked(&mut self, now: Duration, folder: &'static str, serial: u64) {
        self.answered = Some(now);
        let counts = |it: &&mut Owed| it.is_awaited() && serial >= it.from;
        let Some(owed) = self.owed.get_mut(folder).filter(counts) else {
            return;
        };
        owed.counted = true;
        owed.from = serial + 1;
        owed.since = now;
        for due in owed.due.iter_mut().filter(|it| it.serial <= serial) {
            due.checked.get_or_insert(now);
        }
    }

    /// Whether an answer has been awaited for too long.
    fn is_late(&self, now: Duration, owed: &Owed) -> bool {
        let timeout = self.timeout.unwrap_or_default();
        owed.is_awaited() && owed.since + timeout <= now
    }

    /// It is told this, perhaps in one breath with that Lisp is silent.
    fn hears(&mut self, now: Duration, told: Told, just_silent: bool) -> Verdict {
        match told {
            Told::Change(spot, _) => {
                let name = lies(&spot.directory)?;
                if self.silent && !just_silent {
                    return Err(format!("{name} is passed on while Lisp is silent"));
                }
                let Some(mut owed) = self.owed.remove(name) else {
                    return Ok(());
                };
                let late = self.is_late(now, &owed);
                // An answer counts, too, where it was to something that is of no interest.
                let checked = std::mem::take(&mut owed.counted);
                if !late && !checked && owed.is_awaited() {
                    return Err(format!(
                        "{name} is passed on before it is checked: {owed:?}"
                    ));
                }
                owed.due
                    .retain(|it| it.checked.is_none() && (!late || just_silent));
                self.owed.insert(name, owed);
            }
            Told::Silent => {
                self.silent = true;
                if std::mem::take(&mut self.ignorant) {
                    return Ok(());
                }
                let unanswered = |it: &Owed| self.answered.is_none_or(|at| at < it.since);
                let mut owed = self.owed.values();
                if self.watched && !owed.any(|it| self.is_late(now, it) && unanswered(it)) {
                    return Err(format!("Lisp is not silent: {self:?}"));
                }
            }
            Told::Back => {
                self.silent = false;
                self.owed.values_mut().for_each(|it| it.since = now);
                if self.answered != Some(now) {
                    return Err("Lisp is back, and says nothing".to_owned());
                }
            }
            Told::Roots(_) | Told::Everything => {}
        }
        Ok(())
    }

    /// Whether it is to hear of something yet.
    pub(super) fn waits(&self) -> bool {
        self.watched && !self.silent && self.owed.values().any(|it| !it.due.is_empty())
    }

    /// It hears of a maildir that is watched.
    pub(super) fn is_there(&self) -> bool {
        self.timeout.is_none() || self.watched
    }

    /// Nothing is kept from it for longer than it may be.
    fn is_told_in_time(&self, now: Duration) -> Verdict {
        if self.ignorant {
            return Err("who listens anew does not know that Lisp is silent".to_owned());
        }
        if self.silent && self.answered == Some(now) {
            return Err("Lisp has answered, and is not back".to_owned());
        }
        if !self.watched || self.silent {
            return Ok(());
        }
        for (name, owed) in &self.owed {
            let kept = |it: &Due| it.checked.is_some_and(|at| at + MOST_KEPT <= now);
            if owed.due.iter().any(kept) || self.is_late(now, owed) {
                return Err(format!("I1: {name} is not passed on: {owed:?}"));
            }
        }
        Ok(())
    }
}

impl World {
    /// Somebody listens from now on, if that is so in this life.
    pub(super) fn begin_to_listen(&mut self) -> Verdict {
        let Some(timeout) = self.setup.listens else {
            return Ok(());
        };
        self.say("somebody listens");
        self.stats.listeners += 1;
        self.listener.begins(timeout);
        self.handle(Input::Listen(Some(timeout)))
    }

    /// The listener is told this.
    pub(super) fn pass_on(&mut self, told: Vec<Told>) -> Verdict {
        let mut just_silent = false;
        for told in told {
            match &told {
                Told::Change(..) => self.stats.passed_on += 1,
                Told::Silent => self.stats.silences += 1,
                _ => {}
            }
            self.say(format_args!("is passed on: {told:?}"));
            just_silent |= told == Told::Silent;
            self.listener.hears(self.now, told, just_silent)?;
        }
        Ok(())
    }

    /// Whether the listener has heard what it has to by now.
    pub(super) fn listener_knows(&self) -> Verdict {
        self.listener.is_told_in_time(self.now)
    }
}
