//! Anything at all, for whatever reads what others write: seeded, of samples that are mixed and damaged.
//!
//! `FUZZ=10000000` tries so many of each reader, `FUZZ_FIRST=10000000` with it others, `FUZZ_CASE=17` the one
//! that failed.  For millions:
//! `CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true FUZZ=10000000 cargo test --release --test fuzz`.
#![allow(dead_code)] // each test target uses its part

#[path = "rng.rs"]
mod rng;

use std::env;
use std::fs;
use std::path::Path;
use std::time::Instant;

pub use rng::Rng;

/// Numbers that somebody may count badly with.
const NUMBERS: [&str; 10] = [
    "0",
    "1",
    "4",
    "-1",
    "+1",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "00000000000000000000000000009",
];

/// A number in the environment.
pub fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|it| it.parse().expect(name))
}

/// Only one input is tried, and it is to be told.
pub fn only() -> Option<u64> {
    number("FUZZ_CASE")
}

/// Try `usual` inputs of a reader, or as many as `FUZZ` says, from `FUZZ_FIRST` on.
pub fn each(reader: &str, usual: u64, mut try_it: impl FnMut(&mut Rng)) {
    let mut once = |case| {
        let _told = Told(reader, case);
        try_it(&mut Rng::new(case));
    };
    if let Some(case) = only() {
        return once(case);
    }
    let began = Instant::now();
    let count = number("FUZZ").unwrap_or(usual);
    let first = number("FUZZ_FIRST").unwrap_or(0);
    for done in 1..=count {
        once(first + done - 1);
        if done % 1_000_000 == 0 && done < count {
            println!("{reader}: {done} inputs so far");
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{reader}: {count} inputs in {seconds:.1} s");
}

/// Says which input it is that fails.
struct Told<'a>(&'a str, u64);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: FUZZ_CASE={}", self.0, self.1);
        }
    }
}

/// The texts of string literals in a program in Rust, as far as these have what is of use.
pub fn literals(program: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = program;
    while let Some(at) = rest.find('"') {
        let hashes = rest[..at].len() - rest[..at].trim_end_matches('#').len();
        let raw = rest[..at - hashes].ends_with('r');
        rest = &rest[at + 1..];
        if raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let Some((text, after)) = rest.split_once(&end) else {
                break;
            };
            found.push(text.to_owned());
            rest = after;
            continue;
        }
        let mut text = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    rest = &rest[at + 1..];
                    break;
                }
                '\\' => match chars.next().map_or(' ', |it| it.1) {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    '\n' => {}
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
        found.push(text);
    }
    found
}

/// What inputs are made of.
pub struct Stock {
    /// Whole inputs, and parts of them.
    pub samples: Vec<Vec<u8>>,
    /// What means something to the reader.
    pub words: &'static [&'static [u8]],
}

impl Stock {
    /// The samples in `test/fuzz/corpus/READER`, and those words.
    pub fn of(reader: &str, words: &'static [&'static [u8]]) -> Self {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("test/fuzz/corpus");
        let entries = fs::read_dir(corpus.join(reader)).expect(reader);
        let mut files: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
        // Seeds are of no use where the order depends on the disk.
        files.sort();
        let samples = files.iter().map(|it| fs::read(it).unwrap()).collect();
        Stock { samples, words }
    }

    /// With these samples besides.
    pub fn with(mut self, samples: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.samples.extend(samples);
        self
    }

    /// The string literals of a program as further samples.
    pub fn with_literals(self, program: &str) -> Self {
        let texts = literals(program).into_iter().map(String::into_bytes);
        self.with(texts.filter(|it| it.len() > 1))
    }

    /// A sample, mostly damaged, sometimes with others behind it.
    pub fn input(&self, chance: &mut Rng) -> Vec<u8> {
        let mut bytes = chance.choose(&self.samples).clone();
        while chance.once_in(3) && bytes.len() < 4096 {
            bytes.extend(chance.choose(&self.samples));
        }
        for _ in 0..chance.index(6) {
            self.damage(chance, &mut bytes);
        }
        bytes
    }

    /// Do something to it.
    pub fn damage(&self, chance: &mut Rng, bytes: &mut Vec<u8>) {
        let at = chance.index(bytes.len() + 1);
        match chance.index(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.index(8),
            1 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + 1 + chance.index(8)).min(bytes.len());
                drop(bytes.drain(at.min(end)..end));
            }
            4 => {
                // The next number from there, or the first.
                let digit =
                    |from: usize| Some(from + bytes[from..].iter().position(u8::is_ascii_digit)?);
                if let Some(from) = digit(at).or_else(|| digit(0)) {
                    let more = bytes[from..].iter().take_while(|it| it.is_ascii_digit());
                    let until = from + more.count();
                    bytes.splice(from..until, chance.choose(&NUMBERS).bytes());
                }
            }
            5 => {
                let other = chance.choose(&self.samples).clone();
                bytes.splice(at..at, other);
            }
            6 => {
                // Some of it twice.
                let end = (at + chance.index(40)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                bytes.splice(at..at, chance.choose(self.words).iter().copied());
            }
        }
    }
}

/// Cut into pieces, most of them as short as can be.
pub fn pieces<'a>(chance: &mut Rng, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let most = [1, 1, 2, 3, 7, 40, 1000][chance.index(7)];
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + chance.index(most)).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// A text of up to `most` characters of all sorts.
pub fn text(chance: &mut Rng, most: usize) -> String {
    let letter = |chance: &mut Rng| match chance.index(6) {
        0 => *chance.choose(&['&', '-', '.', '/', ',', '+', '%', ':', ' ', '\\', '"', '\'']),
        1 => *chance.choose(&[
            '\0', '\n', '\r', '\t', '\x1b', '\x7f', '\u{85}', '\u{2028}', '\u{202e}',
        ]),
        2 => char::from_u32(0x80 + chance.below(0x3000) as u32).unwrap_or('é'),
        3 => char::from_u32(0xd000 + chance.below(0x10_3000) as u32).unwrap_or('💌'),
        _ => char::from(b'a' + chance.below(26) as u8),
    };
    (0..chance.index(most + 1))
        .map(|_| letter(chance))
        .collect()
}

/// Up to `most` bytes without those in `never`.
pub fn bytes(chance: &mut Rng, most: usize, never: &[u8]) -> Vec<u8> {
    let mut bytes = match chance.index(3) {
        0 => (0..chance.index(most + 1))
            .map(|_| chance.below(256) as u8)
            .collect(),
        _ => text(chance, most).into_bytes(),
    };
    bytes.truncate(most);
    bytes.retain(|byte| !never.contains(byte));
    bytes
}

/// What is shown to a user is one line, and has an end.
pub fn assert_shown(text: &str, most: usize) {
    let strange = text.chars().find(|it| it.is_control());
    assert_eq!(strange, None, "shown to a user: {text:?}");
    let long = text.chars().count();
    assert!(long <= most, "{long} characters are shown: {text:?}");
}
