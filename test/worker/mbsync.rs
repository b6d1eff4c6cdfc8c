//! The loop around mbsync that the manual shows.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use mailsync_module::syncer::run::resident::{Patience, Resident};
use mailsync_module::syncer::worker::Worker;
use mailsync_module::syncer::{Ended, Naming, Outcome, Program, Scope, Syncer};

use super::syncing::{Home, Tested, flag, server};
use super::{LONG, begin};

/// The example of the manual.
fn example() -> Result<String, Box<dyn Error>> {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.org");
    let manual = fs::read_to_string(manual)?;
    let (_, rest) = manual
        .split_once("#+name: mbsync-worker\n")
        .ok_or("no example")?;
    let (_, rest) = rest.split_once('\n').ok_or("no block")?;
    let (block, _) = rest.split_once("#+end_src").ok_or("no end")?;
    let lines = block.lines();
    let lines = lines.map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned() + "\n");
    Ok(lines.collect())
}

#[test]
fn the_loop_around_mbsync_of_the_manual() -> Tested {
    let Some(server) = server("mbsync") else {
        return Ok(());
    };
    let names = ["INBOX", "a", "a/b", "with space", "com,ma"];
    let home = Home::new(server, "loop", &names, "mbsyncrc")?;
    let script = home.home.path().join("mbsync-worker");
    fs::write(&script, example()?)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    // Where mbsync looks by itself.
    fs::rename(home.config(), home.home.path().join(".mbsyncrc"))?;
    let program = Program::Mbsync {
        program: "mbsync".into(),
        target: Some("verbatim".to_owned()),
        config: None,
        args: Vec::new(),
    };
    let resident = Resident::start(Patience::default())?;
    let tree = home.tree("verbatim");
    let mut pids = Vec::new();
    let mut run = |scope| -> Result<Ended, Box<dyn Error>> {
        let mut order = home.order(program.clone(), tree.clone(), scope);
        let mut syncer = Syncer::clone(&order.syncer);
        syncer.worker = Some(Worker {
            words: vec![script.clone().into(), "verbatim".into()],
            naming: Naming::Imap,
            separator: None,
            prefix: None,
            idle: LONG,
            quit: LONG,
        });
        order.syncer = Arc::new(syncer);
        let ran = begin(&resident, order, None)?.ended()?;
        assert!(ran.said.is_empty(), "{:?}", ran.said);
        pids.extend(ran.pids);
        Ok(ran.ended)
    };
    assert_eq!(run(Scope::Everything)?.outcome, Outcome::Ok);
    let folders = home.found(&tree)?;
    assert_eq!(folders.len(), names.len());
    for folder in &folders {
        flag(folder)?;
    }
    for folder in &folders {
        let ended = run(Scope::Folders(vec![folder.clone()]))?;
        assert_eq!((ended.outcome, ended.everything), (Outcome::Ok, false));
        assert_eq!(home.flagged(folder)?, 1, "{folder:?}");
    }
    fs::remove_dir_all(home.mail.join(".a"))?;
    let gone = folders.iter().find(|it| &*it.name == b"a").ok_or("a")?;
    let ended = run(Scope::Folders(vec![gone.clone()]))?;
    assert_ne!(ended.outcome, Outcome::Ok, "{}", ended.text);
    assert!(pids.iter().all(|pid| *pid == pids[0]));
    Ok(())
}
