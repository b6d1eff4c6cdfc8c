//! Stores on other machines.

use std::collections::BTreeMap;

use super::*;
use crate::engine::config::{RemoteConfig, RemoteStore};
use crate::remote::attempts::Retry;
use crate::remote::heard::Heard;
use crate::remote::names;
use crate::remote::watcher::{How, Over, Program as Watches};
use crate::syncer::outcome::Exit;

fn remote(program: &str) -> RemoteConfig {
    RemoteConfig {
        store: RemoteStore::Program(Watches {
            argv: vec![program.into()],
            search: Vec::new(),
            environment: Vec::new(),
            naming: names::Naming::default(),
        }),
        folders: Vec::new(),
        retry: Retry {
            inter: Duration::from_secs(5),
            max: Duration::from_secs(600),
        },
    }
}

fn config(roots: &[&str], synced: bool, programs: &[&str]) -> Vec<AccountConfig> {
    let mut accounts = accounts(&[("work", roots)]);
    accounts[0].sync = synced.then(sync);
    accounts[0].remotes = programs.iter().map(|program| remote(program)).collect();
    accounts
}

impl Bench {
    fn watching(roots: &[&str], synced: bool) -> Self {
        let mut bench = Bench::new(&[]);
        bench.origins = true;
        bench.give(Input::Configure(config(roots, synced, &["watch"])));
        if !roots.is_empty() {
            bench.report(0, scanned("/m", &["/m/a", "/m/b"]));
        }
        if synced {
            bench.give(Input::Locked(AccountId(0), Lock::Ours));
        }
        bench.told();
        bench
    }

    fn heard(&mut self, number: u64, everything: bool, names: &[&str]) {
        let changes = names
            .iter()
            .map(|name| (name.as_bytes().to_vec(), Kinds::NEW));
        let heard = Heard {
            everything,
            changes: changes.collect(),
            ..Heard::default()
        };
        self.give(Input::Heard(RemoteId(0), number, heard));
    }

    fn hangs_up(&mut self, number: u64, code: i32) {
        let over = Over {
            how: How::Exit(Exit::Code(code)),
            denied: false,
            said: String::new(),
        };
        self.give(Input::HungUp(RemoteId(0), number, over));
    }

    fn programs(&mut self) -> Vec<String> {
        std::mem::take(&mut self.programs)
    }

    fn runs(&mut self) -> Vec<String> {
        std::mem::take(&mut self.runs)
    }

    fn ends(&mut self, run: u64, outcome: Outcome) {
        let ended = Ended::never_began(outcome, String::new(), Memory::default());
        let (run, ended) = (RunId(run), Box::new(ended));
        self.give(Input::Ran(AccountId(0), Event::Ended { run, ended }));
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.give(Input::Tick);
    }
}

#[test]
fn a_change_there_is_synced_at_once_and_not_checked() {
    let mut bench = Bench::watching(&["/m"], true);
    assert_eq!(bench.programs(), ["start 0 as 1"]);
    bench.heard(1, true, &[]);
    assert_eq!(bench.runs(), ["*"], "what nobody saw");
    bench.ends(1, Outcome::Ok);
    bench.later(60);
    bench.told();
    bench.heard(1, false, &["/m/a"]);
    assert_eq!(bench.runs(), ["/m/a"], "a folder of the maildir");
    let told = bench.told();
    assert!(
        !told.iter().any(|it| it.starts_with("work /m/a")),
        "{told:?}"
    );
    bench.ends(2, Outcome::Ok);
    bench.later(60);
    bench.heard(1, false, &["other"]);
    assert_eq!(bench.runs(), ["other"], "the syncer may know it");
}

#[test]
fn the_first_sync_waits_a_little_for_the_server() {
    for (connects, expected) in [(2, vec!["*"]), (9, vec!["*", "*"])] {
        let mut bench = Bench::new(&[]);
        let mut accounts = config(&[], true, &["watch"]);
        if let Some(sync) = &mut accounts[0].sync {
            sync.timing.at_start = true;
        }
        bench.give(Input::Configure(accounts));
        bench.give(Input::Locked(AccountId(0), Lock::Ours));
        for second in 1..30 {
            bench.later(1);
            if second == connects {
                bench.heard(1, true, &[]);
            }
            if second == connects || second == 20 {
                let run = bench.runs.len() as u64;
                bench.ends(run, Outcome::Ok);
            }
        }
        assert_eq!(bench.runs(), expected, "{connects}");
    }
}

#[test]
fn a_storm_of_reconnections_is_few_syncs() {
    let mut bench = Bench::watching(&["/m"], true);
    bench.heard(1, true, &[]);
    assert_eq!(bench.runs(), ["*"]);
    for number in 2..10 {
        bench.hangs_up(number - 1, 2);
        bench.later(1);
        bench.heard(number, true, &[]);
    }
    assert_eq!(bench.runs(), [""; 0], "one run at a time");
    bench.ends(1, Outcome::Ok);
    bench.later(5);
    assert_eq!(bench.runs(), ["*"], "and one for all of them");
    bench.ends(2, Outcome::Ok);
    bench.later(60);
    assert_eq!(bench.runs(), [""; 0]);
}

#[test]
fn without_a_syncer_it_is_checked() {
    let mut bench = Bench::watching(&["/m"], false);
    bench.heard(1, true, &[]);
    let told = bench.told();
    let expected = ["work remote 0 connected", "work /m/a u r", "work /m/b u r"];
    assert_eq!(told, expected);
    bench.heard(1, false, &["/m/a", "other"]);
    assert_eq!(bench.told(), ["work /m/a n r", "work other n r"]);
    assert_eq!(bench.runs(), [""; 0]);
}

#[test]
fn without_a_maildir_gnus_is_asked_which_folders_there_are() {
    let mut bench = Bench::watching(&[], false);
    let status = bench.core.status();
    assert_eq!(status.accounts[0].state, "starting");
    bench.heard(1, true, &["INBOX"]);
    let told = bench.told();
    let expected = [
        " ready",
        "work is watching",
        "work remote 0 connected",
        "work INBOX n r",
    ];
    assert_eq!(told, expected);
    bench.give(Input::Check(Some("work".to_owned()), None));
    assert_eq!(bench.told(), [" ready"]);
}

#[test]
fn without_a_maildir_a_sync_is_checked_after_it() {
    let mut bench = Bench::watching(&[], true);
    bench.heard(1, true, &[]);
    assert_eq!(bench.runs(), ["*"]);
    bench.told();
    bench.ends(1, Outcome::Ok);
    assert!(bench.told().contains(&" ready".to_owned()));
    bench.later(60);
    bench.heard(1, false, &["a"]);
    assert_eq!(bench.runs(), ["a"]);
    bench.told();
    bench.ends(2, Outcome::Transient);
    let told = bench.told();
    assert!(!told.iter().any(|it| it.starts_with("work a")), "{told:?}");
    bench.later(60);
    bench.ends(3, Outcome::Ok);
    let told = bench.told();
    assert!(told.contains(&"work a u s".to_owned()), "{told:?}");
}

#[test]
fn two_accounts_may_have_a_folder_of_one_name() {
    let mut bench = Bench::new(&[]);
    bench.origins = true;
    let mut accounts = accounts(&[("work", &[]), ("home", &[])]);
    for account in &mut accounts {
        account.remotes = vec![remote("watch")];
    }
    bench.give(Input::Configure(accounts));
    for id in [0, 1] {
        let heard = Heard {
            everything: true,
            changes: BTreeMap::from([(b"INBOX".to_vec(), Kinds::NEW)]),
            ..Heard::default()
        };
        bench.give(Input::Heard(RemoteId(id), 1, heard));
    }
    let told = bench.told();
    for name in ["work", "home"] {
        assert!(told.contains(&format!("{name} INBOX n r")), "{told:?}");
    }
}

#[test]
fn another_configuration() {
    let mut bench = Bench::watching(&["/m"], false);
    bench.heard(1, true, &[]);
    bench.told();
    assert_eq!(bench.programs(), ["start 0 as 1"]);
    bench.give(Input::Configure(config(&["/m"], false, &["watch"])));
    assert_eq!(bench.programs(), [""; 0], "it goes on");
    bench.give(Input::Configure(config(
        &["/m"],
        false,
        &["other", "watch"],
    )));
    assert_eq!(bench.programs(), ["start 1 as 1"]);
    bench.told();
    bench.give(Input::Configure(config(&["/m"], false, &["other"])));
    assert_eq!(bench.programs(), ["end 0"]);
    assert_eq!(bench.told(), ["work remote 0 gone"]);
    bench.hangs_up(1, 0);
    assert_eq!(bench.programs(), [""; 0]);
    bench.give(Input::Configure(Vec::new()));
    assert_eq!(bench.programs(), ["end 1"]);
}

#[test]
fn a_pause_is_of_syncs() {
    let mut bench = Bench::watching(&["/m"], true);
    bench.heard(1, true, &[]);
    bench.ends(1, Outcome::Ok);
    bench.later(60);
    bench.runs();
    bench.programs();
    bench.give(Input::Pause(None, true));
    bench.heard(1, false, &["/m/a"]);
    bench.later(60);
    assert_eq!((bench.runs(), bench.programs()), (vec![], vec![]));
    bench.give(Input::Pause(None, false));
    assert_eq!(bench.runs(), ["/m/a"]);
}

#[test]
fn what_pauses_itself_is_resumed() {
    let mut bench = Bench::watching(&[], false);
    for number in 1..=3 {
        bench.hangs_up(number, 127);
        bench.later(60);
    }
    assert_eq!(bench.programs().len(), 3);
    assert!(bench.told().contains(&"work remote 0 paused".to_owned()));
    bench.later(6000);
    // Somebody else's account has come, say.
    bench.give(Input::Configure(config(&[], false, &["watch"])));
    assert_eq!(bench.programs(), [""; 0]);
    bench.give(Input::Pause(Some("work".to_owned()), false));
    assert_eq!(bench.programs(), ["start 0 as 4"]);
    for number in 4..=6 {
        bench.hangs_up(number, 127);
        bench.later(60);
    }
    bench.programs();
    bench.give(Input::Retry);
    assert_eq!(bench.programs(), ["start 0 as 7"]);
}

#[test]
fn names_that_are_nowhere_are_bounded() {
    let mut bench = Bench::watching(&[], false);
    bench.heard(1, true, &[]);
    let names: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    for names in names.chunks(1000) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        bench.heard(1, false, &names);
        bench.told();
    }
    assert!(bench.core.held() < 10_000, "{}", bench.core.held());
}

#[cfg(feature = "imap")]
mod imap {
    use super::*;
    use crate::remote::imap::keeper::{self, Event as Happens};
    use crate::remote::imap::line::{Server, Source};
    use crate::remote::imap::session::{Mode, Settings};
    use crate::remote::imap::wire::Way;

    fn server() -> Server {
        Server {
            way: Way::Host("host".to_owned(), 993, true),
            pin: None,
            source: Source::Emacs,
            settings: Settings::new("me", "host", 993),
        }
    }

    fn hears(bench: &mut Bench, watching: Option<Mode>, names: &[&str]) {
        let changes = names.iter().map(|name| ((*name).into(), Kinds::NEW));
        let heard = keeper::Heard {
            watching,
            changes: changes.collect(),
            ..keeper::Heard::default()
        };
        bench.give(Input::Imap(RemoteId(0), Happens::Heard(1, heard)));
    }

    fn watched_by_imap() -> Bench {
        let mut bench = Bench::new(&[]);
        let mut accounts = config(&[], false, &["watch"]);
        accounts[0].remotes[0].store = RemoteStore::Imap(Box::new(server()));
        bench.give(Input::Configure(accounts));
        bench
    }

    #[test]
    fn what_a_server_has_merged_does_not_wait_again() {
        for (mode, waits) in [(Mode::Notify, None), (Mode::Idle, Some(QUIET))] {
            let mut bench = watched_by_imap();
            hears(&mut bench, Some(mode), &["a"]);
            let due = bench.core.deadline().map(|due| due - bench.now);
            assert_eq!(due, waits, "{mode:?}");
            assert!(bench.told().iter().any(|it| it == "work  n"), "{mode:?}");
        }
    }

    #[test]
    fn what_was_missed_does_not_wait_for_more() {
        let mut bench = watched_by_imap();
        // As the first look comes in.
        hears(&mut bench, None, &["a"]);
        hears(&mut bench, None, &["b"]);
        let begun = bench.now;
        assert_eq!(bench.core.deadline(), Some(begun + QUIET));
        hears(&mut bench, Some(Mode::Notify), &[]);
        assert_eq!(bench.core.deadline(), None);
        let told = bench.told();
        let changes = told.iter().filter(|it| *it == "work  n").count();
        assert_eq!(changes, 2, "{told:?}");
    }
}
