//! The engine: one actor thread that owns the pure machines and routes between the rooms.
//!
//! [`core`] is pure and decides; [`actor`] is the thread that feeds it and does what it says, both
//! in words of [`messages`]; [`environment`] is the thread that waits for the machine to wake up or
//! change its network or mounts; [`pipe`] writes bytes to Lisp;
//! [`config`] is what Lisp wants, [`status`] what it reads.

pub mod actor;
pub mod config;
pub mod core;
pub mod environment;
pub mod messages;
pub mod pipe;
pub mod status;
