//! What connects the real sessions with the model server, and with the real core: the thread of
//! `remote::imap::line` and the way through the engine's channel, played step by step.  It decides
//! nothing, as these do not.

use std::collections::BTreeMap;
use std::time::Duration;

use mailsync_module::change::Kinds;
use mailsync_module::engine::config::RemoteId;
use mailsync_module::engine::core::Input as Told;
use mailsync_module::engine::messages::Imap;
use mailsync_module::remote::imap::keeper::{Event, Heard};
use mailsync_module::remote::imap::line::{Order, Server, Source};
use mailsync_module::remote::imap::secret::Secret;
use mailsync_module::remote::imap::session::{Act, End, Input, Mode, Name, Role, Session, Why};
use mailsync_module::remote::imap::snapshot::Snapshot;

use super::setup::Sabotage;
use super::world::{Happens, World, seconds};
use crate::world::{Outcome as Verdict, ms};

/// What watches a single mailbox is made anew after so long.
const OTHERS_AGAIN: Duration = Duration::from_secs(60);

/// What the thread tells the engine.
#[derive(Debug)]
pub enum News {
    Heard,
    Asked,
    Over(End, Snapshot),
}

/// A session, and the connection that its bytes go by.
struct Talk {
    session: Session,
    conn: u64,
    one: Option<Name>,
    asks: bool,
    watches: bool,
}

/// A connection to the store, as its thread has it and as the engine does.
pub struct Line {
    id: RemoteId,
    number: u64,
    /// Counted over all stores.
    key: u64,
    server: Server,
    /// While the first way is being opened.
    snapshot: Option<Snapshot>,
    talks: Vec<Talk>,
    wanted: Vec<(Duration, Name)>,
    secret: Option<Secret>,
    heard: Heard,
    given: Option<Result<Secret, String>>,
    poke: bool,
    ends: bool,
    /// The thread is no more.
    over: bool,
}

impl Line {
    /// How many connections there are.
    pub fn talks(&self) -> usize {
        self.talks.len()
    }

    /// All that there are to be are there, and tell.
    pub fn watches(&self) -> bool {
        let watch = self.talks.iter().all(|it| it.watches);
        !self.over && watch && !self.talks.is_empty() && self.wanted.is_empty()
    }

    /// Whether it is watched by a connection of its own.
    pub fn has_own(&self, name: &str) -> bool {
        let its = |it: &Talk| {
            let one = it.one.as_ref();
            it.watches && one.is_some_and(|one| one.canonical == name.as_bytes())
        };
        self.talks.iter().any(its)
    }

    /// It is about to be told that nobody says the secret.
    pub fn goes_without(&self) -> bool {
        !self.over && matches!(self.given, Some(Err(_)))
    }

    /// A connection that watches a mailbox of its own.
    pub fn an_own(&self) -> Option<(u64, &[u8])> {
        let mut talks = self.talks.iter().filter(|it| it.watches);
        talks.find_map(|it| Some((it.conn, &it.one.as_ref()?.canonical[..])))
    }

    /// What the first session knows, at the end of a life.
    pub fn into_snapshot(mut self) -> Option<Snapshot> {
        let all = self.talks.iter().position(|it| it.one.is_none())?;
        Some(self.talks.swap_remove(all).session.into_snapshot())
    }
}

impl World {
    /// The core wants something of a connection.
    pub(super) fn imap(&mut self, id: RemoteId, what: Imap) -> Verdict {
        if let Imap::Connect(order) = what {
            return self.dials(id, *order);
        }
        let sabotage = self.sabotage;
        let Some(line) = self.line.as_mut().filter(|it| it.id == id) else {
            return Ok(());
        };
        match what {
            Imap::End if sabotage == Sabotage::SleepsOn => {}
            Imap::End => line.ends = true,
            Imap::Poke if sabotage == Sabotage::NeverPokes => {}
            Imap::Poke => {
                line.poke = true;
                self.stats.pokes += 1;
            }
            Imap::Give(secret) => line.given = Some(secret),
            Imap::Connect(_) => {}
        }
        let key = line.key;
        self.later(ms(5), Happens::Looks(key));
        Ok(())
    }

    fn dials(&mut self, id: RemoteId, order: Order) -> Verdict {
        if let Some(line) = self.line.take() {
            if line.id == id && !line.over {
                return Err("two connections to one store".to_owned());
            }
            if line.id == id && order.number <= line.number {
                return Err("a connection under an old number".to_owned());
            }
            // Nobody hears any more what the one of another configuration says.
            for talk in line.talks {
                self.leaves(talk.conn);
            }
        }
        self.say(format_args!("connection {} is made", order.number));
        self.stats.connections += 1;
        self.rules.connects();
        let exact = self.server.is_exact() && self.swept == Some(id);
        if !exact || self.setup.features.pushes_bare && !order.snapshot.is_exact() {
            self.rules.doubt();
        } else {
            self.stats.exact += 1;
        }
        for name in std::mem::take(&mut self.pushed_bare) {
            self.rules.credit(name, 1);
        }
        let key = self.stats.connections;
        self.line = Some(Line {
            id,
            number: order.number,
            key,
            server: order.server,
            snapshot: Some(order.snapshot),
            talks: Vec::new(),
            wanted: Vec::new(),
            secret: None,
            heard: Heard::default(),
            given: None,
            poke: false,
            ends: false,
            over: false,
        });
        self.opens(key, None);
        Ok(())
    }

    /// The way to the server is being opened.
    fn opens(&mut self, key: u64, one: Option<Name>) {
        let most = if self.reachable {
            self.setup.latency * 3
        } else {
            seconds(10)
        };
        self.later(most, Happens::Opened(key, one));
    }

    fn there(&mut self, key: u64) -> Option<&mut Line> {
        (self.line.as_mut()).filter(|it| it.key == key && !it.over)
    }

    pub(super) fn opened(&mut self, key: u64, one: Option<Name>) -> Verdict {
        let can = self.reachable && self.up;
        let now = self.instant();
        let Some(line) = self.there(key) else {
            return Ok(());
        };
        if !can {
            return match one {
                None => self.finishes(Why::Lost, "no way to the server"),
                Some(one) => {
                    self.later_again(one);
                    Ok(())
                }
            };
        }
        let role = match &one {
            Some(one) => Role::One(one.clone()),
            None => Role::All(line.snapshot.take().unwrap_or_default()),
        };
        let session = Session::new(now, line.server.settings.clone(), role);
        let conn = self.server.connect();
        self.links_new(conn);
        if let Some(line) = self.there(key) {
            line.talks.push(Talk {
                session,
                conn,
                one,
                asks: false,
                watches: false,
            });
        }
        self.carries(conn);
        Ok(())
    }

    fn at(&self, conn: u64) -> Option<usize> {
        let line = self.line.as_ref().filter(|it| !it.over)?;
        line.talks.iter().position(|it| it.conn == conn)
    }

    pub(super) fn arrives(&mut self, conn: u64, bytes: &[u8]) -> Verdict {
        match self.at(conn) {
            Some(at) => self.input(at, Input::Bytes(bytes)),
            None => Ok(()),
        }
    }

    pub(super) fn hangs_up(&mut self, conn: u64) -> Verdict {
        match self.at(conn) {
            Some(at) => self.input(at, Input::Closed("the server hung up".to_owned())),
            None => Ok(()),
        }
    }

    pub(super) fn secured(&mut self, conn: u64) -> Verdict {
        match self.at(conn) {
            Some(at) => {
                self.server.is_secured(conn);
                self.input(at, Input::Secured)
            }
            None => Ok(()),
        }
    }

    /// The thread is woken, since the engine wants something.
    pub(super) fn looks(&mut self, key: u64) -> Verdict {
        let Some(line) = self.there(key) else {
            return Ok(());
        };
        let (given, poke) = (line.given.take(), std::mem::take(&mut line.poke));
        if let Some(given) = given {
            line.secret = given.as_ref().ok().cloned();
            let asking: Vec<u64> = (line.talks.iter_mut())
                .filter_map(|it| std::mem::take(&mut it.asks).then_some(it.conn))
                .collect();
            for conn in asking {
                if let Some(at) = self.at(conn) {
                    match &given {
                        Ok(secret) => self.input(at, Input::Secret(secret.clone()))?,
                        Err(text) => self.input(at, Input::NoSecret(text.clone()))?,
                    }
                }
            }
        }
        if poke {
            self.each_talk(key, || Input::Poke, |_| true)?;
        }
        if self.there(key).is_some_and(|it| it.ends) {
            return self.finishes(Why::Lost, "mailsync ended it");
        }
        Ok(())
    }

    fn each_talk(
        &mut self,
        key: u64,
        input: impl Fn() -> Input<'static>,
        which: impl Fn(&Session) -> bool,
    ) -> Verdict {
        let Some(line) = self.there(key) else {
            return Ok(());
        };
        let talks = line.talks.iter().rev();
        let conns: Vec<u64> = talks
            .filter(|it| which(&it.session))
            .map(|it| it.conn)
            .collect();
        for conn in conns {
            if let Some(at) = self.at(conn) {
                self.input(at, input())?;
            }
        }
        Ok(())
    }

    /// When the thread wants to be woken.
    pub(super) fn line_deadline(&self) -> Option<Duration> {
        let line = self.line.as_ref().filter(|it| !it.over)?;
        if self.sabotage == Sabotage::NeverTicks {
            return None;
        }
        let sessions = line.talks.iter().filter_map(|it| it.session.deadline());
        let sessions = sessions.map(|at| self.when(at));
        let wanted = line.wanted.iter().map(|(at, _)| *at);
        sessions.chain(wanted).min()
    }

    pub(super) fn line_ticks(&mut self) -> Verdict {
        let (now, moment) = (self.instant(), self.now);
        let Some(key) = self.line.as_ref().map(|it| it.key) else {
            return Ok(());
        };
        let due = |it: &Session| it.deadline().is_some_and(|at| at <= now);
        self.each_talk(key, || Input::Tick, due)?;
        if let Some(line) = self.there(key) {
            if line.talks.iter().any(|it| due(&it.session)) {
                return Err("I8: a session's deadline that has passed".to_owned());
            }
            let wanted = std::mem::take(&mut line.wanted);
            let (due, wanted) = wanted.into_iter().partition(|(at, _)| *at <= moment);
            line.wanted = wanted;
            for (_, one) in due {
                self.opens(key, Some(one));
            }
        }
        Ok(())
    }

    /// Hand something to a session, and do what it says.
    fn input(&mut self, at: usize, input: Input) -> Verdict {
        let now = self.instant();
        let Some(line) = self.line.as_mut().filter(|it| !it.over) else {
            return Ok(());
        };
        let Some(talk) = line.talks.get_mut(at) else {
            return Ok(());
        };
        let (conn, main) = (talk.conn, talk.one.is_none());
        let acts = talk.session.handle(now, input);
        let ends = acts.iter().any(|act| matches!(act, Act::End(_)));
        for act in acts {
            match act {
                Act::Send(_) | Act::Secure | Act::Ask if ends => {}
                Act::Send(bytes) => self.sends(conn, &bytes),
                Act::Secure => {
                    let after = self.setup.latency * 2;
                    self.soon(after, Happens::Secured(conn));
                }
                Act::Ask => self.asks(conn)?,
                Act::End(end) if main => {
                    let refused = self.sabotage == Sabotage::RefusalsPass;
                    let why = match end.why {
                        Why::Refused if refused => Why::Lost,
                        why => why,
                    };
                    if end.why == Why::Refused {
                        self.stats.refusals += 1;
                        self.rules.refused(self.now)?;
                    }
                    self.loses(conn, true, &end.text)?;
                    return self.finishes(why, &end.text);
                }
                Act::End(end) => return self.drops(conn, &end),
                Act::Log(_, text) => self.say(format_args!("log: {text}")),
                Act::Others(others) => {
                    let now = self.now;
                    if let Some(line) = &mut self.line {
                        line.wanted = others.into_iter().map(|other| (now, other)).collect();
                    }
                }
                Act::Watching(mode) => {
                    if let Some(at) = self.at(conn)
                        && let Some(line) = &mut self.line
                    {
                        line.talks[at].watches = true;
                    }
                    self.say(format_args!("connection {conn} watches: {mode:?}"));
                    if main {
                        if self.mode == Some(Mode::Idle) && mode == Mode::Sweep {
                            self.unwatched("INBOX");
                        }
                        match mode {
                            Mode::Notify => self.stats.notify += 1,
                            Mode::Idle => self.stats.idle += 1,
                            Mode::Sweep => self.stats.sweep += 1,
                        }
                        self.mode = Some(mode);
                        self.swept = self.line.as_ref().map(|it| it.id);
                        self.add(|heard| heard.watching = Some(mode));
                    } else {
                        self.stats.others += 1;
                    }
                }
                Act::Everything => self.everything_heard(),
                Act::Change(name, kinds) => {
                    if !main {
                        self.input(0, Input::Told(&name, kinds))?;
                        // Of what it does not understand it says so.
                        if let Some(name) = self.named(&name)
                            && kinds.contains(Kinds::UNKNOWN)
                            && self.setup.features.rubbish > 0
                        {
                            self.rules.credit(name, 1);
                        }
                    }
                    self.change_heard(name, kinds);
                }
            }
        }
        Ok(())
    }

    fn everything_heard(&mut self) {
        let everything = self.sabotage != Sabotage::NotEverything;
        self.say("anything may have changed");
        self.add(|heard| {
            heard.everything |= everything;
            heard.changes = BTreeMap::new();
        });
    }

    fn change_heard(&mut self, name: Vec<u8>, kinds: Kinds) {
        self.say(format_args!(
            "heard {kinds:?} of {}",
            String::from_utf8_lossy(&name)
        ));
        // That it was gone before says nothing of one that is there again.
        if !kinds.contains(Kinds::DELETED)
            && let Some(known) = self.named(&name)
        {
            self.server.is_heard_of(known);
        }
        let replaces = self.sabotage == Sabotage::Replaces;
        self.add(|heard| {
            let known = heard.changes.entry(name).or_default();
            *known = if replaces { kinds } else { known.then(kinds) };
        });
    }

    /// Keep what was heard until the engine takes it.
    fn add(&mut self, change: impl FnOnce(&mut Heard)) {
        let Some(line) = self.line.as_mut() else {
            return;
        };
        let news = line.heard == Heard::default();
        change(&mut line.heard);
        if news {
            let key = line.key;
            self.tells(key, News::Heard);
        }
    }

    fn asks(&mut self, conn: u64) -> Verdict {
        let Some(at) = self.at(conn) else {
            return Ok(());
        };
        let Some(line) = &mut self.line else {
            return Ok(());
        };
        if line.talks[at].one.is_some()
            && let Some(secret) = line.secret.clone()
        {
            return self.input(at, Input::Secret(secret));
        }
        match line.server.source {
            Source::Emacs => {
                line.talks[at].asks = true;
                let key = line.key;
                self.tells(key, News::Asked);
                Ok(())
            }
            Source::Command(_) if !self.calm && self.rng.once_in(12) => {
                self.input(at, Input::Closed("pass exited with 2".to_owned()))
            }
            Source::Command(_) => {
                let secret = super::server::secret(self.password);
                line.secret = Some(secret.clone());
                self.input(at, Input::Secret(secret))
            }
        }
    }

    /// A mailbox's own connection is over.
    fn drops(&mut self, conn: u64, end: &End) -> Verdict {
        let Some(at) = self.at(conn) else {
            return Ok(());
        };
        let Some(line) = &mut self.line else {
            return Ok(());
        };
        let talk = line.talks.remove(at);
        if talk.watches {
            self.loses(conn, false, &end.text)?;
        }
        self.leaves(conn);
        let Some(one) = talk.one else {
            return Ok(());
        };
        self.say(format_args!("connection {conn} is lost: {}", end.text));
        self.stats.others_lost += 1;
        let quietly = self.sabotage == Sabotage::OthersEndQuietly;
        if talk.watches {
            self.input(0, Input::Told(&one.canonical, Kinds::UNKNOWN))?;
        }
        if self.sabotage != Sabotage::StaysTold {
            self.input(0, Input::Untold(&one.canonical))?;
        }
        if talk.watches && !quietly {
            if let Some(name) = self.named(&one.canonical) {
                self.rules.credit(name, 2);
                self.unwatched(name);
            }
            self.change_heard(one.canonical.clone(), Kinds::UNKNOWN);
        }
        if end.why == Why::Lost {
            self.later_again(one);
        }
        Ok(())
    }

    fn later_again(&mut self, one: Name) {
        let at = self.now + OTHERS_AGAIN;
        if let Some(line) = &mut self.line {
            line.wanted.push((at, one));
        }
    }

    /// The thread ends.
    fn finishes(&mut self, why: Why, text: &str) -> Verdict {
        self.say(format_args!("it is over: {why:?}, {text}"));
        self.mode = None;
        let Some(line) = &mut self.line else {
            return Ok(());
        };
        line.over = true;
        let (key, snapshot) = (line.key, line.snapshot.take());
        let mut known = snapshot;
        let talks = std::mem::take(&mut line.talks);
        for talk in talks {
            self.leaves(talk.conn);
            if talk.one.is_none() {
                known = Some(talk.session.into_snapshot());
            }
        }
        let mut known = known.unwrap_or_default();
        if self.sabotage == Sabotage::ForgetsSnapshot {
            known = Snapshot::default();
        }
        let text = text.to_owned();
        self.tells(key, News::Over(End { why, text }, known));
        Ok(())
    }

    /// The engine takes a message from its channel.
    pub(super) fn news(&mut self, key: u64, news: News) -> Verdict {
        let Some(line) = self.line.as_mut().filter(|it| it.key == key) else {
            return Ok(());
        };
        let (id, number, ends) = (line.id, line.number, line.ends);
        let heard = std::mem::take(&mut line.heard);
        let forgets = self.sabotage == Sabotage::ForgetsHeard && ends;
        if heard != Heard::default() && !forgets {
            if heard.watching.is_some() {
                self.rules.well(0);
            }
            self.handle(Told::Imap(id, Event::Heard(number, heard)))?;
        }
        match news {
            News::Heard => Ok(()),
            News::Asked => self.handle(Told::Imap(id, Event::Asked(number))),
            News::Over(end, snapshot) => {
                self.handle(Told::Imap(id, Event::Over(number, end, snapshot)))
            }
        }
    }
}
