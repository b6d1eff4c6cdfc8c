//! The search for one locked file.

use std::fs::File;
use std::io::PipeReader;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::PollFlags;
use rustix::fs::{AtFlags, FlockOperation, Mode, fchmod, flock, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};

use super::directory::Directory;
use crate::ready;

/// Without notification, a lock is tried for so often.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// After an event, a lock is tried for after these times (ms).  A file's closing is told a moment
/// before its lock is free (Linux, `__fput`), so that the first try may be too early.
pub(super) const AGAIN: [u64; 5] = [0, 1, 10, 100, 1000];

/// How often in a row the file may turn out to be another one.
const REPLACED: usize = 100;

/// How locks are sought.
pub(super) struct Search {
    pub(super) every: Duration,
    pub(super) directory: Directory,
    /// Nobody wants them any more when this is closed.
    pub(super) stopped: PipeReader,
}

impl Search {
    /// Go on until the file of this name is ours, or nobody wants it any more (`None`).  `tell`
    /// hears who has it meanwhile.
    pub(super) fn get(
        &self,
        name: &str,
        wait: Wait,
        tell: &dyn Fn(Option<u32>),
    ) -> Result<Option<File>> {
        let mut told = None;
        let mut tell = |pid: Option<u32>| {
            if told.replace(pid) != Some(pid) {
                tell(pid);
            }
        };
        for _ in 0..REPLACED {
            // It stays open for as long as we seek: its closing would wake others.
            let file = self.directory.file(name)?;
            let mut watch = Watch::start(&self.directory.path.join(name));
            if !self.directory.names(&file, name)? {
                continue;
            }
            let locked = self.locked(&file, wait, &mut watch, &mut tell);
            match locked.with_context(|| self.directory.says(name))? {
                Found::Ours => {}
                Found::Stopped => return Ok(None),
                Found::Abandoned => {
                    // Whoever has it is no syncer: another file takes its place.
                    let _ = unlinkat(&self.directory.fd, name, AtFlags::empty());
                    continue;
                }
            }
            // The one before us may have waited for the lock of a file that is gone.
            if self.directory.names(&file, name)? {
                return Ok(Some(file));
            }
        }
        anyhow::bail!("{} is replaced again and again", self.directory.says(name))
    }

    /// Wait for the lock.
    pub(super) fn locked(
        &self,
        file: &File,
        wait: Wait,
        watch: &mut Watch,
        tell: &mut dyn FnMut(Option<u32>),
    ) -> Result<Found> {
        let mut again = AGAIN.into_iter();
        loop {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Found::Ours),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    let holder = holder(file);
                    if wait == Wait::Run && holder.is_some_and(group_is_gone) {
                        return Ok(Found::Abandoned);
                    }
                    tell(holder);
                }
                Err(error) => return Err(error).context("locking"),
            }
            let soon = again.next().map(Duration::from_millis);
            let polls = wait == Wait::Run || watch.needs_polling();
            let most = soon.or_else(|| polls.then_some(self.every));
            let sources = [
                (Some(self.stopped.as_fd()), PollFlags::IN),
                (watch.fd(), PollFlags::IN),
            ];
            let [stopped, event] = ready::wait(sources, most)?;
            if stopped {
                return Ok(Found::Stopped);
            }
            if event {
                watch.drain();
                again = AGAIN.into_iter();
            }
        }
    }
}

/// Whose lock is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// An Emacs's, until it gives it back.
    Emacs,
    /// A run's, until nothing of its group is left.  What it has started may have left the group and
    /// last for ever: a daemon.
    Run,
}

/// How waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Ours,
    /// Nobody wants it any more.
    Stopped,
    /// A run is over, and what it has left behind keeps the lock.
    Abandoned,
}

fn group_is_gone(pid: u32) -> bool {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    group.is_some_and(|group| test_kill_process_group(group) == Err(Errno::SRCH))
}

/// Nobody has said yet who has a file.
pub(super) fn unsign(file: &File) {
    let _ = file.set_len(0);
}

/// Say in a locked file who has it, and keep it from those who clean up: whoever fails to read that
/// knows no more than that the lock is had.
pub(super) fn sign(file: &File, pid: u32) {
    let text = format!("{pid}\n");
    // In this order the number is never followed by an old one's end.
    let _ = file.set_len(0);
    let _ = file.write_all_at(text.as_bytes(), 0);
    // Files in a runtime directory with this bit are never removed (XDG Base Directory
    // Specification).  Not every system lets us.
    let _ = fchmod(file, Mode::RUSR | Mode::WUSR | Mode::SVTX);
}

/// The number of the process that has the lock, if it has written it yet.
pub(super) fn holder(file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let len = file.read_at(&mut text, 0).ok()?;
    let line = std::str::from_utf8(&text[..len]).ok()?;
    line.strip_suffix('\n')?.parse().ok()
}

/// Notices that somebody writes to the file, or closes it after that.
pub(super) struct Watch {
    pub(super) inotify: Option<OwnedFd>,
}

impl Watch {
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
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

    #[cfg(any(not(target_os = "linux"), feature = "portable"))]
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
