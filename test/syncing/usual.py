"""A user's day with a syncer, and what goes wrong on it."""
import os
import shutil
import signal
import subprocess
import sys

from syncing.world import World


class Usual(World):
    def first_sync(self):
        self.emacs.wait_fact("ends\tok", 60)
        assert self.same(), self.differences()
        self.emacs.quiet()
        # On a busy machine folders may come to light later than they are looked for.
        assert len(self.emacs.runs()) <= 2, self.emacs.runs()

    def message_from_there(self):
        self.append("lists", "news")
        self.emacs.do('(mailsync-sync "w" \'("lists"))')
        self.emacs.wait_fact("ends\tok")
        self.emacs.wait("the message", lambda: "news" in self.messages("lists"))
        self.emacs.wait_fact("new-mail\tnnmaildir+fix:lists")
        self.emacs.quiet()
        assert len(self.emacs.runs()) == 1, ("a second run for an echo", self.emacs.runs())

    def flag_by_gnus(self):
        if self.mode == "batch":
            self.emacs.do('(sync-tick "INBOX")')
        else:
            # As a user does: enter the group, tick, leave.
            self.emacs.do('(gnus-group-jump-to-group "nnmaildir+fix:INBOX")')
            self.emacs.keys("Enter")
            self.emacs.wait("the summary", lambda: "Summary" in self.emacs.screen())
            self.emacs.keys("!")
            self.emacs.keys("q")
            self.emacs.wait("the groups", lambda: "INBOX" in self.emacs.screen() and "*Group*" in self.emacs.screen())
        flagged = lambda: any("\\Flagged" in flags for flags in self.remote("INBOX").values())
        self.emacs.wait("the flag there", flagged)
        self.emacs.quiet()
        if self.mode == "batch":
            assert self.emacs.runs() == [["(INBOX)"]], self.emacs.runs()

    def new_message_here(self):
        self.deliver("Entwürfe", "draft")
        self.emacs.wait("the message there", lambda: "draft" in self.remote("Entw&APw-rfe"))
        self.emacs.quiet()
        assert self.emacs.runs() == [["(Entwürfe)"]], self.emacs.runs()
        assert self.same(), self.differences()

    def move_by_gnus(self):
        """Mail that Gnus moves from one folder to another goes up in one sync."""
        self.emacs.do('(sync-move "INBOX" "R&D")')
        self.emacs.wait("the message there", lambda: "INBOX-1" in self.remote("R&-D"))
        self.emacs.wait("its absence", lambda: "INBOX-1" not in self.remote("INBOX"))
        self.emacs.quiet()
        assert len(self.emacs.runs()[0][0].strip("()").split()) == 2, self.emacs.runs()
        assert len(self.emacs.runs()) <= 2, self.emacs.runs()
        assert self.same(), self.differences()

    def changes_there(self):
        self.store("a/b", "a.b-0", "\\Seen")
        self.store("a/b", "a.b-1", "\\Deleted", expunge=True)
        self.emacs.do('(mailsync-sync "w")')
        self.wait_same()
        self.emacs.quiet()
        # A flag and a deletion cannot be told from the user's: one more run, which finds nothing.
        assert len(self.emacs.runs()) <= 2, self.emacs.runs()

    def server_away(self):
        self.relay.set("refuse")
        self.flag_here("lists", "lists-0", "F")
        self.emacs.wait_fact("ends\ttransient", 40)
        self.emacs.wait_fact("state\tfailing")
        if self.mode == "tmux":
            self.emacs.wait("the mode line", lambda: "[failing]" in self.emacs.screen())
        self.relay.set("pass")
        self.emacs.wait("the flag there", lambda: "\\Flagged" in self.remote("lists")["lists-0"], 60)
        self.emacs.wait_fact("state\twatching")
        self.emacs.wait("the news", lambda: "can be synced again" in self.emacs.log())
        log = self.emacs.log()
        for text in ("w: sync of lists failed (transient)", "w: synced lists in"):
            assert text in log, (text, log)

    def server_silent(self):
        self.emacs.do("(progn (setq mailsync-sync-timeout 3) (mailsync-restart))")
        self.relay.set("silent")
        self.flag_here("lists", "lists-1", "F")
        ended = self.emacs.wait_fact("ends\ttimeout", 60)
        assert "mailsync-sync-timeout" in ended[0], ended
        self.relay.set("pass")
        self.emacs.do("(progn (setq mailsync-sync-timeout 300) (mailsync-restart))")
        self.emacs.wait("the flag there", lambda: "\\Flagged" in self.remote("lists")["lists-1"], 90)
        self.emacs.quiet()

    def server_cuts(self):
        self.relay.set("cut", 200)
        self.flag_here("lists", "news", "F")
        self.emacs.wait_fact("ends\ttransient", 40)
        self.relay.set("pass")
        self.emacs.wait("the flag there", lambda: "\\Flagged" in self.remote("lists")["news"], 60)
        self.emacs.quiet()

    def refused(self):
        word = "Pass secret" if self.syncer == "mbsync" else "remotepass = secret"
        self.configuration(word, word.replace("secret", "wrong"))
        self.flag_here("with space", "with space-0", "F")
        self.emacs.wait("two refusals", lambda: len([f for f in self.emacs.facts() if f.startswith("ends\tauth")]) == 2, 60)
        self.emacs.wait_fact("state\tpaused")
        if self.mode == "tmux":
            self.emacs.wait("the mode line", lambda: "[paused]" in self.emacs.screen())
        self.configuration(word.replace("secret", "wrong"), word)
        self.emacs.do("(mailsync-resume)")
        self.emacs.wait("the flag there", lambda: "\\Flagged" in self.remote("with space")["with space-0"], 60)
        self.emacs.quiet()

    def locked(self):
        """Another run has the syncer's own lock."""
        if self.syncer == "mbsync":
            path = os.path.join(self.directory("INBOX"), ".mbsyncstate.lock")
        else:
            path = os.path.join(self.config, "oimap", self.layout + ".lock")
        holder = subprocess.Popen(
            [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'w'); "
             "fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdout.readline()
        self.flag_here("INBOX", "INBOX-0", "R")
        self.emacs.wait_fact("ends\tlocked")
        holder.stdin.close()
        holder.wait()
        self.emacs.wait("the flag there", lambda: "\\Answered" in self.remote("INBOX")["INBOX-0"], 60)
        self.emacs.quiet()

    def folders(self):
        """A folder that comes there; one that the user deletes here does not come back by a named run."""
        with self.imap() as c:
            c.create('"fresh"')
        self.append("fresh", "fresh-0")
        self.emacs.do('(mailsync-sync "w")')
        self.emacs.wait("the folder", lambda: "fresh-0" in self.messages("fresh"))
        self.emacs.quiet()
        self.emacs.forget()
        shutil.rmtree(self.directory("fresh"))
        self.emacs.wait_fact("begins\tall")
        self.emacs.wait_fact("ends\t")
        assert not [run for run in self.emacs.runs() if "fresh" in run[0]], self.emacs.runs()
        self.emacs.quiet()
        if self.syncer == "offlineimap":
            # mbsync has to be told to make it; see reader.py.
            self.make("made here")
            self.deliver("made here", "in it")
            self.emacs.wait("it there", lambda: "in it" in self.remote("made here"))
            self.emacs.quiet()

    def emacs_ends(self):
        """kill-emacs while the syncer runs: it is told to end, and nothing is lost."""
        self.relay.set("silent")
        self.flag_here("lists", "lists-1", "R")
        self.emacs.wait_fact("begins")
        self.emacs.wait("the syncer", self.running)
        if self.mode == "batch":
            self.emacs.ask("(kill-emacs 0)")
        else:
            self.emacs.keys("C-x", "C-c")
        self.emacs.ended()
        if self.syncer == "mbsync":
            # By itself it ends after 20 s of silence (its Timeout).
            self.emacs.wait("the end of the syncer", lambda: not self.running(), 10)
        else:
            # It finishes what it is at, by itself; here it would wait for the server.
            for pid in self.running():
                os.kill(pid, signal.SIGKILL)
        self.relay.set("pass")

    def run(self):
        self.start()
        self.check("the first sync brings everything", self.first_sync)
        self.check("Gnus reads it", self.gnus)
        self.check("a message from the other side", self.message_from_there)
        self.check("a flag that Gnus sets", self.flag_by_gnus)
        self.check("a message that is delivered here", self.new_message_here)
        self.check("the server goes away and comes back", self.server_away)
        if self.mode == "tmux":
            return
        self.check("a message that Gnus moves", self.move_by_gnus)
        self.check("flags and deletions from the other side", self.changes_there)
        if self.layout not in ("verbatim", "slash"):
            return
        self.check("folders come and go", self.folders)
        self.check("the server says nothing", self.server_silent)
        self.check("the server cuts the connection", self.server_cuts)
        self.check("the server refuses the password", self.refused)
        self.check("another run has the syncer's lock", self.locked)
        self.check("Emacs ends while it syncs", self.emacs_ends)
