//! The locks of an account, so that of several instances of Emacs only one syncs it, and nobody
//! syncs it beside a run that an Emacs has left behind.
//!
//! Two files for each maildir, in a directory of the user's that goes with the machine, locked by
//! flock(2): the kernel takes such a lock back when the last of those who have the file open ends,
//! however that is.  One is had by an Emacs that syncs the maildir, for as long as it wants to;
//! the other by each of its runs, whose processes inherit it.  They are advice among instances of
//! mailsync; other programs that sync (a cron job) have locks of their own.  What is done without
//! the lock is decided elsewhere.

pub(crate) mod directory;
mod key;
pub mod look;
mod search;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::threads;
use directory::{Candidate, Directory, candidates, directory};
pub use key::Key;
use search::{EVERY, Search, Wait};

/// A locked file; free when this is dropped.
#[derive(Debug)]
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing would not do: the lock would last for as long as somebody else has a copy, such
        // as a daemon that a syncer has started, or a child of Emacs that was just forked.  And
        // this way it is free before anybody hears of the closing.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// The lock of an account; free when the last of these is dropped.
#[derive(Debug)]
pub struct Held {
    names: BTreeSet<String>,
    candidates: Vec<Candidate>,
    place: Mutex<Place>,
}

/// Where a lock is, and its files by their names.
#[derive(Debug)]
struct Place {
    directory: Directory,
    files: BTreeMap<String, Locked>,
}

impl Place {
    /// Be where others look for the lock.  The directory goes when the user's last session ends,
    /// and is another one in the next; and there are programs that clean up.
    fn follow(&mut self, candidates: &[Candidate]) -> Result<(), Option<u32>> {
        // Where there is none any more, nobody else finds one.
        let Ok(directory) = directory(candidates) else {
            return Ok(());
        };
        let mut new = Vec::new();
        for (name, locked) in &self.files {
            if directory.names(&locked.0, name).unwrap_or(false) {
                continue;
            }
            let Ok(file) = directory.file(name) else {
                continue;
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    search::sign(&file, std::process::id());
                    new.push((name.clone(), Locked(file)));
                }
                Err(Errno::WOULDBLOCK) => return Err(search::holder(&file)),
                Err(_) => {}
            }
        }
        self.files.extend(new);
        self.directory = directory;
        Ok(())
    }
}

/// Why a run cannot have its lock; with the number of a process if that is known.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Another Emacs has the account's lock, since the file of ours was removed.
    Account(Option<u32>),
    /// Another run has its own.
    Run(Option<u32>),
}

impl Held {
    /// Whether this is a lock of that too.  Never waits.
    #[must_use]
    pub fn covers(&self, key: &Key) -> bool {
        key.plain_names().all(|name| self.names.contains(&name))
    }

    /// The lock of one run.  May wait for a disk.
    ///
    /// # Errors
    /// When somebody else has it.
    pub fn run(&self) -> Result<RunLock, Taken> {
        // Nothing is left half done in there.
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.follow(&self.candidates).map_err(Taken::Account)?;
        let mut files = Vec::new();
        for name in &self.names {
            // Where there is no such file any more, a run goes on without.
            let Ok(file) = place.directory.file(&run_file(name)) else {
                continue;
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    search::unsign(&file);
                    files.push(Locked(file));
                }
                Err(Errno::WOULDBLOCK) => return Err(Taken::Run(search::holder(&file))),
                Err(_) => {}
            }
        }
        Ok(RunLock(files))
    }

    /// The same for a run of a process that has inherited the lock of an earlier one; false if that
    /// is not where others look any more.  May wait for a disk.
    ///
    /// # Errors
    /// When somebody else has it.
    pub fn again(&self, lock: &RunLock) -> Result<bool, Taken> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.follow(&self.candidates).map_err(Taken::Account)?;
        let names = self.names.iter().map(|name| run_file(name));
        let mut pairs = names.zip(&lock.0);
        let there = |(name, locked): (String, &Locked)| {
            place.directory.names(&locked.0, &name).unwrap_or(false)
        };
        if lock.0.len() != self.names.len() || !pairs.all(there) {
            return Ok(false);
        }
        for locked in &lock.0 {
            match flock(&locked.0, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => search::unsign(&locked.0),
                Err(Errno::WOULDBLOCK) => {
                    let holder = search::holder(&locked.0);
                    lock.release();
                    return Err(Taken::Run(holder));
                }
                Err(_) => {}
            }
        }
        Ok(true)
    }
}

/// The lock of one run; free when this is dropped, or, if Emacs ends before, when the processes
/// that have inherited it have ended.
#[derive(Debug, Default)]
pub struct RunLock(Vec<Locked>);

impl RunLock {
    /// What the run's process is to inherit.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|locked| locked.0.as_fd())
    }

    /// It is free from now on, but may be had again.
    pub fn release(&self) {
        for locked in &self.0 {
            let _ = flock(&locked.0, FlockOperation::Unlock);
        }
    }

    /// Say whose it is.
    pub fn sign(&self, pid: u32) {
        for locked in &self.0 {
            search::sign(&locked.0, pid);
        }
    }
}

fn lock_file(name: &str) -> String {
    format!("{name}.lock")
}

fn run_file(name: &str) -> String {
    format!("{name}.run")
}

/// Who has the lock.
#[derive(Clone, Debug)]
pub enum Holder {
    /// We do, from now on.
    Us(Arc<Held>),
    /// Another Emacs does, with this number where it said so.  It may be ourselves: a run that
    /// has not ended yet keeps its lock.
    Other(Option<u32>),
    /// A run does, with this number where it is known, whose Emacs is gone.
    Orphan(Option<u32>),
    /// It cannot be had now, in words for the user; syncing goes on without.
    Nobody(String),
}

/// Seeks a lock until it is had, or until this is dropped.
pub struct Seeker {
    /// Its closing ends the thread.
    _stop: PipeWriter,
}

impl Seeker {
    /// Seek a lock on a thread of its own, which ends when it is had.  `tell` hears of each
    /// change, on that thread, and may do so for the last time just after this has been dropped.
    /// `runtime` is `$XDG_RUNTIME_DIR`.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub fn start(
        key: Key,
        runtime: Option<&Path>,
        tell: impl Fn(Holder) + Send + Sync + 'static,
    ) -> Result<Self> {
        let (stopped, stop) = io::pipe().context("a pipe to end a thread by")?;
        let candidates = candidates(runtime);
        let tell = Arc::new(tell);
        let last = tell.clone();
        let body = move || {
            let sought = directory(&candidates).and_then(|found| {
                let mut search = Search {
                    every: EVERY,
                    directory: found,
                    stopped,
                };
                loop {
                    let names = key.names();
                    let files = match seek(&search, &names, &*tell) {
                        Ok(Some(files)) => files,
                        Ok(None) => return Ok(None),
                        Err(error) => {
                            // It may have been removed while we waited in it.
                            let now = directory(&candidates)?;
                            anyhow::ensure!(!now.is(&search.directory), error);
                            search.directory = now;
                            continue;
                        }
                    };
                    let place = Place {
                        directory: search.directory,
                        files,
                    };
                    return Ok(Some(Held {
                        names,
                        candidates,
                        place: Mutex::new(place),
                    }));
                }
            });
            match sought {
                Ok(Some(held)) => tell(Holder::Us(Arc::new(held))),
                Ok(None) => {}
                Err(error) => tell(Holder::Nobody(nobody(&format!("{error:#}")))),
            }
        };
        threads::spawn("mailsync-lock", body, move |text| {
            let text = format!("a bug in mailsync, please report this: {text}");
            last(Holder::Nobody(nobody(&text)));
        })?;
        Ok(Seeker { _stop: stop })
    }
}

/// Get all files, always in the same order, so that no two wait for each other; `None` when nobody
/// wants them any more.
fn seek(
    search: &Search,
    names: &BTreeSet<String>,
    tell: &dyn Fn(Holder),
) -> Result<Option<BTreeMap<String, Locked>>> {
    let mut files = BTreeMap::new();
    for name in names.iter().map(|name| lock_file(name)) {
        let other = |pid| tell(Holder::Other(pid));
        match search.get(&name, Wait::Emacs, &other)? {
            Some(file) => {
                search::sign(&file, std::process::id());
                files.insert(name, Locked(file));
            }
            None => return Ok(None),
        }
    }
    // Whoever ran for the one before us is to be over too.
    for name in names {
        let orphan = |pid| tell(Holder::Orphan(pid));
        match search.get(&run_file(name), Wait::Run, &orphan)? {
            Some(file) => drop(Locked(file)),
            None => return Ok(None),
        }
    }
    Ok(Some(files))
}

fn nobody(text: &str) -> String {
    format!("other instances of Emacs are not kept from syncing at the same time: {text}")
}
