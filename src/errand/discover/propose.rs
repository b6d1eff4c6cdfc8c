//! From what configurations say, and what is there, to proposals.  Pure.
//!
//! An account is what shares directories: the channels of one store of mbsync's, an account of
//! OfflineIMAP's.  It has a syncer where the configuration has one name for just that.  Where it has
//! several or none, or two programs sync the same directories, nothing is chosen: the account is
//! watched, and the user is told what could be.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::look::Look;
use crate::syncer::survey::{Bundle, Place, Server, Survey, Unit};

/// What there is to make proposals of.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The home directory.
    pub home: Option<PathBuf>,
    /// The same with links resolved.
    pub home_real: Option<PathBuf>,
    /// What the syncers' configurations offer.
    pub surveys: Vec<(Tool, Survey)>,
    /// Directories that others name.
    pub spots: Vec<Spot>,
    /// What is at all these places; nothing where the system did not say it in time.
    pub looks: HashMap<PathBuf, Look>,
    /// What a user should know already.
    pub remarks: Vec<String>,
}

/// A program that syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// mbsync.
    Mbsync,
    /// OfflineIMAP.
    OfflineImap,
}

impl Tool {
    /// What the program is called.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Mbsync => "mbsync",
            Tool::OfflineImap => "offlineimap",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Tool::Mbsync => "channel",
            Tool::OfflineImap => "account",
        }
    }
}

/// A directory that is not a syncer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Which.
    pub directory: PathBuf,
    /// Who says so.
    pub origin: Origin,
}

/// Who names a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A server of Gnus's, nnmaildir.
    Gnus(String),
    /// `$MAILDIR`.
    Variable,
    /// Nobody: it is where maildirs usually are.
    Usual,
}

/// What is proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Accounts.
    pub proposals: Vec<Proposal>,
    /// What a user should know of what is not among them.
    pub remarks: Vec<String>,
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Its name; of several accounts no two are alike.
    pub name: String,
    /// It can be used as it is.
    pub usable: bool,
    /// Its directories.
    pub maildirs: Vec<PathBuf>,
    /// What syncs it.
    pub syncer: Option<Syncer>,
    /// What could; the user has to choose.
    pub choices: Vec<Syncer>,
    /// Where its mail comes from.
    pub server: Option<Server>,
    /// Where each part came from, in sentences without an end.
    pub reasons: Vec<String>,
}

/// A form for `:syncer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syncer {
    /// The program.
    pub tool: Tool,
    /// A channel, group or account; `None`: all there is.
    pub target: Option<String>,
}

/// Units of one survey that share directories.
struct Cluster<'a> {
    tool: Tool,
    survey: &'a Survey,
    /// In the order of the configuration.
    units: Vec<usize>,
    /// What they share, as keys.
    keys: BTreeSet<PathBuf>,
}

/// Make proposals.
#[must_use]
pub fn propose(findings: &Findings) -> Report {
    let mut making = Making {
        findings,
        report: Report {
            remarks: findings.remarks.clone(),
            ..Report::default()
        },
        covered: Vec::new(),
    };
    let surveys = findings.surveys.iter();
    for (_, survey) in surveys.clone() {
        let remarks = survey.remarks.iter().map(|text| making.spell(text));
        let remarks: Vec<String> = remarks.collect();
        making.report.remarks.extend(remarks);
    }
    let mut rest: Vec<Cluster<'_>> = surveys
        .flat_map(|(tool, survey)| making.clusters(*tool, survey))
        .collect();
    while !rest.is_empty() {
        let first = rest.remove(0);
        // Two programs, of which each knows nothing of the other.
        let (others, apart) = rest
            .into_iter()
            .partition(|it: &Cluster<'_>| !it.keys.is_disjoint(&first.keys));
        rest = apart;
        making.account(first, others);
    }
    for spot in &findings.spots {
        making.spot(spot);
    }
    making.report
}

struct Making<'a> {
    findings: &'a Findings,
    report: Report,
    /// The directories of the accounts so far, links resolved.
    covered: Vec<PathBuf>,
}

impl<'a> Making<'a> {
    fn clusters(&self, tool: Tool, survey: &'a Survey) -> Vec<Cluster<'a>> {
        let mut clusters: Vec<Cluster<'a>> = Vec::new();
        for (at, unit) in survey.units.iter().enumerate() {
            let roots = unit.roots.iter();
            let keys: BTreeSet<PathBuf> = roots.map(|it| self.key(&it.directory)).collect();
            let (joined, apart): (Vec<_>, Vec<_>) = clusters
                .into_iter()
                .partition(|it| !it.keys.is_disjoint(&keys));
            clusters = apart;
            let mut cluster = Cluster {
                tool,
                survey,
                units: vec![at],
                keys,
            };
            for other in joined {
                cluster.units.extend(other.units);
                cluster.keys.extend(other.keys);
            }
            cluster.units.sort_unstable();
            clusters.push(cluster);
        }
        clusters.sort_by_key(|cluster| cluster.units.first().copied());
        clusters
    }

    /// What a directory is known by.
    fn key(&self, directory: &Path) -> PathBuf {
        match self.findings.looks.get(directory) {
            Some(Look::Directory(seen)) => seen.real.clone(),
            _ => directory.to_path_buf(),
        }
    }

    /// Propose an account for units, and what of other programs shares directories with them.
    fn account(&mut self, first: Cluster<'a>, others: Vec<Cluster<'a>>) {
        let mut proposal = Proposal::default();
        let all: Vec<&Cluster<'a>> = std::iter::once(&first).chain(&others).collect();
        let mut problems = Vec::new();
        let mut places: Vec<(PathBuf, &Place)> = Vec::new();
        for cluster in &all {
            for unit in cluster.units() {
                for place in &unit.roots {
                    let key = self.key(&place.directory);
                    if places.iter().any(|(known, _)| *known == key) {
                        continue;
                    }
                    match self.unfit(&place.directory) {
                        None => {
                            proposal.maildirs.push(place.directory.clone());
                            proposal
                                .reasons
                                .push(self.says_place(cluster.survey, place));
                        }
                        Some(why) => problems.push(format!(
                            "{} is left out: {why} ({})",
                            self.short(&place.directory),
                            self.says_place(cluster.survey, place)
                        )),
                    }
                    places.push((key, place));
                }
            }
        }
        proposal.usable = !proposal.maildirs.is_empty();
        if !proposal.usable {
            proposal.maildirs = places
                .iter()
                .map(|(_, place)| place.directory.clone())
                .collect();
        }
        let mut name = None;
        let mut whats = Vec::new();
        for cluster in &all {
            let (syncer, what) = self.syncer(cluster);
            name = name.or_else(|| cluster.name(syncer.as_ref()));
            proposal.choices.extend(syncer);
            whats.push(what);
        }
        let fit = |cluster: &Cluster<'_>| {
            let roots = cluster.units().flat_map(|unit| &unit.roots);
            let fit = roots.filter(|it| self.unfit(&it.directory).is_none());
            fit.map(|it| self.key(&it.directory))
                .collect::<BTreeSet<_>>()
        };
        let complete = proposal.choices.len() == all.len()
            && all.iter().all(|cluster| fit(cluster) == fit(&first));
        if others.is_empty() {
            proposal.syncer = proposal.choices.pop();
        } else {
            let mut names: Vec<&str> = all.iter().map(|cluster| cluster.tool.name()).collect();
            names.dedup();
            let mut text = format!(
                "{} are both set up to sync this, and must never both run",
                names.join(" and ")
            );
            let used = all.iter().enumerate();
            let used = used.filter(|(_, cluster)| cluster.units().any(|unit| unit.used));
            let used: Vec<usize> = used.map(|(at, _)| at).collect();
            match used.as_slice() {
                [at] if complete => {
                    let chosen = proposal.choices.remove(*at);
                    text += &format!("; {} is the one that has records here", chosen.tool.name());
                    proposal.syncer = Some(chosen);
                }
                _ => text += "; it is only watched until you choose one",
            }
            whats.push(text);
        }
        whats.append(&mut proposal.reasons);
        whats.append(&mut problems);
        proposal.reasons = whats;
        let mut servers: Vec<&Server> = Vec::new();
        for unit in all.iter().flat_map(|cluster| cluster.units()) {
            proposal.reasons.extend(unit.remarks.iter().cloned());
            if let Some(server) = unit.server.as_ref().filter(|it| !servers.contains(it)) {
                servers.push(server);
            }
        }
        if let [server] = servers.as_slice() {
            proposal.server = Some((*server).clone());
        }
        self.add(name.unwrap_or_else(|| "mail".to_owned()), proposal);
    }

    /// What syncs just these units, and why that, or why nothing.
    fn syncer(&self, cluster: &Cluster<'_>) -> (Option<Syncer>, String) {
        let Cluster {
            tool,
            survey,
            units,
            ..
        } = cluster;
        let form = |target: Option<&[u8]>| {
            let target = match target {
                Some(name) => Some(String::from_utf8(name.to_vec()).ok()?),
                None => None,
            };
            Some(Syncer {
                tool: *tool,
                target,
            })
        };
        let unit = match units.as_slice() {
            [only] => survey.units.get(*only),
            _ => None,
        };
        if let Some(unit) = unit.filter(|unit| unit.nameable)
            && let Some(syncer) = form(Some(&unit.name))
        {
            let what = format!("{} {}", tool.unit(), shown(&unit.name));
            return (Some(syncer), self.says(survey, unit.line, &what));
        }
        let same = |bundle: &&Bundle| bundle.units == *units;
        if let Some(bundle) = survey.bundles.iter().find(same)
            && let Some(syncer) = form(Some(&bundle.name))
        {
            let what = format!("group {}, which is {}", shown(&bundle.name), cluster.list());
            return (Some(syncer), self.says(survey, bundle.line, &what));
        }
        if survey.all == Some(units.len()) && units.len() == survey.units.len() {
            let file = self.short(&survey.file);
            let text = format!("from {file}: all that it has, which is {}", cluster.list());
            return (form(None), text);
        }
        let file = self.short(&survey.file);
        let text = match unit {
            Some(unit) => format!(
                "{} cannot be told {} {} by its name ({file} line {}): it is only watched",
                tool.name(),
                tool.unit(),
                shown(&unit.name),
                unit.line
            ),
            None => format!(
                "{} sync the same directories, and {file} {}: it is only watched",
                cluster.list(),
                match tool {
                    Tool::Mbsync => "has no group of just these",
                    Tool::OfflineImap => "has no name for both",
                }
            ),
        };
        (None, text)
    }

    /// A directory that others name.
    fn spot(&mut self, spot: &Spot) {
        let directory = &spot.directory;
        let short = self.short(directory);
        let (name, reason) = match &spot.origin {
            Origin::Gnus(server) => {
                let called = match server.as_str() {
                    "" => "nnmaildir",
                    server => server,
                };
                let text = format!("from Gnus: the server nnmaildir:{server} shows {short}");
                (called.to_owned(), text)
            }
            Origin::Variable => ("mail".to_owned(), format!("from $MAILDIR: {short}")),
            Origin::Usual => ("mail".to_owned(), format!("{short} is there")),
        };
        let seen = match self.findings.looks.get(directory) {
            Some(Look::Directory(seen)) => Some(seen),
            _ => None,
        };
        let covered = |real: &Path| self.covered.iter().any(|root| real.starts_with(root));
        if seen.is_some_and(|seen| covered(&seen.real)) {
            return;
        }
        let linked = matches!(spot.origin, Origin::Gnus(_))
            && seen.is_some_and(|seen| !seen.mail && !seen.links.is_empty());
        if linked && seen.is_some_and(|seen| seen.links.iter().all(|link| covered(link))) {
            // They are watched where they are.
            return;
        }
        if !linked && let Some(why) = self.unfit(directory) {
            if spot.origin != Origin::Usual {
                self.report.remarks.push(format!("{reason}, but {why}"));
            }
            return;
        }
        self.add(
            name,
            Proposal {
                usable: true,
                maildirs: vec![directory.clone()],
                reasons: vec![reason, "no syncer is known for it".to_owned()],
                ..Proposal::default()
            },
        );
    }

    /// Why a directory cannot be watched as a maildir; `None` where it can.
    fn unfit(&self, directory: &Path) -> Option<String> {
        let seen = match self.findings.looks.get(directory) {
            Some(Look::Directory(seen)) => seen,
            Some(Look::Missing) => return Some("it is not there yet".to_owned()),
            Some(Look::NoDirectory) => return Some("it is no directory".to_owned()),
            Some(Look::Hidden(text)) => return Some(text.clone()),
            None => return Some("its file system did not answer in time".to_owned()),
        };
        let home = self.findings.home_real.as_ref();
        if home.is_some_and(|home| home.starts_with(&seen.real)) {
            return Some("your home directory is in it, or is it, and not all mail".to_owned());
        }
        (!seen.mail && seen.links.is_empty()).then(|| "it holds no folder yet".to_owned())
    }

    fn add(&mut self, name: String, mut proposal: Proposal) {
        if proposal.usable {
            let directories = proposal.maildirs.iter();
            let keys: Vec<PathBuf> = directories.map(|it| self.key(it)).collect();
            self.covered.extend(keys);
        }
        let taken = |name: &str| self.report.proposals.iter().any(|it| it.name == name);
        let mut names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name} {n}")));
        proposal.name = names.find(|name| !taken(name)).unwrap_or(name);
        self.report.proposals.push(proposal);
    }

    fn says(&self, survey: &Survey, line: usize, what: &str) -> String {
        format!("from {} line {line}: {what}", self.short(&survey.file))
    }

    fn says_place(&self, survey: &Survey, place: &Place) -> String {
        let what = format!("{} is {}", self.short(&place.directory), place.what);
        self.says(survey, place.line, &what)
    }

    /// A path as users write it.
    fn short(&self, path: &Path) -> String {
        let home = self.findings.home.as_ref();
        match home.and_then(|home| path.strip_prefix(home).ok()) {
            Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
            Some(rest) => format!("~/{}", rest.display()),
            None => path.display().to_string(),
        }
    }

    /// A text with the home directory written as users do.
    fn spell(&self, text: &str) -> String {
        match self.findings.home.as_deref().map(Path::as_os_str) {
            Some(home) if home.len() > 1 => spelled(text, home),
            _ => text.to_owned(),
        }
    }
}

fn spelled(text: &str, home: &OsStr) -> String {
    let home = String::from_utf8_lossy(home.as_bytes());
    text.replace(&format!("{home}/"), "~/")
}

impl Cluster<'_> {
    fn units(&self) -> impl Iterator<Item = &Unit> {
        let units = self.units.iter();
        units.filter_map(|at| self.survey.units.get(*at))
    }

    /// The units in words.
    fn list(&self) -> String {
        let names: Vec<String> = self.units().map(|unit| shown(&unit.name)).collect();
        let (few, more) = match names.get(..5) {
            Some(few) if names.len() > 6 => (few, Some(names.len() - few.len())),
            _ => (names.as_slice(), None),
        };
        let kind = match names.len() {
            1 => self.tool.unit().to_owned(),
            _ => format!("{}s", self.tool.unit()),
        };
        let list = few.join(", ");
        match more {
            Some(more) => format!("{kind} {list} and {more} more"),
            None => format!("{kind} {list}"),
        }
    }

    /// How the account is called.
    fn name(&self, syncer: Option<&Syncer>) -> Option<String> {
        if let Some(target) = syncer.and_then(|syncer| syncer.target.clone()) {
            return Some(target);
        }
        match self.units.as_slice() {
            [only] => Some(shown(&self.survey.units.get(*only)?.name)),
            // What they share is the best name.
            _ => {
                let mut roots = self.units().flat_map(|unit| &unit.roots);
                let name = roots.next()?.directory.file_name()?;
                let name = name.to_string_lossy().trim_matches('.').to_lowercase();
                Some(name).filter(|name| !name.is_empty())
            }
        }
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
