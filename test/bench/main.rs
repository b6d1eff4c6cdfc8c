//! Numbers about the engine alone, without Emacs around it: for bench.py and guard.py, and for whoever asks.
//!
//! ```text
//! cargo bench --bench measure -- WHAT [WORDS...]
//!     watching [ROOT [RUNS]]      what a root's worker takes to begin and to look again
//!     schedule                    what the scheduler takes when thousands of folders wait
//!     unpushed [COUNT...]         what it takes to see what of so many messages is not pushed
//!     storm RATE COUNT            so many renames a second
//!     guard [SCENARIO ROUNDS]     a hot path, so many times; without words the names of all
//! ```
//!
//! One program, since to link it takes longer than all that it does.

use std::env;
use std::process::ExitCode;

mod guard;
mod schedule;
mod storm;
mod unpushed;
mod watching;

fn main() -> ExitCode {
    // Cargo adds options for a harness that this is not.
    let words = env::args().skip(1).filter(|word| !word.starts_with("--"));
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["watching", words @ ..] => watching::main(words),
        ["schedule"] => {
            schedule::main();
            Ok(())
        }
        ["unpushed", counts @ ..] => unpushed::main(counts),
        ["storm", rate, count] => storm::main(rate, count),
        ["guard", words @ ..] => guard::main(words),
        _ => Err("watching, schedule, unpushed, storm or guard".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
