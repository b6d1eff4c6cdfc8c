//! What a root's worker does: discover its folders, keep the watches right, and say what differs.
//!
//! Everything here may wait for the file system; a dead mount stops this root's worker and
//! nobody else.  When anybody is told is decided elsewhere.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inbox::{Inbox, Names};
use super::{Backend, MakeBackend, WatchError};
use crate::maildir::{
    Delta, FileId, FoundFolder, Fs, Layout, RootError, Scan, absorb, diff, discover, maildir_part,
    never_a_folder,
};

/// Rounds of discover-and-watch in one scan.  A second one is the rule (what appeared before its
/// parent was watched), a third means that folders appear while we look.
const MOST_ROUNDS: usize = 5;

/// Work for a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Discover, watch, compare; leave out these roots of others that lie inside.
    Scan {
        /// Their truenames.
        exclude: Vec<PathBuf>,
    },
    /// Entries of these directories changed: scan if they can matter.
    Look {
        /// Directories and the names of the entries.
        places: HashMap<PathBuf, Names>,
        /// As in `Scan`.
        exclude: Vec<PathBuf>,
    },
}

/// What a scan found, relative to the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// The root with symbolic links resolved.
    pub real_root: PathBuf,
    /// Folders that were not there.
    pub created: Vec<FoundFolder>,
    /// Truenames of those that are no more.
    pub deleted: Vec<PathBuf>,
    /// Truenames of those that may have changed.
    pub changed: Vec<PathBuf>,
    /// Directories that are watched.
    pub watches: usize,
    /// Directories that should be and are not.
    pub unwatched: usize,
    /// Why not, in words for the user.
    pub trouble: Option<String>,
    /// What could not be read; the rest was.
    pub problems: Vec<String>,
    /// It was not quiet yet: scan again.
    pub again: bool,
}

/// The answer to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Nothing that matters.
    Nothing,
    /// A scan.
    Scanned(Scanned),
    /// The root cannot be used now; in words for the user.
    Absent(String),
}

/// What a scan may believe.
#[derive(Clone, Copy)]
enum Trust<'a> {
    /// Events may have been lost: compare stamps.
    Nothing,
    /// What has been watched all along has told its changes itself; but not what is or lies in
    /// one of these entries.
    Watches(&'a HashMap<PathBuf, Names>),
}

/// The worker's state.
pub struct Root {
    fs: Box<dyn Fs>,
    /// `None`: the kernel's notification is not wanted.
    make: Option<MakeBackend>,
    inbox: Arc<Inbox>,
    spelling: PathBuf,
    layout: Layout,
    backend: Option<Box<dyn Backend>>,
    known: HashMap<PathBuf, FoundFolder>,
    /// Directories in which folders can appear, and folders' entries, by the path that an event
    /// about them has.
    places: HashSet<PathBuf>,
    watched: HashMap<PathBuf, FileId>,
    was_absent: bool,
}

impl Root {
    /// A root that knows nothing yet.
    pub fn new(
        spelling: PathBuf,
        layout: Layout,
        fs: Box<dyn Fs>,
        make: Option<MakeBackend>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Root {
            fs,
            make,
            inbox,
            spelling,
            layout,
            backend: None,
            known: HashMap::new(),
            places: HashSet::new(),
            watched: HashMap::new(),
            was_absent: false,
        }
    }

    /// Do one job.
    pub fn work(&mut self, job: Job) -> Report {
        match job {
            Job::Look { places, .. }
                if !places.iter().any(|(dir, names)| self.matters(dir, names)) =>
            {
                Report::Nothing
            }
            Job::Scan { exclude } => {
                self.distrust(|_| true);
                self.report(&exclude, Trust::Nothing)
            }
            Job::Look { places, exclude } => {
                self.distrust(|path| touched(&places, path, true));
                self.report(&exclude, Trust::Watches(&places))
            }
        }
    }

    /// Set these watches anew.  A directory that was removed and made again may have its old
    /// path and even its old inode, but not its old watch.
    fn distrust(&mut self, doubtful: impl Fn(&Path) -> bool) {
        for (path, id) in &mut self.watched {
            if doubtful(path) {
                *id = NOWHERE;
            }
        }
    }

    fn report(&mut self, exclude: &[PathBuf], trust: Trust) -> Report {
        match self.scan(exclude, trust) {
            Ok(scanned) => Report::Scanned(scanned),
            Err(error) => {
                // Whatever comes in its place is another directory with other watches.
                self.backend = None;
                self.watched.clear();
                self.was_absent = true;
                Report::Absent(error.to_string())
            }
        }
    }

    /// Index files come and go beside the folders all day; only directories matter.
    fn matters(&self, place: &Path, names: &Names) -> bool {
        let Names::Some(names) = names else {
            return self.places.contains(place);
        };
        names.iter().any(|name| {
            let path = place.join(name);
            maildir_part(name)
                || self.places.contains(&path)
                || !never_a_folder(name) && self.fs.stat(&path).is_ok_and(|stat| stat.is_dir)
        })
    }

    fn scan(&mut self, exclude: &[PathBuf], trust: Trust) -> Result<Scanned, RootError> {
        let mut scanned = Scanned::default();
        // Only a directory that was watched all the time has nothing but its events to tell.
        let mut vouched = match trust {
            Trust::Nothing => HashMap::new(),
            Trust::Watches(_) => self.watched.clone(),
        };
        if self.backend.is_none()
            && let Some(make) = &self.make
        {
            match make(self.inbox.clone()) {
                Ok(backend) => self.backend = Some(backend),
                Err(error) => scanned.trouble = Some(format!("{error:#}")),
            }
        }
        let mut rounds = 0;
        let scan = loop {
            rounds += 1;
            let scan = discover(&*self.fs, &self.spelling, self.layout, exclude)?;
            // What was there before its directory was watched is only seen by looking again.
            let quiet = !self.rewatch(&scan, &mut vouched, &mut scanned);
            if quiet || rounds == MOST_ROUNDS {
                scanned.again = !quiet;
                break scan;
            }
        };
        self.remember(scan, &vouched, trust, &mut scanned);
        Ok(scanned)
    }

    fn remember(
        &mut self,
        scan: Scan,
        vouched: &HashMap<PathBuf, FileId>,
        trust: Trust,
        scanned: &mut Scanned,
    ) {
        let mut delta = diff(&self.known, &scan);
        let same = |part: PathBuf| {
            let id = vouched.get(&part);
            id.is_some_and(|id| *id != NOWHERE) && id == self.watched.get(&part)
        };
        (delta.changed).retain(|real| !(same(real.join("new")) && same(real.join("cur"))));
        if let Trust::Watches(places) = trust {
            // It may have been away, with another in its place, which no stamp of its own shows.
            let moved = |part: PathBuf| touched(places, &part, false);
            let moved = |real: &PathBuf| moved(real.join("new")) || moved(real.join("cur"));
            let back = scan.folders.iter().map(|folder| &folder.real);
            let back = back.filter(|real| self.known.contains_key(*real) && moved(real));
            delta.changed.extend(back.cloned());
            delta.changed.sort();
            delta.changed.dedup();
        }
        if std::mem::take(&mut self.was_absent) {
            // Whatever came back is in doubt, however familiar it looks.
            let stayed = scan.folders.iter().map(|folder| folder.real.clone());
            let stayed = stayed.filter(|real| self.known.contains_key(real));
            delta.changed = stayed.collect();
            delta.changed.sort();
        }
        self.renamed(&scan, &mut delta);
        let entry = |folder: &FoundFolder| {
            let below = folder.directory.strip_prefix(&self.spelling);
            below.map_or_else(|_| folder.real.clone(), |below| scan.real_root.join(below))
        };
        self.places = (scan.containers.iter())
            .map(|container| container.real.clone())
            .chain(scan.folders.iter().map(entry))
            .collect();
        absorb(&mut self.known, &scan, &delta);
        scanned.real_root = scan.real_root;
        scanned.problems = scan.problems.iter().map(ToString::to_string).collect();
        scanned.created = delta.created;
        scanned.deleted = delta.deleted;
        scanned.changed = delta.changed;
        scanned.watches = self.watched.len();
    }

    /// A directory that goes by another name now (another link leads to it) is another folder.
    fn renamed(&self, scan: &Scan, delta: &mut Delta) {
        let other = |folder: &&FoundFolder| {
            let old = self.known.get(&folder.real);
            old.is_some_and(|old| old.name != folder.name || old.directory != folder.directory)
        };
        for folder in scan.folders.iter().filter(other) {
            delta.changed.retain(|real| *real != folder.real);
            delta.deleted.push(folder.real.clone());
            delta.created.push(folder.clone());
        }
    }

    /// Make the watches those that the scan wants; true when one was added.
    fn rewatch(
        &mut self,
        scan: &Scan,
        vouched: &mut HashMap<PathBuf, FileId>,
        scanned: &mut Scanned,
    ) -> bool {
        let Some(backend) = &mut self.backend else {
            // The root at least, even where it has no folder yet: it has to be looked at again.
            let wanted = 2 * scan.folders.len() + scan.containers.len();
            scanned.unwatched = if self.make.is_some() { wanted } else { 0 };
            return false;
        };
        // What an earlier round could not watch may be gone by now.
        scanned.unwatched = 0;
        scanned.trouble = None;
        let messages = scan.folders.iter().flat_map(|folder| {
            let new = (folder.real.join("new"), folder.new.id);
            [new, (folder.real.join("cur"), folder.cur.id)]
        });
        let places = scan
            .containers
            .iter()
            .map(|place| (place.real.clone(), place.id));
        let wanted: HashMap<PathBuf, FileId> = messages.chain(places).collect();

        // Old ones first: a renamed directory must not lose its new watch with its old name.
        let stale = |(path, id): &(&PathBuf, &FileId)| wanted.get(*path) != Some(*id);
        let stale = self.watched.iter().filter(stale);
        let stale: Vec<PathBuf> = stale.map(|(path, _)| path.clone()).collect();
        if !stale.is_empty() {
            backend.unwatch(&stale);
            for path in &stale {
                self.watched.remove(path);
                // It may be back in the next round, under the same identity, with a gap between.
                vouched.remove(path);
            }
        }
        let missing = wanted
            .keys()
            .filter(|path| !self.watched.contains_key(*path));
        let mut missing: Vec<PathBuf> = missing.cloned().collect();
        missing.sort_unstable();
        if missing.is_empty() {
            return false;
        }
        let failed: HashMap<PathBuf, WatchError> = backend.watch(&missing).into_iter().collect();
        let mut added = false;
        for path in missing {
            match failed.get(&path) {
                None => {
                    added = true;
                    if let Some(id) = wanted.get(&path) {
                        self.watched.insert(path, *id);
                    }
                }
                // It vanished, or was replaced, under our hands: the next round knows.
                Some(WatchError::Gone) => added = true,
                Some(error) => {
                    scanned.unwatched += 1;
                    scanned.trouble.get_or_insert_with(|| trouble(error));
                }
            }
        }
        added
    }
}

/// The identity of no directory.
const NOWHERE: FileId = FileId { dev: 0, ino: 0 };

/// Whether something happened to this directory itself, or to one that it is in; where the
/// names were too many to know, the answer is `possibly`.
fn touched(places: &HashMap<PathBuf, Names>, path: &Path, possibly: bool) -> bool {
    let mut up = path.ancestors();
    up.any(|path| {
        match (
            path.parent().and_then(|parent| places.get(parent)),
            path.file_name(),
        ) {
            (Some(Names::All), _) => possibly,
            (Some(Names::Some(names)), Some(name)) => names.contains(name),
            _ => false,
        }
    })
}

fn trouble(error: &WatchError) -> String {
    match error {
        WatchError::Limit => "the kernel's limit of watches is reached, the rest is looked at \
                              from time to time: raise fs.inotify.max_user_watches \
                              (sysctl fs.inotify.max_user_watches=524288)"
            .to_owned(),
        WatchError::Gone => "it vanished".to_owned(),
        WatchError::Other(text) => text.clone(),
    }
}
