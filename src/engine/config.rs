//! What Lisp wants watched: accounts and their roots, as plain data.

use std::path::PathBuf;
use std::time::Duration;

use crate::coalesce::Delays;
use crate::maildir::Layout;
use crate::remote::attempts::Retry;
#[cfg(feature = "imap")]
use crate::remote::imap::line::Server;
use crate::remote::watcher::Program;
use crate::schedule::{Glob, Timing};
use crate::syncer::Syncer;

/// One account, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountConfig {
    /// Its name.
    pub name: String,
    /// Its maildirs.
    pub roots: Vec<RootConfig>,
    /// How long its changes are merged.
    pub delays: Delays,
    /// Whether what is of no interest to a server is told (`Change::quiet`): a mail reader of this
    /// machine has to see it.
    pub quiet: bool,
    /// How it is synced, if it is.
    pub sync: Option<SyncConfig>,
    /// Its stores on other machines, as far as they are watched.
    pub remotes: Vec<RemoteConfig>,
}

/// A store on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteConfig {
    /// How it is watched.
    pub store: RemoteStore,
    /// How long to wait when that fails.
    pub retry: Retry,
    /// Of these folders its changes are heard; none given: of all.
    pub folders: Vec<Glob>,
}

/// How a store on another machine is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteStore {
    /// By a program.
    Program(Program),
    /// By asking its IMAP server.
    #[cfg(feature = "imap")]
    Imap(Box<Server>),
}

impl RemoteStore {
    /// What it is called, for the user.
    #[must_use]
    pub fn called(&self) -> String {
        match self {
            RemoteStore::Program(program) => program.called(),
            #[cfg(feature = "imap")]
            RemoteStore::Imap(server) => server.called(),
        }
    }
}

/// When and by what an account is synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncConfig {
    /// When.
    pub timing: Timing,
    /// By what.
    pub syncer: Syncer,
}

/// One root of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootConfig {
    /// Absolute, as the user spells it.
    pub directory: PathBuf,
    /// Which layouts to look for.
    pub layout: Layout,
    /// Look this often, and do not use the kernel's notification.
    pub poll: Option<Duration>,
}

/// A number for a remote store, counted over all accounts and never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteId(pub usize);

/// A number for a root, counted over all accounts and never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RootId(pub usize);
