//! One root as the engine sees it: its folders, its state, and when its worker has to look again.
//!
//! Pure, as the core that owns it.  What the worker does is `watch::worker`'s business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::change::{AccountId, Folder, Kinds};
use crate::engine::config::RootConfig;
use crate::engine::status::RootStatus;
use crate::watch::inbox::Names;
use crate::watch::job::{Absent, Depth, Job, Scanned};

/// How often what the kernel does not watch is looked at, where the user gives no `:poll`.
pub const POLL: Duration = Duration::from_secs(30);

/// How soon a tree that was not quiet is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a worker may be at one job before the user is told.
pub const SILENCE: Duration = Duration::from_secs(10);

/// How long places are left alone where nothing mattered.
const REST: Duration = Duration::from_millis(20);

/// The longest time between two attempts to have all directories watched.
const SELDOM: Duration = Duration::from_secs(600);

/// The state of a root or an account; the worst of its roots is an account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Watching,
    Starting,
    Waiting,
    Error,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Watching => "watching",
            Phase::Starting => "starting",
            Phase::Waiting => "waiting",
            Phase::Error => "error",
        }
    }
}

/// A job that is under way.
struct Work {
    since: Instant,
    /// It has taken too long, and the user is told.
    silent: bool,
}

/// What happened to messages of a directory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Happened {
    pub kinds: Kinds,
    /// What of it a syncer may have to bring to the server.
    pub open: Kinds,
    /// Which of the kinds may be news to a server.
    pub news: Kinds,
    /// A syncer did some of it.
    pub synced: bool,
    /// When the first of it was noticed; `None`: now.
    pub seen: Option<Instant>,
}

impl Happened {
    /// Nobody knows by whom.
    pub(super) fn by_anyone(kinds: Kinds) -> Self {
        Happened {
            kinds,
            open: kinds,
            news: kinds,
            synced: false,
            seen: None,
        }
    }
}

/// A root.
pub(super) struct Root {
    pub account: AccountId,
    pub config: RootConfig,
    phase: Phase,
    /// The phase when it was looked at last, and since when.
    stood: Option<(Phase, Instant)>,
    text: String,
    /// It has no worker any more.
    pub closed: bool,
    /// Its truename, once a scan has told it.
    pub real: Option<PathBuf>,
    /// By truename, sorted, so that all of them are always told in the same order.
    pub folders: BTreeMap<Arc<Path>, Arc<Folder>>,
    work: Option<Work>,
    /// Work that waits for the worker to be free; whom to leave out is not in it yet.
    wish: Option<Job>,
    /// The wall clock was set since the last work began.
    clock_set: bool,
    /// Events in directories that no report has named yet; in an order, so that a history is always the same.
    pub limbo: BTreeMap<PathBuf, Happened>,
    next_look: Option<(Instant, Depth)>,
    pub next_take: Option<Instant>,
    /// How long to wait before an absent root is looked for again.
    patience: Duration,
    /// When to ask again for watches that were refused, and how long to wait after that.
    retry: Option<Instant>,
    retry_wait: Duration,
    watches: usize,
    unwatched: usize,
    remote: bool,
    /// It is absent, and the kernel tells when it comes.
    guarded: bool,
    problems: Vec<String>,
    /// When to look again whether they are over.
    problem_wait: Option<Duration>,
    /// A truename that it may not have as long as another root has it.
    clash: Option<PathBuf>,
    /// Names on the way to it, and to where its links lead.
    way: Vec<PathBuf>,
    /// When its watcher failed last, and when to have another one.
    failed: Option<Instant>,
    renew: Option<Instant>,
    /// Places are left alone until then: nothing there mattered a moment ago.
    rest: Option<Instant>,
}

impl Root {
    pub(super) fn new(account: AccountId, config: RootConfig) -> Self {
        Root {
            account,
            config,
            phase: Phase::Starting,
            stood: None,
            text: String::new(),
            closed: false,
            real: None,
            folders: BTreeMap::new(),
            work: None,
            wish: Some(Job {
                depth: Depth::Everything,
                ..Job::default()
            }),
            clock_set: false,
            limbo: BTreeMap::new(),
            next_look: None,
            next_take: None,
            patience: AGAIN,
            retry: None,
            retry_wait: POLL,
            watches: 0,
            unwatched: 0,
            remote: false,
            guarded: false,
            problems: Vec::new(),
            problem_wait: None,
            clash: None,
            way: Vec::new(),
            failed: None,
            renew: None,
            rest: None,
        }
    }

    // What is to be done.

    /// Have it looked at, at least so deeply.
    pub(super) fn want(&mut self, depth: Depth) {
        if !self.closed {
            let wish = self.wish.get_or_insert_default();
            wish.depth = wish.depth.max(depth);
        }
    }

    /// Have everything looked at; what lies here was another root's, and is new to this one.
    pub(super) fn want_anew(&mut self, real: &Path) {
        self.want(Depth::Everything);
        self.folders.retain(|folder, _| !folder.starts_with(real));
        if let Some(wish) = &mut self.wish {
            wish.anew.push(real.to_owned());
        }
    }

    /// What became its own while its worker looks: only the next look tells of that.
    pub(super) fn anew(&self) -> &[PathBuf] {
        self.wish.as_ref().map_or(&[], |wish| &wish.anew)
    }

    /// Have these places looked at.
    pub(super) fn want_places(&mut self, places: impl IntoIterator<Item = (PathBuf, Names)>) {
        for (place, names) in places {
            let wish = self.wish.get_or_insert_default();
            match wish.places.get_mut(&place) {
                Some(known) => known.absorb(names),
                None => {
                    wish.places.insert(place, names);
                }
            }
        }
    }

    /// Events that no folder explains, when no report that could name it is due any more.
    pub(super) fn settle_limbo(&mut self) {
        if self.work.is_some() || self.wish.is_some() {
            return;
        }
        let limbo = std::mem::take(&mut self.limbo);
        self.want_places(limbo.into_keys().map(|directory| (directory, Names::All)));
    }

    /// The machine slept, or something like it: whatever was waited for may have come.
    pub(super) fn rouse(&mut self, depth: Depth) {
        self.patience = AGAIN;
        self.want(depth);
        self.retry();
    }

    /// The wall clock was set.  What is told by events is no different for that; but the next look, for
    /// whatever reason, must not believe what looks said before.
    pub(super) fn clock_was_set(&mut self) {
        self.clock_set = true;
    }

    /// Ask at once for what was refused, if anything was.
    pub(super) fn retry(&mut self) {
        self.retry_wait = POLL;
        if self.retry.take().is_some() {
            self.want_refused();
        }
    }

    /// Have the kernel asked again for what it refused.
    fn want_refused(&mut self) {
        self.want(Depth::Sweep);
        if let Some(wish) = &mut self.wish {
            wish.retry = true;
        }
    }

    /// Its watcher has failed, and tells nothing any more.
    pub(super) fn deaf(&mut self, now: Instant) {
        // One that fails again and again must not keep us busy.
        let often = self.failed.is_some_and(|at| now < at + POLL);
        self.renew = Some(if often { now + POLL } else { now });
        self.failed = Some(now);
    }

    /// What became due.
    pub(super) fn tick(&mut self, now: Instant) {
        if let Some((_, depth)) = self.next_look.take_if(|(at, _)| *at <= now) {
            self.want(depth);
        }
        if self.retry.take_if(|at| *at <= now).is_some() {
            self.retry_wait = (self.retry_wait * 2).min(SELDOM);
            self.want_refused();
        }
        if self.renew.take_if(|at| *at <= now).is_some() {
            self.want(Depth::Everything);
            self.wish.get_or_insert_default().renew = true;
        }
        self.rest.take_if(|at| *at <= now);
        if let Some(work) = &mut self.work {
            work.silent = work.silent || work.since + SILENCE <= now;
        }
    }

    /// Note since when it is as it is.
    pub(super) fn stand(&mut self, now: Instant) {
        let phase = self.phase();
        if self.stood.is_none_or(|(stood, _)| stood != phase) {
            self.stood = Some((phase, now));
        }
    }

    /// The next job, if there is one and the worker is free.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Job> {
        if self.closed || self.work.is_some() {
            return None;
        }
        let places = |job: &mut Job| job.depth == Depth::Places;
        if self.rest.is_some() && self.wish.as_mut().is_some_and(places) {
            return None;
        }
        let job = self.wish.take()?;
        self.work = Some(Work {
            since: now,
            silent: false,
        });
        let clock_set = std::mem::take(&mut self.clock_set);
        Some(Job { clock_set, ..job })
    }

    /// When `tick` will have something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let look = self.next_look.map(|(at, _)| at);
        let work = self.work.as_ref().filter(|work| !work.silent);
        let silence = work.map(|work| work.since + SILENCE);
        let rest = self
            .rest
            .filter(|_| self.wish.is_some() && self.work.is_none());
        let all = [look, self.next_take, silence, self.retry, self.renew, rest];
        all.into_iter().flatten().min()
    }

    // What the worker said.

    /// The worker is free again.
    pub(super) fn finished(&mut self) {
        self.work = None;
    }

    /// The worker found nothing that matters.  Where files come and go by the thousand (the root is
    /// the home, say) it need not look after each.
    pub(super) fn found_nothing(&mut self, now: Instant) {
        self.rest = Some(now + REST);
    }

    /// The worker found nothing to scan.  `mounts_are_told`: somebody says so when a file system
    /// is mounted.
    pub(super) fn absent(&mut self, now: Instant, absent: Absent, mounts_are_told: bool) {
        self.phase = Phase::Waiting;
        self.clash = None;
        self.text = absent.text;
        self.way = absent.way;
        if let Some(trouble) = absent.trouble {
            self.text = format!("{}; {trouble}", self.text);
        }
        self.watches = absent.watches;
        self.unwatched = 0;
        self.problems.clear();
        let wait = self.patience;
        self.patience = (wait * 4).min(self.config.poll.unwrap_or(POLL));
        // It may have been moved for a moment only: soon at first, then ever more slowly.
        let blind = !(absent.watched && mounts_are_told);
        self.next_look = blind.then(|| (now + wait, Depth::Everything));
        self.guarded = !blind;
        // What keeps it from being guarded may be over by then.
        self.retry = blind.then(|| now + self.retry_wait);
    }

    /// The worker's numbers and words; folders are the core's business.
    pub(super) fn scanned(&mut self, now: Instant, scanned: &mut Scanned, mounts_are_told: bool) {
        self.phase = Phase::Watching;
        self.clash = None;
        self.patience = AGAIN;
        self.text = scanned.trouble.take().unwrap_or_default();
        let better = scanned.unwatched < self.unwatched || self.unwatched == 0;
        self.watches = scanned.watches;
        self.unwatched = scanned.unwatched;
        self.remote = scanned.remote;
        self.way = std::mem::take(&mut scanned.way);
        if self.unwatched == 0 {
            self.retry = None;
        } else {
            if better {
                self.retry_wait = POLL;
            }
            if better || self.retry.is_none() {
                self.retry = Some(now + self.retry_wait);
            }
        }
        // An empty directory may be what something will be mounted on.
        let empty = self.folders.is_empty() && scanned.created.is_empty() && !mounts_are_told;
        let blind = (self.unwatched > 0 || self.remote || empty).then_some(POLL);
        // Nobody tells when what could not be read can be.
        let same = scanned.problems == self.problems;
        self.problems = std::mem::take(&mut scanned.problems);
        self.problem_wait = match self.problem_wait {
            Some(wait) if same => Some((wait * 2).min(SELDOM)),
            _ => Some(POLL),
        }
        .filter(|_| !self.problems.is_empty());
        let blind = [blind, self.problem_wait].into_iter().flatten().min();
        let period = self.config.poll.or(blind);
        self.next_look = if scanned.again {
            // Folders that appear while we look are given a moment to come to rest.
            Some((now + AGAIN, Depth::Everything))
        } else {
            let next = [period, scanned.settles].into_iter().flatten().min();
            next.map(|after| (now + after, Depth::Sweep))
        };
    }

    /// Another root is at this truename, which is an error with this text; true when that is new.
    pub(super) fn clash(&mut self, text: String, real: &Path) -> bool {
        self.phase = Phase::Error;
        self.text = text;
        self.folders.clear();
        self.limbo.clear();
        self.next_look = None;
        self.clash.replace(real.to_owned()).as_deref() != Some(real)
    }

    /// Whether it clashes with another one.
    pub(super) fn clashing(&self) -> bool {
        self.clash.is_some()
    }

    /// Whether it clashes with another one there.
    pub(super) fn clashes_at(&self, real: &Path) -> bool {
        self.clash.as_deref() == Some(real)
    }

    /// It is of no use any more, for this reason.
    pub(super) fn fail(&mut self, text: String) {
        self.phase = Phase::Error;
        self.text = text;
        self.closed = true;
        self.wish = None;
        self.work = None;
        self.limbo.clear();
    }

    // What is known.

    /// Changes can happen here that nobody tells.
    pub(super) fn swept(&self) -> bool {
        self.config.poll.is_some() || self.unwatched > 0 || self.remote
    }

    /// Whether others can write here without this kernel's knowing.
    pub(super) fn remote(&self) -> bool {
        self.remote
    }

    /// Whether it is not there.
    pub(super) fn waits(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// Whether what is mounted at, or vanishes from, `point` can concern it.
    pub(super) fn near(&self, point: &Path) -> bool {
        let mut own = self.real.iter().chain([&self.config.directory]);
        own.any(|own| own.starts_with(point) || point.starts_with(own))
            || self.way.iter().any(|name| name.starts_with(point))
            || self.folders.keys().any(|folder| folder.starts_with(point))
            // Its worker has not said yet where it is.
            || self.work.is_some()
    }

    /// Whether no look is under way or wanted.
    pub(super) fn idle(&self) -> bool {
        self.closed || self.work.is_none() && self.wish.is_none()
    }

    /// Whether something could be mounted on it: it has nothing in it.
    pub(super) fn empty(&self) -> bool {
        self.folders.is_empty()
    }

    fn silent(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.silent)
    }

    pub(super) fn phase(&self) -> Phase {
        if self.silent() {
            Phase::Waiting
        } else {
            self.phase
        }
    }

    pub(super) fn text(&self) -> String {
        if self.silent() {
            format!(
                "{} has not answered for {} s: its file system is slow, or its server is away; \
                 nothing else waits for it",
                self.config.directory.display(),
                SILENCE.as_secs()
            )
        } else {
            self.text.clone()
        }
    }

    /// Entries held in memory on behalf of events.
    pub(super) fn held(&self) -> usize {
        let places = self.wish.as_ref().map_or(0, |wish| wish.places.len());
        self.limbo.len() + places
    }

    /// Whether what comes from a directory that is not watched comes from outside.
    pub(super) fn whole(&self) -> bool {
        self.unwatched == 0
    }

    fn how(&self) -> &'static str {
        match (self.config.poll, self.unwatched) {
            _ if self.waits() && self.guarded => "guarded",
            _ if self.waits() => "sought",
            (Some(_), _) => "poll",
            (None, 1..) if self.watches == 0 => "poll",
            (None, 1..) => "mixed",
            (None, 0) if self.remote => "both",
            (None, 0) => "kernel",
        }
    }

    pub(super) fn status(&self) -> RootStatus {
        RootStatus {
            directory: self.config.directory.clone(),
            state: self.phase().name(),
            since: self.stood.map(|(_, since)| since),
            text: self.text(),
            how: self.how(),
            folders: self.folders.len(),
            watches: self.watches,
            unwatched: self.unwatched,
            problems: self.problems.clone(),
        }
    }
}
