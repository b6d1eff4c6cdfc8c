//! From directory entries to canonical folder names, and back.
//!
//! A canonical name is Unicode with `/` between levels, and `INBOX` for the inbox.  Bytes that
//! are no modified UTF-7 on disk are kept, so any name survives; but two directories can come to
//! the same name (`é` in UTF-8 beside `&AOk-`), which is why a folder travels with its directory
//! and why [`directory`] is for folders that do not exist yet.  Pure: nothing here looks at a
//! disk, and the root itself (`INBOX` where it is a folder) is `discover`'s business.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::discover::{Layout, never_a_folder};
use super::utf7;

/// The inbox: at the top it is this, however its letters are cased (RFC 3501, 5.1).
pub const INBOX: &[u8] = b"INBOX";

/// The longest name of a directory entry, in bytes (NAME_MAX everywhere).
const LONGEST: usize = 255;

/// The canonical name of a directory entry that lies in the folder or container of the canonical
/// name `parent` (empty: the root).
///
/// An entry that begins with a dot is Maildir++ and has its levels in it (`.a.b` is `a/b`), any
/// other is one level (`a.b` is `a.b`).  Every level is decoded where it is modified UTF-7
/// ([`utf7::decode`]) and kept byte for byte where it is not.
#[must_use]
pub fn canonical(parent: &[u8], entry: &OsStr) -> Vec<u8> {
    let bytes = entry.as_bytes();
    let mut name = parent.to_vec();
    match bytes.strip_prefix(b".") {
        Some(levels) => {
            let mut top = parent.is_empty();
            for level in levels.split(|byte| *byte == b'.') {
                push_level(&mut name, level, top);
                top = false;
            }
        }
        None => push_level(&mut name, bytes, parent.is_empty()),
    }
    name
}

/// Put a level, as it is spelled on the disk, behind a canonical name, or at its `top`.
pub fn push_level(name: &mut Vec<u8>, level: &[u8], top: bool) {
    if !top {
        name.push(b'/');
    }
    match utf7::decode(level) {
        Some(text) if top && text.as_bytes().eq_ignore_ascii_case(INBOX) => name.extend(INBOX),
        Some(text) => name.extend(text.into_bytes()),
        None => name.extend(level),
    }
}

/// The directory, relative to the root, in which a folder of the canonical name `name` would live.
///
/// Maildir++: `INBOX` is the root itself (an empty path), `a/b` is `.a.b`.  Nested: `a/b` is
/// `a/b`, and `INBOX` is `INBOX` (where the root itself is the inbox, only discovery knows).
/// Levels are spelled in modified UTF-7; a level that is no UTF-8 cannot have come out of
/// decoding and is written as it is.
///
/// `None` where there is no such directory, or where it would not be found again under that
/// name: an empty level, NUL, a level with a dot (Maildir++) or that begins with one (nested), an
/// entry that is never a folder ([`never_a_folder`]) or longer than 255 bytes, and in the layout
/// [`Layout::Auto`], which does not say where new folders go.
#[must_use]
pub fn directory(name: &[u8], layout: Layout) -> Option<PathBuf> {
    let levels = name
        .split(|byte| *byte == b'/')
        .enumerate()
        .map(|(at, level)| spell(level, at == 0))
        .collect::<Option<Vec<_>>>()?;
    let entries = match layout {
        Layout::Auto => return None,
        Layout::MaildirPlusPlus if name.eq_ignore_ascii_case(INBOX) => Vec::new(),
        Layout::MaildirPlusPlus => {
            if levels.iter().any(|level| level.contains(&b'.')) {
                return None;
            }
            vec![[b".".as_slice(), &levels.join(&b'.')].concat()]
        }
        Layout::Nested => {
            if levels.iter().any(|level| level.starts_with(b".")) {
                return None;
            }
            levels
        }
    };
    let entries = entries.into_iter().map(OsString::from_vec);
    entries
        .map(|entry| (entry.len() <= LONGEST && !never_a_folder(&entry)).then_some(entry))
        .collect()
}

fn spell(level: &[u8], top: bool) -> Option<Vec<u8>> {
    if level.is_empty() || level.contains(&0) {
        return None;
    }
    if top && level.eq_ignore_ascii_case(INBOX) {
        return Some(INBOX.to_vec());
    }
    Some(utf7::spell(level))
}

#[cfg(test)]
mod tests {
    use super::super::model::Lcg;
    use super::*;

    /// What discovery makes of a relative path: the entries one after the other.
    fn found(path: &std::path::Path) -> Vec<u8> {
        if path.as_os_str().is_empty() {
            return INBOX.to_vec();
        }
        path.iter()
            .fold(Vec::new(), |parent, entry| canonical(&parent, entry))
    }

    #[test]
    fn entries_have_names() {
        let long = [b'x'; 255];
        let table: [(&[u8], &[u8], &[u8]); 29] = [
            // nested: an entry is a level
            (b"", b"a", b"a"),
            (b"a", b"b", b"a/b"),
            (b"a/b", b"c", b"a/b/c"),
            (b"a", b"b.c", b"a/b.c"),
            (b"", b"a.", b"a."),
            // Maildir++: an entry has levels in it
            (b"", b".a", b"a"),
            (b"", b".a.b", b"a/b"),
            (b"a", b".b.c", b"a/b/c"),
            // malformed, but never two of them alike
            (b"", b"..a", b"/a"),
            (b"", b".a..b", b"a//b"),
            (b"", b".a.", b"a/"),
            // the inbox is one only at the top
            (b"", b"INBOX", b"INBOX"),
            (b"", b"Inbox", b"INBOX"),
            (b"", b".inbox", b"INBOX"),
            (b"", b".inBox.a", b"INBOX/a"),
            (b"INBOX", b".sub", b"INBOX/sub"),
            (b"INBOX", b"sub", b"INBOX/sub"),
            (b"a", b"inbox", b"a/inbox"),
            (b"", b".a.Inbox", b"a/Inbox"),
            (b"", b"INBOX2", b"INBOX2"),
            // modified UTF-7, level by level
            (b"", b"Entw&APw-rfe", "Entwürfe".as_bytes()),
            (b"", b".R&-D.&ZeVnLIqe-", "R&D/日本語".as_bytes()),
            (b"", b".a&b.&AOk-", "a&b/é".as_bytes()),
            (b"", b"&AOk-&AOk-", b"&AOk-&AOk-"),
            // anything else as it is
            (b"", "Entwürfe".as_bytes(), "Entwürfe".as_bytes()),
            (b"", b"\xff\xe9", b"\xff\xe9"),
            (b"\xff", b".\xe9.&AOk-", b"\xff/\xe9/\xc3\xa9"),
            (b"", b"a b\n\"%s'\\", b"a b\n\"%s'\\"),
            (b"", &long, &long),
        ];
        for (parent, entry, name) in table {
            assert_eq!(
                canonical(parent, OsStr::from_bytes(entry)),
                name,
                "{} in {}",
                String::from_utf8_lossy(entry),
                String::from_utf8_lossy(parent)
            );
        }
    }

    #[test]
    fn names_have_directories() {
        let (long, longer) = ([b'x'; 254], [b'x'; 255]);
        let dotted = [b".".as_slice(), &long].concat();
        // name, Maildir++, nested
        type Place<'a> = Option<&'a [u8]>;
        let table: [(&[u8], Place, Place); 29] = [
            (b"INBOX", Some(b""), Some(b"INBOX")),
            (b"inbox", Some(b""), Some(b"INBOX")),
            (b"INBOX/a", Some(b".INBOX.a"), Some(b"INBOX/a")),
            (b"a/INBOX", Some(b".a.INBOX"), Some(b"a/INBOX")),
            (b"a", Some(b".a"), Some(b"a")),
            (b"a/b/c", Some(b".a.b.c"), Some(b"a/b/c")),
            (b"a b\"%s'", Some(b".a b\"%s'"), Some(b"a b\"%s'")),
            (b"a\nb", Some(b".a&AAo-b"), Some(b"a&AAo-b")),
            (b"R&D", Some(b".R&-D"), Some(b"R&-D")),
            (
                "é/日本語".as_bytes(),
                Some(b".&AOk-.&ZeVnLIqe-"),
                Some(b"&AOk-/&ZeVnLIqe-"),
            ),
            // only the level that is not UTF-8 is written as it is
            (b"\xff/\xc3\xa9", Some(b".\xff.&AOk-"), Some(b"\xff/&AOk-")),
            // dots
            (b"a.b", None, Some(b"a.b")),
            (b"a/b.c", None, Some(b"a/b.c")),
            (b".a", None, None),
            (b"a/.b", None, None),
            (b"..", None, None),
            (b"\xff.", None, Some(b"\xff.")),
            // no names at all
            (b"", None, None),
            (b"/", None, None),
            (b"/a", None, None),
            (b"a/", None, None),
            (b"a//b", None, None),
            (b"a\0", None, None),
            // what discovery never looks at
            (b"cur", Some(b".cur"), None),
            (b"a/new", Some(b".a.new"), None),
            (b"a/tmp/b", Some(b".a.tmp.b"), None),
            (b"nnmaildir", None, Some(b"nnmaildir")),
            // how long an entry can be
            (&long, Some(&dotted), Some(&long)),
            (&longer, None, Some(&longer)),
        ];
        for (name, plus, nested) in table {
            let shown = String::from_utf8_lossy(name);
            for (layout, expected) in [
                (Layout::MaildirPlusPlus, plus),
                (Layout::Nested, nested),
                (Layout::Auto, None),
            ] {
                let place = directory(name, layout);
                let place = place.as_ref().map(|path| path.as_os_str().as_bytes());
                assert_eq!(place, expected, "{shown} in {layout:?}");
            }
        }
        assert_eq!(directory(&[b'x'; 256], Layout::Nested), None);
        // 188 bytes in a name are 253 on disk, 192 are 258
        for (count, fits) in [(94, true), (96, false)] {
            let place = directory("é".repeat(count).as_bytes(), Layout::Nested);
            assert_eq!(place.is_some(), fits, "{count}");
        }
    }

    #[test]
    fn names_survive() {
        let mut placed = 0;
        for seed in 0..20_000 {
            let mut lcg = Lcg::new(seed);
            let mut name = Vec::new();
            for at in 0..=lcg.below(3) {
                if at > 0 {
                    name.push(b'/');
                }
                match lcg.below(5) {
                    0 => name.extend(b"INBOX"),
                    1 => name.extend([0xff, *lcg.choose(b"&-.a\n\xe9")]),
                    _ => name.extend(lcg.text(6).into_bytes()),
                }
            }
            for layout in [Layout::MaildirPlusPlus, Layout::Nested] {
                if let Some(place) = directory(&name, layout) {
                    placed += 1;
                    assert_eq!(found(&place), name, "seed {seed}: {place:?}");
                }
            }
        }
        assert!(placed > 10_000, "only {placed} were worth trying");
    }

    #[test]
    fn entries_survive_where_they_are_canonical() {
        // An entry whose levels are all modified UTF-7 goes back to where it came from.
        for seed in 0..20_000 {
            let mut lcg = Lcg::new(seed);
            let level = utf7::encode(&lcg.text(8).replace(['.', '/'], "-"));
            let nested = OsString::from_vec(level.clone());
            let dotted = OsString::from_vec([b".".as_slice(), &level, b".x"].concat());
            for (entry, layout) in [(nested, Layout::Nested), (dotted, Layout::MaildirPlusPlus)] {
                if entry.is_empty() || level.is_empty() {
                    continue;
                }
                let place = directory(&canonical(b"", &entry), layout);
                assert_eq!(place, Some(entry.into()), "seed {seed}");
            }
        }
    }
}
