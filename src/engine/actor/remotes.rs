//! The programs that watch remote stores: a thread each, which is told to end and never waited for.

use std::time::{Duration, Instant};

use super::{Actor, Message};
use crate::engine::config::RemoteId;
use crate::engine::core::Input;
use crate::remote::connection::{self, News, Order};
use crate::remote::watcher::Over;
use crate::watch::limits::in_words;

/// So long a program has to end when Emacs does, which waits a little longer.
const MOST_FAREWELL: Duration = Duration::from_millis(100);

impl Actor {
    /// Run a program.
    pub(super) fn connect(&mut self, id: RemoteId, order: Order) {
        let number = order.number;
        let messages = self.messages.clone();
        let tell = move |news| {
            // Nobody may be left to hear it.
            let _ = messages.send(match news {
                News::Heard => Message::Heard(id, number),
                News::Log(level, text) => Message::Input(Input::Log(level, text)),
                News::Over(over) => Message::HungUp(id, number, over),
            });
        };
        match connection::start(order, tell) {
            Ok(connection) => drop(self.remotes.insert(id, connection)),
            Err(error) => {
                let over = connection::failed(in_words(&error));
                let _ = self.messages.send(Message::HungUp(id, number, over));
            }
        }
    }

    /// End it; it says when it is over.
    pub(super) fn disconnect(&mut self, id: RemoteId) {
        if let Some(connection) = self.remotes.get(&id) {
            connection.end();
        }
    }

    /// Take what it has said.
    pub(super) fn hear(&mut self, id: RemoteId, number: u64) {
        let connection = self.remotes.get(&id);
        if let Some(connection) = connection.filter(|it| it.number() == number) {
            let heard = connection.take();
            if !heard.is_empty() {
                self.input(Input::Heard(id, number, heard));
            }
        }
    }

    /// It is over.
    pub(super) fn hung_up(&mut self, id: RemoteId, number: u64, over: Over) {
        self.hear(id, number);
        if self
            .remotes
            .get(&id)
            .is_some_and(|it| it.number() == number)
        {
            self.remotes.remove(&id);
        }
        self.input(Input::HungUp(id, number, over));
    }

    /// Emacs ends: nothing of them may be left, and there is nothing that they could lose.
    pub(super) fn hang_up_all(&mut self) {
        for connection in self.remotes.values() {
            connection.end();
        }
        #[cfg(feature = "imap")]
        for line in self.lines.values() {
            line.end();
        }
    }

    /// As above: those that have not ended by now.
    pub(super) fn kill_remotes(&mut self) {
        let until = Instant::now() + MOST_FAREWELL;
        for connection in self.remotes.values() {
            // It is dropped, not sent.
            let _ = connection.over().recv_deadline(until);
            connection.kill();
        }
        // A tunnel is killed by its thread.
        #[cfg(feature = "imap")]
        for line in self.lines.values() {
            let _ = line.over().recv_deadline(until);
        }
    }
}
