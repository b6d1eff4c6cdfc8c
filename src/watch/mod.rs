//! Noticing that directories change: the kernel's notification, and the rescan.
//!
//! [`inbox`] merges raw events until the engine takes them; [`kernel`] is the backend over the
//! `notify` crate; [`root`] is what a root's worker does (discover, watch, rescan), by means of
//! [`watches`] (what is watched) and [`trail`] (the way to the root, on which it can be lost).
//! Nothing here decides when to look or when anybody is told.

pub mod inbox;
pub mod kernel;
mod limits;
pub mod root;
pub mod trail;
pub mod watches;

use std::path::PathBuf;
use std::sync::Arc;

use inbox::Inbox;

/// Why a directory could not be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchError {
    /// It is not there (any more).
    Gone,
    /// A limit of the system is reached: which, and what to do, in words for the user.
    Limit(String),
    /// Anything else, in words for the user.
    Other(String),
}

/// Something that reports changes of directories, each watched by itself, never recursively.
///
/// Its calls may wait for the file system: only a root's worker makes them.
pub trait Backend: Send {
    /// Watch these directories; returns those that could not be.
    fn watch(&mut self, directories: &[PathBuf]) -> Vec<(PathBuf, WatchError)>;
    /// Watch them no longer; one that is not watched is no error.
    fn unwatch(&mut self, directories: &[PathBuf]);
}

/// Makes the backend of one root, which reports into the given inbox.  Runs on the worker.
pub type MakeBackend = Arc<dyn Fn(Arc<Inbox>) -> anyhow::Result<Box<dyn Backend>> + Send + Sync>;
