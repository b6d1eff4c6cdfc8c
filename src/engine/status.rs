//! The snapshot of the engine that Lisp reads: plain data, made when something changed.

use std::path::PathBuf;
use std::time::Instant;

use crate::remote::attempts::Stand;
use crate::schedule::SyncState;

/// The engine as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// One per account, in the order of the configuration.
    pub accounts: Vec<AccountStatus>,
    /// A frame waits to be read by Lisp.
    pub in_flight: bool,
    /// Changes handed to Lisp's pipe since the start.
    pub delivered: u64,
    /// Entries held in memory: folders that wait, and notices.
    pub held: usize,
    /// Why the engine ended, when it did so by itself.
    pub dead: Option<String>,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// Its name.
    pub name: String,
    /// `starting`, `watching`, `waiting` or `error`.
    pub state: &'static str,
    /// What a user should know.
    pub text: String,
    /// Folders that wait to be told to Lisp.
    pub pending: usize,
    /// Its roots.
    pub roots: Vec<RootStatus>,
    /// How its syncs stand, if it is synced.
    pub sync: Option<SyncState>,
    /// Its stores on other machines.
    pub remotes: Vec<RemoteStatus>,
}

/// A store on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteStatus {
    /// What watches it, in short.
    pub what: String,
    /// How it stands.
    pub stand: Stand,
}

/// One root of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootStatus {
    /// As the user spells it.
    pub directory: PathBuf,
    /// As in the account.
    pub state: &'static str,
    /// Since when.
    pub since: Option<Instant>,
    /// What a user should know.
    pub text: String,
    /// `kernel`: watched by it; `poll`: looked at from time to time; `mixed`: some of it; `both`:
    /// watched, and looked at since others can write there.  Of an absent root, `guarded`: the
    /// kernel tells when it comes; `sought`: it is looked for from time to time.
    pub how: &'static str,
    /// Folders found.
    pub folders: usize,
    /// Directories watched, those on the way to the root included.
    pub watches: usize,
    /// Directories that should be watched and are not.
    pub unwatched: usize,
    /// What could not be read.
    pub problems: Vec<String>,
}
