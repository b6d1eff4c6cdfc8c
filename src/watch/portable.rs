//! The backend over the `notify` crate, for systems other than Linux: one watcher a root.
//!
//! The only file that knows `notify`: going to another version of it ends here.  It works on
//! Linux as well, and is tested there.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use notify::event::{CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Config, ErrorKind, EventKind, EventKindMask, PathOp, RecommendedWatcher, Watcher};

use super::inbox::{Event, Inbox};
use super::spot::Spot;
use super::{Backend, WatchError, Watched, limits};
use crate::threads;

/// A watcher of that crate.
pub struct Portable {
    watcher: RecommendedWatcher,
}

impl Portable {
    /// Start a watcher that watches nothing yet.
    ///
    /// # Errors
    /// When the kernel gives no instance: on Linux, `fs.inotify.max_user_instances` or the
    /// process's limit of open files is reached.
    pub fn start(inbox: Arc<Inbox>) -> Result<Box<dyn Backend>> {
        // All that a Maildir needs; the default would report Gnus's own reading, too.
        let kinds = EventKindMask::CREATE | EventKindMask::REMOVE | EventKindMask::MODIFY_NAME;
        let handler = move |event: notify::Result<notify::Event>| {
            let merge = AssertUnwindSafe(|| translate(event, &inbox));
            if catch_unwind(merge).is_err() {
                inbox.put(Event::Overflow);
                inbox.put(Event::Failed(threads::last_panic()));
            }
        };
        let watcher = RecommendedWatcher::new(handler, Config::default().with_event_kinds(kinds));
        let watcher = watcher.map_err(|error| {
            let error = match error.kind {
                ErrorKind::Io(error) => error,
                _ => std::io::Error::other(error.to_string()),
            };
            anyhow!(limits::no_watcher(&error))
        })?;
        Ok(Box::new(Portable { watcher }))
    }
}

impl Backend for Portable {
    fn watch(&mut self, directories: &[Spot], anew: bool) -> Vec<Result<Watched, WatchError>> {
        if anew {
            // It believes in a watch that it has, and does not ask the kernel for it again.
            self.unwatch(directories);
        }
        let ops = directories
            .iter()
            .map(|spot| PathOp::watch_non_recursive(spot.path()));
        let failed: HashMap<PathBuf, WatchError> = self.update(ops.collect()).into_iter().collect();
        let watched = |spot: &Spot| {
            failed
                .get(&*spot.path())
                .cloned()
                .map_or(Ok(Watched::New), Err)
        };
        directories.iter().map(watched).collect()
    }

    fn unwatch(&mut self, directories: &[Spot]) {
        // What the kernel dropped by itself is not found, which is as good.
        let ops = directories.iter().map(|spot| PathOp::unwatch(spot.path()));
        self.update(ops.collect());
    }
}

impl Portable {
    fn update(&mut self, mut todo: Vec<PathOp>) -> Vec<(PathBuf, WatchError)> {
        let mut failed = Vec::new();
        // A batch stops at its first failure and hands back what it has not done.
        while !todo.is_empty() {
            let Err(error) = self.watcher.update_paths(todo) else {
                break;
            };
            let path = error.origin.as_ref().map(PathOp::as_path);
            let reason = reason(&error.source, path.unwrap_or(Path::new("it")));
            todo = error.remaining;
            let rest = match (&error.origin, &reason) {
                (Some(_), WatchError::Gone | WatchError::Other(_)) => Vec::new(),
                // No watch left, or no watcher: what remains would only fail one by one.
                _ => std::mem::take(&mut todo),
            };
            let ops = error.origin.into_iter().chain(rest);
            failed.extend(ops.map(|op| (op.into_path(), reason.clone())));
        }
        failed
    }
}

fn reason(error: &notify::Error, directory: &Path) -> WatchError {
    match &error.kind {
        ErrorKind::PathNotFound | ErrorKind::WatchNotFound => WatchError::Gone,
        ErrorKind::MaxFilesWatch => WatchError::Limit(limits::no_watch()),
        ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::NotFound => WatchError::Gone,
        _ => WatchError::Other(limits::refused(directory, &error.to_string())),
    }
}

fn translate(event: notify::Result<notify::Event>, inbox: &Inbox) {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            inbox.put(Event::Overflow);
            inbox.put(Event::Failed(error.to_string()));
            return;
        }
    };
    if event.need_rescan() || event.info() == Some("unmount") {
        inbox.put(Event::Overflow);
        return;
    }
    let number = event.tracker();
    let mut paths = event.paths.into_iter();
    let (first, second) = (paths.next(), paths.next());
    let Some(path) = first else {
        inbox.put(Event::Overflow);
        return;
    };
    inbox.put(match (event.kind, second) {
        // Reading, and contents that change in place: not asked for, and nothing to a Maildir.
        (EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)), _) => return,
        (EventKind::Modify(ModifyKind::Metadata(_)), _) => return,
        (EventKind::Create(CreateKind::File | CreateKind::Folder | CreateKind::Any), _) => {
            Event::Created(path)
        }
        (EventKind::Remove(RemoveKind::File | RemoveKind::Folder | RemoveKind::Any), _) => {
            Event::Removed(path)
        }
        (EventKind::Modify(ModifyKind::Name(RenameMode::From)), _) => {
            Event::MovedFrom(path, number)
        }
        (EventKind::Modify(ModifyKind::Name(RenameMode::To)), _) => Event::MovedTo(path, number),
        (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), Some(to)) => Event::Moved(path, to),
        _ => Event::Odd(path),
    });
}
