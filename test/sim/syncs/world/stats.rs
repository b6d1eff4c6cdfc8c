//! What happens in worlds, counted, to show that they are no idle ones.

/// Counts, to show that a run was no idle one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub steps: u64,
    pub runs: u64,
    pub failures: u64,
    pub partial: u64,
    /// Runs that were told to end.
    pub ended: u64,
    pub checks: u64,
    pub looks: u64,
    pub lost_checks: u64,
    pub splits: u64,
    pub fetched: u64,
    pub sent: u64,
    pub unsigned: u64,
    pub restarts: u64,
    pub requests: u64,
    /// Restarts of Emacs, those in the midst of a run, and those in the midst of a look.
    pub crashes: u64,
    pub crashed_runs: u64,
    pub crashed_looks: u64,
    /// Runs that left a folder half done.
    pub torn: u64,
    /// Folders that a look found so, or somebody at work in.
    pub busy: u64,
    /// Runs of no account.
    pub once: u64,
    /// Programs that watch the server, and what they told.
    pub connections: u64,
    pub told_far: u64,
    /// Programs that listened to what was checked, what they were told, and how often that Lisp was silent.
    pub listeners: u64,
    pub passed_on: u64,
    pub silences: u64,
    /// The most that it took to bring everything to rest.
    pub last_runs: u64,
}

impl Stats {
    pub fn add(&mut self, other: Stats) {
        self.steps += other.steps;
        self.runs += other.runs;
        self.failures += other.failures;
        self.partial += other.partial;
        self.ended += other.ended;
        self.checks += other.checks;
        self.looks += other.looks;
        self.lost_checks += other.lost_checks;
        self.splits += other.splits;
        self.fetched += other.fetched;
        self.sent += other.sent;
        self.unsigned += other.unsigned;
        self.restarts += other.restarts;
        self.requests += other.requests;
        self.crashes += other.crashes;
        self.crashed_runs += other.crashed_runs;
        self.crashed_looks += other.crashed_looks;
        self.torn += other.torn;
        self.busy += other.busy;
        self.once += other.once;
        self.connections += other.connections;
        self.told_far += other.told_far;
        self.listeners += other.listeners;
        self.passed_on += other.passed_on;
        self.silences += other.silences;
        self.last_runs = self.last_runs.max(other.last_runs);
    }
}
