//! The backend on Linux: inotify(7) by itself, one instance and one thread a root.
//!
//! The `notify` crate keeps each path twice, looks at all watches to remove one, and does not ask
//! the kernel again for a watch that it believes in; with 20,000 folders that is half of our
//! memory, and minutes for a subtree that goes.  The kernel does better: to ask again for a
//! directory costs a microsecond or two, changes nothing if it is watched, and says whether it
//! was the same one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{
    CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch,
};
use rustix::io::Errno;

use super::inbox::{Event, Inbox};
use super::spot::Spot;
use super::{Backend, WatchError, Watched, limits};
use crate::threads;

/// Bytes of events read at once: some 200 of them, with the names that messages have.
const AT_ONCE: usize = 16 * 1024;

/// What comes and goes in a directory, and itself; reading, writing and the like would only wake us.
pub const KINDS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// One instance.
pub struct Inotify {
    shared: Arc<Shared>,
    /// Its closing ends the thread.
    _stop: PipeWriter,
}

struct Shared {
    instance: OwnedFd,
    table: Mutex<Table>,
}

/// Which spot is under which watch.  The kernel has one watch for a directory, however many paths
/// lead to it (links, bind mounts), and never gives a number twice.  Events are told under all.
///
/// The other way round is seldom asked, and then of many at once: that is not worth the memory.
#[derive(Default)]
struct Table {
    spots: HashMap<i32, Spot>,
    /// Further spots of a watch; there seldom are any.
    more: HashMap<i32, Vec<Spot>>,
}

impl Table {
    /// The watches of these.
    fn watches<'a>(&self, spots: &'a [Spot]) -> HashMap<&'a Spot, i32> {
        let these: HashSet<&Spot> = spots.iter().collect();
        let more = self.more.iter();
        let more = more.flat_map(|(watch, more)| more.iter().map(move |spot| (watch, spot)));
        let all = self.spots.iter().chain(more);
        all.filter_map(|(watch, spot)| Some((*these.get(spot)?, *watch)))
            .collect()
    }

    /// Whether this spot is under that watch.
    fn is(&self, watch: i32, spot: &Spot) -> bool {
        self.spots.get(&watch) == Some(spot)
            || (self.more.get(&watch)).is_some_and(|more| more.contains(spot))
    }

    /// Put a spot under a watch, under which it is not.
    fn add(&mut self, watch: i32, spot: &Spot) {
        match self.spots.entry(watch) {
            Entry::Vacant(free) => drop(free.insert(spot.clone())),
            Entry::Occupied(_) => self.more.entry(watch).or_default().push(spot.clone()),
        }
    }
}

impl Inotify {
    /// Start an instance that watches nothing yet, and its thread.
    ///
    /// # Errors
    /// When the kernel gives no instance, descriptor or thread; in words for the user.
    pub fn start(inbox: Arc<Inbox>) -> Result<Box<dyn Backend>> {
        let refused = |error: io::Error| anyhow!(limits::no_watcher(&error));
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let instance = init(flags).map_err(|error| refused(error.into()))?;
        let (stopped, stop) = io::pipe().map_err(refused)?;
        let shared = Arc::new(Shared {
            instance,
            table: Mutex::default(),
        });
        let (reading, failed) = (shared.clone(), inbox.clone());
        let fail = move |text| {
            failed.put(Event::Overflow);
            failed.put(Event::Failed(text));
        };
        let told = fail.clone();
        let body = move || {
            if let Err(error) = reading.read(&stopped, &inbox) {
                told(format!("{error:#}"));
            }
        };
        threads::spawn("mailsync-watch", body, fail)?;
        Ok(Box::new(Inotify {
            shared,
            _stop: stop,
        }))
    }
}

impl Backend for Inotify {
    fn watch(&mut self, spots: &[Spot], anew: bool) -> Vec<Result<Watched, WatchError>> {
        // Looked for when the first of them turns out not to be what it was, which is seldom.
        let mut old = (!anew).then(HashMap::new);
        let mut limit = None;
        let watch = |spot| match &limit {
            // What remains would only fail one by one; but not what is watched already.
            Some(limit) if !anew => Err(WatchError::Limit(String::clone(limit))),
            _ => (self.shared.watch(spots, spot, &mut old)).inspect_err(|error| {
                if let WatchError::Limit(text) = error {
                    limit = Some(text.clone());
                }
            }),
        };
        spots.iter().map(watch).collect()
    }

    fn unwatch(&mut self, spots: &[Spot]) {
        let mut table = self.shared.lock();
        for (spot, watch) in table.watches(spots) {
            self.shared.release(&mut table, watch, spot);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Whoever panicked has at worst left out a path, whose events go unheard: the panic is
        // reported, and everything looked at again.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Have one of these spots watched.  `old` are their watches, as soon as somebody had to know.
    fn watch<'a>(
        &self,
        spots: &'a [Spot],
        spot: &Spot,
        old: &mut Option<HashMap<&'a Spot, i32>>,
    ) -> Result<Watched, WatchError> {
        let path = spot.path();
        // Held from before the watch exists until its path is known, so that no event of it is
        // read in between.
        let mut table = self.lock();
        let watch = add_watch(&self.instance, &*path, KINDS);
        if watch.is_ok_and(|watch| table.is(watch, spot)) {
            return Ok(Watched::Same);
        }
        let old = old.get_or_insert_with(|| table.watches(spots));
        if let Some(old) = old.remove(spot) {
            self.release(&mut table, old, spot);
        }
        let watch = watch.map_err(|error| reason(error, &path))?;
        table.add(watch, spot);
        Ok(Watched::New)
    }

    /// This spot is that watch's no longer.
    fn release(&self, table: &mut Table, watch: i32, spot: &Spot) {
        let last = table.spots.get(&watch) == Some(spot);
        let next = table.more.get_mut(&watch).and_then(|more| {
            more.retain(|it| it != spot);
            if last { more.pop() } else { None }
        });
        if table.more.get(&watch).is_some_and(Vec::is_empty) {
            table.more.remove(&watch);
        }
        if !last {
            return;
        }
        match next {
            Some(next) => drop(table.spots.insert(watch, next)),
            None => {
                table.spots.remove(&watch);
                // It may have gone with its directory, which is as good.
                let _ = remove_watch(&self.instance, watch);
            }
        }
    }

    /// Read events until the other end of `stopped` is closed.
    fn read(&self, stopped: &PipeReader, inbox: &Inbox) -> Result<()> {
        let mut buffer = [MaybeUninit::uninit(); AT_ONCE];
        let mut events = Reader::new(&self.instance, &mut buffer);
        loop {
            // In a storm of events, too, somebody may want us to end.
            if events.is_buffer_empty() {
                let mut fds = [
                    PollFd::from_borrowed_fd(self.instance.as_fd(), PollFlags::IN),
                    PollFd::new(stopped, PollFlags::IN),
                ];
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error).context("waiting for inotify"),
                }
                if !fds[1].revents().is_empty() {
                    return Ok(());
                }
            }
            match events.next() {
                Ok(event) => self.tell(&event, inbox),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error).context("reading inotify"),
            }
        }
    }

    fn tell(&self, event: &rustix::fs::inotify::Event<'_>, inbox: &Inbox) {
        // Now, and not when the engine comes to it: that takes another thread to wake.
        let heard = Some(Instant::now());
        let is = |flags| event.events().intersects(flags);
        // An unmounted file system takes its watches along.
        if is(ReadFlags::QUEUE_OVERFLOW | ReadFlags::UNMOUNT) {
            inbox.put(Event::Overflow);
            return;
        }
        let mut table = self.lock();
        if is(ReadFlags::IGNORED) {
            table.spots.remove(&event.wd());
            table.more.remove(&event.wd());
            return;
        }
        let spot = table.spots.get(&event.wd()).cloned();
        let more = table.more.get(&event.wd()).cloned();
        drop(table);
        let name = event.file_name();
        let name = name.map(|name| OsStr::from_bytes(name.to_bytes()));
        for spot in spot.into_iter().chain(more.into_iter().flatten()) {
            let mut path = spot.path().into_owned();
            path.extend(name);
            inbox.put_at(translate(event, path), heard);
        }
    }
}

fn translate(event: &rustix::fs::inotify::Event<'_>, path: PathBuf) -> Event {
    let is = |flags| event.events().intersects(flags);
    let cookie = Some(event.cookie() as usize);
    if is(ReadFlags::CREATE) {
        Event::Created(path)
    } else if is(ReadFlags::DELETE | ReadFlags::DELETE_SELF) {
        Event::Removed(path)
    } else if is(ReadFlags::MOVED_FROM) {
        Event::MovedFrom(path, cookie)
    } else if is(ReadFlags::MOVED_TO) {
        Event::MovedTo(path, cookie)
    } else if is(ReadFlags::MOVE_SELF) {
        Event::MovedFrom(path, None)
    } else {
        Event::Odd(path)
    }
}

fn reason(error: Errno, directory: &Path) -> WatchError {
    match error {
        Errno::NOENT | Errno::NOTDIR => WatchError::Gone,
        Errno::NOSPC => WatchError::Limit(limits::no_watch()),
        other => WatchError::Other(limits::refused(directory, &other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Kinds;
    use crate::watch::inbox::{Dirty, HALF_LIFE, Names};
    use std::ffi::OsStr;
    use std::fs;
    use std::time::Duration;

    struct Bench {
        _top: tempfile::TempDir,
        top: std::path::PathBuf,
        inbox: Arc<Inbox>,
        woken: std::sync::mpsc::Receiver<()>,
        backend: Box<dyn Backend>,
    }

    impl Bench {
        fn new() -> Self {
            let top = tempfile::tempdir().unwrap();
            let (wake, woken) = std::sync::mpsc::channel();
            let inbox = Arc::new(Inbox::new(move || {
                let _ = wake.send(());
            }));
            Bench {
                top: fs::canonicalize(top.path()).unwrap(),
                _top: top,
                backend: Inotify::start(inbox.clone()).unwrap(),
                inbox,
                woken,
            }
        }

        fn spot(&self, name: &str) -> Spot {
            self.top.join(name).as_path().into()
        }

        fn watch(&mut self, name: &str) -> Result<Watched, WatchError> {
            let spot = self.spot(name);
            self.backend.watch(&[spot], true).pop().unwrap()
        }

        /// What a message that is delivered here is told as: the directories, and what happened.
        fn delivery(&self, name: &str) -> Vec<(String, Kinds)> {
            fs::write(self.top.join(name).join("1"), "").unwrap();
            fs::remove_file(self.top.join(name).join("1")).unwrap();
            // A directory made last tells that everything before has been read.
            let ends = fs::read_dir(&self.top).unwrap().count();
            let end = format!("end{ends}");
            fs::create_dir(self.top.join(&end)).unwrap();
            let is_end = |names: &Names| match names {
                Names::Some(names) => names.contains(OsStr::new(&end)),
                Names::All => false,
            };
            let mut found: HashMap<_, Kinds> = HashMap::new();
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                let Dirty {
                    messages, places, ..
                } = self.inbox.take(Instant::now() + HALF_LIFE);
                for (path, kinds) in messages {
                    *found.entry(path).or_insert(Kinds::empty()) |= kinds;
                }
                if places.get(&*self.top).is_some_and(is_end) {
                    break;
                }
                let left = until.saturating_duration_since(Instant::now());
                self.woken.recv_timeout(left).expect("the end");
            }
            let below = |path: &Path| path.strip_prefix(&self.top).unwrap().display().to_string();
            let mut found: Vec<_> = (found.iter())
                .map(|(path, kinds)| (below(path), *kinds))
                .collect();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            found
        }
    }

    #[test]
    fn asking_again_says_whether_it_was_the_same() {
        let mut bench = Bench::new();
        let both = Kinds::NEW | Kinds::GONE;
        fs::create_dir_all(bench.top.join("a/new")).unwrap();
        assert_eq!(bench.watch(""), Ok(Watched::New));
        assert_eq!(bench.watch("a/cur"), Err(WatchError::Gone));
        assert_eq!(bench.watch("a/new"), Ok(Watched::New));
        assert_eq!(bench.watch("a/new"), Ok(Watched::Same));
        assert_eq!(bench.delivery("a/new"), [("a/new".to_owned(), both)]);

        // Another one in its place, while the old one lives on elsewhere.
        fs::rename(bench.top.join("a/new"), bench.top.join("old")).unwrap();
        fs::create_dir(bench.top.join("a/new")).unwrap();
        assert_eq!(bench.watch("a/new"), Ok(Watched::New));
        assert_eq!(bench.delivery("a/new"), [("a/new".to_owned(), both)]);
        assert_eq!(bench.delivery("old"), []);

        // It went, and with it the watch.
        fs::remove_dir(bench.top.join("a/new")).unwrap();
        fs::create_dir(bench.top.join("a/new")).unwrap();
        assert_eq!(bench.watch("a/new"), Ok(Watched::New));
        assert_eq!(bench.delivery("a/new"), [("a/new".to_owned(), both)]);

        let spot = bench.spot("a/new");
        bench.backend.unwatch(&[spot.clone(), spot]);
        assert_eq!(bench.delivery("a/new"), []);
    }

    #[test]
    fn a_directory_with_two_paths_is_told_under_both() {
        let mut bench = Bench::new();
        let both = Kinds::NEW | Kinds::GONE;
        fs::create_dir_all(bench.top.join("a/new")).unwrap();
        std::os::unix::fs::symlink("a", bench.top.join("b")).unwrap();
        assert_eq!(bench.watch(""), Ok(Watched::New));
        assert_eq!(bench.watch("a/new"), Ok(Watched::New));
        assert_eq!(bench.watch("b/new"), Ok(Watched::New));
        let all = ["a/new", "b/new"].map(|path| (path.to_owned(), both));
        assert_eq!(bench.delivery("a/new"), all);
        let (one, other) = (bench.spot("a/new"), bench.spot("b/new"));
        bench.backend.unwatch(&[other]);
        assert_eq!(bench.delivery("a/new"), [("a/new".to_owned(), both)]);
        assert_eq!(bench.watch("b/new"), Ok(Watched::New));
        bench.backend.unwatch(&[one]);
        assert_eq!(bench.delivery("a/new"), [("b/new".to_owned(), both)]);
    }

    #[test]
    fn the_thread_ends_with_the_backend() {
        let before = threads::live();
        let bench = Bench::new();
        drop(bench.backend);
        drop(bench.inbox);
        // The thread's end of the channel goes with it.
        let end = Instant::now() + Duration::from_secs(20);
        while bench.woken.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            assert!(
                Instant::now() < end,
                "{} threads, {before} before",
                threads::live()
            );
            std::thread::yield_now();
        }
    }
}
