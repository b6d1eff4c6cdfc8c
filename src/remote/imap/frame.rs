//! From a server's bytes to whole responses (RFC 3501, 2.2.2 and 4.3).  Pure.
//!
//! Exact for any input: however the bytes are cut, the same responses come out, and what a response
//! means plays no part in where it ends.  A line that ends in `{N}` is followed by N bytes of any kind
//! and goes on after them; but not where the response is text for people, in which that says nothing.
//! Memory is bounded: what is too long to be of use is counted away, what has no end is refused.

use std::fmt;

/// A line, without its literals, has so many bytes at most.
pub const MOST_LINE: usize = 64 * 1024;

/// So many bytes of one response are kept; of a longer one only its end is found.
pub const MOST_KEPT: usize = 1024 * 1024;

/// A piece of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A line, or what of it stands between two literals.
    Line(Vec<u8>),
    /// A literal: any bytes.
    Literal(Vec<u8>),
}

/// A response as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Its pieces: lines and literals in turn, a line first and last.
    Whole(Vec<Part>),
    /// One that was too long to be kept.
    Skipped,
}

/// Why a server cannot be listened to any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A line without an end.
    Line,
    /// A literal whose length is no number that could be counted.
    Literal,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Broken::Line => "the server sent a line without an end",
            Broken::Literal => "the server announced more bytes than can be counted",
        })
    }
}

/// Cuts a stream of bytes into responses.
#[derive(Debug, Default)]
pub struct Framer {
    parts: Vec<Part>,
    /// Bytes of these.
    kept: usize,
    skips: bool,
    /// The response is text for people.
    text: bool,
    line: Vec<u8>,
    literal: Option<Literal>,
}

#[derive(Debug)]
struct Literal {
    left: u64,
    bytes: Vec<u8>,
}

impl Framer {
    /// The next response; takes the bytes up to its end, or all of them where it goes on.
    ///
    /// # Errors
    /// Where no end could ever be found: nothing that follows means anything.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, Broken> {
        loop {
            if let Some(literal) = self.literal.take()
                && !self.fill(literal, bytes)
            {
                return Ok(None);
            }
            let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.extend(bytes)?;
                *bytes = &[];
                return Ok(None);
            };
            self.extend(&bytes[..at])?;
            *bytes = &bytes[at + 1..];
            if let Some(frame) = self.line_ends()? {
                return Ok(Some(frame));
            }
        }
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.line.len() + bytes.len() > MOST_LINE {
            return Err(Broken::Line);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Take in what there is of a literal; true when that is all of it.
    fn fill(&mut self, mut literal: Literal, bytes: &mut &[u8]) -> bool {
        let most = usize::try_from(literal.left).unwrap_or(usize::MAX);
        let (some, rest) = bytes.split_at(most.min(bytes.len()));
        *bytes = rest;
        literal.left -= some.len() as u64;
        if !self.skips {
            literal.bytes.extend_from_slice(some);
        }
        if literal.left > 0 {
            self.literal = Some(literal);
            return false;
        }
        self.keep(Part::Literal(literal.bytes));
        true
    }

    fn line_ends(&mut self) -> Result<Option<Frame>, Broken> {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if self.parts.is_empty() && !self.skips {
            self.text = is_text(&line);
        }
        let announced = if self.text { None } else { announced(&line)? };
        let Some((begins, left)) = announced else {
            self.keep(Part::Line(line));
            let parts = std::mem::take(&mut self.parts);
            self.kept = 0;
            return Ok(Some(if std::mem::take(&mut self.skips) {
                Frame::Skipped
            } else {
                Frame::Whole(parts)
            }));
        };
        line.truncate(begins);
        self.keep(Part::Line(line));
        if left > (MOST_KEPT - self.kept) as u64 {
            self.skip();
        }
        let bytes = Vec::new();
        self.literal = Some(Literal { left, bytes });
        Ok(None)
    }

    fn keep(&mut self, part: Part) {
        // A part by itself costs something, too.
        const OVERHEAD: usize = size_of::<Part>();
        let (Part::Line(bytes) | Part::Literal(bytes)) = &part;
        if self.skips || self.kept + bytes.len() + OVERHEAD > MOST_KEPT {
            self.skip();
        } else {
            self.kept += bytes.len() + OVERHEAD;
            self.parts.push(part);
        }
    }

    fn skip(&mut self) {
        self.skips = true;
        self.parts = Vec::new();
        self.kept = 0;
    }
}

/// Whether a response that begins so is text for people: a continuation, or a status of whatever tag.
fn is_text(line: &[u8]) -> bool {
    if line.first() == Some(&b'+') {
        return true;
    }
    let mut words = line.split(|byte| *byte == b' ').filter(|it| !it.is_empty());
    let word = words.nth(1).unwrap_or_default();
    ["OK", "NO", "BAD", "BYE", "PREAUTH"]
        .iter()
        .any(|status| word.eq_ignore_ascii_case(status.as_bytes()))
}

/// Where the announcement of a literal begins in a line that ends in one, and its length.
fn announced(line: &[u8]) -> Result<Option<(usize, u64)>, Broken> {
    let Some(inner) = line.strip_suffix(b"}") else {
        return Ok(None);
    };
    let Some(begins) = inner.iter().rposition(|byte| *byte == b'{') else {
        return Ok(None);
    };
    let digits = &inner[begins + 1..];
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    let mut count = 0u64;
    for digit in digits {
        count = count
            .checked_mul(10)
            .and_then(|count| count.checked_add(u64::from(digit - b'0')))
            .ok_or(Broken::Literal)?;
    }
    Ok(Some((begins, count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of `bytes`, cut into pieces of `size`.
    fn cut(bytes: &[u8], size: usize) -> Result<Vec<Frame>, Broken> {
        let (mut framer, mut frames) = (Framer::default(), Vec::new());
        for mut piece in bytes.chunks(size) {
            while let Some(frame) = framer.next(&mut piece)? {
                frames.push(frame);
            }
            assert!(piece.is_empty());
        }
        Ok(frames)
    }

    fn shown(frames: &[Frame]) -> String {
        let frames = frames.iter().map(|frame| match frame {
            Frame::Skipped => "skipped".to_owned(),
            Frame::Whole(parts) => {
                let parts = parts.iter().map(|part| match part {
                    Part::Line(line) => String::from_utf8_lossy(line).into_owned(),
                    Part::Literal(bytes) => format!("<{}>", String::from_utf8_lossy(bytes)),
                });
                parts.collect()
            }
        });
        frames.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn responses_end_where_they_end() {
        let table = [
            ("* 1 EXISTS\r\n* 2 EXISTS\r\n", "* 1 EXISTS | * 2 EXISTS"),
            // a server that ends lines as Unix does
            ("* 1 EXISTS\n\n* OK\n", "* 1 EXISTS |  | * OK"),
            // literals: empty, with line ends, one after the other, of more bytes (RFC 7888, RFC 3516)
            ("* X {0}\r\n\r\n* 1 X\r\n", "* X <> | * 1 X"),
            ("* X {4}\r\na\r\n) y\r\n", "* X <a\r\n)> y"),
            ("* X {1}\r\na {2+}\r\nbc\r\n", "* X <a> <bc>"),
            ("* X ~{1}\r\na\r\n", "* X ~<a>"),
            // no announcements
            (
                "* X {}\r\n* X {a}\r\n* X 5}\r\n",
                "* X {} | * X {a} | * X 5}",
            ),
            ("* X \"{5}\"\r\n", "* X \"{5}\""),
            // text for people announces nothing
            ("* OK look {5}\r\n* 1 X\r\n", "* OK look {5} | * 1 X"),
            ("a1 no {5}\r\n* 1 X\r\n", "a1 no {5} | * 1 X"),
            ("* bye {5}\r\n", "* bye {5}"),
            ("+ {5}\r\n* 1 X\r\n", "+ {5} | * 1 X"),
            ("* PREAUTH {1}\r\n", "* PREAUTH {1}"),
            // but a continued response stays what it was at its beginning
            ("* X {2}\r\nOK OK {1}\r\nz\r\n", "* X <OK> OK <z>"),
            ("* OKAY {1}\r\nz\r\n", "* OKAY <z>"),
        ];
        for (bytes, expected) in table {
            for size in [1, 2, 3, 1000] {
                let frames = cut(bytes.as_bytes(), size).expect(bytes);
                assert_eq!(shown(&frames), expected, "{bytes:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_long_is_counted_away() {
        let literal = vec![b'x'; MOST_KEPT + 1];
        let mut bytes = format!("* X {{{}}}\r\n", literal.len()).into_bytes();
        bytes.extend(&literal);
        bytes.extend(b" {3}\r\na\r\n\r\n* 1 X\r\n");
        // Many small ones are as one that is large.
        bytes.extend(b"* ");
        for _ in 0..60_000 {
            bytes.extend(b"{1}\r\nx");
        }
        bytes.extend(b"\r\n* 2 X\r\n");
        let frames = cut(&bytes, 4096).expect("an end");
        assert_eq!(shown(&frames), "skipped | * 1 X | skipped | * 2 X");
    }

    // Security: S33.
    #[test]
    fn memory_is_bounded() {
        let mut framer = Framer::default();
        let mut head = &b"* X {4294967296}\r\n"[..];
        assert_eq!(framer.next(&mut head), Ok(None));
        let some = vec![b'x'; 1 << 20];
        for _ in 0..4096 {
            assert_eq!(framer.next(&mut &some[..]), Ok(None));
            assert_eq!(
                framer.literal.as_ref().map(|it| it.bytes.len()),
                Some(0).filter(|_| framer.literal.is_some())
            );
        }
        let mut rest = &b"\r\n* 1 X\r\n"[..];
        assert_eq!(framer.next(&mut rest), Ok(Some(Frame::Skipped)));
    }

    // Security: S33.
    #[test]
    fn what_has_no_end_is_refused() {
        let line = vec![b'x'; MOST_LINE + 1];
        assert_eq!(cut(&line, 1000), Err(Broken::Line));
        let literal = b"* X {99999999999999999999}\r\n";
        assert_eq!(cut(literal, 7), Err(Broken::Literal));
    }

    #[test]
    fn any_cut_of_anything_is_the_same() {
        let mut chance = 88_172_645_463_325_252u64;
        let mut next = move || {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            chance
        };
        let words: [&[u8]; 14] = [
            b"* ",
            b"a1 ",
            b"OK ",
            b"+ ",
            b"{3}\r\n",
            b"{1}",
            b"{12}\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"abc",
            b"\"",
            b"(",
            b"~{2+}\r\n",
        ];
        for _ in 0..2000 {
            let count = next() % 40;
            let picked = (0..count).map(|_| words[(next() % 14) as usize]);
            let bytes: Vec<u8> = picked.flatten().copied().collect();
            let whole = cut(&bytes, bytes.len().max(1));
            assert_eq!(cut(&bytes, 1), whole);
            assert_eq!(cut(&bytes, 1 + (next() % 7) as usize), whole);
        }
    }
}
