//! What Emacs serves, and programs that are none: they never read, send rubbish, are too many, or are
//! somebody else's.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use mailsync_module::change::Kinds;
use mailsync_module::listen::place::Place as Socket;
use mailsync_module::listen::server::{MOST_CLIENTS, Server};
use mailsync_module::listen::wire::{ATTACH, HELLO, Reader};
use mailsync_module::listen::{Listener, Spot, Told};
use mailsync_module::threads;

use crate::support::{self, LONG};
use crate::{Place, program, text};

/// What it serves, with what it has put into the log.
struct Served {
    server: Server,
    log: Receiver<(&'static str, String)>,
}

impl Served {
    fn start(place: &Place) -> Self {
        let served = Self::beginning(place);
        let (level, text) = served.said();
        assert!(text.starts_with("listening at"), "{level}: {text}");
        served
    }

    fn beginning(place: &Place) -> Self {
        let (tell, log) = channel();
        let log_it = move |level, text| drop(tell.send((level, text)));
        let socket = Socket::File(place.socket.clone());
        let (server, _) = Server::start(socket, log_it).unwrap();
        Served { server, log }
    }

    fn said(&self) -> (&'static str, String) {
        self.log.recv_timeout(LONG).unwrap()
    }
}

/// A program: its connection, and what it was told.
struct Client {
    stream: UnixStream,
    reader: Reader,
    told: Vec<Told>,
}

impl Client {
    fn connect(place: &Place) -> Self {
        let stream = UnixStream::connect(&place.socket).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Client {
            stream,
            reader: Reader::default(),
            told: Vec::new(),
        }
    }

    /// Attach, and wait until that is done.
    fn attach(place: &Place) -> Self {
        let mut client = Self::connect(place);
        client.stream.write_all(ATTACH).unwrap();
        assert!(matches!(client.next(), Told::Roots(_)));
        client
    }

    fn next(&mut self) -> Told {
        while self.told.is_empty() {
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "it hung up");
            self.told = self.reader.push(&bytes[..count]).unwrap();
        }
        self.told.remove(0)
    }

    /// Wait until it hangs up.
    fn ended(&mut self) {
        loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn change(number: usize) -> Told {
    let spot = Spot {
        root: "/m".into(),
        directory: format!("/m/{number:0200}").into(),
        name: number.to_string().into(),
    };
    Told::Change(spot, Kinds::NEW)
}

#[test]
fn programs_are_told_what_they_are_to_know() {
    let place = Place::new(&[]);
    let served = Served::start(&place);
    let roots = Told::Roots(vec!["/m".into()]);
    let mut first = Client::attach(&place);
    for told in [
        roots.clone(),
        change(1),
        Told::Everything,
        Told::Silent,
        Told::Back,
        Told::Silent,
    ] {
        served.server.tell(vec![told.clone()]);
        assert_eq!(first.next(), told);
    }
    // Who comes later is told how it stands.
    let mut second = Client::connect(&place);
    second.stream.write_all(ATTACH).unwrap();
    assert_eq!((second.next(), second.next()), (roots, Told::Silent));
    served.server.tell(vec![change(2)]);
    assert_eq!((first.next(), second.next()), (change(2), change(2)));
    drop(served);
    first.ended();
    second.ended();
    assert!(!place.socket.exists());
}

// Security: S45.
#[test]
fn one_that_never_reads_costs_nobody_anything() {
    let place = Place::new(&[]);
    let served = Served::start(&place);
    let mut lazy = Client::attach(&place);
    let mut eager = Client::attach(&place);
    for number in 0..50_000 {
        served.server.tell(vec![change(number % 5000)]);
    }
    served.server.tell(vec![Told::Silent]);
    while eager.next() != Told::Silent {}
    // It missed nothing either: there is an end to what it is told, and doubt in it.
    served.server.tell(vec![Told::Back]);
    let (mut count, mut doubt) = (0, false);
    loop {
        match lazy.next() {
            Told::Everything => doubt = true,
            Told::Back if doubt => break,
            Told::Back => {
                // The doubt comes after.
                while lazy.next() != Told::Everything {}
                break;
            }
            _ => count += 1,
        }
    }
    assert!(count < 20_000, "{count} lines were kept for it");
}

// Security: S45.
#[test]
fn one_that_sends_rubbish_is_shown_out() {
    let place = Place::new(&[]);
    let served = Served::start(&place);
    let mut good = Client::attach(&place);
    for rubbish in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"attach 2\n",
        b"\n",
        &[0; 100_000],
        b"attach 1\nattach 1\n",
    ] {
        let mut bad = Client::connect(&place);
        // It may hang up before all is written.
        let _ = bad.stream.write_all(rubbish);
        bad.ended();
    }
    // Half of a greeting is none, and no harm.
    let mut half = Client::connect(&place);
    half.stream.write_all(b"att").unwrap();
    served.server.tell(vec![change(1)]);
    assert_eq!(good.next(), change(1));
    half.stream.write_all(b"ach 1\n").unwrap();
    assert_eq!(half.next(), Told::Roots(vec![]));
}

// Security: S45.
#[test]
fn there_are_so_many_and_no_more() {
    let place = Place::new(&[]);
    let served = Served::start(&place);
    let mut all: Vec<_> = (0..MOST_CLIENTS).map(|_| Client::attach(&place)).collect();
    Client::connect(&place).ended();
    served.server.tell(vec![change(1)]);
    for client in &mut all {
        assert_eq!(client.next(), change(1));
    }
    // One goes, another may come: as soon as it is noticed.
    drop(all.pop());
    let end = Instant::now() + LONG;
    loop {
        let mut client = Client::connect(&place);
        let mut bytes = [0; HELLO.len()];
        if client.stream.read_exact(&mut bytes).is_ok() {
            break;
        }
        assert!(Instant::now() < end, "nobody may come");
    }
}

// Security: S13.
#[test]
fn another_user_is_not_let_in() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let place = Place::new(&[]);
    let _served = Served::start(&place);
    let mut ours = Client::connect(&place);
    // Should the directory be opened to all, it is still not served to them.
    for directory in place.socket.ancestors().skip(1).take(2) {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&place.socket, Permissions::from_mode(0o666)).unwrap();
    let ask = "import socket, sys\n\
               s = socket.socket(socket.AF_UNIX)\n\
               s.connect(sys.argv[1])\n\
               print(s.recv(64))\n";
    let nobody = |program: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
        command
    };
    let output = nobody("/usr/bin/python3")
        .args(["-c", ask, text(&place.socket)])
        .output();
    let output = output.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "b''\n",
        "{output:?}"
    );
    // Nor does a program believe somebody else: here, the other way round.
    let copy = place.root.with_file_name("mailsync-watch");
    fs::copy(program::PROGRAM, &copy).unwrap();
    let mut command = nobody(text(&copy));
    command.args([
        "--socket",
        text(&place.socket),
        "--maildir",
        text(&place.root),
    ]);
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let theirs = program::Program::start(&mut command);
    let problem = theirs.problem();
    assert!(problem.contains("is served by another user"), "{problem}");
    let mut bytes = [0; HELLO.len()];
    ours.stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, *HELLO);
}

#[test]
fn a_second_one_waits_for_the_first() {
    let place = Place::new(&[]);
    let first = Served::start(&place);
    let mut client = Client::attach(&place);
    let second = Served::beginning(&place);
    // It has not said anything: it is of the same process, as after a restart.
    drop(first);
    let (level, text) = second.said();
    assert!(text.starts_with("listening at"), "{level}: {text}");
    client.ended();
    second.server.tell(vec![Told::Silent]);
    Client::attach(&place);
}

#[test]
fn what_is_stale_or_swept_away_is_made_anew() {
    let place = Place::new(&[]);
    drop(std::os::unix::net::UnixListener::bind(&place.socket).unwrap());
    let served = Served::start(&place);
    let mut client = Client::attach(&place);
    let run = place.socket.parent().unwrap();
    for all in [false, true] {
        if all {
            fs::remove_dir_all(run).unwrap();
        } else {
            fs::remove_file(&place.socket).unwrap();
        }
        let (level, text) = served.said();
        assert!(text.starts_with("listening at"), "{level}: {text}");
        // Who is there stays.
        served.server.tell(vec![change(1)]);
        assert_eq!(client.next(), change(1));
        Client::attach(&place);
    }
    assert_eq!(
        fs::metadata(run).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

// Security: S12.
#[test]
fn mistakes_are_said_with_the_option() {
    let place = Place::new(&[]);
    fs::write(&place.socket, "precious").unwrap();
    let served = Served::beginning(&place);
    let (level, text) = served.said();
    assert_eq!(level, "error");
    assert!(text.starts_with("`mailsync-listen': "), "{text}");
    assert!(text.contains("not a socket"), "{text}");
    drop(served);
    assert_eq!(fs::read(&place.socket).unwrap(), b"precious");
}

/// Descriptors of this process.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Wait until this holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn without_descriptors_a_program_waits_and_others_are_told() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let name = "server::without_descriptors_a_program_waits_and_others_are_told";
    if !support::in_namespace(name, "-Ur", "ulimit -n 64") {
        return;
    }
    let place = Place::new(&[]);
    let served = Served::start(&place);
    let roots = Told::Roots(vec!["/m".into()]);
    served.server.tell(vec![roots.clone()]);
    let mut first = Client::attach(&place);
    // Connecting takes one there, and none here.
    let late = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let hoard: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    connect(&late, &SocketAddrUnix::new(&place.socket).unwrap()).unwrap();
    let mut late = Client {
        stream: late.into(),
        reader: Reader::default(),
        told: Vec::new(),
    };
    late.stream.write_all(ATTACH).unwrap();
    for number in 0..100 {
        served.server.tell(vec![change(number)]);
        assert_eq!(first.next(), change(number));
    }
    drop(hoard);
    late.stream.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(late.next(), roots);
    served.server.tell(vec![change(100)]);
    assert_eq!((first.next(), late.next()), (change(100), change(100)));
}

#[test]
fn a_hundred_times_nothing_is_left() {
    // By itself, so that all descriptors and threads are its own.
    let name = "server::a_hundred_times_nothing_is_left";
    if !support::again(name, &mut Command::new("env")) {
        return;
    }
    let place = Place::new(&[]);
    let before = descriptors();
    for _ in 0..100 {
        let served = Served::beginning(&place);
        let client =
            (Path::new(&place.socket).exists()).then(|| UnixStream::connect(&place.socket));
        served.server.tell(vec![change(1)]);
        drop((served, client));
    }
    until("threads are left", || threads::live() == 0);
    assert_eq!(descriptors(), before);
    assert_eq!(
        fs::read_dir(place.socket.parent().unwrap())
            .unwrap()
            .count(),
        0
    );
}
