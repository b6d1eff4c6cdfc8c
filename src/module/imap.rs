//! IMAP servers, from Lisp values.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use emacs::Vector;

use super::convert::{paths, seconds, words_of};
use crate::remote::imap::command::Command;
use crate::remote::imap::line::{Server, Source};
use crate::remote::imap::sasl::Mechanism;
use crate::remote::imap::session::Settings;
use crate::remote::imap::tls::Fingerprint;
use crate::remote::imap::wire::Way;
use crate::remote::names::Naming;

/// A server as `mailsync-module--start' describes it.
pub(super) fn server(described: Vector<'_>) -> Result<Server> {
    let text = |at| -> Result<Option<String>> {
        let bytes: Option<Vec<u8>> = described.get(at)?;
        Ok(bytes.map(super::text))
    };
    let words = |at| -> Result<Option<Vec<OsString>>> {
        let words: Option<Vector<'_>> = described.get(at)?;
        words.map(words_of).transpose()
    };
    let search = paths(described.get(0)?)?;
    let environment = words_of(described.get(1)?)?;
    let host = text(2)?.unwrap_or_default();
    let port: i64 = described.get(3)?;
    let port = u16::try_from(port).context(":port")?;
    let tls = text(4)?.unwrap_or_default();
    let pin = text(5)?.map(|pin| {
        Fingerprint::parse(&pin).with_context(|| format!(":tls-fingerprint \"{pin}\" is none"))
    });
    let user: Option<Vec<u8>> = described.get(6)?;
    let mechanism = text(7)?.map(|name| mechanism(&name)).transpose()?;
    let (secret, token) = (words(8)?, words(9)?);
    let way = match words(10)? {
        Some(argv) => Way::Tunnel {
            argv,
            search: search.clone(),
            environment: environment.clone(),
        },
        None => Way::Host(host.clone(), port, tls == "tls"),
    };
    let prefix: Option<Vec<u8>> = described.get(11)?;
    let separator: Option<Vec<u8>> = described.get(12)?;
    let idle: Option<Vector<'_>> = described.get(13)?;
    let idle = idle.map(super::convert::bytes_of).transpose()?;
    let command = |argv, key| command(argv, &search, &environment, key);
    Ok(Server {
        source: match (&secret, &token) {
            (_, Some(argv)) => Source::Command(command(argv, ":oauth-command")),
            (Some(argv), None) => Source::Command(command(argv, ":secret-command")),
            (None, None) => Source::Emacs,
        },
        way,
        pin: pin.transpose()?,
        settings: Settings {
            user: user.unwrap_or_default(),
            host,
            port,
            mechanism,
            token: token.is_some()
                || matches!(mechanism, Some(Mechanism::Xoauth2 | Mechanism::Oauthbearer)),
            starttls: tls == "starttls",
            naming: (prefix.is_some() || separator.is_some()).then(|| Naming {
                prefix: prefix.unwrap_or_default(),
                separator: separator.unwrap_or_default(),
            }),
            idle,
            refresh: seconds(described.get(14)?).context(":idle-refresh")?,
            poll: seconds(described.get(15)?).context(":poll")?,
        },
    })
}

fn command(
    argv: &[OsString],
    search: &[PathBuf],
    environment: &[OsString],
    key: &'static str,
) -> Command {
    Command {
        argv: argv.to_vec(),
        search: search.to_vec(),
        environment: environment.to_vec(),
        key,
    }
}

fn mechanism(name: &str) -> Result<Mechanism> {
    Ok(match name {
        "plain" => Mechanism::Plain,
        "login" => Mechanism::Login,
        "xoauth2" => Mechanism::Xoauth2,
        "oauthbearer" => Mechanism::Oauthbearer,
        _ => return Err(anyhow!(":auth {name}")),
    })
}
