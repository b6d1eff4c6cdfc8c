//! mailsync-watch as a program: what it prints, and when it ends.
//!
//! Nothing here waits for a fixed time.  That something is *not* said is shown by what is said next.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use mailsync_module::change::Kinds;
use mailsync_module::remote::protocol::{Dialect, Reader, Said};
use nix::sys::signal::Signal;

#[path = "support/program.rs"]
mod program;
#[path = "support/mod.rs"]
mod support;

use program::{Program, command, lines};
use support::{deliver, in_namespace, maildir};

/// A store with an inbox and these folders, by their directories.
fn store(folders: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().canonicalize().unwrap().join("Maildir");
    maildir(&root);
    for folder in folders {
        maildir(&root.join(folder));
    }
    (base, root)
}

/// Folders with names of which a pipe takes a half.
fn verbose_folders() -> Vec<String> {
    (0..600).map(|i| format!(".{i:0200}")).collect()
}

/// Run it to its end, with its input at the end already.
fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// What it says and how it exits when it cannot start.
fn refusal(command: &mut Command) -> (Option<i32>, String) {
    let output = run(command);
    assert_eq!(output.stdout, b"");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("mailsync-watch: "), "{text}");
    assert_eq!(text.find('\n'), Some(text.len() - 1), "one line: {text}");
    (output.status.code(), text)
}

// What it prints.

#[test]
fn the_dialogue_of_mswatchs_watchers() {
    let (_base, root) = store(&[".foo"]);
    let program = Program::watching(&root, &[]);
    deliver(&root.join(".foo"), "1").unwrap();
    assert_eq!(program.line(), "foo");
    deliver(&root, "2").unwrap();
    assert_eq!(program.line(), "INBOX");
    // As a reader does that sorts mail.
    fs::rename(root.join("new/2"), root.join(".foo/new/2")).unwrap();
    assert_eq!(program.two(), ["INBOX", "foo"]);
}

#[test]
fn with_kinds_it_says_what_happened() {
    let (_base, root) = store(&[".a.&AOk-"]);
    let folder = root.join(".a.&AOk-");
    let mut command = command(&["--kinds", "--delay=0.02", "--maildir"]);
    let program = Program::start(command.arg(&root));
    let mut reader = Reader::new(Dialect::Kinds);
    let mut next = || {
        let mut line = program.bytes();
        line.push(b'\n');
        reader.push(&line)
    };
    let said = |name: &str, kinds| {
        vec![Said::Change {
            name: name.into(),
            kinds,
        }]
    };
    assert_eq!(next(), [Said::Hello]);
    assert_eq!(next(), [Said::Everything]);
    deliver(&folder, "1").unwrap();
    assert_eq!(next(), said("a/é", Kinds::NEW));
    fs::rename(folder.join("new/1"), folder.join("cur/1:2,S")).unwrap();
    assert_eq!(next(), said("a/é", Kinds::FLAGS));
    deliver(&folder, "2").unwrap();
    assert_eq!(next(), said("a/é", Kinds::NEW));
    // A server does this when somebody syncs; told of it he would sync again.
    fs::rename(folder.join("new/2"), folder.join("cur/2:2,")).unwrap();
    deliver(&folder, "3").unwrap();
    assert_eq!(next(), said("a/é", Kinds::NEW));
    fs::remove_file(folder.join("new/3")).unwrap();
    assert_eq!(next(), said("a/é", Kinds::GONE));
    fs::remove_file(folder.join("cur/1:2,S")).unwrap();
    assert_eq!(next(), said("a/é", Kinds::GONE));
    fs::rename(&folder, root.join(".b\n%")).unwrap();
    let mut two = [next(), next()].map(|said| match &said[..] {
        [Said::Change { name, kinds }] => (name.clone(), *kinds),
        other => panic!("{other:?}"),
    });
    two.sort_by(|one, other| one.0.cmp(&other.0));
    let [(old, gone), (new, come)] = two;
    assert_eq!((&*old, &*new), ("a/é".as_bytes(), &b"b\n%"[..]));
    assert!(gone.contains(Kinds::DELETED) && come.contains(Kinds::CREATED));
}

#[test]
fn folders_come_and_go_while_it_runs() {
    let (base, root) = store(&[]);
    let program = Program::watching(&root, &["--delay", "0.02"]);
    // Whole, as a rename from elsewhere: what is made piece by piece may be told in pieces.
    let made = base.path().join("made");
    maildir(&made);
    fs::rename(&made, root.join(".bar")).unwrap();
    assert_eq!(program.line(), "bar");
    deliver(&root.join(".bar"), "1").unwrap();
    program.until("bar");
    fs::rename(root.join(".bar"), root.join(".baz")).unwrap();
    program.until("baz");
    deliver(&root.join(".baz"), "2").unwrap();
    program.until("baz");
    fs::remove_dir_all(root.join(".baz")).unwrap();
    program.until("baz");
    maildir(&root.join("deep/er"));
    program.until("deep/er");
}

#[test]
fn any_name_is_said() {
    let names: [(&[u8], &[u8]); 7] = [
        (b".a b  c", b"a b  c"),
        (b". ", b" "),
        (b".\xff\xe9", b"\xff\xe9"),
        (b".Entw&APw-rfe", b"Entw&APw-rfe"),
        (b".x.%s\"'\\", b"x.%s\"'\\"),
        // What the protocol cannot say is in doubt, and everything with it.
        (b".a\nb", b""),
        (b".a\r", b""),
    ];
    let (_base, root) = store(&[]);
    let directory = |entry| root.join(OsStr::from_bytes(entry));
    for (entry, _) in names {
        maildir(&directory(entry));
    }
    let program = Program::watching(&root, &["--delay=0.02"]);
    for (entry, expected) in names {
        deliver(&directory(entry), "1").unwrap();
        assert_eq!(program.bytes(), expected);
    }
}

#[test]
fn nested_folders_have_slashes() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("Mail");
    for folder in ["INBOX", "a.b/c"] {
        maildir(&root.join(folder));
    }
    let program = Program::watching(&root, &["--layout=nested", "--delay=0.02"]);
    deliver(&root.join("INBOX"), "1").unwrap();
    assert_eq!(program.line(), "INBOX");
    deliver(&root.join("a.b/c"), "1").unwrap();
    assert_eq!(program.line(), "a.b/c");
}

#[test]
fn the_inbox_and_the_template_are_as_wanted() {
    let (_base, root) = store(&[".foo"]);
    let program = Program::watching(&root, &["-t", "far.%s", "-i", "In", "--delay=0.02"]);
    deliver(&root, "1").unwrap();
    assert_eq!(program.line(), "far.In");
    deliver(&root.join(".foo"), "1").unwrap();
    assert_eq!(program.line(), "far.foo");
}

#[test]
fn several_maildirs_are_watched() {
    let (_base, first) = store(&[".a", "deep"]);
    let (_other, second) = store(&[".b"]);
    let mut command = command(&["--delay=0.02"]);
    // One of them twice, and one inside another.
    for root in [&first, &second, &first, &first.join("deep")] {
        command.arg("-m").arg(root);
    }
    let program = Program::start(&mut command);
    assert_eq!(program.line(), "");
    for (folder, name) in [
        (first.join(".a"), "a"),
        (second.join(".b"), "b"),
        (second, "INBOX"),
        (first.join("deep"), "INBOX"),
    ] {
        deliver(&folder, "1").unwrap();
        program.until(name);
    }
}

#[test]
fn it_can_look_instead_of_asking_the_kernel() {
    let (_base, root) = store(&[".foo"]);
    let program = Program::watching(&root, &["--poll=0.02", "--delay=0"]);
    for name in ["1", "2"] {
        deliver(&root.join(".foo"), name).unwrap();
        // A stamp as fresh as this is looked at once more, so it may be said once more.
        program.until("foo");
    }
    deliver(&root, "1").unwrap();
    program.until("INBOX");
    assert_eq!(watches_of(&program), 0);
}

/// How many directories it has the kernel watch.
fn watches_of(program: &Program) -> usize {
    let fds = fs::read_dir(format!("/proc/{}/fdinfo", program.child.id())).unwrap();
    let infos = fds.filter_map(|fd| fs::read_to_string(fd.unwrap().path()).ok());
    infos.map(|info| info.matches("inotify wd:").count()).sum()
}

// What it survives.

#[test]
fn events_that_were_lost_are_looked_after() {
    let size = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let size = size.ok().and_then(|text| text.trim().parse::<usize>().ok());
    let Some(size) = size.filter(|size| *size <= 16_384) else {
        println!("skipped: no queue that can be filled: {size:?}");
        return;
    };
    let (_base, root) = store(&[".loud", ".quiet", ".other"]);
    let program = Program::watching(&root, &["--delay=0.02"]);
    program.signal(Signal::SIGSTOP);
    program.wait_stopped();
    let names = ["cur/1:2,", "cur/1:2,S"].map(|name| root.join(".loud").join(name));
    fs::write(&names[0], "").unwrap();
    for i in 0..=size / 2 {
        fs::rename(&names[i % 2], &names[(i + 1) % 2]).unwrap();
    }
    // The queue is full by now: none of this is in it.
    deliver(&root.join(".quiet"), "1").unwrap();
    maildir(&root.join(".made"));
    program.signal(Signal::SIGCONT);
    let mut missing = vec!["loud", "made", "quiet"];
    while !missing.is_empty() {
        let line = program.line();
        if line.is_empty() {
            missing.clear();
        }
        missing.retain(|name| *name != line);
    }
    deliver(&root.join(".made"), "1").unwrap();
    program.until("made");
}

#[test]
fn a_maildir_that_goes_away_is_waited_for() {
    let (base, root) = store(&[".foo"]);
    let program = Program::watching(&root, &["--delay=0.02"]);
    let away = base.path().join("away");
    fs::rename(&root, &away).unwrap();
    let problem = program.problem();
    assert!(problem.starts_with("mailsync-watch: "), "{problem}");
    assert!(problem.contains("is waited for"), "{problem}");
    assert!(!problem.contains(":maildir"), "{problem}");
    deliver(&away.join(".foo"), "1").unwrap();
    fs::rename(&away, &root).unwrap();
    program.until("foo");
    deliver(&root, "2").unwrap();
    program.until("INBOX");
}

#[test]
fn a_reader_that_is_busy_misses_nothing() {
    let folders = verbose_folders();
    let names: Vec<&str> = folders.iter().map(String::as_str).collect();
    let (_base, root) = store(&names);
    let mut command = command(&["--delay=0", "--maildir"]);
    let (mut program, mut output) = Program::unread(command.arg(&root));
    let mut first = [0];
    output.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"\n");
    // More than a pipe holds, three times: it is merged meanwhile.
    for round in 0..3 {
        for folder in &folders {
            deliver(&root.join(folder), &round.to_string()).unwrap();
        }
    }
    program.lines = lines(output);
    let mut missing: BTreeSet<&str> = folders.iter().map(|it| &it[1..]).collect();
    while !missing.is_empty() {
        missing.remove(&*program.line());
    }
    deliver(&root, "last").unwrap();
    program.until("INBOX");
}

// How it ends.

#[test]
fn it_ends_with_its_input() {
    let (_base, root) = store(&[]);
    let mut program = Program::watching(&root, &[]);
    // Nobody wants to know what is written to it.
    let mut input = program.input.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    deliver(&root, "1").unwrap();
    assert_eq!(program.line(), "INBOX");
    drop(input);
    assert_eq!(program.ended(), Some(0));
}

#[test]
fn it_ends_with_its_reader_though_nothing_happens() {
    let (_base, root) = store(&[]);
    let mut command = command(&["--maildir"]);
    let (mut program, mut output) = Program::unread(command.arg(&root));
    output.read_exact(&mut [0]).unwrap();
    drop(output);
    assert_eq!(program.ended(), Some(0));
    assert_eq!(program.problems.recv(), Err(std::sync::mpsc::RecvError));
}

#[test]
fn it_ends_with_a_reader_that_was_stuck() {
    let folders = verbose_folders();
    let names: Vec<&str> = folders.iter().map(String::as_str).collect();
    let (_base, root) = store(&names);
    let mut command = command(&["--delay=0", "--maildir"]);
    let (mut program, mut output) = Program::unread(command.arg(&root));
    output.read_exact(&mut [0]).unwrap();
    for folder in &folders {
        deliver(&root.join(folder), "1").unwrap();
    }
    drop(output);
    assert_eq!(program.ended(), Some(0));
}

#[test]
fn it_ends_when_asked() {
    let (_base, root) = store(&[]);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut program = Program::watching(&root, &[]);
        program.signal(signal);
        assert_eq!(program.ended(), Some(0), "{signal}");
    }
}

#[test]
fn an_input_that_is_no_connection_does_not_end_it() {
    let (base, root) = store(&[]);
    let file = base.path().join("file");
    fs::write(&file, "").unwrap();
    for input in ["/dev/null", file.to_str().unwrap()] {
        let mut command = command(&["--delay=0.02", "--maildir"]);
        command.arg(&root).stdin(fs::File::open(input).unwrap());
        let mut program = Program::start(&mut command);
        assert_eq!(program.line(), "");
        let _ = fs::remove_file(root.join("new/1"));
        deliver(&root, "1").unwrap();
        program.until("INBOX");
        program.signal(Signal::SIGTERM);
        assert_eq!(program.ended(), Some(0), "{input}");
    }
}

// How it is called.

#[test]
fn it_says_what_it_is() {
    let output = run(&mut command(&["--version"]));
    let version = format!("mailsync-watch {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(output.stdout, version.as_bytes());
    assert!(output.status.success());
    for option in ["--help", "-?"] {
        let output = run(&mut command(&[option]));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("Usage: mailsync-watch "), "{text}");
        assert!(output.status.success());
        let manual = include_str!("../doc/mailsync-watch.1").replace("\\-", "-");
        for word in text.split([' ', '=', ',', '\n']) {
            let option = word.starts_with('-') && word.len() > 1;
            assert!(
                !option || manual.contains(word),
                "not in the manual: {word}"
            );
        }
        for line in text.lines() {
            assert!(line.len() < 100, "{line}");
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let (_base, root) = store(&[]);
    let maildir = format!("--maildir={}", root.display());
    for wrong in [
        "--attach-to-what",
        "INBOX",
        "--layout=x",
        "--delay=x",
        "--poll=-1",
        "--template=x",
    ] {
        let (code, text) = refusal(&mut command(&[&maildir, wrong]));
        assert_eq!(code, Some(64), "{wrong}");
        assert!(text.contains("--help"), "{text}");
    }
}

#[test]
fn the_maildir_is_found_as_mswatch_found_it() {
    let (base, root) = store(&[]);
    let mut by_name = command(&["--maildir=Maildir"]);
    let mut by_variable = command(&[]);
    by_name.current_dir(base.path());
    by_variable.env("MAILDIR", &root);
    let mut by_home = command(&[]);
    by_home.env("HOME", base.path());
    for (number, command) in [by_name, by_variable, by_home].iter_mut().enumerate() {
        let program = Program::start(command);
        assert_eq!(program.line(), "");
        deliver(&root, &number.to_string()).unwrap();
        assert_eq!(program.line(), "INBOX");
    }
}

#[test]
fn a_maildir_that_is_not_there_is_an_error() {
    let (base, root) = store(&[]);
    let file = root.join("file");
    fs::write(&file, "").unwrap();
    let missing = base.path().join("missing");
    let mut table = [
        (command(&["--maildir"]), "--maildir "),
        (command(&["--maildir"]), "not a directory"),
        (command(&[]), "$MAILDIR "),
        (command(&[]), "/nonexistent/Maildir"),
    ];
    table[0].0.arg(&missing);
    table[1].0.arg(&file);
    table[2].0.env("MAILDIR", &missing);
    for (command, expected) in &mut table {
        let (code, text) = refusal(command);
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains(*expected) && text.contains("--maildir"),
            "{text}"
        );
    }
}

#[test]
fn a_limit_of_the_kernel_is_said_once_or_ends_it() {
    let shell = "echo 30 > /proc/sys/user/max_inotify_watches";
    if !in_namespace(
        "a_limit_of_the_kernel_is_said_once_or_ends_it",
        "-Ur",
        shell,
    ) {
        return;
    }
    let names: Vec<String> = (0..60).map(|i| format!(".f{i:02}")).collect();
    let (_base, root) = store(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let program = Program::watching(&root, &[]);
    let problem = program.problem();
    assert!(problem.contains("fs.inotify.max_user_watches"), "{problem}");
    drop(program);
    let mut command = command(&["--poll=0", "--maildir"]);
    let (code, text) = refusal(command.arg(&root));
    assert_eq!(code, Some(69));
    assert!(text.contains("fs.inotify.max_user_watches"), "{text}");
}
