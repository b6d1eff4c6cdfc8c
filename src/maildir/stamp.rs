//! What a directory looked like, and whether that proves that nothing has happened in it.
//!
//! Pure.  The proof is one-sided: "unchanged" is certain, its contrary means "may have changed".

use super::fs::{FileId, Stat, Wall};

/// How long a directory must have been left alone, in seconds, before its stamp proves anything:
/// the coarsest clock that a file system in use stamps with (FAT).
const RACY_SECS: i64 = 2;

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
        }
    }

    /// Whether surely nothing has happened in the directory between this stamp and `later`.
    ///
    /// True only if identity (device and inode), both times and the size are equal, and if both
    /// times lay at least two seconds before this stamp was taken.  Otherwise a second change
    /// within one tick of the file system's clock would leave no trace (git calls such an entry
    /// "racily clean").  Times are compared for equality, since clocks step back; if this clock
    /// did so in between, nothing is proven.
    #[must_use]
    pub fn unchanged(&self, later: &Stamp) -> bool {
        self.id == later.id
            && self.mtime == later.mtime
            && self.ctime == later.ctime
            && self.size == later.size
            && self.settled()
            && self.taken <= later.taken
    }

    /// Whether this stamp can prove anything: both times had rested for two seconds when it was
    /// taken.  A stamp that has not settled is worth taking again once those are over.
    #[must_use]
    pub fn settled(&self) -> bool {
        let rested = |time: Wall| {
            let until = time.secs.checked_add(RACY_SECS);
            until.is_some_and(|secs| Wall { secs, ..time } <= self.taken)
        };
        rested(self.mtime) && rested(self.ctime)
    }
}

#[cfg(test)]
mod tests {
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
        // mtime, ctime, taken, unchanged when nothing differs later
        let table = [
            (at(100, 0), at(100, 0), at(102, 0), true),
            (at(100, 0), at(100, 0), at(101, 999_999_999), false),
            (at(100, 5), at(100, 0), at(102, 4), false),
            (at(100, 5), at(100, 5), at(102, 5), true),
            (at(90, 0), at(101, 0), at(102, 0), false),
            (at(101, 0), at(90, 0), at(102, 0), false),
            // in the future, one of them or both
            (at(200, 0), at(200, 0), at(102, 0), false),
            (at(90, 0), at(200, 0), at(102, 0), false),
            (at(-5, 0), at(-5, 0), at(-3, 0), true),
            (at(i64::MAX - 1, 0), at(0, 0), at(i64::MAX, 0), false),
        ];
        for (mtime, ctime, taken, expected) in table {
            let first = stamp(mtime, ctime, taken);
            for later in [taken, at(i64::MAX, 999_999_999)] {
                let second = stamp(mtime, ctime, later);
                assert_eq!(first.unchanged(&second), expected, "{first:?} {second:?}");
            }
        }
    }

    #[test]
    fn any_difference_is_a_change() {
        let first = stamp(at(10, 0), at(10, 0), at(20, 0));
        let same = stamp(at(10, 0), at(10, 0), at(30, 0));
        assert!(first.unchanged(&same));
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
            // the clock has been set back
            Stamp {
                taken: at(19, 0),
                ..same
            },
        ];
        for later in table {
            assert!(!first.unchanged(&later), "{later:?}");
        }
    }
}
