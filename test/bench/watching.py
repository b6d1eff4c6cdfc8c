"""Many folders: to begin, to be idle, and to look again.

The trees are Maildir++, warm (just made, and looked at), and hold no messages, which none of the ways
lists.  `mailsync' and `file-notify' are each in an interactive Emacs as in arrival.py, one at a time.
file-notify gets the names of the directories for nothing; mailsync finds them.  `find' is the program,
writing the times of new and cur of each folder into nowhere.

Start.  mailsync is loaded, its module too, and an idle Emacs calls `mailsync-mode' from a timer, for the
first time in its life.  How long the call takes is what Emacs says (CLOCK_REALTIME in nanoseconds); what
it costs is the CPU time of the main thread (field 1 of its schedstat), read from outside before the timer
and once all threads are at rest, which includes hearing that all is watched, less what a timer costs
that does nothing.  Watched is when `mailsync-started-functions' run; for file-notify, when the last
`file-notify-add-watch' returns.

Idle.  strace is attached to our threads alone, by their numbers (its -f would take all of Emacs), and
writes a line with the time for each call.  What counts is a window that begins a second later, since
attaching itself interrupts what the threads wait in.  Context switches are those of /proc in the same
window.  After it one message is delivered: that must show, or the trace is worth nothing.

Rescan.  watching.rs, since it is the root's worker that does it, on its own thread: an overflow's job,
again and again, while nothing changes.  In file-notify's column is what Lisp would have to do, on the
main thread: `file-attributes' of new and cur of the folders it knows; file-notify itself has no rescan.
find lists the folders' directories, which Maildir++ spares mailsync; where folders may be nested, it
has to list them, too, and to watch three directories a folder.

Overflow.  Emacs is stopped (SIGSTOP) while more files come and go in one folder than the kernel's queue
holds, and then a message arrives in each of some others, which the kernel tells nobody.  Then it
goes on: what that costs the main thread, and of how many of those folders Lisp hears.

Memory.  After a garbage collection, what is anonymous (the heaps, Lisp's and the module's, and stacks),
and what of the module's file is mapped; less that of an Emacs with the same files of the benchmark loaded
that watches nothing.  So mailsync's Lisp and module are in it.  Not Pss: Emacs's own files would count for
less while another Emacs runs.  What the kernel keeps for each watch is not in it; it is the same for both.

Against the number of folders: scale.py, which measures by what is here.
"""
import collections
import functools
import math
import os
import random
import re
import signal
import statistics
import subprocess
import time

from harness import (QUICK, Delivery, Emacs, Failed, Table, goal, lisp_file, lisp_string, new_name, number,
                     progress, undo, wait_for)

SIZES = [30, 300, 1000] if QUICK else [30, 300, 3000, 20000]
MANY, MOST = SIZES[-2:]  # the ones with goals
BARE = 3 if QUICK else 5
IDLE = 10 if QUICK else 60  # seconds
MESSAGES = 20 if QUICK else 150
MISSED = 100  # folders that change when the queue is full
SETTLED = 2.2  # seconds until the times of a directory prove anything
PATIENCE = 30  # seconds for one size of watching.rs
OURS = re.compile(r"mailsync-|notify-rs")

Started = collections.namedtuple("Started", "call cpu watched memory")
Time = collections.namedtuple("Time", "wall cpu")
# Of one delivery: what mailsync's threads spend, the main thread, and the time until it is told; in seconds.
Cost = collections.namedtuple("Cost", "ours main latency")


class Tree:
    """A Maildir++ with many folders; or nested ones, without the dot."""

    def __init__(self, size, dot="."):
        self.size, self.root = size, new_name("tree")
        self.folders = [f"{self.root}/{dot}folder{number:05}" for number in range(size)]
        for folder in [self.root, *self.folders]:
            for directory in [folder, f"{folder}/new", f"{folder}/cur", f"{folder}/tmp"]:
                os.mkdir(directory)
        self.touched = time.monotonic()

    def settle(self):
        time.sleep(max(0, self.touched + SETTLED - time.monotonic()))

    def find(self):
        """Seconds that find takes."""
        command = ["find", self.root, "-mindepth", "1", "-maxdepth", "2", "(", "-name", "new", "-o", "-name",
                   "cur", ")", "-printf", "%i %s %T@ %C@ %p\\n"]
        began = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - began


def threads(emacs):
    """The numbers and names of its threads."""
    found = {}
    for tid in map(int, os.listdir(f"/proc/{emacs.pid}/task")):
        try:
            with open(f"/proc/{emacs.pid}/task/{tid}/comm") as file:
                found[tid] = file.read().strip()
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def ours(emacs):
    return [tid for tid, name in threads(emacs).items() if OURS.match(name)]


def cpu(emacs, tids=None):
    """What these threads, or all, have spent on a CPU, in ns."""
    spent = 0
    for tid in threads(emacs) if tids is None else tids:
        try:
            with open(f"/proc/{emacs.pid}/task/{tid}/schedstat") as file:
                spent += int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return spent


def rest(emacs, seconds=90):
    """Wait until none of its threads has done anything for a while."""
    deadline, before = time.monotonic() + seconds, cpu(emacs)
    while True:
        time.sleep(0.3)
        after = cpu(emacs)
        if after - before < 200_000:
            return
        if time.monotonic() > deadline:
            raise Failed(f"Emacs does not come to rest in {seconds} s")
        before = after


class Watching:
    """An Emacs that can watch a tree; this one never does."""

    name = "bare"

    def __init__(self, tree=None):
        self.tree = tree
        self.emacs = Emacs("-l", lisp_file("bench-watching"))

    def call(self, form):
        """Have the call of FORM made; how long it took in seconds, and the main thread's CPU time.

        The latter is None where the machine was too busy to read it before the call."""
        self.emacs.eval(f"(bench-watching-call {form})")
        time.sleep(0.25)
        before, at = self.emacs.cpu(), time.time()
        time.sleep(0.5)
        rest(self.emacs)
        after = self.emacs.cpu()
        wait_for(lambda: self.emacs.eval("bench-watching-took") != "nil", form)
        early = float(self.emacs.eval("(float-time bench-watching-began)")) > at
        return float(self.emacs.eval("bench-watching-took")), (after - before) / 1e9 if early else None

    def start(self):
        _, nothing = self.call("#'ignore")
        call, spent = self.call(self.form())
        wait_for(lambda: self.emacs.eval("bench-watching-watched") != "nil", f"{self.name} watches", 60)
        spent = None if None in (spent, nothing) else max(0, spent - nothing)
        watched = float(self.emacs.eval("bench-watching-watched"))
        return Started(call, spent, watched, self.memory() - bare_memory())

    def form(self):
        return f"#'bench-watching-file-notify {lisp_string(self.tree.root)} {self.tree.size}"

    def memory(self):
        """Bytes."""
        self.emacs.eval("(garbage-collect)")
        rest(self.emacs)
        total, name = 0, ""
        with open(f"/proc/{self.emacs.pid}/smaps") as file:
            for line in file:
                words = line.split()
                if not words[0].endswith(":"):
                    name = line
                elif words[0] == "Anonymous:" or words[0] == "Rss:" and "mailsync-engine" in name:
                    total += int(words[1]) * 1024
                if words[0] == "Anonymous:" and "mailsync-engine" in name:
                    total -= int(words[1]) * 1024
        return total

    def begin(self):
        self.emacs.eval("(bench-begin nil)")
        rest(self.emacs)

    def told(self):
        """Everything told since `begin': (when, folder)."""
        file = os.path.join(self.emacs.run, "told")
        self.emacs.eval(f"(bench-end {lisp_string(file)})")
        with open(file) as lines:
            for line in lines:
                at, name = line.rstrip("\n").split(" ", 1)
                yield int(at), self.folder_of(name)

    def folder_of(self, name):
        return os.path.dirname(os.path.dirname(name))

    def deliveries(self):
        """What one delivery costs, `Cost'."""
        self.begin()
        before, main, done, order = cpu(self.emacs, ours(self.emacs)), self.emacs.cpu(), [], []
        for _ in range(MESSAGES):
            # None is told about twice at once.
            order = order or random.sample(self.tree.folders, len(self.tree.folders))
            delivery = Delivery(order.pop())
            time.sleep(random.uniform(0.010, 0.020))
            delivery.rename()
            done.append(delivery)
        rest(self.emacs)
        spent = (cpu(self.emacs, ours(self.emacs)) - before) / MESSAGES / 1e9
        main = (self.emacs.cpu() - main) / MESSAGES / 1e9
        self.tree.touched = time.monotonic()
        told, latencies = list(self.told()), []
        for delivery in done:
            at = delivery.before + delivery.offset
            calls = [when for when, folder in told if folder == delivery.folder and when > at]
            if not calls:
                raise Failed(f"{self.name}: a delivery was not told")
            latencies.append((calls[0] - at) / 1e9)
        return Cost(spent, main, latencies)

    def stop(self):
        self.emacs.stop()


class FileNotify(Watching):
    name = "file-notify"


class Mailsync(Watching):
    name = "mailsync"
    delay = "nil"  # the default

    def start(self):
        self.emacs.eval(f"(bench-watching-mailsync {lisp_string(self.tree.root)} {self.delay})")
        return super().start()

    def form(self):
        return "#'mailsync-mode 1"

    def folder_of(self, name):
        return name


class MailsyncAtOnce(Mailsync):
    delay = "0"


def runs(size):
    """How often to begin with so many folders."""
    return 1 if QUICK else 5 if size <= MANY else 3


@functools.cache
def bare_memory():
    progress("a bare Emacs")
    found = []
    for _ in range(BARE):
        way = Watching()
        way.call("#'ignore")
        found.append(way.memory())
        way.stop()
    return statistics.median(found)


def worker(tree):
    """What watching.rs says of TREE, medians in seconds: by the clock, and CPU time."""
    tree.settle()
    command = [os.environ["BENCH_MEASURE"], "watching", tree.root, str(runs(tree.size))]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    undo.append(run.kill)
    try:
        said, errors = run.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        run.kill()
        said, errors = run.communicate()
    else:
        if run.returncode != 0:
            raise Failed(f"watching.rs: {errors}")
    found = collections.defaultdict(list)
    for line in said.splitlines():
        what, folders, wall, spent = line.split()
        if int(folders) != tree.size + 1:
            raise Failed(f"watching.rs: {folders} folders of {tree.size + 1}")
        found[what].append(Time(int(wall) / 1e9, int(spent) / 1e9))
    # What has not come by now takes longer than that.
    return {what: Time(*map(statistics.median, zip(*found[what] or [Time(math.inf, math.inf)])))
            for what in ["discover", "start", "rescan"]}


class Size:
    """Everything that is measured with a tree of one size."""

    def __init__(self, size):
        progress(f"{size:,} folders: a tree")
        self.tree = Tree(size)
        self.tree.find()  # and now it is warm
        self.found = [self.tree.find() for _ in range(runs(size))]
        progress(f"{size:,} folders: rescan")
        self.worker = worker(self.tree)
        # In lists: by kind, what each start took; and of the first, what deliveries cost.
        self.started, self.cost = {}, {}
        for kind in [MailsyncAtOnce, FileNotify]:
            progress(f"{size:,} folders: {kind.name}")
            self.started[kind] = []
            # file-notify takes its time to begin with the most.
            for run in range(1 if kind is FileNotify and size == MOST else runs(size)):
                way = kind(self.tree)
                self.started[kind].append(way.start())
                if run == 0:
                    self.cost[kind] = way.deliveries()
                    if kind is FileNotify:
                        self.look = way.call(
                            f"#'bench-watching-look {lisp_string(self.tree.root)} {size}")[0]
                way.stop()

    def starts(self, kind, what):
        """WHAT, an attribute of `Started', of all starts of KIND where it is known."""
        return [value for value in (getattr(start, what) for start in self.started[kind]) if value is not None]


@functools.cache
def of_size(size):
    """Measured once, for whoever wants to know."""
    return Size(size)


def room():
    """How many folders may be tried."""
    with open("/proc/sys/fs/inotify/max_user_watches") as file:
        watches = int(file.read())
    # Two a folder, and room for the user's other programs.
    return (watches - 10_000) // 2


def switches(emacs, tids):
    """Context switches of these threads so far, wanted and unwanted."""
    count = 0
    for tid in tids:
        with open(f"/proc/{emacs.pid}/task/{tid}/status") as file:
            count += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", file.read())))
    return count


Idle = collections.namedtuple("Idle", "calls switches main_switches control trouble")


def idle(tree):
    """What our threads, and the main threads of the three, do when nothing happens."""
    ways = [Mailsync(tree), FileNotify(tree), Watching()]
    for way in ways[:2]:
        way.start()
    ways[2].call("#'ignore")
    emacs = ways[0].emacs
    tids = ours(emacs)
    if not tids:
        raise Failed(f"no thread of ours among {threads(emacs)}")
    for way in ways:
        rest(way.emacs)
    progress(f"idle for {IDLE} s")
    trace, said = os.path.join(emacs.run, "trace"), os.path.join(emacs.run, "strace")
    command = ["strace", "-q", "-ttt", "-o", trace, *(word for tid in tids for word in ["-p", str(tid)])]
    with open(said, "w") as errors:
        try:
            strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        except FileNotFoundError as error:
            raise Failed(str(error)) from error
    undo.append(strace.kill)
    time.sleep(1.5)

    def all_switches():
        return [switches(emacs, tids), *(switches(way.emacs, [way.emacs.pid]) for way in ways)]

    before, since = all_switches(), time.time()
    time.sleep(IDLE)
    after, until = all_switches(), time.time()
    if sorted(ours(emacs)) != sorted(tids):
        raise Failed("threads came and went in an idle Emacs")
    Delivery(tree.folders[0]).rename()
    time.sleep(0.5)
    tree.touched = time.monotonic()
    # Killed, it would leave the threads stopped.
    strace.terminate()
    strace.wait()
    with open(trace) as lines:
        calls = [float(call.group(1)) for call in map(re.compile(r"\d+ +([\d.]+) \w+\(").match, lines) if call]
    control = sum(at > until for at in calls)
    trouble = None
    if not control:
        with open(said) as file:
            trouble = file.read().strip() or "strace saw nothing"
    for way in ways:
        way.stop()
    ours_switches, *main_switches = [later - earlier for earlier, later in zip(before, after)]
    return Idle(None if trouble else sum(since <= at <= until for at in calls), ours_switches, main_switches,
                control, trouble)


Overflow = collections.namedtuple("Overflow", "main others told needless")


def overflow(kind, tree):
    """What happens when more happens than the kernel's queue holds."""
    progress(f"{kind.name}, overflow")
    tree.settle()
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        queue = int(file.read())
    way = kind(tree)
    emacs = way.emacs
    way.start()
    way.begin()
    main, others = emacs.cpu(), cpu(emacs, ours(emacs))
    os.kill(emacs.pid, signal.SIGSTOP)

    def stopped():
        with open(f"/proc/{emacs.pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "T"

    wait_for(stopped, "Emacs stops")
    busy, missed = tree.folders[0], tree.folders[1:1 + min(MISSED, tree.size // 2)]
    for _ in range(queue // 2 + 100):
        name = f"{busy}/new/overflow"
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        os.unlink(name)
    for folder in missed:
        Delivery(folder).rename()
    os.kill(emacs.pid, signal.SIGCONT)
    time.sleep(0.5)
    rest(emacs)
    tree.touched = time.monotonic()
    main, others = emacs.cpu() - main, cpu(emacs, ours(emacs)) - others
    told = {folder for _, folder in way.told()}
    way.stop()
    needless = told.difference([busy, *missed])
    return Overflow(main / 1e9, others / 1e9, len(told.intersection(missed)), len(needless))


def shown(seconds, unit):
    return f"> {number(PATIENCE * unit)}" if seconds == math.inf else seconds * unit


def main():
    if MANY > room():
        raise Failed(f"{MANY:,} folders cannot be watched: see fs.inotify.max_user_watches")
    many = of_size(MANY)
    quiet = idle(many.tree)
    progress(f"{MANY:,} folders, nested: rescan")
    nested = Tree(MANY, dot="")
    nested.find()
    nested_found = statistics.median(nested.find() for _ in range(runs(MANY)))
    nested_rescan = worker(nested)["rescan"]
    flooded = {kind: overflow(kind, many.tree) for kind in [Mailsync, FileNotify]}

    rows = Table("mailsync", "file-notify", "find")

    def started(what, attribute, unit, limit):
        rows.samples(what, [*([value * unit for value in many.starts(kind, attribute)]
                              for kind in [MailsyncAtOnce, FileNotify]), None],
                     lambda middle: goal(f"< {limit}", middle < limit))

    started(f"start, {MANY:,} folders: the call takes, ms", "call", 1e3, 1)
    started("  main thread until all is at rest, CPU ms", "cpu", 1e3, 1)
    started("  until all is watched, ms", "watched", 1e3, 100)
    rows.row(f"{IDLE} s idle, {MANY:,} folders: system calls of mailsync's threads", [quiet.calls, "", ""],
             goal("0", quiet.calls == 0) if quiet.trouble is None else "not measured", ratios=False)
    rows.row("  their context switches", [quiet.switches, "", ""], goal("0", quiet.switches == 0), ratios=False)
    rows.row("  context switches of Emacs's main thread", [*quiet.main_switches[:2], ""], ratios=False)
    rescan = many.worker["rescan"]
    rows.row(f"rescan, {MANY:,} folders, ms",
             [shown(rescan.wall, 1e3), many.look * 1e3, statistics.median(many.found) * 1e3],
             goal("< 50", rescan.wall < 0.05))
    rows.row("  CPU of all threads, ms", [shown(rescan.cpu, 1e3), "", ""], ratios=False)
    rows.row("  nested, ms", [shown(nested_rescan.wall, 1e3), None, nested_found * 1e3],
             goal("< 50", nested_rescan.wall < 0.05))
    rows.row("  CPU of all threads, ms", [shown(nested_rescan.cpu, 1e3), "", ""], ratios=False)
    mine, theirs = flooded[Mailsync], flooded[FileNotify]
    rows.row(f"overflow, {MANY:,} folders: main thread, CPU ms", [mine.main * 1e3, theirs.main * 1e3, None])
    rows.row("  mailsync's threads, CPU ms", [mine.others * 1e3, "", ""], ratios=False)
    missed = min(MISSED, MANY // 2)
    rows.row(f"  of {missed} folders beyond the queue, told", [mine.told, theirs.told, ""],
             goal(f"{missed}", mine.told == missed), ratios=False)
    rows.row("  folders told that had not changed", [mine.needless, theirs.needless, ""], ratios=False)
    started(f"memory over a bare Emacs, {MANY:,} folders, MB", "memory", 1e-6, 8)
    rows.print()
    print(f"Medians of {runs(MANY)} runs, each in an Emacs of its own. Memory is what is "
          "anonymous, and the module's file,\nafter a garbage collection; "
          f"a bare Emacs has {bare_memory() / 1e6:.1f} MB.\n"
          "Rescan: mailsync's is a job of its worker thread; in file-notify's column is `file-attributes' of new "
          "and cur of\neach folder, on the main thread, since it has none itself; find prints their times.\n"
          f"Idle: the main thread of a bare Emacs switched {quiet.main_switches[2]} times. "
          + (f"strace could not look: {quiet.trouble}" if quiet.trouble else
             f"A delivery afterwards took mailsync's threads {quiet.control} system calls."))
