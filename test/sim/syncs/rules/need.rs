//! Why a folder has to be synced, and since when.

use std::time::Duration;

/// Why a folder has to be synced.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) first: Duration,
    /// The first reason to look at it, which may be older.
    pub(super) oldest: Duration,
    /// The moment of the last change or wish, as a number of moments.
    pub(super) moment: u64,
    /// Of the last change.
    pub(super) changed: u64,
    /// It was made or removed, at this moment first.
    pub(super) structural: Option<u64>,
    pub(super) asked: bool,
    /// It was, and has not been had yet.
    pub(super) wished: bool,
    /// Of the last change, as Lisp is told.
    pub(super) serial: u64,
    /// The first change that Lisp has not answered for.
    pub(super) unanswered: Option<Duration>,
    /// The first change that Lisp has not looked at, whatever it says.
    pub(super) unseen: Option<Duration>,
    /// The first change there.
    pub(super) far: Option<Duration>,
    /// Only a look has found something, which may be refused.
    pub(super) optional: bool,
}

impl Need {
    pub(super) fn new(now: Duration) -> Self {
        Need {
            first: now,
            oldest: now,
            moment: 0,
            changed: 0,
            structural: None,
            asked: false,
            wished: false,
            serial: 0,
            unanswered: None,
            unseen: None,
            far: None,
            optional: false,
        }
    }

    pub(super) fn absorb(&mut self, later: Need) {
        let first = |one: Option<Duration>, two| [one, two].into_iter().flatten().min();
        self.optional &= later.optional;
        self.structural = self.structural.or(later.structural);
        self.asked |= later.asked;
        self.wished |= later.wished;
        self.moment = self.moment.max(later.moment);
        self.changed = self.changed.max(later.changed);
        self.serial = self.serial.max(later.serial);
        self.unanswered = first(self.unanswered, later.unanswered);
        self.unseen = first(self.unseen, later.unseen);
        self.far = first(self.far, later.far);
    }
}
