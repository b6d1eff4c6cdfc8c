//! What happens in worlds, counted, to show that they are no idle ones.

/// What may go wrong, in the order of its numbers.
pub const FAULTS: [&str; 14] = [
    "cut",
    "bye",
    "restart",
    "stall",
    "password",
    "unavailable",
    "dead",
    "sleep",
    "network",
    "lisp",
    "busy",
    "configure",
    "still",
    "overflow",
];

#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub steps: u64,
    pub changes: u64,
    pub folders: u64,
    pub rebuilt: u64,
    pub told: u64,
    pub told_all: u64,
    pub runs: u64,
    pub failures: u64,
    pub connections: u64,
    /// Those that know all that is to be known.
    pub exact: u64,
    /// How the server was watched.
    pub notify: u64,
    pub idle: u64,
    pub sweep: u64,
    /// Connections for single mailboxes.
    pub others: u64,
    pub others_lost: u64,
    pub pokes: u64,
    pub refusals: u64,
    pub pauses: u64,
    pub scans: u64,
    /// What users changed in maildirs, and what runs brought from there to the server and fetched.
    pub here: u64,
    pub brought: u64,
    pub fetched: u64,
    pub overflows: u64,
    /// At the server.
    pub pushed: u64,
    pub idled: u64,
    pub listed: u64,
    pub rubbish: u64,
    pub faults: [u64; FAULTS.len()],
}

impl Stats {
    pub fn add(&mut self, other: Stats) {
        self.steps += other.steps;
        self.changes += other.changes;
        self.folders += other.folders;
        self.rebuilt += other.rebuilt;
        self.told += other.told;
        self.told_all += other.told_all;
        self.runs += other.runs;
        self.failures += other.failures;
        self.connections += other.connections;
        self.exact += other.exact;
        self.notify += other.notify;
        self.idle += other.idle;
        self.sweep += other.sweep;
        self.others += other.others;
        self.others_lost += other.others_lost;
        self.pokes += other.pokes;
        self.refusals += other.refusals;
        self.pauses += other.pauses;
        self.scans += other.scans;
        self.here += other.here;
        self.brought += other.brought;
        self.fetched += other.fetched;
        self.overflows += other.overflows;
        self.pushed += other.pushed;
        self.idled += other.idled;
        self.listed += other.listed;
        self.rubbish += other.rubbish;
        for (count, more) in self.faults.iter_mut().zip(other.faults) {
            *count += more;
        }
    }
}
