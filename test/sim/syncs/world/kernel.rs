//! What the kernel tells of the maildirs, and what the worker finds there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use mailsync_module::change::Kinds;
use mailsync_module::echo::Claims;
use mailsync_module::engine::config::RootId;
use mailsync_module::engine::core::Input;
use mailsync_module::maildir::{FileId, FoundFolder, Stamp, Wall};
use mailsync_module::watch::inbox::Dirty;
use mailsync_module::watch::job::{Absent, Depth, Job, Report, Scanned};

use super::{Happens, Sabotage, World, all_folders, real};
use crate::syncs::mail::{Happening, Mark, ROOT};
use crate::world::{Outcome as Verdict, ms};

impl World {
    /// The kernel tells.
    pub fn put(&mut self, happening: Happening) {
        // What was never there is not watched.
        if self.root.is_none() || self.away && self.reported.is_empty() {
            return;
        }
        if self.losing {
            self.lost.extend(happening.marks.iter().map(|(it, _)| *it));
            return;
        }
        for event in happening.events {
            self.inbox.put(event);
        }
        for (folder, mark) in happening.marks {
            self.marks.entry(folder).or_default().push(mark);
        }
        if !self.taking {
            self.taking = true;
            self.later(ms(30), Happens::Take);
        }
    }

    /// The engine looks into the inbox.
    pub(super) fn take(&mut self) -> Verdict {
        if self.sabotage == Sabotage::TellsLate && (self.is_syncing() || self.is_reviewing()) {
            self.later(ms(50), Happens::Take);
            return Ok(());
        }
        self.taking = false;
        let Some(root) = self.root else {
            return Ok(());
        };
        let mut dirty = self.inbox.take(self.epoch + self.now);
        self.misjudge(&mut dirty);
        for (folder, marks) in std::mem::take(&mut self.marks) {
            let open = |mark: &Mark| match mark {
                Mark::Open => true,
                Mark::Quiet | Mark::Pushed => false,
                Mark::By(pid) => !self.ours.contains(&Some(*pid)),
            };
            let open = |mark: &Mark| self.sabotage == Sabotage::ClaimsNothing || open(mark);
            *self.limbo.entry(folder).or_default() |= marks.iter().any(open);
        }
        self.losing = self.losing && !dirty.overflow;
        self.handle(Input::Dirty(root, dirty))
    }

    /// What names claim, forged.
    fn misjudge(&self, dirty: &mut Dirty) {
        match self.sabotage {
            Sabotage::ClaimsByTime if !self.is_syncing() => {}
            Sabotage::ClaimsAll | Sabotage::ClaimsByTime => {
                let claimed = |(directory, kinds): (&PathBuf, &Kinds)| {
                    let pushed = *kinds;
                    let claims = Claims {
                        pushed,
                        ..Claims::default()
                    };
                    (directory.clone(), claims)
                };
                dirty.claims = dirty.messages.iter().map(claimed).collect();
            }
            Sabotage::ClaimsNothing => dirty.claims.clear(),
            _ => {}
        }
    }

    /// The worker has done a job.
    pub(super) fn work(&mut self, root: RootId, job: Job) -> Verdict {
        if self.root != Some(root) {
            return Ok(());
        }
        self.rules.dragging = false;
        let first = self.reported.is_empty();
        if self.away && (first || job.depth == Depth::Everything) {
            self.say("the root is away");
            self.rules.ready = false;
            return self.handle(Input::Report(root, Report::Absent(Absent::default())));
        }
        let existing: BTreeSet<&str> = self.mail.existing().into_iter().collect();
        let stay = |name: &&&'static str| existing.contains(**name);
        let found = |name: &&'static str| {
            let wall = Wall::default();
            let stamp = Stamp {
                id: FileId { dev: 1, ino: 1 },
                mtime: wall,
                ctime: wall,
                size: 0,
                taken: wall,
                since: wall,
            };
            Arc::new(FoundFolder {
                name: name.as_bytes().into(),
                directory: real(name).into(),
                real: real(name).into(),
                new: stamp,
                cur: stamp,
            })
        };
        let mut changed: BTreeSet<&'static str> = BTreeSet::new();
        // One that was away is doubted as a whole, as by the real worker.
        if job.depth == Depth::Everything || !self.rules.ready {
            changed = std::mem::take(&mut self.lost);
            let doubtful = self.reported.iter().filter(|_| self.rng.once_in(30));
            changed.extend(doubtful);
        }
        let created: Vec<&'static str> = (existing.iter())
            .filter_map(|it| all_folders().find(|name| name == it))
            .filter(|it| !self.reported.contains(*it))
            .collect();
        let deleted: Vec<&'static str> = (self.reported.iter())
            .filter(|it| !stay(it))
            .copied()
            .collect();
        changed.retain(|it| self.reported.contains(it) && !deleted.contains(it));
        self.say(format_args!(
            "reports +{created:?} -{deleted:?} ?{changed:?}"
        ));
        let report = Scanned {
            real_root: ROOT.into(),
            created: created.iter().map(found).collect(),
            deleted: deleted.iter().map(|it| real(it).into()).collect(),
            changed: changed.iter().map(|it| real(it).into()).collect(),
            watches: 2 * existing.len(),
            ..Scanned::default()
        };
        self.reported.extend(created);
        self.reported.retain(|it| !deleted.contains(it));
        self.rules.ready = true;
        self.handle(Input::Report(root, Report::Scanned(report)))?;
        if first {
            // What came before a first look, and is not told by now, is no news: the run of
            // everything at the start covers it.
            self.limbo.clear();
        }
        Ok(())
    }
}
