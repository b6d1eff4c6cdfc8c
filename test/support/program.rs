//! mailsync-watch as a process, for the tests that run it.
#![allow(dead_code)] // each test target uses its part

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::LONG;

/// mailsync-watch.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_mailsync-watch");

/// The program, with nothing of this user's around it.
pub fn command(options: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("MAILDIR").env("HOME", "/nonexistent");
    command.args(options);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    command
}

/// The program while it runs; its standard input stays open.
pub struct Program {
    pub child: Child,
    pub input: Option<ChildStdin>,
    pub lines: Receiver<Vec<u8>>,
    pub problems: Receiver<Vec<u8>>,
}

/// The lines that come from there, each without its end.
pub fn lines(from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (tell, lines) = channel();
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while let Ok(1..) = from.read_until(b'\n', &mut line) {
            assert_eq!(line.pop(), Some(b'\n'), "a line without its end");
            if tell.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    lines
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let output = lines(child.stdout.take().unwrap());
        Self::around(child, output)
    }

    /// As `start`, but nobody reads its output yet.
    pub fn unread(command: &mut Command) -> (Self, ChildStdout) {
        let mut child = command.spawn().unwrap();
        let output = child.stdout.take().unwrap();
        (Self::around(child, channel().1), output)
    }

    fn around(mut child: Child, lines_of_output: Receiver<Vec<u8>>) -> Self {
        let input = child.stdin.take();
        let problems = lines(child.stderr.take().unwrap());
        Program {
            child,
            input,
            lines: lines_of_output,
            problems,
        }
    }

    /// As `start`, for a store; returns when it is being watched.
    pub fn watching(root: &Path, options: &[&str]) -> Self {
        let mut command = command(options);
        let program = Self::start(command.arg("--maildir").arg(root));
        assert_eq!(program.line(), "");
        program
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.lines.recv_timeout(LONG).expect("another line")
    }

    /// The next line.
    pub fn line(&self) -> String {
        String::from_utf8(self.bytes()).expect("a line in UTF-8")
    }

    /// The next two lines, in order.
    pub fn two(&self) -> [String; 2] {
        let mut two = [self.line(), self.line()];
        two.sort();
        two
    }

    /// Read on until this line comes; what came before it.
    pub fn until(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let next = self.line();
            if next == line {
                return before;
            }
            before.push(next);
        }
    }

    /// The next problem that it speaks of.
    pub fn problem(&self) -> String {
        let line = self.problems.recv_timeout(LONG).expect("a problem");
        String::from_utf8(line).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Wait until a signal has stopped it, all of its threads.
    pub fn wait_stopped(&self) {
        let tasks = format!("/proc/{}/task", self.child.id());
        let stopped = |task: PathBuf| {
            let status = fs::read_to_string(task.join("status")).unwrap();
            status.contains("\nState:\tT")
        };
        let end = Instant::now() + LONG;
        while !fs::read_dir(&tasks)
            .unwrap()
            .all(|it| stopped(it.unwrap().path()))
        {
            assert!(Instant::now() < end, "it does not stop");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Wait until it has ended by itself; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let end = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
