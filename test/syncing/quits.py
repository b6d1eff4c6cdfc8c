"""C-g at any moment, while mail comes, is read and synced: nothing that changed is forgotten for it.

The keys are real ones.  In a terminal of its own C-g is a signal to Emacs; what is quit is a command,
or whatever is let be quit.  In a window system it is input, and whoever types it three times while
Emacs is busy quits anything, timers and filters too.  To Emacs a terminal that is not its own is like
that, and so this is done there ("window").
"""
import collections
import fcntl
import hashlib
import os
import pty
import random
import re
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time

from syncing.emacs import Emacs, lisp
from syncing.world import World, version

QUIT = b"\x07"
# What the user has Emacs do, by a key with Meta (see quits.el), and how often that.
KEYS = {"s": 3, "l": 2, "y": 4, "c": 2, "r": 2, "o": 1, "i": 2, "p": 1, "e": 2, "h": 3}
FOLDERS = ["INBOX", "a", "b", "c d"]
# What no quit is a reason for.
WRONG = re.compile("internal error|Error running timer|error in process|engine ended|please report|signals: |not started")
# What three of them in a row are a reason for: where they meet such a function before its first form Emacs says
# so, and where they meet a start the user is told that there is none.
FORCED = re.compile("(error in process (filter|sentinel)|.* error +not started): Quit( \\[[0-9]+ times\\])?$")


class Typist(Emacs):
    """One with a terminal of ours: its own ("terminal"), or another one ("window")."""

    def begin(self, args, within, environment):
        self.keyboard, screen = pty.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", self.size[1], self.size[0], 0, 0))
        self.shown = collections.deque(maxlen=50)
        threading.Thread(target=self.look, daemon=True).start()
        environment = {**environment, "TERM": "xterm"}
        args.insert(1, "--module-assertions")
        if self.mode == "window":
            args.insert(1, "--fg-daemon=quits")
            environment["QUITS_TERMINAL"] = os.ttyname(screen)
            out = open(self.work + "/said", "w", encoding="utf-8")
            self.process = subprocess.Popen([*within, *args], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        else:
            args.insert(1, "-nw")
            self.process = subprocess.Popen(["setsid", "-c", *within, *args], env=environment, stdin=screen, stdout=screen,
                                            stderr=screen)
        self.screen_end = screen

    def look(self):
        while True:
            try:
                self.shown.append(os.read(self.keyboard, 65536))
            except OSError:
                return

    def type(self, keys):
        os.write(self.keyboard, keys)

    def key(self, letter):
        self.type(b"\x1b" + letter.encode())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            os.close(self.screen_end)

    def how(self):
        """How it is, as quits.el says."""
        try:
            with open(self.work + "/state", encoding="utf-8") as file:
                return dict(line.split("\t", 1) for line in file.read().splitlines())
        except FileNotFoundError:
            return {"ticks": "0", "marks": "0", "on": "nil"}

    def lives(self):
        assert self.process.poll() is None, "Emacs has ended: %s" % self.process.returncode


def old():
    """True for Emacs 28: in its own terminal one C-g while M-x reads can leave it there, see `quit'."""
    return version(os.environ.get("EMACS") or "emacs") < (29,)


class Quits(World):
    """ROUNDS says how often something happens and C-g is typed, SEED what."""

    gnus_too = False

    def path(self, name):
        return self.local if name == "INBOX" else os.path.join(self.local, "." + name)

    def start(self):
        program = os.path.join(self.dir, "syncer")
        with open(program, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho run >>'%s/runs'\n" % self.dir)
        os.chmod(program, 0o755)
        for name in FOLDERS:
            for part in ("tmp", "new", "cur"):
                os.makedirs(os.path.join(self.path(name), part), exist_ok=True)
        init = """
(setq mailsync-accounts '(("w" :maildir %s :syncer (mailsync-command %s "%%f")))
      mailsync-coalesce-delay 0.01 mailsync-base-delay 0.05 mailsync-inter-delay 0.05
      mailsync-gnus-idle-delay 0.02 mailsync-gnus-max-wait 0.2 mailsync--quit-pause 0.1 mailsync--doubt-delay 0.3
      mailsync-gnus-catch-up-delay 0.1 mailsync-log-level 'debug)
""" % (lisp(self.local), lisp(program))
        more = {}
        if self.gnus_too:
            for name in FOLDERS:
                os.symlink(self.path(name), self.dir + "/links/" + name)
            more["QUITS_LINKS"] = self.dir + "/links"
        else:
            init += "(setq mailsync-check-function #'quits-check)"
        self.number, self.tally = 0, collections.Counter()
        self.launch = lambda: self.begin(init, more)
        self.launch()

    def begin(self, init, more):
        """Start an Emacs, and wait until it knows all that is there."""
        self.emacs = Typist(os.path.join(self.dir, "emacs%d" % self.tally["Emacsen lost"]), self.mode)
        self.emacsen.append(self.emacs)
        self.emacs.start(init, self.runtime, "quits.el", **more)
        # Whether it may be that M-x was typed and is not read yet, or that Emacs still reads a command for it.
        self.typed = False
        self.rest()

    # Mail

    def names(self, name):
        return [os.path.join(self.path(name), part, file) for part in ("new", "cur")
                for file in os.listdir(os.path.join(self.path(name), part))]

    def arrives(self, name):
        self.number += 1
        file = "%d.quits.host" % self.number
        with open(os.path.join(self.path(name), "tmp", file), "w", encoding="utf-8") as out:
            out.write("From: a@example.invalid\nTo: b@example.invalid\nSubject: mail %d\nMessage-ID: <%d@quits.invalid>\n"
                      "Date: Mon, 01 Jan 2024 10:00:00 +0000\n\nText.\n" % (self.number, self.number))
        os.rename(os.path.join(self.path(name), "tmp", file), os.path.join(self.path(name), "new", file))

    def is_read(self, name, how="S"):
        """Somebody else reads a message, or flags it."""
        files = self.names(name)
        if files:
            file = self.chance.choice(files)
            base, _, flags = os.path.basename(file).partition(":2,")
            os.rename(file, os.path.join(self.path(name), "cur", base + ":2," + "".join(sorted(set(flags) ^ {how}))))

    def few(self):
        """Remove what is too much, which is a change as well."""
        for name in FOLDERS:
            files = self.names(name)
            for file in files[30:]:
                os.remove(file)

    # What Emacs knows, and what is there

    def there(self):
        found = {}
        for name in FOLDERS:
            files = [os.path.basename(file) for file in self.names(name)]
            if self.gnus_too:
                found["read nnmaildir+fix:" + name] = str(sum(not re.search(":2,[A-Z]*S", file) for file in files))
            else:
                found["read " + os.path.realpath(self.path(name))] = (
                    '"%s"' % hashlib.md5("\n".join(sorted(files)).encode()).hexdigest())
        return found

    def differences(self):
        """What of all that is to be so when nothing happens is not."""
        how = self.emacs.how()
        depth = "1" if how.get("stuck") == "t" else "0"
        wanted = {**self.there(), "on": "t", "accounts": '(("w" watching))', "pending": "0", "held": "t", "in-flight": "nil",
                  "incoming": "0", "sync": "(idle nil 0)", "minibuffer": depth, "recursion": depth, "debug": "nil", "pipes": "1",
                  "timers": "nil", "flag": "nil", "gnus": "0" if self.gnus_too else "nil"}
        return ["%s is %s, not %s" % (key, how.get(key), value) for key, value in wanted.items() if how.get(key) != value]

    def lost(self):
        """Whether this Emacs has a Gnus that waits for the end of a minibuffer that is none."""
        return self.gnus_too and self.emacs.how().get("stuck") == "t"

    def rest(self):
        """The user does nothing but what he has to: then nothing waits, and everything is known."""
        end, turn, ticks = time.monotonic() + 60, 0, ""
        while not self.lost() and (differences := self.differences()):
            self.emacs.lives()
            errors = [fact for fact in self.emacs.facts() if fact.startswith("error")]
            assert not errors, errors
            assert time.monotonic() < end, "\n".join(["not within time:", *differences])
            how = self.emacs.how()
            if self.reads_in(how):
                # C-], since C-g leaves it only from within.
                self.emacs.type(b"\x1d")
                time.sleep(0.1)
            elif how["ticks"] == ticks and turn % 20 == 19:
                # The third C-g has ended the timer that says how it is; any command makes another.
                self.emacs.key("h")
            elif how["on"] == "nil":
                self.emacs.key("i")
            elif " t " in how.get("sync", ""):
                self.emacs.key("e")
            if turn % 20 == 19:
                ticks = how["ticks"]
            turn += 1
            time.sleep(0.03)

    def reads_in(self, how):
        """Whether Emacs reads in the minibuffer; not if it only counts one, as `live' says at the end."""
        return how.get("minibuffer", "0") != "0" and how["stuck"] == "nil"

    # A round

    def happens(self):
        what = self.chance.choice(["mail", "mail", "mail", "burst", "flag", "flag", "gone", "key", "key", "key", "typing", "nothing"])
        if what == "typing" and self.mode == "terminal" and old():
            what = "key"
        name = self.chance.choice(FOLDERS)
        self.tally[what] += 1
        self.does(what, name)
        return what

    def does(self, what, name):
        if what == "mail":
            self.arrives(name)
        elif what == "burst":
            for _ in range(self.chance.randrange(2, 12)):
                self.arrives(self.chance.choice(FOLDERS))
        elif what == "flag":
            self.is_read(name, self.chance.choice("SSF"))
        elif what == "gone":
            files = self.names(name)
            if files:
                os.remove(self.chance.choice(files))
        elif what == "key":
            letter = self.chance.choices(list(KEYS), KEYS.values())[0]
            self.tally["key " + letter] += 1
            self.emacs.key(letter)
        elif what == "typing":
            self.typed = True
            self.emacs.type(b"\x1bxmailsync-" + self.chance.choice([b"status\r", b"check\r", b"log", b"st\t"]))

    def quit_once(self):
        """In its own terminal Emacs asks whether to abort if another C-g comes before this one is taken."""
        self.emacs.type(QUIT)
        self.tally["C-g"] += 1
        ticks = int(self.emacs.how()["ticks"])
        self.emacs.wait("C-g is taken", lambda: (lambda how: int(how["ticks"]) > ticks + 1 and how["flag"] == "nil")(self.emacs.how()))

    def reads(self):
        """Whether Emacs reads in the minibuffer, once all that was typed is read: a busy one may get to it late."""
        marks, tries = self.emacs.how()["marks"], 0
        while (how := self.emacs.how())["marks"] == marks:
            # A C-g from before can still end this command, and the timer that says how it is.
            if tries % 30 == 0:
                self.emacs.lives()
                assert tries < 1800, "what is typed is not read: %s" % how
                self.emacs.key("m")
            tries += 1
            time.sleep(0.03)
        self.tally["marks"] += 1
        self.typed = self.reads_in(how)
        return self.typed

    def quit(self, what):
        # Three in a row while Emacs reads in the minibuffer can have it count that for ever: its depth stays 1,
        # and C-] says "No catch for tag: exit".  That is Emacs's own, and is not what is to be seen.
        if self.mode == "terminal" or what == "typing" or self.typed and self.reads():
            self.quit_once()
            return
        for _ in range(self.chance.choice([1, 1, 2, 3, 3, 4, 7])):
            self.emacs.type(QUIT)
            self.tally["C-g"] += 1
            time.sleep(self.chance.choice([0, 0, 0.0005, 0.002, 0.01]))

    def renew(self):
        """Where this Emacs is lost the next one goes on, once it knows all that is there."""
        if self.lost():
            self.says()
            self.emacs.stop()
            self.emacsen.remove(self.emacs)
            self.tally["Emacsen lost"] += 1
            self.launch()

    def live(self):
        seed = int(os.environ.get("SEED") or time.time())
        rounds = int(os.environ.get("ROUNDS") or 60)
        print("SEED=%d ROUNDS=%d" % (seed, rounds), flush=True)
        self.chance = random.Random(seed)
        began = time.monotonic()
        for number in range(rounds):
            self.renew()
            what = self.happens()
            time.sleep(self.chance.choice([0, 0, 0.001, 0.003, 0.01, 0.015, 0.02, 0.03, 0.05]))
            self.quit(what)
            if self.chance.random() < 0.06:
                self.few()
                self.rest()
                self.tally["rests"] += 1
            if number % 500 == 499:
                print("%d rounds in %.0f s: %s" % (rounds, time.monotonic() - began, dict(self.tally)), flush=True)
        self.few()
        self.rest()
        self.renew()
        how = self.emacs.how()
        print("%d rounds in %.0f s; %s; %s quits came to the top, %s pipes were made anew for one%s"
              % (rounds, time.monotonic() - began, dict(self.tally), how["quits"], how["mended"],
                 "; Emacs counts a minibuffer that is none" if how["stuck"] == "t" else ""), flush=True)

    def says(self):
        """Nothing is in the log that should not be."""
        self.reads()
        self.emacs.key("w")
        self.emacs.wait("the log", lambda: os.path.exists(self.emacs.work + "/Messages"))
        time.sleep(0.1)
        for name in ("mailsync-log", "Messages", "said"):
            path = os.path.join(self.emacs.work, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    wrong = [line for line in file.read().splitlines() if WRONG.search(line) and not FORCED.match(line)]
                assert not wrong, wrong[:20]
        assert os.path.exists(self.dir + "/runs")

    def stops(self):
        """When it is stopped nothing of it is left."""
        self.emacs.key("o")
        self.emacs.wait("the end", lambda: (lambda how: (how["on"], how["threads"], how["pipes"], how["timers"])
                                            == ("nil", "0", "0", "nil"))(self.emacs.how()))

    def clean(self, good):
        if not good and self.emacs and self.emacs.process and self.emacs.process.poll() is None:
            self.emacs.type(QUIT)
            time.sleep(0.1)
            self.emacs.key("w")
            time.sleep(1)
        super().clean(good)

    def run(self):
        if not shutil.which("setsid") and self.mode == "terminal":
            print("skipped: no setsid\n0 passed, 0 failed")
            return
        self.check("all is watched", self.start)
        self.check("C-g at any moment", self.live)
        self.check("nothing wrong was said", self.says)
        self.check("it stops", self.stops)


class QuitsGnus(Quits):
    """With a Gnus that reads the mail."""

    gnus_too = True
