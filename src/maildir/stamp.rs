//! What a directory looked like, and whether that proves that nothing has happened in it.
//!
//! Pure.  The proof is one-sided: "unchanged" is certain, its contrary means "may have changed".

use super::fs::{FileId, Stat, Wall};

/// How long a directory on another machine must have looked the same, in seconds, before that
/// proves anything.  What a look sees may be as old as the attributes that the kernel keeps: 60
/// seconds for a directory on NFS (nfs(5), `acdirmax`).
const REMOTE_SECS: i64 = 70;

/// What a directory looked like when it was taken: enough to say "surely unchanged".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which directory it was.
    pub id: FileId,
    /// When its entries changed last.
    pub mtime: Wall,
    /// When its entries or attributes changed last.
    pub ctime: Wall,
    /// Its size in bytes, which betrays some changes on file systems whose clock does not.
    pub size: u64,
    /// When this was read, by the wall clock: just before, so that a change that was not read
    /// cannot be older.
    pub taken: Wall,
    /// Since when it has looked like this, as far as looks have shown.
    pub since: Wall,
}

/// What two looks at a directory prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Surely nothing has happened in between.
    Unchanged,
    /// It looks the same, but a change within one tick of the file system's clock would leave no
    /// trace (git calls such an entry "racily clean").
    Doubtful,
    /// Something has happened.
    Changed,
}

/// Whose clock stamps a directory, and how fresh a look at it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// This machine's.
    Here,
    /// Another machine's, which may be wrong, seen through a cache.
    Elsewhere,
}

impl Stamp {
    /// The stamp of a directory that looked like `stat` just after `taken`.
    #[must_use]
    pub fn new(stat: &Stat, taken: Wall) -> Self {
        Stamp {
            id: stat.id,
            mtime: stat.mtime,
            ctime: stat.ctime,
            size: stat.size,
            taken,
            since: taken,
        }
    }

    /// What this stamp and a later one prove of the time between them.
    ///
    /// Times are compared for equality, since clocks step back; if our own did so in between,
    /// nothing is proven.
    #[must_use]
    pub fn compare(&self, later: &Stamp, clock: Clock) -> Verdict {
        if !self.looks_like(later) {
            Verdict::Changed
        } else if self.settled(clock) && self.taken <= later.taken {
            Verdict::Unchanged
        } else {
            Verdict::Doubtful
        }
    }

    /// Whether this stamp can prove anything.  One that has not settled is worth taking again.
    ///
    /// By our own clock, both times must have rested when it was taken.  By any clock, it is
    /// enough to have looked the same for so long that the tick in which it was stamped is over.
    #[must_use]
    pub fn settled(&self, clock: Clock) -> bool {
        match clock {
            Clock::Here => {
                self.mtime.rested(self.taken) && self.ctime.rested(self.taken)
                    || self.since.rested(self.taken)
            }
            Clock::Elsewhere => {
                let until = self.since.secs.checked_add(REMOTE_SECS);
                until.is_some_and(|secs| secs <= self.taken.secs)
            }
        }
    }

    /// This stamp as the successor of an older one of the same directory: where it looks the
    /// same, it has done so for as long as that.
    #[must_use]
    pub fn following(self, old: &Stamp) -> Stamp {
        if self.looks_like(old) && old.since <= self.taken {
            let since = old.since;
            Stamp { since, ..self }
        } else {
            self
        }
    }

    /// This stamp once the clock was set, to a time maybe at which something else is stamped alike: it
    /// looks like none that is taken later.
    #[must_use]
    pub fn void(self) -> Stamp {
        let never = Wall {
            secs: i64::MIN,
            nanos: 0,
        };
        Stamp {
            mtime: never,
            ctime: never,
            ..self
        }
    }

    fn looks_like(&self, other: &Stamp) -> bool {
        self.id == other.id
            && self.mtime == other.mtime
            && self.ctime == other.ctime
            && self.size == other.size
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Changed, Doubtful, Unchanged};
    use super::*;

    fn at(secs: i64, nanos: u32) -> Wall {
        Wall { secs, nanos }
    }

    fn stamp(mtime: Wall, ctime: Wall, taken: Wall) -> Stamp {
        let id = FileId { dev: 1, ino: 7 };
        let stat = Stat {
            id,
            is_dir: true,
            size: 4096,
            mtime,
            ctime,
        };
        Stamp::new(&stat, taken)
    }

    #[test]
    fn only_what_has_rested_for_two_seconds_is_unchanged() {
        // mtime, ctime, taken, what is proven when nothing differs later
        let table = [
            (at(100, 0), at(100, 0), at(102, 0), Unchanged),
            (at(100, 0), at(100, 0), at(101, 999_999_999), Doubtful),
            (at(100, 5), at(100, 0), at(102, 4), Doubtful),
            (at(100, 5), at(100, 5), at(102, 5), Unchanged),
            (at(90, 0), at(101, 0), at(102, 0), Doubtful),
            (at(101, 0), at(90, 0), at(102, 0), Doubtful),
            // in the future, one of them or both
            (at(200, 0), at(200, 0), at(102, 0), Doubtful),
            (at(90, 0), at(200, 0), at(102, 0), Doubtful),
            (at(-5, 0), at(-5, 0), at(-3, 0), Unchanged),
            (at(i64::MAX - 1, 0), at(0, 0), at(i64::MAX, 0), Doubtful),
        ];
        for (mtime, ctime, taken, expected) in table {
            let first = stamp(mtime, ctime, taken);
            for later in [taken, at(i64::MAX, 999_999_999)] {
                let second = stamp(mtime, ctime, later);
                let verdict = first.compare(&second, Clock::Here);
                assert_eq!(verdict, expected, "{first:?} {second:?}");
                // Another machine's clock proves nothing by itself.
                assert_eq!(first.compare(&second, Clock::Elsewhere), Doubtful);
            }
        }
    }

    #[test]
    fn what_looks_the_same_for_long_enough_is_settled_by_any_clock() {
        // seconds between the first look and this one, whose clock, what a later look proves
        let table = [
            (1, Clock::Here, Doubtful),
            (2, Clock::Here, Unchanged),
            (69, Clock::Elsewhere, Doubtful),
            (70, Clock::Elsewhere, Unchanged),
            // our clock was set back
            (-1, Clock::Here, Doubtful),
        ];
        for (secs, clock, expected) in table {
            // by a clock that is a day ahead
            let ahead = at(90_000, 0);
            let first = stamp(ahead, ahead, at(1_000, 0));
            let second = stamp(ahead, ahead, at(1_000 + secs, 0)).following(&first);
            let third = stamp(ahead, ahead, at(2_000, 0));
            assert_eq!(
                second.compare(&third, clock),
                expected,
                "{secs} s, {clock:?}"
            );
            let other = stamp(at(1, 0), ahead, at(1_000 + secs, 0));
            assert_eq!(other.following(&first), other, "it looks different");
        }
    }

    #[test]
    fn any_difference_is_a_change() {
        let first = stamp(at(10, 0), at(10, 0), at(20, 0));
        let same = stamp(at(10, 0), at(10, 0), at(30, 0));
        assert_eq!(first.compare(&same, Clock::Here), Unchanged);
        let dev = FileId { dev: 2, ..same.id };
        let ino = FileId { ino: 8, ..same.id };
        let (before, after) = (at(9, 0), at(10, 1));
        let table = [
            Stamp { id: dev, ..same },
            Stamp { id: ino, ..same },
            Stamp { size: 0, ..same },
            // equality is what counts: older is different, too
            Stamp {
                mtime: before,
                ..same
            },
            Stamp {
                mtime: after,
                ..same
            },
            Stamp {
                ctime: before,
                ..same
            },
            Stamp {
                ctime: after,
                ..same
            },
        ];
        for later in table {
            assert_eq!(first.compare(&later, Clock::Here), Changed, "{later:?}");
        }
        let set_back = Stamp {
            taken: at(19, 0),
            ..same
        };
        assert_eq!(first.compare(&set_back, Clock::Here), Doubtful);
        for clock in [Clock::Here, Clock::Elsewhere] {
            assert_eq!(first.void().compare(&same, clock), Changed);
        }
        assert_eq!(same.following(&first.void()), same);
    }
}
