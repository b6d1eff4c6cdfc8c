//! Questions to file systems, of which some may not answer.
//!
//! Such a one holds up neither the other questions nor, for long, the answer: it is left out of
//! that, and its thread ends when it is answered at last.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use crossbeam_channel::{bounded, unbounded};

use crate::engine::actor::MakeFs;
use crate::maildir::Fs;
use crate::threads;

/// Threads for one request.
const THREADS: usize = 4;

/// Threads in all that may wait for file systems that do not answer.
const STUCK: usize = 16;

/// How long an answer waits for such a name.  Lisp waits a second longer.
const PATIENCE: Duration = Duration::from_secs(4);

static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// Counts a thread while it lives.
struct AtWork;

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ask about these, and return what was answered in time, in the order in which it was.
///
/// # Errors
/// When the system gives no thread.
pub fn ask<T: Send + 'static>(
    names: Vec<PathBuf>,
    fs: &MakeFs,
    question: fn(&dyn Fs, &PathBuf) -> T,
) -> Result<Vec<(PathBuf, T)>> {
    let count = names.len();
    let (ask, asked) = bounded(count);
    let (tell, told) = unbounded();
    for name in names {
        ask.send(name)?;
    }
    drop(ask);
    for _ in 0..THREADS.min(count) {
        if AT_WORK.fetch_add(1, Ordering::Relaxed) >= STUCK {
            AT_WORK.fetch_sub(1, Ordering::Relaxed);
            break;
        }
        let at_work = AtWork;
        let (asked, tell, fs) = (asked.clone(), tell.clone(), fs());
        let work = move || {
            let _at_work = at_work;
            for name in asked {
                let answer = question(&*fs, &name);
                if tell.send((name, answer)).is_err() {
                    // Nobody waits any more.
                    return;
                }
            }
        };
        threads::spawn("mailsync-name", work, |_| {})?;
    }
    drop(tell);
    let end = Instant::now() + PATIENCE;
    Ok(std::iter::from_fn(|| told.recv_deadline(end).ok()).collect())
}
