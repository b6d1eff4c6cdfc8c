//! An account's maildirs, its syncer and its locks, each within a bounded time.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rustix::fs::{Access, access};

use super::facts::{Account, Folder, Found, Root, Syncer, There, Tree};
use super::fields;
use super::findings::{self, fact};
use crate::change::AccountId;
use crate::engine::actor::MakeFs;
use crate::engine::config::{AccountConfig, RootConfig, SyncConfig};
use crate::errand::patience::ask;
use crate::maildir::{Fs, Layout, RootError, Scan, discover};
use crate::syncer::inspect::{Inspection, called, inspect, program};
use crate::syncer::lock::{Key, look};
use crate::syncer::{Order, Scope};

/// Examine these accounts.
///
/// # Errors
/// When the system gives no thread.
pub fn examine(
    accounts: &[AccountConfig],
    runtime: Option<&PathBuf>,
    fs: &MakeFs,
) -> Result<Vec<Vec<u8>>> {
    let places = places(accounts, fs)?;
    let watched: Vec<PathBuf> = places.iter().flatten().flatten().cloned().collect();
    let mut found = found(accounts, &places, &watched, fs)?.into_iter();
    let owners = accounts
        .iter()
        .flat_map(|it| it.roots.iter().map(move |_| it));
    let shared = |owner: &AccountConfig, real: Option<&PathBuf>| {
        let others = owners.clone().zip(&places);
        let others = others.filter(|(other, place)| {
            real.is_some()
                && place.as_ref().and_then(Option::as_ref) == real
                && other.name != owner.name
        });
        others.map(|(other, _)| other.name.clone()).collect()
    };
    let mut places = places.iter();
    let facts = accounts.iter().map(|account| {
        let roots = account.roots.iter().map(|root| {
            let place = places.next().and_then(Option::as_ref);
            Root {
                spelled: root.directory.clone(),
                layout: root.layout,
                poll: root.poll,
                shared: shared(account, place.and_then(Option::as_ref)),
                found: found.next().flatten().unwrap_or(Found::Silent),
            }
        });
        Account {
            name: account.name.clone(),
            roots: roots.collect(),
            process: std::process::id(),
            watched: watched.clone(),
            ..Account::default()
        }
    });
    let mut facts: Vec<Account> = facts.collect();
    let questions = accounts.iter().zip(&facts);
    let questions: Vec<_> = questions
        .map(|(account, facts)| {
            let sync = account.sync.clone()?;
            let order = order(account, &sync);
            Some((sync, order, folders(facts), key(facts)))
        })
        .collect();
    let runtime = runtime.cloned();
    let syncers = ask(questions, move |question, tell| {
        if let Some((sync, order, folders, key)) = question {
            let lock = look::look(&key, runtime.as_deref());
            tell((lock, None));
            tell((lock, Some(syncer(&sync, &order, &folders))));
        }
    })?;
    for ((facts, account), answer) in facts.iter_mut().zip(accounts).zip(syncers.answers()) {
        let (lock, syncer) = answer.unwrap_or_default();
        facts.lock = lock;
        facts.syncer = syncer.or_else(|| Some(hung(&account.sync.as_ref()?.syncer)));
    }
    let findings = facts.iter().flat_map(findings::account).collect();
    let mut answer = fields(findings);
    answer.extend(facts.iter().flat_map(for_lisp));
    Ok(answer)
}

/// The truenames of all roots: `None` where one has not answered, `Some(None)` where there is none.
fn places(accounts: &[AccountConfig], fs: &MakeFs) -> Result<Vec<Option<Option<PathBuf>>>> {
    let make = fs.clone();
    let all = accounts.iter().flat_map(|it| &it.roots);
    let all = all.map(|root| root.directory.clone()).collect();
    let places = ask(all, move |it: PathBuf, tell| {
        tell(make().canonicalize(&it).ok());
    })?;
    Ok(places.answers())
}

/// How all roots are; the longest wins where they nest.
fn found(
    accounts: &[AccountConfig],
    places: &[Option<Option<PathBuf>>],
    watched: &[PathBuf],
    fs: &MakeFs,
) -> Result<Vec<Option<Found>>> {
    let make = fs.clone();
    let watched = watched.to_vec();
    let all = accounts.iter().flat_map(|it| &it.roots).zip(places);
    // Who has not answered is not asked again: that would hang, too.
    let all = all.map(|(root, place)| place.is_some().then(|| root.clone()));
    let found = ask(all.collect(), move |root: Option<RootConfig>, tell| {
        if let Some(root) = root {
            look_at(&*make(), &root, &watched, tell);
        }
    })?;
    Ok(found.answers())
}

/// A syncer whose configuration is on a disk that does not answer.
fn hung(syncer: &crate::syncer::Syncer) -> Syncer {
    Syncer {
        called: called(syncer),
        program: Err(findings::HUNG.to_owned()),
        inspection: Ok(None),
        silence: None,
        ignored: Vec::new(),
    }
}

/// What Lisp itself is to judge: the folders, the syncer's program, and how much is to be watched.
fn for_lisp(facts: &Account) -> Vec<Vec<u8>> {
    let mut answer = Vec::new();
    let there = facts.roots.iter().filter_map(|root| match &root.found {
        Found::There(there) => Some((root, there)),
        _ => None,
    });
    let (mut watches, mut watchers) = (0, 0);
    for (root, there) in there {
        let Some(tree) = &there.tree else { continue };
        if root.poll.is_none() {
            watches += tree.watches;
            watchers += 1;
        }
        for folder in &tree.folders {
            let names = [&folder.directory, &folder.real].map(|it| bytes(it));
            let [directory, real] = names;
            answer.extend(fact(
                &facts.name,
                "folder",
                [folder.name.clone(), directory, real],
            ));
        }
    }
    if let Some(syncer) = &facts.syncer
        && let Ok(program) = &syncer.program
    {
        let called = syncer.called.clone().into_bytes();
        answer.extend(fact(
            &facts.name,
            "program",
            [called, bytes(program), Vec::new()],
        ));
    }
    let numbers = [watches, watchers].map(|number| number.to_string().into_bytes());
    let [watches, watchers] = numbers;
    answer.extend(fact(
        &facts.name,
        "watches",
        [watches, watchers, Vec::new()],
    ));
    answer
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Look at a root: first whether it is there, then what is in it.
fn look_at(fs: &dyn Fs, root: &RootConfig, all: &[PathBuf], tell: &dyn Fn(Found)) {
    let mut there = match place(fs, &root.directory) {
        Ok(there) => there,
        Err(found) => return tell(found),
    };
    tell(Found::There(Box::new(there.clone())));
    let exclude: Vec<_> = all
        .iter()
        .filter(|it| **it != there.real)
        .cloned()
        .collect();
    match discover(fs, &root.directory, root.layout, &exclude) {
        Ok(scan) => {
            let auto = match root.layout {
                Layout::Auto => None,
                _ => discover(fs, &root.directory, Layout::Auto, &exclude).ok(),
            };
            there.tree = Some(tree(&scan, auto.as_ref()));
            tell(Found::There(Box::new(there)));
        }
        Err(error) => tell(refused(error)),
    }
}

fn refused(error: RootError) -> Found {
    match error {
        RootError::Missing(_) => Found::Missing,
        RootError::NotADirectory(_) => Found::NotADirectory,
        RootError::Unreadable(_, error) => Found::Refused(error.to_string()),
    }
}

fn place(fs: &dyn Fs, directory: &Path) -> Result<There, Found> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Found::Missing,
        io::ErrorKind::NotADirectory => Found::NotADirectory,
        _ => Found::Refused(error.to_string()),
    };
    let real = fs.canonicalize(directory).map_err(refused)?;
    if !fs.stat(&real).map_err(refused)?.is_dir {
        return Err(Found::NotADirectory);
    }
    let stat = std::fs::metadata(&real).map_err(refused)?;
    Ok(There {
        owner: stat.uid(),
        user: rustix::process::geteuid().as_raw(),
        writable: access(&real, Access::WRITE_OK).is_ok(),
        kind: kind(&real),
        remote: fs.remote(&real).unwrap_or(false),
        tree: None,
        real,
    })
}

/// What sort of file system that is on.
#[cfg(target_os = "linux")]
fn kind(path: &Path) -> Option<u32> {
    let found = rustix::fs::statfs(path).ok()?;
    // A signed or an unsigned word, and a long one or not: the magic number is its last half.
    Some(found.f_type as u32)
}

/// Elsewhere there are names, which nobody needs.
#[cfg(not(target_os = "linux"))]
fn kind(_path: &Path) -> Option<u32> {
    None
}

fn tree(scan: &Scan, auto: Option<&Scan>) -> Tree {
    let folders = scan.folders.iter().map(|it| Folder {
        name: it.name.to_vec(),
        directory: it.directory.to_path_buf(),
        real: it.real.to_path_buf(),
    });
    let known: BTreeSet<&Path> = scan.folders.iter().map(|it| &*it.real).collect();
    let more = auto.into_iter().flat_map(|it| &it.folders);
    let beyond = more.filter(|it| !known.contains(&*it.real));
    let spelled = |dotted: bool| {
        let names = scan.folders.iter().filter_map(|it| {
            let below = it.real.strip_prefix(&scan.real_root).ok()?;
            below.components().next()
        });
        let begins = |name: &std::path::Component| name.as_os_str().as_bytes().starts_with(b".");
        names.filter(|name| begins(name) == dotted).count()
    };
    Tree {
        folders: folders.collect(),
        watches: 2 * scan.folders.len() + scan.containers.len(),
        problems: scan.problems.iter().map(ToString::to_string).collect(),
        beyond: beyond.map(|it| it.name.to_vec()).collect(),
        dotted: spelled(true),
        nested: spelled(false),
    }
}

/// The folders of an account, as the syncers' readers want them.
fn folders(facts: &Account) -> Vec<Arc<crate::change::Folder>> {
    let trees = facts.roots.iter().filter_map(|root| match &root.found {
        Found::There(there) => there.tree.as_ref(),
        _ => None,
    });
    let folders = trees.flat_map(|tree| &tree.folders).map(|it| {
        Arc::new(crate::change::Folder {
            // Nobody asks for that here.
            account: AccountId(0),
            real: it.real.as_path().into(),
            directory: it.directory.as_path().into(),
            name: it.name.as_slice().into(),
        })
    });
    folders.collect()
}

fn order(account: &AccountConfig, sync: &SyncConfig) -> Order {
    let roots = account.roots.iter().map(|it| it.directory.clone());
    Order {
        roots: roots.collect(),
        ..Order::new(&account.name, sync.syncer.clone(), Scope::Everything)
    }
}

fn key(facts: &Account) -> Key {
    if facts.roots.is_empty() {
        return Key::Name(facts.name.clone());
    }
    let mut names: BTreeSet<PathBuf> = facts.roots.iter().map(|it| it.spelled.clone()).collect();
    names.extend(facts.roots.iter().filter_map(|root| match &root.found {
        Found::There(there) => Some(there.real.clone()),
        _ => None,
    }));
    Key::Maildirs(names)
}

fn syncer(sync: &SyncConfig, order: &Order, folders: &[Arc<crate::change::Folder>]) -> Syncer {
    let ignore = &sync.timing.ignore;
    let ignored = folders
        .iter()
        .filter(|it| ignore.iter().any(|glob| glob.matches(&it.name)));
    Syncer {
        called: called(&sync.syncer),
        program: program(order).map_err(|refused| refused.text),
        inspection: inspect(order, folders)
            .map(there)
            .map_err(|refused| refused.text),
        silence: sync.timing.silence,
        ignored: ignored.map(|it| it.name.to_vec()).collect(),
    }
}

/// A place that is not there holds no mail that somebody could miss.
fn there(inspection: Option<Inspection>) -> Option<Inspection> {
    inspection.map(|mut inspection| {
        inspection.places.retain(|(_, place)| place.exists());
        inspection
    })
}
