//! For the tests of what reads the syncers' configuration: a home directory with a program, its
//! configuration and some folders.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::plan::Plan;
use super::{Program, Syncer};
use crate::change::{AccountId, Folder};

/// Make a named pipe, by the program: mknod(2) is not everywhere.
pub(super) fn pipe(path: &Path) -> std::io::Result<()> {
    let status = Command::new("mkfifo").arg(path).status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| std::io::Error::other(status.to_string()))
}

/// A home directory, which is where programs are looked for, too.
pub(super) struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    /// One with an executable file `program`, the text `file` in `name`, and folders in `mail`.
    pub(super) fn new(
        program: &str,
        (name, file): (&str, &str),
        folders: &[&str],
    ) -> std::io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let home = directory.path();
        fs::write(home.join(program), "")?;
        fs::set_permissions(home.join(program), fs::Permissions::from_mode(0o755))?;
        fs::write(home.join(name), file)?;
        for folder in folders {
            fs::create_dir_all(home.join("mail").join(folder))?;
        }
        Ok(Home { directory })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A syncer that lives here.
    pub(super) fn syncer(&self, program: Program) -> Syncer {
        Syncer {
            search: vec![self.path().to_path_buf()],
            environment: vec![format!("HOME={}", self.path().display()).into()],
            ..Syncer::new(program)
        }
    }
}

/// A folder with this name and directory, where there is one.
pub(super) fn folder(name: &str, directory: PathBuf) -> Arc<Folder> {
    let real = fs::canonicalize(&directory).unwrap_or_else(|_| directory.clone());
    Arc::new(Folder {
        account: AccountId(0),
        real: real.into(),
        directory: directory.into(),
        name: name.as_bytes().into(),
    })
}

/// A folder that is only on the server.
pub(super) fn remote_only(name: &str) -> Arc<Folder> {
    folder(name, PathBuf::new())
}

/// What stands after the program's name.
pub(super) fn words(plan: &Plan) -> Vec<String> {
    let words = plan.argv.iter().skip(1);
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}
