//! What OfflineIMAP's configuration makes of folders, and of a command line.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::Syncer;
use super::super::testing::{self, folder, remote_only, words};
use super::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A home directory with a program `offlineimap`, a configuration, and local folders.
struct Home(testing::Home);

const FILE: &str = "
[general]
metadata = ~/meta
[Account home]
localrepository = l
remoterepository = r
[Repository l]
type = Maildir
localfolders = $HOME/mail
sep = /
[Repository r]
type = IMAP
";

impl Home {
    fn new(file: &str) -> std::io::Result<Self> {
        let folders = ["a/b", "INBOX", "a,b", "x.y/z"];
        let home = testing::Home::new("offlineimap", (".offlineimaprc", file), &folders)?;
        Ok(Home(home))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn order(&self, scope: Scope) -> Order {
        let program = Program::OfflineImap {
            program: "offlineimap".into(),
            account: "home".to_owned(),
            config: None,
            args: Vec::new(),
        };
        Order {
            roots: vec![self.path().join("mail")],
            ..Order::new("mine", self.0.syncer(program), scope)
        }
    }

    /// A folder in the directory `entry` below the local folders.
    fn folder(&self, entry: &str) -> Arc<Folder> {
        folder(entry, self.path().join("mail").join(entry))
    }

    fn folders(&self, entries: &[&str]) -> Scope {
        Scope::Folders(entries.iter().map(|entry| self.folder(entry)).collect())
    }
}

#[test]
fn folders_become_names() -> Outcome {
    let dot = FILE.replace("sep = /", "");
    let other = FILE.replace("sep = /", "sep = -");
    // configuration, directories, what -f says (None: the whole account)
    let table: [(&str, &[&str], Option<&str>); 20] = [
        (FILE, &["INBOX"], Some("INBOX")),
        (FILE, &["a"], Some("a")),
        (FILE, &["a/b"], Some("a/b,a.b")),
        (FILE, &["x.y/z"], Some("x.y/z,x.y.z")),
        (FILE, &["with space"], Some("with space")),
        (FILE, &["Entw&APw-rfe"], Some("Entw&APw-rfe")),
        (FILE, &["50%"], Some("50%%")),
        (FILE, &["a", "INBOX"], Some("a,INBOX")),
        // what -f cannot say
        (FILE, &["a,b"], None),
        (FILE, &["a", "a,b"], None),
        (FILE, &[], None),
        // the root, which OfflineIMAP never syncs by itself
        (FILE, &[""], None),
        (FILE, &["a", ""], None),
        // other separators; without `/` it looks into no directory
        (&dot, &["a"], Some("a")),
        (&dot, &["a.b"], Some("a/b,a.b")),
        (&dot, &["a/b"], None),
        (&dot, &[".a"], None),
        (&other, &["a-b"], Some("a/b,a.b")),
        (&other, &["a.b"], Some("a.b")),
        // elsewhere
        (FILE, &["../elsewhere"], None),
    ];
    for (file, entries, said) in table {
        let home = Home::new(file)?;
        let plan = plan(&home.order(home.folders(entries))).map_err(|refused| refused.text)?;
        let mut expected = vec!["-o", "-u", "quiet", "-a", "home"];
        expected.extend(said.iter().flat_map(|said| ["-f", said]));
        assert_eq!(words(&plan), expected, "{entries:?}");
        assert_eq!(plan.everything, said.is_none(), "{entries:?}");
    }
    Ok(())
}

#[test]
fn folders_of_the_server_become_names() -> Outcome {
    let utf8 = FILE.replace("[Account home]", "[Account home]\nutf8foldernames: Yes");
    let table = [
        (FILE, "INBOX", Some("INBOX")),
        (FILE, "a/é", Some("a/&AOk-,a.&AOk-")),
        (FILE, "R&D", Some("R&-D")),
        (FILE, "a,b", None),
        (&utf8, "R&D", Some("R&D")),
        (&utf8, "é", Some("é")),
    ];
    for (file, name, said) in table {
        let home = Home::new(file)?;
        let order = home.order(Scope::Folders(vec![remote_only(name)]));
        let plan = plan(&order).map_err(|refused| refused.text)?;
        let last = words(&plan).last().cloned();
        assert_eq!(last.as_deref(), said.or(Some("home")), "{name}");
    }
    Ok(())
}

#[test]
fn names_are_those_of_messages() -> Outcome {
    let home = Home::new(FILE)?;
    let plan = plan(&home.order(home.folders(&["a/b", "INBOX"]))).map_err(|no| no.text)?;
    let mut names: Vec<_> = plan.names.keys().cloned().collect();
    names.sort();
    let expected: [&[u8]; 3] = [b"INBOX", b"a.b", b"a/b"];
    assert_eq!(names, expected);
    assert_eq!(plan.names[b"a.b".as_slice()], home.folder("a/b").real);
    Ok(())
}

#[test]
fn links_lead_to_the_same_root() -> Outcome {
    let home = Home::new(FILE)?;
    std::os::unix::fs::symlink(home.path().join("mail"), home.path().join("link"))?;
    let mut folder = Folder::clone(&home.folder("a/b"));
    folder.directory = home.path().join("link/a/b").into();
    let order = home.order(Scope::Folders(vec![Arc::new(folder)]));
    let plan = plan(&order).map_err(|refused| refused.text)?;
    assert_eq!(words(&plan).last().map(String::as_str), Some("a/b,a.b"));
    Ok(())
}

#[test]
fn options_stand_in_order() -> Outcome {
    let home = Home::new(FILE)?;
    let mut order = home.order(home.folders(&["a"]));
    order.quick = true;
    let mut syncer = Syncer::clone(&order.syncer);
    syncer.program = Program::OfflineImap {
        program: "offlineimap".into(),
        account: "home".to_owned(),
        config: Some("~/.offlineimaprc".into()),
        args: vec!["-1".into()],
    };
    order.syncer = Arc::new(syncer);
    let plan = plan(&order).map_err(|refused| refused.text)?;
    let expected = [
        "-1",
        "-c",
        "~/.offlineimaprc",
        "-o",
        "-u",
        "quiet",
        "-a",
        "home",
        "-q",
        "-f",
        "a",
    ];
    assert_eq!(words(&plan), expected);
    assert_eq!(plan.config, Some(home.path().join(".offlineimaprc")));
    assert_eq!(
        plan.argv.first(),
        Some(&home.path().join("offlineimap").into())
    );
    Ok(())
}

#[test]
fn a_long_list_is_everything() -> Outcome {
    let home = Home::new(FILE)?;
    for (count, everything) in [(900, false), (1200, true)] {
        let names: Vec<_> = (0..count).map(|at| format!("{at:0>100}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let plan = plan(&home.order(home.folders(&names))).map_err(|no| no.text)?;
        assert_eq!(plan.everything, everything, "{count}");
    }
    Ok(())
}

#[test]
fn what_python_decides_is_learned() -> Outcome {
    let first = [
        ("[Repository r]", "[Repository r]\nnametrans = lambda f: f"),
        ("[Repository l]", "[Repository l]\nnametrans = lambda f: f"),
        (
            "[Repository r]",
            "[Repository r]\nfolderfilter = lambda f: 1",
        ),
        ("[Repository r]", "[Repository r]\nfolderincludes = []"),
        ("[Repository r]", "[Repository r]\ndecodefoldernames = on"),
        ("[general]", "[DEFAULT]\nnametrans = lambda f: f\n[general]"),
    ];
    for (from, to) in first {
        let home = Home::new(&FILE.replace(from, to))?;
        let mut order = home.order(home.folders(&["a", "INBOX"]));
        let teaching = ["-o", "-u", "machineui", "-a", "home"];
        let first = plan(&order).map_err(|refused| refused.text)?;
        assert_eq!(words(&first), teaching, "{to}");
        assert!(first.everything && first.memory.remote_names.is_empty());

        // known
        order.memory = first.memory;
        let names = &mut order.memory.remote_names;
        names.insert(b"a".to_vec(), b"Far.a".to_vec());
        names.insert(b"INBOX".to_vec(), b"INBOX".to_vec());
        let second = plan(&order).map_err(|refused| refused.text)?;
        let said = ["-o", "-u", "quiet", "-a", "home", "-f", "Far.a,INBOX"];
        assert_eq!(words(&second), said, "{to}");
        assert_eq!(second.memory, order.memory);
        assert_eq!(
            second.names[b"Far.a".as_slice()],
            home.folder("a").real,
            "{to}"
        );

        // one of them is not
        order.scope = home.folders(&["a", "b"]);
        let third = plan(&order).map_err(|refused| refused.text)?;
        assert_eq!(words(&third), teaching, "{to}");
        assert_eq!(third.memory, order.memory);

        // another configuration
        order.scope = home.folders(&["a"]);
        if let Some((_, changed)) = &mut order.memory.of {
            *changed = Some(SystemTime::UNIX_EPOCH);
        }
        let fourth = plan(&order).map_err(|refused| refused.text)?;
        assert_eq!(words(&fourth), teaching, "{to}");
        assert_eq!(fourth.memory.remote_names, HashMap::new());
    }
    Ok(())
}

#[test]
fn the_configuration_is_found() -> Outcome {
    let home = Home::new(FILE)?;
    let xdg = home.path().join("xdg/offlineimap");
    let config = home.path().join(".config/offlineimap");
    let elsewhere = home.path().join("elsewhere");
    for directory in [&xdg, &config] {
        fs::create_dir_all(directory)?;
    }
    fs::write(xdg.join("config"), FILE)?;
    fs::write(&elsewhere, FILE)?;
    let variable = format!("XDG_CONFIG_HOME={}/xdg", home.path().display());
    let table: [(Option<&str>, Option<&str>, PathBuf); 5] = [
        (None, None, home.path().join(".offlineimaprc")),
        (
            None,
            Some("XDG_CONFIG_HOME="),
            home.path().join(".offlineimaprc"),
        ),
        (None, Some(&variable), xdg.join("config")),
        (Some("~/elsewhere"), Some(&variable), elsewhere.clone()),
        (Some("elsewhere"), None, elsewhere),
    ];
    for (given, variable, expected) in table {
        let mut order = home.order(Scope::Everything);
        let mut syncer = Syncer::clone(&order.syncer);
        syncer.environment.extend(variable.map(OsString::from));
        syncer.directory = Some(home.path().to_path_buf());
        if let Program::OfflineImap { config, .. } = &mut syncer.program {
            *config = given.map(PathBuf::from);
        }
        order.syncer = Arc::new(syncer);
        let plan = plan(&order).map_err(|refused| refused.text)?;
        assert_eq!(plan.config, Some(expected), "{given:?} {variable:?}");
    }
    fs::write(config.join("config"), FILE)?;
    let plan = plan(&home.order(Scope::Everything)).map_err(|refused| refused.text)?;
    assert_eq!(plan.config, Some(config.join("config")));
    Ok(())
}

#[test]
fn what_is_missing_is_named() -> Outcome {
    let table = [
        (
            "metadata = ~/meta",
            "pythonfile = ~/none.py",
            "pythonfile in [general]",
        ),
        (
            "metadata = ~/meta",
            "pythonfile = ~/no\u{1b}[2J\n  ne.py",
            "no [2J ne.py; write it, or correct pythonfile in [general]",
        ),
        ("[Account home]", "[Account work]", "[Account home]"),
        (
            "remoterepository = r",
            "",
            "remoterepository in [Account home]",
        ),
        (
            "localrepository = l",
            "",
            "localrepository in [Account home]",
        ),
        ("[Repository r]", "[Repository q]", "[Repository r], which"),
        ("[Repository l]", "[Repository q]", "[Repository l], which"),
        ("localfolders", "folders", "localfolders in [Repository l]"),
    ];
    for (from, to, named) in table {
        let home = Home::new(&FILE.replace(from, to))?;
        let refused = plan(&home.order(Scope::Everything)).err();
        let refused = refused.ok_or(named)?;
        assert_eq!(refused.outcome, super::super::Outcome::Config, "{named}");
        assert!(refused.text.contains(named), "{}", refused.text);
        assert!(refused.text.contains(".offlineimaprc"), "{}", refused.text);
        assert!(!refused.text.contains('\n'), "{}", refused.text);
    }
    let home = Home::new(FILE)?;
    fs::remove_file(home.path().join(".offlineimaprc"))?;
    let refused = plan(&home.order(Scope::Everything))
        .err()
        .ok_or("planned")?;
    assert!(refused.text.contains(".offlineimaprc"), "{}", refused.text);
    Ok(())
}

#[test]
fn a_line_break_in_a_name_is_refused_unless_python_decides() -> Outcome {
    let filtered = FILE.replace(
        "type = IMAP",
        "type = IMAP\nfolderfilter = lambda name: True",
    );
    let table = [
        (FILE, "a\nb", true),
        // In modified UTF-7 it is none.
        (FILE, "a&AAo-b", false),
        (&filtered, "a\nb", false),
    ];
    for (file, name, refused) in table {
        let home = Home::new(file)?;
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(home.path().join("mail").join(name).join(part))?;
            // Another account's.
            fs::create_dir_all(home.path().join("other\nmail").join(part))?;
        }
        let planned = plan(&home.order(Scope::Everything));
        let text = planned
            .err()
            .map_or_else(String::new, |refused| refused.text);
        assert_eq!(
            text.contains("rename") && text.contains(r"a\nb"),
            refused,
            "{text}"
        );
        // Nobody else is kept from anything.
        assert!(plan(&home.order(home.folders(&["a"]))).is_ok());
    }
    Ok(())
}

#[test]
fn other_stores_are_synced_as_a_whole() -> Outcome {
    let home = Home::new(&FILE.replace("type = Maildir", "type = IMAP"))?;
    let plan = plan(&home.order(home.folders(&["a"]))).map_err(|refused| refused.text)?;
    assert!(plan.everything);
    Ok(())
}
