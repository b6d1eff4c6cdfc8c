//! Lives that failed once, as files: `cases/KIND-NAME` is the tape of a life, below its story.
//!
//! They are lived again by each run.  Most of those that are there show bugs which `test/planted.py` plants,
//! each in few steps; it says of which this is so no longer, since lives have changed.  Others showed bugs
//! that were real: the file of a life that fails by itself is left below the build's temporary directory, and
//! is moved here with a name that says what was wrong.  `CASE=KIND-NAME` lives that one alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::punctual::Punctual;
use crate::rng::{Rng, Tape};
use crate::world::Sabotage;
use crate::{Failure, live, syncs};

/// Where cases are kept.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/test/sim/cases");

/// Write down what failed; says where.
pub fn leave(kind: &str, seed: u64, tape: &Tape, failure: &Failure) -> String {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{kind}-{seed}"));
    match fs::write(&place, text(tape, failure)) {
        Ok(()) => format!("left as {}", place.display()),
        Err(error) => format!("not left as {}: {error}", place.display()),
    }
}

/// A case: its story, which nothing reads again, and the tape.
fn text(tape: &Tape, failure: &Failure) -> String {
    let told = failure.told();
    let story = told.lines().map(|line| format!("# {line}\n"));
    story.collect::<String>() + &tape.text()
}

/// Live through a case of this kind.
fn again(kind: &str, tape: Tape) -> Result<(), Failure> {
    let rng = Rng::taped(0, Some(tape));
    match kind {
        "maildirs" => live::<Punctual>(rng, Sabotage::default(), false).map(drop),
        "syncs" => syncs::plain(rng, false).map(drop),
        "listened" => syncs::listened_to(rng, false).map(drop),
        "looks" => syncs::looked_at(rng, false).map(drop),
        #[cfg(feature = "imap")]
        "imap" => crate::imap::plain(rng, false).map(drop),
        #[cfg(not(feature = "imap"))]
        "imap" => Ok(()),
        _ => panic!("no kind of life: {kind}"),
    }
}

fn kept() -> Vec<PathBuf> {
    let entries = fs::read_dir(KEPT).expect(KEPT);
    let mut paths: Vec<PathBuf> = entries.map(|it| it.expect(KEPT).path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_failed_once_does_not_fail() {
    let cases = kept();
    let only = std::env::var("CASE").ok();
    let mut lived = 0;
    for path in cases {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        lived += 1;
        let (kind, _) = name.split_once('-').expect(&name);
        let text = fs::read_to_string(&path).expect(&name);
        let tape = Tape::read(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Err(failure) = again(kind, tape) {
            panic!("{name} fails: {}", failure.told());
        }
    }
    assert!(lived > 0, "no such case in {KEPT}");
}
