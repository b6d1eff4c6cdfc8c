//! Waiting for a socket to come or go, where the kernel tells.
//!
//! Of the names that lead to it the last one that exists is watched: a runtime directory, or what is
//! in it, may not be there yet.  Whoever waits arms it anew after whatever came, and then looks whether
//! the socket is there: what happens in between is seen.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::PollFlags;

use crate::ready;

/// Wait for so long, or until this is ready.
pub fn pause(stop: BorrowedFd<'_>, most: Duration) {
    // An early end is no harm.
    let _ = ready::wait([(Some(stop), PollFlags::IN)], Some(most));
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub use linux::Vigil;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod linux {
    use super::*;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, add_watch, init};
    use rustix::io::Errno;

    use crate::watch::inotify::KINDS;

    /// What is waited for.
    pub struct Vigil {
        instance: OwnedFd,
        /// Names that matter, with the watches of their directories.
        names: Vec<(i32, Vec<u8>)>,
    }

    impl Vigil {
        /// Wait for these files to come or go; none if the kernel does not tell.
        #[must_use]
        pub fn of(files: &[PathBuf]) -> Option<Self> {
            let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
            let mut vigil = Vigil {
                instance: init(flags).ok()?,
                names: Vec::new(),
            };
            for file in files {
                vigil.add(file)?;
            }
            Some(vigil)
        }

        fn add(&mut self, file: &Path) -> Option<()> {
            let mut below = file;
            loop {
                let directory = below.parent()?;
                match add_watch(&self.instance, directory, KINDS) {
                    Ok(watch) => {
                        let name = below.file_name()?.as_bytes().to_vec();
                        self.names.push((watch, name));
                        if below == file || !below.is_dir() {
                            return Some(());
                        }
                        // It was made just now: begin again with it.
                        below = file;
                    }
                    Err(Errno::NOENT | Errno::NOTDIR) => below = directory,
                    Err(_) => return None,
                }
            }
        }

        /// Gets ready when something may have come or gone.
        #[must_use]
        pub fn fd(&self) -> BorrowedFd<'_> {
            self.instance.as_fd()
        }

        /// Whether something that matters came or went since the last time.
        pub fn stirred(&mut self) -> bool {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = Reader::new(&self.instance, &mut buffer);
            let mut stirred = false;
            loop {
                match events.next() {
                    Ok(event) => {
                        let is = |flags| event.events().intersects(flags);
                        let name = event.file_name().map(|name| name.to_bytes());
                        let named = self.names.iter();
                        let mut named = named.filter(|(watch, _)| *watch == event.wd());
                        stirred |= name.is_none()
                            || is(ReadFlags::QUEUE_OVERFLOW)
                            || named.any(|(_, it)| Some(it.as_slice()) == name);
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return stirred,
                    // Whoever waits had better look.
                    Err(_) => return true,
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::fs;

        #[test]
        fn what_comes_and_goes_is_noticed() {
            let top = tempfile::tempdir().unwrap();
            let file = top.path().join("a/b/s");
            let arm = || Vigil::of(std::slice::from_ref(&file)).unwrap();
            let mut vigil = arm();
            assert!(!vigil.stirred());
            fs::write(top.path().join("other"), "").unwrap();
            assert!(!vigil.stirred());
            fs::create_dir(top.path().join("a")).unwrap();
            assert!(vigil.stirred());
            let mut vigil = arm();
            fs::create_dir(top.path().join("a/b")).unwrap();
            assert!(vigil.stirred());
            let mut vigil = arm();
            fs::write(top.path().join("a/b/t"), "").unwrap();
            assert!(!vigil.stirred());
            fs::rename(top.path().join("a/b/t"), &file).unwrap();
            assert!(vigil.stirred());
            fs::remove_file(&file).unwrap();
            assert!(vigil.stirred());
            fs::remove_dir_all(top.path().join("a")).unwrap();
            assert!(vigil.stirred());
        }
    }
}

#[cfg(any(not(target_os = "linux"), feature = "portable"))]
pub use portable::Vigil;

#[cfg(any(not(target_os = "linux"), feature = "portable"))]
mod portable {
    use super::*;

    /// There is none: whoever waits has to try.
    pub enum Vigil {}

    impl Vigil {
        /// None.
        #[must_use]
        pub fn of(_files: &[PathBuf]) -> Option<Self> {
            None
        }

        /// Never asked for.
        #[must_use]
        pub fn fd(&self) -> BorrowedFd<'_> {
            match *self {}
        }

        /// Never asked.
        pub fn stirred(&mut self) -> bool {
            match *self {}
        }
    }
}
