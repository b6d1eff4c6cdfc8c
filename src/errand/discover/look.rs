//! One look at a directory that is said to hold mail: names and kinds only, and not many of them.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use crate::maildir::{EntryKind, Fs, never_a_folder};

/// So many directories are listed at most before there is a folder, or none.
const MOST_LISTED: usize = 200;

/// So many links are followed at most.
const MOST_LINKS: usize = 2000;

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing.
    Missing,
    /// Something that is no directory.
    NoDirectory,
    /// Something that the system does not let us see; what it says.
    Hidden(String),
    /// A directory.
    Directory(Seen),
}

/// What is in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The directory with links resolved.
    pub real: PathBuf,
    /// There is a folder in it, or it is one, not only by way of links.
    pub mail: bool,
    /// Where links that lie in it directly lead to.
    pub links: Vec<PathBuf>,
}

/// Look at it.
pub fn look(fs: &dyn Fs, directory: &Path) -> Look {
    let real = match fs.canonicalize(directory) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Look::Missing,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Look::Missing,
        Err(error) => return Look::Hidden(error.to_string()),
    };
    match fs.stat(&real) {
        Ok(stat) if stat.is_dir => {}
        Ok(_) => return Look::NoDirectory,
        Err(error) => return Look::Hidden(error.to_string()),
    }
    let mut seen = Seen {
        real: real.clone(),
        ..Seen::default()
    };
    let mut waiting = VecDeque::from([real.clone()]);
    let mut listed = 0;
    while let Some(directory) = waiting.pop_front() {
        if listed == MOST_LISTED {
            break;
        }
        listed += 1;
        let mut entries = match fs.list(&directory) {
            Ok(entries) => entries,
            Err(error) if directory == real => return Look::Hidden(error.to_string()),
            Err(_) => continue,
        };
        let part = |name: &str| {
            let mut entries = entries.iter();
            entries.any(|entry| entry.name == name && entry.kind != EntryKind::Other)
        };
        seen.mail |= part("cur") && part("new") && part("tmp");
        if directory == real {
            let links = entries.iter();
            let links = links.filter(|entry| entry.kind == EntryKind::Symlink);
            let links = links.take(MOST_LINKS).map(|entry| real.join(&entry.name));
            seen.links = links
                .filter_map(|link| fs.canonicalize(&link).ok())
                .collect();
        }
        if seen.mail {
            break;
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let below = entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Directory && !never_a_folder(&entry.name));
        waiting.extend(below.map(|entry| directory.join(&entry.name)));
    }
    Look::Directory(seen)
}
