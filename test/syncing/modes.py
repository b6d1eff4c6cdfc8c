"""Each way in which README has a server watched: connected, cut, made anew, let in no longer, and what is shown then.

One Dovecot, which can do more or less at each of its addresses; Gnus reads it by nnimap.  mailsync comes to it
through relays, with a user's name of its own for the same mail, so that its line can be cut and its
password revoked while Gnus goes on.
"""
import http.server
import json
import os
import subprocess
import threading

from syncing.emacs import lisp
from syncing.imap import DOVECOT, Imap
from syncing.relay import Relay, free_port

# What it can do where it cannot do all.
ADDRESSES = """
local 127.0.0.2 {
  protocol imap {
    imap_capability = IMAP4rev1 SASL-IR ID ENABLE IDLE NAMESPACE LIST-EXTENDED CONDSTORE QRESYNC LIST-STATUS
  }
}
local 127.0.0.3 {
  protocol imap {
    imap_capability = IMAP4rev1 NAMESPACE
  }
}
"""
PASSWORDS = """
auth_mechanisms = plain login xoauth2 oauthbearer
passdb {
  driver = passwd-file
  args = %(dir)s/passwords
}
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = %(dir)s/oauth
}
"""
OAUTH = """
introspection_mode = get
introspection_url = http://127.0.0.1:%d/?token=
username_attribute = username
active_attribute = active
active_value = true
"""


class Provider:
    """What says which tokens are good."""

    def __init__(self):
        provider, self.token, self.asked = self, "first", 0

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                provider.asked += 1
                good = self.path == "/?token=" + provider.token
                text = json.dumps({"active": "true", "username": "alice"} if good else {"active": "false"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Modes(Imap):
    def start_server(self):
        self.provider, self.tls = Provider(), free_port()
        self.extra = (DOVECOT + "listen = 127.0.0.1, 127.0.0.2, 127.0.0.3\n" + ADDRESSES
                      + PASSWORDS % {"dir": self.dir})
        with open(self.dir + "/oauth", "w", encoding="utf-8") as file:
            file.write(OAUTH % self.provider.server.server_port)
        self.secret("first")
        super().start_server()
        shown = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in",
                                self.dir + "/dovecot/cert.pem"], check=True, capture_output=True, text=True).stdout
        self.fingerprint = "SHA256:" + shown.strip().partition("=")[2]
        # What it can do depends on its address.
        self.notify, self.idle, self.little = (Relay(self.port, "127.0.0.%d" % number) for number in (1, 2, 3))
        self.by_tls = Relay(self.tls)
        self.relays = [self.notify, self.idle, self.little, self.by_tls]

    def secret(self, word, known=True):
        """The server takes this password, or token; known says whether it can be found where it is looked for."""
        self.provider.token = word
        self.write("passwords", "watcher:{PLAIN}%s::::::user=alice\n" % word)
        if known:
            self.write("secret", word + "\n")
        if known and self.emacs:
            lines = ["machine %s port %d login watcher password %s\n" % (relay.host, relay.port, word)
                     for relay in self.relays]
            gnus = "machine 127.0.0.1 port %d login alice password secret\n" % self.port
            self.write("authinfo", gnus + "".join(lines), self.emacs.work)

    def write(self, name, text, directory=None):
        path = os.path.join(directory or self.dir, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def watch(self, store):
        """Have it watched, by this value of `:remote'."""
        self.emacs.do("(progn (setq mailsync-accounts '((\"w\" :remote %s))) (mailsync-restart))" % store)
        self.wait_far_end("connected")

    def shown(self, state):
        """This is what a user sees: the mode line of *Group*."""
        if self.emacs.mode == "tmux":
            self.emacs.wait("[%s] on the screen" % state, lambda: "[%s]" % state in self.emacs.screen())
        else:
            self.wait_mode_line("[%s]" % state)

    def counts(self, subject, name="INBOX", meanwhile=lambda: None):
        """A message, and what comes of it."""
        before = self.unread(name)
        self.append(self.boxes[name], subject)
        meanwhile()
        self.emacs.wait("%s in %s in *Group*" % (subject, name), lambda: self.unread(name) == before + 1, 60)

    def day(self, words, relay, keys, name="INBOX", user="watcher"):
        """A day with a server that is watched in this way."""
        host = relay.host
        store = '(imap :host "%s" :port %d :user "%s" %s)' % (host, relay.port, user, keys)
        self.secret("first")
        self.watch(store)
        self.shown("watching")
        self.wait_status("connected", words, "last news")
        self.counts("told", name)
        # The line is cut, and there is none for a while.
        relay.set("refuse")
        self.shown("offline")
        self.wait_status("offline", "Connection refused", "next try")
        self.counts("missed", name, lambda: relay.set("pass"))
        self.shown("watching")
        self.wait_status("connected")
        # The password is another one.
        self.secret("second", known=False)
        relay.set("refuse")
        relay.set("pass")
        self.shown("paused")
        self.wait_status("not watched until M-x mailsync-resume", "does not let %s in" % user)
        self.secret("second")
        self.emacs.do('(mailsync-resume "w")')
        self.wait_far_end("connected")
        self.shown("watching")
        self.counts("after that", name)
        assert not self.emacs.runs()
        log = self.emacs.log()
        assert "first" not in log.replace("first ", "") and "second" not in log, log

    def start(self):
        super().start()
        self.emacs = self.launch_with(self.delays)
        self.read_nnimap()

    def run(self):
        self.start()
        command = ":tls none %s (\"cat\" %s)"
        secret = lisp(self.dir + "/secret")
        notify, idle, sweep = "(NOTIFY)", "(IDLE)", "asked now and then"
        table = [
            ("NOTIFY", notify, self.notify, ":tls none", {}),
            ("IDLE", idle, self.idle, ":tls none", {}),
            ("IDLE on another folder", idle, self.idle, ":tls none :idle-folders (\"a/b\")", {"name": "a/b"}),
            ("what IDLE does not tell of", idle, self.idle, ":tls none :poll 10", {"name": "lists"}),
            ("neither", sweep, self.little, ":tls none :poll 10", {}),
            ("STARTTLS", notify, self.notify, ":tls starttls :tls-fingerprint \"%s\"" % self.fingerprint, {}),
            ("TLS", notify, self.by_tls, ":tls-fingerprint \"%s\"" % self.fingerprint, {}),
            ("a command for the password", notify, self.notify, command % (":secret-command", secret), {}),
            ("XOAUTH2", notify, self.notify, command % (":auth xoauth2 :oauth-command", secret), {"user": "alice"}),
            ("OAUTHBEARER", notify, self.notify, command % (":auth oauthbearer :oauth-command", secret),
             {"user": "alice"}),
        ]
        for what, words, relay, keys, more in table:
            self.check(what, lambda: self.day(words, relay, keys, **more))
