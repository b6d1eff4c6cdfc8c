//! A directory to be watched, under a name that costs little: there are two for each folder.
//!
//! Nearly all are the `new` or `cur` of a folder, whose path all share who know the folder.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is watched of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Itself,
    New,
    Cur,
}

/// A directory.  Each has one way to be written: a path that ends in `new` or `cur` is that part.
#[derive(Clone, Debug)]
pub struct Spot {
    directory: Arc<Path>,
    part: Part,
}

impl Spot {
    /// The `new` and the `cur` of the folder at this path.
    #[must_use]
    pub fn parts(folder: &Arc<Path>) -> [Spot; 2] {
        [Part::New, Part::Cur].map(|part| Spot {
            directory: folder.clone(),
            part,
        })
    }

    /// What tells it from others: since there is one way to write it, its bytes do, several times
    /// faster than the components of its path.
    fn key(&self) -> (&[u8], Part) {
        (self.directory.as_os_str().as_encoded_bytes(), self.part)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> Cow<'_, Path> {
        match self.part {
            Part::Itself => Cow::Borrowed(&self.directory),
            Part::New => Cow::Owned(self.with("new")),
            Part::Cur => Cow::Owned(self.with("cur")),
        }
    }

    /// `Path::join` would allocate twice.
    fn with(&self, part: &str) -> PathBuf {
        let length = self.directory.as_os_str().len() + 1 + part.len();
        let mut path = PathBuf::with_capacity(length);
        path.push(&self.directory);
        path.push(part);
        path
    }
}

impl PartialEq for Spot {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Spot {}

impl Hash for Spot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for Spot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Spot {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Part {
    fn of(path: &Path) -> Self {
        match path.file_name().map(OsStr::as_encoded_bytes) {
            Some(b"new") => Part::New,
            Some(b"cur") => Part::Cur,
            _ => Part::Itself,
        }
    }
}

impl From<&Arc<Path>> for Spot {
    fn from(path: &Arc<Path>) -> Self {
        match Part::of(path) {
            part @ Part::Itself => Spot {
                directory: path.clone(),
                part,
            },
            _ => Spot::from(&**path),
        }
    }
}

impl From<&Path> for Spot {
    fn from(path: &Path) -> Self {
        let part = Part::of(path);
        let directory = match part {
            Part::Itself => path,
            Part::New | Part::Cur => path.parent().unwrap_or(Path::new("")),
        };
        Spot {
            directory: directory.into(),
            part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_written_in_one_way() {
        for path in ["/", "/new", "/m/.a", "/m/.a/cur", "/m/new/new", "/m/newer"] {
            assert_eq!(Spot::from(Path::new(path)).path(), Path::new(path));
            assert_eq!(
                Spot::from(&Arc::from(Path::new(path))),
                Spot::from(Path::new(path))
            );
        }
        for folder in ["/m/.a", "/m/new", "/"] {
            let parts = Spot::parts(&Path::new(folder).into());
            let paths = ["new", "cur"].map(|part| Path::new(folder).join(part));
            assert_eq!(parts, paths.map(|path| Spot::from(&*path)));
        }
    }
}
