//! A coalescer that is held to its word: nothing waits for longer than the longest delay, though its
//! folder is never quiet.  A world comes to rest some time, and would not show it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mailsync_module::change::{Change, Folder};
use mailsync_module::coalesce::{Coalesce, Coalescer, Delays};

/// As above.
pub struct Punctual {
    inner: Coalescer,
    longest: Duration,
    /// Since when something of a folder waits.
    waits: HashMap<PathBuf, Instant>,
}

impl Punctual {
    fn check(&self) {
        let latest = self.waits.values().min().map(|first| *first + self.longest);
        let due = self.inner.deadline();
        assert!(
            latest.is_none_or(|latest| due.is_some_and(|due| due <= latest)),
            "I1: a change waits for longer than {:?}",
            self.longest
        );
    }
}

impl Coalesce for Punctual {
    fn new(delays: Delays) -> Self {
        Punctual {
            inner: Coalescer::new(delays),
            longest: delays.longest,
            waits: HashMap::new(),
        }
    }

    fn add(&mut self, now: Instant, change: Change) {
        self.waits
            .entry(change.folder.real.to_path_buf())
            .or_insert(now);
        self.inner.add(now, change);
        self.check();
    }

    fn hasten(&mut self, by: Instant, only: Option<&Path>) {
        self.inner.hasten(by, only);
        self.check();
    }

    fn due(&mut self, now: Instant) -> Vec<Change> {
        let due = self.inner.due(now);
        for change in &due {
            self.waits.remove(&*change.folder.real);
        }
        self.check();
        due
    }

    fn retime(&mut self, delays: Delays) {
        // What waits already is due when it was.
        self.longest = self.longest.max(delays.longest);
        self.inner.retime(delays);
    }

    fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) -> Vec<Change> {
        let gone = self.inner.forget(these);
        for change in &gone {
            self.waits.remove(&*change.folder.real);
        }
        gone
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }

    fn len(&self) -> usize {
        self.inner.len()
    }
}
