//! The same responses as somebody else reads them, where he does: `imap-codec`, which understands less and
//! insists on more.

use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::core::QuotedChar;
use imap_codec::imap_types::flag::FlagNameAttribute;
use imap_codec::imap_types::mailbox::Mailbox as Theirs;
use imap_codec::imap_types::response::{Data, Response as Read, Status as Said, StatusKind};
use imap_codec::imap_types::status::StatusDataItem;

use super::*;

/// So many of the table he understands at least; otherwise nothing is compared here.
const LEAST: usize = 35;

fn name(mailbox: &Theirs) -> Vec<u8> {
    match mailbox {
        Theirs::Inbox => b"INBOX".to_vec(),
        Theirs::Other(other) => other.as_ref().to_vec(),
    }
}

fn status(kind: StatusKind) -> Status {
    match kind {
        StatusKind::Ok => Status::Ok,
        StatusKind::No => Status::No,
        StatusKind::Bad => Status::Bad,
    }
}

fn theirs(items: &[StatusDataItem]) -> Numbers {
    let mut numbers = Numbers::default();
    for item in items {
        match item {
            StatusDataItem::Messages(it) => numbers.messages = Some(u64::from(*it)),
            StatusDataItem::UidNext(it) => numbers.next = Some(u64::from(it.get())),
            StatusDataItem::UidValidity(it) => numbers.validity = Some(u64::from(it.get())),
            StatusDataItem::Unseen(it) => numbers.unseen = Some(u64::from(*it)),
            StatusDataItem::HighestModSeq(it) => numbers.modseq = Some(*it),
            _ => {}
        }
    }
    numbers
}

fn listed(
    items: &[FlagNameAttribute],
    delimiter: Option<&QuotedChar>,
    mailbox: &Theirs,
) -> Mailbox {
    let has = |flag: &str| {
        let mut items = items.iter();
        items.any(|it| it.to_string().eq_ignore_ascii_case(flag))
    };
    let gone = has("\\NonExistent");
    Mailbox {
        name: name(mailbox),
        separator: delimiter.map_or(Vec::new(), |it| it.inner().to_string().into_bytes()),
        selectable: !gone && !has("\\NoSelect"),
        gone,
        all: has("\\All"),
        old: None,
    }
}

/// Whether ours is what they have read.
fn same(read: &Read, ours: &Response) -> bool {
    match (read, ours) {
        (Read::CommandContinuationRequest(_), Response::More(_)) => true,
        (Read::Status(Said::Tagged(it)), Response::Done(tag, kind, _)) => {
            *tag == it.tag.as_ref().as_bytes() && *kind == status(it.body.kind)
        }
        (Read::Status(Said::Untagged(it)), Response::Said(kind, _)) => *kind == status(it.kind),
        (Read::Status(Said::Bye(_)), Response::Said(Status::Bye, _)) => true,
        (Read::Data(data), ours) => same_data(data, ours),
        _ => false,
    }
}

fn same_data(data: &Data, ours: &Response) -> bool {
    match (data, ours) {
        (Data::Capability(words), Response::Capabilities(ours)) => {
            let words = words.as_ref().iter().map(ToString::to_string);
            *ours
                == Capabilities(
                    words
                        .map(|it| it.to_ascii_uppercase().into_bytes())
                        .collect(),
                )
        }
        (
            Data::List {
                items,
                delimiter,
                mailbox,
            },
            Response::Mailbox(ours),
        ) => *ours == listed(items, delimiter.as_ref(), mailbox),
        (Data::Status { mailbox, items }, Response::Numbers(ours, numbers)) => {
            *ours == name(mailbox) && *numbers == theirs(items)
        }
        (Data::Exists(count), Response::Exists(ours)) => u64::from(*count) == *ours,
        (Data::Expunge(number), Response::Expunged(ours)) => u64::from(number.get()) == *ours,
        (Data::Fetch { .. }, Response::Fetched)
        | (Data::Vanished { .. }, Response::Vanished)
        | (Data::Namespace { .. }, Response::Namespace(_)) => true,
        (
            Data::Capability(_)
            | Data::List { .. }
            | Data::Status { .. }
            | Data::Exists(_)
            | Data::Expunge(_)
            | Data::Fetch { .. }
            | Data::Vanished { .. }
            | Data::Namespace { .. },
            _,
        ) => false,
        // Nothing of that matters here.
        (_, ours) => *ours == Response::Other,
    }
}

#[test]
fn somebody_else_reads_the_same() {
    let mut understood = 0;
    for (bytes, _) in TABLE {
        let line = [bytes.as_bytes(), b"\r\n"].concat();
        let Ok((b"", read)) = ResponseCodec::default().decode(&line) else {
            continue;
        };
        understood += 1;
        let ours = &say(bytes)[0];
        assert!(
            same(&read, ours),
            "{bytes:?}\ntheirs: {read:?}\nours: {ours:?}"
        );
    }
    assert!(understood >= LEAST, "{understood} of {}", TABLE.len());
}
