//! One connection to an IMAP server: what is said, heard and waited for on it.
//!
//! A pure machine: `(now, input)` in, [`Act`]s out, and the next deadline.  How bytes travel is `line`'s
//! business, when a connection is made `keeper`'s.
//!
//! It goes like this.  After the greeting: STARTTLS where that is wanted, the login, then in one flight
//! whatever the server can do of ID, NAMESPACE, ENABLE CONDSTORE and NOTIFY (RFC 5465), and a *sweep*: the
//! names and numbers of all mailboxes, in one round trip where there is LIST-STATUS (RFC 5819).  What
//! differs from the snapshot is told.  NOTIFY, or the selection of a mailbox, comes before the sweep, so
//! that nothing falls between.  Then it is the server that speaks: about all mailboxes with NOTIFY; about
//! the selected one with IDLE (RFC 2177), and the rest is swept now and then.
//!
//! A response that should matter and is not understood is answered by a sweep.

mod idle;
mod login;
mod mailboxes;
mod sweep;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::Framer;
use super::response::{self, Capabilities, Remark, Response, Status};
use super::sasl::Mechanism;
use super::secret::{Secret, Secretive};
use super::snapshot::{Room, Snapshot};
use crate::change::Kinds;
use crate::remote::names::Naming;
use login::Login;
use sweep::Sweep;

/// A command is answered within so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// So much of what a server wants people to see is shown.
const MOST_ALERTS: usize = 8;

/// What a session has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who logs in.
    pub user: Vec<u8>,
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How to log in; `None`: as the server likes best.
    pub mechanism: Option<Mechanism>,
    /// The secret is a token, not a password.
    pub token: bool,
    /// Go over to TLS before anything else is said.
    pub starttls: bool,
    /// What the server calls mailboxes; `None`: as it says itself.
    pub naming: Option<Naming>,
    /// Mailboxes to be watched without NOTIFY besides the inbox, by canonical names; `None`: the one
    /// with all mail.
    pub idle: Option<Vec<Vec<u8>>>,
    /// IDLE is begun anew so often.
    pub refresh: Duration,
    /// All mailboxes are looked at so often where the server does not speak of them.
    pub poll: Duration,
}

impl Settings {
    /// Those of a server of which only this is known: as it likes best, IDLE anew every nine minutes (a
    /// server may hang up after thirty, RFC 2177), and a look every five.
    #[must_use]
    pub fn new(user: impl Into<Vec<u8>>, host: impl Into<String>, port: u16) -> Self {
        Settings {
            user: user.into(),
            host: host.into(),
            port,
            mechanism: None,
            token: false,
            starttls: false,
            naming: None,
            idle: None,
            refresh: Duration::from_secs(540),
            poll: Duration::from_secs(300),
        }
    }
}

/// A mailbox by both its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As the server spells it.
    pub server: Vec<u8>,
    /// The canonical one.
    pub canonical: Vec<u8>,
}

/// What a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// To watch all mailboxes, of which so much is known.
    All(Snapshot),
    /// To watch this one.
    One(Name),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The server sent this.
    Bytes(&'a [u8]),
    /// What is sent from now on is secured by TLS.
    Secured,
    /// The secret that was asked for.
    Secret(Secret),
    /// There is none, for this reason.
    NoSecret(String),
    /// The line may be dead: have it prove that it is not, soon.
    Poke,
    /// Another session has told this of a mailbox.
    Told(&'a [u8], Kinds),
    /// That session is no more: what it has told says nothing about what happens there now.
    Untold(&'a [u8]),
    /// The connection is over.
    Closed(String),
    /// So is it, since the program that leads there was refused.
    Denied(String),
    /// Only time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send this.
    Send(Secretive),
    /// Begin TLS; `Secured` follows.
    Secure,
    /// The secret is wanted.
    Ask,
    /// Anything may have changed.
    Everything,
    /// This happened in the mailbox with this canonical name.
    Change(Vec<u8>, Kinds),
    /// It is being watched from now on, like this.
    Watching(Mode),
    /// These mailboxes are to be watched by sessions of their own: [`Role::One`].
    Others(Vec<Name>),
    /// Something for the log, and its level.
    Log(&'static str, String),
    /// The connection is of no use any more.
    End(End),
}

/// How a server is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The server tells of all mailboxes.
    Notify,
    /// It tells of a few, and the others are looked at now and then.
    Idle,
    /// All are looked at now and then.
    Sweep,
}

impl Mode {
    /// Behind the name of a server, for the user.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Mode::Notify => ", which tells of all folders (NOTIFY)",
            Mode::Idle => ", which tells of the inbox (IDLE)",
            Mode::Sweep => ", which is asked now and then",
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// In which way.
    pub why: Why,
    /// What a user should know, and do.
    pub text: String,
}

/// As above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It may go better the next time.
    Lost,
    /// The way to the server is refused, or would have to ask: it may go better, but hardly.
    Denied,
    /// The server does not take the secret.
    Refused,
    /// It will not go better before the user has done something.
    Config,
}

/// Something that the server has to answer.
#[derive(Debug)]
struct Awaited {
    tag: Vec<u8>,
    what: What,
    since: Instant,
    /// `None`: for as long as it likes.
    until: Option<Instant>,
}

/// As above.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Capability,
    StartTls,
    Login,
    /// What does not matter if it fails.
    Nicety,
    Notify,
    Examine,
    List,
    Status,
    Idle,
    Noop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The greeting is to come.
    Greeting,
    /// Nobody has logged in.
    Stranger,
    /// TLS is to begin.
    Securing,
    /// The secret is to come.
    Asking,
    LoggingIn,
    /// The first look is to come.
    Guest,
    /// The first look is under way.
    Preparing,
    Watching,
    Over,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    framer: Framer,
    phase: Phase,
    tags: u64,
    awaited: VecDeque<Awaited>,
    capabilities: Option<Capabilities>,
    secured: bool,
    login: Option<Login>,
    naming: Naming,
    /// Canonical names by those of the server, in each of its spellings.
    names: BTreeMap<Vec<u8>, Vec<u8>>,
    room: Room,
    /// What the server wanted people to see.
    alerts: Vec<String>,
    /// The mailbox that is watched alone.
    one: Option<Name>,
    snapshot: Snapshot,
    sweep: Option<Sweep>,
    /// The next sweep, if one is to come.
    due: Option<Instant>,
    /// What was told of mailboxes that are being watched, since the last sweep began.
    told: BTreeMap<Vec<u8>, Kinds>,
    /// Mailboxes with all mail.
    all: Option<Vec<u8>>,
    notifies: bool,
    list_status: bool,
    /// IDLE is of use.
    idles: bool,
    /// Since when it is going on.
    idling: Option<Instant>,
    /// The next NOOP, or renewal of IDLE.
    renewal: Option<Instant>,
    /// The selected mailbox, and how many messages it has.
    selected: Option<(Vec<u8>, u64)>,
    mode: Option<Mode>,
    doubted: Option<Instant>,
    acts: Vec<Act>,
}

impl Session {
    /// A session on a connection that has just been made.
    #[must_use]
    pub fn new(now: Instant, settings: Settings, role: Role) -> Self {
        let (snapshot, one) = match role {
            Role::All(snapshot) => (snapshot, None),
            Role::One(name) => (Snapshot::default(), Some(name)),
        };
        let greeting = Awaited {
            tag: Vec::new(),
            what: What::Nicety,
            since: now,
            until: Some(now + PATIENCE),
        };
        Session {
            naming: settings.naming.clone().unwrap_or_default(),
            settings,
            framer: Framer::default(),
            phase: Phase::Greeting,
            tags: 0,
            awaited: VecDeque::from([greeting]),
            capabilities: None,
            secured: false,
            login: None,
            names: BTreeMap::new(),
            room: Room::default(),
            alerts: Vec::new(),
            one,
            snapshot,
            sweep: None,
            due: None,
            told: BTreeMap::new(),
            all: None,
            notifies: false,
            list_status: false,
            idles: false,
            idling: None,
            renewal: None,
            selected: None,
            mode: None,
            doubted: None,
            acts: Vec::new(),
        }
    }

    /// What is known of the mailboxes, for the next connection.
    #[must_use]
    pub fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }

    /// Take in what happened; says what to do.
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Act> {
        if self.phase != Phase::Over {
            match input {
                Input::Bytes(bytes) => self.bytes(now, bytes),
                Input::Secured => self.is_secured(now),
                Input::Secret(secret) => self.log_in(now, secret),
                Input::NoSecret(text) => self.end(Why::Config, text),
                Input::Told(name, kinds) => self.told_by_another(name, kinds),
                Input::Untold(name) => self.untold(name),
                Input::Closed(text) => self.end(Why::Lost, text),
                Input::Denied(text) => self.end(Why::Denied, text),
                Input::Poke => self.poke(now),
                Input::Tick => {}
            }
            self.time(now);
        }
        std::mem::take(&mut self.acts)
    }

    fn end(&mut self, why: Why, text: String) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.acts.push(Act::End(End { why, text }));
        }
    }

    fn bytes(&mut self, now: Instant, mut bytes: &[u8]) {
        while self.phase != Phase::Over {
            if self.phase == Phase::Securing {
                // Somebody could have put it between (RFC 3501, 6.2.1).
                if !bytes.is_empty() {
                    let text = "the server said something between STARTTLS and TLS; somebody may be in between";
                    self.end(Why::Lost, text.to_owned());
                }
                return;
            }
            match self.framer.next(&mut bytes) {
                Ok(Some(frame)) => self.response(now, response::read(&frame)),
                Ok(None) => return,
                Err(broken) => self.end(Why::Lost, broken.to_string()),
            }
        }
    }

    fn is_secured(&mut self, now: Instant) {
        if self.phase == Phase::Securing {
            self.secured = true;
            self.framer = Framer::default();
            // What was said before TLS may be anybody's.
            self.capabilities = None;
            self.phase = Phase::Stranger;
            self.go_on(now);
        }
    }

    /// Give a command.
    fn command(&mut self, now: Instant, what: What, command: &[u8]) {
        self.tags += 1;
        let tag = format!("a{}", self.tags).into_bytes();
        let mut line = Secretive::default();
        line.reserve_exact(tag.len() + command.len() + 3);
        line.extend_from_slice(&tag);
        line.push(b' ');
        line.extend_from_slice(command);
        line.extend_from_slice(b"\r\n");
        self.acts.push(Act::Send(line));
        self.awaited.push_back(Awaited {
            tag,
            what,
            since: now,
            until: Some(now + PATIENCE),
        });
    }

    fn has(&self, capability: &str) -> bool {
        self.capabilities
            .as_ref()
            .is_some_and(|it| it.has(capability))
    }

    fn response(&mut self, now: Instant, response: Response) {
        match response {
            Response::Said(status, remark) => self.said(now, status, &remark),
            Response::Done(tag, status, remark) => self.done(now, &tag, status, &remark),
            Response::More(bytes) => self.more(now, &bytes),
            _ if self.phase == Phase::Greeting => {
                self.end(Why::Lost, "what answers is no IMAP server".to_owned());
            }
            Response::Capabilities(capabilities) => self.capabilities = Some(capabilities),
            Response::Namespace(Some((prefix, separator))) if self.settings.naming.is_none() => {
                self.naming = Naming { prefix, separator };
            }
            Response::Mailbox(mailbox) => self.mailbox(mailbox),
            Response::Numbers(name, numbers) => self.numbers(now, &name, &numbers),
            Response::Exists(count) => self.exists(count),
            Response::Expunged(_) => {
                if let Some((_, count)) = &mut self.selected {
                    *count = count.saturating_sub(1);
                }
                self.in_selected(Kinds::GONE);
            }
            Response::Vanished => {
                // How many is not counted: the next number of messages is news in any case.
                if let Some((_, count)) = &mut self.selected {
                    *count = 0;
                }
                self.in_selected(Kinds::GONE);
            }
            Response::Fetched => self.in_selected(Kinds::FLAGS),
            Response::Strange => self.doubt(now),
            Response::Namespace(_) | Response::Other => {}
        }
    }

    fn said(&mut self, now: Instant, status: Status, remark: &Remark) {
        if let Some(capabilities) = remark.capabilities() {
            self.capabilities = Some(capabilities);
        }
        self.alert(remark);
        match status {
            Status::Bye => {
                let why = if self.phase == Phase::LoggingIn && login::is_refusal(&remark.code) {
                    Why::Refused
                } else {
                    Why::Lost
                };
                self.end(why, remark.after("the server hung up"));
            }
            Status::Ok | Status::Preauth if self.phase == Phase::Greeting => {
                self.awaited.clear();
                if status == Status::Ok {
                    self.phase = Phase::Stranger;
                } else if self.settings.starttls {
                    let text =
                        "the server is logged in before STARTTLS: somebody may be in between";
                    self.end(Why::Lost, text.to_owned());
                } else {
                    self.phase = Phase::Guest;
                }
                self.go_on(now);
            }
            _ if self.phase == Phase::Greeting => {
                self.end(Why::Lost, remark.after("the server greets with"));
            }
            _ if remark.code == "NOTIFICATIONOVERFLOW" => {
                let text = "the server tells of changes no longer (NOTIFICATIONOVERFLOW)";
                self.end(Why::Lost, text.to_owned());
            }
            _ => {}
        }
    }

    /// What the server wants people to see (RFC 3501, 7.1).
    fn alert(&mut self, remark: &Remark) {
        let text = || remark.after("the server says");
        if remark.code == "ALERT"
            && self.alerts.len() < MOST_ALERTS
            && !self.alerts.contains(&text())
        {
            self.alerts.push(text());
            self.acts.push(Act::Log("warning", text()));
        }
    }

    /// A command is over.
    fn done(&mut self, now: Instant, tag: &[u8], status: Status, remark: &Remark) {
        let at = self.awaited.iter().position(|it| it.tag == tag);
        let Some(awaited) = at.and_then(|at| self.awaited.remove(at)) else {
            let text = "the server answers a command that was not given";
            self.end(Why::Lost, text.to_owned());
            return;
        };
        if let Some(capabilities) = remark.capabilities() {
            self.capabilities = Some(capabilities);
        }
        self.alert(remark);
        let well = status == Status::Ok;
        match awaited.what {
            What::Capability if self.capabilities.is_none() || !well => {
                let text = remark.after("the server does not say what it can do");
                self.end(Why::Lost, text);
            }
            What::StartTls if well => {
                self.phase = Phase::Securing;
                self.acts.push(Act::Secure);
                return;
            }
            What::StartTls => {
                let text = remark.after("the server refuses STARTTLS");
                self.end(Why::Lost, text);
            }
            What::Login => self.logged_in(now, status, remark),
            What::Notify if well => self.notifies = true,
            What::Notify => {
                let text = remark.after("no NOTIFY");
                self.acts.push(Act::Log("info", text));
                self.examine(now);
            }
            What::Examine if !well => {
                self.selected = None;
                let text = remark.after("a mailbox cannot be watched");
                if self.one.is_some() {
                    // To log in again and again would not bring it back: the sweep is what is left.
                    self.end(Why::Config, text);
                } else {
                    self.acts.push(Act::Log("warning", text));
                }
            }
            What::List => self.listed(now, well, remark),
            What::Status => self.asked(now),
            What::Idle => self.idled(well),
            What::Capability | What::Nicety | What::Examine | What::Noop => {}
        }
        if self.awaited.is_empty() {
            self.go_on(now);
        }
    }

    /// The server wants more of a command.
    fn more(&mut self, now: Instant, bytes: &[u8]) {
        match self.awaited.front_mut() {
            Some(Awaited {
                what: What::Idle,
                until,
                ..
            }) if self.idling.is_none() => {
                *until = None;
                self.idling = Some(now);
                self.renewal = Some(now + self.settings.refresh);
            }
            Some(Awaited {
                what: What::Login, ..
            }) => self.more_login(bytes),
            // Another greeting of IDLE says nothing.
            Some(Awaited {
                what: What::Idle, ..
            }) => {}
            _ => {
                let text = "the server wants more of a command that is whole";
                self.end(Why::Lost, text.to_owned());
            }
        }
    }

    /// Nothing is awaited: what is next?
    fn go_on(&mut self, now: Instant) {
        match self.phase {
            Phase::Stranger | Phase::Guest if self.capabilities.is_none() => {
                self.command(now, What::Capability, b"CAPABILITY");
            }
            Phase::Stranger if self.settings.starttls && !self.secured => {
                if self.has("STARTTLS") {
                    self.command(now, What::StartTls, b"STARTTLS");
                } else {
                    let text = "the server does not offer STARTTLS; correct :tls in :remote";
                    self.end(Why::Config, text.to_owned());
                }
            }
            Phase::Stranger => self.ask(),
            Phase::Guest => self.prepare(now),
            Phase::Preparing => self.watch(now),
            Phase::Watching => self.rest(now),
            _ => {}
        }
    }

    /// Say in one flight what there is to say before watching.
    fn prepare(&mut self, now: Instant) {
        self.phase = Phase::Preparing;
        self.idles = self.has("IDLE");
        self.list_status = self.has("LIST-STATUS");
        if self.has("ID") {
            // Some servers insist.
            self.command(now, What::Nicety, br#"ID ("name" "mailsync")"#);
        }
        if self.has("ENABLE") && self.has("CONDSTORE") {
            // Without, NOTIFY does not tell of flags.
            self.command(now, What::Nicety, b"ENABLE CONDSTORE");
        }
        if self.one.is_some() {
            self.examine(now);
            if self.awaited.is_empty() {
                // There is nothing to say to such a server.
                self.go_on(now);
            }
            return;
        }
        if self.has("NAMESPACE") && self.settings.naming.is_none() {
            self.command(now, What::Nicety, b"NAMESPACE");
        }
        if self.has("NOTIFY") {
            // Once on a connection: a second time silences some servers.
            let events: &[u8] =
                b"NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))";
            self.command(now, What::Notify, events);
        } else {
            self.examine(now);
        }
        self.sweep(now);
    }

    /// The first look is done.
    fn watch(&mut self, now: Instant) {
        self.phase = Phase::Watching;
        let mode = if self.notifies {
            Mode::Notify
        } else if self.idles && self.selected.is_some() {
            Mode::Idle
        } else {
            Mode::Sweep
        };
        if self.one.is_some() && mode != Mode::Idle {
            self.end(Why::Config, "the server has no IDLE".to_owned());
            return;
        }
        if self.mode.replace(mode) != Some(mode) {
            self.acts.push(Act::Watching(mode));
        }
        if mode == Mode::Idle && self.one.is_none() {
            let others = self.others();
            if !others.is_empty() {
                self.acts.push(Act::Others(others));
            }
        }
        self.rest(now);
    }

    /// Whatever time brings.
    fn time(&mut self, now: Instant) {
        let late = |it: &&Awaited| it.until.is_some_and(|until| until <= now);
        if let Some(late) = self.awaited.iter().find(late) {
            let waited = late.until.unwrap_or(now) - late.since;
            let text = format!("the server did not answer for {} s", waited.as_secs());
            self.end(Why::Lost, text);
        }
        if self.phase != Phase::Watching {
            return;
        }
        let renewal = self.renewal.is_some_and(|at| at <= now);
        let due = self.due.is_some_and(|at| at <= now) && self.sweep.is_none();
        if !renewal && !due {
            return;
        }
        if self.idling.is_some() {
            if self.renewal.take().is_some() {
                self.acts
                    .push(Act::Send(Secretive::new(b"DONE\r\n".to_vec())));
                for awaited in &mut self.awaited {
                    awaited.since = now;
                    awaited.until = Some(now + PATIENCE);
                }
            }
        } else if self.awaited.is_empty() {
            self.renewal = None;
            if due {
                self.sweep(now);
            } else {
                self.command(now, What::Noop, b"NOOP");
            }
        }
    }

    /// Whether it is logged in, and has said what else it wants.
    #[must_use]
    pub fn is_in(&self) -> bool {
        matches!(self.phase, Phase::Watching | Phase::Over)
    }

    /// When to call `handle` with a `Tick` at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.phase == Phase::Over {
            return None;
        }
        let mut all: Vec<Instant> = self.awaited.iter().filter_map(|it| it.until).collect();
        if self.phase == Phase::Watching {
            all.extend(self.renewal);
            // What has begun already is not waited for.
            let busy = self.sweep.is_some() || (self.idling.is_some() && self.renewal.is_none());
            let busy = busy || (self.idling.is_none() && !self.awaited.is_empty());
            all.extend(self.due.filter(|_| !busy));
        }
        all.into_iter().min()
    }
}

/// A mailbox's name as an argument.  The server spells it so that it needs no literal, or has sent it in
/// one: then it is understood in one, too (RFC 7888 is not asked for, since no answer is waited for).
fn argument(name: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in name {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests;
