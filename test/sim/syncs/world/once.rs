//! Runs of a syncer that is no account's: what is asked for is answered once, whatever comes of it,
//! and tried no second time.

use std::collections::BTreeSet;
use std::time::Duration;

use mailsync_module::change::AccountId;
use mailsync_module::engine::config::SyncConfig;
use mailsync_module::engine::core::Input;
use mailsync_module::schedule::{Lock, Timing};
use mailsync_module::syncer::{Ended, Event, Memory, Outcome, RunId, Syncer};

use super::{FOLDERS, Happens, Sabotage, World, seconds};
use crate::rng::Rng;
use crate::world::Outcome as Verdict;

/// By this name such runs know each other.
pub const KEY: &str = "once";

/// What has happened by that name.
#[derive(Debug, Default)]
pub struct Once {
    /// Its number, when the core has told.
    pub id: Option<AccountId>,
    pub wants_lock: bool,
    locked: bool,
    pub running: Option<RunId>,
    /// Something was asked for since the last run began.
    asked: bool,
    due: BTreeSet<i64>,
    pub runs: u64,
}

impl Once {
    /// Ask for one.
    pub fn ask(&mut self, syncer: Syncer, folder: Option<&str>, request: i64) -> Input {
        self.asked = true;
        self.due.insert(request);
        Input::RunOnce {
            key: KEY.to_owned(),
            sync: Box::new(SyncConfig {
                timing: Timing {
                    silence: Some(Duration::from_secs(20)),
                    ..Timing::once()
                },
                syncer,
            }),
            folders: folder.map(|it| vec![it.as_bytes().to_vec()]),
            request,
        }
    }

    pub fn seeks_lock(&mut self, id: AccountId) {
        self.id = Some(id);
        self.wants_lock = true;
    }

    pub fn drops_lock(&mut self) {
        self.wants_lock = false;
        self.locked = false;
    }

    pub fn has_lock(&mut self, has: bool) {
        self.locked = has;
    }

    /// A run begins.
    pub fn starts(&mut self, run: RunId) -> Verdict {
        if self.running.replace(run).is_some() {
            return Err("I5: two runs by one name".to_owned());
        }
        if !self.locked {
            return Err("I5: a run by a name without its lock".to_owned());
        }
        if !std::mem::take(&mut self.asked) {
            return Err("I6: what was asked for once is done again".to_owned());
        }
        self.runs += 1;
        Ok(())
    }

    /// How a run is going to end by itself; `None`: not at all.
    pub fn fate(&self, rng: &mut Rng, calm: bool) -> Option<Outcome> {
        let fates = [
            Some(Outcome::Ok),
            Some(Outcome::Partial),
            Some(Outcome::Transient),
            Some(Outcome::Auth),
            Some(Outcome::Config),
            Some(Outcome::Locked),
            Some(Outcome::Interrupted),
            None,
        ];
        if calm { fates[0] } else { *rng.choose(&fates) }
    }

    /// A run is over; false if it was already.
    pub fn ends(&mut self, run: RunId) -> bool {
        self.running.take_if(|it| *it == run).is_some()
    }

    pub fn answered(&mut self, request: i64) -> Verdict {
        if self.due.remove(&request) {
            Ok(())
        } else {
            Err(format!("request {request} is answered again"))
        }
    }

    /// When all has come to rest.
    pub fn audit(&self) -> Verdict {
        match (self.running, self.due.is_empty(), self.wants_lock) {
            (None, true, false) => Ok(()),
            _ => Err(format!("what was asked for once is not over: {self:?}")),
        }
    }
}

impl World {
    /// The user wants a syncer run that is no account's.
    pub(super) fn ask_once(&mut self) -> Verdict {
        self.requests += 1;
        let syncer = self.setup.syncer();
        let folder = self.rng.once_in(2).then(|| *self.rng.choose(&FOLDERS));
        let request = self.requests;
        self.say(format_args!("once: {folder:?} is asked for, {request}"));
        let input = self.once.ask(syncer, folder, self.requests);
        self.handle(input)
    }

    pub(super) fn once_locks(&mut self) -> Verdict {
        let Some(id) = self.once.id.filter(|_| self.once.wants_lock) else {
            return Ok(());
        };
        let other = !self.calm && self.rng.once_in(4);
        self.once.has_lock(!other);
        let lock = if other {
            self.later(seconds(20), Happens::OnceLocks);
            Lock::Other(Some(77))
        } else {
            Lock::Ours
        };
        self.handle(Input::Locked(id, lock))
    }

    pub(super) fn once_starts(&mut self, run: RunId) -> Verdict {
        self.say(format_args!("once: run {}", run.0));
        self.once.starts(run)?;
        self.stats.once += 1;
        if let Some(outcome) = self.once.fate(&mut self.rng, self.calm) {
            self.later(self.setup.step * 4, Happens::OnceEnds(run, outcome));
        }
        Ok(())
    }

    pub(super) fn once_ends(&mut self, run: RunId, outcome: Outcome) -> Verdict {
        let Some(id) = self.once.id.filter(|_| self.once.ends(run)) else {
            return Ok(());
        };
        self.say(format_args!("once: run {} ends: {outcome:?}", run.0));
        for _ in 0..=u8::from(self.sabotage == Sabotage::Repeats) {
            let ended = Ended::never_began(outcome, String::new(), Memory::default());
            let ended = Box::new(ended);
            self.handle(Input::Ran(id, Event::Ended { run, ended }))?;
        }
        Ok(())
    }
}
