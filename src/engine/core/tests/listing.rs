//! All folders, when somebody asks; and since when what is told of them is known.

use super::*;

/// The answer to a request for the folders of an account, a line for each.
fn list(bench: &mut Bench, account: Option<&str>) -> Vec<String> {
    ask(bench, account, true)
}

fn ask(bench: &mut Bench, account: Option<&str>, all: bool) -> Vec<String> {
    bench.told.clear();
    bench.give(Input::Folders {
        account: account.map(str::to_owned),
        all,
        slot: "list".to_owned(),
        request: 7,
    });
    bench.told.retain(|it| it.starts_with("answer"));
    let mut rows = Vec::new();
    for (number, part) in bench.told.iter().enumerate() {
        let fields: Vec<&str> = part.split(',').collect();
        assert_eq!(fields[..3], ["answer list", "7", &number.to_string()]);
        assert_eq!(fields[3], bench.told.len().to_string());
        rows.extend(fields[5..].iter().map(|it| (*it).to_owned()));
    }
    rows.chunks(7).map(|row| row.join(",")).collect()
}

#[test]
fn folders_are_listed_for_whoever_asks() {
    let mut bench = Bench::new(&[("work", &["/m"]), ("home", &["/h"])]);
    bench.report(0, scanned("/m", &["/m/b", "/m/a"]));
    let mut linked = scanned("/h", &["/h/x"]);
    linked.created = vec![Arc::new(FoundFolder {
        real: path("/real/x"),
        ..found("/h/x")
    })];
    bench.report(1, linked);
    let work = ["work,/m/a,/m/a,,,,", "work,/m/b,/m/b,,,,"];
    assert_eq!(list(&mut bench, Some("work")), work);
    let home = ["home,/h/x,/h/x,/real/x,,,"];
    assert_eq!(list(&mut bench, None), [&work[..], &home].concat());
    assert_eq!(list(&mut bench, Some("nobody")), [""; 0]);
}

#[test]
fn how_a_folder_stands_is_told_with_it() {
    let mut bench = Bench::new(&[]);
    let mut configured = accounts(&[("work", &["/m"])]);
    configured[0].sync = Some(sync());
    bench.give(Input::Configure(configured));
    bench.report(0, scanned("/m", &["/m/a", "/m/b"]));
    bench.give(Input::Locked(AccountId(0), Lock::Ours));
    bench.messages(0, "/m/a/new", Kinds::NEW);
    let waits = ["work,/m/a,/m/a,,w,,", "work,/m/b,/m/b,,,,"];
    assert_eq!(list(&mut bench, None), waits);
    assert_eq!(ask(&mut bench, None, false), waits[..1]);
    bench.give(Input::Sync(None, None, 0));
    assert_eq!(bench.runs, ["*"]);
    let runs = ["work,/m/a,/m/a,,r,,", "work,/m/b,/m/b,,,,"];
    assert_eq!(list(&mut bench, None), runs);
    bench.ended(1, Outcome::Ok);
    bench.now += Duration::from_secs(3);
    let synced = ["work,/m/a,/m/a,,,3000,", "work,/m/b,/m/b,,,3000,"];
    assert_eq!(list(&mut bench, None), synced);
    assert_eq!(ask(&mut bench, None, false), [""; 0]);
}

#[test]
fn many_come_in_parts() {
    let names: Vec<String> = (0..3000).map(|it| format!("/m/folder{it:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::settled(&names);
    let listed = list(&mut bench, None);
    assert_eq!(listed.len(), 3000);
    assert_eq!(listed[2999], "work,/m/folder2999,/m/folder2999,,,,");
    assert!(bench.told.len() > 10, "{}", bench.told.len());
}

#[test]
fn a_change_is_told_with_when_the_first_of_it_was_noticed() {
    let mut bench = Bench::settled(&["/m/a", "/m/b"]);
    bench.seen = true;
    bench.messages(0, "/m/a/new", Kinds::NEW);
    bench.now += Duration::from_millis(150);
    bench.messages(0, "/m/a/new", Kinds::NEW);
    assert_eq!(bench.told(), ["/m/a 350"]);
    bench.give(Input::Check(None, None));
    assert_eq!(bench.told(), ["/m/a 0", "/m/b 0"]);
    // What nobody could explain at first.
    bench.overflow();
    bench.messages(0, "/m/c/new", Kinds::NEW);
    bench.now += Duration::from_secs(1);
    bench.report(0, scanned("/m", &["/m/c"]));
    let told = bench.told();
    assert_eq!(told, ["/m/c 1200"], "{told:?}");
}
