//! What folders are called on the line.  Pure.
//!
//! **Plain**: as they lie on the disk below the maildir, since that is what mswatch's
//! `watch_maildirs` printed and what its syncers were configured for: `.a.b` is `a.b`, in modified
//! UTF-7 if it is so on the disk, and the inbox is `INBOX`.  A nested layout, which mswatch did not
//! know, has `/` between its levels, since a level may have dots in it.  A reader decodes what it
//! can, knowing the separator; the other way round, bytes would be lost that a syncer wants back.
//!
//! **With kinds**: the canonical name (Unicode with `/` between levels, `INBOX`), since the reader is
//! mailsync, and this end knows the layout.
//!
//! The inbox's other name and the template are applied to either, in this order, as
//! `mailsync_gnus_watch` did.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::maildir::INBOX;
use crate::remote::protocol::Dialect;

/// A text into which names are put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Template {
    /// The template that a user writes: with one `%s`, and `%%` for `%`.
    ///
    /// # Errors
    /// When it is none, in words for the user.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let wrong = || "--template wants a text with one %s in it (and %% for %)".to_owned();
        let mut template = Template::default();
        let mut named = false;
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            let byte = match byte {
                b'%' => match bytes.next() {
                    Some(b'%') => b'%',
                    Some(b's') if !named => {
                        named = true;
                        continue;
                    }
                    _ => return Err(wrong()),
                },
                other => *other,
            };
            let part = if named {
                &mut template.after
            } else {
                &mut template.before
            };
            part.push(byte);
        }
        if named { Ok(template) } else { Err(wrong()) }
    }

    fn around(&self, name: &[u8]) -> Vec<u8> {
        [&self.before, name, &self.after].concat()
    }
}

/// What a user wants folders to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The inbox.
    pub inbox: Vec<u8>,
    /// Around every name, the inbox's included.
    pub template: Template,
}

impl Default for Naming {
    fn default() -> Self {
        Naming {
            inbox: INBOX.to_vec(),
            template: Template::default(),
        }
    }
}

impl Naming {
    /// What the folder of this canonical name, which lies in this directory of one of `roots`, is
    /// called.
    #[must_use]
    pub fn name(
        &self,
        dialect: Dialect,
        roots: &[PathBuf],
        canonical: &[u8],
        directory: &Path,
    ) -> Vec<u8> {
        let name = match dialect {
            _ if canonical == INBOX => self.inbox.clone(),
            Dialect::Kinds => canonical.to_vec(),
            Dialect::Plain => on_disk(roots, directory).unwrap_or_else(|| canonical.to_vec()),
        };
        self.template.around(&name)
    }
}

/// The name of a directory of one of `roots`, of which the longest is the one that it belongs to.
fn on_disk(roots: &[PathBuf], directory: &Path) -> Option<Vec<u8>> {
    let below = roots
        .iter()
        .filter_map(|root| directory.strip_prefix(root).ok());
    let below = below.min_by_key(|below| below.as_os_str().len())?;
    let name = below.as_os_str().as_bytes();
    // That of the root itself is another one.
    let name = name.strip_prefix(b".").unwrap_or(name);
    (!name.is_empty()).then(|| name.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_names() {
        let roots = ["/m", "/m/deep", "/o"].map(PathBuf::from);
        // directory, canonical name, plain, with kinds
        let table = [
            ("/m", "INBOX", "INBOX", "INBOX"),
            ("/m/INBOX", "INBOX", "INBOX", "INBOX"),
            ("/m/.inbox", "INBOX", "INBOX", "INBOX"),
            ("/m/.a", "a", "a", "a"),
            ("/m/.a.b", "a/b", "a.b", "a/b"),
            ("/m/a/b", "a/b", "a/b", "a/b"),
            ("/m/a.b/c", "a.b/c", "a.b/c", "a.b/c"),
            ("/m/a/.b.c", "a/b/c", "a/.b.c", "a/b/c"),
            ("/m/.Entw&APw-rfe", "Entwürfe", "Entw&APw-rfe", "Entwürfe"),
            (
                "/m/. My  Folder",
                " My  Folder",
                " My  Folder",
                " My  Folder",
            ),
            ("/m/deep/a", "a", "a", "a"),
            ("/o/b", "b", "b", "b"),
            // It is told of a root that is none of ours.
            ("/x/.b", "b", "b", "b"),
        ];
        let naming = Naming::default();
        for (directory, canonical, plain, with_kinds) in table {
            for (dialect, expected) in [(Dialect::Plain, plain), (Dialect::Kinds, with_kinds)] {
                let directory = Path::new(directory);
                let name = naming.name(dialect, &roots, canonical.as_bytes(), directory);
                assert_eq!(String::from_utf8_lossy(&name), expected, "{directory:?}");
            }
        }
    }

    #[test]
    fn the_inbox_is_renamed_before_the_template_is_applied() {
        let naming = Naming {
            inbox: b"In%s".to_vec(),
            template: Template::parse(b"%%far.%s!").unwrap(),
        };
        let roots = [PathBuf::from("/m")];
        let name = |directory: &str, canonical: &[u8]| {
            let name = naming.name(Dialect::Plain, &roots, canonical, Path::new(directory));
            String::from_utf8(name).unwrap()
        };
        assert_eq!(name("/m", b"INBOX"), "%far.In%s!");
        assert_eq!(name("/m/.a%s", b"a%s"), "%far.a%s!");
    }

    #[test]
    fn templates_have_one_place() {
        for text in ["", "a", "%", "%d", "%s%s", "%s%", "a%%s"] {
            assert!(Template::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
