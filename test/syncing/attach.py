"""The Emacs on a server splits what arrives there, and one here has it all in one sync.

There: a Dovecot, a Gnus that splits the inbox by IMAP, `mailsync-listen'.  Here: mailsync-watch --attach
at the far end of a real ssh connection, a syncer, a Gnus that reads the maildir.
"""
import os
import re

from syncing.emacs import Emacs, lisp
from syncing.remote import Remote


class Attach(Remote):
    def launch(self, mode=None, more=""):
        """The Emacs there, before the one here."""
        self.mail = self.dir + "/dovecot/mail/alice"
        # Where its socket will be; the far shell gets it by the command, as it would by a login.
        self.far_runtime = os.path.join(self.dir, "far runtime")
        os.mkdir(self.far_runtime, 0o700)
        self.far = Emacs(os.path.join(self.dir, "far"), "batch")
        self.emacsen.append(self.far)
        self.far.start("(setq mailsync-accounts '((\"home\" :maildir %s)) mailsync-listen t "
                       "mailsync-check-function #'sync-check mailsync-gnus-max-wait 2)" % lisp(self.mail),
                       self.far_runtime)
        self.far.do("(sync-gnus-splits %d \"for the list\" \"lists\" %s)"
                    % (self.port, " ".join(map(lisp, self.boxes))))
        self.far.wait_fact("gnus")
        return super().launch(mode, more)

    def far_words(self):
        return ["XDG_RUNTIME_DIR='%s'" % self.far_runtime, self.program, "--attach", "--maildir='%s'" % self.mail]

    def line(self):
        """What *Group* shows of the group to which mail is moved there: how many are unread."""
        return int(re.search(r"(\d+): ", self.emacs.value('(fixture-line "nnmaildir+fix:lists")')).group(1))

    def attached(self):
        self.first_sync()
        # It would say here if it watched by itself.
        assert "no Emacs" not in self.emacs.log(), self.emacs.log()

    def one_sync(self, subject):
        """What is delivered there comes here as if it had never been in the inbox."""
        before = self.line()
        self.deliver_there(subject)
        self.emacs.wait(subject, lambda: subject in self.messages("lists"), 60)
        self.emacs.wait_fact("new-mail\tnnmaildir+fix:lists\t%d\t%d" % (before, before + 1))
        self.rest()
        runs = self.emacs.runs()
        assert runs in ([["(INBOX lists)"]], [["(lists INBOX)"]]), (runs, self.emacs.facts())
        assert self.line() == before + 1, self.line()
        assert self.same(), self.differences()
        assert subject not in self.messages("INBOX")
        assert not any(fact.startswith("new-mail\tnnmaildir+fix:INBOX") for fact in self.emacs.facts())

    def split(self):
        self.one_sync("one for the list")

    def stays(self):
        """What is not moved comes here as well, when it was looked at."""
        self.deliver_there("for me")
        self.arrives("INBOX", "for me")
        assert self.emacs.runs() == [["(INBOX)"]], self.emacs.facts()

    def cut_in_the_middle(self):
        """The connection breaks while the Gnus there is at it."""
        before = self.line()
        self.far.do("(setq sync-hold t)")
        self.deliver_there("unseen, for the list")
        self.far.wait_fact("held")
        self.sshd.cut()
        self.emacs.wait_fact("state\toffline")
        self.wait_status("offline", "next try", "ssh exited with 255")
        # Nobody listens when it is moved.
        self.far.do("(sync-let-go)")
        self.emacs.wait("it", lambda: "unseen, for the list" in self.messages("lists"), 60)
        self.emacs.wait_fact("state\twatching")
        self.wait_far_end("connected")
        self.rest()
        assert self.line() == before + 1, self.line()
        assert self.same(), self.differences()

    def after_that(self):
        self.one_sync("another one for the list")

    def run(self):
        self.start()
        self.check("the far end is attached to the Emacs there, and all is synced", self.attached)
        self.check("Gnus reads it", self.gnus)
        self.check("one sync for a message that is moved there", self.split)
        self.check("one sync for a message that is not", self.stays)
        self.check("the connection is cut before it is moved", self.cut_in_the_middle)
        self.check("one sync for a message after that", self.after_that)
