//! The workers of the roots: one thread each, which ends when the actor drops its end.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};

use super::{Actor, Message};
use crate::engine::config::{RootConfig, RootId};
use crate::engine::core::Input;
use crate::threads;
use crate::watch::inbox::{Dirty, Inbox};
use crate::watch::job::Job;
use crate::watch::worker::Worker;

/// What the actor has of a root.
pub(super) struct RootEnd {
    pub(super) inbox: Arc<Inbox>,
    /// `None`: its worker has ended.
    pub(super) jobs: Option<Sender<Job>>,
}

impl Actor {
    pub(super) fn take(&mut self, id: RootId) {
        let root = self.roots.get(&id);
        let dirty = root.map(|root| root.inbox.take(Instant::now()));
        if let Some(dirty) = dirty.filter(|dirty| *dirty != Dirty::default()) {
            self.input(Input::Dirty(id, dirty));
        }
    }

    pub(super) fn take_all(&mut self) {
        let ids: Vec<RootId> = self.roots.keys().copied().collect();
        for id in ids {
            self.take(id);
        }
    }

    pub(super) fn open(&mut self, id: RootId, config: RootConfig) {
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
}
