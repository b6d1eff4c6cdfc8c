//! Stores on other machines: what the two ends of a connection say to each other, and this end of it.
//!
//! [`protocol`] is the language of watcher programs, both sides of it.  [`watcher`] decides when such
//! a program is run and what its end means; [`connection`] runs it, on a thread of its own; [`heard`]
//! is what was heard and not yet seen to, by canonical [`names`]; [`complaints`] keeps a little of what
//! it says on its standard error.  [`attempts`] is what programs and IMAP servers have in common: one
//! connection after the other, and how the store stands.  `imap` watches stores without a program.

pub mod attempts;
pub mod complaints;
pub mod connection;
pub mod heard;
#[cfg(feature = "imap")]
pub mod imap;
pub mod names;
pub mod protocol;
pub mod watcher;
