//! Errands: what Lisp wants to know and what may wait for a disk, done on a thread of its own.
//!
//! An answer is a list of fields, bytes without NUL, in groups of a size that the errand says; it
//! goes through the pipe in parts that fit into a frame.  When an errand begins and that one of a
//! kind waits for another is the engine's business (`engine::actor`).

pub mod discover;
pub mod examine;
pub mod names;
pub mod patience;

use std::path::PathBuf;

use anyhow::Result;

use crate::engine::actor::MakeFs;
use examine::Examine;

/// What is to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// The truenames of these: each that exists, and its truename.
    Resolve(Vec<PathBuf>),
    /// What accounts there could be.
    Discover(discover::Question),
    /// What `mailsync-doctor` asks.
    Examine(Box<Examine>),
}

impl Errand {
    /// What it does, for messages.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Errand::Resolve(_) => "resolving names",
            Errand::Discover(_) => "looking for accounts",
            Errand::Examine(_) => "examining",
        }
    }

    /// Do it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn run(self, fs: &MakeFs) -> Result<Vec<Vec<u8>>> {
        match self {
            Errand::Resolve(names) => names::resolve(names, fs),
            Errand::Discover(question) => discover::discover(question, fs),
            Errand::Examine(what) => what.run(fs),
        }
    }
}
