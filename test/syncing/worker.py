"""OfflineIMAP that goes on running, in an Emacs: one process for all syncs, and what happens to it."""
import os
import re
import signal
import subprocess

from syncing.world import World


class Worker(World):
    """Without Gnus."""

    keys = ":persistent t"

    def workers(self):
        found = subprocess.run(["pgrep", "-f", "mailsync-offlineimap-worker.py .*" + re.escape(self.config)],
                               capture_output=True, check=False).stdout.split()
        return [int(pid) for pid in found]

    def worker(self):
        """The one that there is."""
        found = self.workers()
        assert len(found) == 1, found
        return found[0]

    def gone(self, pid):
        self.emacs.wait("the end of the worker", lambda: pid not in self.workers(), 20)

    def settled(self, *scopes):
        """Both sides are the same, after these runs."""
        self.wait_same()
        self.emacs.quiet()
        assert self.same(), self.differences()
        assert self.emacs.runs() == [[scope] for scope in scopes], self.emacs.facts()

    def first_sync(self):
        self.start()
        self.emacs.wait_fact("ends\tok", 60)
        self.wait_same()
        self.emacs.quiet()
        self.pid = self.worker()

    def changes_here(self):
        """Each is one run, of its folder, by the same process: what that wrote asks for no other."""
        self.deliver("lists", "pushed")
        self.settled("(lists)")
        self.emacs.forget()
        self.flag_here("Entwürfe", "Entw&APw-rfe-0", "F")
        self.settled("(Entwürfe)")
        assert self.worker() == self.pid

    def changes_there(self):
        self.append("R&-D", "pulled")
        self.emacs.do('(mailsync-sync "w" \'("R&D"))')
        self.settled("(R&D)")
        with self.imap() as c:
            c.create('"made"')
        self.append("made", "in it")
        self.boxes["made"] = "made"
        self.emacs.do('(mailsync-sync "w")')
        self.wait_same()
        self.emacs.quiet()
        assert self.worker() == self.pid

    def killed_at_rest(self):
        """Another one comes with the next sync, without a word."""
        os.kill(self.pid, signal.SIGKILL)
        self.gone(self.pid)
        self.deliver("lists", "after its death")
        self.settled("(lists)")
        self.pid = self.worker()
        assert "the worker" not in self.emacs.log()

    def hold(self, name):
        """Have it be in the middle of a sync."""
        before = len(self.files("lists"))
        self.append("lists", *("%s-%d" % (name, number) for number in range(40)), text="Text. Text.\r\n" * 300)
        self.relay.set("hold", 70000)
        self.emacs.do('(mailsync-sync "w" \'("lists"))')
        self.emacs.wait("a sync in the middle", self.relay.held.is_set)
        self.emacs.wait("some messages", lambda: len(self.files("lists")) > before + 1)

    def killed_in_the_middle(self):
        """OfflineIMAP itself does the rest, in the same run, and that is said."""
        self.hold("a")
        os.kill(self.worker(), signal.SIGKILL)
        self.relay.set("pass")
        self.emacs.wait_fact("ends\tok", 60)
        self.wait_same()
        self.emacs.quiet()
        assert self.emacs.log().count("was ended by signal 9") == 1, self.emacs.log()
        # It is left alone for a while.
        self.deliver("lists", "by the plain command")
        self.wait_same()
        self.emacs.quiet()
        assert not self.workers()

    def pauses_and_stops(self):
        # After a pause the worker has another chance at once.
        self.emacs.do('(mailsync-pause "w")')
        for name in ("after a pause", "after another one"):
            self.emacs.do('(mailsync-resume "w")')
            self.deliver("lists", name)
            self.wait_same()
            self.emacs.quiet()
            pid = self.worker()
            self.emacs.do('(mailsync-pause "w")')
            self.gone(pid)
        self.emacs.do('(mailsync-resume "w")')
        self.deliver("lists", "before the end")
        self.wait_same()
        self.emacs.quiet()
        pid = self.worker()
        self.emacs.do("(mailsync-stop)")
        self.gone(pid)
        self.emacs.do("(mailsync-mode 1)")
        self.emacs.wait("a worker", self.workers)
        self.emacs.quiet()

    def removed(self):
        """With its account, and with its key."""
        pid = self.worker()
        self.emacs.do("(progn (setq sync-accounts mailsync-accounts mailsync-accounts nil) (mailsync-restart))")
        self.gone(pid)
        self.emacs.do("(progn (setq mailsync-accounts sync-accounts) (mailsync-restart))")
        self.emacs.wait("a worker", self.workers)
        self.emacs.quiet()

    def two(self):
        """The second one syncs when the first one has gone, and its worker with it."""
        first, second = self.emacs, self.launch()
        pid = self.worker()
        second.wait("who syncs", lambda: "elsewhere synced by pid %d" % first.pid in second.state())
        assert self.workers() == [pid]
        first.ask("(kill-emacs 0)")
        first.ended()
        self.emacs = second
        self.gone(pid)
        self.deliver("R&D", "for the second")
        self.wait_same()
        second.quiet()
        self.pid = self.worker()

    def emacs_is_killed(self):
        self.emacs.die()
        self.gone(self.pid)

    def run(self):
        self.check("the first sync brings everything", self.first_sync)
        self.check("changes here", self.changes_here)
        self.check("changes there", self.changes_there)
        self.check("the worker is killed between two syncs", self.killed_at_rest)
        self.check("the worker is killed in the middle of a sync", self.killed_in_the_middle)
        self.check("pauses and stops", self.pauses_and_stops)
        self.check("the account is removed", self.removed)
        self.check("two Emacsen, of which one quits", self.two)
        self.check("Emacs is killed", self.emacs_is_killed)
