//! What a response says, as far as it matters for watching.  Pure.
//!
//! Of all that servers say, a dozen responses matter here; the others are [`Response::Other`].  One
//! that should matter and cannot be understood is [`Response::Strange`]: whoever watches has to look for
//! himself.

use std::collections::BTreeSet;

use super::frame::{Frame, Part};
use super::snapshot::Numbers;
use super::value::{Value, values};

/// How much of a server's text is kept for people, in characters.
const MOST_TEXT: usize = 300;

/// How a command went, or what the server says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Well, or a remark.
    Ok,
    /// It failed.
    No,
    /// It was not understood.
    Bad,
    /// The connection ends.
    Bye,
    /// As a greeting: nobody has to log in.
    Preauth,
}

/// Text for people, with a code for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remark {
    /// The code's first word in capitals, without brackets; empty where there is none.
    pub code: String,
    /// The rest of the code.
    pub argument: String,
    /// What it says, in one line, shortened.
    pub text: String,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The end of the command with this tag.
    Done(Vec<u8>, Status, Remark),
    /// A remark without a command.
    Said(Status, Remark),
    /// The server waits for more of a command.
    More(Vec<u8>),
    /// What it can do.
    Capabilities(Capabilities),
    /// The prefix and separator of the user's own mailboxes, where there is just one.
    Namespace(Option<(Vec<u8>, Vec<u8>)>),
    /// A mailbox that there is, or was.
    Mailbox(Mailbox),
    /// The numbers of a mailbox.
    Numbers(Vec<u8>, Numbers),
    /// So many messages are in the selected mailbox.
    Exists(u64),
    /// One of them is gone, the one with this number.
    Expunged(u64),
    /// Some of them are gone (RFC 7162).
    Vanished,
    /// Flags of one are so now.
    Fetched,
    /// Nothing that matters.
    Other,
    /// What would matter, if it could be understood.
    Strange,
}

/// A mailbox as LIST shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Its name as the server spells it.
    pub name: Vec<u8>,
    /// What stands between its levels; empty where there are none.
    pub separator: Vec<u8>,
    /// It is there, and can be selected.
    pub selectable: bool,
    /// It is not there (any more).
    pub gone: bool,
    /// It is all of the user's mail (RFC 6154).
    pub all: bool,
    /// What it was called before.
    pub old: Option<Vec<u8>>,
}

/// What a server can do (RFC 3501, 7.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<Vec<u8>>);

impl Capabilities {
    fn of<'a>(words: impl Iterator<Item = &'a [u8]>) -> Self {
        Capabilities(words.map(<[u8]>::to_ascii_uppercase).collect())
    }

    /// Whether this is among it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name.as_bytes())
    }
}

/// What a frame says.
#[must_use]
pub fn read(frame: &Frame) -> Response {
    match frame {
        Frame::Skipped => Response::Strange,
        Frame::Whole(parts) => text(parts)
            .or_else(|| data(&values(parts)?))
            .unwrap_or(Response::Strange),
    }
}

/// A response that is text for people.
fn text(parts: &[Part]) -> Option<Response> {
    let [Part::Line(line)] = parts else {
        return None;
    };
    if let Some(rest) = line.strip_prefix(b"+") {
        return Some(Response::More(rest.trim_ascii().to_vec()));
    }
    let (tag, rest) = word(line);
    let (status, rest) = word(rest);
    let status = match &status.to_ascii_uppercase()[..] {
        b"OK" => Status::Ok,
        b"NO" => Status::No,
        b"BAD" => Status::Bad,
        b"BYE" => Status::Bye,
        b"PREAUTH" => Status::Preauth,
        _ => return None,
    };
    let remark = remark(rest);
    Some(if tag == b"*" {
        Response::Said(status, remark)
    } else {
        Response::Done(tag.to_vec(), status, remark)
    })
}

fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let bytes = bytes.trim_ascii_start();
    let end = bytes.iter().position(|byte| *byte == b' ');
    bytes.split_at(end.unwrap_or(bytes.len()))
}

fn remark(bytes: &[u8]) -> Remark {
    let bytes = bytes.trim_ascii();
    let coded = bytes.strip_prefix(b"[").and_then(|inner| {
        let end = inner.iter().position(|byte| *byte == b']')?;
        Some((&inner[..end], &inner[end + 1..]))
    });
    let (code, text) = coded.unwrap_or((b"", bytes));
    let (code, argument) = word(code);
    Remark {
        code: shown(&code.to_ascii_uppercase()),
        // Capabilities are in it, all of them.
        argument: String::from_utf8_lossy(argument.trim_ascii()).into_owned(),
        text: shown(text),
    }
}

impl Remark {
    /// What it says, behind `text`.
    #[must_use]
    pub fn after(&self, text: &str) -> String {
        if self.text.is_empty() {
            text.to_owned()
        } else {
            format!("{text}: {}", self.text)
        }
    }

    /// The capabilities that it tells, if it does.
    #[must_use]
    pub fn capabilities(&self) -> Option<Capabilities> {
        let words = self.argument.split_ascii_whitespace().map(str::as_bytes);
        (self.code == "CAPABILITY").then(|| Capabilities::of(words))
    }
}

/// Text of a server's, in one line.
#[must_use]
pub fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let clean = text.trim().chars().take(MOST_TEXT);
    clean
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect()
}

/// A response that says something about mailboxes or messages.
fn data(values: &[Value]) -> Option<Response> {
    let (first, values) = values.split_first()?;
    if !first.is("*") {
        return None;
    }
    let (kind, rest) = values.split_first()?;
    if let Some(number) = kind.number() {
        let what = rest.first()?;
        return Some(match what {
            _ if what.is("EXISTS") => Response::Exists(number),
            _ if what.is("EXPUNGE") => Response::Expunged(number),
            _ if what.is("FETCH") => Response::Fetched,
            _ => Response::Other,
        });
    }
    let Value::Atom(kind) = kind else {
        return None;
    };
    match &kind.to_ascii_uppercase()[..] {
        b"CAPABILITY" => {
            let words = rest.iter().filter_map(Value::bytes);
            Some(Response::Capabilities(Capabilities::of(words)))
        }
        b"NAMESPACE" => Some(Response::Namespace(namespace(rest))),
        b"LIST" => mailbox(rest).map(Response::Mailbox),
        b"STATUS" => numbers(rest),
        b"VANISHED" => Some(Response::Vanished),
        _ => Some(Response::Other),
    }
}

/// RFC 2342: the user's own mailboxes are the first of three lists of prefixes and separators.
fn namespace(values: &[Value]) -> Option<(Vec<u8>, Vec<u8>)> {
    let [personal] = values.first()?.list()? else {
        return None;
    };
    let [prefix, separator, ..] = personal.list()? else {
        return None;
    };
    let prefix = prefix.bytes()?.to_vec();
    Some((prefix, separator_of(separator)?))
}

fn separator_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Text(text) => Some(text.clone()),
        nil if nil.is("NIL") => Some(Vec::new()),
        _ => None,
    }
}

/// RFC 3501, 7.2.2; RFC 5258, 3.4; RFC 5465, 5.4.
fn mailbox(values: &[Value]) -> Option<Mailbox> {
    let [flags, separator, name, more @ ..] = values else {
        return None;
    };
    let flags = flags.list()?;
    let has = |flag| flags.iter().any(|it| it.is(flag));
    let gone = has("\\NonExistent");
    Some(Mailbox {
        name: name.bytes()?.to_vec(),
        separator: separator_of(separator)?,
        selectable: !gone && !has("\\NoSelect"),
        gone,
        all: has("\\All"),
        old: old_name(more),
    })
}

fn old_name(more: &[Value]) -> Option<Vec<u8>> {
    let mut items = more.first()?.list()?.chunks_exact(2);
    items.find_map(|item| {
        let named = item[0]
            .bytes()
            .is_some_and(|it| it.eq_ignore_ascii_case(b"OLDNAME"));
        let old = item[1].list()?.first()?.bytes()?;
        named.then(|| old.to_vec())
    })
}

/// RFC 3501, 7.2.4; RFC 7162, 3.1.
fn numbers(values: &[Value]) -> Option<Response> {
    let [name, items, ..] = values else {
        return None;
    };
    let mut numbers = Numbers::default();
    for item in items.list()?.chunks(2) {
        let [what, value] = item else {
            return None;
        };
        let place = match what {
            _ if what.is("MESSAGES") => &mut numbers.messages,
            _ if what.is("UIDNEXT") => &mut numbers.next,
            _ if what.is("UIDVALIDITY") => &mut numbers.validity,
            _ if what.is("UNSEEN") => &mut numbers.unseen,
            _ if what.is("HIGHESTMODSEQ") => &mut numbers.modseq,
            // Whatever else the server thinks is worth telling.
            _ => continue,
        };
        *place = Some(value.number()?);
    }
    Some(Response::Numbers(name.bytes()?.to_vec(), numbers))
}

#[cfg(test)]
mod tests;
