"""Shares: how much of the aggregator one token may have at a time, so that it cannot take what is for all.

Bounds: `Most.requests` requests in hand of one token, NODE_REQUESTS of a node's; ALL_REQUESTS of all nodes and as many
of all others, so that neither keeps the other out; `Most.feeds` feeds of one token. AT_ONCE questions of one token are
looked up at a time, the others wait: a reader with long ones leaves a thread of the store's readers to the rest. What
lasts (feeds, downlinks) is no request in hand. Beyond a bound the answer is 429 and names it, 503 where it is the bound
of all. On the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import msgspec

from cloud.problem import too_many, unavailable
from cloud.records.tokens import Grant

ALL_REQUESTS: Final = 2_048
NODE_REQUESTS: Final = 16
AT_ONCE: Final = 3  # of `cloud.sqlite.readers.THREADS`


class Most(msgspec.Struct, frozen=True, kw_only=True):
    """What of it the command line says."""

    feeds: int = 100
    requests: int = 64


class Shares:
    """Of one application."""

    def __init__(self, most: Most | None = None) -> None:
        self._most = most or Most()
        self._of_token: Counter[str] = Counter()
        self._nodes = self._others = 0
        self._feeds: Counter[str] = Counter()
        self._asking: dict[str, asyncio.Semaphore] = {}

    @contextmanager
    def request(self, grant: Grant) -> Generator[None]:
        """Count a request for as long as it is in hand.

        Raises:
            Problem: there are too many of this token, or of all.
        """
        node = grant.role == "node"
        most = NODE_REQUESTS if node else self._most.requests
        if (count := self._of_token[grant.id]) >= most:
            raise too_many(f"{count} requests of this token are in hand; at most {most} are taken")
        if (count := self._nodes if node else self._others) >= ALL_REQUESTS:
            raise unavailable(f"{count} requests are in hand")
        self._of_token[grant.id] += 1
        self._add(node, 1)
        try:
            yield
        finally:
            self._add(node, -1)
            _less(self._of_token, grant.id)

    @asynccontextmanager
    async def question(self, grant: Grant) -> AsyncGenerator[None]:
        """Wait until it is the turn of one more question of this token. Within `request`, which bounds who waits."""
        turn = self._asking.get(grant.id)
        if turn is None:
            turn = self._asking[grant.id] = asyncio.Semaphore(AT_ONCE)
        try:
            async with turn:
                yield
        finally:
            if self._of_token[grant.id] <= 1:  # it is the last that is in hand
                self._asking.pop(grant.id, None)

    @contextmanager
    def feed(self, grant: Grant) -> Generator[None]:
        """Count a feed for as long as it is open.

        Raises:
            Problem: this token has too many.
        """
        if (count := self._feeds[grant.id]) >= self._most.feeds:
            raise too_many(
                f"{count} feeds of this token are open; at most {self._most.feeds} (--token-feeds): close one, or use a"
                " token of its own for each reader",
                30,
            )
        self._feeds[grant.id] += 1
        try:
            yield
        finally:
            _less(self._feeds, grant.id)

    def _add(self, node: bool, count: int) -> None:
        if node:
            self._nodes += count
        else:
            self._others += count


def _less(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
