//! Where a backend leaves its events until the engine takes them.
//!
//! The backend's own thread only merges into a map and wakes the engine; it never waits, whatever
//! the engine does, and the map grows with the number of directories, never with the number of
//! events.  What a directory means is not known here, only its name.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::trail::Trail;
use crate::change::Kinds;
use crate::echo::{self, Claim, Claims};

/// One event, in words that fit every backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An entry appeared that was not renamed from a watched place.
    Created(PathBuf),
    /// An entry vanished.
    Removed(PathBuf),
    /// The first half of a rename; the number pairs it with the second.
    MovedFrom(PathBuf, Option<usize>),
    /// The second half of a rename.
    MovedTo(PathBuf, Option<usize>),
    /// A rename whose two ends are known.
    Moved(PathBuf, PathBuf),
    /// Something happened here that has no better word.
    Odd(PathBuf),
    /// Events were lost.
    Overflow,
    /// The backend itself fails; nothing more may come.
    Failed(String),
}

/// Which entries of a directory changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// These.
    Some(BTreeSet<OsString>),
    /// Too many to remember, or unknown.
    All,
}

/// Entries remembered by name in one directory.
const MOST_NAMES: usize = 32;

impl Names {
    /// These and `more`, as far as they can be remembered.
    pub fn absorb(&mut self, more: Names) {
        match (&mut *self, more) {
            (Names::Some(some), Names::Some(more)) => {
                some.extend(more);
                if some.len() > MOST_NAMES {
                    *self = Names::All;
                }
            }
            _ => *self = Names::All,
        }
    }
}

/// First halves of renames that wait for their second one.
const MOST_HALVES: usize = 64;

/// How long the first half of a rename may wait for the second.  The kernel tells both in one
/// breath; alone, a half means that something left the watched directories.
pub const HALF_LIFE: Duration = Duration::from_millis(20);

/// Everything that came since the engine last looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Directories called `new` or `cur`, with what happened in them.
    pub messages: HashMap<PathBuf, Kinds>,
    /// Of those of which some names claim something: what they claim of the same kinds.
    pub claims: HashMap<PathBuf, Claims>,
    /// How many messages appeared.
    pub arrived: u64,
    /// All other directories, with the entries concerned.
    pub places: HashMap<PathBuf, Names>,
    /// Events were lost: anything may have changed.
    pub overflow: bool,
    /// The backend failed.
    pub failure: Option<String>,
    /// A rename is only half told: take again after [`HALF_LIFE`].
    pub unsettled: bool,
    /// When the last of it was heard of, if the backend says so.
    pub heard: Option<Instant>,
}

impl Dirty {
    fn message(&mut self, directory: &Path, kinds: Kinds, claim: Claim) {
        if kinds == Kinds::NEW {
            self.arrived += 1;
        }
        let known = match self.messages.get_mut(directory) {
            Some(known) => known,
            None => self.messages.entry(directory.to_owned()).or_default(),
        };
        if claim != Claim::Nothing && !self.claims.contains_key(directory) {
            let claims = Claims::none(*known);
            self.claims.insert(directory.to_owned(), claims);
        }
        *known |= kinds;
        if let Some(claims) = self.claims.get_mut(directory) {
            claims.add(claim, kinds);
        }
    }

    fn place(&mut self, directory: &Path, name: Option<&OsStr>) {
        let names = name.map_or(Names::All, |name| Names::Some([name.to_owned()].into()));
        match self.places.get_mut(directory) {
            Some(known) => known.absorb(names),
            None => {
                self.places.insert(directory.to_owned(), names);
            }
        }
    }

    /// An event about the entry `path`; what it means if it is a message.
    fn entry(&mut self, path: &Path, kinds: Kinds) {
        self.claimed(path, kinds, Claim::Nothing);
    }

    /// The same, and what its name claims.
    fn claimed(&mut self, path: &Path, kinds: Kinds, claim: Claim) {
        match path.parent() {
            Some(parent) if holds_messages(parent) => self.message(parent, kinds, claim),
            Some(parent) => self.place(parent, path.file_name()),
            None => self.overflow = true,
        }
    }

    fn moved(&mut self, from: &Path, to: &Path) {
        let folders = |path: &Path| path.parent().and_then(Path::parent).map(ToOwned::to_owned);
        let messages = |path: &Path| path.parent().is_some_and(holds_messages);
        if messages(from) && messages(to) && folders(from) == folders(to) {
            self.claimed(to, Kinds::FLAGS, echo::renamed(from, to));
        } else {
            self.entry(from, Kinds::GONE);
            self.entry(to, Kinds::NEW);
        }
    }
}

fn holds_messages(directory: &Path) -> bool {
    (directory.file_name()).is_some_and(|name| name == "new" || name == "cur")
}

/// A rename seen from its first end only.
struct Half {
    number: usize,
    path: PathBuf,
    /// When it was first left over.
    since: Option<Instant>,
}

#[derive(Default)]
struct State {
    dirty: Dirty,
    halves: VecDeque<Half>,
    /// Directories outside the root, where only a few names matter.
    trail: Trail,
}

impl State {
    fn take_half(&mut self, number: usize) -> Option<PathBuf> {
        let at = self.halves.iter().position(|half| half.number == number)?;
        self.halves.remove(at).map(|half| half.path)
    }

    /// Whether an event is about the root at all: on the way to it (the home, say) most are not.
    fn matters(&self, event: &Event) -> bool {
        let about = |path: &PathBuf| match path.parent() {
            Some(parent) if self.trail.names.contains_key(parent) => self.trail.leads_by(path),
            _ => true,
        };
        match event {
            Event::Created(path)
            | Event::Removed(path)
            | Event::MovedFrom(path, _)
            | Event::MovedTo(path, _) => about(path),
            Event::Moved(from, to) => about(from) || about(to),
            Event::Odd(_) | Event::Overflow | Event::Failed(_) => true,
        }
    }

    fn merge(&mut self, event: Event) {
        match event {
            Event::Created(path) | Event::MovedTo(path, None) => {
                self.dirty.claimed(&path, Kinds::NEW, echo::created(&path));
            }
            Event::Removed(path) | Event::MovedFrom(path, None) => {
                self.dirty.entry(&path, Kinds::GONE);
            }
            Event::MovedFrom(path, Some(number)) => {
                if self.halves.len() >= MOST_HALVES
                    && let Some(old) = self.halves.pop_front()
                {
                    self.dirty.entry(&old.path, Kinds::GONE);
                }
                self.halves.push_back(Half {
                    number,
                    path,
                    since: None,
                });
            }
            Event::MovedTo(path, Some(number)) => match self.take_half(number) {
                Some(from) => self.dirty.moved(&from, &path),
                None => self.dirty.claimed(&path, Kinds::NEW, echo::created(&path)),
            },
            Event::Moved(from, to) => self.dirty.moved(&from, &to),
            Event::Odd(path) => {
                // It may be about the directory itself or about an entry of it.
                if holds_messages(&path) {
                    self.dirty.message(&path, Kinds::UNKNOWN, Claim::Nothing);
                } else {
                    self.dirty.place(&path, None);
                }
                self.dirty.entry(&path, Kinds::UNKNOWN);
            }
            Event::Overflow => self.dirty.overflow = true,
            Event::Failed(text) => self.dirty.failure = Some(text),
        }
    }
}

/// The inbox of one root.
pub struct Inbox {
    state: Mutex<State>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Inbox {
    /// An empty inbox; `wake` is called after each event and must not wait.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Inbox {
            state: Mutex::default(),
            wake: Box::new(wake),
        }
    }

    /// Take in an event and wake the engine, if it can matter.
    pub fn put(&self, event: Event) {
        self.put_at(event, None);
    }

    /// The same, and when it was heard of: the engine is a little later.
    pub fn put_at(&self, event: Event, heard: Option<Instant>) {
        let mut state = self.lock();
        if state.matters(&event) {
            state.merge(event);
            state.dirty.heard = heard;
            drop(state);
            (self.wake)();
        }
    }

    /// From now on, of what happens in the directories of this trail only its names matter.
    pub fn narrow(&self, trail: Trail) {
        self.lock().trail = trail;
    }

    /// Everything since the last call.
    pub fn take(&self, now: Instant) -> Dirty {
        let mut state = self.lock();
        let State { dirty, halves, .. } = &mut *state;
        halves.retain_mut(|half| {
            let since = *half.since.get_or_insert(now);
            let alone = now.saturating_duration_since(since) >= HALF_LIFE;
            if alone {
                dirty.entry(&half.path, Kinds::GONE);
            }
            !alone
        });
        dirty.unsettled = !halves.is_empty();
        mem::take(dirty)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while merging leaves a map that is at worst incomplete in its last event.
        self.state.lock().unwrap_or_else(|poisoned| {
            self.state.clear_poison();
            let mut state = PoisonError::into_inner(poisoned);
            state.dirty.overflow = true;
            state
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(path: &str, number: usize) -> Event {
        Event::MovedFrom(path.into(), Some(number))
    }

    fn to(path: &str, number: usize) -> Event {
        Event::MovedTo(path.into(), Some(number))
    }

    /// Everything, with what has waited long enough.
    fn settled(inbox: &Inbox) -> Dirty {
        let now = Instant::now();
        let mut dirty = inbox.take(now);
        let late = inbox.take(now + HALF_LIFE);
        for (path, kinds) in late.messages {
            *dirty.messages.entry(path).or_default() |= kinds;
        }
        dirty.places.extend(late.places);
        Dirty {
            unsettled: false,
            ..dirty
        }
    }

    #[test]
    fn events_reduce_to_directories() {
        type Messages = &'static [(&'static str, Kinds)];
        type Places = &'static [(&'static str, &'static [&'static str])];
        const BOTH: Kinds = Kinds::NEW.union(Kinds::GONE);
        let table: Vec<(&str, Vec<Event>, Messages, Places)> = vec![
            (
                "delivery by rename, the source is not watched",
                vec![to("/m/new/1", 1)],
                &[("/m/new", Kinds::NEW)],
                &[],
            ),
            (
                "delivery by link",
                vec![Event::Created("/m/cur/1".into())],
                &[("/m/cur", Kinds::NEW)],
                &[],
            ),
            (
                "a flag changes",
                vec![from("/m/cur/1:2,", 7), to("/m/cur/1:2,S", 7)],
                &[("/m/cur", Kinds::FLAGS)],
                &[],
            ),
            (
                "new to cur",
                vec![from("/m/new/1", 7), to("/m/cur/1:2,", 7)],
                &[("/m/cur", Kinds::FLAGS)],
                &[],
            ),
            (
                "both halves, then the pair, is still one flag change",
                vec![
                    from("/m/cur/1", 7),
                    to("/m/cur/2", 7),
                    Event::Moved("/m/cur/1".into(), "/m/cur/2".into()),
                ],
                &[("/m/cur", Kinds::FLAGS)],
                &[],
            ),
            (
                "renames of two messages interleave",
                vec![
                    from("/m/cur/1", 1),
                    from("/m/cur/2", 2),
                    to("/m/cur/2S", 2),
                    to("/m/cur/1S", 1),
                ],
                &[("/m/cur", Kinds::FLAGS)],
                &[],
            ),
            (
                "a message moves to another folder",
                vec![from("/m/cur/1", 1), to("/m/.a/cur/1", 1)],
                &[("/m/cur", Kinds::GONE), ("/m/.a/cur", Kinds::NEW)],
                &[],
            ),
            (
                "a message leaves for where nobody watches",
                vec![from("/m/cur/1", 1)],
                &[("/m/cur", Kinds::GONE)],
                &[],
            ),
            (
                "expunge and delivery unite",
                vec![
                    Event::Removed("/m/cur/1".into()),
                    Event::Created("/m/cur/2".into()),
                ],
                &[("/m/cur", BOTH)],
                &[],
            ),
            (
                "a folder appears, another is renamed",
                vec![
                    Event::Created("/m/.a".into()),
                    from("/m/.b", 3),
                    to("/m/.c", 3),
                ],
                &[],
                &[("/m", &[".a", ".b", ".c"])],
            ),
            (
                "the directory of messages itself goes",
                vec![Event::Removed("/m/.a/new".into())],
                &[],
                &[("/m/.a", &["new"])],
            ),
        ];
        for (what, events, messages, places) in table {
            let inbox = Inbox::new(|| {});
            for event in events {
                inbox.put(event);
            }
            let dirty = settled(&inbox);
            let expected = messages.iter().map(|(dir, kinds)| (dir.into(), *kinds));
            assert_eq!(dirty.messages, expected.collect(), "{what}");
            let expected = places.iter().map(|(dir, names)| {
                let names = names.iter().map(Into::into).collect();
                (dir.into(), Names::Some(names))
            });
            assert_eq!(dirty.places, expected.collect(), "{what}");
            assert_eq!(
                settled(&inbox),
                Dirty::default(),
                "{what}: taken means gone"
            );
        }
    }

    // Security: S26.
    #[test]
    fn memory_is_bounded_by_directories() {
        let inbox = Inbox::new(|| {});
        for i in 0..10_000 {
            inbox.put(from(&format!("/m/cur/{i}"), i));
            inbox.put(Event::Created(format!("/m/index.{i}").into()));
        }
        assert!(inbox.lock().halves.len() <= MOST_HALVES);
        let dirty = settled(&inbox);
        assert_eq!(dirty.messages.len(), 1);
        assert_eq!(dirty.places[Path::new("/m")], Names::All);
    }

    #[test]
    fn the_last_event_is_when_it_was_heard() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let created = || Event::Created("/m/cur/1".into());
        let inbox = Inbox::new(|| {});
        inbox.put_at(created(), at(1));
        inbox.put_at(created(), at(2));
        assert_eq!(inbox.take(start).heard, at(2));
        // Who does not say it knows of no time before it is taken.
        inbox.put_at(created(), at(3));
        inbox.put(created());
        assert_eq!(inbox.take(start).heard, None);
        // On the way to the root nothing of this name matters.
        let names = [("/m".into(), ["root".into()].into())].into();
        inbox.narrow(Trail {
            names,
            ..Trail::default()
        });
        inbox.put_at(Event::Created("/m/other".into()), at(4));
        assert_eq!(inbox.take(start), Dirty::default());
    }

    #[test]
    fn a_half_waits_for_the_other_and_not_for_ever() {
        let start = Instant::now();
        let cur = Path::new("/m/cur");
        let inbox = Inbox::new(|| {});
        inbox.put(from("/m/cur/1", 1));
        let dirty = inbox.take(start);
        assert!(dirty.unsettled && dirty.messages.is_empty());
        inbox.put(to("/m/cur/1S", 1));
        let dirty = inbox.take(start);
        assert_eq!(
            (dirty.messages[cur], dirty.unsettled),
            (Kinds::FLAGS, false)
        );

        inbox.put(from("/m/cur/1S", 2));
        assert!(inbox.take(start).unsettled);
        let dirty = inbox.take(start + HALF_LIFE);
        assert_eq!((dirty.messages[cur], dirty.unsettled), (Kinds::GONE, false));
        inbox.put(to("/m/cur/1", 2));
        assert_eq!(inbox.take(start + HALF_LIFE).messages[cur], Kinds::NEW);
    }
}
