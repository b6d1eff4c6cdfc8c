//! The loop: the real engine's core and the real workers between a model machine and a model
//! Lisp, in virtual time, one step after the other, in an order that only the seed decides.
//!
//! What is real: `engine::core`, with coalescer and notifier; `watch::worker`, with discovery and
//! stamps; `watch::inbox`; the frames' bytes.  What is modelled stands in for threads and the
//! outside: a job is given, done, and answered in three steps with anything in between.
//!
//! Asserted at each step (I7): one frame in flight, no bigger than agreed, in a pipe that is
//! empty; one job a root; memory bounded by folders; no deadline that has passed.  Asserted when
//! all has come to rest (I1, I8): Lisp has read a change of each folder that was written no
//! earlier than the last thing that happened there, knows which folders exist, and nothing ticks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailsync_module::change::Kinds;
use mailsync_module::coalesce::{Coalesce, Delays};
use mailsync_module::engine::config::{AccountConfig, RootConfig, RootId};
use mailsync_module::engine::core::{Action, Core, Input};
use mailsync_module::maildir::Layout;
use mailsync_module::watch::inbox::{Dirty, Inbox};
use mailsync_module::watch::job::{Depth, Job, Report};
use mailsync_module::watch::worker::Worker;

use crate::disk::{Disk, RootSpec};
use crate::kernel::Kernel;
use crate::lisp::{CAPACITY, Frame, Lisp, Record};
use crate::machine::{Machine, Shared, Trace};
use crate::rng::Rng;
use crate::users::{Habit, Op, Users, maildir};

pub type Outcome = Result<(), String>;

/// What is wrong with the outside on purpose: each must be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    pub kernel_loses_events: bool,
    pub lisp_acknowledges_unread: bool,
    /// Mounts are told of, but the engine does not hear it.
    pub mounts_are_unheard: bool,
    /// Another machine's file system passes for this machine's.
    pub far_looks_near: bool,
    /// A directory in the place of a watched one passes for it.
    pub others_look_watched: bool,
}

/// A world's circumstances.
#[derive(Debug)]
pub struct Setup {
    pub accounts: Vec<AccountConfig>,
    pub specs: Vec<RootSpec>,
    pub habit: Habit,
    /// There are folders from the beginning.
    pub furnished: bool,
    pub tick: Duration,
    pub queue_limit: usize,
    pub watch_limit: usize,
    pub no_instances: bool,
    /// Bytes that the pipe is said to take.
    pub pipe_limit: usize,
    pub meddling: u64,
    /// Somebody tells when something is mounted.
    pub mounts_are_told: bool,
    /// The `notify` crate stands between us and the kernel.
    pub by_crate: bool,
    /// By how many seconds another machine's clock is ahead.
    pub skew: i64,
    /// The machine sleeps, workers hang, the configuration changes.
    pub restless: bool,
    /// Lisp restarts, repeats itself, and finds garbage.
    pub rude: bool,
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The longest that anything in a world may take to come to rest: the slowest poll, and what a
/// cache of another machine's directories hides.
const REST: Duration = Duration::from_secs(300);

impl Setup {
    /// What a seed comes to.
    pub fn random(rng: &mut Rng) -> Self {
        let delays = Delays {
            quiet: ms(200),
            longest: ms(*rng.choose(&[2_000, 500])),
        };
        let far = rng.once_in(8);
        let layouts = [Layout::Auto, Layout::MaildirPlusPlus, Layout::Nested];
        let mut specs = vec![spec("/home/link", "/home/m", *rng.choose(&layouts), 0)];
        match rng.below(6) {
            0 => specs.push(spec("/home/n", "/home/n", *rng.choose(&layouts), 0)),
            1 => specs.push(spec("/home/n", "/home/n", *rng.choose(&layouts), 1)),
            2 => specs.push(spec("/home/m/a", "/home/m/a", Layout::Auto, 1)),
            _ => {}
        }
        for spec in specs.iter_mut().filter(|_| far) {
            spec.remote = spec.real.starts_with("/home/m");
        }
        let poll = rng.once_in(12).then(|| ms(*rng.choose(&[30_000, 7_000])));
        let roots = |account| {
            let specs = specs.iter().filter(move |spec| spec.account == account);
            specs.map(|spec| RootConfig {
                directory: spec.spelling.clone(),
                layout: spec.layout,
                poll,
            })
        };
        let accounts = (["work", "home"].iter().enumerate())
            .map(|(number, name)| AccountConfig {
                name: (*name).to_owned(),
                roots: roots(number).collect(),
                delays,
                quiet: true,
                sync: None,
                remotes: Vec::new(),
            })
            .filter(|account| !account.roots.is_empty())
            .collect();
        Setup {
            accounts,
            specs: specs.clone(),
            habit: *rng.choose(&[Habit::Mail, Habit::Folders, Habit::Folders, Habit::Roots]),
            furnished: !rng.once_in(20),
            tick: ms(*rng.choose(&[0, 4, 4, 1_000, 2_000])),
            queue_limit: if rng.once_in(3) {
                rng.below(40) as usize + 2
            } else {
                16_384
            },
            watch_limit: if rng.once_in(10) {
                rng.below(20) as usize
            } else {
                usize::MAX
            },
            no_instances: rng.once_in(30),
            pipe_limit: *rng.choose(&[32_768, 32_768, 300, 60]),
            meddling: *rng.choose(&[0, 60, 12, 4, 1]),
            mounts_are_told: !rng.once_in(8),
            by_crate: rng.once_in(4),
            skew: *rng.choose(&[0, 0, 7, -7, 86_400, -86_400]),
            restless: rng.once_in(2),
            rude: rng.once_in(2),
        }
    }
}

impl Setup {
    /// One root of this layout, and nothing that goes wrong.
    pub fn plain(layout: Layout, pipe_limit: usize) -> Self {
        let delays = Delays {
            quiet: ms(200),
            longest: ms(2_000),
        };
        let root = RootConfig {
            directory: "/home/link".into(),
            layout,
            poll: None,
        };
        Setup {
            accounts: vec![AccountConfig {
                name: "work".to_owned(),
                roots: vec![root],
                delays,
                quiet: true,
                sync: None,
                remotes: Vec::new(),
            }],
            specs: vec![spec("/home/link", "/home/m", layout, 0)],
            habit: Habit::Mail,
            furnished: true,
            tick: ms(4),
            queue_limit: 16_384,
            watch_limit: usize::MAX,
            no_instances: false,
            pipe_limit,
            meddling: 0,
            mounts_are_told: true,
            by_crate: false,
            skew: 0,
            restless: false,
            rude: false,
        }
    }

    /// Whether everything is watched all the time, by a kernel that never loses anything.
    fn all_events_come(&self) -> bool {
        let mut roots = self.accounts.iter().flat_map(|account| &account.roots);
        let near = !self.specs.iter().any(|spec| spec.remote);
        let watched = !self.no_instances && self.watch_limit == usize::MAX;
        // In a restless world a watcher may fail.
        let watched = watched && !self.restless;
        watched && near && self.queue_limit >= 16_384 && roots.all(|root| root.poll.is_none())
    }
}

fn spec(spelling: &str, real: &str, layout: Layout, account: usize) -> RootSpec {
    RootSpec {
        spelling: spelling.into(),
        real: real.into(),
        layout,
        account,
        remote: false,
    }
}

/// A root's worker, and what it was given and has answered.
struct End {
    inbox: Arc<Inbox>,
    worker: Worker,
    job: Option<Job>,
    report: Option<Report>,
    /// It is at work, and nothing comes of it before then.
    hangs_until: Duration,
}

/// Counts, to show that a run was no idle one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub steps: u64,
    pub operations: u64,
    pub scans: u64,
    /// Scans that had to give up before nothing moved any more.
    pub unfinished: u64,
    pub frames: u64,
    pub overflows: u64,
    pub restarts: u64,
    pub sweeps: u64,
}

impl Stats {
    pub fn add(&mut self, other: Stats) {
        self.steps += other.steps;
        self.operations += other.operations;
        self.scans += other.scans;
        self.unfinished += other.unfinished;
        self.frames += other.frames;
        self.overflows += other.overflows;
        self.restarts += other.restarts;
        self.sweeps += other.sweeps;
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    UserActs,
    KernelDelivers,
    KernelOverflows,
    EngineLooks,
    WorkerWorks(usize),
    WorkerReports(usize),
    WorkerHangs(usize),
    WatcherFails,
    EngineHearsOfMounts,
    EnvironmentEnds,
    MachineWakes,
    MachineSetsClock,
    NetworkChanges,
    EngineHearsLisp,
    LispConfigures,
    LispReads,
    LispSleeps,
    LispRepeatsItself,
    LispRestarts,
    LispFindsGarbage,
    LispAsks,
    TimePasses,
}

pub struct World<C: Coalesce> {
    pub machine: Shared,
    rng: Rng,
    epoch: Instant,
    pub core: Core<C>,
    ends: BTreeMap<usize, End>,
    /// Of each root in `setup.specs`, whether it is configured.
    listed: Vec<bool>,
    /// When an account told of the second root's folders for the last time.
    forgotten: BTreeMap<String, u64>,
    /// Roots that have told their truename.
    known: BTreeSet<usize>,
    /// The pipe that the engine writes to, if it has one.
    attached: Option<i64>,
    pub lisp: Lisp,
    /// When each frame that has not been read was written.
    written: BTreeMap<(i64, u64), u64>,
    pub setup: Setup,
    names: Vec<String>,
    /// Directories that events have ever named, for the bound on what is unexplained.
    places: BTreeSet<PathBuf>,
    pub stats: Stats,
    sabotage: Sabotage,
}

impl<C: Coalesce> World<C> {
    pub fn new(mut rng: Rng, setup: Setup, sabotage: Sabotage, aloud: bool) -> Self {
        let mut kernel = Kernel::new();
        kernel.queue_limit = setup.queue_limit;
        kernel.watch_limit = setup.watch_limit;
        kernel.by_crate = setup.by_crate;
        kernel.no_more_instances = setup.no_instances;
        kernel.others_look_watched = sabotage.others_look_watched;
        kernel.loses_one_in = sabotage.kernel_loses_events.then_some(37);
        let mut disk = Disk::new(setup.tick, kernel);
        disk.truth.roots = setup.specs.clone();
        disk.skew = setup.skew;
        disk.far_looks_near = sabotage.far_looks_near;
        disk.truth.returns_are_seen = setup.all_events_come();
        furnish(&mut disk, setup.furnished, &mut rng);
        let taped = rng.is_taped();
        let machine = Shared::new(Machine {
            disk,
            users: Users::new(setup.habit, setup.mounts_are_told),
            rng: rng.fork(),
            trace: Trace::new(aloud, taped),
            meddling: setup.meddling,
            scanning: false,
        });
        let mut lisp = Lisp::new(setup.pipe_limit);
        lisp.acknowledges_unread = sabotage.lisp_acknowledges_unread;
        World {
            machine,
            rng,
            epoch: Instant::now(),
            core: Core::default(),
            ends: BTreeMap::new(),
            listed: vec![true; setup.specs.len()],
            forgotten: BTreeMap::new(),
            known: BTreeSet::new(),
            attached: None,
            lisp,
            written: BTreeMap::new(),
            names: setup.accounts.iter().map(|it| it.name.clone()).collect(),
            setup,
            places: BTreeSet::new(),
            stats: Stats::default(),
            sabotage,
        }
    }

    /// A life: times of unrest, each followed by rest, and by an account of what was told.
    pub fn run(&mut self) -> Outcome {
        self.begin()?;
        if self.nested() {
            // Until an inner root is known, the outer one may tell of its folders.
            self.rest()?;
            self.audit()?;
        }
        for unrest in ["unrest1", "unrest2", "unrest3"] {
            self.rng.begin("phase");
            let appetite = self.rng.below(30) as u32 + 1;
            self.machine.lock().users.appetite = appetite;
            for _ in 0..self.rng.below(400) {
                if !self.rng.enters(unrest) {
                    break;
                }
                self.step(true)?;
            }
            self.sleep_at_last()?;
            self.rng.begin("rest");
            self.rest()?;
            self.audit()?;
        }
        Ok(())
    }

    /// Lisp starts the engine.
    pub fn begin(&mut self) -> Outcome {
        if self.setup.mounts_are_told {
            self.handle(Input::MountsAreTold(true))?;
        }
        self.handle(Input::Configure(self.setup.accounts.clone()))
    }

    /// Lisp goes over to another configuration: with or without the second root.
    fn configure(&mut self) -> Outcome {
        if self.setup.specs.len() > 1 && self.rng.once_in(2) {
            self.listed[1] = !self.listed[1];
            let mut machine = self.machine.lock();
            let roots = self.setup.specs.iter().zip(&self.listed);
            let roots = roots.filter(|(_, listed)| **listed);
            machine.disk.truth.roots = roots.map(|(root, _)| root.clone()).collect();
            machine.disk.restructured();
            // Nobody tells what becomes of a folder that is not watched.
            drop(machine);
            if !self.listed[1] {
                self.forget(self.setup.specs[1].account);
            }
        }
        let mut accounts = self.setup.accounts.clone();
        let listed = |root: &RootConfig| {
            let specs = self.setup.specs.iter().zip(&self.listed);
            let mut specs = specs.filter(|(spec, _)| spec.spelling == root.directory);
            specs.all(|(_, listed)| *listed)
        };
        for account in &mut accounts {
            account.roots.retain(listed);
        }
        accounts.retain(|account| !account.roots.is_empty());
        self.handle(Input::Configure(accounts))
    }

    /// What Lisp knows of the second root's folders by this account is history, for nobody will
    /// tell it what becomes of them.
    fn forget(&mut self, account: usize) {
        let name = &self.names[account];
        let real = &self.setup.specs[1].real;
        let seen = &mut self.lisp.seen;
        seen.retain(|folder, seen| !(folder.starts_with(real) && seen.account == *name));
        let mut machine = self.machine.lock();
        machine.disk.time += 1;
        self.forgotten.insert(name.clone(), machine.disk.time);
    }

    fn nested(&self) -> bool {
        let inside =
            |it: &RootSpec, of: &RootSpec| it.real != of.real && it.real.starts_with(&of.real);
        let specs = &self.setup.specs;
        specs.iter().any(|it| specs.iter().any(|of| inside(it, of)))
    }

    // For stories with a plot (`stories.rs`).

    /// These system calls, one right after the other; each must be possible.
    pub fn users_do(&mut self, ops: impl IntoIterator<Item = Op>) -> Outcome {
        let mut machine = self.machine.lock();
        for op in ops {
            let text = format!("{op:?}");
            let now = machine.disk.now;
            machine.trace.add(now, &text);
            op.apply(&mut machine.disk)
                .map_err(|error| format!("{text}: {error}"))?;
        }
        Ok(())
    }

    /// The kernel delivers all it has, the engine takes it, and the workers work at once.
    pub fn engine_catches_up(&mut self) -> Outcome {
        loop {
            let ready = self.machine.lock().disk.kernel.ready();
            let delivered = !ready.is_empty();
            for id in ready {
                while self.machine.lock().disk.kernel.deliver(id).is_some() {}
            }
            let mut found = self.look()?;
            for root in self.ends.keys().copied().collect::<Vec<_>>() {
                found |= self.ends[&root].job.is_some();
                self.take(Step::WorkerWorks(root))?;
                self.take(Step::WorkerReports(root))?;
            }
            if !delivered && !found {
                return Ok(());
            }
        }
    }

    /// Lisp reads and calls while there is anything to read or to be called for.
    pub fn lisp_catches_up(&mut self) -> Outcome {
        while !self.lisp.pipe.is_empty() || !self.lisp.calls.is_empty() {
            self.take(Step::EngineHearsLisp)?;
            self.read()?;
        }
        Ok(())
    }

    pub fn now(&self) -> Duration {
        self.machine.lock().disk.now
    }

    fn is_traced(&self) -> bool {
        self.machine.lock().trace.is_wanted()
    }

    fn trace(&self, line: impl std::fmt::Display) {
        let mut machine = self.machine.lock();
        let now = machine.disk.now;
        machine.trace.add(now, line);
    }

    /// One step; with `unrest` the outside may misbehave.
    fn step(&mut self, unrest: bool) -> Outcome {
        self.stats.steps += 1;
        let steps = self.possible(unrest);
        let total = steps.iter().map(|(weight, _)| *weight).sum::<u64>();
        let mut at = self.rng.below(total);
        let chosen = steps.iter().find(|(weight, _)| {
            let found = at < *weight;
            at = at.saturating_sub(*weight);
            found
        });
        chosen.map_or(Ok(()), |(_, step)| self.take(*step))
    }

    /// What can happen now, with weights; passing time can always.
    fn possible(&self, unrest: bool) -> Vec<(u64, Step)> {
        let mut steps = Vec::new();
        let mut can = |if_so: bool, weight, step| {
            if if_so {
                steps.push((weight, step));
            }
        };
        let machine = self.machine.lock();
        let events = !machine.disk.kernel.ready().is_empty();
        can(!machine.users.idle(), 20, Step::UserActs);
        can(events, 12, Step::KernelDelivers);
        can(true, 4, Step::EngineLooks);
        for (number, end) in &self.ends {
            let hangs = end.hangs_until > machine.disk.now;
            can(end.job.is_some() && !hangs, 6, Step::WorkerWorks(*number));
            can(end.report.is_some(), 6, Step::WorkerReports(*number));
            let able = unrest && self.setup.restless && end.job.is_some();
            can(able && !hangs, 1, Step::WorkerHangs(*number));
        }
        let told = self.setup.mounts_are_told && !machine.disk.mount_news.is_empty();
        can(told, 6, Step::EngineHearsOfMounts);
        let awake = self.lisp.asleep_until <= machine.disk.now;
        can(!self.lisp.calls.is_empty(), 6, Step::EngineHearsLisp);
        can(awake && !self.lisp.pipe.is_empty(), 8, Step::LispReads);
        can(true, 3, Step::TimePasses);
        if unrest {
            let few = self.setup.queue_limit < 100;
            can(events && few, 1, Step::KernelOverflows);
            can(awake, 1, Step::LispSleeps);
            let now_and_then = self.setup.restless && self.stats.steps.is_multiple_of(8);
            can(now_and_then, 1, Step::MachineWakes);
            can(now_and_then, 1, Step::MachineSetsClock);
            can(now_and_then, 1, Step::NetworkChanges);
            can(now_and_then, 2, Step::LispConfigures);
            let instances = !machine.disk.kernel.all().is_empty();
            can(now_and_then && instances, 1, Step::WatcherFails);
            let heard = self.setup.mounts_are_told && machine.disk.mount_news.is_empty();
            can(now_and_then && heard, 1, Step::EnvironmentEnds);
            can(awake && self.setup.rude, 1, Step::LispRepeatsItself);
            let tired = self.setup.rude && self.stats.steps.is_multiple_of(8);
            can(tired, 2, Step::LispRestarts);
            can(
                tired && self.lisp.between_frames(),
                1,
                Step::LispFindsGarbage,
            );
            can(tired, 1, Step::LispAsks);
        }
        steps
    }

    /// The machine sleeps, and somebody does something that its kernel does not see.
    fn sleep(&mut self, most: u64) {
        let mut machine = self.machine.lock();
        machine.disk.sleeps = true;
        for _ in 0..self.rng.below(most) {
            machine.user_step();
        }
        machine.disk.sleeps = false;
    }

    /// It may do so once more before all comes to rest: nothing that happens later shows then what
    /// happened meanwhile.
    fn sleep_at_last(&mut self) -> Outcome {
        if !self.setup.restless || !self.rng.enters("sleep") || !self.rng.once_in(3) {
            return Ok(());
        }
        self.machine.lock().users.appetite += 3;
        self.sleep(12);
        self.handle(Input::Woke(ms(5_000)))
    }

    fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::UserActs => {
                self.machine.lock().user_step();
                Ok(())
            }
            Step::KernelDelivers => self.deliver(),
            Step::KernelOverflows => {
                let mut machine = self.machine.lock();
                let ready = machine.disk.kernel.ready();
                machine.disk.kernel.overflow(*self.rng.choose(&ready));
                drop(machine);
                self.trace("kernel: the queue overflows");
                Ok(())
            }
            Step::EngineLooks => self.look().map(|_| ()),
            Step::WorkerWorks(root) => self.work(root),
            Step::WorkerReports(root) => {
                let end = self.ends.get_mut(&root);
                match end.and_then(|end| end.report.take()) {
                    Some(report) => self.handle(Input::Report(RootId(root), report)),
                    None => Ok(()),
                }
            }
            Step::WorkerHangs(root) => {
                let until = self.now() + ms(self.rng.below(40_000));
                if let Some(end) = self.ends.get_mut(&root) {
                    end.hangs_until = until;
                }
                self.trace(format_args!("worker {root}: hangs until {until:?}"));
                Ok(())
            }
            Step::WatcherFails => {
                let mut machine = self.machine.lock();
                let all = machine.disk.kernel.all();
                machine.disk.kernel.fail(*self.rng.choose(&all));
                drop(machine);
                self.trace("kernel: a watcher fails");
                Ok(())
            }
            Step::EnvironmentEnds => {
                self.setup.mounts_are_told = false;
                self.machine.lock().users.mounts = false;
                self.handle(Input::MountsAreTold(false))
            }
            Step::EngineHearsOfMounts => {
                let news = std::mem::take(&mut self.machine.lock().disk.mount_news);
                if self.sabotage.mounts_are_unheard {
                    return Ok(());
                }
                self.handle(Input::Mounts(news))
            }
            Step::MachineWakes => {
                if self.rng.once_in(2) {
                    self.sleep(6);
                }
                self.handle(Input::Woke(ms(5_000)))
            }
            Step::MachineSetsClock => {
                // Also to when there was a change already, which then looks like the next one.
                let by = *self.rng.choose(&[-3600, -3, -2, -1, 0, 1, 3, 3600]);
                self.machine.lock().disk.set_clock(by);
                self.trace(format_args!("machine: its clock is set by {by} s"));
                self.handle(Input::ClockSet)
            }
            Step::NetworkChanges => self.handle(Input::NetworkChanged),
            Step::LispConfigures => self.configure(),
            Step::EngineHearsLisp => match self.lisp.calls.pop_front() {
                Some(call) => self.handle(call),
                None => Ok(()),
            },
            Step::LispReads => self.read(),
            Step::LispSleeps => {
                let most = if self.rng.once_in(4) { 10_000 } else { 300 };
                self.lisp.asleep_until = self.now() + ms(self.rng.below(most));
                Ok(())
            }
            Step::LispRepeatsItself => {
                // Whatever it says of frames that it has read, or that were never for it.
                let (generation, frames) = (self.lisp.generation, self.lisp.frames);
                let last = self.lisp.last_sequence;
                let (generation, sequence) = match self.rng.below(3) {
                    0 => (generation, last),
                    1 => (generation, self.rng.below(last + 1)),
                    _ => (generation - 1, self.rng.below(frames + 3)),
                };
                self.lisp.acknowledge(generation, sequence);
                Ok(())
            }
            Step::LispRestarts => {
                self.restart();
                Ok(())
            }
            Step::LispFindsGarbage => {
                let garbage = *self
                    .rng
                    .choose(&[&b"\n"[..], b"mailsync 2 ", b"mailsync 1 x\n"]);
                for byte in garbage.iter().rev() {
                    self.lisp.pipe.push_front(*byte);
                }
                match self.lisp.read(garbage.len()) {
                    Ok(_) => Err(format!("the reader took {garbage:?}")),
                    Err(_) => {
                        self.restart();
                        Ok(())
                    }
                }
            }
            Step::LispAsks => {
                let account = (self.rng.once_in(2)).then(|| self.rng.choose(&self.names).clone());
                self.lisp.calls.push_back(Input::Check(account, None));
                Ok(())
            }
            Step::TimePasses => {
                let most = *self.rng.choose(&[5, 5, 50, 300, 3_000]);
                let by = Duration::from_micros(self.rng.below(most * 1_000));
                self.pass(by)
            }
        }
    }

    fn restart(&mut self) {
        self.stats.restarts += 1;
        self.lisp.restart();
        // Who knows what became of what it had read: everything there is has to be told again.
        for seen in self.lisp.seen.values_mut().filter(|seen| seen.exists) {
            seen.written = 0;
        }
        self.written.clear();
        self.trace(format_args!(
            "lisp: restarts, generation {}",
            self.lisp.generation
        ));
    }

    fn deliver(&mut self) -> Outcome {
        let mut machine = self.machine.lock();
        let ready = machine.disk.kernel.ready();
        let id = *self.rng.choose(&ready);
        for _ in 0..=self.rng.below(6) {
            let Some(event) = machine.disk.kernel.deliver(id) else {
                break;
            };
            let now = machine.disk.now;
            machine
                .trace
                .add(now, format_args!("kernel {id}: {event:?}"));
        }
        Ok(())
    }

    /// The engine was woken, and takes what is in the inboxes; true when there was something.
    fn look(&mut self) -> Result<bool, String> {
        let mut found = false;
        for number in self.ends.keys().copied().collect::<Vec<_>>() {
            found |= self.take_inbox(number)?;
        }
        Ok(found)
    }

    fn take_inbox(&mut self, root: usize) -> Result<bool, String> {
        let now = self.epoch + self.now();
        let Some(end) = self.ends.get(&root) else {
            return Ok(false);
        };
        let dirty = end.inbox.take(now);
        if dirty == Dirty::default() {
            return Ok(false);
        }
        // A half that only waits for its other one is nothing that happens.
        let found = dirty.overflow || !dirty.messages.is_empty() || !dirty.places.is_empty();
        let places = dirty.messages.keys().chain(dirty.places.keys());
        self.places.extend(places.cloned());
        let ever = self.machine.lock().disk.truth.ever.len();
        let bound = 8 * ever + 64;
        if dirty.messages.len() + dirty.places.len() > bound {
            return Err(format!("I7: an inbox of more than {bound} directories"));
        }
        self.handle(Input::Dirty(RootId(root), dirty))?;
        Ok(found)
    }

    fn work(&mut self, root: usize) -> Outcome {
        let Some(job) = self.ends.get_mut(&root).and_then(|it| it.job.take()) else {
            return Ok(());
        };
        self.stats.scans += 1;
        if self.is_traced() {
            let (depth, places) = (job.depth, sorted(&job.places));
            self.trace(format_args!("worker {root}: {depth:?} {places:?}"));
        }
        let Some(end) = self.ends.get_mut(&root) else {
            return Ok(());
        };
        let depth = job.depth;
        let report = end.worker.work(job);
        self.machine.lock().scanning = false;
        if self.is_traced() {
            self.trace(format_args!("worker {root}: {}", brief(&report)));
        }
        if let Report::Scanned(scanned) = &report {
            self.stats.unfinished += u64::from(scanned.again);
        }
        self.stats.sweeps += u64::from(depth == Depth::Sweep);
        if let Some(end) = self.ends.get_mut(&root) {
            end.report = Some(report);
        }
        Ok(())
    }

    /// Let time pass; every deadline on the way is kept, though not to the moment.
    pub fn pass(&mut self, by: Duration) -> Outcome {
        let until = self.now() + by;
        for _ in 0..10_000 {
            let deadline = self.core.deadline().map(|at| at - self.epoch);
            let Some(deadline) = deadline.filter(|at| *at <= until) else {
                let mut machine = self.machine.lock();
                machine.disk.now = machine.disk.now.max(until);
                return Ok(());
            };
            let late = if self.rng.once_in(3) {
                ms(self.rng.below(20))
            } else {
                Duration::ZERO
            };
            {
                let mut machine = self.machine.lock();
                machine.disk.now = machine.disk.now.max(deadline + late);
            }
            self.handle(Input::Tick)?;
        }
        Err("I8: it ticks without end".to_owned())
    }

    /// Give the core an input, do what it says, and see that it kept its promises.
    pub fn handle(&mut self, input: Input) -> Outcome {
        if !matches!(input, Input::Tick) {
            self.trace(match &input {
                Input::Report(root, report) => format!("engine: {root:?} {}", brief(report)),
                Input::Dirty(root, dirty) => format!(
                    "engine: {root:?} {:?} {:?} overflow {} unsettled {}",
                    sorted(&dirty.messages),
                    sorted(&dirty.places),
                    dirty.overflow,
                    dirty.unsettled
                ),
                other => format!("engine: {other:?}"),
            });
        }
        if let Input::Attach(generation, _) = input {
            self.attached = Some(generation);
        }
        // From now on an inner root tells of its folders, and no longer the outer one.
        if let Input::Report(RootId(number), Report::Scanned(scanned)) = &input
            && self.known.insert(*number)
            && self.nested()
            && scanned.real_root == self.setup.specs[1].real
        {
            self.forget(self.setup.specs[0].account);
        }
        let now = self.epoch + self.now();
        for action in self.core.handle(now, input) {
            match action {
                Action::Open(RootId(number), config) => self.open(number, config),
                Action::Run(RootId(number), job) => {
                    let end = self.ends.get_mut(&number);
                    let end = end.ok_or("a job for a worker that was closed")?;
                    if end.job.is_some() || end.report.is_some() {
                        return Err(format!("I7: root {number} has two jobs"));
                    }
                    end.job = Some(job);
                }
                Action::Take(RootId(number)) => {
                    self.take_inbox(number)?;
                }
                Action::Close(RootId(number)) => drop(self.ends.remove(&number)),
                Action::Send(frame) => self.send(&frame)?,
                // Nobody is synced here, and nobody listens.
                action => return Err(format!("not wanted: {action:?}")),
            }
        }
        if let Some(deadline) = self.core.deadline()
            && deadline <= now
        {
            return Err("I8: a deadline that has passed".to_owned());
        }
        let ever = self.machine.lock().disk.truth.ever.len();
        let accounts = self.names.len();
        let bound = 3 * ever + self.places.len() + accounts + self.ends.len() + 4;
        if self.core.held() > bound {
            return Err(format!("I7: holds {} entries of {bound}", self.core.held()));
        }
        Ok(())
    }

    fn open(&mut self, number: usize, config: RootConfig) {
        let inbox = Arc::new(Inbox::new(|| {}));
        let make = config.poll.is_none().then(|| self.machine.backend());
        let fs = Box::new(self.machine.clone());
        let end = End {
            worker: Worker::new(config.directory, config.layout, fs, make, inbox.clone()),
            inbox,
            job: None,
            report: None,
            hangs_until: Duration::ZERO,
        };
        self.ends.insert(number, end);
    }

    /// The engine writes a frame.
    fn send(&mut self, frame: &[u8]) -> Outcome {
        let Some(generation) = self.attached else {
            return Err("a frame without a pipe".to_owned());
        };
        self.stats.frames += 1;
        if generation != self.lisp.generation {
            // Lisp has closed this one.
            self.attached = None;
            self.trace("engine: EPIPE");
            return self.handle(Input::Detach);
        }
        if !self.lisp.pipe.is_empty() || frame.len() > CAPACITY {
            return Err("I7: the writer would block".to_owned());
        }
        let decoded = crate::lisp::decode(frame)?;
        let (decoded, _) = decoded.ok_or("a frame that is not whole")?;
        if decoded.payload > self.setup.pipe_limit && decoded.records.len() > 1 {
            return Err(format!("I7: a frame of {} bytes", decoded.payload));
        }
        let time = self.machine.lock().disk.time;
        let key = (decoded.generation, decoded.sequence);
        self.written.insert(key, time);
        self.trace(format_args!(
            "engine: frame {} of {} records",
            key.1,
            decoded.records.len()
        ));
        self.lisp.pipe.extend(frame);
        Ok(())
    }

    /// Lisp reads some bytes of the pipe, and maybe the end of a frame.
    fn read(&mut self) -> Outcome {
        let most = *self.rng.choose(&[7, 100, 4_096, 65_536]);
        let Some(frame) = self.lisp.read(most)? else {
            return Ok(());
        };
        let key = (frame.generation, frame.sequence);
        let written = self.written.remove(&key);
        let written = written.ok_or_else(|| format!("a frame {key:?} that was read before"))?;
        self.learn(frame, written);
        Ok(())
    }

    fn learn(&mut self, frame: Frame, written: u64) {
        for record in frame.records {
            if self.is_traced() {
                self.trace(format_args!("lisp: {}", line(&record)));
            }
            match record {
                Record::Change {
                    account,
                    name,
                    directory,
                    real,
                    kinds,
                    origins,
                    ..
                } => {
                    assert_eq!(origins, "l", "nobody else is here");
                    let forgotten = self.forgotten.get(&account);
                    if forgotten.is_some_and(|at| written < *at)
                        && real.starts_with(&self.setup.specs[1].real)
                    {
                        continue;
                    }
                    let exists = !kinds.contains(Kinds::DELETED);
                    self.machine.lock().disk.truth.told(&real, written, kinds);
                    let times = self.lisp.seen.get(&real).map_or(0, |seen| seen.times) + 1;
                    let seen = crate::lisp::Seen {
                        written,
                        exists,
                        account,
                        directory,
                        name,
                        times,
                    };
                    self.lisp.seen.insert(real, seen);
                }
                Record::State { account, state, .. } => {
                    self.lisp.states.insert(account, state);
                }
                Record::Ready { account, directory } => {
                    // As mailsync.el does: what the first scan found is to be checked.
                    let check = Input::Check(Some(account), Some(directory.clone()));
                    self.lisp.calls.push_back(check);
                    self.lisp.ready.push(directory);
                }
                _ => {}
            }
        }
    }

    /// Nobody begins anything new, and everything that is under way comes to its end.
    pub fn rest(&mut self) -> Outcome {
        let (lift, home) = (self.rng.once_in(2), !self.rng.once_in(8));
        {
            let mut machine = self.machine.lock();
            machine.users.appetite = 0;
            if home {
                machine.users.return_roots();
            }
            if lift {
                machine.disk.kernel.watch_limit = usize::MAX;
                machine.disk.kernel.no_more_instances = false;
            }
            let now = machine.disk.now;
            machine.trace.add(now, "world: rest");
        }
        let began = loop {
            if self.machine.lock().users.idle() {
                break self.now();
            }
            self.step(false)?;
        };
        let mut steps = 0;
        loop {
            steps += 1;
            if steps > 100_000 {
                return Err("it never comes to rest".to_owned());
            }
            if !self.nothing_to_do() {
                self.step(false)?;
                continue;
            }
            if self.look()? {
                continue;
            }
            let asleep = self.lisp.asleep_until;
            let deadline = self.core.deadline().map(|at| at - self.epoch);
            let now = self.now();
            let hangs = self.ends.values().filter(|end| end.job.is_some());
            let hangs = hangs.map(|end| end.hangs_until).filter(|at| *at > now);
            let next = deadline
                .into_iter()
                .chain((asleep > now).then_some(asleep))
                .chain(hangs)
                .min();
            match next {
                Some(at) if at <= began + REST => {
                    let by = at.saturating_sub(self.now());
                    self.pass(by)?;
                }
                // Polled worlds never rest; by now they have looked often enough.
                _ => return Ok(()),
            }
        }
    }

    /// Nothing can happen but that the engine looks into its inboxes, or that time passes.
    fn nothing_to_do(&self) -> bool {
        let machine = self.machine.lock();
        let asleep = self.lisp.asleep_until > machine.disk.now;
        machine.disk.kernel.ready().is_empty()
            && (self.lisp.pipe.is_empty() || asleep)
            && self.lisp.calls.is_empty()
            && (machine.disk.mount_news.is_empty() || !self.setup.mounts_are_told)
            && (self.ends.values()).all(|end| {
                let hangs = end.hangs_until > machine.disk.now;
                (end.job.is_none() || hangs) && end.report.is_none()
            })
    }

    /// All is at rest: was everything told?
    pub fn audit(&self) -> Outcome {
        let machine = self.machine.lock();
        let truth = &machine.disk.truth;
        // Not there, or an empty directory, in whose place something may have to be mounted.
        let empty = |number: usize| !truth.folders.values().any(|it| it.2 == number);
        let missing = |root: &RootSpec| !machine.disk.is_dir(&root.spelling);
        let absent = |path: &Path| {
            let roots = truth.roots.iter().enumerate();
            let mut roots = roots.filter(|(_, root)| path.starts_with(&root.real));
            roots.any(|(number, root)| missing(root) || empty(number))
        };
        for (folder, (_, _, root)) in &truth.folders {
            if absent(folder) {
                continue;
            }
            let root = &truth.roots[*root];
            let required = truth.required(folder);
            let Some(seen) = self.lisp.seen.get(folder) else {
                return Err(format!("I1: {} was never told of", folder.display()));
            };
            if seen.written < required || !seen.exists {
                return Err(format!(
                    "I1: {} changed at {required}, Lisp knows of {seen:?}",
                    folder.display()
                ));
            }
            let below = folder.strip_prefix(&root.real);
            let directory = below.map(|below| match below.as_os_str().is_empty() {
                true => root.spelling.clone(),
                false => root.spelling.join(below),
            });
            let named = folder != &root.real || seen.name == b"INBOX";
            let right = directory.is_ok_and(|directory| directory == seen.directory)
                && self.names[root.account] == seen.account
                && named;
            if !right {
                return Err(format!("{} was told as {seen:?}", folder.display()));
            }
        }
        // Nobody watches a folder of Maildir++ itself: that only `tmp` goes is not seen, and no loss.
        let half = |path: &Path| {
            ["new", "cur"]
                .iter()
                .all(|part| machine.disk.is_dir(&path.join(part)))
        };
        for (folder, seen) in &self.lisp.seen {
            let gone = !truth.folders.contains_key(folder) && !half(folder);
            if seen.exists && gone && !absent(folder) {
                return Err(format!(
                    "I1: {} is gone, which Lisp was not told",
                    folder.display()
                ));
            }
        }
        for (folder, owed) in &truth.owed {
            if !owed.is_empty() && !absent(folder) {
                return Err(format!(
                    "I1: of {} these kinds were not told: {owed:?}",
                    folder.display()
                ));
            }
        }
        for root in truth.roots.iter().filter(|root| !missing(root)) {
            if !self.lisp.ready.contains(&root.spelling) {
                return Err(format!(
                    "{} was never said to be ready",
                    root.spelling.display()
                ));
            }
        }
        for (number, name) in self.names.iter().enumerate() {
            let roots = truth.roots.iter().enumerate();
            let roots = roots.filter(|(_, root)| root.account == number);
            if roots.clone().count() == 0 {
                continue;
            }
            let waiting = roots.clone().any(|(_, root)| missing(root));
            let may_wait = roots.clone().any(|(number, _)| empty(number));
            let expected = if waiting { "waiting" } else { "watching" };
            let state = self.lisp.states.get(name);
            if state.is_none_or(|state| state != expected && !(may_wait && state == "waiting")) {
                return Err(format!("{name} is {expected}, Lisp was told {state:?}"));
            }
        }
        let limits = &machine.disk.kernel;
        let all_watched = limits.watch_limit == usize::MAX && !limits.no_more_instances;
        let status = self.core.status();
        let mut roots = status.accounts.iter().flat_map(|account| &account.roots);
        let still = |state| {
            state == "watching" || state == "waiting" && self.setup.mounts_are_told && all_watched
        };
        // Nobody tells when something is mounted on an empty directory.
        let settled = |folders| folders > 0 || self.setup.mounts_are_told;
        let watched =
            roots.all(|root| root.how == "kernel" && still(root.state) && settled(root.folders));
        if watched && self.core.deadline().is_some() {
            return Err("I8: something ticks while nothing happens".to_owned());
        }
        if self.core.held() != 0 || status.in_flight {
            return Err(format!(
                "at rest, {} entries are still held",
                self.core.held()
            ));
        }
        Ok(())
    }
}

/// The roots, with a few folders, some with mail.
fn furnish(disk: &mut Disk, furnished: bool, rng: &mut Rng) {
    // Later than any stamp's doubts, before the world begins.
    let mut plan = Vec::new();
    for root in disk.truth.roots.clone() {
        for part in root
            .real
            .ancestors()
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .skip(1)
        {
            let _ = disk.mkdir(part);
        }
        if root.spelling != root.real {
            let _ = disk.symlink(&root.real, &root.spelling);
        }
        let names: &[&str] = match root.layout {
            Layout::MaildirPlusPlus => &["", ".a", ".a.b", ".lists"],
            Layout::Nested => &["", "a", "a/b", "lists"],
            Layout::Auto => &["", "a", ".b", "a/c", "a/.c"],
        };
        for name in names {
            if furnished && rng.below(3) > 0 {
                let folder = match *name {
                    "" => root.real.clone(),
                    name => root.real.join(name),
                };
                plan.extend(maildir(&folder, rng));
            }
        }
    }
    for op in plan {
        if let Op::Mkdir(path) = op {
            // A parent may be missing, or made already.
            let _ = disk.mkdir(&path);
        }
    }
    disk.restructured();
    disk.now += Duration::from_secs(rng.below(2) * 10);
}

/// In an order that does not differ from run to run.
fn sorted<K: Ord, V>(map: &HashMap<K, V>) -> BTreeMap<&K, &V> {
    map.iter().collect()
}

fn brief(report: &Report) -> String {
    match report {
        Report::Scanned(scanned) => {
            let created: Vec<_> = scanned.created.iter().map(|it| it.real.display()).collect();
            format!(
                "scanned: created {created:?} deleted {:?} changed {:?} watches {} unwatched {} \
                 again {}",
                scanned.deleted, scanned.changed, scanned.watches, scanned.unwatched, scanned.again
            )
        }
        other => format!("{other:?}"),
    }
}

fn line(record: &Record) -> String {
    match record {
        Record::Change { real, kinds, .. } => format!("reads {kinds:?} of {}", real.display()),
        other => format!("reads {other:?}"),
    }
}
