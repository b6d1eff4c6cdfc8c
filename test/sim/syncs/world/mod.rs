//! A life: everything that happens, in virtual time, one step after the other, in an order that
//! only the seed decides.
//!
//! [`users`] do something, the [`kernel`] tells of it, the [`engine`] acts, [`lisp`] checks,
//! somebody [`looks`] what is to be pushed, the syncer [`runs`] in [`steps`], [`once`] also where it
//! is no account's; the server may be watched ([`far`]), and a program may listen to what is checked ([`listener`]); [`faults`] befall all of them.  In the end all comes to [`rest`].  [`setup`] is what differs between the lives, [`stats`] what they had.

mod engine;
mod far;
mod faults;
mod kernel;
mod lisp;
mod listener;
mod looks;
mod once;
mod rest;
mod runs;
mod setup;
mod stats;
mod steps;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailsync_module::change::AccountId;
use mailsync_module::engine::config::RootId;
use mailsync_module::engine::core::{Core, Input};
use mailsync_module::syncer::unpushed::Agreed;
use mailsync_module::syncer::{Outcome, RunId};
use mailsync_module::watch::inbox::Inbox;
use mailsync_module::watch::job::Job;

use super::mail::{Mail, Mark, ROOT, Touch};
use super::rules::Rules;
use crate::machine::Trace;
use crate::rng::Rng;
use crate::world::{Outcome as Verdict, ms};
use engine::Spy;
use far::Watching;
use lisp::Untold;
use listener::Listener;
use looks::Looking;
use once::Once;
use runs::Process;
pub use setup::{Sabotage, Setup};
pub use stats::Stats;

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
#[derive(Debug)]
enum Happens {
    User,
    Far,
    Fault,
    Watches(u64),
    HangsUp(u64),
    FarTells(u64, &'static str),
    Take,
    Work(RootId, Job),
    Read(i64),
    Check(i64, &'static str, u64),
    Answer(i64, &'static str, u64, u64),
    Plan(u64),
    Look(Box<Looking>),
    Step(u32),
    Cut(u32),
    Undoes(Touch),
    ByHand,
    Crashes,
    Locks,
    OnceLocks,
    OnceEnds(RunId, Outcome),
    OtherSyncs,
    OtherLeaves,
    Resumes,
    Returns,
    Asks,
    Recovers,
    Insists(&'static str),
    Mends(&'static str),
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
    /// These fail in each run, while others do not.
    broken: BTreeSet<&'static str>,
    requests: i64,
    once: Once,
    listener: Listener,
    /// What Lisp has not read yet.
    untold: BTreeMap<&'static str, Untold>,
    watching: Watching,
    /// Folders of which the last run said that all was well, and did nothing.
    lied: BTreeSet<&'static str>,
    /// Names and records, as the last look has seen them.
    glimpsed: BTreeMap<&'static str, (Option<Vec<String>>, Agreed)>,
    /// What had happened on the server when something was asked for.
    wished: BTreeMap<i64, BTreeMap<&'static str, u64>>,
    /// What users have done last, by folder, where they may regret it.
    touched: BTreeMap<&'static str, Touch>,
    /// Folders in which they do nothing until then.
    left_alone: BTreeMap<&'static str, Duration>,
    calm: bool,
}

impl World {
    pub fn new(rng: Rng, setup: Setup, sabotage: Sabotage, aloud: bool) -> Self {
        engine::forget_what_was_told();
        let timing = setup.timing.clone();
        World {
            stats: Stats::default(),
            trace: Trace::new(aloud, rng.is_taped()),
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
            broken: BTreeSet::new(),
            requests: 0,
            once: Once::default(),
            listener: Listener::default(),
            untold: BTreeMap::new(),
            watching: Watching::default(),
            lied: BTreeSet::new(),
            glimpsed: BTreeMap::new(),
            wished: BTreeMap::new(),
            touched: BTreeMap::new(),
            left_alone: BTreeMap::new(),
            calm: true,
            setup,
            rng,
        }
    }

    /// A whole life.
    pub fn run(&mut self) -> Verdict {
        if let Some(away) = self.setup.away {
            self.away = true;
            self.soon(away, Happens::Returns);
            // Who misses mail asks for it.
            self.later(away, Happens::Asks);
        }
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
        if let Some(pace) = self.setup.by_hand {
            self.later(pace * 2, Happens::ByHand);
        }
        let end = self.setup.lasts;
        while self.now < end {
            self.step()?;
        }
        self.rest()?;
        self.audit()
    }

    /// A life of so many happenings, each of which comes to rest before the next: the user does
    /// something, or asks for what came on the server, where more happens.
    pub fn run_slowly(&mut self, happenings: u64) -> Verdict {
        self.begin()?;
        for number in 0..happenings {
            let next = self.now + seconds(120);
            let stirs = |it: &Self| !it.agenda.is_empty() || it.core.deadline().is_some();
            while self.now < next && stirs(self) {
                self.step()?;
            }
            self.now = self.now.max(next);
            if number % 3 == 0 {
                self.user();
            } else {
                let folder = *self.rng.choose(&FOLDERS);
                (0..6).for_each(|_| self.mail.far(folder, &mut self.rng));
                self.ask(Some(folder))?;
            }
        }
        self.rest()?;
        self.audit()
    }

    pub fn begin(&mut self) -> Verdict {
        self.untold.clear();
        self.handle(Input::MountsAreTold(true))?;
        self.restart_lisp()?;
        self.begin_to_listen()?;
        self.configure()
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
        let label = match what {
            Happens::User => Some("user"),
            Happens::Far => Some("far"),
            Happens::Fault => Some("fault"),
            Happens::ByHand => Some("hand"),
            _ => None,
        };
        match label {
            Some(label) if !self.rng.enters(label) => return Ok(()),
            Some(_) => {}
            None => {
                self.rng.begin("rest");
            }
        }
        match what {
            Happens::User => {
                self.later(self.setup.pace * 2, Happens::User);
                self.user();
            }
            Happens::Far => {
                self.later(self.setup.far_pace * 2, Happens::Far);
                let folder = *self.rng.choose(&FOLDERS);
                self.mail.far(folder, &mut self.rng);
                self.far_happened(folder);
            }
            Happens::Watches(number) => return self.watches(number),
            Happens::HangsUp(number) => return self.hangs_up(number),
            Happens::FarTells(number, folder) => return self.far_tells(number, folder),
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
                self.say(format_args!("lisp plans run {run}: {knows}"));
                return self.handle(Input::Planned(ACCOUNT.to_owned(), run, syncer));
            }
            Happens::Look(looking) => return self.looks(*looking),
            Happens::Step(pid) => return self.step_of(pid),
            Happens::Cut(pid) => return self.cut(pid),
            Happens::Crashes if self.there && !self.calm => return self.restart_emacs(),
            Happens::ByHand => {
                if let Some(pace) = self.setup.by_hand.filter(|_| !self.calm) {
                    self.later(pace * 2, Happens::ByHand);
                    self.sync_by_hand();
                }
            }
            Happens::Undoes(touch) => self.undoes(touch),
            Happens::Locks => return self.locks(),
            Happens::OnceLocks => return self.once_locks(),
            Happens::OnceEnds(run, outcome) => return self.once_ends(run, outcome),
            Happens::OtherSyncs if self.other && !self.calm => self.other_syncs(),
            Happens::OtherLeaves if self.other => return self.other_leaves(),
            Happens::Resumes => return self.pause(false),
            Happens::Returns => self.away = false,
            Happens::Asks if self.there => {
                let folder = (!self.rng.once_in(2)).then(|| *self.rng.choose(&FOLDERS));
                return self.ask(folder);
            }
            Happens::Recovers => self.outage = None,
            Happens::Insists(folder) if self.there && self.broken.contains(folder) => {
                self.later(seconds(8), Happens::Insists(folder));
                return self.ask(Some(folder));
            }
            Happens::Mends(folder) => drop(self.broken.remove(folder)),
            Happens::Listens => self.deaf = false,
            Happens::Configures if !self.there => return self.configure(),
            _ => {}
        }
        Ok(())
    }
}

/// All that are there at some time.
fn all_folders() -> impl Iterator<Item = &'static str> {
    FOLDERS.into_iter().chain(PASSING)
}

fn real(folder: &str) -> PathBuf {
    format!("{ROOT}/{folder}").into()
}

/// The folder with this canonical name.
fn named(name: &[u8]) -> Result<&'static str, String> {
    let found = all_folders().find(|it| it.as_bytes() == name);
    found.ok_or_else(|| format!("a folder that is none: {}", name.escape_ascii()))
}

/// The folder that lies here.
fn lies(path: &Path) -> Result<&'static str, String> {
    let found = all_folders().find(|it| path == real(it));
    found.ok_or_else(|| format!("a folder that is none: {}", path.display()))
}
