#!/usr/bin/env python3
"""End to end: real syncers, a real server, a real Gnus; local and remote have to become the same.

usage: test/sync.py mbsync|offlineimap LAYOUT [batch|tmux [PART]]

LAYOUT is verbatim, legacy, mdpp or flat for mbsync, slash or dot for OfflineIMAP.  PART is usual
(what Gnus and a server do, and what goes wrong), or, with the first layout of each alone, reader (the
keys of Gnus, splitting, folders; in tmux), instances (Emacsen that end in mid-sync, or share an
account), troubles (server, password and disk), echo and echo-imap (how many runs a change takes, in
nnmaildir and in nnimap), remote (mailsync-watch at the far end of an ssh connection, which breaks),
attach (the same, attached to an Emacs there whose Gnus splits what arrives), split-local and
split-local-imap (Gnus splits what arrives here, from a mail source or in nnimap), imap (the server
itself says what changes, with a maildir here and without), tunnel (the same, through ssh), line (the line to
it dies without a word), modes (each way in which it is watched), logins (each way to be let in), quickstart
(each quick start of README.org as it is written, whatever the syncer), worker (OfflineIMAP that goes on
running), restarts (the server is killed and started again, RESTARTS times), quits and quits-gnus (C-g at any
moment, ROUNDS times, whatever the syncer; in place of batch or tmux, terminal or window), life (many things that
a user does, ACTIONS of them, while mail comes on both sides), day (a user at a terminal, for DAY seconds, in tmux;
leaves pictures of the screen: `make day') or soak (all of that at once, for HOURS, in tmux: `make soak').

The syncer reaches the server through a relay of ours, which can be told to refuse, to be silent, to
cut, or to wait in the middle.  Everything lies below a temporary directory, which stays after a
failure.  EMACS is the Emacs to run.
"""
import argparse
import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
from syncing.attach import Attach
from syncing.day import Day
from syncing.echo import Echo, EchoByImap
from syncing.imap import Imap
from syncing.instances import Instances
from syncing.life import Life
from syncing.line import Line
from syncing.modes import Logins, Modes
from syncing.quickstart import QuickStart
from syncing.quits import Quits, QuitsGnus
from syncing.reader import Reader
from syncing.remote import Remote
from syncing.restarts import Restarts
from syncing.soak import Soak
from syncing.splitting import SplittingByImap, SplittingSource
from syncing.troubles import Troubles
from syncing.tunnel import Tunnel
from syncing.usual import Usual
from syncing.worker import Worker

PARTS = {"usual": Usual, "reader": Reader, "instances": Instances, "troubles": Troubles,
         "echo": Echo, "echo-imap": EchoByImap, "life": Life, "remote": Remote, "attach": Attach,
         "day": Day, "split-local": SplittingSource, "split-local-imap": SplittingByImap,
         "imap": Imap, "tunnel": Tunnel, "line": Line, "modes": Modes, "logins": Logins,
         "quickstart": QuickStart, "worker": Worker, "quits": Quits, "restarts": Restarts,
         "quits-gnus": QuitsGnus, "soak": Soak}

LAYOUTS = {"mbsync": ["verbatim", "legacy", "mdpp", "flat"], "offlineimap": ["slash", "dot"]}

# What they have to themselves, as an option of unshare.
PRIVATE = {"troubles": "--mount", "line": "--net", "soak": "--net"}


def arguments():
    """SYNCER, LAYOUT, MODE and PART; what is none of them ends this."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("syncer", choices=LAYOUTS)
    parser.add_argument("layout")
    parser.add_argument("mode", nargs="?", default="batch", choices=["batch", "tmux", "terminal", "window"])
    parser.add_argument("part", nargs="?", default="usual", choices=PARTS)
    given = parser.parse_args()
    layouts = LAYOUTS[given.syncer]
    if given.layout not in layouts:
        parser.error(f"no layout {given.layout} of {given.syncer}; there are {', '.join(layouts)}")
    return given.syncer, given.layout, given.mode, given.part


def main():
    syncer, layout, mode, part = arguments()
    os.environ["PATH"] += ":/usr/sbin"  # Dovecot, ip
    if part in PRIVATE and "SYNC_PRIVATE" not in os.environ:
        # Mounts or a network of our own, which end when we do.
        private = ["unshare", PRIVATE[part]]
        if shutil.which(private[0]) and not subprocess.run([*private, "true"], check=False).returncode:
            os.environ["SYNC_PRIVATE"] = "yes"
            os.execvp(private[0], [*private, sys.executable, *sys.argv])
        if part == "line":
            # As root of a real machine it is, and then nothing else may be wrong.
            print("skipped: a network of our own is not permitted\n0 passed, 0 failed")
            return
    test = PARTS[part](syncer, layout, mode)
    good = False
    try:
        test.run()
        good = True
    finally:
        if not good:
            for emacs in test.emacsen:
                print(emacs.work, *emacs.all_facts()[-60:], sep="\n")
                if emacs.mode == "tmux":
                    print(emacs.screen())
            print("FAILED, see " + test.dir, flush=True)
        test.clean(good)
    print("%d passed, 0 failed" % test.count)
    if test.told:
        print(test.told)


if __name__ == "__main__":
    main()
