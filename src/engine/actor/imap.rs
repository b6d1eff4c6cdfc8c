//! The connections to IMAP servers: a thread each, which is told to end and never waited for.

use super::{Actor, Message};
use crate::engine::config::RemoteId;
use crate::engine::core::Input;
use crate::engine::messages::Imap;
use crate::remote::imap::keeper::{Event, Heard};
use crate::remote::imap::line::{self, Order};
use crate::remote::imap::session::{End, Why};
use crate::watch::limits::in_words;

pub(super) use crate::remote::imap::line::News;

impl Actor {
    /// Do something about a connection.
    pub(super) fn imap(&mut self, id: RemoteId, what: Imap) {
        if let Imap::Connect(order) = what {
            return self.dial(id, *order);
        }
        let Some(line) = self.lines.get(&id) else {
            return;
        };
        match what {
            Imap::End => line.end(),
            Imap::Poke => line.poke(),
            Imap::Give(secret) => line.give(secret),
            Imap::Connect(_) => {}
        }
    }

    fn dial(&mut self, id: RemoteId, order: Order) {
        let number = order.number;
        let snapshot = order.snapshot.clone();
        let messages = self.messages.clone();
        let tell = move |news| {
            // Nobody may be left to hear it.
            let _ = messages.send(match news {
                News::Log(level, text) => Message::Input(Input::Log(level, text)),
                news => Message::Line(id, number, news),
            });
        };
        match line::start(order, tell) {
            Ok(line) => drop(self.lines.insert(id, line)),
            Err(error) => {
                let (why, text) = (Why::Lost, in_words(&error));
                let news = News::Over(End { why, text }, snapshot);
                let _ = self.messages.send(Message::Line(id, number, news));
            }
        }
    }

    /// A connection has news.
    pub(super) fn line(&mut self, id: RemoteId, number: u64, news: News) {
        // What was heard before comes before.
        let heard = (self.lines.get(&id).filter(|it| it.number() == number)).map(line::Line::take);
        if let Some(heard) = heard.filter(|it| *it != Heard::default()) {
            self.input(Input::Imap(id, Event::Heard(number, heard)));
        }
        match news {
            News::Asked => self.input(Input::Imap(id, Event::Asked(number))),
            News::Over(end, snapshot) => {
                if self.lines.get(&id).is_some_and(|it| it.number() == number) {
                    self.lines.remove(&id);
                }
                self.input(Input::Imap(id, Event::Over(number, end, snapshot)));
            }
            News::Heard | News::Log(..) => {}
        }
    }
}
