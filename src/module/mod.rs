//! The Lisp surface: every `mailsync-module--*` function, and the only place that knows Emacs.
//!
//! Each function sends a message to the engine or reads its last snapshot; none can wait.  The
//! engine's handle lives on the main thread alone, so it needs no lock.  File names come and go
//! as unibyte strings: Lisp encodes and decodes them, in one place (`mailsync-pipe.el`).

mod convert;

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::anyhow;
use emacs::{Env, Result, Value, Vector, defun};

use crate::engine::actor::Handle;
use crate::engine::pipe::Pipe;
use crate::threads;

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
///   [NAME QUIET LONGEST ROOTS]
/// with delays in seconds as floats, and ROOTS a vector of
///   [DIRECTORY LAYOUT POLL]
/// where DIRECTORY is an absolute name as unibyte string, LAYOUT one of the strings \"auto\",
/// \"maildir++\" and \"nested\", POLL nil or seconds as a float.  All other strings are UTF-8.
/// Signal an error if an engine runs already.
#[defun]
fn start(env: &Env, process: Value<'_>, generation: i64, accounts: Vector<'_>) -> Result<()> {
    if ENGINE.with_borrow(Option::is_some) {
        return Err(anyhow!("the engine runs already"));
    }
    let accounts = whole(convert::accounts(accounts))?;
    let pipe = whole(Pipe::new(env.open_channel(process)?))?;
    let handle = whole(Handle::start(accounts, generation, pipe))?;
    ENGINE.set(Some(handle));
    Ok(())
}

/// Go over to ACCOUNTS, a vector as for `mailsync-module--start'.
/// What stays as it is goes on being watched, without a gap and without a word.
/// Return t, or nil if no engine runs.
#[defun]
fn configure(accounts: Vector<'_>) -> Result<Option<bool>> {
    let accounts = whole(convert::accounts(accounts))?;
    engine(|handle| handle.configure(accounts))
}

/// Make the engine report to another pipe process, PROCESS, from now on.
/// GENERATION is greater than that of any pipe before; every folder is in doubt and reported.
/// Return t, or nil if no engine runs.
#[defun]
fn attach(env: &Env, process: Value<'_>, generation: i64) -> Result<Option<bool>> {
    let pipe = whole(Pipe::new(env.open_channel(process)?))?;
    engine(|handle| handle.attach(generation, pipe))
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
    engine(|handle| handle.resolve(text(slot), request, names))
}

/// Return the engine's last snapshot as a plist, or nil if no engine runs.
/// Its keys: `:accounts' `:in-flight' `:delivered' `:held' `:threads' `:dead'.  An account is a
/// plist of `:name' `:state' `:text' `:pending' `:roots', a root one of `:directory' `:state'
/// `:text' `:how' `:folders' `:watches' `:unwatched' `:problems'.  Names and texts are unibyte strings.
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

/// End the engine; return t, or nil if none runs.
/// Its threads end by themselves a moment later.
#[defun]
fn stop() -> Result<Option<bool>> {
    Ok(ENGINE.take().map(|handle| {
        handle.stop();
        true
    }))
}
