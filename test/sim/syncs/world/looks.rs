//! The played look: what the syncer's record says, and then what is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use mailsync_module::change::Folder;
use mailsync_module::engine::core::Input;
use mailsync_module::schedule::Look;
use mailsync_module::syncer::unpushed::{Agreed, Unpushed, compare};

use super::{Happens, ID, Sabotage, World, named, seconds};
use crate::syncs::rules::Seen;
use crate::world::{Outcome as Verdict, ms};

/// A look that is under way.
#[derive(Debug)]
pub(super) struct Looking {
    look: Look,
    folders: Vec<(&'static str, Arc<Folder>)>,
    /// The point in time at which it was asked for.
    moment: u64,
    steps: u8,
    /// By what the records were known at the first step.
    stamps: Vec<Option<u64>>,
    /// What the records say, and what is there.
    agreed: Vec<Agreed>,
    names: Vec<Option<Vec<String>>>,
    /// Whether there was nothing to push when the names were listed, whatever the records say.
    pushed: Vec<bool>,
}

impl World {
    /// Somebody is to look what is to be pushed.
    pub(super) fn starts_looking(&mut self, look: Look, folders: &[Arc<Folder>]) -> Verdict {
        self.stats.looks += 1;
        let with_name = |folder: &Arc<Folder>| Ok((named(&folder.name)?, folder.clone()));
        let folders: Result<Vec<_>, String> = folders.iter().map(with_name).collect();
        let folders = folders?;
        if let Look::Before(_) = look {
            let names: Vec<_> = folders.iter().map(|(name, _)| *name).collect();
            self.rules.looks(self.now, look, &names)?;
        } else {
            self.rules.reviews(look);
        }
        if self.setup.teases && self.setup.timing.at_start && self.rng.once_in(40) {
            self.later(ms(300), Happens::Crashes);
        }
        let looking = Looking {
            look,
            folders,
            moment: self.rules.moment(),
            steps: 0,
            stamps: Vec::new(),
            agreed: Vec::new(),
            names: Vec::new(),
            pushed: Vec::new(),
        };
        self.later(ms(50), Happens::Look(Box::new(looking)));
        Ok(())
    }

    /// The next step of it: first the records are read, then the names are listed.
    pub(super) fn looks(&mut self, mut looking: Looking) -> Verdict {
        let first = self.sabotage == Sabotage::ListsFirst;
        match (looking.steps, first) {
            (0, false) | (1, true) => {
                let folders = looking.folders.iter();
                looking.agreed = folders.map(|(name, _)| self.mail.agreed(name)).collect();
            }
            (0 | 1, _) => {
                let folders = looking.folders.iter();
                looking.names = folders.map(|(name, _)| self.mail.names(name)).collect();
            }
            _ => return self.tells(looking),
        }
        // What it says is of the second of them.
        let folders = looking.folders.iter();
        looking.pushed = (folders.map(|(name, _)| self.mail.is_pushed(name))).collect();
        let stamps = looking
            .folders
            .iter()
            .map(|(name, _)| self.mail.stamp(name));
        let stamps: Vec<_> = stamps.collect();
        if looking.steps == 0 || first {
            looking.stamps = stamps.clone();
        }
        if looking.steps == 0 {
            // Nothing to compare yet.
        } else if self.sabotage != Sabotage::BelievesBusy {
            // While somebody is at it, and when a run came and went, nobody knows.
            let was = looking.stamps.iter().zip(&stamps);
            for (names, (before, after)) in looking.names.iter_mut().zip(was) {
                if before.is_none() || before != after {
                    *names = None;
                    self.stats.busy += 1;
                }
            }
        }
        looking.steps += 1;
        let lost = !self.calm && self.rng.once_in(20);
        let most = if lost { seconds(20) } else { ms(200) };
        self.later(most, Happens::Look(Box::new(looking)));
        Ok(())
    }

    /// What a run has left is being looked at.
    pub(super) fn is_reviewing(&self) -> bool {
        let after = |it: &Happens| matches!(it, Happens::Look(looking) if matches!(looking.look, Look::After(_)));
        self.agenda.values().any(after)
    }

    fn tells(&mut self, mut looking: Looking) -> Verdict {
        self.misjudges(&mut looking);
        let Looking { look, moment, .. } = looking;
        let each = looking.names.iter().zip(&looking.agreed);
        let each = each.map(|(names, agreed)| match names {
            Some(names) => {
                Unpushed::Known(compare(agreed, names.iter().map(String::as_bytes), |_| {
                    true
                }))
            }
            None => Unpushed::Unknown("nobody knows".to_owned()),
        });
        let found: Vec<_> = each.collect();
        let number = |name: &String| -> Option<u64> {
            let key = name.split(',').next().unwrap_or_default();
            key.rsplit('.').next().and_then(|id| id.parse().ok())
        };
        let refused = |folder: &str, name: &String, agreed: &Agreed| {
            let stays = |id| self.mail.may_stay(folder, id);
            number(name).is_some_and(|id| stays(id) && !agreed.contains(id as u32))
        };
        let seen = looking
            .folders
            .iter()
            .zip(&found)
            .zip(looking.names.iter().zip(&looking.agreed))
            .zip(&looking.pushed);
        let seen = seen.map(|((((name, _), found), (names, agreed)), pushed)| {
            let folder = name;
            let mut names = names.iter().flatten();
            let seen = match found {
                Unpushed::Unknown(_) | Unpushed::Untold(_) => Seen::Nothing,
                Unpushed::Known(differences) if differences.is_empty() && *pushed => Seen::Pushed,
                // As many as are refused.
                Unpushed::Known(differences)
                    if !differences.is_empty()
                        && names
                            .by_ref()
                            .filter(|name| refused(folder, name, agreed))
                            .count()
                            == differences.len() =>
                {
                    Seen::Refused
                }
                Unpushed::Known(_) => Seen::Open,
            };
            (*name, seen)
        });
        let seen: Vec<_> = seen.collect();
        self.say(format_args!("{look:?}: {seen:?}"));
        let here = looking.folders.iter().zip(&looking.names);
        let here = here.filter_map(|((folder, _), names)| {
            Some((*folder, names.as_ref()?.iter().filter_map(number).collect()))
        });
        let here: Vec<(_, BTreeSet<u64>)> = here.collect();
        let counts = self.rules.looked(self.now, look, moment, &seen);
        if counts {
            for (folder, here) in here {
                self.mail.forgive(folder, &here);
            }
        }
        let folders = looking.folders.into_iter().map(|(_, folder)| folder);
        self.handle(Input::Looked(ID, look, folders.zip(found).collect()))?;
        // Whatever nobody has refused.  What a syncer lies about twice passes for that, but not where
        // it has failed.
        let open = |(name, seen): &&(&str, Seen)| {
            let lies = self.setup.lies > 0 && !self.rules.alone.contains(*name);
            *seen == Seen::Open && !lies && !self.rules.ignores(name)
        };
        let open = seen.iter().filter(open).count();
        match self.unpushed() {
            Some(told) if counts && told < open => Err(format!(
                "I2: {told} folders are told to have something to push, and {open} have"
            )),
            _ => Ok(()),
        }
    }

    /// So many folders are told to have something to push, if that is known.
    pub(super) fn unpushed(&self) -> Option<usize> {
        let status = self.core.status();
        status.accounts.first()?.sync.as_ref()?.unpushed
    }

    /// What is seen, forged.
    fn misjudges(&mut self, looking: &mut Looking) {
        let moment = looking.moment;
        let seen = looking.names.iter_mut().zip(&mut looking.agreed);
        for ((name, _), (names, agreed)) in looking.folders.iter().zip(seen) {
            match self.sabotage {
                Sabotage::LooksBehind => {
                    let new = (names.clone(), agreed.clone());
                    if let Some(before) = self.glimpsed.insert(name, new) {
                        (*names, *agreed) = before;
                    }
                }
                Sabotage::ForgetsResidue => {
                    for name in names.iter_mut().flatten() {
                        let number = name.split(',').next().and_then(|it| it.parse().ok());
                        if number.is_some_and(|it: u32| !agreed.contains(it)) {
                            *name = format!("{moment}.{name}");
                        }
                    }
                }
                Sabotage::LeavesBe
                    if matches!(looking.look, Look::After(_)) && self.lied.contains(name) =>
                {
                    (*names, *agreed) = (Some(Vec::new()), Agreed::new());
                }
                _ => {}
            }
        }
    }
}
