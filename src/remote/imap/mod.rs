//! IMAP servers that say themselves what has changed.
//!
//! From the bytes up: [`frame`] cuts responses, [`value`] reads what is in them, [`response`] knows what
//! that says.  [`session`] is what is said on one connection, with the [`sasl`] mechanisms and the
//! [`snapshot`] of all mailboxes; a [`secret`] is not shown.  [`keeper`] decides when there is a connection
//! and what its end means.  All of this is pure.
//!
//! [`line`](mod@line) is the thread that has the connection, [`wire`] how bytes get to the server, by
//! [`tls`] or by a program, [`command`] a program that prints a secret.

pub mod command;
pub mod frame;
pub mod keeper;
pub mod line;
pub mod response;
pub mod sasl;
pub mod secret;
pub mod session;
pub mod snapshot;
pub mod tls;
pub mod value;
pub mod wire;
