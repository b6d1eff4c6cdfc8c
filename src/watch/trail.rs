//! The way to a root: the directories outside it in which something can happen that takes the
//! root away, brings it, or puts another one in its place.  The same goes for a folder that is
//! reached by a symbolic link.
//!
//! For `~/Mail` that is `Mail` in the home, the home's name in `/home`, and so on; where the way
//! leads through symbolic links, theirs as well.  A root that is not there has a way that ends
//! early, with the name that is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::maildir::{FileId, Fs};

/// Links on the way at most, as many as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// The way to a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Directories without links in their names, and which of their entries matter.
    pub names: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// Which directories they are; those that cannot be looked at are missing.
    pub ids: BTreeMap<PathBuf, FileId>,
}

impl Trail {
    /// Find the way to `spelling`, which is absolute.
    pub fn find(fs: &dyn Fs, spelling: &Path) -> Self {
        let mut trail = Trail::default();
        trail.add(fs, spelling);
        trail
    }

    /// Find the way to this as well.
    pub fn add(&mut self, fs: &dyn Fs, spelling: &Path) {
        let mut at = PathBuf::from("/");
        let mut links = 0;
        // A stack.
        let mut todo = Vec::new();
        push(&mut todo, spelling);
        while let Some(step) = todo.pop() {
            let name = match step {
                Step::Root => {
                    at = PathBuf::from("/");
                    continue;
                }
                Step::Up => {
                    at.pop();
                    continue;
                }
                Step::Down(name) => name,
            };
            let path = at.join(&name);
            match fs.stat(&at) {
                Ok(stat) if !stat.is_dir => break,
                Ok(stat) => drop(self.ids.insert(at.clone(), stat.id)),
                Err(_) => {}
            }
            self.names.entry(at.clone()).or_default().insert(name);
            match fs.read_link(&path) {
                Ok(target) if links < MOST_LINKS => {
                    links += 1;
                    push(&mut todo, &target);
                }
                // There, and no link.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => at = path,
                _ => break,
            }
        }
    }

    /// Every name on the way.
    pub fn way(&self) -> Vec<PathBuf> {
        let names = self.names.iter();
        names
            .flat_map(|(directory, names)| names.iter().map(|name| directory.join(name)))
            .collect()
    }

    /// Whether an event about this entry, or about this directory of the way, is about the root.
    pub fn leads_by(&self, path: &Path) -> bool {
        let named = || {
            let names = path.parent().and_then(|parent| self.names.get(parent));
            let name = path.file_name();
            names.is_some_and(|names| name.is_some_and(|name| names.contains(name)))
        };
        self.names.contains_key(path) || named()
    }
}

enum Step {
    Root,
    Up,
    Down(OsString),
}

fn push(todo: &mut Vec<Step>, path: &Path) {
    // The stack is taken from the end.
    for component in path.components().rev() {
        todo.push(match component {
            Component::RootDir => Step::Root,
            Component::ParentDir => Step::Up,
            Component::Normal(name) => Step::Down(name.to_owned()),
            Component::CurDir | Component::Prefix(_) => continue,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::DiskFs;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// The way below a temporary directory, whose own name is on it as well.
    fn way(top: &Path, spelling: &str) -> Vec<String> {
        let trail = Trail::find(&DiskFs, &top.join(spelling));
        let below = trail.names.iter().filter_map(|(directory, names)| {
            let directory = directory.strip_prefix(top).ok()?;
            let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
            Some(format!("{}: {}", directory.display(), names.join(" ")))
        });
        let below = below.collect();
        for directory in trail.names.keys() {
            assert!(trail.ids.contains_key(directory), "{directory:?}");
            assert_eq!(&fs::canonicalize(directory).unwrap(), directory);
        }
        let parent = top.parent().unwrap();
        assert!(trail.names[parent].contains(top.file_name().unwrap()));
        below
    }

    #[test]
    fn the_way_leads_through_links_and_ends_where_something_is_missing() {
        let top = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(top.path()).unwrap();
        fs::create_dir_all(top.join("home/Mail")).unwrap();
        fs::create_dir_all(top.join("disk/mail/tree")).unwrap();
        fs::write(top.join("file"), "").unwrap();
        symlink(top.join("disk/mail"), top.join("home/far")).unwrap();
        symlink("../disk/./mail/tree", top.join("home/near")).unwrap();
        symlink("gone", top.join("home/nowhere")).unwrap();
        symlink("loop", top.join("home/loop")).unwrap();
        let table: [(&str, &[&str]); 9] = [
            ("home/Mail", &[": home", "home: Mail"]),
            ("home", &[": home"]),
            ("away", &[": away"]),
            ("away/Mail", &[": away"]),
            ("home/Mail/x/y", &[": home", "home: Mail", "home/Mail: x"]),
            (
                "home/far/tree",
                &[": disk home", "disk: mail", "disk/mail: tree", "home: far"],
            ),
            (
                "home/near",
                &[": disk home", "disk: mail", "disk/mail: tree", "home: near"],
            ),
            ("home/nowhere", &[": home", "home: gone nowhere"]),
            ("home/loop", &[": home", "home: loop"]),
        ];
        for (spelling, expected) in table {
            assert_eq!(way(&top, spelling), expected, "{spelling}");
        }
        // A file is no directory: whatever takes its place comes under its name.
        assert_eq!(way(&top, "file/x"), [": file"]);
    }

    #[test]
    fn only_its_own_names_matter() {
        let top = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(top.path()).unwrap();
        let trail = Trail::find(&DiskFs, &top.join("home/Mail"));
        let table = [
            ("home", true),
            ("other", false),
            ("", true),
            ("home/Mail", false),
        ];
        for (path, expected) in table {
            // The home is missing, so nothing in it is on the way yet.
            assert_eq!(trail.leads_by(&top.join(path)), expected, "{path}");
        }
    }
}
