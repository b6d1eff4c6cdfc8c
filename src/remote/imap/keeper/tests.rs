//! The rules as scripts.  A line is `SECONDS EVENT -> ACTS : STATE DEADLINE`: what happens when, what is
//! done then, how the store stands after it, and when the machine wants to be called again (seconds
//! from the beginning; nothing where only an event can bring more).

use super::*;

fn event(words: &[&str], number: u64) -> Event {
    let heard = |heard| Event::Heard(number, heard);
    let over = |why| {
        let text = "a text".to_owned();
        Event::Over(number, End { why, text }, Snapshot::default())
    };
    match *words {
        ["tick"] => Event::Tick,
        ["woke"] => Event::Woke,
        ["network"] => Event::Network,
        ["resume"] => Event::Resume,
        ["lost"] => over(Why::Lost),
        ["refused"] => over(Why::Refused),
        ["mistake"] => over(Why::Config),
        ["denied"] => over(Why::Denied),
        ["asked"] => Event::Asked(number),
        ["secret"] => Event::Secret(number, Ok(Secret::new(b"geheim".to_vec()))),
        ["none"] => Event::Secret(number, Err("none".to_owned())),
        ["watched"] => heard(Heard {
            watching: Some(Mode::Notify),
            everything: true,
            ..Heard::default()
        }),
        ["says", name] => heard(Heard {
            changes: BTreeMap::from([(name.into(), Kinds::NEW)]),
            ..Heard::default()
        }),
        _ => panic!("no event: {words:?}"),
    }
}

fn act(act: Act) -> String {
    match act {
        Act::Start(..) => "start".to_owned(),
        Act::End(_) => "end".to_owned(),
        Act::Poke(_) => "poke".to_owned(),
        Act::Ask(_, false) => "ask".to_owned(),
        Act::Ask(_, true) => "ask-anew".to_owned(),
        Act::Give(_, Ok(_)) => "give".to_owned(),
        Act::Give(_, Err(_)) => "give-none".to_owned(),
        Act::Everything => "all".to_owned(),
        Act::Changes(changes) => {
            let names = changes
                .into_keys()
                .map(|name| String::from_utf8(name).expect("a name"));
            names.collect::<Vec<_>>().join(" ")
        }
    }
}

fn play(what: &str, script: &str) {
    let origin = Instant::now();
    let retry = Retry {
        inter: Duration::from_secs(5),
        max: Duration::from_secs(600),
    };
    let mut keeper = Keeper::new(origin, retry, 0);
    for line in script.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let place = format!("{what}: {line}");
        let (happens, follows) = line.split_once("->").expect(&place);
        let words: Vec<&str> = happens.split_whitespace().collect();
        let seconds: u64 = words[0].parse().expect(&place);
        let number = keeper.tries.number;
        let acts = keeper.handle(
            origin + Duration::from_secs(seconds),
            event(&words[1..], number),
        );
        let (expected, stands) = follows.split_once(':').expect(&place);
        let acts: Vec<String> = acts.into_iter().map(act).collect();
        assert_eq!(acts.join(" "), expected.trim(), "{place}");
        let deadline = keeper.deadline();
        let deadline = deadline.map(|at| at.saturating_duration_since(origin).as_secs());
        let stand = keeper.stand();
        let shown = format!(
            "{} {}",
            stand.state,
            deadline.map_or(String::new(), |at| at.to_string())
        );
        assert_eq!(shown.trim(), stands.trim(), "{place}");
        assert!(!format!("{keeper:?}").contains("geheim"), "{place}");
    }
}

#[test]
fn scripts() {
    play(
        "a connection that stands",
        "0 tick -> start : starting
         1 watched -> all : connected
         2 says a -> a : connected
         3 tick -> : connected",
    );
    play(
        "a lost one is made anew at once, and then later and later",
        "0 tick -> start : starting
         1 watched -> all : connected
         61 lost -> start : waiting
         61 lost -> : waiting 63
         62 tick -> : waiting 63
         63 tick -> start : waiting
         63 lost -> : waiting 67
         67 tick -> start : waiting
         67 lost -> : waiting 75
         75 tick -> start : waiting
         76 watched -> all : connected
         77 lost -> : waiting 93
         93 tick -> start : waiting
         94 watched -> all : connected
         154 lost -> start : waiting",
    );
    play(
        "but not more than once a second, and never more than five minutes apart",
        "0 tick -> start : starting
         0 lost -> : waiting 2
         0 network -> : waiting 1
         1 tick -> start : waiting
         1 lost -> : waiting 3
         3 tick -> start : waiting
         3 lost -> : waiting 7
         7 tick -> start : waiting
         7 lost -> : waiting 15
         15 tick -> start : waiting
         15 lost -> : waiting 31
         31 tick -> start : waiting
         31 lost -> : waiting 63
         63 tick -> start : waiting
         63 lost -> : waiting 127
         127 tick -> start : waiting
         127 lost -> : waiting 255
         255 tick -> start : waiting
         255 lost -> : waiting 511
         511 tick -> start : waiting
         511 lost -> : waiting 811
         600 network -> start : waiting
         600 lost -> : waiting 602",
    );
    play(
        "wake and network",
        "0 tick -> start : starting
         1 network -> : starting
         1 watched -> all : connected
         5 network -> poke : connected
         9 woke -> end : starting
         9 says a -> a : starting
         10 lost -> start : starting
         10 woke -> end : starting
         10 lost -> : starting 11
         11 tick -> start : starting
         11 lost -> : waiting 13
         12 woke -> start : waiting",
    );
    play(
        "a secret is kept until it is refused",
        "0 tick -> start : starting
         1 asked -> ask : starting 301
         2 secret -> give : starting
         3 watched -> all : connected
         63 lost -> start : waiting
         64 asked -> give : waiting
         65 refused -> : waiting 70
         66 network -> : waiting 70
         67 woke -> : waiting 70
         70 tick -> start : waiting
         71 asked -> ask-anew : waiting 371
         72 secret -> give : waiting
         73 refused -> : paused
         80 network -> : paused
         81 woke -> : paused
         82 tick -> : paused
         90 resume -> start : starting
         91 asked -> ask-anew : starting 391
         92 secret -> give : starting
         93 watched -> all : connected
         153 lost -> start : waiting
         154 asked -> give : waiting
         155 refused -> : waiting 160",
    );
    play(
        "a refusal that crosses a wake is one",
        "0 tick -> start : starting
         1 asked -> ask : starting 301
         2 secret -> give : starting
         3 woke -> end : starting
         3 refused -> : waiting 8
         8 tick -> start : waiting
         9 asked -> ask-anew : waiting 309
         10 secret -> give : waiting
         11 woke -> end : waiting
         11 refused -> : paused",
    );
    play(
        "who was let in was not refused twice in a row, even if that crosses a wake",
        "0 tick -> start : starting
         1 asked -> ask : starting 301
         2 secret -> give : starting
         3 refused -> : waiting 8
         8 tick -> start : waiting
         9 asked -> ask-anew : waiting 309
         10 secret -> give : waiting
         11 woke -> end : waiting
         11 watched -> all : waiting
         11 lost -> start : waiting
         12 asked -> give : waiting
         13 refused -> : waiting 18",
    );
    play(
        "nobody gives one",
        "0 tick -> start : starting
         1 asked -> ask : starting 301
         301 tick -> give-none : starting
         301 mistake -> : paused
         302 secret -> : paused
         303 resume -> start : starting
         304 asked -> ask-anew : starting 604
         305 none -> give-none : starting
         305 mistake -> : paused",
    );
    play(
        "a loss between two refusals forgives nothing",
        "0 tick -> start : starting
         1 asked -> ask : starting 301
         2 secret -> give : starting
         3 refused -> : waiting 8
         8 tick -> start : waiting
         9 lost -> : waiting 11
         11 tick -> start : waiting
         12 asked -> ask-anew : waiting 312
         13 secret -> give : waiting
         14 refused -> : paused",
    );
    play(
        "a tunnel that is refused",
        "0 tick -> start : starting
         0 denied -> : waiting 2
         2 tick -> start : waiting
         2 denied -> : waiting 6
         6 tick -> start : waiting
         6 denied -> : paused
         9 network -> : paused
         10 resume -> start : starting
         10 denied -> : waiting 12
         12 tick -> start : waiting
         12 lost -> : waiting 16
         16 tick -> start : waiting
         17 watched -> all : connected
         18 denied -> : waiting 26",
    );
    play(
        "one that is being ended is heard to its end, and asks and watches no more",
        "0 tick -> start : starting
         1 woke -> end : starting
         1 asked -> : starting
         1 watched -> all : starting
         1 lost -> start : starting",
    );
}

#[test]
fn what_is_known_goes_from_one_connection_to_the_next() {
    let now = Instant::now();
    let retry = Retry {
        inter: Duration::from_secs(5),
        max: Duration::from_secs(600),
    };
    let mut keeper = Keeper::new(now, retry, 0);
    let mut known = Snapshot::default();
    known.appeared(b"a");
    assert_eq!(
        keeper.handle(now, Event::Tick),
        [Act::Start(1, Snapshot::default())]
    );
    let (why, text) = (Why::Lost, String::new());
    keeper.handle(now, Event::Over(1, End { why, text }, known.clone()));
    let later = now + Duration::from_secs(2);
    assert_eq!(keeper.handle(later, Event::Tick), [Act::Start(2, known)]);
}
