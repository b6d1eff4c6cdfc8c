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

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailsync_module::change::{AccountId, Folder, Kinds};
use mailsync_module::syncer::Output;

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
    Output {
        first: bytes,
        dropped: chance.below(2) * 100 * u64::from(!last.is_empty()),
        last,
    }
}
