//! Placeholders, and what they become.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::super::Syncer;
use super::*;
use crate::change::AccountId;

type Tested = Result<(), Box<dyn Error>>;

fn folder(name: &[u8], directory: &str) -> Arc<Folder> {
    Arc::new(Folder {
        account: AccountId(0),
        real: Path::new(directory).into(),
        directory: Path::new(directory).into(),
        name: name.into(),
    })
}

fn command(words: &[&str]) -> Command {
    Command {
        words: words.iter().map(OsString::from).collect(),
        all: None,
        naming: Naming::Utf8,
        separator: None,
        prefix: None,
        per_folder: true,
    }
}

fn order(command: Command, search: &Path, scope: Scope) -> Order {
    Order::new(
        "home",
        Syncer {
            search: vec![search.to_path_buf()],
            success: vec![3],
            ..Syncer::new(Program::Command(command))
        },
        scope,
    )
}

/// A directory with a program `p`.
fn programs() -> Result<tempfile::TempDir, Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("p"), "")?;
    fs::set_permissions(home.path().join("p"), fs::Permissions::from_mode(0o755))?;
    Ok(home)
}

/// The arguments, and whether they are for the whole account.
fn planned(order: &Order) -> Result<(String, bool), Box<dyn Error>> {
    let plan = plan(order).map_err(|refused| refused.text)?;
    let words: Vec<_> = plan
        .argv
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy())
        .collect();
    let told = plan
        .environment
        .iter()
        .any(|entry| entry.as_bytes().starts_with(b"MAILSYNC_FOLDERS="));
    assert_eq!(
        told, !plan.everything,
        "what it is told is what it is to do"
    );
    Ok((words.join("|"), plan.everything))
}

#[test]
fn placeholders_are_filled() -> Tested {
    let home = programs()?;
    let two = [folder(b"a/b", "/m/a/b"), folder(b"INBOX", "/m")];
    let remote = [folder(b"a", "/m/a"), folder(b"new", "")];
    let comma = [folder(b"a,b", "/m/a,b")];
    let option = [folder(b"-x", "/m/-x")];
    // words, folders, arguments, the whole account
    type Row<'a> = (&'a [&'a str], &'a [Arc<Folder>], &'a str, bool);
    let table: [Row; 24] = [
        (&["p", "%f"], &two, "a/b|INBOX", false),
        (&["p", "-a", "%a", "%f"], &two, "-a|home|a/b|INBOX", false),
        (&["p", "--in=%F"], &two, "--in=a/b,INBOX", false),
        (&["p", "%d"], &two, "/m/a/b|/m", false),
        (&["p", "%f", "%d"], &two, "a/b|INBOX|/m/a/b|/m", false),
        (&["p", "--box=%f"], &two, "--box=a/b|--box=INBOX", false),
        (&["p", "%f:%d"], &two, "a/b:/m/a/b|INBOX:/m", false),
        // percent signs
        (&["p", "100%%", "%f"], &two, "100%|a/b|INBOX", false),
        (&["p", "%%f"], &two, "%f", true),
        (&["p", "%%%f"], &two, "%a/b|%INBOX", false),
        (&["p", "%x%", "%f"], &two, "%x%|a/b|INBOX", false),
        // without folders
        (&["p"], &two, "", true),
        (&["p", "-q", "%a"], &two, "-q|home", true),
        (&["p", "%f"], &[], "", true),
        // a folder that has no directory
        (&["p", "%f", "%d"], &remote, "a|new|/m/a", false),
        (&["p", "%d"], &remote, "", true),
        // what cannot be said (security: S23)
        (&["p", "%F"], &comma, "", true),
        (&["p", "%f"], &comma, "a,b", false),
        (&["p", "%f"], &option, "", true),
        (&["p", "x%F"], &option, "x-x", false),
        (&["p", "-m", "%F"], &option, "-m", true),
        (&["p", "-b%f"], &option, "-b-x", false),
        (&["p", "--", "%f"], &option, "--|-x", false),
        (&["p", "%d"], &option, "/m/-x", false),
    ];
    for (words, folders, arguments, everything) in table {
        let order = order(
            command(words),
            home.path(),
            Scope::Folders(folders.to_vec()),
        );
        assert_eq!(
            planned(&order)?,
            (arguments.to_owned(), everything),
            "{words:?}"
        );
    }
    Ok(())
}

#[test]
fn folders_are_called_as_the_command_wants() -> Tested {
    let home = programs()?;
    let names: [&[u8]; 4] = [
        b"INBOX",
        "Entwürfe/x&y".as_bytes(),
        b"a b",
        b"\xff/\xc3\xa9",
    ];
    let folders = || Scope::Folders(names.iter().map(|name| folder(name, "")).collect());
    let table = [
        (
            Naming::Utf8,
            None,
            None,
            "INBOX|Entwürfe/x&y|a b|\u{fffd}/é",
        ),
        (
            Naming::Imap,
            None,
            None,
            "INBOX|Entw&APw-rfe/x&-y|a b|\u{fffd}/&AOk-",
        ),
        (
            Naming::Utf8,
            Some("."),
            None,
            "INBOX|Entwürfe.x&y|a b|\u{fffd}.é",
        ),
        (
            Naming::Utf8,
            None,
            Some("c:"),
            "INBOX|c:Entwürfe/x&y|c:a b|c:\u{fffd}/é",
        ),
        (
            Naming::Imap,
            Some("::"),
            Some("é"),
            "INBOX|éEntw&APw-rfe::x&-y|éa b|é\u{fffd}::&AOk-",
        ),
    ];
    for (naming, separator, prefix, expected) in table {
        let command = Command {
            naming,
            separator: separator.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
            ..command(&["p", "%f"])
        };
        let order = order(command, home.path(), folders());
        assert_eq!(planned(&order)?, (expected.to_owned(), false));
    }
    Ok(())
}

#[test]
fn the_whole_account_has_words_of_its_own() -> Tested {
    let home = programs()?;
    let all: &[&str] = &["--all", "%a", "100%%", "%f"];
    let words: &[&str] = &["p", "-q", "-%F", "%d", "%a"];
    let some = || Scope::Folders(vec![folder(b"a", "/m/a")]);
    let many = || Scope::Folders((0..20_000).map(|_| folder(b"folder", "/m/f")).collect());
    // `all`, told folders, scope, arguments
    let table = [
        (None, true, Scope::Everything, "-q|home", true),
        (Some(all), true, Scope::Everything, "--all|home|100%", true),
        (Some(&[][..]), true, Scope::Everything, "", true),
        (Some(all), true, some(), "-q|-a|/m/a|home", false),
        (Some(all), false, some(), "--all|home|100%", true),
        (None, false, some(), "-q|home", true),
        (Some(all), true, many(), "--all|home|100%", true),
    ];
    for (all, per_folder, scope, arguments, everything) in table {
        let command = Command {
            all: all.map(|all| all.iter().map(OsString::from).collect()),
            per_folder,
            ..command(words)
        };
        let order = order(command, home.path(), scope);
        assert_eq!(
            planned(&order)?,
            (arguments.to_owned(), everything),
            "{all:?}"
        );
    }
    Ok(())
}

#[test]
fn there_must_be_a_program() -> Tested {
    let home = programs()?;
    for (words, said) in [(&[][..], "without any words"), (&["q"][..], "program q")] {
        let refused = plan(&order(command(words), home.path(), Scope::Everything));
        let refused = refused.err().ok_or("a plan")?;
        assert_eq!(refused.outcome, Outcome::Config);
        assert!(refused.text.contains(said), "{}", refused.text);
    }
    Ok(())
}

#[test]
fn exit_codes_say_how_it_went() -> Tested {
    let home = programs()?;
    let order = order(command(&["p"]), home.path(), Scope::Everything);
    let plan = plan(&order).map_err(|refused| refused.text)?;
    let table = [
        (Exit::Code(0), Outcome::Ok, ""),
        (Exit::Code(3), Outcome::Ok, ""),
        (
            Exit::Code(1),
            Outcome::Transient,
            "p exited with 1: the end",
        ),
        (
            Exit::Code(75),
            Outcome::Transient,
            "p exited with 75: the end",
        ),
        (Exit::Code(77), Outcome::Auth, "p exited with 77: the end; "),
        (
            Exit::Code(78),
            Outcome::Config,
            "p exited with 78: the end; ",
        ),
        (
            Exit::Code(126),
            Outcome::Config,
            "p exited with 126: the end; ",
        ),
        (
            Exit::Code(127),
            Outcome::Config,
            "p exited with 127: the end; ",
        ),
        (
            Exit::Signal(9),
            Outcome::Interrupted,
            "p was ended by signal 9; it is run again",
        ),
    ];
    let output = Output {
        first: b"begin\nthe end\n\n".to_vec(),
        ..Output::default()
    };
    for (exit, outcome, text) in table {
        let verdict = judge(&order, &plan, exit, &output);
        assert_eq!(verdict.outcome, outcome, "{exit:?}");
        assert!(verdict.text.starts_with(text), "{}", verdict.text);
        assert_eq!(verdict.text.is_empty(), text.is_empty());
    }
    let quiet = judge(&order, &plan, Exit::Code(9), &Output::default());
    assert_eq!(quiet.text, "p exited with 9");
    Ok(())
}
