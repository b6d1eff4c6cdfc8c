//! What the user says of when an account is synced.

use std::time::Duration;

/// The delays of an account, and what goes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From a folder's first change to its sync.
    pub base: Duration,
    /// Between two syncs.
    pub inter: Duration,
    /// The same for folders whose names match a glob; the first one counts.
    pub overrides: Vec<(Glob, Duration)>,
    /// The longest wait between failed attempts.
    pub max: Duration,
    /// A sync of everything this often; `None`: never.
    pub poll: Option<Duration>,
    /// How long a check is waited for.
    pub check: Duration,
    /// A run without a sign of life for so long is ended; `None`: it never is.
    pub silence: Option<Duration>,
    /// Everything is synced at the start.
    pub at_start: bool,
    /// Folders whose own changes ask for nothing.
    pub ignore: Vec<Glob>,
    /// The syncer only fetches: local changes ask for nothing.
    pub pulls_only: bool,
    /// Lisp is asked before each run.
    pub per_run: bool,
    /// The syncer keeps a record of what is pushed, which can be looked at.
    pub records: bool,
}

impl Timing {
    /// For a syncer that is asked once.
    #[must_use]
    pub fn once() -> Self {
        Timing {
            base: Duration::ZERO,
            inter: Duration::ZERO,
            overrides: Vec::new(),
            max: Duration::ZERO,
            poll: None,
            check: Duration::from_secs(10),
            silence: Some(Duration::from_secs(300)),
            at_start: false,
            ignore: Vec::new(),
            pulls_only: false,
            per_run: false,
            records: false,
        }
    }
}

/// A pattern for canonical names, in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(pub Vec<u8>);

impl Glob {
    /// Whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let mut parts = self.0.split(|byte| *byte == b'*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            let at = (0..=rest.len()).find(|at| rest[*at..].starts_with(part));
            match at {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}
