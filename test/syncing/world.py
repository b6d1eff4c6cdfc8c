"""A server, a maildir that is synced with it, and the Emacsen that do so."""
import collections
import functools
import imaplib
import os
import re
import shutil
import subprocess
import tempfile
import time

from syncing.emacs import FIXTURES, Emacs, lisp
from syncing.relay import Relay, free_port

FOLDERS = {"INBOX": "INBOX", "lists": "lists", "with space": "with space", "Entwürfe": "Entw&APw-rfe",
           "R&D": "R&-D", "a/b": "a/b"}
LETTERS = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "T": "\\Deleted", "D": "\\Draft"}


def without_marks(text):
    """A message, a line each, without what the syncers write into it."""
    text = text.replace(b"\r\n", b"\n")
    head, _, body = text.partition(b"\n\n")
    kept = [line for line in head.split(b"\n") if not line.startswith((b"X-TUID:", b"X-OfflineIMAP:"))]
    return b"\n".join(kept) + b"\n\n" + body.rstrip(b"\n")


@functools.lru_cache(None)
def version(program):
    """The first two numbers of what a program says that it is."""
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(int(number) for number in re.findall(r"\d+", said)[:2])


def decodes():
    """True if mbsync calls mailboxes here by what their names mean, as it does since 1.5."""
    return version("mbsync") >= (1, 5)


def subject(text):
    return re.search(rb"^Subject: (.*)$", text, re.M).group(1).decode().strip()


class World:
    """The base of the tests.  Everything lies below a temporary directory."""

    # What is to be said at the very end.
    told = ""

    # The account's name, and more keys of its syncer.
    name, keys = "w", ""

    def __init__(self, syncer, layout, mode):
        self.syncer, self.layout, self.mode = syncer, layout, mode
        self.dir = tempfile.mkdtemp(prefix="mailsync sync.")
        os.chmod(self.dir, 0o711)
        self.config = os.path.join(self.dir, "config")
        self.runtime = os.path.join(self.dir, "runtime")
        os.makedirs(os.path.join(self.dir, "links"))
        os.mkdir(self.runtime, 0o700)
        self.emacs, self.emacsen, self.count = None, [], 0
        self.boxes = dict(FOLDERS)
        self.password = "secret"
        # The server's port for TLS, if it is to have one.
        self.tls = 0
        # More keys of the account.
        self.account = ""
        # The words of a program that runs each Emacs somewhere else.
        self.within = []
        self.local = os.path.join(self.config, "local", layout if syncer == "mbsync" else "o-" + layout)

    # The server

    def imap(self):
        connection = imaplib.IMAP4("127.0.0.1", self.port)
        connection.login("alice", self.password)
        return connection

    def append(self, folder, *subjects, text="Text."):
        message = ("From: Bob <bob@example.invalid>\r\nTo: alice@example.invalid\r\nSubject: %s\r\n"
                   "Message-ID: <%s@example.invalid>\r\nDate: Mon, 01 Jan 2024 10:00:00 +0000\r\n\r\n%s\r\n")
        with self.imap() as c:
            for name in subjects:
                ok, answer = c.append('"%s"' % folder, "", None, (message % (name, name, text)).encode())
                assert ok == "OK", answer

    def there(self, folder):
        """The messages in a folder on the server, as pairs of flags and text; None if there is none."""
        try:
            return self.there_now(folder)
        except imaplib.IMAP4.abort:
            # It was deleted at this moment, and Dovecot hangs up on who has selected it.
            return self.there_now(folder)

    def there_now(self, folder):
        with self.imap() as c:
            # Dovecot cannot make a mailbox that somebody tries to select at this moment.
            if c.list('""', '"%s"' % folder)[1] == [None] or c.select('"%s"' % folder, readonly=True)[0] != "OK":
                return None
            found = []
            if c.search(None, "ALL")[1][0]:
                for part in c.fetch("1:*", "(FLAGS BODY.PEEK[])")[1]:
                    if isinstance(part, tuple):
                        flags = set(re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).decode().split())
                        found.append((tuple(sorted(flags - {"\\Recent"})), without_marks(part[1])))
            return found

    def remote(self, folder):
        """Subjects of the messages in a folder there, with their flags."""
        return {subject(text): set(flags) for flags, text in self.there(folder) or []}

    def store(self, folder, wanted, flag, expunge=False):
        with self.imap() as c:
            c.select('"%s"' % folder)
            # Those of which it is a part are found, too.
            found = c.search(None, "SUBJECT", '"%s"' % wanted)[1][0].split()
            head = lambda number: c.fetch(number, "(BODY.PEEK[HEADER])")[1][0][1]
            numbers = [number for number in found if subject(head(number)) == wanted]
            assert numbers, wanted
            c.store(numbers[0], "+FLAGS", flag)
            if expunge:
                c.expunge()

    # This side

    def directory(self, name):
        """Where a folder is, by the layout."""
        wire = name if self.syncer == "mbsync" and decodes() else self.boxes.get(name, name)
        style = {"verbatim": "/", "legacy": "legacy", "mdpp": "++", "flat": ".", "slash": "/", "dot": "."}[self.layout]
        if style == "++":
            return self.local if name == "INBOX" else os.path.join(self.local, "." + wire.replace("/", "."))
        if style == "legacy":
            wire = wire.replace("/", "/.")
        elif style == ".":
            wire = wire.replace("/", ".")
        return os.path.join(self.local, wire)

    def files(self, name):
        """The files in a folder here, with what is in them."""
        found = []
        for part in ("new", "cur"):
            where = os.path.join(self.directory(name), part)
            for entry in os.listdir(where) if os.path.isdir(where) else []:
                path = os.path.join(where, entry)
                try:
                    with open(path, "rb") as file:
                        found.append((path, file.read()))
                except FileNotFoundError:
                    continue
        return found

    def messages(self, name):
        """Names of the files in a folder here, by subject."""
        return {subject(text): path for path, text in self.files(name)}

    def here(self, name):
        """The messages in a folder here, as pairs of flags and text; None if there is no such folder."""
        if not os.path.isdir(os.path.join(self.directory(name), "cur")):
            return None
        return [(tuple(sorted(LETTERS[it] for it in path.partition(":2,")[2] if it in LETTERS)), without_marks(text))
                for path, text in self.files(name)]

    def make(self, name):
        """Make a folder, which is to be on both sides."""
        for part in ("tmp", "new", "cur"):
            os.makedirs(os.path.join(self.directory(name), part))
        self.boxes[name] = name

    def deliver(self, name, subject):
        subprocess.run([os.path.join(FIXTURES, "deliver.sh"), self.directory(name), subject], check=True,
                       stdout=subprocess.DEVNULL)

    def flag_here(self, name, subject, letter):
        path = self.messages(name)[subject]
        base, _, flags = os.path.basename(path).partition(":2,")
        new = base + ":2," + "".join(sorted(set(flags) | {letter}))
        os.rename(path, os.path.join(self.directory(name), "cur", new))

    def configuration(self, old, new):
        path = self.config + ("/mbsyncrc" if self.syncer == "mbsync" else "/offlineimaprc")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert old in text
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))

    # What has to be so

    def differences(self):
        """Which folders have not the same messages, with the same flags, on both sides."""
        found = []
        for name, wire in self.boxes.items():
            here, there = self.here(name), self.there(wire)
            if here is None or there is None:
                if here is not there:
                    found.append("%s is %s" % (name, "not there" if there is None else "not here"))
                continue
            here, there = collections.Counter(here), collections.Counter(there)
            if here != there:
                found.append("%s: here alone %s, there alone %s" % (name, list(here - there), list(there - here)))
        return found

    def same(self):
        return not self.differences()

    def wait_same(self, emacs=None, seconds=60):
        (emacs or self.emacs).wait(lambda: "\n".join(["the same on both sides", *self.differences()]),
                                   self.same, seconds)

    def check(self, what, run):
        began = time.monotonic()
        run()
        print("ok    %5.1f s  %s" % (time.monotonic() - began, what), flush=True)
        self.count += 1
        for emacs in self.emacsen:
            emacs.forget()

    # Life

    def start(self):
        self.start_server()
        for name, wire in self.boxes.items():
            self.append(wire, *("%s-%d" % (wire.replace("/", "."), number) for number in range(2)))
        self.emacs = self.launch()

    def start_server(self):
        self.port = free_port()
        subprocess.run([os.path.join(FIXTURES, "sync-dovecot.sh"), "start", self.dir + "/dovecot", str(self.port),
                        str(self.tls)], check=True)
        self.relay = Relay(self.port)
        extra = {"MBSYNC_ACCOUNT": "Timeout 20"}
        subprocess.run([os.path.join(FIXTURES, "sync-config.sh"), self.config, str(self.relay.port), "alice"],
                       check=True, env={**os.environ, **extra})
        if self.layout == "flat":
            # nnmaildir's own directories are subfolders to mbsync, which wants to know what to do with those.
            self.configuration("Flatten .", "Flatten .\nSubFolders Verbatim")
        with self.imap() as c:
            for wire in self.boxes.values():
                if wire != "INBOX":
                    c.create('"%s"' % wire)

    def entry(self):
        """The account, as an element of `mailsync-accounts'."""
        syncer = {"mbsync": '(mailsync-mbsync "%s" :config "%s/mbsyncrc" %s)',
                  "offlineimap": '(mailsync-offlineimap "%s" :config "%s/offlineimaprc" %s)'}[self.syncer]
        return "(%s :maildir %s :syncer %s %s)" % (lisp(self.name), lisp(self.local),
                                                   syncer % (self.layout, self.config, self.keys), self.account)

    def launch(self, mode=None, more="", others=()):
        """Another Emacs that syncs the account, and the `others'."""
        return self.launch_with("(setq mailsync-accounts '(%s) mailsync-inter-delay 1 "
                                "mailsync-base-delay 1 mailsync-gnus-max-wait 2)\n%s"
                                % ("\n".join([self.entry(), *others]), more), mode)

    def running(self):
        """The processes of the syncer."""
        name = os.path.join(self.config, "mbsyncrc" if self.syncer == "mbsync" else "offlineimaprc")
        found = subprocess.run(["pgrep", "-f", re.escape(name)], capture_output=True, check=False).stdout.split()
        return [int(pid) for pid in found]

    def launch_with(self, init, mode=None):
        """Another Emacs, which is told so much."""
        emacs = Emacs(os.path.join(self.dir, "emacs-%d" % len(self.emacsen)), mode or self.mode)
        self.emacsen.append(emacs)
        emacs.start(init, self.runtime, within=self.within)
        return emacs

    def link(self):
        """Make the directory of links that nnmaildir reads."""
        for name in self.boxes:
            os.symlink(self.directory(name), self.dir + "/links/" + name.replace("/", "."))

    def gnus(self, rest=3.0):
        self.link()
        names = [name.replace("/", ".") for name in self.boxes]
        self.emacs.do("(sync-gnus %s %s)" % (lisp(self.dir + "/links"), " ".join(map(lisp, names))))
        self.emacs.wait_fact("gnus")
        self.emacs.quiet(rest)

    def line(self):
        """The group of the line in *Group* that point is on."""
        return self.emacs.value("(with-current-buffer (window-buffer)"
                                " (get-text-property (line-beginning-position) 'gnus-group))")

    def clean(self, good):
        try:
            for emacs in self.emacsen:
                emacs.stop()
        finally:
            if os.path.exists(self.dir + "/dovecot"):
                subprocess.run([os.path.join(FIXTURES, "sync-dovecot.sh"), "stop", self.dir + "/dovecot"], check=False)
        self.before_removal(good)
        if good:
            shutil.rmtree(self.dir)

    def before_removal(self, good):
        pass
