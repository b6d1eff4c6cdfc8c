#!/usr/bin/env python3
"""The benchmark's driver: runs its parts and prints their tables.  Started by run.sh.

    bench.py EMACS EMACSCLIENT LISP-DIRECTORY TEMPORARY-DIRECTORY [PART...]

The parts are below, in the order in which they run; without arguments, those that BENCH_PARTS names,
or all.  Each is a module beside this one; what it has to be and may count on is in harness.py.
"""
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback

import harness

PARTS = {
    "load": "Loading mailsync",
    "arrival": "A message arrives",
    "watching": "Watching many folders",
    "discovery": "Finding out what accounts there are",
    "gnus": "Checking groups of Gnus",
    "keys": "Typing while mail arrives",
    "sync": "Syncing",
    "worker": "A syncer that goes on running",
    "changes": "How many syncs a change takes",
    "program": "The program for servers",
    "far": "From a server to the screen",
    "imap": "A message on an IMAP server",
    "status": "The status of many folders",
}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    wanted = sys.argv[5:] or os.environ.get("BENCH_PARTS", "").split() or list(PARTS)
    failed = []
    for part in wanted:
        if part not in PARTS:
            sys.exit(f"no part {part}; there are {' '.join(PARTS)}")
    for part, title in PARTS.items():
        if part not in wanted or not os.path.exists(os.path.join(here, part + ".py")):
            continue
        print(title + "\n")
        try:
            importlib.import_module(part).main()
        except Exception as error:
            # The other parts may work.
            failed.append(part)
            if isinstance(error, harness.Failed):
                print(error)
            else:
                traceback.print_exc(file=sys.stdout)
        finally:
            harness.clean_up()
        print(flush=True)
    version = subprocess.run([harness.EMACS, "--version"], capture_output=True, text=True, check=True).stdout
    print(f"Linux {os.uname().release} {os.uname().machine}, {os.cpu_count()} cores, "
          f"{version.splitlines()[0].removeprefix('GNU ')}, "
          f"{os.environ['RUST_VERSION']}, {time.monotonic() - harness.BEGAN:.0f} s"
          + (", QUICK: these numbers mean little." if harness.QUICK else "."))
    if failed:
        sys.exit(f"did not work: {' '.join(failed)}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
