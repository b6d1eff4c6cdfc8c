"""A soak: for hours, all that a user, two servers, two syncers and bad luck do, in one Emacs; what does it hold on to?

One interactive Emacs, with a real Gnus, has three servers: the maildir that mbsync brings from one Dovecot, which
mailsync watches by IMAP; the maildir that a long-running OfflineIMAP brings from another, where mailsync-watch
watches; and that other Dovecot itself, by nnimap, which mailsync watches unasked.  What happens is random, but for
SEED.  There are as many messages and folders in the end as after the first quarter, so that what grows, grows for no
good reason.

After the first quarter, which warms up, and then at the end of each, all faults are over and everything comes to
rest.  Then
  - both sides are equal, and each message is there as often as it ought to be;
  - there are no more descriptors, threads, children, processes, and buffers of connections that nnimap opens for
    mailsync, than at the first of these rests;
  - there are no more buffers and timers, but for the first of its kind, from a command that was not called before, and
    some of those; and but for buffers of Gnus's own connections (nnimap makes one for each, and keeps them: its matter),
    and auth-source's timers, one for each question whose answer it remembers;
  - no variable of mailsync's holds more than it did then, or one thing for each folder, if that is more; the changes
    that are remembered have a limit of their own; and the engine holds no more than two of each folder that is synced,
    what is not pushed and when it was synced last;
and in the end what has to be told from noise: whether memory (what Emacs has written to, and what its Lisp holds)
has grown since the first quarter.  It goes up and down with each garbage collection and each Summary, so that the
last figure next to the first says nothing.  What is taken is the slope of Theil and Sen, the median of the slopes
between all pairs of samples, which a quarter of wild samples cannot bend; times the time since the first quarter it
is what was gained, which may be 2 MB and 2 %.  In an hour that is a kilobyte in a second, or for each action; what
leaves less behind takes more hours to be found, since what is allowed does not grow with them.
"""
import collections
import contextlib
import itertools
import os
import random
import re
import signal
import statistics
import subprocess
import time

from syncing import plot
from syncing.emacs import HERE, lisp
from syncing.imap import DELAYS, Imap
from syncing.reader import Reader
from syncing.relay import Relay
from syncing.remote import watcher
from syncing.world import subject

# Here Gnus and the user's hands move and delete; in the next two only the other side does so.  Who changes what on
# both sides at once gets what the syncers make of it, and nobody could say how many messages that is.
OURS = ["INBOX", "lists", "with space", "a/b"]
THEIRS, FROM = "R&D", "Entwürfe"
# So many messages there are at most in each account, and so many folders are made, early.
MESSAGES, MADE = 60, 4
# So many may be the first of their kind after the first rest: the first quarter has most commands, but not each.
NEW = {"buffers": 20, "timers": 3}
# A sample of the process, and of its Lisp, which costs a garbage collection.
EVERY, LISP_EVERY = 10, 60
COLUMNS = ["seconds", "rss_kB", "pss_kB", "private_dirty_kB", "descriptors", "threads", "children", "load",
           "lisp_bytes", "buffers", "processes", "timers", "text_bytes", "tables", "held", "messages", "actions"]


def slope(points):
    """That of Theil and Sen."""
    points = plot.thinned(points)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(points, 2) if b[0] > a[0]]
    return statistics.median(slopes) if slopes else 0.0


class Side(Imap):
    """One account, with its server."""

    def begin(self):
        self.start_server()
        for name, wire in self.boxes.items():
            self.append(wire, *("%s-%d" % (wire.replace("/", "."), number) for number in range(3)))
        # Whether the server and the line to it are as they should be.
        self.up, self.whole, self.made = True, True, 0
        self.times = collections.Counter()
        # Runs that ended in the middle.
        self.hurt = 0
        # The last one that was none of mailsync's.
        self.run_by_hand = subprocess.Popen(["true"])

    def sync_by_hand(self):
        command = {"mbsync": ["mbsync", "-c", self.config + "/mbsyncrc", self.layout],
                   "offlineimap": ["offlineimap", "-c", self.config + "/offlineimaprc", "-o", "-u", "quiet", "-a", self.layout]}
        with open(self.dir + "/by-hand", "a", encoding="utf-8") as said:
            # Of a group of its own, which can be killed.
            self.run_by_hand = subprocess.Popen(command[self.syncer], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                                start_new_session=True)

    def total(self):
        """How many messages there ought to be."""
        return sum(self.times.values())

    def found(self):
        """How often there is a message of each subject."""
        return collections.Counter(subject(text) for box in self.boxes for _, text in self.files(box))

    def server(self):
        """What the names of Gnus's groups here begin with."""
        return {"w": "nnmaildir+fix:", "o": "nnmaildir+other:"}[self.name]


class Other(Side):
    name, keys = "o", ":persistent t"


class Soak(Side, Reader):
    """HOURS says how long, SEED what happens, OUT where samples and the picture go; with CONTROL mailsync does nothing."""

    def __init__(self, syncer, layout, mode):
        super().__init__(syncer, layout, mode)
        self.other = Other("offlineimap", "slash", mode)
        self.sides = [self, self.other]
        self.hours = float(os.environ.get("HOURS") or 1)
        self.seed = int(os.environ.get("SEED") or time.time())
        self.chance = random.Random(self.seed)
        self.out = os.environ.get("OUT") or self.dir
        os.makedirs(self.out, exist_ok=True)
        self.number, self.tally, self.later = 0, collections.Counter(), []
        self.samples, self.rests, self.lisp, self.sampled, self.lisp_sampled = [], [], [], 0, 0
        self.began, self.stopped = time.monotonic(), False
        self.control, self.by_hand = bool(os.environ.get("CONTROL")), 0
        for name, columns in (("samples", COLUMNS), ("rests", ["rest", *COLUMNS]), ("types", ["seconds", "bytes by type"])):
            with open("%s/%s.tsv" % (self.out, name), "w", encoding="utf-8") as file:
                file.write("\t".join(columns) + "\n")

    # Before

    def start(self):
        self.network = bool(os.environ.get("SYNC_PRIVATE"))
        if self.network:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for side in self.sides:
            side.begin()
        self.configuration("Create Near", "Create Both")
        # The line on which the server says what changes can be cut, too.
        self.watched = Relay(self.port)
        authinfo = self.dir + "/authinfo"
        with open(authinfo, "w", encoding="utf-8") as file:
            for port in (self.watched.port, self.other.port):
                file.write("machine 127.0.0.1 port %d login alice password secret\n" % port)
        self.account = ':remote (imap :host "127.0.0.1" :port %d :user "alice" :tls none)' % self.watched.port
        self.other.account = ":remote (watcher %s %s)" % (
            lisp(watcher()), lisp("--maildir=%s/dovecot/mail/alice" % self.other.dir))
        self.emacs = self.launch(
            others=[self.other.entry()],
            more=DELAYS + "(setq mailsync-gnus-watch-nnimap t mailsync-gnus-idle-delay 0.3 auth-sources '(%s))\n"
            # At the end of a Summary there is none behind it.
            "(setq gnus-auto-select-next nil) (load %s nil t)" % (lisp(authinfo), lisp(HERE + "/syncing/soak")))
        self.other.emacs = self.emacs
        self.emacs.wait("the first syncs", lambda: self.same() and self.other.same(), 90)
        for side in self.sides:
            side.link()
            side.times = side.found()
        groups = [side.server() + name.replace("/", ".") for side in self.sides for name in side.boxes]
        groups += ["nnimap+fix:" + name for name in self.other.boxes]
        self.emacs.do("(soak-gnus %s %s %d %s %s)" % (
            lisp(self.dir + "/links"), lisp(self.other.dir + "/links"), self.other.port, lisp(authinfo),
            " ".join(map(lisp, groups))))
        self.emacs.wait_fact("gnus")
        if self.control:
            self.emacs.do("(mailsync-stop)")
            self.stopped = True
        self.comes_to_rest()

    # What is measured

    def process(self):
        """What the kernel says of Emacs."""
        where = "/proc/%d/" % self.emacs.pid
        found = {}
        for name in ("status", "smaps_rollup"):
            with open(where + name, encoding="utf-8") as file:
                for line in file:
                    key, _, value = line.partition(":")
                    found[key] = value.split()[0] if value.split() else ""
        children = subprocess.run(["pgrep", "-P", str(self.emacs.pid)], capture_output=True, check=False).stdout.split()
        return [int(found["VmRSS"]), int(found["Pss"]), int(found["Private_Dirty"]), len(os.listdir(where + "fd")),
                int(found["Threads"]), len(children), os.getloadavg()[0]]

    def sample_lisp(self):
        self.lisp_sampled = time.monotonic()
        before = len(self.emacs.all_facts())
        self.emacs.do("(soak-sample)")
        said = [fact for fact in self.emacs.all_facts()[before:] if fact.startswith("sample\t")][-1].split("\t")[1:]
        self.lisp = said[:7]
        self.note("types", [time.monotonic() - self.began, said[7]])

    def row(self):
        return [time.monotonic() - self.began, *self.process(), *map(float, self.lisp),
                sum(side.total() for side in self.sides), sum(self.tally.values())]

    def note(self, name, values):
        with open("%s/%s.tsv" % (self.out, name), "a", encoding="utf-8") as file:
            file.write("\t".join(value if isinstance(value, str) else "%.9g" % value for value in values) + "\n")

    def sample(self):
        now = time.monotonic()
        if now - self.lisp_sampled > LISP_EVERY:
            self.sample_lisp()
        if now - self.sampled > EVERY:
            self.sampled = now
            self.samples.append(dict(zip(COLUMNS, self.row())))
            self.note("samples", self.samples[-1].values())

    def descriptors(self):
        """What each of Emacs's descriptors is, without what names one of many."""
        found = collections.Counter()
        for name in os.listdir("/proc/%d/fd" % self.emacs.pid):
            try:
                what = os.readlink("/proc/%d/fd/%s" % (self.emacs.pid, name))
            except FileNotFoundError:
                continue
            found[what.partition(":[")[0]] += 1
        return found

    def threads(self):
        found = collections.Counter()
        for task in os.listdir("/proc/%d/task" % self.emacs.pid):
            try:
                with open("/proc/%d/task/%s/comm" % (self.emacs.pid, task), encoding="utf-8") as file:
                    found[file.read().strip()] += 1
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def in_emacs(self):
        """What its Lisp has of each kind: buffers, processes, timers, and what is in the variables of mailsync."""
        found = {name: collections.Counter() for name in ("buffers", "processes", "timers", "tables")}
        words = {"buffer": "buffers", "process": "processes", "timer": "timers"}
        with open(self.emacs.work + "/tables", encoding="utf-8") as file:
            for line in file:
                what, _, size = line.rstrip("\n").rpartition("\t")
                word, _, name = what.partition(" ")
                if word in words:
                    # Without what tells one of many from the others.  A minibuffer has its depth in its name.
                    found[words[word]][re.sub(r"<\d+>$|-\d+$" if word == "buffer" else r"\d+", "", name)] += 1
                elif word.startswith("mailsync-"):
                    found["tables"][word] = int(size)
        for name in [name for name in found["buffers"] if "nnimap" in name and "nntpd" in name]:
            del found["buffers"][name]
        del found["timers"]["password-cache-remove"]
        return found

    # The same without mailsync

    def without_mailsync(self):
        """The syncers are run, and Gnus looks at everything, every few seconds."""
        if time.monotonic() - self.by_hand > 15:
            self.by_hand = time.monotonic()
            for side in self.sides:
                if side.run_by_hand.poll() is not None:
                    side.sync_by_hand()
            if all(side.up for side in self.sides):
                self.emacs.do("(soak-news)")

    def comes_to_rest_by_hand(self):
        for _ in range(5):
            for side in self.sides:
                side.run_by_hand.wait()
                side.sync_by_hand()
                side.run_by_hand.wait()
            self.emacs.do("(soak-news)")
            if all(side.same() for side in self.sides):
                return
        raise AssertionError([*self.differences(), *self.other.differences()])

    # Time goes on

    def wait_a_while(self, seconds):
        """Let time go by, in which what was planned happens, and samples are taken."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for plan in [plan for plan in self.later if plan[0] <= now]:
                self.later.remove(plan)
                plan[1]()
            if self.control:
                self.without_mailsync()
            self.sample()
            if now >= end:
                return
            time.sleep(min(0.2, end - now))

    def plan(self, seconds, what):
        self.later.append((time.monotonic() + seconds, what))

    def elapsed(self):
        """How much of the time has gone by."""
        return (time.monotonic() - self.began) / (self.hours * 3600)

    # What happens

    def arrives_there(self, side):
        if not side.up:
            return False
        box = self.chance.choice([*OURS, THEIRS, FROM])
        for _ in range(self.chance.choice([1, 1, 1, 3])):
            self.number += 1
            side.append(side.boxes[box], "there-%d" % self.number)
            side.times["there-%d" % self.number] += 1

    def arrives_here(self, side):
        self.number += 1
        side.deliver(self.chance.choice([*OURS, THEIRS, FROM]), "here-%d" % self.number)
        side.times["here-%d" % self.number] += 1

    def flagged_there(self, side):
        if not side.up:
            return False
        box = self.chance.choice(list(side.boxes.values()))
        names = sorted(side.remote(box))
        if not names:
            return False
        try:
            side.store(box, self.chance.choice(names), self.chance.choice(["\\Flagged", "\\Seen", "\\Answered"]))
        except AssertionError:
            # A syncer has just deleted it.
            return False

    def flagged_here(self, side):
        box = self.chance.choice(OURS)
        names = sorted(side.messages(box))
        if not names:
            return False
        try:
            side.flag_here(box, self.chance.choice(names), self.chance.choice("FSR"))
        except (FileNotFoundError, KeyError):
            # A syncer has just renamed it.
            return False

    def moved_there(self, side):
        if not side.up:
            return False
        with side.imap() as c:
            c.select('"%s"' % side.boxes[FROM])
            numbers = c.uid("SEARCH", None, "ALL")[1][0].split()
            if not numbers:
                return False
            c.uid("MOVE", self.chance.choice(numbers), '"%s"' % side.boxes[THEIRS])

    def deleted_there(self, side):
        names = side.up and sorted(side.remote(side.boxes[THEIRS]))
        if not names:
            return False
        name = self.chance.choice(names)
        side.store(side.boxes[THEIRS], name, "\\Deleted", expunge=True)
        side.times[name] -= 1

    def deleted_here(self, side):
        # One that is on the server too: what is deleted while it goes up may come back.
        files = [(path, text) for path, text in side.files(self.chance.choice(OURS)) if ",U=" in path]
        if not files:
            return False
        path, text = self.chance.choice(sorted(files))
        try:
            os.remove(path)
        except FileNotFoundError:
            return False
        side.times[subject(text)] -= 1

    def gnus_does(self, side, server, group, actions):
        action = self.chance.choice(actions)
        to = self.chance.choice([name for name in OURS if name != group])
        flat = (lambda name: name) if "nnimap" in server else (lambda name: name.replace("/", "."))
        self.emacs.forget()
        self.emacs.do("(soak-act %s %s %d (quote %s) %s)"
                      % (lisp(server), lisp(flat(group)), self.chance.randrange(1000), action, lisp(flat(to))))
        _, done, name = self.emacs.wait_fact("acted\t")[0].split("\t")
        self.tally["Gnus: " + done] += 1
        side.times[name] += {"copy": 1, "delete": -1, "expire": -1}.get(done, 0)

    def in_gnus(self, side):
        """What life.py does, in either maildir."""
        group = self.chance.choice([*OURS, THEIRS, FROM])
        full = side.total() > MESSAGES
        ours = ["delete", "expire", "move"] if full else ["read", "read", "tick", "tick", "move", "copy", "delete", "expire"]
        self.gnus_does(side, side.server(), group, ours if group in OURS else ["read", "tick"])

    def in_nnimap(self, _):
        if not self.other.up:
            return False
        group = self.chance.choice([*OURS, THEIRS, FROM])
        self.gnus_does(self.other, "nnimap+fix:", group, ["read", "tick", "delete"] if group == THEIRS else ["read", "tick"])

    def summary(self, side):
        """By keys, while mail comes."""
        group = self.chance.choice(OURS)
        if not side.files(group):
            return False
        self.emacs.do('(progn (delete-other-windows) (switch-to-buffer "*Group*"))')
        try:
            self.enter(group.replace("/", "."), side.server())
        except AssertionError:
            # It is empty by now, or what is there Gnus has not heard of.
            self.emacs.keys("C-g")
            return False
        for _ in range(self.chance.randrange(1, 4)):
            if self.in_summary():
                self.emacs.keys(self.chance.choice(["n", "n", "!", "d", "Space"]))
            self.wait_a_while(self.chance.uniform(0.3, 1))
            if self.chance.random() < 0.4:
                (self.arrives_there if side.total() < MESSAGES else self.deleted_there)(side)
        # An error, such as that a syncer has just renamed the article, throws away what is typed after it.
        for _ in range(20):
            if not self.in_summary():
                return True
            self.emacs.keys("q")
            self.wait_a_while(0.5)
        raise AssertionError("the Summary stays: " + self.emacs.screen())

    def in_summary(self):
        return self.emacs.value("(with-current-buffer (window-buffer) (derived-mode-p 'gnus-summary-mode))") != "nil"

    def status(self, _):
        if self.control:
            return False
        command = self.chance.choice(["mailsync-status", "mailsync-status", "mailsync-log"])
        self.emacs.keys("M-x", command, "Enter")
        self.wait_a_while(1.5)
        self.emacs.do('(progn (delete-other-windows) (switch-to-buffer "*Group*"))')

    def folder(self, side):
        # In the first quarter: each folder costs something for good.
        if side.made >= MADE or not side.up or self.elapsed() > 0.2:
            return False
        side.made += 1
        name = "made %s %d" % (self.chance.choice(["here", "there"]), side.made)
        self.number += 1
        if "here" in name:
            side.make(name)
            side.deliver(name, "in-%d" % self.number)
        else:
            with side.imap() as c:
                c.create('"%s"' % name)
            side.append(name, "in-%d" % self.number)
            side.boxes[name] = name
        side.times["in-%d" % self.number] += 1

    def asks(self, side):
        if self.stopped:
            return False
        self.emacs.do(self.chance.choice(['(mailsync-sync "%s")', '(mailsync-check "%s")']) % side.name)

    def killed(self, side):
        """A syncer, if one runs; mostly in the middle of something."""
        if not (side.up and side.whole):
            return False
        middle = self.chance.random() < 0.8
        if middle:
            side.relay.set("hold", self.chance.choice([300, 1500, 4000, 10000]))
            self.arrives_there(side)
            self.arrives_here(side)
            if not self.stopped:
                self.emacs.do('(mailsync-sync "%s")' % side.name)
            end = time.monotonic() + 5
            while not side.relay.held.is_set() and time.monotonic() < end:
                self.wait_a_while(0.05)
        how = self.chance.choice([signal.SIGTERM, signal.SIGKILL])
        for pid in side.running():
            try:
                os.killpg(os.getpgid(pid), how)
                self.tally["killed: " + how.name] += 1
                side.hurt += 1
            except ProcessLookupError:
                continue
        side.relay.set("pass")

    def server_stops(self, side):
        if not (side.up and side.whole):
            return False
        side.up = False
        side.hurt += 1
        side.relay.set("refuse")
        side.dovecot("stop")

        def again():
            side.dovecot("start")
            side.relay.set("pass")
            side.up = True
        self.plan(self.chance.uniform(1, 8), again)

    def line_is_cut(self, side):
        if not (side.up and side.whole):
            return False
        side.whole = False
        side.hurt += 1
        mode = self.chance.choice(["refuse", "silent", "cut"])
        relays = [side.relay, self.watched] if side is self else [side.relay]
        for relay in relays:
            relay.set(mode, self.chance.choice([100, 1000, 5000]))

        def again():
            for relay in relays:
                relay.set("pass")
            side.whole = True
        self.plan(self.chance.uniform(1, 8), again)

    def network_changes(self, _):
        if not self.network:
            return False
        for word in ("add", "del"):
            subprocess.run(["ip", "address", word, "10.78.9.1/32", "dev", "lo"], check=True)

    def root_is_away(self, side):
        """The maildir is renamed and comes back, as a disk that is unmounted; meanwhile nothing is synced."""
        if self.stopped or not (side.up and side.whole):
            return False
        # A syncer that is in the middle would make it anew, and so would one that is left of another start.
        for phase in ("idle", "paused"):
            self.emacs.wait("the end of the run, " + phase, lambda: phase == self.emacs.value(
                '(plist-get (mailsync-sync-state "%s") :phase)' % side.name), 60)
            if phase == "idle":
                self.emacs.do('(mailsync-pause "%s")' % side.name)
        os.rename(side.local, side.local + ".away")
        state = ('(seq-some (lambda (it) (and (equal (plist-get it :name) "%s") (plist-get it :state)))'
                 " (plist-get (mailsync-module--status) :accounts))" % side.name)
        self.emacs.wait("its absence is noticed", lambda: self.emacs.value(state) == "waiting")
        self.emacs.do('(mailsync-resume "%s")' % side.name)
        self.arrives_there(side)
        self.wait_a_while(self.chance.uniform(0.3, 3))
        assert not os.path.exists(side.local), "somebody made it anew"
        os.rename(side.local + ".away", side.local)

    def quits(self, side):
        """C-g, while something is going on."""
        for _ in range(self.chance.randrange(1, 4)):
            (self.arrives_there if side.total() < MESSAGES else self.flagged_there)(side)
            self.wait_a_while(self.chance.uniform(0, 1))
            self.emacs.keys("C-g")

    def sleeps(self, _):
        """The machine sleeps: Emacs, what it has started and the servers stand still, and then go on as they come.

        Its clocks go on, too.  What they tell the engine of a sleep is for test/machine.rs.
        """
        asleep = self.all_processes()

        def signal_all(which):
            for pid in asleep:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, which)
        signal_all(signal.SIGSTOP)
        time.sleep(self.chance.uniform(2, 12))
        self.chance.shuffle(asleep)
        signal_all(signal.SIGCONT)

    def all_processes(self):
        """The terminal, since it would have a stopped Emacs go on, the servers, and all that these have started."""
        with open("/proc/%d/stat" % self.emacs.pid, encoding="utf-8") as file:
            found = [int(file.read().rpartition(")")[2].split()[1])]
        for side in self.sides:
            with contextlib.suppress(FileNotFoundError), open(side.dir + "/dovecot/run/master.pid", encoding="utf-8") as file:
                found.append(int(file.read()))
        shown = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        parents = [tuple(map(int, line.split())) for line in shown.splitlines()]
        for pid in found:
            found += [child for child, parent in parents if parent == pid]
        assert self.emacs.pid in found
        return found

    def pauses(self, side):
        if self.stopped:
            return False
        self.emacs.do('(mailsync-pause "%s")' % side.name)
        self.plan(self.chance.uniform(1, 6), lambda: self.emacs.do('(when mailsync-mode (mailsync-resume "%s"))' % side.name))

    def restarts(self, _=None):
        if self.stopped:
            return False
        self.stopped = True
        self.emacs.do("(mailsync-stop)")
        for side in self.sides:
            side.hurt += 1

        def again():
            self.emacs.do("(mailsync-start)")
            self.stopped = False
        self.plan(self.chance.uniform(0, 6), again)

    # How often each of them is chosen; those that this account shall not have now are replaced.
    def actions(self):
        more = [(14, self.arrives_there), (10, self.arrives_here)]
        less = [(8, self.deleted_there), (6, self.deleted_here), (6, self.moved_there), (4, self.in_gnus)]
        return {False: more + [(2, action) for _, action in less], True: less}, [
            (10, self.flagged_there), (8, self.flagged_here), (20, self.in_gnus), (10, self.in_nnimap), (8, self.summary),
            (4, self.status), (3, self.folder), (4, self.asks), (4, self.killed), (1.5, self.server_stops),
            (2, self.line_is_cut), (2, self.network_changes), (1, self.pauses),
            (0.5, self.root_is_away), (2, self.quits), (0.7, self.sleeps)]

    def acts(self):
        side = self.chance.choice(self.sides)
        by_number, always = self.actions()
        weights, actions = zip(*by_number[side.total() > MESSAGES], *always)
        action = self.chance.choices(actions, weights)[0]
        if action(side) is not False:
            self.tally[action.__name__] += 1

    # Rest

    def comes_to_rest(self):
        """All faults are over, and all that was to be done is done."""
        while self.later:
            self.wait_a_while(0.2)
        if self.control:
            self.comes_to_rest_by_hand()
            return
        # The worker gets another chance, if it had lost that by being killed.
        self.emacs.do('(progn (mailsync-pause "o") (mailsync-resume))')
        # Gnus has a connection to its server, and mailsync one beside it.
        self.emacs.do('(soak-act "nnimap+fix:" "INBOX" 0 (quote read) "lists")')
        self.emacs.forget()
        self.number += 1
        self.other.append("INBOX", "rest-%d" % self.number)
        self.other.times["rest-%d" % self.number] += 1
        self.emacs.wait_fact("new-mail\tnnimap+fix:INBOX", 60)
        for side in self.sides:
            self.emacs.do('(mailsync-sync "%s")' % side.name)
        quiet = [time.monotonic(), 0]

        def rests():
            facts = len(self.emacs.all_facts())
            told = self.emacs.value("(soak-rests-p)") == "t"
            if not told or facts != quiet[1]:
                quiet[0] = time.monotonic()
            quiet[1] = len(self.emacs.all_facts())
            return time.monotonic() - quiet[0] > 3 and all(side.same() for side in self.sides)
        self.emacs.wait(lambda: "\n".join(["rest", *self.differences(), *self.other.differences(),
                                           self.emacs.value("(mailsync-module--status)")]), rests, 180)

    def rest(self):
        """What has to be so at rest."""
        self.comes_to_rest()
        for side in self.sides:
            found, times = side.found(), +side.times
            assert not times - found, ("lost", side.name, times - found)
            doubled = found - times
            # OfflineIMAP uploads again what it was ended at, and what Gnus renames while it is being uploaded.
            again = [fact for fact in self.emacs.all_facts() if fact.startswith("ends\t") and ",U=" in fact.partition(" -> ")[2]]
            assert sum(doubled.values()) <= (side.hurt + len(again) if side is self.other else 0), (side.name, doubled)
            # From now on they ought to be there.
            self.tally["doubled by OfflineIMAP"] += sum(doubled.values())
            side.times = found
        self.sample_lisp()
        row = dict(zip(COLUMNS, self.row()))
        with open(self.emacs.work + "/tables", encoding="utf-8") as file:
            connections = [line for line in file if line.startswith("buffer ") and "mailsync nntp" in line]
        row["kinds"] = {"descriptors": self.descriptors(), "threads": self.threads(),
                        "buffers of mailsync's connections": collections.Counter(connections), **self.in_emacs()}
        self.rests.append(row)
        self.note("rests", [str(len(self.rests)), *list(row.values())[:-1]])
        os.replace(self.emacs.work + "/tables", "%s/tables-%d.tsv" % (self.out, len(self.rests)))
        print("rest %d: %s" % (len(self.rests), ", ".join("%s %.6g" % (name, row[name]) for name in COLUMNS[:-2])), flush=True)

    # The whole

    def live(self):
        print("HOURS=%g SEED=%d, samples are in %s" % (self.hours, self.seed, self.out), flush=True)
        self.began = time.monotonic()
        length = self.hours * 3600
        parts = 4 if self.hours > 0.2 else 2
        every = min(600, length / 3)
        restart = self.began + every
        for part in range(1, parts + 1):
            while time.monotonic() < self.began + length * part / parts:
                self.acts()
                if time.monotonic() > restart:
                    restart += every
                    if self.restarts() is not False:
                        self.tally["restarts"] += 1
                self.wait_a_while(self.chance.uniform(0.5, 1.5))
            self.rest()

    def too_many(self):
        """What is not the first of its kind, and what tables hold that is neither of then nor a folder's."""
        first, *later = [rest["kinds"] for rest in self.rests]
        # In three servers of Gnus; and the variables that are bounded otherwise.
        synced = sum(len(side.boxes) for side in self.sides)
        folders = synced + len(self.other.boxes)
        bounds = {"mailsync-history--stories": int(self.emacs.value("mailsync-history-size"))}
        wrong = ["the engine holds %g, of %d folders" % (rest["held"], synced) for rest in self.rests
                 if rest["held"] > 2 * synced]
        for kinds in later:
            for what, few in NEW.items():
                wrong += ["%s: %d of %s" % (what, count, name) for name, count in kinds[what].items()
                          if count > max(1, first[what][name])]
                new = sorted(set(kinds[what]) - set(first[what]))
                if len(new) > few:
                    wrong.append("%s of new kinds: %s" % (what, ", ".join(new)))
            wrong += ["%s: %d, and %d at first" % (name, size, first["tables"][name]) for name, size in kinds["tables"].items()
                      if size > max(first["tables"][name], bounds.get(name, folders))]
        return wrong

    def verdict(self):
        first, last = self.rests[0], self.rests[-1]
        wrong = self.too_many()
        for name in ("descriptors", "threads", "children", "processes", "buffers of mailsync's connections"):
            kinds = [rest["kinds"].get(name, collections.Counter()) for rest in self.rests]
            counts = [rest.get(name, sum(these.values())) for rest, these in zip(self.rests, kinds)]
            # Fewer are none that were left: a program was about to end at the first rest.
            if max(counts) > counts[0]:
                wrong.append("%s: %s, more by %s" % (name, counts, kinds[-1] - kinds[0]))
        later = [*(row for row in self.samples if row["seconds"] > first["seconds"]), last]
        grown = []
        for name, unit in (("private_dirty_kB", 1024), ("lisp_bytes", 1)):
            points = [(row["seconds"], row[name] * unit) for row in later]
            gain = slope(points) * (last["seconds"] - first["seconds"])
            allowed = 2e6 + 0.02 * statistics.median(value for _, value in points)
            grown.append("%s by %+.2f MB of %.1f (%.2f allowed)"
                         % (name.rpartition("_")[0].replace("_", " "), gain / 1e6, points[-1][1] / 1e6, allowed / 1e6))
            if gain > allowed and self.hours > 0.2:
                wrong.append("memory grows: " + grown[-1])
        ends = collections.Counter(fact.split("\t")[1] for fact in self.emacs.all_facts() if fact.startswith("ends\t"))
        print(", ".join("%s %d" % pair for pair in sorted(self.tally.items())))
        print("syncs: " + ", ".join("%s %d" % pair for pair in sorted(ends.items())))
        self.picture()
        self.told = ("%g hours, %d actions, %d syncs, SEED=%d: nothing lost, %d doubled by OfflineIMAP; at the first rest"
                     " and in the end %s; since then grew %s" % (
                         self.hours, sum(self.tally.values()), sum(ends.values()), self.seed,
                         self.tally["doubled by OfflineIMAP"],
                         ", ".join("%g and %g %s" % (first[name], last[name], name) for name in ("descriptors", "threads")),
                         " and ".join(grown)))
        assert not wrong, "\n".join([*wrong, self.told])

    def picture(self):
        curve = lambda name, unit=1.0: [(row["seconds"] / 60, row[name] * unit) for row in self.samples]
        plot.draw(self.out + "/soak.svg", "A soak of %g h, SEED=%d" % (self.hours, self.seed), [
            ("Memory of Emacs, MB", {"resident": curve("rss_kB", 1 / 1024), "private and dirty": curve("private_dirty_kB", 1 / 1024)}),
            ("Lisp objects, MB", {"after a garbage collection": curve("lisp_bytes", 1e-6)}),
            ("Descriptors", {"open": curve("descriptors")}),
            ("Threads and children", {"threads": curve("threads"), "children": curve("children")}),
            ("Messages", {"in both accounts": curve("messages")})], [rest["seconds"] / 60 for rest in self.rests])

    def run(self):
        self.check("two accounts, three servers in Gnus", self.start)
        self.check("nothing is lost or doubled, and all comes to rest", self.live)
        self.check("nothing has grown", self.verdict)

    def clean(self, good):
        # The server of the other one must not go before Emacs.
        super().clean(good)
        self.other.clean(good)
