//! Discovery: what accounts there could be, from what other programs' configurations say.
//!
//! Reads mbsync's and OfflineIMAP's configuration (by the readers in `syncer`), looks at the
//! directories that they name ([`look`]), and makes proposals of both ([`propose`], which is pure).
//! Asks no server, changes nothing, and reads no password.  What is done with a proposal is Lisp's
//! business (`mailsync-discover.el`, `mailsync-setup.el`).

mod answer;
mod look;
mod propose;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::Result;

use super::patience::ask;
use crate::engine::actor::MakeFs;
use crate::syncer::surroundings::Surroundings;
use crate::syncer::survey::Survey;
use crate::syncer::{mbsync, offlineimap};
use look::look;
use propose::{Findings, Origin, Report, Spot, Tool};

/// What Lisp wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The environment in which syncers would run, as `NAME=VALUE`.
    pub environment: Vec<OsString>,
    /// Servers of Gnus's that show directories, with those.
    pub gnus: Vec<(String, PathBuf)>,
    /// Look at `~/Maildir` though nothing names it.
    pub untold: bool,
}

/// Find it out; the fields of [`answer`].
///
/// # Errors
/// When the system gives no thread.
pub fn discover(question: Question, fs: &MakeFs) -> Result<Vec<Vec<u8>>> {
    Ok(answer::fields(&report(question, fs)?))
}

fn report(question: Question, fs: &MakeFs) -> Result<Report> {
    let surroundings = Surroundings {
        environment: question.environment,
        directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
    };
    let home = surroundings.set(b"HOME").map(PathBuf::from);
    let mut findings = Findings {
        home: home.clone(),
        ..Findings::default()
    };
    let surveys = [
        (Tool::Mbsync, mbsync::survey(&surroundings)),
        (Tool::OfflineImap, offlineimap::survey(surroundings.clone())),
    ];
    for (tool, survey) in surveys {
        match survey {
            Some(Ok(survey)) => findings.surveys.push((tool, survey)),
            Some(Err(text)) => findings.remarks.push(text),
            None => {}
        }
    }
    let gnus = question.gnus.into_iter();
    findings.spots.extend(gnus.map(|(server, directory)| Spot {
        directory: directory.components().collect(),
        origin: Origin::Gnus(server),
    }));
    if let Some(maildir) = surroundings.set(b"MAILDIR") {
        let maildir = surroundings.absolute(maildir.to_owned().into_vec());
        findings.spots.push(Spot {
            directory: maildir.components().collect(),
            origin: Origin::Variable,
        });
    } else if let Some(home) = home.filter(|_| question.untold) {
        findings.spots.push(Spot {
            directory: home.join("Maildir"),
            origin: Origin::Usual,
        });
    }
    let mut directories: BTreeSet<PathBuf> = findings
        .spots
        .iter()
        .map(|spot| spot.directory.clone())
        .collect();
    directories.extend(roots(&findings.surveys));
    let make = fs.clone();
    let asked = ask(
        directories.into_iter().collect(),
        move |directory: PathBuf, tell| {
            let look = look(&*make(), &directory);
            tell((directory, look));
        },
    )?;
    findings.looks = asked.answers().into_iter().flatten().collect();
    findings.home_real = (findings.home.as_ref())
        .and_then(|home| fs().canonicalize(home).ok())
        .or_else(|| findings.home.clone());
    Ok(propose::propose(&findings))
}

fn roots(surveys: &[(Tool, Survey)]) -> impl Iterator<Item = PathBuf> {
    let units = surveys.iter().flat_map(|(_, survey)| &survey.units);
    let roots = units.flat_map(|unit| &unit.roots);
    roots.map(|place| place.directory.clone())
}
