//! The engine's threads: the actor itself, one worker a root, the environment's, one for each run
//! of a syncer, each program that watches a remote store and each lock that is sought, and
//! those of errands.
//!
//! It moves messages and does what [`Core`] says; it decides nothing.  The actor does no file
//! I/O: what may wait for a disk happens on a worker.
//!
//! [`handle`] is the main thread's end of it; what the actor has to do for [`roots`], [`syncs`]
//! and [`remotes`] (those watched by IMAP: `imap`), and for [`errands`] has a file each.

mod errands;
pub mod handle;
#[cfg(feature = "imap")]
mod imap;
mod remotes;
mod roots;
mod syncs;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};

use crate::change::{AccountId, Folder};
use crate::engine::config::{RemoteId, RootId};
use crate::engine::core::{Action, Core, Input};
use crate::engine::environment::{Environment, News, slept};
use crate::engine::pipe::{Pipe, Written};
use crate::engine::status::Status;
use crate::frame::Payload;
use crate::listen::Listener;
use crate::maildir::{DiskFs, Fs};
use crate::remote::connection::Connection;
#[cfg(feature = "imap")]
use crate::remote::imap::line::Line;
use crate::remote::watcher::Over;
use crate::schedule::Look;
use crate::syncer::lock::Holder;
use crate::syncer::run::Running;
use crate::syncer::run::resident::Resident;
use crate::syncer::unpushed::Unpushed;
use crate::syncer::{End, Event, RunId};
use crate::threads;
use crate::watch::job::Report;
use crate::watch::{self, MakeBackend};
pub use handle::Handle;
use roots::RootEnd;
use syncs::LockEnd;

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
    /// Called on the engine's thread when it has taken in what a root's worker found.
    pub looked: fn(),
}

impl World {
    /// The real one.
    pub fn real() -> Self {
        World {
            backend: watch::kernel(),
            fs: Arc::new(|| Box::new(DiskFs)),
            slept: Arc::new(slept),
            runtime: None,
            looked: || {},
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
    Errand(String, Request),
    /// It is done: what it found out.
    Answer(String, i64, Vec<Vec<u8>>),
    /// What an account's folders differ from their servers in.
    Looked(AccountId, Look, Vec<(Arc<Folder>, Unpushed)>),
    /// A remote store's program with this number has said something.
    Heard(RemoteId, u64),
    /// It is over.
    HungUp(RemoteId, u64, Over),
    /// The connection with this number to an IMAP server has news.
    #[cfg(feature = "imap")]
    Line(RemoteId, u64, imap::News),
    /// Who has the lock that is sought under this number for an account.
    Holder(AccountId, u64, Holder),
    Stop,
    /// Stop, and drop this when every run was told.
    Farewell(Sender<()>),
}

/// What is to be done for an errand.  Whoever asks brings it along, so that a program that asks for none
/// has none in it.
type Work = Box<dyn FnOnce(&MakeFs) -> Result<Vec<Vec<u8>>> + Send + Sync>;

/// A number of Lisp's, and what it is to do, in words and in fact.
type Request = (i64, &'static str, Work);

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

struct Actor {
    core: Core,
    inbox: Receiver<Message>,
    /// Generations and numbers of frames that Lisp has read.
    acknowledged: Receiver<(i64, u64)>,
    messages: Sender<Message>,
    world: World,
    /// How long the machine had slept when that was looked at last.
    slept: Duration,
    roots: HashMap<RootId, RootEnd>,
    /// Slots with an errand that is being done, and the request that waits for its turn.
    errands: HashMap<String, Option<Request>>,
    /// The locks of accounts, sought or had.
    locks: HashMap<AccountId, LockEnd>,
    locks_sought: u64,
    runs: HashMap<RunId, Running>,
    /// The workers of accounts.
    residents: HashMap<AccountId, Resident>,
    /// The programs that watch remote stores, until they are over.
    remotes: HashMap<RemoteId, Connection>,
    /// The connections to IMAP servers, until they are over.
    #[cfg(feature = "imap")]
    lines: HashMap<RemoteId, Line>,
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
    fn new(
        world: World,
        (messages, inbox): (Sender<Message>, Receiver<Message>),
        acknowledged: Receiver<(i64, u64)>,
        last_word: LastWord,
        (publish, unread): (Sender<Status>, Receiver<Status>),
    ) -> Self {
        Actor {
            core: Core::default(),
            inbox,
            acknowledged,
            messages,
            slept: (world.slept)(),
            world,
            roots: HashMap::new(),
            errands: HashMap::new(),
            locks: HashMap::new(),
            locks_sought: 0,
            runs: HashMap::new(),
            residents: HashMap::new(),
            remotes: HashMap::new(),
            #[cfg(feature = "imap")]
            lines: HashMap::new(),
            looking: HashSet::new(),
            listener: None,
            wake: bounded(1),
            pipe: None,
            last_word,
            stuck: false,
            publish,
            unread,
        }
    }

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
            let now = Instant::now();
            let retry = self.stuck.then(|| now + RETRY_WRITE);
            let listens = self.core.listens();
            let acknowledged = match listens {
                Some(at) if at <= now => self.acknowledged.clone(),
                _ => never(),
            };
            let listens = listens.filter(|at| *at > now);
            let deadline = [self.core.deadline(), retry, listens];
            let deadline = deadline.into_iter().flatten().min();
            let timer = deadline.map_or_else(never, crossbeam_channel::at);
            let mut looked = false;
            select! {
                recv(self.inbox) -> message => {
                    self.hear_acknowledgements();
                    // Whoever could send one has gone.
                    match self.heed(message.unwrap_or(Message::Stop)) {
                        ControlFlow::Continue(it) => looked = it,
                        ControlFlow::Break(()) => return self.goodbye(),
                    }
                }
                recv(self.wake.1) -> _ => {
                    self.hear_acknowledgements();
                    self.take_all();
                }
                recv(acknowledged) -> read => match read {
                    Ok((generation, sequence)) => {
                        self.input(Input::Acknowledge(generation, sequence));
                    }
                    // Nobody is there who could tell.
                    Err(_) => self.acknowledged = never(),
                },
                recv(timer) -> _ => {
                    self.hear_acknowledgements();
                    self.input(Input::Tick);
                }
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
            if looked {
                (self.world.looked)();
            }
        }
    }

    /// Do as a message says.  Break: it is the last one; else whether a worker's look was taken in.
    fn heed(&mut self, message: Message) -> ControlFlow<(), bool> {
        match message {
            Message::Input(input) => {
                let ended = match &input {
                    Input::Ran(id, Event::Ended { run, .. }) => {
                        self.runs.remove(run);
                        Some(*id)
                    }
                    _ => None,
                };
                if ended.is_some() {
                    // What it has written was told before that it is over: all of it goes along.
                    self.take_all();
                }
                let looked = matches!(&input, Input::Report(_, it) if *it != Report::Nothing);
                self.input(input);
                ended.into_iter().for_each(|id| self.seek_again(id));
                return ControlFlow::Continue(looked);
            }
            Message::Clock => {
                if !self.look_for_sleep() {
                    self.input(Input::ClockSet);
                }
            }
            Message::Attach(generation, pipe) => {
                let limit = pipe.limit();
                let copy = pipe.try_clone().ok();
                *lock(&self.last_word) = copy.map(|pipe| (generation, pipe));
                self.pipe = Some((generation, pipe));
                self.stuck = false;
                self.input(Input::Attach(generation, limit));
            }
            Message::Listen(listener, timeout) => {
                let timeout = listener.is_some().then_some(timeout);
                self.listener = listener;
                self.input(Input::Listen(timeout));
            }
            Message::Errand(slot, request) => self.errand(slot, request),
            Message::Answer(slot, request, fields) => {
                let waiting = self.errands.remove(&slot).flatten();
                self.input(Input::Answer(slot.clone(), request, fields));
                if let Some(request) = waiting {
                    self.errand(slot, request);
                }
            }
            Message::Looked(id, look, found) => {
                self.looking.remove(&id);
                self.input(Input::Looked(id, look, found));
            }
            Message::Holder(id, number, holder) => self.locked(id, number, holder),
            Message::Heard(id, number) => self.hear(id, number),
            Message::HungUp(id, number, over) => self.hung_up(id, number, over),
            #[cfg(feature = "imap")]
            Message::Line(id, number, news) => self.line(id, number, news),
            Message::Farewell(_told) => {
                self.hang_up_all();
                let told = self.end_all(End::Farewell);
                for told in told {
                    // Done, or too late for anybody to wait.
                    let _ = told.recv_timeout(MOST_FAREWELL);
                }
                self.kill_remotes();
                return ControlFlow::Break(());
            }
            Message::Stop => {
                self.end_all(End::Stop);
                self.hang_up_all();
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(false)
    }

    /// What Lisp has read by now: before anything else, which may be about another pipe.
    fn hear_acknowledgements(&mut self) {
        while let Ok((generation, sequence)) = self.acknowledged.try_recv() {
            self.input(Input::Acknowledge(generation, sequence));
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
                // A run that lasts keeps both for so long.
                Action::EndWorker(id) => drop(self.residents.remove(&id)),
                Action::DropLock(id) => {
                    self.residents.remove(&id);
                    self.locks.remove(&id);
                }
                Action::Connect(id, order) => self.connect(id, *order),
                Action::Disconnect(id) => self.disconnect(id),
                #[cfg(feature = "imap")]
                Action::Imap(id, what) => self.imap(id, what),
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

    fn written(&mut self, written: Written) {
        self.stuck = written == Written::Partly;
        if written == Written::Closed {
            self.pipe = None;
            *lock(&self.last_word) = None;
            self.input(Input::Detach);
        }
    }

    fn goodbye(&mut self) {
        if let Some((generation, pipe)) = &mut self.pipe {
            say_bye(pipe, *generation, "stopped");
        }
    }
}
