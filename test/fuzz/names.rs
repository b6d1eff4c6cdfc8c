//! Names of folders and of messages (`maildir::name`, `maildir::message`, `remote::names`, `far::names`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use mailsync_module::far::names::{Naming as Called, Template};
use mailsync_module::maildir::Layout;
use mailsync_module::maildir::message::{Flags, MessageName, number};
use mailsync_module::maildir::name::{INBOX, canonical, directory};
use mailsync_module::remote::names::Naming;
use mailsync_module::remote::protocol::Dialect;

use crate::fuzzing::{Rng, Stock, bytes, each, text};

const WORDS: [&[u8]; 22] = [
    b".",
    b"..",
    b"/",
    b"INBOX",
    b"inBox",
    b"&AOk-",
    b"&-",
    b"\xc3\xa9",
    b"\xff",
    b"\n",
    b"cur",
    b"new",
    b"tmp",
    b",U=",
    b",U=5",
    b",FMD5=",
    b",S=10",
    b":2,",
    b":2,FS",
    b":",
    b",",
    b"%s",
];

/// What discovery makes of a path below a root.
fn found(path: &Path) -> Vec<u8> {
    if path.as_os_str().is_empty() {
        return INBOX.to_vec();
    }
    path.iter()
        .fold(Vec::new(), |parent, entry| canonical(&parent, entry))
}

fn count(bytes: &[u8], wanted: u8) -> usize {
    bytes.iter().filter(|byte| **byte == wanted).count()
}

fn folders(chance: &mut Rng, name: &[u8]) {
    // An entry of a directory is what comes before a slash.
    let entry: Vec<u8> = name
        .iter()
        .copied()
        .filter(|it| !b"/\0".contains(it))
        .collect();
    let parent = chance
        .choose(&[&b""[..], b"a", b"INBOX", b"\xff/b"])
        .to_vec();
    let whole = canonical(&parent, OsStr::from_bytes(&entry));
    let own = whole.strip_prefix(&parent[..]).expect("below its parent");
    assert!(!whole.contains(&0));
    // As many levels as it has on the disk.
    let levels = match entry.strip_prefix(b".") {
        Some(levels) => count(levels, b'.'),
        None => 0,
    };
    assert_eq!(count(own, b'/'), levels + usize::from(!parent.is_empty()));
    assert!(
        own.len() <= entry.len() * 9 / 8 + 1,
        "{}",
        own.escape_ascii()
    );
    // Where there is a place for a name, it is found there under that name.
    for layout in [Layout::MaildirPlusPlus, Layout::Nested] {
        let Some(place) = directory(name, layout) else {
            continue;
        };
        for entry in &place {
            assert!(entry.len() <= 255 && !entry.as_bytes().contains(&0));
        }
        let top = name.split(|it| *it == b'/').next().unwrap_or_default();
        let mut expected = name.to_vec();
        if top.eq_ignore_ascii_case(INBOX) {
            expected[..INBOX.len()].copy_from_slice(INBOX);
        }
        assert_eq!(found(&place), expected, "{place:?}");
    }
}

fn messages(chance: &mut Rng, name: &[u8]) {
    let read = MessageName::of(name);
    let info = &name[read.base.len()..];
    assert!(name.starts_with(read.base) && read.base.starts_with(read.key));
    assert!(
        info.is_empty() && read.letters.is_empty()
            || info.strip_prefix(b":2,") == Some(read.letters)
    );
    assert!(!read.base.windows(3).any(|it| it == b":2,"));
    assert!(read.has_the_letters_of(&read) && !read.only_gains_uid(&read));
    assert!(
        read.mark
            .is_none_or(|it| !it.contains(&b',') && !it.contains(&b':'))
    );
    if read.uid().is_some() {
        assert!(read.has_uid() && read.key.len() < name.len());
    } else {
        assert!(read.writer().is_none());
    }
    // What a syncer writes is read.
    let key = bytes(chance, 12, b",:");
    let uid = chance.below(1 << 33);
    let letters = &b"DFPRSTab"[chance.index(8)..];
    let mut name = [&key[..], format!(",U={uid}").as_bytes()].concat();
    let marked = chance.once_in(2);
    if marked {
        name.extend(b",FMD5=0cc175b9c0f1b6a831c399e269772661");
    }
    name.extend([b":2,", letters].concat());
    let read = MessageName::of(&name);
    let known = u32::try_from(uid).ok().filter(|uid| *uid > 0);
    assert_eq!(read.uid(), known);
    assert_eq!(read.flags(), Flags::of(letters));
    assert_eq!(read.mark.is_some(), marked);
    if known.is_some() {
        assert_eq!(read.key, key);
    }
    let mine = MessageName::of(&key);
    assert_eq!(
        read.only_gains_uid(&mine),
        !marked,
        "{}",
        name.escape_ascii()
    );
    assert_eq!(number(uid.to_string().as_bytes()), known);
}

/// What a watcher or a server calls a folder.
fn others(chance: &mut Rng, name: &[u8]) {
    let naming = Naming {
        prefix: chance.choose(&[&b""[..], b"INBOX.", b"m"]).to_vec(),
        separator: chance
            .choose(&[&b""[..], b".", b"/", b"::", b"\xff"])
            .to_vec(),
    };
    let plain = naming.canonical(Dialect::Plain, name);
    let own = name.strip_prefix(&naming.prefix[..]).unwrap_or(name);
    if let Some(found) = &plain {
        assert!(!found.is_empty() && !found.contains(&0));
        assert!(found.len() <= name.len() * 9 / 8);
        let separated = naming.separator.first().map_or(0, |it| count(own, *it));
        assert!(count(found, b'/') <= count(own, b'/') + separated);
    } else {
        assert!(own.is_empty() || name.contains(&0));
    }
    let kinds = naming.canonical(Dialect::Kinds, name);
    assert_eq!(kinds.is_none(), name.is_empty() || name.contains(&0));
    assert!(kinds.is_none_or(|it| it == name));
}

/// What mailsync-watch is told to call folders.
fn templates(chance: &mut Rng, name: &[u8]) {
    let (before, after) = (text(chance, 5), text(chance, 5));
    let quote = |text: &str| text.replace('%', "%%");
    let template = format!("{}%s{}", quote(&before), quote(&after));
    let template = Template::parse(template.as_bytes()).expect("one place");
    let called = Called {
        inbox: b"In".to_vec(),
        template,
    };
    let directory = OsString::from_vec([b"/m/", name].concat());
    let roots = [PathBuf::from("/m")];
    let said = called.name(Dialect::Kinds, &roots, name, Path::new(&directory));
    let inside = if name == INBOX { b"In" } else { name };
    assert_eq!(said, [before.as_bytes(), inside, after.as_bytes()].concat());
    let said = called.name(Dialect::Plain, &roots, name, Path::new(&directory));
    assert!(said.starts_with(before.as_bytes()) && said.ends_with(after.as_bytes()));
    if let Ok(template) = Template::parse(name) {
        let called = Called {
            inbox: b"x".to_vec(),
            template,
        };
        let said = called.name(Dialect::Kinds, &[], b"", Path::new(""));
        assert!(said.len() <= name.len() - 2);
    }
}

#[test]
fn names() {
    let stock = Stock::of("names", &WORDS);
    each("names", 50_000, |chance| {
        let mut name = stock.input(chance);
        name.truncate(chance.index(300));
        folders(chance, &name);
        messages(chance, &name);
        others(chance, &name);
        templates(chance, &name);
    });
}
