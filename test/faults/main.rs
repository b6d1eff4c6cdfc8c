//! What the system refuses, to the real engine with real syncers: room on a disk, leave to write,
//! descriptors.  Of each fault is asked that the user is told what is wrong and what to do, that
//! what can be told is told all the same, and that all is well by itself when it is over.
//!
//! What happens to the maildirs themselves is `watching` and `machine`'s.  A test that needs a
//! namespace runs itself again in one, and says that it is skipped where there is none to be had.

#![cfg(all(target_os = "linux", not(feature = "portable")))]

#[path = "../support/imap.rs"]
mod imap;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/syncing.rs"]
mod syncing;

mod descriptors;
mod disk;
mod programs;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use mailsync_module::engine::config::{AccountConfig, SyncConfig};
use mailsync_module::engine::core::Input;
use mailsync_module::schedule::{Phase, SyncState, Timing};
use mailsync_module::syncer::{Command, Naming, Program, Syncer};

use support::Engine;

/// Synced when something changes, and at the start.
fn synced(account: AccountConfig, syncer: Syncer, records: bool) -> AccountConfig {
    let timing = Timing {
        max: Duration::from_secs(5),
        check: Duration::from_millis(100),
        at_start: true,
        records,
        ..Timing::once()
    };
    AccountConfig {
        sync: Some(SyncConfig { timing, syncer }),
        ..account
    }
}

/// A syncer that is this command.
fn command(words: &[&str]) -> Syncer {
    Syncer::new(Program::Command(Command {
        words: words.iter().map(OsString::from).collect(),
        all: None,
        naming: Naming::Utf8,
        separator: None,
        prefix: None,
        per_folder: false,
    }))
}

/// A syncer that is this script.
fn script(script: &str) -> Syncer {
    command(&["/bin/sh", "-c", script])
}

/// A syncer that writes a line at each of its runs.
fn noting(log: &Path) -> Syncer {
    script(&format!("echo run >>'{}'", log.display()))
}

/// Wait until the syncs of the only account stand so.
fn stands(engine: &Engine, enough: impl Fn(&SyncState) -> bool) {
    engine.wait_status(|status| {
        let sync = status.accounts.first().and_then(|it| it.sync.as_ref());
        sync.is_some_and(&enough)
    });
}

/// Have what failed tried at once: that it is tried again by itself, others show.
fn hurry(engine: &Engine) {
    engine.with(|handle| handle.input(Input::NetworkChanged).unwrap());
}

/// All is synced, and nothing is wrong.
fn is_well(state: &SyncState) -> bool {
    state.phase == Phase::Idle && state.last_ok.is_some() && state.text.is_empty()
}
