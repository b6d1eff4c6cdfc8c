//! How long it takes to see what of a folder is not pushed: numbers for sync.py.
//!
//! For each count of messages, milliseconds: by mbsync's record, by OfflineIMAP's (0 where there is no
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

fn folder(home: &Path, count: u32) -> io::Result<Arc<Folder>> {
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
fn records(home: &Path, count: u32) -> Result<(), Box<dyn std::error::Error>> {
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

fn look(home: &Path, program: Program, folder: &Arc<Folder>) -> f64 {
    let syncer = Syncer {
        environment: vec![format!("HOME={}", home.display()).into()],
        ..Syncer::new(program)
    };
    let order = Order::new("bench", syncer, Scope::Everything);
    median(|| {
        let found = unpushed::look(&order, std::slice::from_ref(folder));
        match found.as_slice() {
            [Unpushed::Known(differences)] => assert!(differences.is_empty(), "{differences:?}"),
            other => panic!("{other:?}"),
        }
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for count in COUNTS {
        let home = tempfile::tempdir()?;
        let home = home.path();
        let folder = folder(home, count)?;
        records(home, count)?;
        let mbsync = Program::Mbsync {
            program: "mbsync".into(),
            target: Some("c".to_owned()),
            config: None,
            args: Vec::new(),
        };
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
        let offlineimap = if readable {
            look(home, offlineimap, &folder)
        } else {
            0.0
        };
        let mbsync = look(home, mbsync, &folder);
        println!("{count} {mbsync:.2} {offlineimap:.2} {names:.2}");
    }
    Ok(())
}
