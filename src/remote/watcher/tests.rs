//! The rules as scripts.  A line is `SECONDS EVENT -> ACTS : STATE DEADLINE`: what happens when, what is
//! done then, how the store stands after it, and when the machine wants to be called again (seconds
//! from the beginning; nothing where only an event can bring more).

use super::*;

const PLAIN: &[&str] = &["watch", "x"];
const OURS: &[&str] = &["ssh", "host", "mailsync-watch", "-m", "Mail"];

fn program(words: &[&str]) -> Program {
    Program {
        argv: words.iter().map(OsString::from).collect(),
        search: Vec::new(),
        environment: Vec::new(),
        naming: Naming::default(),
    }
}

fn exit(number: u64, code: i32, denied: bool) -> Event {
    let over = Over {
        how: How::Exit(Exit::Code(code)),
        denied,
        said: String::new(),
    };
    Event::Over(number, over)
}

fn event(words: &[&str], number: u64) -> Event {
    let heard = |heard| Event::Heard(number, heard);
    let nothing = Heard::default();
    match *words {
        ["tick"] => Event::Tick,
        ["woke"] => Event::Woke,
        ["network"] => Event::Network,
        ["resume"] => Event::Resume,
        ["exit", code] => exit(number, code.parse().unwrap(), false),
        ["denied"] => exit(number, 255, true),
        ["missing"] => {
            let how = How::Missing("there is none".to_owned());
            let (denied, said) = (false, String::new());
            Event::Over(number, Over { how, denied, said })
        }
        ["watched"] => heard(Heard {
            everything: true,
            ..nothing
        }),
        ["hello"] => heard(Heard {
            hello: true,
            ..nothing
        }),
        ["blank"] => heard(Heard {
            blank: true,
            ..nothing
        }),
        ["foreign"] => heard(Heard {
            foreign: true,
            ..nothing
        }),
        ["says", name] => heard(Heard {
            changes: BTreeMap::from([(name.into(), Kinds::NEW)]),
            ..nothing
        }),
        _ => panic!("no event: {words:?}"),
    }
}

fn act(act: Act) -> String {
    match act {
        Act::Start(_, Dialect::Plain) => "start".to_owned(),
        Act::Start(_, Dialect::Kinds) => "start+kinds".to_owned(),
        Act::End(_) => "end".to_owned(),
        Act::Everything => "all".to_owned(),
        Act::Changes(changes) => {
            let names = changes
                .into_keys()
                .map(|name| String::from_utf8(name).unwrap());
            names.collect::<Vec<_>>().join(" ")
        }
    }
}

fn play(what: &str, words: &[&str], script: &str) {
    let origin = Instant::now();
    let retry = Retry {
        inter: Duration::from_secs(1),
        max: Duration::from_secs(60),
    };
    let mut watcher = Watcher::new(origin, &program(words), retry, 0);
    for line in script.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (happens, follows) = line.split_once("->").unwrap();
        let mut words = happens.split_whitespace();
        let at: f64 = words.next().unwrap().parse().unwrap();
        let now = origin + Duration::from_secs_f64(at);
        let words: Vec<&str> = words.collect();
        let acts = watcher.handle(now, event(&words, watcher.tries.number));
        let acts: Vec<String> = acts.into_iter().map(act).collect();
        let deadline = watcher.deadline().map(|at| at - origin);
        let deadline = deadline.map_or_else(String::new, |at| format!(" {}", at.as_secs_f64()));
        let state = format!("{}{deadline}", watcher.stand().state);
        let found = format!("{} : {state}", acts.join(" "));
        assert_eq!(found.trim(), follows.trim(), "{what}: {line}");
    }
}

#[test]
fn a_good_life() {
    let script = "
        0 tick        -> start : starting 60
        1 tick        -> : starting 60
        2 watched     -> all : connected
        3 says a      -> a : connected
        4 says b      -> b : connected
        9 watched     -> all : connected";
    play("heard", PLAIN, script);
    let script = "
        0 tick        -> start+kinds : starting 60
        1 hello       -> : starting 60
        2 watched     -> all : connected
        3 says a      -> a : connected";
    play("our own", OURS, script);
}

#[test]
fn ends_that_are_tried_again() {
    let script = "
        0 tick        -> start : starting 60
        1 watched     -> all : connected
        10 exit 0     -> : waiting 15
        14 tick       -> : waiting 15
        15 tick       -> start : waiting 75
        16 watched    -> all : connected
        17 exit 1     -> : waiting 27
        27 tick       -> start : waiting 87
        28 exit 1     -> : waiting 48
        48 tick       -> start : waiting 108
        49 watched    -> all : connected
        109 exit 255  -> : waiting 114
        114 tick      -> start : waiting 174";
    play("doubled, and anew after a minute", PLAIN, script);
    let script = "
        0 tick        -> start : starting 60
        1 exit 1      -> : waiting 6
        6 tick        -> start : waiting 66
        7 exit 1      -> : waiting 17
        17 tick       -> start : waiting 77
        17 exit 1     -> : waiting 37
        37 tick       -> start : waiting 97
        38 exit 1     -> : waiting 78
        78 tick       -> start : waiting 138
        79 exit 1     -> : waiting 139
        139 tick      -> start : waiting 199
        140 exit 1    -> : waiting 200";
    play("never longer than the most", PLAIN, script);
    let script = "
        0 tick        -> start : starting 60
        60 tick       -> end : waiting
        61 watched    -> : waiting
        62 exit 1     -> : waiting 65
        65 tick       -> start : waiting 125
        125 tick      -> end : waiting
        140 exit 0    -> start : waiting 200";
    play("nothing for a minute", PLAIN, script);
}

#[test]
fn folders_that_came_or_went() {
    let script = "
        0 tick        -> start : starting 60
        1 watched     -> all : connected
        9 exit 2      -> start : starting 69
        9.1 watched   -> all : connected
        9.2 exit 2    -> : waiting 19.2
        19.2 tick     -> start : waiting 79.2
        19.3 watched  -> all : connected
        80 exit 2     -> start : starting 140
        80.1 exit 2   -> : waiting 90.1";
    play("2, at once, and once a minute", PLAIN, script);
}

#[test]
fn trouble_lasts_until_it_is_watched_again() {
    let origin = Instant::now();
    let at = |seconds| origin + Duration::from_secs(seconds);
    let retry = Retry {
        inter: Duration::ZERO,
        max: Duration::from_secs(600),
    };
    let mut watcher = Watcher::new(origin, &program(PLAIN), retry, 0);
    let watched = || Heard {
        everything: true,
        ..Heard::default()
    };
    // What happens, and how it stands then: since when, why, and when it is tried again.
    let table = [
        (0, Event::Tick, ("starting", 0, "", None)),
        (1, Event::Heard(1, watched()), ("connected", 1, "", None)),
        (
            100,
            exit(1, 255, false),
            ("waiting", 100, "watch exited with 255", Some(105)),
        ),
        (
            105,
            Event::Tick,
            ("waiting", 100, "watch exited with 255", None),
        ),
        (
            110,
            exit(2, 1, false),
            ("waiting", 100, "watch exited with 1", Some(120)),
        ),
        (
            111,
            Event::Network,
            ("waiting", 100, "watch exited with 1", None),
        ),
        (
            112,
            Event::Heard(3, watched()),
            ("connected", 112, "", None),
        ),
        (113, Event::Woke, ("starting", 113, "", None)),
    ];
    for (when, event, (state, since, text, next)) in table {
        watcher.handle(at(when), event);
        let expected = Stand {
            state,
            text: text.to_owned(),
            since: at(since),
            news: watcher.tries.news,
            next: next.map(at),
        };
        assert_eq!(watcher.stand(), expected, "at {when}");
    }
}

#[test]
fn refusals() {
    let script = "
        0 tick        -> start : starting 60
        1 exit 127    -> : waiting 6
        6 tick        -> start : waiting 66
        7 denied      -> : waiting 17
        17 tick       -> start : waiting 77
        18 missing    -> : paused
        600 tick      -> : paused
        601 woke      -> : paused
        602 network   -> : paused
        603 resume    -> start : starting 663
        604 denied    -> : waiting 609
        609 tick      -> start : waiting 669
        610 watched   -> all : connected
        611 denied    -> : waiting 621";
    play("three in a row", PLAIN, script);
    let script = "
        0 tick        -> start : starting 60
        1 exit 127    -> : waiting 6
        6 tick        -> start : waiting 66
        7 exit 127    -> : waiting 17
        17 tick       -> start : waiting 77
        18 exit 255   -> : waiting 38
        38 tick       -> start : waiting 98
        39 exit 127   -> : waiting 79";
    play("not in a row", PLAIN, script);
}

#[test]
fn wake_and_network() {
    let script = "
        0 tick        -> start : starting 60
        1 watched     -> all : connected
        2 network     -> : connected
        3 woke        -> end : starting
        3.1 says a    -> : starting
        4 exit 255    -> start : starting 64
        5 watched     -> all : connected
        6 exit 1      -> : waiting 11
        7 network     -> start : waiting 67
        7.1 network   -> : waiting 67
        7.2 exit 1    -> : waiting 12.2
        7.3 network   -> : waiting 8
        8 tick        -> start : waiting 68
        8.5 exit 1    -> : waiting 13.5
        9.5 woke      -> start : waiting 69.5
        9.6 woke      -> end : waiting
        9.7 exit 255  -> : waiting 10.5";
    play("no wait", PLAIN, script);
}

#[test]
fn those_that_do_not_know_kinds() {
    let script = "
        0 tick        -> start+kinds : starting 60
        3 exit 64     -> start : starting 63
        4 watched     -> all : connected
        5 exit 64     -> : waiting 10";
    play("64, once", OURS, script);
    let script = "
        0 tick        -> start+kinds : starting 60
        1 hello       -> : starting 60
        2 exit 64     -> : waiting 7";
    play("64 of one that knows them", OURS, script);
    let script = "
        0 tick        -> start+kinds : starting 60
        1 foreign     -> end : starting
        2 exit 0      -> start : starting 62
        3 watched     -> all : connected
        4 exit 1      -> : waiting 9
        5 resume      -> start+kinds : waiting 65";
    play("another version", OURS, script);
    let script = "
        0 tick        -> start+kinds : starting 60
        1 blank       -> : starting 60
        60 tick       -> end : starting
        61 exit 1     -> start : starting 121";
    play("one that takes any option", OURS, script);
    let script = "
        0 tick        -> start : starting 60
        1 exit 64     -> : waiting 6";
    play("64 of another program", PLAIN, script);
}

#[test]
fn what_comes_late_is_nobodys() {
    let origin = Instant::now();
    let retry = Retry {
        inter: Duration::ZERO,
        max: Duration::ZERO,
    };
    let mut watcher = Watcher::new(origin, &program(PLAIN), retry, 0);
    let now = origin + Duration::from_secs(1);
    assert_eq!(
        watcher.handle(now, Event::Tick),
        [Act::Start(1, Dialect::Plain)]
    );
    assert_eq!(watcher.handle(now, exit(1, 1, false)), []);
    let now = now + AT_MOST;
    assert_eq!(
        watcher.handle(now, Event::Tick),
        [Act::Start(2, Dialect::Plain)],
        "no more than once a second, even without any delay"
    );
    let heard = Heard {
        everything: true,
        ..Heard::default()
    };
    assert_eq!(watcher.handle(now, Event::Heard(1, heard.clone())), []);
    assert_eq!(watcher.handle(now, exit(1, 127, false)), []);
    assert_eq!(
        watcher.handle(now, Event::Heard(2, heard)),
        [Act::Everything]
    );
}

#[test]
fn texts_say_what_and_what_to_do() {
    let table = [
        (exit(1, 0, false), "watch ended"),
        (exit(1, 1, false), "watch exited with 1"),
        (
            exit(1, 127, false),
            "watch exited with 127 (no such program); install it, or correct :remote",
        ),
        (
            Event::Over(
                1,
                Over {
                    how: How::Exit(Exit::Code(255)),
                    denied: true,
                    said: "me@host: Permission denied (publickey).".to_owned(),
                },
            ),
            "watch exited with 255: me@host: Permission denied (publickey).; see that the same \
             command logs in by itself, from a terminal",
        ),
    ];
    for (event, text) in table {
        let now = Instant::now();
        let retry = Retry {
            inter: Duration::ZERO,
            max: Duration::from_secs(9),
        };
        let mut watcher = Watcher::new(now, &program(PLAIN), retry, 0);
        watcher.handle(now, Event::Tick);
        watcher.handle(now, event);
        assert_eq!(watcher.stand().text, text);
    }
}

#[test]
fn our_own_is_asked_for_kinds() {
    let table: [(&[&str], &[&str]); 8] = [
        (OURS, &["ssh", "host", "mailsync-watch", "+", "-m", "Mail"]),
        (&["mailsync-watch"], &["mailsync-watch", "+"]),
        (
            &["ssh", "h", "/opt/bin/mailsync-watch"],
            &["ssh", "h", "/opt/bin/mailsync-watch", "+"],
        ),
        (
            &["ssh", "-i", "/k/mailsync-watch", "h", "mailsync-watch"],
            &["ssh", "-i", "/k/mailsync-watch", "h", "mailsync-watch", "+"],
        ),
        (
            &["ssh", "h", "exec nice mailsync-watch"],
            &["ssh", "h", "exec nice mailsync-watch", "+"],
        ),
        (
            &["ssh", "h", "mailsync-watch -m Mail"],
            &["ssh", "h", "mailsync-watch -m Mail"],
        ),
        (
            &["ssh", "h", "no-mailsync-watch"],
            &["ssh", "h", "no-mailsync-watch"],
        ),
        (PLAIN, PLAIN),
    ];
    for (words, expected) in table {
        let program = program(words);
        let argv = program.argv(Dialect::Kinds).join(OsStr::new(" "));
        let argv = argv.into_string().unwrap();
        assert_eq!(
            argv.replace("--kinds --delay 0", "+"),
            expected.join(" "),
            "{words:?}"
        );
        assert_eq!(program.argv(Dialect::Plain), program.argv);
    }
}
