"""Handover: what goes on from one life of the node to the next in the same process: the configuration that the next
goes by, who is at the cabinet, devices that were just put up, and the socket of its pages: who comes between two lives
waits there.

Bounds: those of its parts; one socket.
"""

from __future__ import annotations

import socket

from edge.changes.births import Births
from edge.config import Config
from edge.visit.visiting import Visiting
from edge.web.listening import tcp


class Handover:
    """One for a process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.births = Births()
        self.visiting: Visiting | None = None
        self._listener: socket.socket | None = None
        self._listen = ""

    def listener(self) -> socket.socket:
        """On the address of the configuration; the socket of the life before, where that is the same.

        Raises:
            OSError: the address cannot be used.
        """
        listen = self.config.health.listen
        if self._listener is None or self._listen != listen:
            self.close()
            self._listener, self._listen = tcp(listen), listen
        return self._listener

    def close(self) -> None:
        """Nobody waits any more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
