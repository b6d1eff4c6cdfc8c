//! mailsync's engine: on background threads it watches Maildirs, tells Emacs which folders changed,
//! and has them synced.
//!
//! ```text
//! Maildir (new/ cur/)          this library                          Emacs (main thread)
//!   one worker a root --> engine --> coalescer --> notifier ==pipe==> mailsync.el --> Gnus
//!   (watch, rescan)      (1 thread)                         names     filter           |
//!   IMAP, mailsync-watch ->|                                                            |
//!                          +-> scheduler --> runner --> mbsync, OfflineIMAP ...        |
//!                                 ^----------------------- "checked" -----------------+
//! ```
//!
//! Start reading at [`change`] (the vocabulary), then [`engine`] (who talks to whom), then the
//! pure machines [`coalesce`], [`notifier`] and [`schedule`].  [`maildir`] knows what a Maildir is,
//! [`watch`] notices that one changes, [`echo`] who wrote a message, [`syncer`] how syncers are run;
//! [`frame`] is the wire format, [`module`] is all that Lisp sees; what that wants to know of disks is
//! an [`errand`].
//!
//! [`remote`] watches stores on other machines.  [`far`] is mailsync-watch, the same engine at the far
//! end of an ssh connection, without Emacs; [`listen`] is how that program asks an Emacs on its own
//! machine.  What the lines of both have in common is in [`notation`].
//!
//! Several rooms use [`backoff`] (how long to wait after a failure), [`threads`] (deaf to signals) and
//! `ready` (waiting for descriptors).
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod backoff;
pub mod change;
pub mod coalesce;
pub mod echo;
pub mod engine;
pub mod errand;
pub mod far;
pub mod frame;
pub mod listen;
pub mod maildir;
#[cfg(feature = "module")]
pub mod module;
pub mod notation;
pub mod notifier;
mod ready;
pub mod remote;
pub mod schedule;
pub mod syncer;
pub mod threads;
pub mod watch;

#[cfg(feature = "module")]
emacs::plugin_is_GPL_compatible!();

/// Called by Emacs when it loads the module; the functions register themselves.
///
/// The feature has a name of its own: `mailsync-module` is the Lisp file that loads it.
#[cfg(feature = "module")]
#[emacs::module(
    name = "mailsync-engine",
    defun_prefix = "mailsync-module",
    separator = "--",
    mod_in_name = false
)]
fn init(_env: &emacs::Env) -> emacs::Result<()> {
    threads::quiet_panics();
    Ok(())
}
