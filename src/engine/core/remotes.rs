//! The remote stores of accounts: what their watchers tell, and who is to know of it.
//!
//! A change on the server asks for a sync of its folder, and what that writes is noticed as any change
//! is; an account without a syncer has it checked.  Where anything may have changed, everything is
//! synced, or checked.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::{Action, Core};
use crate::change::{AccountId, Change, Folder, Kinds, Origins};
use crate::coalesce::Coalesce;
use crate::engine::config::{RemoteConfig, RemoteId};
use crate::engine::status::RemoteStatus;
use crate::notifier::Notice;
use crate::remote::connection::Order;
use crate::remote::watcher::{Act, Event, Watcher};

/// Names of folders that are in no maildir of the account: beyond so many of them a watcher is not
/// believed, and each further one is everything.
const MOST_STRANGERS: usize = 4096;

/// Few names are looked for one by one.
const FEW: usize = 4;

/// A remote store.
pub(super) struct Remote {
    account: AccountId,
    config: RemoteConfig,
    machine: Watcher,
    strangers: HashSet<Arc<[u8]>>,
    /// State and text that Lisp was told last, and the next try, which is shown.
    told: Option<(&'static str, String, Option<Instant>)>,
    /// It was watched before.
    watched: bool,
}

impl Remote {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    pub(super) fn held(&self) -> usize {
        self.strangers.len()
    }

    /// Nothing was heard of it so far.
    pub(super) fn is_starting(&self) -> bool {
        !self.watched && self.machine.stand().state == "starting"
    }

    pub(super) fn untold(&mut self) {
        self.told = None;
    }

    /// How it is, with the command in short.
    pub(super) fn status(&self) -> RemoteStatus {
        RemoteStatus {
            what: self.config.program.called(),
            stand: self.machine.stand(),
        }
    }

    /// A folder that is in no maildir; none if there are too many of them.
    fn stranger(&mut self, name: &[u8]) -> Option<Arc<Folder>> {
        let name = match self.strangers.get(name) {
            Some(known) => known.clone(),
            None if self.strangers.len() >= MOST_STRANGERS => return None,
            None => {
                let name: Arc<[u8]> = name.into();
                self.strangers.insert(name.clone());
                name
            }
        };
        Some(Arc::new(Folder::by_name(self.account, name)))
    }
}

impl<C: Coalesce> Core<C> {
    /// Watch these stores of an account, and no others; one that stays as it was goes on.
    pub(super) fn watch_remotes(
        &mut self,
        now: Instant,
        id: AccountId,
        configs: Vec<RemoteConfig>,
        actions: &mut Vec<Action>,
    ) {
        let mut old = std::mem::take(&mut self.accounts[id.0].remotes);
        let mut kept = Vec::new();
        for config in configs {
            let same = |it: &RemoteId| {
                (self.remotes.get(it)).is_some_and(|it| it.config.program == config.program)
            };
            let remote = match old.iter().position(same) {
                Some(at) => old.remove(at),
                None => self.remote(now, id, config.clone()),
            };
            if let Some(it) = self.remotes.get_mut(&remote) {
                it.machine.retime(config.retry);
                it.config = config;
            }
            kept.push(remote);
        }
        self.accounts[id.0].remotes = kept;
        for remote in old {
            self.leave(id, remote, actions);
        }
    }

    fn remote(&mut self, now: Instant, account: AccountId, config: RemoteConfig) -> RemoteId {
        let id = RemoteId(self.remotes_made);
        self.remotes_made += 1;
        let seed = 0x9E37_79B9_7F4A_7C15 ^ (id.0 as u64).rotate_left(17);
        let remote = Remote {
            account,
            machine: Watcher::new(now, &config.program, config.retry, seed),
            config,
            strangers: HashSet::new(),
            told: None,
            watched: false,
        };
        self.remotes.insert(id, remote);
        id
    }

    fn leave(&mut self, account: AccountId, id: RemoteId, actions: &mut Vec<Action>) {
        if let Some(remote) = self.remotes.remove(&id) {
            if remote.machine.running().is_some() {
                actions.push(Action::Disconnect(id));
            }
            self.notifier.notice(Notice::Remote {
                account,
                remote: id,
                what: String::new(),
                state: "gone",
                text: String::new(),
            });
        }
    }

    /// Something happened to one store.
    pub(super) fn remote_event(
        &mut self,
        now: Instant,
        id: RemoteId,
        event: Event,
        actions: &mut Vec<Action>,
    ) {
        let Some(remote) = self.remotes.get_mut(&id) else {
            return;
        };
        let account = remote.account;
        for act in remote.machine.handle(now, event) {
            match act {
                Act::Start(number, dialect) => {
                    if let Some(remote) = self.remotes.get(&id) {
                        let program = remote.config.program.clone();
                        let name = &self.accounts[account.0].name;
                        let label = format!("{name}: {}", program.name());
                        let order = Order {
                            number,
                            label,
                            program,
                            dialect,
                        };
                        actions.push(Action::Connect(id, Box::new(order)));
                    }
                }
                Act::End(_) => actions.push(Action::Disconnect(id)),
                Act::Everything => {
                    if let Some(remote) = self.remotes.get_mut(&id) {
                        remote.watched = true;
                    }
                    self.everything_there(now, account);
                }
                Act::Changes(changes) => self.changed_there(now, id, changes),
            }
        }
    }

    /// The same for all stores, or those of one account.
    pub(super) fn each_remote(
        &mut self,
        now: Instant,
        of: Option<AccountId>,
        event: &Event,
        actions: &mut Vec<Action>,
    ) {
        let its = |remote: &Remote| of.is_none_or(|account| remote.account == account);
        let ids = self.remotes.iter().filter(|(_, remote)| its(remote));
        let ids: Vec<RemoteId> = ids.map(|(id, _)| *id).collect();
        for id in ids {
            self.remote_event(now, id, event.clone(), actions);
        }
    }

    /// Anything may have changed in a store of this account.
    fn everything_there(&mut self, now: Instant, id: AccountId) {
        match self.syncs(id) {
            Some(syncs) => syncs.scheduler.want_everything(now, false),
            None => self.check_everything(id, Origins::REMOTE),
        }
    }

    /// Have all folders of an account checked.
    pub(super) fn check_everything(&mut self, id: AccountId, origins: Origins) {
        let account = &self.accounts[id.0];
        if account.roots.is_empty() {
            // Which folders there are, only Gnus knows.
            let (account, directory) = (id, PathBuf::new());
            self.notifier.notice(Notice::Ready { account, directory });
            return;
        }
        let roots = (account.roots.iter()).filter_map(|id| self.roots.get(id));
        for folder in roots.flat_map(|root| root.folders.values()) {
            self.notifier.change(Change {
                folder: folder.clone(),
                kinds: Kinds::UNKNOWN,
                origins,
                serial: self.serial,
                quiet: false,
            });
        }
    }

    fn changed_there(&mut self, now: Instant, id: RemoteId, changes: HashMap<Vec<u8>, Kinds>) {
        let Some(account) = self.remotes.get(&id).map(|remote| remote.account) else {
            return;
        };
        let mut doubt = false;
        // In an order of their own, so that the same always comes to the same.
        let mut changes: Vec<_> = changes.into_iter().collect();
        changes.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut here = self.folders_called(account, &changes);
        for (name, kinds) in changes {
            let mut folders = here.remove(&name[..]).unwrap_or_default();
            if folders.is_empty() {
                let stranger = (self.remotes.get_mut(&id)).and_then(|it| it.stranger(&name));
                doubt |= stranger.is_none();
                folders.extend(stranger);
            }
            for folder in folders {
                self.serial += 1;
                let change = Change {
                    folder,
                    kinds,
                    origins: Origins::REMOTE,
                    serial: self.serial,
                    quiet: false,
                };
                let account = &mut self.accounts[account.0];
                match &mut account.syncs {
                    Some(syncs) => syncs.scheduler.changed(now, &change),
                    None => account.coalescer.add(now, change),
                }
            }
        }
        if doubt {
            self.everything_there(now, account);
        }
    }

    /// The folders of an account's maildirs with these names.  Two may have the same.
    fn folders_called(
        &self,
        id: AccountId,
        changes: &[(Vec<u8>, Kinds)],
    ) -> HashMap<Arc<[u8]>, Vec<Arc<Folder>>> {
        let wanted: HashSet<&[u8]> = changes.iter().map(|(name, _)| &name[..]).collect();
        let few = changes.len() <= FEW;
        let mut found: HashMap<Arc<[u8]>, Vec<Arc<Folder>>> = HashMap::new();
        for folder in self.roots_of(id).flat_map(|root| root.folders.values()) {
            let named = if few {
                changes.iter().any(|(name, _)| *name == *folder.name)
            } else {
                wanted.contains(&*folder.name)
            };
            if named {
                let folders = found.entry(folder.name.clone()).or_default();
                folders.push(folder.clone());
            }
        }
        found
    }

    /// What a sync has brought here where no maildir shows it, Gnus has to see.
    pub(super) fn check_synced(&mut self, now: Instant, id: AccountId, names: Vec<Arc<[u8]>>) {
        if names.is_empty() {
            self.check_everything(id, Origins::SYNC);
            return;
        }
        for name in names {
            self.serial += 1;
            let change = Change {
                folder: Arc::new(Folder::by_name(id, name)),
                kinds: Kinds::UNKNOWN,
                origins: Origins::SYNC,
                serial: self.serial,
                quiet: false,
            };
            self.accounts[id.0].coalescer.add(now, change);
        }
    }

    /// Tell Lisp how the stores are, where that is news.
    pub(super) fn tell_remotes(&mut self) {
        for (id, remote) in &mut self.remotes {
            let stand = remote.machine.stand();
            let now = (stand.state, stand.text, stand.next);
            if remote.told.as_ref() != Some(&now) {
                self.notifier.notice(Notice::Remote {
                    account: remote.account,
                    remote: *id,
                    what: remote.config.program.called(),
                    state: now.0,
                    text: now.1.clone(),
                });
                remote.told = Some(now);
            }
        }
    }

    /// The stores of an account, in its order.
    pub(super) fn remotes_of(&self, id: AccountId) -> impl Iterator<Item = &Remote> {
        let remotes = self.accounts[id.0].remotes.iter();
        remotes.filter_map(|id| self.remotes.get(id))
    }
}
