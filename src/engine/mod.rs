//! The engine: one actor thread that owns the pure machines and routes between the rooms.
//!
//! [`core`] is pure and decides, with a `root` for each Maildir; [`actor`] is the thread that
//! feeds it and does what it says; [`environment`] is the thread that waits for the machine to
//! wake up or change its network or mounts; [`names`] resolves file names; [`pipe`] writes bytes to Lisp; [`config`] is what Lisp
//! wants, [`status`] what it reads.

pub mod actor;
pub mod config;
pub mod core;
#[cfg(test)]
mod core_tests;
pub mod environment;
pub mod names;
pub mod pipe;
mod root;
pub mod status;
mod syncs;
