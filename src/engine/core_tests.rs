//! The core's decisions, one by one.  What must hold whatever happens is `test/sim`'s business.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::core::{AccountConfig, Action, Core, Input, POLL, RootConfig, RootId};
use crate::change::Kinds;
use crate::coalesce::Delays;
use crate::maildir::{FileId, FoundFolder, Layout, Stamp, Wall};
use crate::watch::inbox::{Dirty, Names};
use crate::watch::root::{Job, Report, Scanned};

const QUIET: Duration = Duration::from_millis(200);
const MUCH: usize = 32_768;

/// A core with a clock and a Lisp that acknowledges at once.
struct Bench {
    core: Core,
    now: Instant,
    /// What Lisp was told since the last look, in short, and the jobs that were given.
    told: Vec<String>,
    jobs: Vec<(usize, Job)>,
    closed: Vec<usize>,
}

impl Bench {
    /// Accounts with their roots; Lisp is attached.
    fn new(accounts: &[(&str, &[&str])]) -> Self {
        let root = |directory: &&str| RootConfig {
            directory: directory.into(),
            layout: Layout::Auto,
            poll: None,
        };
        let accounts = accounts.iter().map(|(name, roots)| AccountConfig {
            name: (*name).to_owned(),
            roots: roots.iter().map(root).collect(),
            delays: Delays {
                quiet: QUIET,
                longest: 10 * QUIET,
            },
        });
        let mut bench = Bench {
            core: Core::new(accounts.collect()),
            now: Instant::now(),
            told: Vec::new(),
            jobs: Vec::new(),
            closed: Vec::new(),
        };
        bench.give(Input::Attach(1, MUCH));
        bench
    }

    /// One account with one root, scanned, with these folders; nothing left to tell.
    fn settled(folders: &[&str]) -> Self {
        let mut bench = Bench::new(&[("work", &["/m"])]);
        bench.report(0, scanned("/m", folders));
        bench.told();
        bench.jobs.clear();
        bench
    }

    fn give(&mut self, input: Input) {
        for action in self.core.handle(self.now, input) {
            match action {
                Action::Run(RootId(root), job) => self.jobs.push((root, job)),
                Action::Close(RootId(root)) => self.closed.push(root),
                Action::Take(_) => {}
                Action::Send(frame) => {
                    let sequence = self.read(&frame);
                    self.give(Input::Acknowledge(1, sequence));
                }
            }
        }
    }

    fn read(&mut self, frame: &[u8]) -> u64 {
        let text = String::from_utf8(frame.to_vec()).unwrap();
        let (header, payload) = text.split_once('\n').unwrap();
        let mut fields = payload.trim_end_matches('\n').split_terminator('\0');
        while let Some(record) = fields.next() {
            let mut take = |count| (0..count).map(|_| fields.next().unwrap()).collect();
            let fields: Vec<&str> = match record {
                "change" => take(6),
                "state" => take(3),
                _ => take(2),
            };
            self.told.push(match record {
                "change" => format!("{} {} {}", fields[0], fields[2], fields[4]),
                "state" => format!("{} is {}", fields[0], fields[1]),
                "ready" => format!("{} ready", fields[1]),
                _ => fields.join(" "),
            });
        }
        header.split(' ').nth(3).unwrap().parse().unwrap()
    }

    fn report(&mut self, root: usize, scanned: Scanned) {
        self.give(Input::Report(RootId(root), Report::Scanned(scanned)));
    }

    fn messages(&mut self, root: usize, directory: &str, kinds: Kinds) {
        let messages = HashMap::from([(directory.into(), kinds)]);
        let dirty = Dirty {
            messages,
            ..Dirty::default()
        };
        self.give(Input::Dirty(RootId(root), dirty));
    }

    fn overflow(&mut self) {
        let dirty = Dirty {
            overflow: true,
            ..Dirty::default()
        };
        self.give(Input::Dirty(RootId(0), dirty));
    }

    /// Everything that is due a little later, and what was told since the last time.
    fn told(&mut self) -> Vec<String> {
        self.now += QUIET;
        self.give(Input::Tick);
        std::mem::take(&mut self.told)
    }

    fn jobs(&mut self) -> Vec<(usize, Job)> {
        std::mem::take(&mut self.jobs)
    }

    fn text(&self, account: usize) -> String {
        self.core.status().accounts[account].text.clone()
    }
}

fn found(directory: &str) -> FoundFolder {
    let stamp = Stamp {
        id: FileId { dev: 1, ino: 1 },
        mtime: Wall::default(),
        ctime: Wall::default(),
        size: 0,
        taken: Wall::default(),
    };
    FoundFolder {
        name: directory.into(),
        directory: directory.into(),
        real: directory.into(),
        new: stamp,
        cur: stamp,
    }
}

fn scanned(root: &str, created: &[&str]) -> Scanned {
    Scanned {
        real_root: root.into(),
        created: created.iter().map(|folder| found(folder)).collect(),
        watches: 1,
        ..Scanned::default()
    }
}

fn scan(exclude: &[&str]) -> Job {
    let exclude = exclude.iter().map(PathBuf::from).collect();
    Job::Scan { exclude }
}

#[test]
fn the_first_scan_is_silent_and_then_the_root_is_ready() {
    let mut bench = Bench::new(&[("work", &["/m"])]);
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    assert_eq!(bench.told(), ["work is starting"]);
    bench.report(0, scanned("/m", &["/m/b", "/m/a"]));
    assert_eq!(bench.told(), ["/m ready", "work is watching"]);
    assert_eq!(bench.core.deadline(), None);

    // The second time it is news, and nobody is ready twice.
    bench.overflow();
    let mut second = scanned("/m", &["/m/c"]);
    second.deleted = vec!["/m/a".into()];
    second.changed = vec!["/m/b".into()];
    bench.report(0, second);
    assert_eq!(bench.told(), ["work /m/a d", "work /m/b u", "work /m/c nc"]);
}

#[test]
fn check_puts_everything_or_a_part_of_it_in_doubt() {
    let mut bench = Bench::new(&[("work", &["/m", "/n"]), ("home", &["/h"])]);
    for (number, root) in ["/m", "/n", "/h"].into_iter().enumerate() {
        bench.report(number, scanned(root, &[root]));
    }
    bench.told();
    let (work, n) = (Some("work".to_owned()), Some(PathBuf::from("/n")));
    let table: [(Option<String>, Option<PathBuf>, &[&str]); 4] = [
        (None, None, &["work /m u", "work /n u", "home /h u"]),
        (work.clone(), None, &["work /m u", "work /n u"]),
        (work, n, &["work /n u"]),
        (Some("nobody".to_owned()), None, &[]),
    ];
    for (account, root, expected) in table {
        bench.give(Input::Check(account.clone(), root.clone()));
        assert_eq!(bench.told(), expected, "{account:?} {root:?}");
    }
}

#[test]
fn events_before_the_report_are_told_after_it() {
    let mut bench = Bench::settled(&["/m/a"]);
    bench.overflow();
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    // The worker watches /m/b already, but nobody has said so.
    bench.messages(0, "/m/b/cur", Kinds::FLAGS);
    bench.messages(0, "/m/a/new", Kinds::NEW);
    assert_eq!(bench.told(), ["work /m/a n"]);
    bench.report(0, scanned("/m", &["/m/b"]));
    assert_eq!(bench.told(), ["work /m/b nfc"]);
    assert_eq!(bench.jobs(), []);

    // What no folder explains is looked at by the worker, and then forgotten.
    bench.messages(0, "/m/c/new", Kinds::NEW);
    let places = HashMap::from([("/m/c/new".into(), Names::All)]);
    let exclude = Vec::new();
    assert_eq!(bench.jobs(), [(0, Job::Look { places, exclude })]);
    bench.give(Input::Report(RootId(0), Report::Nothing));
    assert_eq!((bench.jobs(), bench.core.held()), (vec![], 0));
    assert!(bench.told().is_empty());
}

#[test]
fn an_overflow_is_one_scan_and_one_job_runs_at_a_time() {
    let mut bench = Bench::settled(&["/m/a"]);
    bench.overflow();
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    bench.overflow();
    bench.overflow();
    assert_eq!(bench.jobs(), [], "the worker is busy");
    bench.report(0, scanned("/m", &[]));
    assert_eq!(bench.jobs(), [(0, scan(&[]))], "what came meanwhile counts");
    bench.report(0, scanned("/m", &[]));
    assert_eq!(bench.jobs(), []);
    let unfinished = Scanned {
        again: true,
        ..scanned("/m", &[])
    };
    bench.overflow();
    bench.jobs();
    bench.report(0, unfinished);
    assert_eq!(bench.jobs(), [], "it is given a moment to come to rest");
    bench.now = bench.core.deadline().expect("another look");
    bench.give(Input::Tick);
    assert_eq!(bench.jobs(), [(0, scan(&[]))], "it was not quiet yet");
}

#[test]
fn an_absent_root_waits_and_is_in_doubt_when_it_returns() {
    let mut bench = Bench::settled(&["/m/a", "/m/b"]);
    bench.overflow();
    bench.jobs();
    let absent = || Report::Absent("there is no directory /m".to_owned());
    bench.give(Input::Report(RootId(0), absent()));
    assert_eq!(bench.told(), ["work is waiting"]);
    assert!(bench.text(0).contains("/m"), "{}", bench.text(0));
    // Its folders are not deleted; it is looked for from time to time.
    for _ in 0..2 {
        let deadline = bench.core.deadline().expect("another look");
        assert!(deadline <= bench.now + POLL);
        bench.now = deadline;
        bench.give(Input::Tick);
        assert_eq!(bench.jobs(), [(0, scan(&[]))]);
        bench.give(Input::Report(RootId(0), absent()));
        assert!(bench.told().is_empty(), "nothing is new");
    }
    bench.now = bench.core.deadline().expect("another look");
    bench.give(Input::Tick);
    let mut back = scanned("/m", &[]);
    back.changed = ["/m/a", "/m/b"].map(PathBuf::from).to_vec();
    bench.report(0, back);
    let mut told = bench.told();
    told.sort();
    assert_eq!(told, ["work /m/a u", "work /m/b u", "work is watching"]);
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn one_directory_in_two_accounts_is_an_error_that_names_them() {
    let mut bench = Bench::new(&[("work", &["/m"]), ("home", &["/link"])]);
    bench.report(0, scanned("/m", &["/m"]));
    bench.report(1, scanned("/m", &["/m"]));
    assert_eq!(bench.closed, [1]);
    let told = bench.told();
    assert!(told.contains(&"home is error".to_owned()), "{told:?}");
    assert!(told.contains(&"work is watching".to_owned()), "{told:?}");
    for word in ["/link", "/m", "\"work\"", "mailsync-accounts"] {
        assert!(bench.text(1).contains(word), "{word}: {}", bench.text(1));
    }
    // The first one works on, the second one is out of the game.
    bench.messages(0, "/m/new", Kinds::NEW);
    bench.messages(1, "/m/new", Kinds::NEW);
    assert_eq!(bench.told(), ["work /m n"]);
    bench.jobs();
    bench.overflow();
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
}

#[test]
fn of_nested_roots_the_longest_has_a_folder() {
    // Whichever is scanned first.
    for first in [0, 1] {
        let mut bench = Bench::new(&[("work", &["/m"]), ("home", &["/m/in"])]);
        bench.jobs();
        let outer = || scanned("/m", &["/m", "/m/in", "/m/in/a"]);
        let inner = || scanned("/m/in", &["/m/in", "/m/in/a"]);
        if first == 0 {
            bench.report(0, outer());
            bench.report(1, inner());
            // It scans again, to give up its watches there.
            assert_eq!(bench.jobs(), [(0, scan(&["/m/in"]))]);
            let mut rest = scanned("/m", &[]);
            rest.deleted = ["/m/in", "/m/in/a"].map(PathBuf::from).to_vec();
            bench.report(0, rest);
        } else {
            bench.report(1, inner());
            bench.report(0, outer());
        }
        let told = bench.told();
        assert!(
            !told.iter().any(|it| it.ends_with(" d")),
            "nothing was deleted: {told:?}"
        );
        bench.give(Input::Check(None, None));
        let mut told = bench.told();
        told.sort();
        let expected = ["home /m/in u", "home /m/in/a u", "work /m u"];
        assert_eq!(told, expected, "first {first}");
    }
}

#[test]
fn a_dead_worker_is_an_error_and_stops_nobody_else() {
    let mut bench = Bench::new(&[("work", &["/m"]), ("home", &["/h"])]);
    bench.report(0, scanned("/m", &["/m"]));
    bench.report(1, scanned("/h", &["/h"]));
    bench.told();
    bench.jobs();
    bench.give(Input::WorkerDied(RootId(0), "out of luck".to_owned()));
    assert_eq!(bench.told(), ["work is error"]);
    for word in ["/m", "out of luck", "mailsync-restart"] {
        assert!(bench.text(0).contains(word), "{word}: {}", bench.text(0));
    }
    bench.overflow();
    assert_eq!(bench.jobs(), []);
    bench.messages(1, "/h/new", Kinds::NEW);
    assert_eq!(bench.told(), ["home /h n"]);
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn a_state_is_told_when_it_changes_and_to_every_new_pipe() {
    let mut bench = Bench::settled(&["/m/a"]);
    for _ in 0..3 {
        bench.overflow();
        bench.report(0, scanned("/m", &[]));
    }
    assert!(bench.told().is_empty());
    let trouble = Scanned {
        trouble: Some("no watches".to_owned()),
        unwatched: 1,
        ..scanned("/m", &[])
    };
    bench.overflow();
    bench.report(0, trouble);
    assert_eq!(bench.told(), ["work is watching"], "the text is another");
    assert_eq!(bench.text(0), "no watches");
    let again = bench
        .core
        .deadline()
        .expect("what is not watched is polled");
    assert!(again <= bench.now + POLL);
    bench.give(Input::Attach(2, MUCH));
    // That frame is of another generation: nobody has acknowledged it.
    assert_eq!(bench.told(), ["work is watching", "work /m/a u"]);
    assert!(bench.core.status().in_flight);
}

#[test]
fn answers_come_in_parts_that_fit() {
    let mut core: Core = Core::new(Vec::new());
    let now = Instant::now();
    core.handle(now, Input::Attach(1, MUCH));
    let name = |i: usize| Path::new("/m").join(format!("{i:0>200}"));
    let pairs = (0..100).map(|i| (name(i), name(i))).collect();
    let mut actions = core.handle(now, Input::Resolved("groups".to_owned(), 1, pairs));
    let mut seen = 0;
    for sequence in 1.. {
        let Some(Action::Send(frame)) = actions.pop() else {
            break;
        };
        assert!(frame.len() <= MUCH + 64);
        seen += frame.windows(4).filter(|it| it == b"/m/0").count();
        actions = core.handle(now, Input::Acknowledge(1, sequence));
    }
    assert_eq!(seen, 200);
}
