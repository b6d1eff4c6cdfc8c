//! What the name of a message's file says: `KEY,U=UID,FMD5=MARK:2,LETTERS`.
//!
//! What stands before the colon is Maildir's own business (<https://cr.yp.to/proto/maildir.html>), but
//! for what mbsync and OfflineIMAP add: `,U=` with the UID that the server gave, and `,FMD5=` with the
//! folder's mark (OfflineIMAP).  Fields of others, like Dovecot's `,S=`, belong to the key.
//!
//! Pure, and without a copy: names are read by the ten thousand.

use bitflags::bitflags;

bitflags! {
    /// Flags that both syncers and IMAP (RFC 9051, 2.3.2) have.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct Flags: u8 {
        /// `\Draft`.
        const DRAFT = 1;
        /// `\Flagged`.
        const FLAGGED = 2;
        /// `\Answered`.
        const REPLIED = 4;
        /// `\Seen`.
        const SEEN = 8;
        /// `\Deleted`.
        const TRASHED = 16;
    }
}

impl Flags {
    /// Those that these letters of a Maildir name mean; others, like `P` or keywords, are not told
    /// to a server.
    #[must_use]
    pub fn of(letters: &[u8]) -> Self {
        let flags = letters.iter().map(|letter| match letter {
            b'D' => Flags::DRAFT,
            b'F' => Flags::FLAGGED,
            b'R' => Flags::REPLIED,
            b'S' => Flags::SEEN,
            b'T' => Flags::TRASHED,
            _ => Flags::empty(),
        });
        flags.collect()
    }
}

/// A name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageName<'a> {
    /// All but the letters.
    pub base: &'a [u8],
    /// Those behind `:2,`.
    pub letters: &'a [u8],
    /// What it is before a syncer marks it.
    pub key: &'a [u8],
    /// What stands in `,U=`.
    digits: Option<&'a [u8]>,
    /// What stands in `,FMD5=`.
    pub mark: Option<&'a [u8]>,
}

impl<'a> MessageName<'a> {
    /// Read a name as both syncers do: the first of each mark, and of a number what can be read.
    #[must_use]
    pub fn of(name: &'a [u8]) -> Self {
        let until = |bytes: &'a [u8], end: &dyn Fn(u8) -> bool| {
            let end = bytes.iter().position(|byte| end(*byte));
            bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default()
        };
        let (mut digits, mut mark, mut marked, mut info) = (None, None, None, name.len());
        let mut at = 0;
        while let Some(rest) = name.get(at..).filter(|rest| !rest.is_empty()) {
            let here = rest.iter().position(|byte| b",:".contains(byte));
            let Some(here) = here else { break };
            at += here;
            let rest = name.get(at..).unwrap_or_default();
            if let (Some(uid), None) = (rest.strip_prefix(b",U="), digits) {
                let uid = until(uid, &|byte| !byte.is_ascii_digit());
                marked = number(uid).map(|_| at);
                digits = Some(uid);
            } else if let (Some(sum), None) = (rest.strip_prefix(b",FMD5="), mark) {
                mark = Some(until(sum, &|byte| b",:".contains(&byte)));
            } else if info == name.len() && rest.starts_with(b":2,") {
                info = at;
            }
            at += 1;
        }
        let (base, letters) = name.split_at_checked(info).unwrap_or((name, b""));
        let key = marked.map_or(base, |at| name.get(..at.min(info)).unwrap_or(base));
        MessageName {
            base,
            letters: letters.get(3..).unwrap_or_default(),
            key,
            digits,
            mark,
        }
    }

    /// Whether a syncer has marked it with a UID, be that one or not.
    #[must_use]
    pub fn has_uid(&self) -> bool {
        self.digits.is_some()
    }

    /// The UID that the server has given it.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        number(self.digits?)
    }

    /// The flags that a server can know.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags::of(self.letters)
    }

    /// Whether both have the same letters, keywords included, in any order.
    #[must_use]
    pub fn has_the_letters_of(&self, other: &MessageName<'_>) -> bool {
        let among = |some: &[u8], others: &[u8]| some.iter().all(|it| others.contains(it));
        among(self.letters, other.letters) && among(other.letters, self.letters)
    }

    /// Whether a UID is all that it has more than the other one.
    #[must_use]
    pub fn only_gains_uid(&self, other: &MessageName<'_>) -> bool {
        let gained = self.base.strip_prefix(other.base);
        let digits = gained.and_then(|it| it.strip_prefix(b",U="));
        let plain = |it: &[u8]| !it.is_empty() && it.iter().all(u8::is_ascii_digit);
        !other.has_uid() && digits.is_some_and(plain)
    }

    /// The process that has named it, if it has a UID: `TIME.PID_N.HOST,U=…` (mbsync) or
    /// `TIME_N.PID.HOST,U=…` (OfflineIMAP).
    #[must_use]
    pub fn writer(&self) -> Option<u32> {
        self.uid()?;
        let mut parts = self.key.split(|byte| *byte == b'.');
        let (time, process) = (parts.next()?, parts.next()?);
        parts.next()?;
        let digits = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
        let counted = |bytes: &'a [u8]| {
            let at = bytes.iter().position(|byte| *byte == b'_')?;
            let (number, count) = (bytes.get(..at)?, bytes.get(at + 1..)?);
            (digits(number) && digits(count)).then_some(number)
        };
        let pid = match (counted(time), counted(process)) {
            (None, Some(pid)) if digits(time) => pid,
            (Some(_), None) if digits(process) => process,
            _ => return None,
        };
        number(pid)
    }
}

/// A number without a sign, and not 0.
#[must_use]
pub fn number(digits: &[u8]) -> Option<u32> {
    let mut number: u32 = 0;
    for digit in digits {
        let value = digit.checked_sub(b'0').filter(|value| *value < 10)?;
        number = number.checked_mul(10)?.checked_add(value.into())?;
    }
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        // name, key, UID (0: none that is one, -: no field), mark, letters
        let table = [
            ("1.M2.host", "1.M2.host", "-", "", ""),
            ("1.M2.host:2,", "1.M2.host", "-", "", ""),
            ("1.M2.host:2,FS", "1.M2.host", "-", "", "FS"),
            ("1,U=5:2,S", "1", "5", "", "S"),
            ("1,U=5,FMD5=0a:2,S", "1", "5", "0a", "S"),
            ("1,FMD5=0a,U=5:2,S", "1,FMD5=0a", "5", "0a", "S"),
            ("1,S=10,W=11,U=5:2,S", "1,S=10,W=11", "5", "", "S"),
            ("1,U=5,S=10:2,", "1", "5", "", ""),
            ("1,U=5,U=6", "1", "5", "", ""),
            ("1,U=5x:2,S", "1", "5", "", "S"),
            ("1:2,S,U=5", "1", "5", "", "S,U=5"),
            ("1,U=:2,", "1,U=", "0", "", ""),
            ("1,U=x", "1,U=x", "0", "", ""),
            ("1,U=99999999999", "1,U=99999999999", "0", "", ""),
            ("a:b:2,S", "a:b", "-", "", "S"),
            ("a:2,S:2,F", "a", "-", "", "S:2,F"),
            ("1:1,exp", "1:1,exp", "-", "", ""),
            (":2,S", "", "-", "", "S"),
            ("", "", "-", "", ""),
            (",", ",", "-", "", ""),
            (",,U=1,", ",", "1", "", ""),
        ];
        for (name, key, uid, mark, letters) in table {
            let read = MessageName::of(name.as_bytes());
            let found = match (read.has_uid(), read.uid()) {
                (false, _) => "-".to_owned(),
                (true, uid) => uid.unwrap_or(0).to_string(),
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let read = (
                text(read.key),
                found,
                read.mark.map(text),
                text(read.letters),
            );
            let mark = (!mark.is_empty()).then(|| mark.to_owned());
            assert_eq!(
                read,
                (key.into(), uid.into(), mark, letters.into()),
                "{name}"
            );
        }
    }
}
