//! From a watcher's name of a folder to the canonical one.  Pure.
//!
//! A plain watcher names folders as its store does: with a separator between levels (mswatch's
//! `watch_maildirs`: a dot), in modified UTF-7, behind a prefix that its user may have given it.
//! mailsync-watch with kinds says canonical names.

use super::protocol::Dialect;
use crate::maildir::push_level;

/// What a plain watcher calls folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// Before each name that has it.
    pub prefix: Vec<u8>,
    /// Between levels; empty where there are none.
    pub separator: Vec<u8>,
}

impl Default for Naming {
    fn default() -> Self {
        Naming {
            prefix: Vec::new(),
            separator: b".".to_vec(),
        }
    }
}

impl Naming {
    /// The canonical name; `None` if there is none, and nobody knows what is meant.
    #[must_use]
    pub fn canonical(&self, dialect: Dialect, name: &[u8]) -> Option<Vec<u8>> {
        // No folder has such a name: it would end a field on the way to Lisp.
        if name.contains(&0) {
            return None;
        }
        let name = match dialect {
            Dialect::Kinds => name.to_vec(),
            Dialect::Plain => self.plain(name),
        };
        (!name.is_empty()).then_some(name)
    }

    /// The canonical name of a mailbox, as an IMAP server spells it.
    #[must_use]
    pub fn mailbox(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.canonical(Dialect::Plain, name)
    }

    fn plain(&self, name: &[u8]) -> Vec<u8> {
        // The inbox may stand outside of the prefix, as with IMAP's namespaces.
        let name = name.strip_prefix(&self.prefix[..]).unwrap_or(name);
        let mut canonical = Vec::with_capacity(name.len());
        for (at, level) in levels(name, &self.separator).enumerate() {
            push_level(&mut canonical, level, at == 0);
        }
        canonical
    }
}

/// The parts of a name between separators of any length.
fn levels<'a>(name: &'a [u8], separator: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let name = rest?;
        let mut windows = name.windows(separator.len().max(1));
        let at = windows.position(|window| window == separator);
        match at {
            Some(at) => {
                rest = Some(&name[at + separator.len()..]);
                Some(&name[..at])
            }
            None => rest.take(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_canonical() {
        type Case<'a> = (&'a str, &'a str, &'a [u8], Option<&'a [u8]>);
        let table: [Case; 24] = [
            // prefix, separator, as the watcher says it, canonical
            ("", ".", b"INBOX", Some(b"INBOX")),
            ("", ".", b"inbox", Some(b"INBOX")),
            ("", ".", b"INBOX.a", Some(b"INBOX/a")),
            ("", ".", b"a.inbox", Some(b"a/inbox")),
            ("", ".", b"a", Some(b"a")),
            ("", ".", b"a.b.c", Some(b"a/b/c")),
            ("", "/", b"a/b.c", Some(b"a/b.c")),
            ("", "", b"a.b", Some(b"a.b")),
            ("", "::", b"a::b:c", Some(b"a/b:c")),
            ("", ".", b" My Folder ", Some(b" My Folder ")),
            // modified UTF-7, level by level, where it is valid
            (
                "",
                ".",
                b"Entw&APw-rfe.R&-D",
                Some("Entwürfe/R&D".as_bytes()),
            ),
            ("", ".", b"a&b.&AOk-", Some("a&b/é".as_bytes())),
            ("", ".", "Entwürfe".as_bytes(), Some("Entwürfe".as_bytes())),
            ("", ".", b"\xff.\xe9", Some(b"\xff/\xe9")),
            // a prefix
            ("mail.", ".", b"mail.a.b", Some(b"a/b")),
            ("mail.", ".", b"mail.INBOX", Some(b"INBOX")),
            ("mail.", ".", b"INBOX", Some(b"INBOX")),
            ("mail.", ".", b"other.a", Some(b"other/a")),
            ("mail.", ".", b"mail.", None),
            ("INBOX.", ".", b"INBOX.a", Some(b"a")),
            ("INBOX.", ".", b"INBOX", Some(b"INBOX")),
            // malformed, but never two of them alike
            ("", ".", b".a..b.", Some(b"/a//b/")),
            ("", ".", b"a\0b", None),
            ("", ".", b"", None),
        ];
        for (prefix, separator, name, canonical) in table {
            let naming = Naming {
                prefix: prefix.into(),
                separator: separator.into(),
            };
            let found = naming.canonical(Dialect::Plain, name);
            let shown = String::from_utf8_lossy(name);
            assert_eq!(found.as_deref(), canonical, "{shown}");
        }
    }

    #[test]
    fn with_kinds_they_are_so_already() {
        let naming = Naming {
            prefix: b"a".to_vec(),
            ..Naming::default()
        };
        for name in ["INBOX", "a/b.c", "&AOk-", "é\n"] {
            let found = naming.canonical(Dialect::Kinds, name.as_bytes());
            assert_eq!(found.as_deref(), Some(name.as_bytes()));
        }
        assert_eq!(naming.canonical(Dialect::Kinds, b"a\0"), None);
    }
}
