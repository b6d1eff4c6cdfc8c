//! What there is in a tree, seen with eyes that share nothing with the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A folder as it is: its parts' identities, and what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    parts: [u64; 2],
    pub(crate) messages: BTreeSet<OsString>,
}

/// The folders of a tree, by truename.
pub(crate) type Folders = BTreeMap<PathBuf, Contents>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Nested,
    Plus,
    Legacy,
}

/// The folders that there are.
pub(crate) fn look(root: &Path) -> Folders {
    let mut folders = Folders::new();
    let Ok(root) = root.canonicalize() else {
        return folders;
    };
    let mut links = Vec::new();
    look_into(&root, Place::Root, &mut folders, &mut links);
    let mut done = 0;
    while done < links.len() {
        let (link, place): (PathBuf, Place) = links[done].clone();
        done += 1;
        if let Ok(real) = link.canonicalize()
            && !root.starts_with(&real)
            && !folders.contains_key(&real)
        {
            look_into(&real, place, &mut folders, &mut links);
        }
    }
    folders
}

fn look_into(dir: &Path, place: Place, folders: &mut Folders, links: &mut Vec<(PathBuf, Place)>) {
    let ino = |part: &str| {
        let stat = fs::metadata(dir.join(part)).ok()?;
        stat.is_dir().then(|| stat.ino())
    };
    if let (Some(new), Some(cur), Some(_)) = (ino("new"), ino("cur"), ino("tmp")) {
        let messages = ["new", "cur"].iter().flat_map(|part| list(&dir.join(part)));
        let messages = messages.collect();
        let parts = [new, cur];
        folders.insert(dir.to_owned(), Contents { parts, messages });
    }
    if place == Place::Plus {
        return;
    }
    for name in list(dir) {
        let dotted = name.as_bytes().starts_with(b".");
        if ["new", "cur", "tmp", ".nnmaildir"]
            .iter()
            .any(|it| name == *it)
        {
            continue;
        }
        let inner = match (place, dotted) {
            (Place::Root, true) => Place::Plus,
            (Place::Root | Place::Nested, false) => Place::Nested,
            (Place::Nested | Place::Legacy, true) => Place::Legacy,
            _ => continue,
        };
        let path = dir.join(name);
        let Ok(stat) = path.symlink_metadata() else {
            continue;
        };
        if stat.is_symlink() {
            links.push((path, inner));
        } else if stat.is_dir() {
            look_into(&path, inner, folders, links);
        }
    }
}

/// The names in a directory; none where it is gone.
pub(crate) fn list(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

/// Folders that are in one and not in the other, or not the same.
pub(crate) fn differing<'a>(a: &'a Folders, b: &'a Folders) -> BTreeSet<&'a PathBuf> {
    let both = a.keys().chain(b.keys());
    both.filter(|real| a.get(*real) != b.get(*real)).collect()
}
