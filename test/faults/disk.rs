//! Disks that are full, or may only be read.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use mailsync_module::engine::actor::World;
use mailsync_module::schedule::Phase;
use mailsync_module::syncer::Program;

use super::imap::Imap;
use super::support::{
    ACCOUNT, DELAYS, Engine, LONG, account, deliver, in_namespace, is_child, maildir,
};
use super::syncing::{self, Home};
use super::{is_well, noting, script, stands, synced};

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

/// Mount so many bytes there.
fn mount(point: &Path, size: &str) {
    fs::create_dir_all(point).unwrap();
    let size = format!("size={size}");
    run(
        "mount",
        &["-t", "tmpfs", "-o", &size, "none", point.to_str().unwrap()],
    );
}

/// Write until there is no room.
fn fill(directory: &Path) -> PathBuf {
    let name = directory.join("filler");
    let mut file = File::create(&name).unwrap();
    for size in [65536, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    name
}

/// A syncer, and where it keeps what.
struct Kind {
    program: &'static str,
    config: &'static str,
    /// Its tree in `local`.
    tree: &'static str,
}

const MBSYNC: Kind = Kind {
    program: "mbsync",
    config: "mbsyncrc",
    tree: "verbatim",
};

const OFFLINEIMAP: Kind = Kind {
    program: "offlineimap",
    config: "offlineimaprc",
    tree: "o-slash",
};

/// What is wrong with a disk.
#[derive(Clone, Copy)]
enum Fault {
    /// There is no room in this directory of the user's.
    Full(&'static str),
    /// For a while it may only be read, by the way that leads to the mail.
    ReadOnly,
}
use Fault::{Full, ReadOnly};

/// A user whose mail is synced from a server outside of the namespace.
struct User {
    home: PathBuf,
    root: PathBuf,
    port: u16,
    name: String,
    program: Program,
}

/// Try these faults, in a namespace, side by side: most of the time is spent waiting.
fn disks(kind: &Kind, test: &str, faults: &[Fault]) {
    let name = |at: usize| format!("{}-disk-{at}", kind.program);
    if !is_child() {
        let Some(server) = syncing::server(kind.program) else {
            return;
        };
        let home = |at| Home::new(server, &name(at), &["INBOX", "lists"], kind.config).unwrap();
        let homes: Vec<_> = (0..faults.len()).map(home).collect();
        let paths = homes.iter().map(|home| home.home.path());
        let homes_there = env::join_paths(paths).unwrap();
        let (homes_there, port) = (homes_there.into_string().unwrap(), server.port);
        let shell = format!("export TEST_HOMES='{homes_there}' TEST_PORT={port}");
        in_namespace(test, "-Urm", &shell);
        return;
    }
    let homes = env::var_os("TEST_HOMES").unwrap();
    thread::scope(|scope| {
        for (at, home) in env::split_paths(&homes).enumerate() {
            let user = User::new(kind, home, name(at));
            scope.spawn(move || match faults[at] {
                Full(disk) => full(&user, disk),
                ReadOnly => read_only(&user),
            });
        }
    });
}

impl User {
    fn new(kind: &Kind, home: PathBuf, name: String) -> Self {
        let config = home.join(kind.config);
        let program = match kind.program {
            "mbsync" => Program::Mbsync {
                program: kind.program.into(),
                target: Some(kind.tree.to_owned()),
                config: Some(config),
                args: Vec::new(),
            },
            _ => Program::OfflineImap {
                program: kind.program.into(),
                account: kind.tree.trim_start_matches("o-").to_owned(),
                config: Some(config),
                args: Vec::new(),
            },
        };
        User {
            root: home.join("local").join(kind.tree),
            home,
            port: env::var("TEST_PORT").unwrap().parse().unwrap(),
            name,
            program,
        }
    }

    /// An engine that has synced everything.
    fn engine(&self) -> Engine {
        let syncer = syncing::syncer(&self.home, self.program.clone());
        let accounts = vec![synced(account(ACCOUNT, &self.root, DELAYS), syncer, true)];
        let engine = Engine::start_in(World::real(), accounts, Duration::ZERO);
        stands(&engine, is_well);
        engine.wait("INBOX", LONG, |told| {
            told.alive.contains(&self.root.join("INBOX"))
        });
        engine
    }

    fn imap(&self) -> Imap {
        Imap::open(self.port, &self.name, "INBOX").unwrap()
    }

    /// Mail comes at the server.
    fn append(&self, subject: &str, size: usize) {
        let text = format!(
            "From: bob@example.invalid\r\nSubject: {subject}\r\n\
             Message-ID: <{subject}@example.invalid>\r\n\r\n{}\r\n",
            "It is so.\r\n".repeat(size / 11)
        );
        self.imap().append("INBOX", text.as_bytes()).unwrap();
    }

    /// Files of INBOX here.
    fn files(&self) -> Vec<PathBuf> {
        let parts = ["new", "cur"].map(|part| self.root.join("INBOX").join(part));
        let entries = parts.iter().flat_map(|part| fs::read_dir(part).unwrap());
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Change a flag of the first message of INBOX here, and have the engine tell that.
    fn change(&self, engine: &Engine) {
        self.change_at(engine, &self.root);
    }

    /// The same by another way to the root.
    fn change_at(&self, engine: &Engine, root: &Path) {
        let cur = root.join("INBOX/cur");
        let mut files: Vec<_> = fs::read_dir(&cur).unwrap().map(|it| it.unwrap()).collect();
        files.sort_by_key(fs::DirEntry::file_name);
        let name = files[0].file_name().into_string().unwrap();
        let (base, flags) = name.rsplit_once(":2,").unwrap();
        // Never what they were before, or nothing had to be pushed.
        let flags = ["S", "FS", "FRS", "RS", "S"]
            .windows(2)
            .find_map(|pair| (pair[0] == flags).then_some(pair[1]))
            .unwrap();
        let time = Instant::now();
        fs::rename(cur.join(&name), cur.join(format!("{base}:2,{flags}"))).unwrap();
        let inbox = self.root.join("INBOX");
        engine.wait("the change", LONG, |told| told.since(&inbox, time));
    }

    /// Wait until both sides have the same messages.
    fn same(&self) {
        let end = Instant::now() + LONG;
        loop {
            let mut imap = self.imap();
            let count = imap.select("INBOX").unwrap();
            let there = imap.fetch("1:*", "HEADER.FIELDS (SUBJECT)").unwrap();
            let mut there: Vec<_> = there.into_iter().map(|mail| mail.flags).collect();
            let flags = |file: &PathBuf| {
                let name = file.to_string_lossy().into_owned();
                name.rsplit_once(":2,")
                    .map_or_else(String::new, |(_, flags)| flags.to_owned())
            };
            let mut here: Vec<_> = self.files().iter().map(flags).collect();
            here.sort();
            there.sort();
            if here == there {
                assert_eq!(here.len() as u64, count);
                return;
            }
            assert!(Instant::now() < end, "here {here:?}, there {there:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// It fails, and says why.
    fn fails(&self, engine: &Engine, words: &[&str]) {
        stands(engine, |state| {
            state.phase == Phase::Failing && words.iter().all(|it| state.text.contains(it))
        });
        println!(
            "{}",
            engine.status().accounts[0].sync.as_ref().unwrap().text
        );
    }
}

/// The disk of the mail is full, or that of what the syncer keeps of it: what has come is there when
/// there is room.
fn full(user: &User, disk: &str) {
    if disk == "states" {
        let config = user.home.join(MBSYNC.config);
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("SyncState *", "SyncState ~/states/")).unwrap();
    }
    let disk = user.home.join(disk);
    mount(&disk, "4m");
    let engine = user.engine();
    let before = user.files().len();
    let filler = fill(&disk);
    user.append("large", 200_000);
    user.change(&engine);
    user.fails(&engine, &["the disk is full", "make room"]);
    // What happens here is told as ever.
    user.change(&engine);
    fs::remove_file(filler).unwrap();
    stands(&engine, is_well);
    user.same();
    assert_eq!(user.files().len(), before + 1);
}

/// The disk of the mail may only be read for a while, by this way to it.
fn read_only(user: &User) {
    let disk = user.home.join("disk");
    mount(&disk, "4m");
    let [from, to] = [&disk, &user.root].map(|it| it.to_str().unwrap().to_owned());
    fs::create_dir_all(&user.root).unwrap();
    run("mount", &["--bind", &from, &to]);
    let engine = user.engine();
    let before = user.files().len();
    let remount = |mode: &str| run("mount", &["-o", &format!("remount,bind,{mode}"), &to]);
    remount("ro");
    assert!(fs::write(user.root.join("x"), "").is_err());
    user.append("small", 200);
    user.change_at(&engine, &disk);
    user.fails(&engine, &["mounted read-only", "mounted for writing"]);
    // What happens there by another way is told as ever.
    user.change_at(&engine, &disk);
    engine.wait_root(|root| root.state == "watching" && root.how == "kernel");
    remount("rw");
    stands(&engine, is_well);
    user.same();
    assert_eq!(user.files().len(), before + 1);
}

#[test]
fn mbsync_and_a_disk_that_takes_nothing() {
    disks(
        &MBSYNC,
        "disk::mbsync_and_a_disk_that_takes_nothing",
        &[Full("local/verbatim"), Full("states"), ReadOnly],
    );
}

#[test]
fn offlineimap_and_a_disk_that_takes_nothing() {
    disks(
        &OFFLINEIMAP,
        "disk::offlineimap_and_a_disk_that_takes_nothing",
        &[Full("local/o-slash"), Full("oimap"), ReadOnly],
    );
}

/// While the disk of the mail is away nothing is synced: to a syncer all would be deleted.
#[test]
fn nothing_is_synced_while_a_disk_is_away() {
    if !in_namespace(
        "disk::nothing_is_synced_while_a_disk_is_away",
        "-Urm",
        "true",
    ) {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let [disk, root, log] = ["disk", "Mail", "log"].map(|name| top.join(name));
    mount(&disk, "4m");
    maildir(&disk);
    fs::create_dir(&root).unwrap();
    let [from, to] = [&disk, &root].map(|it| it.to_str().unwrap().to_owned());
    let bind = || run("mount", &["--bind", &from, &to]);
    bind();
    let syncer = script(&format!(
        "if [ -d '{to}/cur' ]; then echo there; else echo away; fi >>'{}'",
        log.display()
    ));
    let runs = || fs::read_to_string(&log).unwrap_or_default();
    let mut account = synced(account(ACCOUNT, &root, DELAYS), syncer, false);
    account.sync.as_mut().unwrap().timing.base = Duration::from_secs(3);
    let engine = Engine::start_in(World::real(), vec![account], Duration::ZERO);
    stands(&engine, is_well);
    for number in 1..=3 {
        let before = runs().lines().count();
        // It goes before there can have been a run: that waits three seconds after a change.
        let time = deliver(&root, &number.to_string()).unwrap();
        engine.wait("the message", LONG, |told| told.since(&root, time));
        run("umount", &["-l", &to]);
        engine.wait("it is away", LONG, |told| {
            told.state.0 == "waiting" && told.state.1.contains(&to)
        });
        stands(&engine, |state| {
            state.phase == Phase::Pending && state.text == "waits for its maildir"
        });
        assert_eq!(runs().lines().count(), before);
        bind();
        stands(&engine, |state| {
            is_well(state) && runs().lines().count() > before
        });
        engine.wait("it is back", LONG, |told| told.state.0 == "watching");
    }
    assert!(!runs().contains("away"), "{}", runs());
    drop(engine);
    run("umount", &["-l", &to]);
}

/// Where locks are there is no room for them: what has to be synced is, and the lock is had when
/// there is.
#[test]
fn a_lock_for_which_there_is_no_room() {
    if !in_namespace("disk::a_lock_for_which_there_is_no_room", "-Urm", "true") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(top.path()).unwrap();
    let (runtime, root) = (top.join("run"), top.join("Mail"));
    maildir(&root);
    fs::create_dir(&runtime).unwrap();
    let options = "nr_inodes=20,mode=700";
    let point = runtime.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", options, "none", point]);
    // It has been used before: others may have locks there.
    let locks = runtime.join("mailsync");
    fs::create_dir(&locks).unwrap();
    fs::set_permissions(&locks, fs::Permissions::from_mode(0o700)).unwrap();
    let fillers = (0..).map(|number| runtime.join(format!("{number}")));
    let fillers: Vec<_> = fillers.take_while(|it| File::create(it).is_ok()).collect();

    let log = top.join("log");
    let runs = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    let start = || {
        let world = World {
            runtime: Some(runtime.clone()),
            ..World::real()
        };
        let accounts = vec![synced(account(ACCOUNT, &root, DELAYS), noting(&log), false)];
        Engine::start_in(world, accounts, Duration::ZERO)
    };
    let refused = "are not kept from syncing at the same time";
    let said = |engine: &Engine| {
        let told = engine.told();
        let frames = told.frames.iter();
        frames.filter(|it| it.text.contains(refused)).count()
    };
    let engine = start();
    stands(&engine, is_well);
    for number in ["1", "2"] {
        let before = runs();
        deliver(&root, number).unwrap();
        engine.wait_status(|_| runs() > before);
        stands(&engine, is_well);
    }
    assert_eq!(said(&engine), 1);
    for filler in fillers {
        fs::remove_file(filler).unwrap();
    }
    // The next run shows that there is room.
    deliver(&root, "3").unwrap();
    let is_lock = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|it| it == "lock");
    let signed = |entry: fs::DirEntry| is_lock(&entry) && entry.metadata().unwrap().len() > 0;
    engine.wait_status(|_| fs::read_dir(&locks).unwrap().any(|it| signed(it.unwrap())));
    let other = start();
    let pid = format!("synced by pid {}", std::process::id());
    stands(&other, |state| {
        state.phase == Phase::Elsewhere && state.text == pid
    });
    drop(engine);
    stands(&other, is_well);
}
