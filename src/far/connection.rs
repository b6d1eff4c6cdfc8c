//! The connection that the program serves: its standard input and output, and the signals that end
//! it.
//!
//! Without a terminal sshd sends no signal when a connection dies, and a watcher that has nothing to
//! print would never find out.  mswatch had `inputkill` for that.  Here one thread waits in poll(2) for
//! either end: standard input at its end, or nobody who could read what is printed, which shows
//! without printing anything.  It wakes up for nothing else.
//!
//! **Standard input** counts where it can be a connection: a pipe or a socket, as under sshd and in
//! mailsync.  What comes through it is thrown away, as there is nothing to say.  Of a terminal (somebody
//! who tries it) only the hang-up counts: reading it would stop the program in the background.
//! `/dev/null` and files, which are at their end from the beginning, are no connection: `mswatch`, cron
//! or systemd may start a program so, and `watch_maildirs` never read its input.  (`ssh -n` makes a pipe
//! at the other end that ends at once: that ends the program, as it ended inputkill.)

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::threads;

/// Why there is nobody to serve any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Standard input has ended.
    Input,
    /// Nobody reads the output.
    Output,
    /// A signal asked for it.
    Signal,
}

/// What standard input can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// Its end.
    Connection,
    /// That it was hung up.
    Terminal,
    Nothing,
}

impl Input {
    fn of(fd: BorrowedFd<'_>) -> Self {
        if fd.is_terminal() {
            return Input::Terminal;
        }
        match rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Fifo | FileType::Socket) => Input::Connection,
            _ => Input::Nothing,
        }
    }
}

/// Have `tell` called when it is over, on another thread.  To be called before any other thread is
/// started, since each has to leave the signals alone.
///
/// # Errors
/// When the system gives no thread.
pub fn serve(tell: impl Fn(Over) + Clone + Send + 'static) -> Result<()> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
        .into_iter()
        .collect();
    signals.thread_block().context("blocking signals")?;
    let told = tell.clone();
    let wait = move || {
        // It fails for no reason that ends.
        if signals.wait().is_ok() {
            told(Over::Signal);
        }
    };
    threads::spawn("signals", wait, |_| {})?;
    let watch = move || tell(both(io::stdin().as_fd(), io::stdout().as_fd()));
    threads::spawn("connection", watch, |_| {})
}

/// Wait until either end is gone.
fn both(input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> Over {
    let kind = Input::of(input);
    loop {
        // Errors and hang-ups are told in any case.
        let mut fds = vec![PollFd::from_borrowed_fd(output, PollFlags::empty())];
        match kind {
            Input::Connection => fds.push(PollFd::from_borrowed_fd(input, PollFlags::IN)),
            Input::Terminal => fds.push(PollFd::from_borrowed_fd(input, PollFlags::empty())),
            Input::Nothing => {}
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            // Of what cannot be polled, printing has to find out.
            Err(_) => std::thread::park(),
        }
        let events = |at: usize| fds.get(at).map_or(PollFlags::empty(), PollFd::revents);
        if gone(events(0)) {
            return Over::Output;
        }
        let came = events(1);
        // What came before the end is still there, but nobody wants it.
        if gone(came) || came.contains(PollFlags::IN) && at_end(input) {
            return Over::Input;
        }
    }
}

fn gone(events: PollFlags) -> bool {
    events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}

/// Throw away what there is; whether that was the end.
fn at_end(input: BorrowedFd<'_>) -> bool {
    match rustix::io::read(input, &mut [0; 4096]) {
        Ok(count) => count == 0,
        Err(error) => error != Errno::INTR && error != Errno::AGAIN,
    }
}

/// Print bytes, all of them.  The standard library's output would pretend to where there is none.
///
/// # Errors
/// `BrokenPipe` when nobody reads them; others as write(2) has them.
pub fn print(bytes: &[u8]) -> io::Result<()> {
    let output = io::stdout();
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(&output, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            // Somebody who shares it has made it so: wait for room.
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(&output, PollFlags::OUT)];
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_can_be_a_connection() {
        let (reader, _writer) = io::pipe().unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let file = tempfile::tempfile().unwrap();
        let table = [
            (reader.as_fd(), Input::Connection),
            (socket.as_fd(), Input::Connection),
            (null.as_fd(), Input::Nothing),
            (file.as_fd(), Input::Nothing),
        ];
        for (fd, expected) in table {
            assert_eq!(Input::of(fd), expected, "{fd:?}");
        }
    }

    #[test]
    fn either_end_is_noticed() {
        let null = File::open("/dev/null").unwrap();
        // Standard input ends, after what nobody wanted.
        let (reader, mut writer) = io::pipe().unwrap();
        let (_out, output) = io::pipe().unwrap();
        writer.write_all(&[b'x'; 10_000]).unwrap();
        drop(writer);
        assert_eq!(both(reader.as_fd(), output.as_fd()), Over::Input);
        // Nobody reads, and nothing is written.
        let (reader, _writer) = io::pipe().unwrap();
        let (out, output) = io::pipe().unwrap();
        drop(out);
        assert_eq!(both(reader.as_fd(), output.as_fd()), Over::Output);
        assert_eq!(both(null.as_fd(), output.as_fd()), Over::Output);
        // One socket for both, as sshd may have it.
        let (socket, other) = UnixStream::pair().unwrap();
        drop(other);
        assert_eq!(both(socket.as_fd(), socket.as_fd()), Over::Output);
    }
}
