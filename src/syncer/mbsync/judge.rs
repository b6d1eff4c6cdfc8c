//! What became of a run of mbsync, by its exit code and what it printed.
//!
//! The code is 1 for every failure, and may be 0 after one; so the lines decide.  Those about
//! single boxes are set aside first: names in them come from the server and may say anything.  Of
//! several troubles the one counts that a user has to mend, then the one that stops everything.

mod broken;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use super::super::outcome::{self, Exit, Verdict};
use super::super::paths;
use super::super::plan::Plan;
use super::super::{Order, Outcome, Output, Scope};
use broken::{Broken, Misnumbered, Trouble, spells};

/// What means that something has to be configured otherwise, in small letters, and what to do.
const CONFIG: [(&str, &str); 31] = [
    (
        "ssl error connecting",
        "correct SSLType, Host or CertificateFile",
    ),
    (
        "certificate owner does not match",
        "correct Host or CertificateFile",
    ),
    (
        "no server certificate",
        "correct SSLType or CertificateFile",
    ),
    ("error while loading certificate", "correct CertificateFile"),
    ("wrong version number", "correct SSLType and Port"),
    ("unsupported protocol", "correct SSLVersions"),
    ("no protocols available", "correct SSLVersions"),
    ("requires ssl but no ssl versions", "correct SSLVersions"),
    (
        "no acceptable authentication mechanism",
        "correct AuthMechs or SSLType",
    ),
    (
        // Debian recommends the modules with mbsync, and does not need them.
        "sasl mechanism(s) not available",
        "install SASL's modules (Debian: libsasl2-modules), or correct AuthMechs",
    ),
    ("ssl support not available", "correct SSLType"),
    ("[privacyrequired]", "set SSLType"),
    (
        // nnmaildir keeps a `.nnmaildir` in each folder.
        "does not specify subfolders style",
        "give SubFolders (Verbatim) in the MaildirStore",
    ),
    ("cannot open config file", "write it"),
    ("no channel or group named", "define it"),
    ("no channels defined", "define one"),
    ("no channel specified", "define one"),
    ("cannot override mailbox in channel", "give Patterns"),
    ("refers to no far side store", "give Far"),
    ("refers to no near side store", "give Near"),
    ("has both pass and passcmd", "keep one of them"),
    ("has both user and usercmd", "keep one of them"),
    // mbsync makes folders, but not the directory in which they all lie.
    (
        "cannot open store '",
        "make that directory, or correct Path or Inbox",
    ),
    ("' has no path", "give Path"),
    ("has neither tunnel nor host", "give Host"),
    ("cannot create syncstate directory", "correct SyncState"),
    ("invalid syncstate location", "correct SyncState"),
    ("does not support in-box sync state", "correct SyncState"),
    (", no user", "give User or UserCmd"),
    (", no password", "give PassCmd or Pass"),
    ("unknown option", "correct :args; the channels are"),
];

/// What may pass by itself, in small letters.
const PASSES: [&str; 23] = [
    "cannot connect to",
    "no working address found",
    "cannot resolve server",
    "socket error",
    "timeout.",
    "timed out",
    "unexpected eof",
    "unexpected bye",
    "bogus greeting response",
    "connection refused",
    "connection reset",
    "unreachable",
    "broken pipe",
    "compression error",
    "error decompressing",
    "ssl_error_syscall",
    "[unavailable]",
    "[inuse]",
    "[limit]",
    "[serverbug]",
    "too many",
    "try again",
    "temporar",
];

/// What begins a line that is an error even after exit code 0.
const ERRORS: [&str; 3] = ["Error: ", "Maildir error: ", "IMAP error: "];

/// What is said of a box that is left out since nobody has said which of its messages are to go.
const CROWDED: &str = " unread messages in excess of MaxMessages (";

/// What begins a line that is none even after another code; these are notices, and the phases
/// that `-V` tells of.
const REMARKS: [&str; 21] = [
    "Notice: ",
    "Maildir notice: ",
    "IMAP notice: ",
    "Warning: ",
    "Maildir warning: ",
    "IMAP warning: ",
    "Warning from IMAP server: ",
    "Creating ",
    "Deleting ",
    "Reading configuration",
    "Channel ",
    "Resolving ",
    "Connecting to ",
    "Connection is now ",
    "Logging in",
    "Authenticating ",
    "Opening ",
    "Loading ",
    "Synchronizing",
    "far side: ",
    "near side: ",
];

/// What went wrong, in words.
struct Finding {
    outcome: Outcome,
    text: String,
    failed: Vec<Arc<Path>>,
}

/// Judge a run that ended by itself or by somebody else's signal.
#[must_use]
pub fn judge(order: &Order, plan: &Plan, exit: Exit, output: &Output) -> Verdict {
    let lines = outcome::lines(&unbroken(output, plan));
    let mut court = Court::new(order, plan, exit, &lines);
    court.dropped = output.dropped > 0;
    let found = court.finding().unwrap_or(Finding {
        outcome: Outcome::Ok,
        text: String::new(),
        failed: Vec::new(),
    });
    Verdict {
        outcome: found.outcome,
        text: found.text,
        failed: found.failed,
        memory: plan.memory.clone(),
    }
}

/// Line breaks in names of folders would break the messages about them: here, what stands for one.
const BREAKS: [(char, char); 2] = [('\n', '␤'), ('\r', '␍')];

/// The output with such names in one line.
fn unbroken(output: &Output, plan: &Plan) -> Output {
    let names = plan.names.keys().filter_map(|key| {
        // What comes before is the channel.
        let name = str::from_utf8(key).ok()?.split_once(':')?.1;
        name.contains(['\n', '\r']).then_some(name)
    });
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return output.clone();
    }
    let mend = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mended = names.iter().fold(text, |text, name| {
            let shown = (BREAKS.iter()).fold((*name).to_owned(), |name, (from, to)| {
                name.replace(*from, &to.to_string())
            });
            // As mbsync tells of it, and nowhere else: it may be as short as one letter.
            ["box ", "side ", ":"].iter().fold(text, |text, before| {
                [
                    " cannot be opened",
                    " and near side ",
                    ": ",
                    "-:",
                    " is locked",
                ]
                .iter()
                .fold(text, |text, after| {
                    let place = |name: &str| format!("{before}{name}{after}");
                    text.replace(&place(name), &place(&shown))
                })
            })
        });
        mended.into_bytes()
    };
    Output {
        first: mend(&output.first),
        dropped: output.dropped,
        last: mend(&output.last),
        ..Output::default()
    }
}

/// All that is known of a run.
struct Court<'a> {
    order: &'a Order,
    plan: &'a Plan,
    exit: Exit,
    failed: bool,
    /// Not all that it printed is known.
    dropped: bool,
    /// Lines about boxes.
    boxes: Vec<Broken<'a>>,
    misnumbered: Vec<Misnumbered<'a>>,
    /// Other lines that give reasons.
    lines: Vec<&'a str>,
    /// The last line of all.
    last: &'a str,
}

impl<'a> Court<'a> {
    fn new(order: &'a Order, plan: &'a Plan, exit: Exit, lines: &'a [String]) -> Self {
        let failed = match exit {
            Exit::Code(code) => code != 0 && !order.syncer.success.contains(&code),
            Exit::Signal(_) => true,
        };
        let mut court = Court {
            order,
            plan,
            exit,
            failed,
            dropped: false,
            boxes: Vec::new(),
            misnumbered: Vec::new(),
            lines: Vec::new(),
            last: lines.last().map_or("", String::as_str),
        };
        let begins = |line: &str, list: &[&str]| list.iter().any(|start| line.starts_with(start));
        let mut reason = None;
        for line in lines.iter().map(|line| line.trim_end()) {
            let wrong = is_error(line) || (failed && !begins(line, &REMARKS));
            match Broken::of(line) {
                Some(mut broken) => {
                    let why = |line: &&str| broken.trouble.is_explained_by(line);
                    broken.reason = reason.take().filter(why);
                    court.boxes.push(broken);
                }
                None if wrong => {
                    if let Some(found) = Misnumbered::of(line, &court.anybody()) {
                        court.misnumbered.push(found);
                        reason = None;
                        continue;
                    }
                    court.lines.push(line);
                    reason = is_error(line).then_some(line);
                }
                _ => reason = None,
            }
        }
        court
    }

    /// What went wrong; `None` if nothing did.
    fn finding(&self) -> Option<Finding> {
        if let Exit::Signal(signal) = self.exit {
            let what = format!("mbsync was ended by signal {signal}");
            return Some(tell(Outcome::Interrupted, &what, "", "it is run again"));
        }
        self.misconfigured()
            .or_else(|| self.refused())
            .or_else(|| self.locked())
            .or_else(|| self.no_password())
            .or_else(|| self.disk())
            .or_else(|| self.passing())
            .or_else(|| self.broken())
            .or_else(|| self.misnumbered())
            .or_else(|| self.unknown())
    }

    fn config(&self) -> String {
        match &self.plan.config {
            Some(file) => file.display().to_string(),
            None => "mbsync's configuration".to_owned(),
        }
    }

    /// For what could not be synced at all.
    fn cannot(&self) -> String {
        format!("mbsync could not sync account {}", self.order.account)
    }

    fn misconfigured(&self) -> Option<Finding> {
        let file = self.config();
        self.lines.iter().find_map(|line| {
            // What a server says of a command is no matter of the configuration.
            if line.starts_with("IMAP command") && !line.contains("[PRIVACYREQUIRED]") {
                return None;
            }
            let small = line.to_lowercase();
            let known = CONFIG.iter().find(|(part, _)| small.contains(part));
            let advice = match known {
                Some((_, advice)) => format!("{advice} in {file}"),
                None if located(line, &file) => "mend that line".to_owned(),
                None => return None,
            };
            Some(tell(Outcome::Config, &self.cannot(), line, &advice))
        })
    }

    /// The server does not want the user, unless it says that this is for now.
    fn refused(&self) -> Option<Finding> {
        let line = self.lines.iter().find(|line| {
            let login = ["IMAP command 'AUTHENTICATE", "IMAP command 'LOGIN"];
            login.iter().any(|start| line.starts_with(start))
                || line.contains("SASL authentication")
        })?;
        if passes(line) {
            return None;
        }
        let what = format!(
            "the server refuses the login of account {}",
            self.order.account
        );
        let advice = format!("correct User, and PassCmd or Pass, in {}", self.config());
        Some(tell(Outcome::Auth, &what, line, &advice))
    }

    fn locked(&self) -> Option<Finding> {
        let broken = self
            .boxes
            .iter()
            .find(|broken| broken.trouble == Trouble::Locked);
        let line = match broken {
            Some(broken) => broken.line,
            None => self
                .lines
                .iter()
                .find(|line| line.contains("cannot fcntl lock"))?,
        };
        let what = format!(
            "another mbsync syncs folders of account {}",
            self.order.account
        );
        Some(tell(Outcome::Locked, &what, line, ""))
    }

    /// A password that a program should give: whoever keeps it may be locked.
    fn no_password(&self) -> Option<Finding> {
        let line = self.lines.iter().find(|line| {
            line.starts_with("Skipping account ")
                && [", PassCmd ", ", UserCmd "]
                    .iter()
                    .any(|part| line.contains(part))
        })?;
        let what = format!("no password came for account {}", self.order.account);
        let advice = format!("see PassCmd in {}", self.config());
        Some(tell(Outcome::Transient, &what, line, &advice))
    }

    fn disk(&self) -> Option<Finding> {
        let (line, wrong, advice) = outcome::disk(self.lines.iter().copied())?;
        let what = format!("{}, {wrong}", self.cannot());
        Some(tell(Outcome::Transient, &what, line, advice))
    }

    fn passing(&self) -> Option<Finding> {
        let line = self.lines.iter().find(|line| passes(line))?;
        Some(tell(Outcome::Transient, &self.cannot(), line, ""))
    }

    /// Single boxes that went wrong.
    fn broken(&self) -> Option<Finding> {
        let first = self.boxes.first().filter(|_| !self.is_unclear())?;
        let mut failed = Vec::new();
        for broken in &self.boxes {
            let key = format!("{}:{}", broken.channel, broken.name);
            let key =
                (BREAKS.iter()).fold(key, |key, (to, from)| key.replace(*from, &to.to_string()));
            let known = match broken.trouble {
                Trouble::State => self.beside(Path::new(broken.name)),
                Trouble::Refused => self.called(broken.name),
                _ => self.plan.names.get(key.as_bytes()),
            };
            match known {
                Some(real) => failed.push(real.clone()),
                None => failed.extend(self.all()),
            }
        }
        failed.extend(self.misnumbered.iter().flat_map(|it| it.folders.clone()));
        failed.sort();
        failed.dedup();
        // A server may call a box anything.
        let (channel, name) = (outcome::shown(first.channel), outcome::shown(first.name));
        let mut what = match first.trouble {
            Trouble::Renumbered => format!("the messages of folder {name} were renumbered"),
            Trouble::State => "the sync state of a folder is damaged".to_owned(),
            Trouble::Refused => format!("the server does not take folder {name}"),
            _ => format!("mbsync could not sync folder {name} of channel {channel}"),
        };
        let mut others: Vec<_> = self
            .boxes
            .iter()
            .map(|broken| (broken.channel, broken.name))
            .collect();
        others.sort_unstable();
        others.dedup();
        if others.len() > 1 {
            what = format!("{what}, and {} more went wrong", others.len() - 1);
        }
        let file = self.config();
        let advice = match first.trouble {
            Trouble::Far if BREAKS.iter().any(|(_, shown)| name.contains(*shown)) => format!(
                "no server is told a name with a line break: rename the folder, or leave it out \
                 by Patterns in {file}"
            ),
            Trouble::Far => format!(
                "if it is only here, set Create Far or Create Both in {file}; \
                 if it was removed on the server, remove it here"
            ),
            Trouble::Near => {
                format!("if it is only on the server, set Create Near or Create Both in {file}")
            }
            Trouble::Both => format!("it is on neither side; create it, or see Patterns in {file}"),
            Trouble::Renumbered | Trouble::State => {
                "mbsync leaves it out until that is mended by hand: move the \
                 local folder and its sync state away, then it is fetched anew"
                    .to_owned()
            }
            Trouble::Refused => {
                format!("rename it, or leave it out by Patterns in {file}; the others are synced")
            }
            Trouble::Locked => "".to_owned(),
        };
        let line = first.reason.unwrap_or(first.line);
        let mut finding = tell(Outcome::Partial, &what, line, &advice);
        finding.failed = failed;
        Some(finding)
    }

    /// Only boxes with wrong UIDs.
    fn misnumbered(&self) -> Option<Finding> {
        let first = self.misnumbered.first().filter(|_| !self.is_unclear())?;
        let mut failed: Vec<_> = (self.misnumbered.iter())
            .flat_map(|it| it.folders.clone())
            .collect();
        failed.sort();
        failed.dedup();
        let Misnumbered { uid, line, folders } = first;
        let folder = outcome::shown(&folders.first()?.display().to_string());
        let what = format!("mbsync could not sync {folder}");
        let advice = format!(
            "a message was moved or copied there by its name: take \",U={uid}\" out of that"
        );
        let mut finding = tell(Outcome::Partial, &what, line, &advice);
        finding.failed = failed;
        Some(finding)
    }

    /// Whether any other box may have gone wrong, too: nobody knows what is synced.
    fn is_unclear(&self) -> bool {
        let strange =
            |it: &&Broken| it.trouble == Trouble::Refused && self.called(it.name).is_none();
        if self.boxes.iter().any(|it| strange(&it)) {
            return true;
        }
        let explains = |line: &&str| self.boxes.iter().any(|broken| broken.reason == Some(*line));
        let mut errors = self.lines.iter().filter(|line| is_error(line));
        self.failed && self.dropped || errors.any(|line| !explains(line))
    }

    /// The only folder that a server may call so.
    fn called(&self, spelled: &str) -> Option<&Arc<Path>> {
        let means = |key: &[u8]| {
            // What comes before is the channel.
            let name = str::from_utf8(key).ok().and_then(|it| it.split_once(':'));
            name.is_some_and(|(_, name)| spells(spelled, name))
        };
        let found = self.plan.names.iter().filter(|(key, _)| means(key));
        let mut found = found.map(|(_, real)| real);
        let first = found.next()?;
        found.all(|real| real == first).then_some(first)
    }

    /// The folder in which mbsync keeps this state, if it keeps it in folders.
    fn beside(&self, state: &Path) -> Option<&Arc<Path>> {
        let folder = paths::truename(state.parent()?);
        self.plan.names.values().find(|real| ***real == *folder)
    }

    fn unknown(&self) -> Option<Finding> {
        let error = self.lines.iter().find(|line| is_error(line));
        let line = error.or_else(|| self.lines.last()).copied();
        if !self.failed {
            let what = format!("mbsync did not sync all of account {}", self.order.account);
            let mut finding = tell(Outcome::Partial, &what, line?, "");
            finding.failed = self.anybody();
            return Some(finding);
        }
        let code = match self.exit {
            Exit::Code(code) | Exit::Signal(code) => code,
        };
        let what = format!("{} (exit code {code})", self.cannot());
        let line = line.or_else(|| self.boxes.first().map(|broken| broken.line));
        let line = line.unwrap_or(self.last);
        Some(tell(Outcome::Transient, &what, line, ""))
    }

    /// The truenames of all folders that an error which names none may be about.
    fn anybody(&self) -> Vec<Arc<Path>> {
        let mut all = self.all();
        if self.plan.everything {
            all.extend(self.plan.names.values().cloned());
        }
        all.sort();
        all.dedup();
        all
    }

    /// The truenames of all folders of the order.
    fn all(&self) -> Vec<Arc<Path>> {
        match &self.order.scope {
            Scope::Folders(folders) if !self.plan.everything => {
                folders.iter().map(|folder| folder.real.clone()).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn tell(outcome: Outcome, what: &str, line: &str, advice: &str) -> Finding {
    Finding {
        outcome,
        text: outcome::sentence(what, line, advice),
        failed: Vec::new(),
    }
}

/// Whether a line that gives a reason tells of an error, and not of more about one.
fn is_error(line: &str) -> bool {
    // What a server answers to one about a box may be the only word of it.
    let starts = ERRORS.iter().chain(&["IMAP command"]);
    let mut remarks = REMARKS.iter();
    starts.into_iter().any(|start| line.starts_with(start))
        || line.contains(CROWDED) && !remarks.any(|start| line.starts_with(start))
}

fn passes(line: &str) -> bool {
    let small = line.to_lowercase();
    PASSES.iter().any(|part| small.contains(part))
}

/// Whether a line is about one of the configuration.
fn located(line: &str, file: &str) -> bool {
    let rest = line
        .strip_prefix(file)
        .and_then(|rest| rest.strip_prefix(':'));
    rest.is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
        && ![": Notice:", ": Warning:"]
            .iter()
            .any(|part| line.contains(part))
}
