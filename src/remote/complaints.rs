//! What a watcher program says on its standard error: a little of it for the log and the user, however
//! much it is.  Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lines kept, and bytes of each.
const KEPT: usize = 5;
const LONGEST: usize = 300;

/// So many lines may go into the log in so long a time.
const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(60);

/// What ssh says where it would have to ask, or is refused.
const DENIED: [&str; 2] = ["Permission denied", "Host key verification failed"];

/// The complaints of one program.
#[derive(Debug, Default)]
pub struct Complaints {
    line: Vec<u8>,
    /// The last ones, the newest last.
    last: VecDeque<String>,
    denied: bool,
    /// How many were logged since.
    logged: Option<(Instant, u32)>,
    left_out: u64,
}

impl Complaints {
    /// Take in what was read; gives the lines for the log.
    pub fn push(&mut self, now: Instant, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                lines.extend(self.line(now));
            } else if self.line.len() < LONGEST {
                self.line.push(*byte);
            }
        }
        lines
    }

    /// What was said last, though its line may have no end.
    pub fn finish(&mut self, now: Instant) -> Vec<String> {
        let mut lines: Vec<String> = self.line(now).into_iter().collect();
        if self.left_out > 0 {
            lines.push(format!("({} more lines are left out)", self.left_out));
        }
        lines
    }

    fn line(&mut self, now: Instant) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let clean = line
            .chars()
            .map(|it| if it.is_control() { ' ' } else { it });
        let line = clean.collect::<String>().trim().to_owned();
        if line.is_empty() {
            return None;
        }
        self.denied |= DENIED.iter().any(|text| line.contains(text));
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        self.may_log(now).then_some(line)
    }

    fn may_log(&mut self, now: Instant) -> bool {
        let (since, count) = self.logged.get_or_insert((now, 0));
        if now.saturating_duration_since(*since) >= PERIOD {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        let may = *count <= LINES;
        self.left_out += u64::from(!may);
        may
    }

    /// Whether ssh was refused, or would have had to ask.
    #[must_use]
    pub fn denied(&self) -> bool {
        self.denied
    }

    /// The last line that says something.
    #[must_use]
    pub fn last(&self) -> &str {
        // After it, ssh says good-bye.
        let telling = |line: &&String| !line.starts_with("Connection to ");
        let last = self.last.iter().rev().find(telling);
        last.or(self.last.back()).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_pieces() {
        let now = Instant::now();
        let mut said = Complaints::default();
        assert_eq!(said.push(now, b"one\ntw"), ["one"]);
        assert_eq!(said.push(now, b"o\r\n\n \nthr\x1b[1mee"), ["two"]);
        assert_eq!(said.finish(now), ["thr [1mee"]);
        assert_eq!(said.last(), "thr [1mee");
    }

    #[test]
    fn a_refusal_is_remembered() {
        let table = [
            ("me@host: Permission denied (publickey).\n", true),
            ("Host key verification failed.\n", true),
            (
                "ssh: connect to host h port 22: Connection refused\n",
                false,
            ),
        ];
        for (line, denied) in table {
            let mut said = Complaints::default();
            let more = "x\n".repeat(100);
            said.push(Instant::now(), format!("{line}{more}").as_bytes());
            assert_eq!(said.denied(), denied, "{line}");
        }
        let mut said = Complaints::default();
        let lines = b"packet_write_wait: Broken pipe\nConnection to h closed.\n";
        said.push(Instant::now(), lines);
        assert_eq!(said.last(), "packet_write_wait: Broken pipe");
    }

    // Security: S44.
    #[test]
    fn a_flood_is_bounded() {
        let mut now = Instant::now();
        let mut said = Complaints::default();
        let mut logged = 0;
        for _ in 0..10_000 {
            logged += said.push(now, b"no\n").len();
        }
        assert_eq!(logged, 10);
        assert_eq!(said.last.len(), KEPT);
        said.push(now, &[b'x'; 100_000]);
        assert!(said.line.len() <= LONGEST);
        now += PERIOD;
        assert_eq!(said.push(now, b"\n").len(), 1);
        assert_eq!(said.finish(now), ["(9990 more lines are left out)"]);
    }
}
