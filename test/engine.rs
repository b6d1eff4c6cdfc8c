//! The engine's real threads over a real pipe: what the simulator cannot show.

mod support;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mailsync_module::engine::actor::{Handle, World};
use mailsync_module::engine::config::{AccountConfig, SyncConfig};
use mailsync_module::engine::core::Input;
use mailsync_module::engine::pipe::Pipe;
use mailsync_module::errand::Errand;
use mailsync_module::schedule::Timing;
use mailsync_module::syncer::{self, Command, Syncer};
use mailsync_module::watch::inbox::{Event, Inbox};
use mailsync_module::watch::spot::Spot;
use mailsync_module::watch::{Backend, MakeBackend, WatchError, Watched};

use support::{ACCOUNT, DELAYS, Deaf, Engine, LONG, account, maildir, wait};

/// A backend that hears nothing, and what comes by its inboxes.
fn deaf() -> (MakeBackend, Receiver<Arc<Inbox>>) {
    let (given, inboxes) = channel();
    let given = Mutex::new(given);
    let backend: MakeBackend = Arc::new(move |inbox| {
        given.lock().unwrap().send(inbox).unwrap();
        Ok(Box::new(Deaf))
    });
    (backend, inboxes)
}

#[test]
fn an_overflow_is_made_good_by_a_rescan() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    maildir(&root.path().join(".a"));
    let (backend, inboxes) = deaf();
    let mut engine = Engine::start(root.path(), DELAYS, backend);
    engine.hear("ready\0w\0");
    let inbox = inboxes.recv_timeout(LONG).unwrap();
    fs::write(root.path().join(".a/new/1"), "").unwrap();
    inbox.put(Event::Overflow);
    let frame = engine.hear("change\0w\0a\0");
    assert!(frame.contains("\0u\0l\0"), "{frame:?}");
}

#[test]
fn a_worker_that_panics_is_an_error_state_and_stops_nobody() {
    struct Panics;
    impl Backend for Panics {
        fn watch(&mut self, _: &[Spot], _: bool) -> Vec<Result<Watched, WatchError>> {
            panic!("on purpose")
        }
        fn unwatch(&mut self, _: &[Spot]) {}
    }
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    let backend: MakeBackend = Arc::new(|_| Ok(Box::new(Panics)));
    let mut engine = Engine::start(root.path(), DELAYS, backend);
    let frame = engine.hear("state\0w\0error\0");
    assert!(frame.contains("on purpose"), "{frame:?}");
    assert!(frame.contains("mailsync-restart"), "{frame:?}");
    // The engine still answers.
    let names = vec![root.path().to_owned()];
    engine.with(|handle| {
        let errand = Errand::Resolve(names);
        handle.errand("slot".to_owned(), 7, errand).unwrap();
    });
    engine.hear("answer\0slot\0");
}

#[test]
fn an_acknowledgement_is_heard_though_nothing_else_happens() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    let engine = Engine::watching(root.path());
    support::deliver(root.path(), "1").unwrap();
    engine.wait_status(|status| status.delivered == 1 && !status.in_flight && status.held == 0);
}

/// Whether the engine is to wait when it has taken in what a worker found, and whether it does.
static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
static WAITS: AtomicBool = AtomicBool::new(false);
/// Tests that use the gate.
static GUARD: Mutex<()> = Mutex::new(());

fn wait_at_the_gate() {
    let closed = GATE.0.lock().unwrap();
    WAITS.store(*closed, Ordering::SeqCst);
    drop(GATE.1.wait_while(closed, |closed| *closed).unwrap());
}

/// Have the engine wait, once it has seen a new folder.
fn hold(inbox: &Inbox, folder: PathBuf) {
    *GATE.0.lock().unwrap() = true;
    maildir(&folder);
    inbox.put(Event::Created(folder));
    wait("the engine waits", || WAITS.swap(false, Ordering::SeqCst));
}

/// Have it go on.  What was sent to it meanwhile it finds at the same moment, and which of it, it takes
/// first is chance.
fn let_go() {
    *GATE.0.lock().unwrap() = false;
    GATE.1.notify_all();
}

/// An account with a syncer that writes its number into this file, and ends when that is gone.
fn synced(root: &Path, held: &Path) -> AccountConfig {
    let held = held.display();
    let script = format!("echo $$ >'{held}'; while [ -e '{held}' ]; do sleep 0.01; done");
    let words = ["/bin/sh", "-c", &script, "sh", "%f"].map(OsString::from);
    let program = syncer::Program::Command(Command {
        words: words.to_vec(),
        all: None,
        naming: syncer::Naming::Utf8,
        separator: None,
        prefix: None,
        per_folder: false,
    });
    let (timing, syncer) = (Timing::once(), Syncer::new(program));
    AccountConfig {
        sync: Some(SyncConfig { timing, syncer }),
        ..account(ACCOUNT, root, DELAYS)
    }
}

#[test]
fn what_a_sync_has_written_is_told_with_its_end() {
    let _alone = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().unwrap();
    let held = root.path().join("held");
    let mail = root.path().join("mail");
    let folder = mail.join(".a");
    maildir(&mail);
    maildir(&folder);
    let (backend, inboxes) = deaf();
    let world = World {
        backend,
        looked: wait_at_the_gate,
        runtime: Some(root.path().join("run")),
        ..World::real()
    };
    let account = synced(&mail, &held);
    let mut engine = Engine::start_in(world, vec![account], Duration::ZERO);
    engine.hear("ready\0w\0");
    let inbox = inboxes.recv_timeout(LONG).unwrap();
    let mut number = None;
    for round in 0..10 {
        engine
            .with(|handle| handle.input(Input::Sync(None, None, round as i64)))
            .unwrap();
        engine.hear("syncing\0w\0");
        let says = || fs::read_to_string(&held).unwrap_or_default();
        wait("the syncer says its number", || says().ends_with('\n'));
        // Of the run before, which the engine knows by now; of this one it may hear too late.
        let Some(writer) = number.replace(says()) else {
            fs::remove_file(&held).unwrap();
            engine.hear("synced\0w\0");
            continue;
        };
        hold(&inbox, mail.join(format!(".b{round}")));
        let name = format!("new/1700000000.{}_{round}.host,U={round}", writer.trim());
        inbox.put(Event::Created(folder.join(name)));
        fs::remove_file(&held).unwrap();
        // Long enough for it to end; if it is not, nothing is shown.
        thread::sleep(Duration::from_millis(50));
        let_go();
        let frame = engine.hear("synced\0w\0");
        let told = engine.told();
        let so_far = told.frames.split_inclusive(|it| it.text == frame).next();
        let changes = so_far.iter().flat_map(|it| it.iter());
        let changes = changes.filter(|it| it.text.contains("change\0w\0a\0"));
        assert_eq!(changes.count(), round, "{frame:?}");
    }
}

/// The next frame: its generation, its number, and what it says.
fn frame(reader: &mut impl BufRead) -> (i64, u64, String) {
    let mut header = String::new();
    reader.read_line(&mut header).unwrap();
    let numbers: Vec<u64> = (header.trim().split(' ').skip(1))
        .map(|it| it.parse().unwrap())
        .collect();
    let [1, generation, sequence, length] = numbers[..] else {
        panic!("not a header: {header:?}");
    };
    let mut payload = vec![0; length as usize + 1];
    reader.read_exact(&mut payload).unwrap();
    let text = String::from_utf8_lossy(&payload).into_owned();
    (generation as i64, sequence, text)
}

#[test]
fn what_was_read_of_an_old_pipe_sends_nothing_through_a_new_one() {
    let _alone = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..10 {
        let root = tempfile::tempdir().unwrap();
        for folder in ["", ".a", ".b"] {
            maildir(&root.path().join(folder));
        }
        let (backend, inboxes) = deaf();
        let world = World {
            backend,
            looked: wait_at_the_gate,
            ..World::real()
        };
        let (reader, writer) = io::pipe().unwrap();
        let mut reader = BufReader::new(reader);
        let pipe = Pipe::new(writer).unwrap();
        let accounts = vec![account(ACCOUNT, root.path(), DELAYS)];
        let handle = Handle::start_with(accounts, 1, pipe, world).unwrap();
        let inbox = inboxes.recv_timeout(LONG).unwrap();
        let mut read = |what: &str| {
            loop {
                let (generation, sequence, text) = frame(&mut reader);
                if text.contains(what) {
                    return sequence;
                }
                handle.acknowledge(generation, sequence).unwrap();
            }
        };
        let ready = read("ready\0w\0");
        handle.acknowledge(1, ready).unwrap();
        inbox.put(Event::Created(root.path().join(".a/new/1")));
        let sequence = read("change\0w\0a\0");
        // It is due while the engine waits.
        inbox.put(Event::Created(root.path().join(".b/new/1")));
        hold(&inbox, root.path().join(".c"));
        thread::sleep(2 * DELAYS.quiet);
        let (reader, writer) = io::pipe().unwrap();
        handle.acknowledge(1, sequence).unwrap();
        handle.attach(2, Pipe::new(writer).unwrap()).unwrap();
        let_go();
        let (generation, _, text) = frame(&mut BufReader::new(reader));
        handle.stop();
        assert_eq!(generation, 2, "{text:?}");
    }
}
