//! Our threads: named, deaf to signals, and never dying silently.
//!
//! Emacs must get every signal on its own thread, and one write into a closed pipe must not end
//! a batch Emacs by SIGPIPE, so all of ours block all signals from their first instruction.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// How many of our threads live, without those that the notification backend makes.
pub fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Text and place of the last panic in this library.
pub fn last_panic() -> String {
    LAST_PANIC
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Keep panics off the terminal that Emacs draws on: their text is remembered instead.
pub fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let thread = thread::current().name().unwrap_or("main").to_owned();
            let text = payload(info.payload());
            *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) =
                format!("thread {thread} panicked at {place}: {text}");
        }));
    });
}

fn payload(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no text".to_owned())
}

/// Have this thread's timeouts end when they should: Linux makes them up to 50 µs late otherwise
/// (`PR_SET_TIMERSLACK`).  For a thread that seldom waits with a timeout, and matters when it does.
pub fn be_punctual() {
    // Being late is no failure.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_timerslack(1);
}

struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Start a thread.  `name` has at most 15 bytes (Linux cuts the rest).  When `body` panics,
/// `panicked` is called on the same thread with what it said.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
    panicked: impl FnOnce(String) + Send + 'static,
) -> Result<()> {
    // Blocked in the parent, so that the child never runs with a signal open.
    let old = SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_SETMASK)
        .context("blocking signals")?;
    LIVE.fetch_add(1, Ordering::Relaxed);
    let alive = Alive;
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _alive = alive;
        if let Err(error) = panic::catch_unwind(AssertUnwindSafe(body)) {
            let mut text = last_panic();
            if text.is_empty() {
                text = payload(&*error);
            }
            // The last word must not take the process down either.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| panicked(text)));
        }
    });
    old.thread_set_mask().context("restoring signals")?;
    spawned
        .map(drop)
        .with_context(|| format!("starting the thread {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_panic_is_told_and_signals_are_blocked() {
        let (tx, rx) = mpsc::channel();
        let masked = tx.clone();
        spawn(
            "mailsync-test",
            move || {
                let mask = SigSet::thread_get_mask().unwrap();
                let all = SigSet::all().into_iter().all(|signal| {
                    // These two cannot be blocked.
                    use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
                    matches!(signal, SIGKILL | SIGSTOP) || mask.contains(signal)
                });
                masked.send(format!("all blocked: {all}")).unwrap();
                panic!("on purpose {}", 1);
            },
            move |text| tx.send(text).unwrap(),
        )
        .unwrap();
        let wait = Duration::from_secs(10);
        assert_eq!(rx.recv_timeout(wait).unwrap(), "all blocked: true");
        assert!(rx.recv_timeout(wait).unwrap().contains("on purpose 1"));
        let mask = SigSet::thread_get_mask().unwrap();
        assert!(
            !mask.contains(nix::sys::signal::Signal::SIGTERM),
            "ours is as before"
        );
    }
}
