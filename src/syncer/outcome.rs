//! How a run went, by its exit code and what it printed.
//!
//! Chooses who judges, and knows how a verdict is put into one line.  What a program's words mean
//! is each syncer's own business.

use std::path::Path;
use std::sync::Arc;

use super::plan::Plan;
use super::{Memory, Order, Outcome, Output, Program, command, mbsync, offlineimap, worker};

/// The most letters of a program's line that are shown.
const SHOWN: usize = 240;

/// What a disk refuses, in the system's words and in SQLite's; what is wrong then, and what to do.
const DISKS: [(&str, &str, &str); 6] = [
    ("No space left on device", FULL, ROOM),
    ("Disk quota exceeded", FULL, ROOM),
    (". Disk full?", FULL, ROOM),
    ("database or disk is full", FULL, ROOM),
    ("Read-only file system", READ_ONLY, MOUNT),
    ("attempt to write a readonly database", READ_ONLY, MOUNT),
];

const FULL: &str = "the disk is full";
const ROOM: &str = "make room";
const READ_ONLY: &str = "the disk is mounted read-only";
const MOUNT: &str = "have it mounted for writing";

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it went.
    pub outcome: Outcome,
    /// What a user should know and do, in one line.
    pub text: String,
    /// Truenames of folders that are not synced.
    pub failed: Vec<Arc<Path>>,
    /// What was learned for the next run.
    pub memory: Memory,
}

/// Judge a run that ended by itself or by somebody else's signal.
#[must_use]
pub fn judge(order: &Order, plan: &Plan, exit: Exit, output: &Output) -> Verdict {
    match &order.syncer.program {
        Program::Command(_) => command::judge(order, plan, exit, output),
        Program::Mbsync { .. } => mbsync::judge(order, plan, exit, output),
        Program::OfflineImap { .. } => offlineimap::judge(order, plan, exit, output),
        Program::OnlyWorker => worker::judge(order, plan, exit, output),
    }
}

/// What a program printed, line by line, without empty ones.
pub(super) fn lines(output: &Output) -> Vec<String> {
    // Where the middle is left out, what is before it and after it are different lines.
    let joint: &[u8] = if output.dropped > 0 { b"\n" } else { b"" };
    let text = [&output.first, joint, &output.last].concat();
    let lines = text.split(|byte| *byte == b'\n' || *byte == b'\r');
    let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
    lines.filter(|line| !line.trim().is_empty()).collect()
}

/// The first line in which a disk is full, or takes nothing; what is wrong, and what to do.
pub(super) fn disk<'a>(
    mut lines: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, &'static str, &'static str)> {
    lines.find_map(|line| {
        let mut known = DISKS.iter();
        let (_, what, advice) = known.find(|(part, ..)| line.contains(part))?;
        Some((line, *what, *advice))
    })
}

/// One line for the user: what happened, the program's own words, what to do.
pub(super) fn sentence(what: &str, line: &str, advice: &str) -> String {
    // Its full stop would end the sentence, and what it goes on with is not there.
    let line = shown(line.trim_end_matches(['.', ';']));
    let parts = [(": ", line.as_str()), ("; ", advice)];
    parts
        .iter()
        .filter(|(_, part)| !part.is_empty())
        .fold(what.to_owned(), |text, (joint, part)| text + joint + part)
}

/// One line, not too long, without control characters.
pub(super) fn shown(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_has_lines() {
        type Row<'a> = (&'a [u8], u64, &'a [u8], &'a [&'a str]);
        let table: [Row; 4] = [
            (b"", 0, b"", &[]),
            (b"a\n\n b\r\n", 0, b"", &["a", " b"]),
            (b"one li", 0, b"ne\n", &["one line"]),
            (b"begin", 9, b"end", &["begin", "end"]),
        ];
        for (first, dropped, last, expected) in table {
            let output = Output {
                first: first.to_vec(),
                dropped,
                last: last.to_vec(),
                ..Output::default()
            };
            assert_eq!(lines(&output), expected);
        }
    }

    #[test]
    fn sentences_are_one_line() {
        assert_eq!(sentence("what", "", ""), "what");
        assert_eq!(sentence("what", "its\t\x1bline", ""), "what: its line");
        assert_eq!(sentence("what", "", "do it"), "what; do it");
        assert_eq!(sentence("what", "line.", "do it"), "what: line; do it");
        assert_eq!(
            sentence("", &"é".repeat(300), "").chars().count(),
            SHOWN + 3
        );
    }

    #[test]
    fn lines_are_shown_shortly() {
        let long = "é".repeat(1000);
        let table = [
            (" a\tb\r\n c\x1b[0m", "a b c [0m".to_owned()),
            ("", String::new()),
            (&long, format!("{}…", "é".repeat(SHOWN))),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected);
        }
    }
}
