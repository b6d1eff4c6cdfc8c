//! OfflineIMAP itself, against a Dovecot of its own: whether the names that `syncer::offlineimap`
//! derives are those that it understands, and whether its failures are read right.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{env, thread};

use mailsync_module::change::{AccountId, Folder};
use mailsync_module::maildir::{DiskFs, Layout, directory, discover};
use mailsync_module::syncer::offlineimap::{judge, plan};
use mailsync_module::syncer::outcome::{Exit, Verdict};
use mailsync_module::syncer::plan::Plan;
use mailsync_module::syncer::{Memory, Order, Outcome, Output, Program, RunId, Scope, Syncer};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

#[path = "support/dovecot.rs"]
mod dovecot;

use dovecot::{Server, fixture, free_port, installed, path};

type Tested = Result<(), Box<dyn Error>>;

/// The folders of every user, as the server spells them, the one that `-f` cannot say at the end.
const FOLDERS: [&str; 8] = [
    "INBOX",
    "a",
    "a/b",
    "with space",
    "Entw&APw-rfe",
    "R&-D",
    "50%",
    "com,ma",
];

/// Names as Maildir++ spells them: an account whose INBOX is the root.
const PLUS_PLUS: &str = "
[Account plus]
localrepository = plus-local
remoterepository = plus-remote

[Repository plus-local]
type = Maildir
localfolders = DIR/local/o-plus
nametrans = lambda name: name[1:] or 'INBOX'

[Repository plus-remote]
type = IMAP
remotehost = 127.0.0.1
remoteport = PORT
ssl = no
starttls = no
remoteuser = USER
remotepass = secret
nametrans = lambda name: {'INBOX': ''}.get(name, '.' + name)
";

/// The server; `None`, and a line, where there is nothing to test.
fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    if !installed("offlineimap") {
        println!("skipped: offlineimap is not installed");
        return None;
    }
    Some(SERVER.get_or_init(|| Server::start().expect("a Dovecot")))
}

/// A user of the server with two messages in each folder, and a home directory with OfflineIMAP's
/// configuration.
struct User {
    home: TempDir,
    mail: PathBuf,
}

impl User {
    fn new(server: &Server, name: &str) -> Result<Self, Box<dyn Error>> {
        let home = tempfile::tempdir()?;
        let mail = server.directory.join("mail").join(name);
        let seeded = Command::new("python3")
            .arg(fixture("sync-seed.py"))
            .arg("bulk")
            .arg(&mail)
            .arg("2")
            .args(FOLDERS)
            .status()?;
        let port = server.port.to_string();
        let configured = Command::new("sh")
            .arg(fixture("sync-config.sh"))
            .arg(home.path())
            .args([&port, name])
            .status()?;
        assert!(seeded.success() && configured.success());
        let plus = PLUS_PLUS
            .replace("DIR", &home.path().display().to_string())
            .replace("PORT", &port)
            .replace("USER", name);
        let user = User { home, mail };
        fs::write(user.config(), fs::read_to_string(user.config())? + &plus)?;
        fs::create_dir_all(user.local("plus"))?;
        Ok(user)
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("offlineimaprc")
    }

    fn edit(&self, from: &str, to: &str) -> io::Result<()> {
        let text = fs::read_to_string(self.config())?;
        assert!(text.contains(from), "{from} in {text}");
        fs::write(self.config(), text.replace(from, to))
    }

    fn local(&self, account: &str) -> PathBuf {
        self.home.path().join("local").join(format!("o-{account}"))
    }

    fn order(&self, account: &str, scope: Scope) -> Order {
        let variable = |name: &str, value: &OsStr| {
            let mut variable = OsString::from(name);
            variable.push("=");
            variable.push(value);
            variable
        };
        let path_of_ours = env::var_os("PATH").unwrap_or_default();
        Order {
            run: RunId(1),
            account: "test".to_owned(),
            syncer: Arc::new(Syncer {
                program: Program::OfflineImap {
                    program: "offlineimap".into(),
                    account: account.to_owned(),
                    config: Some(self.config()),
                    args: Vec::new(),
                },
                search: path(),
                environment: vec![
                    variable("HOME", self.home.path().as_os_str()),
                    variable("PATH", &path_of_ours),
                    "LC_ALL=C.UTF-8".into(),
                ],
                directory: None,
                input: Vec::new(),
                success: Vec::new(),
                pulls_only: false,
                per_run: false,
            }),
            scope,
            quick: false,
            answered: false,
            roots: vec![self.local(account)],
            memory: Memory::default(),
        }
    }

    /// The folders that mailsync finds, the one with the comma last.
    fn folders(&self, account: &str) -> Result<Vec<Arc<Folder>>, Box<dyn Error>> {
        let scan = discover(&DiskFs, &self.local(account), Layout::Auto, &[])?;
        let mut folders: Vec<_> = scan.folders.into_iter().collect();
        folders.sort_by_key(|folder| folder.name.contains(&b','));
        let folders = folders.into_iter().map(|found| {
            Arc::new(Folder {
                account: AccountId(0),
                real: found.real,
                directory: found.directory,
                name: found.name,
            })
        });
        Ok(folders.collect())
    }

    /// How many messages of a folder are flagged on the server.
    fn flagged(&self, folder: &Folder) -> io::Result<usize> {
        let name = String::from_utf8_lossy(&folder.name).replace("a.b", "a/b");
        let place = directory(name.as_bytes(), Layout::MaildirPlusPlus);
        let place = self.mail.join(place.ok_or(io::ErrorKind::NotFound)?);
        let mut flagged = 0;
        for entry in fs::read_dir(place.join("cur"))? {
            let name = entry?.file_name();
            let flags = name.as_bytes().rsplit(|byte| *byte == b',').next();
            flagged += usize::from(flags.is_some_and(|flags| flags.contains(&b'F')));
        }
        Ok(flagged)
    }
}

/// Flag a message of a local folder.
fn flag(folder: &Folder) -> Tested {
    let cur = folder.directory.join("cur");
    let entry = fs::read_dir(&cur)?.next().ok_or("an empty folder")??;
    let name = entry.file_name().into_string().map_err(|_| "a name")?;
    let flagged = name.replace(":2,", ":2,F");
    assert_ne!(name, flagged);
    fs::rename(entry.path(), cur.join(flagged))?;
    Ok(())
}

fn one(folder: &Arc<Folder>) -> Scope {
    Scope::Folders(vec![folder.clone()])
}

fn planned(order: &Order) -> Result<Plan, Box<dyn Error>> {
    Ok(plan(order).map_err(|refused| refused.text)?)
}

fn spawn(plan: &Plan) -> Result<Child, Box<dyn Error>> {
    let (program, args) = plan.argv.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    for entry in &plan.environment {
        let entry = entry.to_str().ok_or("an environment")?;
        let (name, value) = entry.split_once('=').ok_or("a variable")?;
        command.env(name, value);
    }
    let command = command.args(args).current_dir("/").stdin(Stdio::null());
    Ok(command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?)
}

fn ended(order: &Order, plan: &Plan, child: Child) -> Result<(Exit, Verdict), Box<dyn Error>> {
    let out = child.wait_with_output()?;
    let exit = match (out.status.code(), out.status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.ok_or("neither code nor signal")?),
    };
    let output = Output {
        first: [out.stdout, out.stderr].concat(),
        ..Output::default()
    };
    let verdict = judge(order, plan, exit, &output);
    println!("{exit:?} {:?} {}", verdict.outcome, verdict.text);
    Ok((exit, verdict))
}

fn run(order: &Order) -> Result<(Plan, Exit, Verdict), Box<dyn Error>> {
    let plan = planned(order)?;
    let child = spawn(&plan)?;
    let (exit, verdict) = ended(order, &plan, child)?;
    Ok((plan, exit, verdict))
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
    for folder in &folders {
        flag(folder)?;
    }
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
    assert_eq!(verdict.memory.remote_names.len(), FOLDERS.len());
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
    let absent = |name: &str| {
        Arc::new(Folder {
            account: AccountId(0),
            real: Path::new(name).into(),
            directory: Path::new("").into(),
            name: name.as_bytes().into(),
        })
    };
    let order = user.order("slash", Scope::Folders(vec![absent("a/b"), absent("R&D")]));
    let (_, _, verdict) = run(&order)?;
    assert_eq!(verdict.outcome, Outcome::Ok);
    let found = user.folders("slash")?;
    let found: Vec<_> = found.iter().map(|folder| &*folder.name).collect();
    assert_eq!(found, [b"R&D".as_slice(), b"a/b"]);

    let order = user.order("slash", one(&absent("nowhere")));
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

    let script = "import fcntl, sys; file = open(sys.argv[1], 'w'); \
                  fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .arg(&lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    BufReader::new(holder.stdout.take().ok_or("no output")?).read_line(&mut said)?;
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
    drop(holder.stdin.take());
    holder.wait()?;
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
    let pid = Pid::from_raw(child.id().try_into()?).ok_or("no process")?;
    kill_process(pid, Signal::TERM)?;
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
