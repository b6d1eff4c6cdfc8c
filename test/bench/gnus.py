"""What it costs Emacs to check the groups of Gnus after mail has arrived.

A real Gnus on generated mail, over nnmaildir and over nnimap to a private Dovecot on loopback, once
with 20 ms added in each direction.  Three ways to see new mail, in the same Emacs, on the same groups,
in turn, each of them with a message of its own in each group:
    mailsync          the whole path: the module sees the delivery, mailsync checks
    the command       `gnus-group-get-new-news-this-group' on just these groups
    get-new-news      `gnus-group-get-new-news'
For the latter two mailsync only watches, and they begin when it has told of the delivery.  What they
found is compared afterwards: each count must have risen by one.

Blocked.  The time for which Emacs could not answer a key: how long each timer and each of mailsync's
filters ran, waiting included, and besides them what the main thread spent on a CPU, that is redisplay,
reading from processes and garbage collection after the check.  From the delivery, or from the call of
the command, until the main thread has been at rest for half a second.  `gc-cons-threshold' is at its
default, and Emacs collects garbage when it sees fit.

Pause.  The longest time at a stretch: of mailsync, in separate runs, the longest gap between two ticks
of a timer of 5 ms in that Emacs, or the longest run if that was longer.  Such a timer ticks on while
Gnus's commands wait for a server, though no key is answered: their pause is the call.

The full look.  nnmaildir's flags are not looked at when a message has only arrived, but later, when
Emacs has been idle for `mailsync-gnus-catch-up-delay'.  Here that comes sooner, and is measured apart.
"At once" says that nothing was left for then: a look at the flags was part of what is measured above.

Opening.  mailsync asks an IMAP server on a connection of its own.  To open it is the one thing for
which it waits; that happens when it starts, and whenever the connection was lost.
"""
import collections
import functools
import os
import socket
import statistics
import subprocess
import time

from harness import (QUICK, TOP, Delivery, Emacs, Failed, Table, goal, lisp_file, lisp_string, new_name, progress,
                     spread, undo, wait_for)

BIG, MIDDLE = (300, 100) if QUICK else (50000, 10000)
SMALL, MANY = 100, 10
DELAY = 20  # ms, in each direction
ROUNDS = 1 if QUICK else 5
WARM = 0 if QUICK else 1
TICKED = 1 if QUICK else 3
STARTS = 1 if QUICK else 3
REST = 0.3 if QUICK else 0.5  # s
FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fixtures")

COMMANDS = {"the command": "bench-gnus-command", "get-new-news": "bench-gnus-all"}
WAYS = ["mailsync", *COMMANDS]
# The ways of what was measured again.
again = []


def median(values):
    return statistics.median(list(values))


def fixture(name):
    return os.path.join(FIXTURES, name)


def run(*command):
    # To a file: a daemon that it starts would keep a pipe open.
    said = new_name("said")
    with open(said, "w+") as file:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
        file.seek(0)
        if status:
            raise Failed(f"{' '.join(command)}: {file.read()}")
        return file.read().strip()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Store:
    """Generated mail."""

    def __init__(self, folders):
        """FOLDERS says how many messages each one has."""
        self.top = new_name("mail")
        self.mail, self.links = os.path.join(self.top, "mail"), os.path.join(self.top, "links")
        self.folders = list(folders)
        os.makedirs(self.top)
        os.chmod(self.top, 0o711)  # Dovecot's mail processes run as somebody else if we are root
        big = [word for name, count in folders.items() for word in ["--big", f"{name}={count}"]]
        run("python3", fixture("make-corpus.py"), self.mail, "--folders", "0", "--messages", "0",
            "--links", self.links, *big)
        # Nobody is subscribed to this one.
        os.unlink(os.path.join(self.links, "INBOX"))

    def directory(self, folder):
        return os.path.join(self.mail, "." + folder)


def dovecot(store):
    """Serve STORE; return the port."""
    port, directory = free_port(), os.path.join(store.top, "dovecot")
    undo.append(lambda: run(fixture("dovecot.sh"), "stop", directory))
    run(fixture("dovecot.sh"), "start", directory, store.mail, "maildir++", str(port))
    return port


def far_away(port):
    """Put the server on PORT at a distance; return the port to use, and how far it is, in ms."""
    proxied = free_port()
    proxy = subprocess.Popen([fixture("delay-proxy.py"), str(proxied), str(port), str(DELAY)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    undo.append(lambda: (proxy.kill(), proxy.wait()))
    proxy.stdout.readline()
    took = []
    with socket.create_connection(("127.0.0.1", proxied), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(4096)
        for _ in range(10):
            start = time.monotonic()
            connection.sendall(b"a noop\r\n")
            connection.recv(4096)
            took.append((time.monotonic() - start) * 1e3)
    return proxied, median(took)


Sample = collections.namedtuple("Sample", "blocked collecting pause")


class Gnus:
    """An Emacs with Gnus, subscribed to some folders of a store, and mailsync."""

    # The check of what has been delivered begins within so many seconds.
    BEGINS = 0.6

    def __init__(self, store, folders, port=None):
        self.store, self.folders = store, folders
        self.emacs = Emacs("-l", lisp_file("bench-gnus"))
        backend = "nnimap" if port else "nnmaildir"
        self.groups = "'(" + " ".join(lisp_string(f"{backend}+fix:{folder}") for folder in folders) + ")"
        home = lisp_string(os.path.join(self.emacs.run, "gnus"))
        links = "nil" if port else lisp_string(store.links)
        self.emacs.eval(f"(bench-gnus-start {lisp_string(fixture('gnus-init.el'))} {home} {links} "
                        f"{port or 'nil'} {self.groups})")
        # The first time, it reads and indexes each message.
        time.sleep(0.6)
        self.rest(0)
        wait_for(lambda: self.emacs.eval("bench-gnus-state") != "nil", "Gnus does not start", 300)
        if self.emacs.eval("bench-gnus-state") != "started":
            raise Failed("Gnus does not start: " + self.emacs.eval("bench-gnus-state"))
        self.openings = []
        # Not within what is measured.
        self.emacs.eval("(progn (require 'mailsync) (require 'mailsync-gnus) (bench-gnus-catch-up 1.0e+6))")
        for _ in range(STARTS if port else 1):
            self.start()

    def start(self):
        """Start mailsync, once more; note what opening a connection took."""
        self.emacs.eval("(when (bound-and-true-p mailsync-mode) (mailsync-mode -1))")
        self.emacs.eval("(setq bench-started nil bench-gnus-opened nil)")
        self.emacs.eval(f"(bench-mailsync {lisp_string(self.store.mail)} nil)")
        wait_for(lambda: self.emacs.eval("bench-started") != "nil", "mailsync does not start")
        # It looks at all groups.
        self.rest(REST)
        wait_for(self.settled, "the groups are not checked")
        opened = self.emacs.eval("bench-gnus-opened")
        if opened != "nil":
            self.openings += [float(seconds) * 1e3 for seconds in opened.strip("()").split()]

    def settled(self):
        return self.emacs.eval("(bench-gnus-settled-p)") == "t"

    def unread(self):
        return [int(count) for count in self.emacs.eval(f"(bench-gnus-unread {self.groups})").strip("()").split()]

    def rest(self, least, quiet=REST):
        """Wait for LEAST seconds, and until Emacs has been at rest for QUIET; return its CPU time."""
        start = time.monotonic()
        cpu, since = self.emacs.cpu(), start
        while True:
            time.sleep(0.02)
            last, cpu = cpu, self.emacs.cpu()
            now = time.monotonic()
            if cpu != last:
                since = now
            if now - since >= quiet and now - start >= least + quiet:
                return cpu
            if now - start > 600:
                raise Failed("Emacs does not come to rest")

    def deliver(self):
        deliveries = [Delivery(self.store.directory(folder)) for folder in self.folders]
        for delivery in deliveries:
            delivery.rename()

    def blocked(self, act, ticks=False, begun=False):
        """ACT, and wait until Emacs is at rest again; how long it was not."""
        if not begun:
            self.emacs.eval(f"(bench-gnus-begin {'t' if ticks else 'nil'})")
        time.sleep(0.2)
        cpu, start = self.emacs.cpu(), time.time()
        act()
        if ticks:
            # It is never at rest.
            time.sleep(self.BEGINS + 0.4 + REST)
            spent = 0
        else:
            spent = (self.rest(self.BEGINS) - cpu) / 1e6
        told = self.emacs.eval(f"(bench-gnus-end {start:.6f} {time.time():.6f})")
        wall, longest, inside, collecting, gap = map(float, told.strip("()").split())
        return Sample(wall + max(0, spent - inside), collecting, max(longest, gap))

    def measure(self, way, ticks=False):
        """One message into each folder, seen in one WAY."""
        evaluate = self.emacs.eval
        evaluate(f"(bench-gnus-checks {'t' if way == 'mailsync' else 'nil'})")
        before = self.unread()
        if way == "mailsync":
            sample = self.blocked(self.deliver, ticks)
        else:
            evaluate("(bench-gnus-begin nil)")
            self.deliver()
            wait_for(lambda: int(evaluate("(length bench-told)")) >= len(self.folders), "mailsync does not tell")
            evaluate(f"(bench-gnus-begin {'t' if ticks else 'nil'})")
            evaluate(f"(bench-gnus-later #'{COMMANDS[way]} {self.groups})")
            sample = self.blocked(lambda: None, ticks, True)
        if not self.settled() or self.unread() == before:
            # It took longer to begin, and we have disturbed it.
            again.append(way)
            if len(again) > 20:
                raise Failed("checks begin late again and again")
            wait_for(lambda: self.settled() and self.unread() != before, f"{way}: counts do not rise: {before}")
            return self.measure(way, ticks)
        found = self.unread()
        if found != [count + 1 for count in before]:
            raise Failed(f"{way}: counts should have risen by one: {before}, {found}")
        return sample

    def catch_up(self):
        """The full look that follows later: how many ms it blocks, None if none is due."""
        self.measure("mailsync")
        if not self.due():
            return None
        self.emacs.eval("(bench-gnus-begin nil)")
        self.emacs.eval("(bench-gnus-later #'bench-gnus-catch-up 0)")
        sample = self.blocked(lambda: None, False, True)
        if self.due():
            raise Failed("the full look does not come")
        self.emacs.eval("(bench-gnus-catch-up 1.0e+6)")
        return sample.blocked

    def due(self):
        return self.emacs.eval("(plist-get (mailsync-gnus-status) :catch-up)") != "0"


class Samples:
    """What was measured with one Gnus: samples by way, and those of mailsync with ticks."""

    def __init__(self, gnus, ways=WAYS):
        self.of = {way: [] for way in ways}
        for turn in range(-WARM, ROUNDS):
            for way in ways:
                sample = gnus.measure(way)
                if turn >= 0:
                    self.of[way].append(sample)
        self.ticked = [gnus.measure(WAYS[0], True) for _ in range(TICKED)]
        self.openings = gnus.openings

    def blocked(self, way):
        return [sample.blocked for sample in self.of[way]]

    def rows(self, table, what, wanted):
        """Add rows to TABLE; WANTED makes a goal of the medians."""
        blocked = [median(self.blocked(way)) for way in WAYS]
        table.row(f"{what}: blocked, ms, median", blocked, wanted(blocked))
        table.row("  least and most", [spread(self.blocked(way)) for way in WAYS])
        table.row("  garbage collection in it, mean",
                  [statistics.mean(sample.collecting for sample in self.of[way]) for way in WAYS], ratios=False)
        table.row("  longest pause, ms",
                  [median(sample.pause for sample in kept)
                   for kept in [self.ticked, self.of[WAYS[1]], self.of[WAYS[2]]]])
        if self.openings:
            table.row("  opening mailsync's connection, ms", [median(self.openings), None, None])


@functools.cache
def nnmaildir(count):
    """`Samples' of a group with so many messages, how long full looks later blocked, None if none was due, and its store.

    Measured once, for whoever wants to know; in all ways where there are goals."""
    progress(f"Gnus: {count:,} messages, nnmaildir")
    gnus = Gnus(Store({"big": count}), ["big"])
    goals = count in (MIDDLE, BIG)
    samples = Samples(gnus, WAYS if goals else WAYS[:2])
    later = [gnus.catch_up() for _ in range(WARM + TICKED)] if goals else []
    gnus.emacs.stop()
    return samples, later, gnus.store


def main():
    os.chmod(TOP, 0o711)  # as for a store's
    os.environ["PATH"] += ":/usr/sbin"
    table = Table(*WAYS)

    progress(f"Gnus: {BIG:,} messages, nnimap")
    store = Store({"big": BIG, **{f"small{number}": SMALL for number in range(MANY)}})
    port = dovecot(store)
    gnus = Gnus(store, ["big"], port)
    Samples(gnus).rows(table, f"nnimap, {BIG:,} messages", lambda blocked: goal("<= 10 ms", blocked[0] <= 10))
    gnus.emacs.stop()

    progress(f"Gnus: {MANY} groups, nnimap far away")
    port, round_trip = far_away(port)
    gnus = Gnus(store, store.folders[1:], port)
    Samples(gnus).rows(table, f"nnimap, {MANY} groups, round trip {round_trip:.0f} ms",
                       lambda blocked: goal("< 5 ms", blocked[0] < 5))
    gnus.emacs.stop()

    for count, limit in [(MIDDLE, 12), (BIG, 60)]:
        samples, later, _ = nnmaildir(count)
        samples.rows(table, f"nnmaildir, {count:,} messages",
                     lambda blocked, limit=limit: goal(f"< {limit} ms, 8 times",
                                                       blocked[0] < limit and blocked[1] >= 8 * blocked[0]))
        table.row("  the full look later: blocked, ms",
                  ["at once" if None in later else median(later), None, None])
    table.print()
    print(f"{ROUNDS} messages each way, in turn, after {WARM} that are not counted; ticks and full looks {TICKED}; "
          f"a tenth of the messages is unread.\n"
          "Blocked: timers and filters from beginning to end, and the rest of the main thread's CPU time, until it "
          f"has been at rest for {REST:g} s.")
    if again:
        print(f"{len(again)} measured again, since the check began late: {', '.join(again)}.")


if __name__ == "__main__":
    main()
