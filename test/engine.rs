//! The engine's real threads over a real pipe: what the simulator cannot show.

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::channel;

use mailsync_module::errand::Errand;
use mailsync_module::watch::inbox::{Event, Inbox};
use mailsync_module::watch::spot::Spot;
use mailsync_module::watch::{Backend, MakeBackend, WatchError, Watched};

use support::{DELAYS, Deaf, Engine, LONG, maildir};

#[test]
fn an_overflow_is_made_good_by_a_rescan() {
    let root = tempfile::tempdir().unwrap();
    maildir(root.path());
    maildir(&root.path().join(".a"));
    let (given, inboxes) = channel::<Arc<Inbox>>();
    let given = std::sync::Mutex::new(given);
    let backend: MakeBackend = Arc::new(move |inbox| {
        given.lock().unwrap().send(inbox).unwrap();
        Ok(Box::new(Deaf))
    });
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
