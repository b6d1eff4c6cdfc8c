//! From the pieces of a response to its values: atoms, strings, lists (RFC 3501, 4).  Pure.

use super::frame::Part;

/// How deep lists may nest: deeper than any that says something here.
const DEEPEST: usize = 32;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word: a keyword, a number, a flag, `NIL`, a name without special characters.
    Atom(Vec<u8>),
    /// A string, quoted or as a literal: any bytes.
    Text(Vec<u8>),
    /// Values in parentheses.
    List(Vec<Value>),
}

impl Value {
    /// Whether it is this keyword, in whichever case.
    #[must_use]
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Value::Atom(atom) if atom.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    /// Its bytes where it is a word or a string.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Atom(bytes) | Value::Text(bytes) => Some(bytes),
            Value::List(_) => None,
        }
    }

    /// The number that it is.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self {
            Value::Atom(digits) if digits.iter().all(u8::is_ascii_digit) => {
                str::from_utf8(digits).ok()?.parse().ok()
            }
            _ => None,
        }
    }

    /// What is in it where it is a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            _ => None,
        }
    }
}

/// The values of a response; none where they are not well formed.
#[must_use]
pub fn values(parts: &[Part]) -> Option<Vec<Value>> {
    let mut open: Vec<Vec<Value>> = Vec::new();
    let mut values = Vec::new();
    for part in parts {
        match part {
            Part::Literal(bytes) => values.push(Value::Text(bytes.clone())),
            Part::Line(line) => {
                // Before a literal of any bytes (RFC 3516).
                let line = line.strip_suffix(b"~").unwrap_or(line);
                let mut rest = line;
                while let Some((&first, tail)) = rest.split_first() {
                    rest = match first {
                        b' ' => tail,
                        b'(' if open.len() >= DEEPEST => return None,
                        b'(' => {
                            open.push(std::mem::take(&mut values));
                            tail
                        }
                        b')' => {
                            let outer = open.pop()?;
                            let inner = std::mem::replace(&mut values, outer);
                            values.push(Value::List(inner));
                            tail
                        }
                        b'"' => {
                            let (text, tail) = quoted(tail)?;
                            values.push(Value::Text(text));
                            tail
                        }
                        _ => {
                            let (atom, tail) = atom(rest);
                            values.push(Value::Atom(atom.to_vec()));
                            tail
                        }
                    };
                }
            }
        }
    }
    open.is_empty().then_some(values)
}

/// A quoted string and what follows it.
fn quoted(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        match byte {
            b'"' => return Some((text, rest)),
            b'\\' => {
                let (&escaped, tail) = rest.split_first()?;
                text.push(escaped);
                rest = tail;
            }
            _ => text.push(byte),
        }
    }
}

/// A word and what follows it.  What is in brackets belongs to it: `BODY[HEADER.FIELDS (SUBJECT)]`.
fn atom(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut inside = false;
    let end = bytes.iter().position(|byte| {
        match byte {
            b'[' => inside = true,
            b']' => inside = false,
            _ => {}
        }
        !inside && matches!(byte, b' ' | b'(' | b')' | b'"')
    });
    bytes.split_at(end.unwrap_or(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::imap::frame::{Frame, Framer};

    fn shown(values: &[Value]) -> String {
        let values = values.iter().map(|value| match value {
            Value::Atom(atom) => String::from_utf8_lossy(atom).into_owned(),
            Value::Text(text) => format!("<{}>", String::from_utf8_lossy(text)),
            Value::List(values) => format!("({})", shown(values)),
        });
        values.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn values_of_responses() {
        let table: [(&[u8], Option<&str>); 15] = [
            (b"* 1 EXISTS", Some("* 1 EXISTS")),
            (b"*  1   EXISTS ", Some("* 1 EXISTS")),
            (b"(a (b c)() d)", Some("(a (b c) () d)")),
            (b"a(b)c", Some("a (b) c")),
            (br#""a b" "" "a\"b\\c""#, Some(r#"<a b> <> <a"b\c>"#)),
            (b"NIL \"NIL\"", Some("NIL <NIL>")),
            (b"{3}\r\n)(\" x", Some("<)(\"> x")),
            (b"(~{1}\r\nx)", Some("(<x>)")),
            ("\"é\" ü".as_bytes(), Some("<é> ü")),
            (
                b"(BODY[HEADER.FIELDS (SUBJECT)] {1}\r\nx UID 5)",
                Some("(BODY[HEADER.FIELDS (SUBJECT)] <x> UID 5)"),
            ),
            (b"(\\Seen $Label)", Some("(\\Seen $Label)")),
            (b"(a", None),
            (b"a)", None),
            (b"\"a", None),
            (b"\"a\\", None),
        ];
        for (bytes, expected) in table {
            let mut bytes = [bytes, b"\r\n"].concat();
            let frame = Framer::default().next(&mut &bytes[..]);
            let Ok(Some(Frame::Whole(parts))) = frame else {
                panic!("{frame:?}");
            };
            let found = values(&parts);
            bytes.truncate(bytes.len() - 2);
            let bytes = String::from_utf8_lossy(&bytes);
            assert_eq!(found.as_deref().map(shown).as_deref(), expected, "{bytes}");
        }
    }

    #[test]
    fn depth_has_an_end() {
        let nested = |depth| {
            let line = ["(".repeat(depth), ")".repeat(depth)].concat();
            values(&[Part::Line(line.into_bytes())])
        };
        assert!(nested(DEEPEST).is_some());
        assert!(nested(DEEPEST + 1).is_none());
        assert!(nested(30_000).is_none());
    }

    #[test]
    fn numbers_are_digits() {
        let number = |atom: &str| Value::Atom(atom.into()).number();
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("9223372036854775807"), Some(i64::MAX as u64));
        assert_eq!(number("99999999999999999999"), None);
        assert_eq!(number("-1"), None);
        assert_eq!(number("+1"), None);
        assert_eq!(number(""), None);
        assert_eq!(Value::Text(b"1".to_vec()).number(), None);
    }
}
