"""Mail that changes on the server, which says so itself: with a maildir here, and without."""
import os
import re
import subprocess

from syncing.emacs import FIXTURES, lisp
from syncing.world import World

# Nobody waits here until a wait has doubled that often.
DELAYS = "(setq mailsync-inter-delay 0.5 mailsync-base-delay 0.5 mailsync-gnus-max-wait 2 mailsync-max-delay 2)"
# With an index of all mailboxes it has NOTIFY; and nobody waits who had a wrong password.
DOVECOT = """
mailbox_list_index = yes
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
"""
# After that nothing comes of a change any more: Dovecot tells after half a second.
REST = 1.7


class Imap(World):
    # More of Dovecot's configuration, and what Emacs is told first.
    extra, delays = DOVECOT, DELAYS

    # The server

    def dovecot(self, command):
        extra = {"DOVECOT_EXTRA": self.extra, "DOVECOT_PASSWORD": self.password}
        if command == "stop":
            # The sessions take their time, otherwise.
            with open(self.dir + "/dovecot/run/master.pid", encoding="utf-8") as file:
                subprocess.run(["pkill", "-P", file.read().strip(), "-x", "imap"], check=False)
        subprocess.run([os.path.join(FIXTURES, "sync-dovecot.sh"), command, self.dir + "/dovecot", str(self.port)],
                       check=True, env={**os.environ, **extra})

    def start_server(self):
        os.environ["DOVECOT_EXTRA"] = self.extra
        super().start_server()
        self.remote_store = '(imap :host "127.0.0.1" :port %d :user "alice" :tls none)' % self.port
        self.authinfo = "(sync-authinfo %d %s)" % (self.port, lisp(self.password))

    def away(self):
        """The server is stopped, which shows; what comes when it is there again is not lost."""
        self.dovecot("stop")
        self.relay.set("refuse")
        self.emacs.wait_fact("state\toffline")
        self.wait_status("offline", "refused")
        self.wait_mode_line("offline")
        self.dovecot("start")
        self.relay.set("pass")
        self.append("lists", "while nobody watched")
        self.emacs.wait_fact("state\twatching")
        self.wait_far_end("connected")

    # What is shown

    def far_end(self):
        """How the stores on servers are, as the status has it."""
        return self.emacs.value('(mapconcat (lambda (it) (format "%s" (plist-get (cdr it) :state)))'
                                ' mailsync-remote--states " ")')

    def wait_far_end(self, state):
        self.emacs.wait("the far end is " + (state or "nobody's"), lambda: self.far_end() == state, 60)

    def wait_status(self, *texts):
        form = '(string-replace "\\n" " " (mailsync-status--text))'
        self.emacs.wait("the status: %s" % (texts,),
                        lambda: (lambda shown: all(text in shown for text in texts))(self.emacs.value(form)))

    def wait_mode_line(self, text):
        self.emacs.wait("the mode line: " + text, lambda: text in self.emacs.value("mailsync-mode-line--string"))

    def group(self, name):
        return self.emacs.value("sync-server") + (name if "nnimap" in self.emacs.value("sync-server")
                                                  else name.replace("/", "."))

    def unread(self, name):
        """How many messages the line in *Group* says are unread; in a terminal, the line on the screen."""
        group = self.group(name)
        if self.emacs.mode == "tmux":
            lines = self.emacs.screen().splitlines()
        else:
            lines = [self.emacs.value("(fixture-line %s)" % lisp(group))]
        for line in lines:
            if match := re.search(r"(\d+): *%s\b" % re.escape(group), line):
                return int(match.group(1))
        return 0

    def unseen(self, name):
        """How many messages of a folder are unread on the server."""
        with self.imap() as c:
            c.select('"%s"' % self.boxes[name], readonly=True)
            return len(c.search(None, "UNSEEN")[1][0].split())

    def counted(self, name):
        """As `unread', once that is what is unread on the server.

        A message that its syncer has just renamed is two to nnmaildir until Gnus has looked at the group.
        """
        self.emacs.wait(lambda: "%d unread: %s" % (self.unseen(name), self.unread(name)),
                        lambda: self.unread(name) == self.unseen(name), 60)
        return self.unread(name)

    def arrives(self, subject, *names):
        """A message is put into each of these folders, and counts here."""
        before = [self.unread(name) for name in names]
        for name in names:
            self.append(self.boxes[name], subject)
        for name, count in zip(names, before):
            self.emacs.wait("%s in %s in *Group*" % (subject, name), lambda: self.unread(name) == count + 1)

    # With a maildir

    def first_sync(self):
        self.account = ":remote " + self.remote_store
        self.emacs = self.launch(more=self.delays + self.authinfo)
        self.wait_far_end("connected")
        self.emacs.wait_fact("ends\tok", 60)
        self.gnus(REST)
        # It has auth-source look elsewhere.
        self.emacs.do(self.authinfo)
        assert self.same(), self.differences()
        # What happened before the connection, nobody has seen; and on a busy machine folders may come to light
        # later than they are looked for.
        assert self.emacs.runs()[0] == ["all"] and len(self.emacs.runs()) <= 3, self.emacs.runs()
        self.wait_status("server, by", "connected", "NOTIFY")

    def rest(self):
        self.emacs.quiet(REST)
        assert self.same(), self.differences()

    def message_there(self):
        self.arrives("from there", "Entwürfe")
        self.rest()
        assert self.emacs.runs() == [["(Entwürfe)"]], self.emacs.facts()

    def others(self):
        """A flag there is a sync; what goes up by our own comes back from the server, and is looked at once more."""
        self.store("a/b", "a.b-0", "\\Flagged")
        self.emacs.wait("the flag", lambda: ":2,F" in self.messages("a/b")["a.b-0"])
        self.deliver("lists", "from here")
        self.wait_same()
        self.rest()
        runs = self.emacs.runs()
        assert runs[:2] == [["(a/b)"], ["(lists)"]] and runs[2:] in ([], [["(lists)"]]), self.emacs.facts()

    def away_with_maildir(self):
        before = self.counted("lists")
        self.away()
        self.emacs.wait("it in *Group*", lambda: self.unread("lists") == before + 1)
        self.wait_same()

    # nnimap alone, with an account

    def read_nnimap(self):
        self.emacs.do("(sync-gnus-by-far-imap %d %s %s)"
                      % (self.port, lisp(self.password), " ".join(map(lisp, self.boxes))))
        self.emacs.wait_fact("gnus")

    def account_alone(self):
        self.emacs.stop()
        self.emacs = self.launch_with("%s %s (setq mailsync-accounts '((\"w\" :remote %s)))"
                                      % (self.delays, self.authinfo, self.remote_store))
        self.wait_far_end("connected")
        self.read_nnimap()
        self.arrives("alone", "INBOX", "Entwürfe", "a/b")
        assert not self.emacs.runs(), self.emacs.runs()

    def other_password(self):
        """One that the server takes no longer stops the store; nothing is lost until it is mended."""
        self.dovecot("stop")
        self.password = "another"
        self.dovecot("start")
        self.emacs.wait_fact("state\tpaused", 60)
        self.wait_status("not watched until M-x mailsync-resume", "does not let alice in")
        self.wait_mode_line("paused")
        self.emacs.wait("what to do", lambda: self.emacs.said("M-x mailsync-resume") == 1)
        with open(self.dir + "/dovecot/dovecot.log", encoding="utf-8") as file:
            assert "secret" not in file.read()
        assert "secret" not in self.emacs.log()
        before = self.unread("INBOX")
        self.append("INBOX", "while it was paused")
        self.authinfo = "(sync-authinfo %d %s)" % (self.port, lisp(self.password))
        self.emacs.do(self.authinfo)
        self.emacs.do('(mailsync-resume "w")')
        self.wait_far_end("connected")
        self.emacs.wait("it in *Group*", lambda: self.unread("INBOX") == before + 1, 60)

    def typed_password(self):
        """Where auth-source knows none, whoever resumes the store is asked."""
        self.dovecot("stop")
        self.password = "typed"
        self.dovecot("start")
        self.emacs.wait_fact("state\tpaused", 60)
        self.emacs.do('(write-region "" nil (car auth-sources) nil (quote silent))')
        self.emacs.keys("M-x", "mailsync-resume", "Enter")
        self.emacs.wait("the question", lambda: "Password of alice at 127.0.0.1:" in self.emacs.screen())
        self.emacs.keys(self.password, "Enter")
        self.wait_far_end("connected")
        assert self.password not in self.emacs.screen() + self.emacs.log()
        assert not self.emacs.said(self.password)

    # nnimap alone, without an account

    def option_alone(self):
        self.emacs.stop()
        self.emacs = self.launch_with(self.delays + "(setq mailsync-gnus-watch-nnimap t)")
        self.wait_mode_line("no server")
        self.read_nnimap()
        self.wait_far_end("connected")
        self.wait_status("nnimap:fix", "server, by", "NOTIFY")
        # Gnus has gone over to TLS, with a certificate that nobody vouches for.
        keys = self.emacs.value('(mailsync-account-get "nnimap:fix" :remote)')
        assert ":tls starttls" in keys and ":tls-fingerprint SHA256:" in keys, keys
        self.arrives("unasked", "INBOX", "Entwürfe", "a/b")

    def comes_and_goes(self):
        method = '(gnus-server-to-method "nnimap:fix")'
        self.emacs.do("(gnus-close-server %s)" % method)
        self.wait_far_end("")
        self.emacs.do("(gnus-open-server %s)" % method)
        self.wait_far_end("connected")
        self.emacs.do("(customize-set-variable 'mailsync-gnus-watch-nnimap nil)")
        self.wait_far_end("")
        self.emacs.do("(customize-set-variable 'mailsync-gnus-watch-nnimap '(\"fix\"))")
        self.wait_far_end("connected")
        self.arrives("named", "INBOX")
        self.emacs.do("(with-current-buffer gnus-group-buffer (gnus-group-exit))")
        self.wait_far_end("")

    def start(self):
        self.start_server()
        for name, wire in self.boxes.items():
            self.append(wire, *("%s-%d" % (wire.replace("/", "."), number) for number in range(2)))

    def run(self):
        self.start()
        self.check("the server is watched, all is synced, and Gnus reads it", self.first_sync)
        self.check("a message there is one sync, and counts", self.message_there)
        self.check("a flag there, and a message here", self.others)
        self.check("the server goes away and comes back", self.away_with_maildir)
        self.check("nnimap alone: a message there counts", self.account_alone)
        self.check("nnimap alone: another password", self.other_password)
        if self.mode == "tmux":
            self.check("nnimap alone: a password that is typed", self.typed_password)
        self.check("without an account: a message there counts", self.option_alone)
        self.check("without an account: servers come and go", self.comes_and_goes)
