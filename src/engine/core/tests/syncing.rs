//! From a change to a run of a syncer, and what comes of that; whose maildirs are locked.

use super::*;

/// Its file was removed, and another Emacs has made one.
#[test]
fn a_lock_that_is_lost_is_sought_again() {
    let mut bench = synced(&["/m/a"]);
    bench.give(Input::Sync(Some("work".to_owned()), None, 3));
    assert_eq!(bench.runs, ["*"]);
    bench.locks.clear();
    bench.ran(Event::Robbed { run: RunId(1) });
    bench.ended(1, Outcome::Locked);
    assert_eq!(bench.locks.len(), 1);
    bench.pass(60);
    assert_eq!(bench.runs, ["*"], "while another one has it");
    bench.give(Input::Locked(AccountId(0), Lock::Ours));
    bench.pass(1);
    assert_eq!(bench.runs, ["*", "*"]);
    assert_eq!(bench.locks.len(), 1);
}

#[test]
fn a_change_is_checked_and_then_synced() {
    let mut bench = synced(&["/m/a"]);
    bench.messages(0, "/m/a/cur", Kinds::FLAGS);
    let told = bench.pass(3);
    assert!(told.contains(&"work /m/a f".to_owned()), "{told:?}");
    assert!(bench.runs.is_empty(), "nobody has checked it");
    bench.give(Input::Checked("work".to_owned(), vec![("/m/a".into(), 1)]));
    assert_eq!(bench.runs, ["/m/a"]);
    bench.ended(1, Outcome::Ok);
    let told = bench.pass(20);
    assert!(told.contains(&"syncing /m/a".to_owned()), "{told:?}");
    assert!(told.contains(&"ok for \"\"".to_owned()), "{told:?}");
    assert_eq!(bench.runs, ["/m/a"]);
}

#[test]
fn what_the_syncer_writes_is_an_echo_and_what_others_write_is_not() {
    use crate::watch::inbox::Event::{Created, Moved};
    let pulled = |pid: u32| Created(format!("/m/a/new/17.{pid}_1.host,U=5:2,").into());
    let pushed = Moved("/m/a/cur/1:2,S".into(), "/m/a/cur/1,U=6:2,S".into());
    let seen = Moved("/m/a/new/1".into(), "/m/a/cur/1:2,".into());
    let flagged = Moved("/m/a/cur/1:2,".into(), "/m/a/cur/1:2,F".into());
    let table = [
        ("a message that it fetched", pulled(77), "work /m/a n s", 1),
        (
            "one that another process did",
            pulled(78),
            "work /m/a n l",
            2,
        ),
        ("one that it has sent", pushed, "work /m/a f s", 1),
        ("one that Gnus has looked at", seen, "work /m/a F l", 1),
        ("flags", flagged, "work /m/a f l", 2),
    ];
    for (what, event, told, runs) in table {
        let mut bench = synced(&["/m/a"]);
        bench.give(Input::Sync(Some("work".to_owned()), None, 3));
        bench.ran(Event::Began {
            run: RunId(1),
            pid: 77,
        });
        bench.origins = true;
        bench.event(event);
        bench.ended(1, Outcome::Ok);
        let all = bench.pass(20);
        assert!(all.contains(&told.to_owned()), "{what}: {all:?}");
        assert!(all.contains(&"ok for \"3\"".to_owned()), "{what}: {all:?}");
        assert_eq!(bench.runs.len(), runs, "{what}: {:?}", bench.runs);
    }
}

/// A folder is being synced, by process 77.
fn syncing() -> Bench {
    let mut bench = synced(&["/m/a"]);
    bench.give(Input::Sync(None, Some(vec![b"/m/a".to_vec()]), 0));
    bench.ran(Event::Began {
        run: RunId(1),
        pid: 77,
    });
    bench.told();
    bench
}

/// What comes after the end of the run was on its way.
#[test]
fn what_a_sync_has_fetched_is_told_when_that_has_ended() {
    use crate::watch::inbox::Event::Created;
    let pulled = |number| Created(format!("/m/a/new/17.77_{number}.host,U=5:2,").into());
    let wait = QUIET / 10;
    // Whether it comes before the end, whether somebody else delivers at the same time, and whether
    // it is told at once, or, if it was still on its way, a moment later.
    for (before, others, soon) in [
        (true, false, true),
        (false, false, true),
        (true, true, false),
        (false, true, false),
    ] {
        let mut bench = syncing();
        if before {
            bench.event(pulled(1));
        }
        if others {
            bench.event(Created("/m/a/new/1".into()));
        }
        bench.ended(1, Outcome::Ok);
        if !before {
            bench.event(pulled(1));
        }
        let told = |told: Vec<String>| told.iter().any(|it| it.starts_with("work /m/a "));
        if !before {
            bench.now += wait;
            bench.give(Input::Tick);
        }
        assert_eq!(told(std::mem::take(&mut bench.told)), soon);
        assert_eq!(told(bench.told()), !soon);
    }
}

/// What is on its way when a run ends comes once more, a moment later: that costs a check, and nothing waits.
#[test]
fn what_comes_on_both_sides_of_an_end_is_told_twice_at_most() {
    use crate::watch::inbox::Event::Created;
    let pulled = |number| Created(format!("/m/a/new/17.77_{number}.host,U={number}:2,").into());
    let mut bench = syncing();
    let told = |bench: &mut Bench| {
        let told = std::mem::take(&mut bench.told).into_iter();
        told.filter(|it| it.starts_with("work /m/a ")).count()
    };
    bench.event(pulled(1));
    bench.event(pulled(2));
    bench.ended(1, Outcome::Ok);
    assert_eq!(told(&mut bench), 1);
    bench.event(pulled(3));
    bench.event(pulled(4));
    assert_eq!(told(&mut bench), 0, "it is merged");
    bench.now += QUIET / 10;
    bench.give(Input::Tick);
    assert_eq!(told(&mut bench), 1);
    bench.told();
    assert_eq!(told(&mut bench), 0);
}

/// What another one has sent, who may be at it for long, is merged like all else.
#[test]
fn what_no_sync_of_ours_has_written_is_merged() {
    use crate::watch::inbox::Event::Moved;
    let pushed = |number| {
        let (from, to) = ("/m/a/cur/", ",U=6:2,S");
        Moved(
            format!("{from}{number}:2,S").into(),
            format!("{from}{number}{to}").into(),
        )
    };
    // When the last run of ours has ended, and whether what comes then is of it.
    let second = Duration::from_secs(1);
    for (ended, soon) in [
        (None, false),
        (Some(second / 2), true),
        (Some(second), false),
    ] {
        let mut bench = synced(&["/m/a"]);
        if let Some(ended) = ended {
            bench.give(Input::Sync(None, Some(vec![b"/m/a".to_vec()]), 0));
            bench.ended(1, Outcome::Ok);
            bench.told.clear();
            bench.now += ended;
        }
        bench.event(pushed(1));
        bench.now += QUIET / 10;
        bench.give(Input::Tick);
        let told = bench.told.iter().any(|it| it.starts_with("work /m/a "));
        assert_eq!(told, soon, "{ended:?}");
        bench.event(pushed(2));
        let all = bench.pass(1);
        assert!(
            all.contains(&"work /m/a f".to_owned()),
            "{ended:?}: {all:?}"
        );
    }
}

/// Which Gnus would rename while it is being sent.
#[test]
fn a_message_that_comes_during_a_run_of_offlineimap_is_told_after_it() {
    use crate::watch::inbox::Event::{Created, Moved};
    let offlineimap = || Program::OfflineImap {
        program: "offlineimap".into(),
        account: "Work".to_owned(),
        config: None,
        args: Vec::new(),
    };
    let delivered = || Created("/m/a/new/1".into());
    let flagged = || Moved("/m/a/cur/1:2,".into(), "/m/a/cur/1:2,F".into());
    // by whom, what happens, whether that is told during the run, and after it
    let table = [
        (sync().syncer.program, delivered(), true, false),
        (offlineimap(), delivered(), false, true),
        (offlineimap(), flagged(), true, false),
    ];
    for (program, event, during, after) in table {
        let mut bench = synced(&["/m/a"]);
        let mut configured = accounts(&[("work", &["/m"])]);
        configured[0].sync = Some(SyncConfig {
            syncer: Syncer::new(program),
            ..sync()
        });
        bench.give(Input::Configure(configured));
        bench.give(Input::Sync(None, None, 0));
        assert_eq!(bench.runs, ["*"]);
        bench.told();
        bench.event(event.clone());
        let told = |told: Vec<String>| told.iter().any(|it| it.starts_with("work /m/a "));
        assert_eq!(told(bench.pass(3)), during, "{event:?}");
        bench.ended(1, Outcome::Ok);
        assert_eq!(told(bench.pass(1)), after, "{event:?}");
    }
}

/// A run that names it would bring it back.
#[test]
fn a_wish_for_a_folder_that_was_deleted_takes_everything() {
    let mut bench = synced(&[]);
    // Its name is not where it is.
    let name = b"a"[..].into();
    let a = FoundFolder {
        name,
        ..found("/m/a")
    };
    let made = Scanned {
        created: vec![Arc::new(a)],
        ..scanned("/m", &[])
    };
    bench.report(0, made);
    bench.pass(30);
    assert_eq!(bench.runs.pop(), Some("*".to_owned()));
    bench.ended(1, Outcome::Ok);
    let wish = || Input::Sync(None, Some(vec![b"a".to_vec()]), 3);
    let deleted = Scanned {
        deleted: vec![PathBuf::from("/m/a").into()],
        ..scanned("/m", &[])
    };
    bench.report(0, deleted);
    bench.give(wish());
    assert_eq!(bench.runs, ["*"]);
    // Also while it is being taken from the server, should that fail.
    bench.give(wish());
    bench.ended(2, Outcome::Transient);
    assert_eq!(bench.runs, ["*", "*"]);
    bench.ended(3, Outcome::Ok);
    bench.give(wish());
    assert_eq!(
        bench.runs,
        ["*", "*", "a"],
        "nothing is known of it any more"
    );
}

#[test]
fn an_account_that_is_given_up_ends_its_run_and_tells_no_more_of_it() {
    let mut bench = synced(&["/m/a"]);
    bench.give(Input::Sync(None, None, 0));
    assert_eq!(bench.runs, ["*"]);
    bench.give(Input::Configure(accounts(&[("work", &["/m"])])));
    assert_eq!(bench.runs, ["*", "end 1 Stop"]);
    bench.pass(2);
    bench.ended(1, Outcome::Interrupted);
    assert_eq!(bench.pass(20), [""; 0]);
}

#[test]
fn a_lock_is_of_maildirs_whatever_the_account_is_called() {
    let maildirs = |them: &[&str]| Key::Maildirs(them.iter().map(PathBuf::from).collect());
    let table: [(&str, &[&str], &[Key]); 4] = [
        ("work", &["/m"], &[]),
        ("job", &["/m"], &[maildirs(&["/m"])]),
        ("work", &["/m", "/n"], &[maildirs(&["/m", "/n"])]),
        ("work", &["/n"], &[maildirs(&["/n"])]),
    ];
    for (name, roots, locks) in table {
        let mut bench = synced(&["/m/a"]);
        assert_eq!(bench.locks, [maildirs(&["/m"])]);
        bench.locks.clear();
        let mut configured = accounts(&[(name, roots)]);
        configured[0].sync = Some(sync());
        bench.give(Input::Configure(configured));
        assert_eq!(bench.locks, locks, "{name} {roots:?}");
        // Without the lock nothing starts.
        bench.give(Input::Sync(Some(name.to_owned()), None, 3));
        assert_eq!(bench.runs.len(), usize::from(locks.is_empty()));
    }
}

#[test]
fn a_maildir_that_is_elsewhere_is_locked_there() {
    let key = |them: &[&str]| Key::Maildirs(them.iter().map(PathBuf::from).collect());
    let mut configured = accounts(&[("work", &["/link"])]);
    configured[0].sync = Some(sync());
    let mut bench = Bench::new(&[]);
    bench.give(Input::Configure(configured));
    bench.give(Input::Locked(AccountId(0), Lock::Ours));
    bench.report(0, scanned("/disk/m", &[]));
    bench.report(0, scanned("/disk/m", &[]));
    assert_eq!(bench.locks, [key(&["/link"]), key(&["/link", "/disk/m"])]);
    // Until that is had, nothing starts.
    bench.give(Input::Sync(None, None, 0));
    assert_eq!(bench.runs, [""; 0]);
    bench.give(Input::Locked(AccountId(0), Lock::Ours));
    assert_eq!(bench.runs, ["*"]);
    bench.report(0, scanned("/other/m", &[]));
    assert_eq!(bench.locks.last(), Some(&key(&["/link", "/other/m"])));
}

#[test]
fn a_wish_for_what_leaves_the_account_is_answered() {
    let mut bench = synced(&["/m/a"]);
    bench.give(Input::Pause(None, true));
    let wish = Some(vec![b"/m/a".to_vec()]);
    bench.give(Input::Sync(None, wish, 9));
    let mut configured = accounts(&[("work", &["/n"])]);
    configured[0].sync = Some(sync());
    bench.give(Input::Configure(configured));
    assert!(bench.pass(1).contains(&"interrupted for \"9\"".to_owned()));
}

#[test]
fn a_thousand_syncers_of_no_account_are_not_remembered() {
    let mut bench = Bench::new(&[("work", &["/m"])]);
    for number in 1..1000 {
        bench.give(Input::RunOnce {
            key: format!("at {number}"),
            sync: Box::new(SyncConfig {
                timing: Timing::once(),
                ..sync()
            }),
            folders: None,
            request: number,
        });
        bench.give(Input::Locked(AccountId(1), Lock::Ours));
        bench.give(Input::Ran(AccountId(1), {
            let ended = Ended::never_began(Outcome::Ok, String::new(), Memory::default());
            let run = RunId(number.cast_unsigned());
            Event::Ended {
                run,
                ended: Box::new(ended),
            }
        }));
        let told = bench.pass(1);
        assert!(told.contains(&format!("ok for \"{number}\"")), "{told:?}");
    }
    assert_eq!(bench.core.accounts.len(), 2);
    // A configuration may have the number of one, but not its name.
    bench.give(Input::Configure(accounts(&[
        ("home", &["/h"]),
        ("work", &["/m"]),
    ])));
    assert_eq!(bench.core.accounts.len(), 2);
    assert_eq!(bench.core.accounts[1].name, "home");
}

#[test]
fn a_syncer_of_no_account_runs_once_whatever_comes_of_it() {
    for outcome in [Outcome::Ok, Outcome::Transient, Outcome::Auth] {
        let mut bench = Bench::new(&[]);
        bench.give(Input::RunOnce {
            key: "once".to_owned(),
            sync: Box::new(SyncConfig {
                timing: Timing::once(),
                ..sync()
            }),
            folders: Some(vec![b"INBOX".to_vec()]),
            request: 5,
        });
        bench.give(Input::Locked(AccountId(0), Lock::Ours));
        assert_eq!(bench.runs, ["INBOX"]);
        bench.ended(1, outcome);
        let told = bench.pass(1000);
        let expected = format!("{} for \"5\"", outcome.name());
        assert_eq!(told, ["syncing INBOX".to_owned(), expected]);
        assert_eq!(bench.runs, ["INBOX"]);
        assert_eq!(bench.core.deadline(), None);
        assert_eq!(bench.core.held(), 0);
    }
}

/// What changes until the first look nobody tells: the sync of everything after it is for that.
#[test]
fn a_wish_before_a_first_look_is_not_the_sync_after_it() {
    let with_sync = |roots: &[&str]| {
        let mut configured = accounts(&[("work", roots)]);
        let sync = configured[0].sync.insert(sync());
        sync.timing.at_start = true;
        configured
    };
    let mut starts = Bench::new(&[]);
    starts.give(Input::Configure(with_sync(&["/m"])));
    let mut moves = synced(&["/m/a"]);
    moves.give(Input::Configure(with_sync(&["/n"])));
    for (mut bench, root, real) in [(starts, 0, "/m"), (moves, 1, "/n")] {
        bench.give(Input::Locked(AccountId(0), Lock::Ours));
        assert_eq!(bench.runs, [""; 0], "{real}");
        bench.give(Input::Sync(None, None, 0));
        bench.ended(1, Outcome::Ok);
        bench.pass(20);
        assert_eq!(bench.runs, ["*"], "{real}");
        bench.report(root, scanned(real, &[]));
        // The lock is of the real place now, too.
        bench.give(Input::Locked(AccountId(0), Lock::Ours));
        bench.pass(20);
        assert_eq!(bench.runs, ["*", "*"], "{real}");
    }
}

#[test]
fn a_worker_rests_when_its_account_does() {
    let worker = || Worker {
        words: vec!["/bin/true".into()],
        naming: Naming::Utf8,
        separator: None,
        prefix: None,
        idle: QUIET,
        quit: QUIET,
    };
    let configured = |worker: Option<Worker>, paused: f32| {
        let mut configured = accounts(&[("work", &["/m"])]);
        let mut sync = sync();
        sync.timing.base = Duration::from_secs_f32(paused);
        sync.syncer.worker = worker;
        configured[0].sync = Some(sync);
        Input::Configure(configured)
    };
    let mut bench = synced(&["in"]);
    let mut rests = |input, expected: &[&str]| {
        bench.programs.clear();
        bench.give(input);
        assert_eq!(bench.programs, expected);
    };
    // Without one there is none to end.
    rests(Input::Pause(None, true), &[]);
    rests(configured(Some(worker()), 1.0), &[]);
    rests(Input::Pause(None, true), &["rest 0"]);
    rests(Input::Pause(None, false), &[]);
    // When to sync is not the worker's business.
    rests(configured(Some(worker()), 2.0), &[]);
    let mut other = worker();
    other.words.push("x".into());
    rests(configured(Some(other), 2.0), &["rest 0"]);
    rests(configured(None, 2.0), &["rest 0"]);
}

#[test]
fn what_a_runner_says_is_logged() {
    let mut bench = synced(&["in"]);
    let text = "no worker".to_owned();
    bench.ran(Event::Said {
        run: RunId(1),
        text,
    });
    let told = bench.told();
    let said = "warning account work: no worker";
    assert!(told.iter().any(|it| it.ends_with(said)), "{told:?}");
}
