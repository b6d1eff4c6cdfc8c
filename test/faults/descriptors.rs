//! A process whose descriptors run out in the middle of work: whoever needs another one says so,
//! and has it when there is one.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use mailsync_module::engine::actor::World;
use mailsync_module::engine::config::{AccountConfig, RemoteConfig, RemoteStore};
use mailsync_module::remote::attempts::Retry;
use mailsync_module::remote::names;
use mailsync_module::remote::watcher::Program;
use mailsync_module::schedule::{Phase, SyncState};

use super::support::{ACCOUNT, DELAYS, Engine, LONG, account, in_namespace, maildir};
use super::{hurry, is_well, noting, stands, synced};

/// What the user is told to do.
const ADVICE: &str = "ulimit -n";

/// In a child that may have few files open.
fn few(test: &str) -> bool {
    in_namespace(test, "-Ur", "ulimit -n 96")
}

/// Take all descriptors that there are, again and again: what somebody gives back is gone, too.
struct Hoard(RefCell<Vec<File>>);

impl Hoard {
    fn all() -> Self {
        let hoard = Hoard(RefCell::default());
        hoard.more();
        hoard
    }

    fn more(&self) {
        let more = std::iter::from_fn(|| File::open("/dev/null").ok());
        self.0.borrow_mut().extend(more);
    }

    /// All but so many.
    fn leaving(count: usize) -> Self {
        let hoard = Hoard::all();
        let mut files = hoard.0.borrow_mut();
        let left = files.len() - count;
        files.truncate(left);
        drop(files);
        hoard
    }
}

/// A message that can be put into a folder without a descriptor.
fn prepared(root: &Path, name: &str) {
    fs::write(root.join("tmp").join(name), "x").unwrap();
}

fn put(root: &Path, name: &str) -> Instant {
    let time = Instant::now();
    fs::rename(root.join("tmp").join(name), root.join("new").join(name)).unwrap();
    time
}

#[test]
fn a_syncer_that_cannot_be_started_is_when_it_can() {
    if !few("descriptors::a_syncer_that_cannot_be_started_is_when_it_can") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let (root, log) = (top.join("Mail"), top.join("log"));
    maildir(&root);
    let runs = || fs::read_to_string(&log).map(|text| text.lines().count());
    let accounts = vec![synced(account(ACCOUNT, &root, DELAYS), noting(&log), false)];
    let engine = Engine::start_in(World::real(), accounts, Duration::ZERO);
    stands(&engine, is_well);
    let mut failed = 0;
    for left in [0, 2, 4, 5, 6, 7, 8, 12] {
        let before = runs().unwrap();
        let name = left.to_string();
        prepared(&root, &name);
        let hoard = Hoard::leaving(left);
        // The kernel tells of it, since that needs no further descriptor.
        let time = put(&root, &name);
        engine.wait("the message", LONG, |told| told.since(&root, time));
        let fails = |state: &SyncState| state.phase == Phase::Failing;
        let more = || runs().is_ok_and(|runs| runs > before);
        stands(&engine, |state| fails(state) || is_well(state) && more());
        let state = engine.status().accounts[0].sync.clone().unwrap();
        drop(hoard);
        if fails(&state) {
            assert!(state.text.contains(ADVICE), "{left}: {}", state.text);
            failed += 1;
            if failed > 1 {
                // It need not wait for its time here once more.
                hurry(&engine);
            }
        }
        stands(&engine, |state| is_well(state) && more());
    }
    assert!((1..8).contains(&failed), "{failed}");
    println!("{failed} failed");
}

#[test]
fn a_folder_that_comes_meanwhile_is_found_afterwards() {
    if !few("descriptors::a_folder_that_comes_meanwhile_is_found_afterwards") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(top.path()).unwrap().join("Mail");
    maildir(&root);
    prepared(&root, "1");
    let engine = Engine::watching(&root);
    let hoard = Hoard::all();
    maildir(&root.join(".a"));
    engine.wait(ADVICE, LONG, |told| told.state.1.contains(ADVICE));
    let time = put(&root, "1");
    engine.wait("the message", LONG, |told| told.since(&root, time));
    drop(hoard);
    let folder = root.join(".a");
    engine.wait("the folder", 2 * LONG, |told| told.alive.contains(&folder));
    engine.wait("no trouble", LONG, |told| {
        told.state == ("watching".to_owned(), String::new())
    });
}

/// An account with a store elsewhere, and no maildir.
fn far(store: RemoteStore) -> Engine {
    let remote = RemoteConfig {
        store,
        retry: Retry {
            inter: Duration::ZERO,
            max: Duration::from_secs(5),
        },
        folders: Vec::new(),
    };
    let accounts = vec![AccountConfig {
        roots: Vec::new(),
        remotes: vec![remote],
        ..account(ACCOUNT, Path::new("/"), DELAYS)
    }];
    Engine::start_in(World::real(), accounts, Duration::ZERO)
}

/// Wait until the only store stands so.
fn far_stands(engine: &Engine, state: &str, text: &str) {
    engine.wait_status(|status| {
        let store = status.accounts.first().and_then(|it| it.remotes.first());
        store.is_some_and(|it| it.stand.state == state && it.stand.text.contains(text))
    });
}

#[test]
fn a_watcher_that_cannot_be_started_again_is_when_it_can() {
    if !few("descriptors::a_watcher_that_cannot_be_started_again_is_when_it_can") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let life = top.path().join("life");
    fs::write(&life, "").unwrap();
    let script = format!(
        "echo; while [ -e '{}' ]; do sleep 0.02; done; exit 1",
        life.display()
    );
    let path = super::syncing::path();
    let engine = far(RemoteStore::Program(Program {
        argv: ["sh", "-c", &script].map(Into::into).to_vec(),
        search: path,
        environment: vec!["PATH=/usr/bin:/bin".into()],
        naming: names::Naming::default(),
    }));
    far_stands(&engine, "connected", "");
    let hoard = Hoard::all();
    fs::remove_file(&life).unwrap();
    engine.wait_status(|status| {
        hoard.more();
        let stand = &status.accounts[0].remotes[0].stand;
        stand.state == "waiting" && stand.text.contains(ADVICE)
    });
    drop(hoard);
    fs::write(&life, "").unwrap();
    hurry(&engine);
    far_stands(&engine, "connected", "");
}

#[test]
#[cfg(feature = "imap")]
fn a_server_that_cannot_be_reached_is_when_it_can() {
    use mailsync_module::remote::imap::line::{Server, Source};
    use mailsync_module::remote::imap::session::Settings;
    use mailsync_module::remote::imap::wire::Way;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    if !few("descriptors::a_server_that_cannot_be_reached_is_when_it_can") {
        return;
    }
    // One that goes away as soon as it is reached.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    thread::spawn(move || {
        for connection in listener.incoming() {
            count.fetch_add(usize::from(connection.is_ok()), Ordering::Relaxed);
        }
    });
    let engine = far(RemoteStore::Imap(Box::new(Server {
        way: Way::Host("127.0.0.1".to_owned(), port, false),
        pin: None,
        source: Source::Emacs,
        settings: Settings::new("bob", "127.0.0.1", port),
    })));
    far_stands(&engine, "waiting", "");
    let hoard = Hoard::all();
    engine.wait_status(|status| {
        hoard.more();
        let stand = &status.accounts[0].remotes[0].stand;
        stand.state == "waiting" && stand.text.contains(ADVICE)
    });
    drop(hoard);
    let before = reached.load(Ordering::Relaxed);
    hurry(&engine);
    engine.wait_status(|_| reached.load(Ordering::Relaxed) > before);
}
