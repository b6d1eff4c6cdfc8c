//! Storms: what is renamed, made anew or swapped all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::look::{Contents, Folders, differing, list, look};
use super::ms;
use super::overflow::many_folders;
use super::owed::{Owed, agrees, pay, probe, watching};
use super::rng::Rng;
use super::support::{deliver, kernel, maildir};

/// What must be told of a tree into which mail was delivered: each folder, since its last message.
pub(crate) fn delivered(now: &Folders, times: &BTreeMap<OsString, Instant>) -> Owed {
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
