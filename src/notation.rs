//! What lines between our programs have in common: words for kinds, and names with any byte in them.
//!
//! [`crate::remote::protocol`] and [`crate::listen::wire`] say which lines there are.

use crate::change::Kinds;

/// The words for kinds.  A reader takes one that it does not know for `unknown`.
const WORDS: [(Kinds, &str); 6] = [
    (Kinds::NEW, "new"),
    (Kinds::FLAGS, "flags"),
    (Kinds::GONE, "gone"),
    (Kinds::CREATED, "folder-created"),
    (Kinds::DELETED, "folder-deleted"),
    (Kinds::UNKNOWN, "unknown"),
];

/// The words of these kinds, with commas between.
#[must_use]
pub fn words(kinds: Kinds) -> String {
    let words = WORDS.iter().filter(|(kind, _)| kinds.contains(*kind));
    let words: Vec<&str> = words.map(|(_, word)| *word).collect();
    words.join(",")
}

/// The kinds of such words.
#[must_use]
pub fn kinds(words: &[u8]) -> Kinds {
    let known = |word: &[u8]| WORDS.iter().find(|(_, known)| known.as_bytes() == word);
    let words = words.split(|byte| *byte == b',');
    let kinds = words.map(|word| known(word).map_or(Kinds::UNKNOWN, |(kind, _)| *kind));
    kinds.collect()
}

/// Put `bytes` at the end of a line: control bytes, `%` and those of `special` as `%XX`.
pub fn quote(line: &mut Vec<u8>, bytes: &[u8], special: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_control() || *byte == b'%' || special.contains(byte) {
            line.extend(format!("%{byte:02X}").into_bytes());
        } else {
            line.push(*byte);
        }
    }
}

/// What was quoted; none if that was not done so.
#[must_use]
pub fn unquoted(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut parts = quoted.split(|byte| *byte == b'%');
    let mut plain = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        plain.push(u8::try_from(value).ok()?);
        plain.extend_from_slice(rest);
    }
    Some(plain)
}
