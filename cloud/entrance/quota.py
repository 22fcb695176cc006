"""Quota: how much one node may bring in a day, so that a mistaken or hostile one fills neither disk nor processor.

Four things are counted for each node: the bytes that are kept of what it sends, readings, requests, and the processor
time that opening its bodies takes. What it does not use is saved up, as far as one day's worth: a node that was away
brings its backlog as fast as it can. What is used is known only once a body is open, so a node may go beyond its quota
by the bodies that it has in hand; then it is answered 429 with Retry-After until there is something again. Nothing is
lost by that: it keeps what is not taken. Asking for its place and opening its downlink count as requests, and are
refused only for want of those.

A day of a node with 60 devices and 100 readings a second is 8.6 million readings, 2.3 MB in 88 bodies and 0.4 s of
processor time (docs/performance.md): the quota has room for a hundred of them.

Bounds: one entry a node, and nodes have tokens. On the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from cloud.problem import too_many

LOG: Final = logging.getLogger("lamplighter.cloud")

DAY_S: Final = 86_400.0
OVER_S: Final = 600.0  # a node counts as over its quota for so long after it was refused
LEAST_WAIT_S: Final = 60
MOST_WAIT_S: Final = 3_600


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has used, or may use in a day."""

    size_bytes: float = 0
    readings: float = 0
    requests: float = 0
    work_s: float = 0


A_DAY: Final = Used(size_bytes=512 << 20, readings=1_000_000_000, requests=400_000, work_s=120)
_ONE: Final = Used(requests=1)
_WORDS: Final[Mapping[str, str]] = {
    "size_bytes": "bytes",
    "readings": "readings",
    "requests": "requests",
    "work_s": "seconds of processor time",
}


class Over(msgspec.Struct, frozen=True):
    """A node that was refused: what it has used up, and its quota of that for a day."""

    what: str
    a_day: float


class _Account:
    __slots__ = ("left", "over", "refused_s", "since_s")

    def __init__(self, left: list[float], since_s: float) -> None:
        self.left = left
        self.since_s = since_s
        self.refused_s = float("-inf")
        self.over: Over | None = None


class Quota:
    """Of all nodes."""

    def __init__(self, clock: Callable[[], float], a_day: Used = A_DAY) -> None:
        """`clock` counts seconds and is never set back."""
        self._clock = clock
        self._names = a_day.__struct_fields__
        self._a_day: list[float] = [getattr(a_day, name) for name in self._names]
        self._accounts: dict[str, _Account] = {}
        self.refused = 0

    def check(self, node: str) -> None:
        """Pass, and count a request, while a node has something left of everything.

        Raises:
            Problem: it has not.
        """
        self._pass(node, self._names)

    def asks(self, node: str) -> None:
        """The same for a request that brings nothing, which needs only requests left: a node that sends too much must
        still hear where it stands, and get the orders and bundles that mend it.

        Raises:
            Problem: it has none left.
        """
        self._pass(node, ("requests",))

    def _pass(self, node: str, needs: Sequence[str]) -> None:
        account = self._account(node)
        for name, left, a_day in zip(self._names, account.left, self._a_day, strict=True):
            if left > 0 or name not in needs:
                continue
            what = _WORDS[name]
            if self._clock() - account.refused_s >= OVER_S:
                LOG.warning("node %s has used up its quota of %.0f %s a day; it is refused for now", node, a_day, what)
            account.over, account.refused_s = Over(what, a_day), self._clock()
            self.refused += 1
            wait_s = min(MOST_WAIT_S, max(LEAST_WAIT_S, round(-left / a_day * DAY_S)))
            raise too_many(f"node {node} has used up its quota of {a_day:,.0f} {what} a day", wait_s)
        self.use(node, _ONE)

    def use(self, node: str, used: Used) -> None:
        """Count what a node has used."""
        account = self._account(node)
        account.left = [left - getattr(used, n) for n, left in zip(self._names, account.left, strict=True)]

    def over(self) -> dict[str, Over]:
        """The nodes that were refused lately, and why."""
        since_s = self._clock() - OVER_S
        return {n: a.over for n, a in self._accounts.items() if a.over is not None and a.refused_s >= since_s}

    def _account(self, node: str) -> _Account:
        now_s = self._clock()
        account = self._accounts.get(node)
        if account is None:
            account = self._accounts[node] = _Account(list(self._a_day), now_s)
        part = (now_s - account.since_s) / DAY_S
        if part > 0:
            account.left = [min(most, left + most * part) for left, most in zip(account.left, self._a_day, strict=True)]
            account.since_s = now_s
        return account
