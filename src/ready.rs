//! Waiting for several descriptors at once, some of which may be absent.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Wait until one of these has something, for at most so long, and say which have.  Closed by the
/// other side counts too.  May return early with none.
pub fn wait<const N: usize>(
    sources: [(Option<BorrowedFd>, PollFlags); N],
    most: Option<Duration>,
) -> Result<[bool; N]> {
    let most = most.map(Timespec::try_from).transpose()?;
    let mut fds: Vec<PollFd> = (sources.iter())
        .filter_map(|(fd, flags)| fd.map(|fd| PollFd::from_borrowed_fd(fd, *flags)))
        .collect();
    match poll(&mut fds, most.as_ref()) {
        Ok(_) => {}
        // What is in the list then means nothing.
        Err(Errno::INTR) => return Ok([false; N]),
        Err(error) => return Err(error).context("poll"),
    }
    let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(sources.map(|(fd, _)| fd.is_some() && happened.next() == Some(true)))
}
