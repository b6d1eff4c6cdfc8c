//! Who wrote a message's file, as far as its name tells.
//!
//! Both mbsync and OfflineIMAP name what they fetch after their own process and mark it with the
//! UID that the server gave (`,U=`); what they have sent they rename so that it has that mark.
//! Such a change is an echo of a sync and asks for no other.  A change of flags or a deletion
//! cannot be told by names: it counts as the user's, and costs one run that finds nothing.
//!
//! Pure.  Which processes are ours the engine knows.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::change::Kinds;
use crate::maildir::message::MessageName;

/// What a name claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing.
    Nothing,
    /// That there is nothing here that a server could want to know.
    Quiet,
    /// That a syncer has brought the message to the server.
    Pushed,
    /// That the process with this number has fetched or sent it.
    By(u32),
}

/// A file that came from where nobody watches.
#[must_use]
pub fn created(path: &Path) -> Claim {
    name(path).writer().map_or(Claim::Nothing, Claim::By)
}

/// A file that was renamed within a folder.
#[must_use]
pub fn renamed(from: &Path, to: &Path) -> Claim {
    let (old, new) = (name(from), name(to));
    if !old.has_the_letters_of(&new) {
        return Claim::Nothing;
    }
    if old.base == new.base {
        // What a mail reader does when it has looked: from new/ to cur/.
        return Claim::Quiet;
    }
    if new.only_gains_uid(&old) {
        return Claim::Pushed;
    }
    if old.has_uid() {
        return Claim::Nothing;
    }
    new.writer().map_or(Claim::Nothing, Claim::By)
}

fn name(path: &Path) -> MessageName<'_> {
    MessageName::of(path.file_name().map_or(b"", |name| name.as_bytes()))
}

/// What happened to the messages of a directory, by what their names claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Nobody claims it.
    pub open: Kinds,
    /// Of no interest to a server.
    pub quiet: Kinds,
    /// Brought to the server by a syncer.
    pub pushed: Kinds,
    /// By process.
    pub by: Vec<(u32, Kinds)>,
}

/// Processes remembered in one directory; more are nobody.
const MOST_WRITERS: usize = 4;

impl Claims {
    /// Kinds that nobody claims.
    #[must_use]
    pub fn none(open: Kinds) -> Self {
        Claims {
            open,
            ..Claims::default()
        }
    }

    /// One more.
    pub fn add(&mut self, claim: Claim, kinds: Kinds) {
        match claim {
            Claim::Nothing => self.open |= kinds,
            Claim::Quiet => self.quiet |= kinds,
            Claim::Pushed => self.pushed |= kinds,
            Claim::By(pid) => match self.by.iter().position(|(known, _)| *known == pid) {
                Some(at) => self.by[at].1 |= kinds,
                None if self.by.len() < MOST_WRITERS => self.by.push((pid, kinds)),
                None => self.open |= kinds,
            },
        }
    }

    /// Which of these kinds may be news to a server.
    #[must_use]
    pub fn news(&self, kinds: Kinds) -> Kinds {
        let by = self.by.iter().map(|(_, kinds)| *kinds);
        let claimed = by.fold(self.open | self.pushed, Kinds::union);
        kinds - (self.quiet - claimed)
    }

    /// What is not the work of a syncer, when these processes are: kinds that may have to be
    /// brought to the server, and whether a syncer did anything at all.
    #[must_use]
    pub fn judge(&self, ours: impl Fn(u32) -> bool) -> (Kinds, bool) {
        let mut open = self.open;
        let mut synced = !self.pushed.is_empty();
        for (pid, kinds) in &self.by {
            if ours(*pid) {
                synced = true;
            } else {
                open |= *kinds;
            }
        }
        (open, synced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_claim() {
        let table = [
            // mbsync fetches, OfflineIMAP fetches
            ("", "new/1700000000.4711_1.host,U=5:2,", Claim::By(4711)),
            ("", "cur/1700000000.4711_12.a.b.c,U=5:2,S", Claim::By(4711)),
            (
                "",
                "new/1700000000_3.4711.host,U=8,FMD5=0a1b:2,",
                Claim::By(4711),
            ),
            // others deliver
            ("", "new/1700000000.M1P4711.host,S=5", Claim::Nothing),
            ("", "new/1700000000.4711_1.host", Claim::Nothing),
            ("", "new/1700000000.M1P4711Q1.host,U=5", Claim::Nothing),
            ("", "new/1700000000.x_1.host,U=5", Claim::Nothing),
            ("", "new/1700000000.99999999999_1.host,U=5", Claim::Nothing),
            ("", "new/,U=", Claim::Nothing),
            // a reader looks
            ("new/1", "cur/1:2,", Claim::Quiet),
            ("new/1,U=5:2,F", "cur/1,U=5:2,F", Claim::Quiet),
            // flags
            ("new/1", "cur/1:2,S", Claim::Nothing),
            ("cur/1:2,S", "cur/1:2,", Claim::Nothing),
            ("new/1:2,", "cur/1:2,F", Claim::Nothing),
            ("cur/1:2,SF", "cur/1:2,FS", Claim::Quiet),
            // mbsync has sent it, OfflineIMAP has
            ("cur/1:2,S", "cur/1,U=6:2,S", Claim::Pushed),
            (
                "cur/1:2,S",
                "cur/1700000000_3.4711.host,U=9,FMD5=0a:2,S",
                Claim::By(4711),
            ),
            ("cur/1:2,S", "cur/1,U=6:2,ST", Claim::Nothing),
            ("cur/1:2,S", "cur/1,U=:2,S", Claim::Nothing),
            ("cur/1:2,S", "cur/1,U=6x:2,S", Claim::Nothing),
            // another UID is not what a syncer gives
            ("cur/1,U=5:2,S", "cur/1,U=6:2,S", Claim::Nothing),
            (
                "cur/1,U=5:2,",
                "cur/1700000000_3.4711.host,U=9,FMD5=0a:2,",
                Claim::Nothing,
            ),
        ];
        for (from, to, expected) in table {
            let claim = match from {
                "" => created(Path::new(to)),
                from => renamed(Path::new(from), Path::new(to)),
            };
            assert_eq!(claim, expected, "{from} {to}");
        }
    }

    #[test]
    fn what_only_a_reader_did_is_no_news() {
        let (new, flags) = (Kinds::NEW, Kinds::FLAGS);
        // What is claimed, of which kinds, and which of all are news.
        let table: &[(&[(Claim, Kinds)], Kinds)] = &[
            (&[(Claim::Quiet, flags)], Kinds::empty()),
            (&[(Claim::Quiet, flags), (Claim::Nothing, new)], new),
            (&[(Claim::Quiet, flags), (Claim::Nothing, flags)], flags),
            (&[(Claim::Quiet, flags), (Claim::Pushed, flags)], flags),
            (&[(Claim::By(1), flags), (Claim::Quiet, flags)], flags),
            (&[(Claim::By(1), new), (Claim::Quiet, flags)], new),
        ];
        for (claimed, news) in table {
            let mut claims = Claims::default();
            let mut kinds = Kinds::empty();
            for (claim, of) in *claimed {
                claims.add(*claim, *of);
                kinds |= *of;
            }
            assert_eq!(claims.news(kinds), *news, "{claimed:?}");
        }
    }

    #[test]
    fn only_our_processes_are_believed() {
        let mut claims = Claims::default();
        claims.add(Claim::By(1), Kinds::NEW);
        claims.add(Claim::Quiet, Kinds::FLAGS);
        assert_eq!(claims.judge(|pid| pid == 1), (Kinds::empty(), true));
        assert_eq!(claims.judge(|_| false), (Kinds::NEW, false));
        claims.add(Claim::By(2), Kinds::GONE);
        assert_eq!(claims.judge(|pid| pid == 1), (Kinds::GONE, true));
        for pid in 3..20 {
            claims.add(Claim::By(pid), Kinds::FLAGS);
        }
        assert_eq!(claims.by.len(), MOST_WRITERS);
        assert!(claims.judge(|_| true).0.contains(Kinds::FLAGS));
    }
}
