//! The circumstances of a world: its delays, how fast it goes, and how often what goes wrong.

use std::time::Duration;

use mailsync_module::coalesce::Delays;
use mailsync_module::engine::config::{AccountConfig, RootConfig, SyncConfig};
use mailsync_module::maildir::Layout;
use mailsync_module::schedule::{Glob, Timing};
use mailsync_module::syncer::{Command, Naming, Program, Syncer};

use super::{ACCOUNT, seconds};
use crate::rng::Rng;
use crate::syncs::mail::ROOT;
use crate::world::ms;

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// The syncer says that all went well, and did nothing.
    Lies,
    /// Lisp says that it has checked what it has not seen.
    AnswersUnseen,
    /// Two processes have the lock.
    LockForAll,
    /// Much is told twice, which must do no harm.
    Repeats,
    /// Whatever happens passes for the syncer's own work.
    ClaimsAll,
    /// Whatever happens while the syncer runs does.
    ClaimsByTime,
    /// Nothing does: the syncer's own work passes for the user's, which must cost runs only.
    ClaimsNothing,
    /// A look lists names before it reads the record, and does not know what came in between, which
    /// must do no harm.
    ListsFirst,
    /// A look believes a record beside which a lock or a journal lies.
    BelievesBusy,
    /// A look tells what the one before has seen.
    LooksBehind,
    /// What a run has left once is nothing to push.
    LeavesBe,
    /// What the syncer refuses is another thing at each look.
    ForgetsResidue,
    /// What happens during a run and the look after it is told after that, as if it had disturbed
    /// neither.
    TellsLate,
}

/// A world's circumstances.
#[derive(Debug)]
pub struct Setup {
    pub(super) timing: Timing,
    pub(super) delays: Delays,
    pub(super) pipe_limit: usize,
    /// The mean time between what users do, and what happens on the server.
    pub(super) pace: Duration,
    pub(super) far_pace: Duration,
    /// The mean time between faults, if there are any.
    pub(super) faults: Option<Duration>,
    pub(super) lasts: Duration,
    /// The longest that Lisp takes to begin a check, and to answer.
    pub(super) check: (Duration, Duration),
    /// One check in so many is lost; 0: none.
    pub(super) loses_checks: u64,
    pub(super) splits: bool,
    /// The longest that a syncer takes for a step.
    pub(super) step: Duration,
    /// One run in so many does not go well; 0: all do.
    pub(super) fails: u64,
    /// The syncer always does everything.
    pub(super) coarse: bool,
    /// Another process has the lock for so long.
    pub(super) other: Option<Duration>,
    /// Folders come and go.
    pub(super) folders: bool,
    /// The mean time between runs of the syncer in a shell, if there are any.
    pub(super) by_hand: Option<Duration>,
    /// In so many folders users do something.
    pub(super) places: usize,
    /// Users do what may confuse a look most, at the time at which it does.
    pub(super) teases: bool,
    /// Users change their minds.
    pub(super) fickle: bool,
    /// The syncer says that all went well, and has done nothing for one folder in so many; 0: for
    /// none.
    pub(super) lies: u64,
    /// It refuses some messages for ever.
    pub(super) refuses: bool,
    /// Its syncer is OfflineIMAP, during whose runs some changes are kept from Lisp.
    pub(super) offlineimap: bool,
    /// Somebody watches the server.
    pub(super) watched: bool,
    /// The maildirs are away for so long at first.
    pub(super) away: Option<Duration>,
    /// Somebody listens to what is checked, to whom Lisp is silent when it has not answered for so long.
    pub(super) listens: Option<Duration>,
}

pub(super) fn timing(rng: &mut Rng) -> Timing {
    let glob = |text: &str| Glob(text.into());
    let mut overrides = Vec::new();
    if rng.once_in(2) {
        overrides.push((glob("lists/*"), seconds(*rng.choose(&[60, 600, 20]))));
    }
    if rng.once_in(2) {
        overrides.push((glob("fast"), ms(*rng.choose(&[0, 1_000]))));
    }
    Timing {
        base: ms(*rng.choose(&[2_000, 2_000, 0, 500, 20_000])),
        inter: ms(*rng.choose(&[5_000, 5_000, 0, 1_000, 30_000])),
        overrides,
        max: seconds(*rng.choose(&[600, 600, 60])),
        poll: rng.once_in(3).then(|| seconds(*rng.choose(&[300, 3_600]))),
        check: seconds(*rng.choose(&[10, 10, 2])),
        silence: Some(seconds(*rng.choose(&[300, 20]))),
        at_start: false,
        ignore: Vec::new(),
        pulls_only: false,
        per_run: false,
        records: false,
    }
}

impl Setup {
    /// What a seed comes to.
    pub fn random(rng: &mut Rng) -> Self {
        let mut timing = timing(rng);
        timing.at_start = rng.once_in(2);
        timing.pulls_only = rng.once_in(16);
        timing.per_run = rng.once_in(6);
        timing.records = rng.once_in(2) && !timing.pulls_only && !timing.per_run;
        if rng.once_in(2) {
            timing.ignore.push(Glob("Sp*".into()));
        }
        let records = timing.records;
        let lies = if records && rng.once_in(4) { 6 } else { 0 };
        Setup {
            timing,
            delays: Delays {
                quiet: ms(200),
                longest: ms(2_000),
            },
            pipe_limit: *rng.choose(&[32_768, 32_768, 300]),
            pace: ms(*rng.choose(&[300, 3_000, 3_000, 15_000])),
            far_pace: ms(*rng.choose(&[1_000, 10_000, 60_000])),
            faults: (!rng.once_in(4)).then(|| seconds(*rng.choose(&[5, 30, 30, 100]))),
            lasts: seconds(*rng.choose(&[60, 200, 600])),
            check: (
                ms(*rng.choose(&[1, 600, 3_000])),
                ms(*rng.choose(&[1, 500, 1_500])),
            ),
            loses_checks: *rng.choose(&[0, 20, 3]),
            splits: rng.once_in(2),
            step: ms(*rng.choose(&[5, 300, 2_000])),
            fails: *rng.choose(&[0, 0, 8, 3, 1]),
            coarse: rng.once_in(6),
            other: rng.once_in(6).then(|| seconds(rng.below(200))),
            folders: rng.once_in(3),
            // Of what a syncer that lies has left nobody knows, if a look finds it busy.
            by_hand: (lies == 0 && rng.once_in(3)).then(|| seconds(*rng.choose(&[5, 20, 60]))),
            places: usize::MAX,
            teases: false,
            fickle: rng.once_in(2),
            lies,
            refuses: records && rng.once_in(4),
            watched: rng.once_in(2),
            away: rng.once_in(6).then(|| seconds(rng.below(100))),
            offlineimap: records && rng.once_in(3),
            listens: None,
        }
    }

    /// A life in which somebody listens to what is checked.
    pub fn listened_to(rng: &mut Rng) -> Self {
        let listens = Some(seconds(*rng.choose(&[2, 10, 60])));
        Setup {
            listens,
            // What is kept from Lisp during a run is handed out before it is told.
            offlineimap: false,
            away: None,
            ..Setup::random(rng)
        }
    }

    /// A life in which nobody watches the server, so that runs are counted that begin here.
    pub fn unwatched(rng: &mut Rng) -> Self {
        Setup {
            watched: false,
            ..Setup::random(rng)
        }
    }

    /// A life in which much depends on what looks see: users change their minds in a few folders,
    /// and the syncer lies, or users run and kill it in a shell.
    pub fn looked_at(rng: &mut Rng) -> Self {
        let lies = *rng.choose(&[0, 2]);
        let mut setup = Setup {
            fails: *rng.choose(&[0, 3]),
            pace: ms(*rng.choose(&[3_000, 15_000])),
            step: ms(*rng.choose(&[300, 2_000])),
            splits: false,
            other: None,
            coarse: false,
            folders: false,
            fickle: true,
            lies,
            by_hand: (lies == 0).then(|| seconds(*rng.choose(&[5, 10, 30]))),
            refuses: false,
            // It would have synced what a look should have seen.
            watched: false,
            away: None,
            places: 2,
            teases: true,
            ..Setup::random(rng)
        };
        setup.refuses = rng.once_in(4);
        setup.timing.records = true;
        setup.timing.ignore.clear();
        setup.timing.pulls_only = false;
        setup.timing.per_run = false;
        setup
    }

    /// A life in which nothing goes wrong, and nobody is in a hurry.
    pub fn slow(rng: &mut Rng, records: bool) -> Self {
        let mut setup = Setup {
            faults: None,
            loses_checks: 0,
            splits: false,
            fails: 0,
            coarse: false,
            other: None,
            folders: false,
            by_hand: None,
            fickle: false,
            lies: 0,
            refuses: false,
            watched: false,
            away: None,
            ..Setup::random(rng)
        };
        setup.timing = Timing {
            poll: None,
            at_start: false,
            ignore: Vec::new(),
            pulls_only: false,
            per_run: false,
            records,
            ..setup.timing
        };
        setup
    }

    pub(super) fn syncer(&self) -> Syncer {
        let command = Command {
            words: vec!["sync".into()],
            all: None,
            naming: Naming::Utf8,
            separator: None,
            prefix: None,
            per_folder: !self.coarse,
        };
        Syncer::new(match self.offlineimap {
            false => Program::Command(command),
            true => Program::OfflineImap {
                program: "offlineimap".into(),
                account: "a".to_owned(),
                config: None,
                args: Vec::new(),
            },
        })
    }

    pub(super) fn account(&self) -> AccountConfig {
        AccountConfig {
            name: ACCOUNT.to_owned(),
            roots: vec![RootConfig {
                directory: ROOT.into(),
                layout: Layout::Nested,
                poll: None,
            }],
            delays: self.delays,
            quiet: true,
            // What the world watches, it adds.
            remotes: Vec::new(),
            sync: Some(SyncConfig {
                timing: self.timing.clone(),
                syncer: self.syncer(),
            }),
        }
    }
}
