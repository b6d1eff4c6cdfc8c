//! How a run went, by its exit code and what it printed.

use std::path::Path;
use std::sync::Arc;

use super::plan::Plan;
use super::{Memory, Order, Outcome, Output};

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it went.
    pub outcome: Outcome,
    /// What a user should know and do, in one line.
    pub text: String,
    /// Truenames of folders that are not synced.
    pub failed: Vec<Arc<Path>>,
    /// What was learned for the next run.
    pub memory: Memory,
}

/// Judge a run that ended by itself or by somebody else's signal.
#[must_use]
pub fn judge(_order: &Order, plan: &Plan, _exit: Exit, _output: &Output) -> Verdict {
    Verdict {
        outcome: Outcome::Ok,
        text: String::new(),
        failed: Vec::new(),
        memory: plan.memory.clone(),
    }
}
