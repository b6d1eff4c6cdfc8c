//! Workers that are shell scripts, each of which does one thing wrong, or none.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use mailsync_module::syncer::lock::{Held, Holder, Key, Seeker, Taken};
use mailsync_module::syncer::run::resident::{Patience, Resident};
use mailsync_module::syncer::worker::Worker;
use mailsync_module::syncer::{
    Command, End, Naming, Order, Outcome, Program, RunId, Scope, Syncer,
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::syncing::{Tested, remote_only, signal};
use super::{Going, LONG, Ran, begin, wait_gone};

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
    resident: Resident,
    plain: bool,
    runs: u64,
    held: Option<Arc<Held>>,
}

/// So that a test of what is slow is not slow; but a dozen shells that start at once take their time.
const IMPATIENT: Patience = Patience {
    hello: Duration::from_secs(5),
    begin: Duration::from_secs(5),
    again: LONG,
};

impl Bench {
    fn new(plain: bool, patience: Patience) -> Result<Self, Box<dyn Error>> {
        let top = tempfile::tempdir()?;
        let bench = Bench {
            resident: Resident::start(patience)?,
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
        // In another file each time: the shell may still be reading the one before.
        fs::write(self.place("next"), text)?;
        Ok(fs::rename(self.place("next"), self.place("mode"))?)
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
        begin(&self.resident, order, self.held.clone())
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
    drop(bench.resident);
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
        assert_eq!(ran.ended.outcome, outcome, "{mode}: {}", ran.ended.text);
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
    let ran = begin(&bench.resident, order, None)?.ended()?;
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
    drop(bench.resident);
    wait_gone(pid);

    let mut bench = Bench::new(false, Patience::default())?;
    bench.mode("echo begin $run; sleep 0.5; echo folder a ok; echo end $run 0")?;
    let going = bench.begin(&["a"])?;
    let pid = going.pid()?;
    drop(bench.resident);
    assert_eq!(going.ended()?.ended.outcome, Outcome::Ok);
    wait_gone(pid);

    let mut bench = Bench::new(false, Patience::default())?;
    let pid = bench.run(&["a"])?.pids[0];
    signal(pid, Signal::STOP)?;
    drop(bench.resident);
    wait_gone(pid);

    let mut bench = Bench::new(false, Patience::default())?;
    let pid = bench.run(&["a"])?.pids[0];
    bench.resident.farewell();
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
