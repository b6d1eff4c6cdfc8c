//! Reads frames: the Rust counterpart of `lisp/mailsync-pipe.el`, for an engine without syncers.
//!
//! Bytes in, records out.  What does not parse is an error and nothing else: both ends are of one
//! build, and whoever is out of step starts anew.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use super::{VERSION, kinds};
use crate::change::Kinds;

/// No header is longer, and no payload (bytes): what says so is no frame, and is not waited for.
const LONGEST_HEADER: usize = 80;
const LONGEST: usize = 1 << 20;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Of which pipe.
    pub generation: i64,
    /// What is to be acknowledged; 0: nothing.
    pub sequence: u64,
    /// What it says.
    pub records: Vec<Record>,
}

/// One record, as far as an engine without syncers has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Something changed in a folder.
    Change {
        /// Its canonical name.
        name: Vec<u8>,
        /// Its directory, below the root as the user spells that.
        directory: PathBuf,
        /// What.
        kinds: Kinds,
    },
    /// How an account is.
    State {
        /// `starting`, `watching`, `waiting` or `error`.
        state: String,
        /// What a user should know.
        text: String,
    },
    /// This root was looked at for the first time, and is being watched.
    Ready(PathBuf),
    /// A line for the log.
    Log {
        /// `info`, `warning` or `error`.
        level: String,
        /// The line.
        text: String,
    },
    /// The engine has ended, for this reason.
    Bye(String),
}

/// Puts frames together from pieces of any size.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Take in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// The next frame, if it is whole.
    ///
    /// # Errors
    /// When what was read is no frame.
    pub fn take(&mut self) -> Result<Option<Frame>> {
        let mut start = self.bytes.iter().take(LONGEST_HEADER + 1);
        let Some(end) = start.position(|byte| *byte == b'\n') else {
            ensure!(self.bytes.len() <= LONGEST_HEADER, "no header");
            return Ok(None);
        };
        let header = str::from_utf8(&self.bytes[..end]).context("a header that is no text")?;
        let fields: Vec<&str> = header.split(' ').collect();
        let ["mailsync", version, generation, sequence, length] = fields[..] else {
            bail!("not a header: {header:?}");
        };
        ensure!(version == VERSION.to_string(), "not our version: {version}");
        let length: usize = number(length).context("a length")?;
        ensure!(length <= LONGEST, "a payload of {length} bytes");
        let last = end + 1 + length;
        if self.bytes.len() <= last {
            return Ok(None);
        }
        ensure!(self.bytes[last] == b'\n', "a payload of another length");
        let frame = Frame {
            generation: number(generation).context("a generation")?,
            sequence: number(sequence).context("a sequence number")?,
            records: records(&self.bytes[end + 1..last])?,
        };
        self.bytes.drain(..=last);
        Ok(Some(frame))
    }
}

/// A number, of digits only.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

fn records(payload: &[u8]) -> Result<Vec<Record>> {
    let mut fields = payload.split(|byte| *byte == 0);
    // What comes after the last NUL.
    let rest = fields.next_back();
    ensure!(rest.is_none_or(<[u8]>::is_empty), "a field without its end");
    let mut records = Vec::new();
    while let Some(name) = fields.next() {
        let mut field = || fields.next().context("a record without its end");
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let path = |field: &[u8]| PathBuf::from(OsStr::from_bytes(field));
        records.push(match name {
            b"change" => {
                let [_account, name, directory] = [field()?, field()?, field()?];
                let [_real, letters, _origins] = [field()?, field()?, field()?];
                let [_serial, _seen] = [field()?, field()?];
                Record::Change {
                    name: name.to_vec(),
                    directory: path(directory),
                    kinds: kinds(letters),
                }
            }
            b"state" => {
                let [_account, state, said] = [field()?, field()?, field()?];
                Record::State {
                    state: text(state),
                    text: text(said),
                }
            }
            b"ready" => {
                let [_account, directory] = [field()?, field()?];
                Record::Ready(path(directory))
            }
            b"log" => Record::Log {
                level: text(field()?),
                text: text(field()?),
            },
            b"bye" => Record::Bye(text(field()?)),
            other => bail!("an unknown record: {:?}", text(other)),
        });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::change;
    use crate::frame::Payload;
    use std::path::Path;
    use std::time::Instant;

    fn all(bytes: &[u8], piece: usize) -> Result<Vec<Frame>> {
        let mut frames = Frames::default();
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            frames.push(piece);
            while let Some(frame) = frames.take()? {
                all.push(frame);
            }
        }
        Ok(all)
    }

    #[test]
    fn what_is_written_is_read() {
        let mut first = Payload::new();
        first.state("w", "waiting", "no\nsuch directory");
        first.ready("w", Path::new("/m/\u{e9}"));
        first.log("warning", "careful");
        first.change("w", &change("a\nb", Kinds::all()), Instant::now());
        let mut last = Payload::new();
        last.bye("stopped");
        let bytes = [first.frame(1, 7), last.frame(1, 0)].concat();
        let expected = [
            Frame {
                generation: 1,
                sequence: 7,
                records: vec![
                    Record::State {
                        state: "waiting".to_owned(),
                        text: "no\nsuch directory".to_owned(),
                    },
                    Record::Ready("/m/\u{e9}".into()),
                    Record::Log {
                        level: "warning".to_owned(),
                        text: "careful".to_owned(),
                    },
                    Record::Change {
                        name: b"a\nb".to_vec(),
                        directory: "a\nb".into(),
                        kinds: Kinds::all(),
                    },
                ],
            },
            Frame {
                generation: 1,
                sequence: 0,
                records: vec![Record::Bye("stopped".to_owned())],
            },
        ];
        for piece in [1, 2, 7, bytes.len()] {
            assert_eq!(all(&bytes, piece).unwrap(), expected, "{piece} at a time");
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let table: [&[u8]; 14] = [
            b"\n",
            b"mailsync 2 1 1 0\n\n",
            b"mailsync 1 1 1 x\n\n",
            b"mailsync 1 1 1 4\nbye\0x",
            b"mailsync 1 1 1 4\nbye\0\n",
            b"mailsync 1 1 1 5\nbye\0x\n",
            b"mailsync 1 1 1 5\noops\0\n",
            b"\xff\n",
            b"mailsync 1 1 1 +4\nbye\0\n",
            b"mailsync 1 +1 1 4\nbye\0\n",
            // What would have to be waited for, and what nobody can count.
            b"mailsync 1 1 1 1048577\n",
            b"mailsync 1 1 1 18446744073709551615\n",
            &[b'x'; LONGEST_HEADER + 1],
            b"mailsync 1 1 1 0000000000000000000000000000000000000000000000000000000000000000000\n\n",
        ];
        for bytes in table {
            assert!(
                all(bytes, 1).is_err(),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert_eq!(all(b"mailsync 1 1 1 4\nby", 1).unwrap(), []);
    }
}
