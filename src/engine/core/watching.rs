//! What happens in the roots: from events and reports to changes of folders.
//!
//! A folder belongs to the innermost root that it is in; roots that nest or clash give up and take
//! over what is in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Core;
use super::account::Account;
use super::root::{Happened, Root};
use crate::change::{AccountId, Change, Folder, Kinds, Origins};
use crate::coalesce::Coalesce;
use crate::echo::Claims;
use crate::engine::config::RootId;
use crate::maildir::FoundFolder;
use crate::notifier::Notice;
use crate::watch::inbox::{Dirty, HALF_LIFE};
use crate::watch::job::{Depth, Report, Scanned};

impl<C: Coalesce> Core<C> {
    pub(super) fn dirty(&mut self, now: Instant, id: RootId, mut dirty: Dirty) {
        let Some(root) = self.roots.get_mut(&id).filter(|root| !root.closed) else {
            return;
        };
        if let Some(text) = dirty.failure {
            root.deaf(now);
            let text = format!("watching {}: {text}", root.config.directory.display());
            let level = "error";
            self.notifier.notice(Notice::Log { level, text });
        }
        if dirty.unsettled {
            root.next_take.get_or_insert(now + HALF_LIFE);
        }
        if dirty.overflow {
            root.want(Depth::Everything);
        }
        // Mail that others deliver is no sign of life of a syncer.
        let mut life = !dirty.places.is_empty();
        root.want_places(dirty.places);
        if root.clashing() {
            // The other one tells.
            return;
        }
        let account = &mut self.accounts[root.account.0];
        let believed = account.roots.len() == 1 && root.whole();
        // What is quiet since then is quiet since then, whenever this thread got to know it.
        let heard = dirty.heard.map_or(now, |heard| heard.min(now));
        for (directory, kinds) in dirty.messages {
            let claims = dirty.claims.remove(&directory);
            let claims = claims.unwrap_or_else(|| Claims::none(kinds));
            let (open, synced) = match &account.syncs {
                Some(syncs) => syncs.judge(&claims, believed),
                None => claims.judge(|_| false),
            };
            life |= synced || !believed || !(kinds - Kinds::NEW).is_empty();
            let happened = root.limbo.entry(directory).or_default();
            happened.kinds |= kinds;
            happened.seen.get_or_insert(heard);
            happened.open |= open;
            happened.news |= claims.news(kinds);
            happened.synced |= synced;
        }
        if let Some(syncs) = account.syncs.as_mut().filter(|_| life) {
            syncs.scheduler.sign(now, dirty.arrived);
        }
        self.explain(now, heard, id);
    }

    /// Find the folders of the directories in which something happened, of which was `heard` then.
    ///
    /// A directory without one was watched before its report is in, or has a stale name, or is
    /// a folder that is really called "new": after the next report we know, or the worker does.
    fn explain(&mut self, now: Instant, heard: Instant, id: RootId) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let Root { limbo, folders, .. } = root;
        let serial = &mut self.serial;
        limbo.retain(|directory, happened| {
            let folder = directory.parent().and_then(|real| folders.get(real));
            if let Some(folder) = folder {
                tell(&mut self.accounts, serial, (now, heard), folder, *happened);
            }
            folder.is_none()
        });
        root.settle_limbo();
    }

    pub(super) fn report(&mut self, now: Instant, id: RootId, report: Report) {
        let Some(root) = self.roots.get_mut(&id).filter(|root| !root.closed) else {
            return;
        };
        root.finished();
        match report {
            Report::Nothing => root.found_nothing(now),
            Report::Absent(absent) => root.absent(now, absent, self.mounts_are_told),
            Report::Scanned(scanned) => match self.taken(id, &scanned.real_root) {
                Some((other, text)) => self.clash(id, other, text, &scanned.real_root),
                None => self.scanned(now, id, scanned),
            },
        }
        self.explain(now, now, id);
    }

    /// Which root has this truename already, and why no other may have it.
    fn taken(&self, id: RootId, real: &Path) -> Option<(RootId, String)> {
        let mut others = self.roots.iter();
        let (taken, other) = others.find(|(other, root)| {
            **other != id && !root.closed && !root.waits() && root.real.as_deref() == Some(real)
        })?;
        let root = self.roots.get(&id)?;
        let text = format!(
            ":maildir {} is the same directory as {} of the account \"{}\": remove one of them \
             from mailsync-accounts",
            root.config.directory.display(),
            other.config.directory.display(),
            self.accounts[other.account.0].name
        );
        Some((*taken, text))
    }

    /// A root is where another one is, as far as is known: it has no folders until one of them is
    /// elsewhere.
    fn clash(&mut self, id: RootId, other: RootId, text: String, real: &Path) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let before = root.real.take();
        // The other one may have moved, and nobody has looked yet: links change places.
        if root.clash(text, real)
            && let Some(other) = self.roots.get_mut(&other)
        {
            other.want(Depth::Everything);
        }
        if let Some(before) = before {
            self.unnest(id, &before);
            self.settle_clashes(&before);
        }
    }

    /// No root is there any more: one that wanted to be there can.
    pub(super) fn settle_clashes(&mut self, real: &Path) {
        for root in self.roots.values_mut() {
            if root.clashes_at(real) {
                root.want_anew(real);
            }
        }
    }

    fn scanned(&mut self, now: Instant, id: RootId, mut scanned: Scanned) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let old = root.real.replace(scanned.real_root.clone());
        let first = old.is_none();
        if old.as_ref() != Some(&scanned.real_root) {
            let account = root.account;
            if let Some(syncs) = self.syncs(account) {
                syncs.moved = true;
            }
            self.nest(id, &scanned.real_root);
            if let Some(old) = &old {
                // The link at the root leads elsewhere now.
                self.unnest(id, old);
                self.settle_clashes(old);
            }
        }
        let mut others = self.inner(id);
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        // The next look finds these anew, and so could not say that one of them is gone.
        others.extend_from_slice(root.anew());
        let mine = |real: &Path| !others.iter().any(|other| real.starts_with(other));
        // Nobody has heard of these before.
        let mut by_anyone = |folder: &Arc<Folder>, kinds| {
            let (accounts, serial) = (&mut self.accounts, &mut self.serial);
            let happened = Happened::by_anyone(kinds);
            tell(accounts, serial, (now, now), folder, happened);
        };
        for real in scanned.deleted.iter().filter(|real| mine(real)) {
            if let Some(folder) = root.folders.remove(real) {
                by_anyone(&folder, Kinds::DELETED);
            }
        }
        root.scanned(now, &mut scanned, self.mounts_are_told);
        let created = scanned.created.iter().filter(|found| mine(&found.real));
        let created: Vec<_> = created
            .map(|found| Arc::new(folder(root.account, found)))
            .collect();
        // At once, so that the first ones fill the map's nodes.
        let entries = created.iter().map(|it| (it.real.clone(), it.clone()));
        root.folders.append(&mut entries.collect());
        for folder in &created {
            // What the first scan finds is no news; Lisp asks for a check of it all.
            let owed = self.owed.remove(&folder.real);
            let news = (!first).then_some(Kinds::CREATED | Kinds::NEW);
            let kinds = owed.into_iter().chain(news).reduce(Kinds::union);
            if let Some(kinds) = kinds {
                by_anyone(folder, kinds);
            }
        }
        for real in &scanned.changed {
            if let Some(folder) = root.folders.get(real) {
                by_anyone(folder, Kinds::UNKNOWN);
            }
        }
        if first {
            let account = root.account;
            let directory = root.config.directory.clone();
            self.notifier.notice(Notice::Ready { account, directory });
        }
    }

    /// Truenames of other roots inside this one: the longest root has a folder.
    pub(super) fn inner(&self, id: RootId) -> Vec<PathBuf> {
        let Some(mine) = self.roots.get(&id).and_then(|root| root.real.as_ref()) else {
            return Vec::new();
        };
        let others = self.roots.values().filter(|root| !root.closed);
        let reals = others.filter_map(|root| root.real.as_ref());
        let inner = reals.filter(|real| *real != mine && real.starts_with(mine));
        inner.cloned().collect()
    }

    /// A root has told its truename: roots around it give up what is inside, without a word.
    fn nest(&mut self, id: RootId, real: &Path) {
        let mut accounts = Vec::new();
        for root in self.around(id, real) {
            root.folders.retain(|folder, _| !folder.starts_with(real));
            root.want(Depth::Everything);
            accounts.push(root.account);
        }
        for account in accounts {
            self.forget(account, &|folder| folder.real.starts_with(real));
        }
    }

    /// What was a root's has gone over to others around it, who have to look at it now.
    pub(super) fn unnest(&mut self, id: RootId, real: &Path) {
        for root in self.around(id, real) {
            root.want_anew(real);
        }
    }

    /// The other roots in which this directory lies.
    fn around(&mut self, id: RootId, real: &Path) -> impl Iterator<Item = &mut Root> {
        let others = self
            .roots
            .iter_mut()
            .filter(move |(other, _)| **other != id);
        let open = others.map(|(_, root)| root).filter(|root| !root.closed);
        open.filter(move |root| {
            (root.real.as_ref()).is_some_and(|out| out != real && real.starts_with(out))
        })
    }

    /// Everything (of one account, of one root of it) may have changed.
    pub(super) fn doubt(&mut self, now: Instant, account: Option<&str>, directory: Option<&Path>) {
        for id in self.named(account) {
            let it = &self.accounts[id.0];
            if directory.is_none() && it.roots.is_empty() && !it.remotes.is_empty() {
                self.check_everything(now, id, Origins::REMOTE);
            }
        }
        for root in self.roots.values() {
            let wanted = account.is_none_or(|name| name == self.accounts[root.account.0].name)
                && directory.is_none_or(|directory| directory == root.config.directory);
            if wanted {
                for folder in root.folders.values() {
                    self.notifier.change(Change {
                        folder: folder.clone(),
                        kinds: Kinds::UNKNOWN,
                        origins: Origins::LOCAL,
                        serial: self.serial,
                        news: Kinds::UNKNOWN,
                        seen: Some(now),
                    });
                }
            }
        }
    }

    /// Have these roots looked at, those that were given up for a while included.
    pub(super) fn rouse(&mut self, depth: Depth, which: impl Fn(&Root) -> bool) {
        for root in self.roots.values_mut().filter(|root| which(root)) {
            root.rouse(depth);
        }
    }

    pub(super) fn worker_died(&mut self, id: RootId, text: &str) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let directory = root.config.directory.display();
        root.fail(format!(
            "internal error while looking at {directory}: {text}; M-x mailsync-restart starts it \
             again, please report this"
        ));
        if let Some(real) = root.real.take() {
            self.unnest(id, &real);
            self.settle_clashes(&real);
        }
    }
}

/// What a sync has written is told when it is over: the kernel has told of it by then, and who reads that is
/// hardly later.  What does come later is told once nothing has come for so long.
const LAST_OF_IT: Duration = Duration::from_millis(5);

/// Something happened in a folder: whoever wants to know of it does.
fn tell<C: Coalesce>(
    accounts: &mut [Account<C>],
    serial: &mut u64,
    (now, heard): (Instant, Instant),
    folder: &Arc<Folder>,
    happened: Happened,
) {
    let Some(account) = accounts.get_mut(folder.account.0) else {
        return;
    };
    let Happened {
        kinds,
        open,
        news,
        synced,
        seen,
    } = happened;
    if news.is_empty() && !account.quiet {
        return;
    }
    *serial += 1;
    let local = !synced || !open.is_empty();
    let mut change = Change {
        folder: folder.clone(),
        kinds,
        origins: Origins::empty(),
        serial: *serial,
        news,
        seen: seen.or(Some(now)),
    };
    change.origins.set(Origins::LOCAL, local);
    change.origins.set(Origins::SYNC, synced);
    if let Some(syncs) = account.syncs.as_mut().filter(|_| !open.is_empty()) {
        let open = Change {
            kinds: open,
            news: open,
            origins: Origins::LOCAL,
            ..change.clone()
        };
        syncs.scheduler.changed(now, &open);
    }
    account.coalescer.add(heard, change);
    if account.has_synced(now) {
        account
            .coalescer
            .hasten(now + LAST_OF_IT, Some(&folder.real));
    }
}

fn folder(account: AccountId, found: &FoundFolder) -> Folder {
    Folder {
        account,
        real: found.real.clone(),
        directory: found.directory.clone(),
        name: found.name.clone(),
    }
}
