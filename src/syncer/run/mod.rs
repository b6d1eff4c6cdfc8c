//! A run: from an order to its end, on a thread of its own.
//!
//! The thread makes the plan, starts the process, takes what it prints, feeds it, ends it when
//! asked to, and has it judged.  What is to be executed is `plan`'s business, how it went
//! `outcome`'s; when to run and for how long to wait is decided by whoever starts it.
//!
//! Where the syncer has a worker, [`resident`] has a thread of its own, on which all of this happens,
//! with the worker's process at hand.
//!
//! The end of a run is the end of the process that was started, never the end of its output: a
//! daemon that it leaves behind may hold that for hours.

pub mod capture;
pub mod process;
pub mod resident;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::vec;

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::lock::{Held, RunLock, Taken};
use super::outcome::{Exit, Verdict, judge};
use super::plan::{Plan, Refused, plan};
use super::worker::{self, Wish};
use super::{End, Ended, Event, Memory, Order, Outcome, Output, Program, RunId};
use crate::ready;
use crate::threads;
use capture::Capture;
use process::{Pipes, Process, Recipe};
use resident::{Hand, Served};

/// In the environment of what we start, with the number of the run: by it, processes that have
/// left the group can be found.
const MARKER: &str = "MAILSYNC_RUN";

/// Output is told at most so often.
const SIGNS: Duration = Duration::from_secs(1);

/// When the process is over, so long is spent at most on what it has left in the pipe.
const REST: Duration = Duration::from_millis(500);

/// Bytes read at once: what a pipe holds.
const AT_ONCE: usize = 64 * 1024;

/// A run, while it lasts.  When this is dropped, the run goes on.
pub struct Running {
    shared: Arc<Shared>,
    wake: PipeWriter,
}

impl Running {
    /// End it, soon; its `Ended` follows.  Never waits.
    pub fn end(&self, why: End) {
        if self.shared.lock().ask(why) {
            // A few bytes in all, so that there is room; and the other end is ours.
            let _ = (&self.wake).write(b"!");
        }
    }

    /// Emacs ends: ask the run to end, as `End::Farewell` does.  What is returned is disconnected
    /// as soon as the process has got its signal, is over, or will never be started; mostly that
    /// is at once.
    pub fn farewell(&self) -> Receiver<()> {
        self.end(End::Farewell);
        let (sender, receiver) = crossbeam_channel::bounded(0);
        let mut state = self.shared.lock();
        // Only then is there a process that has no signal yet.
        if matches!(state.phase, Phase::Starting) {
            state.waiting.push(sender);
        }
        receiver
    }
}

/// Start a run on a thread of its own.  `tell` gets its events, on that thread; `held` is the
/// account's lock, kept until nothing of the run is left.
///
/// # Errors
/// When the system gives no thread or no descriptor.
pub fn start(
    order: Order,
    held: Option<Arc<Held>>,
    tell: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Running> {
    begin(Job::of(order), held, tell)
}

/// All that a run needs to know.
struct Job {
    run: RunId,
    directory: Option<PathBuf>,
    input: Vec<u8>,
    ladder: Ladder,
    memory: Memory,
    /// What is asked of a worker, where there is one.
    wish: Option<Wish>,
    plan: Box<dyn FnOnce() -> Result<Plan, Refused> + Send>,
    judge: Box<Judge>,
}

impl Job {
    fn of(order: Order) -> Self {
        let order = Arc::new(order);
        let planned = order.clone();
        let judged = order.clone();
        Job {
            run: order.run,
            directory: order.syncer.directory.clone(),
            input: order.syncer.input.clone(),
            ladder: Ladder::of(&order.syncer.program),
            memory: order.memory.clone(),
            wish: Wish::of(&order),
            plan: Box::new(move || plan(&planned)),
            judge: Box::new(move |plan, exit, output| judge(&judged, plan, exit, output)),
        }
    }
}

type Judge = dyn FnOnce(&Plan, Exit, &Output) -> Verdict + Send;

fn begin(
    job: Job,
    held: Option<Arc<Held>>,
    tell: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Running> {
    let name = format!("mailsync-sync{}", job.run.0 % 100);
    let (running, work, panicked) = prepare(job, held, tell)?;
    threads::spawn(&name, move || work(None), panicked)?;
    Ok(running)
}

/// A run that is ready to be done, by the worker at hand if there is one.
type Work = Box<dyn FnOnce(Option<&mut Hand>) + Send>;

/// What is to be done when that panics.
type Panicked = Box<dyn FnOnce(String) + Send>;

fn prepare(
    job: Job,
    held: Option<Arc<Held>>,
    tell: impl Fn(Event) + Send + Sync + 'static,
) -> Result<(Running, Work, Panicked)> {
    let (woken, wake) = io::pipe().context("a pipe to wake a run by")?;
    let woken = process::waits_not(woken.into()).context("a pipe to wake a run by")?;
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        woken: woken.into(),
    });
    let teller = Arc::new(Teller {
        run: job.run,
        tell: Box::new(tell),
        over: AtomicBool::new(false),
    });
    let (started, began) = (SystemTime::now(), Instant::now());
    let memory = job.memory.clone();
    let blank = move || blank(started, memory);
    let panicked = {
        let (shared, teller, blank) = (shared.clone(), teller.clone(), blank.clone());
        move |text: String| {
            shared.over();
            let mut ended = blank();
            ended.text = format!("a bug in mailsync, please report this: {}", line(&text));
            ended.took = began.elapsed();
            teller.ended(ended);
        }
    };
    let at_work = shared.clone();
    let work = move |hand: Option<&mut Hand>| {
        let (mut ended, mut robbed) = (blank(), false);
        let scene = Scene {
            held: held.as_deref(),
            shared: &at_work,
            teller: &teller,
        };
        let performed = perform(job, &scene, hand, &mut ended, &mut robbed);
        if let Err(refused) = performed {
            ended.outcome = refused.outcome;
            ended.text = refused.text;
        }
        ended.took = began.elapsed();
        at_work.over();
        // Before it is told: whoever hears of the end may want the lock.
        drop(held);
        if robbed {
            teller.robbed();
        }
        teller.ended(ended);
    };
    let running = Running { shared, wake };
    Ok((running, Box::new(work), Box::new(panicked)))
}

/// Whom a run has to do with.
struct Scene<'a> {
    held: Option<&'a Held>,
    shared: &'a Shared,
    teller: &'a Teller,
}

/// The end of a run of which nothing is known yet.
fn blank(started: SystemTime, memory: Memory) -> Ended {
    Ended {
        outcome: Outcome::Transient,
        exit: None,
        text: String::new(),
        failed: Vec::new(),
        everything: false,
        output: Output::default(),
        started,
        took: Duration::ZERO,
        memory,
    }
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Plan, run and judge, and write down how it went.
fn perform(
    job: Job,
    scene: &Scene,
    hand: Option<&mut Hand>,
    ended: &mut Ended,
    robbed: &mut bool,
) -> Result<(), Refused> {
    let Scene { shared, teller, .. } = *scene;
    let plan = (job.plan)()?;
    ended.everything = plan.everything;
    ended.memory.clone_from(&plan.memory);
    if let Some(why) = shared.starting() {
        return Err(by_us(why, &name(&plan)));
    }
    let mut taken = |taken: Taken| {
        *robbed = matches!(taken, Taken::Account(_));
        beside(&taken)
    };
    if let (Some(hand), Some(wish)) = (hand, &job.wish) {
        match hand.serve(wish, &plan, &job.ladder, scene, &mut taken)? {
            Served::Done(done, output) => {
                ended.everything = wish.request.folders.is_none();
                ended.exit = Some(done.code);
                let plan = Plan {
                    everything: ended.everything,
                    ..plan
                };
                let output = resident::with_reason(output, &done);
                let verdict = (job.judge)(&plan, Exit::Code(done.code), &output);
                ended.output = resident::with_summary(output, &done);
                ended.pass(worker::weigh(verdict, &wish.request, &done.answers));
                return Ok(());
            }
            Served::NotAtAll => {}
        }
    }
    let lock = scene.held.map_or_else(|| Ok(RunLock::default()), Held::run);
    let lock = lock.map_err(taken)?;
    let keeps: Vec<_> = lock.files().collect();
    let process = process::spawn(&Recipe {
        argv: &plan.argv,
        environment: &marked(&plan.environment, job.run),
        directory: job.directory.as_deref(),
        feed: !job.input.is_empty(),
        apart: false,
        keeps: &keeps,
    });
    let (process, pipes) = process?;
    let child = shared.runs(process);
    let pid = child.process.pid().as_raw_nonzero().get().unsigned_abs();
    lock.sign(pid);
    teller.began(pid);
    let watch = Watch::new(&child, pipes, job.input, job.ladder, teller);
    let rest = watch.until_over().map_err(|error| Refused {
        outcome: Outcome::Transient,
        text: format!(
            "{} was ended, nobody could wait for it: {error:#}",
            name(&plan)
        ),
    })?;
    let exit = child.finish();
    ended.output = rest.output();
    ended.exit = exit.map(code);
    if let Some(why) = shared.asked() {
        return Err(by_us(why, &name(&plan)));
    }
    let exit = exit.ok_or_else(|| Refused {
        outcome: Outcome::Transient,
        text: format!(
            "how {} ended is unknown, something else waited for it",
            name(&plan)
        ),
    })?;
    let verdict = (job.judge)(&plan, exit, &ended.output);
    ended.pass(verdict);
    Ok(())
}

impl Ended {
    fn pass(&mut self, verdict: Verdict) {
        self.outcome = verdict.outcome;
        self.text = verdict.text;
        self.failed = verdict.failed;
        self.memory = verdict.memory;
    }
}

/// Somebody else has the lock, of whom nobody knew.
fn beside(taken: &Taken) -> Refused {
    let who = |pid: &Option<u32>, other: &str| match pid {
        Some(pid) => format!("pid {pid}"),
        None => other.to_owned(),
    };
    Refused {
        outcome: Outcome::Locked,
        text: match taken {
            Taken::Account(pid) => format!("{} syncs it now", who(pid, "another Emacs")),
            Taken::Run(pid) => format!(
                "{} that another run has left behind syncs it",
                who(pid, "a process")
            ),
        },
    }
}

/// The outcome of a run that we ended, or never let start.
fn by_us(why: End, name: &str) -> Refused {
    match why {
        End::Timeout => Refused {
            outcome: Outcome::Timeout,
            text: format!(
                "{name} gave no sign of life for too long and was ended; if it needs longer, \
                 raise mailsync-sync-timeout"
            ),
        },
        End::Interrupt | End::Stop | End::Farewell => Refused {
            outcome: Outcome::Interrupted,
            text: format!("mailsync ended {name}"),
        },
    }
}

fn name(plan: &Plan) -> String {
    let program = plan.argv.first().map(OsString::as_os_str);
    let program = Path::new(program.unwrap_or_default());
    program.display().to_string()
}

fn code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    }
}

/// The environment with our marker in it, instead of one that we have inherited.
fn marked(environment: &[OsString], run: RunId) -> Vec<OsString> {
    let old = |entry: &OsStr| {
        let rest = entry.as_bytes().strip_prefix(MARKER.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"="))
    };
    let kept = environment.iter().filter(|entry| !old(entry)).cloned();
    let marker = OsString::from(format!("{MARKER}={}", run.0));
    kept.chain([marker]).collect()
}

/// Which signals, each so long after the one before.
#[derive(Clone)]
struct Ladder(Vec<(Duration, Signal)>);

impl Ladder {
    fn of(program: &Program) -> Self {
        let after = Duration::from_millis;
        Ladder(match program {
            // It may be uploading, and would do that message twice when killed.  While it waits
            // for the network it hears only the third TERM; two at the same time would be one.
            Program::OfflineImap { .. } => vec![
                (after(10_000), Signal::TERM),
                (after(200), Signal::TERM),
                (after(5000), Signal::KILL),
            ],
            Program::Mbsync { .. } | Program::Command(_) | Program::OnlyWorker => {
                vec![(after(2000), Signal::KILL)]
            }
        })
    }
}

/// Tells what happens, and the end only once.
struct Teller {
    run: RunId,
    tell: Box<dyn Fn(Event) + Send + Sync>,
    over: AtomicBool,
}

impl Teller {
    fn began(&self, pid: u32) {
        (self.tell)(Event::Began { run: self.run, pid });
    }

    fn said(&self, text: String) {
        let run = self.run;
        (self.tell)(Event::Said { run, text });
    }

    fn robbed(&self) {
        (self.tell)(Event::Robbed { run: self.run });
    }

    fn sign(&self) {
        (self.tell)(Event::Sign { run: self.run });
    }

    /// A sign, unless that was told just now.
    fn sign_now_and_then(&self, told: &mut Option<Instant>) {
        let now = Instant::now();
        if told.is_none_or(|told| now - told >= SIGNS) {
            *told = Some(now);
            self.sign();
        }
    }

    fn ended(&self, ended: Ended) {
        if !self.over.swap(true, Ordering::Relaxed) {
            let (run, ended) = (self.run, Box::new(ended));
            (self.tell)(Event::Ended { run, ended });
        }
    }
}

/// What a run and whoever ends it share.
struct Shared {
    state: Mutex<State>,
    /// Here rather than with the thread: a write into a pipe that nobody reads would be SIGPIPE.
    woken: PipeReader,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Why it is to end.
    end: Option<End>,
    /// Dropped when the signal has been sent.
    waiting: Vec<Sender<()>>,
}

#[derive(Clone, Copy, Default)]
enum Phase {
    #[default]
    Planning,
    /// There may be a process whose number we do not know yet.
    Starting,
    /// Nobody has waited for this, so its number is its own.
    Runs(Pid),
    Over,
}

impl State {
    /// Note that it is to end; false if that changes nothing.
    fn ask(&mut self, why: End) -> bool {
        let known = self.end.is_some_and(|known| rank(known) >= rank(why));
        if known || matches!(self.phase, Phase::Over) {
            return false;
        }
        // Sent from here, so that it is sent even if Emacs is gone the next moment.
        if let (None, Phase::Runs(pid)) = (self.end, self.phase) {
            process::kill(pid, Signal::TERM);
        }
        self.end = Some(why);
        true
    }
}

/// How much an end counts; the same does so only once.
fn rank(why: End) -> u8 {
    match why {
        End::Farewell => 0,
        End::Timeout | End::Interrupt => 1,
        End::Stop => 2,
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done in there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> Option<End> {
        self.lock().end
    }

    /// From now on there may be a process; not if this says why.
    fn starting(&self) -> Option<End> {
        let mut state = self.lock();
        if state.end.is_none() {
            state.phase = Phase::Starting;
        }
        state.end
    }

    /// The process is there.
    fn runs(&self, process: Process) -> Child<'_> {
        let mut state = self.lock();
        state.phase = Phase::Runs(process.pid());
        if state.end.is_some() {
            process::kill(process.pid(), Signal::TERM);
        }
        state.waiting.clear();
        Child {
            number: Number(self),
            process,
        }
    }

    /// There is none (any more).
    fn over(&self) {
        let mut state = self.lock();
        state.phase = Phase::Over;
        state.waiting.clear();
    }

    /// Somebody has woken us; false when nobody can any more.
    fn hear_wake(&self) -> bool {
        let read = rustix::io::read(&self.woken, &mut [0; 16]);
        matches!(read, Ok(1..) | Err(Errno::AGAIN | Errno::INTR))
    }

    /// The run is in the hands of this process, which lives longer than it.
    fn lend(&self, pid: Pid) -> Lent<'_> {
        let mut state = self.lock();
        state.phase = Phase::Runs(pid);
        if state.end.is_some() {
            process::kill(pid, Signal::TERM);
        }
        state.waiting.clear();
        Lent(self)
    }

    /// Send a signal, if there is still whom to.
    fn kill(&self, signal: Signal) {
        if let Phase::Runs(pid) = self.lock().phase {
            process::kill(pid, signal);
        }
    }
}

/// The process, while its number may be used.
struct Child<'a> {
    /// Goes first, also when we panic.
    number: Number<'a>,
    process: Process,
}

/// While this lives, others may use the number of a worker's process.
struct Lent<'a>(&'a Shared);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // There may be another one.
        self.0.lock().phase = Phase::Starting;
    }
}

/// While this lives, others may use the number of the process.
struct Number<'a>(&'a Shared);

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.0.over();
    }
}

impl Child<'_> {
    /// It is over; leave nothing of it.
    fn finish(self) -> Option<Exit> {
        drop(self.number);
        self.process.finish()
    }
}

/// What is waited for while the process lives.
struct Watch<'a> {
    shared: &'a Shared,
    process: &'a Process,
    teller: &'a Teller,
    rest: Rest,
    feed: Feed,
    ladder: vec::IntoIter<(Duration, Signal)>,
    /// The next step of the ladder, once it is being ended.
    next: Option<(Instant, Signal)>,
    ending: bool,
    /// Somebody can still wake us.
    wakes: bool,
    told: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(
        child: &'a Child<'a>,
        pipes: Pipes,
        input: Vec<u8>,
        ladder: Ladder,
        teller: &'a Teller,
    ) -> Self {
        Watch {
            shared: child.number.0,
            process: &child.process,
            teller,
            rest: Rest {
                pipe: Some(pipes.output),
                buffer: vec![0; AT_ONCE],
                capture: Capture::default(),
            },
            feed: Feed {
                pipe: pipes.input,
                bytes: input,
                given: 0,
            },
            ladder: ladder.0.into_iter(),
            next: None,
            ending: false,
            wakes: true,
            told: None,
        }
    }

    /// Go on until the process is over.
    fn until_over(mut self) -> Result<Rest> {
        while !self.turn()? {}
        Ok(self.rest)
    }

    /// Wait for something, and do what it takes; true when the process is over.
    fn turn(&mut self) -> Result<bool> {
        self.climb();
        let left = self.next.map(|(at, _)| at);
        let left = left.map(|at| at.saturating_duration_since(Instant::now()));
        let wakes = self.wakes.then(|| self.shared.woken.as_fd());
        // What has been closed is not waited for: it would be ready for ever.
        let sources = [
            (Some(self.process.over()), PollFlags::IN),
            (wakes, PollFlags::IN),
            (self.rest.pipe.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.feed.pipe.as_ref().map(AsFd::as_fd), PollFlags::OUT),
        ];
        let [over, woken, output, input] = ready::wait(sources, left)?;
        if over {
            return Ok(true);
        }
        if woken {
            self.woken();
        }
        if output && self.rest.read() == Read::Some {
            self.sign();
        }
        if input {
            self.feed.write();
        }
        Ok(false)
    }

    /// Begin to end the process if somebody wants that, and go on with it.
    fn climb(&mut self) {
        // A farewell is a signal, which it has got, and no more.
        if !self.ending && !matches!(self.shared.asked(), None | Some(End::Farewell)) {
            self.ending = true;
            self.step();
        }
        while let Some((_, signal)) = self.next.take_if(|(at, _)| *at <= Instant::now()) {
            self.shared.kill(signal);
            self.step();
        }
    }

    fn step(&mut self) {
        let step = self.ladder.next();
        self.next = step.map(|(after, signal)| (Instant::now() + after, signal));
    }

    fn woken(&mut self) {
        self.wakes = self.shared.hear_wake();
    }

    fn sign(&mut self) {
        self.teller.sign_now_and_then(&mut self.told);
    }
}

/// What the process is given to read.
struct Feed {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
    given: usize,
}

impl Feed {
    /// Write what it takes; close the pipe after all of it, or when nobody reads it.
    fn write(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        match rustix::io::write(pipe, &self.bytes[self.given..]) {
            Ok(count) => self.given += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            // It may well do without.
            Err(_) => self.given = self.bytes.len(),
        }
        if self.given == self.bytes.len() {
            self.pipe = None;
        }
    }
}

/// What the process prints, and has printed.
struct Rest {
    pipe: Option<OwnedFd>,
    buffer: Vec<u8>,
    capture: Capture,
}

#[derive(PartialEq, Eq)]
enum Read {
    Some,
    Nothing,
    Closed,
}

impl Rest {
    /// Read what is there, once.
    fn read(&mut self) -> Read {
        let Some(pipe) = &self.pipe else {
            return Read::Closed;
        };
        match rustix::io::read(pipe, &mut self.buffer[..]) {
            Ok(count @ 1..) => {
                self.capture.add(&self.buffer[..count]);
                Read::Some
            }
            Err(Errno::AGAIN) => Read::Nothing,
            Err(Errno::INTR) => Read::Some,
            Ok(0) | Err(_) => {
                self.pipe = None;
                Read::Closed
            }
        }
    }

    /// The process is over: take what it has left, without waiting for whoever holds the pipe.
    fn output(mut self) -> Output {
        let end = Instant::now() + REST;
        while self.read() == Read::Some && Instant::now() < end {}
        self.capture.finish()
    }
}

// They look into /proc.
