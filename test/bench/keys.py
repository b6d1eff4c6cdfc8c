"""How long a key takes while mail arrives in many groups.

A real Gnus on generated mail, over nnmaildir.  Somebody types text into another buffer, without a pause;
from its first second on messages are delivered, over all groups, in a random order.  Three ways to see
them, each in an Emacs of its own, one after the other on the same mail:
    mailsync          at its defaults
    demon             `gnus-demon-scan-news' each minute
    per event         file-notify watches each group's new/, and for each message it calls
                      `gnus-group-get-new-news-this-group' on the group

Delay.  From the write of the key into the terminal until Emacs has handled it and has redrawn.  A key that
comes while Emacs is at something else waits for that; so does the next one.

Late.  How long after a delivery the count of its group has it, at the latest of all; Emacs looks five times
a second.  The typing goes on until all counts are right, or for LIMIT seconds.
"""
import contextlib
import math
import os
import random
import statistics
import subprocess
import threading
import time

from gnus import Gnus, Store
from harness import QUICK, TOP, Delivery, Failed, Table, goal, lisp_file, lisp_string, new_name, progress

GROUPS, SIZE = (5, 20) if QUICK else (50, 1000)
MESSAGES = 25 if QUICK else 1000
ARRIVE = 5 if QUICK else 50  # s
KEYS = 8  # a second
LIMIT = 15 if QUICK else 130  # s
TEXT = "the quick brown fox jumps over the lazy dog and types on and on "

WAYS = ["mailsync", "demon", "per event"]


class Typist(threading.Thread):
    """Somebody who types text into an Emacs, a key at a time."""

    def __init__(self, emacs, seed):
        super().__init__(daemon=True)
        self.terminal, self.random = os.dup(emacs.terminal), random.Random(seed)
        self.enough = threading.Event()
        self.typed = []  # (time, key)

    def run(self):
        due = time.monotonic()
        while not self.enough.is_set():
            key = "\r" if len(self.typed) % 600 == 599 else TEXT[len(self.typed) % len(TEXT)]
            self.typed.append((time.time(), key))
            os.write(self.terminal, key.encode())
            due += self.random.uniform(0.6, 1.4) / KEYS
            time.sleep(max(0, due - time.monotonic()))
        os.close(self.terminal)

    def stop(self):
        self.enough.set()
        self.join()

    def text(self):
        return "".join(key for _, key in self.typed).replace("\r", "\n")


class Run:
    """What was measured in one run."""

    def __init__(self, gnus, typist, deliveries, noted, text, base):
        drawn, self.counts, self.collected = [], [], (0, 0.0)
        with open(noted) as file:
            for line in file:
                what, *rest = line.split()
                if what == "drawn":
                    drawn.append(float(rest[0]))
                elif what == "count":
                    self.counts.append((float(rest[0]), int(rest[1]), int(rest[2])))
                else:
                    self.collected = int(rest[0]), float(rest[1])
        typed = typist.typed
        self.lost = len(typed) - len(text)
        if not self.lost and (text != typist.text() or len(drawn) != len(typed)):
            raise Failed(f"{len(typed)} keys were typed, {len(drawn)} drawn: {text}")
        self.delays = sorted((at - since) * 1e3 for at, (since, _) in zip(drawn, typed))
        self.late = self.lateness(deliveries, base)

    def lateness(self, deliveries, base):
        """How many seconds after each of the deliveries it was counted; infinite if it never was."""
        late, seen = [], {}
        for at, group in deliveries:
            seen[group] = seen.get(group, base[group]) + 1
            late.append(min((when - at for when, which, count in self.counts
                             if which == group and count >= seen[group]), default=math.inf))
        return sorted(late)


def at(part, values):
    """The value below which are so many, PART, of VALUES, which are sorted."""
    return values[min(len(values) - 1, math.ceil(part * len(values)) - 1)]


def measure(way, store, port=None):
    gnus = Gnus(store, store.folders, port)
    evaluate = gnus.emacs.eval
    evaluate(f"(load {lisp_string(lisp_file('bench-keys'))} nil t)")
    if way == "mailsync":
        evaluate("(bench-gnus-catch-up 10)")
    else:
        evaluate("(mailsync-mode -1)")
    if way == "demon":
        evaluate("(bench-keys-demon)")
    elif way == "per event":
        prefix = "nnimap" if port else "nnmaildir"
        watched = " ".join(f"({lisp_string(os.path.join(store.directory(folder), 'new'))} . "
                           f"{lisp_string(f'{prefix}+fix:{folder}')})" for folder in store.folders)
        evaluate(f"(bench-keys-watch '({watched}))")
    right, noted = new_name("right"), new_name("noted")
    per_group = MESSAGES // GROUPS
    base = evaluate(f"(bench-keys-begin {gnus.groups} {per_group} {lisp_string(right)})")
    base = [int(count) for count in base.strip("()").split()]
    time.sleep(1)
    typist, shuffled = Typist(gnus.emacs, 1), [number % GROUPS for number in range(MESSAGES)]
    random.Random(2).shuffle(shuffled)
    typist.start()
    time.sleep(1)
    start, deliveries = time.monotonic(), []
    for number, group in enumerate(shuffled):
        time.sleep(max(0, start + number * ARRIVE / MESSAGES - time.monotonic()))
        delivery = Delivery(store.directory(store.folders[group]))
        delivery.rename()
        deliveries.append((time.time(), group))
    while not os.path.exists(right) and time.monotonic() - start < LIMIT:
        time.sleep(0.1)
    typist.stop()
    text = new_name("text")
    for _ in range(10):
        # It may have a lot to do still.
        with contextlib.suppress(subprocess.TimeoutExpired):
            evaluate(f"(bench-keys-end {lisp_string(noted)} {lisp_string(text)})")
            break
    with open(text) as file:
        run = Run(gnus, typist, deliveries, noted, file.read(), base)
    gnus.emacs.stop()
    return run


def rows(table, what, runs):
    delays, late = [run.delays for run in runs], [run.late for run in runs]
    ours = runs[0]
    table.row(f"{what}: a key, ms, median", [statistics.median(each) for each in delays])
    table.row("  99 of 100 within", [at(0.99, each) for each in delays],
              goal("< 16", at(0.99, ours.delays) < 16))
    table.row("  longest", [each[-1] for each in delays], goal("< 50", ours.delays[-1] < 50))
    table.row("  keys over 50 ms, of 1,000", [sum(delay > 50 for delay in each) * 1e3 / len(each) for each in delays],
              ratios=False)
    table.row("  keys lost", [run.lost for run in runs], ratios=False)
    table.row("  a message until it is counted, s, median",
              [statistics.median(each) if each[-1] < math.inf else "-" for each in late], ratios=False)
    table.row("  the last", [each[-1] if each[-1] < math.inf else f"over {LIMIT}" for each in late],
              goal("< 35", ours.late[-1] < 35), ratios=False)
    table.row("  garbage collections", [run.collected[0] for run in runs], ratios=False)
    table.row("  each, ms, mean", [run.collected[1] * 1e3 / max(1, run.collected[0]) for run in runs], ratios=False)


def main():
    os.chmod(TOP, 0o711)  # as for a store's
    table = Table(*WAYS)
    store = Store({f"list{number:02}": SIZE for number in range(GROUPS)})
    runs = []
    for way in WAYS:
        progress(f"typing: {way}, nnmaildir")
        runs.append(measure(way, store))
    rows(table, "nnmaildir", runs)
    table.print()
    print(f"{MESSAGES:,} messages in {ARRIVE} s over {GROUPS} groups of {SIZE:,}, {KEYS} keys a second: "
          f"{', '.join(str(len(run.delays)) for run in runs)} keys.")


if __name__ == "__main__":
    main()
