"""How many runs a change takes: one, which nothing that it or Gnus writes makes two."""
import os
import re
import subprocess

from syncing.emacs import FIXTURES, lisp
from syncing.relay import free_port
from syncing.world import World


class Echo(World):
    """In a Gnus that reads what is synced, as nnmaildir."""

    server = "nnmaildir+fix:"

    def rest(self):
        """Wait until nothing waits, and nothing begins in the time that it would take."""
        def idle():
            state = self.emacs.value('(let ((state (mailsync-sync-state "w"))) '
                                     "(list (plist-get state :phase) (plist-get state :pending)))")
            return re.fullmatch(r"\(idle (0|nil)\)", state)
        self.emacs.wait("rest", idle, 60)
        # mailsync-inter-delay, mailsync-base-delay and a little
        self.emacs.quiet(3.5)
        assert idle(), self.emacs.state()

    def one_run(self, *scopes, again=False):
        """There was one run, of one of these scopes; again: perhaps the same once more."""
        self.rest()
        right = [[[scope]] * times for scope in scopes for times in ((1, 2) if again else (1,))]
        assert self.emacs.runs() in right, (scopes, self.emacs.facts())
        assert self.same(), self.differences()

    def first_sync(self):
        self.emacs.wait_fact("ends\tok", 60)
        # On a busy machine folders may come to light later than they are looked for: then one run
        # more finds nothing.
        self.one_run("all", again=True)

    def read_by_gnus(self):
        self.gnus()
        self.rest()
        assert not self.emacs.runs(), self.emacs.facts()

    def received_here(self):
        self.deliver("INBOX", "received")
        self.emacs.wait("it there", lambda: "received" in self.remote("INBOX"))
        self.one_run("(INBOX)")
        self.told_once("INBOX")

    def told_once(self, folder):
        """Of one message, in nnmaildir too, to which it is another one when mbsync has renamed it."""
        told = [fact for fact in self.emacs.facts() if fact.startswith("new-mail\t" + self.server + folder)]
        assert len(told) == 1, self.emacs.facts()

    def flagged_here(self):
        self.act("lists", "lists-0", "tick")
        self.emacs.wait("the flag there", lambda: "\\Flagged" in self.remote("lists")["lists-0"])
        self.one_run("(lists)")

    def folder_made_there(self):
        with self.imap() as c:
            c.create("made")
        self.boxes["made"] = "made"
        self.append("made", "in it")
        self.emacs.do('(mailsync-sync "w")')
        self.emacs.wait("it here", self.same)
        # As at the first sync.
        self.one_run("all", again=True)

    def flagged_there(self):
        self.store("a/b", "a.b-0", "\\Flagged")
        self.emacs.do('(mailsync-sync "w")')
        self.emacs.wait("the flag here", self.same)
        self.one_run("all")

    def deleted_there(self):
        self.store("a/b", "a.b-1", "\\Deleted", expunge=True)
        self.emacs.do('(mailsync-sync "w" \'("a/b"))')
        self.emacs.wait("its absence here", self.same)
        self.one_run("(a/b)")

    def received_there(self):
        self.append("INBOX", "from there")
        self.emacs.do('(mailsync-sync "w" \'("INBOX"))')
        self.emacs.wait("it here", lambda: "from there" in self.messages("INBOX"))
        self.emacs.wait_fact("new-mail\t" + self.server + "INBOX")
        self.one_run("(INBOX)")
        self.told_once("INBOX")

    def read_here(self):
        """What came from there."""
        self.act("INBOX", "from there", "read")
        self.emacs.wait("the mark there", lambda: "\\Seen" in self.remote("INBOX")["from there"])
        self.one_run("(INBOX)")

    def received_and_read_here(self):
        self.act("INBOX", "received", "read")
        self.emacs.wait("the mark there", lambda: "\\Seen" in self.remote("INBOX")["received"])
        self.one_run("(INBOX)")

    def deleted_here(self):
        self.act("INBOX", "received", "delete")
        self.emacs.wait("its absence there", lambda: "received" not in self.remote("INBOX"))
        self.one_run("(INBOX)")

    def moved_here(self):
        self.act("INBOX", "from there", "move", "lists")
        self.emacs.wait("it there", lambda: "from there" in self.remote("lists"))
        # Gnus may leave it marked for deletion; then that is what has to be there.
        gone = {"\\Deleted"}
        self.emacs.wait("its absence there", lambda: gone <= self.remote("INBOX").get("from there", gone))
        self.one_run("(INBOX lists)", "(lists INBOX)")

    def act(self, group, subject, action, to=""):
        self.emacs.do("(sync-act %s %s (quote %s) %s)" % (lisp(group), lisp(subject), action, lisp(to)))
        self.emacs.wait_fact("acted\t%s\t%s" % (action, subject))

    CHANGES = [
        ("here", "received_here"),
        ("here", "flagged_here"),
        ("there", "folder_made_there"),
        ("there", "flagged_there"),
        ("there", "deleted_there"),
        ("there", "received_there"),
        ("here", "read_here"),
        ("here", "received_and_read_here"),
        ("here", "deleted_here"),
        ("here", "moved_here"),
    ]

    def run(self):
        self.start()
        self.check("the first sync brings everything", self.first_sync)
        self.check("none when Gnus reads it", self.read_by_gnus)
        for where, change in self.CHANGES:
            self.check("one for %s" % change.replace("_", " "), getattr(self, change))


class EchoByImap(Echo):
    """In a Gnus that reads the maildirs by nnimap from a Dovecot on this machine."""

    server = "nnimap+fix:"

    def start(self):
        if os.getuid() == 0:
            # Dovecot serves no mail as root, so that another user has to own it.
            self.as_mail()
        super().start()

    def as_mail(self):
        bin = os.path.join(self.dir, "bin")
        os.mkdir(bin)
        program = os.path.join(bin, self.syncer)
        with open(program, "w", encoding="utf-8") as file:
            file.write('#!/bin/sh\nchown -R mail "$HOME" "%s"\nexec setpriv --reuid mail --regid mail --clear-groups '
                       '/usr/bin/%s "$@"\n' % (self.config, self.syncer))
        os.chmod(program, 0o755)
        os.environ["PATH"] = bin + ":" + os.environ["PATH"]

    def deliver(self, name, subject):
        super().deliver(name, subject)
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", "mail", self.directory(name)], check=True)

    def gnus(self):
        port = free_port()
        self.local_server = os.path.join(self.dir, "local dovecot")
        subprocess.run([os.path.join(FIXTURES, "dovecot.sh"), "start", self.local_server, self.local, "fs", str(port)],
                       check=True)
        self.emacs.do("(sync-gnus-by-imap %d %s)" % (port, " ".join(map(lisp, self.boxes))))
        self.emacs.wait_fact("gnus")
        self.emacs.quiet()

    def clean(self, good):
        if hasattr(self, "local_server"):
            subprocess.run([os.path.join(FIXTURES, "dovecot.sh"), "stop", self.local_server], check=False)
        super().clean(good)
