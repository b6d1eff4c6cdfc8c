//! The paths that every change takes, each in a process of its own, so that its instructions can be counted.
//!
//! guard.py runs a scenario with some rounds and with none, under a program that counts; the difference is
//! what the rounds took.  So what is prepared costs nothing, and nothing here may depend on the time, on
//! chance or on the file system more than it has to.  Each round does what it says in its comment, and sees
//! that it came to what it should.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailsync_module::change::{AccountId, Change};
use mailsync_module::coalesce::{Coalesce, Coalescer, Delays};
use mailsync_module::echo;
use mailsync_module::engine::config::{AccountConfig, RootConfig, RootId};
use mailsync_module::engine::core::{Action, Core, Input};
use mailsync_module::frame::read::Frames;
use mailsync_module::maildir::message::{Flags, MessageName};
use mailsync_module::maildir::{Clock, FileId, FoundFolder, Layout, Scan, Stamp, Wall, diff, utf7};
use mailsync_module::notifier::Notifier;
use mailsync_module::syncer::RunId;
use mailsync_module::syncer::unpushed::{Agreed, compare};
use mailsync_module::watch::inbox::{Event, Inbox};
use mailsync_module::watch::job::{Report, Scanned};

use crate::schedule::{change, waiting};
use crate::unpushed::{folder, look, mbsync, order, records};

const DELAYS: Delays = Delays {
    quiet: Duration::from_millis(200),
    longest: Duration::from_secs(2),
};

/// What a scenario does; so many rounds of it.
type Scenario = fn(u32) -> Result<(), Box<dyn std::error::Error>>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("turn", turn),
    ("coalesce", coalesce),
    ("frame-encode", frame_encode),
    ("frame-decode", frame_decode),
    ("inbox", inbox),
    ("names", names),
    ("diff", differences),
    ("unpushed", unpushed),
    ("mbsync-state", mbsync_state),
    ("schedule", schedule),
    ("utf7", modified_utf7),
    #[cfg(feature = "imap")]
    ("imap", imap::conversation),
];

pub fn main(words: &[&str]) -> Result<(), String> {
    let [name, rounds] = words else {
        for (name, _) in SCENARIOS {
            println!("{name}");
        }
        return Ok(());
    };
    let rounds = rounds
        .parse()
        .map_err(|_| "ROUNDS is a number".to_owned())?;
    let scenario = SCENARIOS.iter().find(|(known, _)| known == name);
    let (_, scenario) = scenario.ok_or_else(|| format!("no scenario {name}"))?;
    scenario(rounds).map_err(|error| error.to_string())
}

/// Of an account with 3,000 folders: 1,000 messages, one after the other, each of which is told.
fn turn(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let account = AccountConfig {
        name: "work".to_owned(),
        roots: vec![RootConfig {
            directory: "/m".into(),
            layout: Layout::MaildirPlusPlus,
            poll: None,
        }],
        delays: DELAYS,
        quiet: true,
        sync: None,
        remotes: Vec::new(),
    };
    let created = (0..3_000).map(|n| Arc::new(found(n, 1_700_000_000)));
    let scanned = Scanned {
        real_root: "/m".into(),
        created: created.collect(),
        watches: 6_000,
        ..Scanned::default()
    };
    let mut now = Instant::now();
    let mut core: Core = Core::default();
    let mut sequence = 0;
    // What comes of this; each frame is acknowledged.  How many were sent.
    let mut give = |now, input| {
        let mut actions = core.handle(now, input);
        let before = sequence;
        while actions.iter().any(|it| matches!(it, Action::Send(_))) {
            sequence += 1;
            actions = core.handle(now, Input::Acknowledge(1, sequence));
        }
        black_box(core.status());
        sequence - before
    };
    give(now, Input::Attach(1, 65_536));
    give(now, Input::Configure(vec![account]));
    give(now, Input::Report(RootId(0), Report::Scanned(scanned)));
    let inbox = Inbox::new(|| {});
    for _ in 0..rounds {
        for n in 0..1_000 {
            let message = format!("/m/.list{n:05}/new/{}", name(n, ""));
            inbox.put(Event::MovedTo(message.into(), None));
            give(now, Input::Dirty(RootId(0), inbox.take(now)));
            now += DELAYS.quiet;
            assert_eq!(give(now, Input::Tick), 1);
        }
    }
    Ok(())
}

/// A change in each of so many folders.
fn changes(count: u64) -> Vec<Change> {
    (1..=count)
        .map(|n| change(&format!("lists/list{n}"), n))
        .collect()
}

/// Two changes in each of 3,000 folders, which are handed out together.
fn coalesce(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let changes = changes(3_000);
    let now = Instant::now();
    for _ in 0..rounds {
        let mut coalescer = Coalescer::new(DELAYS);
        for later in [0, 10] {
            for it in &changes {
                coalescer.add(now + Duration::from_millis(later), it.clone());
            }
        }
        let due = coalescer.due(now + Duration::from_secs(1));
        assert_eq!(due.len(), changes.len());
    }
    Ok(())
}

/// Frames that tell of so many changes, as they go into the pipe.
fn frames(changes: &[Change]) -> Vec<Vec<u8>> {
    let mut notifier = Notifier::default();
    notifier.account(AccountId(0), "work".to_owned());
    notifier.attach(1, 65_536);
    for it in changes {
        notifier.change(it.clone());
    }
    let (now, mut frames) = (Instant::now(), Vec::new());
    while let Some(frame) = notifier.frame(now) {
        frames.push(frame);
        assert!(notifier.acknowledge(1, frames.len() as u64));
    }
    frames
}

/// 3,000 changes are told.
fn frame_encode(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let changes = changes(3_000);
    for _ in 0..rounds {
        assert!(!black_box(frames(&changes)).is_empty());
    }
    Ok(())
}

/// The frames of 3,000 changes are read, from pieces as a pipe may give.
fn frame_decode(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = frames(&changes(3_000)).concat();
    for _ in 0..rounds {
        let (mut frames, mut records) = (Frames::default(), 0);
        for piece in bytes.chunks(4_000) {
            frames.push(piece);
            while let Some(frame) = frames.take()? {
                records += frame.records.len();
            }
        }
        assert_eq!(records, 3_000);
    }
    Ok(())
}

/// The name of a message as mbsync gives it, with what stands behind it.
fn name(number: u32, rest: &str) -> String {
    format!("1700000000.4711_{number}.host,U={number}{rest}")
}

/// 1,000 messages come to 100 folders, are read, and go.
fn inbox(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut events = Vec::new();
    for number in 1..=1_000 {
        let within = |part: &str, rest: &str| {
            format!("/m/.f{}/{part}/{}", number % 100, name(number, rest)).into()
        };
        let pair = Some(number as usize);
        events.push(Event::MovedTo(within("new", ""), None));
        events.push(Event::MovedFrom(within("new", ""), pair));
        events.push(Event::MovedTo(within("cur", ":2,S"), pair));
        events.push(Event::Removed(within("cur", ":2,S")));
    }
    let now = Instant::now();
    for _ in 0..rounds {
        let inbox = Inbox::new(|| {});
        for it in &events {
            inbox.put(it.clone());
        }
        assert_eq!(inbox.take(now).arrived, 1_000);
    }
    Ok(())
}

/// 10,000 names say what they are, and what becomes of them when they are read says who did it.
fn names(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<_> = (1..=10_000)
        .map(|n| (name(n, ":2,"), name(n, ":2,S")))
        .collect();
    for _ in 0..rounds {
        let mut seen = 0;
        for (old, new) in &names {
            let name = MessageName::of(new.as_bytes());
            seen += usize::from(name.flags() == Flags::SEEN && name.uid().is_some());
            black_box(echo::created(Path::new(old)));
            black_box(echo::renamed(Path::new(old), Path::new(new)));
        }
        assert_eq!(seen, names.len());
    }
    Ok(())
}

/// A folder, with a cur/ of that time.
fn found(number: u64, mtime: i64) -> FoundFolder {
    let wall = |secs| Wall { secs, nanos: 0 };
    let stamp = |ino, mtime| Stamp {
        id: FileId { dev: 1, ino },
        mtime: wall(mtime),
        ctime: wall(mtime),
        size: 4_096,
        taken: wall(1_700_000_100),
        since: wall(1_700_000_100),
    };
    let directory: Arc<Path> = Path::new(&format!("/m/.list{number:05}")).into();
    FoundFolder {
        name: format!("list{number:05}").as_bytes().into(),
        directory: directory.clone(),
        real: directory,
        new: stamp(2 * number, 1_700_000_000),
        cur: stamp(2 * number + 1, mtime),
    }
}

/// Two looks at 10,000 folders, of which one in a thousand has changed in between.
fn differences(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let found = |changed: &dyn Fn(u64) -> bool| {
        let found = |n| Arc::new(found(n, 1_700_000_000 + i64::from(changed(n))));
        (0..10_000).map(found).collect::<Vec<_>>()
    };
    let known: HashMap<_, _> = found(&|_| false)
        .into_iter()
        .map(|folder| (folder.real.clone(), folder))
        .collect();
    let scan = Scan {
        real_root: "/m".into(),
        folders: found(&|n| n % 1_000 == 0),
        ..Scan::default()
    };
    for _ in 0..rounds {
        let delta = diff(&known, &scan, |_| Clock::Here);
        assert_eq!(delta.changed.len(), 10);
    }
    Ok(())
}

/// The names of 10,000 messages are compared with what was agreed on; one in a thousand differs.
fn unpushed(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let agreed: Agreed = (1..=10_000).map(|uid| (uid, Some(Flags::SEEN))).collect();
    let letters = |n: u32| {
        if n.is_multiple_of(1_000) {
            ":2,FS"
        } else {
            ":2,S"
        }
    };
    let names: Vec<String> = (1..=10_000).map(|n| name(n, letters(n))).collect();
    for _ in 0..rounds {
        let found = compare(&agreed, names.iter().map(String::as_bytes), |_| true);
        assert_eq!(found.len(), 10);
    }
    Ok(())
}

/// A folder of 1,000 messages is compared with mbsync's own record of it.
fn mbsync_state(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    const MESSAGES: u32 = 1_000;
    let home = tempfile::tempdir()?;
    let folder = folder(home.path(), MESSAGES)?;
    records(home.path(), MESSAGES)?;
    let order = order(home.path(), mbsync());
    for _ in 0..rounds {
        look(&order, &folder);
    }
    Ok(())
}

/// 100 events while 3,000 folders wait.
fn schedule(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let now = Instant::now();
    let (mut scheduler, changes) = waiting(now, 3_000);
    for _ in 0..rounds {
        for it in &changes[..100] {
            scheduler.changed(now, it);
            scheduler.checked(&it.folder.real, it.serial);
            let acts = scheduler.tick(now, &mut || RunId(1));
            assert!(acts.is_empty());
            black_box(scheduler.deadline());
        }
    }
    Ok(())
}

/// 1,000 names of folders, read and written.
fn modified_utf7(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<Vec<u8>> = (0..1_000)
        .map(|n| match n % 3 {
            0 => format!("lists{n}").into_bytes(),
            1 => format!("Entw&APw-rfe {n}").into_bytes(),
            _ => format!("&ZeVnLIqe-{n} R&-D").into_bytes(),
        })
        .collect();
    for _ in 0..rounds {
        for name in &names {
            let text = utf7::decode(name).ok_or("no modified UTF-7")?;
            assert_eq!(utf7::encode(&text), *name);
        }
    }
    Ok(())
}

#[cfg(feature = "imap")]
mod imap {
    use std::fmt::Write;
    use std::time::Instant;

    use mailsync_module::remote::imap::session::{Act, Input, Mode, Role, Session, Settings};
    use mailsync_module::remote::imap::snapshot::Snapshot;

    const MAILBOXES: u32 = 300;
    const NEWS: u32 = 1_000;

    /// The server's side: a login that is not needed, all mailboxes, and what comes then.
    fn script() -> String {
        let mut text =
            "* PREAUTH [CAPABILITY IMAP4rev1 IDLE ENABLE CONDSTORE LIST-STATUS NOTIFY] hello\r\n\
                        * ENABLED CONDSTORE\r\na1 OK\r\na2 OK\r\n"
                .to_owned();
        let status = |text: &mut String, n: u32, messages: u32, modseq: u32| {
            let _ = write!(
                text,
                "* STATUS \"lists/list &APw- {n}\" (MESSAGES {messages} UIDNEXT {} UIDVALIDITY 7 UNSEEN 1 \
                 HIGHESTMODSEQ {modseq})\r\n",
                messages + 1
            );
        };
        for n in 0..MAILBOXES {
            let _ = write!(
                text,
                "* LIST (\\HasNoChildren) \"/\" \"lists/list &APw- {n}\"\r\n"
            );
            status(&mut text, n, 10, 9);
        }
        text += "a3 OK\r\n+ idling\r\n";
        for n in 0..NEWS {
            status(&mut text, n % MAILBOXES, 11 + n / MAILBOXES, 10 + n);
        }
        text
    }

    /// A session with a server that has 300 mailboxes and tells 1,000 times that a message has come.
    pub fn conversation(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
        let script = script();
        let settings = Settings::new("me", "imap.example.org", 993);
        let now = Instant::now();
        for _ in 0..rounds {
            let role = Role::All(Snapshot::default());
            let mut session = Session::new(now, settings.clone(), role);
            let (mut changes, mut watching) = (0, false);
            for piece in script.as_bytes().chunks(1_400) {
                for act in session.handle(now, Input::Bytes(piece)) {
                    changes += u32::from(matches!(act, Act::Change(..)));
                    watching |= act == Act::Watching(Mode::Notify);
                }
            }
            assert!(watching && changes == NEWS, "{watching}, {changes}");
        }
        Ok(())
    }
}
