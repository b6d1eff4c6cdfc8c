//! Whether a server takes a connection.  Nothing is said to it.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::fields;
use super::findings;

/// How long to wait for all addresses of a server together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Try it.
pub fn examine(host: &str, port: u16) -> Vec<Vec<u8>> {
    let began = Instant::now();
    let reached = connect(host, port, began + PATIENCE);
    let took = began.elapsed();
    let reached = reached.map(|()| took).map_err(|error| error.to_string());
    fields(vec![findings::reached(host, port, reached)])
}

fn connect(host: &str, port: u16, end: Instant) -> io::Result<()> {
    // May wait for a name server, for as long as the resolver does: this is a thread of its own.
    let addresses = (host, port).to_socket_addrs()?;
    let mut last = io::Error::other("it has no address");
    for address in addresses {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
