//! What OfflineIMAP's configuration says about one account, as far as naming folders needs it.
//!
//! Which file it is, where the local folders and the lock are, and whether the names of both sides
//! can be told from each other.  Reads files; knows nothing of the network, and leaves Python to
//! Python: an expression (`nametrans`, `folderfilter`) is only known to be there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::paths::{self, expand};
use super::super::plan::Refused;
use super::super::surroundings::Surroundings;
use super::super::survey::{Place, Security, Server, Survey, Unit};
use super::super::{Order, Outcome, Program};
use super::ini::Ini;

/// An account of OfflineIMAP's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Its name.
    pub account: String,
    /// The configuration file.
    pub file: PathBuf,
    /// When that was last changed, or the Python beside it.
    pub changed: Option<SystemTime>,
    /// What a process that syncs the account holds.
    pub lock: PathBuf,
    /// Where the account's own records are.
    pub metadata: PathBuf,
    /// File names are spelled otherwise than a Maildir's (`maildir-windows-compatible`).
    pub windows: bool,
    /// The directory of the local folders; `None` where they are no Maildirs.
    pub local: Option<PathBuf>,
    /// What stands between the levels of a local name.
    pub separator: String,
    /// Python decides how folders are called, or which of them are synced.
    pub translated: bool,
    /// Names are UTF-8 instead of modified UTF-7.
    pub utf8: bool,
    /// The password comes from a program, a function or a file.
    pub asks_for_password: bool,
    /// How long it waits for a server that says nothing (seconds; 0: for ever).
    pub timeout: u64,
    /// How many connections it makes to the server at a time.
    pub connections: u64,
}

impl Setup {
    /// Read it.
    ///
    /// # Errors
    /// When OfflineIMAP could not do anything with it either.
    pub fn load(order: &Order) -> Result<Self, Refused> {
        let Program::OfflineImap {
            account, config, ..
        } = &order.syncer.program
        else {
            return Err(refused(
                "this syncer is not OfflineIMAP; use mailsync-offlineimap",
            ));
        };
        let paths = Paths(Surroundings::of(order));
        let file = paths.file(config.as_deref());
        let text = paths::read(&file).map_err(|error| {
            refused(&format!(
                "OfflineIMAP's configuration {} cannot be read ({error}); \
                 write it, or name the right file with :config",
                file.display()
            ))
        })?;
        Reading {
            ini: &Ini::parse(&String::from_utf8_lossy(&text)),
            file: &file,
            paths: &paths,
            account,
        }
        .setup()
    }
}

/// What there is to be synced: the accounts that `[general]` names.  `None` where there is no
/// configuration.  Reads that file; asks nobody for a password, and reads none.
///
/// # Errors
/// With why it cannot be read.
pub fn survey(around: Surroundings) -> Option<Result<Survey, String>> {
    let paths = Paths(around);
    let file = paths.file(None);
    let text = match paths::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            let text = format!("OfflineIMAP's {} cannot be read: {error}", file.display());
            return Some(Err(text));
        }
    };
    let ini = Ini::parse(&String::from_utf8_lossy(&text));
    let mut survey = Survey::new(file.clone());
    let listed = ini.get("general", "accounts").unwrap_or_default();
    let listed = listed.split(',').map(str::trim);
    let listed: Vec<&str> = listed.filter(|name| !name.is_empty()).collect();
    for (at, &account) in listed.iter().enumerate() {
        if listed.iter().position(|name| *name == account) != Some(at) {
            continue;
        }
        let reading = Reading {
            ini: &ini,
            file: &file,
            paths: &paths,
            account,
        };
        match reading.unit() {
            Ok(unit) => survey.units.push(unit),
            Err(refused) => survey.remarks.push(refused.text),
        }
    }
    let others = ini.named("Account ").into_iter();
    let others = others.filter(|name| !listed.contains(name));
    survey.remarks.extend(others.map(|name| {
        format!("OfflineIMAP's account {name} is left out: accounts of [general] does not name it")
    }));
    Some(Ok(survey))
}

/// A refusal for the user to mend, in one line: a value of the configuration may be many.
pub fn refused(text: &str) -> Refused {
    Refused {
        outcome: Outcome::Config,
        text: text.replace(char::is_control, " "),
    }
}

/// A configuration while it is looked through.
#[derive(Clone, Copy)]
struct Reading<'a> {
    ini: &'a Ini,
    file: &'a Path,
    paths: &'a Paths,
    account: &'a str,
}

impl Reading<'_> {
    fn setup(&self) -> Result<Setup, Refused> {
        // OfflineIMAP takes a comma in `-a` for the next account.
        if self.account.contains(',') {
            return Err(refused(&format!(
                "OfflineIMAP cannot be told an account with a comma in its name ({}); \
                 rename it in {}",
                self.account,
                self.file.display()
            )));
        }
        if let Some(python) = self.python().filter(|file| !file.exists()) {
            return Err(refused(&format!(
                "there is no file {}; write it, or correct pythonfile in [general] of {}",
                python.display(),
                self.file.display()
            )));
        }
        let account = format!("Account {}", self.account);
        if !self.ini.has(&account) {
            return Err(self.lacks(&format!("[{account}]")));
        }
        let local = self.repository(&account, "localrepository")?;
        let remote = self.repository(&account, "remoterepository")?;
        let is_maildir = matches!(
            self.word(&local, "type").as_deref(),
            Some("Maildir" | "GmailMaildir")
        );
        let folders = self.ini.get(&local, "localfolders");
        if is_maildir && folders.is_none() {
            return Err(self.lacks(&format!("localfolders in [{local}]")));
        }
        let folders = folders.filter(|_| is_maildir);
        let metadata = self.ini.get("general", "metadata");
        let metadata = self
            .paths
            .path(metadata.as_deref().unwrap_or("~/.offlineimap"));
        let expressions = ["nametrans", "folderfilter", "folderincludes"];
        let expressed = [&local, &remote]
            .iter()
            .any(|section| expressions.iter().any(|key| self.has(section, key)));
        let password = ["remotepasseval", "remotepassfile"];
        Ok(Setup {
            account: self.account.to_owned(),
            changed: self.changed(),
            lock: metadata.join(format!("{}.lock", self.account)),
            metadata: metadata.join(format!("Account-{}", self.account)),
            windows: self.yes(&account, "maildir-windows-compatible"),
            local: folders.map(|folders| self.paths.path(&folders)),
            separator: self.word(&local, "sep").unwrap_or_else(|| ".".to_owned()),
            translated: expressed || self.yes(&remote, "decodefoldernames"),
            utf8: self.yes(&account, "utf8foldernames"),
            asks_for_password: password.iter().any(|key| self.has(&remote, key)),
            timeout: self.number("general", "socktimeout").unwrap_or(0),
            connections: self.number(&remote, "maxconnections").unwrap_or(1),
            file: self.file.to_path_buf(),
        })
    }

    /// The account as something that can be synced.
    fn unit(&self) -> Result<Unit, Refused> {
        let setup = self.setup()?;
        let section = format!("Account {}", self.account);
        let local = self.repository(&section, "localrepository")?;
        let remote = self.repository(&section, "remoterepository")?;
        let Some(directory) = setup.local else {
            return Err(refused(&format!(
                "OfflineIMAP's account {} is left out: [{local}] keeps no Maildir",
                self.account
            )));
        };
        let mut remarks = Vec::new();
        if setup.translated {
            let text = "Python says how its folders are called (nametrans, folderfilter): \
                        mailsync learns that from the first sync";
            remarks.push(text.to_owned());
        }
        Ok(Unit {
            name: self.account.as_bytes().to_vec(),
            line: self.ini.line(&section),
            nameable: true,
            roots: vec![Place {
                directory,
                line: self.ini.line(&local),
                what: format!("localfolders of [{local}]"),
            }],
            server: self.server(&remote),
            used: setup.metadata.exists(),
            remarks,
        })
    }

    /// Where the server is, as far as no Python says it.
    fn server(&self, remote: &str) -> Option<Server> {
        let tunnel = ["preauthtunnel", "transporttunnel"];
        if tunnel.iter().any(|key| self.has(remote, key)) {
            return None;
        }
        let gmail = self.word(remote, "type").as_deref() == Some("Gmail");
        let host = self.word(remote, "remotehost");
        let no = |key| self.has(remote, key) && !self.yes(remote, key);
        let security = match (no("ssl"), no("starttls")) {
            (false, _) => Security::Tls,
            (true, false) => Security::StartTls,
            (true, true) => Security::Nothing,
        };
        Some(Server {
            host: host.or_else(|| gmail.then(|| "imap.gmail.com".to_owned()))?,
            port: self
                .word(remote, "remoteport")
                .and_then(|port| port.parse().ok()),
            user: self.word(remote, "remoteuser"),
            security,
        })
    }

    fn python(&self) -> Option<PathBuf> {
        let name = self.ini.get("general", "pythonfile")?;
        Some(self.paths.path(&name))
    }

    /// The section of one of the account's repositories.
    fn repository(&self, account: &str, key: &str) -> Result<String, Refused> {
        let name = self.ini.get(account, key);
        let name = name.ok_or_else(|| self.lacks(&format!("{key} in [{account}]")))?;
        let section = format!("Repository {name}");
        if self.ini.has(&section) {
            Ok(section)
        } else {
            Err(self.lacks(&format!("[{section}], which [{account}] names")))
        }
    }

    fn lacks(&self, what: &str) -> Refused {
        refused(&format!(
            "OfflineIMAP's configuration {} has no {what}; add it, or correct the name",
            self.file.display()
        ))
    }

    fn has(&self, section: &str, key: &str) -> bool {
        self.ini.get(section, key).is_some()
    }

    fn word(&self, section: &str, key: &str) -> Option<String> {
        let value = self.ini.get(section, key)?;
        Some(value.trim().to_owned())
    }

    fn number(&self, section: &str, key: &str) -> Option<u64> {
        self.word(section, key)?.parse().ok()
    }

    fn yes(&self, section: &str, key: &str) -> bool {
        let value = self.ini.get(section, key).unwrap_or_default();
        matches!(value.to_lowercase().as_str(), "1" | "yes" | "true" | "on")
    }

    /// The expressions may call functions of a file of Python: its changes count as well.
    fn changed(&self) -> Option<SystemTime> {
        let python = self.python();
        let when = |file: &Path| fs::metadata(file).and_then(|stat| stat.modified()).ok();
        let own = when(self.file);
        own.max(python.as_deref().and_then(when))
    }
}

/// What paths depend on, as OfflineIMAP reads them.
struct Paths(Surroundings);

impl Paths {
    fn home(&self, path: &[u8]) -> Vec<u8> {
        expand(path, self.0.variable(b"HOME"))
    }

    /// The configuration: as it is given, or where OfflineIMAP looks for one.
    fn file(&self, given: Option<&Path>) -> PathBuf {
        if let Some(given) = given {
            return self.0.absolute(self.home(given.as_os_str().as_bytes()));
        }
        let base = match self.0.set(b"XDG_CONFIG_HOME") {
            Some(base) => PathBuf::from(base),
            None => PathBuf::from(OsString::from_vec(self.home(b"~/.config"))),
        };
        let file = self
            .0
            .absolute(base.join("offlineimap/config").into_os_string().into_vec());
        if file.exists() {
            return file;
        }
        self.0.absolute(self.home(b"~/.offlineimaprc"))
    }

    /// A path in the configuration, `~` and variables resolved.
    fn path(&self, text: &str) -> PathBuf {
        self.0.absolute(self.variables(&self.home(text.as_bytes())))
    }

    /// `$NAME` and `${NAME}`; unknown ones stay as they are.
    fn variables(&self, path: &[u8]) -> Vec<u8> {
        let mut resolved = Vec::with_capacity(path.len());
        let mut rest = path;
        while let Some((&byte, tail)) = rest.split_first() {
            if let Some((value, after)) = self.reference(rest) {
                resolved.extend(value.as_bytes());
                rest = after;
            } else {
                resolved.push(byte);
                rest = tail;
            }
        }
        resolved
    }

    /// The variable that `text` begins with, and what follows it.
    fn reference<'a>(&self, text: &'a [u8]) -> Option<(&OsStr, &'a [u8])> {
        let text = text.strip_prefix(b"$")?;
        let (name, after) = match text.strip_prefix(b"{") {
            Some(text) => {
                let end = text.iter().position(|byte| *byte == b'}')?;
                (text.get(..end)?, text.get(end + 1..)?)
            }
            None => {
                let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                let end = text.iter().position(|byte| !word(byte));
                text.split_at_checked(end.unwrap_or(text.len()))?
            }
        };
        Some((self.0.variable(name)?, after))
    }
}
