//! Decides when an account is synced, and which of its folders.
//!
//! A pure machine, one an account: `(now, event)` in, [`Act`]s out, and the next deadline.  It
//! knows what changed and not yet was synced (`pending`), which run is under way (`run`), which is
//! the next one (`next`), how the last ones went (`outcome`), and what they have left (`review`,
//! `record`).  What a syncer is, `syncer` knows; who made a change, `echo`.
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

mod next;
mod outcome;
mod pending;
mod record;
mod review;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod timing;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::change::{Change, Folder, Kinds, Origins};
use crate::syncer::{End, RunId, Scope};
use next::earlier;
use pending::{Pending, Queue};
use record::Records;
use review::Review;
use run::{Run, Stage, Whole};
pub use state::{FolderState, Phase, SyncState};
pub use timing::{Glob, Timing};

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
    /// What was queued up to then the last successful run covers; before there was one, all.
    covered: u64,
    /// What was queued up to then was looked at.
    reviewed: u64,
    /// Folders that come to light after a run was looked at may be looked at once more.
    once_more: bool,
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
            covered: u64::MAX,
            reviewed: 0,
            once_more: false,
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
        if let Some(mut run) = self.run.take_if(|run| !run.has_begun()) {
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
        self.begun_run().map(|run| run.id)
    }

    fn begun_run(&self) -> Option<&Run> {
        self.run.as_ref().filter(|run| run.has_begun())
    }

    /// Whether a run may be at this folder.
    #[must_use]
    pub fn is_at(&self, real: &Path) -> bool {
        self.begun_run().is_some_and(|run| match &run.scope {
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
            + self.aside.len()
            + self.run.as_ref().map_or(0, |run| run.folders.len())
    }
}

/// Kinds that a run which names the folder would undo.
fn structural(kinds: Kinds) -> bool {
    kinds.intersects(Kinds::CREATED | Kinds::DELETED)
}
