//! What users do: to their mail, with the configuration, and by commands.

use mailsync_module::engine::core::Input;

use super::runs::Whose;
use super::{ACCOUNT, Happens, PASSING, World, seconds};
use crate::syncs::mail::{Happening, Touch};
use crate::syncs::rules::Rules;
use crate::world::Outcome as Verdict;

impl World {
    pub(super) fn user(&mut self) {
        if !self.setup.timing.at_start && self.reported.is_empty() {
            // Nobody has asked that what comes before the first look be synced.
            return;
        }
        let existing = self.mail.existing();
        let folder = *self
            .rng
            .choose(&existing[..existing.len().min(self.setup.places)]);
        if self.is_left_alone(folder) {
            return;
        }
        let happening = match self.rng.below(12) {
            0..5 => Some(self.mail.deliver(folder)),
            5..10 => self.mail.flag(folder, &mut self.rng),
            10 if self.setup.folders => {
                let folder = *self.rng.choose(&PASSING);
                Some(if existing.contains(&folder) {
                    self.mail.unmake(folder)
                } else {
                    self.mail.make(folder)
                })
            }
            _ => self.user_deletes(folder),
        };
        if let Some(happening) = happening {
            self.say(format_args!("user: {:?}", happening.events.last()));
            self.put(happening);
            self.may_regret();
        }
    }

    fn is_left_alone(&self, folder: &str) -> bool {
        let until = self.left_alone.get(folder);
        until.is_some_and(|until| self.now < *until)
    }

    fn user_deletes(&mut self, folder: &'static str) -> Option<Happening> {
        let teases = self.setup.teases && self.setup.refuses;
        let refused = teases.then(|| self.mail.delete_refused(folder)).flatten();
        refused.or_else(|| self.mail.delete(folder, &mut self.rng))
    }

    /// The user changes their mind about something, perhaps while it is being synced.
    pub(super) fn undoes(&mut self, touch: Touch) {
        if let Some(happening) = self.mail.undo(touch) {
            self.say(format_args!("user, again: {:?}", happening.events.last()));
            self.put(happening);
            if !self.processes.is_empty()
                && let Some(touch) = self.mail.touched.clone()
                && self.rng.once_in(2)
            {
                self.later(self.setup.step * 3, Happens::Undoes(touch));
            }
            self.may_regret();
        }
    }

    fn may_regret(&mut self) {
        if let Some(touch) = self.mail.touched.take().filter(|_| self.setup.fickle) {
            if self.setup.teases && !self.calm && self.mail.has_lost_refused(&touch) {
                // What comes again was refused by nobody, once a look has seen that it was gone; what else
                // happens there would have it pushed in any case.
                self.touched.remove(touch.folder);
                self.left_alone
                    .insert(touch.folder, self.now + seconds(150));
                self.soon(seconds(60), Happens::Undoes(touch));
                return;
            }
            if self.is_left_alone(touch.folder) {
                return;
            }
            self.touched.insert(touch.folder, touch.clone());
            if !self.calm && self.rng.once_in(2) {
                let most = *self.rng.choose(&[2, 6, 20]);
                self.later(seconds(most), Happens::Undoes(touch));
            }
        }
    }

    /// While these folders are synced, the user may take back what they did there last, and then do
    /// it again: whoever looks only before and after that sees no change.
    pub(super) fn may_waver(&mut self, folders: &[&'static str]) {
        let here: Vec<&'static str> = (folders.iter())
            .filter(|it| self.touched.contains_key(**it))
            .copied()
            .collect();
        if here.is_empty() {
            return;
        }
        let touched = self.touched.get(*self.rng.choose(&here));
        if let Some(touch) = touched.cloned().filter(|_| !self.calm)
            && (self.setup.teases || self.rng.once_in(2))
        {
            self.later(self.setup.step, Happens::Undoes(touch));
        }
    }

    pub(super) fn configure(&mut self) -> Verdict {
        self.say("configures");
        let new = !self.there;
        self.there = true;
        let timing = self.setup.timing.clone();
        if new {
            let (runs, full_syncs) = (self.rules.runs, self.rules.full_syncs);
            let moment = self.rules.moment();
            self.rules = Rules::new(timing);
            self.rules.go_on(runs, full_syncs, moment);
            self.rules
                .begin(self.now, seconds(if self.setup.watched { 5 } else { 0 }));
        } else {
            self.rules.retimed(self.now, timing);
        }
        let mut account = self.setup.account();
        account.remotes = self.remote();
        self.handle(Input::Configure(vec![account]))
    }

    pub(super) fn unconfigure(&mut self) -> Verdict {
        self.say("the account is configured no more");
        self.there = false;
        self.untold.clear();
        self.listener.is_owed_nothing();
        self.forget_watcher();
        self.rules = {
            let (runs, full_syncs) = (self.rules.runs, self.rules.full_syncs);
            let moment = self.rules.moment();
            let mut rules = Rules::new(self.setup.timing.clone());
            rules.go_on(runs, full_syncs, moment);
            rules
        };
        self.leave_processes(Whose::Orphan);
        self.handle(Input::Configure(Vec::new()))
    }

    pub fn pause(&mut self, pause: bool) -> Verdict {
        if !self.there {
            return Ok(());
        }
        self.say(format_args!("pause: {pause}"));
        self.rules.pause(pause);
        if !pause {
            self.far_hurries();
        }
        self.handle(Input::Pause(None, pause))
    }

    /// The user wants a sync.
    pub fn ask(&mut self, folder: Option<&'static str>) -> Verdict {
        self.requests += 1;
        self.stats.requests += 1;
        let request = self.requests;
        self.say(format_args!("the user asks for {folder:?}, {request}"));
        let wished = self.mail.last_far(folder.as_slice());
        self.wished.insert(self.requests, wished);
        let names = folder.map(|it| vec![it.to_owned()]);
        self.rules.asked(self.now, names.as_deref(), self.requests);
        let names = folder.map(|it| vec![it.as_bytes().to_vec()]);
        let account = Some(ACCOUNT.to_owned()).filter(|_| self.rng.once_in(2));
        self.handle(Input::Sync(account, names, self.requests))
    }
}
