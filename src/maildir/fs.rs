//! The little of a file system that Maildirs are found with: names and stamps of directories.
//!
//! Not responsible for watching anything, and unable to open a message.  The real one is
//! [`DiskFs`]; tests put a model in its place, which can refuse what root is never refused.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawMode, fstat, openat, statat};
use rustix::io::Errno;

/// The file system as this room needs it: names and stamps only, never a message.
///
/// Every call may take as long as the file system likes (a dead NFS server: forever), so it
/// belongs on the worker of the root it is made for.
pub trait Fs: Send {
    /// The entries of a directory in any order, without `.` and `..`.
    ///
    /// # Errors
    /// What the system says; also when it says so only after some of the entries.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// A directory of which several things are asked, so that its path is walked once.  What has
    /// no such thing takes [`ByPath`].
    ///
    /// # Errors
    /// What the system says.
    fn open<'a>(&'a self, dir: &'a Path) -> io::Result<Box<dyn Opened + 'a>>;

    /// What a path leads to; symbolic links are followed.
    ///
    /// # Errors
    /// What the system says; `NotFound` for a link that leads nowhere.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// The absolute path without symbolic links that a path leads to.
    ///
    /// # Errors
    /// What the system says; `NotFound` for a link that leads nowhere.
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf>;

    /// Where a symbolic link points, as it is written in it.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` for what is there and is no link.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// Whether the file system at this path may be changed without this machine's kernel knowing.
    ///
    /// # Errors
    /// What the system says.
    fn remote(&self, path: &Path) -> io::Result<bool>;

    /// The wall clock, in which the system stamps files.
    fn now(&self) -> Wall;
}

/// A directory that is open.  It stays the same one whatever is at its path by now.
pub trait Opened {
    /// Which one it is.
    ///
    /// # Errors
    /// What the system says.
    fn id(&self) -> io::Result<FileId>;

    /// Its entries, as [`Fs::list`] has them.
    ///
    /// # Errors
    /// What the system says.
    fn list(&mut self) -> io::Result<Vec<Entry>>;

    /// What an entry of it leads to, as [`Fs::stat`] has it.
    ///
    /// # Errors
    /// What the system says.
    fn stat(&self, name: &str) -> io::Result<Stat>;
}

/// A directory that is looked for anew with each question.
pub struct ByPath<'a>(pub &'a dyn Fs, pub &'a Path);

impl Opened for ByPath<'_> {
    fn id(&self) -> io::Result<FileId> {
        Ok(self.0.stat(self.1)?.id)
    }

    fn list(&mut self) -> io::Result<Vec<Entry>> {
        self.0.list(self.1)
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        self.0.stat(&self.1.join(name))
    }
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: any bytes but `/` and NUL.
    pub name: OsString,
    /// What it is, as far as a listing tells.
    pub kind: EntryKind,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A symbolic link, to whatever.
    Symlink,
    /// Anything else.
    Other,
}

/// What identifies a file on this machine while it exists; a later file may get the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The inode on it.
    pub ino: u64,
}

impl FileId {
    /// The identity of no file.
    pub const NONE: FileId = FileId { dev: 0, ino: 0 };
}

/// A moment of the wall clock, which may be set, back as well as forth.
///
/// Twelve bytes and not sixteen: there are eight a folder.
#[repr(Rust, packed(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wall {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub secs: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanos: u32,
}

/// How long a time must lie in the past, in seconds, before it proves that nothing else happened
/// at it: the coarsest clock that a file system in use stamps with (FAT).
const TICK_SECS: i64 = 2;

impl Wall {
    /// Whether this moment is over at `now`, by any file system's clock: what has not been
    /// stamped with it by then never will be.
    #[must_use]
    pub fn rested(self, now: Wall) -> bool {
        let until = self.secs.checked_add(TICK_SECS);
        until.is_some_and(|secs| Wall { secs, ..self } <= now)
    }
}

/// What the system knows about a file, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which file it is.
    pub id: FileId,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its size in bytes; of a directory whatever the file system makes of it.
    pub size: u64,
    /// When its contents (of a directory: its entries) changed last.
    pub mtime: Wall,
    /// When its contents or attributes changed last.
    pub ctime: Wall,
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFs;

impl Fs for DiskFs {
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.open(dir)?.list()
    }

    fn open<'a>(&'a self, dir: &'a Path) -> io::Result<Box<dyn Opened + 'a>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, dir, flags, Mode::empty())?;
        #[cfg(any(not(target_os = "linux"), feature = "portable"))]
        let opened = rustix::fs::Dir::new(opened)?;
        Ok(Box::new(Descriptor(opened)))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(told(&statat(CWD, path, AtFlags::empty())?))
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::read_link(path)
    }

    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    fn remote(&self, path: &Path) -> io::Result<bool> {
        let kind = rustix::fs::statfs(path)?.f_type;
        // A signed or an unsigned word, and a long one or not: the magic number is its last half.
        Ok(REMOTE.contains(&(kind as u32)))
    }

    #[cfg(any(not(target_os = "linux"), feature = "portable"))]
    fn remote(&self, _path: &Path) -> io::Result<bool> {
        // What does not tell its changes there can be given a `:poll`.
        Ok(false)
    }

    fn now(&self) -> Wall {
        since_1970(SystemTime::now())
    }
}

/// A directory of the real file system.
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
struct Descriptor(rustix::fs::Dir);

#[cfg(any(not(target_os = "linux"), feature = "portable"))]
impl Descriptor {
    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.0.fd()?)
    }

    fn read(&mut self, entries: &mut Vec<Entry>) -> io::Result<()> {
        while let Some(found) = self.0.read() {
            let found = found?;
            entries.extend(entry(self.0.fd()?, found.file_name(), found.file_type())?);
        }
        Ok(())
    }
}

/// The same, read by getdents64(2) itself: `Dir` allocates twice for each directory, and once for each
/// entry, and most directories have a handful.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
struct Descriptor(OwnedFd);

#[cfg(all(target_os = "linux", not(feature = "portable")))]
impl Descriptor {
    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.0.as_fd())
    }

    fn read(&mut self, entries: &mut Vec<Entry>) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); AT_ONCE];
        let mut directory = rustix::fs::RawDir::new(&self.0, &mut buffer);
        while let Some(found) = directory.next() {
            match found {
                Ok(found) => {
                    entries.extend(entry(self.0.as_fd(), found.file_name(), found.file_type())?);
                }
                Err(Errno::INTR) => {}
                // It was removed, and so it has none.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What of a directory is read at once, in bytes: some hundred entries.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
const AT_ONCE: usize = 8 * 1024;

/// What a directory says of an entry; nothing of itself and of what it is in, and of what is gone.
fn entry(directory: BorrowedFd<'_>, name: &CStr, kind: FileType) -> io::Result<Option<Entry>> {
    if matches!(name.to_bytes(), b"." | b"..") {
        return Ok(None);
    }
    // Costs no system call where the file system fills in d_type, one lstat elsewhere.
    let kind = match kind {
        FileType::Unknown => match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode as RawMode),
            // That lstat came too late.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
        kind => kind,
    };
    Ok(Some(Entry {
        name: OsStr::from_bytes(name.to_bytes()).to_owned(),
        kind: match kind {
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            _ => EntryKind::Other,
        },
    }))
}

impl Opened for Descriptor {
    fn id(&self) -> io::Result<FileId> {
        Ok(told(&fstat(self.fd()?)?).id)
    }

    fn list(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.read(&mut entries)?;
        Ok(entries)
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        Ok(told(&statat(self.fd()?, name, AtFlags::empty())?))
    }
}

/// File systems on which others can write behind this kernel's back, by the magic numbers of
/// statfs(2) and `linux/magic.h`.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
const REMOTE: [u32; 14] = [
    0x0000_6969, // NFS
    0x0000_517b, // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2 and 3
    0x6573_5546, // FUSE: sshfs, davfs2, rclone, and local ones that nobody can tell from those
    0x0102_1997, // 9p: virtual machines, WSL
    0x786f_4256, // VirtualBox's shared folders
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x6b41_4653, // AFS, the kernel's own
    0x7375_7245, // Coda
    0x0bd0_0bd0, // Lustre
    0x0116_1970, // GFS2
    0x7461_636f, // OCFS2
];

/// A clock before 1970 (a board without a battery) is as good as 1970: everything is then stamped
/// in the future, hence in doubt.
fn since_1970(time: SystemTime) -> Wall {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall {
        secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}

/// What the system told, whose types differ from one to the other.
#[allow(clippy::unnecessary_cast)]
fn told(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        id: FileId {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
        },
        is_dir: FileType::from_raw_mode(stat.st_mode as RawMode) == FileType::Directory,
        size: stat.st_size as u64,
        mtime: wall(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: wall(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

fn wall(secs: i64, nanos: i64) -> Wall {
    Wall {
        secs,
        nanos: u32::try_from(nanos).unwrap_or_default(),
    }
}
