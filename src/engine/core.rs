//! The engine's decisions, pure: `(now, input) -> actions`, and the next deadline.
//!
//! Owns the coalescers and the notifier, knows each root's folders, gives the workers their jobs.
//! It does no I/O and reads no clock, so that the simulator can run it as it is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::status::{AccountStatus, RootStatus, Status};
use crate::change::{AccountId, Change, Folder, Kinds, Origins};
use crate::coalesce::{Coalesce, Coalescer, Delays};
use crate::maildir::{FoundFolder, Layout};
use crate::notifier::{Notice, Notifier};
use crate::watch::inbox::{Dirty, HALF_LIFE, Names};
use crate::watch::root::{Job, Report, Scanned};

/// How often what the kernel does not watch is looked at, where the user gives no `:poll`.
pub const POLL: Duration = Duration::from_secs(30);

/// How soon a tree that was not quiet is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// One account, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountConfig {
    /// Its name.
    pub name: String,
    /// Its maildirs.
    pub roots: Vec<RootConfig>,
    /// How long its changes are merged.
    pub delays: Delays,
}

/// One root of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootConfig {
    /// Absolute, as the user spells it.
    pub directory: PathBuf,
    /// Which layouts to look for.
    pub layout: Layout,
    /// Look this often, and do not use the kernel's notification.
    pub poll: Option<Duration>,
}

/// A number for a root, counted over all accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RootId(pub usize);

/// What the engine learns.
#[derive(Debug)]
pub enum Input {
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
    /// Only time has passed.
    Tick,
}

/// What the engine wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Give a worker a job; it has none.
    Run(RootId, Job),
    /// End a worker.
    Close(RootId),
    /// Look into the root's inbox again.
    Take(RootId),
    /// Write a frame; the pipe has room for it.
    Send(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Watching,
    Starting,
    Waiting,
    Error,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Watching => "watching",
            Phase::Starting => "starting",
            Phase::Waiting => "waiting",
            Phase::Error => "error",
        }
    }
}

/// Work that waits for its worker to be free.
enum Wish {
    Scan,
    Look(HashMap<PathBuf, Names>),
}

struct Root {
    account: AccountId,
    config: RootConfig,
    phase: Phase,
    text: String,
    /// No worker any more.
    closed: bool,
    /// Its truename, once a scan has told it.
    real: Option<PathBuf>,
    /// By truename, sorted, so that all of them are always told in the same order.
    folders: BTreeMap<PathBuf, Arc<Folder>>,
    busy: bool,
    wish: Option<Wish>,
    /// Events in directories that no report has named yet.
    limbo: HashMap<PathBuf, Kinds>,
    next_scan: Option<Instant>,
    next_take: Option<Instant>,
    /// How long to wait before an absent root is looked for again.
    patience: Duration,
    watches: usize,
    unwatched: usize,
    problems: Vec<String>,
}

impl Root {
    /// Events that no folder explains, when no report that could name it is due any more.
    fn settle_limbo(&mut self) {
        if self.busy || self.wish.is_some() {
            return;
        }
        let limbo = std::mem::take(&mut self.limbo);
        self.wish_look(limbo.into_keys().map(|directory| (directory, Names::All)));
    }

    fn status(&self) -> RootStatus {
        RootStatus {
            directory: self.config.directory.clone(),
            state: self.phase.name(),
            text: self.text.clone(),
            how: self.how(),
            folders: self.folders.len(),
            watches: self.watches,
            problems: self.problems.clone(),
        }
    }

    fn wish_look(&mut self, places: impl IntoIterator<Item = (PathBuf, Names)>) {
        for (place, names) in places {
            let wish = self.wish.get_or_insert_with(|| Wish::Look(HashMap::new()));
            let Wish::Look(known) = wish else {
                return;
            };
            match known.get_mut(&place) {
                Some(known) => known.absorb(names),
                None => {
                    known.insert(place, names);
                }
            }
        }
    }

    fn how(&self) -> &'static str {
        match (self.config.poll, self.watches, self.unwatched) {
            (Some(_), ..) | (None, 0, 1..) => "poll",
            (None, _, 0) => "kernel",
            (None, ..) => "mixed",
        }
    }
}

struct Account<C> {
    name: String,
    coalescer: C,
    /// The state that Lisp was told last.
    told: Option<(Phase, String)>,
}

/// The engine's state.  The coalescer is a parameter for the simulator's sake only.
pub struct Core<C = Coalescer> {
    accounts: Vec<Account<C>>,
    roots: Vec<Root>,
    notifier: Notifier,
    delivered: u64,
}

impl<C: Coalesce> Core<C> {
    /// The engine before anything has happened: each root wants its first scan.
    pub fn new(accounts: Vec<AccountConfig>) -> Self {
        let names = accounts.iter().map(|account| account.name.clone());
        let notifier = Notifier::new(names.collect());
        let mut roots = Vec::new();
        let mut states = Vec::new();
        for (number, account) in accounts.into_iter().enumerate() {
            roots.extend(account.roots.into_iter().map(|config| Root {
                account: AccountId(number),
                config,
                phase: Phase::Starting,
                text: String::new(),
                closed: false,
                real: None,
                folders: BTreeMap::new(),
                busy: false,
                wish: Some(Wish::Scan),
                limbo: HashMap::new(),
                next_scan: None,
                next_take: None,
                patience: AGAIN,
                watches: 0,
                unwatched: 0,
                problems: Vec::new(),
            }));
            states.push(Account {
                name: account.name,
                coalescer: C::new(account.delays),
                told: None,
            });
        }
        Core {
            accounts: states,
            roots,
            notifier,
            delivered: 0,
        }
    }

    /// The roots, for whoever makes their workers.
    pub fn roots(&self) -> impl Iterator<Item = (RootId, &RootConfig)> {
        let numbered = self.roots.iter().enumerate();
        numbered.map(|(number, root)| (RootId(number), &root.config))
    }

    /// Take in what happened; returns what to do.
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Dirty(id, dirty) => self.dirty(now, id, dirty),
            Input::Report(id, report) => self.report(now, id, report, &mut actions),
            Input::WorkerDied(id, text) => {
                if let Some(root) = self.roots.get_mut(id.0) {
                    root.closed = true;
                    root.phase = Phase::Error;
                    root.text = format!(
                        "internal error while looking at {}: {text}; M-x mailsync-restart starts \
                         it again, please report this",
                        root.config.directory.display()
                    );
                    if let Some(real) = root.real.clone() {
                        self.unnest(&real);
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
            Input::Tick => {}
        }
        self.pump(now, &mut actions);
        actions
    }

    /// When to call `handle` with a `Tick` at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let coalescers = self
            .accounts
            .iter()
            .map(|account| account.coalescer.deadline());
        let open = self.roots.iter().filter(|root| !root.closed);
        let roots = open.flat_map(|root| [root.next_scan, root.next_take]);
        coalescers.chain(roots).flatten().min()
    }

    fn dirty(&mut self, now: Instant, id: RootId, dirty: Dirty) {
        let Some(root) = self.roots.get_mut(id.0).filter(|root| !root.closed) else {
            return;
        };
        if let Some(text) = dirty.failure {
            let text = format!("watching {}: {text}", root.config.directory.display());
            let level = "error";
            self.notifier.notice(Notice::Log { level, text });
        }
        if dirty.unsettled {
            root.next_take.get_or_insert(now + HALF_LIFE);
        }
        if dirty.overflow {
            root.wish = Some(Wish::Scan);
        }
        root.wish_look(dirty.places);
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
        let Root { limbo, folders, .. } = &mut self.roots[id.0];
        limbo.retain(|directory, kinds| {
            let folder = directory.parent().and_then(|real| folders.get(real));
            if let Some(folder) = folder {
                tell(&mut self.accounts, now, folder, *kinds);
            }
            folder.is_none()
        });
        self.roots[id.0].settle_limbo();
    }

    fn report(&mut self, now: Instant, id: RootId, report: Report, actions: &mut Vec<Action>) {
        let Some(root) = self.roots.get_mut(id.0).filter(|root| !root.closed) else {
            return;
        };
        root.busy = false;
        match report {
            Report::Nothing => {}
            Report::Absent(text) => {
                root.phase = Phase::Waiting;
                root.text = format!("{text}: mend it or the key :maildir");
                root.watches = 0;
                root.unwatched = root.folders.len();
                root.problems.clear();
                // It may have been moved for a moment only: soon at first, then ever more slowly.
                root.next_scan = Some(now + root.patience);
                root.patience = (root.patience * 4).min(root.config.poll.unwrap_or(POLL));
            }
            Report::Scanned(scanned) => {
                if let Some(text) = self.taken(id, &scanned.real_root) {
                    let root = &mut self.roots[id.0];
                    root.phase = Phase::Error;
                    root.text = text;
                    root.closed = true;
                    root.wish = None;
                    actions.push(Action::Close(id));
                    return;
                }
                self.scanned(now, id, scanned);
            }
        }
        self.explain(now, id);
    }

    /// Why no root may have this truename, if another one has it already.
    fn taken(&self, id: RootId, real: &Path) -> Option<String> {
        let mut others = self.roots.iter().enumerate();
        let (_, other) = others.find(|(number, other)| {
            *number != id.0 && !other.closed && other.real.as_deref() == Some(real)
        })?;
        let root = self.roots.get(id.0)?;
        Some(format!(
            ":maildir {} is the same directory as {} of the account \"{}\": remove one of them \
             from mailsync-accounts",
            root.config.directory.display(),
            other.config.directory.display(),
            self.accounts[other.account.0].name
        ))
    }

    fn scanned(&mut self, now: Instant, id: RootId, scanned: Scanned) {
        let old = self.roots[id.0].real.replace(scanned.real_root.clone());
        let first = old.is_none();
        if old.as_ref() != Some(&scanned.real_root) {
            self.nest(&scanned.real_root);
            if let Some(old) = &old {
                // The link at the root leads elsewhere now.
                self.unnest(old);
            }
        }
        let inner = self.inner(id);
        let mine = |real: &Path| !inner.iter().any(|inner| real.starts_with(inner));
        let root = &mut self.roots[id.0];
        for real in scanned.deleted.iter().filter(|real| mine(real)) {
            if let Some(folder) = root.folders.remove(real) {
                tell(&mut self.accounts, now, &folder, Kinds::DELETED);
            }
        }
        for found in scanned.created {
            if !mine(&found.real) {
                continue;
            }
            let folder = Arc::new(folder(root.account, found));
            root.folders.insert(folder.real.clone(), folder.clone());
            // What the first scan finds is no news; Lisp asks for a check of it all.
            if !first {
                tell(
                    &mut self.accounts,
                    now,
                    &folder,
                    Kinds::CREATED | Kinds::NEW,
                );
            }
        }
        for real in &scanned.changed {
            if let Some(folder) = root.folders.get(real) {
                tell(&mut self.accounts, now, folder, Kinds::UNKNOWN);
            }
        }
        root.phase = Phase::Watching;
        root.patience = AGAIN;
        root.text = scanned.trouble.unwrap_or_default();
        root.watches = scanned.watches;
        root.unwatched = scanned.unwatched;
        root.problems = scanned.problems;
        let unwatched = (root.unwatched > 0).then_some(POLL);
        // Folders that appear while we look are given a moment to come to rest.
        let again = scanned.again.then_some(AGAIN);
        let period = again.or(root.config.poll).or(unwatched);
        root.next_scan = period.map(|period| now + period);
        if first {
            let account = root.account;
            let directory = root.config.directory.clone();
            self.notifier.notice(Notice::Ready { account, directory });
        }
    }

    /// Truenames of other roots inside this one: the longest root has a folder.
    fn inner(&self, id: RootId) -> Vec<PathBuf> {
        let Some(mine) = self.roots.get(id.0).and_then(|root| root.real.as_ref()) else {
            return Vec::new();
        };
        let others = self.roots.iter().filter(|root| !root.closed);
        let reals = others.filter_map(|root| root.real.as_ref());
        let inner = reals.filter(|real| *real != mine && real.starts_with(mine));
        inner.cloned().collect()
    }

    /// A root has told its truename: roots around it give up what is inside, without a word.
    fn nest(&mut self, real: &Path) {
        for root in self.around(real) {
            root.folders.retain(|folder, _| !folder.starts_with(real));
            root.wish = Some(Wish::Scan);
        }
    }

    /// What was a root's has gone over to the roots around it, who have to look at it now.
    fn unnest(&mut self, real: &Path) {
        for root in self.around(real) {
            root.wish = Some(Wish::Scan);
        }
    }

    /// The roots in which this directory lies.
    fn around(&mut self, real: &Path) -> impl Iterator<Item = &mut Root> {
        let open = self.roots.iter_mut().filter(|root| !root.closed);
        open.filter(move |root| {
            (root.real.as_ref()).is_some_and(|out| out != real && real.starts_with(out))
        })
    }

    /// Everything (of one account, of one root of it) may have changed.
    fn doubt(&mut self, account: Option<&str>, directory: Option<&Path>) {
        for root in &self.roots {
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
        for number in 0..self.roots.len() {
            let root = &mut self.roots[number];
            if root.next_take.is_some_and(|at| at <= now) {
                root.next_take = None;
                actions.push(Action::Take(RootId(number)));
            }
            if root.next_scan.is_some_and(|at| at <= now) {
                root.next_scan = None;
                root.wish = Some(Wish::Scan);
            }
            if root.busy || root.closed {
                continue;
            }
            if let Some(wish) = root.wish.take() {
                root.busy = true;
                let exclude = self.inner(RootId(number));
                let job = match wish {
                    Wish::Scan => Job::Scan { exclude },
                    Wish::Look(places) => Job::Look { places, exclude },
                };
                actions.push(Action::Run(RootId(number), job));
            }
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

    fn state(&self, account: AccountId) -> (Phase, String) {
        let roots = self.roots.iter().filter(|root| root.account == account);
        let worst = roots.clone().map(|root| root.phase).max();
        let phase = worst.unwrap_or(Phase::Watching);
        let mut texts = roots.filter(|root| root.phase == phase && !root.text.is_empty());
        let text = texts.next().map(|root| root.text.clone());
        (phase, text.unwrap_or_default())
    }

    fn tell_states(&mut self) {
        for number in 0..self.accounts.len() {
            let account = AccountId(number);
            let now = self.state(account);
            if self.accounts[number].told.as_ref() != Some(&now) {
                self.notifier.notice(Notice::State {
                    account,
                    state: now.0.name(),
                    text: now.1.clone(),
                });
                self.accounts[number].told = Some(now);
            }
        }
    }

    /// What a user may want to see.
    pub fn status(&self) -> Status {
        let accounts = self.accounts.iter().enumerate().map(|(number, account)| {
            let id = AccountId(number);
            let (phase, text) = self.state(id);
            let roots = self.roots.iter().filter(|root| root.account == id);
            AccountStatus {
                name: account.name.clone(),
                state: phase.name(),
                text,
                pending: account.coalescer.len() + self.notifier.pending(id),
                roots: roots.map(Root::status).collect(),
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
        let limbo = self.roots.iter().map(|root| {
            let places = match &root.wish {
                Some(Wish::Look(places)) => places.len(),
                _ => 0,
            };
            root.limbo.len() + places
        });
        coalescers.sum::<usize>() + limbo.sum::<usize>() + self.notifier.len()
    }
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
