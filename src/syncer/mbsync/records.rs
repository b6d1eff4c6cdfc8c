//! Where mbsync's record of a box is (`SyncState`).  Pure, but for a look where the usual place is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::super::surroundings::Surroundings;
use super::Side;
use super::boxes::INBOX;
use super::config::{self, Channel, Config};

/// Which of the two sides of a channel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The far one, which its records name first.
    Far,
    /// The near one.
    Near,
}

/// The records of a configuration.
pub struct Records<'a> {
    config: &'a Config,
    around: &'a Surroundings,
    /// Where they are of channels of which nothing says it, as the beginning of their names.
    usual: Vec<u8>,
}

impl<'a> Records<'a> {
    /// Those of this one.
    pub fn new(config: &'a Config, around: &'a Surroundings) -> Self {
        Records {
            config,
            around,
            usual: config::state(around),
        }
    }

    /// The record of a box: the folder, its channel and side, its name here and, as the channel
    /// calls it, on both sides.  `None` where it is in another folder.
    pub fn file(
        &self,
        folder: &Path,
        channel: &Channel,
        side: &Side,
        here: &[u8],
        name: &[u8],
    ) -> Option<PathBuf> {
        let (own, all) = (channel.state.as_deref(), self.config.state.as_deref());
        if own.or(all) == Some(b"*") {
            return (side.column == Column::Near).then(|| folder.join(".mbsyncstate"));
        }
        let there = [side.other.as_slice(), name].concat();
        let there = if there.is_empty() { INBOX } else { &there };
        let (far, near) = match side.column {
            Column::Far => (here, there),
            Column::Near => (there, here),
        };
        let far = self.clean(&channel.far.0, far);
        let near = self.clean(&channel.near.0, near);
        let file = match own {
            Some(own) => [config::path(self.around, own), near].concat(),
            None => [
                all.map_or_else(|| self.usual.clone(), |all| config::path(self.around, all)),
                [b":", channel.far.0.as_slice(), b":", &far].concat(),
                [b"_:", channel.near.0.as_slice(), b":", &near].concat(),
            ]
            .concat(),
        };
        Some(OsString::from_vec(file).into())
    }

    /// What a store calls a box, with nothing in it that a file cannot be called.
    fn clean(&self, store: &[u8], name: &[u8]) -> Vec<u8> {
        let local = self.config.stores.iter().find(|it| it.name == store);
        let mut remote = self.config.flattened.iter();
        let flatten = match local {
            Some(local) => local.flatten.as_ref(),
            None => remote
                .find(|(it, _)| it == store)
                .map(|(_, delimiter)| delimiter),
        };
        let delimiter = flatten.map_or(&b"!"[..], Vec::as_slice);
        let levels: Vec<_> = name.split(|byte| *byte == b'/').collect();
        let name = levels.join(delimiter);
        name.into_iter()
            .map(|byte| if byte == b'/' { b'!' } else { byte })
            .collect()
    }
}
