//! The locks of an account, so that of several instances of Emacs only one syncs it, and nobody
//! syncs it beside a run that an Emacs has left behind.
//!
//! Two files for each maildir, in a directory of the user's that goes with the machine, locked by
//! flock(2): the kernel takes such a lock back when the last of those who have the file open ends,
//! however that is.  One is had by an Emacs that syncs the maildir, for as long as it wants to;
//! the other by each of its runs, whose processes inherit it.  They are advice among instances of
//! mailsync; other programs that sync (a cron job) have locks of their own.  What is done without
//! the lock is decided elsewhere.

mod directory;
mod key;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::threads;
use directory::{Directory, candidates, directory};
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
    directory: Arc<Directory>,
    names: BTreeSet<String>,
    _files: Vec<Locked>,
}

impl Held {
    /// Whether this is a lock of that too.  Never waits.
    #[must_use]
    pub fn covers(&self, key: &Key) -> bool {
        key.plain_names().all(|name| self.names.contains(&name))
    }

    /// The lock of one run.
    ///
    /// # Errors
    /// When another run has it, with the number of its process if that is known.
    pub fn run(&self) -> Result<RunLock, Option<u32>> {
        let mut files = Vec::new();
        for name in &self.names {
            // Where there is no such file any more, a run goes on without.
            let Ok(file) = self.directory.file(&run_file(name)) else {
                continue;
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    search::unsign(&file);
                    files.push(Locked(file));
                }
                Err(Errno::WOULDBLOCK) => return Err(search::holder(&file)),
                Err(_) => {}
            }
        }
        Ok(RunLock(files))
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
    /// It cannot be had, in words for the user; syncing goes on without.
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
            let sought = directory(&candidates).and_then(|directory| {
                let search = Search {
                    every: EVERY,
                    directory: Arc::new(directory),
                    stopped,
                };
                seek(&search, key.names(), &*tell)
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
fn seek(search: &Search, names: BTreeSet<String>, tell: &dyn Fn(Holder)) -> Result<Option<Held>> {
    let mut files = Vec::new();
    for name in &names {
        let other = |pid| tell(Holder::Other(pid));
        match search.get(&lock_file(name), Wait::Emacs, &other)? {
            Some(file) => {
                search::sign(&file, std::process::id());
                files.push(Locked(file));
            }
            None => return Ok(None),
        }
    }
    // Whoever ran for the one before us is to be over too.
    for name in &names {
        let orphan = |pid| tell(Holder::Orphan(pid));
        match search.get(&run_file(name), Wait::Run, &orphan)? {
            Some(file) => drop(Locked(file)),
            None => return Ok(None),
        }
    }
    Ok(Some(Held {
        directory: search.directory.clone(),
        names,
        _files: files,
    }))
}

fn nobody(text: &str) -> String {
    format!("other instances of Emacs are not kept from syncing at the same time: {text}")
}
