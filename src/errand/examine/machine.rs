//! The machine: what the kernel limits, how much of that others use, and what it tells.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::facts::{Limit, Machine, Socket};
use crate::engine::environment;
use crate::listen::place::Place;
use crate::syncer::lock::directory::{candidates, sought};
use crate::watch::limits::limit_of_files;

/// Descriptors that a watcher takes.
const FILES_OF_A_WATCHER: u64 = 3;

/// Look at the machine, for so many watched directories and watchers.
#[must_use]
pub fn facts(
    watches: u64,
    watchers: u64,
    runtime: Option<PathBuf>,
    listen: Option<&Place>,
) -> Machine {
    let (locks, refused) = sought(&candidates(runtime.as_deref()));
    let others = others(Path::new("/proc")).ok();
    let limit = |name: &str, used: fn(&Used) -> u64, needed| {
        Some(Limit {
            most: sysctl(name)?,
            used: others.as_ref().map(used)?,
            needed,
        })
    };
    Machine {
        watches: limit("fs/inotify/max_user_watches", |it| it.watches, watches),
        instances: limit("fs/inotify/max_user_instances", |it| it.instances, watchers),
        files: limit_of_files().and_then(|most| {
            Some(Limit {
                most,
                used: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
                needed: FILES_OF_A_WATCHER * watchers,
            })
        }),
        support: environment::support(),
        runtime,
        locks,
        refused,
        listen: listen.map(socket),
    }
}

fn sysctl(name: &str) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    text.trim().parse().ok()
}

/// What processes have of inotify's.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used {
    watches: u64,
    instances: u64,
}

/// What the user's other processes have, as far as they let us see it (proc_pid_fdinfo(5)).
fn others(proc: &Path) -> io::Result<Used> {
    let user = rustix::process::geteuid().as_raw();
    let ours = std::process::id();
    let mut used = Used::default();
    for process in fs::read_dir(proc)?.flatten() {
        let number = process.file_name().to_str().and_then(|it| it.parse().ok());
        let theirs = number.is_some_and(|number: u32| number != ours);
        if !theirs || !process.metadata().is_ok_and(|it| it.uid() == user) {
            continue;
        }
        let path = process.path();
        let files = fs::read_dir(path.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        for file in files {
            let leads = fs::read_link(file.path());
            if !leads.is_ok_and(|it| it.as_os_str() == "anon_inode:inotify") {
                continue;
            }
            used.instances += 1;
            let info = fs::read_to_string(path.join("fdinfo").join(file.file_name()));
            let info = info.unwrap_or_default();
            let lines = info.lines().filter(|line| line.starts_with("inotify "));
            used.watches += lines.count() as u64;
        }
    }
    Ok(used)
}

/// A socket of ours, and whether its directory is private; the likeliest where none is there.
fn socket(place: &Place) -> Socket {
    let files = place.files();
    let is_there = |file: &&PathBuf| {
        let found = fs::symlink_metadata(file);
        found.is_ok_and(|it| it.file_type().is_socket())
    };
    let there = files.iter().find(is_there);
    let file = there.or_else(|| files.first()).cloned().unwrap_or_default();
    let directory = file.parent().unwrap_or(Path::new("/"));
    let user = rustix::process::geteuid().as_raw();
    let refused = match fs::symlink_metadata(directory) {
        Ok(found) if !found.is_dir() => Some("is not a directory"),
        Ok(found) if found.uid() != user => Some("is not yours"),
        Ok(found) if found.mode() & 0o077 != 0 => Some("can be entered by others"),
        // To be made.
        _ => None,
    };
    Socket {
        there: there.is_some(),
        refused: refused.map(|why| format!("{} {why}", directory.display())),
        file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_others_watch_is_counted_and_what_we_watch_is_not() {
        let top = tempfile::tempdir().unwrap();
        let process = top.path().join("1");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::create_dir_all(process.join("fdinfo")).unwrap();
        std::os::unix::fs::symlink("anon_inode:inotify", process.join("fd/7")).unwrap();
        std::os::unix::fs::symlink("/dev/null", process.join("fd/8")).unwrap();
        let text = "pos:\t0\nflags:\t02\ninotify wd:1 ino:9\ninotify wd:2 ino:8\n";
        fs::write(process.join("fdinfo/7"), text).unwrap();
        let expected = Used {
            watches: 2,
            instances: 1,
        };
        assert_eq!(others(top.path()).unwrap(), expected);
        let own = top.path().join(std::process::id().to_string());
        fs::rename(&process, own).unwrap();
        assert_eq!(others(top.path()).unwrap(), Used::default());
    }
}
