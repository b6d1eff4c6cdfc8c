//! One account as the core sees it: its coalescer and roots, and its syncs, with their scheduler,
//! their syncer and what Lisp was told.
//!
//! Pure, as the core is.  When to sync is `schedule`'s business; here its acts become orders for a
//! runner and notices for Lisp.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kept::Kept;
use super::{Action, root};
use crate::change::{AccountId, Change, Folder, Kinds};
use crate::coalesce::{Coalesce, Delays};
use crate::echo::Claims;
use crate::engine::config::{RemoteId, RootId, SyncConfig};
use crate::frame::Synced;
use crate::notifier::{Notice, Notifier};
use crate::schedule::{Act, Done, Lock, Phase, Scheduler, SyncState};
use crate::syncer::lock::Key;
use crate::syncer::{Ended, Event, Memory, Order, Outcome, RunId, Scope, Syncer};

/// Numbers that only move are told this often.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// So long something that a run has written may be on its way when that is over.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Bytes of folder names in one message to Lisp.
const MOST_NAMES: usize = 8192;

/// An account.
pub(super) struct Account<C> {
    pub(super) name: String,
    pub(super) coalescer: C,
    kept: Kept,
    /// Lisp is told of quiet changes, too.
    pub(super) quiet: bool,
    /// The state of its roots that Lisp was told last, or takes for granted.
    pub(super) told: Option<(root::Phase, String)>,
    /// As configured; none when it is configured no longer.
    pub(super) roots: Vec<RootId>,
    /// As configured.
    pub(super) remotes: Vec<RemoteId>,
    /// None if it has no syncer.
    pub(super) syncs: Option<Syncs>,
    /// When the last run of its syncer ended.
    pub(super) ended: Option<Instant>,
    /// When everything is to be checked, since something has changed on a server; and when it was.
    pub(super) doubt: Option<Instant>,
    pub(super) doubted: Option<Instant>,
}

impl<C: Coalesce> Account<C> {
    pub(super) fn new(name: String) -> Self {
        Account {
            name,
            coalescer: C::new(Delays::default()),
            kept: Kept::default(),
            quiet: true,
            // For Lisp, too, a new one starts: a frame about that would only be work.
            told: Some((root::Phase::Starting, String::new())),
            roots: Vec::new(),
            remotes: Vec::new(),
            syncs: None,
            ended: None,
            doubt: None,
            doubted: None,
        }
    }

    /// Nothing more happens in it.
    pub(super) fn is_over(&self) -> bool {
        let idle = self.roots.is_empty() && self.remotes.is_empty() && self.syncs.is_none();
        idle && self.untold() == 0
    }

    /// Whether a run of its syncer goes on.
    pub(super) fn is_syncing(&self) -> bool {
        (self.syncs.as_ref()).is_some_and(|it| it.scheduler.running().is_some())
    }

    /// Whether what a syncer has written is of a run that is over.
    pub(super) fn has_synced(&self, now: Instant) -> bool {
        !self.is_syncing() && self.ended.is_some_and(|ended| now < ended + ON_ITS_WAY)
    }

    /// Changes of which Lisp is to be told now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Change> {
        let syncs = self
            .syncs
            .as_ref()
            .filter(|it| it.syncer.program.loses_what_is_renamed());
        let is_at = |folder: &Folder| syncs.is_some_and(|it| it.scheduler.is_at(&folder.real));
        // Lisp is to have the other half for its check.
        let most = syncs.map_or(Duration::ZERO, |it| it.scheduler.check_timeout() / 2);
        let due = self.coalescer.due(now).into_iter();
        let due = due.filter_map(|it| {
            let is_at = is_at(&it.folder);
            self.kept.take(now, it, is_at, most)
        });
        let mut due: Vec<_> = due.collect();
        due.extend(self.kept.release(now, is_at));
        due
    }

    /// Take back what Lisp was not told of these folders.
    pub(super) fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) -> Vec<Change> {
        let mut untold = self.coalescer.forget(these);
        untold.extend(self.kept.forget(these));
        untold
    }

    /// Folders with changes that Lisp was not told of.
    pub(super) fn untold(&self) -> usize {
        self.coalescer.len() + self.kept.len()
    }

    /// When something may be due.
    pub(super) fn deadlines(&self) -> [Option<Instant>; 2] {
        [self.coalescer.deadline(), self.kept.deadline()]
    }
}

/// What Lisp was told last.
#[derive(PartialEq, Eq)]
struct Told {
    phase: Phase,
    text: String,
    paused: bool,
    pending: Option<usize>,
    progress: u64,
}

/// The syncs of one account.
pub(super) struct Syncs {
    account: AccountId,
    /// What its lock is of.
    key: Key,
    /// A maildir is somewhere else than it was.
    pub(super) moved: bool,
    /// Its lock is to be sought anew.
    pub(super) robbed: bool,
    pub(super) scheduler: Scheduler,
    syncer: Arc<Syncer>,
    /// What Lisp has said for the run that is about to start.
    answer: Option<Arc<Syncer>>,
    memory: Memory,
    /// The processes of this run and of the one before, whose last events may still come.
    processes: [Option<u32>; 2],
    told: Option<(Told, Instant)>,
    /// It is no account's, but was called for once.
    pub(super) once: bool,
}

impl Syncs {
    pub(super) fn new(account: AccountId, key: Key, config: SyncConfig) -> Self {
        Syncs {
            account,
            key,
            moved: false,
            robbed: false,
            scheduler: Scheduler::new(config.timing, 0x9E37_79B9_7F4A_7C15 ^ account.0 as u64),
            syncer: Arc::new(config.syncer),
            answer: None,
            memory: Memory::default(),
            processes: [None; 2],
            told: None,
            once: false,
        }
    }

    /// Go over to another configuration; what is to be done about its worker.
    pub(super) fn reconfigure(&mut self, now: Instant, config: SyncConfig) -> Option<Action> {
        self.scheduler.retime(now, config.timing);
        let other = *self.syncer != config.syncer;
        if other {
            self.scheduler.forget_records();
        }
        let had_worker = self.syncer.worker.is_some();
        self.syncer = Arc::new(config.syncer);
        (other && had_worker).then_some(Action::EndWorker(self.account))
    }

    /// Nothing is synced for some time: its worker can rest.
    pub(super) fn pause(&mut self) -> Option<Action> {
        self.scheduler.pause();
        let has_worker = self.syncer.worker.is_some();
        has_worker.then_some(Action::EndWorker(self.account))
    }

    /// It is synced no longer: whoever waits for something is told.
    pub(super) fn abandon(&mut self, notifier: &mut Notifier) -> Option<RunId> {
        let run = self.scheduler.running();
        let requests = self.scheduler.abandon();
        if !requests.is_empty() || run.is_some() {
            let text = "the account is not synced any more";
            self.tell_never(run, requests, text, notifier);
        }
        run
    }

    /// Nobody will sync what some still wait for.
    pub(super) fn answer_the_rest(&mut self, notifier: &mut Notifier) {
        let requests = self.scheduler.unanswerable();
        if !requests.is_empty() {
            let text = "those folders are not the account's any more";
            self.tell_never(None, requests, text, notifier);
        }
    }

    fn tell_never(
        &self,
        run: Option<RunId>,
        requests: Vec<i64>,
        text: &str,
        notifier: &mut Notifier,
    ) {
        let text = text.to_owned();
        let ended = Ended::never_began(Outcome::Interrupted, text, Memory::default());
        let done = Done {
            folders: Vec::new(),
            requests,
        };
        self.tell_end(run.unwrap_or(RunId(0)), ended, done, notifier);
    }

    /// What of this is not the work of our syncer: kinds that may have to be brought to the
    /// server, and whether a syncer did some of it.  Names are believed only where nothing can
    /// come from another watched place without its being seen.
    pub(super) fn judge(&self, claims: &Claims, believed: bool) -> (Kinds, bool) {
        claims.judge(|pid| believed && self.processes.contains(&Some(pid)))
    }

    /// Its lock is of this from now on.
    pub(super) fn relock(&mut self, key: Key) -> Option<Action> {
        if self.key == key {
            return None;
        }
        self.key = key.clone();
        self.lock(Lock::Sought);
        Some(Action::SeekLock(self.account, key))
    }

    /// What its lock is of, which is sought anew.
    pub(super) fn seek_again(&mut self) -> Key {
        self.lock(Lock::Sought);
        self.key.clone()
    }

    pub(super) fn lock(&mut self, lock: Lock) {
        self.scheduler.lock(lock);
    }

    /// The runner tells of a run.  Of one that went well, the folders it was for are given back (none:
    /// everything).
    pub(super) fn ran(
        &mut self,
        now: Instant,
        event: Event,
        notifier: &mut Notifier,
    ) -> Option<Vec<Arc<[u8]>>> {
        match event {
            Event::Began { run, pid } if self.scheduler.running() == Some(run) => {
                self.processes = [Some(pid), self.processes[0]];
                self.scheduler.sign(now, 0);
            }
            Event::Sign { run } if self.scheduler.running() == Some(run) => {
                self.scheduler.sign(now, 0);
            }
            Event::Robbed { run } if self.scheduler.running() == Some(run) => self.robbed = true,
            // `Said` is the core's business.
            Event::Began { .. }
            | Event::Sign { .. }
            | Event::Robbed { .. }
            | Event::Said { .. } => {}
            Event::Ended { run, ended } => return self.ended(now, run, *ended, notifier),
        }
        None
    }

    fn ended(
        &mut self,
        now: Instant,
        run: RunId,
        mut ended: Ended,
        notifier: &mut Notifier,
    ) -> Option<Vec<Arc<[u8]>>> {
        let done = self.scheduler.ended(now, run, &ended)?;
        if self.once {
            self.scheduler.only_what_is_asked();
        }
        self.memory = std::mem::take(&mut ended.memory);
        let went_well = matches!(ended.outcome, Outcome::Ok | Outcome::Partial);
        let synced = match ended.everything {
            true => Vec::new(),
            false => done.folders.clone(),
        };
        self.tell_end(run, ended, done, notifier);
        went_well.then_some(synced)
    }

    fn tell_end(&self, run: RunId, ended: Ended, done: Done, notifier: &mut Notifier) {
        let result = Synced {
            status: ended.outcome.name(),
            exit: ended.exit,
            started: ended.started,
            took: ended.took,
            requests: done.requests,
            text: ended.text,
            output: ended.output,
            total: done.folders.len(),
            names: as_many_as_fit(done.folders),
        };
        notifier.notice(Notice::Synced {
            account: self.account,
            run: run.0,
            result: Box::new(result),
        });
    }

    /// Lisp has said how to run the syncer this time, or that it does not know: then it is run as
    /// it is configured, for everything.
    pub(super) fn planned(
        &mut self,
        now: Instant,
        run: RunId,
        syncer: Option<Syncer>,
    ) -> Option<Act> {
        let act = self.scheduler.planned(now, run, syncer.is_some())?;
        self.answer = syncer.map(Arc::new);
        Some(act)
    }

    /// Do what the scheduler wants done; `all` are the account's folders.
    pub(super) fn act(
        &mut self,
        act: Act,
        name: &str,
        roots: &[PathBuf],
        all: Vec<Arc<Folder>>,
        notifier: &mut Notifier,
    ) -> Option<Action> {
        let account = self.account;
        match act {
            Act::Plan(run, scope) => {
                let names = scope.names();
                let fitting = as_many_as_fit(names.clone());
                // Whoever cannot be told all is asked for everything.
                let names = if fitting.len() < names.len() {
                    Vec::new()
                } else {
                    names
                };
                let run = run.0;
                notifier.notice(Notice::Plan {
                    account,
                    run,
                    names,
                });
                None
            }
            Act::Start { run, scope, quick } => {
                let names = scope.names();
                notifier.notice(Notice::Syncing {
                    account,
                    run: run.0,
                    total: names.len(),
                    names: as_many_as_fit(names),
                });
                let answer = self.answer.take();
                let answered = answer.is_some();
                let syncer = answer.unwrap_or_else(|| self.syncer.clone());
                let order = Order {
                    run,
                    answered,
                    quick,
                    ..self.order(name, syncer, scope, roots)
                };
                Some(Action::Sync(account, Box::new(order)))
            }
            Act::End(run, end) => Some(Action::EndSync(run, end)),
            Act::Look(look, scope) => {
                let folders = match scope {
                    Scope::Folders(folders) => folders,
                    Scope::Everything => all,
                };
                let order = self.order(name, self.syncer.clone(), Scope::Everything, roots);
                Some(Action::Look(account, look, Box::new(order), folders))
            }
        }
    }

    fn order(&self, name: &str, syncer: Arc<Syncer>, scope: Scope, roots: &[PathBuf]) -> Order {
        Order {
            roots: roots.to_vec(),
            memory: self.memory.clone(),
            ..Order::new(name, syncer, scope)
        }
    }

    /// Tell Lisp how it stands, if that is news: numbers that only move, once a second.
    pub(super) fn tell(&mut self, now: Instant, notifier: &mut Notifier) {
        let SyncState {
            phase,
            text,
            paused,
            pending,
            progress,
            ..
        } = self.scheduler.state();
        let news = Told {
            phase,
            text,
            paused,
            pending,
            progress,
        };
        if let Some((told, at)) = &self.told {
            let moved =
                told.phase == news.phase && told.text == news.text && told.paused == news.paused;
            if *told == news || moved && now < *at + TELL_AGAIN {
                return;
            }
        }
        notifier.notice(Notice::Sync {
            account: self.account,
            phase: news.phase.name(),
            pending: news.pending,
            progress: news.progress,
            paused: news.paused,
            text: news.text.clone(),
        });
        self.told = Some((news, now));
    }

    /// Lisp may have missed what it was told.
    pub(super) fn untold(&mut self) {
        self.told = None;
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.scheduler.state();
        let behind = self
            .told
            .as_ref()
            .filter(|(told, _)| told.pending != state.pending || told.progress != state.progress);
        let tell = behind.map(|(_, at)| *at + TELL_AGAIN);
        [tell, self.scheduler.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn status(&self) -> SyncState {
        self.scheduler.state()
    }
}

fn as_many_as_fit(mut names: Vec<Arc<[u8]>>) -> Vec<Arc<[u8]>> {
    let mut bytes = 0;
    names.retain(|name| {
        bytes += name.len() + 1;
        bytes <= MOST_NAMES
    });
    names
}
