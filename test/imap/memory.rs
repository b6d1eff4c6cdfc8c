//! Servers that say much: what that costs.

use std::fs;
use std::process::Command;

use mailsync_module::remote::imap::line::News;
use mailsync_module::remote::imap::session::Mode;

use crate::scripted::{NOTIFY, Peer, serve};
use crate::support::LONG;
use crate::{Watch, expected, plain, support};

/// So much more memory may be used, in KiB, by whatever a server says.
const MOST: u64 = 48 * 1024;

/// Memory that this process uses, in KiB.
fn used() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Alone, since the other tests use memory, too.
fn alone(test: &str) -> bool {
    let mut prefix = Command::new("env");
    prefix.env("MALLOC_ARENA_MAX", "1");
    support::again(&format!("memory::{test}"), &mut prefix)
}

/// Watch a server that says this when all is watched, and in the end that there is mail; nobody takes
/// anything before that.
fn flooded(flood: impl Fn(&mut Peer) + Send + Sync + 'static) -> Watch {
    let port = serve(move |_, stream| {
        let mut peer = Peer::new(stream);
        peer.play(NOTIFY);
        flood(&mut peer);
        peer.say("* STATUS a (MESSAGES 4 UIDNEXT 5 UNSEEN 1)\r\n");
        peer.gone();
    });
    let mut watch = Watch::start(plain(port, "me"));
    watch.wait("watching", |it| it.watching == Some(Mode::Notify));
    watch.heard = Default::default();
    watch
}

// Security: S33.
#[test]
#[cfg(target_os = "linux")]
fn a_gigabyte_that_says_nothing() {
    if !alone("a_gigabyte_that_says_nothing") {
        return;
    }
    let before = used();
    let mut watch = flooded(|peer| {
        peer.say(format!("* 1 FETCH (BODY[] {{{}}}\r\n", 1u64 << 30));
        let some = vec![b'x'; 1 << 20];
        for _ in 0..1 << 10 {
            peer.say(&some);
        }
        peer.say(")\r\n");
    });
    // What is not read might have mattered; the sweep that this asks for is not answered.
    assert_eq!(watch.change("a"), expected(&["a new"]));
    let more = used().saturating_sub(before);
    assert!(more < MOST, "{more} KiB");
    watch.end();
}

// Security: S33.
#[test]
#[cfg(target_os = "linux")]
fn a_hundred_thousand_mailboxes() {
    if !alone("a_hundred_thousand_mailboxes") {
        return;
    }
    let before = used();
    let mut watch = flooded(|peer| {
        for number in 0..100 {
            let names = (0..1000).map(|it| {
                let name = format!("{number}-{it}-{}", "x".repeat(100));
                format!("* LIST () \"/\" {name}\r\n* STATUS {name} (MESSAGES 1)\r\n")
            });
            peer.say(names.collect::<String>());
        }
        let long = "y".repeat(60_000);
        for number in 0..200 {
            peer.say(format!("* LIST () \"/\" {long}{number}\r\n"));
        }
        peer.say("* OK [ALERT] that is all\r\n");
    });
    // Nobody takes anything.
    loop {
        match watch.news.recv_timeout(2 * LONG).expect("an end") {
            News::Heard => {}
            News::Log(_, line) if line.contains("that is all") => break,
            other => panic!("{other:?}"),
        }
    }
    let more = used().saturating_sub(before);
    println!("{more} KiB");
    assert!(more < MOST, "{more} KiB");
    let heard = watch.line.take();
    assert!(heard.everything, "what is not kept is doubt");
    watch.end();
}

// Security: S36.
#[test]
#[cfg(target_os = "linux")]
fn a_hundred_thousand_alerts() {
    if !alone("a_hundred_thousand_alerts") {
        return;
    }
    let mut watch = flooded(|peer| {
        for number in 0..100_000 {
            peer.say(format!("* OK [ALERT] the {number}th\r\n"));
        }
    });
    assert_eq!(watch.change("a"), expected(&["a new"]));
    assert!((1..=10).contains(&watch.log.len()), "{}", watch.log.len());
    watch.end();
}
