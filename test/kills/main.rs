//! Runs that are killed at any moment, while mail comes, changes and goes on both sides: nothing is
//! forgotten, nothing is lost, nothing is there twice, and no look takes what is unpushed for pushed.
//!
//! Each test is a syncer in one layout.  Both syncers are killed by KILL, and by TERM, as runs end
//! them; OfflineIMAP also only as runs end it, since after a KILL it may send a message once more,
//! or take back a flag.  OfflineIMAP also sends once more what is renamed while it sends it, however it
//! ends: so every other user of it leaves alone, during a run, what has not been sent, and what the
//! rest have twice for that reason is counted apart.
//!
//! KILLS says how many runs are killed, divided over all tests; each makes series of that, with a user
//! of its own and a seed.  SEED makes one series again, in the test that is named:
//!
//!     SEED=1795 cargo test --test kills mbsync_flat -- --nocapture

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, thread};

use mailsync_module::syncer::Program;

#[path = "../support/imap.rs"]
mod imap;
#[allow(dead_code)]
#[path = "../support/rng.rs"]
mod rng;
#[path = "../support/syncing.rs"]
mod syncing;

mod world;

use rng::Rng;
use syncing::Tested;
use world::{FOLDERS, World};

/// How many tests there are.
const TESTS: usize = 16;

/// The most that one user has to bear: after each kill all messages are looked at.
const SERIES: usize = 12;

/// How a syncer is treated.
pub struct Style {
    /// By KILL, every other time.
    hard: bool,
    /// Nothing changes here before it writes.
    calm: bool,
    /// A KILL may make it send a message once more, or take back a flag.
    careless: bool,
    /// It sends once more what is renamed while it sends it.
    resends: bool,
    /// Once it writes it is ended within so many milliseconds.
    pace: u64,
    /// So many changes on each side before each run.
    batch: usize,
    /// The runs are a worker's.
    worker: bool,
}

/// How a syncer lays out a user's folders.
pub struct Layout {
    /// Its channel or account.
    name: &'static str,
    config: &'static str,
    tree: &'static str,
    /// Where `FOLDERS` are below its tree.
    places: [&'static str; FOLDERS.len()],
}

impl Layout {
    /// The syncer of all of it.
    fn program(&self, config: PathBuf) -> Program {
        let name = self.name.to_owned();
        match self.config {
            "mbsyncrc" => Program::Mbsync {
                program: "mbsync".into(),
                target: Some(name),
                config: Some(config),
                args: Vec::new(),
            },
            _ => Program::OfflineImap {
                program: "offlineimap".into(),
                account: name,
                config: Some(config),
                args: Vec::new(),
            },
        }
    }
}

/// What came of it.
#[derive(Default)]
pub struct Figures {
    /// The kills, by what was sent.
    signals: BTreeMap<&'static str, usize>,
    /// The same, by when that was.
    moments: BTreeMap<&'static str, usize>,
    series: usize,
    made: usize,
    /// Messages that were there in the end, compared on both sides.
    compared: usize,
    lost: usize,
    /// Not in the folder or not of the text that they were made with.
    changed: usize,
    doubled: usize,
    /// There once more since they were renamed while they were sent.
    renamed: usize,
    /// Deleted, and there again.
    back: usize,
    /// Flags that are not as they were changed last.
    undone: usize,
}

impl AddAssign<&Figures> for Figures {
    fn add_assign(&mut self, other: &Figures) {
        for (mine, others) in [
            (&mut self.signals, &other.signals),
            (&mut self.moments, &other.moments),
        ] {
            for (what, count) in others {
                *mine.entry(what).or_default() += count;
            }
        }
        for (mine, others) in [
            (&mut self.series, other.series),
            (&mut self.made, other.made),
            (&mut self.compared, other.compared),
            (&mut self.lost, other.lost),
            (&mut self.changed, other.changed),
            (&mut self.doubled, other.doubled),
            (&mut self.renamed, other.renamed),
            (&mut self.back, other.back),
            (&mut self.undone, other.undone),
        ] {
            *mine += others;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |counts: &BTreeMap<&str, usize>| {
            let each = counts.iter().map(|(what, count)| format!("{count} {what}"));
            each.collect::<Vec<_>>().join(", ")
        };
        write!(
            f,
            "{} kills ({}; {}) in {} series, {} messages compared of {} made: {} lost, {} changed, \
             {} doubled, {} sent again under another name, {} back that were deleted, {} flags taken back",
            self.signals.values().sum::<usize>(),
            list(&self.signals),
            list(&self.moments),
            self.series,
            self.compared,
            self.made,
            self.lost,
            self.changed,
            self.doubled,
            self.renamed,
            self.back,
            self.undone
        )
    }
}

/// What all tests of this process came to.
static ALL: Mutex<BTreeMap<&str, Figures>> = Mutex::new(BTreeMap::new());

fn all() -> MutexGuard<'static, BTreeMap<&'static str, Figures>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    env::var(variable).ok()?.parse().ok()
}

/// Kill runs of a syncer in one layout.
fn kill(layout: &Layout, style: &Style) -> Tested {
    let syncer = match layout.config {
        "mbsyncrc" => "mbsync",
        _ => "offlineimap",
    };
    let Some(server) = syncing::server(syncer) else {
        return Ok(());
    };
    let test = thread::current().name().unwrap_or_default().to_owned();
    let seed: Option<u64> = number("SEED");
    let kills = match (number("KILLS"), seed) {
        (Some(kills), _) => usize::div_ceil(kills, TESTS),
        (None, Some(_)) => SERIES,
        (None, None) => 1,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let first = seed.unwrap_or(now as u64);
    let mut figures = Figures::default();
    for (at, begin) in (0..kills).step_by(SERIES).enumerate() {
        let seed = first + at as u64;
        println!("again: SEED={seed} cargo test --test kills {test}");
        let rough = !style.resends || seed.is_multiple_of(2);
        let world = World::new(server, &format!("{test}-{at}"), layout, style, rough)?;
        let came = world.torture(&mut Rng::new(seed), style, SERIES.min(kills - begin))?;
        println!("{came}");
        figures += &came;
        *all().entry(syncer).or_default() += &came;
        let twice = if style.careless { 0 } else { came.doubled };
        assert_eq!((came.lost, came.changed, twice), (0, 0, 0), "SEED={seed}");
    }
    // Past the test's own output, which nobody sees as long as all is well.
    let all = all();
    let mut out = io::stderr().lock();
    writeln!(out, "{test}: {figures}")?;
    for (syncer, figures) in all.iter() {
        writeln!(out, "{syncer} so far: {figures}")?;
    }
    Ok(())
}

fn mbsync(name: &'static str, places: [&'static str; 3]) -> Tested {
    let layout = Layout {
        name,
        config: "mbsyncrc",
        tree: name,
        places,
    };
    let style = Style {
        hard: true,
        calm: true,
        careless: false,
        resends: false,
        pace: 40,
        batch: 25,
        worker: false,
    };
    kill(&layout, &style)
}

#[test]
fn mbsync_verbatim() -> Tested {
    mbsync("verbatim", ["INBOX", "lists", "a/b"])
}

#[test]
fn mbsync_legacy() -> Tested {
    mbsync("legacy", ["INBOX", "lists", "a/.b"])
}

#[test]
fn mbsync_maildir_plus_plus() -> Tested {
    mbsync("mdpp", ["", ".lists", ".a.b"])
}

#[test]
fn mbsync_flat() -> Tested {
    mbsync("flat", ["INBOX", "lists", "a.b"])
}

const SLASH: Layout = Layout {
    name: "slash",
    config: "offlineimaprc",
    tree: "o-slash",
    places: ["INBOX", "lists", "a/b"],
};

const DOT: Layout = Layout {
    name: "dot",
    config: "offlineimaprc",
    tree: "o-dot",
    places: ["INBOX", "lists", "a.b"],
};

const PLUS: Layout = Layout {
    name: "plus",
    config: "offlineimaprc",
    tree: "o-plus",
    places: ["", ".lists", ".a.b"],
};

/// OfflineIMAP dies, by KILL if that is `hard`, by itself or as a worker.
fn offlineimap(layout: &Layout, hard: bool, worker: bool) -> Tested {
    let style = Style {
        hard,
        calm: false,
        careless: hard,
        resends: true,
        pace: 300,
        batch: 15,
        worker,
    };
    kill(layout, &style)
}

#[test]
fn offlineimap_slash_ended() -> Tested {
    offlineimap(&SLASH, false, false)
}

#[test]
fn offlineimap_slash_killed() -> Tested {
    offlineimap(&SLASH, true, false)
}

#[test]
fn offlineimap_dot_ended() -> Tested {
    offlineimap(&DOT, false, false)
}

#[test]
fn offlineimap_dot_killed() -> Tested {
    offlineimap(&DOT, true, false)
}

#[test]
fn offlineimap_maildir_plus_plus_ended() -> Tested {
    offlineimap(&PLUS, false, false)
}

#[test]
fn offlineimap_maildir_plus_plus_killed() -> Tested {
    offlineimap(&PLUS, true, false)
}

#[test]
fn worker_slash_ended() -> Tested {
    offlineimap(&SLASH, false, true)
}

#[test]
fn worker_slash_killed() -> Tested {
    offlineimap(&SLASH, true, true)
}

#[test]
fn worker_dot_ended() -> Tested {
    offlineimap(&DOT, false, true)
}

#[test]
fn worker_dot_killed() -> Tested {
    offlineimap(&DOT, true, true)
}

#[test]
fn worker_maildir_plus_plus_ended() -> Tested {
    offlineimap(&PLUS, false, true)
}

#[test]
fn worker_maildir_plus_plus_killed() -> Tested {
    offlineimap(&PLUS, true, true)
}
