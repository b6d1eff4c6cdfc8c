//! Runs of syncers, their locks, and looks at what is to be pushed: a thread each.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use anyhow::Result;
use crossbeam_channel::Receiver;

use super::{Actor, Message};
use crate::change::{AccountId, Folder};
use crate::engine::core::Input;
use crate::schedule::{Lock, Look};
use crate::syncer::lock::{Held, Holder, Key, Seeker};
use crate::syncer::run::resident::{Patience, Resident};
use crate::syncer::run::{self, Running};
use crate::syncer::unpushed::{self, Unpushed};
use crate::syncer::{End, Ended, Event, Order, Outcome};
use crate::threads;
use crate::watch::limits::in_words;

/// What the actor has of an account's lock.
pub(super) struct LockEnd {
    number: u64,
    key: Key,
    /// It cannot be had.
    refused: bool,
    /// Why not, as the user knows.
    said: Option<String>,
    /// Its thread ends with it, or when it has found.
    _seeker: Option<Seeker>,
    held: Option<Arc<Held>>,
}

impl Actor {
    /// Look what there is to push.  One look an account: a file system that does not answer holds
    /// up one thread.
    pub(super) fn look(
        &mut self,
        id: AccountId,
        look: Look,
        order: Order,
        folders: Vec<Arc<Folder>>,
    ) {
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
            let found = unstarted(in_words(&error));
            let _ = self.messages.send(Message::Looked(id, look, found));
        }
    }

    pub(super) fn sync(&mut self, id: AccountId, order: Order) {
        let run = order.run;
        let memory = order.memory.clone();
        let held = self.locks.get(&id).and_then(|lock| lock.held.clone());
        let messages = self.messages.clone();
        let tell = move |event| {
            // Nobody may be left to hear it.
            let _ = messages.send(Message::Input(Input::Ran(id, event)));
        };
        let started = if order.syncer.worker.is_some() {
            self.by_worker(id, order, held, tell)
        } else {
            run::start(order, held, tell)
        };
        match started {
            Ok(running) => drop(self.runs.insert(run, running)),
            Err(error) => {
                let ended = Box::new(Ended::never_began(
                    Outcome::Transient,
                    in_words(&error),
                    memory,
                ));
                let input = Input::Ran(id, Event::Ended { run, ended });
                let _ = self.messages.send(Message::Input(input));
            }
        }
    }

    /// Start a run by the account's worker.
    fn by_worker(
        &mut self,
        id: AccountId,
        order: Order,
        held: Option<Arc<Held>>,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Running> {
        let resident = match self.residents.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Resident::start(Patience::default())?),
        };
        let started = resident.run(order, held, tell);
        if started.is_err() {
            // Another thread may do better.
            self.residents.remove(&id);
        }
        started
    }

    /// Have all runs end; each of what is returned ends when one was told.
    pub(super) fn end_all(&mut self, why: End) -> Vec<Receiver<()>> {
        self.residents.values().for_each(Resident::farewell);
        let runs = self.runs.values();
        let told = runs.map(|running| {
            running.end(why);
            running.farewell()
        });
        told.collect()
    }

    pub(super) fn seek_lock(&mut self, id: AccountId, key: Key) {
        let held = self.locks.get(&id).and_then(|lock| lock.held.as_ref());
        if held.is_some_and(|held| held.covers(&key)) {
            let input = Input::Locked(id, Lock::Ours);
            let _ = self.messages.send(Message::Input(input));
            return;
        }
        let said = self.locks.get_mut(&id).and_then(|lock| lock.said.take());
        self.locks_sought += 1;
        let number = self.locks_sought;
        let messages = self.messages.clone();
        let tell = move |holder| {
            let _ = messages.send(Message::Holder(id, number, holder));
        };
        let seeker = Seeker::start(key.clone(), self.world.runtime.as_deref(), tell);
        if let Err(error) = &seeker {
            let holder = Holder::Nobody(in_words(error));
            let _ = self.messages.send(Message::Holder(id, number, holder));
        }
        self.locks.insert(
            id,
            LockEnd {
                number,
                key,
                refused: false,
                said,
                _seeker: seeker.ok(),
                held: None,
            },
        );
    }

    pub(super) fn locked(&mut self, id: AccountId, number: u64, holder: Holder) {
        let Some(lock) = self.locks.get_mut(&id).filter(|it| it.number == number) else {
            return;
        };
        let who = match holder {
            Holder::Us(held) => {
                lock.said = None;
                lock.held = Some(held);
                Lock::Ours
            }
            Holder::Other(pid) => Lock::Other(pid),
            Holder::Orphan(pid) => Lock::Orphan(pid),
            Holder::Nobody(text) => {
                lock.refused = true;
                if lock.said.as_ref() != Some(&text) {
                    lock.said = Some(text.clone());
                    self.input(Input::Log("warning", text));
                }
                Lock::Ours
            }
        };
        self.input(Input::Locked(id, who));
    }

    /// A run is over.  A lock that could not be had may be there for the next one.
    pub(super) fn seek_again(&mut self, id: AccountId) {
        let lock = self.locks.get(&id).filter(|lock| lock.refused);
        if let Some(key) = lock.map(|lock| lock.key.clone()) {
            self.seek_lock(id, key);
        }
    }
}
