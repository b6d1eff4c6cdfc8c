//! What a worker says (`syncer::worker`).

use std::collections::HashMap;
use std::path::Path;

use mailsync_module::syncer::outcome::Verdict;
use mailsync_module::syncer::worker::talk::{Answer, Asked, Done, Request, Talk};
use mailsync_module::syncer::worker::{summary, weigh};
use mailsync_module::syncer::{Memory, Outcome};

use crate::fuzzing::{Rng, Stock, assert_shown, bytes, each, pieces, text};

const WORDS: [&[u8]; 18] = [
    b"\n",
    b" ",
    b"=",
    b"%",
    b"%20",
    b"\r",
    b"\xff",
    b"hello 1\n",
    b"hello 2\n",
    b"begin 7\n",
    b"alive\n",
    b"folder a ok\n",
    b"folder b%20c failed pulled=3\n",
    b"end 7 0\n",
    b"end 7 75 no network\n",
    b"end 7 256\n",
    b"\x1b[1m",
    b"x=18446744073709551615",
];

/// No line is longer.
const LONGEST: usize = 64 * 1024;

type Heard = (Result<(), String>, Option<Done>, bool, bool);

fn heard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Heard {
    let mut talk = Talk::new();
    talk.hear(b"hello 1 fuzz\n").unwrap();
    talk.ask(7);
    let heard = pieces.into_iter().try_for_each(|it| talk.hear(it));
    let (known, begun) = (talk.is_known(), talk.has_begun());
    (heard, talk.done(), known, begun)
}

fn answer(chance: &mut Rng) -> Answer {
    let word = |chance: &mut Rng| text(chance, 6).replace(['=', ' ', '\n', '\r'], "");
    Answer {
        name: bytes(chance, 12, b""),
        ok: chance.once_in(2),
        counts: (0..chance.index(3))
            .map(|_| (word(chance), chance.below(5)))
            .collect(),
    }
}

/// As a worker says it.
fn line(answer: &Answer) -> Vec<u8> {
    let mut line = b"folder ".to_vec();
    mailsync_module::notation::quote(&mut line, &answer.name, b" ");
    line.extend(if answer.ok { &b" ok"[..] } else { b" failed" });
    for (word, count) in &answer.counts {
        line.extend(format!(" {word}={count}").into_bytes());
    }
    line.push(b'\n');
    line
}

#[test]
fn worker() {
    let stock = Stock::of("worker", &WORDS);
    each("worker", 20_000, |chance| {
        // What is answered is heard.
        let answers: Vec<Answer> = (0..chance.index(4)).map(|_| answer(chance)).collect();
        let text = text(chance, 20).replace('\n', " ");
        let code = chance.below(256);
        let mut input = b"begin 7\n".to_vec();
        input.extend(answers.iter().flat_map(line));
        input.extend(format!("end 7 {code} {text}\n").into_bytes());
        let done = Done {
            code: code as i32,
            text,
            answers,
        };
        let whole = heard(pieces(chance, &input));
        assert_eq!(
            whole,
            (Ok(()), Some(done), true, true),
            "{}",
            input.escape_ascii()
        );
        // Anything else.
        match chance.index(3) {
            0 => input = stock.input(chance),
            1 => input.splice(8..8, stock.input(chance)).for_each(drop),
            _ => (0..3).for_each(|_| stock.damage(chance, &mut input)),
        }
        if chance.once_in(256) {
            input.splice(8.min(input.len())..8.min(input.len()), vec![b'x'; LONGEST]);
        }
        let (result, done, known, _) = heard([&input[..]]);
        let cut = heard(pieces(chance, &input));
        assert_eq!(
            (&result, &done),
            (&cut.0, &cut.1),
            "it matters how it was cut"
        );
        assert!(known);
        if let Err(text) = &result {
            assert_shown(text, 400);
        }
        let Some(done) = done else {
            return;
        };
        assert!((0..256).contains(&done.code) && done.text.len() <= 3 * input.len());
        assert!(done.answers.len() * 8 <= input.len());
        assert!(summary(&done.answers).len() <= 2 * input.len());
        // What is made of it is shown.
        let asked = |name: &[u8]| Asked {
            name: name.to_vec(),
            directory: Vec::new(),
            real: Path::new("/m").join("a").into(),
        };
        let mut folders: Vec<Asked> = done.answers.iter().map(|it| asked(&it.name)).collect();
        folders.push(asked(b"never\x1b\nsaid"));
        let request = Request {
            run: 7,
            folders: Some(folders),
            quick: false,
        };
        let verdict = Verdict {
            outcome: Outcome::Ok,
            text: String::new(),
            failed: Vec::new(),
            memory: Memory {
                remote_names: HashMap::new(),
                of: None,
            },
        };
        let verdict = weigh(verdict, &request, &done.answers);
        assert_eq!(verdict.outcome, Outcome::Partial, "one was not answered");
        assert_shown(&verdict.text, 500);
    });
}
