//! Maildirs on a model disk, with the real worker: what users do in them, what the kernel tells of it, and
//! what a run of the syncer does in each folder, so that both sides are the same.
//!
//! A run takes one folder after the other, and each at a stroke; what happens there before is brought to the
//! other side, and what happens later is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailsync_module::change::Kinds;
use mailsync_module::echo::Claims;
use mailsync_module::engine::config::{RootConfig, RootId};
use mailsync_module::engine::core::Input;
use mailsync_module::maildir::Layout;
use mailsync_module::syncer::RunId;
use mailsync_module::watch::inbox::{Dirty, Inbox};
use mailsync_module::watch::job::{Job, Report};
use mailsync_module::watch::worker::Worker;

use super::rules::CREDIT;
use super::server::{Event, FOLDERS, PASSING, Server};
use super::setup::{ACCOUNT, ROOT, Sabotage, Setup};
use super::world::{Happens, World};
use crate::disk::{Disk, RootSpec};
use crate::kernel::Kernel;
use crate::machine::{Machine, Shared, Trace};
use crate::rng::Rng;
use crate::users::{Habit, Op, Users, maildir};
use crate::world::{Outcome as Verdict, ms};

/// So often somebody may begin something at most while the machine rests.
const APPETITE: u64 = 3;

/// The root's worker, and its job.
struct End {
    root: RootId,
    inbox: Arc<Inbox>,
    worker: Worker,
    job: Option<Job>,
}

/// What a mailbox on the server is like, as far as a syncer can tell: other numbers are another state.
type There = (u64, u64);

/// A folder that was the same on both sides: the users' changes by then, and the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Synced {
    here: u64,
    there: There,
}

/// What Lisp knows of a folder.
#[derive(Clone, Copy, Debug)]
struct Read {
    /// When that was written, in operations of the disk.
    written: u64,
    exists: bool,
}

/// The run that is under way.
struct UnderWay {
    run: RunId,
    pid: u32,
    all: bool,
}

pub struct Maildirs {
    machine: Shared,
    end: Option<End>,
    /// When each folder changed last, in operations, as far as it is known who did that.
    known: BTreeMap<&'static str, u64>,
    /// So often users have changed it.
    changes: BTreeMap<&'static str, u64>,
    /// What the worker has seen.
    reported: BTreeSet<&'static str>,
    /// What users have removed before it did.
    passed: BTreeSet<&'static str>,
    synced: BTreeMap<&'static str, Synced>,
    read: BTreeMap<&'static str, Read>,
    /// When the frame that is in the pipe was written.
    pub written: u64,
    under_way: Option<UnderWay>,
    pids: u32,
    letters: u64,
    delivering: bool,
    taking: bool,
}

pub fn all_folders() -> impl Iterator<Item = &'static str> {
    FOLDERS.into_iter().chain(PASSING)
}

fn mailbox(server: &Server, name: &str) -> Option<There> {
    let it = server.boxes.get(name)?;
    Some((it.validity, it.modseq))
}

fn real(name: &str) -> PathBuf {
    format!("{ROOT}/{name}").into()
}

impl Maildirs {
    /// Both sides are the same, and the syncer knows.
    pub fn new(rng: &mut Rng, setup: &Setup, sabotage: Sabotage, server: &Server) -> Self {
        let mut kernel = Kernel::new();
        kernel.queue_limit = setup.queue_limit;
        kernel.loses_one_in = (sabotage == Sabotage::LosesEvents).then_some(7);
        let mut disk = Disk::new(setup.tick, kernel);
        disk.truth.roots = vec![RootSpec {
            spelling: ROOT.into(),
            real: ROOT.into(),
            layout: Layout::Nested,
            account: 0,
            remote: false,
        }];
        let _ = disk.mkdir(&PathBuf::from(ROOT));
        let mut rng = rng.fork();
        for name in FOLDERS {
            let parents = real(name);
            let _ = parents.parent().map(|it| disk.mkdir(it));
            for op in maildir(&real(name), &mut rng) {
                let _ = op.apply(&mut disk);
            }
        }
        disk.restructured();
        let machine = Machine {
            disk,
            users: Users::new(Habit::Mail, false),
            rng,
            trace: Trace::new(false, true),
            meddling: setup.meddling,
            scanning: false,
        };
        let same = |name: &&'static str| {
            let there = mailbox(server, name)?;
            Some((*name, Synced { here: 0, there }))
        };
        let mut maildirs = Maildirs {
            machine: Shared::new(machine),
            end: None,
            known: BTreeMap::new(),
            changes: BTreeMap::new(),
            reported: BTreeSet::new(),
            passed: BTreeSet::new(),
            synced: FOLDERS.iter().filter_map(same).collect(),
            read: BTreeMap::new(),
            written: 0,
            under_way: None,
            pids: 4_000,
            letters: 0,
            delivering: false,
            taking: false,
        };
        maildirs.known = maildirs.required();
        maildirs
    }

    /// When each folder that is there changed last.
    fn required(&self) -> BTreeMap<&'static str, u64> {
        let machine = self.machine.lock();
        let truth = &machine.disk.truth;
        let there = all_folders().filter(|name| truth.folders.contains_key(&real(name)));
        there
            .map(|name| (name, truth.required(&real(name))))
            .collect()
    }

    fn has(&self, name: &str) -> bool {
        let machine = self.machine.lock();
        machine.disk.truth.folders.contains_key(&real(name))
    }

    pub fn time(&self) -> u64 {
        self.machine.lock().disk.time
    }

    fn changed(&self, name: &str) -> u64 {
        self.changes.get(name).copied().unwrap_or_default()
    }

    /// Nobody does anything, and nothing waits to be told.
    pub fn is_quiet(&self) -> bool {
        let machine = self.machine.lock();
        let job = self.end.as_ref().is_some_and(|it| it.job.is_some());
        machine.users.idle() && machine.disk.kernel.ready().is_empty() && !self.taking && !job
    }

    /// Lisp is another one, and knows nothing.
    pub fn is_read_anew(&mut self) {
        for read in self.read.values_mut().filter(|it| it.exists) {
            read.written = 0;
        }
    }

    /// Lisp has read of a folder.
    pub fn reads(&mut self, name: &'static str, kinds: Kinds) {
        let (written, exists) = (self.written, !kinds.contains(Kinds::DELETED));
        self.read.insert(name, Read { written, exists });
    }

    /// The kernel's queue is full.
    pub fn overflows(&mut self) {
        let mut machine = self.machine.lock();
        for id in machine.disk.kernel.ready() {
            machine.disk.kernel.overflow(id);
        }
    }
}

impl World {
    // The worker.

    pub fn opens_root(&mut self, root: RootId, config: RootConfig) {
        let Some(it) = &mut self.maildirs else {
            return;
        };
        let inbox = Arc::new(Inbox::new(|| {}));
        let (fs, make) = (Box::new(it.machine.clone()), it.machine.backend());
        let RootConfig {
            directory, layout, ..
        } = config;
        it.end = Some(End {
            root,
            worker: Worker::new(directory, layout, fs, Some(make), inbox.clone()),
            inbox,
            job: None,
        });
    }

    pub fn closes_root(&mut self, root: RootId) {
        if let Some(it) = &mut self.maildirs {
            it.end.take_if(|end| end.root == root);
        }
    }

    pub fn gives(&mut self, root: RootId, job: Job) -> Verdict {
        let end = self.maildirs.as_mut().and_then(|it| it.end.as_mut());
        let end = end.filter(|end| end.root == root);
        let end = end.ok_or("a job for a worker that is none")?;
        if end.job.replace(job).is_some() {
            return Err("I7: a root has two jobs".to_owned());
        }
        self.later(ms(100), Happens::Works(root));
        Ok(())
    }

    pub fn works(&mut self, root: RootId) -> Verdict {
        self.clock_machine();
        let Some(it) = &mut self.maildirs else {
            return Ok(());
        };
        let end = it.end.as_mut().filter(|end| end.root == root);
        let Some((end, job)) = end.and_then(|end| end.job.take().map(|job| (end, job))) else {
            return Ok(());
        };
        self.stats.scans += 1;
        let depth = job.depth;
        let report = end.worker.work(job);
        if let Report::Scanned(scanned) = &report {
            let name = |path: &Path| all_folders().find(|name| path == real(name));
            let gone: Vec<_> = (scanned.deleted.iter()).filter_map(|it| name(it)).collect();
            it.reported.retain(|name| !gone.contains(name));
            let made = scanned.created.iter().filter_map(|it| name(&it.real));
            it.reported.extend(made);
        }
        it.machine.lock().scanning = false;
        self.say(format_args!("worker: {depth:?}: {report:?}"));
        self.users_did();
        self.handle(Input::Report(root, report))
    }

    /// Everything here is looked at, and what was too fresh when it was looked at before is doubted.
    pub fn doubts_maildirs(&mut self) {
        if self.maildirs.is_some() {
            all_folders().for_each(|name| self.rules.credit(name, 1));
        }
    }

    /// The disk's clock goes with the world's.
    fn clock_machine(&mut self) {
        if let Some(it) = &self.maildirs {
            let mut machine = it.machine.lock();
            machine.disk.now = machine.disk.now.max(self.now);
        }
    }

    // The kernel.

    /// What it has to tell it tells soon.
    fn stirs(&mut self) {
        let Some(it) = &mut self.maildirs else {
            return;
        };
        let ready = !it.machine.lock().disk.kernel.ready().is_empty();
        if ready && !std::mem::replace(&mut it.delivering, true) {
            self.later(ms(20), Happens::Delivers);
        }
    }

    pub fn delivers(&mut self) {
        let Some(it) = &mut self.maildirs else {
            return;
        };
        it.delivering = false;
        let mut machine = it.machine.lock();
        for id in machine.disk.kernel.ready() {
            for _ in 0..=self.rng.below(6) {
                if machine.disk.kernel.deliver(id).is_none() {
                    break;
                }
            }
        }
        drop(machine);
        if !std::mem::replace(&mut it.taking, true) {
            self.later(ms(10), Happens::Takes);
        }
        self.stirs();
    }

    /// The engine looks into the inbox.
    pub fn takes(&mut self) -> Verdict {
        let at = self.instant();
        let Some(it) = &mut self.maildirs else {
            return Ok(());
        };
        it.taking = false;
        let Some(end) = &it.end else {
            return Ok(());
        };
        let (root, mut dirty) = (end.root, end.inbox.take(at));
        if dirty == Dirty::default() {
            return Ok(());
        }
        if dirty.overflow {
            self.stats.overflows += 1;
            self.doubts_maildirs();
        }
        if self.sabotage == Sabotage::ClaimsAll {
            for (directory, kinds) in &dirty.messages {
                let claims = dirty.claims.entry(directory.clone()).or_default();
                *claims = Claims {
                    pushed: *kinds,
                    ..Claims::default()
                };
            }
        }
        self.handle(Input::Dirty(root, dirty))
    }

    // Users.

    /// Somebody wants something.
    pub fn wants(&mut self) {
        let more = self.rng.below(APPETITE) as u32 + 1;
        let setup_folders = self.setup.folders && self.rng.once_in(8);
        if setup_folders {
            self.makes_or_removes();
        }
        if let Some(it) = &self.maildirs {
            it.machine.lock().users.appetite += more;
        }
        self.later(ms(20), Happens::Acts);
    }

    /// A folder that may come and go is made, or removed with all that is in it.
    fn makes_or_removes(&mut self) {
        let name = *self.rng.choose(&PASSING);
        let Some(it) = &self.maildirs else {
            return;
        };
        let is = it.has(name);
        self.say(format_args!("the user has {name}: {}", !is));
        self.puts_folder(name, !is);
        self.users_did();
    }

    /// A folder is there from now on, or not.
    fn puts_folder(&mut self, name: &'static str, is: bool) {
        self.clock_machine();
        let Some(it) = &mut self.maildirs else {
            return;
        };
        let mut machine = it.machine.lock();
        if is {
            for op in maildir(&real(name), &mut self.rng) {
                let _ = op.apply(&mut machine.disk);
            }
        } else {
            for part in ["cur", "new", "tmp"] {
                let part = real(name).join(part);
                for entry in machine.disk.names(&part) {
                    let _ = Op::Unlink(part.join(entry)).apply(&mut machine.disk);
                }
                let _ = Op::Rmdir(part).apply(&mut machine.disk);
            }
            // What is beside those, a user of the folder has left there.
            for entry in machine.disk.names(&real(name)) {
                let _ = Op::Unlink(real(name).join(entry)).apply(&mut machine.disk);
            }
            let _ = Op::Rmdir(real(name)).apply(&mut machine.disk);
        }
    }

    pub fn acts(&mut self) {
        self.clock_machine();
        let Some(it) = &self.maildirs else {
            return;
        };
        it.machine.lock().user_step();
        let idle = it.machine.lock().users.idle();
        self.users_did();
        if !idle {
            let most = *self.rng.choose(&[1, 30, 400]);
            self.later(ms(most), Happens::Acts);
        }
    }

    /// What has changed since somebody looked, users have done.
    fn users_did(&mut self) {
        let Some(it) = &mut self.maildirs else {
            return;
        };
        let lines = it.machine.lock().trace.take();
        self.trace.append(lines);
        let required = it.required();
        let before = std::mem::replace(&mut it.known, required.clone());
        let names: BTreeSet<_> = required.keys().chain(before.keys()).copied().collect();
        for name in names {
            let (then, now) = (before.get(name), required.get(name));
            if then == now {
                continue;
            }
            *it.changes.entry(name).or_default() += 1;
            self.stats.here += 1;
            match (then, now) {
                (Some(_), None) => {
                    let seen = it.reported.contains(name);
                    self.rules.deleted_here(self.now, name, seen);
                    if !seen {
                        it.passed.insert(name);
                    }
                }
                (None, _) => self.rules.created(self.now, name),
                _ => self.rules.happened(self.now, name, Kinds::NEW, true),
            }
            // A look at what is too fresh to be sure of may be one more.
            self.rules.credit(name, 1);
        }
        self.stirs();
    }

    // Lisp.

    /// Gnus looks at a folder: what is in `new/` it moves to `cur/`.
    pub fn checks(&mut self, generation: i64, name: &'static str, serial: u64) -> Verdict {
        if generation != self.generation {
            return Ok(());
        }
        self.clock_machine();
        if let Some(it) = &mut self.maildirs {
            let mut machine = it.machine.lock();
            let [new, cur] = ["new", "cur"].map(|part| real(name).join(part));
            for entry in machine.disk.names(&new) {
                let mut seen = entry.clone();
                seen.push(":2,");
                let op = Op::Rename(new.join(&entry), cur.join(seen));
                let _ = op.apply(&mut machine.disk);
            }
            drop(machine);
            let required = it.required();
            if std::mem::replace(&mut it.known, required.clone()) != required {
                // Names tell that it is nothing to sync, unless they are lost.
                self.rules.credit(name, 1);
            }
        }
        self.say(format_args!("lisp has checked {name}"));
        self.stirs();
        let checked = vec![(real(name), serial)];
        self.handle(Input::Checked(ACCOUNT.to_owned(), checked))
    }

    // The syncer.

    /// A run begins, which takes so long, and comes to all of its folders or not.
    pub fn run_begins(
        &mut self,
        run: RunId,
        names: Option<&[&'static str]>,
        takes: Duration,
        well: bool,
    ) -> Verdict {
        let Some(it) = &mut self.maildirs else {
            return Ok(());
        };
        it.pids += 1;
        let (pid, all) = (it.pids, names.is_none());
        if it.under_way.replace(UnderWay { run, pid, all }).is_some() {
            return Err("I5: two runs at once".to_owned());
        }
        self.soon(Duration::ZERO, Happens::Begins(run, pid));
        let names = names.map_or_else(|| all_folders().collect(), <[_]>::to_vec);
        for name in names {
            if well || self.rng.once_in(2) {
                self.later(takes, Happens::Syncs(run, name));
            }
        }
        Ok(())
    }

    /// It is over; what it was to do later it does not.
    pub fn run_is_over(&mut self) {
        if let Some(it) = &mut self.maildirs {
            it.under_way = None;
        }
    }

    /// A run comes to a folder.
    pub fn syncs(&mut self, run: RunId, name: &'static str) {
        let Some(it) = &self.maildirs else {
            return;
        };
        let Some(UnderWay { pid, all, .. }) = it.under_way.as_ref().filter(|it| it.run == run)
        else {
            return;
        };
        let (pid, all) = (*pid, *all);
        let (here, there) = (it.has(name), mailbox(&self.server, name));
        let known = it.synced.get(name).copied();
        let changed = it.changed(name);
        match (here, there) {
            (true, Some(now)) => {
                if known.is_some_and(|it| it.here != changed) || known.is_none() && changed > 0 {
                    self.pushes_into(name);
                }
                if known.is_some_and(|it| it.there != now) {
                    self.fetches_into(name, pid);
                }
            }
            // A run of everything knows what was on both sides; one that names it makes it there.
            (false, Some(_)) if all && known.is_some() => {
                self.server.delete(name);
                self.say(format_args!("the run deletes {name} there"));
                self.rules.deleted(self.now, name);
                self.is_gone(name);
            }
            (false, Some(_)) => {
                self.say(format_args!("the run makes {name} here"));
                self.rules.doubt();
                self.puts_folder(name, true);
                self.fetches_into(name, pid);
            }
            (true, None) if all && known.is_some() => {
                self.say(format_args!("the run removes {name} here"));
                self.rules.doubt();
                self.puts_folder(name, false);
            }
            (true, None) => {
                self.server.create(name);
                self.say(format_args!("the run makes {name} there"));
                self.rules.doubt();
                self.rules.credit(name, CREDIT);
                self.will_push();
                self.pushes_into(name);
            }
            (false, None) => {}
        }
        let there = mailbox(&self.server, name);
        if let Some(it) = &mut self.maildirs {
            it.passed.remove(name);
            // What it did here is no user's.
            it.known = it.required();
            let both = there.filter(|_| it.has(name));
            match both {
                Some(there) => {
                    let here = it.changed(name);
                    it.synced.insert(name, Synced { here, there });
                }
                None => {
                    it.synced.remove(name);
                }
            }
        }
        self.stirs();
    }

    fn pushes_into(&mut self, name: &'static str) {
        let event = *self.rng.choose(&[Event::New, Event::New, Event::Flagged]);
        if self.server.happens(name, event) || self.server.happens(name, Event::New) {
            self.say(format_args!("the run pushes into {name}"));
            // It may be told of that by a push and by a sweep.
            self.rules.credit(name, CREDIT);
            if self.setup.features.pushes_bare && self.setup.hears(name) {
                self.pushed_bare.insert(name);
            }
            self.stats.brought += 1;
            self.will_push();
        }
    }

    fn fetches_into(&mut self, name: &'static str, pid: u32) {
        self.say(format_args!("the run fetches into {name}"));
        self.clock_machine();
        // What names do not tell costs one run more, and so does what is looked at as a whole.
        self.rules.credit(name, CREDIT);
        let Some(it) = &mut self.maildirs else {
            return;
        };
        self.stats.fetched += 1;
        it.letters += 1;
        let letter = format!("1700000000.{pid}_{0}.host,U={0}", it.letters);
        let mut machine = it.machine.lock();
        let [tmp, new] = ["tmp", "new"].map(|part| real(name).join(part).join(&letter));
        for op in [Op::Create(tmp.clone()), Op::Rename(tmp, new)] {
            let _ = op.apply(&mut machine.disk);
        }
    }

    // In the end.

    /// Both sides are the same, and Lisp knows what is here.
    pub fn maildirs_agree(&self) -> Verdict {
        let Some(it) = &self.maildirs else {
            return Ok(());
        };
        for name in all_folders() {
            let (here, there) = (it.has(name), mailbox(&self.server, name));
            let heard = self.setup.hears(name);
            let synced = it.synced.get(name);
            let changed = it.changed(name);
            match (here, there) {
                (true, Some(there)) => {
                    let known = heard && !self.rules.is_hidden(name);
                    let same = |it: &Synced| it.here == changed && (!known || it.there == there);
                    let same = synced.is_some_and(same);
                    if !same {
                        return Err(format!(
                            "I2: {name} was {synced:?}, and is {changed} here, {there:?} there"
                        ));
                    }
                }
                (false, None) => {}
                // What was made or deleted there, and nobody hears.
                _ if !heard => {}
                // It came and went where nobody was told that it had come.
                (true, None) if self.server.has_passed(name) => {}
                (false, Some(_)) if it.passed.contains(name) => {}
                _ => {
                    return Err(format!(
                        "I2: {name} is here: {here}, and there: {}",
                        there.is_some()
                    ));
                }
            }
            let required = it.required().get(name).copied();
            let read = it.read.get(name);
            let knows = match required {
                Some(required) => read.is_some_and(|it| it.exists && it.written >= required),
                None => read.is_none_or(|it| !it.exists),
            };
            if !knows {
                return Err(format!(
                    "I1: {name} changed at {required:?}, and Lisp knows {read:?}"
                ));
            }
        }
        Ok(())
    }

    /// One message in each folder is synced, and told; its echo from there may ask for a run more, or two.
    pub fn probes_here(&mut self) -> Verdict {
        if self.maildirs.is_none() {
            return Ok(());
        }
        for name in FOLDERS {
            let (runs, (unwatched, _)) = (self.stats.runs, self.times_unwatched(name));
            self.clock_machine();
            if let Some(it) = &mut self.maildirs {
                it.letters += 1;
                let letter = format!("{}.M{}P1.host", 1_700_000_001, it.letters);
                let op = Op::Create(real(name).join("new").join(letter));
                let _ = op.apply(&mut it.machine.lock().disk);
            }
            self.say(format_args!("a message is delivered into {name}"));
            self.users_did();
            let owed = |it: &Self| it.rules.owed.is_empty();
            self.until(ms(60_000), "I2: it is not synced in time", owed)?;
            let again = self.setup.poll + ms(60_000);
            self.pass(again)?;
            self.until(ms(600_000), "it does not settle", Self::settled)?;
            self.maildirs_agree()?;
            let runs = self.stats.runs - runs;
            let unwatched = self.times_unwatched(name).0 - unwatched;
            let most = 1 + u64::from(CREDIT) + unwatched;
            if self.setup.features.rubbish == 0 && runs > most {
                return Err(format!("I3: one message in {name} is synced {runs} times"));
            }
        }
        Ok(())
    }
}
