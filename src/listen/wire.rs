//! What goes over the socket between an Emacs and a program: bytes only, no I/O.
//!
//! Lines, each of words with one space between.  Control bytes, spaces and `%` in a word are `%XX`;
//! all other bytes are as they are, valid UTF-8 or not.  The Emacs says at once who it is,
//!
//! ```text
//! mailsync-listen 1
//! ```
//!
//! and the program says `attach 1`, and nothing more for ever.  Then come
//!
//! ```text
//! roots N                           N maildirs are watched, which follow
//! root DIRECTORY
//! change KINDS ROOT DIRECTORY NAME  a folder was checked after a change
//! doubt                             anything may have changed
//! silent                            the Emacs does not answer: what it checks is not known
//! back                              it answers again
//! ```
//!
//! where KINDS are words with commas between ([`notation::words`]).  Whatever is not so, is longer than [`LONGEST`]
//! or does not come in its turn is an error, after which nothing is understood any more: both ends are
//! of one user and one package, so there is nobody to be lenient to.  A line without its end is no
//! line: the connection broke in the middle of it.
//!
//! The cases below are the specification.

use std::ffi::OsString;
use std::mem;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{Spot, Told};
use crate::notation;

/// What the Emacs says at once.
pub const HELLO: &[u8] = b"mailsync-listen 1\n";

/// What the program says.
pub const ATTACH: &[u8] = b"attach 1\n";

/// What every version of the first line begins with.
const ANY_HELLO: &[u8] = b"mailsync-listen ";

/// Bytes of a line, without its end: two paths and a name, each of them quoted.
pub const LONGEST: usize = 40 * 1024;

/// Maildirs that one list may have.
const MOST_ROOTS: usize = 4096;

/// These words on a line.
fn line(words: &[&[u8]]) -> Vec<u8> {
    let mut line = Vec::new();
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            line.push(b' ');
        }
        notation::quote(&mut line, word, b" ");
    }
    line.push(b'\n');
    line
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// How this is said.
#[must_use]
pub fn said(told: &Told) -> Vec<u8> {
    let said = match told {
        Told::Roots(roots) => {
            let roots = &roots[..roots.len().min(MOST_ROOTS)];
            let each = roots.iter().flat_map(|root| line(&[b"root", bytes(root)]));
            let count = line(&[b"roots", roots.len().to_string().as_bytes()]);
            return count.into_iter().chain(each).collect();
        }
        Told::Change(spot, kinds) => {
            let Spot {
                root,
                directory,
                name,
            } = spot;
            let kinds = notation::words(*kinds);
            let (root, directory) = (bytes(root), bytes(directory));
            line(&[b"change", kinds.as_bytes(), root, directory, name])
        }
        Told::Everything => line(&[b"doubt"]),
        Told::Silent => line(&[b"silent"]),
        Told::Back => line(&[b"back"]),
    };
    if said.len() > LONGEST {
        return said_in_doubt();
    }
    said
}

fn said_in_doubt() -> Vec<u8> {
    line(&[b"doubt"])
}

/// What was read is not what was to come; with the line, as far as it is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rubbish {
    /// The Emacs speaks another version.
    OtherVersion(Vec<u8>),
    /// Anything else.
    Line(Vec<u8>),
}

/// Bytes of a line that a message shows.
const SHOWN: usize = 80;

impl Rubbish {
    fn of(line: &[u8]) -> Self {
        Rubbish::Line(line[..line.len().min(SHOWN)].to_vec())
    }
}

/// Reads what an Emacs says, in pieces of any size.
#[derive(Default)]
pub struct Reader {
    line: Vec<u8>,
    greeted: bool,
    /// The list of maildirs that is being read, and how many are to come.
    roots: Option<(Vec<PathBuf>, usize)>,
}

impl Reader {
    /// Whether it was said who is there.
    #[must_use]
    pub fn greeted(&self) -> bool {
        self.greeted
    }

    /// Bytes held: never more than a line has.
    #[must_use]
    pub fn held(&self) -> usize {
        self.line.len()
    }

    /// Take in what was read; says what that means.
    ///
    /// # Errors
    /// When it means nothing; what was said on the lines before is lost, and in doubt.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Told>, Rubbish> {
        let mut told = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        let rest = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            self.gather(piece)?;
            let line = mem::take(&mut self.line);
            told.extend(self.line(&line)?);
        }
        self.gather(rest)?;
        Ok(told)
    }

    fn gather(&mut self, piece: &[u8]) -> Result<(), Rubbish> {
        if self.line.len() + piece.len() > LONGEST {
            self.line.extend(piece.iter().take(SHOWN));
            return Err(Rubbish::of(&self.line));
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Told>, Rubbish> {
        if !self.greeted {
            return self.hello(line).map(|()| None);
        }
        let told = self.understood(line);
        told.ok_or_else(|| Rubbish::of(line))
    }

    fn hello(&mut self, line: &[u8]) -> Result<(), Rubbish> {
        if HELLO.strip_suffix(b"\n") == Some(line) {
            self.greeted = true;
            return Ok(());
        }
        Err(match line.strip_prefix(ANY_HELLO) {
            Some(version) => Rubbish::OtherVersion(version[..version.len().min(SHOWN)].to_vec()),
            None => Rubbish::of(line),
        })
    }

    /// What a line means, which may be nothing yet; none if it is not understood.
    fn understood(&mut self, line: &[u8]) -> Option<Option<Told>> {
        let words = line.split(|byte| *byte == b' ').map(notation::unquoted);
        let words: Vec<Vec<u8>> = words.collect::<Option<_>>()?;
        let mut rest = words.iter().skip(1);
        let mut next = || rest.next().cloned();
        if let Some((roots, more)) = &mut self.roots {
            if words[0] != b"root" || words.len() != 2 {
                return None;
            }
            roots.push(absolute(next()?)?);
            *more -= 1;
            return Some(self.listed());
        }
        let told = match (words[0].as_slice(), words.len()) {
            (b"roots", 2) => {
                let count: usize = str::from_utf8(&next()?).ok()?.parse().ok()?;
                if count > MOST_ROOTS {
                    return None;
                }
                self.roots = Some((Vec::new(), count));
                return Some(self.listed());
            }
            (b"change", 5) => {
                let kinds = notation::kinds(&next()?);
                let (root, directory) = (absolute(next()?)?, absolute(next()?)?);
                let name = next().filter(|name| !name.is_empty())?;
                let spot = Spot {
                    root,
                    directory,
                    name,
                };
                Told::Change(spot, kinds)
            }
            (b"doubt", 1) => Told::Everything,
            (b"silent", 1) => Told::Silent,
            (b"back", 1) => Told::Back,
            _ => return None,
        };
        Some(Some(told))
    }

    /// The list of maildirs, if it is whole.
    fn listed(&mut self) -> Option<Told> {
        let (roots, _) = self.roots.take_if(|(_, more)| *more == 0)?;
        Some(Told::Roots(roots))
    }
}

fn absolute(word: Vec<u8>) -> Option<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(word));
    path.is_absolute().then_some(path)
}

/// A program says what none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoGreeting;

/// Reads the little that a program says.
#[derive(Debug, Default)]
pub struct Greeting {
    read: usize,
}

impl Greeting {
    /// Take in what was read; whether the program is attached now.
    ///
    /// # Errors
    /// When that is anything else: nothing more may be read of it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, NoGreeting> {
        let expected = ATTACH[self.read..].get(..bytes.len());
        if expected.ok_or(NoGreeting)? != bytes {
            return Err(NoGreeting);
        }
        self.read += bytes.len();
        Ok(self.read == ATTACH.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Kinds;

    fn spot(root: &str, directory: &str, name: &[u8]) -> Spot {
        Spot {
            root: root.into(),
            directory: directory.into(),
            name: name.to_vec(),
        }
    }

    fn greeted(bytes: &[u8]) -> Vec<u8> {
        [HELLO, bytes].concat()
    }

    /// What is read of this, in one piece and byte by byte.
    fn read(bytes: &[u8]) -> Result<Vec<Told>, Rubbish> {
        let whole = Reader::default().push(bytes);
        let mut reader = Reader::default();
        let mut told = Ok(Vec::new());
        for byte in bytes {
            assert!(reader.held() <= LONGEST);
            match (reader.push(&[*byte]), &mut told) {
                (Ok(more), Ok(told)) => told.extend(more),
                (Err(rubbish), _) => {
                    told = Err(rubbish);
                    break;
                }
                (Ok(_), Err(_)) => unreachable!(),
            }
        }
        if !matches!(&whole, Err(Rubbish::Line(line)) if line.len() == SHOWN) {
            assert_eq!(whole, told, "byte by byte");
        }
        assert_eq!(whole.is_ok(), told.is_ok());
        whole
    }

    #[test]
    fn what_is_told_is_written_and_read() {
        let any = OsString::from_vec(b"/m/\xff".to_vec());
        let table: Vec<(Told, &[u8])> = vec![
            (Told::Roots(vec![]), b"roots 0\n"),
            (
                Told::Roots(vec!["/m".into(), "/My Mail".into(), any.into()]),
                b"roots 3\nroot /m\nroot /My%20Mail\nroot /m/\xff\n",
            ),
            (
                Told::Change(spot("/m", "/m", b"INBOX"), Kinds::NEW),
                b"change new /m /m INBOX\n",
            ),
            (
                Told::Change(
                    spot("/m", "/m/.a b\n", b"a b%\n\xc3\xa9\xff"),
                    Kinds::FLAGS | Kinds::GONE,
                ),
                b"change flags,gone /m /m/.a%20b%0A a%20b%25%0A\xc3\xa9\xff\n",
            ),
            (
                Told::Change(spot("/m", "/m/a", b"a"), Kinds::all()),
                b"change new,flags,gone,folder-created,folder-deleted,unknown /m /m/a a\n",
            ),
            (Told::Everything, b"doubt\n"),
            (Told::Silent, b"silent\n"),
            (Told::Back, b"back\n"),
        ];
        let mut all = greeted(b"");
        for (told, line) in &table {
            assert_eq!(said(told), *line, "{told:?}");
            assert_eq!(read(&greeted(line)), Ok(vec![told.clone()]), "{told:?}");
            all.extend_from_slice(line);
        }
        let each = table.into_iter().map(|(told, _)| told).collect();
        assert_eq!(read(&all), Ok(each));
        // What no line can say is doubt.
        let long = spot("/m", "/m/a", &[b'x'; LONGEST]);
        assert_eq!(said(&Told::Change(long, Kinds::NEW)), b"doubt\n");
    }

    #[test]
    fn what_is_not_told() {
        let change = |it: &str| greeted(format!("change {it}\n").as_bytes());
        let rubbish = |line: &[u8]| Err(Rubbish::Line(line.to_vec()));
        let version = |it: &[u8]| Err(Rubbish::OtherVersion(it.to_vec()));
        type Case = (&'static str, Vec<u8>, Result<Vec<Told>, Rubbish>);
        let table: Vec<Case> = vec![
            ("nothing", b"".to_vec(), Ok(vec![])),
            ("half of a greeting", b"mailsync-li".to_vec(), Ok(vec![])),
            ("a greeting", greeted(b""), Ok(vec![])),
            ("half of a line", greeted(b"silen"), Ok(vec![])),
            ("half of a list", greeted(b"roots 2\nroot /m\n"), Ok(vec![])),
            (
                "another version",
                b"mailsync-listen 2 x\nsilent\n".to_vec(),
                version(b"2 x"),
            ),
            (
                "something else",
                b"SSH-2.0-OpenSSH\n".to_vec(),
                rubbish(b"SSH-2.0-OpenSSH"),
            ),
            ("no greeting", b"silent\n".to_vec(), rubbish(b"silent")),
            (
                "two greetings",
                greeted(HELLO),
                rubbish(b"mailsync-listen 1"),
            ),
            ("an empty line", greeted(b"\n"), rubbish(b"")),
            ("an unknown word", greeted(b"hello\n"), rubbish(b"hello")),
            (
                "a list that something comes between",
                greeted(b"roots 1\nsilent\n"),
                rubbish(b"silent"),
            ),
            (
                "a root outside a list",
                greeted(b"root /m\n"),
                rubbish(b"root /m"),
            ),
            (
                "more roots than anybody has",
                greeted(b"roots 99999999999999999999\n"),
                rubbish(b"roots 99999999999999999999"),
            ),
            (
                "a root that is not absolute",
                greeted(b"roots 1\nroot m\n"),
                rubbish(b"root m"),
            ),
            (
                "a change without a name",
                change("new /m /m "),
                rubbish(b"change new /m /m "),
            ),
            (
                "a change with a word too many",
                change("new /m /m a b"),
                rubbish(b"change new /m /m a b"),
            ),
            (
                "quotes that are none",
                change("new /m /m %+1"),
                rubbish(b"change new /m /m %+1"),
            ),
            (
                "quotes that break off",
                change("new /m /m %4"),
                rubbish(b"change new /m /m %4"),
            ),
            (
                "a kind that is not known",
                change("new,eaten /m /m a"),
                Ok(vec![Told::Change(
                    spot("/m", "/m", b"a"),
                    Kinds::NEW | Kinds::UNKNOWN,
                )]),
            ),
        ];
        for (what, bytes, expected) in table {
            assert_eq!(read(&bytes), expected, "{what}");
        }
        for endless in [vec![b'x'; LONGEST + 1], greeted(&[b'x'; 2 * LONGEST])] {
            let rubbish = read(&endless);
            assert!(matches!(rubbish, Err(Rubbish::Line(it)) if it.len() <= 2 * SHOWN));
        }
    }

    #[test]
    fn what_a_program_says() {
        let table: [(&[u8], Result<bool, NoGreeting>); 9] = [
            (b"", Ok(false)),
            (b"att", Ok(false)),
            (b"attach 1", Ok(false)),
            (b"attach 1\n", Ok(true)),
            (b"attach 1\n\n", Err(NoGreeting)),
            (b"attach 1\nattach 1\n", Err(NoGreeting)),
            (b"attach 2\n", Err(NoGreeting)),
            (b"GET / HTTP/1.1\r\n", Err(NoGreeting)),
            (&[0; 100_000], Err(NoGreeting)),
        ];
        for (bytes, expected) in table {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
            assert_eq!(Greeting::default().push(bytes), expected, "{shown}");
            let mut greeting = Greeting::default();
            let mut last = Ok(false);
            for byte in bytes {
                last = greeting.push(&[*byte]);
                if last.is_err() {
                    break;
                }
            }
            assert_eq!(last, expected, "{shown}, byte by byte");
        }
    }
}
