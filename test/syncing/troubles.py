"""What fails and is mended: the server, the password, the disk."""
import os
import shutil
import subprocess

from syncing.world import World


class Troubles(World):
    """Without Gnus, with the maildir on a disk of its own where one can be had (see main)."""

    disk = False

    def mount(self, options):
        """A small file system.  It goes with our mount namespace, however we end."""
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.config + "/local"],
                              check=False).returncode == 0

    def before_removal(self, good):
        if self.disk:
            if not good:
                shutil.copytree(self.config + "/local", self.dir + "/local")
            subprocess.run(["umount", self.config + "/local"], check=True)

    def first_sync(self):
        os.makedirs(self.config + "/local")
        self.disk = bool(os.environ.get("SYNC_PRIVATE")) and self.mount("size=4m")
        self.start()
        self.emacs.wait_fact("ends\tok", 60)
        self.wait_same()
        self.emacs.quiet()

    def server_away(self):
        """Changes of all kinds wait for it, and it is said once that they do."""
        self.relay.set("refuse")
        self.flag_here("lists", "lists-0", "F")
        self.emacs.wait_fact("state\tfailing")
        self.deliver("INBOX", "while it is away")
        os.remove(self.messages("R&D")["R&-D-0"])
        os.rename(self.messages("a/b")["a.b-0"], self.directory("with space") + "/cur/moved:2,S")
        self.emacs.wait("two failures", lambda: len(self.emacs.wait_fact("ends\ttransient")) > 1)
        assert self.emacs.said('"w" cannot be synced, and is tried again') == 1
        assert not self.emacs.said("can be synced again")
        self.relay.set("pass")
        self.wait_same()
        assert "while it is away" in self.remote("INBOX")
        assert "R&-D-0" not in self.remote("R&-D")
        assert "a.b-0" in self.remote("with space") and "a.b-0" not in self.remote("a/b")
        assert "\\Flagged" in self.remote("lists")["lists-0"]
        self.emacs.wait_fact("state\twatching")
        self.emacs.quiet()
        assert self.emacs.said('"w" cannot be synced, and is tried again') == 1
        assert self.emacs.said('"w" can be synced again') == 1

    def refused(self):
        """The second refusal pauses the account, until somebody wants it synced."""
        word = "Pass secret" if self.syncer == "mbsync" else "remotepass = secret"
        self.configuration(word, word.replace("secret", "wrong"))
        self.flag_here("lists", "lists-1", "F")
        # OfflineIMAP takes five seconds for each refusal.
        self.emacs.wait_fact("state\tpaused", 60)
        assert len(self.emacs.wait_fact("ends\tauth")) == 2, self.emacs.facts()
        self.emacs.wait("what to do", lambda: self.emacs.said("M-x mailsync-resume") == 1)
        state = self.emacs.state()
        assert state.startswith("paused ") and "refuses the login" in state, state
        self.emacs.forget()
        self.deliver("a/b", "while it is paused")
        self.emacs.wait_fact("changed\ta/b")
        self.emacs.quiet()
        assert not self.emacs.runs(), self.emacs.runs()
        self.configuration(word.replace("secret", "wrong"), word)
        self.emacs.do('(mailsync-sync "w")')
        self.wait_same()
        self.emacs.wait_fact("state\twatching")
        self.emacs.quiet()
        assert self.emacs.state().startswith("idle"), self.emacs.state()
        assert "while it is paused" in self.remote("a/b")
        assert self.emacs.said("M-x mailsync-resume") == 1, "it did sync"

    def full(self):
        return "the disk is full" if self.syncer == "mbsync" else "No space left on device"

    def nothing_lost(self, here, there):
        """What was here and there before still is."""
        for name, wire in self.boxes.items():
            missing = set(here[name]) - set(self.messages(name))
            assert not missing, (name, missing)
            missing = set(there[name]) - set(self.remote(wire))
            assert not missing, (name, missing)

    def subjects(self):
        return ({name: set(self.messages(name)) for name in self.boxes},
                {name: set(self.remote(wire)) for name, wire in self.boxes.items()})

    def no_room_for_a_message(self):
        self.append("lists", "before")
        self.append("lists", "large", text="0123456789\r\n" * 400000)
        self.append("lists", "after")
        before = self.subjects()
        self.emacs.do('(mailsync-sync "w")')
        ended = self.emacs.wait_fact("ends\ttransient")
        assert self.full() in ended[0], ended
        self.emacs.wait_fact("state\tfailing")
        # What was written of it is still there.
        self.flag_here("INBOX", "INBOX-1", "F")
        assert self.emacs.said(self.full()) == 1
        self.nothing_lost(*before)
        assert self.mount("remount,size=40m")
        self.wait_same()
        self.emacs.wait_fact("state\twatching")
        self.emacs.quiet()
        assert self.same(), self.differences()
        assert {"before", "large", "after"} <= set(self.messages("lists"))

    def no_room_at_all(self):
        """Not even for what the syncer remembers."""
        self.append("lists", "another")
        before = self.subjects()
        filler = self.config + "/local/filler"
        try:
            with open(filler, "wb", buffering=0) as file:
                while file.write(b"x" * 4096):
                    pass
        except OSError:
            pass
        self.flag_here("INBOX", "INBOX-0", "F")
        self.emacs.do('(mailsync-sync "w")')
        ended = self.emacs.wait_fact("ends\ttransient")
        self.emacs.wait_fact("state\tfailing")
        assert self.full() in ended[0], ended
        self.nothing_lost(*before)
        os.remove(filler)
        self.wait_same()
        self.emacs.wait_fact("state\twatching")
        self.emacs.quiet()
        assert self.same(), self.differences()
        assert "\\Flagged" in self.remote("INBOX")["INBOX-0"]

    def run(self):
        self.check("the first sync brings everything", self.first_sync)
        self.check("the server is away, and comes back", self.server_away)
        self.check("the server refuses the password, until it is right", self.refused)
        if not self.disk:
            print("skip  the disk is full: no file system may be mounted", flush=True)
            return
        self.check("the disk has no room for a message", self.no_room_for_a_message)
        self.check("the disk has no room at all", self.no_room_at_all)
