#!/usr/bin/env python3
"""End to end: real syncers, a real server, a real Gnus; local and remote have to become the same.

usage: test/sync.py mbsync|offlineimap LAYOUT [batch|tmux]

LAYOUT is verbatim, legacy, mdpp or flat for mbsync, slash or dot for OfflineIMAP.  The syncer reaches
the server through a relay of ours, which can be told to refuse, to be silent, or to cut.  Everything
lies below a temporary directory, which stays after a failure.  EMACS is the Emacs to run.
"""
import imaplib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "fixtures")
FOLDERS = {"INBOX": "INBOX", "lists": "lists", "with space": "with space", "Entwürfe": "Entw&APw-rfe",
           "R&D": "R&-D", "a/b": "a/b"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Relay:
    """Between syncer and server.  mode: pass, refuse, silent, or cut (after `budget` bytes)."""

    def __init__(self, real):
        self.real, self.mode, self.budget = real, "pass", 0
        self.port, self.listener, self.open = free_port(), None, []
        self.set("pass")

    def set(self, mode, budget=0):
        self.mode, self.budget = mode, budget
        if mode == "refuse":
            if self.listener:
                # Wakes the thread in accept, too.
                self.listener.shutdown(socket.SHUT_RDWR)
                self.listener.close()
                self.listener = None
        elif self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", self.port), backlog=50)
            threading.Thread(target=self.serve, args=(self.listener,), daemon=True).start()
        if mode != "pass":
            for end in self.open:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.open = []

    def serve(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.open.append(near)
            if self.mode == "silent":
                continue
            far = socket.create_connection(("127.0.0.1", self.real))
            self.open.append(far)
            for source, sink, counts in ((near, far, False), (far, near, self.mode == "cut")):
                threading.Thread(target=self.pump, args=(source, sink, counts), daemon=True).start()

    def pump(self, source, sink, counts):
        left = self.budget
        try:
            while data := source.recv(65536):
                if counts:
                    left -= len(data)
                    if left < 0:
                        break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def lisp(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Test:
    def __init__(self, syncer, layout, mode):
        self.syncer, self.layout, self.mode = syncer, layout, mode
        self.dir = tempfile.mkdtemp(prefix="mailsync sync.")
        os.chmod(self.dir, 0o711)
        self.config = os.path.join(self.dir, "config")
        self.work = os.path.join(self.dir, "work")
        os.makedirs(os.path.join(self.work, "links"))
        self.facts_file = os.path.join(self.work, "facts")
        self.mark, self.emacs, self.count = 0, None, 0
        self.local = os.path.join(self.config, "local", layout if syncer == "mbsync" else "o-" + layout)

    # The server

    def imap(self):
        connection = imaplib.IMAP4("127.0.0.1", self.port)
        connection.login("alice", "secret")
        return connection

    def append(self, folder, subject):
        body = ("From: Bob <bob@example.invalid>\r\nTo: alice@example.invalid\r\nSubject: %s\r\n"
                "Message-ID: <%s@example.invalid>\r\nDate: Mon, 01 Jan 2024 10:00:00 +0000\r\n\r\nText.\r\n")
        with self.imap() as c:
            ok, answer = c.append('"%s"' % folder, "", None, (body % (subject, subject)).encode())
            assert ok == "OK", answer

    def remote(self, folder):
        """Subjects of the messages in a folder there, with their flags."""
        with self.imap() as c:
            if c.select('"%s"' % folder, readonly=True)[0] != "OK":
                return None
            found = {}
            if c.search(None, "ALL")[1][0]:
                for part in c.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
                    if isinstance(part, tuple):
                        flags = re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).decode().split()
                        subject = part[1].decode().partition(":")[2].strip()
                        found[subject] = set(flags) - {"\\Recent"}
            return found

    def store(self, folder, subject, flag, expunge=False):
        with self.imap() as c:
            c.select('"%s"' % folder)
            numbers = c.search(None, "SUBJECT", '"%s"' % subject)[1][0].split()
            assert numbers, subject
            c.store(numbers[0], "+FLAGS", flag)
            if expunge:
                c.expunge()

    # This side

    def directory(self, name):
        """Where a folder is, by the layout."""
        wire = FOLDERS.get(name, name)
        style = {"verbatim": "/", "legacy": "legacy", "mdpp": "++", "flat": ".", "slash": "/", "dot": "."}[self.layout]
        if style == "++":
            return self.local if name == "INBOX" else os.path.join(self.local, "." + wire.replace("/", "."))
        if style == "legacy":
            wire = wire.replace("/", "/.")
        elif style == ".":
            wire = wire.replace("/", ".")
        return os.path.join(self.local, wire)

    def messages(self, name):
        """Names of the files in a folder here, by subject."""
        found = {}
        for part in ("new", "cur"):
            where = os.path.join(self.directory(name), part)
            for entry in os.listdir(where) if os.path.isdir(where) else []:
                try:
                    with open(os.path.join(where, entry), encoding="utf-8") as file:
                        text = file.read()
                except FileNotFoundError:
                    continue
                found[re.search("^Subject: (.*)$", text, re.M).group(1).strip()] = os.path.join(where, entry)
        return found

    def deliver(self, name, subject):
        subprocess.run([os.path.join(FIXTURES, "deliver.sh"), self.directory(name), subject], check=True,
                       stdout=subprocess.DEVNULL)

    def facts(self):
        try:
            with open(self.facts_file, encoding="utf-8") as file:
                return file.read().splitlines()[self.mark:]
        except FileNotFoundError:
            return []

    def all_facts(self):
        mark, self.mark = self.mark, 0
        found, self.mark = self.facts(), mark
        return found

    def forget(self):
        """What was told until now is history."""
        self.mark += len(self.facts())

    def runs(self, what="begins"):
        return [line.split("\t")[1:] for line in self.facts() if line.startswith(what + "\t")]

    def wait(self, what, condition, seconds=30):
        end = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            errors = [line for line in self.facts() if line.startswith("error")]
            assert not errors, errors
            assert time.monotonic() < end, "not within time: " + what
            time.sleep(0.05)

    def wait_fact(self, start, seconds=30):
        return self.wait(start, lambda: [f for f in self.facts() if f.startswith(start)], seconds)

    def quiet(self, seconds=3.0):
        """Wait until no run goes on or begins for so long."""
        def idle():
            before = len(self.all_facts())
            time.sleep(seconds)
            now = self.all_facts()
            begun = sum(line.startswith("begins\t") for line in now)
            ended = sum(line.startswith("ends\t") for line in now)
            return len(now) == before and begun == ended
        self.wait("rest", idle, 60)

    def ask(self, form):
        """Have Emacs do something, some time."""
        path = os.path.join(self.work, "command.el")
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            file.write(form + "\n")
        os.rename(path + ".tmp", path)
        return path

    def do(self, form):
        """Have Emacs do something now."""
        path = self.ask(form)
        self.wait(form, lambda: not os.path.exists(path))

    def keys(self, *keys):
        subprocess.run(["tmux", "-S", self.work + "/tmux", "send-keys", *keys], check=True)

    def screen(self):
        return subprocess.run(["tmux", "-S", self.work + "/tmux", "capture-pane", "-p"], check=True,
                              capture_output=True, text=True).stdout

    def log(self):
        self.do('(with-current-buffer "*mailsync-log*" (write-region nil nil %s nil (quote silent)))'
                % lisp(self.work + "/log"))
        with open(self.work + "/log", encoding="utf-8") as file:
            return file.read()

    # Life

    def start(self):
        real = free_port()
        subprocess.run([os.path.join(FIXTURES, "sync-dovecot.sh"), "start", self.dir + "/dovecot", str(real)],
                       check=True)
        self.port = real
        self.relay = Relay(real)
        extra = {"MBSYNC_ACCOUNT": "Timeout 20"}
        subprocess.run([os.path.join(FIXTURES, "sync-config.sh"), self.config, str(self.relay.port), "alice"],
                       check=True, env={**os.environ, **extra})
        if self.layout == "flat":
            # nnmaildir's own directories are subfolders to mbsync, which wants to know what to do with those.
            self.configuration("Flatten .", "Flatten .\nSubFolders Verbatim")
        with self.imap() as c:
            for wire in FOLDERS.values():
                if wire != "INBOX":
                    c.create('"%s"' % wire)
        for name, wire in FOLDERS.items():
            for number in range(2):
                self.append(wire, "%s-%d" % (wire.replace("/", "."), number))
        syncer = {"mbsync": '(mailsync-mbsync "%s" :config "%s/mbsyncrc")',
                  "offlineimap": '(mailsync-offlineimap "%s" :config "%s/offlineimaprc")'}[self.syncer]
        init = self.work + "/init.el"
        with open(init, "w", encoding="utf-8") as file:
            file.write("(setq mailsync-accounts '((\"w\" :maildir %s :syncer %s)) mailsync-inter-delay 1 "
                       "mailsync-base-delay 1 mailsync-gnus-max-wait 2)\n"
                       % (lisp(self.local), syncer % (self.layout, self.config)))
        emacs = os.environ.get("EMACS", "emacs")
        staged = subprocess.run([os.path.join(HERE, "stage.sh")], check=True, capture_output=True, text=True,
                                env={**os.environ, "EMACS": emacs}).stdout.strip()
        home = self.work + "/home"
        os.mkdir(home)
        environment = {**os.environ, "HOME": home, "E2E_WORK": self.work, "FIXTURES": FIXTURES, "SYNC_INIT": init,
                       "LC_ALL": "C.UTF-8", "XDG_RUNTIME_DIR": self.work}
        for name in ("MAILDIR", "MAIL", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
            environment.pop(name, None)
        quiet = "(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)"
        args = [emacs, "-Q", "--eval", quiet, "-L", staged, "-l", os.path.join(HERE, "sync.el")]
        if self.mode == "batch":
            args[2:2] = ["--batch", "--module-assertions"]
            out = open(self.work + "/said", "w", encoding="utf-8")
            self.emacs = subprocess.Popen(args, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        else:
            args.insert(1, "-nw")
            command = " ".join("'" + arg.replace("'", "'\\''") + "'" for arg in args)
            subprocess.run(["tmux", "-S", self.work + "/tmux", "-f", "/dev/null", "new-session", "-d", "-x", "120",
                            "-y", "40", command], check=True, env=environment)
        self.wait_fact("started")

    def stop(self):
        open(self.work + "/stop", "w").close()
        if self.mode == "batch":
            if self.emacs:
                self.emacs.wait(20)
        else:
            subprocess.run(["tmux", "-S", self.work + "/tmux", "kill-server"], check=False,
                           stderr=subprocess.DEVNULL)

    def gnus(self):
        for name in FOLDERS:
            os.symlink(self.directory(name), self.work + "/links/" + name.replace("/", "."))
        names = [name.replace("/", ".") for name in FOLDERS]
        self.do("(sync-gnus %s %s)" % (lisp(self.work + "/links"), " ".join(map(lisp, names))))
        self.wait_fact("gnus")
        self.quiet()

    # What has to be so

    def same(self):
        """Every folder has the same messages with the same flags on both sides."""
        letters = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "T": "\\Deleted", "D": "\\Draft"}
        for name, wire in FOLDERS.items():
            there = self.remote(wire)
            here = {subject: {letters[it] for it in path.partition(":2,")[2] if it in letters}
                    for subject, path in self.messages(name).items()}
            if there != here:
                return False
        return True

    def check(self, what, run):
        began = time.monotonic()
        run()
        print("ok    %5.1f s  %s" % (time.monotonic() - began, what), flush=True)
        self.count += 1
        self.forget()

    def first_sync(self):
        self.wait_fact("ends\tok", 60)
        assert self.same()
        self.quiet()
        # Folders that it made cannot be told from the user's: one more run, which finds nothing.
        assert len(self.runs()) <= 2, self.runs()

    def message_from_there(self):
        self.append("lists", "news")
        self.do('(mailsync-sync "w" \'("lists"))')
        self.wait_fact("ends\tok")
        self.wait("the message", lambda: "news" in self.messages("lists"))
        self.wait_fact("new-mail\tnnmaildir+fix:lists")
        self.quiet()
        assert len(self.runs()) == 1, ("a second run for an echo", self.runs())

    def flag_by_gnus(self):
        if self.mode == "batch":
            self.do('(sync-tick "INBOX")')
        else:
            # As a user does: enter the group, tick, leave.
            self.do('(gnus-group-jump-to-group "nnmaildir+fix:INBOX")')
            self.keys("Enter")
            self.wait("the summary", lambda: "Summary" in self.screen())
            self.keys("!")
            self.keys("q")
            self.wait("the groups", lambda: "INBOX" in self.screen() and "*Group*" in self.screen())
        flagged = lambda: any("\\Flagged" in flags for flags in self.remote("INBOX").values())
        self.wait("the flag there", flagged)
        self.quiet()
        if self.mode == "batch":
            assert self.runs() == [["(INBOX)"]], self.runs()

    def new_message_here(self):
        self.deliver("Entwürfe", "draft")
        self.wait("the message there", lambda: "draft" in self.remote("Entw&APw-rfe"))
        self.quiet()
        assert self.runs() == [["(Entwürfe)"]], self.runs()
        assert self.same()

    def move_by_gnus(self):
        """Mail that Gnus moves from one folder to another goes up in one sync."""
        self.do('(sync-move "INBOX" "R&D")')
        self.wait("the message there", lambda: "INBOX-1" in self.remote("R&-D"))
        self.wait("its absence", lambda: "INBOX-1" not in self.remote("INBOX"))
        self.quiet()
        assert len(self.runs()[0][0].strip("()").split()) == 2, self.runs()
        assert len(self.runs()) <= 2, self.runs()
        assert self.same()

    def changes_there(self):
        self.store("a/b", "a.b-0", "\\Seen")
        self.store("a/b", "a.b-1", "\\Deleted", expunge=True)
        self.do('(mailsync-sync "w")')
        self.wait("both sides the same", self.same)
        self.quiet()
        # A flag and a deletion cannot be told from the user's: one more run, which finds nothing.
        assert len(self.runs()) <= 2, self.runs()

    def flag_here(self, name, subject, letter):
        path = self.messages(name)[subject]
        base, _, flags = os.path.basename(path).partition(":2,")
        new = base + ":2," + "".join(sorted(set(flags) | {letter}))
        os.rename(path, os.path.join(self.directory(name), "cur", new))

    def server_away(self):
        self.relay.set("refuse")
        self.flag_here("lists", "lists-0", "F")
        self.wait_fact("ends\ttransient", 40)
        self.wait_fact("state\tfailing")
        if self.mode == "tmux":
            self.wait("the mode line", lambda: "[failing]" in self.screen())
        self.relay.set("pass")
        self.wait("the flag there", lambda: "\\Flagged" in self.remote("lists")["lists-0"], 60)
        self.wait_fact("state\twatching")
        self.wait("the news", lambda: "can be synced again" in self.log())
        log = self.log()
        for text in ("w: sync of lists failed (transient)", "w: synced lists in"):
            assert text in log, (text, log)

    def server_silent(self):
        self.do("(progn (setq mailsync-sync-timeout 3) (mailsync-restart))")
        self.relay.set("silent")
        self.flag_here("lists", "lists-1", "F")
        ended = self.wait_fact("ends\ttimeout", 60)
        assert "mailsync-sync-timeout" in ended[0], ended
        self.relay.set("pass")
        self.do("(progn (setq mailsync-sync-timeout 300) (mailsync-restart))")
        self.wait("the flag there", lambda: "\\Flagged" in self.remote("lists")["lists-1"], 90)
        self.quiet()

    def server_cuts(self):
        self.relay.set("cut", 200)
        self.flag_here("lists", "news", "F")
        self.wait_fact("ends\ttransient", 40)
        self.relay.set("pass")
        self.wait("the flag there", lambda: "\\Flagged" in self.remote("lists")["news"], 60)
        self.quiet()

    def configuration(self, old, new):
        path = self.config + ("/mbsyncrc" if self.syncer == "mbsync" else "/offlineimaprc")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert old in text
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))

    def refused(self):
        word = "Pass secret" if self.syncer == "mbsync" else "remotepass = secret"
        self.configuration(word, word.replace("secret", "wrong"))
        self.flag_here("with space", "with space-0", "F")
        self.wait("two refusals", lambda: len([f for f in self.facts() if f.startswith("ends\tauth")]) == 2, 60)
        self.wait_fact("state\tpaused")
        if self.mode == "tmux":
            self.wait("the mode line", lambda: "[paused]" in self.screen())
        self.configuration(word.replace("secret", "wrong"), word)
        self.do("(mailsync-resume)")
        self.wait("the flag there", lambda: "\\Flagged" in self.remote("with space")["with space-0"], 60)
        self.quiet()

    def locked(self):
        """Another run has the syncer's own lock."""
        if self.syncer == "mbsync":
            path = os.path.join(self.directory("INBOX"), ".mbsyncstate.lock")
        else:
            path = os.path.join(self.config, "oimap", self.layout + ".lock")
        holder = subprocess.Popen(
            [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'w'); "
             "fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdout.readline()
        self.flag_here("INBOX", "INBOX-0", "R")
        self.wait_fact("ends\tlocked")
        holder.stdin.close()
        holder.wait()
        self.wait("the flag there", lambda: "\\Answered" in self.remote("INBOX")["INBOX-0"], 60)
        self.quiet()

    def folders(self):
        """A folder that comes there; one that the user deletes here does not come back by a named run."""
        with self.imap() as c:
            c.create('"fresh"')
        self.append("fresh", "fresh-0")
        self.do('(mailsync-sync "w")')
        self.wait("the folder", lambda: "fresh-0" in self.messages("fresh"))
        self.quiet()
        self.forget()
        shutil.rmtree(self.directory("fresh"))
        self.wait_fact("begins\tall")
        self.wait_fact("ends\t")
        assert not [run for run in self.runs() if "fresh" in run[0]], self.runs()
        self.quiet()

    def emacs_ends(self):
        """kill-emacs while the syncer runs: it is told to end, and nothing is lost."""
        self.relay.set("silent")
        self.flag_here("lists", "lists-1", "R")
        self.wait_fact("begins")
        name = os.path.join(self.config, "mbsyncrc" if self.syncer == "mbsync" else "offlineimaprc")
        running = lambda: subprocess.run(["pgrep", "-f", name], capture_output=True).stdout.split()
        self.wait("the syncer", running)
        if self.mode == "batch":
            self.ask("(kill-emacs 0)")
            self.emacs.wait(5)
            self.emacs = None
        else:
            self.keys("C-x", "C-c")
            time.sleep(1)
        if self.syncer == "mbsync":
            self.wait("the end of the syncer", lambda: not running(), 5)
        else:
            # It finishes what it is at, by itself; here it would wait for the server.
            subprocess.run(["pkill", "-KILL", "-f", name], check=False)
        self.relay.set("pass")

    def run(self):
        self.start()
        self.check("the first sync brings everything", self.first_sync)
        self.check("Gnus reads it", self.gnus)
        self.check("a message from the other side", self.message_from_there)
        self.check("a flag that Gnus sets", self.flag_by_gnus)
        self.check("a message that is delivered here", self.new_message_here)
        self.check("the server goes away and comes back", self.server_away)
        if self.mode == "tmux":
            return
        self.check("a message that Gnus moves", self.move_by_gnus)
        self.check("flags and deletions from the other side", self.changes_there)
        if self.layout not in ("verbatim", "slash"):
            return
        self.check("folders come and go", self.folders)
        self.check("the server says nothing", self.server_silent)
        self.check("the server cuts the connection", self.server_cuts)
        self.check("the server refuses the password", self.refused)
        self.check("another run has the syncer's lock", self.locked)
        self.check("Emacs ends while it syncs", self.emacs_ends)

    def clean(self, good):
        try:
            self.stop()
        finally:
            subprocess.run([os.path.join(FIXTURES, "sync-dovecot.sh"), "stop", self.dir + "/dovecot"], check=False)
        if good:
            shutil.rmtree(self.dir)


def main():
    syncer, layout = sys.argv[1:3]
    os.environ["PATH"] += ":/usr/sbin"  # Dovecot
    test = Test(syncer, layout, sys.argv[3] if len(sys.argv) > 3 else "batch")
    good = False
    try:
        test.run()
        good = True
    finally:
        if not good:
            print("\n".join(test.all_facts()[-60:]), "FAILED, see " + test.dir, sep="\n", flush=True)
            if test.mode == "tmux":
                print(test.screen())
        test.clean(good)
    print("%d passed, 0 failed" % test.count)


if __name__ == "__main__":
    main()
