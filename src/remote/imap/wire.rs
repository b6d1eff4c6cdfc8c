//! The way to a server: a socket, TLS over one, or a program that is connected to it.
//!
//! Nothing here waits for longer than it says, and whoever waits is woken when the connection is to end.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::Signal;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::tls::{self, Fingerprint};
use crate::ready;
use crate::remote::complaints::Complaints;
use crate::syncer::plan;
use crate::syncer::run::process::{self, Pipes, Process, Recipe};

/// An address has so long to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// So many addresses of a name are tried.
const MOST_ADDRESSES: usize = 4;
/// TLS has so long to begin, and the other end to take what is written.
const HANDSHAKE: Duration = Duration::from_secs(30);
const WRITE: Duration = Duration::from_secs(20);
/// A program has so long to end when it is told to.
const GRACE: Duration = Duration::from_secs(1);

/// When the kernel asks whether the other end lives, in seconds: after so long without a word, so often,
/// so many times.  That also keeps the ways through routers open.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
const IDLE: Duration = Duration::from_secs(75);
const INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;
/// What was sent and not acknowledged for so long means that it does not (longer than the above).
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: u32 = 120_000;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// At this host and port, with TLS from the beginning or not.
    Host(String, u16, bool),
    /// At the other end of this program.
    Tunnel {
        /// The program and its arguments.
        argv: Vec<OsString>,
        /// Where programs are.
        search: Vec<PathBuf>,
        /// Its whole environment.
        environment: Vec<OsString>,
    },
}

/// Says that a connection is to end, to whoever waits.
pub trait Stop {
    /// Becomes readable when there is something to look at.
    fn woken(&self) -> Option<BorrowedFd<'_>>;
    /// Whether it is to end.
    fn stops(&self) -> bool;
    /// It was looked at.
    fn look(&self);
}

/// Wait until this descriptor is ready; an error when it is too late, or all is to end.
fn wait(
    fd: BorrowedFd,
    flags: PollFlags,
    until: Instant,
    stop: &dyn Stop,
    what: &str,
) -> Result<()> {
    loop {
        if stop.stops() {
            bail!("mailsync ended it");
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("{what} takes too long");
        }
        let sources = [(Some(fd), flags), (stop.woken(), PollFlags::IN)];
        let [ready, woken] = ready::wait(sources, Some(left))?;
        if woken {
            stop.look();
        }
        if ready {
            return Ok(());
        }
    }
}

/// What there was to read.
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// None, for now.
    Nothing,
    /// It is over.
    End,
}

/// A connection.
pub enum Wire {
    /// A socket.
    Plain(TcpStream),
    /// TLS over one.
    Tls(Box<ClientConnection>, TcpStream),
    /// A program.
    Tunnel(Tunnel),
}

/// A program that is connected to a server.
pub struct Tunnel {
    process: Process,
    input: OwnedFd,
    output: OwnedFd,
    errors: Option<OwnedFd>,
    complaints: Complaints,
}

impl Wire {
    /// Connect.  Waits, though not for ever.
    ///
    /// # Errors
    /// When that cannot be done now; the text is for the user.
    pub fn open(way: &Way, pin: Option<Fingerprint>, stop: &dyn Stop) -> Result<Wire> {
        match way {
            Way::Host(host, port, secured) => {
                let wire = Wire::Plain(dial(host, *port, stop)?);
                if *secured {
                    wire.secure(host, pin, stop)
                } else {
                    Ok(wire)
                }
            }
            Way::Tunnel {
                argv,
                search,
                environment,
            } => Ok(Wire::Tunnel(tunnel(argv, search, environment)?)),
        }
    }

    /// Begin TLS.
    ///
    /// # Errors
    /// Where the server is not trusted, or does not go along.
    pub fn secure(self, host: &str, pin: Option<Fingerprint>, stop: &dyn Stop) -> Result<Wire> {
        let Wire::Plain(mut socket) = self else {
            bail!("TLS goes over a socket");
        };
        let name = ServerName::try_from(host.to_owned());
        let name = name.with_context(|| format!("\"{host}\" is no name of a server"))?;
        let mut tls = Box::new(ClientConnection::new(tls::config(pin)?, name).context("TLS")?);
        let until = Instant::now() + HANDSHAKE;
        let what = format!("TLS with {host}");
        // Our last word may be the last of all: the server waits for it.
        while tls.is_handshaking() || tls.wants_write() {
            if tls.wants_write() {
                match tls.write_tls(&mut socket) {
                    Ok(_) => {}
                    Err(error) if again(&error) => {
                        wait(socket.as_fd(), PollFlags::OUT, until, stop, &what)?;
                    }
                    Err(error) => return Err(error).context(what),
                }
                continue;
            }
            match tls.read_tls(&mut socket) {
                Ok(0) => bail!("{host} hung up in the middle of TLS; see :tls and :port"),
                Ok(_) => {
                    if let Err(error) = tls.process_new_packets() {
                        // The other end may be told why.
                        let _ = tls.write_tls(&mut socket);
                        return Err(refusal(host, &error));
                    }
                }
                Err(error) if again(&error) => {
                    wait(socket.as_fd(), PollFlags::IN, until, stop, &what)?;
                }
                Err(error) => return Err(error).context(what),
            }
        }
        Ok(Wire::Tls(tls, socket))
    }

    /// Becomes readable when there may be something to read.  Not for what TLS has read already: read
    /// until there is nothing.
    #[must_use]
    pub fn readable(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Plain(socket) | Wire::Tls(_, socket) => socket.as_fd(),
            Wire::Tunnel(tunnel) => tunnel.output.as_fd(),
        }
    }

    /// Becomes readable when the program complains.
    #[must_use]
    pub fn complains(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Wire::Tunnel(tunnel) => tunnel.errors.as_ref().map(AsFd::as_fd),
            _ => None,
        }
    }

    /// Read what there is, without waiting.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Got> {
        let read = match self {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(tls, socket) => read_tls(tls, socket, buffer),
            Wire::Tunnel(tunnel) => rustix::io::read(&tunnel.output, buffer).map_err(Into::into),
        };
        match read {
            Ok(0) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(error) if again(&error) => Ok(Got::Nothing),
            // Some servers end without saying so.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Got::End),
            Err(error) => Err(error).context("the connection broke"),
        }
    }

    /// Send all of it.  Waits, though not for ever.
    ///
    /// # Errors
    /// When the other end does not take it.
    pub fn send(&mut self, bytes: &[u8], stop: &dyn Stop) -> Result<()> {
        let until = Instant::now() + WRITE;
        let what = "sending to the server";
        match self {
            Wire::Plain(socket) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    match socket.write(rest) {
                        Ok(count) => rest = &rest[count..],
                        Err(error) if again(&error) => {
                            wait(socket.as_fd(), PollFlags::OUT, until, stop, what)?;
                        }
                        Err(error) => return Err(error).context("the connection broke"),
                    }
                }
            }
            Wire::Tls(tls, socket) => {
                tls.writer().write_all(bytes).context("TLS")?;
                while tls.wants_write() {
                    match tls.write_tls(socket) {
                        Ok(_) => {}
                        Err(error) if again(&error) => {
                            wait(socket.as_fd(), PollFlags::OUT, until, stop, what)?;
                        }
                        Err(error) => return Err(error).context("the connection broke"),
                    }
                }
            }
            Wire::Tunnel(tunnel) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    match rustix::io::write(&tunnel.input, rest) {
                        Ok(count) => rest = &rest[count..],
                        Err(Errno::INTR) => {}
                        Err(Errno::AGAIN) => {
                            wait(tunnel.input.as_fd(), PollFlags::OUT, until, stop, what)?;
                        }
                        Err(error) => return Err(error).context("the tunnel broke"),
                    }
                }
            }
        }
        Ok(())
    }

    /// Take in what the program complains of; gives lines for the log.
    pub fn listen(&mut self) -> Vec<String> {
        let Wire::Tunnel(tunnel) = self else {
            return Vec::new();
        };
        let mut buffer = [0; 4096];
        let Some(errors) = &tunnel.errors else {
            return Vec::new();
        };
        match rustix::io::read(errors, &mut buffer) {
            Ok(count @ 1..) => tunnel.complaints.push(Instant::now(), &buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => Vec::new(),
            Ok(0) | Err(_) => {
                tunnel.errors = None;
                Vec::new()
            }
        }
    }

    /// Whether the program that leads there was refused, or would have had to ask.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Wire::Tunnel(tunnel) if tunnel.complaints.denied())
    }

    /// What became of it, for the user, after it has ended.
    pub fn farewell(&mut self) -> String {
        let Wire::Tunnel(tunnel) = self else {
            return "the server closed the connection".to_owned();
        };
        // What it complained of last may not have been read.
        let mut reads = 0..16;
        while tunnel.errors.is_some() && reads.next().is_some() {
            let mut buffer = [0; 4096];
            match tunnel
                .errors
                .as_ref()
                .map(|it| rustix::io::read(it, &mut buffer))
            {
                Some(Ok(count @ 1..)) => {
                    tunnel.complaints.push(Instant::now(), &buffer[..count]);
                }
                _ => break,
            }
        }
        tunnel.complaints.finish(Instant::now());
        match tunnel.complaints.last() {
            "" => "the tunnel ended".to_owned(),
            said => format!("the tunnel ended: {said}"),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        process::kill(self.process.pid(), Signal::TERM);
        // It is killed and waited for after that.
        let sources = [(Some(self.process.over()), PollFlags::IN)];
        let _ = ready::wait(sources, Some(GRACE));
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn refusal(host: &str, error: &rustls::Error) -> anyhow::Error {
    match error {
        rustls::Error::General(text) => anyhow!("{host}: {text}"),
        rustls::Error::InvalidMessage(_) => {
            anyhow!("{host} does not speak TLS on this port; see :tls and :port")
        }
        other => anyhow!("TLS with {host}: {other}"),
    }
}

fn read_tls(
    tls: &mut ClientConnection,
    socket: &mut TcpStream,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
        if tls.read_tls(socket)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        if tls.wants_write() {
            // Of its own accord it answers little; what does not fit now goes with the next command.
            match tls.write_tls(socket) {
                Err(error) if !again(&error) => return Err(error),
                _ => {}
            }
        }
    }
}

/// Connect to a host by its name.
fn dial(host: &str, port: u16, stop: &dyn Stop) -> Result<TcpStream> {
    let addresses = (host, port).to_socket_addrs();
    let addresses = addresses.with_context(|| format!("cannot find {host}"))?;
    let mut last = anyhow!("{host} has no address");
    for address in addresses.take(MOST_ADDRESSES) {
        match dial_one(address, stop) {
            Ok(socket) => return Ok(socket),
            Err(_) if stop.stops() => bail!("mailsync ended it"),
            Err(error) => last = error,
        }
    }
    Err(last).with_context(|| format!("cannot connect to {host}, port {port}"))
}

fn dial_one(address: SocketAddr, stop: &dyn Stop) -> Result<TcpStream> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    let socket = process::waits_not(socket)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => {
            let until = Instant::now() + CONNECT;
            wait(socket.as_fd(), PollFlags::OUT, until, stop, "an answer")?;
            sockopt::socket_error(&socket)??;
        }
        Err(error) => return Err(error.into()),
    }
    keep_alive(&socket);
    Ok(TcpStream::from(socket))
}

/// Have the kernel find out that the other end is gone.  Where it cannot, the next command does.
fn keep_alive(socket: &OwnedFd) {
    let _ = sockopt::set_tcp_nodelay(socket, true);
    let _ = sockopt::set_socket_keepalive(socket, true);
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    let _ = sockopt::set_tcp_keepidle(socket, IDLE);
    let _ = sockopt::set_tcp_keepintvl(socket, INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(socket, PROBES);
    #[cfg(target_os = "linux")]
    let _ = sockopt::set_tcp_user_timeout(socket, UNACKNOWLEDGED);
}

fn tunnel(argv: &[OsString], search: &[PathBuf], environment: &[OsString]) -> Result<Tunnel> {
    let mut argv = argv.to_vec();
    if let Some(program) = argv.first_mut() {
        let found = plan::find(program, search, "correct :tunnel in :remote");
        *program = found
            .map_err(|refused| anyhow!(refused.text))?
            .into_os_string();
    }
    let recipe = Recipe {
        argv: &argv,
        environment,
        directory: None,
        feed: true,
        apart: true,
        keeps: &[],
    };
    let (process, pipes) = process::spawn(&recipe).map_err(|refused| anyhow!(refused.text))?;
    let Pipes {
        output,
        errors,
        input,
    } = pipes;
    Ok(Tunnel {
        process,
        input: input.context("a pipe to the tunnel")?,
        output,
        errors,
        complaints: Complaints::default(),
    })
}
