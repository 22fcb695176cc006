"""Watching: whose devices somebody is looking at just now, so that their nodes push sooner (`live_s` in the ack).

Somebody looks for LIVE_S after having asked for a device's latest, and as long as a feed with `live=1` of named nodes
is open: here, or in a process that only reads, which says what is looked at there. Nobody looks at all of the city.

Bound: MOST nodes here, and in each such process; those beyond are not asked to hurry.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from time import monotonic
from typing import Final

import msgspec

LIVE_S: Final = 30.0
MOST: Final = 500


class Looked(msgspec.Struct, frozen=True):
    """The nodes that are looked at."""

    nodes: frozenset[str] = frozenset()


class Watching:
    """On the event loop."""

    def __init__(
        self, monotonic_s: Callable[[], float] = monotonic, changed: Callable[[], object] = lambda: None
    ) -> None:
        """`changed` is called when others may be looked at than before."""
        self._monotonic_s = monotonic_s
        self._changed = changed
        self._elsewhere: dict[int, Looked] = {}
        self._until_s: dict[str, float] = {}
        self._open: dict[str, int] = {}

    def look(self, node: str) -> None:
        """Somebody has asked for the latest of a device of this node."""
        if self._room(node):
            self._until_s[node] = self._monotonic_s() + LIVE_S
            self._changed()

    @contextmanager
    def open(self, nodes: Iterable[str]) -> Generator[frozenset[str]]:
        """A live feed of these nodes is open; those that are asked to hurry."""
        watched: set[str] = set()
        for node in sorted(nodes):
            if self._room(node):
                self._open[node] = self._open.get(node, 0) + 1
                watched.add(node)
        self._changed()
        try:
            yield frozenset(watched)
        finally:
            for node in watched:
                self._open[node] -= 1
                if not self._open[node]:
                    del self._open[node]
            self._changed()

    def _room(self, node: str) -> bool:
        return node in (looked := self.looked.nodes) or len(looked) < MOST

    @property
    def looked(self) -> Looked:
        """What is looked at here now."""
        now_s = self._monotonic_s()
        self._until_s = {node: until_s for node, until_s in self._until_s.items() if until_s > now_s}
        return Looked(frozenset(self._open).union(self._until_s))

    def elsewhere(self, process: int, looked: Looked | None) -> None:
        """What is looked at in another process, None when it has ended."""
        if looked is None:
            self._elsewhere.pop(process, None)
        else:
            self._elsewhere[process] = looked

    def live_s(self, node: str) -> float:
        """How long the node should push sooner, from now."""
        watched = node in self._open or any(node in one.nodes for one in self._elsewhere.values())
        return LIVE_S if watched or self._until_s.get(node, 0.0) > self._monotonic_s() else 0.0
