//! The Lisp surface: every `mailsync-module--*` function, and the only place that knows Emacs.
//!
//! Each function sends a message to the engine or reads its last snapshot; none can wait.  The
//! engine's handle lives on the main thread alone, so it needs no lock.  File names come and go
//! as unibyte strings: Lisp encodes and decodes them, in one place (`mailsync-pipe.el`).

mod convert;
mod examine;
#[cfg(feature = "imap")]
mod imap;
mod listening;

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use emacs::{Env, Result, Value, Vector, defun};

use crate::engine::actor::Handle;
use crate::engine::core::Input;
use crate::engine::pipe::Pipe;
use crate::errand::Errand;
use crate::errand::discover::Question;
use crate::threads;
#[cfg(feature = "imap")]
use crate::{
    engine::config::RemoteId,
    remote::imap::{keeper, secret::Secret},
};

thread_local! {
    static ENGINE: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// Errors with their whole chain: the bridge would show the outermost text only.
fn whole<T>(result: anyhow::Result<T>) -> Result<T> {
    result.map_err(|error| anyhow!("{error:#}"))
}

/// Run `call` on the engine; nil when there is none.
fn engine(call: impl FnOnce(&Handle) -> anyhow::Result<()>) -> Result<Option<bool>> {
    ENGINE.with_borrow(|engine| match engine {
        Some(handle) => whole(call(handle)).map(|()| Some(true)),
        None => Ok(None),
    })
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Return the version of the module, a string.
#[defun]
fn version() -> Result<String> {
    Ok(env!("CARGO_PKG_VERSION").to_owned())
}

/// Start the engine, which reports to the pipe process PROCESS.
/// GENERATION is a number that frames and acknowledgements carry; it is 1 for the first pipe.
/// ACCOUNTS is a vector of accounts, each a vector
///   [NAME QUIET LONGEST ROOTS SYNC REMOTES]
/// with delays in seconds as floats, and ROOTS a vector of
///   [DIRECTORY LAYOUT POLL]
/// where DIRECTORY is an absolute name as unibyte string, LAYOUT one of the strings \"auto\",
/// \"maildir++\" and \"nested\", POLL nil or seconds as a float.  All other strings are UTF-8.
/// SYNC is nil, or how the account is synced:
///   [BASE INTER OVERRIDES MAX POLL CHECK-TIMEOUT SYNC-TIMEOUT AT-START IGNORE SYNCER]
/// with delays in seconds as floats (POLL 0: never), OVERRIDES a vector of [GLOB SECONDS], IGNORE
/// a vector of globs, and SYNCER
///   [KIND WORDS ALL TARGET CONFIG ARGS SEARCH ENVIRONMENT DIRECTORY INPUT SUCCESS NAMING
///    SEPARATOR PREFIX PULLS-ONLY PER-RUN PER-FOLDER]
/// as `mailsync-syncers-describe' makes it.  REMOTES is a vector of stores on other machines,
///   [KIND INTER MAX FOLDERS DESCRIBED]
/// with the delays between two attempts and globs for the folders that matter (none: all).  For KIND
/// \"watcher\" it is described by
///   [WORDS SEARCH ENVIRONMENT PREFIX SEPARATOR]
/// the words of its command line, and how its names of folders become canonical ones; for \"imap\" by
///   [SEARCH ENVIRONMENT HOST PORT TLS FINGERPRINT USER AUTH SECRET-COMMAND OAUTH-COMMAND TUNNEL
///    PREFIX SEPARATOR IDLE-FOLDERS IDLE-REFRESH POLL]
/// as the keys of `mailsync-accounts' are called, nil for those that are not given.  RUNTIME is a directory for locks, or nil.
/// Signal an error if an engine runs already.
#[defun]
fn start(
    env: &Env,
    process: Value<'_>,
    generation: i64,
    accounts: Vector<'_>,
    runtime: Option<Vec<u8>>,
) -> Result<()> {
    if ENGINE.with_borrow(Option::is_some) {
        return Err(anyhow!("the engine runs already"));
    }
    let accounts = whole(convert::accounts(accounts))?;
    let pipe = whole(Pipe::new(env.open_channel(process)?))?;
    let handle = whole(Handle::start(accounts, generation, pipe, runtime.map(path)))?;
    ENGINE.set(Some(handle));
    listening::forget();
    Ok(())
}

/// Go over to ACCOUNTS, a vector as for `mailsync-module--start'.
/// What stays as it is goes on being watched, without a gap and without a word.  With RETRY
/// non-nil the user has done that, and what servers have refused is tried again.
/// Return t, or nil if no engine runs.
#[defun]
fn configure(accounts: Vector<'_>, retry: Value<'_>) -> Result<Option<bool>> {
    let accounts = whole(convert::accounts(accounts))?;
    let retry = retry.is_not_nil();
    engine(|handle| {
        handle.configure(accounts)?;
        match retry {
            true => handle.input(Input::Retry),
            false => Ok(()),
        }
    })
}

/// Make the engine report to another pipe process, PROCESS, from now on.
/// GENERATION is greater than that of any pipe before; every folder is in doubt and reported.
/// Return t, or nil if no engine runs.
#[defun]
fn attach(env: &Env, process: Value<'_>, generation: i64) -> Result<Option<bool>> {
    let pipe = whole(Pipe::new(env.open_channel(process)?))?;
    engine(|handle| handle.attach(generation, pipe))
}

/// Have programs of this machine told what was checked, through the Unix socket FILE.
/// That is an absolute name as unibyte string, empty for the default, which RUNTIME (a directory as
/// unibyte string, or nil) says, or nil: no program is told.  Emacs is silent when it has not
/// answered for TIMEOUT seconds, a float.  What goes wrong comes through the pipe.
/// Return t, or nil if no engine runs.
#[defun]
fn listen(file: Option<Vec<u8>>, runtime: Option<Vec<u8>>, timeout: f64) -> Result<Option<bool>> {
    let place = file.map(|file| listening::place(file, runtime.map(path)));
    let timeout = whole(convert::seconds(timeout))?;
    engine(|handle| listening::listen(handle, place, timeout))
}

/// Tell the engine that the frame SEQUENCE of GENERATION has been read, whole.
/// Return t, or nil if no engine runs.
#[defun]
fn acknowledge(generation: i64, sequence: i64) -> Result<Option<bool>> {
    engine(|handle| handle.acknowledge(generation, u64::try_from(sequence)?))
}

/// Have every folder reported as unknown: of ACCOUNT, or of all if that is nil.
/// DIRECTORY, an absolute name as unibyte string or nil, restricts that to one of its roots.
/// Return t, or nil if no engine runs.
#[defun]
fn check(account: Option<Vec<u8>>, directory: Option<Vec<u8>>) -> Result<Option<bool>> {
    engine(|handle| handle.check(account.map(text), directory.map(path)))
}

/// Resolve the symbolic links of NAMES, a vector of absolute names as unibyte strings.
/// The answer comes through the pipe and carries SLOT, a string, and REQUEST, a number.
/// Return t, or nil if no engine runs.
#[defun]
fn resolve(slot: Vec<u8>, request: i64, names: Vector<'_>) -> Result<Option<bool>> {
    let names = whole(convert::paths(names))?;
    engine(|handle| handle.errand(text(slot), request, Errand::Resolve(names)))
}

/// Find out what accounts there could be, in the configurations of syncers and on the disk.
/// The answer comes through the pipe and carries SLOT, a string, and REQUEST, a number.  ENVIRONMENT
/// is a vector of \"NAME=VALUE\", in which syncers would run; GNUS a vector of [SERVER DIRECTORY], what
/// Gnus itself shows; UNTOLD non-nil looks at ~/Maildir, too, though nobody names that.  All are
/// unibyte strings.  `src/errand/discover' says what the answer looks like.
/// Return t, or nil if no engine runs.
#[defun]
fn discover(
    slot: Vec<u8>,
    request: i64,
    environment: Vector<'_>,
    gnus: Vector<'_>,
    untold: Value<'_>,
) -> Result<Option<bool>> {
    let question = Question {
        environment: whole(convert::words_of(environment))?,
        gnus: whole(convert::places(gnus))?,
        untold: untold.is_not_nil(),
    };
    engine(|handle| handle.errand(text(slot), request, Errand::Discover(question)))
}

/// Have the folders of ACCOUNT, or of all accounts if it is nil, told.
/// Unless ALL is non-nil, those are left out with which all is well.
/// The answer comes through the pipe, and carries SLOT, a string, and REQUEST, a number.  It has seven
/// fields for each: account, canonical name, directory, truename (empty: as directory), letters, how
/// many milliseconds ago it was synced last (or nothing), and why syncs leave it alone (or nothing).
/// The letters are `w' (it waits to be synced), `r' (it is being synced) and `u' (it has something to
/// push).  Return t, or nil if no engine runs.
#[defun]
fn folders(
    slot: Vec<u8>,
    request: i64,
    account: Option<Vec<u8>>,
    all: Value<'_>,
) -> Result<Option<bool>> {
    let input = Input::Folders {
        account: account.map(text),
        all: all.is_not_nil(),
        slot: text(slot),
        request,
    };
    engine(|handle| handle.input(input))
}

/// Return the engine's last snapshot as a plist, or nil if no engine runs.
/// Its keys: `:accounts' `:in-flight' `:delivered' `:held' `:threads' `:dead'.  An account is a
/// plist of `:name' `:state' `:text' `:pending' `:roots' `:sync' `:remotes', a root one of `:directory' `:state'
/// `:since' (for how many seconds, or nil) `:text' `:how' `:folders' `:watches' `:unwatched' `:problems'.  An account that is synced has
/// `:sync', a plist of `:last-ok' and `:next': how many seconds ago its last success was, and in how
/// many the next sync may start (nil: none).  A remote store is a plist of `:what' `:state' `:text'
/// `:since' `:news' `:next': for how many seconds it has been so, how many ago something was heard of
/// it, and in how many it is tried again.  Names and texts are unibyte strings.
#[defun]
fn status(env: &Env) -> Result<Value<'_>> {
    ENGINE.with_borrow_mut(|engine| match engine {
        Some(handle) => convert::status(env, handle.status()),
        None => env.intern("nil"),
    })
}

/// Return how many threads of the engine live, whether it runs or is about to end.
#[defun]
fn threads() -> Result<i64> {
    Ok(i64::try_from(threads::live())?)
}

/// Tell the engine that the folders of ACCOUNT in PAIRS have been checked.
/// PAIRS is a vector of [TRUENAME SERIAL], the number of the last change that was known then.
/// Return t, or nil if no engine runs.
#[defun]
fn checked(account: Vec<u8>, pairs: Vector<'_>) -> Result<Option<bool>> {
    let pairs = whole(convert::checked(pairs))?;
    engine(|handle| handle.input(Input::Checked(text(account), pairs)))
}

/// Have ACCOUNT synced now, or all accounts if it is nil.
/// FOLDERS is a vector of canonical names, or nil for everything; REQUEST, if it is not 0, comes
/// back in the record of the run that answers it.  Return t, or nil if no engine runs.
#[defun]
fn sync(
    account: Option<Vec<u8>>,
    folders: Option<Vector<'_>>,
    request: i64,
) -> Result<Option<bool>> {
    let folders = whole(folders.map(convert::bytes_of).transpose())?;
    engine(|handle| handle.input(Input::Sync(account.map(text), folders, request)))
}

/// Pause the syncs of ACCOUNT, or of all if it is nil; resume them if FLAG is nil.
/// Return t, or nil if no engine runs.
#[defun]
fn pause(account: Option<Vec<u8>>, flag: Value<'_>) -> Result<Option<bool>> {
    let flag = flag.is_not_nil();
    engine(|handle| handle.input(Input::Pause(account.map(text), flag)))
}

/// Answer the question for the secret of the connection NUMBER to the store REMOTE.
/// SECRET is a unibyte string, or nil, and REASON then says why there is none.
/// Return t, or nil if no engine runs.
#[cfg(feature = "imap")]
#[defun]
fn secret(
    remote: i64,
    number: i64,
    secret: Option<Vec<u8>>,
    reason: Vec<u8>,
) -> Result<Option<bool>> {
    let secret = secret.map(Secret::new).ok_or_else(|| text(reason));
    let event = keeper::Event::Secret(u64::try_from(number)?, secret);
    let remote = RemoteId(usize::try_from(remote)?);
    engine(|handle| handle.input(Input::Imap(remote, event)))
}

/// Answer how ACCOUNT is synced in RUN: SYNCER is a vector as for `mailsync-module--start'.
/// With nil it is as configured, for the whole account.  Return t, or nil if no engine runs.
#[defun]
fn planned(account: Vec<u8>, run: i64, syncer: Option<Vector<'_>>) -> Result<Option<bool>> {
    let syncer = whole(syncer.map(convert::syncer).transpose())?.map(Box::new);
    let run = u64::try_from(run)?;
    engine(|handle| handle.input(Input::Planned(text(account), run, syncer)))
}

/// Run SYNCER, which belongs to no account, for FOLDERS (nil: everything).
/// KEY, a string, names it; runs of one key never overlap.  REQUEST is as for
/// `mailsync-module--sync'; SILENCE is for how many seconds, a float, it may say nothing (0: for
/// ever).
/// Return t, or nil if no engine runs.
#[defun]
fn run(
    key: Vec<u8>,
    syncer: Vector<'_>,
    folders: Option<Vector<'_>>,
    request: i64,
    silence: f64,
) -> Result<Option<bool>> {
    let input = Input::RunOnce {
        key: text(key),
        sync: Box::new(whole(convert::once(syncer, silence))?),
        folders: whole(folders.map(convert::bytes_of).transpose())?,
        request,
    };
    engine(|handle| handle.input(input))
}

/// End the engine, since Emacs ends; return t, or nil if none runs.
/// Waits until syncers that run were told to end, for 0.3 seconds at most.
#[defun]
fn farewell() -> Result<Option<bool>> {
    listening::forget();
    Ok(ENGINE.take().map(|handle| {
        handle.farewell(Duration::from_millis(300));
        true
    }))
}

/// End the engine; return t, or nil if none runs.
/// Its threads end by themselves a moment later.
#[defun]
fn stop() -> Result<Option<bool>> {
    listening::forget();
    Ok(ENGINE.take().map(|handle| {
        handle.stop();
        true
    }))
}
