//! Changes of which Lisp is not told yet, since a run is at their folders.
//!
//! OfflineIMAP uploads a message and renames its file then.  If a mail reader has renamed that
//! meanwhile, as nnmaildir does with each new message it sees, OfflineIMAP fails, and uploads the
//! message once more the next time: it is there twice.  So messages that others than the syncer
//! put into a folder during its run are shown when the run is over, or a few seconds later.
//!
//! Pure.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::change::{Change, Folder, Kinds, Origins};

/// Nothing is kept for longer.
const MOST: Duration = Duration::from_secs(5);

/// At most one change a folder.
#[derive(Default)]
pub(super) struct Kept {
    changes: HashMap<Arc<Path>, (Change, Instant)>,
}

impl Kept {
    /// Take a change that is due; give it back unless it is to be kept.  `most` is how long that
    /// may be at most, where a run `is_at` its folder.
    pub(super) fn take(
        &mut self,
        now: Instant,
        change: Change,
        is_at: bool,
        most: Duration,
    ) -> Option<Change> {
        if let Some((kept, _)) = self.changes.get_mut(&change.folder.real) {
            kept.absorb(change);
            return None;
        }
        let brought = change.kinds.contains(Kinds::NEW) && change.origins.contains(Origins::LOCAL);
        if !(brought && is_at) {
            return Some(change);
        }
        let until = now + MOST.min(most);
        self.changes
            .insert(change.folder.real.clone(), (change, until));
        None
    }

    /// What is kept no longer: its time is up, or no run is at its folder.
    pub(super) fn release(&mut self, now: Instant, is_at: impl Fn(&Folder) -> bool) -> Vec<Change> {
        let over = |change: &Change, until: Instant| until <= now || !is_at(&change.folder);
        let mut free: Vec<_> = (self.changes)
            .extract_if(|_, (change, until)| over(change, *until))
            .map(|(_, (change, _))| change)
            .collect();
        // The same history is told in the same order.
        free.sort_unstable_by(|a, b| a.folder.cmp(&b.folder));
        free
    }

    /// Give back what is kept of these folders.
    pub(super) fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) -> Vec<Change> {
        let gone = (self.changes).extract_if(|_, (change, _)| these(&change.folder));
        gone.map(|(_, (change, _))| change).collect()
    }

    /// When something has been kept long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.changes.values().map(|(_, until)| *until).min()
    }

    /// Folders with something kept.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::change;

    /// What happens (ms; a change, or a run that begins or ends), and what Lisp is told (ms).
    #[test]
    fn what_comes_during_a_run_is_told_after_it() {
        let local = |kinds| Change {
            origins: Origins::LOCAL,
            ..change("a", kinds)
        };
        let fetched = || Change {
            origins: Origins::SYNC,
            ..change("a", Kinds::NEW)
        };
        let most = Duration::from_secs(20);
        // the change, whether a run is at its folder, when that ends, when it is told
        let table = [
            (local(Kinds::NEW), false, 0, 0),
            (local(Kinds::NEW), true, 1000, 1000),
            (local(Kinds::NEW | Kinds::FLAGS), true, 1000, 1000),
            (local(Kinds::NEW), true, 60_000, 5000),
            (local(Kinds::FLAGS), true, 1000, 0),
            (local(Kinds::UNKNOWN), true, 1000, 0),
            (fetched(), true, 1000, 0),
        ];
        for (change, is_at, end, expected) in table {
            let (start, mut kept) = (Instant::now(), Kept::default());
            let at = |ms| start + Duration::from_millis(ms);
            let mut told = kept.take(start, change.clone(), is_at, most).map(|_| 0);
            for ms in (0..=60_000).step_by(500) {
                let free = kept.release(at(ms), |_| is_at && ms < end);
                told = told.or((!free.is_empty()).then_some(ms));
            }
            assert_eq!((told, kept.len()), (Some(expected), 0), "{change:?}");
        }
    }

    #[test]
    fn what_comes_later_goes_along() {
        let (now, mut kept) = (Instant::now(), Kept::default());
        let most = Duration::from_secs(1);
        let mut take = |kinds, is_at| {
            let change = Change {
                origins: Origins::LOCAL,
                ..change("a", kinds)
            };
            kept.take(now, change, is_at, most)
        };
        assert_eq!(take(Kinds::NEW, true), None);
        assert_eq!(take(Kinds::FLAGS, false), None);
        assert_eq!(kept.deadline(), Some(now + most));
        let free = kept.release(now, |_| false);
        let kinds: Vec<_> = free.iter().map(|it| it.kinds).collect();
        assert_eq!(kinds, [Kinds::NEW | Kinds::FLAGS]);
        assert_eq!(kept.forget(&|_| true), []);
    }
}
