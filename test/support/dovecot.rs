//! A Dovecot of a test's own, and what its users need.
#![allow(dead_code)] // each test target uses its part

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::{env, fs, io};

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

/// A port where nobody listens.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The server of all tests.  It ends when this process does, however that comes about.
pub struct Server {
    /// Its files, of which `mail/USER` is a user's.
    pub directory: PathBuf,
    /// Where it listens, without TLS.
    pub port: u16,
    _lifeline: ChildStdin,
}

impl Server {
    /// Start one.
    pub fn start() -> io::Result<Self> {
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
        let port = free_port()?;
        let started = Command::new("sh")
            .arg(fixture("sync-dovecot.sh"))
            .arg("start")
            .arg(&directory)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        assert!(started.success(), "no Dovecot: {started}");
        Ok(Server {
            directory,
            port,
            _lifeline: lifeline,
        })
    }
}
