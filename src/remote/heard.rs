//! What was heard of a store and not yet seen to, merged.  Pure.
//!
//! Bounded, whatever is said: names beyond a number that no store has are everything.

use std::collections::BTreeMap;

use super::names::Naming;
use super::protocol::{Dialect, Said};
use crate::change::Kinds;

/// Names that wait at most, and their bytes.
const MOST_NAMES: usize = 4096;
const MOST_BYTES: usize = 256 * 1024;

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The other end is mailsync-watch, and speaks with kinds.
    pub hello: bool,
    /// It speaks another version of that.
    pub foreign: bool,
    /// An empty line came before that greeting: perhaps it is one that does not know of kinds.
    pub blank: bool,
    /// Anything may have changed.  The first time, the store is being watched from now on.
    pub everything: bool,
    /// Changes after that, by canonical names.
    pub changes: BTreeMap<Vec<u8>, Kinds>,
    /// Bytes of their names.
    pub bytes: usize,
}

impl Heard {
    /// Take in one more line; gives back what does not belong there.
    pub fn add(&mut self, said: Said, dialect: Dialect, naming: &Naming) -> Option<Vec<u8>> {
        match said {
            Said::Hello => self.hello = true,
            Said::OtherVersion(_) => self.foreign = true,
            Said::Noise(line) => {
                self.blank |= line.is_empty();
                return Some(line);
            }
            Said::Everything => self.all(),
            Said::Change { name, kinds } => match naming.canonical(dialect, &name) {
                Some(name) => self.change(name, kinds),
                None => self.all(),
            },
        }
        None
    }

    /// What was said by name so far is in it, and so is what is not heard any more.
    pub(super) fn all(&mut self) {
        self.everything = true;
        self.changes.clear();
        self.bytes = 0;
    }

    /// A change of the folder with this canonical name.
    pub(super) fn change(&mut self, name: Vec<u8>, kinds: Kinds) {
        // Syncers take a name that they are given for one of the user's, and make directories of it:
        // that of a server must not lead out of the maildir.  None is called so.
        if name.split(|byte| *byte == b'/').any(|level| level == b"..") {
            self.all();
        } else if let Some(before) = self.changes.get_mut(&name) {
            *before = before.then(kinds);
        } else if self.changes.len() >= MOST_NAMES || self.bytes + name.len() > MOST_BYTES {
            self.all();
        } else {
            self.bytes += name.len();
            self.changes.insert(name, kinds);
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Heard::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::protocol::Reader;

    fn heard(lines: &[u8]) -> Heard {
        let (mut heard, mut reader) = (Heard::default(), Reader::new(Dialect::Plain));
        for said in reader.push(lines) {
            heard.add(said, Dialect::Plain, &Naming::default());
        }
        heard
    }

    #[test]
    fn lines_are_merged() {
        let heard = heard(b"Welcome\n\na.b\nINBOX\na.b\n");
        assert!(heard.everything && !heard.hello);
        let mut names: Vec<_> = heard.changes.keys().cloned().collect();
        names.sort();
        assert_eq!(names, [b"INBOX".to_vec(), b"a/b".to_vec()]);
    }

    #[test]
    fn doubt_stands_for_what_was_before_it() {
        let heard = heard(b"\na\n\nb\n");
        assert_eq!(heard.changes.len(), 1);
        assert!(heard.changes.contains_key(&b"b"[..]));
    }

    #[test]
    fn a_name_that_is_none_is_doubt() {
        let heard = |name: &[u8], dialect| {
            let (name, kinds) = (name.to_vec(), Kinds::NEW);
            let mut heard = Heard::default();
            heard.add(Said::Change { name, kinds }, dialect, &Naming::default());
            heard
        };
        // And one that leads out of a maildir: S35, S43.
        for name in [&b"a\0b"[..], b"..", b"../x", b"a/../../x", b"x/.."] {
            let heard = heard(name, Dialect::Kinds);
            assert!(heard.everything && heard.changes.is_empty(), "{name:?}");
        }
        let slashes = Naming {
            separator: b"::".to_vec(),
            ..Naming::default()
        };
        let mut by_slashes = Heard::default();
        let (name, kinds) = (b"a/../b".to_vec(), Kinds::NEW);
        by_slashes.add(Said::Change { name, kinds }, Dialect::Plain, &slashes);
        assert!(by_slashes.everything && by_slashes.changes.is_empty());
        for name in [&b"..."[..], b"a..b/.c", b".a"] {
            assert!(!heard(name, Dialect::Kinds).everything, "{name:?}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut heard = Heard::default();
        for number in 0..1_000_000 {
            heard.change(format!("folder{number}").into_bytes(), Kinds::NEW);
            assert!(heard.changes.len() <= MOST_NAMES);
        }
        assert!(heard.everything, "the rest is doubt");
        heard.change(vec![b'x'; 10_000], Kinds::NEW);
        for number in 0..100u8 {
            heard.change(vec![number; 16_000], Kinds::NEW);
            assert!(heard.bytes <= MOST_BYTES);
        }
    }
}
