//! What to tell a user whose kernel gives no more watches: which limit, and to which value.
//!
//! The same words for every account that meets the same limit, so that they are said once.

use std::path::Path;

/// Watches of a user: what some distributions set, and enough for 100,000 folders.
const WATCHES: u64 = 524_288;

/// Instances of a user.
const INSTANCES: u64 = 1024;

/// Open files of the whole system.
const SYSTEM_FILES: u64 = 1_048_576;

/// Open files of a process.
const FILES: u64 = 4096;

/// What inotify limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inotify {
    /// Watched directories of a user.
    Watches,
    /// Those who watch.
    Instances,
}

/// The kernel refused a watch (inotify_add_watch(2), ENOSPC).
pub fn no_watch() -> String {
    let limit = "the kernel's limit of watched directories is reached, the rest is looked at \
                 from time to time";
    if !cfg!(target_os = "linux") {
        return limit.to_owned();
    }
    format!("{limit}: {}", raise("fs.inotify.max_user_watches", WATCHES))
}

/// The system refused to watch this directory, for another reason; `error` is what it said.
pub fn refused(directory: &Path, error: &str) -> String {
    format!(
        "{} cannot be watched and is looked at from time to time: {error}",
        directory.display()
    )
}

/// The kernel refused a watcher; `error` is what it said.  It says the same of its own limit and
/// of that of the process (inotify_init1(2), EMFILE).
pub fn no_watcher(error: &std::io::Error) -> String {
    let nothing = "nothing is watched by the kernel, all is looked at from time to time";
    // A watcher takes three.
    let files = [(); 3].map(|()| std::fs::File::open("/dev/null"));
    if files.iter().any(|it| it.as_ref().is_err_and(no_file)) {
        return format!("{}; {nothing}", no_descriptor());
    }
    if error.raw_os_error() == Some(nix::errno::Errno::ENFILE as i32) {
        let text = raise("fs.file-max", SYSTEM_FILES);
        return format!("the system has no file descriptor left, {nothing}: {text}");
    }
    if cfg!(target_os = "linux") && no_file(error) {
        let text = raise("fs.inotify.max_user_instances", INSTANCES);
        return format!("the kernel gives no watcher, {nothing}: {text} ({error})");
    }
    format!("the kernel gives no watcher, {nothing}: {error}")
}

/// Whether the process's limit of open files is reached (open(2), EMFILE).
pub fn no_file(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EMFILE as i32)
}

/// The process has used up its descriptors.
pub fn no_descriptor() -> String {
    let most = limit_of_files().map_or(FILES, |now| more(now, FILES));
    format!(
        "Emacs has no file descriptor left: raise the limit of open files (ulimit -n {most} in \
         the shell that starts Emacs)"
    )
}

/// An error in words for the user; with what to do, where the process has no descriptor left.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut causes = error.chain();
    let out = causes.any(|cause| {
        cause.downcast_ref().is_some_and(no_file)
            || cause.downcast_ref() == Some(&rustix::io::Errno::MFILE)
            || cause.downcast_ref() == Some(&nix::errno::Errno::EMFILE)
    });
    if out {
        no_descriptor()
    } else {
        format!("{error:#}")
    }
}

/// How to raise a limit of inotify's.
#[must_use]
pub fn raise_inotify(which: Inotify) -> String {
    match which {
        Inotify::Watches => raise("fs.inotify.max_user_watches", WATCHES),
        Inotify::Instances => raise("fs.inotify.max_user_instances", INSTANCES),
    }
}

/// How to raise the limit of open files, which is so now.
#[must_use]
pub fn raise_files(now: u64) -> String {
    format!(
        "ulimit -n {} in the shell that starts Emacs raises it",
        more(now, FILES)
    )
}

/// How to raise a limit.
fn raise(sysctl: &str, enough: u64) -> String {
    let file = format!("/proc/sys/{}", sysctl.replace('.', "/"));
    let now = std::fs::read_to_string(file);
    let now = now.ok().and_then(|text| text.trim().parse().ok());
    let value = now.map_or(enough, |now| more(now, enough));
    format!("sudo sysctl {sysctl}={value} raises it (a line in /etc/sysctl.d/ does so for good)")
}

/// More than `now`, and at least `enough`.
fn more(now: u64, enough: u64) -> u64 {
    let twice = now.saturating_mul(2).checked_next_power_of_two();
    twice.unwrap_or(now).max(enough)
}

/// How many files the process may have open, if that has an end.
#[must_use]
pub fn limit_of_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_named_is_more_than_there_is() {
        let table = [(0, 1024), (128, 1024), (1024, 2048), (1500, 4096)];
        for (now, expected) in table {
            assert_eq!(more(now, INSTANCES), expected, "{now}");
        }
        assert_eq!(
            no_watch().contains("fs.inotify.max_user_watches="),
            cfg!(target_os = "linux")
        );
    }
}
