//! What mbsync's configuration offers to be synced: its channels with the directories that they
//! sync, and its groups.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::super::survey::{Bundle, Place, Security, Server, Survey, Unit};
use super::boxes::is_inbox;
use super::config::{self, Channel, Config, Remote, Store, Style};
use super::{Atlas, Member, Side, path, takes_inbox};
use crate::syncer::surroundings::Surroundings;

/// What there is to be synced.  `None` where there is no configuration.  Reads that file.
///
/// # Errors
/// With why it cannot be read.
pub fn survey(around: &Surroundings) -> Option<Result<Survey, String>> {
    let file = config::find(around, None);
    if !file.exists() {
        return None;
    }
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(text) => return Some(Err(text)),
    };
    let mut survey = offered(&config, around);
    let older = config::older(around);
    if older != file && older.exists() {
        survey.remarks.push(format!(
            "{} is there, too; mbsync before version 1.5 reads that one",
            older.display()
        ));
    }
    survey.file = file;
    Some(Ok(survey))
}

fn offered(config: &Config, around: &Surroundings) -> Survey {
    let members: Vec<Member<'_>> = config.channels.iter().map(member).collect();
    let atlas = Atlas::new(config, &members, around);
    let mut survey = Survey {
        all: Some(members.len()),
        ..Survey::default()
    };
    // The places of the units among the channels.
    let mut kept = Vec::new();
    for (at, (member, sides)) in members.iter().zip(&atlas.sides).enumerate() {
        let channel = member.channel;
        let name = &channel.name;
        let mut roots: Vec<Place> = Vec::new();
        for (store, side) in stores(config, member).zip(sides) {
            for place in places(config, member, store, side) {
                if !roots.iter().any(|it| it.directory == place.directory) {
                    roots.push(place);
                }
            }
        }
        if roots.is_empty() {
            survey.remarks.push(format!(
                "mbsync's channel {} (line {}) is left out: it syncs no Maildir here",
                shown(name),
                channel.line
            ));
            continue;
        }
        kept.push(at);
        let hidden = config.groups.iter().any(|group| group.name == *name);
        let used = used(config, channel, &roots, around);
        survey.units.push(Unit {
            name: name.clone(),
            line: channel.line,
            nameable: !hidden && !name.contains(&b':') && !name.starts_with(b"-"),
            roots,
            server: server(config, &channel.far.0).or_else(|| server(config, &channel.near.0)),
            used,
            remarks: Vec::new(),
        });
    }
    survey.bundles = bundles(config, &kept);
    for line in &config.commands {
        // There may be channels in it.
        survey.all = None;
        survey.remarks.push(format!(
            "what the command on line {line} of mbsync's configuration prints is not known: no \
             program is run for this"
        ));
    }
    survey
}

fn member(channel: &Channel) -> Member<'_> {
    Member {
        channel,
        said: channel.name.clone(),
        boxes: None,
        nameable: true,
    }
}

/// The local stores of a channel, near and far, as its sides in the atlas are.
fn stores<'a>(config: &'a Config, member: &Member<'a>) -> impl Iterator<Item = &'a Store> {
    let ends = [&member.channel.near.0, &member.channel.far.0].into_iter();
    ends.filter_map(|name| config.stores.iter().find(|store| store.name == *name))
}

/// The directories of a store that a channel syncs.
fn places(config: &Config, member: &Member<'_>, store: &Store, side: &Side) -> Vec<Place> {
    let name = shown(&store.name);
    let place = |directory: PathBuf, what: String| Place {
        directory,
        line: store.line,
        what,
    };
    let view = &side.place.written;
    let inbox = path(&view.inbox);
    let of_inbox = match store.inbox {
        Some(_) => format!("the Inbox of store {name}"),
        None => format!("the Inbox of store {name}, which names none"),
    };
    if store.style == Style::PlusPlus && store.flatten.is_none() {
        return vec![place(inbox, of_inbox)];
    }
    let mut found = Vec::new();
    let directory = view.root.as_ref().zip(view.directory().map(path));
    let takes_inbox = takes_inbox(member, side);
    let only_inbox = member.channel.patterns.is_none() && takes_inbox;
    let inside = directory
        .as_ref()
        .is_some_and(|(_, directory)| inbox.starts_with(directory));
    if let Some((root, directory)) = directory.filter(|_| !only_inbox || inside) {
        match level(config, store, &side.prefix) {
            Some(level) => found.push(place(
                path(&[root, level].concat()),
                format!("what channels have in the Path of store {name}"),
            )),
            None if root.ends_with(b"/") => {
                found.push(place(directory, format!("the Path of store {name}")));
            }
            None => found.push(place(
                directory,
                format!("where store {name} begins, whose Path has no slash at its end"),
            )),
        }
    }
    if takes_inbox && !inside {
        found.push(place(inbox, of_inbox));
    }
    found
}

/// Whether a channel has left a record, as far as that is cheap to see.
fn used(config: &Config, channel: &Channel, roots: &[Place], around: &Surroundings) -> bool {
    let own = channel.state.as_deref();
    let all = config.state.as_deref();
    if own.or(all) == Some(b"*") {
        let boxes = ["", "INBOX", "Inbox", "inbox"];
        let mut places = roots
            .iter()
            .flat_map(|root| boxes.map(|name| root.directory.join(name)));
        return places.any(|place| place.join(".mbsyncstate").exists());
    }
    let far = [b":", channel.far.0.as_slice(), b":"].concat();
    let after = |directory: Vec<u8>| begins_there(&[directory, far.clone()].concat());
    match (own, all) {
        (Some(own), _) => begins_there(&config::path(around, own)),
        (None, Some(all)) => after(config::path(around, all)),
        (None, None) => config::states(around).into_iter().any(after),
    }
}

/// Whether there is a file whose path begins so.
fn begins_there(before: &[u8]) -> bool {
    let Some(slash) = before.iter().rposition(|byte| *byte == b'/') else {
        return false;
    };
    let (directory, stem) = before.split_at(slash + 1);
    let entries = fs::read_dir(path(directory));
    entries.is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|it| it.file_name().as_bytes().starts_with(stem)))
    })
}

/// The first level of a prefix, where all channels of the store have one of their own to be in.
fn level<'a>(config: &Config, store: &Store, prefix: &'a [u8]) -> Option<&'a [u8]> {
    let levels = matches!(store.style, Style::Verbatim | Style::Legacy);
    if !levels || store.flatten.is_some() {
        return None;
    }
    let channels = config.channels.iter();
    let ends = channels.flat_map(|channel| [&channel.near, &channel.far]);
    let mut prefixes = ends.filter(|(name, _)| *name == store.name);
    let all = prefixes.all(|(_, prefix)| first(prefix).is_some());
    all.then(|| first(prefix)).flatten()
}

fn first(prefix: &[u8]) -> Option<&[u8]> {
    let slash = prefix.iter().position(|byte| *byte == b'/')?;
    let level = prefix.get(..slash)?;
    (!level.is_empty() && !is_inbox(prefix)).then_some(level)
}

/// The groups that stand for whole channels of those `kept`.
fn bundles(config: &Config, kept: &[usize]) -> Vec<Bundle> {
    let bundle = |group: &config::Group| {
        let channel = |name: &Vec<u8>| {
            let at = config.channels.iter().position(|it| it.name == *name)?;
            kept.iter().position(|kept| *kept == at)
        };
        let mut units = group
            .members
            .iter()
            .map(channel)
            .collect::<Option<Vec<_>>>()?;
        units.sort_unstable();
        units.dedup();
        Some(Bundle {
            name: group.name.clone(),
            line: group.line,
            units,
        })
    };
    let tellable = |group: &&config::Group| !group.name.starts_with(b"-");
    let groups = config.groups.iter().filter(tellable);
    groups.filter_map(bundle).collect()
}

/// Where a remote store is.
fn server(config: &Config, store: &[u8]) -> Option<Server> {
    let mut servers = config.servers.iter();
    let store = servers.find(|it| it.store && it.name == store)?;
    let account = store.account.as_ref();
    let account = account.and_then(|account| {
        let mut servers = config.servers.iter();
        servers.find(|it| !it.store && it.name == *account)
    });
    let known = |get: fn(&Remote) -> Option<&Vec<u8>>| {
        let value = get(store).or_else(|| get(account?))?;
        String::from_utf8(value.clone()).ok()
    };
    if store.tunnel || account.is_some_and(|account| account.tunnel) {
        return None;
    }
    let host = known(|it| it.host.as_ref())?;
    // So it was written once.
    let (host, old) = match (host.strip_prefix("imaps:"), host.strip_prefix("imap:")) {
        (Some(host), _) => (host.to_owned(), Some("imaps")),
        (None, Some(host)) => (host.to_owned(), None),
        (None, None) => (host, None),
    };
    let security = known(|it| it.security.as_ref());
    Some(Server {
        host,
        port: known(|it| it.port.as_ref()).and_then(|port| port.parse().ok()),
        user: known(|it| it.user.as_ref()),
        security: match security.as_deref().or(old) {
            Some("imaps") => Security::Tls,
            Some("none") => Security::Nothing,
            _ => Security::StartTls,
        },
    })
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
