//! Going over to another configuration, by its difference to the present one.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::account::Account;
use super::root::Root;
use super::{Action, Core};
use crate::change::{AccountId, Change, Folder, Kinds};
use crate::coalesce::Coalesce;
use crate::engine::config::{AccountConfig, RootId};
use crate::notifier::Notifier;

impl<C: Coalesce> Core<C> {
    /// The number of the account with this name, which may be new.
    pub(super) fn account(&mut self, name: &str) -> AccountId {
        if let Some(known) = self.known(name) {
            return known;
        }
        // Runs of no account come by many names: their numbers are used again.
        let free = |id: &AccountId| {
            let account = &self.accounts[id.0];
            account.is_over() && !self.listed.contains(id) && !self.notifier.mentions(*id)
        };
        let mut old = (0..self.accounts.len()).map(AccountId);
        let id = old.find(free).unwrap_or(AccountId(self.accounts.len()));
        self.notifier.account(id, name.to_owned());
        let account = Account::new(name.to_owned());
        match self.accounts.get_mut(id.0) {
            Some(old) => *old = account,
            None => self.accounts.push(account),
        }
        id
    }

    /// The account with this name, if there ever was one.
    pub(super) fn known(&self, name: &str) -> Option<AccountId> {
        let at = self.accounts.iter().position(|it| it.name == name);
        at.map(AccountId)
    }

    /// The account with this name, or all that are configured.
    pub(super) fn named(&self, name: Option<&str>) -> Vec<AccountId> {
        match name {
            None => self.listed.clone(),
            Some(name) => self.known(name).into_iter().collect(),
        }
    }

    /// Go over to this configuration.  A root that stays as it was notices nothing.
    pub(super) fn configure(
        &mut self,
        now: Instant,
        accounts: Vec<AccountConfig>,
        actions: &mut Vec<Action>,
    ) {
        // Those of before are listed meanwhile, so that none of their numbers is given away.
        let before = self.listed.len();
        for config in &accounts {
            let id = self.account(&config.name);
            self.listed.push(id);
        }
        self.listed.drain(..before);
        for account in &mut self.accounts {
            account.roots.clear();
        }
        self.owed.clear();
        let mut old: Vec<RootId> = self.roots.keys().copied().collect();
        let mut new = Vec::new();
        let mut syncs = Vec::new();
        let mut remotes = Vec::new();
        for (id, config) in self.listed.iter().copied().zip(accounts) {
            syncs.push((id, config.sync));
            remotes.push((id, config.remotes));
            let account = &mut self.accounts[id.0];
            account.coalescer.retime(config.delays);
            account.quiet = config.quiet;
            for config in config.roots {
                let same = |it: &RootId| {
                    let root = &self.roots[it];
                    !root.closed && root.account == id && root.config == config
                };
                let at = old.iter().position(same);
                account.roots.push(match at {
                    Some(at) => old.remove(at),
                    None => {
                        let root = RootId(self.made);
                        self.made += 1;
                        new.push((root, id, config));
                        root
                    }
                });
            }
        }
        let old_accounts = old.iter().map(|id| self.roots[id].account);
        let changed: HashSet<AccountId> =
            (old_accounts.chain(new.iter().map(|(_, account, _)| *account))).collect();
        for id in old {
            self.retire(id, actions);
        }
        for account in &mut self.accounts {
            if account.roots.is_empty() {
                account.told = None;
            }
        }
        // The user has done something: what was refused may be had now.
        self.roots.values_mut().for_each(Root::retry);
        for (id, account, config) in new {
            actions.push(Action::Open(id, config.clone()));
            self.roots.insert(id, Root::new(account, config));
        }
        for (id, account) in self.accounts.iter().enumerate() {
            let once = account.syncs.as_ref().is_some_and(|syncs| syncs.once);
            if !self.listed.contains(&AccountId(id)) {
                remotes.push((AccountId(id), Vec::new()));
                if !once {
                    syncs.push((AccountId(id), None));
                }
            }
        }
        for (id, configs) in remotes {
            self.watch_remotes(now, id, configs, actions);
        }
        for (id, config) in syncs {
            let had = self.accounts[id.0].syncs.is_some();
            self.resync(now, id, config, actions);
            // What waited in a root that went, and what happens until another one is looked at for
            // the first time, nobody tells.
            if had
                && changed.contains(&id)
                && let Some(syncs) = &mut self.accounts[id.0].syncs
            {
                syncs.scheduler.want_everything(now, false);
            }
        }
    }

    /// Watch this root no longer.
    fn retire(&mut self, id: RootId, actions: &mut Vec<Action>) {
        let Some(root) = self.roots.remove(&id) else {
            return;
        };
        actions.push(Action::Close(id));
        // One that was deleted is in no list.
        let others: Vec<&Root> = self.roots.values().collect();
        let theirs = |real: &Path| others.iter().any(|it| it.folders.contains_key(real));
        let (account, within) = (root.account, root.real.as_deref());
        let its = |folder: &Folder| {
            folder.account == account
                && (root.folders.contains_key(&folder.real)
                    || within.is_some_and(|root| folder.real.starts_with(root))
                        && !theirs(&folder.real))
        };
        let account = &mut self.accounts[account.0];
        owe(&mut self.owed, account, &mut self.notifier, &its);
        if let Some(syncs) = &mut account.syncs {
            syncs.scheduler.forget(&its);
        }
        if let Some(real) = &root.real {
            self.unnest(id, real);
            self.settle_clashes(real);
        }
    }

    /// What is not told yet of these folders of an account is for another one to tell.
    pub(super) fn forget(&mut self, account: AccountId, these: &dyn Fn(&Folder) -> bool) {
        let these = |folder: &Folder| folder.account == account && these(folder);
        let account = &mut self.accounts[account.0];
        owe(&mut self.owed, account, &mut self.notifier, &these);
        if let Some(ledger) = &mut self.ledger {
            ledger.forget(&these);
        }
        if let Some(syncs) = &mut account.syncs {
            syncs.scheduler.forget(&these);
        }
    }
}

/// What waits to be told of these folders is for whoever has them next to tell.
fn owe<C: Coalesce>(
    owed: &mut HashMap<Arc<Path>, Kinds>,
    account: &mut Account<C>,
    notifier: &mut Notifier,
    these: &dyn Fn(&Folder) -> bool,
) {
    // Whether one exists is for the next one to say.
    let kinds = |it: &Change| (it.kinds - (Kinds::CREATED | Kinds::DELETED)) | Kinds::UNKNOWN;
    let pending = account.forget(these).into_iter();
    let pending = pending.chain(notifier.forget(these));
    owed.extend(pending.map(|it| (it.folder.real.clone(), kinds(&it))));
}
