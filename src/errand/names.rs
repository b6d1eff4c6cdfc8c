//! From file names to truenames, for Lisp, which must not ask a file system itself.
//!
//! A name on a file system that does not answer holds up neither the other names nor, for long,
//! the answer: it is left out of that.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use crossbeam_channel::{bounded, unbounded};

use super::patience::{AtWork, PATIENCE};
use crate::engine::actor::MakeFs;
use crate::threads;

/// Threads for one request.
const THREADS: usize = 4;

/// Names and their truenames, in turn, of those that exist and can be resolved in time.
///
/// # Errors
/// When the system gives no thread.
pub fn resolve(names: Vec<PathBuf>, fs: &MakeFs) -> Result<Vec<Vec<u8>>> {
    let count = names.len();
    let (ask, asked) = bounded(count);
    let (tell, told) = unbounded();
    for name in names {
        ask.send(name)?;
    }
    drop(ask);
    for _ in 0..THREADS.min(count) {
        let Some(at_work) = AtWork::begin() else {
            break;
        };
        let (asked, tell, fs) = (asked.clone(), tell.clone(), fs());
        let work = move || {
            let _at_work = at_work;
            for name in asked {
                let real = fs.canonicalize(&name).ok();
                if tell.send((name, real)).is_err() {
                    // Nobody waits any more.
                    return;
                }
            }
        };
        threads::spawn("mailsync-name", work, |_| {})?;
    }
    drop(tell);
    let end = Instant::now() + PATIENCE;
    let answers = std::iter::from_fn(|| told.recv_deadline(end).ok());
    let real = answers.filter_map(|(name, real)| Some([name, real?]));
    let real = real.flatten().map(|it| it.into_os_string().into_vec());
    Ok(real.collect())
}
