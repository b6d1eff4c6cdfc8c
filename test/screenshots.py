#!/usr/bin/env python3
"""`make screenshots': the pictures of README.org, in doc/screenshots.

usage: test/screenshots.py DIRECTORY

A user has typed the first quick start and reads mail in a terminal, which is drawn.  EMACS is the Emacs to run.
"""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import terminal
from syncing import quickstart
from syncing.emacs import Emacs

COLUMNS, LINES = 100, 18
FOLDERS = {"INBOX": 12, "family": 2, "invoices": 3, "emacs-devel": 31, "ding": 7, "isync": 4,
           "project": 9}
LOOK = """
(setq inhibit-startup-screen t gnus-novice-user nil ring-bell-function #'ignore
      mailsync-gnus-mode-line-groups '("nnmaildir+work:INBOX" "nnmaildir+work:family" "nnmaildir+work:project"))
(menu-bar-mode -1)
(load-theme 'modus-operandi t)
"""


class Screenshots(quickstart.QuickStart):
    folders, look = FOLDERS, LOOK

    def __init__(self, directory):
        super().__init__("mbsync", "verbatim", "tmux")
        self.pictures = os.path.abspath(directory)
        os.makedirs(self.pictures, exist_ok=True)

    def fill(self):
        with self.imap() as c:
            for name in FOLDERS:
                if name != "INBOX":
                    c.create('"%s"' % name)
        for name, count in FOLDERS.items():
            self.append(name, *("%s-%d" % (name, number) for number in range(count)))

    def shot(self, name):
        screen = subprocess.run(["tmux", "-S", self.emacs.work + "/tmux", "capture-pane", "-e", "-p"], check=True,
                                capture_output=True, text=True).stdout
        terminal.draw(screen, COLUMNS, os.path.join(self.pictures, name + ".png"))

    def seen(self, text):
        self.emacs.wait(lambda: text + " on the screen: " + self.emacs.screen(), lambda: text in self.emacs.screen(), 60)

    def run(self):
        with open(quickstart.MANUAL, encoding="utf-8") as file:
            self.texts = quickstart.sections(file.read())
        self.programs()
        self.provider()
        self.emacs = Emacs(self.dir + "/emacs", self.mode)
        self.emacsen.append(self.emacs)
        self.emacs.size = (COLUMNS, LINES)
        self.begin(self.emacs, list(self.texts)[0], None)
        self.append("INBOX", "Lunch?")
        self.append("emacs-devel", "A question", "Re: A question")
        self.seen("33: nnmaildir+work:emacs-devel")
        self.seen("[watching]")
        self.shot("group")
        self.emacs.keys("M-x", "mailsync-status", "Enter")
        self.seen("NOTIFY")
        self.emacs.keys("C-x", "1")
        self.emacs.wait("rest", lambda: "[watching]" in self.emacs.value("mailsync-mode-line--string")
                        and not any(word in self.emacs.screen() for word in ("pending", "waits")), 60)
        self.shot("status")
        # The password is another one now.
        self.program("pass", "echo wrong\n")
        self.emacs.do('(mailsync-sync "work")')
        self.emacs.wait("a pause", lambda: "[paused]" in self.emacs.value("mailsync-mode-line--string"), 60)
        self.emacs.do("(message nil)")
        self.seen("paused")
        self.shot("trouble")


def main():
    os.environ["PATH"] += ":/usr/sbin"  # Dovecot
    os.environ.update(COLORTERM="truecolor", TERM="xterm-256color")
    test = Screenshots(sys.argv[1])
    good = False
    try:
        test.run()
        good = True
    finally:
        test.clean(good)


if __name__ == "__main__":
    main()
