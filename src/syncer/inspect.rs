//! What a syncer's configuration says to somebody who looks for a fault, as plain facts.
//!
//! Which folders it syncs, where else it keeps mail, how long it waits for a server, who holds its
//! lock.  Reads what [`super::plan`] reads, starts nothing and changes nothing; what of it is wrong
//! is for `errand::examine` to judge.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::plan::{self, OTHERWISE, Refused};
use super::{Order, Program, mbsync, offlineimap};
use crate::change::Folder;

/// A syncer's configuration, next to an account's folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The file.
    pub file: PathBuf,
    /// How many of the folders it syncs.
    pub synced: usize,
    /// Canonical names of those that it does not sync.
    pub unsynced: Vec<Vec<u8>>,
    /// Python decides which folders are synced: `synced` are candidates only.
    pub filtered: bool,
    /// Directories in which it keeps mail, each with what the configuration calls it.
    pub places: Vec<(String, PathBuf)>,
    /// How long it waits for servers.
    pub waits: Vec<Wait>,
    /// The account's connections at a time, where that is limited there.
    pub connections: Option<u64>,
    /// Its own lock is held, by the process of this number if that is known.
    pub lock: Option<Option<i32>>,
}

/// How long a syncer waits for a server that says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The part of the configuration that says it.
    pub of: String,
    /// In seconds; 0: for ever.
    pub seconds: u64,
}

/// Where its program is.
///
/// # Errors
/// When there is none.
pub fn program(order: &Order) -> Result<PathBuf, Refused> {
    let search = &order.syncer.search;
    let ours = |words: &[OsString]| {
        let program = words.first().cloned().unwrap_or_default();
        plan::find(&program, search, "correct the command in :syncer")
    };
    match &order.syncer.program {
        Program::Command(command) => ours(&command.words),
        Program::OnlyWorker => {
            let worker = order.syncer.worker.as_ref();
            ours(worker.map(|it| it.words.as_slice()).unwrap_or_default())
        }
        Program::Mbsync { program, .. } | Program::OfflineImap { program, .. } => {
            plan::find(program, search, OTHERWISE)
        }
    }
}

/// What its configuration says about these folders; `None` where it has none that is known.
///
/// # Errors
/// When it would refuse to run.
pub fn inspect(order: &Order, folders: &[Arc<Folder>]) -> Result<Option<Inspection>, Refused> {
    match &order.syncer.program {
        Program::Command(_) | Program::OnlyWorker => Ok(None),
        Program::Mbsync { .. } => mbsync::inspect(order, folders).map(Some),
        Program::OfflineImap { .. } => offlineimap::inspect(order, folders).map(Some),
    }
}
