//! Where the socket is, and who may be there: a directory that only its user can enter.
//!
//! The default is the directory of the locks ([`crate::syncer::lock`]), below the user's runtime
//! directory.  A socket that nobody serves is replaced, one that somebody serves is left alone, and
//! only what we have made is removed.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, Stat, chmodat, flock, fstat, mkdirat, open,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};

use crate::syncer::lock::directory::{DIRECTORY, candidates, directory};

/// The socket in the directory of the locks.
const NAME: &str = "listen";

/// How often to ask for the directory's lock, and how long to wait in between.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// Where the socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the directory of the locks, of which this is what `$XDG_RUNTIME_DIR` says.
    Runtime(Option<PathBuf>),
    /// There.
    File(PathBuf),
}

impl Place {
    /// The sockets that there may be, the likeliest first.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Place::File(file) => vec![file.clone()],
            Place::Runtime(runtime) => {
                let all = candidates(runtime.as_deref()).into_iter();
                let files = all.map(|it| it.path.join("mailsync").join(NAME));
                let mut files: Vec<_> = files.collect();
                files.dedup();
                files
            }
        }
    }
}

impl Place {
    /// Those of them that may come: not one in the directory of temporary files, where something
    /// happens all the time, as long as it is none of ours.
    #[must_use]
    pub fn awaited(&self) -> Vec<PathBuf> {
        let mut files = self.files();
        let there = |file: &PathBuf| {
            let runtime = file.parent().and_then(Path::parent);
            runtime.is_some_and(Path::is_dir)
        };
        if let Place::Runtime(_) = self
            && files.last().is_some_and(|last| !there(last))
            && files.iter().any(there)
        {
            files.pop();
        }
        files
    }
}

/// The directory of a socket, and what that is called there.
#[derive(Debug)]
pub struct Home {
    fd: OwnedFd,
    path: PathBuf,
    name: OsString,
}

/// What became of a socket that was to be served.
#[derive(Debug)]
pub enum Bound {
    /// It is served.
    Ours(UnixListener, Made),
    /// Somebody else does, whom this is connected to.
    Taken(UnixStream),
}

/// A socket that we have made.
#[derive(Debug)]
pub struct Made {
    stat: Stat,
}

/// Why no connection was made.
#[derive(Debug)]
pub enum Missing {
    /// Nobody serves such a socket.
    Nobody,
    /// It may be served, but not to us.
    Refused(anyhow::Error),
}

impl Home {
    /// The directory for a socket there, made if it is missing.
    ///
    /// # Errors
    /// When there is none that only we can enter.
    pub fn made(place: &Place) -> Result<Self> {
        match place {
            Place::Runtime(runtime) => {
                let directory = directory(&candidates(runtime.as_deref()))?;
                let home = Home {
                    fd: directory.fd,
                    path: directory.path,
                    name: NAME.into(),
                };
                home.verified()
            }
            Place::File(file) => {
                let path = parent(file)?;
                match mkdirat(CWD, path, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => {
                        return Err(error).with_context(|| format!("making {}", path.display()));
                    }
                }
                Self::at(file)
                    .with_context(|| format!("opening {}", path.display()))?
                    .verified()
            }
        }
    }

    /// The directory of this socket, whoever it belongs to.
    fn at(file: &Path) -> Result<Self> {
        let path = parent(file)?;
        let name = file.file_name().with_context(|| wrong(file))?;
        Ok(Home {
            fd: open(path, DIRECTORY, Mode::empty())?,
            path: path.to_owned(),
            name: name.to_owned(),
        })
    }

    /// It is a directory of ours: somebody else could have put a link to another socket there.
    fn owned(self) -> Result<Self> {
        let found = fstat(&self.fd)?;
        ensure!(
            found.st_uid == rustix::process::geteuid().as_raw(),
            "{} is not a directory of yours",
            self.path.display()
        );
        Ok(self)
    }

    /// Nobody else may enter it.
    fn verified(self) -> Result<Self> {
        let home = self.owned()?;
        let found = fstat(&home.fd)?;
        let path = home.path.display();
        let others = Mode::RWXG | Mode::RWXO;
        ensure!(
            !Mode::from_raw_mode(found.st_mode).intersects(others),
            "others may enter {path} (chmod go-rwx forbids it)"
        );
        Ok(home)
    }

    /// The whole name of the socket.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.path.join(&self.name)
    }

    /// A name by which the kernel finds a file here: it takes about a hundred bytes.
    fn address(&self, name: &OsStr) -> Result<PathBuf> {
        let fits = |path: &Path| SocketAddr::from_pathname(path).is_ok();
        let whole = self.path.join(name);
        if fits(&whole) {
            return Ok(whole);
        }
        let directory = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        let short = directory.join(name);
        if fits(&short) && directory.is_dir() {
            return Ok(short);
        }
        bail!(
            "the name {} is too long for a socket: choose a shorter one",
            self.file().display()
        )
    }

    fn stat(&self) -> Result<Option<Stat>> {
        match statat(&self.fd, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).with_context(|| self.file().display().to_string()),
        }
    }

    fn connect(&self) -> Result<UnixStream> {
        connect(&self.address(&self.name)?)
    }

    /// Serve the socket, unless somebody does.  Whatever `stop` becomes ready for ends the wait for
    /// another instance that is just about to.
    ///
    /// # Errors
    /// When something else is there, or the system refuses.
    pub fn bind(&self, stop: BorrowedFd<'_>) -> Result<Bound> {
        let _locked = Locked::lock(&self.fd, stop);
        if let Some(found) = self.stat()? {
            ensure!(
                FileType::from_raw_mode(found.st_mode) == FileType::Socket,
                "{} is there and is not a socket",
                self.file().display()
            );
            match self.connect() {
                Ok(other) => return Ok(Bound::Taken(other)),
                // Whoever has made it is gone.
                Err(error) if is(&error, Errno::CONNREFUSED) || is(&error, Errno::NOENT) => {}
                Err(error) => {
                    return Err(error.context(format!("trying {}", self.file().display())));
                }
            }
        }
        // Under another name until it is served: who waits for it shall not find it too early.
        let mut new = self.name.clone();
        new.push(format!(".{}", std::process::id()));
        let address = self.address(&new)?;
        let _ = unlinkat(&self.fd, &new, AtFlags::empty());
        let listener = UnixListener::bind(&address)
            .with_context(|| format!("making the socket {}", self.file().display()))?;
        let made = self.rename(&listener, &new);
        if made.is_err() {
            let _ = unlinkat(&self.fd, &new, AtFlags::empty());
        }
        Ok(Bound::Ours(listener, made?))
    }

    fn rename(&self, listener: &UnixListener, new: &OsStr) -> Result<Made> {
        let context = || format!("making the socket {}", self.file().display());
        listener.set_nonblocking(true).with_context(context)?;
        let mode = Mode::RUSR | Mode::WUSR;
        chmodat(&self.fd, new, mode, AtFlags::empty()).with_context(context)?;
        let stat = statat(&self.fd, new, AtFlags::SYMLINK_NOFOLLOW).with_context(context)?;
        renameat(&self.fd, new, &self.fd, &self.name).with_context(context)?;
        Ok(Made { stat })
    }

    /// Whether what is there is what we have made.
    #[must_use]
    pub fn has(&self, made: &Made) -> bool {
        // By its whole name, since the directory may be another one.
        let there = statat(CWD, self.file(), AtFlags::SYMLINK_NOFOLLOW);
        there.is_ok_and(|it| same(&it, &made.stat))
    }

    /// Remove what we have made, if it is still there.  It must still be served, so that nothing
    /// else has its number.
    pub fn remove(&self, made: &Made, stop: BorrowedFd<'_>) {
        let _locked = Locked::lock(&self.fd, stop);
        let found = statat(&self.fd, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|it| same(&it, &made.stat)) {
            let _ = unlinkat(&self.fd, &self.name, AtFlags::empty());
        }
    }
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn parent(file: &Path) -> Result<&Path> {
    let parent = file.parent().filter(|_| file.is_absolute());
    parent.with_context(|| wrong(file))
}

fn wrong(file: &Path) -> String {
    format!("{} is not the absolute name of a file", file.display())
}

fn is(error: &anyhow::Error, errno: Errno) -> bool {
    error.downcast_ref::<Errno>() == Some(&errno)
}

/// The directory's lock: of two who find that nobody serves the socket, one does then.
struct Locked<'a>(&'a OwnedFd);

impl<'a> Locked<'a> {
    /// It is had for moments only.  Where it cannot be had at all, nothing is lost but a race.
    fn lock(fd: &'a OwnedFd, stop: BorrowedFd<'_>) -> Option<Self> {
        for _ in 0..LOCK_TRIES {
            match flock(fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(Locked(fd)),
                Err(Errno::WOULDBLOCK) => super::vigil::pause(stop, LOCK_WAIT),
                Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

/// Connect without waiting, even where whoever serves the socket does not accept.
fn connect(address: &Path) -> Result<UnixStream> {
    let socket = socket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(address)?)?;
    Ok(UnixStream::from(socket))
}

/// A socket that does not wait, and that no child inherits.
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(feature = "portable")
))]
fn socket() -> rustix::io::Result<OwnedFd> {
    use rustix::net::{SocketFlags, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// A socket that does not wait, and that no child inherits, but for one that is forked just now.
#[cfg(any(
    not(any(target_os = "linux", target_os = "android")),
    feature = "portable"
))]
fn socket() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// So that a write to nobody is an error and no signal: where there is no such flag, our threads block
/// all signals anyway.
#[cfg(not(target_vendor = "apple"))]
pub const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// As elsewhere.
#[cfg(target_vendor = "apple")]
pub const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Connect to whoever serves one of these sockets, if that is the same user.
///
/// # Errors
/// When nobody does.
pub fn find(place: &Place) -> Result<UnixStream, Missing> {
    let mut missing = Missing::Nobody;
    for file in place.files() {
        let found = Home::at(&file).and_then(|home| Ok((home.connect()?, home)));
        match found {
            // Nothing was said to it yet.
            Ok((stream, home)) if is_ours(&stream) => match home.owned() {
                Ok(_) => return Ok(stream),
                Err(error) => missing = Missing::Refused(error),
            },
            Ok(_) => {
                let error = anyhow!("{} is served by another user", file.display());
                missing = Missing::Refused(error);
            }
            Err(error)
                if [Errno::NOENT, Errno::NOTDIR, Errno::CONNREFUSED]
                    .iter()
                    .any(|errno| is(&error, *errno)) => {}
            Err(error) => {
                let error = error.context(file.display().to_string());
                missing = Missing::Refused(error);
            }
        }
    }
    Err(missing)
}

/// Whether the other end is the same user's.
#[must_use]
pub fn is_ours(stream: impl AsFd) -> bool {
    peer(stream).is_some_and(|user| user == rustix::process::geteuid().as_raw())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn peer(stream: impl AsFd) -> Option<u32> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    Some(peer.uid.as_raw())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn peer(stream: impl AsFd) -> Option<u32> {
    let (user, _) = nix::unistd::getpeereid(stream).ok()?;
    Some(user.as_raw())
}

/// The number of the process at the other end, where the system says it.
#[must_use]
pub fn process(stream: impl AsFd) -> Option<u32> {
    #[cfg(all(
        any(target_os = "linux", target_os = "android"),
        not(feature = "portable")
    ))]
    {
        let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }
    #[cfg(any(
        not(any(target_os = "linux", target_os = "android")),
        feature = "portable"
    ))]
    {
        let _ = stream;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::io;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

    /// A directory for sockets, and a descriptor that never gets ready.
    struct Bench {
        directory: tempfile::TempDir,
        stop: io::PipeReader,
        _open: io::PipeWriter,
    }

    impl Bench {
        fn new() -> Self {
            let (stop, _open) = io::pipe().unwrap();
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
            Bench {
                directory,
                stop,
                _open,
            }
        }

        fn place(&self, name: &str) -> Place {
            Place::File(self.directory.path().join(name))
        }

        fn home(&self, name: &str) -> Home {
            Home::made(&self.place(name)).unwrap()
        }

        fn bind(&self, home: &Home) -> Result<Bound> {
            home.bind(self.stop.as_fd())
        }

        fn serve(&self, home: &Home) -> (UnixListener, Made) {
            match self.bind(home).unwrap() {
                Bound::Ours(listener, made) => (listener, made),
                Bound::Taken(_) => panic!("taken"),
            }
        }

        fn names(&self) -> usize {
            fs::read_dir(self.directory.path()).unwrap().count()
        }
    }

    // Security: S11.
    #[test]
    fn a_socket_is_private_and_goes() {
        let bench = Bench::new();
        let home = bench.home("s");
        let (listener, made) = bench.serve(&home);
        let found = fs::symlink_metadata(home.file()).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.mode() & 0o777, 0o600);
        assert!(home.has(&made));
        let stream = find(&bench.place("s")).unwrap();
        assert!(is_ours(&stream));
        let told = cfg!(all(
            any(target_os = "linux", target_os = "android"),
            not(feature = "portable")
        ));
        assert_eq!(process(&stream), told.then(std::process::id));
        home.remove(&made, bench.stop.as_fd());
        drop(listener);
        assert_eq!(bench.names(), 0);
        assert!(matches!(find(&bench.place("s")), Err(Missing::Nobody)));
    }

    #[test]
    fn a_stale_one_is_replaced_and_a_live_one_is_not() {
        let bench = Bench::new();
        let home = bench.home("s");
        let (listener, old) = bench.serve(&home);
        assert!(matches!(bench.bind(&home), Ok(Bound::Taken(_))));
        assert!(home.has(&old));
        drop(listener);
        assert!(matches!(find(&bench.place("s")), Err(Missing::Nobody)));
        let (_listener, new) = bench.serve(&home);
        assert!(home.has(&new) && !home.has(&old));
        // What somebody else has made is not ours to remove.
        home.remove(&old, bench.stop.as_fd());
        assert!(home.has(&new));
        fs::remove_file(home.file()).unwrap();
        fs::write(home.file(), "x").unwrap();
        home.remove(&new, bench.stop.as_fd());
        assert_eq!(bench.names(), 1);
        let error = bench.bind(&home).unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(fs::read(home.file()).unwrap(), b"x");
    }

    #[test]
    fn a_name_may_be_long() {
        let bench = Bench::new();
        let long = "d".repeat(150);
        let place = bench.place(&format!("{long}/socket"));
        let home = Home::made(&place).unwrap();
        let (_listener, made) = bench.serve(&home);
        assert!(find(&place).is_ok());
        home.remove(&made, bench.stop.as_fd());
        let longer = bench.home(&"e".repeat(150));
        let error = bench.bind(&longer).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
        assert_eq!(bench.names(), 1);
    }

    // Security: S12.
    #[test]
    fn the_directory_is_ours_alone() {
        let bench = Bench::new();
        let path = bench.directory.path().join("d");
        let place = bench.place("d/s");
        drop(Home::made(&place).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        for mode in [0o750, 0o705, 0o770, 0o711] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Home::made(&place).unwrap_err().to_string();
            assert!(error.contains("chmod go-rwx"), "{error}");
        }
        let relative = Home::made(&Place::File("s".into())).unwrap_err();
        assert!(relative.to_string().contains("absolute"), "{relative}");
        // Somebody else's, where one can be made so.
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            let error = Home::made(&place).unwrap_err().to_string();
            assert!(error.contains("not a directory of yours"), "{error}");
            // What a link of theirs leads to may be ours, and something else.
            let (_listener, _made) = bench.serve(&bench.home("other"));
            std::os::unix::fs::symlink(bench.directory.path().join("other"), path.join("s"))
                .unwrap();
            let found = find(&place);
            assert!(
                matches!(&found, Err(Missing::Refused(error))
                    if error.to_string().contains("not a directory of yours")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_default_is_below_the_runtime_directory() {
        let bench = Bench::new();
        let runtime = bench.directory.path().to_owned();
        let place = Place::Runtime(Some(runtime.clone()));
        let home = Home::made(&place).unwrap();
        assert_eq!(home.file(), runtime.join("mailsync/listen"));
        assert_eq!(place.files()[0], home.file());
        let user = rustix::process::geteuid().as_raw();
        let session = format!("/run/user/{user}/mailsync/listen");
        assert_eq!(Place::Runtime(None).files()[0], PathBuf::from(session));
    }
}
