//! OfflineIMAP itself, against a Dovecot of its own: whether the names that `syncer::offlineimap`
//! derives are those that it understands, and whether its failures are read right.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mailsync_module::change::Folder;
use mailsync_module::syncer::offlineimap::plan;
use mailsync_module::syncer::outcome::Exit;
use mailsync_module::syncer::{Order, Outcome, Scope};
use rustix::process::Signal;

#[path = "support/syncing.rs"]
mod syncing;

use syncing::*;

fn server() -> Option<&'static Server> {
    syncing::server("offlineimap")
}

/// A user with a third account, `plus`.
struct User(Home);

impl Deref for User {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.0
    }
}

impl User {
    fn new(server: &Server, name: &str) -> Result<Self, Box<dyn Error>> {
        let user = User(Home::new(server, name, &FOR_OFFLINEIMAP, "offlineimaprc")?);
        user.plus(server, name)?;
        Ok(user)
    }

    fn local(&self, account: &str) -> PathBuf {
        self.tree(&format!("o-{account}"))
    }

    fn order(&self, account: &str, scope: Scope) -> Order {
        let program = offlineimap(account, self.config());
        self.0.order(program, self.local(account), scope)
    }

    fn folders(&self, account: &str) -> Result<Vec<Arc<Folder>>, Box<dyn Error>> {
        self.found(&self.local(account))
    }
}

fn one(folder: &Arc<Folder>) -> Scope {
    Scope::Folders(vec![folder.clone()])
}

/// Sync everything, flag a message in each folder, and sync one after the other: each run must
/// push its own folder's flag and no other's.
fn every_folder_by_its_name(account: &str, names: &[&str]) -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, account)?;
    let (plan, exit, verdict) = run(&user.order(account, Scope::Everything))?;
    assert_eq!((exit, verdict.outcome), (Exit::Code(0), Outcome::Ok));
    assert!(plan.everything);
    let memory = verdict.memory;

    let folders = user.folders(account)?;
    let found: Vec<_> = folders
        .iter()
        .map(|folder| String::from_utf8_lossy(&folder.name).into_owned())
        .collect();
    assert_eq!(found, names);
    let look = |folders: &[Arc<Folder>]| {
        let mut order = user.order(account, Scope::Everything);
        order.memory = memory.clone();
        unpushed(&order, folders)
    };
    assert_eq!(look(&folders), [0; 8]);
    for folder in &folders {
        flag(folder)?;
    }
    assert_eq!(look(&folders), [1; 8]);
    for (at, folder) in folders.iter().enumerate() {
        let mut order = user.order(account, one(folder));
        order.quick = at % 2 == 0;
        order.memory = memory.clone();
        let (plan, exit, verdict) = run(&order)?;
        assert_eq!((exit, verdict.outcome), (Exit::Code(0), Outcome::Ok));
        assert_eq!(plan.everything, folder.name.contains(&b','));
        for (other, folder) in folders.iter().enumerate() {
            let pushed = user.flagged(folder)?;
            assert_eq!(pushed, usize::from(other <= at), "{folder:?} by {plan:?}");
        }
        assert_eq!(look(std::slice::from_ref(folder)), [0]);
    }
    Ok(())
}

const NAMES: [&str; 8] = [
    "50%",
    "Entwürfe",
    "INBOX",
    "R&D",
    "a",
    "a/b",
    "with space",
    "com,ma",
];

#[test]
fn folders_below_each_other() -> Tested {
    every_folder_by_its_name("slash", &NAMES)
}

#[test]
fn folders_beside_each_other() -> Tested {
    // OfflineIMAP's default: `a.b` is a directory beside `a`, and one level to mailsync.
    every_folder_by_its_name(
        "dot",
        &NAMES
            .map(|name| name.replace("a/b", "a.b"))
            .each_ref()
            .map(String::as_str),
    )
}

#[test]
fn folders_whose_names_python_changes() -> Tested {
    every_folder_by_its_name("plus", &NAMES)
}

#[test]
fn a_map_is_learned_and_used() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "learns")?;
    run(&user.order("plus", Scope::Everything))?;
    let folders = user.folders("plus")?;
    let folder = folders
        .iter()
        .find(|folder| &*folder.name == b"a/b")
        .ok_or("no folder a/b")?;
    let mut order = user.order("plus", one(folder));
    let (first, exit, verdict) = run(&order)?;
    assert!(first.everything);
    assert_eq!((exit, verdict.outcome), (Exit::Code(0), Outcome::Ok));
    assert_eq!(verdict.memory.remote_names.len(), FOR_OFFLINEIMAP.len());
    assert_eq!(verdict.memory.remote_names[b"".as_slice()], b"INBOX");
    order.memory = verdict.memory.clone();
    let (second, _, verdict) = run(&order)?;
    assert_eq!(second.argv.last(), Some(&"a/b".into()));
    assert_eq!(verdict.memory, order.memory);
    Ok(())
}

#[test]
fn a_named_folder_comes_from_the_server() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "remote")?;
    let order = user.order(
        "slash",
        Scope::Folders(vec![remote_only("a/b"), remote_only("R&D")]),
    );
    let (_, _, verdict) = run(&order)?;
    assert_eq!(verdict.outcome, Outcome::Ok);
    let found = user.folders("slash")?;
    let found: Vec<_> = found.iter().map(|folder| &*folder.name).collect();
    assert_eq!(found, [b"R&D".as_slice(), b"a/b"]);

    let order = user.order("slash", one(&remote_only("nowhere")));
    let (_, exit, verdict) = run(&order)?;
    assert_eq!((exit, verdict.outcome), (Exit::Code(1), Outcome::Partial));
    assert_eq!(verdict.failed, [Arc::from(Path::new("nowhere"))]);
    assert!(verdict.text.contains("folderfilter"), "{}", verdict.text);
    Ok(())
}

/// A server that greets and goes away at the first command.
fn cutting() -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || -> io::Result<()> {
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] here\r\n")?;
            let _ = stream.read(&mut [0; 512]);
        }
    });
    Ok(port)
}

#[test]
fn failures_are_told_apart() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let port = |port: u16| {
        (
            format!("remoteport = {}", server.port),
            format!("remoteport = {port}"),
        )
    };
    let line = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let secret = "remotepass = secret";
    let table = [
        (
            line(secret, "remotepass = wrong"),
            Outcome::Auth,
            "AUTHENTICATIONFAILED",
        ),
        (line(secret, ""), Outcome::Config, "no password"),
        (
            line(secret, "remotepasseval = ''"),
            Outcome::Transient,
            "no password",
        ),
        (
            port(free_port()?),
            Outcome::Transient,
            "could not open socket",
        ),
        (port(cutting()?), Outcome::Transient, ""),
        (
            line("type = IMAP", "type = POP"),
            Outcome::Config,
            "not supported",
        ),
        (
            line(
                "[Repository slash-remote]",
                "[Repository slash-remote]\nnametrans = lambda name: nosuch(name)",
            ),
            Outcome::Config,
            "nosuch",
        ),
    ];
    for (at, ((from, to), outcome, told)) in table.into_iter().enumerate() {
        let user = User::new(server, &format!("fails{at}"))?;
        user.edit(&from, &to)?;
        let (_, _, verdict) = run(&user.order("slash", Scope::Everything))?;
        assert_eq!(verdict.outcome, outcome, "{to}: {}", verdict.text);
        assert!(verdict.text.contains(told), "{to}: {}", verdict.text);
    }
    Ok(())
}

#[test]
fn an_unknown_account_is_refused() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "unknown")?;
    let order = user.order("nobody", Scope::Everything);
    let refused = plan(&order).err().ok_or("it was planned")?;
    assert_eq!(refused.outcome, Outcome::Config);
    assert!(
        refused.text.contains("[Account nobody]"),
        "{}",
        refused.text
    );

    // As it would say itself.
    let mut plan = planned(&user.order("slash", Scope::Everything))?;
    for word in &mut plan.argv {
        if word == "slash" {
            *word = "nobody".into();
        }
    }
    let child = spawn(&plan)?;
    let (_, verdict) = ended(&order, &plan, child)?;
    assert_eq!(verdict.outcome, Outcome::Config, "{}", verdict.text);
    Ok(())
}

#[test]
fn a_lock_is_respected() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "locked")?;
    let order = user.order("slash", Scope::Everything);
    let before = planned(&order)?;
    let lock = user.home.path().join("oimap/slash.lock");
    fs::create_dir_all(user.home.path().join("oimap"))?;

    // A file alone is no lock.
    fs::write(&lock, "")?;
    planned(&order)?;

    let holder = LockHolder::hold(&lock)?;
    // Twice: asking must not end what it asks about.
    for _ in 0..2 {
        let refused = plan(&order).err().ok_or("it was planned")?;
        assert_eq!(refused.outcome, Outcome::Locked);
        let pid = format!("process {}", holder.id());
        assert!(refused.text.contains(&pid), "{}", refused.text);
        assert!(lock.exists());
    }
    let child = spawn(&before)?;
    let (_, verdict) = ended(&order, &before, child)?;
    assert_eq!(verdict.outcome, Outcome::Locked, "{}", verdict.text);
    holder.release()?;
    planned(&order)?;
    Ok(())
}

#[test]
fn a_renumbered_folder_is_set_aside() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "renumbered")?;
    run(&user.order("slash", Scope::Everything))?;
    let folders = user.folders("slash")?;
    let nested = folders.iter().find(|folder| &*folder.name == b"a/b");
    let nested = nested.ok_or("no folder a/b")?;
    // The server forgets which message had which number.
    for entry in fs::read_dir(user.mail.join(".a.b"))? {
        let entry = entry?;
        if entry.file_name().as_bytes().starts_with(b"dovecot") {
            fs::remove_file(entry.path())?;
        }
    }
    thread::sleep(Duration::from_millis(1100)); // numbers of folders are times
    for scope in [Scope::Everything, Scope::Folders(folders.clone())] {
        let (_, _, verdict) = run(&user.order("slash", scope))?;
        assert_eq!(verdict.outcome, Outcome::Partial, "{}", verdict.text);
        assert_eq!(verdict.failed, std::slice::from_ref(&nested.real));
        assert!(verdict.text.contains("UIDVALIDITY"), "{}", verdict.text);
    }
    Ok(())
}

#[test]
fn a_run_that_is_told_to_end_is_interrupted() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "ends")?;
    let begun = user.home.path().join("begun");
    let hook = format!(
        "[Account slash]\npresynchook = touch {}; sleep 1",
        begun.display()
    );
    user.edit("[Account slash]", &hook)?;
    let order = user.order("slash", Scope::Everything);
    let plan = planned(&order)?;
    let child = spawn(&plan)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !begun.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    signal(child.id(), Signal::TERM)?;
    let (_, verdict) = ended(&order, &plan, child)?;
    assert_eq!(verdict.outcome, Outcome::Interrupted, "{}", verdict.text);
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_opened_is_set_aside() -> Tested {
    let Some(server) = server() else {
        return Ok(());
    };
    let user = User::new(server, "shut")?;
    run(&user.order("slash", Scope::Everything))?;
    let folders = user.folders("slash")?;
    let shut = folders.iter().find(|folder| &*folder.name == b"with space");
    let shut = shut.ok_or("no such folder")?;
    let place = user.mail.join(".with space");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o000))?;
    let named = folders.iter().filter(|folder| !folder.name.contains(&b','));
    let named = Scope::Folders(named.cloned().collect());
    let runs = [Scope::Everything, named].map(|scope| run(&user.order("slash", scope)));
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700))?;
    for done in runs {
        let (_, _, verdict) = done?;
        assert_eq!(verdict.outcome, Outcome::Partial, "{}", verdict.text);
        assert_eq!(verdict.failed, std::slice::from_ref(&shut.real));
    }
    Ok(())
}
