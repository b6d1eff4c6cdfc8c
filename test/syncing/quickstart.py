"""The quick starts of README.org, typed as they are written, until a message shows in *Group*.

The blocks of a section are taken in their order: one of shell is run; any other goes into the file that
the sentence above it names last.  What is replaced: the server's name and port, which are a private
Dovecot's.  What the user has to have already is made: `pass', a server with mail, and for the one with
ssh a machine `home.example', which is this one, with another home.
"""
import concurrent.futures
import imaplib
import os
import re
import shutil
import stat
import subprocess

from syncing.emacs import FIXTURES, HERE, Emacs, lisp
from syncing.relay import free_port
from syncing.remote import Sshd, watcher
from syncing.world import World, version

MANUAL = os.path.join(os.path.dirname(HERE), "README.org")
# The server has all of these.
FOLDERS = ("INBOX", "lists")


def sections(text):
    """The quick starts, which have names for links that begin with quick: their titles, with their texts."""
    found = re.findall(r"^\*\* ([^\n]*)\n:PROPERTIES:\n:CUSTOM_ID: quick-[^\n]*\n:END:\n(.*?)(?=^\*\*? )", text, re.M | re.S)
    return dict(found)


def blocks(body):
    """The blocks of a section: (language, file, text)."""
    for before, language, text in re.findall(r"(.*?)^#\+begin_src (\S+)\n(.*?)^#\+end_src", body, re.M | re.S):
        sentence = before.rstrip().rpartition("\n\n")[2]
        assert sentence.endswith(":"), "a block without a sentence that ends with a colon: " + text
        names = re.findall(r"=(~/[^=]+)=", sentence)
        assert language == "sh" or names, "a block of no file: " + text
        text = re.sub(r"^  ", "", text, flags=re.M)
        yield language, names[-1] if names else None, text


def dovecot():
    """The program that serves ~/Maildir, as the manual says for the Dovecot that is here: one that is old, or 2.4."""
    with open(MANUAL, encoding="utf-8") as file:
        text = file.read()
    programs = [re.search(r'"(doveadm exec imap -o [^"]*)"', text).group(1),
                re.search(r"that program is =(doveadm exec imap -o .*?)=\. ", text, re.S).group(1).replace("\n", " ")]
    # Debian's configuration of it says mail_home = /home/%{user}, which is elsewhere here.
    return programs[1] + ' -o "mail_home=$HOME"' if version("dovecot") >= (2, 4) else programs[0]


class QuickStart(World):
    # Which folders have to be there, and more Lisp for Emacs.
    folders, look = FOLDERS, ""

    def __init__(self, syncer, layout, mode):
        super().__init__(syncer, layout, mode)
        self.bin = os.path.join(self.dir, "bin")
        os.mkdir(self.bin)
        self.sshd = None
        self.path = os.environ["PATH"]

    # What the user has already

    def program(self, name, text):
        path = os.path.join(self.bin, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)

    def certificate(self):
        """An authority, in a file of its own, and the server's certificate."""
        def openssl(*args):
            subprocess.run(["openssl", *args], check=True, capture_output=True)
        self.authority = self.dir + "/authority.pem"
        where = self.dir + "/dovecot"
        os.mkdir(where, 0o755)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Authority",
                "-keyout", self.dir + "/authority.key", "-out", self.authority)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
                "-keyout", where + "/key.pem", "-out", self.dir + "/request.pem")
        with open(self.dir + "/names", "w", encoding="utf-8") as file:
            file.write("subjectAltName=DNS:localhost\n")
        openssl("x509", "-req", "-in", self.dir + "/request.pem", "-days", "2", "-CA", self.authority,
                "-CAkey", self.dir + "/authority.key", "-CAcreateserial", "-extfile", self.dir + "/names",
                "-out", where + "/cert.pem")

    def provider(self):
        """The server at the provider's, with a message in each folder."""
        self.certificate()
        self.port, self.tls = free_port(), free_port()
        extra = {"DOVECOT_EXTRA": "mailbox_list_index = yes"}
        subprocess.run([os.path.join(FIXTURES, "sync-dovecot.sh"), "start", self.dir + "/dovecot", str(self.port),
                        str(self.tls)], check=True, env={**os.environ, **extra})
        # What knows of authorities by OpenSSL, or as it does.
        os.environ["SSL_CERT_FILE"] = self.authority
        self.fill()

    def imap(self):
        # The user of the manual.
        connection = imaplib.IMAP4("127.0.0.1", self.port)
        connection.login("me", "secret")
        return connection

    def fill(self):
        with self.imap() as c:
            for name in FOLDERS[1:]:
                c.create('"%s"' % name)
        for name in FOLDERS:
            self.append(name, "first in " + name)

    def programs(self):
        """What is to be found along PATH: `pass', and ssh and the syncers as the user calls them."""
        self.program("pass", "echo secret\n")
        # As root: Dovecot serves no mail then, so that somebody else is its user.
        self.other = "setpriv --reuid mail --regid mail --clear-groups " if os.getuid() == 0 else ""
        if self.other:
            self.program("mbsync", '[ -z "$OTHER" ] || chown -R mail "$HOME"\nexec $OTHER%s "$@"\n' % shutil.which("mbsync"))
        os.environ["PATH"] = self.bin + ":" + self.path

    def far_machine(self):
        """A machine `home.example', where mail lies in ~/Maildir."""
        self.sshd = Sshd()
        os.chmod(self.sshd.dir, 0o711)
        far = self.sshd.dir + "/home"
        os.mkdir(far)
        shutil.copy(watcher(), self.sshd.dir + "/mailsync-watch")
        os.chmod(self.sshd.dir + "/mailsync-watch", 0o755)
        for name in ("", "/.lists"):
            for part in ("tmp", "new", "cur"):
                os.makedirs(far + "/Maildir" + name + "/" + part)
        if self.other:
            subprocess.run(["chown", "-R", "mail", far], check=True)
        # The far shell: of another user, with another home, where Dovecot knows what a maildir is.
        shell = self.sshd.dir + "/shell"
        with open(shell, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\nexport HOME=%s USER=me PATH=%s:$PATH\n"
                       "case $SSH_ORIGINAL_COMMAND in *imap) set -- %s ;;\n*) set -- ;;\nesac\n"
                       "exec %s$SSH_ORIGINAL_COMMAND \"$@\"\n" % (far, self.sshd.dir, dovecot().partition(" imap ")[2], self.other))
        os.chmod(shell, 0o755)
        with open(self.sshd.dir + "/config", "a", encoding="utf-8") as file:
            file.write("ForceCommand %s\n" % shell)
        self.sshd.start()
        words = self.sshd.command()
        with open(self.dir + "/ssh_config", "w", encoding="utf-8") as file:
            file.write("Host home.example\n HostName 127.0.0.1\n Port %d\n User %s\n IdentityFile %s/me\n"
                       " UserKnownHostsFile %s/known\n LogLevel ERROR\n"
                       % (self.sshd.port, words[-1].partition("@")[0], self.sshd.dir, self.sshd.dir))
        self.program("ssh", 'exec %s -F "%s/ssh_config" "$@"\n' % (shutil.which("ssh"), self.dir))
        self.far = far + "/Maildir"
        for name in FOLDERS:
            self.arrive_far(name, "first in " + name)

    def arrive_far(self, folder, subject):
        where = self.far if folder == "INBOX" else self.far + "/." + folder
        subprocess.run([os.path.join(FIXTURES, "deliver.sh"), where, subject], check=True, stdout=subprocess.DEVNULL)

    # What the manual says

    def replaced(self, text):
        """A block, with the server's name and port."""
        for old, new in ((r"^Host imap\.example\.org$", "Host localhost\nPort %d" % self.tls),
                         (r"^remotehost = imap\.example\.org$", "remotehost = localhost\nremoteport = %d" % self.tls),
                         (r"^sslcacertfile = OS-DEFAULT$", "sslcacertfile = " + self.authority),
                         (r"^machine imap\.example\.org ", "machine localhost "),
                         (r':host "imap\.example\.org"', ':host "localhost" :port %d' % self.tls),
                         (r'\(nnimap-address "imap\.example\.org"\)',
                          '(nnimap-address "localhost") (nnimap-server-port %d)' % self.tls),
                         # Dovecot as this user.
                         (r'"doveadm exec imap -o .*?"', lambda _: lisp(self.other + dovecot()))):
            text = re.sub(old, new, text, flags=re.M)
        return text

    def typed(self, body, environment):
        """Do what a section says."""
        home = environment["HOME"]
        for language, name, text in blocks(body):
            text = self.replaced(text)
            if language == "sh":
                done = subprocess.run(["sh", "-e"], input=text, text=True, capture_output=True, check=False, cwd=home,
                                      env={**os.environ, **environment})
                assert done.returncode == 0, (text, done.stdout, done.stderr)
            else:
                path = name.replace("~", home, 1)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)

    # A quick start

    def begin(self, emacs, name, before):
        """Do what the section says, and start Gnus.

        With `before`, the user has done that first, and read mail without mailsync.
        """
        home = emacs.work + "/home"
        os.chmod(home, 0o711)
        environment = {"HOME": home, "USER": "me", "LOGNAME": "me",
                       "OTHER": self.other if "nnimap-shell-program" in self.texts[name] else ""}
        init, gnus = home + "/.gnus.el", ""
        if before:
            self.typed(self.texts[before], environment)
            with open(init, encoding="utf-8") as file:
                gnus = file.read().partition("(require 'mailsync)")[0]
        self.typed(self.texts[name], environment)
        with open(init, encoding="utf-8") as file:
            gnus += file.read()
        with open(init, "w", encoding="utf-8") as file:
            file.write(gnus)
        method, server = re.search(r"'\(\(([a-z]+) \"([a-z]+)\"", gnus).groups()
        emacs.groups = ["%s+%s:%s" % (method, server, folder) for folder in self.folders]
        emacs.start("(with-eval-after-load 'gnutls (setq gnutls-trustfiles '(%s)))" % lisp(self.authority) + self.look,
                    self.runtime, "quickstart.el", **environment)
        emacs.wait("groups", lambda: min(self.counts(emacs)) > 0, 60)
        emacs.wait("that it watches", lambda: "[watching]" in emacs.value("mailsync-mode-line--string"), 60)
        emacs.before = self.counts(emacs)

    def counts(self, emacs):
        """What *Group* says of the groups of this Emacs."""
        lines = [emacs.value("(quickstart-group %s)" % lisp(group)) for group in emacs.groups]
        return [int((re.search(r"(\d+):", line) or [0, -1])[1]) for line in lines]

    def all_begin(self):
        """All users do what their sections say, at the same time."""
        names = list(self.texts)
        assert len(names) == 6, names
        for number, name in enumerate(names):
            emacs = Emacs(os.path.join(self.dir, "emacs-%d" % number), self.mode)
            os.chmod(emacs.work, 0o711)
            self.emacsen.append(emacs)
        with concurrent.futures.ThreadPoolExecutor(len(names)) as threads:
            begun = [threads.submit(self.begin, emacs, name, names[number - 1] if "mswatch" in name else None)
                     for number, (emacs, name) in enumerate(zip(self.emacsen, names))]
        for it in begun:
            it.result()

    def arrives(self, emacs):
        """A message more is in each group."""
        look = lambda: emacs.value('(with-current-buffer "*Group*" (buffer-string))')
        emacs.wait(lambda: "a message more than %s: %s" % (emacs.before, look()),
                   lambda: self.counts(emacs) == [count + 1 for count in emacs.before], 60)

    def run(self):
        with open(MANUAL, encoding="utf-8") as file:
            self.texts = sections(file.read())
        self.programs()
        self.provider()
        self.far_machine()
        self.check("all quick starts, as they are written", self.all_begin)
        for folder in FOLDERS:
            self.append(folder, "news")
            self.arrive_far(folder, "news")
        for emacs, name in zip(self.emacsen, self.texts):
            self.check(name, lambda: self.arrives(emacs))

    def clean(self, good):
        if self.sshd:
            self.sshd.stop()
            if good:
                shutil.rmtree(self.sshd.dir)
        super().clean(good)
