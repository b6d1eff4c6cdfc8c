//! The played syncer: its processes, how they begin and end, and who has the lock.  What they do
//! in between, [`super::steps`] knows.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use mailsync_module::engine::core::Input;
use mailsync_module::schedule::Lock;
use mailsync_module::syncer::{End, Ended, Event, Memory, Order, Outcome, Output, RunId, Scope};

use super::steps::Site;
use super::{FOLDERS, Happens, ID, Sabotage, World, all_folders, real, seconds};
use crate::syncs::mail::{Part, Written};
use crate::world::{Outcome as Verdict, ms};

/// How a run is going to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Is(Outcome),
    /// It says nothing any more.
    Hangs,
}

/// Whose a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    /// The account that it ran for is gone.
    Orphan,
    /// An Emacs's that is no more.
    Left,
    /// The user has started it in a shell, and asks nobody.
    Users,
}

/// A syncer's process.
pub(super) struct Process {
    pub(super) run: RunId,
    pub(super) pid: u32,
    pub(super) all: bool,
    pub(super) todo: Vec<&'static str>,
    /// Where it is at work.
    pub(super) site: Option<Site>,
    pub(super) failing: BTreeSet<String>,
    pub(super) fate: Fate,
    /// Steps until its fate comes true, if that is no success.
    pub(super) fuse: u64,
    pub(super) began: bool,
    cut: Option<End>,
    pub(super) whose: Whose,
    pub(super) written: Written,
}

impl Process {
    fn new(run: RunId, pid: u32, todo: Vec<&'static str>, fate: Fate) -> Self {
        Process {
            run,
            pid,
            all: false,
            todo,
            site: None,
            failing: BTreeSet::new(),
            fate,
            fuse: 0,
            began: false,
            cut: None,
            whose: Whose::Ours,
            written: Written::default(),
        }
    }

    /// Nobody else may sync while it has the lock.
    fn is_left(&self) -> bool {
        matches!(self.whose, Whose::Orphan | Whose::Left)
    }
}

impl World {
    pub(super) fn locks(&mut self) -> Verdict {
        if !self.wants_lock {
            return Ok(());
        }
        let others = self.other || self.processes.iter().any(Process::is_left);
        self.rules.locked = !others;
        self.rules.hindered(self.now);
        let lock = if others && self.sabotage != Sabotage::LockForAll {
            Lock::Other(Some(77))
        } else {
            Lock::Ours
        };
        self.say(format_args!("the lock: {lock:?}"));
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
            let part = Part {
                most: 100,
                ..Part::ALL
            };
            self.mail.open(folder);
            let (happenings, ..) = self.mail.sync(folder, &seen, 77, part, false);
            self.mail.close(folder);
            happenings.into_iter().for_each(|it| self.put(it));
        }
    }

    pub(super) fn spawn(&mut self, order: &Order) -> Verdict {
        let (scope, names) = match &order.scope {
            Scope::Everything => (None, all_folders().collect()),
            Scope::Folders(folders) => {
                let ordered =
                    |it: &&str| folders.iter().any(|folder| *folder.name == *it.as_bytes());
                let names: Vec<&'static str> = all_folders().filter(ordered).collect();
                (Some(names.clone()), names)
            }
        };
        self.say(format_args!("run {} of {scope:?}", order.run.0));
        let all = scope.is_none();
        let by_hand = |it: &Process| it.whose == Whose::Users;
        if !self.processes.iter().all(by_hand) {
            return Err("I5: two processes at once".to_owned());
        }
        let scope = scope.map(|names| names.into_iter().map(ToOwned::to_owned).collect());
        self.rules.starts(self.now, order.run, scope)?;
        self.stats.runs += 1;
        let mut fate = match self.outage {
            _ if !self.processes.is_empty() => Fate::Is(Outcome::Locked),
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
        let broken = |it: &&&str| self.broken.contains(**it);
        let broken = names.iter().filter(broken).map(|it| (*it).to_owned());
        let broken: Vec<String> = broken.collect();
        if let Fate::Is(Outcome::Ok | Outcome::Partial) = fate
            && !broken.is_empty()
        {
            fate = Fate::Is(Outcome::Partial);
            failing.extend(broken);
        }
        let mut todo = if self.setup.coarse {
            all_folders().collect()
        } else {
            names.clone()
        };
        for last in (1..todo.len()).rev() {
            todo.swap(last, self.rng.index(last + 1));
        }
        self.pids += 1;
        self.processes.push(Process {
            all,
            failing,
            fuse: self.rng.below(12),
            ..Process::new(order.run, self.pids, todo, fate)
        });
        self.later(ms(200), Happens::Step(self.pids));
        self.may_waver(&names);
        if self.setup.teases && self.setup.timing.at_start && self.rng.once_in(40) {
            self.later(self.setup.step * 6, Happens::Crashes);
        }
        Ok(())
    }

    /// A run of ours is under way.
    pub(super) fn is_syncing(&self) -> bool {
        self.processes.iter().any(|it| it.whose == Whose::Ours)
    }

    /// The user runs the syncer in a shell.
    pub(super) fn sync_by_hand(&mut self) {
        if self.other || !self.processes.is_empty() {
            return;
        }
        self.pids += 1;
        let mut todo: Vec<&'static str> = (0..3).map(|_| *self.rng.choose(&FOLDERS)).collect();
        let touched: Vec<&'static str> = self.touched.keys().copied().collect();
        let teases = self.setup.teases && !touched.is_empty();
        if teases {
            todo = vec![*self.rng.choose(&touched)];
        }
        self.say(format_args!("the user syncs {todo:?} by hand"));
        let fate = if self.rng.once_in(2) {
            Fate::Is(Outcome::Interrupted)
        } else {
            Fate::Is(Outcome::Ok)
        };
        self.processes.push(Process {
            fuse: self.rng.below(if teases { 4 } else { 12 }),
            began: true,
            whose: Whose::Users,
            ..Process::new(RunId(0), self.pids, todo.clone(), fate)
        });
        self.later(self.setup.step, Happens::Step(self.pids));
        if teases {
            // What it has pushed is taken back, and its record does not know of that.
            let touch = self.touched.get(todo[0]).cloned();
            if let Some(touch) = touch {
                self.later(self.setup.step * 4, Happens::Undoes(touch));
            }
        } else {
            self.may_waver(&todo);
        }
    }

    /// The account is no more: nobody waits for its processes.
    pub(super) fn leave_processes(&mut self, whose: Whose) {
        let theirs = |it: &&mut Process| it.whose != Whose::Users;
        for process in self.processes.iter_mut().filter(theirs) {
            process.whose = whose;
        }
        self.ours = [None; 2];
    }

    /// Emacs is no more: its processes are told to end, or go on as they would.
    pub(super) fn survive_emacs(&mut self) {
        self.leave_processes(Whose::Left);
        let left = (self.processes.iter()).position(|it| it.whose == Whose::Left);
        if let Some(at) = left {
            let hangs = self.processes[at].fate == Fate::Hangs;
            if hangs || self.rng.once_in(2) {
                self.processes[at].cut = Some(End::Stop);
                self.later(seconds(3), Happens::Cut(self.processes[at].pid));
            }
        }
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
        self.say(format_args!("run {} is to end: {end:?}", run.0));
        let known = |it: &&mut Process| {
            it.run == run && matches!(it.whose, Whose::Ours | Whose::Orphan) && it.cut.is_none()
        };
        if let Some(process) = self.processes.iter_mut().find(known) {
            process.cut = Some(end);
            let pid = process.pid;
            if process.whose == Whose::Ours {
                self.rules.is_cut();
            }
            self.stats.ended += 1;
            self.later(seconds(3), Happens::Cut(pid));
        }
    }

    /// The machine slept: servers have forgotten our runs, which do not know.
    pub(super) fn connections_die(&mut self) {
        let ours = |it: &&mut Process| it.whose == Whose::Ours && it.began;
        if let Some(process) = self.processes.iter_mut().find(ours)
            && self.rng.once_in(2)
        {
            (process.fate, process.fuse) = (Fate::Hangs, 0);
        }
    }

    pub(super) fn cut(&mut self, pid: u32) -> Verdict {
        let process = self.processes.iter().find(|it| it.pid == pid);
        match process.and_then(|it| it.cut) {
            None => Ok(()),
            Some(End::Timeout) => self.finish(pid, Outcome::Timeout),
            Some(_) => self.finish(pid, Outcome::Interrupted),
        }
    }

    pub(super) fn finish(&mut self, pid: u32, outcome: Outcome) -> Verdict {
        // The engine looks into the inbox before it heeds the end, and most of it is there by then.
        if self.taking && !self.rng.once_in(4) {
            self.take()?;
        }
        let Some(at) = self.processes.iter().position(|it| it.pid == pid) else {
            return Ok(());
        };
        let process = self.processes.remove(at);
        let run = process.run;
        if process.site.is_some() {
            self.stats.torn += 1;
        }
        let Written {
            fetched,
            sent,
            unsigned,
        } = process.written;
        self.say(format_args!(
            "run {} ends: {outcome:?} {:?}; {fetched} fetched, {sent} sent, {unsigned} flags",
            run.0, process.failing
        ));
        self.stats.fetched += fetched;
        self.stats.sent += sent;
        self.stats.unsigned += unsigned;
        if process.whose == Whose::Users {
            return Ok(());
        }
        match outcome {
            Outcome::Ok => {}
            Outcome::Partial => self.stats.partial += 1,
            _ => self.stats.failures += 1,
        }
        let whose = process.whose;
        let left = process.is_left();
        let failed = if outcome == Outcome::Partial {
            process.failing
        } else {
            BTreeSet::new()
        };
        let coarse = self.setup.coarse;
        if whose == Whose::Ours {
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
        if left {
            self.soon(ms(5), Happens::Locks);
        }
        if whose == Whose::Left {
            return Ok(());
        }
        let twice = self.sabotage == Sabotage::Repeats;
        for _ in 0..=u8::from(twice) {
            let ended = Box::new(ended.clone());
            self.ran(Event::Ended { run, ended })?;
        }
        if twice {
            self.ran(Event::Sign { run })?;
            self.ran(Event::Began { run, pid })?;
        }
        Ok(())
    }
}
