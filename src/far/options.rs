//! The command line of mailsync-watch: from words to what is wanted.  Pure: nothing here looks at a
//! disk or at the environment.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::names::{Naming, Template};
use crate::coalesce::Delays;
use crate::maildir::Layout;
use crate::remote::protocol::Dialect;

/// What `--help` prints.
pub const HELP: &str = "\
Usage: mailsync-watch [OPTION]...
Watch a maildir; print an empty line when it is being watched, then the name of each folder in
which something changed.  An empty line later on: anything may have changed.

  -m, --maildir=DIR    watch DIR; may be repeated (default: $MAILDIR, else ~/Maildir)
      --layout=LAYOUT  auto (default), maildir++ (.a.b) or nested (a/b)
      --delay=SECONDS  merge changes of a folder until it was quiet so long (default: 0.2)
      --poll=SECONDS   look so often, instead of asking the kernel; 0: never look, and end
                       where the kernel's limits do not let all be watched
  -t, --template=STR   put each name into STR in place of %s
  -i, --inbox=STR      call the inbox STR instead of INBOX
      --attach         name a folder only when the Gnus of an Emacs on this machine that has
                       `mailsync-listen' set has checked it; without one watch as always
      --socket=FILE    attach to the Emacs that listens there
      --kinds          say what changed, too: the protocol of mailsync's own client
  -V, --version        print the version
  -?, -h, --help       print this

It ends when its standard input (a pipe or a socket) or the reader of its output does.
Exit status: 0 asked to end, 1 error, 64 usage, 69 kernel's limit with --poll=0.
";

/// Longest time that means anything (a year).
const MOST_SECONDS: f64 = 31_536_000.0;

/// To look more often would be all that the program does.
const LEAST_POLL: Duration = Duration::from_millis(10);

/// How much longer than the quiet time a folder that is never quiet waits, as mailsync's own defaults
/// have it (0.2 s and 2 s).
const PATIENCE: u32 = 10;

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Watch.
    Watch(Options),
    /// Print the version.
    Version,
    /// Print `HELP`.
    Help,
}

/// How often to look where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    /// Where it must be.
    #[default]
    Needed,
    /// Everywhere, so often, and the kernel is not asked.
    Every(Duration),
    /// Not at all.
    Refused,
}

/// Which Emacs to attach to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// None.
    #[default]
    No,
    /// The one at the default socket.
    Default,
    /// The one at this socket.
    Socket(PathBuf),
}

/// How to watch, and what.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// As given; none: by the environment.
    pub maildirs: Vec<PathBuf>,
    /// Which layouts to look for.
    pub layout: Layout,
    /// How long changes are merged.
    pub delays: Delays,
    /// How often to look.
    pub poll: Poll,
    /// Whether an Emacs says what to tell.
    pub attach: Attach,
    /// How folders are called.
    pub naming: Naming,
    /// How changes are said.
    pub dialect: Dialect,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            maildirs: Vec::new(),
            layout: Layout::Auto,
            delays: delays(Duration::from_millis(200)),
            poll: Poll::default(),
            attach: Attach::default(),
            naming: Naming::default(),
            dialect: Dialect::default(),
        }
    }
}

fn delays(quiet: Duration) -> Delays {
    Delays {
        quiet,
        longest: quiet * PATIENCE,
    }
}

/// What these arguments (without the program's name) ask for.
///
/// # Errors
/// When they are not right, in words for the user.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Wanted, String> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Short('m') | Long("maildir") => {
                let directory = parser.value().map_err(text)?;
                if directory.is_empty() {
                    return Err("--maildir wants a directory".to_owned());
                }
                options.maildirs.push(directory.into());
            }
            Long("layout") => {
                let layout = parser.value().map_err(text)?;
                options.layout = match layout.to_str() {
                    Some("auto") => Layout::Auto,
                    Some("maildir++") => Layout::MaildirPlusPlus,
                    Some("nested") => Layout::Nested,
                    _ => return Err("--layout wants auto, maildir++ or nested".to_owned()),
                };
            }
            Long("delay") => options.delays = delays(seconds("--delay", &mut parser)?),
            Long("poll") => {
                options.poll = match seconds("--poll", &mut parser)? {
                    Duration::ZERO => Poll::Refused,
                    period if period >= LEAST_POLL => Poll::Every(period),
                    _ => return Err("--poll wants 0.01 seconds or more, or 0".to_owned()),
                }
            }
            Short('t') | Long("template") => {
                let template = parser.value().map_err(text)?.into_vec();
                options.naming.template = Template::parse(&template)?;
            }
            Short('i') | Long("inbox") => {
                options.naming.inbox = parser.value().map_err(text)?.into_vec();
            }
            // The socket says more, whatever the order.
            Long("attach") if options.attach == Attach::No => options.attach = Attach::Default,
            Long("attach") => {}
            Long("socket") => {
                let socket = parser.value().map_err(text)?;
                if socket.is_empty() {
                    return Err("--socket wants the name of a socket".to_owned());
                }
                options.attach = Attach::Socket(socket.into());
            }
            Long("kinds") => options.dialect = Dialect::Kinds,
            Short('V') | Long("version") => return Ok(Wanted::Version),
            Short('?' | 'h') | Long("help") => return Ok(Wanted::Help),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Wanted::Watch(options))
}

fn text(error: lexopt::Error) -> String {
    error.to_string()
}

fn seconds(option: &str, parser: &mut lexopt::Parser) -> Result<Duration, String> {
    let word = parser.value().map_err(text)?;
    let number = word.to_str().and_then(|text| text.parse::<f64>().ok());
    let number = number.filter(|number| (0.0..=MOST_SECONDS).contains(number));
    number
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{option} wants a number of seconds, from 0 to {MOST_SECONDS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Wanted, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn lines_that_are_right() {
        let default = Options::default;
        let ms = Duration::from_millis;
        let naming = |inbox: &str, template: &[u8]| Naming {
            inbox: inbox.into(),
            template: Template::parse(template).unwrap(),
        };
        let table: Vec<(&str, Options)> = vec![
            ("", default()),
            (
                "--maildir a -m b --maildir=c -md -m=e",
                Options {
                    maildirs: ["a", "b", "c", "d", "e"].map(PathBuf::from).into(),
                    ..default()
                },
            ),
            (
                "--layout nested --layout maildir++",
                Options {
                    layout: Layout::MaildirPlusPlus,
                    ..default()
                },
            ),
            (
                "--delay 0.05 --poll 1.5 --kinds",
                Options {
                    delays: Delays {
                        quiet: ms(50),
                        longest: ms(500),
                    },
                    poll: Poll::Every(ms(1500)),
                    dialect: Dialect::Kinds,
                    ..default()
                },
            ),
            (
                "--poll 0",
                Options {
                    poll: Poll::Refused,
                    ..default()
                },
            ),
            (
                "--template=remote.%s --inbox In",
                Options {
                    naming: naming("In", b"remote.%s"),
                    ..default()
                },
            ),
            (
                "--attach",
                Options {
                    attach: Attach::Default,
                    ..default()
                },
            ),
            (
                "--socket a --attach",
                Options {
                    attach: Attach::Socket("a".into()),
                    ..default()
                },
            ),
            (
                "-t x%s -i y",
                Options {
                    naming: naming("y", b"x%s"),
                    ..default()
                },
            ),
        ];
        for (line, expected) in table {
            assert_eq!(words(line), Ok(Wanted::Watch(expected)), "{line}");
        }
        for line in ["-V", "--version", "-V --bad"] {
            assert_eq!(words(line), Ok(Wanted::Version), "{line}");
        }
        for line in ["-?", "-h", "--help", "-m x --help"] {
            assert_eq!(words(line), Ok(Wanted::Help), "{line}");
        }
        let any = parse([OsString::from_vec(b"-m\xff".to_vec())]);
        let expected = PathBuf::from(OsString::from_vec(b"\xff".to_vec()));
        assert!(matches!(any, Ok(Wanted::Watch(it)) if it.maildirs == [expected]));
    }

    #[test]
    fn lines_that_are_not() {
        let table = [
            ("--bad", "--bad"),
            ("-x", "-x"),
            ("INBOX", "INBOX"),
            ("--maildir", "--maildir"),
            ("-m", "-m"),
            ("--maildir=", "--maildir wants"),
            ("--kinds=yes", "--kinds"),
            ("--attach=yes", "--attach"),
            ("--socket", "--socket"),
            ("--socket=", "--socket wants"),
            ("--layout dovecot", "--layout wants"),
            ("--delay soon", "--delay wants"),
            ("--delay -1", "--delay wants"),
            ("--delay nan", "--delay wants"),
            ("--delay inf", "--delay wants"),
            ("--poll 1e9", "--poll wants"),
            ("--poll=", "--poll wants"),
            ("--poll 1e-9", "--poll wants"),
            ("--template prefix", "%s"),
            ("--template %s%s", "%s"),
        ];
        for (line, expected) in table {
            let error = words(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains('\n'), "{line}: {error}");
        }
    }
}
