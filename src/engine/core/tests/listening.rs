//! What other programs are told, and when.

use super::*;
use crate::listen::{Spot, Told};

const TIMEOUT: Duration = Duration::from_secs(10);

fn changed(root: &str, directory: &str, name: &str, kinds: Kinds) -> Told {
    let spot = Spot {
        root: root.into(),
        directory: directory.into(),
        name: name.into(),
    };
    Told::Change(spot, kinds)
}

impl Bench {
    /// What other programs were told since the last time, and in the moment after a check.
    fn passed_on(&mut self) -> Vec<Told> {
        self.now += Duration::from_millis(50);
        self.give(Input::Tick);
        std::mem::take(&mut self.passed_on)
    }

    fn checked(&mut self, folder: &str, serial: u64) {
        let answer = vec![(folder.into(), serial)];
        self.give(Input::Checked("work".to_owned(), answer));
    }
}

#[test]
fn folders_are_passed_on_when_they_were_checked() {
    let mut bench = Bench::settled(&["/m", "/m/a"]);
    // Nobody listens yet.
    bench.messages(0, "/m/a/new", Kinds::NEW);
    bench.told();
    bench.checked("/m/a", 1);
    assert_eq!(bench.passed_on(), []);

    bench.give(Input::Listen(Some(TIMEOUT)));
    assert_eq!(bench.passed_on(), [Told::Roots(vec!["/m".into()])]);
    bench.messages(0, "/m/a/new", Kinds::NEW);
    bench.messages(0, "/m/new", Kinds::FLAGS);
    assert_eq!(bench.told().len(), 2);
    assert_eq!(bench.core.deadline(), Some(bench.now + TIMEOUT));
    assert_eq!(bench.passed_on(), []);
    bench.checked("/m/a", 100);
    assert_eq!(
        bench.passed_on(),
        [changed("/m", "/m/a", "/m/a", Kinds::NEW)]
    );
    // Nobody answers for the other.
    bench.now += TIMEOUT;
    bench.give(Input::Tick);
    let late = bench.passed_on();
    assert_eq!(late, [changed("/m", "/m", "/m", Kinds::FLAGS)]);
    bench.messages(0, "/m/new", Kinds::NEW);
    bench.told();
    bench.now += TIMEOUT;
    bench.give(Input::Tick);
    assert_eq!(bench.passed_on(), [Told::Silent]);
    assert_eq!(bench.core.deadline(), None);
    // Somebody else listens, and is told how it stands.
    bench.give(Input::Listen(Some(TIMEOUT)));
    let all = [Told::Silent, Told::Roots(vec!["/m".into()])];
    assert_eq!(bench.passed_on(), all);
    bench.checked("/m", 100);
    let back = [Told::Back, changed("/m", "/m", "/m", Kinds::NEW)];
    assert_eq!(bench.passed_on(), back);
    let held = bench.core.held();
    bench.give(Input::Listen(None));
    bench.messages(0, "/m/new", Kinds::NEW);
    bench.told();
    assert_eq!(bench.passed_on(), []);
    assert_eq!(bench.core.held(), held);
}

/// A message that was only looked at; `quiet` is whether Lisp wants to know.
#[test]
fn what_no_server_wants_to_know_is_not_passed_on() {
    let mut bench = Bench::settled(&["/m/a"]);
    bench.give(Input::Listen(Some(TIMEOUT)));
    bench.passed_on();
    bench.looked(0, "/m/a/cur");
    assert_eq!(bench.told(), ["work /m/a F"], "it is checked");
    assert_eq!(bench.passed_on(), []);
    // Together with something else it is part of that, whatever the order.
    for quiet_first in [true, false] {
        for quiet in [quiet_first, !quiet_first] {
            if quiet {
                bench.looked(0, "/m/a/cur");
            } else {
                bench.messages(0, "/m/a/new", Kinds::NEW);
            }
        }
        assert_eq!(bench.told(), ["work /m/a nF"]);
        bench.checked("/m/a", 100);
        let both = Kinds::NEW | Kinds::FLAGS;
        assert_eq!(bench.passed_on(), [changed("/m", "/m/a", "/m/a", both)]);
    }
    let deaf = accounts(&[("work", &["/m"])]).into_iter();
    let deaf = deaf.map(|it| AccountConfig { quiet: false, ..it });
    bench.give(Input::Configure(deaf.collect()));
    bench.told();
    bench.looked(0, "/m/a/cur");
    assert_eq!(bench.told(), [""; 0]);
    bench.messages(0, "/m/a/new", Kinds::NEW);
    assert_eq!(bench.told(), ["work /m/a n"]);
}

#[test]
fn maildirs_are_known_by_their_truenames() {
    let mut bench = Bench::new(&[("work", &["/link", "/n"])]);
    bench.give(Input::Listen(Some(TIMEOUT)));
    assert_eq!(bench.passed_on(), [Told::Roots(vec![])]);
    let folder = FoundFolder {
        name: b"a".as_slice().into(),
        directory: path("/link/a"),
        ..found("/m/a")
    };
    let first = Scanned {
        created: vec![Arc::new(folder)],
        ..scanned("/m", &[])
    };
    bench.report(0, first);
    assert_eq!(bench.passed_on(), [Told::Roots(vec!["/m".into()])]);
    bench.report(1, scanned("/n", &["/n"]));
    let both = Told::Roots(vec!["/m".into(), "/n".into()]);
    assert_eq!(bench.passed_on(), [both]);
    bench.told();
    bench.messages(0, "/m/a/new", Kinds::NEW);
    bench.told();
    bench.checked("/m/a", 100);
    let expected = changed("/m", "/m/a", "a", Kinds::NEW);
    assert_eq!(bench.passed_on(), [expected]);
    // One goes away: what happens there is not known any more.
    bench.give(Input::Report(RootId(1), absent(true)));
    assert_eq!(bench.passed_on(), [Told::Roots(vec!["/m".into()])]);
}

#[test]
fn nobody_is_waited_for_in_an_account_that_is_given_up() {
    let mut bench = Bench::settled(&["/m/a"]);
    bench.give(Input::Listen(Some(TIMEOUT)));
    bench.messages(0, "/m/a/new", Kinds::NEW);
    bench.told();
    bench.passed_on();
    bench.give(Input::Configure(Vec::new()));
    bench.now += 2 * TIMEOUT;
    bench.give(Input::Tick);
    assert_eq!(bench.passed_on(), [Told::Roots(vec![])]);
    assert_eq!(bench.core.deadline(), None);
}
