//! A run, from the look that may show that nobody needs it to its end.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Act;
use super::pending::{Pending, is_by_name};
use crate::change::Folder;
use crate::syncer::{End, RunId, Scope};

/// A wish for a sync of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    pub(super) since: Instant,
    pub(super) urgent: bool,
    /// It is to cover what nobody tells: what happened until the maildirs were looked at.  A run
    /// that began before that does not.
    pub(super) untold: bool,
    /// Of the last wish for it.
    pub(super) moment: u64,
}

/// How far a run is.
pub(super) enum Stage {
    /// Its folders are looked at, until then: it may not be needed.
    Looking(Instant),
    /// Lisp was asked how, and has until then to answer.
    Planning(Instant),
    /// It runs, and gave its last sign of life then.
    Running(Instant),
    /// It runs, and the machine slept meanwhile.
    Slept,
    /// It runs, and was told to end.
    Ending(End),
}

pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) scope: Scope,
    pub(super) quick: bool,
    pub(super) stage: Stage,
    pub(super) folders: HashMap<Arc<Path>, Pending>,
    pub(super) whole: Option<Whole>,
    /// What was queued up to then it covers.
    pub(super) moment: u64,
    /// The maildirs were being watched when it began.
    pub(super) ready: bool,
    pub(super) requests: Vec<i64>,
    pub(super) progress: u64,
}

impl Run {
    /// The syncer was started.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Looking(_) | Stage::Planning(_))
    }

    /// It may not be needed.
    pub(super) fn is_only_looked_at(&self) -> bool {
        matches!(self.stage, Stage::Looking(..))
    }

    /// It is for its folders.
    pub(super) fn name_folders(&mut self) {
        let mut named: Vec<_> = self.folders.values().map(|it| it.folder.clone()).collect();
        // Names first: paths are slow to compare.
        named.sort_unstable_by(|a, b| (&a.name, &a.real).cmp(&(&b.name, &b.real)));
        self.scope = Scope::Folders(named);
        self.quick = self.folders.values().all(Pending::quick);
    }

    pub(super) fn start(&self) -> Act {
        Act::Start {
            run: self.id,
            scope: self.scope.clone(),
            quick: self.quick,
        }
    }

    /// Whether it has taken a folder, which may have been known by its name only.
    pub(super) fn took(&self, real: &Path, folder: Option<&Folder>) -> bool {
        let mut taken = self.folders.values().map(|it| &it.folder);
        let named = folder.filter(|it| is_by_name(it));
        self.folders.contains_key(real)
            || named.is_some_and(|named| taken.any(|it| it.name == named.name))
    }

    /// Whether what this was wanted for has happened before it began.
    pub(super) fn knows(&self, whole: &Whole) -> bool {
        self.ready || !whole.untold
    }
}
