//! OfflineIMAP's configuration (`syncer::offlineimap::Ini`), and what is made of it.  What Python's own
//! reader makes of the same is compared.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use mailsync_module::syncer::offlineimap::{self, Ini};
use mailsync_module::syncer::{Order, Program, Scope, Syncer};

use crate::fuzzing::{Rng, Stock, assert_shown, each, number, only};

const WORDS: [&[u8]; 28] = [
    b"\n",
    b"\n\n",
    b"\r\n",
    b" ",
    b"\t",
    b"  more\n",
    b"#",
    b"; x\n",
    b"[",
    b"]",
    b"=",
    b":",
    b"%",
    b"%%",
    b"%(a)s",
    b"%(sep)s",
    b"%(Metadata)s",
    b"%(",
    b"[DEFAULT]\n",
    b"[general]\n",
    b"[Account a]\n",
    b"[Repository a-local]\n",
    b"a = %(a)s\n",
    b"sep = /\n",
    b"type = Maildir\n",
    b"~",
    b"$HOME",
    b"\xc3\xa9",
];

const LAST: &str = "\n[Account la st]\nkey = some: thing\n";

/// No value is longer, whatever it refers to.
const LONGEST: usize = 1 << 20;

const SECTIONS: [&str; 7] = [
    "general",
    "Account a",
    "Repository a-local",
    "Repository a-remote",
    "Account slash",
    "Repository slash-local",
    "Account la st",
];

const KEYS: [&str; 12] = [
    "a",
    "accounts",
    "metadata",
    "sep",
    "type",
    "localfolders",
    "localrepository",
    "remoterepository",
    "remotehost",
    "nametrans",
    "socktimeout",
    "pythonfile",
];

/// A text, mostly one that is no surprise to Python.
fn input(chance: &mut Rng, stock: &Stock) -> String {
    String::from_utf8_lossy(&stock.input(chance)).into_owned()
}

fn bomb(chance: &mut Rng) -> String {
    let mut text = String::from("[general]\n");
    let width = 1 + chance.index(30);
    for (key, next) in KEYS.iter().zip(&KEYS[1..]) {
        text.push_str(&format!(
            "{key} = x{}\n",
            format!("%({next})s").repeat(width)
        ));
    }
    let last: &&str = chance.choose(&["pythonfile = \n", "pythonfile = abc\n", ""]);
    text.push_str(last);
    text
}

#[test]
fn offlineimap_config() {
    let stock = Stock::of("offlineimap_config", &WORDS);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("offlineimaprc");
    fs::create_dir_all(home.path().join("mail/a/b/cur")).unwrap();
    let folders = [crate::folder("INBOX"), crate::folder("a/b")];
    each("offlineimap_config", 4_000, |chance| {
        let text = if chance.once_in(64) {
            bomb(chance)
        } else {
            input(chance, &stock)
        };
        if only().is_some() {
            println!("{text}");
        }
        let ini = Ini::parse(&text);
        let lines = text.lines().count();
        for section in SECTIONS {
            assert_eq!(ini.has(section), ini.line(section) > 0);
            assert!(ini.line(section) <= lines);
            for key in KEYS {
                let value = ini.get(section, key);
                assert!(value.is_none() || ini.has(section));
                assert!(value.is_none_or(|it| it.len() <= LONGEST));
            }
        }
        let named = ini.named("Account ");
        assert!(named.len() <= lines);
        assert!(
            named
                .iter()
                .map(|it| ini.line(&format!("Account {it}")))
                .is_sorted()
        );
        // What comes after it is read.
        let more = Ini::parse(&format!("{text}{LAST}"));
        assert_eq!(
            more.get("Account la st", "key").as_deref(),
            Some("some: thing")
        );
        for key in KEYS {
            assert_eq!(more.get("general", key), ini.get("general", key));
        }
        if !chance.once_in(32) {
            return;
        }
        fs::write(&file, &text).unwrap();
        let program = Program::OfflineImap {
            program: "/bin/true".into(),
            account: (*chance.choose(&["a", "slash", "dot", "la st"])).to_owned(),
            config: Some(file.clone()),
            args: Vec::new(),
        };
        let syncer = Syncer {
            environment: vec![format!("HOME={}", home.path().display()).into()],
            directory: Some(home.path().to_owned()),
            ..Syncer::new(program)
        };
        let order = Order::new("mine", syncer, Scope::Folders(folders.to_vec()));
        // One line, though as long as what the user wrote.
        if let Err(refused) = offlineimap::inspect(&order, &folders) {
            assert_shown(&refused.text, LONGEST);
        }
        if let Err(refused) = offlineimap::unpushed(&order, &folders) {
            assert_shown(&refused.text, LONGEST);
        }
    });
}

/// Values of `KEYS` in `SECTIONS`, as Python has them; nothing where it refuses the whole.
const PYTHON: &str = r#"
import configparser, json, sys

sections, keys, texts = json.load(sys.stdin)
for text in texts:
    parser = configparser.ConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        print("null")
        continue
    values = []
    for section in sections:
        for key in keys:
            try:
                value = [parser.get(section, key)] if parser.has_section(section) else None
            except configparser.NoOptionError:
                value = None
            except configparser.InterpolationError:
                value = "refused"
            values.append(value)
    print(json.dumps(values))
"#;

/// As JSON has it, and nothing but ASCII.
fn json(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

#[test]
fn as_python_has_it() {
    let stock = Stock::of("offlineimap_config", &WORDS);
    // One process reads so many.
    let most = 20_000;
    let mut left = number("FUZZ").unwrap_or(20_000) / 10;
    let mut case = 0;
    let mut compared = 0;
    while left > 0 {
        let count = left.min(most);
        left -= count;
        let texts: Vec<String> = (case..case + count)
            .map(|case| {
                let text = input(&mut Rng::new(case), &stock);
                // Others end lines for Python, or are blanks there.
                text.replace(
                    |it: char| {
                        matches!(
                            it,
                            '\r' | '\x0b'..='\x1f' | '\u{85}' | '\u{2028}' | '\u{2029}'
                        )
                    },
                    "",
                )
            })
            .collect();
        case += count;
        let mut python = Command::new("python3")
            .args(["-c", PYTHON])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python");
        let words = |words: &[&str]| array(words.iter().map(|it| json(it)));
        let all = array(texts.iter().map(|it| json(it)));
        let input = format!("[{},{},{all}]", words(&SECTIONS), words(&KEYS));
        let mut stdin = python.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = python.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let answers = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answers.lines().count(), texts.len());
        for (answer, text) in answers.lines().zip(&texts) {
            if answer == "null" {
                continue;
            }
            compared += 1;
            let ini = Ini::parse(text);
            let values = SECTIONS
                .iter()
                .flat_map(|section| KEYS.map(|key| ini.get(section, key)));
            let theirs = split(answer);
            for ((value, theirs), at) in values.zip(theirs).zip(0..) {
                let ours = value.map_or("null".to_owned(), |it| format!("[{}]", json(&it)));
                let place = (SECTIONS[at / KEYS.len()], KEYS[at % KEYS.len()]);
                assert!(
                    theirs == "\"refused\"" || unescaped(&theirs) == unescaped(&ours),
                    "{place:?}: Python has {theirs}, we {ours} of\n{text}"
                );
            }
        }
    }
    println!("as_python_has_it: {case} inputs, of which Python reads {compared}");
    assert!(compared > 0);
}

/// The elements of an array of Python's, which are null, text, or a text in an array.
fn split(array: &str) -> Vec<String> {
    let mut elements = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in array[1..array.len() - 1].chars() {
        match letter {
            ',' if !quoted => elements.push(String::new()),
            ' ' if !quoted => {}
            _ => elements.last_mut().unwrap().push(letter),
        }
        quoted ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
    }
    elements
}

/// Its UTF-16, whichever letters are escaped.
fn unescaped(text: &str) -> Vec<u16> {
    let mut units = Vec::new();
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        if letter != '\\' {
            units.extend(letter.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        match rest.next().unwrap() {
            'u' => {
                let digits: String = rest.by_ref().take(4).collect();
                units.push(u16::from_str_radix(&digits, 16).unwrap());
            }
            'n' => units.push(10),
            't' => units.push(9),
            'b' => units.push(8),
            'f' => units.push(12),
            'r' => units.push(13),
            other => units.push(other as u16),
        }
    }
    units
}
