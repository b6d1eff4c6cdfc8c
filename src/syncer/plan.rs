//! From an order to a command line.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Memory, Order, Outcome};

/// What is to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Program (an absolute name) and arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<OsString>,
    /// It covers the whole account.
    pub everything: bool,
    /// How a folder is called in the program's messages, with the folder's truename: what an
    /// error is about.
    pub names: HashMap<Vec<u8>, Arc<Path>>,
    /// What is known for the next run already.
    pub memory: Memory,
    /// The configuration that names the folders, for the text of an error.
    pub config: Option<PathBuf>,
}

/// Why nothing is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As if a run had ended so.
    pub outcome: Outcome,
    /// What a user should know and do.
    pub text: String,
}

/// Make a plan.  Reads configurations and may wait for a disk.
///
/// # Errors
/// When there is nothing that could be executed.
pub fn plan(_order: &Order) -> Result<Plan, Refused> {
    Err(Refused {
        outcome: Outcome::Config,
        text: "not written yet".to_owned(),
    })
}

/// Where a program is (a stub: the other branch has the real one).
///
/// # Errors
/// When it is nowhere.
pub fn find(program: &OsStr, search: &[PathBuf]) -> Result<PathBuf, Refused> {
    let mut places = search.iter().map(|directory| directory.join(program));
    places.find(|place| place.is_file()).ok_or_else(|| Refused {
        outcome: Outcome::Config,
        text: format!("there is no program {}", program.display()),
    })
}

/// The environment of a run (a stub: the other branch has the real one).
#[must_use]
pub fn environment(order: &Order) -> Vec<OsString> {
    order.syncer.environment.clone()
}
