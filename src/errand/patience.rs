//! Questions to file systems that may never answer: each on a thread, and an end to the waiting.
//!
//! A thread that hangs is left to itself; there is an end to their number, too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use crossbeam_channel::{Receiver, unbounded};

use crate::threads;

/// How long an answer waits for what does not come.  Lisp waits longer.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// Threads for one request: one that meets nothing but such file systems leaves some to others.
const THREADS: usize = 8;

/// Threads in all that may wait for file systems that do not answer.
const STUCK: usize = 16;

static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// Counts a thread while it lives.
#[derive(Debug)]
struct AtWork(());

impl AtWork {
    /// `None` when too many hang already.
    fn begin() -> Option<Self> {
        let at_work = AtWork(());
        let others = AT_WORK.fetch_add(1, Ordering::Relaxed);
        (others < STUCK).then_some(at_work)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was asked of each, in the order of the questions.
pub struct Asked<T> {
    told: Receiver<(usize, T)>,
    count: usize,
    end: Instant,
}

/// Ask each of these, as many at once as may be.  Who has an answer goes on with another question, so
/// that one that hangs holds up no other.  `work` may tell several times; the last counts.
///
/// # Errors
/// When the system gives no thread.
pub fn ask<Q: Send + 'static, T: Send + 'static>(
    questions: Vec<Q>,
    work: impl Fn(Q, &dyn Fn(T)) + Clone + Send + 'static,
) -> Result<Asked<T>> {
    let (tell, told) = unbounded();
    let count = questions.len();
    let (put, questions_left) = unbounded();
    for question in questions.into_iter().enumerate() {
        // Its other end is here.
        let _ = put.send(question);
    }
    drop(put);
    for _ in 0..THREADS.min(count) {
        let Some(at_work) = AtWork::begin() else {
            break;
        };
        let (tell, work, questions) = (tell.clone(), work.clone(), questions_left.clone());
        let body = move || {
            let _at_work = at_work;
            for (at, question) in questions {
                // Nobody may wait any more.
                work(question, &|answer| drop(tell.send((at, answer))));
            }
        };
        threads::spawn("mailsync-ask", body, |_| {})?;
    }
    Ok(Asked {
        told,
        count,
        end: Instant::now() + PATIENCE,
    })
}

impl<T> Asked<T> {
    /// What each has told last, in time; `None`: nothing.
    #[must_use]
    pub fn answers(self) -> Vec<Option<T>> {
        let mut answers: Vec<Option<T>> = (0..self.count).map(|_| None).collect();
        // Ends before its time when no thread is left.
        while let Ok((at, answer)) = self.told.recv_deadline(self.end) {
            if let Some(place) = answers.get_mut(at) {
                *place = Some(answer);
            }
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_the_last_one_counts() {
        let work = |it: u32, tell: &dyn Fn(u32)| {
            tell(it);
            tell(it * 2);
        };
        let answers = ask(vec![1, 2, 3], work).unwrap().answers();
        assert_eq!(answers, [Some(2), Some(4), Some(6)]);
    }

    #[test]
    fn there_may_be_more_questions_than_threads() {
        let answers = ask((0..100).collect(), |it: u32, tell| tell(it)).unwrap();
        let expected: Vec<_> = (0..100).map(Some).collect();
        assert_eq!(answers.answers(), expected);
    }

    #[test]
    fn who_panics_has_not_answered() {
        let work = |it: u32, tell: &dyn Fn(u32)| {
            assert_ne!(it, 2, "on purpose");
            tell(it);
        };
        let answers = ask(vec![1, 2, 3], work).unwrap().answers();
        assert_eq!(answers, [Some(1), None, Some(3)]);
    }
}
