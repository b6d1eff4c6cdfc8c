//! (to be written)

use std::ffi::OsStr;
use std::sync::Arc;

use anyhow::Result;

/// The lock of an account; free when the last of these is dropped.
pub struct Held;

/// Who has the lock.
#[derive(Clone)]
pub enum Holder {
    /// We do, from now on.
    Us(Arc<Held>),
    /// Another process does, with this number where it said so.
    Other(Option<u32>),
    /// It cannot be had, in words for the user; syncing goes on without.
    Nobody(String),
}

/// Seeks a lock until it is had, or until this is dropped.
pub struct Seeker;

impl Seeker {
    /// Seek the lock of an account on a thread of its own; `tell` hears of each change.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        _account: &str,
        _directory: &OsStr,
        _tell: impl Fn(Holder) + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(Seeker)
    }
}
