//! What a watcher program prints (`remote::protocol`, `remote::heard`).

use mailsync_module::change::Kinds;
use mailsync_module::remote::heard::Heard;
use mailsync_module::remote::names::Naming;
use mailsync_module::remote::protocol::{
    Dialect, EVERYTHING, LONGEST, Reader, Said, change, hello,
};

use crate::fuzzing::{Stock, bytes, each, pieces};
use crate::kinds;

const WORDS: [&[u8]; 16] = [
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\r",
    b" ",
    b",",
    b"%",
    b"%0A",
    b"%00",
    b"%zz",
    b"mailsync-watch 1\n",
    b"mailsync-watch 2\n",
    b"new INBOX\n",
    b"flags,gone a/b\n",
    b"\0",
    b"\xff",
];

fn read<'a>(dialect: Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Said>, Reader) {
    let mut reader = Reader::new(dialect);
    let mut said = Vec::new();
    for piece in pieces {
        said.extend(reader.push(piece));
        assert!(reader.held() <= LONGEST + 1, "{} bytes held", reader.held());
    }
    (said, reader)
}

#[test]
fn watcher() {
    let stock = Stock::of("watcher", &WORDS);
    each("watcher", 20_000, |chance| {
        let dialect = *chance.choose(&[Dialect::Plain, Dialect::Kinds]);
        let mut input = match chance.index(4) {
            0 => Vec::new(),
            _ => [&hello(dialect)[..], EVERYTHING].concat(),
        };
        let began = !input.is_empty();
        input.extend(stock.input(chance));
        if chance.once_in(256) {
            input = input.repeat(LONGEST / input.len().max(1) + 2);
        }
        let (said, mut reader) = read(dialect, [&input[..]]);
        assert_eq!(
            said,
            read(dialect, pieces(chance, &input)).0,
            "it matters how it was cut"
        );
        let lines = input.iter().filter(|it| **it == b'\n').count();
        assert!(said.len() <= lines, "{said:?}");
        let mut heard = Heard::default();
        for said in said {
            match &said {
                Said::Noise(line) | Said::OtherVersion(line) => assert!(line.len() <= LONGEST + 1),
                Said::Change { name, kinds } => {
                    assert!(!name.is_empty() && name.len() <= LONGEST && !kinds.is_empty());
                }
                Said::Hello | Said::Everything => {}
            }
            let noise = heard.add(said, dialect, &Naming::default());
            assert!(noise.is_none_or(|it| !it.contains(&b'\n')));
            assert!(
                heard
                    .changes
                    .keys()
                    .all(|it| !it.is_empty() && !it.contains(&0))
            );
            assert!(heard.changes.len() <= 4096 && heard.bytes <= 256 * 1024);
            assert_eq!(
                heard.bytes,
                heard.changes.keys().map(Vec::len).sum::<usize>()
            );
        }
        if !began {
            return;
        }
        // Whatever there was, the next line is a line.
        let foreign = reader.push(b"\n").is_empty() && reader.push(EVERYTHING).is_empty();
        assert!(!foreign, "it was understood before");
        let name = bytes(chance, 40, b"\0");
        let kinds = kinds(chance);
        let line = change(dialect, &name, kinds);
        assert!(line.len() <= LONGEST + 1 && line.ends_with(b"\n"));
        assert_eq!(line.iter().filter(|it| **it == b'\n').count(), 1);
        let expected = match dialect {
            _ if line == EVERYTHING => Said::Everything,
            Dialect::Plain => Said::Change {
                name: name.clone(),
                kinds: Kinds::UNKNOWN,
            },
            Dialect::Kinds => Said::Change {
                name: name.clone(),
                kinds: if kinds.is_empty() {
                    Kinds::UNKNOWN
                } else {
                    kinds
                },
            },
        };
        assert_eq!(reader.push(&line), [expected]);
        // Nothing that a name has in it is lost with kinds.
        assert!(line != EVERYTHING || name.is_empty() || dialect == Dialect::Plain);
    });
}
