//! What is known of a server's mailboxes, and what differs from that.  Pure.
//!
//! A snapshot outlives connections: what differs after a new one is what happened meanwhile.  With
//! modification sequences (RFC 7162) nothing is missed; without, a change of a flag that is not `\Seen`
//! does not show, and the store has to be taken for changed as a whole.

use std::collections::BTreeMap;

use crate::change::Kinds;

/// Mailboxes that are kept: more than anybody has.  Of any further one each word is doubt.
pub const MOST_MAILBOXES: usize = 20_000;

/// The same in bytes of their names.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Room for names, as many as are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    names: usize,
    bytes: usize,
}

impl Room {
    /// Take room for a name; false where there is none.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let fits = self.names < MOST_MAILBOXES && self.bytes.saturating_add(bytes) <= MOST_BYTES;
        if fits {
            self.names += 1;
            self.bytes += bytes;
        }
        fits
    }

    /// Such a name is not kept any more.
    pub(super) fn leave(&mut self, bytes: usize) {
        self.names = self.names.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The numbers of a mailbox (RFC 3501, 6.3.10), as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Messages in it.
    pub messages: Option<u64>,
    /// UIDNEXT: rises with each message that arrives.
    pub next: Option<u64>,
    /// UIDVALIDITY: with another one it is another mailbox.
    pub validity: Option<u64>,
    /// Messages without `\Seen`.
    pub unseen: Option<u64>,
    /// HIGHESTMODSEQ: rises with each change (RFC 7162).
    pub modseq: Option<u64>,
}

impl Numbers {
    /// What happened between these and the `later` ones; nothing where they are the same, as far as
    /// both know.
    #[must_use]
    pub fn until(&self, later: &Numbers) -> Kinds {
        let both = |one: Option<u64>, other: Option<u64>| one.zip(other);
        let differ = |pair: Option<(u64, u64)>| pair.is_some_and(|(one, other)| one != other);
        let learnt = |one: Option<u64>, other: Option<u64>| one.is_none() && other.is_some();
        if learnt(self.messages, later.messages)
            || learnt(self.next, later.next)
            // It may be another mailbox, in the place of the one that was known.
            || learnt(self.validity, later.validity)
            || learnt(self.unseen, later.unseen)
        {
            // Whatever it was before.
            return Kinds::UNKNOWN;
        }
        if differ(both(self.validity, later.validity)) {
            return Kinds::UNKNOWN;
        }
        let arrived = both(self.next, later.next);
        let messages = both(self.messages, later.messages);
        let mut kinds = Kinds::empty();
        match arrived {
            Some((before, after)) if after < before => return Kinds::UNKNOWN,
            Some((before, after)) if after > before => {
                kinds |= Kinds::NEW;
                // A number may have been given to none, or to one that is gone again: that is doubt
                // about nothing but what is gone.
                if let Some((had, has)) = messages
                    && has < had.saturating_add(after - before)
                {
                    kinds |= Kinds::GONE;
                }
            }
            Some(_) => match messages {
                Some((had, has)) if has > had => return Kinds::UNKNOWN,
                Some((had, has)) if has < had => kinds |= Kinds::GONE,
                _ => {}
            },
            None => match messages {
                Some((had, has)) if has > had => kinds |= Kinds::NEW,
                Some((had, has)) if has < had => kinds |= Kinds::GONE,
                _ => {}
            },
        }
        let flags = [
            both(self.modseq, later.modseq),
            both(self.unseen, later.unseen),
        ];
        let flags = flags.into_iter().any(differ) || learnt(self.modseq, later.modseq);
        if kinds.is_empty() && flags {
            kinds |= Kinds::FLAGS;
        }
        kinds
    }

    /// Take over what the `later` ones know.
    pub fn update(&mut self, later: &Numbers) {
        self.messages = later.messages.or(self.messages);
        self.next = later.next.or(self.next);
        self.validity = later.validity.or(self.validity);
        self.unseen = later.unseen.or(self.unseen);
        self.modseq = later.modseq.or(self.modseq);
    }
}

/// What is known of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    numbers: Numbers,
    /// What its numbers have shown, and was not told, since the server is sure to speak of it itself.
    left: Kinds,
}

/// What is known of the mailboxes of a server, by their canonical names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    mailboxes: BTreeMap<Vec<u8>, Known>,
    room: Room,
    /// All of them were seen, and are in it.
    complete: bool,
}

impl Snapshot {
    /// Whether all mailboxes were seen, so that one that is not known is new.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether a difference would show whatever has changed.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let exact = |it: &Numbers| it.modseq.is_some_and(|it| it > 0) && it.next.is_some();
        self.complete && self.mailboxes.values().all(|it| exact(&it.numbers))
    }

    /// Take in the numbers of a mailbox; says what has happened in it.
    pub fn update(&mut self, name: &[u8], numbers: &Numbers) -> Kinds {
        if let Some(known) = self.mailboxes.get_mut(name) {
            let kinds = known.numbers.until(numbers);
            known.numbers.update(numbers);
            return kinds;
        }
        if !self.room.take(name.len()) {
            // It would be new each time.
            self.complete = false;
            return Kinds::UNKNOWN;
        }
        let known = Known {
            numbers: *numbers,
            left: Kinds::empty(),
        };
        self.mailboxes.insert(name.to_vec(), known);
        if self.complete {
            Kinds::CREATED
        } else {
            Kinds::empty()
        }
    }

    /// What the numbers of a mailbox have shown is left for the server to tell: no look shows it again.
    pub fn leave(&mut self, name: &[u8], kinds: Kinds) {
        if let Some(known) = self.mailboxes.get_mut(name) {
            known.left |= kinds;
        }
    }

    /// The server has told of such.
    pub fn told(&mut self, name: &[u8], kinds: Kinds) {
        if let Some(known) = self.mailboxes.get_mut(name) {
            known.left -= kinds;
        }
    }

    /// What was left for the server to tell, and is left no more.
    pub fn take_left(&mut self, name: &[u8]) -> Kinds {
        let known = self.mailboxes.get_mut(name);
        known.map_or(Kinds::empty(), |it| std::mem::take(&mut it.left))
    }

    /// A mailbox is there; its numbers are not known.
    pub fn appeared(&mut self, name: &[u8]) -> Kinds {
        self.update(name, &Numbers::default())
    }

    /// A mailbox may be another one than was known: its numbers are forgotten.  Whether there was one.
    pub fn renewed(&mut self, name: &[u8]) -> bool {
        let known = self.mailboxes.get_mut(name);
        known.map(|it| it.numbers = Numbers::default()).is_some()
    }

    /// Whether this mailbox is in it.
    #[must_use]
    pub fn knows(&self, name: &[u8]) -> bool {
        self.mailboxes.contains_key(name)
    }

    /// A mailbox is not there any more; whether it was.
    pub fn vanished(&mut self, name: &[u8]) -> bool {
        let was = self.mailboxes.remove(name).is_some();
        if was {
            self.room.leave(name.len());
        }
        was
    }

    /// All mailboxes were seen, and there was room for them: `there` says which.  Gives those that are
    /// not there any more.
    pub fn completed(&mut self, there: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let gone = self.mailboxes.keys().filter(|name| !there(name));
        let gone: Vec<Vec<u8>> = gone.cloned().collect();
        for name in &gone {
            self.mailboxes.remove(name);
            self.room.leave(name.len());
        }
        self.complete = true;
        gone
    }

    /// How many mailboxes are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mailboxes.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mailboxes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "messages next validity unseen modseq", a minus for what is not known.
    fn numbers(text: &str) -> Numbers {
        let mut words = text.split(' ').map(|word| word.parse().ok());
        let mut next = || words.next().flatten();
        Numbers {
            messages: next(),
            next: next(),
            validity: next(),
            unseen: next(),
            modseq: next(),
        }
    }

    #[test]
    fn what_happened_between_two_looks() {
        let none = Kinds::empty();
        let table = [
            ("3 4 1 1 9", "3 4 1 1 9", none),
            ("3 4 1 1 9", "- - - - -", none),
            // what is told for the first time
            ("- - - - -", "3 4 1 1 9", Kinds::UNKNOWN),
            ("3 4 1 - -", "3 4 1 1 -", Kinds::UNKNOWN),
            ("3 4 - 1 9", "3 4 1 1 9", Kinds::UNKNOWN),
            ("3 4 - 1 9", "3 4 - 1 9", none),
            ("3 4 1 1 -", "- - - - 9", Kinds::FLAGS),
            ("3 4 1 1 9", "4 5 1 2 10", Kinds::NEW),
            ("3 4 1 1 9", "3 4 1 1 10", Kinds::FLAGS),
            ("3 4 1 1 -", "3 4 1 0 -", Kinds::FLAGS),
            ("3 4 1 1 9", "2 4 1 1 10", Kinds::GONE),
            // one came, another went
            ("3 4 1 1 9", "3 5 1 1 11", Kinds::NEW | Kinds::GONE),
            // it came and went
            ("3 4 1 1 9", "3 5 1 1 -", Kinds::NEW | Kinds::GONE),
            ("3 4 1 1 9", "3 4 2 1 9", Kinds::UNKNOWN),
            ("3 4 1 1 9", "3 3 1 1 9", Kinds::UNKNOWN),
            ("3 4 1 1 9", "4 4 1 1 9", Kinds::UNKNOWN),
            // of a push that tells only some of it
            ("3 4 1 1 9", "- - - - 10", Kinds::FLAGS),
            ("3 4 1 1 9", "4 5 - 2 -", Kinds::NEW),
            ("3 - 1 1 -", "4 - 1 1 -", Kinds::NEW),
            ("3 - 1 1 -", "2 - 1 1 -", Kinds::GONE),
        ];
        for (before, after, kinds) in table {
            let found = numbers(before).until(&numbers(after));
            assert_eq!(found, kinds, "{before} to {after}");
        }
    }

    #[test]
    fn mailboxes_come_and_go() {
        let mut snapshot = Snapshot::default();
        assert_eq!(snapshot.update(b"a", &numbers("1 2 1 0 3")), Kinds::empty());
        assert_eq!(snapshot.update(b"b", &numbers("1 2 1 0 3")), Kinds::empty());
        assert!(!snapshot.is_exact(), "it is not complete");
        assert!(snapshot.completed(|_| true).is_empty());
        assert!(snapshot.is_exact());
        assert_eq!(snapshot.update(b"a", &numbers("1 2 1 0 3")), Kinds::empty());
        assert_eq!(snapshot.appeared(b"c"), Kinds::CREATED);
        assert!(!snapshot.is_exact(), "nothing is known of c");
        assert_eq!(snapshot.update(b"c", &numbers("1 2 1 0 3")), Kinds::UNKNOWN);
        assert!(snapshot.vanished(b"c") && !snapshot.vanished(b"c"));
        assert_eq!(snapshot.completed(|it| it == b"a"), [b"b".to_vec()]);
        assert_eq!(snapshot.len(), 1);
    }

    #[test]
    fn what_is_left_for_the_server_to_tell() {
        let mut snapshot = Snapshot::default();
        snapshot.leave(b"a", Kinds::NEW);
        assert_eq!(snapshot.take_left(b"a"), Kinds::empty(), "there is no a");
        snapshot.appeared(b"a");
        snapshot.leave(b"a", Kinds::NEW);
        snapshot.update(b"a", &numbers("1 2 1 0 3"));
        snapshot.leave(b"a", Kinds::GONE);
        snapshot.leave(b"a", Kinds::FLAGS);
        snapshot.told(b"a", Kinds::FLAGS | Kinds::UNKNOWN);
        assert_eq!(snapshot.take_left(b"a"), Kinds::NEW | Kinds::GONE);
        assert_eq!(snapshot.take_left(b"a"), Kinds::empty());
        snapshot.leave(b"a", Kinds::NEW);
        snapshot.vanished(b"a");
        snapshot.appeared(b"a");
        assert_eq!(
            snapshot.take_left(b"a"),
            Kinds::empty(),
            "that was another one"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut snapshot = Snapshot::default();
        snapshot.completed(|_| true);
        for number in 0..3 * MOST_MAILBOXES {
            snapshot.appeared(number.to_string().as_bytes());
        }
        assert_eq!(snapshot.len(), MOST_MAILBOXES);
        assert!(!snapshot.is_complete());
        let kinds = snapshot.appeared(b"one more");
        assert_eq!(kinds, Kinds::UNKNOWN, "it cannot be told to be new");
        assert!(snapshot.vanished(b"7"));
        assert_eq!(snapshot.appeared(b"one more"), Kinds::empty());
        snapshot.completed(|name| name == b"8");
        for number in 0..100u8 {
            snapshot.appeared(&[number; MOST_BYTES / 10]);
        }
        assert_eq!(snapshot.len(), 11);
        snapshot.completed(|_| false);
        assert_eq!(snapshot.room, Room::default());
    }
}
