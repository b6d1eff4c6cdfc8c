//! The vocabulary that every room shares: folders, and what happened in them.
//!
//! Pure data.  How a change is found is `watch`'s business, when it is told is `coalesce`'s and
//! `notifier`'s.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bitflags::bitflags;

bitflags! {
    /// What happened in a folder; the kinds of several changes are united.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Kinds: u8 {
        /// A message appeared in `new/` or `cur/`.
        const NEW = 1;
        /// A message was renamed inside `cur/`, or from `new/` to `cur/`.
        const FLAGS = 1 << 1;
        /// A message vanished.
        const GONE = 1 << 2;
        /// The folder came into being.
        const CREATED = 1 << 3;
        /// The folder ceased to exist.
        const DELETED = 1 << 4;
        /// Anything may have changed (overflow, rescan, a watcher that gives no detail).
        const UNKNOWN = 1 << 5;
    }
}

impl Kinds {
    /// These kinds followed in time by `later`.
    ///
    /// A folder that was created and deleted in one window (in whichever order) is what it was
    /// last, plus `UNKNOWN`: what happened in between can no longer be told.
    #[must_use]
    pub fn then(self, later: Kinds) -> Kinds {
        let last = Kinds::CREATED | Kinds::DELETED;
        let mut both = self | later;
        if both.contains(last) {
            let keep = if later.intersects(last) { later } else { self } & last;
            both = (both - last) | keep | Kinds::UNKNOWN;
        }
        both
    }
}

bitflags! {
    /// Who made a change; the origins of several changes are united.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Origins: u8 {
        /// The user's mail reader or an MDA; also whatever cannot be told.
        const LOCAL = 1;
        /// The account's own syncer (only where that is proven).
        const SYNC = 1 << 1;
        /// The remote store.
        const REMOTE = 1 << 2;
    }
}

/// A number for an account, counted over all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub usize);

/// A folder of a local store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Folder {
    /// The account it belongs to.
    pub account: AccountId,
    /// Its directory with every symbolic link resolved: the folder's identity.
    pub real: Arc<Path>,
    /// Its directory below the root as the user spells that.
    pub directory: Arc<Path>,
    /// Its canonical name: Unicode with `/` between levels, `INBOX` for the inbox; bytes that
    /// are not UTF-8 are kept.  Never contains NUL.
    pub name: Arc<[u8]>,
}

impl Folder {
    /// A folder that nobody watches, known by its canonical name alone.
    #[must_use]
    pub fn by_name(account: AccountId, name: Arc<[u8]>) -> Self {
        Folder {
            account,
            // Relative, and so no folder's truename.
            real: Path::new(OsStr::from_bytes(&name)).into(),
            directory: Path::new("").into(),
            name,
        }
    }
}

/// Something happened in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub folder: Arc<Folder>,
    /// What.
    pub kinds: Kinds,
    /// By whom.
    pub origins: Origins,
    /// Counts all changes, so that an answer can say which ones it covers.
    pub serial: u64,
    /// Which of the kinds are news to whoever syncs with this store: the others say no more than that
    /// a reader has looked, and no flag is another one.
    pub news: Kinds,
    /// When the first of it was noticed, for the user.
    pub seen: Option<Instant>,
}

impl Change {
    /// Nothing of it is news to whoever syncs with this store.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.news.is_empty()
    }

    /// Merge a later change of the same folder into this one.
    pub fn absorb(&mut self, later: Change) {
        self.kinds = self.kinds.then(later.kinds);
        self.origins |= later.origins;
        self.serial = self.serial.max(later.serial);
        self.news = self.news.then(later.news);
        self.seen = [self.seen, later.seen].into_iter().flatten().min();
        self.folder = later.folder;
    }
}

/// What the tests of several modules make changes with.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A local change of a folder whose names are all `name`.
    pub(crate) fn change(name: &str, kinds: Kinds) -> Change {
        Change {
            folder: Arc::new(Folder {
                account: AccountId(0),
                real: Path::new(name).into(),
                directory: Path::new(name).into(),
                name: name.as_bytes().into(),
            }),
            kinds,
            origins: Origins::LOCAL,
            serial: 0,
            news: kinds,
            seen: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_merged_was_seen_when_the_first_of_it_was() {
        let start = Instant::now();
        let (early, late) = (Some(start), Some(start + Duration::from_millis(1)));
        let table = [
            (early, late, early),
            (late, early, early),
            (None, late, late),
            (early, None, early),
            (None, None, None),
        ];
        for (first, second, expected) in table {
            let made = |seen| Change {
                seen,
                ..testing::change("a", Kinds::NEW)
            };
            let mut merged = made(first);
            merged.absorb(made(second));
            assert_eq!(merged.seen, expected, "{first:?} and {second:?}");
        }
    }

    #[test]
    fn kinds_follow_each_other() {
        let table = [
            (Kinds::NEW, Kinds::FLAGS, Kinds::NEW | Kinds::FLAGS),
            (Kinds::CREATED, Kinds::NEW, Kinds::CREATED | Kinds::NEW),
            (
                Kinds::CREATED,
                Kinds::DELETED,
                Kinds::DELETED | Kinds::UNKNOWN,
            ),
            (
                Kinds::DELETED,
                Kinds::CREATED | Kinds::NEW,
                Kinds::CREATED | Kinds::NEW | Kinds::UNKNOWN,
            ),
            (
                Kinds::DELETED | Kinds::UNKNOWN,
                Kinds::GONE,
                Kinds::DELETED | Kinds::UNKNOWN | Kinds::GONE,
            ),
        ];
        for (first, later, expected) in table {
            assert_eq!(first.then(later), expected, "{first:?} then {later:?}");
        }
    }
}
