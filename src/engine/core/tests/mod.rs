//! The core's decisions, one by one.  What must hold whatever happens is `test/sim`'s business.

mod listening;
mod listing;
mod remotes;
mod syncing;

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
    let table: [Case; 8] = [
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

/// Where events tell, that has time until there is a reason to look.
#[test]
fn the_look_after_the_clock_was_set_is_told_so() {
    let told = |depth| Job {
        clock_set: true,
        ..job(depth, &[])
    };
    // Whether the root is elsewhere, or the worker is looking at it just now, and the next look.
    for (remote, busy, next) in [
        (true, false, Some(Depth::Sweep)),
        (true, true, Some(Depth::Sweep)),
        (false, false, None),
        (false, true, None),
    ] {
        let mut bench = Bench::settled(&["/m/a"]);
        let found = Scanned {
            remote,
            ..scanned("/m", &[])
        };
        bench.overflow();
        bench.report(0, found.clone());
        if busy {
            bench.overflow();
        }
        bench.jobs();
        bench.give(Input::ClockSet);
        if busy {
            assert_eq!(bench.jobs(), []);
            bench.report(0, found.clone());
        }
        let next: Vec<_> = next.map(|depth| (0, told(depth))).into_iter().collect();
        assert_eq!(bench.jobs(), next, "{remote} {busy}");
        if next.is_empty() {
            bench.overflow();
            assert_eq!(bench.jobs(), [(0, told(Depth::Everything))]);
        }
        bench.report(0, found);
        bench.overflow();
        assert_eq!(bench.jobs(), [(0, job(Depth::Everything, &[]))]);
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

#[test]
fn what_an_inner_root_gives_up_during_a_look_is_told_by_the_next_one() {
    let mut bench = Bench::new(&[("work", &["/m"])]);
    bench.report(0, scanned("/m", &["/m"]));
    let outer = [("work", &["/m"] as &[&str])];
    let both = [outer[0], ("home", &["/m/in"])];
    let anew = Job {
        anew: vec!["/m/in".into()],
        ..scan(&[])
    };
    for inner in [1, 2] {
        bench.give(Input::Configure(accounts(&both)));
        bench.report(inner, scanned("/m/in", &["/m/in", "/m/in/a"]));
        if inner == 1 {
            bench.jobs();
            bench.report(0, scanned("/m", &[]));
        }
        bench.give(Input::Configure(accounts(&outer)));
    }
    // The worker is still at the look for the first time; that found what the second one is for.
    bench.told();
    bench.jobs();
    bench.report(0, scanned("/m", &["/m/in", "/m/in/a"]));
    assert_eq!(bench.jobs(), [(0, anew)]);
    // One of them was removed meanwhile, which the worker cannot tell.
    bench.report(0, scanned("/m", &["/m/in"]));
    assert_eq!(bench.told(), ["work /m/in nc"]);
    bench.give(Input::Check(None, None));
    assert_eq!(bench.told(), ["work /m u", "work /m/in u"]);
}

#[test]
fn a_root_that_moves_up_has_its_folders_still() {
    let mut bench = Bench::new(&[("work", &["/link"])]);
    bench.report(0, scanned("/m/in", &["/m/in", "/m/in/a"]));
    bench.told();
    bench.jobs();
    bench.overflow();
    bench.jobs();
    let moved = Scanned {
        deleted: vec![path("/m/in/a")],
        ..scanned("/m", &["/m"])
    };
    bench.report(0, moved);
    let mut told = bench.told();
    told.sort();
    assert_eq!(told, ["work /m nc", "work /m/in/a d"]);
    assert_eq!(bench.jobs(), []);
    bench.give(Input::Check(None, None));
    assert_eq!(bench.told(), ["work /m u", "work /m/in u"]);
}
