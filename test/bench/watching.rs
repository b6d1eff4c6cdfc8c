//! What a root's worker takes to begin and to look again, without Emacs around it.
//!
//! At ROOT, a tree that it only looks at; without one, at trees of its own, 30 to 3,000 folders.
//!
//! Prints lines `WHAT FOLDERS WALL CPU`, the times in nanoseconds, one for each run; watching.py reads
//! them.  The CPU time is that of all threads, the watcher's too, and depends less on what else the
//! machine does.  `discover` is
//! finding the folders and their stamps; `start` is that and the first watches, by a root that
//! knows nothing; `rescan` is what follows an overflow: look, set every watch anew, compare.  Nothing
//! changes in the tree meanwhile, and a rescan that says otherwise is an error.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::time::{ClockId, clock_gettime};

use mailsync_module::maildir::{DiskFs, Layout, discover};
use mailsync_module::watch;
use mailsync_module::watch::inbox::Inbox;
use mailsync_module::watch::job::{Depth, Job, Report, Scanned};
use mailsync_module::watch::worker::Worker;

/// What has taken this long is not done again.
const ENOUGH: Duration = Duration::from_secs(5);

/// Until the stamps of a new tree prove anything.
const SETTLED: Duration = Duration::from_millis(2_200);

fn worker(root: &Path) -> Worker {
    let inbox = Arc::new(Inbox::new(|| {}));
    let backend = watch::kernel();
    Worker::new(
        root.to_owned(),
        Layout::Auto,
        Box::new(DiskFs),
        Some(backend),
        inbox,
    )
}

fn scan(worker: &mut Worker) -> Result<Scanned, String> {
    let job = Job {
        depth: Depth::Everything,
        ..Job::default()
    };
    match worker.work(job) {
        Report::Scanned(scanned) => Ok(scanned),
        other => Err(format!("a scan reported {other:?}")),
    }
}

/// When something began, by the clock and by the CPU time of this process.
struct Began(Instant, Duration);

impl Began {
    fn now() -> Self {
        Began(Instant::now(), cpu())
    }

    fn say(&self, what: &str, folders: usize) {
        let (took, spent) = (self.0.elapsed(), cpu().saturating_sub(self.1));
        println!("{what} {folders} {} {}", took.as_nanos(), spent.as_nanos());
    }
}

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// Some runs, fewer where they take long.
fn repeat(runs: usize) -> impl Iterator<Item = ()> {
    let began = Instant::now();
    (0..runs)
        .take_while(move |run| *run == 0 || began.elapsed() < ENOUGH)
        .map(|_| ())
}

fn measure(root: &Path, runs: usize) -> Result<(), String> {
    for () in repeat(runs) {
        let began = Began::now();
        let found =
            discover(&DiskFs, root, Layout::Auto, &[]).map_err(|error| error.to_string())?;
        began.say("discover", found.folders.len());
    }
    let mut last = None;
    for () in repeat(runs) {
        let mut new = worker(root);
        let began = Began::now();
        let scanned = scan(&mut new)?;
        began.say("start", scanned.created.len());
        if scanned.unwatched > 0 {
            return Err(scanned.trouble.unwrap_or_default());
        }
        last = Some((new, scanned.created.len()));
        // The watcher before it goes on another thread.
        thread::sleep(Duration::from_millis(100));
    }
    let (mut old, folders) = last.ok_or("no run")?;
    for () in repeat(runs) {
        let began = Began::now();
        let scanned = scan(&mut old)?;
        began.say("rescan", folders);
        let differ = scanned.created.len() + scanned.deleted.len() + scanned.changed.len();
        if differ > 0 || scanned.unwatched > 0 {
            return Err(format!("{differ} folders changed, or were new to a rescan"));
        }
    }
    Ok(())
}

fn make(root: &Path, folders: usize) -> io::Result<()> {
    for number in 0..folders {
        for part in ["new", "cur", "tmp"] {
            fs::create_dir_all(root.join(format!(".folder{number:05}")).join(part))?;
        }
    }
    Ok(())
}

fn own_trees() -> Result<(), String> {
    let trees = [30, 300, 3_000].map(|folders| {
        let root = tempfile::tempdir()?;
        make(root.path(), folders)?;
        io::Result::Ok(root)
    });
    thread::sleep(SETTLED);
    for root in trees {
        measure(root.map_err(|error| error.to_string())?.path(), 5)?;
    }
    Ok(())
}

pub fn main(words: &[&str]) -> Result<(), String> {
    match words {
        [] => own_trees(),
        [root] => measure(Path::new(root), 5),
        [root, runs, ..] => {
            let runs = runs.parse().map_err(|_| "RUNS is a number".to_owned())?;
            measure(Path::new(root), runs)
        }
    }
}
