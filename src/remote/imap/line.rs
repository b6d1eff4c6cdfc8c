//! A connection to an IMAP server, on a thread of its own, and those that it needs besides.
//!
//! The thread connects, hands what arrives to a [`Session`] and does what that says; it decides nothing.
//! Where the server tells of one mailbox at a time, it holds a few connections.  Whatever the server does
//! costs little: what it tells is merged until the engine takes it.  Nothing here makes the engine wait.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::command;
use super::keeper::Heard;
use super::secret::Secret;
use super::session::{Act, End, Input, Mode, Name, Role, Session, Settings, Why};
use super::snapshot::Snapshot;
use super::tls::Fingerprint;
use super::wire::{Got, Stop, Way, Wire};
use crate::change::Kinds;
use crate::remote::heard;
use crate::syncer::run::process;
use crate::threads;
use crate::watch::limits::in_words;

/// Bytes read at once, and so many times before it is another's turn.
const AT_ONCE: usize = 16 * 1024;
const TURNS: usize = 16;

/// What watches a single mailbox is made anew after so long.
const OTHERS_AGAIN: Duration = Duration::from_secs(60);

/// Where the secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Emacs knows it, or asks the user.
    Emacs,
    /// This program prints it.
    Command(command::Command),
}

/// A server, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How to get there.
    pub way: Way,
    /// The one certificate that is believed.
    pub pin: Option<Fingerprint>,
    /// Where the secret is.
    pub source: Source,
    /// What is said there.
    pub settings: Settings,
}

impl Server {
    /// What it is called, for the user.
    #[must_use]
    pub fn called(&self) -> String {
        let user = super::response::shown(&self.settings.user);
        match &self.way {
            Way::Host(host, ..) if user.is_empty() => format!("IMAP of {host}"),
            Way::Host(host, ..) => format!("IMAP of {user} at {host}"),
            Way::Tunnel { argv, .. } => {
                let words = argv.iter().map(|word| word.to_string_lossy());
                let words = words.collect::<Vec<_>>().join(" ");
                format!("IMAP by {}", super::response::shown(words.as_bytes()))
            }
        }
    }
}

/// What is to be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The connection's number, which comes back with what is heard.
    pub number: u64,
    /// What it is called in the log.
    pub label: String,
    /// To where.
    pub server: Server,
    /// What is known of its mailboxes.
    pub snapshot: Snapshot,
}

/// What is told of it.
#[derive(Debug)]
pub enum News {
    /// There is something to take.
    Heard,
    /// The secret is wanted.
    Asked,
    /// A line for the log, and its level.
    Log(&'static str, String),
    /// It is over: the last word.
    Over(End, Snapshot),
}

/// A connection.  When this is dropped, it is ended.
pub struct Line {
    number: u64,
    shared: Arc<Shared>,
    wake: PipeWriter,
    over: Receiver<()>,
}

impl Line {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Take what was heard since the last time.
    #[must_use]
    pub fn take(&self) -> Heard {
        let mut state = self.shared.lock();
        let heard = std::mem::take(&mut state.heard);
        Heard {
            watching: state.watching.take(),
            everything: heard.everything,
            changes: heard.changes,
        }
    }

    /// The secret that was asked for, or why there is none.
    pub fn give(&self, secret: Result<Secret, String>) {
        self.shared.lock().given = Some(secret);
        self.wake();
    }

    /// Have it prove that it lives.
    pub fn poke(&self) {
        self.shared.lock().poke = true;
        self.wake();
    }

    /// End it, soon.  Never waits.
    pub fn end(&self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        // It never waits: when it is full, somebody is awake.
        let _ = (&self.wake).write(b"!");
    }

    /// Is disconnected when it is over.
    #[must_use]
    pub fn over(&self) -> &Receiver<()> {
        &self.over
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}

/// Connect, on a thread of its own.  `tell` gets its news, on that thread.
///
/// # Errors
/// When the system gives no thread or no descriptor.
pub fn start(order: Order, tell: impl Fn(News) + Send + Sync + 'static) -> Result<Line> {
    let (woken, wake) = io::pipe().context("a pipe to wake a connection by")?;
    let woken = process::waits_not(woken.into()).context("a pipe to wake a connection by")?;
    let wake = process::waits_not(wake.into()).context("a pipe to wake a connection by")?;
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        ends: AtomicBool::new(false),
        woken: woken.into(),
    });
    let (lives, over) = bounded(0);
    let number = order.number;
    let line = Line {
        number,
        shared: shared.clone(),
        wake: wake.into(),
        over,
    };
    let tell = Arc::new(tell);
    let last_words = tell.clone();
    let panicked = move |text: String| {
        let text = format!("a bug in mailsync, please report this: {text}");
        let why = Why::Lost;
        last_words(News::Over(End { why, text }, Snapshot::default()));
    };
    let body = move || {
        let _lives: Sender<()> = lives;
        let (end, snapshot) = perform(order, &shared, &*tell);
        tell(News::Over(end, snapshot));
    };
    threads::spawn(&format!("mailsync-imap{}", number % 100), body, panicked)?;
    Ok(line)
}

/// What the thread shares with whoever holds the line.
struct Shared {
    state: Mutex<State>,
    ends: AtomicBool,
    /// Here rather than with the thread: a write into a pipe that nobody reads would be SIGPIPE.
    woken: PipeReader,
}

#[derive(Default)]
struct State {
    /// The server is watched from now on, like this.
    watching: Option<Mode>,
    heard: heard::Heard,
    given: Option<Result<Secret, String>>,
    poke: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done in there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// There is something to see to.
    fn is_wanted(&self) -> bool {
        let state = self.lock();
        self.stops() || state.poke || state.given.is_some()
    }
}

impl Stop for Shared {
    fn woken(&self) -> Option<BorrowedFd<'_>> {
        Some(self.woken.as_fd())
    }

    fn stops(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    fn look(&self) {
        // All that is in there says the same.
        while matches!(rustix::io::read(&self.woken, &mut [0; 64]), Ok(1..)) {}
    }
}

impl State {
    /// Take in what a session tells; true when nothing had been waiting to be taken.
    fn add(&mut self, act: Act) -> bool {
        let news = self.watching.is_none() && self.heard.is_empty();
        match act {
            Act::Watching(mode) => self.watching = Some(mode),
            Act::Everything => self.heard.all(),
            Act::Change(name, kinds) => self.heard.change(name, kinds),
            _ => {}
        }
        news
    }
}

/// A session and the way that its bytes go.
struct Talk {
    session: Session,
    wire: Wire,
    /// The mailbox that it is for; `None`: all.
    one: Option<Name>,
    /// There may be more to read than the kernel knows of.
    eager: bool,
    /// It waits for the secret.
    asks: bool,
    /// The server tells it what happens.
    watches: bool,
}

/// The thread's own.
struct Talks<'a> {
    label: String,
    server: Server,
    shared: &'a Shared,
    tell: &'a dyn Fn(News),
    /// The first is for all mailboxes, and is the last to go.
    talks: Vec<Talk>,
    /// What a mailbox of its own is to be watched by, as soon as this.
    wanted: Vec<(Instant, Name)>,
    /// For those.
    secret: Option<Secret>,
    /// What the first knew, where it has gone before the others.
    snapshot: Option<Snapshot>,
    end: Option<End>,
}

/// Connect, and listen until it is over.
fn perform(order: Order, shared: &Shared, tell: &dyn Fn(News)) -> (End, Snapshot) {
    let Order {
        label,
        server,
        snapshot,
        ..
    } = order;
    let wire = match Wire::open(&server.way, server.pin, shared) {
        Ok(wire) => wire,
        Err(error) => {
            let (why, text) = (Why::Lost, in_words(&error));
            return (End { why, text }, snapshot);
        }
    };
    let session = Session::new(Instant::now(), server.settings.clone(), Role::All(snapshot));
    let mut talks = Talks {
        label,
        server,
        shared,
        tell,
        talks: vec![Talk::new(session, wire, None)],
        wanted: Vec::new(),
        secret: None,
        snapshot: None,
        end: None,
    };
    let end = talks.listen();
    let first = talks.talks.into_iter().next();
    let known = || first.map(|it| it.session.into_snapshot());
    let snapshot = talks.snapshot.or_else(known);
    (end, snapshot.unwrap_or_default())
}

impl Talk {
    fn new(session: Session, wire: Wire, one: Option<Name>) -> Self {
        Talk {
            session,
            wire,
            one,
            // TLS may have read the greeting already.
            eager: true,
            asks: false,
            watches: false,
        }
    }
}

impl Talks<'_> {
    fn listen(&mut self) -> End {
        loop {
            if let Err(error) = self.turn() {
                self.close(0, in_words(&error));
            }
            if let Some(end) = self.end.take() {
                return end;
            }
            if self.shared.stops() {
                let (why, text) = (Why::Lost, "mailsync ended it".to_owned());
                return End { why, text };
            }
        }
    }

    /// Read what there is, do what is due, and wait for more.
    fn turn(&mut self) -> Result<()> {
        self.told();
        for at in (0..self.talks.len()).rev() {
            if self.talks[at].eager {
                self.read(at);
            }
        }
        let now = Instant::now();
        for at in (0..self.talks.len()).rev() {
            if self.talks[at]
                .session
                .deadline()
                .is_some_and(|it| it <= now)
            {
                self.input(at, Input::Tick);
            }
        }
        self.open_others(now);
        // Who connects later runs the program again, for what may be another token by then.  Emacs would
        // have to be asked, which keeps its own.
        if matches!(self.server.source, Source::Command(_))
            && self.wanted.is_empty()
            && self.talks.iter().all(|it| it.session.is_in())
        {
            self.secret = None;
        }
        if self.end.is_none() && !self.talks.iter().any(|it| it.eager) {
            self.wait()?;
        }
        Ok(())
    }

    /// What the engine wants.
    fn told(&mut self) {
        let (given, poke) = {
            let mut state = self.shared.lock();
            (state.given.take(), std::mem::take(&mut state.poke))
        };
        if let Some(given) = given {
            self.give(given);
        }
        if poke {
            for at in (0..self.talks.len()).rev() {
                self.input(at, Input::Poke);
            }
        }
    }

    fn give(&mut self, given: Result<Secret, String>) {
        self.secret = given.as_ref().ok().cloned();
        for at in (0..self.talks.len()).rev() {
            if std::mem::take(&mut self.talks[at].asks) {
                match &given {
                    Ok(secret) => self.input(at, Input::Secret(secret.clone())),
                    Err(text) => self.input(at, Input::NoSecret(text.clone())),
                }
            }
        }
    }

    fn wait(&mut self) -> Result<()> {
        // Whoever has waited for something else meanwhile has emptied the pipe that wakes us.
        if self.shared.is_wanted() {
            return Ok(());
        }
        let now = Instant::now();
        let sessions = self.talks.iter().filter_map(|it| it.session.deadline());
        let wanted = self.wanted.iter().map(|(at, _)| *at);
        let until = sessions.chain(wanted).min();
        let left = until.map(|at| at.saturating_duration_since(now));
        let left = left.map(Timespec::try_from).transpose()?;
        let mut fds = vec![PollFd::from_borrowed_fd(
            self.shared.woken.as_fd(),
            PollFlags::IN,
        )];
        for talk in &self.talks {
            fds.push(PollFd::from_borrowed_fd(
                talk.wire.readable(),
                PollFlags::IN,
            ));
        }
        for talk in &self.talks {
            let complains = talk.wire.complains();
            fds.extend(complains.map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN)));
        }
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => {}
            // What is in the list then means nothing.
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("poll"),
        }
        let ready: Vec<bool> = fds.iter().map(|it| !it.revents().is_empty()).collect();
        drop(fds);
        if ready[0] {
            self.shared.look();
        }
        let (readable, complaining) = ready[1..].split_at(self.talks.len());
        for (talk, ready) in self.talks.iter_mut().zip(readable) {
            talk.eager |= *ready;
        }
        if complaining.contains(&true) {
            for talk in &mut self.talks {
                for line in talk.wire.listen() {
                    (self.tell)(News::Log("warning", format!("{}: {line}", self.label)));
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize) {
        let mut buffer = [0; AT_ONCE];
        for _ in 0..TURNS {
            let Some(talk) = self.talks.get_mut(at).filter(|_| self.end.is_none()) else {
                return;
            };
            match talk.wire.read(&mut buffer) {
                Ok(Got::Bytes(count)) => {
                    let len = self.talks.len();
                    self.input(at, Input::Bytes(&buffer[..count]));
                    if self.talks.len() < len {
                        return;
                    }
                }
                Ok(Got::Nothing) => {
                    talk.eager = false;
                    return;
                }
                Ok(Got::End) => {
                    let text = talk.wire.farewell();
                    if talk.wire.is_denied() {
                        self.input(at, Input::Denied(text));
                    } else {
                        self.close(at, text);
                    }
                    return;
                }
                Err(error) => {
                    self.close(at, in_words(&error));
                    return;
                }
            }
        }
    }

    fn close(&mut self, at: usize, text: String) {
        if let Some(talk) = self.talks.get_mut(at) {
            talk.eager = false;
            self.input(at, Input::Closed(text));
        }
    }

    /// Hand something to a session, and do what it says.
    fn input(&mut self, at: usize, input: Input) {
        let Some(talk) = self.talks.get_mut(at) else {
            return;
        };
        let acts = talk.session.handle(Instant::now(), input);
        let main = talk.one.is_none();
        let ends = acts.iter().any(|act| matches!(act, Act::End(_)));
        for act in acts {
            match act {
                // It is too late for that, and what comes of it must not hide the end.
                Act::Send(_) | Act::Secure | Act::Ask if ends => {}
                Act::Send(bytes) => {
                    let Some(talk) = self.talks.get_mut(at) else {
                        return;
                    };
                    if let Err(error) = talk.wire.send(&bytes, self.shared) {
                        self.close(at, in_words(&error));
                        return;
                    }
                }
                Act::Secure => return self.secure(at),
                Act::Ask => self.ask(at),
                Act::End(end) if main => self.end = Some(end),
                Act::End(end) => return self.drop_other(at, &end),
                Act::Log(level, line) => {
                    (self.tell)(News::Log(level, format!("{}: {line}", self.label)));
                }
                Act::Others(others) => {
                    let now = Instant::now();
                    self.wanted = others.into_iter().map(|other| (now, other)).collect();
                }
                Act::Watching(_) if !main => {
                    if let Some(talk) = self.talks.get_mut(at) {
                        talk.watches = true;
                    }
                }
                Act::Change(name, kinds) if !main => self.told_of(name, kinds),
                act => self.add(act),
            }
        }
    }

    fn add(&self, act: Act) {
        let news = self.shared.lock().add(act);
        if news {
            (self.tell)(News::Heard);
        }
    }

    fn secure(&mut self, at: usize) {
        // The socket is taken out, and put back as another.
        let talk = self.talks.remove(at);
        let host = &self.server.settings.host;
        match talk.wire.secure(host, self.server.pin, self.shared) {
            Ok(wire) => {
                let talk = Talk::new(talk.session, wire, talk.one);
                self.talks.insert(at, talk);
                self.input(at, Input::Secured);
            }
            Err(error) => {
                let (why, text) = (Why::Lost, in_words(&error));
                if at == 0 {
                    self.snapshot = Some(talk.session.into_snapshot());
                    self.end = Some(End { why, text });
                } else if let Some(one) = talk.one {
                    self.later(one, &text);
                }
            }
        }
    }

    fn ask(&mut self, at: usize) {
        if at > 0
            && let Some(secret) = self.secret.clone()
        {
            return self.input(at, Input::Secret(secret));
        }
        match &self.server.source {
            Source::Emacs => {
                self.talks[at].asks = true;
                (self.tell)(News::Asked);
            }
            Source::Command(command) => match command::run(command, self.shared) {
                Ok((secret, complaints)) => {
                    for line in complaints {
                        (self.tell)(News::Log("warning", format!("{}: {line}", self.label)));
                    }
                    self.secret = Some(secret.clone());
                    self.input(at, Input::Secret(secret));
                }
                // Its agent may be locked: that goes by.
                Err(error) => self.close(at, in_words(&error)),
            },
        }
    }

    /// Connect for those mailboxes that are to be watched by themselves.
    fn open_others(&mut self, now: Instant) {
        while self.end.is_none()
            && let Some(due) = self.wanted.iter().position(|(at, _)| *at <= now)
        {
            let (_, one) = self.wanted.swap_remove(due);
            match Wire::open(&self.server.way, self.server.pin, self.shared) {
                Ok(wire) => {
                    let role = Role::One(one.clone());
                    let session = Session::new(Instant::now(), self.server.settings.clone(), role);
                    self.talks.push(Talk::new(session, wire, Some(one)));
                }
                Err(error) => self.later(one, &in_words(&error)),
            }
        }
    }

    /// Another connection than the first one tells of its mailbox, which the first has to know: whoever is
    /// told of it takes it to be there, until it is told that it is not.
    fn told_of(&mut self, name: Vec<u8>, kinds: Kinds) {
        self.input(0, Input::Told(&name, kinds));
        self.add(Act::Change(name, kinds));
    }

    fn drop_other(&mut self, at: usize, end: &End) {
        let talk = self.talks.remove(at);
        let Some(one) = talk.one else {
            return;
        };
        if talk.watches {
            // Something may have happened that it did not live to tell.
            self.told_of(one.canonical.clone(), Kinds::UNKNOWN);
        }
        self.input(0, Input::Untold(&one.canonical));
        match end.why {
            Why::Lost | Why::Denied => self.later(one, &end.text),
            // The sweep is what is left.
            Why::Refused | Why::Config => self.say_lost(&one, &end.text),
        }
    }

    fn later(&mut self, one: Name, text: &str) {
        self.say_lost(&one, text);
        self.wanted.push((Instant::now() + OTHERS_AGAIN, one));
    }

    fn say_lost(&self, one: &Name, text: &str) {
        let name = String::from_utf8_lossy(&one.canonical);
        let line = format!(
            "{}: {name} is looked at now and then only: {text}",
            self.label
        );
        (self.tell)(News::Log("info", line));
    }
}
