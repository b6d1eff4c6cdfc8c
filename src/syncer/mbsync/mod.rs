//! mbsync: from an order to its command line, and from what it printed to how it went.
//!
//! It is told folders as `CHANNEL:BOX,BOX`.  Which channels a directory belongs to, and as what
//! box, follows from its configuration alone, without the network.  Where a folder cannot be
//! named, its channel is synced, and where none can, all that the account is about: never less
//! than asked.
//!
//! - `config`: what the configuration says.
//! - `boxes`: what a directory is to a store, and patterns.
//! - `judge`: what mbsync's messages mean.
//! - `survey`: what there is to be synced.
//! - `records`, `state`: where its record of a box is, and what that says.
//! - `inspect`: what somebody wants to know who looks for a fault.
//!
//! Processes are `run`'s business.  Measured with mbsync 1.4.4, and 1.5.1, to which a mailbox is called
//! what its name means: `Entwürfe` and no longer `Entw&APw-rfe`.

mod boxes;
mod config;
mod inspect;
mod judge;
mod records;
mod state;
mod survey;

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::paths::{tidy, truename};
use super::plan::{self, LONGEST, OTHERWISE, Plan, Refused};
use super::surroundings::Surroundings;
use super::unpushed::Unpushed;
use super::{Order, Outcome, Program, Scope};
use crate::change::Folder;
use crate::maildir::utf7;
use boxes::{Found, INBOX, Place, View, is_inbox};
use config::{Channel, Store};
use records::Records;

pub use config::{Config, Problem};
pub use inspect::inspect;
pub use judge::judge;
pub use records::Column;
pub use state::State;
pub(crate) use survey::survey;

/// Make a plan.
///
/// # Errors
/// When mbsync would not get anywhere: no program, a configuration that it cannot read, or one
/// without that channel or group.
pub fn plan(order: &Order) -> Result<Plan, Refused> {
    let Program::Mbsync {
        program,
        target,
        config: given,
        args,
    } = &order.syncer.program
    else {
        return Err(refused("this syncer is not mbsync".to_owned()));
    };
    let mut argv = vec![plan::find(program, &order.syncer.search, OTHERWISE)?.into_os_string()];
    let (around, file, config) = read(order, given.as_deref())?;
    let members = members(&config, target.as_deref(), &file)?;
    let atlas = Atlas::new(&config, &members, &around);

    let mut names = HashMap::new();
    let words = match &order.scope {
        Scope::Folders(folders) => atlas.words(folders, &mut names),
        Scope::Everything => None,
    };
    if words.is_none() {
        // Its messages may be about any folder.
        atlas.words(&plan::found_in(&order.roots), &mut names);
    }
    argv.extend(args.iter().cloned());
    if let Some(given) = given {
        argv.extend(["-c".into(), given.into()]);
    }
    let everything = words.is_none();
    argv.extend(words.unwrap_or_else(|| match target {
        Some(target) => vec![target.into()],
        None => vec!["-a".into()],
    }));
    Ok(Plan {
        argv,
        environment: around.environment,
        everything,
        names,
        memory: order.memory.clone(),
        config: Some(file),
    })
}

/// What these folders differ from their servers in, says mbsync's own record.
///
/// # Errors
/// As [`plan`].
pub fn unpushed(order: &Order, folders: &[Arc<Folder>]) -> Result<Vec<Unpushed>, Refused> {
    let Program::Mbsync { target, config, .. } = &order.syncer.program else {
        return Err(refused("this syncer is not mbsync".to_owned()));
    };
    let (around, file, config) = read(order, config.as_deref())?;
    let members = members(&config, target.as_deref(), &file)?;
    let atlas = Atlas::new(&config, &members, &around);
    let records = Records::new(&config, &around);
    let mut links = Links::default();
    let all = folders.iter().map(|folder| {
        let spellings = links.spellings(folder);
        let each = atlas.boxes(&spellings).map(|(member, side, found, name)| {
            if let Some(why) = side.unreadable {
                return Unpushed::Untold(why.to_owned());
            }
            match records.file(&folder.directory, member.channel, side, &found.name, &name) {
                Some(file) => state::unpushed(&folder.directory, &file, side.column),
                None => {
                    Unpushed::Unknown("its state is in the folder of the other side".to_owned())
                }
            }
        });
        let all = each.reduce(Unpushed::and);
        all.unwrap_or_else(|| Unpushed::Unknown("no channel syncs it".to_owned()))
    });
    Ok(all.collect())
}

/// The configuration of an order, which may say where it is, with that and what paths depend on.
fn read(order: &Order, given: Option<&Path>) -> Result<(Surroundings, PathBuf, Config), Refused> {
    let around = Surroundings::of(order);
    let file = config::find(&around, given);
    let config = config::load(&file).map_err(refused)?;
    Ok((around, file, config))
}

/// A refusal for the user to mend.
fn refused(text: String) -> Refused {
    Refused {
        outcome: Outcome::Config,
        text,
    }
}

/// A channel of the target.
struct Member<'a> {
    channel: &'a Channel,
    /// As the target says it, perhaps with boxes.
    said: Vec<u8>,
    /// These boxes only, whatever the channel's patterns say.
    boxes: Option<Vec<Vec<u8>>>,
    /// It can be told on the command line.
    nameable: bool,
}

/// What the account is about.
fn members<'a>(
    config: &'a Config,
    target: Option<&str>,
    file: &Path,
) -> Result<Vec<Member<'a>>, Refused> {
    let member = |said: &[u8]| {
        let (name, boxes) = match said.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let (name, boxes) = said.split_at_checked(colon)?;
                let boxes = boxes.get(1..).unwrap_or_default();
                let boxes = boxes.split(|byte| matches!(byte, b',' | b'\n'));
                let boxes = boxes.map(|name| if name.is_empty() { INBOX } else { name });
                (name, Some(boxes.map(<[u8]>::to_vec).collect()))
            }
            None => (said, None),
        };
        let channel = config
            .channels
            .iter()
            .find(|channel| channel.name == name)?;
        // A group hides a channel, a colon ends a name, and a dash begins an option.
        let hidden = config.groups.iter().any(|group| group.name == name);
        Some(Member {
            channel,
            said: said.to_vec(),
            boxes: boxes.filter(|_| channel.patterns.is_some()),
            nameable: !hidden && !name.starts_with(b"-"),
        })
    };
    let Some(target) = target else {
        if config.channels.is_empty() {
            return Err(refused(format!(
                "mbsync's configuration {} defines no channel; define one, or name the right file \
                 with :config",
                file.display()
            )));
        }
        let all = config.channels.iter().map(|channel| Member {
            channel,
            said: channel.name.clone(),
            boxes: None,
            nameable: !channel.name.contains(&b':')
                && member(&channel.name).is_some_and(|member| member.nameable),
        });
        return Ok(all.collect());
    };
    let bytes = target.as_bytes();
    if let Some(group) = config.groups.iter().find(|group| group.name == bytes) {
        return Ok(group
            .members
            .iter()
            .filter_map(|said| member(said))
            .collect());
    }
    match member(bytes).filter(|member| member.nameable) {
        Some(member) => Ok(vec![member]),
        None => Err(refused(format!(
            "mbsync's configuration {} defines no channel or group {target}; define it, or correct \
             the name in :syncer",
            file.display()
        ))),
    }
}

/// One end of a channel that is a local store.
struct Side {
    place: Arc<Place>,
    /// The name of the store.
    store: Vec<u8>,
    /// What goes before the names of boxes here, and at the other end.
    prefix: Vec<u8>,
    other: Vec<u8>,
    /// What goes before all names of the other store.
    beyond: Vec<u8>,
    /// Which of the two in mbsync's state it is.
    column: Column,
    /// Why the names here do not tell UIDs and flags.
    unreadable: Option<&'static str>,
    /// The other end is a server that lists INBOX with all others (mbsync then syncs it, whatever
    /// this side lists).
    listed: bool,
}

/// Where everything is.
struct Atlas<'a> {
    members: &'a [Member<'a>],
    /// Those of each member.
    sides: Vec<Vec<Side>>,
}

/// What the command line is to say of a channel.
#[derive(Clone, Default)]
enum Said {
    #[default]
    Nothing,
    Boxes(Vec<Vec<u8>>),
    Whole,
}

impl<'a> Atlas<'a> {
    fn new(config: &Config, members: &'a [Member<'a>], around: &Surroundings) -> Self {
        let mut places: HashMap<&[u8], Arc<Place>> = HashMap::new();
        for store in &config.stores {
            places.insert(&store.name, Arc::new(place(store, around)));
        }
        let sides = members.iter().map(|member| {
            let Channel { far, near, .. } = member.channel;
            let ends = [(Column::Near, near, far), (Column::Far, far, near)].into_iter();
            let local = ends.filter_map(|(column, (store, prefix), (other_store, other))| {
                let mut pathed = config.pathed.iter();
                let path = pathed.find(|(name, _)| name == other_store);
                let mut stores = config.stores.iter();
                let here = stores.find(|it| it.name == *store);
                Some(Side {
                    column,
                    unreadable: here.and_then(|it| it.unreadable(config)),
                    place: places.get(store.as_slice())?.clone(),
                    store: store.clone(),
                    prefix: prefix.clone(),
                    other: other.clone(),
                    beyond: path.map(|(_, path)| path.clone()).unwrap_or_default(),
                    listed: other.is_empty()
                        && path.is_none()
                        && !places.contains_key(other_store.as_slice()),
                })
            });
            local.collect()
        });
        Atlas {
            members,
            sides: sides.collect(),
        }
    }

    /// The boxes that a directory is, by its spellings, and what their channels call them.
    fn boxes(
        &self,
        spellings: &[Vec<u8>],
    ) -> impl Iterator<Item = (&Member<'a>, &Side, Found, Vec<u8>)> {
        let sides = self.members.iter().zip(&self.sides);
        let sides = sides.flat_map(|(member, sides)| sides.iter().map(move |side| (member, side)));
        sides.flat_map(|(member, side)| {
            let found = side.place.boxes(spellings).into_iter();
            found.filter_map(move |found| {
                let name = selected(member, side, &found)?;
                Some((member, side, found, name))
            })
        })
    }

    /// The words for some folders; `None`: the whole target.
    fn words(
        &self,
        folders: &[Arc<Folder>],
        names: &mut HashMap<Vec<u8>, Arc<Path>>,
    ) -> Option<Vec<OsString>> {
        let mut said = vec![Said::default(); self.members.len()];
        let mut complete = true;
        let mut links = Links::default();
        for folder in folders {
            let far_only = folder.directory.as_os_str().is_empty();
            let spellings = if far_only {
                Vec::new()
            } else {
                links.spellings(folder)
            };
            // Of a folder that is not here yet only a name is known, which any channel may mean.
            let guessing = far_only && self.members.len() == 1;
            complete &= !far_only || guessing;
            let members = self.members.iter().zip(&self.sides).zip(&mut said);
            for ((member, sides), said) in members {
                for side in sides {
                    let found = if guessing && member.channel.patterns.is_some() {
                        // A server's namespace may be called INBOX, and then its boxes are not
                        // below that to mbsync; only the server tells.
                        complete &= !folder.name.starts_with(b"INBOX/");
                        // It is called by its name on the wire before 1.5, by what that means since.
                        complete &= utf7::spell(&folder.name) == *folder.name;
                        vec![remote(&folder.name, side)]
                    } else {
                        complete &= !guessing;
                        side.place.boxes(&spellings)
                    };
                    for found in &found {
                        let Some(name) = selected(member, side, found) else {
                            continue;
                        };
                        for key in keys(member.channel, side, found, &name) {
                            names.insert(key, folder.real.clone());
                        }
                        said.add(member, name);
                        complete &= member.nameable;
                    }
                }
            }
        }
        // All channels at once may be shorter to say, and then it is known to be everything.
        complete &= !said.iter().all(|said| matches!(said, Said::Whole));
        let words: Vec<OsString> = said
            .into_iter()
            .zip(self.members)
            .filter_map(|(said, member)| said.word(member))
            .map(OsString::from_vec)
            .collect();
        let length: usize = words.iter().map(|word| word.len() + 1).sum();
        (complete && !words.is_empty() && length <= LONGEST).then_some(words)
    }
}

impl Said {
    /// One more box; an empty name is the whole channel.
    fn add(&mut self, member: &Member, name: Vec<u8>) {
        // Of what it is told mbsync makes directories, wherever that leads; what it finds itself it looks at.
        let leads_out = name.split(|byte| *byte == b'/').any(|level| level == b"..");
        let separates = name.iter().any(|byte| matches!(byte, b',' | b'\n'));
        let sayable = !name.is_empty() && !separates && !leads_out;
        match self {
            _ if !sayable || member.channel.patterns.is_none() => *self = Said::Whole,
            Said::Nothing => *self = Said::Boxes(vec![name]),
            Said::Boxes(boxes) if !boxes.contains(&name) => boxes.push(name),
            Said::Boxes(_) | Said::Whole => {}
        }
    }

    fn word(self, member: &Member) -> Option<Vec<u8>> {
        match self {
            Said::Nothing => None,
            Said::Boxes(boxes) => {
                let boxes = boxes.join(&b',');
                Some([member.channel.name.as_slice(), b":", &boxes].concat())
            }
            Said::Whole => Some(member.said.clone()),
        }
    }
}

/// A box by its name alone, as it is called here.  That is the server's name for it where it begins
/// as the channel's names there do; otherwise it is taken for a name of here.
fn remote(name: &[u8], side: &Side) -> Found {
    let levels = name.split(|byte| *byte == b'/');
    let name = levels.map(utf7::spell).collect::<Vec<_>>().join(&b'/');
    let below = if is_inbox(&name) {
        Some(name.as_slice())
    } else {
        name.strip_prefix(side.beyond.as_slice())
    };
    let named = below.and_then(|name| name.strip_prefix(side.other.as_slice()));
    let name = match named {
        Some(rest) => [&side.prefix, rest].concat(),
        None => name,
    };
    let in_inbox = is_inbox(&name);
    Found { name, in_inbox }
}

/// What a channel calls a box; `None` if it leaves that out, empty if it has no names.
fn selected(member: &Member, side: &Side, found: &Found) -> Option<Vec<u8>> {
    match (&member.channel.patterns, &member.boxes) {
        (None, _) => {
            let only = if side.prefix.is_empty() {
                INBOX
            } else {
                &side.prefix
            };
            (found.name == only).then(Vec::new)
        }
        (Some(_), Some(boxes)) => {
            let name = found.name.strip_prefix(side.prefix.as_slice())?.to_vec();
            boxes.contains(&name).then_some(name)
        }
        (Some(patterns), None) => side
            .place
            .selected(found, &side.prefix, patterns, side.listed),
    }
}

/// Whether a channel syncs the INBOX of one of its ends.
fn takes_inbox(member: &Member, side: &Side) -> bool {
    let inbox = Found {
        name: INBOX.to_vec(),
        in_inbox: true,
    };
    selected(member, side, &inbox).is_some()
}

/// How mbsync's messages may call a box: `CHANNEL:NAME` with its name at either end.
fn keys(channel: &Channel, side: &Side, found: &Found, name: &[u8]) -> [Vec<u8>; 2] {
    let key = |name: &[u8]| [channel.name.as_slice(), b":", name].concat();
    let other = [side.other.as_slice(), name].concat();
    let other = if other.is_empty() { INBOX } else { &other };
    [key(&found.name), key(other)]
}

/// Where a store is.
fn place(store: &Store, around: &Surroundings) -> Place {
    let inbox = config::path(around, store.inbox.as_deref().unwrap_or(b"~/Maildir"));
    let inbox = PathBuf::from(OsString::from_vec(inbox));
    let root = store.path.as_deref().map(|path| config::path(around, path));
    // What follows the last slash is the beginning of names.
    let root = root.as_deref().and_then(|root| {
        let slash = root.iter().rposition(|byte| *byte == b'/')?;
        let (directory, stem) = root.split_at_checked(slash + 1)?;
        let directory = OsString::from_vec(directory.to_vec());
        Some((PathBuf::from(directory), stem))
    });
    let view = |spell: fn(&Path) -> PathBuf| View {
        root: root.as_ref().map(|(directory, stem)| {
            let mut root = bytes(&spell(directory));
            if !root.ends_with(b"/") {
                root.push(b'/');
            }
            [&root, *stem].concat()
        }),
        inbox: bytes(&spell(&inbox)),
    };
    Place::new(store, view(tidy), view(truename))
}

/// A path in bytes, without a slash at its end.
fn path(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).components().collect()
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// What directories resolve to, each looked up once.
#[derive(Default)]
struct Links {
    known: HashMap<PathBuf, Option<PathBuf>>,
}

impl Links {
    /// All ways to write a folder's directory, with more or fewer links resolved.
    fn spellings(&mut self, folder: &Folder) -> Vec<Vec<u8>> {
        let mut spellings = BTreeSet::from([bytes(&folder.real), bytes(&tidy(&folder.directory))]);
        for above in folder.directory.ancestors() {
            let known = self.known.entry(above.to_path_buf());
            let real = known.or_insert_with(|| fs::canonicalize(above).ok());
            if let (Some(real), Ok(rest)) = (real, folder.directory.strip_prefix(above)) {
                spellings.insert(bytes(&tidy(&real.join(rest))));
            }
        }
        spellings.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
