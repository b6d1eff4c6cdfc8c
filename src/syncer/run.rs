//! (to be written)

use std::sync::Arc;

use anyhow::Result;

use super::lock::Held;
use super::{End, Event, Order};

/// A run, while it lasts.
pub struct Running;

impl Running {
    /// End it, soon; its `Ended` follows.
    pub fn end(&self, _why: End) {}
}

/// Start a run on a thread of its own.  `tell` gets its events; `held` is the account's lock, kept
/// until nothing of the run is left.
///
/// # Errors
/// When the system gives no thread.
pub fn start(
    _order: Order,
    _held: Option<Arc<Held>>,
    _tell: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Running> {
    Ok(Running)
}
