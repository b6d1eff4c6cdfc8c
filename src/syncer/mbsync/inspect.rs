//! What the configuration says to somebody who looks for a fault.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::Config;
use super::{Atlas, Links, members, path, read, refused, takes_inbox};
use crate::change::Folder;
use crate::syncer::inspect::{Inspection, Wait};
use crate::syncer::plan::Refused;
use crate::syncer::{Order, Program};

/// How long mbsync waits for a server, in seconds, where nothing says it.
const TIMEOUT: u64 = 20;

/// See [`crate::syncer::inspect::inspect`].
///
/// # Errors
/// When mbsync would refuse to run.
pub fn inspect(order: &Order, folders: &[Arc<Folder>]) -> Result<Inspection, Refused> {
    let Program::Mbsync { target, config, .. } = &order.syncer.program else {
        return Err(refused("this syncer is not mbsync".to_owned()));
    };
    let (around, file, config) = read(order, config.as_deref())?;
    let members = members(&config, target.as_deref(), &file)?;
    let atlas = Atlas::new(&config, &members, &around);
    let mut links = Links::default();
    let unsynced = folders.iter().filter(|folder| {
        let spellings = links.spellings(folder);
        atlas.boxes(&spellings).next().is_none()
    });
    let unsynced: Vec<_> = unsynced.map(|folder| folder.name.to_vec()).collect();
    Ok(Inspection {
        file,
        synced: folders.len() - unsynced.len(),
        unsynced,
        places: places(&atlas),
        waits: waits(&config),
        ..Inspection::default()
    })
}

/// Where the stores of the channels keep mail: below their paths, and in INBOX where that is synced.
fn places(atlas: &Atlas) -> Vec<(String, PathBuf)> {
    let mut places = BTreeSet::new();
    for (member, sides) in atlas.members.iter().zip(&atlas.sides) {
        for side in sides {
            let store = &side.store;
            let called = format!("MaildirStore {}", String::from_utf8_lossy(store));
            let view = &side.place.real;
            let pathed = member.channel.patterns.is_some() || !side.prefix.is_empty();
            if let Some(directory) = view.directory().filter(|_| pathed) {
                places.insert((called.clone(), path(directory)));
            }
            if takes_inbox(member, side) {
                places.insert((called, path(&view.inbox)));
            }
        }
    }
    places.into_iter().collect()
}

fn waits(config: &Config) -> Vec<Wait> {
    let said = config.servers.iter().filter_map(|server| {
        let value = String::from_utf8_lossy(server.timeout.as_ref()?);
        Some(Wait {
            of: String::from_utf8_lossy(&server.name).into_owned(),
            seconds: value.parse().unwrap_or(TIMEOUT),
        })
    });
    let said: Vec<Wait> = said.collect();
    match said.is_empty() {
        false => said,
        true => vec![Wait {
            of: "default".to_owned(),
            seconds: TIMEOUT,
        }],
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::change::AccountId;
    use crate::maildir::{DiskFs, Layout, discover};
    use crate::syncer::{Scope, Syncer};

    fn order(home: &std::path::Path, target: Option<&str>) -> Order {
        let mut syncer = Syncer::new(Program::Mbsync {
            program: "mbsync".into(),
            target: target.map(str::to_owned),
            config: None,
            args: Vec::new(),
        });
        syncer.environment = vec![format!("HOME={}", home.display()).into()];
        Order::new("w", syncer, Scope::Everything)
    }

    fn folders(root: &std::path::Path) -> Vec<Arc<Folder>> {
        let scan = discover(&DiskFs, root, Layout::Auto, &[]).unwrap();
        let folders = scan.folders.into_iter().map(|it| {
            Arc::new(Folder {
                account: AccountId(0),
                real: it.real.clone(),
                directory: it.directory.clone(),
                name: it.name.clone(),
            })
        });
        folders.collect()
    }

    #[test]
    fn it_says_what_is_synced_and_where_mail_is() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        for name in ["mail/INBOX", "mail/a", "mail/b/c"] {
            for part in ["cur", "new", "tmp"] {
                fs::create_dir_all(home.join(name).join(part)).unwrap();
            }
        }
        let rc = "MaildirStore n\nPath ~/mail/\nInbox ~/mail/INBOX\nSubFolders Verbatim\n\n\
                  IMAPAccount acc\nTimeout 0\n\nIMAPStore f\nAccount acc\n\n\
                  Channel c\nFar :f:\nNear :n:\nPatterns INBOX a\n\n\
                  MaildirStore other\nInbox ~/elsewhere\n\nChannel d\nFar :f:\nNear :other:\n";
        fs::write(home.join(".mbsyncrc"), rc).unwrap();
        let found = inspect(&order(&home, Some("c")), &folders(&home.join("mail"))).unwrap();
        assert_eq!(found.file, home.join(".mbsyncrc"));
        assert_eq!(found.unsynced, [b"b/c".to_vec()]);
        assert_eq!(found.synced, 2);
        let store = "MaildirStore n".to_owned();
        let expected = [
            (store.clone(), home.join("mail")),
            (store, home.join("mail/INBOX")),
        ];
        assert_eq!(found.places, expected);
        let wait = Wait {
            of: "acc".to_owned(),
            seconds: 0,
        };
        assert_eq!(found.waits, [wait]);
        let all = inspect(&order(&home, None), &[]).unwrap();
        let other = ("MaildirStore other".to_owned(), home.join("elsewhere"));
        assert!(all.places.contains(&other), "{:?}", all.places);
        let refused = inspect(&order(&home, Some("x")), &[]).unwrap_err();
        assert!(refused.text.contains("no channel or group x"));
    }
}
