//! Which changes Lisp was told of and has not checked yet; pure.
//!
//! A change is passed on when Lisp's answer covers its serial number, whatever the answer is, as for a
//! sync.  One that is not answered in time is passed on all the same if Lisp has answered anything
//! since (it is slow there, but alive: whoever waits is not kept waiting for ever); if it has not, it
//! is silent, until it answers anything.  While it is silent nothing is passed on, since nobody
//! listens: programs watch by themselves then.  What is unanswered is kept for when it is back.
//!
//! A check may change folders: it splits the inbox, or moves what is new to where it is not.  So what
//! was checked is kept for a moment, and as long as such changes are on their way, so that all of it is
//! told at once, each folder once: whoever syncs then has one sync to do.
//!
//! At most two entries a folder.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Spot, Told};
use crate::change::{AccountId, Change, Folder, Kinds};

/// How long it takes until what a check has changed is noticed.
const SETTLES: Duration = Duration::from_millis(50);

/// What was checked is not kept for longer.
const MOST_KEPT: Duration = Duration::from_secs(2);

/// Changes of a folder that are answered, and not passed on yet.
struct Kept {
    account: AccountId,
    kinds: Kinds,
    /// When the first was answered, and when the last.
    first: Instant,
    last: Instant,
}

/// What the folders of an account that were checked wait for.
struct Limit {
    /// Changes that Lisp was not told of.
    busy: bool,
    /// When the newest change came that is not answered.
    newest: Option<Instant>,
    /// When the last answer came.
    last: Instant,
}

#[derive(Default)]
struct Limits(HashMap<AccountId, Limit>);

impl Limits {
    /// When a folder is passed on at the latest, as far as is known.
    fn until(&self, kept: &Kept) -> Instant {
        let most = kept.first + MOST_KEPT;
        let free = (self.0.get(&kept.account))
            .filter(|it| !it.busy && it.newest.is_none_or(|newest| newest < kept.first));
        free.map_or(most, |it| most.min(it.last + SETTLES))
    }
}

/// Changes of a folder that are not answered.
struct Entry {
    folder: Arc<Folder>,
    spot: Spot,
    kinds: Kinds,
    /// The numbers of the first and the last of them.
    serials: (u64, u64),
    /// When the first came, or the last answer that did not cover all.
    since: Instant,
}

/// The ledger.
pub struct Ledger {
    timeout: Duration,
    entries: HashMap<Arc<Path>, Entry>,
    kept: BTreeMap<Spot, Kept>,
    /// When Lisp answered last.
    answered: Option<Instant>,
    silent: bool,
    roots: Option<Vec<PathBuf>>,
    told: Vec<Told>,
}

impl Ledger {
    /// A ledger in which Lisp is silent when it has not answered for so long.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Ledger {
            timeout,
            entries: HashMap::new(),
            kept: BTreeMap::new(),
            answered: None,
            silent: false,
            roots: None,
            told: Vec::new(),
        }
    }

    /// Wait for so long from now on.
    pub fn retime(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// These maildirs are watched now.
    pub fn roots(&mut self, roots: Vec<PathBuf>) {
        if self.roots.as_ref() != Some(&roots) {
            self.told.push(Told::Roots(roots.clone()));
            self.roots = Some(roots);
        }
    }

    /// Lisp is being told of a change.
    pub fn change(&mut self, now: Instant, change: &Change, spot: Spot) {
        let serial = change.serial;
        let entry = self.entries.entry(change.folder.real.clone());
        let entry = entry.or_insert_with(|| Entry {
            folder: change.folder.clone(),
            spot: spot.clone(),
            kinds: Kinds::empty(),
            serials: (serial, serial),
            since: now,
        });
        entry.folder = change.folder.clone();
        entry.spot = spot;
        entry.kinds = entry.kinds.then(change.kinds);
        entry.serials.1 = entry.serials.1.max(serial);
    }

    /// Lisp has answered for a folder, as of this number.
    pub fn checked(&mut self, now: Instant, real: &Path, serial: u64) {
        self.answered = Some(now);
        if self.silent {
            self.silent = false;
            self.told.push(Told::Back);
            for entry in self.entries.values_mut() {
                entry.since = now;
            }
        }
        let Some(entry) = self.entries.get_mut(real) else {
            return;
        };
        if serial < entry.serials.0 {
            return;
        }
        let kept = self.kept.entry(entry.spot.clone()).or_insert(Kept {
            account: entry.folder.account,
            kinds: Kinds::empty(),
            first: now,
            last: now,
        });
        kept.kinds = kept.kinds.then(entry.kinds);
        kept.last = now;
        if serial >= entry.serials.1 {
            self.entries.remove(real);
        } else {
            entry.serials.0 = serial + 1;
            entry.since = now;
        }
    }

    /// Lisp answers for these accounts only, from now on.
    pub fn keep(&mut self, accounts: &[AccountId]) {
        self.forget(&|folder| !accounts.contains(&folder.account));
    }

    /// Nobody answers for these folders any more.
    pub fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) {
        self.entries.retain(|_, entry| !these(&entry.folder));
    }

    /// There is somebody new to be told, who knows nothing.
    pub fn repeat(&mut self) {
        self.told.clear();
        self.roots = None;
        if self.silent {
            self.told.push(Told::Silent);
        }
    }

    /// What is to be told now; Lisp was not told yet of changes in accounts that are `busy`.
    pub fn take(&mut self, now: Instant, busy: impl Fn(AccountId) -> bool) -> Vec<Told> {
        if !self.silent {
            self.expire(now);
        }
        loop {
            let limits = self.limits(&busy);
            let free = self.kept.iter();
            let free = free.filter(|(_, kept)| self.silent || limits.until(kept) <= now);
            let free: Vec<Spot> = free.map(|(spot, _)| spot.clone()).collect();
            if free.is_empty() {
                return std::mem::take(&mut self.told);
            }
            // Others may have waited for nothing but these.
            for spot in free {
                if let Some(kept) = self.kept.remove(&spot) {
                    self.told.push(Told::Change(spot, kept.kinds));
                }
            }
        }
    }

    fn limits(&self, busy: &impl Fn(AccountId) -> bool) -> Limits {
        let mut limits = Limits::default();
        if self.kept.is_empty() {
            return limits;
        }
        for kept in self.kept.values() {
            let limit = (limits.0).entry(kept.account).or_insert_with(|| Limit {
                busy: busy(kept.account),
                newest: None,
                last: kept.last,
            });
            limit.last = limit.last.max(kept.last);
        }
        for entry in self.entries.values() {
            if let Some(limit) = limits.0.get_mut(&entry.folder.account) {
                limit.newest = limit.newest.max(Some(entry.since));
            }
        }
        limits
    }

    fn expire(&mut self, now: Instant) {
        let timeout = self.timeout;
        let answered = self.answered;
        let overdue = |entry: &Entry| entry.since + timeout <= now;
        let alive = |entry: &Entry| answered.is_some_and(|at| at >= entry.since);
        if self.entries.values().any(|it| overdue(it) && !alive(it)) {
            self.silent = true;
            self.told.push(Told::Silent);
            return;
        }
        let late = self.entries.extract_if(|_, entry| overdue(entry));
        let late = late.map(|(_, entry)| Told::Change(entry.spot, entry.kinds));
        self.told.extend(late);
    }

    /// When to take again at the latest.
    #[must_use]
    pub fn deadline(&self, busy: impl Fn(AccountId) -> bool) -> Option<Instant> {
        if self.silent {
            return None;
        }
        let since = self.entries.values().map(|entry| entry.since).min();
        let limits = self.limits(&busy);
        let kept = self.kept.values().map(|kept| limits.until(kept)).min();
        let silent = since.map(|since| since + self.timeout);
        silent.into_iter().chain(kept).min()
    }

    /// Entries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() + self.kept.len()
    }

    /// Whether all is answered and passed on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing;

    /// What happens, at a millisecond; `Says`: what is told then, in short.
    enum Do {
        Change(&'static str, u64),
        Checked(&'static str, u64),
        Keep(&'static [usize]),
        /// Changes are on their way to Lisp, or not any more.
        Busy(bool),
        Says(&'static str),
    }

    fn short(told: Vec<Told>) -> String {
        let words = told.into_iter().map(|told| match told {
            Told::Change(spot, kinds) => {
                let letters = crate::frame::kind_letters(kinds);
                let letters = String::from_utf8(letters).unwrap();
                format!("{}:{letters}", String::from_utf8(spot.name).unwrap())
            }
            other => format!("{other:?}").to_lowercase(),
        });
        let mut words: Vec<String> = words.collect();
        // Of what comes at once, no order is promised.
        words.sort();
        words.join(" ")
    }

    #[test]
    fn a_change_waits_for_its_answer() {
        use Do::*;
        let table: Vec<(&str, Vec<(u64, Do)>)> = vec![
            (
                "an answer passes it on, a moment later",
                vec![
                    (0, Change("a", 1)),
                    (10, Says("")),
                    (20, Checked("a", 1)),
                    (69, Says("")),
                    (70, Says("a:n")),
                    (2000, Says("")),
                ],
            ),
            (
                "one a folder, with what its answer covers",
                vec![
                    (0, Change("a", 1)),
                    (0, Change("b", 2)),
                    (10, Change("a", 3)),
                    (20, Checked("a", 3)),
                    (70, Says("a:n")),
                    (80, Checked("b", 2)),
                    (130, Says("b:n")),
                ],
            ),
            (
                "what a check has changed goes along",
                vec![
                    (0, Change("inbox", 1)),
                    (10, Checked("inbox", 1)),
                    (20, Busy(true)),
                    (200, Says("")),
                    (220, Busy(false)),
                    (220, Change("inbox", 2)),
                    (220, Change("lists", 3)),
                    (300, Checked("inbox", 2)),
                    (400, Says("")),
                    (500, Checked("lists", 3)),
                    (549, Says("")),
                    (550, Says("inbox:n lists:n")),
                ],
            ),
            (
                "but not for ever",
                vec![
                    (0, Change("inbox", 1)),
                    (0, Checked("inbox", 1)),
                    (0, Busy(true)),
                    (1999, Says("")),
                    (2000, Says("inbox:n")),
                    (2000, Busy(false)),
                ],
            ),
            (
                "what has only waited for another goes along with it",
                vec![
                    (0, Busy(true)),
                    (0, Change("a", 1)),
                    (0, Checked("a", 1)),
                    (1000, Change("b", 2)),
                    (1000, Checked("b", 2)),
                    (1980, Change("a", 3)),
                    (1980, Checked("a", 3)),
                    (1990, Busy(false)),
                    (1990, Says("")),
                    (2000, Says("a:n b:n")),
                ],
            ),
            (
                "a check that was late before holds up nobody",
                vec![
                    (0, Change("a", 1)),
                    (10, Change("b", 2)),
                    (20, Checked("b", 2)),
                    (70, Says("b:n")),
                    (1000, Says("a:n")),
                ],
            ),
            (
                "an answer to the first of two is one, and there will be another",
                vec![
                    (0, Change("a", 1)),
                    (10, Change("a", 2)),
                    (900, Checked("a", 1)),
                    (1000, Says("")),
                    (1100, Checked("a", 2)),
                    (1150, Says("a:n")),
                    (9000, Says("")),
                ],
            ),
            (
                "an old answer is none, but a sign of life",
                vec![
                    (0, Change("a", 5)),
                    (10, Checked("a", 4)),
                    (10, Says("")),
                    (999, Says("")),
                    (1000, Says("a:n")),
                    (5000, Says("")),
                ],
            ),
            (
                "no answer to anything is silence; it is back with any answer",
                vec![
                    (0, Change("a", 1)),
                    (500, Change("b", 2)),
                    (999, Says("")),
                    (1000, Says("silent")),
                    (1500, Says("")),
                    (9000, Change("c", 3)),
                    (10_000, Checked("b", 2)),
                    (10_000, Says("back")),
                    (10_100, Checked("a", 1)),
                    (10_200, Says("a:n")),
                    // It is late with the third, but alive.
                    (11_000, Says("b:n c:n")),
                    (90_000, Says("")),
                ],
            ),
            (
                "it was idle before, which is no silence",
                vec![
                    (0, Change("a", 1)),
                    (0, Checked("a", 1)),
                    (50, Says("a:n")),
                    (60_000, Change("a", 2)),
                    (60_000, Says("")),
                    (61_000, Says("silent")),
                    (61_001, Checked("a", 2)),
                    (61_001, Says("back")),
                    (61_051, Says("a:n")),
                ],
            ),
            (
                "what was checked before the silence is told before it",
                vec![
                    (0, Change("a", 1)),
                    (100, Checked("a", 1)),
                    (101, Change("b", 2)),
                    (1101, Says("a:n silent")),
                    (1200, Checked("b", 2)),
                    (1250, Says("b:n back")),
                ],
            ),
            (
                "nobody answers for an account that was given up",
                vec![
                    (0, Change("a", 1)),
                    (10, Keep(&[0])),
                    (10, Says("")),
                    (20, Keep(&[1])),
                    (5000, Says("")),
                ],
            ),
        ];
        for (what, steps) in table {
            let start = Instant::now();
            let mut ledger = Ledger::new(Duration::from_secs(1));
            let mut busy = false;
            for (number, (ms, step)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_millis(ms);
                match step {
                    Change(name, serial) => {
                        let change = super::Change {
                            serial,
                            ..testing::change(name, Kinds::NEW)
                        };
                        let spot = Spot {
                            root: "/m".into(),
                            directory: "/m".into(),
                            name: name.into(),
                        };
                        ledger.change(now, &change, spot);
                    }
                    Checked(name, serial) => ledger.checked(now, Path::new(name), serial),
                    Keep(ids) => {
                        let ids: Vec<_> = ids.iter().map(|id| AccountId(*id)).collect();
                        ledger.keep(&ids);
                    }
                    Busy(flag) => busy = flag,
                    Says(expected) => {
                        let said = short(ledger.take(now, |_| busy));
                        assert_eq!(said, expected, "{what}, step {number}");
                        // It is never late itself.
                        let next = ledger.deadline(|_| busy);
                        assert!(next.is_none_or(|at| at > now), "{what}");
                    }
                }
            }
            assert!(ledger.is_empty(), "{what}");
        }
    }

    #[test]
    fn maildirs_are_told_when_they_change() {
        let now = Instant::now();
        let mut ledger = Ledger::new(Duration::from_secs(1));
        ledger.roots(Vec::new());
        ledger.roots(vec!["/a".into()]);
        ledger.roots(vec!["/a".into()]);
        let roots = |all: &[&str]| Told::Roots(all.iter().map(Into::into).collect());
        assert_eq!(ledger.take(now, |_| false), [roots(&[]), roots(&["/a"])]);
    }
}
