"""What the parts of the benchmark share.

A part is a module beside this one, `NAME.py', named in bench.py's PARTS.  Its docstring explains what
it measures and how.  It has one function, called once, with nothing, in one process with the others:

    main()      measures, says on the way what it is at (`progress'), and prints its table and the
                notes below it on stdout; no title, no empty lines around, and nothing about the
                machine, which bench.py prints.

What a part may count on, and what it must keep to:
  - The table is a `Table': its first column is mailsync, the next ones the alternatives, measured in the
    same run; the ratios follow by themselves.  Of all numbers less is better.  A row of medians has one of
    the least and the most below it (`Table.samples'), or says otherwise how far they spread.  A goal is told
    by `goal', met or not; it is never a reason to give up.  `Failed' with a sentence is for a benchmark that
    does not work, as is `TooSlow', which comes when the time that bench.py allows is over; the parts after it
    still run.
  - With QUICK, everything runs once and short, and goals say that these are too few to say.
  - Everything is written below TOP, in directories of names of its own (`new_name'), and stays until the
    whole benchmark ends: to remove it in between costs time, and ext4 is slow with inodes that were just
    freed.  (What takes a lot of room may go at the end of its part.)
  - HOME and XDG_RUNTIME_DIR are below TOP.  An `Emacs' is ended at the end of the part; whatever else a
    part starts it appends to `undo', a function for each, called last first, once the part has ended,
    however it did.
  - Lisp for Emacs lies beside this file and is byte-compiled into TOP (`lisp_file'); call it
    bench-NAME.el, since a gnus.el would be mistaken for Gnus.
"""
import contextlib
import fcntl
import os
import pty
import random
import signal
import socket
import statistics
import struct
import subprocess
import sys
import termios
import time

EMACS, CLIENT, LISP, TOP = sys.argv[1:5]
QUICK = bool(os.environ.get("BENCH_QUICK"))

REALTIME, MONOTONIC = time.CLOCK_REALTIME, time.CLOCK_MONOTONIC
clock = time.clock_gettime_ns
BEGAN = time.monotonic()
numbers = iter(range(10**9))
# What to do at the end of a part, last first.
undo = []


class Failed(Exception):
    """This part of the benchmark does not work; in words for the user."""


class TooSlow(Failed):
    """This part takes longer than it may."""


def clean_up():
    while undo:
        undo.pop()()


def new_name(what):
    """A name below TOP that nobody has."""
    return os.path.join(TOP, f"{what}{next(numbers)}")


def lisp_file(name):
    return os.path.join(TOP, name + ".elc")


def lisp_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def wait_for(condition, what, seconds=20, step=0.05):
    """Wait until CONDITION holds; WHAT is what has not happened if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not in {seconds} s: {what() if callable(what) else what}")
        time.sleep(step)


class Emacs:
    """An interactive Emacs on a terminal that nobody looks at."""

    def __init__(self, *arguments):
        """ARGUMENTS follow after those that make it start quickly, load bench.el and serve us."""
        self.run = os.path.join(TOP, "run", str(next(numbers)))  # short, for the socket
        os.makedirs(os.path.join(self.run, "emacs"), mode=0o700)
        os.chmod(self.run, 0o700)
        self.socket = os.path.join(self.run, "emacs", "bench")
        # In a new home Emacs would compile everything natively, beside the measurement.
        quiet = "(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)"
        args = [EMACS, "-nw", "-Q", "--eval", quiet, "-L", LISP, "-l", lisp_file("bench")]
        args += ["--eval", f"(bench-server {lisp_string(self.run)})", *arguments]
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(TOP)
            os.execvp(EMACS, args)
        self.pid = pid
        undo.append(self.stop)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        # Somebody has to read what it draws; not we, who measure.
        self.screen = os.path.join(self.run, "screen")
        with open(self.screen, "wb") as screen:
            self.reader = subprocess.Popen(["cat"], stdin=terminal, stdout=screen, stderr=subprocess.DEVNULL)
        # For keys.
        self.terminal = terminal
        wait_for(lambda: self.listens() or os.waitpid(pid, os.WNOHANG)[0], self.shown)
        if not self.listens():
            self.pid = None
            raise Failed(f"Emacs does not start: {self.shown()}")

    def shown(self):
        with open(self.screen, "rb") as screen:
            return screen.read().decode(errors="replace")

    def listens(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(self.socket) == 0

    def eval(self, form):
        command = [CLIENT, "-s", self.socket, "--eval", form]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if run.returncode != 0:
            raise Failed(f"{form}: {run.stdout}{run.stderr}")
        return run.stdout.strip()

    def cpu(self):
        """What the main thread has spent on a CPU, in ns."""
        with open(f"/proc/{self.pid}/task/{self.pid}/schedstat") as file:
            return int(file.read().split()[0])

    def stop(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.reader.wait()
            os.close(self.terminal)
            self.pid = None


class Delivery:
    """A message: written into tmp, renamed into new; when that was."""

    def __init__(self, folder):
        self.folder, self.number = folder, next(numbers)
        name = f"{int(time.time())}.{self.number}.bench"
        self.tmp, self.new = os.path.join(folder, "tmp", name), os.path.join(folder, "new", name)
        with open(self.tmp, "wb") as file:
            file.write(b"From: a@example.org\nTo: b@example.org\nSubject: bench\n\nHello.\n")

    def rename(self):
        while True:
            self.before, real = clock(MONOTONIC), clock(REALTIME)
            # Not interrupted between the two, nor before the rename.
            if clock(MONOTONIC) - self.before < 5_000:
                break
        os.rename(self.tmp, self.new)
        self.after = clock(REALTIME)
        self.offset = real - self.before


@contextlib.contextmanager
def awake():
    """No CPU sleeps."""

    def lowest(cpu):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        os.sched_setaffinity(0, {cpu})

    loops = []
    for cpu in os.sched_getaffinity(0):
        loop = subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"], preexec_fn=lambda cpu=cpu: lowest(cpu))
        loops.append(loop)
        undo.append(loop.kill)
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def echo(times):
    """A byte to another process and back: the median in ms."""
    there, back = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(there[1])
        while byte := os.read(there[0], 1):
            os.write(back[1], byte)
        os._exit(0)
    took = []
    for _ in range(times):
        time.sleep(random.uniform(0.020, 0.060))
        start = clock(MONOTONIC)
        os.write(there[1], b".")
        os.read(back[0], 1)
        took.append((clock(MONOTONIC) - start) / 1e6)
    for end in [*there, *back]:
        os.close(end)
    os.waitpid(pid, 0)
    return statistics.median(took)


def progress(what):
    print(f"{time.monotonic() - BEGAN:4.0f} s  {what}", file=sys.stderr, flush=True)


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def ratio(value, base):
    return "-" if value is None or not base else number(value / base)


def met(condition):
    return "too few to say" if QUICK else "met" if condition else "NOT MET"


def goal(text, condition):
    return f"{text}: {met(condition)}"


def table(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for index, row in enumerate(rows):
        cells = [cell.ljust(width) if at in (0, len(row) - 1) else cell.rjust(width)
                 for at, (cell, width) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |")
        if index == 0:
            print("|-" + "-+-".join("-" * width for width in widths) + "-|")


def spread(samples):
    """The least and the most of them."""
    return f"{number(min(samples))}-{number(max(samples))}"


# What was found, for the summary: (what, [(way, value)...], goal) of each row of a `Table'.
found = []


class Table:
    """A row is what was measured, of mailsync and of the alternatives, their ratios, and the goal."""

    def __init__(self, *ways):
        self.ways = ways
        self.rows = [["", *ways, *(f"{way} : {ways[0]}" for way in ways[1:]), "goal"]]
        self.topic = ""

    def row(self, what, values, goal="", ratios=True):
        """None among VALUES is a dash, a string is itself; RATIOS false leaves those out."""
        base = values[0]
        cells = [value if isinstance(value, str) else number(value) for value in values]
        compared = ["" if not ratios or isinstance(value, str) or isinstance(base, str) else ratio(value, base)
                    for value in values[1:]]
        self.rows.append([what, *cells, *compared, goal])
        # A row that is set in says more about the one above it.
        full = f"{self.topic}; {what.strip()}" if what.startswith(" ") else what
        if full is what:
            self.topic = what
        of_ways = [(way, None if isinstance(value, str) or not ratios and way != self.ways[0] else value)
                   for way, value in zip(self.ways, values)]
        found.append((full, of_ways, goal))

    def samples(self, what, samples, goal=lambda middle: ""):
        """A row of medians, and one of the least and the most; None, or none, where nothing was measured.

        GOAL is called with the median of mailsync and returns what `goal' does."""
        middle = [statistics.median(each) if each else None for each in samples]
        self.row(what, middle, "not measured" if middle[0] is None else goal(middle[0]))
        if not any(each and len(each) > 1 for each in samples):
            return
        inset = " " * (len(what) - len(what.lstrip()))
        self.rows.append([f"{inset}  least and most",
                          *(spread(each) if each and len(each) > 1 else "-" for each in samples),
                          *("" for _ in self.ways[1:]), ""])

    def print(self):
        table(self.rows)
