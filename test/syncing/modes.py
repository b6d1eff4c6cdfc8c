"""Each way in which README has a server watched: connected, cut, made anew, let in no longer, and what is shown then.

One Dovecot, which can do more or less at each of its addresses; Gnus reads it by nnimap.  mailsync comes to it
through relays, with a user's name of its own for the same mail, so that its line can be cut and its
password revoked while Gnus goes on.
"""
import http.server
import json
import os
import re
import subprocess
import threading
import urllib.parse

from syncing.emacs import lisp
from syncing.imap import DOVECOT, Imap
from syncing.relay import Relay, free_port
from syncing.world import version

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
# As Dovecot 2.4 calls these settings.
PASSWORDS_2_4 = """
auth_mechanisms = plain login xoauth2 oauthbearer
passdb passwd-file {
  passwd_file_path = %(dir)s/passwords
}
passdb oauth2 {
  mechanisms_filter = xoauth2 oauthbearer
}
oauth2 {
!include %(dir)s/oauth
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
        provider, self.token = self, "first"

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                good = urllib.parse.parse_qs(self.path.partition("?")[2])["token"] == [provider.token]
                text = json.dumps({"active": "true" if good else "false", "username": "alice"}).encode()
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
                      + (PASSWORDS_2_4 if version("dovecot") >= (2, 4) else PASSWORDS) % {"dir": self.dir})
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

    def secret(self, word, known=True):
        """The server takes this password, or token; known says whether it can be found where it is looked for."""
        self.provider.token = word
        self.write("passwords", "watcher:{PLAIN}%s::::::user=alice\n" % word)
        if known:
            self.write("secret", word + "\n")
        if known and self.emacs:
            lines = ["machine 127.0.0.%d login %s\n" % (number, who) for number in (1, 2, 3)
                     for who in ("alice password secret", "watcher password " + word)]
            self.write("authinfo", "".join(lines), self.emacs.work)

    def write(self, name, text, directory=None):
        path = os.path.join(directory or self.dir, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def watch(self, store, state="connected"):
        """Have it watched, by this value of `:remote'."""
        self.emacs.do("(progn (setq mailsync-accounts '((\"w\" :remote %s))) (mailsync-restart))" % store)
        self.wait_far_end(state)

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

    def pinned(self, relay, keys):
        """A certificate of the server's own is taken when its fingerprint has been copied from the status."""
        store = '(imap :host "127.0.0.1" :port %d :user "watcher" %s' % (relay.port, keys)
        self.secret("first")
        self.watch(store + ")", "waiting")
        self.shown("offline")
        self.wait_status("offline", self.fingerprint)
        shown = self.emacs.value('(string-replace "\\n" " " (mailsync-status--text))')
        found = re.search(r':tls-fingerprint "SHA256:[0-9A-Fa-f:]+"', shown)
        assert found, shown
        self.day("(NOTIFY)", relay, keys + " " + found.group())

    def option(self):
        """Without an account, where Gnus loses its connections as well."""
        self.emacs.stop()
        self.secret("first")
        self.emacs = self.launch_with(self.delays + "(setq mailsync-gnus-watch-nnimap t)")
        self.wait_mode_line("no server")
        port, self.port = self.port, self.notify.port
        self.read_nnimap()
        self.port = port
        self.wait_far_end("connected")
        self.shown("watching")
        self.counts("told")
        self.notify.set("refuse")
        self.shown("offline")
        self.counts("missed", "lists", lambda: self.notify.set("pass"))
        self.shown("watching")
        self.counts("told again", "a/b")
        # Somebody answers, and says nothing.
        self.notify.set("silent")
        self.shown("offline")
        self.append("INBOX", "unheard")
        before = self.unread("INBOX")
        self.wait_status("offline", "being tried")
        self.shown("offline")
        self.notify.set("pass")
        # For a greeting it waits a minute.
        self.emacs.wait("it in *Group*", lambda: self.unread("INBOX") == before + 1, 120)
        self.shown("watching")

    def days(self, table):
        for what, words, relay, keys, more in table:
            self.check(what, lambda: self.day(words, relay, keys, **more))

    def run(self):
        self.start()
        self.days([
            ("NOTIFY", "(NOTIFY)", self.notify, ":tls none", {}),
            ("IDLE", "(IDLE)", self.idle, ":tls none", {}),
            ("IDLE on another folder", "(IDLE)", self.idle, ":tls none :idle-folders (\"a/b\")", {"name": "a/b"}),
            ("what IDLE does not tell of", "(IDLE)", self.idle, ":tls none :poll 10", {"name": "lists"}),
            ("neither", "asked now and then", self.little, ":tls none :poll 10", {}),
        ])
        self.check("without an account", self.option)


class Logins(Modes):
    """Each way to be let in."""

    def run(self):
        self.start()
        keys = ":tls none %s (\"cat\" " + lisp(self.dir + "/secret") + ")"
        token = keys.replace("%s", ":auth %s :oauth-command")
        self.days([
            ("a command for the password", "(NOTIFY)", self.notify, keys % ":secret-command", {}),
            ("XOAUTH2", "(NOTIFY)", self.notify, token % "xoauth2", {"user": "alice"}),
            ("OAUTHBEARER", "(NOTIFY)", self.notify, token % "oauthbearer", {"user": "alice"}),
        ])
        self.check("STARTTLS, a fingerprint", lambda: self.pinned(self.notify, ":tls starttls"))
        self.check("TLS, a fingerprint", lambda: self.pinned(self.by_tls, ""))
