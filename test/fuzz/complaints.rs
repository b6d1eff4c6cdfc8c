//! What a watcher program says on its standard error (`remote::complaints`).

use std::time::{Duration, Instant};

use mailsync_module::remote::complaints::Complaints;

use crate::fuzzing::{Stock, assert_shown, each, pieces};

/// Of a line is shown no more than this.
const LONGEST: usize = 300;

const WORDS: [&[u8]; 10] = [
    b"\n",
    b"\r",
    b"\r\n",
    b"Permission denied",
    b"Host key verification failed",
    b"Connection to ",
    b"\x1b[1m",
    b"\xc2\x85",
    b"\xff",
    b"\0",
];

/// All that is told of these pieces, one after the other; a minute passes before each in `later`.
fn told<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    begin: Instant,
) -> (Complaints, Vec<String>) {
    let mut complaints = Complaints::default();
    let lines = pieces
        .into_iter()
        .flat_map(|it| complaints.push(begin, it))
        .collect();
    (complaints, lines)
}

#[test]
fn complaints() {
    let stock = Stock::of("complaints", &WORDS);
    let begin = Instant::now();
    each("complaints", 10_000, |chance| {
        let mut bytes = stock.input(chance);
        if chance.once_in(16) {
            bytes = bytes.repeat(40);
        }
        let (mut whole, mut lines) = told([&bytes[..]], begin);
        let (mut cut, others) = told(pieces(chance, &bytes), begin);
        assert_eq!(lines, others, "it matters how it was cut");
        assert_eq!((whole.denied(), whole.last()), (cut.denied(), cut.last()));
        assert!(lines.len() <= 10, "{} lines in no time", lines.len());
        // Of what was left out, how much.
        let end = whole.finish(begin);
        assert_eq!(end, cut.finish(begin));
        assert!(end.len() <= 2);
        lines.extend(end);
        lines.push(whole.last().to_owned());
        for line in &lines {
            assert_shown(line, LONGEST);
        }
        // The next minute has a say of its own.
        let next = whole.push(begin + Duration::from_secs(61), b"\nand now?\n");
        assert_eq!(next, ["and now?"]);
        // Between words anything that is not shown may stand.
        let said = |it: &[u8]| bytes.windows(it.len()).any(|window| window == it);
        assert!(!whole.denied() || said(b"Permission") || said(b"verification"));
    });
}
