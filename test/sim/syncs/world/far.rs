//! The played watcher of the server: a program that tells, sometimes late, what happens there, and that
//! ends at any time.  What happens while nobody watches it does not tell.

use std::collections::BTreeMap;
use std::time::Duration;

use mailsync_module::change::Kinds;
use mailsync_module::engine::config::{RemoteConfig, RemoteId, RemoteStore};
use mailsync_module::engine::core::Input;
use mailsync_module::remote::attempts::Retry;
use mailsync_module::remote::heard::Heard;
use mailsync_module::remote::names::Naming;
use mailsync_module::remote::watcher::{How, Over, Program};
use mailsync_module::syncer::outcome::Exit;

use super::{Happens, World, seconds};
use crate::world::{Outcome as Verdict, ms};

/// The program that runs, as far as anybody knows.
#[derive(Debug, Default)]
pub(super) struct Watching {
    id: Option<RemoteId>,
    number: u64,
    lives: bool,
    watches: bool,
    /// It was told to end: what it says until then is nobody's, and another one says it anew.
    ended: bool,
    /// When it was started, and when it began to watch.
    started: Duration,
    since: Option<Duration>,
    /// So many have ended in a row, and the next one starts by then (I6).
    failures: u32,
    due: Option<Duration>,
}

/// What watched for so long went well.
const GOOD: Duration = Duration::from_secs(60);
/// One that does not watch after so long is ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// How late the next one may be.
const SLACK: Duration = Duration::from_millis(1_500);

impl World {
    pub(super) fn remote(&self) -> Vec<RemoteConfig> {
        let remote = RemoteConfig {
            store: RemoteStore::Program(Program {
                argv: vec!["watch".into()],
                search: Vec::new(),
                environment: Vec::new(),
                naming: Naming::default(),
            }),
            folders: Vec::new(),
            retry: Retry {
                inter: self.setup.timing.inter,
                max: self.setup.timing.max,
            },
        };
        let watched = self.setup.watched.then_some(remote);
        watched.into_iter().collect()
    }

    pub(super) fn connects(&mut self, id: RemoteId, number: u64) -> Verdict {
        let known = self.watching.id == Some(id);
        if known && self.watching.lives {
            return Err("two programs watch one store".to_owned());
        }
        if known && number <= self.watching.number {
            return Err("a program under an old number".to_owned());
        }
        self.say(format_args!("watcher {number} starts"));
        self.stats.connections += 1;
        self.watching = Watching {
            id: Some(id),
            number,
            lives: true,
            watches: false,
            ended: false,
            started: self.now,
            since: None,
            failures: if known { self.watching.failures } else { 0 },
            due: None,
        };
        // A server that was down often is down still.
        let fails = if self.watching.failures > 0 { 2 } else { 5 };
        if !self.calm && self.rng.once_in(fails) {
            self.later(seconds(3), Happens::HangsUp(number));
        } else {
            self.later(seconds(3), Happens::Watches(number));
        }
        Ok(())
    }

    pub(super) fn disconnects(&mut self, id: RemoteId) {
        if self.watching.id == Some(id) {
            let started = self.watching.started;
            if self.watching.since.is_none() && started + PATIENCE <= self.now {
                self.watching.failures += 1;
                self.watching.due = Some(self.now + self.far_wait());
            }
            self.watching.watches = false;
            self.watching.ended = true;
            self.later(seconds(3), Happens::HangsUp(self.watching.number));
        }
    }

    /// The program says that it watches from now on, or that anything may have happened.
    pub(super) fn watches(&mut self, number: u64) -> Verdict {
        if !self.watching.lives || self.watching.number != number {
            return Ok(());
        }
        if !self.watching.ended {
            self.watching.watches = true;
            self.watching.since.get_or_insert(self.now);
            self.rules.everything(self.now);
        }
        self.hears(number, None)
    }

    pub(super) fn hangs_up(&mut self, number: u64) -> Verdict {
        let Some(id) = self.watching.id else {
            return Ok(());
        };
        if !self.watching.lives || self.watching.number != number {
            return Ok(());
        }
        self.watching.lives = false;
        self.watching.watches = false;
        let code = *self.rng.choose(&[0, 1, 2, 255]);
        self.far_ends(code);
        self.say(format_args!("watcher {number} ends with {code}"));
        let over = Over {
            how: How::Exit(Exit::Code(code)),
            denied: false,
            said: String::new(),
        };
        self.handle(Input::HungUp(id, number, over))
    }

    /// The program has ended with this: the next one starts after a wait that doubles with each failure, and
    /// begins anew after a minute that went well.
    fn far_ends(&mut self, code: i32) {
        let soon = self.now + SLACK;
        let it = &mut self.watching;
        let due = if it.ended {
            it.due.map_or(soon, |due| due.max(soon))
        } else {
            if it.since.is_some_and(|since| since + GOOD <= self.now) {
                it.failures = 0;
            }
            it.failures += 1;
            if code == 2 && it.since.is_some() && it.failures == 1 {
                soon
            } else {
                self.now + self.far_wait()
            }
        };
        self.watching.due = Some(due);
    }

    /// The longest wait after so many failures.
    fn far_wait(&self) -> Duration {
        let first = self.setup.timing.inter.max(seconds(5));
        let most = self.setup.timing.max.max(seconds(1));
        let wait = first.saturating_mul(1 << (self.watching.failures - 1).min(20));
        let wait = wait.min(most);
        (wait + wait / 4).min(most) + SLACK
    }

    /// Whatever was waited for may be over: the next one starts at once.
    pub(super) fn far_hurries(&mut self) {
        self.watching.failures = 0;
        let soon = self.now + SLACK;
        self.watching.due = self.watching.due.map(|due| due.min(soon));
    }

    /// The store is watched again in time.
    pub(super) fn is_far_watched(&self) -> Verdict {
        let due = self.watching.due.filter(|_| !self.watching.lives);
        match due.filter(|due| *due < self.now) {
            Some(due) => Err(format!(
                "I6: after {} failures no watcher has started by {due:?}",
                self.watching.failures
            )),
            None => Ok(()),
        }
    }

    /// Something has happened in a folder there: who watches tells, some time.
    pub(super) fn far_happened(&mut self, folder: &'static str) {
        if self.watching.watches {
            let number = self.watching.number;
            let most = if self.rng.once_in(8) {
                seconds(20)
            } else {
                ms(500)
            };
            self.later(most, Happens::FarTells(number, folder));
        }
    }

    pub(super) fn far_tells(&mut self, number: u64, folder: &'static str) -> Verdict {
        if !self.watching.watches || self.watching.number != number {
            return Ok(());
        }
        self.stats.told_far += 1;
        self.rules.far_changed(self.now, folder);
        self.hears(number, Some(folder))
    }

    fn hears(&mut self, number: u64, folder: Option<&'static str>) -> Verdict {
        self.say(format_args!("watcher {number} tells of {folder:?}"));
        let kinds = *self.rng.choose(&[Kinds::UNKNOWN, Kinds::NEW, Kinds::FLAGS]);
        let changes = folder.iter().map(|it| (it.as_bytes().to_vec(), kinds));
        let heard = Heard {
            everything: folder.is_none(),
            changes: changes.collect::<BTreeMap<_, _>>(),
            ..Heard::default()
        };
        match self.watching.id {
            Some(id) => self.handle(Input::Heard(id, number, heard)),
            None => Ok(()),
        }
    }

    /// The program ends by itself, or has lost count.
    pub(super) fn far_fault(&mut self) -> Verdict {
        let number = self.watching.number;
        if self.watching.watches && self.rng.once_in(2) {
            return self.watches(number);
        }
        self.hangs_up(number)
    }

    /// Emacs is no more, and takes the program along.
    pub(super) fn forget_watcher(&mut self) {
        self.watching = Watching::default();
    }
}
