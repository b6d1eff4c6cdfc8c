//! mbsync itself, against a Dovecot of its own: whether the names that `syncer::mbsync` derives
//! are those that it understands, in each of its layouts, and whether its failures are read right.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mailsync_module::change::{AccountId, Folder};
use mailsync_module::syncer::outcome::Exit;
use mailsync_module::syncer::plan::plan;
use mailsync_module::syncer::{Order, Outcome, Program, Scope};

#[path = "support/syncing.rs"]
mod syncing;

use syncing::*;

/// The folders of every user, as the server spells them.
const FOLDERS: [&str; 8] = [
    "INBOX",
    "a",
    "a/b",
    "with space",
    "Entw&APw-rfe",
    "R&-D",
    "colon:x",
    "com,ma",
];

/// The same, as they are read; the one that cannot be named at the end.
const NAMES: [&str; 8] = [
    "Entwürfe",
    "INBOX",
    "R&D",
    "a",
    "a/b",
    "colon:x",
    "with space",
    "com,ma",
];

/// How long mbsync wants a directory to be left alone, else it sleeps.
const SETTLED: Duration = Duration::from_millis(1100);

fn server() -> Option<&'static Server> {
    syncing::server("mbsync")
}

/// A user with the channels `verbatim`, `legacy`, `mdpp` and `flat`, and a group `two`.
struct User(Home);

impl Deref for User {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.0
    }
}

impl User {
    fn new(server: &Server, name: &str) -> Result<Self, Box<dyn Error>> {
        Ok(User(Home::new(server, name, &FOLDERS, "mbsyncrc")?))
    }

    fn order(&self, target: Option<&str>, scope: Scope) -> Order {
        let program = Program::Mbsync {
            program: "mbsync".into(),
            target: target.map(str::to_owned),
            config: Some(self.config()),
            args: Vec::new(),
        };
        self.0.order(program, self.home.path().join("local"), scope)
    }

    fn folders(&self, channel: &str) -> Result<Vec<Arc<Folder>>, Box<dyn Error>> {
        self.found(&self.tree(channel))
    }
}

fn named<'a>(folders: &'a [Arc<Folder>], name: &str) -> Result<&'a Arc<Folder>, String> {
    let mut folders = folders.iter();
    let found = folders.find(|folder| &*folder.name == name.as_bytes());
    found.ok_or_else(|| format!("no folder {name}"))
}

/// Sync everything, flag a message in each folder, and sync one after the other: each run must
/// push its own folder's flag and no other's.
fn every_folder_by_its_name(channel: &str, names: [&str; 8]) -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, channel)?;
    let (plan, exit, verdict) = run(&user.order(Some(channel), Scope::Everything))?;
    assert_eq!((exit, verdict.outcome), (Exit::Code(0), Outcome::Ok));
    assert!(plan.everything);

    let folders = user.folders(channel)?;
    let found: Vec<_> = folders
        .iter()
        .map(|folder| String::from_utf8_lossy(&folder.name).into_owned())
        .collect();
    assert_eq!(found, names);
    assert_eq!(
        unpushed(&user.order(Some(channel), Scope::Everything), &folders),
        [0; 8]
    );
    for folder in &folders {
        flag(folder)?;
    }
    assert_eq!(
        unpushed(&user.order(Some(channel), Scope::Everything), &folders),
        [1; 8]
    );
    thread::sleep(SETTLED);
    for (at, folder) in folders.iter().enumerate() {
        let scope = Scope::Folders(vec![folder.clone()]);
        // All channels and the one: the same boxes.
        let target = (at % 2 == 0).then_some(channel);
        let (plan, exit, verdict) = run(&user.order(target, scope))?;
        assert_eq!((exit, verdict.outcome), (Exit::Code(0), Outcome::Ok));
        let whole = folder.name.contains(&b',');
        assert_eq!(plan.argv.last() == Some(&channel.into()), whole);
        for (other, folder) in folders.iter().enumerate() {
            let pushed = user.flagged(folder)?;
            assert_eq!(pushed, usize::from(other <= at), "{folder:?} by {plan:?}");
        }
        assert_eq!(
            unpushed(
                &user.order(None, Scope::Everything),
                std::slice::from_ref(folder)
            ),
            [0]
        );
    }
    Ok(())
}

/// What differs is known wherever mbsync keeps its state.
#[test]
fn states_of_all_channels_are_found() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let own = "SyncState ~/states/of-";
    for (setting, beginning) in [("own", own), ("all", "SyncState ~/states/"), ("none", "")] {
        let user = User::new(server, &format!("state-{setting}"))?;
        let (channels, general) = match setting {
            "own" => (beginning, ""),
            _ => ("", beginning),
        };
        let text = fs::read_to_string(user.config())?.replace("SyncState *", channels);
        fs::write(user.config(), format!("{general}\n{text}"))?;
        for directory in ["states", ".mbsync"] {
            fs::create_dir(user.home.path().join(directory))?;
        }
        for channel in ["verbatim", "legacy", "mdpp", "flat"] {
            // The channels have one far end: with a state for each.
            let (_, exit, verdict) = run(&user.order(Some(channel), Scope::Everything))?;
            assert_eq!((exit, verdict.outcome), (Exit::Code(0), Outcome::Ok));
            let folders = user.folders(channel)?;
            assert_eq!(
                unpushed(&user.order(Some(channel), Scope::Everything), &folders),
                [0; 8],
                "{setting} {channel}"
            );
            flag(&folders[0])?;
            let differing = unpushed(&user.order(Some(channel), Scope::Everything), &folders);
            assert_eq!(differing, [1, 0, 0, 0, 0, 0, 0, 0], "{setting} {channel}");
            // What another channel says is nobody else's business.
            fs::remove_dir_all(user.home.path().join("states"))?;
            fs::create_dir(user.home.path().join("states"))?;
        }
    }
    Ok(())
}

#[test]
fn folders_in_verbatim_directories() -> Tested {
    every_folder_by_its_name("verbatim", NAMES)
}

#[test]
fn folders_in_legacy_directories() -> Tested {
    every_folder_by_its_name("legacy", NAMES)
}

#[test]
fn folders_in_maildir_plus_plus() -> Tested {
    every_folder_by_its_name("mdpp", NAMES)
}

#[test]
fn folders_in_flat_directories() -> Tested {
    // One level to mailsync, two to the server.
    every_folder_by_its_name(
        "flat",
        NAMES.map(|name| if name == "a/b" { "a.b" } else { name }),
    )
}

#[test]
fn several_folders_of_a_group() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "group")?;
    run(&user.order(Some("two"), Scope::Everything))?;
    let (first, second) = (user.folders("verbatim")?, user.folders("flat")?);
    let changed = [
        named(&first, "INBOX")?,
        named(&first, "a/b")?,
        named(&second, "R&D")?,
    ];
    for folder in [&changed[..], &[named(&first, "a")?]].concat() {
        flag(folder)?;
    }
    thread::sleep(SETTLED);
    let scope = Scope::Folders(changed.iter().map(|folder| (*folder).clone()).collect());
    let (plan, exit, verdict) = run(&user.order(Some("two"), scope))?;
    assert_eq!((exit, verdict.outcome), (Exit::Code(0), Outcome::Ok));
    let words: Vec<_> = plan.argv.iter().skip(3).collect();
    assert_eq!(words, ["verbatim:INBOX,a/b", "flat:R&-D"]);
    for folder in changed {
        assert_eq!(user.flagged(folder)?, 1, "{folder:?}");
    }
    assert_eq!(user.flagged(named(&first, "a")?)?, 0);
    Ok(())
}

#[test]
fn a_named_folder_comes_from_the_server() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "remote")?;
    let synced = |name: &str| -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
        let wanted = Scope::Folders(vec![remote_only(name)]);
        let (_, _, verdict) = run(&user.order(Some("verbatim"), wanted))?;
        assert_eq!(verdict.outcome, Outcome::Ok);
        let found = user.folders("verbatim")?;
        Ok(found.iter().map(|folder| folder.name.to_vec()).collect())
    };
    assert_eq!(synced("a/b")?, [b"a/b"]);
    // What mbsync calls it depends on its version, so that it finds it itself.
    assert!(synced("Entwürfe")?.contains(&"Entwürfe".as_bytes().to_vec()));
    Ok(())
}

/// A store whose INBOX is elsewhere, and one that has the folders below `a`.
const FURTHER: &str = "
MaildirStore out-near
Path DIR/local/out/
Inbox DIR/local/in
SubFolders Verbatim

Channel out
Far :far:
Near :out-near:
Patterns *
Create Near
SyncState *

MaildirStore sub-near
Path DIR/local/sub/
Inbox DIR/local/none
SubFolders Verbatim

Channel sub
Master :far:a/
Slave :sub-near:
Patterns *
Create Slave
SyncState *
";

#[test]
fn stores_with_an_inbox_elsewhere_and_prefixes() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "further")?;
    fs::create_dir_all(user.tree("out"))?;
    fs::create_dir_all(user.tree("sub"))?;
    let further = FURTHER.replace("DIR", &user.home.path().display().to_string());
    fs::write(user.config(), fs::read_to_string(user.config())? + &further)?;
    for (channel, entry, name, word) in [
        ("out", "in", "INBOX", "out:INBOX"),
        ("sub", "sub/b", "a/b", "sub:b"),
    ] {
        let (_, _, verdict) = run(&user.order(Some(channel), Scope::Everything))?;
        assert_eq!(verdict.outcome, Outcome::Ok);
        let directory = user.tree(entry);
        let folder = Folder {
            account: AccountId(0),
            real: fs::canonicalize(&directory)?.into(),
            directory: directory.into(),
            name: name.as_bytes().into(),
        };
        flag(&folder)?;
        thread::sleep(SETTLED);
        let scope = Scope::Folders(vec![Arc::new(folder.clone())]);
        // All channels: none but that one has the directory.
        let (plan, exit, verdict) = run(&user.order(None, scope))?;
        assert_eq!((exit, verdict.outcome), (Exit::Code(0), Outcome::Ok));
        assert_eq!(plan.argv.last(), Some(&word.into()));
        assert_eq!(user.flagged(&folder)?, 1);
    }
    let nowhere = remote_only("nowhere");
    let scope = Scope::Folders(vec![nowhere.clone(), remote_only("b")]);
    let (_, _, verdict) = run(&user.order(Some("sub"), scope))?;
    assert_eq!(verdict.outcome, Outcome::Partial);
    assert_eq!(verdict.failed, std::slice::from_ref(&nowhere.real));
    // The same box by the server's name for it.
    let scope = Scope::Folders(vec![remote_only("a/b")]);
    let (plan, _, verdict) = run(&user.order(Some("sub"), scope))?;
    assert_eq!(verdict.outcome, Outcome::Ok);
    assert_eq!(plan.argv.last(), Some(&"sub:b".into()));
    Ok(())
}

/// A server that says one line, and goes away, after a greeting at the first command.
fn saying(line: &'static [u8]) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || -> io::Result<()> {
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(line)?;
            // After a BYE, mbsync waits for the end of the connection.
            if line.starts_with(b"* OK") {
                let _ = stream.read(&mut [0; 512]);
            }
        }
    });
    Ok(port)
}

#[test]
fn failures_are_told_apart() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let (own, pass) = (format!("Port {}", server.port), "Pass secret");
    let port = |port: u16| format!("Port {port}");
    let greeting = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] here\r\n";
    let refused = (
        port(free_port()?),
        port(saying(b"* BYE down\r\n")?),
        port(saying(greeting)?),
    );
    // It takes connections, and that is all.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let silent = format!("Timeout 2\n{}", port(listener.local_addr()?.port()));
    let table: [(&str, &str, Outcome, &str); 13] = [
        (pass, "Pass wrong", Outcome::Auth, "AUTHENTICATIONFAILED"),
        (
            pass,
            "PassCmd \"exit 3\"",
            Outcome::Transient,
            "exited with status 3",
        ),
        (
            pass,
            "PassCmd true",
            Outcome::Transient,
            "produced no output",
        ),
        ("Pass secret\n", "", Outcome::Config, "give PassCmd"),
        (&own, &refused.0, Outcome::Transient, "refused"),
        (&own, &refused.1, Outcome::Transient, "BYE"),
        (&own, &refused.2, Outcome::Transient, ""),
        (&own, &silent, Outcome::Transient, "timeout"),
        (
            "Host 127.0.0.1",
            "Host nowhere.invalid",
            Outcome::Transient,
            "nowhere.invalid",
        ),
        ("SSLType None", "SSLType IMAPS", Outcome::Config, "SSLType"),
        (
            "SSLType None",
            "SSLType STARTTLS",
            Outcome::Config,
            "certificate",
        ),
        (
            "/verbatim/\"\n",
            "/absent/\"\n",
            Outcome::Config,
            "make that directory",
        ),
        ("SSLType None", "SSLTyp None", Outcome::Config, "mbsyncrc:"),
    ];
    for (at, (from, to, outcome, told)) in table.into_iter().enumerate() {
        let user = User::new(server, &format!("fails{at}"))?;
        user.edit(from, to)?;
        for scope in [Scope::Everything, Scope::Folders(vec![remote_only("a")])] {
            let (_, exit, verdict) = run(&user.order(Some("verbatim"), scope))?;
            assert_eq!(exit, Exit::Code(1));
            assert_eq!(verdict.outcome, outcome, "{to}: {}", verdict.text);
            assert!(verdict.text.contains(told), "{to}: {}", verdict.text);
            assert!(!verdict.text.contains('\n'));
        }
    }
    Ok(())
}

#[test]
fn what_cannot_run_is_refused_as_mbsync_would() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "refused")?;
    let good = planned(&user.order(Some("verbatim"), Scope::Everything))?;
    let cases: [(&str, &str, &str); 2] = [
        ("nobody", "Channel verbatim", "Channel verbatim"),
        ("verbatim", "Patterns *", "Patterns \"*"),
    ];
    for (target, from, to) in cases {
        user.edit(from, to)?;
        let order = user.order(Some(target), Scope::Everything);
        let refused = plan(&order).err().ok_or("it was planned")?;
        println!("{}", refused.text);
        assert_eq!(refused.outcome, Outcome::Config);
        assert!(refused.text.contains("mbsyncrc"), "{}", refused.text);
        let mut plan = good.clone();
        plan.argv.pop();
        plan.argv.push(target.into());
        let (_, verdict) = ended(&order, &plan, spawn(&plan)?)?;
        assert_eq!(verdict.outcome, Outcome::Config, "{}", verdict.text);
    }
    Ok(())
}

#[test]
fn single_folders_are_set_aside() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "single")?;
    run(&user.order(Some("verbatim"), Scope::Everything))?;
    for name in ["only here", "line\nbreak"] {
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(user.tree("verbatim").join(name).join(part))?;
        }
    }
    let folders = user.folders("verbatim")?;
    let (only_here, nested, good) = (
        named(&folders, "only here")?,
        named(&folders, "a/b")?,
        named(&folders, "a")?,
    );
    let broken = named(&folders, "line\nbreak")?;
    // The server forgets which message had which number, and has others instead: mbsync finds out
    // by itself if they are the same.
    for entry in fs::read_dir(user.mail.join(".a.b"))? {
        let entry = entry?;
        if entry.file_name().as_bytes().starts_with(b"dovecot") {
            fs::remove_file(entry.path())?;
        }
    }
    for entry in fs::read_dir(user.mail.join(".a.b/cur"))? {
        let file = entry?.path();
        let text = fs::read_to_string(&file)?;
        fs::write(&file, text.replace("a.b-", "x.y-"))?;
    }
    flag(good)?;
    thread::sleep(SETTLED); // numbers of folders are times, too
    let nowhere = remote_only("nowhere");
    let table = [
        (nowhere, "on neither side"),
        (only_here.clone(), "Create Far"),
        (nested.clone(), "renumbered"),
    ];
    // A name that no argument can say: everything is synced but this.
    let scope = Scope::Folders(vec![good.clone(), broken.clone()]);
    let (plan, exit, verdict) = run(&user.order(Some("verbatim"), scope))?;
    assert!(plan.everything);
    assert_eq!((exit, verdict.outcome), (Exit::Code(1), Outcome::Partial));
    assert!(verdict.failed.contains(&broken.real), "{verdict:?}");
    assert!(!verdict.failed.contains(&good.real), "{verdict:?}");
    fs::remove_dir_all(&broken.directory)?;
    for (folder, told) in &table {
        let scope = Scope::Folders(vec![good.clone(), folder.clone()]);
        let (plan, exit, verdict) = run(&user.order(Some("verbatim"), scope))?;
        assert!(!plan.everything);
        assert_eq!((exit, verdict.outcome), (Exit::Code(1), Outcome::Partial));
        assert_eq!(verdict.failed, std::slice::from_ref(&folder.real));
        assert!(verdict.text.contains(told), "{}", verdict.text);
        assert_eq!(user.flagged(good)?, 1, "the other is synced");
    }
    let (_, _, verdict) = run(&user.order(Some("verbatim"), Scope::Everything))?;
    assert_eq!(verdict.outcome, Outcome::Partial);
    let mut failed = [only_here.real.clone(), nested.real.clone()];
    failed.sort();
    assert_eq!(verdict.failed, failed);
    assert!(
        verdict.text.contains("and 1 more went wrong"),
        "{}",
        verdict.text
    );
    Ok(())
}

/// What mbsync marks to be deleted here alone, since there are too many, is nothing to push.
#[test]
fn what_is_expired_is_pushed() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    for (name, expunge) in [("expires", "Expunge None"), ("expunges", "Expunge Near")] {
        let user = User::new(server, name)?;
        let more = format!("{expunge}\nMaxMessages 1\nExpireUnread yes");
        user.edit("Expunge Both\nRemove None", &more)?;
        let order = user.order(Some("verbatim"), Scope::Everything);
        run(&order)?;
        let folders = user.folders("verbatim")?;
        let before = unpushed(&order, &folders);
        // The second run lets go of what the first one has fetched.
        thread::sleep(SETTLED);
        run(&order)?;
        let after = unpushed(&order, &folders);
        assert_eq!((before, after), (vec![0; 8], vec![0; 8]), "{expunge}");
        let new = "From: a@b\nSubject: c\n\nd\n";
        fs::write(user.mail.join("new/1"), new)?;
        thread::sleep(SETTLED);
        run(&order)?;
        let after = unpushed(&order, &folders);
        assert_eq!(after, [0; 8], "{expunge}");
        let names = fs::read_dir(named(&folders, "INBOX")?.directory.join("cur"))?;
        let names = names.map(|entry| entry.map(|it| it.file_name().into_string()));
        let names: Vec<_> = names.collect::<Result<_, _>>()?;
        let trashed = names.iter().flatten().any(|name| name.ends_with("T"));
        assert_eq!(trashed, expunge == "Expunge None", "{names:?}");
    }
    Ok(())
}

/// What somebody moves by its name has a UID of another folder: mbsync leaves out the folder, and
/// does not say which.
#[test]
fn folders_with_misnumbered_messages_are_set_aside() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "misnumbered")?;
    run(&user.order(Some("verbatim"), Scope::Everything))?;
    let folders = user.folders("verbatim")?;
    let good = named(&folders, "with space")?;
    flag(good)?;
    let mut failed = Vec::new();
    for (name, uid) in [("a", "2"), ("a/b", "98")] {
        let folder = named(&folders, name)?;
        let text = "From: a@b\nSubject: c\n\nd\n";
        fs::write(folder.directory.join(format!("cur/x,U={uid}:2,S")), text)?;
        failed.push(folder.real.clone());
    }
    thread::sleep(SETTLED);
    let (_, exit, verdict) = run(&user.order(Some("verbatim"), Scope::Everything))?;
    assert_eq!((exit, verdict.outcome), (Exit::Code(1), Outcome::Partial));
    assert_eq!(verdict.failed, failed);
    assert!(verdict.text.contains(",U="), "{}", verdict.text);
    assert_eq!(user.flagged(good)?, 1, "the others are synced");
    for real in failed {
        let folder = folders.iter().find(|it| it.real == real).ok_or("none")?;
        let scope = Scope::Folders(vec![folder.clone()]);
        let (_, _, verdict) = run(&user.order(Some("verbatim"), scope))?;
        assert_eq!(verdict.outcome, Outcome::Partial);
        assert_eq!(verdict.failed, [real]);
    }
    Ok(())
}

#[test]
fn a_lock_is_met() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "locked")?;
    run(&user.order(Some("verbatim"), Scope::Everything))?;
    let folders = user.folders("verbatim")?;
    let folder = named(&folders, "a")?;
    let holder = LockHolder::hold(&folder.directory.join(".mbsyncstate.lock"))?;
    let done = run(&user.order(Some("verbatim"), Scope::Folders(vec![folder.clone()])));
    holder.release()?;
    let (_, _, verdict) = done?;
    assert_eq!(verdict.outcome, Outcome::Locked, "{}", verdict.text);
    Ok(())
}
