"""What the status costs where there are many folders: to open, and to follow.

An interactive Emacs as in arrival.py watches a tree of watching.py.  `Open' is from a timer that calls the
command, as a key would, until all that it shows is in the buffer and drawn; what it costs is the CPU time
of the main thread, which other programs do not lengthen.  For the list of folders the engine has to be
asked: the command returns before the answer is there, and the longest pause is the longest time between
two ticks of a timer of 5 ms, in which Emacs would not have seen a key.

The alternative is `tabulated-list-print' with as many rows that say less, which are there already.
"""
import os
import statistics

from harness import QUICK, Emacs, Table, goal, lisp_file, lisp_string, number, progress, wait_for
from watching import Tree

SIZES = [30, 300] if QUICK else [30, 3000]
TIMES = 3 if QUICK else 10


def take(emacs, form):
    """FORM, several times: median ms until it is done, of its call, of CPU, and the longest pause."""
    took, calls, cpus, gaps = [], [], [], []
    end = os.path.join(emacs.run, "told")
    for _ in range(TIMES):
        emacs.eval("(bench-begin t)")
        before = emacs.cpu()
        emacs.eval(form)
        wait_for(lambda: emacs.eval("bench-status-took") != "nil", form, seconds=60)
        cpus.append((emacs.cpu() - before) / 1e6)
        took.append(float(emacs.eval("bench-status-took")))
        calls.append(float(emacs.eval("bench-status-call")))
        gaps.append(1000 * float(emacs.eval(f"(bench-end {lisp_string(end)})")))
    return (*map(statistics.median, (took, calls, cpus)), max(gaps))


def main():
    result = Table("mailsync", "tabulated-list")
    for size in SIZES:
        many = size == SIZES[-1]
        folders = f"{size:,} folders"
        progress(f"the status, {folders}")
        tree = Tree(size)
        emacs = Emacs("-l", lisp_file("bench-status"))
        emacs.eval(f"(bench-mailsync {lisp_string(tree.root)} nil)")
        wait_for(lambda: emacs.eval("bench-started") == "t", "watching")
        rows = size + 1
        opened = take(emacs, "(bench-status-open)")
        result.row(f"the status opens, {folders}, ms", [opened[0], None],
                   goal("< 100", opened[0] < 100) if many else "")
        listed = take(emacs, f"(bench-status-folders {rows})")
        plain = take(emacs, f"(bench-status-plain {rows})")
        result.row(f"the list of folders opens, {folders}, ms", [listed[0], plain[0]])
        result.row("  CPU of the main thread, ms", [listed[2], plain[2]],
                   goal("< 100", listed[2] < 100) if many else "")
        result.row("  the command, ms", [listed[1], plain[1]])
        result.row("  the longest pause, ms", [listed[3], plain[3]])
        emacs.eval(f"(bench-status-folders {rows})")
        wait_for(lambda: emacs.eval("bench-status-took") != "nil", "the list")
        changed = take(emacs, "(bench-status-change-all)")
        result.row(f"each row changes, {folders}, ms", [changed[0], None])
        result.row("  CPU of the main thread, ms", [changed[2], None])
        result.row("  the longest pause, ms", [changed[3], None])
        emacs.stop()
    result.print()
    print(f"Medians of {number(TIMES)}; pauses are the longest of all.  CPU has what asking Emacs costs, about 1 ms.")
