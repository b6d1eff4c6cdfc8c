"""How many syncs a change takes.

The end-to-end test of just that (../syncing/echo.py), which asserts it, but counted: a real Gnus over
nnmaildir, or over nnimap to a Dovecot on this machine, whose maildirs mbsync or OfflineIMAP syncs with
another Dovecot.  Here: a message is received, read, ticked, moved or deleted.  There: a message is
received, flagged or deleted, or comes in a new folder, and one sync is asked for, as a watched server
would.  The alternative is the old world, in which what a sync wrote was a change as any other: two.
"""
import os
import sys

from harness import QUICK, Table, goal, progress

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


def main():
    table = Table("mailsync", "old world")
    for way, test in WAYS[:1] if QUICK else WAYS:
        for syncer, layout in SYNCERS[:1] if QUICK else SYNCERS:
            counts = counting(test)(syncer, layout, "batch").live()
            for where, (changes, runs) in counts.items():
                ours = runs / changes
                table.row(f"syncs a change {where}, {way}, {syncer} ({changes} changes)", [ours, 2],
                          goal("1.00", ours == 1))
            progress(f"{way}, {syncer}")
    table.print()
