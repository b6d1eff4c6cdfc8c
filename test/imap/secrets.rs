//! Programs that should print a password, and do what programs do; what is left of one in memory.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailsync_module::remote::imap::command::Command;
use mailsync_module::remote::imap::line::Source;
use mailsync_module::remote::imap::secret::Secret;
use mailsync_module::remote::imap::session::{Mode, Why};

use crate::dovecot::shared;
use crate::scripted::{NOTIFY, Peer, serve};
use crate::support::LONG;
use crate::{MOMENT, Watch, environment, plain, syncing, wait};

/// Such a program.
pub fn program(words: &[&str]) -> Command {
    Command {
        argv: words.iter().map(OsString::from).collect(),
        search: syncing::path(),
        environment: environment(),
        key: ":secret-command",
    }
}

/// The same as a script of the shell.
pub fn shell(script: &str) -> Command {
    program(&["sh", "-c", script])
}

fn asking(command: Command) -> Option<Watch> {
    let mut config = plain(shared()?.port, "secrets");
    config.source = Source::Command(command);
    Some(Watch::start(config))
}

#[test]
fn the_first_line_is_the_password() {
    for script in [
        "echo secret",
        "printf secret",
        "printf 'secret\\r\\n'",
        "echo secret; echo login: me; echo url: x",
        "echo to be seen >&2; echo secret",
        // What it leaves behind holds its output.
        "echo secret; sleep 1000 &",
    ] {
        let Some(mut watch) = asking(shell(script)) else {
            return;
        };
        watch.wait(script, |it| it.watching.is_some());
        assert_eq!(watch.asked, 0);
        let complaint = "warning: test: to be seen";
        assert_eq!(
            watch.log.iter().any(|it| it == complaint),
            script.contains("to be seen"),
            "{:?}",
            watch.log
        );
        watch.end();
    }
}

// Security: S52.
#[test]
fn what_prints_none_is_said_without_what_it_printed() {
    for (command, text) in [
        (shell("exit 0"), "sh (:secret-command) printed nothing"),
        (
            shell("echo; echo secret"),
            "sh (:secret-command) printed nothing",
        ),
        (
            shell("echo secret; exit 1"),
            "sh (:secret-command) exited with 1",
        ),
        (
            shell("echo secret; echo locked >&2; exit 2"),
            "sh (:secret-command) exited with 2: locked",
        ),
        (
            shell("echo secret; kill -9 $$"),
            "sh (:secret-command) was ended by signal 9",
        ),
        (program(&["no-such-program"]), "no-such-program"),
        (program(&["/nonexistent/program"]), "/nonexistent/program"),
        (program(&["/etc/passwd"]), "/etc/passwd"),
    ] {
        let Some(mut watch) = asking(command) else {
            return;
        };
        let (end, _) = watch.over();
        assert_eq!(end.why, Why::Lost, "it goes by: {end:?}");
        assert!(end.text.contains(text), "{end:?}");
        assert!(!end.text.replace(":secret-command", "").contains("secret"));
    }
}

/// One that does not end, or has no end, is ended with the connection.
#[test]
fn what_hangs_is_ended_with_all_that_it_started() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("pids");
    for script in [
        "sleep 1000",
        "echo secret; exec >&- 2>&-; sleep 1000",
        "trap '' TERM INT HUP; sleep 1000; sleep 1000",
        "exec yes",
        "yes >&2",
        "yes & yes & yes",
    ] {
        let note = format!("echo $$ >'{0}.tmp'; mv '{0}.tmp' '{0}'", file.display());
        let Some(mut watch) = asking(shell(&format!("{note}; {script}"))) else {
            return;
        };
        wait(script, || file.exists());
        let pid: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        fs::remove_file(&file).unwrap();
        let began = Instant::now();
        watch.end();
        assert!(began.elapsed() < MOMENT, "{script}");
        let group = nix::unistd::Pid::from_raw(pid);
        wait(script, || nix::sys::signal::killpg(group, None).is_err());
    }
}

#[test]
#[ignore = "takes a minute"]
fn what_hangs_has_a_minute() {
    let Some(watch) = asking(shell("echo secret; sleep 1000")) else {
        return;
    };
    let began = Instant::now();
    let end = loop {
        if began.elapsed().as_secs() > 75 {
            panic!("it is waited for");
        }
        if let Ok(mailsync_module::remote::imap::line::News::Over(end, _)) =
            watch.news.recv_timeout(std::time::Duration::from_secs(1))
        {
            break end;
        }
    };
    assert!(end.text.contains("within 60 s"), "{end:?}");
    assert!(began.elapsed().as_secs() >= 60);
    watch.gone();
}

/// A client in a process of its own, which says how far it is and waits for a word.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(mode: &str, port: u16, file: &Path) -> Self {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
            .arg("secrets::a_client")
            .env("MAILSYNC_TEST_MODE", mode)
            .env("MAILSYNC_TEST_PORT", port.to_string())
            .env("MAILSYNC_TEST_FILE", file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Client {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "it never says {word}");
        }
    }

    /// Wait until its memory has one of these in it so often: what it says, it says while it works on.
    fn comes_to_hold(&self, needles: &[Vec<u8>], wanted: RangeInclusive<usize>, what: &str) {
        let began = Instant::now();
        loop {
            let found = self.holds(needles);
            if wanted.contains(&found) {
                return;
            }
            assert!(began.elapsed() < LONG, "{what}: {found}, not {wanted:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How often its memory has one of these in it.
    fn holds(&self, needles: &[Vec<u8>]) -> usize {
        let at = format!("/proc/{}", self.child.id());
        let maps = fs::read_to_string(format!("{at}/maps")).unwrap();
        let memory = File::open(format!("{at}/mem")).unwrap();
        let mut found = 0;
        for line in maps.lines().filter(|it| it.contains(" rw")) {
            let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [from, to] = [from, to].map(|it| u64::from_str_radix(it, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // Some cannot be read by anybody.
            if memory.read_exact_at(&mut bytes, from).is_ok() {
                let counts = needles.iter();
                found += counts
                    .map(|needle| {
                        bytes
                            .windows(needle.len())
                            .filter(|it| it == needle)
                            .count()
                    })
                    .sum::<usize>();
            }
        }
        found
    }
}

#[test]
#[ignore = "another test runs it, in a process of its own"]
fn a_client() {
    let variable = |name: &str| std::env::var(format!("MAILSYNC_TEST_{name}"));
    let Ok(mode) = variable("MODE") else {
        return;
    };
    let file = variable("FILE").unwrap();
    let mut config = plain(variable("PORT").unwrap().parse().unwrap(), "me");
    if mode == "command" {
        config.source = Source::Command(program(&["cat", &file]));
    }
    let mut watch = Watch::start(config);
    if mode == "emacs" {
        let mut bytes = vec![0; usize::try_from(fs::metadata(&file).unwrap().len()).unwrap()];
        File::open(&file).unwrap().read_exact(&mut bytes).unwrap();
        watch.password = Ok(Secret::new(bytes));
    }
    let say = |word: &str| {
        println!("{word}");
        std::io::stdin().read_exact(&mut [0]).unwrap();
    };
    watch.wait("watching", |it| it.watching == Some(Mode::Notify));
    say("watching");
    watch.end();
    drop(watch);
    say("ended");
}

/// S54: what a program prints is gone when the login is done, and what Emacs gave when its store is.
#[test]
#[cfg(target_os = "linux")]
fn what_was_used_is_not_in_memory() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("password");
    // In no program's text.
    let number = Instant::now();
    let password = format!("canary-{:x}-{number:?}", std::process::id())
        .replace(|it: char| !it.is_ascii_alphanumeric(), "-");
    fs::write(&file, &password).unwrap();
    let plain = format!("\0me\0{password}");
    let said = STANDARD.encode(&plain);
    let needles = [password.into_bytes(), said.clone().into_bytes()];
    let script = NOTIFY.replace("AG1lAHNlY3JldA==", &said);
    let port = serve(move |_, stream| {
        let mut peer = Peer::new(stream);
        assert!(peer.play(&script));
        peer.gone();
    });
    for (mode, kept) in [("command", 0..=0), ("emacs", 1..=2)] {
        let mut client = Client::start(mode, port, &file);
        client.hear("watching");
        client.comes_to_hold(&needles, kept, mode);
        client.input.write_all(b"x").unwrap();
        client.hear("ended");
        client.comes_to_hold(&needles, 0..=0, mode);
        client.input.write_all(b"x").unwrap();
        client.child.wait().unwrap();
    }
}
