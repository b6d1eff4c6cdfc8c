//! A worker that stays: the thread that owns its process, and does the runs of one account with it.
//!
//! The process is started for the first run and lasts until it ends itself, misbehaves, or nobody
//! wants it any more.  Where it does not keep to the contract, in whatever way, it is ended, and the
//! run is done by the plain command if there is one; that is said once, and the worker has another
//! chance later.  What is said to it is `worker`'s business.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::capture::Capture;
use super::process::{self, Process};
use super::{
    AT_ONCE, End, Held, Job, Ladder, Lent, Panicked, Running, Scene, Work, by_us, marked, prepare,
};
use crate::ready;
use crate::syncer::lock::{RunLock, Taken};
use crate::syncer::outcome::{Exit, lines, sentence};
use crate::syncer::plan::{Plan, Refused};
use crate::syncer::worker::talk::{Done, Talk};
use crate::syncer::worker::{Recipe, Wish, summary};
use crate::syncer::{Event, Order, Outcome, Output, RunId};
use crate::threads;

/// How long a worker is borne with.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A new one is to say hello within this time.
    pub hello: Duration,
    /// It is to begin what it is asked for within this one.
    pub begin: Duration,
    /// One that failed is tried again after so long, the next times after twice that, and so on.
    pub again: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            hello: Duration::from_secs(30),
            begin: Duration::from_secs(15),
            again: Duration::from_secs(60),
        }
    }
}

/// The end of a worker that has closed its output is waited for so long.
const CLOSED: Duration = Duration::from_secs(1);

/// One that failed is never left alone for longer.
const AGAIN_AT_MOST: Duration = Duration::from_secs(3600);

/// How to end one that has nothing to do.
const UNEMPLOYED: [(Duration, Signal); 1] = [(Duration::from_secs(2), Signal::KILL)];

/// The worker of an account.  When this is dropped, the worker is ended as soon as its run is over.
pub struct Resident {
    tasks: Sender<(Work, Panicked)>,
    wake: PipeWriter,
    process: Arc<Mutex<Alive>>,
}

/// The worker's process, while its number may be used.
#[derive(Default)]
struct Alive {
    pid: Option<Pid>,
    /// It has a run, whose end is told to it by others.
    busy: bool,
}

impl Resident {
    /// Start the thread, which starts the worker when there is a run.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub fn start(patience: Patience) -> Result<Self> {
        let (woken, wake) = io::pipe().context("a pipe to wake a worker's thread by")?;
        let (tasks, inbox) = unbounded();
        let process = Arc::new(Mutex::default());
        let current: Arc<Mutex<Option<Panicked>>> = Arc::default();
        let mut desk = Desk {
            inbox,
            woken,
            current: current.clone(),
            hand: Hand {
                live: None,
                aside: None,
                patience,
                process: Arc::clone(&process),
            },
        };
        let panicked = move |text: String| {
            if let Some(panicked) = lock(&current).take() {
                panicked(text);
            }
        };
        threads::spawn("mailsync-worker", move || desk.work(), panicked)?;
        Ok(Resident {
            tasks,
            wake,
            process,
        })
    }

    /// Start a run; as [`super::start`].
    ///
    /// # Errors
    /// When the system gives no descriptor, or the thread is gone.
    pub fn run(
        &self,
        order: Order,
        held: Option<Arc<Held>>,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Running> {
        let (running, work, panicked) = prepare(Job::of(order), held, tell)?;
        let gone = |_| anyhow!("the worker's thread is gone");
        self.tasks.send((work, panicked)).map_err(gone)?;
        // Its other end is open for as long as the thread lives.
        (&self.wake).write_all(b"!").context("waking a worker")?;
        Ok(running)
    }

    /// Emacs ends: ask a worker that has nothing to do to end.  Never waits.
    pub fn farewell(&self) {
        let alive = lock(&self.process);
        if let (Some(pid), false) = (alive.pid, alive.busy) {
            process::kill(pid, Signal::TERM);
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done in there.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the thread sits.
struct Desk {
    inbox: Receiver<(Work, Panicked)>,
    woken: PipeReader,
    /// What is to be done if the present run panics.
    current: Arc<Mutex<Option<Panicked>>>,
    hand: Hand,
}

impl Desk {
    fn work(&mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok((work, panicked)) => {
                    *lock(&self.current) = Some(panicked);
                    work(Some(&mut self.hand));
                    *lock(&self.current) = None;
                }
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    if self.hand.wait(&self.woken).is_err() {
                        break;
                    }
                }
            }
        }
        self.hand.dismiss(&UNEMPLOYED);
    }
}

/// How it went with a worker.
pub(super) enum Served {
    /// The run is over.
    Done(Done, Output),
    /// The worker cannot do it: let the command do it.
    NotAtAll,
}

/// A worker that failed.
struct Aside {
    until: Instant,
    times: u32,
    text: String,
}

/// The worker at hand, if it runs.
pub(super) struct Hand {
    live: Option<Live>,
    aside: Option<Aside>,
    patience: Patience,
    process: Arc<Mutex<Alive>>,
}

/// A worker that runs.
struct Live {
    process: Process,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
    talk: Talk,
    unsent: Vec<u8>,
    recipe: Recipe,
    lock: RunLock,
    /// It has been of use.
    tried: bool,
}

/// Whether a worker ended before it began what it was asked for.
#[derive(PartialEq, Eq)]
enum Early {
    /// It did not.
    No,
    /// It had said hello.
    New,
    /// It had done others.
    UsedBefore,
}

/// How a worker left off.
enum Left {
    /// As it should.
    Done(Done),
    /// It ended.
    Over {
        /// Whether that was before it began.
        early: Early,
    },
    /// It is of no use any more, in words.
    Broken(String),
}

impl Hand {
    /// Have a worker do a run, if one can.
    ///
    /// # Errors
    /// When nothing else is to do it either.
    pub(super) fn serve(
        &mut self,
        wish: &Wish,
        plan: &Plan,
        ladder: &Ladder,
        scene: &Scene,
        taken: &mut dyn FnMut(Taken) -> Refused,
    ) -> Result<Served, Refused> {
        let waits = |aside: &Aside| Instant::now() < aside.until;
        if wish.plain && self.aside.as_ref().is_some_and(waits) {
            return Ok(Served::NotAtAll);
        }
        let name = wish.name();
        let mut what = format!("{name} ends whenever it is asked");
        for _ in 0..2 {
            let recipe = match wish.recipe(plan) {
                Ok(recipe) => recipe,
                Err(refused) => return self.failed(wish, refused.text, scene),
            };
            if let Err(failure) = self.ready(recipe, wish.request.run, scene.held) {
                return match failure {
                    Failure::Taken(other) => Err(taken(other)),
                    Failure::Refused(refused) => self.failed(wish, refused.text, scene),
                };
            }
            let Some(live) = &mut self.live else { break };
            let (left, output, ended) =
                Round::new(live, wish, ladder, scene, &self.process, self.patience).until_left();
            if ended {
                self.finish();
                let why = scene.shared.asked().unwrap_or(End::Stop);
                return Err(by_us(why, &name));
            }
            match left {
                Ok(Left::Done(done)) => {
                    live.lock.release();
                    live.tried = true;
                    self.aside = None;
                    return match scene.shared.asked() {
                        Some(why) => Err(by_us(why, &name)),
                        None => Ok(Served::Done(done, output)),
                    };
                }
                Ok(Left::Over { early }) => {
                    let exit = self.finish();
                    // One that has to go goes before it begins: another may do better.
                    if early == Early::UsedBefore
                        || early == Early::New && exit == Some(Exit::Code(0))
                    {
                        continue;
                    }
                    let how = match exit {
                        Some(Exit::Code(code)) => format!("{name} ended with code {code}"),
                        Some(Exit::Signal(signal)) => {
                            format!("{name} was ended by signal {signal}")
                        }
                        None => format!("{name} ended"),
                    };
                    let last = match exit {
                        Some(Exit::Code(_)) => lines(&output).pop().unwrap_or_default(),
                        _ => String::new(),
                    };
                    what = sentence(&how, &last, "");
                    break;
                }
                Ok(Left::Broken(how)) => {
                    self.dismiss(&ladder.0);
                    what = format!("{name} {how}");
                    break;
                }
                Err(error) => {
                    self.dismiss(&ladder.0);
                    what = format!("{name} cannot be waited for: {error:#}");
                    break;
                }
            }
        }
        self.failed(wish, what, scene)
    }

    /// The worker is of no use for some time.
    fn failed(&mut self, wish: &Wish, text: String, scene: &Scene) -> Result<Served, Refused> {
        if let Some(why) = scene.shared.asked() {
            return Err(by_us(why, &wish.name()));
        }
        if !wish.plain {
            let outcome = Outcome::Transient;
            return Err(Refused { outcome, text });
        }
        let before = self.aside.take();
        let times = before.as_ref().map_or(0, |it| it.times);
        let wait = self.patience.again;
        let wait = wait.saturating_mul(1 << times.min(6)).min(AGAIN_AT_MOST);
        if before.is_none_or(|it| it.text != text) {
            scene.teller.said(format!(
                "{text}; the plain command syncs instead, the worker is tried again after {} s",
                wait.as_secs()
            ));
        }
        self.aside = Some(Aside {
            until: Instant::now() + wait,
            times: times + 1,
            text,
        });
        Ok(Served::NotAtAll)
    }

    /// See to it that a worker of this recipe runs and has the run's lock.
    fn ready(&mut self, recipe: Recipe, run: u64, held: Option<&Held>) -> Result<(), Failure> {
        if let Some(live) = &self.live {
            let same = live.recipe == recipe;
            let lock = match held {
                Some(held) if same => held.again(&live.lock).map_err(Failure::Taken)?,
                Some(_) => false,
                None => live.lock.files().next().is_none(),
            };
            if same && lock {
                return Ok(());
            }
            live.lock.release();
            self.dismiss(&UNEMPLOYED);
        }
        let lock = held.map_or_else(|| Ok(RunLock::default()), Held::run);
        let lock = lock.map_err(Failure::Taken)?;
        let keeps: Vec<_> = lock.files().collect();
        let (process, pipes) = process::spawn(&process::Recipe {
            argv: &recipe.argv,
            environment: &marked(&recipe.environment, RunId(run)),
            directory: recipe.directory.as_deref(),
            feed: true,
            apart: true,
            keeps: &keeps,
        })
        .map_err(Failure::Refused)?;
        lock_number(&self.process, Some(process.pid()));
        self.live = Some(Live {
            process,
            input: pipes.input,
            output: Some(pipes.output),
            errors: pipes.errors,
            talk: Talk::new(),
            unsent: Talk::hello(recipe.times),
            recipe,
            lock,
            tried: false,
        });
        Ok(())
    }

    /// The worker is over: leave nothing of it.
    fn finish(&mut self) -> Option<Exit> {
        lock_number(&self.process, None);
        self.live.take()?.process.finish()
    }

    /// End the worker, if there is one.
    fn dismiss(&mut self, steps: &[(Duration, Signal)]) {
        let Some(live) = &mut self.live else { return };
        let pid = live.process.pid();
        // Its end of file, for one that does not hear signals.
        live.input = None;
        process::kill(pid, Signal::TERM);
        'steps: for (after, signal) in steps {
            let until = Instant::now() + *after;
            while Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                match live.quiet(Some(left)) {
                    Ok(false) => {}
                    Ok(true) | Err(_) => break 'steps,
                }
            }
            process::kill(pid, *signal);
        }
        self.finish();
    }

    /// Wait for a wake, with an eye on the worker.
    fn wait(&mut self, woken: &PipeReader) -> Result<()> {
        let live = self.live.as_mut();
        let fds = live.as_ref().map(|it| it.descriptors());
        let [over, output, errors] = fds.unwrap_or_default();
        let sources = [
            (Some(woken.as_fd()), PollFlags::IN),
            (over, PollFlags::IN),
            (output, PollFlags::IN),
            (errors, PollFlags::IN),
        ];
        let [wake, over, output, errors] = ready::wait(sources, None)?;
        if wake {
            // At its end too: then the inbox says so.
            let _ = rustix::io::read(woken, &mut [0; 16]);
        }
        let Some(live) = live else { return Ok(()) };
        if over {
            // As it may.
            self.finish();
        } else if output {
            // Nobody has asked it anything.
            self.dismiss(&UNEMPLOYED);
        } else if errors {
            live.drain();
        }
        Ok(())
    }
}

fn lock_number(process: &Mutex<Alive>, pid: Option<Pid>) {
    lock(process).pid = pid;
}

/// Why a worker is not ready.
enum Failure {
    /// Somebody else syncs.
    Taken(Taken),
    /// It cannot be started.
    Refused(Refused),
}

/// What was read.
enum Piece {
    Some(usize),
    Nothing,
    Closed,
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Piece {
    match rustix::io::read(fd, buffer) {
        Ok(count @ 1..) => Piece::Some(count),
        Err(Errno::AGAIN | Errno::INTR) => Piece::Nothing,
        Ok(0) | Err(_) => Piece::Closed,
    }
}

impl Live {
    fn descriptors(&self) -> [Option<std::os::fd::BorrowedFd<'_>>; 3] {
        [
            Some(self.process.over()),
            self.output.as_ref().map(AsFd::as_fd),
            self.errors.as_ref().map(AsFd::as_fd),
        ]
    }

    /// Wait for its end, whatever it says meanwhile; true when it is over.
    fn quiet(&mut self, most: Option<Duration>) -> Result<bool> {
        let [over, output, errors] = self.descriptors();
        let sources = [over, output, errors].map(|fd| (fd, PollFlags::IN));
        let [over, output, errors] = ready::wait(sources, most)?;
        if output
            && let Some(fd) = &self.output
            && matches!(read(fd, &mut vec![0; AT_ONCE]), Piece::Closed)
        {
            self.output = None;
        }
        if errors {
            self.drain();
        }
        Ok(over)
    }

    /// Take what it has written into its log.
    fn drain(&mut self) {
        if let Some(fd) = &self.errors
            && matches!(read(fd, &mut vec![0; AT_ONCE]), Piece::Closed)
        {
            self.errors = None;
        }
    }
}

/// One run by a worker.
struct Round<'a> {
    live: &'a mut Live,
    scene: &'a Scene<'a>,
    /// Nobody else may use the worker's number after this.
    _lent: (Lent<'a>, Busy<'a>),
    capture: Capture,
    buffer: Vec<u8>,
    ladder: std::vec::IntoIter<(Duration, Signal)>,
    next: Option<(Instant, Signal)>,
    ending: bool,
    wakes: bool,
    patience: Patience,
    /// By when the worker has to have said something, and what it failed to do otherwise.
    limit: Option<(Instant, &'static str)>,
    request: Vec<u8>,
    run: u64,
    began: bool,
    told: Option<Instant>,
}

/// While this lives, the end of the worker is the run's business.
struct Busy<'a>(&'a Mutex<Alive>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(self.0).busy = false;
    }
}

impl<'a> Round<'a> {
    fn new(
        live: &'a mut Live,
        wish: &Wish,
        ladder: &Ladder,
        scene: &'a Scene<'a>,
        process: &'a Mutex<Alive>,
        patience: Patience,
    ) -> Self {
        lock(process).busy = true;
        Round {
            _lent: (scene.shared.lend(live.process.pid()), Busy(process)),
            live,
            scene,
            capture: Capture::default(),
            buffer: vec![0; AT_ONCE],
            ladder: ladder.0.clone().into_iter(),
            next: None,
            ending: false,
            wakes: true,
            patience,
            limit: Some((Instant::now() + patience.hello, "does not say hello")),
            request: Talk::request(&wish.request),
            run: wish.request.run,
            began: false,
            told: None,
        }
    }

    /// How the worker leaves off, what it has logged, and whether it was ended by us.
    fn until_left(mut self) -> (Result<Left>, Output, bool) {
        let left = loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(left)) => break Ok(left),
                Err(error) => break Err(error),
            }
        };
        (left, self.capture.finish(), self.ending)
    }

    fn turn(&mut self) -> Result<Option<Left>> {
        self.climb();
        self.ask();
        let now = Instant::now();
        let limit = self.limit.filter(|_| !self.ending);
        if let Some((_, what)) = limit.filter(|(at, _)| *at <= now) {
            return Ok(Some(Left::Broken(what.to_owned())));
        }
        let times = [self.next.map(|it| it.0), limit.map(|it| it.0)];
        let left = times.into_iter().flatten().min();
        let left = left.map(|at| at.saturating_duration_since(now));
        let wakes = self.wakes.then(|| self.scene.shared.woken.as_fd());
        let [over, output, errors] = self.live.descriptors();
        let input = self.live.input.as_ref().map(AsFd::as_fd);
        let input = input.filter(|_| !self.live.unsent.is_empty());
        let sources = [
            (over, PollFlags::IN),
            (wakes, PollFlags::IN),
            (output, PollFlags::IN),
            (errors, PollFlags::IN),
            (input, PollFlags::OUT),
        ];
        let [over, woken, output, errors, input] = ready::wait(sources, left)?;
        if woken {
            self.wakes = self.scene.shared.hear_wake();
        }
        if input {
            self.write();
        }
        if errors {
            self.log();
        }
        if output && let Err(what) = self.hear() {
            return Ok(self.unless_ending(Left::Broken(what)));
        }
        if let Some(done) = self.live.talk.done() {
            // It may have died of that, or of ours.
            self.rest();
            return Ok(self.unless_ending(Left::Done(done)));
        }
        if over {
            return Ok(Some(self.over()));
        }
        Ok(None)
    }

    /// While it is being ended only its end counts.
    fn unless_ending(&mut self, left: Left) -> Option<Left> {
        (!self.ending).then_some(left)
    }

    /// The process is over; what it said last may still be there.
    fn over(&mut self) -> Left {
        while self.live.output.is_some() {
            match self.hear() {
                Ok(true) => {}
                Ok(false) => break,
                Err(what) => return Left::Broken(what),
            }
        }
        self.rest();
        if let Some(done) = self.live.talk.done() {
            return Left::Done(done);
        }
        // Whoever has just been forked by somebody else may hold its output for a moment.
        if let Err(what) = self.live.talk.silent() {
            return Left::Broken(what);
        }
        let talk = &self.live.talk;
        let early = match self.live.tried {
            _ if talk.has_begun() || !talk.is_known() => Early::No,
            true => Early::UsedBefore,
            false => Early::New,
        };
        Left::Over { early }
    }

    /// Take what is left of its log.
    fn rest(&mut self) {
        while self.log() {}
    }

    fn climb(&mut self) {
        let asked = self.scene.shared.asked();
        // A farewell is a signal, which it has got, and no more.
        if !self.ending && !matches!(asked, None | Some(End::Farewell)) {
            self.ending = true;
            self.step();
        }
        while let Some((_, signal)) = self.next.take_if(|(at, _)| *at <= Instant::now()) {
            process::kill(self.live.process.pid(), signal);
            self.step();
        }
    }

    fn step(&mut self) {
        let step = self.ladder.next();
        self.next = step.map(|(after, signal)| (Instant::now() + after, signal));
    }

    /// Ask it for the run, when it can be asked.
    fn ask(&mut self) {
        if self.live.talk.is_known() && !self.request.is_empty() {
            self.live.unsent.append(&mut self.request);
            self.live.talk.ask(self.run);
            self.limit = Some((
                Instant::now() + self.patience.begin,
                "does not begin what it is asked for",
            ));
        }
    }

    fn write(&mut self) {
        let Some(pipe) = &self.live.input else { return };
        match rustix::io::write(pipe, &self.live.unsent) {
            Ok(count) => drop(self.live.unsent.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Its end follows, or it does not begin.
            Err(_) => self.live.input = None,
        }
    }

    /// Take what it says; false if there is nothing (any more).
    fn hear(&mut self) -> Result<bool, String> {
        let Some(fd) = &self.live.output else {
            return Ok(false);
        };
        match read(fd, &mut self.buffer) {
            Piece::Some(count) => {
                let heard = self.live.talk.hear(&self.buffer[..count]);
                heard?;
                self.begun();
                self.sign();
                Ok(true)
            }
            Piece::Nothing => Ok(false),
            Piece::Closed => {
                self.live.output = None;
                self.live.talk.silent()?;
                self.limit = Some((Instant::now() + CLOSED, "has closed its output"));
                Ok(false)
            }
        }
    }

    /// Take what it logs; false if there is nothing (any more).
    fn log(&mut self) -> bool {
        let Some(fd) = &self.live.errors else {
            return false;
        };
        match read(fd, &mut self.buffer) {
            Piece::Some(count) => {
                self.capture.add(&self.buffer[..count]);
                self.sign();
                true
            }
            Piece::Nothing => false,
            Piece::Closed => {
                self.live.errors = None;
                false
            }
        }
    }

    fn begun(&mut self) {
        if !self.began && self.live.talk.has_begun() {
            self.began = true;
            self.limit = None;
            let pid = self.live.process.pid().as_raw_nonzero().get();
            self.live.lock.sign(pid.unsigned_abs());
            self.scene.teller.began(pid.unsigned_abs());
        }
    }

    fn sign(&mut self) {
        // Until then it has its time, whatever it says.
        if self.began {
            self.scene.teller.sign_now_and_then(&mut self.told);
        }
    }
}

/// What the worker logged, and why the run ended so.
pub(super) fn with_reason(output: Output, done: &Done) -> Output {
    with(output, done.text.as_bytes())
}

/// That, and what became of the folders.
pub(super) fn with_summary(output: Output, done: &Done) -> Output {
    // There are as many as folders; the output is for people.
    let text = summary(&done.answers);
    with(output, text.get(..4096).unwrap_or(&text))
}

fn with(mut output: Output, text: &[u8]) -> Output {
    let end = if output.last.is_empty() && output.dropped == 0 {
        &mut output.first
    } else {
        &mut output.last
    };
    if !text.is_empty() && !end.is_empty() && !end.ends_with(b"\n") {
        end.push(b'\n');
    }
    end.extend_from_slice(text);
    output
}
