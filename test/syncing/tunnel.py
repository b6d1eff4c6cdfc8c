"""Mail that changes on a server which is reached by ssh: Dovecot's own program at the other end, and no password."""
import os
import shutil

from syncing.emacs import lisp
from syncing.imap import Imap
from syncing.remote import Sshd

# What README says to start, with a configuration of our own.
SERVES = "doveadm", "-c", "'%s/dovecot/dovecot.conf'", "exec", "imap"


class Tunnel(Imap):
    def start_server(self):
        super().start_server()
        self.sshd = Sshd()
        self.sshd.start()
        # The far shell reads these.
        words = ["USER=alice", "HOME='%s/dovecot/mail/alice'" % self.dir, *SERVES[:2], SERVES[2] % self.dir, *SERVES[3:]]
        if os.geteuid() == 0:
            # Dovecot does nothing as root.
            words += ["-o", "mail_uid=mail", "-o", "mail_gid=mail"]
        self.remote_store = "(imap :tunnel (%s))" % " ".join(map(lisp, self.sshd.command(*words)))

    def first_sync(self):
        super().first_sync()
        # Nobody was asked for anything.
        assert "login" not in self.emacs.log().lower(), self.emacs.log()

    def cut(self):
        """The line breaks: what comes meanwhile is there when it stands again."""
        before = self.counted("lists")
        self.sshd.stop()
        self.emacs.wait_fact("state\toffline")
        self.wait_status("offline", "the tunnel ended")
        self.wait_mode_line("offline")
        self.append("lists", "while nobody watched")
        self.sshd.start()
        self.emacs.wait_fact("state\twatching")
        self.wait_mode_line("watching")
        self.emacs.wait("it in *Group*", lambda: self.unread("lists") == before + 1)
        self.wait_same()

    def refused(self):
        """A server that knows our key no longer is asked three times; what is there counts when the user says
        so."""
        before = self.unread("INBOX")
        os.rename(self.sshd.dir + "/me.pub", self.sshd.dir + "/elsewhere")
        self.sshd.cut()
        self.emacs.wait_fact("state\tpaused", 60)
        self.wait_mode_line("paused")
        self.wait_status("not watched until M-x mailsync-resume", "Permission denied", "logs in by itself")
        self.append("INBOX", "while it was refused")
        os.rename(self.sshd.dir + "/elsewhere", self.sshd.dir + "/me.pub")
        self.emacs.do("(mailsync-resume)")
        self.wait_far_end("connected")
        self.wait_mode_line("watching")
        self.emacs.wait("it in *Group*", lambda: self.unread("INBOX") == before + 1, 60)

    def alone(self):
        self.emacs.stop()
        self.emacs = self.launch_with("%s (setq mailsync-accounts '((\"w\" :remote %s)))" % (self.delays, self.remote_store))
        self.wait_far_end("connected")
        self.read_nnimap()
        self.arrives("alone", "INBOX", "Entwürfe", "a/b")
        assert not self.emacs.runs(), self.emacs.runs()

    def emacs_ends(self):
        assert self.sshd.children()
        self.emacs.ask("(kill-emacs 0)")
        self.emacs.ended()
        self.emacs.wait("the end of the connection", lambda: not self.sshd.children())

    def before_removal(self, good):
        if getattr(self, "sshd", None):
            self.sshd.stop()
            if good:
                shutil.rmtree(self.sshd.dir)

    def run(self):
        assert shutil.which(SERVES[0]), SERVES[0] + " is not there"
        self.start()
        self.check("the server is watched through ssh, all is synced, and Gnus reads it", self.first_sync)
        self.check("a message there is one sync, and counts", self.message_there)
        self.check("a flag there, and a message here", self.others)
        self.check("the line breaks", self.cut)
        self.check("nnimap alone: a message there counts", self.alone)
        self.check("nnimap alone: the server refuses the key", self.refused)
        self.check("Emacs ends", self.emacs_ends)
