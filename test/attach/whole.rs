//! All of it but Lisp: an engine that watches, what it serves, and the program.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use mailsync_module::engine::actor::{Handle, World};
use mailsync_module::engine::core::Input;
use mailsync_module::engine::pipe::Pipe;
use mailsync_module::frame::read::{Frames, Record};
use mailsync_module::listen::place::Place as Socket;
use mailsync_module::listen::server::Server;

use crate::Place;
use crate::support::{DELAYS, LONG, account};

/// An engine, and the folders that it wants to have checked.
struct Emacs {
    engine: Option<Handle>,
    frames: Receiver<Vec<Record>>,
    number: u64,
    unchecked: Vec<PathBuf>,
}

impl Emacs {
    fn start(place: &Place, timeout: Duration) -> Self {
        let (mut reader, writer) = io::pipe().unwrap();
        let accounts = vec![account("a", &place.root, DELAYS)];
        let writer = Pipe::new(writer).unwrap();
        let engine = Handle::start_with(accounts, 1, writer, World::real()).unwrap();
        let socket = Socket::File(place.socket.clone());
        let (server, _) = Server::start(socket, engine.log()).unwrap();
        engine.listen(Some(Box::new(server)), timeout).unwrap();
        let (tell, frames) = channel();
        thread::spawn(move || {
            let mut frames = Frames::default();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                frames.push(&buffer[..count]);
                while let Some(frame) = frames.take().unwrap() {
                    if tell.send(frame.records).is_err() {
                        return;
                    }
                }
            }
        });
        let mut emacs = Emacs {
            engine: Some(engine),
            frames,
            number: 0,
            unchecked: Vec::new(),
        };
        emacs.until(|record| matches!(record, Record::Ready(_)));
        emacs
    }

    fn engine(&self) -> &Handle {
        self.engine.as_ref().unwrap()
    }

    /// Take in what the engine says until it says this.
    fn until(&mut self, what: impl Fn(&Record) -> bool) {
        loop {
            let records = self.frames.recv_timeout(LONG).unwrap();
            self.number += 1;
            self.engine().acknowledge(1, self.number).unwrap();
            let found = records.iter().any(&what);
            for record in records {
                if let Record::Change { directory, .. } = record {
                    self.unchecked.push(directory);
                }
            }
            if found {
                return;
            }
        }
    }

    /// Wait until a folder is to be checked.
    fn wants_checked(&mut self, folder: PathBuf) {
        if !self.unchecked.contains(&folder) {
            self.until(|it| matches!(it, Record::Change { directory, .. } if *directory == folder));
        }
    }

    /// Gnus has checked it.
    fn checked(&mut self, folder: PathBuf) {
        self.wants_checked(folder.clone());
        self.unchecked.retain(|it| *it != folder);
        let answer = vec![(folder, u64::MAX)];
        self.engine()
            .input(Input::Checked("a".into(), answer))
            .unwrap();
    }
}

impl Drop for Emacs {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }
}

/// What the documentation of mailsync 0.4 showed, which checked first and then printed.
#[test]
fn the_dialogue_of_mailsync_0_4() {
    let place = Place::new(&[".foo"]);
    let (inbox, foo) = (place.folder(""), place.folder(".foo"));
    let mut emacs = Emacs::start(&place, Duration::from_secs(600));
    let program = place.attach(&[]);
    assert_eq!(program.line(), "");
    place.deliver(".foo");
    emacs.checked(foo.clone());
    assert_eq!(program.line(), "foo");
    // The checks that are not done hold up nobody else's.
    place.deliver(".foo");
    emacs.wants_checked(foo.clone());
    place.deliver("");
    emacs.wants_checked(inbox.clone());
    // It splits: the message goes to the other folder.
    let message = fs::read_dir(inbox.join("new"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::rename(message.path(), foo.join("new/split")).unwrap();
    emacs.checked(inbox.clone());
    assert_eq!(program.line(), "INBOX");
    emacs.checked(foo.clone());
    assert_eq!(program.line(), "foo");
    // What it has done is a change of both, each of which is checked.
    emacs.checked(inbox);
    assert_eq!(program.line(), "INBOX");
}

#[test]
fn an_emacs_that_is_stuck_or_stops() {
    let place = Place::new(&[".foo"]);
    let foo = place.folder(".foo");
    let mut emacs = Emacs::start(&place, Duration::from_millis(200));
    let program = place.attach(&[]);
    assert_eq!(program.line(), "");
    place.deliver(".foo");
    let problem = program.problem();
    assert!(problem.contains("does not answer"), "{problem}");
    assert_eq!(program.line(), "");
    place.deliver(".foo");
    assert_eq!(program.line(), "foo");
    emacs.checked(foo);
    let problem = program.problem();
    assert!(problem.contains("attached to"), "{problem}");
    program.until("");
    drop(emacs);
    let problem = program.problem();
    assert!(problem.contains("has gone"), "{problem}");
    program.until("");
    place.deliver(".foo");
    assert_eq!(program.line(), "foo");
    // Another one comes.
    let _emacs = Emacs::start(&place, Duration::from_secs(600));
    assert!(program.problem().contains("attached to"));
    program.until("");
}

/// So that whoever syncs has one sync to do.
#[test]
fn what_a_split_has_changed_comes_together() {
    let place = Place::new(&[".foo", ".other"]);
    let (inbox, foo) = (place.folder(""), place.folder(".foo"));
    let mut emacs = Emacs::start(&place, Duration::from_secs(600));
    let program = place.attach(&[]);
    assert_eq!(program.line(), "");
    place.deliver("");
    emacs.wants_checked(inbox.clone());
    let message = fs::read_dir(inbox.join("new")).unwrap().next();
    fs::rename(message.unwrap().unwrap().path(), foo.join("new/split")).unwrap();
    emacs.checked(inbox.clone());
    emacs.checked(foo);
    emacs.checked(inbox);
    assert_eq!(program.two(), ["INBOX", "foo"]);
    place.deliver(".other");
    emacs.checked(place.folder(".other"));
    assert_eq!(program.line(), "other");
}
