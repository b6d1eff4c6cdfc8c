//! What a process of the syncer does, one step after the other: between any two of them it may be
//! killed.
//!
//! Folder by folder it leaves a mark beside its record (a lock and a journal), reads what is here,
//! brings both sides together, some messages at a time, and writes the record.

use mailsync_module::engine::core::Input;
use mailsync_module::syncer::{Event, Outcome};

use super::runs::{Fate, Whose};
use super::{Happens, ID, Sabotage, World};
use crate::syncs::mail::{Part, Snapshot};
use crate::world::Outcome as Verdict;

/// A folder that it is at work in.
pub(super) struct Site {
    folder: &'static str,
    /// What was there when it began.
    seen: Snapshot,
    /// What had happened on the server by then.
    far: u64,
    /// It has brought together the messages up to this one.
    after: u64,
    /// It says so, and does nothing.
    idle: bool,
    /// Only the record is left to be written.
    done: bool,
}

impl World {
    pub(super) fn ran(&mut self, event: Event) -> Verdict {
        self.handle(Input::Ran(ID, event))
    }

    pub(super) fn step_of(&mut self, pid: u32) -> Verdict {
        let Some(at) = self.processes.iter().position(|it| it.pid == pid) else {
            return Ok(());
        };
        let process = &mut self.processes[at];
        if !process.began {
            if let Fate::Is(outcome @ (Outcome::Config | Outcome::Locked)) = process.fate {
                return self.finish(pid, outcome);
            }
            process.began = true;
            let (run, whose) = (process.run, process.whose);
            self.later(self.setup.step, Happens::Step(pid));
            return match whose {
                Whose::Ours => {
                    self.ours = [Some(pid), self.ours[0]];
                    self.ran(Event::Began { run, pid })
                }
                Whose::Orphan => self.ran(Event::Began { run, pid }),
                Whose::Left | Whose::Users => Ok(()),
            };
        }
        match process.fate {
            Fate::Is(Outcome::Ok | Outcome::Partial) => {}
            _ if process.fuse > 0 => process.fuse -= 1,
            Fate::Hangs => return Ok(()),
            Fate::Is(outcome) => return self.finish(pid, outcome),
        }
        let (run, whose) = (process.run, process.whose);
        match process.site.take() {
            None => {
                let Some(folder) = process.todo.pop() else {
                    return match process.fate {
                        Fate::Is(outcome) => self.finish(pid, outcome),
                        Fate::Hangs => Ok(()),
                    };
                };
                let site = self.enter(at, folder);
                self.processes[at].site = Some(site);
            }
            Some(site) if site.done => self.leave(at, &site),
            Some(site) => {
                let site = self.work_in(at, site);
                self.processes[at].site = Some(site);
            }
        }
        self.later(self.setup.step, Happens::Step(pid));
        if matches!(whose, Whose::Ours | Whose::Orphan) && self.rng.once_in(2) {
            return self.ran(Event::Sign { run });
        }
        Ok(())
    }

    /// A process begins with a folder.
    fn enter(&mut self, at: usize, folder: &'static str) -> Site {
        let process = &self.processes[at];
        let dishonest = process.fate == Fate::Is(Outcome::Auth) || self.sabotage == Sabotage::Lies;
        if process.all || self.setup.coarse && process.whose != Whose::Users {
            self.mail.sync_folder(folder);
        }
        // Once, until it has done it: what two runs that went well have left passes for what the syncer
        // refuses.  A syncer that always lies has no cure.
        let most = self.setup.lies;
        let may_lie = most > 0 && !self.calm && !dishonest;
        let lies = may_lie && !self.lied.contains(folder) && self.rng.once_in(most);
        if lies {
            self.lied.insert(folder);
        }
        self.mail.open(folder);
        let far = self.mail.last_far(&[folder]);
        Site {
            folder,
            seen: self.mail.read(folder),
            far: far.get(folder).copied().unwrap_or_default(),
            after: 0,
            idle: dishonest || lies,
            done: false,
        }
    }

    /// It brings some messages of it together.
    fn work_in(&mut self, at: usize, mut site: Site) -> Site {
        let process = &self.processes[at];
        let (folder, pid) = (site.folder, process.pid);
        let fails = process.failing.contains(folder);
        site.done = true;
        if site.idle {
            return site;
        }
        let most = match (fails, self.rng.once_in(3)) {
            (true, _) => 1,
            (false, true) => 1 + self.rng.index(8),
            (false, false) => usize::MAX,
        };
        let part = Part {
            after: site.after,
            most,
        };
        let refuses = self.setup.refuses;
        let (happenings, now, more) = self.mail.sync(folder, &site.seen, pid, part, refuses);
        let written = &mut self.processes[at].written;
        written.fetched += now.fetched;
        written.sent += now.sent;
        written.unsigned += now.unsigned;
        happenings.into_iter().for_each(|it| self.put(it));
        match more {
            _ if fails => {}
            Some(last) => {
                site.after = last;
                site.done = false;
            }
            None => self.mail.fetched(folder, site.far),
        }
        site
    }

    /// It is done with it; where it fails it may leave its journal.
    fn leave(&mut self, at: usize, site: &Site) {
        let folder = site.folder;
        let fails = self.processes[at].failing.contains(folder);
        // One that has failed has not made good what a lie has left: it has not come that far.
        if !site.idle && !fails {
            self.lied.remove(folder);
        }
        if !fails || self.rng.once_in(2) {
            self.mail.close(folder);
        }
    }
}
