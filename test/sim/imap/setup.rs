//! The circumstances of a life: what the server is like, how fast things go, how often what goes wrong.

use std::time::Duration;

use mailsync_module::coalesce::Delays;
use mailsync_module::engine::config::{
    AccountConfig, RemoteConfig, RemoteStore, RootConfig, SyncConfig,
};
use mailsync_module::maildir::Layout;
use mailsync_module::remote::attempts::Retry;
use mailsync_module::remote::imap::command::Command as Prints;
use mailsync_module::remote::imap::line::{Server, Source};
use mailsync_module::remote::imap::session::Settings;
use mailsync_module::remote::imap::wire::Way;
use mailsync_module::schedule::{Glob, Timing};
use mailsync_module::syncer::{Command, Naming, Program, Syncer};

use super::server::{Features, HOST, PORT, USER};
use crate::rng::Rng;
use crate::world::ms;

pub const ACCOUNT: &str = "work";
pub const ROOT: &str = "/m";

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// What a connection that is being ended has told is not heard.
    ForgetsHeard,
    /// What is known of the mailboxes is.
    ForgetsSnapshot,
    /// That a mailbox's own connection was lost is told nobody.
    OthersEndQuietly,
    /// What it had told stands for what happens afterwards.
    StaysTold,
    /// The server agrees to NOTIFY, and tells nothing.
    Silent,
    /// A sweep shows what was there when the connection began.
    Stale,
    /// A refusal passes for a lost connection.
    RefusalsPass,
    /// Nobody looks at the clock.
    NeverTicks,
    /// Of several changes the last one stands for all.
    Replaces,
    /// That anything may have changed is not heard.
    NotEverything,
    /// Bytes are lost on the way.
    LosesBytes,
    /// Nobody proves that a line is alive.
    NeverPokes,
    /// A wake ends no connection.
    SleepsOn,
    /// The kernel loses what it has to tell.
    LosesEvents,
    /// What happens in maildirs passes for a syncer's.
    ClaimsAll,
}

/// Who uses the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Gnus reads the server, by nnimap.
    Alone,
    /// A syncer fetches, into what nobody watches.
    Synced,
    /// It does, into maildirs that are watched, and in which users do something, too.
    Rooted,
}

#[derive(Debug)]
pub struct Setup {
    pub features: Features,
    pub used: Use,
    /// The mean time between what happens at the server.
    pub pace: Duration,
    /// And between faults, if there are any.
    pub faults: Option<Duration>,
    pub lasts: Duration,
    /// The longest that bytes travel, and that the server takes for a part of an answer.
    pub latency: Duration,
    pub slow: Duration,
    /// It bundles what it pushes for so long.
    pub bundle: Duration,
    pub poll: Duration,
    pub refresh: Duration,
    /// The kernel asks whether the other end lives.
    pub keepalive: bool,
    /// A program prints the secret.
    pub command: bool,
    /// What is to have a connection of its own.
    pub idle: Option<Vec<Vec<u8>>>,
    /// Whose changes are heard; none given: all.
    pub wanted: Vec<Glob>,
    pub pipe_limit: usize,
    pub delays: Delays,
    /// Folders come and go.
    pub folders: bool,
    /// One run in so many fails; 0: none.
    pub fails: u64,
    pub at_start: bool,
    /// The mean time between what users do in maildirs.
    pub pace_here: Duration,
    /// What the kernel keeps until somebody reads it.
    pub queue_limit: usize,
    /// How coarse the clock is that stamps directories.
    pub tick: Duration,
    /// Users do something between any two calls of the worker, once in so many; 0: never.
    pub meddling: u64,
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn features(rng: &mut Rng) -> Features {
    let preauth = rng.once_in(5);
    let plain = !rng.once_in(3);
    let token = !preauth && rng.once_in(5);
    let way = rng.below(5);
    let list_status = !rng.once_in(3);
    let ir_lies = !preauth && !token && plain && rng.once_in(6);
    Features {
        notify: way < 2,
        refuses_notify: way == 1 && rng.once_in(4),
        idle: way < 4 && !(way < 2 && rng.once_in(4)),
        refuses_idle: if rng.once_in(5) { 4 } else { 0 },
        condstore: !rng.once_in(3),
        one_without: rng.once_in(5),
        pushes_bare: rng.once_in(3),
        list_status,
        list_lies: !list_status && rng.once_in(3),
        prefix: rng.once_in(4),
        separator: *rng.choose(&['/', '.']),
        all: rng.once_in(2),
        preauth,
        starttls: !preauth && rng.once_in(5),
        plain,
        sasl_ir: !ir_lies && rng.once_in(2),
        ir_lies,
        token,
        frank: !rng.once_in(3),
        rubbish: *rng.choose(&[0, 0, 0, 10]),
    }
}

impl Setup {
    /// What a seed comes to.
    pub fn random(rng: &mut Rng) -> Self {
        let features = features(rng);
        let idle = rng.once_in(3).then(|| {
            let all: [&[&str]; 4] = [&["a"], &["a", "lists/x", "a/b"], &["t1"], &[]];
            let names = rng.choose(&all);
            names.iter().map(|it| it.as_bytes().to_vec()).collect()
        });
        let pace = ms(*rng.choose(&[1_000, 3_000, 20_000, 60_000]));
        Setup {
            used: *rng.choose(&[
                Use::Alone,
                Use::Alone,
                Use::Synced,
                Use::Rooted,
                Use::Rooted,
            ]),
            pace,
            faults: (!rng.once_in(5)).then(|| seconds(*rng.choose(&[5, 30, 30, 100, 300]))),
            lasts: pace * 20 + seconds(*rng.choose(&[20, 60, 600])),
            latency: ms(*rng.choose(&[1, 40, 40, 700])),
            slow: ms(*rng.choose(&[1, 20, 500, 3_000])),
            bundle: ms(*rng.choose(&[0, 500, 500])),
            poll: seconds(*rng.choose(&[300, 300, 300, 60])),
            refresh: seconds(*rng.choose(&[540, 540, 1_500, 100])),
            keepalive: !features.preauth,
            command: rng.once_in(3),
            idle,
            wanted: if rng.once_in(6) {
                vec![Glob("a*".into()), Glob("INBOX".into())]
            } else {
                Vec::new()
            },
            pipe_limit: *rng.choose(&[32_768, 32_768, 300]),
            delays: Delays {
                quiet: ms(200),
                longest: ms(2_000),
            },
            folders: rng.once_in(2),
            fails: *rng.choose(&[0, 0, 4]),
            at_start: rng.once_in(2),
            pace_here: pace * 2,
            queue_limit: *rng.choose(&[16_384, 16_384, 8]),
            tick: ms(*rng.choose(&[0, 4, 1_000])),
            meddling: *rng.choose(&[0, 60, 12]),
            features,
        }
    }

    /// A life in which nothing goes wrong, with a server that does what it says.
    pub fn quiet(rng: &mut Rng) -> Self {
        let mut setup = Setup {
            faults: None,
            slow: ms(20),
            latency: ms(40),
            wanted: Vec::new(),
            fails: 0,
            ..Setup::random(rng)
        };
        setup.features.rubbish = 0;
        setup.features.refuses_idle = 0;
        setup
    }

    pub fn hears(&self, name: &str) -> bool {
        let matches = |it: &Glob| it.matches(name.as_bytes());
        self.wanted.is_empty() || self.wanted.iter().any(matches)
    }

    pub fn account(&self) -> AccountConfig {
        let it = &self.features;
        let settings = Settings {
            user: USER.into(),
            host: HOST.to_owned(),
            port: PORT,
            mechanism: None,
            token: it.token,
            starttls: it.starttls,
            naming: None,
            idle: self.idle.clone(),
            refresh: self.refresh,
            poll: self.poll,
        };
        let program = Prints {
            argv: vec!["pass".into()],
            search: Vec::new(),
            environment: Vec::new(),
            key: ":secret-command",
        };
        let server = Server {
            way: Way::Host(HOST.to_owned(), PORT, true),
            pin: None,
            source: if self.command {
                Source::Command(program)
            } else {
                Source::Emacs
            },
            settings,
        };
        let timing = Timing {
            base: seconds(2),
            inter: seconds(5),
            max: seconds(60),
            at_start: self.at_start,
            ..Timing::once()
        };
        let command = Command {
            words: vec!["sync".into()],
            all: None,
            naming: Naming::Utf8,
            separator: None,
            prefix: None,
            per_folder: true,
        };
        let syncer = Syncer::new(Program::Command(command));
        let root = RootConfig {
            directory: ROOT.into(),
            layout: Layout::Nested,
            poll: None,
        };
        AccountConfig {
            name: ACCOUNT.to_owned(),
            roots: (self.used == Use::Rooted)
                .then_some(root)
                .into_iter()
                .collect(),
            delays: self.delays,
            quiet: true,
            sync: (self.used != Use::Alone).then_some(SyncConfig { timing, syncer }),
            remotes: vec![RemoteConfig {
                store: RemoteStore::Imap(Box::new(server)),
                retry: Retry {
                    inter: seconds(5),
                    max: seconds(600),
                },
                folders: self.wanted.clone(),
            }],
        }
    }
}
