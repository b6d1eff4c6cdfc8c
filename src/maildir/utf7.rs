//! Modified UTF-7, in which IMAP servers and Maildirs spell folder names (RFC 3501, 5.1.3).
//!
//! Printable ASCII stands for itself, `&` is `&-`, and everything else is UTF-16 (big end first)
//! in a base64 of its own (`,` for `/`, no padding) between `&` and `-`.  This module knows one
//! level of a name; what separates levels is `name`'s business.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// The text that `level` spells, or `None` where it is not modified UTF-7.
///
/// Strict, so that decoding loses nothing: the result is `Some` exactly if [`encode`] gives back
/// `level` byte for byte, and if it contains neither NUL nor `/`, which no directory entry can.
/// In particular 8-bit bytes, control characters, encoded printable ASCII, padding bits that are
/// not zero, two encoded runs side by side and lone surrogates are `None`.
#[must_use]
pub fn decode(level: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(level.len());
    let mut rest = level;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'&' => {
                let end = rest.iter().position(|byte| *byte == b'-')?;
                let (run, tail) = rest.split_at_checked(end)?;
                rest = tail.strip_prefix(b"-")?;
                if run.is_empty() {
                    text.push('&');
                } else {
                    for unit in char::decode_utf16(units(run)?) {
                        text.push(unit.ok()?);
                    }
                }
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => return None,
        }
    }
    // Whatever else is wrong shows in the way back.
    (!text.contains(['\0', '/']) && encode(&text) == level).then_some(text)
}

/// A folder's level as servers spell it: what is text is encoded, anything else is as it was found.
#[must_use]
pub fn spell(level: &[u8]) -> Vec<u8> {
    str::from_utf8(level).map_or_else(|_| level.to_vec(), encode)
}

/// The spelling of `text` in modified UTF-7; the only one, see [`decode`].
#[must_use]
pub fn encode(text: &str) -> Vec<u8> {
    let mut level = Vec::with_capacity(text.len());
    let mut run = Vec::new();
    for character in text.chars() {
        match character {
            ' '..='~' => {
                end_run(&mut run, &mut level);
                level.push(character as u8);
                if character == '&' {
                    level.push(b'-');
                }
            }
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    run.extend_from_slice(&unit.to_be_bytes());
                }
            }
        }
    }
    end_run(&mut run, &mut level);
    level
}

/// The UTF-16 units in a run of base64; bits that are left over are dropped.
fn units(run: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(run.len() * 6 / 16);
    let (mut bits, mut count) = (0u32, 0);
    for byte in run {
        let value = ALPHABET.iter().position(|digit| digit == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push(u16::try_from(bits >> count & 0xffff).ok()?);
        }
    }
    Some(units)
}

/// Append `run`, bytes of UTF-16, to `level` as base64, and empty it.
fn end_run(run: &mut Vec<u8>, level: &mut Vec<u8>) {
    if run.is_empty() {
        return;
    }
    level.push(b'&');
    for group in run.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or_default())
        });
        // One byte is two digits, two are three, three are four.
        for digit in 0..=group.len() {
            let value = bits >> (18 - 6 * digit) & 0x3f;
            level.extend(ALPHABET.get(value as usize));
        }
    }
    level.push(b'-');
    run.clear();
}

#[cfg(test)]
mod tests {
    use super::super::model::Lcg;
    use super::*;

    #[test]
    fn valid_names_both_ways() {
        let table: [(&[u8], &str); 19] = [
            (b"", ""),
            (b"INBOX", "INBOX"),
            (b"a b~!\"%s'", "a b~!\"%s'"),
            (b"a.b", "a.b"),
            (b"-", "-"),
            (b"+,", "+,"),
            // RFC 3501, 5.1.3, level by level
            (b"~peter", "~peter"),
            (b"&U,BTFw-", "台北"),
            (b"&ZeVnLIqe-", "日本語"),
            (b"&Jjo-!", "☺!"),
            (b"&-", "&"),
            (b"&-&-", "&&"),
            (b"R&-D", "R&D"),
            (b"Entw&APw-rfe", "Entwürfe"),
            (b"&AOkA6Q-", "éé"),
            (b"&AOk-&-&AOk-", "é&é"),
            // outside the first plane: a pair of surrogates
            (b"&2D3cjA-", "💌"),
            (b"x&2D3cjNg93Iw-y", "x💌💌y"),
            // control characters are not printable
            (b"&AAo-&-&AH8-", "\n&\x7f"),
        ];
        for (level, text) in table {
            let shown = String::from_utf8_lossy(level);
            assert_eq!(decode(level).as_deref(), Some(text), "decode {shown}");
            assert_eq!(encode(text), level, "encode {text}");
        }
    }

    #[test]
    fn everything_else_is_not_modified_utf7() {
        let table: [(&[u8], &str); 20] = [
            (b"&", "no end"),
            (b"a&b", "no end"),
            (b"&AOk", "no end"),
            (b"&AOk-&", "no end"),
            (b"a&b-", "not a whole unit"),
            (b"&AOkA-", "a whole unit and a digit too many"),
            (b"&AOl-", "padding bits that are not zero"),
            (b"&AO!-", "not base64"),
            (b"&AO/-", "the slash of ordinary base64"),
            (b"&AOk=-", "padding"),
            (b"&AGE-", "encoded ASCII"),
            (b"&ACY-", "encoded ampersand"),
            (b"&AC8-", "encoded slash"),
            (b"&AOkAYQDp-", "encoded ASCII amid others"),
            (b"&AOk-&AOk-", "two runs side by side"),
            (b"&2D0-", "lone high surrogate"),
            (b"&3Iw-", "lone low surrogate"),
            (b"&AAA-", "NUL"),
            (b"a/b", "a separator"),
            (b"a\nb", "control character"),
        ];
        for (level, why) in table {
            let shown = String::from_utf8_lossy(level);
            assert_eq!(decode(level), None, "{shown}: {why}");
        }
        assert_eq!(decode("é".as_bytes()), None, "UTF-8");
        assert_eq!(decode(b"\xe9"), None, "Latin-1");
        assert_eq!(decode(b"a\0"), None, "NUL");
    }

    #[test]
    fn any_text_survives() {
        for seed in 0..2_000 {
            let text = Lcg::new(seed).text(12);
            let level = encode(&text);
            assert!(level.iter().all(|byte| (b' '..=b'~').contains(byte)));
            let expected = (!text.contains('/')).then_some(text);
            assert_eq!(decode(&level), expected, "seed {seed}");
        }
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes() {
        let mut valid = 0;
        for seed in 0..200_000 {
            let mut lcg = Lcg::new(seed);
            let level: Vec<u8> = (0..lcg.below(8))
                .map(|_| *lcg.choose(b"&&&-AADpOkcj29+, a\xe9"))
                .collect();
            if let Some(text) = decode(&level) {
                valid += usize::from(level.contains(&b'&'));
                assert_eq!(encode(&text), level, "seed {seed}");
            }
        }
        assert!(valid > 1_000, "only {valid} were worth trying");
    }
}
