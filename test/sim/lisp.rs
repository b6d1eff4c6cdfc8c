//! A model of the reader at the other end of the pipe, with all its moods.
//!
//! The decoder is written from the description of the format in `src/frame.rs`, not from its
//! code, and forgives nothing.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use mailsync_module::change::Kinds;
use mailsync_module::engine::core::Input;

/// What a pipe holds.
pub const CAPACITY: usize = 64 * 1024;

#[derive(Debug)]
pub enum Record {
    Change {
        account: String,
        name: Vec<u8>,
        directory: PathBuf,
        real: PathBuf,
        kinds: Kinds,
        /// Letters.
        origins: String,
        serial: u64,
    },
    State {
        account: String,
        state: String,
    },
    Ready {
        account: String,
        directory: PathBuf,
    },
    Log,
    #[cfg_attr(not(feature = "imap"), allow(dead_code))]
    Remote {
        state: String,
    },
    /// The password is wanted, for a store and a connection by their numbers.
    #[cfg_attr(not(feature = "imap"), allow(dead_code))]
    Secret {
        remote: usize,
        number: u64,
    },
    Resolved,
    Sync,
    Syncing,
    Plan {
        account: String,
        run: u64,
    },
    Synced {
        account: String,
        status: String,
        requests: Vec<i64>,
    },
    Bye,
}

#[derive(Debug)]
pub struct Frame {
    pub generation: i64,
    pub sequence: u64,
    pub payload: usize,
    pub records: Vec<Record>,
}

/// The first frame, when it is whole, and its length.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame, usize)>, String> {
    const MAGIC: &[u8] = b"mailsync 1 ";
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(format!(
            "no header: {:?}",
            String::from_utf8_lossy(&bytes[..known])
        ));
    }
    let Some(end) = bytes.iter().take(100).position(|byte| *byte == b'\n') else {
        return if bytes.len() < 100 {
            Ok(None)
        } else {
            Err("an endless header".to_owned())
        };
    };
    let header = std::str::from_utf8(&bytes[MAGIC.len()..end]).map_err(|it| it.to_string())?;
    let numbers: Vec<u64> = (header.split(' '))
        .map(|number| number.parse().map_err(|_| format!("header {header:?}")))
        .collect::<Result<_, _>>()?;
    let [generation, sequence, length] = numbers[..] else {
        return Err(format!("header {header:?}"));
    };
    let (start, length) = (end + 1, length as usize);
    let Some(last) = bytes.get(start + length) else {
        return Ok(None);
    };
    if *last != b'\n' {
        return Err("out of step".to_owned());
    }
    let frame = Frame {
        generation: generation as i64,
        sequence,
        payload: length,
        records: records(&bytes[start..start + length])?,
    };
    Ok(Some((frame, start + length + 1)))
}

fn records(payload: &[u8]) -> Result<Vec<Record>, String> {
    let Some(fields) = payload.strip_suffix(b"\0") else {
        return Err("a payload that does not end a field".to_owned());
    };
    let mut fields = fields.split(|byte| *byte == 0).map(<[u8]>::to_vec);
    let mut records = Vec::new();
    while let Some(kind) = fields.next() {
        let mut field = || fields.next().ok_or("a field is missing");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|it| it.to_string());
        let path = |bytes: Vec<u8>| PathBuf::from(OsString::from_vec(bytes));
        records.push(match &kind[..] {
            b"change" => {
                let (account, name) = (text(field()?)?, field()?);
                let (directory, real) = (field()?, field()?);
                let (kinds, origins) = (text(field()?)?, text(field()?)?);
                let serial = number(text(field()?)?)?;
                let seen = text(field()?)?;
                if !seen.is_empty() {
                    number(seen)?;
                }
                let real = if real.is_empty() {
                    directory.clone()
                } else {
                    real
                };
                Record::Change {
                    account,
                    name,
                    directory: path(directory),
                    real: path(real),
                    kinds: letters(&kinds)?,
                    origins,
                    serial,
                }
            }
            b"state" => {
                let (account, state) = (text(field()?)?, text(field()?)?);
                text(field()?)?;
                Record::State { account, state }
            }
            b"ready" => Record::Ready {
                account: text(field()?)?,
                directory: path(field()?),
            },
            b"log" => {
                field()?;
                field()?;
                Record::Log
            }
            b"remote" => {
                for _ in 0..3 {
                    field()?;
                }
                let state = text(field()?)?;
                field()?;
                Record::Remote { state }
            }
            b"secret" => {
                field()?;
                let (remote, store) = (text(field()?)?, text(field()?)?);
                for _ in 0..4 {
                    field()?;
                }
                Record::Secret {
                    remote: number(remote)? as usize,
                    number: number(store)?,
                }
            }
            b"resolved" => {
                let header: Vec<String> =
                    (0..5).map(|_| text(field()?)).collect::<Result<_, _>>()?;
                let pairs: usize = header[4].parse().map_err(|_| "pairs")?;
                for _ in 0..2 * pairs {
                    field()?;
                }
                Record::Resolved
            }
            b"sync" => {
                for _ in 0..6 {
                    field()?;
                }
                Record::Sync
            }
            b"syncing" => {
                for _ in 0..3 {
                    field()?;
                }
                let names = number(text(field()?)?)?;
                for _ in 0..names {
                    field()?;
                }
                Record::Syncing
            }
            b"plan" => {
                let account = text(field()?)?.to_owned();
                let run = number(text(field()?)?)?;
                let names = number(text(field()?)?)?;
                for _ in 0..names {
                    field()?;
                }
                Record::Plan { account, run }
            }
            b"synced" => {
                let account = text(field()?)?.to_owned();
                field()?;
                let status = text(field()?)?.to_owned();
                for _ in 0..3 {
                    field()?;
                }
                let requests = text(field()?)?;
                for _ in 0..5 {
                    field()?;
                }
                let names = number(text(field()?)?)?;
                for _ in 0..names {
                    field()?;
                }
                let requests = requests.split_terminator(' ');
                Record::Synced {
                    account,
                    status,
                    requests: requests
                        .map(|it| it.parse().map_err(|_| format!("request {it:?}")))
                        .collect::<Result<_, _>>()?,
                }
            }
            b"bye" => {
                field()?;
                Record::Bye
            }
            other => return Err(format!("record {:?}", String::from_utf8_lossy(other))),
        });
    }
    Ok(records)
}

fn number(text: String) -> Result<u64, String> {
    text.parse().map_err(|_| format!("number {text:?}"))
}

fn letters(letters: &str) -> Result<Kinds, String> {
    let mut kinds = Kinds::empty();
    for letter in letters.chars() {
        kinds |= match letter {
            'n' => Kinds::NEW,
            // With a capital letter it is no news to a server, which no other kind can be.
            'f' | 'F' => Kinds::FLAGS,
            'g' => Kinds::GONE,
            'c' => Kinds::CREATED,
            'd' => Kinds::DELETED,
            'u' => Kinds::UNKNOWN,
            _ => return Err(format!("kinds {letters:?}")),
        };
    }
    let both = kinds.contains(Kinds::CREATED | Kinds::DELETED);
    if kinds.is_empty() || both {
        return Err(format!("kinds {letters:?}"));
    }
    Ok(kinds)
}

/// What Lisp believes of a folder.
#[derive(Debug)]
pub struct Seen {
    /// When the last change that it has read was written.
    pub written: u64,
    pub exists: bool,
    pub account: String,
    pub directory: PathBuf,
    pub name: Vec<u8>,
    /// How often it was told.
    pub times: u32,
}

/// Lisp, with the pipe of its present generation.
pub struct Lisp {
    pub generation: i64,
    /// What that pipe takes without waiting.
    pub limit: usize,
    pub pipe: VecDeque<u8>,
    /// Read, but not a whole frame yet.
    buffer: Vec<u8>,
    /// Calls to the engine that it has not seen yet.
    pub calls: VecDeque<Input>,
    pub asleep_until: Duration,
    pub seen: BTreeMap<PathBuf, Seen>,
    pub states: BTreeMap<String, String>,
    pub ready: Vec<PathBuf>,
    pub frames: u64,
    /// Of this generation, the last frame that was read (0: none).
    pub last_sequence: u64,
    /// The mistake that the protocol exists to prevent.
    pub acknowledges_unread: bool,
    acknowledged: Option<u64>,
}

impl Lisp {
    pub fn new(limit: usize) -> Self {
        let mut lisp = Lisp {
            generation: 0,
            limit,
            pipe: VecDeque::new(),
            buffer: Vec::new(),
            calls: VecDeque::new(),
            asleep_until: Duration::ZERO,
            seen: BTreeMap::new(),
            states: BTreeMap::new(),
            ready: Vec::new(),
            frames: 0,
            last_sequence: 0,
            acknowledges_unread: false,
            acknowledged: None,
        };
        lisp.restart();
        lisp
    }

    /// Close the pipe, whatever is in it, and make another.
    pub fn restart(&mut self) {
        self.generation += 1;
        self.pipe.clear();
        self.buffer.clear();
        self.acknowledged = None;
        self.last_sequence = 0;
        self.calls
            .push_back(Input::Attach(self.generation, self.limit));
    }

    /// Read some bytes; returns a frame when one is whole, acknowledged.
    pub fn read(&mut self, most: usize) -> Result<Option<Frame>, String> {
        let count = most.min(self.pipe.len());
        self.buffer.extend(self.pipe.drain(..count));
        if self.acknowledges_unread && !self.buffer.is_empty() && self.acknowledged.is_none() {
            self.acknowledged = Some(self.frames);
            // It counts, instead of looking.
            let sequence = String::from_utf8_lossy(&self.buffer);
            if let Some(sequence) = sequence.split(' ').nth(3)
                && let Ok(sequence) = sequence.parse()
            {
                self.acknowledge(self.generation, sequence);
            } else {
                self.acknowledged = None;
            }
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let Some((frame, length)) = decode(&self.buffer)? else {
            return Ok(None);
        };
        self.buffer.drain(..length);
        self.frames += 1;
        self.last_sequence = frame.sequence;
        self.acknowledged = None;
        if !self.acknowledges_unread {
            self.acknowledge(frame.generation, frame.sequence);
        }
        Ok(Some(frame))
    }

    pub fn acknowledge(&mut self, generation: i64, sequence: u64) {
        let call = Input::Acknowledge(generation, sequence);
        self.calls.push_back(call);
    }

    /// Whether nothing of a frame has been read.
    pub fn between_frames(&self) -> bool {
        self.buffer.is_empty()
    }
}
