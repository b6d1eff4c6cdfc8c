//! What still has to be told to Lisp, and when the next frame may go.
//!
//! A pure machine.  At most one frame is in flight, small enough to fit into an empty pipe, so
//! writing it never waits; everything else stays merged here, one entry a folder and one a
//! notice's key, until Lisp has acknowledged.  Writing the bytes is the engine's business, their
//! form is `frame`'s.

mod notice;
mod queue;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::change::{AccountId, Change, Folder};
use crate::engine::config::RemoteId;
use crate::frame::Payload;

use notice::NoticeKey;
pub use notice::{GONE, Notice};
use queue::Queue;

/// Lines of the log that may wait at most: the log is a convenience, memory is not.
const MOST_LOG_LINES: usize = 200;

/// Results of runs of one account that may wait; where there are as many, a later one stands for the first
/// that ended as it did, and answers its requests: at most one more waits for each way to end.
const MOST_RESULTS: usize = 8;

/// An acknowledgement for which nothing waits is heard so long after its frame: to wake somebody
/// for it would take Emacs's own time, just before it goes by what it has read.
const LEISURE: Duration = Duration::from_millis(50);

/// Whose folder, and which one: by its name alone, two accounts may have the same.
type Place = (AccountId, Arc<Path>);

fn place(folder: &Folder) -> Place {
    (folder.account, folder.real.clone())
}

struct Flight {
    sequence: u64,
    sent: Instant,
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
    /// Stores of which Lisp has heard, and not that they are gone.
    heard: HashSet<RemoteId>,
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
            heard: HashSet::new(),
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
        // Lisp acknowledges a frame before it goes by it: of what was only there it has not heard.
        let gone = self.notices.values().filter_map(Notice::gone);
        for remote in gone.collect::<Vec<_>>() {
            self.part(remote);
        }
    }

    /// A store is gone, and nobody has to say its password any more.  Whether that is for Lisp to
    /// know: it may have heard of the store.  If not, nothing is told of it at all: otherwise a Lisp
    /// that does not read while it configures again and again would leave something behind each time.
    fn part(&mut self, remote: RemoteId) -> bool {
        self.notices.remove(&NoticeKey::Secret(remote));
        let flying = (self.flight.iter())
            .flat_map(|flight| &flight.notices)
            .any(|it| it.key() == NoticeKey::Remote(remote));
        let heard = flying || self.heard.contains(&remote);
        if !heard {
            self.notices.remove(&NoticeKey::Remote(remote));
        }
        heard
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
        let gone: Vec<Place> = (self.changes.iter())
            .filter(|(_, change)| these(&change.folder))
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
        if let Notice::Answer { slot, part, .. } = &notice
            && part.0 == 0
        {
            self.notices
                .retain(|key| !matches!(key, NoticeKey::Answer(old, _) if old == slot));
        }
        if matches!(notice, Notice::Log { .. }) {
            let lines = |key: &&NoticeKey| matches!(key, NoticeKey::Log(_));
            if self.notices.keys().filter(lines).count() >= MOST_LOG_LINES {
                return;
            }
        }
        if let Some(remote) = notice.gone()
            && !self.part(remote)
        {
            return;
        }
        if matches!(notice, Notice::Syncing { .. } | Notice::Plan { .. }) {
            // Not before what came between the two runs.
            self.notices.remove(&notice.key());
        }
        let notice = self.bounded(notice);
        self.notices.insert(notice.key(), notice);
    }

    /// Have the result of a run stand for the oldest one of its account that is like it, if too many wait.
    fn bounded(&mut self, notice: Notice) -> Notice {
        let Notice::Synced {
            account,
            run,
            mut result,
        } = notice
        else {
            return notice;
        };
        let results = self.notices.values().filter_map(|it| match it {
            Notice::Synced {
                account: its,
                run,
                result,
            } if *its == account => Some((*run, result.status)),
            _ => None,
        });
        let results: Vec<_> = results.collect();
        // Whoever asked for the first is told how that went.
        let alike = results
            .iter()
            .filter(|(_, status)| *status == result.status);
        let oldest = alike.map(|(run, _)| *run).min();
        let oldest = oldest.filter(|_| results.len() >= MOST_RESULTS);
        let oldest = oldest.map(|run| NoticeKey::Synced(account, run));
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
            let flight = self.flight.take().into_iter();
            for notice in flight.flat_map(|flight| flight.notices) {
                match (&notice, notice.gone()) {
                    (_, Some(gone)) => drop(self.heard.remove(&gone)),
                    (Notice::Remote { remote, .. }, None) => drop(self.heard.insert(*remote)),
                    _ => {}
                }
            }
        }
        ours
    }

    /// When to listen for the acknowledgement of what is in flight: at once if more waits for it.
    #[must_use]
    pub fn listens(&self) -> Option<Instant> {
        let flight = self.flight.as_ref()?;
        let alone = self.changes.is_empty() && self.notices.is_empty();
        Some(flight.sent + if alone { LEISURE } else { Duration::ZERO })
    }

    /// The next frame to write, if one may go now.
    pub fn frame(&mut self, now: Instant) -> Option<Vec<u8>> {
        if !self.attached || self.flight.is_some() {
            return None;
        }
        let mut payload = Payload::new();
        let mut flight = Flight {
            sequence: self.sequence + 1,
            sent: now,
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
            record.change(self.name(change.folder.account), change, now);
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
            Notice::Secret {
                account,
                remote,
                number,
                host,
                port,
                user,
                anew,
            } => {
                let (account, key) = (self.name(*account), (remote.0, *number));
                record.secret(account, key, (host, *port), user, *anew);
            }
            Notice::Log { level, text } => record.log(level, text),
            Notice::Answer {
                slot,
                request,
                part,
                fields,
            } => record.answer(slot, *request, *part, fields),
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
mod tests;
