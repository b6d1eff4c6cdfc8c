//! The engine's decisions, pure: `(now, input) -> actions`, and the next deadline.
//!
//! Owns the coalescers, the schedulers and the notifier, knows each root's folders, gives the workers their jobs.
//! It does no I/O and reads no clock, so that the simulator can run it as it is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::{AccountConfig, RootConfig, RootId, SyncConfig};
use super::root::{Happened, Phase, Root};
use super::status::{AccountStatus, Status};
use super::syncs::Syncs;
use crate::change::{AccountId, Change, Folder, Kinds, Origins};
use crate::coalesce::{Coalesce, Coalescer, Delays};
use crate::echo::Claims;
use crate::maildir::FoundFolder;
use crate::notifier::{Notice, Notifier};
use crate::schedule::{Act, Lock, Timing};
use crate::syncer::{End, Event, Order, RunId, Syncer};
use crate::watch::inbox::{Dirty, HALF_LIFE};
use crate::watch::job::{Depth, Job, Report, Scanned};

/// What the engine learns.
#[derive(Debug)]
pub enum Input {
    /// These accounts shall be watched, and no others: the difference is what is done.
    Configure(Vec<AccountConfig>),
    /// A backend's events.
    Dirty(RootId, Dirty),
    /// A worker's answer.
    Report(RootId, Report),
    /// A worker died.
    WorkerDied(RootId, String),
    /// Lisp made a pipe that takes this many bytes without waiting.
    Attach(i64, usize),
    /// The pipe is closed.
    Detach,
    /// Lisp has read a frame (generation and sequence).
    Acknowledge(i64, u64),
    /// Lisp wants every folder of an account (all accounts), or of one root of it, checked.
    Check(Option<String>, Option<PathBuf>),
    /// Gnus has checked folders of an account, by truename, as of these serial numbers.
    Checked(String, Vec<(PathBuf, u64)>),
    /// The user wants an account (`None`: all) synced now: these folders (`None`: everything); a
    /// request that is not 0 is answered.
    Sync(Option<String>, Option<Vec<Vec<u8>>>, i64),
    /// Pause the syncs of an account (`None`: all), or resume them.
    Pause(Option<String>, bool),
    /// Lisp's answer to how a syncer is run this time.
    Planned(String, u64, Option<Box<Syncer>>),
    /// Run a syncer that is no account's: its key, folders and request.
    RunOnce {
        /// Runs of one key never overlap.
        key: String,
        /// What to run.
        syncer: Box<Syncer>,
        /// `None`: everything.
        folders: Option<Vec<Vec<u8>>>,
        /// As in `Sync`.
        request: i64,
        /// It is ended when it gives no sign of life for so long, if ever.
        silence: Option<Duration>,
    },
    /// A runner's news.
    Ran(AccountId, Event),
    /// Who may sync an account.
    Locked(AccountId, Lock),
    /// File names were resolved: slot, number of the request, names with truenames.
    Resolved(String, i64, Vec<(PathBuf, PathBuf)>),
    /// Something for the log: its level and text.
    Log(&'static str, String),
    /// The machine slept, for so long.
    Woke(Duration),
    /// The wall clock was set, which stamps are compared by.
    ClockSet,
    /// An address or a route came or went.
    NetworkChanged,
    /// From now on `Mounts` comes when something is mounted or unmounted, or does not.
    MountsAreTold(bool),
    /// Something was mounted or unmounted here.
    Mounts(Vec<PathBuf>),
    /// Only time has passed.
    Tick,
}

/// What the engine wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a worker for a new root.
    Open(RootId, RootConfig),
    /// Give a worker a job; it has none.
    Run(RootId, Job),
    /// End a worker.
    Close(RootId),
    /// Look into the root's inbox again.
    Take(RootId),
    /// Write a frame; the pipe has room for it.
    Send(Vec<u8>),
    /// Run a syncer.
    Sync(AccountId, Box<Order>),
    /// End a run.
    EndSync(RunId, End),
    /// Seek the lock of an account with this name, and say who has it.
    SeekLock(AccountId, String),
    /// Give it up.
    DropLock(AccountId),
}

struct Account<C> {
    name: String,
    coalescer: C,
    /// The state that Lisp was told last.
    told: Option<(Phase, String)>,
    /// As configured; none when it is configured no longer.
    roots: Vec<RootId>,
    /// None if it has no syncer.
    syncs: Option<Syncs>,
}

/// The engine's state.  The coalescer is a parameter for the simulator's sake only.
pub struct Core<C = Coalescer> {
    /// All that ever were: their numbers travel with changes.
    accounts: Vec<Account<C>>,
    /// Those of the present configuration, in its order.
    listed: Vec<AccountId>,
    roots: BTreeMap<RootId, Root>,
    /// Roots made so far.
    made: usize,
    notifier: Notifier,
    delivered: u64,
    /// Changes so far.
    serial: u64,
    /// Runs so far.
    runs: u64,
    mounts_are_told: bool,
    /// What was not told of folders when their roots were given up: whoever has them now tells.
    owed: HashMap<Arc<Path>, Kinds>,
}

impl<C: Coalesce> Default for Core<C> {
    fn default() -> Self {
        Core {
            accounts: Vec::new(),
            listed: Vec::new(),
            roots: BTreeMap::new(),
            made: 0,
            notifier: Notifier::default(),
            delivered: 0,
            serial: 0,
            runs: 0,
            mounts_are_told: false,
            owed: HashMap::new(),
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
            Input::WorkerDied(id, text) => {
                if let Some(root) = self.roots.get_mut(&id) {
                    let directory = root.config.directory.display();
                    root.fail(format!(
                        "internal error while looking at {directory}: {text}; M-x \
                         mailsync-restart starts it again, please report this"
                    ));
                    if let Some(real) = root.real.take() {
                        self.unnest(&real);
                        self.settle_clashes(&real);
                    }
                }
            }
            Input::Attach(generation, limit) => {
                // Whatever an earlier pipe carried (the first has generation 1) may be lost:
                // everything is in doubt.
                if generation > 1 {
                    self.doubt(None, None);
                }
                for account in &mut self.accounts {
                    account.told = None;
                    if let Some(syncs) = &mut account.syncs {
                        syncs.untold();
                    }
                }
                self.notifier.attach(generation, limit);
            }
            Input::Detach => self.notifier.detach(),
            Input::Acknowledge(generation, sequence) => {
                self.notifier.acknowledge(generation, sequence);
            }
            Input::Check(account, directory) => {
                self.doubt(account.as_deref(), directory.as_deref());
            }
            Input::Resolved(slot, request, pairs) => self.resolved(slot, request, pairs),
            Input::Log(level, text) => self.notifier.notice(Notice::Log { level, text }),
            Input::Woke(slept) => {
                let text = format!(
                    "the machine slept for {} s: everything is looked at again",
                    slept.as_secs()
                );
                self.notifier.notice(Notice::Log {
                    level: "info",
                    text,
                });
                self.rouse(Depth::Everything, |_| true);
                self.each_syncs(|syncs| syncs.scheduler.woke(slept));
            }
            // Only where stamps are all there is does their clock matter.
            Input::ClockSet => self.rouse(Depth::Everything, Root::swept),
            Input::NetworkChanged => {
                self.rouse(Depth::Sweep, Root::remote);
                self.rouse(Depth::Everything, Root::waits);
                self.each_syncs(|syncs| syncs.scheduler.network());
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
                let id = self.known(&account);
                if let Some(syncs) = id.and_then(|id| self.accounts[id.0].syncs.as_mut()) {
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
                    if let Some(syncs) = &mut self.accounts[id.0].syncs {
                        if pause {
                            syncs.scheduler.pause();
                        } else {
                            syncs.scheduler.resume();
                        }
                    }
                }
            }
            Input::Planned(account, run, syncer) => {
                if let Some(id) = self.known(&account) {
                    let syncs = self.accounts[id.0].syncs.as_mut();
                    let act =
                        syncs.and_then(|it| it.planned(now, RunId(run), syncer.map(|it| *it)));
                    actions.extend(act.and_then(|act| self.act(id, act)));
                }
            }
            Input::RunOnce {
                key,
                syncer,
                folders,
                request,
                silence,
            } => {
                let id = self.account(key);
                self.run_once(now, id, *syncer, silence, &mut actions);
                self.ask(now, id, folders.as_deref(), request);
            }
            Input::Ran(id, event) => {
                let account = self.accounts.get_mut(id.0);
                if let Some(syncs) = account.and_then(|it| it.syncs.as_mut()) {
                    syncs.ran(now, event, &mut self.notifier);
                }
            }
            Input::Locked(id, lock) => {
                let account = self.accounts.get_mut(id.0);
                if let Some(syncs) = account.and_then(|it| it.syncs.as_mut()) {
                    syncs.lock(lock);
                }
            }
            Input::Tick => {}
        }
        self.pump(now, &mut actions);
        actions
    }

    /// When to call `handle` with a `Tick` at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let accounts = self.accounts.iter();
        let coalescers = accounts.map(|account| account.coalescer.deadline());
        let roots = self.roots.values().map(Root::deadline);
        let syncs = self.accounts.iter().filter_map(|it| it.syncs.as_ref());
        let syncs = syncs.map(Syncs::deadline);
        coalescers.chain(roots).chain(syncs).flatten().min()
    }

    fn each_syncs(&mut self, act: impl Fn(&mut Syncs)) {
        let accounts = self.accounts.iter_mut();
        accounts.filter_map(|it| it.syncs.as_mut()).for_each(act);
    }

    /// The account with this name, if there ever was one.
    fn known(&self, name: &str) -> Option<AccountId> {
        let at = self.accounts.iter().position(|it| it.name == name);
        at.map(AccountId)
    }

    /// The account with this name, or all that are configured.
    fn named(&self, name: Option<&str>) -> Vec<AccountId> {
        match name {
            None => self.listed.clone(),
            Some(name) => self.known(name).into_iter().collect(),
        }
    }

    /// The number of the account with this name, which may be new.
    fn account(&mut self, name: String) -> AccountId {
        if let Some(known) = self.known(&name) {
            return known;
        }
        self.notifier.account(name.clone());
        self.accounts.push(Account {
            name,
            coalescer: C::new(Delays::default()),
            told: None,
            roots: Vec::new(),
            syncs: None,
        });
        AccountId(self.accounts.len() - 1)
    }

    /// Have an account synced from now on as is configured, or not at all.
    fn resync(
        &mut self,
        now: Instant,
        id: AccountId,
        config: Option<SyncConfig>,
        actions: &mut Vec<Action>,
    ) {
        let account = &mut self.accounts[id.0];
        match (&mut account.syncs, config) {
            (Some(syncs), Some(config)) => {
                syncs.ad_hoc = false;
                syncs.reconfigure(now, config);
            }
            (None, Some(config)) => {
                account.syncs = Some(Syncs::new(id, config));
                actions.push(Action::SeekLock(id, account.name.clone()));
            }
            (Some(syncs), None) => {
                // Its end will interest nobody; the lock lasts until then.
                if let Some(run) = syncs.abandon(&mut self.notifier) {
                    actions.push(Action::EndSync(run, End::Stop));
                }
                account.syncs = None;
                actions.push(Action::DropLock(id));
            }
            (None, None) => {}
        }
        if let Some(syncs) = &mut account.syncs {
            syncs.scheduler.begin(now);
        }
    }

    /// Have a syncer that is no account's ready to be asked.
    fn run_once(
        &mut self,
        now: Instant,
        id: AccountId,
        syncer: Syncer,
        silence: Option<Duration>,
        actions: &mut Vec<Action>,
    ) {
        if self.listed.contains(&id) {
            // An account of that name: it is the account's syncer that is asked.
            return;
        }
        let timing = Timing {
            silence,
            per_run: syncer.per_run,
            ..Timing::once()
        };
        self.resync(now, id, Some(SyncConfig { timing, syncer }), actions);
        if let Some(syncs) = &mut self.accounts[id.0].syncs {
            syncs.ad_hoc = true;
        }
    }

    /// The user wants this synced now.
    fn ask(&mut self, now: Instant, id: AccountId, names: Option<&[Vec<u8>]>, request: i64) {
        let folders = names.map(|names| {
            let known = |name: &[u8]| {
                let roots = self.roots_of(id);
                let folders = roots.flat_map(|root| root.folders.values());
                let mut found: Vec<_> = folders.filter(|it| *it.name == *name).cloned().collect();
                if found.is_empty()
                    && let Some(syncs) = &self.accounts[id.0].syncs
                {
                    // One that was deleted is still waited for: a run that names it would bring
                    // it back.
                    found = syncs.scheduler.called(name);
                }
                if found.is_empty() {
                    found.push(Arc::new(Folder::by_name(id, name.into())));
                }
                found
            };
            names.iter().flat_map(|name| known(name)).collect()
        });
        if let Some(syncs) = &mut self.accounts[id.0].syncs {
            syncs.scheduler.asked(now, folders, request);
        }
    }

    /// Do what a scheduler wants.
    fn act(&mut self, id: AccountId, act: Act) -> Option<Action> {
        let roots = self.roots_of(id).map(|root| root.config.directory.clone());
        let roots: Vec<PathBuf> = roots.collect();
        let account = &mut self.accounts[id.0];
        let syncs = account.syncs.as_mut()?;
        syncs.act(act, &account.name, &roots, &mut self.notifier)
    }

    /// Whatever is to be synced now.
    fn sync(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for id in (0..self.accounts.len()).map(AccountId) {
            if self.accounts[id.0].syncs.is_none() {
                continue;
            }
            let away = |root: &Root| matches!(root.phase(), Phase::Starting | Phase::Waiting);
            let ready = !self.roots_of(id).any(away);
            let runs = &mut self.runs;
            let mut next_run = || {
                *runs += 1;
                RunId(*runs)
            };
            let Some(syncs) = &mut self.accounts[id.0].syncs else {
                continue;
            };
            syncs.scheduler.ready(ready);
            for act in syncs.scheduler.tick(now, &mut next_run) {
                actions.extend(self.act(id, act));
            }
            let account = &mut self.accounts[id.0];
            if let Some(syncs) = &mut account.syncs {
                if syncs.ad_hoc {
                    if syncs.scheduler.is_idle() {
                        account.syncs = None;
                        actions.push(Action::DropLock(id));
                    }
                } else {
                    syncs.tell(now, &mut self.notifier);
                }
            }
        }
    }

    /// Go over to this configuration.  A root that stays as it was notices nothing.
    fn configure(&mut self, now: Instant, accounts: Vec<AccountConfig>, actions: &mut Vec<Action>) {
        for account in &mut self.accounts {
            account.roots.clear();
        }
        self.listed.clear();
        self.owed.clear();
        let mut old: Vec<RootId> = self.roots.keys().copied().collect();
        let mut new = Vec::new();
        let mut syncs = Vec::new();
        for config in accounts {
            let id = self.account(config.name);
            syncs.push((id, config.sync));
            let account = &mut self.accounts[id.0];
            account.coalescer.retime(config.delays);
            for config in config.roots {
                let same = |it: &RootId| {
                    let root = &self.roots[it];
                    !root.closed && root.account == id && root.config == config
                };
                let at = old.iter().position(same);
                account.roots.push(match at {
                    Some(at) => old.remove(at),
                    None => {
                        let root = RootId(self.made);
                        self.made += 1;
                        new.push((root, id, config));
                        root
                    }
                });
            }
            self.listed.push(id);
        }
        let old_accounts = old.iter().map(|id| self.roots[id].account);
        let changed: HashSet<AccountId> =
            (old_accounts.chain(new.iter().map(|(_, account, _)| *account))).collect();
        for id in old {
            self.retire(id, actions);
        }
        for account in &mut self.accounts {
            if account.roots.is_empty() {
                account.told = None;
            }
        }
        // The user has done something: what was refused may be had now.
        self.roots.values_mut().for_each(Root::retry);
        for (id, account, config) in new {
            actions.push(Action::Open(id, config.clone()));
            self.roots.insert(id, Root::new(account, config));
        }
        for (id, account) in self.accounts.iter().enumerate() {
            let once = account.syncs.as_ref().is_some_and(|syncs| syncs.ad_hoc);
            if !self.listed.contains(&AccountId(id)) && !once {
                syncs.push((AccountId(id), None));
            }
        }
        for (id, config) in syncs {
            let had = self.accounts[id.0].syncs.is_some();
            self.resync(now, id, config, actions);
            // What waited in a root that went, and what happens until another one is looked at for
            // the first time, nobody tells.
            if had
                && changed.contains(&id)
                && let Some(syncs) = &mut self.accounts[id.0].syncs
            {
                syncs.scheduler.want_everything(now, false);
            }
        }
    }

    /// Watch this root no longer.
    fn retire(&mut self, id: RootId, actions: &mut Vec<Action>) {
        let Some(root) = self.roots.remove(&id) else {
            return;
        };
        actions.push(Action::Close(id));
        // One that was deleted is in no list.
        let others: Vec<&Root> = self.roots.values().collect();
        let theirs = |real: &Path| others.iter().any(|it| it.folders.contains_key(real));
        let (account, within) = (root.account, root.real.as_deref());
        let its = |folder: &Folder| {
            folder.account == account
                && (root.folders.contains_key(&folder.real)
                    || within.is_some_and(|root| folder.real.starts_with(root))
                        && !theirs(&folder.real))
        };
        let coalescer = &mut self.accounts[account.0].coalescer;
        owe(&mut self.owed, coalescer, &mut self.notifier, &its);
        if let Some(syncs) = &mut self.accounts[account.0].syncs {
            syncs.scheduler.forget(&its);
        }
        if let Some(real) = &root.real {
            self.unnest(real);
            self.settle_clashes(real);
        }
    }

    /// Have these roots looked at, those that were given up for a while included.
    fn rouse(&mut self, depth: Depth, which: impl Fn(&Root) -> bool) {
        for root in self.roots.values_mut().filter(|root| which(root)) {
            root.rouse(depth);
        }
    }

    fn dirty(&mut self, now: Instant, id: RootId, mut dirty: Dirty) {
        let Some(root) = self.roots.get_mut(&id).filter(|root| !root.closed) else {
            return;
        };
        if let Some(text) = dirty.failure {
            root.deaf(now);
            let text = format!("watching {}: {text}", root.config.directory.display());
            let level = "error";
            self.notifier.notice(Notice::Log { level, text });
        }
        if dirty.unsettled {
            root.next_take.get_or_insert(now + HALF_LIFE);
        }
        if dirty.overflow {
            root.want(Depth::Everything);
        }
        // Mail that others deliver is no sign of life of a syncer.
        let mut life = !dirty.places.is_empty();
        root.want_places(dirty.places);
        if root.clashing() {
            // The other one tells.
            return;
        }
        let account = &mut self.accounts[root.account.0];
        let believed = account.roots.len() == 1 && root.whole();
        for (directory, kinds) in dirty.messages {
            let claims = dirty.claims.remove(&directory);
            let claims = claims.unwrap_or_else(|| Claims::none(kinds));
            let (open, synced) = match &account.syncs {
                Some(syncs) => syncs.judge(&claims, believed),
                None => claims.judge(|_| false),
            };
            life |= synced || !believed || !(kinds - Kinds::NEW).is_empty();
            let happened = root.limbo.entry(directory).or_default();
            happened.kinds |= kinds;
            happened.open |= open;
            happened.synced |= synced;
        }
        if let Some(syncs) = account.syncs.as_mut().filter(|_| life) {
            syncs.scheduler.sign(now, dirty.arrived);
        }
        self.explain(now, id);
    }

    /// Find the folders of the directories in which something happened.
    ///
    /// A directory without one was watched before its report is in, or has a stale name, or is
    /// a folder that is really called "new": after the next report we know, or the worker does.
    fn explain(&mut self, now: Instant, id: RootId) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let Root { limbo, folders, .. } = root;
        let serial = &mut self.serial;
        limbo.retain(|directory, happened| {
            let folder = directory.parent().and_then(|real| folders.get(real));
            if let Some(folder) = folder {
                tell(&mut self.accounts, serial, now, folder, *happened);
            }
            folder.is_none()
        });
        root.settle_limbo();
    }

    fn report(&mut self, now: Instant, id: RootId, report: Report) {
        let Some(root) = self.roots.get_mut(&id).filter(|root| !root.closed) else {
            return;
        };
        root.finished();
        match report {
            Report::Nothing => root.found_nothing(now),
            Report::Absent(absent) => root.absent(now, absent, self.mounts_are_told),
            Report::Scanned(scanned) => match self.taken(id, &scanned.real_root) {
                Some((other, text)) => self.clash(id, other, text, &scanned.real_root),
                None => self.scanned(now, id, scanned),
            },
        }
        self.explain(now, id);
    }

    /// Which root has this truename already, and why no other may have it.
    fn taken(&self, id: RootId, real: &Path) -> Option<(RootId, String)> {
        let mut others = self.roots.iter();
        let (taken, other) = others.find(|(other, root)| {
            **other != id && !root.closed && !root.waits() && root.real.as_deref() == Some(real)
        })?;
        let root = self.roots.get(&id)?;
        let text = format!(
            ":maildir {} is the same directory as {} of the account \"{}\": remove one of them \
             from mailsync-accounts",
            root.config.directory.display(),
            other.config.directory.display(),
            self.accounts[other.account.0].name
        );
        Some((*taken, text))
    }

    /// A root is where another one is, as far as is known: it has no folders until one of them is
    /// elsewhere.
    fn clash(&mut self, id: RootId, other: RootId, text: String, real: &Path) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let before = root.real.take();
        // The other one may have moved, and nobody has looked yet: links change places.
        if root.clash(text, real)
            && let Some(other) = self.roots.get_mut(&other)
        {
            other.want(Depth::Everything);
        }
        if let Some(before) = before {
            self.unnest(&before);
            self.settle_clashes(&before);
        }
    }

    /// No root is there any more: one that wanted to be there can.
    fn settle_clashes(&mut self, real: &Path) {
        for root in self.roots.values_mut() {
            if root.clashes_at(real) {
                root.want_anew(real);
            }
        }
    }

    fn scanned(&mut self, now: Instant, id: RootId, mut scanned: Scanned) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let old = root.real.replace(scanned.real_root.clone());
        let first = old.is_none();
        if old.as_ref() != Some(&scanned.real_root) {
            self.nest(&scanned.real_root);
            if let Some(old) = &old {
                // The link at the root leads elsewhere now.
                self.unnest(old);
                self.settle_clashes(old);
            }
        }
        let inner = self.inner(id);
        let mine = |real: &Path| !inner.iter().any(|inner| real.starts_with(inner));
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        for real in scanned.deleted.iter().filter(|real| mine(real)) {
            if let Some(folder) = root.folders.remove(real) {
                let happened = Happened::by_anyone(Kinds::DELETED);
                tell(&mut self.accounts, &mut self.serial, now, &folder, happened);
            }
        }
        root.scanned(now, &mut scanned, self.mounts_are_told);
        for found in scanned.created {
            if !mine(&found.real) {
                continue;
            }
            let folder = Arc::new(folder(root.account, found));
            root.folders.insert(folder.real.clone(), folder.clone());
            // What the first scan finds is no news; Lisp asks for a check of it all.
            let owed = self.owed.remove(&folder.real);
            let news = (!first).then_some(Kinds::CREATED | Kinds::NEW);
            let kinds = owed.into_iter().chain(news).reduce(Kinds::union);
            if let Some(kinds) = kinds {
                let happened = Happened::by_anyone(kinds);
                tell(&mut self.accounts, &mut self.serial, now, &folder, happened);
            }
        }
        for real in &scanned.changed {
            if let Some(folder) = root.folders.get(real) {
                let happened = Happened::by_anyone(Kinds::UNKNOWN);
                tell(&mut self.accounts, &mut self.serial, now, folder, happened);
            }
        }
        if first {
            let account = root.account;
            let directory = root.config.directory.clone();
            self.notifier.notice(Notice::Ready { account, directory });
        }
    }

    /// Truenames of other roots inside this one: the longest root has a folder.
    fn inner(&self, id: RootId) -> Vec<PathBuf> {
        let Some(mine) = self.roots.get(&id).and_then(|root| root.real.as_ref()) else {
            return Vec::new();
        };
        let others = self.roots.values().filter(|root| !root.closed);
        let reals = others.filter_map(|root| root.real.as_ref());
        let inner = reals.filter(|real| *real != mine && real.starts_with(mine));
        inner.cloned().collect()
    }

    /// A root has told its truename: roots around it give up what is inside, without a word.
    fn nest(&mut self, real: &Path) {
        let mut accounts = Vec::new();
        for root in self.around(real) {
            root.folders.retain(|folder, _| !folder.starts_with(real));
            root.want(Depth::Everything);
            accounts.push(root.account);
        }
        for account in accounts {
            self.forget(account, &|folder| folder.real.starts_with(real));
        }
    }

    /// What is not told yet of these folders of an account is for another one to tell.
    fn forget(&mut self, account: AccountId, these: &dyn Fn(&Folder) -> bool) {
        let these = |folder: &Folder| folder.account == account && these(folder);
        let coalescer = &mut self.accounts[account.0].coalescer;
        owe(&mut self.owed, coalescer, &mut self.notifier, &these);
        if let Some(syncs) = &mut self.accounts[account.0].syncs {
            syncs.scheduler.forget(&these);
        }
    }

    /// What was a root's has gone over to the roots around it, who have to look at it now.
    fn unnest(&mut self, real: &Path) {
        for root in self.around(real) {
            root.want_anew(real);
        }
    }

    /// The roots in which this directory lies.
    fn around(&mut self, real: &Path) -> impl Iterator<Item = &mut Root> {
        let open = self.roots.values_mut().filter(|root| !root.closed);
        open.filter(move |root| {
            (root.real.as_ref()).is_some_and(|out| out != real && real.starts_with(out))
        })
    }

    /// Everything (of one account, of one root of it) may have changed.
    fn doubt(&mut self, account: Option<&str>, directory: Option<&Path>) {
        for root in self.roots.values() {
            let wanted = account.is_none_or(|name| name == self.accounts[root.account.0].name)
                && directory.is_none_or(|directory| directory == root.config.directory);
            if wanted {
                for folder in root.folders.values() {
                    self.notifier.change(Change {
                        folder: folder.clone(),
                        kinds: Kinds::UNKNOWN,
                        origins: Origins::LOCAL,
                        serial: self.serial,
                    });
                }
            }
        }
    }

    fn resolved(&mut self, slot: String, request: i64, pairs: Vec<(PathBuf, PathBuf)>) {
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for pair in pairs {
            bytes += pair.0.as_os_str().len() + pair.1.as_os_str().len() + 2;
            if bytes > BYTES_A_PART {
                parts.push(Vec::new());
                bytes = 0;
            }
            if let Some(part) = parts.last_mut() {
                part.push(pair);
            }
        }
        let count = parts.len();
        for (part, pairs) in parts.into_iter().enumerate() {
            self.notifier.notice(Notice::Resolved {
                slot: slot.clone(),
                request,
                part: (part, count),
                pairs,
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
            if let Some(job) = root.begin(now) {
                let exclude = self.inner(id);
                actions.push(Action::Run(id, Job { exclude, ..job }));
            }
        }
        // When all have looked, what nobody has told is of folders that nobody has.
        if self.roots.values().all(Root::idle) {
            self.owed.clear();
        }
        for account in &mut self.accounts {
            for change in account.coalescer.due(now) {
                self.delivered += 1;
                self.notifier.change(change);
            }
        }
        self.tell_states();
        self.sync(now, actions);
        actions.extend(self.notifier.frame().map(Action::Send));
    }

    /// The roots of an account, in its order.
    fn roots_of(&self, account: AccountId) -> impl Iterator<Item = &Root> + Clone {
        let roots = self.accounts[account.0].roots.iter();
        roots.filter_map(|id| self.roots.get(id))
    }

    fn state(&self, account: AccountId) -> (Phase, String) {
        let roots = self.roots_of(account);
        let worst = roots.clone().map(Root::phase).max();
        let phase = worst.unwrap_or(Phase::Watching);
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
                pending: account.coalescer.len() + self.notifier.pending(*id),
                roots: self.roots_of(*id).map(Root::status).collect(),
                sync: account.syncs.as_ref().map(Syncs::status),
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
        let coalescers = self.accounts.iter().map(|account| account.coalescer.len());
        let roots = self.roots.values().map(Root::held);
        let syncs = self.accounts.iter().filter_map(|it| it.syncs.as_ref());
        let syncs = syncs.map(|it| it.scheduler.held());
        let entries = coalescers.chain(roots).chain(syncs);
        entries.sum::<usize>() + self.notifier.len() + self.owed.len()
    }
}

/// What waits to be told of these folders is for whoever has them next to tell.
fn owe<C: Coalesce>(
    owed: &mut HashMap<Arc<Path>, Kinds>,
    coalescer: &mut C,
    notifier: &mut Notifier,
    these: &dyn Fn(&Folder) -> bool,
) {
    // Whether one exists is for the next one to say.
    let kinds = |it: &Change| (it.kinds - (Kinds::CREATED | Kinds::DELETED)) | Kinds::UNKNOWN;
    let pending = coalescer.forget(these).into_iter();
    let pending = pending.chain(notifier.forget(these));
    owed.extend(pending.map(|it| (it.folder.real.clone(), kinds(&it))));
}

/// Bytes of names in one part of an answer: it has to fit into a frame with room to spare.
const BYTES_A_PART: usize = 8192;

fn tell<C: Coalesce>(
    accounts: &mut [Account<C>],
    serial: &mut u64,
    now: Instant,
    folder: &Arc<Folder>,
    happened: Happened,
) {
    let Some(account) = accounts.get_mut(folder.account.0) else {
        return;
    };
    *serial += 1;
    let Happened {
        kinds,
        open,
        synced,
    } = happened;
    let local = !synced || !open.is_empty();
    let mut change = Change {
        folder: folder.clone(),
        kinds,
        origins: Origins::empty(),
        serial: *serial,
    };
    change.origins.set(Origins::LOCAL, local);
    change.origins.set(Origins::SYNC, synced);
    if let Some(syncs) = account.syncs.as_mut().filter(|_| !open.is_empty()) {
        let open = Change {
            kinds: open,
            origins: Origins::LOCAL,
            ..change.clone()
        };
        syncs.scheduler.changed(now, &open);
    }
    account.coalescer.add(now, change);
}

fn folder(account: AccountId, found: FoundFolder) -> Folder {
    Folder {
        account,
        real: found.real,
        directory: found.directory,
        name: found.name,
    }
}
