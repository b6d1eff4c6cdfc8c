"""How many syncs a change takes.

The end-to-end test of just that (../syncing/echo.py), which asserts it, but counted: a real Gnus over
nnmaildir, or over nnimap to a Dovecot on this machine, whose maildirs mbsync or OfflineIMAP syncs with
another Dovecot.  Here: a message is received, read, ticked, moved or deleted.  There: a message is
received, flagged or deleted, or comes in a new folder, and one sync is asked for, as a watched server
would.  The alternative is the old world, in which what a sync wrote was a change as any other: two.

What is counted does not depend on how quick the machine is, so that all combinations run at once.
"""
import multiprocessing
import os
import sys

from harness import QUICK, Failed, Table, goal, progress, undo

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from syncing.echo import Echo, EchoByImap  # noqa: E402

WAYS = [("nnmaildir", Echo), ("nnimap", EchoByImap)]
SYNCERS = [("mbsync", "verbatim"), ("offlineimap", "slash")]


def counting(test):
    """The same test, which counts runs instead of demanding one."""
    class Counting(test):
        def live(self):
            """Pairs of changes and runs, here and there."""
            # The first sync is no change.
            self.counts, self.where = {"here": [0, 0], "there": [0, 0], "first": [0, 0]}, "first"
            good = False
            try:
                self.start()
                self.first_sync()
                self.emacs.forget()
                self.read_by_gnus()
                for where, change in self.CHANGES:
                    self.emacs.forget()
                    self.where = where
                    getattr(self, change)()
                good = True
            finally:
                self.clean(good)
            del self.counts["first"]
            return self.counts

        def one_run(self, *scopes, again=False):
            self.rest()
            count = self.counts[self.where]
            count[0] += 1
            count[1] += len(self.emacs.runs())

    return Counting


class Beside(multiprocessing.get_context("fork").Process):
    """One combination, in a process of its own."""

    def __init__(self, test, syncer, layout):
        super().__init__()
        self.test, self.syncer, self.layout = test, syncer, layout
        self.result, self.end = multiprocessing.Pipe(duplex=False)
        undo.append(self.stop)
        self.start()
        # Held by the other process alone, it ends with that.
        self.end.close()

    def run(self):
        try:
            self.end.send(counting(self.test)(self.syncer, self.layout, "batch").live())
        except Exception as error:
            self.end.send(f"{type(error).__name__}: {error}")

    def counts(self):
        try:
            counts = self.result.recv()
        except EOFError:
            counts = "no result"
        if isinstance(counts, str):
            raise Failed(f"{self.test.__name__}, {self.syncer}: {counts}")
        return counts

    def stop(self):
        # It cleans up after itself.
        self.terminate()
        self.join(30)
        if self.is_alive():
            self.kill()
            self.join()


def main():
    table = Table("mailsync", "old world")
    processes = {(way, syncer): Beside(test, syncer, layout)
                 for way, test in WAYS for syncer, layout in (SYNCERS[:1] if QUICK else SYNCERS)}
    for (way, syncer), process in processes.items():
        for where, (changes, runs) in process.counts().items():
            ours = runs / changes
            table.row(f"syncs a change {where}, {way}, {syncer} ({changes} changes)", [ours, 2],
                      goal("1.00", ours == 1))
        progress(f"{way}, {syncer}")
    table.print()
