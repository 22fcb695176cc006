"""The outbox in lists, for tests: the rule of `edge.outbox.contract` in the fewest words, one row an entry of append.

It passes the same conformance suite as the one on a card, keeps everything, and forgets it when the process ends.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

import msgspec

from drivers.contract import RECENT, Receipt
from edge.outbox.contract import NOTHING, Cut, Depth, PositionQuery, SetAside
from edge.outbox.generations import GenerationCheck, Generations
from wire.batch import ORIGIN, Ack, Batch, Lane, Predecessor, advance
from wire.codec import encode_row
from wire.columns import Columns
from wire.contents import Contents, join
from wire.entries import Entry, Gap
from wire.sample import Sample
from wire.time import Utc

MAX_ROWS = 512  # in the quarantine


class _Row(msgspec.Struct):
    first: int
    last: int
    digest: bytes
    contents: Contents
    size: int


class _Run(msgspec.Struct):
    lane: Lane
    epoch: int
    rows: list[_Row] = []
    acked: int = 0
    told: bytes = ORIGIN
    ask: bool = True
    closed: bool = False

    @property
    def head(self) -> int:
        return self.rows[-1].last if self.rows else 0

    @property
    def digest(self) -> bytes:
        return self.rows[-1].digest if self.rows else ORIGIN

    def place(self, seq: int) -> bytes | None:
        return ORIGIN if seq == 0 else next((r.digest for r in self.rows if r.last == seq), None)

    def add(self, contents: Contents) -> None:
        body = encode_row(contents)
        row = _Row(self.head + 1, self.head + contents.width, advance(self.digest, body), contents, len(body))
        self.rows.append(row)


class MemoryOutbox:
    """See `edge.outbox.contract.Outbox`."""

    def __init__(self, *, node: str, epoch: Callable[[], int] = lambda: secrets.randbits(63)) -> None:
        self._node, self._epoch = node, epoch
        first = epoch()
        self._runs = [_Run(lane, first) for lane in Lane]
        self.generations = Generations()
        self._receipts: list[Receipt] = []
        self._kept: dict[str, bytes] = {}
        self._aside: list[tuple[SetAside, Contents]] = []
        self._drawn = 0

    async def append(
        self,
        lanes: Mapping[Lane, Sequence[Entry | Sample]],
        receipts: Sequence[Receipt] = (),
        kept: Mapping[str, bytes | None] = NOTHING,
    ) -> None:
        """See `Outbox.append`."""
        for lane, entries in lanes.items():
            if entries:
                next(r for r in reversed(self._runs) if r.lane is lane and not r.closed).add(Contents.of(entries))
        self._receipts += receipts
        for key, value in kept.items():
            self._kept.pop(key, None)
            if value is not None:
                self._kept[key] = value

    async def cut(self, lane: Lane, limit_bytes: int) -> Cut | PositionQuery | None:
        """See `Outbox.cut`."""
        for run in (r for r in self._runs if r.lane is lane):
            if run.ask:
                return PositionQuery(run.epoch, lane)
            waiting = [r for r in run.rows if r.last > run.acked]
            if waiting:
                taken = [waiting[0]]
                for row in waiting[1:]:
                    if sum(r.size for r in taken) + row.size > limit_bytes:
                        break
                    taken.append(row)
                entries = join([(r.first - run.acked - 1, r.contents) for r in taken])
                return Cut(self._batch(run, taken[-1], entries), len(taken), sum(r.size for r in taken))
        return None

    def _batch(self, run: _Run, last: _Row, entries: Contents) -> Batch:
        return Batch(
            node=self._node,
            epoch=run.epoch,
            lane=run.lane,
            first_seq=run.acked + 1,
            through_seq=last.last,
            prev=run.told,
            digest=last.digest,
            held_from=1,
            head_seq=run.head,
            entries=entries,
            predecessor=msgspec.UNSET if run.acked else self._predecessor(run),
        )

    def _predecessor(self, run: _Run) -> Predecessor | None:
        before = [r for r in self._runs[: self._runs.index(run)] if r.lane is run.lane and r.head]
        return Predecessor(before[-1].epoch, before[-1].head, before[-1].digest) if before else None

    async def confirm(self, ack: Ack) -> bool:
        """See `Outbox.confirm`."""
        heard = self.generations.hear(ack.generation, Utc(0))
        if heard is GenerationCheck.IGNORED:
            return False
        if heard is GenerationCheck.NEWER:
            for other in self._runs:
                other.ask = True
        run = next((r for r in self._runs if (r.epoch, r.lane) == (ack.epoch, ack.lane)), None)
        if run is None:
            return False
        if heard is GenerationCheck.DOUBTED:
            run.ask = True
            return False
        run.ask = False
        if run.closed and ack.through_seq >= run.head:
            run.acked = run.head
            return False
        if run.place(ack.through_seq) == ack.digest:
            run.acked, run.told = ack.through_seq, ack.digest
            return False
        keep = min(ack.through_seq, run.acked)
        new = _Run(run.lane, self._epoch(), ask=False)
        for row in (r for r in run.rows if r.last > keep):
            new.add(row.contents)
        run.rows = [r for r in run.rows if r.last <= keep]
        run.acked, run.closed = run.head, True
        self._runs.append(new)
        return True

    async def quarantine(self, batch: Batch, reason: str) -> bool:
        """See `Outbox.quarantine`."""
        run = next(r for r in self._runs if (r.epoch, r.lane) == (batch.epoch, batch.lane))
        at = next(i for i, r in enumerate(run.rows) if r.first == batch.first_seq)
        end = next(i for i, r in enumerate(run.rows) if r.last == batch.through_seq)
        width = batch.through_seq - batch.first_seq + 1
        if len(self._aside) + end + 1 - at > MAX_ROWS:
            return False
        reason = f"set aside by the node: {reason}"
        for old in run.rows[at : end + 1]:
            self._drawn += 1
            told = SetAside(
                id=self._drawn, lane=run.lane, through_seq=old.last, bytes=old.size, reason=reason, aside_us=None,
                sendable=True,
            )  # fmt: skip
            self._aside.append((told, old.contents))
        gap = Gap(reason=reason, lost=width, seqs=width)
        row = _Row(batch.first_seq, batch.through_seq, run.rows[end].digest, Contents.of([gap]), 0)
        run.rows[at : end + 1] = [row]
        return True

    async def set_aside(self) -> Sequence[SetAside]:
        """See `Outbox.set_aside`."""
        return [told for told, _ in self._aside]

    async def send_again(self, ids: Collection[int] | None = None) -> tuple[int, int]:
        """See `Outbox.send_again`."""
        sent = [each for each in self._aside if ids is None or each[0].id in ids]
        for told, contents in sent:
            next(r for r in reversed(self._runs) if r.lane is told.lane and not r.closed).add(contents)
        self._aside = [each for each in self._aside if each not in sent]
        return len(sent), 0

    async def depth(self) -> Depth:
        """See `Outbox.depth`."""
        pending = {lane: sum(r.head - r.acked for r in self._runs if r.lane is lane) for lane in Lane}
        waiting = [
            min(p.entry.times)
            for run in self._runs
            for row in run.rows
            if row.last > run.acked
            for p in row.contents
            if isinstance(p.entry, Columns)
        ]
        used = sum(r.size for run in self._runs for r in run.rows)
        return Depth(
            pending=pending,
            oldest_us=min(waiting, default=None),
            used_bytes=used,
            limit_bytes=2**63,
            quarantined=len(self._aside),
        )

    async def kept(self, prefix: str) -> Mapping[str, bytes]:
        """See `Outbox.kept`."""
        return {k: v for k, v in self._kept.items() if k.startswith(prefix)}

    async def keep(self, values: Mapping[str, bytes | None]) -> None:
        """See `drivers.contract.Keeps.keep`."""
        await self.append({}, (), values)

    async def recent(self, source: str) -> Sequence[bytes]:
        """See `Outbox.recent`."""
        return [r.key for r in self._receipts if r.source == source][-RECENT:]

    def safe(self) -> asyncio.Future[None] | None:
        """See `Outbox.safe`. For tests it counts as durable."""
        return None

    async def history(self, from_us: Utc, to_us: Utc, device: str | None = None) -> AsyncIterator[Columns]:
        """See `Outbox.history`."""
        for run in self._runs:
            for row in run.rows:
                for item in row.contents:
                    entry = item.entry
                    if (
                        isinstance(entry, Columns)
                        and device in (None, entry.device)
                        and max(entry.times) >= from_us
                        and min(entry.times) <= to_us
                    ):
                        yield entry
