//! What a watcher program prints, and how that is read: bytes only, no I/O.
//!
//! **Plain**, the interface of mswatch's watchers: an empty line as soon as the store is being
//! watched, then a line with the name of a folder whenever something changed there.  A later empty
//! line says that anything may have changed anywhere.  Nothing is quoted, so what a line cannot say
//! (a name with a line feed, or one that ends with a carriage return, which readers strip) is said
//! by an empty line: when in doubt, everything.
//!
//! **With kinds** (`mailsync-watch --kinds`): the line `mailsync-watch 1` comes first, at once, so
//! that the reader knows whom it talks to before the store is found.  The empty lines are as above.  A
//! change is
//!
//! ```text
//! KINDS SP NAME
//! ```
//!
//! where KINDS are words with commas between ([`notation::words`]), and control bytes and `%` of the name are
//! `%XX`.  All other bytes are as they are, valid UTF-8 or not.
//!
//! What comes before its time (a login shell that greets, on a server) is noise.  A line longer than
//! [`LONGEST`] bytes is never written, and read as doubt.  A line without its end is no line: the
//! connection broke in the middle of it.
//!
//! The cases below are the specification.

use std::mem;

use crate::change::Kinds;
use crate::notation;

/// The first line with kinds, of which the number is the version.
const HELLO: &[u8] = b"mailsync-watch 1";

/// What every version of that line begins with.
const ANY_HELLO: &[u8] = b"mailsync-watch ";

/// Bytes of a line, without its end.  A path has 4096, and three times as many when all are quoted.
pub const LONGEST: usize = 16 * 1024;

/// How changes are said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// As mswatch's watchers do.
    #[default]
    Plain,
    /// With kinds, and any name.
    Kinds,
}

/// What is said at once, before the store is being watched.
#[must_use]
pub fn hello(dialect: Dialect) -> Vec<u8> {
    match dialect {
        Dialect::Plain => Vec::new(),
        Dialect::Kinds => [HELLO, b"\n"].concat(),
    }
}

/// The store is being watched from now on, or anything may have changed.
pub const EVERYTHING: &[u8] = b"\n";

/// Something changed in a folder.
#[must_use]
pub fn change(dialect: Dialect, name: &[u8], kinds: Kinds) -> Vec<u8> {
    let mut line = match dialect {
        Dialect::Plain if name.contains(&b'\n') || name.ends_with(b"\r") => Vec::new(),
        Dialect::Plain => name.to_vec(),
        Dialect::Kinds => kinds_and(name, kinds),
    };
    if name.is_empty() || line.len() > LONGEST {
        return EVERYTHING.to_vec();
    }
    line.push(b'\n');
    line
}

fn kinds_and(name: &[u8], kinds: Kinds) -> Vec<u8> {
    let kinds = if kinds.is_empty() {
        Kinds::UNKNOWN
    } else {
        kinds
    };
    let mut line = notation::words(kinds).into_bytes();
    line.push(b' ');
    notation::quote(&mut line, name, b"");
    line
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The other end is there, and speaks this protocol.
    Hello,
    /// It speaks another version of it; nothing else that it says is understood.
    OtherVersion(Vec<u8>),
    /// A line that does not belong here, for the log.
    Noise(Vec<u8>),
    /// Everything is in doubt.  The first time it also says that the store is being watched.
    Everything,
    /// Something changed in a folder.
    Change {
        /// Its name, as the other end calls it.
        name: Vec<u8>,
        /// What.
        kinds: Kinds,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// `HELLO` is to come.
    Silent,
    /// The first empty line is to come.
    Starting,
    Watching,
    /// A version that is not understood.
    Foreign,
}

/// Reads what a watcher program prints, in pieces of any size.
pub struct Reader {
    dialect: Dialect,
    stage: Stage,
    line: Vec<u8>,
    /// The line is longer than any may be; its rest is skipped.
    endless: bool,
}

impl Reader {
    /// A reader for a program that was just started.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Reader {
            dialect,
            stage: match dialect {
                Dialect::Plain => Stage::Starting,
                Dialect::Kinds => Stage::Silent,
            },
            line: Vec::new(),
            endless: false,
        }
    }

    /// Take in what was read; says what that means.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        // What comes after the last line feed is no line yet.
        let rest = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            self.gather(piece);
            let line = mem::take(&mut self.line);
            let endless = mem::take(&mut self.endless);
            said.extend(self.line(line.strip_suffix(b"\r").unwrap_or(&line), endless));
        }
        self.gather(rest);
        said
    }

    /// Bytes held: never more than a line has.
    #[must_use]
    pub fn held(&self) -> usize {
        self.line.len()
    }

    fn gather(&mut self, piece: &[u8]) {
        // One more than is written: the carriage return.
        let room = LONGEST + 1 - self.line.len();
        self.endless = self.endless || piece.len() > room;
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn line(&mut self, line: &[u8], endless: bool) -> Option<Said> {
        let noise = || Some(Said::Noise(line.to_vec()));
        match self.stage {
            Stage::Foreign => None,
            Stage::Silent if line == HELLO => {
                self.stage = Stage::Starting;
                Some(Said::Hello)
            }
            Stage::Silent if line.starts_with(ANY_HELLO) => {
                self.stage = Stage::Foreign;
                let version = &line[ANY_HELLO.len()..];
                Some(Said::OtherVersion(version.to_vec()))
            }
            Stage::Silent => noise(),
            Stage::Starting if line.is_empty() => {
                self.stage = Stage::Watching;
                Some(Said::Everything)
            }
            Stage::Starting => noise(),
            Stage::Watching if endless || line.len() > LONGEST => Some(Said::Everything),
            Stage::Watching => Some(match self.dialect {
                Dialect::Plain => named(line.to_vec(), Kinds::UNKNOWN),
                Dialect::Kinds => parsed(line).unwrap_or(Said::Everything),
            }),
        }
    }
}

fn named(name: Vec<u8>, kinds: Kinds) -> Said {
    if name.is_empty() {
        Said::Everything
    } else {
        Said::Change { name, kinds }
    }
}

/// A change with kinds; none if the line is anything else.
fn parsed(line: &[u8]) -> Option<Said> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (words, quoted) = (&line[..space], &line[space + 1..]);
    Some(named(notation::unquoted(quoted)?, notation::kinds(words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Kinds = Kinds::NEW;
    const ANY: Kinds = Kinds::UNKNOWN;

    fn changed(name: &[u8], kinds: Kinds) -> Said {
        Said::Change {
            name: name.to_vec(),
            kinds,
        }
    }

    fn noise(line: &[u8]) -> Said {
        Said::Noise(line.to_vec())
    }

    /// What a name and kinds become on the line, and what is read of that.
    #[test]
    fn changes_are_written_and_read() {
        type Case<'a> = (&'a [u8], Kinds, &'a [u8], &'a [u8]);
        let every = Kinds::all();
        let table: [Case; 16] = [
            // name, kinds, plain, with kinds
            (b"INBOX", NEW, b"INBOX\n", b"new INBOX\n"),
            (b"a.b", Kinds::FLAGS, b"a.b\n", b"flags a.b\n"),
            (b"a/b", Kinds::GONE, b"a/b\n", b"gone a/b\n"),
            (b"a", NEW | Kinds::GONE, b"a\n", b"new,gone a\n"),
            (b"a", Kinds::CREATED, b"a\n", b"folder-created a\n"),
            (b"a", Kinds::DELETED, b"a\n", b"folder-deleted a\n"),
            (b"a", ANY, b"a\n", b"unknown a\n"),
            (
                b"a",
                every,
                b"a\n",
                b"new,flags,gone,folder-created,folder-deleted,unknown a\n",
            ),
            (
                b"  My Folder ",
                NEW,
                b"  My Folder \n",
                b"new   My Folder \n",
            ),
            (
                b"Entw&APw-rfe",
                NEW,
                b"Entw&APw-rfe\n",
                b"new Entw&APw-rfe\n",
            ),
            (
                b"\xc3\xa9\xff",
                NEW,
                b"\xc3\xa9\xff\n",
                b"new \xc3\xa9\xff\n",
            ),
            (b"50%", NEW, b"50%\n", b"new 50%25\n"),
            (b"a\tb\x7f", NEW, b"a\tb\x7f\n", b"new a%09b%7F\n"),
            // What plain lines cannot say is doubt.
            (b"a\nb", NEW, b"\n", b"new a%0Ab\n"),
            (b"a\r", NEW, b"\n", b"new a%0D\n"),
            (b"", NEW, b"\n", b"\n"),
        ];
        for (name, kinds, plain, with_kinds) in table {
            let shown = String::from_utf8_lossy(name);
            for (dialect, line) in [(Dialect::Plain, plain), (Dialect::Kinds, with_kinds)] {
                assert_eq!(change(dialect, name, kinds), line, "{shown}");
                let expected = match dialect {
                    _ if line == EVERYTHING => Said::Everything,
                    Dialect::Plain => changed(name, ANY),
                    Dialect::Kinds => changed(name, kinds),
                };
                let bytes = [&hello(dialect), EVERYTHING, line].concat();
                let said = Reader::new(dialect).push(&bytes);
                assert_eq!(said.last(), Some(&expected), "{shown}");
            }
        }
        assert_eq!(change(Dialect::Kinds, b"a", Kinds::empty()), b"unknown a\n");
    }

    #[test]
    fn what_is_read() {
        use Dialect::{Kinds as With, Plain};
        let long = vec![b'x'; LONGEST];
        let fits = [b"\n".as_slice(), &long, b"\r\n"].concat();
        let longer = [b"\n".as_slice(), &long, b"x\nb\n"].concat();
        let greeting = [&long, b"xyz\n\na\n".as_slice()].concat();
        let cut = [&long, b"x".as_slice()].concat();
        let table: Vec<(&str, Dialect, &[u8], Vec<Said>)> = vec![
            ("nothing", Plain, b"", vec![]),
            ("watched", Plain, b"\n", vec![Said::Everything]),
            (
                "changes, then doubt",
                Plain,
                b"\nINBOX\na b\n\n",
                vec![
                    Said::Everything,
                    changed(b"INBOX", ANY),
                    changed(b"a b", ANY),
                    Said::Everything,
                ],
            ),
            (
                "lines that end as terminals end them",
                Plain,
                b"\r\na\r\nb\rc\r\n",
                vec![
                    Said::Everything,
                    changed(b"a", ANY),
                    changed(b"b\rc", ANY),
                ],
            ),
            (
                "a line that broke off",
                Plain,
                b"\nINBO",
                vec![Said::Everything],
            ),
            (
                "a login shell that greets",
                Plain,
                b"Welcome!\nYou have mail.\n\na\n",
                vec![
                    noise(b"Welcome!"),
                    noise(b"You have mail."),
                    Said::Everything,
                    changed(b"a", ANY),
                ],
            ),
            (
                "what means something with kinds only",
                Plain,
                b"\nmailsync-watch 1\nnew a%0Ab\n",
                vec![
                    Said::Everything,
                    changed(b"mailsync-watch 1", ANY),
                    changed(b"new a%0Ab", ANY),
                ],
            ),
            (
                "as long as a line may be",
                Plain,
                &fits,
                vec![Said::Everything, changed(&long, ANY)],
            ),
            (
                "longer",
                Plain,
                &longer,
                vec![Said::Everything, Said::Everything, changed(b"b", ANY)],
            ),
            (
                "a greeting that is longer",
                Plain,
                &greeting,
                vec![noise(&cut), Said::Everything, changed(b"a", ANY)],
            ),
            (
                "all of a dialogue",
                With,
                b"mailsync-watch 1\n\nnew INBOX\n\nflags,gone a/b\n",
                vec![
                    Said::Hello,
                    Said::Everything,
                    changed(b"INBOX", NEW),
                    Said::Everything,
                    changed(b"a/b", Kinds::FLAGS | Kinds::GONE),
                ],
            ),
            (
                "a greeting, with an empty line in it",
                With,
                b"Welcome!\n\nmailsync-watch 1\r\n\r\nnew a\r\n",
                vec![
                    noise(b"Welcome!"),
                    noise(b""),
                    Said::Hello,
                    Said::Everything,
                    changed(b"a", NEW),
                ],
            ),
            (
                "a change before the store is being watched",
                With,
                b"mailsync-watch 1\nnew a\n\n",
                vec![Said::Hello, noise(b"new a"), Said::Everything],
            ),
            (
                "another version",
                With,
                b"mailsync-watch 2\n\nnew a\n",
                vec![Said::OtherVersion(b"2".to_vec())],
            ),
            (
                "a program that does not know kinds",
                With,
                b"\nINBOX\n",
                vec![noise(b""), noise(b"INBOX")],
            ),
            (
                "kinds of a later version",
                With,
                b"mailsync-watch 1\n\nnew,renamed a\n, b\n c\n",
                vec![
                    Said::Hello,
                    Said::Everything,
                    changed(b"a", NEW | ANY),
                    changed(b"b", ANY),
                    changed(b"c", ANY),
                ],
            ),
            (
                "quotes in either case, and of any byte",
                With,
                b"mailsync-watch 1\n\nnew %0a%0A%c3%a9%61\n",
                vec![
                    Said::Hello,
                    Said::Everything,
                    changed("\n\néa".as_bytes(), NEW),
                ],
            ),
            (
                "what is no change is doubt",
                With,
                b"mailsync-watch 1\n\nnew\nnew \nnew a%\nnew a%2\nnew %+1\nnew %zz\nnew %\xc3\xa9\n",
                [vec![Said::Hello], vec![Said::Everything; 8]].concat(),
            ),
        ];
        for (what, dialect, bytes, expected) in table {
            let mut whole = Reader::new(dialect);
            assert_eq!(whole.push(bytes), expected, "{what}");
            let mut reader = Reader::new(dialect);
            let said = bytes.iter().flat_map(|byte| reader.push(&[*byte]));
            assert_eq!(said.collect::<Vec<_>>(), expected, "{what}, byte by byte");
            for at in 0..bytes.len().min(100) {
                let (first, second) = bytes.split_at(at);
                let mut reader = Reader::new(dialect);
                let mut said = reader.push(first);
                said.extend(reader.push(second));
                assert_eq!(said, expected, "{what}, in two pieces at {at}");
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        for dialect in [Dialect::Plain, Dialect::Kinds] {
            let mut reader = Reader::new(dialect);
            for _ in 0..100 {
                assert_eq!(reader.push(&[b'x'; 10_000]), []);
                assert!(reader.held() <= LONGEST + 1);
            }
        }
        let line = change(Dialect::Kinds, &[b'%'; LONGEST / 2], NEW);
        assert_eq!(line, EVERYTHING, "too long when it is quoted");
    }
}
