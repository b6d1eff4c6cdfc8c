//! Looks at what is to be pushed, and what is to follow from what they have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailsync_module::schedule::Look;

use super::need::Need;
use super::{Broken, Rules};

/// What a look has seen in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Pushed,
    /// Only what the syncer refuses, as may be known or not.
    Refused,
    Open,
}

impl Rules {
    /// What runs have left is looked at.
    pub fn reviews(&mut self, look: Look) {
        self.review = Some(look);
    }

    /// Folders are looked at before they would be synced: that is decided now.
    pub fn looks(&mut self, now: Duration, look: Look, folders: &[&str]) -> Broken {
        // One look may follow another at once.
        self.plans_nothing();
        self.poll(now);
        let mut planned = self.plan(now);
        planned.looked = Some(look);
        let scope: BTreeSet<String> = folders.iter().map(|it| (*it).to_owned()).collect();
        self.may_start(&planned, Some(&scope))?;
        let check = self.timing.check;
        let mut waiting = folders
            .iter()
            .filter_map(|folder| planned.needs.get(*folder));
        let missed = |it: &Need| it.unanswered.is_some_and(|first| first + check <= now);
        self.silent |= waiting.any(missed);
        // What is not looked at goes on to wait, and is checked, as one with what comes of it.
        let (these, others) = (planned.needs.into_iter()).partition(|(it, _)| scope.contains(it));
        planned.needs = these;
        self.planned = Some(planned);
        let others: BTreeMap<_, _> = others;
        others.into_iter().for_each(|it| self.again(it));
        Ok(())
    }

    /// What a look that was asked for at that moment has seen; whether that still counts.
    pub fn looked(
        &mut self,
        now: Duration,
        look: Look,
        moment: u64,
        seen: &[(&'static str, Seen)],
    ) -> bool {
        // What comes after another run has begun is nobody's verdict.
        let needs = if let Look::Before(_) = look {
            let planned = self.planned.as_mut().filter(|it| it.looked == Some(look));
            if planned.is_some() {
                // Nothing else could start up to now.
                self.hindered = now;
            }
            planned.map(|it| &mut it.needs)
        } else {
            let review = self.review.take_if(|it| *it == look);
            review.map(|_| &mut self.needs)
        };
        let Some(needs) = needs else { return false };
        let began = self.began.unwrap_or(u64::MAX);
        let ignore = &self.timing.ignore;
        for (folder, seen) in seen {
            if ignore.iter().any(|glob| glob.matches(folder.as_bytes())) {
                continue;
            }
            let mut need = needs.get_mut(*folder).filter(|it| it.moment <= moment);
            if *seen != Seen::Nothing
                && let Some(need) = &mut need
            {
                // There is a record of it: that run has made it.
                need.structural.take_if(|made| *made > began);
            }
            if let Seen::Pushed | Seen::Refused = seen
                && let Some(need) = need.filter(|it| it.structural.is_none())
            {
                // It waits for no check, if for anything.
                need.unseen = None;
                need.optional |= !need.wished && need.far.is_none();
                if *seen == Seen::Pushed && need.optional {
                    needs.remove(*folder);
                }
            }
            if let (Look::After(_), Seen::Refused | Seen::Open) = (look, seen) {
                let need = needs.entry((*folder).to_owned());
                need.or_insert_with(|| Need {
                    optional: true,
                    ..Need::new(now)
                });
            }
        }
        true
    }
}
