"""An Emacs that syncs: what it is told to do, and what it says."""
import os
import re
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIXTURES = os.path.join(HERE, "fixtures")


def lisp(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def wait(what, condition, seconds=30, look=lambda: None):
    """Wait until there is a value, and return it.  look() may find that there will never be one."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        look()
        assert time.monotonic() < end, "not within time: " + (what() if callable(what) else what)
        time.sleep(0.05)


class Emacs:
    """One that loads sync.el, with everything of its own below `work`.  mode: batch or tmux."""

    def __init__(self, work, mode):
        self.work, self.mode = work, mode
        self.facts_file = os.path.join(work, "facts")
        self.mark, self.process, self.pid = 0, None, None
        # Its facts as far as they were read, and how far that is in the file.
        self.known, self.read = [], 0
        # Columns and lines of the terminal.
        self.size = (120, 40)
        os.makedirs(os.path.join(work, "home"))

    def start(self, init, runtime, driver="sync.el", within=(), **more):
        """Start it, with the Lisp `init`; `runtime` is where the locks are, `driver` what it loads, `within` words
        before its own, `more` of its environment."""
        name = self.work + "/init.el"
        with open(name, "w", encoding="utf-8") as file:
            file.write(init + "\n")
        emacs = os.environ.get("EMACS", "emacs")
        staged = subprocess.run([os.path.join(HERE, "stage.sh")], check=True, capture_output=True, text=True,
                                env={**os.environ, "EMACS": emacs}).stdout.strip()
        environment = {**os.environ, "HOME": self.work + "/home", "E2E_WORK": self.work, "FIXTURES": FIXTURES,
                       "SYNC_INIT": name, "LC_ALL": "C.UTF-8", "XDG_RUNTIME_DIR": runtime}
        for name in ("MAILDIR", "MAIL", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
            environment.pop(name, None)
        environment.update(more)
        quiet = "(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)"
        driver = os.path.join(HERE, "syncing", driver)
        self.begin([emacs, "-Q", "--eval", quiet, "-L", staged, "-l", driver], within, environment)
        self.pid = int(self.wait_fact("started", 90)[0].split("\t")[1])

    def begin(self, args, within, environment):
        """Run these words, where `within` says."""
        if self.mode == "batch":
            args[2:2] = ["--batch", "--module-assertions"]
            out = open(self.work + "/said", "w", encoding="utf-8")
            self.process = subprocess.Popen([*within, *args], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        else:
            args.insert(1, "-nw")
            command = " ".join("'" + arg.replace("'", "'\\''") + "'" for arg in [*within, *args])
            subprocess.run(["tmux", "-S", self.work + "/tmux", "-f", "/dev/null", "new-session", "-d", "-x", str(self.size[0]),
                            "-y", str(self.size[1]), command], check=True, env=environment)

    def stop(self):
        open(self.work + "/stop", "w").close()
        if self.mode == "batch":
            try:
                if self.process:
                    self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        else:
            subprocess.run(["tmux", "-S", self.work + "/tmux", "kill-server"], check=False,
                           stderr=subprocess.DEVNULL)

    # What it says

    def facts(self):
        try:
            with open(self.facts_file, "rb") as file:
                file.seek(self.read)
                # A line that is still being written is none.
                new = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self.read += len(new[0]) + len(new[1])
        self.known += new[0].decode().splitlines() if new[1] else []
        return self.known[self.mark:]

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
        def look():
            errors = [line for line in self.facts() if line.startswith("error")]
            assert not errors, errors
        return wait(what, condition, seconds, look)

    def wait_fact(self, start, seconds=30):
        return self.wait(start, lambda: [f for f in self.facts() if f.startswith(start)], seconds)

    def quiet(self, seconds=3.0, waits=False):
        """Wait until no run goes on, begins for so long, or waits for its time; waits: one may wait."""
        def idle():
            before = len(self.all_facts())
            time.sleep(seconds)
            now = self.all_facts()
            # Not their numbers: what began while Emacs was busy may be told as one.
            last = [line for line in now if line.startswith(("begins\t", "ends\t"))][-1:]
            if len(now) != before or last and last[0].startswith("begins"):
                return False
            # No fact tells of one that waits for Gnus's check.
            return waits or not self.has_runs()
        self.wait("rest", idle, 60)

    def has_runs(self):
        """Whether a run goes on, or will begin.  One that has failed, is paused or is another Emacs's does not count."""
        return self.value("(and (seq-some (lambda (it) (memq (plist-get (cdr it) :phase) '(pending running)))"
                          " mailsync-sync--states) t)") == "t"

    # What it is told

    def ask(self, form):
        """Have it do something, some time."""
        path = os.path.join(self.work, "command.el")
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            file.write(form + "\n")
        os.rename(path + ".tmp", path)
        return path

    def do(self, form):
        """Have it do something now."""
        path = self.ask(form)
        self.wait(form, lambda: not os.path.exists(path))

    def value(self, form):
        """What a form's value looks like."""
        self.do('(e2e-say "value" %s)' % form)
        return [fact for fact in self.facts() if fact.startswith("value\t")][-1].partition("\t")[2]

    def state(self):
        """The phase and the text of its account."""
        return self.value('(mapconcat (lambda (key) (format "%s" (plist-get (mailsync-sync-state "w") key))) '
                          "'(:phase :text) \" \")")

    def said(self, text):
        """How often it has said this."""
        if self.mode == "batch":
            with open(self.work + "/said", encoding="utf-8") as file:
                return file.read().count(text)
        return int(self.value('(with-current-buffer "*Messages*" (how-many %s (point-min)))' % lisp(re.escape(text))))

    def die(self):
        """Be killed: nothing is done any more."""
        os.kill(self.pid, signal.SIGKILL)
        self.ended()

    def ended(self):
        """Wait until it has ended, by itself or not."""
        if self.process:
            self.process.wait(20)
        else:
            wait("its end", lambda: not os.path.exists("/proc/%d" % self.pid))

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
