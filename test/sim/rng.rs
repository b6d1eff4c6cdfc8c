//! The one source of chance: a seed is a whole history, and so is a [`Tape`] of what chance decided.
//!
//! A tape is what a failure is made shorter by (`shrink.rs`), and what it is kept as (`cases/`).  It is cut
//! into spans, by what each was decided for: without the third span of "user", the user does what is in
//! the fourth in its place, and nothing else moves.  Where a life asks for more than its tape has, a stream
//! goes on, so that every tape is a life.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::plain;

/// The span that a life begins with: its circumstances.
pub const SETUP: &str = "setup";

/// What chance decided in a life: of each label the spans, of each span the decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape(pub BTreeMap<String, Vec<Vec<u64>>>);

impl Tape {
    /// As lines of a label and its decisions.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (label, spans) in &self.0 {
            for span in spans {
                text.push_str(label);
                for decision in span {
                    let _ = write!(text, " {decision}");
                }
                text.push('\n');
            }
        }
        text
    }

    /// From such lines; those that begin with `#` say something else.
    pub fn read(text: &str) -> Result<Tape, String> {
        let mut tape = Tape::default();
        for line in text.lines().filter(|it| !it.starts_with('#')) {
            let mut words = line.split(' ');
            let label = words.next().unwrap_or_default().to_owned();
            let span: Result<_, _> = words.map(str::parse).collect();
            let span = span.map_err(|error| format!("{line}: {error}"))?;
            tape.0.entry(label).or_default().push(span);
        }
        Ok(tape)
    }
}

/// A tape that is made, and perhaps one that is followed.
#[derive(Debug, Default)]
struct Deck {
    follows: Option<Tape>,
    makes: Tape,
    /// The span that decisions belong to, and how many of it were made.
    label: &'static str,
    number: usize,
    made: usize,
}

impl Deck {
    fn begin(&mut self, label: &'static str) -> bool {
        let spans = self.makes.0.entry(label.to_owned()).or_default();
        (self.label, self.number, self.made) = (label, spans.len(), 0);
        let there = |tape: &Tape| tape.0.get(label).is_some_and(|it| it.len() > self.number);
        let goes_on = self.follows.as_ref().is_none_or(there);
        spans.push(Vec::new());
        goes_on
    }

    /// Nothing is decided for the span that has begun: whoever follows the tape shall leave it out, too.
    fn leave_out(&mut self) {
        let spans = self.makes.0.get_mut(self.label);
        spans.and_then(|it| it.pop_if(|span| span.is_empty()));
    }

    fn decide(&mut self, limit: u64, else_: u64) -> u64 {
        let followed = self.follows.as_ref().and_then(|it| it.0.get(self.label));
        let followed = followed.and_then(|it| it.get(self.number)?.get(self.made));
        let decision = followed.map_or(else_, |it| it % limit);
        self.made += 1;
        let spans = self.makes.0.get_mut(self.label);
        if let Some(span) = spans.and_then(|it| it.get_mut(self.number)) {
            span.push(decision);
        }
        decision
    }
}

/// A stream of decisions.
#[derive(Clone, Debug)]
pub struct Rng {
    stream: plain::Rng,
    deck: Option<Arc<Mutex<Deck>>>,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng {
            stream: plain::Rng::new(seed),
            deck: None,
        }
    }

    /// One that leaves a tape, and follows this one if there is one.
    pub fn taped(seed: u64, follows: Option<Tape>) -> Self {
        let mut deck = Deck {
            follows,
            ..Deck::default()
        };
        deck.begin(SETUP);
        Rng {
            stream: plain::Rng::new(seed),
            deck: Some(Arc::new(Mutex::new(deck))),
        }
    }

    /// What was decided so far, by this stream and by what is forked from it.
    pub fn tape(&self) -> Tape {
        self.deck().map(|it| it.makes.clone()).unwrap_or_default()
    }

    /// There is one thread, so the lock never waits.
    fn deck(&self) -> Option<MutexGuard<'_, Deck>> {
        let deck = self.deck.as_ref()?;
        Some(deck.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn is_taped(&self) -> bool {
        self.deck.is_some()
    }

    /// What is decided from now on is for this; false if the tape that is followed has no more of it.
    pub fn begin(&mut self, label: &'static str) -> bool {
        self.deck().is_none_or(|mut it| it.begin(label))
    }

    /// As above, where nothing is decided for it then.
    pub fn enters(&mut self, label: &'static str) -> bool {
        let enters = self.begin(label);
        if !enters && let Some(mut deck) = self.deck() {
            deck.leave_out();
        }
        enters
    }

    /// An independent stream.
    pub fn fork(&mut self) -> Self {
        Rng {
            stream: self.stream.fork(),
            deck: self.deck.clone(),
        }
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        let decision = self.stream.below(limit);
        match self.deck() {
            Some(mut deck) => deck.decide(limit, decision),
            None => decision,
        }
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn choose<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }
}
