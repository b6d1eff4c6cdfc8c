//! inotify, with our own backend or with the `notify` crate on top of it, as measured and read in
//! notify 9.0.0-rc.7.
//!
//! What matters is how they fail: a watch is of an inode, not of a path; a watch goes with its
//! inode without a word when the queue is full.  Our own backend asks the kernel each time, and
//! knows whether the watch was there already.  `notify` drops the watches at and below a path
//! that an event says is gone, even if that event is stale and the watches are new; and it takes
//! a watch that it still believes in for the one that is asked for.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitflags::bitflags;
use mailsync_module::watch::inbox::{Event, Inbox};

bitflags! {
    /// inotify(7), without what no Maildir needs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mask: u32 {
        const NONE = 0;
        const CREATE = 1;
        const DELETE = 1 << 1;
        const MOVED_FROM = 1 << 2;
        const MOVED_TO = 1 << 3;
        const MOVE_SELF = 1 << 4;
        const DELETE_SELF = 1 << 5;
        const IGNORED = 1 << 6;
        const ISDIR = 1 << 7;
        const OVERFLOW = 1 << 8;
        const UNMOUNT = 1 << 9;
    }
}

#[derive(Debug)]
struct Raw {
    wd: u32,
    mask: Mask,
    name: Option<OsString>,
    cookie: u32,
}

/// One inotify instance with one `notify` watcher: what a root has.
struct Instance {
    inbox: Arc<Inbox>,
    // The kernel's half.
    by_inode: BTreeMap<u64, u32>,
    last_wd: u32,
    queue: VecDeque<Raw>,
    // The crate's half.
    watches: BTreeMap<PathBuf, u32>,
    paths: BTreeMap<u32, Vec<PathBuf>>,
    renamed: Option<(u32, PathBuf)>,
    /// Translated, but not yet in the inbox.
    outbox: VecDeque<Event>,
}

/// Why a directory cannot be watched.
pub struct LimitReached;

/// All instances of this user.
pub struct Kernel {
    instances: BTreeMap<usize, Instance>,
    made: usize,
    /// `fs.inotify.max_queued_events`.
    pub queue_limit: usize,
    /// `fs.inotify.max_user_watches`.
    pub watch_limit: usize,
    /// `fs.inotify.max_user_instances` is reached.
    pub no_more_instances: bool,
    /// The `notify` crate stands between us and the kernel.
    pub by_crate: bool,
    /// A broken backend: a path that is watched is not looked at again.
    pub others_look_watched: bool,
    /// A broken kernel: every so many events one is lost without a word.
    pub loses_one_in: Option<u64>,
    pub queued: u64,
    pub overflows: u64,
}

impl Kernel {
    pub fn new() -> Self {
        Kernel {
            instances: BTreeMap::new(),
            made: 0,
            queue_limit: 16_384,
            watch_limit: usize::MAX,
            no_more_instances: false,
            by_crate: false,
            others_look_watched: false,
            loses_one_in: None,
            queued: 0,
            overflows: 0,
        }
    }

    /// Something happened to this inode, or to an entry of this directory.
    pub fn notify(&mut self, ino: u64, mask: Mask, name: Option<&OsStr>, cookie: u32) {
        for instance in self.instances.values_mut() {
            let Some(wd) = instance.by_inode.get(&ino).copied() else {
                continue;
            };
            self.queued += 1;
            if (self.loses_one_in).is_some_and(|n| self.queued.is_multiple_of(n)) {
                continue;
            }
            let name = name.map(ToOwned::to_owned);
            let raw = Raw {
                wd,
                mask,
                name,
                cookie,
            };
            self.overflows += u64::from(instance.push(raw, self.queue_limit));
        }
    }

    /// The last name of this inode is gone, and with it the watch.
    pub fn deleted(&mut self, ino: u64) {
        self.notify(ino, Mask::DELETE_SELF, None, 0);
        self.notify(ino, Mask::IGNORED, None, 0);
        for instance in self.instances.values_mut() {
            instance.by_inode.remove(&ino);
        }
    }

    /// The file system of this inode is gone, and with it the watch.
    pub fn unmounted(&mut self, ino: u64) {
        self.notify(ino, Mask::UNMOUNT, None, 0);
        self.notify(ino, Mask::IGNORED, None, 0);
        for instance in self.instances.values_mut() {
            instance.by_inode.remove(&ino);
        }
    }

    /// Lose what is queued for this instance, as if it had been too much.
    pub fn overflow(&mut self, id: usize) {
        if let Some(instance) = self.instances.get_mut(&id)
            && !instance.queue.is_empty()
        {
            instance.queue.clear();
            instance.push_overflow();
            self.overflows += 1;
        }
    }

    /// The thread of an instance dies, with all that it had not told.
    pub fn fail(&mut self, id: usize) {
        if let Some(instance) = self.instances.remove(&id) {
            instance.inbox.put(Event::Overflow);
            instance.inbox.put(Event::Failed("out of luck".to_owned()));
        }
    }

    /// All instances.
    pub fn all(&self) -> Vec<usize> {
        self.instances.keys().copied().collect()
    }

    /// Instances in which something waits to be delivered.
    pub fn ready(&self) -> Vec<usize> {
        let ready = |it: &Instance| !it.queue.is_empty() || !it.outbox.is_empty();
        let instances = self.instances.iter().filter(|(_, it)| ready(it));
        instances.map(|(id, _)| *id).collect()
    }

    /// Let the watcher's thread run: it reads all there is, and delivers one event.
    pub fn deliver(&mut self, id: usize) -> Option<Event> {
        let instance = self.instances.get_mut(&id)?;
        if instance.outbox.is_empty() {
            instance.read(self.by_crate);
        }
        let event = instance.outbox.pop_front()?;
        instance.inbox.put(event.clone());
        Some(event)
    }

    // What the crate offers to its user.

    pub fn make(&mut self, inbox: Arc<Inbox>) -> Option<usize> {
        if self.no_more_instances {
            return None;
        }
        self.made += 1;
        let instance = Instance {
            inbox,
            by_inode: BTreeMap::new(),
            last_wd: 0,
            queue: VecDeque::new(),
            watches: BTreeMap::new(),
            paths: BTreeMap::new(),
            renamed: None,
            outbox: VecDeque::new(),
        };
        self.instances.insert(self.made, instance);
        Some(self.made)
    }

    pub fn close(&mut self, id: usize) {
        self.instances.remove(&id);
    }

    /// Whatever the watcher's thread was doing, it finishes that before the next request.
    pub fn finish(&mut self, id: usize) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.flush();
        }
    }

    /// Watch the directory that is at this path now; false when it was watched already.
    pub fn watch(&mut self, id: usize, path: &Path, ino: u64) -> Result<bool, LimitReached> {
        let watches = self.instances.values().map(|it| it.by_inode.len());
        let full = watches.sum::<usize>() >= self.watch_limit;
        let by_crate = self.by_crate;
        let Some(instance) = self.instances.get_mut(&id) else {
            return Ok(true);
        };
        let old = instance.watches.get(path).copied();
        if by_crate && old.is_some() {
            // It believes that it watches this already, and does not ask the kernel.
            return Ok(true);
        }
        if self.others_look_watched && old.is_some() {
            return Ok(false);
        }
        let wd = match instance.by_inode.get(&ino) {
            Some(wd) => *wd,
            None if full => return Err(LimitReached),
            None => {
                instance.last_wd += 1;
                instance.by_inode.insert(ino, instance.last_wd);
                instance.last_wd
            }
        };
        if old == Some(wd) {
            return Ok(false);
        }
        if old.is_some() {
            instance.forget(path);
        }
        instance.watches.insert(path.to_owned(), wd);
        instance.paths.entry(wd).or_default().push(path.to_owned());
        Ok(true)
    }

    pub fn unwatch(&mut self, id: usize, path: &Path) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.forget(path);
        }
    }

    /// After a request: what has come meanwhile is read at once, and delivered later.
    pub fn read(&mut self, id: usize) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.read(self.by_crate);
        }
    }
}

impl Instance {
    /// True when this is the event too many.
    fn push(&mut self, raw: Raw, limit: usize) -> bool {
        if self.queue.len() < limit {
            self.queue.push_back(raw);
            return false;
        }
        let last = self.queue.back();
        let known = last.is_some_and(|raw| raw.mask.contains(Mask::OVERFLOW));
        if !known {
            self.push_overflow();
        }
        !known
    }

    fn push_overflow(&mut self) {
        self.queue.push_back(Raw {
            wd: 0,
            mask: Mask::OVERFLOW,
            name: None,
            cookie: 0,
        });
    }

    fn flush(&mut self) {
        for event in mem::take(&mut self.outbox) {
            self.inbox.put(event);
        }
    }

    fn forget(&mut self, path: &Path) {
        let Some(wd) = self.watches.remove(path) else {
            return;
        };
        if let Some(paths) = self.paths.get_mut(&wd) {
            paths.retain(|it| it != path);
            if paths.is_empty() {
                self.paths.remove(&wd);
                // Tolerates that the kernel has dropped it before.
                self.by_inode.retain(|_, it| *it != wd);
            }
        }
    }

    /// Read all events, and only then drop the watches that they say are gone: the crate does.
    /// Our own backend drops what the kernel says is, at once.
    fn read(&mut self, by_crate: bool) {
        let mut gone = Vec::new();
        while let Some(raw) = self.queue.pop_front() {
            let is = |mask| raw.mask.contains(mask);
            if is(Mask::OVERFLOW) || is(Mask::UNMOUNT) {
                self.outbox.push_back(Event::Overflow);
                continue;
            }
            if is(Mask::IGNORED) && !by_crate {
                for path in self.paths.remove(&raw.wd).into_iter().flatten() {
                    if self.watches.get(&path) == Some(&raw.wd) {
                        self.watches.remove(&path);
                    }
                }
                continue;
            }
            if is(Mask::IGNORED) {
                gone.extend(self.paths.get(&raw.wd).into_iter().flatten().cloned());
                continue;
            }
            let Some(at) = self.paths.get(&raw.wd).and_then(|paths| paths.last()) else {
                continue;
            };
            let path = raw.name.as_ref().map_or(at.clone(), |name| at.join(name));
            let cookie = Some(raw.cookie as usize);
            if is(Mask::MOVED_FROM) {
                gone.push(path.clone());
                self.renamed = Some((raw.cookie, path.clone()));
                self.outbox.push_back(Event::MovedFrom(path, cookie));
            } else if is(Mask::MOVED_TO) {
                self.outbox.push_back(Event::MovedTo(path.clone(), cookie));
                if by_crate && let Some((_, from)) = self.renamed.take_if(|it| it.0 == raw.cookie) {
                    self.outbox.push_back(Event::Moved(from, path));
                }
            } else if is(Mask::MOVE_SELF) {
                self.outbox.push_back(Event::MovedFrom(path, None));
            } else if is(Mask::CREATE) {
                self.outbox.push_back(Event::Created(path));
            } else if is(Mask::DELETE) || is(Mask::DELETE_SELF) {
                gone.push(path.clone());
                self.outbox.push_back(Event::Removed(path));
            }
        }
        for path in gone.into_iter().filter(|_| by_crate) {
            if self.watches.contains_key(&path) {
                let below = self.watches.keys().filter(|it| it.starts_with(&path));
                for path in below.cloned().collect::<Vec<_>>() {
                    self.forget(&path);
                }
            }
        }
    }
}
