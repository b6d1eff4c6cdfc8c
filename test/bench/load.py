"""Loading: how long `(require 'mailsync)' takes in an `emacs -Q', byte-compiled.

The alternative is Gnus's own `(require 'gnus)', beside which it is loaded.  What mailsync shares with Gnus,
seq and subr-x, is loaded before, and measured by itself: in Emacs 28 it is most of it, and whoever has Gnus
has it.  Each load is in an Emacs of its own, which has collected its garbage just before, as an idle one has:
whether what is due from before falls into so short a time is chance.  CPU time is what getrusage(2) says.
"""
import statistics
import subprocess

from harness import EMACS, LISP, QUICK, Failed, Table, goal, number, progress

TIMES = 3 if QUICK else 21
SHARED = "(progn (require 'seq) (require 'subr-x))"


def load(before, form):
    """The times by the clock and those on the CPU, in ms, TIMES of each."""
    timed = ("(progn (garbage-collect) (let ((clock (current-time)) (cpu (get-internal-run-time))) %s"
             " (princ (format \"%%s %%s\" (float-time (time-since clock))"
             " (float-time (time-subtract (get-internal-run-time) cpu))))))" % form)
    command = [EMACS, "-Q", "--batch", "--eval",
               "(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)",
               "-L", LISP, "--eval", before, "--eval", timed]
    took = []
    for _ in range(TIMES):
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if run.returncode != 0:
            raise Failed(run.stderr)
        took.append([1e3 * float(seconds) for seconds in run.stdout.split()])
    return list(zip(*took))


def main():
    progress("loading")
    ours, gnus, shared = load(SHARED, "(require 'mailsync)"), load(SHARED, "(require 'gnus)"), load("nil", SHARED)
    result = Table("mailsync", "Gnus")
    result.samples("load, ms", [ours[0], gnus[0]], lambda middle: goal("< 5", middle < 5))
    result.samples("  CPU ms", [ours[1], gnus[1]])
    result.print()
    print(f"{TIMES} times each, after seq and subr-x, which take {number(statistics.median(shared[0]))} ms by themselves.")
