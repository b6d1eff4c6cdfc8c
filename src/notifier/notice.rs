//! What may be told besides changes, and by which key what waits is replaced.

use std::path::PathBuf;
use std::sync::Arc;

use crate::change::AccountId;
use crate::engine::config::RemoteId;
use crate::frame::Synced;

/// The state of a store that is configured no longer.
pub const GONE: &str = "gone";

/// A message to Lisp other than a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The state of an account; the last one stands for all.
    State {
        /// Whose.
        account: AccountId,
        /// `starting`, `watching`, `waiting` or `error`.
        state: &'static str,
        /// What a user should know, and do.
        text: String,
    },
    /// A root was scanned for the first time: what happens from now on is noticed.  Without a
    /// directory: anything may have changed in an account without roots.
    Ready {
        /// Whose.
        account: AccountId,
        /// The root as the user spells it.
        directory: PathBuf,
    },
    /// How an account's syncs stand; the last one stands for all.
    Sync {
        /// Whose.
        account: AccountId,
        /// `idle`, `pending`, `running`, `failing`, `paused` or `elsewhere`.
        phase: &'static str,
        /// No other run starts.
        paused: bool,
        /// Folders that wait; `None`: everything.
        pending: Option<usize>,
        /// Messages that came since the run began.
        progress: u64,
        /// What a user should know.
        text: String,
    },
    /// A run begins; the last one stands for all.
    Syncing {
        /// Whose.
        account: AccountId,
        /// Its number.
        run: u64,
        /// How many folders it covers; 0: everything.
        total: usize,
        /// Their names, as many as fit.
        names: Vec<Arc<[u8]>>,
    },
    /// Lisp is to say how to run a syncer.
    Plan {
        /// Whose.
        account: AccountId,
        /// For which run.
        run: u64,
        /// For which folders; none: everything.
        names: Vec<Arc<[u8]>>,
    },
    /// A run has ended.
    Synced {
        /// Whose.
        account: AccountId,
        /// Its number.
        run: u64,
        /// What became of it.
        result: Box<Synced>,
    },
    /// How a remote store is being watched; the last one stands for all.
    Remote {
        /// Whose.
        account: AccountId,
        /// Its number.
        remote: RemoteId,
        /// What watches it.
        what: String,
        /// `starting`, `connected`, `waiting`, `paused`, or [`GONE`] from the configuration.
        state: &'static str,
        /// What a user should know, and do.
        text: String,
    },
    /// The password for a remote store is wanted; the last one stands for all.
    Secret {
        /// Whose.
        account: AccountId,
        /// The store's number.
        remote: RemoteId,
        /// The connection's.
        number: u64,
        /// The server.
        host: String,
        /// Its port.
        port: u16,
        /// Who logs in.
        user: String,
        /// The last one was refused.
        anew: bool,
    },
    /// A line for the log; equal lines that are still unsent are one.
    Log {
        /// `info`, `warning` or `error`.
        level: &'static str,
        /// The line.
        text: String,
    },
    /// One part of what an errand found out.
    Answer {
        /// What the request is about; a later answer replaces an earlier one.
        slot: String,
        /// Its number, given by Lisp.
        request: i64,
        /// Which part (from 0), of how many.
        part: (usize, usize),
        /// As the errand has them.
        fields: Vec<Vec<u8>>,
    },
}

/// Of two notices with one key the later one stands for both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum NoticeKey {
    State(AccountId),
    Ready(AccountId, PathBuf),
    Sync(AccountId),
    Syncing(AccountId),
    Plan(AccountId),
    Synced(AccountId, u64),
    Remote(RemoteId),
    Secret(RemoteId),
    Log(String),
    Answer(String, usize),
}

impl Notice {
    pub(super) fn account(&self) -> Option<AccountId> {
        match self {
            Notice::State { account, .. }
            | Notice::Ready { account, .. }
            | Notice::Sync { account, .. }
            | Notice::Syncing { account, .. }
            | Notice::Plan { account, .. }
            | Notice::Remote { account, .. }
            | Notice::Secret { account, .. }
            | Notice::Synced { account, .. } => Some(*account),
            Notice::Log { .. } | Notice::Answer { .. } => None,
        }
    }

    /// The store that is gone.
    pub(super) fn gone(&self) -> Option<RemoteId> {
        match self {
            Notice::Remote { remote, state, .. } if *state == GONE => Some(*remote),
            _ => None,
        }
    }

    pub(super) fn key(&self) -> NoticeKey {
        match self {
            Notice::State { account, .. } => NoticeKey::State(*account),
            Notice::Ready { account, directory } => NoticeKey::Ready(*account, directory.clone()),
            Notice::Sync { account, .. } => NoticeKey::Sync(*account),
            Notice::Syncing { account, .. } => NoticeKey::Syncing(*account),
            Notice::Plan { account, .. } => NoticeKey::Plan(*account),
            Notice::Synced { account, run, .. } => NoticeKey::Synced(*account, *run),
            Notice::Remote { remote, .. } => NoticeKey::Remote(*remote),
            Notice::Secret { remote, .. } => NoticeKey::Secret(*remote),
            Notice::Log { text, .. } => NoticeKey::Log(text.clone()),
            Notice::Answer { slot, part, .. } => NoticeKey::Answer(slot.clone(), part.0),
        }
    }
}
