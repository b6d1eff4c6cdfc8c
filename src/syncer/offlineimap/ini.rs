//! A reader of configuration files by the rules of Python's `ConfigParser`, as OfflineIMAP uses it.
//!
//! Sections, `key = value` and `key: value`, values that go on in indented lines, comments that
//! fill a line, `[DEFAULT]`, and `%(name)s`.  What Python would refuse is passed over here: whether
//! the file is right is for OfflineIMAP to say.  What a value means is `config`'s business.

use std::collections::HashMap;

/// The section whose keys every other section has too.
const DEFAULT: &str = "DEFAULT";

/// How much may come out of references (bytes, and one for each): references to references that are
/// many are more than any machine can hold.
const MOST: usize = 64 * 1024;

/// How deep references may lead to references (as in Python).
const DEEPEST: usize = 10;

/// A configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ini {
    sections: HashMap<String, HashMap<String, String>>,
    /// The line on which each section begins first.
    lines: HashMap<String, usize>,
}

impl Ini {
    /// Read `text`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader::default();
        for (at, line) in text.lines().enumerate() {
            reader.line(at + 1, line);
        }
        reader.ini
    }

    /// Whether there is a section of this name.
    #[must_use]
    pub fn has(&self, section: &str) -> bool {
        section != DEFAULT && self.sections.contains_key(section)
    }

    /// The line on which a section begins, counted from 1.
    #[must_use]
    pub fn line(&self, section: &str) -> usize {
        self.lines.get(section).copied().unwrap_or_default()
    }

    /// The sections that begin with a word, in the order in which they stand there: what follows it.
    #[must_use]
    pub fn named<'a>(&'a self, word: &str) -> Vec<&'a str> {
        let sections = self.lines.iter();
        let named = sections.filter_map(|(name, line)| Some((line, name.strip_prefix(word)?)));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        named.into_iter().map(|(_, name)| name).collect()
    }

    /// The value of a key (in small letters) in a section, references resolved.  One whose
    /// references lead nowhere, or to no end, is given as it is written.
    #[must_use]
    pub fn get(&self, section: &str, key: &str) -> Option<String> {
        let raw = self.raw(section, key)?;
        Some(
            self.resolve(section, raw, 1, &mut MOST.clone())
                .unwrap_or_else(|| raw.to_owned()),
        )
    }

    fn raw(&self, section: &str, key: &str) -> Option<&str> {
        let own = self.sections.get(section)?.get(key);
        let value = own.or_else(|| self.sections.get(DEFAULT)?.get(key))?;
        Some(value.trim_end())
    }

    fn resolve(&self, section: &str, text: &str, depth: usize, left: &mut usize) -> Option<String> {
        if depth > DEEPEST {
            return None;
        }
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            resolved.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                resolved.push('%');
                rest = after;
            } else {
                let (name, after) = after.strip_prefix('(')?.split_once(')')?;
                rest = after.strip_prefix('s')?;
                let value = self.raw(section, &name.to_lowercase())?;
                *left = left.checked_sub(value.len() + 1)?;
                resolved.push_str(&self.resolve(section, value, depth + 1, left)?);
            }
        }
        resolved.push_str(rest);
        Some(resolved)
    }
}

/// Where the reading is.
#[derive(Default)]
struct Reader {
    ini: Ini,
    section: Option<String>,
    key: Option<String>,
    /// Lines that are indented further than this go on with the value.
    indent: usize,
}

impl Reader {
    fn line(&mut self, at: usize, line: &str) {
        let text = line.trim();
        if text.starts_with(['#', ';']) {
            return;
        }
        if text.is_empty() {
            self.more(text);
            return;
        }
        let indent = line.chars().take_while(|letter| letter.is_whitespace());
        let indent = indent.count();
        if self.key.is_some() && indent > self.indent {
            self.more(text);
            return;
        }
        self.indent = indent;
        let header = text
            .strip_prefix('[')
            .and_then(|rest| rest.rsplit_once(']'));
        if let Some((name, _)) = header.filter(|(name, _)| !name.is_empty()) {
            self.key = None;
            self.ini.sections.entry(name.to_owned()).or_default();
            self.ini.lines.entry(name.to_owned()).or_insert(at);
            self.section = Some(name.to_owned());
        } else if let Some((key, value)) = text.split_once(['=', ':']) {
            let key = key.trim_end().to_lowercase();
            self.key = Some(key);
            self.set(value.trim().to_owned());
        }
    }

    fn value(&mut self) -> Option<&mut String> {
        let section = self.ini.sections.get_mut(self.section.as_ref()?)?;
        section.get_mut(self.key.as_ref()?)
    }

    fn set(&mut self, value: String) {
        let section = self.section.as_ref();
        let section = section.and_then(|name| self.ini.sections.get_mut(name));
        if let (Some(section), Some(key)) = (section, &self.key) {
            section.insert(key.clone(), value);
        }
    }

    fn more(&mut self, text: &str) {
        if let Some(value) = self.value() {
            value.push('\n');
            value.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# a comment
stray = before any section

[general]
  Accounts: Home, Work
; another
metadata = %(Base)s/meta

[DEFAULT]
base = ~/x
deep = %(deep)s

[Repository a [b]]   trailing words
type=IMAP
nametrans = lambda f: {
   # not part of it
   'a': 'b',

   'c': 'd'}.get(f, f)
empty =
pass = 50%% = a:b
broken = 50%
nowhere = %(none)s
no delimiter
host : example.org
[Account x]
";

    #[test]
    fn keys_have_values() {
        let ini = Ini::parse(FILE);
        let b = "Repository a [b]";
        let table = [
            ("general", "accounts", Some("Home, Work")),
            ("general", "Accounts", None),
            ("general", "metadata", Some("~/x/meta")),
            ("general", "base", Some("~/x")),
            ("general", "stray", None),
            ("general", "deep", Some("%(deep)s")),
            (b, "type", Some("IMAP")),
            (
                b,
                "nametrans",
                Some("lambda f: {\n'a': 'b',\n\n'c': 'd'}.get(f, f)"),
            ),
            (b, "empty", Some("")),
            (b, "pass", Some("50% = a:b")),
            (b, "broken", Some("50%")),
            (b, "nowhere", Some("%(none)s")),
            (b, "host", Some("example.org")),
            ("Account x", "base", Some("~/x")),
            ("Account y", "base", None),
        ];
        for (section, key, value) in table {
            assert_eq!(
                ini.get(section, key).as_deref(),
                value,
                "{key} in {section}"
            );
        }
    }

    #[test]
    fn references_come_to_an_end() {
        // Ten to the power of nine.
        let many = |key: usize| format!("k{key} = {}\n", format!("%(k{})s", key + 1).repeat(10));
        let text: String = (0..9).map(many).collect();
        for last in ["", "x"] {
            let ini = Ini::parse(&format!("[s]\n{text}k9 = {last}\n"));
            let asked = ini.get("s", "k0").unwrap();
            assert_eq!(asked, "%(k1)s".repeat(10), "as it is written");
            assert_eq!(ini.get("s", "k7"), Some(last.repeat(100)));
        }
    }

    #[test]
    fn sections_exist() {
        let ini = Ini::parse(FILE);
        let table = [
            ("general", true),
            ("Repository a [b]", true),
            ("Account x", true),
            ("account x", false),
            ("DEFAULT", false),
        ];
        for (section, exists) in table {
            assert_eq!(ini.has(section), exists, "{section}");
        }
        assert_eq!(ini.line("general"), 4);
        assert_eq!(ini.line("Account x"), 26);
        assert_eq!(ini.line("none"), 0);
        assert_eq!(ini.named("Account "), ["x"]);
        assert_eq!(ini.named("Repository "), ["a [b]"]);
    }
}
