//! Syncers and watchers from hell, all at once: each is said to be what it is, none keeps another's
//! mail from being told, and when it is put right its account is well.
//!
//! What the runner and the connection see of such programs are tables of their own
//! (`src/syncer/run/tests.rs`, `test/remote.rs`).

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use mailsync_module::engine::actor::World;
use mailsync_module::engine::config::{AccountConfig, RemoteConfig, RemoteStore};
use mailsync_module::engine::core::Input;
use mailsync_module::engine::status::AccountStatus;
use mailsync_module::remote::attempts::Retry;
use mailsync_module::remote::names;
use mailsync_module::remote::watcher;
use mailsync_module::schedule::Phase;

use super::support::{DELAYS, Engine, LONG, account, deliver, maildir};
use super::{hurry, is_well, synced};

/// What lies where the program should be.
enum Is {
    Nothing,
    Directory,
    File(&'static str, u32),
}
use Is::{Directory, File, Nothing};

impl Is {
    fn put(&self, path: &Path) {
        match self {
            Nothing => {}
            Directory => fs::create_dir(path).unwrap(),
            File(text, mode) => {
                // Renamed into place: one that runs cannot be written to.
                let new = path.with_extension("new");
                fs::write(&new, text).unwrap();
                fs::set_permissions(&new, fs::Permissions::from_mode(*mode)).unwrap();
                fs::rename(new, path).unwrap();
            }
        }
    }
}

/// Put a good one there.
fn mend(path: &Path, text: &'static str) {
    if path.is_dir() {
        fs::remove_dir(path).unwrap();
    }
    File(text, 0o755).put(path);
}

/// Wait until each of the accounts has been so at some time.
fn each(engine: &Engine, is: impl Fn(usize, &AccountStatus) -> bool) {
    let been = RefCell::new(HashSet::new());
    engine.wait_status(|status| {
        let accounts = status.accounts.iter().enumerate();
        let now = accounts.filter(|(at, account)| is(*at, account));
        let mut been = been.borrow_mut();
        been.extend(now.map(|(at, _)| at));
        been.len() > 1 && been.len() == status.accounts.len()
    });
}

#[test]
fn syncers_from_hell() {
    // What it is, and what is said of it.
    let table = [
        (
            Nothing,
            "does not exist, or may not be executed; install it",
        ),
        (
            Directory,
            "does not exist, or may not be executed; install it",
        ),
        (
            File("#!/bin/sh\n", 0o644),
            "does not exist, or may not be executed; install it",
        ),
        (File("#!/no/such/shell\n", 0o755), "the interpreter"),
        (
            File("echo no\n", 0o755),
            "needs a first line like #!/bin/sh",
        ),
        (File("#!/bin/sh\nkill -9 $$\n", 0o755), "ended by signal 9"),
        (
            File("#!/bin/sh\nprintf 'a\\0b\\377\\n'; exit 3\n", 0o755),
            "exited with 3: a b\u{fffd}",
        ),
        (
            File(
                "#!/bin/sh\nhead -c 100000000 /dev/zero | tr '\\0' x; exit 3\n",
                0o755,
            ),
            "exited with 3: xxx",
        ),
        // A child of it keeps the pipes open.
        (
            File("#!/bin/sh\nsleep 1000 & exit 3\n", 0o755),
            "exited with 3",
        ),
        (
            File(
                "#!/bin/sh\ntrap '' TERM; while :; do sleep 1000; done\n",
                0o755,
            ),
            "mailsync-sync-timeout",
        ),
        (
            File("#!/bin/sh\nexec >&- 2>&-; exec sleep 1000\n", 0o755),
            "mailsync-sync-timeout",
        ),
    ];
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let root = |at: usize| top.join(format!("Mail{at}"));
    let file = |at: usize| top.join(format!("syncer{at}"));
    let accounts = table.iter().enumerate().map(|(at, (is, _))| {
        maildir(&root(at));
        is.put(&file(at));
        let syncer = super::command(&[file(at).to_str().unwrap()]);
        let mut account = synced(account(&at.to_string(), &root(at), DELAYS), syncer, false);
        let sync = account.sync.as_mut().unwrap();
        sync.timing.silence = Some(Duration::from_secs(1));
        account
    });
    let engine = Engine::start_in(World::real(), accounts.collect(), Duration::ZERO);
    each(&engine, |at, account| {
        let sync = account.sync.as_ref().unwrap();
        sync.phase == Phase::Failing && sync.text.contains(table[at].1) && sync.text.len() < 1000
    });
    for at in 0..table.len() {
        let time = deliver(&root(at), "1").unwrap();
        engine.wait("the message", LONG, |told| told.since(&root(at), time));
    }
    for at in 0..table.len() {
        mend(&file(at), "#!/bin/sh\n");
    }
    hurry(&engine);
    each(&engine, |_, account| {
        account.sync.as_ref().is_some_and(is_well)
    });
}

/// A watcher that says that it watches, and has nothing more to say.
const GOOD: &str = "#!/bin/sh\necho; exec cat\n";

#[test]
fn watchers_from_hell() {
    // What it is, how its store stands, and what is said of it.
    let table = [
        (Nothing, "paused", "does not exist"),
        (Directory, "paused", "may not be executed; install it"),
        (
            File(GOOD, 0o644),
            "paused",
            "may not be executed; install it",
        ),
        (
            File("#!/no/such/shell\n", 0o755),
            "paused",
            "the interpreter",
        ),
        (File("echo no\n", 0o755), "paused", "needs a first line"),
        (
            File("#!/bin/sh\nexit 0\n", 0o755),
            "waiting",
            "watcher5 ended",
        ),
        (
            File("#!/bin/sh\nkill -9 $$\n", 0o755),
            "waiting",
            "signal 9",
        ),
        (
            File("#!/bin/sh\nprintf 'a\\0b\\377\\n' >&2; exit 3\n", 0o755),
            "waiting",
            "a b\u{fffd}",
        ),
        (
            File(
                "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x; exit 3\n",
                0o755,
            ),
            "waiting",
            "exited with 3",
        ),
        (
            File("#!/bin/sh\nsleep 1000 & exit 3\n", 0o755),
            "waiting",
            "exited with 3",
        ),
        (
            File(
                "#!/bin/sh\nexec >&-; trap '' TERM; while :; do sleep 1000; done\n",
                0o755,
            ),
            "waiting",
            "closed its output",
        ),
        // It may be asking for a password, or far away.
        (File("#!/bin/sh\nexec sleep 1000\n", 0o755), "starting", ""),
    ];
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let root = |at: usize| top.join(format!("Mail{at}"));
    let file = |at: usize| top.join(format!("watcher{at}"));
    let accounts = table.iter().enumerate().map(|(at, (is, ..))| {
        maildir(&root(at));
        is.put(&file(at));
        let store = RemoteStore::Program(watcher::Program {
            argv: vec![file(at).into_os_string()],
            search: Vec::new(),
            environment: vec!["PATH=/usr/bin:/bin".into()],
            naming: names::Naming::default(),
        });
        let remote = RemoteConfig {
            store,
            retry: Retry {
                inter: Duration::ZERO,
                max: Duration::from_secs(5),
            },
            folders: Vec::new(),
        };
        AccountConfig {
            remotes: vec![remote],
            ..account(&at.to_string(), &root(at), DELAYS)
        }
    });
    let engine = Engine::start_in(World::real(), accounts.collect(), Duration::ZERO);
    each(&engine, |at, account| {
        let (_, state, text) = &table[at];
        let stand = &account.remotes[0].stand;
        stand.state == *state && stand.text.contains(text) && stand.text.len() < 1000
    });
    for at in 0..table.len() {
        let time = deliver(&root(at), "1").unwrap();
        engine.wait("the message", LONG, |told| told.since(&root(at), time));
    }
    for at in 0..table.len() {
        mend(&file(at), GOOD);
    }
    // Those that are paused wait for the user, and the one that runs for nobody.
    let silent = table.len() - 1;
    engine.with(|handle| handle.input(Input::Retry).unwrap());
    hurry(&engine);
    each(&engine, |at, account| {
        account.remotes[0].stand.state == "connected" || at == silent
    });
}
