//! Between Lisp values and the engine's: the configuration in, the snapshot out.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use emacs::{Env, IntoLisp, Value, Vector};

use crate::coalesce::Delays;
use crate::engine::config::{AccountConfig, RootConfig};
use crate::engine::status::{AccountStatus, RootStatus, Status};
use crate::maildir::Layout;

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
    Ok(AccountConfig {
        name,
        roots,
        delays,
    })
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

fn seconds(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).context("not a number of seconds")
}

pub(super) fn paths(names: Vector<'_>) -> Result<Vec<PathBuf>> {
    (0..names.len())
        .map(|number| Ok(super::path(names.get(number)?)))
        .collect()
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
    plist(
        env,
        [
            (":name", bytes(env, status.name.as_bytes())?),
            (":state", env.intern(status.state)?),
            (":text", bytes(env, status.text.as_bytes())?),
            (":pending", i64::try_from(status.pending)?.into_lisp(env)?),
            (":roots", list(env, roots)?),
        ],
    )
}

fn root_status<'e>(env: &'e Env, status: &RootStatus) -> Result<Value<'e>> {
    let problems = status
        .problems
        .iter()
        .map(|text| bytes(env, text.as_bytes()));
    plist(
        env,
        [
            (
                ":directory",
                bytes(env, status.directory.as_os_str().as_bytes())?,
            ),
            (":state", env.intern(status.state)?),
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
