"""Who listens to the air: discovery sessions and advertisement monitors of each client on the bus.

Promises: an advert is heard exactly when a client has started discovery with a filter that lets it pass, or has
a monitor with a pattern in it; a client that leaves the bus listens no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from firmware_sim.devices.advert import Advert

MAX_CLIENTS = 64
MAX_MONITORS = 64
Pattern: TypeAlias = tuple[int, int, bytes]


@dataclass
class _Client:
    discovering: bool = False
    uuids: frozenset[str] = frozenset()
    weakest_dbm: int = -127
    roots: set[str] = field(default_factory=set[str])
    monitors: dict[str, tuple[Pattern, ...]] = field(default_factory=dict[str, tuple[Pattern, ...]])


class Scanners:
    """All clients that may listen."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}

    @property
    def discovering(self) -> bool:
        """Whether anybody scans actively."""
        return any(client.discovering for client in self._clients.values())

    def filter(self, client: str, uuids: Sequence[str], weakest_dbm: int) -> None:
        """Set what a client's discovery lets pass."""
        entry = self._of(client)
        entry.uuids, entry.weakest_dbm = frozenset(uuid.lower() for uuid in uuids), weakest_dbm

    def start(self, client: str) -> bool:
        """Start a client's discovery; False if it had started already."""
        entry = self._of(client)
        fresh, entry.discovering = not entry.discovering, True
        return fresh

    def stop(self, client: str) -> bool:
        """Stop a client's discovery; False if it had none."""
        entry = self._of(client)
        had, entry.discovering = entry.discovering, False
        return had

    def register(self, client: str, root: str) -> bool:
        """Expect monitors of a client below a path; False if it is expected already, or there are too many."""
        entry = self._of(client)
        if root in entry.roots or len(entry.roots) >= MAX_MONITORS:
            return False
        entry.roots.add(root)
        return True

    def unregister(self, client: str, root: str) -> bool:
        """Forget the monitors below a path; False if none were expected."""
        entry = self._of(client)
        if root not in entry.roots:
            return False
        entry.roots.discard(root)
        for path in [path for path in entry.monitors if _below(path, root)]:
            del entry.monitors[path]
        return True

    def watch(self, client: str, path: str, patterns: Sequence[Pattern]) -> bool:
        """Take a monitor that a client shows; False if nobody expects one there."""
        entry = self._clients.get(client)
        if entry is None or not any(_below(path, root) for root in entry.roots):
            return False
        entry.monitors[path] = tuple(patterns)
        return True

    def unwatch(self, client: str, path: str) -> None:
        """A client's monitor is gone."""
        if client in self._clients:
            self._clients[client].monitors.pop(path, None)

    def left(self, client: str) -> None:
        """The client is off the bus."""
        self._clients.pop(client, None)

    def hear(self, advert: Advert, rssi_dbm: int) -> bool:
        """Whether anybody hears this advert at this strength."""
        return any(_hears(client, advert, rssi_dbm) for client in self._clients.values())

    def counts(self) -> Mapping[str, int]:
        """How many listen in which way."""
        return {
            "discovering": sum(client.discovering for client in self._clients.values()),
            "monitors": sum(len(client.monitors) for client in self._clients.values()),
        }

    def _of(self, client: str) -> _Client:
        if client not in self._clients and len(self._clients) >= MAX_CLIENTS:
            self._clients.pop(next(iter(self._clients)))  # the oldest; a street has one or two readers
        return self._clients.setdefault(client, _Client())


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _hears(client: _Client, advert: Advert, rssi_dbm: int) -> bool:
    wanted = not client.uuids or not client.uuids.isdisjoint(advert.uuids)
    if client.discovering and rssi_dbm >= client.weakest_dbm and wanted:
        return True
    return any(advert.matches(*pattern) for patterns in client.monitors.values() for pattern in patterns)
