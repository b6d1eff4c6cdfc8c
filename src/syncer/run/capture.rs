//! What a program prints: its first and last part, whatever it writes, in bounded memory.

use crate::syncer::{BETWEEN, Output};

/// Bytes kept of either part.
const KEPT: usize = 8 * 1024;

/// The cut is moved to the end of a line if that costs no more than this (bytes).
const CUT: usize = 1024;

/// What begins a line that tells of no error: OfflineIMAP's `machineui` prints thousands, and its errors
/// once.
const PROGRESS: &[u8] = b"msg:";

/// Output so far.
#[derive(Default)]
pub struct Capture {
    first: Vec<u8>,
    /// Lines after that which may be about an error.
    between: Vec<u8>,
    /// The beginning of one that has not ended.
    line: Vec<u8>,
    sifted: usize,
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
        self.sift(bytes);
        let rest = &rest[rest.len().saturating_sub(KEPT)..];
        self.last.extend_from_slice(rest);
        if self.last.len() >= 2 * KEPT {
            self.last.drain(..self.last.len() - KEPT);
        }
    }

    /// Keep the lines that may be about an error and end where not everything is kept, as long as there
    /// is room.
    fn sift(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.between.len() < BETWEEN {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            bytes = rest;
            self.sifted += part.len();
            let room = BETWEEN - self.line.len().min(BETWEEN);
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if end.is_some() {
                if self.sifted > KEPT && !self.line.starts_with(PROGRESS) {
                    self.between.append(&mut self.line);
                }
                self.line.clear();
            }
        }
        self.between.truncate(BETWEEN);
    }

    /// All that is kept, cut at whole lines where one ends near.
    pub fn finish(mut self) -> Output {
        self.last.drain(..self.last.len().saturating_sub(KEPT));
        let kept = (self.first.len() + self.last.len()) as u64;
        if self.seen > kept {
            whole_lines(&mut self.first, &mut self.last);
        } else {
            self.between.clear();
        }
        let kept = (self.first.len() + self.last.len()) as u64;
        Output {
            first: self.first,
            dropped: self.seen - kept,
            between: self.between,
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
                    between,
                    last,
                } = captured(&text, step);
                assert_eq!((first.len(), dropped), (len.min(KEPT), 0));
                assert!(between.is_empty());
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
    fn of_the_middle_the_lines_that_may_be_about_errors() {
        let error = "error::t:ERROR%3A+x\n";
        let progress = "msg:copyingmessage:t:1\n".repeat(2_000);
        // At the very place where the first part ends, or somewhere behind it.
        let line = "msg:x:t:\n".len();
        let edge = "msg:x:t:\n".repeat(KEPT / line) + error + &progress;
        let text = [&progress[..], error, &progress].concat();
        let much = [&progress[..], &error.repeat(1_000), &progress].concat();
        for step in [1, 100, KEPT, 65_536, much.len()] {
            let output = captured(text.as_bytes(), step);
            assert!(output.dropped > 0);
            assert_eq!(captured(edge.as_bytes(), step).between, error.as_bytes());
            assert_eq!(output.between, error.as_bytes());
            let output = captured(much.as_bytes(), step);
            assert_eq!(output.between.len(), BETWEEN);
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
