//! The rules of the scheduler as a table: what happens at which second, and what follows.

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::change::AccountId;
use crate::syncer::unpushed::Unpushed;
use crate::syncer::unpushed::{Agreed, compare};
use crate::syncer::{Ended, Outcome};
use crate::syncer::{Memory, Output};

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn glob(text: &str) -> Glob {
    Glob(text.into())
}

/// base 2, inter 5 (lists/* 600, fast 1), max 600, check 10, silence 300; Spam is ignored.
fn timing() -> Timing {
    Timing {
        base: seconds(2.0),
        inter: seconds(5.0),
        overrides: vec![
            (glob("lists/*"), seconds(600.0)),
            (glob("fast"), seconds(1.0)),
        ],
        max: seconds(600.0),
        poll: None,
        check: seconds(10.0),
        silence: Some(seconds(300.0)),
        at_start: false,
        ignore: vec![glob("Spam")],
        pulls_only: false,
        per_run: false,
        records: false,
    }
}

fn folder(name: &str) -> Arc<Folder> {
    Arc::new(Folder {
        account: AccountId(0),
        real: Path::new(name).into(),
        directory: Path::new(name).into(),
        name: name.as_bytes().into(),
    })
}

struct Bench {
    scheduler: Scheduler,
    epoch: Instant,
    serial: u64,
    runs: u64,
    look: Look,
    seen: Vec<String>,
}

impl Bench {
    /// Begun at 0, ready, with the lock.
    fn new(timing: Timing) -> Self {
        let mut bench = Bench {
            scheduler: Scheduler::new(timing, 0),
            epoch: Instant::now() + seconds(1e6),
            serial: 0,
            runs: 0,
            look: Look::After(RunId(0)),
            seen: Vec::new(),
        };
        bench.scheduler.lock(Lock::Ours);
        bench.scheduler.ready(true);
        bench.scheduler.begin(bench.epoch);
        bench
    }

    fn tick(&mut self, now: Instant) {
        let Bench {
            scheduler, runs, ..
        } = self;
        let acts = scheduler.tick(now, &mut || {
            *runs += 1;
            RunId(*runs)
        });
        let at = (now - self.epoch).as_secs_f64();
        for act in acts {
            let scope = |scope: &Scope| match scope {
                Scope::Everything => "*".to_owned(),
                Scope::Folders(folders) => {
                    let names = folders.iter().map(|it| String::from_utf8_lossy(&it.name));
                    names.collect::<Vec<_>>().join(",")
                }
            };
            self.seen.push(match act {
                Act::Start {
                    scope: its, quick, ..
                } => format!(
                    "{at} > {}{}",
                    scope(&its),
                    if quick { " quick" } else { "" }
                ),
                Act::Plan(_, its) => format!("{at} > plan {}", scope(&its)),
                Act::End(_, why) => format!("{at} > {why:?}"),
                Act::Look(look, its) => {
                    self.look = look;
                    format!("{at} > look {}", scope(&its))
                }
            });
        }
    }

    /// Let time pass up to here.
    fn until(&mut self, end: Instant) {
        let mut turns = 0;
        while let Some(at) = self.scheduler.deadline().filter(|at| *at < end) {
            self.tick(at);
            turns += 1;
            assert!(turns < 1000, "it spins");
        }
    }

    fn change(&mut self, now: Instant, name: &str, kinds: Kinds, origins: Origins) {
        self.serial += 1;
        let change = Change {
            folder: folder(name),
            kinds,
            origins,
            serial: self.serial,
            news: kinds,
            seen: None,
        };
        self.scheduler.changed(now, &change);
    }

    fn end(&mut self, now: Instant, outcome: Outcome, failed: &str) -> Option<Done> {
        let ended = Ended {
            outcome,
            exit: Some(1),
            text: format!("{outcome:?}"),
            failed: failed
                .split_terminator(',')
                .filter(|it| *it != "*")
                .map(|it| Path::new(it).into())
                .collect(),
            everything: failed == "*",
            output: Output::default(),
            started: SystemTime::now(),
            took: Duration::ZERO,
            memory: Memory::default(),
        };
        self.scheduler.ended(now, RunId(self.runs), &ended)
    }

    fn event(&mut self, now: Instant, what: &str, name: &str) {
        let local = Origins::LOCAL;
        match what {
            "flag" => self.change(now, name, Kinds::FLAGS, local),
            "made" => self.change(now, name, Kinds::CREATED | Kinds::NEW, local),
            "removed" => self.change(now, name, Kinds::DELETED, local),
            "far" => self.change(now, name, Kinds::NEW, Origins::REMOTE),
            "farflag" => self.change(now, name, Kinds::FLAGS, Origins::REMOTE),
            "checked" => {
                for name in name.split(',') {
                    self.scheduler.checked(Path::new(name), self.serial);
                }
            }
            "stale" => self.scheduler.checked(Path::new(name), self.serial - 1),
            "ask" if name == "*" => self.scheduler.asked(now, None, 7),
            "ask" => self.scheduler.asked(now, Some(vec![folder(name)]), 7),
            "pause" => self.scheduler.pause(),
            "resume" => self.scheduler.resume(),
            "wake" => self.scheduler.woke(seconds(name.parse().unwrap())),
            "network" => self.scheduler.network(),
            "other" => self.scheduler.lock(Lock::Other(Some(4))),
            "ours" => self.scheduler.lock(Lock::Ours),
            "away" => self.scheduler.ready(false),
            "back" => self.scheduler.ready(true),
            "sign" => self.scheduler.sign(now, 1),
            "poll" => {
                let poll = name.parse().ok().map(seconds);
                let timing = self.scheduler.timing.clone();
                self.scheduler.retime(now, Timing { poll, ..timing });
            }
            "slower" => {
                let inter = seconds(name.parse().unwrap());
                let overrides = vec![(glob("*"), inter)];
                let timing = Timing {
                    overrides,
                    ..self.scheduler.timing.clone()
                };
                self.scheduler.retime(now, timing);
            }
            "planned" => {
                let run = RunId(self.runs);
                if let Some(Act::Start { .. }) = self.scheduler.planned(now, run, true) {
                    self.seen.push("go".to_owned());
                }
            }
            "found" => {
                let found: Vec<_> = name.split_terminator(',').map(found).collect();
                let look = self.look;
                if let Some(Act::Start { scope, .. }) = self.scheduler.looked(now, look, &found) {
                    self.seen.push(format!("go {}", scope.names().len()));
                }
            }
            "ok" => drop(self.end(now, Outcome::Ok, name)),
            "partial" => drop(self.end(now, Outcome::Partial, name)),
            "fails" => drop(self.end(now, Outcome::Transient, name)),
            "refused" => drop(self.end(now, Outcome::Auth, name)),
            "locked" => drop(self.end(now, Outcome::Locked, name)),
            "cut" => drop(self.end(now, Outcome::Interrupted, name)),
            "forget" => self.scheduler.forget(&|it| *it.name == *name.as_bytes()),
            "silence" => drop(self.end(now, Outcome::Timeout, name)),
            _ => panic!("no event {what}"),
        }
    }

    /// Play "SECOND WHAT NAME; SECOND > WHAT FOLLOWS; …".
    fn play(&mut self, script: &str, end: f64) -> (Vec<String>, Vec<String>) {
        let mut expected = Vec::new();
        for line in script
            .split(';')
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let words: Vec<&str> = line.split(' ').collect();
            if words.get(1) == Some(&">") || line.starts_with("go") {
                expected.push(line.to_owned());
                continue;
            }
            let now = self.epoch + seconds(words[0].parse().unwrap());
            self.until(now);
            self.event(now, words[1], words.get(2).copied().unwrap_or_default());
            self.tick(now);
        }
        self.until(self.epoch + seconds(end));
        (std::mem::take(&mut self.seen), expected)
    }
}

// Security: S38.
#[test]
fn the_rules() {
    let table: &[(&str, &str)] = &[
        ("nothing", ""),
        (
            "a folder is synced the base delay after its first change, when it was checked",
            "0 flag a; 0.5 checked a; 2 > a quick; 2.1 ok",
        ),
        (
            "the base delay counts from the first change: later ones do not extend it",
            "0 flag a; 0.9 flag a; 1 checked a; 2 > a quick; 2.1 ok",
        ),
        (
            "but it has to be quiet for a second",
            "0 flag a; 1.5 flag a; 1.6 checked a; 2.5 > a quick; 2.6 ok",
        ),
        (
            "which is sought for ten seconds at most",
            "0 flag a; 1 checked a; 1.5 flag a; 2 flag a; 2.5 flag a; 3.2 flag a; 4 flag a; \
             4.5 flag a; 5.2 flag a; 6 flag a; 6.7 flag a; 7.5 flag a; 8.2 flag a; 9 flag a; \
             9.7 flag a; 10.5 flag a; 11.2 flag a; 11.6 checked a; 12 > a quick; 12.1 ok",
        ),
        (
            "a check that does not come is waited for, from the first unchecked change on",
            "0 flag a; 8 flag a; 10 > a quick; 10.1 ok",
        ),
        (
            "after one that did not come nothing is waited for, until Lisp speaks again",
            "0 flag a; 10 > a quick; 10.1 ok; 20 flag a; 22 > a quick; 22.1 ok; 29 checked x; \
             30 flag a; 40 > a quick; 40.1 ok",
        ),
        (
            "others that change while one is checked do not hold up the run for ever",
            "0 flag a; 8 flag b; 9 checked a; 10 flag a; 12 > a,b quick; 12.1 ok",
        ),
        (
            "a check during a run counts, should that fail: Lisp is not taken for silent",
            "0 flag a; 0.1 ask a; 0.1 > a; 0.5 checked a; 12 fails; 17 > a; 18 ok; \
             20 flag b; 30 > b quick; 31 ok",
        ),
        (
            "a check that began before the last change does not count",
            "0 flag a; 0.5 flag a; 0.6 stale a; 1 checked a; 2 > a quick; 2.1 ok",
        ),
        (
            "folders that changed since ride along when they are checked and quiet",
            "0 flag a; 0.9 flag b; 1 checked a,b; 2 > a,b quick; 2.1 ok",
        ),
        (
            "mail that is split while it is checked goes up with the folder it came from",
            "0 flag a; 1.8 flag a; 1.8 flag b; 2.2 checked a,b; 2.8 > a,b quick; 2.9 ok",
        ),
        (
            "two syncs are at least the inter-delay apart",
            "0 flag a; 0.1 checked a; 2 > a quick; 2.5 ok; 3 flag b; 3.1 checked b; \
             7.5 > b quick; 7.6 ok",
        ),
        (
            "a folder with a longer delay of its own waits, and rides with none that may",
            "0 flag lists/x; 0.1 checked lists/x; 2 > lists/x quick; 3 ok; 10 flag lists/x; \
             10 flag a; 10.1 checked a,lists/x; 12 > a quick; 12.1 ok; 603 > lists/x quick; \
             603.1 ok",
        ),
        (
            "one with a shorter delay waits for that alone",
            "0 flag a; 0.1 checked a; 2 > a quick; 2.5 ok; 1 flag fast; 1.1 checked fast; \
             3.5 > fast quick; 3.6 ok",
        ),
        (
            "a remote change is synced at once, and not before the inter-delay",
            "0 far a; 0 > a quick; 0.1 ok; 1 far a; 5.1 > a quick; 5.2 ok",
        ),
        (
            "flags that changed there have to be fetched",
            "0 farflag a; 0 > a; 0.1 ok",
        ),
        (
            "what is checked and quiet goes along with a remote change, the rest does not",
            "0 flag a; 0.1 checked a; 0.8 flag b; 1.5 far c; 1.5 > a,c quick; 1.6 ok; \
             2 checked b; 6.6 > b quick; 6.7 ok",
        ),
        (
            "an ignored folder asks for nothing",
            "0 flag Spam; 0 far Spam",
        ),
        ("but may be asked for", "0 ask Spam; 0 > Spam; 0.1 ok"),
        (
            "a folder that was made or removed asks for everything",
            "0 made a; 0.1 checked a; 2 > *; 2.1 ok; 10 removed a; 10.1 checked a; 12 > *; 12.1 ok",
        ),
        (
            "and everything is everything",
            "0 flag b; 0 made a; 0.1 checked a,b; 2 > *; 2.1 ok",
        ),
        (
            "the user's wish goes to the front, delays or not",
            "0 ask a; 0 > a; 0.1 ok; 0.2 ask a; 0.2 > a; 0.3 ok; 0.4 ask *; 0.4 > *; 0.5 ok",
        ),
        (
            "a folder that was made or removed takes everything also when it is asked for",
            "0 made a; 0 flag b; 1 ask a; 1 > *; 2 ok; 10 removed a; 10 away; 11 ask a; 12 ask b; \
             12 > b; 13 ok; 50 back; 50 > *; 51 ok",
        ),
        (
            "but never beside another run",
            "0 ask a; 0 > a; 1 ask b; 1 ask *; 3 ok; 3 > *; 4 ok",
        ),
        (
            "what changes during a run is synced after it",
            "0 flag a; 0.1 checked a; 2 > a quick; 3 flag a; 3.1 checked a; 4 ok; 9 > a quick; 10 ok",
        ),
        (
            "a failure is tried again after 5, 10, 20 seconds",
            "0 flag a; 0.1 checked a; 2 > a quick; 3 fails; 8 > a quick; 9 fails; 19 > a quick; \
             20 fails; 40 > a quick; 41 ok",
        ),
        (
            "and success forgets the failures",
            "0 flag a; 0.1 checked a; 2 > a quick; 3 fails; 8 > a quick; 9 ok; 20 flag a; \
             20.1 checked a; 22 > a quick; 23 fails; 28 > a quick; 29 ok",
        ),
        (
            "a remote change waits for that too",
            "0 far a; 0 > a quick; 1 fails; 2 far b; 6 > a,b quick; 7 ok",
        ),
        (
            "the user does not",
            "0 far a; 0 > a quick; 1 fails; 2 ask a; 2 > a; 3 ok",
        ),
        (
            "a wake forgets the failures, after the inter-delay",
            "0 far a; 0 > a quick; 1 fails; 6 > a quick; 7 fails; 8 wake 60; 12 > a quick; 13 ok",
        ),
        (
            "so does another network",
            "0 far a; 0 > a quick; 1 fails; 6 > a quick; 7 fails; 13 network; 13 > a quick; 14 ok",
        ),
        (
            "a refusal is tried once more, and then no more until the user says so",
            "0 far a; 0 > a quick; 1 refused; 6 > a quick; 7 refused; 100 far b; 200 resume; \
             200 > a,b quick; 201 ok",
        ),
        (
            "by a wish for a sync, say",
            "0 far a; 0 > a quick; 1 refused; 6 > a quick; 7 refused; 100 ask b; 100 > a,b; 101 ok",
        ),
        (
            "two refusals that a failure parts are none in a row",
            "0 far a; 0 > a quick; 1 refused; 6 > a quick; 7 fails; 12 > a quick; 13 refused; \
             18 > a quick; 19 refused; 100 resume; 100 > a quick; 101 ok",
        ),
        (
            "nor are those that a success does",
            "0 far a; 0 > a quick; 1 refused; 6 > a quick; 7 ok; 20 far a; 20 > a quick; \
             21 refused; 26 > a quick; 27 ok; 40 far a; 40 > a quick; 41 refused; 46 > a quick; \
             47 partial b; 60 far a; 60 > a quick; 61 refused; 66 > a quick; 67 ok",
        ),
        (
            "a run that another process keeps from the server parts nothing",
            "0 far a; 0 > a quick; 1 refused; 6 > a quick; 7 locked; 12 > a quick; 13 refused; \
             100 resume; 100 > a quick; 101 ok",
        ),
        (
            "folders that leave the account during a run do not come back when it fails",
            "0 flag a; 0 flag b; 1 checked a,b; 2 > a,b quick; 3 forget a; 4 fails; \
             9 > b quick; 10 ok; 20 far a; 20 > a quick; 21 forget a; 22 fails",
        ),
        (
            "what another process syncs is asked for again without backing off",
            "0 far a; 0 > a quick; 1 locked; 6 > a quick; 7 locked; 12 > a quick; 13 ok",
        ),
        (
            "a folder that fails alone is set aside until it changes",
            "0 far a; 0 > a quick; 1 ok; 1 far b; 2 far c; 6 > b,c quick; 7 partial b; \
             1000 far b; 1000 > b quick; 1001 ok",
        ),
        (
            "a change of it during the run counts",
            "0 far b; 0 > b quick; 1 far b; 2 partial b; 7 > b quick; 8 ok",
        ),
        (
            "what leaves the account changes nobody else's delays",
            "0 far lists/x; 0 > lists/x quick; 1 ok; 2 far a; 6 > a quick; 7 ok; 10 forget a; \
             20 far lists/x; 601 > lists/x quick; 602 ok",
        ),
        (
            "a wish for what is just being removed takes everything, too",
            "0 removed a; 0.1 checked a; 2 > *; 3 ask a; 4 ok; 4 > *; 5 ok",
        ),
        (
            "what comes back has the delays of now",
            "0 far fast; 0 > fast quick; 1 ok; 3 far fast; 3 > fast quick; 4 slower 60; 5 fails; \
             61 > fast quick; 62 ok",
        ),
        (
            "a run that is silent is ended, and counts as failed",
            "0 far a; 0 > a quick; 100 sign; 400 > Timeout; 402 silence; 407 > a quick; 408 ok",
        ),
        (
            "a run that slept is ended and repeated",
            "0 far a; 0 > a quick; 2 wake 60; 2 > Interrupt; 3 cut; 8 > a quick; 9 ok",
        ),
        (
            "a run that somebody else ended counts as failed",
            "0 far a; 0 > a quick; 3 cut; 8 > a quick; 9 cut; 19 > a quick; 20 ok",
        ),
        (
            "a pause lets a run end, and nothing start",
            "0 far a; 0 > a quick; 1 pause; 2 far b; 3 ok; 3 flag c; 99 resume; 99 > b,c quick; 100 ok",
        ),
        (
            "nobody syncs what another Emacs does, until that ends",
            "0 other; 1 far a; 2 ask a; 50 ours; 50 > a; 51 ok",
        ),
        (
            "nothing is synced while its maildir is away, unless the user says so",
            "0 away; 1 far a; 50 back; 50 > a quick; 51 ok; 60 away; 61 ask a; 61 > a; 62 ok",
        ),
        (
            "a check that is answered while the folder is being synced counts, should that fail",
            "0 flag a; 10 > a quick; 10.5 checked a; 11 fails; 11.1 flag b; 11.2 checked b; \
             16 > a,b quick; 17 ok",
        ),
        (
            "folders that change in turn are not waited for for ever",
            "0 flag a; 0.6 flag b; 1.2 checked a; 1.2 flag a; 1.8 checked b; 1.8 flag b; \
             2.4 checked a; 2.4 flag a; 3 checked b; 3 flag b; 4 checked a; 4 flag a; \
             5 checked b; 5 flag b; 6 checked a; 6 flag a; 7 checked b; 7 flag b; 8 checked a; \
             8 flag a; 9 checked b; 9 flag b; 10 checked a; 10 flag a; 11 checked b; 11 flag b; \
             12 > a,b quick; 12.1 ok",
        ),
        (
            "a sync of everything is one of each folder",
            "0 ask *; 0 > *; 1 ok; 2 flag lists/x; 2.1 checked lists/x; 601 > lists/x quick; \
             602 ok",
        ),
        (
            "a run that takes everything covers what was queued before it, also at its instant",
            "0 far a; 0 > a quick; 1 ok; 2 far a; 6 flag b; 6 > a quick; 6 flag c; 6.1 checked c; \
             7 ok *; 12 > c quick; 13 ok",
        ),
        (
            "a folder that is asked for and fails is tried again without hurry",
            "0 ask a; 0 > a; 1 fails; 6 > a; 7 ok",
        ),
    ];
    for (what, script) in table {
        let mut bench = Bench::new(timing());
        let (seen, expected) = bench.play(script, 5000.0);
        assert_eq!(seen, expected, "{what}");
        assert_eq!(
            bench.scheduler.deadline(),
            None,
            "{what}: nothing is left, and it ticks"
        );
    }
}

/// What was found in a folder: `a=`: nothing to push, `a=x+y`: x and y, `a=?`: nobody knows.
fn found(text: &str) -> (Arc<Folder>, Unpushed) {
    let (name, what) = text.split_once('=').unwrap();
    let names = what.split_terminator('+').map(str::as_bytes);
    let unpushed = match what {
        "?" => Unpushed::Unknown("nobody knows".to_owned()),
        _ => Unpushed::Known(compare(&Agreed::new(), names, |_| true)),
    };
    (folder(name), unpushed)
}

#[test]
fn what_is_pushed_is_not_pushed_again() {
    let table: &[(&str, &str)] = &[
        (
            "what is due is looked at first, and synced if there is something to push; afterwards \
             it is looked at again",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=x; go 1; 2.5 ok; 2.5 > look a; \
             2.6 found a=",
        ),
        (
            "nothing to push: no run",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=",
        ),
        (
            "nobody knows: a run",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=?; go 1; 2.5 ok; 2.5 > look a; \
             2.6 found a=?",
        ),
        (
            "only those with something to push are synced",
            "0 flag a; 0 flag b; 0 flag c; 0.1 checked a,b,c; 2 > look a,b,c; \
             2.1 found a=,b=x,c=?; go 2; 2.5 ok; 2.5 > look b,c; 2.6 found b=,c=",
        ),
        (
            "the echo of a run, which nobody can tell from the user's changes, is no reason for one",
            "0 far a; 0 > a quick; 1 flag a; 2 ok; 2 > look a; 2.1 found a=",
        ),
        (
            "nor in another folder",
            "0 far a; 0 > a quick; 1 flag b; 2 ok; 2 > look a,b; 2.1 found a=,b=",
        ),
        (
            "an echo that is told late is looked at before it would be synced",
            "0 far a; 0 > a quick; 1 ok; 1 > look a; 1.1 flag a; 1.2 found a=; 1.3 checked a; \
             6 > look a; 6.1 found a=",
        ),
        (
            "what changed while a run was under way is found, even if nobody told",
            "0 far a; 0 > a quick; 1 ok; 1 > look a; 1.1 found a=x; 6 > look a; 6.1 found a=x; \
             go 1; 7 ok; 7 > look a; 7.1 found a=",
        ),
        (
            "what two runs leave is refused, and left alone",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=x; go 1; 3 ok; 3 > look a; \
             3.1 found a=x; 8 > look a; 8.1 found a=x; go 1; 9 ok; 9 > look a; 9.1 found a=x; 20 flag a; 20.1 checked a; 22 > look a; \
             22.1 found a=x; 30 flag a; 30.1 checked a; 32 > look a; 32.1 found a=x+y; go 1; 33 ok; \
             33 > look a; 33.1 found a=x",
        ),
        (
            "what was made while a run was under way was refused by none",
            "0 far a; 0 > a quick; 1 ok; 1 > look a; 1.1 found a=x; 6 > look a; 6.1 found a=x; \
             go 1; 7 ok; 7 > look a; 7.1 found a=x; 12 > look a; 12.1 found a=x; go 1; 13 ok; \
             13 > look a; 13.1 found a=x",
        ),
        (
            "what was there after a run that somebody disturbed may have come again, and was refused \
             by none",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=x; go 1; 3 ok; 3 > look a; \
             3.1 found a=x; 8 > look a; 8.1 found a=x; go 1; 8.5 flag a; 9 ok; 9 > look a; \
             9.1 found a=x; 9.2 checked a; 14 > look a; 14.1 found a=x; go 1; 15 ok; \
             15 > look a; 15.1 found a=x; 20 > look a; 20.1 found a=x; go 1; 21 ok; \
             21 > look a; 21.1 found a=",
        ),
        (
            "nor does a failure refuse anything",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=x; go 1; 3 fails; 8 > a quick; 9 ok; \
             9 > look a; 9.1 found a=x; 14 > look a; 14.1 found a=x; go 1; 15 ok; 15 > look a; \
             15.1 found a=x",
        ),
        (
            "a syncer that says ok and does nothing is asked again",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=x; go 1; 3 ok; 3 > look a; \
             3.1 found a=x; 8 > look a; 8.1 found a=x; go 1; 9 ok; 9 > look a; 9.1 found a=",
        ),
        (
            "a change during the look is one more reason",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 flag a; 2.2 found a=; 2.3 checked a; \
             4.1 > look a; 4.2 found a=x; go 1; 5 ok; 5 > look a; 5.1 found a=",
        ),
        (
            "a verdict is waited for, and not longer than ten seconds",
            "0 flag a; 0.1 checked a; 2 > look a; 12 > a quick; 13 ok; 13 > look a; 14 flag b; \
             14.1 checked b; 23 > look b; 23.1 found b=x; go 1; 24 ok; 24 > look a,b; \
             24.1 found a=,b=",
        ),
        (
            "one that comes late counts all the same, while there was no other run",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=x; go 1; 3 ok; 3 > look a; \
             40 found a=x; 42 > look a; 42.1 found a=x; go 1; 43 ok; 43 > look a; 43.1 found a=",
        ),
        (
            "and not for what changed meanwhile",
            "0 far a; 0 > a quick; 1 ok; 1 > look a; 20 flag a; 20.5 found a=; 20.6 checked a; \
             22 > look a; 22.1 found a=x; go 1; 23 ok; 23 > look a; 23.1 found a=",
        ),
        (
            "what was not seen before the next run is seen after it",
            "0 far a; 0 > a quick; 1 ok; 1 > look a; 30 far b; 30 > b quick; 30.1 found a=; 31 ok; \
             31 > look a,b; 31.1 found a=x,b=; 36 > look a; 36.1 found a=x; go 1; 37 ok; \
             37 > look a; 37.1 found a=",
        ),
        (
            "a remote change needs no verdict",
            "0 flag a; 0.1 checked a; 0.5 far a; 0.5 > a quick; 1 ok; 1 > look a; 1.1 found a=; \
             10 far a; 10 > a quick; 11 ok; 11 > look a; 12 far b; 16 > b quick; 17 ok; \
             17 > look a,b; 17.1 found a=,b=",
        ),
        (
            "nor does the user's wish, whatever is being looked at",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 ask a; 2.1 > a; 2.2 found a=; 3 ok; \
             3 > look a; 3.1 ask b; 3.1 > b; 3.2 found a=; 4 ok; 4 > look a,b; 4.1 found a=,b=",
        ),
        (
            "nor a folder that was made or removed",
            "0 made a; 0.1 checked a; 2 > *; 3 ok; 3 > look *; 3.1 found a=,b=",
        ),
        (
            "but one of which there is a record after the run during which it was made",
            "0 ask *; 0 > *; 0.5 made b; 0.6 checked b; 1 ok; 1 > look *; 1.1 found a=,b=",
        ),
        (
            "which can be named",
            "0 ask *; 0 > *; 0.5 made b; 0.6 checked b; 1 ok; 1 > look *; 1.1 found a=,b=x; \
             6 > look b; 6.1 found b=x; go 1; 7 ok; 7 > look b; 7.1 found b=",
        ),
        (
            "if all is known of it",
            "0 ask *; 0 > *; 0.5 made b; 0.6 checked b; 1 ok; 1 > look *; 1.1 found a=,b=?; \
             6 > *; 7 ok; 7 > look *; 7.1 found a=,b=",
        ),
        (
            "also if that is noticed late",
            "0 ask *; 0 > *; 1 ok; 1 > look *; 1.05 made b; 1.06 checked b; 1.1 found a=; 1.1 > look b; \
             1.2 found b=",
        ),
        (
            "but one that is not recorded was made by others",
            "0 ask *; 0 > *; 1 ok; 1 > look *; 1.1 found a=; 10 made b; 10 flag a; 10 > look b; \
             10.1 checked a,b; 10.1 found b=?; 12 > *; 13 ok; 13 > look *; 13.1 found a=,b=",
        ),
        (
            "as was one that comes long after the run, whatever lies in it",
            "0 ask *; 0 > *; 1 ok; 1 > look *; 1.1 found a=,b=; 31 made b; 31.1 checked b; \
             33 > *; 34 ok; 34 > look *; 34.1 found a=,b=",
        ),
        (
            "and one that was made before is not looked at",
            "0 made b; 0.1 checked b; 1 far a; 1 > *; 2 fails; 7 > *; 8 ok; 8 > look *; 8.1 found a=,b=",
        ),
        (
            "after a failure a run has to show that it goes well",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=x; go 1; 3 fails; 8 > a quick; 9 ok; \
             9 > look a; 9.1 found a=",
        ),
        (
            "what failed alone is left alone, whatever is left of it",
            "0 flag a; 0 flag b; 0.1 checked a,b; 2 > look a,b; 2.1 found a=x,b=y; go 2; \
             3 partial a; 3 > look a,b; 3.1 found a=x,b=",
        ),
        (
            "also if somebody was there meanwhile and has left nothing to push, until it changes",
            "0 far a; 0 > a quick; 0.5 flag a; 0.6 checked a; 1 partial a; 1 > look a; \
             1.1 found a=; 50 far a; 50 > a quick; 51 ok; 51 > look a; 51.1 found a=",
        ),
        (
            "an ignored folder has nothing to push",
            "0 ask *; 0 > *; 1 ok; 1 > look *; 1.1 found Spam=x,a=",
        ),
        (
            "a pause takes back what was looked at",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 pause; 2.2 found a=; 10 resume; 10 > look a; \
             10.1 found a=x; go 1; 11 ok; 11 > look a; 11.1 found a=",
        ),
        (
            "what was away is no reason",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 away; 2.2 found a=x; 9 back; 9 > look a; \
             9.1 found a=",
        ),
        (
            "another Emacs's folders are its business",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 other; 2.2 found a=; 9 ours; 9 > look a; \
             9.1 found a=",
        ),
        (
            "a folder that leaves in the midst is nobody's",
            "0 flag a; 0.1 checked a; 2 > look a; 2.1 forget a; 2.2 found a=x",
        ),
    ];
    for (what, script) in table {
        let mut bench = Bench::new(Timing {
            records: true,
            at_start: false,
            ..timing()
        });
        // At the start all is looked at, and nothing found.
        bench.tick(bench.epoch);
        assert_eq!(std::mem::take(&mut bench.seen), ["0 > look *"], "{what}");
        bench.event(bench.epoch, "found", "");
        let (seen, expected) = bench.play(script, 5000.0);
        assert_eq!(seen, expected, "{what}");
        let next = bench.scheduler.deadline();
        assert_eq!(next, None, "{what}: nothing is left, and it ticks");
    }
}

#[test]
fn a_failure_that_is_over_is_told_no_longer() {
    // What there is to push turned out to be nothing, or not; and what is told in the end.
    let table = [
        ("10.1 found a=", Phase::Idle, ""),
        ("10.1 found a=x; go 1", Phase::Running, ""),
        (
            "10.1 found a=x; go 1; 11 fails",
            Phase::Failing,
            "Transient",
        ),
        ("10.05 flag b; 10.1 found a=", Phase::Pending, "Transient"),
    ];
    for (then, phase, text) in table {
        let mut bench = Bench::new(Timing {
            records: true,
            ..timing()
        });
        bench.tick(bench.epoch);
        bench.event(bench.epoch, "found", "");
        let script = "0 flag a; 0.1 checked a; 2 > look a; 2.1 found a=x; go 1; 3 fails; 4 network; \
                      8 > look a";
        let (seen, expected) = bench.play(&format!("{script}; {then}"), 11.5);
        assert_eq!(seen[1..], expected, "{then}");
        let state = bench.scheduler.state();
        assert_eq!((state.phase, &*state.text), (phase, text), "{then}");
    }
}

#[test]
fn everything_from_time_to_time() {
    let start = Timing {
        at_start: true,
        poll: Some(seconds(100.0)),
        ..timing()
    };
    let table: &[(&str, Timing, f64, &str)] = &[
        (
            "at the start, and each period after a sync of everything",
            start.clone(),
            203.0,
            "0 ok; 0 > *; 1 ok; 101 > *; 102 ok; 202 > *",
        ),
        (
            "a period goes on while the machine sleeps",
            start.clone(),
            120.0,
            "0 sign; 0 > *; 1 ok; 11 wake 80; 21 > *; 22 ok",
        ),
        (
            "a failure at the start is tried again",
            start.clone(),
            90.0,
            "0 sign; 0 > *; 1 fails; 6 > *; 7 ok",
        ),
        (
            "one that is pending covers what changes meanwhile",
            start.clone(),
            90.0,
            "0 sign; 0 > *; 1 fails; 2 flag a; 2.1 checked a; 6 > *; 7 ok",
        ),
        (
            "a period that ends during a run is over with the next one that took everything",
            start.clone(),
            204.0,
            "0 sign; 0 > *; 1 ok; 100 far a; 100 > a quick; 102 ask b; 103 fails; 103 > b; \
             103.5 ok *; 203.5 > *",
        ),
        (
            "a wish during a run is had by another, though the run took more than it was to",
            start.clone(),
            100.0,
            "0 sign; 0 > *; 1 fails; 2 ask b; 2 > b; 3 ask *; 4 ok *; 4 > *; 5 ok *",
        ),
        (
            "a wish before the first look is had, and uses up no start",
            start.clone(),
            115.0,
            "0 away; 1 ask *; 1 > *; 2 ok; 9 back; 9 > *; 10 ok; 110 > *",
        ),
        (
            "a period that ended during a pause has ended, whatever the next ones are",
            start.clone(),
            250.0,
            "0 ok; 0 > *; 1 ok; 50 pause; 150 poll 300; 200 resume; 200 > *; 201 ok",
        ),
        (
            "also where the run ends after the look, or fails",
            start.clone(),
            90.0,
            "0 away; 1 ask *; 1 > *; 2 back; 3 fails; 8 > *; 9 away; 10 ok; 20 ask *; 20 > *; \
             21 back; 22 ok",
        ),
        (
            "also where it takes more than it was to",
            start.clone(),
            90.0,
            "0 away; 1 ask a; 1 > a; 2 back; 3 ok *; 8 > *; 9 ok",
        ),
        (
            "a named run is not everything",
            start,
            130.0,
            "0 sign; 0 > *; 1 ok; 50 far a; 50 > a quick; 51 ok; 101 > *; 102 ok",
        ),
        (
            "what only fetches is not asked by local changes",
            Timing {
                pulls_only: true,
                ..timing()
            },
            90.0,
            "0 flag a; 1 made b; 2 far a; 2 > a quick; 3 ok",
        ),
        (
            "Lisp is asked before each run, and not waited for for ever",
            Timing {
                per_run: true,
                records: false,
                ..timing()
            },
            90.0,
            "0 far a; 0 > plan a; 1 planned; go; 2 ok; 20 far a; 20 > plan a; 30 > *; 31 ok",
        ),
        (
            "and a pause meanwhile keeps it from starting",
            Timing {
                per_run: true,
                records: false,
                ..timing()
            },
            90.0,
            "0 far a; 0 > plan a; 1 pause; 2 planned; 50 resume; 50 > plan a; 51 planned; go; 52 ok; \
             53 ask b; 53 > plan b; 54 pause; 60 resume; 60 > plan b; 61 planned; go; 62 ok; \
             63 ask c; 63 > plan c; 64 other; 65 planned; 70 ours; 70 > plan c; 71 planned; go",
        ),
    ];
    for (what, timing, end, script) in table {
        let mut bench = Bench::new(timing.clone());
        let (seen, expected) = bench.play(script, *end);
        assert_eq!(seen, expected, "{what}");
    }
}

#[test]
fn a_backoff_doubles_with_jitter_up_to_its_limit() {
    for seed in [1, 2, 0x9E37_79B9_7F4A_7C15] {
        let mut scheduler = Scheduler::new(timing(), seed);
        let mut jitters = std::collections::HashSet::new();
        for failures in 1..12 {
            scheduler.failures = failures;
            let wait = scheduler.backoff().as_secs_f64();
            let plain = (5.0 * f64::from(1 << (failures - 1))).min(600.0);
            assert!(
                wait >= plain && wait <= (plain * 1.25).min(600.0),
                "{failures}: {wait}"
            );
            jitters.insert(((wait / plain) * 1000.0) as u64);
        }
        assert!(jitters.len() > 3, "no jitter");
    }
}

#[test]
fn a_request_is_answered_by_the_run_that_begins_after_it() {
    let mut bench = Bench::new(timing());
    bench.play("0 ask a; 1 ask b", 1.0);
    let now = bench.epoch + seconds(2.0);
    assert_eq!(bench.end(now, Outcome::Ok, "").unwrap().requests, [7]);
    bench.tick(now);
    let done = bench.end(now, Outcome::Transient, "").unwrap();
    assert_eq!(done.requests, [7], "a failure answers, too");
    assert_eq!(done.folders, [b"b"[..].into()]);
}

/// It waits under its name, and becomes one with what is told of it.
#[test]
fn a_folder_that_is_asked_for_before_it_is_known() {
    let named = || Arc::new(Folder::by_name(AccountId(0), b"a"[..].into()));
    let made = || Change {
        folder: Arc::new(Folder {
            real: Path::new("/m/a").into(),
            ..Folder::clone(&named())
        }),
        kinds: Kinds::CREATED,
        origins: Origins::LOCAL,
        serial: 1,
        news: Kinds::CREATED,
        seen: None,
    };
    let mut bench = Bench::new(timing());
    let epoch = bench.epoch;
    bench.scheduler.pause();
    bench.scheduler.asked(epoch, Some(vec![named()]), 7);
    bench.scheduler.changed(epoch, &made());
    assert_eq!(bench.scheduler.held(), 1);
    let (seen, _) = bench.play("1 resume; 2 ok", 100.0);
    assert_eq!(seen, ["1 > *"], "a run that names it would undo it");
    // Made while a run names it that fails.
    let mut bench = Bench::new(timing());
    let epoch = bench.epoch;
    bench.scheduler.asked(epoch, Some(vec![named()]), 7);
    bench.tick(epoch);
    bench.scheduler.changed(epoch, &made());
    bench.end(epoch, Outcome::Transient, "");
    assert_eq!(bench.scheduler.held(), 1);
    let (seen, _) = bench.play("0 network; 20 ok", 100.0);
    assert_eq!(seen, ["0 > a", "10 > *"]);
    assert!(bench.scheduler.is_idle());
    // Its inter-delay counts from a run that named it, and what it failed with is over with the
    // next one; whether it becomes known before the run ends, or later.
    let flagged = Change {
        kinds: Kinds::FLAGS,
        origins: Origins::REMOTE,
        ..made()
    };
    for early in [true, false] {
        let slow = Timing {
            overrides: vec![(glob("a"), seconds(600.0))],
            ..timing()
        };
        let mut bench = Bench::new(slow);
        let epoch = bench.epoch;
        bench.scheduler.asked(epoch, Some(vec![named()]), 7);
        bench.tick(epoch);
        if early {
            bench.scheduler.changed(epoch, &flagged);
        }
        bench.end(epoch, Outcome::Ok, "");
        if !early {
            bench.scheduler.changed(epoch, &flagged);
        }
        let (seen, _) = bench.play("", 700.0);
        assert_eq!(seen, ["0 > a", "600 > a"], "{early}");
        assert_eq!(
            bench.scheduler.held(),
            1 + 1,
            "one that runs, and one that did"
        );
    }
    let mut bench = Bench::new(timing());
    let epoch = bench.epoch;
    bench.scheduler.asked(epoch, Some(vec![named()]), 7);
    bench.tick(epoch);
    bench.end(epoch, Outcome::Partial, "a");
    assert_eq!(bench.scheduler.state().text, "Partial");
    bench.scheduler.changed(epoch, &flagged);
    bench.play("0 network; 20 ok", 100.0);
    assert_eq!(bench.scheduler.state().text, "");
}

#[test]
fn globs() {
    let table = [
        ("a", "a", true),
        ("a", "ab", false),
        ("", "", true),
        ("*", "", true),
        ("*", "a/b", true),
        ("a/*", "a/b/c", true),
        ("a/*", "a", false),
        ("*/b", "a/b", true),
        ("a*b*c", "abbc", true),
        ("a*b*c", "acb", false),
        ("*a*", "bab", true),
        ("a*a", "a", false),
    ];
    for (pattern, name, expected) in table {
        assert_eq!(
            glob(pattern).matches(name.as_bytes()),
            expected,
            "{pattern} {name}"
        );
    }
}

/// Memory is bounded by folders, and a look at thousands of them is cheap enough for each event.
#[test]
fn thousands_of_folders() {
    let mut bench = Bench::new(timing());
    for round in 0..3 {
        for number in 0..3000 {
            let now = bench.epoch + seconds(f64::from(round));
            bench.change(now, &format!("f{number}"), Kinds::FLAGS, Origins::LOCAL);
        }
    }
    assert_eq!(bench.scheduler.held(), 3000);
    bench.tick(bench.epoch + seconds(2.0));
    let (seen, _) = bench.play("", 100.0);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].matches(',').count(), 2999);
    bench.end(bench.epoch + seconds(101.0), Outcome::Ok, "");
    assert!(bench.scheduler.is_idle());
}

#[test]
fn what_failed_alone_is_remembered() {
    let table = [
        ("0 far a; 1 partial a", "Partial"),
        // The success of another one says nothing of it.
        ("0 far a; 1 partial a; 20 far b; 21 ok", "Partial"),
        ("0 far a; 1 partial a; 20 far a; 21 ok", ""),
        ("0 far a; 1 partial a; 20 ask *; 21 ok", ""),
        ("0 far a; 1 partial a; 20 ask *; 21 partial a", "Partial"),
        (
            "0 far a; 1 partial a; 20 far b; 21 ok; 22 forget a; 30 far b; 31 ok",
            "",
        ),
    ];
    for (script, text) in table {
        let mut bench = Bench::new(timing());
        bench.play(script, 100.0);
        let state = bench.scheduler.state();
        assert_eq!((state.phase, &*state.text), (Phase::Idle, text), "{script}");
    }
}

#[test]
fn requests_for_what_has_left_are_not_kept() {
    let mut bench = Bench::new(timing());
    bench.play("0 pause; 1 ask a", 2.0);
    assert!(bench.scheduler.unanswerable().is_empty());
    bench.play("3 forget a", 4.0);
    assert_eq!(bench.scheduler.unanswerable(), [7]);
    assert!(bench.scheduler.unanswerable().is_empty());
}

#[test]
fn the_last_success_is_as_old_as_the_clock_on_the_wall_says() {
    let mut bench = Bench::new(timing());
    bench.play("0 far a; 1 ok; 5 wake 3600", 6.0);
    let last = bench.scheduler.state().last_ok;
    assert_eq!(last, Some(bench.epoch + seconds(1.0) - seconds(3600.0)));
}
