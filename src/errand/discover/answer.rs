//! What Lisp is told, in fields: triples of a word and two values, in this order.
//!
//! | word       | values                                                                       |
//! |------------+------------------------------------------------------------------------------|
//! | `account`  | its name; `t` where it can be used as it is                                  |
//! | `maildir`  | a directory of that account, absolute                                        |
//! | `syncer`   | `mbsync` or `offlineimap`, what syncs it; the target, empty for all          |
//! | `choice`   | the same, what could                                                         |
//! | `remote`   | `host`, `port`, `user` or `tls` of its server; the value                     |
//! | `reason`   | where a part of it came from                                                 |
//! | `remark`   | about no account                                                             |
//! | `end`      | always there, and last                                                       |

use std::os::unix::ffi::OsStrExt;

use super::propose::{Proposal, Report, Syncer};
use crate::syncer::survey::{Security, Server};

/// The fields.
pub fn fields(report: &Report) -> Vec<Vec<u8>> {
    let mut fields = Fields::default();
    for proposal in &report.proposals {
        fields.proposal(proposal);
    }
    for remark in &report.remarks {
        fields.put("remark", remark.as_bytes(), b"");
    }
    fields.put("end", b"", b"");
    fields.0
}

#[derive(Default)]
struct Fields(Vec<Vec<u8>>);

impl Fields {
    fn put(&mut self, word: &str, one: &[u8], two: &[u8]) {
        // What a configuration says may hold anything, and a field no NUL.
        let clean = |bytes: &[u8]| bytes.iter().copied().filter(|byte| *byte != 0).collect();
        self.0.extend([word.into(), clean(one), clean(two)]);
    }

    fn proposal(&mut self, proposal: &Proposal) {
        let usable: &[u8] = if proposal.usable { b"t" } else { b"" };
        self.put("account", proposal.name.as_bytes(), usable);
        for directory in &proposal.maildirs {
            self.put("maildir", directory.as_os_str().as_bytes(), b"");
        }
        if let Some(syncer) = &proposal.syncer {
            self.syncer("syncer", syncer);
        }
        for syncer in &proposal.choices {
            self.syncer("choice", syncer);
        }
        if let Some(server) = &proposal.server {
            self.server(server);
        }
        for reason in &proposal.reasons {
            self.put("reason", reason.as_bytes(), b"");
        }
    }

    fn syncer(&mut self, word: &str, syncer: &Syncer) {
        let target = syncer.target.as_deref().unwrap_or_default();
        self.put(word, syncer.tool.name().as_bytes(), target.as_bytes());
    }

    fn server(&mut self, server: &Server) {
        self.put("remote", b"host", server.host.as_bytes());
        if let Some(port) = server.port {
            self.put("remote", b"port", port.to_string().as_bytes());
        }
        if let Some(user) = &server.user {
            self.put("remote", b"user", user.as_bytes());
        }
        match server.security {
            Security::Tls => {}
            Security::StartTls => self.put("remote", b"tls", b"starttls"),
            Security::Nothing => self.put("remote", b"tls", b"none"),
        }
    }
}
