//! Which socket is served for which engine: one that stays as it was goes on being served, without a
//! gap for the programs that are attached to it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::engine::actor::Handle;
use crate::engine::core::Input;
use crate::listen::place::Place;
use crate::listen::server::Server;

/// So long is waited for a server to hang up, which takes it a moment.
const MOST_FAREWELL: Duration = Duration::from_millis(100);

thread_local! {
    /// What is served, and whether it still is.
    static SERVED: RefCell<Option<(Place, Arc<AtomicBool>)>> = const { RefCell::new(None) };
}

/// The socket that Lisp means by `file`: where that is empty the default one, which `runtime` says.
pub(super) fn place(file: Vec<u8>, runtime: Option<PathBuf>) -> Place {
    match file.is_empty() {
        true => Place::Runtime(runtime),
        false => Place::File(super::path(file)),
    }
}

/// Have this engine serve the socket there from now on, or none.
pub(super) fn listen(handle: &Handle, place: Option<Place>, timeout: Duration) -> Result<()> {
    let Some(place) = place else {
        let served = SERVED.take();
        handle.listen(None, timeout)?;
        if let Some((_, alive)) = served {
            hung_up(&alive);
        }
        return Ok(());
    };
    let served = SERVED.with_borrow(|served| {
        let same = served.as_ref().filter(|(old, _)| *old == place);
        same.is_some_and(|(_, alive)| alive.load(Ordering::Relaxed))
    });
    if served {
        return handle.input(Input::Listen(Some(timeout)));
    }
    let (server, alive) = Server::start(place.clone(), handle.log())?;
    SERVED.set(Some((place, alive)));
    handle.listen(Some(Box::new(server)), timeout)
}

/// Emacs may be stopped the next moment, with all of its threads.
fn hung_up(alive: &AtomicBool) {
    let until = Instant::now() + MOST_FAREWELL;
    while alive.load(Ordering::Relaxed) && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
}

/// There is another engine, or none.
pub(super) fn forget() {
    SERVED.set(None);
}
