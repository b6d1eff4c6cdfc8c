//! Long-running syncers: whatever a worker does, each run comes to an end that is true, by the plain
//! command where it has to, and nothing is left behind.
//!
//! Most workers here are shell scripts that do one thing wrong; then come the loop around mbsync that
//! the manual shows, and OfflineIMAP's, against a Dovecot.

use std::env;
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mailsync_module::change::{AccountId, Folder};
use mailsync_module::syncer::lock::{Held, Holder, Key, Seeker, Taken};
use mailsync_module::syncer::run::Running;
use mailsync_module::syncer::run::keeper::{Keeper, Patience};
use mailsync_module::syncer::worker::Worker;
use mailsync_module::syncer::{
    Command, End, Ended, Event, Naming, Order, Outcome, Program, RunId, Scope, Syncer,
};
use rustix::process::Signal;
use tempfile::TempDir;

#[path = "support/syncing.rs"]
mod syncing;

use syncing::*;

/// Far longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

/// A worker as it should be, but for what the file `mode` has it do when it is asked.
const SCRIPT: &str = r#"
echo $$ >>starts
. ./first
read -r hello; echo "$hello" >>heard
echo "hello 1 test"
fine() { echo "begin $run"; for f in $folders; do echo "folder $f ok pulled=1"; done; echo "end $run 0"; }
while read -r word rest; do
    echo "$word $rest" >>heard
    case $word in
    sync) run=${rest%% *} folders= ;;
    folder) folders="$folders ${rest%% *}" ;;
    go) . ./mode ;;
    esac
done
"#;

/// An account with such a worker.
struct Bench {
    top: TempDir,
    keeper: Keeper,
    plain: bool,
    runs: u64,
    held: Option<Arc<Held>>,
}

/// What a run has told.
struct Ran {
    ended: Ended,
    pids: Vec<u32>,
    said: Vec<String>,
}

/// A run that goes on.
struct Going(Running, Receiver<Event>);

impl Going {
    fn pid(&self) -> Result<u32, Box<dyn Error>> {
        match self.1.recv_timeout(LONG)? {
            Event::Began { pid, .. } => Ok(pid),
            other => Err(format!("{other:?}").into()),
        }
    }

    fn ended(self) -> Result<Ran, Box<dyn Error>> {
        let (mut pids, mut said) = (Vec::new(), Vec::new());
        loop {
            match self.1.recv_timeout(LONG)? {
                Event::Began { pid, .. } => pids.push(pid),
                Event::Said { text, .. } => said.push(text),
                Event::Sign { .. } | Event::Robbed { .. } => {}
                Event::Ended { ended, .. } => {
                    let ended = *ended;
                    return Ok(Ran { ended, pids, said });
                }
            }
        }
    }
}

fn begin(keeper: &Keeper, order: Order, held: Option<Arc<Held>>) -> Result<Going, Box<dyn Error>> {
    let (told, events) = mpsc::channel();
    // Nobody may be left to hear it.
    let running = keeper.run(order, held, move |event| drop(told.send(event)))?;
    Ok(Going(running, events))
}

/// Wait until a process is gone.
fn wait_gone(pid: u32) {
    let end = Instant::now() + LONG;
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < end, "{pid} is still there");
        std::thread::yield_now();
    }
}

/// So that a test of what is slow is not slow.
const IMPATIENT: Patience = Patience {
    hello: Duration::from_secs(2),
    begin: Duration::from_secs(2),
    again: LONG,
};

impl Bench {
    fn new(plain: bool, patience: Patience) -> Result<Self, Box<dyn Error>> {
        let top = tempfile::tempdir()?;
        let bench = Bench {
            keeper: Keeper::start(patience)?,
            top,
            plain,
            runs: 0,
            held: None,
        };
        fs::write(bench.place("worker"), SCRIPT)?;
        fs::write(bench.place("first"), "")?;
        bench.mode("fine")?;
        Ok(bench)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn mode(&self, text: &str) -> Tested {
        Ok(fs::write(self.place("mode"), text)?)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.place(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// An order for these folders; none: everything.
    fn order(&mut self, folders: &[&str]) -> Order {
        self.runs += 1;
        let plain = Command {
            words: ["/bin/sh", "-c", "echo plain >>starts; exit 0", "sh", "%f"]
                .map(Into::into)
                .to_vec(),
            all: None,
            naming: Naming::Utf8,
            separator: None,
            prefix: None,
            per_folder: true,
        };
        let program = match self.plain {
            true => Program::Command(plain),
            false => Program::OnlyWorker,
        };
        let worker = Worker {
            words: ["/bin/sh", "worker"].map(Into::into).to_vec(),
            naming: Naming::Utf8,
            separator: None,
            prefix: None,
            idle: Duration::from_secs(300),
            quit: Duration::from_secs(1800),
        };
        let syncer = Syncer {
            worker: Some(worker),
            directory: fs::canonicalize(self.top.path()).ok(),
            environment: vec!["PATH=/usr/bin:/bin".into()],
            ..Syncer::new(program)
        };
        let scope = match folders {
            [] => Scope::Everything,
            _ => Scope::Folders(folders.iter().map(|name| remote_only(name)).collect()),
        };
        Order {
            run: RunId(self.runs),
            ..Order::new("test", syncer, scope)
        }
    }

    fn begin(&mut self, folders: &[&str]) -> Result<Going, Box<dyn Error>> {
        let order = self.order(folders);
        begin(&self.keeper, order, self.held.clone())
    }

    fn run(&mut self, folders: &[&str]) -> Result<Ran, Box<dyn Error>> {
        self.begin(folders)?.ended()
    }
}

#[test]
fn one_process_for_many_runs() -> Tested {
    let mut bench = Bench::new(false, Patience::default())?;
    let mut pids = Vec::new();
    for folders in [&["a b", "c%"][..], &["c%"], &[]] {
        let ran = bench.run(folders)?;
        assert_eq!((ran.ended.outcome, ran.ended.exit), (Outcome::Ok, Some(0)));
        assert_eq!(ran.ended.everything, folders.is_empty());
        assert!(ran.said.is_empty() && ran.ended.text.is_empty());
        pids.extend(ran.pids);
    }
    assert_eq!(pids, [pids[0]; 3]);
    assert_eq!(bench.lines("starts"), [pids[0].to_string()]);
    let heard = [
        "hello 1 idle=300 quit=1800",
        "sync 1 some",
        "folder a%20b",
        "folder c%25",
        "go ",
        "sync 2 some",
        "folder c%25",
        "go ",
        "sync 3 all",
        "go ",
    ];
    assert_eq!(bench.lines("heard"), heard);
    drop(bench.keeper);
    wait_gone(pids[0]);
    Ok(())
}

#[test]
fn how_runs_end() -> Tested {
    let table = [
        ("fine", Outcome::Ok, ""),
        (
            "echo begin $run; echo folder a ok; echo end $run 0",
            Outcome::Partial,
            "folder b",
        ),
        (
            "echo begin $run; echo folder a ok; echo folder b failed; echo end $run 0",
            Outcome::Partial,
            "folder b",
        ),
        (
            "echo begin $run; echo end $run 75 no network",
            Outcome::Transient,
            "no network",
        ),
        (
            "echo begin $run; echo why >&2; echo end $run 1",
            Outcome::Transient,
            "why",
        ),
        (
            "echo begin $run; echo end $run 77 wrong password",
            Outcome::Auth,
            "wrong password",
        ),
        (
            "echo begin $run; echo end $run 78",
            Outcome::Config,
            "configured",
        ),
    ];
    let mut bench = Bench::new(false, Patience::default())?;
    for (mode, outcome, text) in table {
        bench.mode(mode)?;
        let ran = bench.run(&["a", "b"])?;
        assert_eq!(ran.ended.outcome, outcome, "{mode}");
        assert!(ran.ended.text.contains(text), "{}", ran.ended.text);
        let failed = usize::from(outcome == Outcome::Partial);
        assert_eq!(ran.ended.failed.len(), failed);
    }
    assert_eq!(bench.lines("starts").len(), 1);
    Ok(())
}

/// What is wrong when it is asked (or before), and what is said of it.
const WRONGS: [(&str, &str, &str); 14] = [
    (
        "",
        "echo begin $run; echo what is this; sleep 1000",
        "what is this",
    ),
    (
        "",
        "echo begin $run; printf 'end 1'; exit 0",
        "middle of a line",
    ),
    (
        "",
        "echo begin $run; head -c 1048576 /dev/zero; sleep 1000",
        "65536 bytes",
    ),
    ("", "echo begin $run; kill -KILL $$", "signal 9"),
    ("", "kill -KILL $$", "signal 9"),
    (
        "",
        "echo begin $run; echo no more >&2; exit 3",
        "code 3: no more",
    ),
    ("", "echo begin $run; exit 0", "code 0"),
    ("", "exit 0", "whenever it is asked"),
    (
        "",
        "echo begin $run; exec >&-; sleep 1000",
        "closed its output",
    ),
    ("", "sleep 1000", "does not begin"),
    ("", "kill -STOP $$", "does not begin"),
    ("sleep 1000", "", "does not say hello"),
    ("echo no such library >&2; exit 1", "", "no such library"),
    ("echo hello 2; sleep 1000", "", "version 2"),
];

#[test]
fn whatever_is_wrong_the_plain_command_does_it() -> Tested {
    // They mostly wait.
    let benches = WRONGS.map(|(first, mode, _)| -> Result<_, Box<dyn Error>> {
        let mut bench = Bench::new(true, IMPATIENT)?;
        if !first.is_empty() {
            fs::write(bench.place("first"), first)?;
        }
        bench.mode(mode)?;
        let going = bench.begin(&["a"])?;
        Ok((bench, going))
    });
    for (bench, (first, mode, text)) in benches.into_iter().zip(WRONGS) {
        let (mut bench, going) = bench?;
        let ran = going.ended()?;
        let what = format!("{first}; {mode}: {:?}", ran.said);
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{what}");
        assert!(ran.said.len() == 1 && ran.said[0].contains(text), "{what}");
        let starts = bench.lines("starts");
        assert_eq!(starts.iter().filter(|it| *it == "plain").count(), 1);
        // Nothing of it is left, and it has no other chance yet.
        for pid in starts.iter().filter_map(|it| it.parse().ok()) {
            wait_gone(pid);
        }
        let ran = bench.run(&["a"])?;
        assert!(ran.said.is_empty() && ran.ended.outcome == Outcome::Ok);
        assert_eq!(bench.lines("starts").len(), starts.len() + 1);
    }
    Ok(())
}

#[test]
fn without_a_plain_command_it_is_a_failure_that_passes() -> Tested {
    let mut bench = Bench::new(false, IMPATIENT)?;
    bench.mode("echo begin $run; kill -KILL $$")?;
    let ran = bench.run(&["a"])?;
    assert_eq!(ran.ended.outcome, Outcome::Transient);
    assert!(ran.ended.text.contains("signal 9"), "{}", ran.ended.text);
    // The scheduler waits; it is tried as soon as that does.
    bench.mode("fine")?;
    assert_eq!(bench.run(&["a"])?.ended.outcome, Outcome::Ok);
    Ok(())
}

#[test]
fn it_has_another_chance_and_the_same_is_not_said_twice() -> Tested {
    let again = Duration::from_millis(100);
    let patience = Patience {
        again,
        ..Patience::default()
    };
    let mut bench = Bench::new(true, patience)?;
    fs::write(bench.place("first"), "exit 1")?;
    let wait = |times: u32| std::thread::sleep(again * (1 << times));
    assert_eq!(bench.run(&["a"])?.said.len(), 1);
    wait(0);
    assert!(bench.run(&["a"])?.said.is_empty());
    assert_eq!(
        bench
            .lines("starts")
            .iter()
            .filter(|it| *it != "plain")
            .count(),
        2
    );
    wait(1);
    fs::write(bench.place("first"), "")?;
    let ran = bench.run(&["a"])?;
    assert_eq!((ran.said.len(), ran.pids.len()), (0, 1));
    assert_eq!(bench.lines("starts").len(), 5);
    // What goes wrong after it went well is news.
    bench.mode("kill -KILL $$")?;
    drop(bench.run(&["a"])?);
    bench.mode("echo begin $run; exit 1")?;
    wait(3);
    assert_eq!(bench.run(&["a"])?.said.len(), 1);
    Ok(())
}

#[test]
fn one_that_has_to_go_is_started_again() -> Tested {
    let mut bench = Bench::new(true, Patience::default())?;
    let first = bench.run(&["a"])?.pids;
    // Its configuration has changed, or it ended in that moment.
    bench.mode("[ $(wc -l <starts) -gt 1 ] || exit 0; fine")?;
    let ran = bench.run(&["a"])?;
    assert_eq!((ran.ended.outcome, ran.said.len()), (Outcome::Ok, 0));
    assert_ne!(ran.pids, first);
    // Also while nobody asks it anything, even by a signal.
    signal(ran.pids[0], Signal::KILL)?;
    wait_gone(ran.pids[0]);
    let ran = bench.run(&["a"])?;
    assert_eq!((ran.ended.outcome, ran.said.len()), (Outcome::Ok, 0));
    assert_eq!(bench.lines("starts").len(), 3);
    Ok(())
}

#[test]
fn another_configuration_is_another_worker() -> Tested {
    let mut bench = Bench::new(false, Patience::default())?;
    let first = bench.run(&["a"])?.pids[0];
    let mut order = bench.order(&["a"]);
    let mut syncer = Syncer::clone(&order.syncer);
    syncer.environment.push("OTHER=1".into());
    order.syncer = Arc::new(syncer);
    let ran = begin(&bench.keeper, order, None)?.ended()?;
    assert_eq!(ran.ended.outcome, Outcome::Ok);
    assert_ne!(ran.pids[0], first);
    wait_gone(first);
    Ok(())
}

#[test]
fn runs_are_ended() -> Tested {
    let table = [
        (End::Timeout, Outcome::Timeout),
        (End::Interrupt, Outcome::Interrupted),
        (End::Stop, Outcome::Interrupted),
    ];
    for mode in [
        "echo begin $run; sleep 1000",
        "echo begin $run; trap '' TERM; sleep 1000; sleep 1000",
    ] {
        for (why, outcome) in table {
            let mut bench = Bench::new(true, Patience::default())?;
            bench.mode(mode)?;
            let going = bench.begin(&["a"])?;
            let pid = going.pid()?;
            going.0.end(why);
            let ran = going.ended()?;
            assert_eq!((ran.ended.outcome, ran.said.len()), (outcome, 0));
            wait_gone(pid);
            // The worker is none the worse for it.
            bench.mode("fine")?;
            let ran = bench.run(&["a"])?;
            assert_eq!((ran.ended.outcome, ran.said.len()), (Outcome::Ok, 0));
            assert!(!bench.lines("starts").contains(&"plain".to_owned()));
        }
    }
    Ok(())
}

#[test]
fn nothing_is_left_when_nobody_wants_it() -> Tested {
    // Dropped while it rests, while it works, and while it does not hear.
    let mut bench = Bench::new(false, Patience::default())?;
    let pid = bench.run(&["a"])?.pids[0];
    drop(bench.keeper);
    wait_gone(pid);

    let mut bench = Bench::new(false, Patience::default())?;
    bench.mode("echo begin $run; sleep 0.5; echo folder a ok; echo end $run 0")?;
    let going = bench.begin(&["a"])?;
    let pid = going.pid()?;
    drop(bench.keeper);
    assert_eq!(going.ended()?.ended.outcome, Outcome::Ok);
    wait_gone(pid);

    let mut bench = Bench::new(false, Patience::default())?;
    let pid = bench.run(&["a"])?.pids[0];
    signal(pid, Signal::STOP)?;
    drop(bench.keeper);
    wait_gone(pid);

    let mut bench = Bench::new(false, Patience::default())?;
    let pid = bench.run(&["a"])?.pids[0];
    bench.keeper.farewell();
    wait_gone(pid);
    Ok(())
}

/// The lock of an account, in a directory of its own.
fn lock(runtime: &Path) -> Result<(Seeker, Arc<Held>), Box<dyn Error>> {
    fs::set_permissions(runtime, fs::Permissions::from_mode(0o700))?;
    let (told, holders) = mpsc::channel();
    let key = Key::Name("test".to_owned());
    let seeker = Seeker::start(key, Some(runtime), move |it| drop(told.send(it)))?;
    loop {
        if let Holder::Us(held) = holders.recv_timeout(LONG)? {
            return Ok((seeker, held));
        }
    }
}

#[test]
fn the_lock_is_of_a_run_not_of_the_worker() -> Tested {
    let runtime = tempfile::tempdir()?;
    let (_seeker, held) = lock(runtime.path())?;
    let mut bench = Bench::new(false, Patience::default())?;
    bench.held = Some(held.clone());
    let mut pids = Vec::new();
    for _ in 0..3 {
        bench.mode("echo begin $run; . ./wait; echo folder a ok; echo end $run 0")?;
        fs::write(
            bench.place("wait"),
            "until [ -e go ]; do sleep 0.01; done; rm go",
        )?;
        let going = bench.begin(&["a"])?;
        let pid = going.pid()?;
        pids.push(pid);
        assert_eq!(held.run().err(), Some(Taken::Run(Some(pid))));
        fs::write(bench.place("go"), "")?;
        assert_eq!(going.ended()?.ended.outcome, Outcome::Ok);
        // Free, although the worker lives.
        drop(held.run().map_err(|taken| format!("{taken:?}"))?);
    }
    assert_eq!(pids, [pids[0]; 3]);
    // Somebody else's run: the worker is not asked, and not ended.
    let other = held.run().map_err(|taken| format!("{taken:?}"))?;
    assert_eq!(bench.run(&["a"])?.ended.outcome, Outcome::Locked);
    drop(other);
    fs::write(bench.place("go"), "")?;
    let ran = bench.run(&["a"])?;
    assert_eq!((ran.ended.outcome, ran.pids[0]), (Outcome::Ok, pids[0]));
    // Where the files are others now, it is another worker.
    let files = fs::read_dir(runtime.path().join("mailsync"))?;
    for file in files {
        fs::remove_file(file?.path())?;
    }
    fs::write(bench.place("go"), "")?;
    let ran = bench.run(&["a"])?;
    assert_eq!(ran.ended.outcome, Outcome::Ok);
    assert_ne!(ran.pids[0], pids[0]);
    Ok(())
}

/// The example of the manual.
fn example() -> Result<String, Box<dyn Error>> {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.org");
    let manual = fs::read_to_string(manual)?;
    let (_, rest) = manual
        .split_once("#+name: mbsync-worker\n")
        .ok_or("no example")?;
    let (_, rest) = rest.split_once('\n').ok_or("no block")?;
    let (block, _) = rest.split_once("#+end_src").ok_or("no end")?;
    let lines = block.lines();
    let lines = lines.map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned() + "\n");
    Ok(lines.collect())
}

#[test]
fn the_loop_around_mbsync_of_the_manual() -> Tested {
    let Some(server) = server("mbsync") else {
        return Ok(());
    };
    let names = ["INBOX", "a", "a/b", "with space", "com,ma"];
    let home = Home::new(server, "loop", &names, "mbsyncrc")?;
    let script = home.home.path().join("mbsync-worker");
    fs::write(&script, example()?)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    // Where mbsync looks by itself.
    fs::rename(home.config(), home.home.path().join(".mbsyncrc"))?;
    let program = Program::Mbsync {
        program: "mbsync".into(),
        target: Some("verbatim".to_owned()),
        config: None,
        args: Vec::new(),
    };
    let keeper = Keeper::start(Patience::default())?;
    let tree = home.tree("verbatim");
    let mut pids = Vec::new();
    let mut run = |scope| -> Result<Ended, Box<dyn Error>> {
        let mut order = home.order(program.clone(), tree.clone(), scope);
        let mut syncer = Syncer::clone(&order.syncer);
        syncer.worker = Some(Worker {
            words: vec![script.clone().into(), "verbatim".into()],
            naming: Naming::Imap,
            separator: None,
            prefix: None,
            idle: LONG,
            quit: LONG,
        });
        order.syncer = Arc::new(syncer);
        let ran = begin(&keeper, order, None)?.ended()?;
        assert!(ran.said.is_empty(), "{:?}", ran.said);
        pids.extend(ran.pids);
        Ok(ran.ended)
    };
    assert_eq!(run(Scope::Everything)?.outcome, Outcome::Ok);
    let folders = home.found(&tree)?;
    assert_eq!(folders.len(), names.len());
    for folder in &folders {
        flag(folder)?;
    }
    for folder in &folders {
        let ended = run(Scope::Folders(vec![folder.clone()]))?;
        assert_eq!((ended.outcome, ended.everything), (Outcome::Ok, false));
        assert_eq!(home.flagged(folder)?, 1, "{folder:?}");
    }
    fs::remove_dir_all(home.mail.join(".a"))?;
    let gone = folders.iter().find(|it| &*it.name == b"a").ok_or("a")?;
    let ended = run(Scope::Folders(vec![gone.clone()]))?;
    assert_ne!(ended.outcome, Outcome::Ok, "{}", ended.text);
    assert!(pids.iter().all(|pid| *pid == pids[0]));
    Ok(())
}

/// An account of OfflineIMAP's with a worker.
struct Persistent {
    home: Home,
    account: &'static str,
    keeper: Keeper,
    runs: u64,
}

impl Persistent {
    fn new(server: &Server, user: &str, account: &'static str) -> Result<Self, Box<dyn Error>> {
        let home = Home::new(server, user, &FOR_OFFLINEIMAP, "offlineimaprc")?;
        Ok(Persistent {
            home,
            account,
            keeper: Keeper::start(Patience::default())?,
            runs: 0,
        })
    }

    fn tree(&self) -> PathBuf {
        self.home.tree(&format!("o-{}", self.account))
    }

    fn order(&mut self, scope: Scope) -> Order {
        let program = offlineimap(self.account, self.home.config());
        self.runs += 1;
        let mut order = self.home.order(program, self.tree(), scope);
        by_worker(&mut order, &self.home.config());
        order.run = RunId(self.runs);
        order
    }

    /// Like the last one, but for its worker.
    fn with(&mut self, change: impl FnOnce(&mut Syncer)) -> Order {
        let mut order = self.order(Scope::Everything);
        let mut syncer = Syncer::clone(&order.syncer);
        change(&mut syncer);
        order.syncer = Arc::new(syncer);
        order
    }

    fn begin(&mut self, scope: Scope) -> Result<Going, Box<dyn Error>> {
        let order = self.order(scope);
        begin(&self.keeper, order, None)
    }

    fn run(&mut self, scope: Scope) -> Result<Ran, Box<dyn Error>> {
        let ran = self.begin(scope)?.ended()?;
        let Ended {
            outcome,
            text,
            took,
            ..
        } = &ran.ended;
        println!("{outcome:?} {text} {took:?} {:?} {:?}", ran.pids, ran.said);
        Ok(ran)
    }

    /// A sync of everything that goes well, without a word; its worker.
    fn fine(&mut self) -> Result<u32, Box<dyn Error>> {
        let ran = self.run(Scope::Everything)?;
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
        assert!(ran.said.is_empty(), "{:?}", ran.said);
        Ok(*ran.pids.first().ok_or("no worker")?)
    }

    fn folders(&self) -> Result<Vec<Arc<Folder>>, Box<dyn Error>> {
        self.home.found(&self.tree())
    }
}

/// The server with a user whose worker it is; none where OfflineIMAP is not there.
fn persistent(user: &str) -> Result<Option<Persistent>, Box<dyn Error>> {
    let server = server("offlineimap");
    let made = server.map(|server| Persistent::new(server, user, "slash"));
    made.transpose()
}

/// Sync everything, flag a message in each folder, and sync one after the other, all by one worker:
/// each run must push its own folder's flag and no other's.
fn every_folder_by_its_name(account: &'static str) -> Tested {
    let Some(server) = server("offlineimap") else {
        return Ok(());
    };
    let mut user = Persistent::new(server, &format!("named-{account}"), account)?;
    if account == "dot" {
        // Python names the folders: as no run has to learn.
        let names = "remotepass = secret\nnametrans = lambda name: 'x-' + name.replace('/', '_')\n";
        let text = fs::read_to_string(user.home.config())?;
        let text = text.replace("remotepass = secret\n", names);
        fs::write(user.home.config(), text)?;
    }
    let worker = user.fine()?;
    let folders = user.folders()?;
    assert_eq!(folders.len(), FOR_OFFLINEIMAP.len());
    for folder in &folders {
        flag(folder)?;
    }
    for (at, one) in folders.iter().enumerate() {
        let mut order = user.order(Scope::Folders(vec![one.clone()]));
        order.quick = at % 2 == 0;
        let ran = begin(&user.keeper, order, None)?.ended()?;
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
        assert!(!ran.ended.everything && ran.pids == [worker]);
        for (other, folder) in folders.iter().enumerate() {
            let name = String::from_utf8_lossy(&folder.name);
            let name = name.trim_start_matches("x-").replace('_', "/");
            let there = Folder::by_name(AccountId(0), name.as_bytes().into());
            assert_eq!(
                user.home.flagged(&there)?,
                usize::from(other <= at),
                "{name}"
            );
        }
    }
    // Known by their names only, as servers tell of them.
    if account == "slash" {
        let far = ["a/b", "Entwürfe", "R&D"].map(remote_only);
        let ran = user.run(Scope::Folders(far.to_vec()))?;
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
    }
    // One that is not there is not synced.
    let ran = user.run(Scope::Folders(vec![
        remote_only("nowhere"),
        folders[0].clone(),
    ]))?;
    assert_eq!(
        (ran.ended.outcome, ran.ended.failed.len()),
        (Outcome::Partial, 1)
    );
    Ok(())
}

#[test]
fn folders_below_each_other() -> Tested {
    every_folder_by_its_name("slash")
}

#[test]
fn folders_whose_names_python_changes() -> Tested {
    every_folder_by_its_name("dot")
}

#[test]
fn a_plain_run_in_between() -> Tested {
    let Some(mut user) = persistent("between")? else {
        return Ok(());
    };
    let worker = user.fine()?;
    let lock = user.home.home.path().join("oimap/slash.lock");
    for _ in 0..2 {
        let order = user.with(|syncer| syncer.worker = None);
        assert_eq!(run(&order)?.2.outcome, Outcome::Ok);
        assert_eq!(user.fine()?, worker);
        assert!(lock.exists());
    }
    // It is asked only when nobody else syncs, and takes nobody's lock away.
    let holder = LockHolder::hold(&lock)?;
    let ran = user.run(Scope::Everything)?;
    assert_eq!(ran.ended.outcome, Outcome::Locked);
    assert!(lock.exists());
    holder.release()?;
    assert_eq!(user.fine()?, worker);
    Ok(())
}

#[test]
fn a_connection_that_was_kicked() -> Tested {
    if !installed("offlineimap") {
        return Ok(());
    }
    let server = Server::start()?;
    let mut user = Persistent::new(&server, "kicked", "slash")?;
    let worker = user.fine()?;
    let kick = || -> Tested {
        let config = server.directory.join("dovecot.conf");
        let kicked = process::Command::new("doveadm")
            .arg("-c")
            .arg(config)
            .args(["kick", "kicked"])
            .output()?;
        assert!(kicked.status.success(), "{kicked:?}");
        Ok(())
    };
    for _ in 0..3 {
        kick()?;
        assert_eq!(user.fine()?, worker);
    }
    kick()?;
    server.stop()?;
    let ran = user.run(Scope::Everything)?;
    assert_eq!((ran.ended.outcome, ran.said.len()), (Outcome::Transient, 0));
    server.resume()?;
    user.fine()?;
    server.stop()?;
    Ok(())
}

#[test]
fn another_configuration_is_read() -> Tested {
    let Some(mut user) = persistent("edited")? else {
        return Ok(());
    };
    let first = user.fine()?;
    user.home
        .edit("remotepass = secret", "remotepass = wrong")?;
    let ran = user.run(Scope::Everything)?;
    assert_eq!(ran.ended.outcome, Outcome::Auth, "{}", ran.ended.text);
    assert!(ran.said.is_empty());
    user.home
        .edit("remotepass = wrong", "remotepass = secret")?;
    let second = user.fine()?;
    assert_ne!(first, second);
    // Then it stays.
    assert_eq!(user.fine()?, second);
    user.home.edit("[Account slash]", "[Account other]")?;
    let ran = user.run(Scope::Everything)?;
    assert_eq!(ran.ended.outcome, Outcome::Config, "{}", ran.ended.text);
    Ok(())
}

#[test]
fn it_rests_and_ends_by_itself() -> Tested {
    let Some(mut user) = persistent("rests")? else {
        return Ok(());
    };
    let mut order = user.with(|syncer| {
        let worker = syncer.worker.as_mut();
        worker.expect("a worker").idle = Duration::from_secs(1);
    });
    let ran = begin(&user.keeper, order.clone(), None)?.ended()?;
    let worker = ran.pids[0];
    // Dovecot has a process for each connection, and says in its name whose.
    let sockets = || -> Result<usize, Box<dyn Error>> {
        let files = fs::read_dir(format!("/proc/{worker}/fd"))?;
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        Ok(links
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .count())
    };
    assert!(sockets()? > 0);
    let end = Instant::now() + LONG;
    while sockets()? > 0 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(50));
    }
    order.run = RunId(77);
    let ran = begin(&user.keeper, order, None)?.ended()?;
    assert_eq!((ran.ended.outcome, ran.pids[0]), (Outcome::Ok, worker));
    let order = user.with(|syncer| {
        let worker = syncer.worker.as_mut().expect("a worker");
        (worker.idle, worker.quit) = (Duration::from_secs(1), Duration::from_secs(2));
    });
    let ran = begin(&user.keeper, order, None)?.ended()?;
    wait_gone(ran.pids[0]);
    Ok(())
}

#[test]
fn where_the_worker_cannot_offlineimap_does_it() -> Tested {
    let Some(mut user) = persistent("cannot")? else {
        return Ok(());
    };
    // Another OfflineIMAP than it knows, which is none for a library.
    let old = user.home.home.path().join("old");
    fs::create_dir_all(old.join("offlineimap"))?;
    fs::write(
        old.join("offlineimap/__init__.py"),
        "__version__ = '7.3.4'\n",
    )?;
    fs::create_dir_all(old.join("none"))?;
    let program = "#!/usr/bin/python3\nimport os, sys\nos.execvp('offlineimap', sys.argv)\n";
    for place in ["old/run", "old/none/run"] {
        let place = user.home.home.path().join(place);
        fs::write(&place, program)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    }
    let other = |place: &'static str, user: &mut Persistent| {
        let place = user.home.home.path().join(place);
        user.with(|syncer| {
            if let Program::OfflineImap { program, .. } = &mut syncer.program {
                *program = place.into();
            }
        })
    };
    let orders = [
        (other("old/run", &mut user), "OfflineIMAP 7.3.4"),
        (other("old/none/run", &mut user), "no library"),
        (
            user.with(|syncer| {
                let worker = syncer.worker.as_mut().expect("a worker");
                worker.words[0] = "no-such-python3".into();
            }),
            "no-such-python3",
        ),
    ];
    for (order, text) in orders {
        let keeper = Keeper::start(Patience::default())?;
        let ran = begin(&keeper, order, None)?.ended()?;
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
        assert!(
            ran.said.len() == 1 && ran.said[0].contains(text),
            "{:?}",
            ran.said
        );
    }
    Ok(())
}

#[test]
fn it_is_killed_stopped_and_ended_in_the_middle() -> Tested {
    let Some(mut user) = persistent("middle")? else {
        return Ok(());
    };
    user.fine()?;
    let going = user.begin(Scope::Everything)?;
    let worker = going.pid()?;
    signal(worker, Signal::KILL)?;
    let ran = going.ended()?;
    // It may have been done.
    assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
    assert!(ran.said.len() < 2);
    user.keeper = Keeper::start(Patience::default())?;
    // It hears nothing: a timeout ends it.
    let going = user.begin(Scope::Everything)?;
    let worker = going.pid()?;
    signal(worker, Signal::STOP)?;
    going.0.end(End::Timeout);
    signal(worker, Signal::CONT)?;
    assert_eq!(going.ended()?.ended.outcome, Outcome::Timeout);
    wait_gone(worker);
    user.fine()?;
    Ok(())
}

/// A process's memory in KiB, its threads and its open files.
fn size(pid: u32) -> Result<[usize; 3], Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).ok_or("a number")
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok([field("VmRSS:")?, field("Threads:")?, files])
}

/// SYNCS says how many.
#[test]
fn many_syncs_cost_one_no_more_than_few() -> Tested {
    let Some(mut user) = persistent("many")? else {
        return Ok(());
    };
    let syncs = env::var("SYNCS").ok().and_then(|it| it.parse().ok());
    let syncs = syncs.unwrap_or(40);
    let worker = user.fine()?;
    let folders = user.folders()?;
    let mut first = None;
    let mut took = Duration::ZERO;
    for at in 0..syncs {
        let folder = &folders[at % folders.len()];
        // Something to do, now and then.
        if at % 10 == 0 {
            let cur = folder.directory.join("cur");
            let text = format!("Subject: many-{at}\nMessage-ID: <many-{at}@x>\n\nx\n");
            fs::write(cur.join(format!("{at}.many.host:2,S")), text)?;
        }
        let ran = user.begin(Scope::Folders(vec![folder.clone()]))?.ended()?;
        assert_eq!(
            (ran.ended.outcome, &ran.pids[..]),
            (Outcome::Ok, &[worker][..])
        );
        took += ran.ended.took;
        if at == syncs / 3 {
            first = Some(size(worker)?);
        }
    }
    let first = first.ok_or("too few")?;
    // A thread that is about to end counts for a moment.
    let end = Instant::now() + LONG;
    let mut last = size(worker)?;
    while last[1] > first[1] && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        last = size(worker)?;
    }
    let each = took / u32::try_from(syncs)?;
    println!("{syncs} syncs of {each:?}: {first:?}, at last {last:?} (KiB, threads, files)");
    assert!(last[0] < first[0] + 4096, "{first:?} {last:?}");
    assert!(last[1] <= first[1] && last[2] <= first[2]);
    Ok(())
}
