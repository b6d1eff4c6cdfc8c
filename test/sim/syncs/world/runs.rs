//! The played syncer: its processes, how they go and end, and who has the lock.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use mailsync_module::engine::core::Input;
use mailsync_module::schedule::Lock;
use mailsync_module::syncer::{End, Ended, Event, Memory, Order, Outcome, Output, RunId, Scope};

use super::{FOLDERS, Happens, ID, PASSING, Sabotage, World, real, seconds};
use crate::syncs::mail::{Snapshot, Written};
use crate::world::{Outcome as Verdict, ms};

/// How a run is going to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Is(Outcome),
    /// It says nothing any more.
    Hangs,
}

/// A syncer's process.
pub(super) struct Process {
    run: RunId,
    pid: u32,
    all: bool,
    todo: Vec<&'static str>,
    seen: Option<(&'static str, Snapshot)>,
    failing: BTreeSet<String>,
    fate: Fate,
    /// Steps until its fate comes true, if that is no success.
    fuse: u64,
    began: bool,
    cut: Option<End>,
    /// The account it ran for is gone.
    pub(super) orphan: bool,
    written: Written,
}

impl World {
    pub(super) fn locks(&mut self) -> Verdict {
        if !self.wants_lock {
            return Ok(());
        }
        let others = self.other || self.processes.iter().any(|it| it.orphan);
        self.rules.locked = !others;
        self.rules.hindered(self.now);
        let lock = if others && self.sabotage != Sabotage::LockForAll {
            Lock::Other(Some(77))
        } else {
            Lock::Ours
        };
        self.say(format!("the lock: {lock:?}"));
        self.handle(Input::Locked(ID, lock))
    }

    pub(super) fn other_leaves(&mut self) -> Verdict {
        self.other = false;
        self.locks()
    }

    /// Another process syncs.
    pub(super) fn other_syncs(&mut self) {
        self.later(seconds(40), Happens::OtherSyncs);
        self.say("another process syncs");
        for folder in FOLDERS {
            let seen = self.mail.read(folder);
            let (happenings, _) = self.mail.sync(folder, &seen, 77, 100, false);
            happenings.into_iter().for_each(|it| self.put(it));
        }
    }

    pub(super) fn spawn(&mut self, order: &Order) -> Verdict {
        let (scope, names) = match &order.scope {
            Scope::Everything => (None, FOLDERS.iter().chain(&PASSING).copied().collect()),
            Scope::Folders(folders) => {
                let named =
                    |it: &&&str| folders.iter().any(|folder| *folder.name == *it.as_bytes());
                let names = FOLDERS.iter().chain(&PASSING).filter(named);
                let names: Vec<&'static str> = names.copied().collect();
                (Some(names.clone()), names)
            }
        };
        self.say(format!("run {} of {scope:?}", order.run.0));
        let all = scope.is_none();
        if !self.processes.is_empty() {
            return Err("I5: two processes at once".to_owned());
        }
        let scope = scope.map(|names| names.into_iter().map(ToOwned::to_owned).collect());
        self.rules.starts(self.now, order.run, scope)?;
        self.stats.runs += 1;
        let fate = match self.outage {
            _ if self.calm => Fate::Is(Outcome::Ok),
            Some(outcome) => Fate::Is(outcome),
            None if self.setup.fails > 0 && self.rng.once_in(self.setup.fails) => {
                *self.rng.choose(&[
                    Fate::Is(Outcome::Partial),
                    Fate::Is(Outcome::Partial),
                    Fate::Is(Outcome::Transient),
                    Fate::Is(Outcome::Transient),
                    Fate::Is(Outcome::Auth),
                    Fate::Is(Outcome::Config),
                    Fate::Is(Outcome::Locked),
                    Fate::Is(Outcome::Interrupted),
                    Fate::Hangs,
                ])
            }
            None => Fate::Is(Outcome::Ok),
        };
        let mut failing = BTreeSet::new();
        if fate == Fate::Is(Outcome::Partial) {
            failing.insert((*self.rng.choose(&names)).to_owned());
            failing
                .extend((names.iter().filter(|_| self.rng.once_in(3))).map(|it| (*it).to_owned()));
        }
        let mut todo = if self.setup.coarse {
            FOLDERS.iter().chain(&PASSING).copied().collect()
        } else {
            names.clone()
        };
        for last in (1..todo.len()).rev() {
            todo.swap(last, self.rng.index(last + 1));
        }
        self.pids += 1;
        self.processes.push(Process {
            run: order.run,
            pid: self.pids,
            all,
            todo,
            seen: None,
            failing,
            fate,
            fuse: self.rng.below(8),
            began: false,
            cut: None,
            orphan: false,
            written: Written::default(),
        });
        self.later(ms(200), Happens::Step(order.run));
        Ok(())
    }

    fn ran(&mut self, event: Event) -> Verdict {
        self.handle(Input::Ran(ID, event))
    }

    pub(super) fn step_of(&mut self, run: RunId) -> Verdict {
        let Some(at) = self.processes.iter().position(|it| it.run == run) else {
            return Ok(());
        };
        let process = &mut self.processes[at];
        let pid = process.pid;
        if !process.began {
            if let Fate::Is(outcome @ (Outcome::Config | Outcome::Locked)) = process.fate {
                return self.finish(run, outcome);
            }
            process.began = true;
            let orphan = process.orphan;
            self.later(self.setup.step, Happens::Step(run));
            if !orphan {
                self.ours = [Some(pid), self.ours[0]];
            }
            return self.ran(Event::Began { run, pid });
        }
        match process.fate {
            Fate::Is(Outcome::Ok | Outcome::Partial) => {}
            _ if process.fuse > 0 => process.fuse -= 1,
            Fate::Hangs => return Ok(()),
            Fate::Is(outcome) => return self.finish(run, outcome),
        }
        let Some((folder, seen)) = process.seen.take() else {
            let Some(folder) = process.todo.pop() else {
                return match process.fate {
                    Fate::Is(outcome) => self.finish(run, outcome),
                    Fate::Hangs => Ok(()),
                };
            };
            if process.all || self.setup.coarse {
                self.mail.sync_folder(folder);
            }
            process.seen = Some((folder, self.mail.read(folder)));
            self.later(self.setup.step, Happens::Step(run));
            return Ok(());
        };
        let most = if process.failing.contains(folder) {
            1
        } else {
            usize::MAX
        };
        let honest = process.fate != Fate::Is(Outcome::Auth) && self.sabotage != Sabotage::Lies;
        // Once, and then it is said so; a syncer that always lies has no cure.
        let may_lie = self.setup.lies && !self.calm && honest;
        let lies = may_lie && !self.lied.remove(folder) && self.rng.once_in(6);
        if lies {
            self.lied.insert(folder);
        }
        if honest && !lies {
            let refuses = self.setup.refuses;
            let (happenings, written) = self.mail.sync(folder, &seen, pid, most, refuses);
            process.written.fetched += written.fetched;
            process.written.sent += written.sent;
            process.written.unsigned += written.unsigned;
            happenings.into_iter().for_each(|it| self.put(it));
        }
        self.later(self.setup.step, Happens::Step(run));
        if self.rng.once_in(2) {
            return self.ran(Event::Sign { run });
        }
        Ok(())
    }

    /// The runner ends a run.
    pub(super) fn end_sync(&mut self, run: RunId, end: End) {
        if self.once.running == Some(run) {
            let outcome = match end {
                End::Timeout => Outcome::Timeout,
                _ => Outcome::Interrupted,
            };
            self.later(seconds(3), Happens::OnceEnds(run, outcome));
            return;
        }
        self.say(format!("run {} is to end: {end:?}", run.0));
        let process = self.processes.iter_mut().find(|it| it.run == run);
        if let Some(process) = process.filter(|it| it.cut.is_none()) {
            process.cut = Some(end);
            self.stats.ended += 1;
            self.later(seconds(3), Happens::Cut(run));
        }
    }

    pub(super) fn cut(&mut self, run: RunId) -> Verdict {
        let process = self.processes.iter().find(|it| it.run == run);
        match process.and_then(|it| it.cut) {
            None => Ok(()),
            Some(End::Timeout) => self.finish(run, Outcome::Timeout),
            Some(_) => self.finish(run, Outcome::Interrupted),
        }
    }

    fn finish(&mut self, run: RunId, outcome: Outcome) -> Verdict {
        let Some(at) = self.processes.iter().position(|it| it.run == run) else {
            return Ok(());
        };
        let process = self.processes.remove(at);
        let Written {
            fetched,
            sent,
            unsigned,
        } = process.written;
        self.say(format!(
            "run {} ends: {outcome:?} {:?}; {fetched} fetched, {sent} sent, {unsigned} flags",
            run.0, process.failing
        ));
        self.stats.fetched += fetched;
        self.stats.sent += sent;
        self.stats.unsigned += unsigned;
        match outcome {
            Outcome::Ok => {}
            Outcome::Partial => self.stats.partial += 1,
            _ => self.stats.failures += 1,
        }
        let failed = if outcome == Outcome::Partial {
            process.failing
        } else {
            BTreeSet::new()
        };
        let coarse = self.setup.coarse;
        if !process.orphan {
            let ours = matches!(process.cut, Some(End::Interrupt | End::Stop));
            self.rules.ended(self.now, outcome, &failed, coarse, ours);
        }
        let ended = Ended {
            outcome,
            exit: Some(i32::from(outcome != Outcome::Ok)),
            text: format!("{outcome:?}"),
            failed: failed.iter().map(|it| real(it).into()).collect(),
            everything: coarse,
            output: Output::default(),
            started: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            memory: Memory::default(),
        };
        let twice = self.sabotage == Sabotage::Repeats;
        for _ in 0..=u8::from(twice) {
            let ended = Box::new(ended.clone());
            self.ran(Event::Ended { run, ended })?;
        }
        if twice {
            let pid = process.pid;
            self.ran(Event::Sign { run })?;
            self.ran(Event::Began { run, pid })?;
        }
        if process.orphan {
            self.soon(ms(5), Happens::Locks);
        }
        Ok(())
    }
}
