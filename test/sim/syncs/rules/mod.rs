//! What the scheduler may do, and must, written down a second time, from the design and not from
//! its code: each run is held against what has happened so far.
//!
//! Here is what happens, and what has to have been done by then; [`need`] is why a folder is to be
//! synced, [`looks`] what is to follow from a look, [`runs`] when a run may start, and what its end
//! means.

mod looks;
mod need;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailsync_module::schedule::{Look, Timing};

use need::Need;

pub use looks::Seen;

type Broken = Result<(), String>;

const SETTLE_MOST: Duration = Duration::from_secs(10);
/// How late something may be.
const SLACK: Duration = Duration::from_millis(1_500);

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
    /// The machine slept meanwhile, and it was not told to end.
    slept: bool,
    /// It was.
    cut: bool,
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
    /// Folders that failed alone, and have not changed since.
    pub aside: BTreeSet<String>,
    /// Those that failed alone in the last run that went well for others and was to cover them.
    pub alone: BTreeSet<String>,
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
    /// A look at the maildirs takes so long that they may as well be away.
    pub dragging: bool,
    begun: bool,
    /// When something last stood in the way of a run.
    hindered: Duration,
    moment: u64,
    /// When the last successful run began.
    began: Option<u64>,
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
            alone: BTreeSet::new(),
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
            dragging: false,
            begun: false,
            hindered: Duration::ZERO,
            moment: 0,
            began: None,
            runs: 0,
            full_syncs: 0,
        }
    }

    /// Another point in time: what comes later comes after it, also where clocks do not differ.
    pub fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// The account is synced from now on; that it is watched on the server is waited for so long.
    pub fn begin(&mut self, now: Duration, connecting: Duration) {
        self.begun = true;
        self.poll_from = now;
        if self.timing.at_start {
            let moment = self.moment();
            self.wish = Some(Wish {
                moment,
                since: now + connecting,
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
        if structural {
            need.structural.get_or_insert(moment);
        }
        need.serial = need.serial.max(serial);
        need.unanswered.get_or_insert(now);
        need.unseen.get_or_insert(now);
    }

    /// The core has learned of a change on the server.
    pub fn far_changed(&mut self, now: Duration, folder: &str) {
        if self.ignores(folder) {
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
        need.far.get_or_insert(now);
    }

    /// Anything may have changed on the server.
    pub fn everything(&mut self, now: Duration) {
        let moment = self.moment();
        let wish = self.wish.get_or_insert(Wish {
            since: now,
            urgent: false,
            untold: true,
            moment,
        });
        wish.moment = moment;
        wish.since = wish.since.min(now);
        wish.untold = true;
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
                    if structural {
                        need.structural.get_or_insert(moment);
                    }
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
        going.any(|need| need.structural.is_some())
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
        if let Some(run) = &mut self.run {
            run.slept = !run.cut;
        }
    }

    pub fn retimed(&mut self, now: Duration, timing: Timing) {
        // What was due by the old delays stays so.
        self.poll(now);
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
            let wish = self.wish.get_or_insert(Wish {
                moment,
                since: now,
                urgent: false,
                untold: false,
            });
            // One that waits for the server to be watched waits no longer.
            wish.since = wish.since.min(now);
        }
    }

    /// Lisp is asked how to run.
    pub fn plans(&mut self, now: Duration) {
        self.poll(now);
        if self.planned.is_none() && self.run.is_none() {
            self.planned = Some(self.plan(now));
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

    /// What takes a run of everything waits for the maildirs, whoever asks for it.
    fn waits(&self, need: &Need) -> bool {
        need.structural.is_some() && (!self.ready || self.dragging)
    }

    /// What has to have happened by now.
    pub fn overdue(&mut self, now: Duration) -> Broken {
        if self.run.as_ref().is_some_and(|run| run.slept) {
            return Err(
                "a run whose connections are dead since the machine slept goes on".to_owned(),
            );
        }
        self.poll(now);
        let may_start = self.begun && self.locked && !self.paused && !self.refused;
        let free = may_start && self.run.is_none() && self.planned.is_none();
        let asked = |it: &Need| it.asked && !self.waits(it);
        let asked = self.needs.values().any(asked);
        if free && (asked || self.wish.is_some_and(|wish| wish.urgent)) {
            return Err("what the user asks for does not start".to_owned());
        }
        if !free || !self.ready || self.dragging {
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
            // What happens there waits for nobody.
            let far = need.far.map(|far| far.max(self.hindered) + inter + SLACK);
            if far.is_some_and(|by| now > by) {
                return Err(format!("{folder} changed there at {:?}", need.far));
            }
            if now > by {
                return Err(format!(
                    "I2, I4: {folder} has waited since {:?}",
                    need.first
                ));
            }
        }
        Ok(())
    }

    /// What has been counted before.
    pub fn go_on(&mut self, runs: u64, full_syncs: u64, moment: u64) {
        self.runs = runs;
        self.full_syncs = full_syncs;
        self.moment = moment;
    }
}
