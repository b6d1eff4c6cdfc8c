//! Which boxes a directory is to mbsync: the names of its stores' layouts, and patterns.
//!
//! Pure: what links resolve to is told.  Names on the disk are those of the command line already
//! (modified UTF-7 before version 1.5), so all of this is about bytes.

use super::config::{Store, Style};

/// The box that exists everywhere, at a place of its own.
pub const INBOX: &[u8] = b"INBOX";

/// Where a store is, in one spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// What goes before the names of boxes.
    pub root: Option<Vec<u8>>,
    /// The directory of INBOX, without a slash at its end.
    pub inbox: Vec<u8>,
}

impl View {
    /// The directory in which its boxes begin, with a slash at its end.  What follows the last slash
    /// of a root is the beginning of their names.
    pub fn directory(&self) -> Option<&[u8]> {
        let root = self.root.as_deref()?;
        let slash = root.iter().rposition(|byte| *byte == b'/')?;
        root.get(..=slash)
    }
}

/// A local store with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// How the levels of a box are spelled.
    pub style: Style,
    /// What stands for `/` in names on the disk.
    pub flatten: Option<Vec<u8>>,
    /// Another name of INBOX.
    pub map_inbox: Option<Vec<u8>>,
    /// As the configuration spells it.
    pub written: View,
    /// With links resolved.
    pub real: View,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its canonical name in the store.
    pub name: Vec<u8>,
    /// It is INBOX or lives below that, where not every pattern looks.
    pub in_inbox: bool,
}

impl Found {
    fn new(name: &[u8], in_inbox: bool) -> Self {
        Found {
            name: name.to_vec(),
            in_inbox,
        }
    }
}

impl Place {
    /// A store, whose place is in these two spellings.
    pub fn new(store: &Store, written: View, real: View) -> Self {
        Place {
            style: store.style,
            flatten: store.flatten.clone(),
            map_inbox: store.map_inbox.clone(),
            written,
            real,
        }
    }

    /// The boxes that a directory is, given in all its spellings.
    pub fn boxes(&self, spellings: &[Vec<u8>]) -> Vec<Found> {
        let mut boxes = Vec::new();
        for path in spellings {
            for view in [&self.written, &self.real] {
                for found in self.seen(view, path) {
                    if !boxes.contains(&found) {
                        boxes.push(found);
                    }
                }
            }
        }
        boxes
    }

    fn seen(&self, view: &View, path: &[u8]) -> Vec<Found> {
        if path == view.inbox {
            let other = self.map_inbox.iter().map(|name| Found::new(name, false));
            return [Found::new(INBOX, true)].into_iter().chain(other).collect();
        }
        let below_inbox = path
            .strip_prefix(view.inbox.as_slice())
            .and_then(|rest| rest.strip_prefix(b"/"));
        let root = view.root.as_deref();
        let below_root = root.and_then(|root| path.strip_prefix(root));
        let below_root = below_root.filter(|rest| !rest.is_empty() && !rest.starts_with(b"/"));
        let found = if let Some(delimiter) = &self.flatten {
            // Even what is below INBOX has its place there.
            below_root
                .filter(|rest| !rest.contains(&b'/') && *rest != INBOX)
                .map(|rest| Found::new(&replace(rest, delimiter), false))
        } else if self.style == Style::PlusPlus {
            below_inbox.and_then(plus_plus)
        } else {
            // The longer one, of which the other is a part.
            match (below_inbox, below_root) {
                (Some(rest), other) if other.is_none_or(|other| rest.len() < other.len()) => {
                    let name = self.levels(rest, true);
                    name.map(|name| Found::new(&[INBOX, b"/", &name].concat(), true))
                }
                (_, Some(rest)) => {
                    let name = self.levels(rest, false).filter(|name| !is_inbox(name));
                    name.map(|name| Found::new(&name, false))
                }
                (_, None) => None,
            }
        };
        found.into_iter().collect()
    }

    /// The canonical form of levels on the disk; `within` another box.
    fn levels(&self, path: &[u8], within: bool) -> Option<Vec<u8>> {
        let levels: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        match self.style {
            Style::Verbatim => Some(path.to_vec()),
            Style::Legacy => {
                let levels = levels.iter().enumerate().map(|(at, level)| {
                    match (level.strip_prefix(b"."), within || at > 0) {
                        (Some(level), true) => Some(level),
                        (None, false) => Some(*level),
                        _ => None,
                    }
                });
                Some(levels.collect::<Option<Vec<_>>>()?.join(&b'/'))
            }
            Style::Unset if levels.len() == 1 && !within => Some(path.to_vec()),
            Style::Unset | Style::PlusPlus => None,
        }
    }

    /// What a channel calls a box that puts `prefix` before names and has these patterns; `None` if
    /// it leaves that out.  `listed`: the other end lists its INBOX among all boxes.
    pub fn selected(
        &self,
        found: &Found,
        prefix: &[u8],
        patterns: &[Vec<u8>],
        listed: bool,
    ) -> Option<Vec<u8>> {
        let name = found.name.strip_prefix(prefix)?;
        let looks = !found.in_inbox || listed || self.looks_for_inbox(prefix, patterns);
        if name.is_empty() || !looks {
            return None;
        }
        let matching = patterns
            .iter()
            .rev()
            .find_map(|pattern| match pattern.strip_prefix(b"!") {
                Some(pattern) => glob(pattern, name).then_some(false),
                None => glob(pattern, name).then_some(true),
            });
        matching.unwrap_or(false).then(|| name.to_vec())
    }

    /// INBOX is looked for where it lies in the path, in Maildir++, or where a pattern says so.
    fn looks_for_inbox(&self, prefix: &[u8], patterns: &[Vec<u8>]) -> bool {
        let root = self.written.root.as_deref();
        let inside = root.is_some_and(|root| self.written.inbox.starts_with(root));
        inside
            || self.style == Style::PlusPlus
            || patterns.iter().any(|pattern| {
                let pattern = [prefix, pattern].concat();
                let rest = pattern.strip_prefix(INBOX);
                rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/' | b'*' | b'%')))
            })
    }
}

/// Whether a name in the path looks like INBOX, which mbsync then leaves out.
pub fn is_inbox(name: &[u8]) -> bool {
    let rest = name.strip_prefix(INBOX);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// `.a.b` in the directory of INBOX; below INBOX are those with two dots, and not `.INBOX.a`.
fn plus_plus(entry: &[u8]) -> Option<Found> {
    let name = entry.strip_prefix(b".")?;
    let (name, in_inbox) = match name.strip_prefix(b".") {
        Some(name) => ([INBOX, b"/", name].concat(), true),
        None => (name.to_vec(), false),
    };
    let flat = !name.contains(&b'/') || in_inbox && !entry.contains(&b'/');
    let name = replace(&name, b".");
    let whole = name
        .split(|byte| *byte == b'/')
        .all(|level| !level.is_empty());
    let ignored = !in_inbox && is_inbox(&name);
    (flat && whole && !ignored).then_some(Found { name, in_inbox })
}

fn replace(name: &[u8], delimiter: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        match rest.strip_prefix(delimiter) {
            Some(after) if !delimiter.is_empty() => {
                replaced.push(b'/');
                rest = after;
            }
            _ => {
                replaced.push(byte);
                rest = tail;
            }
        }
    }
    replaced
}

/// IMAP's patterns: `*` is anything, `%` anything within a level.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    // For each beginning of the name: whether the pattern so far matches it.
    let mut reached = vec![false; name.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for wanted in pattern {
        let mut next = Vec::with_capacity(reached.len());
        let wild = matches!(wanted, b'*' | b'%');
        let mut before = None;
        for (at, here) in reached.iter().enumerate() {
            let byte = at.checked_sub(1).and_then(|at| name.get(at));
            let matches = if wild {
                let goes_on = before == Some(true) && (*wanted == b'*' || byte != Some(&b'/'));
                *here || goes_on
            } else {
                byte == Some(wanted)
                    && at.checked_sub(1).and_then(|at| reached.get(at)) == Some(&true)
            };
            before = Some(matches);
            next.push(matches);
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(root: &str, inbox: &str) -> View {
        View {
            root: (!root.is_empty()).then(|| root.as_bytes().to_vec()),
            inbox: inbox.as_bytes().to_vec(),
        }
    }

    fn place(style: Style, flatten: &str, root: &str, inbox: &str) -> Place {
        Place {
            style,
            flatten: (!flatten.is_empty()).then(|| flatten.as_bytes().to_vec()),
            map_inbox: None,
            written: view(root, inbox),
            real: view(root, inbox),
        }
    }

    fn names(place: &Place, path: &str) -> Vec<String> {
        let boxes = place.boxes(&[path.as_bytes().to_vec()]).into_iter();
        boxes
            .map(|found| String::from_utf8_lossy(&found.name).into_owned())
            .collect()
    }

    #[test]
    fn directories_are_boxes() {
        let verbatim = place(Style::Verbatim, "", "/m/", "/m/INBOX");
        let legacy = place(Style::Legacy, "", "/m/", "/m/INBOX");
        let plus = place(Style::PlusPlus, "", "", "/m");
        let flat = place(Style::Unset, ".", "/m/", "/m/INBOX");
        let unset = place(Style::Unset, "", "/m/", "/m/in");
        let outside = place(Style::Verbatim, "", "/m/", "/in");
        let renamed = place(Style::Verbatim, "", "/m/", "/m/in");
        let same = place(Style::Verbatim, "", "/m/", "/m");
        let stem = place(Style::Verbatim, "", "/m/x-", "/in");
        let far_flat = place(Style::Unset, ".", "/m/", "/in");
        let table: [(&str, &Place, &str, &str); 53] = [
            ("verbatim", &verbatim, "/m/INBOX", "INBOX"),
            ("verbatim", &verbatim, "/m/INBOX/x", "INBOX/x"),
            ("verbatim", &verbatim, "/m/a", "a"),
            ("verbatim", &verbatim, "/m/a/b/c", "a/b/c"),
            ("verbatim", &verbatim, "/m/a.b", "a.b"),
            ("verbatim", &verbatim, "/m/a b,c:d", "a b,c:d"),
            ("verbatim", &verbatim, "/m/Entw&APw-rfe", "Entw&APw-rfe"),
            ("verbatim", &verbatim, "/m", ""),
            ("verbatim", &verbatim, "/mm/a", ""),
            ("verbatim", &verbatim, "/x", ""),
            ("legacy", &legacy, "/m/INBOX", "INBOX"),
            ("legacy", &legacy, "/m/INBOX/.x/.y", "INBOX/x/y"),
            ("legacy", &legacy, "/m/INBOX/x", ""),
            ("legacy", &legacy, "/m/a", "a"),
            ("legacy", &legacy, "/m/a/.b/.c", "a/b/c"),
            ("legacy", &legacy, "/m/a/b", ""),
            ("legacy", &legacy, "/m/.a", ""),
            ("Maildir++", &plus, "/m", "INBOX"),
            ("Maildir++", &plus, "/m/.a", "a"),
            ("Maildir++", &plus, "/m/.a.b.c", "a/b/c"),
            ("Maildir++", &plus, "/m/..x.y", "INBOX/x/y"),
            ("Maildir++", &plus, "/m/a", ""),
            ("Maildir++", &plus, "/m/.a/.b", ""),
            ("Maildir++", &plus, "/m/.a..b", ""),
            ("Maildir++", &plus, "/m/...x", ""),
            ("Maildir++", &plus, "/m/.INBOX", ""),
            ("Maildir++", &plus, "/m/.INBOX.x", ""),
            ("Maildir++", &plus, "/m/.INBOX2.x", "INBOX2/x"),
            ("Maildir++", &plus, "/n/.a", ""),
            ("flatten", &flat, "/m/INBOX", "INBOX"),
            ("flatten", &flat, "/m/INBOX.x", "INBOX/x"),
            ("flatten", &flat, "/m/a.b.c", "a/b/c"),
            ("flatten", &flat, "/m/a/b", ""),
            ("flatten", &flat, "/m/INBOX/x", ""),
            ("flatten, inbox elsewhere", &far_flat, "/m/INBOX", ""),
            (
                "flatten, inbox elsewhere",
                &far_flat,
                "/m/INBOX.x",
                "INBOX/x",
            ),
            ("unset", &unset, "/m/in", "INBOX"),
            ("unset", &unset, "/m/a", "a"),
            ("unset", &unset, "/m/a.b", "a.b"),
            ("unset", &unset, "/m/a/b", ""),
            ("unset", &unset, "/m/in/x", ""),
            ("inbox elsewhere", &outside, "/in", "INBOX"),
            ("inbox elsewhere", &outside, "/in/x", "INBOX/x"),
            ("inbox elsewhere", &outside, "/m/INBOX", ""),
            ("inbox elsewhere", &outside, "/m/INBOX/x", ""),
            ("inbox elsewhere", &outside, "/m/INBOX2", "INBOX2"),
            ("inbox renamed", &renamed, "/m/in", "INBOX"),
            ("inbox renamed", &renamed, "/m/in/x", "INBOX/x"),
            ("inbox is the path", &same, "/m", "INBOX"),
            ("inbox is the path", &same, "/m/a", "a"),
            ("half a name", &stem, "/m/x-a/b", "a/b"),
            ("half a name", &stem, "/m/x-", ""),
            ("half a name", &stem, "/m/y", ""),
        ];
        for (which, place, path, name) in table {
            let expected: Vec<&str> = [name].into_iter().filter(|name| !name.is_empty()).collect();
            assert_eq!(names(place, path), expected, "{which}: {path}");
        }
    }

    #[test]
    fn spellings_come_to_the_same() {
        let linked = Place {
            real: view("/disk/m/", "/disk/m/INBOX"),
            map_inbox: Some(b"in".to_vec()),
            ..place(Style::Verbatim, "", "/m/", "/m/INBOX")
        };
        let boxes = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
            linked.boxes(&paths)
        };
        assert_eq!(boxes(&["/m/a", "/disk/m/a"]), [Found::new(b"a", false)]);
        // A link in the store: mbsync knows the directory by both names.
        let two = [Found::new(b"l", false), Found::new(b"a", false)];
        assert_eq!(boxes(&["/m/l", "/disk/m/a"]), two);
        let two = [Found::new(b"INBOX", true), Found::new(b"in", false)];
        assert_eq!(boxes(&["/disk/m/INBOX"]), two);
    }

    #[test]
    fn patterns_select() {
        let inside = place(Style::Verbatim, "", "/m/", "/m/INBOX");
        let outside = place(Style::Verbatim, "", "/m/", "/in");
        let plus = place(Style::PlusPlus, "", "", "/m");
        let no: Option<&str> = None;
        // INBOX in the path or elsewhere, prefix, patterns, box, its name for the channel
        type Row<'a> = (&'a Place, &'a str, &'a [&'a str], &'a str, Option<&'a str>);
        let table: [Row; 31] = [
            (&inside, "", &["*"], "a/b", Some("a/b")),
            (&inside, "", &["%"], "a", Some("a")),
            (&inside, "", &["%"], "a/b", no),
            (&inside, "", &["a/%"], "a/b", Some("a/b")),
            (&inside, "", &["a%c"], "abc", Some("abc")),
            (&inside, "", &["a*c"], "ab/c", Some("ab/c")),
            (&inside, "", &["a"], "ab", no),
            (&inside, "", &["A"], "a", no),
            (&inside, "", &["a", "b"], "b", Some("b")),
            (&inside, "", &[], "a", no),
            // the last one that matches
            (&inside, "", &["*", "!a"], "a", no),
            (&inside, "", &["!a", "*"], "a", Some("a")),
            (&inside, "", &["*", "!a*", "ab"], "ab", Some("ab")),
            (&inside, "", &["!*"], "a", no),
            // INBOX
            (&inside, "", &["*"], "INBOX", Some("INBOX")),
            (&inside, "", &["*", "!INBOX"], "INBOX", no),
            (&inside, "", &["*"], "INBOX/x", Some("INBOX/x")),
            (&outside, "", &["*"], "INBOX", no),
            (&outside, "", &["*"], "INBOX/x", no),
            (&outside, "", &["*"], "a", Some("a")),
            (&outside, "", &["INBOX"], "INBOX", Some("INBOX")),
            (&outside, "", &["*", "INBOX"], "INBOX/x", Some("INBOX/x")),
            (&outside, "", &["INBOX*"], "INBOX/x", Some("INBOX/x")),
            (&outside, "", &["INBOX", "!*"], "INBOX", no),
            (&outside, "", &["INBOXES", "*"], "INBOX", no),
            (&plus, "", &["*"], "INBOX/x", Some("INBOX/x")),
            (&plus, "", &["*", "!INBOX"], "INBOX", no),
            // prefixes
            (&inside, "pre/", &["*"], "pre/a/b", Some("a/b")),
            (&inside, "pre/", &["*"], "a", no),
            (&inside, "pre", &["*"], "pre", no),
            (&outside, "INBOX/", &["*"], "INBOX/x", Some("x")),
        ];
        for (place, prefix, patterns, name, expected) in table {
            let found = Found::new(name.as_bytes(), name.starts_with("INBOX"));
            let list: Vec<_> = patterns
                .iter()
                .map(|text| text.as_bytes().to_vec())
                .collect();
            let selected = place.selected(&found, prefix.as_bytes(), &list, false);
            let expected = expected.map(|name| name.as_bytes().to_vec());
            assert_eq!(selected, expected, "{prefix} {patterns:?} {name}");
        }
        // A server lists INBOX with all others, then patterns decide.
        for (patterns, selects) in [
            (&["*"][..], true),
            (&["*", "!INBOX"], false),
            (&["a"], false),
        ] {
            let found = Found::new(INBOX, true);
            let list: Vec<_> = patterns
                .iter()
                .map(|text| text.as_bytes().to_vec())
                .collect();
            let selected = outside.selected(&found, b"", &list, true);
            assert_eq!(selected.is_some(), selects, "{patterns:?}");
        }
    }

    #[test]
    fn many_wildcards_take_no_time() {
        assert!(!glob("*a".repeat(60).as_bytes(), &[b'a'; 59]));
        assert!(glob("*a".repeat(60).as_bytes(), &[b'a'; 200]));
    }
}
