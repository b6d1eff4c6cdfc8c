//! What the paths in a syncer's configuration depend on: the environment and the directory in which
//! it will run.  Where a syncer looks for its configuration is its own business.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{Order, plan};

/// The surroundings of a run.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// As `NAME=VALUE`.
    pub(crate) environment: Vec<OsString>,
    /// For paths that are relative.
    pub(crate) directory: PathBuf,
}

impl Surroundings {
    /// Those of the run that an order asks for.
    pub(super) fn of(order: &Order) -> Self {
        Surroundings {
            environment: plan::environment(order),
            directory: (order.syncer.directory.clone())
                .or_else(|| std::env::current_dir().ok())
                .unwrap_or_else(|| "/".into()),
        }
    }

    /// The value of a variable, which may be empty.
    pub(super) fn variable(&self, name: &[u8]) -> Option<&OsStr> {
        self.environment.iter().find_map(|entry| {
            let value = entry.as_bytes().strip_prefix(name)?.strip_prefix(b"=")?;
            Some(OsStr::from_bytes(value))
        })
    }

    /// The value of a variable that says something.
    pub(crate) fn set(&self, name: &[u8]) -> Option<&OsStr> {
        self.variable(name).filter(|value| !value.is_empty())
    }

    /// An absolute path; a slash at its end is kept.
    pub(crate) fn absolute(&self, path: Vec<u8>) -> PathBuf {
        self.directory.join(OsString::from_vec(path))
    }
}
