//! Real processes, most of them shells.  What a test waits for, it waits for without a sleep.

use super::*;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc::{self, Receiver as Events};

use crate::syncer::lock::{Holder, Key, Seeker};

/// Far longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

struct Bench {
    running: Option<Running>,
    events: Events<(Event, Duration)>,
}

fn planned(argv: &[&str]) -> Plan {
    Plan {
        argv: argv.iter().map(OsString::from).collect(),
        environment: vec!["PATH=/usr/bin:/bin".into(), "MAILSYNC_RUN=old".into()],
        everything: true,
        names: HashMap::new(),
        memory: Memory::default(),
        config: None,
    }
}

/// A run of this program that is judged by its exit code.
fn job(argv: &[&str]) -> Job {
    let plan = planned(argv);
    Job {
        run: RunId(4711),
        directory: None,
        input: Vec::new(),
        ladder: Ladder(vec![(LONG, Signal::KILL)]),
        memory: Memory::default(),
        wish: None,
        plan: Box::new(move || Ok(plan)),
        judge: Box::new(|plan, exit, _| Verdict {
            outcome: if exit == Exit::Code(0) {
                Outcome::Ok
            } else {
                Outcome::Partial
            },
            text: format!("{exit:?}"),
            failed: Vec::new(),
            memory: plan.memory.clone(),
        }),
    }
}

fn shell(script: &str) -> Job {
    job(&["/bin/sh", "-c", script])
}

impl Bench {
    fn new(job: Job) -> Self {
        let (told, events) = mpsc::channel();
        let tell = move |event| {
            // What the thread has spent so far goes along.
            let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            told.send((event, spent.try_into().unwrap())).unwrap();
        };
        Bench {
            running: Some(begin(job, None, tell).unwrap()),
            events,
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn next(&self) -> (Event, Duration) {
        self.events.recv_timeout(LONG).expect("an event")
    }

    fn pid(&self) -> u32 {
        match self.next().0 {
            Event::Began { run, pid } => {
                assert_eq!(run, RunId(4711));
                pid
            }
            other => panic!("{other:?}"),
        }
    }

    fn sign(&self) {
        let event = self.next().0;
        assert!(matches!(event, Event::Sign { .. }), "{event:?}");
    }

    /// The end, how many signs came before, and what the thread has spent.
    fn ended(self) -> (Ended, usize, Duration) {
        let mut signs = 0;
        loop {
            match self.next() {
                (Event::Began { .. } | Event::Robbed { .. } | Event::Said { .. }, _) => {}
                (Event::Sign { .. }, _) => signs += 1,
                (Event::Ended { ended, .. }, spent) => {
                    // Nothing after it.
                    assert!(self.events.recv_timeout(LONG).is_err());
                    return (*ended, signs, spent);
                }
            }
        }
    }
}

fn ended(job: Job) -> Ended {
    Bench::new(job).ended().0
}

fn text(output: &Output) -> String {
    assert_eq!(output.dropped, 0);
    String::from_utf8([&output.first[..], &output.last].concat()).unwrap()
}

fn printed(script: &str) -> String {
    text(&ended(shell(script)).output)
}

/// Wait until a process is gone, or nobody's child that nobody waits for.
fn wait_gone(pid: &str) {
    let end = Instant::now() + LONG;
    let there = || fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    while there().is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < end, "{pid} is still there");
        std::thread::yield_now();
    }
}

#[test]
fn how_programs_end() {
    let table = [
        ("exit 0", Some(0), Outcome::Ok, "Code(0)"),
        ("exit 1", Some(1), Outcome::Partial, "Code(1)"),
        ("exit 75", Some(75), Outcome::Partial, "Code(75)"),
        ("exit 255", Some(255), Outcome::Partial, "Code(255)"),
        ("kill -TERM $$", Some(143), Outcome::Partial, "Signal(15)"),
        ("kill -KILL $$", Some(137), Outcome::Partial, "Signal(9)"),
    ];
    for (script, exit, outcome, text) in table {
        let ended = ended(shell(script));
        let found = (ended.exit, ended.outcome, &ended.text[..]);
        assert_eq!(found, (exit, outcome, text), "{script}");
        assert!(ended.everything);
    }
}

#[test]
fn programs_that_cannot_be_started() {
    let top = tempfile::tempdir().unwrap();
    let make = |name: &str, content: &str, mode| {
        let path = top.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let no_line = make("no-line", "echo no\n", 0o755);
    let no_shell = make("no-shell", "#!/no/such/shell\n", 0o755);
    let no_mode = make("no-mode", "#!/bin/sh\n", 0o644);
    let huge = "x".repeat(200_000);
    let table = [
        (vec!["/no/such"], "does not exist"),
        (vec!["/etc/passwd/x"], "does not exist"),
        (vec!["/usr"], "is a directory"),
        (vec![&no_line], "#!/bin/sh"),
        (vec![&no_shell], "interpreter"),
        (vec![&no_mode], "chmod +x"),
        (vec!["/bin/true", &huge], "too many folders"),
        (vec!["/bin/true", "a\0b"], "NUL"),
        (vec![], "names no program"),
    ];
    for (argv, text) in table {
        let ended = ended(job(&argv));
        assert_eq!((ended.outcome, ended.exit), (Outcome::Config, None));
        assert!(ended.text.contains(text), "{}", ended.text);
        if let Some(program) = argv.first() {
            assert!(ended.text.contains(program), "{}", ended.text);
        }
    }
}

#[test]
fn directories() {
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    fs::create_dir_all(top.join("-a b")).unwrap();
    fs::write(top.join("file"), "").unwrap();
    let within = |directory: PathBuf, argv: &[&str]| {
        ended(Job {
            directory: Some(directory),
            ..job(argv)
        })
    };
    let pwd = within(
        top.join("-a b"),
        &["/bin/sh", "-c", "pwd; exit $1", "sh", "6"],
    );
    assert_eq!(text(&pwd.output), format!("{}/-a b\n", top.display()));
    assert_eq!(pwd.exit, Some(6));
    for (directory, text) in [
        (top.join("none"), "does not exist"),
        (top.join("file"), "is none"),
        ("tmp".into(), "is not an absolute name"),
    ] {
        let ended = within(directory.clone(), &["/bin/true"]);
        assert_eq!((ended.outcome, ended.exit), (Outcome::Config, None));
        assert!(ended.text.contains(text) && ended.text.contains(":directory"));
        assert!(ended.text.contains(directory.to_str().unwrap()));
    }
    for program in ["/no/such", "/usr", "/etc/passwd"] {
        let ended = within(top.clone(), &[program]);
        assert_eq!((ended.outcome, ended.exit), (Outcome::Config, None));
        assert!(ended.text.contains(program), "{}", ended.text);
    }
}

// Security: S62.
#[test]
fn what_a_child_inherits() {
    let status = printed("grep -E '^Sig(Blk|Ign)' /proc/self/status");
    for line in status.lines() {
        let mask = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        // Those two are the C library's own.
        assert_eq!(mask & !0x1_8000_0000, 0, "{status}");
    }
    assert_eq!(status.lines().count(), 2);
    // As Emacs leaves its terminal open, and who started us may leave more.
    let left_open = rustix::io::dup(fs::File::open("/dev/null").unwrap()).unwrap();
    // One more is the listed directory itself.
    assert_eq!(printed("ls /proc/self/fd"), "0\n1\n2\n3\n");
    drop(left_open);
    let environment = printed("/usr/bin/env | grep -v -e ^PWD= -e ^_= -e ^OLDPWD= -e ^SHLVL=");
    assert_eq!(environment, "PATH=/usr/bin:/bin\nMAILSYNC_RUN=4711\n");

    let bench = Bench::new(shell("cut -d ' ' -f 5,6,7 /proc/self/stat; exec </dev/tty"));
    let pid = bench.pid();
    let ended = bench.ended().0;
    // Group, session, and no terminal that a password could be asked for on.
    assert!(text(&ended.output).starts_with(&format!("{pid} {pid} 0\n")));
    assert_ne!(ended.exit, Some(0));
}

#[test]
fn much_output_costs_neither_memory_nor_much_time() {
    let script = "echo first; head -c 100000000 /dev/zero; echo; echo error >&2; echo last";
    let (ended, signs, spent) = Bench::new(shell(script)).ended();
    let Output {
        first,
        dropped,
        last,
        ..
    } = &ended.output;
    assert!(first.starts_with(b"first\n\0\0") && last.ends_with(b"\0\nerror\nlast\n"));
    assert!(first.len() <= 8192 && last.len() <= 8192);
    let all = (first.len() + last.len()) as u64 + dropped;
    assert_eq!(all, 100_000_000 + 6 + 1 + 6 + 5);
    let most = usize::try_from(ended.took.as_secs()).unwrap() + 1;
    assert!((1..=most).contains(&signs), "{signs} in {:?}", ended.took);
    eprintln!("100 MB: {:?}, ours {spent:?}", ended.took);
}

#[test]
fn output_without_a_newline() {
    assert_eq!(printed("printf 'no newline'"), "no newline");
    assert_eq!(
        printed("printf out; printf err >&2; printf out"),
        "outerrout"
    );
    assert_eq!(printed("true"), "");
}

#[test]
fn closed_files_neither_end_the_run_nor_keep_us_busy() {
    let scripts = [
        "exec >&- 2>&-; sleep 1; exit 3",
        "exec <&-; sleep 1; exit 3",
        "exec <&- >&- 2>&-; sleep 1; exit 3",
    ];
    let benches = scripts.map(|script| Bench {
        // Nobody can wake it any more, which does not keep it busy either.
        running: None,
        ..Bench::new(Job {
            input: vec![b'x'; 1_000_000],
            ..shell(script)
        })
    });
    for (script, bench) in scripts.iter().zip(benches) {
        let (ended, _, spent) = bench.ended();
        assert_eq!(ended.exit, Some(3));
        assert!(ended.took >= Duration::from_secs(1));
        assert!(spent < Duration::from_millis(300), "{script}: {spent:?}");
    }
}

#[test]
fn a_daemon_that_holds_the_output_does_not_delay_the_end() {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("pid");
    let script = format!(
        "f={}; setsid sh -c 'echo $$ >$1.new; mv $1.new $1; exec sleep 300' sh $f & \
         until [ -e $f ]; do sleep 0.01; done; echo out; exit 4",
        file.display()
    );
    let ended = ended(shell(&script));
    let pid = fs::read_to_string(file).unwrap();
    // It lives on: who leaves a session on purpose is an agent that others use too.
    let environment = fs::read(format!("/proc/{}/environ", pid.trim())).unwrap();
    let marker = b"MAILSYNC_RUN=4711\0";
    assert!(environment.windows(marker.len()).any(|part| part == marker));
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(ended.exit, Some(4));
    assert_eq!(text(&ended.output), "out\n");
    assert!(ended.took < Duration::from_secs(100));
}

#[test]
fn a_daemon_that_goes_on_writing_does_not_delay_the_end() {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("pid");
    let script = format!(
        "f={}; setsid sh -c 'echo $$ >$1.new; mv $1.new $1; exec yes' sh $f & \
         until [ -e $f ]; do sleep 0.01; done; exit 4",
        file.display()
    );
    let ended = ended(shell(&script));
    assert_eq!(ended.exit, Some(4));
    assert!(ended.took < Duration::from_secs(50));
    // Its next write finds nobody.
    wait_gone(&fs::read_to_string(file).unwrap());
}

#[test]
fn what_is_left_in_the_pipe_is_not_read_for_ever() {
    let rest = Rest {
        pipe: Some(fs::File::open("/dev/zero").unwrap().into()),
        buffer: vec![0; AT_ONCE],
        capture: Capture::default(),
    };
    let began = Instant::now();
    assert!(rest.output().dropped > 0);
    assert!(began.elapsed() >= REST);
}

// Security: S15.
#[test]
fn what_is_left_in_the_group_is_gone_afterwards() {
    let script = "sh -c 'trap \"\" TERM; echo $$; exec sleep 300' & read x; exit 5";
    let job = Job {
        input: b"\n".to_vec(),
        ..shell(script)
    };
    let ended = ended(job);
    assert_eq!(ended.exit, Some(5));
    let pid = text(&ended.output);
    // It may have been ended before it could say who it is.
    if !pid.is_empty() {
        wait_gone(&pid);
    }
    let left = printed("sleep 300 & echo $!");
    wait_gone(&left);
}

#[test]
fn standard_input() {
    assert_eq!(printed("cat; echo end"), "end\n");
    let fed = |script, input: &[u8]| {
        let input = input.to_vec();
        let ended = ended(Job {
            input,
            ..shell(script)
        });
        (text(&ended.output).trim().to_owned(), ended.exit)
    };
    assert_eq!(fed("cat", b"a\nb"), ("a\nb".to_owned(), Some(0)));
    let much = vec![b'x'; 1_000_000];
    assert_eq!(fed("wc -c", &much), ("1000000".to_owned(), Some(0)));
    // Nobody reads it, or not all.
    assert_eq!(fed("exit 3", &much), (String::new(), Some(3)));
    assert_eq!(fed("head -c 3; exit 0", &much), ("xxx".to_owned(), Some(0)));
}

#[test]
fn an_end_reaches_children_and_grandchildren() {
    let script = "sh -c 'sh -c \"sleep 300 & echo \\$! \\$\\$; wait\" & wait' & wait";
    for (why, outcome) in [
        (End::Timeout, Outcome::Timeout),
        (End::Interrupt, Outcome::Interrupted),
        (End::Stop, Outcome::Interrupted),
        (End::Farewell, Outcome::Interrupted),
    ] {
        let bench = Bench::new(shell(script));
        bench.pid();
        bench.sign();
        bench.running().end(why);
        let ended = bench.ended().0;
        assert_eq!((ended.outcome, ended.exit), (outcome, Some(143)));
        let named = ended.text.contains("mailsync-sync-timeout");
        assert_eq!(named, why == End::Timeout, "{}", ended.text);
        for pid in text(&ended.output).split_whitespace() {
            wait_gone(pid);
        }
    }
}

#[test]
fn who_ignores_term_is_killed() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
    // The first end, and one that follows it.
    for (first, then) in [
        (End::Timeout, None),
        (End::Stop, None),
        (End::Farewell, Some(End::Interrupt)),
    ] {
        let bench = Bench::new(Job {
            ladder: Ladder(vec![(Duration::from_millis(20), Signal::KILL)]),
            ..shell(script)
        });
        bench.pid();
        bench.sign();
        bench.running().end(first);
        if let Some(then) = then {
            bench.running().end(then);
        }
        let ended = bench.ended().0;
        assert_eq!(ended.exit, Some(137));
        let expected = if first == End::Timeout {
            Outcome::Timeout
        } else {
            Outcome::Interrupted
        };
        assert_eq!(ended.outcome, expected);
    }
}

#[test]
fn offlineimap_dies_of_the_third() {
    let ladder = Ladder::of(&Program::OfflineImap {
        program: "offlineimap".into(),
        account: "a".to_owned(),
        config: None,
        args: Vec::new(),
    });
    let signals: Vec<_> = ladder.0.iter().map(|(_, signal)| *signal).collect();
    assert_eq!(signals, [Signal::TERM, Signal::TERM, Signal::KILL]);
    let script = "n=0; trap 'n=$((n+1)); echo got $n; [ $n -lt 3 ] || exit 0' TERM; echo ready; \
                  while :; do sleep 0.02; done";
    // Two at the same time would be one.
    let after = Duration::from_secs(1);
    let term = (after, Signal::TERM);
    let bench = Bench::new(Job {
        ladder: Ladder(vec![term, term, (LONG, Signal::KILL)]),
        ..shell(script)
    });
    bench.pid();
    bench.sign();
    // The same again, and a weaker one, change nothing.
    for why in [End::Interrupt, End::Interrupt, End::Farewell, End::Timeout] {
        bench.running().end(why);
    }
    let ended = bench.ended().0;
    // The shell's child gets it too, and some shells report that.
    let output = text(&ended.output);
    let got: Vec<_> = output.lines().filter(|it| it.starts_with("got")).collect();
    assert_eq!(got, ["got 1", "got 2", "got 3"]);
    assert_eq!((ended.exit, ended.outcome), (Some(0), Outcome::Interrupted));
}

#[test]
fn a_farewell_is_one_signal_and_waits_for_nothing() {
    let script = "trap 'echo got' TERM; echo ready; n=0; \
                  while [ $n -lt 10 ]; do sleep 0.02; n=$((n+1)); done; exit 0";
    let bench = Bench::new(Job {
        ladder: Ladder(vec![(Duration::ZERO, Signal::KILL)]),
        ..shell(script)
    });
    bench.pid();
    bench.sign();
    let sent = bench.running().farewell();
    assert_eq!(
        sent.try_recv(),
        Err(crossbeam_channel::TryRecvError::Disconnected)
    );
    drop(bench.running().farewell());
    let ended = bench.ended().0;
    let output = text(&ended.output);
    assert_eq!(output.lines().filter(|it| *it == "got").count(), 1);
    assert_eq!((ended.exit, ended.outcome), (Some(0), Outcome::Interrupted));
}

#[test]
fn an_end_before_the_process_is_there() {
    for (why, outcome) in [
        (End::Farewell, Outcome::Interrupted),
        (End::Timeout, Outcome::Timeout),
    ] {
        let (go, wait) = mpsc::channel();
        let bench = Bench::new(Job {
            plan: Box::new(move || {
                wait.recv_timeout(LONG).unwrap();
                Ok(planned(&["/bin/true"]))
            }),
            ..shell("")
        });
        bench.running().end(why);
        let sent = bench.running().farewell();
        assert_eq!(sent.recv(), Err(crossbeam_channel::RecvError));
        go.send(()).unwrap();
        assert!(matches!(&bench.next().0, Event::Ended { ended, .. }
                         if ended.outcome == outcome && ended.exit.is_none()));
    }
}

#[test]
fn a_farewell_while_the_process_is_being_made_waits_for_it() {
    let (woken, wake) = io::pipe().unwrap();
    let running = Running {
        shared: Arc::new(Shared {
            state: Mutex::default(),
            woken,
        }),
        wake,
    };
    assert_eq!(running.shared.starting(), None);
    let sent = running.farewell();
    assert_eq!(sent.try_recv(), Err(crossbeam_channel::TryRecvError::Empty));
    running.shared.over();
    assert_eq!(
        sent.try_recv(),
        Err(crossbeam_channel::TryRecvError::Disconnected)
    );
    // After the end, nothing is noted any more.
    running.end(End::Stop);
    assert_eq!(running.shared.asked(), Some(End::Farewell));
}

#[test]
fn a_run_without_an_owner_goes_on() {
    let bench = Bench::new(Job {
        input: b"x".to_vec(),
        ..shell("cat; sleep 0.1; exit 8")
    });
    let bench = Bench {
        running: None,
        ..bench
    };
    let ended = bench.ended().0;
    assert_eq!((ended.exit, text(&ended.output).as_str()), (Some(8), "x"));
}

/// Seek a lock there.
fn seek(runtime: &Path) -> (Seeker, Events<Holder>) {
    let (told, holders) = mpsc::channel();
    let tell = move |holder| drop(told.send(holder));
    let key = Key::Name("a".to_owned());
    let seeker = Seeker::start(key, Some(runtime), tell).unwrap();
    (seeker, holders)
}

fn next_holder(holders: &Events<Holder>) -> Holder {
    holders.recv_timeout(LONG).unwrap()
}

fn lock_held(holders: &Events<Holder>) -> Arc<Held> {
    match next_holder(holders) {
        Holder::Us(held) => held,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_lock_is_kept_until_the_end_and_free_when_that_is_told() {
    let top = tempfile::tempdir().unwrap();
    let (_one, holders) = seek(top.path());
    let held = lock_held(&holders);
    let (told, events) = mpsc::channel();
    let kept = Arc::downgrade(&held);
    let tell = move |event| {
        let ended = matches!(event, Event::Ended { .. });
        assert_eq!(kept.upgrade().is_none(), ended);
        told.send(event).unwrap();
    };
    let running = begin(shell("exec sleep 300"), Some(held), tell).unwrap();
    let began = events.recv_timeout(LONG).unwrap();
    assert!(matches!(began, Event::Began { .. }));
    let (two, holders) = seek(top.path());
    let holder = next_holder(&holders);
    assert!(matches!(holder, Holder::Other(Some(_))), "{holder:?}");
    drop(two);
    assert!(holders.recv_timeout(LONG).is_err());
    running.end(End::Stop);
    let end = events.recv_timeout(LONG).unwrap();
    assert!(matches!(end, Event::Ended { .. }));
    let (_three, holders) = seek(top.path());
    lock_held(&holders);
}

#[test]
#[ignore = "another test runs it, in a process of its own"]
fn an_emacs_that_will_be_killed() {
    let Some(runtime) = std::env::var_os("MAILSYNC_TEST_RUNTIME") else {
        return;
    };
    let (_seeker, holders) = seek(Path::new(&runtime));
    let tell = |event| {
        if let Event::Began { pid, .. } = event {
            println!("began {pid}");
        }
    };
    let script = shell("sleep 300 & wait");
    let _running = begin(script, Some(lock_held(&holders)), tell).unwrap();
    std::thread::sleep(LONG);
}

#[test]
fn a_run_that_has_lost_its_emacs_is_waited_for() {
    use std::io::{BufRead, BufReader};
    let top = tempfile::tempdir().unwrap();
    let mut emacs = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg("syncer::run::tests::an_emacs_that_will_be_killed")
        .env("MAILSYNC_TEST_RUNTIME", top.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(emacs.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let orphan: u32 = lines
        .find_map(|line| line.rsplit_once("began ")?.1.trim().parse().ok())
        .expect("a run");
    let (_one, first) = seek(top.path());
    let holder = next_holder(&first);
    assert!(matches!(holder, Holder::Other(_)), "{holder:?}");
    emacs.kill().unwrap();
    emacs.wait().unwrap();
    let holder = first.iter().find(|it| matches!(it, Holder::Orphan(_)));
    assert!(
        matches!(holder, Some(Holder::Orphan(Some(pid))) if pid == orphan),
        "{holder:?}"
    );
    // It counts as running as long as anything of it does.
    let group = Pid::from_raw(orphan.cast_signed()).unwrap();
    rustix::process::kill_process(group, Signal::KILL).unwrap();
    assert!(first.recv_timeout(Duration::from_millis(300)).is_err());
    process::kill(group, Signal::KILL);
    let held = lock_held(&first);
    drop(held.run().unwrap());
}

#[test]
fn a_lock_that_another_emacs_has_got_is_told_before_the_end() {
    let top = tempfile::tempdir().unwrap();
    let (_one, first) = seek(top.path());
    let held = lock_held(&first);
    fs::remove_dir_all(top.path().join("mailsync")).unwrap();
    let (_two, second) = seek(top.path());
    let _theirs = lock_held(&second);
    let (told, events) = mpsc::channel();
    let tell = move |event| drop(told.send(event));
    let _running = begin(shell("exit 0"), Some(held), tell).unwrap();
    let robbed = events.recv_timeout(LONG).unwrap();
    assert!(matches!(robbed, Event::Robbed { .. }), "{robbed:?}");
    let Ok(Event::Ended { ended, .. }) = events.recv_timeout(LONG) else {
        panic!("no end");
    };
    assert_eq!((ended.outcome, ended.exit), (Outcome::Locked, None));
    assert!(ended.text.contains("syncs it now"), "{}", ended.text);
}

#[test]
fn a_refusal_is_an_end() {
    let ended = ended(Job {
        plan: Box::new(|| {
            Err(Refused {
                outcome: Outcome::Locked,
                text: "somebody".to_owned(),
            })
        }),
        ..shell("")
    });
    assert_eq!((ended.outcome, ended.exit), (Outcome::Locked, None));
    assert_eq!((&ended.text[..], ended.everything), ("somebody", false));
}

#[test]
fn a_panic_is_an_end_too() {
    let plan = Job {
        plan: Box::new(|| panic!("on\npurpose")),
        ..shell("")
    };
    let judge = Job {
        judge: Box::new(|_, _, _| panic!("on\npurpose")),
        ..shell("exit 0")
    };
    for job in [plan, judge] {
        let ended = ended(job);
        assert_eq!(ended.outcome, Outcome::Transient);
        assert!(ended.text.contains("please report this"), "{}", ended.text);
        assert!(!ended.text.contains('\n'));
    }
    // One that comes while the process lives leaves nothing of it.
    let (told, events) = mpsc::channel();
    let tell = move |event: Event| {
        let began = matches!(event, Event::Began { .. });
        told.send(event).unwrap();
        assert!(!began, "on purpose");
    };
    let running = begin(shell("sleep 300 & exec sleep 300"), None, tell).unwrap();
    let Ok(Event::Began { pid, .. }) = events.recv_timeout(LONG) else {
        panic!("it did not begin")
    };
    let Ok(Event::Ended { ended, .. }) = events.recv_timeout(LONG) else {
        panic!("it did not end")
    };
    assert_eq!(ended.outcome, Outcome::Transient);
    wait_gone(&pid.to_string());
    assert!(matches!(running.shared.lock().phase, Phase::Over));
}

/// What others do in this process would count too: so in a process of its own.
#[test]
fn runs_leave_no_descriptor_and_no_thread() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg("syncer::run::tests::five_hundred_runs")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
    eprintln!("{errors}");
}

#[test]
#[ignore = "another test runs it, in a process of its own"]
fn five_hundred_runs() {
    let count = |what| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let run = || {
        let bench = Bench::new(job(&["/bin/true"]));
        bench.pid();
        let (ended, _, _) = bench.ended();
        assert_eq!(ended.exit, Some(0));
        ended.took
    };
    // The thread of the last run may have a descriptor until it ends.
    let settled = || {
        let end = Instant::now() + LONG;
        while threads::live() > 0 || count("task") > 2 {
            assert!(Instant::now() < end, "{} threads", threads::live());
            std::thread::yield_now();
        }
        count("fd")
    };
    run();
    let before = settled();
    let mut took: Vec<_> = (0..500).map(|_| run()).collect();
    assert_eq!(settled(), before);
    took.sort();
    let mut spawned: Vec<_> = (0..500).map(|_| spawned()).collect();
    spawned.sort();
    assert_eq!(count("fd"), before);
    eprintln!(
        "500 runs: median {:?}, slowest {:?}; the spawn alone: {:?}, {:?}",
        took[250], took[499], spawned[250], spawned[499]
    );
}

fn spawned() -> Duration {
    let argv = ["/bin/true".into()];
    let recipe = Recipe {
        argv: &argv,
        environment: &[],
        directory: None,
        feed: false,
        apart: false,
        keeps: &[],
    };
    let began = Instant::now();
    let (process, _pipes) = process::spawn(&recipe).unwrap();
    let took = began.elapsed();
    drop(process);
    took
}
