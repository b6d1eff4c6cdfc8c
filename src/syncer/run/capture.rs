//! What a program prints: its first and last part, whatever it writes, in bounded memory.

use crate::syncer::Output;

/// Bytes kept of either part.
const KEPT: usize = 8 * 1024;

/// The cut is moved to the end of a line if that costs no more than this (bytes).
const CUT: usize = 1024;

/// Output so far.
#[derive(Default)]
pub struct Capture {
    first: Vec<u8>,
    /// The end of what came after; up to twice of what is kept, so that bytes are seldom moved.
    last: Vec<u8>,
    seen: u64,
}

impl Capture {
    /// Take what has been read.
    pub fn add(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        let room = KEPT - self.first.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.first.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(KEPT)..];
        self.last.extend_from_slice(rest);
        if self.last.len() >= 2 * KEPT {
            self.last.drain(..self.last.len() - KEPT);
        }
    }

    /// All that is kept, cut at whole lines where one ends near.
    pub fn finish(mut self) -> Output {
        self.last.drain(..self.last.len().saturating_sub(KEPT));
        let kept = (self.first.len() + self.last.len()) as u64;
        if self.seen > kept {
            whole_lines(&mut self.first, &mut self.last);
        }
        let kept = (self.first.len() + self.last.len()) as u64;
        Output {
            first: self.first,
            dropped: self.seen - kept,
            last: self.last,
        }
    }
}

fn whole_lines(first: &mut Vec<u8>, last: &mut Vec<u8>) {
    let near = first.len().saturating_sub(CUT);
    if let Some(end) = first[near..].iter().rposition(|byte| *byte == b'\n') {
        first.truncate(near + end + 1);
    }
    let near = last.len().min(CUT);
    if let Some(end) = last[..near].iter().position(|byte| *byte == b'\n')
        && end + 1 < last.len()
    {
        last.drain(..=end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(text: &[u8], step: usize) -> Output {
        let mut capture = Capture::default();
        for part in text.chunks(step) {
            capture.add(part);
            assert!(capture.last.capacity() <= 4 * KEPT);
        }
        capture.finish()
    }

    #[test]
    fn little_is_kept_whole() {
        for len in [0, 1, KEPT - 1, KEPT, KEPT + 1, 2 * KEPT - 1, 2 * KEPT] {
            let text: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            for step in [1, 7, 4096, 100_000] {
                let Output {
                    first,
                    dropped,
                    last,
                } = captured(&text, step);
                assert_eq!((first.len(), dropped), (len.min(KEPT), 0));
                assert_eq!([first, last].concat(), text, "{len} by {step}");
            }
        }
    }

    #[test]
    fn of_much_the_first_and_the_last_whole_lines() {
        let text: String = (0..100_000).map(|at| format!("line {at}\n")).collect();
        let text = text.as_bytes();
        for step in [1, 100, KEPT, 65_536, text.len()] {
            let output = captured(text, step);
            assert!(text.starts_with(&output.first) && text.ends_with(&output.last));
            assert!(output.first.ends_with(b"\n") && output.last.starts_with(b"line "));
            assert!(output.first.len() > KEPT - 20 && output.last.len() > KEPT - 20);
            let all = (output.first.len() + output.last.len()) as u64 + output.dropped;
            assert_eq!(all, text.len() as u64);
        }
    }

    #[test]
    fn a_long_line_is_cut_anywhere() {
        let output = captured(&vec![b'x'; 3 * KEPT], 1000);
        assert_eq!((output.first.len(), output.last.len()), (KEPT, KEPT));
        assert_eq!(output.dropped, KEPT as u64);
        // A line that ends at the very end is no reason to keep nothing.
        let output = captured(&[vec![b'x'; 3 * KEPT], b"\n".to_vec()].concat(), 1000);
        assert_eq!(output.last.len(), KEPT);
    }
}
