//! The lock of an account, so that of several instances of Emacs only one syncs it.
//!
//! A file for each account in a directory of the user's that goes with the machine, locked by
//! flock(2): the kernel takes the lock back from whoever ends, however that is.  It is advice
//! among instances of mailsync; other programs that sync (a cron job) have locks of their own.
//! What is done without the lock is decided elsewhere.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::PollFlags;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, mkdirat, open,
    openat, statat,
};
use rustix::io::Errno;

use super::ready;
use crate::threads;

/// Without notification, the lock is tried for so often.
const EVERY: Duration = Duration::from_secs(5);

/// After an event, the lock is tried for after these times (ms).  A file's closing is told a
/// moment before its lock is free (Linux, `__fput`), so that the first try may be too early.
const AGAIN: [u64; 5] = [0, 1, 10, 100, 1000];

/// How often in a row the file may turn out to be another one.
const REPLACED: usize = 100;

/// The longest name of a file without its ending (bytes); most systems have room for 255.
const LONGEST: usize = 200;

/// The lock of an account; free when the last of these is dropped.
#[derive(Debug)]
pub struct Held {
    file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing would do.  But then the lock would last for as long as a child of Emacs, just
        // forked, has a copy; and this way it is free before anybody hears of the closing.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Who has the lock.
#[derive(Clone, Debug)]
pub enum Holder {
    /// We do, from now on.
    Us(Arc<Held>),
    /// Another process does, with this number where it said so.  It may be ourselves: a run that
    /// has not ended yet keeps its lock.
    Other(Option<u32>),
    /// It cannot be had, in words for the user; syncing goes on without.
    Nobody(String),
}

/// Seeks a lock until it is had, or until this is dropped.
pub struct Seeker {
    /// Its closing ends the thread.
    _stop: PipeWriter,
}

impl Seeker {
    /// Seek the lock of an account on a thread of its own, which ends when it is had.  `tell`
    /// hears of each change, on that thread, and may do so for the last time just after this has
    /// been dropped.  `runtime` is `$XDG_RUNTIME_DIR`.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub fn start(
        account: &str,
        runtime: Option<&Path>,
        tell: impl Fn(Holder) + Send + Sync + 'static,
    ) -> Result<Self> {
        let (stopped, stop) = io::pipe().context("a pipe to end a thread by")?;
        let name = format!("{}.lock", file_name(account));
        let candidates = candidates(runtime);
        let tell = Arc::new(tell);
        let last = tell.clone();
        let body = move || {
            let sought = directory(&candidates).and_then(|directory| {
                Search {
                    every: EVERY,
                    directory,
                    name,
                    stopped,
                }
                .go(&*tell)
            });
            match sought {
                Ok(Some(held)) => tell(Holder::Us(Arc::new(held))),
                Ok(None) => {}
                Err(error) => tell(Holder::Nobody(nobody(&format!("{error:#}")))),
            }
        };
        threads::spawn("mailsync-lock", body, move |text| {
            let text = format!("a bug in mailsync, please report this: {text}");
            last(Holder::Nobody(nobody(&text)));
        })?;
        Ok(Seeker { _stop: stop })
    }
}

fn nobody(text: &str) -> String {
    format!("other instances of Emacs are not kept from syncing at the same time: {text}")
}

/// The file of an account: its name where that is letters, digits and the like.  No two accounts
/// have the same, on file systems that ignore case neither.
fn file_name(account: &str) -> String {
    use std::fmt::Write;
    let mut name = String::new();
    for (at, byte) in account.bytes().enumerate() {
        let _ = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'@' | b'+' => {
                write!(name, "{}", char::from(byte))
            }
            b'.' if at > 0 => write!(name, "."),
            b'A'..=b'Z' => write!(name, "^{}", char::from(byte.to_ascii_lowercase())),
            _ => write!(name, "%{byte:02x}"),
        };
    }
    if name.is_empty() {
        return "%".to_owned();
    }
    if name.len() > LONGEST {
        // All of it is ASCII.  Two percent signs are in no other name.
        name.truncate(LONGEST - 18);
        let _ = write!(name, "%%{:016x}", fnv(account.as_bytes()));
    }
    name
}

/// FNV-1a, which is the same in every build (the library's hash need not be).
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A directory in which ours may be.
struct Candidate {
    path: PathBuf,
    /// We are the ones to make it, and the last to try.
    ours: bool,
}

/// The directories that go with the user's session, and one that anybody has.
fn candidates(runtime: Option<&Path>) -> Vec<Candidate> {
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
struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// Make and open the directory of the locks, in the first of these that is ours.
fn directory(candidates: &[Candidate]) -> Result<Directory> {
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
                let fd = made(fd, Path::new("mailsync"), &path)?;
                return Ok(Directory { fd, path });
            }
            Err(error) => last = Err(error),
        }
    }
    last
}

const DIRECTORY: OFlags = OFlags::DIRECTORY
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

/// The search for one lock.
struct Search {
    every: Duration,
    directory: Directory,
    name: String,
    stopped: PipeReader,
}

impl Search {
    /// Go on until the lock is had, or nobody wants it any more (`None`).
    fn go(&self, tell: &dyn Fn(Holder)) -> Result<Option<Held>> {
        let mut told = None;
        let mut tell = |pid: Option<u32>| {
            if told.replace(pid) != Some(pid) {
                tell(Holder::Other(pid));
            }
        };
        for _ in 0..REPLACED {
            let file = self.open()?;
            let mut watch = Watch::start(&self.directory.path.join(&self.name));
            if !self.is_named(&file)? {
                continue;
            }
            if !self.locked(&file, &mut watch, &mut tell)? {
                return Ok(None);
            }
            let held = Held { file };
            // The one before us may have waited for the lock of a file that is gone.
            if self.is_named(&held.file)? {
                self.sign(&held.file);
                return Ok(Some(held));
            }
        }
        anyhow::bail!("{} is replaced again and again", self.path())
    }

    fn path(&self) -> String {
        self.directory.path.join(&self.name).display().to_string()
    }

    /// Open the file, which stays open for as long as we seek: its closing would wake others.
    fn open(&self) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let opened = openat(&self.directory.fd, &self.name, flags, mode);
        let file = opened.with_context(|| format!("opening {}", self.path()))?;
        Ok(File::from(file))
    }

    /// Whether this is the file that others would find.
    fn is_named(&self, file: &File) -> Result<bool> {
        let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let ours = fstat(file).with_context(|| self.path())?;
        match statat(&self.directory.fd, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(same(&found, &ours)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).with_context(|| self.path()),
        }
    }

    /// Wait for the lock; false if nobody wants it any more.
    fn locked(
        &self,
        file: &File,
        watch: &mut Watch,
        tell: &mut dyn FnMut(Option<u32>),
    ) -> Result<bool> {
        let mut again = AGAIN.into_iter();
        loop {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK | Errno::INTR) => tell(holder(file)),
                Err(error) => {
                    return Err(error).with_context(|| format!("locking {}", self.path()));
                }
            }
            let soon = again.next().map(Duration::from_millis);
            let most = soon.or_else(|| watch.needs_polling().then_some(self.every));
            let sources = [
                (Some(self.stopped.as_fd()), PollFlags::IN),
                (watch.fd(), PollFlags::IN),
            ];
            let [stopped, event] = ready::wait(sources, most)?;
            if stopped {
                return Ok(false);
            }
            if event {
                watch.drain();
                again = AGAIN.into_iter();
            }
        }
    }

    /// Say in the file who has it, and keep it from those who clean up: whoever fails to read that
    /// knows no more than that the lock is had.
    fn sign(&self, file: &File) {
        let text = format!("{}\n", std::process::id());
        // In this order the number is never followed by an old one's end.
        let _ = file.set_len(0);
        let _ = file.write_all_at(text.as_bytes(), 0);
        // Files in a runtime directory with this bit are never removed (XDG Base Directory
        // Specification).  Not every system lets us.
        let _ = fchmod(file, Mode::RUSR | Mode::WUSR | Mode::SVTX);
    }
}

/// The number of the process that has the lock, if it has written it yet.
fn holder(file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let len = file.read_at(&mut text, 0).ok()?;
    let line = std::str::from_utf8(&text[..len]).ok()?;
    line.strip_suffix('\n')?.parse().ok()
}

/// Notices that somebody writes to the file, or closes it after that.
struct Watch {
    inotify: Option<OwnedFd>,
}

impl Watch {
    #[cfg(target_os = "linux")]
    fn start(path: &Path) -> Self {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let start = || {
            let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            add_watch(&inotify, path, WatchFlags::CLOSE_WRITE | WatchFlags::MODIFY)?;
            Ok::<_, Errno>(inotify)
        };
        Watch {
            inotify: start().ok(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn start(_path: &Path) -> Self {
        Watch { inotify: None }
    }

    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    fn needs_polling(&self) -> bool {
        self.inotify.is_none()
    }

    /// What happened does not matter, only that something did.
    fn drain(&mut self) {
        let mut buffer = [0; 1024];
        let Some(inotify) = &self.inotify else { return };
        loop {
            match rustix::io::read(inotify, &mut buffer) {
                Ok(1..) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(0) | Err(_) => break,
            }
        }
        self.inotify = None;
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
