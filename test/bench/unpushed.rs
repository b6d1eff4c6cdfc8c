//! How long it takes to see what of a folder is not pushed: numbers for sync.py.
//!
//! For each COUNT of messages, milliseconds: by mbsync's record, by OfflineIMAP's (0 where there is no
//! reader of that), and what listing the names alone takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use std::{fs, io};

use mailsync_module::change::{AccountId, Folder};
use mailsync_module::syncer::unpushed::{self, Unpushed};
use mailsync_module::syncer::{Order, Program, Scope, Syncer};

const COUNTS: [u32; 3] = [1_000, 10_000, 50_000];
const TIMES: usize = 11;

/// The MD5 of `f`, as OfflineIMAP marks that folder's files.
const MARK: &str = "8fa14cdd754f91cc6554c9e71929cce7";

pub fn folder(home: &Path, count: u32) -> io::Result<Arc<Folder>> {
    let directory = home.join("mail/f");
    for part in ["new", "cur", "tmp"] {
        fs::create_dir_all(directory.join(part))?;
    }
    let mut state = "FarUidValidity 1\nNearUidValidity 1\n\n".to_owned();
    for uid in 1..=count {
        let flags = if uid % 3 == 0 { "" } else { "S" };
        let name = format!("1700000000_{uid}.4711.host,U={uid},FMD5={MARK}:2,{flags}");
        fs::write(directory.join("cur").join(name), "")?;
        state += &format!("{uid} {uid} {flags}\n");
    }
    fs::write(directory.join(".mbsyncstate"), state)?;
    fs::write(directory.join(".uidvalidity"), format!("1\n{count}\n"))?;
    Ok(Arc::new(Folder {
        account: AccountId(0),
        real: directory.as_path().into(),
        directory: directory.as_path().into(),
        name: b"f".as_slice().into(),
    }))
}

#[cfg_attr(not(feature = "offlineimap-state"), allow(unused_variables))]
pub fn records(home: &Path, count: u32) -> Result<(), Box<dyn std::error::Error>> {
    let root = home.display();
    fs::write(
        home.join(".mbsyncrc"),
        format!(
            "MaildirStore near\nPath {root}/mail/\nInbox {root}/INBOX\nSubFolders Verbatim\n\n\
             Channel c\nFar :far:\nNear :near:\nPatterns *\nSyncState *\n"
        ),
    )?;
    fs::write(
        home.join(".offlineimaprc"),
        format!(
            "[general]\nmetadata = {root}/meta\n[Account a]\nlocalrepository = l\n\
             remoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = {root}/mail\n\
             sep = /\n[Repository r]\ntype = IMAP\n"
        ),
    )?;
    let status = home.join("meta/Account-a/LocalStatus-sqlite");
    fs::create_dir_all(&status)?;
    #[cfg(feature = "offlineimap-state")]
    {
        let mut database = rusqlite::Connection::open(status.join("f"))?;
        database.execute_batch(
            "CREATE TABLE metadata (key VARCHAR(50) PRIMARY KEY, value VARCHAR(128));
             INSERT INTO metadata VALUES('db_version', '2');
             CREATE TABLE status (id INTEGER PRIMARY KEY, flags VARCHAR(50), mtime INTEGER,
                                  labels VARCHAR(256));",
        )?;
        let all = database.transaction()?;
        for uid in 1..=count {
            let flags = if uid % 3 == 0 { "" } else { "S" };
            all.execute("INSERT INTO status VALUES (?, ?, 0, '')", (uid, flags))?;
        }
        all.commit()?;
    }
    Ok(())
}

/// The median of so many times, in ms.
fn median(mut act: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..TIMES)
        .map(|_| {
            let began = Instant::now();
            act();
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[TIMES / 2]
}

/// mbsync's channel of that configuration.
pub fn mbsync() -> Program {
    Program::Mbsync {
        program: "mbsync".into(),
        target: Some("c".to_owned()),
        config: None,
        args: Vec::new(),
    }
}

/// What would be synced with that configuration.
pub fn order(home: &Path, program: Program) -> Order {
    let syncer = Syncer {
        environment: vec![format!("HOME={}", home.display()).into()],
        ..Syncer::new(program)
    };
    Order::new("bench", syncer, Scope::Everything)
}

/// Look, and find nothing.
pub fn look(order: &Order, folder: &Arc<Folder>) {
    let found = unpushed::look(order, std::slice::from_ref(folder));
    match found.as_slice() {
        [Unpushed::Known(differences)] => assert!(differences.is_empty(), "{differences:?}"),
        other => panic!("{other:?}"),
    }
}

fn measure(count: u32) -> Result<(), Box<dyn std::error::Error>> {
    let home = tempfile::tempdir()?;
    let home = home.path();
    let folder = folder(home, count)?;
    records(home, count)?;
    let offlineimap = Program::OfflineImap {
        program: "offlineimap".into(),
        account: "a".to_owned(),
        config: None,
        args: Vec::new(),
    };
    let readable = offlineimap.keeps_record();
    let names = median(|| {
        let names = unpushed::list(&folder.directory).expect("names");
        assert!(names.iter().count() >= count as usize);
    });
    let timed = |program| {
        let order = order(home, program);
        median(|| look(&order, &folder))
    };
    let offlineimap = if readable { timed(offlineimap) } else { 0.0 };
    let mbsync = timed(mbsync());
    println!("{count} {mbsync:.3} {offlineimap:.3} {names:.3}");
    Ok(())
}

pub fn main(counts: &[&str]) -> Result<(), String> {
    let given = counts.iter().map(|count| count.parse());
    let given: Result<Vec<u32>, _> = given.collect();
    let given = given.map_err(|_| "COUNT is a number".to_owned())?;
    let counts = if given.is_empty() {
        &COUNTS
    } else {
        given.as_slice()
    };
    for count in counts {
        measure(*count).map_err(|error| error.to_string())?;
    }
    Ok(())
}
