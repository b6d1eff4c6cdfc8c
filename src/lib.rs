//! mailsync's engine: it watches Maildirs on background threads and tells Emacs which folders
//! changed.
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod change;
pub mod maildir;
