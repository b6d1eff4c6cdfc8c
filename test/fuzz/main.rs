//! Anything at all, said to whatever reads bytes of others: one module each reader, named after what it
//! reads.  What servers say by IMAP is tried in `test/imap/fuzz.rs`.
//!
//! Each knows more of its reader than that it does not panic: how large its answer may be, that it does
//! not matter how the bytes are cut, what follows after garbage, what was written comes back, what
//! somebody else's reader makes of the same.  `corpus` has real samples; the tables beside the readers
//! are samples, too.

mod complaints;
mod frames;
#[path = "../support/fuzz.rs"]
mod fuzzing;
mod mbsync_config;
mod mbsync_output;
mod mbsync_state;
mod names;
mod offlineimap_config;
mod offlineimap_output;
#[cfg(feature = "offlineimap-state")]
mod offlineimap_record;
mod output;
mod socket;
#[cfg(feature = "imap")]
mod utf7;
mod watcher;
mod worker;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailsync_module::change::{AccountId, Folder, Kinds};
use mailsync_module::syncer::outcome::{Exit, Verdict, judge};
use mailsync_module::syncer::plan::Plan;
use mailsync_module::syncer::{Memory, Order, Outcome, Output, Program, Scope, Syncer};

use fuzzing::Rng;

/// Any of them.
fn kinds(chance: &mut Rng) -> Kinds {
    Kinds::from_bits_truncate(chance.below(64) as u8)
}

/// An absolute path of a few levels.
fn path(chance: &mut Rng) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut path = b"/".to_vec();
    path.extend(fuzzing::bytes(chance, 24, b"\0"));
    std::ffi::OsString::from_vec(path).into()
}

/// A folder with this name in `/m`.
fn folder(name: &str) -> Arc<Folder> {
    let directory: Arc<Path> = Path::new("/m").join(name).into();
    Arc::new(Folder {
        account: AccountId(0),
        real: directory.clone(),
        directory,
        name: name.as_bytes().into(),
    })
}

/// What a program printed, with a part left out of it now and then.
fn printed(chance: &mut Rng, mut bytes: Vec<u8>) -> Output {
    let last = if chance.once_in(4) {
        bytes.split_off(chance.index(bytes.len() + 1))
    } else {
        Vec::new()
    };
    let dropped = chance.below(2) * 100 * u64::from(!last.is_empty());
    Output {
        first: bytes,
        dropped,
        between: if dropped > 0 {
            last.clone()
        } else {
            Vec::new()
        },
        last,
    }
}

/// A line for the user is no longer than this: what happened, the program's words, what to do.
const LONGEST: usize = 1200;

/// Runs of a program, which is to be judged by what it printed.
struct Runs {
    folders: [Arc<Folder>; 3],
    /// Of everything, and of the folders.
    orders: [Order; 2],
    /// What the program calls the folders.
    names: HashMap<Vec<u8>, Arc<Path>>,
    /// The exit code besides 0 that is success.
    success: i32,
}

impl Runs {
    /// `name` says what the program calls a folder.
    fn of(
        program: Program,
        success: i32,
        folders: [&str; 3],
        name: impl Fn(&Folder) -> Vec<u8>,
    ) -> Self {
        let folders = folders.map(folder);
        let syncer = Arc::new(Syncer {
            success: vec![success],
            ..Syncer::new(program)
        });
        let order = |scope| Order::new("mine", syncer.clone(), scope);
        let orders = [
            order(Scope::Everything),
            order(Scope::Folders(folders.to_vec())),
        ];
        let names = folders.iter().map(|it| (name(it), it.real.clone()));
        Runs {
            orders,
            names: names.collect(),
            success,
            folders,
        }
    }

    /// Have one of them judged, with what is said of it always so.
    fn judged(&self, chance: &mut Rng, argv: &[&str], exit: Exit, output: &Output) -> Verdict {
        let at = chance.index(2);
        let order = &self.orders[at];
        let plan = Plan {
            argv: argv.iter().map(OsString::from).collect(),
            environment: Vec::new(),
            everything: at == 0 || chance.once_in(4),
            names: self.names.clone(),
            memory: Memory::default(),
            config: Some("/nowhere/rc".into()),
        };
        let verdict = judge(order, &plan, exit, output);
        fuzzing::assert_shown(&verdict.text, LONGEST);
        if verdict.outcome == Outcome::Ok {
            assert!(verdict.text.is_empty() && verdict.failed.is_empty());
            let well = matches!(exit, Exit::Code(code) if code == 0 || code == self.success);
            assert!(well, "it failed");
        } else {
            assert!(!verdict.text.is_empty());
        }
        // Nothing fails but what there is.
        let known = |real: &Arc<Path>| self.folders.iter().any(|it| it.real == *real);
        assert!(verdict.failed.iter().all(known));
        // It says so every time.
        assert_eq!(judge(order, &plan, exit, output), verdict);
        let nothing = judge(order, &plan, Exit::Code(0), &Output::default());
        assert_eq!(nothing.outcome, Outcome::Ok);
        verdict
    }
}
