//! All folders, for a user who wants to see them: put together when somebody asks.
//!
//! The snapshot (`engine::status`) is made at each turn and has only how many there are.  What Lisp
//! knows itself, changes and checks, is not here.

use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use super::Core;
use crate::change::Folder;
use crate::coalesce::Coalesce;
use crate::schedule::FolderState;

impl<C: Coalesce> Core<C> {
    /// The folders of an account (`None`: of all) in the order of the configuration, with seven fields
    /// each: account, name, directory, truename (empty: as directory), how it stands with syncs, how
    /// many milliseconds ago it was synced last (or nothing), and why it is set aside (or nothing).
    ///
    /// Unless `all` are wanted, those are left out that do not wait, and with which all is well.
    ///
    /// How it stands are letters: `w`aits to be synced, is being synced (`r`), has something to p`u`sh.
    pub(super) fn list(&self, now: Instant, account: Option<&str>, all: bool) -> Vec<Vec<u8>> {
        let named = |name: &str| account.is_none_or(|wanted| wanted == name);
        let listed = self.listed.iter().map(|id| (*id, &self.accounts[id.0]));
        let mut fields = Vec::new();
        for (id, account) in listed.filter(|(_, account)| named(&account.name)) {
            for folder in self.roots_of(id).flat_map(|root| root.folders.values()) {
                let syncs = account.syncs.as_ref();
                let state = syncs.map(|it| it.scheduler.folder(&folder.real));
                let state = state.unwrap_or_default();
                if all || state.matters() {
                    fields.extend(row(now, &account.name, folder, &state));
                }
            }
        }
        fields
    }
}

fn row(now: Instant, account: &str, folder: &Folder, state: &FolderState<'_>) -> [Vec<u8>; 7] {
    let real = if folder.real == folder.directory {
        &[]
    } else {
        folder.real.as_os_str().as_bytes()
    };
    let letters = [(state.waits, b'w'), (state.runs, b'r'), (state.open, b'u')];
    let letters = letters.into_iter().filter(|(is, _)| *is);
    let ago = |at| now.saturating_duration_since(at).as_millis().to_string();
    [
        account.as_bytes().to_vec(),
        folder.name.to_vec(),
        folder.directory.as_os_str().as_bytes().to_vec(),
        real.to_vec(),
        letters.map(|(_, letter)| letter).collect(),
        state.synced.map_or_else(String::new, ago).into_bytes(),
        state.aside.unwrap_or_default().as_bytes().to_vec(),
    ]
}
