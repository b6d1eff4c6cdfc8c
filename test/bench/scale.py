"""What it costs when there is more of it: more folders, more messages in a folder, more events a second.

Each row has a cost against a number n that grows, and the slope of the one against the other: the exponent e
of n^e, which fits the medians best on logarithmic scales (least squares), and that in words:

    e below -0.15       falls with n                    0.85 to 1.15     proportional to n
    -0.15 to 0.15       independent of n                above 1.15       more than proportional to n
    0.15 to 0.85        less than proportional to n

Where a number in between costs most, more than twice as much as the first and as the last, no power fits,
and the row says which number that is.  A cost that has a part for each of n, and one that is there without any, is less than proportional to n, the
more so the fewer there are; what the largest numbers in the row say then matters more than its exponent.
file-notify and Gnus's command are there where they are measured beside.

Folders.  As in watching.py, which says what is measured: until all is watched, the memory, and then a message
now and then, which mailsync tells without its delay.

Messages.  A delivery into a folder with so many: how long a real Gnus, over nnmaildir, is blocked by the check
(gnus.py says how); what it takes to see what of the folder is not pushed, by mbsync's record and by
OfflineIMAP's, on a background thread (unpushed.rs); and a rescan of a store with such a folder.

Events.  Messages in 100 folders change a flag, which is a rename within cur, so many times a second, evenly;
the last event in each folder is a message that is delivered.  A folder of which that was not told is stale:
the change was lost.  What it cost is read once all is at rest.  mailsync merges as
it does by default.  file-notify is in Lisp, on the main thread, and has no threads of its own.
"""
import math
import os
import statistics
import subprocess
import time

import arrival
import gnus
import watching
from harness import QUICK, TOP, Delivery, Failed, met, number, progress, table
from watching import FileNotify, MailsyncAtOnce

MESSAGES = [20, 100, 300] if QUICK else [100, 1000, 10000, 50000]
RATES = [1, 10, 100, 1000, 10000, 50000]
# Seconds of events.  They do not end when a folder that is never quiet is due (after 2 s, 4 s): it would be told in the
# very moment of its last delivery, and nobody could say whether of that, too.
STORM = 3 if QUICK else 5
BANDS = [(-0.15, "falls with"), (0.15, "independent of"), (0.85, "less than proportional to"),
         (1.15, "proportional to"), (math.inf, "more than proportional to")]
WHAT = {"folders": "folders", "messages": "messages", "events a second": "their rate"}


def exponent(numbers, costs):
    """Of the power of NUMBERS that fits COSTS best; None where there is none."""
    points = [(math.log(n), math.log(cost)) for n, cost in zip(numbers, costs) if cost and cost > 0]
    if len(points) < 3:
        return None
    return statistics.linear_regression(*zip(*points)).slope


def summit(numbers, costs):
    """The one of NUMBERS in between that costs more than twice as much as the first and the last, or None."""
    most, at = max((cost, n) for n, cost in zip(numbers, costs) if cost is not None)
    ends = [costs[0], costs[-1]]
    return at if None not in ends and most > 2 * max(ends) else None


def in_words(slope, what):
    word = next(word for most, word in BANDS if slope <= most)
    return f"{word} {what}"


class Against:
    """A table of costs against numbers of something."""

    def __init__(self, what, numbers, reached=None):
        """REACHED are the numbers that it came to."""
        self.what, self.numbers = what, reached or numbers
        self.rows = [[f"against {what}", *(f"{n:,}" for n in numbers), "e", "so it is"]]

    def row(self, what, costs):
        """COSTS are samples, whose medians count, or single numbers, or None."""
        middle = [(statistics.median(cost) if cost else None) if isinstance(cost, list) else cost for cost in costs]
        at = summit(self.numbers, middle) if any(middle) else None
        slope = exponent(self.numbers, middle) if at is None else None
        words = "-" if slope is None else in_words(slope, WHAT[self.what])
        if at is not None:
            words = f"most with {at:,.0f}"
        self.rows.append([what, *map(number, middle), "-" if slope is None else f"{slope:.2f}", words])
        if any(isinstance(cost, list) and len(cost) > 1 for cost in costs):
            self.rows.append(["  least and most", *(f"{number(min(cost))}-{number(max(cost))}"
                                                    if isinstance(cost, list) and cost else "" for cost in costs),
                              "", ""])

    def whole(self, what, counts, wanted):
        """COUNTS as they are, without a slope; WANTED of each."""
        self.rows.append([what, *("-" if count is None else f"{count:,}" for count in counts), "",
                          f"{wanted}: {met(all(count == wanted for count in counts))}"])

    def print(self):
        table(self.rows)


def folders():
    counts = [size for size in watching.SIZES if size <= watching.room()]
    sizes = [watching.of_size(count) for count in counts]
    rows = Against("folders", counts)
    kinds = [MailsyncAtOnce, FileNotify]

    def starts(what, attribute, unit):
        for kind in kinds:
            rows.row(f"{what}: {kind.name}",
                     [[value * unit for value in size.starts(kind, attribute)] for size in sizes])

    starts("until all is watched, ms", "watched", 1e3)
    starts("  main thread until then, CPU ms", "cpu", 1e3)
    starts("memory over a bare Emacs, MB", "memory", 1e-6)
    for kind in kinds:
        rows.row(f"a delivery, until it is told, ms: {kind.name}",
                 [[latency * 1e3 for latency in size.cost[kind].latency] for size in sizes])
    rows.row("  CPU of mailsync's threads, us", [size.cost[MailsyncAtOnce].ours * 1e6 for size in sizes])
    for kind in kinds:
        rows.row(f"  CPU of the main thread, us: {kind.name}", [size.cost[kind].main * 1e6 for size in sizes])
    for what, values in [("mailsync, in the background", [size.worker["rescan"].wall for size in sizes]),
                         ("Lisp, on the main thread", [size.look for size in sizes]),
                         ("find", [statistics.median(size.found) for size in sizes])]:
        rows.row(f"rescan, ms: {what}", [None if value == math.inf else value * 1e3 for value in values])
    rows.print()
    print(f"{watching.MESSAGES} deliveries, 10-20 ms apart.")
    if len(counts) < len(watching.SIZES):
        print("More were not tried: see fs.inotify.max_user_watches.")


class Stored:
    """A store of gnus.py's, as watching.py has trees: one folder, and the root."""

    size = 1

    def __init__(self, store):
        self.root = store.mail

    def settle(self):
        time.sleep(watching.SETTLED)


def messages():
    os.chmod(TOP, 0o711)  # as for a store's
    checks, _, stores = zip(*map(gnus.nnmaildir, MESSAGES))
    rows = Against("messages", MESSAGES)
    for way, name in [(gnus.WAYS[0], "mailsync"), (gnus.WAYS[1], "Gnus's command")]:
        rows.row(f"a delivery, check by nnmaildir, Emacs is blocked, ms: {name}",
                 [samples.blocked(way) for samples in checks])
    progress("what is not pushed")
    said = subprocess.run([os.environ["BENCH_MEASURE"], "unpushed", *map(str, MESSAGES)], capture_output=True,
                          text=True, check=True).stdout
    columns = list(zip(*([float(word) for word in line.split()[1:]] for line in said.splitlines())))
    for name, values in zip(["mbsync's record", "OfflineIMAP's record", "the names alone"], columns):
        rows.row(f"what is not pushed, ms: {name}", values)
    rows.row("rescan, ms", [watching.worker(Stored(store))["rescan"].wall * 1e3 for store in stores])
    rows.print()
    print(f"{gnus.ROUNDS} deliveries a column and way.")


class Storm:
    """What so many events a second did to an Emacs."""

    def __init__(self, way, rate):
        count = max(3, rate * STORM)
        touched = way.folders[:count]
        # A number less than that of any delivery.
        names = [os.path.join(folder, "cur", "1700000000.-1.bench:2,") for folder in touched]
        for name in names:
            with open(name, "w"):
                pass
        last = [Delivery(folder) for folder in touched]
        text = "".join(f"{name}\t{name}S\n" for name in names) + "\n" + "".join(
            f"{delivery.tmp}\t{delivery.new}\n" for delivery in last)
        watching.rest(way.emacs)
        way.emacs.eval("(bench-begin nil)")
        watching.rest(way.emacs)
        ours = watching.ours(way.emacs)
        main, threads = way.emacs.cpu(), watching.cpu(way.emacs, ours)
        storm = subprocess.run([os.environ["BENCH_MEASURE"], "storm", str(rate), str(count)], input=text,
                               capture_output=True, text=True)
        if storm.returncode:
            raise Failed(storm.stderr)
        took, *done = map(int, storm.stdout.split())
        time.sleep(0.5)
        watching.rest(way.emacs)
        self.reached = count / took * 1e9
        self.ours = (watching.cpu(way.emacs, ours) - threads) / 1e3 / count
        main = way.emacs.cpu() - main
        self.main, self.main_of_second = main / 1e3 / count, main / 1e6 / max(took / 1e9, 1)
        told, _ = way.told()
        self.calls = len(told)
        heard = {}
        for at, folder, delivered in told:
            heard[folder] = max(heard.get(folder, 0), at if delivered is None else delivered)
        # mailsync tells of folders, file-notify of messages.
        by_time = not told or told[0][2] is None
        self.stale = sum(heard.get(delivery.folder, 0) < (at if by_time else delivery.number)
                         for delivery, at in zip(last, done))
        for name in names:
            for there in (name, name + "S"):
                if os.path.exists(there):
                    os.unlink(there)
        watching.rest(way.emacs)


def events():
    storms = {}
    for kind in [arrival.Mailsync, arrival.FileNotify]:
        way = kind()
        storms[kind] = []
        for rate in RATES:
            progress(f"{kind.name}, {rate:,} events a second")
            storms[kind].append(Storm(way, rate))
        way.stop()
    ours, theirs = storms.values()
    rows = Against("events a second", RATES, [storm.reached for storm in ours])
    rows.row("CPU of mailsync's threads, us an event", [storm.ours for storm in ours])
    for name, each in [("mailsync", ours), ("file-notify", theirs)]:
        rows.row(f"CPU of the main thread, us an event: {name}", [storm.main for storm in each])
    for name, each in [("mailsync", ours), ("file-notify", theirs)]:
        rows.row(f"CPU of the main thread, ms a second: {name}", [storm.main_of_second for storm in each])
    rows.whole(f"folders of {arrival.FOLDERS} left stale: mailsync", [storm.stale for storm in ours], 0)
    rows.rows.append(["  file-notify", *(str(storm.stale) for storm in theirs), "", ""])
    rows.print()
    print(f"{STORM} s each.  Reached: {', '.join(number(storm.reached) for storm in ours)} a second; "
          f"with file-notify {', '.join(number(storm.reached) for storm in theirs)}.\n"
          f"Calls of Lisp: mailsync {', '.join(f'{storm.calls:,}' for storm in ours)}; "
          f"file-notify {', '.join(f'{storm.calls:,}' for storm in theirs)}.")


def main():
    for part in (events, messages, folders):
        if part is not events:
            print()
        part()
