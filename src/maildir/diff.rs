//! From two looks at a tree to what differs.
//!
//! Pure, and one-sided like the stamps it compares: a folder that is not mentioned has surely not
//! changed, one that is mentioned may have.  What becomes of that (which kinds of change, when to
//! tell) is `watch`'s business.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::discover::{FoundFolder, Scan};
use super::fs::FileId;
use super::stamp::{Clock, Stamp, Verdict};

/// What differs between the known folders and a scan; every list is sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Folders that were not known.
    pub created: Vec<Arc<FoundFolder>>,
    /// The real paths of known folders that are no more.
    pub deleted: Vec<Arc<Path>>,
    /// The real paths of known folders that have changed: their stamps differ, they were replaced,
    /// they go by another name now, or they could not be looked at.
    pub changed: Vec<Arc<Path>>,
    /// The real paths of those that look the same and may have changed; no later look will tell
    /// more.
    pub doubtful: Vec<Arc<Path>>,
    /// As `doubtful`, but too fresh: a later look will tell whether to doubt, for good.
    pub unsettled: Vec<Arc<Path>>,
}

impl Delta {
    /// Leave out known folders that something else vouches for.
    pub fn trust(&mut self, vouched: impl Fn(&Arc<Path>) -> bool) {
        for list in [&mut self.changed, &mut self.doubtful, &mut self.unsettled] {
            list.retain(|real| !vouched(real));
        }
    }

    /// Take the doubtful ones for changed, of those that are too fresh these.
    pub fn doubt(&mut self, these: impl Fn(&Arc<Path>) -> bool) {
        self.changed.append(&mut self.doubtful);
        let now = self.unsettled.extract_if(.., |real| these(real));
        self.changed.extend(now);
        self.changed.sort();
        self.changed.dedup();
    }
}

/// Compare the `known` folders, by their real paths, with what `scan` found.  `clock` tells whose
/// clock stamps a directory.
///
/// A known folder that the scan did not find, but that lies where the scan had a problem, is not
/// deleted but may have changed: an unreadable directory must not look like a deletion.
#[must_use]
pub fn diff(
    known: &HashMap<Arc<Path>, Arc<FoundFolder>>,
    scan: &Scan,
    clock: impl Fn(FileId) -> Clock,
) -> Delta {
    let mut delta = Delta::default();
    // Truenames are written in one way, and as bytes they are looked up several times faster.
    let mut seen: HashSet<&[u8]> = HashSet::with_capacity(scan.folders.len());
    // What is proven of a part of a folder, and whether a later look would prove more.
    let judge = |old: &Stamp, new: &Stamp| {
        let clock = clock(new.id);
        let verdict = old.compare(new, clock);
        (
            verdict,
            verdict == Verdict::Doubtful && !new.following(old).settled(clock),
        )
    };
    for folder in &scan.folders {
        seen.insert(folder.real.as_os_str().as_encoded_bytes());
        let Some(old) = known.get(&folder.real) else {
            delta.created.push(folder.clone());
            continue;
        };
        let (new, cur) = (judge(&old.new, &folder.new), judge(&old.cur, &folder.cur));
        let verdict = new.0.max(cur.0);
        let list = if old.directory != folder.directory || verdict == Verdict::Changed {
            // The name follows from the directory.
            &mut delta.changed
        } else if verdict == Verdict::Unchanged {
            continue;
        } else if new.1 || cur.1 {
            &mut delta.unsettled
        } else {
            &mut delta.doubtful
        };
        list.push(folder.real.clone());
    }
    for (real, old) in known {
        if !seen.contains(real.as_os_str().as_encoded_bytes()) {
            let mut problems = scan.problems.iter();
            let in_doubt = problems.any(|problem| old.directory.starts_with(&problem.path));
            let list = if in_doubt {
                &mut delta.changed
            } else {
                &mut delta.deleted
            };
            list.push(real.clone());
        }
    }
    delta.created.sort_by(|a, b| a.real.cmp(&b.real));
    for list in [
        &mut delta.deleted,
        &mut delta.changed,
        &mut delta.doubtful,
        &mut delta.unsettled,
    ] {
        list.sort();
    }
    delta
}

/// Make `known` what it is after `scan`, whose difference from it is `delta`.
///
/// Folders that could not be looked at stay known.  A folder that `delta` does not mention as
/// changed keeps its older stamps: they prove as much, and whoever struck it out of `delta`
/// (because a watch vouches for it, or because it is too fresh) has it compared with them again
/// next time.
pub fn absorb(known: &mut HashMap<Arc<Path>, Arc<FoundFolder>>, scan: &Scan, delta: &Delta) {
    for real in &delta.deleted {
        known.remove(real);
    }
    // So it is most of the time, and there are thousands.
    if delta.created.is_empty() && delta.changed.is_empty() {
        return;
    }
    for folder in &scan.folders {
        let old = known.get(&folder.real);
        let news = delta.changed.binary_search(&folder.real).is_ok();
        if news || old.is_none() {
            let folder = match old {
                Some(old) => {
                    let same = (&old.name, &old.directory) == (&folder.name, &folder.directory);
                    Arc::new(FoundFolder {
                        new: folder.new.following(&old.new),
                        cur: folder.cur.following(&old.cur),
                        // Others share the old one's strings.
                        ..FoundFolder::clone(if same { old } else { folder })
                    })
                }
                None => folder.clone(),
            };
            known.insert(folder.real.clone(), folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::discover::{Layout, discover};
    use super::super::model::{Model, Refusal};
    use super::*;

    fn look(model: &Model) -> Scan {
        discover(model, Path::new("/m"), Layout::Auto, &[]).expect("a root")
    }

    fn here(_: FileId) -> Clock {
        Clock::Here
    }

    fn shown(delta: &Delta) -> String {
        let created = delta
            .created
            .iter()
            .map(|it| format!("+{}", it.real.display()));
        let marked = |mark, list: &[Arc<Path>]| {
            let list = list.iter();
            list.map(|it| format!("{mark}{}", it.display()))
                .collect::<Vec<_>>()
        };
        let all: Vec<_> = (created.chain(marked("-", &delta.deleted)))
            .chain(marked("~", &delta.changed))
            .chain(marked("?", &delta.doubtful))
            .chain(marked("??", &delta.unsettled))
            .collect();
        all.join(" ")
    }

    #[test]
    fn what_happens_between_two_looks() {
        type Happening = fn(&mut Model);
        let table: [(&str, Happening, &str); 15] = [
            ("nothing", |_| {}, ""),
            ("delivery", |it| it.touch("/m/a/new"), "~/m/a"),
            ("flag", |it| it.touch("/m/a/b/cur"), "~/m/a/b"),
            (
                "tmp and indexes",
                |it| {
                    it.touch("/m/a/tmp");
                    it.touch("/m/a")
                },
                "",
            ),
            (
                "two",
                |it| {
                    it.touch("/m/.c/cur");
                    it.touch("/m/new")
                },
                "~/m ~/m/.c",
            ),
            ("created", |it| it.add("/m/.d/***"), "+/m/.d"),
            ("half created", |it| it.add("/m/.d/cur/"), ""),
            ("deleted", |it| it.remove("/m/a"), "-/m/a -/m/a/b"),
            (
                "all deleted",
                |it| {
                    it.remove("/m/a");
                    it.remove("/m/.c");
                    it.remove("/x")
                },
                "-/m/.c -/m/a -/m/a/b -/x",
            ),
            ("no folder any more", |it| it.remove("/m/a/tmp"), "-/m/a"),
            (
                "renamed",
                |it| {
                    it.remove("/m/.c");
                    it.add("/m/.e/***")
                },
                "+/m/.e -/m/.c",
            ),
            (
                "replaced",
                |it| {
                    it.remove("/m/.c");
                    it.add("/m/.c/***")
                },
                "~/m/.c",
            ),
            (
                "unreadable",
                |it| {
                    it.refusals.insert("/m/a".into(), Refusal::List);
                },
                "~/m/a ~/m/a/b",
            ),
            (
                "unreadable",
                |it| {
                    it.refusals.insert("/m/.c".into(), Refusal::Search);
                },
                "~/m/.c",
            ),
            (
                "another link",
                |it| {
                    it.remove("/m/l");
                    it.add("/m/k -> /x")
                },
                "~/x",
            ),
        ];
        for (what, happening, expected) in table {
            let tree = [
                "/m/***",
                "/m/a/***",
                "/m/a/b/***",
                "/m/.c/***",
                "/x/***",
                "/m/l -> /x",
            ];
            let mut model = Model::new(&tree);
            let mut known = HashMap::new();
            model.clock.secs += 10;
            let first = look(&model);
            let delta = diff(&known, &first, here);
            assert_eq!(shown(&delta), "+/m +/m/.c +/m/a +/m/a/b +/x");
            absorb(&mut known, &first, &delta);
            happening(&mut model);
            model.clock.secs += 10;
            let second = look(&model);
            let delta = diff(&known, &second, here);
            assert_eq!(shown(&delta), expected, "{what}");
            // Once taken note of, it is no difference any more, unless it is still in doubt.
            absorb(&mut known, &second, &delta);
            let again = if what == "unreadable" { expected } else { "" };
            assert_eq!(shown(&diff(&known, &second, here)), again, "{what}, again");
        }
    }

    #[test]
    fn a_fresh_stamp_is_doubted_until_it_has_rested() {
        // For each look: seconds since the one before; what it says to somebody who takes doubt
        // for change at once, and to somebody who waits for the last word.
        let looks = [
            (0, "+/m/a", "+/m/a"),
            (1, "??/m/a", "??/m/a"),
            (1, "?/m/a", "?/m/a"),
            (0, "", ""),
            (5, "", ""),
        ];
        for patient in [false, true] {
            let mut model = Model::new(&["/m/a/***"]);
            let mut known = HashMap::new();
            for (later, at_once, at_last) in looks {
                model.clock.secs += later;
                let scan = look(&model);
                let mut delta = diff(&known, &scan, here);
                let expected = if patient { at_last } else { at_once };
                assert_eq!(shown(&delta), expected, "at {:?}", model.clock);
                delta.doubt(|_| !patient);
                absorb(&mut known, &scan, &delta);
            }
        }
    }

    #[test]
    fn what_another_machine_stamps_takes_longer() {
        let mut model = Model::new(&["/m/a/***"]);
        let mut known = HashMap::new();
        let mut said = Vec::new();
        for _ in 0..8 {
            let scan = look(&model);
            let mut delta = diff(&known, &scan, |_| Clock::Elsewhere);
            said.push(shown(&delta));
            delta.doubt(|_| false);
            absorb(&mut known, &scan, &delta);
            model.clock.secs += 30;
        }
        let expected = ["+/m/a", "??/m/a", "??/m/a", "?/m/a", "", "", "", ""];
        assert_eq!(said, expected);
    }
}
