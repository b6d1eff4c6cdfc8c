//! Discovery and comparison on the real file system: what the model in `src/maildir` cannot prove.
//!
//! `cargo test --release --test maildir -- --ignored --nocapture` measures the cost of a look.

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mailsync_module::maildir::{
    ByPath, Clock, DiskFs, Entry, EntryKind, FileId, Fs, Layout, Opened, RootError, Scan, Stamp,
    absorb, canonical, diff, directory, discover,
};
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn Error>>;

fn maildir(path: &Path) -> io::Result<()> {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(part))?;
    }
    Ok(())
}

/// A root with maildirs in these directories ("" is the root itself).
fn tree(folders: &[&str]) -> io::Result<TempDir> {
    let root = tempfile::tempdir()?;
    for folder in folders {
        maildir(&root.path().join(folder))?;
    }
    Ok(root)
}

fn look(root: &Path, layout: Layout) -> Result<Scan, RootError> {
    discover(&DiskFs, root, layout, &[])
}

fn here(_: FileId) -> Clock {
    Clock::Here
}

fn names(scan: &Scan) -> Vec<String> {
    let folders = scan.folders.iter();
    folders
        .map(|folder| String::from_utf8_lossy(&folder.name).into_owned())
        .collect()
}

#[test]
fn layouts_and_mixtures() -> Outcome {
    let folders = [
        "",
        ".Sent",
        ".lists.emacs",
        ".nnmaildir",
        "work/a.b",
        "work/.c/.d",
        "work/.nnmaildir",
    ];
    let root = tree(&folders)?;
    fs::write(root.path().join("dovecot-uidlist"), "3 V1 N1\n")?;
    fs::write(root.path().join("cur/1:2,S"), "")?;
    fs::create_dir(root.path().join(".bare"))?;
    let table: [(Layout, &[&str], &[&str]); 3] = [
        (
            Layout::Auto,
            &["INBOX", "Sent", "lists/emacs", "work/a.b", "work/c/d"],
            &["", ".bare", "work", "work/.c", "work/.c/.d", "work/a.b"],
        ),
        (
            Layout::MaildirPlusPlus,
            &["INBOX", "Sent", "lists/emacs"],
            &["", ".bare"],
        ),
        (
            Layout::Nested,
            &["INBOX", "work/a.b"],
            &["", "work", "work/a.b"],
        ),
    ];
    for (layout, expected, watched) in table {
        let scan = look(root.path(), layout)?;
        assert_eq!(names(&scan), expected, "{layout:?}");
        let real_root = fs::canonicalize(root.path())?;
        assert_eq!(scan.real_root, real_root);
        let containers: Vec<_> = scan.containers.iter().map(|it| &*it.real).collect();
        let watched: Vec<_> = watched.iter().map(|it| real_root.join(it)).collect();
        assert_eq!(containers, watched);
        for container in &scan.containers {
            assert_eq!(DiskFs.stat(&container.real)?.id, container.id);
        }
        for folder in &scan.folders {
            assert!(folder.directory.starts_with(root.path()));
            assert_eq!(*folder.real, *fs::canonicalize(&folder.directory)?);
            let cur = DiskFs.stat(&folder.real.join("cur"))?;
            assert_eq!(folder.cur, Stamp::new(&cur, folder.cur.taken));
        }
        assert_eq!(scan.problems, []);
        let again = look(root.path(), layout)?;
        assert!(
            again
                .folders
                .iter()
                .map(|it| &it.real)
                .eq(scan.folders.iter().map(|it| &it.real))
        );
    }
    Ok(())
}

#[test]
fn any_name_is_found_and_survives() -> Outcome {
    let long = [b'x'; 255];
    let entries: [&[u8]; 12] = [
        b"a b",
        b"a\nb",
        b"\"quoted\"",
        b"it's",
        b"%s%n%d",
        b"back\\slash",
        b"$(rm -rf x);`x`",
        b"-rf",
        b"\xff\xfe\xe9",
        "Entwürfe".as_bytes(),
        b"Entw&APw-rfe",
        &long,
    ];
    let root = tempfile::tempdir()?;
    for entry in entries {
        maildir(&root.path().join(OsStr::from_bytes(entry)))?;
    }
    let scan = look(root.path(), Layout::Nested)?;
    assert_eq!(scan.folders.len(), entries.len());
    for folder in &scan.folders {
        let entry = folder.directory.file_name().ok_or("no name")?;
        assert!(entries.contains(&entry.as_bytes()));
        assert_eq!(*folder.name, canonical(b"", entry));
    }
    Ok(())
}

#[test]
fn a_folder_made_by_name_is_found_by_name() -> Outcome {
    let wanted: [&[u8]; 8] = [
        b"INBOX",
        b"a/b",
        "R&D/Entwürfe/日本語".as_bytes(),
        "💌".as_bytes(),
        b"\xff/a",
        b"new lines\n/a",
        b"lists/%s \"x\"",
        b"INBOX/sub",
    ];
    for layout in [Layout::MaildirPlusPlus, Layout::Nested] {
        let root = tempfile::tempdir()?;
        for name in wanted {
            let place = directory(name, layout).ok_or("no place")?;
            maildir(&root.path().join(place))?;
        }
        for how in [layout, Layout::Auto] {
            let scan = look(root.path(), how)?;
            let mut found: Vec<&[u8]> = scan.folders.iter().map(|it| &it.name[..]).collect();
            let mut expected = wanted;
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{layout:?} as {how:?}");
        }
    }
    Ok(())
}

#[test]
fn links_and_cycles() -> Outcome {
    let elsewhere = tree(&["far", "far/below"])?;
    let root = tree(&["", "a", ".plus"])?;
    let at = |path: &str| root.path().join(path);
    symlink(elsewhere.path().join("far"), at("0far"))?;
    symlink("..", at("a/up"))?;
    symlink(".", at("self"))?;
    symlink("loop", at("loop"))?;
    symlink("/", at("everything"))?;
    symlink("nowhere", at("dangling"))?;
    symlink("a", at("0same"))?;
    symlink(".plus", at("0plus"))?;
    symlink(root.path(), elsewhere.path().join("far/back"))?;
    let scan = look(root.path(), Layout::Auto)?;
    assert_eq!(names(&scan), ["0far", "0far/below", "INBOX", "a", "plus"]);
    let far = fs::canonicalize(elsewhere.path())?.join("far");
    let reals: Vec<_> = scan.folders.iter().map(|it| it.real.clone()).collect();
    assert_eq!(*reals[0], *far);
    assert_eq!(*reals[1], *far.join("below"));
    assert_eq!(*scan.folders[1].directory, *at("0far/below"));
    let problems: Vec<_> = scan.problems.iter().map(|it| &it.path).collect();
    assert_eq!(problems, [&at("loop")]);
    Ok(())
}

#[test]
fn a_root_below_another_is_its_own() -> Outcome {
    let root = tree(&["", "work", "work/a", "workshop"])?;
    let work = fs::canonicalize(root.path().join("work"))?;
    let exclude = [work.clone(), fs::canonicalize(root.path())?];
    let outer = discover(&DiskFs, root.path(), Layout::Auto, &exclude)?;
    assert_eq!(names(&outer), ["INBOX", "workshop"]);
    let inner = discover(&DiskFs, &work, Layout::Auto, &exclude)?;
    assert_eq!(names(&inner), ["INBOX", "a"]);
    Ok(())
}

#[test]
fn roots_that_are_none() -> Outcome {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    fs::write(&file, "")?;
    let missing = dir.path().join("missing");
    let table = [(&file, "is not a directory"), (&missing, "there is no")];
    for (path, words) in table {
        let error = look(path, Layout::Auto).err().ok_or("found")?;
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(
        matches!(look(&file, Layout::Auto), Err(RootError::NotADirectory(path)) if path == file)
    );
    assert!(
        matches!(look(&missing, Layout::Auto), Err(RootError::Missing(path)) if path == missing)
    );
    Ok(())
}

#[test]
fn an_unreadable_directory_is_a_problem_and_no_deletion() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let root = tree(&["a", "b"])?;
    let mut known = HashMap::new();
    let scan = look(root.path(), Layout::Auto)?;
    let delta = diff(&known, &scan, here);
    absorb(&mut known, &scan, &delta);
    let shut = root.path().join("a");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000))?;
    let scan = look(root.path(), Layout::Auto)?;
    let refused = fs::read_dir(&shut).is_err();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o755))?;
    // Nothing is refused to root; the model's tests stand in for that.
    if refused {
        assert_eq!(names(&scan), ["b"]);
        assert_eq!(scan.problems.len(), 1);
        assert!(diff(&known, &scan, here).deleted.is_empty());
    }
    Ok(())
}

/// The real file system, ten seconds later: everything has rested for long enough.
struct Rested;

impl Fs for Rested {
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        DiskFs.list(dir)
    }
    fn open<'a>(&'a self, dir: &'a Path) -> io::Result<Box<dyn Opened + 'a>> {
        Ok(Box::new(ByPath(self, dir)))
    }
    fn stat(&self, path: &Path) -> io::Result<mailsync_module::maildir::Stat> {
        DiskFs.stat(path)
    }
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        DiskFs.canonicalize(path)
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        DiskFs.read_link(path)
    }
    fn remote(&self, path: &Path) -> io::Result<bool> {
        DiskFs.remote(path)
    }
    fn now(&self) -> mailsync_module::maildir::Wall {
        let mut now = DiskFs.now();
        now.secs += 10;
        now
    }
}

#[test]
fn what_happens_to_messages_shows_in_the_stamps() -> Outcome {
    let root = tree(&["", ".a", ".b"])?;
    let real = fs::canonicalize(root.path())?;
    let at = |path: &str| real.join(path);
    let mut known = HashMap::new();
    let mut step = |expected: &[&str]| -> Outcome {
        let scan = discover(&Rested, root.path(), Layout::Auto, &[])?;
        let delta = diff(&known, &scan, here);
        absorb(&mut known, &scan, &delta);
        let mut found = delta.changed;
        found.extend(delta.created.iter().map(|it| it.real.clone()));
        found.extend(delta.deleted);
        let expected: Vec<_> = expected.iter().map(|it| real.join(it).into()).collect();
        assert_eq!(found, expected);
        // Kernels before 6.13 stamp by a clock that ticks up to every 10 ms.
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    };
    step(&["", ".a", ".b"])?;
    step(&[])?;
    fs::write(at(".a/tmp/1"), "")?;
    step(&[])?;
    fs::rename(at(".a/tmp/1"), at(".a/new/1"))?;
    step(&[".a"])?;
    fs::rename(at(".a/new/1"), at(".a/cur/1:2,"))?;
    step(&[".a"])?;
    fs::rename(at(".a/cur/1:2,"), at(".a/cur/1:2,S"))?;
    step(&[".a"])?;
    fs::rename(at(".a/cur/1:2,S"), at("new/1"))?;
    step(&["", ".a"])?;
    fs::remove_file(at("new/1"))?;
    step(&[""])?;
    fs::write(at("dovecot-uidlist"), "")?;
    step(&[])?;
    fs::rename(at(".b"), at(".c"))?;
    step(&[".c", ".b"])?;
    fs::remove_dir_all(at(".c"))?;
    step(&[".c"])?;
    step(&[])
}

#[test]
fn listings_tell_kinds_and_clocks_agree() -> Outcome {
    let root = tempfile::tempdir()?;
    fs::create_dir(root.path().join("directory"))?;
    fs::write(root.path().join("file"), "")?;
    symlink("directory", root.path().join("link"))?;
    let mut entries = DiskFs.list(root.path())?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let kinds: Vec<_> = entries.iter().map(|it| it.kind).collect();
    assert_eq!(
        kinds,
        [EntryKind::Directory, EntryKind::Other, EntryKind::Symlink]
    );
    assert!(DiskFs.stat(&root.path().join("link"))?.is_dir);
    // What was written just now was not written long ago, nor later than now and a tick.
    let (now, mtime) = (DiskFs.now(), DiskFs.stat(root.path())?.mtime);
    assert!((now.secs - mtime.secs).abs() <= 5, "{now:?} {mtime:?}");
    Ok(())
}

#[test]
#[ignore = "a measurement"]
fn cost() -> Outcome {
    const FOLDERS: usize = 3_000;
    const MESSAGES: usize = 60;
    for layout in [Layout::Nested, Layout::MaildirPlusPlus] {
        let root = tempfile::tempdir()?;
        for folder in 0..FOLDERS {
            let path = match layout {
                Layout::MaildirPlusPlus => format!(".list{}.folder{folder}", folder % 30),
                _ => format!("list{}/folder{folder}", folder % 30),
            };
            let path = root.path().join(path);
            maildir(&path)?;
            for message in 0..MESSAGES {
                let part = if message % 10 == 0 { "new" } else { "cur" };
                fs::write(path.join(part).join(format!("{message}.host:2,S")), "")?;
            }
        }
        for how in [layout, Layout::Auto] {
            let mut times = Vec::new();
            let mut known = HashMap::new();
            let mut compared = Duration::ZERO;
            for _ in 0..21 {
                let start = Instant::now();
                let scan = discover(&Rested, root.path(), how, &[])?;
                times.push(start.elapsed());
                assert_eq!(scan.folders.len(), FOLDERS);
                let start = Instant::now();
                let delta = diff(&known, &scan, here);
                compared = start.elapsed();
                absorb(&mut known, &scan, &delta);
            }
            times.sort();
            println!(
                "{layout:?} as {how:?}: {FOLDERS} folders, {} messages: discover {:?} (best {:?}), \
                 diff {compared:?}",
                FOLDERS * MESSAGES,
                times[times.len() / 2],
                times[0],
            );
        }
    }
    Ok(())
}
