#!/usr/bin/env python3
"""Run a command, for so long at most, and let nothing that it started outlive it.

usage: test/torture/bounded.py SECONDS COMMAND...        (0: as long as it takes)

What goes on after so many seconds is ended, by TERM and then by KILL, and the exit code is 124; otherwise it is
the command's.  Servers, terminals and other programs that put themselves into a session of their own are found
all the same, on Linux: there their orphans become ours.  When we are ended, or who started us is, so are they.
"""
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# How long TERM may take.
GRACE = 3


class Ended(Exception):
    """By this signal; ALRM is our own."""


def ended(number, _):
    raise Ended(number)


def descendants():
    """The processes below ours, with their names."""
    below, found = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else []):
        try:
            with open("/proc/%s/stat" % pid, encoding="utf-8", errors="replace") as file:
                head, _, tail = file.read().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, parent = tail.split()[:2]
        if state != "Z":
            below.setdefault(int(parent), []).append((int(pid), head.partition("(")[2]))
    parents = [os.getpid()]
    while parents:
        for pid, name in below.get(parents.pop(), []):
            found[pid] = name
            parents.append(pid)
    return found


def reaped(options=0):
    """The pid and the exit code of a child that has ended, or None if none has, or there is none."""
    try:
        pid, status = os.waitpid(-1, options)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def end_all(group):
    """End what is left, and return what it was called."""
    names = sorted(set(descendants().values()))
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            # Where nobody can say who is below us.
            os.killpg(group, how)
        except (ProcessLookupError, PermissionError):
            pass
        for pid in descendants():
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                pass
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            while reaped(os.WNOHANG):
                pass
            if not descendants():
                return names
            time.sleep(0.05)
    return names


def main():
    limit, command = float(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ended)
    # pylint: disable=consider-using-with
    child = subprocess.Popen(command, start_new_session=True)
    code = None
    try:
        if limit:
            signal.setitimer(signal.ITIMER_REAL, limit)
        while code is None:
            pid, status = reaped() or (child.pid, 1)
            if pid == child.pid:
                code = status
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Ended as end:
        signal.setitimer(signal.ITIMER_REAL, 0)
        code = 124 if end.args[0] == signal.SIGALRM else 128 + end.args[0]
    left = end_all(child.pid)
    if code == 124 and left:
        print("It went on for all of its %g s, and was ended: %s" % (limit, ", ".join(left)), flush=True)
    elif left:
        print("Left behind, and ended: " + ", ".join(left), flush=True)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
