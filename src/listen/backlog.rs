//! What was told and not read yet, merged: one entry a folder, and no more than some thousands.
//!
//! Pure.  Its order is its own: the maildirs, then whether the Emacs is silent, then the doubt, then
//! folders.  That is right whatever came when, since a program goes over to something else only with
//! an empty line that covers all that came before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Spot, Told};
use crate::change::Kinds;

/// Folders that wait at most; if there are more, everything is in doubt.
const MOST: usize = 4096;

/// What waits.
#[derive(Debug, Default)]
pub struct Backlog {
    roots: Option<Vec<PathBuf>>,
    silent: Option<bool>,
    everything: bool,
    changes: BTreeMap<Spot, Kinds>,
}

impl Backlog {
    /// This was told.
    pub fn push(&mut self, told: Told) {
        match told {
            Told::Roots(roots) => self.roots = Some(roots),
            Told::Silent => self.silent = Some(true),
            Told::Back => self.silent = Some(false),
            Told::Everything => self.doubt(),
            Told::Change(..) if self.everything => {}
            Told::Change(spot, kinds) => {
                let known = self.changes.entry(spot).or_default();
                *known = known.then(kinds);
                if self.changes.len() > MOST {
                    self.doubt();
                }
            }
        }
    }

    fn doubt(&mut self) {
        self.everything = true;
        self.changes.clear();
    }

    /// What is to be told next.
    pub fn pop(&mut self) -> Option<Told> {
        if let Some(roots) = self.roots.take() {
            return Some(Told::Roots(roots));
        }
        if let Some(silent) = self.silent.take() {
            return Some(if silent { Told::Silent } else { Told::Back });
        }
        if std::mem::take(&mut self.everything) {
            return Some(Told::Everything);
        }
        let (spot, kinds) = self.changes.pop_first()?;
        Some(Told::Change(spot, kinds))
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_none() && self.silent.is_none() && !self.everything && self.changes.is_empty()
    }

    /// Entries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, kinds: Kinds) -> Told {
        let spot = Spot {
            root: "/m".into(),
            directory: format!("/m/{name}").into(),
            name: name.as_bytes().to_vec(),
        };
        Told::Change(spot, kinds)
    }

    fn all(backlog: &mut Backlog) -> Vec<Told> {
        let told = std::iter::from_fn(|| backlog.pop()).collect();
        assert!(backlog.is_empty());
        told
    }

    #[test]
    fn what_waits_is_merged() {
        let (new, gone) = (Kinds::NEW, Kinds::GONE);
        let roots = |root: &str| Told::Roots(vec![root.into()]);
        let table: Vec<(&str, Vec<Told>, Vec<Told>)> = vec![
            ("nothing", vec![], vec![]),
            (
                "one entry a folder",
                vec![change("b", new), change("a", new), change("b", gone)],
                vec![change("a", new), change("b", new | gone)],
            ),
            (
                "doubt covers what came before it and after it",
                vec![change("a", new), Told::Everything, change("b", new)],
                vec![Told::Everything],
            ),
            (
                "the last state stands for all, and comes first",
                vec![
                    change("a", new),
                    Told::Silent,
                    roots("/x"),
                    Told::Back,
                    roots("/y"),
                ],
                vec![roots("/y"), Told::Back, change("a", new)],
            ),
        ];
        for (what, told, expected) in table {
            let mut backlog = Backlog::default();
            told.into_iter().for_each(|it| backlog.push(it));
            assert_eq!(all(&mut backlog), expected, "{what}");
        }
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut backlog = Backlog::default();
        for number in 0..=MOST {
            backlog.push(change(&number.to_string(), Kinds::NEW));
            assert!(backlog.len() <= MOST);
        }
        assert_eq!(all(&mut backlog), [Told::Everything]);
        backlog.push(change("a", Kinds::NEW));
        assert_eq!(all(&mut backlog), [change("a", Kinds::NEW)]);
    }
}
