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
use crate::syncer::lock::{Key, look};
use crate::syncer::survey::{Survey, program, survey};
use crate::syncer::{Order, Program, Scope};

/// Examine one of these accounts.
///
/// # Errors
/// When the system gives no thread.
pub fn examine(
    accounts: &[AccountConfig],
    number: usize,
    runtime: Option<PathBuf>,
    fs: &MakeFs,
) -> Result<Vec<Vec<u8>>> {
    let Some(account) = accounts.get(number) else {
        return Ok(Vec::new());
    };
    let all: Vec<RootConfig> = accounts.iter().flat_map(|it| it.roots.clone()).collect();
    let first: usize = accounts.iter().take(number).map(|it| it.roots.len()).sum();
    let ours = first..first + account.roots.len();
    // The others only for where they are: the longest root wins.
    let make = fs.clone();
    let places = all.iter().map(|root| root.directory.clone()).collect();
    let places = ask(places, move |it: PathBuf, tell| {
        tell(make().canonicalize(&it).ok())
    })?;
    let places = places.answers();
    let answered: Vec<bool> = places.iter().map(Option::is_some).collect();
    let places: Vec<Option<PathBuf>> = places.into_iter().map(Option::flatten).collect();
    let make = fs.clone();
    let reals: Vec<PathBuf> = places.iter().flatten().cloned().collect();
    let others = reals.clone();
    // Who has not answered is not asked again: that would hang, too.
    let questions = all
        .get(ours.clone())
        .unwrap_or_default()
        .iter()
        .zip(&answered[ours.clone()]);
    let questions = questions.map(|(root, answered)| answered.then(|| root.clone()));
    let found = ask(
        questions.collect(),
        move |root: Option<RootConfig>, tell| {
            if let Some(root) = root {
                look_at(&*make(), &root, &others, tell);
            }
        },
    )?;
    let found = found.answers().into_iter();
    let shared = |real: Option<&PathBuf>| {
        let mut names = Vec::new();
        let owners = accounts
            .iter()
            .flat_map(|it| it.roots.iter().map(move |_| it));
        for (owner, place) in owners.zip(&places) {
            if real.is_some() && place.as_ref() == real && owner.name != account.name {
                names.push(owner.name.clone());
            }
        }
        names
    };
    let roots = account.roots.iter().zip(ours).zip(found);
    let roots = roots.map(|((root, at), found)| Root {
        spelled: root.directory.clone(),
        layout: root.layout,
        poll: root.poll,
        shared: shared(places.get(at).and_then(Option::as_ref)),
        found: found.unwrap_or(Found::Silent),
    });
    let mut facts = Account {
        name: account.name.clone(),
        roots: roots.collect(),
        process: std::process::id(),
        watched: reals,
        ..Account::default()
    };
    if let Some(sync) = &account.sync {
        let folders = folders(&facts);
        let order = order(account, sync);
        let question = (sync.clone(), order, folders);
        let syncer = ask(vec![question], |(sync, order, folders), tell| {
            tell(syncer(&sync, &order, &folders));
        })?;
        let key = key(&facts);
        let lock = ask(vec![(key, runtime)], |(key, runtime), tell| {
            tell(look::look(&key, runtime.as_deref()));
        })?;
        facts.syncer = Some(syncer.answers().remove(0).unwrap_or_else(|| Syncer {
            called: called(&sync.syncer.program),
            program: Err(findings::HUNG.to_owned()),
            survey: Ok(None),
            silence: None,
            ignored: Vec::new(),
        }));
        facts.lock = lock.answers().remove(0).flatten();
    }
    let mut answer = fields(findings::account(&facts));
    answer.extend(for_lisp(&facts));
    Ok(answer)
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

fn called(program: &Program) -> String {
    match program {
        Program::Mbsync { .. } => "mbsync".to_owned(),
        Program::OfflineImap { .. } => "offlineimap".to_owned(),
        Program::Command(command) => {
            let word = command.words.first().cloned().unwrap_or_default();
            word.to_string_lossy().into_owned()
        }
    }
}

fn syncer(sync: &SyncConfig, order: &Order, folders: &[Arc<crate::change::Folder>]) -> Syncer {
    let ignore = &sync.timing.ignore;
    let ignored = folders
        .iter()
        .filter(|it| ignore.iter().any(|glob| glob.matches(&it.name)));
    Syncer {
        called: called(&sync.syncer.program),
        program: program(order).map_err(|refused| refused.text),
        survey: survey(order, folders)
            .map(there)
            .map_err(|refused| refused.text),
        silence: sync.timing.silence,
        ignored: ignored.map(|it| it.name.to_vec()).collect(),
    }
}

/// A place that is not there holds no mail that somebody could miss.
fn there(survey: Option<Survey>) -> Option<Survey> {
    survey.map(|mut survey| {
        survey.places.retain(|(_, place)| place.exists());
        survey
    })
}
