//! The engine's real threads over a real pipe: what the simulator cannot show.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use mailsync_module::coalesce::Delays;
use mailsync_module::engine::actor::{Handle, World};
use mailsync_module::engine::config::{AccountConfig, RootConfig};
use mailsync_module::engine::pipe::Pipe;
use mailsync_module::maildir::Layout;
use mailsync_module::watch::inbox::{Event, Inbox};
use mailsync_module::watch::{Backend, MakeBackend, WatchError};

const LONG: Duration = Duration::from_secs(20);

fn maildir(path: &Path) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(part)).unwrap();
    }
}

/// Start an engine for one account; what it says comes out of the receiver, frame by frame.
fn start(root: &Path, backend: MakeBackend) -> (Handle, Receiver<String>) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let account = AccountConfig {
        name: "w".to_owned(),
        roots: vec![RootConfig {
            directory: root.to_owned(),
            layout: Layout::Auto,
            poll: None,
        }],
        delays: Delays {
            quiet: Duration::from_millis(10),
            longest: Duration::from_millis(100),
        },
    };
    let pipe = Pipe::new(writer).unwrap();
    let world = World {
        backend,
        ..World::real()
    };
    let handle = Handle::start_with(vec![account], 1, pipe, world).unwrap();
    let (told, hear) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if told.send(text).is_err() {
                return;
            }
        }
    });
    (handle, hear)
}

/// Acknowledge frames until one says `what`; returns it.
fn hear(handle: &Handle, heard: &Receiver<String>, what: &str) -> String {
    let end = Instant::now() + LONG;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let frame = heard
            .recv_timeout(left)
            .unwrap_or_else(|_| panic!("nobody says {what:?}"));
        let sequence = frame.split(' ').nth(3).unwrap().parse().unwrap();
        handle.acknowledge(1, sequence).unwrap();
        if frame.contains(what) {
            return frame;
        }
    }
}

/// A backend that watches nothing, and hands its inbox to the test.
struct Silent;

impl Backend for Silent {
    fn watch(&mut self, _: &[PathBuf]) -> Vec<(PathBuf, WatchError)> {
        Vec::new()
    }
    fn unwatch(&mut self, _: &[PathBuf]) {}
}

#[test]
fn an_overflow_is_made_good_by_a_rescan() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    maildir(&root.path().join(".a"));
    let (given, inboxes) = channel::<Arc<Inbox>>();
    let given = std::sync::Mutex::new(given);
    let backend: MakeBackend = Arc::new(move |inbox| {
        given.lock().unwrap().send(inbox).unwrap();
        Ok(Box::new(Silent))
    });
    let (handle, heard) = start(root.path(), backend);
    hear(&handle, &heard, "ready\0w\0");
    let inbox = inboxes.recv_timeout(LONG).unwrap();
    fs::write(root.path().join(".a/new/1"), "").unwrap();
    inbox.put(Event::Overflow);
    let frame = hear(&handle, &heard, "change\0w\0a\0");
    assert!(frame.contains("\0u\0l\0"), "{frame:?}");
    handle.stop();
}

#[test]
fn a_worker_that_panics_is_an_error_state_and_stops_nobody() {
    struct Panics;
    impl Backend for Panics {
        fn watch(&mut self, _: &[PathBuf]) -> Vec<(PathBuf, WatchError)> {
            panic!("on purpose")
        }
        fn unwatch(&mut self, _: &[PathBuf]) {}
    }
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    let backend: MakeBackend = Arc::new(|_| Ok(Box::new(Panics)));
    let (handle, heard) = start(root.path(), backend);
    let frame = hear(&handle, &heard, "state\0w\0error\0");
    assert!(frame.contains("on purpose"), "{frame:?}");
    assert!(frame.contains("mailsync-restart"), "{frame:?}");
    // The engine still answers.
    handle
        .resolve("slot".to_owned(), 7, vec![root.path().to_owned()])
        .unwrap();
    hear(&handle, &heard, "resolved\0slot\0");
    handle.stop();
}
