#!/usr/bin/env python3
"""The benchmark's driver: runs its parts, prints their tables, and then what follows from them all.

    bench.py EMACS EMACSCLIENT LISP-DIRECTORY TEMPORARY-DIRECTORY REPORT [PART...]

Started by run.sh.  The parts are below, in the order in which they run, what matters most first; without
arguments, those that BENCH_PARTS names, or all.  Each is a module beside this one; what it has to be and may
count on is in harness.py.

A part that fails, or takes longer than its limit, is said to, and the next one runs; the exit code tells.
What is printed goes to the file REPORT, too, after each part, as doc/benchmarks.org has it.
"""
import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
import time
import traceback

import harness

# What it is about, and for how many seconds it may run: about twice what it takes on a quiet machine.
PARTS = {
    "arrival": ("A message arrives", 450),
    "gnus": ("A check of Gnus's groups", 420),
    "keys": ("Typing while mail arrives", 540),
    "imap": ("A message on an IMAP server", 1200),
    "far": ("From a server to the screen", 600),
    "sync": ("Syncing", 600),
    "changes": ("How many syncs a change takes", 600),
    "scale": ("What more of it costs", 600),
    "watching": ("Many folders", 420),
    "worker": ("A syncer that goes on running", 300),
    "program": ("The program for servers", 300),
    "status": ("The status of many folders", 120),
    "discovery": ("Finding out what accounts there are", 60),
    "load": ("Loading mailsync", 60),
}

def report(sections, file):
    """Write SECTIONS, each a title and a text, into FILE."""
    with open(file + ".new", "w", encoding="utf-8") as new:
        for title, text in sections:
            new.write(f"* {title}\n\n#+begin_example\n{text.strip()}\n#+end_example\n\n")
    os.replace(file + ".new", file)


def too_slow(*_):
    raise harness.TooSlow("This part took longer than it may.")


def run(part, limit):
    """Run PART for at most LIMIT seconds; whether it worked, and what it printed."""
    said, worked, began = io.StringIO(), False, time.monotonic()
    with contextlib.redirect_stdout(said):
        try:
            signal.alarm(limit)
            importlib.import_module(part).main()
            worked = True
        except Exception as error:
            # The other parts may work.
            if isinstance(error, harness.Failed):
                print(error)
            else:
                traceback.print_exc(file=sys.stdout)
        finally:
            signal.alarm(0)
            harness.clean_up()
        print(f"{time.monotonic() - began:.0f} s.")
    return worked, said.getvalue()


def machine():
    version = subprocess.run([harness.EMACS, "--version"], capture_output=True, text=True, check=True).stdout
    return (f"Linux {os.uname().release} {os.uname().machine}, {os.cpu_count()} cores, "
            f"{version.splitlines()[0].removeprefix('GNU ')}, {os.environ['RUST_VERSION']}")


def compared(found):
    """A table of how many times what mailsync needs the best of the alternatives does."""
    rows = [["", "mailsync", "the best alternative", "", "times"]]
    for what, values, goal in found:
        others = [(value, way) for way, value in values[1:] if value is not None and value > 0]
        # What is set in says more about the row above it, and is left out unless somebody aims at it.
        if others and values[0][1] and (goal or ";" not in what):
            value, way = min(others)
            rows.append([what, harness.number(values[0][1]), way, harness.number(value),
                         harness.ratio(value, values[0][1])])
    if len(rows) > 1:
        harness.table(rows)


def goals(found):
    """The goals that were not met, and those that were."""
    with_goals = [(what, values[0][1] if values else None, goal) for what, values, goal in found if goal]
    missed = [it for it in with_goals if it[2].endswith("NOT MET")]
    others = [it for it in with_goals if it not in missed]
    print()
    if with_goals and not harness.QUICK:
        print(f"{len(with_goals)} goals, {len(missed)} of them not met.\n")
    for each in (missed, others):
        if each:
            harness.table([["", "mailsync", "goal"],
                           *([what, harness.number(value), goal] for what, value, goal in each)])
            print()


def main():
    arguments = sys.argv[6:]
    wanted, file = arguments or os.environ.get("BENCH_PARTS", "").split() or list(PARTS), sys.argv[5]
    for part in wanted:
        if part not in PARTS:
            sys.exit(f"no part {part}; there are {' '.join(PARTS)}")
    failed, sections, loads = [], [], os.getloadavg()
    for part, (title, limit) in PARTS.items():
        if part not in wanted:
            continue
        worked, text = run(part, limit)
        print(f"{title}\n\n{text}", flush=True)
        sections.append((title, text))
        report(sections, file)
        if not worked:
            failed.append(part)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        compared(harness.found)
        goals(harness.found)
        print(f"{machine()}, {time.monotonic() - harness.BEGAN:.0f} s; "
              f"a load of {loads[0]:.1f} before{', QUICK: these numbers mean little' if harness.QUICK else ''}.")
        if failed:
            print(f"Did not work: {' '.join(failed)}")
    print(f"All of it\n\n{said.getvalue()}", flush=True)
    report([("All of it", said.getvalue()), *sections], file)
    if failed:
        sys.exit(f"did not work: {' '.join(failed)}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, too_slow)
    main()
