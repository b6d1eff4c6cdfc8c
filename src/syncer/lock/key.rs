//! What a lock is of, and how its files are called.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::paths::{tidy, truename};

/// The longest name of a file without its ending (bytes); most systems have room for 255.
pub(super) const LONGEST: usize = 200;

/// What a lock is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// An account with these maildirs, whatever it is called: as they are spelled, and their
    /// truenames as far as they are known.
    Maildirs(BTreeSet<PathBuf>),
    /// Runs of this name, which are no account's.
    Name(String),
}

impl Key {
    /// The names of its files, without an ending, in the order in which they are sought: by each
    /// name of a maildir that is known, since others may know it by one of them only.  May wait for
    /// a disk.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.plain_names().collect();
        if let Key::Maildirs(maildirs) = self {
            names.extend(maildirs.iter().map(|it| maildir(&truename(it))));
        }
        names
    }

    /// Those of them that follow from the key alone.
    pub(super) fn plain_names(&self) -> impl Iterator<Item = String> {
        let (maildirs, name) = match self {
            Key::Maildirs(maildirs) => (Some(maildirs), None),
            // The sign is in no name of a maildir.
            Key::Name(name) => (None, Some(format!("={}", file_name(name.as_bytes())))),
        };
        let maildirs = maildirs.into_iter().flatten().map(|it| maildir(it));
        maildirs.chain(name)
    }
}

fn maildir(path: &Path) -> String {
    file_name(tidy(path).as_os_str().as_bytes())
}

/// A name with which a file can be: the same letters where those are lower case, digits and the
/// like.  No two have the same, on file systems that ignore case neither.
fn file_name(name: &[u8]) -> String {
    use std::fmt::Write;
    let mut file = String::new();
    for (at, byte) in name.iter().enumerate() {
        let _ = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'@' | b'+' => {
                write!(file, "{}", char::from(*byte))
            }
            b'.' if at > 0 => write!(file, "."),
            b'A'..=b'Z' => write!(file, "^{}", char::from(byte.to_ascii_lowercase())),
            _ => write!(file, "%{byte:02x}"),
        };
    }
    if file.is_empty() {
        return "%".to_owned();
    }
    if file.len() > LONGEST {
        // All of it is ASCII.  Two percent signs are in no other name.
        file.truncate(LONGEST - 18);
        let _ = write!(file, "%%{:016x}", fnv(name));
    }
    file
}

/// FNV-1a, which is the same in every build (the library's hash need not be).
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::unix::fs::symlink;

    use std::fs;

    use super::*;

    #[test]
    fn names_of_files() {
        let table = [
            ("work", "work"),
            ("Work", "^work"),
            ("me@example.org", "me@example.org"),
            ("a b", "a%20b"),
            ("/home/me/Mail", "%2fhome%2fme%2f^mail"),
            ("a\nb", "a%0ab"),
            ("..", "%2e."),
            ("", "%"),
            ("%", "%25"),
            ("^", "%5e"),
            ("=", "%3d"),
            ("ä", "%c3%a4"),
        ];
        for (name, expected) in table {
            assert_eq!(file_name(name.as_bytes()), expected);
        }
    }

    #[test]
    fn odd_names_have_files_of_their_own() {
        let long = "x".repeat(300);
        let longer = "x".repeat(301);
        let wide = "ä/".repeat(100);
        let names = [
            "", ".", "..", "/", "a/b", "a%2fb", "A", "a", "a\nb", "\0", "ä", &long, &longer, &wide,
        ];
        let files = names.map(|name| file_name(name.as_bytes()));
        let different: HashSet<_> = files.iter().map(|it| it.to_lowercase()).collect();
        assert_eq!(different.len(), names.len());
        assert!(files.iter().all(|name| name.len() <= LONGEST));
    }

    #[test]
    fn maildirs_have_names_in_common_however_they_are_spelled() {
        let top = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(top.path()).unwrap();
        fs::create_dir(top.join("mail")).unwrap();
        symlink(top.join("mail"), top.join("link")).unwrap();
        symlink(top.join("disk/mail"), top.join("away")).unwrap();
        let names = |paths: &[&str]| {
            let paths = paths.iter().map(|it| top.join(it));
            Key::Maildirs(paths.collect()).names()
        };
        let shared = |one: &str, other: &str| !names(&[one]).is_disjoint(&names(&[other]));
        assert!(shared("link", "mail"));
        assert!(shared("link/", "mail"));
        // One that does not exist yet.
        assert!(shared("link/a/b", "mail/a/b"));
        assert!(!shared("mail/a", "mail"));
        // One that is not mounted yet, and one that is.
        let before = names(&["away"]);
        fs::create_dir_all(top.join("disk/mail")).unwrap();
        assert!(!before.is_disjoint(&names(&["away"])));
        assert!(shared("away", "disk/mail"));
        let name = Key::Name(top.join("mail").display().to_string());
        assert!(name.names().is_disjoint(&names(&["mail"])));
    }
}
