//! When a run may start, what it has to take, and what its end means.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailsync_module::schedule::Look;
use mailsync_module::syncer::{Outcome, RunId};

use super::need::Need;
use super::{Broken, Planned, Rules, Run, Wish};

impl Rules {
    /// A run starts.
    pub fn starts(&mut self, now: Duration, run: RunId, scope: Option<BTreeSet<String>>) -> Broken {
        if self.run.is_some() {
            return Err("I5: two runs at once".to_owned());
        }
        if !self.locked {
            return Err("I5: a run without the lock".to_owned());
        }
        if self.paused || self.refused {
            return Err("I5: a run while paused".to_owned());
        }
        if scope.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err("a run that is asked for nothing".to_owned());
        }
        self.runs += 1;
        let another = |look| look != Look::Before(run);
        if (self.planned.as_ref().and_then(|it| it.looked)).is_some_and(another) {
            // The one that was looked at is not needed, and the next one is due.
            self.plans_nothing();
        }
        self.poll(now);
        let planned = self.planned.take();
        let known = planned.is_none();
        let looked = planned.as_ref().is_some_and(|it| it.looked.is_some());
        if looked && !self.ready {
            return Err("a run over maildirs that may be away".to_owned());
        }
        let planned = planned.unwrap_or_else(|| self.plan(now));
        let Planned { needs, wish, .. } = &planned;
        let urgent = wish.is_some_and(|it| it.urgent);
        let asked = urgent || needs.values().any(|it| it.asked);
        if !asked && known {
            self.may_start(&planned, scope.as_ref())?;
        }
        self.is_needed(&planned, scope.as_ref(), known || looked)?;
        let Planned {
            at, moment, ready, ..
        } = planned;
        let mut taken = BTreeMap::new();
        for (folder, need) in planned.needs {
            if scope.as_ref().is_none_or(|scope| scope.contains(&folder)) {
                taken.insert(folder, need);
            } else if need.asked && (ready || need.structural.is_none()) {
                return Err(format!("{folder} is asked for, and not synced"));
            } else {
                self.again((folder, need));
            }
        }
        let check = self.timing.check;
        let missed = |it: &Need| it.unanswered.is_some_and(|first| first + check <= at);
        if known {
            self.silent |= taken.values().any(missed);
        }
        let mut wish = planned.wish;
        if scope.is_some() {
            self.wish_again(wish.take(), true);
        } else if let Some(untold) = wish.filter(|wish| wish.untold && !ready) {
            self.wish_again(Some(untold), false);
        }
        self.run = Some(Run {
            moment,
            ready,
            scope,
            taken,
            wish,
            slept: false,
            cut: false,
        });
        Ok(())
    }

    /// The run that is under way is told to end.
    pub fn is_cut(&mut self) {
        if let Some(run) = &mut self.run {
            run.cut = true;
            run.slept = false;
        }
    }

    /// A run that nobody has asked for keeps its distance, and waits for checks.
    pub(super) fn may_start(&self, planned: &Planned, scope: Option<&BTreeSet<String>>) -> Broken {
        let Planned {
            at: now,
            needs,
            wish,
            ..
        } = planned;
        let now = *now;
        if !self.ready {
            return Err("a run over maildirs that may be away".to_owned());
        }
        if let Some((gate, _)) = self.gate
            && now < gate
        {
            return Err(format!(
                "I6: after {} failures, {:?} too early",
                self.failures,
                gate - now
            ));
        }
        let own = |folder: &String| self.inter(folder);
        let covered = |folder: &&String| scope.is_none_or(|scope| scope.contains(*folder));
        let inter = match scope {
            Some(scope) => scope.iter().map(own).max(),
            None => needs.keys().map(own).min(),
        };
        let inter = inter.unwrap_or(self.timing.inter).min(self.timing.inter);
        if let Some(end) = self.last_end
            && now < end + inter
        {
            return Err(format!("{:?} after the last run", now - end));
        }
        for folder in scope.into_iter().flatten() {
            if let Some(at) = self.synced.get(folder)
                && now < *at + self.inter(folder)
            {
                return Err(format!("{folder}: {:?} after it was synced", now - *at));
            }
        }
        let base = |it: &Need| {
            if it.far.is_some() {
                Duration::ZERO
            } else {
                self.timing.base
            }
        };
        let since = needs.values().map(|it| it.oldest + base(it));
        let since = since.chain(wish.map(|it| it.since)).min();
        let patient = since.is_some_and(|since| now < since + self.timing.check);
        // The wait is for the run, and begins with the first change in it.
        // One that changed there, too, does not wait.
        let unseen = (needs.iter()).filter(|(name, need)| covered(name) && need.far.is_none());
        // Nor does a sync of everything that one of them takes along.
        let far = scope.is_none() && needs.values().any(|need| need.far.is_some());
        // Lisp may have looked, and its answer is lost: the machine knows what it is told.
        let mut late = unseen.clone().filter_map(|(_, need)| need.unanswered);
        let late = late.any(|first| first + self.timing.check <= now);
        let unseen = unseen.filter_map(|(name, need)| Some((need.unseen?, name)));
        if let Some((first, folder)) = unseen.min()
            && patient
            && !far
            && !late
            && !self.silent
            && now < first + self.timing.check
        {
            return Err(format!(
                "I4: {folder} has not been checked, and is waited for only since {first:?}"
            ));
        }
        Ok(())
    }

    /// Each run has a reason.
    fn is_needed(
        &self,
        planned: &Planned,
        scope: Option<&BTreeSet<String>>,
        known: bool,
    ) -> Broken {
        let Planned { needs, wish, .. } = planned;
        let Some(scope) = scope else {
            let structural = needs.values().any(|it| it.structural.is_some());
            let unknown = !known && !needs.is_empty();
            return if wish.is_some() || structural || unknown {
                Ok(())
            } else {
                Err("I3: a sync of everything that nobody needs".to_owned())
            };
        };
        for folder in scope {
            match needs.get(folder) {
                None => return Err(format!("I3: a sync of {folder} that nobody needs")),
                Some(need) if need.structural.is_some() => {
                    return Err(format!("{folder} was made or removed, and is named"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A run is over; `ours`: we have cut it.
    pub fn ended(
        &mut self,
        now: Duration,
        outcome: Outcome,
        failed: &BTreeSet<String>,
        everything: bool,
        ours: bool,
    ) {
        let Some(run) = self.run.take() else { return };
        self.last_end = Some(now);
        self.hindered = now;
        if let Outcome::Ok | Outcome::Partial = outcome {
            self.reset();
            self.began = Some(run.moment);
            let everything = everything || run.scope.is_none();
            if everything {
                self.full_syncs += 1;
                self.poll_from = now;
                self.slept = Duration::ZERO;
                let knows = |wish: &Wish| run.ready || !wish.untold;
                (self.wish).take_if(|wish| wish.moment < run.moment && knows(wish));
                self.needs.retain(|_, need| need.moment > run.moment);
                self.aside.clear();
                self.alone.clear();
            }
            for folder in run.scope.iter().flatten() {
                self.alone.remove(folder);
            }
            self.alone.extend(failed.iter().cloned());
            for folder in run.taken.keys().filter(|it| !failed.contains(*it)) {
                self.synced.insert(folder.clone(), now);
            }
            for folder in failed.iter().filter(|it| !self.needs.contains_key(*it)) {
                self.aside.insert(folder.clone());
            }
            return;
        }
        for (folder, mut need) in run.taken {
            need.asked = false;
            self.again((folder, need));
        }
        self.wish_again(run.wish, false);
        let short = now + self.timing.inter.max(Duration::from_secs(1));
        self.gate = match outcome {
            Outcome::Interrupted if ours => None,
            Outcome::Locked => Some((short, short)),
            Outcome::Auth => {
                self.refusals += 1;
                self.refused |= self.refusals > 1 && !self.paused;
                Some((short, short))
            }
            _ => {
                self.refusals = 0;
                self.failures += 1;
                let first = self.timing.inter.max(Duration::from_secs(5));
                let wait = first * (1 << (self.failures - 1).min(20));
                let wait = wait.min(self.timing.max);
                Some((now + wait, now + (wait + wait / 4).min(self.timing.max)))
            }
        };
    }
}
