//! Merges the changes of a folder until it has been quiet for a while.
//!
//! A pure machine: `(now, change)` in, due changes out, and the next deadline.  It knows nothing
//! of file systems or Emacs; what it hands out is forgotten here.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::change::{Change, Folder, Origins};

/// How long changes are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// A folder is due when it has been quiet this long.
    pub quiet: Duration,
    /// It is due this long after its first change even when it is never quiet.
    pub longest: Duration,
}

impl Delays {
    /// How much earlier than its own time a folder may go along with another: a burst over many
    /// folders then wakes Emacs a few times, not once a folder.
    fn company(self) -> Duration {
        self.quiet / 10
    }
}

/// What the engine needs of a coalescer; a trait so that the simulator can plant a broken one.
pub trait Coalesce {
    /// An empty coalescer.
    fn new(delays: Delays) -> Self;
    /// Take in one change.
    fn add(&mut self, now: Instant, change: Change);
    /// A sync has ended, or a server has told all that it had to, so that by then hardly anything more comes
    /// of what is its work alone (in this folder, or in all): that is due `by` then at the latest.
    fn hasten(&mut self, by: Instant, only: Option<&Path>);
    /// Hand out every change that is due, oldest deadline first; when one is, those that would
    /// be due in a moment go along (see `Delays::company`).
    fn due(&mut self, now: Instant) -> Vec<Change>;
    /// Merge for this long from now on; what is held already is due when it was.
    fn retime(&mut self, delays: Delays);
    /// Give back what is held of these folders.
    fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) -> Vec<Change>;
    /// When `due` will next have something.
    fn deadline(&self) -> Option<Instant>;
    /// Folders being held.
    fn len(&self) -> usize;
    /// Whether none is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct Held {
    change: Change,
    first: Instant,
    due: Instant,
}

/// The coalescer: at most one entry a folder, however many events arrive.
pub struct Coalescer {
    delays: Delays,
    held: HashMap<Arc<Path>, Held>,
    schedule: BTreeSet<(Instant, Arc<Folder>)>,
}

impl Coalesce for Coalescer {
    fn new(delays: Delays) -> Self {
        Coalescer {
            delays,
            held: HashMap::new(),
            schedule: BTreeSet::new(),
        }
    }

    fn add(&mut self, now: Instant, change: Change) {
        let folder = change.folder.clone();
        let Delays { quiet, longest } = self.delays;
        match self.held.get_mut(&folder.real) {
            Some(held) => {
                self.schedule
                    .remove(&(held.due, held.change.folder.clone()));
                held.change.absorb(change);
                held.due = (now + quiet).min(held.first + longest);
                self.schedule.insert((held.due, folder));
            }
            None => {
                let due = now + quiet.min(longest);
                self.schedule.insert((due, folder.clone()));
                let first = now;
                self.held
                    .insert(folder.real.clone(), Held { change, first, due });
            }
        }
    }

    fn hasten(&mut self, by: Instant, only: Option<&Path>) {
        let Coalescer { held, schedule, .. } = self;
        let mut hasten = |it: &mut Held| {
            if !it.change.origins.contains(Origins::LOCAL) && it.due > by {
                let folder = it.change.folder.clone();
                schedule.remove(&(it.due, folder.clone()));
                it.due = by;
                schedule.insert((by, folder));
            }
        };
        match only {
            Some(real) => held.get_mut(real).into_iter().for_each(&mut hasten),
            None => held.values_mut().for_each(&mut hasten),
        }
    }

    fn due(&mut self, now: Instant) -> Vec<Change> {
        let mut due = Vec::new();
        if self.deadline().is_none_or(|at| at > now) {
            return due;
        }
        let until = now + self.delays.company();
        while let Some((_, folder)) = self.schedule.first().filter(|(at, _)| *at <= until) {
            let held = self.held.remove(&folder.real);
            self.schedule.pop_first();
            due.extend(held.map(|held| held.change));
        }
        due
    }

    fn retime(&mut self, delays: Delays) {
        self.delays = delays;
    }

    fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) -> Vec<Change> {
        self.schedule.retain(|(_, folder)| !these(folder));
        let gone = (self.held).extract_if(|_, held| these(&held.change.folder));
        gone.map(|(_, held)| held.change).collect()
    }

    fn deadline(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }

    fn len(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Kinds;
    use crate::change::testing::change;

    #[test]
    fn what_a_sync_has_written_is_due_when_that_has_ended() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let by = |origins, name| Change {
            origins,
            ..change(name, Kinds::NEW)
        };
        // Who has changed the folder, and when it is due.
        let table = [
            (vec![Origins::SYNC], None, 50),
            (vec![Origins::SYNC], Some("a"), 50),
            (vec![Origins::SYNC], Some("b"), 200),
            (vec![Origins::REMOTE], Some("a"), 50),
            (vec![Origins::LOCAL], None, 200),
            (vec![Origins::SYNC, Origins::LOCAL], None, 200),
            (vec![Origins::SYNC | Origins::LOCAL], Some("a"), 200),
        ];
        for (origins, only, expected) in table {
            let mut coalescer = Coalescer::new(Delays {
                quiet: Duration::from_millis(200),
                longest: Duration::from_millis(2000),
            });
            for origins in &origins {
                coalescer.add(at(0), by(*origins, "a"));
            }
            coalescer.hasten(at(50), only.map(Path::new));
            assert_eq!(coalescer.deadline(), Some(at(expected)), "{origins:?}");
            assert_eq!(coalescer.due(at(expected)).len(), 1, "{origins:?}");
            assert_eq!(coalescer.deadline(), None);
        }
        // It is never put off.
        let mut coalescer = Coalescer::new(Delays::default());
        coalescer.add(at(0), by(Origins::SYNC, "a"));
        coalescer.hasten(at(50), None);
        assert_eq!(coalescer.deadline(), Some(at(0)));
    }

    /// Events `(ms, folder, kinds)` and what comes out `(ms, folder, kinds)`, with a quiet delay
    /// of 200 ms and a longest of 2,000 ms, asked at each deadline.
    #[test]
    fn merges_until_quiet() {
        type Row = (u64, &'static str, Kinds);
        let flood: Vec<Row> = (0..25).map(|i| (i * 100, "a", Kinds::NEW)).collect();
        let table: Vec<(&str, Vec<Row>, Vec<Row>)> = vec![
            ("nothing", vec![], vec![]),
            (
                "one change is due after the quiet delay",
                vec![(0, "a", Kinds::NEW)],
                vec![(200, "a", Kinds::NEW)],
            ),
            (
                "a second change extends the wait and unites the kinds",
                vec![(0, "a", Kinds::NEW), (150, "a", Kinds::FLAGS)],
                vec![(350, "a", Kinds::NEW | Kinds::FLAGS)],
            ),
            (
                "folders do not wait for each other",
                vec![
                    (0, "a", Kinds::NEW),
                    (100, "b", Kinds::NEW),
                    (150, "b", Kinds::GONE),
                ],
                vec![(200, "a", Kinds::NEW), (350, "b", Kinds::NEW | Kinds::GONE)],
            ),
            (
                "what would be due in a moment goes along, what would not does not",
                vec![
                    (0, "a", Kinds::NEW),
                    (20, "b", Kinds::NEW),
                    (21, "c", Kinds::NEW),
                    (22, "d", Kinds::NEW),
                ],
                vec![
                    (200, "a", Kinds::NEW),
                    (200, "b", Kinds::NEW),
                    (221, "c", Kinds::NEW),
                    (221, "d", Kinds::NEW),
                ],
            ),
            (
                "a folder that is never quiet is due after the longest delay, and starts anew",
                flood,
                vec![(2000, "a", Kinds::NEW), (2600, "a", Kinds::NEW)],
            ),
            (
                "created and deleted in one window",
                vec![(0, "a", Kinds::CREATED), (50, "a", Kinds::DELETED)],
                vec![(250, "a", Kinds::DELETED | Kinds::UNKNOWN)],
            ),
            (
                "what was handed out is forgotten",
                vec![(0, "a", Kinds::NEW), (300, "a", Kinds::FLAGS)],
                vec![(200, "a", Kinds::NEW), (500, "a", Kinds::FLAGS)],
            ),
        ];
        for (what, events, expected) in table {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let mut coalescer = Coalescer::new(Delays {
                quiet: Duration::from_millis(200),
                longest: Duration::from_millis(2000),
            });
            let mut seen = Vec::new();
            let drain = |coalescer: &mut Coalescer, until: Instant, seen: &mut Vec<_>| {
                while let Some(now) = coalescer.deadline().filter(|at| *at < until) {
                    for change in coalescer.due(now) {
                        let ms = (now - start).as_millis() as u64;
                        let name = String::from_utf8(change.folder.name.to_vec()).unwrap();
                        seen.push((ms, name, change.kinds));
                    }
                }
            };
            for (ms, name, kinds) in events {
                drain(&mut coalescer, at(ms), &mut seen);
                coalescer.add(at(ms), change(name, kinds));
            }
            drain(&mut coalescer, at(1_000_000), &mut seen);
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(ms, name, kinds)| (ms, name.to_owned(), kinds))
                .collect();
            assert_eq!(seen, expected, "{what}");
            assert!(coalescer.is_empty(), "{what}");
        }
    }
}
