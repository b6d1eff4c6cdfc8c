"""What a sync costs that finds nothing to do, by a fresh OfflineIMAP and by one that goes on running.

A private Dovecot on loopback with 31 folders of 10 messages, and OfflineIMAP run by a real mailsync in an
interactive Emacs, as an account's syncer: with `:persistent t', and without it.  "Far" adds 20 ms in each
direction.  A time is the duration of a sync as mailsync tells it, the CPU time that of the syncer's
processes, as the kernel counts it for those that mailsync starts.  The worker has been started, and has
logged in, before anything is measured.
"""
import os
import statistics

from harness import QUICK, Emacs, Table, goal, lisp_string, progress, wait_for
from sync import Server

FOLDERS = 31
TIMES = 3 if QUICK else 7


def cpu(emacs):
    """What the processes below this Emacs have spent so far, in ms; those that it has waited for included."""
    total = 0
    with open(f"/proc/{emacs.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    total += int(fields[13]) + int(fields[14])
    with open(f"/proc/{emacs.pid}/task/{emacs.pid}/children") as file:
        children = file.read().split()
    for task in os.listdir(f"/proc/{emacs.pid}/task"):
        with open(f"/proc/{emacs.pid}/task/{task}/children") as file:
            children += file.read().split()
    for child in set(children):
        try:
            with open(f"/proc/{child}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
        except FileNotFoundError:
            pass
    return total * 1e3 / os.sysconf("SC_CLK_TCK")


def duration(emacs, folder):
    """A sync's duration in ms."""
    emacs.eval("(progn (setq bench-result nil) t)")
    folders = f"'({lisp_string(folder)})" if folder else "nil"
    emacs.eval(f"(progn (mailsync-run \"w\" {folders} (lambda (result) (setq bench-result result))) t)")
    wait_for(lambda: emacs.eval("(and bench-result t)") == "t", "the end of a sync", 120, 0.02)
    assert emacs.eval("(plist-get bench-result :status)") == "ok", emacs.eval("bench-result")
    return 1e3 * float(emacs.eval("(plist-get bench-result :duration)"))


def measure(server, keys, far):
    """Times, and the CPU time, in ms, of a sync of one folder, and of all."""
    there = server.config + ("/far-" if far else "/")
    emacs = Emacs("-l", "mailsync")
    emacs.eval(f"(progn (setq mailsync-accounts '((\"w\" :maildir {lisp_string(server.local('offlineimap'))} "
               f":syncer (mailsync-offlineimap \"slash\" :config {lisp_string(there + 'offlineimaprc')} {keys}))) "
               "mailsync-inter-delay 0) (mailsync-mode 1) t)")
    # What was read for a folder once is not read again; and the worker is there.
    duration(emacs, None)
    duration(emacs, "f7")
    found = []
    for folder, times in (("f7", TIMES), (None, min(TIMES, 5))):
        before = cpu(emacs)
        took = [duration(emacs, folder) for _ in range(times)]
        found.append((took, (cpu(emacs) - before) / times))
    emacs.stop()
    return found


def main():
    server = Server(FOLDERS - 1)
    table = Table("worker", "fresh process")
    goals = {(False, 0): 10, (False, 1): 2, (True, 0): 4}
    for far in (False, True):
        worker, fresh = measure(server, ":persistent t", far), measure(server, "", far)
        for at, what in enumerate(("one folder", f"all {FOLDERS} folders")):
            label = f"{what}, nothing to do, {'far' if far else 'near'}"
            wanted = goals.get((far, at))
            ours, theirs = statistics.median(worker[at][0]), statistics.median(fresh[at][0])
            met = goal(f"{wanted} times", theirs >= wanted * ours) if wanted else ""
            table.samples(label + ", ms", [worker[at][0], fresh[at][0]], lambda _, met=met: met)
            table.row("  ms of CPU", [worker[at][1], fresh[at][1]])
            progress(label)
    table.print()
    print("\nMedians; the CPU time of the syncer's processes, a mean.")
