//! What an Emacs and a program that attaches to it say on their socket (`listen::wire`, and what
//! `far::attach` makes of it).

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mailsync_module::far::News;
use mailsync_module::far::attach::Talk;
use mailsync_module::listen::wire::{ATTACH, Greeting, HELLO, LONGEST, Reader, Rubbish, said};
use mailsync_module::listen::{Spot, Told};

use crate::fuzzing::{Rng, Stock, bytes, each, pieces};
use crate::{kinds, path};

const WORDS: [&[u8]; 20] = [
    b"\n",
    b" ",
    b"%",
    b"%20",
    b"%0A",
    b"%+1",
    b"\r",
    b"\0",
    b"\xff",
    HELLO,
    b"mailsync-listen 2\n",
    b"roots 2\n",
    b"roots 0\n",
    b"roots 18446744073709551615\n",
    b"root /m\n",
    b"doubt\n",
    b"silent\n",
    b"back\n",
    b"change new /m /m INBOX\n",
    ATTACH,
];

/// Bytes of a line that are shown.
const SHOWN: usize = 80;

fn told(chance: &mut Rng) -> Told {
    match chance.index(6) {
        0 => Told::Everything,
        1 => Told::Silent,
        2 => Told::Back,
        3 => Told::Roots((0..chance.index(4)).map(|_| path(chance)).collect()),
        _ => {
            let root = if chance.once_in(2) {
                "/m".into()
            } else {
                path(chance)
            };
            let below = bytes(chance, 10, b"\0");
            let spot = Spot {
                directory: root.join(std::ffi::OsStr::from_bytes(&below)),
                root,
                name: [&b"n"[..], &bytes(chance, 12, b"\0")].concat(),
            };
            let kinds = kinds(chance);
            // A change of no kind is none.
            Told::Change(
                spot,
                if kinds.is_empty() {
                    mailsync_module::change::Kinds::NEW
                } else {
                    kinds
                },
            )
        }
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Told>, Result<Reader, Rubbish>) {
    let mut reader = Reader::default();
    let mut told = Vec::new();
    for piece in pieces {
        match reader.push(piece) {
            Ok(more) => told.extend(more),
            Err(rubbish) => return (told, Err(rubbish)),
        }
        assert!(reader.held() <= LONGEST);
    }
    (told, Ok(reader))
}

fn shown(rubbish: &Rubbish) -> &[u8] {
    match rubbish {
        Rubbish::OtherVersion(line) | Rubbish::Line(line) => line,
    }
}

#[test]
fn socket() {
    let stock = Stock::of("socket", &WORDS);
    let roots: Vec<(PathBuf, PathBuf)> = vec![("/home/me/Mail".into(), "/m".into())];
    each("socket", 20_000, |chance| {
        // What is told is read.
        let all: Vec<Told> = (0..chance.index(5)).map(|_| told(chance)).collect();
        let mut input = HELLO.to_vec();
        for told in &all {
            let lines = said(told);
            assert!(lines.len() <= LONGEST || matches!(told, Told::Roots(_)));
            input.extend(lines);
        }
        let (found, end) = read(pieces(chance, &input));
        assert!(end.is_ok_and(|it| it.greeted()));
        assert_eq!(found, all);
        // Whatever follows, what came before it was read, and it does not matter how it was cut.
        match chance.index(3) {
            0 => input = stock.input(chance),
            1 => input.extend(stock.input(chance)),
            _ => {
                input.extend(stock.input(chance));
                stock.damage(chance, &mut input);
                stock.damage(chance, &mut input);
            }
        }
        if chance.once_in(256) {
            input.extend(vec![b'x'; LONGEST]);
        }
        let one = |it| read(std::iter::once(it));
        let (whole, end) = one(&input[..]);
        let (cut, other) = read(input.chunks(1));
        match (&end, &other) {
            (Ok(_), Ok(_)) => assert_eq!(whole, cut),
            // The lines before it, in the same piece, are lost.
            (Err(one), Err(other)) => {
                assert!(whole.is_empty());
                assert!(shown(one).len() <= SHOWN && shown(other).len() <= SHOWN);
                assert_eq!(one, other);
            }
            _ => panic!(
                "it matters how it was cut: {:?} {:?}",
                end.err(),
                other.err()
            ),
        }
        for told in &cut {
            match told {
                Told::Roots(roots) => {
                    assert!(roots.len() <= 4096 && roots.iter().all(|it| it.is_absolute()))
                }
                Told::Change(spot, kinds) => {
                    assert!(spot.root.is_absolute() && spot.directory.is_absolute());
                    assert!(!spot.name.is_empty() && !kinds.is_empty());
                }
                _ => {}
            }
        }
        // What the program makes of it is in the maildirs that it was given.
        let mut talk = Talk::new();
        for piece in pieces(chance, &input) {
            let Ok(news) = talk.push(piece, &roots) else {
                break;
            };
            for news in news {
                if let News::Change {
                    name, directory, ..
                } = news
                {
                    assert!(!name.is_empty());
                    assert!(
                        directory.starts_with(Path::new("/home/me/Mail")),
                        "{directory:?}"
                    );
                }
            }
        }
        // What a program says is one line.
        let mut greeting = Greeting::default();
        let mut attached = Ok(false);
        for piece in pieces(chance, &input) {
            attached = greeting.push(piece);
            if attached.is_err() {
                break;
            }
        }
        assert_eq!(attached, Greeting::default().push(&input));
        assert_eq!(attached == Ok(true), input == ATTACH);
        assert_eq!(attached.is_ok(), ATTACH.starts_with(&input));
    });
}
