//! What an Emacs tells a mailsync-watch on its own machine: which folders its Gnus has checked.
//!
//! On a server where Gnus splits mail, a folder is of interest to the other end of an ssh connection
//! only when that Gnus has looked at it, since it may move half of what is there.  So `mailsync-watch
//! --attach` asks the Emacs, through a Unix socket of the user's.  [`ledger`] knows what is not checked
//! yet, and whether that Emacs is silent; [`backlog`] merges what a reader has not read; [`wire`] is
//! what goes over the socket, [`place`] where that is and who may be there, [`server`] the thread in
//! Emacs; [`vigil`] waits for the socket to come or go.
//!
//! What a check is, is Lisp's business; what the program does without an Emacs is [`crate::far`]'s.

pub mod backlog;
pub mod ledger;
pub mod place;
#[cfg(feature = "module")]
pub mod server;
pub mod vigil;
pub mod wire;

use std::path::PathBuf;

use crate::change::Kinds;

/// A folder, as both ends of the socket know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spot {
    /// The maildir that it belongs to, by its truename.
    pub root: PathBuf,
    /// Its directory below that, as it is called there.
    pub directory: PathBuf,
    /// Its canonical name.
    pub name: Vec<u8>,
}

/// What an Emacs tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// These maildirs are watched, by their truenames, and no others.
    Roots(Vec<PathBuf>),
    /// Something changed in a folder, and that was checked.
    Change(Spot, Kinds),
    /// Anything may have changed.
    Everything,
    /// It does not answer, so what it checks is not known.
    Silent,
    /// It answers again.
    Back,
}

/// Where an engine tells it.  Nothing here may wait.
pub trait Listener: Send + Sync {
    /// Tell this, in this order.
    fn tell(&self, told: Vec<Told>);
}
