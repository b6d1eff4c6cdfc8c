//! Which run is next, and when it may start.

use std::time::{Duration, Instant};

use super::pending::Pending;
use super::review::LOOK_MOST;
use super::run::{Run, Stage, Whole};
use super::{Act, Look, Scheduler};
use crate::syncer::{RunId, Scope};

/// A folder must have been quiet for so long.
const SETTLE: Duration = Duration::from_secs(1);
/// That is waited for at most so long.
const SETTLE_MOST: Duration = Duration::from_secs(10);

/// Why a run starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The user asked for it.
    Asked,
    /// It is due, and all that ride along are checked and quiet, or have been waited for.
    Due,
    /// A remote change is due, which waits for nobody.
    Remote,
}

/// The next run.
#[derive(Clone, Copy)]
pub(super) struct Next {
    pub(super) at: Instant,
    pub(super) everything: bool,
    pub(super) why: Why,
}

impl Scheduler {
    /// What the next run is, and when it may start, as far as is known now.
    pub(super) fn next_run(&self, now: Instant) -> Option<Next> {
        if !self.may_start() {
            return None;
        }
        let whole = self.whole.is_some_and(|whole| whole.urgent);
        let mut asked = self.queue.values().filter(|it| self.presses(it)).peekable();
        if whole || asked.peek().is_some() {
            return Some(Next {
                at: now,
                everything: whole || asked.any(Pending::takes_all),
                why: Why::Asked,
            });
        }
        if !self.ready {
            return None;
        }
        let everything = self.wants_everything();
        let rides = |it: &Pending| self.not_before(it);
        let due = |it: &Pending| later(it.due(self.timing.base), rides(it));
        let dues = self.queue.values().map(due);
        let wanted = dues.chain(self.whole_at()).min()?;
        let (mut unchecked, mut settled) = (None, None);
        for it in self.queue.values().filter(|it| it.is_local()) {
            if everything || rides(it).is_none_or(|at| at <= wanted.max(now)) {
                unchecked = earlier(unchecked, it.unchecked());
                settled = settled.max(it.last_local().map(|last| last + SETTLE));
            }
        }
        let checked = unchecked.filter(|_| !self.silent);
        // Others that change while one is being checked do not hold it up for ever.
        let checked = checked.map(|first| first.min(wanted) + self.timing.check);
        let settled = settled.map(|at| at.min(wanted + SETTLE_MOST));
        // What a run has left may be all that waits.
        let seen = self.review.as_ref().map(|review| review.until);
        let seen = seen.filter(|until| now < *until);
        let at = later(later(later(wanted, checked), settled), seen);
        let remote = self.queue.values().filter(|it| it.is_remote());
        match remote.map(due).min() {
            Some(remote) if remote < at => Some(Next {
                at: remote,
                everything,
                why: Why::Remote,
            }),
            _ => Some(Next {
                at,
                everything,
                why: Why::Due,
            }),
        }
    }

    /// When a folder may be synced at the earliest, whatever it is due for.
    pub(super) fn not_before(&self, it: &Pending) -> Option<Instant> {
        // One with a shorter inter-delay of its own does not wait for the account's.
        let account = (self.last_end).map(|end| end + it.inter.min(self.timing.inter));
        [self.gate, account, it.own_gate()]
            .into_iter()
            .flatten()
            .max()
    }

    /// When everything may be synced for its own sake.
    pub(super) fn whole_at(&self) -> Option<Instant> {
        let since = self.whole?.since;
        let account = self.last_end.map(|end| end + self.timing.inter);
        Some(later(later(since, account), self.gate))
    }

    /// Whether the user asks for it, and can have it now: what takes a run of everything waits
    /// until the maildirs are there.
    pub(super) fn presses(&self, it: &Pending) -> bool {
        it.urgent && (self.ready || !it.takes_all())
    }

    /// Whether everything has to be synced, and not only some folders.
    pub(super) fn wants_everything(&self) -> bool {
        self.whole.is_some() || self.queue.wants_everything()
    }

    pub(super) fn start(&mut self, now: Instant, next: Next, id: RunId) -> Act {
        let moment = self.queue.moment();
        let mut queue = std::mem::take(&mut self.queue);
        let folders = queue.take(|it| {
            let rides = self.not_before(it).is_none_or(|at| at <= now);
            let waits = |first: Instant| !self.silent && now < first + self.timing.check;
            let quiet = !it.is_local()
                || !it.unchecked().is_some_and(waits)
                    && it.last_local().is_none_or(|last| last + SETTLE <= now);
            next.everything
                || match next.why {
                    Why::Due => rides,
                    Why::Remote => rides && (it.is_remote() || quiet),
                    // One that asks for everything waits for its turn.
                    Why::Asked => self.presses(it) || rides && quiet && !it.takes_all(),
                }
        });
        self.queue = queue;
        let missed = |it: &Pending| {
            it.unchecked()
                .is_some_and(|at| at + self.timing.check <= now)
        };
        self.silent |= folders.values().any(missed);
        // Who asked for what has to wait is answered by another run.
        let requests = if self.queue.urgent() {
            Vec::new()
        } else {
            std::mem::take(&mut self.requests)
        };
        let whole = if next.everything {
            self.whole.take()
        } else {
            None
        };
        let mut run = Run {
            id,
            scope: Scope::Everything,
            quick: false,
            stage: Stage::Running(now),
            folders,
            whole,
            moment,
            ready: self.ready,
            requests,
            progress: 0,
        };
        // The user may have a run before a look, but there is another one after it.
        if let Some(whole) = whole.filter(|it| !run.knows(it)) {
            let urgent = false;
            self.whole = Some(Whole { urgent, ..whole });
        }
        if !next.everything {
            run.name_folders();
        }
        // After a failure only a run shows whether it goes well again.
        let local = next.why == Why::Due && run.folders.values().all(Pending::only_local);
        let act = if self.timing.per_run {
            run.stage = Stage::Planning(now + self.timing.check);
            Act::Plan(id, run.scope.clone())
        } else if self.timing.records && local && !next.everything && self.goes_well() {
            run.stage = Stage::Looking(now + LOOK_MOST);
            Act::Look(Look::Before(id), run.scope.clone())
        } else {
            self.records.run(&run.scope);
            run.start()
        };
        self.run = Some(run);
        act
    }
}

pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

pub(super) fn later(one: Instant, other: Option<Instant>) -> Instant {
    other.map_or(one, |other| one.max(other))
}
