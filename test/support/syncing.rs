//! A Dovecot of a test's own, its users, and runs of a syncer between them and it.
#![allow(dead_code)] // each test target uses its part

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{env, fs, io, mem};

use mailsync_module::change::{AccountId, Folder};
use mailsync_module::maildir::{DiskFs, Layout, directory, discover};
use mailsync_module::syncer::outcome::{Exit, Verdict, judge};
use mailsync_module::syncer::plan::{Plan, plan};
use mailsync_module::syncer::unpushed::{self, Unpushed};
use mailsync_module::syncer::worker::Worker;
use mailsync_module::syncer::{Naming, Order, Output, Program, Scope, Syncer};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{self, AddressFamily, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub type Tested = Result<(), Box<dyn Error>>;

/// A script of the tests.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("test/fixtures")
        .join(name)
}

/// Where programs are.
pub fn path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

/// Whether a program is there.
pub fn installed(program: &str) -> bool {
    path()
        .iter()
        .any(|directory| directory.join(program).is_file())
}

/// A port where nobody listens, and nobody else will, even while its server is away: a socket that does
/// not listen keeps it for as long as we run.  Servers can listen there, since they say SO_REUSEADDR, too.
pub fn free_port() -> io::Result<u16> {
    let keeper = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    fcntl_setfd(&keeper, FdFlags::CLOEXEC)?;
    set_socket_reuseaddr(&keeper, true)?;
    net::bind(&keeper, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let port = SocketAddrV4::try_from(net::getsockname(&keeper)?)?.port();
    mem::forget(keeper);
    Ok(port)
}

/// The server of all tests.  It ends when this process does, however that comes about.
pub struct Server {
    /// Its files, of which `mail/USER` is a user's.
    pub directory: PathBuf,
    /// Where it listens, without TLS.
    pub port: u16,
    /// The same with TLS.
    pub tls: u16,
    /// Lines of its configuration besides those of the fixture.
    extra: String,
    _lifeline: ChildStdin,
}

impl Server {
    /// Start one.
    pub fn start() -> io::Result<Self> {
        Self::start_with("")
    }

    /// Start one with these lines at the end of its configuration.
    pub fn start_with(extra: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("mailsync-dovecot-")
            .tempdir()?
            .keep();
        // Its processes are other users where we are root.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        // Ends Dovecot at the end of its input, which is our end; an interrupt is for us.
        let end = "trap '' INT QUIT TERM HUP; cat >/dev/null; sh \"$0\" stop \"$1\"; rm -rf \"$1\"";
        let mut guard = Command::new("sh")
            .args(["-c", end])
            .arg(fixture("sync-dovecot.sh"))
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let lifeline = guard.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let server = Server {
            directory,
            port: free_port()?,
            tls: free_port()?,
            extra: extra.to_owned(),
            _lifeline: lifeline,
        };
        server.resume()?;
        Ok(server)
    }

    /// Start it again where it was.
    pub fn resume(&self) -> io::Result<()> {
        self.script("start", &[self.port, self.tls])
    }

    /// Stop it; its users' mail stays.
    pub fn stop(&self) -> io::Result<()> {
        self.script("stop", &[])
    }

    fn script(&self, command: &str, ports: &[u16]) -> io::Result<()> {
        let status = Command::new("sh")
            .arg(fixture("sync-dovecot.sh"))
            .arg(command)
            .arg(&self.directory)
            .args(ports.iter().map(u16::to_string))
            .env("DOVECOT_EXTRA", &self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        assert!(status.success(), "Dovecot does not {command}: {status}");
        Ok(())
    }
}

/// The server; `None`, and a line, where the program to test is not there.
pub fn server(program: &str) -> Option<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    if !installed(program) {
        println!("skipped: {program} is not installed");
        return None;
    }
    Some(SERVER.get_or_init(|| Server::start().expect("a Dovecot")))
}

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

/// The folders of each user of OfflineIMAP's, as the server spells them, the one that `-f` cannot say at
/// the end.
pub const FOR_OFFLINEIMAP: [&str; 8] = [
    "INBOX",
    "a",
    "a/b",
    "with space",
    "Entw&APw-rfe",
    "R&-D",
    "50%",
    "com,ma",
];

/// A user of the server with two messages in each folder, and a home directory with configurations
/// of both syncers.
pub struct Home {
    pub home: TempDir,
    /// The user's mail on the server.
    pub mail: PathBuf,
    config: &'static str,
}

impl Home {
    /// `config` is the name of the configuration that matters.
    pub fn new(
        server: &Server,
        name: &str,
        folders: &[&str],
        config: &'static str,
    ) -> Result<Self, Box<dyn Error>> {
        let home = tempfile::tempdir()?;
        let mail = server.directory.join("mail").join(name);
        let seeded = Command::new("python3")
            .arg(fixture("sync-seed.py"))
            .arg("bulk")
            .arg(&mail)
            .arg("2")
            .args(folders)
            .status()?;
        let configured = Command::new("sh")
            .arg(fixture("sync-config.sh"))
            .arg(home.path())
            .args([&server.port.to_string(), name])
            .status()?;
        assert!(seeded.success() && configured.success());
        Ok(Home { home, mail, config })
    }

    pub fn config(&self) -> PathBuf {
        self.home.path().join(self.config)
    }

    pub fn edit(&self, from: &str, to: &str) -> io::Result<()> {
        let text = fs::read_to_string(self.config())?;
        assert!(text.contains(from), "{from} in {text}");
        fs::write(self.config(), text.replace(from, to))
    }

    /// One more account of OfflineIMAP's, `plus`.
    pub fn plus(&self, server: &Server, name: &str) -> io::Result<()> {
        let plus = PLUS_PLUS
            .replace("DIR", &self.home.path().display().to_string())
            .replace("PORT", &server.port.to_string())
            .replace("USER", name);
        fs::write(self.config(), fs::read_to_string(self.config())? + &plus)?;
        fs::create_dir_all(self.tree("o-plus"))
    }

    /// Where a syncer puts its mail.
    pub fn tree(&self, name: &str) -> PathBuf {
        self.home.path().join("local").join(name)
    }

    pub fn order(&self, program: Program, root: PathBuf, scope: Scope) -> Order {
        Order {
            roots: vec![root],
            ..Order::new("test", syncer(self.home.path(), program), scope)
        }
    }

    /// The folders that mailsync finds in a directory, the one with the comma last.
    pub fn found(&self, directory: &Path) -> Result<Vec<Arc<Folder>>, Box<dyn Error>> {
        let scan = discover(&DiskFs, directory, Layout::Auto, &[])?;
        let mut folders: Vec<_> = scan.folders.into_iter().collect();
        folders.sort_by_key(|folder| folder.name.contains(&b','));
        let folders = folders.into_iter().map(|found| {
            Arc::new(Folder {
                account: AccountId(0),
                real: found.real.clone(),
                directory: found.directory.clone(),
                name: found.name.clone(),
            })
        });
        Ok(folders.collect())
    }

    /// How many messages of a folder are flagged on the server.
    pub fn flagged(&self, folder: &Folder) -> io::Result<usize> {
        // A flat layout has one level, `a.b`.
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

/// What has OfflineIMAP sync an account by this configuration.
pub fn offlineimap(account: &str, config: PathBuf) -> Program {
    Program::OfflineImap {
        program: "offlineimap".into(),
        account: account.to_owned(),
        config: Some(config),
        args: Vec::new(),
    }
}

/// A syncer whose user has this home directory.
pub fn syncer(home: &Path, program: Program) -> Syncer {
    let variable = |name: &str, value: &OsStr| {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        variable
    };
    let path_of_ours = env::var_os("PATH").unwrap_or_default();
    Syncer {
        search: path(),
        environment: vec![
            variable("HOME", home.as_os_str()),
            variable("PATH", &path_of_ours),
            "LC_ALL=C.UTF-8".into(),
        ],
        ..Syncer::new(program)
    }
}

/// Have OfflineIMAP's worker do what an order says.
pub fn by_worker(order: &mut Order, config: &Path) {
    let mut syncer = Syncer::clone(&order.syncer);
    let Program::OfflineImap { account, .. } = &syncer.program else {
        panic!("not OfflineIMAP");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lisp/mailsync-offlineimap-worker.py");
    let words = ["python3".into(), script.into_os_string(), account.into()];
    let options = ["-c".into(), config.as_os_str().to_owned()];
    syncer.worker = Some(Worker {
        words: [&words[..], &options].concat(),
        naming: Naming::Imap,
        separator: None,
        prefix: None,
        idle: Duration::from_secs(300),
        quit: Duration::from_secs(1800),
    });
    order.syncer = Arc::new(syncer);
}

/// Flag a message of a local folder.
pub fn flag(folder: &Folder) -> Tested {
    let cur = folder.directory.join("cur");
    let entry = fs::read_dir(&cur)?.next().ok_or("an empty folder")??;
    let name = entry.file_name().into_string().map_err(|_| "a name")?;
    let flagged = name.replace(":2,", ":2,F");
    assert_ne!(name, flagged);
    fs::rename(entry.path(), cur.join(flagged))?;
    Ok(())
}

/// A folder of which only the name is known.
pub fn remote_only(name: &str) -> Arc<Folder> {
    Arc::new(Folder::by_name(AccountId(0), name.as_bytes().into()))
}

pub fn planned(order: &Order) -> Result<Plan, Box<dyn Error>> {
    Ok(plan(order).map_err(|refused| refused.text)?)
}

pub fn spawn(plan: &Plan) -> Result<Child, Box<dyn Error>> {
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

pub fn ended(order: &Order, plan: &Plan, child: Child) -> Result<(Exit, Verdict), Box<dyn Error>> {
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
    let argv = &plan.argv;
    println!("{argv:?} {exit:?} {:?} {}", verdict.outcome, verdict.text);
    println!("{}", String::from_utf8_lossy(&output.first));
    Ok((exit, verdict))
}

pub fn run(order: &Order) -> Result<(Plan, Exit, Verdict), Box<dyn Error>> {
    let plan = planned(order)?;
    let child = spawn(&plan)?;
    let (exit, verdict) = ended(order, &plan, child)?;
    Ok((plan, exit, verdict))
}

/// Send a signal to a process.
pub fn signal(pid: u32, signal: Signal) -> Tested {
    let pid = Pid::from_raw(i32::try_from(pid)?).ok_or("a process")?;
    Ok(kill_process(pid, signal)?)
}

/// Hold a lock by fcntl(2), as syncers do, in another process.
pub struct LockHolder(Child);

impl LockHolder {
    pub fn hold(file: &Path) -> Result<Self, Box<dyn Error>> {
        let script = "import fcntl, sys; file = open(sys.argv[1], 'w'); \
                      fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()";
        let mut holder = Command::new("python3")
            .args(["-c", script])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().ok_or("no output")?).read_line(&mut said)?;
        Ok(LockHolder(holder))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn release(mut self) -> io::Result<()> {
        drop(self.0.stdin.take());
        self.0.wait().map(drop)
    }
}

/// How many messages of each folder wait to be pushed, by the syncer's own record; -1: nobody knows.
pub fn unpushed(order: &Order, folders: &[Arc<Folder>]) -> Vec<i64> {
    let each = unpushed::look(order, folders).into_iter();
    let each = each.map(|it| match it {
        Unpushed::Known(differences) => differences.len() as i64,
        Unpushed::Unknown(text) | Unpushed::Untold(text) => {
            println!("{text}");
            -1
        }
    });
    each.collect()
}
