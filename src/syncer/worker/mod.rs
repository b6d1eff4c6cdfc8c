//! Long-running syncers: one process for many runs.
//!
//! A worker is started at the first run and then asked for each: by lines on its standard input, which
//! it answers by lines on its standard output; what it writes to its standard error is its log.  The
//! contract is public (the manual has it), so any program can be one.
//!
//! - [`talk`]: the contract itself, pure.
//!
//! The process and the thread that owns it are `run`'s business; here is what is asked, and what the
//! answers mean for a run.

pub mod talk;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::outcome::{Exit, Verdict, shown};
use super::plan::{self, Plan, Refused};
use super::{Naming, Order, Outcome, Output, Program, Scope, command, outcome};
use talk::{Answer, Asked, Request};

/// How a worker is run, as a function in Lisp describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// How folders are named.
    pub naming: Naming,
    /// What stands between levels; `/` if `None`.
    pub separator: Option<String>,
    /// What goes before each folder's name but INBOX.
    pub prefix: Option<String>,
    /// After so long without a run it is to close its connections.
    pub idle: Duration,
    /// After so long it is to end.
    pub quit: Duration,
}

/// In a worker's environment: the program that is run where there is no worker.
const PLAIN: &str = "MAILSYNC_PROGRAM";

/// What is asked of a worker, and how to start it.
#[derive(Clone, Debug)]
pub struct Wish {
    worker: Worker,
    search: Vec<PathBuf>,
    /// Where it runs.
    pub directory: Option<PathBuf>,
    environment: Vec<OsString>,
    /// What it is asked.
    pub request: Request,
    /// There is a command that does the same.
    pub plain: bool,
}

/// A worker's command line and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The program (an absolute name) and its arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<OsString>,
    /// Where it runs.
    pub directory: Option<PathBuf>,
    /// It is to close its connections, and to end, after so long without a run.
    pub times: [Duration; 2],
}

impl Wish {
    /// What an order asks of its worker, if it has one.
    #[must_use]
    pub fn of(order: &Order) -> Option<Self> {
        let worker = order.syncer.worker.clone()?;
        let spelling = (worker.naming, &worker.separator, &worker.prefix);
        let folders = match &order.scope {
            Scope::Everything => None,
            Scope::Folders(folders) => {
                let each = folders.iter().map(|folder| Asked {
                    name: command::spelled(spelling, folder),
                    directory: folder.directory.as_os_str().as_bytes().to_vec(),
                    real: folder.real.clone(),
                });
                Some(each.collect())
            }
        };
        // It outlives this run: what differs from run to run it is told.
        let whole = Order {
            scope: Scope::Everything,
            ..order.clone()
        };
        Some(Wish {
            search: order.syncer.search.clone(),
            directory: order.syncer.directory.clone(),
            environment: plan::environment(&whole),
            request: Request {
                run: order.run.0,
                folders,
                quick: order.quick,
            },
            plain: order.syncer.program != Program::OnlyWorker,
            worker,
        })
    }

    /// How the worker is started, where a plan has found the program that it stands for.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn recipe(&self, plan: &Plan) -> Result<Recipe, Refused> {
        let mut argv = self.worker.words.clone();
        if let Some(program) = argv.first_mut() {
            let found = plan::find(program, &self.search, "correct the worker in :syncer")?;
            *program = found.into_os_string();
        }
        let mut environment = self.environment.clone();
        if let Some(program) = plan.argv.first() {
            let mut entry = OsString::from(PLAIN);
            entry.push("=");
            entry.push(program);
            environment.push(entry);
        }
        Ok(Recipe {
            argv,
            environment,
            directory: self.directory.clone(),
            times: [self.worker.idle, self.worker.quit],
        })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        self.worker.name()
    }
}

impl Worker {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        // Of a script, not the interpreter's name.
        let mut words = self.words.iter().map(Path::new);
        let first = words.next();
        let script = words.next().filter(|word| word.is_absolute());
        let word = script.or(first).and_then(Path::file_name);
        format!(
            "the worker {}",
            shown(&word.unwrap_or_default().to_string_lossy())
        )
    }
}

/// Make a plan for a run that only a worker can do.
#[must_use]
pub fn plan(order: &Order) -> Plan {
    Plan {
        argv: Vec::new(),
        environment: plan::environment(order),
        everything: order.scope == Scope::Everything,
        names: HashMap::new(),
        memory: order.memory.clone(),
        config: None,
    }
}

/// Judge a run that a worker has done and no other program could.
#[must_use]
pub fn judge(order: &Order, plan: &Plan, exit: Exit, output: &Output) -> Verdict {
    let name = order.syncer.worker.as_ref().map(Worker::name);
    let name = name.unwrap_or_default();
    command::by_code(order, plan, (&name, "reports"), exit, output)
}

/// What a verdict by the code becomes by what a worker says of single folders.
#[must_use]
pub fn weigh(mut verdict: Verdict, request: &Request, answers: &[Answer]) -> Verdict {
    if !matches!(verdict.outcome, Outcome::Ok | Outcome::Partial) {
        return verdict;
    }
    // Two folders may be called the same; then the worse counts.
    let mut said: HashMap<&[u8], bool> = HashMap::new();
    for answer in answers {
        *said.entry(&answer.name).or_insert(true) &= answer.ok;
    }
    let asked = request.folders.iter().flatten();
    if request.folders.is_none()
        && let Some(answer) = answers.iter().find(|answer| !answer.ok)
    {
        // Of everything, it has no truename to be left alone by: let nothing count as synced.
        let name = shown(&String::from_utf8_lossy(&answer.name));
        let what = format!("folder {name} could not be synced");
        verdict.outcome = Outcome::Transient;
        verdict.text = outcome::sentence(&what, "", "the account is tried again later");
    }
    let failed: Vec<_> = asked
        .filter(|folder| said.get(&folder.name[..]) != Some(&true))
        .collect();
    if let Some(first) = failed.first()
        && verdict.outcome == Outcome::Ok
    {
        let name = shown(&String::from_utf8_lossy(&first.name));
        let what = match failed.len() {
            1 => format!("folder {name} could not be synced"),
            2 => format!("folder {name} and another one could not be synced"),
            more => format!("folder {name} and {} others could not be synced", more - 1),
        };
        verdict.outcome = Outcome::Partial;
        verdict.text = outcome::sentence(&what, "", "the others are synced");
    }
    let failed = failed.iter().map(|folder| folder.real.clone());
    verdict.failed.extend(failed);
    verdict.failed.sort();
    verdict.failed.dedup();
    verdict
}

/// What of the answers a user may want to read.
#[must_use]
pub fn summary(answers: &[Answer]) -> Vec<u8> {
    let mut text = Vec::new();
    for answer in answers.iter().filter(|it| !it.ok || it.did_something()) {
        text.extend_from_slice(&answer.name);
        text.extend_from_slice(if answer.ok { b":" } else { b": failed" });
        for (word, count) in &answer.counts {
            text.extend(format!(" {word} {count}").into_bytes());
        }
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::syncer::Memory;

    fn asked(names: &[&str]) -> Request {
        let folders = names.iter().map(|name| Asked {
            name: name.as_bytes().to_vec(),
            directory: Vec::new(),
            real: Path::new(name).into(),
        });
        Request {
            run: 1,
            folders: Some(folders.collect()),
            quick: false,
        }
    }

    fn answer(name: &str, ok: bool) -> Answer {
        Answer {
            name: name.as_bytes().to_vec(),
            ok,
            counts: Vec::new(),
        }
    }

    #[test]
    fn folders_without_a_good_answer_are_not_synced() {
        type Row<'a> = (&'a [(&'a str, bool)], Outcome, &'a [&'a str]);
        let table: [Row; 6] = [
            (&[("a", true), ("b", true)], Outcome::Ok, &[]),
            (&[("b", true), ("x", false), ("a", true)], Outcome::Ok, &[]),
            (&[("a", true), ("b", false)], Outcome::Partial, &["b"]),
            (&[("a", true)], Outcome::Partial, &["b"]),
            (
                &[("a", true), ("a", false), ("b", true)],
                Outcome::Partial,
                &["a"],
            ),
            (&[], Outcome::Partial, &["a", "b"]),
        ];
        for (answers, outcome, failed) in table {
            let answers: Vec<_> = answers.iter().map(|(name, ok)| answer(name, *ok)).collect();
            let fine = Verdict {
                outcome: Outcome::Ok,
                text: String::new(),
                failed: Vec::new(),
                memory: Memory::default(),
            };
            let verdict = weigh(fine.clone(), &asked(&["a", "b"]), &answers);
            let failed: Vec<Arc<Path>> = failed.iter().map(|name| Path::new(name).into()).collect();
            assert_eq!((verdict.outcome, verdict.failed), (outcome, failed));
            assert_eq!(verdict.text.is_empty(), outcome == Outcome::Ok);
            // What failed as a whole says nothing of single folders.
            let auth = Verdict {
                outcome: Outcome::Auth,
                ..fine.clone()
            };
            assert_eq!(weigh(auth.clone(), &asked(&["a", "b"]), &answers), auth);
            // Of everything, no folder is left alone by its name.
            let everything = Request {
                folders: None,
                ..asked(&[])
            };
            let verdict = weigh(fine, &everything, &answers);
            let outcome = match answers.iter().all(|answer| answer.ok) {
                true => Outcome::Ok,
                false => Outcome::Transient,
            };
            assert_eq!((verdict.outcome, verdict.failed), (outcome, Vec::new()));
            assert_eq!(verdict.text.is_empty(), outcome == Outcome::Ok);
        }
    }

    #[test]
    fn a_user_reads_what_was_done() {
        let mut pulled = answer("a", true);
        pulled.counts = vec![("pulled".to_owned(), 3), ("pushed".to_owned(), 0)];
        let text = summary(&[pulled, answer("b", true), answer("c", false)]);
        assert_eq!(text, b"a: pulled 3 pushed 0\nc: failed\n");
    }
}
