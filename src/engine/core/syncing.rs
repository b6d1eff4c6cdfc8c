//! Having accounts synced: wishes and configurations for their schedulers, and what these want done.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::Syncs;
use super::remotes::Remote;
use super::root::{Phase, Root};
use super::{Action, Core};
use crate::change::{AccountId, Folder};
use crate::coalesce::Coalesce;
use crate::engine::config::SyncConfig;
use crate::notifier::Notice;
use crate::schedule::{Act, Look};
use crate::syncer::lock::Key;
use crate::syncer::unpushed::Unpushed;
use crate::syncer::{End, Event, RunId, Scope};

/// The first sync waits so long at most for the account's servers to be watched.
const CONNECTING: Duration = Duration::from_secs(5);

impl<C: Coalesce> Core<C> {
    pub(super) fn each_syncs(&mut self, act: impl Fn(&mut Syncs)) {
        let accounts = self.accounts.iter_mut();
        accounts.filter_map(|it| it.syncs.as_mut()).for_each(act);
    }

    /// Have an account synced from now on as is configured, or not at all.
    pub(super) fn resync(
        &mut self,
        now: Instant,
        id: AccountId,
        config: Option<SyncConfig>,
        actions: &mut Vec<Action>,
    ) {
        let key = self.key(id);
        // What happens there until it is watched nobody tells: one sync for both.
        let begin = if self.remotes_of(id).any(Remote::is_starting) {
            now + CONNECTING
        } else {
            now
        };
        let account = &mut self.accounts[id.0];
        match (&mut account.syncs, config) {
            (Some(syncs), Some(config)) => {
                syncs.once = false;
                actions.extend(syncs.reconfigure(now, config));
                actions.extend(syncs.relock(key));
            }
            (None, Some(config)) => {
                account.syncs = Some(Syncs::new(id, key.clone(), config));
                actions.push(Action::SeekLock(id, key));
            }
            (Some(syncs), None) => {
                // Its end will interest nobody; the lock lasts until then.
                if let Some(run) = syncs.abandon(&mut self.notifier) {
                    actions.push(Action::EndSync(run, End::Stop));
                }
                account.syncs = None;
                actions.push(Action::DropLock(id));
            }
            (None, None) => {}
        }
        if let Some(syncs) = &mut account.syncs {
            syncs.scheduler.begin(begin);
        }
    }

    /// What the lock of an account is of.
    fn key(&self, id: AccountId) -> Key {
        if self.accounts[id.0].roots.is_empty() {
            return Key::Name(self.accounts[id.0].name.clone());
        }
        let spelled = self.roots_of(id).map(|root| root.config.directory.clone());
        let real = self.roots_of(id).filter_map(|root| root.real.clone());
        Key::Maildirs(spelled.chain(real).collect())
    }

    /// Have a syncer that is no account's ready to be asked.
    pub(super) fn run_once(
        &mut self,
        now: Instant,
        id: AccountId,
        config: SyncConfig,
        actions: &mut Vec<Action>,
    ) {
        if self.listed.contains(&id) {
            // An account of that name: it is the account's syncer that is asked.
            return;
        }
        self.resync(now, id, Some(config), actions);
        if let Some(syncs) = &mut self.accounts[id.0].syncs {
            syncs.once = true;
        }
    }

    /// The user wants this synced now.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        id: AccountId,
        names: Option<&[Vec<u8>]>,
        request: i64,
    ) {
        let folders = names.map(|names| {
            let known = |name: &[u8]| {
                let roots = self.roots_of(id);
                let folders = roots.flat_map(|root| root.folders.values());
                let mut found: Vec<_> = folders.filter(|it| *it.name == *name).cloned().collect();
                if found.is_empty()
                    && let Some(syncs) = &self.accounts[id.0].syncs
                {
                    // One that was deleted is still waited for: a run that names it would bring
                    // it back.
                    found = syncs.scheduler.called(name);
                }
                if found.is_empty() {
                    found.push(Arc::new(Folder::by_name(id, name.into())));
                }
                found
            };
            names.iter().flat_map(|name| known(name)).collect()
        });
        if let Some(syncs) = &mut self.accounts[id.0].syncs {
            syncs.scheduler.asked(now, folders, request);
        }
    }

    /// Do what a scheduler wants.
    pub(super) fn act(&mut self, id: AccountId, act: Act) -> Option<Action> {
        let roots = self.roots_of(id).map(|root| root.config.directory.clone());
        let roots: Vec<PathBuf> = roots.collect();
        let all = match act {
            Act::Look(_, Scope::Everything) => {
                let folders = self.roots_of(id).flat_map(|root| root.folders.values());
                folders.cloned().collect()
            }
            _ => Vec::new(),
        };
        let account = &mut self.accounts[id.0];
        let syncs = account.syncs.as_mut()?;
        syncs.act(act, &account.name, &roots, all, &mut self.notifier)
    }

    /// What folders differ from their servers in.
    pub(super) fn looked(
        &mut self,
        now: Instant,
        id: AccountId,
        look: Look,
        found: &[(Arc<Folder>, Unpushed)],
    ) -> Option<Action> {
        let act = self.syncs(id)?.scheduler.looked(now, look, found)?;
        self.act(id, act)
    }

    /// Whatever is to be synced now.
    pub(super) fn sync(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for id in (0..self.accounts.len()).map(AccountId) {
            let Some(syncs) = self.syncs(id) else {
                continue;
            };
            if std::mem::take(&mut syncs.moved) {
                let key = self.key(id);
                actions.extend(self.syncs(id).and_then(|syncs| syncs.relock(key)));
            }
            if let Some(syncs) = self.syncs(id)
                && std::mem::take(&mut syncs.robbed)
            {
                let key = syncs.seek_again();
                actions.extend([Action::DropLock(id), Action::SeekLock(id, key)]);
            }
            let away = |root: &Root| matches!(root.phase(), Phase::Starting | Phase::Waiting);
            let ready = !self.roots_of(id).any(away);
            let runs = &mut self.runs;
            let mut next_run = || {
                *runs += 1;
                RunId(*runs)
            };
            let Some(syncs) = &mut self.accounts[id.0].syncs else {
                continue;
            };
            syncs.scheduler.ready(ready);
            for act in syncs.scheduler.tick(now, &mut next_run) {
                actions.extend(self.act(id, act));
            }
            let account = &mut self.accounts[id.0];
            if let Some(syncs) = &mut account.syncs {
                syncs.answer_the_rest(&mut self.notifier);
                if syncs.once {
                    if syncs.scheduler.is_idle() {
                        account.syncs = None;
                        actions.push(Action::DropLock(id));
                    }
                } else {
                    syncs.tell(now, &mut self.notifier);
                }
            }
        }
    }

    /// The syncs of an account, if it has a syncer.
    pub(super) fn syncs(&mut self, id: AccountId) -> Option<&mut Syncs> {
        self.accounts.get_mut(id.0)?.syncs.as_mut()
    }

    pub(super) fn ran(&mut self, now: Instant, id: AccountId, event: Event) {
        let Some(account) = self.accounts.get_mut(id.0) else {
            return;
        };
        if let Event::Said { text, .. } = &event {
            let text = format!("account {}: {text}", account.name);
            let level = "warning";
            self.notifier.notice(Notice::Log { level, text });
        }
        let alone = account.roots.is_empty() && !account.remotes.is_empty();
        let ended = matches!(event, Event::Ended { .. });
        let syncs = account.syncs.as_mut();
        let synced = syncs.and_then(|syncs| syncs.ran(now, event, &mut self.notifier));
        if ended && !account.is_syncing() {
            account.ended = Some(now);
            account.coalescer.hasten(now, None);
        }
        if let Some(names) = synced.filter(|_| alone) {
            self.check_synced(now, id, names);
        }
    }
}
