//! Long-running syncers: whatever a worker does, each run comes to an end that is true, by the plain
//! command where it has to, and nothing is left behind.
//!
//! Most workers here are shell scripts that do one thing wrong ([`scripts`]); then come the loop around
//! mbsync that the manual shows ([`mbsync`]), and OfflineIMAP's ([`offlineimap`]), against a Dovecot.

mod mbsync;
mod offlineimap;
mod scripts;
#[path = "../support/syncing.rs"]
mod syncing;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mailsync_module::syncer::lock::Held;
use mailsync_module::syncer::run::Running;
use mailsync_module::syncer::run::resident::Resident;
use mailsync_module::syncer::{Ended, Event, Order};

/// Far longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

/// What a run has told.
struct Ran {
    ended: Ended,
    pids: Vec<u32>,
    said: Vec<String>,
}

/// A run that goes on.
struct Going(Running, Receiver<Event>);

impl Going {
    fn pid(&self) -> Result<u32, Box<dyn Error>> {
        match self.1.recv_timeout(LONG)? {
            Event::Began { pid, .. } => Ok(pid),
            other => Err(format!("{other:?}").into()),
        }
    }

    fn ended(self) -> Result<Ran, Box<dyn Error>> {
        let (mut pids, mut said) = (Vec::new(), Vec::new());
        loop {
            match self.1.recv_timeout(LONG)? {
                Event::Began { pid, .. } => pids.push(pid),
                Event::Said { text, .. } => said.push(text),
                Event::Sign { .. } | Event::Robbed { .. } => {}
                Event::Ended { ended, .. } => {
                    let ended = *ended;
                    return Ok(Ran { ended, pids, said });
                }
            }
        }
    }
}

fn begin(
    resident: &Resident,
    order: Order,
    held: Option<Arc<Held>>,
) -> Result<Going, Box<dyn Error>> {
    let (told, events) = mpsc::channel();
    // Nobody may be left to hear it.
    let running = resident.run(order, held, move |event| drop(told.send(event)))?;
    Ok(Going(running, events))
}

/// Wait until a process is gone.
fn wait_gone(pid: u32) {
    let end = Instant::now() + LONG;
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < end, "{pid} is still there");
        std::thread::yield_now();
    }
}
