//! Programs that should print a password, and do what programs do.

use std::ffi::OsString;
use std::fs;
use std::time::Instant;

use mailsync_module::remote::imap::command::Command;
use mailsync_module::remote::imap::line::Source;
use mailsync_module::remote::imap::session::Why;

use crate::dovecot::shared;
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
