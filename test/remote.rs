//! Watcher programs as they may be: real processes that say too much, nothing, or nonsense, that do
//! not end, or end too soon; and mailsync-watch, as a user has it.
//!
//! When one is started again is a table of the machine's own (`src/remote/watcher/tests.rs`).

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use mailsync_module::coalesce::Delays;
use mailsync_module::engine::actor::World;
use mailsync_module::engine::config::{AccountConfig, RemoteConfig, RemoteStore, SyncConfig};
use mailsync_module::engine::core::Input;
use mailsync_module::remote::attempts::Retry;
use mailsync_module::remote::connection::{self, Connection, News, Order};
use mailsync_module::remote::heard::Heard;
use mailsync_module::remote::names;
use mailsync_module::remote::protocol::Dialect;
use mailsync_module::remote::watcher::{How, Over, Program};
use mailsync_module::schedule::Timing;
use mailsync_module::syncer::outcome::Exit;
use mailsync_module::syncer::{self, Command, Syncer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "support/mod.rs"]
mod support;

use support::{DELAYS, Engine, LONG, deliver, maildir, wait};

const WATCH: &str = env!("CARGO_BIN_EXE_mailsync-watch");

fn program(words: &[&str]) -> Program {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut variable = OsString::from("PATH=");
    variable.push(&path);
    Program {
        argv: words.iter().map(OsString::from).collect(),
        search: std::env::split_paths(&path).collect(),
        environment: vec![variable, "HOME=/nonexistent".into()],
        naming: names::Naming::default(),
    }
}

/// A program that runs, and what it says.
struct Far {
    connection: Connection,
    news: Receiver<News>,
    log: Vec<String>,
}

impl Far {
    fn start(program: Program, dialect: Dialect) -> Self {
        let (tell, news) = channel();
        let order = Order {
            number: 1,
            label: "test".to_owned(),
            program,
            dialect,
        };
        let tell = move |news| drop(tell.send(news));
        let connection = connection::start(order, tell).unwrap();
        let log = Vec::new();
        Far {
            connection,
            news,
            log,
        }
    }

    fn shell(script: &str) -> Self {
        Self::start(program(&["sh", "-c", script]), Dialect::Plain)
    }

    /// The next thing heard.
    fn heard(&mut self) -> Heard {
        loop {
            match self.news.recv_timeout(LONG).expect("nothing is said") {
                News::Heard => return self.connection.take(),
                News::Log(_, line) => self.log.push(line),
                News::Over(over) => panic!("it is over: {over:?}"),
            }
        }
    }

    /// Its end.
    fn over(&mut self) -> Over {
        loop {
            match self.news.recv_timeout(LONG).expect("it does not end") {
                News::Heard => {}
                News::Log(_, line) => self.log.push(line),
                News::Over(over) => return over,
            }
        }
    }

    /// End it, and say how long that took.
    fn end(&mut self) -> (Over, Duration) {
        let began = Instant::now();
        self.connection.end();
        assert!(
            began.elapsed() < Duration::from_millis(500),
            "nobody waits for it"
        );
        (self.over(), began.elapsed())
    }
}

fn names(heard: &Heard) -> Vec<String> {
    let names = heard.changes.keys();
    let mut names: Vec<String> = names
        .map(|name| String::from_utf8_lossy(name).into())
        .collect();
    names.sort();
    names
}

#[test]
fn ends_are_told_as_they_are() {
    for (script, how) in [
        ("exit 0", Exit::Code(0)),
        ("echo; exit 1", Exit::Code(1)),
        ("exit 2", Exit::Code(2)),
        ("exec /nonexistent/program", Exit::Code(127)),
        ("exit 255", Exit::Code(255)),
        ("kill -9 $$", Exit::Signal(9)),
        // What it leaves behind holds its output.
        ("sleep 1000 & exit 3", Exit::Code(3)),
    ] {
        let began = Instant::now();
        let over = Far::shell(script).over();
        assert_eq!(over.how, How::Exit(how), "{script}");
        assert!(began.elapsed() < LONG / 2, "{script}");
    }
    let over = Far::shell("echo 'me@h: Permission denied (publickey).' >&2; exit 255").over();
    assert!(over.denied);
    assert_eq!(over.said, "me@h: Permission denied (publickey).");
    let over = Far::start(program(&["no-such-program"]), Dialect::Plain).over();
    let How::Missing(text) = over.how else {
        panic!("{over:?}");
    };
    assert!(
        text.contains("no-such-program") && text.contains(":remote"),
        "{text}"
    );
}

// Security: S43.
#[test]
fn garbage_is_doubt() {
    let mut far = Far::shell(r"printf 'hello\n\na.b\n'; printf 'x\0y\n'; cat");
    let mut heard = far.heard();
    while !(heard.everything && heard.changes.is_empty()) {
        heard = far.heard();
    }
    assert_eq!(far.end().0.how, How::Exit(Exit::Signal(15)));
}

// Security: S41.
#[test]
fn an_endless_line_is_doubt_and_no_memory() {
    let script = "echo; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last; cat";
    let mut far = Far::shell(script);
    let mut everything = 0;
    loop {
        let heard = far.heard();
        everything += usize::from(heard.everything);
        if names(&heard) == ["last"] {
            break;
        }
    }
    assert!(everything >= 1);
    far.end();
}

/// The processor time that this process has used.
fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

// Security: S41.
#[test]
fn a_million_names_cost_little() {
    let mut far = Far::shell("echo; exec seq 1 1000000");
    // Nobody takes anything: what is kept is bounded, and the program waits for its reader.
    far.heard();
    let (began, before) = (Instant::now(), used());
    std::thread::sleep(Duration::from_secs(2));
    let share = (used() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("a flood takes {:.1} % of a processor", 100.0 * share);
    let heard = far.connection.take();
    assert!(heard.changes.len() <= 4096, "{}", heard.changes.len());
    assert!(heard.everything, "what is not kept is doubt");
    let (_, took) = far.end();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

// Security: S44.
#[test]
fn complaints_are_few() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo no; i=$((i+1)); done >&2; exit 1";
    let mut far = Far::shell(script);
    let over = far.over();
    assert_eq!(over.said, "no");
    assert!(far.log.len() <= 11, "{:?}", far.log);
    assert_eq!(far.log[0], "test: no");
}

// Security: S42.
#[test]
fn it_is_ended_whatever_it_does() {
    // Its input ends before anything else happens to it, as inputkill wants.
    let mut far = Far::shell("trap '' TERM; echo; cat >/dev/null; exit 7");
    far.heard();
    let (over, took) = far.end();
    assert_eq!(over.how, How::Exit(Exit::Code(7)));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let mut far = Far::shell("trap '' TERM; echo; while :; do sleep 1000; done");
    far.heard();
    let (over, took) = far.end();
    assert_eq!(over.how, How::Exit(Exit::Signal(9)));
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let mut far = Far::shell("exec >&-; sleep 1000");
    let over = far.over();
    let closed = "sh closed its output".to_owned();
    assert_eq!(over.how, How::Failed(closed));
}

/// Whether a process runs (a zombie does not).
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .next();
    !matches!(state, None | Some('Z' | 'X'))
}

// Security: S42.
#[test]
fn nothing_is_left_of_it() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("pids");
    let script = format!(
        "trap '' TERM; sleep 1000 & echo $$ $! >'{0}.tmp'; mv '{0}.tmp' '{0}'; echo; wait; wait",
        file.display()
    );
    let mut far = Far::shell(&script);
    far.heard();
    let pids = fs::read_to_string(&file).unwrap();
    let pids: Vec<i32> = pids
        .split_whitespace()
        .map(|it| it.parse().unwrap())
        .collect();
    assert!(pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    let Far { connection, .. } = far;
    drop(connection);
    wait("the end of all", || pids.iter().all(|pid| !runs(*pid)));
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
#[cfg(target_os = "linux")]
fn a_hundred_times_leave_nothing() {
    if !support::again(
        "a_hundred_times_leave_nothing",
        // Alone, since the other tests have descriptors too.
        &mut std::process::Command::new("env"),
    ) {
        return;
    }
    Far::shell("exit 0").over();
    let before = descriptors();
    for number in 0..100 {
        let mut far = Far::shell("echo; cat");
        if number % 2 == 0 {
            far.heard();
        }
        far.end();
    }
    wait("as many descriptors", || descriptors() <= before);
}

fn config(words: &[&str]) -> RemoteConfig {
    RemoteConfig {
        store: RemoteStore::Program(program(words)),
        retry: Retry {
            inter: Duration::from_secs(1),
            max: Duration::from_secs(5),
        },
        folders: Vec::new(),
    }
}

fn account(remotes: Vec<RemoteConfig>, sync: Option<SyncConfig>) -> AccountConfig {
    AccountConfig {
        name: support::ACCOUNT.to_owned(),
        roots: Vec::new(),
        delays: DELAYS,
        quiet: true,
        sync,
        remotes,
    }
}

/// A syncer that writes down what it is called for.
fn sync(log: &Path) -> SyncConfig {
    let script = format!("echo \"run $*\" >>'{}'", log.display());
    let words = ["/bin/sh", "-c", &script, "sh", "%f"];
    SyncConfig {
        timing: Timing {
            base: Duration::from_secs(1),
            inter: Duration::ZERO,
            max: Duration::from_secs(5),
            check: Duration::from_secs(5),
            ..Timing::once()
        },
        syncer: Syncer::new(syncer::Program::Command(Command {
            words: words.iter().map(OsString::from).collect(),
            all: None,
            naming: syncer::Naming::Utf8,
            separator: None,
            prefix: None,
            per_folder: true,
        })),
    }
}

/// The children of this process that execute this file.
fn children(program: &Path) -> HashSet<i32> {
    let mut found = HashSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        if fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program) {
            found.insert(pid);
        }
    }
    found
}

/// A copy of mailsync-watch that no other test runs.
fn copied(home: &Path) -> PathBuf {
    let copy = home.join("mailsync-watch");
    fs::copy(WATCH, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy.canonicalize().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn mail_at_the_far_end_is_synced_and_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let (mail, log) = (home.path().join("Mail"), home.path().join("log"));
    for folder in ["", ".lists", ".a.b", ".Entw&APw-rfe"] {
        maildir(&mail.join(folder));
    }
    let watch = copied(home.path());
    let words = [watch.to_str().unwrap(), "-m", mail.to_str().unwrap()];
    let accounts = vec![account(vec![config(&words)], Some(sync(&log)))];
    let engine = Engine::start_in(World::real(), accounts, Duration::ZERO);
    let text = || fs::read_to_string(&log).unwrap_or_default();
    let lines = |what: &str| text().lines().filter(|line| *line == what).count();
    wait("everything, once it is watched", || lines("run ") == 1);
    let table = [
        ("", "INBOX"),
        (".lists", "lists"),
        (".a.b", "a/b"),
        (".Entw&APw-rfe", "Entwürfe"),
    ];
    for (number, (directory, name)) in table.into_iter().enumerate() {
        let began = deliver(&mail.join(directory), &format!("{number}")).unwrap();
        wait(name, || lines(&format!("run {name}")) == 1);
        println!(
            "{name}: {} ms to the run's end",
            began.elapsed().as_millis()
        );
    }
    assert_eq!(lines("run "), 1);
    // It dies, and mail comes while nobody watches.
    let pids = children(&watch);
    assert_eq!(pids.len(), 1);
    for pid in pids {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    deliver(&mail, "unseen").unwrap();
    let states = || engine.told().remotes.get("0").cloned().unwrap_or_default();
    wait("offline", || {
        states().iter().any(|(state, _)| state == "waiting")
    });
    wait("everything, once it is watched again", || {
        lines("run ") == 2
    });
    deliver(&mail, "again").unwrap();
    wait("as before", || lines("run INBOX") == 2);
    let mut states: Vec<_> = states().into_iter().map(|(state, _)| state).collect();
    // Told again when it is tried.
    states.dedup();
    assert_eq!(states, ["starting", "connected", "waiting", "connected"]);
    drop(engine);
    wait("its end", || children(&watch).is_empty());
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_syncer_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    let mail = home.path().join("Mail");
    maildir(&mail);
    let watch = copied(home.path());
    let words = [watch.to_str().unwrap(), "-m", mail.to_str().unwrap()];
    let accounts = vec![account(vec![config(&words)], None)];
    let engine = Engine::start_in(World::real(), accounts, Duration::ZERO);
    engine.wait("ready, for Gnus to say what there is", LONG, |told| {
        told.ready
    });
    let began = deliver(&mail, "1").unwrap();
    let inbox = Path::new("INBOX");
    engine.wait("INBOX", LONG, |told| told.since(inbox, began));
    // The machine slept: nobody would tell that the connection is dead.
    engine.with(|handle| handle.input(Input::Woke(Duration::from_secs(60))).unwrap());
    engine.wait("ready once more", LONG, |told| told.count_ready == 2);
    engine.farewell(Duration::from_millis(300));
    wait("its end", || children(&watch).is_empty());
}

#[test]
fn a_program_that_is_not_there_pauses_its_store() {
    let accounts = vec![account(
        vec![RemoteConfig {
            store: RemoteStore::Program(program(&["no-such-program"])),
            retry: Retry {
                inter: Duration::ZERO,
                max: Duration::ZERO,
            },
            folders: Vec::new(),
        }],
        None,
    )];
    let engine = Engine::start_in(World::real(), accounts, Duration::ZERO);
    let paused = |told: &support::Told| {
        let states = told.remotes.get("0");
        states.is_some_and(|it| it.iter().any(|(state, _)| state == "paused"))
    };
    engine.wait("paused", LONG, paused);
    engine.wait_status(|status| {
        let stand = &status.accounts[0].remotes[0].stand;
        stand.state == "paused" && stand.text.contains("no-such-program")
    });
}

#[test]
fn a_watcher_that_takes_no_kinds_is_asked_without() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mailsync-watch");
    // As one of another version would.
    let script = "#!/bin/sh\n[ $# = 0 ] || exit 64\necho; echo a.b; exec cat\n";
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let accounts = vec![account(vec![config(&["sh", file.to_str().unwrap()])], None)];
    let engine = Engine::start_in(World::real(), accounts, Duration::ZERO);
    let told = Path::new("a/b");
    engine.wait("a/b", LONG, |it| it.changes.contains_key(told));
}

/// Much and long: what is merged in the end is small.
// Security: S41.
#[test]
fn a_flood_through_the_engine_is_bounded() {
    let script = "echo; i=0; while :; do seq $i $((i+999)); i=$((i+1000)); done";
    let delays = Delays {
        quiet: Duration::from_millis(20),
        longest: Duration::from_millis(100),
    };
    let accounts = vec![AccountConfig {
        delays,
        ..account(vec![config(&["sh", "-c", script])], None)
    }];
    let engine = Engine::start_in(World::real(), accounts, Duration::ZERO);
    engine.wait("ready", LONG, |told| told.ready);
    let (began, before) = (Instant::now(), used());
    while began.elapsed() < Duration::from_secs(4) {
        std::thread::sleep(Duration::from_millis(100));
        let held = engine.status().held;
        assert!(held < 20_000, "{held}");
    }
    let share = (used() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!(
        "a flood through the engine takes {:.1} % of a processor",
        100.0 * share
    );
}
