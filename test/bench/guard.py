#!/usr/bin/env python3
"""`make guard': do the hot paths need more instructions than they did?

    guard.py PROGRAM RUSTC        PROGRAM is test/bench/main.rs, built for tests by this version of Rust
    UPDATE=1 guard.py ...         writes what it has counted as the new figures

Each scenario of guard.rs is run with some rounds and with none, under Valgrind's cachegrind, which counts
the instructions of a program (not those of the kernel) and hardly ever comes to another number; the difference
is compared with the figure in guard.tsv.  More than its tolerance above that is a failure.  Less is told, so
that the figure can be lowered.  (A processor's own counter, as perf reads it, is quicker, but most virtual
machines have none; and only figures by the same means can be compared.)

The tolerance is what hash tables with seeds of chance, the lengths of temporary names and the C library come
to.  Another version of Rust makes another program: then it is 25 %, and that is said.  On another kind of
processor nothing can be compared: then the scenarios run, and nothing else is claimed.
"""
import concurrent.futures
import os
import platform
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FIGURES = os.path.join(HERE, "guard.tsv")
HEAD = "scenario\tinstructions\ttolerance\trustc\tprocessor"
TOLERANCE = 5  # %, of a new scenario
ANOTHER_RUST = 25  # %
ROUNDS = 2
PATIENCE = 120  # s


def instructions(program, scenario, rounds):
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
               program, "guard", scenario, str(rounds)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    found = re.search(r"I +refs: +([\d,]+)", run.stderr)
    if run.returncode or not found:
        sys.exit(f"{scenario}: {run.stderr}")
    return int(found.group(1).replace(",", ""))


def figures():
    """What is known of each scenario: instructions, tolerance in %, version of Rust, processor."""
    with open(FIGURES) as file:
        lines = file.read().splitlines()
    if lines[:1] != [HEAD]:
        sys.exit(f"{FIGURES} does not begin with {HEAD!r}")
    rows = (line.split("\t") for line in lines[1:])
    return {name: (int(count), int(tolerance), rustc, processor) for name, count, tolerance, rustc, processor in rows}


def verdict(count, known, rustc, processor):
    """Whether COUNT is all right, and in words."""
    if known is None:
        return False, "has no figure"
    figure, tolerance, their_rustc, their_processor = known
    if processor != their_processor:
        return True, f"not compared: the figure is of {their_processor}"
    more = 100 * (count - figure) / figure
    words = f"{more:+.1f} %"
    if rustc != their_rustc:
        tolerance = max(tolerance, ANOTHER_RUST)
        words += f" (Rust {rustc}, the figure is of {their_rustc})"
    if more > tolerance:
        return False, f"{words}: MORE than {tolerance} % more"
    if more < -tolerance:
        return True, f"{words}: less; make guard UPDATE=1 lowers the figure"
    return True, words


def main():
    program, rustc = sys.argv[1:]
    processor, known = platform.machine(), figures() if os.path.exists(FIGURES) else {}
    names = subprocess.run([program, "guard"], capture_output=True, text=True, check=True).stdout.split()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [(pool.submit(instructions, program, name, ROUNDS), pool.submit(instructions, program, name, 0))
                for name in names]
        counts = {name: (some.result() - none.result()) // ROUNDS for name, (some, none) in zip(names, runs)}
    if os.environ.get("UPDATE"):
        with open(FIGURES, "w") as file:
            file.write(HEAD + "\n")
            for name, count in counts.items():
                tolerance = known[name][1] if name in known else TOLERANCE
                file.write(f"{name}\t{count}\t{tolerance}\t{rustc}\t{processor}\n")
    failed = []
    width = max(map(len, names))
    for name, count in counts.items():
        good, words = (True, "noted") if os.environ.get("UPDATE") else verdict(count, known.get(name), rustc, processor)
        print(f"{name:{width}} {count:12,}  {words}")
        if not good:
            failed.append(name)
    for name in known.keys() - counts.keys():
        print(f"{name} is no scenario any more")
        failed.append(name)
    if failed and not os.environ.get("UPDATE"):
        sys.exit(f"instructions: {' '.join(failed)}")


if __name__ == "__main__":
    main()
