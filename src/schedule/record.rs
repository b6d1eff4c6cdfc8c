//! What is known of what folders and their servers still differ in.
//!
//! A syncer refuses some things for ever (a message without a header, one that is too large, anything
//! in a folder that is only read).  Such a difference stays, and is called the residue; whatever is
//! not in it has to be pushed.  A difference is residue when it was seen before two successful runs,
//! one after the other, and left by both, neither of which anybody disturbed: one that was made, or
//! taken back and made again, while a run was under way, or that a run left by accident, is pushed
//! by the next.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::change::Folder;
use crate::syncer::Scope;
use crate::syncer::unpushed::{Differences, Unpushed};

/// What was found in a folder.
struct Record {
    folder: Arc<Folder>,
    /// By the last look.
    seen: Differences,
    /// By the last look before the last run, until it is looked at what that has left; `None` too
    /// where it has failed.
    given: Option<Differences>,
    /// What was given to the last successful run, and left by it, while nobody disturbed it.
    refused: Differences,
    residue: Differences,
    /// All of it is pushed, but for the residue.
    pushed: bool,
    /// No look will ever tell whether it is.
    untold: bool,
}

impl Record {
    fn new(folder: &Arc<Folder>) -> Self {
        Record {
            folder: folder.clone(),
            seen: Differences::none(),
            given: None,
            refused: Differences::none(),
            residue: Differences::none(),
            pushed: false,
            untold: false,
        }
    }
}

/// All that was found.
#[derive(Default)]
pub(super) struct Records {
    folders: HashMap<Arc<Path>, Record>,
    /// Each folder was looked at.
    complete: bool,
}

impl Records {
    /// A look before a run: whether there is nothing to push.
    pub(super) fn before(&mut self, folder: &Arc<Folder>, found: &Unpushed) -> bool {
        let record = self.record(folder);
        record.untold = matches!(found, Unpushed::Untold(_));
        record.pushed = match found {
            Unpushed::Unknown(_) | Unpushed::Untold(_) => false,
            Unpushed::Known(differences) => {
                // What has gone may come again for another reason.
                for known in [&mut record.refused, &mut record.residue] {
                    known.retain(differences);
                }
                record.seen = differences.clone();
                differences.are_among(&record.residue)
            }
        };
        record.pushed
    }

    /// A run of these folders, or of all, begins.
    pub(super) fn run(&mut self, scope: &Scope) {
        self.each(scope, |record| record.given = Some(record.seen.clone()));
    }

    /// It has failed, and so refused nothing.
    pub(super) fn fail(&mut self, scope: &Scope) {
        self.each(scope, |record| record.given = None);
    }

    /// A folder has failed alone.
    pub(super) fn fail_alone(&mut self, real: &Path) {
        if let Some(record) = self.folders.get_mut(real) {
            record.given = None;
        }
    }

    fn each(&mut self, scope: &Scope, act: impl Fn(&mut Record)) {
        match scope {
            Scope::Everything => self.folders.values_mut().for_each(act),
            Scope::Folders(folders) => {
                for folder in folders {
                    if let Some(record) = self.folders.get_mut(&folder.real) {
                        act(record);
                    }
                }
            }
        }
    }

    /// A look after a run that went well: whether there is nothing to push.  `disturbed` says that
    /// somebody may have changed something since it began.
    pub(super) fn after(
        &mut self,
        folder: &Arc<Folder>,
        found: &Unpushed,
        disturbed: bool,
    ) -> bool {
        let clean = self.before(folder, found);
        let Unpushed::Known(differences) = found else {
            return false;
        };
        let record = self.record(folder);
        // Without a run that went well since the last look nothing was refused once more.
        let Some(given) = record.given.take() else {
            return record.pushed;
        };
        // What is there now may have been pushed, and come again.
        if disturbed {
            record.refused = Differences::none();
            return record.pushed;
        }
        let again = differences.are_among(&record.refused) && differences.are_among(&given);
        if !clean && again {
            record.residue = differences.clone();
            record.pushed = true;
        }
        record.refused = differences.clone();
        record.refused.retain(&given);
        record.pushed
    }

    fn record(&mut self, folder: &Arc<Folder>) -> &mut Record {
        let record = self.folders.entry(folder.real.clone());
        record.or_insert_with(|| Record::new(folder))
    }

    /// From now on each folder is known.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// Folders with something to push, once each was looked at, and not counting these, which are
    /// counted already; none where some can never be known.
    pub(super) fn open(&self, but: impl Fn(&Path) -> bool) -> Option<usize> {
        if !self.complete || self.folders.values().any(|it| it.untold) {
            return None;
        }
        let open = self.folders.iter();
        let open = open.filter(|(real, it)| !it.pushed && !but(real));
        Some(open.count())
    }

    /// Whether a folder has something to push, as of the last look.
    pub(super) fn is_open(&self, real: &Path) -> bool {
        self.folders
            .get(real)
            .is_some_and(|it| !it.pushed && !it.untold)
    }

    pub(super) fn forget(&mut self, these: &dyn Fn(&Folder) -> bool) {
        self.folders.retain(|_, it| !these(&it.folder));
    }

    pub(super) fn clear(&mut self) {
        *self = Records::default();
    }

    pub(super) fn len(&self) -> usize {
        self.folders.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::AccountId;
    use crate::syncer::unpushed::{Agreed, compare};

    /// Differences called so; `?`: nobody knows.
    fn found(names: &str) -> Unpushed {
        if names == "?" {
            return Unpushed::Unknown("?".to_owned());
        }
        let names = names.split_whitespace().map(str::as_bytes);
        Unpushed::Known(compare(&Agreed::new(), names, |_| true))
    }

    #[test]
    fn a_difference_is_residue_when_two_runs_have_left_it() {
        // looks one after the other (< before a run, > after it, ! after one that was disturbed, x after
        // one that the folder has failed in, _ after none), with what is found, and whether there is
        // nothing to push
        let table = [
            "< = yes; > = yes",
            "< a = no",
            "< a = no; > a = no; < a = no; > a = yes; < a = yes; < a b = no",
            // made while the run was under way
            "> a = no; > a = no; > a = yes",
            "< a = no; > b = no; < b = no; > b = no; < b = no; > b = yes",
            "< a = no; > a = no; > a b = no; > b = no; > b = yes",
            // somebody was there
            "< a = no; > a = no; ! a = no; > a = no; > a = yes",
            "< a = no; ! a = no; > a = no; > a = yes; ! a = yes; > a = yes",
            // a run that failed has not refused it, nor one that is looked at twice
            "< a = no; > a = no; x a = no; > a = yes",
            "< a = no; > a = no; _ a = no; > a = yes",
            // gone, and here again
            "< a = no; > a = no; > a = yes; > = yes; < a = no; > a = no; > a = yes",
            "< a = no; > a = no; > a = yes; < = yes; < a = no; > a = no; > a = yes",
            // a part of it
            "< a b = no; > a b = no; > a b = yes; > a = yes; < a b = no",
            // nobody knows
            "< ? = no; > ? = no; < a = no; > a = no; > ? = no; > a = yes; > ? = no; < a = yes",
        ];
        let folder = Arc::new(Folder {
            directory: Path::new("/m/a").into(),
            real: Path::new("/m/a").into(),
            ..Folder::by_name(AccountId(0), b"a".as_slice().into())
        });
        for script in table {
            let mut records = Records::default();
            for step in script.split(';') {
                let (look, clean) = step.split_once('=').unwrap();
                let (when, names) = look.trim().split_at(1);
                let found = found(names.trim());
                let was = match when {
                    "<" => records.before(&folder, &found),
                    when => {
                        if when != "_" {
                            records.run(&Scope::Everything);
                        }
                        if when == "x" {
                            records.fail_alone(&folder.real);
                        }
                        records.after(&folder, &found, when == "!")
                    }
                };
                assert_eq!(was, clean.trim() == "yes", "{script}: {step}");
            }
        }
    }

    #[test]
    fn only_what_was_looked_at_is_pushed() {
        let folder = |name: &str| {
            Arc::new(Folder {
                real: Path::new(name).into(),
                ..Folder::by_name(AccountId(0), name.as_bytes().into())
            })
        };
        let mut records = Records::default();
        records.after(&folder("a"), &found(""), false);
        assert_eq!(records.open(|_| false), None);
        records.complete();
        assert_eq!(records.open(|_| false), Some(0));
        records.after(&folder("b"), &found("x"), false);
        records.after(&folder("c"), &found("?"), false);
        assert_eq!(records.open(|_| false), Some(2));
        assert_eq!(records.open(|real| real == Path::new("b")), Some(1));
        records.forget(&|folder| *folder.name == *b"c");
        assert_eq!((records.open(|_| false), records.len()), (Some(1), 2));
        // Of which no record tells, nobody says that there is something to push, nor that there is nothing.
        assert!(records.is_open(Path::new("b")));
        records.after(&folder("d"), &Unpushed::Untold("?".to_owned()), false);
        assert!(!records.is_open(Path::new("d")));
        assert_eq!(records.open(|_| false), None);
        records.after(&folder("d"), &found(""), false);
        assert_eq!(records.open(|_| false), Some(1));
    }
}
