//! Decides when an account is synced, and which of its folders.
//!
//! A pure machine, one an account: `(now, event)` in, [`Act`]s out, and the next deadline.  It
//! knows what changed and not yet was synced (`pending`), which run is under way, and how the
//! last ones went.  What a syncer is, `syncer` knows; who made a change, `echo`.
//!
//! The rules, of which `tests` is the table:
//!
//! - A folder is due `base` after its first queued change (at once if the change is remote), but
//!   not before its inter-delay has passed since it was synced last, nor before the account's has
//!   since its last run.  Others whose own inter-delay has passed ride along.
//! - A run that only local changes ask for waits until Gnus has checked its folders, for
//!   `check_timeout` at most; and until they have been quiet for a second (mbsync would wait that
//!   long itself), for ten at most.
//! - One run at a time.  What changes meanwhile is queued, what fails is queued again.
//! - A failure backs off, a refusal by the server pauses the account at the second time in a row;
//!   wake and network change make it try again.  A run that never asked the server (another process
//!   holds the lock, or we cut it) leaves the row as it is.
//! - Where the syncer keeps a record of what is pushed, folders that only local changes ask for are
//!   looked at before they are synced, and not synced if there is nothing to push; and after a run
//!   what it covered is looked at, and synced again if something is left (`record`).
//! - Folders that were made or removed ask for the whole account: a run that names them would
//!   bring back what the user deleted.  One that was made during a run, and of which the syncer then
//!   has a record, that run has made.

mod pending;
mod record;
mod state;
#[cfg(test)]
mod tests;
mod timing;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff;
use crate::change::{Change, Folder, Kinds, Origins};
use crate::syncer::unpushed::Unpushed;
use crate::syncer::{End, Ended, Outcome, RunId, Scope};
use pending::{Pending, Queue, is_by_name};
use record::Records;
pub use state::{Phase, SyncState};
pub use timing::{Glob, Timing};

/// A folder must have been quiet for so long.
const SETTLE: Duration = Duration::from_secs(1);
/// That is waited for at most so long.
const SETTLE_MOST: Duration = Duration::from_secs(10);
/// A look at folders is waited for so long.
const LOOK_MOST: Duration = Duration::from_secs(10);
/// Without any inter-delay, what another process holds is asked for this often.
const LEAST_RETRY: Duration = Duration::from_secs(1);

/// Who may sync the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody has said yet.
    Sought,
    /// We may.
    Ours,
    /// Another Emacs does, with this number if it is known.
    Other(Option<u32>),
    /// A run that an Emacs has left behind does.
    Orphan(Option<u32>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask Lisp how to run the syncer.
    Plan(RunId, Scope),
    /// Run the syncer.
    Start {
        /// The run's number.
        run: RunId,
        /// What it is to cover.
        scope: Scope,
        /// Remote changes of flags need not be looked for.
        quick: bool,
    },
    /// End a run.
    End(RunId, End),
    /// Look what is to be pushed, of these folders.
    Look(Look, Scope),
}

/// Which look at what is to be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Whether this run is needed.
    Before(RunId),
    /// What those that are over have left; numbered as runs are, so that no other look of any
    /// account is called so.
    After(RunId),
}

/// Why an account is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pause {
    User,
    /// The server refused the user twice, with this text.
    Auth(String),
}

/// A wish for a sync of everything.
#[derive(Clone, Copy, Debug)]
struct Whole {
    since: Instant,
    urgent: bool,
    /// It is to cover what nobody tells: what happened until the maildirs were looked at.  A run
    /// that began before that does not.
    untold: bool,
    /// Of the last wish for it.
    moment: u64,
}

/// How far a run is.
enum Stage {
    /// Its folders are looked at, until then: it may not be needed.
    Looking(Instant),
    /// Lisp was asked how, and has until then to answer.
    Planning(Instant),
    /// It runs, and gave its last sign of life then.
    Running(Instant),
    /// It runs, and the machine slept meanwhile.
    Slept,
    /// It runs, and was told to end.
    Ending(End),
}

/// Why a run starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The user asked for it.
    Asked,
    /// It is due, and all that ride along are checked and quiet, or have been waited for.
    Due,
    /// A remote change is due, which waits for nobody.
    Remote,
}

/// The next run.
#[derive(Clone, Copy)]
struct Next {
    at: Instant,
    everything: bool,
    why: Why,
}

struct Run {
    id: RunId,
    scope: Scope,
    quick: bool,
    stage: Stage,
    folders: HashMap<Arc<Path>, Pending>,
    whole: Option<Whole>,
    /// What was queued up to then it covers.
    moment: u64,
    /// The maildirs were being watched when it began.
    ready: bool,
    requests: Vec<i64>,
    progress: u64,
}

/// A look at what a run has left.  One that is not waited for any more still tells what it has seen,
/// until the next run begins.
struct Review {
    look: Look,
    /// Runs wait for it until then.
    until: Instant,
    /// What was queued up to then it sees.
    moment: u64,
    /// What was queued later came after the last run had begun.
    began: u64,
    everything: bool,
}

impl Run {
    /// It has not begun, and perhaps will not.
    fn is_only_looked_at(&self) -> bool {
        matches!(self.stage, Stage::Looking(..))
    }

    /// It is for its folders.
    fn name_folders(&mut self) {
        let mut named: Vec<_> = self.folders.values().map(|it| it.folder.clone()).collect();
        // Names first: paths are slow to compare.
        named.sort_unstable_by(|a, b| (&a.name, &a.real).cmp(&(&b.name, &b.real)));
        self.scope = Scope::Folders(named);
        self.quick = self.folders.values().all(Pending::quick);
    }

    fn start(&self) -> Act {
        Act::Start {
            run: self.id,
            scope: self.scope.clone(),
            quick: self.quick,
        }
    }

    /// Whether it has taken a folder, which may have been known by its name only.
    fn took(&self, real: &Path, folder: Option<&Folder>) -> bool {
        let mut taken = self.folders.values().map(|it| &it.folder);
        let named = folder.filter(|it| is_by_name(it));
        self.folders.contains_key(real)
            || named.is_some_and(|named| taken.any(|it| it.name == named.name))
    }

    /// Whether what this was wanted for has happened before it began.
    fn knows(&self, whole: &Whole) -> bool {
        self.ready || !whole.untold
    }
}

/// What became of a run, for those who waited for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Names of the folders it was to cover; empty: the whole account.
    pub folders: Vec<Arc<[u8]>>,
    /// Requests that it answers.
    pub requests: Vec<i64>,
}

/// The scheduler of one account.
pub struct Scheduler {
    timing: Timing,
    queue: Queue,
    whole: Option<Whole>,
    requests: Vec<i64>,
    run: Option<Run>,
    lock: Lock,
    /// The account's maildirs are being watched.
    ready: bool,
    pause: Option<Pause>,
    /// Nothing starts before.
    gate: Option<Instant>,
    /// When the last run ended.
    last_end: Option<Instant>,
    /// When the last successful one did.
    last_ok: Option<Instant>,
    /// A sync of everything is due for its own sake.
    poll_at: Option<Instant>,
    failures: u32,
    /// In a row.
    refusals: u32,
    /// What went wrong with the last run.
    trouble: String,
    /// Folders that failed alone, with the reason, until a run covers them.  The folder is missing
    /// where nothing of it waited.
    aside: HashMap<Arc<Path>, (Option<Arc<Folder>>, String)>,
    records: Records,
    /// What runs have covered, and was not looked at since.
    unseen: Option<Scope>,
    review: Option<Review>,
    /// Folders that were made since the last successful run began, perhaps by that.
    made: HashSet<Arc<Folder>>,
    /// What was queued up to then the last successful run covers.
    began_at: Option<u64>,
    /// Lisp has missed a deadline, and said nothing since.
    silent: bool,
    chance: u64,
    begun: bool,
    /// Something happened since the last look.
    stirred: bool,
    next: Option<Instant>,
}

impl Scheduler {
    /// A scheduler that waits for [`Scheduler::begin`]; `seed` decides the jitter, of which there is
    /// none with 0.
    #[must_use]
    pub fn new(timing: Timing, seed: u64) -> Self {
        Scheduler {
            timing,
            queue: Queue::default(),
            whole: None,
            requests: Vec::new(),
            run: None,
            lock: Lock::Sought,
            ready: false,
            pause: None,
            gate: None,
            last_end: None,
            last_ok: None,
            poll_at: None,
            failures: 0,
            refusals: 0,
            trouble: String::new(),
            aside: HashMap::new(),
            records: Records::default(),
            unseen: None,
            review: None,
            made: HashSet::new(),
            began_at: None,
            silent: false,
            chance: seed,
            begun: false,
            stirred: true,
            next: None,
        }
    }

    /// The account begins to be synced, and nothing of it is wanted for its own sake before that moment,
    /// which may be to come.
    pub fn begin(&mut self, now: Instant) {
        if !self.begun {
            self.begun = true;
            self.poll_at = self.timing.poll.map(|poll| now + poll);
            self.unseen = Some(Scope::Everything);
            if self.timing.at_start {
                self.want_everything(now, false);
            }
        }
        self.stirred = true;
    }

    /// Other delays from now on.
    pub fn retime(&mut self, now: Instant, timing: Timing) {
        self.queue.retime(&timing);
        // What was due during a pause stays so.
        if self.run.is_none() {
            self.poll(now);
        }
        if self.timing.poll != timing.poll {
            self.poll_at = timing.poll.map(|poll| now + poll);
        }
        self.timing = timing;
        // The user has done something: what failed is tried anew.
        self.pause.take_if(|pause| *pause != Pause::User);
        self.retry();
        self.stirred = true;
    }

    /// A change that the syncer may have to carry, of which Lisp is told by this serial number.
    pub fn changed(&mut self, now: Instant, change: &Change) {
        let remote = change.origins.contains(Origins::REMOTE);
        let local = change.origins.contains(Origins::LOCAL) && !self.timing.pulls_only;
        let ignored = (self.timing.ignore.iter()).any(|glob| glob.matches(&change.folder.name));
        if !(remote || local) || ignored {
            return;
        }
        self.queue.change(now, change, local, remote, &self.timing);
        let may_be_ours = self.timing.records && self.began_at.is_some();
        if may_be_ours && change.kinds.contains(Kinds::CREATED) {
            self.made.insert(change.folder.clone());
        }
        self.stirred = true;
    }

    /// Gnus has checked a folder, as of this serial number.
    pub fn checked(&mut self, real: &Path, serial: u64) {
        self.silent = false;
        self.queue.checked(real, serial);
        // It may come back, if the run fails.
        let taken = self.run.as_mut();
        if let Some(taken) = taken.and_then(|run| run.folders.get_mut(real)) {
            taken.checked(serial);
        }
        self.stirred = true;
    }

    /// The user wants these folders (`None`: everything) synced now.
    pub fn asked(&mut self, now: Instant, folders: Option<Vec<Arc<Folder>>>, request: i64) {
        match folders {
            None => self.want_everything(now, true),
            Some(folders) => {
                for folder in folders {
                    // What is being made or removed just now is no folder to be named either.
                    let taken = self
                        .run
                        .as_ref()
                        .and_then(|run| run.folders.get(&folder.real));
                    let whole = taken.is_some_and(Pending::takes_all);
                    self.queue.ask(now, folder, whole, &self.timing);
                }
            }
        }
        // Who asks for a sync gets one, and does not wait for a look.
        if self.run.as_ref().is_some_and(Run::is_only_looked_at) {
            self.not_yet();
        }
        if request != 0 {
            self.requests.push(request);
        }
        if matches!(self.pause, Some(Pause::Auth(_))) {
            self.pause = None;
            self.retry();
        }
        self.stirred = true;
    }

    /// No sync starts from now on.
    pub fn pause(&mut self) {
        self.pause = Some(Pause::User);
        self.not_yet();
        self.stirred = true;
    }

    /// What Lisp is still asked about, or is looked at, has not started, and shall not.
    fn not_yet(&mut self) {
        let not_yet = |run: &mut Run| matches!(run.stage, Stage::Planning(_) | Stage::Looking(..));
        if let Some(mut run) = self.run.take_if(not_yet) {
            run.requests.append(&mut self.requests);
            self.requests = std::mem::take(&mut run.requests);
            self.take_back(run);
        }
    }

    /// Syncs start again.
    pub fn resume(&mut self) {
        self.pause = None;
        self.retry();
        self.stirred = true;
    }

    /// Who may sync.
    pub fn lock(&mut self, lock: Lock) {
        self.lock = lock;
        if self.lock != Lock::Ours {
            self.not_yet();
        }
        self.stirred = true;
    }

    /// Whether the account's maildirs are being watched: before that nothing starts by itself.  An
    /// empty place where a file system was mounted must not be taken for a user who deleted all.
    pub fn ready(&mut self, ready: bool) {
        if !ready && self.run.as_ref().is_some_and(Run::is_only_looked_at) {
            self.not_yet();
        }
        self.stirred |= self.ready != ready;
        self.ready = ready;
    }

    /// These folders are not the account's any more.
    pub fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) {
        self.queue.forget(these);
        let others = |folder: &Option<Arc<Folder>>| folder.as_ref().is_some_and(|it| !these(it));
        self.aside.retain(|_, (folder, _)| others(folder));
        self.made.retain(|it| !these(it));
        self.records.forget(these);
        // If the run fails, they must not come back.
        if let Some(run) = &mut self.run {
            run.folders.retain(|_, it| !these(&it.folder));
        }
        self.stirred = true;
    }

    /// The run gives a sign of life; so many messages came by it.
    pub fn sign(&mut self, now: Instant, messages: u64) {
        if let Some(run) = &mut self.run {
            run.progress += messages;
            if let Stage::Running(last) = &mut run.stage {
                *last = now;
                self.stirred = true;
            }
        }
    }

    /// The machine slept for so long.
    pub fn woke(&mut self, slept: Duration) {
        // Sleep counts for what is told by the clock on the wall.
        for at in [&mut self.poll_at, &mut self.last_ok] {
            *at = at.map(|at| at.checked_sub(slept).unwrap_or(at));
        }
        self.retry();
        if let Some(run) = &mut self.run
            && let Stage::Running(_) = run.stage
        {
            // Its connections are dead, and it may wait for them for long.
            run.stage = Stage::Slept;
        }
        self.stirred = true;
    }

    /// The network is another one.
    pub fn network(&mut self) {
        self.retry();
        self.stirred = true;
    }

    /// What a syncer recorded so far is another's business.
    pub fn forget_records(&mut self) {
        self.records.clear();
        self.review = None;
        self.unseen = Some(Scope::Everything);
        self.stirred = true;
    }

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
                (self.queue).recorded(&folder.real, review.moment, review.began);
            }
            if self.records.after(folder, unpushed, disturbed) {
                self.queue.pushed(&folder.real, review.moment);
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
    fn go_on(&mut self, now: Instant) -> Option<Act> {
        let mut run = self.run.take()?;
        if run.folders.is_empty() {
            self.requests.append(&mut run.requests);
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
    fn look_after(&mut self, now: Instant, next_run: &mut dyn FnMut() -> RunId) -> Option<Act> {
        let may = self.timing.records && self.begun && self.ready && self.lock == Lock::Ours;
        let nothing = self.unseen.is_none() && self.made.is_empty();
        if !may || nothing || self.run.is_some() || self.review.is_some() {
            return None;
        }
        let made = std::mem::take(&mut self.made);
        let began = self.began_at.unwrap_or(u64::MAX);
        if self.unseen.is_none() {
            // Once more after a run is enough: somebody may make one folder after the other.
            self.began_at = None;
        }
        // Nor is a look waited for again and again.
        let since = self.last_end.filter(|_| self.unseen.is_none());
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
        self.review = Some(Review {
            look,
            until: since.unwrap_or(now) + LOOK_MOST,
            moment: self.queue.moment(),
            began,
            everything: scope == Scope::Everything,
        });
        Some(Act::Look(look, scope))
    }

    /// The run can go on: Lisp has said how, or `None`: as configured, for everything.
    pub fn planned(&mut self, now: Instant, id: RunId, known: bool) -> Option<Act> {
        let run = self.run.as_mut().filter(|run| run.id == id)?;
        let Stage::Planning(_) = run.stage else {
            return None;
        };
        run.stage = Stage::Running(now);
        self.stirred = true;
        if !known {
            run.scope = Scope::Everything;
            run.quick = false;
        }
        Some(run.start())
    }

    /// The run is over.  Returns who waited for it.
    pub fn ended(&mut self, now: Instant, id: RunId, ended: &Ended) -> Option<Done> {
        let run = self.run.take_if(|run| run.id == id)?;
        self.last_end = Some(now);
        self.stirred = true;
        let done = Done {
            folders: run.scope.names(),
            requests: run.requests.clone(),
        };
        match ended.outcome {
            Outcome::Ok | Outcome::Partial => self.succeeded(now, run, ended),
            outcome => self.failed(now, run, outcome, &ended.text),
        }
        Some(done)
    }

    fn succeeded(&mut self, now: Instant, run: Run, ended: &Ended) {
        self.began_at = Some(run.moment);
        self.unseen = match (self.unseen.take(), &run.scope) {
            (Some(Scope::Folders(mut before)), Scope::Folders(folders)) if !ended.everything => {
                before.extend(folders.iter().cloned());
                before.sort_unstable();
                before.dedup();
                Some(Scope::Folders(before))
            }
            (None, Scope::Folders(folders)) if !ended.everything => {
                Some(Scope::Folders(folders.clone()))
            }
            _ => Some(Scope::Everything),
        };
        for real in &ended.failed {
            self.records.fail_alone(real);
        }
        self.failures = 0;
        self.refusals = 0;
        self.gate = None;
        self.last_ok = Some(now);
        let everything = ended.everything || run.scope == Scope::Everything;
        if everything {
            self.poll_at = self.timing.poll.map(|poll| now + poll);
            self.queue.synced_all(now, run.moment);
            let covers = |whole: &Whole| whole.moment <= run.moment && run.knows(whole);
            self.whole.take_if(|whole| covers(whole));
            self.aside.clear();
        }
        (self.aside).retain(|real, (folder, _)| !run.took(real, folder.as_deref()));
        self.aside.extend(ended.failed.iter().map(|real| {
            let folder = run.folders.get(real).map(|it| it.folder.clone());
            (real.clone(), (folder, ended.text.clone()))
        }));
        self.trouble = match ended.outcome {
            Outcome::Partial => ended.text.clone(),
            _ => self.aside_text().unwrap_or_default(),
        };
        for (real, pending) in run.folders {
            // One that failed alone is left alone until it changes, or everything is synced.
            if !ended.failed.contains(&real) {
                self.queue.synced(now, &pending);
            }
        }
    }

    /// Why a folder is left alone; of several always the same one.
    fn aside_text(&self) -> Option<String> {
        let first = self.aside.iter().min_by_key(|(real, _)| *real);
        first.map(|(_, (_, text))| text.clone())
    }

    /// What a run had taken has to be synced all the same.
    fn take_back(&mut self, run: Run) {
        self.queue.again(run.folders, &self.timing);
        if let Some(whole) = run.whole {
            self.whole = Some(self.whole.map_or(whole, |later| Whole {
                since: whole.since,
                urgent: whole.urgent || later.urgent,
                untold: whole.untold || later.untold,
                moment: later.moment,
            }));
        }
    }

    fn failed(&mut self, now: Instant, mut run: Run, outcome: Outcome, text: &str) {
        self.records.fail(&run.scope);
        let ours = matches!(run.stage, Stage::Slept | Stage::Ending(End::Interrupt));
        // Its turn at the front is over.
        run.folders.values_mut().for_each(|it| it.urgent = false);
        run.whole.iter_mut().for_each(|it| it.urgent = false);
        self.take_back(run);
        if !(ours && outcome == Outcome::Interrupted) {
            self.trouble = text.to_owned();
        }
        self.gate = match outcome {
            Outcome::Locked => Some(now + self.timing.inter.max(LEAST_RETRY)),
            Outcome::Interrupted if ours => None,
            Outcome::Auth => {
                self.refusals += 1;
                if self.refusals > 1 && self.pause.is_none() {
                    self.pause = Some(Pause::Auth(text.to_owned()));
                }
                Some(now + self.timing.inter.max(LEAST_RETRY))
            }
            _ => {
                // Another failure: the next refusal may be as accidental as a first one.
                self.refusals = 0;
                self.failures = self.failures.saturating_add(1);
                Some(now + self.backoff())
            }
        };
    }

    /// How long to wait after so many failures.
    fn backoff(&mut self) -> Duration {
        let first = self.timing.inter.max(backoff::LEAST);
        let most = self.timing.max.max(LEAST_RETRY);
        backoff::wait(self.failures, first, most, &mut self.chance)
    }

    /// What failed may go now.
    fn retry(&mut self) {
        self.gate = None;
        self.failures = 0;
        self.refusals = 0;
    }

    /// Have everything synced: at once if it is urgent; if not, since nobody tells what happens
    /// until the maildirs are looked at.
    pub fn want_everything(&mut self, now: Instant, urgent: bool) {
        self.want(now, urgent, !urgent);
    }

    fn want(&mut self, now: Instant, urgent: bool, untold: bool) {
        self.stirred = true;
        let moment = self.queue.next_moment();
        let whole = self.whole.get_or_insert(Whole {
            since: now,
            urgent,
            untold,
            moment,
        });
        whole.moment = moment;
        whole.since = whole.since.min(now);
        whole.urgent |= urgent;
        whole.untold |= untold;
        if urgent {
            // It has to begin after this was asked for.
            whole.since = now;
        }
    }

    /// Everything that is due, done; `next_run` numbers a run.
    pub fn tick(&mut self, now: Instant, next_run: &mut dyn FnMut() -> RunId) -> Vec<Act> {
        if !self.stirred && self.next.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.stirred = false;
        let mut acts = Vec::new();
        self.watch_run(now, &mut acts);
        if self.run.is_none() {
            self.poll(now);
            acts.extend(self.look_after(now, next_run));
            if let Some(next) = self.next_run(now).filter(|next| next.at <= now) {
                // The verdict on what came before is nobody's; another look will see that, too.
                self.review = None;
                acts.push(self.start(now, next, next_run()));
            }
        }
        self.next = self.look_again(now);
        acts
    }

    /// What is due for its own sake is wanted.
    fn poll(&mut self, now: Instant) {
        if self.poll_at.take_if(|at| *at <= now).is_some() {
            self.want(now, false, false);
        }
    }

    /// When to call `tick` at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    fn look_again(&mut self, now: Instant) -> Option<Instant> {
        match &self.run {
            Some(run) => match run.stage {
                Stage::Planning(until) | Stage::Looking(until) => Some(until),
                Stage::Running(sign) => self.timing.silence.map(|silence| sign + silence),
                Stage::Slept | Stage::Ending(_) => None,
            },
            None => {
                let next = self.next_run(now).map(|next| next.at);
                earlier(next, self.poll_at).filter(|_| self.may_start())
            }
        }
    }

    fn watch_run(&mut self, now: Instant, acts: &mut Vec<Act>) {
        let silence = self.timing.silence;
        let Some(run) = &mut self.run else { return };
        match run.stage {
            Stage::Planning(until) if until <= now => {
                let id = run.id;
                acts.extend(self.planned(now, id, false));
                self.stirred = false;
            }
            Stage::Looking(until) if until <= now => {
                // Nobody knows: all of them.
                acts.extend(self.go_on(now));
                self.stirred = false;
            }
            Stage::Running(sign) if silence.is_some_and(|silence| sign + silence <= now) => {
                run.stage = Stage::Ending(End::Timeout);
                acts.push(Act::End(run.id, End::Timeout));
            }
            Stage::Slept => {
                run.stage = Stage::Ending(End::Interrupt);
                acts.push(Act::End(run.id, End::Interrupt));
            }
            _ => {}
        }
    }

    fn may_start(&self) -> bool {
        self.begun && self.pause.is_none() && self.lock == Lock::Ours
    }

    /// Whether the user asks for it, and can have it now: what takes a run of everything waits
    /// until the maildirs are there.
    fn presses(&self, it: &Pending) -> bool {
        it.urgent && (self.ready || !it.takes_all())
    }

    /// Whether everything has to be synced, and not only some folders.
    fn wants_everything(&self) -> bool {
        self.whole.is_some() || self.queue.wants_everything()
    }

    /// What the next run is, and when it may start, as far as is known now.
    fn next_run(&self, now: Instant) -> Option<Next> {
        if !self.may_start() {
            return None;
        }
        let whole = self.whole.is_some_and(|whole| whole.urgent);
        let mut asked = self.queue.values().filter(|it| self.presses(it)).peekable();
        if whole || asked.peek().is_some() {
            return Some(Next {
                at: now,
                everything: whole || asked.any(Pending::takes_all),
                why: Why::Asked,
            });
        }
        if !self.ready {
            return None;
        }
        let everything = self.wants_everything();
        let rides = |it: &Pending| self.not_before(it);
        let due = |it: &Pending| later(it.due(self.timing.base), rides(it));
        let dues = self.queue.values().map(due);
        let wanted = dues.chain(self.whole_at()).min()?;
        let (mut unchecked, mut settled) = (None, None);
        for it in self.queue.values().filter(|it| it.is_local()) {
            if everything || rides(it).is_none_or(|at| at <= wanted.max(now)) {
                unchecked = earlier(unchecked, it.unchecked());
                settled = settled.max(it.last_local().map(|last| last + SETTLE));
            }
        }
        let checked = unchecked.filter(|_| !self.silent);
        // Others that change while one is being checked do not hold it up for ever.
        let checked = checked.map(|first| first.min(wanted) + self.timing.check);
        let settled = settled.map(|at| at.min(wanted + SETTLE_MOST));
        // What a run has left may be all that waits.
        let seen = self.review.as_ref().map(|review| review.until);
        let seen = seen.filter(|until| now < *until);
        let at = later(later(later(wanted, checked), settled), seen);
        let remote = self.queue.values().filter(|it| it.is_remote());
        match remote.map(due).min() {
            Some(remote) if remote < at => Some(Next {
                at: remote,
                everything,
                why: Why::Remote,
            }),
            _ => Some(Next {
                at,
                everything,
                why: Why::Due,
            }),
        }
    }

    /// When a folder may be synced at the earliest, whatever it is due for.
    fn not_before(&self, it: &Pending) -> Option<Instant> {
        // One with a shorter inter-delay of its own does not wait for the account's.
        let account = (self.last_end).map(|end| end + it.inter.min(self.timing.inter));
        [self.gate, account, it.own_gate()]
            .into_iter()
            .flatten()
            .max()
    }

    /// The last attempt did not fail.
    fn goes_well(&self) -> bool {
        self.failures == 0 && self.refusals == 0
    }

    /// When everything may be synced for its own sake.
    fn whole_at(&self) -> Option<Instant> {
        let since = self.whole?.since;
        let account = self.last_end.map(|end| end + self.timing.inter);
        Some(later(later(since, account), self.gate))
    }

    fn start(&mut self, now: Instant, next: Next, id: RunId) -> Act {
        let moment = self.queue.moment();
        let mut queue = std::mem::take(&mut self.queue);
        let folders = queue.take(|it| {
            let rides = self.not_before(it).is_none_or(|at| at <= now);
            let waits = |first: Instant| !self.silent && now < first + self.timing.check;
            let quiet = !it.is_local()
                || !it.unchecked().is_some_and(waits)
                    && it.last_local().is_none_or(|last| last + SETTLE <= now);
            next.everything
                || match next.why {
                    Why::Due => rides,
                    Why::Remote => rides && (it.is_remote() || quiet),
                    // One that asks for everything waits for its turn.
                    Why::Asked => self.presses(it) || rides && quiet && !it.takes_all(),
                }
        });
        self.queue = queue;
        let missed = |it: &Pending| {
            it.unchecked()
                .is_some_and(|at| at + self.timing.check <= now)
        };
        self.silent |= folders.values().any(missed);
        // Who asked for what has to wait is answered by another run.
        let requests = if self.queue.urgent() {
            Vec::new()
        } else {
            std::mem::take(&mut self.requests)
        };
        let whole = if next.everything {
            self.whole.take()
        } else {
            None
        };
        let mut run = Run {
            id,
            scope: Scope::Everything,
            quick: false,
            stage: Stage::Running(now),
            folders,
            whole,
            moment,
            ready: self.ready,
            requests,
            progress: 0,
        };
        // The user may have a run before a look, but there is another one after it.
        if let Some(whole) = whole.filter(|it| !run.knows(it)) {
            let urgent = false;
            self.whole = Some(Whole { urgent, ..whole });
        }
        if !next.everything {
            run.name_folders();
        }
        // After a failure only a run shows whether it goes well again.
        let local = next.why == Why::Due && run.folders.values().all(Pending::only_local);
        let act = if self.timing.per_run {
            run.stage = Stage::Planning(now + self.timing.check);
            Act::Plan(id, run.scope.clone())
        } else if self.timing.records && local && !next.everything && self.goes_well() {
            run.stage = Stage::Looking(now + LOOK_MOST);
            Act::Look(Look::Before(id), run.scope.clone())
        } else {
            self.records.run(&run.scope);
            run.start()
        };
        self.run = Some(run);
        act
    }

    /// What waits, or is being synced, under this name.
    #[must_use]
    pub fn called(&self, name: &[u8]) -> Vec<Arc<Folder>> {
        let taken = self.run.iter().flat_map(|run| run.folders.values());
        let all = self.queue.values().chain(taken).map(|it| &it.folder);
        let mut called: Vec<_> = all.filter(|it| *it.name == *name).cloned().collect();
        called.sort();
        called.dedup();
        called
    }

    /// Take the requests for which nothing waits any more, since their folders were forgotten.
    pub fn unanswerable(&mut self) -> Vec<i64> {
        let wished = self.whole.is_some_and(|whole| whole.urgent) || self.queue.urgent();
        if wished || self.requests.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.requests)
    }

    /// The run that is under way.
    #[must_use]
    pub fn running(&self) -> Option<RunId> {
        let run = self.run.as_ref().filter(|run| !run.is_only_looked_at());
        run.map(|run| run.id)
    }

    /// Whether a run may be at this folder.
    #[must_use]
    pub fn is_at(&self, real: &Path) -> bool {
        let begun = |stage: &Stage| !matches!(stage, Stage::Looking(_) | Stage::Planning(_));
        let run = self.run.as_ref().filter(|run| begun(&run.stage));
        run.is_some_and(|run| match &run.scope {
            Scope::Everything => true,
            Scope::Folders(folders) => folders.iter().any(|it| *it.real == *real),
        })
    }

    /// How long a check is waited for.
    #[must_use]
    pub fn check_timeout(&self) -> Duration {
        self.timing.check
    }

    /// It is over; returns the requests that nobody will answer now.
    pub fn abandon(&mut self) -> Vec<i64> {
        let run = self.run.take();
        let mut requests = run.map_or_else(Vec::new, |run| run.requests);
        requests.append(&mut self.requests);
        requests
    }

    /// Forget what nobody asks for any more: a run that failed is not tried again.
    pub fn only_what_is_asked(&mut self) {
        self.queue.only_urgent();
        self.whole.take_if(|whole| !whole.urgent);
    }

    /// Whether nothing is to be done, now or later.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.run.is_none() && self.whole.is_none() && self.queue.len() == 0
    }

    /// Entries held, for the bound on memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.queue.held()
            + self.records.len()
            + self.made.len()
            + self.aside.len()
            + self.run.as_ref().map_or(0, |run| run.folders.len())
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

fn later(one: Instant, other: Option<Instant>) -> Instant {
    other.map_or(one, |other| one.max(other))
}

/// Kinds that a run which names the folder would undo.
fn structural(kinds: Kinds) -> bool {
    kinds.intersects(Kinds::CREATED | Kinds::DELETED)
}
