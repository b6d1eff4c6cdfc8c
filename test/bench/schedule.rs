//! How long the scheduler takes with thousands of folders that wait: a number for bench.py.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailsync_module::change::{AccountId, Change, Folder, Kinds, Origins};
use mailsync_module::schedule::{Lock, Scheduler, Timing};
use mailsync_module::syncer::RunId;

pub fn change(name: &str, serial: u64) -> Change {
    Change {
        folder: Arc::new(Folder {
            account: AccountId(0),
            real: Path::new("/m").join(name).into(),
            directory: Path::new("/m").join(name).into(),
            name: name.as_bytes().into(),
        }),
        kinds: Kinds::FLAGS,
        origins: Origins::LOCAL,
        serial,
        news: Kinds::FLAGS,
        seen: None,
    }
}

/// A scheduler in which `count` folders wait, and what they wait with.
pub fn waiting(now: Instant, count: u64) -> (Scheduler, Vec<Change>) {
    let timing = Timing {
        base: Duration::from_secs(2),
        ..Timing::once()
    };
    let mut scheduler = Scheduler::new(timing, 1);
    scheduler.begin(now);
    scheduler.lock(Lock::Ours);
    scheduler.ready(true);
    let changes: Vec<Change> = (0..count)
        .map(|n| change(&format!("f{n}"), n + 1))
        .collect();
    for it in &changes {
        scheduler.changed(now, it);
        scheduler.checked(&it.folder.real, it.serial);
    }
    (scheduler, changes)
}

/// Milliseconds for one look at `count` waiting folders, and for starting a run over them.
fn measure(count: u64) -> (f64, f64) {
    let now = Instant::now();
    let (mut scheduler, changes) = waiting(now, count);
    let mut next = || RunId(1);
    let began = Instant::now();
    // As after each event.
    scheduler.changed(now, &changes[0]);
    assert!(scheduler.tick(now, &mut next).is_empty());
    let look = began.elapsed();
    scheduler.checked(&changes[0].folder.real, count + 1);
    let began = Instant::now();
    let acts = scheduler.tick(now + Duration::from_secs(20), &mut next);
    let start = began.elapsed();
    assert_eq!(acts.len(), 1);
    (look.as_secs_f64() * 1e3, start.as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn main() {
    let (looks, starts) = (0..51).map(|_| measure(3000)).unzip();
    println!("{:.4} {:.4}", median(looks), median(starts));
}
