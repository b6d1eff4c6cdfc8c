"""A server that is killed, stopped and started again, while it is watched, synced with and read, and mail comes.

One account has a maildir, which is synced; another one is what Gnus reads by nnimap.  mailsync comes to the
server through a relay for each, which notes each attempt; while the server is away the relays take some
of them, and refuse others.

In a terminal, since Emacs ignores SIGPIPE only there: in batch (28.2 and 30.1) it ends with 141 at its second write to
a server that has gone, if it has not read of the end of the connection before.
"""
import collections
import imaplib
import os
import random
import signal
import subprocess
import time

from syncing.emacs import FIXTURES, lisp
from syncing.imap import REST, Imap
from syncing.relay import Relay
from syncing.world import subject

# The wait after a failure: the longest that there is in imap.py, which is less than five seconds.
WAIT = 2
# No connection is made more often (AT_MOST in src/remote/attempts.rs).
AT_MOST = 1
# By how much an attempt may be noticed late, so that the next one seems to come early.
LATE = 0.4


class Restarts(Imap):
    """RESTARTS says how often it is away, SEED when, and how it ends."""

    def start_server(self):
        super().start_server()
        self.relays = [Relay(self.port), Relay(self.port)]
        self.stores = [self.remote_store.replace(str(self.port), str(relay.port)) for relay in self.relays]
        # Nobody may be asked for anything.
        self.authinfo += ("""
(dolist (function '(read-passwd read-string yes-or-no-p y-or-n-p read-multiple-choice))
  (advice-add function :before (lambda (&rest args) (e2e-say "error" "somebody is asked" args))))
(sync-authinfo-more %d %s)
(sync-authinfo-more %d %s)""" % (self.relays[0].port, lisp(self.password), self.relays[1].port, lisp(self.password)))

    # The server

    def processes(self):
        """Those of the server, its first one first."""
        with open(self.dir + "/dovecot/run/master.pid", encoding="utf-8") as file:
            master = file.read().strip()
        found = subprocess.run(["pgrep", "-P", master], check=False, capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in [master, *found]]

    def ends(self):
        how = self.chance.choice(["killed", "killed", "stopped", "told to stop"])
        self.tally[how] += 1
        conf = self.dir + "/dovecot/dovecot.conf"
        if how == "told to stop":
            self.dovecot("stop")
        elif how == "stopped":
            subprocess.run(["doveadm", "-c", conf, "stop"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            for pid in self.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            os.remove(self.dir + "/dovecot/run/master.pid")
        self.emacs.wait("its end", lambda: not self.answers())

    def answers(self):
        try:
            with self.imap():
                return True
        except (OSError, EOFError, imaplib.IMAP4.error):
            return False

    # Mail

    def arrives_here(self):
        name = self.chance.choice(list(self.boxes))
        self.sent.append("here-%d" % len(self.sent))
        self.deliver(name, self.sent[-1])

    def arrives_there(self):
        """By IMAP, or by a delivery to where the server keeps it."""
        name = self.chance.choice(list(self.boxes.values()))
        self.sent.append("there-%d" % len(self.sent))
        if self.up and self.chance.random() < 0.7:
            self.append(name, self.sent[-1])
        else:
            place = self.dir + "/dovecot/mail/alice" + ("" if name == "INBOX" else "/." + name.replace("/", "."))
            subprocess.run([os.path.join(FIXTURES, "deliver.sh"), place, self.sent[-1]], check=True, stdout=subprocess.DEVNULL)

    def mail(self):
        for _ in range(self.chance.choice([1, 1, 2, 4])):
            self.chance.choice([self.arrives_here, self.arrives_there])()

    # What has to be so

    def all_counted(self):
        return all(self.unread(name) == self.unseen(name) for name in self.boxes)

    def all_is_well(self):
        """The sides are the same, Gnus counts what is there, and the server is watched."""
        self.wait_far_end("connected connected")
        self.wait_same(seconds=90)
        self.emacs.wait(lambda: "the counts: %s" % [(name, self.unread(name), self.unseen(name))
                                                    for name in self.boxes], self.all_counted, 60)

    def held(self):
        """How many descriptors and threads Emacs has, and children."""
        proc = "/proc/%d" % self.emacs.pid
        children = subprocess.run(["pgrep", "-P", str(self.emacs.pid)], check=False, capture_output=True, text=True).stdout.split()
        return len(os.listdir(proc + "/fd")), len(os.listdir(proc + "/task")), len(children)

    def backoff(self):
        """No attempt came too early after those that had failed."""
        shortest = float("inf")
        for tries in [relay.tries for relay in self.relays]:
            failures = 0
            for (before, reached), (then, _) in zip(tries, tries[1:]):
                failures = 0 if reached else failures + 1
                assert then - before > (WAIT if failures else AT_MOST) - LATE, (failures, then - before)
                shortest = min(shortest, then - before)
        tries = self.relays[0].tries + self.relays[1].tries
        return len(tries), sum(not reached for _, reached in tries), shortest

    def first(self):
        self.account = ":remote " + self.stores[0]
        more = "(setq mailsync-accounts (append mailsync-accounts '((\"far\" :remote %s))))" % self.stores[1]
        self.emacs = self.launch(more=self.delays + self.authinfo + more)
        self.emacs.wait_fact("ends\tok", 60)
        self.read_nnimap()
        self.emacs.do(self.authinfo)
        self.all_is_well()
        self.emacs.quiet(REST)
        self.before = self.held()

    def live(self):
        seed = int(os.environ.get("SEED") or time.time())
        restarts = int(os.environ.get("RESTARTS") or 3)
        print("SEED=%d RESTARTS=%d" % (seed, restarts), flush=True)
        self.chance, self.tally, self.sent, self.up = random.Random(seed), collections.Counter(), [], True
        began, away = time.monotonic(), 0
        for number in range(restarts):
            self.emacs.forget()
            self.mail()
            time.sleep(self.chance.choice([0, 0.1, 0.3, 0.6, 1.2]))
            self.up = False
            if self.chance.random() < 0.4:
                self.chance.choice(self.relays).set("refuse")
            self.ends()
            gone = time.monotonic()
            self.mail()
            time.sleep(self.chance.choice([0, 0, 0.3, 1, 2.5]))
            self.dovecot("start")
            for relay in self.relays:
                relay.set("pass")
            away += time.monotonic() - gone
            self.up = True
            self.mail()
            if self.chance.random() < 0.3 or number == restarts - 1:
                self.tally["compared"] += 1
                self.all_is_well()
            if number % 10 == 9:
                print("%d times in %.0f s: %s" % (number + 1, time.monotonic() - began, dict(self.tally)), flush=True)
        print("%s in %.0f s, away for %.0f s; %d messages sent" % (dict(self.tally), time.monotonic() - began, away, len(self.sent)))

    def in_the_end(self):
        self.all_is_well()
        self.emacs.quiet(REST)
        here = collections.Counter(subject(text) for name in self.boxes for _, text in self.files(name))
        there = collections.Counter(name for wire in self.boxes.values() for name in
                                    (subject(text) for _, text in self.there(wire)))
        for found in (here, there):
            assert not set(self.sent) - set(found), ("lost", set(self.sent) - set(found))
            assert not [name for name in found if found[name] > 1], ("doubled", found)
        self.emacs.wait(lambda: "descriptors, threads and children: %s, not %s" % (self.held(), self.before),
                        lambda: all(now <= then for now, then in zip(self.held(), self.before)), 60)
        runs = [fact.split("\t")[1] for fact in self.emacs.all_facts() if fact.startswith("ends\t")]
        print("%d attempts, %d of them in vain, none sooner than %.2f s after the last; runs: %s"
              % (*self.backoff(), dict(collections.Counter(runs))))
        assert not self.emacs.said("Password"), "somebody was asked"

    def run(self):
        self.start()
        self.check("the server is watched, synced with, and read", self.first)
        self.check("it is killed, stopped and started", self.live)
        self.check("nothing is lost, doubled, forgotten or left", self.in_the_end)
