//! What mbsync's configuration says about stores, channels and groups, as far as naming folders
//! needs it.
//!
//! Bytes are kept as they are, options that do not matter here are passed over, and what mbsync
//! would complain of is left to it, but for a line that cannot be split into words.  Pure but for
//! [`find`], [`load`] and [`state`], which know where files are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::super::paths::{self, expand};
use super::super::surroundings::Surroundings;

/// A configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The local stores.
    pub stores: Vec<Store>,
    /// The `Path` of each remote store that has one, by its name.  INBOX is outside of it.
    pub pathed: Vec<(Vec<u8>, Vec<u8>)>,
    /// What stands for `/` in a remote store, where it has that (`Flatten`).
    pub flattened: Vec<(Vec<u8>, Vec<u8>)>,
    /// The servers, and the remote stores as far as they say how to get there.
    pub servers: Vec<Remote>,
    /// The channels.
    pub channels: Vec<Channel>,
    /// The groups.
    pub groups: Vec<Group>,
    /// Where the state of all channels is that do not say it themselves (`SyncState`).
    pub state: Option<Vec<u8>>,
    /// What stands for the colon in names of files (`FieldDelimiter`), where stores do not say it.
    pub field_delimiter: Option<Vec<u8>>,
    /// The lines in whose place mbsync reads what a program prints (`IncludeCmd`).
    pub commands: Vec<usize>,
}

/// A local store (`MaildirStore`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// Its name.
    pub name: Vec<u8>,
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// What goes before the name of a box, which need not end with a slash.
    pub path: Option<Vec<u8>>,
    /// The directory of INBOX; `None`: `~/Maildir`.
    pub inbox: Option<Vec<u8>>,
    /// How the levels of a box are spelled.
    pub style: Style,
    /// What stands for `/` in names on the disk, which are then one level; overrides `style`.
    pub flatten: Option<Vec<u8>>,
    /// Another name of INBOX.
    pub map_inbox: Option<Vec<u8>>,
    /// UIDs are in a database, not in names (`AltMap`).
    pub alt_map: bool,
    /// What stands before the flags in names instead of a colon (`InfoDelimiter`).
    pub info_delimiter: Option<Vec<u8>>,
}

/// How the levels of a box are spelled (`SubFolders`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// There are no levels.
    #[default]
    Unset,
    /// `a/b/c`.
    Verbatim,
    /// `a/.b/.c`.
    Legacy,
    /// `.a.b.c` in the directory of INBOX.
    PlusPlus,
}

/// A server (`IMAPAccount`), or a remote store (`IMAPStore`), which names one or is its own.
///
/// How somebody is let in there is nobody's business here: what is secret is not even kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// Its name.
    pub name: Vec<u8>,
    /// It is a store.
    pub store: bool,
    /// The server that a store names.
    pub account: Option<Vec<u8>>,
    /// Its host.
    pub host: Option<Vec<u8>>,
    /// Its port.
    pub port: Option<Vec<u8>>,
    /// Who the user is there.
    pub user: Option<Vec<u8>>,
    /// How the connection is secured (`TLSType`, once `SSLType`), in small letters.
    pub security: Option<Vec<u8>>,
    /// A program makes the connection (`Tunnel`).
    pub tunnel: bool,
    /// How long to wait for it (`Timeout`).
    pub timeout: Option<Vec<u8>>,
}

/// A channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: Vec<u8>,
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// The far store, and what goes before the names of boxes there.
    pub far: (Vec<u8>, Vec<u8>),
    /// The same of the near store.
    pub near: (Vec<u8>, Vec<u8>),
    /// Which boxes; `None`: a single one.
    pub patterns: Option<Vec<Vec<u8>>>,
    /// Where its state is (`SyncState`).
    pub state: Option<Vec<u8>>,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Vec<u8>,
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// Its channels, each perhaps with boxes (`channel:box,box`).
    pub members: Vec<Vec<u8>>,
}

/// A line that mbsync cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// The section that a line belongs to: the last one of its kind.
enum Section {
    None,
    Store,
    Channel,
    Group,
    Remote,
}

impl Config {
    /// Read it.
    ///
    /// # Errors
    /// At the first line that cannot be split into words.
    pub fn parse(text: &[u8]) -> Result<Self, Problem> {
        let mut config = Config::default();
        let mut section = Section::None;
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let words = words(line).map_err(|what| Problem { line: at + 1, what })?;
            match words {
                Line::Empty => section = Section::None,
                Line::Comment => {}
                Line::Words(words) => {
                    if let Some((key, values)) = words.split_first() {
                        config.line(&mut section, at + 1, &key.to_ascii_lowercase(), values);
                    }
                }
            }
        }
        Ok(config)
    }

    fn line(&mut self, section: &mut Section, at: usize, key: &[u8], values: &[Vec<u8>]) {
        let Some(value) = values.first() else { return };
        if key == b"includecmd" {
            self.commands.push(at);
            return;
        }
        match section {
            Section::None => *section = self.begin(at, key, value, values),
            Section::Store => {
                if let Some(store) = self.stores.last_mut() {
                    store.option(key, value);
                }
            }
            Section::Channel => {
                if let Some(channel) = self.channels.last_mut() {
                    channel.option(key, value, values);
                }
            }
            Section::Group => {
                if let (b"channel" | b"channels", Some(group)) = (key, self.groups.last_mut()) {
                    group.members.extend_from_slice(values);
                }
            }
            Section::Remote => {
                if let Some(remote) = self.servers.last_mut() {
                    let pair = (remote.name.clone(), value.clone());
                    match key {
                        b"path" if remote.store => self.pathed.push(pair),
                        b"flatten" if remote.store => self.flattened.push(pair),
                        _ => remote.option(key, value),
                    }
                }
            }
        }
    }

    /// A line outside of sections begins one, or is about everything.
    fn begin(&mut self, line: usize, key: &[u8], name: &[u8], values: &[Vec<u8>]) -> Section {
        let name = name.to_vec();
        match key {
            b"maildirstore" => {
                self.stores.push(Store {
                    name,
                    line,
                    ..Store::default()
                });
                Section::Store
            }
            b"channel" => {
                self.channels.push(Channel {
                    name,
                    line,
                    ..Channel::default()
                });
                Section::Channel
            }
            b"group" => {
                self.groups.push(Group {
                    name,
                    line,
                    members: values.get(1..).unwrap_or_default().to_vec(),
                });
                Section::Group
            }
            b"imapstore" | b"imapaccount" => {
                self.servers.push(Remote {
                    name,
                    store: key == b"imapstore",
                    ..Remote::default()
                });
                Section::Remote
            }
            b"syncstate" => {
                self.state = Some(name);
                Section::None
            }
            b"fielddelimiter" => {
                self.field_delimiter = Some(name);
                Section::None
            }
            _ => Section::None,
        }
    }
}

impl Store {
    /// Why the names of its messages do not tell UIDs and flags as those of others do.
    #[must_use]
    pub fn unreadable(&self, config: &Config) -> Option<&'static str> {
        let general = config.field_delimiter.as_ref();
        if self.alt_map {
            Some("AltMap keeps its UIDs in a database")
        } else if self.info_delimiter.as_ref().or(general)? == b":" {
            None
        } else {
            Some("InfoDelimiter has no colon before the flags in its names")
        }
    }

    fn option(&mut self, key: &[u8], value: &[u8]) {
        let value = value.to_vec();
        match key {
            b"path" => self.path = Some(value),
            b"inbox" => self.inbox = Some(value),
            b"flatten" => self.flatten = Some(value).filter(|value| !value.is_empty()),
            b"mapinbox" => self.map_inbox = Some(value),
            b"altmap" => self.alt_map = yes(&value),
            b"infodelimiter" => self.info_delimiter = Some(value),
            b"subfolders" => {
                self.style = match value.to_ascii_lowercase().as_slice() {
                    b"verbatim" => Style::Verbatim,
                    b"legacy" => Style::Legacy,
                    b"maildir++" => Style::PlusPlus,
                    _ => Style::Unset,
                }
            }
            _ => {}
        }
    }
}

impl Remote {
    fn option(&mut self, key: &[u8], value: &[u8]) {
        let value = value.to_vec();
        match key {
            b"account" => self.account = Some(value),
            b"host" => self.host = Some(value),
            b"port" => self.port = Some(value),
            b"user" => self.user = Some(value),
            b"tlstype" | b"ssltype" => self.security = Some(value.to_ascii_lowercase()),
            b"tunnel" => self.tunnel = true,
            b"timeout" => self.timeout = Some(value),
            _ => {}
        }
    }
}

impl Channel {
    fn option(&mut self, key: &[u8], value: &[u8], values: &[Vec<u8>]) {
        match key {
            b"far" | b"master" => self.far = spot(value),
            b"near" | b"slave" => self.near = spot(value),
            b"pattern" | b"patterns" => {
                let patterns = self.patterns.get_or_insert_default();
                patterns.extend_from_slice(values);
            }
            b"syncstate" => self.state = Some(value.to_vec()),
            _ => {}
        }
    }
}

/// What mbsync takes for true.
fn yes(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(value.as_slice(), b"yes" | b"true" | b"on" | b"1")
}

/// `:store:box` in its parts.
fn spot(value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut parts = value.splitn(3, |byte| *byte == b':').skip(1);
    let mut part = || parts.next().unwrap_or_default().to_vec();
    (part(), part())
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Comment,
    Words(Vec<Vec<u8>>),
}

/// The words of a line, up to a `#` that begins one.
fn words(line: &[u8]) -> Result<Line, &'static str> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(&first) = rest.first() {
        if first == b'#' {
            if words.is_empty() {
                return Ok(Line::Comment);
            }
            break;
        }
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(if words.is_empty() {
        Line::Empty
    } else {
        Line::Words(words)
    })
}

/// The word that `text` begins with, and what follows it.  Quotes may stand anywhere in it.
fn word(text: &[u8]) -> Result<(Vec<u8>, &[u8]), &'static str> {
    let mut word = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            _ if escaped && byte >= b' ' => {
                word.push(byte);
                escaped = false;
            }
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if !quoted && byte.is_ascii_whitespace() => break,
            _ => word.push(byte),
        }
        rest = tail;
    }
    match (escaped, quoted) {
        (true, _) => Err("a backslash with nothing after it"),
        (false, true) => Err("a quote that is not closed"),
        (false, false) => Ok((word, rest)),
    }
}

/// A path in the configuration as bytes, absolute; a slash at its end is kept.
pub fn path(around: &Surroundings, text: &[u8]) -> Vec<u8> {
    let path = around.absolute(expand(text, around.set(b"HOME")));
    path.into_os_string().into_vec()
}

fn file(around: &Surroundings, name: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(path(around, name)))
}

/// The configuration file: as it is given, or where mbsync looks for one.
pub fn find(around: &Surroundings, given: Option<&Path>) -> PathBuf {
    if let Some(given) = given {
        // mbsync itself expands nothing there.
        return around.directory.join(given);
    }
    let newer = match around.set(b"XDG_CONFIG_HOME") {
        Some(base) => around.directory.join(base).join("isyncrc"),
        None => file(around, b"~/.config/isyncrc"),
    };
    if newer.exists() {
        return newer;
    }
    older(around)
}

/// The only configuration file of mbsync before 1.5.
pub fn older(around: &Surroundings) -> PathBuf {
    file(around, b"~/.mbsyncrc")
}

/// Where state can be that no `SyncState` is about: since version 1.5, and before.
pub fn states(around: &Surroundings) -> [Vec<u8>; 2] {
    let base = around.set(b"XDG_STATE_HOME").map(OsStr::as_bytes);
    let newer = [base.unwrap_or(b"~/.local/state"), b"/isync/"].concat();
    [path(around, &newer), path(around, b"~/.mbsync/")]
}

/// Where such state is: mbsync falls back to the second place if only that is there.
pub fn state(around: &Surroundings) -> Vec<u8> {
    let [newer, older] = states(around);
    let there = Path::new(OsStr::from_bytes(&newer)).is_dir();
    if there { newer } else { older }
}

/// Read a configuration file.
///
/// # Errors
/// With what is wrong with it and what to do, in one line.
pub fn load(file: &Path) -> Result<Config, String> {
    let shown = file.display();
    let text = paths::read(file).map_err(|error| {
        format!(
            "mbsync's configuration {shown} cannot be read ({error}); \
             write it, or name the right file with :config"
        )
    })?;
    Config::parse(&text).map_err(|problem| {
        let Problem { line, what } = problem;
        format!("mbsync cannot read {shown}:{line}: {what}; mend that line")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn list(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn lines_have_words() {
        let quote = "a quote that is not closed";
        let escape = "a backslash with nothing after it";
        let table: [(&str, Result<&[&str], &str>); 14] = [
            ("a b  c", Ok(&["a", "b", "c"])),
            ("\ta\t b\r", Ok(&["a", "b"])),
            ("a \"b c\" d", Ok(&["a", "b c", "d"])),
            ("a b\" \"c", Ok(&["a", "b c"])),
            ("a \"\" b", Ok(&["a", "", "b"])),
            (r"a b\ c", Ok(&["a", "b c"])),
            (r#"a "b\"c\\""#, Ok(&["a", "b\"c\\"])),
            (r"a \x", Ok(&["a", "x"])),
            ("a b # c \"", Ok(&["a", "b"])),
            ("a b#c", Ok(&["a", "b#c"])),
            ("a 'b c'", Ok(&["a", "'b", "c'"])),
            ("a \"b c", Err(quote)),
            ("a\" b", Err(quote)),
            ("a \\", Err(escape)),
        ];
        for (line, expected) in table {
            let expected = expected.map(|words| Line::Words(list(words)));
            assert_eq!(words(line.as_bytes()), expected, "{line}");
        }
        for line in ["", "  ", "\r"] {
            assert_eq!(words(line.as_bytes()), Ok(Line::Empty));
        }
        assert_eq!(words(b" # x \" y"), Ok(Line::Comment));
    }

    #[test]
    fn sections_have_options() {
        let text = br#"# mine
SyncState *
FieldDelimiter ;
MaildirStore near
path "~/my mail/"
INBOX ~/my\ mail/Inbox
# in the midst
IncludeCmd x
SubFolders verbatim
NoSuchOption x
Flatten .
AltMap Yes
InfoDelimiter !

IMAPStore far
Path x
Flatten -

IMAPStore plain
Account acc
Timeout 60

IMAPAccount acc
Timeout 0
Host h

MaildirStore old
SubFolders Maildir++
MapInbox in

Channel c
Far ":far:\xe9/"
Near :near:
Patterns "a b" !c
Pattern %
SyncState ~/s/
Channel inside

channel d
Master :far:box:x
Slave :old:

Group g c d
Channel "e:a b,c"
Channels f g

Path outside
"#;
        let far = b"xe9/".to_vec();
        let expected = Config {
            stores: vec![
                Store {
                    name: b"near".to_vec(),
                    line: 4,
                    path: Some(b"~/my mail/".to_vec()),
                    inbox: Some(b"~/my mail/Inbox".to_vec()),
                    style: Style::Verbatim,
                    flatten: Some(b".".to_vec()),
                    map_inbox: None,
                    alt_map: true,
                    info_delimiter: Some(b"!".to_vec()),
                },
                Store {
                    name: b"old".to_vec(),
                    line: 27,
                    style: Style::PlusPlus,
                    map_inbox: Some(b"in".to_vec()),
                    ..Store::default()
                },
            ],
            pathed: vec![(b"far".to_vec(), b"x".to_vec())],
            flattened: vec![(b"far".to_vec(), b"-".to_vec())],
            servers: vec![
                Remote {
                    name: b"far".to_vec(),
                    store: true,
                    ..Remote::default()
                },
                Remote {
                    name: b"plain".to_vec(),
                    store: true,
                    account: Some(b"acc".to_vec()),
                    timeout: Some(b"60".to_vec()),
                    ..Remote::default()
                },
                Remote {
                    name: b"acc".to_vec(),
                    host: Some(b"h".to_vec()),
                    timeout: Some(b"0".to_vec()),
                    ..Remote::default()
                },
            ],
            channels: vec![
                Channel {
                    name: b"c".to_vec(),
                    line: 31,
                    far: (b"far".to_vec(), far),
                    near: (b"near".to_vec(), Vec::new()),
                    patterns: Some(list(&["a b", "!c", "%"])),
                    state: Some(b"~/s/".to_vec()),
                },
                Channel {
                    name: b"d".to_vec(),
                    line: 39,
                    far: (b"far".to_vec(), b"box:x".to_vec()),
                    near: (b"old".to_vec(), Vec::new()),
                    ..Channel::default()
                },
            ],
            groups: vec![Group {
                name: b"g".to_vec(),
                line: 43,
                members: list(&["c", "d", "e:a b,c", "f", "g"]),
            }],
            state: Some(b"*".to_vec()),
            field_delimiter: Some(b";".to_vec()),
            commands: vec![8],
        };
        assert_eq!(Config::parse(text), Ok(expected));
        let bytes = Config::parse(b"Channel \xe9\nNear :\xff:\xfe").expect("a configuration");
        assert_eq!(bytes.channels[0].name, b"\xe9");
        assert_eq!(bytes.channels[0].near, (b"\xff".to_vec(), b"\xfe".to_vec()));
    }

    // Security: S52.
    #[test]
    fn servers_are_named_and_secrets_not_kept() {
        let text = b"IMAPAccount acc\nHost imap.example.org\nPort 143\nUser \"me too\"\n\
            Pass geheim\nPassCmd \"echo geheim\"\nSSLType StartTLS\nPath x\n\n\
            IMAPStore far\nTunnel \"ssh -q host imapd geheim\"\n";
        let config = Config::parse(text).expect("a configuration");
        let server = Remote {
            name: b"acc".to_vec(),
            host: Some(b"imap.example.org".to_vec()),
            port: Some(b"143".to_vec()),
            user: Some(b"me too".to_vec()),
            security: Some(b"starttls".to_vec()),
            ..Remote::default()
        };
        let store = Remote {
            name: b"far".to_vec(),
            store: true,
            tunnel: true,
            ..Remote::default()
        };
        assert_eq!(config.servers, [server, store]);
        assert!(config.pathed.is_empty());
        assert!(!format!("{config:?}").contains("geheim"));
    }

    #[test]
    fn names_are_read_where_a_colon_is_before_the_flags() {
        // the configuration, and whether the names in its store are read
        let table = [
            ("MaildirStore s\nPath x", true),
            ("MaildirStore s\nInfoDelimiter :", true),
            ("MaildirStore s\nInfoDelimiter !", false),
            ("MaildirStore s\nAltMap yes", false),
            ("FieldDelimiter ;\nMaildirStore s\nPath x", false),
            ("FieldDelimiter :\nMaildirStore s\nPath x", true),
            ("FieldDelimiter ;\nMaildirStore s\nInfoDelimiter :", true),
            ("FieldDelimiter :\nMaildirStore s\nInfoDelimiter ;", false),
        ];
        for (text, read) in table {
            let config = Config::parse(text.as_bytes()).expect(text);
            let why = config.stores[0].unreadable(&config);
            assert_eq!(why.is_none(), read, "{text}: {why:?}");
        }
    }

    #[test]
    fn a_problem_has_a_line() -> Result<(), Box<dyn std::error::Error>> {
        let home = tempfile::tempdir()?;
        let file = home.path().join("rc");
        let shown = file.display().to_string();
        let absent = load(&file).expect_err("no file");
        assert!(
            absent.contains(&shown) && absent.contains(":config"),
            "{absent}"
        );
        fs::write(&file, "Channel a\n\nMaildirStore \"x\n")?;
        let malformed = load(&file).expect_err("no configuration");
        assert!(
            malformed.contains(&format!("{shown}:3: a quote")),
            "{malformed}"
        );
        fs::write(&file, "Channel a\n")?;
        assert!(load(&file).is_ok());
        assert!(load(home.path()).is_err());
        Ok(())
    }

    #[test]
    fn the_file_is_where_mbsync_looks() -> Result<(), Box<dyn std::error::Error>> {
        let home = tempfile::tempdir()?;
        let at = |name: &str| home.path().join(name);
        let mut around = Surroundings {
            environment: vec![format!("HOME={}", home.path().display()).into()],
            directory: "/run".into(),
        };
        assert_eq!(find(&around, None), at(".mbsyncrc"));
        fs::create_dir_all(at(".config"))?;
        fs::write(at(".config/isyncrc"), "")?;
        assert_eq!(find(&around, None), at(".config/isyncrc"));
        let xdg = format!("XDG_CONFIG_HOME={}", at("xdg").display());
        around.environment.push(xdg.into());
        assert_eq!(find(&around, None), at(".mbsyncrc"));
        fs::create_dir_all(at("xdg"))?;
        fs::write(at("xdg/isyncrc"), "")?;
        assert_eq!(find(&around, None), at("xdg/isyncrc"));
        assert_eq!(find(&around, Some(Path::new("/x/rc"))), Path::new("/x/rc"));
        assert_eq!(find(&around, Some(Path::new("rc"))), Path::new("/run/rc"));
        assert_eq!(
            path(&around, b"~/m/"),
            [home.path().as_os_str().as_bytes(), b"/m/"].concat()
        );
        assert_eq!(path(&around, b"~other/m"), b"/run/~other/m");
        assert_eq!(path(&around, b"m/"), b"/run/m/");
        Ok(())
    }
}
