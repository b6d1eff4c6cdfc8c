//! The engine's decisions, pure: `(now, input) -> actions`, and the next deadline.
//!
//! Owns the coalescers and the notifier, knows each root's folders, gives the workers their jobs.
//! It does no I/O and reads no clock, so that the simulator can run it as it is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::{AccountConfig, RootConfig, RootId};
use super::root::{Phase, Root};
use super::status::{AccountStatus, Status};
use crate::change::{AccountId, Change, Folder, Kinds, Origins};
use crate::coalesce::{Coalesce, Coalescer};
use crate::maildir::FoundFolder;
use crate::notifier::{Notice, Notifier};
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
}

struct Account<C> {
    name: String,
    coalescer: C,
    /// The state that Lisp was told last.
    told: Option<(Phase, String)>,
    /// As configured; none when it is configured no longer.
    roots: Vec<RootId>,
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
            Input::Configure(accounts) => self.configure(accounts, &mut actions),
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
            }
            // Only where stamps are all there is does their clock matter.
            Input::ClockSet => self.rouse(Depth::Everything, Root::swept),
            Input::NetworkChanged => {
                self.rouse(Depth::Sweep, Root::remote);
                self.rouse(Depth::Everything, Root::waits);
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
        coalescers.chain(roots).flatten().min()
    }

    /// Go over to this configuration.  A root that stays as it was notices nothing.
    fn configure(&mut self, accounts: Vec<AccountConfig>, actions: &mut Vec<Action>) {
        for account in &mut self.accounts {
            account.roots.clear();
        }
        self.listed.clear();
        self.owed.clear();
        let mut old: Vec<RootId> = self.roots.keys().copied().collect();
        let mut new = Vec::new();
        for config in accounts {
            let known = (self.accounts.iter()).position(|account| account.name == config.name);
            let id = AccountId(known.unwrap_or(self.accounts.len()));
            if known.is_none() {
                self.notifier.account(config.name.clone());
                self.accounts.push(Account {
                    name: config.name,
                    coalescer: C::new(config.delays),
                    told: None,
                    roots: Vec::new(),
                });
            }
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

    fn dirty(&mut self, now: Instant, id: RootId, dirty: Dirty) {
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
        root.want_places(dirty.places);
        if root.clashing() {
            // The other one tells.
            return;
        }
        for (directory, kinds) in dirty.messages {
            *root.limbo.entry(directory).or_default() |= kinds;
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
        limbo.retain(|directory, kinds| {
            let folder = directory.parent().and_then(|real| folders.get(real));
            if let Some(folder) = folder {
                tell(&mut self.accounts, now, folder, *kinds);
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
                tell(&mut self.accounts, now, &folder, Kinds::DELETED);
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
                tell(&mut self.accounts, now, &folder, kinds);
            }
        }
        for real in &scanned.changed {
            if let Some(folder) = root.folders.get(real) {
                tell(&mut self.accounts, now, folder, Kinds::UNKNOWN);
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
        coalescers.chain(roots).sum::<usize>() + self.notifier.len() + self.owed.len()
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
    now: Instant,
    folder: &Arc<Folder>,
    kinds: Kinds,
) {
    if let Some(account) = accounts.get_mut(folder.account.0) {
        let change = Change {
            folder: folder.clone(),
            kinds,
            origins: Origins::LOCAL,
        };
        account.coalescer.add(now, change);
    }
}

fn folder(account: AccountId, found: FoundFolder) -> Folder {
    Folder {
        account,
        real: found.real,
        directory: found.directory,
        name: found.name,
    }
}
