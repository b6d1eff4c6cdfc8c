//! What a Maildir tree is: its layouts, its folders' names, and how to find them.
//!
//! - [`fs`]: the little of a file system that this room asks for, so that tests can lie about it.
//! - [`stamp`]: what a directory looked like, and whether that proves that nothing happened.
//! - [`utf7`]: modified UTF-7, in which folder names lie on disk.
//! - [`name`]: from directory entries to canonical folder names, and back.
//! - [`message`]: what the name of a message's file says.
//! - [`mod@discover`]: from a root to its folders, and to the directories where folders can appear.
//! - [`mod@diff`]: from two looks at a tree to what differs.
//!
//! Everything here reads names and stamps of directories and nothing else: no message is ever
//! opened, listed or counted.  When to look, and whom to tell, is `watch`'s business.

pub mod diff;
pub mod discover;
pub mod fs;
pub mod message;
#[cfg(test)]
pub(crate) mod model;
pub mod name;
pub mod stamp;
pub mod utf7;

pub use diff::{Delta, absorb, diff};
pub use discover::{
    Container, FoundFolder, Layout, Problem, RootError, Scan, discover, maildir_part,
    never_a_folder,
};
pub use fs::{ByPath, DiskFs, Entry, EntryKind, FileId, Fs, Opened, Stat, Wall};
pub use name::{INBOX, canonical, directory, push_level};
pub use stamp::{Clock, Stamp, Verdict};
