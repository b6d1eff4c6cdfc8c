//! What is said between us and a worker: lines of words with one space between.
//!
//! Pure: bytes in, what they mean out.  Names are bytes; those that would end a word or a line, and `%`,
//! are written as `%XX` ([`crate::notation`]).  We say:
//!
//! ```text
//! hello 1 idle=SECONDS quit=SECONDS
//! sync RUN all|some [quick]
//! folder NAME [DIRECTORY]
//! go
//! ```
//!
//! and it says:
//!
//! ```text
//! hello 1 ANYTHING
//! begin RUN
//! folder NAME ok|failed [WORD=NUMBER ...]
//! alive
//! end RUN CODE [TEXT]
//! ```
//!
//! A worker that says anything else, or this out of turn, is of no use any more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::notation::{quote, unquoted};

/// The version of all this.
pub const VERSION: u32 = 1;

/// No line is longer (bytes).
const LONGEST: usize = 64 * 1024;

/// No run has more answers.
const MOST_ANSWERS: usize = 100_000;

/// A run that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub run: u64,
    /// Its folders; `None`: the whole account.
    pub folders: Option<Vec<Asked>>,
    /// Remote changes of flags may be missed.
    pub quick: bool,
}

/// A folder of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it is called.
    pub name: Vec<u8>,
    /// Where it is; empty if nowhere.
    pub directory: Vec<u8>,
    /// For us only.
    pub real: Arc<Path>,
}

/// What became of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it is called.
    pub name: Vec<u8>,
    /// It is synced.
    pub ok: bool,
    /// What was done, in its own words.
    pub counts: Vec<(String, u64)>,
}

impl Answer {
    /// Whether a count is not 0.
    #[must_use]
    pub fn did_something(&self) -> bool {
        self.counts.iter().any(|(_, count)| *count > 0)
    }
}

/// The end of a run, as the worker says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// As a command would exit with.
    pub code: i32,
    /// Why, for the user.
    pub text: String,
    /// What became of the folders.
    pub answers: Vec<Answer>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has not said hello.
    New,
    /// It waits for a request.
    Waits,
    /// It was asked for this run.
    Asked(u64),
    /// It has begun this one.
    Busy(u64),
}

/// All that was said so far.
pub struct Talk {
    turn: Turn,
    line: Vec<u8>,
    answers: Vec<Answer>,
    done: Option<Done>,
}

impl Talk {
    /// With a new worker.
    #[must_use]
    pub fn new() -> Self {
        Talk {
            turn: Turn::New,
            line: Vec::new(),
            answers: Vec::new(),
            done: None,
        }
    }

    /// What it is told first.
    #[must_use]
    pub fn hello([idle, quit]: [Duration; 2]) -> Vec<u8> {
        let (idle, quit) = (idle.as_secs(), quit.as_secs());
        format!("hello {VERSION} idle={idle} quit={quit}\n").into_bytes()
    }

    /// What it is told to have this done.
    #[must_use]
    pub fn request(request: &Request) -> Vec<u8> {
        let scope = match &request.folders {
            Some(_) => "some",
            None => "all",
        };
        let quick = if request.quick { " quick" } else { "" };
        let mut text = format!("sync {} {scope}{quick}\n", request.run).into_bytes();
        for folder in request.folders.iter().flatten() {
            text.extend_from_slice(b"folder ");
            quote(&mut text, &folder.name, b" ");
            if !folder.directory.is_empty() {
                text.push(b' ');
                quote(&mut text, &folder.directory, b" ");
            }
            text.push(b'\n');
        }
        text.extend_from_slice(b"go\n");
        text
    }

    /// It has said hello.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.turn != Turn::New
    }

    /// It has begun what it was asked for last.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        matches!(self.turn, Turn::Busy(_)) || self.done.is_some()
    }

    /// It is asked for this run.
    pub fn ask(&mut self, run: u64) {
        self.turn = Turn::Asked(run);
        self.answers.clear();
        self.done = None;
    }

    /// The end of the run that it was asked for, once.
    pub fn done(&mut self) -> Option<Done> {
        self.done.take()
    }

    /// Take in what it says.
    ///
    /// # Errors
    /// When it does not keep to the contract: what it does, in words.
    pub fn hear(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (rest, after) = bytes.split_at(end);
            bytes = after.get(1..).unwrap_or_default();
            self.keep(rest)?;
            let line = std::mem::take(&mut self.line);
            self.line(&line)?;
        }
        self.keep(bytes)
    }

    /// It says no more.
    ///
    /// # Errors
    /// When that is in the middle of a line.
    pub fn silent(&self) -> Result<(), String> {
        match self.line.is_empty() {
            true => Ok(()),
            false => Err("ended in the middle of a line".to_owned()),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.line.len() + bytes.len() > LONGEST {
            return Err(format!("writes a line of more than {LONGEST} bytes"));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let strange = || {
            let shown = line.get(..60).unwrap_or(line).escape_ascii();
            Err(format!("says \"{shown}\", which is not in the contract"))
        };
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let word = words.next().unwrap_or_default();
        let number = |word: Option<&[u8]>| {
            let word = str::from_utf8(word?).ok()?;
            let digits = word.bytes().all(|byte| byte.is_ascii_digit());
            word.parse::<u64>().ok().filter(|_| digits)
        };
        match (word, self.turn) {
            (b"hello", Turn::New) => match number(words.next()) {
                Some(version) if version == u64::from(VERSION) => self.turn = Turn::Waits,
                Some(version) => {
                    return Err(format!(
                        "speaks version {version} of the contract, not {VERSION}"
                    ));
                }
                None => return strange(),
            },
            (b"alive", Turn::Asked(_) | Turn::Busy(_)) => {}
            (b"begin", Turn::Asked(run)) if number(words.next()) == Some(run) => {
                self.turn = Turn::Busy(run);
            }
            (b"folder", Turn::Busy(_)) => match answer(line) {
                Some(_) if self.answers.len() >= MOST_ANSWERS => {
                    return Err("answers without end".to_owned());
                }
                Some(answer) => self.answers.push(answer),
                None => return strange(),
            },
            (b"end", Turn::Busy(run)) if number(words.next()) == Some(run) => {
                let code = number(words.next()).and_then(|code| i32::try_from(code).ok());
                let Some(code) = code.filter(|code| *code < 256) else {
                    return strange();
                };
                let text = words.next().unwrap_or_default();
                self.turn = Turn::Waits;
                self.done = Some(Done {
                    code,
                    text: String::from_utf8_lossy(text).into_owned(),
                    answers: std::mem::take(&mut self.answers),
                });
            }
            _ => return strange(),
        }
        Ok(())
    }
}

impl Default for Talk {
    fn default() -> Self {
        Talk::new()
    }
}

/// `folder NAME ok|failed [WORD=NUMBER ...]`
fn answer(line: &[u8]) -> Option<Answer> {
    let mut words = line.split(|byte| *byte == b' ').skip(1);
    let name = unquoted(words.next()?)?;
    let ok = match words.next()? {
        b"ok" => true,
        b"failed" => false,
        _ => return None,
    };
    let count = |word: &[u8]| {
        let (word, number) = str::from_utf8(word).ok()?.split_once('=')?;
        Some((word.to_owned(), number.parse().ok()?))
    };
    let counts = words.map(count).collect::<Option<_>>()?;
    Some(Answer { name, ok, counts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &[u8], directory: &[u8]) -> Asked {
        Asked {
            name: name.to_vec(),
            directory: directory.to_vec(),
            real: Path::new("/").into(),
        }
    }

    #[test]
    fn we_ask() {
        let times = [Duration::from_secs(300), Duration::from_millis(1_800_900)];
        assert_eq!(Talk::hello(times), b"hello 1 idle=300 quit=1800\n");
        let all = Request {
            run: 7,
            folders: None,
            quick: false,
        };
        assert_eq!(Talk::request(&all), b"sync 7 all\ngo\n");
        let some = Request {
            run: 8,
            folders: Some(vec![
                asked(b"INBOX", b"/m/INBOX"),
                asked(b"a b%\n\xff", b"/m/a b"),
                asked(b"far", b""),
            ]),
            quick: true,
        };
        let expected: &[u8] = b"sync 8 some quick\n\
              folder INBOX /m/INBOX\n\
              folder a%20b%25%0A\xff /m/a%20b\n\
              folder far\n\
              go\n";
        assert_eq!(Talk::request(&some), expected);
        let none = Request {
            run: 9,
            folders: Some(Vec::new()),
            quick: false,
        };
        assert_eq!(Talk::request(&none), b"sync 9 some\ngo\n");
    }

    /// Answers to a request for run 7, by pieces of this size.
    fn heard(text: &[u8], step: usize) -> Result<Option<Done>, String> {
        let mut talk = Talk::new();
        talk.hear(b"hello 1 test\n")?;
        talk.ask(7);
        for part in text.chunks(step) {
            talk.hear(part)?;
        }
        talk.silent()?;
        Ok(talk.done())
    }

    #[test]
    fn it_answers() {
        let text = b"begin 7\nalive\nfolder a%20b%25%0A\xff ok pulled=2 x=0\nfolder c failed\n\
                     end 7 75 no  network\n";
        for step in [1, 2, 7, 1000] {
            let done = heard(text, step).unwrap().unwrap();
            assert_eq!((done.code, &done.text[..]), (75, "no  network"));
            let counts = vec![("pulled".to_owned(), 2), ("x".to_owned(), 0)];
            let first = Answer {
                name: b"a b%\n\xff".to_vec(),
                ok: true,
                counts,
            };
            assert_eq!(done.answers[0], first);
            assert!(first.did_something() && !done.answers[1].did_something());
            assert!(!done.answers[1].ok);
        }
        assert_eq!(heard(b"begin 7\nend 7 0\n", 3).unwrap().unwrap().text, "");
        // Not yet.
        assert_eq!(heard(b"begin 7\n", 3), Ok(None));
    }

    #[test]
    fn anything_else_is_refused() {
        let long = vec![b'x'; LONGEST + 1];
        let megabyte = [&[b'y'; 1 << 20][..], b"\n"].concat();
        let table: [&[u8]; 22] = [
            b"\n",
            b"hello 1\n",
            b"begin 8\n",
            b"begin\n",
            b"begin 7 \nbegin 7\n",
            b"begin 7\nbegin 7\n",
            b"end 7 0\n",
            b"begin 7\nend 8 0\n",
            b"begin 7\nend 7\n",
            b"begin 7\nend 7 -1\n",
            b"begin 7\nend 7 256\n",
            b"begin 7\nend 7 +1\n",
            b"begin 7\nend 7 0\nend 7 0\n",
            b"begin 7\nend 7 0\nalive\n",
            b"folder a ok\n",
            b"begin 7\nfolder a\n",
            b"begin 7\nfolder a%2 ok\n",
            b"begin 7\nfolder a ok pulled\n",
            b"begin 7\nfolder a ok pulled=-1\n",
            b"begin 7\nfolder a fine\n",
            &long,
            &megabyte,
        ];
        for text in table {
            for step in [1, 5, 4096] {
                let text = text.get(..70_000).unwrap_or(text);
                assert!(heard(text, step).is_err(), "{}", text.escape_ascii());
            }
        }
        // Half a line is none.
        assert!(heard(b"begin 7\nend 7 0", 3).is_err());
    }

    #[test]
    fn it_has_to_say_hello() {
        let table: [(&[u8], Option<&str>); 6] = [
            (b"hello 1\n", None),
            (b"hello 1 whoever I am\n", None),
            (b"hello 2\n", Some("version 2")),
            (b"hello\n", Some("says \"hello\"")),
            (b"begin 1\n", Some("says")),
            (b"\x00\xff\n", Some("\\x00\\xff")),
        ];
        for (text, wrong) in table {
            let mut talk = Talk::new();
            let found = talk.hear(text);
            match wrong {
                None => assert!(found.is_ok() && talk.is_known()),
                Some(part) => assert!(found.unwrap_err().contains(part)),
            }
        }
    }

    #[test]
    fn a_run_without_end_does_not_fill_memory() {
        let mut talk = Talk::new();
        talk.hear(b"hello 1\n").unwrap();
        talk.ask(1);
        talk.hear(b"begin 1\n").unwrap();
        let found = (0..=MOST_ANSWERS).try_for_each(|_| talk.hear(b"folder a ok\n"));
        assert!(found.is_err());
    }
}
