//! The program, and an Emacs that is none: it says what an Emacs says, or something else.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::signal::Signal;

use crate::program::{Program, command};
use crate::support::{LONG, deliver, maildir};
use crate::{Place, text};

/// An Emacs.
struct Fake(UnixListener);

/// Its end of a connection.
struct Line(UnixStream);

impl Fake {
    /// Serve the socket, as Emacs does: it appears when it is served.
    fn serve(place: &Place) -> Self {
        let new = place.socket.with_extension("new");
        let listener = UnixListener::bind(&new).unwrap();
        fs::rename(&new, &place.socket).unwrap();
        Fake(listener)
    }

    fn accept(&self) -> Line {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Line(stream)
    }

    /// Let the program in, and say what it wants to hear first.
    fn welcome(&self, place: &Place) -> Line {
        let mut line = self.accept();
        line.say("mailsync-listen 1\n");
        line.hear();
        line.say(&format!("roots 1\nroot {}\n", text(&place.root)));
        line
    }
}

impl Line {
    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn hear(&mut self) {
        let mut bytes = [0; 9];
        self.0.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"attach 1\n");
    }

    /// A folder was checked.
    fn change(&mut self, place: &Place, directory: &str, name: &str) {
        let root = text(&place.root);
        let folder = place.folder(directory);
        self.say(&format!("change new {root} {} {name}\n", text(&folder)));
    }

    /// Wait until the program has hung up.
    fn ended(&mut self) {
        assert_eq!(self.0.read(&mut [0; 64]).unwrap(), 0);
    }
}

/// It watches by itself, for this reason, and that works.
fn alone(place: &Place, program: &Program, why: &str) {
    let problem = program.problem();
    assert!(problem.contains(why), "{problem}");
    assert!(problem.ends_with("; watching without it"), "{problem}");
    assert_eq!(program.line(), "");
    place.deliver(".foo");
    assert_eq!(program.line(), "foo");
}

/// It is attached again, and that works.
fn attached(place: &Place, program: &Program, line: &mut Line) {
    let problem = program.problem();
    assert!(problem.contains("attached to the Emacs at"), "{problem}");
    // What the maildir's own watcher still says comes before.
    program.until("");
    obeys(place, program, line);
}

/// It says what the Emacs says, and nothing else.
fn obeys(place: &Place, program: &Program, line: &mut Line) {
    place.deliver(".foo");
    line.change(place, ".bar", "bar");
    assert_eq!(program.line(), "bar");
    line.change(place, "", "INBOX");
    assert_eq!(program.line(), "INBOX");
    line.say("doubt\n");
    assert_eq!(program.line(), "");
}

#[test]
fn it_says_what_an_emacs_says() {
    let place = Place::new(&[".foo", ".bar"]);
    let fake = Fake::serve(&place);
    let program = place.attach(&[]);
    let mut line = fake.welcome(&place);
    assert_eq!(program.line(), "");
    obeys(&place, &program, &mut line);
    // In halves, and of other maildirs.
    line.say("change new /else");
    line.say("where /elsewhere x\nchange new ");
    line.change(&Place::new(&[]), "", "INBOX");
    let problem = program.problem();
    assert!(problem.contains("is of no use"), "{problem}");
}

#[test]
fn names_are_as_without_one() {
    let place = Place::new(&[".foo", ".a.b&APw-"]);
    let link = place.root.with_file_name("link");
    std::os::unix::fs::symlink(&place.root, &link).unwrap();
    for (options, expected) in [
        (vec![], ["a.b&APw-", "INBOX"]),
        (vec!["--kinds"], ["new a/bü", "new INBOX"]),
        (vec!["-t", "x.%s", "-i", "In"], ["x.a.b&APw-", "x.In"]),
    ] {
        let fake = Fake::serve(&place);
        let mut command = command(&options);
        command.arg("--socket").arg(&place.socket);
        let program = Program::start(command.arg("--maildir").arg(&link));
        let mut line = fake.welcome(&place);
        program.until("");
        line.change(&place, ".a.b&APw-", "a/bü");
        assert_eq!(program.line(), expected[0]);
        line.change(&place, "", "INBOX");
        assert_eq!(program.line(), expected[1]);
        drop((fake, line));
        program.problem();
        program.until("");
        place.deliver(".a.b&APw-");
        assert_eq!(program.line(), expected[0]);
    }
}

// Security: S46.
#[test]
fn one_that_is_silent_is_done_without() {
    let place = Place::new(&[".foo", ".bar"]);
    let fake = Fake::serve(&place);
    let program = place.attach(&[]);
    let mut line = fake.welcome(&place);
    assert_eq!(program.line(), "");
    for _ in 0..2 {
        line.say("silent\n");
        alone(&place, &program, "does not answer");
        // What it says meanwhile is of no interest.
        line.change(&place, ".bar", "bar");
        line.say("back\n");
        attached(&place, &program, &mut line);
    }
    // Both at once: something may have been missed.
    line.say("silent\nback\n");
    assert_eq!(program.line(), "");
    obeys(&place, &program, &mut line);
}

#[test]
fn one_that_goes_is_done_without_and_comes_back() {
    let place = Place::new(&[".foo", ".bar"]);
    let program = place.attach(&[]);
    alone(&place, &program, "no Emacs listens at");
    for ends_well in [true, false] {
        let fake = Fake::serve(&place);
        let mut line = fake.welcome(&place);
        attached(&place, &program, &mut line);
        if ends_well {
            fs::remove_file(&place.socket).unwrap();
        }
        drop((fake, line));
        alone(&place, &program, "has gone");
    }
    // Its directory, too.
    let run = place.socket.parent().unwrap();
    fs::remove_dir_all(run).unwrap();
    fs::create_dir(run).unwrap();
    let fake = Fake::serve(&place);
    let mut line = fake.welcome(&place);
    attached(&place, &program, &mut line);
    // One that only hangs up is called again at once.
    drop(line);
    let _line = fake.welcome(&place);
    assert_eq!(program.line(), "");
}

#[test]
fn one_that_watches_something_else_is_done_without() {
    let place = Place::new(&[".foo", ".bar"]);
    let fake = Fake::serve(&place);
    let program = place.attach(&[]);
    let mut line = fake.accept();
    line.say("mailsync-listen 1\nroots 0\n");
    alone(&place, &program, "does not watch");
    line.say(&format!("roots 2\nroot /x\nroot {}\n", text(&place.root)));
    attached(&place, &program, &mut line);
    line.say("roots 0\n");
    alone(&place, &program, "does not watch");
}

// Security: S46.
#[test]
fn one_that_talks_rubbish_is_done_without() {
    let place = Place::new(&[".foo", ".bar"]);
    for (says, why) in [
        ("SSH-2.0-x\n", "it says \"SSH-2.0-x\""),
        ("mailsync-listen 1\nroots 0\nwhat?\n", "it says \"what?\""),
        ("mailsync-listen 7\n", "it speaks version 7"),
    ] {
        let fake = Fake::serve(&place);
        let program = place.attach(&[]);
        let mut line = fake.accept();
        line.say(says);
        line.hear();
        line.ended();
        alone(&place, &program, why);
        // One that is better takes its place.
        let fake = Fake::serve(&place);
        let mut line = fake.welcome(&place);
        attached(&place, &program, &mut line);
    }
}

#[test]
fn one_that_hangs_up_is_tried_again_later() {
    let place = Place::new(&[".foo", ".bar"]);
    let fake = Fake::serve(&place);
    let program = place.attach(&[]);
    let mut line = fake.accept();
    line.say("mailsync-li");
    drop(line);
    alone(&place, &program, "it hangs up");
    let mut line = fake.welcome(&place);
    attached(&place, &program, &mut line);
}

// Security: S46.
#[test]
fn one_that_says_nothing_is_done_without() {
    let place = Place::new(&[".foo", ".bar"]);
    let fake = Fake::serve(&place);
    let program = place.attach(&[]);
    let mut line = fake.accept();
    alone(&place, &program, "does not answer");
    // It was stopped, and goes on.
    line.say("mailsync-listen 1\n");
    line.say(&format!("roots 1\nroot {}\n", text(&place.root)));
    attached(&place, &program, &mut line);
}

#[test]
fn what_happens_between_two_is_not_lost() {
    let place = Place::new(&[".foo"]);
    let fake = Fake::serve(&place);
    let program = place.attach(&["--delay=0.01"]);
    let mut line = fake.welcome(&place);
    assert_eq!(program.line(), "");
    for number in 0..20 {
        deliver(&place.root.join(".foo"), &format!("a{number}")).unwrap();
        line.say("silent\n");
        program.until("");
        deliver(&place.root.join(".foo"), &format!("b{number}")).unwrap();
        // It is said by whoever speaks, or covered by the doubt.
        line.say("back\n");
        program.until("");
    }
}

#[test]
fn it_ends_when_asked_whoever_speaks() {
    let place = Place::new(&[]);
    let fake = Fake::serve(&place);
    let mut program = place.attach(&[]);
    let mut line = fake.welcome(&place);
    assert_eq!(program.line(), "");
    drop(program.input.take());
    assert_eq!(program.ended(), Some(0));
    line.ended();
    drop((fake, line));
    let mut program = place.attach(&[]);
    assert_eq!(program.line(), "");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended(), Some(0));
}

#[test]
fn the_default_socket_is_below_the_runtime_directory() {
    let place = Place::new(&[".foo", ".bar"]);
    let runtime = place.root.with_file_name("runtime");
    maildir(&runtime.join("mailsync"));
    let listener = UnixListener::bind(runtime.join("mailsync/listen")).unwrap();
    let mut command = command(&["--attach"]);
    command.env("XDG_RUNTIME_DIR", &runtime);
    let program = Program::start(command.arg("--maildir").arg(&place.root));
    let mut line = Fake(listener).welcome(&place);
    assert_eq!(program.line(), "");
    obeys(&place, &program, &mut line);
}
