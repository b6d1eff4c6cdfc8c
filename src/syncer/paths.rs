//! Paths as they are written in configurations, made comparable.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Without doubled slashes and one at the end.
pub(super) fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// With links resolved, as far as it exists, and [`tidy`].
pub(super) fn truename(path: &Path) -> PathBuf {
    let path = tidy(path);
    let real = |it: &Path| Some(fs::canonicalize(it).ok()?.join(path.strip_prefix(it).ok()?));
    let found = path.ancestors().find_map(real);
    // Nothing joined to a path leaves a slash.
    found.map_or_else(|| path.clone(), |real| tidy(&real))
}

/// The longest file that is read (bytes): a record of two million messages.
const LONGEST: u64 = 64 << 20;

/// What is in a configuration or a record.  A file that has no end, or has to be waited for, is none.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // For a pipe, opening would wait for somebody who writes.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("it is too long"));
    }
    Ok(text)
}

/// `~` at the beginning is this home directory; another user's stays as it is.
pub(super) fn expand(path: &[u8], home: Option<&OsStr>) -> Vec<u8> {
    match (path.strip_prefix(b"~"), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with(b"/") => {
            [home.as_bytes(), rest].concat()
        }
        _ => path.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Security: S63.
    #[test]
    fn what_has_no_end_is_no_configuration() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        fs::write(path("short"), "text").unwrap();
        assert_eq!(read(&path("short")).unwrap(), b"text");
        fs::write(path("empty"), "").unwrap();
        assert_eq!(read(&path("empty")).unwrap(), b"");
        let long = File::create(path("long")).unwrap();
        long.set_len(LONGEST + 1).unwrap();
        super::super::testing::pipe(&path("pipe")).unwrap();
        let table = [
            (path("none"), "No such file"),
            (top.path().to_owned(), "Is a directory"),
            (path("long"), "too long"),
            (path("pipe"), "no regular file"),
            ("/dev/zero".into(), "no regular file"),
        ];
        for (path, expected) in table {
            let text = read(&path).unwrap_err().to_string();
            assert!(text.contains(expected), "{}: {text}", path.display());
        }
    }
}
