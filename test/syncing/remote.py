"""Mail that changes on the server: mailsync-watch there, at the other end of a real ssh connection."""
import getpass
import os
import shutil
import subprocess
import tempfile

from syncing.emacs import FIXTURES, HERE, lisp, wait
from syncing.relay import free_port
from syncing.world import World

CONFIG = """
Port %(port)d
ListenAddress 127.0.0.1
HostKey %(dir)s/host
PidFile none
AuthorizedKeysFile %(dir)s/me.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
"""


def watcher():
    """The program, as `make watch' builds it."""
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(os.path.dirname(HERE), "target")
    program = os.path.join(target, "watch", "mailsync-watch")
    assert os.path.exists(program), program + " is not there: make watch"
    return program


class Sshd:
    """An sshd with keys and a configuration of its own."""

    def __init__(self, directory=None):
        """DIRECTORY does not exist; its name has no spaces, since the far shell reads some of them."""
        if directory:
            os.mkdir(directory)
        self.dir = directory or tempfile.mkdtemp(prefix="mailsync-sshd-")
        self.port, self.process = free_port(), None
        for name in ("host", "me"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.dir + "/" + name], check=True)
        with open(self.dir + "/host.pub", encoding="utf-8") as file:
            key = file.read()
        with open(self.dir + "/known", "w", encoding="utf-8") as file:
            file.write("[127.0.0.1]:%d %s" % (self.port, key))
        with open(self.dir + "/config", "w", encoding="utf-8") as file:
            file.write(CONFIG % {"port": self.port, "dir": self.dir})
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)

    def start(self):
        log = open(self.dir + "/log", "a", encoding="utf-8")
        self.process = subprocess.Popen([shutil.which("sshd"), "-D", "-e", "-f", self.dir + "/config"],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def children(self):
        """What serves connections."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def cut(self):
        """Have each connection end, in the middle of whatever it is at."""
        for pid in self.children():
            os.kill(pid, 9)

    def stop(self):
        if self.process:
            self.cut()
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def command(self, *words):
        """The words of a command that runs these at the far end."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=%s/known" % self.dir,
                   "ServerAliveInterval=30", "ConnectTimeout=20", "LogLevel=ERROR"]
        options = [word for option in options for word in ("-o", option)]
        user = "%s@127.0.0.1" % getpass.getuser()
        return ["ssh", "-F", "/dev/null", *options, "-i", self.dir + "/me", "-p", str(self.port), user, *words]


class Remote(World):
    def launch(self, mode=None, more=""):
        self.sshd = Sshd()
        self.sshd.start()
        # A far end of our own, which no other test runs.
        self.program = self.sshd.dir + "/mailsync-watch"
        shutil.copy(watcher(), self.program)
        self.mail = self.dir + "/dovecot/mail/alice"
        words = self.sshd.command(*self.far_words())
        self.account = ":remote (watcher %s)" % " ".join(map(lisp, words))
        # Nobody waits here until a wait has doubled that often.
        return super().launch(mode, "(setq mailsync-max-delay 5)" + more)

    def far_words(self):
        """What the far shell reads."""
        return [self.program, "--maildir='%s'" % self.mail]

    def connections(self):
        found = subprocess.run(["pgrep", "-f", self.program + " "], capture_output=True, text=True, check=False)
        return found.stdout.split()

    def far_end(self):
        """How the far end is, as the status has it."""
        return self.emacs.value("(mapconcat (lambda (it) (format \"%s\" (plist-get (cdr it) :state)))"
                                " mailsync-remote--states \" \")")

    def wait_far_end(self, state):
        self.emacs.wait("the far end is " + state, lambda: state in self.far_end(), 60)

    def wait_status(self, *texts):
        """Wait until `mailsync-status' shows all of these."""
        form = '(string-replace "\\n" " " (mailsync-status--text))'
        self.emacs.wait("the status: %s" % (texts,),
                        lambda: (lambda shown: all(text in shown for text in texts))(self.emacs.value(form)))

    def rest(self):
        self.emacs.quiet(3.5)

    def first_sync(self):
        self.wait_far_end("connected")
        self.emacs.wait_fact("ends\tok", 60)
        self.rest()
        assert self.same(), self.differences()
        # What happened before the connection, nobody has seen.
        # What it does there itself may come back as changes, of whatever folders.
        runs = self.emacs.runs()
        assert runs[0] == ["all"] and len(runs) <= 3, runs
        assert "--kinds" in subprocess.run(["ps", "-ww", "-o", "args=", "-C", "mailsync-watch"], capture_output=True,
                                           text=True, check=False).stdout

    def arrives(self, folder, subject):
        self.emacs.wait(subject, lambda: subject in self.messages(folder), 60)
        group = "nnmaildir+fix:" + folder.replace("/", ".")
        self.emacs.wait("it in Gnus", lambda: [f for f in self.emacs.facts() if f.startswith("new-mail\t" + group)])
        self.rest()
        assert self.same(), self.differences()

    def deliver_there(self, subject):
        """As an MDA does."""
        subprocess.run([os.path.join(FIXTURES, "deliver.sh"), self.mail, subject], check=True,
                       stdout=subprocess.DEVNULL)

    def delivered_there(self):
        """Dovecot renames the file when the syncer first looks, which is no reason to sync again."""
        self.deliver_there("delivered")
        self.arrives("INBOX", "delivered")
        assert self.emacs.runs() == [["(INBOX)"]], self.emacs.runs()

    def appended_there(self):
        self.append("Entw&APw-rfe", "appended")
        self.arrives("Entwürfe", "appended")
        assert self.emacs.runs() == [["(Entwürfe)"]], self.emacs.runs()

    def flagged_there(self):
        self.store("a/b", "a.b-0", "\\Flagged")
        self.wait_same()
        self.rest()
        runs = self.emacs.runs()
        print("runs: %s" % runs)
        assert runs[0] == ["(a/b)"] and len(runs) <= 2, runs

    def flagged_here(self):
        """What our own sync writes there comes back, and is looked at once more."""
        self.flag_here("lists", "lists-0", "F")
        self.emacs.wait("it there", lambda: "\\Flagged" in self.remote("lists")["lists-0"])
        self.rest()
        runs = self.emacs.runs()
        print("runs: %s" % runs)
        assert len(runs) <= 2, runs
        assert self.same(), self.differences()

    def folder_made_there(self):
        with self.imap() as c:
            c.create("made")
        self.boxes["made"] = "made"
        self.append("made", "in it")
        self.wait_same()
        self.rest()

    def cut(self):
        self.sshd.cut()
        # Nobody watches now.
        self.append("R&-D", "unseen")
        self.emacs.wait_fact("state\toffline")
        self.arrives("R&D", "unseen")
        self.emacs.wait_fact("state\twatching")
        self.append("with space", "seen")
        self.arrives("with space", "seen")

    def away(self):
        self.sshd.stop()
        self.emacs.wait_fact("state\toffline")
        self.wait_status("offline", "next try", "ssh exited with 255")
        self.append("lists", "while it is away")
        self.sshd.start()
        self.arrives("lists", "while it is away")
        self.wait_far_end("connected")

    def refused(self):
        """A server that knows our key no longer is asked three times, and not again until the user says so."""
        os.rename(self.sshd.dir + "/me.pub", self.sshd.dir + "/elsewhere")
        self.sshd.cut()
        self.emacs.wait_fact("state\tpaused", 90)
        self.wait_status("Permission denied", "mailsync-resume")
        os.rename(self.sshd.dir + "/elsewhere", self.sshd.dir + "/me.pub")
        self.emacs.do('(mailsync-resume "w")')
        self.wait_far_end("connected")
        self.append("INBOX", "after that")
        self.arrives("INBOX", "after that")

    def emacs_ends(self):
        assert self.connections()
        self.emacs.ask("(kill-emacs 0)")
        self.emacs.ended()
        wait("the end of all connections", lambda: not self.connections() and not self.sshd.children())

    def before_removal(self, good):
        if getattr(self, "sshd", None):
            self.sshd.stop()
            if good:
                shutil.rmtree(self.sshd.dir)

    def run(self):
        self.start()
        self.check("the far end is watched, and all is synced", self.first_sync)
        self.check("Gnus reads it", self.gnus)
        self.check("a message that is delivered there", self.delivered_there)
        self.check("a message that another client puts there", self.appended_there)
        self.check("a flag that is set there", self.flagged_there)
        self.check("a flag that is set here", self.flagged_here)
        self.check("a folder that is made there", self.folder_made_there)
        self.check("the connection is cut", self.cut)
        self.check("the server goes away and comes back", self.away)
        self.check("the server refuses the key", self.refused)
        self.check("Emacs ends", self.emacs_ends)
