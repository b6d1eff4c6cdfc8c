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

/// Whether the end of this means that somebody is gone.
fn is_connection(fd: BorrowedFd<'_>) -> bool {
    let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    matches!(kind, Ok(FileType::Fifo | FileType::Socket))
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
    // Errors and hang-ups are told in any case.
    let wanted = if is_connection(input) {
        PollFlags::IN
    } else {
        PollFlags::empty()
    };
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(input, wanted),
            PollFd::from_borrowed_fd(output, PollFlags::empty()),
        ];
        let polled = poll(&mut fds, None);
        let [came, left] = fds.each_ref().map(PollFd::revents);
        match polled {
            Err(Errno::INTR) => continue,
            Ok(_) if !(came | left).contains(PollFlags::NVAL) => {}
            // What cannot be polled here (terminals, on some systems): printing has to find out.
            _ => loop {
                std::thread::park();
            },
        }
        if gone(left) {
            return Over::Output;
        }
        // What came before the end is still there, but nobody wants it.
        if gone(came) || came.contains(PollFlags::IN) && at_end(input) {
            return Over::Input;
        }
    }
}

fn gone(events: PollFlags) -> bool {
    events.intersects(PollFlags::ERR | PollFlags::HUP)
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

/// Print lines with names in them: on a terminal, where somebody tries it, without what a terminal would
/// take for commands.
///
/// # Errors
/// As [`print`].
pub fn print_names(lines: &[u8]) -> io::Result<()> {
    if io::stdout().is_terminal() {
        print(shown(lines).as_bytes())
    } else {
        print(lines)
    }
}

fn shown(lines: &[u8]) -> String {
    let text = String::from_utf8_lossy(lines);
    text.replace(|it: char| it.is_control() && it != '\n', "?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::OFlags;
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::OpenOptionsExt;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    /// A terminal: the end that its user has, and the program's.
    fn terminal() -> (OwnedFd, File) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let program = File::options().read(true).custom_flags(flags).open(name);
        (user, program.unwrap())
    }

    // Security: S25.
    #[test]
    fn names_give_no_commands_to_a_terminal() {
        let table: [(&[u8], &str); 3] = [
            (b"a\n\nb/c\n", "a\n\nb/c\n"),
            (b"\x1b]0;x\x07\n\x9b1m\n", "?]0;x?\n\u{fffd}1m\n"),
            ("\u{9b}1m\r\né\n".as_bytes(), "?1m?\né\n"),
        ];
        for (lines, expected) in table {
            assert_eq!(shown(lines), expected);
        }
    }

    #[test]
    fn what_can_be_a_connection() {
        let (reader, _writer) = io::pipe().unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let file = tempfile::tempfile().unwrap();
        let (_user, terminal) = terminal();
        let table = [
            (reader.as_fd(), true),
            (socket.as_fd(), true),
            (null.as_fd(), false),
            (file.as_fd(), false),
            (terminal.as_fd(), false),
        ];
        for (fd, expected) in table {
            assert_eq!(is_connection(fd), expected, "{fd:?}");
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
        // A terminal is hung up, even before anybody looks; what was typed is left alone.
        let (user, terminal) = terminal();
        let (_out, output) = io::pipe().unwrap();
        rustix::io::write(&user, b"typed\n").unwrap();
        drop(user);
        assert_eq!(both(terminal.as_fd(), output.as_fd()), Over::Input);
        // One socket for both, as sshd may have it.
        let (socket, other) = UnixStream::pair().unwrap();
        drop(other);
        assert_eq!(both(socket.as_fd(), socket.as_fd()), Over::Output);
    }
}
