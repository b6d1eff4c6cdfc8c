//! The main thread's end of an engine: it sends messages and reads snapshots, and waits for neither.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow};
use crossbeam_channel::{Receiver, SendError, Sender, bounded, unbounded};

use super::{Actor, MakeFs, Message, World, died};
use crate::engine::config::AccountConfig;
use crate::engine::core::Input;
use crate::engine::pipe::Pipe;
use crate::engine::status::Status;
use crate::errand::Errand;
use crate::listen::Listener;
use crate::threads;

fn has_ended<T>(_: SendError<T>) -> anyhow::Error {
    anyhow!("the engine has ended; M-x mailsync-restart starts it again")
}

/// The main thread's end of an engine.  Every call returns at once.
pub struct Handle {
    messages: Sender<Message>,
    acknowledge: Sender<(i64, u64)>,
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
        let (acknowledge, acknowledged) = unbounded();
        let (publish, status) = bounded(2);
        let last_word = Arc::new(Mutex::new(Some((generation, pipe.try_clone()?))));
        let mut actor = Actor::new(
            world,
            (messages.clone(), inbox),
            acknowledged,
            last_word.clone(),
            (publish.clone(), status.clone()),
        );
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
            acknowledge,
            status,
            last: Status::default(),
        })
    }

    fn send(&self, message: Message) -> Result<()> {
        self.messages.send(message).map_err(has_ended)
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

    /// Lisp has read a frame.  Unlike all else, this wakes the engine only if something waits for it.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn acknowledge(&self, generation: i64, sequence: u64) -> Result<()> {
        (self.acknowledge.send((generation, sequence))).map_err(has_ended)
    }

    /// Have all folders checked, or those of one account, or of one root of it.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn check(&self, account: Option<String>, root: Option<PathBuf>) -> Result<()> {
        self.send(Message::Input(Input::Check(account, root)))
    }

    /// Have an errand done on a thread of its own; the answer comes through the pipe.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn errand(&self, slot: String, request: i64, errand: Errand) -> Result<()> {
        let what = errand.what();
        let work = Box::new(move |fs: &MakeFs| errand.run(fs));
        self.send(Message::Errand(slot, (request, what, work)))
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
