//! What became of a run of OfflineIMAP, by its exit code and what it printed.
//!
//! The code says little: 0 after a signal, and always 0 from `machineui`; one headline stands over
//! a wrong password and a cut connection alike.  So the reasons below the headlines decide, with
//! the doubtful ones taken for what passes: it is tried again, and the user sees the line.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::super::outcome::{Exit, Verdict, disk, sentence, shown};
use super::super::plan::Plan;
use super::super::{Memory, Order, Outcome, Output, Program, Scope};
use super::TEACHING;
use super::config::Setup;
use super::report::Report;

/// What in a reason means that something has to be configured otherwise, in small letters.
const CONFIG: [(&str, &str); 24] = [
    ("the account '", "correct the account's name"),
    ("no accounts are defined", "correct the account's name"),
    ("repository not supported", "correct the repository's type"),
    ("could not find section", "add that section"),
    ("no option '", "add that option"),
    ("no section:", "add that section"),
    ("config file '", "write it, or name the right one"),
    ("configuration mismatch", "correct the configuration"),
    (
        "infinite folder creation",
        "correct nametrans on both sides",
    ),
    ("you must enable precisely one", "correct the tunnel"),
    ("no username provided", "give remoteuser"),
    (
        "no supported authentication mechanisms",
        "correct auth_mechanisms",
    ),
    ("login is disabled by server", "set ssl or starttls"),
    ("certificate", "correct sslcacertfile or cert_fingerprint"),
    ("fingerprint", "correct sslcacertfile or cert_fingerprint"),
    ("could not connect via ssl", "correct ssl and remoteport"),
    ("unknown ssl protocol", "correct ssl and remoteport"),
    ("wrong version number", "correct ssl and remoteport"),
    ("failed to start tls connection", "correct starttls"),
    ("offlineimap: error:", "correct :args"),
    ("configparser.", "correct the configuration"),
    ("is not defined", "correct the Python"),
    ("invalid syntax", "correct the Python"),
    ("invalid interpolation", "correct the configuration"),
];

/// What in a reason may pass by itself, in small letters.
const PASSES: [&str; 27] = [
    "could not open socket",
    "can't open socket",
    "could not resolve name",
    "name or service not known",
    "temporary failure in name resolution",
    "connection refused",
    "was refused",
    "unreachable",
    "no route to host",
    "does not answer",
    "no response after",
    "timed out",
    "timeout",
    "socket error",
    "too many read 0",
    "connection closed",
    "closed connection",
    "connection reset",
    "connection aborted",
    "broken pipe",
    "eof occurred",
    "unrecognised server welcome",
    "returned no folders",
    "[unavailable]",
    "[inuse]",
    "[limit]",
    "too many simultaneous",
];

/// What went wrong, before it is put into words.
struct Finding {
    outcome: Outcome,
    what: String,
    line: String,
    advice: String,
    failed: Vec<Arc<Path>>,
}

impl Finding {
    fn new(outcome: Outcome, what: &str, line: &str, advice: &str) -> Self {
        Finding {
            outcome,
            what: what.to_owned(),
            line: line.to_owned(),
            advice: advice.to_owned(),
            failed: Vec::new(),
        }
    }

    fn text(&self) -> String {
        sentence(&shown(&self.what), &self.line, &self.advice)
    }
}

/// Judge a run that ended by itself or by somebody else's signal.
#[must_use]
pub fn judge(order: &Order, plan: &Plan, exit: Exit, output: &Output) -> Verdict {
    let machine = plan.argv.windows(2).any(|pair| {
        let [option, value] = pair else { return false };
        option == "-u" && value == TEACHING
    });
    let report = Report::of(output, machine);
    let court = Court {
        order,
        plan,
        exit,
        report: &report,
    };
    let found = court.finding();
    let whole = found.is_none() && output.dropped == 0;
    let memory = learned(plan, &report, whole);
    match found {
        None => Verdict {
            outcome: Outcome::Ok,
            text: String::new(),
            failed: Vec::new(),
            memory,
        },
        Some(finding) => Verdict {
            outcome: finding.outcome,
            text: finding.text(),
            failed: finding.failed,
            memory,
        },
    }
}

/// What is known of names after a run; `whole`: it reported all that there are.
fn learned(plan: &Plan, report: &Report, whole: bool) -> Memory {
    let mut memory = plan.memory.clone();
    if report.synced.is_empty() {
        return memory;
    }
    if whole {
        memory.remote_names.clear();
    }
    let pairs = report.synced.iter();
    let pairs = pairs.map(|(remote, local)| (local.clone(), remote.clone()));
    memory.remote_names.extend(pairs);
    memory
}

/// All that is known of a run.
struct Court<'a> {
    order: &'a Order,
    plan: &'a Plan,
    exit: Exit,
    report: &'a Report,
}

impl Court<'_> {
    /// What went wrong; `None` if nothing did.
    fn finding(&self) -> Option<Finding> {
        let code = match self.exit {
            Exit::Code(code) => code,
            Exit::Signal(signal) => return Some(self.killed(signal)),
        };
        let lines = self.evidence(code);
        self.locked(&lines)
            .or_else(|| self.told_to_end())
            .or_else(|| self.misconfigured(&lines))
            .or_else(|| self.refused())
            .or_else(|| self.no_password(&lines))
            .or_else(|| self.disk(&lines))
            .or_else(|| self.passing(&lines))
            .or_else(|| self.nothing_named(&lines))
            .or_else(|| self.folders())
            .or_else(|| self.unknown(code))
    }

    /// The lines that give reasons.  Warnings count only where there is no error: what another
    /// try made good is warned of as well.
    fn evidence(&self, code: i32) -> Vec<&str> {
        let report = self.report;
        if !report.errors.is_empty() {
            return report
                .errors
                .iter()
                .flat_map(|error| reason(error))
                .collect();
        }
        if self.success(code) {
            return Vec::new();
        }
        // Indented lines are the program's own text, in tracebacks; others name folders.
        let heads = [" ", "UID validity problem"];
        let remarks = report.remarks.iter().map(String::as_str);
        remarks
            .filter(|line| !heads.iter().any(|head| line.starts_with(head)))
            .collect()
    }

    fn success(&self, code: i32) -> bool {
        code == 0 || self.order.syncer.success.contains(&code)
    }

    fn account(&self) -> &str {
        match &self.order.syncer.program {
            Program::OfflineImap { account, .. } => account,
            _ => &self.order.account,
        }
    }

    fn config(&self) -> String {
        match &self.plan.config {
            Some(file) => file.display().to_string(),
            None => "OfflineIMAP's configuration".to_owned(),
        }
    }

    fn killed(&self, signal: i32) -> Finding {
        let what = format!("OfflineIMAP was ended by signal {signal}");
        Finding::new(Outcome::Interrupted, &what, "", "it is run again")
    }

    fn locked(&self, lines: &[&str]) -> Option<Finding> {
        lines
            .iter()
            .any(|line| line.contains("Could not lock account"))
            .then(|| {
                let what = format!(
                    "another process syncs OfflineIMAP's account {}",
                    self.account()
                );
                Finding::new(Outcome::Locked, &what, "", "")
            })
    }

    fn told_to_end(&self) -> Option<Finding> {
        let mut remarks = self.report.remarks.iter();
        remarks
            .any(|line| line.contains("Preparing to shutdown after sync"))
            .then(|| {
                let what = "OfflineIMAP was told to end, and left out what it had not begun";
                Finding::new(Outcome::Interrupted, what, "", "it is run again")
            })
    }

    fn misconfigured(&self, lines: &[&str]) -> Option<Finding> {
        lines.iter().find_map(|line| {
            let small = line.to_lowercase();
            let (_, advice) = CONFIG.iter().find(|(part, _)| small.contains(part))?;
            let what = format!("OfflineIMAP cannot sync account {}", self.account());
            let advice = format!("{advice} in {}", self.config());
            Some(Finding::new(Outcome::Config, &what, line, &advice))
        })
    }

    /// The server does not want the user, unless the connection was lost over it.
    fn refused(&self) -> Option<Finding> {
        let mut errors = self.report.errors.iter();
        let error = errors.find(|error| error.contains("All authentication types failed"))?;
        if passing_line(error.lines()).is_some() {
            return None;
        }
        if self.report.asked {
            return Some(self.without_password());
        }
        let line = error.lines().nth(1).unwrap_or(error);
        let what = format!("the server refuses the login of account {}", self.account());
        let advice = format!("correct the user or the password in {}", self.config());
        Some(Finding::new(Outcome::Auth, &what, line, &advice))
    }

    fn no_password(&self, lines: &[&str]) -> Option<Finding> {
        let prompts = |line: &&str| line.contains("Prompting for a password");
        lines.iter().any(prompts).then(|| self.without_password())
    }

    /// It wanted to ask, for want of a password: none is configured, or none came.
    fn without_password(&self) -> Finding {
        let setup = Setup::load(self.order);
        if setup.is_ok_and(|setup| setup.asks_for_password) {
            let what = format!("no password came for account {}", self.account());
            let advice = format!("see remotepasseval or remotepassfile in {}", self.config());
            return Finding::new(Outcome::Transient, &what, "", &advice);
        }
        let what = format!("OfflineIMAP has no password for account {}", self.account());
        let advice = format!(
            "give remotepasseval, remotepassfile or remotepass in {}",
            self.config()
        );
        Finding::new(Outcome::Config, &what, "", &advice)
    }

    fn disk(&self, lines: &[&str]) -> Option<Finding> {
        let (line, wrong, advice) = disk(lines.iter().copied())?;
        let what = format!(
            "OfflineIMAP could not sync account {}, {wrong}",
            self.account()
        );
        Some(Finding::new(Outcome::Transient, &what, line, advice))
    }

    fn passing(&self, lines: &[&str]) -> Option<Finding> {
        let line = passing_line(lines.iter().copied())?;
        let what = format!("OfflineIMAP could not sync account {}", self.account());
        Some(Finding::new(Outcome::Transient, &what, line, ""))
    }

    fn nothing_named(&self, lines: &[&str]) -> Option<Finding> {
        let line = lines
            .iter()
            .find(|line| line.contains("no folder to sync"))?;
        let advice = format!("see folderfilter and nametrans in {}", self.config());
        if self.plan.everything {
            let what = "OfflineIMAP leaves out every folder";
            return Some(Finding::new(Outcome::Config, what, line, &advice));
        }
        let what = "OfflineIMAP knows none of the folders that it was to sync";
        let mut finding = Finding::new(Outcome::Partial, what, line, &advice);
        finding.failed = self.all();
        Some(finding)
    }

    /// Single folders that went wrong, and nothing else that is known did.
    fn folders(&self) -> Option<Finding> {
        let mut remarks = self.report.remarks.iter();
        let died = remarks.any(|line| line.contains("terminated with exception"));
        if died || self.report.cut || self.nameless_error().is_some() {
            return None;
        }
        let broken = self.broken_folders();
        let renumbered = self.renumbered_folders();
        let mut failed = Vec::new();
        for name in broken.iter().map(|(name, _)| name).chain(&renumbered) {
            match self.truename(name) {
                Some(real) => failed.push(real),
                // It cannot be set aside: let nothing count as synced.
                None if self.plan.everything => return Some(self.nameless(name)),
                None => failed.extend(self.all()),
            }
        }
        failed.sort();
        failed.dedup();
        let mut finding = match (broken.first(), renumbered.first()) {
            (Some((name, line)), _) => {
                let what = format!(
                    "OfflineIMAP could not sync folder {}",
                    listed(name, failed.len())
                );
                Finding::new(Outcome::Partial, &what, line, "the others are synced")
            }
            (None, Some(name)) => Finding::new(
                Outcome::Partial,
                &format!(
                    "the server has renumbered folder {} (UIDVALIDITY)",
                    listed(name, failed.len())
                ),
                "",
                "OfflineIMAP leaves it out until that is mended by hand, see its FAQ on UID validity",
            ),
            (None, None) => return None,
        };
        finding.failed = failed;
        Some(finding)
    }

    fn broken_folders(&self) -> Vec<(String, &str)> {
        let errors = self.report.errors.iter();
        let named = errors.filter_map(|error| {
            let name = self.folder_of(error)?;
            Some((name, reason(error).last().copied().unwrap_or_default()))
        });
        named.collect()
    }

    /// An error about nobody knows which folder.
    fn nameless_error(&self) -> Option<&String> {
        let mut errors = self.report.errors.iter();
        errors.find(|error| self.folder_of(error).is_none())
    }

    /// The folder that an error is about.
    fn folder_of(&self, error: &str) -> Option<String> {
        let head = error.lines().next()?;
        let within = |start: &str, end: &str| {
            let rest = head.strip_prefix(start)?;
            Some(rest.rsplit_once(end)?.0.to_owned())
        };
        let account = self.account();
        let thread = format!("ERROR in syncfolder for {account} folder ");
        within("Aborting sync, folder '", "' [acc: ")
            .or_else(|| within(&thread, ": Traceback"))
            .or_else(|| within("while syncing ", " [account "))
            .or_else(|| quoted(error))
    }

    fn renumbered_folders(&self) -> Vec<String> {
        let remarks = self.report.remarks.iter();
        let names = remarks.filter_map(|line| {
            let rest = line.strip_prefix("UID validity problem for folder ")?;
            Some(rest.split_once(" (repo")?.0.to_owned())
        });
        names.collect()
    }

    fn nameless(&self, name: &str) -> Finding {
        let what = format!("OfflineIMAP could not sync folder {name}");
        Finding::new(
            Outcome::Transient,
            &what,
            "",
            "the account is tried again later",
        )
    }

    fn unknown(&self, code: i32) -> Option<Finding> {
        let report = self.report;
        let what = format!("OfflineIMAP could not sync account {}", self.account());
        if let Some(error) = self.nameless_error().or(report.errors.first()) {
            let lines = reason(error);
            let line = lines.last().copied().unwrap_or_default();
            return Some(Finding::new(Outcome::Transient, &what, line, ""));
        }
        if self.success(code) {
            return None;
        }
        let what = format!("{what} (exit code {code})");
        let mut lines = report.remarks.iter().rev();
        let line = lines.find(|line| !line.starts_with(' '));
        let line = line.map_or("", String::as_str);
        let crashed = report
            .remarks
            .iter()
            .any(|line| line.contains("Traceback (most recent call last)"));
        Some(if crashed {
            let advice = format!("correct {}", self.config());
            Finding::new(Outcome::Config, &what, line, &advice)
        } else {
            Finding::new(Outcome::Transient, &what, line, "")
        })
    }

    /// The truenames of all folders of the order.
    fn all(&self) -> Vec<Arc<Path>> {
        let Scope::Folders(folders) = &self.order.scope else {
            return Vec::new();
        };
        folders.iter().map(|folder| folder.real.clone()).collect()
    }

    fn truename(&self, name: &str) -> Option<Arc<Path>> {
        if let Some(real) = self.plan.names.get(name.as_bytes()) {
            return Some(real.clone());
        }
        if !self.plan.everything {
            return None;
        }
        // A run of everything has no list of names: where OfflineIMAP has the folder.
        let setup = Setup::load(self.order).ok()?;
        let local = setup.local?;
        let separators = [name.to_owned()]
            .into_iter()
            .chain(["/", "."].map(|separator| name.replace(separator, &setup.separator)));
        let mut places = separators.map(|name| local.join(name));
        places
            .find_map(|place| fs::canonicalize(place).ok())
            .filter(|real| !real.as_os_str().as_bytes().is_empty())
            .map(Arc::from)
    }
}

/// What stands before the server's answer to a message that it would not take.
const UNSAVED: &str = "Saving msg (";

/// The folder in whose words an error about a message speaks.
fn quoted(error: &str) -> Option<String> {
    let message = error.starts_with(UNSAVED);
    // Before it stand parts of the message, which may say anything.
    let (start, _) = error.rsplit_once("', repo").filter(|_| message)?;
    let (_, name) = start.rsplit_once("folder '")?;
    Some(name.to_owned())
}

/// The lines of an error that give its reason: not the one that only says where, not Python's, and
/// nothing of a message.
fn reason(error: &str) -> Vec<&str> {
    if error.starts_with(UNSAVED) {
        let answer = error.rsplit_once("Server responded: ");
        return answer.map_or(Vec::new(), |(_, answer)| answer.lines().collect());
    }
    let lines: Vec<&str> = error.lines().collect();
    match lines.as_slice() {
        [head, .., last] if head.ends_with("Traceback (most recent call last):") => vec![last],
        [head, rest @ ..] if !rest.is_empty() && !head.ends_with(':') => rest.to_vec(),
        _ => lines,
    }
}

/// The first line whose trouble may pass by itself.
fn passing_line<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    lines.find(|line| {
        let small = line.to_lowercase();
        PASSES.iter().any(|part| small.contains(part))
    })
}

/// A folder, and how many others.
fn listed(name: &str, count: usize) -> String {
    match count {
        0 | 1 => name.to_owned(),
        2 => format!("{name} and another one"),
        _ => format!("{name} and {} others", count - 1),
    }
}

#[cfg(test)]
mod tests;
