//! OfflineIMAP's own record of what both sides of a folder agree on (`LocalStatus-sqlite`, version 2, as
//! of offlineimap3 8.0).
//!
//! A SQLite database a folder, with a row for each message.  It is opened to be read, and not waited
//! for: while OfflineIMAP holds its lock nobody looks here.  What is not understood means that only
//! a sync can tell.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use md5::{Digest, Md5};
use rusqlite::{Connection, OpenFlags};

use super::super::unpushed::{Agreed, Unpushed, compare, list};
use crate::maildir::message::Flags;
use crate::maildir::{DiskFs, Fs, Stat};

/// The version of the database that is understood.
const VERSION: &str = "2";

/// The file with the record of a folder that OfflineIMAP calls so, below the account's metadata.
/// `separator` stands between the levels of that name.
pub fn file(metadata: &Path, local: &str, separator: &str) -> PathBuf {
    let levels = if separator.is_empty() {
        local.to_owned()
    } else {
        local.replace(separator, ".")
    };
    let name = match levels.replace('/', ".").as_str() {
        "" | "." => "dot".to_owned(),
        name => name.to_owned(),
    };
    metadata.join("LocalStatus-sqlite").join(name)
}

/// Compare a folder with its record; `names` are those that OfflineIMAP may call it by.
pub fn unpushed(folder: &Path, file: &Path, names: &[Vec<u8>]) -> Unpushed {
    let looked = look(folder, file, names);
    looked.unwrap_or_else(|error| Unpushed::Unknown(format!("{error:#}")))
}

fn look(folder: &Path, file: &Path, names: &[Vec<u8>]) -> Result<Unpushed> {
    let before = stat(file)?;
    // SQLite would wait for somebody who writes into a pipe.
    if !fs::metadata(file).is_ok_and(|it| it.is_file()) {
        bail!("reading {}: it is no regular file", file.display());
    }
    let agreed = read(file).with_context(|| format!("reading {}", file.display()))?;
    let marks: Vec<String> = names.iter().map(|name| mark(name)).collect();
    let listed = list(folder).with_context(|| format!("listing {}", folder.display()))?;
    // A run that came and went meanwhile has left another file.
    if stat(file)? != before {
        bail!("it was synced just now");
    }
    let home =
        |mark: Option<&[u8]>| mark.is_some_and(|mark| marks.iter().any(|it| it.as_bytes() == mark));
    Ok(Unpushed::Known(compare(&agreed, listed.iter(), home)))
}

/// By what the files of a folder with this name are marked.
fn mark(name: &[u8]) -> String {
    let sum = Md5::digest(name);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn stat(file: &Path) -> Result<Stat> {
    match DiskFs.stat(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("it was never synced"),
        stat => stat.with_context(|| format!("reading {}", file.display())),
    }
}

/// What is in the record of a folder.
///
/// # Errors
/// When it is none that is understood, or somebody writes it.
pub fn read(file: &Path) -> Result<Agreed> {
    refuse_log(file)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(file, flags)?;
    database.busy_timeout(Duration::ZERO)?;
    let version: String = database.query_row(
        "SELECT value FROM metadata WHERE key = 'db_version'",
        [],
        |row| row.get(0),
    )?;
    if version != VERSION {
        bail!("its version is {version}, not {VERSION}");
    }
    let mut rows = database.prepare("SELECT id, flags FROM status")?;
    let messages = rows.query_map([], |row| {
        let flags = row.get_ref(1)?.as_str()?;
        Ok((row.get::<_, u32>(0)?, Some(Flags::of(flags.as_bytes()))))
    })?;
    Ok(messages.collect::<Result<_, _>>()?)
}

/// Refuse a database with a write-ahead log, which OfflineIMAP has none of: even who only reads it puts
/// files beside it, and leaves them if it is damaged.
fn refuse_log(file: &Path) -> Result<()> {
    let mut header = Vec::new();
    File::open(file)?.take(20).read_to_end(&mut header)?;
    // Which format may write it, and which may read it (https://www.sqlite.org/fileformat2.html, 1.3.3).
    match header.get(18..20) {
        Some(formats) if formats.contains(&2) => bail!("it has a write-ahead log"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing;
    use super::*;

    #[test]
    fn records_have_names() {
        let table = [
            ("INBOX", "/", "INBOX"),
            ("a/b", "/", "a.b"),
            ("a.b", ".", "a.b"),
            ("a-b", "-", "a.b"),
            ("a", "", "a"),
            ("", "/", "dot"),
            (".", ".", "dot"),
        ];
        for (local, separator, name) in table {
            let expected = Path::new("/m/LocalStatus-sqlite").join(name);
            assert_eq!(file(Path::new("/m"), local, separator), expected, "{local}");
        }
    }

    /// What a folder with these files and such a record says.
    fn told(names: &[&str], record: &str, around: impl Fn(&Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        for part in ["new", "cur"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        for name in names {
            let name = name.replace("HERE", &mark(b"a/b"));
            fs::write(folder.join("cur").join(name), "").unwrap();
        }
        let file = dir.path().join("a.b");
        let database = Connection::open(&file).unwrap();
        database.execute_batch(record).unwrap();
        drop(database);
        around(dir.path());
        match unpushed(&folder, &file, &[b"x".to_vec(), b"a/b".to_vec()]) {
            Unpushed::Known(differences) => differences.len().to_string(),
            Unpushed::Unknown(text) | Unpushed::Untold(text) => {
                text.replace(&dir.path().display().to_string(), "DIR")
            }
        }
    }

    const TABLES: &str = "CREATE TABLE metadata (key VARCHAR(50) PRIMARY KEY, value VARCHAR(128));
        INSERT INTO metadata VALUES('db_version', '2');
        CREATE TABLE status (id INTEGER PRIMARY KEY, flags VARCHAR(50), mtime INTEGER,
                             labels VARCHAR(256));";

    #[test]
    fn folders_are_compared() {
        // files, rows, how many differences
        let table: [(&[&str], &str, &str); 9] = [
            (&[], "", "0"),
            (&["1_0.2.h,U=1,FMD5=HERE:2,S"], "(1, 'S', 0, '')", "0"),
            (&["1_0.2.h,U=1,FMD5=HERE"], "(1, '', 0, '')", "0"),
            (&["1_0.2.h,U=1,FMD5=HERE:2,S"], "(1, 'Sab', 0, 'x')", "0"),
            (&["1_0.2.h,U=1,FMD5=HERE:2,FS"], "(1, 'S', 0, '')", "1"),
            (
                &["1_0.2.h,U=1,FMD5=HERE:2,S"],
                "(1, 'S', 0, ''), (7, '', 0, '')",
                "1",
            ),
            (
                &["1_0.2.h,U=1,FMD5=HERE:2,S", "new"],
                "(1, 'S', 0, '')",
                "1",
            ),
            // without a mark, or with another folder's, it is new
            (&["1_0.2.h,U=1:2,S"], "(1, 'S', 0, '')", "2"),
            (&["1_0.2.h,U=1,FMD5=0123:2,S"], "(1, 'S', 0, '')", "2"),
        ];
        for (names, rows, expected) in table {
            let rows = match rows {
                "" => String::new(),
                rows => format!("INSERT INTO status VALUES {rows};"),
            };
            assert_eq!(
                told(names, &format!("{TABLES}{rows}"), |_| ()),
                expected,
                "{names:?} {rows}"
            );
        }
    }

    #[test]
    fn only_a_record_that_is_understood_tells() {
        let busy = |dir: &Path| {
            let database = Connection::open(dir.join("a.b")).unwrap();
            database.execute_batch("BEGIN EXCLUSIVE").unwrap();
            std::mem::forget(database);
        };
        let write =
            |bytes: &'static [u8]| move |dir: &Path| fs::write(dir.join("a.b"), bytes).unwrap();
        let pipe = |dir: &Path| {
            fs::remove_file(dir.join("a.b")).unwrap();
            testing::pipe(&dir.join("a.b")).unwrap();
        };
        let circle = |dir: &Path| {
            fs::remove_file(dir.join("a.b")).unwrap();
            std::os::unix::fs::symlink("a.b", dir.join("a.b")).unwrap();
        };
        // What a run that was killed leaves: the database is as it was before once that is undone.
        let journal = |dir: &Path| {
            let database = Connection::open(dir.join("a.b")).unwrap();
            database
                .execute_batch(
                    "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN;
                     WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n LIMIT 9999)
                     INSERT INTO status SELECT i, 'S', 0, '' FROM n;",
                )
                .unwrap();
            let copy = dir.join("copy");
            fs::copy(dir.join("a.b"), &copy).unwrap();
            fs::copy(dir.join("a.b-journal"), dir.join("copy-journal")).unwrap();
            drop(database);
            fs::rename(copy, dir.join("a.b")).unwrap();
            fs::rename(dir.join("copy-journal"), dir.join("a.b-journal")).unwrap();
        };
        type Row<'a> = (&'a str, &'a str, &'a dyn Fn(&Path));
        let table: [Row; 13] = [
            ("PRAGMA journal_mode = WAL; CREATE TABLE metadata (key, value);", "reading DIR/a.b: it has a write-ahead log", &|_| ()),
            (TABLES, "reading DIR/a.b: it is no regular file", &pipe),
            (TABLES, "reading DIR/a.b: Too many levels", &circle),
            (TABLES, "reading DIR/a.b: ", &journal),
            (TABLES, "it was never synced", &|dir| fs::remove_file(dir.join("a.b")).unwrap()),
            (TABLES, "reading DIR/a.b: file is not a database", &write(&[7; 4096])),
            (TABLES, "reading DIR/a.b: no such table: metadata", &write(b"")),
            (TABLES, "listing DIR/a/b: No such file or directory (os error 2)", &|dir| {
                fs::remove_dir(dir.join("a/b/new")).unwrap();
            }),
            (TABLES, "reading DIR/a.b: database is locked", &busy),
            (
                "CREATE TABLE metadata (key, value); INSERT INTO metadata VALUES('db_version', '3');",
                "reading DIR/a.b: its version is 3, not 2",
                &|_| (),
            ),
            (
                "CREATE TABLE metadata (key, value); INSERT INTO metadata VALUES('db_version', '2');",
                "reading DIR/a.b: no such table: status",
                &|_| (),
            ),
            (
                "CREATE TABLE metadata (key, value); INSERT INTO metadata VALUES('db_version', '2');
                 CREATE TABLE status (id, flags); INSERT INTO status VALUES ('x', 'S');",
                "reading DIR/a.b: Invalid column type Text at index: 0, name: id",
                &|_| (),
            ),
            (
                "CREATE TABLE metadata (key, value); INSERT INTO metadata VALUES('db_version', '2');
                 CREATE TABLE status (id, flags); INSERT INTO status VALUES (-1, 'S');",
                "reading DIR/a.b: Integer -1 out of range at index 0",
                &|_| (),
            ),
        ];
        for (record, expected, around) in table {
            let told = told(&[], record, around);
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
