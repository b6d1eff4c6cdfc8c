//! What befalls the engine: restarts, silence, sleep, losses, outages, and impatient users.

use std::collections::BTreeMap;
use std::sync::Arc;

use mailsync_module::engine::core::{Core, Input};
use mailsync_module::schedule::Timing;
use mailsync_module::syncer::Outcome;
use mailsync_module::watch::inbox::{Event as Seen, Inbox};

use super::listener::Listener;
use super::once::Once;
use super::setup::timing;
use super::{Happens, World, engine, seconds};
use crate::world::{Outcome as Verdict, ms};

impl World {
    pub(super) fn fault(&mut self) -> Verdict {
        if !self.there {
            return Ok(());
        }
        match self.rng.below(22) {
            0 => {
                self.say("lisp restarts");
                self.stats.restarts += 1;
                if self.rng.once_in(2) {
                    self.handle(Input::Detach)?;
                }
                self.restart_lisp()
            }
            1 => {
                self.say("lisp answers nothing");
                self.deaf = true;
                self.later(seconds(60), Happens::Listens);
                Ok(())
            }
            2 => {
                let slept = seconds(self.rng.below(5_000));
                self.say(format_args!("slept {slept:?}"));
                self.rules.slept(slept);
                self.far_hurries();
                self.handle(Input::Woke(slept))?;
                self.connections_die();
                Ok(())
            }
            3 => {
                self.say("another network");
                self.rules.reset();
                self.far_hurries();
                self.handle(Input::NetworkChanged)
            }
            4 | 5 => {
                self.pause(true)?;
                self.later(seconds(60), Happens::Resumes);
                Ok(())
            }
            6 => {
                let old = &self.setup.timing;
                let timing = Timing {
                    at_start: old.at_start,
                    pulls_only: old.pulls_only,
                    per_run: old.per_run,
                    records: old.records,
                    ignore: old.ignore.clone(),
                    ..timing(&mut self.rng)
                };
                self.setup.timing = timing;
                self.configure()?;
                if self.setup.listens.is_some() && self.rng.once_in(2) {
                    // It has lost its connection, and comes back.
                    return self.begin_to_listen();
                }
                Ok(())
            }
            7 => {
                self.say("events are lost");
                self.losing = true;
                self.inbox.put(Seen::Overflow);
                if !self.taking {
                    self.taking = true;
                    self.later(ms(2_000), Happens::Take);
                }
                Ok(())
            }
            8 | 9 => {
                let existing = self.mail.existing();
                let folder = *self.rng.choose(&existing);
                self.ask(Some(folder))
            }
            10 => self.ask(None),
            11 => {
                let jump = seconds(self.rng.below(4_000));
                self.now += jump;
                let untold = self.untold.values_mut().flat_map(BTreeMap::values_mut);
                untold.for_each(|since| *since += jump);
                self.rules.hindered(self.now);
                self.say(format_args!("{jump:?} later"));
                let mut happens = self.agenda.values();
                self.rules.dragging = happens.any(|it| matches!(it, Happens::Work(..)));
                self.handle(Input::Tick)
            }
            12 | 13 => {
                let outcomes = [Outcome::Transient, Outcome::Transient, Outcome::Auth];
                self.outage = Some(*self.rng.choose(&outcomes));
                self.say(format!("from now on all fails: {:?}", self.outage));
                self.later(seconds(400), Happens::Recovers);
                Ok(())
            }
            // What is told of a maildir that comes and goes, a listener's model does not know.
            14 if self.setup.listens.is_none() => {
                self.away = true;
                self.later(seconds(40), Happens::Returns);
                self.inbox.put(Seen::Overflow);
                self.take()
            }
            16 => self.ask_once(),
            21 => {
                let existing = self.mail.existing();
                let most = existing.len().min(self.setup.places);
                let folder = *self.rng.choose(&existing[..most]);
                self.say(format_args!("from now on {folder} fails alone"));
                self.broken.insert(folder);
                self.later(seconds(400), Happens::Mends(folder));
                // Who hears of it tries again.
                self.later(seconds(8), Happens::Insists(folder));
                Ok(())
            }
            19 | 20 => self.far_fault(),
            17 | 18 if self.setup.timing.at_start => self.restart_emacs(),
            15 if self.setup.timing.at_start => {
                self.unconfigure()?;
                self.later(seconds(5), Happens::Configures);
                Ok(())
            }
            _ => {
                self.say("lisp asks for a check of everything");
                self.handle(Input::Check(None, None))
            }
        }
    }

    /// Emacs ends, perhaps in the midst of a run or a look, and there is another one.
    pub(super) fn restart_emacs(&mut self) -> Verdict {
        self.say("emacs restarts");
        self.stats.crashes += 1;
        self.stats.crashed_runs += u64::from(self.is_syncing());
        let looks = |it: &Happens| matches!(it, Happens::Look(_));
        self.stats.crashed_looks += u64::from(self.agenda.values().any(looks));
        self.core = Core::default();
        engine::forget_what_was_told();
        // What others do goes on.
        self.agenda.retain(|_, it| {
            matches!(
                it,
                Happens::User
                    | Happens::Undoes(_)
                    | Happens::Far
                    | Happens::Fault
                    | Happens::ByHand
                    | Happens::Step(_)
                    | Happens::Cut(_)
                    | Happens::OtherSyncs
                    | Happens::OtherLeaves
                    | Happens::Returns
                    | Happens::Recovers
                    | Happens::Mends(_)
            )
        });
        self.survive_emacs();
        self.root = None;
        self.inbox = Arc::new(Inbox::new(|| {}));
        self.taking = false;
        self.marks.clear();
        self.limbo.clear();
        self.lost.clear();
        self.losing = false;
        self.reported.clear();
        self.wants_lock = false;
        self.deaf = false;
        self.once = Once::default();
        self.listener = Listener::default();
        self.forget_watcher();
        self.wished.clear();
        self.there = false;
        self.begin()
    }
}
