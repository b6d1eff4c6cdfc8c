//! The little of IMAP that it takes to change a mailbox and to read it.
#![allow(dead_code)] // each test target uses its part

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer: a line, without its literal, and that.
type Answer = (String, Vec<u8>);

/// A connection with a folder selected.
pub struct Imap {
    stream: BufReader<TcpStream>,
    tag: u32,
}

/// A message of the selected folder.
#[derive(Debug)]
pub struct Mail {
    pub uid: u32,
    /// Letters as in Maildir names, in their order.
    pub flags: String,
    pub text: Vec<u8>,
}

impl Imap {
    pub fn open(port: u16, user: &str, folder: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        let mut imap = Imap {
            stream: BufReader::new(stream),
            tag: 0,
        };
        imap.line()?;
        imap.command(&format!("LOGIN {user} secret"), b"")?;
        imap.select(folder)?;
        Ok(imap)
    }

    /// Select a folder; how many messages are in it.
    pub fn select(&mut self, folder: &str) -> io::Result<u64> {
        let answers = self.command(&format!("SELECT \"{folder}\""), b"")?;
        let exists = answers.iter().find_map(|(line, _)| {
            let number = line.strip_prefix("* ")?.strip_suffix(" EXISTS")?;
            number.parse().ok()
        });
        Ok(exists.unwrap_or(0))
    }

    pub fn append(&mut self, folder: &str, text: &[u8]) -> io::Result<()> {
        let command = format!("APPEND \"{folder}\" {{{}}}", text.len());
        self.command(&command, text).map(drop)
    }

    /// What is fetched of these messages: all of the text, or the subject alone.
    pub fn fetch(&mut self, numbers: &str, what: &str) -> io::Result<Vec<Mail>> {
        let command = format!("FETCH {numbers} (UID FLAGS BODY.PEEK[{what}])");
        let answers = self.command(&command, b"")?.into_iter();
        let mails = answers.filter_map(|(line, text)| {
            let uid = line.split_once("UID ")?.1;
            let uid = uid.split([' ', ')']).next()?.parse().ok()?;
            let (flags, _) = line.split_once("FLAGS (")?.1.split_once(')')?;
            let mut flags: Vec<_> = flags.split(' ').filter_map(letter).collect();
            flags.sort_unstable();
            let flags = flags.into_iter().collect();
            (!text.is_empty()).then_some(Mail { uid, flags, text })
        });
        Ok(mails.collect())
    }

    pub fn command(&mut self, text: &str, literal: &[u8]) -> io::Result<Vec<Answer>> {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        self.say(format!("{tag} {text}\r\n").as_bytes())?;
        let mut answers = Vec::new();
        loop {
            let (line, value) = self.line()?;
            if line.starts_with('+') {
                self.say(&[literal, b"\r\n"].concat())?;
            } else if let Some(result) = line.strip_prefix(&format!("{tag} ")) {
                if result.starts_with("OK") {
                    return Ok(answers);
                }
                return Err(io::Error::other(format!("{text}: {result}")));
            } else {
                answers.push((line, value));
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> io::Result<Answer> {
        let (mut whole, mut literal) = (String::new(), Vec::new());
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end_matches(['\r', '\n']);
            let length = line.strip_suffix('}').and_then(|it| it.rsplit_once('{'));
            let length = length.and_then(|(before, it)| Some((before, it.parse().ok()?)));
            let Some((before, length)) = length else {
                whole += line;
                return Ok((whole, literal));
            };
            whole += before;
            literal = vec![0; length];
            self.stream.read_exact(&mut literal)?;
        }
    }
}

fn letter(flag: &str) -> Option<char> {
    Some(match flag {
        "\\Draft" => 'D',
        "\\Flagged" => 'F',
        "\\Answered" => 'R',
        "\\Seen" => 'S',
        "\\Deleted" => 'T',
        _ => return None,
    })
}
