//! The engine, which is real: it is told something, and what it wants done is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use mailsync_module::change::{Change, Folder, Kinds};
use mailsync_module::coalesce::{Coalesce, Coalescer, Delays};
use mailsync_module::engine::core::{Action, Input};
use mailsync_module::schedule::Phase;
use mailsync_module::watch::inbox::Inbox;

use super::{Happens, ID, World, named, real, seconds};
use crate::world::{Outcome as Verdict, ms};

thread_local! {
    static TOLD: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
    static DUE: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
}

/// A coalescer that shows what the core tells it, and what it hands out: with it come the serial numbers.
pub struct Spy(Coalescer);

impl Coalesce for Spy {
    fn new(delays: Delays) -> Self {
        Spy(Coalescer::new(delays))
    }

    fn add(&mut self, now: Instant, change: Change) {
        TOLD.with_borrow_mut(|told| told.push(change.clone()));
        self.0.add(now, change);
    }

    fn hasten(&mut self, by: Instant, only: Option<&Path>) {
        self.0.hasten(by, only);
    }

    fn due(&mut self, now: Instant) -> Vec<Change> {
        let due = self.0.due(now);
        DUE.with_borrow_mut(|all| all.extend_from_slice(&due));
        due
    }

    fn retime(&mut self, delays: Delays) {
        self.0.retime(delays);
    }

    fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) -> Vec<Change> {
        self.0.forget(these)
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Nobody has told anything yet.
pub(super) fn forget_what_was_told() {
    TOLD.with_borrow_mut(Vec::clear);
    DUE.with_borrow_mut(Vec::clear);
}

impl World {
    pub fn handle(&mut self, input: Input) -> Verdict {
        let at = self.epoch + self.now;
        let actions = self.core.handle(at, input);
        // What was told, and when that was done.
        let mut told: BTreeMap<&'static str, (Kinds, u64)> = BTreeMap::new();
        for change in TOLD.take() {
            let known = told.entry(named(&change.folder.name)?).or_default();
            known.0 |= change.kinds;
            known.1 = known.1.max(change.serial);
        }
        for (name, (kinds, serial)) in told {
            let structural = kinds.intersects(Kinds::CREATED | Kinds::DELETED);
            let open = self.limbo.remove(name).unwrap_or_default();
            self.will_tell(name, serial);
            if open || structural || kinds.contains(Kinds::UNKNOWN) {
                self.rules.changed(self.now, name, structural, serial);
            }
        }
        for action in &actions {
            if let Action::Tell(told) = action {
                self.listener.hears_of_roots(told);
            }
        }
        for change in DUE.take() {
            // Who syncs with this store gains nothing by what is of interest to readers alone.
            if !change.is_quiet() {
                (self.listener).owes(self.now, named(&change.folder.name)?, change.serial);
            }
        }
        let mut spawned = false;
        for action in actions {
            match action {
                Action::Open(root, _) => {
                    self.root = Some(root);
                    self.inbox = Arc::new(Inbox::new(|| {}));
                    self.marks.clear();
                    self.limbo.clear();
                    self.lost.clear();
                    self.losing = false;
                    self.reported.clear();
                }
                Action::Run(root, job) => {
                    // What no report has explained is for the worker to find: it is not told as what it was.
                    let within =
                        |folder: &str| job.places.keys().any(|it| it.starts_with(real(folder)));
                    self.limbo.retain(|folder, _| !within(folder));
                    self.later(ms(100), Happens::Work(root, job));
                }
                Action::Close(_) => self.root = None,
                Action::Take(_) => {
                    if !self.taking {
                        self.taking = true;
                        self.later(ms(5), Happens::Take);
                    }
                }
                Action::Send(bytes) => {
                    if self.pipe.replace(bytes).is_some() {
                        return Err("two frames in flight".to_owned());
                    }
                    let busy = !self.calm && self.rng.once_in(30);
                    let most = if busy { seconds(5) } else { ms(60) };
                    self.later(most, Happens::Read(self.generation));
                }
                Action::Sync(id, order) if id != ID => self.once_starts(order.run)?,
                Action::SeekLock(id, _) if id != ID => {
                    self.once.seeks_lock(id);
                    self.later(ms(20), Happens::OnceLocks);
                }
                Action::DropLock(id) if id != ID => self.once.drops_lock(),
                Action::Sync(_, order) => {
                    spawned = true;
                    self.spawn(&order)?;
                }
                Action::Look(_, look, _, folders) => self.starts_looking(look, &folders)?,
                Action::EndSync(run, end) => self.end_sync(run, end),
                Action::SeekLock(..) => {
                    self.wants_lock = true;
                    self.rules.locked = false;
                    self.later(ms(20), Happens::Locks);
                }
                Action::Connect(id, order) => self.connects(id, order.number)?,
                Action::Disconnect(id) => self.disconnects(id),
                Action::DropLock(_) => {
                    self.wants_lock = false;
                    self.rules.locked = false;
                }
                Action::Tell(told) => self.pass_on(told)?,
                // No server is asked.
                action => return Err(format!("not wanted: {action:?}")),
            }
        }
        if self.setup.timing.per_run && !spawned && self.there {
            let status = self.core.status();
            let sync = status.accounts.first().and_then(|it| it.sync.as_ref());
            if sync.is_some_and(|sync| sync.phase == Phase::Running) {
                self.rules.plans(self.now);
            } else {
                self.rules.plans_nothing();
            }
        }
        if self.setup.timing.records && !spawned && self.there {
            let status = self.core.status();
            let sync = status.accounts.first().and_then(|it| it.sync.as_ref());
            if sync.is_none_or(|sync| !sync.looking) {
                self.rules.plans_nothing();
            }
        }
        self.rules.overdue(self.now)?;
        self.lisp_knows()?;
        self.listener_knows()?;
        self.is_far_watched()?;
        if let Some(deadline) = self.core.deadline()
            && deadline <= at
        {
            return Err("I8: a deadline that has passed".to_owned());
        }
        if self.core.held() > 150 {
            return Err(format!("I7: {} entries", self.core.held()));
        }
        Ok(())
    }
}
