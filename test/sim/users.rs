//! Everybody who changes mail without asking: MDAs, mail readers, syncers, and the user's shell.
//!
//! What they do is cut into single operations; several of them work at once, so theirs mix.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use mailsync_module::maildir::Layout;

use crate::disk::Disk;
use crate::rng::Rng;

/// One system call.
#[derive(Clone, Debug)]
pub enum Op {
    Mkdir(PathBuf),
    Create(PathBuf),
    Link(PathBuf, PathBuf),
    Unlink(PathBuf),
    Rmdir(PathBuf),
    Rename(PathBuf, PathBuf),
    /// A link that leads there, here.
    Symlink(PathBuf, PathBuf),
    Mount(PathBuf),
    Unmount(PathBuf),
    /// Not one: remove a tree, an entry a step.
    RemoveTree(PathBuf),
}

impl Op {
    /// Do it.
    pub fn apply(self, disk: &mut Disk) -> io::Result<()> {
        match self {
            Op::Mkdir(path) => disk.mkdir(&path),
            Op::Create(path) => disk.create(&path),
            Op::Link(from, to) => disk.link(&from, &to),
            Op::Unlink(path) => disk.unlink(&path),
            Op::Rmdir(path) => disk.rmdir(&path),
            Op::Rename(from, to) => disk.rename(&from, &to),
            Op::Symlink(target, path) => disk.symlink(&target, &path),
            Op::Mount(path) => disk.mount(&path),
            Op::Unmount(path) => disk.unmount(&path),
            Op::RemoveTree(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Op {
    /// Where it happens.
    fn place(&self) -> Option<&Path> {
        match self {
            Op::Mkdir(path) | Op::Create(path) | Op::Unlink(path) | Op::Rmdir(path) => Some(path),
            Op::Link(_, path) | Op::Rename(_, path) => Some(path),
            _ => None,
        }
    }
}

/// How wild they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Mail comes, is read, and goes.
    Mail,
    /// And folders come and go.
    Folders,
    /// And whole roots.
    Roots,
}

pub struct Users {
    /// What each of them is in the middle of.
    plans: Vec<VecDeque<Op>>,
    pub habit: Habit,
    /// What they still want to begin.
    pub appetite: u32,
    serial: u64,
    /// What brings back the roots that are away, by what is not in its place.
    pub away: Vec<(PathBuf, Vec<Op>)>,
    /// There is somebody who tells of mounts.
    pub mounts: bool,
}

const LEVELS: [&str; 4] = ["a", "b", "c", "lists"];

impl Users {
    pub fn new(habit: Habit, mounts: bool) -> Self {
        Users {
            plans: vec![VecDeque::new(); 3],
            habit,
            appetite: 0,
            serial: 0,
            away: Vec::new(),
            mounts,
        }
    }

    /// Whether nobody is in the middle of anything.
    pub fn idle(&self) -> bool {
        self.appetite == 0 && self.plans.iter().all(VecDeque::is_empty)
    }

    /// Do one operation; returns what it was.
    pub fn step(&mut self, disk: &mut Disk, rng: &mut Rng) -> Option<String> {
        let busy: Vec<usize> = (0..self.plans.len())
            .filter(|user| !self.plans[*user].is_empty() || self.appetite > 0)
            .collect();
        if busy.is_empty() {
            return None;
        }
        let user = *rng.choose(&busy);
        if self.plans[user].is_empty() {
            self.appetite -= 1;
            let plan = self.plan(disk, rng);
            self.plans[user].extend(plan);
        }
        let op = self.plans[user].pop_front()?;
        let place = op.place().and_then(Path::parent);
        let elsewhere = place.is_some_and(|path| disk.elsewhere(path)) && rng.once_in(2);
        disk.unseen = disk.sleeps || elsewhere;
        let unseen = match (disk.sleeps, elsewhere) {
            (true, _) => " while it sleeps",
            (false, true) => " from afar",
            (false, false) => "",
        };
        let text = format!("user {user}{unseen}: {op:?}");
        let result = match op {
            Op::RemoveTree(path) => {
                for op in removal(disk, &path).into_iter().rev() {
                    self.plans[user].push_front(op);
                }
                Ok(())
            }
            op => op.apply(disk),
        };
        disk.unseen = false;
        Some(match result {
            Ok(()) => text,
            Err(error) => format!("{text}: {error}"),
        })
    }

    /// Bring home every root that is away.
    pub fn return_roots(&mut self) {
        // The last one first: it may be in the place of another.
        for (_, ops) in std::mem::take(&mut self.away).into_iter().rev() {
            self.plans[0].extend(ops);
        }
    }

    fn plan(&mut self, disk: &Disk, rng: &mut Rng) -> Vec<Op> {
        let folders: Vec<&PathBuf> = disk.truth.folders.keys().collect();
        let wild = match self.habit {
            Habit::Mail => 0,
            Habit::Folders => 30,
            Habit::Roots => 33,
        };
        let what = rng.below(100);
        if folders.is_empty() || what < wild {
            return match what {
                0..9 => self.new_folder(disk, rng),
                30.. if self.habit == Habit::Roots => self.root_away(disk, rng),
                _ if folders.is_empty() => self.new_folder(disk, rng),
                _ => {
                    let folder = *rng.choose(&folders);
                    self.upheaval(disk, folder, rng)
                }
            };
        }
        let folder = (*rng.choose(&folders)).clone();
        match what % 10 {
            0..4 => (0..=rng.below(3))
                .flat_map(|_| self.deliver(&folder, rng))
                .collect(),
            4 => vec![
                Op::Create(folder.join("dovecot-uidlist.lock")),
                Op::Rename(
                    folder.join("dovecot-uidlist.lock"),
                    folder.join(format!("dovecot-uidlist.{}", self.number())),
                ),
            ],
            _ => self.handle_message(disk, &folder, rng),
        }
    }

    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn deliver(&mut self, folder: &Path, rng: &mut Rng) -> Vec<Op> {
        let name = self.number().to_string();
        let (tmp, new) = (
            folder.join("tmp").join(&name),
            folder.join("new").join(&name),
        );
        match rng.below(4) {
            0 => vec![
                Op::Create(tmp.clone()),
                Op::Link(tmp.clone(), new),
                Op::Unlink(tmp),
            ],
            1 => vec![Op::Create(new)],
            2 => vec![
                Op::Create(tmp.clone()),
                Op::Rename(tmp, folder.join("cur").join(name + ":2,S")),
            ],
            _ => vec![Op::Create(tmp.clone()), Op::Rename(tmp, new)],
        }
    }

    /// Read, flag, move or expunge a message, if there is one.
    fn handle_message(&mut self, disk: &Disk, folder: &Path, rng: &mut Rng) -> Vec<Op> {
        let messages = |part: &str| {
            let directory = folder.join(part);
            let names = disk.names(&directory).into_iter();
            names.map(move |name| directory.join(name))
        };
        let messages: Vec<PathBuf> = messages("new").chain(messages("cur")).collect();
        if messages.is_empty() {
            return self.deliver(folder, rng);
        }
        let message = rng.choose(&messages).clone();
        let number = self.number();
        let renamed = |folder: &Path| folder.join("cur").join(format!("{number}:2,S"));
        match rng.below(8) {
            0..2 => vec![Op::Unlink(message)],
            2 => {
                let folders: Vec<&PathBuf> = disk.truth.folders.keys().collect();
                let folder = *rng.choose(&folders);
                vec![Op::Rename(message, renamed(folder))]
            }
            _ => vec![Op::Rename(message, renamed(folder))],
        }
    }

    /// A place where a folder may be.
    fn place(&self, disk: &Disk, rng: &mut Rng) -> PathBuf {
        let root = rng.choose(&disk.truth.roots);
        let level = *rng.choose(&LEVELS);
        match (root.layout, rng.below(4)) {
            (Layout::MaildirPlusPlus, 0) => root.real.join(format!(".{level}.sub")),
            (Layout::MaildirPlusPlus, _) | (Layout::Auto, 0) => root.real.join(format!(".{level}")),
            (Layout::Auto, 1) => root.real.join(level).join(".deep"),
            (_, 2) => root.real.join(level).join(rng.choose(&LEVELS)),
            _ => root.real.join(level),
        }
    }

    fn new_folder(&mut self, disk: &Disk, rng: &mut Rng) -> Vec<Op> {
        let folder = self.place(disk, rng);
        let mut plan = Vec::new();
        if rng.once_in(3) {
            // As Courier does: made elsewhere, renamed into place.
            let made = PathBuf::from(format!("/made{}", self.number()));
            plan.extend(maildir(&made, rng));
            plan.extend(self.deliver(&made, rng));
            plan.push(Op::Rename(made, folder));
            return plan;
        }
        plan.extend(folder.parent().map(|it| Op::Mkdir(it.to_owned())));
        plan.extend(maildir(&folder, rng));
        for _ in 0..rng.below(3) {
            plan.extend(self.deliver(&folder, rng));
        }
        plan
    }

    /// Something happens to a folder as a whole.
    fn upheaval(&mut self, disk: &Disk, folder: &Path, rng: &mut Rng) -> Vec<Op> {
        let is_root = disk.truth.roots.iter().any(|it| it.real == folder);
        let holds_root = disk
            .truth
            .roots
            .iter()
            .any(|it| it.real.starts_with(folder));
        if holds_root && !is_root {
            return self.deliver(folder, rng);
        }
        let to = self.place(disk, rng);
        let aside = PathBuf::from(format!("/aside{}", self.number()));
        let mut plan = Vec::new();
        match rng.below(7) {
            _ if is_root => return self.deliver(folder, rng),
            0 | 1 => plan.push(Op::RemoveTree(folder.to_owned())),
            2 => plan.push(Op::Rename(folder.to_owned(), to)),
            // Away and back.
            3 => {
                plan.push(Op::Rename(folder.to_owned(), to.clone()));
                if rng.once_in(2) {
                    plan.extend(self.deliver(&to, rng));
                }
                plan.push(Op::Rename(to, folder.to_owned()));
            }
            // Two change places.
            4 => {
                plan.push(Op::Rename(folder.to_owned(), aside.clone()));
                plan.push(Op::Rename(to.clone(), folder.to_owned()));
                plan.push(Op::Rename(aside, to));
            }
            // Removed, and made anew: with luck in the same inodes.
            5 => {
                plan.push(Op::RemoveTree(folder.to_owned()));
                plan.extend(maildir(folder, rng));
            }
            // Out of sight; only half of it; a part is replaced.
            _ => match rng.below(3) {
                0 => plan.push(Op::Rename(folder.to_owned(), aside)),
                _ => {
                    let part = folder.join(rng.choose(&["new", "cur"]));
                    plan.push(Op::RemoveTree(part.clone()));
                    plan.push(Op::Mkdir(part));
                }
            },
        }
        for _ in 0..rng.below(3) {
            plan.extend(self.deliver(folder, rng));
        }
        plan
    }

    fn root_away(&mut self, disk: &Disk, rng: &mut Rng) -> Vec<Op> {
        let home = rng.choose(&disk.truth.roots).real.clone();
        let inside = |path: &Path| {
            let mut roots = disk.truth.roots.iter();
            roots.any(|root| root.real.starts_with(path) && root.real != path)
        };
        if self.away.iter().any(|it| it.0 == home) || self.away.len() > 1 {
            self.return_roots();
            return Vec::new();
        }
        let number = self.number();
        let away = PathBuf::from(format!("/away{number}"));
        let back = |from: PathBuf, home: PathBuf| {
            vec![Op::RemoveTree(home.clone()), Op::Rename(from, home)]
        };
        let choice = rng.below(8);
        match choice {
            // The way to it is gone.
            0 => {
                let top = PathBuf::from("/home");
                let plan = vec![Op::Rename(top.clone(), away.clone())];
                self.away.push((home, vec![Op::Rename(away, top)]));
                return plan;
            }
            1 => {
                let link = PathBuf::from("/home/link");
                let plan = vec![Op::Unlink(link.clone())];
                let target = PathBuf::from("/home/m");
                self.away.push((home, vec![Op::Symlink(target, link)]));
                return plan;
            }
            // Something is mounted on it: nothing, or another mail.
            2 | 3 if self.mounts => {
                let mut plan = vec![Op::Mount(home.clone())];
                if choice == 2 {
                    plan.extend(maildir(&home, rng));
                    plan.extend(self.deliver(&home, rng));
                }
                self.away.push((home.clone(), vec![Op::Unmount(home)]));
                return plan;
            }
            _ => {}
        }
        if inside(&home) {
            return Vec::new();
        }
        let mut plan = vec![Op::Rename(home.clone(), away.clone())];
        plan.extend(self.deliver(&away, rng));
        match rng.below(4) {
            0 => plan.push(Op::Rename(away, home)),
            1 => {
                // Something else takes its place.
                plan.push(Op::Mkdir(home.clone()));
                plan.extend(maildir(&home, rng));
                plan.extend(self.deliver(&home, rng));
                self.away.push((home.clone(), back(away, home)));
            }
            2 => {
                plan.push(Op::Mkdir(home.clone()));
                self.away.push((home.clone(), back(away, home)));
            }
            _ => self.away.push((home.clone(), back(away, home))),
        }
        plan
    }
}

/// Make a maildir, its parts in whatever order.
pub fn maildir(folder: &Path, rng: &mut Rng) -> Vec<Op> {
    let mut parts = vec!["cur", "new", "tmp"];
    let mut plan = vec![Op::Mkdir(folder.to_owned())];
    while !parts.is_empty() {
        let part = parts.remove(rng.index(parts.len()));
        plan.push(Op::Mkdir(folder.join(part)));
    }
    plan
}

/// `rm -r`: the operations for what is there now, and again if more has come meanwhile.
fn removal(disk: &Disk, path: &Path) -> Vec<Op> {
    if disk
        .truth
        .roots
        .iter()
        .any(|root| root.real != *path && root.real.starts_with(path))
    {
        return Vec::new();
    }
    let mut ops = Vec::new();
    for name in disk.names(path) {
        let entry = path.join(name);
        if disk.list(&entry).is_ok() {
            ops.extend(removal(disk, &entry));
        } else {
            ops.push(Op::Unlink(entry));
        }
    }
    ops.push(Op::Rmdir(path.to_owned()));
    ops
}
