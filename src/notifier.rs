//! What still has to be told to Lisp, and when the next frame may go.
//!
//! A pure machine.  At most one frame is in flight, small enough to fit into an empty pipe, so
//! writing it never waits; everything else stays merged here, one entry a folder and one a
//! notice's key, until Lisp has acknowledged.  Writing the bytes is the engine's business, their
//! form is `frame`'s.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::change::{AccountId, Change, Folder};
use crate::engine::config::RemoteId;
use crate::frame::{Payload, Synced};

/// A message to Lisp other than a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The state of an account; the last one stands for all.
    State {
        /// Whose.
        account: AccountId,
        /// `starting`, `watching`, `waiting` or `error`.
        state: &'static str,
        /// What a user should know, and do.
        text: String,
    },
    /// A root was scanned for the first time: what happens from now on is noticed.  Without a
    /// directory: anything may have changed in an account without roots.
    Ready {
        /// Whose.
        account: AccountId,
        /// The root as the user spells it.
        directory: PathBuf,
    },
    /// How an account's syncs stand; the last one stands for all.
    Sync {
        /// Whose.
        account: AccountId,
        /// `idle`, `pending`, `running`, `failing`, `paused` or `elsewhere`.
        phase: &'static str,
        /// No other run starts.
        paused: bool,
        /// Folders that wait; `None`: everything.
        pending: Option<usize>,
        /// Messages that came since the run began.
        progress: u64,
        /// What a user should know.
        text: String,
    },
    /// A run begins; the last one stands for all.
    Syncing {
        /// Whose.
        account: AccountId,
        /// Its number.
        run: u64,
        /// How many folders it covers; 0: everything.
        total: usize,
        /// Their names, as many as fit.
        names: Vec<Arc<[u8]>>,
    },
    /// Lisp is to say how to run a syncer.
    Plan {
        /// Whose.
        account: AccountId,
        /// For which run.
        run: u64,
        /// For which folders; none: everything.
        names: Vec<Arc<[u8]>>,
    },
    /// A run has ended.
    Synced {
        /// Whose.
        account: AccountId,
        /// Its number.
        run: u64,
        /// What became of it.
        result: Box<Synced>,
    },
    /// How a remote store is being watched; the last one stands for all.
    Remote {
        /// Whose.
        account: AccountId,
        /// Its number.
        remote: RemoteId,
        /// What watches it.
        what: String,
        /// `starting`, `connected`, `waiting`, `paused`, or `gone` from the configuration.
        state: &'static str,
        /// What a user should know, and do.
        text: String,
    },
    /// A line for the log; equal lines that are still unsent are one.
    Log {
        /// `info`, `warning` or `error`.
        level: &'static str,
        /// The line.
        text: String,
    },
    /// One part of the answer to a request to resolve file names.
    Resolved {
        /// What the request is about; a later answer replaces an earlier one.
        slot: String,
        /// Its number, given by Lisp.
        request: i64,
        /// Which part (from 0), of how many.
        part: (usize, usize),
        /// Names with their truenames.
        pairs: Vec<(PathBuf, PathBuf)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum NoticeKey {
    State(AccountId),
    Ready(AccountId, PathBuf),
    Sync(AccountId),
    Syncing(AccountId),
    Plan(AccountId),
    Synced(AccountId, u64),
    Remote(RemoteId),
    Log(String),
    Resolved(String, usize),
}

impl Notice {
    fn account(&self) -> Option<AccountId> {
        match self {
            Notice::State { account, .. }
            | Notice::Ready { account, .. }
            | Notice::Sync { account, .. }
            | Notice::Syncing { account, .. }
            | Notice::Plan { account, .. }
            | Notice::Remote { account, .. }
            | Notice::Synced { account, .. } => Some(*account),
            Notice::Log { .. } | Notice::Resolved { .. } => None,
        }
    }

    fn key(&self) -> NoticeKey {
        match self {
            Notice::State { account, .. } => NoticeKey::State(*account),
            Notice::Ready { account, directory } => NoticeKey::Ready(*account, directory.clone()),
            Notice::Sync { account, .. } => NoticeKey::Sync(*account),
            Notice::Syncing { account, .. } => NoticeKey::Syncing(*account),
            Notice::Plan { account, .. } => NoticeKey::Plan(*account),
            Notice::Synced { account, run, .. } => NoticeKey::Synced(*account, *run),
            Notice::Remote { remote, .. } => NoticeKey::Remote(*remote),
            Notice::Log { text, .. } => NoticeKey::Log(text.clone()),
            Notice::Resolved { slot, part, .. } => NoticeKey::Resolved(slot.clone(), part.0),
        }
    }
}

/// Lines of the log that may wait at most: the log is a convenience, memory is not.
const MOST_LOG_LINES: usize = 200;

/// Results of runs of one account that may wait at most; a later one then stands for the first,
/// and answers its requests.
const MOST_RESULTS: usize = 8;

/// First come, first served, one entry a key; a merged entry keeps its place.
struct Queue<K, V> {
    order: BTreeMap<i64, K>,
    entries: HashMap<K, (i64, V)>,
    first: i64,
    next: i64,
}

impl<K: Clone + Eq + Hash, V> Queue<K, V> {
    fn new() -> Self {
        Queue {
            order: BTreeMap::new(),
            entries: HashMap::new(),
            first: 0,
            next: 0,
        }
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    fn insert(&mut self, key: K, value: V) {
        match self.entries.get_mut(&key) {
            Some((_, old)) => *old = value,
            None => {
                self.order.insert(self.next, key.clone());
                self.entries.insert(key, (self.next, value));
                self.next += 1;
            }
        }
    }

    /// Before all others; it is not there yet.
    fn insert_first(&mut self, key: K, value: V) {
        self.first -= 1;
        self.order.insert(self.first, key.clone());
        self.entries.insert(key, (self.first, value));
    }

    fn first(&self) -> Option<&V> {
        let (_, key) = self.order.first_key_value()?;
        self.entries.get(key).map(|(_, value)| value)
    }

    fn pop(&mut self) -> Option<V> {
        let (_, key) = self.order.pop_first()?;
        self.entries.remove(&key).map(|(_, value)| value)
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let (place, value) = self.entries.remove(key)?;
        self.order.remove(&place);
        Some(value)
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
        self.order.retain(|_, key| keep(key));
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }
}

/// Whose folder, and which one: by its name alone, two accounts may have the same.
type Place = (AccountId, Arc<Path>);

fn place(folder: &Folder) -> Place {
    (folder.account, folder.real.clone())
}

struct Flight {
    sequence: u64,
    changes: Vec<Change>,
    notices: Vec<Notice>,
}

/// The notifier.
pub struct Notifier {
    accounts: Vec<String>,
    generation: i64,
    sequence: u64,
    limit: usize,
    attached: bool,
    changes: Queue<Place, Change>,
    notices: Queue<NoticeKey, Notice>,
    flight: Option<Flight>,
}

impl Default for Notifier {
    /// A notifier without a pipe and without accounts.
    fn default() -> Self {
        Notifier {
            accounts: Vec::new(),
            generation: 0,
            sequence: 0,
            limit: 0,
            attached: false,
            changes: Queue::new(),
            notices: Queue::new(),
            flight: None,
        }
    }
}

impl Notifier {
    /// A new, empty pipe that takes `limit` bytes without waiting.
    ///
    /// What was in flight in an older one may never have been read: it waits again.
    pub fn attach(&mut self, generation: i64, limit: usize) {
        self.recall();
        self.generation = generation;
        self.sequence = 0;
        self.limit = limit;
        self.attached = true;
    }

    /// The pipe is gone; everything stays merged until there is another.
    pub fn detach(&mut self) {
        self.recall();
        self.attached = false;
    }

    fn recall(&mut self) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        for mut change in flight.changes {
            if let Some(later) = self.changes.remove(&place(&change.folder)) {
                change.absorb(later);
            }
            self.changes.insert(place(&change.folder), change);
        }
        // Before what came later.
        for notice in flight.notices.into_iter().rev() {
            if self.notices.get_mut(&notice.key()).is_none() {
                self.notices.insert_first(notice.key(), notice);
            }
        }
    }

    /// A change that is due.
    pub fn change(&mut self, change: Change) {
        match self.changes.get_mut(&place(&change.folder)) {
            Some(waiting) => waiting.absorb(change),
            None => self.changes.insert(place(&change.folder), change),
        }
    }

    /// An account is called so: a new one, or one whose number had been another's.
    pub fn account(&mut self, account: AccountId, name: String) {
        match self.accounts.get_mut(account.0) {
            Some(old) => *old = name,
            None => self.accounts.push(name),
        }
    }

    /// Whether anything about an account waits to be told, or is being told.
    #[must_use]
    pub fn mentions(&self, account: AccountId) -> bool {
        let flight = self.flight.iter();
        let mut notices = (self.notices.values())
            .chain(flight.clone().flat_map(|flight| &flight.notices))
            .filter_map(Notice::account);
        let mut changes = (self.changes.values()).chain(flight.flat_map(|flight| &flight.changes));
        notices.any(|it| it == account) || changes.any(|it| it.folder.account == account)
    }

    /// Give back what waits to be told of these folders, or is being told.
    pub fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) -> Vec<Change> {
        let gone: Vec<Place> = (self.changes.entries.iter())
            .filter(|(_, (_, change))| these(&change.folder))
            .map(|(place, _)| place.clone())
            .collect();
        let changes = gone.iter().filter_map(|place| self.changes.remove(place));
        let mut forgotten: Vec<Change> = changes.collect();
        // Should the pipe break, it shall not come back.
        if let Some(flight) = &mut self.flight {
            let gone = flight
                .changes
                .extract_if(.., |change| these(&change.folder));
            forgotten.extend(gone);
        }
        forgotten
    }

    /// Another message; it replaces an unsent one with its key.
    pub fn notice(&mut self, notice: Notice) {
        if let Notice::Resolved { slot, part, .. } = &notice
            && part.0 == 0
        {
            self.notices
                .retain(|key| !matches!(key, NoticeKey::Resolved(old, _) if old == slot));
        }
        if matches!(notice, Notice::Log { .. }) {
            let lines = |key: &&NoticeKey| matches!(key, NoticeKey::Log(_));
            if self.notices.entries.keys().filter(lines).count() >= MOST_LOG_LINES {
                return;
            }
        }
        if matches!(notice, Notice::Syncing { .. } | Notice::Plan { .. }) {
            // Not before what came between the two runs.
            self.notices.remove(&notice.key());
        }
        let notice = self.bounded(notice);
        self.notices.insert(notice.key(), notice);
    }

    /// Have the result of a run stand for the oldest one of its account, if too many wait.
    fn bounded(&mut self, notice: Notice) -> Notice {
        let Notice::Synced {
            account,
            run,
            mut result,
        } = notice
        else {
            return notice;
        };
        let runs = self.notices.entries.keys().filter_map(|key| match key {
            NoticeKey::Synced(its, run) if *its == account => Some(*run),
            _ => None,
        });
        let runs: Vec<u64> = runs.collect();
        let oldest = runs.iter().min().filter(|_| runs.len() >= MOST_RESULTS);
        let oldest = oldest.map(|run| NoticeKey::Synced(account, *run));
        if let Some(Notice::Synced { result: old, .. }) =
            oldest.and_then(|key| self.notices.remove(&key))
        {
            result.requests.splice(0..0, old.requests);
        }
        Notice::Synced {
            account,
            run,
            result,
        }
    }

    /// Lisp has read the frame; true when it was the one in flight.
    pub fn acknowledge(&mut self, generation: i64, sequence: u64) -> bool {
        let ours = generation == self.generation
            && (self.flight.as_ref()).is_some_and(|flight| flight.sequence == sequence);
        if ours {
            self.flight = None;
        }
        ours
    }

    /// The next frame to write, if one may go now.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        if !self.attached || self.flight.is_some() {
            return None;
        }
        let mut payload = Payload::new();
        let mut flight = Flight {
            sequence: self.sequence + 1,
            changes: Vec::new(),
            notices: Vec::new(),
        };
        // States first: they are few, and explain the changes that follow.
        while let Some(notice) = self.notices.first() {
            if !fill(&mut payload, self.limit, self.record(notice)) {
                break;
            }
            flight.notices.extend(self.notices.pop());
        }
        while let Some(change) = self.changes.first() {
            let mut record = Payload::new();
            record.change(self.name(change.folder.account), change);
            if !fill(&mut payload, self.limit, record) {
                break;
            }
            flight.changes.extend(self.changes.pop());
        }
        if payload.is_empty() {
            return None;
        }
        self.sequence = flight.sequence;
        self.flight = Some(flight);
        Some(payload.frame(self.generation, self.sequence))
    }

    fn name(&self, account: AccountId) -> &str {
        self.accounts.get(account.0).map_or("", String::as_str)
    }

    fn record(&self, notice: &Notice) -> Payload {
        let mut record = Payload::new();
        match notice {
            Notice::State {
                account,
                state,
                text,
            } => record.state(self.name(*account), state, text),
            Notice::Ready { account, directory } => record.ready(self.name(*account), directory),
            Notice::Sync {
                account,
                phase,
                paused,
                pending,
                progress,
                text,
            } => {
                let account = self.name(*account);
                record.sync(account, phase, *paused, *pending, *progress, text);
            }
            Notice::Syncing {
                account,
                run,
                total,
                names,
            } => record.syncing(self.name(*account), *run, *total, names),
            Notice::Plan {
                account,
                run,
                names,
            } => record.plan(self.name(*account), *run, names),
            Notice::Synced {
                account,
                run,
                result,
            } => record.synced(self.name(*account), *run, result),
            Notice::Remote {
                account,
                remote,
                what,
                state,
                text,
            } => record.remote(self.name(*account), remote.0, what, state, text),
            Notice::Log { level, text } => record.log(level, text),
            Notice::Resolved {
                slot,
                request,
                part,
                pairs,
            } => {
                let pairs = pairs.iter();
                let pairs = pairs.map(|(name, real)| (name.as_path(), real.as_path()));
                record.resolved(slot, *request, *part, pairs);
            }
        }
        record
    }

    /// Folders of the account that are queued or in flight.
    pub fn pending(&self, account: AccountId) -> usize {
        let flying = self.flight.iter().flat_map(|flight| &flight.changes);
        (self.changes.values())
            .chain(flying)
            .filter(|change| change.folder.account == account)
            .count()
    }

    /// Whether a frame waits for its acknowledgement.
    pub fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// Folders and notices held, for the bound on memory.
    pub fn len(&self) -> usize {
        let flying = (self.flight.as_ref()).map_or(0, |f| f.changes.len() + f.notices.len());
        self.changes.len() + self.notices.len() + flying
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Append the record unless it would burst the frame.  The first record always goes in: a frame
/// that stays empty for ever would hold up all behind it.
fn fill(payload: &mut Payload, limit: usize, record: Payload) -> bool {
    let fits = payload.is_empty() || payload.len() + record.len() <= limit;
    if fits {
        payload.append(record);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Kinds;
    use crate::change::testing::change;

    fn log(text: &str) -> Notice {
        let (level, text) = ("info", text.to_owned());
        Notice::Log { level, text }
    }

    fn resolved(slot: &str, request: i64, part: usize, parts: usize) -> Notice {
        Notice::Resolved {
            slot: slot.to_owned(),
            request,
            part: (part, parts),
            pairs: Vec::new(),
        }
    }

    /// What is done to a notifier, and `Frame`: the frame that comes now, as "generation.sequence"
    /// and its records in short ("-": none).
    enum Do {
        Change(&'static str, Kinds),
        Tell(Notice),
        Attach(i64, usize),
        Detach,
        Acknowledge(i64, u64, bool),
        Frame(&'static str),
    }

    /// The records in short: a change is "folder:kinds", a notice its first fields.
    fn short(frame: Option<Vec<u8>>) -> String {
        let Some(frame) = frame else {
            return "-".to_owned();
        };
        let text = String::from_utf8(frame).unwrap();
        let (header, payload) = text.split_once('\n').unwrap();
        let header: Vec<&str> = header.split(' ').collect();
        assert_eq!(header[4], (payload.len() - 1).to_string());
        let mut words = vec![format!("{}.{}", header[2], header[3])];
        let mut fields = payload.trim_end_matches('\n').split_terminator('\0');
        while let Some(record) = fields.next() {
            let mut take = |count| (0..count).map(|_| fields.next().unwrap()).collect();
            let fields: Vec<&str> = match record {
                "change" => take(7),
                "state" => take(3),
                "log" | "ready" => take(2),
                "resolved" => take(5),
                other => panic!("a record {other}"),
            };
            words.push(match record {
                "change" => format!("{}:{}", fields[1], fields[4]),
                "resolved" => format!("{}#{}.{}", fields[0], fields[1], fields[2]),
                _ => fields[1].to_owned(),
            });
        }
        words.join(" ")
    }

    #[test]
    fn one_frame_is_in_flight_and_the_rest_is_merged() {
        use Do::*;
        const MUCH: usize = 32_768;
        let (new, flags, gone) = (Kinds::NEW, Kinds::FLAGS, Kinds::GONE);
        let state = |state| Notice::State {
            account: AccountId(0),
            state,
            text: String::new(),
        };
        // "change\0" "work\0" "a\0" "a\0" "\0" "n\0" "l\0"
        const ONE: usize = 23;
        let table: Vec<(&str, Vec<Do>)> = vec![
            ("nothing to say", vec![Attach(1, MUCH), Frame("-")]),
            (
                "no pipe, no frame; all waits for one",
                vec![
                    Change("a", new),
                    Frame("-"),
                    Attach(1, MUCH),
                    Frame("1.1 a:n"),
                    Frame("-"),
                ],
            ),
            (
                "first come, first served; what is merged keeps its place",
                vec![
                    Attach(1, MUCH),
                    Change("b", new),
                    Change("a", flags),
                    Change("b", gone),
                    Frame("1.1 b:ng a:f"),
                ],
            ),
            (
                "while one is in flight, the next is merged",
                vec![
                    Attach(1, MUCH),
                    Change("a", new),
                    Frame("1.1 a:n"),
                    Change("a", flags),
                    Change("a", gone),
                    Frame("-"),
                    Acknowledge(1, 1, true),
                    Frame("1.2 a:fg"),
                ],
            ),
            (
                "only the one in flight is acknowledged, and once",
                vec![
                    Attach(3, MUCH),
                    Acknowledge(3, 0, false),
                    Acknowledge(3, 1, false),
                    Change("a", new),
                    Frame("3.1 a:n"),
                    Change("b", new),
                    Acknowledge(3, 0, false),
                    Acknowledge(3, 2, false),
                    Acknowledge(2, 1, false),
                    Acknowledge(4, 1, false),
                    Frame("-"),
                    Acknowledge(3, 1, true),
                    Acknowledge(3, 1, false),
                    Frame("3.2 b:n"),
                    Acknowledge(3, 1, false),
                    Frame("-"),
                ],
            ),
            (
                "a frame takes what fits, to the byte",
                vec![
                    Attach(1, 2 * ONE),
                    Change("a", new),
                    Change("b", new),
                    Change("c", new),
                    Frame("1.1 a:n b:n"),
                    Acknowledge(1, 1, true),
                    Frame("1.2 c:n"),
                ],
            ),
            (
                "one byte less",
                vec![
                    Attach(1, 2 * ONE - 1),
                    Change("a", new),
                    Change("b", new),
                    Frame("1.1 a:n"),
                    Acknowledge(1, 1, true),
                    Frame("1.2 b:n"),
                ],
            ),
            (
                "what never fits goes alone, and holds up nobody",
                vec![
                    Attach(1, ONE - 1),
                    Change("a", new),
                    Change("b", new),
                    Frame("1.1 a:n"),
                    Acknowledge(1, 1, true),
                    Frame("1.2 b:n"),
                ],
            ),
            (
                "a new pipe gets again what was in flight, with what came later",
                vec![
                    Attach(1, MUCH),
                    Change("a", new),
                    Change("b", new),
                    Tell(state("watching")),
                    Frame("1.1 watching a:n b:n"),
                    Change("a", flags),
                    Attach(2, MUCH),
                    Acknowledge(1, 1, false),
                    Frame("2.1 watching a:nf b:n"),
                ],
            ),
            (
                "a deletion that was in flight is followed by what came later",
                vec![
                    Attach(1, MUCH),
                    Change("a", Kinds::DELETED),
                    Frame("1.1 a:d"),
                    Change("a", Kinds::CREATED),
                    Attach(2, MUCH),
                    Frame("2.1 a:cu"),
                ],
            ),
            (
                "a pipe that is gone takes nothing",
                vec![
                    Attach(1, MUCH),
                    Change("a", new),
                    Frame("1.1 a:n"),
                    Detach,
                    Change("b", new),
                    Acknowledge(1, 1, false),
                    Frame("-"),
                    Attach(2, MUCH),
                    Frame("2.1 a:n b:n"),
                ],
            ),
            (
                "notices are one a key, the last, and come before changes",
                vec![
                    Attach(1, MUCH),
                    Change("a", new),
                    Tell(state("starting")),
                    Tell(log("x")),
                    Tell(log("x")),
                    Tell(state("watching")),
                    Frame("1.1 watching x a:n"),
                ],
            ),
            (
                "a notice in flight is not sent again over a newer one",
                vec![
                    Attach(1, MUCH),
                    Tell(state("starting")),
                    Frame("1.1 starting"),
                    Tell(state("watching")),
                    Attach(2, MUCH),
                    Frame("2.1 watching"),
                ],
            ),
            (
                "an answer replaces an older one of its slot, whole",
                vec![
                    Attach(1, MUCH),
                    Tell(resolved("s", 1, 0, 2)),
                    Tell(resolved("s", 1, 1, 2)),
                    Tell(resolved("t", 2, 0, 1)),
                    Tell(resolved("s", 3, 0, 1)),
                    Frame("1.1 t#2.0 s#3.0"),
                ],
            ),
        ];
        for (what, steps) in table {
            let mut notifier = Notifier::default();
            notifier.account(AccountId(1), "work".to_owned());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Change(name, kinds) => notifier.change(change(name, kinds)),
                    Tell(notice) => notifier.notice(notice),
                    Attach(generation, limit) => notifier.attach(generation, limit),
                    Detach => notifier.detach(),
                    Acknowledge(generation, sequence, ours) => {
                        let was = notifier.acknowledge(generation, sequence);
                        assert_eq!(was, ours, "{what}, step {number}");
                    }
                    Frame(expected) => {
                        let frame = short(notifier.frame());
                        assert_eq!(frame, expected, "{what}, step {number}");
                    }
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded_by_folders_and_by_some_lines() {
        let mut notifier = Notifier::default();
        notifier.account(AccountId(1), "work".to_owned());
        notifier.attach(1, 32_768);
        for i in 0..10_000 {
            notifier.change(change(&format!("f{}", i % 10), Kinds::NEW));
            notifier.notice(log(&format!("line {i}")));
            notifier.frame();
        }
        assert!(notifier.len() <= 2 * (10 + MOST_LOG_LINES));
        assert_eq!(notifier.pending(AccountId(1)), 0);
        // At most in flight, and again behind it.
        assert!((10..=20).contains(&notifier.pending(AccountId(0))));
        while let Some(flight) = notifier.flight.as_ref().map(|flight| flight.sequence) {
            assert!(notifier.acknowledge(1, flight));
            notifier.frame();
        }
        assert!(notifier.is_empty());
    }
}
