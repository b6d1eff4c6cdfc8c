//! From file names to truenames, for Lisp, which must not ask a file system itself.
//!
//! A name on a file system that does not answer holds up neither the other names nor, for long,
//! the answer: it is left out of that.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::Result;

use super::patience::ask;
use crate::engine::actor::MakeFs;

/// Names and their truenames, in turn, of those that exist and can be resolved in time.
///
/// # Errors
/// When the system gives no thread.
pub fn resolve(names: Vec<PathBuf>, fs: &MakeFs) -> Result<Vec<Vec<u8>>> {
    let make = fs.clone();
    let asked = ask(names, move |name: PathBuf, tell| {
        if let Ok(real) = make().canonicalize(&name) {
            tell([name, real]);
        }
    })?;
    let real = asked
        .answers()
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.into_os_string().into_vec());
    Ok(real.collect())
}
