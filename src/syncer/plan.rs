//! From an order to a command line.
//!
//! Chooses who makes the plan, and knows what all plans have in common: where a program is, and
//! what its environment says.  What the arguments are is each syncer's own business.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, access};

use super::{Memory, Order, Outcome, Program, Scope, command, mbsync, offlineimap, worker};
use crate::change::{AccountId, Folder};
use crate::maildir::{DiskFs, FoundFolder, Layout, discover};

/// How long the arguments, or one variable, may be: one string can have 128 KiB on Linux.
pub(super) const LONGEST: usize = 100_000;

/// What is to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Program (an absolute name) and arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<OsString>,
    /// It covers the whole account.
    pub everything: bool,
    /// How a folder is called in the program's messages, with the folder's truename: what an
    /// error is about.
    pub names: HashMap<Vec<u8>, Arc<Path>>,
    /// What is known for the next run already.
    pub memory: Memory,
    /// The configuration that names the folders, for the text of an error.
    pub config: Option<PathBuf>,
}

/// Why nothing is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As if a run had ended so.
    pub outcome: Outcome,
    /// What a user should know and do.
    pub text: String,
}

/// What a user can do about a syncer's program but install it.
pub(super) const OTHERWISE: &str = "set :executable in :syncer";

/// Make a plan.  Reads configurations and may wait for a disk.
///
/// # Errors
/// When there is nothing that could be executed.
pub fn plan(order: &Order) -> Result<Plan, Refused> {
    match &order.syncer.program {
        Program::Command(_) => command::plan(order),
        Program::Mbsync { .. } => mbsync::plan(order),
        Program::OfflineImap { .. } => offlineimap::plan(order),
        Program::OnlyWorker => Ok(worker::plan(order)),
    }
}

/// Where a program is.  A name with a slash says so itself; any other is looked for along
/// `search`, of which only absolute directories count.  `otherwise` is what a user can do but install
/// it.
///
/// # Errors
/// When there is no such file that may be executed.
pub fn find(program: &OsStr, search: &[PathBuf], otherwise: &str) -> Result<PathBuf, Refused> {
    let named = program.as_bytes().contains(&b'/');
    if named {
        let path = PathBuf::from(program);
        if executable(&path) {
            return Ok(path);
        }
    } else if !program.is_empty() {
        let directories = search.iter().filter(|directory| directory.is_absolute());
        let mut places = directories.map(|directory| directory.join(program));
        if let Some(place) = places.find(|place| executable(place)) {
            return Ok(place);
        }
    }
    let text = format!(
        "the program {} {}; install it, or {otherwise}",
        program.display(),
        if named {
            "does not exist, or may not be executed"
        } else {
            "is in no directory of exec-path"
        }
    );
    Err(Refused {
        outcome: Outcome::Config,
        text,
    })
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|stat| stat.is_file()) && access(path, Access::EXEC_OK).is_ok()
}

/// The environment of a run: the order's, and what a program may want to know of the run.
///
/// `MAILSYNC_ACCOUNT`; `MAILSYNC_FOLDERS`, the canonical names, one a line, absent for the whole
/// account; `MAILSYNC_DIRECTORIES`, those of the folders, one a line, or the maildirs of the whole
/// account.
#[must_use]
pub fn environment(order: &Order) -> Vec<OsString> {
    let ours = [
        "MAILSYNC_ACCOUNT",
        "MAILSYNC_FOLDERS",
        "MAILSYNC_DIRECTORIES",
    ];
    // An Emacs inside a syncer would pass on what it was told itself.
    let mut seen: HashSet<&[u8]> = ours.iter().map(|name| name.as_bytes()).collect();
    let mut environment = Vec::with_capacity(order.syncer.environment.len() + ours.len());
    for entry in &order.syncer.environment {
        let bytes = entry.as_bytes();
        let name = bytes.split(|byte| *byte == b'=').next().unwrap_or(bytes);
        // In Emacs a name alone takes a variable away, and the first entry of a name is the one.
        if seen.insert(name) && bytes.len() > name.len() {
            environment.push(entry.clone());
        }
    }
    let folders = match &order.scope {
        Scope::Everything => None,
        Scope::Folders(folders) => lines(folders.iter().map(|folder| &*folder.name)),
    };
    let directories = match (&order.scope, &folders) {
        (Scope::Folders(folders), Some(_)) => {
            let directories = folders.iter().map(|folder| &*folder.directory);
            let present = directories.filter(|directory| !directory.as_os_str().is_empty());
            lines(present.map(|directory| directory.as_os_str().as_bytes()))
        }
        _ => lines(order.roots.iter().map(|root| root.as_os_str().as_bytes())),
    };
    let values = [
        Some(order.account.clone().into_bytes()),
        folders,
        directories,
    ];
    for (name, value) in ours.iter().zip(values) {
        if let Some(value) = value {
            let entry = [name.as_bytes(), b"=", &value].concat();
            environment.push(OsString::from_vec(entry));
        }
    }
    environment
}

/// The folders that are there now.  None where nothing can be seen.
pub(super) fn found_in(roots: &[PathBuf]) -> Vec<Arc<Folder>> {
    let scans = roots.iter();
    let scans = scans.filter_map(|root| discover(&DiskFs, root, Layout::Auto, &[]).ok());
    let folder = |found: Arc<FoundFolder>| {
        Arc::new(Folder {
            // Nobody asks for that here.
            account: AccountId(0),
            real: found.real.clone(),
            directory: found.directory.clone(),
            name: found.name.clone(),
        })
    };
    scans.flat_map(|scan| scan.folders).map(folder).collect()
}

/// One item a line; `None` where there is none, or lines cannot say it.
fn lines<'a>(items: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let items: Vec<&[u8]> = items.collect();
    let sayable = items.iter().all(|item| !item.contains(&b'\n'));
    let text = items.join(&b'\n');
    (sayable && !text.is_empty() && text.len() <= LONGEST).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Syncer;
    use super::*;

    type Tested = Result<(), Box<dyn std::error::Error>>;

    // Security: S62.
    #[test]
    fn programs_are_found() -> Tested {
        let home = tempfile::tempdir()?;
        let place = |name: &str| home.path().join(name);
        for (name, mode) in [
            ("a/prog", 0o755),
            ("b/prog", 0o755),
            ("a/text", 0o644),
            ("b/text", 0o700),
        ] {
            fs::create_dir_all(place(name).parent().ok_or("a parent")?)?;
            fs::write(place(name), "")?;
            fs::set_permissions(place(name), fs::Permissions::from_mode(mode))?;
        }
        fs::create_dir_all(place("a/directory"))?;
        let search = ["none".into(), place("a"), place("b")];
        let absolute = place("b/prog").display().to_string();
        let unreadable = place("a/text").display().to_string();
        let table: [(&str, Option<&str>); 8] = [
            ("prog", Some("a/prog")),
            ("text", Some("b/text")),
            (&absolute, Some("b/prog")),
            (&unreadable, None),
            ("./prog", None),
            ("directory", None),
            ("other", None),
            ("", None),
        ];
        for (program, found) in table {
            let result = find(OsStr::new(program), &search, OTHERWISE);
            assert_eq!(result.ok(), found.map(place), "{program}");
        }
        let refused = find(OsStr::new("other"), &search, OTHERWISE)
            .err()
            .ok_or("found")?;
        assert_eq!(refused.outcome, Outcome::Config);
        assert_eq!(
            refused.text,
            "the program other is in no directory of exec-path; \
             install it, or set :executable in :syncer"
        );
        Ok(())
    }

    fn told(scope: Scope, environment: &[&str]) -> Vec<String> {
        let order = Order {
            roots: vec!["/m".into(), "/n".into()],
            ..Order::new(
                "home",
                Syncer {
                    environment: environment.iter().map(OsString::from).collect(),
                    ..Syncer::new(Program::OfflineImap {
                        program: "x".into(),
                        account: String::new(),
                        config: None,
                        args: Vec::new(),
                    })
                },
                scope,
            )
        };
        let environment = super::environment(&order).into_iter();
        environment
            .map(|entry| entry.to_string_lossy().into_owned())
            .collect()
    }

    fn folder(name: &str, directory: &str) -> Arc<Folder> {
        Arc::new(Folder {
            account: AccountId(0),
            real: Path::new(directory).into(),
            directory: Path::new(directory).into(),
            name: name.as_bytes().into(),
        })
    }

    #[test]
    fn the_environment_tells_of_the_run() {
        let everything = ["MAILSYNC_ACCOUNT=home", "MAILSYNC_DIRECTORIES=/m\n/n"];
        assert_eq!(told(Scope::Everything, &[]), everything);
        let scope = Scope::Folders(vec![folder("a/é", "/m/a/&AOk-"), folder("b", "")]);
        assert_eq!(
            told(scope, &["MAILSYNC_FOLDERS=old"]),
            [
                "MAILSYNC_ACCOUNT=home",
                "MAILSYNC_FOLDERS=a/é\nb",
                "MAILSYNC_DIRECTORIES=/m/a/&AOk-"
            ]
        );
        // What lines cannot say: rather all than the wrong ones.
        let scope = Scope::Folders(vec![folder("a\nb", "/m/a&AAo-b")]);
        assert_eq!(told(scope, &[]), everything);
        let scope = Scope::Folders(vec![folder(&"x".repeat(LONGEST + 1), "/m/x")]);
        assert_eq!(told(scope, &[]), everything);
    }

    #[test]
    fn the_first_variable_of_a_name_counts() {
        let table: [(&[&str], &[&str]); 5] = [
            (&["A=1", "B=2"], &["A=1", "B=2"]),
            (&["A=1", "A=2"], &["A=1"]),
            (&["A=", "A=2"], &["A="]),
            (&["A", "A=2", "AB=3"], &["AB=3"]),
            (&["A=1=2"], &["A=1=2"]),
        ];
        for (given, kept) in table {
            let told = told(Scope::Everything, given);
            assert_eq!(
                told.get(..told.len() - 2),
                Some(&kept.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{given:?}"
            );
        }
    }
}
