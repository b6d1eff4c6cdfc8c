//! How a user logs in (RFC 4616, RFC 7628, Google's XOAUTH2, RFC 3501 6.2.3).  Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::response::Capabilities;
use super::secret::{Secret, Secretive};

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// AUTHENTICATE PLAIN.
    Plain,
    /// The command LOGIN.
    Login,
    /// AUTHENTICATE XOAUTH2, with a token.
    Xoauth2,
    /// AUTHENTICATE OAUTHBEARER, with a token.
    Oauthbearer,
}

impl Mechanism {
    /// Its name after AUTHENTICATE; none for the command.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Mechanism::Plain => Some("PLAIN"),
            Mechanism::Xoauth2 => Some("XOAUTH2"),
            Mechanism::Oauthbearer => Some("OAUTHBEARER"),
            Mechanism::Login => None,
        }
    }

    /// The best one that the server offers, for a token or for a password.
    #[must_use]
    pub fn choose(capabilities: &Capabilities, token: bool) -> Option<Self> {
        let offered = |mechanism: &Mechanism| match mechanism.name() {
            Some(name) => capabilities.has(&format!("AUTH={name}")),
            None => !capabilities.has("LOGINDISABLED"),
        };
        let known: &[Mechanism] = if token {
            &[Mechanism::Oauthbearer, Mechanism::Xoauth2]
        } else {
            &[Mechanism::Plain, Mechanism::Login]
        };
        known.iter().copied().find(offered)
    }

    /// What is said first, in base64.
    #[must_use]
    pub fn initial(self, user: &[u8], secret: &Secret, host: &str, port: u16) -> Secretive {
        let secret = secret.expose();
        let port = port.to_string();
        let parts: &[&[u8]] = match self {
            Mechanism::Plain | Mechanism::Login => &[b"\0", user, b"\0", secret],
            Mechanism::Xoauth2 => &[b"user=", user, b"\x01auth=Bearer ", secret, b"\x01\x01"],
            Mechanism::Oauthbearer => &[
                b"n,a=",
                &escaped(user),
                b",\x01host=",
                host.as_bytes(),
                b"\x01port=",
                port.as_bytes(),
                b"\x01auth=Bearer ",
                secret,
                b"\x01\x01",
            ],
        };
        let mut plain = Zeroizing::new(Vec::with_capacity(parts.iter().map(|it| it.len()).sum()));
        for part in parts {
            plain.extend_from_slice(part);
        }
        Secretive::new(STANDARD.encode(&plain[..]).into_bytes())
    }

    /// What is said to a server that explains why it refuses, so that it goes on to refuse.
    #[must_use]
    pub fn acknowledgement(self) -> &'static [u8] {
        match self {
            // An empty answer, and one with a single byte 1 (RFC 7628, 3.2.3).
            Mechanism::Oauthbearer => b"AQ==\r\n",
            _ => b"\r\n",
        }
    }
}

/// RFC 5801: a name in front of a comma.
fn escaped(user: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(user.len());
    for byte in user {
        match byte {
            b'=' => escaped.extend(b"=3D"),
            b',' => escaped.extend(b"=2C"),
            _ => escaped.push(*byte),
        }
    }
    escaped
}

/// The text of such an explanation: base64 of JSON.
#[must_use]
pub fn explanation(bytes: &[u8]) -> String {
    let text = STANDARD.decode(bytes).unwrap_or_default();
    super::response::shown(&text)
}

/// A string as an argument (RFC 3501, 4.3); `None` where only a literal can say it.
#[must_use]
pub fn quoted(bytes: &[u8]) -> Option<Secretive> {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if !bytes.iter().all(plain) {
        return None;
    }
    let mut quoted = Secretive::new(Vec::with_capacity(bytes.len() + 2));
    quoted.push(b'"');
    quoted.extend_from_slice(bytes);
    quoted.push(b'"');
    Some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mechanism: Mechanism, user: &str, secret: &str) -> String {
        let secret = Secret::new(secret.into());
        let encoded = mechanism.initial(user.as_bytes(), &secret, "imap.example.org", 993);
        String::from_utf8(STANDARD.decode(&encoded[..]).expect("base64")).expect("text")
    }

    #[test]
    fn what_is_said_first() {
        // The examples of RFC 4616 and RFC 7628, with other names.
        assert_eq!(said(Mechanism::Plain, "tim", "tanstaaf"), "\0tim\0tanstaaf");
        assert_eq!(said(Mechanism::Plain, "jürgen", "ä\"\\"), "\0jürgen\0ä\"\\");
        assert_eq!(
            said(Mechanism::Xoauth2, "me@example.org", "ya29"),
            "user=me@example.org\x01auth=Bearer ya29\x01\x01"
        );
        assert_eq!(
            said(Mechanism::Oauthbearer, "a,b=c", "ya29"),
            "n,a=a=2Cb=3Dc,\x01host=imap.example.org\x01port=993\x01auth=Bearer ya29\x01\x01"
        );
    }

    #[test]
    fn the_best_that_is_offered() {
        let table = [
            ("IMAP4rev1 AUTH=PLAIN", false, Some(Mechanism::Plain)),
            ("IMAP4rev1", false, Some(Mechanism::Login)),
            ("LOGINDISABLED AUTH=PLAIN", false, Some(Mechanism::Plain)),
            ("LOGINDISABLED AUTH=GSSAPI", false, None),
            ("AUTH=XOAUTH2 AUTH=PLAIN", true, Some(Mechanism::Xoauth2)),
            (
                "auth=xoauth2 AUTH=OAUTHBEARER",
                true,
                Some(Mechanism::Oauthbearer),
            ),
            ("AUTH=PLAIN", true, None),
        ];
        for (words, token, expected) in table {
            let remark = super::super::response::Remark {
                code: "CAPABILITY".to_owned(),
                argument: words.to_owned(),
                text: String::new(),
            };
            let capabilities = remark.capabilities().expect("capabilities");
            assert_eq!(Mechanism::choose(&capabilities, token), expected, "{words}");
        }
    }

    #[test]
    fn strings_that_can_be_quoted() {
        let quoted = |text: &str| {
            quoted(text.as_bytes()).map(|it| String::from_utf8_lossy(&it).into_owned())
        };
        assert_eq!(quoted("a b{3}").as_deref(), Some("\"a b{3}\""));
        assert_eq!(quoted("").as_deref(), Some("\"\""));
        for text in ["a\"b", "a\\b", "a\r\nb", "ä", "a\0"] {
            assert_eq!(quoted(text), None);
        }
    }
}
