//! Locks among threads, and among processes.

use super::*;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::fs::{Mode, open};

use super::directory::{Candidate, DIRECTORY};
use super::search::{AGAIN, Found, Watch};

/// Far longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

fn seek(account: &str, runtime: &Path) -> (Seeker, Receiver<Holder>) {
    let (told, holders) = mpsc::channel();
    let tell = move |holder| drop(told.send(holder));
    let key = Key::Name(account.to_owned());
    let seeker = Seeker::start(key, Some(runtime), tell).unwrap();
    (seeker, holders)
}

fn next(holders: &Receiver<Holder>) -> Holder {
    holders.recv_timeout(LONG).expect("a holder")
}

fn held(holders: &Receiver<Holder>) -> Arc<Held> {
    match next(holders) {
        Holder::Us(held) => held,
        other => panic!("{other:?}"),
    }
}

fn other(holders: &Receiver<Holder>, pid: u32) {
    // Whoever has just got it may not have written that yet.
    let mut holder = next(holders);
    if matches!(holder, Holder::Other(None)) {
        holder = next(holders);
    }
    assert!(
        matches!(holder, Holder::Other(Some(it)) if it == pid),
        "{holder:?}"
    );
}

fn nobody_holds(holders: &Receiver<Holder>) -> String {
    match next(holders) {
        Holder::Nobody(text) => text,
        other => panic!("{other:?}"),
    }
}

fn file(runtime: &Path, account: &str) -> PathBuf {
    runtime.join("mailsync").join(format!("={account}.lock"))
}

#[test]
fn from_one_to_the_next() {
    let top = tempfile::tempdir().unwrap();
    let us = std::process::id();
    let (_one, first) = seek("a", top.path());
    let lock = held(&first);
    // The thread is done.
    assert!(matches!(
        first.recv_timeout(LONG),
        Err(mpsc::RecvTimeoutError::Disconnected)
    ));
    let text = fs::read_to_string(file(top.path(), "a")).unwrap();
    assert_eq!(text, format!("{us}\n"));

    let (_two, second) = seek("a", top.path());
    other(&second, us);
    // Another account is another matter.
    let (_three, third) = seek("b", top.path());
    held(&third);

    let also = lock.clone();
    drop(lock);
    assert!(second.try_recv().is_err());
    drop(also);
    held(&second);
}

#[test]
fn many_get_it_one_after_the_other() {
    let top = tempfile::tempdir().unwrap();
    let (told, had) = mpsc::channel();
    let seekers: Vec<_> = (0..20)
        .map(|_| {
            let told = told.clone();
            let tell = move |holder| {
                if let Holder::Us(held) = holder {
                    told.send(held).unwrap();
                }
            };
            Seeker::start(Key::Name("a".to_owned()), Some(top.path()), tell).unwrap()
        })
        .collect();
    for _ in &seekers {
        let held = had.recv_timeout(LONG).unwrap();
        assert!(had.try_recv().is_err(), "two have it");
        drop(held);
    }
}

#[test]
fn who_does_not_want_it_any_more_gets_nothing() {
    let top = tempfile::tempdir().unwrap();
    let (_one, first) = seek("a", top.path());
    let lock = held(&first);
    let (two, second) = seek("a", top.path());
    other(&second, std::process::id());
    drop(two);
    let end = second.recv_timeout(LONG);
    assert!(
        matches!(end, Err(mpsc::RecvTimeoutError::Disconnected)),
        "{end:?}"
    );
    drop(lock);
}

/// A process that has the lock, once it is known to.
fn process(runtime: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg("syncer::lock::tests::another_process")
        .env("MAILSYNC_TEST_RUNTIME", runtime)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("had")), "it never had it");
    child
}

#[test]
#[ignore = "others run it, in a process of its own"]
fn another_process() {
    let Some(runtime) = std::env::var_os("MAILSYNC_TEST_RUNTIME") else {
        return;
    };
    let (_seeker, holders) = seek("a", Path::new(&runtime));
    let lock = held(&holders);
    println!("had");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(lock);
    // It is free although we are not over.
    std::thread::sleep(LONG);
}

#[test]
fn among_processes() {
    let top = tempfile::tempdir().unwrap();
    for killed in [true, false, true] {
        let mut child = process(top.path());
        let (_seeker, holders) = seek("a", top.path());
        other(&holders, child.id());
        if killed {
            child.kill().unwrap();
        } else {
            drop(child.stdin.take());
        }
        let lock = held(&holders);
        let text = fs::read_to_string(file(top.path(), "a")).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(lock);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_file_that_somebody_left_is_no_lock() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir(top.path().join("mailsync")).unwrap();
    fs::write(file(top.path(), "a"), "1234567890 and something longer\n").unwrap();
    let (_seeker, holders) = seek("a", top.path());
    let _lock = held(&holders);
    let text = fs::read_to_string(file(top.path(), "a")).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
}

#[test]
fn a_file_made_anew_is_the_one_that_counts() {
    let top = tempfile::tempdir().unwrap();
    let us = std::process::id();
    let (_one, first) = seek("a", top.path());
    let lock = held(&first);
    let (_two, second) = seek("a", top.path());
    other(&second, us);
    fs::remove_file(file(top.path(), "a")).unwrap();
    let mut child = process(top.path());
    // It has waited for the lock of the old file, and must now wait for that of the new one.
    drop(lock);
    other(&second, child.id());
    child.kill().unwrap();
    held(&second);
    child.wait().unwrap();
}

/// As when the user's last session ends, and another one begins.
#[test]
fn a_directory_that_is_replaced_is_followed() {
    let top = tempfile::tempdir().unwrap();
    let us = std::process::id();
    let ours = top.path().join("mailsync");
    let (_one, first) = seek("a", top.path());
    let lock = held(&first);
    let (_two, second) = seek("a", top.path());
    other(&second, us);
    fs::remove_dir_all(&ours).unwrap();
    let run = lock.run().unwrap();
    // Whoever comes now finds both locks.
    let (_three, third) = seek("a", top.path());
    other(&third, us);
    assert_eq!(lock.run().err(), Some(Taken::Run(None)));
    drop(run);
    drop(lock);
    // One of those who wait gets it, the one that has waited in the old directory too.
    let (told, holders) = mpsc::channel();
    for waits in [second, third] {
        let told = told.clone();
        std::thread::spawn(move || drop(told.send((held_some_time(&waits), waits))));
    }
    let (lock, _) = holders.recv_timeout(LONG).unwrap();
    assert!(holders.recv_timeout(Duration::from_millis(100)).is_err());
    drop(lock);
    holders.recv_timeout(LONG).unwrap();
}

fn held_some_time(holders: &Receiver<Holder>) -> Arc<Held> {
    loop {
        match next(holders) {
            Holder::Us(held) => return held,
            Holder::Nobody(text) => panic!("{text}"),
            Holder::Other(_) | Holder::Orphan(_) => {}
        }
    }
}

#[test]
fn who_has_lost_the_lock_runs_no_more() {
    let top = tempfile::tempdir().unwrap();
    let (_one, first) = seek("a", top.path());
    let lock = held(&first);
    fs::remove_file(file(top.path(), "a")).unwrap();
    let (_two, second) = seek("a", top.path());
    let theirs = held(&second);
    let taken = lock.run().err();
    assert_eq!(taken, Some(Taken::Account(Some(std::process::id()))));
    drop(theirs.run().unwrap());
    drop(theirs);
    drop(lock.run().unwrap());
}

#[test]
fn without_notification_it_is_tried_for() {
    let top = tempfile::tempdir().unwrap();
    let (_one, first) = seek("a", top.path());
    let mut lock = Some(held(&first));
    let (stopped, _stop) = io::pipe().unwrap();
    let search = Search {
        every: Duration::from_millis(1),
        directory: Directory {
            fd: open(top.path().join("mailsync"), DIRECTORY, Mode::empty()).unwrap(),
            path: top.path().join("mailsync"),
        },
        stopped,
    };
    let mut tries = 0;
    let mut tell = |_| {
        tries += 1;
        // Later than any try that comes soon after the first.
        if tries > AGAIN.len() + 2 {
            lock.take();
        }
    };
    let file = search.directory.file("=a.lock").unwrap();
    let mut watch = Watch { inotify: None };
    let found = search.locked(&file, Wait::Emacs, &mut watch, &mut tell);
    assert_eq!(found.unwrap(), Found::Ours);
}

// Security: S12.
#[test]
fn directories_that_are_not_safe() {
    type Make = fn(&Path);
    let table: [(&str, Make); 4] = [
        ("opening", |ours| fs::write(ours, "").unwrap()),
        ("opening", |ours| symlink("/tmp", ours).unwrap()),
        ("others may write", |ours| {
            fs::create_dir(ours).unwrap();
            fs::set_permissions(ours, fs::Permissions::from_mode(0o777)).unwrap();
        }),
        ("=a.lock", |ours| {
            fs::create_dir_all(ours.join("=a.lock")).unwrap();
        }),
    ];
    for (expected, make) in table {
        let top = tempfile::tempdir().unwrap();
        make(&top.path().join("mailsync"));
        let (_seeker, holders) = seek("a", top.path());
        let text = nobody_holds(&holders);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(top.path().to_str().unwrap()), "{text}");
    }
    if rustix::process::geteuid().is_root() {
        let (_seeker, holders) = seek("a", Path::new("/proc"));
        let text = nobody_holds(&holders);
        assert!(text.contains("making /proc/mailsync"), "{text}");
    }
}

#[test]
fn a_directory_in_which_nothing_can_be_made_is_passed_over() {
    let top = tempfile::tempdir().unwrap();
    let closed = if rustix::process::geteuid().is_root() {
        // There is little else where root may not.
        PathBuf::from("/sys")
    } else {
        let closed = top.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        closed
    };
    let candidate = |path, ours| Candidate { path, ours };
    let closed = candidate(closed, false);
    let last = candidate(top.path().join("last"), true);
    let found = directory(&[closed.clone(), last]).unwrap();
    assert_eq!(found.path, top.path().join("last/mailsync"));
    let error = directory(&[closed]).unwrap_err();
    assert!(format!("{error:#}").contains("making"), "{error:#}");
}

// Security: S11, S12.
#[test]
fn the_first_directory_that_is_ours() {
    let top = tempfile::tempdir().unwrap();
    let path = |name: &str| top.path().join(name);
    fs::create_dir(path("open")).unwrap();
    fs::set_permissions(path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let candidate = |name, ours| Candidate {
        path: path(name),
        ours,
    };
    let all = [
        candidate("none", false),
        candidate("open", false),
        candidate("last", true),
    ];
    let found = directory(&all).unwrap();
    assert_eq!(found.path, path("last/mailsync"));
    for name in ["last", "last/mailsync"] {
        let mode = fs::metadata(path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    assert!(directory(&all[..2]).is_err());
    // What anybody may have put where we would make ours.
    symlink(path("last"), path("link")).unwrap();
    assert!(directory(&[candidate("link", true)]).is_err());
    assert!(directory(&[candidate("link", false)]).is_ok());

    let user = rustix::process::geteuid().as_raw();
    let paths = |runtime: Option<&str>| -> Vec<_> {
        let all = candidates(runtime.map(Path::new)).into_iter();
        all.map(|it| it.path.display().to_string()).collect()
    };
    let given = paths(Some("/x"));
    assert_eq!(given[..2], ["/x".to_owned(), format!("/run/user/{user}")]);
    assert!(given[2].ends_with(&format!("/mailsync-{user}")));
    assert_eq!(paths(None), given[1..]);
    assert_eq!(paths(Some("relative")), given[1..]);
}

/// A program that inherits the lock of a run, and lasts until its standard input is closed.
fn left_behind(lock: &RunLock) -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    for fd in lock.files() {
        // As `process` has it, which cannot be used here: it would end what is started.
        let flags = rustix::io::FdFlags::empty();
        rustix::io::fcntl_setfd(fd, flags).unwrap();
    }
    let child = command.spawn().unwrap();
    lock.sign(child.id());
    child
}

#[test]
fn a_daemon_that_outlives_its_run_keeps_nothing() {
    let top = tempfile::tempdir().unwrap();
    let (_one, first) = seek("a", top.path());
    let lock = held(&first);
    let run = lock.run().unwrap();
    let mut daemon = left_behind(&run);
    // While it lasts there is no other one.
    assert_eq!(lock.run().err(), Some(Taken::Run(Some(daemon.id()))));
    drop(run);
    drop(lock.run().unwrap());
    drop(lock);
    let (_two, second) = seek("a", top.path());
    held(&second);
    drop(daemon.stdin.take());
    daemon.wait().unwrap();
}

#[test]
fn accounts_that_share_a_maildir_exclude_each_other() {
    let top = tempfile::tempdir().unwrap();
    let seek = |maildirs: &[&str]| {
        let (told, holders) = mpsc::channel();
        let key = Key::Maildirs(maildirs.iter().map(|it| top.path().join(it)).collect());
        let tell = move |holder| drop(told.send(holder));
        (Seeker::start(key, Some(top.path()), tell).unwrap(), holders)
    };
    let (_one, first) = seek(&["a", "b"]);
    let lock = held(&first);
    let (_two, second) = seek(&["c", "b"]);
    other(&second, std::process::id());
    // It has got the first of its files, and waits for the second.
    let (_three, third) = seek(&["d"]);
    held(&third);
    drop(lock);
    held(&second);
}

// Security: S15.
#[test]
fn what_a_run_has_left_outside_of_its_group_is_not_waited_for() {
    let top = tempfile::tempdir().unwrap();
    let (_one, first) = seek("a", top.path());
    let lock = held(&first);
    // As if a daemon had inherited it, and the run and its Emacs were gone.
    let run = lock.run().unwrap();
    let mut over = Command::new("true").process_group(0).spawn().unwrap();
    over.wait().unwrap();
    run.sign(over.id());
    drop(lock);
    let (_two, second) = seek("a", top.path());
    let lock = held(&second);
    // The next run has a lock of its own, and is seen.
    let next = lock.run().unwrap();
    assert_eq!(lock.run().err(), Some(Taken::Run(None)));
    next.sign(4711);
    assert_eq!(lock.run().err(), Some(Taken::Run(Some(4711))));
    drop(run);
    assert_eq!(lock.run().err(), Some(Taken::Run(Some(4711))));
}
