//! Reduced cases: what once went wrong.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use super::limits::leave_descriptors;
use super::look::{differing, list, look};
use super::overflow::{flags, many_folders};
use super::owed::{Owed, agrees, pay, probe, watching};
use super::rng::Rng;
use super::support::{Engine, again, deliver, in_namespace, is_child, kernel, maildir};
use super::{LIMIT, LIMIT_AWAY, ms};

/// A base directory, and a root `Mail` in it with these folders, watched.
pub(crate) fn small(folders: &[&str]) -> (TempDir, PathBuf, Engine) {
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
fn what_is_wrong_with_a_root_is_said_until_it_is_right() {
    // What is in its place, and what is said of that.
    type InPlace = fn(&Path);
    let table: [(InPlace, &str); 4] = [
        (|_| (), "there is no directory"),
        (|root| fs::write(root, "").unwrap(), "is not a directory"),
        (
            |root| symlink("nowhere", root).unwrap(),
            "there is no directory",
        ),
        (|root| symlink("Mail", root).unwrap(), "cannot be read"),
    ];
    let (base, root, engine) = small(&["", ".a"]);
    let away = base.path().canonicalize().unwrap().join("away");
    for (number, (put, what)) in table.into_iter().enumerate() {
        fs::rename(&root, &away).unwrap();
        put(&root);
        let told = engine.waited(LIMIT, |told| {
            let (state, text) = &told.state;
            let named = text.contains(root.to_str().unwrap()) && text.contains(":maildir");
            state == "waiting" && text.contains(what) && named
        });
        assert!(told, "{what}: {:?}", engine.told().state);
        // What comes meanwhile is told afterwards, and nothing that is away is gone.
        deliver(&away.join(".a"), &number.to_string()).unwrap();
        let time = Instant::now();
        if fs::symlink_metadata(&root).is_ok() {
            fs::remove_file(&root).unwrap();
        }
        fs::rename(&away, &root).unwrap();
        let told = engine.waited(LIMIT_AWAY, |told| {
            let well = told.state == ("watching".to_owned(), String::new());
            well && told.since(&root.join(".a"), time)
        });
        assert!(told, "{what}: {:?}", engine.told().state);
        agrees(&engine, &look(&root)).unwrap();
        tells(&engine, &root, &format!("then {number}"));
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
    if !unprivileged("cases::a_folder_that_was_unreadable_for_a_moment_is_watched") {
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
        "cases::descriptors_that_run_out_for_a_moment_cost_no_watch",
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
