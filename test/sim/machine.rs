//! The machine that mailsync runs on: disk and kernel, and the users who change things on it.
//!
//! The real worker sees it through its own two traits.  Between any two of its calls the users
//! may do something.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailsync_module::maildir::{ByPath, Entry, Fs, Opened, Stat, Wall};
use mailsync_module::watch::inbox::Inbox;
use mailsync_module::watch::spot::Spot;
use mailsync_module::watch::{Backend, MakeBackend, WatchError, Watched};

use crate::disk::Disk;
use crate::kernel::LimitReached;
use crate::rng::Rng;
use crate::users::Users;

/// What happened, where somebody wants to know: a life with a tape, or one that is told aloud.
#[derive(Default)]
pub struct Trace {
    lines: Vec<String>,
    aloud: bool,
    kept: bool,
}

impl Trace {
    pub fn new(aloud: bool, kept: bool) -> Self {
        Trace {
            lines: Vec::new(),
            aloud,
            kept,
        }
    }

    /// Whether anybody wants to know.
    pub fn is_wanted(&self) -> bool {
        self.aloud || self.kept
    }

    pub fn add(&mut self, now: Duration, line: impl Display) {
        if self.is_wanted() {
            let line = format!("{:9.3} {line}", now.as_secs_f64());
            if self.aloud {
                eprintln!("{line}");
            }
            self.lines.push(line);
        }
    }

    /// What another one has kept.
    #[cfg(feature = "imap")]
    pub fn append(&mut self, lines: Vec<String>) {
        if self.aloud {
            lines.iter().for_each(|line| eprintln!("{line}"));
        }
        if self.is_wanted() {
            self.lines.extend(lines);
        }
    }

    #[cfg(feature = "imap")]
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }
}

pub struct Machine {
    pub disk: Disk,
    pub users: Users,
    pub rng: Rng,
    pub trace: Trace,
    /// Users interfere once in so many calls of the worker; 0: never.
    pub meddling: u64,
    /// A scan has begun.  Before it the worker looks at single entries, in no order that a seed
    /// decides.
    pub scanning: bool,
}

impl Machine {
    /// Let a user take one step.
    pub fn user_step(&mut self) -> bool {
        let step = self.users.step(&mut self.disk, &mut self.rng);
        if let Some(line) = &step {
            self.trace.add(self.disk.now, line);
        }
        step.is_some()
    }

    fn meddle(&mut self) {
        if self.scanning && self.meddling > 0 && self.rng.once_in(self.meddling) {
            self.disk.now += Duration::from_micros(self.rng.below(3_000));
            self.user_step();
            if self.rng.once_in(3) {
                self.user_step();
            }
        }
    }
}

/// The machine, for whoever holds an end of it.  There is one thread, so the lock never waits.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Machine>>);

impl Shared {
    pub fn new(machine: Machine) -> Self {
        Shared(Arc::new(Mutex::new(machine)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meddled(&self) -> MutexGuard<'_, Machine> {
        let mut machine = self.lock();
        machine.meddle();
        machine
    }

    /// What makes the kernel's notification for a root.
    pub fn backend(&self) -> MakeBackend {
        let machine = self.clone();
        Arc::new(move |inbox: Arc<Inbox>| {
            let id = machine.lock().disk.kernel.make(inbox);
            let id = id.ok_or_else(|| anyhow::anyhow!("too many watchers"))?;
            let machine = machine.clone();
            Ok(Box::new(Watcher { machine, id }) as Box<dyn Backend>)
        })
    }
}

impl Fs for Shared {
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.meddled().disk.list(dir)
    }

    fn open<'a>(&'a self, dir: &'a Path) -> io::Result<Box<dyn Opened + 'a>> {
        Ok(Box::new(ByPath(self, dir)))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        // The way to the root begins here, and with it a scan.
        if path == Path::new("/") {
            self.lock().scanning = true;
        }
        self.meddled().disk.stat(path)
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        self.meddled().disk.canonicalize(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.meddled().disk.read_link(path)
    }

    fn remote(&self, path: &Path) -> io::Result<bool> {
        self.meddled().disk.remote(path)
    }

    fn now(&self) -> Wall {
        self.meddled().disk.wall()
    }
}

/// A root's watcher.
struct Watcher {
    machine: Shared,
    id: usize,
}

impl Watcher {
    fn request(&self) {
        let mut machine = self.machine.meddled();
        let kernel = &mut machine.disk.kernel;
        kernel.finish(self.id);
        if machine.rng.once_in(2) {
            // The thread saw the kernel's events first, or else the request.
            machine.disk.kernel.read(self.id);
            machine.disk.kernel.finish(self.id);
        }
    }
}

impl Backend for Watcher {
    fn watch(&mut self, directories: &[Spot], anew: bool) -> Vec<Result<Watched, WatchError>> {
        let by_crate = self.machine.lock().disk.kernel.by_crate;
        if by_crate && anew {
            self.unwatch(directories);
        }
        if by_crate {
            self.request();
        }
        let mut full = false;
        let mut watched = Vec::new();
        for spot in directories {
            let path = &*spot.path();
            watched.push(if full {
                Err(WatchError::Limit("a limit".to_owned()))
            } else {
                let mut machine = self.machine.meddled();
                match machine.disk.ino(path) {
                    Err(_) => Err(WatchError::Gone),
                    Ok(ino) => match machine.disk.kernel.watch(self.id, path, ino) {
                        Ok(true) => Ok(Watched::New),
                        Ok(false) => Ok(Watched::Same),
                        Err(LimitReached) => {
                            full = true;
                            Err(WatchError::Limit("a limit".to_owned()))
                        }
                    },
                }
            });
        }
        if by_crate {
            self.machine.lock().disk.kernel.read(self.id);
        }
        watched
    }

    fn unwatch(&mut self, directories: &[Spot]) {
        let by_crate = self.machine.lock().disk.kernel.by_crate;
        if by_crate {
            self.request();
        }
        for spot in directories {
            let mut machine = self.machine.meddled();
            machine.disk.kernel.unwatch(self.id, &spot.path());
        }
        if by_crate {
            self.machine.lock().disk.kernel.read(self.id);
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.machine.lock().disk.kernel.close(self.id);
    }
}
