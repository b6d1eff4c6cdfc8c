//! What a session knows of mailboxes: how the server spells them, their numbers, and what is told of them.

use std::time::{Duration, Instant};

use super::super::response::Mailbox;
use super::super::snapshot::Numbers;
use super::{Act, Name, Phase, Session};
use crate::change::Kinds;
use crate::remote::names::Naming;

/// What is not understood leads to a sweep, but not more often.
const DOUBT_AT_MOST: Duration = Duration::from_secs(60);

impl Session {
    /// A mailbox is there, or was.
    pub(super) fn mailbox(&mut self, mailbox: Mailbox) {
        let naming = Naming {
            prefix: self.naming.prefix.clone(),
            separator: match &self.settings.naming {
                Some(naming) if !naming.separator.is_empty() => naming.separator.clone(),
                _ => mailbox.separator.clone(),
            },
        };
        // No server has such a mailbox, and to ask for it would be to say more than that.
        let strange = |it: &u8| matches!(it, b'\r' | b'\n');
        let Some(name) =
            (naming.mailbox(&mailbox.name)).filter(|_| !mailbox.name.iter().any(strange))
        else {
            return;
        };
        let old = mailbox.old.as_ref().and_then(|old| naming.mailbox(old));
        self.spelt(&mailbox.name, &name);
        if self.naming.separator.is_empty() || self.settings.naming.is_none() {
            self.naming.separator = naming.separator;
        }
        if mailbox.all {
            self.all = Some(name.clone());
        }
        if mailbox.gone {
            self.vanished(&mailbox.name, &name);
        } else if let Some(sweep) = &mut self.sweep {
            if mailbox.selectable {
                sweep.seen(&mailbox.name, &name, !self.list_status);
            }
            if let Some(old) = old {
                let spelling = mailbox.old.unwrap_or_default();
                self.vanished(&spelling, &old);
            }
        } else if mailbox.selectable {
            if let Some(old) = old {
                let spelling = mailbox.old.unwrap_or_default();
                self.vanished(&spelling, &old);
            }
            let kinds = self.snapshot.appeared(&name);
            self.tell(&name, kinds);
        }
    }

    /// The server spells a mailbox so.
    fn spelt(&mut self, server: &[u8], name: &[u8]) {
        if self.names.get(server).is_some_and(|known| known == name) {
            return;
        }
        self.forget(server);
        // Without room it is read anew each time.
        if self.room.take(server.len() + name.len()) {
            self.names.insert(server.to_vec(), name.to_vec());
        }
    }

    fn forget(&mut self, server: &[u8]) {
        if let Some(name) = self.names.remove(server) {
            self.room.leave(server.len() + name.len());
        }
    }

    /// A mailbox is gone, or has another name by now.
    fn vanished(&mut self, server: &[u8], name: &[u8]) {
        if let Some(sweep) = &mut self.sweep {
            // Our look may have seen it before.
            sweep.unseen(name);
        }
        self.forget(server);
        if self.snapshot.vanished(name) {
            self.tell(name, Kinds::DELETED);
        }
    }

    fn canonical(&self, server: &[u8]) -> Option<Vec<u8>> {
        match self.names.get(server) {
            Some(name) => Some(name.clone()),
            None => self.naming.mailbox(server),
        }
    }

    /// The numbers of a mailbox are told.
    pub(super) fn numbers(&mut self, now: Instant, server: &[u8], numbers: &Numbers) {
        let Some(name) = self.canonical(server) else {
            self.doubt(now);
            return;
        };
        let sweeps = self.sweep.is_some();
        if let Some(sweep) = &mut self.sweep {
            sweep.counted(server, &name);
        }
        let kinds = self.snapshot.update(&name, numbers);
        if let Some(sweep) = &mut self.sweep
            && !self.snapshot.knows(&name)
        {
            sweep.overflows();
            return;
        }
        // On the connection before, the server may not have come to what was left for it to tell.
        let kinds = if self.mode.is_none() {
            kinds | self.snapshot.take_left(&name)
        } else {
            kinds
        };
        let told = self.told.get(&name).filter(|_| sweeps);
        let told = told.copied().unwrap_or_default();
        // The server has spoken of it, or is about to: the same may have happened again since.
        self.snapshot.leave(&name, kinds & told);
        self.tell(&name, kinds - told);
    }

    pub(super) fn tell(&mut self, name: &[u8], kinds: Kinds) {
        if !kinds.is_empty() {
            self.acts.push(Act::Change(name.to_vec(), kinds));
        }
    }

    /// Another session has spoken of a mailbox: it is there, and has to be known, so that it is told when
    /// it is there no longer.
    pub(super) fn told_by_another(&mut self, name: &[u8], kinds: Kinds) {
        if !self.snapshot.knows(name) {
            let appeared = self.snapshot.appeared(name);
            self.tell(name, appeared);
        }
        self.was_told(name, kinds);
    }

    /// The server has spoken of a mailbox that is being watched: a sweep has nothing to add to that.
    pub(super) fn was_told(&mut self, name: &[u8], kinds: Kinds) {
        *self.told.entry(name.to_vec()).or_default() |= kinds;
        // Whoever looks now sees all of that kind.
        self.snapshot.told(name, kinds);
        if let Some(sweep) = &mut self.sweep {
            sweep.told(name, kinds);
        }
    }

    /// Nobody watches it any more.
    pub(super) fn untold(&mut self, name: &[u8]) {
        // Who watched it has it looked at.
        self.snapshot.take_left(name);
        self.told.remove(name);
        if let Some(sweep) = &mut self.sweep {
            sweep.untold(name);
        }
    }

    /// Something should matter, and nobody knows what it says.
    pub(super) fn doubt(&mut self, now: Instant) {
        let soon = (self.doubted).map_or(now, |at| (at + DOUBT_AT_MOST).max(now));
        match &self.one {
            // Before it watches it has missed nothing, and the mailbox may not even be there.
            Some(Name { canonical, .. }) if soon <= now && self.phase == Phase::Watching => {
                self.doubted = Some(now);
                let canonical = canonical.clone();
                self.acts.push(Act::Change(canonical, Kinds::UNKNOWN));
            }
            Some(_) => {}
            None => {
                self.doubted = Some(soon);
                self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
            }
        }
    }
}
