//! Running syncers: from "these folders of that account" to a process and its outcome.
//!
//! [`plan`] makes a command line of an [`Order`], with the readers of the syncers' own
//! configuration ([`mbsync`], [`offlineimap`]) and of placeholders ([`command`]); [`run`] starts
//! the process, watches over it and ends it; [`worker`] is one that lasts for many runs; [`outcome`]
//! reads from exit code and output how it went; [`unpushed`] compares the syncers' records with what is
//! there; [`lock`] keeps two instances of Emacs from syncing the same maildirs.  [`inspect`] and [`survey`]
//! are what the doctor and discovery want to know of the syncers' configurations; `surroundings` and
//! `paths` are how those name files.  All of it runs on threads of its own and may wait for disks; when to
//! sync is `schedule`'s business.

pub mod command;
pub mod inspect;
pub mod lock;
pub mod mbsync;
pub mod offlineimap;
pub mod outcome;
mod paths;
pub mod plan;
pub mod run;
pub(crate) mod surroundings;
pub mod survey;
#[cfg(test)]
mod testing;
pub mod unpushed;
pub mod worker;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::change::Folder;
use worker::Worker;

/// A syncer, as a function in Lisp describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syncer {
    /// What is run.
    pub program: Program,
    /// What does the same without being started each time; `program` is for when it cannot.
    pub worker: Option<Worker>,
    /// Where programs are looked for (Lisp's exec-path).
    pub search: Vec<PathBuf>,
    /// The whole environment, as `NAME=VALUE`.
    pub environment: Vec<OsString>,
    /// The working directory; `None`: that of Emacs.
    pub directory: Option<PathBuf>,
    /// What standard input gives; nothing if empty.
    pub input: Vec<u8>,
    /// Exit codes that mean success, besides 0.
    pub success: Vec<i32>,
}

impl Syncer {
    /// This program and no more: found nowhere, in no environment.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Syncer {
            program,
            worker: None,
            search: Vec::new(),
            environment: Vec::new(),
            directory: None,
            input: Vec::new(),
            success: Vec::new(),
        }
    }
}

impl Program {
    /// Whether it sends a message twice if its file is renamed meanwhile.
    #[must_use]
    pub fn loses_what_is_renamed(&self) -> bool {
        matches!(self, Program::OfflineImap { .. })
    }

    /// Whether it keeps a record of what is pushed that [`unpushed::look`] can read.
    #[must_use]
    pub fn keeps_record(&self) -> bool {
        match self {
            Program::Command(_) | Program::OnlyWorker => false,
            Program::Mbsync { .. } => true,
            Program::OfflineImap { .. } => cfg!(feature = "offlineimap-state"),
        }
    }
}

/// What a syncer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Any command.
    Command(Command),
    /// mbsync, whose configuration is read to name folders.
    Mbsync {
        /// The program, to be looked for if it is no absolute name.
        program: OsString,
        /// A channel or a group; `None`: `-a`, all of them.
        target: Option<String>,
        /// `-c`.
        config: Option<PathBuf>,
        /// Further options.
        args: Vec<OsString>,
    },
    /// OfflineIMAP, whose configuration is read to name folders.
    OfflineImap {
        /// The program, to be looked for if it is no absolute name.
        program: OsString,
        /// Its name of the account.
        account: String,
        /// `-c`.
        config: Option<PathBuf>,
        /// Further options.
        args: Vec<OsString>,
    },
    /// Nothing besides its worker.
    OnlyWorker,
}

/// A command with placeholders.  Elements with `%f` become one argument a folder, those with `%d`
/// one argument a directory; `%F` stands for all folders, joined by commas, `%a` for the account's
/// name, `%%` for a percent sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments, for some folders.
    pub words: Vec<OsString>,
    /// The arguments for the whole account; `None`: those above, without any in which a folder or
    /// a directory would stand.
    pub all: Option<Vec<OsString>>,
    /// How folders are named.
    pub naming: Naming,
    /// What stands between levels; `/` if `None`.
    pub separator: Option<String>,
    /// What goes before each folder's name but INBOX.
    pub prefix: Option<String>,
    /// It can be told which folders; otherwise it is always run for the whole account.
    pub per_folder: bool,
}

/// How a command wants folder names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As they are read.
    Utf8,
    /// Modified UTF-7 (RFC 3501, 5.1.3).
    Imap,
}

/// Which folders a run is to cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole account.
    Everything,
    /// These.  A folder without a local directory has an empty `directory`.
    Folders(Vec<Arc<Folder>>),
}

impl Scope {
    /// Canonical names of the folders; none for the whole account.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<[u8]>> {
        match self {
            Scope::Everything => Vec::new(),
            Scope::Folders(folders) => folders.iter().map(|it| it.name.clone()).collect(),
        }
    }
}

/// Counts the runs of all accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// What a runner is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub run: RunId,
    /// The account's name.
    pub account: String,
    /// How.
    pub syncer: Arc<Syncer>,
    /// What.
    pub scope: Scope,
    /// Only local changes and new remote mail are sought: remote changes of flags may be missed
    /// (OfflineIMAP's `-q`).
    pub quick: bool,
    /// Lisp has described the syncer for just this run and its folders.
    pub answered: bool,
    /// The account's maildirs, as the user spells them.
    pub roots: Vec<PathBuf>,
    /// What an earlier run learned.
    pub memory: Memory,
}

impl Order {
    /// An order for a first run, in which everything may have changed.
    #[must_use]
    pub fn new(account: &str, syncer: impl Into<Arc<Syncer>>, scope: Scope) -> Self {
        Order {
            run: RunId(1),
            account: account.to_owned(),
            syncer: syncer.into(),
            scope,
            quick: false,
            answered: false,
            roots: Vec::new(),
            memory: Memory::default(),
        }
    }
}

/// What one run learned for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// OfflineIMAP's remote names by local ones (both in its own bytes, as on disk), where
    /// `nametrans` makes them differ.
    pub remote_names: HashMap<Vec<u8>, Vec<u8>>,
    /// Of which configuration that holds: its name and when it was changed.
    pub of: Option<(PathBuf, Option<SystemTime>)>,
}

/// How a run went (the text of each is `outcome`'s).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All of it is synced.
    Ok,
    /// Some folders are not.
    Partial,
    /// It may go better later.
    Transient,
    /// The server refuses the user.
    Auth,
    /// Something has to be configured otherwise.
    Config,
    /// Another process syncs the account.
    Locked,
    /// It was ended, by us or by somebody else.
    Interrupted,
    /// It gave no sign of life for too long, and was ended.
    Timeout,
}

impl Outcome {
    /// Its name in Lisp.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Partial => "partial",
            Outcome::Transient => "transient",
            Outcome::Auth => "auth",
            Outcome::Config => "config",
            Outcome::Locked => "locked",
            Outcome::Interrupted => "interrupted",
            Outcome::Timeout => "timeout",
        }
    }
}

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How it went.
    pub outcome: Outcome,
    /// Its exit code; 128 and the signal where one ended it; `None` if it was never started.
    pub exit: Option<i32>,
    /// What a user should know and do, in one line; empty if there is nothing to say.
    pub text: String,
    /// Truenames of folders (of the scope) that are not synced, in an outcome `Partial`.
    pub failed: Vec<Arc<Path>>,
    /// The whole account was synced, whatever the scope was.
    pub everything: bool,
    /// What it printed.
    pub output: Output,
    /// When it began.
    pub started: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// For the next run.
    pub memory: Memory,
}

impl Ended {
    /// Of a run that never came to a process.
    #[must_use]
    pub fn never_began(outcome: Outcome, text: String, memory: Memory) -> Self {
        Ended {
            outcome,
            exit: None,
            text,
            failed: Vec::new(),
            everything: false,
            output: Output::default(),
            started: SystemTime::now(),
            took: Duration::ZERO,
            memory,
        }
    }
}

/// So many bytes of lines that may be about errors are kept where the middle of an output is not; if
/// they are as many, there were more.
pub const BETWEEN: usize = 8 * 1024;

/// What a program printed, standard output and error as they came; the middle may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The beginning.
    pub first: Vec<u8>,
    /// Bytes left out after it.
    pub dropped: u64,
    /// If any are: of the lines after it those that may be about an error, whole, [`BETWEEN`] bytes at most.
    pub between: Vec<u8>,
    /// The end.
    pub last: Vec<u8>,
}

/// What a runner tells, in this order: `Began` (unless it never came to that; once more where a
/// command has to do what a worker began), signs, `Ended`.
#[derive(Clone, Debug)]
pub enum Event {
    /// The process runs.
    Began {
        /// Which.
        run: RunId,
        /// Its number, which names of messages may carry.
        pid: u32,
    },
    /// It printed something; told once a second at most.
    Sign {
        /// Which.
        run: RunId,
    },
    /// Something about how it is run that the user should know once.
    Said {
        /// Which.
        run: RunId,
        /// That, in one line.
        text: String,
    },
    /// It never began, since another Emacs has got the account's lock; `Ended` follows at once.
    Robbed {
        /// Which.
        run: RunId,
    },
    /// It is over, and nothing of it is left.
    Ended {
        /// Which.
        run: RunId,
        /// How.
        ended: Box<Ended>,
    },
}

/// Why a run is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It gave no sign of life.
    Timeout,
    /// The machine slept, its connections are gone, or nobody wants it any more.
    Interrupt,
    /// mailsync stops: ask it to end, and see to it that nothing is left.
    Stop,
    /// Emacs ends: ask it to end, no more.
    Farewell,
}
