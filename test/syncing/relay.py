"""A relay between a syncer and its server, which can be told to misbehave."""
import socket
import threading
import time


# What keeps the ports of `free_port', for as long as we run.
kept = []


def free_port():
    """A port where nobody listens, and nobody else will, even while its server is away.

    A socket that does not listen keeps it; servers can listen there, since they say SO_REUSEADDR, too.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    kept.append(keeper)
    return keeper.getsockname()[1]


class Relay:
    """Between syncer and server.

    mode: pass, refuse, silent, cut (after `budget` bytes of each connection), or hold (what the server
    says after so many bytes waits for another mode; `held` tells that it does).
    """

    def __init__(self, real, host="127.0.0.1"):
        self.host = host
        self.real, self.mode, self.budget = real, "pass", 0
        self.held, self.go_on = threading.Event(), threading.Event()
        self.port, self.listener, self.open = free_port(), None, set()
        # When somebody came, and whether the server was there.
        self.tries = []
        self.set("pass")

    def set(self, mode, budget=0):
        self.mode, self.budget = mode, budget
        self.go_on.set()
        if mode == "hold":
            self.held, self.go_on = threading.Event(), threading.Event()
        if mode == "refuse":
            if self.listener:
                # Wakes the thread in accept, too.
                self.listener.shutdown(socket.SHUT_RDWR)
                self.listener.close()
                self.listener = None
        elif self.listener is None:
            self.listener = socket.create_server((self.host, self.port), backlog=50)
            threading.Thread(target=self.serve, args=(self.listener,), daemon=True).start()
        if mode not in ("pass", "hold"):
            ends, self.open = self.open, set()
            for end in ends:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def serve(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if self.mode == "silent":
                self.open.add(near)
                continue
            came = time.monotonic()
            try:
                far = socket.create_connection((self.host, self.real))
            except OSError:
                # The server is not there.
                self.tries.append((came, False))
                near.close()
                continue
            self.tries.append((came, True))
            self.open |= {near, far}
            threading.Thread(target=self.connect, args=(near, far, self.mode == "cut"), daemon=True).start()

    def connect(self, near, far, counts):
        """Both directions of a connection, until it ends."""
        there = threading.Thread(target=self.pump, args=(near, far, False), daemon=True)
        there.start()
        self.pump(far, near, counts)
        there.join()
        for end in (near, far):
            self.open.discard(end)
            end.close()

    def pump(self, source, sink, counts):
        left = self.budget
        try:
            while data := source.recv(65536):
                if counts:
                    left -= len(data)
                    if left < 0:
                        break
                if self.mode == "hold" and self.real == source.getpeername()[1]:
                    sink.sendall(data[:self.budget])
                    data, self.budget = data[self.budget:], max(self.budget - len(data), 0)
                    if not self.budget:
                        self.held.set()
                        self.go_on.wait()
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
