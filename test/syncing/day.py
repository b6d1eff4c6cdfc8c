"""A day of somebody who has mail: a user at a terminal, an hour in a minute, and nothing may annoy.

Not a part of `make test': it takes minutes, and it leaves screens, below the directory that it prints,
for somebody to look at.  What can be told without looking is asserted.
"""
import os
import random
import time

from syncing.emacs import lisp
from syncing.remote import watcher
from syncing.world import World

TEXT = "Dear all, this is what I am writing while mail comes in. "


class Day(World):
    """DAY says how many seconds it takes, SEED what happens in it."""

    def start(self):
        self.account = ":remote (watcher %s %s)" % (lisp(watcher()), lisp("--maildir=%s/dovecot/mail/alice" % self.dir))
        self.start_server()
        for name, wire in self.boxes.items():
            self.append(wire, *("%s-%d" % (wire.replace("/", "."), number) for number in range(4)))
        self.emacs = self.launch(more="""
(require 'mailsync-notify)
(add-hook 'mailsync-new-mail-functions #'mailsync-notify-echo)
(setq mailsync-gnus-update-summary 'insert mailsync-gnus-idle-delay 0.5)""")
        self.emacs.wait_fact("ends\tok", 60)
        self.gnus()
        self.wait_same()
        self.screens, self.seed = 0, int(os.environ.get("SEED") or time.time())
        self.chance = random.Random(self.seed)
        self.number = 0
        os.mkdir(self.emacs.work + "/screens")
        print("SEED=%d, screens are in %s" % (self.seed, self.emacs.work + "/screens"), flush=True)

    def snap(self, what):
        self.screens += 1
        name = "%s/screens/%02d-%s" % (self.emacs.work, self.screens, what)
        with open(name, "w", encoding="utf-8") as file:
            file.write(self.emacs.screen())

    def mail(self):
        """Mail arrives on the server, mostly one message, or another client reads some."""
        box = self.chance.choice(["INBOX", "INBOX", "lists", "R&-D"])
        if self.chance.random() < 0.2:
            names = sorted(self.remote(box))
            self.store(box, self.chance.choice(names), self.chance.choice(["\\Seen", "\\Flagged"]))
            return
        for _ in range(self.chance.choice([1, 1, 1, 2, 5])):
            self.number += 1
            self.append(box, "news-%d" % self.number)

    def meanwhile(self, seconds):
        """Mail arrives for so long, about one delivery in three seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.mail()
            time.sleep(min(self.chance.uniform(1, 4), max(0, end - time.monotonic())))

    def where(self):
        """Where the user is: what may not change by itself."""
        return self.emacs.value("(list (buffer-name (window-buffer)) (window-start) (window-point)"
                                " (length (window-list)) (minibuffer-depth) (length (frame-list)))")

    # What the user does

    def types(self):
        """He writes while mail comes: each key arrives, nothing else does."""
        self.emacs.do('(progn (delete-other-windows) (switch-to-buffer "*mail draft*") (text-mode))')
        self.emacs.keys("-l", "x")
        self.emacs.keys("BSpace")
        typed = ""
        end = time.monotonic() + self.length / 6
        while time.monotonic() < end:
            if self.chance.random() < 0.15:
                self.mail()
            word = self.chance.choice(TEXT.split()) + " "
            self.emacs.keys("-l", word)
            typed += word
            time.sleep(0.15)
        self.snap("typed")
        text = self.emacs.value('(with-current-buffer "*mail draft*" (buffer-string))')
        assert text == typed, text

    def rests(self):
        """He looks at *Group* and does nothing: only counts change."""
        self.emacs.do('(progn (switch-to-buffer "*Group*") (gnus-group-jump-to-group "nnmaildir+fix:lists"))')
        before = self.where()
        self.meanwhile(self.length / 6)
        self.snap("rested")
        assert self.line() == "nnmaildir+fix:lists", self.line()
        assert before.split()[3:] == self.where().split()[3:], (before, self.where())

    def reads(self):
        """He reads in a Summary into which articles are inserted: his line stays his."""
        self.emacs.do('(progn (switch-to-buffer "*Group*") (gnus-group-jump-to-group "nnmaildir+fix:INBOX"))')
        self.emacs.keys("Enter")
        self.emacs.wait("the summary", lambda: "Summary" in self.emacs.screen())
        here = "(with-current-buffer gnus-summary-buffer (gnus-summary-article-number))"
        for _ in range(4):
            self.emacs.keys("n")
            time.sleep(0.5)
            before = self.emacs.value(here)
            self.meanwhile(self.length / 24)
            self.snap("reads")
            assert before == self.emacs.value(here), (before, self.emacs.value(here))
        self.emacs.keys("q")
        self.emacs.wait("the groups", lambda: "*Group*" in self.emacs.screen())

    def searches(self):
        """He is within an isearch, and then within a question: both stay."""
        self.emacs.do('(switch-to-buffer "*mail draft*")')
        self.emacs.keys("M->", "C-r", "d", "e", "a")
        self.meanwhile(self.length / 12)
        self.snap("isearch")
        assert "I-search backward: dea" in self.emacs.screen(), self.emacs.screen()
        # What follows a quit at once Emacs throws away.
        self.emacs.keys("C-g", "C-g")
        time.sleep(0.5)
        self.emacs.keys("M-x", "f", "o", "r")
        self.meanwhile(self.length / 12)
        self.snap("minibuffer")
        assert "M-x for" in self.emacs.screen(), self.emacs.screen()
        self.emacs.keys("C-g")

    def switches(self):
        """He has another frame, and works there."""
        self.emacs.keys("C-x", "5", "2")
        self.emacs.wait("another frame", lambda: "F2" in self.emacs.screen())
        before = self.where()
        self.meanwhile(self.length / 12)
        self.snap("other-frame")
        assert before == self.where(), (before, self.where())
        self.emacs.keys("C-x", "5", "0")

    def live(self):
        self.length = int(os.environ.get("DAY") or 75)
        for part in (self.types, self.rests, self.reads, self.searches, self.switches, self.rests):
            part()
        self.emacs.do('(mailsync-sync "w")')
        self.wait_same()
        self.emacs.quiet()
        self.ends()

    def ends(self):
        """What the day leaves to look at."""
        for number, form in enumerate(["(mailsync-status)", "(mailsync-log)", '(switch-to-buffer "*Messages*")',
                                       '(switch-to-buffer "*Group*")']):
            self.emacs.do("(progn (delete-other-windows) %s (delete-other-windows))" % form)
            time.sleep(1)
            self.snap("end-%d" % number)
        for name in ("*Messages*", "*mailsync-log*"):
            self.emacs.do("(with-current-buffer %s (write-region nil nil %s nil 'silent))"
                          % (lisp(name), lisp(self.emacs.work + "/screens/" + name.strip("*"))))
        wrong = [line for line in open(self.emacs.work + "/screens/mailsync-log", encoding="utf-8") if "rror" in line]
        assert not wrong, wrong

    def run(self):
        self.start()
        self.check("a day without annoyance", self.live)

    def clean(self, good):
        # The screens are what it is for.
        super().clean(False)
