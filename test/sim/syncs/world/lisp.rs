//! The played Lisp: it reads frames, checks folders, and says how to run the syncer.

use std::collections::BTreeMap;
use std::time::Duration;

use mailsync_module::engine::core::Input;

use super::once::KEY;
use super::{ACCOUNT, FOLDERS, Happens, Sabotage, World, lies, real};
use crate::lisp::{CAPACITY, Record, decode};
use crate::world::{Outcome as Verdict, ms};

/// What happens is read by Lisp within so long: it is merged for two seconds, and kept for five where a run is
/// at its folder; then Lisp may be busy for as long with each of several frames.
const UNTOLD_MOST: Duration = Duration::from_secs(60);

/// Changes of a folder that Lisp has not read: their numbers, and when each came.
pub(super) type Untold = BTreeMap<u64, Duration>;

impl World {
    pub(super) fn restart_lisp(&mut self) -> Verdict {
        self.generation += 1;
        self.pipe = None;
        self.handle(Input::Attach(
            self.generation,
            self.setup.pipe_limit.min(CAPACITY),
        ))
    }

    /// Lisp reads a frame.
    pub(super) fn read(&mut self) -> Verdict {
        let Some(bytes) = self.pipe.take() else {
            return Ok(());
        };
        let (frame, _) = decode(&bytes)?.ok_or("half a frame")?;
        if frame.generation != self.generation {
            return Err("a frame of another generation".to_owned());
        }
        let repeats = self.sabotage == Sabotage::Repeats;
        for record in frame.records {
            match record {
                Record::Change { real, serial, .. } => {
                    let name = lies(&real)?;
                    if let Some(untold) = self.untold.get_mut(name) {
                        untold.retain(|it, _| *it > serial);
                    }
                    self.untold.retain(|_, it| !it.is_empty());
                    let loses = self.setup.loses_checks;
                    if self.sabotage == Sabotage::AnswersUnseen {
                        self.answer(name, serial + 1_000, None)?;
                    }
                    if self.deaf || !self.calm && loses > 0 && self.rng.once_in(loses) {
                        self.stats.lost_checks += 1;
                    } else {
                        let check = Happens::Check(self.generation, name, serial);
                        self.later(self.setup.check.0, check);
                    }
                }
                Record::Ready { directory, .. } => {
                    self.handle(Input::Check(Some(ACCOUNT.to_owned()), Some(directory)))?;
                }
                Record::Plan { account, .. } if account == KEY => {
                    return Err("it is asked about, and knows all".to_owned());
                }
                Record::Plan { run, .. } if (self.calm || !self.deaf && !self.rng.once_in(8)) => {
                    self.later(ms(500), Happens::Plan(run));
                }
                Record::Synced {
                    account, requests, ..
                } if account == KEY => {
                    for request in requests {
                        self.once.answered(request)?;
                    }
                }
                Record::Synced {
                    status, requests, ..
                } => {
                    for request in requests {
                        self.answered(request, &status)?;
                    }
                }
                _ => {}
            }
        }
        for _ in 0..=u8::from(repeats) {
            self.handle(Input::Acknowledge(frame.generation, frame.sequence))?;
        }
        Ok(())
    }

    /// The engine knows of a change.
    pub(super) fn will_tell(&mut self, folder: &'static str, serial: u64) {
        let untold = self.untold.entry(folder).or_default();
        untold.insert(serial, self.now);
    }

    /// Nothing is kept from it for long.
    pub(super) fn lisp_knows(&self) -> Verdict {
        let late = |it: &Untold| it.values().any(|since| *since + UNTOLD_MOST < self.now);
        match self.untold.iter().find(|(_, it)| late(it)) {
            Some((name, untold)) => Err(format!("I1: Lisp is not told of {name}: {untold:?}")),
            None => Ok(()),
        }
    }

    /// A request is answered: if all went well, what had happened on the server is here.
    fn answered(&mut self, request: i64, status: &str) -> Verdict {
        self.rules.answers_due.remove(&request);
        let wished = self.wished.remove(&request).unwrap_or_default();
        let missing = (wished.iter()).find(|(name, far)| !self.mail.has_fetched(name, **far));
        match missing {
            // A syncer that lies is believed until somebody looks.
            Some((name, _)) if status == "ok" && self.setup.lies == 0 => Err(format!(
                "I2: request {request} is answered, and {name} has not what was on the server"
            )),
            _ => Ok(()),
        }
    }

    /// Gnus looks at a folder.
    pub(super) fn check(&mut self, folder: &'static str, serial: u64) {
        let moment = self.rules.moment();
        self.stats.checks += 1;
        self.say(format_args!("lisp checks {folder}"));
        if self.mail.folders[folder].exists {
            for happening in self.mail.look(folder) {
                self.put(happening);
            }
            let to = *self.rng.choose(&FOLDERS);
            if self.setup.splits
                && folder == "INBOX"
                && to != folder
                && self.rng.once_in(2)
                && let Some(happening) = self.mail.split(folder, to, &mut self.rng)
            {
                self.stats.splits += 1;
                self.say(format_args!("lisp splits from {folder} to {to}"));
                self.put(happening);
            }
        }
        let answer = Happens::Answer(self.generation, folder, serial, moment);
        self.later(self.setup.check.1, answer);
    }

    pub(super) fn answer(
        &mut self,
        folder: &'static str,
        serial: u64,
        moment: Option<u64>,
    ) -> Verdict {
        self.say(format_args!("lisp has checked {folder}"));
        if self.there {
            self.rules.checked(folder, serial, moment);
        }
        for _ in 0..=u8::from(self.sabotage == Sabotage::Repeats) {
            self.listener.checked(self.now, folder, serial);
            let checked = vec![(real(folder), serial)];
            self.handle(Input::Checked(ACCOUNT.to_owned(), checked))?;
        }
        Ok(())
    }
}
