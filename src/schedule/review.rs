//! Looks at what is to be pushed: before a run that may not be needed, and after those that went well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::run::{Run, Stage};
use super::{Act, Lock, Look, Scheduler};
use crate::change::Folder;
use crate::syncer::unpushed::Unpushed;
use crate::syncer::{RunId, Scope};

/// What a run has made is noticed so long after its end at the latest.
const NOTICED: Duration = Duration::from_secs(30);
/// A look at folders is waited for so long.
pub(super) const LOOK_MOST: Duration = Duration::from_secs(10);

/// A look at what a run has left.  One that is not waited for any more still tells what it has seen,
/// until the next run begins.
pub(super) struct Review {
    pub(super) look: Look,
    /// Runs wait for it until then.
    pub(super) until: Instant,
    pub(super) everything: bool,
}

impl Scheduler {
    /// What was seen in folders.  A run that was not sure to be needed starts, for those with
    /// something to push; what a run has left is queued.
    pub fn looked(
        &mut self,
        now: Instant,
        look: Look,
        found: &[(Arc<Folder>, Unpushed)],
    ) -> Option<Act> {
        self.stirred = true;
        let its = |run: &&mut Run| run.is_only_looked_at() && look == Look::Before(run.id);
        if let Some(run) = self.run.as_mut().filter(its) {
            for (folder, unpushed) in found {
                if self.records.before(folder, unpushed) {
                    run.folders.remove(&folder.real);
                }
            }
            return self.go_on(now);
        }
        let review = self.review.take_if(|review| review.look == look)?;
        self.unseen = None;
        for (folder, unpushed) in found {
            let ignore = &self.timing.ignore;
            if ignore.iter().any(|glob| glob.matches(&folder.name)) {
                continue;
            }
            let disturbed = self.queue.is_local(&folder.real);
            if let Unpushed::Known(_) = unpushed {
                (self.queue).recorded(&folder.real, self.reviewed, self.covered);
            }
            if self.records.after(folder, unpushed, disturbed) {
                self.queue.pushed(&folder.real, self.reviewed);
            } else if matches!(unpushed, Unpushed::Known(_))
                && !disturbed
                && !self.aside.contains_key(&folder.real)
            {
                self.queue.open(now, folder, &self.timing);
            }
        }
        if review.everything {
            self.records.complete();
        }
        None
    }

    /// A run that was looked at starts, or is not needed.
    pub(super) fn go_on(&mut self, now: Instant) -> Option<Act> {
        let mut run = self.run.take()?;
        if run.folders.is_empty() {
            self.requests.append(&mut run.requests);
            // What a run could not do, nobody wants any more.
            if self.whole.is_none() && self.queue.len() == 0 {
                self.trouble = self.aside_text().unwrap_or_default();
            }
            return None;
        }
        run.name_folders();
        run.stage = Stage::Running(now);
        self.records.run(&run.scope);
        let act = run.start();
        self.run = Some(run);
        Some(act)
    }

    /// Have what runs have left looked at, if there is anything.
    pub(super) fn look_after(
        &mut self,
        now: Instant,
        next_run: &mut dyn FnMut() -> RunId,
    ) -> Option<Act> {
        let may = self.timing.records && self.begun && self.ready && self.lock == Lock::Ours;
        if !may || self.run.is_some() || self.review.is_some() {
            return None;
        }
        // Once more after a run is enough, and not waited for longer: somebody may make one folder
        // after the other.
        let again = self.unseen.is_none();
        // Later, it is somebody's who has put it there together with its record.
        let lately = self.last_end.is_some_and(|end| now < end + NOTICED);
        if again && !(self.once_more && lately) {
            return None;
        }
        let since = self.last_end.filter(|_| again);
        let (covered, reviewed) = (self.covered, self.reviewed);
        let made = self
            .queue
            .values()
            .filter(|it| it.may_be_made(covered, reviewed));
        let mut made = made.map(|it| it.folder.clone()).peekable();
        if again && made.peek().is_none() {
            return None;
        }
        let scope = match &self.unseen {
            Some(Scope::Everything) => Scope::Everything,
            unseen => {
                let folders = match unseen {
                    Some(Scope::Folders(folders)) => folders.as_slice(),
                    _ => &[],
                };
                // What happened during a run may be its echo.
                let local = self.queue.values().filter(|it| it.only_local());
                let local = local.map(|it| it.folder.clone());
                let folders = folders.iter().cloned().chain(local).chain(made);
                let mut folders: Vec<_> = folders.collect();
                folders.retain(|it| !it.directory.as_os_str().is_empty());
                folders.sort_unstable();
                folders.dedup();
                Scope::Folders(folders)
            }
        };
        let look = Look::After(next_run());
        self.once_more &= !again;
        self.reviewed = self.queue.moment();
        self.review = Some(Review {
            look,
            until: since.unwrap_or(now) + LOOK_MOST,
            everything: scope == Scope::Everything,
        });
        Some(Act::Look(look, scope))
    }
}
