//! Between Lisp values and the engine's: the configuration in, the snapshot out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use emacs::{Env, IntoLisp, Value, Vector};

use crate::coalesce::Delays;
use crate::engine::config::{AccountConfig, RemoteConfig, RemoteStore, RootConfig, SyncConfig};
use crate::engine::status::{AccountStatus, RemoteStatus, RootStatus, Status};
use crate::maildir::Layout;
use crate::remote::attempts::Retry;
use crate::remote::names::Naming;
use crate::remote::watcher;
use crate::schedule::{Glob, SyncState, Timing};
use crate::syncer::worker::Worker;
use crate::syncer::{self, Command, Program, Syncer};

pub(super) fn accounts(accounts: Vector<'_>) -> Result<Vec<AccountConfig>> {
    (0..accounts.len())
        .map(|number| account(accounts.get(number)?))
        .collect()
}

fn account(account: Vector<'_>) -> Result<AccountConfig> {
    let name = super::text(account.get(0)?);
    let delay = |at, what| seconds(account.get(at)?).with_context(|| format!("{name}: {what}"));
    let delays = Delays {
        quiet: delay(1, "the coalesce delay")?,
        longest: delay(2, "the longest coalesce delay")?,
    };
    let roots: Vector<'_> = account.get(3)?;
    let roots = (0..roots.len()).map(|number| root(roots.get(number)?));
    let roots = roots.collect::<Result<_>>();
    let roots = roots.with_context(|| format!("account {name}"))?;
    let sync: Option<Vector<'_>> = account.get(4)?;
    let sync = sync.map(sync_config).transpose();
    let sync = sync.with_context(|| format!("account {name}"))?;
    let remotes: Vector<'_> = account.get(5)?;
    let remotes = (0..remotes.len()).map(|number| remote(remotes.get(number)?));
    let remotes = remotes.collect::<Result<_>>();
    let remotes = remotes.with_context(|| format!("account {name}"))?;
    Ok(AccountConfig {
        name,
        roots,
        delays,
        quiet: true,
        sync,
        remotes,
    })
}

fn remote(remote: Vector<'_>) -> Result<RemoteConfig> {
    let kind: String = remote.get(0)?;
    let described: Vector<'_> = remote.get(4)?;
    let store = match &kind[..] {
        "watcher" => RemoteStore::Program(watcher::Program {
            argv: words_of(described.get(0)?)?,
            search: paths(described.get(1)?)?,
            environment: words_of(described.get(2)?)?,
            naming: Naming {
                prefix: described.get(3)?,
                separator: described.get(4)?,
            },
        }),
        #[cfg(feature = "imap")]
        "imap" => RemoteStore::Imap(Box::new(super::imap::server(described)?)),
        _ => bail!("this module cannot watch a remote store by {kind}"),
    };
    let folders: Vector<'_> = remote.get(3)?;
    Ok(RemoteConfig {
        store,
        retry: Retry {
            inter: seconds(remote.get(1)?).context("the inter delay")?,
            max: seconds(remote.get(2)?).context("the longest delay")?,
        },
        folders: bytes_of(folders)?.into_iter().map(Glob).collect(),
    })
}

/// A vector of strings, as words of a command line or the like.
pub(super) fn words_of(words: Vector<'_>) -> Result<Vec<OsString>> {
    let words = bytes_of(words)?;
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

fn sync_config(sync: Vector<'_>) -> Result<SyncConfig> {
    let delay = |at, what: &'static str| seconds(sync.get(at)?).context(what);
    let overrides: Vector<'_> = sync.get(2)?;
    let overrides = (0..overrides.len()).map(|number| {
        let pair: Vector<'_> = overrides.get(number)?;
        Ok((Glob(pair.get(0)?), seconds(pair.get(1)?)?))
    });
    let described: Vector<'_> = sync.get(9)?;
    let syncer = syncer(described)?;
    let pulls_only = truth(described, PULLS_ONLY)?;
    let per_run = truth(described, PER_RUN)?;
    Ok(SyncConfig {
        timing: Timing {
            base: delay(0, "the base delay")?,
            inter: delay(1, "the inter delay")?,
            overrides: overrides.collect::<Result<_>>()?,
            max: delay(3, "the longest delay")?,
            poll: Some(delay(4, "the poll period")?).filter(|poll| !poll.is_zero()),
            check: delay(5, "the check timeout")?,
            silence: Some(delay(6, "the sync timeout")?).filter(|silence| !silence.is_zero()),
            at_start: truth(sync, 7)?,
            ignore: bytes_of(sync.get(8)?)?.into_iter().map(Glob).collect(),
            pulls_only,
            per_run,
            // A function may have another program run each time.
            records: syncer.program.keeps_record() && !pulls_only && !per_run,
        },
        syncer,
    })
}

/// For a syncer that is no account's: it is ended after so many seconds of silence.
pub(super) fn once(described: Vector<'_>, silence: f64) -> Result<SyncConfig> {
    Ok(SyncConfig {
        timing: Timing {
            silence: Some(seconds(silence)?).filter(|silence| !silence.is_zero()),
            per_run: truth(described, PER_RUN)?,
            ..Timing::once()
        },
        syncer: syncer(described)?,
    })
}

/// What of a syncer's description is about when it is run.
const PULLS_ONLY: usize = 14;
const PER_RUN: usize = 15;

pub(super) fn syncer(syncer: Vector<'_>) -> Result<Syncer> {
    let text = |at| -> Result<Option<String>> {
        let bytes: Option<Vec<u8>> = syncer.get(at)?;
        Ok(bytes.map(super::text))
    };
    let path = |at| -> Result<Option<PathBuf>> {
        let bytes: Option<Vec<u8>> = syncer.get(at)?;
        Ok(bytes.map(super::path))
    };
    let words = |at| -> Result<Vec<OsString>> {
        let words = bytes_of(syncer.get(at)?)?;
        Ok(words.into_iter().map(OsString::from_vec).collect())
    };
    let naming = || match syncer.get::<String>(11)?.as_str() {
        "utf-8" => Ok(syncer::Naming::Utf8),
        "imap" => Ok(syncer::Naming::Imap),
        other => bail!("unknown naming {other}"),
    };
    let kind: String = syncer.get(0)?;
    let mut program = words(1)?;
    let only = program.first().cloned().context("no program")?;
    let program = match kind.as_str() {
        "command" => Program::Command(Command {
            words: std::mem::take(&mut program),
            all: match syncer.get::<Option<Vector<'_>>>(2)? {
                Some(_) => Some(words(2)?),
                None => None,
            },
            naming: naming()?,
            separator: text(12)?,
            prefix: text(13)?,
            per_folder: truth(syncer, 16)?,
        }),
        "mbsync" => Program::Mbsync {
            program: only,
            target: text(3)?,
            config: path(4)?,
            args: words(5)?,
        },
        "offlineimap" => Program::OfflineImap {
            program: only,
            account: text(3)?.context("no account of OfflineIMAP")?,
            config: path(4)?,
            args: words(5)?,
        },
        "worker" => Program::OnlyWorker,
        other => bail!("unknown kind of syncer {other}"),
    };
    let offlineimap = matches!(program, Program::OfflineImap { .. });
    let worker = match syncer.get::<Option<Vector<'_>>>(17)? {
        Some(_) => Some(Worker {
            words: words(17)?,
            naming: naming()?,
            // The worker for OfflineIMAP wants them as an IMAP server has them.
            separator: text(12)?.filter(|_| !offlineimap),
            prefix: text(13)?.filter(|_| !offlineimap),
            idle: seconds(syncer.get(18)?).context(":idle")?,
            quit: seconds(syncer.get(19)?).context(":quit")?,
        }),
        None => None,
    };
    let success: Vector<'_> = syncer.get(10)?;
    let success = (0..success.len()).map(|at| Ok(i32::try_from(success.get::<i64>(at)?)?));
    Ok(Syncer {
        program,
        worker,
        search: words(6)?.into_iter().map(PathBuf::from).collect(),
        environment: words(7)?,
        directory: path(8)?,
        input: syncer.get(9)?,
        success: success.collect::<Result<_>>()?,
    })
}

fn truth(vector: Vector<'_>, at: usize) -> Result<bool> {
    Ok(vector.get::<Value<'_>>(at)?.is_not_nil())
}

/// A vector of strings.
pub(super) fn bytes_of(strings: Vector<'_>) -> Result<Vec<Vec<u8>>> {
    (0..strings.len()).map(|at| strings.get(at)).collect()
}

/// A vector of [TRUENAME SERIAL].
pub(super) fn checked(pairs: Vector<'_>) -> Result<Vec<(PathBuf, u64)>> {
    let pair = |at| {
        let pair: Vector<'_> = pairs.get(at)?;
        let serial: i64 = pair.get(1)?;
        Ok((super::path(pair.get(0)?), u64::try_from(serial)?))
    };
    (0..pairs.len()).map(pair).collect()
}

fn root(root: Vector<'_>) -> Result<RootConfig> {
    let layout: String = root.get(1)?;
    let poll: Option<f64> = root.get(2)?;
    Ok(RootConfig {
        directory: super::path(root.get(0)?),
        layout: match layout.as_str() {
            "auto" => Layout::Auto,
            "maildir++" => Layout::MaildirPlusPlus,
            "nested" => Layout::Nested,
            other => bail!("unknown layout {other}"),
        },
        poll: poll.map(seconds).transpose().context(":poll")?,
    })
}

pub(super) fn seconds(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).context("not a number of seconds")
}

pub(super) fn paths(names: Vector<'_>) -> Result<Vec<PathBuf>> {
    (0..names.len())
        .map(|number| Ok(super::path(names.get(number)?)))
        .collect()
}

/// A vector of [NAME DIRECTORY].
pub(super) fn places(places: Vector<'_>) -> Result<Vec<(String, PathBuf)>> {
    let place = |at| {
        let pair: Vector<'_> = places.get(at)?;
        Ok((super::text(pair.get(0)?), super::path(pair.get(1)?)))
    };
    (0..places.len()).map(place).collect()
}

pub(super) fn status<'e>(env: &'e Env, status: &Status) -> Result<Value<'e>> {
    let accounts = status
        .accounts
        .iter()
        .map(|status| account_status(env, status));
    let dead = match &status.dead {
        Some(text) => bytes(env, text.as_bytes())?,
        None => env.intern("nil")?,
    };
    plist(
        env,
        [
            (":accounts", list(env, accounts)?),
            (":in-flight", flag(env, status.in_flight)?),
            (
                ":delivered",
                i64::try_from(status.delivered)?.into_lisp(env)?,
            ),
            (":held", i64::try_from(status.held)?.into_lisp(env)?),
            (":threads", super::threads()?.into_lisp(env)?),
            (":dead", dead),
        ],
    )
}

fn account_status<'e>(env: &'e Env, status: &AccountStatus) -> Result<Value<'e>> {
    let roots = status.roots.iter().map(|status| root_status(env, status));
    let remotes = (status.remotes.iter()).map(|status| remote_status(env, status));
    plist(
        env,
        [
            (":name", bytes(env, status.name.as_bytes())?),
            (":state", env.intern(status.state)?),
            (":text", bytes(env, status.text.as_bytes())?),
            (":pending", i64::try_from(status.pending)?.into_lisp(env)?),
            (":roots", list(env, roots)?),
            (
                ":sync",
                match &status.sync {
                    Some(status) => sync_status(env, status)?,
                    None => env.intern("nil")?,
                },
            ),
            (":remotes", list(env, remotes)?),
        ],
    )
}

fn remote_status<'e>(env: &'e Env, status: &RemoteStatus) -> Result<Value<'e>> {
    let now = Instant::now();
    let time = |time: Option<Duration>| match time {
        Some(time) => time.as_secs_f64().into_lisp(env),
        None => env.intern("nil"),
    };
    let stand = &status.stand;
    let ago = |at: Instant| now.saturating_duration_since(at);
    let next = stand.next.map(|at| at.saturating_duration_since(now));
    plist(
        env,
        [
            (":what", bytes(env, status.what.as_bytes())?),
            (":state", env.intern(stand.state)?),
            (":text", bytes(env, stand.text.as_bytes())?),
            (":since", time(Some(ago(stand.since)))?),
            (":news", time(stand.news.map(ago))?),
            (":next", time(next)?),
        ],
    )
}

fn sync_status<'e>(env: &'e Env, state: &SyncState) -> Result<Value<'e>> {
    let now = Instant::now();
    let time = |time: Option<Duration>| match time {
        Some(time) => time.as_secs_f64().into_lisp(env),
        None => env.intern("nil"),
    };
    let last_ok = state.last_ok.map(|at| now.saturating_duration_since(at));
    let next = state.next.map(|at| at.saturating_duration_since(now));
    let unpushed = match state.unpushed {
        Some(folders) => i64::try_from(folders)?.into_lisp(env)?,
        None => env.intern("nil")?,
    };
    plist(
        env,
        [
            (":last-ok", time(last_ok)?),
            (":next", time(next)?),
            (":unpushed", unpushed),
        ],
    )
}

fn root_status<'e>(env: &'e Env, status: &RootStatus) -> Result<Value<'e>> {
    let problems = status
        .problems
        .iter()
        .map(|text| bytes(env, text.as_bytes()));
    let since = match status.since {
        Some(at) => at.elapsed().as_secs_f64().into_lisp(env)?,
        None => env.intern("nil")?,
    };
    plist(
        env,
        [
            (
                ":directory",
                bytes(env, status.directory.as_os_str().as_bytes())?,
            ),
            (":state", env.intern(status.state)?),
            (":since", since),
            (":text", bytes(env, status.text.as_bytes())?),
            (":how", env.intern(status.how)?),
            (":folders", i64::try_from(status.folders)?.into_lisp(env)?),
            (":watches", i64::try_from(status.watches)?.into_lisp(env)?),
            (
                ":unwatched",
                i64::try_from(status.unwatched)?.into_lisp(env)?,
            ),
            (":problems", list(env, problems)?),
        ],
    )
}

fn bytes<'e>(env: &'e Env, bytes: &[u8]) -> Result<Value<'e>> {
    bytes.to_vec().into_lisp(env)
}

fn flag(env: &Env, flag: bool) -> Result<Value<'_>> {
    env.intern(if flag { "t" } else { "nil" })
}

fn list<'e>(env: &'e Env, values: impl Iterator<Item = Result<Value<'e>>>) -> Result<Value<'e>> {
    env.list(&values.collect::<Result<Vec<_>>>()?[..])
}

fn plist<'e, const N: usize>(env: &'e Env, pairs: [(&str, Value<'e>); N]) -> Result<Value<'e>> {
    let flat = pairs
        .into_iter()
        .map(|(key, value)| Ok([env.intern(key)?, value]));
    list(
        env,
        flat.collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .map(Ok),
    )
}
