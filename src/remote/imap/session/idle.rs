//! The mailbox that a session has selected, and IDLE, during which the server tells of it.

use std::time::{Duration, Instant};

use super::{Act, Mode, Name, Phase, Session, What, Why, argument};
use crate::change::Kinds;

/// A command is answered within so long where there is reason to doubt that anybody is there.
const POKE_PATIENCE: Duration = Duration::from_secs(10);

/// Mailboxes that are watched by a connection of their own, besides the inbox: servers allow few.
const MOST_OTHERS: usize = 2;

impl Session {
    /// Select the mailbox that is watched by IDLE, to read only.
    pub(super) fn examine(&mut self, now: Instant) {
        if !self.idles {
            return;
        }
        let inbox = || Name {
            server: b"INBOX".to_vec(),
            canonical: b"INBOX".to_vec(),
        };
        let Name { server, canonical } = self.one.clone().unwrap_or_else(inbox);
        self.selected = Some((canonical, 0));
        let command = [b"EXAMINE ", &argument(&server)[..]].concat();
        self.command(now, What::Examine, &command);
    }

    /// The mailboxes that are worth a connection of their own.
    pub(super) fn others(&self) -> Vec<Name> {
        let wanted = match &self.settings.idle {
            Some(names) => names.clone(),
            None => self.all.clone().into_iter().collect(),
        };
        let mut others = Vec::new();
        for canonical in wanted {
            let mut spellings = self.names.iter().filter(|(_, name)| **name == canonical);
            // The server's own spelling is ASCII.
            let server = spellings.find(|(spelling, _)| spelling.is_ascii());
            if let Some((server, _)) = server
                && canonical != b"INBOX"
                && others.len() < MOST_OTHERS
            {
                let server = server.clone();
                others.push(Name { server, canonical });
            }
        }
        others
    }

    /// Nothing is to be said: let the server speak.
    pub(super) fn rest(&mut self, now: Instant) {
        if self.due.is_some_and(|at| at <= now) {
            self.sweep(now);
        } else if self.idles && (self.notifies || self.selected.is_some()) {
            self.command(now, What::Idle, b"IDLE");
        } else {
            self.renewal = Some(now + self.settings.refresh);
        }
    }

    /// IDLE is over.
    pub(super) fn idled(&mut self, well: bool) {
        let ours = self.idling.take().is_some() && self.renewal.is_none();
        if let Some((name, _)) = &self.selected
            && well
        {
            // It has told all that was to be told when this IDLE began (RFC 2177, 3).
            self.snapshot.take_left(name);
        }
        if !well && !ours {
            // It is not wanted in this state.
            self.idles = false;
            if self.one.is_some() {
                let text = "the server does not do IDLE";
                self.end(Why::Config, text.to_owned());
            } else if !self.notifies {
                self.mode = Some(Mode::Sweep);
                self.acts.push(Act::Watching(Mode::Sweep));
                // It stays selected: flags may show nowhere else.  Its numbers are for sweeps to see.
                if let Some((name, _)) = self.selected.clone() {
                    let left = self.snapshot.take_left(&name);
                    self.tell(&name, left);
                    self.untold(&name);
                }
            }
        } else if !ours {
            self.end(Why::Lost, "the server ended IDLE".to_owned());
        }
    }

    /// Have the server answer something, soon.
    pub(super) fn poke(&mut self, now: Instant) {
        if self.phase != Phase::Watching {
            return;
        }
        // If it is being asked for something already, that will do.
        if self.awaited.is_empty() || self.renewal.is_some() {
            self.renewal = Some(now);
            self.time(now);
        }
        let soon = now + POKE_PATIENCE;
        for awaited in &mut self.awaited {
            if awaited.until.is_some_and(|until| until > soon) {
                (awaited.since, awaited.until) = (now, Some(soon));
            }
        }
    }

    fn examining(&self) -> bool {
        self.awaited.iter().any(|it| it.what == What::Examine)
    }

    pub(super) fn exists(&mut self, count: u64) {
        let first = self.examining();
        let Some((_, known)) = &mut self.selected else {
            return;
        };
        let before = std::mem::replace(known, count);
        if !first && count > before {
            self.in_selected(Kinds::NEW);
        } else if !first && count < before {
            self.in_selected(Kinds::UNKNOWN);
        }
    }

    pub(super) fn in_selected(&mut self, kinds: Kinds) {
        if self.examining() {
            return;
        }
        let Some((name, _)) = self.selected.clone() else {
            return;
        };
        if self.idles {
            self.was_told(&name, kinds);
            self.tell(&name, kinds);
        } else {
            self.tell(&name, kinds & Kinds::FLAGS);
        }
    }
}
