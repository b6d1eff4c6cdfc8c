//! A life: what happens at the server, on the way and here, in virtual time, one step after the other, in
//! an order that only the seed decides.
//!
//! Time goes on while the machine sleeps, and what it counts does not; what arrives then waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::{Duration, Instant};

use mailsync_module::change::{AccountId, Kinds};
use mailsync_module::coalesce::Coalescer;
use mailsync_module::engine::config::{RemoteId, RootId};
use mailsync_module::engine::core::{Action, Core, Input};
use mailsync_module::remote::imap::keeper::Event as Keeps;
use mailsync_module::remote::imap::session::{Mode, Name, PATIENCE, Why};
use mailsync_module::remote::imap::snapshot::Snapshot;
use mailsync_module::schedule::Lock;
use mailsync_module::syncer::{Ended, Event as Ran, Memory, Outcome, RunId, Scope};

use super::line::{Line, News};
use super::maildirs::Maildirs;
use super::rules::Rules;
use super::server::{Event, FOLDERS, PASSING, Server, secret};
use super::setup::{ACCOUNT, Sabotage, Setup, Use};
use super::stats::{FAULTS, Stats};
use crate::lisp::{CAPACITY, Record, decode};
use crate::machine::Trace;
use crate::rng::Rng;
use crate::world::{Outcome as Verdict, ms};

const ID: AccountId = AccountId(0);

/// A life of more steps than this goes round in circles.
const MOST_STEPS: u64 = 300_000;

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Debug)]
pub enum Happens {
    // At the server.
    Change,
    Fault,
    Reaches(u64, Vec<u8>),
    Executes(u64),
    Pushes(u64),
    Returns,
    NetworkReturns(bool),
    Available,
    Wakes(bool),
    // Here.
    Arrives(u64, Vec<u8>),
    HangsUp(u64),
    Secured(u64),
    Opened(u64, Option<Name>),
    Looks(u64),
    News(u64, News),
    Reads(i64),
    Answers(RemoteId, u64, bool),
    Notices(Notice),
    Locks,
    // In maildirs.
    User,
    Acts,
    Delivers,
    Takes,
    Works(RootId),
    Checks(i64, &'static str, u64),
    // Of a run.
    Begins(RunId, u32),
    Syncs(RunId, &'static str),
    Ends(RunId, bool),
}

/// Why a line is dead.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The network is another one, and the kernel says so.
    Network,
    /// The machine slept.
    Sleep,
    /// It slept, and the line is not dead at all: what has waited comes when it wakes.
    Nap,
    /// Nobody knows.
    Silence,
}

/// What the machine or the user tells the engine.
#[derive(Clone, Copy, Debug)]
pub enum Notice {
    Woke(Duration),
    Network,
    Retry,
}

impl Happens {
    fn is_here(&self) -> bool {
        !matches!(
            self,
            Happens::Change
                | Happens::Fault
                | Happens::Reaches(..)
                | Happens::Executes(_)
                | Happens::Pushes(_)
                | Happens::Returns
                | Happens::NetworkReturns(_)
                | Happens::Available
                | Happens::Wakes(_)
        )
    }
}

/// A way for bytes.
#[derive(Debug, Default)]
struct Link {
    /// When the last bytes arrive, here and there.
    here: Duration,
    there: Duration,
    /// Nothing arrives any more, and nobody says so.
    dead: bool,
    /// It is dead, or this end will hear that the other one is no more.
    doomed: bool,
    /// Bytes come so many at a time.
    piece: usize,
}

pub struct World {
    pub setup: Setup,
    pub stats: Stats,
    pub trace: Trace,
    pub rng: Rng,
    pub sabotage: Sabotage,
    epoch: Instant,
    pub now: Duration,
    slept: Duration,
    /// Since when the machine sleeps or stands still, and until when.
    asleep: Option<(Duration, Duration)>,
    core: Core<Coalescer>,
    pub maildirs: Option<Maildirs>,
    agenda: BTreeMap<(Duration, u64), Happens>,
    entries: u64,
    pub server: Server,
    /// There is a network, and the server is up.
    pub reachable: bool,
    pub up: bool,
    stalled: Duration,
    links: BTreeMap<u64, Link>,
    pub line: Option<Line>,
    pub mode: Option<Mode>,
    /// The store whose mailboxes were all seen once, which is known from then on.
    pub swept: Option<RemoteId>,
    /// The last message in the engine's channel.
    channel: Duration,
    /// Mailboxes that were pushed without all of their numbers.
    pub pushed_bare: BTreeSet<&'static str>,
    pub rules: Rules,
    /// The run that is under way.
    running: Option<RunId>,
    pub generation: i64,
    pipe: Option<(Vec<u8>, Duration)>,
    lisp_busy: Duration,
    /// The secret that is known here.
    pub password: u64,
    /// Somebody would not say it.
    declined: bool,
    state: String,
    /// When the user has done something about it.
    resumed: Duration,
    /// So often each folder was told, and everything.
    told: BTreeMap<&'static str, u64>,
    /// So often each folder lost what watched it.
    unwatched: BTreeMap<&'static str, u64>,
    pub calm: bool,
    /// It has come to rest in the calm: everything is known, and every line is alive.
    rested: bool,
    ticks: u64,
}

impl World {
    pub fn new(mut rng: Rng, setup: Setup, sabotage: Sabotage, aloud: bool) -> Self {
        let mut server = Server::new(setup.features.clone(), &mut rng);
        server.silent = sabotage == Sabotage::Silent;
        let rooted = setup.used == Use::Rooted;
        let maildirs = rooted.then(|| Maildirs::new(&mut rng, &setup, sabotage, &server));
        World {
            stats: Stats::default(),
            trace: Trace::new(aloud, rng.is_taped()),
            sabotage,
            epoch: Instant::now() + seconds(1_000_000),
            now: Duration::ZERO,
            slept: Duration::ZERO,
            asleep: None,
            core: Core::default(),
            maildirs,
            agenda: BTreeMap::new(),
            entries: 0,
            server,
            reachable: true,
            up: true,
            stalled: Duration::ZERO,
            links: BTreeMap::new(),
            line: None,
            mode: None,
            swept: None,
            channel: Duration::ZERO,
            pushed_bare: BTreeSet::new(),
            rules: Rules::default(),
            running: None,
            generation: 0,
            pipe: None,
            lisp_busy: Duration::ZERO,
            password: 1,
            declined: false,
            state: String::new(),
            resumed: Duration::ZERO,
            told: BTreeMap::new(),
            unwatched: BTreeMap::new(),
            calm: true,
            rested: false,
            ticks: 0,
            setup,
            rng,
        }
    }

    pub fn say(&mut self, text: impl Display) {
        self.trace.add(self.now, text);
    }

    pub fn soon(&mut self, after: Duration, what: Happens) {
        self.then(self.now + after, what);
    }

    fn then(&mut self, at: Duration, what: Happens) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), what);
    }

    /// At some time before that.
    pub fn later(&mut self, most: Duration, what: Happens) {
        let after = self.some(most);
        self.soon(after, what);
    }

    fn some(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.rng.below(most.as_micros() as u64 + 1))
    }

    /// What the machines here are told that the time is.
    pub fn instant(&self) -> Instant {
        let asleep = self
            .asleep
            .map_or(Duration::ZERO, |(since, _)| self.now - since);
        self.epoch + (self.now - self.slept - asleep)
    }

    /// When that will be.
    pub fn when(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.epoch) + self.slept
    }

    /// A folder by the name that the core has for it.
    pub fn named(&self, name: &[u8]) -> Option<&'static str> {
        let mut all = FOLDERS.iter().chain(&PASSING).copied();
        all.find(|it| it.as_bytes() == name)
    }

    // Ways for bytes.

    pub fn links_new(&mut self, conn: u64) {
        let piece = *self.rng.choose(&[1, 7, 60, 1_000, 1_000, 1_000]);
        let link = Link {
            here: self.now,
            there: self.now,
            dead: false,
            doomed: false,
            piece,
        };
        self.links.insert(conn, link);
        if self.sabotage == Sabotage::Stale {
            self.server.stale = Some(self.server.boxes.clone());
        }
    }

    pub fn sends(&mut self, conn: u64, bytes: &[u8]) {
        let after = self.some(self.setup.latency);
        if let Some(link) = self.links.get_mut(&conn) {
            link.there = link.there.max(self.now + after);
            let at = link.there;
            self.then(at, Happens::Reaches(conn, bytes.to_vec()));
        }
    }

    /// What the server says goes its way.
    pub fn carries(&mut self, conn: u64) {
        let Some(it) = self.server.conns.get_mut(&conn) else {
            return;
        };
        let (out, closes) = (std::mem::take(&mut it.out), it.closes);
        let piece = self.links.get(&conn).map_or(1_000, |it| it.piece);
        let piece = if self.calm { 1_000 } else { piece };
        let mut rest = &out[..];
        while !rest.is_empty() {
            let most = (self.rng.below(2 * piece as u64) as usize + 1).min(rest.len());
            let (bytes, more) = rest.split_at(most);
            rest = more;
            if self.sabotage == Sabotage::LosesBytes && self.rng.once_in(50) {
                continue;
            }
            let after = self.some(self.setup.latency);
            let Some(link) = self.links.get_mut(&conn) else {
                return;
            };
            link.here = link.here.max(self.now + after);
            let at = link.here;
            self.then(at, Happens::Arrives(conn, bytes.to_vec()));
        }
        if closes {
            self.server.conns.remove(&conn);
            self.hangs(conn);
        }
    }

    /// The server's end is no more.
    fn hangs(&mut self, conn: u64) {
        self.server.conns.remove(&conn);
        if let Some(link) = self.links.get_mut(&conn) {
            link.doomed = true;
            link.here = link.here.max(self.now);
            let at = link.here;
            self.then(at, Happens::HangsUp(conn));
        }
    }

    /// This end is no more.
    pub fn leaves(&mut self, conn: u64) {
        self.links.remove(&conn);
        self.server.conns.remove(&conn);
    }

    /// The line is dead, which the kernel may find out some time.
    fn dies(&mut self, conn: u64) {
        if let Some(link) = self.links.get_mut(&conn) {
            (link.dead, link.doomed) = (true, true);
        }
        if self.setup.keepalive {
            self.soon(seconds(135), Happens::HangsUp(conn));
        }
    }

    /// A connection is lost, as far as this end can say.  When all has come to rest, that needs a reason:
    /// what was wrong before the calm has been noticed by then, and only one for a single mailbox is of no
    /// use without IDLE.
    pub fn loses(&self, conn: u64, main: bool, text: &str) -> Verdict {
        let doomed = self.links.get(&conn).is_none_or(|it| it.doomed);
        let of_no_use = !main && self.server.has_refused_idle(conn);
        if !self.rested || doomed || of_no_use {
            return Ok(());
        }
        Err(format!(
            "I8: connection {conn} ends, and nothing was wrong: {text}"
        ))
    }

    /// What told of a folder at once does so no longer: what it has told, a sweep may tell once more.
    pub fn unwatched(&mut self, name: &'static str) {
        if self.setup.hears(name) {
            *self.unwatched.entry(name).or_default() += 1;
        }
    }

    /// How often that was so, and of this folder.
    pub fn times_unwatched(&self, name: &str) -> (u64, u64) {
        let its = self.unwatched.get(name).copied();
        (self.unwatched.values().sum(), its.unwrap_or_default())
    }

    pub fn tells(&mut self, number: u64, news: News) {
        let after = self.some(ms(20));
        self.channel = self.channel.max(self.now + after);
        self.then(self.channel, Happens::News(number, news));
    }

    // The core.

    pub fn handle(&mut self, input: Input) -> Verdict {
        let at = self.instant();
        let actions = self.core.handle(at, input);
        for action in actions {
            match action {
                Action::Imap(id, what) => self.imap(id, what)?,
                Action::Send(bytes) => {
                    if self.pipe.replace((bytes, self.now)).is_some() {
                        return Err("two frames in flight".to_owned());
                    }
                    if let Some(it) = &mut self.maildirs {
                        it.written = it.time();
                    }
                    let most = self.some(ms(60));
                    let at = (self.now + most).max(self.lisp_busy);
                    self.then(at, Happens::Reads(self.generation));
                }
                Action::Sync(_, order) => {
                    let names = match &order.scope {
                        Scope::Everything => None,
                        Scope::Folders(folders) => {
                            let names = folders.iter().map(|it| self.named(&it.name));
                            Some(
                                names
                                    .collect::<Option<Vec<_>>>()
                                    .ok_or("an unknown folder")?,
                            )
                        }
                    };
                    self.say(format_args!("run {} of {names:?}", order.run.0));
                    self.stats.runs += 1;
                    let fails = self.setup.fails;
                    let well = self.calm || fails == 0 || !self.rng.once_in(fails);
                    self.running = Some(order.run);
                    let takes = self.some(seconds(3));
                    self.run_begins(order.run, names.as_deref(), takes, well)?;
                    self.rules.runs(names)?;
                    self.soon(takes, Happens::Ends(order.run, well));
                }
                Action::EndSync(run, _) => self.later(ms(500), Happens::Ends(run, false)),
                Action::SeekLock(..) => self.later(ms(20), Happens::Locks),
                Action::DropLock(_) => {}
                Action::Open(root, config) => self.opens_root(root, config),
                Action::Close(root) => self.closes_root(root),
                Action::Take(_) => self.takes()?,
                Action::Run(root, job) => self.gives(root, job)?,
                action => return Err(format!("not wanted: {action:?}")),
            }
        }
        if self.core.deadline().is_some_and(|it| it <= at) {
            return Err("I8: a deadline that has passed".to_owned());
        }
        // A folder waits to be told, and is being told; it waits for a run, is in one, was in one, and is
        // on record as not pushed.  Then there are results of runs, as many as may wait, and the rest.
        // Two directories of each may wait for a report.
        let each = if self.maildirs.is_some() { 8 } else { 6 };
        let most = each * (FOLDERS.len() + PASSING.len()) + 8 + 4;
        if self.core.held() > most {
            return Err(format!("I7: holds {} entries", self.core.held()));
        }
        Ok(())
    }

    pub fn begin(&mut self) -> Verdict {
        self.attach()?;
        if self.setup.at_start {
            self.rules.doubt();
        }
        self.handle(Input::Configure(vec![self.setup.account()]))
    }

    fn attach(&mut self) -> Verdict {
        self.generation += 1;
        self.pipe = None;
        if self.generation > 1 && self.setup.used == Use::Alone {
            self.rules.doubt();
        }
        if let Some(it) = &mut self.maildirs {
            it.is_read_anew();
        }
        self.handle(Input::Attach(
            self.generation,
            self.setup.pipe_limit.min(CAPACITY),
        ))
    }

    // Lisp.

    fn reads(&mut self) -> Verdict {
        let Some((bytes, written)) = self.pipe.take() else {
            return Ok(());
        };
        let (frame, _) = decode(&bytes)?.ok_or("half a frame")?;
        let alone = self.setup.used == Use::Alone;
        for record in frame.records {
            match record {
                Record::Change {
                    name,
                    kinds,
                    origins,
                    serial,
                    ..
                } => {
                    let name = self.named(&name).ok_or("a folder that is none")?;
                    self.say(format_args!(
                        "lisp reads {kinds:?} of {name} from {origins}"
                    ));
                    self.rules.unchecked.remove(name);
                    if let Some(it) = &mut self.maildirs {
                        it.reads(name, kinds);
                        let check = Happens::Checks(self.generation, name, serial);
                        self.later(seconds(2), check);
                    }
                    if alone {
                        self.stats.told += 1;
                        *self.told.entry(name).or_default() += 1;
                        let exists = self.server.boxes.contains_key(name);
                        self.rules.told(written, name, kinds, exists)?;
                    }
                }
                Record::Ready { directory, .. } if directory.as_os_str().is_empty() => {
                    self.say("lisp checks everything");
                    self.rules.unchecked.clear();
                    if alone {
                        self.stats.told_all += 1;
                        let boxes = &self.server.boxes;
                        (self.rules).all_told(written, |name| boxes.contains_key(name))?;
                    }
                }
                Record::Ready { directory, .. } => {
                    self.handle(Input::Check(Some(ACCOUNT.to_owned()), Some(directory)))?;
                }
                Record::Remote { state, .. } => {
                    self.say(format_args!("lisp reads that the server is {state}"));
                    if state == "paused" {
                        self.stats.pauses += 1;
                        let old = written <= self.resumed;
                        if self.rules.refusals < 2 && !self.declined && !old {
                            return Err("I6: it pauses without a reason".to_owned());
                        }
                    }
                    self.state = state;
                }
                Record::Secret { remote, number, .. } => {
                    let declines = !self.calm && self.rng.once_in(12);
                    self.later(
                        seconds(3),
                        Happens::Answers(RemoteId(remote), number, !declines),
                    );
                }
                _ => {}
            }
        }
        self.handle(Input::Acknowledge(frame.generation, frame.sequence))
    }

    // What happens at the server.

    /// Something happens in a folder.
    pub fn happens_in(&mut self, name: &'static str, event: Event) -> bool {
        let selected = self.server.is_selected(name);
        if !self.server.happens(name, event) {
            return false;
        }
        self.stats.changes += 1;
        self.say(format_args!("{event:?} in {name}"));
        if self.setup.hears(name) {
            let features = &self.setup.features;
            let counts = features.condstore && !(features.one_without && name == "a");
            let shows = counts || event != Event::Flagged || selected;
            self.rules.happened(self.now, name, event.kinds(), shows);
            if features.pushes_bare {
                self.pushed_bare.insert(name);
            }
        }
        self.will_push();
        true
    }

    pub fn will_push(&mut self) {
        let conns: Vec<u64> = self.server.conns.keys().copied().collect();
        for conn in conns {
            if self.server.has_news(conn)
                && let Some(it) = self.server.conns.get_mut(&conn)
                && !it.pushing
            {
                it.pushing = true;
                let bundle = self.setup.bundle;
                self.soon(bundle, Happens::Pushes(conn));
            }
        }
    }

    fn change(&mut self) {
        if self.setup.folders && self.rng.once_in(6) {
            return self.change_folders();
        }
        let there: Vec<&'static str> = self.server.boxes.keys().copied().collect();
        let name = *self.rng.choose(&there);
        let events = [
            Event::New,
            Event::New,
            Event::New,
            Event::Gone,
            Event::Seen,
            Event::Flagged,
        ];
        let event = *self.rng.choose(&events);
        for _ in 0..=self.rng.below(3) / 2 {
            self.happens_in(name, event);
        }
    }

    fn change_folders(&mut self) {
        let name = *self.rng.choose(&PASSING);
        let to = *self.rng.choose(&PASSING);
        let (gone, made) = if !self.server.boxes.contains_key(name) {
            (None, self.server.create(name).then_some(name))
        } else if self.rng.once_in(2) {
            (self.server.delete(name).then_some(name), None)
        } else if self.server.rename(name, to) {
            (Some(name), Some(to))
        } else {
            (None, None)
        };
        if gone.is_some() || made.is_some() {
            self.stats.folders += 1;
            self.say(format_args!("{gone:?} is no more, {made:?} is there"));
        }
        if let Some(gone) = gone {
            self.is_gone(gone);
        }
        for (name, is) in [(gone, false), (made, true)] {
            if let Some(name) = name.filter(|it| self.setup.hears(it)) {
                match is {
                    true => self.rules.created(self.now, name),
                    false => self.rules.deleted(self.now, name),
                }
            }
        }
        self.will_push();
    }

    /// The server hangs up on whoever has selected it.
    pub fn is_gone(&mut self, name: &str) {
        for conn in self.server.selecting(name) {
            self.server.bye(conn);
            self.carries(conn);
        }
        self.will_push();
    }

    fn reaches(&mut self, conn: u64, bytes: &[u8]) {
        if self.links.get(&conn).is_some_and(|it| !it.dead) && self.server.receive(conn, bytes) {
            self.will_execute(conn);
        }
    }

    /// A connection of a mailbox's own, and that.
    fn an_own(&self) -> Option<(u64, &'static str)> {
        let (conn, name) = self.line.as_ref()?.an_own()?;
        Some((conn, self.named(name)?))
    }

    fn stalls_no_more(&mut self) {
        self.stalled = self.now;
        let late = (self.now + self.setup.slow, u64::MAX);
        let (waits, rest): (BTreeMap<_, _>, _) = std::mem::take(&mut self.agenda)
            .into_iter()
            .partition(|(at, it)| *at > late && matches!(it, Happens::Executes(_)));
        self.agenda = rest;
        for it in waits.into_values() {
            self.later(self.setup.slow, it);
        }
    }

    fn will_execute(&mut self, conn: u64) {
        let after = self.some(self.setup.slow);
        let at = (self.now + after).max(self.stalled);
        if let Some(it) = self.server.conns.get_mut(&conn)
            && !std::mem::replace(&mut it.busy, true)
        {
            self.then(at, Happens::Executes(conn));
        }
    }

    fn executes(&mut self, conn: u64) -> Verdict {
        if let Some(it) = self.server.conns.get_mut(&conn) {
            it.busy = false;
        }
        let mut rng = self.rng.fork();
        self.server.execute(conn, &mut rng);
        if let Some(text) = self.server.protest.take() {
            return Err(format!("the client breaks a rule: {text}"));
        }
        self.carries(conn);
        if self.server.has_work(conn) {
            self.will_execute(conn);
        }
        self.will_push();
        Ok(())
    }

    fn pushes(&mut self, conn: u64) {
        if self.server.is_listing(conn) && self.rng.once_in(2) {
            return self.later(ms(200), Happens::Pushes(conn));
        }
        if let Some(it) = self.server.conns.get_mut(&conn) {
            it.pushing = false;
        }
        let mut rng = self.rng.fork();
        self.server.push(conn, &mut rng);
        self.carries(conn);
    }

    // Faults.

    fn a_link(&mut self) -> Option<u64> {
        let links: Vec<u64> = self.links.keys().copied().collect();
        (!links.is_empty()).then(|| *self.rng.choose(&links))
    }

    fn fault(&mut self) -> Verdict {
        let which = self.rng.below(FAULTS.len() as u64);
        self.stats.faults[which as usize] += 1;
        match which {
            0 => {
                if let Some(conn) = self.a_link() {
                    self.say(format_args!("connection {conn} is cut"));
                    self.hangs(conn);
                }
            }
            1 => {
                if let Some(conn) = self.a_link() {
                    self.say(format_args!("the server ends connection {conn}"));
                    self.server.bye(conn);
                    self.carries(conn);
                }
            }
            2 => self.restarts(),
            3 => {
                let most = self.some(seconds(90));
                self.say(format_args!("the server stalls for {most:?}"));
                self.stalled = self.now + most;
            }
            4 => {
                self.say("another password");
                self.server.password += 1;
                self.later(seconds(100), Happens::Notices(Notice::Retry));
                if let Some(conn) = self.a_link() {
                    self.hangs(conn);
                }
            }
            5 => {
                self.say("the server takes nobody");
                self.server.unavailable = true;
                self.later(seconds(100), Happens::Available);
                if let Some(conn) = self.a_link() {
                    self.hangs(conn);
                }
            }
            6 => {
                if let Some(conn) = self.a_link() {
                    self.say(format_args!("connection {conn} is dead"));
                    self.dies(conn);
                }
            }
            7 if self.asleep.is_none() => {
                let most = *self.rng.choose(&[3, 60, 4_000]);
                let until = self.some(seconds(most));
                self.say(format_args!("sleeps for {until:?}"));
                self.asleep = Some((self.now, self.now + until));
                self.soon(until, Happens::Wakes(true));
                let links: Vec<u64> = self.links.keys().copied().collect();
                for conn in links {
                    match self.rng.below(3) {
                        0 => self.dies(conn),
                        1 => self.hangs(conn),
                        _ => {}
                    }
                }
            }
            8 => {
                let tells = !self.rng.once_in(4);
                let kills = !self.rng.once_in(3);
                self.say(format_args!(
                    "another network; kills {kills}, is told {tells}"
                ));
                self.reachable = false;
                self.later(seconds(30), Happens::NetworkReturns(tells));
                let links: Vec<u64> = self.links.keys().copied().collect();
                for conn in links.into_iter().filter(|_| kills) {
                    self.dies(conn);
                }
            }
            9 => {
                self.say("lisp restarts");
                if self.rng.once_in(2) {
                    self.handle(Input::Detach)?;
                }
                self.attach()?;
            }
            10 => self.lisp_busy = self.now + self.some(seconds(60)),
            11 => {
                // Which makes it another store.
                self.setup.refresh += ms(1);
                self.say("another configuration");
                self.rules.forget();
                self.rules.well(0);
                (self.declined, self.resumed) = (false, self.now);
                self.handle(Input::Configure(vec![self.setup.account()]))?;
            }
            12 if self.asleep.is_none() => {
                let until = self.some(seconds(80));
                self.say(format_args!("stands still for {until:?}"));
                self.asleep = Some((self.now, self.now + until));
                self.soon(until, Happens::Wakes(false));
            }
            13 => {
                self.say("the kernel's queue is full");
                self.maildirs.iter_mut().for_each(Maildirs::overflows);
            }
            _ => {}
        }
        Ok(())
    }

    fn restarts(&mut self) {
        self.say("the server restarts");
        let links: Vec<u64> = self.links.keys().copied().collect();
        let polite = self.rng.once_in(2);
        for conn in links {
            if polite {
                self.server.bye(conn);
                self.carries(conn);
            } else {
                self.hangs(conn);
            }
        }
        self.up = false;
        self.later(seconds(60), Happens::Returns);
        let there: Vec<&'static str> = self.server.boxes.keys().copied().collect();
        let name = *self.rng.choose(&there);
        if self.rng.once_in(2) && self.server.rebuild(name) {
            self.say(format_args!("{name} has another UIDVALIDITY"));
            self.stats.rebuilt += 1;
            if self.setup.hears(name) {
                self.rules.happened(self.now, name, Kinds::UNKNOWN, true);
            }
        }
    }

    fn notice(&mut self, notice: Notice) -> Verdict {
        self.say(format_args!("{notice:?}"));
        match notice {
            Notice::Woke(slept) => {
                self.doubts_maildirs();
                self.handle(Input::Woke(slept))
            }
            Notice::Network => self.handle(Input::NetworkChanged),
            Notice::Retry => {
                self.password = self.server.password;
                self.is_mended();
                self.handle(Input::Retry)
            }
        }
    }

    /// What is on its way when the user does something comes all the same.
    fn is_mended(&mut self) {
        self.rules.well(u32::from(self.is_ending(Why::Refused)));
        self.declined = self.is_declining();
        self.resumed = self.now;
    }

    /// The engine will hear that a connection has ended so.
    fn is_ending(&self, why: Why) -> bool {
        let mut all = self.agenda.values();
        all.any(|it| matches!(it, Happens::News(_, News::Over(end, _)) if end.why == why))
    }

    /// Nobody has said the secret, which will pause the store.
    fn is_declining(&self) -> bool {
        self.line.as_ref().is_some_and(Line::goes_without) || self.is_ending(Why::Config)
    }

    fn wakes(&mut self, slept: bool) {
        if let Some((since, _)) = self.asleep.take()
            && slept
        {
            let slept = self.now - since;
            self.slept += slept;
            self.say("wakes");
            // What has waited may be taken in before that is noticed, or after.
            let most = *self.rng.choose(&[10, 100, 1_000]);
            self.later(ms(most), Happens::Notices(Notice::Woke(slept)));
        }
    }

    // Steps.

    fn step(&mut self) -> Verdict {
        self.stats.steps += 1;
        if self.stats.steps > MOST_STEPS {
            return Err("I3, I8: it is never done".to_owned());
        }
        let core = self.core.deadline().map(|at| self.when(at));
        let line = self.line_deadline();
        let deadline = core.into_iter().chain(line).min();
        let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let first = |at: Duration| next.is_none_or(|next| at <= next && next > self.now);
        match deadline.filter(|at| self.asleep.is_none() && first(*at)) {
            Some(at) => {
                let late = self.some(ms(3));
                let next = next.unwrap_or(Duration::MAX);
                self.now = self.now.max((at + late).min(next.max(at)));
                self.ticks += 1;
                if core.is_some_and(|core| core <= at) {
                    self.handle(Input::Tick)
                } else {
                    self.line_ticks()
                }
            }
            None => {
                let Some(((at, _), what)) = self.agenda.pop_first() else {
                    self.now = self.now.max(self.setup.lasts);
                    return Ok(());
                };
                self.now = self.now.max(at);
                if let Some((_, until)) = self.asleep
                    && what.is_here()
                {
                    self.then(until, what);
                    return Ok(());
                }
                self.happens(what)
            }
        }
    }

    fn happens(&mut self, what: Happens) -> Verdict {
        let label = match what {
            Happens::Change => Some("change"),
            Happens::User => Some("user"),
            Happens::Fault => Some("fault"),
            _ => None,
        };
        match label {
            Some(label) if !self.rng.enters(label) => return Ok(()),
            Some(_) => {}
            None => {
                self.rng.begin("rest");
            }
        }
        match what {
            Happens::Change => {
                self.later(self.setup.pace * 2, Happens::Change);
                self.change();
            }
            Happens::Fault => {
                if let Some(faults) = self.setup.faults {
                    self.later(faults * 2, Happens::Fault);
                }
                return self.fault();
            }
            Happens::Reaches(conn, bytes) => self.reaches(conn, &bytes),
            Happens::Executes(conn) => return self.executes(conn),
            Happens::Pushes(conn) => self.pushes(conn),
            Happens::Returns => self.up = true,
            Happens::NetworkReturns(tells) => {
                self.reachable = true;
                if tells {
                    self.later(ms(500), Happens::Notices(Notice::Network));
                }
            }
            Happens::Available => self.server.unavailable = false,
            Happens::Wakes(slept) => self.wakes(slept),
            Happens::Arrives(conn, bytes) => {
                if self.links.get(&conn).is_some_and(|it| !it.dead) {
                    return self.arrives(conn, &bytes);
                }
            }
            Happens::HangsUp(conn) => return self.hangs_up(conn),
            Happens::Secured(conn) => return self.secured(conn),
            Happens::Opened(number, one) => return self.opened(number, one),
            Happens::Looks(number) => return self.looks(number),
            Happens::News(number, news) => return self.news(number, news),
            Happens::Reads(generation) if generation == self.generation => return self.reads(),
            Happens::Reads(_) => {}
            Happens::Answers(id, number, gives) => {
                let answer = if gives {
                    Ok(secret(self.password))
                } else {
                    self.declined = true;
                    Err("nobody gives it".to_owned())
                };
                return self.handle(Input::Imap(id, Keeps::Secret(number, answer)));
            }
            Happens::Notices(notice) => return self.notice(notice),
            Happens::Locks => return self.handle(Input::Locked(ID, Lock::Ours)),
            Happens::User => {
                self.later(self.setup.pace_here * 2, Happens::User);
                self.wants();
            }
            Happens::Acts => self.acts(),
            Happens::Delivers => self.delivers(),
            Happens::Takes => return self.takes(),
            Happens::Works(root) => return self.works(root),
            Happens::Checks(generation, name, serial) => {
                return self.checks(generation, name, serial);
            }
            Happens::Begins(run, pid) => {
                return self.handle(Input::Ran(ID, Ran::Began { run, pid }));
            }
            Happens::Syncs(run, name) => self.syncs(run, name),
            Happens::Ends(run, well) => return self.run_ends(run, well),
        }
        Ok(())
    }

    fn run_ends(&mut self, run: RunId, well: bool) -> Verdict {
        if self.running.take_if(|it| *it == run).is_none() {
            return Ok(());
        }
        // The engine looks into the inbox before it heeds the end.
        self.takes()?;
        self.run_is_over();
        self.say(format_args!("run {} ends: {well}", run.0));
        let outcome = if well {
            Outcome::Ok
        } else {
            self.stats.failures += 1;
            Outcome::Transient
        };
        let boxes = &self.server.boxes;
        let alone = self.setup.used == Use::Synced;
        self.rules.ran(well, alone, |name| boxes.contains_key(name));
        let ended = Ended::never_began(outcome, String::new(), Memory::default());
        let ended = Box::new(ended);
        self.handle(Input::Ran(ID, Ran::Ended { run, ended }))
    }

    /// What was counted.
    pub fn counted(&self) -> Stats {
        Stats {
            pushed: self.server.pushed,
            idled: self.server.idled,
            listed: self.server.listed,
            rubbish: self.server.rubbish,
            ..self.stats
        }
    }

    // A life.

    pub fn run(&mut self) -> Verdict {
        self.begin()?;
        self.calm = false;
        self.later(self.setup.pace * 2, Happens::Change);
        if self.maildirs.is_some() {
            self.later(self.setup.pace_here * 2, Happens::User);
        }
        if let Some(faults) = self.setup.faults {
            self.later(faults * 2, Happens::Fault);
        }
        while self.now < self.setup.lasts {
            self.step()?;
        }
        self.rest()?;
        self.sleep_well()?;
        self.maildirs_agree()?;
        self.probe()?;
        self.probes_here()?;
        self.compare()
    }

    /// Every line dies at a stroke, and a message comes: how that is noticed, and in what time.
    pub fn noticed(&mut self, trouble: Trouble) -> Verdict {
        self.begin()?;
        self.until(seconds(600), "it does not settle", Self::settled)?;
        let after = self.some(self.setup.poll);
        self.pass(after)?;
        self.until(seconds(600), "it does not settle", Self::settled)?;
        let links: Vec<u64> = self.links.keys().copied().collect();
        for conn in links {
            if !matches!(trouble, Trouble::Nap) {
                self.dies(conn);
            }
        }
        self.happens_in("INBOX", Event::New);
        let again = seconds(10) + (self.setup.latency + self.setup.slow) * 40;
        let most = match trouble {
            Trouble::Network => {
                self.notice(Notice::Network)?;
                seconds(10) + again
            }
            Trouble::Sleep | Trouble::Nap => {
                self.asleep = Some((self.now, self.now + seconds(50)));
                self.soon(seconds(50), Happens::Wakes(true));
                seconds(50) + again
            }
            Trouble::Silence if self.setup.keepalive => seconds(135) + again,
            Trouble::Silence => self.setup.refresh.max(self.setup.poll) + seconds(60) + again,
        };
        self.until(most, "I1: nobody notices", |it| it.rules.owed.is_empty())
    }

    pub fn settled(&self) -> bool {
        self.rules.owed.is_empty()
            && !self.rules.is_running()
            && self.rules.unchecked.is_empty()
            && self.is_told()
            && self.maildirs.as_ref().is_none_or(Maildirs::is_quiet)
            && self.pipe.is_none()
            && self.state == "connected"
            && self.line.as_ref().is_some_and(Line::watches)
            && !self.links.values().any(|it| it.doomed)
    }

    /// Nothing waits to be told.
    fn is_told(&self) -> bool {
        let status = self.core.status();
        !status.in_flight && status.accounts.iter().all(|it| it.pending == 0)
    }

    pub fn until(&mut self, most: Duration, what: &str, done: impl Fn(&Self) -> bool) -> Verdict {
        let until = self.now + most;
        while !done(self) {
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let core = self.core.deadline().map(|at| self.when(at));
            let next = next
                .into_iter()
                .chain(core)
                .chain(self.line_deadline())
                .min();
            if next.is_none_or(|at| at > until) {
                self.now = until;
                return if done(self) {
                    Ok(())
                } else {
                    Err(format!(
                        "{what}: {:?}, {:?} unchecked, {} held, {:?}, {}",
                        self.rules.owed,
                        self.rules.unchecked,
                        self.core.held(),
                        self.mode,
                        self.state
                    ))
                };
            }
            self.step()?;
        }
        Ok(())
    }

    pub fn pass(&mut self, time: Duration) -> Verdict {
        let until = self.now + time;
        self.until(time, "", |it| it.now >= until)
    }

    /// Nothing happens any more, and nothing goes wrong: all is told in the end (I1, I2).
    fn rest(&mut self) -> Verdict {
        self.agenda
            .retain(|_, it| !matches!(it, Happens::Change | Happens::User | Happens::Fault));
        for what in self.agenda.values_mut() {
            // Whoever is being asked says it from now on.
            if let Happens::Answers(.., gives) = what {
                *gives = true;
            }
        }
        while self.asleep.is_some() {
            self.step()?;
        }
        self.say("calm");
        self.calm = true;
        self.reachable = true;
        self.up = true;
        self.server.unavailable = false;
        self.stalls_no_more();
        self.lisp_busy = self.now;
        if let Some((conn, name)) = self.an_own()
            && self.rng.once_in(2)
        {
            // What it was about to tell may show nowhere else.
            self.happens_in(name, Event::Flagged);
            self.say(format_args!("connection {conn} is cut"));
            self.hangs(conn);
        }
        while self.is_declining() {
            self.step()?;
        }
        let wrong = self.password != self.server.password;
        self.password = self.server.password;
        if wrong || self.state == "paused" || self.declined || self.rng.once_in(2) {
            self.notice(Notice::Retry)?;
        }
        // What was asked before is answered by then, or given up.
        self.pass(PATIENCE + seconds(1))?;
        let most = self.setup.refresh + self.setup.poll + seconds(600);
        self.until(most, "I1: it does not come to rest", Self::settled)?;
        self.rested = true;
        Ok(())
    }

    /// Nothing happens for hours: nobody wakes up but to show that somebody is there (I8), and nothing
    /// is told (I3).
    fn sleep_well(&mut self) -> Verdict {
        // Sweeps may tell once more of what was told by name, and what was lost is made anew.
        self.pass(self.setup.poll * 2 + seconds(200))?;
        self.until(seconds(600), "it does not settle", Self::settled)?;
        let all_told = |it: &Self| it.stats.told + it.stats.told_all + it.stats.runs;
        let (told, ticks, (unwatched, _)) = (all_told(self), self.ticks, self.times_unwatched(""));
        let hours = seconds(3_600);
        self.pass(hours)?;
        let doubts = self.setup.features.rubbish > 0;
        let unwatched = self.times_unwatched("").0 - unwatched;
        if !doubts && all_told(self) - told > unwatched {
            return Err("I3: nothing happens, and something is told or synced".to_owned());
        }
        let one = |every: Duration| hours.as_secs() / every.as_secs() + 1;
        let talks = self.line.as_ref().map_or(0, Line::talks) as u64;
        let most = one(self.setup.refresh) * talks + 2 * one(self.setup.poll);
        // Wakes are the same for both, and a tunnel's.
        if !doubts && self.ticks - ticks > most {
            let ticks = self.ticks - ticks;
            return Err(format!("I8: {ticks} times awake, of {most}"));
        }
        Ok(())
    }

    /// One message in each folder is told once, and in time.
    fn probe(&mut self) -> Verdict {
        for name in FOLDERS {
            if !self.setup.hears(name) {
                continue;
            }
            let after = self.some(self.setup.poll);
            self.pass(after)?;
            // Not when a sweep could cross it.
            self.until(seconds(900), "it does not settle", |it| {
                let next = it.line_deadline().unwrap_or(Duration::MAX);
                it.settled() && it.agenda.is_empty() && next > it.now + seconds(20)
            })?;
            let own = self.line.as_ref().is_some_and(|it| it.has_own(name));
            let at_once = match self.mode {
                Some(Mode::Notify) => true,
                Some(Mode::Idle) => name == "INBOX" || own,
                _ => false,
            };
            let travels = self.setup.latency * 20 + self.setup.slow * 20;
            let most = seconds(15) + travels + if at_once { ms(0) } else { self.setup.poll };
            let (told, all, runs) = (
                self.told.get(name).copied().unwrap_or_default(),
                self.stats.told_all,
                self.stats.runs,
            );
            let unwatched = self.times_unwatched(name);
            self.happens_in(name, Event::New);
            let (late, owed) = ("I1: it is not told in time", |it: &Self| {
                it.rules.owed.is_empty()
            });
            let outcome = self.until(most, late, owed);
            if outcome.is_err() && self.times_unwatched(name).1 > unwatched.1 {
                // Then it is for a sweep to see.
                self.until(self.setup.poll, late, owed)?;
            } else {
                outcome?;
            }
            self.until(seconds(60), "it does not settle", Self::settled)?;
            // A sweep that crosses it may tell once more.
            self.pass(self.setup.poll + seconds(30))?;
            let now = self.told.get(name).copied().unwrap_or_default();
            let (told, runs) = (now - told, self.stats.runs - runs);
            let doubts = self.setup.features.rubbish > 0;
            let after = self.times_unwatched(name);
            let (others, its) = (after.0 - unwatched.0, after.1 - unwatched.1);
            // That its own connection is lost is told, too.
            let its = if name == "INBOX" { its } else { 2 * its };
            let most = (1 + others + its, 1 + its);
            if !doubts && (runs > most.0 || told > most.1 || self.stats.told_all > all) {
                return Err(format!(
                    "I3: one message in {name} is told {told} times and synced {runs} times"
                ));
            }
        }
        Ok(())
    }

    /// All are equal in the end.
    fn compare(&mut self) -> Verdict {
        self.pass(self.setup.poll + seconds(60))?;
        self.until(seconds(600), "it does not settle", Self::settled)?;
        self.maildirs_agree()?;
        let known = self.line.take().and_then(Line::into_snapshot);
        let mut known: Snapshot = known.ok_or("nobody is connected")?;
        if known.len() != self.server.boxes.len() {
            return Err(format!("{} mailboxes are known", known.len()));
        }
        for name in self.server.boxes.keys() {
            if !known.knows(name.as_bytes()) {
                return Err(format!("{name} is not known"));
            }
            let numbers = self.server.numbers(name).unwrap_or_default();
            let mut kinds = known.update(name.as_bytes(), &numbers);
            if self.setup.features.pushes_bare {
                kinds -= Kinds::FLAGS;
            }
            if !kinds.is_empty() && FOLDERS.contains(name) {
                return Err(format!("{name} is known otherwise: {kinds:?}"));
            }
        }
        Ok(())
    }
}
