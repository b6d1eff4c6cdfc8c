//! Mail on both sides: messages with flags here and on the server, what the syncer remembers of
//! both, and the events that the kernel makes of each step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use mailsync_module::maildir::message::Flags;
use mailsync_module::syncer::unpushed::Agreed;
use mailsync_module::watch::inbox::Event;

use crate::rng::Rng;

/// Where all of it is.
pub const ROOT: &str = "/m";

/// Who did something, as far as the scheduler has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nobody can tell: it may have to be brought to the server.
    Open,
    /// The server does not care.
    Quiet,
    /// The name says that a syncer has brought it there.
    Pushed,
    /// The name says which process has fetched it.
    By(u32),
}

/// What happened in a directory of messages, or among the folders.
pub struct Happening {
    pub events: Vec<Event>,
    /// Folders whose messages it is about, with what it means there.
    pub marks: Vec<(&'static str, Mark)>,
}

#[derive(Clone, Debug)]
struct Letter {
    base: String,
    /// It is in `new/`.
    fresh: bool,
    flags: u8,
    /// Its name has the server's number.
    numbered: bool,
    /// Gnus has split it, and leaves it where it is.
    pub split: bool,
}

const FLAGS: [(u8, char); 3] = [(1, 'F'), (2, 'R'), (4, 'S')];

fn letters(flags: u8) -> Flags {
    let set = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let letters: Vec<u8> = set.map(|(_, letter)| *letter as u8).collect();
    Flags::of(&letters)
}

impl Letter {
    fn path(&self, folder: &str) -> PathBuf {
        let Letter { base, .. } = self;
        let set = FLAGS.iter().filter(|(bit, _)| self.flags & bit != 0);
        let letters: String = set.map(|(_, letter)| *letter).collect();
        if self.fresh && !self.numbered {
            format!("{ROOT}/{folder}/new/{base}").into()
        } else {
            let directory = if self.fresh { "new" } else { "cur" };
            format!("{ROOT}/{folder}/{directory}/{base}:2,{letters}").into()
        }
    }
}

/// One folder, and its counterpart on the server.
#[derive(Default)]
pub struct Mailbox {
    local: BTreeMap<u64, Letter>,
    server: BTreeMap<u64, u8>,
    /// What both sides had when they were the same, as far as the syncer knows: by its record and
    /// by the journal beside that.
    synced: BTreeMap<u64, u8>,
    /// What its record says, which is written when it is done with the folder.
    record: BTreeMap<u64, u8>,
    /// How often that was.
    writes: u64,
    /// A lock and a journal lie beside the record: somebody is at it, or was killed meanwhile.
    busy: bool,
    /// It is here.
    pub exists: bool,
    /// The syncer knows it.
    known: bool,
    /// The last change on the server, counted over all folders, and the last one that is here.
    far: u64,
    got: u64,
    /// What a run has refused, and is here since.
    refused: BTreeSet<u64>,
}

/// Whether a syncer that refuses messages refuses this one.
pub fn is_refused(id: u64) -> bool {
    id.is_multiple_of(5)
}

/// What a syncer read of a folder.
pub type Snapshot = BTreeMap<u64, u8>;

/// How far a syncer is to go on with a folder.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// It is done with the messages up to this one.
    pub after: u64,
    /// How many more.
    pub most: usize,
}

impl Part {
    pub const ALL: Part = Part {
        after: 0,
        most: usize::MAX,
    };
}

/// A change of a message that its user may regret.
#[derive(Clone, Debug)]
pub struct Touch {
    pub folder: &'static str,
    id: u64,
    /// What it was before; `None`: it was not there.
    was: Option<Letter>,
}

/// Numbers of what a syncer wrote into a folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub fetched: u64,
    pub sent: u64,
    /// Flags and deletions, which nobody can attribute.
    pub unsigned: u64,
}

pub struct Mail {
    pub folders: BTreeMap<&'static str, Mailbox>,
    made: u64,
    renames: usize,
    /// What the user has done last, if that can be undone.
    pub touched: Option<Touch>,
}

impl Mail {
    pub fn new(names: &[&'static str], absent: &[&'static str]) -> Self {
        let mailbox = |exists| Mailbox {
            exists,
            known: exists,
            ..Mailbox::default()
        };
        let here = names.iter().map(|name| (*name, mailbox(true)));
        let not = absent.iter().map(|name| (*name, mailbox(false)));
        Mail {
            folders: here.chain(not).collect(),
            made: 0,
            renames: 0,
            touched: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn moved(&mut self, from: PathBuf, to: PathBuf) -> Vec<Event> {
        self.renames += 1;
        let number = Some(self.renames);
        vec![Event::MovedFrom(from, number), Event::MovedTo(to, number)]
    }

    fn pick(&self, folder: &str, rng: &mut Rng) -> Option<u64> {
        let ids: Vec<u64> = self.folders[folder].local.keys().copied().collect();
        (!ids.is_empty()).then(|| *rng.choose(&ids))
    }

    pub fn existing(&self) -> Vec<&'static str> {
        let here = self.folders.iter().filter(|(_, it)| it.exists);
        here.map(|(name, _)| *name).collect()
    }

    fn mailbox(&mut self, folder: &str) -> &mut Mailbox {
        self.folders.get_mut(folder).expect("a known folder")
    }

    /// Somebody delivers a message.
    pub fn deliver(&mut self, folder: &'static str) -> Happening {
        let id = self.number();
        let letter = Letter {
            base: format!("1700000000.M{id}P1.host"),
            fresh: true,
            flags: 0,
            numbered: false,
            split: false,
        };
        let path = letter.path(folder);
        self.mailbox(folder).local.insert(id, letter);
        self.touched = Some(Touch {
            folder,
            id,
            was: None,
        });
        self.renames += 1;
        // From tmp/, which nobody watches.
        let events = vec![Event::MovedTo(path, Some(self.renames))];
        Happening {
            events,
            marks: vec![(folder, Mark::Open)],
        }
    }

    /// The user sets flags of a message, or takes some away.
    pub fn flag(&mut self, folder: &'static str, rng: &mut Rng) -> Option<Happening> {
        let id = self.pick(folder, rng)?;
        self.set(folder, id, rng.below(8) as u8)
    }

    fn set(&mut self, folder: &'static str, id: u64, flags: u8) -> Option<Happening> {
        let letter = self.mailbox(folder).local.get_mut(&id)?;
        let from = letter.path(folder);
        let mark = if letter.flags == flags {
            Mark::Quiet
        } else {
            Mark::Open
        };
        let was = Some(letter.clone());
        letter.flags = flags;
        letter.fresh = false;
        let to = letter.path(folder);
        self.touched = Some(Touch { folder, id, was });
        (from != to).then(|| Happening {
            events: self.moved(from, to),
            marks: vec![(folder, mark)],
        })
    }

    /// The user deletes a message.
    pub fn delete(&mut self, folder: &'static str, rng: &mut Rng) -> Option<Happening> {
        let id = self.pick(folder, rng)?;
        self.remove(folder, id)
    }

    /// The user deletes a message that a run has refused, if there is one.
    pub fn delete_refused(&mut self, folder: &'static str) -> Option<Happening> {
        let mailbox = &self.folders[folder];
        let mut here = mailbox.refused.iter();
        let id = *here.find(|id| mailbox.local.contains_key(*id))?;
        self.remove(folder, id)
    }

    /// Whether a message was deleted that a run has refused.
    pub fn has_lost_refused(&self, touch: &Touch) -> bool {
        let mailbox = &self.folders[touch.folder];
        mailbox.refused.contains(&touch.id) && !mailbox.local.contains_key(&touch.id)
    }

    /// The user regrets something.
    pub fn undo(&mut self, touch: Touch) -> Option<Happening> {
        let Touch { folder, id, was } = touch;
        let mailbox = &self.folders[folder];
        match was {
            None => self.remove(folder, id),
            Some(letter) if mailbox.local.contains_key(&id) => self.set(folder, id, letter.flags),
            Some(mut letter) if mailbox.exists => {
                self.renames += 1;
                if letter.numbered || self.renames.is_multiple_of(2) {
                    // It comes back from elsewhere, and has another name.
                    letter.base = format!("1700000003.M{id}R{}.host", self.renames);
                    letter.numbered = false;
                }
                letter.fresh = false;
                let events = vec![Event::Created(letter.path(folder))];
                self.mailbox(folder).local.insert(id, letter);
                self.touched = Some(Touch {
                    folder,
                    id,
                    was: None,
                });
                Some(Happening {
                    events,
                    marks: vec![(folder, Mark::Open)],
                })
            }
            Some(_) => None,
        }
    }

    fn remove(&mut self, folder: &'static str, id: u64) -> Option<Happening> {
        let letter = self.mailbox(folder).local.remove(&id)?;
        let events = vec![Event::Removed(letter.path(folder))];
        self.touched = Some(Touch {
            folder,
            id,
            was: Some(letter),
        });
        Some(Happening {
            events,
            marks: vec![(folder, Mark::Open)],
        })
    }

    /// A mail reader looks: from `new/` to `cur/`.
    pub fn look(&mut self, folder: &'static str) -> Vec<Happening> {
        let fresh = self.folders[folder].local.iter();
        let fresh = fresh.filter(|(_, it)| it.fresh).map(|(id, _)| *id);
        let mut happenings = Vec::new();
        for id in fresh.collect::<Vec<u64>>() {
            if let Some(letter) = self.mailbox(folder).local.get_mut(&id) {
                let from = letter.path(folder);
                letter.fresh = false;
                let to = letter.path(folder);
                happenings.push(Happening {
                    events: self.moved(from, to),
                    marks: vec![(folder, Mark::Quiet)],
                });
            }
        }
        happenings
    }

    /// Gnus moves a message that it has not seen to where it belongs.
    pub fn split(
        &mut self,
        folder: &'static str,
        to: &'static str,
        rng: &mut Rng,
    ) -> Option<Happening> {
        let letters = &self.folders[folder].local;
        let unseen = letters.iter().find(|(_, it)| !it.split && it.flags == 0);
        let (id, _) = unseen?;
        let id = *id;
        let mut letter = self.mailbox(folder).local.remove(&id)?;
        letter.split = true;
        let (other, from) = (self.number(), letter.path(folder));
        let events = if rng.once_in(3) {
            let to = letter.path(to);
            self.moved(from, to)
        } else {
            letter.base = format!("1700000001.M{other}P2.host");
            letter.numbered = false;
            vec![Event::Created(letter.path(to)), Event::Removed(from)]
        };
        self.mailbox(to).local.insert(other, letter);
        Some(Happening {
            events,
            marks: vec![(folder, Mark::Open), (to, Mark::Open)],
        })
    }

    /// The user makes a folder.
    pub fn make(&mut self, folder: &'static str) -> Happening {
        self.mailbox(folder).exists = true;
        Happening {
            events: vec![Event::Created(format!("{ROOT}/{folder}").into())],
            marks: Vec::new(),
        }
    }

    /// The user deletes a folder.
    pub fn unmake(&mut self, folder: &'static str) -> Happening {
        let mailbox = self.mailbox(folder);
        mailbox.exists = false;
        let letters = std::mem::take(&mut mailbox.local);
        let paths = letters.values().map(|it| it.path(folder));
        let mut events: Vec<Event> = paths.map(Event::Removed).collect();
        events.push(Event::Removed(format!("{ROOT}/{folder}").into()));
        Happening {
            marks: letters.values().map(|_| (folder, Mark::Open)).collect(),
            events,
        }
    }

    /// Something happens on the server.
    pub fn far(&mut self, folder: &'static str, rng: &mut Rng) {
        let id = self.number();
        let mailbox = self.mailbox(folder);
        if !mailbox.known {
            return;
        }
        mailbox.far = id;
        let ids: Vec<u64> = mailbox.server.keys().copied().collect();
        match rng.below(3) {
            1 if !ids.is_empty() => {
                mailbox.server.insert(*rng.choose(&ids), rng.below(8) as u8);
            }
            2 if !ids.is_empty() => drop(mailbox.server.remove(rng.choose(&ids))),
            _ => drop(mailbox.server.insert(id, 0)),
        }
    }

    /// A syncer reads what is here.
    pub fn read(&self, folder: &str) -> Snapshot {
        let letters = self.folders[folder].local.iter();
        letters.map(|(id, it)| (*id, it.flags)).collect()
    }

    /// A syncer begins with a folder: what lies beside its record says so, and from a journal that
    /// another has left it knows what that has done.
    pub fn open(&mut self, folder: &str) {
        self.mailbox(folder).busy = true;
    }

    /// It is done with it, and writes its record.
    pub fn close(&mut self, folder: &str) {
        let mailbox = self.mailbox(folder);
        mailbox.record = mailbox.synced.clone();
        mailbox.writes += 1;
        mailbox.busy = false;
    }

    /// By what a record is known again; `None` while somebody is at it, or did not come to its end.
    pub fn stamp(&self, folder: &str) -> Option<u64> {
        let mailbox = &self.folders[folder];
        (mailbox.known && !mailbox.busy).then_some(mailbox.writes)
    }

    /// What the syncer's record says of a folder.
    pub fn agreed(&self, folder: &str) -> Agreed {
        let record = self.folders[folder].record.iter();
        record
            .map(|(id, flags)| (*id as u32, Some(letters(*flags))))
            .collect()
    }

    /// Whether the syncer knows of all that is here.
    pub fn is_pushed(&self, folder: &str) -> bool {
        self.read(folder) == self.folders[folder].synced
    }

    /// The names of its messages, all with the numbers that the syncer knows them by; `None` where
    /// there is no such folder.
    pub fn names(&self, folder: &str) -> Option<Vec<String>> {
        let mailbox = &self.folders[folder];
        let local = mailbox.local.iter();
        let names = local.map(|(id, it)| {
            let set = FLAGS.iter().filter(|(bit, _)| it.flags & bit != 0);
            let letters: String = set.map(|(_, letter)| *letter).collect();
            format!("{id},U={id}:2,{letters}")
        });
        mailbox.exists.then(|| names.collect())
    }

    /// A run over everything makes and deletes folders on the server.
    pub fn sync_folder(&mut self, folder: &str) {
        let mailbox = self.mailbox(folder);
        if !mailbox.exists {
            mailbox.server.clear();
            mailbox.synced.clear();
            mailbox.record.clear();
            mailbox.writes += 1;
            mailbox.busy = false;
        }
        mailbox.known = mailbox.exists;
    }

    /// A syncer that has read `seen` brings a part of both sides together; the last message of it,
    /// if there are more.
    pub fn sync(
        &mut self,
        folder: &'static str,
        seen: &Snapshot,
        pid: u32,
        part: Part,
        refuses: bool,
    ) -> (Vec<Happening>, Written, Option<u64>) {
        let mut happenings = Vec::new();
        let mut written = Written::default();
        if !self.folders[folder].exists {
            return (happenings, written, None);
        }
        let mailbox = self.mailbox(folder);
        mailbox.known = true;
        let mailbox = &self.folders[folder];
        let mut ids: BTreeSet<u64> = seen.keys().copied().collect();
        ids.extend(mailbox.synced.keys());
        ids.extend(mailbox.server.keys());
        let mut ids = ids.into_iter().filter(|id| *id > part.after);
        let these: Vec<u64> = ids.by_ref().take(part.most).collect();
        let more = ids.next().and(these.last().copied());
        for id in these {
            let mailbox = self.mailbox(folder);
            let (here, before) = (seen.get(&id).copied(), mailbox.synced.get(&id).copied());
            let there = mailbox.server.get(&id).copied();
            let letter = mailbox.local.get_mut(&id);
            match (here, before, there) {
                (Some(_), None, _) if refuses && is_refused(id) => {
                    mailbox.refused.insert(id);
                    continue;
                }
                (Some(here), None, _) => {
                    mailbox.server.insert(id, here);
                    mailbox.synced.insert(id, here);
                    mailbox.refused.remove(&id);
                    written.sent += 1;
                }
                (None, Some(_), _) => {
                    mailbox.server.remove(&id);
                    mailbox.synced.remove(&id);
                    written.sent += 1;
                    continue;
                }
                (None, None, Some(there)) => {
                    let letter = Letter {
                        base: format!("1700000002.{pid}_{id}.host,U={id}"),
                        fresh: there & 4 == 0,
                        flags: there,
                        numbered: true,
                        split: false,
                    };
                    let events = vec![Event::Created(letter.path(folder))];
                    mailbox.local.insert(id, letter);
                    mailbox.synced.insert(id, there);
                    written.fetched += 1;
                    happenings.push(Happening {
                        events,
                        marks: vec![(folder, Mark::By(pid))],
                    });
                    continue;
                }
                (Some(here), Some(before), _) if here != before && there.is_some() => {
                    mailbox.server.insert(id, here);
                    mailbox.synced.insert(id, here);
                    written.sent += 1;
                }
                _ => {}
            }
            // What the user has changed in the meantime is left for the next time.
            let Some(letter) = letter.filter(|it| Some(it.flags) == here) else {
                continue;
            };
            let from = letter.path(folder);
            match there {
                None if before.is_some() => {
                    mailbox.local.remove(&id);
                    mailbox.synced.remove(&id);
                    written.unsigned += 1;
                    happenings.push(Happening {
                        events: vec![Event::Removed(from)],
                        marks: vec![(folder, Mark::Open)],
                    });
                }
                Some(there) if before == here && Some(there) != here => {
                    letter.flags = there;
                    letter.fresh &= letter.numbered;
                    mailbox.synced.insert(id, there);
                    let to = letter.path(folder);
                    written.unsigned += 1;
                    happenings.push(Happening {
                        events: self.moved(from, to),
                        marks: vec![(folder, Mark::Open)],
                    });
                }
                _ if !letter.numbered || before.is_none() => {
                    let strange = letter.numbered;
                    let base = letter.base.split(",U=").next().unwrap_or_default();
                    letter.base = format!("{base},U={id}");
                    letter.numbered = true;
                    let to = letter.path(folder);
                    // A number of another folder is no proof.
                    let mark = if strange { Mark::Open } else { Mark::Pushed };
                    happenings.push(Happening {
                        events: self.moved(from, to),
                        marks: vec![(folder, mark)],
                    });
                }
                _ => {}
            }
        }
        (happenings, written, more)
    }

    /// A syncer has fetched what had happened on the server up to then.
    pub fn fetched(&mut self, folder: &str, far: u64) {
        let mailbox = self.mailbox(folder);
        mailbox.got = mailbox.got.max(far);
    }

    /// The last change on the server in these folders (none: in all that are here).
    pub fn last_far(&self, names: &[&str]) -> BTreeMap<&'static str, u64> {
        let wanted = |name: &str| names.is_empty() || names.contains(&name);
        let these = self.folders.iter().filter(|(name, _)| wanted(name));
        these.map(|(name, it)| (*name, it.far)).collect()
    }

    /// Whether what happened on the server up to then is here.
    pub fn has_fetched(&self, folder: &str, far: u64) -> bool {
        let mailbox = &self.folders[folder];
        !mailbox.exists || mailbox.got >= far
    }

    /// A look has seen messages with these numbers only: if others come again, nobody has refused them.
    pub fn forgive(&mut self, folder: &str, these: &BTreeSet<u64>) {
        self.mailbox(folder).refused.retain(|id| these.contains(id));
    }

    /// Whether a run has refused this message, and it may stay here alone.
    pub fn may_stay(&self, folder: &str, id: u64) -> bool {
        self.folders[folder].refused.contains(&id)
    }

    /// What the server has not been told, and nobody has refused.
    pub fn unsent(&self, folder: &str) -> Option<String> {
        let mailbox = &self.folders[folder];
        if mailbox.exists != mailbox.known {
            return Some(format!("{folder}: here {}", mailbox.exists));
        }
        let mut here = self.read(folder);
        here.retain(|id, _| !self.may_stay(folder, *id) || mailbox.synced.contains_key(id));
        (here != mailbox.synced).then(|| {
            format!(
                "{folder}: here {here:?}, the syncer knows {:?}",
                mailbox.synced
            )
        })
    }
}
