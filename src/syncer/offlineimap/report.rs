//! What OfflineIMAP prints, as records: errors, warnings, and the names of the folders it synced.
//!
//! Its plain interfaces print an error on a line of its own with the reason below it, and all of
//! them once more at the end; `machineui` prints a record a line, urlencoded.  What the records
//! mean for a run is `judge`'s business.

use super::super::{BETWEEN, Output};

/// What was printed, as far as it tells how a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Errors, each with its reason on further lines, in order and each once.
    pub errors: Vec<String>,
    /// All other lines.
    pub remarks: Vec<String>,
    /// Remote and local names of folders.
    pub synced: Vec<(Vec<u8>, Vec<u8>)>,
    /// It asked for a password on its standard input.
    pub asked: bool,
    /// There were more errors than are kept.
    pub cut: bool,
}

impl Report {
    /// Read what a run printed; `machine`: by `machineui`.
    #[must_use]
    pub fn of(output: &Output, machine: bool) -> Self {
        let mut report = Report {
            cut: output.between.len() >= BETWEEN,
            ..Report::default()
        };
        for part in [&output.first, &output.between, &output.last] {
            let mut error = None;
            for line in part.split(|byte| *byte == b'\n') {
                let record = if machine { Record::of(line) } else { None };
                match record {
                    Some(record) => report.record(&record),
                    None => report.line(&mut error, &String::from_utf8_lossy(line)),
                }
            }
            report.end(&mut error);
        }
        report
    }

    fn record(&mut self, record: &Record) {
        let text = || String::from_utf8_lossy(&record.data).into_owned();
        let mut fields = record.data.split(|byte| *byte == b'\n');
        match (record.severity, record.command) {
            (b"msg", b"syncingfolder") => {
                if let (Some(remote), Some(local)) = (fields.nth(1), fields.nth(1)) {
                    self.synced.push((remote.to_vec(), local.to_vec()));
                }
            }
            (b"msg", b"getpass") => self.asked = true,
            // As the other interfaces say it.
            (b"warn", b"validityproblem") => {
                let name = String::from_utf8_lossy(fields.next().unwrap_or_default());
                self.remarks
                    .push(format!("UID validity problem for folder {name} (repo"));
            }
            (b"msg", _) | (b"debug", _) => {}
            _ => {
                let mut error = None;
                for line in text().lines() {
                    self.line(&mut error, line);
                }
                self.end(&mut error);
            }
        }
    }

    /// One more line; `error` is the one that it may belong to.
    fn line(&mut self, error: &mut Option<String>, line: &str) {
        if let Some(text) = line.strip_prefix("ERROR: ") {
            self.end(error);
            // The headline of the summary.
            if text != "Exceptions occurred during the run!" {
                *error = Some(text.to_owned());
            }
        } else if outside(line) {
            self.end(error);
            self.remarks.push(line.to_owned());
        } else if let Some(error) = error {
            if !line.trim().is_empty() {
                error.push('\n');
                error.push_str(line.trim());
            }
        } else if !line.trim().is_empty() {
            self.remarks.push(line.to_owned());
        }
    }

    fn end(&mut self, error: &mut Option<String>) {
        if let Some(error) = error.take()
            && !self.errors.contains(&error)
        {
            self.errors.push(error);
        }
    }
}

/// Whether a line never belongs to the error above it.
fn outside(line: &str) -> bool {
    let heads = [
        "Traceback:",
        "UID validity problem",
        "At least one folder skipped",
        "Preparing to shutdown",
        "Signaled thrice",
        "No accounts are defined",
        "Valid accounts are",
        "PLAIN authentication failed",
        "LOGIN authentication failed",
        "Thread '",
    ];
    heads.iter().any(|head| line.starts_with(head))
}

/// A line of `machineui`: `severity:command:thread:data`.
struct Record<'a> {
    severity: &'a [u8],
    command: &'a [u8],
    data: Vec<u8>,
}

impl<'a> Record<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b':');
        let severity = parts.next()?;
        let command = parts.next()?;
        let _thread = parts.next()?;
        let data = decode(parts.next()?);
        let known: [&[u8]; 5] = [b"msg", b"warn", b"error", b"debug", b"critical"];
        known.contains(&severity).then_some(Record {
            severity,
            command,
            data,
        })
    }
}

/// What is urlencoded in `text`.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.get(..2).and_then(|two| str::from_utf8(two).ok());
        // The parser of numbers would take a sign.
        let digits = digits.filter(|digits| !digits.starts_with('+'));
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, value) {
            (b'+', _) => decoded.push(b' '),
            (b'%', Some(value)) => {
                decoded.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, machine: bool) -> Report {
        let output = Output {
            first: text.as_bytes().to_vec(),
            ..Output::default()
        };
        Report::of(&output, machine)
    }

    #[test]
    fn plain_errors_have_reasons() {
        let text = "\
PLAIN authentication failed: x
ERROR: All authentication types failed:
\tPLAIN: b'[AUTHENTICATIONFAILED] no'
ERROR: ERROR in syncfolder for home folder a/b: Traceback (most recent call last):
  File \"x\", line 1, in y
imaplib2.abort: cut

  cut
UID validity problem for folder a (repo r)
ERROR: Exceptions occurred during the run!
ERROR: All authentication types failed:
\tPLAIN: b'[AUTHENTICATIONFAILED] no'

Traceback:
  File \"x\", line 1, in y
";
        let report = report(text, false);
        let errors = [
            "All authentication types failed:\nPLAIN: b'[AUTHENTICATIONFAILED] no'",
            "ERROR in syncfolder for home folder a/b: Traceback (most recent call last):\n\
             File \"x\", line 1, in y\nimaplib2.abort: cut\ncut",
        ];
        assert_eq!(report.errors, errors);
        let remarks = [
            "PLAIN authentication failed: x",
            "UID validity problem for folder a (repo r)",
            "Traceback:",
            "  File \"x\", line 1, in y",
        ];
        assert_eq!(report.remarks, remarks);
    }

    #[test]
    fn records_are_decoded() {
        let text = "\
OfflineIMAP 8.0.0
msg:syncingfolder:Folder+x:IMAP%0A50%25+%26AOk-%0AMaildir%0A.50%25%0A
msg:copyingmessage:t:ERROR%3A+never
msg:getpass:t:alice
warn:validityproblem:t:a+b%0Aremote%0A1%0A2
error::t:ERROR%3A+While+x%0A++%28-1%2C+%27could+not+open+socket%27%29
error::t:ERROR%3A+While+x%0A++%28-1%2C+%27could+not+open+socket%27%29
later:and:so:on
";
        let expected = Report {
            errors: vec!["While x\n(-1, 'could not open socket')".to_owned()],
            remarks: vec![
                "OfflineIMAP 8.0.0".to_owned(),
                "UID validity problem for folder a b (repo".to_owned(),
                "later:and:so:on".to_owned(),
            ],
            synced: vec![(b"50% &AOk-".to_vec(), b".50%".to_vec())],
            asked: true,
            cut: false,
        };
        assert_eq!(report(text, true), expected);
    }

    #[test]
    fn anything_decodes() {
        let table: [(&[u8], &[u8]); 7] = [
            (b"%+2", b"% 2"),
            (b"a+b", b"a b"),
            (b"%2B%25%0a", b"+%\n"),
            (b"%", b"%"),
            (b"%2", b"%2"),
            (b"%zz", b"%zz"),
            (b"\xff%FF", b"\xff\xff"),
        ];
        for (text, decoded) in table {
            assert_eq!(decode(text), decoded, "{}", text.escape_ascii());
        }
    }
}
