//! The frames of the pipe, written and read (`frame`, `frame::read`).  The reader in Lisp is tried in
//! `test/lisp/mailsync-fuzz-test.el`.

use std::sync::Arc;
use std::time::Instant;

use mailsync_module::change::{AccountId, Change, Folder, Kinds, Origins};
use mailsync_module::frame::Payload;
use mailsync_module::frame::read::{Frame, Frames, Record};

use crate::fuzzing::{Rng, Stock, bytes, each, only, pieces, text};
use crate::{kinds, path};

const WORDS: [&[u8]; 16] = [
    b"\n",
    b"\0",
    b"mailsync ",
    b"mailsync 1 3 1 ",
    b"mailsync 1 1 1 0\n\n",
    b"mailsync 1 1 1 4\nbye\0\n",
    b"mailsync 1 1 1 18446744073709551615\n",
    b"mailsync 1 1 1 18446744073709551590\n",
    b"mailsync 1 1 1 +4\nbye\0\n",
    b"change\0w\0",
    b"state\0w\0watching\0\0",
    b"bye\0",
    b"log\0info\0",
    b"ready\0w\0/m\0",
    b" ",
    b"\xff",
];

/// What becomes of a text on its way: no NUL, and not more than so many bytes.
fn sent(text: &str) -> String {
    let mut text = text.replace('\0', "?");
    while text.len() > 2048 {
        text.pop();
    }
    text
}

fn longer(chance: &mut Rng, text: String) -> String {
    if chance.once_in(32) {
        text.repeat(300)
    } else {
        text
    }
}

/// Put a record into a frame; what is to be read of it.
fn record(chance: &mut Rng, payload: &mut Payload, now: Instant) -> Record {
    match chance.index(5) {
        0 => {
            let name = bytes(chance, 20, b"\0");
            let directory = path(chance);
            let real = if chance.once_in(2) {
                directory.clone()
            } else {
                path(chance)
            };
            let kinds = kinds(chance);
            let folder = Folder {
                account: AccountId(0),
                real: real.into(),
                directory: directory.as_path().into(),
                name: name.as_slice().into(),
            };
            let change = Change {
                folder: Arc::new(folder),
                kinds,
                origins: Origins::from_bits_truncate(chance.below(8) as u8),
                serial: chance.next(),
                news: kinds & self::kinds(chance),
                seen: chance.once_in(2).then_some(now),
            };
            payload.change(&text(chance, 8), &change, now);
            Record::Change {
                name,
                directory,
                kinds,
            }
        }
        1 => {
            let state = (*chance.choose(&["starting", "watching", "error"])).to_owned();
            let said = text(chance, 40);
            let said = longer(chance, said);
            payload.state(&text(chance, 8), &state, &said);
            Record::State {
                state,
                text: sent(&said),
            }
        }
        2 => {
            let directory = path(chance);
            payload.ready(&text(chance, 8), &directory);
            Record::Ready(directory)
        }
        3 => {
            let said = text(chance, 40);
            payload.log("warning", &said);
            Record::Log {
                level: "warning".to_owned(),
                text: sent(&said),
            }
        }
        _ => {
            let said = text(chance, 40);
            let said = longer(chance, said);
            payload.bye(&said);
            Record::Bye(sent(&said))
        }
    }
}

/// The frames before the first that is none, and whether there was such.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, bool) {
    let mut reader = Frames::default();
    let mut frames = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.take() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
        assert!(
            reader.held() <= (1 << 20) + piece.len(),
            "{} held",
            reader.held()
        );
    }
    (frames, false)
}

/// How many bytes a record says something with.
fn size(record: &Record) -> usize {
    match record {
        Record::Change {
            name, directory, ..
        } => name.len() + directory.as_os_str().len(),
        Record::State { state, text } => state.len() + text.len(),
        Record::Ready(directory) => directory.as_os_str().len(),
        Record::Log { level, text } => level.len() + text.len(),
        Record::Bye(text) => text.len(),
    }
}

#[test]
fn frames() {
    let stock = Stock::of("frames", &WORDS);
    let now = Instant::now();
    each("frames", 10_000, |chance| {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..chance.index(4) {
            let mut payload = Payload::new();
            let records = (0..chance.index(4))
                .map(|_| record(chance, &mut payload, now))
                .collect();
            let frame = Frame {
                generation: chance.below(1000) as i64,
                sequence: chance.below(1000),
                records,
            };
            bytes.extend(payload.frame(frame.generation, frame.sequence));
            expected.push(frame);
        }
        // What is written is read.
        assert_eq!(read(pieces(chance, &bytes)), (expected.clone(), false));
        // And so it is where garbage follows.
        let count = expected.len();
        bytes.extend(stock.input(chance));
        let (whole, broken) = read([&bytes[..]]);
        if only().is_some() {
            println!("{}\n{whole:?} {broken}", bytes.escape_ascii());
        }
        assert_eq!(whole[..count], expected);
        // Whatever is done to it, it does not matter how it is cut.
        for _ in 0..chance.index(4) {
            stock.damage(chance, &mut bytes);
        }
        let whole = read([&bytes[..]]);
        let cut = read(pieces(chance, &bytes));
        assert_eq!(whole, cut, "it matters how it was cut");
        let said: usize = whole.0.iter().flat_map(|it| &it.records).map(size).sum();
        // Bytes that are no text are three in it.
        assert!(said <= 3 * bytes.len());
        for frame in whole.0.iter().flat_map(|it| &it.records) {
            if let Record::Change { name, kinds, .. } = frame {
                assert!(!name.contains(&0) && Kinds::all().contains(*kinds));
            }
        }
    });
}
