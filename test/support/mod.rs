//! What the tests of the engine's real threads share: an engine over a real pipe, and a reader
//! that does what Lisp's filter does.
#![allow(dead_code)] // each test target uses its part

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, panic, thread};

use mailsync_module::coalesce::Delays;
use mailsync_module::engine::actor::{Handle, World};
use mailsync_module::engine::config::{AccountConfig, RootConfig};
use mailsync_module::engine::core::Input;
use mailsync_module::engine::pipe::Pipe;
use mailsync_module::engine::status::{RootStatus, Status};
use mailsync_module::maildir::Layout;
use mailsync_module::watch::spot::Spot;
use mailsync_module::watch::{self, Backend, MakeBackend, WatchError, Watched};

/// How long a test waits for what must happen, on a machine that does other things.
pub const LONG: Duration = Duration::from_secs(20);

/// The name of the only account.
pub const ACCOUNT: &str = "w";

/// How long the engines of these tests merge changes.
pub const DELAYS: Delays = Delays {
    quiet: Duration::from_millis(20),
    longest: Duration::from_millis(100),
};

/// Look again and again until it is done, for as long as a test waits.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "not within time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Make `path` a folder.
pub fn maildir(path: &Path) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(part)).unwrap();
    }
}

/// The kernel's notification, as users have it.
pub fn kernel() -> MakeBackend {
    watch::kernel()
}

/// An account with one root.
pub fn account(name: &str, root: &Path, delays: Delays) -> AccountConfig {
    AccountConfig {
        name: name.to_owned(),
        roots: vec![RootConfig {
            directory: root.to_owned(),
            layout: Layout::Auto,
            poll: None,
        }],
        delays,
        quiet: true,
        sync: None,
        remotes: Vec::new(),
    }
}

/// A backend that watches nothing.
pub struct Deaf;

impl Backend for Deaf {
    fn watch(&mut self, all: &[Spot], anew: bool) -> Vec<Result<Watched, WatchError>> {
        let watched = if anew { Watched::Same } else { Watched::New };
        all.iter().map(|_| Ok(watched)).collect()
    }
    fn unwatch(&mut self, _: &[Spot]) {}
}

/// Set in a child that has been given what the test needs.
const CHILD: &str = "MAILSYNC_TEST_CHILD";

/// Whether this is such a child.
pub fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Run this test again, in a child that `prefix` starts; true in that child.
pub fn again(test: &str, prefix: &mut Command) -> bool {
    if is_child() {
        return true;
    }
    let me = env::current_exe().unwrap();
    let how = ["--exact", test, "--nocapture", "--include-ignored"];
    let output = prefix.arg(me).args(how).env(CHILD, "1").output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    print!("{out}");
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "{out}");
    false
}

/// Run this test again in namespaces of its own, by unshare(1) with these options, after `shell`
/// has set it up; true in that child.
pub fn in_namespace(test: &str, options: &str, shell: &str) -> bool {
    if is_child() {
        return true;
    }
    let unshare = |shell: &str| {
        let mut command = Command::new("unshare");
        command.args([options, "sh", "-c", shell]);
        command
    };
    let probe = unshare(shell).output();
    if !probe.as_ref().is_ok_and(|it| it.status.success()) {
        println!("skipped: no namespace to be had: {probe:?}");
        return false;
    }
    again(
        test,
        &mut unshare(&format!("{shell} && exec \"$0\" \"$@\"")),
    )
}

/// Deliver a message as an MDA does, and say when.
///
/// # Errors
/// When the folder is not there, or goes by another name by now.
pub fn deliver(folder: &Path, name: &str) -> io::Result<Instant> {
    let tmp = folder.join("tmp").join(name);
    fs::write(&tmp, "x")?;
    let time = Instant::now();
    fs::rename(&tmp, folder.join("new").join(name)).map(|()| time)
}

/// What one frame said, and when it was read.
pub struct Frame {
    pub at: Instant,
    pub text: String,
}

/// Everything that an engine has said so far.
#[derive(Default)]
pub struct Told {
    pub frames: Vec<Frame>,
    /// When changes of the folder with this truename were read.
    pub changes: HashMap<PathBuf, Vec<Instant>>,
    /// The folders that exist as far as was told; those of the first look are not, the test knows
    /// them.
    pub alive: BTreeSet<PathBuf>,
    /// Changes in all.
    pub count: usize,
    /// The account's state and its text.
    pub state: (String, String),
    /// By its number, the states that a remote store went through, and their texts.
    pub remotes: HashMap<String, Vec<(String, String)>>,
    /// The questions for a secret: the numbers of store and connection, and whether it is another one.
    pub secrets: Vec<(usize, u64, bool)>,
    pub ready: bool,
    pub count_ready: usize,
}

impl Told {
    /// When a change of this folder was read for the first time since this one.
    pub fn first(&self, real: &Path, since: Instant) -> Option<Instant> {
        let times = self.changes.get(real)?;
        times.get(times.partition_point(|at| *at < since)).copied()
    }

    /// Whether a change of this folder was read at this time or later.
    pub fn since(&self, real: &Path, time: Instant) -> bool {
        self.first(real, time).is_some()
    }

    fn frame(&mut self, at: Instant, payload: &[u8]) {
        let mut fields = payload.split(|byte| *byte == 0);
        let path = |field: &[u8]| PathBuf::from(OsStr::from_bytes(field));
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        loop {
            let mut next = || fields.next().expect("a field");
            match next() {
                b"" => break,
                b"change" => {
                    let (_account, _name, directory, real) = (next(), next(), next(), next());
                    let (kinds, _origins) = (text(next()), next());
                    let (_serial, _seen) = (next(), next());
                    let real = path(if real.is_empty() { directory } else { real });
                    if kinds.contains('c') {
                        self.alive.insert(real.clone());
                    } else if kinds.contains('d') {
                        self.alive.remove(&real);
                    }
                    self.count += 1;
                    self.changes.entry(real).or_default().push(at);
                }
                b"state" => {
                    next();
                    self.state = (text(next()), text(next()));
                }
                b"ready" => {
                    let [_account, _directory] = [next(), next()];
                    self.ready = true;
                    self.count_ready += 1;
                }
                b"remote" => {
                    let [_account, number, _what] = [next(), next(), next()];
                    let now = (text(next()), text(next()));
                    self.remotes.entry(text(number)).or_default().push(now);
                }
                b"secret" => {
                    next();
                    let [store, connection] = [text(next()), text(next())];
                    let [_host, _port, _user] = [next(), next(), next()];
                    let numbers = (store.parse().unwrap(), connection.parse().unwrap());
                    self.secrets.push((numbers.0, numbers.1, next() == b"1"));
                }
                b"sync" => (0..6).for_each(|_| _ = next()),
                record @ (b"syncing" | b"synced") => {
                    let fixed = if record == b"syncing" { 3 } else { 12 };
                    (0..fixed).for_each(|_| _ = next());
                    let count: usize = text(next()).parse().unwrap();
                    (0..count).for_each(|_| _ = next());
                }
                b"log" => drop((next(), next())),
                b"bye" => drop(next()),
                b"answer" => {
                    let [_, _, _, _, count] = [next(), next(), next(), next(), next()];
                    let count: usize = text(count).parse().unwrap();
                    (0..count).for_each(|_| _ = next());
                }
                other => panic!("an unknown record: {:?}", text(other)),
            }
        }
        self.frames.push(Frame {
            at,
            text: text(payload),
        });
    }
}

#[derive(Default)]
struct Ear {
    told: Mutex<Told>,
    news: Condvar,
}

impl Ear {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine, and the thread that reads what it says and acknowledges it.
pub struct Engine {
    handle: Arc<Mutex<Option<Handle>>>,
    ear: Arc<Ear>,
    /// Frames that `hear` has gone past.
    heard: usize,
}

impl Engine {
    /// An engine for one account with one root; each frame is acknowledged when it is read.
    pub fn start(root: &Path, delays: Delays, backend: MakeBackend) -> Self {
        Self::start_slowly(root, delays, backend, Duration::ZERO)
    }

    /// As `start`, but Lisp is busy for that long whenever it has to read.
    pub fn start_slowly(root: &Path, delays: Delays, backend: MakeBackend, busy: Duration) -> Self {
        let world = World {
            backend,
            ..World::real()
        };
        Self::start_in(world, vec![account(ACCOUNT, root, delays)], busy)
    }

    /// An engine for these accounts, in this world; Lisp is busy for that long whenever it reads.
    pub fn start_in(world: World, accounts: Vec<AccountConfig>, busy: Duration) -> Self {
        let (reader, writer) = io::pipe().unwrap();
        let pipe = Pipe::new(writer).unwrap();
        let handle = Handle::start_with(accounts, 1, pipe, world).unwrap();
        loud_panics();
        let handle = Arc::new(Mutex::new(Some(handle)));
        let ear = Arc::new(Ear::default());
        let (mouth, listener) = (handle.clone(), ear.clone());
        thread::spawn(move || listen(reader, &mouth, &listener, busy));
        Engine {
            handle,
            ear,
            heard: 0,
        }
    }

    /// As `start`, with the kernel's notification; returns when the root has been looked at.
    pub fn watching(root: &Path) -> Self {
        let engine = Self::start(root, DELAYS, kernel());
        engine.wait("ready", LONG, |told| told.ready);
        engine
    }

    /// What it has said so far.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.ear.lock()
    }

    /// Wait until what it has said satisfies `enough`; false when it never did.
    pub fn waited(&self, limit: Duration, mut enough: impl FnMut(&Told) -> bool) -> bool {
        let left = |told: &mut Told| !enough(told);
        let told = self.ear.lock();
        let waited = self.ear.news.wait_timeout_while(told, limit, left);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// As `waited`, but it must.
    pub fn wait(&self, what: &str, limit: Duration, enough: impl FnMut(&Told) -> bool) {
        assert!(self.waited(limit, enough), "nobody says: {what}");
    }

    /// The first frame after the one that was heard last that says `what`.
    pub fn hear(&mut self, what: &str) -> String {
        let heard = self.heard;
        let find = |told: &Told| {
            let mut later = told.frames.iter().enumerate().skip(heard);
            later.find_map(|(at, frame)| frame.text.contains(what).then_some(at))
        };
        self.wait(what, LONG, |told| find(told).is_some());
        let told = self.ear.lock();
        let at = find(&told).unwrap();
        self.heard = at + 1;
        told.frames[at].text.clone()
    }

    /// Wait until it has nothing more to say: no change waits, and none came for a while.
    pub fn quiet(&self) {
        let end = Instant::now() + LONG;
        loop {
            let before = self.told().count;
            thread::sleep(2 * DELAYS.longest);
            if self.told().count == before && self.status().held == 0 {
                return;
            }
            assert!(Instant::now() < end, "it never comes to rest");
        }
    }

    /// Do something with the handle.
    pub fn with<T>(&self, act: impl FnOnce(&mut Handle) -> T) -> T {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        act(handle.as_mut().expect("an engine"))
    }

    /// End it as Emacs does when it ends itself.
    pub fn farewell(&self, most: Duration) {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        handle.take().expect("an engine").farewell(most);
    }

    /// Wake it, for nothing.
    pub fn poke(&self) {
        self.with(|handle| handle.input(Input::Tick).unwrap());
    }

    /// Its last snapshot.
    pub fn status(&self) -> Status {
        self.with(|handle| handle.status().clone())
    }

    /// Wait until the snapshot is like this: it comes a little later than what is told.
    pub fn wait_status(&self, enough: impl Fn(&Status) -> bool) {
        let end = Instant::now() + LONG;
        loop {
            let status = self.status();
            if enough(&status) {
                return;
            }
            assert!(Instant::now() < end, "it never comes to that: {status:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Wait until the snapshot of the first root is like this.
    pub fn wait_root(&self, enough: impl Fn(&RootStatus) -> bool) {
        self.wait_status(|status| {
            let root = status.accounts.first().and_then(|it| it.roots.first());
            root.is_some_and(&enough)
        });
    }

    /// The last snapshot of the only root.
    pub fn root(&self) -> RootStatus {
        self.status().accounts[0].roots[0].clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let handle = self
            .handle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        handle.into_iter().for_each(Handle::stop);
    }
}

fn listen(mut reader: impl Read, handle: &Mutex<Option<Handle>>, ear: &Ear, busy: Duration) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        let at = Instant::now();
        bytes.extend_from_slice(&buffer[..count]);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let header = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let numbers: Vec<u64> = header
                .split(' ')
                .skip(1)
                .map(|it| it.parse().unwrap())
                .collect();
            let [1, 1, sequence, length] = numbers[..] else {
                panic!("not a header: {header:?}");
            };
            let length = usize::try_from(length).unwrap();
            let whole = end + 1 + length + 1;
            if bytes.len() < whole {
                break;
            }
            assert_eq!(bytes[whole - 1], b'\n', "out of step");
            ear.lock().frame(at, &bytes[end + 1..whole - 1]);
            ear.news.notify_all();
            bytes.drain(..whole);
            thread::sleep(busy);
            let handle = handle.lock().unwrap_or_else(PoisonError::into_inner);
            // One that has ended wants no acknowledgement.
            let _ = handle.as_ref().map(|it| it.acknowledge(1, sequence));
        }
    }
}

/// The engine keeps panics off the terminal, its own; a test's are to be seen.
fn loud_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let quiet = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = ["mailsync", "notify"];
            let thread = thread::current();
            let name = thread.name().unwrap_or_default();
            if ours.iter().any(|it| name.starts_with(it)) {
                quiet(info);
            } else {
                eprintln!("{info}");
            }
        }));
    });
}
