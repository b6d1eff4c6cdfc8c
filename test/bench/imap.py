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

Main thread: what Emacs's has spent on a CPU for one message, its display included.
"""
import imaplib
import os
import socket
import statistics
import subprocess
import threading
import time

from harness import (CLIENT, QUICK, TOP, Emacs, Table, goal, lisp_string, new_name, progress, undo, wait_for)
from sync import FIXTURES, free_port

FOLDERS = 5 if QUICK else 20
TIMES = 2 if QUICK else 7
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


class Server:
    """A Dovecot, and a configuration of mbsync for it."""

    def __init__(self):
        self.dir, self.port, self.config = new_name("server"), free_port(), new_name("config")
        os.chmod(TOP, 0o711)
        subprocess.run([FIXTURES + "/sync-dovecot.sh", "start", self.dir, str(self.port)], check=True,
                       env={**os.environ, "DOVECOT_EXTRA": "mailbox_list_index = yes"})
        undo.append(lambda: subprocess.run([FIXTURES + "/sync-dovecot.sh", "stop", self.dir], check=False))
        self.names = [f"f{number}" for number in range(FOLDERS)]
        subprocess.run([FIXTURES + "/sync-seed.py", "bulk", self.dir + "/mail/alice", "100", "INBOX", *self.names],
                       check=True)
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

    def connection(self):
        connection = imaplib.IMAP4("127.0.0.1", self.port)
        connection.login("alice", "secret")
        return connection


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


def messages(server, emacs, apart=1):
    """Have messages arrive, so many seconds apart at least; the median times until they count, and of the main thread, in ms."""
    other = server.connection()
    times, cpu = [], []
    for _ in range(TIMES):
        time.sleep(apart)
        emacs.eval("(progn (setq bench-imap-shown (cons (car bench-imap-shown) nil)) t)")
        spent, began = emacs.cpu(), time.time()
        other.append("INBOX", "", None, b"From: a@example.org\r\nTo: b@example.org\r\nSubject: bench\r\n\r\nHello.\r\n")
        # The answer is asked for when it must be there: asking costs, too.
        time.sleep(2.5)
        spent = emacs.cpu() - spent
        wait_for(lambda: emacs.eval("(cdr bench-imap-shown)") != "nil", "the message in *Group*", 30)
        times.append(1e3 * (float(emacs.eval("(cdr bench-imap-shown)")) - began))
        cpu.append(spent / 1e6)
    other.logout()
    return statistics.median(times), max(times), statistics.median(cpu)


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


def main():
    server = Server()
    progress("server")
    table = Table("mailsync", "chain", "a minute")
    account = (f"(setq mailsync-accounts '((\"w\" :maildir {lisp_string(server.local)} "
               f":syncer (mailsync-mbsync \"verbatim\" :config {lisp_string(server.config + '/mbsyncrc')}) "
               f":remote (imap :host \"127.0.0.1\" :port {server.port} :user \"alice\" :tls none))))")
    for label, sync, init in (("mbsync", True, account), ("nnimap alone", False, "(setq mailsync-gnus-watch-nnimap t)")):
        emacs = start_gnus(server, not sync, f"(require 'mailsync) {init} (mailsync-mode 1)")
        wait_for(lambda: emacs.eval("(and (mailsync-remote--in 'connected) t)") == "t",
                 lambda: "connected: " + emacs.eval("mailsync-remote--states"), 30, 0.2)
        time.sleep(5)
        ours = messages(server, emacs, APART if sync else 1)
        progress(f"{label}, mailsync")
        emacs.stop()
        emacs = start_gnus(server, not sync, "nil")
        waits = chain(server, emacs, sync)
        theirs = messages(server, emacs)
        progress(f"{label}, chain")
        # Its reader ends by that.
        waits.socket().shutdown(socket.SHUT_RDWR)
        polled = minute(server, emacs, sync)
        emacs.stop()
        table.row(f"{label}: until it counts, ms, median", [ours[0], theirs[0], polled],
                  goal("< 2,000", ours[0] < 2000))
        table.row("  the longest", [ours[1], theirs[1], None])
        table.row("  main thread, ms", [ours[2], theirs[2], None])
    table.print()
    print(f"\n{TIMES} messages a column. Chain: IDLE, mbsync for the inbox, emacsclient, "
          "`gnus-group-get-new-news'.\nA minute: half of it, and mbsync for everything and that command, as measured.")
