//! Shorter: from a life that fails to a tape of one that fails in the same way, in few steps.
//!
//! What users and faults do is left out, more of it at first and less later; then decisions become simpler.
//! Each try is a life.  It stops when nothing helps any more, or after so many tries.

use crate::Failure;
use crate::rng::{Rng, SETUP, Tape};

const TRIES: usize = 3_000;

/// A tape on which a life fails as it does with this seed, and how.
pub fn shortest(seed: u64, live: impl Fn(Rng) -> Result<(), Failure>) -> (Tape, Failure) {
    let play = |follows: Option<Tape>| {
        let rng = Rng::taped(seed, follows);
        let deck = rng.clone();
        let outcome = live(rng);
        outcome.err().map(|failure| (deck.tape(), failure))
    };
    let Some(first) = play(None) else {
        panic!("a life with a tape is another one: seed {seed}");
    };
    let mut shrinking = Shrinking {
        same: sort(&first.1),
        best: first,
        tries: 0,
        play,
    };
    loop {
        let before = shrinking.cost();
        shrinking.leave_out();
        shrinking.simplify();
        if shrinking.cost() >= before || shrinking.tries >= TRIES {
            return shrinking.best;
        }
    }
}

/// What makes a failure the same as another: all before what it is about.
fn sort(failure: &Failure) -> String {
    let title = failure.title();
    let words: Vec<&str> = title.split_whitespace().take(3).collect();
    let short = title.split_once(':').map(|(before, _)| before.to_owned());
    short.unwrap_or_else(|| words.join(" "))
}

struct Shrinking<P> {
    same: String,
    best: (Tape, Failure),
    tries: usize,
    play: P,
}

impl<P: Fn(Option<Tape>) -> Option<(Tape, Failure)>> Shrinking<P> {
    /// What is to become less: steps, then spans, then the decisions themselves.
    fn cost(&self) -> (usize, usize, u128) {
        cost(&self.best)
    }

    fn labels(&self) -> Vec<String> {
        self.best.0.0.keys().cloned().collect()
    }

    /// Whether this is better; it is kept then.
    fn helps(&mut self, tape: Tape) -> bool {
        if self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        match (self.play)(Some(tape)) {
            Some(found) if sort(&found.1) == self.same && cost(&found) < self.cost() => {
                self.best = found;
                true
            }
            _ => false,
        }
    }

    fn leave_out(&mut self) {
        for label in self.labels().into_iter().filter(|it| it != SETUP) {
            let count = |it: &Self| it.best.0.0.get(&label).map_or(0, Vec::len);
            let mut size = count(self).max(1);
            loop {
                let mut at = 0;
                while at < count(self) {
                    let mut tape = self.best.0.clone();
                    if let Some(spans) = tape.0.get_mut(&label) {
                        spans.drain(at..spans.len().min(at + size));
                    }
                    if !self.helps(tape) {
                        at += size;
                    }
                }
                if size == 1 {
                    break;
                }
                size /= 2;
            }
        }
    }

    fn simplify(&mut self) {
        for label in self.labels().into_iter().filter(|it| it != "rest") {
            let mut number = 0;
            while let Some(span) = self.best.0.0.get(&label).and_then(|it| it.get(number)) {
                for at in 0..span.len() {
                    self.lower(&label, number, at);
                }
                number += 1;
            }
        }
    }

    fn lower(&mut self, label: &str, number: usize, at: usize) {
        for divisor in [u64::MAX, 10, 2] {
            let mut tape = self.best.0.clone();
            let spans = tape.0.get_mut(label);
            let decision = spans.and_then(|it| it.get_mut(number)?.get_mut(at));
            match decision {
                Some(decision) if *decision > 0 => *decision /= divisor,
                _ => return,
            }
            if self.helps(tape) {
                return;
            }
        }
    }
}

fn cost((tape, failure): &(Tape, Failure)) -> (usize, usize, u128) {
    let spans = || tape.0.values().flatten();
    let decisions = spans().flatten().map(|it| u128::from(*it));
    (failure.steps.len(), spans().count(), decisions.sum())
}

#[cfg(test)]
mod tests {
    use mailsync_module::coalesce::Coalescer;

    use super::*;
    use crate::live;
    use crate::world::Sabotage;

    /// A life that fails becomes much shorter, fails in the same way, and does so from its text.
    #[test]
    fn a_failure_becomes_short() {
        let sabotage = Sabotage {
            lisp_acknowledges_unread: true,
            ..Sabotage::default()
        };
        let live = |rng| live::<Coalescer>(rng, sabotage, false).map(drop);
        let seed = (0..).find(|seed| live(Rng::new(*seed)).is_err());
        let seed = seed.expect("a seed that fails");
        let whole = live(Rng::taped(seed, None)).expect_err("it fails");
        let (tape, failure) = shortest(seed, live);
        let (long, short) = (whole.steps.len(), failure.steps.len());
        eprintln!(
            "seed {seed}: {long} steps, then {short}\n{}",
            failure.told()
        );
        assert_eq!(sort(&failure), sort(&whole));
        assert!(short * 5 < long, "{long} steps are still {short}");
        let tape = Tape::read(&tape.text()).expect("a tape");
        let again = live(Rng::taped(0, Some(tape))).expect_err("it fails again");
        assert_eq!(again.steps, failure.steps);
    }
}
