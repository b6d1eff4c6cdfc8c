"""mailsync-watch: how large it is, and what it costs a server to have it.

The program as `make' builds it, by itself, as under ssh: pipes for input and output.  The alternative is
`inotifywait -m' on the same directories, which are given to it (mailsync-watch finds them); mswatch's own
watcher is not to be had any more.  Trees are those of watching.py.

Memory is what the system says of the process once it is at rest: all that is resident, and of that what
is its own (anonymous), without the pages of files that it shares with others.

Idle: context switches of all threads and CPU time, in a window of so many seconds; after it a message is
delivered, and has to be told, or the silence proves nothing.

A delivery: from the rename to the line, without a delay, one at a time.
"""
import os
import random
import select
import subprocess
import time

from harness import MONOTONIC, QUICK, Delivery, Failed, Table, clock, goal, number, progress, undo
from watching import Tree

PROGRAM = os.environ["BENCH_PROGRAM"]
SIZES = [30, 300] if QUICK else [30, 3000]
MESSAGES = 20 if QUICK else 200
IDLE = 5 if QUICK else 60  # seconds
PATIENCE = 60  # seconds


class Watcher:
    """A process that prints a line for each change."""

    def __init__(self, tree, command, errors, started):
        """STARTED says how what it prints when all is watched ends; it does so on ERRORS, or on its output."""
        before = clock(MONOTONIC)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                                        stderr=subprocess.PIPE if errors else None)
        undo.append(self.process.kill)
        self.tree, text = tree, b""
        while not text.endswith(started):
            text += self.read(self.process.stderr if errors else self.process.stdout)
        self.took = (clock(MONOTONIC) - before) / 1e6

    def read(self, file):
        if not select.select([file], [], [], PATIENCE)[0]:
            raise Failed(f"{self.process.args[0]} says nothing for {PATIENCE} s")
        return os.read(file.fileno(), 65536)

    def tasks(self):
        return [f"/proc/{self.process.pid}/task/{task}" for task in os.listdir(f"/proc/{self.process.pid}/task")]

    def status(self, task, *keys):
        with open(task + "/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        return sum(int(fields[key].split()[0]) for key in keys)

    def switches(self):
        keys = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
        return sum(self.status(task, *keys) for task in self.tasks())

    def cpu(self):
        """In ns."""
        spent = 0
        for task in self.tasks():
            with open(task + "/schedstat") as file:
                spent += int(file.read().split()[0])
        return spent

    def memory(self):
        """In kB: all, and its own."""
        of_process = f"/proc/{self.process.pid}"
        return self.status(of_process, "VmRSS"), self.status(of_process, "RssAnon")

    def deliver(self):
        """From the rename to the line, in ms."""
        message = Delivery(random.choice(self.tree.folders))
        message.rename()
        self.read(self.process.stdout)
        return (clock(MONOTONIC) - message.before) / 1e6

    def stop(self):
        self.process.kill()
        self.process.wait()


def ours(tree):
    command = [PROGRAM, "--maildir", tree.root, "--delay", "0"]
    return Watcher(tree, command, errors=False, started=b"\n")


def inotifywait(tree):
    names = os.path.join(tree.root, "names")
    with open(names, "w") as file:
        for folder in [tree.root, *tree.folders]:
            file.write(f"{folder}/new\n{folder}/cur\n")
    command = ["inotifywait", "-m", "--format", "%w", "-e", "create,delete,move", "--fromfile", names]
    return Watcher(tree, command, errors=True, started=b"Watches established.\n")


def silences(watchers):
    """Of each of WATCHERS the context switches and the CPU time in ms while nothing happens."""
    # Until what was begun at the start is over.
    time.sleep(3)
    before = [(watcher.switches(), watcher.cpu()) for watcher in watchers]
    time.sleep(IDLE)
    return [(watcher.switches() - switches, (watcher.cpu() - cpu) / 1e6)
            for watcher, (switches, cpu) in zip(watchers, before)]


def deliveries(watcher):
    """The CPU time of a delivery in us, and all latencies in ms."""
    watcher.deliver()
    before, took = watcher.cpu(), []
    for _ in range(MESSAGES):
        time.sleep(random.uniform(0.010, 0.020))
        took.append(watcher.deliver())
    return (watcher.cpu() - before) / 1e3 / MESSAGES, took


def measure(start, tree):
    """One after the other: took, memory, own memory, CPU of a delivery in us, and latencies in ms."""
    watcher = start(tree)
    time.sleep(1)
    memory = watcher.memory()
    found = watcher.took, *memory, *deliveries(watcher)
    watcher.stop()
    return found


def main():
    result = Table("mailsync-watch", "inotifywait")
    size = os.path.getsize(PROGRAM) / 1e6
    result.row("size of the program, MB", [size, None], goal("< 2.5", size < 2.5))
    for size in SIZES:
        many = size == SIZES[-1]
        progress(f"mailsync-watch, {size} folders")
        tree = Tree(size)
        tree.settle()
        took, memory, own, cpu, latencies = zip(*(measure(start, tree) for start in (ours, inotifywait)))
        folders = f"{size:,} folders"
        result.row(f"until all is watched, {folders}, ms", took)
        result.row(f"  resident memory, {folders}, MB", [kb / 1e3 for kb in memory],
                   goal("< 6", memory[0] < 6e3) if many else "")
        result.row(f"    its own, {folders}, MB", [kb / 1e3 for kb in own])
        result.row(f"  a delivery, CPU of all threads, {folders}, us", cpu)
        result.samples(f"  a delivery, rename to line, {folders}, ms, median", latencies)
        if many:
            watchers = [start(tree) for start in (ours, inotifywait)]
            switches, spent = zip(*silences(watchers))
            for watcher in watchers:
                # It was not deaf.
                watcher.deliver()
                watcher.stop()
            result.row(f"{IDLE} s idle, {folders}: context switches", switches, goal("0", switches[0] == 0))
            result.row("  CPU ms", spent)
    result.print()
    print(f"A delivery: {number(MESSAGES)} messages, 10-20 ms apart.  inotifywait is told the directories.")
