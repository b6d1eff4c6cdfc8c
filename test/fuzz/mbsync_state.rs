//! mbsync's record of a box (`syncer::mbsync::State`).

use mailsync_module::maildir::message::Flags;
use mailsync_module::syncer::mbsync::{Column, State};

use crate::fuzzing::{Rng, Stock, each, only};

const WORDS: [&[u8]; 16] = [
    b"\n",
    b"\n\n",
    b" ",
    b"\r\n",
    b"\0",
    b"0",
    b"FarUidValidity 1\n",
    b"NearUidValidity 1\n",
    b"MaxPulledUid 4294967295\n",
    b"SlaveUidValidity 1\n",
    b"Something 1\n",
    b"1 2 FS\n",
    b"0 3 \n",
    b"4 0 ~S\n",
    b">",
    b"<",
];

type Message = (u32, u32, &'static str);

/// A record of such messages, and what is known of each where this side is the near one.
fn written(chance: &mut Rng) -> (Vec<u8>, u32, Vec<Message>) {
    let validity = 1 + chance.below(u64::from(u32::MAX)) as u32;
    let mut text = format!("FarUidValidity 7\nNearUidValidity {validity}\n");
    if chance.once_in(2) {
        text = text.replace("Far", "Master").replace("Near", "Slave");
    }
    text.push_str("MaxPulledUid 9\nMaxPushedUid 8\n\n");
    let mut messages = Vec::new();
    let mut uid = 0;
    for _ in 0..chance.index(6) {
        uid += 1 + chance.below(3) as u32;
        let flags = *chance.choose(&["", "S", "FS", "DFRST", "~S", ">", "PSx"]);
        let far = *chance.choose(&[0, uid, uid + 1000]);
        text.push_str(&format!("{far} {uid} {flags}\n"));
        messages.push((far, uid, flags));
    }
    (text.into_bytes(), validity, messages)
}

#[test]
fn mbsync_state() {
    let stock = Stock::of("mbsync_state", &WORDS);
    each("mbsync_state", 50_000, |chance| {
        // What is written is read.
        let (mut text, validity, messages) = written(chance);
        let state = State::parse(&text, Column::Near).expect("it is right");
        assert_eq!(state.validity, validity);
        let expected = messages.iter().map(|(far, near, flags)| {
            let mut known = Flags::of(flags.as_bytes());
            if flags.starts_with('~') {
                known |= Flags::TRASHED;
            }
            (*near, (*far > 0).then_some(known))
        });
        assert!(state.agreed.iter().eq(expected), "{state:?}");
        // One that was cut off says nothing of messages that are not in it, and nothing else of others.
        let cut = &text[..chance.index(text.len() + 1)];
        if let Ok(part) = State::parse(cut, Column::Near) {
            assert!(cut.ends_with(b"\n"), "half a line");
            assert_eq!(part.validity, validity);
            assert!(
                part.agreed
                    .iter()
                    .eq(state.agreed.iter().take(part.agreed.len()))
            );
        }
        // Anything else.
        if chance.once_in(2) {
            text = stock.input(chance);
        }
        (0..chance.index(3)).for_each(|_| stock.damage(chance, &mut text));
        if only().is_some() {
            println!("{}", text.escape_ascii());
        }
        let lines = text.iter().filter(|it| **it == b'\n').count();
        for column in [Column::Near, Column::Far] {
            match State::parse(&text, column) {
                Ok(state) => {
                    assert!(text.ends_with(b"\n") && state.agreed.len() < lines);
                    assert!(state.agreed.iter().all(|(uid, _)| uid > 0));
                    let mut uids = state.agreed.iter().map(|(uid, _)| uid);
                    assert!(uids.by_ref().is_sorted_by(|one, other| one < other));
                }
                Err(line) => assert!((1..=lines + 1).contains(&line), "line {line} of {lines}"),
            }
        }
    });
}
