//! The lines of mbsync that are about single boxes.
//!
//! What they say of one, and by which name; what that means for a run, `judge` knows.

use std::path::Path;
use std::sync::Arc;

use crate::maildir::message::{MessageName, number};
use crate::maildir::utf7;
use crate::syncer::mbsync::state::highest;
use crate::syncer::unpushed::list;

/// What is wrong with a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The far side cannot be opened.
    Far,
    /// The near side cannot be opened.
    Near,
    /// Neither can.
    Both,
    /// Its messages have other numbers than before.
    Renumbered,
    /// Another process syncs it.
    Locked,
    /// What mbsync knows of it cannot be read; its name is that of the file.
    State,
    /// The server will never make it; its name is as the server spells it.
    Refused,
}

impl Trouble {
    /// Whether an error just before one of this kind says why: one of the store does.  What a server
    /// answers to a command is about another box, for of one that cannot be selected nothing is printed.
    pub(super) fn is_explained_by(self, line: &str) -> bool {
        match self {
            Trouble::Far => line.starts_with("IMAP error: "),
            Trouble::Near => line.starts_with("Maildir error: "),
            Trouble::Both => ["IMAP error: ", "Maildir error: "]
                .iter()
                .any(|start| line.starts_with(start)),
            Trouble::Renumbered | Trouble::Locked | Trouble::State | Trouble::Refused => false,
        }
    }
}

/// An error about a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken<'a> {
    pub(super) trouble: Trouble,
    pub(super) channel: &'a str,
    pub(super) name: &'a str,
    pub(super) line: &'a str,
    /// The line before, if it says why.
    pub(super) reason: Option<&'a str>,
}

impl<'a> Broken<'a> {
    pub(super) fn of(line: &'a str) -> Option<Self> {
        let broken = |trouble, channel, name| {
            Some(Broken {
                trouble,
                channel,
                name,
                line,
                reason: None,
            })
        };
        if let Some(name) = damaged(line) {
            return broken(Trouble::State, "", name);
        }
        if let Some(name) = refused(line) {
            return broken(Trouble::Refused, "", name);
        }
        // What it only warns of does not make mbsync fail.
        let rest = line.strip_prefix("Error: channel ")?;
        if let Some(pair) = rest.strip_suffix(" is locked") {
            return broken(Trouble::Locked, "", pair);
        }
        if let Some(start) = rest.strip_suffix(" changed.")
            && let Some((channel, names)) = start.split_once(": UIDVALIDITY of both far side ")
        {
            let name = names.split(" and near side ").next().unwrap_or(names);
            return broken(Trouble::Renumbered, channel, name);
        }
        for (joint, trouble) in [
            (": both far side ", Trouble::Both),
            (": far side box ", Trouble::Far),
            (": near side box ", Trouble::Near),
        ] {
            if let Some((channel, names)) = rest.split_once(joint)
                && let Some((names, _)) = names.rsplit_once(" cannot be opened")
            {
                let both = names.split_once(" and near side ");
                let name = both.filter(|_| trouble == Trouble::Both);
                return broken(trouble, channel, name.map_or(names, |(name, _)| name));
            }
        }
        for joint in [", far side box ", ", near side box "] {
            if let Some((channel, names)) = rest.split_once(joint)
                && let Some((name, what)) = names.rsplit_once(": ")
                && what.contains("UIDVALIDITY")
            {
                return broken(Trouble::Renumbered, channel, name);
            }
        }
        None
    }
}

/// An error about a box that says a UID in it instead of its name.
pub(super) struct Misnumbered<'a> {
    pub(super) uid: u32,
    pub(super) line: &'a str,
    /// The truenames of folders that it may be about.
    pub(super) folders: Vec<Arc<Path>>,
}

impl<'a> Misnumbered<'a> {
    /// Looks which of these folders have such a message.  Mostly somebody has moved or copied it as
    /// it was called in another folder.
    pub(super) fn of(line: &'a str, folders: &[Arc<Path>]) -> Option<Self> {
        let rest = line.strip_prefix("Maildir error: ")?.strip_suffix('.')?;
        let twice = rest.strip_prefix("duplicate UID ");
        let beyond = rest.strip_prefix("UID ").and_then(|rest| {
            let (uid, _) = rest.split_once(" is beyond highest assigned UID ")?;
            Some(uid)
        });
        let wrong = number(twice.or(beyond)?.as_bytes())?;
        let is_wrong = |folder: &Path| {
            let names = list(folder).ok()?;
            let count = names
                .iter()
                .filter(|it| MessageName::of(it).uid() == Some(wrong))
                .count();
            Some(match twice {
                Some(_) => count > 1,
                None => count > 0 && highest(folder)? < wrong,
            })
        };
        let folders = folders.iter().filter(|it| is_wrong(it) == Some(true));
        let folders: Vec<_> = folders.cloned().collect();
        (!folders.is_empty()).then_some(Misnumbered {
            uid: wrong,
            line,
            folders,
        })
    }
}

/// The mailbox, if a line says that the server cannot make it and never will, or not for this user: mbsync
/// says no more of it.  The response codes are those of RFC 5530.
fn refused(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("IMAP command 'CREATE \"")?;
    let (name, answer) = rest.split_once("\"' returned an error: NO ")?;
    let never = ["[CANNOT]", "[NOPERM]"];
    never
        .iter()
        .any(|code| answer.starts_with(code))
        .then_some(name)
}

/// Whether a server that spells a mailbox so may mean the box with this name.
pub(super) fn spells(spelled: &str, name: &str) -> bool {
    let encoded: Vec<_> = name
        .split('/')
        .map(|it| utf7::spell(it.as_bytes()))
        .collect();
    let raw: Vec<_> = name.split('/').map(|it| it.as_bytes().to_vec()).collect();
    ["/", "."].iter().any(|separator| {
        [&raw, &encoded].iter().any(|levels| {
            let form = levels.join(separator.as_bytes());
            // It may lie below a namespace.
            let above = spelled.as_bytes().strip_suffix(&form[..]);
            above.is_some_and(|above| above.is_empty() || above.ends_with(separator.as_bytes()))
        })
    })
}

/// The file, if a line says that what is in it about a box is damaged.
fn damaged(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Error: ")?;
    let parts = [
        "sync state header",
        "sync state entry",
        "journal header",
        "journal entry",
    ];
    let (what, _) = rest.split_once('/')?;
    if !parts.iter().any(|part| what.contains(part)) {
        return None;
    }
    let file = &rest[what.len()..];
    let file = file.strip_suffix(" refers to non-existing sync state entry");
    let file = file.unwrap_or(&rest[what.len()..]);
    let number = |end: &str| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
    Some(match file.rsplit_once(':') {
        Some((file, line)) if number(line) => file,
        _ => file,
    })
}
