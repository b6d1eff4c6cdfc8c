"""How soon a message that arrives on a server counts in Gnus.

A private Dovecot on loopback with 20 folders of 100 messages, and a real Gnus in an interactive Emacs.
Another client appends a message to the inbox; the time until the line of its group in *Group* shows one
more, by the clock of that Emacs.  Twice: mbsync brings the mail to where nnmaildir reads it, and nnimap
reads it on the server.

mailsync is told (imap ...) for the one, and nothing but `mailsync-gnus-watch-nnimap' for the other; its
delays are the defaults, and each message is one alone.

The chain is what goimapnotify and its like are used for: a connection with IDLE on the inbox, in a
program that, when a message comes, runs mbsync for the inbox (with nnimap nothing) and then has
emacsclient call `gnus-group-get-new-news'.  It waits for nothing in between.

A timer, once a minute, that runs mbsync for everything and then the same command, comes to half a minute
and the time of these on average.  The half minute is taken for granted, the rest is measured here.

Until the server tells: beside each of them a bystander listens, in the way in which that one is told
(NOTIFY for mailsync, IDLE for the chain), and notes when the server speaks.  Dovecot bundles what it says
for half a second in either way.  The rest of a message's time is what the program takes.

Main thread: what Emacs's has spent on a CPU for one message, its display included.

Then one server with 300 folders, on one connection, without Gnus:
  - Catching up: the line is cut, messages come, and the line stands again.  From the first byte that the
    server says on the new one until mailsync watches, or until Lisp has been told of the last folder.
    Before it or after it, in turn, a client that logs in, lists the folders and asks for the STATUS of one
    after the other.  A third one has asked before both, so that neither waits while Dovecot looks into the
    folders.  Dovecot's share is what it takes to answer the one LIST of mailsync.
  - Nothing happens: how often mailsync's threads wake up, and what goes over the line.  If Dovecot says
    "Still here" meanwhile, as it does every two minutes, that is measured once more.

And a Gnus that reads a server 40 ms away: how long Emacs is blocked by one message that arrives there, next
to `gnus-group-get-new-news-this-group'; what that means, gnus.py says.
"""
import contextlib
import imaplib
import os
import socket
import statistics
import subprocess
import threading
import time

import gnus
from harness import (CLIENT, QUICK, TOP, Emacs, Table, goal, lisp_string, new_name, progress, undo, wait_for)
from sync import FIXTURES, free_port

FOLDERS = 5 if QUICK else 20
MANY = 300
SETTLED = 3  # s
TIMES = 2 if QUICK else 7
MESSAGES = 2 if QUICK else 15
IDLE = 5 if QUICK else 60  # s
# Longer than `mailsync-inter-delay', so that no message waits for the sync of the one before.
APART = 6.5

COMMAND = "(progn (with-current-buffer gnus-group-buffer (gnus-group-get-new-news)) nil)"

# The time at which the line of the group has changed, which is drawn anew.
SHOWN = """(progn
  (defvar bench-imap-shown nil)
  (with-current-buffer gnus-group-buffer
    (add-hook 'after-change-functions
              (lambda (&rest _)
                (let ((count (car (gethash %(group)s gnus-newsrc-hashtb))))
                  (unless (or (eql count (car bench-imap-shown))
                              (not (string-match-p (format "\\\\b%%d: *%%s" count (regexp-quote %(group)s))
                                                   (or (fixture-line %(group)s) ""))))
                    (setq bench-imap-shown (cons count (float-time))))))
              nil t))
  t)"""


# The ways in which a server tells of the inbox: what is said before IDLE, and what it says then.
NOTIFY = (["ENABLE CONDSTORE", "NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))"],
          b"STATUS INBOX ")
BY_IDLE = (["EXAMINE INBOX"], b" EXISTS")


class Dovecot:
    """One of our own, with so many folders besides the inbox, and messages in each."""

    def __init__(self, folders, count):
        self.dir, self.port = new_name("server"), free_port()
        os.chmod(TOP, 0o711)
        subprocess.run([FIXTURES + "/sync-dovecot.sh", "start", self.dir, str(self.port)], check=True,
                       env={**os.environ, "DOVECOT_EXTRA": "mailbox_list_index = yes"})
        undo.append(lambda: subprocess.run([FIXTURES + "/sync-dovecot.sh", "stop", self.dir], check=False))
        self.names = [f"f{number}" for number in range(folders)]
        subprocess.run([FIXTURES + "/sync-seed.py", "bulk", self.dir + "/mail/alice", str(count), "INBOX",
                        *self.names], check=True)

    def connection(self):
        connection = imaplib.IMAP4("127.0.0.1", self.port)
        connection.login("alice", "secret")
        return connection

    def bystander(self, way, told):
        """A connection that listens in this way, and calls TOLD when the server tells of the inbox."""
        connection = self.connection()
        before, news = way
        for command in before:
            connection.send(b"x0 " + command.encode() + b"\r\n")
            while not connection.readline().startswith(b"x0 "):
                pass
        connection.send(b"x1 IDLE\r\n")

        def run():
            try:
                while line := connection.readline():
                    if news in line:
                        told()
            except (OSError, ValueError):
                pass
        threading.Thread(target=run, daemon=True).start()
        return connection


class Server(Dovecot):
    """One with a configuration of mbsync for it."""

    def __init__(self):
        super().__init__(FOLDERS, 100)
        self.config = new_name("config")
        subprocess.run([FIXTURES + "/sync-config.sh", self.config, str(self.port), "alice"], check=True)
        self.local = self.config + "/local/verbatim"
        self.mbsync(None)
        self.links = new_name("links")
        os.mkdir(self.links)
        for name in ["INBOX", *self.names]:
            os.symlink(os.path.join(self.local, name), os.path.join(self.links, name))

    def mbsync(self, folder):
        what = "verbatim" + (":" + folder if folder else "")
        subprocess.run(["mbsync", "-c", self.config + "/mbsyncrc", what], check=True, stdout=subprocess.DEVNULL)

def start_gnus(server, imap, init):
    """An Emacs with a Gnus that reads all, by nnimap or nnmaildir, and then with INIT."""
    emacs = Emacs("-l", FIXTURES + "/gnus-init.el")
    home = os.path.join(emacs.run, "gnus/")
    prefix = "nnimap+fix:" if imap else "nnmaildir+fix:"
    groups = " ".join(lisp_string(prefix + name) for name in ["INBOX", *server.names])
    authinfo = f"machine 127.0.0.1 port {server.port} login alice password secret\n"
    emacs.eval(f"""(progn
      (make-directory user-emacs-directory t)
      (run-at-time 0 nil (lambda ()
        (fixture-configure {lisp_string(home)} "fix" {"nil" if imap else lisp_string(server.links)}
                           {server.port if imap else "nil"})
        (write-region {lisp_string(authinfo)} nil {lisp_string(home + "authinfo")} nil 'silent)
        (fixture-start {groups})
        (switch-to-buffer gnus-group-buffer)
        (setq bench-imap-ready t)))
      t)""")
    wait_for(lambda: emacs.eval("(bound-and-true-p bench-imap-ready)") == "t", "Gnus does not start", 60, 0.2)
    emacs.eval(SHOWN % {"group": lisp_string(prefix + "INBOX")})
    emacs.eval(f"(progn {init} t)")
    return emacs


MESSAGE = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: bench\r\n\r\nHello.\r\n"


class Arrivals:
    """What became of messages: the median times until the server told, until they counted, and between, in ms.

    Of the last the mean, too: about half of a chain's messages wait for a garbage collection, of which the
    median may or may not have one."""

    def __init__(self, times, told, cpu):
        self.times, self.median = times, statistics.median(times)
        after = [a - b for a, b in zip(times, told)]
        self.told, self.after, self.mean = statistics.median(told), statistics.median(after), statistics.mean(after)
        self.cpu = statistics.median(cpu)


def messages(server, emacs, way, apart=1):
    """Have messages arrive, so many seconds apart at least, and somebody be told in this WAY; gives an `Arrivals'."""
    other = server.connection()
    times, told, cpu, heard = [], [], [], []
    bystander = server.bystander(way, lambda: heard.append(time.time()))
    for _ in range(MESSAGES):
        time.sleep(apart)
        emacs.eval("(progn (setq bench-imap-shown (cons (car bench-imap-shown) nil)) t)")
        heard.clear()
        spent, began = emacs.cpu(), time.time()
        other.append("INBOX", "", None, MESSAGE)
        # The answer is asked for when it must be there: asking costs, too.
        time.sleep(2.5)
        spent = emacs.cpu() - spent
        wait_for(lambda: emacs.eval("(cdr bench-imap-shown)") != "nil", "the message in *Group*", 30)
        times.append(1e3 * (float(emacs.eval("(cdr bench-imap-shown)")) - began))
        wait_for(lambda: heard, "what the server tells")
        told.append(1e3 * (heard[0] - began))
        cpu.append(spent / 1e6)
    other.logout()
    bystander.socket().shutdown(socket.SHUT_RDWR)
    return Arrivals(times, told, cpu)


def chain(server, emacs, sync):
    """A program that waits for new mail in the inbox and has it fetched and seen."""
    waits = server.connection()
    waits.select("INBOX", readonly=True)

    def run():
        try:
            while True:
                waits.send(b"x1 IDLE\r\n")
                while b"EXISTS" not in (line := waits.readline()):
                    if not line:
                        return
                waits.send(b"DONE\r\n")
                while not waits.readline().startswith(b"x1 "):
                    pass
                if sync:
                    server.mbsync("INBOX")
                subprocess.run([CLIENT, "-s", emacs.socket, "--eval", COMMAND], stdout=subprocess.DEVNULL, check=False)
        except (OSError, ValueError):
            pass
    threading.Thread(target=run, daemon=True).start()
    return waits


def minute(server, emacs, sync):
    """What a timer once a minute comes to on average, in ms."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        if sync:
            server.mbsync(None)
        emacs.eval(COMMAND)
        took.append(1e3 * (time.monotonic() - began))
    return 30_000 + statistics.median(took)


def arrivals(table):
    """A message until it counts."""
    server = Server()
    progress("server")
    account = (f"(setq mailsync-accounts '((\"w\" :maildir {lisp_string(server.local)} "
               f":syncer (mailsync-mbsync \"verbatim\" :config {lisp_string(server.config + '/mbsyncrc')}) "
               f":remote (imap :host \"127.0.0.1\" :port {server.port} :user \"alice\" :tls none))))")
    for label, sync, most, init in (("mbsync", True, 1500, account),
                                    ("nnimap alone", False, 900, "(setq mailsync-gnus-watch-nnimap t)")):
        emacs = start_gnus(server, not sync, f"(require 'mailsync) {init} (mailsync-mode 1)")
        wait_connected(emacs)
        time.sleep(5)
        ours = messages(server, emacs, NOTIFY, APART if sync else 1)
        progress(f"{label}, mailsync")
        emacs.stop()
        emacs = start_gnus(server, not sync, "nil")
        waits = chain(server, emacs, sync)
        theirs = messages(server, emacs, BY_IDLE)
        progress(f"{label}, chain")
        # Its reader ends by that.
        waits.socket().shutdown(socket.SHUT_RDWR)
        polled = minute(server, emacs, sync)
        emacs.stop()
        table.samples(f"{label}: until it counts, ms, median", [ours.times, theirs.times, [polled]],
                      lambda middle, most=most: goal(f"< {most:,}", middle < most))
        table.row("  until the server tells", [ours.told, theirs.told, None])
        table.row("  after that", [ours.after, theirs.after, None],
                  goal("1.5 times the chain", theirs.after >= 1.5 * ours.after))
        table.row("  after that, mean", [ours.mean, theirs.mean, None])
        table.row("  main thread, ms", [ours.cpu, theirs.cpu, None])


def wait_connected(emacs):
    wait_for(lambda: emacs.eval("(and (mailsync-remote--in 'connected) t)") == "t",
             lambda: "connected: " + emacs.eval("mailsync-remote--states"), 30, 0.2)


class Gate:
    """A relay before a server, which can be shut; who comes then waits in front of it."""

    def __init__(self, port):
        self.target, self.port, self.bytes, self.first = port, free_port(), 0, None
        # When the folders were asked for, and when they had been told.
        self.asked = self.answered = None
        self.open, self.waits, self.ends = threading.Event(), threading.Event(), []
        self.open.set()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            near = self.listener.accept()[0]
            self.waits.set()
            self.open.wait()
            self.first = self.asked = self.answered = None
            far = socket.create_connection(("127.0.0.1", self.target))
            self.ends += [near, far]
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                self.first = self.first or time.time()
                self.bytes += len(data)
                if b"RETURN (STATUS" in data:
                    self.asked = time.time()
                if b" OK List" in data:
                    self.answered = time.time()
                sink.sendall(data)
        except OSError:
            pass
        self.cut((source, sink))

    def cut(self, ends):
        for end in ends:
            # It may be cut already.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def shut(self):
        """Cut what is connected."""
        self.open.clear()
        self.waits.clear()
        self.cut(self.ends)
        self.ends = []


def threads(emacs):
    """How often mailsync's threads have gone to sleep."""
    found = 0
    for task in os.listdir(f"/proc/{emacs.pid}/task"):
        with open(f"/proc/{emacs.pid}/task/{task}/status") as file:
            status = dict(line.split(":", 1) for line in file)
        if status["Name"].strip().startswith("mailsync"):
            found += int(status["voluntary_ctxt_switches"])
    return found


# The time at which a store was watched.
WATCHED = """(progn
  (defvar bench-imap-watched nil)
  (advice-add 'mailsync-remote-notice :after
              (lambda (_account _number _what state _text)
                (when (equal state "connected")
                  (setq bench-imap-watched (float-time)))))
  t)"""


def fill(server, names):
    """Have a message come to each folder of NAMES."""
    other = server.connection()
    for name in names:
        other.append(name, "", None, MESSAGE)
    # Who asks first waits for Dovecot, which looks into each folder that has changed; and once more who is the
    # first to ask when that was more than two seconds ago.
    time.sleep(SETTLED if names else 0)
    other.send(b'x1 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))\r\n')
    while not other.readline().startswith(b"x1 "):
        pass
    other.logout()


def catch_up(server, gate, emacs, names, other_first):
    """Have messages come to NAMES while the line is cut; how long it takes then to hear of all, in ms.

    In ms, too, Dovecot's share of that, and how long another client takes, before mailsync or after it."""
    emacs.eval("(progn (setq bench-imap-watched nil bench-told nil) t)")
    gate.shut()
    fill(server, names)
    other = by_status(server) if other_first else None
    gate.waits.wait(30)
    gate.open.set()
    wait_for(lambda: emacs.eval("bench-imap-watched") != "nil", "the server is not watched again")
    wait_for(lambda: int(emacs.eval("(length bench-told)")) >= len(names), "not all folders are told of")
    told = emacs.eval("(mapconcat (lambda (it) (format \"%f %s\" (float-time (car it)) (cdr it))) bench-told \"\\n\")")
    told = [line.split() for line in told.strip('"').replace("\\n", "\n").splitlines()]
    if sorted(name for _, name in told) != sorted(names):
        raise gnus.Failed(f"told of {len(told)} folders instead of {len(names)}")
    last = max([float(emacs.eval("bench-imap-watched")), *(float(at) for at, _ in told)])
    return 1e3 * (last - gate.first), 1e3 * (gate.answered - gate.asked), other or by_status(server)


def by_status(server):
    """The same by a client that asks for one folder after the other, in ms."""
    began = time.monotonic()
    connection = server.connection()
    for line in connection.list()[1]:
        name = line.decode().rsplit(" ", 1)[1]
        connection.status(name, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")
    took = 1e3 * (time.monotonic() - began)
    connection.logout()
    return took


def many(table):
    """300 folders on one connection."""
    server = Dovecot(MANY - 1, 3)
    gate = Gate(server.port)
    with open(new_name("authinfo"), "w") as file:
        file.write(f"machine 127.0.0.1 port {gate.port} login alice password secret\n")
    emacs = Emacs()
    emacs.eval(f"""(progn
      (require 'mailsync)
      (setq auth-sources '({lisp_string(file.name)})
            mailsync-changed-functions '(bench-changed)
            ;; Lines that are cut so often are waited for.
            mailsync-max-delay 2
            mailsync-accounts '(("m" :remote (imap :host "127.0.0.1" :port {gate.port} :user "alice" :tls none))))
      (mailsync-mode 1)
      {WATCHED})""")
    wait_connected(emacs)
    progress(f"{MANY} folders")
    # Of everything, since nothing was known.
    time.sleep(2)
    for label, names in (("nothing has come", []), ("a message in one", ["f1"]),
                         ("a message in each", ["INBOX", *server.names])):
        turns = [catch_up(server, gate, emacs, names, turn % 2 == 1) for turn in range(TIMES)]
        took, shares, asked = zip(*turns)
        table.samples(f"{MANY} folders, caught up after a cut, {label}, ms", [took, asked],
                      lambda middle: goal("< 50", middle < 50))
        table.row("  Dovecot's share of that", [statistics.median(shares), None])
    progress("caught up")
    time.sleep(2)
    for _ in range(2):
        before, sent = threads(emacs), gate.bytes
        time.sleep(IDLE)
        woken, sent = threads(emacs) - before, gate.bytes - sent
        if not sent:
            break
        # Dovecot has said that it is still here, as it does every two minutes, at times of its own.
    table.row(f"{IDLE} s idle: context switches of mailsync's threads", [woken, None], goal("0", woken == 0))
    table.row("  bytes on the line", [sent, None], goal("0", sent == 0))
    progress("idle")
    emacs.stop()


class Far(gnus.Gnus):
    """A Gnus that reads a server at a distance, which mailsync watches."""

    # The server tells after half a second.
    BEGINS = 2

    def __init__(self, store, folder, near, port):
        self.near = imaplib.IMAP4("127.0.0.1", near)
        self.near.login("user", "any")
        super().__init__(store, [folder], port)

    def start(self):
        self.emacs.eval("(progn (setq mailsync-gnus-watch-nnimap t mailsync-changed-functions '(bench-changed))"
                        " (mailsync-mode 1) t)")
        wait_connected(self.emacs)
        self.rest(2)
        wait_for(self.settled, "the groups are not checked")

    def deliver(self):
        for folder in self.folders:
            self.near.append(folder, "", None, MESSAGE)


def blocked(table):
    """One message on a server far away."""
    store = gnus.Store({"one": 100})
    near = gnus.dovecot(store)
    port, round_trip = gnus.far_away(near)
    far = Far(store, "one", near, port)
    ways = ["mailsync", "the command"]
    samples = {way: [] for way in ways}
    for turn in range(-1, TIMES):
        for way in ways:
            sample = far.measure(way).blocked
            if turn >= 0:
                samples[way].append(sample)
    progress("blocked")
    table.samples(f"a message on a server {round_trip:.0f} ms away: Emacs is blocked, ms",
                  [samples[way] for way in ways], lambda middle: goal("< 5", middle < 5))
    far.emacs.stop()


def main():
    os.environ["PATH"] += ":/usr/sbin"
    table = Table("mailsync", "chain", "a minute")
    arrivals(table)
    table.print()
    print(f"{MESSAGES} messages a column. Chain: IDLE, mbsync for the inbox, emacsclient, `gnus-group-get-new-news'.\n"
          "A minute: half of it, and mbsync for everything and that command, as measured.\n")
    table = Table("mailsync", "alternative")
    many(table)
    blocked(table)
    table.print()
    load = os.getloadavg()[1]
    print(f"Medians of {TIMES}. Alternatives: a client that asks for the STATUS of one folder after the other;\n"
          "`gnus-group-get-new-news-this-group' for that group.\n"
          f"The machine's load in the last five minutes: {load:.1f}.")
