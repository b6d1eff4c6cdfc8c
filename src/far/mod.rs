//! mailsync-watch: tells whoever is at the other end of its standard output which folders of a
//! maildir change.  No Emacs, no configuration file, no network, no child process.
//!
//! [`options`] is the command line, [`connection`] the two ends that it lives between, [`store`] where
//! names come from (a [`Source`]), [`attach`] another such, an Emacs on this machine that says which
//! folders its Gnus has checked, [`names`] how folders are called, `memory` how little of it a server gives;
//! what is printed is [`crate::remote::protocol`].  Here it is put together: one thread waits for the
//! source and prints, the main thread waits for whatever ends the program.
//!
//! Watching is not done here: it is the engine's, and its promises hold (no change is lost, memory
//! grows with folders, nothing wakes up when nothing happens).  An overflow of the kernel's queue is
//! looked after by the engine, which names the folders that differ; an empty line is printed only
//! where names cannot say it.

pub mod attach;
pub mod connection;
mod memory;
pub mod names;
pub mod options;
pub mod store;

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::change::Kinds;
use crate::listen::place::Place;
use crate::remote::protocol;
use crate::threads;
use attach::Attached;
use connection::Over;
use options::{Attach, Options, Wanted};
use store::Store;

/// sysexits.h: the command was used incorrectly.
const USAGE: u8 = 64;

/// sysexits.h: a service is not available.
const UNAVAILABLE: u8 = 69;

/// Problems that are remembered, so that they are said once.
const MOST_PROBLEMS: usize = 16;

/// An input that ends so soon was never there.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a source has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Everything is being watched from now on, or is in doubt.
    Everything,
    /// Something changed in a folder.
    Change {
        /// Its canonical name.
        name: Vec<u8>,
        /// Where it lies.
        directory: PathBuf,
        /// What.
        kinds: Kinds,
    },
    /// What a user should know, once.
    Problem(String),
    /// What a user should know each time.
    Turn(String),
}

/// Where changes come from.
pub trait Source {
    /// Wait for what is next.  What was handed out before has been printed.
    ///
    /// # Errors
    /// When nothing comes any more.
    fn next(&mut self) -> Result<Vec<News>, Ended>;
}

/// Why the program ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nobody is there any more, or somebody asked for it.
    Over(Over),
    /// It is of no use, for this reason.
    Failed(String),
    /// The kernel does not let everything be watched, and looking is not wanted.
    Unwatched(String),
}

impl Ended {
    /// As `Failed`, with the whole chain of an error.
    #[must_use]
    pub fn failed(error: anyhow::Error) -> Self {
        Ended::Failed(format!("{error:#}"))
    }
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    memory::share_one_heap();
    match options::parse(env::args_os().skip(1)) {
        Ok(Wanted::Help) => tell(options::HELP),
        Ok(Wanted::Version) => tell(concat!("mailsync-watch ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Wanted::Watch(options)) => match roots(&options.maildirs) {
            Ok(roots) => watch(&roots, options),
            Err(text) => {
                complain(&text);
                ExitCode::FAILURE
            }
        },
        Err(text) => {
            complain(&format!("{text} (mailsync-watch --help lists the options)"));
            ExitCode::from(USAGE)
        }
    }
}

fn tell(text: &str) -> ExitCode {
    match connection::print(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// One line on standard error, if there is one.
fn complain(text: &str) {
    // It may be a terminal that reads this, and names of directories be in it.
    let line = format!("mailsync-watch: {}\n", text.replace(char::is_control, " "));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// The directories to watch: absolute, and each once.  They must be there now; later they may go
/// away and are waited for.
fn roots(given: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let (spelled, source) = if given.is_empty() {
        by_environment()?
    } else {
        (given.to_vec(), "--maildir")
    };
    let mut roots = Vec::new();
    let mut seen = Vec::new();
    for spelled in spelled {
        let wrong = |error: &dyn std::fmt::Display| {
            let spelled = spelled.display();
            match source {
                "--maildir" => format!("--maildir {spelled}: {error}"),
                _ => format!("{source} {spelled}: {error} (--maildir names another one)"),
            }
        };
        let directory = std::path::absolute(&spelled).map_err(|error| wrong(&error))?;
        let real = fs::canonicalize(&directory).map_err(|error| wrong(&error))?;
        if !real.is_dir() {
            return Err(wrong(&"not a directory"));
        }
        if !seen.contains(&real) {
            seen.push(real);
            roots.push(directory);
        }
    }
    Ok(roots)
}

fn by_environment() -> Result<(Vec<PathBuf>, &'static str), String> {
    if let Some(directory) = env::var_os("MAILDIR").filter(|it| !it.is_empty()) {
        return Ok((vec![directory.into()], "$MAILDIR"));
    }
    let home = env::home_dir().filter(|home| home != Path::new(""));
    let home = home.ok_or("no home directory: name the maildir with --maildir")?;
    Ok((vec![home.join("Maildir")], "the default"))
}

fn watch(roots: &[PathBuf], options: Options) -> ExitCode {
    let began = Instant::now();
    match serve(roots, options) {
        Ended::Over(Over::Input) if began.elapsed() < AT_ONCE => {
            complain("standard input has ended already (ssh -n?)");
            ExitCode::SUCCESS
        }
        Ended::Over(_) => ExitCode::SUCCESS,
        Ended::Failed(text) => {
            complain(&text);
            ExitCode::FAILURE
        }
        Ended::Unwatched(text) => {
            complain(&format!("{text}; --poll=0 does not allow that"));
            ExitCode::from(UNAVAILABLE)
        }
    }
}

/// Watch until that is over.
fn serve(roots: &[PathBuf], options: Options) -> Ended {
    // Each of the threads says one thing at most.
    let (end, ended) = bounded(4);
    let started = start(roots, options, &end);
    let ended = started.and_then(|()| Ok(ended.recv()?));
    ended.unwrap_or_else(Ended::failed)
}

fn start(roots: &[PathBuf], options: Options, end: &Sender<Ended>) -> anyhow::Result<()> {
    threads::quiet_panics();
    let over = end.clone();
    connection::serve(move |why| {
        let _ = over.send(Ended::Over(why));
    })?;
    let mut source = source(roots, &options)?;
    let roots = roots.to_vec();
    let (over, panicked) = (end.clone(), end.clone());
    let body = move || {
        let _ = over.send(print(
            &mut *source,
            &roots,
            &options,
            connection::print_names,
            complain,
        ));
    };
    threads::spawn("printer", body, move |text| {
        let _ = panicked.send(Ended::Failed(text));
    })
}

fn source(roots: &[PathBuf], options: &Options) -> anyhow::Result<Box<dyn Source + Send>> {
    let place = match &options.attach {
        Attach::No => return Ok(Box::new(Store::watch(roots, options)?)),
        Attach::Default => Place::Runtime(env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)),
        Attach::Socket(file) => Place::File(std::path::absolute(file)?),
    };
    Ok(Box::new(Attached::new(place, roots, options)))
}

/// Print what comes, until nothing does or nobody reads it.
fn print(
    source: &mut (impl Source + ?Sized),
    roots: &[PathBuf],
    options: &Options,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
    mut complain: impl FnMut(&str),
) -> Ended {
    let mut said = VecDeque::new();
    let mut lines = protocol::hello(options.dialect);
    loop {
        if let Err(error) = write(&lines) {
            return match error.kind() {
                ErrorKind::BrokenPipe => Ended::Over(Over::Output),
                _ => Ended::Failed(format!("standard output: {error}")),
            };
        }
        let news = match source.next() {
            Ok(news) => news,
            Err(ended) => return ended,
        };
        lines.clear();
        for news in news {
            match news {
                News::Everything => lines.extend(protocol::EVERYTHING),
                News::Change {
                    name,
                    directory,
                    kinds,
                } => {
                    let name = (options.naming).name(options.dialect, roots, &name, &directory);
                    lines.extend(protocol::change(options.dialect, &name, kinds));
                }
                News::Turn(text) => complain(&text),
                News::Problem(text) => {
                    if !said.contains(&text) {
                        complain(&text);
                        said.push_back(text);
                    }
                    if said.len() > MOST_PROBLEMS {
                        said.pop_front();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::protocol::Dialect;

    /// A source that says this and then ends.
    struct Told(Vec<Vec<News>>);

    impl Source for Told {
        fn next(&mut self) -> Result<Vec<News>, Ended> {
            if self.0.is_empty() {
                return Err(Ended::Over(Over::Signal));
            }
            Ok(self.0.remove(0))
        }
    }

    fn change(directory: &str) -> News {
        News::Change {
            name: b"a/b".to_vec(),
            directory: directory.into(),
            kinds: Kinds::NEW,
        }
    }

    /// What is written, a batch at a time, and complained of.
    fn printed(dialect: Dialect, told: Vec<Vec<News>>) -> (Vec<String>, Vec<String>, Ended) {
        let (mut written, mut problems) = (Vec::new(), Vec::new());
        let options = Options {
            dialect,
            ..Options::default()
        };
        let write = |bytes: &[u8]| {
            written.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(())
        };
        let complain = |text: &str| problems.push(text.to_owned());
        let ended = print(&mut Told(told), &["/m".into()], &options, write, complain);
        (written, problems, ended)
    }

    #[test]
    fn what_a_source_says_is_printed() {
        let told = || {
            vec![
                vec![News::Everything],
                vec![change("/m/.a.b"), News::Everything, change("/m/.a.b")],
            ]
        };
        let (plain, ..) = printed(Dialect::Plain, told());
        assert_eq!(plain, ["", "\n", "a.b\n\na.b\n"]);
        let (with_kinds, _, ended) = printed(Dialect::Kinds, told());
        let expected = ["mailsync-watch 1\n", "\n", "new a/b\n\nnew a/b\n"];
        assert_eq!(with_kinds, expected);
        assert_eq!(ended, Ended::Over(Over::Signal));
    }

    #[test]
    fn problems_are_said_once() {
        let problem = |text: &str| News::Problem(text.to_owned());
        let many = (0..100).map(|number| problem(&number.to_string()));
        let told = vec![
            vec![problem("a"), problem("b")],
            vec![problem("a"), problem("b")],
            many.collect(),
        ];
        let (written, problems, _) = printed(Dialect::Plain, told);
        assert_eq!(written.concat(), "");
        assert_eq!(problems[..3], ["a", "b", "0"]);
        assert_eq!(problems.len(), 102);
    }

    #[test]
    fn a_reader_that_is_gone_ends_it() {
        let options = Options::default();
        for (kind, expected) in [
            (ErrorKind::BrokenPipe, Some(Ended::Over(Over::Output))),
            (ErrorKind::StorageFull, None),
        ] {
            let write = |_: &[u8]| Err(kind.into());
            let ended = print(&mut Told(Vec::new()), &[], &options, write, |_| {});
            match expected {
                Some(expected) => assert_eq!(ended, expected),
                None => assert!(matches!(ended, Ended::Failed(_)), "{ended:?}"),
            }
        }
    }
}
