//! What programs on this machine are told, if Lisp wants that: folders when they were checked.
//!
//! When that is, is `listen::ledger`'s business; here its inputs are gathered.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::root::Phase;
use super::{Action, Core};
use crate::change::Change;
use crate::coalesce::Coalesce;
use crate::listen::Spot;
use crate::listen::ledger::Ledger;

impl<C: Coalesce> Core<C> {
    /// Have what is checked told from now on, to somebody who knows nothing yet, where Lisp is silent
    /// after so long; or not any more.
    pub(super) fn listen(&mut self, timeout: Option<Duration>) {
        self.ledger = match (self.ledger.take(), timeout) {
            (Some(mut ledger), Some(timeout)) => {
                ledger.retime(timeout);
                ledger.repeat();
                Some(ledger)
            }
            (_, timeout) => timeout.map(Ledger::new),
        };
    }

    /// Lisp is being told of this.
    pub(super) fn unchecked(&mut self, now: Instant, change: &Change) {
        // Whoever syncs with this store gains nothing by it, and often was the one who has looked.
        if self.ledger.is_none() || change.is_quiet() {
            return;
        }
        let folder = &change.folder;
        // Programs know the root by its truename, and what is in it by the names there.
        let roots = self.roots_of(folder.account);
        let below = roots.filter_map(|root| {
            let below = folder.directory.strip_prefix(&root.config.directory).ok()?;
            Some((root.real.clone()?, below.to_owned()))
        });
        let longest = below.max_by_key(|(root, _)| root.as_os_str().len());
        // Of a root that is gone they are told that it is, which covers everything in it.
        let Some((root, below)) = longest else {
            return;
        };
        let whole = below.as_os_str().is_empty();
        let spot = Spot {
            directory: if whole {
                root.clone()
            } else {
                root.join(below)
            },
            root,
            name: folder.name.to_vec(),
        };
        if let Some(ledger) = &mut self.ledger {
            ledger.change(now, change, spot);
        }
    }

    /// Pass on what was checked.
    pub(super) fn pass_on(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.ledger.is_none() {
            return;
        }
        let listed = self.listed.clone();
        let mut roots: Vec<PathBuf> = (self.roots.values())
            .filter(|root| listed.contains(&root.account) && root.phase() == Phase::Watching)
            .filter_map(|root| root.real.clone())
            .collect();
        roots.sort();
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        ledger.keep(&listed);
        ledger.roots(roots);
        let accounts = &self.accounts;
        let told = ledger.take(now, |id| accounts[id.0].untold() > 0);
        if !told.is_empty() {
            actions.push(Action::Tell(told));
        }
    }
}
