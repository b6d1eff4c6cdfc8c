//! The wire format of the pipe to Lisp: bytes only, no I/O and no policy.
//!
//! A frame is a header line, a payload of exactly the announced length, and a newline that shows
//! a reader that it is still in step:
//!
//! ```text
//! mailsync 1 GENERATION SEQUENCE LENGTH\n
//! PAYLOAD\n
//! ```
//!
//! The payload is a sequence of records, each a sequence of fields that end with NUL.  The first
//! field names the record, the name fixes the number of the others:
//!
//! | record | fields |
//! |---|---|
//! | `change` | account, folder, directory, truename (empty: as directory), kinds, origins, serial, how long ago it was noticed (ms, or nothing) |
//! | `state` | account, state, text |
//! | `ready` | account, directory of the root |
//! | `log` | level, text |
//! | `answer` | slot, request, part, parts, n, then n fields, as the errand has them |
//! | `sync` | account, phase, paused (`t` or nothing), pending (`all`: everything), progress, text |
//! | `syncing` | account, run, total (0: everything), n, then n folders |
//! | `plan` | account, run, n (0: everything), then n folders |
//! | `synced` | account, run, status, exit code (or nothing), started, duration, requests, text, first, dropped, last, total, n, then n folders |
//! | `remote` | account, number, what watches it, state, text |
//! | `bye` | text |
//!
//! Kinds and origins are letters ([`kind_letters`], [`origin_letters`]); capital is the letter of a
//! kind that is no news to whoever syncs with the store ([`Change::news`]).  Names are the bytes of
//! the file system; NUL cannot occur in them, and is replaced in texts.  Sequence numbers count
//! from 1 in each generation; a frame with sequence 0 is the last word of a dead engine and wants
//! no acknowledgement.  `lisp/mailsync-pipe.el` is the reader; [`read`] is one in Rust, for a program
//! that has an engine and no Lisp.

pub mod read;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::syncer::Output;

use crate::change::{Change, Kinds, Origins};

/// The version in every header; a reader refuses any other.
pub const VERSION: u32 = 1;

/// Texts are cut to this many bytes: a record must fit into a frame whatever it says.
const LONGEST_TEXT: usize = 2048;

const KINDS: [(Kinds, u8); 6] = [
    (Kinds::NEW, b'n'),
    (Kinds::FLAGS, b'f'),
    (Kinds::GONE, b'g'),
    (Kinds::CREATED, b'c'),
    (Kinds::DELETED, b'd'),
    (Kinds::UNKNOWN, b'u'),
];

const ORIGINS: [(Origins, u8); 3] = [
    (Origins::LOCAL, b'l'),
    (Origins::SYNC, b's'),
    (Origins::REMOTE, b'r'),
];

/// `n`ew, `f`lags, `g`one, folder `c`reated, folder `d`eleted, `u`nknown.
pub fn kind_letters(kinds: Kinds) -> Vec<u8> {
    let present = KINDS.iter().filter(|(kind, _)| kinds.contains(*kind));
    present.map(|(_, letter)| *letter).collect()
}

/// The kinds that these letters stand for, capital or not; others are none.
pub fn kinds(letters: &[u8]) -> Kinds {
    let is = |letter: &u8| letters.iter().any(|it| it.eq_ignore_ascii_case(letter));
    let present = KINDS.iter().filter(|(_, letter)| is(letter));
    present.map(|(kind, _)| *kind).collect()
}

/// `l`ocal, `s`ync, `r`emote.
pub fn origin_letters(origins: Origins) -> Vec<u8> {
    let present = ORIGINS
        .iter()
        .filter(|(origin, _)| origins.contains(*origin));
    present.map(|(_, letter)| *letter).collect()
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// `ok`, `partial`, …
    pub status: &'static str,
    /// The exit code, if there was one.
    pub exit: Option<i32>,
    /// When it began.
    pub started: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Requests that it answers.
    pub requests: Vec<i64>,
    /// What a user should know.
    pub text: String,
    /// What was printed.
    pub output: Output,
    /// How many folders it was to cover; 0: everything.
    pub total: usize,
    /// Their names, as many as fit.
    pub names: Vec<Arc<[u8]>>,
}

/// The records of one frame, while it is being filled.
#[derive(Default)]
pub struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Append the records of `other`.
    pub fn append(&mut self, mut other: Payload) {
        self.bytes.append(&mut other.bytes);
    }

    fn field(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(0);
    }

    fn path(&mut self, path: &Path) {
        self.field(path.as_os_str().as_bytes());
    }

    fn text(&mut self, text: &str) {
        let mut end = text.len().min(LONGEST_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.field(text[..end].replace('\0', "?").as_bytes());
    }

    /// A `change` record, as of `now`.
    pub fn change(&mut self, account: &str, change: &Change, now: Instant) {
        let folder = &change.folder;
        self.field(b"change");
        self.text(account);
        self.field(&folder.name);
        self.path(&folder.directory);
        if folder.real == folder.directory {
            self.field(b"");
        } else {
            self.path(&folder.real);
        }
        let mut kinds = kind_letters(change.news);
        let looked = kind_letters(change.kinds - change.news);
        kinds.extend(looked.iter().map(u8::to_ascii_uppercase));
        self.field(&kinds);
        self.field(&origin_letters(change.origins));
        self.number(change.serial);
        let ago = |seen| now.saturating_duration_since(seen).as_millis();
        match change.seen.map(ago) {
            Some(ago) => self.number(ago),
            None => self.field(b""),
        }
    }

    fn number(&mut self, number: impl ToString) {
        self.field(number.to_string().as_bytes());
    }

    /// Bytes that a program printed.
    fn raw(&mut self, bytes: &[u8]) {
        let clean = bytes
            .iter()
            .map(|byte| if *byte == 0 { b'?' } else { *byte });
        self.bytes.extend(clean);
        self.bytes.push(0);
    }

    fn names(&mut self, names: &[Arc<[u8]>]) {
        self.number(names.len());
        for name in names {
            self.field(name);
        }
    }

    /// A `sync` record; `paused` is whether none starts, `pending` is the number of folders that wait,
    /// `None` if everything does.
    pub fn sync(
        &mut self,
        account: &str,
        phase: &str,
        paused: bool,
        pending: Option<usize>,
        progress: u64,
        text: &str,
    ) {
        self.field(b"sync");
        self.text(account);
        self.text(phase);
        self.text(if paused { "t" } else { "" });
        match pending {
            Some(pending) => self.number(pending),
            None => self.field(b"all"),
        }
        self.number(progress);
        self.text(text);
    }

    /// A `remote` record.
    pub fn remote(&mut self, account: &str, number: usize, what: &str, state: &str, text: &str) {
        self.field(b"remote");
        self.text(account);
        self.number(number);
        self.text(what);
        self.text(state);
        self.text(text);
    }

    /// A `secret` record: the password of `user` at a server, for a store and a connection by their
    /// numbers; `anew` where the last one was refused.
    pub fn secret(
        &mut self,
        account: &str,
        (remote, number): (usize, u64),
        (host, port): (&str, u16),
        user: &str,
        anew: bool,
    ) {
        self.field(b"secret");
        self.text(account);
        self.number(remote);
        self.number(number);
        self.text(host);
        self.number(port);
        self.text(user);
        self.number(u8::from(anew));
    }

    /// A `syncing` record; of `total` folders only some may be named.
    pub fn syncing(&mut self, account: &str, run: u64, total: usize, names: &[Arc<[u8]>]) {
        self.field(b"syncing");
        self.text(account);
        self.number(run);
        self.number(total);
        self.names(names);
    }

    /// A `plan` record.
    pub fn plan(&mut self, account: &str, run: u64, names: &[Arc<[u8]>]) {
        self.field(b"plan");
        self.text(account);
        self.number(run);
        self.names(names);
    }

    /// A `synced` record.
    pub fn synced(&mut self, account: &str, run: u64, result: &Synced) {
        let started = result
            .started
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.field(b"synced");
        self.text(account);
        self.number(run);
        self.text(result.status);
        self.text(&result.exit.map_or(String::new(), |code| code.to_string()));
        self.number(format!("{:.3}", started.as_secs_f64()));
        self.number(format!("{:.6}", result.took.as_secs_f64()));
        let requests: Vec<String> = result.requests.iter().map(i64::to_string).collect();
        self.text(&requests.join(" "));
        self.text(&result.text);
        self.raw(&result.output.first);
        self.number(result.output.dropped);
        self.raw(&result.output.last);
        self.number(result.total);
        self.names(&result.names);
    }

    /// A `state` record.
    pub fn state(&mut self, account: &str, state: &str, text: &str) {
        self.field(b"state");
        self.text(account);
        self.text(state);
        self.text(text);
    }

    /// A `ready` record.
    pub fn ready(&mut self, account: &str, directory: &Path) {
        self.field(b"ready");
        self.text(account);
        self.path(directory);
    }

    /// A `log` record; `level` is `info`, `warning` or `error`.
    pub fn log(&mut self, level: &str, text: &str) {
        self.field(b"log");
        self.text(level);
        self.text(text);
    }

    /// An `answer` record: part `part` (from 0) of `parts` of the answer to `request`.
    pub fn answer(
        &mut self,
        slot: &str,
        request: i64,
        (part, parts): (usize, usize),
        fields: &[Vec<u8>],
    ) {
        self.field(b"answer");
        self.text(slot);
        self.number(request);
        self.number(part);
        self.number(parts);
        self.number(fields.len());
        for field in fields {
            self.raw(field);
        }
    }

    /// A `bye` record.
    pub fn bye(&mut self, text: &str) {
        self.field(b"bye");
        self.text(text);
    }

    /// The whole frame.
    pub fn frame(&self, generation: i64, sequence: u64) -> Vec<u8> {
        let length = self.bytes.len();
        let mut frame =
            format!("mailsync {VERSION} {generation} {sequence} {length}\n").into_bytes();
        frame.extend_from_slice(&self.bytes);
        frame.push(b'\n');
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{AccountId, Folder};

    #[test]
    fn a_frame_byte_for_byte() {
        let mut payload = Payload::new();
        let now = Instant::now();
        payload.change(
            "w\0rk",
            &Change {
                folder: Arc::new(Folder {
                    account: AccountId(0),
                    real: Path::new("/real/a").into(),
                    directory: Path::new("/m/a").into(),
                    name: b"a\xff\nb"[..].into(),
                }),
                kinds: Kinds::NEW | Kinds::FLAGS | Kinds::UNKNOWN,
                origins: Origins::LOCAL,
                serial: 9,
                news: Kinds::NEW | Kinds::UNKNOWN,
                seen: now.checked_sub(Duration::from_millis(250)),
            },
            now,
        );
        payload.state("work", "error", "no");
        let expected =
            b"mailsync 1 3 7 62\nchange\0w?rk\0a\xff\nb\0/m/a\0/real/a\0nuF\0l\09\x00250\0\
                         state\0work\0error\0no\0\n";
        assert_eq!(payload.frame(3, 7), expected);
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut payload = Payload::new();
        payload.bye(&"é".repeat(LONGEST_TEXT));
        assert_eq!(payload.len(), "bye".len() + 1 + LONGEST_TEXT + 1);
        let mut odd = Payload::new();
        odd.bye(&format!("x{}", "é".repeat(LONGEST_TEXT)));
        assert_eq!(odd.len(), "bye".len() + 1 + LONGEST_TEXT - 1 + 1);
    }
}
