//! The remote stores of accounts: what their watchers tell, and who is to know of it.
//!
//! A change on the server asks for a sync of its folder, and what that writes is noticed as any change
//! is; an account without a syncer has it checked.  Where anything may have changed, everything is
//! synced, or checked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, Core};
use crate::change::{AccountId, Change, Folder, Kinds, Origins};
use crate::coalesce::Coalesce;
use crate::engine::config::{RemoteConfig, RemoteId, RemoteStore};
#[cfg(feature = "imap")]
use crate::engine::messages::Imap;
use crate::engine::status::RemoteStatus;
use crate::notifier::{GONE, Notice};
use crate::remote::attempts::{Retry, Stand};
use crate::remote::connection::Order;
#[cfg(feature = "imap")]
use crate::remote::imap::{
    keeper::{self, Keeper},
    line,
    session::Mode,
};
use crate::remote::watcher::{Act, Event, Watcher};

/// Names of folders that are in no maildir of the account: beyond so many of them a watcher is not
/// believed, and each further one is everything.
const MOST_STRANGERS: usize = 4096;

/// Few names are looked for one by one.
const FEW: usize = 4;

/// Where nothing is synced, everything is checked at most so often, whatever a server says.
const DOUBT_AT_MOST: Duration = Duration::from_secs(2);

/// What happens to all stores.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stir {
    /// The machine slept.
    Woke,
    /// An address or a route came or went.
    Network,
    /// The user wants it to go on, or has done something that may help.
    Resume,
    /// Only time has passed.
    Tick,
}

/// Who decides when a store is connected to.
enum Machine {
    Program(Box<Watcher>),
    #[cfg(feature = "imap")]
    Imap(Box<Keeper>),
}

impl Machine {
    fn new(now: Instant, config: &RemoteConfig, seed: u64) -> Self {
        match &config.store {
            RemoteStore::Program(program) => {
                let watcher = Watcher::new(now, program, config.retry, seed);
                Machine::Program(Box::new(watcher))
            }
            #[cfg(feature = "imap")]
            RemoteStore::Imap(_) => Machine::Imap(Box::new(Keeper::new(now, config.retry, seed))),
        }
    }

    fn retime(&mut self, retry: Retry) {
        match self {
            Machine::Program(it) => it.retime(retry),
            #[cfg(feature = "imap")]
            Machine::Imap(it) => it.retime(retry),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Machine::Program(it) => it.deadline(),
            #[cfg(feature = "imap")]
            Machine::Imap(it) => it.deadline(),
        }
    }

    fn stand(&self) -> Stand {
        match self {
            Machine::Program(it) => it.stand(),
            #[cfg(feature = "imap")]
            Machine::Imap(it) => it.stand(),
        }
    }

    /// How the server is watched, for the user.
    fn mode(&self) -> &'static str {
        match self {
            Machine::Program(_) => "",
            #[cfg(feature = "imap")]
            Machine::Imap(it) => it.mode().map_or("", |mode| mode.words()),
        }
    }

    /// Whether what it tells was merged already: a server with NOTIFY bundles what it tells.
    fn merges(&self) -> bool {
        match self {
            Machine::Program(_) => false,
            #[cfg(feature = "imap")]
            Machine::Imap(it) => it.mode() == Some(Mode::Notify),
        }
    }

    /// End the connection, if there is one.
    fn leave(&self, id: RemoteId) -> Option<Action> {
        match self {
            Machine::Program(it) => it.running().map(|_| Action::Disconnect(id)),
            #[cfg(feature = "imap")]
            Machine::Imap(it) => it.running().map(|_| Action::Imap(id, Imap::End)),
        }
    }
}

/// What is told of a store.
#[derive(PartialEq, Eq)]
struct Told {
    state: &'static str,
    what: String,
    text: String,
    /// The next try, which is shown.
    next: Option<Instant>,
}

/// A remote store.
pub(super) struct Remote {
    account: AccountId,
    config: RemoteConfig,
    machine: Machine,
    strangers: HashSet<Arc<[u8]>>,
    /// What Lisp was told last.
    told: Option<Told>,
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
            what: self.called(),
            stand: self.machine.stand(),
        }
    }

    fn called(&self) -> String {
        [&self.config.store.called(), self.machine.mode()].concat()
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
                (self.remotes.get(it)).is_some_and(|it| it.config.store == config.store)
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
            machine: Machine::new(now, &config, seed),
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
            actions.extend(remote.machine.leave(id));
            self.notifier.notice(Notice::Remote {
                account,
                remote: id,
                what: String::new(),
                state: GONE,
                text: String::new(),
            });
        }
    }

    /// Something happened to a store that a program watches.
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
        #[cfg_attr(not(feature = "imap"), allow(irrefutable_let_patterns))]
        let Machine::Program(machine) = &mut remote.machine else {
            return;
        };
        let account = remote.account;
        for act in machine.handle(now, event) {
            match act {
                Act::Start(number, dialect) => {
                    let store = self.remotes.get(&id).map(|it| it.config.store.clone());
                    if let Some(RemoteStore::Program(program)) = store {
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

    /// Something happened to a store whose server is asked.
    #[cfg(feature = "imap")]
    pub(super) fn imap_event(
        &mut self,
        now: Instant,
        id: RemoteId,
        event: keeper::Event,
        actions: &mut Vec<Action>,
    ) {
        let Some(remote) = self.remotes.get_mut(&id) else {
            return;
        };
        let (Machine::Imap(machine), RemoteStore::Imap(server)) =
            (&mut remote.machine, &remote.config.store)
        else {
            return;
        };
        let account = remote.account;
        let server = server.clone();
        let notified = machine.mode() == Some(Mode::Notify);
        let acts = machine.handle(now, event);
        remote.watched |= machine.mode().is_some();
        let caught_up = !notified && machine.mode() == Some(Mode::Notify);
        for act in acts {
            match act {
                keeper::Act::Start(number, snapshot) => {
                    let name = &self.accounts[account.0].name;
                    let order = line::Order {
                        number,
                        label: format!("{name}: {}", server.settings.host),
                        server: (*server).clone(),
                        snapshot,
                    };
                    actions.push(Action::Imap(id, Imap::Connect(Box::new(order))));
                }
                keeper::Act::End(_) => actions.push(Action::Imap(id, Imap::End)),
                keeper::Act::Poke(_) => actions.push(Action::Imap(id, Imap::Poke)),
                keeper::Act::Give(_, secret) => {
                    actions.push(Action::Imap(id, Imap::Give(secret)));
                }
                keeper::Act::Ask(number, anew) => self.notifier.notice(Notice::Secret {
                    account,
                    remote: id,
                    number,
                    host: server.settings.host.clone(),
                    port: server.settings.port,
                    user: String::from_utf8_lossy(&server.settings.user).into_owned(),
                    anew,
                }),
                keeper::Act::Everything => self.everything_there(now, account),
                keeper::Act::Changes(changes) => self.changed_there(now, id, changes),
            }
        }
        let account = &mut self.accounts[account.0];
        if caught_up && account.syncs.is_none() {
            // All that was missed has been told, and from now on the server merges: nothing is on its way.
            account.coalescer.hasten(now, None);
        }
    }

    /// Something happened to a store, of either kind.
    pub(super) fn stir(
        &mut self,
        now: Instant,
        id: RemoteId,
        stir: Stir,
        actions: &mut Vec<Action>,
    ) {
        match self.remotes.get(&id).map(|it| &it.machine) {
            Some(Machine::Program(_)) => {
                let event = match stir {
                    Stir::Woke => Event::Woke,
                    Stir::Network => Event::Network,
                    Stir::Resume => Event::Resume,
                    Stir::Tick => Event::Tick,
                };
                self.remote_event(now, id, event, actions);
            }
            #[cfg(feature = "imap")]
            Some(Machine::Imap(_)) => {
                let event = match stir {
                    Stir::Woke => keeper::Event::Woke,
                    Stir::Network => keeper::Event::Network,
                    Stir::Resume => keeper::Event::Resume,
                    Stir::Tick => keeper::Event::Tick,
                };
                self.imap_event(now, id, event, actions);
            }
            None => {}
        }
    }

    /// The same for all stores, or those of one account.
    pub(super) fn each_remote(
        &mut self,
        now: Instant,
        of: Option<AccountId>,
        stir: Stir,
        actions: &mut Vec<Action>,
    ) {
        let its = |remote: &Remote| of.is_none_or(|account| remote.account == account);
        let ids = self.remotes.iter().filter(|(_, remote)| its(remote));
        let ids: Vec<RemoteId> = ids.map(|(id, _)| *id).collect();
        for id in ids {
            self.stir(now, id, stir, actions);
        }
    }

    /// Anything may have changed in a store of this account.
    fn everything_there(&mut self, now: Instant, id: AccountId) {
        match self.syncs(id) {
            Some(syncs) => syncs.scheduler.want_everything(now, false),
            None => {
                let account = &mut self.accounts[id.0];
                let soon = account
                    .doubted
                    .map_or(now, |at| now.max(at + DOUBT_AT_MOST));
                account.doubt.get_or_insert(soon);
            }
        }
    }

    /// Have everything checked of which nobody knows what has changed there.
    pub(super) fn check_doubts(&mut self, now: Instant) {
        for id in (0..self.accounts.len()).map(AccountId) {
            let account = &mut self.accounts[id.0];
            if account.doubt.take_if(|at| *at <= now).is_some() {
                account.doubted = Some(now);
                self.check_everything(now, id, Origins::REMOTE);
            }
        }
    }

    /// Have all folders of an account checked.
    pub(super) fn check_everything(&mut self, now: Instant, id: AccountId, origins: Origins) {
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
                news: Kinds::UNKNOWN,
                seen: Some(now),
            });
        }
    }

    fn changed_there(&mut self, now: Instant, id: RemoteId, changes: BTreeMap<Vec<u8>, Kinds>) {
        let Some(remote) = self.remotes.get(&id) else {
            return;
        };
        let (account, wanted) = (remote.account, &remote.config.folders);
        let merged = remote.machine.merges();
        let matches = |name: &[u8]| wanted.iter().any(|glob| glob.matches(name));
        let mut doubt = false;
        // In an order of their own, so that the same always comes to the same.
        let mut changes: Vec<_> = (changes.into_iter())
            .filter(|(name, _)| wanted.is_empty() || matches(name))
            .collect();
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
                    news: kinds,
                    seen: Some(now),
                };
                let account = &mut self.accounts[account.0];
                match &mut account.syncs {
                    Some(syncs) => syncs.scheduler.changed(now, &change),
                    None => {
                        let real = change.folder.real.clone();
                        account.coalescer.add(now, change);
                        if merged {
                            account.coalescer.hasten(now, Some(&real));
                        }
                    }
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
            self.check_everything(now, id, Origins::SYNC);
            return;
        }
        for name in names {
            self.serial += 1;
            let change = Change {
                folder: Arc::new(Folder::by_name(id, name)),
                kinds: Kinds::UNKNOWN,
                origins: Origins::SYNC,
                serial: self.serial,
                news: Kinds::UNKNOWN,
                seen: Some(now),
            };
            self.accounts[id.0].coalescer.add(now, change);
        }
    }

    /// Tell Lisp how the stores are, where that is news.
    pub(super) fn tell_remotes(&mut self) {
        for (id, remote) in &mut self.remotes {
            let stand = remote.machine.stand();
            let now = Told {
                state: stand.state,
                what: remote.called(),
                text: stand.text,
                next: stand.next,
            };
            if remote.told.as_ref() != Some(&now) {
                self.notifier.notice(Notice::Remote {
                    account: remote.account,
                    remote: *id,
                    what: now.what.clone(),
                    state: now.state,
                    text: now.text.clone(),
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
