//! What mbsync's configuration makes of folders, and of a command line.

use std::error::Error;
use std::os::unix::fs::symlink;

use super::super::testing::{self, folder, remote_only, words};
use super::*;

type Tested = Result<(), Box<dyn Error>>;

/// A home directory with a program `mbsync`, a configuration, and local folders.
struct Home(testing::Home);

const FILE: &str = "
MaildirStore near
Path ~/mail/
Inbox ~/mail/INBOX
SubFolders Verbatim

MaildirStore linked
Path ~/other/
Inbox ~/other/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns * !no

Channel pre
Far :far:remote/
Near :near:pre/
Patterns *

Channel one
Far :far:
Near :near:

Channel single
Far :far:x
Near :near:a

Channel other
Far :far:
Near :linked:
Patterns *

Channel hidden
Far :far:
Near :near:
Patterns a

Group hidden all

Group both all other

Group some all:a,d

Group pair single one
";

impl Home {
    fn new(file: &str) -> std::io::Result<Self> {
        let folders = ["INBOX", "a/b", "pre/x", "no", "d", "c,d", "e\nf"];
        let home = testing::Home::new("mbsync", (".mbsyncrc", file), &folders)?;
        fs::create_dir_all(home.path().join("disk/o"))?;
        symlink("disk", home.path().join("other"))?;
        Ok(Home(home))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn order(&self, target: Option<&str>, scope: Scope) -> Order {
        let program = Program::Mbsync {
            program: "mbsync".into(),
            target: target.map(str::to_owned),
            config: None,
            args: Vec::new(),
        };
        Order::new("mine", self.0.syncer(program), scope)
    }

    /// A folder in a directory below home; one that is only on the server begins with `@`.
    fn folder(&self, entry: &str) -> Arc<Folder> {
        match entry.strip_prefix('@') {
            Some(name) => remote_only(name),
            None => folder(entry, self.path().join(entry)),
        }
    }

    fn folders(&self, entries: &[&str]) -> Scope {
        Scope::Folders(entries.iter().map(|entry| self.folder(entry)).collect())
    }
}

fn planned(order: &Order) -> Result<Plan, Box<dyn Error>> {
    Ok(plan(order).map_err(|refused| refused.text)?)
}

#[test]
fn folders_become_words() -> Tested {
    let home = Home::new(FILE)?;
    // target, folders, words, the whole target
    type Row<'a> = (Option<&'a str>, &'a [&'a str], &'a [&'a str], bool);
    let table: [Row; 42] = [
        (Some("all"), &["mail/a"], &["all:a"], false),
        (
            Some("all"),
            &["mail/a/b", "mail/INBOX"],
            &["all:a/b,INBOX"],
            false,
        ),
        (Some("all"), &["mail/a", "mail/a"], &["all:a"], false),
        // gone in the meantime
        (Some("all"), &["mail/gone/x"], &["all:gone/x"], false),
        // what cannot be named
        (Some("all"), &["mail/c,d"], &["all"], true),
        (Some("all"), &["mail/a", "mail/e\nf"], &["all"], true),
        // what the channel leaves out
        (Some("all"), &["mail/no"], &["all"], true),
        (Some("all"), &["mail/no", "mail/a"], &["all:a"], false),
        (Some("all"), &["elsewhere"], &["all"], true),
        (Some("all"), &["mail"], &["all"], true),
        (Some("all"), &[], &["all"], true),
        // prefixes
        (Some("pre"), &["mail/pre/x"], &["pre:x"], false),
        (Some("pre"), &["mail/a"], &["pre"], true),
        // channels of a single box
        (Some("one"), &["mail/INBOX"], &["one"], true),
        (Some("one"), &["mail/a"], &["one"], true),
        (Some("single"), &["mail/a"], &["single"], true),
        (Some("pair"), &["mail/a"], &["single"], false),
        // links
        (Some("other"), &["other/o"], &["other:o"], false),
        (Some("other"), &["disk/o"], &["other:o"], false),
        // groups
        (
            Some("both"),
            &["mail/a", "other/o", "mail/d"],
            &["all:a,d", "other:o"],
            false,
        ),
        (Some("some"), &["mail/a"], &["all:a"], false),
        (Some("some"), &["mail/a/b"], &["some"], true),
        (Some("hidden"), &["mail/a"], &["all:a"], false),
        // all channels: `hidden` cannot be named, and has the folder too
        (None, &["mail/a"], &["-a"], true),
        (None, &["mail/d"], &["all:d"], false),
        (None, &["mail/pre/x"], &["all:pre/x", "pre:x"], false),
        (None, &["mail/INBOX"], &["all:INBOX", "one"], false),
        // folders that are only on the server
        (Some("all"), &["@new"], &["all:new"], false),
        (Some("all"), &["@new/x", "mail/a"], &["all:new/x,a"], false),
        // before 1.5 mbsync calls them otherwise than since
        (Some("all"), &["@é", "mail/a"], &["all"], true),
        (Some("all"), &["@x&y", "mail/a"], &["all"], true),
        (Some("all"), &["@no"], &["all"], true),
        (Some("all"), &["@n,w"], &["all"], true),
        // security: S35
        (Some("all"), &["@../x"], &["all"], true),
        (Some("all"), &["@a/../../x", "mail/a"], &["all"], true),
        (Some("one"), &["@INBOX"], &["one"], true),
        (Some("both"), &["@new", "mail/a"], &["both"], true),
        (None, &["@new"], &["-a"], true),
        // the server's name for it, its name here, neither
        (Some("pre"), &["@remote/new"], &["pre:new"], false),
        (Some("pre"), &["@pre/new"], &["pre:new"], false),
        (Some("pre"), &["@new"], &["pre"], true),
        // below the inbox, or in a namespace of that name
        (Some("all"), &["@INBOX/new"], &["all"], true),
    ];
    for (target, folders, expected, everything) in table {
        let plan = planned(&home.order(target, home.folders(folders)))?;
        assert_eq!(words(&plan), expected, "{target:?} {folders:?}");
        assert_eq!(plan.everything, everything, "{target:?} {folders:?}");
    }
    Ok(())
}

#[test]
fn the_whole_target() -> Tested {
    let home = Home::new(FILE)?;
    for (target, word) in [(Some("all"), "all"), (Some("both"), "both"), (None, "-a")] {
        let plan = planned(&home.order(target, Scope::Everything))?;
        assert_eq!(words(&plan), [word]);
        assert!(plan.everything);
        assert_eq!(plan.config, Some(home.path().join(".mbsyncrc")));
    }
    let many: Vec<_> = (0..20_000)
        .map(|at| home.folder(&format!("mail/f{at}")))
        .collect();
    let plan = planned(&home.order(Some("all"), Scope::Folders(many)))?;
    assert_eq!(words(&plan), ["all"]);
    assert!(plan.everything);
    Ok(())
}

#[test]
fn options_come_first() -> Tested {
    let home = Home::new("")?;
    let file = home.path().join("rc");
    fs::write(&file, FILE)?;
    let mut order = home.order(None, home.folders(&["mail/d"]));
    let syncer = Arc::make_mut(&mut order.syncer);
    syncer.program = Program::Mbsync {
        program: home.path().join("mbsync").into(),
        target: None,
        config: Some(file.clone()),
        args: vec!["-V".into()],
    };
    let plan = planned(&order)?;
    let expected = ["-V", "-c", &file.display().to_string(), "all:d"].map(str::to_owned);
    assert_eq!(words(&plan), expected);
    assert_eq!(plan.argv.first(), Some(&home.path().join("mbsync").into()));
    Ok(())
}

#[test]
fn layouts_have_names() -> Tested {
    let table = [
        (
            "Path ~/mail/\nInbox ~/mail/INBOX\nSubFolders Legacy",
            "mail/a/.b",
            "c:a/b",
        ),
        ("Inbox ~/mail/\nSubFolders Maildir++", "mail/.a.b", "c:a/b"),
        ("Inbox ~/mail/\nSubFolders Maildir++", "mail", "c:INBOX"),
        (
            "Path ~/mail/\nInbox ~/mail/INBOX\nFlatten .",
            "mail/a.b",
            "c:a/b",
        ),
        ("Path ~/mail/\nInbox ~/mail/INBOX", "mail/a.b", "c:a.b"),
        ("Path ~//mail/x-\nInbox ~/mail/INBOX", "mail/x-a", "c:a"),
        ("", "Maildir", "c:INBOX"),
        ("Path ~/mail/", "Maildir/x", "-a"),
        (
            "Path ~/mail/\nSubFolders Verbatim",
            "Maildir/x",
            "c:INBOX/x",
        ),
        ("Inbox mail\nPath /", "gone", "-a"),
    ];
    for (store, folder, word) in table {
        let channel = "Channel c\nMaster :far:\nSlave :s:\nPatterns * INBOX\n";
        let home = Home::new(&format!("MaildirStore s\n{store}\n\n{channel}"))?;
        let plan = planned(&home.order(None, home.folders(&[folder])))?;
        assert_eq!(words(&plan), [word], "{store} {folder}");
    }
    Ok(())
}

#[test]
fn what_cannot_run_is_refused() -> Tested {
    let table: [(&str, Option<&str>, &[&str]); 5] = [
        ("", None, &["/.mbsyncrc defines no channel;", ":config"]),
        (
            FILE,
            Some("none"),
            &["/.mbsyncrc defines no channel or group none;", ":syncer"],
        ),
        (FILE, Some("-a"), &["channel or group -a;"]),
        (
            "\nChannel \"x\nFar y",
            Some("x"),
            &["/.mbsyncrc:2: ", "mend that line"],
        ),
        ("Channel x\\", Some("x"), &["/.mbsyncrc:1: "]),
    ];
    for (file, target, said) in table {
        let home = Home::new(file)?;
        let refused = plan(&home.order(target, Scope::Everything))
            .err()
            .ok_or("a plan")?;
        assert_eq!(refused.outcome, Outcome::Config);
        for part in said {
            assert!(refused.text.contains(part), "{}", refused.text);
        }
    }
    let home = Home::new(FILE)?;
    fs::remove_file(home.path().join(".mbsyncrc"))?;
    let absent = plan(&home.order(None, Scope::Everything))
        .err()
        .ok_or("a plan")?;
    assert!(
        absent.text.contains(".mbsyncrc cannot be read"),
        "{}",
        absent.text
    );
    fs::remove_file(home.path().join("mbsync"))?;
    let absent = plan(&home.order(None, Scope::Everything))
        .err()
        .ok_or("a plan")?;
    assert!(
        absent.text.contains("the program mbsync "),
        "{}",
        absent.text
    );
    Ok(())
}

#[test]
fn names_of_a_server_may_be_below_its_path() -> Tested {
    let home = Home::new(
        "MaildirStore near\nPath ~/mail/\nInbox ~/mail/INBOX\nSubFolders Verbatim\n\n\
         IMAPStore top\nPath top/\n\n\
         Channel deep\nFar :top:\nNear :near:\nPatterns *\n",
    )?;
    let table: [(&str, &str, bool); 3] = [
        ("@top/new", "deep:new", false),
        ("@INBOX", "deep:INBOX", false),
        ("@new", "deep:new", false),
    ];
    for (folder, word, everything) in table {
        let plan = planned(&home.order(Some("deep"), home.folders(&[folder])))?;
        assert_eq!(words(&plan), [word], "{folder}");
        assert_eq!(plan.everything, everything, "{folder}");
    }
    Ok(())
}

#[test]
fn messages_of_the_whole_target_name_folders() -> Tested {
    let home = Home::new(FILE)?;
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.path().join("mail/pre/x").join(part))?;
    }
    let real = home.folder("mail/pre/x").real.clone();
    // Asked for, or because nothing else can be said.
    for scope in [Scope::Everything, home.folders(&["mail/a"])] {
        let mut order = home.order(Some("pre"), scope);
        order.roots = vec![home.path().join("none"), home.path().join("mail")];
        let plan = planned(&order)?;
        assert_eq!(words(&plan), ["pre"]);
        assert!(plan.everything);
        for key in [b"pre:pre/x".as_slice(), b"pre:remote/x"] {
            assert_eq!(plan.names.get(key), Some(&real));
        }
    }
    Ok(())
}

/// Names without UIDs, of which no record tells.
#[test]
fn what_is_in_a_database_is_never_told() -> Tested {
    let file = "MaildirStore near\nPath ~/mail/\nSubFolders Verbatim\nAltMap yes\n\n\
                Channel c\nFar :far:\nNear :near:\nPatterns *\n";
    let home = Home::new(file)?;
    for part in ["cur", "new"] {
        fs::create_dir_all(home.path().join("mail/d").join(part))?;
    }
    let order = home.order(Some("c"), Scope::Everything);
    let found = unpushed(&order, &[home.folder("mail/d")]).map_err(|it| it.text)?;
    let why = "AltMap keeps its UIDs in a database".to_owned();
    assert_eq!(found, [Unpushed::Untold(why)]);
    Ok(())
}

/// A record in either place, of another message than there is.
#[test]
fn state_is_where_this_version_keeps_it() -> Tested {
    let file = "MaildirStore near\nPath ~/mail/\nSubFolders Verbatim\n\n\
                Channel c\nFar :far:\nNear :near:\nPatterns *\n";
    let text = "FarUidValidity 7\nNearUidValidity 5\nMaxPulledUid 9\nMaxPushedUid 9\n\n1 2 S\n";
    let (newer, older) = (".local/state/isync", ".mbsync");
    // directories that are there, the one with the record, whether it is read
    let table = [
        (&[older][..], older, true),
        (&[newer], newer, true),
        (&[newer, older], newer, true),
        (&[newer, older], older, false),
    ];
    for (there, place, read) in table {
        let home = Home::new(file)?;
        for part in ["cur", "new"] {
            fs::create_dir_all(home.path().join("mail/d").join(part))?;
        }
        fs::write(home.path().join("mail/d/.uidvalidity"), "5\n2\n")?;
        for directory in there {
            fs::create_dir_all(home.path().join(directory))?;
        }
        fs::write(home.path().join(place).join(":far:d_:near:d"), text)?;
        let order = home.order(Some("c"), Scope::Everything);
        let found = unpushed(&order, &[home.folder("mail/d")]).map_err(|it| it.text)?;
        let expected = match &found[..] {
            [Unpushed::Known(differences)] => read && differences.len() == 1,
            [Unpushed::Unknown(why)] => !read && why == "it was never synced",
            _ => false,
        };
        assert!(expected, "{there:?}, in {place}: {found:?}");
    }
    Ok(())
}
