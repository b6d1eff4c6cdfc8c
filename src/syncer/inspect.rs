//! What a syncer's configuration says to somebody who looks for a fault, as plain facts.
//!
//! Which folders it syncs, where else it keeps mail, how long it waits for a server, who holds its
//! lock.  Reads what [`super::plan`] reads, starts nothing and changes nothing; what of it is wrong
//! is for `errand::examine` to judge.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use super::plan::{self, OTHERWISE, Refused};
use super::{Order, Program, Syncer, mbsync, offlineimap};
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

/// The program as it was configured, and what a user can do about it but install it.
fn configured(syncer: &Syncer) -> (&OsStr, &'static str) {
    let words = match &syncer.program {
        Program::Mbsync { program, .. } | Program::OfflineImap { program, .. } => {
            return (program, OTHERWISE);
        }
        Program::Command(command) => Some(&command.words),
        Program::OnlyWorker => syncer.worker.as_ref().map(|it| &it.words),
    };
    let word = words.and_then(|words| words.first());
    let word = word.map(OsString::as_os_str).unwrap_or_default();
    (word, "correct the command in :syncer")
}

/// Where its program is.
///
/// # Errors
/// When there is none.
pub fn program(order: &Order) -> Result<PathBuf, Refused> {
    let (program, otherwise) = configured(&order.syncer);
    plan::find(program, &order.syncer.search, otherwise)
}

/// What its program is called, wherever that is.
#[must_use]
pub fn called(syncer: &Syncer) -> String {
    match &syncer.program {
        Program::Mbsync { .. } => "mbsync".to_owned(),
        Program::OfflineImap { .. } => "offlineimap".to_owned(),
        Program::Command(_) | Program::OnlyWorker => {
            configured(syncer).0.to_string_lossy().into_owned()
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
