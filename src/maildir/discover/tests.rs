//! Trees of all layouts, and the folders in them.

use super::super::model::{Lcg, Model, Refusal};
use super::*;

fn look(model: &Model, layout: Layout) -> Scan {
    discover(model, Path::new("/m"), layout, &[]).expect("a root")
}

/// "name directory" of every folder, the directory without the root.
fn folders(scan: &Scan) -> Vec<String> {
    let folders = scan.folders.iter();
    folders
        .map(|folder| {
            let name = String::from_utf8_lossy(&folder.name);
            format!("{name} {}", below(&folder.directory))
                .trim_end()
                .to_owned()
        })
        .collect()
}

fn containers(scan: &Scan) -> Vec<String> {
    let containers = scan.containers.iter();
    containers.map(|it| below(&it.real)).collect()
}

fn below(path: &Path) -> String {
    path.strip_prefix("/m")
        .unwrap_or(path)
        .display()
        .to_string()
}

#[test]
fn layouts() {
    use Layout::{Auto, MaildirPlusPlus, Nested};
    // tree, layout, folders, containers
    type Case = (
        &'static [&'static str],
        Layout,
        &'static [&'static str],
        &'static [&'static str],
    );
    let plus: &[&str] = &["/m/***", "/m/.a/***", "/m/.a.b/***", "/m/.empty/"];
    let nested: &[&str] = &["/m/INBOX/***", "/m/a/***", "/m/a/b.c/***", "/m/d/e/***"];
    let mixed: &[&str] = &[
        "/m/***",
        "/m/.plus.x/***",
        "/m/.plus.x/not/***",
        "/m/.plus.x/.not/***",
        "/m/a/***",
        "/m/a/.b/***",
        "/m/a/.b/.c/***",
        "/m/a/.b/not/***",
        "/m/a/.k/.l.m/***",
        "/m/Inbox/.sub/***",
    ];
    let table: [Case; 14] = [
        (&["/m/"], Auto, &[], &[""]),
        (&["/m/***"], Auto, &["INBOX"], &[""]),
        (&["/m/cur/", "/m/new/"], Auto, &[], &[""]),
        (
            plus,
            MaildirPlusPlus,
            &["INBOX", "a .a", "a/b .a.b"],
            &["", ".empty"],
        ),
        (plus, Auto, &["INBOX", "a .a", "a/b .a.b"], &["", ".empty"]),
        (plus, Nested, &["INBOX"], &[""]),
        (
            nested,
            Nested,
            &["INBOX INBOX", "a a", "a/b.c a/b.c", "d/e d/e"],
            &["", "INBOX", "a", "a/b.c", "d", "d/e"],
        ),
        (
            nested,
            Auto,
            &["INBOX INBOX", "a a", "a/b.c a/b.c", "d/e d/e"],
            &["", "INBOX", "a", "a/b.c", "d", "d/e"],
        ),
        (nested, MaildirPlusPlus, &[], &[""]),
        (
            mixed,
            Auto,
            &[
                "INBOX",
                "INBOX/sub Inbox/.sub",
                "a a",
                "a/b a/.b",
                "a/b/c a/.b/.c",
                "a/k/l/m a/.k/.l.m",
                "plus/x .plus.x",
            ],
            &[
                "",
                "Inbox",
                "Inbox/.sub",
                "a",
                "a/.b",
                "a/.b/.c",
                "a/.k",
                "a/.k/.l.m",
            ],
        ),
        (mixed, Nested, &["INBOX", "a a"], &["", "Inbox", "a"]),
        (mixed, MaildirPlusPlus, &["INBOX", "plus/x .plus.x"], &[""]),
        // files where directories belong, and what is never a folder
        (
            &[
                "/m/a/cur",
                "/m/a/new/",
                "/m/a/tmp/",
                "/m/.b/cur/",
                "/m/.b/new/",
                "/m/.b/tmp",
                "/m/file",
                "/m/.file",
                "/m/cur/x/***",
                "/m/new/***",
                "/m/tmp/a/***",
                "/m/a/cur",
                "/m/.nnmaildir/***",
                "/m/a/.nnmaildir/***",
                "/m/courierimapkeywords/***",
                "/m/..DOVECOT-TRASHED/***",
            ],
            Auto,
            &["INBOX"],
            &["", ".b", "a"],
        ),
        // parts that are links
        (
            &[
                "/m/a/cur -> ../../x/cur",
                "/m/a/new/",
                "/m/a/tmp -> ../../x/tmp",
                "/x/***",
                "/m/b/cur/",
                "/m/b/new/",
                "/m/b/tmp -> nowhere",
                "/m/.c/cur/",
                "/m/.c/new -> /x/new",
                "/m/.c/tmp -> /x/tmp",
            ],
            Auto,
            &["a a", "c .c"],
            &["", "a", "b"],
        ),
    ];
    for (tree, layout, names, watched) in table {
        let scan = look(&Model::new(tree), layout);
        assert_eq!(folders(&scan), names, "{layout:?} {tree:?}");
        assert_eq!(containers(&scan), watched, "{layout:?} {tree:?}");
        assert_eq!(scan.problems, [], "{layout:?} {tree:?}");
    }
}

#[test]
fn links() {
    // tree, folders, where they really are, containers
    type List = &'static [&'static str];
    let table: [(List, List, List, List); 14] = [
        (
            &["/m/a -> ../x", "/x/***", "/x/b/***"],
            &["a a", "a/b a/b"],
            &["/x", "/x/b"],
            &["", "/x", "/x/b"],
        ),
        (
            &["/m/.a -> /x", "/x/***", "/x/b/***"],
            &["a .a"],
            &["/x"],
            &[""],
        ),
        // what lies below the root goes by its own name, however names sort and nest
        (&["/m/a -> b", "/m/b/***"], &["b b"], &["b"], &["", "b"]),
        (
            &["/m/a/l -> ../b", "/m/a/***", "/m/b/***"],
            &["a a", "b b"],
            &["a", "b"],
            &["", "a", "b"],
        ),
        (&["/m/.a -> b", "/m/b/***"], &["b b"], &["b"], &["", "b"]),
        (
            &["/m/a -> .b", "/m/.b/***", "/m/.b/c/***"],
            &["b .b"],
            &[".b"],
            &[""],
        ),
        (&["/m/.a -> .b", "/m/.b/"], &[], &[], &["", ".b"]),
        // of two links the first
        (
            &["/m/b -> /x", "/m/a -> /x", "/x/***"],
            &["a a"],
            &["/x"],
            &["", "/x"],
        ),
        (
            &["/m/b/l -> /x/y", "/m/a/l -> /x", "/x/y/***"],
            &["a/l/y a/l/y"],
            &["/x/y"],
            &["", "/x", "/x/y", "a", "b"],
        ),
        // cycles
        (
            &["/m/a/***", "/m/a/up -> ..", "/m/a/self -> .", "/m/l -> a"],
            &["a a"],
            &["a"],
            &["", "a"],
        ),
        (
            &["/m/a/b/", "/m/a/b/up -> ..", "/m/a/self -> ."],
            &[],
            &[],
            &["", "a", "a/b"],
        ),
        (
            &["/m/a -> /x", "/x/***", "/x/m -> /m", "/x/x -> /x"],
            &["a a"],
            &["/x"],
            &["", "/x"],
        ),
        // what contains the root, nowhere, and files
        (&["/other/***", "/m/a -> /"], &[], &[], &[""]),
        (
            &[
                "/m/b -> nowhere",
                "/m/c -> /file",
                "/m/.c -> /file",
                "/file",
            ],
            &[],
            &[],
            &[""],
        ),
    ];
    for (tree, names, reals, watched) in table {
        let scan = look(&Model::new(tree), Layout::Auto);
        assert_eq!(folders(&scan), names, "{tree:?}");
        let found: Vec<_> = scan.folders.iter().map(|it| below(&it.real)).collect();
        assert_eq!(found, reals, "{tree:?}");
        let mut found = containers(&scan);
        found.sort();
        assert_eq!(found, watched, "{tree:?}");
        assert_eq!(scan.problems, [], "{tree:?}");
    }
}

#[test]
fn a_directory_mounted_twice_is_one() {
    let mut model = Model::new(&["/m/b/c/***", "/m/.x/***"]);
    model.bind("/m/b", "/m/d");
    model.bind("/m/b", "/m/a");
    model.bind("/m/.x", "/m/.y");
    let scan = look(&model, Layout::Auto);
    assert_eq!(folders(&scan), ["a/c a/c", "x .x"]);
    assert_eq!(containers(&scan), ["", "a", "a/c"]);
}

#[test]
fn a_link_to_itself_is_a_problem() {
    let scan = look(&Model::new(&["/m/***", "/m/a -> /m/a"]), Layout::Auto);
    assert_eq!(folders(&scan), ["INBOX"]);
    let problems: Vec<_> = scan.problems.iter().map(|it| below(&it.path)).collect();
    assert_eq!(problems, ["a"]);
}

#[test]
fn a_linked_root_is_spelled_as_the_user_does() {
    let model = Model::new(&["/home -> /m", "/m/***", "/m/a/***"]);
    let scan = discover(&model, Path::new("/home"), Layout::Auto, &[]).expect("a root");
    assert_eq!(scan.real_root, Path::new("/m"));
    let spelled: Vec<_> = scan.folders.iter().map(|it| &*it.directory).collect();
    assert_eq!(spelled, [Path::new("/home"), Path::new("/home/a")]);
    let real: Vec<_> = scan.folders.iter().map(|it| &*it.real).collect();
    assert_eq!(real, [Path::new("/m"), Path::new("/m/a")]);
}

#[test]
fn what_refuses_is_collected_or_was_never_there() {
    use Refusal::{Closed, List, Search, Vanished};
    let tree = ["/m/***", "/m/a/***", "/m/a/b/***", "/m/.c/***", "/m/z/***"];
    // what refuses, folders, containers, problems
    type Case = (
        &'static str,
        Refusal,
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
    );
    let all: &[&str] = &["INBOX", "a a", "a/b a/b", "c .c", "z z"];
    let table: [Case; 9] = [
        ("/m/a", List, &["INBOX", "c .c", "z z"], &["", "z"], &["a"]),
        (
            "/m/a",
            Closed,
            &["INBOX", "c .c", "z z"],
            &["", "z"],
            &["a"],
        ),
        (
            "/m/a",
            Search,
            &["INBOX", "c .c", "z z"],
            &["", "a", "z"],
            &["a", "a/b"],
        ),
        ("/m/a", Vanished, &["INBOX", "c .c", "z z"], &["", "z"], &[]),
        (
            "/m/a/new",
            Vanished,
            &["INBOX", "a/b a/b", "c .c", "z z"],
            &["", "a", "a/b", "z"],
            &[],
        ),
        // listing Maildir++ folders, or what is in a folder, is not needed
        ("/m/.c", List, all, &["", "a", "a/b", "z"], &[]),
        ("/m/a/cur", Closed, all, &["", "a", "a/b", "z"], &[]),
        (
            "/m/.c",
            Search,
            &["INBOX", "a a", "a/b a/b", "z z"],
            &["", "a", "a/b", "z"],
            &[".c"],
        ),
        (
            "/m/.c",
            Vanished,
            &["INBOX", "a a", "a/b a/b", "z z"],
            &["", "a", "a/b", "z"],
            &[],
        ),
    ];
    for (path, refusal, names, watched, problems) in table {
        let mut model = Model::new(&tree);
        model.refusals.insert(path.into(), refusal);
        let scan = look(&model, Layout::Auto);
        assert_eq!(folders(&scan), names, "{path} {refusal:?}");
        assert_eq!(containers(&scan), watched, "{path} {refusal:?}");
        let found: Vec<_> = scan.problems.iter().map(|it| below(&it.path)).collect();
        assert_eq!(found, problems, "{path} {refusal:?}");
        let kinds = scan.problems.iter().map(|it| it.kind);
        assert!(kinds.eq(problems.iter().map(|_| io::ErrorKind::PermissionDenied)));
    }
}

#[test]
fn roots_that_cannot_be_looked_at() {
    let tree = [
        "/file",
        "/dangling -> /nowhere",
        "/m/***",
        "/to-file -> /file",
    ];
    let mut model = Model::new(&tree);
    model.refusals.insert("/m".into(), Refusal::List);
    let table = [
        ("/nowhere", "there is no directory /nowhere"),
        ("/dangling", "there is no directory /dangling"),
        ("/file", "/file is not a directory"),
        ("/to-file", "/to-file is not a directory"),
        ("/file/below", "/file/below is not a directory"),
        ("/m", "/m cannot be read: permission denied"),
    ];
    for (root, sentence) in table {
        let error = discover(&model, Path::new(root), Layout::Auto, &[]).expect_err(root);
        assert_eq!(error.to_string(), sentence);
    }
}

#[test]
fn the_longest_root_wins() {
    let tree = [
        "/m/***",
        "/m/work/***",
        "/m/work/a/***",
        "/m/worker/***",
        "/m/.dot/***",
        "/x/***",
        "/m/link -> /x",
        "/m/other -> /m/work/a",
    ];
    let model = Model::new(&tree);
    let exclude = ["/m/work", "/m/.dot", "/x", "/", "/m"].map(PathBuf::from);
    let scan = discover(&model, Path::new("/m"), Layout::Auto, &exclude).expect("a root");
    assert_eq!(folders(&scan), ["INBOX", "worker worker"]);
    assert_eq!(containers(&scan), ["", "worker"]);
    let scan = discover(&model, Path::new("/m/work"), Layout::Auto, &exclude);
    assert_eq!(folders(&scan.expect("a root")), ["INBOX work", "a work/a"]);
}

#[test]
fn depth_has_an_end() {
    let deepest = format!("/m{}", "/d".repeat(DEEPEST));
    let tree = [format!("{deepest}/***"), format!("{deepest}/d/***")];
    let scan = look(
        &Model::new(&tree.each_ref().map(String::as_str)),
        Layout::Auto,
    );
    assert_eq!(scan.folders.len(), 1);
    assert_eq!(scan.containers.len(), 1 + DEEPEST);
    assert_eq!(scan.problems.len(), 1);
}

#[test]
fn messages_cost_nothing_and_folders_little() {
    let mut tree: Vec<String> = vec!["/m/***".into()];
    for at in 0..50 {
        tree.push(format!("/m/.plus{at}/***"));
        tree.push(format!("/m/nested{at}/***"));
    }
    for at in 0..200 {
        tree.push(format!("/m/cur/{at}"));
        tree.push(format!("/m/.plus1/new/{at}"));
        tree.push(format!("/m/nested1/cur/{at}"));
    }
    let tree: Vec<&str> = tree.iter().map(String::as_str).collect();
    for (layout, stats, lists) in [
        // the root: itself twice, new, cur; a folder of Maildir++: its parts
        (Layout::MaildirPlusPlus, 4 + 50 * 3, 1),
        // a nested one: itself, new, cur; the listing says what tmp is
        (Layout::Nested, 4 + 50 * 3, 51),
        (Layout::Auto, 4 + 100 * 3, 51),
    ] {
        let model = Model::new(&tree);
        look(&model, layout);
        let calls = model.calls.borrow();
        let count = |what| calls.iter().filter(|call| call.0 == what).count();
        assert_eq!(count("stat"), stats, "{layout:?}");
        assert_eq!(count("list"), lists, "{layout:?}");
        assert_eq!(count("canonicalize"), 1, "{layout:?}");
        for (what, path) in calls.iter().filter(|call| call.0 == "list") {
            let name = path.file_name().expect("a name");
            assert!(!maildir_part(name), "{what} {path:?}");
        }
    }
}

#[test]
fn stamps_are_of_new_and_cur() {
    let mut model = Model::new(&["/m/a/***", "/m/.b/***"]);
    for (at, path) in ["/m/a/new", "/m/a/cur", "/m/.b/new", "/m/.b/cur"]
        .iter()
        .enumerate()
    {
        model.clock.secs = 2_000 + at as i64;
        model.touch(path);
    }
    model.clock.secs = 3_000;
    let scan = look(&model, Layout::Auto);
    let times = scan
        .folders
        .iter()
        .map(|it| (it.new.mtime.secs, it.cur.mtime.secs));
    assert!(times.eq([(2_000, 2_001), (2_002, 2_003)]));
    assert!(scan.folders.iter().all(|it| it.new.taken.secs == 3_000));
}

#[test]
fn names_that_are_never_folders() {
    let table: [(&[u8], bool); 22] = [
        (b"cur", true),
        (b"new", true),
        (b"tmp", true),
        (b".nnmaildir", true),
        (b"..DOVECOT-TRASHED", true),
        (b"dovecot-uidlist", true),
        (b"dovecot-uidlist.lock", true),
        (b"dovecot-uidvalidity.4fe8c4d1", true),
        (b"dovecot.index.log.2", true),
        (b"dovecot.index.cache", true),
        (b"courierimapuiddb", true),
        (b".mbsyncstate", true),
        (b".mbsyncstate.journal", true),
        (b".uidvalidity", true),
        (b".isyncuidmap.db", true),
        (b"maildirfolder", true),
        // folders that somebody may well have
        (b"dovecot", false),
        (b"subscriptions", false),
        (b".cur", false),
        (b".new.x", false),
        (b"newer", false),
        (b"\xff", false),
    ];
    for (name, never) in table {
        let shown = String::from_utf8_lossy(name);
        assert_eq!(never_a_folder(OsStr::from_bytes(name)), never, "{shown}");
    }
}

/// Whether a folder with this path below the root belongs to a layout, in other words.
fn belongs(path: &Path, layout: Layout) -> bool {
    if path.iter().any(never_a_folder) {
        return false;
    }
    let dots: String = path
        .iter()
        .map(|entry| {
            if entry.as_bytes().starts_with(b".") {
                '.'
            } else {
                'x'
            }
        })
        .collect();
    let nested = !dots.contains('.');
    match layout {
        Layout::Nested => nested,
        Layout::MaildirPlusPlus => dots.is_empty() || dots == ".",
        Layout::Auto => {
            let legacy = dots
                .trim_start_matches('x')
                .trim_end_matches('.')
                .is_empty();
            nested || dots == "." || (legacy && dots.starts_with('x'))
        }
    }
}

#[test]
fn random_trees() {
    let entries = [
        "a",
        "b",
        "a.b",
        ".a",
        ".a.b",
        ".c",
        "cur",
        "new",
        "tmp",
        ".nnmaildir",
        "&AOk-",
        "Inbox",
    ];
    let mut total = 0;
    for seed in 0..600 {
        let mut lcg = Lcg::new(seed);
        let mut model = Model::new(&["/m/"]);
        for _ in 0..lcg.below(25) {
            let mut path = String::from("/m");
            for _ in 0..lcg.below(5) {
                path = format!("{path}/{}", lcg.choose(&entries));
            }
            model.add(&(path + *lcg.choose::<&str>(&["/***", "/***", "/", "/cur/"])));
        }
        for layout in [Layout::Auto, Layout::MaildirPlusPlus, Layout::Nested] {
            let mut expected: Vec<(Vec<u8>, &Path)> = model
                .directories()
                .filter(|path| {
                    ["cur", "new", "tmp"]
                        .iter()
                        .all(|it| model.exists(&path.join(it)))
                })
                .filter_map(|path| Some((path, path.strip_prefix("/m").ok()?)))
                .filter(|(_, below)| belongs(below, layout))
                .map(|(path, below)| {
                    let name = below
                        .iter()
                        .fold(Vec::new(), |parent, entry| canonical(&parent, entry));
                    (
                        if name.is_empty() {
                            b"INBOX".to_vec()
                        } else {
                            name
                        },
                        path,
                    )
                })
                .collect();
            expected.sort();
            let scan = look(&model, layout);
            let mut found: Vec<(Vec<u8>, &Path)> = scan
                .folders
                .iter()
                .map(|folder| (folder.name.to_vec(), &*folder.real))
                .collect();
            found.sort();
            assert_eq!(found, expected, "seed {seed}, {layout:?}");
            total += found.len();
            // A folder can only appear where something is watched.
            let watched: HashSet<_> = scan.containers.iter().map(|it| &*it.real).collect();
            for (_, path) in found {
                let seen = path.parent().is_some_and(|parent| watched.contains(parent));
                assert!(seen || path == Path::new("/m"), "seed {seed}: {path:?}");
            }
        }
    }
    assert!(total > 2_000, "only {total} were worth trying");
}
