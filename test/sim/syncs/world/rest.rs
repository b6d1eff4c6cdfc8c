//! How it ends: nobody does anything any more, all comes to rest, and is looked at.

use super::{Happens, MOST_LAST_RUNS, World, seconds};
use crate::world::Outcome as Verdict;

impl World {
    /// No more faults, and nobody does anything: until all is done.
    pub fn rest(&mut self) -> Verdict {
        self.say("calm");
        self.calm = true;
        self.agenda.retain(|_, it| {
            !matches!(
                it,
                Happens::User | Happens::Far | Happens::Fault | Happens::Undoes(_)
            )
        });
        self.away = false;
        self.deaf = false;
        self.outage = None;
        self.broken.clear();
        if self.other {
            self.other_leaves()?;
        }
        if !self.there {
            self.configure()?;
        }
        self.pause(false)?;
        let (began, polls) = (self.now, self.rules.full_syncs);
        let polled = self.setup.timing.poll.is_some();
        // One that goes on now may have fetched already.
        let more = u64::from(polled) * (1 + u64::from(!self.processes.is_empty()));
        let polls = polls + more;
        let runs = self.rules.runs;
        while !self.agenda.is_empty()
            || self.rules.pending()
            || self.once.audit().is_err()
            || !self.untold.is_empty()
            || self.listener.waits()
            || self.rules.full_syncs < polls
            || !polled && self.core.deadline().is_some()
        {
            if self.agenda.is_empty() && self.core.deadline().is_none() {
                // Nothing will ever happen again.
                return Ok(());
            }
            if self.now > began + seconds(20_000) {
                return Err("it does not come to rest".to_owned());
            }
            self.step()?;
            self.stats.last_runs = self.rules.runs - runs;
            if self.stats.last_runs > MOST_LAST_RUNS {
                return Err("I3: nobody does anything, and it syncs on and on".to_owned());
            }
        }
        Ok(())
    }

    /// When all is done.
    pub fn audit(&mut self) -> Verdict {
        if self.core.deadline().is_some() && self.setup.timing.poll.is_none() {
            return Err("I8: it ticks, and nothing is left".to_owned());
        }
        if self.rules.pending() {
            return Err(format!("I2: something is left: {:?}", self.rules));
        }
        if !self.rules.answers_due.is_empty() {
            let due = &self.rules.answers_due;
            return Err(format!("requests without an answer: {due:?}"));
        }
        let polled = self.setup.timing.poll.is_some();
        // A lie about what is there nobody sees.
        let watched = self.setup.watched && self.setup.lies == 0;
        let far = self.mail.last_far(&[]);
        // One that failed alone is left alone until it changes there, or has something to push: what
        // happens in it here, and a look sees to be nothing, brings no other run.
        let fetched = |it: &&'static str| {
            self.rules.alone.contains(*it) || self.mail.has_fetched(it, far[it])
        };
        let wanted = |it: &&&str| polled || watched && !self.rules.ignores(it);
        let mut wanted = self.mail.folders.keys().filter(wanted);
        if let Some(name) = wanted.find(|it| !fetched(it)) {
            return Err(format!(
                "I2: {name} has not what is on the server, which it polls or watches"
            ));
        }
        self.once.audit()?;
        if let Some((name, untold)) = self.untold.first_key_value() {
            return Err(format!("I1: Lisp was not told of {name}: {untold:?}"));
        }
        let status = self.core.status();
        let root = status.accounts.first().and_then(|it| it.roots.first());
        if root.is_some_and(|root| root.state == "watching") && !self.listener.is_there() {
            return Err("who listens does not know that the maildir is watched".to_owned());
        }
        if self.listener.waits() {
            return Err(format!("I1: it is not passed on: {:?}", self.listener));
        }
        self.knows_what_is_open()?;
        for name in self.mail.folders.keys() {
            let excused = self.rules.ignores(name) || self.rules.aside.contains(*name);
            if !excused
                && !self.setup.timing.pulls_only
                && let Some(text) = self.mail.unsent(name)
            {
                return Err(format!("I2: the server does not know {text}"));
            }
        }
        Ok(())
    }

    /// What the server does not know, though nothing more is done about it, is not told to be pushed.
    fn knows_what_is_open(&self) -> Verdict {
        let unsent = |it: &&&str| !self.rules.ignores(it) && self.mail.unsent(it).is_some();
        let existing = self.mail.existing();
        let unsent: Vec<_> = existing.iter().filter(unsent).collect();
        match self.unpushed() {
            Some(told) if told < unsent.len() => Err(format!(
                "I2: {told} folders are told to have something to push, and {unsent:?} have"
            )),
            _ => Ok(()),
        }
    }
}
