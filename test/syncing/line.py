"""A line to a server that dies without a word, and comes back.

Three networks, each the whole world of those in it: the server's, which is the test's own; the client's,
in which Emacs and its syncers are; and a router between the two, which can be told to drop whatever
comes.  No address of this machine is touched, and all is gone when the test ends.
"""
import os
import re
import subprocess
import time

from syncing.imap import DOVECOT, Imap

SERVER, NEAR_SERVER, NEAR_CLIENT, CLIENT = "10.78.1.1", "10.78.1.2", "10.78.2.2", "10.78.2.1"

# By what the kernel is told in src/remote/imap/wire.rs: it asks after 75 s, four times, 15 s apart.
NOTICED = 150
# A server that has reason to be doubted has so long to answer.
DOUBTED = 10


class Network:
    """One of its own, which is there as long as a process is in it."""

    def __init__(self):
        # However we end, it does.
        self.process = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        self.pid = str(self.process.pid)
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink("/proc/%s/ns/net" % self.pid) == ours:
            assert self.process.poll() is None, "unshare ended"
            time.sleep(0.01)
        self.within = ["nsenter", "--target", self.pid, "--net"]
        self.ip("link set lo up")

    def ip(self, words):
        subprocess.run([*self.within, "ip", *words.split()], check=True)

    def forward(self, does):
        subprocess.run([*self.within, "sh", "-c", "echo %d >/proc/sys/net/ipv4/ip_forward" % does], check=True)

    def end(self):
        self.process.kill()
        self.process.wait()


class Line(Imap):
    extra = DOVECOT + "listen = *\n"
    # As they are, but for what has nothing to do with the line.
    delays = "(setq mailsync-inter-delay 0.5 mailsync-base-delay 0.5 mailsync-gnus-max-wait 2)"

    def start_server(self):
        self.router, self.client = Network(), Network()
        for words in ("link set lo up",
                      "link add server type veth peer name to-server netns " + self.router.pid,
                      "address add %s/24 dev server" % SERVER,
                      "link set server up",
                      "route add default via " + NEAR_SERVER):
            subprocess.run(["ip", *words.split()], check=True)
        for words in ("link add to-client type veth peer name client netns " + self.client.pid,
                      "address add %s/24 dev to-server" % NEAR_SERVER,
                      "address add %s/24 dev to-client" % NEAR_CLIENT,
                      "link set to-server up",
                      "link set to-client up"):
            self.router.ip(words)
        self.router.forward(True)
        self.client.ip("address add %s/24 dev client" % CLIENT)
        self.comes_back()
        self.within = self.client.within
        super().start_server()
        self.configuration("Host 127.0.0.1\nPort %d\n" % self.relay.port, "Host %s\nPort %d\n" % (SERVER, self.port))
        self.remote_store = '(imap :host "%s" :port %d :user "alice" :tls none)' % (SERVER, self.port)
        self.authinfo = self.authinfo.replace("(sync-authinfo", '(sync-authinfo-of "%s"' % SERVER)

    def goes(self):
        """The client has no network."""
        self.client.ip("link set client down")

    def comes_back(self):
        """The client has one again, as whoever manages it sees to."""
        self.client.ip("link set client up")
        self.client.ip("route add default via " + NEAR_CLIENT)

    # What is looked at

    def awakenings(self):
        """How often the threads that listen have had something to do, or nothing if there are none."""
        found = 0
        tasks = "/proc/%d/task" % self.emacs.pid
        for task in os.listdir(tasks):
            try:
                with open("%s/%s/status" % (tasks, task), encoding="utf-8") as file:
                    status = file.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if status.startswith("Name:\tmailsync-imap"):
                found += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M).group(1))
        return found

    def next_try(self):
        """In how many seconds the server is tried again, if that is planned."""
        return float(self.emacs.value("(or (plist-get (car (plist-get (car (plist-get (mailsync-module--status)"
                                      " :accounts)) :remotes)) :next) 0)"))

    def offline(self, *texts):
        self.wait_status("offline", *texts)
        self.wait_mode_line("offline")

    def counts(self, before):
        self.emacs.wait_fact("state\twatching")
        self.wait_far_end("connected")
        self.wait_mode_line("watching")
        self.emacs.wait("it in *Group*", lambda: self.unread("lists") == before + 1)
        self.wait_same()

    # What happens

    def nothing_happens(self):
        # Dovecot says that it is still here, every two minutes, at times of its own.
        for _ in range(2):
            before = self.awakenings()
            time.sleep(20)
            after = self.awakenings()
            if before == after:
                break
        assert before == after > 0, (before, after)

    def falls_silent(self):
        before, began, awake = self.unread("lists"), time.monotonic(), self.awakenings()
        self.router.forward(False)
        self.append("lists", "in silence")
        while not [fact for fact in self.emacs.facts() if fact == "state\toffline"]:
            # It may have ended meanwhile.
            now = self.awakenings()
            assert now <= awake, "it looks whether the line is dead: %d times" % (now - awake)
            assert time.monotonic() < began + NOTICED, "nobody notices"
            time.sleep(0.2)
        print("noticed after %.0f s" % (time.monotonic() - began))
        self.offline()
        assert self.unread("lists") == before
        self.router.forward(True)
        self.counts(before)

    def is_doubted(self):
        """Something else changes in the network, which is the time to ask."""
        before = self.unread("lists")
        self.router.forward(False)
        self.append("lists", "in doubt")
        self.client.ip("address add 10.78.3.1/32 dev client")
        self.emacs.wait_fact("state\toffline", DOUBTED + 20)
        self.offline()
        self.router.forward(True)
        self.client.ip("address del 10.78.3.1/32 dev client")
        self.counts(before)

    def lives(self):
        """A line that is asked and answers stays as it is."""
        self.emacs.forget()
        self.client.ip("address add 10.78.3.1/32 dev client")
        self.client.ip("address del 10.78.3.1/32 dev client")
        time.sleep(DOUBTED + 2)
        assert self.far_end() == "connected"
        assert not [fact for fact in self.emacs.facts() if fact.startswith("state")], self.emacs.facts()
        self.arrives("and lives", "lists")
        self.rest()

    def network_goes(self):
        """And while there is none, tries are ever fewer, but the first is made when it is there."""
        before = self.unread("lists")
        self.goes()
        self.append("lists", "without a network")
        self.emacs.wait_fact("state\toffline", DOUBTED + 20)
        self.offline("unreachable")
        planned = self.emacs.wait("a long wait", lambda: (lambda seconds: seconds > 8 and seconds)(self.next_try()), 60)
        self.comes_back()
        began = time.monotonic()
        self.wait_far_end("connected")
        took = time.monotonic() - began
        print("connected after %.1f s instead of %.1f" % (took, planned))
        assert took < planned - 1, took
        self.counts(before)

    def before_removal(self, good):
        for network in (getattr(self, "client", None), getattr(self, "router", None)):
            if network:
                network.end()

    def run(self):
        self.start()
        self.check("the server is watched, all is synced, and Gnus reads it", self.first_sync)
        self.check("while nothing happens nobody wakes up", self.nothing_happens)
        self.check("a line that falls silent is noticed, and made anew", self.falls_silent)
        self.check("one that lives stays when something else changes", self.lives)
        self.check("a dead one is noticed at once then", self.is_doubted)
        self.check("the network goes and comes back", self.network_goes)
