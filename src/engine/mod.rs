//! The engine: one actor thread that owns the pure machines and routes between the rooms.
//!
//! [`core`] is pure and decides; [`actor`] is the thread that feeds it and does what it says;
//! [`pipe`] writes bytes to Lisp; [`status`] is what the main thread reads.

pub mod actor;
pub mod core;
#[cfg(test)]
mod core_tests;
pub mod pipe;
pub mod status;
