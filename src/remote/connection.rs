//! A watcher program while it runs: one thread that starts it, reads what it prints, ends it when asked
//! to, and says how it ended.  When to start it, and what its end means, is `watcher`'s business.
//!
//! Whatever the program does, it costs little: what it prints is read at a limited pace (the pipe makes
//! it wait), merged as it is read, and kept within bounds.  Its standard input is a pipe that nobody
//! ever writes to, and that ends when we do, however we end: mailsync-watch, inputkill and sshd end at
//! that.  Nothing here makes the engine wait.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::complaints::Complaints;
use super::heard::Heard;
use super::protocol::{Dialect, Reader, Said};
use super::watcher::{How, Over, Program};
use crate::ready;
use crate::syncer::Outcome;
use crate::syncer::outcome::Exit;
use crate::syncer::plan::{self, Refused};
use crate::syncer::run::process::{self, Pipes, Process, Recipe};
use crate::threads;

/// Bytes read at once, and how soon the next ones are: a third of a megabyte a second.
const AT_ONCE: usize = 16 * 1024;
const PACE: Duration = Duration::from_millis(50);

/// From the end of its output, or from TERM, until it is ended, or killed.
const SILENT_MOST: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(2);

/// What a user can do about a program that is not there but install it.
const OTHERWISE: &str = "correct :remote";

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The program's number, which comes back with what it says.
    pub number: u64,
    /// What it is called in the log.
    pub label: String,
    /// What it is.
    pub program: Program,
    /// How it is asked to speak.
    pub dialect: Dialect,
}

/// What is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// There is something to take.
    Heard,
    /// A line for the log, and its level.
    Log(&'static str, String),
    /// It is over, and was waited for: the last word.
    Over(Over),
}

/// A program that runs.  When this is dropped, it is ended.
pub struct Connection {
    number: u64,
    shared: Arc<Shared>,
    wake: PipeWriter,
    over: Receiver<()>,
}

impl Connection {
    /// The number of the program.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Take what was heard since the last time.
    #[must_use]
    pub fn take(&self) -> Heard {
        std::mem::take(&mut self.shared.lock().heard)
    }

    /// End it, soon.  Never waits.
    pub fn end(&self) {
        let mut state = self.shared.lock();
        if !std::mem::replace(&mut state.end, true) {
            // Sent from here, so that it is sent even if Emacs is gone the next moment.
            if let Some(pid) = state.pid {
                process::kill(pid, Signal::TERM);
            }
            // One byte, so that there is room; and the other end is ours.
            let _ = (&self.wake).write(b"!");
        }
    }

    /// Kill it: Emacs ends, and waits for nobody.
    pub fn kill(&self) {
        if let Some(pid) = self.shared.lock().pid {
            process::kill(pid, Signal::KILL);
        }
    }

    /// Is disconnected when it is over.
    #[must_use]
    pub fn over(&self) -> &Receiver<()> {
        &self.over
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
    }
}

/// Start a program on a thread of its own.  `tell` gets its news, on that thread.
///
/// # Errors
/// When the system gives no thread or no descriptor.
pub fn start(order: Order, tell: impl Fn(News) + Send + Sync + 'static) -> Result<Connection> {
    let (woken, wake) = io::pipe().context("a pipe to wake a watcher by")?;
    let woken = process::waits_not(woken.into()).context("a pipe to wake a watcher by")?;
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        woken: woken.into(),
    });
    let (lives, over) = bounded(0);
    let teller = Arc::new(Teller {
        label: order.label.clone(),
        tell: Box::new(tell),
        over: AtomicBool::new(false),
    });
    let number = order.number;
    let connection = Connection {
        number,
        shared: shared.clone(),
        wake,
        over,
    };
    let buried = (shared.clone(), teller.clone());
    let panicked = move |text: String| {
        let (shared, teller) = buried;
        shared.lock().pid = None;
        let text = format!("a bug in mailsync, please report this: {text}");
        teller.over(failed(text));
    };
    let body = move || {
        let _lives: Sender<()> = lives;
        let over = perform(&order, &shared, &teller).unwrap_or_else(|refused| Over {
            how: match refused.outcome {
                Outcome::Config => How::Missing(refused.text),
                _ => How::Failed(refused.text),
            },
            denied: false,
            said: String::new(),
        });
        teller.over(over);
    };
    threads::spawn(&format!("mailsync-far{}", number % 100), body, panicked)?;
    Ok(connection)
}

/// The end of one that was not started, or that nobody could wait for.
#[must_use]
pub fn failed(text: String) -> Over {
    Over {
        how: How::Failed(text),
        denied: false,
        said: String::new(),
    }
}

/// What the thread and whoever ends the program share.
struct Shared {
    state: Mutex<State>,
    /// Here rather than with the thread: a write into a pipe that nobody reads would be SIGPIPE.
    woken: PipeReader,
}

#[derive(Default)]
struct State {
    /// Nobody has waited for this, so its number is its own.
    pid: Option<Pid>,
    /// It is to end.
    end: bool,
    heard: Heard,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done in there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self, signal: Signal) {
        if let Some(pid) = self.lock().pid {
            process::kill(pid, signal);
        }
    }
}

/// Tells what happens, and the end only once.
struct Teller {
    label: String,
    tell: Box<dyn Fn(News) + Send + Sync>,
    over: AtomicBool,
}

impl Teller {
    fn log(&self, level: &'static str, line: &str) {
        (self.tell)(News::Log(level, format!("{}: {line}", self.label)));
    }

    fn over(&self, over: Over) {
        if !self.over.swap(true, Ordering::Relaxed) {
            (self.tell)(News::Over(over));
        }
    }
}

/// While this lives, others may use the number of the process.
struct Number<'a>(&'a Shared);

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.0.lock().pid = None;
    }
}

/// Run the program from its start to its end.
fn perform(order: &Order, shared: &Shared, teller: &Teller) -> Result<Over, Refused> {
    let mut argv = order.program.argv(order.dialect);
    if let Some(program) = argv.first_mut() {
        *program = plan::find(program, &order.program.search, OTHERWISE)?.into_os_string();
    }
    if shared.lock().end {
        return Ok(failed("mailsync ended it".to_owned()));
    }
    let (process, pipes) = process::spawn(&Recipe {
        argv: &argv,
        environment: &order.program.environment,
        directory: None,
        feed: true,
        apart: true,
        keeps: &[],
    })?;
    let mut state = shared.lock();
    state.pid = Some(process.pid());
    if state.end {
        process::kill(process.pid(), Signal::TERM);
    }
    drop(state);
    let number = Number(shared);
    let mut watch = Watch::new(order, shared, teller, pipes);
    let waited = watch.until_over(&process);
    watch.rest();
    let silent = watch.silent && !watch.ending;
    drop(number);
    let exit = process.finish();
    if let Err(error) = waited {
        let text = format!(
            "{} was ended, nobody could wait for it: {error:#}",
            order.program.name()
        );
        return Ok(failed(text));
    }
    Ok(Over {
        how: match exit {
            // We did that.
            Some(Exit::Signal(_)) if silent => {
                How::Failed(format!("{} closed its output", order.program.name()))
            }
            Some(exit) => How::Exit(exit),
            None => How::Failed(format!(
                "how {} ended is unknown, something else waited for it",
                order.program.name()
            )),
        },
        denied: watch.complaints.denied(),
        said: watch.complaints.last().to_owned(),
    })
}

/// Something that is read at a limited pace.
struct Source {
    pipe: Option<OwnedFd>,
    /// Not before.
    next: Option<Instant>,
}

impl Source {
    fn new(pipe: Option<OwnedFd>) -> Self {
        Source { pipe, next: None }
    }

    /// What may be waited for now.
    fn open(&self, now: Instant) -> Option<std::os::fd::BorrowedFd<'_>> {
        let may = self.next.is_none_or(|at| at <= now);
        self.pipe.as_ref().map(AsFd::as_fd).filter(|_| may)
    }

    /// When it may be, if not now.
    fn opens(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|at| self.pipe.is_some() && *at > now)
    }

    /// Read what is there, once.  What has ended is closed.
    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> &'a [u8] {
        let Some(pipe) = &self.pipe else {
            return &[];
        };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(count @ 1..) => {
                self.next = Some(Instant::now() + PACE);
                &buffer[..count]
            }
            Err(Errno::AGAIN | Errno::INTR) => &[],
            Ok(0) | Err(_) => {
                self.pipe = None;
                &[]
            }
        }
    }
}

/// What is waited for while the program lives.
struct Watch<'a> {
    order: &'a Order,
    shared: &'a Shared,
    teller: &'a Teller,
    output: Source,
    errors: Source,
    /// Never written to.
    input: Option<OwnedFd>,
    buffer: Vec<u8>,
    reader: Reader,
    complaints: Complaints,
    /// Lines that are none of the protocol.
    noise: Complaints,
    /// It was told to end.
    ending: bool,
    /// It had closed its output, and got a TERM for that.
    silent: bool,
    /// What it gets next, and when.
    next: Option<(Instant, Signal)>,
    /// Somebody can still wake us.
    wakes: bool,
}

impl<'a> Watch<'a> {
    fn new(order: &'a Order, shared: &'a Shared, teller: &'a Teller, pipes: Pipes) -> Self {
        Watch {
            order,
            shared,
            teller,
            output: Source::new(Some(pipes.output)),
            errors: Source::new(pipes.errors),
            input: pipes.input,
            buffer: vec![0; AT_ONCE],
            reader: Reader::new(order.dialect),
            complaints: Complaints::default(),
            noise: Complaints::default(),
            ending: false,
            silent: false,
            next: None,
            wakes: true,
        }
    }

    fn until_over(&mut self, process: &Process) -> Result<()> {
        while !self.turn(process)? {}
        Ok(())
    }

    /// Wait for something, and do what it takes; true when the process is over.
    fn turn(&mut self, process: &Process) -> Result<bool> {
        let now = Instant::now();
        if !self.ending && self.shared.lock().end {
            // It has got its TERM.
            self.ending = true;
            self.input = None;
            self.next = Some((now + GRACE, Signal::KILL));
        }
        if let Some((_, signal)) = self.next.take_if(|(at, _)| *at <= now) {
            self.shared.kill(signal);
            if signal == Signal::TERM {
                self.silent = true;
                self.next = Some((now + GRACE, Signal::KILL));
            }
        }
        let next = self.next.map(|(at, _)| at);
        let opens = [self.output.opens(now), self.errors.opens(now)];
        let until = opens.into_iter().chain([next]).flatten().min();
        let sources = [
            (Some(process.over()), PollFlags::IN),
            (self.wakes.then(|| self.shared.woken.as_fd()), PollFlags::IN),
            (self.output.open(now), PollFlags::IN),
            (self.errors.open(now), PollFlags::IN),
        ];
        let left = until.map(|at| at.saturating_duration_since(now));
        let [over, woken, output, errors] = ready::wait(sources, left)?;
        if woken {
            self.woken();
        }
        if output {
            self.hear();
            if self.output.pipe.is_none() {
                // Of what says nothing more there is no use; mostly it is about to end.
                self.input = None;
                let term = (Instant::now() + SILENT_MOST, Signal::TERM);
                self.next.get_or_insert(term);
            }
        }
        if errors {
            self.listen();
        }
        Ok(over)
    }

    fn woken(&mut self) {
        match rustix::io::read(&self.shared.woken, &mut [0; 16]) {
            Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => self.wakes = false,
        }
    }

    /// Read what it says, once; false when there was nothing.
    fn hear(&mut self) -> bool {
        let bytes = self.output.read(&mut self.buffer);
        let some = !bytes.is_empty();
        let said = self.reader.push(bytes);
        self.add(said);
        some
    }

    fn add(&mut self, said: Vec<Said>) {
        if said.is_empty() {
            return;
        }
        let mut noise = Vec::new();
        let mut state = self.shared.lock();
        let news = state.heard.is_empty();
        for said in said {
            let naming = &self.order.program.naming;
            if let Some(mut line) = state.heard.add(said, self.order.dialect, naming) {
                line.push(b'\n');
                noise.extend(line);
            }
        }
        let news = news && !state.heard.is_empty();
        drop(state);
        if news {
            (self.teller.tell)(News::Heard);
        }
        for line in self.noise.push(Instant::now(), &noise) {
            self.teller.log("info", &line);
        }
    }

    /// Read what it complains of, once; false when there was nothing.
    fn listen(&mut self) -> bool {
        let bytes = self.errors.read(&mut self.buffer);
        for line in self.complaints.push(Instant::now(), bytes) {
            self.teller.log("warning", &line);
        }
        !bytes.is_empty()
    }

    /// It is over: what it has left in its pipes, which hold no more than a few reads take.
    fn rest(&mut self) {
        const MOST: usize = 64;
        let mut reads = 0..MOST;
        while reads.next().is_some() && self.hear() {}
        let mut reads = 0..MOST;
        while reads.next().is_some() && self.listen() {}
        for line in self.complaints.finish(Instant::now()) {
            self.teller.log("warning", &line);
        }
    }
}
