"""Log in memory: a fake for tests. Unbounded, and gone with the process. It ends no alarms of lost cards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from cloud.log.batch_facts import BatchFacts
from cloud.log.contract import READ_BYTES, Reach, Record, Taken
from cloud.log.notices import Announcement, Finding, notice_of
from cloud.log.outline import UNKNOWN, Outline, of_batch, of_notice
from cloud.log.streams import LogPosition, Stream, begun, fits_nowhere_yet, origin
from cloud.memory.views import MemoryViews
from cloud.times import Now
from cloud.views.ledger import Neighbours, findings_of
from cloud.views.runs import broken_off
from wire.batch import Batch, Lane


class MemoryLog:
    """Keeps the records, and updates the views."""

    def __init__(self, views: MemoryViews, now: Now, generation: int = 1) -> None:
        self._views = views
        self._now = now
        self._generation = generation
        self._records: list[Record] = []
        self._outlines: list[Outline] = []
        self._streams: dict[tuple[str, int, Lane], Stream] = {}
        self._growth = asyncio.Event()

    @property
    def generation(self) -> int:
        """The one that was passed in."""
        return self._generation

    async def append(self, batch: Batch, facts: BatchFacts, body: bytes) -> Taken:
        """Compare and append."""
        key = (batch.node, batch.epoch, batch.lane)
        stream = self._streams.get(key)
        if not (fits_nowhere_yet(batch) if stream is None else stream.fits(batch)):
            return Taken(origin(batch.epoch, batch.lane) if stream is None else stream.place, None)
        now_us = self._now()
        position = len(self._records) + 1
        newest: list[Stream] = []
        if stream is None:
            stream = self._streams[key] = begun(batch, position, now_us)
            newest = [s for s in self._streams.values() if s.node == batch.node]
        neighbours = self._around(stream)
        known = neighbours.forks(stream)
        stream.advance(batch, facts, now_us, position - 1)
        self._records.append(Record(position, now_us, False, body))
        self._outlines.append(Outline(batch.node, of_batch(batch, facts, now_us, new_devices=True)))
        findings = list(await self._views.apply(position, now_us, batch, facts))
        await self.note(findings + findings_of(stream, neighbours, known, broken_off(newest, stream), now_us))
        return Taken(stream.place, position)

    def _around(self, stream: Stream) -> Neighbours:
        own = [s for s in self._streams.values() if (s.node, s.lane) == (stream.node, stream.lane)]
        at = own.index(stream)
        before, after = ([s for s in part if s.to_us is not None] for part in (own[:at], own[at + 1 :]))
        return Neighbours(before[-1] if before else None, after[0] if after else None)

    async def note(self, said: Sequence[Finding | Announcement]) -> None:
        """Keep notices."""
        for each in said:
            position = len(self._records) + 1
            notice = notice_of(each, self._generation, position)
            self._records.append(Record(position, each.time_us, True, msgspec.json.encode(notice)))
            self._outlines.append(Outline(each.node, of_notice(notice)))
        growth, self._growth = self._growth, asyncio.Event()
        growth.set()

    async def place(self, node: str, epoch: int, lane: Lane) -> LogPosition:
        """Where it stands."""
        stream = self._streams.get((node, epoch, lane))
        return origin(epoch, lane) if stream is None else stream.place

    async def read(self, after: int, limit: int, limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """The records after a position."""
        records: list[Record] = []
        for record in self._records[after : after + limit]:
            limit_bytes -= len(record.body)
            if records and limit_bytes < 0:
                break
            records.append(record)
        return records

    async def pick(self, positions: Sequence[int], limit_bytes: int = READ_BYTES) -> Sequence[Record]:
        """Single records."""
        records: list[Record] = []
        for position in sorted(set(positions)):
            for record in self._records[position - 1 : position]:
                limit_bytes -= len(record.body)
                if not records or limit_bytes >= 0:
                    records.append(record)
        return records

    async def outlines(self, after: int, through: int) -> Sequence[Outline]:
        """What they hold."""
        found = self._outlines[after:through]
        return [*found, *[UNKNOWN] * (through - after - len(found))]

    def reach(self) -> Reach:
        """All of them."""
        return Reach(0, len(self._records))

    async def grown(self, beyond: int) -> None:
        """Wait."""
        while len(self._records) <= beyond:
            await self._growth.wait()
