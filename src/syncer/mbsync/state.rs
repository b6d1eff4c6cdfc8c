//! mbsync's own record of what both sides of a box agree on (`.mbsyncstate`), as isync 1.4 and
//! 1.5 write it; those before 1.4 call the sides `Master` and `Slave`.
//!
//! A header of `NAME NUMBER` lines, an empty line, and a line `FAR NEAR FLAGS` for each message,
//! where 0 stands for a side that has not got it.  Written when a run ends; until then a journal
//! lies beside it.  What is not understood means that only a sync can tell.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::super::paths::read;
use super::super::unpushed::{Agreed, Unpushed, compare, list};
use super::records::Column;
use crate::maildir::message::{Flags, number};
use crate::maildir::{DiskFs, Fs};

/// What lies beside the file while a run is under way, or was interrupted.
const BUSY: [&str; 3] = [".lock", ".journal", ".new"];

/// What is said about a box.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// The UIDVALIDITY of the side that is here.
    pub validity: u32,
    /// Its messages that are here.
    pub agreed: Agreed,
}

/// Compare a folder with the state in this file.
pub fn unpushed(folder: &Path, file: &Path, column: Column) -> Unpushed {
    look(folder, file, column).unwrap_or_else(Unpushed::Unknown)
}

fn look(folder: &Path, file: &Path, column: Column) -> Result<Unpushed, String> {
    let cannot = |path: &Path, error: &dyn std::fmt::Display| {
        format!("{} cannot be read: {error}", path.display())
    };
    let stat = || {
        DiskFs.stat(file).map_err(|error| match error.kind() {
            ErrorKind::NotFound => "it was never synced".to_owned(),
            _ => cannot(file, &error),
        })
    };
    let busy = || {
        let beside = BUSY.iter().map(|ending| {
            let mut name = OsString::from(file);
            name.push(ending);
            name
        });
        let mut there = beside.filter(|name| fs::symlink_metadata(name).is_ok());
        match there.next() {
            Some(name) => Err(format!("{} is there", name.display())),
            None => Ok(()),
        }
    };
    busy()?;
    let before = stat()?;
    let text = read(file).map_err(|error| cannot(file, &error))?;
    let state = State::parse(&text, column)
        .map_err(|line| format!("line {line} of {} is not understood", file.display()))?;
    match validity(folder) {
        Some(validity) if validity == state.validity => {}
        _ => return Err("its UIDVALIDITY is another one".to_owned()),
    }
    let names = list(folder).map_err(|error| cannot(folder, &error))?;
    // A run that came and went meanwhile has left another file.
    busy()?;
    if stat()? != before {
        return Err("it was synced just now".to_owned());
    }
    let found = compare(&state.agreed, names.iter(), |_| true);
    Ok(Unpushed::Known(found))
}

/// The UIDVALIDITY that mbsync has given the folder.
fn validity(folder: &Path) -> Option<u32> {
    let text = read(&folder.join(".uidvalidity")).ok()?;
    number(text.split(|byte| *byte == b'\n').next()?)
}

/// The highest UID that mbsync has given in the folder.
pub fn highest(folder: &Path) -> Option<u32> {
    let text = read(&folder.join(".uidvalidity")).ok()?;
    any_number(text.split(|byte| *byte == b'\n').nth(1)?)
}

impl State {
    /// Read a state; `column` is the side that is here.
    ///
    /// # Errors
    /// With the number of the line that is not understood.
    pub fn parse(text: &[u8], column: Column) -> Result<Self, usize> {
        let mut lines = text.split(|byte| *byte == b'\n').zip(1..);
        let mut validity = None;
        loop {
            let (line, at) = lines.next().ok_or(1_usize)?;
            if line.is_empty() && at > 1 {
                break;
            }
            let mut words = line.split(|byte| *byte == b' ');
            let (name, value, end) = (words.next(), words.next(), words.next());
            let value = value.and_then(any_number).filter(|_| end.is_none());
            let value = value.ok_or(at)?;
            match (name, column) {
                (Some(b"FarUidValidity" | b"MasterUidValidity"), Column::Far)
                | (Some(b"NearUidValidity" | b"SlaveUidValidity"), Column::Near) => {
                    validity = Some(value);
                }
                (
                    Some(
                        b"FarUidValidity"
                        | b"MasterUidValidity"
                        | b"NearUidValidity"
                        | b"SlaveUidValidity"
                        | b"MaxPulledUid"
                        | b"MaxPushedUid"
                        | b"MaxExpiredFarUid"
                        | b"MaxExpiredMasterUid"
                        | b"MaxExpiredSlaveUid",
                    ),
                    _,
                ) => {}
                _ => return Err(at),
            }
        }
        let mut messages: Vec<(u32, Option<Flags>)> = Vec::new();
        let mut ended = false;
        for (line, at) in lines {
            // Behind the last line break there is nothing; a line without one was cut off.
            if line.is_empty() && !ended {
                ended = true;
                continue;
            }
            let mut words = line.splitn(3, |byte| *byte == b' ');
            let mut uid = || words.next().and_then(any_number);
            let (far, near) = (uid().ok_or(at)?, uid().ok_or(at)?);
            let flags = words.next().filter(|_| !ended).ok_or(at)?;
            if !flags.iter().all(|byte| byte.is_ascii_graphic()) {
                return Err(at);
            }
            let (here, there) = match column {
                Column::Far => (far, near),
                Column::Near => (near, far),
            };
            let mut flags_here = Flags::of(flags);
            // One that MaxMessages has let go of is marked here, and that is told to nobody.
            if column == Column::Near && flags.starts_with(b"~") {
                flags_here |= Flags::TRASHED;
            }
            // Of one that the other side has no more, nobody there wants to know.
            let known = (there > 0).then_some(flags_here);
            if here > 0 {
                messages.push((here, known));
            }
        }
        let validity = validity.filter(|_| ended).ok_or(1_usize)?;
        let count = messages.len();
        let agreed: Agreed = messages.into_iter().collect();
        // A number for two is none for either.
        if agreed.len() < count {
            return Err(1);
        }
        Ok(State { validity, agreed })
    }
}

fn any_number(digits: &[u8]) -> Option<u32> {
    match digits {
        b"0" => Some(0),
        _ => number(digits),
    }
}

#[cfg(test)]
mod tests;
