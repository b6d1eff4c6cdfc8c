//! What a syncer's configuration offers to be synced, in words that all syncers share.
//!
//! Each syncer's own reader makes it (`mbsync::survey`, `offlineimap::survey`); what becomes of it
//! is decided in `discover`.  Nothing secret is in it.

use std::path::PathBuf;

/// What one configuration offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The configuration file.
    pub file: PathBuf,
    /// What can be synced by itself.
    pub units: Vec<Unit>,
    /// What stands for several units.
    pub bundles: Vec<Bundle>,
    /// The program can be told "all", which is so many units; `None`: it cannot.
    pub all: Option<usize>,
    /// What a user should know of what is left out.
    pub remarks: Vec<String>,
}

impl Survey {
    /// One of a file that offers nothing yet.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Survey {
            file,
            ..Survey::default()
        }
    }
}

/// A channel of mbsync's, or an account of OfflineIMAP's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: Vec<u8>,
    /// The line of the configuration on which it begins.
    pub line: usize,
    /// The program can be told it by that name.
    pub nameable: bool,
    /// The directories here that it syncs.
    pub roots: Vec<Place>,
    /// What they are synced with, if that is known.
    pub server: Option<Server>,
    /// It has been synced before, says a record of its own.
    pub used: bool,
    /// What a user should know of it.
    pub remarks: Vec<String>,
}

/// A directory that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which, absolute, as it is spelled there.
    pub directory: PathBuf,
    /// The line of the section that says so.
    pub line: usize,
    /// What it is, in words.
    pub what: String,
}

/// A group of mbsync's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Its name.
    pub name: Vec<u8>,
    /// The line of the configuration on which it begins.
    pub line: usize,
    /// Which units it stands for, each as a whole, sorted.
    pub units: Vec<usize>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its host.
    pub host: String,
    /// Its port, where it is not the usual one.
    pub port: Option<u16>,
    /// Who the user is there.
    pub user: Option<String>,
    /// How the connection is secured.
    pub security: Security,
}

/// How a connection is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// From the beginning.
    #[default]
    Tls,
    /// By `STARTTLS`.
    StartTls,
    /// Not at all.
    Nothing,
}
