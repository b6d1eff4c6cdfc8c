//! From facts to findings: what is so, how bad that is, and the one thing to do.  Pure.

use std::path::PathBuf;
use std::time::Duration;

use super::facts::{Account, Found, Limit, Machine, Root, Socket, Syncer, There, Tree};
use crate::engine::environment::{Support, Told};
use crate::errand::patience::PATIENCE;
use crate::maildir::Layout;
use crate::syncer::inspect::Inspection;
use crate::syncer::lock::look::Seen;
use crate::watch::limits::{Inotify, raise_files, raise_inotify};

/// What is said of a syncer whose configuration is on a disk that does not answer.
pub(super) const HUNG: &str = "the disk with its configuration does not answer; see to that disk";

/// Folders that a finding names; there may be thousands.
const NAMED: usize = 3;

/// A server takes about ten connections of a user, and others want some, too.
const CONNECTIONS: u64 = 5;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; it may be meant so.
    Note,
    /// Something is late, or missing, or will be.
    Warning,
    /// Something does not work.
    Problem,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub subject: String,
    /// What was looked at: a word of the manual's table.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is so.
    pub text: String,
    /// The one thing to do; empty where there is nothing to do.
    pub remedy: String,
    /// Where that is done: `option NAME`, `command NAME`, `file NAME`, or empty.
    pub place: String,
}

impl Finding {
    /// As it goes to Lisp.
    #[must_use]
    pub fn fields(self) -> [Vec<u8>; 6] {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        let texts = [
            self.subject,
            self.check.to_owned(),
            level.to_owned(),
            self.text,
            self.remedy,
            self.place,
        ];
        // No field has a NUL.
        texts.map(|text| text.replace('\0', "?").into_bytes())
    }
}

/// A fact that Lisp judges: as many fields as a finding has.
#[must_use]
pub fn fact(account: &str, what: &str, values: [Vec<u8>; 3]) -> [Vec<u8>; 6] {
    let [one, two, three] = values;
    let words = [account, what, "fact"].map(|it| it.as_bytes().to_vec());
    let [account, what, level] = words;
    [account, what, level, one, two, three]
}

/// Findings about one subject.
struct Report {
    subject: String,
    findings: Vec<Finding>,
}

const ACCOUNTS: &str = "option mailsync-accounts";

impl Report {
    fn new(subject: &str) -> Self {
        Report {
            subject: subject.to_owned(),
            findings: Vec::new(),
        }
    }

    fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.say(check, Level::Ok, text, "", "");
    }

    fn say(
        &mut self,
        check: &'static str,
        level: Level,
        text: impl Into<String>,
        remedy: impl Into<String>,
        place: impl Into<String>,
    ) {
        self.findings.push(Finding {
            subject: self.subject.clone(),
            check,
            level,
            text: text.into(),
            remedy: remedy.into(),
            place: place.into(),
        });
    }
}

/// What follows from the facts about an account.
#[must_use]
pub fn account(facts: &Account) -> Vec<Finding> {
    let mut report = Report::new(&format!("account \"{}\"", facts.name));
    for root in &facts.roots {
        directory(&mut report, root);
    }
    match &facts.syncer {
        None => report.ok("syncer", "no :syncer; nothing is fetched or pushed"),
        Some(syncer) => {
            synced(&mut report, facts, syncer);
            lock(&mut report, facts);
        }
    }
    report.findings
}

fn directory(report: &mut Report, root: &Root) {
    let name = root.spelled.display();
    let problem = Level::Problem;
    let there = match &root.found {
        Found::Silent => {
            let text = format!("{name} has not answered for {} seconds", PATIENCE.as_secs());
            let remedy = format!("see to its file system (findmnt -T {name} says which that is)");
            return report.say("directory", problem, text, remedy, "");
        }
        Found::Missing => {
            let text = format!("there is no directory {name}");
            let remedy = "make it or mount it, or correct :maildir in mailsync-accounts";
            return report.say("directory", problem, text, remedy, ACCOUNTS);
        }
        Found::NotADirectory => {
            let text = format!("{name} is not a directory");
            let remedy = "correct :maildir in mailsync-accounts";
            return report.say("directory", problem, text, remedy, ACCOUNTS);
        }
        Found::Refused(error) => {
            let text = format!("{name} cannot be read: {error}");
            let remedy = format!("chmod u+rwx {name} allows it, where it is yours");
            return report.say("directory", problem, text, remedy, "");
        }
        Found::There(there) => there,
    };
    owner(report, root, there);
    file_system(report, root, there);
    match &there.tree {
        None => {
            let text = format!("{name} is still being read");
            let remedy = "press g to examine it again";
            report.say("folders", Level::Note, text, remedy, "");
        }
        Some(tree) => folders(report, root, tree),
    }
    if !root.shared.is_empty() {
        let text = format!("{name} is a maildir of {}, too", root.shared.join(", "));
        let remedy = "leave it to one account in mailsync-accounts";
        report.say("directory", Level::Warning, text, remedy, ACCOUNTS);
    }
}

fn owner(report: &mut Report, root: &Root, there: &There) {
    let name = root.spelled.display();
    let warning = Level::Warning;
    if there.owner != there.user {
        let text = format!(
            "{name} belongs to the user number {}, not to you ({})",
            there.owner, there.user
        );
        let remedy = "start Emacs as that user, or have the directory made yours (chown)";
        report.say("directory", warning, text, remedy, "");
    }
    if !there.writable {
        let text = format!("you may not write to {name}: no mark that you set is kept");
        let remedy = format!("chmod u+w {name} allows it, where it is yours");
        report.say("directory", warning, text, remedy, "");
    }
}

fn file_system(report: &mut Report, root: &Root, there: &There) {
    let name = root.spelled.display();
    let kind = there.kind.and_then(called);
    let on = kind.unwrap_or(if there.remote {
        "a network"
    } else {
        "a local disk"
    });
    let every = |poll: Duration| format!("{} s", poll.as_secs_f64());
    let (level, text, remedy) = match (root.poll, there.remote, kind) {
        (Some(poll), true, _) => {
            let text = format!("{name} is on {on}, and looked at every {}", every(poll));
            return report.ok("file system", text);
        }
        (Some(poll), false, Some(OVERLAY)) => {
            let text = format!(
                "{name} is on an overlay, and looked at every {}",
                every(poll)
            );
            return report.ok("file system", text);
        }
        (None, true, _) => (
            Level::Note,
            format!(
                "{name} is on {on}: the kernel does not tell what others write there; mailsync \
                 looks from time to time"
            ),
            "set :poll of the account to how late mail may be, in seconds",
        ),
        (None, false, Some(OVERLAY)) => (
            Level::Note,
            format!("{name} is on an overlay: what is written below that is not told"),
            "set :poll of the account if somebody writes there from outside (a host, another \
             container)",
        ),
        (Some(poll), false, _) => (
            Level::Note,
            format!(
                "{name} is on {on}, where the kernel tells what changes, and yet looked at every {}",
                every(poll)
            ),
            "take :poll out of the account",
        ),
        (None, false, _) => {
            let text = format!("{name} is on {on}: the kernel tells what changes");
            return report.ok("file system", text);
        }
    };
    report.say("file system", level, text, remedy, ACCOUNTS);
}

fn folders(report: &mut Report, root: &Root, tree: &Tree) {
    let name = root.spelled.display();
    let warning = Level::Warning;
    if !tree.problems.is_empty() {
        let text = format!(
            "{} in {name} cannot be read: {}",
            count(tree.problems.len(), "directory", "directories"),
            some(tree.problems.iter().cloned())
        );
        let remedy = "make them yours and readable (chmod u+rwx), or move them elsewhere";
        report.say("folders", warning, text, remedy, "");
    }
    if !tree.beyond.is_empty() {
        let text = format!(
            "{} in {name}, such as {}, do not lie as :layout {} says, and are not watched",
            count(tree.beyond.len(), "folder", "folders"),
            some(tree.beyond.iter().map(|it| shown(it))),
            layout(root.layout)
        );
        let remedy = "set :layout of the account to auto, or leave it out";
        return report.say("layout", warning, text, remedy, ACCOUNTS);
    }
    if tree.folders.is_empty() {
        let text = format!("no folder is in {name} (a directory with cur, new and tmp)");
        let remedy = "correct :maildir in mailsync-accounts, or have the syncer make folders";
        return report.say("folders", warning, text, remedy, ACCOUNTS);
    }
    let folders = count(tree.folders.len(), "folder", "folders");
    if tree.dotted > 0 && tree.nested > 0 {
        let text = format!(
            "{name} has two layouts: {} as in .a.b (Maildir++), {} as in a/b (nested)",
            tree.dotted, tree.nested
        );
        let remedy = "set :layout of the account, if one of them is left over";
        return report.say("layout", Level::Note, text, remedy, ACCOUNTS);
    }
    let lie = match (tree.dotted, tree.nested) {
        (0, 0) => "itself",
        (_, 0) => "laid out as Maildir++",
        _ => "nested",
    };
    report.ok("layout", format!("{folders} in {name}, {lie}"));
}

fn synced(report: &mut Report, facts: &Account, syncer: &Syncer) {
    match &syncer.program {
        Err(text) => {
            let (text, remedy) = parts(text);
            report.say("syncer", Level::Problem, text, remedy, ACCOUNTS);
        }
        // Lisp asks these for their version.
        Ok(_) if matches!(&*syncer.called, "mbsync" | "offlineimap") => {}
        Ok(program) => {
            let text = format!("{} is {}", syncer.called, program.display());
            report.ok("syncer", text);
        }
    }
    match &syncer.inspection {
        Ok(None) => {}
        Err(text) => {
            let (text, remedy) = parts(text);
            report.say("syncer's file", Level::Problem, text, remedy, ACCOUNTS);
        }
        Ok(Some(inspection)) => {
            covered(report, facts, syncer, inspection);
            places(report, facts, syncer, inspection);
            waits(report, syncer, inspection);
            if let Some(holder) = inspection.lock {
                let text = match holder {
                    Some(pid) => format!("process {pid} holds OfflineIMAP's lock: it syncs now"),
                    None => "another process holds OfflineIMAP's lock: it syncs now".to_owned(),
                };
                let remedy = "nothing, if that is mailsync's own; end what else syncs this account";
                report.say("lock", Level::Note, text, remedy, "");
            }
        }
    }
}

/// Folders of ours that the syncer leaves out.
fn covered(report: &mut Report, facts: &Account, syncer: &Syncer, inspection: &Inspection) {
    let file = inspection.file.display();
    let at = format!("file {file}");
    let by = &syncer.called;
    let asked = inspection
        .unsynced
        .iter()
        .filter(|it| !syncer.ignored.contains(it));
    let asked: Vec<_> = asked.map(|it| shown(it)).collect();
    if inspection.synced == 0 && !inspection.unsynced.is_empty() {
        let text = format!(
            "{by} syncs none of the {} of this account, says {file}",
            count(inspection.unsynced.len(), "folder", "folders")
        );
        let remedy = "correct :maildir in mailsync-accounts, or the target or :config in :syncer";
        report.say("syncer's file", Level::Problem, text, remedy, ACCOUNTS);
    } else if !asked.is_empty() {
        let (verb, where_) = match &**by {
            "mbsync" => ("no channel syncs", "to Patterns of a channel in"),
            _ => ("OfflineIMAP does not sync", "to localfolders in"),
        };
        let text = format!(
            "{verb} {}: {}",
            count(asked.len(), "folder", "folders"),
            some(asked.into_iter())
        );
        let remedy = format!("add them {where_} {file}, or to :ignore if they are to stay here");
        report.say("syncer's file", Level::Note, text, remedy, at);
    } else if inspection.synced > 0 {
        let all = count(inspection.synced, "folder", "folders");
        let text = match inspection.filtered {
            true => format!("{by} syncs up to {all}; Python in {file} decides which"),
            false => format!("{by} syncs {all}, says {file}"),
        };
        report.ok("syncer's file", text);
    } else if facts.roots.is_empty() {
        report.ok("syncer's file", format!("{by} reads {file}"));
    }
}

/// Mail of the syncer's that nobody watches.
fn places(report: &mut Report, facts: &Account, syncer: &Syncer, inspection: &Inspection) {
    let is_watched = |place: &PathBuf| {
        let mut roots = facts.watched.iter();
        roots.any(|root| place.starts_with(root) || root.starts_with(place))
    };
    for (called, place) in &inspection.places {
        if !facts.watched.is_empty() && !is_watched(place) {
            let place = place.display();
            let text = format!(
                "{} keeps mail in {place} ({called}), which no account watches",
                syncer.called
            );
            let remedy = format!("add {place} to :maildir of this account");
            report.say("syncer's file", Level::Warning, text, remedy, ACCOUNTS);
        }
    }
}

/// How long the syncer waits for servers.
fn waits(report: &mut Report, syncer: &Syncer, inspection: &Inspection) {
    let file = inspection.file.display();
    let at = format!("file {file}");
    let by = &syncer.called;
    let mbsync = by == "mbsync";
    let mut most = 0;
    for wait in &inspection.waits {
        let of = &wait.of;
        let silence = syncer.silence.map(|it| it.as_secs());
        if wait.seconds == 0 {
            let (text, remedy) = match mbsync {
                true => (
                    format!(
                        "mbsync waits for ever for a server that says nothing (Timeout 0 of {of})"
                    ),
                    format!("write Timeout 20 there, in {file}"),
                ),
                false => (
                    "OfflineIMAP waits for ever for a server that says nothing".to_owned(),
                    format!("write socktimeout = 60 into [general] of {file}"),
                ),
            };
            report.say("time-outs", Level::Warning, text, remedy, at.clone());
        } else if silence.is_some_and(|silence| wait.seconds >= silence) {
            let text = format!(
                "{by} waits {} s for a server ({of}), but mailsync ends it after {} s of silence",
                wait.seconds,
                silence.unwrap_or_default()
            );
            let remedy = "raise mailsync-sync-timeout";
            let at = "option mailsync-sync-timeout";
            report.say("time-outs", Level::Note, text, remedy, at);
        } else {
            most = most.max(wait.seconds);
        }
    }
    if most > 0 {
        report.ok(
            "time-outs",
            format!("{by} waits at most {most} s for a server"),
        );
    }
    if let Some(connections) = inspection.connections.filter(|it| *it > CONNECTIONS) {
        let text =
            format!("OfflineIMAP makes {connections} connections at a time; servers allow few");
        let remedy = format!("lower maxconnections in {file}");
        report.say("time-outs", Level::Note, text, remedy, at);
    }
}

fn lock(report: &mut Report, facts: &Account) {
    let process =
        |pid: Option<u32>| pid.map_or("a process".to_owned(), |it| format!("process {it}"));
    match facts.lock {
        None => {}
        Some(Seen::Free) => report.ok("lock", "no other Emacs syncs it"),
        Some(Seen::Emacs(pid)) if pid == Some(facts.process) => {
            report.ok("lock", "this Emacs syncs it, and no other");
        }
        Some(Seen::Emacs(pid)) => {
            let text = format!(
                "another Emacs ({}) syncs it; this one watches and checks",
                process(pid)
            );
            let remedy = "nothing; or M-x mailsync-stop there, and this one takes over";
            report.say("lock", Level::Note, text, remedy, "");
        }
        Some(Seen::Run(pid)) => {
            let text = format!("a sync ({}) whose Emacs is gone still runs", process(pid));
            let remedy = "wait until it ends, or end it (kill)";
            report.say("lock", Level::Warning, text, remedy, "");
        }
    }
}

/// What follows from the facts about the machine.
#[must_use]
pub fn machine(facts: &Machine) -> Vec<Finding> {
    let mut report = Report::new("this machine");
    let watches = raise_inotify(Inotify::Watches);
    let instances = raise_inotify(Inotify::Instances);
    let directories = ("watched directory", "watched directories");
    limit(&mut report, facts.watches, directories, &watches);
    limit(
        &mut report,
        facts.instances,
        ("watcher", "watchers"),
        &instances,
    );
    let files = facts
        .files
        .map_or_else(String::new, |it| raise_files(it.most));
    limit(
        &mut report,
        facts.files,
        ("open file", "open files"),
        &files,
    );
    told(&mut report, &facts.support);
    runtime(&mut report, facts);
    if let Some(socket) = &facts.listen {
        listen(&mut report, socket);
    }
    report.findings
}

fn limit(report: &mut Report, limit: Option<Limit>, (one, more): (&str, &str), remedy: &str) {
    let Some(Limit { most, used, needed }) = limit else {
        return;
    };
    let free = most.saturating_sub(used);
    let of = if needed == 1 { one } else { more };
    let text = format!("{needed} {of} needed; {most} allowed, {used} of them in use already");
    if needed > free {
        let text = format!("{text}: what does not fit is looked at from time to time");
        report.say("limits", Level::Problem, text, remedy, "");
    } else if needed.saturating_mul(5) > free.saturating_mul(4) {
        report.say("limits", Level::Warning, text, remedy, "");
    } else {
        report.ok("limits", text);
    }
}

fn told(report: &mut Report, support: &[Support]) {
    for it in support {
        let Some(why) = &it.refused else { continue };
        let (what, remedy) = match it.what {
            Told::Sleep => ("that it slept", "M-x mailsync-restart after a sleep"),
            Told::Clock => ("that its clock was set", "M-x mailsync-restart after that"),
            Told::Network => (
                "that its network changed",
                "M-x mailsync-resume when the network is back and something waits",
            ),
            Told::Mounts => (
                "what is mounted, which is looked for from time to time",
                "M-x mailsync-restart after mounting a disk with mail",
            ),
        };
        let command = match it.what {
            Told::Network => "command mailsync-resume",
            _ => "command mailsync-restart",
        };
        let text = format!("the kernel does not tell {what}: {why}");
        report.say("sleep and network", Level::Warning, text, remedy, command);
    }
    if !support.is_empty() && support.iter().all(|it| it.refused.is_none()) {
        let text = "the kernel tells of sleep, of a clock that is set, of networks and mounts";
        report.ok("sleep and network", text);
    }
}

fn runtime(report: &mut Report, facts: &Machine) {
    let check = "XDG_RUNTIME_DIR";
    let remedy = "start Emacs from a login session that sets XDG_RUNTIME_DIR";
    let why = facts.refused.join("; ");
    match (&facts.locks, &facts.runtime) {
        (None, _) => {
            let text = format!(
                "other instances of Emacs are not kept from syncing at the same time: {why}"
            );
            report.say(check, Level::Problem, text, remedy, "");
        }
        (Some(locks), Some(runtime)) if locks.starts_with(runtime) => {
            report.ok(check, format!("locks are in {}", locks.display()));
        }
        (Some(locks), Some(runtime)) => {
            let locks = locks.display();
            let text = format!(
                "{} cannot be used ({why}); locks are in {locks}",
                runtime.display()
            );
            report.say(check, Level::Warning, text, remedy, "");
        }
        (Some(locks), None) => {
            let locks = locks.display();
            let text = format!("XDG_RUNTIME_DIR is not set; locks are in {locks}");
            let remedy = "nothing, if no other Emacs has it set; otherwise set it for this one";
            report.say(check, Level::Note, text, remedy, "");
        }
    }
}

fn listen(report: &mut Report, socket: &Socket) {
    let file = socket.file.display();
    let option = "option mailsync-listen";
    match &socket.refused {
        Some(why) => {
            let remedy = "name a socket in a directory of your own, that nobody else can enter";
            report.say("socket", Level::Problem, why.clone(), remedy, option);
        }
        None if socket.there => {
            report.ok(
                "socket",
                format!("programs are told at {file} what was checked"),
            );
        }
        None => {
            let text = format!("no socket is at {file}: programs are not told what was checked");
            let remedy = "M-x mailsync-start, or M-x mailsync-restart";
            report.say(
                "socket",
                Level::Warning,
                text,
                remedy,
                "command mailsync-restart",
            );
        }
    }
}

/// What follows from a connection that was tried.
#[must_use]
pub fn reached(host: &str, port: u16, reached: Result<Duration, String>) -> Finding {
    let mut report = Report::new(&format!("server {host}"));
    match reached {
        Ok(took) => {
            let text = format!("port {port} answers, after {} ms", took.as_millis());
            report.ok("server", text);
        }
        Err(error) => {
            let text = format!("port {port} does not answer: {error}");
            let remedy = "check the network, then :host and :port in mailsync-accounts";
            report.say("server", Level::Problem, text, remedy, ACCOUNTS);
        }
    }
    report.findings.remove(0)
}

/// What a refusal says, and what it says to do: it has both in one line.
fn parts(text: &str) -> (String, String) {
    match text.rsplit_once("; ") {
        Some((text, remedy)) => (text.to_owned(), remedy.to_owned()),
        None => (
            text.to_owned(),
            "mend :syncer in mailsync-accounts".to_owned(),
        ),
    }
}

fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::Auto => "auto",
        Layout::MaildirPlusPlus => "maildir++",
        Layout::Nested => "nested",
    }
}

fn count(number: usize, one: &str, more: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {more}"),
    }
}

/// The first of them, and that there are more.
fn some(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named: Vec<_> = names.take(NAMED).collect();
    let named = named.join(", ");
    match more {
        0 => named,
        _ => format!("{named} and {more} more"),
    }
}

/// A name for people.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars()
        .map(|it| if it.is_control() { '?' } else { it })
        .collect()
}

const OVERLAY: &str = "overlay";

/// Names of file systems by their numbers (statfs(2), `linux/magic.h`).
fn called(kind: u32) -> Option<&'static str> {
    let name = match kind {
        0x0000_6969 => "NFS",
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9p",
        0x786f_4256 => "a shared folder of VirtualBox",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x794c_7630 => OVERLAY,
        0x0000_ef53 => "ext4",
        0x9123_683e => "btrfs",
        0x5846_5342 => "XFS",
        0x2fc1_2fc1 => "ZFS",
        0xf2f5_2010 => "F2FS",
        0x0102_1994 => "tmpfs",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests;
