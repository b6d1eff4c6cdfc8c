//! The thread in Emacs that serves the socket.
//!
//! It waits in poll(2) and for nothing else: who connects may send nothing but a greeting, may read
//! or not, and costs a few thousand entries at most.  What it is told is merged until it gets to it,
//! so nobody waits for it either.  It ends when its [`Server`] is dropped, and takes the socket along.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::backlog::Backlog;
use super::place::{self, Bound, Home, Made, Place};
use super::vigil::Vigil;
use super::wire::{self, Greeting};
use super::{Listener, Told};
use crate::threads;

/// Programs that are served at once.
pub const MOST_CLIENTS: usize = 16;

/// Bytes that are written for one of them before it has read some.
const AT_ONCE: usize = 32 * 1024;

/// After what failed for reasons that nobody tells the end of.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest wait before what failed is tried again.
const SELDOM: Duration = Duration::from_secs(600);

/// Puts a line into the log.
type Log = Box<dyn Fn(&'static str, String) + Send>;

/// A thread that serves.
pub struct Server {
    inbox: Arc<Mutex<Backlog>>,
    /// Its closing ends the thread.
    wake: PipeWriter,
}

impl Server {
    /// Start a thread that serves the socket there, and puts what goes wrong into the log.  With it
    /// comes something that is false when the socket cannot be had, or the thread has ended.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub fn start(
        place: Place,
        log: impl Fn(&'static str, String) + Send + Clone + 'static,
    ) -> Result<(Self, Arc<AtomicBool>)> {
        let (woken, wake) = io::pipe().context("a pipe to wake a thread by")?;
        for end in [woken.as_fd(), wake.as_fd()] {
            rustix::io::ioctl_fionbio(end, true).context("a pipe to wake a thread by")?;
        }
        let inbox = Arc::new(Mutex::new(Backlog::default()));
        let alive = Arc::new(AtomicBool::new(true));
        let died = log.clone();
        let mut thread = Thread {
            place,
            log: Box::new(log),
            inbox: inbox.clone(),
            woken,
            alive: alive.clone(),
            door: Door::Shut,
            vigil: None,
            retry: None,
            patience: AGAIN,
            said: String::new(),
            deaf: None,
            clients: Vec::new(),
            roots: Vec::new(),
            silent: false,
        };
        threads::spawn(
            "mailsync-listen",
            move || thread.run(),
            move |text| {
                died(
                    "error",
                    format!("`mailsync-listen': its thread died: {text}"),
                );
            },
        )?;
        Ok((Server { inbox, wake }, alive))
    }
}

impl Listener for Server {
    fn tell(&self, told: Vec<Told>) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        told.into_iter().for_each(|it| inbox.push(it));
        drop(inbox);
        // If it is full, it is as good as another byte; if nobody reads it, nobody is told.
        let _ = rustix::io::write(&self.wake, b"x");
    }
}

/// How it stands with the socket.
enum Door {
    /// It is served, in the directory of which the vigil is.
    Open(UnixListener, Made, Home),
    /// Somebody else serves it, whose end this connection shows.
    Taken(UnixStream),
    /// It cannot be had.
    Shut,
}

struct Client {
    stream: UnixStream,
    greeting: Greeting,
    attached: bool,
    backlog: Backlog,
    /// What is being written, and how much of it was.
    out: Vec<u8>,
    written: usize,
}

struct Thread {
    place: Place,
    log: Log,
    inbox: Arc<Mutex<Backlog>>,
    woken: PipeReader,
    /// It serves, or will do so.
    alive: Arc<AtomicBool>,
    door: Door,
    vigil: Option<Vigil>,
    /// When to try to have the socket again.
    retry: Option<Instant>,
    patience: Duration,
    /// What was wrong last: it is said once.
    said: String,
    /// Until when nobody is let in, since the system gives no descriptor.
    deaf: Option<Instant>,
    clients: Vec<Client>,
    roots: Vec<PathBuf>,
    silent: bool,
}

/// What is ready.
struct Ready {
    woken: bool,
    ended: bool,
    stirred: bool,
    door: bool,
    clients: Vec<bool>,
}

impl Thread {
    fn run(&mut self) {
        self.seek();
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    let text = format!("`mailsync-listen': waiting: {error}; nobody is told");
                    (self.log)("error", text);
                    break;
                }
            };
            if ready.ended {
                break;
            }
            if ready.woken {
                self.hear();
            }
            // From the last, so that the numbers of the rest stay.
            for number in (0..self.clients.len()).rev() {
                let came = ready.clients.get(number).copied().unwrap_or_default();
                let client = &mut self.clients[number];
                let level = (self.roots.as_slice(), self.silent);
                if came && client.read(level).is_err() || client.write().is_err() {
                    self.clients.swap_remove(number);
                }
            }
            self.door(&ready);
        }
        self.close();
    }

    fn wait(&self) -> Result<Ready, Errno> {
        let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
        for client in &self.clients {
            let wanted = if client.writes() {
                PollFlags::IN | PollFlags::OUT
            } else {
                PollFlags::IN
            };
            fds.push(PollFd::new(&client.stream, wanted));
        }
        let count = fds.len();
        let door = match &self.door {
            Door::Open(listener, ..) if self.deaf.is_none() => Some(listener.as_fd()),
            Door::Taken(other) => Some(other.as_fd()),
            _ => None,
        };
        // What another server says is of no interest, but that it is there.
        let wanted = match &self.door {
            Door::Taken(_) => PollFlags::empty(),
            _ => PollFlags::IN,
        };
        fds.extend(door.map(|fd| PollFd::from_borrowed_fd(fd, wanted)));
        fds.extend(
            self.vigil
                .iter()
                .map(|it| PollFd::from_borrowed_fd(it.fd(), PollFlags::IN)),
        );
        let next = [self.retry, self.deaf].into_iter().flatten().min();
        let most = next.map(|at| at.saturating_duration_since(Instant::now()));
        let most = most.and_then(|it| Timespec::try_from(it).ok());
        match poll(&mut fds, most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let came = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let door_at = door.map(|_| count);
        let vigil_at = self
            .vigil
            .as_ref()
            .map(|_| count + usize::from(door.is_some()));
        Ok(Ready {
            woken: came(&fds[0]),
            ended: fds[0].revents().contains(PollFlags::HUP),
            clients: fds[1..count].iter().map(came).collect(),
            door: door_at.is_some_and(|at| came(&fds[at])),
            stirred: vigil_at.is_some_and(|at| came(&fds[at])),
        })
    }

    /// Take in what was told.
    fn hear(&mut self) {
        while let Ok(1..) = rustix::io::read(&self.woken, &mut [0; 64]) {}
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = std::mem::take(&mut *inbox);
        drop(inbox);
        while let Some(told) = told.pop() {
            match &told {
                Told::Roots(roots) => self.roots.clone_from(roots),
                Told::Silent => self.silent = true,
                Told::Back => self.silent = false,
                Told::Everything | Told::Change(..) => {}
            }
            for client in self.clients.iter_mut().filter(|it| it.attached) {
                client.backlog.push(told.clone());
            }
        }
    }

    /// See to the socket.
    fn door(&mut self, ready: &Ready) {
        let now = Instant::now();
        self.deaf.take_if(|at| *at <= now);
        let due = self.retry.take_if(|at| *at <= now).is_some();
        let stirred = ready.stirred && self.vigil.as_mut().is_some_and(Vigil::stirred);
        match &self.door {
            Door::Open(_, made, home) if stirred && !home.has(made) => {
                // Somebody has cleaned up, or the user's last session has ended.
                self.door = Door::Shut;
                self.seek();
            }
            Door::Open(..) => {
                if ready.door {
                    self.let_in();
                }
            }
            Door::Taken(_) if ready.door || due => self.seek(),
            Door::Shut if stirred || due => self.seek(),
            Door::Taken(_) | Door::Shut => {}
        }
    }

    /// Have the socket, if that is possible.
    fn seek(&mut self) {
        self.door = Door::Shut;
        self.vigil = None;
        self.retry = None;
        let home = Home::made(&self.place);
        if let Ok(home) = &home {
            self.vigil = Vigil::of(&[home.file()]);
        }
        let bound = home.and_then(|home| {
            let bound = home.bind(self.woken.as_fd())?;
            Ok((home, bound))
        });
        self.alive.store(bound.is_ok(), Ordering::Relaxed);
        match bound {
            Ok((home, Bound::Ours(listener, made))) => {
                let file = home.file();
                (self.log)("info", format!("listening at {}", file.display()));
                self.said.clear();
                self.patience = AGAIN;
                self.door = Door::Open(listener, made, home);
            }
            Ok((home, Bound::Taken(other))) => {
                let process = place::process(&other);
                // An engine that we have just stopped may not be gone.
                if process != Some(std::process::id()) {
                    let process = process.map(|it| format!(" (process {it})"));
                    self.say(
                        "warning",
                        format!(
                            "`mailsync-listen': another Emacs{} serves {}; this one does when that \
                             ends",
                            process.unwrap_or_default(),
                            home.file().display()
                        ),
                    );
                }
                self.door = Door::Taken(other);
                // It may be full, and hang up at once: then there is no hurry.
                self.retry = self.hung_up().then(|| self.later());
            }
            Err(error) => {
                self.say("error", format!("`mailsync-listen': {error:#}"));
                self.retry = Some(self.later());
            }
        }
    }

    fn hung_up(&mut self) -> bool {
        let Door::Taken(other) = &self.door else {
            return false;
        };
        let gone = matches!(
            recv(other, &mut [0; 64], RecvFlags::PEEK | RecvFlags::DONTWAIT),
            Ok((_, 0))
        );
        if gone {
            self.door = Door::Shut;
        }
        gone
    }

    fn later(&mut self) -> Instant {
        let wait = self.patience;
        self.patience = (wait * 2).min(SELDOM);
        Instant::now() + wait
    }

    fn say(&mut self, level: &'static str, text: String) {
        if self.said != text {
            (self.log)(level, text.clone());
            self.said = text;
        }
    }

    /// Let in whoever connects.
    fn let_in(&mut self) {
        let Door::Open(listener, ..) = &self.door else {
            return;
        };
        for _ in 0..MOST_CLIENTS {
            match listener.accept() {
                Ok((stream, _)) => {
                    let welcome = place::is_ours(&stream) && self.clients.len() < MOST_CLIENTS;
                    if welcome && stream.set_nonblocking(true).is_ok() {
                        let mut client = Client::new(stream);
                        if client.write().is_ok() {
                            self.clients.push(client);
                        }
                    }
                }
                Err(error) => {
                    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
                    match error.kind() {
                        WouldBlock => return,
                        Interrupted | ConnectionAborted => {}
                        // There are no descriptors left.
                        _ => {
                            self.deaf = Some(Instant::now() + AGAIN);
                            return;
                        }
                    }
                }
            }
        }
    }

    fn close(&mut self) {
        if let Door::Open(listener, made, home) = std::mem::replace(&mut self.door, Door::Shut) {
            home.remove(&made, self.woken.as_fd());
            drop(listener);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Whatever ends the thread: nobody is to find a socket that nobody serves.
        self.close();
        self.clients.clear();
        self.alive.store(false, Ordering::Relaxed);
    }
}

/// It is not served any more.
struct Gone;

impl Client {
    fn new(stream: UnixStream) -> Self {
        Client {
            stream,
            greeting: Greeting::default(),
            attached: false,
            backlog: Backlog::default(),
            out: wire::HELLO.to_vec(),
            written: 0,
        }
    }

    fn writes(&self) -> bool {
        !self.out.is_empty()
    }

    /// Read what little there may be.
    fn read(&mut self, (roots, silent): (&[PathBuf], bool)) -> Result<(), Gone> {
        let mut bytes = [0; 64];
        match recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((count @ 1.., _)) => {
                let attached = self.greeting.push(&bytes[..count]).map_err(|_| Gone)?;
                if attached {
                    self.attached = true;
                    self.backlog.push(Told::Roots(roots.to_vec()));
                    if silent {
                        self.backlog.push(Told::Silent);
                    }
                }
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Ok(_) | Err(_) => Err(Gone),
        }
    }

    /// Write what there is, as far as it is taken.
    fn write(&mut self) -> Result<(), Gone> {
        loop {
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                while self.out.len() < AT_ONCE
                    && let Some(told) = self.backlog.pop()
                {
                    self.out.extend(wire::said(&told));
                }
                if self.out.is_empty() {
                    return Ok(());
                }
            }
            let flags = place::NO_SIGNAL | SendFlags::DONTWAIT;
            match send(&self.stream, &self.out[self.written..], flags) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Gone),
            }
        }
    }
}
