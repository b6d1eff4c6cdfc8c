//! How a run went, and what follows from that.

use std::time::{Duration, Instant};

use super::run::{Run, Stage, Whole};
use super::{Done, LEAST_RETRY, Pause, Scheduler};
use crate::backoff;
use crate::syncer::{End, Ended, Outcome, RunId, Scope};

impl Scheduler {
    /// The run is over.  Returns who waited for it.
    pub fn ended(&mut self, now: Instant, id: RunId, ended: &Ended) -> Option<Done> {
        let run = self.run.take_if(|run| run.id == id)?;
        self.last_end = Some(now);
        self.stirred = true;
        let done = Done {
            folders: run.scope.names(),
            requests: run.requests.clone(),
        };
        match ended.outcome {
            Outcome::Ok | Outcome::Partial => self.succeeded(now, run, ended),
            outcome => self.failed(now, run, outcome, &ended.text),
        }
        Some(done)
    }

    pub(super) fn succeeded(&mut self, now: Instant, run: Run, ended: &Ended) {
        self.covered = run.moment;
        self.once_more = true;
        self.unseen = match (self.unseen.take(), &run.scope) {
            (Some(Scope::Folders(mut before)), Scope::Folders(folders)) if !ended.everything => {
                before.extend(folders.iter().cloned());
                before.sort_unstable();
                before.dedup();
                Some(Scope::Folders(before))
            }
            (None, Scope::Folders(folders)) if !ended.everything => {
                Some(Scope::Folders(folders.clone()))
            }
            _ => Some(Scope::Everything),
        };
        for real in &ended.failed {
            self.records.fail_alone(real);
        }
        self.failures = 0;
        self.refusals = 0;
        self.gate = None;
        self.last_ok = Some(now);
        let everything = ended.everything || run.scope == Scope::Everything;
        if everything {
            self.poll_at = self.timing.poll.map(|poll| now + poll);
            self.queue.synced_all(now, run.moment);
            let covers = |whole: &Whole| whole.moment <= run.moment && run.knows(whole);
            self.whole.take_if(|whole| covers(whole));
            self.aside.clear();
        }
        (self.aside).retain(|real, (folder, _)| !run.took(real, folder.as_deref()));
        self.aside.extend(ended.failed.iter().map(|real| {
            let folder = run.folders.get(real).map(|it| it.folder.clone());
            (real.clone(), (folder, ended.text.clone()))
        }));
        self.trouble = match ended.outcome {
            Outcome::Partial => ended.text.clone(),
            _ => self.aside_text().unwrap_or_default(),
        };
        for (real, pending) in run.folders {
            // One that failed alone is left alone until it changes, or everything is synced.
            if !ended.failed.contains(&real) {
                self.queue.synced(now, &pending);
            }
        }
    }

    /// Why a folder is left alone; of several always the same one.
    pub(super) fn aside_text(&self) -> Option<String> {
        let first = self.aside.iter().min_by_key(|(real, _)| *real);
        first.map(|(_, (_, text))| text.clone())
    }

    /// What a run had taken has to be synced all the same.
    pub(super) fn take_back(&mut self, run: Run) {
        self.queue.again(run.folders, &self.timing);
        if let Some(whole) = run.whole {
            self.whole = Some(self.whole.map_or(whole, |later| Whole {
                since: whole.since,
                urgent: whole.urgent || later.urgent,
                untold: whole.untold || later.untold,
                moment: later.moment,
            }));
        }
    }

    pub(super) fn failed(&mut self, now: Instant, mut run: Run, outcome: Outcome, text: &str) {
        self.records.fail(&run.scope);
        let ours = matches!(run.stage, Stage::Slept | Stage::Ending(End::Interrupt));
        // Its turn at the front is over.
        run.folders.values_mut().for_each(|it| it.urgent = false);
        run.whole.iter_mut().for_each(|it| it.urgent = false);
        self.take_back(run);
        if !(ours && outcome == Outcome::Interrupted) {
            self.trouble = text.to_owned();
        }
        self.gate = match outcome {
            Outcome::Locked => Some(now + self.timing.inter.max(LEAST_RETRY)),
            Outcome::Interrupted if ours => None,
            Outcome::Auth => {
                self.refusals += 1;
                if self.refusals > 1 && self.pause.is_none() {
                    self.pause = Some(Pause::Auth(text.to_owned()));
                }
                Some(now + self.timing.inter.max(LEAST_RETRY))
            }
            _ => {
                // Another failure: the next refusal may be as accidental as a first one.
                self.refusals = 0;
                self.failures = self.failures.saturating_add(1);
                Some(now + self.backoff())
            }
        };
    }

    /// How long to wait after so many failures.
    pub(super) fn backoff(&mut self) -> Duration {
        let first = self.timing.inter.max(backoff::LEAST);
        let most = self.timing.max.max(LEAST_RETRY);
        backoff::wait(self.failures, first, most, &mut self.chance)
    }

    /// What failed may go now.
    pub(super) fn retry(&mut self) {
        self.gate = None;
        self.failures = 0;
        self.refusals = 0;
    }

    /// The last attempt did not fail.
    pub(super) fn goes_well(&self) -> bool {
        self.failures == 0 && self.refusals == 0
    }
}
