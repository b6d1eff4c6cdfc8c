//! Configurations as the manuals of isync and OfflineIMAP shape them, and what is made of them.

use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use super::propose::{Proposal, Report, Syncer};
use super::*;
use crate::maildir::DiskFs;
use crate::syncer::survey::Security;

/// A home directory, and what is to be made of it.
#[derive(Default)]
struct Case {
    /// What is tested.
    what: &'static str,
    /// Files below it.
    files: &'static [(&'static str, &'static [u8])],
    /// Maildirs below it; a name with a slash at its end is only a directory.
    folders: &'static [&'static str],
    /// Links below it and where they lead.
    links: &'static [(&'static str, &'static str)],
    environment: &'static [&'static str],
    gnus: &'static [(&'static str, &'static str)],
    /// One proposal a line, as `line` writes it.
    accounts: &'static str,
    /// What reasons and remarks say, among other things.
    says: &'static [&'static str],
}

fn home(case: &Case) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect(case.what);
    let path = |name: &str| home.path().join(name);
    for (name, text) in case.files {
        fs::create_dir_all(path(name).parent().expect("a parent")).expect(case.what);
        let text = String::from_utf8(text.to_vec()).map(|text| text.replace("$HOME", "~"));
        fs::write(
            path(name),
            text.map_or_else(|it| it.into_bytes(), String::into_bytes),
        )
        .expect(case.what);
    }
    for name in case.folders {
        match name.strip_suffix('/') {
            Some(name) => fs::create_dir_all(path(name)).expect(case.what),
            None => {
                for part in ["cur", "new", "tmp"] {
                    fs::create_dir_all(path(name).join(part)).expect(case.what);
                }
            }
        }
    }
    for (name, target) in case.links {
        fs::create_dir_all(path(name).parent().expect("a parent")).expect(case.what);
        symlink(path(target), path(name)).expect(case.what);
    }
    home
}

fn look_around(case: &Case, home: &Path) -> Report {
    let mut environment = vec![format!("HOME={}", home.display()).into()];
    let variables = case.environment.iter();
    environment.extend(variables.map(|it| it.replace('~', &home.display().to_string()).into()));
    let gnus = case.gnus.iter();
    let question = Question {
        environment,
        gnus: gnus
            .map(|(name, directory)| ((*name).to_owned(), home.join(directory)))
            .collect(),
        untold: true,
    };
    let fs: MakeFs = Arc::new(|| Box::new(DiskFs));
    report(question, &fs).expect(case.what)
}

/// `name: directories < syncer ? choices @ server`; `(name)` where it is not to be used as it is.
fn line(proposal: &Proposal, home: &Path) -> String {
    let mut line = match proposal.usable {
        true => format!("{}:", proposal.name),
        false => format!("({}):", proposal.name),
    };
    for directory in &proposal.maildirs {
        let below = directory.strip_prefix(home).unwrap_or(directory);
        let below = match below.as_os_str().as_bytes() {
            b"" => b".",
            below => below,
        };
        let _ = write!(line, " {}", below.escape_ascii());
    }
    let form = |syncer: &Syncer| match &syncer.target {
        Some(target) => format!("{} {target}", syncer.tool.name()),
        None => syncer.tool.name().to_owned(),
    };
    if let Some(syncer) = &proposal.syncer {
        let _ = write!(line, " < {}", form(syncer));
    }
    for syncer in &proposal.choices {
        let _ = write!(line, " ? {}", form(syncer));
    }
    if let Some(server) = &proposal.server {
        let user = server.user.as_deref().unwrap_or("-");
        let _ = write!(line, " @ {user} {}", server.host);
        if let Some(port) = server.port {
            let _ = write!(line, ":{port}");
        }
        line += match server.security {
            Security::Tls => "",
            Security::StartTls => " starttls",
            Security::Nothing => " none",
        };
    }
    line
}

fn check(case: &Case) {
    let home = home(case);
    let report = look_around(case, home.path());
    let lines = report.proposals.iter();
    let lines: Vec<String> = lines.map(|it| line(it, home.path())).collect();
    let reasons = report.proposals.iter().flat_map(|it| &it.reasons);
    let texts: Vec<&String> = reasons.chain(&report.remarks).collect();
    let expected: Vec<&str> = case.accounts.lines().map(str::trim).collect();
    assert_eq!(lines, expected, "{}: {texts:#?}", case.what);
    for said in case.says {
        assert!(
            texts.iter().any(|text| text.contains(said)),
            "{}: nothing says {said:?}: {texts:#?}",
            case.what
        );
    }
    for text in texts {
        assert!(!text.contains("geheim"), "{}: {text}", case.what);
        assert!(!text.contains('\n'), "{}: {text}", case.what);
    }
    let fields = answer::fields(&report);
    assert_eq!(fields.len() % 3, 0);
    assert!(fields.iter().all(|field| !field.contains(&0)));
}

/// The example in mbsync(1).
const MANUAL: &[u8] = b"\
IMAPAccount sample
Host foo.bar.com
#Port 6789
Pass xxxgeheim
CertificateFile /etc/ssl/certs/ca-certificates.crt

IMAPStore sample-remote
Account sample

MaildirStore sample-local
Path ~/Mail/
Inbox ~/Mail/INBOX
SubFolders Verbatim

Channel sample
Far :sample-remote:
Near :sample-local:
Patterns * !Spam
Create Near
";

#[test]
fn mbsync_configurations() {
    let table = [
        Case {
            what: "nothing",
            ..Case::default()
        },
        Case {
            what: "the manual's example",
            files: &[(".mbsyncrc", MANUAL)],
            folders: &["Mail/INBOX", "Mail/a/b"],
            accounts: "sample: Mail < mbsync sample @ - foo.bar.com starttls",
            says: &[
                "from ~/.mbsyncrc line 15: channel sample",
                "from ~/.mbsyncrc line 10: ~/Mail is the Path of store sample-local",
            ],
            ..Case::default()
        },
        Case {
            what: "isyncrc in its new place, and the old one",
            files: &[(".config/isyncrc", MANUAL), (".mbsyncrc", b"Channel a\n")],
            folders: &["Mail/INBOX"],
            accounts: "sample: Mail < mbsync sample @ - foo.bar.com starttls",
            says: &["~/.config/isyncrc line 15", "~/.mbsyncrc is there, too"],
            ..Case::default()
        },
        Case {
            what: "XDG_CONFIG_HOME",
            files: &[("etc/isyncrc", MANUAL)],
            folders: &["Mail/INBOX"],
            environment: &["XDG_CONFIG_HOME=~/etc"],
            accounts: "sample: Mail < mbsync sample @ - foo.bar.com starttls",
            ..Case::default()
        },
        Case {
            what: "Windows line ends, old words, no newline at the end",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore far\r\nHost imaps:h.example\r\nUser me\r\nPort 1993\r\n\r\n\
                  MaildirStore near\r\nPath \"~/my mail/\"\r\n\r\n\
                  channel Old\r\nMASTER :far:\r\nSlave :near:\r\nPattern %",
            )],
            folders: &["my mail/a"],
            accounts: "Old: my mail < mbsync Old @ me h.example:1993",
            ..Case::default()
        },
        Case {
            what: "8-bit names",
            files: &[(
                ".mbsyncrc",
                b"MaildirStore near\nPath ~/M\xe9l/\n\nIMAPStore f\nHost h\n\n\
                  Channel \xe9\nFar :f:\nNear :near:\nPatterns *\n\n\
                  Channel \xc3\xa9\nFar :f:\nNear :other:\n\n\
                  MaildirStore other\nInbox ~/B\xc3\xa9\n",
            )],
            folders: &["Bé"],
            accounts: "(\u{fffd}): M\\xe9l Maildir @ - h starttls
                       é: B\\xc3\\xa9 < mbsync é @ - h starttls",
            says: &["cannot be told", "~/Bé is the Inbox of store other"],
            ..Case::default()
        },
        Case {
            what: "Maildir++ is INBOX's directory, whatever its Path",
            files: &[(
                ".mbsyncrc",
                b"MaildirStore near\nInbox ~/Maildir/\nSubFolders Maildir++\n\nIMAPStore f\n\
                  Host h\nTLSType None\nPort 143\n\nChannel c\nFar :f:\nNear :near:\nPatterns *\n",
            )],
            folders: &["Maildir", "Maildir/.a"],
            accounts: "c: Maildir < mbsync c @ - h:143 none",
            ..Case::default()
        },
        Case {
            what: "INBOX is outside of the Path, where nothing says it",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\nTLSType IMAPS\n\nMaildirStore near\nPath ~/Mail/\n\
                  SubFolders Legacy\n\nChannel c\nFar :f:\nNear :near:\nPatterns *\n",
            )],
            folders: &["Maildir", "Mail/a/.b"],
            accounts: "c: Mail Maildir < mbsync c @ - h",
            says: &["~/Maildir is the Inbox of store near, which names none"],
            ..Case::default()
        },
        Case {
            what: "INBOX that no pattern reaches is not watched",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore near\nPath ~/Mail/\n\n\
                  Channel c\nFar :f:x/\nNear :near:\nPatterns *\n",
            )],
            folders: &["Mail/a"],
            accounts: "c: Mail < mbsync c @ - h starttls",
            ..Case::default()
        },
        Case {
            what: "only INBOX",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore near\nPath ~/Mail/\nInbox ~/in\n\n\
                  Channel c\nFar :f:\nNear :near:\n",
            )],
            folders: &["Mail/a", "in"],
            accounts: "c: in < mbsync c @ - h starttls",
            ..Case::default()
        },
        Case {
            what: "several accounts, and a group over all",
            files: &[(
                ".mbsyncrc",
                b"IMAPAccount a\nHost a.example\nUser me\n\nIMAPAccount b\nHost b.example\n\n\
                  IMAPStore ra\nAccount a\n\nIMAPStore rb\nAccount b\n\n\
                  MaildirStore la\nPath ~/Mail/a/\nInbox ~/Mail/a/INBOX\n\n\
                  MaildirStore lb\nPath ~/Mail/b/\nInbox ~/Mail/b/INBOX\n\n\
                  Channel a\nFar :ra:\nNear :la:\nPatterns *\n\n\
                  Channel b\nFar :rb:\nNear :lb:\nPatterns *\n\nGroup both a b\n",
            )],
            folders: &["Mail/a/INBOX", "Mail/b/INBOX"],
            accounts: "a: Mail/a < mbsync a @ me a.example starttls
                       b: Mail/b < mbsync b @ - b.example starttls",
            ..Case::default()
        },
        Case {
            what: "several channels of a store and their group",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\nUser me\n\nMaildirStore l\nPath ~/Mail/\n\
                  Inbox ~/Mail/INBOX\n\n\
                  Channel in\nFar :f:\nNear :l:\n\n\
                  Channel sent\nFar \":f:[Gmail]/Sent Mail\"\nNear :l:sent\n\n\
                  Channel away\nFar :f:\nNear :m:\n\nMaildirStore m\nInbox ~/other\n\n\
                  Group most\nChannel in\nChannels sent\n\nGroup in in:INBOX sent\n",
            )],
            folders: &["Mail/INBOX", "Mail/sent", "other"],
            accounts: "most: Mail < mbsync most @ me h starttls
                       away: other < mbsync away @ me h starttls",
            says: &["group most, which is channels in, sent"],
            ..Case::default()
        },
        Case {
            what: "several channels of a store, and they are all",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore l\nPath ~/Mail/\nInbox ~/Mail/INBOX\n\n\
                  Channel in\nFar :f:\nNear :l:\n\nChannel x\nFar :f:x\nNear :l:x\n",
            )],
            folders: &["Mail/INBOX"],
            accounts: "mail: Mail < mbsync @ - h starttls",
            says: &["from ~/.mbsyncrc: all that it has, which is channels in, x"],
            ..Case::default()
        },
        Case {
            what: "several channels of a store that nothing stands for",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore l\nPath ~/Mail/\nInbox ~/Mail/INBOX\n\n\
                  Channel in\nFar :f:\nNear :l:\n\nChannel x\nFar :f:x\nNear :l:x\n\n\
                  Channel y\nFar :f:y\nNear :m:\n\nMaildirStore m\nInbox ~/y\n\n\
                  Group g in x y\n",
            )],
            folders: &["Mail/INBOX", "y"],
            accounts: "mail: Mail @ - h starttls
                       y: y < mbsync y @ - h starttls",
            says: &["has no group of just these: it is only watched"],
            ..Case::default()
        },
        Case {
            what: "accounts below one store, by their prefixes",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore a\nHost a\n\nIMAPStore b\nHost b\n\n\
                  MaildirStore l\nSubFolders Verbatim\nPath ~/Mail/\nInbox ~/Mail/INBOX\n\n\
                  Channel a-in\nFar :a:\nNear :l:a/INBOX\n\n\
                  Channel a-all\nFar :a:\nNear :l:a/\nPatterns % !INBOX\n\n\
                  Group a a-in a-all\n\nChannel b\nFar :b:\nNear :l:b/\nPatterns *\n",
            )],
            folders: &["Mail/a/INBOX", "Mail/a/x", "Mail/b/INBOX"],
            accounts: "a: Mail/a < mbsync a @ - a starttls
                       b: Mail/b < mbsync b @ - b starttls",
            ..Case::default()
        },
        Case {
            what: "a group hides a channel of its name",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore l\nInbox ~/l\n\nMaildirStore m\n\
                  Inbox ~/m\n\nChannel a\nFar :f:\nNear :l:\n\nChannel b\nFar :f:\nNear :m:\n\n\
                  Group a b\n",
            )],
            folders: &["l", "m"],
            accounts: "a: l @ - h starttls
                       b: m < mbsync b @ - h starttls",
            says: &["mbsync cannot be told channel a by its name"],
            ..Case::default()
        },
        Case {
            what: "between two Maildirs, and between two servers",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nTunnel \"ssh -q h imapd geheim\"\n\nIMAPStore g\nHost h\n\n\
                  MaildirStore l\nInbox ~/l\n\nMaildirStore m\nInbox ~/m\n\n\
                  Channel a\nFar :m:\nNear :l:\n\nChannel b\nFar :f:\nNear :g:\n\n\
                  Channel c\nFar :f:\nNear :none:\n",
            )],
            folders: &["l", "m"],
            accounts: "a: l m < mbsync a",
            says: &[
                "channel b (line 17) is left out: it syncs no Maildir here",
                "channel c (line 21) is left out",
            ],
            ..Case::default()
        },
        Case {
            what: "what is not there yet, or is all of the home directory",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore l\nPath ~/l/\nInbox ~/l/INBOX\n\n\
                  MaildirStore m\nPath ~/Mail\n\nMaildirStore n\nInbox ~/n\n\n\
                  Channel a\nFar :f:\nNear :l:\nPatterns *\n\n\
                  Channel b\nFar :f:x/\nNear :m:\nPatterns *\n\n\
                  Channel c\nFar :f:\nNear :n:\n\n",
            )],
            folders: &["Mail/x", "n/"],
            accounts: "(a): l < mbsync a @ - h starttls
                       (b): . < mbsync b @ - h starttls
                       (c): n < mbsync c @ - h starttls",
            says: &[
                "~/l is left out: it is not there yet",
                "~ is left out: your home directory is in it",
                "~ is where store m begins, whose Path has no slash at its end",
                "~/n is left out: it holds no folder yet",
            ],
            ..Case::default()
        },
        Case {
            what: "a part that is not there",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore near\nPath ~/Mail/\n\n\
                  Channel c\nFar :f:\nNear :near:\nPatterns *\n",
            )],
            folders: &["Mail/a"],
            accounts: "c: Mail < mbsync c @ - h starttls",
            says: &["~/Maildir is left out: it is not there yet"],
            ..Case::default()
        },
        Case {
            what: "a program that prints some of it",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore l\nInbox ~/l\n\nChannel a\nFar :f:\n\
                  IncludeCmd \"echo geheim\"\nNear :l:\n\nChannel b\nFar :f:b\nNear :l:\n",
            )],
            folders: &["l"],
            accounts: "l: l @ - h starttls",
            says: &["what the command on line 9 of mbsync's configuration prints is not known"],
            ..Case::default()
        },
        Case {
            what: "a line that cannot be read",
            files: &[(".mbsyncrc", b"# x\nMaildirStore l\nPath \"~/Mail\n")],
            says: &[
                "mbsync cannot read ",
                ".mbsyncrc:3: a quote that is not closed",
            ],
            ..Case::default()
        },
        Case {
            what: "two spellings of one store",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore l\nInbox ~/l\n\nMaildirStore m\n\
                  Inbox ~/way/l\n\nChannel a\nFar :f:\nNear :l:\n\n\
                  Channel b\nFar :f:x\nNear :m:\n",
            )],
            folders: &["l"],
            links: &[("way", "")],
            accounts: "l: l < mbsync @ - h starttls",
            ..Case::default()
        },
    ];
    table.iter().for_each(check);
}

/// The minimal one of OfflineIMAP's manual.
const MINIMAL: &[u8] = b"\
[general]
accounts = Test

[Account Test]
localrepository = Local
remoterepository = Remote

[Repository Local]
type = Maildir
localfolders = ~/Test

[Repository Remote]
type = IMAP
remotehost = examplehost
remoteuser = jgoerzen
remotepass = geheim
";

#[test]
fn offlineimap_configurations() {
    let table = [
        Case {
            what: "the manual's example",
            files: &[(".offlineimaprc", MINIMAL)],
            folders: &["Test/INBOX"],
            accounts: "Test: Test < offlineimap Test @ jgoerzen examplehost",
            says: &[
                "from ~/.offlineimaprc line 4: account Test",
                "line 8: ~/Test is localfolders of [Repository Local]",
            ],
            ..Case::default()
        },
        Case {
            what: "in its new place",
            files: &[(".config/offlineimap/config", MINIMAL)],
            folders: &["Test/INBOX"],
            accounts: "Test: Test < offlineimap Test @ jgoerzen examplehost",
            says: &["from ~/.config/offlineimap/config line 4"],
            ..Case::default()
        },
        Case {
            what: "Windows line ends, references, continued lines, Gmail, Python",
            files: &[(
                ".offlineimaprc",
                b"[DEFAULT]\r\nbase = ~/Mail\r\n[general]\r\naccounts = Home,\r\n   Work, Home\r\n\
                  [Account Home]\r\nlocalrepository: h\r\nremoterepository: H\r\n\
                  [Repository h]\r\ntype = GmailMaildir\r\nlocalfolders = %(base)s/home\r\n\
                  sep = /\r\nnametrans = lambda f: {\r\n  'x': 'y'\r\n  }\r\n\
                  [Repository H]\r\ntype = Gmail\r\nremoteuser = me@gmail.com\r\n\
                  remotepasseval = geheim()\r\n\
                  [Account Work]\r\nlocalrepository = w\r\nremoterepository = W\r\n\
                  [Repository w]\r\ntype = Maildir\r\nlocalfolders = $MAIL/work\r\n\
                  [Repository W]\r\ntype = IMAP\r\nssl = no\r\nstarttls = no\r\n\
                  remoteport = 143\r\nremotehost = localhost\r\n\
                  [Account Spare]\r\nlocalrepository = w\r\nremoterepository = W",
            )],
            folders: &["Mail/home/INBOX", "Mail/work/INBOX.a"],
            environment: &["MAIL=~/Mail"],
            accounts: "Home: Mail/home < offlineimap Home @ me@gmail.com imap.gmail.com
                       Work: Mail/work < offlineimap Work @ - localhost:143 none",
            says: &[
                "Python says how",
                "Spare is left out: accounts of [general]",
            ],
            ..Case::default()
        },
        Case {
            what: "two accounts on one Maildir, and one that keeps none",
            files: &[(
                ".offlineimaprc",
                b"[general]\naccounts = a,b,c,d\n[Account a]\nlocalrepository=l\n\
                  remoterepository=r\n[Account b]\nlocalrepository=l\nremoterepository=r\n\
                  [Account c]\nlocalrepository=r\nremoterepository=r\n\
                  [Repository l]\ntype=Maildir\nlocalfolders=~/l\n\
                  [Repository r]\ntype=IMAP\npreauthtunnel=ssh geheim\n",
            )],
            folders: &["l/x"],
            accounts: "l: l",
            says: &[
                "accounts a, b sync the same directories",
                "account c is left out: [Repository r] keeps no Maildir",
                "has no [Account d]",
            ],
            ..Case::default()
        },
        Case {
            what: "mbsync on the same Maildir",
            files: &[
                (".offlineimaprc", MINIMAL),
                (
                    ".mbsyncrc",
                    b"IMAPStore f\nHost examplehost\n\nMaildirStore l\nPath ~/Test/\n\
                      Inbox ~/Test/INBOX\n\nChannel c\nFar :f:\nNear :l:\nPatterns *\n",
                ),
            ],
            folders: &["Test/INBOX"],
            accounts: "c: Test ? mbsync c ? offlineimap Test",
            says: &[
                "mbsync and offlineimap are both set up",
                "until you choose one",
            ],
            ..Case::default()
        },
        Case {
            what: "mbsync on the same Maildir, where OfflineIMAP has been used",
            files: &[
                (".offlineimaprc", MINIMAL),
                (".offlineimap/Account-Test/x", b""),
                (
                    ".mbsyncrc",
                    b"IMAPStore f\nHost examplehost\n\nMaildirStore l\nPath ~/Test/\n\
                      Inbox ~/Test/INBOX\n\nChannel c\nFar :f:\nNear :l:\nPatterns *\n",
                ),
            ],
            folders: &["Test/INBOX"],
            accounts: "c: Test < offlineimap Test ? mbsync c",
            says: &["offlineimap is the one that has records here"],
            ..Case::default()
        },
        Case {
            what: "mbsync on the same Maildir, where that has been used",
            files: &[
                (".offlineimaprc", MINIMAL),
                (".mbsync/:f:INBOX_:l:INBOX", b""),
                (
                    ".mbsyncrc",
                    b"IMAPStore f\nHost examplehost\n\nMaildirStore l\nPath ~/Test/\n\
                      Inbox ~/Test/INBOX\n\nChannel c\nFar :f:\nNear :l:\nPatterns *\n",
                ),
            ],
            folders: &["Test/INBOX"],
            accounts: "c: Test < mbsync c ? offlineimap Test",
            ..Case::default()
        },
        Case {
            what: "mbsync since 1.5 has its records elsewhere, and may have them in the folders",
            files: &[
                (".offlineimaprc", MINIMAL),
                (".local/state/isync/:f:INBOX_:l:INBOX", b""),
                (
                    ".mbsyncrc",
                    b"IMAPStore f\nHost examplehost\n\nMaildirStore l\nInbox ~/Test\n\n\
                      Channel c\nFar :f:\nNear :l:\n",
                ),
            ],
            folders: &["Test"],
            accounts: "c: Test < mbsync c ? offlineimap Test",
            ..Case::default()
        },
        Case {
            what: "who has the records syncs more than the other",
            files: &[
                (".offlineimaprc", MINIMAL),
                (".mbsync/:f:INBOX_:l:INBOX", b""),
                (
                    ".mbsyncrc",
                    b"IMAPStore f\nHost examplehost\n\nMaildirStore l\nPath ~/Test/\n\
                      Inbox ~/in\n\nChannel c\nFar :f:\nNear :l:\nPatterns *\n",
                ),
            ],
            folders: &["Test/a", "in"],
            accounts: "c: Test in ? mbsync c ? offlineimap Test",
            ..Case::default()
        },
        Case {
            what: "records in the folders",
            files: &[
                (".offlineimaprc", MINIMAL),
                ("Test/.mbsyncstate", b""),
                (
                    ".mbsyncrc",
                    b"SyncState *\nIMAPStore f\nHost examplehost\n\nMaildirStore l\n\
                      Inbox ~/Test\n\nChannel c\nFar :f:\nNear :l:\n",
                ),
            ],
            folders: &["Test"],
            accounts: "c: Test < mbsync c ? offlineimap Test",
            ..Case::default()
        },
        Case {
            what: "beside mbsync",
            files: &[
                (".offlineimaprc", MINIMAL),
                (
                    ".mbsyncrc",
                    b"SyncState *\nIMAPStore f\nHost h\n\nMaildirStore l\nInbox ~/l\n\n\
                      Channel Test\nFar :f:\nNear :l:\n",
                ),
            ],
            folders: &["Test/INBOX", "l"],
            accounts: "Test: l < mbsync Test @ - h starttls
                       Test 2: Test < offlineimap Test @ jgoerzen examplehost",
            ..Case::default()
        },
    ];
    table.iter().for_each(check);
}

#[test]
fn what_others_name() {
    let table = [
        Case {
            what: "$MAILDIR, and then not ~/Maildir",
            folders: &["Maildir", "in"],
            environment: &["MAILDIR=~/in/"],
            accounts: "mail: in",
            says: &["from $MAILDIR: ~/in"],
            ..Case::default()
        },
        Case {
            what: "$MAILDIR that is not there",
            environment: &["MAILDIR=~/in"],
            says: &["from $MAILDIR: ~/in, but it is not there yet"],
            ..Case::default()
        },
        Case {
            what: "~/Maildir",
            folders: &["Maildir/.a"],
            accounts: "mail: Maildir",
            ..Case::default()
        },
        Case {
            what: "~/Maildir that mbsync syncs",
            files: &[(
                ".mbsyncrc",
                b"IMAPStore f\nHost h\n\nMaildirStore near\n\nChannel c\nFar :f:\nNear :near:\n",
            )],
            folders: &["Maildir"],
            accounts: "c: Maildir < mbsync c @ - h starttls",
            ..Case::default()
        },
        Case {
            what: "nnmaildir with links into what is known, and with others",
            files: &[(".mbsyncrc", MANUAL)],
            folders: &["Mail/INBOX", "Mail/a", "far/b", "own/c"],
            links: &[
                ("known/INBOX", "Mail/INBOX"),
                ("known/a", "Mail/a"),
                ("mixed/a", "Mail/a"),
                ("mixed/b", "far/b"),
            ],
            gnus: &[("k", "known"), ("m", "mixed"), ("", "own/"), ("n", "none")],
            accounts: "sample: Mail < mbsync sample @ - foo.bar.com starttls
                       m: mixed
                       nnmaildir: own",
            says: &[
                "from Gnus: the server nnmaildir:m shows ~/mixed",
                "nnmaildir:n shows ~/none, but it is not there yet",
            ],
            ..Case::default()
        },
    ];
    table.iter().for_each(check);
}

#[test]
fn a_long_configuration_is_no_work() {
    let mut text = String::new();
    let mut folders = Vec::new();
    for number in 0..25 {
        let _ = write!(
            text,
            "IMAPAccount a{number}\nHost h{number}.example.org\nUser me\nPassCmd \"pass {number}\"\n\n\
             IMAPStore r{number}\nAccount a{number}\n\n\
             MaildirStore l{number}\nPath ~/Mail/a{number}/\nInbox ~/Mail/a{number}/INBOX\n\
             SubFolders Verbatim\n\n\
             Channel c{number}\nFar :r{number}:\nNear :l{number}:\nPatterns *\nCreate Both\n\n"
        );
        folders.push(format!("Mail/a{number}/INBOX"));
    }
    assert!(text.lines().count() > 450);
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join(".mbsyncrc"), text).expect("a file");
    for folder in folders {
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(home.path().join(&folder).join(part)).expect("a folder");
        }
    }
    let begun = std::time::Instant::now();
    let report = look_around(&Case::default(), home.path());
    println!("discovered 25 accounts in {:?}", begun.elapsed());
    assert_eq!(report.proposals.len(), 25);
    assert!(report.proposals.iter().all(|it| it.syncer.is_some()));
}
