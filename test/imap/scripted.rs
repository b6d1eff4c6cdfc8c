//! Servers that do what none should, over a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mailsync_module::remote::imap::line::{News, Server, Source};
use mailsync_module::remote::imap::session::{Mode, Why};
use mailsync_module::remote::imap::wire::Way;
use rustix::net::{AddressFamily, SocketType};

use crate::certificates::Authority;
use crate::support::LONG;
use crate::{Watch, expected, plain, secrets, server};

/// The server's end of a connection.
pub struct Peer<S: Read + Write = TcpStream>(pub BufReader<S>);

impl<S: Read + Write> Peer<S> {
    pub fn new(stream: S) -> Self {
        Peer(BufReader::new(stream))
    }

    /// Say this.  Nobody may be left to hear it.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = self.0.get_mut();
        stream.write_all(bytes.as_ref()).is_ok() && stream.flush().is_ok()
    }

    /// The next line that the client says; nothing at its end.
    pub fn hear(&mut self) -> String {
        let mut line = Vec::new();
        let _ = self.0.read_until(b'\n', &mut line);
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Wait until the client has gone.
    pub fn gone(&mut self) {
        let _ = self.0.read_to_end(&mut Vec::new());
    }

    /// Play a server: `S` is said, `C` is waited for.  False where the client says something else.
    pub fn play(&mut self, script: &str) -> bool {
        for line in script.lines().map(str::trim).filter(|it| !it.is_empty()) {
            let (who, text) = line.split_at(2);
            let well = match who {
                "S " => self.say([text, "\r\n"].concat()),
                _ => self.hear() == text,
            };
            if !well {
                return false;
            }
        }
        true
    }
}

/// Serve at a port, each connection by a thread of its own that is given its number.
pub fn serve(act: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let act = Arc::new(act);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (stream, act) = (stream.unwrap(), act.clone());
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || act(number, stream));
        }
    });
    port
}

/// Serve one client like this.
fn play(act: impl Fn(&mut Peer) + Send + Sync + 'static) -> Watch {
    Watch::start(served(act))
}

fn served(act: impl Fn(&mut Peer) + Send + Sync + 'static) -> Server {
    let port = serve(move |_, stream| act(&mut Peer::new(stream)));
    plain(port, "me")
}

/// Up to where all is watched.
pub const NOTIFY: &str = r#"
    S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
    C a1 AUTHENTICATE PLAIN AG1lAHNlY3JldA==
    S a1 OK [CAPABILITY IMAP4rev1 IDLE ENABLE CONDSTORE LIST-STATUS NOTIFY] hello
    C a2 ENABLE CONDSTORE
    C a3 NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))
    C a4 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
    S * ENABLED CONDSTORE
    S a2 OK
    S a3 OK
    S * LIST () "/" INBOX
    S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0 HIGHESTMODSEQ 9)
    S * LIST () "/" a
    S * STATUS a (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0 HIGHESTMODSEQ 9)
    S a4 OK
    C a5 IDLE
    S + idling
"#;

/// The same without NOTIFY, and with a second mailbox that is worth a connection.
pub const IDLE: &str = r#"
    S * PREAUTH [CAPABILITY IMAP4rev1 IDLE LIST-STATUS] hello
    C a1 EXAMINE "INBOX"
    C a2 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))
    S * 3 EXISTS
    S a1 OK
    S * LIST () "/" INBOX
    S * STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0)
    S * LIST (\All) "/" a
    S * STATUS a (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1 UNSEEN 0)
    S a2 OK
    C a3 IDLE
    S + idling
"#;

// Security: S33.
#[test]
fn what_cannot_be_listened_to_is_hung_up_on() {
    let endless = "x".repeat(70_000);
    let table = [
        ("* OK hello\r\n* OK ", &endless[..], "a line without an end"),
        (
            "* X {99999999999999999999}\r\n",
            "",
            "more bytes than can be counted",
        ),
        (
            "* OK\r\n",
            "zz9 OK done\r\n",
            "a command that was not given",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "", "no IMAP server"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "", "no IMAP server"),
        ("\x16\x03\x01\x02\n", "", "no IMAP server"),
        ("* BYE full\r\n", "", "the server hung up: full"),
        ("+ go on\r\n", "", "more of a command that is whole"),
        ("* PREAU", "", "the server closed the connection"),
        ("", "", "the server closed the connection"),
    ];
    for (first, then, text) in table {
        let (first, then) = (first.to_owned(), then.to_owned());
        let mut watch = play(move |peer| {
            peer.say(&first);
            if !then.is_empty() {
                peer.say(&then);
                peer.gone();
            }
        });
        let (end, _) = watch.over();
        assert_eq!(end.why, Why::Lost, "{end:?}");
        assert!(end.text.contains(text), "{end:?}");
    }
}

// Security: S34.
#[test]
fn a_bye_or_an_end_at_any_moment() {
    let lines: Vec<&str> = NOTIFY.lines().collect();
    for bye in [false, true] {
        for count in 0..=lines.len() {
            let script = lines[..count].join("\n");
            let mut watch = play(move |peer| {
                peer.play(&script);
                if bye {
                    peer.say("* BYE enough\r\n");
                }
            });
            let (end, _) = watch.over();
            assert_eq!(end.why, Why::Lost, "{end:?}");
            if bye {
                // What was not read makes an end an error.
                assert!(
                    end.text.contains("enough") || end.text.contains("the connection broke"),
                    "{end:?} after {count} lines"
                );
            }
        }
    }
}

#[test]
fn an_end_within_any_line() {
    // The last lines, after which nothing is unread.
    let (head, tail) = NOTIFY.split_once("S a3 OK").unwrap();
    let (said, _) = tail.split_once("C a5").unwrap();
    let said: String = said
        .lines()
        .map(|it| [&it.trim()[it.trim().len().min(2)..], "\r\n"].concat())
        .collect();
    for at in 0..said.len() {
        let (head, said) = (head.to_owned(), said.clone());
        let mut watch = play(move |peer| {
            peer.play(&head);
            peer.say("a3 OK");
            peer.say(&said[..at]);
        });
        let (end, _) = watch.over();
        assert_eq!(end.why, Why::Lost, "{end:?}");
    }
}

#[test]
fn a_drip_is_enough() {
    let mut watch = play(|peer| {
        for line in NOTIFY.lines().map(str::trim).filter(|it| !it.is_empty()) {
            match line.split_at(2) {
                ("S ", text) => {
                    for byte in [text, "\r\n"].concat().bytes() {
                        peer.say([byte]);
                    }
                }
                _ => _ = peer.hear(),
            }
        }
        for byte in b"* STATUS {1}\r\na (MESSAGES 4 UIDNEXT 5 UNSEEN 1)\r\n" {
            peer.say([*byte]);
        }
        peer.gone();
    });
    watch.wait("watching", |it| it.watching == Some(Mode::Notify));
    // What it told since may have come along.
    watch.heard.everything = false;
    assert_eq!(watch.change("a"), expected(&["a new"]));
    watch.end();
}

/// Where a connection may be when it is told to end, and what the server does up to there.
fn phases() -> Vec<(&'static str, Server)> {
    let silent = served(|peer| peer.gone());
    let mut handshake = silent.clone();
    handshake.way = Way::Host("localhost".to_owned(), silent.settings.port, true);
    let greeted = |script: &'static str| {
        served(move |peer| {
            peer.play(script);
            peer.gone();
        })
    };
    let mut starttls = greeted(
        "S * OK [CAPABILITY IMAP4rev1 STARTTLS] hello
         C a1 STARTTLS
         S a1 OK begin",
    );
    starttls.settings.starttls = true;
    let mut command = greeted("S * OK [CAPABILITY IMAP4rev1] hello");
    command.source = Source::Command(secrets::shell("exec sleep 1000"));
    let words = |script: &str| {
        let way = Way::Tunnel {
            argv: ["sh", "-c", script].map(Into::into).into(),
            search: crate::syncing::path(),
            environment: crate::environment(),
        };
        server(way, "me")
    };
    let (login, _) = NOTIFY.split_once("S a1 OK").unwrap();
    let (sweep, _) = NOTIFY.split_once("S * LIST").unwrap();
    vec![
        ("after connect", silent),
        ("in TLS", handshake),
        ("in STARTTLS", starttls),
        ("while a program prints no secret", command),
        (
            "while the server drips",
            served(|peer| while peer.say(" ") {}),
        ),
        ("in the login", greeted(login)),
        ("in the first look", greeted(sweep)),
        ("while it is watched", greeted(NOTIFY)),
        ("by a silent program", words("exec sleep 1000")),
        (
            "by a program that ignores all",
            words("trap '' TERM INT HUP; sleep 1000; sleep 1000"),
        ),
        ("by a program that says too much", words("exec yes")),
        ("by a program that complains", words("exec yes >&2")),
    ]
}

#[test]
fn it_is_ended_wherever_it_is() {
    for (what, config) in phases() {
        // At once, and when it is where it stays.
        Watch::start(config.clone()).end();
        let mut watch = Watch::start(config);
        match watch.news.recv_timeout(Duration::from_millis(200)) {
            // It is no server, and that is all there is to it.
            Ok(News::Over(end, _)) => println!("{what}: {end:?}"),
            _ => {
                let began = Instant::now();
                let (end, _) = watch.end();
                println!("{what}: {} ms, {end:?}", began.elapsed().as_millis());
            }
        }
    }
}

/// A socket that listens, and has as many connections waiting as it takes.
fn full() -> (OwnedFd, u16, Vec<TcpStream>) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    rustix::net::bind(&socket, &any).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket.try_clone().unwrap());
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
    }
    (socket, address.port(), waiting)
}

#[test]
#[cfg(target_os = "linux")]
fn a_black_hole_is_left_at_once() {
    let (_socket, port, _waiting) = full();
    let mut watch = Watch::start(plain(port, "me"));
    let told = watch.news.recv_timeout(Duration::from_millis(300));
    assert!(told.is_err(), "it waits: {told:?}");
    let (end, _) = watch.end();
    assert_eq!(end.text, "mailsync ended it");
}

#[test]
fn it_is_ended_while_it_waits_for_emacs() {
    let mut watch = Watch::start(served(|peer| {
        peer.play("S * OK [CAPABILITY IMAP4rev1] hello");
        peer.gone();
    }));
    watch.password = Err("nobody is there".to_owned());
    let news = watch.news.recv_timeout(LONG).unwrap();
    assert!(matches!(news, News::Asked));
    watch.end();
}

/// A server whose second connection stands still in a handshake: the first one goes on to be ended,
/// poked and, in the end, listened to.
#[test]
fn it_is_ended_while_a_second_connection_is_made() {
    let certificate = Authority::new();
    let right = certificate.issue("localhost", None);
    let pin = right.fingerprint();
    let (tell, second): (Sender<()>, Receiver<()>) = channel();
    let tell = Mutex::new(tell);
    let port = serve(move |number, stream| {
        if number == 0 {
            let mut peer = right.accept(stream);
            // Without a word more that would wake the client.
            peer.play(IDLE.trim_end().trim_end_matches("S + idling"));
            peer.gone();
        } else {
            tell.lock().unwrap().send(()).unwrap();
            Peer::new(stream).gone();
        }
    });
    let mut config = server(Way::Host("localhost".to_owned(), port, true), "me");
    config.pin = Some(pin);
    let mut watch = Watch::start(config);
    watch.wait("watching", |it| it.watching == Some(Mode::Idle));
    second.recv_timeout(LONG).expect("a second connection");
    watch.end();
}

#[test]
fn a_second_connection_that_is_refused_is_no_change() {
    let (tell, told): (Sender<()>, Receiver<()>) = channel();
    let told = Mutex::new(told);
    let port = serve(move |number, stream| {
        let mut peer = Peer::new(stream);
        if number == 0 {
            peer.play(IDLE);
            told.lock().unwrap().recv_timeout(LONG).unwrap();
            peer.say("* 4 EXISTS\r\n");
            peer.gone();
        } else {
            peer.say("* BYE too many\r\n");
        }
    });
    let mut watch = Watch::start(plain(port, "me"));
    watch.wait("watching", |it| it.watching == Some(Mode::Idle));
    watch.heard = Default::default();
    watch.logged("a is looked at now and then only");
    tell.send(()).unwrap();
    assert_eq!(watch.change("INBOX"), expected(&["INBOX new"]));
    watch.end();
}

/// One that was watched by itself is in doubt when that ends.
#[test]
fn a_second_connection_that_is_lost_is_a_change() {
    let script = "
        S * PREAUTH [CAPABILITY IMAP4rev1 IDLE LIST-STATUS] hello
        C a1 EXAMINE \"a\"
        S * 3 EXISTS
        S a1 OK
        C a2 IDLE
        S + idling
        S * 4 EXISTS
        S * BYE enough";
    let port = serve(move |number, stream| {
        let mut peer = Peer::new(stream);
        peer.play(if number == 0 { IDLE } else { script });
        if number == 0 {
            peer.gone();
        }
    });
    let mut watch = Watch::start(plain(port, "me"));
    watch.wait("watching", |it| it.watching == Some(Mode::Idle));
    watch.heard.everything = false;
    watch.logged("a is looked at now and then only");
    assert_eq!(watch.change("a"), expected(&["a new,unknown"]));
    watch.end();
}

/// What comes in the clear behind the answer to STARTTLS is not what is said by TLS, whether it comes at
/// once or a moment later; the password is not said to whoever has put it there.
// Security: S32.
#[test]
fn nothing_is_slipped_in_before_tls() {
    let injected = "* PREAUTH [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n";
    for at_once in [true, false] {
        let mut config = served(move |peer| {
            peer.play("S * OK [CAPABILITY IMAP4rev1 STARTTLS] hello\nC a1 STARTTLS");
            if at_once {
                peer.say(["a1 OK begin\r\n", injected].concat());
            } else {
                peer.say("a1 OK begin\r\n");
                // The first byte of its TLS.
                let _ = peer.0.read(&mut [0]);
                peer.say(injected);
            }
            peer.gone();
        });
        config.settings.starttls = true;
        let mut watch = Watch::start(config);
        let (end, _) = watch.over();
        assert_eq!((end.why, watch.asked), (Why::Lost, 0), "{end:?}");
        let text = if at_once {
            "between STARTTLS and TLS"
        } else {
            "does not speak TLS"
        };
        assert!(end.text.contains(text), "{end:?}");
    }
}

/// What was known is still known when STARTTLS fails once.
#[test]
fn nothing_is_forgotten_by_a_handshake_that_fails() {
    let mut watch = play(|peer| {
        peer.play(NOTIFY);
        peer.gone();
    });
    watch.wait("watching", |it| it.watching.is_some());
    let (_, known) = watch.end();
    assert_eq!(known.len(), 2);
    let mut config = served(|peer| {
        peer.play("S * OK [CAPABILITY IMAP4rev1 STARTTLS] hello\nC a1 STARTTLS\nS a1 OK begin");
    });
    config.settings.starttls = true;
    let (_, still) = Watch::start_with(config, known.clone()).over();
    assert_eq!(still, known);
}
