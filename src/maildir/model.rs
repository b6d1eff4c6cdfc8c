//! For tests: a file system in memory that can refuse, vanish and count, and a small generator of
//! pseudo-random numbers whose seed goes into the text of a failure.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::fs::{ByPath, Entry, EntryKind, FileId, Fs, Opened, Stat, Wall};

/// Knuth's MMIX generator; its upper bits.
pub struct Lcg(u64);

impl Lcg {
    pub fn new(seed: u64) -> Self {
        let mut lcg = Lcg(seed);
        lcg.next();
        lcg
    }

    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    pub fn choose<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Fewer than `limit` characters of all sorts, among them those that matter; never NUL.
    pub fn text(&mut self, limit: usize) -> String {
        (0..self.below(limit))
            .map(|_| match self.below(4) {
                0 => *self.choose(&['&', '-', '.', '/', ',', '+', '\n', '\x7f', 'A', ' ']),
                1 => char::from_u32(0x80 + self.below(0x3000) as u32).unwrap_or('é'),
                2 => char::from_u32(0xd000 + self.below(0x10_3000) as u32).unwrap_or('💌'),
                _ => char::from(b'a' + self.below(26) as u8),
            })
            .collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Directory,
    File,
    Link(PathBuf),
}

/// What the model refuses at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Listing it: no permission.
    List,
    /// Everything below it: no permission.
    Search,
    /// Both.
    Closed,
    /// Everything at it, though its parent lists it: it has just vanished.
    Vanished,
}

/// A file system in memory: absolute paths, `..` not understood.
#[derive(Clone, Debug, Default)]
pub struct Model {
    nodes: BTreeMap<PathBuf, (u64, Node, Wall)>,
    inodes: u64,
    pub refusals: BTreeMap<PathBuf, Refusal>,
    pub clock: Wall,
    pub calls: RefCell<Vec<(&'static str, PathBuf)>>,
}

impl Model {
    /// A model with these paths: `x/` is a directory, `x -> y` a link, `x/***` a directory with
    /// `cur`, `new` and `tmp`, any other a file; parents are made where they are missing.
    pub fn new(lines: &[&str]) -> Self {
        let mut model = Model::default();
        model.clock.secs = 1_000;
        for line in lines {
            model.add(line);
        }
        model.straighten();
        model
    }

    pub fn add(&mut self, line: &str) {
        if let Some((path, target)) = line.split_once(" -> ") {
            self.insert(Path::new(path), Node::Link(target.into()));
        } else if let Some(path) = line.strip_suffix("/***") {
            for part in ["cur", "new", "tmp"] {
                self.insert(&Path::new(path).join(part), Node::Directory);
            }
        } else if line.ends_with('/') {
            self.insert(Path::new(line), Node::Directory);
        } else {
            self.insert(Path::new(line), Node::File);
        }
    }

    pub fn insert(&mut self, path: &Path, node: Node) {
        // Path equality ignores a slash at the end, but its bytes do not.
        let path: PathBuf = path.components().collect();
        if let Some(parent) = path.parent()
            && !self.nodes.contains_key(parent)
        {
            self.insert(parent, Node::Directory);
        }
        if !self.nodes.contains_key(&path) {
            self.inodes += 1;
            self.nodes.insert(path, (self.inodes, node, self.clock));
        }
    }

    /// Resolve the dots in what links say, which looking things up does not.
    pub fn straighten(&mut self) {
        for (path, (_, node, _)) in &mut self.nodes {
            if let Node::Link(target) = node {
                let mut straight = path.parent().unwrap_or(path).to_path_buf();
                for component in target.components() {
                    match component {
                        Component::ParentDir => {
                            straight.pop();
                        }
                        Component::CurDir => {}
                        component => straight.push(component),
                    }
                }
                *target = straight;
            }
        }
    }

    pub fn remove(&mut self, path: &str) {
        self.nodes.retain(|key, _| !key.starts_with(path));
    }

    /// Show the directories at and below `path` at `second`, too (a bind mount).
    pub fn bind(&mut self, path: &str, second: &str) {
        let below = |key: &Path| key.strip_prefix(path).map(|it| Path::new(second).join(it));
        let nodes = self.nodes.iter();
        let more: Vec<_> = nodes
            .filter_map(|(key, node)| Some((below(key).ok()?, node.clone())))
            .collect();
        let more = more
            .into_iter()
            .map(|(key, node)| (key.components().collect(), node));
        self.nodes.extend(more);
    }

    /// Something happened in this directory.
    pub fn touch(&mut self, path: &str) {
        let clock = self.clock;
        self.nodes.get_mut(Path::new(path)).expect("a directory").2 = clock;
    }

    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let nodes = self.nodes.iter();
        nodes
            .filter(|(_, node)| node.1 == Node::Directory)
            .map(|(path, _)| path.as_path())
    }

    pub fn exists(&self, path: &Path) -> bool {
        self.nodes.contains_key(path)
    }

    fn resolve(&self, path: &Path, hops: u32) -> io::Result<PathBuf> {
        let mut real = PathBuf::new();
        for component in path.components() {
            if let Component::Normal(name) = component {
                match self.refusals.get(&real) {
                    Some(Refusal::Search | Refusal::Closed) => {
                        return Err(io::ErrorKind::PermissionDenied.into());
                    }
                    Some(Refusal::Vanished) => return Err(io::ErrorKind::NotFound.into()),
                    _ => {}
                }
                match self.nodes.get(&real) {
                    Some((_, Node::File, _)) => {
                        return Err(io::ErrorKind::NotADirectory.into());
                    }
                    Some(_) => {}
                    None => return Err(io::ErrorKind::NotFound.into()),
                }
                real.push(name);
                if let Some((_, Node::Link(target), _)) = self.nodes.get(&real) {
                    if hops == 0 {
                        return Err(io::Error::from_raw_os_error(40));
                    }
                    let base = real.parent().expect("a link is in a directory");
                    real = self.resolve(&base.join(target), hops - 1)?;
                }
            } else {
                real.push(component);
            }
        }
        let vanished = self.refusals.get(&real) == Some(&Refusal::Vanished);
        if vanished || !self.nodes.contains_key(&real) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(real)
    }

    fn called(&self, what: &'static str, path: &Path) {
        self.calls.borrow_mut().push((what, path.to_path_buf()));
    }
}

impl Fs for Model {
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.called("list", dir);
        let real = self.resolve(dir, 40)?;
        let refusal = self.refusals.get(&real);
        if let Some(Refusal::List | Refusal::Closed) = refusal {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let entries = self.nodes.iter();
        Ok(entries
            .filter(|(path, _)| path.parent() == Some(&real))
            .map(|(path, (_, node, _))| Entry {
                name: path.file_name().map(OsStr::to_owned).expect("a name"),
                kind: match node {
                    Node::Directory => EntryKind::Directory,
                    Node::File => EntryKind::Other,
                    Node::Link(_) => EntryKind::Symlink,
                },
            })
            .collect())
    }

    fn open<'a>(&'a self, dir: &'a Path) -> io::Result<Box<dyn Opened + 'a>> {
        Ok(Box::new(ByPath(self, dir)))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.called("stat", path);
        let real = self.resolve(path, 40)?;
        let (ino, node, time) = &self.nodes[&real];
        Ok(Stat {
            id: FileId { dev: 1, ino: *ino },
            is_dir: *node == Node::Directory,
            size: 0,
            mtime: *time,
            ctime: *time,
        })
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        self.called("canonicalize", path);
        self.resolve(path, 40)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.called("read_link", path);
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let real = self.resolve(parent, 40)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        match self.nodes.get(&real.join(name)) {
            Some((_, Node::Link(target), _)) => Ok(target.clone()),
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remote(&self, path: &Path) -> io::Result<bool> {
        self.called("remote", path);
        self.resolve(path, 40).map(|_| false)
    }

    fn now(&self) -> Wall {
        self.clock
    }
}
