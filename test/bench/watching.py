"""Many folders: to begin, to be idle, to look again, and what each folder costs.

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

Against the number of folders: the same, and a message now and then, which mailsync tells without delay.
`A folder more' is the slope between the two largest trees, the exponent that of n which fits those two.
"""
import collections
import math
import os
import random
import re
import signal
import statistics
import subprocess
import time

from harness import (QUICK, Delivery, Emacs, Failed, Table, goal, lisp_file, lisp_string, new_name, number,
                     progress, table, undo, wait_for)

SIZES = [30, 300, 1000] if QUICK else [30, 300, 3000, 20000]
MANY, MOST = SIZES[-2:]  # the ones with goals
RUNS = {size: 1 if QUICK else 5 if size == MANY else 3 for size in SIZES}
BARE = 3 if QUICK else 5
IDLE = 10 if QUICK else 60  # seconds
MESSAGES = 20 if QUICK else 200
MISSED = 100  # folders that change when the queue is full
SETTLED = 2.2  # seconds until the times of a directory prove anything
PATIENCE = 30  # seconds for one size of watching.rs
OURS = re.compile(r"mailsync-|notify-rs")

Started = collections.namedtuple("Started", "call cpu watched")
Time = collections.namedtuple("Time", "wall cpu")
Cost = collections.namedtuple("Cost", "cpu latency")


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


def median(values):
    """Of what is known of VALUES."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else math.nan


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
        return Started(call, spent, float(self.emacs.eval("bench-watching-watched")))

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
        """Of one delivery the CPU seconds of all threads, and the seconds until it is told."""
        self.begin()
        before, done, order = cpu(self.emacs), [], []
        for _ in range(MESSAGES):
            # None is told about twice at once.
            order = order or random.sample(self.tree.folders, len(self.tree.folders))
            delivery = Delivery(order.pop())
            time.sleep(random.uniform(0.010, 0.020))
            delivery.rename()
            done.append(delivery)
        rest(self.emacs)
        spent = (cpu(self.emacs) - before) / MESSAGES / 1e9
        self.tree.touched = time.monotonic()
        told, latencies = list(self.told()), []
        for delivery in done:
            at = delivery.before + delivery.offset
            calls = [when for when, folder in told if folder == delivery.folder and when > at]
            if not calls:
                raise Failed(f"{self.name}: a delivery was not told")
            latencies.append((calls[0] - at) / 1e9)
        return Cost(spent, statistics.median(latencies))

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


def bare_memory():
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
    command = [os.environ["BENCH_WATCHING"], tree.root, str(RUNS[tree.size])]
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

    def __init__(self, size, bare):
        progress(f"{size:,} folders: a tree")
        self.tree = Tree(size)
        self.found = self.tree.find()  # and now it is warm
        self.found = statistics.median(self.tree.find() for _ in range(RUNS[size]))
        progress(f"{size:,} folders: rescan")
        self.worker = worker(self.tree)
        self.started, self.memory, self.cost = {}, {}, {}
        for kind in [MailsyncAtOnce, FileNotify]:
            progress(f"{size:,} folders: {kind.name}")
            started, memory = [], []
            for run in range(RUNS[size]):
                way = kind(self.tree)
                started.append(way.start())
                memory.append(way.memory() - bare)
                if run == 0:
                    self.cost[kind] = way.deliveries()
                    if kind is FileNotify:
                        self.look = way.call(
                            f"#'bench-watching-look {lisp_string(self.tree.root)} {size}")[0]
                way.stop()
            self.started[kind] = Started(*map(median, zip(*started)))
            self.memory[kind] = statistics.median(memory)


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


def slope(sizes, values):
    """Between the last two: (one more folder, the exponent)."""
    (n, m), (a, b) = sizes[-2:], values[-2:]
    if math.inf in (a, b):
        return None, None
    return (b - a) / (m - n), math.log(b / a) / math.log(m / n) if a > 0 and b > 0 else None


def shown(seconds, unit):
    return f"> {number(PATIENCE * unit)}" if seconds == math.inf else seconds * unit


def against(sizes):
    """The table of what a folder costs."""
    counts = [size.tree.size for size in sizes]
    rows = [["", *(f"{count:,}" for count in counts), "a folder more", "exponent"]]

    def row(what, values, unit, small, small_unit):
        more, exponent = slope(counts, values)
        more = "-" if more is None else f"{number(more * small)} {small_unit}"
        cells = [value if isinstance(value, str) else number(value)
                 for value in (shown(value, unit) for value in values)]
        rows.append([what, *cells, more, "-" if exponent is None else f"{exponent:.2f}"])

    for kind, what in [(MailsyncAtOnce, "mailsync"), (None, "mailsync's worker alone, without Emacs"),
                       (FileNotify, "file-notify")]:
        row(f"until all is watched, ms: {what}",
            [size.started[kind].watched if kind else size.worker["start"].wall for size in sizes], 1e3, 1e6, "us")
    row("find the folders once, ms: mailsync", [size.worker["discover"].wall for size in sizes], 1e3, 1e6, "us")
    for what, values in [("mailsync, in the background", [size.worker["rescan"].wall for size in sizes]),
                         ("Lisp, on the main thread", [size.look for size in sizes]),
                         ("find", [size.found for size in sizes])]:
        row(f"rescan, ms: {what}", values, 1e3, 1e6, "us")
    for kind in [MailsyncAtOnce, FileNotify]:
        row(f"memory over a bare Emacs, MB: {kind.name}", [size.memory[kind] for size in sizes], 1e-6, 1e-3, "kB")
    for kind in [MailsyncAtOnce, FileNotify]:
        row(f"a delivery, CPU of all threads, us: {kind.name}", [size.cost[kind].cpu for size in sizes], 1e6, 1e9,
            "ns")
    for kind in [MailsyncAtOnce, FileNotify]:
        row(f"a delivery, rename to Lisp, ms: {kind.name}", [size.cost[kind].latency for size in sizes], 1e3, 1e9,
            "ns")
    table(rows)


def main():
    notes, counts = [], SIZES
    with open("/proc/sys/fs/inotify/max_user_watches") as file:
        watches = int(file.read())
    # Two a folder, and room for the user's other programs.
    if watches < 2 * MOST + 10_000:
        counts = [size for size in SIZES if 2 * size + 10_000 < watches]
        notes.append(f"{MOST:,} folders were not tried: fs.inotify.max_user_watches is {watches:,}.")
        if MANY not in counts:
            raise Failed(notes[-1])
    progress("a bare Emacs")
    bare = bare_memory()
    sizes = [Size(size, bare) for size in counts]
    of = {size.tree.size: size for size in sizes}
    many = of[MANY]
    quiet = idle(many.tree)
    progress(f"{MANY:,} folders, nested: rescan")
    nested = Tree(MANY, dot="")
    nested.find()
    nested_found = statistics.median(nested.find() for _ in range(RUNS[MANY]))
    nested_rescan = worker(nested)["rescan"]
    flooded = {kind: overflow(kind, many.tree) for kind in [Mailsync, FileNotify]}

    rows = Table("mailsync", "file-notify", "find")
    mine, theirs = many.started[MailsyncAtOnce], many.started[FileNotify]
    rows.row(f"start, {MANY:,} folders: the call takes, ms", [mine.call * 1e3, theirs.call * 1e3, None],
             goal("< 1", mine.call < 1e-3))
    rows.row("  main thread until all is at rest, CPU ms", [mine.cpu * 1e3, theirs.cpu * 1e3, None],
             goal("< 1", mine.cpu < 1e-3))
    rows.row("  until all is watched, ms", [mine.watched * 1e3, theirs.watched * 1e3, None],
             goal("< 100", mine.watched < 0.1))
    rows.row(f"{IDLE} s idle, {MANY:,} folders: system calls of mailsync's threads", [quiet.calls, "", ""],
             goal("0", quiet.calls == 0) if quiet.trouble is None else "not measured", ratios=False)
    rows.row("  their context switches", [quiet.switches, "", ""], goal("0", quiet.switches == 0), ratios=False)
    rows.row("  context switches of Emacs's main thread", [*quiet.main_switches[:2], ""], ratios=False)
    rescan = many.worker["rescan"]
    rows.row(f"rescan, {MANY:,} folders, ms", [shown(rescan.wall, 1e3), many.look * 1e3, many.found * 1e3],
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
    for size, limit in [(MANY, 8), (MOST, 40)]:
        if size in of:
            memory = [of[size].memory[kind] / 1e6 for kind in [MailsyncAtOnce, FileNotify]]
            rows.row(f"memory over a bare Emacs, {size:,} folders, MB", [*memory, None],
                     goal(f"< {limit}", memory[0] < limit))
    rows.print()
    print()
    against(sizes)
    runs = sorted({RUNS[size] for size in counts})
    print(f"Medians of {' to '.join(map(str, runs))} runs, each in an Emacs of its own. Memory is what is "
          "anonymous, and the module's file,\nafter a garbage collection; "
          f"a bare Emacs has {bare / 1e6:.1f} MB.\n"
          "Rescan: mailsync's is a job of its worker thread; in file-notify's column is `file-attributes' of new "
          "and cur of\neach folder, on the main thread, since it has none itself; find prints their times.\n"
          f"Idle: the main thread of a bare Emacs switched {quiet.main_switches[2]} times. "
          + (f"strace could not look: {quiet.trouble}" if quiet.trouble else
             f"A delivery afterwards took mailsync's threads {quiet.control} system calls."))
    print(f"A delivery: {MESSAGES} messages, 10-20 ms apart, mailsync without its delay.")
    for note in notes:
        print(note)
