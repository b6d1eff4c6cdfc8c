//! What must be told of a tree, and whether it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mailsync_module::watch::MakeBackend;

use super::LIMIT;
use super::look::{Folders, look};
use super::support::{DELAYS, Engine, LONG, Told};

/// What must be told: folders, from when on.
pub(crate) type Owed = BTreeMap<PathBuf, Instant>;

/// Folders that are owed and have not been told.  Of one that is gone, nobody need hear who was
/// never told of it.
pub(crate) fn untold(owed: &Owed, now: &Folders, told: &Told) -> Vec<PathBuf> {
    let paid = |real: &Path, time| {
        told.since(real, time) || !now.contains_key(real) && !told.alive.contains(real)
    };
    let owed = owed.iter().filter(|(real, time)| !paid(real, **time));
    owed.map(|(real, _)| real.clone()).collect()
}

/// Wait until all that is owed has been told; the longest that it took, or what never was.
pub(crate) fn pay(engine: &Engine, owed: &Owed, now: &Folders) -> Result<Duration, Vec<PathBuf>> {
    pay_within(LIMIT, engine, owed, now)
}

pub(crate) fn pay_within(
    limit: Duration,
    engine: &Engine,
    owed: &Owed,
    now: &Folders,
) -> Result<Duration, Vec<PathBuf>> {
    let paid = engine.waited(limit, |told| untold(owed, now, told).is_empty());
    let told = engine.told();
    if !paid {
        return Err(untold(owed, now, &told));
    }
    let took = owed.iter().filter_map(|(real, time)| {
        let told = told.first(real, *time)?;
        Some(told.duration_since(*time))
    });
    Ok(took.max().unwrap_or_default())
}

/// A message for every folder: is each of them still watched?
pub(crate) fn probe(engine: &Engine, root: &Path) -> Result<Duration, Vec<PathBuf>> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let mut owed = Owed::new();
    let now = look(root);
    for folder in now.keys() {
        let name = format!("probe.{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let tmp = folder.join("tmp").join(&name);
        fs::write(&tmp, "x").unwrap();
        owed.insert(folder.clone(), Instant::now());
        fs::rename(&tmp, folder.join("new").join(&name)).unwrap();
    }
    pay(engine, &owed, &now)
}

/// An engine that watches this tree, and knows what is there at first.
pub(crate) fn watching(root: &Path, backend: MakeBackend) -> Engine {
    let engine = Engine::start(root, DELAYS, backend);
    engine.wait("ready", LONG, |told| told.ready);
    engine.told().alive = look(root).into_keys().collect();
    engine
}

/// Wait until the folders that were told are those that there are.
pub(crate) fn agrees(engine: &Engine, now: &Folders) -> Result<(), BTreeSet<PathBuf>> {
    let same = |told: &Told| told.alive.iter().eq(now.keys());
    let agrees = engine.waited(LIMIT, same);
    let told = engine.told();
    agrees.then_some(()).ok_or_else(|| told.alive.clone())
}
