"""A wire between node and cloud that can be cut without a word: bytes stop, no FIN, no RST (a half-open connection).

It runs in a thread of the test. `cut` freezes both directions of all connections and of those that come; `mend` makes
new connections work again; the frozen ones stay frozen for ever, as after a NAT box has rebooted.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable


class Relay:
    """One listening port, passed on to one target."""

    def __init__(self, target: tuple[str, int], seen: Callable[[bytes], None] = lambda _data: None) -> None:
        """`seen` is shown what goes to the target."""
        self._target, self._seen = target, seen
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._cut = False
        self._ended = False
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self._frozen: list[socket.socket] = []
        self._near: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """No byte passes any more."""
        with self._guard:
            self._cut = True
            self._frozen += [s for pair in self._open for s in pair]
            self._open.clear()

    def mend(self) -> None:
        """New connections work; what was frozen stays so."""
        with self._guard:
            self._cut = False

    def passed(self, data: bytes, *, up: bool) -> bytes:
        """What goes on of what has come; a subclass may damage it."""
        del up
        return data

    def close(self) -> None:
        """End it, with everything that was frozen."""
        self._ended = True
        self._thread.join()
        for sock in (self._listener, *self._frozen, *(s for pair in self._open for s in pair)):
            sock.close()

    def _run(self) -> None:
        while not self._ended:
            with self._guard:
                peers = {a: b for pair in self._open for a, b in (pair, pair[::-1])}
            ready, _, _ = select.select([self._listener, *peers], [], [], 0.02)
            for sock in ready:
                if sock is self._listener:
                    self._accept()
                else:
                    self._pass_on(sock, peers[sock])

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        with self._guard:
            if self._cut:
                self._frozen.append(near)
                return
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                return
            self._open.append((near, far))
            self._near.add(near)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with self._guard:
            if not any(source in pair for pair in self._open):
                return  # frozen meanwhile
        try:
            data = source.recv(65536)
            if data:
                if source in self._near:
                    self._seen(data)
                sink.sendall(self.passed(data, up=source in self._near))
                return
        except OSError:
            pass  # a reset is an end like any other: both sides are closed below
        with self._guard, contextlib.suppress(StopIteration):
            pair = next(p for p in self._open if source in p)
            self._open.remove(pair)
            for sock in pair:
                sock.close()
