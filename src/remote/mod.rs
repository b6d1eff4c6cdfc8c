//! Stores on other machines: what the two ends of a connection say to each other.
//!
//! [`protocol`] is the language of watcher programs, both sides of it.

pub mod protocol;
