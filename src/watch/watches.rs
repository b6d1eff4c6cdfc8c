//! Which directories of a root the kernel watches, and which it should.
//!
//! Keeps what is watched equal to what is wanted, remembers what was refused, and knows for which
//! directories the kernel can vouch.  Which directories are wanted is `worker`'s business; when
//! what was refused is tried again is the engine's.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::inbox::Inbox;
use super::spot::Spot;
use super::{Backend, MakeBackend, WatchError, Watched};
use crate::maildir::FileId;

struct Held {
    id: FileId,
    /// The round in which it was set.
    round: u32,
    /// When it was wanted last, by the number of [`Watches::set`]'s call.
    wanted: u32,
}

/// What should be watched, the most important first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Directories on the way to the root.  Not everybody may read those: what cannot be watched
    /// there, but for a limit, is no trouble as long as the root is in its place.
    pub way: Vec<(Spot, FileId)>,
    /// Directories of the root itself.
    pub inside: Vec<(Spot, FileId)>,
    /// Where nothing could be seen: what is watched at and below these goes on being watched.
    pub unseen: Vec<PathBuf>,
}

impl Wanted {
    fn on_the_way(&self, spot: &Spot) -> bool {
        self.way.iter().any(|(way, _)| way == spot) && !self.inside.iter().any(|(it, _)| it == spot)
    }
}

/// How a round ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A watch was added: what happened there before has to be looked for.
    pub added: bool,
    /// Directories that should be watched and are not.
    pub unwatched: usize,
    /// Why not, in words for the user.
    pub trouble: Option<String>,
}

/// The watches of one root.
pub struct Watches {
    /// `None`: the kernel's notification is not wanted.
    make: Option<MakeBackend>,
    inbox: Arc<Inbox>,
    backend: Option<Box<dyn Backend>>,
    held: HashMap<Spot, Held>,
    /// And whether that was for a limit.
    refused: HashMap<Spot, bool>,
    trouble: Option<String>,
    round: u32,
    /// How often watches were set.
    sets: u32,
}

impl Watches {
    /// Nothing is watched yet.
    pub fn new(make: Option<MakeBackend>, inbox: Arc<Inbox>) -> Self {
        Watches {
            make,
            inbox,
            backend: None,
            held: HashMap::new(),
            refused: HashMap::new(),
            trouble: None,
            round: 0,
            sets: 0,
        }
    }

    /// Directories that are watched.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// Whoever watched has failed: have another one, from the beginning.
    pub fn renew(&mut self) {
        self.backend = None;
        self.held.clear();
        self.refused.clear();
        self.trouble = None;
    }

    /// Begin to look: what is watched from now on cannot vouch for what was before.
    pub fn begin(&mut self) {
        // Around its end nothing is vouched for, which only costs.
        self.round = self.round.wrapping_add(1);
    }

    /// Whether this directory is watched.
    pub fn holds(&self, spot: &Spot) -> bool {
        self.held.contains_key(spot)
    }

    /// Whether this directory was watched since before the look began.
    pub fn vouched(&self, spot: &Spot) -> bool {
        let held = self.held.get(spot);
        held.is_some_and(|held| held.round < self.round)
    }

    /// Make sure of these watches the next time.  A directory that was removed and made again may
    /// have its old path and even its old inode, but not its old watch.
    pub fn distrust(&mut self, doubtful: impl Fn(&Spot) -> bool) {
        for (spot, held) in &mut self.held {
            if doubtful(spot) {
                held.id = FileId::NONE;
            }
        }
    }

    /// Make the watches those that are wanted.  With `retry`, what was refused is tried again.
    pub fn set(&mut self, wanted: &Wanted, retry: bool) -> Outcome {
        if let Err(outcome) = self.start(wanted, retry) {
            return outcome;
        }
        let Some(backend) = &mut self.backend else {
            return Outcome::default();
        };
        self.sets = self.sets.wrapping_add(1);
        let sets = self.sets;
        let (mut absent, mut doubtful) = (Vec::new(), Vec::new());
        // There are thousands: each is looked for once, among those that are held.  Of the others, which
        // are not held, these are the directories.
        let others = wanted.inside.len().saturating_sub(self.held.len());
        let mut others: HashMap<&Spot, FileId> = HashMap::with_capacity(others);
        let mut kept = 0;
        for (spot, id) in wanted.way.iter().chain(&wanted.inside) {
            match self.held.get_mut(spot) {
                // It is wanted for two reasons.
                Some(held) if held.wanted == sets => {}
                Some(held) => {
                    kept += 1;
                    held.wanted = sets;
                    // If it is another one by now, that is told below.
                    if std::mem::replace(&mut held.id, *id) != *id {
                        doubtful.push(spot.clone());
                    }
                }
                None => {
                    if others.insert(spot, *id).is_none() {
                        absent.push(spot);
                    }
                }
            }
        }
        let unseen = |spot: &Spot| {
            let mut unseen = wanted.unseen.iter();
            unseen.any(|unseen| spot.path().starts_with(unseen))
        };
        // Old ones first: a renamed directory must not lose its new watch with its old name.
        let held = self.held.iter();
        let mut stale: Vec<_> = match kept < held.len() {
            true => held
                .filter(|(spot, held)| held.wanted != sets && !unseen(spot))
                .map(|(spot, _)| spot.clone())
                .collect(),
            false => Vec::new(),
        };
        stale.sort_unstable();
        if !stale.is_empty() {
            backend.unwatch(&stale);
            for spot in &stale {
                self.held.remove(spot);
            }
        }
        // What was given back is there for others.
        if retry || !stale.is_empty() {
            self.refused.clear();
            self.trouble = None;
        }
        self.refused.retain(|spot, _| others.contains_key(spot));
        absent.retain(|spot| !self.refused.contains_key(spot));
        let missing = absent.into_iter().cloned().collect();
        let mut outcome = Outcome::default();
        for (spots, anew) in [(doubtful, true), (missing, false)] {
            if spots.is_empty() {
                continue;
            }
            let watched = backend.watch(&spots, anew);
            for (spot, watched) in spots.into_iter().zip(watched) {
                match watched {
                    Ok(Watched::Same) => {}
                    Ok(Watched::New) => {
                        outcome.added = true;
                        let held = self.held.get(&spot).map(|held| held.id);
                        let id = held.or_else(|| others.get(&spot).copied());
                        let held = Held {
                            id: id.unwrap_or(FileId::NONE),
                            round: self.round,
                            wanted: sets,
                        };
                        self.held.insert(spot, held);
                    }
                    // It vanished, or was replaced, under our hands: the next round knows.
                    Err(WatchError::Gone) => {
                        outcome.added = true;
                        self.held.remove(&spot);
                    }
                    Err(error) => {
                        let (text, limit) = match error {
                            WatchError::Limit(text) => (text, true),
                            WatchError::Other(text) => (text, false),
                            WatchError::Gone => (String::new(), false),
                        };
                        if limit || !wanted.on_the_way(&spot) {
                            self.trouble.get_or_insert(text);
                        }
                        self.held.remove(&spot);
                        self.refused.insert(spot, limit);
                    }
                }
            }
        }
        let refused = self.refused.iter();
        let counts = |(spot, limit): &(&Spot, &bool)| **limit || !wanted.on_the_way(spot);
        outcome.unwatched = refused.filter(counts).count();
        if outcome.unwatched == 0 {
            self.trouble = None;
        }
        outcome.trouble.clone_from(&self.trouble);
        outcome
    }

    /// Have a backend; the outcome of a round without one if there is none to be had.
    fn start(&mut self, wanted: &Wanted, retry: bool) -> Result<(), Outcome> {
        if self.backend.is_some() {
            return Ok(());
        }
        let Some(make) = &self.make else {
            return Err(Outcome::default());
        };
        if retry || self.trouble.is_none() {
            match make(self.inbox.clone()) {
                Ok(backend) => {
                    self.backend = Some(backend);
                    self.trouble = None;
                    return Ok(());
                }
                Err(error) => self.trouble = Some(format!("{error:#}")),
            }
        }
        Err(Outcome {
            added: false,
            // The root at least, even where it has no folder yet: it has to be looked at again.
            unwatched: wanted.inside.len(),
            trouble: self.trouble.clone(),
        })
    }
}
