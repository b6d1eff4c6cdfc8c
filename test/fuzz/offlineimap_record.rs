//! OfflineIMAP's record of a folder (`syncer::offlineimap::read_record`), which is a database of SQLite's.

use std::fs;

use mailsync_module::maildir::message::Flags;
use mailsync_module::syncer::offlineimap::read_record;
use rusqlite::Connection;

use crate::fuzzing::{Stock, each, only};

const WORDS: [&[u8]; 12] = [
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x0d",
    b"\x05",
    b"\x02",
    b"SQLite format 3\0",
    b"db_version",
    b"status",
    b"id INTEGER PRIMARY KEY",
    b"FRST",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80",
];

/// The samples are what makes databases.
fn databases() -> Stock {
    let mut stock = Stock::of("offlineimap_record", &WORDS);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("database");
    for sample in &mut stock.samples {
        let database = Connection::open(&file).unwrap();
        database
            .execute_batch(str::from_utf8(sample).unwrap())
            .unwrap();
        drop(database);
        *sample = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
    }
    stock
}

#[test]
fn offlineimap_record() {
    let stock = databases();
    // A disk would be the slowest of all.
    let memory = std::path::Path::new("/dev/shm");
    let place = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let place = place.unwrap();
    let file = place.path().join("a.b");
    let mut read = 0_u64;
    each("offlineimap_record", 2_000, |chance| {
        let mut bytes = chance.choose(&stock.samples).clone();
        for _ in 0..chance.index(5) {
            match chance.index(6) {
                0 => stock.damage(chance, &mut bytes),
                // Where it is never what was written, it has to be right at once; the headers decide most.
                1 | 2 => {
                    let page = chance.index(bytes.len() / 512 + 1) * 512;
                    let at = (page + chance.index(110)).min(bytes.len() - 1);
                    bytes[at] = chance.below(256) as u8;
                }
                _ => {
                    let at = chance.index(bytes.len().max(1));
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << chance.index(8);
                    }
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        fs::write(&file, &bytes).unwrap();
        let found = read_record(&file);
        if only().is_some() {
            println!("{found:?}");
        }
        if let Ok(agreed) = &found {
            // A row has some bytes.
            assert!(agreed.len() <= bytes.len() / 4, "{} messages", agreed.len());
            assert!(
                agreed
                    .iter()
                    .all(|(_, flags)| flags.is_some_and(|it| Flags::all().contains(it)))
            );
            read += 1;
        }
        // It was looked at, and nothing else.
        assert_eq!(fs::read(&file).unwrap(), bytes);
        let names: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(names, ["a.b"], "something was left there");
    });
    assert!(
        only().is_some() || read > 100,
        "only {read} were understood"
    );
}
