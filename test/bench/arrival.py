"""How soon Emacs hears of a message, and what ten thousand of them cost it.

Three ways to hear of a message, each in an interactive Emacs (-nw -Q on a terminal of its own):
    mailsync      the module and `mailsync-changed-functions'
    file-notify   Emacs's own watches on new and cur of each folder
    emacsclient   inotifywait on new and cur; a shell loop starts emacsclient --eval for each event

Latency.  Emacs has no CLOCK_MONOTONIC in Lisp, but the nanoseconds of CLOCK_REALTIME
(`time-convert').  So CLOCK_MONOTONIC is read just before the rename and carried over to
CLOCK_REALTIME by the difference of the two clocks, taken in the same breath.  Should that difference
move between two deliveries (somebody sets the clock), the delivery is dropped and counted.

Awake.  On an idle machine much of that is the time that a sleeping CPU takes to wake up, once for each
thread on the way.  So the latencies are taken a second time with a loop of the lowest priority on each
CPU, which gives way to everything else and leaves no CPU asleep.  For scale, the same is done to a byte
that goes through a pipe to another process and back.

Blocked.  The time that Emacs's main thread spent on a CPU (field 1 of its schedstat), read from
outside before the deliveries and once Emacs is at rest again, less what it spends in as much time
without deliveries.  In separate runs a timer of 5 ms in that Emacs looks for the longest gap.

Busy.  Emacs is in `call-process' from before the first delivery until after the last.

Lost.  A change is lost if its folder was not told about at it or after it: of file-notify and
emacsclient we know which delivery a call was about; of mailsync only a call that came after the
delivery was complete counts.
"""
import collections
import os
import random
import statistics
import subprocess
import time

from harness import (CLIENT, QUICK, Delivery, Emacs, Failed, Table, awake, echo, goal, lisp_string, new_name,
                     number, progress, undo, wait_for)

FOLDERS = 100
ROUNDS = 1 if QUICK else 3
LATENCIES = 10 if QUICK else 70  # deliveries a round and way
WARM = 5  # and these before them, not counted
BURST = 1000 if QUICK else 10000
FORKS = 100 if QUICK else 1000  # emacsclient's: a process for each message takes its time
REST = 0.3 if QUICK else 1.0
STEP = 20_000  # ns that the two clocks may part between two deliveries


class Way:
    """A way to hear of messages, with an Emacs and a store of its own."""

    def __init__(self):
        self.store = new_name("store")
        self.folders = [os.path.join(self.store, f".folder{n:03}") for n in range(FOLDERS)]
        for folder in [self.store, *self.folders]:
            for part in ["new", "cur", "tmp"]:
                os.makedirs(os.path.join(folder, part))
        self.parts = [os.path.join(folder, part) for folder in self.folders for part in ["new", "cur"]]
        self.emacs = Emacs()
        self.watch()

    def watch(self):
        raise NotImplementedError

    def folder_of(self, name):
        """The folder that something told is about, and the number of the delivery if it says so."""
        directory, file = os.path.split(name)
        return os.path.dirname(directory), int(file.split(".")[1])

    def told(self):
        """Everything told since `bench-begin': (when, folder, number), and the longest gap in ms."""
        file = os.path.join(self.emacs.run, "told")
        gap = float(self.emacs.eval(f"(bench-end {lisp_string(file)})")) * 1e3
        told = []
        with open(file) as lines:
            for line in lines:
                at, name = line.rstrip("\n").split(" ", 1)
                told.append((int(at), *self.folder_of(name)))
        return told, gap

    def stop(self):
        # The store stays until everything has been measured: ext4 does not like to give an inode out
        # again that was freed a moment ago, and would make the next deliveries 20 times slower.
        self.emacs.stop()


class Mailsync(Way):
    name = "mailsync"
    delay = None  # the default

    def watch(self):
        delay = "nil" if self.delay is None else self.delay
        self.delay = float(self.emacs.eval(f"(bench-mailsync {lisp_string(self.store)} {delay})"))
        wait_for(lambda: self.emacs.eval("bench-started") != "nil",
                 lambda: "mailsync watches: " + self.emacs.eval("mailsync--states"))

    def folder_of(self, name):
        return name, None


class MailsyncAtOnce(Mailsync):
    name = "mailsync, delay 0"
    delay = 0


class FileNotify(Way):
    name = "file-notify"
    delay = 0

    def watch(self):
        parts = " ".join(map(lisp_string, self.parts))
        self.emacs.eval(f"(bench-file-notify '({parts}))")


class Emacsclient(Way):
    name = "emacsclient"
    delay = 0
    loop = 'while read -r file; do "$0" -s "$1" --eval "(bench-told \\"$file\\")" >/dev/null; done'

    def watch(self):
        listing = os.path.join(self.emacs.run, "parts")
        with open(listing, "w") as file:
            file.writelines(part + "\n" for part in self.parts)
        command = ["inotifywait", "-m", "-e", "create,moved_to", "--format", "%w%f", "--fromfile", listing]
        said = os.path.join(self.emacs.run, "inotifywait")
        with open(said, "w") as errors:
            self.watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        undo.append(self.watcher.kill)
        shell = ["/bin/sh", "-c", self.loop, CLIENT, self.emacs.socket]
        self.shell = subprocess.Popen(shell, stdin=self.watcher.stdout)
        undo.append(self.shell.kill)
        self.watcher.stdout.close()
        wait_for(lambda: "established" in open(said).read(), lambda: "inotifywait watches: " + open(said).read())

    def stop(self):
        for process in [self.watcher, self.shell]:
            process.kill()
            process.wait()
        super().stop()


def latencies(ways):
    """For each way its latencies in ms, and how many deliveries the clock spoiled."""
    found, spoiled = collections.defaultdict(list), 0
    order = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            way.emacs.eval("(bench-begin nil)")
            time.sleep(0.3)
            done = []
            for _ in range(WARM + LATENCIES):
                # Each folder in its turn, in an order of chance: none is told about twice at once.
                if not order[way]:
                    order[way] = random.sample(way.folders, len(way.folders))
                delivery = Delivery(order[way].pop())
                time.sleep(random.uniform(0.020, 0.060))
                delivery.rename()
                done.append(delivery)
            time.sleep(0.7)
            told, _ = way.told()
            offset = done[0].offset
            for index, delivery in enumerate(done):
                steady = abs(delivery.offset - offset) < STEP
                offset = delivery.offset
                if index < WARM:
                    continue
                due = delivery.before + delivery.offset + int(way.delay * 1e9)
                # The folder's first call after the rename; its next delivery is seconds away.
                calls = [at for at, folder, _ in told
                         if folder == delivery.folder and at > delivery.before + offset]
                if not calls:
                    raise Failed(f"{way.name}: a delivery was not told")
                if steady:
                    found[way].append((calls[0] - due) / 1e6)
                else:
                    spoiled += 1
    return [found[way] for way in ways], spoiled


Burst = collections.namedtuple("Burst", "blocked gap calls lost stale seconds delivered")


def burst(kind, count, busy, ticks):
    """Deliver COUNT messages as fast as they can be written; what that did to Emacs."""
    way = kind()
    emacs = way.emacs
    emacs.eval(f"(bench-begin {'t' if ticks else 'nil'})")
    fifo = None
    if busy:
        path = os.path.join(emacs.run, "busy")
        os.mkfifo(path)
        emacs.eval(f"(bench-busy {lisp_string(path)})")
        fifo = open(path, "wb")  # waits for the program that reads it
    time.sleep(0.3)
    cpu, start = emacs.cpu(), time.monotonic()
    done = []
    for index in range(count):
        delivery = Delivery(way.folders[index % FOLDERS])
        delivery.rename()
        done.append(delivery)
    seconds = time.monotonic() - start
    if busy:
        time.sleep(0.3)
        fifo.close()
    # At rest: longer than mailsync merges, and a second with next to nothing done.
    end = emacs.cpu()
    while True:
        time.sleep(REST)
        last, end = end, emacs.cpu()
        if end - last < 20e6 * REST and time.monotonic() - start > seconds + 1:
            break
    took = time.monotonic() - start
    time.sleep(REST)
    idle = (emacs.cpu() - end) / REST
    told, gap = way.told()
    # For each folder, up to which of its deliveries it was told about.
    last_told = {}
    for at, folder, number in told:
        last_told[folder] = max(last_told.get(folder, 0), at if number is None else number)
    lost, stale = 0, {}
    for delivery in done:
        by_number = told and told[0][2] is not None
        missing = (delivery.number if by_number else delivery.after) > last_told.get(delivery.folder, 0)
        lost += missing
        stale[delivery.folder] = missing
    way.stop()
    blocked = max(0, (end - cpu - idle * took)) / 1e6
    return Burst(blocked, gap, len(told), lost, sum(stale.values()), seconds, count)


def bursts(busy):
    """For each kind what BURST deliveries did: the median of some runs, the worst in what was lost."""
    kinds = [Mailsync, FileNotify, Emacsclient]
    runs = {kind: ([], []) for kind in kinds}
    for number in range(ROUNDS):
        for kind in kinds:
            count = FORKS if kind is Emacsclient else BURST
            for ticks, kept in [(False, runs[kind][0]), (True, runs[kind][1])]:
                # Ticks, and what takes a process for each message, once.
                if number > 0 and (ticks or kind is Emacsclient) or QUICK and ticks:
                    continue
                progress(f"{kind.name}, {count:,} deliveries, Emacs {'busy' if busy else 'idle'}")
                kept.append(burst(kind, count, busy, ticks))

    def median(values):
        return statistics.median(list(values))

    return [
        Burst(
            median(run.blocked * BURST / run.delivered for run in plain),
            median(run.gap for run in ticked) if ticked else None,
            median(run.calls * BURST / run.delivered for run in plain),
            max(run.lost * BURST / run.delivered for run in plain + ticked),
            max(run.stale for run in plain + ticked),
            median(run.seconds for run in plain),
            BURST,
        )
        for plain, ticked in runs.values()
    ]


def main():
    progress("latency")
    ways = [Mailsync(), MailsyncAtOnce(), FileNotify(), Emacsclient()]
    asleep, spoiled = latencies(ways)
    asleep_echo = echo(LATENCIES)
    progress("latency, CPUs awake")
    with awake():
        roused, more = latencies(ways)
        roused_echo = echo(LATENCIES)
    delay = ways[0].delay
    for way in ways:
        way.stop()
    table = Table("mailsync", "file-notify", "emacsclient")

    def p99(values):
        return statistics.quantiles(values, n=100)[98]

    for found, state in [(asleep, ""), (roused, ", CPUs awake")]:
        for first, what in [(0, f"less mailsync's {delay:g} s"), (1, "with mailsync's delay 0")]:
            columns = [found[first], found[2], found[3]]
            middle = [statistics.median(values) for values in columns]
            wanted = goal("< 0.3, 5 times", middle[0] < 0.3 and middle[2] >= 5 * middle[0]) if first == 0 else ""
            table.row(f"rename to Lisp {what}{state}, ms, median", middle, wanted)
            table.row("  99th percentile", [p99(values) for values in columns])
    for busy in [False, True]:
        found = bursts(busy)
        blocked = [one.blocked for one in found]
        table.row(f"{BURST:,} deliveries, Emacs {'busy' if busy else 'idle'}: main thread, ms", blocked,
                  goal("50 times", blocked[1] >= 50 * blocked[0]))
        table.row("  longest gap" + (" afterwards" if busy else "") + " between 5 ms ticks, ms",
                  [one.gap for one in found])
        table.row("  calls of Lisp", [one.calls for one in found], ratios=False)
        lost = [one.lost for one in found]
        table.row("  changes lost", lost, goal("0", not lost[0]), ratios=False)
        table.row(f"  folders of {FOLDERS} left stale", [one.stale for one in found], ratios=False)
    table.print()
    print(f"Latency: {ROUNDS * LATENCIES} deliveries a column, 20-60 ms apart, Emacs idle"
          + (f"; {spoiled + more} dropped since the clock was set." if spoiled + more else ".")
          + f"\nFor scale: a byte through pipes to a process and back, {number(asleep_echo)} ms; "
          f"CPUs awake, {number(roused_echo)} ms.")
    print(f"Deliveries come as fast as they can be written ({found[0].seconds:.1f} s); "
          f"the median of {ROUNDS} runs, gaps of 1, the worst of all in losses.\n"
          f"emacsclient: 1 run of {FORKS:,} deliveries, taken {BURST // FORKS} times.")
