//! A source of names: an Emacs on this machine, which says what its Gnus has checked; without one, the
//! maildir itself.
//!
//! Exactly one of the two speaks at any time.  At each changeover everything is in doubt: one that
//! begins to watch says so by itself when it does; one that takes over from it has known everything
//! since it was connected, and what the other has not said yet is covered by that doubt.  [`Talk`] is
//! what an Emacs has said, pure; the rest waits, for the Emacs, for the maildir, and for another Emacs.
//!
//! The same maildirs are told of, by the same names, whoever speaks.  So an Emacs that does not watch
//! one of them is as good as none.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::send;

use super::options::Options;
use super::store::Store;
use super::{Ended, News, Source};
use crate::listen::place::{self, Missing, Place};
use crate::listen::vigil::Vigil;
use crate::listen::wire::{ATTACH, Reader, Rubbish};
use crate::listen::{Spot, Told};
use crate::ready;

/// How long an Emacs may take to say who it is; one that was stopped never does.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon to try again what nobody tells the end of, and the longest such wait.
const AGAIN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);

/// A maildir: as it was given, and its truename.
pub type Root = (PathBuf, PathBuf);

/// Whether an Emacs is of use, as far as it has said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Use {
    /// It has not said yet.
    Unknown,
    /// What it says is all there is to say.
    Good,
    /// It does not answer.
    Silent,
    /// It does not watch this maildir.
    Unwatched(PathBuf),
}

/// What an Emacs has said.
pub struct Talk {
    reader: Reader,
    usable: Use,
    silent: bool,
    unwatched: Option<PathBuf>,
    listed: bool,
    /// It was of no use for a while, and nobody has been told.
    gap: bool,
}

impl Default for Talk {
    fn default() -> Self {
        Talk::new()
    }
}

impl Talk {
    /// With one to which it was connected just now.
    #[must_use]
    pub fn new() -> Self {
        Talk {
            reader: Reader::default(),
            usable: Use::Unknown,
            silent: false,
            unwatched: None,
            listed: false,
            gap: false,
        }
    }

    /// Take in what was read; says what of that is news of these maildirs, which are as they were given and
    /// as truenames.
    ///
    /// # Errors
    /// When it means nothing: nothing more may be read.
    pub fn push(&mut self, bytes: &[u8], roots: &[Root]) -> Result<Vec<News>, Rubbish> {
        let mut news = Vec::new();
        for told in self.reader.push(bytes)? {
            match told {
                Told::Roots(watched) => {
                    self.listed = true;
                    let unwatched = roots.iter().find(|(_, real)| !watched.contains(real));
                    self.unwatched = unwatched.map(|(spelled, _)| spelled.clone());
                }
                Told::Silent => self.silent = true,
                Told::Back => self.silent = false,
                Told::Everything => news.push(News::Everything),
                Told::Change(spot, kinds) => news.extend(named(spot, roots).map(|named| {
                    named.map_or(News::Everything, |(name, directory)| News::Change {
                        name,
                        directory,
                        kinds,
                    })
                })),
            }
            self.usable = match &self.unwatched {
                _ if !self.listed => Use::Unknown,
                Some(root) => Use::Unwatched(root.clone()),
                None if self.silent => Use::Silent,
                None => Use::Good,
            };
            self.gap |= self.listed && self.usable != Use::Good;
        }
        Ok(news)
    }
}

/// A folder as the program itself would find it: its name and directory.  None: it is in none of these
/// maildirs; `Some(None)`: it is in another one within them, of which only the Emacs knows.
fn named(spot: Spot, roots: &[Root]) -> Option<Option<(Vec<u8>, PathBuf)>> {
    if let Some((spelled, real)) = roots.iter().find(|(_, real)| *real == spot.root) {
        let below = spot.directory.strip_prefix(real).unwrap_or(Path::new(""));
        let directory = if below.as_os_str().is_empty() {
            spelled.clone()
        } else {
            spelled.join(below)
        };
        return Some(Some((spot.name, directory)));
    }
    let within = roots.iter().any(|(_, real)| spot.root.starts_with(real));
    within.then_some(None)
}

/// The connection to an Emacs.
struct Line {
    stream: UnixStream,
    talk: Talk,
    /// When it must have said who it is.
    until: Option<Instant>,
}

/// The source.
pub struct Attached {
    place: Place,
    roots: Vec<PathBuf>,
    options: Options,
    line: Option<Line>,
    /// The maildir, while it is watched here.
    store: Option<Store>,
    /// The Emacs speaks.
    attached: bool,
    /// What comes, while there is no line.
    vigil: Option<Vigil>,
    retry: Option<Instant>,
    patience: Duration,
    /// Why there is no line.
    why: String,
    /// The last one that was of use broke.
    lost: bool,
    /// Waits to be said.
    news: Vec<News>,
}

/// What is ready.
struct Ready {
    line: bool,
    store: bool,
    vigil: bool,
}

impl Attached {
    /// Attach to the Emacs there, for these directories, which are absolute.
    #[must_use]
    pub fn new(place: Place, roots: &[PathBuf], options: &Options) -> Self {
        let mut attached = Attached {
            place,
            roots: roots.to_vec(),
            options: options.clone(),
            line: None,
            store: None,
            attached: false,
            vigil: None,
            retry: None,
            patience: AGAIN,
            why: String::new(),
            lost: false,
            news: Vec::new(),
        };
        attached.call();
        attached
    }

    /// The maildirs with their truenames, which links may change.
    fn real(&self) -> Vec<Root> {
        let real = |root: &PathBuf| fs::canonicalize(root).unwrap_or_else(|_| root.clone());
        let roots = self.roots.iter();
        roots.map(|root| (root.clone(), real(root))).collect()
    }

    fn socket(&self) -> String {
        let file = self.place.files().into_iter().next().unwrap_or_default();
        file.display().to_string()
    }

    /// Connect to the Emacs, if there is one.
    fn call(&mut self) {
        // Before, so that one that comes meanwhile is noticed.
        self.vigil = Vigil::of(&self.place.awaited());
        self.retry = None;
        let found = place::find(&self.place).map(|stream| {
            let sent = send(&stream, ATTACH, place::NO_SIGNAL);
            sent.ok()
                .filter(|count| *count == ATTACH.len())
                .map(|_| stream)
        });
        match found {
            Ok(Some(stream)) => {
                self.vigil = None;
                self.line = Some(Line {
                    stream,
                    talk: Talk::new(),
                    until: Some(Instant::now() + PATIENCE),
                });
            }
            Ok(None) => self.later("it hangs up"),
            Err(Missing::Nobody) => {
                self.why = format!("no Emacs listens at {}", self.socket());
                if self.vigil.is_none() {
                    self.wait_longer();
                }
            }
            Err(Missing::Refused(error)) => {
                self.why = format!("no Emacs to attach to: {error:#}");
                self.wait_longer();
            }
        }
    }

    /// There is one, but not for us.
    fn later(&mut self, why: &str) {
        self.why = format!("the Emacs at {} is of no use: {why}", self.socket());
        self.line = None;
        self.attached = false;
        if self.vigil.is_none() {
            self.vigil = Vigil::of(&self.place.awaited());
        }
        self.wait_longer();
    }

    fn wait_longer(&mut self) {
        self.retry = Some(Instant::now() + self.patience);
        self.patience = (self.patience * 2).min(SELDOM);
    }

    fn wait(&self) -> Result<Ready, Ended> {
        let deadline = self.line.as_ref().and_then(|line| line.until);
        let next = [deadline, self.retry].into_iter().flatten().min();
        let most = next.map(|at| at.saturating_duration_since(Instant::now()));
        let sources = [
            self.line.as_ref().map(|line| line.stream.as_fd()),
            self.store.as_ref().map(Store::fd),
            self.vigil.as_ref().map(Vigil::fd),
        ];
        let sources = sources.map(|fd| (fd, PollFlags::IN));
        let [line, store, vigil] = ready::wait(sources, most)
            .map_err(|error| Ended::Failed(format!("waiting: {error:#}")))?;
        Ok(Ready { line, store, vigil })
    }

    /// Read what the Emacs says.
    fn hear(&mut self) {
        let roots = self.real();
        let Some(line) = &mut self.line else {
            return;
        };
        let mut bytes = [0; 16 * 1024];
        let count = match line.stream.read(&mut bytes) {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock => return,
                _ => None,
            },
        };
        let Some(count) = count else {
            let was_of_use = line.talk.listed;
            self.line = None;
            self.attached = false;
            if was_of_use {
                self.patience = AGAIN;
                self.lost = true;
                // It may have hung up only, or another one may be there.
                self.call();
            } else {
                self.later("it hangs up");
            }
            // One that ends may still have been there for a moment.
            if self.lost && self.line.is_none() {
                self.why = format!("the Emacs at {} has gone", self.socket());
            }
            return;
        };
        match line.talk.push(&bytes[..count], &roots) {
            Ok(news) => {
                // While the maildir is watched here, that says it all.
                if self.store.is_none() {
                    self.news.extend(news);
                }
                if line.talk.listed {
                    line.until = None;
                    self.patience = AGAIN;
                    self.lost = false;
                }
            }
            Err(Rubbish::OtherVersion(version)) => {
                let version = version.escape_ascii();
                self.later(&format!(
                    "it speaks version {version} of the protocol (this is version 1): install the \
                     mailsync-watch that belongs to it"
                ));
            }
            Err(Rubbish::Line(line)) => {
                let line = String::from_utf8_lossy(&line).into_owned();
                self.later(&format!("it says {line:?}"));
            }
        }
    }

    /// Have the right one of the two speak.
    fn settle(&mut self) -> Result<(), Ended> {
        let mut late = false;
        let usable = self.line.as_mut().map(|line| {
            late = line.until.take_if(|at| *at <= Instant::now()).is_some();
            line.talk.usable.clone()
        });
        let why = match usable {
            Some(Use::Good) => {
                self.go_over();
                return Ok(());
            }
            Some(Use::Unknown) if !late => return Ok(()),
            Some(Use::Unknown | Use::Silent) => {
                format!("the Emacs at {} does not answer", self.socket())
            }
            Some(Use::Unwatched(root)) => {
                let (socket, root) = (self.socket(), root.display());
                format!("the Emacs at {socket} does not watch {root}")
            }
            None => self.why.clone(),
        };
        self.attached = false;
        if self.store.is_none() {
            let text = format!("{why}; watching without it");
            // What was heard before is covered by what it says first.
            self.news = vec![News::Turn(text)];
            let store = Store::watch(&self.roots, &self.options).map_err(Ended::failed)?;
            self.store = Some(store);
        }
        Ok(())
    }

    /// The Emacs speaks.
    fn go_over(&mut self) {
        let gap = (self.line.as_mut()).is_some_and(|line| std::mem::take(&mut line.talk.gap));
        let stood_in = self.store.take().is_some();
        if self.attached && !gap {
            return;
        }
        // What was heard before is covered.
        self.news = vec![News::Everything];
        if stood_in {
            let text = format!("attached to the Emacs at {}", self.socket());
            self.news.insert(0, News::Turn(text));
        }
        self.attached = true;
    }
}

impl Source for Attached {
    fn next(&mut self) -> Result<Vec<News>, Ended> {
        loop {
            self.settle()?;
            if !self.news.is_empty() {
                return Ok(std::mem::take(&mut self.news));
            }
            if let Some(store) = &mut self.store {
                store.settle()?;
            }
            let ready = self.wait()?;
            if ready.line {
                self.hear();
            }
            let due = self.retry.is_some_and(|at| at <= Instant::now());
            let stirred = ready.vigil && self.vigil.as_mut().is_some_and(Vigil::stirred);
            if self.line.is_none() && (due || stirred) {
                self.call();
            }
            if ready.store
                && let Some(store) = &mut self.store
            {
                let news = store.next()?;
                self.news.extend(news);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Kinds;
    use crate::listen::wire::{HELLO, said};

    fn roots() -> Vec<Root> {
        vec![("/home/me/Mail".into(), "/disk/Mail".into())]
    }

    fn change(root: &str, directory: &str, name: &str) -> Told {
        let spot = Spot {
            root: root.into(),
            directory: directory.into(),
            name: name.into(),
        };
        Told::Change(spot, Kinds::NEW)
    }

    fn list(roots: &[&str]) -> Told {
        Told::Roots(roots.iter().map(Into::into).collect())
    }

    #[test]
    fn what_an_emacs_says() {
        let ours = || list(&["/disk/Mail", "/elsewhere"]);
        let unwatched = || Use::Unwatched("/home/me/Mail".into());
        // What it says, whether it is of use then, and whether there was a gap.
        let table: Vec<(&str, Vec<Told>, Use, bool)> = vec![
            ("nothing", vec![], Use::Unknown, false),
            ("our maildir", vec![ours()], Use::Good, false),
            ("others", vec![list(&["/elsewhere"])], unwatched(), true),
            ("none", vec![list(&[])], unwatched(), true),
            ("one around ours", vec![list(&["/disk"])], unwatched(), true),
            ("silence", vec![ours(), Told::Silent], Use::Silent, true),
            (
                "silence first",
                vec![Told::Silent, ours()],
                Use::Silent,
                true,
            ),
            (
                "it is back",
                vec![ours(), Told::Silent, Told::Back],
                Use::Good,
                true,
            ),
            (
                "it watches ours again",
                vec![ours(), list(&[]), ours()],
                Use::Good,
                true,
            ),
        ];
        for (what, told, expected, gap) in table {
            let mut talk = Talk::new();
            talk.push(HELLO, &roots()).unwrap();
            for told in told {
                assert_eq!(talk.push(&said(&told), &roots()), Ok(vec![]), "{what}");
            }
            assert_eq!((&talk.usable, talk.gap), (&expected, gap), "{what}");
        }
    }

    #[test]
    fn folders_are_told_as_the_program_finds_them() {
        let named = |name: &str, directory: &str| News::Change {
            name: name.into(),
            directory: directory.into(),
            kinds: Kinds::NEW,
        };
        let table = [
            (Told::Everything, vec![News::Everything]),
            (
                change("/disk/Mail", "/disk/Mail", "INBOX"),
                vec![named("INBOX", "/home/me/Mail")],
            ),
            (
                change("/disk/Mail", "/disk/Mail/.a.b", "a/b"),
                vec![named("a/b", "/home/me/Mail/.a.b")],
            ),
            (change("/elsewhere", "/elsewhere/a", "a"), vec![]),
            (change("/disk/Mail2", "/disk/Mail2/a", "a"), vec![]),
            // A maildir within ours, of whose layout only the Emacs knows.
            (
                change("/disk/Mail/work", "/disk/Mail/work", "INBOX"),
                vec![News::Everything],
            ),
        ];
        for (told, expected) in table {
            let mut talk = Talk::new();
            talk.push(HELLO, &roots()).unwrap();
            let news = talk.push(&said(&told), &roots());
            assert_eq!(news, Ok(expected), "{told:?}");
        }
    }
}
