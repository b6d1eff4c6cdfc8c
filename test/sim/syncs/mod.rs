//! Syncing, simulated: the real core with its scheduler between a model Lisp that checks folders,
//! a model syncer with its server, and users on both sides.  In half of the lives a model watcher tells
//! what happens on the server, late or never: a folder that it tells of is synced at once, and each of its
//! connections asks for everything.  In lives of their own, a program listens to what Lisp has checked.
//!
//! What is real: `engine::core` with scheduler, coalescer, notifier and ledger; `watch::inbox`, and with
//! it what names of messages claim; the frames' bytes.  What is modelled: the worker (it only ever
//! reports folders), the runner with its processes, the lock, Lisp, and the server.  [`mail`] is
//! what lies where, [`rules`] what the scheduler may do and must; in [`world`] everything happens.
//!
//! Asserted at each step: [`rules`] (I3 to I6), no deadline that has passed, memory bounded by
//! folders (I7).  Asserted when all has come to rest: the server knows what is here (I2), every
//! request is answered, and nothing ticks but the poll (I8).
//!
//! A syncer leaves a mark beside its record before it does anything in a folder, and writes the
//! record when it is done; it, and Emacs, may end between any two steps of a run or a look.

mod mail;
mod rules;
mod world;

use crate::rng::Rng;
use crate::{Failure, Found, asked, caught, from_environment, many};
use world::{Sabotage, Setup, Stats, World};

const SEEDS: u64 = 2_000;
const SEEDS_LOOKED_AT: u64 = 1_000;
const SEEDS_LISTENED_TO: u64 = 1_000;
/// Whatever is broken on purpose is found in so many.
const FOUND_IN: u64 = 400;

/// What the circumstances of a life are drawn from.
type Kind = fn(&mut Rng) -> Setup;

/// Live through one world.
fn live(mut rng: Rng, kind: Kind, sabotage: Sabotage, aloud: bool) -> Result<Stats, Failure> {
    let setup = kind(&mut rng);
    let mut world = World::new(rng, setup, sabotage, aloud);
    let outcome = caught(|| world.run());
    outcome.map(|()| world.stats).map_err(|text| Failure {
        text,
        setup: format!("{:?}", world.setup),
        steps: world.trace.lines(),
    })
}

fn live_many(
    seeds: u64,
    kind: Kind,
    sabotage: Sabotage,
    enough: u64,
) -> (Option<Found>, u64, Stats) {
    let live = |rng| live(rng, kind, sabotage, false);
    many(seeds, enough, live, Stats::add)
}

/// A life of this kind without any sabotage.
pub fn plain(rng: Rng, aloud: bool) -> Result<Stats, Failure> {
    live(rng, Setup::random, Sabotage::None, aloud)
}

/// As above.
pub fn looked_at(rng: Rng, aloud: bool) -> Result<Stats, Failure> {
    live(rng, Setup::looked_at, Sabotage::None, aloud)
}

/// As above.
pub fn listened_to(rng: Rng, aloud: bool) -> Result<Stats, Failure> {
    live(rng, Setup::listened_to, Sabotage::None, aloud)
}

#[test]
fn seeds() {
    let Some((seeds, stats)) = asked("syncs", SEEDS, plain, Stats::add) else {
        return;
    };
    let counts = [
        stats.runs,
        stats.failures,
        stats.partial,
        stats.ended,
        stats.checks,
        stats.lost_checks,
        stats.splits,
        stats.fetched,
        stats.sent,
        stats.unsigned,
        stats.restarts,
        stats.crashes,
        stats.torn,
        stats.busy,
        stats.once,
        stats.connections,
        stats.told_far,
    ];
    assert!(
        seeds < 100 || counts.iter().all(|count| *count > seeds / 10),
        "an idle world: {stats:?}"
    );
}

/// Those in which most depends on what looks see.
#[test]
fn seeds_that_are_looked_at() {
    let Some((seeds, stats)) = asked("looks", SEEDS_LOOKED_AT, looked_at, Stats::add) else {
        return;
    };
    let crashed = [stats.crashed_runs, stats.crashed_looks].map(|count| count * 10);
    let counts = [stats.looks, stats.torn, stats.busy, crashed[0], crashed[1]];
    assert!(
        seeds < 100 || counts.iter().all(|count| *count > seeds),
        "hardly a look: {stats:?}"
    );
}

/// Those in which another program is told what was checked.
#[test]
fn seeds_that_are_listened_to() {
    let Some((seeds, stats)) = asked("listened", SEEDS_LISTENED_TO, listened_to, Stats::add) else {
        return;
    };
    let counts = [stats.listeners, stats.passed_on, stats.silences * 4];
    assert!(
        seeds < 100 || counts.iter().all(|count| *count > seeds),
        "hardly anybody hears anything: {stats:?}"
    );
}

/// The same seed is the same history, to the last step.
#[test]
fn seeds_can_be_replayed() {
    for seed in 0..20 {
        let [one, two] = [(); 2].map(|()| {
            let mut rng = Rng::taped(seed, None);
            let setup = Setup::random(&mut rng);
            let mut world = World::new(rng, setup, Sabotage::None, false);
            let outcome = world.run();
            (outcome, world.trace.text(), world.stats.steps)
        });
        assert_eq!(one, two, "seed {seed}");
    }
}

// Tests of the test: whatever is broken on purpose must be found.

fn found_out(what: &str, sabotage: Sabotage, expected: &str) {
    found_out_in(Setup::random, FOUND_IN, what, sabotage, expected);
}

fn found_out_in(kind: Kind, most: u64, what: &str, sabotage: Sabotage, expected: &str) {
    let seeds = from_environment("SEEDS").unwrap_or(most);
    let (found, ..) = live_many(seeds, kind, sabotage, 1);
    let found = found.unwrap_or_else(|| panic!("{what}: nobody noticed"));
    let line = found.title();
    eprintln!("{sabotage:?}: {line}");
    assert!(line.contains(expected), "{what}: {}", found.failure.told());
}

#[test]
fn a_world_that_is_not_as_it_says_is_found_out() {
    use Sabotage::{
        AnswersUnseen, BelievesBusy, ClaimsAll, ClaimsByTime, ForgetsResidue, LeavesBe, Lies,
        LockForAll, LooksBehind, TellsLate,
    };
    found_out("a syncer that only says that it works", Lies, "I2");
    found_out(
        "a Lisp that has checked what is to come",
        AnswersUnseen,
        "I4",
    );
    // What is taken for the syncer's is not synced, and its check not waited for (I2, I4).
    found_out("a user who passes for the syncer", ClaimsAll, ": I");
    found_out("what happens during a run", ClaimsByTime, "I2");
    found_out("a lock that everybody has", LockForAll, "I5");
    // What is taken for pushed is not waited for, either.
    found_out("a look at what was before", LooksBehind, ": I");
    found_out("a run that is believed", LeavesBe, "I2");
    found_out("a residue that is no residue", ForgetsResidue, "I3");
    let found_out = |what, sabotage, expected| {
        // It takes a change at the right moment of a run by hand at the right moment of a look.
        found_out_in(Setup::looked_at, 5 * FOUND_IN, what, sabotage, expected);
    };
    found_out("a look at what is being written", BelievesBusy, "I2");
    found_out("a look that somebody has disturbed", TellsLate, "I2");
}

/// What comes of so many lives, none of which may fail.
fn harmless(sabotage: Sabotage) -> Stats {
    harmless_in(Setup::unwatched, sabotage)
}

fn harmless_in(kind: Kind, sabotage: Sabotage) -> Stats {
    let seeds = from_environment("SEEDS").unwrap_or(FOUND_IN / 4);
    let (found, _, stats) = live_many(seeds, kind, sabotage, 1);
    if let Some(found) = found {
        panic!("{sabotage:?}: {}\n{}", found.title(), found.failure.told());
    }
    stats
}

/// What is told twice does no harm; nor do echoes that nobody knows for such: they cost some runs
/// that find nothing, which make no echo.
#[test]
fn echoes_are_harmless() {
    let runs = harmless(Sabotage::None).runs;
    harmless(Sabotage::Repeats);
    let more = harmless(Sabotage::ClaimsNothing).runs;
    eprintln!("{runs} runs, {more} if no echo is known for one");
    assert!(more > runs, "the sabotage does nothing: {more} of {runs}");
    assert!(more < runs * 2, "echoes of echoes: {more} of {runs}");
}

/// A look knows what it does not see by when it was asked for, and not by the order of its steps:
/// names that are the same as in a record which was read after them have all that was queued
/// before, and were agreed on by then.  Names that were listed before the look was asked for are
/// another thing, and are found out ([`Sabotage::LooksBehind`]).
#[test]
fn a_look_may_list_names_first() {
    let looks = harmless_in(Setup::looked_at, Sabotage::ListsFirst).looks;
    assert!(looks > FOUND_IN, "it hardly looks: {looks}");
}

/// What happens here is one sync, and so is what the user asks for: what the syncer and Gnus make of
/// it is not synced again, where the syncer keeps a record.
#[test]
fn each_thing_is_synced_once() {
    const HAPPENINGS: u64 = 120;
    let runs = |seed, records| {
        let mut rng = Rng::new(seed);
        let setup = Setup::slow(&mut rng, records);
        let mut world = World::new(rng, setup, Sabotage::None, false);
        let outcome = world.run_slowly(HAPPENINGS);
        outcome.unwrap_or_else(|text| panic!("seed {seed}: {text}"));
        world.stats.runs
    };
    let (mut with, mut without) = (0, 0);
    for seed in 0..20 {
        let seeded = runs(seed, true);
        assert!(
            seeded <= HAPPENINGS,
            "seed {seed}: {seeded} runs for {HAPPENINGS} things"
        );
        with += seeded;
        without += runs(seed, false);
    }
    eprintln!("{with} runs, {without} without records");
    assert!(with * 3 <= without * 2, "{with} runs, {without} without");
}
