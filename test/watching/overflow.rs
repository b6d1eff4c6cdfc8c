//! Slow engines, slow readers, and events that are lost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;
use std::{fs, thread};

use mailsync_module::change::Kinds;
use mailsync_module::watch::MakeBackend;
use mailsync_module::watch::inbox::{Dirty, Event, HALF_LIFE, Inbox, Names};
use mailsync_module::watch::spot::Spot;

use super::look::{differing, look};
use super::ms;
use super::owed::{Owed, agrees, pay, probe, untold, watching};
use super::support::{DELAYS, Engine, LONG, again, kernel, maildir};

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
pub(crate) fn many_folders(base: &Path, count: usize) -> (PathBuf, Vec<PathBuf>) {
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
pub(crate) fn flags(folders: &[PathBuf], renames: usize) -> Owed {
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
        "overflow::an_inbox_that_nobody_takes_stays_small",
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
    let directories: Vec<Spot> = directories.iter().map(|it| it.as_path().into()).collect();
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
pub(crate) struct Gate {
    closed: Arc<AtomicBool>,
    pub(crate) overflows: Arc<AtomicU64>,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }

    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    /// The kernel's notification, with this gate behind it.
    pub(crate) fn backend(&self) -> MakeBackend {
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
pub(crate) fn queue_is_small() -> bool {
    let size = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let small = size.is_ok_and(|text| text.trim().parse().is_ok_and(|size: u64| size <= 16_384));
    if !small {
        println!("this kernel's queue takes more than is thrown at it");
    }
    small
}

/// Fill the queue, by renaming a message to and fro.
pub(crate) fn flood(folder: &Path) {
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
