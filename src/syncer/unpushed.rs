//! Is there anything in a folder that its server does not know of yet?
//!
//! Compares what a syncer and its server have agreed on ([`Agreed`], read from the syncer's own state by
//! `mbsync` and `offlineimap`) with the names of the messages that are there now.  Names and state
//! only: no message is opened.
//!
//! The state has to be read before the names are listed: what a syncer writes in between is then a
//! difference too many, never one too few.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::{Order, Program, mbsync, offlineimap};
use crate::change::Folder;
use crate::maildir::message::{Flags, MessageName};

/// Differences of a folder that are remembered one by one; of more only their sum.
const MOST: usize = 1000;

/// What is the same on both sides, says the syncer: messages of the folder by their UIDs.  Nothing
/// is to be told of one without flags, whatever becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// In the order of their UIDs, each of which comes once.
    messages: Vec<(u32, Option<Flags>)>,
}

impl Agreed {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Agreed::default()
    }

    /// How many messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// All of them, in the order of their UIDs.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<Flags>)> {
        self.messages.iter().copied()
    }

    /// Whether there is a message with this UID.
    #[must_use]
    pub fn contains(&self, uid: u32) -> bool {
        self.place(uid).is_some()
    }

    fn place(&self, uid: u32) -> Option<usize> {
        // Mostly they are all there.
        let guess = (uid as usize).checked_sub(1).filter(|at| {
            let message = self.messages.get(*at);
            message.is_some_and(|(it, _)| *it == uid)
        });
        guess.or_else(|| self.messages.binary_search_by_key(&uid, |(it, _)| *it).ok())
    }
}

impl FromIterator<(u32, Option<Flags>)> for Agreed {
    fn from_iter<T: IntoIterator<Item = (u32, Option<Flags>)>>(messages: T) -> Self {
        let mut messages: Vec<_> = messages.into_iter().collect();
        messages.sort_by_key(|(uid, _)| *uid);
        messages.dedup_by_key(|(uid, _)| *uid);
        Agreed { messages }
    }
}

/// What each of these folders, which a run of this order would sync, differs from its server in.
/// Reads configurations, states and directories, and may wait for a disk.
#[must_use]
pub fn look(order: &Order, folders: &[Arc<Folder>]) -> Vec<Unpushed> {
    let looked = match &order.syncer.program {
        Program::Mbsync { .. } => mbsync::unpushed(order, folders).map_err(|refused| refused.text),
        Program::OfflineImap { .. } => {
            offlineimap::unpushed(order, folders).map_err(|refused| refused.text)
        }
        Program::Command(_) | Program::OnlyWorker => {
            Err("a command keeps no record that is known".to_owned())
        }
    };
    looked.unwrap_or_else(|text| vec![Unpushed::Unknown(text); folders.len()])
}

/// What a folder and its server differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpushed {
    /// In this; mostly in nothing.
    Known(Differences),
    /// Only a sync can tell, because of this.
    Unknown(String),
    /// No record of this syncer's will ever tell.
    Untold(String),
}

impl Unpushed {
    /// What a folder that is several boxes differs in.
    #[must_use]
    pub fn and(self, other: Unpushed) -> Unpushed {
        match (self, other) {
            (Unpushed::Known(mut one), Unpushed::Known(other)) => {
                one.extend(&other);
                Unpushed::Known(one)
            }
            // What a look may tell another time is not given up for the other.
            (unknown @ Unpushed::Unknown(_), _) | (_, unknown @ Unpushed::Unknown(_)) => unknown,
            (untold @ Unpushed::Untold(_), _) | (_, untold) => untold,
        }
    }
}

/// A set of differences, by their hashes; of many no more than what tells two sets apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    count: usize,
    sum: u64,
    /// Each of them, unless there are too many.
    each: Option<BTreeSet<u64>>,
}

impl Differences {
    /// Of no message.
    #[must_use]
    pub fn none() -> Self {
        Differences {
            each: Some(BTreeSet::new()),
            ..Differences::default()
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether both sides are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all of these are among the others.  Of too many to be remembered only the same ones
    /// are.
    #[must_use]
    pub fn are_among(&self, others: &Differences) -> bool {
        match (&self.each, &others.each) {
            (Some(these), Some(others)) => these.is_subset(others),
            _ => self == others,
        }
    }

    /// Without those that are not among the others.
    pub fn retain(&mut self, others: &Differences) {
        if self.are_among(others) {
            return;
        }
        let mut kept = Differences::none();
        if let (Some(these), Some(others)) = (&self.each, &others.each) {
            for hash in these.intersection(others) {
                kept.add_hash(*hash);
            }
        }
        *self = kept;
    }

    fn add(&mut self, difference: &Difference<'_>) {
        let mut hasher = DefaultHasher::new();
        difference.hash(&mut hasher);
        self.add_hash(hasher.finish());
    }

    fn add_hash(&mut self, hash: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
        self.each.take_if(|each| each.len() >= MOST);
        if let Some(each) = &mut self.each {
            each.insert(hash);
        }
    }

    fn extend(&mut self, other: &Differences) {
        match &other.each {
            Some(each) => each.iter().for_each(|hash| self.add_hash(*hash)),
            None => {
                self.count += other.count;
                self.sum = self.sum.wrapping_add(other.sum);
                self.each = None;
            }
        }
    }
}

/// What has to be told to the server.
#[derive(Hash)]
enum Difference<'a> {
    /// A message, by what its name begins with.
    New(&'a [u8]),
    /// Flags that it has now.
    Flags(u32, Flags),
    /// That it is gone.
    Gone(u32),
}

/// Compare what was agreed on with these names of files in `new` and `cur`, in this order.
///
/// `home` tells for what stands in `,FMD5=`, if that is there, whether it is this folder: of a
/// message that was moved here the UID is of elsewhere.
pub fn compare<'a>(
    agreed: &Agreed,
    names: impl Iterator<Item = &'a [u8]>,
    home: impl Fn(Option<&[u8]>) -> bool,
) -> Differences {
    let mut found = Differences::none();
    // While they are listed, a message may go from new to cur.
    let mut seen: Vec<Option<&[u8]>> = vec![None; agreed.messages.len()];
    for name in names.filter(|name| !name.starts_with(b".")) {
        let name = MessageName::of(name);
        let place = name.uid().filter(|_| home(name.mark));
        let place = place.and_then(|uid| Some((agreed.place(uid)?, uid)));
        let Some((place, uid)) = place else {
            found.add(&Difference::New(name.key));
            continue;
        };
        let known = agreed.messages[place].1;
        match seen[place].replace(name.key) {
            Some(before) if before != name.key => found.add(&Difference::New(name.key)),
            _ if known.is_none_or(|flags| flags == name.flags()) => {}
            _ => found.add(&Difference::Flags(uid, name.flags())),
        }
    }
    for ((uid, flags), seen) in agreed.messages.iter().zip(seen) {
        if flags.is_some() && seen.is_none() {
            found.add(&Difference::Gone(*uid));
        }
    }
    found
}

/// Names of files, one after the other in one piece of memory.
#[derive(Default)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |end| {
            let name = self.bytes.get(begin..*end).unwrap_or_default();
            begin = *end;
            name
        })
    }
}

/// Names of the files in `new` and `cur`.
///
/// # Errors
/// Where one of them cannot be listed.
pub fn list(folder: &Path) -> io::Result<Names> {
    let mut names = Names::default();
    // In this order: a message that goes from new to cur meanwhile is seen twice, not never.
    for part in ["new", "cur"] {
        let part = folder.join(part);
        let mut directory = Dir::open(&part, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        for entry in directory.iter() {
            let entry = entry?;
            names.bytes.extend_from_slice(entry.file_name().to_bytes());
            names.ends.push(names.bytes.len());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(text: &str) -> Agreed {
        let messages = text.split_whitespace().map(|message| {
            let (uid, flags) = message.split_once(':').unwrap();
            let flags = (flags != "-").then(|| Flags::of(flags.as_bytes()));
            (uid.parse().unwrap(), flags)
        });
        messages.collect()
    }

    fn differences(state: &str, names: &str) -> Differences {
        let names = names.split_whitespace().map(str::as_bytes);
        compare(&agreed(state), names, |mark| {
            mark.is_none_or(|it| it == b"here")
        })
    }

    #[test]
    fn names_are_compared_with_the_state() {
        // state, names in new and cur, how many differences
        let table = [
            ("", "", 0),
            ("1: 2:S", "a,U=1 b,U=2:2,S", 0),
            ("1:", "a,U=1:2,", 0),
            ("1:FS", "a,U=1:2,FS", 0),
            ("1:", ".nfs0001 a,U=1", 0),
            // letters that no server is told
            ("1:S", "a,U=1:2,PSabc", 0),
            // flags
            ("1:", "a,U=1:2,S", 1),
            ("1:S", "a,U=1:2,", 1),
            ("1:S", "a,U=1:2,F", 1),
            // new: without a UID, with one that is nobody's, with one that was somebody's
            ("1:", "a,U=1:2, b", 1),
            ("1:", "a,U=1:2, b:2,S c:2,", 2),
            ("1:", "a,U=1 b,U=7:2,S", 1),
            ("1:", "a,U=1 b,U=x:2,S", 1),
            ("1:", "a,U=1 b,U=:2,S", 1),
            ("1:", "a,U=1 b,U=99999999999", 1),
            ("1:", "a,U=1 b,U=-2", 1),
            ("1:", "a,U=1 b,U=1:2,", 1),
            // as syncers read them
            ("1:S", "a,U=1x:2,S", 0),
            ("1:S", "a,U=1,S=2:2,S", 0),
            ("1:S", "a,b,S=2,U=1:2,S", 0),
            ("1:S", "a:b,U=1:1,x:2,S", 0),
            ("1:FS", "a,U=1:2,S:2,F", 0),
            ("1:S", "a:2,S,U=1", 0),
            ("1:S", "a,U=1,U=2:2,S", 0),
            ("", ",U=0", 1),
            // gone
            ("1: 2:S", "a,U=1", 1),
            ("1: 2:S 3:", "", 3),
            // of no interest
            ("1:-", "a,U=1:2,S", 0),
            ("1:-", "", 0),
            // moved here from elsewhere
            ("1:", "a,U=1,FMD5=here:2,", 0),
            ("1:", "a,U=1,FMD5=there:2,", 2),
            // seen twice, since it went from new to cur meanwhile
            ("1:", "a,U=1 a,U=1:2,", 0),
            ("1:", "a,U=1 a,U=1:2,S", 1),
            ("1:S", "a,U=1:2,S a,U=1:2,FS", 1),
        ];
        for (state, names, count) in table {
            assert_eq!(differences(state, names).len(), count, "{state} | {names}");
        }
    }

    #[test]
    fn the_same_difference_is_known_again() {
        // differences of one look are among those of an earlier one
        let table = [
            ("", "", "", "", true),
            ("1:", "a,U=1:2,S", "1:", "a,U=1:2,S", true),
            ("1:", "a,U=1:2,S", "1:", "a,U=1:2,FS", false),
            ("1:", "a,U=1:2,S", "1:S", "a,U=1:2,", false),
            ("1:", "", "1:", "a,U=1", false),
            ("1:", "", "1: 2:", "", true),
            ("1: 2:", "", "1:", "", false),
            // a message that the syncer has marked, and refuses
            ("", "x,U=6:2,S", "", "x:2,S", true),
            ("", "y,U=6:2,S", "", "x:2,S", false),
            ("", "x,S=3,U=6:2,S", "", "x,S=3:2,", true),
            ("", "x,U=y:2,S", "", "x:2,S", false),
        ];
        for (state, names, old_state, old_names, among) in table {
            let (now, then) = (differences(state, names), differences(old_state, old_names));
            assert_eq!(now.are_among(&then), among, "{names} | {old_names}");
        }
    }

    #[test]
    fn many_differences_are_no_more_than_a_few() {
        let names = |count: usize| (0..count).map(|it| format!("{it} ")).collect::<String>();
        let many = differences("", &names(MOST + 1));
        assert_eq!((many.len(), &many.each), (MOST + 1, &None));
        assert!(many.are_among(&differences("", &names(MOST + 1))));
        assert!(!many.are_among(&differences("", &names(MOST + 2))));
        assert!(!differences("", &names(1)).are_among(&many));
        let mut sum = differences("", &names(1));
        sum.extend(&many);
        assert_eq!((sum.len(), sum.each), (MOST + 2, None));
    }

    #[test]
    fn what_one_box_does_not_tell_is_unknown() {
        let known = |names| Unpushed::Known(differences("", names));
        let unknown = || Unpushed::Unknown("why".to_owned());
        assert_eq!(known("a").and(known("b")), known("a b"));
        assert_eq!(known("a").and(unknown()), unknown());
        assert_eq!(unknown().and(known("")), unknown());
        let untold = || Unpushed::Untold("why".to_owned());
        assert_eq!(known("a").and(untold()), untold());
        assert_eq!(untold().and(known("")), untold());
        assert_eq!(untold().and(unknown()), unknown());
        assert_eq!(unknown().and(untold()), unknown());
    }
}
