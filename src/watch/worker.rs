//! What a root's worker does: discover its folders, keep the watches right, and say what differs.
//!
//! Everything here may wait for the file system; a dead mount stops this root's worker and
//! nobody else.  When to look, and when anybody is told, is decided elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::inbox::{Inbox, Names};
use super::job::{Absent, Depth, Job, Report, Scanned};
use super::spot::Spot;
use super::trail::Trail;
use super::watches::{Outcome, Wanted, Watches};
use super::{MakeBackend, limits};
use crate::maildir::{
    Clock, Delta, FileId, FoundFolder, Fs, Layout, RootError, Scan, absorb, diff, discover,
    maildir_part, never_a_folder,
};

/// Rounds of discover-and-watch in one scan.  A second one is the rule (what appeared before its
/// parent was watched), a third means that folders appear while we look.
const MOST_ROUNDS: usize = 5;

/// When a fresh stamp has settled: a little later than the tick in which it was made is over.
const SETTLES: Duration = Duration::from_millis(2_100);

/// The worker's state.
pub struct Worker {
    fs: Box<dyn Fs>,
    inbox: Arc<Inbox>,
    spelling: PathBuf,
    layout: Layout,
    watches: Watches,
    known: HashMap<Arc<Path>, Arc<FoundFolder>>,
    /// Directories in which folders can appear, links to folders, and the way to the root, by the
    /// path that an event about them has.
    places: HashSet<PathBuf>,
    /// Which directory the root was when it was scanned last.
    id: FileId,
    was_absent: bool,
    /// Whose clock stamps the directories of a device.  There are few, and it is asked for each folder.
    clocks: BTreeMap<u64, Clock>,
}

impl Worker {
    /// A worker that knows nothing yet.  Without `make`, the kernel's notification is not wanted.
    pub fn new(
        spelling: PathBuf,
        layout: Layout,
        fs: Box<dyn Fs>,
        make: Option<MakeBackend>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Worker {
            fs,
            watches: Watches::new(make, inbox.clone()),
            inbox,
            spelling,
            layout,
            known: HashMap::new(),
            places: HashSet::new(),
            id: FileId::NONE,
            was_absent: false,
            clocks: BTreeMap::new(),
        }
    }

    /// Do one job.
    pub fn work(&mut self, job: Job) -> Report {
        let mut places = job.places.iter();
        if job.depth == Depth::Places && !places.any(|(dir, names)| self.matters(dir, names)) {
            return Report::Nothing;
        }
        self.known
            .retain(|real, _| !job.anew.iter().any(|anew| real.starts_with(anew)));
        self.watches
            .distrust(|spot| touched(&job.places, spot, true));
        if job.renew {
            self.watches.renew();
        }
        if job.clock_set {
            for folder in self.known.values_mut().map(Arc::make_mut) {
                (folder.new, folder.cur) = (folder.new.void(), folder.cur.void());
            }
        }
        if job.depth == Depth::Everything {
            self.watches.distrust(|_| true);
            // A device's number may have been given to another file system.
            self.clocks.clear();
        }
        match self.scan(&job) {
            Ok(scanned) => Report::Scanned(scanned),
            Err(absent) => {
                self.was_absent = true;
                Report::Absent(absent)
            }
        }
    }

    /// Index files come and go beside the folders all day; only directories matter.
    fn matters(&self, place: &Path, names: &Names) -> bool {
        let Names::Some(names) = names else {
            return self.is_place(place);
        };
        names.iter().any(|name| {
            let path = place.join(name);
            maildir_part(name)
                || self.is_place(&path)
                || !never_a_folder(name) && self.may_lead_to_a_folder(&path)
        })
    }

    fn may_lead_to_a_folder(&self, path: &Path) -> bool {
        match self.fs.stat(path) {
            Ok(stat) => stat.is_dir,
            // A link may lead somewhere one day.
            Err(error) if error.kind() == ErrorKind::NotFound => self.fs.read_link(path).is_ok(),
            Err(_) => true,
        }
    }

    fn is_place(&self, path: &Path) -> bool {
        self.places.contains(path) || self.known.contains_key(path)
    }

    fn scan(&mut self, job: &Job) -> Result<Scanned, Absent> {
        self.watches.begin();
        // Where the way leads now is not known yet.
        self.inbox.narrow(Trail::default());
        let mut retry = job.retry;
        let mut rounds = 0;
        let mut before = Vec::new();
        loop {
            rounds += 1;
            let mut trail = Trail::find(&*self.fs, &self.spelling);
            let mut found = discover(&*self.fs, &self.spelling, self.layout, &job.exclude);
            if let Ok(scan) = &mut found {
                share(&mut scan.folders, std::mem::take(&mut before));
            }
            for link in found.iter().flat_map(|scan| &scan.links) {
                trail.add(&*self.fs, link);
            }
            let wanted = Self::wanted(&trail, &found);
            let outcome = self.watches.set(&wanted, retry);
            retry = false;
            // What was there before its directory was watched is only seen by looking again.
            if outcome.added && rounds < MOST_ROUNDS {
                before = found.map_or_else(|_| Vec::new(), |scan| scan.folders);
                continue;
            }
            self.remember_places(&trail, found.as_ref().ok());
            self.inbox.narrow(way_only(&trail, found.as_ref().ok()));
            let (text, silent) = match found {
                Ok(scan) if !self.emptied(&scan) => {
                    let scanned = self.remember(scan, job, outcome);
                    let way = trail.way();
                    return Ok(Scanned { way, ..scanned });
                }
                Ok(scan) => {
                    let text = format!(
                        "{} is on another device now and has no folder: is its file system not \
                         mounted?",
                        self.spelling.display()
                    );
                    (text, !self.is_here(&scan.real_root))
                }
                Err(RootError::Unreadable(_, error)) if limits::no_file(&error) => {
                    (limits::no_descriptor(), true)
                }
                // Nobody tells when permission is granted, or a dead file system revived.
                Err(error) => {
                    let silent = matches!(error, RootError::Unreadable(..));
                    (format!("{error}: mend it or the key :maildir"), silent)
                }
            };
            return Err(Absent {
                text,
                watched: !silent && self.is_guarded(&trail, &outcome),
                watches: self.watches.count(),
                trouble: outcome.trouble,
                way: trail.way(),
            });
        }
    }

    /// Whether the kernel tells when the root comes.
    fn is_guarded(&self, trail: &Trail, outcome: &Outcome) -> bool {
        let mut way = trail.names.keys();
        let watched =
            way.all(|place| self.watches.holds(&place.as_path().into()) && self.is_here(place));
        watched && !outcome.added && outcome.unwatched == 0
    }

    /// Whether things do not come and go here without a word, as they do on another machine.
    fn is_here(&self, place: &Path) -> bool {
        self.fs.remote(place).is_ok_and(|remote| !remote)
    }

    /// Whether this is not the root but the empty directory that its file system was mounted on.
    fn emptied(&self, scan: &Scan) -> bool {
        scan.folders.is_empty() && !self.known.is_empty() && root_id(scan).dev != self.id.dev
    }

    fn remember_places(&mut self, trail: &Trail, scan: Option<&Scan>) {
        let directories = trail.names.keys().cloned();
        let mut places: HashSet<PathBuf> = trail.way().into_iter().chain(directories).collect();
        if let Some(scan) = scan {
            places.extend(scan.containers.iter().map(|it| it.real.to_path_buf()));
            let as_spelled = bytes(&self.spelling) == bytes(&scan.real_root);
            for folder in &scan.folders {
                // No link leads to it: it is known by that name.
                if as_spelled && Arc::ptr_eq(&folder.directory, &folder.real) {
                    continue;
                }
                let below = folder.directory.strip_prefix(&self.spelling);
                let entry = below.map_or_else(
                    |_| folder.real.to_path_buf(),
                    |below| scan.real_root.join(below),
                );
                // Others are known by that name.
                if *entry != *folder.real {
                    places.insert(entry);
                }
            }
        }
        self.places = places;
    }

    fn remember(&mut self, scan: Scan, job: &Job, outcome: Outcome) -> Scanned {
        let id = root_id(&scan);
        // Whatever came back, or came in its place, is in doubt, however familiar it looks.
        let returned = std::mem::take(&mut self.was_absent) || id != self.id;
        self.id = id;
        self.tell_clocks(&scan);
        let clocks = &self.clocks;
        let clock = |id: FileId| clocks.get(&id.dev).copied().unwrap_or(Clock::Here);
        let mut devices = scan_devices(&scan);
        let remote = devices.any(|(.., it)| clocks.get(&it) == Some(&Clock::Elsewhere));
        drop(devices);
        let mut delta = diff(&self.known, &scan, clock);
        // Only a directory that was watched all the time has nothing but its events to tell.
        let sweeps = job.depth < Depth::Everything && !returned;
        let here = |folder: &Arc<FoundFolder>| {
            clock(folder.new.id) == Clock::Here && clock(folder.cur.id) == Clock::Here
        };
        let known_here = |real: &Path| self.known.get(real).is_some_and(here);
        if sweeps {
            delta.trust(|real| known_here(real) && both(real, |part| self.watches.vouched(part)));
        }
        let watched = |real: &Arc<Path>| both(real, |part| self.watches.holds(part));
        // What is watched from now on vouches for itself: of what was before, nobody will tell.
        delta.doubt(|real| !sweeps || known_here(real) && watched(real));
        // It may have been away, with another in its place, which no stamp of its own shows.
        let stayed = |real: &Arc<Path>| both(real, |part| !touched(&job.places, part, false));
        let back = scan.folders.iter().map(|folder| &folder.real);
        let back = back.filter(|real| returned || !stayed(real));
        let back = back.filter(|real| self.known.contains_key(*real));
        delta.changed.extend(back.cloned());
        delta.changed.sort();
        delta.changed.dedup();
        self.renamed(&scan, &mut delta);
        absorb(&mut self.known, &scan, &delta);
        // What is watched tells by itself; elsewhere is a slow clock.
        let fresh = self.known.iter().any(|(real, folder)| {
            let settled = folder.new.settled(Clock::Here) && folder.cur.settled(Clock::Here);
            here(folder) && !settled && !watched(real)
        });
        Scanned {
            remote,
            real_root: scan.real_root,
            problems: scan.problems.iter().map(ToString::to_string).collect(),
            created: delta.created,
            deleted: delta.deleted,
            changed: delta.changed,
            watches: self.watches.count(),
            unwatched: outcome.unwatched,
            trouble: outcome.trouble,
            again: outcome.added,
            settles: fresh.then_some(SETTLES),
            way: Vec::new(),
        }
    }

    /// Find out whose clock stamps the directories of each device.
    fn tell_clocks(&mut self, scan: &Scan) {
        for (place, part, device) in scan_devices(scan) {
            // What vanished under our hands says nothing of its device.
            if !self.clocks.contains_key(&device)
                && let Ok(remote) = self.fs.remote(&place.join(part))
            {
                let clock = if remote {
                    Clock::Elsewhere
                } else {
                    Clock::Here
                };
                self.clocks.insert(device, clock);
            }
        }
    }

    /// A directory that goes by another name now (another link leads to it) is another folder.
    fn renamed(&self, scan: &Scan, delta: &mut Delta) {
        let other = |folder: &&Arc<FoundFolder>| {
            let old = self.known.get(&folder.real);
            old.is_some_and(|old| old.name != folder.name || old.directory != folder.directory)
        };
        for folder in scan.folders.iter().filter(other) {
            delta.changed.retain(|real| *real != folder.real);
            delta.deleted.push(folder.real.clone());
            delta.created.push(folder.clone());
        }
    }

    /// What to watch: the way to the root, then the places where folders appear, then the folders.
    fn wanted(trail: &Trail, found: &Result<Scan, RootError>) -> Wanted {
        let way = trail
            .ids
            .iter()
            .map(|(path, id)| (path.as_path().into(), *id));
        let mut wanted = Wanted {
            way: way.collect(),
            inside: Vec::new(),
            unseen: match found {
                Ok(scan) => scan.problems.iter().map(|it| it.real.clone()).collect(),
                Err(RootError::Unreadable(..)) => vec!["/".into()],
                Err(_) => Vec::new(),
            },
        };
        if let Ok(scan) = found {
            let containers = scan.containers.iter();
            let containers = containers.map(|place| ((&place.real).into(), place.id));
            wanted.inside.extend(containers);
            wanted.inside.extend(scan.folders.iter().flat_map(|folder| {
                let [new, cur] = Spot::parts(&folder.real);
                [(new, folder.new.id), (cur, folder.cur.id)]
            }));
        }
        wanted
    }
}

/// The directories that are only on the way.  A link may lead to one: everything matters there.
fn way_only(trail: &Trail, scan: Option<&Scan>) -> Trail {
    let mut trail = trail.clone();
    for place in scan.iter().flat_map(|scan| &scan.containers) {
        trail.names.remove(&*place.real);
    }
    trail
}

/// The directories of a scan, in two parts of their names, with their devices.
fn scan_devices(scan: &Scan) -> impl Iterator<Item = (&Path, &str, u64)> {
    let folders = scan.folders.iter().flat_map(|folder| {
        let new = (&*folder.real, "new", folder.new.id.dev);
        [new, (&*folder.real, "cur", folder.cur.id.dev)]
    });
    let places = scan.containers.iter();
    let places = places.map(|place| (&*place.real, "", place.id.dev));
    places.chain(folders)
}

/// Whether this is so of both parts of a folder.
fn both(real: &Arc<Path>, is: impl Fn(&Spot) -> bool) -> bool {
    Spot::parts(real).iter().all(is)
}

/// Have what was found take the place of what was found in the round before: what is watched shares
/// that one's paths.
fn share(found: &mut [Arc<FoundFolder>], before: Vec<Arc<FoundFolder>>) {
    let before = before.into_iter().map(|it| (it.real.clone(), it));
    let mut before: HashMap<_, _> = before.collect();
    for folder in found {
        if let Some(mut old) = before.remove(&folder.real)
            && (&old.name, &old.directory) == (&folder.name, &folder.directory)
            && let Some(shared) = Arc::get_mut(&mut old)
        {
            (shared.new, shared.cur) = (folder.new, folder.cur);
            *folder = old;
        }
    }
}

/// A truename's bytes, which compare much faster than its components.
fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// Which directory the root of a scan is.
fn root_id(scan: &Scan) -> FileId {
    let mut containers = scan.containers.iter();
    let root = containers.find(|place| bytes(&place.real) == bytes(&scan.real_root));
    root.map_or(FileId::NONE, |root| root.id)
}

/// Whether something happened to this directory itself, or to one that it is in; where the
/// names were too many to know, the answer is `possibly`.
fn touched(places: &HashMap<PathBuf, Names>, spot: &Spot, possibly: bool) -> bool {
    if places.is_empty() {
        return false;
    }
    spot.path().ancestors().any(|path| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::model::Model;

    /// The folders that a look at everything says have changed.
    fn changed(worker: &mut Worker, model: &Model, clock_set: bool) -> Vec<String> {
        worker.fs = Box::new(model.clone());
        let depth = Depth::Everything;
        let job = Job {
            depth,
            clock_set,
            ..Job::default()
        };
        match worker.work(job) {
            Report::Scanned(scanned) => {
                let changed = scanned.changed.iter();
                changed.map(|real| real.display().to_string()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_stamped_alike_after_the_clock_was_set_back_is_in_doubt() {
        // Whether the worker hears of it, and what it says has changed.
        for (heard, expected) in [(false, &[][..]), (true, &["/m/a"])] {
            let mut model = Model::new(&["/m/a/***"]);
            let fs = Box::new(model.clone());
            let inbox = Arc::new(Inbox::new(|| {}));
            let mut worker = Worker::new("/m".into(), Layout::Auto, fs, None, inbox);
            for _ in 0..3 {
                changed(&mut worker, &model, false);
                model.clock.secs += 5;
            }
            assert_eq!(changed(&mut worker, &model, false), [""; 0]);
            // Back to when the folder was made; the look comes late.
            model.clock.secs -= 15;
            model.touch("/m/a/new");
            model.clock.secs += 60;
            assert_eq!(changed(&mut worker, &model, heard), expected);
            model.clock.secs += 60;
            assert_eq!(changed(&mut worker, &model, false), [""; 0], "and no more");
        }
    }
}
