//! A real server: each way to get to it, and to be told by it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use mailsync_module::engine::actor::World;
use mailsync_module::engine::config::{AccountConfig, RemoteConfig, RemoteId, RemoteStore};
use mailsync_module::engine::core::Input;
use mailsync_module::remote::attempts::Retry;
use mailsync_module::remote::imap::keeper::Event;
use mailsync_module::remote::imap::line::Source;
use mailsync_module::remote::imap::sasl::Mechanism;
use mailsync_module::remote::imap::secret::Secret;
use mailsync_module::remote::imap::session::{Mode, Why};
use mailsync_module::remote::imap::tls::Fingerprint;
use mailsync_module::remote::imap::wire::Way;

use crate::imap::Imap;
use crate::support::{self, DELAYS, Engine, LONG};
use crate::syncing::{Server, installed};
use crate::{Watch, children, descriptors, expected, plain, secrets, server, threads, wait};

/// It answers a wrong password at once, as often as it is asked.
const QUICK: &str = "
mailbox_list_index = yes
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}";

/// What it can do, but for NOTIFY.
const NO_NOTIFY: &str = "imap_capability = IMAP4rev1 SASL-IR ID ENABLE IDLE NAMESPACE LIST-EXTENDED \
                         CONDSTORE QRESYNC LIST-STATUS";

/// A server with these lines in its configuration; `None`, and a line, where there is no Dovecot.
pub fn dovecot(extra: &str) -> Option<Server> {
    if !installed("dovecot") && !Path::new("/usr/sbin/dovecot").is_file() {
        println!("skipped: Dovecot is not installed");
        return None;
    }
    let extra = format!("{QUICK}\n{extra}\n");
    Some(Server::start_with(&extra).expect("a Dovecot"))
}

/// The one of those tests that want nothing special.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| dovecot("")).as_ref()
}

/// A user's own connection, with these folders made and a message in each.
fn user(server: &Server, name: &str, folders: &[&str]) -> Imap {
    let mut imap = Imap::open(server.port, name, "INBOX").unwrap();
    for folder in folders {
        if *folder != "INBOX" {
            imap.command(&format!("CREATE \"{folder}\""), b"").unwrap();
        }
        mail(&mut imap, folder);
    }
    imap
}

fn mail(imap: &mut Imap, folder: &str) {
    imap.append(folder, b"Subject: x\r\n\r\nx\r\n").unwrap();
}

fn flag(imap: &mut Imap, folder: &str) {
    imap.select(folder).unwrap();
    imap.command("STORE 1 +FLAGS (\\Flagged)", b"").unwrap();
}

fn expunge(imap: &mut Imap, folder: &str) {
    imap.select(folder).unwrap();
    imap.command("STORE 1 +FLAGS.SILENT (\\Deleted)", b"")
        .unwrap();
    imap.command("EXPUNGE", b"").unwrap();
}

/// What a server with NOTIFY tells of everything that can happen.
fn everything_is_told(watch: &mut Watch, imap: &mut Imap) {
    mail(imap, "lists/a");
    assert_eq!(watch.change("lists/a"), expected(&["lists/a new"]));
    flag(imap, "lists/a");
    assert_eq!(watch.change("lists/a"), expected(&["lists/a flags"]));
    expunge(imap, "lists/a");
    let told = watch.change("lists/a");
    assert!(told["lists/a"].contains("gone"), "{told:?}");
    mail(imap, "INBOX");
    while watch.change("INBOX") != expected(&["INBOX new"]) {}
    imap.command("CREATE Ctr&AOk-", b"").unwrap();
    assert_eq!(watch.change("Ctré"), expected(&["Ctré folder-created"]));
    mail(imap, "Ctr&AOk-");
    let told = watch.change("Ctré");
    assert_eq!(told.keys().collect::<Vec<_>>(), ["Ctré"], "{told:?}");
    imap.command("RENAME Ctr&AOk- b", b"").unwrap();
    let told = watch.change("b");
    assert_eq!(told, expected(&["Ctré folder-deleted", "b folder-created"]));
    imap.command("DELETE b", b"").unwrap();
    assert_eq!(watch.change("b"), expected(&["b folder-deleted"]));
}

#[test]
fn one_connection_tells_of_all_folders() {
    let Some(dovecot) = shared() else { return };
    let mut imap = user(dovecot, "notify", &["INBOX", "lists/a"]);
    let mut watch = Watch::watching(plain(dovecot.port, "notify"), Mode::Notify);
    assert_eq!(watch.asked, 1);
    everything_is_told(&mut watch, &mut imap);
    let (end, _) = watch.end();
    assert_eq!(end.text, "mailsync ended it");
    assert_eq!(watch.log, [""; 0]);
}

/// The program that Dovecot starts for each of its connections, for a user.
fn by_program(dovecot: &Server, user: &str) -> mailsync_module::remote::imap::line::Server {
    let config = dovecot.directory.join("dovecot.conf");
    let mut argv: Vec<OsString> = vec!["doveadm".into(), "-c".into(), config.into()];
    argv.extend(["exec".into(), "imap".into()]);
    if rustix::process::getuid().is_root() {
        // The owner of the mail, since Dovecot does nothing as root.
        for option in ["mail_uid=mail", "mail_gid=mail"] {
            argv.extend(["-o".into(), option.into()]);
        }
    }
    let mut environment = crate::environment();
    environment.push(format!("USER={user}").into());
    let home = dovecot.directory.join("mail").join(user);
    environment.push(format!("HOME={}", home.display()).into());
    let way = Way::Tunnel {
        argv,
        search: crate::syncing::path(),
        environment,
    };
    server(way, "")
}

#[test]
fn a_program_at_the_other_end_wants_no_password() {
    let Some(dovecot) = shared() else { return };
    let mut imap = user(dovecot, "tunnel", &["INBOX", "lists/a"]);
    let mut watch = Watch::watching(by_program(dovecot, "tunnel"), Mode::Notify);
    assert_eq!(watch.asked, 0);
    everything_is_told(&mut watch, &mut imap);
    watch.end();
}

#[test]
fn without_notify_two_are_told_of_and_the_rest_is_looked_at() {
    let Some(dovecot) = dovecot(NO_NOTIFY) else {
        return;
    };
    let folders = ["INBOX", "idle", "seldom"];
    let mut imap = user(&dovecot, "idle", &folders);
    let mut config = plain(dovecot.port, "idle");
    config.settings.idle = Some(vec![b"idle".to_vec()]);
    let mut watch = Watch::watching(config.clone(), Mode::Idle);
    for folder in ["INBOX", "idle"] {
        // Until it is watched, nothing is told of it; what comes before that is found by a look.
        wait("both connections", || {
            let log = fs::read_to_string(dovecot.directory.join("dovecot.log"));
            log.unwrap().matches("Login: user=<idle>").count() == 3
        });
        mail(&mut imap, folder);
        let told = watch.change(folder);
        assert!(told[folder].contains("new"), "{told:?}");
        flag(&mut imap, folder);
        assert_eq!(
            watch.change(folder),
            expected(&[&format!("{folder} flags")])
        );
        expunge(&mut imap, folder);
        let told = watch.change(folder);
        assert!(told[folder].contains("gone"), "{told:?}");
    }
    let (_, snapshot) = watch.end();
    // What is looked at now and then, and only what happened there: the others have told of theirs.
    config.settings.poll = Duration::from_millis(300);
    let mut watch = Watch::start_with(config, snapshot);
    watch.wait("watching", |it| it.watching == Some(Mode::Idle));
    watch.heard = Default::default();
    mail(&mut imap, "seldom");
    assert_eq!(watch.change("seldom"), expected(&["seldom new"]));
    imap.command("CREATE made", b"").unwrap();
    assert_eq!(watch.change("made"), expected(&["made folder-created"]));
    imap.command("DELETE made", b"").unwrap();
    assert_eq!(watch.change("made"), expected(&["made folder-deleted"]));
    watch.end();
}

/// One that can do what each can, and calls mailboxes as Courier does.
#[test]
fn a_server_that_can_do_little() {
    let extra = "
imap_capability = IMAP4rev1 NAMESPACE
namespace inbox {
  separator = .
  prefix = INBOX.
}";
    let Some(dovecot) = dovecot(extra) else {
        return;
    };
    let folders = ["INBOX", "INBOX.a.b", "INBOX.Entw&APw-rfe"];
    let mut imap = user(&dovecot, "little", &folders);
    let mut config = plain(dovecot.port, "little");
    config.settings.poll = Duration::from_millis(200);
    config.settings.mechanism = Some(Mechanism::Login);
    let mut watch = Watch::watching(config.clone(), Mode::Sweep);
    mail(&mut imap, "INBOX.a.b");
    assert_eq!(watch.change("a/b"), expected(&["a/b new"]));
    mail(&mut imap, "INBOX");
    assert_eq!(watch.change("INBOX"), expected(&["INBOX new"]));
    imap.command("CREATE INBOX.c", b"").unwrap();
    assert_eq!(watch.change("c"), expected(&["c folder-created"]));
    imap.command("DELETE INBOX.Entw&APw-rfe", b"").unwrap();
    let told = watch.change("Entwürfe");
    assert_eq!(told, expected(&["Entwürfe folder-deleted"]));
    let (_, snapshot) = watch.end();
    // Flags may have changed without a sign of it.
    let mut watch = Watch::start_with(config, snapshot);
    watch.wait("watching", |it| it.watching == Some(Mode::Sweep));
    assert!(watch.heard.everything, "it cannot be known");
    watch.end();
}

/// How the shared server shows itself at a port with TLS.
fn by_tls(dovecot: &Server, starttls: bool) -> mailsync_module::remote::imap::line::Server {
    let (port, user) = if starttls {
        (dovecot.port, "starttls")
    } else {
        (dovecot.tls, "tls")
    };
    let mut config = server(Way::Host("localhost".to_owned(), port, !starttls), user);
    config.settings.starttls = starttls;
    config
}

fn certificate(dovecot: &Server) -> Fingerprint {
    let file = dovecot.directory.join("cert.pem");
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["x509", "-outform", "DER", "-in"]).arg(file);
    Fingerprint::of(&openssl.output().unwrap().stdout)
}

// Security: S31.
#[test]
fn a_certificate_is_believed_by_its_fingerprint_alone() {
    let Some(dovecot) = shared() else { return };
    let right = certificate(dovecot);
    let wrong = Fingerprint::of(b"another one");
    for starttls in [false, true] {
        let config = by_tls(dovecot, starttls);
        let mut watch = Watch::start(config.clone());
        let (end, _) = watch.over();
        assert_eq!((end.why, watch.asked), (Why::Lost, 0), "{}", end.text);
        // The user can paste it.
        let pasted = end.text.split('"').nth(1).and_then(Fingerprint::parse);
        assert_eq!(pasted, Some(right), "{}", end.text);

        let mut config = by_tls(dovecot, starttls);
        config.pin = Some(wrong);
        let mut watch = Watch::start(config);
        let (end, _) = watch.over();
        assert_eq!((end.why, watch.asked), (Why::Lost, 0), "{}", end.text);
        assert!(end.text.contains(&right.to_string()), "{}", end.text);

        let mut config = by_tls(dovecot, starttls);
        config.pin = pasted;
        let mut watch = Watch::watching(config, Mode::Notify);
        let user = if starttls { "starttls" } else { "tls" };
        let mut imap = Imap::open(dovecot.port, user, "INBOX").unwrap();
        mail(&mut imap, "INBOX");
        assert!(watch.change("INBOX")["INBOX"].contains("new"));
        watch.end();
    }
}

#[test]
fn tls_where_there_is_none() {
    let Some(dovecot) = shared() else { return };
    let way = Way::Host("localhost".to_owned(), dovecot.port, true);
    let (end, _) = Watch::start(server(way, "tls")).over();
    assert_eq!(end.why, Why::Lost);
    assert!(end.text.contains("does not speak TLS"), "{}", end.text);
}

#[test]
fn a_restart_of_the_server_shows_what_was_missed_and_nothing_else() {
    let Some(dovecot) = dovecot("") else { return };
    let folders = ["INBOX", "a", "b", "c", "same"];
    let mut imap = user(&dovecot, "again", &folders);
    let mut watch = Watch::watching(plain(dovecot.port, "again"), Mode::Notify);
    mail(&mut imap, "a");
    assert_eq!(watch.change("a"), expected(&["a new"]));
    dovecot.stop().unwrap();
    let (end, snapshot) = watch.over();
    assert_eq!(end.why, Why::Lost, "{end:?}");
    assert_eq!(snapshot.len(), folders.len());
    // Nobody is there.
    let (end, snapshot) = Watch::start_with(plain(dovecot.port, "again"), snapshot).over();
    assert_eq!(end.why, Why::Lost, "{end:?}");
    dovecot.resume().unwrap();
    let mut imap = Imap::open(dovecot.port, "again", "INBOX").unwrap();
    mail(&mut imap, "a");
    flag(&mut imap, "b");
    expunge(&mut imap, "c");
    imap.command("CREATE new", b"").unwrap();
    let mut watch = Watch::start_with(plain(dovecot.port, "again"), snapshot);
    watch.wait("watching", |it| it.watching.is_some());
    assert!(!watch.heard.everything, "doubt");
    let told = crate::words(std::mem::take(&mut watch.heard.changes));
    let missed = ["a new", "b flags", "c gone", "new folder-created"];
    assert_eq!(told, expected(&missed));
    watch.end();
}

/// An engine for a store without a maildir.
fn engine(store: mailsync_module::remote::imap::line::Server) -> Engine {
    let accounts = vec![AccountConfig {
        name: support::ACCOUNT.to_owned(),
        roots: Vec::new(),
        quiet: true,
        delays: DELAYS,
        sync: None,
        remotes: vec![RemoteConfig {
            store: RemoteStore::Imap(Box::new(store)),
            retry: Retry {
                inter: Duration::ZERO,
                max: Duration::from_secs(5),
            },
            folders: Vec::new(),
        }],
    }];
    Engine::start_in(World::real(), accounts, Duration::ZERO)
}

/// The state of its only store, and its text.
fn stand(engine: &Engine) -> (String, String) {
    let told = engine.told();
    let states = told.remotes.get("0");
    states.and_then(|it| it.last().cloned()).unwrap_or_default()
}

fn answer(engine: &Engine, connection: u64, password: &str) {
    let event = Event::Secret(connection, Ok(Secret::new(password.into())));
    let input = Input::Imap(RemoteId(0), event);
    engine.with(|handle| handle.input(input).unwrap());
}

/// Wait for two refusals in the log: Dovecot has a process for it, which writes some time later.
fn wait_refused(dovecot: &Server, user: &str) {
    wait("two refusals in the log", || refused(dovecot, user) >= 2);
}

fn refused(dovecot: &Server, user: &str) -> usize {
    let log = fs::read_to_string(dovecot.directory.join("dovecot.log")).unwrap();
    let lines = log.lines().filter(|it| it.contains("auth: "));
    let lines = lines.filter(|it| it.contains(&format!("({user},")));
    lines.filter(|it| it.contains("Password mismatch")).count()
}

// Security: S55.
#[test]
fn a_wrong_password_is_tried_twice() {
    let Some(dovecot) = shared() else { return };
    let engine = engine(plain(dovecot.port, "wrong"));
    for (number, anew) in [(1, false), (2, true)] {
        engine.wait("a question", LONG, |told| {
            told.secrets.last() == Some(&(0, number, anew))
        });
        answer(&engine, number, "wrong");
    }
    wait("paused", || stand(&engine).0 == "paused");
    let text = stand(&engine).1;
    assert!(text.contains("does not let wrong in"), "{text}");
    wait_refused(dovecot, "wrong");
    assert_eq!(refused(dovecot, "wrong"), 2);
    // It stays so, whatever happens but the user.
    engine.with(|handle| handle.input(Input::Woke(Duration::from_secs(60))).unwrap());
    engine.with(|handle| handle.input(Input::NetworkChanged).unwrap());
    engine.quiet();
    assert_eq!(stand(&engine).0, "paused");
    assert_eq!(engine.told().secrets.len(), 2);
    let resume = Input::Pause(None, false);
    engine.with(|handle| handle.input(resume).unwrap());
    engine.wait("a question", LONG, |told| told.secrets.len() == 3);
    answer(&engine, 3, "secret");
    wait("connected", || stand(&engine).0 == "connected");
    assert_eq!(refused(dovecot, "wrong"), 2);
}

// Security: S55.
#[test]
fn a_command_with_a_wrong_password_is_run_twice() {
    let Some(dovecot) = shared() else { return };
    let home = tempfile::tempdir().unwrap();
    let count = home.path().join("count");
    let script = format!("echo x >>'{}'; echo wrong", count.display());
    let mut config = plain(dovecot.port, "command");
    config.source = Source::Command(secrets::shell(&script));
    let engine = engine(config);
    wait("paused", || stand(&engine).0 == "paused");
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\n");
    wait_refused(dovecot, "command");
    assert_eq!(refused(dovecot, "command"), 2);
}

#[test]
fn too_many_connections_are_waited_for() {
    let Some(dovecot) = dovecot("mail_max_userip_connections = 1") else {
        return;
    };
    let imap = user(&dovecot, "limit", &["INBOX"]);
    let engine = engine(plain(dovecot.port, "limit"));
    engine.wait("a question", LONG, |told| told.secrets.len() == 1);
    answer(&engine, 1, "secret");
    wait("waiting", || stand(&engine).0 == "waiting");
    let text = stand(&engine).1;
    assert!(text.contains("Maximum number of connections"), "{text}");
    drop(imap);
    wait("connected", || stand(&engine).0 == "connected");
    assert_eq!(engine.told().secrets.len(), 1, "the password is not wrong");
}

#[test]
#[cfg(target_os = "linux")]
fn a_hundred_times_leave_nothing() {
    let name = "dovecot::a_hundred_times_leave_nothing";
    // Alone, since the other tests have descriptors too.
    if !support::again(name, &mut std::process::Command::new("env")) {
        return;
    }
    let Some(dovecot) = shared() else { return };
    let ways = || {
        let mut pinned = by_tls(dovecot, false);
        pinned.pin = Some(certificate(dovecot));
        let mut starttls = by_tls(dovecot, true);
        starttls.pin = pinned.pin;
        let mut command = plain(dovecot.port, "hundred");
        command.source = Source::Command(secrets::shell("echo secret; sleep 0.01"));
        [pinned, starttls, command, by_program(dovecot, "hundred")]
    };
    user(dovecot, "hundred", &[]);
    let alone = children();
    for way in ways() {
        Watch::watching(way, Mode::Notify).end();
    }
    // What has ended is on its way out for a moment.
    wait("no child is left", || children() == alone);
    let now = || (descriptors(), threads(), children());
    let mut before = now();
    wait("all is at rest", || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut before, now()) == now()
    });
    for number in 0..25 {
        for way in ways() {
            let mut watch = Watch::start(way);
            if number % 2 == 0 {
                watch.wait("watching", |it| it.watching.is_some());
            }
            watch.end();
        }
    }
    wait("as much as before", || now() == before);
}
