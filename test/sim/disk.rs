//! A file system in memory, as a Maildir sees one, and the truth about its folders.
//!
//! Inodes are used again as soon as they are free, and directories are stamped with a coarse
//! clock, both as bad as real ones get.  Every operation tells [`Kernel`] what inotify would be
//! told, and [`Truth`] what mailsync has to tell Lisp sooner or later.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailsync_module::change::Kinds;
use mailsync_module::maildir::{Entry, EntryKind, FileId, Layout, Stat, Wall};

use crate::kernel::{Kernel, Mask};

/// Seconds of the wall clock when the world begins.
const BEGAN: i64 = 1_700_000_000;

enum Node {
    Directory(Directory),
    File { links: u32 },
    Link(PathBuf),
}

struct Directory {
    entries: BTreeMap<OsString, u64>,
    /// Never used again, unlike the inode's number.
    birth: u64,
    mtime: Moment,
    ctime: Moment,
}

/// When something was stamped, and how far the clock here had been set by then.
#[derive(Clone, Copy)]
struct Moment(Duration, i64);

/// One root as configured, as far as the truth is concerned.
#[derive(Clone, Debug)]
pub struct RootSpec {
    /// As the user spells it; maybe a link.
    pub spelling: PathBuf,
    /// Where that leads.
    pub real: PathBuf,
    pub layout: Layout,
    pub account: usize,
    /// It lies on another machine.
    pub remote: bool,
}

/// What is so, and since when: time is counted in operations.
#[derive(Default)]
pub struct Truth {
    pub roots: Vec<RootSpec>,
    /// The folders there are, by truename: the births of `new` and `cur`, and the root.
    pub folders: BTreeMap<PathBuf, (u64, u64, usize)>,
    /// When other directories took the place of a folder's.
    installed: BTreeMap<PathBuf, (u64, u64, u64)>,
    /// When they first did.  Where events are lost, or nobody watches, a directory that returns
    /// unchanged to its place before anybody looks was never away: no stamp tells otherwise.
    first_installed: BTreeMap<(PathBuf, u64, u64), u64>,
    pub returns_are_seen: bool,
    /// When the entries of a directory (its birth) changed last.
    contents: BTreeMap<u64, u64>,
    /// Kinds of change that Lisp has not read yet; only while nothing hides them.
    pub owed: BTreeMap<PathBuf, Vec<(u64, Kinds)>>,
    /// Every truename that ever was a folder's.
    pub ever: BTreeSet<PathBuf>,
}

impl Truth {
    /// Lisp must read a change of this folder that was written at this time or later.
    pub fn required(&self, folder: &Path) -> u64 {
        let Some((new, cur, _)) = self.folders.get(folder) else {
            return 0;
        };
        let installed = self.installed.get(folder).map_or(0, |it| it.2);
        let contents = |birth| self.contents.get(birth).copied().unwrap_or(0);
        installed.max(contents(new)).max(contents(cur))
    }

    /// Lisp has read of these kinds, written at this time.
    pub fn told(&mut self, folder: &Path, written: u64, kinds: Kinds) {
        let covers = |owed: Kinds| {
            // A rename of which the two halves were seen apart is an arrival.
            let enough = match owed {
                Kinds::FLAGS => Kinds::FLAGS | Kinds::NEW,
                other => other,
            };
            let always = Kinds::UNKNOWN | Kinds::CREATED | Kinds::DELETED;
            kinds.intersects(enough | always)
        };
        if let Some(owed) = self.owed.get_mut(folder) {
            owed.retain(|(at, kind)| *at > written || !covers(*kind));
        }
    }

    fn owe(&mut self, now: u64, folder: &Path, kind: Kinds) {
        if self.folders.contains_key(folder) {
            let owed = self.owed.entry(folder.to_owned()).or_default();
            owed.push((now, kind));
        }
    }
}

/// The file system.
pub struct Disk {
    nodes: BTreeMap<u64, Node>,
    free: Vec<u64>,
    births: u64,
    /// Renames, to pair their halves.
    cookies: u32,
    /// The virtual time.
    pub now: Duration,
    /// How far somebody has set the wall clock, in seconds.
    set: i64,
    /// How coarse the clock is that stamps directories.
    pub tick: Duration,
    /// Operations so far.
    pub time: u64,
    pub truth: Truth,
    pub kernel: Kernel,
    /// Nobody can tell another machine's directories.
    pub far_looks_near: bool,
    /// By how many seconds the clock of another machine is ahead.
    pub skew: i64,
    /// What is known of directories there, and until when that is not asked again.
    cache: BTreeMap<u64, (Stat, Duration)>,
    /// Somebody on that other machine is at work: this kernel sees nothing of it.
    pub unseen: bool,
    /// The machine sleeps: so is whatever happens, by its other system or by other machines.
    pub sleeps: bool,
    /// The last one is on top.
    mounts: Vec<Mount>,
    /// Places that the kernel has not told of.
    pub mount_news: Vec<PathBuf>,
}

struct Mount {
    point: PathBuf,
    /// The directory that is covered, and the one that covers it.
    under: u64,
    over: u64,
    device: u64,
}

const ROOT: u64 = 1;

impl Disk {
    pub fn new(tick: Duration, kernel: Kernel) -> Self {
        let mut disk = Disk {
            nodes: BTreeMap::new(),
            free: Vec::new(),
            births: 0,
            cookies: 0,
            now: Duration::ZERO,
            tick,
            time: 1,
            truth: Truth::default(),
            kernel,
            far_looks_near: false,
            skew: 0,
            cache: BTreeMap::new(),
            unseen: false,
            sleeps: false,
            set: 0,
            mounts: Vec::new(),
            mount_news: Vec::new(),
        };
        let root = disk.directory();
        disk.nodes.insert(ROOT, root);
        disk
    }

    fn directory(&mut self) -> Node {
        self.births += 1;
        Node::Directory(Directory {
            entries: BTreeMap::new(),
            birth: self.births,
            mtime: self.stamp(),
            ctime: self.stamp(),
        })
    }

    fn stamp(&self) -> Moment {
        let tick = self.tick.as_nanos().max(1);
        let now = Duration::from_nanos((self.now.as_nanos() / tick * tick) as u64);
        Moment(now, self.set)
    }

    fn allocate(&mut self, node: Node) -> u64 {
        let ino = self.free.pop().unwrap_or_else(|| {
            let last = self.nodes.last_key_value();
            last.map_or(ROOT, |(ino, _)| *ino) + 1
        });
        self.nodes.insert(ino, node);
        self.cache.remove(&ino);
        ino
    }

    fn dir(&self, ino: u64) -> io::Result<&Directory> {
        match self.nodes.get(&ino) {
            Some(Node::Directory(directory)) => Ok(directory),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// The inode of a path, and its truename; symbolic links are followed.
    fn resolve(&self, path: &Path, hops: u32) -> io::Result<(u64, PathBuf)> {
        let mut ino = ROOT;
        let mut real = PathBuf::from("/");
        for name in path.iter().skip(1) {
            ino = *(self.dir(ino)?.entries.get(name)).ok_or(ErrorKind::NotFound)?;
            match self.nodes.get(&ino) {
                Some(Node::Link(target)) => {
                    let hops = hops.checked_sub(1).ok_or(ErrorKind::NotFound)?;
                    (ino, real) = self.resolve(target, hops)?;
                }
                _ => real.push(name),
            }
            while let Some(mount) = self.mounts.iter().rfind(|mount| mount.under == ino) {
                ino = mount.over;
            }
        }
        Ok((ino, real))
    }

    pub fn ino(&self, path: &Path) -> io::Result<u64> {
        Ok(self.resolve(path, 8)?.0)
    }

    pub fn is_dir(&self, path: &Path) -> bool {
        self.ino(path).is_ok_and(|ino| self.dir(ino).is_ok())
    }

    /// The names in a directory, in order.
    pub fn names(&self, path: &Path) -> Vec<OsString> {
        let directory = self.ino(path).and_then(|ino| self.dir(ino));
        directory.map_or_else(|_| Vec::new(), |it| it.entries.keys().cloned().collect())
    }

    // What maildir::Fs wants.

    pub fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let directory = self.dir(self.ino(path)?)?;
        let kind = |ino| match self.nodes.get(ino) {
            Some(Node::Directory(_)) => EntryKind::Directory,
            Some(Node::Link(_)) => EntryKind::Symlink,
            _ => EntryKind::Other,
        };
        Ok((directory.entries.iter())
            .map(|(name, ino)| Entry {
                name: name.clone(),
                kind: kind(ino),
            })
            .collect())
    }

    pub fn stat(&mut self, path: &Path) -> io::Result<Stat> {
        let (ino, real) = self.resolve(path, 8)?;
        let elsewhere = self.elsewhere(&real);
        let now = self.now;
        if elsewhere
            && let Some((stat, until)) = self.cache.get(&ino)
            && *until > now
        {
            return Ok(*stat);
        }
        let directory = self.dir(ino).ok();
        // Another machine's clock is not ours, and nobody sets it.
        let time = |Moment(at, set): Moment| wall(at, if elsewhere { self.skew } else { set });
        let stat = Stat {
            id: FileId {
                dev: self.device(&real),
                ino,
            },
            is_dir: directory.is_some(),
            size: 4096,
            mtime: directory.map_or_else(Wall::default, |it| time(it.mtime)),
            ctime: directory.map_or_else(Wall::default, |it| time(it.ctime)),
        };
        if elsewhere {
            // Of directories, as nfs(5) has it: between 30 and 60 seconds.
            self.cache
                .insert(ino, (stat, now + Duration::from_secs(45)));
        }
        Ok(stat)
    }

    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let (parent, name) = self.place(path)?;
        let ino = *(self.dir(parent)?.entries.get(name)).ok_or(ErrorKind::NotFound)?;
        match self.nodes.get(&ino) {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }

    pub fn remote(&self, path: &Path) -> io::Result<bool> {
        Ok(self.elsewhere(&self.canonicalize(path)?) && !self.far_looks_near)
    }

    /// Whether this lies on another machine.
    pub fn elsewhere(&self, real: &Path) -> bool {
        let mut roots = self.truth.roots.iter();
        roots.any(|root| root.remote && real.starts_with(&root.real))
    }

    fn device(&self, real: &Path) -> u64 {
        let mounts = self.mounts.iter().rev();
        let mut mounts = mounts.filter(|mount| real.starts_with(&mount.point));
        let mounted = mounts.next().map(|mount| mount.device);
        mounted.unwrap_or(if self.elsewhere(real) { 2 } else { 1 })
    }

    pub fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(self.resolve(path, 8)?.1)
    }

    pub fn wall(&self) -> Wall {
        wall(self.now, self.set)
    }

    /// Somebody sets the wall clock, by so many seconds.
    pub fn set_clock(&mut self, by: i64) {
        self.set += by;
    }

    // What users, MDAs and mail readers do.

    pub fn mkdir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.directory();
        self.make(path, node, Mask::CREATE | Mask::ISDIR)
    }

    pub fn create(&mut self, path: &Path) -> io::Result<()> {
        self.make(path, Node::File { links: 1 }, Mask::CREATE)
    }

    pub fn symlink(&mut self, target: &Path, path: &Path) -> io::Result<()> {
        self.make(path, Node::Link(target.to_owned()), Mask::CREATE)
    }

    fn make(&mut self, path: &Path, node: Node, mask: Mask) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        if self.dir(parent)?.entries.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let structure = !matches!(node, Node::File { .. });
        let ino = self.allocate(node);
        self.enter(parent, name, ino);
        self.notify(parent, mask, Some(name), 0);
        self.happened(structure, &[(path, Kinds::NEW)]);
        Ok(())
    }

    pub fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.ino(from)?;
        let (parent, name) = self.place(to)?;
        if self.dir(parent)?.entries.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.same_device(from, to)?;
        match self.nodes.get_mut(&ino) {
            Some(Node::File { links }) => *links += 1,
            _ => return Err(ErrorKind::PermissionDenied.into()),
        }
        self.enter(parent, name, ino);
        self.notify(parent, Mask::CREATE, Some(name), 0);
        self.happened(false, &[(to, Kinds::NEW)]);
        Ok(())
    }

    /// Remove a file or a link.
    pub fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        let ino = *(self.dir(parent)?.entries.get(name)).ok_or(ErrorKind::NotFound)?;
        let structure = match self.nodes.get_mut(&ino) {
            Some(Node::Directory(_)) | None => return Err(ErrorKind::IsADirectory.into()),
            Some(Node::Link(_)) => true,
            Some(Node::File { links }) => {
                *links -= 1;
                false
            }
        };
        self.leave(parent, name);
        if !matches!(self.nodes.get(&ino), Some(Node::File { links: 1.. })) {
            self.nodes.remove(&ino);
            self.free.push(ino);
        }
        self.notify(parent, Mask::DELETE, Some(name), 0);
        self.happened(structure, &[(path, Kinds::GONE)]);
        Ok(())
    }

    pub fn rmdir(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        let ino = *(self.dir(parent)?.entries.get(name)).ok_or(ErrorKind::NotFound)?;
        self.not_mounted_on(ino)?;
        if !self.dir(ino)?.entries.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.leave(parent, name);
        self.nodes.remove(&ino);
        self.free.push(ino);
        let mask = Mask::DELETE | Mask::ISDIR;
        self.notify(parent, mask, Some(name), 0);
        if !self.unseen {
            self.kernel.deleted(ino);
        }
        self.happened(true, &[]);
        Ok(())
    }

    /// Rename; nothing is ever replaced.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (parent, name) = self.place(from)?;
        let ino = *(self.dir(parent)?.entries.get(name)).ok_or(ErrorKind::NotFound)?;
        let (new_parent, new_name) = self.place(to)?;
        if self.dir(new_parent)?.entries.contains_key(new_name) || to.starts_with(from) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.same_device(from, to)?;
        self.not_mounted_on(ino)?;
        if self.mounts.iter().any(|it| it.point.starts_with(from)) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        self.leave(parent, name);
        self.enter(new_parent, new_name, ino);
        let stamp = self.stamp();
        let directory = match self.nodes.get_mut(&ino) {
            Some(Node::Directory(directory)) => {
                directory.ctime = stamp;
                true
            }
            _ => false,
        };
        let isdir = if directory { Mask::ISDIR } else { Mask::NONE };
        self.cookies += 1;
        let cookie = self.cookies;
        self.notify(parent, Mask::MOVED_FROM | isdir, Some(name), cookie);
        self.notify(new_parent, Mask::MOVED_TO | isdir, Some(new_name), cookie);
        if directory {
            self.notify(ino, Mask::MOVE_SELF, None, 0);
            self.happened(true, &[]);
        } else if folder_of(from).is_some() && folder_of(from) == folder_of(to) {
            let [old, new] = [from, to].map(|path| self.birth(path.parent()));
            self.truth
                .contents
                .extend([old, new].map(|it| (it, self.time + 1)));
            self.happened(false, &[(to, Kinds::FLAGS)]);
        } else {
            self.happened(false, &[(from, Kinds::GONE), (to, Kinds::NEW)]);
        }
        Ok(())
    }

    fn same_device(&self, from: &Path, to: &Path) -> io::Result<()> {
        let device = |path: &Path| {
            let parent = path.parent().ok_or(ErrorKind::NotFound)?;
            Ok::<_, io::Error>(self.device(&self.canonicalize(parent)?))
        };
        match device(from)? == device(to)? {
            true => Ok(()),
            false => Err(ErrorKind::CrossesDevices.into()),
        }
    }

    fn not_mounted_on(&self, ino: u64) -> io::Result<()> {
        match self.mounts.iter().any(|mount| mount.under == ino) {
            true => Err(ErrorKind::ResourceBusy.into()),
            false => Ok(()),
        }
    }

    /// Mount an empty file system.
    pub fn mount(&mut self, path: &Path) -> io::Result<()> {
        let (under, point) = self.resolve(path, 8)?;
        self.dir(under)?;
        let node = self.directory();
        let over = self.allocate(node);
        let device = 10 + self.births;
        self.mounts.push(Mount {
            point: point.clone(),
            under,
            over,
            device,
        });
        self.mount_news.push(point);
        self.covered_or_uncovered();
        Ok(())
    }

    /// Unmount what was mounted here last, with all that is in it.
    pub fn unmount(&mut self, path: &Path) -> io::Result<()> {
        let at = self.mounts.iter().rposition(|mount| mount.point == path);
        let at = at.ok_or(ErrorKind::InvalidInput)?;
        let point = self.mounts[at].point.clone();
        let covers = |mount: &Mount| mount.point != point && mount.point.starts_with(&point);
        if self.mounts[at + 1..].iter().any(covers) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        let mount = self.mounts.remove(at);
        self.sink(mount.over);
        self.mount_news.push(point);
        self.covered_or_uncovered();
        Ok(())
    }

    /// What was covered for a moment, before anybody looked, was never away.
    fn covered_or_uncovered(&mut self) {
        let seen = std::mem::take(&mut self.truth.returns_are_seen);
        self.happened(true, &[]);
        self.truth.returns_are_seen = seen;
    }

    /// A tree and all its watches are gone.
    fn sink(&mut self, ino: u64) {
        // A file may have two names in it.
        let Some(node) = self.nodes.remove(&ino) else {
            return;
        };
        self.free.push(ino);
        if let Node::Directory(directory) = node {
            self.kernel.unmounted(ino);
            for ino in directory.entries.into_values() {
                self.sink(ino);
            }
        }
    }

    fn place<'a>(&self, path: &'a Path) -> io::Result<(u64, &'a OsStr)> {
        let parent = self.ino(path.parent().ok_or(ErrorKind::NotFound)?)?;
        self.dir(parent)?;
        Ok((parent, path.file_name().ok_or(ErrorKind::NotFound)?))
    }

    fn notify(&mut self, ino: u64, mask: Mask, name: Option<&OsStr>, cookie: u32) {
        if self.unseen {
            // A listing asks the server; what is known of the directory does not change by that.
            return;
        }
        self.cache.remove(&ino);
        self.kernel.notify(ino, mask, name, cookie);
    }

    fn enter(&mut self, parent: u64, name: &OsStr, ino: u64) {
        self.touch(parent).insert(name.to_owned(), ino);
    }

    fn leave(&mut self, parent: u64, name: &OsStr) {
        self.touch(parent).remove(name);
    }

    fn touch(&mut self, ino: u64) -> &mut BTreeMap<OsString, u64> {
        let stamp = self.stamp();
        match self.nodes.get_mut(&ino) {
            Some(Node::Directory(directory)) => {
                (directory.mtime, directory.ctime) = (stamp, stamp);
                &mut directory.entries
            }
            _ => unreachable!("callers have looked"),
        }
    }

    fn birth(&self, path: Option<&Path>) -> u64 {
        let ino = path.and_then(|path| self.ino(path).ok());
        let directory = ino.and_then(|ino| self.dir(ino).ok());
        directory.map_or(0, |directory| directory.birth)
    }

    /// Bring the truth up to date after an operation.
    fn happened(&mut self, structure: bool, messages: &[(&Path, Kinds)]) {
        self.time += 1;
        let now = self.time;
        if structure {
            self.restructured();
            return;
        }
        for (path, kinds) in messages {
            if let Some(folder) = folder_of(path) {
                let birth = self.birth(path.parent());
                self.truth.contents.insert(birth, now);
                self.truth.owe(now, folder, *kinds);
            }
        }
    }

    /// Look for the folders anew, by other means than mailsync's.
    pub fn restructured(&mut self) {
        let mut found = BTreeMap::new();
        for (number, root) in self.truth.roots.iter().enumerate() {
            if self.is_dir(&root.spelling) {
                self.walk(number, root, &root.real, Depth::Root, &mut found);
            }
        }
        let truth = &mut self.truth;
        for (folder, (new, cur, _)) in &found {
            let installed = truth.installed.entry(folder.clone()).or_default();
            if (installed.0, installed.1) != (*new, *cur) {
                let key = (folder.clone(), *new, *cur);
                let first = *truth.first_installed.entry(key).or_insert(self.time);
                let since = if truth.returns_are_seen {
                    self.time
                } else {
                    first
                };
                *installed = (*new, *cur, since);
                truth.owed.remove(folder);
            }
            truth.ever.insert(folder.clone());
        }
        truth
            .owed
            .retain(|folder, _| found.get(folder) == truth.folders.get(folder));
        truth.folders = found;
    }

    fn walk(
        &self,
        number: usize,
        root: &RootSpec,
        at: &Path,
        depth: Depth,
        found: &mut BTreeMap<PathBuf, (u64, u64, usize)>,
    ) {
        let mut inner = self.truth.roots.iter().map(|other| &other.real);
        if inner.any(|other| {
            *other != root.real && at.starts_with(other) && other.starts_with(&root.real)
        }) {
            return;
        }
        let part = |name: &str| self.birth(Some(&at.join(name)));
        let (new, cur, tmp) = (part("new"), part("cur"), part("tmp"));
        if new != 0 && cur != 0 && tmp != 0 {
            found.insert(at.to_owned(), (new, cur, number));
        }
        if depth == Depth::Plus {
            return;
        }
        for name in self.names(at) {
            if ["new", "cur", "tmp", ".nnmaildir"]
                .iter()
                .any(|it| name == *it)
            {
                continue;
            }
            let dotted = name.as_bytes().starts_with(b".");
            let (plus, nested) = (
                root.layout != Layout::Nested,
                root.layout != Layout::MaildirPlusPlus,
            );
            let below = match (depth, dotted) {
                (Depth::Root, true) if plus => Depth::Plus,
                (Depth::Root | Depth::Nested, false) if nested => Depth::Nested,
                (Depth::Nested | Depth::Legacy, true) if plus && nested => Depth::Legacy,
                _ => continue,
            };
            if let Ok(real) = self.canonicalize(&at.join(name))
                && self.is_dir(&real)
            {
                self.walk(number, root, &real, below, found);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Root,
    Nested,
    Plus,
    Legacy,
}

/// The folder that a message is in.
fn folder_of(message: &Path) -> Option<&Path> {
    let directory = message.parent()?;
    let name = directory.file_name()?;
    (name == "new" || name == "cur").then(|| directory.parent())?
}

fn wall(since: Duration, set: i64) -> Wall {
    Wall {
        secs: BEGAN + set + since.as_secs() as i64,
        nanos: since.subsec_nanos(),
    }
}
