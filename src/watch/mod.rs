//! Noticing that directories change: the kernel's notification, and the rescan.
//!
//! [`inbox`] merges raw events until the engine takes them; [`inotify`] is the backend on Linux,
//! [`portable`] the one elsewhere; [`worker`] is what a root's worker does (discover, watch, rescan) for
//! a [`job`], by means of [`watches`] (what is watched, each a [`spot`]) and [`trail`] (the way to the
//! root, on which it can be lost).
//! Nothing here decides when to look or when anybody is told.

pub mod inbox;
#[cfg(target_os = "linux")]
pub mod inotify;
pub mod job;
pub mod limits;
pub mod portable;
pub mod spot;
pub mod trail;
pub mod watches;
pub mod worker;

use std::sync::Arc;

use inbox::Inbox;
use spot::Spot;

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

/// How a directory came to be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// It is from now on.
    New,
    /// The very same directory was already, and goes on being.
    Same,
}

/// Something that reports changes of directories, each watched by itself, never recursively.
///
/// Its calls may wait for the file system: only a root's worker makes them.
pub trait Backend: Send {
    /// Watch these directories; says of each how it went.  `anew`: they are, but maybe others
    /// that have been in their places.
    fn watch(&mut self, directories: &[Spot], anew: bool) -> Vec<Result<Watched, WatchError>>;
    /// Watch them no longer; one that is not watched is no error.
    fn unwatch(&mut self, directories: &[Spot]);
}

/// Makes the backend of one root, which reports into the given inbox.  Runs on the worker.
pub type MakeBackend = Arc<dyn Fn(Arc<Inbox>) -> anyhow::Result<Box<dyn Backend>> + Send + Sync>;

/// The kernel's notification, by the best means there are.
pub fn kernel() -> MakeBackend {
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    return Arc::new(inotify::Inotify::start);
    #[cfg(any(not(target_os = "linux"), feature = "portable"))]
    return Arc::new(portable::Portable::start);
}
