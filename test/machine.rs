//! What happens to the machine rather than in a Maildir.  For real, where a namespace or FUSE is to
//! be had: file systems are mounted and unmounted, the network changes, limits are reached and
//! raised, another machine's server writes, and stops.  Played: that the machine sleeps.
//!
//! A test that needs a namespace runs itself again in one, by unshare(1), and says that it is
//! skipped where there is none to be had.

#![cfg(all(target_os = "linux", not(feature = "portable")))]

mod support;

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use std::{fs, io};

use mailsync_module::engine::actor::World;
use mailsync_module::engine::environment::{Environment, News};
use mailsync_module::errand::Errand;
use mailsync_module::errand::examine::Examine;
use mailsync_module::maildir::{ByPath, DiskFs, Entry, Fs, Opened, Stat, Wall};

use support::{ACCOUNT, DELAYS, Engine, LONG, Told, account, deliver, in_namespace, maildir};

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

fn mount(point: &Path) {
    run("mount", &["-t", "tmpfs", "none", point.to_str().unwrap()]);
}

fn unmount(point: &Path) {
    run("umount", &["-l", point.to_str().unwrap()]);
}

fn tells(engine: &Engine, folder: &Path, name: &str) {
    let time = deliver(folder, name).unwrap();
    engine.wait("the message", LONG, |told| told.since(folder, time));
}

fn is(engine: &Engine, state: &str) {
    engine.wait(state, LONG, |told| told.state.0 == state);
}

#[test]
fn a_file_system_that_is_mounted_and_unmounted_is_seen_without_a_poll() {
    if !in_namespace(
        "a_file_system_that_is_mounted_and_unmounted_is_seen_without_a_poll",
        "-Urm",
        "true",
    ) {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    // The mount's own place, above it, and a link to below it.
    let table = [
        ("Mail", "Mail", "Mail"),
        ("disk", "disk/u/Mail", "disk/u/Mail"),
        ("far", "link", "far/Mail"),
    ];
    for (mounted, root, real) in table {
        let [point, root, real] = [mounted, root, real].map(|it| top.join(it));
        fs::create_dir(&point).unwrap();
        if root != real {
            symlink(&real, &root).unwrap();
        }
        let engine = Engine::start(&root, DELAYS, support::kernel());
        let began = if root == point { "watching" } else { "waiting" };
        is(&engine, began);

        mount(&point);
        maildir(&real.join(".a"));
        is(&engine, "watching");
        engine.wait("the folder", LONG, |told| told.ready);
        tells(&engine, &real.join(".a"), "1");

        // What is there is not deleted: it is away.
        unmount(&point);
        is(&engine, "waiting");
        assert!(engine.told().state.1.contains(root.to_str().unwrap()));
        engine.quiet();
        assert!(
            !engine
                .told()
                .frames
                .iter()
                .any(|it| it.text.contains("\0d\0"))
        );

        let time = Instant::now();
        mount(&point);
        maildir(&real.join(".a"));
        is(&engine, "watching");
        let folder = real.join(".a");
        engine.wait("all in doubt", LONG, |told| told.since(&folder, time));
        engine.quiet();
        tells(&engine, &folder, "2");
        // Nothing ticks meanwhile: the kernel told all this.
        engine.wait_root(|root| root.how == "kernel");

        // Another one on top, and away again.
        mount(&point);
        maildir(&real.join(".b"));
        let other = real.join(".b");
        engine.wait("another", LONG, |told| told.since(&other, time));
        tells(&engine, &other, "3");
        unmount(&point);
        engine.quiet();
        tells(&engine, &folder, "4");
        drop(engine);
        unmount(&point);
    }
}

#[test]
fn the_very_same_file_system_is_in_doubt_when_it_is_mounted_again() {
    if !in_namespace(
        "the_very_same_file_system_is_in_doubt_when_it_is_mounted_again",
        "-Urm",
        "true",
    ) {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let (disk, point) = (top.join("disk"), top.join("point"));
    let root = point.join("Mail");
    maildir(&disk.join("Mail/.a"));
    fs::create_dir(&point).unwrap();
    // Until stamps prove that nothing has happened: it is not for those that it is in doubt.
    std::thread::sleep(Duration::from_millis(2_200));
    let bind = || {
        run(
            "mount",
            &["--bind", disk.to_str().unwrap(), point.to_str().unwrap()],
        )
    };
    bind();
    let engine = Engine::watching(&root);
    engine.quiet();
    unmount(&point);
    is(&engine, "waiting");
    let time = Instant::now();
    bind();
    is(&engine, "watching");
    let folder = root.join(".a");
    engine.wait("all in doubt", LONG, |told| told.since(&folder, time));
    drop(engine);
    unmount(&point);
}

#[test]
fn mounts_and_addresses_are_news_and_nothing_else_is() {
    if !in_namespace(
        "mounts_and_addresses_are_news_and_nothing_else_is",
        "-Urmn",
        "true",
    ) {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let point = top.join("a b");
    fs::create_dir(&point).unwrap();
    let (told, news) = channel();
    // A mount of another test that was there before goes when that test deletes its directory.
    let here = top.clone();
    let ours = move |news: &News| match news {
        News::Mounts(points) => points.iter().any(|point| point.starts_with(&here)),
        _ => true,
    };
    let environment = Environment::start(move |it| !ours(&it) || told.send(it).is_ok()).unwrap();
    let next = || news.recv_timeout(LONG).expect("news");
    assert_eq!(next(), News::MountsAreTold);
    mount(&point);
    assert_eq!(next(), News::Mounts(vec![point.clone()]));
    unmount(&point);
    assert_eq!(next(), News::Mounts(vec![point]));
    run("ip", &["link", "set", "lo", "up"]);
    for address in ["10.9.9.1/32", "10.9.9.2/32", "10.9.9.3/32"] {
        run("ip", &["address", "add", address, "dev", "lo"]);
    }
    assert_eq!(next(), News::Network);
    // Many changes are one piece of news, or two where a slow machine is late with the last.
    let pause = Duration::from_millis(1_500);
    let more: Vec<_> = std::iter::from_fn(|| news.recv_timeout(pause).ok()).collect();
    assert!(more.is_empty() || more == [News::Network], "{more:?}");
    fs::write(top.join("file"), "").unwrap();
    let quiet = news.recv_timeout(pause);
    assert!(quiet.is_err(), "{quiet:?}");
    drop(environment);
}

/// What the machine has slept, as the test wants it.
fn sleeper() -> (Arc<AtomicU64>, World) {
    let slept = Arc::new(AtomicU64::new(0));
    let seconds = slept.clone();
    let world = World {
        slept: Arc::new(move || Duration::from_secs(seconds.load(Ordering::Relaxed))),
        ..World::real()
    };
    (slept, world)
}

#[test]
fn after_a_sleep_every_root_is_looked_at() {
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let (slept, mut world) = sleeper();
    // A kernel that tells nothing: only a look can find what comes.
    world.backend = Arc::new(|_| Ok(Box::new(support::Deaf)));
    let folders = ["one", "two"].map(|name| top.join(name));
    folders.iter().for_each(|folder| maildir(folder));
    // Until stamps prove something.
    std::thread::sleep(Duration::from_millis(2_100));
    let mut accounts = vec![account(ACCOUNT, &folders[0], DELAYS)];
    accounts.push(account("other", &folders[1], DELAYS));
    let engine = Engine::start_in(world, accounts, Duration::ZERO);
    engine.wait("both", LONG, |told| told.count_ready == 2);
    let time = Instant::now();
    folders
        .iter()
        .for_each(|folder| _ = deliver(folder, "1").unwrap());
    // Whatever wakes the engine, it notices that it slept.
    engine.poke();
    engine.quiet();
    assert!(!folders.iter().any(|it| engine.told().since(it, time)));
    slept.store(5, Ordering::Relaxed);
    engine.poke();
    for folder in &folders {
        engine.wait("the message", LONG, |told| told.since(folder, time));
    }
    assert!(
        engine
            .told()
            .frames
            .iter()
            .any(|it| it.text.contains("slept for 5 s"))
    );
}

#[test]
fn watches_that_were_refused_are_had_when_there_is_room() {
    if !in_namespace(
        "watches_that_were_refused_are_had_when_there_is_room",
        "-Ur",
        "true",
    ) {
        return;
    }
    let limit = |watches: &str| fs::write("/proc/sys/user/max_inotify_watches", watches).unwrap();
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let folders: Vec<_> = (0..50)
        .map(|number| top.join(format!(".f{number}")))
        .collect();
    folders.iter().for_each(|folder| maildir(folder));
    limit("40");
    let (slept, world) = sleeper();
    let accounts = vec![account(ACCOUNT, &top, DELAYS)];
    let engine = Engine::start_in(world, accounts, Duration::ZERO);
    engine.wait("ready", LONG, |told| told.ready);
    let text = engine.told().state.1.clone();
    assert!(
        text.contains("sysctl fs.inotify.max_user_watches="),
        "{text}"
    );
    let all = 101 + way(&top);
    engine.wait_root(|root| {
        (root.how, root.watches, root.watches + root.unwatched) == ("mixed", 40, all)
    });
    limit("4000");
    // The machine wakes up: whatever was waited for may have come.
    slept.store(5, Ordering::Relaxed);
    engine.poke();
    engine.wait("no trouble", LONG, |told| {
        told.state == ("watching".to_owned(), String::new())
    });
    engine.wait_root(|root| root.how == "kernel");
    for folder in &folders {
        tells(&engine, folder, "1");
    }
}

/// How many directories lead to this one.
fn way(path: &Path) -> usize {
    path.ancestors().count() - 1
}

#[test]
fn a_polled_root_tells_everything_and_then_nothing() {
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    maildir(&top);
    maildir(&top.join(".a"));
    let mut polled = account(ACCOUNT, &top, DELAYS);
    polled.roots[0].poll = Some(Duration::from_millis(200));
    let mut world = World::real();
    world.backend = Arc::new(|_| panic!("the kernel's notification is not wanted"));
    let engine = Engine::start_in(world, vec![polled], Duration::ZERO);
    engine.wait("ready", LONG, |told| told.ready);
    engine.wait_root(|root| root.how == "poll");
    let folder = top.join(".a");
    tells(&engine, &folder, "1");
    let time = Instant::now();
    fs::rename(folder.join("new/1"), folder.join("cur/1:2,S")).unwrap();
    engine.wait("flags", LONG, |told| told.since(&folder, time));
    let time = Instant::now();
    maildir(&top.join(".b"));
    engine.wait("a folder", LONG, |told| told.since(&top.join(".b"), time));
    // Each change may be told twice: when it is seen, and when its tick is over.
    std::thread::sleep(Duration::from_millis(2_500));
    engine.quiet();
    let count = engine.told().count;
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(
        engine.told().count,
        count,
        "nothing happened, and something was told"
    );
}

/// Another machine's directory, played by bindfs(1): what is done to it in its own place, the
/// kernel does not tell of.
struct Far {
    own: PathBuf,
    seen: PathBuf,
    server: Child,
}

impl Far {
    /// Mount `own` at `seen`; `None`, and a word, where that cannot be.
    fn mount(own: PathBuf, seen: PathBuf) -> Option<Self> {
        fs::create_dir(&own).unwrap();
        fs::create_dir(&seen).unwrap();
        let before = fs::metadata(&seen).unwrap().dev();
        let server = Command::new("bindfs").arg("-f").args([&own, &seen]).spawn();
        let Ok(mut server) = server else {
            println!("skipped: there is no bindfs");
            return None;
        };
        let end = Instant::now() + LONG;
        while fs::metadata(&seen).unwrap().dev() == before {
            if server.try_wait().unwrap().is_some() {
                println!("skipped: FUSE is not permitted");
                return None;
            }
            assert!(Instant::now() < end, "bindfs does not mount");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Far { own, seen, server })
    }

    fn signal(&self, signal: &str) {
        run("kill", &[signal, &self.server.id().to_string()]);
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.signal("-CONT");
        let _ = Command::new("umount").arg("-l").arg(&self.seen).status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn what_another_machine_writes_is_found_by_looking() {
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let Some(far) = Far::mount(top.join("own"), top.join("seen")) else {
        return;
    };
    maildir(&far.own.join(".a"));
    let engine = Engine::watching(&far.seen);
    engine.wait_root(|root| root.how == "both");
    // What this machine does there, the kernel tells.
    tells(&engine, &far.seen.join(".a"), "1");
    engine.quiet();
    let time = deliver(&far.own.join(".a"), "2").unwrap();
    let folder = far.seen.join(".a");
    engine.wait("the message", 3 * LONG, |told| told.since(&folder, time));
    drop(engine);
}

#[test]
fn a_server_that_stops_holds_up_only_its_own_root() {
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let Some(far) = Far::mount(top.join("own"), top.join("seen")) else {
        return;
    };
    maildir(&far.own.join(".a"));
    maildir(&top.join("here"));
    let (slept, world) = sleeper();
    let accounts = [("here", &top.join("here")), ("far", &far.seen)];
    let accounts = accounts.map(|(name, root)| account(name, root, DELAYS));
    let engine = Engine::start_in(world, accounts.to_vec(), Duration::ZERO);
    engine.wait("both", LONG, |told| told.count_ready == 2);
    far.signal("-STOP");
    slept.store(5, Ordering::Relaxed);
    engine.poke();
    tells(&engine, &top.join("here"), "1");
    engine.wait("that it hangs", LONG, |told| {
        let mut frames = told.frames.iter();
        frames.any(|it| it.text.contains("seen has not answered for 10 s"))
    });
    tells(&engine, &top.join("here"), "2");
    far.signal("-CONT");
    engine.wait("that it answers", LONG, |told| {
        told.state == ("watching".to_owned(), String::new())
    });
    tells(&engine, &far.seen.join(".a"), "3");
    drop(engine);
}

/// A file system that does not answer while it hangs.
#[derive(Clone, Default)]
struct Hanging {
    hangs: Arc<AtomicBool>,
    below: PathBuf,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Hanging {
    fn wait(&self, path: &Path) {
        let mut open = self.gate.0.lock().unwrap();
        while !*open && self.hangs.load(Ordering::Relaxed) && path.starts_with(&self.below) {
            open = self.gate.1.wait(open).unwrap();
        }
    }

    fn answer(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

impl Fs for Hanging {
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.wait(path);
        DiskFs.list(path)
    }
    fn open<'a>(&'a self, dir: &'a Path) -> io::Result<Box<dyn Opened + 'a>> {
        Ok(Box::new(ByPath(self, dir)))
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.wait(path);
        DiskFs.stat(path)
    }
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        self.wait(path);
        DiskFs.canonicalize(path)
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.wait(path);
        DiskFs.read_link(path)
    }
    fn remote(&self, path: &Path) -> io::Result<bool> {
        DiskFs.remote(path)
    }
    fn now(&self) -> Wall {
        DiskFs.now()
    }
}

const NAMES: [&str; 2] = ["here", "far"];

/// Maildirs of those names below `top`, the second of which hangs, and a world in which that is so.
fn one_hangs(top: &Path) -> ([PathBuf; 2], Hanging, World) {
    let roots = NAMES.map(|name| top.join(name));
    roots.iter().for_each(|root| maildir(root));
    let hanging = Hanging {
        hangs: Arc::new(AtomicBool::new(true)),
        below: roots[1].clone(),
        ..Hanging::default()
    };
    let fs = hanging.clone();
    let world = World {
        fs: Arc::new(move || Box::new(fs.clone())),
        ..World::real()
    };
    (roots, hanging, world)
}

/// One line of the doctor's report says so, the rest of it is as ever.
#[test]
fn a_hung_file_system_is_a_finding() {
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let (roots, hanging, world) = one_hangs(&top);
    let accounts = NAMES.map(|name| account(name, &top.join(name), DELAYS));
    let engine = Engine::start_in(world, Vec::new(), Duration::ZERO);
    engine.with(|handle| {
        let examine = Examine::Accounts {
            accounts: accounts.to_vec(),
            runtime: None,
        };
        let errand = Errand::Examine(Box::new(examine));
        handle.errand("doctor".to_owned(), 1, errand).unwrap();
    });
    let says = |told: &Told, text: String| told.frames.iter().any(|it| it.text.contains(&text));
    engine.wait("what is found", LONG, |told| {
        says(
            told,
            format!("{} has not answered for 4 seconds", roots[1].display()),
        ) && says(told, format!("1 folder in {}", roots[0].display()))
    });
    hanging.answer();
}

#[test]
fn a_hung_file_system_holds_up_only_its_own_root() {
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let (roots, hanging, world) = one_hangs(&top);
    let accounts = NAMES.map(|name| account(name, &top.join(name), DELAYS));
    let engine = Engine::start_in(world, accounts.to_vec(), Duration::ZERO);
    engine.wait("the other", LONG, |told| told.count_ready == 1);
    tells(&engine, &roots[0], "1");
    // After ten seconds it is said.
    engine.wait("that it hangs", LONG, |told| {
        let mut frames = told.frames.iter();
        frames.any(|it| it.text.contains("far has not answered for 10 s"))
    });
    tells(&engine, &roots[0], "2");
    engine.wait_status(|status| {
        let states = status.accounts.iter().map(|it| (&*it.name, it.state));
        states.eq([("here", "watching"), ("far", "waiting")])
    });
    // Another configuration waits for it no more than this one.
    let mut more = accounts.to_vec();
    maildir(&top.join("more"));
    more.push(account("more", &top.join("more"), DELAYS));
    engine.with(|handle| handle.configure(more).unwrap());
    engine.wait("one more", LONG, |told| told.count_ready == 2);
    hanging.answer();
    engine.wait("the far one", LONG, |told| told.count_ready == 3);
    tells(&engine, &roots[1], "3");
}
