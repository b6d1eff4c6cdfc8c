//! OfflineIMAP's worker.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use mailsync_module::change::{AccountId, Folder};
use mailsync_module::syncer::run::resident::{Patience, Resident};
use mailsync_module::syncer::{End, Ended, Order, Outcome, Program, RunId, Scope, Syncer};
use rustix::process::Signal;

use super::syncing::*;
use super::{Going, LONG, Ran, begin, wait_gone};

/// An account of OfflineIMAP's with a worker.
struct Persistent {
    home: Home,
    account: &'static str,
    resident: Resident,
    runs: u64,
}

impl Persistent {
    fn new(server: &Server, user: &str, account: &'static str) -> Result<Self, Box<dyn Error>> {
        let home = Home::new(server, user, &FOR_OFFLINEIMAP, "offlineimaprc")?;
        Ok(Persistent {
            home,
            account,
            resident: Resident::start(Patience::default())?,
            runs: 0,
        })
    }

    fn tree(&self) -> PathBuf {
        self.home.tree(&format!("o-{}", self.account))
    }

    fn order(&mut self, scope: Scope) -> Order {
        let program = offlineimap(self.account, self.home.config());
        self.runs += 1;
        let mut order = self.home.order(program, self.tree(), scope);
        by_worker(&mut order, &self.home.config());
        order.run = RunId(self.runs);
        order
    }

    /// Like the last one, but for its worker.
    fn with(&mut self, change: impl FnOnce(&mut Syncer)) -> Order {
        let mut order = self.order(Scope::Everything);
        let mut syncer = Syncer::clone(&order.syncer);
        change(&mut syncer);
        order.syncer = Arc::new(syncer);
        order
    }

    fn begin(&mut self, scope: Scope) -> Result<Going, Box<dyn Error>> {
        let order = self.order(scope);
        begin(&self.resident, order, None)
    }

    fn run(&mut self, scope: Scope) -> Result<Ran, Box<dyn Error>> {
        let ran = self.begin(scope)?.ended()?;
        let Ended {
            outcome,
            text,
            took,
            ..
        } = &ran.ended;
        println!("{outcome:?} {text} {took:?} {:?} {:?}", ran.pids, ran.said);
        Ok(ran)
    }

    /// A sync of everything that goes well, without a word; its worker.
    fn fine(&mut self) -> Result<u32, Box<dyn Error>> {
        let ran = self.run(Scope::Everything)?;
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
        assert!(ran.said.is_empty(), "{:?}", ran.said);
        Ok(*ran.pids.first().ok_or("no worker")?)
    }

    fn folders(&self) -> Result<Vec<Arc<Folder>>, Box<dyn Error>> {
        self.home.found(&self.tree())
    }
}

/// The server with a user whose worker it is; none where OfflineIMAP is not there.
fn persistent(user: &str) -> Result<Option<Persistent>, Box<dyn Error>> {
    let server = server("offlineimap");
    let made = server.map(|server| Persistent::new(server, user, "slash"));
    made.transpose()
}

/// Sync everything, flag a message in each folder, and sync one after the other, all by one worker:
/// each run must push its own folder's flag and no other's.
fn every_folder_by_its_name(account: &'static str) -> Tested {
    let Some(server) = server("offlineimap") else {
        return Ok(());
    };
    let mut user = Persistent::new(server, &format!("named-{account}"), account)?;
    if account == "dot" {
        // Python names the folders: as no run has to learn.
        let names = "remotepass = secret\nnametrans = lambda name: 'x-' + name.replace('/', '_')\n";
        let text = fs::read_to_string(user.home.config())?;
        let text = text.replace("remotepass = secret\n", names);
        fs::write(user.home.config(), text)?;
    }
    let worker = user.fine()?;
    let folders = user.folders()?;
    assert_eq!(folders.len(), FOR_OFFLINEIMAP.len());
    for folder in &folders {
        flag(folder)?;
    }
    for (at, one) in folders.iter().enumerate() {
        let mut order = user.order(Scope::Folders(vec![one.clone()]));
        order.quick = at % 2 == 0;
        let ran = begin(&user.resident, order, None)?.ended()?;
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
        assert!(!ran.ended.everything && ran.pids == [worker]);
        for (other, folder) in folders.iter().enumerate() {
            let name = String::from_utf8_lossy(&folder.name);
            let name = name.trim_start_matches("x-").replace('_', "/");
            let there = Folder::by_name(AccountId(0), name.as_bytes().into());
            assert_eq!(
                user.home.flagged(&there)?,
                usize::from(other <= at),
                "{name}"
            );
        }
    }
    // Known by their names only, as servers tell of them.
    if account == "slash" {
        let far = ["a/b", "Entwürfe", "R&D"].map(remote_only);
        let ran = user.run(Scope::Folders(far.to_vec()))?;
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
    }
    // One that is not there is not synced.
    let ran = user.run(Scope::Folders(vec![
        remote_only("nowhere"),
        folders[0].clone(),
    ]))?;
    assert_eq!(
        (ran.ended.outcome, ran.ended.failed.len()),
        (Outcome::Partial, 1)
    );
    Ok(())
}

#[test]
fn folders_below_each_other() -> Tested {
    every_folder_by_its_name("slash")
}

#[test]
fn folders_whose_names_python_changes() -> Tested {
    every_folder_by_its_name("dot")
}

#[test]
fn a_plain_run_in_between() -> Tested {
    let Some(mut user) = persistent("between")? else {
        return Ok(());
    };
    let worker = user.fine()?;
    let lock = user.home.home.path().join("oimap/slash.lock");
    for _ in 0..2 {
        let order = user.with(|syncer| syncer.worker = None);
        assert_eq!(run(&order)?.2.outcome, Outcome::Ok);
        assert_eq!(user.fine()?, worker);
        assert!(lock.exists());
    }
    // It is asked only when nobody else syncs, and takes nobody's lock away.
    let holder = LockHolder::hold(&lock)?;
    let ran = user.run(Scope::Everything)?;
    assert_eq!(ran.ended.outcome, Outcome::Locked);
    assert!(lock.exists());
    holder.release()?;
    assert_eq!(user.fine()?, worker);
    Ok(())
}

#[test]
fn a_connection_that_was_kicked() -> Tested {
    if !installed("offlineimap") {
        return Ok(());
    }
    let server = Server::start()?;
    let mut user = Persistent::new(&server, "kicked", "slash")?;
    let worker = user.fine()?;
    let kick = || -> Tested {
        let config = server.directory.join("dovecot.conf");
        let kicked = process::Command::new("doveadm")
            .arg("-c")
            .arg(config)
            .args(["kick", "kicked"])
            .output()?;
        assert!(kicked.status.success(), "{kicked:?}");
        Ok(())
    };
    for _ in 0..3 {
        kick()?;
        assert_eq!(user.fine()?, worker);
    }
    kick()?;
    server.stop()?;
    let ran = user.run(Scope::Everything)?;
    assert_eq!((ran.ended.outcome, ran.said.len()), (Outcome::Transient, 0));
    server.resume()?;
    user.fine()?;
    server.stop()?;
    Ok(())
}

#[test]
fn another_configuration_is_read() -> Tested {
    let Some(mut user) = persistent("edited")? else {
        return Ok(());
    };
    let first = user.fine()?;
    user.home
        .edit("remotepass = secret", "remotepass = wrong")?;
    let ran = user.run(Scope::Everything)?;
    assert_eq!(ran.ended.outcome, Outcome::Auth, "{}", ran.ended.text);
    assert!(ran.said.is_empty());
    user.home
        .edit("remotepass = wrong", "remotepass = secret")?;
    let second = user.fine()?;
    assert_ne!(first, second);
    // Then it stays.
    assert_eq!(user.fine()?, second);
    user.home.edit("[Account slash]", "[Account other]")?;
    let ran = user.run(Scope::Everything)?;
    assert_eq!(ran.ended.outcome, Outcome::Config, "{}", ran.ended.text);
    Ok(())
}

#[test]
fn it_rests_and_ends_by_itself() -> Tested {
    let Some(mut user) = persistent("rests")? else {
        return Ok(());
    };
    // Long enough that its sockets are still there when the test looks.
    let mut order = user.with(|syncer| {
        let worker = syncer.worker.as_mut();
        worker.expect("a worker").idle = Duration::from_secs(3);
    });
    let ran = begin(&user.resident, order.clone(), None)?.ended()?;
    let worker = ran.pids[0];
    // Dovecot has a process for each connection, and says in its name whose.
    let sockets = || -> Result<usize, Box<dyn Error>> {
        let files = fs::read_dir(format!("/proc/{worker}/fd"))?;
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        Ok(links
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .count())
    };
    assert!(sockets()? > 0);
    let end = Instant::now() + LONG;
    while sockets()? > 0 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(50));
    }
    order.run = RunId(77);
    let ran = begin(&user.resident, order, None)?.ended()?;
    assert_eq!((ran.ended.outcome, ran.pids[0]), (Outcome::Ok, worker));
    let order = user.with(|syncer| {
        let worker = syncer.worker.as_mut().expect("a worker");
        (worker.idle, worker.quit) = (Duration::from_secs(1), Duration::from_secs(2));
    });
    let ran = begin(&user.resident, order, None)?.ended()?;
    wait_gone(ran.pids[0]);
    Ok(())
}

#[test]
fn where_the_worker_cannot_offlineimap_does_it() -> Tested {
    let Some(mut user) = persistent("cannot")? else {
        return Ok(());
    };
    // Another OfflineIMAP than it knows, which is none for a library.
    let old = user.home.home.path().join("old");
    fs::create_dir_all(old.join("offlineimap"))?;
    fs::write(
        old.join("offlineimap/__init__.py"),
        "__version__ = '7.3.4'\n",
    )?;
    fs::create_dir_all(old.join("none"))?;
    let program = "#!/usr/bin/python3\nimport os, sys\nos.execvp('offlineimap', sys.argv)\n";
    for place in ["old/run", "old/none/run"] {
        let place = user.home.home.path().join(place);
        fs::write(&place, program)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    }
    let other = |place: &'static str, user: &mut Persistent| {
        let place = user.home.home.path().join(place);
        user.with(|syncer| {
            if let Program::OfflineImap { program, .. } = &mut syncer.program {
                *program = place.into();
            }
        })
    };
    let orders = [
        (other("old/run", &mut user), "OfflineIMAP 7.3.4"),
        (other("old/none/run", &mut user), "no library"),
        (
            user.with(|syncer| {
                let worker = syncer.worker.as_mut().expect("a worker");
                worker.words[0] = "no-such-python3".into();
            }),
            "no-such-python3",
        ),
    ];
    for (order, text) in orders {
        let resident = Resident::start(Patience::default())?;
        let ran = begin(&resident, order, None)?.ended()?;
        assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
        assert!(
            ran.said.len() == 1 && ran.said[0].contains(text),
            "{:?}",
            ran.said
        );
    }
    Ok(())
}

#[test]
fn it_is_killed_stopped_and_ended_in_the_middle() -> Tested {
    let Some(mut user) = persistent("middle")? else {
        return Ok(());
    };
    user.fine()?;
    let going = user.begin(Scope::Everything)?;
    let worker = going.pid()?;
    signal(worker, Signal::KILL)?;
    let ran = going.ended()?;
    // It may have been done.
    assert_eq!(ran.ended.outcome, Outcome::Ok, "{}", ran.ended.text);
    assert!(ran.said.len() < 2);
    user.resident = Resident::start(Patience::default())?;
    // A sync of so little would be over before the signal comes.
    user.home
        .edit("[Account slash]", "[Account slash]\npresynchook = sleep 3")?;
    // It hears nothing: a timeout ends it.
    let going = user.begin(Scope::Everything)?;
    let worker = going.pid()?;
    signal(worker, Signal::STOP)?;
    going.0.end(End::Timeout);
    signal(worker, Signal::CONT)?;
    assert_eq!(going.ended()?.ended.outcome, Outcome::Timeout);
    wait_gone(worker);
    user.fine()?;
    Ok(())
}

/// A process's memory in KiB, its threads and its open files.
fn size(pid: u32) -> Result<[usize; 3], Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).ok_or("a number")
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok([field("VmRSS:")?, field("Threads:")?, files])
}

/// SYNCS says how many.
#[test]
fn many_syncs_cost_one_no_more_than_few() -> Tested {
    let Some(mut user) = persistent("many")? else {
        return Ok(());
    };
    let syncs = env::var("SYNCS").ok().and_then(|it| it.parse().ok());
    let syncs = syncs.unwrap_or(40);
    let worker = user.fine()?;
    let folders = user.folders()?;
    let mut first = None;
    let mut took = Duration::ZERO;
    for at in 0..syncs {
        let folder = &folders[at % folders.len()];
        // Something to do, now and then.
        if at % 10 == 0 {
            let cur = folder.directory.join("cur");
            let text = format!("Subject: many-{at}\nMessage-ID: <many-{at}@x>\n\nx\n");
            fs::write(cur.join(format!("{at}.many.host:2,S")), text)?;
        }
        let ran = user.begin(Scope::Folders(vec![folder.clone()]))?.ended()?;
        assert_eq!(
            (ran.ended.outcome, &ran.pids[..]),
            (Outcome::Ok, &[worker][..])
        );
        took += ran.ended.took;
        if at == syncs / 3 {
            first = Some(size(worker)?);
        }
    }
    let first = first.ok_or("too few")?;
    // A thread that is about to end counts for a moment.
    let end = Instant::now() + LONG;
    let mut last = size(worker)?;
    while last[1] > first[1] && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        last = size(worker)?;
    }
    let each = took / u32::try_from(syncs)?;
    println!("{syncs} syncs of {each:?}: {first:?}, at last {last:?} (KiB, threads, files)");
    assert!(last[0] < first[0] + 4096, "{first:?} {last:?}");
    assert!(last[1] <= first[1] && last[2] <= first[2]);
    Ok(())
}
