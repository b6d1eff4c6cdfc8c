//! The core's decisions, one by one.  What must hold whatever happens is `test/sim`'s business.

mod listening;
mod listing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::root::{POLL, SILENCE};
use super::{Action, BYTES_A_PART, Core, Input};
use crate::change::AccountId;
use crate::change::Kinds;
use crate::coalesce::Delays;
use crate::echo::{Claim, Claims};
use crate::engine::config::{AccountConfig, RemoteId, RootConfig, RootId, SyncConfig};
use crate::maildir::{FileId, FoundFolder, Layout, Stamp, Wall};
use crate::schedule::{Lock, Timing};
use crate::syncer::lock::Key;
use crate::syncer::worker::Worker;
use crate::syncer::{
    Command, Ended, Event, Memory, Naming, Outcome, Program, RunId, Scope, Syncer,
};
use crate::watch::inbox::{Dirty, Names};
use crate::watch::job::{Absent, Depth, Job, Report, Scanned};

mod remotes;

const QUIET: Duration = Duration::from_millis(200);
const MUCH: usize = 32_768;

/// A core with a clock and a Lisp that acknowledges at once.
struct Bench {
    core: Core,
    now: Instant,
    /// What Lisp was told since the last look, in short, and the jobs that were given.
    told: Vec<String>,
    jobs: Vec<(usize, Job)>,
    opened: Vec<usize>,
    /// Runs that were started, by the folders that they name.
    runs: Vec<String>,
    locks: Vec<Key>,
    /// Changes are told by name and with their origins.
    origins: bool,
    /// Changes are told with how long ago they were noticed.
    seen: bool,
    closed: Vec<usize>,
    /// What was done with watcher programs.
    programs: Vec<String>,
    /// What other programs were told.
    passed_on: Vec<crate::listen::Told>,
}

fn root(directory: &str) -> RootConfig {
    RootConfig {
        directory: directory.into(),
        layout: Layout::Auto,
        poll: None,
    }
}

/// Synced by a command, one second after a change.
fn sync() -> SyncConfig {
    SyncConfig {
        timing: Timing {
            base: Duration::from_secs(1),
            inter: Duration::from_secs(5),
            max: Duration::from_secs(600),
            check: Duration::from_secs(10),
            ..Timing::once()
        },
        syncer: Syncer::new(Program::Command(Command {
            words: vec!["sync".into(), "%f".into()],
            all: None,
            naming: Naming::Utf8,
            separator: None,
            prefix: None,
            per_folder: true,
        })),
    }
}

fn accounts(accounts: &[(&str, &[&str])]) -> Vec<AccountConfig> {
    let accounts = accounts.iter().map(|(name, roots)| AccountConfig {
        name: (*name).to_owned(),
        roots: roots.iter().map(|directory| root(directory)).collect(),
        delays: Delays {
            quiet: QUIET,
            longest: 10 * QUIET,
        },
        quiet: true,
        sync: None,
        remotes: Vec::new(),
    });
    accounts.collect()
}

fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Everything => "*".to_owned(),
        Scope::Folders(folders) => {
            let names = folders.iter().map(|it| String::from_utf8_lossy(&it.name));
            names.collect::<Vec<_>>().join(" ")
        }
    }
}

impl Bench {
    /// Accounts with their roots; Lisp is attached.
    fn new(configured: &[(&str, &[&str])]) -> Self {
        let mut bench = Bench {
            core: Core::default(),
            now: Instant::now(),
            told: Vec::new(),
            jobs: Vec::new(),
            opened: Vec::new(),
            runs: Vec::new(),
            locks: Vec::new(),
            origins: false,
            seen: false,
            closed: Vec::new(),
            programs: Vec::new(),
            passed_on: Vec::new(),
        };
        bench.give(Input::Attach(1, MUCH));
        bench.give(Input::MountsAreTold(true));
        bench.give(Input::Configure(accounts(configured)));
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
                Action::Open(RootId(root), _) => self.opened.push(root),
                Action::Close(RootId(root)) => self.closed.push(root),
                Action::SeekLock(_, key) => self.locks.push(key),
                Action::Take(_) | Action::DropLock(_) => {}
                Action::EndWorker(AccountId(id)) => self.programs.push(format!("rest {id}")),
                Action::Tell(told) => self.passed_on.extend(told),
                Action::Sync(_, order) => self.runs.push(scope(&order.scope)),
                Action::Connect(RemoteId(remote), order) => {
                    self.programs
                        .push(format!("start {remote} as {}", order.number));
                }
                Action::Disconnect(RemoteId(remote)) => {
                    self.programs.push(format!("end {remote}"));
                }
                #[cfg(feature = "imap")]
                Action::Imap(RemoteId(remote), what) => {
                    self.programs.push(format!("imap {remote}: {what:?}"));
                }
                Action::Look(_, look, _, folders) => {
                    let names = folders.iter().map(|it| String::from_utf8_lossy(&it.name));
                    let names: Vec<_> = names.collect();
                    self.runs.push(format!("{look:?} {}", names.join(",")));
                }
                Action::EndSync(run, why) => self.runs.push(format!("end {} {why:?}", run.0)),
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
                "change" => take(8),
                "state" => take(3),
                "sync" => take(6),
                "remote" => take(5),
                "syncing" | "synced" | "answer" => {
                    let fixed: Vec<&str> = take(match record {
                        "syncing" => 4,
                        "answer" => 5,
                        _ => 13,
                    });
                    let count = fixed[fixed.len() - 1].parse().unwrap();
                    [fixed, (0..count).map(|_| fields.next().unwrap()).collect()].concat()
                }
                _ => take(2),
            };
            self.told.push(match record {
                "change" if self.seen => format!("{} {}", fields[2], fields[7]),
                "change" if self.origins => {
                    format!("{} {} {} {}", fields[0], fields[1], fields[4], fields[5])
                }
                "change" => format!("{} {} {}", fields[0], fields[2], fields[4]),
                "state" => format!("{} is {}", fields[0], fields[1]),
                "ready" => format!("{} ready", fields[1]),
                "sync" => format!("{} {}", fields[0], fields[1]),
                "remote" => format!("{} remote {} {}", fields[0], fields[1], fields[3]),
                "syncing" => format!("syncing {}", fields[4..].join(" ")),
                "synced" => format!("{} for {:?}", fields[2], fields[6]),
                "answer" => format!("answer {}", fields.join(",")),
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

    /// A reader has looked, and renamed a message in this directory.
    fn looked(&mut self, root: usize, directory: &str) {
        let mut claims = Claims::default();
        claims.add(Claim::Quiet, Kinds::FLAGS);
        let dirty = Dirty {
            messages: HashMap::from([(directory.into(), Kinds::FLAGS)]),
            claims: HashMap::from([(directory.into(), claims)]),
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

fn path(path: &str) -> Arc<Path> {
    Path::new(path).into()
}

fn found(directory: &str) -> FoundFolder {
    let stamp = Stamp {
        id: FileId::NONE,
        mtime: Wall::default(),
        ctime: Wall::default(),
        size: 0,
        taken: Wall::default(),
        since: Wall::default(),
    };
    FoundFolder {
        name: directory.as_bytes().into(),
        directory: path(directory),
        real: path(directory),
        new: stamp,
        cur: stamp,
    }
}

fn scanned(root: &str, created: &[&str]) -> Scanned {
    Scanned {
        real_root: root.into(),
        created: created.iter().map(|it| Arc::new(found(it))).collect(),
        watches: 1,
        ..Scanned::default()
    }
}

fn scan(exclude: &[&str]) -> Job {
    job(Depth::Everything, exclude)
}

fn job(depth: Depth, exclude: &[&str]) -> Job {
    Job {
        depth,
        exclude: exclude.iter().map(PathBuf::from).collect(),
        ..Job::default()
    }
}

fn absent(watched: bool) -> Report {
    Report::Absent(Absent {
        text: "there is no directory /m".to_owned(),
        watched,
        way: vec!["/disk".into(), "/disk/m".into()],
        ..Absent::default()
    })
}

#[test]
fn the_first_scan_is_silent_and_then_the_root_is_ready() {
    let mut bench = Bench::new(&[("work", &["/m"])]);
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    // That it is starting Lisp takes for granted.
    assert_eq!(bench.told(), [""; 0]);
    bench.report(0, scanned("/m", &["/m/b", "/m/a"]));
    assert_eq!(bench.told(), ["/m ready", "work is watching"]);
    assert_eq!(bench.core.deadline(), None);

    // The second time it is news, and nobody is ready twice.
    bench.overflow();
    let mut second = scanned("/m", &["/m/c"]);
    second.deleted = vec![path("/m/a")];
    second.changed = vec![path("/m/b")];
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
    let look = Job {
        places,
        ..job(Depth::Places, &[])
    };
    assert_eq!(bench.jobs(), [(0, look)]);
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
    bench.give(Input::Report(RootId(0), absent(false)));
    assert_eq!(bench.told(), ["work is waiting"]);
    assert!(bench.text(0).contains("/m"), "{}", bench.text(0));
    // Its folders are not deleted; where nobody tells, it is looked for from time to time.
    for _ in 0..2 {
        let deadline = bench.core.deadline().expect("another look");
        assert!(deadline <= bench.now + POLL);
        bench.now = deadline;
        bench.give(Input::Tick);
        assert_eq!(bench.jobs(), [(0, scan(&[]))]);
        bench.give(Input::Report(RootId(0), absent(false)));
        assert!(bench.told().is_empty(), "nothing is new");
    }
    bench.now = bench.core.deadline().expect("another look");
    bench.give(Input::Tick);
    let mut back = scanned("/m", &[]);
    back.changed = ["/m/a", "/m/b"].map(path).to_vec();
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
    bench.jobs();
    bench.report(1, scanned("/m", &["/m"]));
    // The other one may have moved: it is looked at, once.
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    bench.report(0, scanned("/m", &[]));
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
            rest.deleted = ["/m/in", "/m/in/a"].map(path).to_vec();
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
    let mut core: Core = Core::default();
    let now = Instant::now();
    let room = BYTES_A_PART + 200;
    core.handle(now, Input::Attach(1, room));
    // The last one alone nearly fills a part.
    let long = |i: usize| if i == 199 { 8000 } else { 200 };
    let name = |i: usize| Path::new("/m").join(format!("{i:0>width$}", width = long(i)));
    let fields = (0..200).map(|i| name(i).into_os_string().into_encoded_bytes());
    let answer = Input::Answer("groups".to_owned(), 1, fields.collect());
    let mut actions = core.handle(now, answer);
    let mut seen = 0;
    for sequence in 1.. {
        let Some(Action::Send(frame)) = actions.pop() else {
            break;
        };
        assert!(frame.len() <= room, "{}", frame.len());
        seen += frame.windows(4).filter(|it| it == b"/m/0").count();
        actions = core.handle(now, Input::Acknowledge(1, sequence));
    }
    assert_eq!(seen, 200);
}

#[test]
fn nobody_looks_for_an_absent_root_where_the_kernel_tells() {
    let mut bench = Bench::settled(&["/m/a"]);
    bench.overflow();
    bench.give(Input::Report(RootId(0), absent(true)));
    assert_eq!(bench.told(), ["work is waiting"]);
    assert_eq!(bench.core.deadline(), None);
    bench.jobs();
    // What is mounted on the way may bring it; what happens there is told by its watches.
    bench.give(Input::Mounts(vec!["/elsewhere".into()]));
    assert_eq!(bench.jobs(), []);
    bench.give(Input::Mounts(vec!["/disk".into()]));
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    bench.give(Input::Report(RootId(0), absent(true)));
    bench.give(Input::NetworkChanged);
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    bench.give(Input::Report(RootId(0), absent(true)));
    // Where mounts are told no longer, it is looked for again.
    bench.give(Input::MountsAreTold(false));
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    bench.give(Input::Report(RootId(0), absent(true)));
    assert!(bench.core.deadline().is_some());
}

#[test]
fn a_watcher_that_fails_is_replaced_and_not_all_the_time() {
    let mut bench = Bench::settled(&["/m/a"]);
    let fails = || Dirty {
        overflow: true,
        failure: Some("out of luck".to_owned()),
        ..Dirty::default()
    };
    let anew = Job {
        renew: true,
        ..scan(&[])
    };
    bench.give(Input::Dirty(RootId(0), fails()));
    assert_eq!(bench.jobs(), [(0, anew.clone())]);
    bench.report(0, scanned("/m", &[]));
    // It fails again, at once.
    bench.give(Input::Dirty(RootId(0), fails()));
    assert_eq!(bench.jobs(), [(0, scan(&[]))]);
    bench.report(0, scanned("/m", &[]));
    let again = bench.core.deadline().expect("another one");
    assert_eq!(again, bench.now + POLL);
    bench.now = again;
    bench.give(Input::Tick);
    assert_eq!(bench.jobs(), [(0, anew)]);
    bench.report(0, scanned("/m", &[]));
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn where_nothing_matters_it_is_not_looked_after_each_event() {
    let mut bench = Bench::settled(&["/m/a"]);
    let file = |name: &str| {
        let names = Names::Some([name.into()].into());
        let places = HashMap::from([("/m".into(), names)]);
        let dirty = Dirty {
            places,
            ..Dirty::default()
        };
        Input::Dirty(RootId(0), dirty)
    };
    bench.give(file("1"));
    assert_eq!(bench.jobs().len(), 1);
    bench.give(Input::Report(RootId(0), Report::Nothing));
    bench.give(file("2"));
    bench.give(file("3"));
    assert_eq!(bench.jobs(), []);
    bench.now = bench.core.deadline().expect("a look at both");
    bench.give(Input::Tick);
    let names = Names::Some(["2".into(), "3".into()].into());
    assert_eq!(bench.jobs()[0].1.places[Path::new("/m")], names);
}

#[test]
fn links_to_two_roots_may_change_places() {
    let mut bench = Bench::new(&[("work", &["/a"]), ("home", &["/b"])]);
    bench.report(0, scanned("/x", &["/x/1"]));
    bench.report(1, scanned("/y", &["/y/1"]));
    bench.told();
    bench.jobs();
    // The first is seen where the second was, and still is as far as anybody knows.
    bench.overflow();
    let moved = |root: &str, gone: &str, come: &[&str]| Scanned {
        deleted: vec![path(gone)],
        ..scanned(root, come)
    };
    bench.report(0, moved("/y", "/x/1", &["/y/1"]));
    assert_eq!(bench.told(), ["work is error"]);
    assert_eq!(bench.jobs(), [(0, scan(&[])), (1, scan(&[]))]);
    // Then that one has moved, and the first can be where it is.
    bench.report(1, moved("/x", "/y/1", &["/x/1"]));
    let anew = Job {
        anew: vec!["/y".into()],
        ..scan(&[])
    };
    assert_eq!(bench.jobs(), [(0, anew)]);
    bench.report(0, scanned("/y", &["/y/1"]));
    let told = bench.told();
    for expected in ["work is watching", "/a ready", "home /x/1 nc"] {
        assert!(told.contains(&expected.to_owned()), "{told:?}");
    }
    bench.messages(0, "/y/1/new", Kinds::NEW);
    assert_eq!(bench.told(), ["work /y/1 n"]);
}

#[test]
fn what_was_not_told_when_a_root_changed_hands_is_told_by_the_new_one() {
    let mut bench = Bench::new(&[("work", &["/m"])]);
    bench.report(0, scanned("/m", &["/m", "/m/a"]));
    bench.told();
    bench.messages(0, "/m/new", Kinds::NEW);
    bench.give(Input::Configure(accounts(&[("home", &["/m"])])));
    bench.report(1, scanned("/m", &["/m", "/m/a"]));
    assert_eq!(bench.told(), ["/m ready", "home is watching", "home /m nu"]);
    assert_eq!(bench.core.held(), 0);
}

#[test]
fn a_root_is_looked_at_when_the_machine_says_so() {
    let mounts = |point: &str| Input::Mounts(vec![point.into()]);
    type Case = (&'static str, Input, bool, Option<Depth>);
    let table: [Case; 10] = [
        (
            "it slept",
            Input::Woke(SILENCE),
            false,
            Some(Depth::Everything),
        ),
        (
            "mount at the root",
            mounts("/m"),
            false,
            Some(Depth::Everything),
        ),
        ("above it", mounts("/"), false, Some(Depth::Everything)),
        ("in it", mounts("/m/a/b"), false, Some(Depth::Everything)),
        ("beside it", mounts("/mm"), false, None),
        (
            "network, the root is here",
            Input::NetworkChanged,
            false,
            None,
        ),
        (
            "network, it is elsewhere",
            Input::NetworkChanged,
            true,
            Some(Depth::Sweep),
        ),
        ("clock set, events tell", Input::ClockSet, false, None),
        (
            "clock set, stamps tell",
            Input::ClockSet,
            true,
            Some(Depth::Everything),
        ),
        ("nothing", Input::Tick, true, None),
    ];
    for (what, input, remote, expected) in table {
        let mut bench = Bench::settled(&["/m/a"]);
        bench.overflow();
        bench.report(
            0,
            Scanned {
                remote,
                ..scanned("/m", &[])
            },
        );
        bench.jobs();
        bench.give(input);
        let expected: Vec<_> = expected
            .map(|depth| (0, job(depth, &[])))
            .into_iter()
            .collect();
        assert_eq!(bench.jobs(), expected, "{what}");
    }
}

#[test]
fn what_is_not_watched_is_swept_and_asked_for_ever_more_seldom() {
    let mut bench = Bench::settled(&["/m/a"]);
    let limited = |unwatched| Scanned {
        unwatched,
        trouble: Some("a limit".to_owned()),
        ..scanned("/m", &[])
    };
    bench.overflow();
    bench.report(0, limited(5));
    bench.jobs();
    let mut retries = Vec::new();
    let mut sweeps = 0;
    for _ in 0..100 {
        bench.now = bench.core.deadline().expect("a sweep");
        bench.give(Input::Tick);
        let (_, it) = bench.jobs().pop().expect("a job");
        assert_eq!(it.depth, Depth::Sweep);
        sweeps += 1;
        if it.retry {
            retries.push(sweeps);
        }
        bench.report(0, limited(5));
    }
    // In sweeps of 30 s: after 1, 2, 4, 8, 16, 20, 20...
    assert_eq!(retries, [1, 3, 7, 15, 31, 51, 71, 91]);
    // A wake and a restart ask at once, and begin anew; with all of them nothing ticks.
    bench.give(Input::Woke(SILENCE));
    assert!(bench.jobs()[0].1.retry);
    bench.report(0, limited(5));
    bench.give(Input::Configure(accounts(&[("work", &["/m"])])));
    assert!(bench.jobs()[0].1.retry);
    bench.report(0, limited(5));
    bench.now = bench.core.deadline().expect("a sweep");
    bench.give(Input::Tick);
    assert!(bench.jobs()[0].1.retry);
    bench.report(0, scanned("/m", &[]));
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn a_poll_is_as_slow_as_the_user_wants_and_as_fast_as_doubt_needs() {
    let soon = Duration::from_secs(2);
    let table = [
        (Some(300), None, Some(300)),
        (Some(300), Some(soon), Some(2)),
        (Some(1), Some(soon), Some(1)),
        (None, None, None),
    ];
    for (poll, settles, expected) in table {
        let mut bench = Bench::new(&[]);
        let mut config = accounts(&[("work", &["/m"])]);
        config[0].roots[0].poll = poll.map(Duration::from_secs);
        bench.give(Input::Configure(config));
        bench.report(
            0,
            Scanned {
                settles,
                ..scanned("/m", &["/m"])
            },
        );
        let after = bench.core.deadline().map(|at| (at - bench.now).as_secs());
        assert_eq!(after, expected, "{poll:?} {settles:?}");
    }
}

#[test]
fn a_root_that_does_not_answer_is_said_so_and_holds_up_only_itself() {
    let mut bench = Bench::settled(&["/m/a"]);
    bench.give(Input::Configure(accounts(&[
        ("work", &["/m"]),
        ("far", &["/far"]),
    ])));
    bench.told();
    bench.jobs();
    bench.now += SILENCE;
    bench.give(Input::Tick);
    assert_eq!(bench.told(), ["far is waiting"]);
    assert!(
        bench.text(1).contains("/far has not answered"),
        "{}",
        bench.text(1)
    );
    assert_eq!(bench.core.deadline(), None, "that was said");
    bench.messages(0, "/m/a/new", Kinds::NEW);
    assert_eq!(bench.told(), ["work /m/a n"]);
    // Another start leaves it alone, too: it has its worker, which may answer yet.
    bench.give(Input::Configure(accounts(&[
        ("work", &["/m"]),
        ("far", &["/far"]),
    ])));
    assert_eq!((bench.jobs(), bench.told()), (vec![], vec![]));
    bench.report(1, scanned("/far", &["/far"]));
    assert_eq!(bench.told(), ["/far ready", "far is watching"]);
}

#[test]
fn of_a_new_configuration_only_the_difference_is_done() {
    let mut bench = Bench::new(&[("work", &["/m", "/n"]), ("home", &["/h"])]);
    for (number, root) in ["/m", "/n", "/h"].into_iter().enumerate() {
        bench.report(number, scanned(root, &[root]));
    }
    bench.told();
    bench.jobs();
    bench.opened.clear();
    // A change that is not told yet, of a root that stays and of one that goes.
    bench.messages(0, "/m/new", Kinds::NEW);
    bench.messages(2, "/h/new", Kinds::NEW);
    bench.give(Input::Configure(accounts(&[
        ("new", &["/n", "/x"]),
        ("work", &["/m"]),
    ])));
    assert_eq!(
        (&bench.opened[..], &bench.closed[..]),
        (&[3, 4][..], &[1, 2][..])
    );
    assert_eq!(bench.jobs(), [(3, scan(&[])), (4, scan(&[]))]);
    assert_eq!(bench.told(), ["work /m n"]);
    let status = bench.core.status();
    let names = status.accounts.iter().map(|it| it.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["new", "work"]);
    // Who has a directory now has its changes; late words of the old one are nobody's.
    bench.report(3, scanned("/n", &["/n"]));
    bench.report(4, scanned("/x", &["/x"]));
    bench.report(1, scanned("/n", &["/n"]));
    bench.messages(1, "/n/new", Kinds::NEW);
    bench.messages(3, "/n/new", Kinds::NEW);
    assert_eq!(
        bench.told(),
        ["/n ready", "/x ready", "new is watching", "new /n n"]
    );
    // And back.
    bench.give(Input::Configure(accounts(&[("home", &["/h"])])));
    assert_eq!(bench.told(), ["home is starting"]);
    assert_eq!(bench.core.held(), 0);
}

#[test]
fn a_root_that_failed_is_started_anew_by_the_same_configuration() {
    let mut bench = Bench::new(&[("work", &["/m"]), ("home", &["/h"])]);
    bench.give(Input::WorkerDied(RootId(0), "out of luck".to_owned()));
    bench.report(1, scanned("/h", &["/h"]));
    bench.told();
    bench.opened.clear();
    bench.give(Input::Configure(accounts(&[
        ("work", &["/m"]),
        ("home", &["/h"]),
    ])));
    assert_eq!(bench.opened, [2]);
    assert_eq!(bench.told(), ["work is starting"]);
}

#[test]
fn folders_of_an_inner_root_that_is_given_up_go_to_the_outer_one() {
    let mut bench = Bench::new(&[("work", &["/m"]), ("home", &["/m/in"])]);
    bench.report(1, scanned("/m/in", &["/m/in"]));
    bench.report(0, scanned("/m", &["/m"]));
    bench.told();
    bench.jobs();
    bench.give(Input::Configure(accounts(&[("work", &["/m"])])));
    let anew = Job {
        anew: vec!["/m/in".into()],
        ..scan(&[])
    };
    assert_eq!(bench.jobs(), [(0, anew)]);
    bench.report(0, scanned("/m", &["/m/in"]));
    assert_eq!(bench.told(), ["work /m/in nc"]);
}

/// An account that is synced, with these folders, and the lock.
fn synced(folders: &[&str]) -> Bench {
    let mut bench = Bench::settled(folders);
    let mut configured = accounts(&[("work", &["/m"])]);
    configured[0].sync = Some(sync());
    bench.give(Input::Configure(configured));
    bench.give(Input::Locked(AccountId(0), Lock::Ours));
    bench.told();
    bench
}

impl Bench {
    /// What the syncer writes, as the backend tells it.
    fn event(&mut self, event: crate::watch::inbox::Event) {
        let inbox = crate::watch::inbox::Inbox::new(|| {});
        inbox.put(event);
        self.give(Input::Dirty(RootId(0), inbox.take(self.now)));
    }

    fn ran(&mut self, event: Event) {
        self.give(Input::Ran(AccountId(0), event));
    }

    fn ended(&mut self, run: u64, outcome: Outcome) {
        let ended = Ended::never_began(outcome, "why".to_owned(), Memory::default());
        let (run, ended) = (RunId(run), Box::new(ended));
        self.ran(Event::Ended { run, ended });
    }

    /// So many seconds, with a look at each tenth; what was told.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..seconds * 10 {
            self.now += Duration::from_millis(100);
            self.give(Input::Tick);
            told.append(&mut self.told);
        }
        told
    }
}

/// Its file was removed, and another Emacs has made one.
#[test]
fn a_lock_that_is_lost_is_sought_again() {
    let mut bench = synced(&["/m/a"]);
    bench.give(Input::Sync(Some("work".to_owned()), None, 3));
    assert_eq!(bench.runs, ["*"]);
    bench.locks.clear();
    bench.ran(Event::Robbed { run: RunId(1) });
    bench.ended(1, Outcome::Locked);
    assert_eq!(bench.locks.len(), 1);
    bench.pass(60);
    assert_eq!(bench.runs, ["*"], "while another one has it");
    bench.give(Input::Locked(AccountId(0), Lock::Ours));
    bench.pass(1);
    assert_eq!(bench.runs, ["*", "*"]);
    assert_eq!(bench.locks.len(), 1);
}

#[test]
fn a_change_is_checked_and_then_synced() {
    let mut bench = synced(&["/m/a"]);
    bench.messages(0, "/m/a/cur", Kinds::FLAGS);
    let told = bench.pass(3);
    assert!(told.contains(&"work /m/a f".to_owned()), "{told:?}");
    assert!(bench.runs.is_empty(), "nobody has checked it");
    bench.give(Input::Checked("work".to_owned(), vec![("/m/a".into(), 1)]));
    assert_eq!(bench.runs, ["/m/a"]);
    bench.ended(1, Outcome::Ok);
    let told = bench.pass(20);
    assert!(told.contains(&"syncing /m/a".to_owned()), "{told:?}");
    assert!(told.contains(&"ok for \"\"".to_owned()), "{told:?}");
    assert_eq!(bench.runs, ["/m/a"]);
}

#[test]
fn what_the_syncer_writes_is_an_echo_and_what_others_write_is_not() {
    use crate::watch::inbox::Event::{Created, Moved};
    let pulled = |pid: u32| Created(format!("/m/a/new/17.{pid}_1.host,U=5:2,").into());
    let pushed = Moved("/m/a/cur/1:2,S".into(), "/m/a/cur/1,U=6:2,S".into());
    let seen = Moved("/m/a/new/1".into(), "/m/a/cur/1:2,".into());
    let flagged = Moved("/m/a/cur/1:2,".into(), "/m/a/cur/1:2,F".into());
    let table = [
        ("a message that it fetched", pulled(77), "work /m/a n s", 1),
        (
            "one that another process did",
            pulled(78),
            "work /m/a n l",
            2,
        ),
        ("one that it has sent", pushed, "work /m/a f s", 1),
        ("one that Gnus has looked at", seen, "work /m/a F l", 1),
        ("flags", flagged, "work /m/a f l", 2),
    ];
    for (what, event, told, runs) in table {
        let mut bench = synced(&["/m/a"]);
        bench.give(Input::Sync(Some("work".to_owned()), None, 3));
        bench.ran(Event::Began {
            run: RunId(1),
            pid: 77,
        });
        bench.origins = true;
        bench.event(event);
        bench.ended(1, Outcome::Ok);
        let all = bench.pass(20);
        assert!(all.contains(&told.to_owned()), "{what}: {all:?}");
        assert!(all.contains(&"ok for \"3\"".to_owned()), "{what}: {all:?}");
        assert_eq!(bench.runs.len(), runs, "{what}: {:?}", bench.runs);
    }
}

/// What comes after the end of the run was on its way.
#[test]
fn what_a_sync_has_fetched_is_told_when_that_has_ended() {
    use crate::watch::inbox::Event::Created;
    let pulled = |number| Created(format!("/m/a/new/17.77_{number}.host,U=5:2,").into());
    let wait = QUIET / 10;
    // Whether it comes before the end, whether somebody else delivers at the same time, and whether
    // it is told a moment later.
    for (before, others, soon) in [
        (true, false, true),
        (false, false, true),
        (true, true, false),
        (false, true, false),
    ] {
        let mut bench = synced(&["/m/a"]);
        bench.give(Input::Sync(None, Some(vec![b"/m/a".to_vec()]), 0));
        bench.ran(Event::Began {
            run: RunId(1),
            pid: 77,
        });
        bench.told();
        if before {
            bench.event(pulled(1));
        }
        if others {
            bench.event(Created("/m/a/new/1".into()));
        }
        bench.ended(1, Outcome::Ok);
        if !before {
            bench.event(pulled(1));
        }
        let told = |told: Vec<String>| told.iter().any(|it| it.starts_with("work /m/a "));
        bench.now += wait;
        bench.give(Input::Tick);
        assert_eq!(told(std::mem::take(&mut bench.told)), soon);
        assert_eq!(told(bench.told()), !soon);
    }
}

/// What another one has sent, who may be at it for long, is merged like all else.
#[test]
fn what_no_sync_of_ours_has_written_is_merged() {
    use crate::watch::inbox::Event::Moved;
    let pushed = |number| {
        let (from, to) = ("/m/a/cur/", ",U=6:2,S");
        Moved(
            format!("{from}{number}:2,S").into(),
            format!("{from}{number}{to}").into(),
        )
    };
    // When the last run of ours has ended, and whether what comes then is of it.
    let second = Duration::from_secs(1);
    for (ended, soon) in [
        (None, false),
        (Some(second / 2), true),
        (Some(second), false),
    ] {
        let mut bench = synced(&["/m/a"]);
        if let Some(ended) = ended {
            bench.give(Input::Sync(None, Some(vec![b"/m/a".to_vec()]), 0));
            bench.ended(1, Outcome::Ok);
            bench.told.clear();
            bench.now += ended;
        }
        bench.event(pushed(1));
        bench.now += QUIET / 10;
        bench.give(Input::Tick);
        let told = bench.told.iter().any(|it| it.starts_with("work /m/a "));
        assert_eq!(told, soon, "{ended:?}");
        bench.event(pushed(2));
        let all = bench.pass(1);
        assert!(
            all.contains(&"work /m/a f".to_owned()),
            "{ended:?}: {all:?}"
        );
    }
}

/// Which Gnus would rename while it is being sent.
#[test]
fn a_message_that_comes_during_a_run_of_offlineimap_is_told_after_it() {
    use crate::watch::inbox::Event::{Created, Moved};
    let offlineimap = || Program::OfflineImap {
        program: "offlineimap".into(),
        account: "Work".to_owned(),
        config: None,
        args: Vec::new(),
    };
    let delivered = || Created("/m/a/new/1".into());
    let flagged = || Moved("/m/a/cur/1:2,".into(), "/m/a/cur/1:2,F".into());
    // by whom, what happens, whether that is told during the run, and after it
    let table = [
        (sync().syncer.program, delivered(), true, false),
        (offlineimap(), delivered(), false, true),
        (offlineimap(), flagged(), true, false),
    ];
    for (program, event, during, after) in table {
        let mut bench = synced(&["/m/a"]);
        let mut configured = accounts(&[("work", &["/m"])]);
        configured[0].sync = Some(SyncConfig {
            syncer: Syncer::new(program),
            ..sync()
        });
        bench.give(Input::Configure(configured));
        bench.give(Input::Sync(None, None, 0));
        assert_eq!(bench.runs, ["*"]);
        bench.told();
        bench.event(event.clone());
        let told = |told: Vec<String>| told.iter().any(|it| it.starts_with("work /m/a "));
        assert_eq!(told(bench.pass(3)), during, "{event:?}");
        bench.ended(1, Outcome::Ok);
        assert_eq!(told(bench.pass(1)), after, "{event:?}");
    }
}

/// A run that names it would bring it back.
#[test]
fn a_wish_for_a_folder_that_was_deleted_takes_everything() {
    let mut bench = synced(&[]);
    // Its name is not where it is.
    let name = b"a"[..].into();
    let a = FoundFolder {
        name,
        ..found("/m/a")
    };
    let made = Scanned {
        created: vec![Arc::new(a)],
        ..scanned("/m", &[])
    };
    bench.report(0, made);
    bench.pass(30);
    assert_eq!(bench.runs.pop(), Some("*".to_owned()));
    bench.ended(1, Outcome::Ok);
    let wish = || Input::Sync(None, Some(vec![b"a".to_vec()]), 3);
    let deleted = Scanned {
        deleted: vec![PathBuf::from("/m/a").into()],
        ..scanned("/m", &[])
    };
    bench.report(0, deleted);
    bench.give(wish());
    assert_eq!(bench.runs, ["*"]);
    // Also while it is being taken from the server, should that fail.
    bench.give(wish());
    bench.ended(2, Outcome::Transient);
    assert_eq!(bench.runs, ["*", "*"]);
    bench.ended(3, Outcome::Ok);
    bench.give(wish());
    assert_eq!(
        bench.runs,
        ["*", "*", "a"],
        "nothing is known of it any more"
    );
}

#[test]
fn an_account_that_is_given_up_ends_its_run_and_tells_no_more_of_it() {
    let mut bench = synced(&["/m/a"]);
    bench.give(Input::Sync(None, None, 0));
    assert_eq!(bench.runs, ["*"]);
    bench.give(Input::Configure(accounts(&[("work", &["/m"])])));
    assert_eq!(bench.runs, ["*", "end 1 Stop"]);
    bench.pass(2);
    bench.ended(1, Outcome::Interrupted);
    assert_eq!(bench.pass(20), [""; 0]);
}

#[test]
fn a_lock_is_of_maildirs_whatever_the_account_is_called() {
    let maildirs = |them: &[&str]| Key::Maildirs(them.iter().map(PathBuf::from).collect());
    let table: [(&str, &[&str], &[Key]); 4] = [
        ("work", &["/m"], &[]),
        ("job", &["/m"], &[maildirs(&["/m"])]),
        ("work", &["/m", "/n"], &[maildirs(&["/m", "/n"])]),
        ("work", &["/n"], &[maildirs(&["/n"])]),
    ];
    for (name, roots, locks) in table {
        let mut bench = synced(&["/m/a"]);
        assert_eq!(bench.locks, [maildirs(&["/m"])]);
        bench.locks.clear();
        let mut configured = accounts(&[(name, roots)]);
        configured[0].sync = Some(sync());
        bench.give(Input::Configure(configured));
        assert_eq!(bench.locks, locks, "{name} {roots:?}");
        // Without the lock nothing starts.
        bench.give(Input::Sync(Some(name.to_owned()), None, 3));
        assert_eq!(bench.runs.len(), usize::from(locks.is_empty()));
    }
}

#[test]
fn a_maildir_that_is_elsewhere_is_locked_there() {
    let key = |them: &[&str]| Key::Maildirs(them.iter().map(PathBuf::from).collect());
    let mut configured = accounts(&[("work", &["/link"])]);
    configured[0].sync = Some(sync());
    let mut bench = Bench::new(&[]);
    bench.give(Input::Configure(configured));
    bench.give(Input::Locked(AccountId(0), Lock::Ours));
    bench.report(0, scanned("/disk/m", &[]));
    bench.report(0, scanned("/disk/m", &[]));
    assert_eq!(bench.locks, [key(&["/link"]), key(&["/link", "/disk/m"])]);
    // Until that is had, nothing starts.
    bench.give(Input::Sync(None, None, 0));
    assert_eq!(bench.runs, [""; 0]);
    bench.give(Input::Locked(AccountId(0), Lock::Ours));
    assert_eq!(bench.runs, ["*"]);
    bench.report(0, scanned("/other/m", &[]));
    assert_eq!(bench.locks.last(), Some(&key(&["/link", "/other/m"])));
}

#[test]
fn a_wish_for_what_leaves_the_account_is_answered() {
    let mut bench = synced(&["/m/a"]);
    bench.give(Input::Pause(None, true));
    let wish = Some(vec![b"/m/a".to_vec()]);
    bench.give(Input::Sync(None, wish, 9));
    let mut configured = accounts(&[("work", &["/n"])]);
    configured[0].sync = Some(sync());
    bench.give(Input::Configure(configured));
    assert!(bench.pass(1).contains(&"interrupted for \"9\"".to_owned()));
}

#[test]
fn a_thousand_syncers_of_no_account_are_not_remembered() {
    let mut bench = Bench::new(&[("work", &["/m"])]);
    for number in 1..1000 {
        bench.give(Input::RunOnce {
            key: format!("at {number}"),
            sync: Box::new(SyncConfig {
                timing: Timing::once(),
                ..sync()
            }),
            folders: None,
            request: number,
        });
        bench.give(Input::Locked(AccountId(1), Lock::Ours));
        bench.give(Input::Ran(AccountId(1), {
            let ended = Ended::never_began(Outcome::Ok, String::new(), Memory::default());
            let run = RunId(number.cast_unsigned());
            Event::Ended {
                run,
                ended: Box::new(ended),
            }
        }));
        let told = bench.pass(1);
        assert!(told.contains(&format!("ok for \"{number}\"")), "{told:?}");
    }
    assert_eq!(bench.core.accounts.len(), 2);
    // A configuration may have the number of one, but not its name.
    bench.give(Input::Configure(accounts(&[
        ("home", &["/h"]),
        ("work", &["/m"]),
    ])));
    assert_eq!(bench.core.accounts.len(), 2);
    assert_eq!(bench.core.accounts[1].name, "home");
}

#[test]
fn a_syncer_of_no_account_runs_once_whatever_comes_of_it() {
    for outcome in [Outcome::Ok, Outcome::Transient, Outcome::Auth] {
        let mut bench = Bench::new(&[]);
        bench.give(Input::RunOnce {
            key: "once".to_owned(),
            sync: Box::new(SyncConfig {
                timing: Timing::once(),
                ..sync()
            }),
            folders: Some(vec![b"INBOX".to_vec()]),
            request: 5,
        });
        bench.give(Input::Locked(AccountId(0), Lock::Ours));
        assert_eq!(bench.runs, ["INBOX"]);
        bench.ended(1, outcome);
        let told = bench.pass(1000);
        let expected = format!("{} for \"5\"", outcome.name());
        assert_eq!(told, ["syncing INBOX".to_owned(), expected]);
        assert_eq!(bench.runs, ["INBOX"]);
        assert_eq!(bench.core.deadline(), None);
        assert_eq!(bench.core.held(), 0);
    }
}

/// What changes until the first look nobody tells: the sync of everything after it is for that.
#[test]
fn a_wish_before_a_first_look_is_not_the_sync_after_it() {
    let with_sync = |roots: &[&str]| {
        let mut configured = accounts(&[("work", roots)]);
        let sync = configured[0].sync.insert(sync());
        sync.timing.at_start = true;
        configured
    };
    let mut starts = Bench::new(&[]);
    starts.give(Input::Configure(with_sync(&["/m"])));
    let mut moves = synced(&["/m/a"]);
    moves.give(Input::Configure(with_sync(&["/n"])));
    for (mut bench, root, real) in [(starts, 0, "/m"), (moves, 1, "/n")] {
        bench.give(Input::Locked(AccountId(0), Lock::Ours));
        assert_eq!(bench.runs, [""; 0], "{real}");
        bench.give(Input::Sync(None, None, 0));
        bench.ended(1, Outcome::Ok);
        bench.pass(20);
        assert_eq!(bench.runs, ["*"], "{real}");
        bench.report(root, scanned(real, &[]));
        // The lock is of the real place now, too.
        bench.give(Input::Locked(AccountId(0), Lock::Ours));
        bench.pass(20);
        assert_eq!(bench.runs, ["*", "*"], "{real}");
    }
}

#[test]
fn a_worker_rests_when_its_account_does() {
    let worker = || Worker {
        words: vec!["/bin/true".into()],
        naming: Naming::Utf8,
        separator: None,
        prefix: None,
        idle: QUIET,
        quit: QUIET,
    };
    let configured = |worker: Option<Worker>, paused: f32| {
        let mut configured = accounts(&[("work", &["/m"])]);
        let mut sync = sync();
        sync.timing.base = Duration::from_secs_f32(paused);
        sync.syncer.worker = worker;
        configured[0].sync = Some(sync);
        Input::Configure(configured)
    };
    let mut bench = synced(&["in"]);
    let mut rests = |input, expected: &[&str]| {
        bench.programs.clear();
        bench.give(input);
        assert_eq!(bench.programs, expected);
    };
    // Without one there is none to end.
    rests(Input::Pause(None, true), &[]);
    rests(configured(Some(worker()), 1.0), &[]);
    rests(Input::Pause(None, true), &["rest 0"]);
    rests(Input::Pause(None, false), &[]);
    // When to sync is not the worker's business.
    rests(configured(Some(worker()), 2.0), &[]);
    let mut other = worker();
    other.words.push("x".into());
    rests(configured(Some(other), 2.0), &["rest 0"]);
    rests(configured(None, 2.0), &["rest 0"]);
}

#[test]
fn what_a_runner_says_is_logged() {
    let mut bench = synced(&["in"]);
    let text = "no worker".to_owned();
    bench.ran(Event::Said {
        run: RunId(1),
        text,
    });
    let told = bench.told();
    let said = "warning account work: no worker";
    assert!(told.iter().any(|it| it.ends_with(said)), "{told:?}");
}
