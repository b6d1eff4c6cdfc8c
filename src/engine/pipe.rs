//! The writing end of the pipe to Lisp: bytes out, without ever waiting.

use std::any::Any;
use std::fs::File;
use std::io::{ErrorKind, PipeWriter, Write};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{FdFlags, fcntl_setfd};

/// Largest frame, whatever the pipe could take (bytes).
const MOST: usize = 32 * 1024;

/// The pipe.
pub struct Pipe {
    file: File,
    limit: usize,
    rest: Vec<u8>,
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All of it is in the pipe.
    Whole,
    /// The pipe was fuller than the protocol allows; call `flush` again a little later.
    Partly,
    /// Nobody reads it any more.
    Closed,
}

impl Pipe {
    /// Take over what `open_channel` gave.
    ///
    /// # Errors
    /// When it is not a pipe of ours, or the system refuses the flags.
    pub fn new(channel: impl Write + Send + 'static) -> Result<Self> {
        // The crate hides the type; it has been the standard library's pipe since 0.20.
        let channel: Box<dyn Any> = Box::new(channel);
        let writer = channel.downcast::<PipeWriter>().map_err(|_| {
            anyhow!(
                "the channel is not a pipe: this version of emacs-module-rs is unknown to mailsync"
            )
        })?;
        let fd = OwnedFd::from(*writer);
        // Emacs's and our own children must not inherit it.
        fcntl_setfd(&fd, FdFlags::CLOEXEC).context("setting FD_CLOEXEC on the pipe")?;
        let flags = fcntl_getfl(&fd).context("reading the pipe's flags")?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK).context("setting O_NONBLOCK on the pipe")?;
        let limit = MOST.min(capacity(&fd) / 2);
        Ok(Pipe {
            file: File::from(fd),
            limit,
            rest: Vec::new(),
        })
    }

    /// Bytes of payload that an empty pipe surely takes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Write a frame.
    pub fn write(&mut self, frame: &[u8]) -> Written {
        self.rest.extend_from_slice(frame);
        self.flush()
    }

    /// Write what is left over.
    pub fn flush(&mut self) -> Written {
        while !self.rest.is_empty() {
            match self.file.write(&self.rest) {
                Ok(count) => {
                    self.rest.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Written::Partly,
                Err(_) => {
                    self.rest.clear();
                    return Written::Closed;
                }
            }
        }
        Written::Whole
    }

    /// Another writer for the engine's last word.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Pipe {
            file: self.file.try_clone().context("duplicating the pipe")?,
            limit: self.limit,
            rest: Vec::new(),
        })
    }
}

/// A user with very many pipes gets small ones (pipe(7), `pipe-user-pages-soft`).
#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn capacity(fd: &OwnedFd) -> usize {
    rustix::pipe::fcntl_getpipe_size(fd).unwrap_or(4096)
}

/// POSIX promises no more than `PIPE_BUF`; 16 KiB is what macOS gives at first.
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
fn capacity(_fd: &OwnedFd) -> usize {
    16 * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn never_waits_and_loses_nothing() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut pipe = Pipe::new(writer).unwrap();
        let linux = cfg!(all(target_os = "linux", not(feature = "portable")));
        assert_eq!(pipe.limit(), if linux { MOST } else { 8 * 1024 });
        let frame = vec![b'x'; 100_000];
        assert_eq!(pipe.write(&frame), Written::Partly);
        let mut seen = 0;
        let mut buffer = [0; 65_536];
        while seen < frame.len() {
            seen += reader.read(&mut buffer).unwrap();
            pipe.flush();
        }
        assert_eq!(pipe.write(b"y"), Written::Whole);
        drop(reader);
        assert_eq!(pipe.write(b"z"), Written::Closed);
    }
}
