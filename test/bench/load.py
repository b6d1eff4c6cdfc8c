"""Loading: how long `(require 'mailsync)' takes in an `emacs -Q', byte-compiled, and what comes later.

The alternative is Gnus's own `(require 'gnus)', beside which it is loaded.  Each load is in an Emacs of its own,
which has loaded nothing before, and has collected its garbage just before, as an idle one has: whether what is due
from before falls into so short a time is chance.  CPU time is what getrusage(2) says.

What `mailsync-mode' loads when it is turned on comes after Gnus, as in .gnus.el, and by itself, as in an init file:
then Emacs 28 loads seq, which Gnus has loaded.
"""
import statistics
import subprocess

from harness import EMACS, LISP, QUICK, Failed, Table, goal, number, progress

TIMES = 3 if QUICK else 21


def load(form, before="nil"):
    """The times by the clock and those on the CPU, in ms, TIMES of each."""
    # `time-since' would be loaded, and counted.
    timed = ("(progn (garbage-collect) (let ((clock (current-time)) (cpu (get-internal-run-time))) %s"
             " (princ (format \"%%s %%s\" (float-time (time-subtract nil clock))"
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
    ours, gnus = load("(require 'mailsync)"), load("(require 'gnus)")
    start = "(require 'mailsync-life)"
    after_gnus = load(start, "(progn (require 'gnus) (require 'mailsync))")
    alone = load(start, "(require 'mailsync)")
    result = Table("mailsync", "Gnus")
    result.samples("load, ms", [ours[0], gnus[0]], lambda middle: goal("< 5", middle < 5))
    result.samples("  CPU ms", [ours[1], gnus[1]])
    result.samples("what the start loads, after Gnus, ms", [after_gnus[0], None], lambda middle: goal("< 30", middle < 30))
    result.samples("  CPU ms", [after_gnus[1], None])
    result.samples("what the start loads, without Gnus, ms", [alone[0], None])
    result.samples("  CPU ms", [alone[1], None])
    result.print()
    print(f"{TIMES} times each.")
