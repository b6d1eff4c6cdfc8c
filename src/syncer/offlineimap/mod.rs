//! OfflineIMAP: from an order to its command line, and from what it printed to how it went.
//!
//! It is told folders by their *remote* names (`-f`), and messages of it use local ones.  Without
//! Python in the configuration one follows from the other; with it (`nametrans`, `folderfilter`)
//! a run of the whole account reports both (`-u machineui`), and later runs use what that taught.
//! Where a name cannot be had, or not be said, the whole account is synced: never less than asked.
//!
//! - `ini`: the syntax of its configuration.
//! - `config`: what the configuration says about an account.
//! - `report`: what it prints, as records.
//! - `judge`: what those mean.
//! - `status`: its own record of a folder.
//!
//! Processes are `run`'s business.  Measured with offlineimap3
//! 8.0.0.

mod config;
mod ini;
mod judge;
mod report;
#[cfg(feature = "offlineimap-state")]
mod status;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::inspect::{Inspection, Wait};
use super::plan::{self, LONGEST, OTHERWISE, Plan, Refused};
use super::unpushed::Unpushed;
use super::{Memory, Order, Outcome, Program, Scope};
use crate::change::Folder;
use crate::maildir::utf7;
use config::{Setup, refused};

pub(crate) use config::survey;

pub use ini::Ini;
pub use judge::judge;
pub use report::Report;
#[cfg(feature = "offlineimap-state")]
pub use status::read as read_record;

/// The interface that reports each folder's remote and local name; the other is `quiet`.
const TEACHING: &str = "machineui";

/// Make a plan.
///
/// # Errors
/// When OfflineIMAP would not get anywhere: no program, a configuration without that account, or
/// another process that syncs it.  The last is looked up here because to find out by trying has
/// OfflineIMAP delete the other's lock.
pub fn plan(order: &Order) -> Result<Plan, Refused> {
    let Program::OfflineImap {
        program,
        config,
        args,
        ..
    } = &order.syncer.program
    else {
        return Err(refused("this syncer is not OfflineIMAP"));
    };
    let mut argv = vec![plan::find(program, &order.syncer.search, OTHERWISE)?.into_os_string()];
    let setup = Setup::load(order)?;
    if let Some(holder) = holder(&setup.lock) {
        return Err(locked(&setup, holder));
    }
    let memory = remembered(order, &setup);
    let (names, folders) = name_all(order, &setup, &memory);
    let teaching = setup.translated && folders.is_none();

    argv.extend(args.iter().cloned());
    if let Some(config) = config {
        argv.extend(["-c".into(), config.into()]);
    }
    let interface = if teaching { TEACHING } else { "quiet" };
    argv.extend(["-o", "-u", interface, "-a", &setup.account].map(OsString::from));
    if order.quick {
        argv.push("-q".into());
    }
    let everything = folders.is_none();
    if everything && !setup.translated {
        no_line_breaks(&setup)?;
    }
    if let Some(folders) = folders {
        argv.extend(["-f".into(), folders]);
    }
    Ok(Plan {
        argv,
        environment: plan::environment(order),
        everything,
        names,
        memory,
        config: Some(setup.file),
    })
}

/// What these folders differ from their servers in, says OfflineIMAP's own record.
///
/// # Errors
/// As [`plan`]; and when this was built without a reader.
#[cfg(feature = "offlineimap-state")]
pub fn unpushed(order: &Order, folders: &[Arc<Folder>]) -> Result<Vec<Unpushed>, Refused> {
    let setup = Setup::load(order)?;
    if let Some(holder) = holder(&setup.lock) {
        return Err(locked(&setup, holder));
    }
    if setup.windows {
        return Err(refused(
            "names as maildir-windows-compatible makes them are not read",
        ));
    }
    let memory = remembered(order, &setup);
    let local_name = local_names(&setup);
    let each = folders.iter().map(|folder| {
        let Some(local) = local_name(folder) else {
            return Unpushed::Unknown("OfflineIMAP has no such folder".to_owned());
        };
        let Ok(name) = str::from_utf8(&local) else {
            return Unpushed::Unknown("its name is no text".to_owned());
        };
        let file = status::file(&setup.metadata, name, &setup.separator);
        // Files are marked by the name after translation, with levels as here: Python knows it, but
        // it is the server's but for the separator.
        let mut names = vec![local.clone()];
        for remote in remote_names(folder, Some(&local), &setup, &memory) {
            let separators = [b'/', b'.'].map(|there| {
                let levels: Vec<_> = remote.split(|byte| *byte == there).collect();
                levels.join(setup.separator.as_bytes())
            });
            names.extend(separators.into_iter().chain([remote]));
        }
        status::unpushed(&folder.directory, &file, &names)
    });
    let each = each.collect();
    // One that began meanwhile has not written all of its records yet.
    match holder(&setup.lock) {
        Some(holder) => Err(locked(&setup, holder)),
        None => Ok(each),
    }
}

/// What the configuration says to somebody who looks for a fault: see [`super::inspect::inspect`].
///
/// # Errors
/// When OfflineIMAP would refuse to run, but for its lock.
pub fn inspect(order: &Order, folders: &[Arc<Folder>]) -> Result<Inspection, Refused> {
    let setup = Setup::load(order)?;
    let local_name = local_names(&setup);
    let unsynced = folders.iter().filter(|it| local_name(it).is_none());
    let unsynced: Vec<_> = unsynced.map(|folder| folder.name.to_vec()).collect();
    let place = setup.local.iter().map(|local| {
        let called = format!("localfolders of account {}", setup.account);
        (called, super::paths::truename(local))
    });
    Ok(Inspection {
        synced: folders.len() - unsynced.len(),
        unsynced,
        filtered: setup.translated,
        places: place.collect(),
        waits: vec![Wait {
            of: "socktimeout".to_owned(),
            seconds: setup.timeout,
        }],
        connections: Some(setup.connections),
        lock: holder(&setup.lock),
        file: setup.file.clone(),
    })
}

/// Without a reader nothing is known.
///
/// # Errors
/// Always.
#[cfg(not(feature = "offlineimap-state"))]
pub fn unpushed(_order: &Order, _folders: &[Arc<Folder>]) -> Result<Vec<Unpushed>, Refused> {
    Err(refused(
        "this module was built without a reader of OfflineIMAP's records",
    ))
}

/// OfflineIMAP gives up the account (or hangs) at a folder whose name has a line break, unless an
/// expression leaves it out: only that expression knows.
fn no_line_breaks(setup: &Setup) -> Result<(), Refused> {
    let Some(local) = &setup.local else {
        return Ok(());
    };
    let folders = plan::found_in(std::slice::from_ref(local));
    let broken = folders.iter().find(|folder| {
        let below = folder.directory.strip_prefix(local);
        below.is_ok_and(|below| below.as_os_str().as_bytes().contains(&b'\n'))
    });
    match broken {
        None => Ok(()),
        Some(folder) => Err(refused(&format!(
            "OfflineIMAP cannot sync an account with a line break in the name of a folder: rename \
             {:?}, or leave it out by folderfilter in {}",
            folder.directory,
            setup.file.display()
        ))),
    }
}

/// What earlier runs learned, as far as it holds for this configuration.
fn remembered(order: &Order, setup: &Setup) -> Memory {
    let of = Some((setup.file.clone(), setup.changed));
    if order.memory.of == of {
        order.memory.clone()
    } else {
        Memory {
            remote_names: HashMap::new(),
            of,
        }
    }
}

/// What messages call the folders of an order, and what `-f` is to say; `None`: the whole account.
fn name_all(
    order: &Order,
    setup: &Setup,
    memory: &Memory,
) -> (HashMap<Vec<u8>, Arc<Path>>, Option<OsString>) {
    let Scope::Folders(folders) = &order.scope else {
        return (HashMap::new(), None);
    };
    let local_name = local_names(setup);
    let mut names = HashMap::new();
    // OfflineIMAP splits at every comma, and without any name it syncs all.
    let mut said = Vec::new();
    let mut complete = !folders.is_empty();
    for folder in folders {
        let local = local_name(folder);
        let remote = remote_names(folder, local.as_deref(), setup, memory);
        complete &= !remote.is_empty() && remote.iter().all(|name| sayable(name));
        for name in local.iter().chain(&remote) {
            names.insert(name.clone(), folder.real.clone());
        }
        said.extend(remote.iter().map(|name| escape(name)));
    }
    let said = said.join(&b',');
    complete &= said.len() <= LONGEST;
    (names, complete.then(|| OsString::from_vec(said)))
}

/// What OfflineIMAP calls folders locally; the root's truename is looked up once.
fn local_names(setup: &Setup) -> impl Fn(&Folder) -> Option<Vec<u8>> {
    let root = setup.local.as_deref();
    let root = root.and_then(|root| Some((root, fs::canonicalize(root).ok()?)));
    move |folder| {
        let (root, real) = root.as_ref()?;
        local_name(folder, root, real, &setup.separator)
    }
}

/// What OfflineIMAP calls a folder locally: its path below the root.  `None` where that has no
/// such folder.
fn local_name(folder: &Folder, root: &Path, real: &Path, separator: &str) -> Option<Vec<u8>> {
    if folder.directory.as_os_str().is_empty() {
        return None;
    }
    // Both may be spelled through different links.
    let spelled = folder.directory.strip_prefix(root).ok();
    let below = spelled.or_else(|| {
        let mut above = folder.directory.ancestors();
        let root = above.find(|path| fs::canonicalize(path).is_ok_and(|path| path == real))?;
        folder.directory.strip_prefix(root).ok()
    })?;
    let entries = below.components().map(|component| match component {
        Component::Normal(entry) => Some(entry.as_bytes()),
        _ => None,
    });
    let entries = entries.collect::<Option<Vec<_>>>()?;
    // Only with the separator `/` does it look into directories.
    (separator == "/" || entries.len() < 2).then(|| entries.join(&b'/'))
}

/// The remote names that a folder may have; none where they cannot be known.
fn remote_names(
    folder: &Folder,
    local: Option<&[u8]>,
    setup: &Setup,
    memory: &Memory,
) -> Vec<Vec<u8>> {
    if setup.translated {
        let known = local.and_then(|local| memory.remote_names.get(local));
        return known.into_iter().cloned().collect();
    }
    let levels = match local {
        Some(local) => split(local, setup.separator.as_bytes()),
        None if folder.directory.as_os_str().is_empty() => spell(&folder.name, setup.utf8),
        None => None,
    };
    match levels {
        None => Vec::new(),
        Some(levels) if levels.iter().any(Vec::is_empty) => Vec::new(),
        Some(levels) if levels.len() < 2 => levels,
        // Only the server knows its separator; of two names it ignores the one that it has not.
        Some(levels) => vec![levels.join(&b'/'), levels.join(&b'.')],
    }
}

/// The levels of a local name.
fn split(name: &[u8], separator: &[u8]) -> Option<Vec<Vec<u8>>> {
    if separator.is_empty() {
        return None;
    }
    let mut levels = vec![Vec::new()];
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(separator) {
            levels.push(Vec::new());
            rest = after;
        } else {
            if let Some(level) = levels.last_mut() {
                level.push(byte);
            }
            rest = tail;
        }
    }
    Some(levels)
}

/// The levels of a folder that is only on the server, as they are spelled there.
fn spell(canonical: &[u8], utf8: bool) -> Option<Vec<Vec<u8>>> {
    let text = str::from_utf8(canonical).ok()?;
    let levels = text.split('/').map(|level| {
        if utf8 {
            level.as_bytes().to_vec()
        } else {
            utf7::encode(level)
        }
    });
    Some(levels.collect())
}

/// Whether `-f` can say a name.
fn sayable(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&b',') && str::from_utf8(name).is_ok()
}

/// What `-f` says becomes a value of OfflineIMAP's configuration, where `%` begins a reference.
fn escape(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for byte in name {
        escaped.push(*byte);
        if *byte == b'%' {
            escaped.push(b'%');
        }
    }
    escaped
}

/// The process that holds a lock, with its number where that is known.  Only asks.
fn holder(lock: &Path) -> Option<Option<i32>> {
    // Never created, never waited for (it could be a pipe).  That closing it would release a lock
    // of our own does not matter: nobody in Emacs has one there.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(lock);
    let file: File = file.ok()?;
    let found = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    Some(found.pid.map(|pid| pid.as_raw_nonzero().get()))
}

fn locked(setup: &Setup, holder: Option<i32>) -> Refused {
    let who = match holder {
        Some(pid) => format!("process {pid} syncs"),
        None => "another process syncs".to_owned(),
    };
    Refused {
        outcome: Outcome::Locked,
        text: format!(
            "{who} OfflineIMAP's account {} ({} is locked)",
            setup.account,
            setup.lock.display()
        ),
    }
}

#[cfg(test)]
mod tests;
