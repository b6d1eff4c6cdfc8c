//! The system's limits.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, thread};

use mailsync_module::engine::status::RootStatus;

use super::look::list;
use super::overflow::many_folders;
use super::owed::watching;
use super::support::{DELAYS, Engine, LONG, Told, deliver, in_namespace, kernel, maildir};
use super::{LIMIT, ms};

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
    if !in_namespace(
        "limits::with_too_few_watches_the_rest_is_looked_at",
        "-Ur",
        shell,
    ) {
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
        "limits::without_a_watcher_all_is_looked_at_and_the_sysctl_is_named",
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
pub(crate) fn leave_descriptors(count: usize) -> Vec<File> {
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.truncate(files.len() - count);
    files
}

#[test]
fn without_descriptors_it_says_so_and_comes_back() {
    if !in_namespace(
        "limits::without_descriptors_it_says_so_and_comes_back",
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
