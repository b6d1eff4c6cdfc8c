//! Who has a lock, without taking it: nothing is made, nothing is locked, nobody is woken.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{Mode, OFlags, Stat, fstat, major, minor, open};

use super::directory::candidates;
use super::key::Key;
use super::{lock_file, run_file, search};

/// Who has an account's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nobody.
    Free,
    /// An Emacs with this number, if it said that.
    Emacs(Option<u32>),
    /// A run with this number, if that is known; no Emacs that wants it.
    Run(Option<u32>),
}

/// Look who has it.  May wait for a disk; `None` where the system does not tell.
#[must_use]
pub fn look(key: &Key, runtime: Option<&Path>) -> Option<Seen> {
    // proc_locks(5)
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let names = key.names();
    let directories = candidates(runtime).into_iter();
    let directories: Vec<_> = directories.map(|it| it.path.join("mailsync")).collect();
    let find = |file: fn(&str) -> String| {
        let mut all =
            (directories.iter()).flat_map(|at| names.iter().map(move |it| at.join(file(it))));
        all.find_map(|path| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(open(path, flags, Mode::empty()).ok()?);
            let said = search::holder(&file);
            held(&locks, &fstat(&file).ok()?, said).then_some(said)
        })
    };
    let seen = find(lock_file).map(Seen::Emacs);
    Some(
        seen.or_else(|| find(run_file).map(Seen::Run))
            .unwrap_or(Seen::Free),
    )
}

/// Whether somebody has this file locked.  `said` is who has written that into it: some file systems
/// go by another number than their files.
fn held(locks: &str, file: &Stat, said: Option<u32>) -> bool {
    let device = format!("{:02x}:{:02x}", major(file.st_dev), minor(file.st_dev));
    locks.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        // Who waits for it has an arrow there.
        let (Some("FLOCK"), Some(pid), Some(place)) = (fields.next(), fields.nth(2), fields.next())
        else {
            return false;
        };
        let Some((of, number)) = place.rsplit_once(':') else {
            return false;
        };
        number.parse() == Ok(file.st_ino)
            && (of == device || said.is_some_and(|said| pid.parse() == Ok(said)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_found_by_their_files() {
        let top = tempfile::tempdir().unwrap();
        let file = File::create(top.path().join("x")).unwrap();
        let stat = fstat(&file).unwrap();
        let device = format!("{:02x}:{:02x}", major(stat.st_dev), minor(stat.st_dev));
        let line = |kind: &str, pid: u32, device: &str, number: u64| {
            format!("1: {kind}  ADVISORY  WRITE {pid} {device}:{number} 0 EOF\n")
        };
        let table = [
            (line("FLOCK", 7, &device, stat.st_ino), Some(7), true),
            (line("FLOCK", 7, &device, stat.st_ino), None, true),
            (line("FLOCK", 7, "ff:ff", stat.st_ino), Some(7), true),
            (line("FLOCK", 7, "ff:ff", stat.st_ino), Some(8), false),
            (line("FLOCK", 7, &device, stat.st_ino + 1), Some(7), false),
            (line("POSIX", 7, &device, stat.st_ino), Some(7), false),
            (line("-> FLOCK", 7, &device, stat.st_ino), Some(7), false),
            ("\n1:\n1: FLOCK x\n".to_owned(), Some(7), false),
        ];
        for (locks, said, expected) in table {
            assert_eq!(held(&locks, &stat, said), expected, "{locks} {said:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn looking_makes_nothing_and_sees_who_has_it() {
        use rustix::fs::{FlockOperation, flock};
        let top = tempfile::tempdir().unwrap();
        let runtime = top.path().join("run");
        fs::create_dir(&runtime).unwrap();
        let maildir = top.path().join("mail");
        let key = Key::Maildirs([maildir].into());
        let see = || look(&key, Some(&runtime)).unwrap();
        assert_eq!(see(), Seen::Free);
        assert_eq!(fs::read_dir(&runtime).unwrap().count(), 0);
        fs::create_dir(runtime.join("mailsync")).unwrap();
        let name = key.names().pop_first().unwrap();
        let made = |file: String| File::create(runtime.join("mailsync").join(file)).unwrap();
        let run = made(run_file(&name));
        let emacs = made(lock_file(&name));
        search::sign(&emacs, 7);
        assert_eq!(see(), Seen::Free, "a file is no lock");
        flock(&run, FlockOperation::LockExclusive).unwrap();
        assert_eq!(see(), Seen::Run(None));
        flock(&emacs, FlockOperation::LockExclusive).unwrap();
        assert_eq!(see(), Seen::Emacs(Some(7)));
        drop((emacs, run));
        assert_eq!(see(), Seen::Free);
    }
}
