//! Worlds with a plot: what chance would bring about too rarely, or not show clearly enough.

use std::path::{Path, PathBuf};

use mailsync_module::coalesce::Coalescer;
use mailsync_module::engine::config::RootId;
use mailsync_module::engine::core::Input;
use mailsync_module::maildir::Layout;
use mailsync_module::watch::inbox::Dirty;

use crate::rng::Rng;
use crate::users::{Op, maildir};
use crate::world::{Sabotage, Setup, World, ms};

type Plain = World<Coalescer>;

/// A world in which Lisp knows all there is.
fn settled(layout: Layout, pipe_limit: usize) -> Plain {
    let setup = Setup::plain(layout, pipe_limit);
    let mut world = World::new(Rng::taped(1, None), setup, Sabotage::default(), false);
    let outcome = (world.begin())
        .and_then(|()| world.rest())
        .and_then(|()| world.audit());
    tell(&world, outcome);
    world
}

fn tell(world: &Plain, outcome: Result<(), String>) {
    if let Err(text) = outcome {
        panic!("{text}\n{}", world.machine.lock().trace.text());
    }
}

fn new_folder(folder: &Path) -> Vec<Op> {
    maildir(folder, &mut Rng::new(0))
}

fn delivery(folder: &Path, number: usize) -> [Op; 2] {
    let name = number.to_string();
    let tmp = folder.join("tmp").join(&name);
    let new = folder.join("new").join(name);
    [Op::Create(tmp.clone()), Op::Rename(tmp, new)]
}

/// Emacs is busy in Lisp for a long time, while thousands of messages come.  Nothing waits for
/// it, nothing piles up, and afterwards each folder arrives at most twice: in the frame that was
/// in flight, and once for all the rest.
#[test]
fn after_a_busy_time_each_folder_comes_once() {
    for pipe_limit in [32_768, 300] {
        let mut world = settled(Layout::MaildirPlusPlus, pipe_limit);
        let folders: Vec<PathBuf> = (0..40).map(|i| format!("/home/m/.x{i}").into()).collect();
        let made = folders.iter().flat_map(|folder| new_folder(folder));
        let outcome = world.users_do(made);
        tell(&world, outcome);
        let outcome = world.rest().and_then(|()| world.audit());
        tell(&world, outcome);
        for seen in world.lisp.seen.values_mut() {
            seen.times = 0;
        }

        world.lisp.asleep_until = world.now() + ms(60_000);
        let frames = world.stats.frames;
        for number in 0..4_000 {
            let outcome = world
                .users_do(delivery(&folders[number * 7 % folders.len()], number))
                .and_then(|()| world.engine_catches_up())
                .and_then(|()| world.pass(ms(5)));
            tell(&world, outcome);
        }
        assert_eq!(world.stats.frames, frames + 1, "one frame in flight");
        assert!(world.core.held() <= 2 * folders.len() + 40);

        let outcome = world.rest().and_then(|()| world.audit());
        tell(&world, outcome);
        for folder in &folders {
            let times = world.lisp.seen[folder].times;
            assert!((1..=2).contains(&times), "{folder:?} came {times} times");
        }
    }
}

/// A folder in which something always happens is told of all the same, as often as agreed.
#[test]
fn a_folder_that_is_never_quiet_is_told_of() {
    let mut world = settled(Layout::MaildirPlusPlus, 32_768);
    let folder = Path::new("/home/m/.busy");
    let outcome = world.users_do(new_folder(folder));
    tell(&world, outcome);
    let outcome = world.rest();
    tell(&world, outcome);
    let before = world.lisp.seen[folder].times;
    // 20 s, never quiet for 200 ms.
    for number in 0..200 {
        let outcome = world
            .users_do(delivery(folder, number))
            .and_then(|()| world.engine_catches_up())
            .and_then(|()| world.pass(ms(100)))
            .and_then(|()| world.lisp_catches_up());
        tell(&world, outcome);
    }
    let times = world.lisp.seen[folder].times - before;
    assert!((8..=11).contains(&times), "{times} times in 20 s");
}

/// A folder moves away, another takes its place for just as long as Lisp looks at it, and the
/// first one returns, with all its stamps as they were.
#[test]
fn a_folder_that_was_away_for_a_moment_is_in_doubt() {
    let mut world = settled(Layout::Nested, 32_768);
    let [here, away] = ["/home/m/x", "/aside"].map(PathBuf::from);
    let outcome = world
        .users_do(new_folder(&here))
        .and_then(|()| world.rest())
        .and_then(|()| world.pass(ms(10_000)));
    tell(&world, outcome);
    // Looked at once more, so that the stamps are old enough to prove something.
    let overflow = Dirty {
        overflow: true,
        ..Dirty::default()
    };
    let outcome = world
        .handle(Input::Dirty(RootId(0), overflow))
        .and_then(|()| world.rest());
    tell(&world, outcome);

    let outcome = world
        .users_do([Op::Rename(here.clone(), away.clone())])
        .and_then(|()| world.users_do(new_folder(&here)))
        .and_then(|()| world.handle(Input::Check(None, None)))
        .and_then(|()| world.lisp_catches_up());
    tell(&world, outcome);
    let parts = ["cur", "new", "tmp"].map(|part| Op::Rmdir(here.join(part)));
    let outcome = world
        .users_do(parts)
        .and_then(|()| world.users_do([Op::Rmdir(here.clone()), Op::Rename(away, here)]))
        .and_then(|()| world.rest())
        .and_then(|()| world.audit());
    tell(&world, outcome);
}

/// No inotify instance is left, and the root has no folder yet: somebody has to look again.
#[test]
fn a_root_without_watcher_and_folders_is_looked_at_again() {
    let mut setup = Setup::plain(Layout::MaildirPlusPlus, 32_768);
    setup.no_instances = true;
    setup.furnished = false;
    let mut world = World::new(Rng::new(4), setup, Sabotage::default(), false);
    let outcome = world.begin();
    tell(&world, outcome);
    let outcome = (world.engine_catches_up()).and_then(|()| world.lisp_catches_up());
    tell(&world, outcome);
    let outcome = world
        .users_do(new_folder(Path::new("/home/m/.late")))
        .and_then(|()| world.rest())
        .and_then(|()| world.audit());
    tell(&world, outcome);
}
