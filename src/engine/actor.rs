//! The engine's threads: the actor itself, one worker a root, the environment's, one for each run
//! of a syncer and each lock that is sought, and short-lived resolvers.
//!
//! It moves messages and does what [`Core`] says; it decides nothing.  The actor does no file
//! I/O: what may wait for a disk happens on a worker.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select, unbounded};

use super::config::{AccountConfig, RootConfig, RootId};
use super::core::{Action, Core, Input};
use super::environment::{Environment, News, slept};
use super::names;
use super::pipe::{Pipe, Written};
use super::status::Status;
use crate::change::{AccountId, Folder};
use crate::frame::Payload;
use crate::listen::Listener;
use crate::maildir::{DiskFs, Fs};
use crate::schedule::{Lock, Look};
use crate::syncer::lock::{Held, Holder, Key, Seeker};
use crate::syncer::run::{self, Running};
use crate::syncer::unpushed::{self, Unpushed};
use crate::syncer::{End, Ended, Event, Order, Outcome, RunId};
use crate::threads;
use crate::watch::inbox::{Dirty, Inbox};
use crate::watch::job::Job;
use crate::watch::worker::Worker;
use crate::watch::{self, MakeBackend};

/// How soon a write that did not fit is tried again.
const RETRY_WRITE: Duration = Duration::from_millis(50);

/// A difference of the clocks that is no sleep: they are not read at the same moment.
const NO_SLEEP: Duration = Duration::from_secs(1);

/// Emacs does not wait longer for its runs to be told that it ends.
const MOST_FAREWELL: Duration = Duration::from_millis(300);

/// Makes the file system of one root.
pub type MakeFs = Arc<dyn Fn() -> Box<dyn Fs> + Send + Sync>;

/// What an engine has of the world around it; tests put something else in its place.
#[derive(Clone)]
pub struct World {
    /// Makes a root's watcher.
    pub backend: MakeBackend,
    /// Makes a root's file system.
    pub fs: MakeFs,
    /// For how long the machine has slept since its start.
    pub slept: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Where locks are.
    pub runtime: Option<PathBuf>,
}

impl World {
    /// The real one.
    pub fn real() -> Self {
        World {
            backend: watch::kernel(),
            fs: Arc::new(|| Box::new(DiskFs)),
            slept: Arc::new(slept),
            runtime: None,
        }
    }
}

/// What the main thread and the helpers send to the actor.
enum Message {
    Input(Input),
    /// The wall clock jumped.
    Clock,
    Attach(i64, Pipe),
    /// Who passes on what was checked, where Lisp is silent after so long.
    Listen(Option<Box<dyn Listener>>, Duration),
    Resolve(String, Names),
    Resolved(String, i64, Vec<(PathBuf, PathBuf)>),
    /// What an account's folders differ from their servers in.
    Looked(AccountId, Look, Vec<(Arc<Folder>, Unpushed)>),
    /// Who has the lock that is sought under this number for an account.
    Holder(AccountId, u64, Holder),
    Stop,
    /// Stop, and drop this when every run was told.
    Farewell(Sender<()>),
}

/// A request to resolve names: its number and the names.
type Names = (i64, Vec<PathBuf>);

/// The main thread's end of an engine.  Every call returns at once.
pub struct Handle {
    messages: Sender<Message>,
    status: Receiver<Status>,
    last: Status,
}

impl Handle {
    /// Start an engine; it tells Lisp through the pipe of this generation.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        accounts: Vec<AccountConfig>,
        generation: i64,
        pipe: Pipe,
        runtime: Option<PathBuf>,
    ) -> Result<Self> {
        let world = World {
            runtime,
            ..World::real()
        };
        Self::start_with(accounts, generation, pipe, world)
    }

    /// `start` in another world, for tests.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with(
        accounts: Vec<AccountConfig>,
        generation: i64,
        pipe: Pipe,
        world: World,
    ) -> Result<Self> {
        threads::quiet_panics();
        let (messages, inbox) = unbounded();
        let (publish, status) = bounded(2);
        let last_word = Arc::new(Mutex::new(Some((generation, pipe.try_clone()?))));
        let mut actor = Actor {
            core: Core::default(),
            inbox,
            messages: messages.clone(),
            slept: (world.slept)(),
            world,
            roots: HashMap::new(),
            resolving: HashMap::new(),
            locks: HashMap::new(),
            locks_sought: 0,
            runs: HashMap::new(),
            looking: HashSet::new(),
            listener: None,
            wake: bounded(1),
            pipe: None,
            last_word: last_word.clone(),
            stuck: false,
            publish: publish.clone(),
            unread: status.clone(),
        };
        messages.send(Message::Attach(generation, pipe))?;
        messages.send(Message::Input(Input::Configure(accounts)))?;
        let failed = (publish, status.clone());
        threads::spawn(
            "mailsync-engine",
            move || actor.run(),
            move |text| died(&last_word, &failed, text),
        )?;
        Ok(Handle {
            messages,
            status,
            last: Status::default(),
        })
    }

    fn send(&self, message: Message) -> Result<()> {
        (self.messages.send(message))
            .map_err(|_| anyhow!("the engine has ended; M-x mailsync-restart starts it again"))
    }

    /// Tell it something.
    ///
    /// # Errors
    /// When the engine has ended; so for all calls below.
    pub fn input(&self, input: Input) -> Result<()> {
        self.send(Message::Input(input))
    }

    /// Watch these accounts from now on; a root that stays as it was notices nothing.
    ///
    /// # Errors
    /// When the engine has ended; so for all calls below.
    pub fn configure(&self, accounts: Vec<AccountConfig>) -> Result<()> {
        self.send(Message::Input(Input::Configure(accounts)))
    }

    /// A new pipe, after the old one broke.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn attach(&self, generation: i64, pipe: Pipe) -> Result<()> {
        self.send(Message::Attach(generation, pipe))
    }

    /// Have this tell other programs what was checked, or nobody; it ends with the engine at the
    /// latest.  Lisp is silent when it has not answered for `timeout`.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn listen(&self, listener: Option<Box<dyn Listener>>, timeout: Duration) -> Result<()> {
        self.send(Message::Listen(listener, timeout))
    }

    /// Something that puts a line into the log, from any thread.
    pub fn log(&self) -> impl Fn(&'static str, String) + Clone + Send + use<> {
        let messages = self.messages.clone();
        move |level, text| {
            // The engine may have ended before whoever speaks.
            let _ = messages.send(Message::Input(Input::Log(level, text)));
        }
    }

    /// Lisp has read a frame.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn acknowledge(&self, generation: i64, sequence: u64) -> Result<()> {
        self.send(Message::Input(Input::Acknowledge(generation, sequence)))
    }

    /// Have all folders checked, or those of one account, or of one root of it.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn check(&self, account: Option<String>, root: Option<PathBuf>) -> Result<()> {
        self.send(Message::Input(Input::Check(account, root)))
    }

    /// Resolve file names on a thread of their own; the answer comes through the pipe.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn resolve(&self, slot: String, request: i64, names: Vec<PathBuf>) -> Result<()> {
        self.send(Message::Resolve(slot, (request, names)))
    }

    /// The engine's last snapshot.
    pub fn status(&mut self) -> &Status {
        while let Ok(status) = self.status.try_recv() {
            self.last = status;
        }
        &self.last
    }

    /// End the engine, since Emacs ends: wait for so long at most until every run was told.
    pub fn farewell(self, most: Duration) {
        let (told, all_told) = bounded(0);
        if self.messages.send(Message::Farewell(told)).is_ok() {
            // It is dropped, not sent: either way the wait is over.
            let _ = all_told.recv_timeout(most);
        }
    }

    /// End the engine, soon; nothing waits for it.
    pub fn stop(self) {
        // An engine that has ended already needs no stop.
        let _ = self.messages.send(Message::Stop);
    }
}

/// The pipe and its generation, where whoever buries the engine finds them.
type LastWord = Arc<Mutex<Option<(i64, Pipe)>>>;

fn lock(last_word: &LastWord) -> MutexGuard<'_, Option<(i64, Pipe)>> {
    // Whoever panicked with it in hand has left a pipe all the same.
    last_word.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine panicked: say so where Lisp looks, since nobody else will.
fn died(
    last_word: &LastWord,
    (publish, unread): &(Sender<Status>, Receiver<Status>),
    text: String,
) {
    if let Some((generation, pipe)) = &mut *lock(last_word) {
        say_bye(pipe, *generation, &text);
    }
    let status = Status {
        dead: Some(text),
        ..Status::default()
    };
    replace(publish, unread, status);
}

/// The last frame: it wants no acknowledgement, and nobody may be reading any more.
fn say_bye(pipe: &mut Pipe, generation: i64, text: &str) {
    let mut payload = Payload::new();
    payload.bye(text);
    pipe.write(&payload.frame(generation, 0));
}

/// Put a value into a channel of two, in place of the oldest that nobody has read: a reader who
/// comes meanwhile finds an older one or a newer one, never nothing, and the last one at last.
fn replace<T>(publish: &Sender<T>, unread: &Receiver<T>, mut value: T) {
    while let Err(TrySendError::Full(back)) = publish.try_send(value) {
        value = back;
        // Nobody there any more, or all read: then there is room.
        let _ = unread.try_recv();
    }
}

struct RootEnd {
    inbox: Arc<Inbox>,
    /// `None`: its worker has ended.
    jobs: Option<Sender<Job>>,
}

struct LockEnd {
    number: u64,
    /// Its thread ends with it, or when it has found.
    _seeker: Option<Seeker>,
    held: Option<Arc<Held>>,
}

struct Actor {
    core: Core,
    inbox: Receiver<Message>,
    messages: Sender<Message>,
    world: World,
    /// How long the machine had slept when that was looked at last.
    slept: Duration,
    roots: HashMap<RootId, RootEnd>,
    /// Slots whose names are being resolved, with the request that waits for its turn.
    resolving: HashMap<String, Option<Names>>,
    /// The locks of accounts, sought or had.
    locks: HashMap<AccountId, LockEnd>,
    locks_sought: u64,
    runs: HashMap<RunId, Running>,
    /// Accounts whose folders are being looked at.
    looking: HashSet<AccountId>,
    /// Ends when it is dropped.
    listener: Option<Box<dyn Listener>>,
    wake: (Sender<()>, Receiver<()>),
    pipe: Option<(i64, Pipe)>,
    last_word: LastWord,
    /// A frame is only partly written.
    stuck: bool,
    publish: Sender<Status>,
    unread: Receiver<Status>,
}

impl Actor {
    fn run(&mut self) {
        threads::be_punctual();
        // Ends with this thread, whatever ends that.
        let _environment = self.environment();
        self.turn();
    }

    fn environment(&self) -> Option<Environment> {
        let messages = self.messages.clone();
        let tell = move |news| {
            let message = match news {
                News::MountsAreTold => Message::Input(Input::MountsAreTold(true)),
                News::Mounts(points) => Message::Input(Input::Mounts(points)),
                News::Network => Message::Input(Input::NetworkChanged),
                News::Clock => Message::Clock,
                News::Ended(text) => {
                    let text = format!("a sleep of the machine will be noticed late: {text}");
                    let _ = messages.send(Message::Input(Input::Log("warning", text)));
                    Message::Input(Input::MountsAreTold(false))
                }
            };
            messages.send(message).is_ok()
        };
        let started = Environment::start(tell);
        if let Err(error) = &started {
            let text = format!("a sleep of the machine will be noticed late: {error:#}");
            let message = Message::Input(Input::Log("warning", text));
            let _ = self.messages.send(message);
        }
        started.ok()
    }

    /// The machine may have slept since the last look.
    fn look_for_sleep(&mut self) -> bool {
        let slept = (self.world.slept)();
        let more = slept.saturating_sub(self.slept);
        let woke = more > NO_SLEEP;
        if woke {
            self.slept = slept;
            self.input(Input::Woke(more));
        }
        woke
    }

    fn turn(&mut self) {
        loop {
            let retry = self.stuck.then(|| Instant::now() + RETRY_WRITE);
            let deadline = [self.core.deadline(), retry].into_iter().flatten().min();
            let timer = deadline.map_or_else(never, crossbeam_channel::at);
            select! {
                recv(self.inbox) -> message => match message {
                    Ok(Message::Input(input)) => {
                        if let Input::Ran(_, Event::Ended { run, .. }) = &input {
                            self.runs.remove(run);
                        }
                        self.input(input);
                    }
                    Ok(Message::Clock) => {
                        if !self.look_for_sleep() {
                            self.input(Input::ClockSet);
                        }
                    }
                    Ok(Message::Attach(generation, pipe)) => {
                        let limit = pipe.limit();
                        let copy = pipe.try_clone().ok();
                        *lock(&self.last_word) = copy.map(|pipe| (generation, pipe));
                        self.pipe = Some((generation, pipe));
                        self.stuck = false;
                        self.input(Input::Attach(generation, limit));
                    }
                    Ok(Message::Listen(listener, timeout)) => {
                        let timeout = listener.is_some().then_some(timeout);
                        self.listener = listener;
                        self.input(Input::Listen(timeout));
                    }
                    Ok(Message::Resolve(slot, names)) => self.resolve(slot, names),
                    Ok(Message::Resolved(slot, request, pairs)) => {
                        let waiting = self.resolving.remove(&slot).flatten();
                        self.input(Input::Resolved(slot.clone(), request, pairs));
                        if let Some(names) = waiting {
                            self.resolve(slot, names);
                        }
                    }
                    Ok(Message::Looked(id, look, found)) => {
                        self.looking.remove(&id);
                        self.input(Input::Looked(id, look, found));
                    }
                    Ok(Message::Holder(id, number, holder)) => self.locked(id, number, holder),
                    Ok(Message::Farewell(_told)) => {
                        let told = self.end_all(End::Farewell);
                        for told in told {
                            // Done, or too late for anybody to wait.
                            let _ = told.recv_timeout(MOST_FAREWELL);
                        }
                        return self.goodbye();
                    }
                    Ok(Message::Stop) | Err(_) => {
                        self.end_all(End::Stop);
                        return self.goodbye();
                    }
                },
                recv(self.wake.1) -> _ => {
                    let ids: Vec<RootId> = self.roots.keys().copied().collect();
                    for id in ids {
                        self.take(id);
                    }
                }
                recv(timer) -> _ => self.input(Input::Tick),
            }
            // Whatever it was that came: where nobody tells of a sleep, this does.
            self.look_for_sleep();
            if self.stuck
                && let Some((_, pipe)) = &mut self.pipe
            {
                let written = pipe.flush();
                self.written(written);
            }
            // A snapshot is for people: make it when there is nothing better to do.
            if self.inbox.is_empty() && self.wake.1.is_empty() {
                replace(&self.publish, &self.unread, self.core.status());
            }
        }
    }

    fn input(&mut self, input: Input) {
        for action in self.core.handle(Instant::now(), input) {
            match action {
                Action::Open(id, config) => self.open(id, config),
                Action::Run(id, job) => {
                    let jobs = self.roots.get(&id).and_then(|root| root.jobs.as_ref());
                    // A worker that died has said so itself.
                    let _ = jobs.map(|jobs| jobs.send(job));
                }
                Action::Take(id) => self.take(id),
                // The worker ends when it has no job any more, and takes the watches along.
                Action::Close(id) => drop(self.roots.remove(&id)),
                Action::Sync(id, order) => self.sync(id, *order),
                Action::Look(id, look, order, folders) => self.look(id, look, *order, folders),
                Action::EndSync(run, why) => {
                    if let Some(running) = self.runs.get(&run) {
                        running.end(why);
                    }
                }
                Action::SeekLock(id, key) => self.seek_lock(id, key),
                // A run that lasts keeps it for so long.
                Action::DropLock(id) => drop(self.locks.remove(&id)),
                Action::Tell(told) => {
                    if let Some(listener) = &self.listener {
                        listener.tell(told);
                    }
                }
                Action::Send(frame) => {
                    if let Some((_, pipe)) = &mut self.pipe {
                        let written = pipe.write(&frame);
                        self.written(written);
                    }
                }
            }
        }
    }

    fn take(&mut self, id: RootId) {
        let root = self.roots.get(&id);
        let dirty = root.map(|root| root.inbox.take(Instant::now()));
        if let Some(dirty) = dirty.filter(|dirty| *dirty != Dirty::default()) {
            self.input(Input::Dirty(id, dirty));
        }
    }

    fn written(&mut self, written: Written) {
        self.stuck = written == Written::Partly;
        if written == Written::Closed {
            self.pipe = None;
            *lock(&self.last_word) = None;
            self.input(Input::Detach);
        }
    }

    fn open(&mut self, id: RootId, config: RootConfig) {
        let wake = self.wake.0.clone();
        let inbox = Arc::new(Inbox::new(move || {
            // Full means that the engine is awake already, or about to be.
            let _ = wake.try_send(());
        }));
        let make = config.poll.is_none().then(|| self.world.backend.clone());
        let fs = (self.world.fs)();
        let worker = Worker::new(config.directory, config.layout, fs, make, inbox.clone());
        let jobs = self.worker(id, worker);
        self.roots.insert(id, RootEnd { inbox, jobs });
    }

    fn worker(&self, id: RootId, mut worker: Worker) -> Option<Sender<Job>> {
        let (jobs, todo) = bounded::<Job>(1);
        let done = self.messages.clone();
        let died = self.messages.clone();
        let worker = move || {
            // Ends when the actor drops its end, and takes the watches along.
            for job in todo {
                let report = worker.work(job);
                if done
                    .send(Message::Input(Input::Report(id, report)))
                    .is_err()
                {
                    return;
                }
            }
        };
        let panicked = move |text| {
            let _ = died.send(Message::Input(Input::WorkerDied(id, text)));
        };
        match threads::spawn(&format!("mailsync-root{}", id.0), worker, panicked) {
            Ok(()) => Some(jobs),
            Err(error) => {
                let input = Input::WorkerDied(id, format!("{error:#}"));
                let _ = self.messages.send(Message::Input(input));
                None
            }
        }
    }

    /// What is asked for a slot while a request for it is at work waits for that; the last
    /// request stands for all.
    fn resolve(&mut self, slot: String, names: Names) {
        if let Some(waiting) = self.resolving.get_mut(&slot) {
            *waiting = Some(names);
            return;
        }
        self.resolving.insert(slot.clone(), None);
        let (request, names) = names;
        let answer = |pairs| Message::Resolved(slot.clone(), request, pairs);
        let nothing = answer(Vec::new());
        let whose = slot.clone();
        let (messages, failed) = (self.messages.clone(), self.messages.clone());
        let fs = self.world.fs.clone();
        let work = move || {
            let pairs = names::resolve(names, &fs).unwrap_or_else(|error| {
                let text = format!("resolving names: {error:#}");
                let _ = messages.send(Message::Input(Input::Log("error", text)));
                Vec::new()
            });
            let _ = messages.send(Message::Resolved(whose, request, pairs));
        };
        let panicked = move |_| {
            let _ = failed.send(nothing);
        };
        if let Err(error) = threads::spawn("mailsync-names", work, panicked) {
            let text = format!("resolving names: {error:#}");
            let _ = self
                .messages
                .send(Message::Input(Input::Log("error", text)));
            let _ = self.messages.send(answer(Vec::new()));
        }
    }

    /// Look what there is to push.  One look an account: a file system that does not answer holds
    /// up one thread.
    fn look(&mut self, id: AccountId, look: Look, order: Order, folders: Vec<Arc<Folder>>) {
        let nobody_knows = {
            let folders = folders.clone();
            move |text: String| {
                let each = folders.iter().cloned();
                each.map(|it| (it, Unpushed::Unknown(text.clone())))
                    .collect()
            }
        };
        if !self.looking.insert(id) {
            let found = nobody_knows("the last look is not over".to_owned());
            let input = Input::Looked(id, look, found);
            let _ = self.messages.send(Message::Input(input));
            return;
        }
        let (messages, failed) = (self.messages.clone(), self.messages.clone());
        let unstarted = nobody_knows.clone();
        let work = move || {
            let found = unpushed::look(&order, &folders);
            let found = folders.into_iter().zip(found).collect();
            let _ = messages.send(Message::Looked(id, look, found));
        };
        let panicked = move |text| {
            let _ = failed.send(Message::Looked(id, look, nobody_knows(text)));
        };
        if let Err(error) = threads::spawn("mailsync-look", work, panicked) {
            let found = unstarted(format!("{error:#}"));
            let _ = self.messages.send(Message::Looked(id, look, found));
        }
    }

    fn sync(&mut self, id: AccountId, order: Order) {
        let run = order.run;
        let memory = order.memory.clone();
        let held = self.locks.get(&id).and_then(|lock| lock.held.clone());
        let messages = self.messages.clone();
        let tell = move |event| {
            // Nobody may be left to hear it.
            let _ = messages.send(Message::Input(Input::Ran(id, event)));
        };
        match run::start(order, held, tell) {
            Ok(running) => drop(self.runs.insert(run, running)),
            Err(error) => {
                let ended = Box::new(Ended::never_began(
                    Outcome::Transient,
                    format!("{error:#}"),
                    memory,
                ));
                let input = Input::Ran(id, Event::Ended { run, ended });
                let _ = self.messages.send(Message::Input(input));
            }
        }
    }

    /// Have all runs end; each of what is returned ends when one was told.
    fn end_all(&mut self, why: End) -> Vec<Receiver<()>> {
        let runs = self.runs.values();
        let told = runs.map(|running| {
            running.end(why);
            running.farewell()
        });
        told.collect()
    }

    fn seek_lock(&mut self, id: AccountId, key: Key) {
        let held = self.locks.get(&id).and_then(|lock| lock.held.as_ref());
        if held.is_some_and(|held| held.covers(&key)) {
            let input = Input::Locked(id, Lock::Ours);
            let _ = self.messages.send(Message::Input(input));
            return;
        }
        self.locks_sought += 1;
        let number = self.locks_sought;
        let messages = self.messages.clone();
        let tell = move |holder| {
            let _ = messages.send(Message::Holder(id, number, holder));
        };
        let seeker = Seeker::start(key, self.world.runtime.as_deref(), tell);
        if let Err(error) = &seeker {
            let holder = Holder::Nobody(format!("{error:#}"));
            let _ = self.messages.send(Message::Holder(id, number, holder));
        }
        self.locks.insert(
            id,
            LockEnd {
                number,
                _seeker: seeker.ok(),
                held: None,
            },
        );
    }

    fn locked(&mut self, id: AccountId, number: u64, holder: Holder) {
        let Some(lock) = self.locks.get_mut(&id).filter(|it| it.number == number) else {
            return;
        };
        let who = match holder {
            Holder::Us(held) => {
                lock.held = Some(held);
                Lock::Ours
            }
            Holder::Other(pid) => Lock::Other(pid),
            Holder::Orphan(pid) => Lock::Orphan(pid),
            Holder::Nobody(text) => {
                self.input(Input::Log("warning", text));
                Lock::Ours
            }
        };
        self.input(Input::Locked(id, who));
    }

    fn goodbye(&mut self) {
        if let Some((generation, pipe)) = &mut self.pipe {
            say_bye(pipe, *generation, "stopped");
        }
    }
}
