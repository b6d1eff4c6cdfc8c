//! What `mailsync-doctor` asks of the module.

use emacs::{Result, Vector, defun};

use super::{convert, engine, listening, path, text, whole};
use crate::errand::Errand;
use crate::errand::examine::Examine;

/// Examine ACCOUNTS, a vector as for `mailsync-module--start'.
/// RUNTIME is a directory for locks as unibyte string, or nil.  Nothing is changed.  The answer
/// comes through the pipe and carries SLOT, a string, and REQUEST, a number; it has six fields for
/// each finding, [SUBJECT CHECK LEVEL TEXT REMEDY PLACE], or, where LEVEL is \"fact\", for each
/// fact: [ACCOUNT \"folder\" \"fact\" NAME DIRECTORY TRUENAME], [ACCOUNT \"program\" \"fact\"
/// KIND FILE \"\"], [ACCOUNT \"watches\" \"fact\" DIRECTORIES WATCHERS \"\"].
/// Return t, or nil if no engine runs.
#[defun]
fn examine(
    slot: Vec<u8>,
    request: i64,
    accounts: Vector<'_>,
    runtime: Option<Vec<u8>>,
) -> Result<Option<bool>> {
    ask(
        slot,
        request,
        Examine::Accounts {
            accounts: whole(convert::accounts(accounts))?,
            runtime: runtime.map(path),
        },
    )
}

/// Examine this machine, for accounts that need so many WATCHES (directories) and WATCHERS.
/// LISTEN and RUNTIME are as for `mailsync-module--listen'; the rest, and the answer, as for
/// `mailsync-module--examine'.
#[defun]
fn examine_machine(
    slot: Vec<u8>,
    request: i64,
    watches: i64,
    watchers: i64,
    listen: Option<Vec<u8>>,
    runtime: Option<Vec<u8>>,
) -> Result<Option<bool>> {
    let runtime = runtime.map(path);
    let listen = listen.map(|file| listening::place(file, runtime.clone()));
    ask(
        slot,
        request,
        Examine::Machine {
            watches: u64::try_from(watches)?,
            watchers: u64::try_from(watchers)?,
            runtime,
            listen,
        },
    )
}

/// Try whether the server HOST, a unibyte string, takes a connection at PORT; nothing is said to it.
/// The rest, and the answer, are as for `mailsync-module--examine'.
#[defun]
fn reach(slot: Vec<u8>, request: i64, host: Vec<u8>, port: i64) -> Result<Option<bool>> {
    ask(
        slot,
        request,
        Examine::Reach {
            host: text(host),
            port: u16::try_from(port)?,
        },
    )
}

fn ask(slot: Vec<u8>, request: i64, what: Examine) -> Result<Option<bool>> {
    let errand = Errand::Examine(Box::new(what));
    engine(|handle| handle.errand(text(slot), request, errand))
}
