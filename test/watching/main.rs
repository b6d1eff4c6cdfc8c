//! The real engine, the real kernel and real trees: is every change told, and soon?
//!
//! What is owed is found by looking at the tree before and after each operation, with eyes that
//! share nothing with the engine's ([`look`]).
//!
//! `SEED=7 cargo test --test watching programs` repeats one random program, `SEEDS=100` runs
//! that many, from `FIRST=1` on.  `--nocapture` shows the longest time that anything waited to be told.

#[allow(dead_code)]
#[path = "../support/rng.rs"]
mod rng;
#[path = "../support/mod.rs"]
mod support;

mod cases;
mod limits;
mod look;
mod overflow;
mod owed;
mod programs;
mod storms;
mod tree;

use std::time::Duration;

/// How long a change may take to be told: the delays, and what a busy machine adds.
const LIMIT: Duration = Duration::from_millis(2 * 100 + 5000);

/// The same after the root was away for a moment: it is looked for ever more slowly, and at the
/// latest every 30 s.
const LIMIT_AWAY: Duration = Duration::from_secs(40);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
