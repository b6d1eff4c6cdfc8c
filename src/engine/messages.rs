//! What the engine's core learns, and what it wants done: the words between it and its threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::config::{AccountConfig, RemoteId, RootConfig, RootId, SyncConfig};
use crate::change::{AccountId, Folder};
use crate::listen::Told;
use crate::remote::connection;
use crate::remote::heard::Heard;
#[cfg(feature = "imap")]
use crate::remote::imap::{keeper, line, secret::Secret};
use crate::remote::watcher::Over;
use crate::schedule::{Lock, Look};
use crate::syncer::lock::Key;
use crate::syncer::unpushed::Unpushed;
use crate::syncer::{End, Event, Order, RunId, Syncer};
use crate::watch::inbox::Dirty;
use crate::watch::job::{Job, Report};

/// What the engine learns.
#[derive(Debug)]
pub enum Input {
    /// These accounts shall be watched, and no others: the difference is what is done.
    Configure(Vec<AccountConfig>),
    /// The user has done something: what was refused by servers may be had now.
    Retry,
    /// A backend's events.
    Dirty(RootId, Dirty),
    /// A worker's answer.
    Report(RootId, Report),
    /// A worker died.
    WorkerDied(RootId, String),
    /// Lisp made a pipe that takes this many bytes without waiting.
    Attach(i64, usize),
    /// The pipe is closed.
    Detach,
    /// Lisp has read a frame (generation and sequence).
    Acknowledge(i64, u64),
    /// Lisp wants every folder of an account (all accounts), or of one root of it, checked.
    Check(Option<String>, Option<PathBuf>),
    /// Lisp wants to know of the folders of an account (`None`: of all accounts): of all of them, or of
    /// those with which something is the matter.
    Folders {
        /// Whose.
        account: Option<String>,
        /// All of them.
        all: bool,
        /// The answer carries this, and the number.
        slot: String,
        /// As in `Sync`.
        request: i64,
    },
    /// Gnus has checked folders of an account, by truename, as of these serial numbers.
    Checked(String, Vec<(PathBuf, u64)>),
    /// The user wants an account (`None`: all) synced now: these folders (`None`: everything); a
    /// request that is not 0 is answered.
    Sync(Option<String>, Option<Vec<Vec<u8>>>, i64),
    /// Pause the syncs of an account (`None`: all), or resume them.
    Pause(Option<String>, bool),
    /// Lisp's answer to how a syncer is run this time.
    Planned(String, u64, Option<Box<Syncer>>),
    /// Run a syncer that is no account's: its key, folders and request.
    RunOnce {
        /// Runs of one key never overlap.
        key: String,
        /// What to run.
        sync: Box<SyncConfig>,
        /// `None`: everything.
        folders: Option<Vec<Vec<u8>>>,
        /// As in `Sync`.
        request: i64,
    },
    /// A runner's news.
    Ran(AccountId, Event),
    /// What folders of an account differ from their servers in.
    Looked(AccountId, Look, Vec<(Arc<Folder>, Unpushed)>),
    /// Who may sync an account.
    Locked(AccountId, Lock),
    /// A watcher of a remote store says something: its program's number, and what.
    Heard(RemoteId, u64, Heard),
    /// A program that watched one is over.
    HungUp(RemoteId, u64, Over),
    /// A connection to an IMAP server has news, or Lisp has about one.
    #[cfg(feature = "imap")]
    Imap(RemoteId, keeper::Event),
    /// An errand is done: slot, number of the request, what it found out.
    Answer(String, i64, Vec<Vec<u8>>),
    /// Something for the log: its level and text.
    Log(&'static str, String),
    /// The machine slept, for so long.
    Woke(Duration),
    /// The wall clock was set, which stamps are compared by.
    ClockSet,
    /// An address or a route came or went.
    NetworkChanged,
    /// From now on `Mounts` comes when something is mounted or unmounted, or does not.
    MountsAreTold(bool),
    /// Something was mounted or unmounted here.
    Mounts(Vec<PathBuf>),
    /// Other programs want to know what was checked, where Lisp is silent after so long (`None`: nobody
    /// does).
    Listen(Option<Duration>),
    /// Only time has passed.
    Tick,
}

/// What the engine wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a worker for a new root.
    Open(RootId, RootConfig),
    /// Give a worker a job; it has none.
    Run(RootId, Job),
    /// End a worker.
    Close(RootId),
    /// Look into the root's inbox again.
    Take(RootId),
    /// Write a frame; the pipe has room for it.
    Send(Vec<u8>),
    /// Run a syncer.
    Sync(AccountId, Box<Order>),
    /// Look what these folders differ from their servers in; the order is one of everything.
    Look(AccountId, Look, Box<Order>, Vec<Arc<Folder>>),
    /// End a run.
    EndSync(RunId, End),
    /// End an account's worker, when its run is over.
    EndWorker(AccountId),
    /// Seek the lock of an account, instead of one that it had, and say who has it.
    SeekLock(AccountId, Key),
    /// Give it up, and the account's worker with it.
    DropLock(AccountId),
    /// Run a program that watches a remote store.
    Connect(RemoteId, Box<connection::Order>),
    /// End it.
    Disconnect(RemoteId),
    /// Connect to an IMAP server, or do something about the connection.
    #[cfg(feature = "imap")]
    Imap(RemoteId, Imap),
    /// Tell this to other programs.
    Tell(Vec<Told>),
}

/// What is to be done about a connection to an IMAP server.
#[cfg(feature = "imap")]
#[derive(Debug, PartialEq, Eq)]
pub enum Imap {
    /// Make it.
    Connect(Box<line::Order>),
    /// End it.
    End,
    /// Have it prove that it lives.
    Poke,
    /// Give it the secret that it asked for, or say why there is none.
    Give(Result<Secret, String>),
}
