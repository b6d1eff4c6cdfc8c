//! A look at all mailboxes: which there are, and their numbers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::super::response::Remark;
use super::super::snapshot::Room;
use super::{Act, Session, What, Why, argument};
use crate::change::Kinds;

/// So many questions are asked before the first is answered.
const WINDOW: usize = 50;

/// What is known of the numbers of a mailbox that is there.
#[derive(Debug, Default)]
struct Seen {
    asked: bool,
    counted: bool,
}

/// A sweep that is under way.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// By canonical names.
    seen: BTreeMap<Vec<u8>, Seen>,
    room: Room,
    /// There are more of them than are kept.
    too_many: bool,
    /// Mailboxes whose numbers have to be asked for, by the server's names.
    queue: VecDeque<Vec<u8>>,
    /// Questions that are not answered.
    asked: usize,
    /// What was told meanwhile of mailboxes that are being watched: perhaps only the next sweep sees it.
    told: BTreeMap<Vec<u8>, Kinds>,
}

impl Sweep {
    /// A mailbox is there; `ask` for its numbers.
    pub(super) fn seen(&mut self, server: &[u8], name: &[u8], ask: bool) {
        match self.seen.get_mut(name) {
            // The server may have spoken of it before we came to it, and said less.
            Some(seen) if ask && !seen.asked => seen.asked = true,
            Some(_) => return,
            None if !self.room.take(name.len().max(server.len())) => {
                self.too_many = true;
                return;
            }
            None => {
                let (asked, counted) = (ask, false);
                self.seen.insert(name.to_vec(), Seen { asked, counted });
            }
        }
        if ask {
            self.queue.push_back(server.to_vec());
        }
    }

    /// The numbers of a mailbox have come.
    pub(super) fn counted(&mut self, server: &[u8], name: &[u8]) {
        self.seen(server, name, false);
        if let Some(seen) = self.seen.get_mut(name) {
            seen.counted = true;
        }
    }

    /// One that was seen is there no longer.
    pub(super) fn unseen(&mut self, name: &[u8]) {
        self.seen.remove(name);
    }

    pub(super) fn told(&mut self, name: &[u8], kinds: Kinds) {
        *self.told.entry(name.to_vec()).or_default() |= kinds;
    }

    pub(super) fn untold(&mut self, name: &[u8]) {
        self.told.remove(name);
    }

    /// It saw one for which there is no room.
    pub(super) fn overflows(&mut self) {
        self.too_many = true;
    }
}

impl Session {
    /// Begin a sweep.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.due = None;
        self.sweep = Some(Sweep::default());
        if self.selected.is_some() && !self.idles {
            // Flags there may show in no number, and nobody is obliged to tell of them but now.
            self.command(now, What::Noop, b"NOOP");
        }
        let command = if self.list_status {
            format!("LIST \"\" \"*\" RETURN (STATUS {})", self.items())
        } else {
            "LIST \"\" \"*\"".to_owned()
        };
        self.command(now, What::List, command.as_bytes());
    }

    fn items(&self) -> &'static str {
        if self.has("CONDSTORE") {
            "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)"
        } else {
            "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"
        }
    }

    /// The names are all there.
    pub(super) fn listed(&mut self, now: Instant, well: bool, remark: &Remark) {
        if !well && std::mem::take(&mut self.list_status) {
            // It offered what it does not understand.
            self.sweep(now);
        } else if !well {
            let text = remark.after("the server does not list its mailboxes");
            self.end(Why::Lost, text);
        } else {
            self.ask_on(now);
        }
    }

    /// One question is answered.
    pub(super) fn asked(&mut self, now: Instant) {
        if let Some(sweep) = &mut self.sweep {
            sweep.asked = sweep.asked.saturating_sub(1);
            self.ask_on(now);
        }
    }

    fn ask_on(&mut self, now: Instant) {
        while let Some(sweep) = &mut self.sweep
            && sweep.asked < WINDOW
        {
            let Some(server) = sweep.queue.pop_front() else {
                break;
            };
            sweep.asked += 1;
            let name = argument(&server);
            let command = [b"STATUS ", &name[..], b" ", self.items().as_bytes()].concat();
            self.command(now, What::Status, &command);
        }
        if self.sweep.as_ref().is_some_and(|it| it.asked == 0) {
            self.swept(now);
        }
    }

    /// All is known.
    fn swept(&mut self, now: Instant) {
        let Some(sweep) = self.sweep.take() else {
            return;
        };
        let first = !self.snapshot.is_complete();
        let gone = if sweep.too_many {
            Vec::new()
        } else {
            let there = |name: &[u8]| sweep.seen.contains_key(name);
            self.snapshot.completed(there)
        };
        let exact = self.snapshot.is_exact();
        // The first look on a connection has to see all that was missed.
        if sweep.too_many || (self.mode.is_none() && (first || !exact)) {
            self.acts.push(Act::Everything);
        }
        // Last: of what was told of them before, something may still be on its way to the user.
        for name in gone {
            self.acts.push(Act::Change(name, Kinds::DELETED));
        }
        if self.notifies {
            // One that was made behind our look, perhaps anew, is told by its name alone.
            let mut alone = sweep.seen;
            alone.retain(|name, seen| !self.snapshot.knows(name) || !seen.counted);
            for name in alone.into_keys() {
                let kinds = if self.snapshot.renewed(&name) {
                    Kinds::UNKNOWN
                } else {
                    self.snapshot.appeared(&name)
                };
                self.tell(&name, if first { Kinds::empty() } else { kinds });
            }
        }
        self.told = sweep.told;
        if !self.notifies {
            self.due = Some(now + self.settings.poll);
        }
    }
}
