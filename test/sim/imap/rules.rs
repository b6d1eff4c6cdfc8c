//! What has to be told, and what may be.
//!
//! What happens at the server is owed from then on: until Lisp is told of the folder, with kinds that cover
//! it, or everything is checked; or, with a syncer, until a run that covers the folder begins and goes well
//! (I1, I2).  What shows in no number and on no connection is owed from the next connection on.  On the
//! other hand each thing that happens gives credit for a few tellings, and nothing else is told (I3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailsync_module::change::Kinds;

use crate::world::Outcome as Verdict;

/// So often may be told of what happened once: by a push, and by a sweep that has crossed it.
pub const CREDIT: u32 = 2;

/// What happened in folders, and when.
type Owed = BTreeMap<&'static str, Vec<(Duration, Kinds)>>;

/// What a run is at.
#[derive(Debug)]
struct UnderWay {
    all: bool,
    names: Vec<&'static str>,
    /// Given back if it fails.
    owed: Owed,
}

#[derive(Debug, Default)]
pub struct Rules {
    pub owed: Owed,
    /// What nobody can know before the next connection.
    hidden: Owed,
    credits: BTreeMap<&'static str, u32>,
    everything: u32,
    /// Names that were told, and not that they are gone.
    known: BTreeSet<&'static str>,
    /// Something may be on its way that was told of them by a store which is no more.
    late: BTreeSet<&'static str>,
    under_way: Option<UnderWay>,
    /// Folders that a run has fetched, which are to be checked.
    pub unchecked: BTreeSet<&'static str>,
    /// In a row, as far as anybody has heard.
    pub refusals: u32,
    refused: Option<Duration>,
}

/// Whether what was told covers what happened.
fn covers(told: Kinds, happened: Kinds) -> bool {
    if told.contains(Kinds::UNKNOWN) {
        return true;
    }
    let mut left = happened - (told | Kinds::FLAGS);
    if told.contains(Kinds::CREATED) {
        left -= Kinds::NEW | Kinds::GONE | Kinds::UNKNOWN;
    }
    left.is_empty()
}

impl Rules {
    pub fn happened(&mut self, now: Duration, name: &'static str, kinds: Kinds, shows: bool) {
        self.credit(name, CREDIT);
        let map = if shows {
            &mut self.owed
        } else {
            &mut self.hidden
        };
        map.entry(name).or_default().push((now, kinds));
    }

    pub fn created(&mut self, now: Duration, name: &'static str) {
        self.everything += 1;
        self.owed.remove(name);
        self.happened(now, name, Kinds::CREATED, true);
    }

    /// It is owed only where it was told that it was there; who syncs has nothing to fetch.
    pub fn deleted(&mut self, now: Duration, name: &'static str) {
        self.everything += 1;
        self.credit(name, CREDIT);
        self.owed.remove(name);
        self.hidden.remove(name);
        self.unchecked.remove(name);
        if self.known.contains(name) {
            self.owed.insert(name, vec![(now, Kinds::DELETED)]);
        }
    }

    /// Whether something has happened that nobody can know before the next connection.
    pub fn is_hidden(&self, name: &str) -> bool {
        self.hidden.contains_key(name)
    }

    /// It is no more here, and has to go there, too, if anybody has seen that it was here.
    pub fn deleted_here(&mut self, now: Duration, name: &'static str, seen: bool) {
        self.everything += 1;
        self.credit(name, CREDIT);
        self.owed.remove(name);
        if seen {
            self.owed.insert(name, vec![(now, Kinds::DELETED)]);
        }
    }

    pub fn credit(&mut self, name: &'static str, more: u32) {
        *self.credits.entry(name).or_default() += more;
    }

    /// Nobody remembers what was there.
    pub fn forget(&mut self) {
        self.known.clear();
        self.late = self.credits.keys().copied().collect();
        self.owed.retain(|_, it| it[0].1 != Kinds::DELETED);
    }

    /// Anything may have changed, for all that anybody knows.
    pub fn doubt(&mut self) {
        self.everything += 1;
    }

    /// There is another connection.
    pub fn connects(&mut self) {
        for (name, hidden) in std::mem::take(&mut self.hidden) {
            self.owed.entry(name).or_default().extend(hidden);
        }
    }

    /// Lisp was told of a folder, as it was when that was written.
    pub fn told(
        &mut self,
        written: Duration,
        name: &'static str,
        kinds: Kinds,
        exists: bool,
    ) -> Verdict {
        let credit = self.credits.entry(name).or_default();
        *credit = (credit.checked_sub(1))
            .ok_or_else(|| format!("I3: {kinds:?} is told of {name}, where nothing happened"))?;
        for map in [&mut self.owed, &mut self.hidden] {
            if let Some(owed) = map.get_mut(name) {
                owed.retain(|(at, happened)| *at > written || !covers(kinds, *happened));
            }
            map.retain(|_, owed| !owed.is_empty());
        }
        if kinds.contains(Kinds::DELETED) {
            self.known.remove(name);
            if !exists && let Some(owed) = self.owed.get_mut(name) {
                // If it came and went since, nobody heard that it came.
                owed.retain(|(_, happened)| *happened != Kinds::DELETED);
                self.owed.retain(|_, owed| !owed.is_empty());
            }
        } else if self.late.remove(name) && !exists {
            // Who takes the store's place knows nothing of it.
        } else if self.known.insert(name) && !exists {
            self.owed.insert(name, vec![(written, Kinds::DELETED)]);
        }
        Ok(())
    }

    /// Everything is checked, and so it is known which folders are `there`.
    pub fn all_told(&mut self, written: Duration, there: impl Fn(&str) -> bool) -> Verdict {
        self.known.retain(|name| there(name));
        self.everything = (self.everything.checked_sub(1))
            .ok_or("I3: everything is checked, and nothing was in doubt")?;
        let left = |(at, _): &(Duration, Kinds)| *at > written;
        for map in [&mut self.owed, &mut self.hidden] {
            map.values_mut().for_each(|owed| owed.retain(left));
            map.retain(|_, owed| !owed.is_empty());
        }
        Ok(())
    }

    /// A run begins, of these folders or of everything.
    pub fn runs(&mut self, names: Option<Vec<&'static str>>) -> Verdict {
        let all = names.is_none();
        if all && self.everything == 0 {
            return Err("I3: everything is synced, and nothing was in doubt".to_owned());
        }
        self.everything -= u32::from(all);
        let names = names.unwrap_or_default();
        for name in &names {
            let credit = self.credits.entry(name).or_default();
            *credit = (credit.checked_sub(1))
                .ok_or_else(|| format!("I3: {name} is synced, where nothing happened"))?;
        }
        let covered = |name: &&'static str| all || names.contains(name);
        let owed = std::mem::take(&mut self.owed).into_iter();
        let (taken, left) = owed.partition(|(name, _)| covered(name));
        self.owed = left;
        self.hidden.retain(|name, _| !covered(name));
        self.under_way = Some(UnderWay {
            all,
            names,
            owed: taken,
        });
        Ok(())
    }

    /// It is over; where it is `alone`, what it has fetched shows nowhere else.
    pub fn ran(&mut self, well: bool, alone: bool, there: impl Fn(&str) -> bool) {
        let Some(UnderWay { all, names, owed }) = self.under_way.take() else {
            return;
        };
        if well {
            if alone {
                let names = names.into_iter().filter(|it| there(it));
                self.unchecked.extend(names);
            }
            return;
        }
        self.everything += u32::from(all);
        for name in names {
            self.credit(name, 1);
        }
        for (name, before) in owed.into_iter().filter(|(name, _)| there(name)) {
            self.owed.entry(name).or_default().extend(before);
        }
    }

    pub fn is_running(&self) -> bool {
        self.under_way.is_some()
    }

    /// The server has refused who wanted to log in, which was heard (I6).
    pub fn refused(&mut self, now: Duration) -> Verdict {
        self.refusals += 1;
        if self.refusals > 2 {
            return Err(format!("I6: the {}. refusal in a row", self.refusals));
        }
        let before = self.refused.replace(now);
        if self.refusals == 2 && before.is_some_and(|it| now < it + Duration::from_secs(5)) {
            return Err("I6: the second attempt comes at once".to_owned());
        }
        Ok(())
    }

    /// It let somebody in, or the user has done something, of which these refusals know nothing yet.
    pub fn well(&mut self, refusals: u32) {
        self.refusals = refusals;
    }
}
