"""Subscriptions: what one line asks its broker for, and what it once asked for and wants no more.

A persistent session keeps subscriptions until they are taken back. So the node remembers what it has subscribed to
under a client id at a broker, before it does so, and takes back what is no longer wanted when it connects the next
time: a topic that was edited, or a device that is gone. What a broker refuses is told; where it was a wildcard that
covered others, those are asked for by themselves.

Bounds: MAX_FILTERS filters and MAX_BYTES are remembered, the latest; a card that does not answer within KEEP_S is not
waited for, nor one that refuses: the line works, and old subscriptions may be left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import chain
from typing import Final, Protocol

import msgspec

from drivers.contract import Keeps
from drivers.errors import NotStored
from drivers.mqtt.topics import MAX_FILTERS, Subscription, plan

KEEP_S: Final = 5.0
MAX_BYTES: Final = 1 << 20
AT_ONCE: Final = 10  # requests that wait for their answers

_log = logging.getLogger(__name__)


class Session(Protocol):
    """As much of a session as is used here."""

    async def subscribe(self, topics: Sequence[str], identifier: int = 0) -> list[str]:
        """Subscribe; returns the topics that the broker refused."""
        ...

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Take subscriptions back."""
        ...


class Subscriptions:
    """Those of one client id at one broker; `keeps` is None where nothing is remembered over a restart."""

    def __init__(self, filters: Sequence[str], key: str, keeps: Keeps | None) -> None:
        self._filters = list(dict.fromkeys(filters))
        self._key = key
        self._keeps = keeps
        self._had: list[str] | None = None  # None: nobody knows
        self._planned: tuple[tuple[Sequence[str], Sequence[str]], list[Subscription]] | None = None
        self.refused: list[str] = []
        self.earlier: list[Subscription] = []  # by which the broker may have queued what comes first

    async def remember(self) -> None:
        """Read what was subscribed to when the node last ran. Once, before the first connection."""
        if self._keeps is None:
            return
        try:
            async with asyncio.timeout(KEEP_S):
                found = (await self._keeps.kept(self._key)).get(self._key)
            self._had = None if found is None else msgspec.msgpack.decode(found, type=list[str])
            self.earlier = plan(self._had or ())
        except (NotStored, TimeoutError, msgspec.DecodeError) as error:
            _log.warning("what was subscribed to earlier cannot be read, and may be left at the broker: %s", error)

    def plan(self, resumed: bool) -> list[Subscription]:
        """What this connection comes by, and will; `resumed` says whether the broker has kept the session."""
        return self._plan(self._before(resumed), ())

    async def settle(self, session: Session, resumed: bool) -> list[Subscription]:
        """Ask for what is wanted, and take back what is not. Returns what the broker then has.

        Raises:
            drivers.errors.Unreachable.
        """
        before, refused, asked = self._before(resumed), list[str](), set[Subscription]()
        wanted = self._plan(before, refused)
        await self._keep([*before, *(s.filter for s in wanted if s.filter not in set(before))])
        while new := [s for s in wanted if s not in asked]:
            asked.update(new)
            refused += await session.subscribe([s.filter for s in new if not s.identifier])
            apart = [s for s in new if s.identifier]  # an identifier is that of a whole request
            for i in range(0, len(apart), AT_ONCE):
                asking = (session.subscribe([s.filter], s.identifier) for s in apart[i : i + AT_ONCE])
                refused += chain.from_iterable(await asyncio.gather(*asking))
            wanted = self._plan(before, refused)
        left = {s.filter for s in wanted}
        if stale := [f for f in before if f not in left]:
            await session.unsubscribe(stale)
        await self._keep([s.filter for s in wanted])
        self.refused = refused
        return wanted

    def _before(self, resumed: bool) -> list[str]:
        if not resumed:
            return []
        return self._filters if self._had is None else self._had  # an older version asked for each and remembered none

    def _plan(self, before: Sequence[str], refused: Sequence[str]) -> list[Subscription]:
        asked = (list(before), list(refused))
        if self._planned is None or self._planned[0] != asked:
            no = set(refused)
            self._planned = asked, plan([f for f in self._filters if f not in no], before)
        return self._planned[1]

    async def _keep(self, filters: Sequence[str]) -> None:
        filters = filters[-MAX_FILTERS:]
        if filters == self._had:
            return
        self._had = list(filters)
        body = msgspec.msgpack.encode(filters)
        if self._keeps is None:
            return
        try:
            if len(body) > MAX_BYTES:
                raise NotStored(f"the topics have {len(body)} bytes")  # noqa: TRY301
            async with asyncio.timeout(KEEP_S):
                await self._keeps.keep({self._key: body})
        except (NotStored, TimeoutError) as error:
            _log.warning("what is subscribed to is not remembered, and may be left at the broker: %s", error)
