//! IMAP servers that say themselves what has changed.
//!
//! From the bytes up: [`frame`] cuts responses, [`value`] reads what is in them, [`response`] knows what
//! that says.  [`session`] is what is said on one connection, with the [`sasl`] mechanisms and the
//! [`snapshot`] of all mailboxes; a [`secret`] is not shown.  All of this is pure.

pub mod command;
pub mod frame;
pub mod line;
pub mod response;
pub mod sasl;
pub mod secret;
pub mod session;
pub mod snapshot;
pub mod store;
pub mod tls;
pub mod value;
pub mod wire;
