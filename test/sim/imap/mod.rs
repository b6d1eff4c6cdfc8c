//! IMAP, simulated: the real sessions talk in bytes to a model server that has NOTIFY, or IDLE only, or
//! neither; what they hear goes to the real core, whose keeper says when there is a connection.
//!
//! What is real: `remote::imap::session` with framer, tokenizer and snapshot, `engine::core` with
//! `remote::imap::keeper`, the scheduler or the coalescer, and the notifier; in part of the lives also
//! `watch::worker` and `watch::inbox`: [`maildirs`], on the disk of the other lives, are synced with the server.
//! What is modelled: the [`server`], the way there, which cuts bytes anywhere and may die, the thread of
//! [`line`](mod@line), Lisp, and the syncer.  [`rules`] is what has to be told, and what may be; in [`world`]
//! everything happens.
//!
//! Asserted at each step: nothing is told or synced of which nothing happened (I3), only the attempts that
//! are allowed when the server refuses somebody (I6), memory bounded by folders (I7), no deadline that has
//! passed, and no command that a server would not understand.  Asserted when all has come to rest: what
//! happened was told (I1), or synced (I2); then hours go by in which nobody wakes up but to show that
//! somebody is there (I8); then a message in each folder is told once and in time; and in the end both sides
//! know the same numbers.  Maildirs then are the same as the server, and Lisp has read of what happened there
//! last.

mod line;
mod maildirs;
mod rules;
mod server;
mod setup;
mod stats;
mod world;

use crate::rng::Rng;
use crate::{Failure, Found, asked, caught, from_environment, many};
use setup::{Sabotage, Setup, Use};
use stats::{FAULTS, Stats};
use world::{Trouble, World};

const SEEDS: u64 = 2_000;
/// Whatever is broken on purpose is found in so many.
const FOUND_IN: u64 = 1_000;

/// Live through one world.
fn live(mut rng: Rng, sabotage: Sabotage, aloud: bool) -> Result<Stats, Failure> {
    let setup = Setup::random(&mut rng);
    let mut world = World::new(rng, setup, sabotage, aloud);
    let outcome = caught(|| world.run());
    outcome.map(|()| world.counted()).map_err(|text| Failure {
        text,
        setup: format!("{:?}", world.setup),
        steps: world.trace.lines(),
    })
}

fn live_many(seeds: u64, sabotage: Sabotage, enough: u64) -> (Option<Found>, u64, Stats) {
    let live = |rng| live(rng, sabotage, false);
    many(seeds, enough, live, Stats::add)
}

/// A life without any sabotage.
pub fn plain(rng: Rng, aloud: bool) -> Result<Stats, Failure> {
    live(rng, Sabotage::None, aloud)
}

#[test]
fn seeds() {
    let Some((seeds, stats)) = asked("imap", SEEDS, plain, Stats::add) else {
        return;
    };
    let counts = [
        stats.changes,
        stats.folders,
        stats.rebuilt,
        stats.told,
        stats.told_all,
        stats.runs,
        stats.failures,
        stats.connections,
        stats.exact,
        stats.notify,
        stats.idle,
        stats.sweep,
        stats.others,
        stats.others_lost,
        stats.pokes,
        stats.refusals,
        stats.pauses,
        stats.scans,
        stats.here,
        stats.brought,
        stats.fetched,
        stats.overflows,
        stats.pushed,
        stats.idled,
        stats.listed,
        stats.rubbish,
    ];
    let idle = |counts: &[u64]| counts.iter().any(|count| *count < seeds / 20);
    assert!(
        seeds < 100 || !idle(&counts) && !idle(&stats.faults),
        "an idle world: {stats:?} ({FAULTS:?})"
    );
}

/// The same seed is the same history, to the last step, but for maildirs.
#[test]
fn seeds_can_be_replayed() {
    for seed in 0..20 {
        let [one, two] = [(); 2].map(|()| {
            let mut rng = Rng::taped(seed, None);
            let mut setup = Setup::random(&mut rng);
            if setup.used == Use::Rooted {
                // Somewhere on the way of what happens in maildirs the order of a hash still decides.
                setup.used = Use::Synced;
            }
            let mut world = World::new(rng, setup, Sabotage::None, false);
            let outcome = world.run();
            (outcome, world.trace.text(), world.stats.steps)
        });
        assert_eq!(one, two, "seed {seed}");
    }
}

/// A line that is dead, and nobody says so, is another one in time.
fn notice(seed: u64, trouble: Trouble, sabotage: Sabotage) -> Result<(), String> {
    let mut rng = Rng::taped(seed, None);
    let setup = Setup::quiet(&mut rng);
    let mut world = World::new(rng, setup, sabotage, false);
    let outcome = caught(|| world.noticed(trouble));
    outcome.map_err(|text| {
        let (setup, steps) = (&world.setup, world.trace.text());
        format!("seed {seed}, {trouble:?}: {text}\n{setup:?}\n{steps}")
    })
}

#[test]
fn a_dead_line_is_noticed_in_time() {
    let troubles = [
        Trouble::Network,
        Trouble::Sleep,
        Trouble::Nap,
        Trouble::Silence,
    ];
    for trouble in troubles {
        for seed in 0..100 {
            notice(seed, trouble, Sabotage::None).unwrap_or_else(|text| panic!("{text}"));
        }
    }
    let broken = [
        (Trouble::Network, Sabotage::NeverPokes),
        (Trouble::Sleep, Sabotage::SleepsOn),
        (Trouble::Nap, Sabotage::ForgetsHeard),
        (Trouble::Silence, Sabotage::NeverTicks),
    ];
    for (trouble, sabotage) in broken {
        let found = (0..1_000).any(|seed| notice(seed, trouble, sabotage).is_err());
        assert!(found, "{sabotage:?}: nobody noticed");
    }
}

// Tests of the test: whatever is broken on purpose must be found.

#[test]
fn a_world_that_is_not_as_it_says_is_found_out() {
    use Sabotage::{
        ClaimsAll, ForgetsSnapshot, LosesBytes, LosesEvents, NeverTicks, NotEverything,
        OthersEndQuietly, RefusalsPass, Replaces, Silent, SleepsOn, Stale, StaysTold,
    };
    let table = [
        (ForgetsSnapshot, "I3"),
        (OthersEndQuietly, "I1"),
        (StaysTold, "I1"),
        (Silent, "I1"),
        (Stale, ""),
        (RefusalsPass, "I6"),
        (NeverTicks, ""),
        (Replaces, "I1"),
        (NotEverything, "I1"),
        (LosesBytes, ""),
        (SleepsOn, "I1"),
        (LosesEvents, "I"),
        (ClaimsAll, "I"),
    ];
    let mut missed = Vec::new();
    for (sabotage, expected) in table {
        let seeds = from_environment("SEEDS").unwrap_or(FOUND_IN);
        let (found, ..) = live_many(seeds, sabotage, 1);
        let line = found.map_or_else(|| "nobody noticed".to_owned(), |it| it.title());
        eprintln!("{sabotage:?}: {line}");
        if !line.contains("SEED") || !line.contains(expected) {
            missed.push((sabotage, line));
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
