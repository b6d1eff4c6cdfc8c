//! `mailsync-watch --attach`: against an Emacs that a test plays, and what Emacs serves against programs
//! that a test plays.
//!
//! Nothing here waits for a fixed time.  That something is *not* said is shown by what is said next.

mod fake;
#[path = "../support/program.rs"]
mod program;
#[cfg(feature = "module")]
mod server;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "module")]
mod whole;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use program::{Program, command};

/// A directory with a maildir, and a private one for a socket.
pub struct Place {
    _base: tempfile::TempDir,
    pub root: PathBuf,
    pub socket: PathBuf,
}

impl Place {
    fn new(folders: &[&str]) -> Self {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().canonicalize().unwrap();
        let root = path.join("Maildir");
        support::maildir(&root);
        for folder in folders {
            support::maildir(&root.join(folder));
        }
        let private = path.join("run");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
        Place {
            _base: base,
            root,
            socket: private.join("listen"),
        }
    }

    /// The program, attached to whoever serves the socket, or about to be.
    fn attach(&self, options: &[&str]) -> Program {
        let mut command = command(options);
        command.arg("--socket").arg(&self.socket);
        Program::start(command.arg("--maildir").arg(&self.root))
    }

    /// Deliver a message, whose name is of no interest.
    fn deliver(&self, folder: &str) {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        support::deliver(&self.folder(folder), &number.to_string()).unwrap();
    }

    fn folder(&self, folder: &str) -> PathBuf {
        if folder.is_empty() {
            self.root.clone()
        } else {
            self.root.join(folder)
        }
    }
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
