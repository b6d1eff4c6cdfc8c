//! The questions of `mailsync-doctor` that may have to wait for a disk, a process or a network.
//!
//! Nothing is changed: no file is made, locked or written, no server is asked for anything but a
//! connection, and that only if Lisp says so, which asks the user.
//!
//! - [`account`]: the roots of the accounts, their syncers and locks.  No look waits for another, and
//!   there is an end to the waiting: a mount that is dead costs a line, not the report.
//! - [`machine`]: limits of the kernel, and what the kernel tells.
//! - [`reach`]: whether a server takes a connection.
//! - [`facts`]: what those have found.
//! - [`findings`]: what follows from it, in words: pure.
//!
//! An answer has six fields for each finding ([`findings::Finding`]), and as many for each fact that
//! Lisp itself is to judge.

pub mod account;
pub mod facts;
pub mod findings;
pub mod machine;
pub mod reach;

use std::path::PathBuf;

use anyhow::Result;

use crate::engine::actor::MakeFs;
use crate::engine::config::AccountConfig;
use crate::listen::place::Place;

/// What is examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examine {
    /// The accounts.
    Accounts {
        /// All that are configured.
        accounts: Vec<AccountConfig>,
        /// Where locks are.
        runtime: Option<PathBuf>,
    },
    /// The machine.
    Machine {
        /// How many directories are to be watched in all.
        watches: u64,
        /// How many watchers that takes.
        watchers: u64,
        /// Where locks are.
        runtime: Option<PathBuf>,
        /// Where programs are told what was checked, if they are.
        listen: Option<Place>,
    },
    /// A server.
    Reach {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl Examine {
    /// Do it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn run(self, fs: &MakeFs) -> Result<Vec<Vec<u8>>> {
        match self {
            Examine::Accounts { accounts, runtime } => {
                account::examine(&accounts, runtime.as_ref(), fs)
            }
            Examine::Machine {
                watches,
                watchers,
                runtime,
                listen,
            } => {
                let found = machine::facts(watches, watchers, runtime, listen.as_ref());
                Ok(fields(findings::machine(&found)))
            }
            Examine::Reach { host, port } => Ok(reach::examine(&host, port)),
        }
    }
}

/// Findings as they go to Lisp.
fn fields(findings: Vec<findings::Finding>) -> Vec<Vec<u8>> {
    let each = findings.into_iter().map(findings::Finding::fields);
    each.flatten().collect()
}
