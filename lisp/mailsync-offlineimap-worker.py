#!/usr/bin/python3
# Copyright (C) 2026 The mailsync authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OfflineIMAP as a long-running syncer of mailsync: one process and one login for many syncs.

usage: mailsync-offlineimap-worker.py ACCOUNT [OPTION-OF-OFFLINEIMAP...]

It speaks the contract of `mailsync-worker' (see the manual, "Long-running syncers") on its standard
input and output, and uses the user's own OfflineIMAP as a library: the one of the program that
MAILSYNC_PROGRAM names, with the Python of that program.  Between two syncs it holds nothing but the
connection; OfflineIMAP's own lock is taken for each sync and never removed, so that a plain
offlineimap may run in between.

It depends on the inside of OfflineIMAP (8.0.0 as Debian 12 and 13 have it, and 8.0.1), and ends at
once, with a line that says why, where that is another one.
"""

import fcntl
import importlib.util
import os
import queue
import select
import shlex
import shutil
import signal
import sys
import threading
import time

VERSIONS = ("8.0.0", "8.0.1")

# Names of files are made of the time and a number, which OfflineIMAP never forgets.
MOST_TIMES = 10000

# In the environment: the Python is the right one.
CHECKED = "MAILSYNC_WORKER_PYTHON"


def give_up(why):
    """End before anything was begun, and say why."""
    print(why, file=sys.stderr, flush=True)
    os._exit(1)


def find_library(program):
    """Have the Python of PROGRAM, OfflineIMAP's own, and find what it finds."""
    try:
        with open(program, "rb") as script:
            words = shlex.split(script.readline(1000).decode("utf-8", "replace"))
    except (OSError, ValueError):
        words = []
    if words and words[0].startswith("#!"):
        words[0] = words[0][2:]
        words = [word for word in words if word]
        if words and os.path.basename(words[0]) == "env":
            words = [shutil.which(words[1]) or ""] if len(words) > 1 else []
        python = words[0] if words else ""
        known = os.environ.get(CHECKED) == program
        # Links are not followed: by its name alone a Python knows what is installed for it.
        if "python" in os.path.basename(python) and python != sys.executable and not known:
            os.environ[CHECKED] = program
            try:
                os.execv(python, [python] + words[1:] + sys.argv)
            except OSError:
                pass
    # As Python does for a program.
    sys.path[0] = os.path.dirname(os.path.realpath(program))


class Folder:
    """What became of a folder in the present sync."""

    def __init__(self):
        self.failed = False
        self.counts = {}

    def count(self, word, number=1):
        self.counts[word] = self.counts.get(word, 0) + number


class Worker:
    def __init__(self, name, options, say):
        self.say, self.said_so = say, 0
        found = importlib.util.find_spec("offlineimap")
        if found is None or not found.submodule_search_locations:
            # A program of that name must not be run by being imported.
            raise ImportError("there is no such package")
        import offlineimap

        if offlineimap.__version__ not in VERSIONS:
            give_up("OfflineIMAP %s is not one that this worker knows" % offlineimap.__version__)
        from offlineimap import accounts, mbnames, threadutil
        from offlineimap.folder import Maildir
        from offlineimap.repository import Repository

        self.accounts, self.threadutil = accounts, threadutil
        self.times = getattr(Maildir, "timehash", {})
        sys.argv = ["offlineimap"] + options + ["-o", "-u", "quiet", "-a", name]
        program = offlineimap.OfflineImap()
        self.stamps = {}
        program._OfflineImap__parse_cmd_options()
        self.config, self.ui = program.config, program.ui
        from offlineimap import globals as inside

        self.stamp(inside.options.configfile)
        python = self.config.getdefault("general", "pythonfile", None)
        if python:
            self.stamp(os.path.expandvars(os.path.expanduser(python)))
        if name not in accounts.getaccountlist(self.config):
            give_up("The account '%s' does not exist" % name)
        mbnames.init(self.config, self.ui, False)
        self.account = account = accounts.SyncableAccount(self.config, name)
        section = "Repository " + account.getconf("remoterepository")
        self.config.set(section, "holdconnectionopen", "yes")
        self.ui.registerthread(account)
        os.makedirs(account.getaccountmeta(), 0o700, exist_ok=True)
        account.remoterepos = Repository(account, "remote")
        account.localrepos = Repository(account, "local")
        account.statusrepos = Repository(account, "status")
        self.lock_file = account._lockfilepath
        self.sync = account._SyncableAccount__sync
        self.quick_usually = account.getconf("quick", None)
        self.usual = (account.remoterepos.should_sync_folder, account.remoterepos.folderincludes)
        self.listen()
        # A connection is held since an earlier sync.
        self.used = False
        self.busy = False
        self.reset()

    def stamp(self, file):
        self.stamps[file] = stamp_of(os.path.expanduser(file))

    def is_outdated(self):
        """Whether the configuration has changed."""
        return any(stamp_of(os.path.expanduser(file)) != stamp for file, stamp in self.stamps.items())

    # What OfflineIMAP tells its user.

    def reset(self):
        self.folders = {}
        self.errors = []
        self.held_back = None

    def alive(self):
        """Say that it goes on, once in a while."""
        now = time.monotonic()
        if now - self.said_so > 5:
            self.said_so = now
            self.say(b"alive")

    def folder(self, name):
        return self.folders.setdefault(name, Folder())

    def listen(self):
        ui, here = self.ui, threading.local()
        say = {name: getattr(ui, name) for name in (
            "error", "validityproblem", "copyingmessage", "deletingmessages", "addingflags", "deletingflags")}

        def error(exception, trace=None, msg=None):
            self.errors.append(exception)
            if getattr(here, "folder", None):
                here.folder.failed = True
            if self.held_back is not None:
                self.held_back.append((exception, msg))
            else:
                say["error"](exception, trace, msg)

        def validityproblem(folder):
            if getattr(here, "folder", None):
                here.folder.failed = True
            say["validityproblem"](folder)

        def copying(uid, number, total, source, destination, *rest):
            self.alive()
            if destination.repository is self.account.localrepos:
                self.folder(destination.getname()).count("pulled")
            elif destination.repository is self.account.remoterepos:
                self.folder(source.getname()).count("pushed")
            say["copyingmessage"](uid, number, total, source, destination, *rest)

        def counting(name, word):
            def told(uids, *rest):
                if getattr(here, "folder", None):
                    here.folder.count(word, len(uids))
                say[name](uids, *rest)
            return told

        def syncfolder(account, remote, quick):
            here.folder = self.folder(self.local_name(remote.getname()))
            here.folder.remote = remote.getname()
            try:
                original(account, remote, quick)
            except BaseException:
                here.folder.failed = True
                raise
            finally:
                here.folder = None

        ui.error, ui.validityproblem, ui.copyingmessage = error, validityproblem, copying
        ui.deletingmessages = counting("deletingmessages", "deleted")
        ui.addingflags = counting("addingflags", "flagged")
        ui.deletingflags = counting("deletingflags", "flagged")
        original = self.accounts.syncfolder
        self.accounts.syncfolder = syncfolder

    # Names.

    def local_name(self, remote):
        """What the folder is called here that is called REMOTE there."""
        there, here = self.account.remoterepos, self.account.localrepos
        visible = there.nametrans(remote)
        if visible == there.getsep():
            visible = ""
        return visible.replace(there.getsep(), here.getsep())

    def in_directory(self, directory):
        """What the folder in DIRECTORY is called here; None if there is none."""
        root = os.path.expanduser(self.account.localrepos.getlocalroot())
        for spell in (os.path.abspath, os.path.realpath):
            place, top = spell(os.fsdecode(directory)), spell(root)
            if place == top:
                return ""
            if place.startswith(top.rstrip("/") + "/"):
                return place[len(top.rstrip("/")) + 1:]
        return None

    def far_name(self, name):
        """How the server spells NAME, in modified UTF-7 with `/' between levels."""
        text = name.decode("utf-8", "surrogateescape")
        if self.account.utf_8_support:
            from offlineimap import imaputil
            text = imaputil.IMAP_utf8(text)
        return text

    def choose(self, request):
        """Have the next sync do the folders of REQUEST, or all."""
        far, account = self.account.remoterepos, self.account
        if request.folders is None:
            far.should_sync_folder, far.folderincludes = self.usual
        else:
            here, there = set(), set()
            for name, directory in request.folders:
                local = self.in_directory(directory) if directory else None
                if local is not None:
                    here.add(local)
                else:
                    there.add(self.far_name(name))

            def wanted(remote):
                separator = far.getsep()
                spelled = remote.replace(separator, "/") if separator else remote
                return spelled in there or self.local_name(remote) in here

            far.should_sync_folder, far.folderincludes = wanted, []
        section = account.getsection()
        if request.quick:
            self.config.set(section, "quick", "-1")
        elif self.quick_usually is not None:
            self.config.set(section, "quick", self.quick_usually)
        else:
            self.config.remove_option(section, "quick")

    def result(self, name, directory):
        local = self.in_directory(directory) if directory else None
        if local is not None:
            return self.folders.get(local)
        far = self.far_name(name)
        separator = self.account.remoterepos.getsep() or "/"
        for folder in self.folders.values():
            if getattr(folder, "remote", "").replace(separator, "/") == far:
                return folder
        return None

    # Syncing.

    def lock(self):
        """OfflineIMAP's own lock of the account, or None if another process has it."""
        while True:
            # Never emptied, never removed: it may be somebody else's.
            held = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # An OfflineIMAP with portalocker uses the other kind.
                fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if hasattr(self.accounts, "portalocker"):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                here = os.fstat(held)
                there = os.stat(self.lock_file)
                if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                    return held
            except FileNotFoundError:
                pass
            except OSError:
                os.close(held)
                return None
            # A plain run has removed it meanwhile.
            os.close(held)

    def attempt(self):
        """One sync; errors are told as they come."""
        try:
            self.sync()
        except Exception as problem:
            self.account.remoterepos.forgetfolders()
            self.account.localrepos.forgetfolders()
            self.ui.error(problem, sys.exc_info()[2])
        while True:
            try:
                thread = self.threadutil.exitedThreads.get_nowait()
            except queue.Empty:
                break
            if thread.exit_exception is not None:
                self.ui.error(thread.exit_exception)
                # It may have kept its connection.
                self.account.remoterepos.dropconnections()
            self.ui.threadExited(thread)
        while not self.ui.exc_queue.empty():
            self.ui.exc_queue.get_nowait()

    def run(self, request):
        """Sync; the code to end with."""
        self.reset()
        self.choose(request)
        held = self.lock()
        if held is None:
            self.ui.error(Exception("Could not lock account %s. Is another instance using this account?"
                                    % self.account))
            return 1
        self.ui.uidval_problem = False
        try:
            # What went wrong because the connection was gone is nobody's concern.
            self.held_back = [] if self.used else None
            self.attempt()
            if self.held_back:
                self.account.remoterepos.dropconnections()
                self.reset()
                self.attempt()
        finally:
            os.close(held)
        self.used = not self.errors
        if self.ui.uidval_problem:
            self.ui.warn("At least one folder skipped due to UID validity problem")
        return 1 if self.errors else 2 if self.ui.uidval_problem else 0

    def told_to_end(self, number, frame):
        """As OfflineIMAP does it."""
        if not self.busy:
            os._exit(0)
        self.told = getattr(self, "told", 0) + 1
        if self.told >= 3:
            os._exit(1)
        self.ui.warn("Preparing to shutdown after sync")
        self.accounts.Account.set_abort_event(self.config, 3)

    def rest(self):
        """Close the connections, where that does not take long."""
        self.used = False
        closing = threading.Thread(target=self.account.remoterepos.dropconnections, daemon=True)
        closing.start()
        closing.join(10)
        if closing.is_alive():
            os._exit(0)


def stamp_of(file):
    try:
        stat = os.stat(file)
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError:
        return None


class Request:
    def __init__(self, words):
        self.run, scope = words[1], words[2]
        self.folders = [] if scope == b"some" else None
        self.quick = b"quick" in words[3:]


def unquote(word):
    parts = word.split(b"%")
    return parts[0] + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in parts[1:])


def quote(name):
    return b"".join(b"%%%02X" % byte if byte <= 32 or byte in (37, 127) else bytes([byte]) for byte in name)


class Lines:
    """Lines that we are told, each within a time."""

    def __init__(self, source):
        self.source, self.rest = source, b""

    def next(self, most):
        """The next line; None after MOST seconds without one, and b"" at the end."""
        while b"\n" not in self.rest:
            if not select.select([self.source], [], [], most)[0]:
                return None
            piece = os.read(self.source, 65536)
            if not piece:
                return b""
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return line + b"\n"


def slept():
    """For how long the machine has slept."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) - time.monotonic()


def main():
    program = os.environ.get("MAILSYNC_PROGRAM") or shutil.which("offlineimap")
    if not program:
        give_up("there is no offlineimap")
    find_library(program)
    answers = os.dup(1)
    # Whatever OfflineIMAP prints is its log, and no answer; nobody else reads what we are told.
    os.dup2(2, 1)
    # A program that it asks for a password must not read what is for us.
    requests = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def say(*words):
        text = b" ".join(words) + b"\n"
        try:
            while text:
                text = text[os.write(answers, text):]
        except OSError:
            # Nobody is there any more.  What is being synced goes on, and is the last.
            pass

    lines = Lines(requests)
    hello = (lines.next(None) or b"").split()
    if hello[:2] != [b"hello", b"1"]:
        give_up("this worker speaks version 1 of mailsync's contract only")
    times = dict(word.split(b"=", 1) for word in hello[2:] if b"=" in word)
    idle, end = (float(times.get(key, default)) for key, default in ((b"idle", 300), (b"quit", 1800)))
    try:
        worker = Worker(sys.argv[1], sys.argv[2:], say)
    except ImportError as problem:
        give_up("OfflineIMAP is no library for %s: %s" % (sys.executable, problem))
    except AttributeError as problem:
        give_up("this OfflineIMAP is not one that this worker knows: %s" % problem)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, worker.told_to_end)
    say(b"hello", b"1", b"mailsync-offlineimap-worker")
    asleep, since, request = slept(), time.monotonic(), None
    while True:
        waited = time.monotonic() - since
        left = (idle if worker.used else end) - waited
        line = lines.next(max(left, 0))
        if line is None:
            if not worker.used:
                os._exit(0)
            worker.rest()
            continue
        words = line.split()
        if not words:
            os._exit(0)
        if words[0] == b"sync":
            request = Request(words)
        elif words[0] == b"folder":
            request.folders.append((unquote(words[1]), unquote(words[2]) if len(words) > 2 else b""))
        elif words[0] == b"go":
            # It has not begun: mailsync starts another worker, and asks that.  A connection that slept
            # is dead or not, and to find out can take for ever.
            if worker.is_outdated() or worker.used and slept() - asleep > 1:
                os._exit(0)
            worker.busy = True
            say(b"begin", request.run)
            code = worker.run(request)
            asked = request.folders
            if asked is None:
                asked = [(os.fsencode(name), None) for name in worker.folders]
            for name, directory in asked:
                local = os.fsdecode(name)
                folder = worker.folders.get(local) if directory is None else worker.result(name, directory)
                fine = folder is not None and not folder.failed
                counts = folder.counts if folder else {}
                say(b"folder", quote(name), b"ok" if fine else b"failed",
                    *(b"%s=%d" % (word.encode(), count) for word, count in counts.items()))
            sys.stderr.flush()
            say(b"end", request.run, b"%d" % code)
            worker.busy = False
            # Whatever it was, a new one is without it: a password, an account that was moved.
            if code == 1 or hasattr(worker, "told") or len(worker.times) > MOST_TIMES:
                os._exit(0)
            since, asleep = time.monotonic(), slept()


if __name__ == "__main__":
    main()
