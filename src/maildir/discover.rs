//! From a root to its folders, and to the directories in which folders can appear.
//!
//! A folder is a directory that has the directories `cur`, `new` and `tmp`.  Those three are never
//! listed, since they may hold a million messages: their `stat` tells all that is asked here.
//! What cannot be read is collected and the rest goes on.  When to look again, and what to watch,
//! is `watch`'s business; [`Scan`] has what it needs for both.
//!
//! | Entry | in the root | in `a` | in `.a` | in `a/.b` |
//! |---|---|---|---|---|
//! | `x`  | nested: `x`   | nested: `a/x`     | not looked at | not looked at  |
//! | `.x` | Maildir++: `x` | mbsync's Legacy: `a/x` | not looked at | Legacy: `a/b/x` |
//!
//! That is [`Layout::Auto`]; Maildir++ is its first column without `x`, nested are its first two
//! columns without `.x`.  So a folder of Maildir++ costs three `stat` and no listing, any other
//! directory one listing and three `stat`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt, io};

use super::fs::{ByPath, EntryKind, FileId, Fs, Opened};
use super::name::{INBOX, canonical};
use super::stamp::Stamp;

/// How deep directories may nest below a root, in levels: more than any mail has, and an end for
/// trees that no check of identities can see the end of.
const DEEPEST: usize = 64;

/// How the folders of a tree lie in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Whatever is there, the other two mixed included.
    #[default]
    Auto,
    /// Only the root and its entries that begin with a dot: folder `a/b` is `.a.b` (Courier,
    /// Dovecot).
    MaildirPlusPlus,
    /// Only entries that do not begin with a dot, at any depth: folder `a/b` is `a/b` (mbsync's
    /// Verbatim, OfflineIMAP with `sep = /`, Dovecot's `LAYOUT=fs`).
    Nested,
}

/// A folder as it was found.  All who know it share it, or its strings: there are many folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFolder {
    /// Its canonical name (see [`canonical`]), `INBOX` for the root.
    pub name: Arc<[u8]>,
    /// Its directory as the user sees it: the root as spelled, then the entries as found.
    pub directory: Arc<Path>,
    /// Its directory with symbolic links resolved: the folder's identity.
    pub real: Arc<Path>,
    /// What `new` looked like.
    pub new: Stamp,
    /// What `cur` looked like.
    pub cur: Stamp,
}

/// A directory in which folders can appear, or which may become one: to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its path with symbolic links resolved; a folder shares it.
    pub real: Arc<Path>,
    /// Which directory it was.
    pub id: FileId,
}

/// Something that could not be looked at; the rest of the tree could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: the root as spelled, then the entries as found.  What lies at and below it is in
    /// doubt.
    pub path: PathBuf,
    /// The same place with symbolic links resolved, but for its last name.
    pub real: PathBuf,
    /// What sort of error.
    pub kind: io::ErrorKind,
    /// The error in the system's words, without the path.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.text)
    }
}

/// What one look at a tree found; every list is sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The root with symbolic links resolved; also the path of one of the containers.
    pub real_root: PathBuf,
    /// The folders, by name; two directories may come to one name.
    pub folders: Vec<Arc<FoundFolder>>,
    /// The directories to watch for folders, by path.
    pub containers: Vec<Container>,
    /// The symbolic links that may lead to folders, now or later: where they are, by path.
    pub links: Vec<PathBuf>,
    /// What could not be looked at, by path.
    pub problems: Vec<Problem>,
}

/// Why a root could not be looked at, at all.
#[derive(Debug)]
pub enum RootError {
    /// There is nothing at this path, or a link that leads nowhere.
    Missing(PathBuf),
    /// There is something else.
    NotADirectory(PathBuf),
    /// There is something, but the system does not let us see it.
    Unreadable(PathBuf, io::Error),
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            RootError::Missing(path) => {
                write!(f, "there is no directory {}", path.display())
            }
            RootError::NotADirectory(path) => write!(f, "{} is not a directory", path.display()),
            RootError::Unreadable(path, error) => {
                write!(f, "{} cannot be read: {error}", path.display())
            }
        }
    }
}

impl error::Error for RootError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            RootError::Unreadable(_, error) => Some(error),
            RootError::Missing(_) | RootError::NotADirectory(_) => None,
        }
    }
}

/// Whether a directory entry is one of the three parts of a maildir: `cur`, `new`, `tmp`.
///
/// They are never folders, even where the directory that they are in is none.  But where one of
/// them appears or vanishes, that directory may have become a folder or ceased to be one.
#[must_use]
pub fn maildir_part(name: &OsStr) -> bool {
    matches!(name.as_bytes(), b"cur" | b"new" | b"tmp")
}

/// Whether a directory entry can neither be a folder nor hold one, whatever is in it.
///
/// True for the parts of a maildir (see [`maildir_part`] for when they matter), for nnmaildir's
/// own directory, and for the files in which Dovecot, Courier, mbsync and Maildir++ keep indexes:
/// they are replaced all the time, and a watcher must not look again each time.  Names that
/// somebody could give to a folder (`dovecot`, `subscriptions`) are not among them: at worst
/// those cost a look.  Discovery looks at nothing for which this is true.
#[must_use]
pub fn never_a_folder(name: &OsStr) -> bool {
    const NAMES: [&[u8]; 4] = [
        b".nnmaildir",
        b".uidvalidity",
        b"maildirfolder",
        b"maildirsize",
    ];
    // With what may follow: `.lock`, `.log`, `.journal`, `.tmp`, a UIDVALIDITY, a process number.
    const BEGINNINGS: [&[u8]; 19] = [
        b"..DOVECOT-TRASHED",
        b".isyncuidmap.db",
        b".mbsyncstate",
        b".uidvalidity.",
        b"courierimapacl",
        b"courierimaphieracl",
        b"courierimapkeywords",
        b"courierimapsubscribed",
        b"courierimapuiddb",
        b"courierpop3dsizelist",
        b"dovecot-acl",
        b"dovecot-keywords",
        b"dovecot-uidlist",
        b"dovecot-uidvalidity",
        b"dovecot.index",
        b"dovecot.list.index",
        b"dovecot.mailbox.log",
        b"dovecot.map.index",
        b"maildirsize.",
    ];
    let bytes = name.as_bytes();
    // The first byte tells most folders from all of these.
    let begins =
        |beginning: &&[u8]| bytes.first() == beginning.first() && bytes.starts_with(beginning);
    maildir_part(name) || NAMES.contains(&bytes) || BEGINNINGS.iter().any(begins)
}

/// Find the folders of the root that the user spells `spelling`.
///
/// `exclude` are the real paths of other roots: those below this one, or below a directory that a
/// link of this one leads to, are not entered (the longest root wins).  Symbolic links to
/// directories are followed, after all real directories; a directory is visited once, under the
/// first spelling, and never by way of a link to what contains the root.  What vanishes between
/// two looks was never there.  An empty root is no error: its folders may be yet to come.
///
/// Takes one look at each directory: whatever appears after that is for the watches to tell,
/// which must therefore be set before.
///
/// # Errors
/// Where the root itself is missing, not a directory, or cannot be listed.
pub fn discover(
    fs: &dyn Fs,
    spelling: &Path,
    layout: Layout,
    exclude: &[PathBuf],
) -> Result<Scan, RootError> {
    let at_root = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => RootError::Missing(spelling.to_path_buf()),
        io::ErrorKind::NotADirectory => RootError::NotADirectory(spelling.to_path_buf()),
        _ => RootError::Unreadable(spelling.to_path_buf(), error),
    };
    let real_root = fs.canonicalize(spelling).map_err(at_root)?;
    if !fs.stat(&real_root).map_err(at_root)?.is_dir {
        return Err(RootError::NotADirectory(spelling.to_path_buf()));
    }
    let root = Directory {
        spelled: spelling.to_path_buf(),
        real: real_root.clone(),
        name: Vec::new(),
        depth: 0,
        place: Place::Root,
    };
    let mut walk = Walk {
        fs,
        layout,
        exclude,
        listed: HashSet::new(),
        found: HashSet::new(),
        links: Vec::new(),
        scan: Scan {
            real_root,
            ..Scan::default()
        },
    };
    walk.list(&root).map_err(at_root)?;
    // Links last, so that what lies below the root is known under its own name.
    while !walk.links.is_empty() {
        let mut links = std::mem::take(&mut walk.links);
        links.sort_by(|a, b| bytes(&a.spelled).cmp(bytes(&b.spelled)));
        for link in links {
            walk.scan.links.push(link.real.clone());
            walk.follow(link);
        }
    }
    let mut scan = walk.scan;
    scan.folders
        .sort_by(|a, b| (&a.name, bytes(&a.real)).cmp(&(&b.name, bytes(&b.real))));
    scan.containers
        .sort_by(|a, b| bytes(&a.real).cmp(bytes(&b.real)));
    scan.links.sort_by(|a, b| bytes(a).cmp(bytes(b)));
    scan.problems
        .sort_by(|a, b| bytes(&a.path).cmp(bytes(&b.path)));
    Ok(scan)
}

/// A path's bytes, which compare much faster than its components.
fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Where a directory lies decides which of its entries can be folders (the table above).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    /// Below the root, no entry on the way beginning with a dot.
    Nested,
    /// An entry of the root that begins with a dot: a folder, or to become one; never listed.
    Plus,
    /// An entry that begins with a dot, further down.
    Legacy,
}

impl Place {
    /// The place of an entry in a directory of this place.
    fn of(self, layout: Layout, entry: &OsStr) -> Option<Place> {
        let plus = layout != Layout::Nested;
        let nested = layout != Layout::MaildirPlusPlus;
        match (self, entry.as_bytes().starts_with(b".")) {
            (Place::Root, true) if plus => Some(Place::Plus),
            (Place::Root | Place::Nested, false) if nested => Some(Place::Nested),
            (Place::Nested | Place::Legacy, true) if plus => Some(Place::Legacy),
            _ => None,
        }
    }
}

/// A directory to be looked at, or a link that may lead to one.
struct Directory {
    spelled: PathBuf,
    /// Of a link: the link itself.
    real: PathBuf,
    /// Canonical; empty for the root.
    name: Vec<u8>,
    depth: usize,
    place: Place,
}

struct Walk<'a> {
    fs: &'a dyn Fs,
    layout: Layout,
    exclude: &'a [PathBuf],
    /// The containers so far.
    listed: HashSet<FileId>,
    /// The folders so far, by their `new` and `cur`: spares a `stat` of the folder itself.
    found: HashSet<(FileId, FileId)>,
    links: Vec<Directory>,
    scan: Scan,
}

impl Walk<'_> {
    fn visit(&mut self, directory: &Directory) {
        if self.excluded(&directory.real) {
            return;
        }
        let result = if directory.depth > DEEPEST {
            Err(io::Error::other("nested too deep"))
        } else if directory.place == Place::Plus {
            self.probe(directory)
        } else {
            self.list(directory)
        };
        if let Err(error) = result {
            self.problem(directory, &error);
        }
    }

    /// Look at a link: where it leads to a directory, that is visited.
    fn follow(&mut self, link: Directory) {
        let target = self.fs.canonicalize(&link.real).and_then(|real| {
            let is_dir = self.fs.stat(&real)?.is_dir;
            Ok((real, is_dir))
        });
        match target {
            // What contains the root is a cycle, too: and a very long way round.
            Ok((real, true)) if !self.scan.real_root.starts_with(&real) => {
                self.visit(&Directory { real, ..link });
            }
            Ok(_) => {}
            Err(error) => self.problem(&link, &error),
        }
    }

    /// An entry of the root that begins with a dot: a folder, or what may become one.
    fn probe(&mut self, directory: &Directory) -> io::Result<()> {
        let opened = ByPath(self.fs, &directory.real);
        let parts = self.parts(&opened, None)?;
        let real: Arc<Path> = directory.real.as_path().into();
        if let Some((new, cur)) = parts {
            self.folder(directory, real, new, cur);
            return Ok(());
        }
        let id = self.fs.stat(&real)?.id;
        if self.listed.insert(id) {
            self.scan.containers.push(Container { real, id });
        }
        Ok(())
    }

    /// A directory that may be a folder and may hold others.
    fn list(&mut self, directory: &Directory) -> io::Result<()> {
        let mut opened = self.fs.open(&directory.real)?;
        let id = opened.id()?;
        if self.listed.contains(&id) {
            return Ok(());
        }
        let mut entries = opened.list()?;
        let kind_of = |part: &str| {
            let entry = entries.iter().find(|entry| entry.name == part)?;
            (entry.kind != EntryKind::Other).then_some(entry.kind)
        };
        let mut parts = None;
        if kind_of("new").is_some() && kind_of("cur").is_some() && kind_of("tmp").is_some() {
            match self.parts(&*opened, kind_of("tmp")) {
                Ok(found) => parts = found,
                Err(error) => self.problem(directory, &error),
            }
        }
        // There may be a limit, and what is below takes its own.
        drop(opened);
        if let Some((new, cur)) = &parts
            && self.found.contains(&(new.id, cur.id))
        {
            // A link to a folder of Maildir++, which holds no others.
            return Ok(());
        }
        self.listed.insert(id);
        let real: Arc<Path> = directory.real.as_path().into();
        self.scan.containers.push(Container {
            real: real.clone(),
            id,
        });
        if let Some((new, cur)) = parts {
            self.folder(directory, real, new, cur);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in entries {
            if entry.kind == EntryKind::Other || never_a_folder(&entry.name) {
                continue;
            }
            let Some(place) = directory.place.of(self.layout, &entry.name) else {
                continue;
            };
            let below = Directory {
                spelled: directory.spelled.join(&entry.name),
                real: directory.real.join(&entry.name),
                name: canonical(&directory.name, &entry.name),
                depth: directory.depth + 1,
                place,
            };
            match entry.kind {
                EntryKind::Symlink => self.links.push(below),
                _ => self.visit(&below),
            }
        }
        Ok(())
    }

    fn folder(&mut self, directory: &Directory, real: Arc<Path>, new: Stamp, cur: Stamp) {
        if !self.found.insert((new.id, cur.id)) {
            return;
        }
        let name = match directory.place {
            Place::Root => INBOX,
            _ => &directory.name,
        };
        // Where no link was followed, the two are the same.
        let spelled = match *real == *directory.spelled {
            true => real.clone(),
            false => directory.spelled.as_path().into(),
        };
        self.scan.folders.push(Arc::new(FoundFolder {
            name: name.into(),
            directory: spelled,
            real,
            new,
            cur,
        }));
    }

    /// The stamps of `new` and `cur`, if the directory has all three parts; `tmp` is what a
    /// listing said of that.
    fn parts(
        &self,
        directory: &dyn Opened,
        tmp: Option<EntryKind>,
    ) -> io::Result<Option<(Stamp, Stamp)>> {
        // Before the stamps are read: what happens after it is not in them, and never older.
        let taken = self.fs.now();
        let part = |name: &str| match directory.stat(name) {
            Ok(stat) if stat.is_dir => Ok(Some(Stamp::new(&stat, taken))),
            Ok(_) => Ok(None),
            Err(error) if vanished(&error) => Ok(None),
            Err(error) => Err(error),
        };
        let Some(new) = part("new")? else {
            return Ok(None);
        };
        let Some(cur) = part("cur")? else {
            return Ok(None);
        };
        let whole = tmp == Some(EntryKind::Directory) || part("tmp")?.is_some();
        Ok(whole.then_some((new, cur)))
    }

    /// Whether a directory belongs to another root.
    fn excluded(&self, real: &Path) -> bool {
        let root = &self.scan.real_root;
        let mut others = self.exclude.iter();
        // A root above this one is shorter, so it does not win here.
        others.any(|other| real.starts_with(other) && !root.starts_with(other))
    }

    fn problem(&mut self, at: &Directory, error: &io::Error) {
        if !vanished(error) {
            self.scan.problems.push(Problem {
                path: at.spelled.clone(),
                real: at.real.clone(),
                kind: error.kind(),
                text: error.to_string(),
            });
        }
    }
}

/// Whether an error only says that something is not there any more, or is something else by now.
fn vanished(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests;
