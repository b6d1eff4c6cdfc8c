//! What the engine asks of a root's worker, and what that answers: plain data.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::inbox::Names;
use crate::maildir::FoundFolder;

/// How much to doubt.  A look is always at the whole tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Nothing but what events were about: look only if that can matter, and believe what is
    /// watched.
    #[default]
    Places,
    /// What is not watched: look, and believe what is.
    Sweep,
    /// Everything, the watches included: events may have been lost.
    Everything,
}

/// Work for a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// How much to doubt.
    pub depth: Depth,
    /// Directories with the entries that something happened to.
    pub places: HashMap<PathBuf, Names>,
    /// Ask again for the watches that the kernel refused.
    pub retry: bool,
    /// Whoever watched has failed: begin anew.
    pub renew: bool,
    /// The wall clock was set: no look before proves anything by its stamps.
    pub clock_set: bool,
    /// Truenames of other roots that lie inside: to be left out.
    pub exclude: Vec<PathBuf>,
    /// Truenames of roots that lay inside: whatever is there now is new.
    pub anew: Vec<PathBuf>,
}

/// What a scan found, relative to the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// The root with symbolic links resolved.
    pub real_root: PathBuf,
    /// Folders that were not there.
    pub created: Vec<Arc<FoundFolder>>,
    /// Truenames of those that are no more.
    pub deleted: Vec<Arc<Path>>,
    /// Truenames of those that may have changed.
    pub changed: Vec<Arc<Path>>,
    /// Directories that are watched.
    pub watches: usize,
    /// Directories that should be and are not.
    pub unwatched: usize,
    /// Why not, in words for the user.
    pub trouble: Option<String>,
    /// Some of it lies where others can write without this kernel's knowing.
    pub remote: bool,
    /// What could not be read; the rest was.
    pub problems: Vec<String>,
    /// Every name on the way to the root, and to where links in it lead.
    pub way: Vec<PathBuf>,
    /// It was not quiet yet: scan again.
    pub again: bool,
    /// A sweep so much later will tell of folders that are too fresh to be sure of.
    pub settles: Option<Duration>,
}

/// Why there is nothing to scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// In words for the user.
    pub text: String,
    /// The kernel watches every directory in which that can change.
    pub watched: bool,
    /// Directories that are watched.
    pub watches: usize,
    /// Why not all of those, in words for the user.
    pub trouble: Option<String>,
    /// Every name on the way to the root, as far as it goes.
    pub way: Vec<PathBuf>,
}

/// The answer to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Nothing that matters.
    Nothing,
    /// A scan.
    Scanned(Scanned),
    /// The root cannot be used now.
    Absent(Absent),
}
