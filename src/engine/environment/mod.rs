//! The thread that waits for the machine: it woke up, its clock was set, its network or its mounts
//! changed.
//!
//! It blocks in poll(2) and wakes nobody while nothing happens: no D-Bus, no probes, no timer.
//! What follows from its news is the core's business.  Elsewhere than on Linux there is no such
//! thread: nobody notices a sleep there, and what is mounted is looked for.

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod linux;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod mounts;

use std::time::Duration;

use anyhow::Result;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub use linux::support;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
use linux::{Ends, start};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// From now on `Mounts` comes.
    MountsAreTold,
    /// Something was mounted or unmounted at these places.
    Mounts(Vec<std::path::PathBuf>),
    /// The wall clock jumped: it was set, or the machine slept.
    Clock,
    /// An address or a route came or went.
    Network,
    /// Nothing comes any more, for this reason.
    Ended(String),
}

/// Something of the machine that mailsync wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// That it slept.
    Sleep,
    /// That its clock was set.
    Clock,
    /// That its network changed.
    Network,
    /// That something was mounted.
    Mounts,
}

/// Whether that can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// What.
    pub what: Told,
    /// What the system says where it cannot.
    pub refused: Option<String>,
}

/// The thread, which ends when this is dropped.
pub struct Environment {
    _ends: Ends,
}

impl Environment {
    /// Start the thread; it calls `tell` until that returns false.
    ///
    /// # Errors
    /// When the system gives no descriptor or no thread.
    pub fn start(tell: impl Fn(News) -> bool + Send + Sync + 'static) -> Result<Self> {
        start(tell).map(|ends| Environment { _ends: ends })
    }
}

/// For how long this machine has slept since it was started; what counts is that it grows.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
#[must_use]
pub fn slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // Boot time goes on in a sleep, monotonic time does not (clock_gettime(2)).  Read last, boot
    // time is a little more, and never less.
    let awake = clock_gettime(ClockId::Monotonic);
    let all = clock_gettime(ClockId::Boottime);
    let since_start = |time| Duration::try_from(time).unwrap_or_default();
    since_start(all).saturating_sub(since_start(awake))
}

/// Nobody knows.
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
#[must_use]
pub fn slept() -> Duration {
    Duration::ZERO
}

/// Nothing is told.
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
#[must_use]
pub fn support() -> Vec<Support> {
    let what = [Told::Sleep, Told::Clock, Told::Network, Told::Mounts];
    let told = what.map(|what| Support {
        what,
        refused: Some("this system does not tell it".to_owned()),
    });
    told.into()
}

#[cfg(any(not(target_os = "linux"), feature = "portable"))]
struct Ends;

#[cfg(any(not(target_os = "linux"), feature = "portable"))]
fn start(_: impl Fn(News) -> bool + Send + Sync + 'static) -> Result<Ends> {
    Ok(Ends)
}
