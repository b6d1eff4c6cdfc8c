//! Modified UTF-7 (`maildir::utf7`), against what somebody else's base64 and UTF-16 make of the same.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use mailsync_module::maildir::utf7::{decode, encode, spell};

use crate::fuzzing::{Stock, each, text};

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

const WORDS: [&[u8]; 16] = [
    b"&",
    b"-",
    b"&-",
    b"&AOk-",
    b"&AOkA6Q-",
    b"&AOkA6Q",
    b"AOk",
    b"&2D3cjA-",
    b"&2D0-",
    b"&3Iw-",
    b"&AAA-",
    b"&AC8-",
    b"&AGE-",
    b",",
    b"+",
    "é".as_bytes(),
];

fn printable(letter: char) -> bool {
    (' '..='~').contains(&letter)
}

/// As RFC 3501 has it, slowly.
fn another_decode(level: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut rest = str::from_utf8(level).ok()?;
    let mut after_a_run = false;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if !printable(letter) {
            return None;
        }
        if letter != '&' {
            text.push(letter);
            after_a_run = false;
            continue;
        }
        let (run, after) = rest.split_once('-')?;
        rest = after;
        if run.is_empty() {
            text.push('&');
            after_a_run = false;
            continue;
        }
        let bytes = BASE64.decode(run).ok()?;
        let (units, []) = bytes.as_chunks::<2>() else {
            return None;
        };
        let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
        let run = String::from_utf16(&units).ok()?;
        // Two that touch would be one.
        if after_a_run || run.contains(printable) {
            return None;
        }
        text.push_str(&run);
        after_a_run = true;
    }
    (!text.contains(['/', '\0'])).then_some(text)
}

fn another_encode(text: &str) -> String {
    let mut level = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if printable(letter) {
            level.push(letter);
            if letter == '&' {
                level.push('-');
            }
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        let (run, after) = rest.split_at(rest.find(printable).unwrap_or(rest.len()));
        let units: Vec<u8> = run.encode_utf16().flat_map(u16::to_be_bytes).collect();
        level.push_str(&format!("&{}-", BASE64.encode(units)));
        rest = after;
    }
    level
}

#[test]
fn utf7() {
    let stock = Stock::of("utf7", &WORDS);
    let mut decoded = 0_u64;
    each("utf7", 100_000, |chance| {
        // A name of many levels is of no use here.
        let mut level = stock.input(chance);
        level.truncate(chance.index(120));
        let found = decode(&level);
        assert_eq!(found, another_decode(&level), "{}", level.escape_ascii());
        if let Some(found) = &found {
            assert_eq!(encode(found), level, "{found:?}");
            assert!(found.len() <= level.len() * 9 / 8, "{found:?}");
            decoded += 1;
        }
        let text = text(chance, 12);
        let level = encode(&text);
        assert_eq!(level, another_encode(&text).as_bytes(), "{text:?}");
        assert!(level.iter().all(|byte| printable(char::from(*byte))));
        assert!(level.len() <= 5 * text.len());
        let impossible = text.contains(['/', '\0']);
        assert_eq!(decode(&level), (!impossible).then_some(text));
        // What is no text stays what it was.
        let spelled = spell(&level[..]);
        assert_eq!(spelled, encode(str::from_utf8(&level).unwrap()));
        let raw = [&level[..], b"\xff"].concat();
        assert_eq!(spell(&raw), raw);
    });
    assert!(
        crate::fuzzing::only().is_some() || decoded > 1_000,
        "only {decoded}"
    );
}
