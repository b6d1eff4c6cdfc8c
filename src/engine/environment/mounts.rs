//! The table of mounts, and where it differs from what it was.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// What is mounted.
pub struct Mounts {
    file: File,
    /// Without what may change in place.
    known: BTreeSet<(Vec<u8>, PathBuf)>,
}

impl Mounts {
    /// Read the table.
    ///
    /// # Errors
    /// When there is none.
    pub fn open() -> Result<Self> {
        let file = File::open("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
        let mut mounts = Mounts {
            file,
            known: BTreeSet::new(),
        };
        mounts.known = mounts.read()?;
        Ok(mounts)
    }

    /// What poll(2) is told to look at.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn read(&mut self) -> Result<BTreeSet<(Vec<u8>, PathBuf)>> {
        // No other descriptor: there may be none left.
        let mut text = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut text)?;
        Ok(parse(&text))
    }

    /// Where something is mounted that was not, or the reverse; everywhere, if that cannot be told.
    pub fn changed(&mut self) -> Vec<PathBuf> {
        let Ok(now) = self.read() else {
            return vec!["/".into()];
        };
        let changed = now.symmetric_difference(&self.known);
        let changed: BTreeSet<PathBuf> = changed.map(|(_, point)| point.clone()).collect();
        self.known = now;
        changed.into_iter().collect()
    }
}

/// Identity (number, parent, device) and place of each mount (proc_pid_mountinfo(5)).
fn parse(text: &[u8]) -> BTreeSet<(Vec<u8>, PathBuf)> {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let identity: Vec<_> = fields.by_ref().take(3).collect();
            let point = fields.nth(1)?;
            Some((identity.join(&b' '), unescaped(point)))
        })
        .collect()
}

/// A space, a tab, a newline and a backslash stand there as `\` and three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let code = |digits: &[u8]| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        };
        match (first, more.get(..3).and_then(code)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &more[3..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_mounts_are_read() {
        let text = br"22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
36 35 98:0 /m\040x /mnt/a\040b\134c rw - ext3 /dev/root rw
";
        let expected = [
            (b"22 27 0:20".to_vec(), PathBuf::from("/sys")),
            (b"36 35 98:0".to_vec(), PathBuf::from(r"/mnt/a b\c")),
        ];
        assert_eq!(parse(text), expected.into());
        assert_eq!(parse(b"\n1 2\n"), BTreeSet::new());
    }

    #[test]
    fn our_own_mounts_are_seen_and_do_not_change_by_themselves() {
        let mut mounts = Mounts::open().unwrap();
        let has_root = |(_, point): &(Vec<u8>, PathBuf)| point.as_os_str() == "/";
        assert!(mounts.known.iter().any(has_root));
        mounts.known.retain(|mount| !has_root(mount));
        assert!(mounts.changed().contains(&PathBuf::from("/")));
    }
}
