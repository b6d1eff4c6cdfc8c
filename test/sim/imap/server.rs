//! A model IMAP server: mailboxes with their numbers, and connections on which it speaks in bytes.
//!
//! It is written from the RFCs, and forgives nothing: a client that breaks a rule is a failure.  When bytes
//! travel and commands are carried out is the world's business.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mailsync_module::change::Kinds;
use mailsync_module::remote::imap::sasl::Mechanism;
use mailsync_module::remote::imap::secret::Secret;
use mailsync_module::remote::imap::snapshot::Numbers;

use crate::rng::Rng;

/// Those that always are there, in the order of a list.
pub const FOLDERS: [&str; 6] = ["Archive", "Entwürfe", "INBOX", "a", "a/b", "lists/x"];
/// They come and go.
pub const PASSING: [&str; 3] = ["t1", "t2", "a/t3"];
/// All mail, where the server says so.
pub const ALL: &str = "Archive";

/// What a server can do, and does wrong.
#[derive(Clone, Debug)]
pub struct Features {
    pub notify: bool,
    /// It offers NOTIFY, and then refuses it.
    pub refuses_notify: bool,
    pub idle: bool,
    /// It offers IDLE, and refuses it once in so many times; 0: never.
    pub refuses_idle: u64,
    pub condstore: bool,
    /// One mailbox does not count its changes (NOMODSEQ).
    pub one_without: bool,
    /// What it pushes has no HIGHESTMODSEQ but where flags are all that changed.
    pub pushes_bare: bool,
    pub list_status: bool,
    /// It offers LIST-STATUS, and does not understand it.
    pub list_lies: bool,
    /// Mailboxes lie below `INBOX.`.
    pub prefix: bool,
    pub separator: char,
    pub all: bool,
    pub preauth: bool,
    pub starttls: bool,
    /// AUTH=PLAIN; otherwise the command LOGIN only.
    pub plain: bool,
    pub sasl_ir: bool,
    /// It offers SASL-IR, and does not understand it.
    pub ir_lies: bool,
    pub token: bool,
    /// It says what it can do without being asked.
    pub frank: bool,
    /// It says something of no use once in so many answers; 0: never.
    pub rubbish: u64,
}

/// The numbers of a mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox {
    pub validity: u64,
    pub next: u64,
    pub messages: u64,
    pub unseen: u64,
    pub modseq: u64,
}

/// What happens in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    New,
    Gone,
    /// `\Seen`, so that it shows in the number of unread messages.
    Seen,
    /// Any other flag.
    Flagged,
}

impl Event {
    pub fn kinds(self) -> Kinds {
        match self {
            Event::New => Kinds::NEW,
            Event::Gone => Kinds::GONE,
            Event::Seen | Event::Flagged => Kinds::FLAGS,
        }
    }
}

/// What a connection with NOTIFY is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Push {
    Status(&'static str, Kinds, bool),
    Created(&'static str),
    Deleted(&'static str),
    Renamed(&'static str, &'static str),
}

/// A mailbox that is selected.
#[derive(Debug)]
struct Selected {
    name: &'static str,
    /// Messages that the client knows of.
    count: u64,
    pending: VecDeque<Event>,
}

/// A list under way: the client sees names and numbers as they are when it comes to them.
#[derive(Debug)]
struct Listing {
    tag: String,
    left: VecDeque<&'static str>,
    status: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sasl {
    /// The secret is to come.
    Secret,
    /// It was refused, which the client has to acknowledge.
    Explained,
}

#[derive(Debug, Default)]
pub struct Conn {
    input: Vec<u8>,
    queue: VecDeque<String>,
    /// A command is being carried out.
    pub busy: bool,
    /// What it says, until somebody carries it away.
    pub out: Vec<u8>,
    /// It hangs up behind that.
    pub closes: bool,
    secured: bool,
    /// TLS is to begin.
    pub securing: bool,
    inside: bool,
    sasl: Option<(String, Sasl)>,
    /// A line that goes on behind a literal.
    partial: Option<String>,
    listing: Option<Listing>,
    idling: Option<String>,
    refused_idle: bool,
    notify: bool,
    noted: Vec<Push>,
    selected: Option<Selected>,
    condstore: bool,
    /// Somebody is going to push.
    pub pushing: bool,
}

pub struct Server {
    pub features: Features,
    pub boxes: BTreeMap<&'static str, Mailbox>,
    pub conns: BTreeMap<u64, Conn>,
    made: u64,
    validities: u64,
    /// The secret that it takes; those of its users have numbers.
    pub password: u64,
    /// It takes nobody for a while, and says so.
    pub unavailable: bool,
    /// What a client has done wrong.
    pub protest: Option<String>,
    /// A second NOTIFY, or a broken server: it agrees, and tells nothing.
    pub silent: bool,
    /// Mailboxes that were made, and of which nobody has heard.
    unheard: BTreeSet<&'static str>,
    /// Those that have gone before anybody has.
    passed: BTreeSet<&'static str>,
    /// It shows what was there some time ago.
    pub stale: Option<BTreeMap<&'static str, Mailbox>>,
    /// Counted.
    pub refused: u64,
    pub pushed: u64,
    pub idled: u64,
    pub listed: u64,
    pub rubbish: u64,
}

pub const USER: &str = "me";
pub const HOST: &str = "imap.example.org";
pub const PORT: u16 = 993;

/// The secret with this number; some need a literal.
pub fn secret(number: u64) -> Secret {
    let text = if number % 3 == 1 {
        format!("ge\"heim{number}")
    } else {
        format!("geheim{number}")
    };
    Secret::new(text.into_bytes())
}

impl Server {
    pub fn new(features: Features, rng: &mut Rng) -> Self {
        let mut server = Server {
            features,
            boxes: BTreeMap::new(),
            conns: BTreeMap::new(),
            made: 0,
            validities: 100,
            password: 1,
            unavailable: false,
            protest: None,
            silent: false,
            unheard: BTreeSet::new(),
            passed: BTreeSet::new(),
            stale: None,
            refused: 0,
            pushed: 0,
            idled: 0,
            listed: 0,
            rubbish: 0,
        };
        for name in FOLDERS {
            let mailbox = server.mailbox(rng.below(5));
            server.boxes.insert(name, mailbox);
        }
        server
    }

    fn mailbox(&mut self, messages: u64) -> Mailbox {
        self.validities += 1;
        Mailbox {
            validity: self.validities,
            next: messages + 1,
            messages,
            unseen: messages / 2,
            modseq: messages + 1,
        }
    }

    /// Whether each change shows in the numbers.
    pub fn is_exact(&self) -> bool {
        self.features.condstore && !self.features.one_without
    }

    fn counts(&self, name: &str) -> bool {
        self.features.condstore && !(self.features.one_without && name == "a")
    }

    /// The numbers that a client can get at most.
    pub fn numbers(&self, name: &str) -> Option<Numbers> {
        let it = self.boxes.get(name)?;
        let modseq = if self.counts(name) { it.modseq } else { 0 };
        Some(Numbers {
            messages: Some(it.messages),
            next: Some(it.next),
            validity: Some(it.validity),
            unseen: Some(it.unseen),
            modseq: self.features.condstore.then_some(modseq),
        })
    }

    // What happens.

    /// Something happens in a mailbox; false where it cannot.
    pub fn happens(&mut self, name: &'static str, event: Event) -> bool {
        let Some(it) = self.boxes.get_mut(name) else {
            return false;
        };
        match event {
            Event::New => {
                it.next += 1;
                it.messages += 1;
                it.unseen += 1;
            }
            Event::Gone if it.messages > 0 => {
                it.messages -= 1;
                it.unseen = it.unseen.min(it.messages);
            }
            Event::Seen if it.unseen > 0 => it.unseen -= 1,
            Event::Flagged if it.messages > 0 => {}
            _ => return false,
        }
        it.modseq += 1;
        let seen = event == Event::Seen;
        for conn in self.conns.values_mut() {
            if conn.notify && !self.silent {
                conn.note(name, event.kinds(), seen || event == Event::Gone);
            }
            if let Some(selected) = &mut conn.selected
                && selected.name == name
            {
                selected.pending.push_back(event);
            }
        }
        true
    }

    /// Whether what happened there shows on some connection by itself: it is selected.
    pub fn is_selected(&self, name: &str) -> bool {
        let its = |it: &Conn| it.selected.as_ref().is_some_and(|it| it.name == name);
        self.conns.values().any(its)
    }

    pub fn create(&mut self, name: &'static str) -> bool {
        if self.boxes.contains_key(name) {
            return false;
        }
        let mailbox = self.mailbox(0);
        self.boxes.insert(name, mailbox);
        self.unheard.insert(name);
        self.passed.remove(name);
        self.note(Push::Created(name));
        true
    }

    pub fn delete(&mut self, name: &'static str) -> bool {
        let was = self.boxes.remove(name).is_some();
        if was {
            self.is_no_more(name);
            self.note(Push::Deleted(name));
        }
        was
    }

    pub fn rename(&mut self, from: &'static str, to: &'static str) -> bool {
        if self.boxes.contains_key(to) {
            return false;
        }
        let Some(messages) = self.boxes.remove(from).map(|it| it.messages) else {
            return false;
        };
        // Servers may keep UIDVALIDITY or not; so one that is renamed there and back is another one.
        let mailbox = self.mailbox(messages);
        self.boxes.insert(to, mailbox);
        self.unheard.insert(to);
        self.passed.remove(to);
        self.is_no_more(from);
        self.note(Push::Renamed(from, to));
        true
    }

    fn is_no_more(&mut self, name: &'static str) {
        if self.unheard.remove(name) {
            self.passed.insert(name);
        }
    }

    /// Somebody has heard of it.
    pub fn is_heard_of(&mut self, name: &str) {
        self.unheard.remove(name);
    }

    /// Whether it came and went, and nobody has heard that it was there.
    pub fn has_passed(&self, name: &str) -> bool {
        self.passed.contains(name)
    }

    fn note(&mut self, push: Push) {
        for conn in self.conns.values_mut().filter(|it| it.notify) {
            if !self.silent {
                conn.noted.push(push.clone());
            }
        }
    }

    /// A mailbox is made anew by its administrator: all numbers begin again.
    pub fn rebuild(&mut self, name: &'static str) -> bool {
        let Some(messages) = self.boxes.get(name).map(|it| it.messages) else {
            return false;
        };
        let mailbox = self.mailbox(messages);
        self.boxes.insert(name, mailbox);
        true
    }

    // Names.

    fn spelled(&self, name: &str) -> String {
        if name == "INBOX" {
            return name.to_owned();
        }
        let separator = self.features.separator.to_string();
        let name = name.replace("ü", "&APw-").replace('/', &separator);
        let prefix = if self.features.prefix {
            format!("INBOX{separator}")
        } else {
            String::new()
        };
        prefix + &name
    }

    fn meant(&self, spelled: &str) -> Option<&'static str> {
        let all = FOLDERS.iter().chain(&PASSING).copied();
        all.into_iter().find(|it| self.spelled(it) == spelled)
    }

    /// A name in one of the ways in which it may be sent.
    fn shown(&self, name: &str, push: bool, rng: &mut Rng) -> Vec<u8> {
        let mut text = self.spelled(name);
        // Dovecot has it in UTF-8 there.
        if push && rng.once_in(2) {
            text = text.replace("&APw-", "ü");
        }
        let ascii = text.is_ascii();
        match rng.below(4) {
            0 if ascii => text.into_bytes(),
            1 | 2 => format!("\"{text}\"").into_bytes(),
            _ => format!("{{{}}}\r\n{text}", text.len()).into_bytes(),
        }
    }

    fn capabilities(&self, conn: &Conn) -> String {
        let it = &self.features;
        let mut words = vec!["IMAP4rev1"];
        let tls = !it.starttls || conn.secured;
        if !tls {
            words.extend(["STARTTLS", "LOGINDISABLED"]);
        }
        if !conn.inside {
            if it.token && tls {
                words.push("AUTH=XOAUTH2");
            }
            if it.plain && tls {
                words.push("AUTH=PLAIN");
            }
            if it.sasl_ir || it.ir_lies {
                words.push("SASL-IR");
            }
            // As Dovecot, it shows the rest only inside.
            return words.join(" ");
        }
        let more = [
            (it.notify, "NOTIFY"),
            (it.idle, "IDLE"),
            (it.condstore, "ENABLE CONDSTORE"),
            (it.list_status || it.list_lies, "LIST-STATUS"),
            (it.prefix, "NAMESPACE"),
            (it.all, "SPECIAL-USE"),
            (it.frank, "ID"),
        ];
        words.extend(more.iter().filter(|it| it.0).map(|it| it.1));
        words.join(" ")
    }

    // Connections.

    pub fn connect(&mut self) -> u64 {
        self.made += 1;
        let mut conn = Conn {
            inside: self.features.preauth,
            ..Conn::default()
        };
        let word = if self.features.preauth {
            "PREAUTH"
        } else {
            "OK"
        };
        let code = if self.features.frank {
            format!("[CAPABILITY {}] ", self.capabilities(&conn))
        } else {
            String::new()
        };
        conn.say(&format!("* {word} {code}hello"));
        self.conns.insert(self.made, conn);
        self.made
    }

    /// Connections on which a mailbox is selected.
    pub fn selecting(&self, name: &str) -> Vec<u64> {
        let its = |it: &Conn| it.selected.as_ref().is_some_and(|it| it.name == name);
        let conns = self.conns.iter().filter(|(_, it)| its(it));
        conns.map(|(id, _)| *id).collect()
    }

    pub fn has_refused_idle(&self, id: u64) -> bool {
        self.conns.get(&id).is_some_and(|it| it.refused_idle)
    }

    pub fn bye(&mut self, id: u64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.say("* BYE see you later");
            conn.closes = true;
        }
    }

    /// Bytes have come; true if there is something to do.
    pub fn receive(&mut self, id: u64, bytes: &[u8]) -> bool {
        let Some(conn) = self.conns.get_mut(&id).filter(|it| !it.closes) else {
            return false;
        };
        conn.input.extend(bytes);
        while let Some(end) = conn.input.windows(2).position(|it| it == b"\r\n") {
            let line: Vec<u8> = conn.input.drain(..end + 2).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            conn.queue.push_back(line);
        }
        !conn.queue.is_empty()
    }

    /// TLS has begun.
    pub fn is_secured(&mut self, id: u64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.securing = false;
            conn.secured = true;
        }
    }

    pub fn has_work(&self, id: u64) -> bool {
        let works = |it: &Conn| !it.queue.is_empty() || it.listing.is_some();
        self.conns
            .get(&id)
            .is_some_and(|it| !it.closes && works(it))
    }

    pub fn is_listing(&self, id: u64) -> bool {
        self.conns.get(&id).is_some_and(|it| it.listing.is_some())
    }

    /// There is something to tell.
    pub fn has_news(&self, id: u64) -> bool {
        self.conns.get(&id).is_some_and(|conn| {
            let pending = |it: &Selected| !it.pending.is_empty();
            let idles = conn.idling.is_some() && conn.selected.as_ref().is_some_and(pending);
            !conn.closes && (!conn.noted.is_empty() || idles)
        })
    }

    /// Tell what has happened.
    pub fn push(&mut self, id: u64, rng: &mut Rng) {
        let Some(mut conn) = self.conns.remove(&id) else {
            return;
        };
        for push in std::mem::take(&mut conn.noted) {
            self.pushed += 1;
            let separator = self.features.separator;
            match push {
                Push::Status(name, kinds, unseen) => {
                    self.push_status(&mut conn, name, kinds, unseen, rng);
                }
                Push::Created(name) => {
                    let name = self.shown(name, false, rng);
                    conn.out
                        .extend(format!("* LIST () \"{separator}\" ").bytes());
                    conn.line(&name);
                }
                Push::Deleted(name) => {
                    let name = self.shown(name, false, rng);
                    let head = format!("* LIST (\\NonExistent) \"{separator}\" ");
                    conn.out.extend(head.bytes());
                    conn.line(&name);
                }
                Push::Renamed(from, to) => {
                    let (from, to) = (self.shown(from, false, rng), self.shown(to, false, rng));
                    conn.out
                        .extend(format!("* LIST () \"{separator}\" ").bytes());
                    conn.out.extend(to);
                    conn.out.extend(b" (\"OLDNAME\" (");
                    conn.out.extend(from);
                    conn.line(b"))");
                }
            }
        }
        if conn.idling.is_some() {
            conn.flush(rng);
        }
        self.conns.insert(id, conn);
    }

    fn push_status(
        &mut self,
        conn: &mut Conn,
        name: &'static str,
        kinds: Kinds,
        unseen: bool,
        rng: &mut Rng,
    ) {
        let Some(it) = self.boxes.get(name).copied() else {
            return;
        };
        let counted = kinds.intersects(Kinds::NEW | Kinds::GONE);
        let mut items = Vec::new();
        if counted {
            items.push(format!("MESSAGES {} UIDNEXT {}", it.messages, it.next));
        }
        if counted || unseen {
            items.push(format!("UNSEEN {}", it.unseen));
        }
        let flags = kinds.contains(Kinds::FLAGS);
        if conn.condstore && self.counts(name) && (flags || !self.features.pushes_bare) {
            items.push(format!("HIGHESTMODSEQ {}", it.modseq));
        }
        if !items.is_empty() {
            let shown = self.shown(name, true, rng);
            conn.out.extend(b"* STATUS ");
            conn.out.extend(shown);
            conn.line(format!(" ({})", items.join(" ")).as_bytes());
        }
    }

    /// Carry out a command, or a part of it.
    pub fn execute(&mut self, id: u64, rng: &mut Rng) {
        let Some(mut conn) = self.conns.remove(&id) else {
            return;
        };
        if conn.listing.is_some() {
            self.list_on(&mut conn, rng);
        } else if let Some(line) = conn.queue.pop_front()
            && let Err(text) = self.line(&mut conn, &line, rng)
        {
            self.protest = Some(format!("{text}: {line:?}"));
        }
        if self.features.rubbish > 0 && conn.inside && rng.once_in(self.features.rubbish) {
            self.rubbish += 1;
            conn.rubbish(rng);
        }
        self.conns.insert(id, conn);
    }

    fn line(&mut self, conn: &mut Conn, line: &str, rng: &mut Rng) -> Result<(), String> {
        if let Some(tag) = conn.idling.take() {
            if line != "DONE" {
                return Err("it says something else than DONE".to_owned());
            }
            conn.finish(&tag, "OK idled", rng);
            return Ok(());
        }
        if let Some((tag, stage)) = conn.sasl.take() {
            self.sasl(conn, tag, stage, line);
            return Ok(());
        }
        let line = conn.partial.take().unwrap_or_default() + line;
        if line.ends_with('}') && line.contains(" LOGIN ") {
            // What follows is taken for the literal: no secret has a line end.
            conn.partial = line.rfind('{').map(|at| line[..at].to_owned() + "!");
            conn.say("+ go on");
            return Ok(());
        }
        let (tag, rest) = line.split_once(' ').ok_or("no tag")?;
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let inside = !matches!(
            word,
            "CAPABILITY" | "STARTTLS" | "AUTHENTICATE" | "LOGIN" | "ID" | "NOOP"
        );
        if inside != conn.inside && !matches!(word, "CAPABILITY" | "ID" | "NOOP") {
            return Err("not in this state".to_owned());
        }
        match word {
            "CAPABILITY" => {
                conn.say(&format!("* CAPABILITY {}", self.capabilities(conn)));
                conn.finish(tag, "OK", rng);
            }
            "STARTTLS" if self.features.starttls && !conn.secured => {
                conn.finish(tag, "OK begin", rng);
                conn.securing = true;
            }
            "AUTHENTICATE" => {
                if self.features.starttls && !conn.secured {
                    return Err("a secret without TLS".to_owned());
                }
                match rest.split_once(' ') {
                    Some(_) if self.features.ir_lies => conn.say(&format!("{tag} BAD what?")),
                    Some((_, initial)) if self.features.sasl_ir => {
                        self.sasl(conn, tag.to_owned(), Sasl::Secret, initial);
                    }
                    Some(_) => return Err("an initial response that is not wanted".to_owned()),
                    None => {
                        conn.say("+ ");
                        conn.sasl = Some((tag.to_owned(), Sasl::Secret));
                    }
                }
            }
            "LOGIN" => {
                if self.features.starttls && !conn.secured {
                    return Err("a secret without TLS".to_owned());
                }
                let expected = secret(self.password);
                let expected = String::from_utf8_lossy(expected.expose()).into_owned();
                let well = [
                    format!("\"{USER}\" \"{expected}\""),
                    format!("\"{USER}\" !{expected}"),
                ];
                let well = well.iter().any(|it| it == rest);
                self.let_in(conn, tag, well, rng);
            }
            "ID" => conn.finish(tag, "OK", rng),
            "NAMESPACE" => {
                let separator = self.features.separator;
                conn.say(&format!(
                    "* NAMESPACE ((\"INBOX{separator}\" \"{separator}\")) NIL NIL"
                ));
                conn.finish(tag, "OK", rng);
            }
            "ENABLE" if rest == "CONDSTORE" && self.features.condstore => {
                conn.condstore = true;
                conn.say("* ENABLED CONDSTORE");
                conn.finish(tag, "OK", rng);
            }
            "NOTIFY" if self.features.notify && !conn.notify => {
                if self.features.refuses_notify {
                    conn.finish(tag, "NO [NOTIFICATIONOVERFLOW] too much", rng);
                } else {
                    conn.notify = true;
                    conn.finish(tag, "OK", rng);
                }
            }
            "EXAMINE" => {
                let name = self.meant(rest.trim_matches('"'));
                let there = name.and_then(|it| Some((it, self.boxes.get(it)?.messages)));
                conn.selected = None;
                let Some((name, count)) = there else {
                    conn.finish(tag, "NO no such mailbox", rng);
                    return Ok(());
                };
                conn.say("* FLAGS (\\Seen \\Flagged)");
                conn.say(&format!("* {count} EXISTS"));
                conn.say("* 0 RECENT");
                conn.selected = Some(Selected {
                    name,
                    count,
                    pending: VecDeque::new(),
                });
                conn.say(&format!("{tag} OK [READ-ONLY] done"));
            }
            "LIST" => {
                let status = rest.contains("RETURN (STATUS");
                if status && self.features.list_lies {
                    conn.finish(tag, "BAD what?", rng);
                    return Ok(());
                }
                if status != self.features.list_status {
                    return Err("not as it is offered".to_owned());
                }
                self.listed += 1;
                conn.listing = Some(Listing {
                    tag: tag.to_owned(),
                    left: FOLDERS.iter().chain(&PASSING).copied().collect(),
                    status,
                });
                conn.say(&format!(
                    "* LIST (\\Noselect) \"{}\" {}",
                    self.features.separator,
                    self.spelled("lists")
                ));
            }
            "STATUS" => {
                let (name, _) = rest.rsplit_once(" (").ok_or("no items")?;
                let name = self.meant(name.trim_matches('"'));
                match name.filter(|it| self.boxes.contains_key(it)) {
                    Some(name) => {
                        self.status(conn, name, rng);
                        conn.finish(tag, "OK", rng);
                    }
                    None => conn.finish(tag, "NO [NONEXISTENT] no such mailbox", rng),
                }
            }
            "IDLE" if self.features.idle => {
                let refuses = self.features.refuses_idle;
                if refuses > 0 && rng.once_in(refuses) {
                    conn.refused_idle = true;
                    conn.finish(tag, "NO not now", rng);
                } else {
                    self.idled += 1;
                    conn.say("+ idling");
                    conn.idling = Some(tag.to_owned());
                    conn.flush(rng);
                }
            }
            "NOOP" => {
                conn.flush(rng);
                conn.finish(tag, "OK", rng);
            }
            _ => return Err("an unknown command".to_owned()),
        }
        Ok(())
    }

    fn sasl(&mut self, conn: &mut Conn, tag: String, stage: Sasl, line: &str) {
        let mechanism = if self.features.token {
            Mechanism::Xoauth2
        } else {
            Mechanism::Plain
        };
        let expected = mechanism.initial(USER.as_bytes(), &secret(self.password), HOST, PORT);
        let well = stage == Sasl::Secret && line.as_bytes() == &expected[..];
        if !well && stage == Sasl::Secret && self.features.token {
            conn.say("+ eyJzdGF0dXMiOiI0MDEifQ==");
            conn.sasl = Some((tag, Sasl::Explained));
            return;
        }
        self.let_in(conn, &tag, well, &mut Rng::new(0));
    }

    fn let_in(&mut self, conn: &mut Conn, tag: &str, well: bool, rng: &mut Rng) {
        if self.unavailable {
            conn.finish(tag, "NO [UNAVAILABLE] later", rng);
        } else if well {
            conn.inside = true;
            let code = if self.features.frank {
                format!("[CAPABILITY {}] ", self.capabilities(conn))
            } else {
                String::new()
            };
            conn.say(&format!("{tag} OK {code}welcome"));
        } else {
            self.refused += 1;
            conn.say(&format!("{tag} NO [AUTHENTICATIONFAILED] who are you?"));
        }
    }

    fn status(&self, conn: &mut Conn, name: &'static str, rng: &mut Rng) {
        let boxes = self.stale.as_ref().unwrap_or(&self.boxes);
        let Some(it) = boxes.get(name).or_else(|| self.boxes.get(name)) else {
            return;
        };
        let mut items = vec![
            format!("MESSAGES {}", it.messages),
            format!("UIDNEXT {}", it.next),
            format!("UIDVALIDITY {}", it.validity),
            format!("UNSEEN {}", it.unseen),
        ];
        if self.features.condstore {
            let modseq = if self.counts(name) { it.modseq } else { 0 };
            items.push(format!("HIGHESTMODSEQ {modseq}"));
        }
        if rng.once_in(2) {
            items.reverse();
        }
        let shown = self.shown(name, false, rng);
        conn.out.extend(b"* STATUS ");
        conn.out.extend(shown);
        conn.line(format!(" ({})", items.join(" ")).as_bytes());
    }

    fn list_on(&mut self, conn: &mut Conn, rng: &mut Rng) {
        let Some(mut listing) = conn.listing.take() else {
            return;
        };
        for _ in 0..=rng.below(5) {
            let Some(name) = listing.left.pop_front() else {
                conn.finish(&listing.tag, "OK listed", rng);
                return;
            };
            if !self.boxes.contains_key(name) {
                continue;
            }
            let all = self.features.all && name == ALL;
            let flags = if all { "\\All \\HasNoChildren" } else { "" };
            let shown = self.shown(name, false, rng);
            let head = format!("* LIST ({flags}) \"{}\" ", self.features.separator);
            conn.out.extend(head.bytes());
            conn.line(&shown);
            if listing.status {
                self.status(conn, name, rng);
            }
        }
        conn.listing = Some(listing);
    }
}

impl Conn {
    fn say(&mut self, line: &str) {
        self.line(line.as_bytes());
    }

    fn line(&mut self, line: &[u8]) {
        self.out.extend(line);
        self.out.extend(b"\r\n");
    }

    fn note(&mut self, name: &'static str, kinds: Kinds, unseen: bool) {
        for push in &mut self.noted {
            if let Push::Status(known, before, its) = push
                && *known == name
            {
                *before |= kinds;
                *its |= unseen;
                return;
            }
        }
        self.noted.push(Push::Status(name, kinds, unseen));
    }

    fn finish(&mut self, tag: &str, how: &str, rng: &mut Rng) {
        if !rng.once_in(3) {
            self.flush(rng);
        }
        self.say(&format!("{tag} {how}"));
    }

    /// Tell what has happened in the selected mailbox.
    fn flush(&mut self, rng: &mut Rng) {
        let Some(mut selected) = self.selected.take() else {
            return;
        };
        while let Some(event) = selected.pending.pop_front() {
            match event {
                Event::New => {
                    selected.count += 1;
                    // Several in a row are told at once.
                    if selected.pending.front() != Some(&Event::New) {
                        self.say(&format!("* {} EXISTS", selected.count));
                    }
                }
                Event::Gone => {
                    let number = rng.below(selected.count.max(1)) + 1;
                    selected.count = selected.count.saturating_sub(1);
                    if self.condstore && rng.once_in(4) {
                        self.say(&format!("* VANISHED {}", 1_000 + number));
                    } else {
                        self.say(&format!("* {number} EXPUNGE"));
                    }
                }
                Event::Seen | Event::Flagged => {
                    let number = rng.below(selected.count.max(1)) + 1;
                    self.say(&format!("* {number} FETCH (FLAGS (\\Seen \"x\"))"));
                }
            }
        }
        self.selected = Some(selected);
    }

    /// What no client has asked for.
    fn rubbish(&mut self, rng: &mut Rng) {
        let lines: [&[u8]; 16] = [
            b"* OK Still here",
            b"* OK [ALERT] The disk is full (nearly) {5}",
            b"* NO something is odd {",
            b"* BAD",
            b"* 0 RECENT",
            b"* FLAGS (\\Answered",
            b"* XYZZY (((((",
            b"* STATUS",
            b"* STATUS \"a\" (MESSAGES many)",
            b"* LIST (\\Marked) NIL",
            b"* SEARCH 1 2 3 4",
            b"* ESEARCH (TAG \"x\") UID ALL 1:5",
            b"* X {12}\r\n* 9 EXISTS\r\n",
            b"* LSUB () \"/\" \"gr\xfcn\"",
            b"* STATUS nowhere/to/be/found )",
            b"",
        ];
        let line = *rng.choose(&lines);
        self.line(line);
    }
}
