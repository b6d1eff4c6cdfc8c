//! The real engine, the real kernel and real trees: is every change told, and soon?
//!
//! What is owed is found by looking at the tree before and after each operation, with eyes that
//! share nothing with the engine's (`look`).
//!
//! `SEED=7 cargo test --test watching programs` repeats one random program, `SEEDS=100` runs
//! that many.  `--nocapture` shows the longest time that anything waited to be told.

#[allow(dead_code)]
#[path = "sim/rng.rs"]
mod rng;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use std::{env, thread};

use mailsync_module::change::Kinds;
use mailsync_module::engine::status::RootStatus;
use mailsync_module::watch::MakeBackend;
use mailsync_module::watch::inbox::{Dirty, Event, HALF_LIFE, Inbox, Names};
use mailsync_module::watch::portable::Portable;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use rng::Rng;
use support::{
    DELAYS, Engine, LONG, Told, again, deliver, in_namespace, is_child, kernel, maildir,
};

/// How long a change may take to be told: the delays, and what a busy machine adds.
const LIMIT: Duration = Duration::from_millis(2 * 100 + 5000);

/// The same after the root was away for a moment: it is looked for ever more slowly, and at the
/// latest every 30 s.
const LIMIT_AWAY: Duration = Duration::from_secs(40);

/// A folder as it is: its parts' identities, and what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
    parts: [u64; 2],
    messages: BTreeSet<OsString>,
}

/// The folders of a tree, by truename.
type Folders = BTreeMap<PathBuf, Contents>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Nested,
    Plus,
    Legacy,
}

/// The folders that there are.
fn look(root: &Path) -> Folders {
    let mut folders = Folders::new();
    let Ok(root) = root.canonicalize() else {
        return folders;
    };
    let mut links = Vec::new();
    look_into(&root, Place::Root, &mut folders, &mut links);
    let mut done = 0;
    while done < links.len() {
        let (link, place): (PathBuf, Place) = links[done].clone();
        done += 1;
        if let Ok(real) = link.canonicalize()
            && !root.starts_with(&real)
            && !folders.contains_key(&real)
        {
            look_into(&real, place, &mut folders, &mut links);
        }
    }
    folders
}

fn look_into(dir: &Path, place: Place, folders: &mut Folders, links: &mut Vec<(PathBuf, Place)>) {
    let ino = |part: &str| {
        let stat = fs::metadata(dir.join(part)).ok()?;
        stat.is_dir().then(|| stat.ino())
    };
    if let (Some(new), Some(cur), Some(_)) = (ino("new"), ino("cur"), ino("tmp")) {
        let messages = ["new", "cur"].iter().flat_map(|part| list(&dir.join(part)));
        let messages = messages.collect();
        let parts = [new, cur];
        folders.insert(dir.to_owned(), Contents { parts, messages });
    }
    if place == Place::Plus {
        return;
    }
    for name in list(dir) {
        let dotted = name.as_bytes().starts_with(b".");
        if ["new", "cur", "tmp", ".nnmaildir"]
            .iter()
            .any(|it| name == *it)
        {
            continue;
        }
        let inner = match (place, dotted) {
            (Place::Root, true) => Place::Plus,
            (Place::Root | Place::Nested, false) => Place::Nested,
            (Place::Nested | Place::Legacy, true) => Place::Legacy,
            _ => continue,
        };
        let path = dir.join(name);
        let Ok(stat) = path.symlink_metadata() else {
            continue;
        };
        if stat.is_symlink() {
            links.push((path, inner));
        } else if stat.is_dir() {
            look_into(&path, inner, folders, links);
        }
    }
}

/// The names in a directory; none where it is gone.
fn list(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

/// Folders that are in one and not in the other, or not the same.
fn differing<'a>(a: &'a Folders, b: &'a Folders) -> BTreeSet<&'a PathBuf> {
    let both = a.keys().chain(b.keys());
    both.filter(|real| a.get(*real) != b.get(*real)).collect()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A tree that changes, and what has to be told of that.
struct World {
    base: PathBuf,
    root: PathBuf,
    rng: Rng,
    serial: u64,
    folders: Folders,
    /// Moments within the operation that is going on: what was about to change, and whether
    /// that is all below it, too.
    touched: Vec<(Instant, PathBuf, bool)>,
    /// What must be told, from when on.
    owed: Owed,
    log: Vec<String>,
}

impl World {
    fn new(base: &Path, rng: Rng) -> Self {
        let base = base.canonicalize().unwrap();
        let root = base.join("Mail");
        for dir in ["Mail", "build", "outside"] {
            fs::create_dir(base.join(dir)).unwrap();
        }
        for target in ["t0", "t1", "t2"] {
            maildir(&base.join("outside").join(target));
        }
        maildir(&base.join("outside/t0/sub"));
        World {
            base,
            root,
            rng,
            serial: 0,
            folders: Folders::new(),
            touched: Vec::new(),
            owed: Owed::new(),
            log: Vec::new(),
        }
    }

    fn name(&mut self) -> String {
        self.serial += 1;
        format!("{}.{}", self.serial, self.rng.below(1_000_000))
    }

    /// The next system call changes this folder.
    fn touch(&mut self, folder: &Path) {
        let now = Instant::now();
        self.touched.push((now, folder.to_owned(), false));
    }

    /// The next system call changes whatever is or lies here.
    fn touch_below(&mut self, path: &Path) {
        let now = Instant::now();
        self.touched.push((now, path.to_owned(), true));
    }

    /// See what an operation did.
    fn settle(&mut self, started: Instant) {
        let after = look(&self.root);
        for real in differing(&self.folders, &after) {
            let here = |(_, path, below): &&(Instant, PathBuf, bool)| {
                real == path || *below && real.starts_with(path)
            };
            let last = self.touched.iter().filter(here).map(|it| it.0).max();
            self.owed.insert(real.clone(), last.unwrap_or(started));
        }
        self.folders = after;
        self.touched.clear();
    }

    // Messages.

    fn deliver(&mut self, folder: &Path) -> PathBuf {
        let name = self.name();
        let (tmp, new) = (
            folder.join("tmp").join(&name),
            folder.join("new").join(&name),
        );
        fs::write(&tmp, "x").unwrap();
        self.touch(folder);
        if self.rng.once_in(2) {
            fs::rename(&tmp, &new).unwrap();
        } else {
            fs::hard_link(&tmp, &new).unwrap();
            fs::remove_file(&tmp).unwrap();
        }
        new
    }

    fn message(&mut self, folder: &Path, parts: &[&str]) -> Option<PathBuf> {
        let messages = parts.iter().flat_map(|part| {
            let dir = folder.join(part);
            list(&dir).into_iter().map(move |name| dir.join(name))
        });
        let messages: Vec<_> = messages.collect();
        (!messages.is_empty()).then(|| self.rng.choose(&messages).clone())
    }

    // Folders.

    fn any_folder(&mut self) -> Option<PathBuf> {
        let all: Vec<_> = self.folders.keys().cloned().collect();
        (!all.is_empty()).then(|| self.rng.choose(&all).clone())
    }

    /// A folder that lies in the root or in another folder.
    fn inner_folder(&mut self) -> Option<PathBuf> {
        let inner = |real: &&PathBuf| {
            let parent = real
                .parent()
                .is_some_and(|it| self.folders.contains_key(it));
            parent || real.starts_with(&self.root) && **real != self.root
        };
        let inner: Vec<_> = self.folders.keys().filter(inner).cloned().collect();
        (!inner.is_empty()).then(|| self.rng.choose(&inner).clone())
    }

    /// A path at which nothing is and a folder could be.
    fn free_path(&mut self) -> PathBuf {
        loop {
            let nested = self.folders.keys().filter_map(|real| {
                let below = real.strip_prefix(&self.root).ok()?;
                let dotted = below.iter().any(|it| it.as_bytes().starts_with(b"."));
                (!dotted && below.iter().count() < 4).then(|| real.clone())
            });
            let mut parents: Vec<_> = nested.collect();
            parents.push(self.root.clone());
            let parent = self.rng.choose(&parents).clone();
            // Any byte may be in a name, and modified UTF-7 often is.
            let names: [&[u8]; 5] = [b"a", b"b", b"&AOk-", b"d d", b"e\xff\n"];
            let name = *self.rng.choose(&names);
            let entry = match (self.rng.below(4), parent == self.root) {
                (0, _) => [b".", name].concat(),
                (1, true) => [b".", name, b".x"].concat(),
                _ => name.to_vec(),
            };
            let entry = OsString::from_vec(entry);
            let path = parent.join(entry);
            if path.symlink_metadata().is_err() {
                return path;
            }
        }
    }

    fn make(&mut self, path: &Path, messages: u64) {
        let mut parts = ["cur", "new", "tmp"];
        parts.rotate_left(self.rng.index(3));
        fs::create_dir_all(path).unwrap();
        for part in parts {
            self.touch(path);
            fs::create_dir(path.join(part)).unwrap();
        }
        for _ in 0..messages {
            self.deliver(path);
        }
    }

    /// `rm -r`
    fn remove(&mut self, path: &Path) {
        for name in list(path) {
            let entry = path.join(&name);
            let is_dir = entry.symlink_metadata().unwrap().is_dir();
            if is_dir && !["cur", "new", "tmp"].iter().any(|part| name == *part) {
                self.remove(&entry);
            } else if !is_dir {
                // A link to a folder goes.
                if let Ok(target) = entry.canonicalize() {
                    self.touch_below(&target);
                }
                fs::remove_file(&entry).unwrap();
            }
        }
        let mut whole = true;
        for part in ["cur", "new", "tmp"] {
            let dir = path.join(part);
            for name in list(&dir) {
                if whole && part != "tmp" {
                    self.touch(path);
                }
                fs::remove_file(dir.join(name)).unwrap();
            }
            if dir.exists() {
                if whole {
                    self.touch(path);
                }
                fs::remove_dir(&dir).unwrap();
            }
            whole = false;
        }
        fs::remove_dir(path).unwrap();
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        self.touch_below(from);
        self.touch_below(to);
        fs::rename(from, to).unwrap();
    }

    fn exchange(&mut self, a: &Path, b: &Path) {
        self.touch_below(a);
        self.touch_below(b);
        renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
    }

    fn pause(&mut self) {
        let pauses = [0, 0, 0, 1, 5, 30, 150];
        thread::sleep(ms(*self.rng.choose(&pauses)));
    }

    /// One random operation; says what it did.
    fn operate(&mut self) -> Option<String> {
        let started = Instant::now();
        let below =
            |path: &Path, base: &Path| path.strip_prefix(base).unwrap().display().to_string();
        let base = self.base.clone();
        let show = |path: &Path| below(path, &base);
        let kind = self.rng.below(40);
        let said = match kind {
            0..=4 => {
                let folder = self.any_folder()?;
                let message = self.deliver(&folder);
                format!("deliver {}", show(&message))
            }
            5..=7 => {
                let folder = self.any_folder()?;
                let message = self.message(&folder, &["cur"])?;
                let name = message.file_name()?.to_str()?.to_owned();
                let flagged = match name.strip_suffix('S') {
                    Some(unseen) => unseen.to_owned(),
                    None => format!("{name}S"),
                };
                self.touch(&folder);
                fs::rename(&message, message.with_file_name(&flagged)).unwrap();
                format!("flag {} -> {flagged}", show(&message))
            }
            8..=10 => {
                let folder = self.any_folder()?;
                let message = self.message(&folder, &["new"])?;
                let name = message.file_name()?.to_str()?.to_owned();
                self.touch(&folder);
                fs::rename(&message, folder.join(format!("cur/{name}:2,"))).unwrap();
                format!("new to cur {}", show(&message))
            }
            11 | 12 => {
                let folder = self.any_folder()?;
                let message = self.message(&folder, &["new", "cur"])?;
                self.touch(&folder);
                fs::remove_file(&message).unwrap();
                format!("expunge {}", show(&message))
            }
            13..=15 => {
                let (from, to) = (self.any_folder()?, self.any_folder()?);
                let message = self.message(&from, &["new", "cur"])?;
                let name = self.name();
                self.touch(&from);
                self.touch(&to);
                fs::rename(&message, to.join(format!("cur/{name}:2,S"))).unwrap();
                format!("move {} to {}", show(&message), show(&to))
            }
            16..=18 => {
                let path = self.free_path();
                let count = self.rng.below(3);
                self.make(&path, count);
                format!("make {} with {count}", show(&path))
            }
            19 => {
                // Deep, and delivered into at once: nobody can have watched it yet.
                let path = self.free_path();
                let plus = path.file_name()?.as_bytes().starts_with(b".");
                let leaf = if plus { path.clone() } else { path.join("p/q") };
                self.make(&leaf, 1);
                format!("make deep {}", show(&leaf))
            }
            20 => {
                let folder = self.inner_folder()?;
                let gone = self.base.join("build/gone");
                if gone.exists() || self.rng.once_in(2) {
                    self.remove(&folder);
                    format!("delete {}", show(&folder))
                } else {
                    self.rename(&folder, &gone);
                    format!("move out {}", show(&folder))
                }
            }
            21..=23 => {
                let from = self.inner_folder()?;
                let to = self.free_path();
                if to.starts_with(&from) {
                    return None;
                }
                self.rename(&from, &to);
                format!("rename {} to {}", show(&from), show(&to))
            }
            24 | 25 => {
                let name = self.name();
                let mut built = self.base.join("build/gone");
                if built.join("new").is_dir() {
                    self.deliver(&built);
                } else {
                    built.set_file_name(name);
                    self.make(&built, 1);
                    if self.rng.once_in(2) {
                        self.make(&built.join("in"), 1);
                    }
                }
                let path = self.free_path();
                self.rename(&built, &path);
                format!("build and rename to {}", show(&path))
            }
            26 | 27 => {
                let folder = self.inner_folder()?;
                self.remove(&folder);
                self.pause();
                self.make(&folder, 1);
                format!("delete and make again {}", show(&folder))
            }
            28 | 29 => {
                let folder = self.any_folder()?;
                let part = *self.rng.choose(&["new", "cur"]);
                let dir = folder.join(part);
                for name in list(&dir) {
                    self.touch(&folder);
                    fs::remove_file(dir.join(name)).unwrap();
                }
                self.touch(&folder);
                fs::remove_dir(&dir).unwrap();
                self.pause();
                self.touch(&folder);
                fs::create_dir(&dir).unwrap();
                self.deliver(&folder);
                format!("remove {} and make it again", show(&dir))
            }
            30 | 31 => {
                let (a, b) = (self.inner_folder()?, self.inner_folder()?);
                if a.starts_with(&b) || b.starts_with(&a) {
                    return None;
                }
                let mut said = String::from("swap");
                if self.rng.once_in(3) {
                    // There and back: whoever looked in between saw another.
                    self.exchange(&a, &b);
                    self.settle(started);
                    self.pause();
                    self.exchange(&a, &b);
                    said.push_str(" there and back");
                } else if self.rng.once_in(2) {
                    self.exchange(&a, &b);
                } else {
                    let between = self.free_path();
                    if between.starts_with(&a) || between.starts_with(&b) {
                        return None;
                    }
                    self.rename(&a, &between);
                    self.rename(&b, &a);
                    self.rename(&between, &b);
                }
                format!("{said} {} and {}", show(&a), show(&b))
            }
            32..=34 => {
                let link = self.root.join(*self.rng.choose(&[".link", "link", "l"]));
                let mut targets = vec![None, None];
                targets
                    .extend(["t0", "t1", "t2"].map(|it| Some(self.base.join("outside").join(it))));
                targets.push(self.inner_folder());
                let target = self.rng.choose(&targets).clone();
                if let Ok(old) = link.canonicalize() {
                    self.touch_below(&old);
                }
                match &target {
                    None => {
                        fs::remove_file(&link).ok()?;
                    }
                    Some(target) => {
                        let made = self.base.join("build/made");
                        symlink(target, &made).unwrap();
                        self.touch_below(target);
                        fs::rename(&made, &link).unwrap();
                    }
                }
                format!("link {} to {:?}", show(&link), target.as_deref().map(show))
            }
            35 | 36 => {
                let folder = self.any_folder()?;
                let names = [
                    "dovecot-uidlist",
                    ".mbsyncstate",
                    "maildirfolder",
                    "subscriptions",
                ];
                let name = *self.rng.choose(&names);
                let lock = folder.join(format!("{name}.lock"));
                fs::write(&lock, "x").unwrap();
                fs::rename(&lock, folder.join(name)).unwrap();
                fs::create_dir_all(folder.join(".nnmaildir/marks")).unwrap();
                format!("index {} {name}", show(&folder))
            }
            37 => {
                let away = self.base.join("away");
                fs::rename(&self.root, &away).unwrap();
                self.pause();
                let mut inside = Vec::new();
                if let Some(folder) = self.inner_folder()
                    && let Ok(below) = folder.strip_prefix(&self.root).map(Path::to_owned)
                    && self.rng.once_in(2)
                {
                    let name = self.name();
                    self.touch(&folder);
                    fs::write(away.join(&below).join("new").join(name), "x").unwrap();
                    inside.push(below);
                }
                self.pause();
                fs::rename(&away, &self.root).unwrap();
                format!("the root goes and comes back, meanwhile {inside:?}")
            }
            38 if self.rng.once_in(3) => {
                let root = self.root.clone();
                self.remove(&root);
                self.pause();
                // Never without any folder: that may be a file system that is not mounted.
                self.make(&root, 0);
                self.make(&root.join(".a"), 1);
                self.make(&root.join("b"), 1);
                "the root is deleted and made again".to_owned()
            }
            39 => {
                let root = self.root.clone();
                if self.folders.contains_key(&root) {
                    return None;
                }
                for part in ["cur", "new", "tmp"] {
                    self.touch(&root);
                    // One that is there may be the rest of a part that went.
                    let _ = fs::create_dir(root.join(part));
                }
                "the root becomes a folder".to_owned()
            }
            _ => return None,
        };
        self.settle(started);
        Some(said)
    }
}

/// What a program did, for whoever has to find out why it failed.
fn failed(seed: u64, world: &World, told: &Told, what: &str) -> ! {
    eprintln!("SEED={seed}");
    for (number, line) in world.log.iter().enumerate() {
        eprintln!("{number:4} {line}");
    }
    for frame in told.frames.iter().rev().take(12).rev() {
        eprintln!("{:?} ago: {:?}", frame.at.elapsed(), frame.text);
    }
    panic!("SEED={seed}: {what}");
}

/// What must be told: folders, from when on.
type Owed = BTreeMap<PathBuf, Instant>;

/// Folders that are owed and have not been told.  Of one that is gone, nobody need hear who was
/// never told of it.
fn untold(owed: &Owed, now: &Folders, told: &Told) -> Vec<PathBuf> {
    let paid = |real: &Path, time| {
        told.since(real, time) || !now.contains_key(real) && !told.alive.contains(real)
    };
    let owed = owed.iter().filter(|(real, time)| !paid(real, **time));
    owed.map(|(real, _)| real.clone()).collect()
}

/// Wait until all that is owed has been told; the longest that it took, or what never was.
fn pay(engine: &Engine, owed: &Owed, now: &Folders) -> Result<Duration, Vec<PathBuf>> {
    pay_within(LIMIT, engine, owed, now)
}

fn pay_within(
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
fn probe(engine: &Engine, root: &Path) -> Result<Duration, Vec<PathBuf>> {
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
fn watching(root: &Path, backend: MakeBackend) -> Engine {
    let engine = Engine::start(root, DELAYS, backend);
    engine.wait("ready", LONG, |told| told.ready);
    engine.told().alive = look(root).into_keys().collect();
    engine
}

/// Wait until the folders that were told are those that there are.
fn agrees(engine: &Engine, now: &Folders) -> Result<(), BTreeSet<PathBuf>> {
    let same = |told: &Told| told.alive.iter().eq(now.keys());
    let agrees = engine.waited(LIMIT, same);
    let told = engine.told();
    agrees.then_some(()).ok_or_else(|| told.alive.clone())
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
    let mut world = World::new(base, rng.fork());
    if rng.once_in(2) {
        let root = world.root.clone();
        world.make(&root, 0);
    }
    for _ in 0..rng.below(8) {
        let path = world.free_path();
        world.make(&path, 1);
        world.folders = look(&world.root);
    }
    world.folders = look(&world.root);
    world.touched.clear();
    let engine = watching(&world.root, backend);
    let mut worst = [Duration::ZERO; 2];
    // How many times something was told in time, and how many times late.
    let mut times = [0, 0];
    let mut done = 0;
    let mut away = false;
    let mut start = world.folders.clone();
    while done < operations {
        // One by one, or a few in a row, with or without a rest.
        let batch = *rng.choose(&[1, 1, 2, 5, 12]);
        let before = world.log.len();
        let lost = gate.filter(|_| rng.once_in(3) && !world.folders.is_empty());
        if let (Some(gate), Some((folder, _))) = (lost, world.folders.first_key_value()) {
            gate.close();
            flood(folder);
            world.log.push("(from here on, events are lost)".to_owned());
        }
        for _ in 0..batch {
            if let Some(said) = world.operate() {
                world.log.push(said);
                done += 1;
            }
        }
        if let Some(gate) = lost {
            gate.open();
            world.log.push("(up to here)".to_owned());
        }
        // Where a link led elsewhere for less time than anybody looked, it never did.  And a folder
        // of which all events are lost was not away if it is back.
        let (root, now) = (&world.root, &world.folders);
        let seen = |real: &PathBuf| lost.is_none() && real.starts_with(root);
        let same = |real: &PathBuf| !seen(real) && start.get(real) == now.get(real);
        world.owed.retain(|real, _| !same(real));
        let mut said = world.log[before..].iter();
        let was_away = away;
        away = said.any(|said| said.starts_with("the root "));
        let away = away || was_away || engine.told().state.0 != "watching";
        let limit = if away { LIMIT_AWAY } else { LIMIT };
        match pay_within(limit, &engine, &world.owed, now) {
            Ok(took) => {
                let late = took > 2 * DELAYS.longest;
                if !away && lost.is_none() {
                    times[usize::from(late)] += 1;
                }
                if late {
                    world.log.push(format!("(told after {took:?})"));
                }
                worst[0] = worst[0].max(took);
                worst[1] = worst[1].max(if away { Duration::ZERO } else { took });
            }
            Err(never) => failed(
                seed,
                &world,
                &engine.told(),
                &format!("never told: {never:?}"),
            ),
        }
        world.owed.clear();
        start = world.folders.clone();
        if rng.once_in(6) {
            engine.quiet();
            world.log.push("(quiet)".to_owned());
        }
    }
    engine.quiet();
    let watching = |told: &Told| told.state.0 == "watching";
    engine.wait("the root is back", LIMIT_AWAY, watching);
    if let Err(alive) = agrees(&engine, &world.folders) {
        let what = format!(
            "there are {:#?}, told were {alive:#?}",
            world.folders.keys()
        );
        failed(seed, &world, &engine.told(), &what);
    }
    if number("SEED").is_some() {
        println!("{:#?}", world.log);
    }
    // Within two coalesce delays; a machine that does other things may be late now and then.
    assert!(
        times[1] <= 2 + times[0] / 3,
        "seed {seed}: {} times in time, {} times late",
        times[0],
        times[1]
    );
    match probe(&engine, &world.root) {
        Ok(took) => worst.map(|it| it.max(took)),
        Err(deaf) => failed(
            seed,
            &world,
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
        None => 1..1 + number("SEEDS").unwrap_or(count),
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

// Slow engines, slow readers, and events that are lost.

/// Lines of `/proc/self/status`, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// A root with `count` folders, half of them nested in `n`, with one message each.
fn many_folders(base: &Path, count: usize) -> (PathBuf, Vec<PathBuf>) {
    let root = base.canonicalize().unwrap().join("Mail");
    let folder = |i: usize| match i % 2 {
        0 => root.join(format!(".f{i:03}")),
        _ => root.join(format!("n/f{i:03}")),
    };
    let folders: Vec<_> = (0..count).map(folder).collect();
    for folder in &folders {
        maildir(folder);
        fs::write(folder.join("cur/1:2,"), "x").unwrap();
    }
    (root, folders)
}

/// Set and remove the flag of the message in each folder in turn, so many times in all; when each
/// folder was touched last.
fn flags(folders: &[PathBuf], renames: usize) -> Owed {
    let mut owed = Owed::new();
    let names = ["cur/1:2,", "cur/1:2,S"];
    let rounds = renames / folders.len();
    for round in 0..rounds {
        for folder in folders {
            if round + 1 == rounds {
                owed.insert(folder.clone(), Instant::now());
            }
            let (from, to) = (names[round % 2], names[1 - round % 2]);
            fs::rename(folder.join(from), folder.join(to)).unwrap();
        }
    }
    owed
}

#[test]
fn a_hundred_thousand_renames_with_a_slow_reader() {
    let base = tempfile::tempdir().unwrap();
    let (root, folders) = many_folders(base.path(), 100);
    let engine = Engine::start_slowly(&root, DELAYS, kernel(), ms(300));
    engine.wait("ready", LONG, |told| told.ready);
    let most = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let before = engine.told().count;
    let owed = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let held = engine.status().held as u64;
                most.fetch_max(held, Ordering::Relaxed);
                thread::sleep(ms(5));
            }
        });
        let owed = flags(&folders, 100_000);
        over.store(true, Ordering::Relaxed);
        owed
    });
    let took = pay(&engine, &owed, &look(&root)).expect("told at last");
    // A folder can wait to be merged, wait for its turn, and be on its way; no more than that.
    let most = most.into_inner();
    assert!(most <= 3 * 100 + 10, "{most} entries held");
    let count = engine.told().count - before;
    // And a slow reader hears of each a few times, not a thousand.
    assert!(count < 100 * 100, "{count} changes told");
    println!("told after {took:?}, {count} changes, {most} held at most");
}

#[test]
fn an_inbox_that_nobody_takes_stays_small() {
    // Memory is a process's, and other tests use it, too.
    if !again(
        "an_inbox_that_nobody_takes_stays_small",
        &mut Command::new("env"),
    ) {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let (root, folders) = many_folders(base.path(), 100);
    let inbox = Arc::new(Inbox::new(|| {}));
    let mut backend = kernel()(inbox.clone()).unwrap();
    let mut directories = vec![root.clone()];
    directories.extend(
        folders
            .iter()
            .flat_map(|it| ["new", "cur"].map(|part| it.join(part))),
    );
    let directories: Vec<Arc<Path>> = directories.iter().map(|it| it.as_path().into()).collect();
    let watched = backend.watch(&directories, false);
    assert!(watched.iter().all(Result::is_ok), "{watched:?}");
    flags(&folders, 2_000);
    thread::sleep(ms(500));
    let before = resident();
    flags(&folders, 100_000);
    // Index files come and go, too.
    for i in 0..10_000 {
        let name = root.join(format!("dovecot-uidlist.{i}"));
        fs::write(&name, "").unwrap();
        fs::remove_file(&name).unwrap();
    }
    thread::sleep(ms(2000));
    let grown = resident().saturating_sub(before);
    let dirty = inbox.take(Instant::now());
    let parts = |part| folders.iter().map(move |it: &PathBuf| it.join(part));
    let flagged: BTreeSet<_> = dirty.messages.keys().cloned().collect();
    assert!(dirty.overflow || flagged == parts("cur").collect());
    assert!(dirty.overflow || dirty.places == [(root, Names::All)].into());
    assert!(dirty.messages.len() <= 2 * folders.len() && dirty.places.len() <= 2);
    assert!(grown < 8 << 20, "{grown} bytes more");
    println!("{grown} bytes more");
}

/// Stops the thread that reads the kernel's queue, which overflows then.
#[derive(Clone, Default)]
struct Gate {
    closed: Arc<AtomicBool>,
    overflows: Arc<AtomicU64>,
}

impl Gate {
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }

    fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    /// The kernel's notification, with this gate behind it.
    fn backend(&self) -> MakeBackend {
        let gate = self.clone();
        Arc::new(move |real: Arc<Inbox>| {
            let own: Arc<OnceLock<Weak<Inbox>>> = Arc::default();
            let (gate, me) = (gate.clone(), own.clone());
            let inbox = Arc::new(Inbox::new(move || {
                while gate.closed.load(Ordering::Relaxed) {
                    thread::sleep(ms(1));
                }
                if let Some(inbox) = me.get().and_then(Weak::upgrade) {
                    let now = Instant::now();
                    // A half of a rename is not waited for.
                    for time in [now, now + HALF_LIFE] {
                        let dirty = inbox.take(time);
                        gate.overflows
                            .fetch_add(dirty.overflow.into(), Ordering::Relaxed);
                        forward(dirty, &real);
                    }
                }
            }));
            let _ = own.set(Arc::downgrade(&inbox));
            kernel()(inbox)
        })
    }
}

/// Whether a flood is more than the kernel's queue can hold.
fn queue_is_small() -> bool {
    let size = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let small = size.is_ok_and(|text| text.trim().parse().is_ok_and(|size: u64| size <= 16_384));
    if !small {
        println!("this kernel's queue takes more than is thrown at it");
    }
    small
}

/// Fill the queue, by renaming a message to and fro.
fn flood(folder: &Path) {
    let names = ["cur/flood", "cur/flood:2,S"].map(|name| folder.join(name));
    fs::write(&names[0], "").unwrap();
    for i in 0..9_000 {
        fs::rename(&names[i % 2], &names[1 - i % 2]).unwrap();
    }
    fs::remove_file(&names[0]).unwrap();
}

/// Tell another inbox the same.
fn forward(dirty: Dirty, to: &Inbox) {
    for (dir, kinds) in dirty.messages {
        let one = dir.join("x");
        if kinds.contains(Kinds::NEW) {
            to.put(Event::Created(one.clone()));
        }
        if kinds.contains(Kinds::GONE) {
            to.put(Event::Removed(one.clone()));
        }
        if kinds.contains(Kinds::FLAGS) {
            to.put(Event::Moved(one.clone(), one.clone()));
        }
        if kinds.contains(Kinds::UNKNOWN) {
            to.put(Event::Odd(one));
        }
    }
    for (place, names) in dirty.places {
        match names {
            Names::Some(names) => {
                let names = names
                    .into_iter()
                    .map(|name| Event::Created(place.join(name)));
                names.for_each(|event| to.put(event));
            }
            Names::All => to.put(Event::Odd(place)),
        }
    }
    if dirty.overflow {
        to.put(Event::Overflow);
    }
    if let Some(text) = dirty.failure {
        to.put(Event::Failed(text));
    }
}

#[test]
fn a_queue_that_overflows_loses_nothing() {
    let base = tempfile::tempdir().unwrap();
    let (root, folders) = many_folders(base.path(), 120);
    let (loud, quiet) = folders.split_at(4);
    let gate = Gate::default();
    let engine = watching(&root, gate.backend());
    gate.close();
    let before = look(&root);
    let mut owed = flags(loud, 20_000);
    // The queue is full by now: none of this is in it.
    for (i, folder) in quiet.iter().enumerate() {
        let mut owe = |folder: &Path| owed.insert(folder.to_owned(), Instant::now());
        let other = folder.with_extension("o");
        match i % 6 {
            0 => {
                owe(folder);
                fs::write(folder.join("new/2"), "x").unwrap();
            }
            1 => {
                owe(folder);
                fs::rename(folder.join("cur/1:2,"), folder.join("cur/1:2,S")).unwrap();
            }
            2 => {
                owe(folder);
                owe(&other);
                fs::rename(folder, other).unwrap();
            }
            3 => {
                owe(folder);
                fs::remove_dir_all(folder).unwrap();
            }
            4 => {
                owe(&other);
                maildir(&other);
                fs::write(other.join("new/2"), "x").unwrap();
            }
            _ => {
                // Its watch is gone, nobody heard of that, and it may be the same inode again.
                fs::remove_dir_all(folder.join("new")).unwrap();
                owe(folder);
                fs::create_dir(folder.join("new")).unwrap();
                fs::write(folder.join("new/2"), "x").unwrap();
            }
        }
    }
    let now = look(&root);
    for real in differing(&before, &now) {
        assert!(owed.contains_key(real), "{}", real.display());
    }
    gate.open();
    let took = engine.waited(LONG, |told| untold(&owed, &now, told).is_empty());
    assert!(
        took,
        "never told: {:?}",
        untold(&owed, &now, &engine.told())
    );
    let overflows = gate.overflows();
    assert!(overflows > 0 || !queue_is_small());
    agrees(&engine, &now).unwrap();
    let took = probe(&engine, &root).expect("all are watched");
    println!("{overflows} overflows; watched again, told after {took:?}");
}

// Storms.

/// What must be told of a tree into which mail was delivered: each folder, since its last message.
fn delivered(now: &Folders, times: &BTreeMap<OsString, Instant>) -> Owed {
    let last = |contents: &Contents| {
        let known = contents.messages.iter().filter_map(|name| times.get(name));
        known.max().copied()
    };
    let owed = now
        .iter()
        .filter_map(|(real, it)| Some((real.clone(), last(it)?)));
    owed.collect()
}

#[test]
fn folders_that_are_renamed_all_the_time_lose_no_mail() {
    let base = tempfile::tempdir().unwrap();
    let (root, _) = many_folders(base.path(), 60);
    let engine = watching(&root, kernel());
    let mut worst = Duration::ZERO;
    let mut times = BTreeMap::new();
    for storm in 0..4 {
        let started = Instant::now();
        let before = look(&root);
        let over = AtomicBool::new(false);
        let renamed = thread::scope(|scope| {
            let renaming = scope.spawn(|| {
                let mut rng = Rng::new(storm);
                let mut renamed = Owed::new();
                for step in 0..600 {
                    let (parent, dot) = match rng.below(2) {
                        0 => (root.clone(), "."),
                        _ => (root.join("n"), ""),
                    };
                    let entries = list(&parent).into_iter();
                    let entries =
                        entries.filter(|it| it.to_string_lossy().starts_with(&format!("{dot}f")));
                    let from = parent.join(rng.choose(&entries.collect::<Vec<_>>()));
                    // Over and over the same few names, some of them free at any time.
                    let to = parent.join(format!("{dot}f{:03}", rng.below(90)));
                    let now = Instant::now();
                    let done = if to.exists() && from != to {
                        renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE)
                    } else {
                        renameat_with(CWD, &from, CWD, &to, RenameFlags::empty())
                    };
                    done.unwrap();
                    renamed.extend([(from, now), (to, now)]);
                    // The whole of `n`, from time to time, with all that is in it.
                    if step % 150 == 149 {
                        fs::rename(root.join("n"), root.join("m")).unwrap();
                        thread::sleep(ms(rng.below(3)));
                        fs::rename(root.join("m"), root.join("n")).unwrap();
                    }
                    if rng.once_in(4) {
                        thread::sleep(Duration::from_micros(rng.below(4000)));
                    }
                }
                over.store(true, Ordering::Relaxed);
                renamed
            });
            let mut rng = Rng::new(1000 + storm);
            while !over.load(Ordering::Relaxed) {
                let i = rng.below(90);
                let folder = match i % 2 {
                    0 => root.join(format!(".f{i:03}")),
                    _ => root.join(format!("n/f{i:03}")),
                };
                let name = format!("{storm}.{}", times.len());
                if let Ok(time) = deliver(&folder, &name) {
                    times.insert(OsString::from(name), time);
                }
                if rng.once_in(8) {
                    thread::sleep(Duration::from_micros(rng.below(1000)));
                }
            }
            renaming.join().unwrap()
        });
        let now = look(&root);
        let mut owed = delivered(&now, &times);
        owed.retain(|_, time| *time >= started);
        for real in differing(&before, &now) {
            let named = renamed.get(real).copied().unwrap_or(started);
            let time = owed.entry(real.clone()).or_insert(named);
            *time = named.max(*time);
        }
        match pay(&engine, &owed, &now) {
            Ok(took) => worst = worst.max(took),
            Err(never) => panic!("storm {storm}: never told: {never:?}"),
        }
        if let Err(alive) = agrees(&engine, &now) {
            let there: BTreeSet<_> = now.keys().cloned().collect();
            let odd: Vec<_> = there.symmetric_difference(&alive).collect();
            panic!("storm {storm}: told is not what is, of {odd:?}");
        }
        match probe(&engine, &root) {
            Ok(took) => worst = worst.max(took),
            Err(deaf) => panic!("storm {storm}: not watched: {deaf:?}"),
        }
    }
    println!(
        "{} messages, told after {worst:?} at the latest",
        times.len()
    );
}

#[test]
fn a_folder_made_again_a_hundred_times_tells_its_mail() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().canonicalize().unwrap().join("Mail");
    maildir(&root);
    maildir(&root.join("n"));
    let folders = [root.join(".a"), root.join("n/a"), root.join("n/a/deep/er")];
    let engine = watching(&root, kernel());
    let mut rng = Rng::new(5);
    let mut worst = Duration::ZERO;
    let mut owed = Owed::new();
    for round in 0..100 {
        for folder in &folders {
            let pauses = [0, 0, 0, 1, 1, 2, 3, 8, 25, 60];
            let _ = fs::remove_dir_all(folder);
            thread::sleep(ms(*rng.choose(&pauses)) / 4);
            maildir(folder);
            thread::sleep(ms(*rng.choose(&pauses)) / 4);
            owed.insert(
                folder.clone(),
                deliver(folder, &format!("{round}")).unwrap(),
            );
        }
        // The second folder's removal took the third along.
        let now = look(&root);
        if round % 5 == 4 {
            let took = pay(&engine, &owed, &now);
            worst = worst.max(took.unwrap_or_else(|never| panic!("round {round}: {never:?}")));
        }
    }
    agrees(&engine, &look(&root)).unwrap();
    let took = probe(&engine, &root).unwrap();
    println!("told after {:?} at the latest", worst.max(took));
}

#[test]
fn a_tree_that_grows_while_it_is_looked_at_is_found() {
    let base = tempfile::tempdir().unwrap();
    let (root, _) = many_folders(base.path(), 40);
    let engine = watching(&root, kernel());
    let mut rng = Rng::new(9);
    for round in 0..60 {
        // Never two steps at once, so that a look may fall between any two.
        let mut step = |path: &Path| {
            fs::create_dir(path).unwrap();
            thread::sleep(Duration::from_micros(rng.below(1500)));
        };
        let mut path = root.join(format!("t{round}"));
        for level in ["", "a", "b", ".c"] {
            path.push(level);
            for part in ["", "cur", "new", "tmp"] {
                step(&path.join(part));
            }
        }
        deliver(&path, "1").unwrap();
        if round % 4 == 3 {
            let now = look(&root);
            if let Err(alive) = agrees(&engine, &now) {
                let unseen: Vec<_> = now.keys().filter(|it| !alive.contains(*it)).collect();
                panic!("round {round}: never found: {unseen:?}");
            }
        }
    }
    let took = probe(&engine, &root).unwrap();
    println!("told after {took:?}");
}

/// Put a link to `target` at `link`, in place of the one that is there.
fn point(link: &Path, target: &Path) -> Instant {
    let made = link.with_extension("made");
    symlink(target, &made).unwrap();
    let time = Instant::now();
    fs::rename(&made, link).unwrap();
    time
}

#[test]
fn links_that_are_swapped_a_hundred_times_tell_where_they_lead() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let root = base.join("Mail");
    fs::create_dir(&root).unwrap();
    let trees = [base.join("one"), base.join("two")];
    for tree in &trees {
        // One is a folder of Maildir++, one a tree of nested ones.
        maildir(&tree.join("plus"));
        maildir(&tree.join("tree"));
        maildir(&tree.join("tree/in"));
    }
    let links = [(".l", "plus"), ("l", "tree")].map(|(link, to)| (root.join(link), to));
    let swap = |to: &Path| {
        links
            .iter()
            .for_each(|(link, below)| _ = point(link, &to.join(below)))
    };
    swap(&trees[0]);
    let engine = watching(&root, kernel());
    let mut rng = Rng::new(6);
    let mut worst = Duration::ZERO;
    for round in 1..=100 {
        let (old, new) = (&trees[1 - round % 2], &trees[round % 2]);
        let mut owed = Owed::new();
        let time = Instant::now();
        swap(new);
        for below in ["plus", "tree", "tree/in"] {
            owed.insert(old.join(below), time);
            owed.insert(
                new.join(below),
                deliver(&new.join(below), &format!("{round}")).unwrap(),
            );
        }
        if rng.once_in(3) {
            let now = look(&root);
            let took = pay(&engine, &owed, &now);
            worst = worst.max(took.unwrap_or_else(|never| panic!("round {round}: {never:?}")));
            agrees(&engine, &now).unwrap();
        }
        if rng.once_in(8) {
            for (link, _) in &links {
                fs::remove_file(link).unwrap();
                agrees(&engine, &look(&root)).unwrap();
            }
        }
    }
    agrees(&engine, &look(&root)).unwrap();
    let took = probe(&engine, &root).unwrap();
    println!("told after {:?} at the latest", worst.max(took));
}

/// The root is this below `way`, which is a link that is swapped between two trees.
fn swapped_under(below: &str) {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let way = base.join("way");
    let root: PathBuf = way.join(below).components().collect();
    let trees = [base.join("one"), base.join("two")];
    let folders = ["", ".a", "n/b"];
    let real = |tree: &Path, folder: &str| tree.join(below).join(folder).components().collect();
    for (tree, folder) in trees.iter().flat_map(|tree| folders.map(|it| (tree, it))) {
        let folder: PathBuf = real(tree, folder);
        maildir(&folder);
    }
    point(&way, &trees[0]);
    let engine = watching(&root, kernel());
    let mut rng = Rng::new(7);
    let mut worst = Duration::ZERO;
    for round in 1..=100 {
        let (old, new) = (&trees[1 - round % 2], &trees[round % 2]);
        let mut owed = Owed::new();
        let time = point(&way, new);
        for folder in folders {
            owed.insert(real(old, folder), time);
            let new: PathBuf = real(new, folder);
            let time = deliver(&new, &format!("{round}")).unwrap();
            owed.insert(new, time);
        }
        if rng.once_in(3) {
            let now = look(&root);
            let took = pay(&engine, &owed, &now);
            worst = worst.max(took.unwrap_or_else(|never| panic!("round {round}: {never:?}")));
            agrees(&engine, &now).unwrap();
        }
    }
    agrees(&engine, &look(&root)).unwrap();
    let took = probe(&engine, &root).unwrap();
    println!("told after {:?} at the latest", worst.max(took));
}

#[test]
fn a_root_that_is_a_link_and_is_swapped_tells_where_it_leads() {
    swapped_under("");
}

#[test]
fn a_link_on_the_way_to_a_root_may_be_swapped() {
    swapped_under("home/Mail");
}

// The system's limits.

/// The snapshot after the first look, which may come a little later than what is told of it.
fn snapshot(engine: &Engine) -> RootStatus {
    let end = Instant::now() + LONG;
    loop {
        let status = engine.root();
        if status.state != "starting" || Instant::now() > end {
            return status;
        }
        thread::sleep(ms(1));
    }
}

/// Deliver into each of the folders; those told within the limit, once `enough` are.
fn heard_of(engine: &Engine, folders: &[PathBuf], name: &str, enough: usize) -> usize {
    let start = Instant::now();
    for folder in folders {
        deliver(folder, name).unwrap();
    }
    let count = |told: &Told| folders.iter().filter(|it| told.since(it, start)).count();
    engine.waited(LIMIT, |told| count(told) >= enough);
    count(&engine.told())
}

#[test]
fn with_too_few_watches_the_rest_is_looked_at() {
    let shell = "echo 61 > /proc/sys/user/max_inotify_watches";
    if !in_namespace("with_too_few_watches_the_rest_is_looked_at", "-Ur", shell) {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let root = base.path().canonicalize().unwrap().join("Mail");
    let folders: Vec<_> = (0..60).map(|i| root.join(format!(".f{i:03}"))).collect();
    folders.iter().for_each(|folder| maildir(folder));
    let engine = watching(&root, kernel());
    let status = snapshot(&engine);
    assert_eq!(
        (status.state, status.how),
        ("watching", "mixed"),
        "{status:?}"
    );
    assert_eq!(status.folders, 60);
    assert!((50..=61).contains(&status.watches), "{status:?}");
    let (state, text) = engine.told().state.clone();
    assert_eq!(state, "watching");
    assert!(text.contains("fs.inotify.max_user_watches"), "{text}");
    // Where the watches are is the engine's business; a folder has two, a few are for places: the
    // root, and the way there.
    let fits = (status.watches - 9) / 2;
    let heard = heard_of(&engine, &folders, "1", fits);
    assert!(heard >= fits, "{heard} of {fits} heard");

    // Room is made by folders that go, and used for those that come.
    for folder in &folders[..40] {
        fs::remove_dir_all(folder).unwrap();
    }
    let rest = &folders[40..];
    engine.wait("they are gone", LIMIT, |told| {
        told.alive.len() == rest.len()
    });
    engine.wait("all is well", LIMIT, |told| told.state.1.is_empty());
    assert_eq!(engine.root().how, "kernel");
    assert_eq!(heard_of(&engine, rest, "2", rest.len()), rest.len());
    println!("{heard} folders watched of 60");
}

#[test]
fn without_a_watcher_all_is_looked_at_and_the_sysctl_is_named() {
    let shell = "echo 0 > /proc/sys/user/max_inotify_instances";
    if !in_namespace(
        "without_a_watcher_all_is_looked_at_and_the_sysctl_is_named",
        "-Ur",
        shell,
    ) {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let (root, _) = many_folders(base.path(), 6);
    let engine = watching(&root, kernel());
    let status = snapshot(&engine);
    assert_eq!(
        (status.state, status.how),
        ("watching", "poll"),
        "{status:?}"
    );
    assert_eq!((status.folders, status.watches), (6, 0));
    let (state, text) = engine.told().state.clone();
    assert_eq!(state, "watching");
    assert!(text.contains("fs.inotify.max_user_instances"), "{text}");
}

/// Open files until only so many more can be.
fn leave_descriptors(count: usize) -> Vec<File> {
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.truncate(files.len() - count);
    files
}

#[test]
fn without_descriptors_it_says_so_and_comes_back() {
    if !in_namespace(
        "without_descriptors_it_says_so_and_comes_back",
        "-Ur",
        "ulimit -n 64",
    ) {
        return;
    }
    let mut seen = BTreeSet::new();
    let open = || list(Path::new("/proc/self/fd")).len();
    let before = open();
    // The pipe and its copies take four or five, a watcher three, and a look at a directory one.
    for left in 5..=14 {
        let base = tempfile::tempdir().unwrap();
        let (root, folders) = many_folders(base.path(), 6);
        let files = leave_descriptors(left);
        let engine = Engine::start(&root, DELAYS, kernel());
        engine.wait("how it is", LONG, |told| {
            !matches!(&*told.state.0, "" | "starting")
        });
        let (state, text) = engine.told().state.clone();
        let how = snapshot(&engine).how;
        seen.insert((state.clone(), how));
        match (&*state, how) {
            ("waiting", _) => assert!(text.contains("limit of open files"), "{text}"),
            ("watching", "poll") => assert!(text.contains("limit of open files"), "{text}"),
            ("watching", "kernel") => assert_eq!(text, ""),
            _ => panic!("{left} descriptors: {state} {how} {text}"),
        }
        drop(files);
        if how == "kernel" {
            engine.wait("ready", LIMIT, |told| {
                told.ready && told.state.0 == "watching"
            });
            assert_eq!(heard_of(&engine, &folders, "1", 6), 6, "{left} descriptors");
        }
        drop(engine);
        let end = Instant::now() + LONG;
        while open() > before {
            assert!(
                Instant::now() < end,
                "an engine that has ended leaves descriptors open"
            );
            thread::sleep(ms(1));
        }
    }
    println!("{seen:?}");
    assert!(seen.contains(&("watching".to_owned(), "poll")), "{seen:?}");
    assert!(seen.iter().any(|it| it.0 == "waiting"), "{seen:?}");
    assert!(
        seen.contains(&("watching".to_owned(), "kernel")),
        "{seen:?}"
    );
}

// Reduced cases.

/// A base directory, and a root `Mail` in it with these folders, watched.
fn small(folders: &[&str]) -> (TempDir, PathBuf, Engine) {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().canonicalize().unwrap().join("Mail");
    for folder in folders {
        maildir(&root.join(folder));
    }
    let engine = watching(&root, kernel());
    (base, root, engine)
}

/// A message in this folder must be told.
fn tells(engine: &Engine, folder: &Path, name: &str) {
    let time = deliver(folder, name).unwrap();
    let told = engine.waited(LIMIT, |told| told.since(folder, time));
    assert!(told, "mail in {} is not told", folder.display());
}

#[test]
#[ignore = "the kernel tells nothing of a removed directory that is open; only its parent would"]
fn a_part_that_is_replaced_while_somebody_reads_it_is_watched() {
    let (_base, root, engine) = small(&["", ".a"]);
    let folder = root.join(".a");
    tells(&engine, &folder, "1");
    let held = File::open(folder.join("new")).unwrap();
    fs::remove_dir_all(folder.join("new")).unwrap();
    fs::create_dir(folder.join("new")).unwrap();
    engine.quiet();
    tells(&engine, &folder, "2");
    drop(held);
}

#[test]
fn a_root_that_goes_in_the_middle_of_something_is_soon_found_again() {
    let (base, root, engine) = small(&["", ".a"]);
    let away = base.path().canonicalize().unwrap().join("away");
    for round in 0..6 {
        let out = root.join(format!(".out{round}"));
        maildir(&out);
        engine.quiet();
        // Each of these three has it look for the root, which is gone.
        maildir(&root.join(format!(".b{round}")));
        fs::rename(&out, away.with_file_name(format!("out{round}"))).unwrap();
        fs::rename(&root, &away).unwrap();
        thread::sleep(ms(100));
        fs::rename(&away, &root).unwrap();
        tells(&engine, &root, &format!("{round}"));
    }
}

#[test]
fn a_root_that_is_replaced_while_somebody_reads_it_is_watched() {
    let (_base, root, engine) = small(&["", ".a"]);
    tells(&engine, &root, "1");
    for name in list(&root) {
        fs::remove_dir_all(root.join(name)).unwrap();
    }
    engine.quiet();
    let held = File::open(&root).unwrap();
    fs::remove_dir(&root).unwrap();
    maildir(&root);
    engine.quiet();
    tells(&engine, &root, "2");
    drop(held);
}

#[test]
fn the_directory_that_a_link_leads_to_may_be_replaced() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let root = base.join("Mail");
    let target = base.join("outside/a");
    maildir(&root);
    maildir(&target);
    symlink(&target, root.join(".a")).unwrap();
    let engine = watching(&root, kernel());
    tells(&engine, &target, "1");
    fs::rename(&target, base.join("outside/old")).unwrap();
    maildir(&target);
    engine.quiet();
    tells(&engine, &target, "2");
}

#[test]
fn the_directory_that_a_link_leads_to_may_come_later() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let root = base.join("Mail");
    let target = base.join("outside/a");
    maildir(&root);
    fs::create_dir(base.join("outside")).unwrap();
    symlink(&target, root.join("a")).unwrap();
    let engine = watching(&root, kernel());
    maildir(&target);
    engine.quiet();
    tells(&engine, &target, "1");
}

#[test]
fn the_directory_that_a_root_is_in_may_be_replaced() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let root = base.join("home/Mail");
    maildir(&root);
    let engine = watching(&root, kernel());
    tells(&engine, &root, "1");
    fs::rename(base.join("home"), base.join("old")).unwrap();
    maildir(&root);
    engine.quiet();
    tells(&engine, &root, "2");
}

#[test]
fn folders_swapped_there_and_back_are_in_doubt() {
    let base = tempfile::tempdir().unwrap();
    let (root, folders) = many_folders(base.path(), 4);
    // Old enough for stamps to say that nothing has happened in them, which is true.
    thread::sleep(ms(2200));
    let engine = watching(&root, kernel());
    for pair in folders.chunks(2) {
        let exchange = || renameat_with(CWD, &pair[0], CWD, &pair[1], RenameFlags::EXCHANGE);
        exchange().unwrap();
        let time = Instant::now();
        exchange().unwrap();
        // Whoever looked in between saw another.
        let owed: Owed = pair.iter().map(|it| (it.clone(), time)).collect();
        pay(&engine, &owed, &look(&root)).unwrap();
    }
}

#[test]
fn a_root_that_is_exchanged_tells_what_is_in_it() {
    let (base, root, engine) = small(&["", ".a", "n/b"]);
    let other = base.path().canonicalize().unwrap().join("other");
    for folder in ["", ".a", "n/c"] {
        maildir(&other.join(folder));
    }
    let mut rng = Rng::new(8);
    for round in 0..100 {
        let before = look(&root);
        let time = Instant::now();
        renameat_with(CWD, &root, CWD, &other, RenameFlags::EXCHANGE).unwrap();
        let now = look(&root);
        let mut owed: Owed = (differing(&before, &now).into_iter())
            .map(|real| (real.clone(), time))
            .collect();
        for real in now.keys() {
            owed.insert(real.clone(), deliver(real, &format!("{round}")).unwrap());
        }
        if rng.once_in(4) {
            let now = look(&root);
            pay(&engine, &owed, &now).unwrap_or_else(|never| panic!("round {round}: {never:?}"));
            agrees(&engine, &now).unwrap();
        }
    }
    agrees(&engine, &look(&root)).unwrap();
    probe(&engine, &root).unwrap();
}

/// Run this test again in a child that has no privilege, if this one has; true where it has none.
fn unprivileged(test: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0);
    if fs::read_dir(dir.path()).is_err() {
        return true;
    }
    if is_child() {
        println!("skipped: no way to be without privileges");
        return false;
    }
    again(test, Command::new("unshare").arg("-U"))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_was_unreadable_for_a_moment_is_watched() {
    if !unprivileged("a_folder_that_was_unreadable_for_a_moment_is_watched") {
        return;
    }
    let (_base, root, engine) = small(&["", ".a", "n/b"]);
    tells(&engine, &root.join(".a"), "1");
    tells(&engine, &root.join("n/b"), "1");
    for closed in [".a", "n"] {
        set_mode(&root.join(closed), 0);
    }
    // Something has it look.
    maildir(&root.join(".c"));
    tells(&engine, &root.join(".c"), "1");
    for closed in [".a", "n"] {
        set_mode(&root.join(closed), 0o755);
    }
    engine.quiet();
    tells(&engine, &root.join(".a"), "2");
    tells(&engine, &root.join("n/b"), "2");
}

#[test]
fn descriptors_that_run_out_for_a_moment_cost_no_watch() {
    if !in_namespace(
        "descriptors_that_run_out_for_a_moment_cost_no_watch",
        "-Ur",
        "ulimit -n 64",
    ) {
        return;
    }
    let (_base, root, engine) = small(&["", ".a"]);
    tells(&engine, &root.join(".a"), "1");
    fs::write(root.join("message"), "x").unwrap();
    let files = leave_descriptors(0);
    // Something has it look, and it can not.
    maildir(&root.join(".b"));
    thread::sleep(ms(300));
    // What has been watched goes on to be told.
    let time = Instant::now();
    fs::rename(root.join("message"), root.join(".a/new/2")).unwrap();
    let told = engine.waited(ms(400), |told| told.since(&root.join(".a"), time));
    assert!(told, "{:?}", engine.told().state);
    drop(files);
    engine.wait("b", LIMIT, |told| told.alive.contains(&root.join(".b")));
}

#[test]
fn a_flood_is_told_and_holds_nothing_up() {
    let base = tempfile::tempdir().unwrap();
    let (root, folders) = many_folders(base.path(), 20);
    let engine = watching(&root, kernel());
    let over = AtomicBool::new(false);
    let worst = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                flags(&folders, 40);
                thread::sleep(ms(1));
            }
        });
        let mut worst = Duration::ZERO;
        for i in 0..20 {
            let folder = root.join(format!(".new{i}"));
            maildir(&folder);
            let time = deliver(&folder, "1").unwrap();
            // Those in the flood are never quiet, and are told all the same.
            let told = engine.waited(LIMIT, |told| {
                told.since(&folder, time) && folders.iter().all(|it| told.since(it, time))
            });
            worst = worst.max(time.elapsed());
            if !told {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        worst
    });
    println!("told after {worst:?} at the latest");
    assert!(worst < LIMIT);
}
