//! The loop: everything that happens, in virtual time, one step after the other, in an order that
//! only the seed decides.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mailsync_module::change::{AccountId, Change, Folder, Kinds};
use mailsync_module::coalesce::{Coalesce, Coalescer, Delays};
use mailsync_module::echo::Claims;
use mailsync_module::engine::config::{AccountConfig, RootConfig, RootId, SyncConfig};
use mailsync_module::engine::core::{Action, Core, Input};
use mailsync_module::maildir::{FileId, FoundFolder, Layout, Stamp, Wall};
use mailsync_module::schedule::{Glob, Lock, Phase, Timing};
use mailsync_module::syncer::{
    Command, End, Ended, Event, Memory, Naming, Order, Outcome, Output, Program, RunId, Scope,
    Syncer,
};
use mailsync_module::watch::inbox::{Dirty, Event as Seen, Inbox};
use mailsync_module::watch::job::{Absent, Depth, Job, Report, Scanned};

use super::mail::{Happening, Mail, Mark, ROOT, Snapshot, Written};
use super::once::{KEY, Once};
use super::rules::Rules;
use crate::lisp::{CAPACITY, Record, decode};
use crate::machine::Trace;
use crate::rng::Rng;
use crate::world::{Outcome as Verdict, ms};

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// The syncer says that all went well, and did nothing.
    Lies,
    /// Lisp says that it has checked what it has not seen.
    AnswersUnseen,
    /// Two processes have the lock.
    LockForAll,
    /// Much is told twice, which must do no harm.
    Repeats,
    /// Whatever happens passes for the syncer's own work.
    ClaimsAll,
    /// Nothing does: the syncer's own work passes for the user's, which must cost runs only.
    ClaimsNothing,
}

const FOLDERS: [&str; 6] = ["INBOX", "Spam", "a", "fast", "lists/x", "lists/y"];
/// They come and go.
const PASSING: [&str; 2] = ["t1", "t2"];

const ACCOUNT: &str = "work";
const ID: AccountId = AccountId(0);

/// So many runs bring everything to rest, when all of them succeed.
const MOST_LAST_RUNS: u64 = 40;
/// A life of more steps than this goes round in circles.
const MOST_STEPS: u64 = 500_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A world's circumstances.
#[derive(Debug)]
pub struct Setup {
    timing: Timing,
    delays: Delays,
    pipe_limit: usize,
    /// The mean time between what users do, and what happens on the server.
    pace: Duration,
    far_pace: Duration,
    /// The mean time between faults, if there are any.
    faults: Option<Duration>,
    lasts: Duration,
    /// The longest that Lisp takes to begin a check, and to answer.
    check: (Duration, Duration),
    /// One check in so many is lost; 0: none.
    loses_checks: u64,
    splits: bool,
    /// The longest that a syncer takes for a step.
    step: Duration,
    /// One run in so many does not go well; 0: all do.
    fails: u64,
    /// The syncer always does everything.
    coarse: bool,
    /// Another process has the lock for so long.
    other: Option<Duration>,
    /// Folders come and go.
    folders: bool,
}

fn timing(rng: &mut Rng) -> Timing {
    let glob = |text: &str| Glob(text.into());
    let mut overrides = Vec::new();
    if rng.once_in(2) {
        overrides.push((glob("lists/*"), seconds(*rng.choose(&[60, 600, 20]))));
    }
    if rng.once_in(2) {
        overrides.push((glob("fast"), ms(*rng.choose(&[0, 1_000]))));
    }
    Timing {
        base: ms(*rng.choose(&[2_000, 2_000, 0, 500, 20_000])),
        inter: ms(*rng.choose(&[5_000, 5_000, 0, 1_000, 30_000])),
        overrides,
        max: seconds(*rng.choose(&[600, 600, 60])),
        poll: rng.once_in(3).then(|| seconds(*rng.choose(&[300, 3_600]))),
        check: seconds(*rng.choose(&[10, 10, 2])),
        silence: Some(seconds(*rng.choose(&[300, 20]))),
        at_start: false,
        ignore: Vec::new(),
        pulls_only: false,
        per_run: false,
    }
}

impl Setup {
    /// What a seed comes to.
    pub fn random(rng: &mut Rng) -> Self {
        let mut timing = timing(rng);
        timing.at_start = rng.once_in(2);
        timing.pulls_only = rng.once_in(16);
        timing.per_run = rng.once_in(6);
        if rng.once_in(2) {
            timing.ignore.push(Glob("Sp*".into()));
        }
        Setup {
            timing,
            delays: Delays {
                quiet: ms(200),
                longest: ms(2_000),
            },
            pipe_limit: *rng.choose(&[32_768, 32_768, 300]),
            pace: ms(*rng.choose(&[300, 3_000, 3_000, 15_000])),
            far_pace: ms(*rng.choose(&[1_000, 10_000, 60_000])),
            faults: (!rng.once_in(4)).then(|| seconds(*rng.choose(&[5, 30, 30, 100]))),
            lasts: seconds(*rng.choose(&[60, 200, 600])),
            check: (
                ms(*rng.choose(&[1, 600, 3_000])),
                ms(*rng.choose(&[1, 500, 1_500])),
            ),
            loses_checks: *rng.choose(&[0, 20, 3]),
            splits: rng.once_in(2),
            step: ms(*rng.choose(&[5, 300, 2_000])),
            fails: *rng.choose(&[0, 0, 8, 3, 1]),
            coarse: rng.once_in(6),
            other: rng.once_in(6).then(|| seconds(rng.below(200))),
            folders: rng.once_in(3),
        }
    }

    fn syncer(&self) -> Syncer {
        let command = Command {
            words: vec!["sync".into()],
            all: None,
            naming: Naming::Utf8,
            separator: None,
            prefix: None,
            per_folder: !self.coarse,
        };
        Syncer::new(Program::Command(command))
    }

    fn account(&self) -> AccountConfig {
        AccountConfig {
            name: ACCOUNT.to_owned(),
            roots: vec![RootConfig {
                directory: ROOT.into(),
                layout: Layout::Nested,
                poll: None,
            }],
            delays: self.delays,
            sync: Some(SyncConfig {
                timing: self.timing.clone(),
                syncer: self.syncer(),
            }),
        }
    }
}

/// Counts, to show that a run was no idle one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub steps: u64,
    pub runs: u64,
    pub failures: u64,
    pub partial: u64,
    /// Runs that were told to end.
    pub ended: u64,
    pub checks: u64,
    pub lost_checks: u64,
    pub splits: u64,
    pub fetched: u64,
    pub sent: u64,
    pub unsigned: u64,
    pub restarts: u64,
    pub requests: u64,
    /// Runs of no account.
    pub once: u64,
    /// The most that it took to bring everything to rest.
    pub last_runs: u64,
}

impl Stats {
    pub fn add(&mut self, other: Stats) {
        self.steps += other.steps;
        self.runs += other.runs;
        self.failures += other.failures;
        self.partial += other.partial;
        self.ended += other.ended;
        self.checks += other.checks;
        self.lost_checks += other.lost_checks;
        self.splits += other.splits;
        self.fetched += other.fetched;
        self.sent += other.sent;
        self.unsigned += other.unsigned;
        self.restarts += other.restarts;
        self.requests += other.requests;
        self.once += other.once;
        self.last_runs = self.last_runs.max(other.last_runs);
    }
}

thread_local! {
    static TOLD: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
}

/// A coalescer that shows what the core tells it: with it come the serial numbers.
pub struct Spy(Coalescer);

impl Coalesce for Spy {
    fn new(delays: Delays) -> Self {
        Spy(Coalescer::new(delays))
    }

    fn add(&mut self, now: Instant, change: Change) {
        TOLD.with_borrow_mut(|told| told.push(change.clone()));
        self.0.add(now, change);
    }

    fn due(&mut self, now: Instant) -> Vec<Change> {
        self.0.due(now)
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

/// How a run is going to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Is(Outcome),
    /// It says nothing any more.
    Hangs,
}

/// A syncer's process.
struct Process {
    run: RunId,
    pid: u32,
    all: bool,
    todo: Vec<&'static str>,
    seen: Option<(&'static str, Snapshot)>,
    failing: BTreeSet<String>,
    fate: Fate,
    /// Steps until its fate comes true, if that is no success.
    fuse: u64,
    began: bool,
    cut: Option<End>,
    /// The account it ran for is gone.
    orphan: bool,
    written: Written,
}

#[derive(Debug)]
enum Happens {
    User,
    Far,
    Fault,
    Take,
    Work(RootId, Job),
    Read(i64),
    Check(i64, &'static str, u64),
    Answer(i64, &'static str, u64, u64),
    Plan(u64),
    Step(RunId),
    Cut(RunId),
    Locks,
    OnceLocks,
    OnceEnds(RunId, Outcome),
    OtherSyncs,
    OtherLeaves,
    Resumes,
    Returns,
    Recovers,
    Listens,
    Configures,
}

pub struct World {
    pub setup: Setup,
    pub stats: Stats,
    pub trace: Trace,
    pub mail: Mail,
    pub rng: Rng,
    sabotage: Sabotage,
    epoch: Instant,
    pub now: Duration,
    core: Core<Spy>,
    agenda: BTreeMap<(Duration, u64), Happens>,
    entries: u64,
    pub rules: Rules,
    inbox: Arc<Inbox>,
    root: Option<RootId>,
    taking: bool,
    /// What was put into the inbox, by folder.
    marks: BTreeMap<&'static str, Vec<Mark>>,
    /// What was taken and not told yet: whether it is open.
    limbo: BTreeMap<&'static str, bool>,
    /// Folders that the worker has reported.
    reported: BTreeSet<&'static str>,
    /// Folders whose events are lost.
    lost: BTreeSet<&'static str>,
    losing: bool,
    away: bool,
    /// The account is configured.
    there: bool,
    processes: Vec<Process>,
    pids: u32,
    /// Processes that the core knows as ours.
    ours: [Option<u32>; 2],
    other: bool,
    wants_lock: bool,
    generation: i64,
    pipe: Option<Vec<u8>>,
    deaf: bool,
    outage: Option<Outcome>,
    requests: i64,
    once: Once,
    /// What had happened on the server when something was asked for.
    wished: BTreeMap<i64, BTreeMap<&'static str, u64>>,
    calm: bool,
    /// Each run: when it began, what it covered (empty: everything), and what it wrote.
    pub history: Vec<(Duration, Vec<&'static str>)>,
}

impl World {
    pub fn new(rng: Rng, setup: Setup, sabotage: Sabotage, aloud: bool) -> Self {
        TOLD.with_borrow_mut(Vec::clear);
        let timing = setup.timing.clone();
        World {
            stats: Stats::default(),
            trace: Trace::new(aloud),
            mail: Mail::new(&FOLDERS, &PASSING),
            sabotage,
            epoch: Instant::now() + seconds(1_000_000),
            now: Duration::ZERO,
            core: Core::default(),
            agenda: BTreeMap::new(),
            entries: 0,
            rules: Rules::new(timing),
            inbox: Arc::new(Inbox::new(|| {})),
            root: None,
            taking: false,
            marks: BTreeMap::new(),
            limbo: BTreeMap::new(),
            reported: BTreeSet::new(),
            lost: BTreeSet::new(),
            losing: false,
            away: false,
            there: false,
            processes: Vec::new(),
            pids: 4_000,
            ours: [None; 2],
            other: setup.other.is_some(),
            wants_lock: false,
            generation: 0,
            pipe: None,
            deaf: false,
            outage: None,
            requests: 0,
            once: Once::default(),
            wished: BTreeMap::new(),
            calm: true,
            history: Vec::new(),
            setup,
            rng,
        }
    }

    /// A whole life.
    pub fn run(&mut self) -> Verdict {
        self.begin()?;
        self.calm = false;
        if let Some(other) = self.setup.other {
            self.soon(other, Happens::OtherLeaves);
            self.soon(ms(500), Happens::OtherSyncs);
        }
        self.later(self.setup.pace * 2, Happens::User);
        self.later(self.setup.far_pace * 2, Happens::Far);
        if let Some(faults) = self.setup.faults {
            self.later(faults * 2, Happens::Fault);
        }
        let end = self.setup.lasts;
        while self.now < end {
            self.step()?;
        }
        self.rest()?;
        self.audit()
    }

    pub fn begin(&mut self) -> Verdict {
        self.handle(Input::MountsAreTold(true))?;
        self.restart_lisp()?;
        self.configure()
    }

    /// No more faults, and nobody does anything: until all is done.
    pub fn rest(&mut self) -> Verdict {
        self.say("calm");
        self.calm = true;
        self.agenda
            .retain(|_, it| !matches!(it, Happens::User | Happens::Far | Happens::Fault));
        self.away = false;
        self.deaf = false;
        self.outage = None;
        if self.other {
            self.other_leaves()?;
        }
        if !self.there {
            self.configure()?;
        }
        self.pause(false)?;
        let (began, polls) = (self.now, self.rules.full_syncs);
        let polled = self.setup.timing.poll.is_some();
        // One that goes on now may have fetched already.
        let more = u64::from(polled) * (1 + u64::from(!self.processes.is_empty()));
        let polls = polls + more;
        let runs = self.rules.runs;
        while !self.agenda.is_empty()
            || self.rules.pending()
            || self.once.audit().is_err()
            || self.rules.full_syncs < polls
            || !polled && self.core.deadline().is_some()
        {
            if self.agenda.is_empty() && self.core.deadline().is_none() {
                // Nothing will ever happen again.
                return Ok(());
            }
            if self.now > began + seconds(20_000) {
                return Err("it does not come to rest".to_owned());
            }
            self.step()?;
            self.stats.last_runs = self.rules.runs - runs;
            if self.stats.last_runs > MOST_LAST_RUNS {
                return Err("I3: nobody does anything, and it syncs on and on".to_owned());
            }
        }
        Ok(())
    }

    /// When all is done.
    pub fn audit(&mut self) -> Verdict {
        if self.core.deadline().is_some() && self.setup.timing.poll.is_none() {
            return Err("I8: it ticks, and nothing is left".to_owned());
        }
        if self.rules.pending() {
            return Err(format!("I2: something is left: {:?}", self.rules));
        }
        if !self.rules.answers_due.is_empty() {
            let due = &self.rules.answers_due;
            return Err(format!("requests without an answer: {due:?}"));
        }
        let polled = self.setup.timing.poll.is_some();
        let far = self.mail.last_far(&[]);
        let fetched = |it: &&'static str| {
            self.rules.aside.contains(*it) || self.mail.has_fetched(it, far[it])
        };
        if let Some(name) = self.mail.folders.keys().find(|it| polled && !fetched(it)) {
            return Err(format!(
                "{name} has not what is on the server, and it polls"
            ));
        }
        self.once.audit()?;
        for name in self.mail.folders.keys() {
            let excused = self.rules.ignores(name) || self.rules.aside.contains(*name);
            if !excused
                && !self.setup.timing.pulls_only
                && let Some(text) = self.mail.unsent(name)
            {
                return Err(format!("I2: the server does not know {text}"));
            }
        }
        Ok(())
    }

    fn say(&mut self, text: impl Display) {
        self.trace.add(self.now, text);
    }

    fn soon(&mut self, after: Duration, what: Happens) {
        self.entries += 1;
        self.agenda.insert((self.now + after, self.entries), what);
    }

    /// At some time before that.
    fn later(&mut self, most: Duration, what: Happens) {
        let micros = self.rng.below(most.as_micros() as u64 + 1);
        self.soon(Duration::from_micros(micros), what);
    }

    fn step(&mut self) -> Verdict {
        self.stats.steps += 1;
        if self.stats.steps > MOST_STEPS {
            return Err("I3, I8: it is never done".to_owned());
        }
        let deadline = self.core.deadline().map(|at| at - self.epoch);
        let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        match (deadline, next) {
            (Some(at), next) if next.is_none_or(|next| at <= next) => {
                let late = Duration::from_micros(self.rng.below(3_000));
                self.now = self.now.max(at + late);
                self.handle(Input::Tick)
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                let happens = self.agenda.pop_first();
                happens.map_or(Ok(()), |(_, what)| self.happens(what))
            }
            _ => {
                // Nothing will ever happen again.
                self.now = self.now.max(self.setup.lasts);
                Ok(())
            }
        }
    }

    fn happens(&mut self, what: Happens) -> Verdict {
        match what {
            Happens::User => {
                self.later(self.setup.pace * 2, Happens::User);
                self.user();
            }
            Happens::Far => {
                self.later(self.setup.far_pace * 2, Happens::Far);
                let folder = *self.rng.choose(&FOLDERS);
                self.mail.far(folder, &mut self.rng);
            }
            Happens::Fault => {
                if let Some(faults) = self.setup.faults {
                    self.later(faults * 2, Happens::Fault);
                }
                return self.fault();
            }
            Happens::Take => return self.take(),
            Happens::Work(root, job) => return self.work(root, job),
            Happens::Read(generation) if generation == self.generation => return self.read(),
            Happens::Check(generation, folder, serial) if generation == self.generation => {
                self.check(folder, serial);
            }
            Happens::Answer(generation, folder, serial, moment)
                if generation == self.generation =>
            {
                return self.answer(folder, serial, Some(moment));
            }
            Happens::Plan(run) => {
                let syncer = self.setup.account().sync.map(|it| Box::new(it.syncer));
                let knows = self.calm || !self.rng.once_in(8);
                let syncer = syncer.filter(|_| knows);
                self.say(format!("lisp plans run {run}: {knows}"));
                return self.handle(Input::Planned(ACCOUNT.to_owned(), run, syncer));
            }
            Happens::Step(run) => return self.step_of(run),
            Happens::Cut(run) => return self.cut(run),
            Happens::Locks => return self.locks(),
            Happens::OnceLocks => return self.once_locks(),
            Happens::OnceEnds(run, outcome) => return self.once_ends(run, outcome),
            Happens::OtherSyncs if self.other && !self.calm => {
                self.later(seconds(40), Happens::OtherSyncs);
                self.say("another process syncs");
                for folder in FOLDERS {
                    let seen = self.mail.read(folder);
                    let (happenings, _) = self.mail.sync(folder, &seen, 77, 100);
                    happenings.into_iter().for_each(|it| self.put(it));
                }
            }
            Happens::OtherLeaves if self.other => return self.other_leaves(),
            Happens::Resumes => return self.pause(false),
            Happens::Returns => self.away = false,
            Happens::Recovers => self.outage = None,
            Happens::Listens => self.deaf = false,
            Happens::Configures if !self.there => return self.configure(),
            _ => {}
        }
        Ok(())
    }

    // The users.

    fn user(&mut self) {
        if !self.setup.timing.at_start && self.reported.is_empty() {
            // Nobody has asked that what comes before the first look be synced.
            return;
        }
        let existing = self.mail.existing();
        let folder = *self.rng.choose(&existing);
        let happening = match self.rng.below(12) {
            0..5 => Some(self.mail.deliver(folder)),
            5..10 => self.mail.flag(folder, &mut self.rng),
            10 if self.setup.folders => {
                let folder = *self.rng.choose(&PASSING);
                Some(if existing.contains(&folder) {
                    self.mail.unmake(folder)
                } else {
                    self.mail.make(folder)
                })
            }
            _ => self.mail.delete(folder, &mut self.rng),
        };
        if let Some(happening) = happening {
            self.say(format!("user: {:?}", happening.events.last()));
            self.put(happening);
        }
    }

    /// The kernel tells.
    pub fn put(&mut self, happening: Happening) {
        if self.root.is_none() {
            return;
        }
        if self.losing {
            self.lost.extend(happening.marks.iter().map(|(it, _)| *it));
            return;
        }
        for event in happening.events {
            self.inbox.put(event);
        }
        for (folder, mark) in happening.marks {
            self.marks.entry(folder).or_default().push(mark);
        }
        if !self.taking {
            self.taking = true;
            self.later(ms(30), Happens::Take);
        }
    }

    /// The engine looks into the inbox.
    fn take(&mut self) -> Verdict {
        self.taking = false;
        let Some(root) = self.root else {
            return Ok(());
        };
        let mut dirty = self.inbox.take(self.epoch + self.now);
        self.misjudge(&mut dirty);
        for (folder, marks) in std::mem::take(&mut self.marks) {
            let open = |mark: &Mark| match mark {
                Mark::Open => true,
                Mark::Quiet | Mark::Pushed => false,
                Mark::By(pid) => !self.ours.contains(&Some(*pid)),
            };
            let open = |mark: &Mark| self.sabotage == Sabotage::ClaimsNothing || open(mark);
            *self.limbo.entry(folder).or_default() |= marks.iter().any(open);
        }
        self.losing = self.losing && !dirty.overflow;
        self.handle(Input::Dirty(root, dirty))
    }

    /// What names claim, forged.
    fn misjudge(&self, dirty: &mut Dirty) {
        match self.sabotage {
            Sabotage::ClaimsAll => {
                let claimed = |(directory, kinds): (&PathBuf, &Kinds)| {
                    let pushed = *kinds;
                    let claims = Claims {
                        pushed,
                        ..Claims::default()
                    };
                    (directory.clone(), claims)
                };
                dirty.claims = dirty.messages.iter().map(claimed).collect();
            }
            Sabotage::ClaimsNothing => dirty.claims.clear(),
            _ => {}
        }
    }

    /// The worker has done a job.
    fn work(&mut self, root: RootId, job: Job) -> Verdict {
        if self.root != Some(root) {
            return Ok(());
        }
        let first = self.reported.is_empty();
        if self.away && (first || job.depth == Depth::Everything) {
            self.say("the root is away");
            self.rules.ready = false;
            return self.handle(Input::Report(root, Report::Absent(Absent::default())));
        }
        let existing: BTreeSet<&str> = self.mail.existing().into_iter().collect();
        let stay = |name: &&&'static str| existing.contains(**name);
        let found = |name: &&'static str| {
            let wall = Wall::default();
            let stamp = Stamp {
                id: FileId { dev: 1, ino: 1 },
                mtime: wall,
                ctime: wall,
                size: 0,
                taken: wall,
                since: wall,
            };
            FoundFolder {
                name: name.as_bytes().into(),
                directory: real(name).into(),
                real: real(name).into(),
                new: stamp,
                cur: stamp,
            }
        };
        let mut changed: BTreeSet<&'static str> = BTreeSet::new();
        if job.depth == Depth::Everything {
            changed = std::mem::take(&mut self.lost);
            let doubtful = self.reported.iter().filter(|_| self.rng.once_in(30));
            changed.extend(doubtful);
        }
        let created: Vec<&'static str> = (existing.iter())
            .filter_map(|it| FOLDERS.iter().chain(&PASSING).find(|name| *name == it))
            .filter(|it| !self.reported.contains(**it))
            .copied()
            .collect();
        let deleted: Vec<&'static str> = (self.reported.iter())
            .filter(|it| !stay(it))
            .copied()
            .collect();
        changed.retain(|it| self.reported.contains(it) && !deleted.contains(it));
        self.say(format!("reports +{created:?} -{deleted:?} ?{changed:?}"));
        let report = Scanned {
            real_root: ROOT.into(),
            created: created.iter().map(found).collect(),
            deleted: deleted.iter().map(|it| real(it).into()).collect(),
            changed: changed.iter().map(|it| real(it).into()).collect(),
            watches: 2 * existing.len(),
            ..Scanned::default()
        };
        self.reported.extend(created);
        self.reported.retain(|it| !deleted.contains(it));
        self.rules.ready = true;
        self.handle(Input::Report(root, Report::Scanned(report)))?;
        if first {
            // What came before a first look, and is not told by now, is no news: the run of
            // everything at the start covers it.
            self.limbo.clear();
        }
        Ok(())
    }

    // Lisp.

    fn restart_lisp(&mut self) -> Verdict {
        self.generation += 1;
        self.pipe = None;
        self.handle(Input::Attach(
            self.generation,
            self.setup.pipe_limit.min(CAPACITY),
        ))
    }

    /// Lisp reads a frame.
    fn read(&mut self) -> Verdict {
        let Some(bytes) = self.pipe.take() else {
            return Ok(());
        };
        let (frame, _) = decode(&bytes)?.ok_or("half a frame")?;
        if frame.generation != self.generation {
            return Err("a frame of another generation".to_owned());
        }
        let repeats = self.sabotage == Sabotage::Repeats;
        for record in frame.records {
            match record {
                Record::Change { real, serial, .. } => {
                    let name = real.strip_prefix(ROOT).map_err(|it| it.to_string())?;
                    let mut names = FOLDERS.iter().chain(&PASSING);
                    let name = names.find(|it| name.as_os_str() == **it);
                    let name = *name.ok_or("an unknown folder")?;
                    let loses = self.setup.loses_checks;
                    if self.sabotage == Sabotage::AnswersUnseen {
                        self.answer(name, serial + 1_000, None)?;
                    }
                    if self.deaf || !self.calm && loses > 0 && self.rng.once_in(loses) {
                        self.stats.lost_checks += 1;
                    } else {
                        let check = Happens::Check(self.generation, name, serial);
                        self.later(self.setup.check.0, check);
                    }
                }
                Record::Ready { directory, .. } => {
                    self.handle(Input::Check(Some(ACCOUNT.to_owned()), Some(directory)))?;
                }
                Record::Plan { account, .. } if account == KEY => {
                    return Err("it is asked about, and knows all".to_owned());
                }
                Record::Plan { run, .. } if (self.calm || !self.deaf && !self.rng.once_in(8)) => {
                    self.later(ms(500), Happens::Plan(run));
                }
                Record::Synced {
                    account, requests, ..
                } if account == KEY => {
                    for request in requests {
                        self.once.answered(request)?;
                    }
                }
                Record::Synced {
                    status, requests, ..
                } => {
                    for request in requests {
                        self.answered(request, &status)?;
                    }
                }
                _ => {}
            }
        }
        for _ in 0..=u8::from(repeats) {
            self.handle(Input::Acknowledge(frame.generation, frame.sequence))?;
        }
        Ok(())
    }

    /// A request is answered: if all went well, what had happened on the server is here.
    fn answered(&mut self, request: i64, status: &str) -> Verdict {
        self.rules.answers_due.remove(&request);
        let wished = self.wished.remove(&request).unwrap_or_default();
        let missing = (wished.iter()).find(|(name, far)| !self.mail.has_fetched(name, **far));
        match missing {
            Some((name, _)) if status == "ok" => Err(format!(
                "I2: request {request} is answered, and {name} has not what was on the server"
            )),
            _ => Ok(()),
        }
    }

    /// Gnus looks at a folder.
    fn check(&mut self, folder: &'static str, serial: u64) {
        let moment = self.rules.moment();
        self.stats.checks += 1;
        self.say(format!("lisp checks {folder}"));
        if self.mail.folders[folder].exists {
            for happening in self.mail.look(folder) {
                self.put(happening);
            }
            let to = *self.rng.choose(&FOLDERS);
            if self.setup.splits
                && folder == "INBOX"
                && to != folder
                && self.rng.once_in(2)
                && let Some(happening) = self.mail.split(folder, to, &mut self.rng)
            {
                self.stats.splits += 1;
                self.say(format!("lisp splits from {folder} to {to}"));
                self.put(happening);
            }
        }
        let answer = Happens::Answer(self.generation, folder, serial, moment);
        self.later(self.setup.check.1, answer);
    }

    fn answer(&mut self, folder: &'static str, serial: u64, moment: Option<u64>) -> Verdict {
        self.say(format!("lisp has checked {folder}"));
        if self.there {
            self.rules.checked(folder, serial, moment);
        }
        for _ in 0..=u8::from(self.sabotage == Sabotage::Repeats) {
            let checked = vec![(real(folder), serial)];
            self.handle(Input::Checked(ACCOUNT.to_owned(), checked))?;
        }
        Ok(())
    }

    // What is asked of the engine, and what befalls it.

    fn configure(&mut self) -> Verdict {
        self.say("configures");
        let new = !self.there;
        self.there = true;
        let timing = self.setup.timing.clone();
        if new {
            let (runs, full_syncs) = (self.rules.runs, self.rules.full_syncs);
            let moment = self.rules.moment();
            self.rules = Rules::new(timing);
            self.rules.go_on(runs, full_syncs, moment);
            self.rules.begin(self.now);
        } else {
            self.rules.retimed(self.now, timing);
        }
        let account = self.setup.account();
        self.handle(Input::Configure(vec![account]))
    }

    fn unconfigure(&mut self) -> Verdict {
        self.say("the account is configured no more");
        self.there = false;
        self.rules = {
            let (runs, full_syncs) = (self.rules.runs, self.rules.full_syncs);
            let moment = self.rules.moment();
            let mut rules = Rules::new(self.setup.timing.clone());
            rules.go_on(runs, full_syncs, moment);
            rules
        };
        for process in &mut self.processes {
            process.orphan = true;
        }
        self.ours = [None; 2];
        self.handle(Input::Configure(Vec::new()))
    }

    pub fn pause(&mut self, pause: bool) -> Verdict {
        if !self.there {
            return Ok(());
        }
        self.say(format!("pause: {pause}"));
        self.rules.pause(pause);
        self.handle(Input::Pause(None, pause))
    }

    /// The user wants a sync.
    pub fn ask(&mut self, folder: Option<&'static str>) -> Verdict {
        self.requests += 1;
        self.stats.requests += 1;
        self.say(format!("the user asks for {folder:?}, {}", self.requests));
        let wished = self.mail.last_far(folder.as_slice());
        self.wished.insert(self.requests, wished);
        let names = folder.map(|it| vec![it.to_owned()]);
        self.rules.asked(self.now, names.as_deref(), self.requests);
        let names = folder.map(|it| vec![it.as_bytes().to_vec()]);
        let account = Some(ACCOUNT.to_owned()).filter(|_| self.rng.once_in(2));
        self.handle(Input::Sync(account, names, self.requests))
    }

    /// The user wants a syncer run that is no account's.
    fn ask_once(&mut self) -> Verdict {
        self.requests += 1;
        let syncer = self.setup.syncer();
        let folder = self.rng.once_in(2).then(|| *self.rng.choose(&FOLDERS));
        self.say(format!("once: {folder:?} is asked for, {}", self.requests));
        let input = self.once.ask(syncer, folder, self.requests);
        self.handle(input)
    }

    fn once_locks(&mut self) -> Verdict {
        let Some(id) = self.once.id.filter(|_| self.once.wants_lock) else {
            return Ok(());
        };
        let other = !self.calm && self.rng.once_in(4);
        self.once.has_lock(!other);
        let lock = if other {
            self.later(seconds(20), Happens::OnceLocks);
            Lock::Other(Some(77))
        } else {
            Lock::Ours
        };
        self.handle(Input::Locked(id, lock))
    }

    fn once_starts(&mut self, run: RunId) -> Verdict {
        self.say(format!("once: run {}", run.0));
        self.once.starts(run)?;
        self.stats.once += 1;
        if let Some(outcome) = self.once.fate(&mut self.rng, self.calm) {
            self.later(self.setup.step * 4, Happens::OnceEnds(run, outcome));
        }
        Ok(())
    }

    fn once_ends(&mut self, run: RunId, outcome: Outcome) -> Verdict {
        let Some(id) = self.once.id.filter(|_| self.once.ends(run)) else {
            return Ok(());
        };
        self.say(format!("once: run {} ends: {outcome:?}", run.0));
        for _ in 0..=u8::from(self.sabotage == Sabotage::Repeats) {
            let ended = Ended::never_began(outcome, String::new(), Memory::default());
            let ended = Box::new(ended);
            self.handle(Input::Ran(id, Event::Ended { run, ended }))?;
        }
        Ok(())
    }

    fn fault(&mut self) -> Verdict {
        if !self.there {
            return Ok(());
        }
        match self.rng.below(18) {
            0 => {
                self.say("lisp restarts");
                self.stats.restarts += 1;
                if self.rng.once_in(2) {
                    self.handle(Input::Detach)?;
                }
                self.restart_lisp()
            }
            1 => {
                self.say("lisp answers nothing");
                self.deaf = true;
                self.later(seconds(60), Happens::Listens);
                Ok(())
            }
            2 => {
                let slept = seconds(self.rng.below(5_000));
                self.say(format!("slept {slept:?}"));
                self.rules.slept(slept);
                self.handle(Input::Woke(slept))
            }
            3 => {
                self.say("another network");
                self.rules.reset();
                self.handle(Input::NetworkChanged)
            }
            4 | 5 => {
                self.pause(true)?;
                self.later(seconds(60), Happens::Resumes);
                Ok(())
            }
            6 => {
                let old = &self.setup.timing;
                let timing = Timing {
                    at_start: old.at_start,
                    pulls_only: old.pulls_only,
                    per_run: old.per_run,
                    ignore: old.ignore.clone(),
                    ..timing(&mut self.rng)
                };
                self.setup.timing = timing;
                self.configure()
            }
            7 => {
                self.say("events are lost");
                self.losing = true;
                self.inbox.put(Seen::Overflow);
                if !self.taking {
                    self.taking = true;
                    self.later(ms(2_000), Happens::Take);
                }
                Ok(())
            }
            8 | 9 => {
                let existing = self.mail.existing();
                let folder = *self.rng.choose(&existing);
                self.ask(Some(folder))
            }
            10 => self.ask(None),
            11 => {
                let jump = seconds(self.rng.below(4_000));
                self.now += jump;
                self.rules.hindered(self.now);
                self.say(format!("{jump:?} later"));
                self.handle(Input::Tick)
            }
            12 | 13 => {
                let outcomes = [Outcome::Transient, Outcome::Transient, Outcome::Auth];
                self.outage = Some(*self.rng.choose(&outcomes));
                self.say(format!("from now on all fails: {:?}", self.outage));
                self.later(seconds(400), Happens::Recovers);
                Ok(())
            }
            14 => {
                self.away = true;
                self.later(seconds(40), Happens::Returns);
                self.inbox.put(Seen::Overflow);
                self.take()
            }
            16 => self.ask_once(),
            15 if self.setup.timing.at_start => {
                self.unconfigure()?;
                self.later(seconds(5), Happens::Configures);
                Ok(())
            }
            _ => {
                self.say("lisp asks for a check of everything");
                self.handle(Input::Check(None, None))
            }
        }
    }

    // The lock.

    fn locks(&mut self) -> Verdict {
        if !self.wants_lock {
            return Ok(());
        }
        let others = self.other || self.processes.iter().any(|it| it.orphan);
        self.rules.locked = !others;
        let lock = if others && self.sabotage != Sabotage::LockForAll {
            Lock::Other(Some(77))
        } else {
            Lock::Ours
        };
        self.say(format!("the lock: {lock:?}"));
        self.handle(Input::Locked(ID, lock))
    }

    fn other_leaves(&mut self) -> Verdict {
        self.other = false;
        self.locks()
    }

    // The syncer.

    fn spawn(&mut self, order: &Order) -> Verdict {
        let (scope, names) = match &order.scope {
            Scope::Everything => (None, FOLDERS.iter().chain(&PASSING).copied().collect()),
            Scope::Folders(folders) => {
                let named =
                    |it: &&&str| folders.iter().any(|folder| *folder.name == *it.as_bytes());
                let names = FOLDERS.iter().chain(&PASSING).filter(named);
                let names: Vec<&'static str> = names.copied().collect();
                (Some(names.clone()), names)
            }
        };
        self.say(format!("run {} of {scope:?}", order.run.0));
        self.history
            .push((self.now, scope.clone().unwrap_or_default()));
        let all = scope.is_none();
        if !self.processes.is_empty() {
            return Err("I5: two processes at once".to_owned());
        }
        let scope = scope.map(|names| names.into_iter().map(ToOwned::to_owned).collect());
        self.rules.starts(self.now, scope)?;
        self.stats.runs += 1;
        let fate = match self.outage {
            _ if self.calm => Fate::Is(Outcome::Ok),
            Some(outcome) => Fate::Is(outcome),
            None if self.setup.fails > 0 && self.rng.once_in(self.setup.fails) => {
                *self.rng.choose(&[
                    Fate::Is(Outcome::Partial),
                    Fate::Is(Outcome::Partial),
                    Fate::Is(Outcome::Transient),
                    Fate::Is(Outcome::Transient),
                    Fate::Is(Outcome::Auth),
                    Fate::Is(Outcome::Config),
                    Fate::Is(Outcome::Locked),
                    Fate::Is(Outcome::Interrupted),
                    Fate::Hangs,
                ])
            }
            None => Fate::Is(Outcome::Ok),
        };
        let mut failing = BTreeSet::new();
        if fate == Fate::Is(Outcome::Partial) {
            failing.insert((*self.rng.choose(&names)).to_owned());
            failing
                .extend((names.iter().filter(|_| self.rng.once_in(3))).map(|it| (*it).to_owned()));
        }
        let mut todo = if self.setup.coarse {
            FOLDERS.iter().chain(&PASSING).copied().collect()
        } else {
            names.clone()
        };
        for last in (1..todo.len()).rev() {
            todo.swap(last, self.rng.index(last + 1));
        }
        self.pids += 1;
        self.processes.push(Process {
            run: order.run,
            pid: self.pids,
            all,
            todo,
            seen: None,
            failing,
            fate,
            fuse: self.rng.below(8),
            began: false,
            cut: None,
            orphan: false,
            written: Written::default(),
        });
        self.later(ms(200), Happens::Step(order.run));
        Ok(())
    }

    fn ran(&mut self, event: Event) -> Verdict {
        self.handle(Input::Ran(ID, event))
    }

    fn step_of(&mut self, run: RunId) -> Verdict {
        let Some(at) = self.processes.iter().position(|it| it.run == run) else {
            return Ok(());
        };
        let process = &mut self.processes[at];
        let pid = process.pid;
        if !process.began {
            if let Fate::Is(outcome @ (Outcome::Config | Outcome::Locked)) = process.fate {
                return self.finish(run, outcome);
            }
            process.began = true;
            let orphan = process.orphan;
            self.later(self.setup.step, Happens::Step(run));
            if !orphan {
                self.ours = [Some(pid), self.ours[0]];
            }
            return self.ran(Event::Began { run, pid });
        }
        match process.fate {
            Fate::Is(Outcome::Ok | Outcome::Partial) => {}
            _ if process.fuse > 0 => process.fuse -= 1,
            Fate::Hangs => return Ok(()),
            Fate::Is(outcome) => return self.finish(run, outcome),
        }
        let Some((folder, seen)) = process.seen.take() else {
            let Some(folder) = process.todo.pop() else {
                return match process.fate {
                    Fate::Is(outcome) => self.finish(run, outcome),
                    Fate::Hangs => Ok(()),
                };
            };
            if process.all || self.setup.coarse {
                self.mail.sync_folder(folder);
            }
            process.seen = Some((folder, self.mail.read(folder)));
            self.later(self.setup.step, Happens::Step(run));
            return Ok(());
        };
        let most = if process.failing.contains(folder) {
            1
        } else {
            usize::MAX
        };
        if process.fate != Fate::Is(Outcome::Auth) && self.sabotage != Sabotage::Lies {
            let (happenings, written) = self.mail.sync(folder, &seen, pid, most);
            process.written.fetched += written.fetched;
            process.written.sent += written.sent;
            process.written.unsigned += written.unsigned;
            happenings.into_iter().for_each(|it| self.put(it));
        }
        self.later(self.setup.step, Happens::Step(run));
        if self.rng.once_in(2) {
            return self.ran(Event::Sign { run });
        }
        Ok(())
    }

    /// The runner ends a run.
    fn end_sync(&mut self, run: RunId, end: End) {
        if self.once.running == Some(run) {
            let outcome = match end {
                End::Timeout => Outcome::Timeout,
                _ => Outcome::Interrupted,
            };
            self.later(seconds(3), Happens::OnceEnds(run, outcome));
            return;
        }
        self.say(format!("run {} is to end: {end:?}", run.0));
        let process = self.processes.iter_mut().find(|it| it.run == run);
        if let Some(process) = process.filter(|it| it.cut.is_none()) {
            process.cut = Some(end);
            self.stats.ended += 1;
            self.later(seconds(3), Happens::Cut(run));
        }
    }

    fn cut(&mut self, run: RunId) -> Verdict {
        let process = self.processes.iter().find(|it| it.run == run);
        match process.and_then(|it| it.cut) {
            None => Ok(()),
            Some(End::Timeout) => self.finish(run, Outcome::Timeout),
            Some(_) => self.finish(run, Outcome::Interrupted),
        }
    }

    fn finish(&mut self, run: RunId, outcome: Outcome) -> Verdict {
        let Some(at) = self.processes.iter().position(|it| it.run == run) else {
            return Ok(());
        };
        let process = self.processes.remove(at);
        let Written {
            fetched,
            sent,
            unsigned,
        } = process.written;
        self.say(format!(
            "run {} ends: {outcome:?} {:?}; {fetched} fetched, {sent} sent, {unsigned} flags",
            run.0, process.failing
        ));
        self.stats.fetched += fetched;
        self.stats.sent += sent;
        self.stats.unsigned += unsigned;
        match outcome {
            Outcome::Ok => {}
            Outcome::Partial => self.stats.partial += 1,
            _ => self.stats.failures += 1,
        }
        let failed = if outcome == Outcome::Partial {
            process.failing
        } else {
            BTreeSet::new()
        };
        let coarse = self.setup.coarse;
        if !process.orphan {
            let ours = matches!(process.cut, Some(End::Interrupt | End::Stop));
            self.rules.ended(self.now, outcome, &failed, coarse, ours);
        }
        let ended = Ended {
            outcome,
            exit: Some(i32::from(outcome != Outcome::Ok)),
            text: format!("{outcome:?}"),
            failed: failed.iter().map(|it| real(it).into()).collect(),
            everything: coarse,
            output: Output::default(),
            started: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            memory: Memory::default(),
        };
        let twice = self.sabotage == Sabotage::Repeats;
        for _ in 0..=u8::from(twice) {
            let ended = Box::new(ended.clone());
            self.ran(Event::Ended { run, ended })?;
        }
        if twice {
            let pid = process.pid;
            self.ran(Event::Sign { run })?;
            self.ran(Event::Began { run, pid })?;
        }
        if process.orphan {
            self.soon(ms(5), Happens::Locks);
        }
        Ok(())
    }

    // The engine.

    pub fn handle(&mut self, input: Input) -> Verdict {
        let at = self.epoch + self.now;
        let actions = self.core.handle(at, input);
        // What was told, and when that was done.
        let mut told: BTreeMap<&'static str, (Kinds, u64)> = BTreeMap::new();
        for change in TOLD.take() {
            let mut names = FOLDERS.iter().chain(&PASSING);
            let name = names.find(|it| *change.folder.name == *it.as_bytes());
            let known = told
                .entry(name.ok_or("a folder that is none")?)
                .or_default();
            known.0 |= change.kinds;
            known.1 = known.1.max(change.serial);
        }
        for (name, (kinds, serial)) in told {
            let structural = kinds.intersects(Kinds::CREATED | Kinds::DELETED);
            let open = self.limbo.remove(name).unwrap_or_default();
            if open || structural || kinds.contains(Kinds::UNKNOWN) {
                self.rules.changed(self.now, name, structural, serial);
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
                Action::Run(root, job) => self.later(ms(100), Happens::Work(root, job)),
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
                Action::EndSync(run, end) => self.end_sync(run, end),
                Action::SeekLock(..) => {
                    self.wants_lock = true;
                    self.rules.locked = false;
                    self.later(ms(20), Happens::Locks);
                }
                Action::DropLock(_) => {
                    self.wants_lock = false;
                    self.rules.locked = false;
                }
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
        self.rules.overdue(self.now)?;
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

fn real(folder: &str) -> PathBuf {
    format!("{ROOT}/{folder}").into()
}
