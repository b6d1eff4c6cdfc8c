//! The engine's decisions, pure: `(now, input) -> actions`, and the next deadline.
//!
//! Owns the coalescers, the schedulers and the notifier, knows each root's folders, gives the
//! workers their jobs.  It does no I/O and reads no clock, so that the simulator can run it as it
//! is.  [`configure`] goes over to other accounts, [`watching`] takes in what happens in the roots,
//! [`remotes`] what happens in stores on other machines, [`syncing`] has accounts synced,
//! [`listening`] tells other programs, [`kept`] is what waits for that, [`listing`] names all folders;
//! [`account`] and [`root`] are single ones.

mod account;
mod configure;
mod kept;
mod listening;
mod listing;
mod remotes;
mod root;
mod syncing;
#[cfg(test)]
mod tests;
mod watching;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::{RemoteId, RootId};
pub use super::messages::{Action, Input};
use super::status::{AccountStatus, Status};
use crate::change::{AccountId, Kinds};
use crate::coalesce::{Coalesce, Coalescer};
use crate::listen::ledger::Ledger;
use crate::notifier::{Notice, Notifier};
use crate::remote::watcher as remote;
use crate::syncer::RunId;
use crate::watch::job::{Depth, Job};
use account::{Account, Syncs};
use remotes::{Remote, Stir};
use root::{Phase, Root};

/// The engine's state.  The coalescer is a parameter for the simulator's sake only.
pub struct Core<C = Coalescer> {
    /// By their numbers, which travel with changes; those that are over included.
    accounts: Vec<Account<C>>,
    /// Those of the present configuration, in its order.
    listed: Vec<AccountId>,
    roots: BTreeMap<RootId, Root>,
    /// Roots made so far.
    made: usize,
    remotes: BTreeMap<RemoteId, Remote>,
    /// Remote stores made so far.
    remotes_made: usize,
    notifier: Notifier,
    delivered: u64,
    /// Changes so far.
    serial: u64,
    /// Runs so far.
    runs: u64,
    mounts_are_told: bool,
    /// What was not told of folders when their roots were given up: whoever has them now tells.
    owed: HashMap<Arc<Path>, Kinds>,
    /// What Lisp has not checked yet, if other programs are told.
    ledger: Option<Ledger>,
}

impl<C: Coalesce> Default for Core<C> {
    fn default() -> Self {
        Core {
            accounts: Vec::new(),
            listed: Vec::new(),
            roots: BTreeMap::new(),
            made: 0,
            remotes: BTreeMap::new(),
            remotes_made: 0,
            notifier: Notifier::default(),
            delivered: 0,
            serial: 0,
            runs: 0,
            mounts_are_told: false,
            owed: HashMap::new(),
            ledger: None,
        }
    }
}

impl<C: Coalesce> Core<C> {
    /// Take in what happened; returns what to do.
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Configure(accounts) => self.configure(now, accounts, &mut actions),
            Input::Dirty(id, dirty) => self.dirty(now, id, dirty),
            Input::Report(id, report) => self.report(now, id, report),
            Input::WorkerDied(id, text) => self.worker_died(id, &text),
            Input::Attach(generation, limit) => self.attach(now, generation, limit),
            Input::Retry => self.each_remote(now, None, Stir::Resume, &mut actions),
            Input::Detach => self.notifier.detach(),
            Input::Acknowledge(generation, sequence) => {
                self.notifier.acknowledge(generation, sequence);
            }
            Input::Check(account, directory) => {
                self.doubt(now, account.as_deref(), directory.as_deref());
            }
            Input::Folders {
                account,
                all,
                slot,
                request,
            } => {
                let fields = self.list(now, account.as_deref(), all);
                self.answer(slot, request, fields);
            }
            Input::Answer(slot, request, fields) => self.answer(slot, request, fields),
            Input::Log(level, text) => self.notifier.notice(Notice::Log { level, text }),
            Input::Woke(slept) => {
                self.woke(slept);
                self.each_remote(now, None, Stir::Woke, &mut actions);
            }
            // Only where stamps are all there is does their clock matter.
            Input::ClockSet => {
                self.roots.values_mut().for_each(Root::clock_was_set);
                self.rouse(Depth::Sweep, Root::swept);
            }
            Input::NetworkChanged => {
                self.rouse(Depth::Sweep, Root::remote);
                self.rouse(Depth::Everything, Root::waits);
                self.each_syncs(|syncs| syncs.scheduler.network());
                self.each_remote(now, None, Stir::Network, &mut actions);
            }
            Input::MountsAreTold(told) => {
                self.mounts_are_told = told;
                if !told {
                    let alone = |root: &Root| root.waits() || root.empty();
                    self.rouse(Depth::Everything, alone);
                }
            }
            Input::Mounts(points) => {
                let near = |root: &Root| points.iter().any(|point| root.near(point));
                self.rouse(Depth::Everything, near);
            }
            Input::Checked(account, folders) => {
                if let Some(ledger) = &mut self.ledger {
                    for (real, serial) in &folders {
                        ledger.checked(now, real, *serial);
                    }
                }
                if let Some(syncs) = self.known(&account).and_then(|id| self.syncs(id)) {
                    for (real, serial) in folders {
                        syncs.scheduler.checked(&real, serial);
                    }
                }
            }
            Input::Sync(account, folders, request) => {
                for id in self.named(account.as_deref()) {
                    self.ask(now, id, folders.as_deref(), request);
                }
            }
            Input::Pause(account, pause) => {
                for id in self.named(account.as_deref()) {
                    match self.syncs(id) {
                        Some(syncs) if pause => actions.extend(syncs.pause()),
                        Some(syncs) => syncs.scheduler.resume(),
                        None => {}
                    }
                    // A pause is of syncs: what happens on servers is told all the same.
                    if !pause {
                        self.each_remote(now, Some(id), Stir::Resume, &mut actions);
                    }
                }
            }
            Input::Planned(account, run, syncer) => {
                if let Some(id) = self.known(&account) {
                    let syncer = syncer.map(|it| *it);
                    let act = (self.syncs(id)).and_then(|it| it.planned(now, RunId(run), syncer));
                    actions.extend(act.and_then(|act| self.act(id, act)));
                }
            }
            Input::RunOnce {
                key,
                sync,
                folders,
                request,
            } => {
                let id = self.account(&key);
                self.run_once(now, id, *sync, &mut actions);
                self.ask(now, id, folders.as_deref(), request);
            }
            Input::Ran(id, event) => self.ran(now, id, event),
            Input::Locked(id, lock) => {
                if let Some(syncs) = self.syncs(id) {
                    syncs.lock(lock);
                }
            }
            Input::Looked(id, look, found) => {
                actions.extend(self.looked(now, id, look, &found));
            }
            Input::Heard(id, number, heard) => {
                let event = remote::Event::Heard(number, heard);
                self.remote_event(now, id, event, &mut actions);
            }
            Input::HungUp(id, number, over) => {
                let event = remote::Event::Over(number, over);
                self.remote_event(now, id, event, &mut actions);
            }
            #[cfg(feature = "imap")]
            Input::Imap(id, event) => self.imap_event(now, id, event, &mut actions),
            Input::Listen(timeout) => self.listen(timeout),
            Input::Tick => {}
        }
        self.pump(now, &mut actions);
        actions
    }

    /// There is a pipe to Lisp, or another one.
    fn attach(&mut self, now: Instant, generation: i64, limit: usize) {
        // Whatever an earlier pipe carried (the first has generation 1) may be lost: everything
        // is in doubt.
        if generation > 1 {
            self.doubt(now, None, None);
        }
        for account in &mut self.accounts {
            account.told = None;
        }
        self.each_syncs(Syncs::untold);
        self.remotes.values_mut().for_each(Remote::untold);
        self.notifier.attach(generation, limit);
    }

    fn woke(&mut self, slept: Duration) {
        let text = format!(
            "the machine slept for {} s: everything is looked at again",
            slept.as_secs()
        );
        let level = "info";
        self.notifier.notice(Notice::Log { level, text });
        self.rouse(Depth::Everything, |_| true);
        self.each_syncs(|syncs| syncs.scheduler.woke(slept));
    }

    /// When to call `handle` with a `Tick` at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let accounts = self.accounts.iter();
        let coalescers = accounts.flat_map(Account::deadlines);
        let roots = self.roots.values().map(Root::deadline);
        let syncs = self.accounts.iter().filter_map(|it| it.syncs.as_ref());
        let syncs = syncs.map(Syncs::deadline);
        let remotes = self.remotes.values().map(Remote::deadline);
        let untold = |id: AccountId| self.accounts[id.0].untold() > 0;
        let ledger = self.ledger.iter().map(|it| it.deadline(untold));
        let all = coalescers.chain(roots).chain(syncs);
        let doubts = self.accounts.iter().map(|it| it.doubt);
        let all = all.chain(remotes).chain(ledger).chain(doubts);
        all.flatten().min()
    }

    /// When to listen for an acknowledgement; before everything else that happens it is heard anyway.
    pub fn listens(&self) -> Option<Instant> {
        self.notifier.listens()
    }

    fn answer(&mut self, slot: String, request: i64, fields: Vec<Vec<u8>>) {
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for mut field in fields {
            field.truncate(BYTES_A_PART);
            bytes += field.len() + 1;
            if bytes > BYTES_A_PART {
                parts.push(Vec::new());
                bytes = field.len() + 1;
            }
            if let Some(part) = parts.last_mut() {
                part.push(field);
            }
        }
        let count = parts.len();
        for (part, fields) in parts.into_iter().enumerate() {
            self.notifier.notice(Notice::Answer {
                slot: slot.clone(),
                request,
                part: (part, count),
                fields,
            });
        }
    }

    /// Whatever became possible or due, done.
    fn pump(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let ids: Vec<RootId> = self.roots.keys().copied().collect();
        for id in ids {
            let Some(root) = self.roots.get_mut(&id) else {
                continue;
            };
            if root.next_take.take_if(|at| *at <= now).is_some() {
                actions.push(Action::Take(id));
            }
            root.tick(now);
            root.stand(now);
            if let Some(job) = root.begin(now) {
                let exclude = self.inner(id);
                actions.push(Action::Run(id, Job { exclude, ..job }));
            }
        }
        self.each_remote(now, None, Stir::Tick, actions);
        self.check_doubts(now);
        // When all have looked, what nobody has told is of folders that nobody has.
        if self.roots.values().all(Root::idle) {
            self.owed.clear();
        }
        for id in 0..self.accounts.len() {
            for change in self.accounts[id].due(now) {
                self.delivered += 1;
                self.unchecked(now, &change);
                self.notifier.change(change);
            }
        }
        self.pass_on(now, actions);
        self.tell_states();
        self.tell_remotes();
        self.sync(now, actions);
        actions.extend(self.notifier.frame(now).map(Action::Send));
    }

    /// The roots of an account, in its order.
    fn roots_of(&self, account: AccountId) -> impl Iterator<Item = &Root> + Clone {
        let roots = self.accounts[account.0].roots.iter();
        roots.filter_map(|id| self.roots.get(id))
    }

    fn state(&self, account: AccountId) -> (Phase, String) {
        let roots = self.roots_of(account);
        let worst = roots.clone().map(Root::phase).max();
        // One that has no maildir is watched as soon as one of its stores is.
        let starting = || {
            let mut remotes = self.remotes_of(account).peekable();
            remotes.peek().is_some() && remotes.all(Remote::is_starting)
        };
        let phase = worst.unwrap_or_else(|| {
            if starting() {
                Phase::Starting
            } else {
                Phase::Watching
            }
        });
        let mut texts = (roots.filter(|root| root.phase() == phase)).map(Root::text);
        let text = texts.find(|text| !text.is_empty());
        (phase, text.unwrap_or_default())
    }

    fn tell_states(&mut self) {
        for account in self.listed.clone() {
            let now = self.state(account);
            let told = &mut self.accounts[account.0].told;
            if told.as_ref() != Some(&now) {
                self.notifier.notice(Notice::State {
                    account,
                    state: now.0.name(),
                    text: now.1.clone(),
                });
                *told = Some(now);
            }
        }
    }

    /// What a user may want to see.
    pub fn status(&self) -> Status {
        let accounts = self.listed.iter().map(|id| {
            let account = &self.accounts[id.0];
            let (phase, text) = self.state(*id);
            AccountStatus {
                name: account.name.clone(),
                state: phase.name(),
                text,
                pending: account.untold() + self.notifier.pending(*id),
                roots: self.roots_of(*id).map(Root::status).collect(),
                sync: account.syncs.as_ref().map(Syncs::status),
                remotes: self.remotes_of(*id).map(Remote::status).collect(),
            }
        });
        Status {
            accounts: accounts.collect(),
            in_flight: self.notifier.in_flight(),
            delivered: self.delivered,
            held: self.held(),
            dead: None,
        }
    }

    /// Entries held in memory, which must not grow with the number of events.
    pub fn held(&self) -> usize {
        let coalescers = self.accounts.iter().map(Account::untold);
        let roots = self.roots.values().map(Root::held);
        let syncs = self.accounts.iter().filter_map(|it| it.syncs.as_ref());
        let syncs = syncs.map(|it| it.scheduler.held());
        let remotes = self.remotes.values().map(Remote::held);
        let entries = coalescers.chain(roots).chain(syncs).chain(remotes);
        let unchecked = self.ledger.as_ref().map_or(0, Ledger::len);
        entries.sum::<usize>() + self.notifier.len() + self.owed.len() + unchecked
    }
}

/// Bytes in one part of an answer, and in one field of it: it has to fit into a frame with room to spare.
const BYTES_A_PART: usize = 8192;
