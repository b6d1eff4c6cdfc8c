//! The simulator: thousands of small worlds, each decided by its seed, in which no change may be
//! lost.  [`world`] says what is real in them, what is modelled, and what is asserted.
//!
//! `SEEDS=100000 cargo test --release --test sim` looks longer, `FIRST=100000` with it at others,
//! `ENOUGH=20` until so many have failed; `SEED=42 cargo test --test sim seeds -- --nocapture`
//! tells the story of one world aloud.  What fails is told in as few steps as it takes ([`shrink`]) and
//! left as a file that makes a case ([`cases`]).

mod cases;
mod disk;
#[cfg(feature = "imap")]
mod imap;
mod kernel;
mod lisp;
mod machine;
#[path = "../support/rng.rs"]
#[allow(dead_code)]
mod plain;
mod punctual;
mod rng;
mod shrink;
mod stories;
mod syncs;
mod users;
mod world;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use mailsync_module::change::{Change, Folder};
use mailsync_module::coalesce::{Coalesce, Coalescer, Delays};

use punctual::Punctual;
use rng::Rng;
use world::{Sabotage, Setup, Stats, World};

/// So many lives of this kind, which with those of the others are ten thousand.
const SEEDS: u64 = 5_000;
/// Whatever is broken on purpose is found in so many.
const FOUND_IN: u64 = 4_000;

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

/// Live through one world.
fn live<C: Coalesce>(mut rng: Rng, sabotage: Sabotage, aloud: bool) -> Result<Stats, Failure> {
    let setup = Setup::random(&mut rng);
    let mut world = World::<C>::new(rng, setup, sabotage, aloud);
    let outcome = caught(|| world.run());
    let machine = world.machine.lock();
    let mut stats = world.stats;
    stats.operations = machine.disk.time;
    stats.overflows = machine.disk.kernel.overflows;
    outcome.map(|()| stats).map_err(|text| Failure {
        text,
        setup: format!("{:?}", world.setup),
        steps: machine.trace.lines(),
    })
}

/// Live through many, on all processors; the first failure by seed, and how many failed.
fn live_many<C: Coalesce>(
    seeds: u64,
    sabotage: Sabotage,
    enough: u64,
) -> (Option<Found>, u64, Stats) {
    let live = |rng| live::<C>(rng, sabotage, false);
    many(seeds, enough, live, Stats::add)
}

/// How a life failed.
#[derive(Clone, Debug)]
struct Failure {
    text: String,
    setup: String,
    /// What happened, where there is a tape.
    steps: Vec<String>,
}

impl Failure {
    /// What was asserted.
    fn title(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// That, and how it came to it.
    fn told(&self) -> String {
        let (setup, steps) = (&self.setup, self.steps.join("\n"));
        format!("{}\n{setup}\n{steps}", self.text)
    }
}

/// The first seed with which a life failed.
#[derive(Debug)]
struct Found {
    seed: u64,
    failure: Failure,
}

impl Found {
    fn title(&self) -> String {
        format!("SEED={}: {}", self.seed, self.failure.title())
    }
}

/// A life; a panic in it is a failure.
fn caught(life: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(life)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Live so many lives, from the seed FIRST on, on all processors, until enough of them fail; the
/// first failure by seed, how many failed, and the sum of what is counted.
fn many<S: Default + Send>(
    seeds: u64,
    enough: u64,
    live: impl Fn(Rng) -> Result<S, Failure> + Sync,
    add: impl Fn(&mut S, S) + Sync,
) -> (Option<Found>, u64, S) {
    let total = Mutex::new(S::default());
    let from = from_environment("FIRST").unwrap_or(0);
    let (next, failures) = (AtomicU64::new(from), AtomicU64::new(0));
    let first = Mutex::new(None::<Found>);
    let work = || {
        while failures.load(Ordering::Relaxed) < enough {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                return;
            }
            match live(Rng::new(seed)) {
                Ok(stats) => add(
                    &mut total.lock().unwrap_or_else(PoisonError::into_inner),
                    stats,
                ),
                Err(failure) => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    let found = Found { seed, failure };
                    if enough > 1 {
                        eprintln!("{}", found.title());
                    }
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    if first.as_ref().is_none_or(|known| seed < known.seed) {
                        *first = Some(found);
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    (first, failures.into_inner(), total)
}

/// What SEED and SEEDS ask for: one life aloud, or many, of which none may fail.  A failure is told in as
/// few steps as it takes, and left as a case of this kind.  How many were lived, and what they were counted
/// to, if they were many.
fn asked<S: Debug + Default + Send>(
    kind: &str,
    seeds: u64,
    live: impl Fn(Rng, bool) -> Result<S, Failure> + Sync,
    add: impl Fn(&mut S, S) + Sync,
) -> Option<(u64, S)> {
    if let Some(seed) = from_environment("SEED") {
        let outcome = live(Rng::new(seed), true);
        let outcome = outcome.unwrap_or_else(|failure| panic!("{}", failure.told()));
        eprintln!("{outcome:?}");
        return None;
    }
    let seeds = from_environment("SEEDS").unwrap_or(seeds);
    let began = Instant::now();
    let enough = from_environment("ENOUGH").unwrap_or(1);
    let quietly = |rng| live(rng, false);
    let (found, count, stats) = many(seeds, enough, quietly, add);
    eprintln!("{seeds} seeds in {:.1?}: {stats:?}", began.elapsed());
    if let Some(found) = found {
        let title = found.title();
        let (case, failure) = shrink::shortest(found.seed, |rng| live(rng, false).map(drop));
        let place = cases::leave(kind, found.seed, &case, &failure);
        panic!(
            "{count} of {seeds} seeds fail, among them\n{title}\nin {} steps, {place}:\n{}",
            failure.steps.len(),
            failure.told()
        );
    }
    Some((seeds, stats))
}

#[test]
fn seeds() {
    let live = |rng, aloud| live::<Punctual>(rng, Sabotage::default(), aloud);
    let Some((seeds, stats)) = asked("maildirs", SEEDS, live, Stats::add) else {
        return;
    };
    let counts = [
        stats.operations,
        stats.scans,
        stats.frames,
        stats.overflows,
        stats.restarts,
    ];
    assert!(
        counts.iter().all(|count| *count > seeds / 10),
        "an idle world: {stats:?}"
    );
}

/// The same seed is the same history, to the last step.
#[test]
fn seeds_can_be_replayed() {
    for seed in 0..40 {
        let [one, two] = [(); 2].map(|()| {
            let mut rng = Rng::taped(seed, None);
            let setup = Setup::random(&mut rng);
            let mut world = World::<Coalescer>::new(rng, setup, Sabotage::default(), false);
            let outcome = world.run();
            let machine = world.machine.lock();
            (outcome, machine.trace.text(), world.stats.steps)
        });
        assert_eq!(one, two, "seed {seed}");
    }
}

// Tests of the test: whatever is broken on purpose must be found.

fn found_out<C: Coalesce>(what: &str, sabotage: Sabotage) {
    let (found, ..) = live_many::<C>(FOUND_IN, sabotage, 1);
    let found = found.unwrap_or_else(|| panic!("{what}: nobody noticed"));
    eprintln!("{what}: {}", found.title());
}

/// A coalescer with a defect.
struct Broken<const DEFECT: u8>(Coalescer, Vec<Change>);

/// What comes when something that is held is due already, but not yet handed out, is dropped.
const FORGETS_WHAT_IS_LATE: u8 = 0;
/// The last change stands for all.
const REPLACES: u8 = 1;
/// One folder is handed out at a time, and the others that are due go.
const HANDS_OUT_ONE: u8 = 2;

impl<const DEFECT: u8> Coalesce for Broken<DEFECT> {
    fn new(delays: Delays) -> Self {
        Broken(Coalescer::new(delays), Vec::new())
    }

    fn add(&mut self, now: Instant, change: Change) {
        let held = |it: &Change| it.folder.real == change.folder.real;
        match DEFECT {
            FORGETS_WHAT_IS_LATE if self.0.deadline().is_some_and(|at| at <= now) => {}
            REPLACES => {
                self.1.retain(|it| !held(it));
                self.1.push(change.clone());
                self.0.add(now, change);
            }
            _ => self.0.add(now, change),
        }
    }

    fn hasten(&mut self, by: Instant, only: Option<&Path>) {
        self.0.hasten(by, only);
    }

    fn due(&mut self, now: Instant) -> Vec<Change> {
        let mut due = self.0.due(now);
        match DEFECT {
            REPLACES => {
                for change in &mut due {
                    let last = |it: &Change| it.folder.real == change.folder.real;
                    if let Some(at) = self.1.iter().position(last) {
                        *change = self.1.remove(at);
                    }
                }
            }
            HANDS_OUT_ONE => due.truncate(1),
            _ => {}
        }
        due
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

#[test]
fn broken_coalescers_are_found_out() {
    let fine = Sabotage::default();
    found_out::<Broken<FORGETS_WHAT_IS_LATE>>("a coalescer that forgets", fine);
    found_out::<Broken<REPLACES>>("a coalescer that replaces", fine);
    found_out::<Broken<HANDS_OUT_ONE>>("a coalescer that drops", fine);
}

#[test]
fn a_kernel_that_loses_events_is_found_out() {
    let sabotage = Sabotage {
        kernel_loses_events: true,
        ..Sabotage::default()
    };
    found_out::<Coalescer>("a kernel that loses events", sabotage);
}

#[test]
fn a_lisp_that_acknowledges_before_it_reads_is_found_out() {
    let sabotage = Sabotage {
        lisp_acknowledges_unread: true,
        ..Sabotage::default()
    };
    found_out::<Coalescer>("a Lisp that acknowledges before it reads", sabotage);
}

#[test]
fn a_world_that_is_not_as_it_says_is_found_out() {
    let fine = Sabotage::default();
    let table = [
        (
            "mounts that nobody hears of",
            Sabotage {
                mounts_are_unheard: true,
                ..fine
            },
        ),
        (
            "another machine that passes for this one",
            Sabotage {
                far_looks_near: true,
                ..fine
            },
        ),
        (
            "a watch that passes for another",
            Sabotage {
                others_look_watched: true,
                ..fine
            },
        ),
    ];
    for (what, sabotage) in table {
        found_out::<Coalescer>(what, sabotage);
    }
}
