//! What the scheduler may do, and must, written down a second time, from the design and not from
//! its code: each run is held against what has happened so far.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailsync_module::schedule::{Look, Timing};
use mailsync_module::syncer::{Outcome, RunId};

type Broken = Result<(), String>;

const SETTLE_MOST: Duration = Duration::from_secs(10);
/// How late something may be.
const SLACK: Duration = Duration::from_millis(1_500);

/// Why a folder has to be synced.
#[derive(Clone, Debug)]
struct Need {
    first: Duration,
    /// The first reason to look at it, which may be older.
    oldest: Duration,
    /// The moment of the last change or wish, as a number of moments.
    moment: u64,
    /// Of the last change.
    changed: u64,
    /// It was made or removed.
    structural: bool,
    asked: bool,
    /// It was, and has not been had yet.
    wished: bool,
    /// Of the last change, as Lisp is told.
    serial: u64,
    /// The first change that Lisp has not answered for.
    unanswered: Option<Duration>,
    /// The first change that Lisp has not looked at, whatever it says.
    unseen: Option<Duration>,
    /// Only a look has found something, which may be refused.
    optional: bool,
}

/// What a look has seen in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Pushed,
    /// Only what the syncer refuses, as may be known or not.
    Refused,
    Open,
}

impl Need {
    fn new(now: Duration) -> Self {
        Need {
            first: now,
            oldest: now,
            moment: 0,
            changed: 0,
            structural: false,
            asked: false,
            wished: false,
            serial: 0,
            unanswered: None,
            unseen: None,
            optional: false,
        }
    }

    fn absorb(&mut self, later: Need) {
        let first = |one: Option<Duration>, two| [one, two].into_iter().flatten().min();
        self.optional &= later.optional;
        self.structural |= later.structural;
        self.asked |= later.asked;
        self.wished |= later.wished;
        self.moment = self.moment.max(later.moment);
        self.changed = self.changed.max(later.changed);
        self.serial = self.serial.max(later.serial);
        self.unanswered = first(self.unanswered, later.unanswered);
        self.unseen = first(self.unseen, later.unseen);
    }
}

/// A sync of everything is wanted.
#[derive(Clone, Copy, Debug)]
struct Wish {
    since: Duration,
    urgent: bool,
    /// It is for what happened until the first look: a run that begins before that does not do.
    untold: bool,
    /// Of the last time that it was wished.
    moment: u64,
}

#[derive(Debug)]
struct Run {
    /// The moment of its start.
    moment: u64,
    ready: bool,
    /// `None`: everything.
    scope: Option<BTreeSet<String>>,
    taken: BTreeMap<String, Need>,
    wish: Option<Wish>,
}

/// A run that Lisp is asked about before it starts.
#[derive(Debug)]
struct Planned {
    at: Duration,
    moment: u64,
    /// The maildirs were there.
    ready: bool,
    needs: BTreeMap<String, Need>,
    wish: Option<Wish>,
    /// Its folders are looked at; Lisp is not asked.
    looked: Option<Look>,
}

#[derive(Debug)]
pub struct Rules {
    pub timing: Timing,
    needs: BTreeMap<String, Need>,
    wish: Option<Wish>,
    run: Option<Run>,
    planned: Option<Planned>,
    /// What runs have left is looked at, since the last of them.
    review: Option<Look>,
    /// Since when a sync of everything is due for its own sake.
    poll_from: Duration,
    /// The machine has slept for so long since then.
    slept: Duration,
    pub answers_due: BTreeSet<i64>,
    /// Folders that failed alone.
    pub aside: BTreeSet<String>,
    synced: BTreeMap<String, Duration>,
    last_end: Option<Duration>,
    failures: u32,
    refusals: u32,
    /// Nothing starts before the first, and by the second something does.
    gate: Option<(Duration, Duration)>,
    /// Lisp has missed a deadline.
    silent: bool,
    pub paused: bool,
    refused: bool,
    pub locked: bool,
    pub ready: bool,
    begun: bool,
    /// When something last stood in the way of a run.
    hindered: Duration,
    moment: u64,
    pub runs: u64,
    pub full_syncs: u64,
}

impl Rules {
    pub fn new(timing: Timing) -> Self {
        Rules {
            timing,
            needs: BTreeMap::new(),
            wish: None,
            run: None,
            planned: None,
            review: None,
            poll_from: Duration::ZERO,
            slept: Duration::ZERO,
            answers_due: BTreeSet::new(),
            aside: BTreeSet::new(),
            synced: BTreeMap::new(),
            last_end: None,
            failures: 0,
            refusals: 0,
            gate: None,
            silent: false,
            paused: false,
            refused: false,
            locked: false,
            ready: false,
            begun: false,
            hindered: Duration::ZERO,
            moment: 0,
            runs: 0,
            full_syncs: 0,
        }
    }

    /// Another point in time: what comes later comes after it, also where clocks do not differ.
    pub fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    pub fn begin(&mut self, now: Duration) {
        self.begun = true;
        self.poll_from = now;
        if self.timing.at_start {
            let moment = self.moment();
            self.wish = Some(Wish {
                moment,
                since: now,
                urgent: false,
                untold: true,
            });
        }
    }

    fn inter(&self, folder: &str) -> Duration {
        let mut overrides = self.timing.overrides.iter();
        let own = overrides.find(|(glob, _)| glob.matches(folder.as_bytes()));
        own.map_or(self.timing.inter, |(_, inter)| *inter)
    }

    pub fn ignores(&self, folder: &str) -> bool {
        let ignore = &self.timing.ignore;
        ignore.iter().any(|glob| glob.matches(folder.as_bytes()))
    }

    /// The core has learned of a change that is nobody's, or the user's.
    pub fn changed(&mut self, now: Duration, folder: &str, structural: bool, serial: u64) {
        if self.ignores(folder) || self.timing.pulls_only {
            return;
        }
        self.aside.remove(folder);
        let moment = self.moment();
        let need = self.needs.entry(folder.to_owned());
        let need = need.or_insert_with(|| Need::new(now));
        if need.optional {
            need.optional = false;
            need.first = now;
        }
        need.moment = moment;
        need.changed = moment;
        need.structural |= structural;
        need.serial = need.serial.max(serial);
        need.unanswered.get_or_insert(now);
        need.unseen.get_or_insert(now);
    }

    /// Lisp says that it has checked a folder, which it really began to do at this moment.
    pub fn checked(&mut self, folder: &str, serial: u64, moment: Option<u64>) {
        self.silent = false;
        let taken = self
            .run
            .iter_mut()
            .flat_map(|run| run.taken.get_mut(folder));
        let planned = self.planned.iter_mut();
        let planned = planned.flat_map(|it| it.needs.get_mut(folder));
        let waiting = self.needs.get_mut(folder).into_iter();
        for need in waiting.chain(taken).chain(planned) {
            if serial >= need.serial {
                need.unanswered = None;
            }
            if moment.is_some_and(|moment| moment > need.changed) {
                need.unseen = None;
            }
        }
    }

    pub fn asked(&mut self, now: Duration, folders: Option<&[String]>, request: i64) {
        if self.planned.as_ref().is_some_and(|it| it.looked.is_some()) {
            self.plans_nothing();
        }
        let moment = self.moment();
        match folders {
            None => {
                self.wish = Some(Wish {
                    moment,
                    since: now,
                    urgent: true,
                    untold: self.wish.is_some_and(|wish| wish.untold),
                });
            }
            Some(folders) => {
                for folder in folders {
                    self.aside.remove(folder);
                    let structural = self.is_being_made(folder);
                    let need = self.needs.entry(folder.clone());
                    let need = need.or_insert_with(|| Need::new(now));
                    need.optional = false;
                    need.asked = true;
                    need.wished = true;
                    need.structural |= structural;
                    need.moment = moment;
                }
            }
        }
        self.answers_due.insert(request);
        if self.refused {
            self.refused = false;
            self.reset();
        }
    }

    /// Whether the run that is under way makes or removes it on the server: until that is known to
    /// be done, nothing may name it.
    fn is_being_made(&self, folder: &str) -> bool {
        let taken = self.run.iter().map(|run| &run.taken);
        let planned = self.planned.iter().map(|it| &it.needs);
        let mut going = taken.chain(planned).filter_map(|it| it.get(folder));
        going.any(|need| need.structural)
    }

    /// What failed may be tried again.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.refusals = 0;
        self.gate = None;
    }

    pub fn pause(&mut self, pause: bool) {
        self.paused = pause;
        self.refused = false;
        if !pause {
            self.reset();
        }
    }

    pub fn slept(&mut self, slept: Duration) {
        // The machine's clock stood still.
        self.slept += slept;
        self.reset();
    }

    pub fn retimed(&mut self, now: Duration, timing: Timing) {
        // The user has done something: what was refused is tried anew.
        self.refused = false;
        if self.timing.poll != timing.poll {
            self.poll_from = now;
            self.slept = Duration::ZERO;
        }
        self.timing = timing;
        self.reset();
    }

    /// Time was lost to something else.
    pub fn hindered(&mut self, now: Duration) {
        self.hindered = now;
    }

    pub fn pending(&self) -> bool {
        let going = self.run.is_some() || self.planned.is_some();
        let needs = self.needs.values().any(|need| !need.optional);
        going || self.wish.is_some() || needs
    }

    /// A sync of everything that is due for its own sake is a wish as soon as no run is under way.
    fn poll(&mut self, now: Duration) {
        let free = self.run.is_none() && self.planned.is_none();
        let due = (self.timing.poll).is_some_and(|it| now + self.slept >= self.poll_from + it);
        if self.begun && free && due {
            let moment = self.moment();
            self.wish.get_or_insert(Wish {
                moment,
                since: now,
                urgent: false,
                untold: false,
            });
        }
    }

    /// Lisp is asked how to run.
    pub fn plans(&mut self, now: Duration) {
        self.poll(now);
        if self.planned.is_none() && self.run.is_none() {
            self.planned = Some(self.plan(now));
        }
    }

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

    /// What a look that was asked for at that moment has seen.
    pub fn looked(
        &mut self,
        now: Duration,
        look: Look,
        moment: u64,
        seen: &[(&'static str, Seen)],
    ) {
        // What comes after another run has begun is nobody's verdict.
        let needs = if let Look::Before(_) = look {
            let planned = self.planned.as_mut().filter(|it| it.looked == Some(look));
            planned.map(|it| &mut it.needs)
        } else {
            let review = self.review.take_if(|it| *it == look);
            review.map(|_| &mut self.needs)
        };
        let Some(needs) = needs else { return };
        let ignore = &self.timing.ignore;
        for (folder, seen) in seen {
            if ignore.iter().any(|glob| glob.matches(folder.as_bytes())) {
                continue;
            }
            let need = needs.get_mut(*folder);
            if let Seen::Pushed | Seen::Refused = seen
                && let Some(need) = need.filter(|it| it.moment <= moment && !it.structural)
            {
                // It waits for no check, if for anything.
                need.unseen = None;
                need.optional |= !need.wished;
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
    }

    fn plan(&mut self, now: Duration) -> Planned {
        self.review = None;
        Planned {
            at: now,
            moment: self.moment(),
            ready: self.ready,
            needs: std::mem::take(&mut self.needs),
            wish: self.wish.take(),
            looked: None,
        }
    }

    /// It is not run after all.
    pub fn plans_nothing(&mut self) {
        if let Some(planned) = self.planned.take() {
            planned.needs.into_iter().for_each(|it| self.again(it));
            self.wish_again(planned.wish, true);
        }
    }

    fn again(&mut self, (folder, mut need): (String, Need)) {
        if let Some(later) = self.needs.remove(&folder) {
            need.absorb(later);
        }
        self.needs.insert(folder, need);
    }

    fn wish_again(&mut self, wish: Option<Wish>, keen: bool) {
        if let Some(wish) = wish {
            let later = self.wish;
            self.wish = Some(Wish {
                since: wish.since,
                moment: later.map_or(wish.moment, |later| later.moment),
                urgent: later.is_some_and(|later| later.urgent) || keen && wish.urgent,
                untold: later.is_some_and(|later| later.untold) || wish.untold,
            });
        }
    }

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
            } else if need.asked && (ready || !need.structural) {
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
        });
        Ok(())
    }

    /// A run that nobody has asked for keeps its distance, and waits for checks.
    fn may_start(&self, planned: &Planned, scope: Option<&BTreeSet<String>>) -> Broken {
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
        let since = needs.values().map(|it| it.oldest + self.timing.base);
        let since = since.chain(wish.map(|it| it.since)).min();
        let patient = since.is_some_and(|since| now < since + self.timing.check);
        // The wait is for the run, and begins with the first change in it.
        let unseen = needs.iter().filter(|(name, _)| covered(name));
        // Lisp may have looked, and its answer is lost: the machine knows what it is told.
        let mut late = unseen.clone().filter_map(|(_, need)| need.unanswered);
        let late = late.any(|first| first + self.timing.check <= now);
        let unseen = unseen.filter_map(|(name, need)| Some((need.unseen?, name)));
        if let Some((first, folder)) = unseen.min()
            && patient
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
            let structural = needs.values().any(|it| it.structural);
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
                Some(need) if need.structural => {
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
            let everything = everything || run.scope.is_none();
            if everything {
                self.full_syncs += 1;
                self.poll_from = now;
                self.slept = Duration::ZERO;
                let knows = |wish: &Wish| run.ready || !wish.untold;
                (self.wish).take_if(|wish| wish.moment < run.moment && knows(wish));
                self.needs.retain(|_, need| need.moment > run.moment);
                self.aside.clear();
            }
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

    /// What takes a run of everything waits for the maildirs, whoever asks for it.
    fn waits(&self, need: &Need) -> bool {
        need.structural && !self.ready
    }

    /// What has to have happened by now.
    pub fn overdue(&mut self, now: Duration) -> Broken {
        self.poll(now);
        let may_start = self.begun && self.locked && !self.paused && !self.refused;
        let free = may_start && self.run.is_none() && self.planned.is_none();
        let asked = |it: &Need| it.asked && !self.waits(it);
        let asked = self.needs.values().any(asked);
        if free && (asked || self.wish.is_some_and(|wish| wish.urgent)) {
            return Err("what the user asks for does not start".to_owned());
        }
        if !free || !self.ready {
            self.hindered = now;
            return Ok(());
        }
        if let Some((_, by)) = self.gate {
            self.hindered = self.hindered.max(by);
        }
        let wait = self.timing.check.max(SETTLE_MOST) + SLACK;
        if let Some(wish) = self.wish {
            let by = wish.since.max(self.hindered) + self.timing.inter + wait;
            if now > by {
                return Err(format!(
                    "a sync of everything, wanted since {:?}",
                    wish.since
                ));
            }
        }
        for (folder, need) in self.needs.iter().filter(|(_, need)| !need.optional) {
            let inter = self.inter(folder).max(self.timing.inter);
            let delay = self.timing.base.max(inter);
            let by = need.first.max(self.hindered) + delay + wait;
            if now > by {
                return Err(format!(
                    "I2, I4: {folder} has waited since {:?}",
                    need.first
                ));
            }
        }
        Ok(())
    }
}

impl Rules {
    /// What has been counted before.
    pub fn go_on(&mut self, runs: u64, full_syncs: u64, moment: u64) {
        self.runs = runs;
        self.full_syncs = full_syncs;
        self.moment = moment;
    }
}
