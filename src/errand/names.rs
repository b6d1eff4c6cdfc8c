//! From file names to truenames, for Lisp, which must not ask a file system itself.
//!
//! A name on a file system that does not answer holds up neither the other names nor, for long,
//! the answer: it is left out of that.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::Result;

use super::patience;
use crate::engine::actor::MakeFs;

/// Names and their truenames, in turn, of those that exist and can be resolved in time.
///
/// # Errors
/// When the system gives no thread.
pub fn resolve(names: Vec<PathBuf>, fs: &MakeFs) -> Result<Vec<Vec<u8>>> {
    let answers = patience::ask(names, fs, |fs, name| fs.canonicalize(name).ok())?;
    let real = answers.into_iter();
    let real = real.filter_map(|(name, real)| Some([name, real?]));
    let real = real.flatten().map(|it| it.into_os_string().into_vec());
    Ok(real.collect())
}
