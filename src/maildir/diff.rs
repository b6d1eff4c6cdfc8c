//! From two looks at a tree to what differs.
//!
//! Pure, and one-sided like the stamps it compares: a folder that is not mentioned has surely not
//! changed, one that is mentioned may have.  What becomes of that (which kinds of change, when to
//! tell) is `watch`'s business.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::discover::{FoundFolder, Scan};

/// What differs between the known folders and a scan; every list is sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Folders that were not known.
    pub created: Vec<FoundFolder>,
    /// The real paths of known folders that are no more.
    pub deleted: Vec<PathBuf>,
    /// The real paths of known folders that may have changed: their stamps do not prove the
    /// contrary, they were replaced, they go by another name now, or they could not be looked at.
    pub changed: Vec<PathBuf>,
}

impl Delta {
    /// Whether surely nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.deleted.is_empty() && self.changed.is_empty()
    }
}

/// Compare the `known` folders, by their real paths, with what `scan` found.
///
/// A known folder that the scan did not find, but that lies where the scan had a problem, is not
/// deleted but may have changed: an unreadable directory must not look like a deletion.
#[must_use]
pub fn diff(known: &HashMap<PathBuf, FoundFolder>, scan: &Scan) -> Delta {
    let mut delta = Delta::default();
    let mut seen: HashSet<&Path> = HashSet::with_capacity(scan.folders.len());
    for folder in &scan.folders {
        seen.insert(&folder.real);
        match known.get(&folder.real) {
            None => delta.created.push(folder.clone()),
            Some(old) => {
                // The name follows from the directory.
                let same = old.directory == folder.directory
                    && old.new.unchanged(&folder.new)
                    && old.cur.unchanged(&folder.cur);
                if !same {
                    delta.changed.push(folder.real.clone());
                }
            }
        }
    }
    for (real, old) in known {
        if !seen.contains(real.as_path()) {
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
    delta.deleted.sort();
    delta.changed.sort();
    delta
}

/// Make `known` what it is after `scan`, whose difference from it is `delta`.
///
/// Folders that could not be looked at stay known.  A folder that `delta` does not mention keeps
/// its older stamps: they prove as much, and whoever struck it out of `delta` (because a watch
/// vouches for it) has it compared with them again next time.
pub fn absorb(known: &mut HashMap<PathBuf, FoundFolder>, scan: &Scan, delta: &Delta) {
    for real in &delta.deleted {
        known.remove(real);
    }
    for folder in &scan.folders {
        let news = delta.changed.binary_search(&folder.real).is_ok();
        if news || !known.contains_key(&folder.real) {
            known.insert(folder.real.clone(), folder.clone());
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

    fn shown(delta: &Delta) -> String {
        let created = delta
            .created
            .iter()
            .map(|it| format!("+{}", it.real.display()));
        let deleted = delta.deleted.iter().map(|it| format!("-{}", it.display()));
        let changed = delta.changed.iter().map(|it| format!("~{}", it.display()));
        let all: Vec<_> = created.chain(deleted).chain(changed).collect();
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
            let delta = diff(&known, &first);
            assert_eq!(shown(&delta), "+/m +/m/.c +/m/a +/m/a/b +/x");
            absorb(&mut known, &first, &delta);
            happening(&mut model);
            model.clock.secs += 10;
            let second = look(&model);
            let delta = diff(&known, &second);
            assert_eq!(shown(&delta), expected, "{what}");
            assert_eq!(delta.is_empty(), expected.is_empty());
            // Once taken note of, it is no difference any more, unless it is still in doubt.
            absorb(&mut known, &second, &delta);
            let again = if what == "unreadable" { expected } else { "" };
            assert_eq!(shown(&diff(&known, &second)), again, "{what}, again");
        }
    }

    #[test]
    fn a_fresh_stamp_is_doubted_until_it_has_rested() {
        let mut model = Model::new(&["/m/a/***"]);
        let mut known = HashMap::new();
        for (later, expected) in [(0, "+/m/a"), (1, "~/m/a"), (1, "~/m/a"), (0, ""), (1, "")] {
            model.clock.secs += later;
            let scan = look(&model);
            let delta = diff(&known, &scan);
            assert_eq!(shown(&delta), expected, "at {:?}", model.clock);
            absorb(&mut known, &scan, &delta);
        }
    }
}
