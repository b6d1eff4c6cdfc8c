//! A child process: how it is started, how its end is noticed, how it and what it started get
//! signals.  How long it may live, and what its output means, is decided elsewhere.
//!
//! `posix_spawn` with a session of its own: no terminal that a password could be asked for on, no
//! SIGINT or SIGHUP from the user's shell, and a group that can be ended as a whole.  The library's
//! own `Command` can do that only by code between fork and exec, which copies Emacs's page tables.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::Result;
use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid, waitpid,
};

use crate::syncer::Outcome;
use crate::syncer::outcome::Exit;
use crate::syncer::plan::Refused;
use crate::threads;
use crate::watch::limits::in_words;

/// What is to be started.
pub struct Recipe<'a> {
    /// The program (an absolute name) and its arguments.
    pub argv: &'a [OsString],
    /// The whole environment, as `NAME=VALUE`.
    pub environment: &'a [OsString],
    /// Where it runs; `None`: where Emacs does.
    pub directory: Option<&'a Path>,
    /// It is to be given input.
    pub feed: bool,
    /// Its standard error is not to be among its output.
    pub apart: bool,
    /// Files that it and what it starts keep open.
    pub keeps: &'a [BorrowedFd<'a>],
}

/// A child that has not been waited for, so that its number is its own.  When this is dropped, it
/// and its group are killed.
pub struct Process {
    pid: Pid,
    over: OwnedFd,
    reaped: bool,
}

/// Our ends of a child's files; none of them ever makes us wait.
pub struct Pipes {
    /// What it writes, standard output and error in the order in which they come.
    pub output: OwnedFd,
    /// Its standard error, if that is apart.
    pub errors: Option<OwnedFd>,
    /// What it reads, if it is fed.
    pub input: Option<OwnedFd>,
}

/// Start a process.
///
/// # Errors
/// In words for the user.
pub fn spawn(recipe: &Recipe) -> Result<(Process, Pipes), Refused> {
    let program = recipe.argv.first().map(OsString::as_os_str);
    let program = Path::new(program.unwrap_or_default());
    if let Some(directory) = recipe.directory {
        // Behind the shell that changes to the directory, errors would be its own.
        can_be_in(directory)?;
        can_be_executed(program).map_err(|errno| reason(errno, program))?;
    }
    let refused = |_| {
        config(format!(
            "a NUL in the command line of {}",
            program.display()
        ))
    };
    let argv = strings(moved(recipe)).map_err(refused)?;
    let environment = strings(recipe.environment.iter().cloned()).map_err(refused)?;
    let (theirs, pipes) = files(recipe).map_err(|error| match error.raw_os_error() {
        Some(code) => reason(Errno::from_raw(code), program),
        None => transient(format!("{} is not started: {error}", program.display())),
    })?;
    let pid = execute(&argv, &environment, &theirs, recipe.keeps)
        .map_err(|errno| reason(errno, program))?;
    let over = end_of(pid).map_err(|error| {
        // Nobody could tell when it ends.
        kill(pid, Signal::KILL);
        let _ = reap(pid);
        let why = in_words(&error);
        transient(format!("{} cannot be watched: {why}", program.display()))
    })?;
    let process = Process {
        pid,
        over,
        reaped: false,
    };
    Ok((process, pipes))
}

impl Process {
    /// Its number, and that of its group and session.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Something can be read from this when it has ended, whoever holds its output.
    pub fn over(&self) -> BorrowedFd<'_> {
        self.over.as_fd()
    }

    /// When it is over: kill what is left of its group, and say how it ended if that can be known.
    pub fn finish(mut self) -> Option<Exit> {
        self.end()
    }

    fn end(&mut self) -> Option<Exit> {
        // Before it is waited for: its number cannot be another's yet.
        kill(self.pid, Signal::KILL);
        self.reaped = true;
        reap(self.pid)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.end();
        }
    }
}

/// Send a signal to a child and its group.  Only while it has not been waited for.
pub fn kill(pid: Pid, signal: Signal) {
    // Who is not there any more needs no signal.
    let _ = kill_process_group(pid, signal);
}

/// Wait for a child; `None` if somebody else did before.
fn reap(pid: Pid) -> Option<Exit> {
    let status = loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(found) => break found?.1,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    };
    let code = status.exit_status().map(Exit::Code);
    code.or_else(|| status.terminating_signal().map(Exit::Signal))
}

/// A descriptor that is ready when the child has ended.
fn end_of(pid: Pid) -> Result<OwnedFd> {
    // Older kernels and some sandboxes have none.
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    if let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        return Ok(fd);
    }
    end_by_thread(pid)
}

/// The same by a thread that waits for nothing else, and leaves the child to be waited for.
fn end_by_thread(pid: Pid) -> Result<OwnedFd> {
    let (over, ends) = io::pipe()?;
    let body = move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let interrupted = Some(rustix::io::Errno::INTR);
        while waitid(WaitId::Pid(pid), options).err() == interrupted {}
        drop(ends);
    };
    // Without it, its end of the pipe is closed all the same.
    threads::spawn("mailsync-child", body, drop)?;
    Ok(over.into())
}

/// The child's standard input, output and error.
type Theirs = [OwnedFd; 3];

fn files(recipe: &Recipe) -> io::Result<(Theirs, Pipes)> {
    let (output, written) = io::pipe()?;
    let (errors, complained) = if recipe.apart {
        let (errors, complained) = io::pipe()?;
        (Some(errors), complained)
    } else {
        (None, written.try_clone()?)
    };
    let (input, read) = if recipe.feed {
        let (read, input) = io::pipe()?;
        (Some(input), read.into())
    } else {
        (None, OwnedFd::from(File::open("/dev/null")?))
    };
    let theirs = [
        above(read)?,
        above(written.into())?,
        above(complained.into())?,
    ];
    let pipes = Pipes {
        output: waits_not(PipeReader::into(output))?,
        errors: errors.map(PipeReader::into).map(waits_not).transpose()?,
        input: input.map(PipeWriter::into).map(waits_not).transpose()?,
    };
    Ok((theirs, pipes))
}

/// In an Emacs without standard files ours may have their numbers, and would be overwritten by
/// each other in the child.
fn above(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

/// Make our end never wait (the child's is another open file, and does).
pub fn waits_not(fd: OwnedFd) -> io::Result<OwnedFd> {
    fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
    Ok(fd)
}

fn execute(
    argv: &[CString],
    environment: &[CString],
    files: &Theirs,
    keeps: &[BorrowedFd],
) -> Result<Pid, Errno> {
    let program = argv.first().ok_or(Errno::ENOENT)?;
    let mut actions = PosixSpawnFileActions::init()?;
    for (to, fd) in (0..).zip(files) {
        actions.add_dup2(fd.as_raw_fd(), to)?;
    }
    for kept in keeps {
        // The same number: that it is closed by exec is taken back (posix_spawn(3)).
        actions.add_dup2(kept.as_raw_fd(), kept.as_raw_fd())?;
    }
    for number in inherited() {
        actions.add_close(number)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    // Ours are all blocked, and Emacs ignores some.
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_sigdefault(&SigSet::all())?;
    let flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
    attributes.set_flags(flags | session())?;
    let pid = posix_spawn(program.as_c_str(), &actions, &attributes, argv, environment)?;
    Pid::from_raw(pid.as_raw()).ok_or(Errno::ESRCH)
}

/// Descriptors that Emacs, or who started it, has left open for children: its terminal among them,
/// which a syncer that outlives Emacs would hold.  Known on Linux only (proc(5)).
fn inherited() -> Vec<RawFd> {
    let entries = fs::read_dir("/proc/self/fdinfo").into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let open = |number: &RawFd| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        flags.is_some_and(|flags| flags & OFlags::CLOEXEC.bits() == 0)
    };
    numbers.filter(|number| *number > 2).filter(open).collect()
}

/// A session of its own (nix does not name the flag).
#[cfg(target_os = "linux")]
fn session() -> PosixSpawnFlags {
    PosixSpawnFlags::from_bits_retain(nix::libc::POSIX_SPAWN_SETSID.into())
}

/// As above (`spawn.h` has it, the crate libc has not).
#[cfg(target_os = "macos")]
fn session() -> PosixSpawnFlags {
    PosixSpawnFlags::from_bits_retain(0x0400)
}

/// Elsewhere a group must do: who reads the terminal is stopped, and gives no sign of life.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn session() -> PosixSpawnFlags {
    PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
}

/// The command line, behind a shell that changes to the directory if there is one:
/// `posix_spawn` cannot everywhere.
fn moved(recipe: &Recipe) -> Vec<OsString> {
    let script = r#"cd -- "$1" && shift && exec "$@""#;
    let before = recipe.directory.map(|directory| {
        let words = ["/bin/sh", "-c", script, "sh"].map(OsStr::new);
        [&words[..], &[directory.as_os_str()]].concat()
    });
    let before = before.into_iter().flatten().map(OsStr::to_owned);
    before.chain(recipe.argv.iter().cloned()).collect()
}

fn strings(words: impl IntoIterator<Item = OsString>) -> Result<Vec<CString>, std::ffi::NulError> {
    let words = words.into_iter();
    words.map(|word| CString::new(word.into_vec())).collect()
}

fn can_be_in(directory: &Path) -> Result<(), Refused> {
    let say = |what: &str| {
        let text = format!("the directory {} (:directory) {what}", directory.display());
        Err(config(text))
    };
    match fs::metadata(directory) {
        // The shell would seek a relative one elsewhere too.
        _ if !directory.is_absolute() => say("is not an absolute name"),
        Ok(found) if !found.is_dir() => say("is none"),
        Ok(_) if rustix::fs::access(directory, rustix::fs::Access::EXEC_OK).is_err() => {
            say("cannot be entered")
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => say("does not exist"),
        Err(error) => say(&format!("cannot be entered: {error}")),
    }
}

fn can_be_executed(program: &Path) -> Result<(), Errno> {
    let found = fs::metadata(program)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let may = rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok();
    if found.is_file() && may {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Why a program was not started, and what to do.
fn reason(errno: Errno, program: &Path) -> Refused {
    let name = program.display();
    match errno {
        Errno::ENOENT if program.as_os_str().as_bytes().is_empty() => {
            config("the syncer names no program".to_owned())
        }
        Errno::ENOENT if program.exists() => config(format!(
            "{name} cannot be started: the interpreter that its first line names, or the loader \
             that it needs, does not exist"
        )),
        Errno::ENOENT | Errno::ENOTDIR => config(format!(
            "{name} does not exist: install it, or correct the program's name"
        )),
        Errno::EACCES if program.is_dir() => {
            config(format!("{name} is a directory: correct the program's name"))
        }
        Errno::EACCES | Errno::EPERM => config(format!(
            "{name} may not be executed: make it executable (chmod +x), or correct the program's \
             name"
        )),
        Errno::ENOEXEC => config(format!(
            "{name} is no program for this machine; a script needs a first line like #!/bin/sh"
        )),
        Errno::E2BIG => config(format!(
            "{name} is not started: too many folders for one command line (or too large an \
             environment); have it sync the whole account"
        )),
        Errno::EMFILE | Errno::ENFILE => transient(format!(
            "{name} is not started: no file descriptor is left; close something, or raise the \
             limit of open files (ulimit -n)"
        )),
        Errno::EAGAIN | Errno::ENOMEM => transient(format!(
            "{name} is not started: the system gives no further process ({})",
            errno.desc()
        )),
        Errno::ETXTBSY | Errno::EIO | Errno::ESTALE | Errno::EINTR => {
            transient(format!("{name} is not started: {}", errno.desc()))
        }
        other => config(format!("{name} cannot be started: {}", other.desc())),
    }
}

fn config(text: String) -> Refused {
    let outcome = Outcome::Config;
    Refused { outcome, text }
}

fn transient(text: String) -> Refused {
    let outcome = Outcome::Transient;
    Refused { outcome, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ready;
    use rustix::event::PollFlags;
    use std::time::Duration;

    fn sleeper() -> Process {
        let argv = ["/bin/sh", "-c", "exit 7"].map(OsString::from);
        let recipe = Recipe {
            argv: &argv,
            environment: &[],
            directory: None,
            feed: false,
            apart: false,
            keeps: &[],
        };
        spawn(&recipe).unwrap().0
    }

    #[test]
    fn a_thread_notices_the_end_too_and_leaves_the_exit_code() {
        let process = sleeper();
        let over = end_by_thread(process.pid()).unwrap();
        let most = Some(Duration::from_secs(20));
        for fd in [over.as_fd(), process.over()] {
            assert_eq!(
                ready::wait([(Some(fd), PollFlags::IN)], most).unwrap(),
                [true]
            );
        }
        assert_eq!(process.finish(), Some(Exit::Code(7)));
    }

    #[test]
    fn waited_for_by_somebody_else_is_unknown() {
        let process = sleeper();
        assert_eq!(reap(process.pid()), Some(Exit::Code(7)));
        assert_eq!(process.finish(), None);
    }

    #[test]
    fn errors_say_what_to_do() {
        let table = [
            (Errno::E2BIG, Outcome::Config, "too many folders"),
            (Errno::EMFILE, Outcome::Transient, "ulimit -n"),
            (Errno::ENFILE, Outcome::Transient, "descriptor"),
            (Errno::EAGAIN, Outcome::Transient, "no further process"),
            (Errno::ENOMEM, Outcome::Transient, "no further process"),
            (Errno::ELOOP, Outcome::Config, "cannot be started"),
        ];
        for (errno, outcome, text) in table {
            let found = reason(errno, Path::new("/no/such"));
            assert_eq!(found.outcome, outcome, "{errno}");
            assert!(found.text.contains(text), "{}", found.text);
            assert!(found.text.contains("/no/such"), "{}", found.text);
        }
    }
}
