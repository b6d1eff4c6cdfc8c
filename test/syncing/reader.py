"""What a user does in Gnus, key by key, and what happens to folders."""
import os
import re
import shutil

from syncing.emacs import lisp
from syncing.world import World


class Reader(World):
    """In a terminal, with folders that come and go on both sides."""

    def start(self):
        self.start_server()
        if self.syncer == "mbsync":
            # The state apart from the mailboxes, so that it tells which ones were deleted.
            self.configuration("Create Near", "Create Both")
            self.configuration("Remove None", "Remove Both")
            os.mkdir(self.config + "/state")
            self.configuration("SyncState *", 'SyncState "%s/state/"' % self.config)
        for name, wire in self.boxes.items():
            self.append(wire, *("%s-%d" % (wire.replace("/", "."), number) for number in range(2)))
        self.append("INBOX", "is-read", "is-ticked", "is-moved", "is-copied", "is-deleted")
        # A check that the test holds shall not be missed.
        self.emacs = self.launch(more="(setq mailsync-check-timeout 60)")
        self.emacs.wait_fact("ends\tok", 60)
        self.emacs.do("(setq sync-takes-mail t)")
        self.gnus()
        self.wait_same()
        self.emacs.forget()

    # In Gnus

    def enter(self, group, server="nnmaildir+fix:"):
        self.emacs.do("(sync-to-group %s)" % lisp(server + group))
        self.emacs.wait("point on it", lambda: self.line() == server + group)
        self.emacs.keys("Enter")
        self.emacs.wait("the summary", lambda: "Summary" in self.emacs.screen())

    def leave(self):
        self.emacs.keys("q")
        self.emacs.wait("the groups", lambda: "*Group*" in self.emacs.screen())

    def on(self, subject, *keys):
        """Press keys on a message."""
        self.emacs.do("(sync-at %s)" % lisp(subject))
        self.emacs.wait_fact("at\t" + subject)
        self.emacs.keys(*keys)
        # A key may take longer than the next order, which would move point before it comes.
        self.emacs.wait_fact("acts\t" + subject)

    def to(self, prompt, group):
        """Answer the question for a group."""
        self.emacs.wait("the question", lambda: prompt in self.emacs.screen())
        # The server is there already.
        self.emacs.keys(group, "Enter")
        self.emacs.wait("its end", lambda: prompt not in self.emacs.screen())

    def reads(self):
        """A message is read, one ticked, one moved, one copied, one deleted: it is all so there."""
        self.enter("INBOX")
        self.on("is-read", "d")
        self.on("is-ticked", "!")
        self.on("is-moved", "B", "m")
        self.to("ove this article to", "lists")
        self.on("is-copied", "B", "c")
        self.to("opy this article to", "a.b")
        self.on("is-deleted", "B", "BSpace")
        self.emacs.wait("its deletion here", lambda: "is-deleted" not in self.messages("INBOX"))
        self.leave()
        inbox = lambda: self.remote("INBOX")
        self.emacs.wait("the mark of a read one there", lambda: "\\Seen" in inbox()["is-read"])
        self.emacs.wait("the tick there", lambda: "\\Flagged" in inbox()["is-ticked"])
        self.emacs.wait("what was moved there", lambda: "is-moved" in self.remote("lists"))
        self.emacs.wait("what was copied there", lambda: "is-copied" in self.remote("a/b"))
        self.emacs.wait("less there", lambda: not {"is-moved", "is-deleted"} & set(inbox()))
        self.wait_same()
        assert "is-copied" in inbox(), inbox()
        self.emacs.quiet()
        assert self.same(), self.differences()
        assert "all" not in [run[0] for run in self.runs()], self.runs()

    def runs(self):
        return self.emacs.runs()

    # Splitting

    def next_number(self):
        """The number of the next message in the inbox there."""
        with self.imap() as c:
            return re.search(rb"UIDNEXT (\d+)", c.status("INBOX", "(UIDNEXT)")[1][0]).group(1)

    def splits_before_a_sync(self):
        """What Gnus takes out of the inbox never gets into the one there, even if Gnus takes its time."""
        self.emacs.do("(sync-split %s)" % lisp(self.directory("INBOX")))
        self.emacs.do("(setq sync-hold t)")
        number = self.next_number()
        self.deliver("INBOX", "delivered here, for the list")
        self.emacs.wait_fact("held")
        # Later than base-delay, and than the maildir's rest.
        self.emacs.quiet(waits=True)
        assert not self.runs(), self.runs()
        self.emacs.do("(sync-let-go)")
        self.emacs.wait_fact("split")
        self.emacs.wait("it there", lambda: "delivered here, for the list" in self.remote("lists"))
        self.emacs.wait("an empty inbox", lambda: not self.remote("INBOX") and not self.messages("INBOX"))
        self.wait_same()
        self.emacs.quiet()
        began = [number for number, fact in enumerate(self.emacs.facts()) if fact.startswith("begins")]
        split = [number for number, fact in enumerate(self.emacs.facts()) if fact.startswith("split")]
        assert split[0] < began[0], self.emacs.facts()
        assert {"INBOX", "lists"} <= set(self.runs()[0][0].strip("()").split()), self.runs()
        assert self.next_number() == number, "it went to the inbox there"
        assert self.same(), self.differences()

    def splits_what_comes_from_there(self):
        """What a sync brings is split, and its move goes back."""
        self.append("INBOX", "from there, for the list", "from there, for me")
        self.emacs.do('(mailsync-sync "w" \'("INBOX"))')
        self.emacs.wait("the one there", lambda: "from there, for the list" in self.remote("lists"))
        self.emacs.wait("the other there", lambda: "from there, for me" in self.remote("a/b"))
        self.emacs.wait("an empty inbox", lambda: not self.remote("INBOX") and not self.messages("INBOX"))
        self.wait_same()
        self.emacs.quiet()
        assert self.same(), self.differences()
        assert len(self.runs()) <= 4, self.runs()

    # Folders

    def folders_made_here(self):
        for name in ("made here", "a/b/deep"):
            self.make(name)
            self.deliver(name, "in " + name)
        self.wait_same()
        assert ["all"] in self.runs(), self.runs()
        self.emacs.quiet()

    def folders_made_there(self):
        with self.imap() as c:
            c.create('"made there"')
        self.append("made there", "in made there")
        self.boxes["made there"] = "made there"
        self.emacs.do('(mailsync-sync "w")')
        self.wait_same()
        self.emacs.quiet()
        # It is a folder like any other from now on.
        self.flag_here("made there", "in made there", "F")
        self.emacs.wait("the flag there",
                        lambda: "\\Flagged" in self.remote("made there")["in made there"])
        self.emacs.quiet()

    def folder_renamed_here(self):
        self.boxes["renamed"] = "renamed"
        os.rename(self.directory("made here"), self.directory("renamed"))
        self.emacs.wait("it there", lambda: "in made here" in self.remote("renamed"))
        self.emacs.quiet()
        assert ["all"] in self.runs(), self.runs()
        # mbsync deletes none with something in it there, but shall not bring it back.
        assert not os.path.exists(self.directory("made here"))
        del self.boxes["made here"]
        self.wait_same()

    def folder_deleted_here(self):
        for path, _ in self.files("renamed"):
            os.remove(path)
        self.emacs.wait("nothing in it there", lambda: self.there("renamed") == [])
        self.emacs.quiet()
        shutil.rmtree(self.directory("renamed"))
        self.emacs.wait("its absence there", lambda: self.there("renamed") is None)
        self.emacs.quiet()
        assert not os.path.exists(self.directory("renamed"))
        self.wait_same()

    def folder_deleted_there(self):
        self.store("made there", "in made there", "\\Deleted", expunge=True)
        self.emacs.do('(mailsync-sync "w")')
        self.emacs.wait("nothing in it here", lambda: self.here("made there") == [])
        self.emacs.quiet()
        with self.imap() as c:
            c.delete('"made there"')
        self.emacs.do('(mailsync-sync "w")')
        self.emacs.wait("its absence here", lambda: self.here("made there") is None)
        self.emacs.quiet()
        self.wait_same()

    def run(self):
        self.check("Gnus reads what the first sync brings", self.start)
        self.check("marks, a move, a copy and a deletion in Gnus", self.reads)
        self.check("Gnus splits before a sync", self.splits_before_a_sync)
        self.check("Gnus splits what a sync brings", self.splits_what_comes_from_there)
        self.check("folders are made here", self.folders_made_here)
        self.check("a folder is made there", self.folders_made_there)
        if self.syncer == "offlineimap":
            # It deletes no folders.
            return
        self.check("a folder is renamed here", self.folder_renamed_here)
        self.check("a folder is deleted here", self.folder_deleted_here)
        self.check("a folder is deleted there", self.folder_deleted_there)
