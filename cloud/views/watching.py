"""Watching: whose devices somebody is looking at just now, so that their nodes push sooner (`live_s` in the ack).

Somebody looks for LIVE_S after having asked for a device's latest, and as long as a feed with `live=1` is open.
Bound: one entry a node.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic
from typing import Final

LIVE_S: Final = 30.0


class Watching:
    """On the event loop."""

    def __init__(self, monotonic_s: Callable[[], float] = monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._until_s: dict[str, float] = {}
        self._open: dict[str | None, int] = {}

    def look(self, node: str) -> None:
        """Somebody has asked for the latest of a device of this node."""
        self._until_s[node] = self._monotonic_s() + LIVE_S

    @contextmanager
    def open(self, nodes: frozenset[str]) -> Generator[None]:
        """A live feed of these nodes, or of all when there are none named, is open."""
        watched = nodes or {None}
        for node in watched:
            self._open[node] = self._open.get(node, 0) + 1
        try:
            yield
        finally:
            for node in watched:
                self._open[node] -= 1
                if not self._open[node]:
                    del self._open[node]

    def live_s(self, node: str) -> float:
        """How long the node should push sooner, from now."""
        watched = None in self._open or node in self._open
        return LIVE_S if watched or self._until_s.get(node, 0.0) > self._monotonic_s() else 0.0
