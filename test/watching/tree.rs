//! A tree that changes at random, and what has to be told of that.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, thread};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::look::{Folders, differing, list, look};
use super::ms;
use super::owed::Owed;
use super::rng::Rng;
use super::support::maildir;

/// A tree that changes, and what has to be told of that.
pub(crate) struct Tree {
    base: PathBuf,
    pub(crate) root: PathBuf,
    rng: Rng,
    serial: u64,
    pub(crate) folders: Folders,
    /// Moments within the operation that is going on: what was about to change, and whether
    /// that is all below it, too.
    pub(crate) touched: Vec<(Instant, PathBuf, bool)>,
    /// What must be told, from when on.
    pub(crate) owed: Owed,
    pub(crate) log: Vec<String>,
}

impl Tree {
    pub(crate) fn new(base: &Path, rng: Rng) -> Self {
        let base = base.canonicalize().unwrap();
        let root = base.join("Mail");
        for dir in ["Mail", "build", "outside"] {
            fs::create_dir(base.join(dir)).unwrap();
        }
        for target in ["t0", "t1", "t2"] {
            maildir(&base.join("outside").join(target));
        }
        maildir(&base.join("outside/t0/sub"));
        Tree {
            base,
            root,
            rng,
            serial: 0,
            folders: Folders::new(),
            touched: Vec::new(),
            owed: Owed::new(),
            log: Vec::new(),
        }
    }

    fn name(&mut self) -> String {
        self.serial += 1;
        format!("{}.{}", self.serial, self.rng.below(1_000_000))
    }

    /// The next system call changes this folder.
    fn touch(&mut self, folder: &Path) {
        let now = Instant::now();
        self.touched.push((now, folder.to_owned(), false));
    }

    /// The next system call changes whatever is or lies here.
    fn touch_below(&mut self, path: &Path) {
        let now = Instant::now();
        self.touched.push((now, path.to_owned(), true));
    }

    /// See what an operation did.
    fn settle(&mut self, started: Instant) {
        let after = look(&self.root);
        for real in differing(&self.folders, &after) {
            let here = |(_, path, below): &&(Instant, PathBuf, bool)| {
                real == path || *below && real.starts_with(path)
            };
            let last = self.touched.iter().filter(here).map(|it| it.0).max();
            self.owed.insert(real.clone(), last.unwrap_or(started));
        }
        self.folders = after;
        self.touched.clear();
    }

    // Messages.

    fn deliver(&mut self, folder: &Path) -> PathBuf {
        let name = self.name();
        let (tmp, new) = (
            folder.join("tmp").join(&name),
            folder.join("new").join(&name),
        );
        fs::write(&tmp, "x").unwrap();
        self.touch(folder);
        if self.rng.once_in(2) {
            fs::rename(&tmp, &new).unwrap();
        } else {
            fs::hard_link(&tmp, &new).unwrap();
            fs::remove_file(&tmp).unwrap();
        }
        new
    }

    fn message(&mut self, folder: &Path, parts: &[&str]) -> Option<PathBuf> {
        let messages = parts.iter().flat_map(|part| {
            let dir = folder.join(part);
            list(&dir).into_iter().map(move |name| dir.join(name))
        });
        let messages: Vec<_> = messages.collect();
        (!messages.is_empty()).then(|| self.rng.choose(&messages).clone())
    }

    // Folders.

    fn any_folder(&mut self) -> Option<PathBuf> {
        let all: Vec<_> = self.folders.keys().cloned().collect();
        (!all.is_empty()).then(|| self.rng.choose(&all).clone())
    }

    /// A folder that lies in the root or in another folder.
    fn inner_folder(&mut self) -> Option<PathBuf> {
        let inner = |real: &&PathBuf| {
            let parent = real
                .parent()
                .is_some_and(|it| self.folders.contains_key(it));
            parent || real.starts_with(&self.root) && **real != self.root
        };
        let inner: Vec<_> = self.folders.keys().filter(inner).cloned().collect();
        (!inner.is_empty()).then(|| self.rng.choose(&inner).clone())
    }

    /// A path at which nothing is and a folder could be.
    pub(crate) fn free_path(&mut self) -> PathBuf {
        loop {
            let nested = self.folders.keys().filter_map(|real| {
                let below = real.strip_prefix(&self.root).ok()?;
                let dotted = below.iter().any(|it| it.as_bytes().starts_with(b"."));
                (!dotted && below.iter().count() < 4).then(|| real.clone())
            });
            let mut parents: Vec<_> = nested.collect();
            parents.push(self.root.clone());
            let parent = self.rng.choose(&parents).clone();
            // Any byte may be in a name, and modified UTF-7 often is.
            let names: [&[u8]; 5] = [b"a", b"b", b"&AOk-", b"d d", b"e\xff\n"];
            let name = *self.rng.choose(&names);
            let entry = match (self.rng.below(4), parent == self.root) {
                (0, _) => [b".", name].concat(),
                (1, true) => [b".", name, b".x"].concat(),
                _ => name.to_vec(),
            };
            let entry = OsString::from_vec(entry);
            let path = parent.join(entry);
            if path.symlink_metadata().is_err() {
                return path;
            }
        }
    }

    pub(crate) fn make(&mut self, path: &Path, messages: u64) {
        let mut parts = ["cur", "new", "tmp"];
        parts.rotate_left(self.rng.index(3));
        fs::create_dir_all(path).unwrap();
        for part in parts {
            self.touch(path);
            fs::create_dir(path.join(part)).unwrap();
        }
        for _ in 0..messages {
            self.deliver(path);
        }
    }

    /// `rm -r`
    fn remove(&mut self, path: &Path) {
        for name in list(path) {
            let entry = path.join(&name);
            let is_dir = entry.symlink_metadata().unwrap().is_dir();
            if is_dir && !["cur", "new", "tmp"].iter().any(|part| name == *part) {
                self.remove(&entry);
            } else if !is_dir {
                // A link to a folder goes.
                if let Ok(target) = entry.canonicalize() {
                    self.touch_below(&target);
                }
                fs::remove_file(&entry).unwrap();
            }
        }
        let mut whole = true;
        for part in ["cur", "new", "tmp"] {
            let dir = path.join(part);
            for name in list(&dir) {
                if whole && part != "tmp" {
                    self.touch(path);
                }
                fs::remove_file(dir.join(name)).unwrap();
            }
            if dir.exists() {
                if whole {
                    self.touch(path);
                }
                fs::remove_dir(&dir).unwrap();
            }
            whole = false;
        }
        fs::remove_dir(path).unwrap();
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        self.touch_below(from);
        self.touch_below(to);
        fs::rename(from, to).unwrap();
    }

    fn exchange(&mut self, a: &Path, b: &Path) {
        self.touch_below(a);
        self.touch_below(b);
        renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
    }

    fn pause(&mut self) {
        let pauses = [0, 0, 0, 1, 5, 30, 150];
        thread::sleep(ms(*self.rng.choose(&pauses)));
    }

    /// One random operation; says what it did.
    pub(crate) fn operate(&mut self) -> Option<String> {
        let started = Instant::now();
        let below =
            |path: &Path, base: &Path| path.strip_prefix(base).unwrap().display().to_string();
        let base = self.base.clone();
        let show = |path: &Path| below(path, &base);
        let kind = self.rng.below(40);
        let said = match kind {
            0..=4 => {
                let folder = self.any_folder()?;
                let message = self.deliver(&folder);
                format!("deliver {}", show(&message))
            }
            5..=7 => {
                let folder = self.any_folder()?;
                let message = self.message(&folder, &["cur"])?;
                let name = message.file_name()?.to_str()?.to_owned();
                let flagged = match name.strip_suffix('S') {
                    Some(unseen) => unseen.to_owned(),
                    None => format!("{name}S"),
                };
                self.touch(&folder);
                fs::rename(&message, message.with_file_name(&flagged)).unwrap();
                format!("flag {} -> {flagged}", show(&message))
            }
            8..=10 => {
                let folder = self.any_folder()?;
                let message = self.message(&folder, &["new"])?;
                let name = message.file_name()?.to_str()?.to_owned();
                self.touch(&folder);
                fs::rename(&message, folder.join(format!("cur/{name}:2,"))).unwrap();
                format!("new to cur {}", show(&message))
            }
            11 | 12 => {
                let folder = self.any_folder()?;
                let message = self.message(&folder, &["new", "cur"])?;
                self.touch(&folder);
                fs::remove_file(&message).unwrap();
                format!("expunge {}", show(&message))
            }
            13..=15 => {
                let (from, to) = (self.any_folder()?, self.any_folder()?);
                let message = self.message(&from, &["new", "cur"])?;
                let name = self.name();
                self.touch(&from);
                self.touch(&to);
                fs::rename(&message, to.join(format!("cur/{name}:2,S"))).unwrap();
                format!("move {} to {}", show(&message), show(&to))
            }
            16..=18 => {
                let path = self.free_path();
                let count = self.rng.below(3);
                self.make(&path, count);
                format!("make {} with {count}", show(&path))
            }
            19 => {
                // Deep, and delivered into at once: nobody can have watched it yet.
                let path = self.free_path();
                let plus = path.file_name()?.as_bytes().starts_with(b".");
                let leaf = if plus { path.clone() } else { path.join("p/q") };
                self.make(&leaf, 1);
                format!("make deep {}", show(&leaf))
            }
            20 => {
                let folder = self.inner_folder()?;
                let gone = self.base.join("build/gone");
                if gone.exists() || self.rng.once_in(2) {
                    self.remove(&folder);
                    format!("delete {}", show(&folder))
                } else {
                    self.rename(&folder, &gone);
                    format!("move out {}", show(&folder))
                }
            }
            21..=23 => {
                let from = self.inner_folder()?;
                let to = self.free_path();
                if to.starts_with(&from) {
                    return None;
                }
                self.rename(&from, &to);
                format!("rename {} to {}", show(&from), show(&to))
            }
            24 | 25 => {
                let name = self.name();
                let mut built = self.base.join("build/gone");
                if built.join("new").is_dir() {
                    self.deliver(&built);
                } else {
                    built.set_file_name(name);
                    self.make(&built, 1);
                    if self.rng.once_in(2) {
                        self.make(&built.join("in"), 1);
                    }
                }
                let path = self.free_path();
                self.rename(&built, &path);
                format!("build and rename to {}", show(&path))
            }
            26 | 27 => {
                let folder = self.inner_folder()?;
                self.remove(&folder);
                self.pause();
                self.make(&folder, 1);
                format!("delete and make again {}", show(&folder))
            }
            28 | 29 => {
                let folder = self.any_folder()?;
                let part = *self.rng.choose(&["new", "cur"]);
                let dir = folder.join(part);
                for name in list(&dir) {
                    self.touch(&folder);
                    fs::remove_file(dir.join(name)).unwrap();
                }
                self.touch(&folder);
                fs::remove_dir(&dir).unwrap();
                self.pause();
                self.touch(&folder);
                fs::create_dir(&dir).unwrap();
                self.deliver(&folder);
                format!("remove {} and make it again", show(&dir))
            }
            30 | 31 => {
                let (a, b) = (self.inner_folder()?, self.inner_folder()?);
                if a.starts_with(&b) || b.starts_with(&a) {
                    return None;
                }
                let mut said = String::from("swap");
                if self.rng.once_in(3) {
                    // There and back: whoever looked in between saw another.
                    self.exchange(&a, &b);
                    self.settle(started);
                    self.pause();
                    self.exchange(&a, &b);
                    said.push_str(" there and back");
                } else if self.rng.once_in(2) {
                    self.exchange(&a, &b);
                } else {
                    let between = self.free_path();
                    if between.starts_with(&a) || between.starts_with(&b) {
                        return None;
                    }
                    self.rename(&a, &between);
                    self.rename(&b, &a);
                    self.rename(&between, &b);
                }
                format!("{said} {} and {}", show(&a), show(&b))
            }
            32..=34 => {
                let link = self.root.join(*self.rng.choose(&[".link", "link", "l"]));
                let mut targets = vec![None, None];
                targets
                    .extend(["t0", "t1", "t2"].map(|it| Some(self.base.join("outside").join(it))));
                targets.push(self.inner_folder());
                let target = self.rng.choose(&targets).clone();
                if let Ok(old) = link.canonicalize() {
                    self.touch_below(&old);
                }
                match &target {
                    None => {
                        fs::remove_file(&link).ok()?;
                    }
                    Some(target) => {
                        let made = self.base.join("build/made");
                        symlink(target, &made).unwrap();
                        self.touch_below(target);
                        fs::rename(&made, &link).unwrap();
                    }
                }
                format!("link {} to {:?}", show(&link), target.as_deref().map(show))
            }
            35 | 36 => {
                let folder = self.any_folder()?;
                let names = [
                    "dovecot-uidlist",
                    ".mbsyncstate",
                    "maildirfolder",
                    "subscriptions",
                ];
                let name = *self.rng.choose(&names);
                let lock = folder.join(format!("{name}.lock"));
                fs::write(&lock, "x").unwrap();
                fs::rename(&lock, folder.join(name)).unwrap();
                fs::create_dir_all(folder.join(".nnmaildir/marks")).unwrap();
                format!("index {} {name}", show(&folder))
            }
            37 => {
                let away = self.base.join("away");
                fs::rename(&self.root, &away).unwrap();
                self.pause();
                let mut inside = Vec::new();
                if let Some(folder) = self.inner_folder()
                    && let Ok(below) = folder.strip_prefix(&self.root).map(Path::to_owned)
                    && self.rng.once_in(2)
                {
                    let name = self.name();
                    self.touch(&folder);
                    fs::write(away.join(&below).join("new").join(name), "x").unwrap();
                    inside.push(below);
                }
                self.pause();
                fs::rename(&away, &self.root).unwrap();
                format!("the root goes and comes back, meanwhile {inside:?}")
            }
            38 if self.rng.once_in(3) => {
                let root = self.root.clone();
                self.remove(&root);
                self.pause();
                // Never without any folder: that may be a file system that is not mounted.
                self.make(&root, 0);
                self.make(&root.join(".a"), 1);
                self.make(&root.join("b"), 1);
                "the root is deleted and made again".to_owned()
            }
            39 => {
                let root = self.root.clone();
                if self.folders.contains_key(&root) {
                    return None;
                }
                for part in ["cur", "new", "tmp"] {
                    self.touch(&root);
                    // One that is there may be the rest of a part that went.
                    let _ = fs::create_dir(root.join(part));
                }
                "the root becomes a folder".to_owned()
            }
            _ => return None,
        };
        self.settle(started);
        Some(said)
    }
}
