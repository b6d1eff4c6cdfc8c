//! How a session logs in.

use std::time::Instant;

use super::super::response::{Remark, Status};
use super::super::sasl::{self, Mechanism};
use super::super::secret::{Secret, Secretive};
use super::{Act, Phase, Session, What, Why};

/// A login that is under way.
#[derive(Debug)]
pub(super) struct Login {
    mechanism: Mechanism,
    secret: Secret,
    /// What is still to be said when the server wants more, the last first.
    rest: Vec<Secretive>,
    /// What the server explained.
    explained: String,
    /// It is the second way that is tried.
    again: bool,
}

impl Session {
    /// Nobody has logged in: that needs the secret, unless it cannot be done at all.
    pub(super) fn ask(&mut self) {
        if self.mechanism().is_none() {
            let what = if self.settings.token {
                "a token (it has neither OAUTHBEARER nor XOAUTH2); use :secret-command or auth-source"
            } else if self.has("LOGINDISABLED") {
                "a password on this connection (LOGINDISABLED); set :tls in :remote"
            } else {
                "a password"
            };
            self.end(Why::Config, format!("the server does not take {what}"));
            return;
        }
        self.phase = Phase::Asking;
        self.acts.push(Act::Ask);
    }

    fn mechanism(&self) -> Option<Mechanism> {
        let capabilities = self.capabilities.as_ref()?;
        let best = || Mechanism::choose(capabilities, self.settings.token);
        match self.settings.mechanism {
            Some(Mechanism::Login) if capabilities.has("LOGINDISABLED") => None,
            Some(mechanism) => Some(mechanism),
            None => best(),
        }
    }

    pub(super) fn log_in(&mut self, now: Instant, secret: Secret) {
        if self.phase != Phase::Asking {
            return;
        }
        match self.mechanism() {
            Some(mechanism) => {
                self.phase = Phase::LoggingIn;
                self.try_login(now, mechanism, secret, false);
            }
            // Meanwhile the server has said that it takes none.
            None => self.ask(),
        }
    }

    fn try_login(&mut self, now: Instant, mechanism: Mechanism, secret: Secret, again: bool) {
        let (command, rest) = match mechanism.name() {
            Some(name) => {
                let (user, host) = (&self.settings.user, &self.settings.host);
                let initial = mechanism.initial(user, &secret, host, self.settings.port);
                let mut command = Secretive::new(format!("AUTHENTICATE {name}").into_bytes());
                if self.has("SASL-IR") && !again {
                    command.reserve_exact(initial.len() + 1);
                    command.push(b' ');
                    command.extend_from_slice(&initial);
                    (command, Vec::new())
                } else {
                    let mut line = Secretive::new(Vec::with_capacity(initial.len() + 2));
                    line.extend_from_slice(&initial);
                    line.extend_from_slice(b"\r\n");
                    (command, vec![line])
                }
            }
            None => login_command(&self.settings.user, &secret),
        };
        self.login = Some(Login {
            mechanism,
            secret,
            rest,
            explained: String::new(),
            again,
        });
        self.command(now, What::Login, &command);
    }

    /// The server wants more, or explains why it refuses.
    pub(super) fn more_login(&mut self, bytes: &[u8]) {
        let Some(login) = &mut self.login else {
            return;
        };
        let answer = login.rest.pop().unwrap_or_else(|| {
            login.explained = sasl::explanation(bytes);
            Secretive::new(login.mechanism.acknowledgement().to_vec())
        });
        self.acts.push(Act::Send(answer));
    }

    pub(super) fn logged_in(&mut self, now: Instant, status: Status, remark: &Remark) {
        let Some(login) = self.login.take() else {
            return;
        };
        if status == Status::Ok {
            self.phase = Phase::Guest;
            // Some of it is offered only now.
            self.capabilities = remark.capabilities();
            return;
        }
        // Some servers offer what they do not understand.
        if status == Status::Bad && !login.again && login.mechanism.name().is_some() {
            let other = match login.mechanism {
                Mechanism::Plain if !self.has("LOGINDISABLED") => Mechanism::Login,
                same => same,
            };
            self.try_login(now, other, login.secret, true);
            return;
        }
        let why = match remark.code.as_str() {
            "UNAVAILABLE" | "LIMIT" | "INUSE" | "SERVERBUG" | "OVERQUOTA" => Why::Lost,
            "PRIVACYREQUIRED" => Why::Config,
            _ => Why::Refused,
        };
        let mut text = remark.text.as_str();
        if !login.explained.is_empty() {
            text = text.trim_end_matches('.');
        }
        let said = [text, login.explained.as_str()];
        let said: Vec<&str> = said.into_iter().filter(|it| !it.is_empty()).collect();
        let user = super::super::response::shown(&self.settings.user);
        let said = said.join(": ");
        self.end(why, format!("the server does not let {user} in: {said}"));
    }
}

/// Whether a code says that the secret, or who gives it, is refused (RFC 5530, 3).
pub(super) fn is_refusal(code: &str) -> bool {
    matches!(
        code,
        "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "EXPIRED"
    )
}

/// The command LOGIN, and what follows where it needs literals, the last first.
fn login_command(user: &[u8], secret: &Secret) -> (Secretive, Vec<Secretive>) {
    let arguments = [user, secret.expose()];
    // Room for all of it, so that no copy is left behind.
    let line = || Secretive::new(Vec::with_capacity(user.len() + secret.expose().len() + 64));
    let mut command = line();
    command.extend_from_slice(b"LOGIN");
    let mut rest = Vec::new();
    for argument in arguments {
        let line_so_far = rest.last_mut().unwrap_or(&mut command);
        if let Some(quoted) = sasl::quoted(argument) {
            line_so_far.push(b' ');
            line_so_far.extend_from_slice(&quoted);
        } else {
            line_so_far.extend_from_slice(format!(" {{{}}}", argument.len()).as_bytes());
            let mut literal = line();
            literal.extend_from_slice(argument);
            rest.push(literal);
        }
    }
    // The command gets its line end, as all do; what follows it has to bring its own.
    for literal in &mut rest {
        literal.extend_from_slice(b"\r\n");
    }
    rest.reverse();
    (command, rest)
}
