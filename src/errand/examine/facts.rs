//! What was found out, as plain data.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::environment::Support;
use crate::maildir::Layout;
use crate::syncer::inspect::Inspection;
use crate::syncer::lock::look::Seen;

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its maildirs.
    pub roots: Vec<Root>,
    /// How it is synced, if it is.
    pub syncer: Option<Syncer>,
    /// Who has its lock; `None` where that cannot be told.
    pub lock: Option<Seen>,
    /// The number of this process.
    pub process: u32,
    /// Truenames of the maildirs of all accounts.
    pub watched: Vec<PathBuf>,
}

/// A maildir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// As the user spells it.
    pub spelled: PathBuf,
    /// As it is configured.
    pub layout: Layout,
    /// As it is configured.
    pub poll: Option<Duration>,
    /// Other accounts that have it, too.
    pub shared: Vec<String>,
    /// How it is.
    pub found: Found,
}

/// How a maildir is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its file system has not answered in time.
    Silent,
    /// There is none.
    Missing,
    /// There is something else.
    NotADirectory,
    /// The system does not let us see it, in its words.
    Refused(String),
    /// There is one.
    There(Box<There>),
}

/// A maildir that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct There {
    /// Its truename.
    pub real: PathBuf,
    /// The number of the user to whom it belongs.
    pub owner: u32,
    /// Our own number.
    pub user: u32,
    /// It can be written to.
    pub writable: bool,
    /// What sort of file system it is on, by the number of statfs(2).
    pub kind: Option<u32>,
    /// That file system may change behind the kernel's back.
    pub remote: bool,
    /// What is in it; `None` if that was still being read.
    pub tree: Option<Tree>,
}

/// What is in a maildir.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Its folders.
    pub folders: Vec<Folder>,
    /// How many directories the kernel is to watch.
    pub watches: usize,
    /// What could not be read.
    pub problems: Vec<String>,
    /// Names of folders that only another layout finds.
    pub beyond: Vec<Vec<u8>>,
    /// How many lie as Maildir++ has them, the root aside.
    pub dotted: usize,
    /// How many lie as nested layouts have them.
    pub nested: usize,
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its canonical name.
    pub name: Vec<u8>,
    /// Its directory as spelled.
    pub directory: PathBuf,
    /// Its truename.
    pub real: PathBuf,
}

/// A syncer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syncer {
    /// What it is called: mbsync, offlineimap, or the program of a command.
    pub called: String,
    /// Where its program is, or why there is none and what to do.
    pub program: Result<PathBuf, String>,
    /// What its configuration says, where that is known; or what is wrong with it and what to do.
    pub inspection: Result<Option<Inspection>, String>,
    /// It is ended after it was silent for so long.
    pub silence: Option<Duration>,
    /// Folders of the account whose own changes ask for no sync.
    pub ignored: Vec<Vec<u8>>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Watched directories of a user: limit, what other programs have, what the accounts need.
    pub watches: Option<Limit>,
    /// Watchers of a user.
    pub instances: Option<Limit>,
    /// Open files of this process.
    pub files: Option<Limit>,
    /// What the kernel tells.
    pub support: Vec<Support>,
    /// What `$XDG_RUNTIME_DIR` says.
    pub runtime: Option<PathBuf>,
    /// Where the locks are; `None` if they cannot be anywhere.
    pub locks: Option<PathBuf>,
    /// Why they are not in better places.
    pub refused: Vec<String>,
    /// The socket at which programs are told what was checked, if they are.
    pub listen: Option<Socket>,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many there may be.
    pub most: u64,
    /// How many others have.
    pub used: u64,
    /// How many are needed besides.
    pub needed: u64,
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its file.
    pub file: PathBuf,
    /// It is there.
    pub there: bool,
    /// Why its directory will not do, in words.
    pub refused: Option<String>,
}
