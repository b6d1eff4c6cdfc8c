//! Random programs of operations on a tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, thread};

use mailsync_module::watch::MakeBackend;
use mailsync_module::watch::portable::Portable;

use super::look::look;
use super::overflow::{Gate, flood, queue_is_small};
use super::owed::{agrees, pay_within, probe, watching};
use super::rng::Rng;
use super::support::{DELAYS, Told, kernel};
use super::tree::Tree;
use super::{LIMIT, LIMIT_AWAY};

/// What a program did, for whoever has to find out why it failed.
fn failed(seed: u64, tree: &Tree, told: &Told, what: &str) -> ! {
    eprintln!("SEED={seed}");
    for (number, line) in tree.log.iter().enumerate() {
        eprintln!("{number:4} {line}");
    }
    for frame in told.frames.iter().rev().take(12).rev() {
        eprintln!("{:?} ago: {:?}", frame.at.elapsed(), frame.text);
    }
    panic!("SEED={seed}: {what}");
}

/// Run one program; the longest that it took to tell anything, and anything but what happened
/// while there was no root.
fn program(
    seed: u64,
    base: &Path,
    operations: usize,
    backend: MakeBackend,
    gate: Option<&Gate>,
) -> [Duration; 2] {
    let mut rng = Rng::new(seed);
    let mut tree = Tree::new(base, rng.fork());
    if rng.once_in(2) {
        let root = tree.root.clone();
        tree.make(&root, 0);
    }
    for _ in 0..rng.below(8) {
        let path = tree.free_path();
        tree.make(&path, 1);
        tree.folders = look(&tree.root);
    }
    tree.folders = look(&tree.root);
    tree.touched.clear();
    let engine = watching(&tree.root, backend);
    let mut worst = [Duration::ZERO; 2];
    // How many times something was told in time, and how many times late.
    let mut times = [0, 0];
    let mut done = 0;
    let mut away = false;
    let mut start = tree.folders.clone();
    while done < operations {
        // One by one, or a few in a row, with or without a rest.
        let batch = *rng.choose(&[1, 1, 2, 5, 12]);
        let before = tree.log.len();
        let lost = gate.filter(|_| rng.once_in(3) && !tree.folders.is_empty());
        if let (Some(gate), Some((folder, _))) = (lost, tree.folders.first_key_value()) {
            gate.close();
            flood(folder);
            tree.log.push("(from here on, events are lost)".to_owned());
        }
        for _ in 0..batch {
            if let Some(said) = tree.operate() {
                tree.log.push(said);
                done += 1;
            }
        }
        if let Some(gate) = lost {
            gate.open();
            tree.log.push("(up to here)".to_owned());
        }
        // Where a link led elsewhere for less time than anybody looked, it never did.  And a folder
        // of which all events are lost was not away if it is back.
        let (root, now) = (&tree.root, &tree.folders);
        let seen = |real: &PathBuf| lost.is_none() && real.starts_with(root);
        let same = |real: &PathBuf| !seen(real) && start.get(real) == now.get(real);
        tree.owed.retain(|real, _| !same(real));
        let mut said = tree.log[before..].iter();
        let was_away = away;
        away = said.any(|said| said.starts_with("the root "));
        let away = away || was_away || engine.told().state.0 != "watching";
        let limit = if away { LIMIT_AWAY } else { LIMIT };
        match pay_within(limit, &engine, &tree.owed, now) {
            Ok(took) => {
                let late = took > 2 * DELAYS.longest;
                if !away && lost.is_none() {
                    times[usize::from(late)] += 1;
                }
                if late {
                    tree.log.push(format!("(told after {took:?})"));
                }
                worst[0] = worst[0].max(took);
                worst[1] = worst[1].max(if away { Duration::ZERO } else { took });
            }
            Err(never) => failed(
                seed,
                &tree,
                &engine.told(),
                &format!("never told: {never:?}"),
            ),
        }
        tree.owed.clear();
        start = tree.folders.clone();
        if rng.once_in(6) {
            engine.quiet();
            tree.log.push("(quiet)".to_owned());
        }
    }
    engine.quiet();
    let watching = |told: &Told| told.state.0 == "watching";
    engine.wait("the root is back", LIMIT_AWAY, watching);
    if let Err(alive) = agrees(&engine, &tree.folders) {
        let what = format!("there are {:#?}, told were {alive:#?}", tree.folders.keys());
        failed(seed, &tree, &engine.told(), &what);
    }
    if number("SEED").is_some() {
        println!("{:#?}", tree.log);
    }
    // Within two coalesce delays; a machine that does other things may be late now and then.
    assert!(
        times[1] <= 2 + times[0] / 3,
        "seed {seed}: {} times in time, {} times late",
        times[0],
        times[1]
    );
    match probe(&engine, &tree.root) {
        Ok(took) => worst.map(|it| it.max(took)),
        Err(deaf) => failed(
            seed,
            &tree,
            &engine.told(),
            &format!("not watched: {deaf:?}"),
        ),
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// Do this for each of the seeds that the user wants, or so many; two at a time, since most of
/// the time is spent waiting.
fn seeds(count: u64, one: impl Fn(u64, &Path) + Sync) {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("FIRST").unwrap_or(1);
            first..first + number("SEEDS").unwrap_or(count)
        }
    };
    let next = AtomicU64::new(seeds.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return;
            }
            // Another file system has other stamps and other inodes.
            let shm = Path::new("/dev/shm");
            let base = match seed % 2 {
                1 if shm.is_dir() => tempfile::tempdir_in(shm).unwrap(),
                _ => tempfile::tempdir().unwrap(),
            };
            one(seed, base.path());
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
}

#[test]
fn programs_of_file_operations_are_told_in_time() {
    seeds(6, |seed, base| {
        let [all, there] = program(seed, base, 60, kernel(), None);
        println!("seed {seed}: told after {all:?} at most, {there:?} while there was a root");
    });
}

/// What other systems have to use, as far as this one's kernel can show.
#[test]
fn programs_are_told_in_time_by_the_portable_backend_too() {
    seeds(4, |seed, base| {
        let portable: MakeBackend = Arc::new(Portable::start);
        let [all, there] = program(seed, base, 40, portable, None);
        println!("seed {seed}: told after {all:?} at most, {there:?} while there was a root");
    });
}

#[test]
fn programs_in_which_events_are_lost_are_told_in_time() {
    let overflows = AtomicU64::new(0);
    seeds(4, |seed, base| {
        let gate = Gate::default();
        let [all, _] = program(seed, base, 40, gate.backend(), Some(&gate));
        println!("seed {seed}: told after {all:?} at most");
        overflows.fetch_add(gate.overflows(), Ordering::Relaxed);
    });
    let overflows = overflows.into_inner();
    println!("{overflows} overflows");
    assert!(overflows > 0 || number("SEED").is_some() || !queue_is_small());
}
