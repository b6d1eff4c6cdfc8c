"""Several Emacsen, one after the other or beside each other, some of which end in the middle of a sync."""
import fcntl
import os
import signal
import subprocess

from syncing.world import World


class Instances(World):
    """Without Gnus.  A sync is held in its middle by the relay."""

    MANY = 60
    TEXT = "Text. Text. Text.\r\n" * 150

    def left(self, session):
        return subprocess.run(["pgrep", "-s", str(session)], capture_output=True, check=False).stdout.split()

    def locked(self):
        """Names of the locks that somebody has."""
        found = []
        where = os.path.join(self.runtime, "mailsync")
        for name in os.listdir(where):
            with open(os.path.join(where, name), "rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append(name)
        return found

    def hold(self, name):
        """Have the Emacs be in the middle of a sync with changes both ways; return the syncer's session."""
        self.append("lists", *("%s-there-%d" % (name, number) for number in range(self.MANY)), text=self.TEXT)
        for number in range(5):
            self.deliver("lists", "%s-here-%d" % (name, number))
        some = sorted(self.messages("INBOX"))
        self.flag_here("INBOX", some[0], "F")
        self.emacs.wait("the flag there", lambda: "\\Flagged" in self.remote("INBOX")[some[0]])
        self.emacs.quiet()
        before = len(self.files("lists"))
        self.append("lists", *("%s-more-%d" % (name, number) for number in range(self.MANY)), text=self.TEXT)
        self.relay.set("hold", 70000)
        self.deliver("lists", name + "-pushed")
        self.flag_here("lists", name + "-here-0", "F")
        self.emacs.wait("a sync in the middle", self.relay.held.is_set)
        self.emacs.wait("some messages", lambda: len(self.files("lists")) > before + 1)
        assert len(self.files("lists")) < before + self.MANY, "too many"
        # While it runs.
        self.flag_here("lists", name + "-here-1", "F")
        self.deliver("a/b", name + "-meanwhile")
        pids = self.running()
        assert pids, "no syncer"
        return os.getsid(pids[0])

    def next_one(self):
        self.emacs = self.launch()

    def in_the_end(self):
        """The new Emacs makes both sides the same."""
        self.emacs.wait_fact("ends\tok", 60)
        self.wait_same()
        self.emacs.quiet()
        assert self.same(), self.differences()

    def first_sync(self):
        self.start()
        self.in_the_end()

    def kill_emacs(self):
        session = self.hold("a")
        self.emacs.ask("(kill-emacs 0)")
        self.emacs.ended()
        if self.syncer == "offlineimap":
            # It is left to finish what it is at.
            self.relay.set("pass")
        self.emacs.wait("the end of the syncer", lambda: not self.left(session), 20)
        assert not self.running(), self.running()
        assert not self.locked(), self.locked()
        self.relay.set("pass")
        assert self.differences(), "it was not in the middle"
        self.next_one()
        self.emacs.wait_fact("begins\tall")
        self.in_the_end()

    def killed(self):
        """It leaves the syncer behind: the next one waits for that."""
        session = self.hold("b")
        self.emacs.die()
        assert self.left(session)
        self.next_one()
        self.emacs.wait("who syncs", lambda: "synced by pid %d" % session in self.emacs.state())
        assert "an Emacs that is gone" in self.emacs.state(), self.emacs.state()
        self.emacs.quiet()
        assert not self.emacs.runs(), self.emacs.runs()
        self.relay.set("pass")
        self.emacs.wait("the end of the syncer", lambda: not self.left(session), 20)
        self.in_the_end()

    def killed_with_its_syncer(self):
        session = self.hold("c")
        os.kill(self.emacs.pid, signal.SIGKILL)
        os.killpg(session, signal.SIGKILL)
        self.emacs.ended()
        self.emacs.wait("the end of the syncer", lambda: not self.left(session), 20)
        self.relay.set("pass")
        self.next_one()
        self.emacs.wait_fact("begins\tall")
        self.in_the_end()

    def two(self):
        """One syncs; when that quits the other does, with what was changed meanwhile."""
        first, second = self.emacs, self.launch()
        second.wait("who syncs", lambda: "elsewhere synced by pid %d" % first.pid in second.state())
        self.deliver("R&D", "for two")
        first.wait_fact("ends\tok")
        second.wait_fact("changed\tR&D")
        self.wait_same(first)
        first.quiet()
        assert first.runs() == [["(R&D)"]], first.runs()
        second.do('(mailsync-sync "w")')
        second.wait("what it says", lambda: second.said('"w" is synced by pid %d' % first.pid))
        second.quiet()
        assert not second.runs(), second.runs()
        first.do("(mailsync-pause)")
        first.wait("the pause", lambda: first.state().startswith("paused"))
        self.flag_here("R&D", "for two", "F")
        second.wait("the flag here", lambda: [f for f in second.facts() if f.startswith("changed\tR&D\t(flags)")])
        assert not second.runs(), second.runs()
        first.stop()
        second.wait_fact("ends\tok")
        self.wait_same(second)
        self.emacs = second
        second.quiet()
        assert second.state().startswith("idle"), second.state()

    def stopped(self):
        """`mailsync-stop` makes room as well."""
        first, second = self.emacs, self.launch()
        second.wait("who syncs", lambda: "elsewhere synced by pid %d" % first.pid in second.state())
        first.do("(mailsync-stop)")
        self.deliver("R&D", "for the second")
        second.wait_fact("ends\tok")
        self.wait_same(second)
        second.quiet()
        assert not first.runs(), first.runs()

    def run(self):
        self.check("the first sync brings everything", self.first_sync)
        self.check("Emacs ends in the middle of a sync", self.kill_emacs)
        self.check("Emacs is killed in the middle of a sync, which goes on", self.killed)
        self.check("Emacs and the syncer are killed in the middle of a sync", self.killed_with_its_syncer)
        self.check("two Emacsen, of which one quits", self.two)
        self.check("two Emacsen, of which one stops to sync", self.stopped)
