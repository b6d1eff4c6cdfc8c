//! A source of names: a maildir of this machine, watched by mailsync's own engine.
//!
//! The engine is the very one that runs in Emacs, with one account and no syncer, and this is its Lisp:
//! it reads the engine's pipe and acknowledges each frame.  So what happens when events are lost, the
//! machine sleeps, a limit is reached or the maildir goes away needs neither code nor tests of its
//! own; and while the reader of our output does not read, the engine merges, one entry a folder.  Going
//! through a pipe costs a system call or two for a batch of changes, and leaves the engine as it is.

use std::collections::HashSet;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::options::{Options, Poll};
use super::{Ended, News, Source, memory};
use crate::engine::actor::{Handle, World};
use crate::engine::config::{AccountConfig, RootConfig};
use crate::engine::pipe::Pipe;
use crate::frame::read::{Frames, Record};

/// The only pipe that its engine ever has.
const GENERATION: i64 = 1;

/// The engine, and what it has said.
pub struct Store {
    /// There until this is dropped.
    engine: Option<Handle>,
    pipe: PipeReader,
    frames: Frames,
    /// The frame that was handed out last, if it has to be acknowledged.
    unread: Option<u64>,
    /// Roots that were not looked at yet.
    unseen: HashSet<PathBuf>,
    looks_refused: bool,
}

impl Store {
    /// Watch these directories, which are absolute.
    ///
    /// # Errors
    /// When the system gives no pipe or no thread.
    pub fn watch(roots: &[PathBuf], options: &Options) -> Result<Self> {
        let (pipe, writer) = io::pipe().context("making a pipe")?;
        let root = |directory: &PathBuf| RootConfig {
            directory: directory.clone(),
            layout: options.layout,
            poll: match options.poll {
                Poll::Every(period) => Some(period),
                Poll::Needed | Poll::Refused => None,
            },
        };
        let account = AccountConfig {
            name: String::new(),
            roots: roots.iter().map(root).collect(),
            delays: options.delays,
            // Whoever listens is no reader, but looks as one when he syncs.
            quiet: false,
            sync: None,
            remotes: Vec::new(),
        };
        let writer = Pipe::new(writer)?;
        let world = World {
            looked: memory::give_back,
            ..World::real()
        };
        let engine = Handle::start_with(vec![account], GENERATION, writer, world)?;
        Ok(Store {
            engine: Some(engine),
            pipe,
            frames: Frames::default(),
            unread: None,
            unseen: roots.iter().cloned().collect(),
            looks_refused: options.poll == Poll::Refused,
        })
    }

    /// Gets ready when `next` does not wait for long.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// What was handed out has been printed.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn settle(&mut self) -> Result<(), Ended> {
        if let (Some(sequence), Some(engine)) = (self.unread.take(), &self.engine) {
            (engine.acknowledge(GENERATION, sequence)).map_err(Ended::failed)?;
        }
        Ok(())
    }

    fn news(&mut self, record: Record) -> Result<Option<News>, Ended> {
        Ok(match record {
            Record::Ready(root) => {
                let last = self.unseen.remove(&root) && self.unseen.is_empty();
                last.then_some(News::Everything)
            }
            // What is said when all are watched covers it.
            Record::Change { .. } if !self.unseen.is_empty() => None,
            Record::Change {
                name,
                directory,
                kinds,
            } => Some(News::Change {
                name,
                directory,
                kinds,
            }),
            Record::State { text, .. } if text.is_empty() => None,
            Record::State { state, text } => match &*state {
                "error" => return Err(Ended::Failed(words(&text))),
                "watching" if self.looks_refused => return Err(Ended::Unwatched(words(&text))),
                _ => Some(News::Problem(words(&text))),
            },
            Record::Log { level, text } => (level != "info").then(|| News::Problem(words(&text))),
            Record::Bye(text) => return Err(Ended::Failed(text)),
        })
    }
}

impl Source for Store {
    fn next(&mut self) -> Result<Vec<News>, Ended> {
        self.settle()?;
        loop {
            if let Some(frame) = self.frames.take().map_err(Ended::failed)? {
                self.unread = (frame.sequence != 0).then_some(frame.sequence);
                let news = frame
                    .records
                    .into_iter()
                    .filter_map(|it| self.news(it).transpose());
                return news.collect();
            }
            let mut buffer = [0; 4096];
            match self.pipe.read(&mut buffer) {
                Ok(0) => return Err(Ended::Failed("the engine has ended".to_owned())),
                Ok(count) => self.frames.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Ended::Failed(error.to_string())),
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }
}

/// The engine speaks to users of Emacs.
fn words(text: &str) -> String {
    let table = [
        (": mend it or the key :maildir", "; it is waited for"),
        ("Emacs", "mailsync-watch"),
        ("; M-x mailsync-restart starts it again", ""),
    ];
    let said = text.to_owned();
    (table.iter()).fold(said, |said, (emacs, here)| said.replace(emacs, here))
}
