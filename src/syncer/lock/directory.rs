//! The directory of the locks: one that goes with the user's session where there is one, in which
//! nobody else can put files.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, open, openat, statat};
use rustix::io::Errno;

/// A directory in which ours may be.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    /// We are the ones to make it, and the last to try.
    pub(crate) ours: bool,
}

/// The directories that go with the user's session, and one that anybody has.
pub(crate) fn candidates(runtime: Option<&Path>) -> Vec<Candidate> {
    let user = rustix::process::geteuid().as_raw();
    let session = PathBuf::from(format!("/run/user/{user}"));
    let given = runtime.filter(|it| it.is_absolute()).map(Path::to_owned);
    let there = [given, Some(session)].into_iter().flatten();
    let there = there.map(|path| Candidate { path, ours: false });
    let last = Candidate {
        path: std::env::temp_dir().join(format!("mailsync-{user}")),
        ours: true,
    };
    there.chain([last]).collect()
}

/// Where the locks are.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Directory {
    /// Open a file in it, which may be new.
    pub(crate) fn file(&self, name: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
        let file = opened.with_context(|| format!("opening {}", self.says(name)))?;
        Ok(File::from(file))
    }

    /// Whether this is the file that others would find by this name.
    pub(crate) fn names(&self, file: &File, name: &str) -> Result<bool> {
        let path = || self.says(name);
        let ours = fstat(file).with_context(path)?;
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(same(&found, &ours)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).with_context(path),
        }
    }

    /// Whether both are one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        matches!((fstat(&self.fd), fstat(&other.fd)), (Ok(a), Ok(b)) if same(&a, &b))
    }

    /// The whole name of a file in it, for the user.
    pub(crate) fn says(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// Make and open the directory of the locks, in the first of these that is ours.
pub(crate) fn directory(candidates: &[Candidate]) -> Result<Directory> {
    let mut last = Err(Errno::NOENT).context("no directory for locks");
    for candidate in candidates {
        let path = &candidate.path;
        let found = if candidate.ours {
            made(rustix::fs::CWD, path, path)
        } else {
            // A runtime directory may be a link; whoever makes it watches over that.
            open(path, DIRECTORY, Mode::empty())
                .with_context(|| path.display().to_string())
                .and_then(|fd| verified(fd, path))
        };
        match found {
            Ok(fd) => {
                let path = path.join("mailsync");
                match made(fd, Path::new("mailsync"), &path) {
                    Ok(fd) => return Ok(Directory { fd, path }),
                    // None of our instances can have locks there.
                    Err(error) if !candidate.ours && is_refused(&error) => last = Err(error),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => last = Err(error),
        }
    }
    last
}

/// Where the directory of the locks is, or would be made, and what keeps it from the places before
/// that.  Makes nothing.
pub(crate) fn sought(candidates: &[Candidate]) -> (Option<PathBuf>, Vec<String>) {
    let mut refused = Vec::new();
    for candidate in candidates {
        let ours = candidate.path.join("mailsync");
        let seen = match (usable(&candidate.path), candidate.ours) {
            // To be made.
            (Err(error), true) if is_missing(&error) => Ok(()),
            (Ok(()), _) => match usable(&ours) {
                Err(error) if is_missing(&error) => Ok(()),
                other => other,
            },
            (Err(error), _) => Err(error),
        };
        match seen {
            Ok(()) => return (Some(ours), refused),
            Err(error) => refused.push(format!("{error:#}")),
        }
    }
    (None, refused)
}

fn usable(path: &Path) -> Result<()> {
    let found = open(path, DIRECTORY, Mode::empty());
    let found = found.with_context(|| path.display().to_string())?;
    verified(found, path).map(drop)
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Errno>() == Some(&Errno::NOENT)
}

/// Whether nothing can be made in a directory.
fn is_refused(error: &anyhow::Error) -> bool {
    let refusals = [
        Errno::ACCESS,
        Errno::PERM,
        Errno::ROFS,
        Errno::NOSPC,
        Errno::DQUOT,
    ];
    let errno = error.downcast_ref::<Errno>();
    errno.is_some_and(|errno| refusals.contains(errno))
}

pub(crate) const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);

/// Make a directory that only we can enter, and open it.
fn made(parent: impl AsFd, name: &Path, path: &Path) -> Result<OwnedFd> {
    match mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).with_context(|| format!("making {}", path.display())),
    }
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    let fd = openat(parent, name, flags, Mode::empty());
    let fd = fd.with_context(|| format!("opening {}", path.display()))?;
    verified(fd, path)
}

/// Nobody else may put files there.
fn verified(fd: OwnedFd, path: &Path) -> Result<OwnedFd> {
    let found = fstat(&fd).with_context(|| path.display().to_string())?;
    let user = rustix::process::geteuid().as_raw();
    let mode = Mode::from_raw_mode(found.st_mode);
    anyhow::ensure!(
        found.st_uid == user && FileType::from_raw_mode(found.st_mode) == FileType::Directory,
        "{} is not a directory of yours",
        path.display()
    );
    anyhow::ensure!(
        !mode.intersects(Mode::WGRP | Mode::WOTH),
        "others may write to {} (chmod go-w forbids it)",
        path.display()
    );
    Ok(fd)
}
