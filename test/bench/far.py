"""How soon a message on a server is on the screen here, by ssh and mbsync.

From the rename into new/ of the server's Maildir until the line of its group in *Group* shows the count.
Server and all else are on this machine: an sshd and a Dovecot on loopback, the latter with 30 folders; five
of them get the mail and have 1,000 messages each.  Here an interactive Emacs (-nw -Q on a terminal of its
own) with a real Gnus reads by nnmaildir what mbsync brings.  Each way has a maildir and, for a row, an
Emacs of its own; only one of them runs at a time, in turns.
    mailsync   `:remote (watcher "ssh" ... "mailsync-watch")'
    chain      `ssh ... inotifywait', a shell loop that calls mbsync for the folders that it names, then
               emacsclient with `gnus-group-get-new-news-this-group' for their groups (far-chain.sh)
    polling    once a minute mbsync for everything, then `gnus-group-get-new-news'

Without delays: nobody waits.  Merging for 0.2 s: mailsync-watch waits for a folder to be quiet for so
long, as it does by default, and so does the loop.  mailsync is as it is by default; messages come seldom
enough for `mailsync-inter-delay' not to matter, to the chain as well.

Polling is real: several messages, each in a folder of its own, at even distances within the minute; so
their mean is half a minute and what a turn takes.  With QUICK there is no minute: the turn alone is
measured, and the half minute is added, as the table says.
"""
import os
import random
import shlex
import statistics
import subprocess
import sys
import time

from harness import (CLIENT, QUICK, Delivery, Emacs, Failed, Table, goal, lisp_file, lisp_string, new_name,
                     progress, undo, wait_for)
from sync import FIXTURES, Server

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from syncing.remote import Sshd  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ["BENCH_PROGRAM"]
FOLDERS = 30
BUSY = ["INBOX", "f1", "f2", "f3", "f4"]  # the folders that get mail
MESSAGES = 100 if QUICK else 1000  # in each of these
ROUNDS = 1 if QUICK else 2
TIMES = 3 if QUICK else 4  # messages a round
MINUTES = 1
SERVER = "nnmaildir+fix"
MERGING = "0.2"  # mailsync-watch's default


class Way:
    """A way to have mail here, with a maildir of its own."""

    def __init__(self, server, sshd):
        self.server, self.sshd = server, sshd
        self.config = new_name("near")
        subprocess.run([FIXTURES + "/sync-config.sh", self.config, str(server.port), "alice"], check=True)
        self.rc = os.path.join(self.config, "mbsyncrc")
        self.local = os.path.join(self.config, "local", "verbatim")
        self.links = os.path.join(self.config, "links")
        os.mkdir(self.links)
        self.names = ["INBOX", *server.names]
        for name in self.names:
            os.symlink(os.path.join(self.local, name), os.path.join(self.links, name))

    def mbsync(self):
        subprocess.run(["mbsync", "-q", "-c", self.rc, "verbatim"], check=True)

    def begin(self, delay):
        """With an Emacs whose Gnus has seen all that came before; DELAY is how long to merge."""
        self.mbsync()
        self.emacs = Emacs("-l", lisp_file("bench-far"))
        groups = "'(" + " ".join(lisp_string(f"{SERVER}:{name}") for name in self.names) + ")"
        names = [FIXTURES + "/gnus-init.el", os.path.join(self.emacs.run, "gnus"), self.links]
        self.emacs.eval(f"(bench-far-start {' '.join(map(lisp_string, names))} {groups})")
        wait_for(lambda: self.emacs.eval("bench-far-state") != "nil", "Gnus starts", 120)
        if self.emacs.eval("bench-far-state") != "started":
            raise Failed(f"Gnus does not start: {self.emacs.eval('bench-far-state')}")
        self.watch(delay)

    def watch(self, delay):
        pass

    def end(self):
        self.emacs.stop()

    def directory(self, folder):
        top = self.server.dir + "/mail/alice"
        return top if folder == "INBOX" else os.path.join(top, "." + folder)

    def send(self, folder):
        """Deliver a message there; the file in which Emacs will write when it is shown."""
        delivery = Delivery(self.directory(folder))
        if os.getuid() == 0:
            owner = os.stat(self.directory(folder))
            os.chown(delivery.tmp, owner.st_uid, owner.st_gid)
        shown = new_name("shown")
        self.emacs.eval(f"(bench-far-expect {lisp_string(f'{SERVER}:{folder}')} {lisp_string(shown)})")
        # Until that is over.
        time.sleep(0.2)
        delivery.rename()
        return delivery, shown

    def took(self, delivery, shown, seconds=60):
        """From the rename until it was shown, in ms."""
        wait_for(lambda: os.path.exists(shown), f"a message in {delivery.folder} is shown", seconds)
        with open(shown) as file:
            return (int(file.read()) - delivery.before - delivery.offset) / 1e6

    def one(self, folder):
        return self.took(*self.send(folder))


class Mailsync(Way):
    def watch(self, delay):
        words = self.sshd.command(PROGRAM, f"--delay={delay}", f"--maildir={self.server.dir}/mail/alice")
        remote = "(watcher " + " ".join(map(lisp_string, words)) + ")"
        syncer = f"(mailsync-mbsync \"verbatim\" :config {lisp_string(self.rc)})"
        self.emacs.eval(f"(bench-far-mailsync {lisp_string(self.local)} '{syncer} '{remote} "
                        f"{'0' if delay == '0' else 'nil'})")
        wait_for(lambda: self.emacs.eval("(bench-far-ready-p)") == "t", "mailsync watches the server", 60)
        # What its first sync has written is looked at.
        time.sleep(2)

    def end(self):
        # So that the far end goes as well.
        self.emacs.eval("(progn (mailsync-mode -1) t)")
        wait_for(lambda: self.emacs.eval("(mailsync-module--threads)") == "0", "the end of the engine")
        super().end()


class Chain(Way):
    def watch(self, delay):
        root = self.server.dir + "/mail/alice"
        words = ["inotifywait", "-m", "-r", "-e", "close_write,moved_to", "--format", "%w", shlex.quote(root)]
        command = [HERE + "/far-chain.sh", delay, self.rc, "verbatim", SERVER, root, self.emacs.socket,
                   *self.sshd.command(*words)]
        self.loop = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "CLIENT": CLIENT},
                                     start_new_session=True)
        undo.append(self.kill)
        if self.loop.stdout.readline() != b"watching\n":
            raise Failed("the chain does not watch")

    def kill(self):
        if self.loop:
            os.killpg(self.loop.pid, 9)
            self.loop.wait()
            self.loop = None

    def end(self):
        self.kill()
        super().end()


class Polling(Way):
    def turn(self):
        self.mbsync()
        subprocess.run([CLIENT, "-s", self.emacs.socket, "--eval", "(bench-far-all)"], check=True,
                       stdout=subprocess.DEVNULL)

    def quick(self, times):
        """What a turn takes until all is shown, in ms, with half a minute."""
        took = []
        for number in range(times):
            sent = self.send(BUSY[number % len(BUSY)])
            began = time.monotonic_ns()
            self.turn()
            # The message waits for the turn; that is not of it.
            took.append(30_000 + self.took(*sent) - (began - sent[0].before) / 1e6)
        return took

    def minute(self):
        """One message in each folder within a minute, then a turn."""
        began, sent = time.monotonic(), []
        for number, folder in enumerate(BUSY):
            time.sleep(max(0, began + 60 * (number + 0.5) / len(BUSY) - 0.2 - time.monotonic()))
            sent.append(self.send(folder))
        time.sleep(max(0, began + 60 - time.monotonic()))
        self.turn()
        return [self.took(*it) for it in sent]


def measure(way, delay, pause):
    took = []
    way.begin(delay)
    # The first one is for what is made then.
    for number in range(TIMES + 1):
        time.sleep(random.uniform(*pause))
        took.append(way.one(BUSY[number % len(BUSY)]))
    way.end()
    return took[1:]


def main():
    sshd = Sshd(new_name("sshd"))
    undo.append(sshd.stop)
    sshd.start()
    server = Server(FOLDERS)
    subprocess.run([FIXTURES + "/sync-seed.py", "bulk", server.dir + "/mail/alice", str(MESSAGES), *BUSY], check=True)
    ways = [kind(server, sshd) for kind in (Mailsync, Chain)]
    table = Table("mailsync", "chain", "polling")
    rows = {}
    for _ in range(ROUNDS):
        for delay in ("0", MERGING):
            for at, way in enumerate(ways):
                # mailsync's own rule is that syncs are five seconds apart.
                pause = (6, 7) if delay == MERGING and isinstance(way, Mailsync) else (2.5, 3.5)
                rows.setdefault(delay, ([], []))[at].extend(measure(way, delay, pause))
                progress(f"{type(way).__name__}, {delay}: {[round(it) for it in rows[delay][at]]}")
    polling = Polling(server, sshd)
    polling.begin("0")
    polled = polling.quick(TIMES) if QUICK else [it for _ in range(MINUTES) for it in polling.minute()]
    polling.end()
    progress("polling")
    for delay, name in (("0", "without delays"), (MERGING, f"merging for {MERGING} s")):
        ours, theirs = rows[delay]
        table.samples(f"a message until it is shown, {name}, ms, median", [ours, theirs, polled],
                      lambda middle, theirs=theirs: goal("1.5 times the chain", 1.5 * middle <= statistics.median(theirs)))
    table.print()
    print(f"{ROUNDS * TIMES} messages a row of mailsync and of the chain, one at a time, in 5 folders with "
          f"{MESSAGES:,} messages each; {FOLDERS} folders.")
    if QUICK:
        print(f"Polling: {len(polled)} turns without waiting for them, and the half minute that one waits on average.")
    else:
        print(f"Polling, once a minute: {len(polled)} messages, {len(BUSY)} a minute at even distances; half of it is "
              "the mean.")
