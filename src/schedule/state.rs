//! What a user may want to know of an account's syncs.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use super::run::Stage;
use super::{Lock, Pause, Scheduler};
use crate::syncer::Scope;

/// What syncing an account is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// Something waits to be synced.
    Pending,
    /// The syncer runs.
    Running,
    /// The last run failed; another will be tried.
    Failing,
    /// The user, or a server that refuses, stopped it.
    Paused,
    /// Another process does it.
    Elsewhere,
}

impl Phase {
    /// Its name in Lisp.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Idle => "idle",
            Phase::Pending => "pending",
            Phase::Running => "running",
            Phase::Failing => "failing",
            Phase::Paused => "paused",
            Phase::Elsewhere => "elsewhere",
        }
    }
}

/// The state of an account's syncs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncState {
    /// What goes on.
    pub phase: Phase,
    /// No other run starts.
    pub paused: bool,
    /// Folders that wait; `None`: everything does.
    pub pending: Option<usize>,
    /// Messages that came since the run began.
    pub progress: u64,
    /// What the user should know.
    pub text: String,
    /// When the last run succeeded.
    pub last_ok: Option<Instant>,
    /// When the next may start.
    pub next: Option<Instant>,
    /// Whether there is something to push is being looked at.
    pub looking: bool,
    /// Folders with something to push; `None` where nobody knows.
    pub unpushed: Option<usize>,
}

/// How a folder stands with syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderState<'a> {
    /// It waits to be synced.
    pub waits: bool,
    /// It is being synced, and not only since everything is.
    pub runs: bool,
    /// It has something to push, as far as that was looked at.
    pub open: bool,
    /// When it was synced last.
    pub synced: Option<Instant>,
    /// Why it is left alone: it has failed while others did not.
    pub aside: Option<&'a str>,
}

impl FolderState<'_> {
    /// Whether it waits, or something is not well with it.
    #[must_use]
    pub fn matters(&self) -> bool {
        self.waits || self.runs || self.open || self.aside.is_some()
    }
}

impl Scheduler {
    /// How a folder stands.
    #[must_use]
    pub fn folder(&self, real: &Path) -> FolderState<'_> {
        let run = self.run.as_ref();
        let taken = run.is_some_and(|run| run.folders.contains_key(real));
        let everything = run.is_some_and(|run| matches!(run.scope, Scope::Everything));
        let runs = self.is_at(real) && (taken || !everything);
        FolderState {
            waits: self.queue.waits(real) || taken && !runs,
            runs,
            open: self.timing.records && self.records.is_open(real),
            synced: self.queue.synced_at(real),
            aside: self.aside.get(real).map(|(_, why)| &**why),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> SyncState {
        let looking = self.run.as_ref().filter(|run| run.is_only_looked_at());
        let queued = self.queue.len() + looking.map_or(0, |run| run.folders.len());
        let waits = self.whole.is_some() || queued > 0;
        let (phase, text) = match (&self.pause, &self.lock) {
            // Also while Lisp is asked how.
            _ if self.run.is_some() && looking.is_none() => (Phase::Running, self.ending()),
            (Some(Pause::Auth(text)), _) => (Phase::Paused, text.clone()),
            (Some(Pause::User), _) => (Phase::Paused, String::new()),
            (None, Lock::Other(pid)) => (Phase::Elsewhere, elsewhere(*pid)),
            (None, Lock::Orphan(pid)) => (Phase::Elsewhere, orphan(*pid)),
            _ if self.failures > 0 || self.refusals > 0 => (Phase::Failing, self.trouble.clone()),
            _ if waits && self.begun && !self.ready => {
                let text = "waits for its maildir".to_owned();
                (Phase::Pending, text)
            }
            _ if waits => (Phase::Pending, self.trouble.clone()),
            _ => (Phase::Idle, self.trouble.clone()),
        };
        SyncState {
            phase,
            paused: self.pause.is_some(),
            pending: self.whole.is_none().then_some(queued),
            progress: self.run.as_ref().map_or(0, |run| run.progress),
            text,
            last_ok: self.last_ok,
            next: self.next.filter(|_| self.run.is_none()),
            looking: looking.is_some(),
            unpushed: self.unpushed(),
        }
    }

    /// Where the syncer keeps a record, and each folder was looked at.
    fn unpushed(&self) -> Option<usize> {
        if !self.timing.records {
            return None;
        }
        let taken = self.run.iter().flat_map(|run| run.folders.values());
        let local = self.queue.values().chain(taken).filter(|it| it.is_local());
        let local: HashSet<&Path> = local.map(|it| &*it.folder.real).collect();
        let open = self.records.open(|real| local.contains(real))?;
        Some(open + local.len())
    }

    fn ending(&self) -> String {
        match self.run.as_ref().map(|run| &run.stage) {
            Some(Stage::Slept | Stage::Ending(_)) => "is being ended".to_owned(),
            _ => String::new(),
        }
    }
}

fn elsewhere(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("synced by pid {pid}"),
        None => "synced by another process".to_owned(),
    }
}

fn orphan(pid: Option<u32>) -> String {
    let kill = pid.map_or_else(String::new, |pid| format!(" (kill -9 -- -{pid})"));
    format!(
        "{}, which an Emacs that is gone has started; if it hangs, end it{kill}",
        elsewhere(pid)
    )
}
