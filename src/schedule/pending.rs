//! The folders that wait to be synced, and when each was the last time.
//!
//! Bounded by the number of folders: whatever happens in one is merged into its entry.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Timing, structural};
use crate::change::{Change, Folder, Kinds};

/// A folder that waits.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) folder: Arc<Folder>,
    /// The least time between two syncs of it.
    pub(super) inter: Duration,
    /// Asked for by the user, and at the front.
    pub(super) urgent: bool,
    /// Asked for by the user, and not had yet.
    asked: bool,
    /// It was made or removed, at this moment first.  A run that names it would undo that: it takes
    /// one of everything.
    whole: Option<u64>,
    /// Made, not removed.
    made: bool,
    /// When it was synced last.
    synced: Option<Instant>,
    first: Instant,
    /// The moment of the last change of any origin.
    last: u64,
    local: Option<Local>,
    remote: Kinds,
}

/// What happened here.
#[derive(Clone, Copy, Debug)]
struct Local {
    last: Instant,
    serial: u64,
    /// The first change that Gnus has not checked.
    unchecked: Option<Instant>,
}

impl Pending {
    fn new(now: Instant, folder: Arc<Folder>, timing: &Timing) -> Self {
        Pending {
            inter: inter(&folder, timing),
            folder,
            urgent: false,
            asked: false,
            whole: None,
            made: false,
            synced: None,
            first: now,
            last: 0,
            local: None,
            remote: Kinds::empty(),
        }
    }

    /// When it is due by itself.
    pub(super) fn due(&self, base: Duration) -> Instant {
        self.first
            + if self.is_remote() {
                Duration::ZERO
            } else {
                base
            }
    }

    /// When its own inter-delay has passed.
    pub(super) fn own_gate(&self) -> Option<Instant> {
        self.synced.map(|at| at + self.inter)
    }

    pub(super) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    pub(super) fn is_remote(&self) -> bool {
        !self.remote.is_empty()
    }

    /// Whether only what happened in it here asks for it.
    pub(super) fn only_local(&self) -> bool {
        self.is_local() && !self.is_remote() && !self.asked && !self.takes_all()
    }

    /// Whether it came to light since the last look, and may have been made by the run that began
    /// after the other moment.
    pub(super) fn may_be_made(&self, covered: u64, reviewed: u64) -> bool {
        let since = self.whole.is_some_and(|at| at > covered);
        since && self.made && self.last > reviewed
    }

    /// Whether it takes a run of everything.
    pub(super) fn takes_all(&self) -> bool {
        self.whole.is_some()
    }

    pub(super) fn unchecked(&self) -> Option<Instant> {
        self.local.and_then(|local| local.unchecked)
    }

    pub(super) fn last_local(&self) -> Option<Instant> {
        self.local.map(|local| local.last)
    }

    /// Whether flags need not be fetched for it.
    pub(super) fn quick(&self) -> bool {
        !self.asked && !self.remote.intersects(Kinds::FLAGS | Kinds::UNKNOWN)
    }

    /// Gnus has checked it, as of this serial number.
    pub(super) fn checked(&mut self, serial: u64) {
        if let Some(local) = self.local.as_mut().filter(|it| serial >= it.serial) {
            local.unchecked = None;
        }
    }

    /// An entry that was taken, and comes back after a failure, together with what came since.
    fn absorb(&mut self, later: Pending) {
        self.urgent |= later.urgent;
        self.asked |= later.asked;
        self.made = if later.takes_all() {
            later.made
        } else {
            self.made
        };
        self.whole = self.whole.or(later.whole);
        self.remote |= later.remote;
        self.last = later.last;
        self.folder = later.folder;
        self.local = match (self.local, later.local) {
            (Some(before), Some(after)) => Some(Local {
                unchecked: [before.unchecked, after.unchecked]
                    .into_iter()
                    .flatten()
                    .min(),
                ..after
            }),
            (before, after) => before.or(after),
        };
    }
}

/// What stands for the truename of a folder that is not known yet.
fn by_name(folder: &Folder) -> &Path {
    Path::new(OsStr::from_bytes(&folder.name))
}

/// Whether all that is known of it is its name.
pub(super) fn is_by_name(folder: &Folder) -> bool {
    by_name(folder) == &*folder.real
}

fn inter(folder: &Folder, timing: &Timing) -> Duration {
    let mut overrides = timing.overrides.iter();
    let own = overrides.find(|(glob, _)| glob.matches(&folder.name));
    own.map_or(timing.inter, |(_, inter)| *inter)
}

/// All that wait.
#[derive(Default)]
pub(super) struct Queue {
    waiting: HashMap<Arc<Path>, Pending>,
    /// Each thing that is queued has a moment of its own: a clock does not tell what came before a
    /// run that began at the same instant.
    moments: u64,
    /// When each was synced last by a run that named it.
    synced: HashMap<Arc<Path>, (Arc<Folder>, Instant)>,
    /// When everything was.
    all_synced: Option<Instant>,
}

impl Queue {
    /// Whether a folder waits.
    pub(super) fn waits(&self, real: &Path) -> bool {
        self.waiting.contains_key(real)
    }

    /// When a folder was synced last.
    pub(super) fn synced_at(&self, real: &Path) -> Option<Instant> {
        let own = self.synced.get(real).map(|(_, at)| *at);
        own.max(self.all_synced)
    }

    /// The last moment.
    pub(super) fn moment(&self) -> u64 {
        self.moments
    }

    pub(super) fn next_moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }

    fn entry(&mut self, now: Instant, folder: &Arc<Folder>, timing: &Timing) -> &mut Pending {
        // It may have been asked for before it was known, and synced.
        if let Some(mut named) = self.waiting.remove(by_name(folder)) {
            named.folder = folder.clone();
            self.put(named);
        }
        if let Some((_, at)) = self.synced.remove(by_name(folder)) {
            (self.synced).insert(folder.real.clone(), (folder.clone(), at));
        }
        let synced = self.synced_at(&folder.real);
        let entry = self.waiting.entry(folder.real.clone());
        let pending = entry.or_insert_with(|| Pending::new(now, folder.clone(), timing));
        pending.folder = folder.clone();
        pending.synced = synced;
        pending
    }

    pub(super) fn change(
        &mut self,
        now: Instant,
        change: &Change,
        local: bool,
        remote: bool,
        timing: &Timing,
    ) {
        let moment = self.next_moment();
        let pending = self.entry(now, &change.folder, timing);
        pending.last = moment;
        if structural(change.kinds) {
            pending.whole.get_or_insert(moment);
            pending.made = change.kinds.contains(Kinds::CREATED);
        }
        if local {
            let before = pending.local.and_then(|local| local.unchecked);
            pending.local = Some(Local {
                last: now,
                serial: change.serial,
                unchecked: before.or(Some(now)),
            });
        }
        if remote {
            pending.remote |= change.kinds;
        }
    }

    /// A folder has something to push, as its record says.
    pub(super) fn open(&mut self, now: Instant, folder: &Arc<Folder>, timing: &Timing) {
        let moment = self.next_moment();
        let pending = self.entry(now, folder, timing);
        pending.last = moment;
        pending.local = Some(Local {
            last: now,
            serial: 0,
            unchecked: None,
        });
    }

    /// The syncer had a record of the folder at this moment: if it was made since a run began at the
    /// other one, that run has made it, and it can be named.
    pub(super) fn recorded(&mut self, real: &Path, moment: u64, began: u64) {
        if let Some(pending) = self.waiting.get_mut(real)
            && pending.last <= moment
        {
            pending.whole.take_if(|made| *made > began);
        }
    }

    /// Nothing that happened here up to this moment is left to push.
    pub(super) fn pushed(&mut self, real: &Path, moment: u64) {
        if let Some(pending) = self.waiting.get_mut(real)
            && pending.last <= moment
            && !pending.takes_all()
        {
            pending.local = None;
            if !pending.is_remote() && !pending.asked {
                self.waiting.remove(real);
            }
        }
    }

    pub(super) fn is_local(&self, real: &Path) -> bool {
        self.waiting.get(real).is_some_and(Pending::is_local)
    }

    pub(super) fn ask(&mut self, now: Instant, folder: Arc<Folder>, whole: bool, timing: &Timing) {
        let moment = self.next_moment();
        let pending = self.entry(now, &folder, timing);
        pending.urgent = true;
        pending.asked = true;
        if whole {
            pending.whole.get_or_insert(moment);
        }
        pending.last = moment;
    }

    pub(super) fn checked(&mut self, real: &Path, serial: u64) {
        if let Some(pending) = self.waiting.get_mut(real) {
            pending.checked(serial);
        }
    }

    pub(super) fn retime(&mut self, timing: &Timing) {
        for pending in self.waiting.values_mut() {
            pending.inter = inter(&pending.folder, timing);
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Pending> {
        self.waiting.values()
    }

    pub(super) fn urgent(&self) -> bool {
        self.waiting.values().any(|it| it.urgent)
    }

    pub(super) fn wants_everything(&self) -> bool {
        self.waiting.values().any(Pending::takes_all)
    }

    /// Those that are wanted, which wait no longer.
    pub(super) fn take(
        &mut self,
        wanted: impl Fn(&Pending) -> bool,
    ) -> HashMap<Arc<Path>, Pending> {
        self.waiting.extract_if(|_, it| wanted(it)).collect()
    }

    /// What was taken has to be synced all the same.
    pub(super) fn again(&mut self, folders: HashMap<Arc<Path>, Pending>, timing: &Timing) {
        for mut pending in folders.into_values() {
            pending.inter = inter(&pending.folder, timing);
            pending.folder = self.known(&pending.folder);
            self.put(pending);
        }
    }

    /// A folder that was asked for by its name, as it is known by now, if it waits.
    fn known(&self, folder: &Arc<Folder>) -> Arc<Folder> {
        let mut known = self.waiting.values().map(|it| &it.folder);
        let known = is_by_name(folder).then(|| known.find(|it| it.name == folder.name));
        known.flatten().unwrap_or(folder).clone()
    }

    /// Have it wait, together with what came of its folder since.
    fn put(&mut self, mut pending: Pending) {
        if let Some(later) = self.waiting.remove(&pending.folder.real) {
            pending.absorb(later);
        }
        self.waiting.insert(pending.folder.real.clone(), pending);
    }

    pub(super) fn synced(&mut self, now: Instant, pending: &Pending) {
        let folder = self.known(&pending.folder);
        let waiting = self.waiting.get_mut(&folder.real);
        // A folder that is no more needs no memory.
        if pending.takes_all() && waiting.is_none() {
            self.synced.remove(&folder.real);
            return;
        }
        if let Some(later) = waiting {
            later.synced = Some(now);
        }
        self.synced.insert(folder.real.clone(), (folder, now));
    }

    /// A run over everything that began after this moment, and before the next, has succeeded.
    pub(super) fn synced_all(&mut self, now: Instant, moment: u64) {
        self.synced.clear();
        self.all_synced = Some(now);
        self.waiting.retain(|_, it| it.last > moment);
        for pending in self.waiting.values_mut() {
            pending.synced = Some(now);
        }
    }

    pub(super) fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) {
        self.waiting.retain(|_, it| !these(&it.folder));
        self.synced.retain(|_, (folder, _)| !these(folder));
    }

    pub(super) fn only_urgent(&mut self) {
        self.waiting.retain(|_, it| it.urgent);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn held(&self) -> usize {
        self.waiting.len() + self.synced.len()
    }
}
