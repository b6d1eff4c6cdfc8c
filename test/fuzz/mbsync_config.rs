//! mbsync's configuration (`syncer::mbsync::Config`), and what is made of it.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use mailsync_module::syncer::mbsync::{self, Config};
use mailsync_module::syncer::{Order, Program, Scope, Syncer, plan};

use crate::fuzzing::{Stock, assert_shown, each, only};

const WORDS: [&[u8]; 24] = [
    b"\n",
    b"\n\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\"",
    b"\\",
    b"#",
    b":",
    b",",
    b"~",
    b"\0",
    b"\xe9",
    b"MaildirStore near\n",
    b"Channel c\n",
    b"Group g c\n",
    b"Far :far:\n",
    b"Near :near:\n",
    b"Patterns * !a\n",
    b"Flatten .\n",
    b"SubFolders Maildir++\n",
    b"SyncState *\n",
    b"Path ~/mail/\n",
    b"IncludeCmd x\n",
];

/// What always is understood, where it is behind an empty line.
const LAST: &str = "\n\nChannel \"la st\"\nFar :f:x\nNear :n:\nPatterns \"a b\" !c\n";

#[test]
fn mbsync_config() {
    let stock = Stock::of("mbsync_config", &WORDS);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mbsyncrc");
    for folder in ["mail/INBOX/cur", "mail/a/b/cur", "mail/.a.b/cur"] {
        fs::create_dir_all(home.path().join(folder)).unwrap();
    }
    each("mbsync_config", 8_000, |chance| {
        let text = stock.input(chance);
        if only().is_some() {
            println!("{}", String::from_utf8_lossy(&text));
        }
        let lines = text.iter().filter(|it| **it == b'\n').count() + 1;
        let parsed = Config::parse(&text);
        match &parsed {
            Ok(config) => {
                let sections = config.stores.len() + config.servers.len();
                assert!(sections + config.channels.len() + config.groups.len() <= lines);
                let stores = config.stores.iter().map(|it| it.line);
                let channels = config.channels.iter().map(|it| it.line);
                let groups = config.groups.iter().map(|it| it.line);
                let mut all: Vec<usize> = stores.chain(channels).chain(groups).collect();
                all.sort_unstable();
                assert!(all.iter().all(|line| (1..=lines).contains(line)));
                assert!(
                    all.is_sorted_by(|one, other| one < other),
                    "two begin on one line"
                );
                let words: usize = config
                    .groups
                    .iter()
                    .flat_map(|it| &it.members)
                    .map(Vec::len)
                    .sum();
                assert!(words <= text.len());
                // What comes after it is read, and what came before it is the same.
                let mut more = Config::parse(&[&text[..], LAST.as_bytes()].concat()).unwrap();
                let last = more.channels.pop().unwrap();
                assert_eq!(last.name, b"la st");
                assert_eq!(last.far, (b"f".to_vec(), b"x".to_vec()));
                assert_eq!(last.patterns, Some(vec![b"a b".to_vec(), b"!c".to_vec()]));
                assert_eq!(*config, more);
            }
            Err(problem) => assert!(
                (1..=lines).contains(&problem.line),
                "{problem:?} of {lines}"
            ),
        }
        // Lines may end as they do elsewhere.
        if !text.contains(&b'\r') {
            let lines: Vec<&[u8]> = text.split(|it| *it == b'\n').collect();
            assert_eq!(Config::parse(&lines.join(&b"\r\n"[..])), parsed);
        }
        if !chance.once_in(64) {
            return;
        }
        // From the file to command lines, and to where its records are.
        fs::write(&file, &text).unwrap();
        let target = [
            None,
            Some("c"),
            Some("verbatim"),
            Some("two"),
            Some("la st"),
        ];
        let program = Program::Mbsync {
            program: "/bin/true".into(),
            target: chance.choose(&target).map(str::to_owned),
            config: Some(file.clone()),
            args: Vec::new(),
        };
        let syncer = Syncer {
            environment: vec![format!("HOME={}", home.path().display()).into()],
            directory: Some(home.path().to_owned()),
            ..Syncer::new(program)
        };
        let folders: Vec<_> = [
            ("INBOX", "INBOX"),
            ("a/b", "a/b"),
            ("a/b", ".a.b"),
            ("x", ""),
        ]
        .into_iter()
        .map(|(name, directory)| folder(home.path(), name, directory))
        .collect();
        let scope = match chance.index(2) {
            0 => Scope::Everything,
            _ => Scope::Folders(folders.clone()),
        };
        let mut order = Order::new("mine", syncer, scope);
        order.roots = vec![home.path().join("mail")];
        match plan::plan(&order) {
            Ok(plan) => {
                let words = plan
                    .argv
                    .iter()
                    .map(|it| it.as_bytes().len())
                    .sum::<usize>();
                assert!(words <= 100_000 + text.len());
                // None of them is taken for an option.
                let names = plan.argv.iter().skip(3);
                let options = names.filter(|it| it.as_bytes().starts_with(b"-"));
                assert!(plan.everything || options.count() == 0, "{:?}", plan.argv);
            }
            Err(refused) => assert_shown(&refused.text, 600),
        }
        let _ = mbsync::unpushed(&order, &folders);
        if let Err(refused) = mbsync::inspect(&order, &folders) {
            assert_shown(&refused.text, 600);
        }
    });
}

fn folder(
    home: &std::path::Path,
    name: &str,
    below: &str,
) -> std::sync::Arc<mailsync_module::change::Folder> {
    let directory = match below {
        "" => std::path::PathBuf::new(),
        below => home.join("mail").join(below),
    };
    std::sync::Arc::new(mailsync_module::change::Folder {
        real: directory.as_path().into(),
        directory: directory.into(),
        ..(*crate::folder(name)).clone()
    })
}
