//! What a program prints, kept in part (`syncer::run::capture`).

use mailsync_module::syncer::run::capture::Capture;

use crate::fuzzing::{Stock, each, pieces};

/// Bytes that are kept of both ends together.
const KEPT: usize = 16 * 1024;

#[test]
fn output() {
    let stock = Stock::of("mbsync_output", &[b"\n", b"\r", b"\0", b"\xff"]);
    each("output", 2_000, |chance| {
        let mut bytes = stock.input(chance);
        let times = [1, 2, 8, 40][chance.index(4)];
        bytes = bytes.repeat(times);
        bytes.truncate(64 * 1024);
        let mut whole = Capture::default();
        whole.add(&bytes);
        let whole = whole.finish();
        let mut cut = Capture::default();
        pieces(chance, &bytes)
            .into_iter()
            .for_each(|it| cut.add(it));
        assert_eq!(whole, cut.finish(), "it matters how it was cut");
        let kept = whole.first.len() + whole.last.len();
        assert!(kept <= KEPT, "{kept} bytes are kept");
        assert_eq!(kept as u64 + whole.dropped, bytes.len() as u64);
        assert!(bytes.starts_with(&whole.first) && bytes.ends_with(&whole.last));
        assert!(
            kept == bytes.len() || kept >= KEPT - 2 * 1024,
            "only {kept}"
        );
    });
}
