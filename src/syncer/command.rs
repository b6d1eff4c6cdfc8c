//! Any command: from an order and placeholders to its command line, and from its exit code to how
//! it went.
//!
//! Nothing is known of the program but what the user says.  Where its arguments cannot name the
//! folders (a comma in a list of commas, a name that looks like an option, too many of them), it
//! is run for the whole account: never less than asked.  No shell reads anything.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::outcome::{self, Exit, Verdict};
use super::plan::{self, LONGEST, Plan, Refused};
use super::{Command, Naming, Order, Outcome, Output, Program, Scope};
use crate::change::Folder;
use crate::maildir::{INBOX, utf7};

/// Make a plan.
///
/// # Errors
/// When there is no program.
pub fn plan(order: &Order) -> Result<Plan, Refused> {
    let (Program::Command(command), Some((program, words))) = (&order.syncer.program, words(order))
    else {
        return Err(Refused {
            outcome: Outcome::Config,
            text: "the syncer is a command without any words; give its program and arguments"
                .to_owned(),
        });
    };
    let program = plan::find(
        program,
        &order.syncer.search,
        "correct the command in :syncer",
    )?;
    let named = match &order.scope {
        Scope::Folders(folders) if command.per_folder => for_folders(
            command,
            words,
            &order.account,
            folders.iter().map(|folder| &**folder),
        ),
        _ => None,
    };
    if named.is_none() && order.answered && !words.iter().any(names_folders) {
        // It is an answer for these folders, whatever they are.
        return Ok(Plan {
            argv: [vec![program.into_os_string()], words.to_vec()].concat(),
            environment: plan::environment(order),
            everything: order.scope == Scope::Everything,
            names: HashMap::new(),
            memory: order.memory.clone(),
            config: None,
        });
    }
    let everything = named.is_none();
    let arguments = named.unwrap_or_else(|| {
        let words = command.all.as_deref().unwrap_or(words);
        let words = words.iter().filter(|word| !names_folders(word));
        let fill = |word: &OsString| fill(word.as_bytes(), &[(b'a', order.account.as_bytes())]);
        words.map(fill).collect()
    });
    // A command that reads MAILSYNC_FOLDERS must not sync less than the plan says.
    let whole = everything.then(|| Order {
        scope: Scope::Everything,
        ..order.clone()
    });
    Ok(Plan {
        argv: [vec![program.into_os_string()], arguments].concat(),
        environment: plan::environment(whole.as_ref().unwrap_or(order)),
        everything,
        names: HashMap::new(),
        memory: order.memory.clone(),
        config: None,
    })
}

/// The program and its arguments, as the user wrote them.
fn words(order: &Order) -> Option<(&OsStr, &[OsString])> {
    let Program::Command(command) = &order.syncer.program else {
        return None;
    };
    let (program, words) = command.words.split_first()?;
    Some((program, words))
}

/// The arguments for some folders; `None` where they cannot name each of them.
fn for_folders<'a>(
    command: &Command,
    words: &[OsString],
    account: &str,
    folders: impl Iterator<Item = &'a Folder>,
) -> Option<Vec<OsString>> {
    let folders: Vec<(Vec<u8>, &[u8])> = folders
        .map(|folder| {
            (
                called(command, folder),
                folder.directory.as_os_str().as_bytes(),
            )
        })
        .collect();
    let every = |letter| words.iter().any(|word| occurs(word, letter));
    let by_name = every(b'f') || every(b'F');
    let by_directory = every(b'd') && folders.iter().all(|(_, place)| !place.is_empty());
    if folders.is_empty() || !(by_name || by_directory) {
        return None;
    }
    let names: Vec<&[u8]> = folders.iter().map(|(name, _)| name.as_slice()).collect();
    if every(b'F') && names.iter().any(|name| name.contains(&b',')) {
        return None;
    }
    let all = names.join(&b',');
    let mut arguments = Vec::new();
    let mut options = true;
    for word in words {
        let mut fillings = vec![(b'a', account.as_bytes()), (b'F', all.as_slice())];
        let from = arguments.len();
        if occurs(word, b'f') || occurs(word, b'd') {
            for (name, place) in &folders {
                if occurs(word, b'd') && place.is_empty() {
                    continue;
                }
                fillings.truncate(2);
                fillings.extend([(b'f', name.as_slice()), (b'd', place)]);
                arguments.push(fill(word.as_bytes(), &fillings));
            }
        } else {
            arguments.push(fill(word.as_bytes(), &fillings));
        }
        // The server gives names: none of them shall become an option.
        let dash = |word: &OsString| word.as_bytes().starts_with(b"-");
        let mut made = arguments.iter().skip(from);
        if options && names_folders(word) && !dash(word) && made.any(dash) {
            return None;
        }
        options &= word != "--";
    }
    let length: usize = arguments.iter().map(|word| word.len() + 1).sum();
    (length <= LONGEST).then_some(arguments)
}

/// What the command calls a folder.
fn called(command: &Command, folder: &Folder) -> Vec<u8> {
    spelled(
        (command.naming, &command.separator, &command.prefix),
        folder,
    )
}

/// A folder's name as these say: how letters are written, what stands between levels, what before.
pub(super) fn spelled(
    (naming, separator, prefix): (Naming, &Option<String>, &Option<String>),
    folder: &Folder,
) -> Vec<u8> {
    // It is the same everywhere, outside any prefix.
    if &*folder.name == INBOX {
        return folder.name.to_vec();
    }
    let separator = separator.as_deref().unwrap_or("/");
    let levels = folder.name.split(|byte| *byte == b'/');
    let levels = levels.map(|level| match naming {
        Naming::Imap => utf7::spell(level),
        Naming::Utf8 => level.to_vec(),
    });
    let levels: Vec<Vec<u8>> = levels.collect();
    let prefix = prefix.as_deref().unwrap_or_default();
    [prefix.as_bytes(), &levels.join(separator.as_bytes())].concat()
}

/// Whether a folder or a directory would stand in a word.
fn names_folders(word: &OsString) -> bool {
    b"fFd".iter().any(|letter| occurs(word, *letter))
}

/// Whether a placeholder stands in a word.
fn occurs(word: &OsStr, letter: u8) -> bool {
    let mut rest = word.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%'
            && let Some((&next, tail)) = rest.split_first()
        {
            if next == letter {
                return true;
            }
            rest = tail;
        }
    }
    false
}

/// A word with its placeholders filled; unknown ones stay as they are.
fn fill(word: &[u8], fillings: &[(u8, &[u8])]) -> OsString {
    let mut filled = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let next = rest.first().copied().filter(|_| byte == b'%');
        let filling = fillings.iter().find(|(letter, _)| Some(*letter) == next);
        match (next, filling) {
            (Some(b'%'), _) => filled.push(b'%'),
            (_, Some((_, text))) => filled.extend_from_slice(text),
            _ => {
                filled.push(byte);
                continue;
            }
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    OsString::from_vec(filled)
}

/// Judge a run that ended by itself or by somebody else's signal.
#[must_use]
pub fn judge(order: &Order, plan: &Plan, exit: Exit, output: &Output) -> Verdict {
    let program =
        words(order).map_or_else(String::new, |(program, _)| program.display().to_string());
    by_code(order, plan, (&program, "exited with"), exit, output)
}

/// What the code means that a command exits with, and a worker says.
pub(super) fn by_code(
    order: &Order,
    plan: &Plan,
    (program, says): (&str, &str),
    exit: Exit,
    output: &Output,
) -> Verdict {
    let (outcome, advice) = match exit {
        Exit::Signal(_) => (Outcome::Interrupted, "it is run again"),
        Exit::Code(code) if code == 0 || order.syncer.success.contains(&code) => (Outcome::Ok, ""),
        Exit::Code(77) => (
            Outcome::Auth,
            "that says the server refuses the login: correct the user or the password",
        ),
        Exit::Code(78) => (
            Outcome::Config,
            "that says something is to be configured otherwise",
        ),
        Exit::Code(126 | 127) => (
            Outcome::Config,
            "that says a program in it is missing or may not be executed: \
             install it, or set exec-path",
        ),
        Exit::Code(_) => (Outcome::Transient, ""),
    };
    let what = match exit {
        Exit::Code(code) => format!("{program} {says} {code}"),
        Exit::Signal(signal) => format!("{program} was ended by signal {signal}"),
    };
    let line = match exit {
        Exit::Code(_) => outcome::lines(output).pop().unwrap_or_default(),
        Exit::Signal(_) => String::new(),
    };
    Verdict {
        outcome,
        text: if outcome == Outcome::Ok {
            String::new()
        } else {
            outcome::sentence(&what, &line, advice)
        },
        failed: Vec::new(),
        memory: plan.memory.clone(),
    }
}

#[cfg(test)]
mod tests;
