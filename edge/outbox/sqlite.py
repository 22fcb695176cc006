"""The outbox on a card: its verbs, one at a time; the card itself is `edge/outbox/card.py`.

One writer connection and its thread; history is read on a connection of its own, `PAGE_ROWS` rows a transaction, so
that no reader keeps the write-ahead log from being folded back.

Whatever SQLite or the disk refuses is NotStored, and leaves everything as it was. What the cloud has acked is written
down with the next commit and not by itself (the card wears); after a power cut the node asks the cloud for its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import CoroutineType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import msgspec

from drivers.contract import Receipt
from drivers.errors import NotStored
from edge.clock import utc_us
from edge.outbox.acks import Acks
from edge.outbox.adoption import adopt
from edge.outbox.card import Card, row_id
from edge.outbox.card_lock import HolderDying
from edge.outbox.contract import NOTHING, Cut, Depth, PositionQuery, SetAside
from edge.outbox.cutting import Cutter
from edge.outbox.forks import Forks
from edge.outbox.generations import Generations
from edge.outbox.joiner import Opener
from edge.outbox.quarantine import Quarantine
from edge.outbox.reading import HISTORY, PAGE_ROWS, columns_of, read_rows
from edge.outbox.records import is_damage, whole
from edge.outbox.retention import Retention
from edge.outbox.sealing import Sealed, seal
from edge.outbox.state import State
from wire import codec
from wire.batch import Ack, Batch, Lane, advance
from wire.columns import Columns
from wire.entries import Entry, Health
from wire.errors import BadInput
from wire.sample import Sample
from wire.time import Micros, Utc

log = logging.getLogger(__name__)

NEWEST_ROWS: Final = 64
MAX_RESCUES: Final = 4  # new files in one life of the process; a card that damages more is no card


def _new_epoch() -> int:
    return secrets.randbits(63)


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _whole(
    verb: Callable[Concatenate[SqliteOutbox, _P], CoroutineType[Any, Any, _T]],
) -> Callable[Concatenate[SqliteOutbox, _P], CoroutineType[Any, Any, _T]]:
    """A verb that goes on to its end when its caller is cancelled: a commit under way cannot be half believed."""

    async def told(self: SqliteOutbox, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        began = self.card.rescues
        try:
            self.check_usable()
            try:
                return await verb(self, *args, **kwargs)
            except (sqlite3.Error, MemoryError) as error:
                if not is_damage(error):
                    raise
                await self.rescue(error, began)
                return await verb(self, *args, **kwargs)
        except (sqlite3.Error, OSError, MemoryError) as error:
            raise NotStored(f"the card refuses: {error}") from error

    @wraps(verb)
    async def shielded(self: SqliteOutbox, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        task = asyncio.ensure_future(told(self, *args, **kwargs))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        return await asyncio.shield(task)

    return shielded


class SqliteOutbox:
    """See `edge.outbox.contract.Outbox`. Open it with `async with`."""

    def __init__(
        self,
        directory: Path,
        *,
        node: str,
        limit_bytes: int,
        history_us: Micros = Micros(7 * 86_400_000_000),
        epoch: Callable[[], int] = _new_epoch,
        now_us: Callable[[], Utc] = utc_us,
        memory: bool = False,
        seed: bool = False,
        busy: Callable[[], None] = lambda: None,
    ) -> None:
        """See `edge.outbox.card.Card`."""
        self.card = Card(directory, limit_bytes=limit_bytes, epoch=epoch, memory=memory, seed=seed, busy=busy)
        self.room = Retention(self.card, history_us=history_us, now_us=now_us)
        self.opener = Opener()
        self.generations = Generations()
        self.aside = Quarantine(self.card, now_us=now_us)
        self.state = State(self.card)
        self.forks = Forks(self.card, epoch)
        self._cutter = Cutter(self.card, node)
        # Called when a new run has begun: the old one may have lost some.
        self.renewed: Callable[[], None] = lambda: None
        self.acks = Acks(
            self.card,
            self.forks,
            self.generations,
            now_us=now_us,
            renewed=lambda: self.renewed(),  # noqa: PLW0108 - it is set later
        )
        self._busy = asyncio.Lock()  # one write transaction at a time
        self.under_way: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        """Open or create it. On a disk that is full the reserve is taken, and history goes.

        Raises:
            edge.card_lock.InUse: another process has it. sqlite3.Error, OSError: the card takes nothing.
        """
        try:
            await self.card.open()
        except (sqlite3.Error, OSError) as error:
            if self.card.memory or isinstance(error, HolderDying):
                raise
            log.warning("the card does not open (%s): giving it the reserve and trying once more", error)
            await self.room.give_up_reserve()
            await self.card.open()
        if not self.card.memory:
            try:
                await self._touch()
            except BaseException:
                await self.card.close()
                raise
        await self.room.hold_reserve()
        await self.aside.open()
        return self

    async def _touch(self) -> None:
        try:
            await self.card.touch()
        except sqlite3.Error as error:
            log.warning("the card takes nothing (%s): making room and trying once more", error)
            await self.room.emergency(0, urgent=True)
            await self.card.touch()

    async def __aexit__(self, *exc: object) -> None:
        """Write down what was acked and close."""
        await self.opener.close()
        async with self._busy:
            await self.card.close()
        self.acks.close()

    def check_usable(self) -> None:
        """Raise OSError while there is no file that could be used: a new one could not be made."""
        if not self.card.db.usable:
            raise OSError("the outbox was damaged, and no new one could be made")

    async def rescue(self, error: BaseException, began: int) -> None:
        """The file is damaged: go on with a new one, unless that has been done since `began` rescues.

        Raises:
            sqlite3.Error, OSError: there is none, and the error stands.
        """
        async with self._busy:
            if self.card.rescues != began:
                return
            if self.card.memory or began >= MAX_RESCUES:
                raise error
            await self.card.rescue(error)
            await self.aside.open()
        self.renewed()

    # ---- append ------------------------------------------------------------------------------------------------

    @_whole
    async def append(
        self,
        lanes: Mapping[Lane, Sequence[Entry | Sample]],
        receipts: Sequence[Receipt] = (),
        kept: Mapping[str, bytes | None] = NOTHING,
    ) -> None:
        """See `Outbox.append`."""
        sealed = [(lane, row) for lane, entries in lanes.items() if entries for row in seal(entries)]
        if not sealed and not receipts and not kept:
            return
        urgent = not lanes.get(Lane.BULK) and any(not isinstance(e, Health) for e in lanes.get(Lane.URGENT, ()))
        async with self._busy:
            coming = sum(len(row.body) for _, row in sealed)
            try:
                await self.room.make(coming, urgent=urgent)
                await self.card.write(lambda: self._insert(sealed, receipts, kept))
            except sqlite3.Error as error:
                if is_damage(error):
                    raise
                log.warning("the card refuses (%s): making room and trying once more", error)
                await self.room.emergency(coming, urgent=urgent)
                await self.card.write(lambda: self._insert(sealed, receipts, kept))
            await self.room.hold_reserve()

    async def _insert(
        self, sealed: Sequence[tuple[Lane, Sealed]], receipts: Sequence[Receipt], kept: Mapping[str, bytes | None]
    ) -> None:
        for lane, row in sealed:
            await self._insert_row(lane, row)
        await self.state.save(receipts, kept)
        await self.card.runs.save()

    async def _insert_row(self, lane: Lane, row: Sealed) -> None:
        run = self.card.runs.open(lane)
        await self.card.runs.written_on(run)
        digest = advance(run.head_digest, row.body)
        await self.card.put_row(
            row_id(run, run.head + row.width), run.head + 1, row.from_us, row.to_us, digest, row.body
        )
        run.head, run.head_digest = run.head + row.width, digest

    # ---- up ----------------------------------------------------------------------------------------------------

    @_whole
    async def cut(self, lane: Lane, limit_bytes: int) -> Cut | PositionQuery | None:
        """See `Outbox.cut`. The oldest run goes first."""
        while True:
            async with self._busy:
                await self.forks.finish()
                run = next((r for r in self.card.runs if r.lane is lane and (r.ask or r.pending > 0)), None)
                if run is None:
                    return None
                if run.ask:
                    return PositionQuery(run.epoch, lane)
                if run.acked + 1 < run.held_from:
                    return self._cutter.gap_before(run)
                rows, damage = await self._cutter.rows(run, limit_bytes)
                if rows and rows[0].first_seq <= run.acked:
                    return self._cutter.hole(run, rows[0])
                head = self._cutter.batch(run)
                # Before the lock is let go: a commit that makes room meanwhile must leave these rows alone.
                run.sent = max(run.sent, rows[-1].last_seq if rows else 0)
            if damage is not None:
                async with self._busy:
                    await self.aside.damaged(run, run.acked + 1, damage, "it is not as it was written")
                continue
            # Opening and joining takes a while for a large body: meanwhile polls, commits and health go on.
            placed, taken, unread = await self.opener.open(run.acked, rows)
            if taken:
                last = rows[taken - 1]
                batch = msgspec.structs.replace(head, through_seq=last.last_seq, digest=last.digest, entries=placed)
                return Cut(batch, taken, sum(len(row.body) for row in rows[:taken]))
            async with self._busy:
                await self.aside.damaged(run, rows[0].first_seq, rows[0].last_seq, unread)

    @_whole
    async def confirm(self, ack: Ack) -> bool:
        """See `Outbox.confirm`."""
        async with self._busy:
            return await self.acks.take(ack)

    def safe(self) -> asyncio.Future[None] | None:
        """See `Outbox.safe`."""
        return self.acks.safe()

    @_whole
    async def quarantine(self, batch: Batch, reason: str) -> bool:
        """See `Outbox.quarantine`."""
        run = next(r for r in self.card.runs if r.epoch == batch.epoch and r.lane is batch.lane)
        if batch.through_seq < run.held_from:
            raise ValueError("there is no row to set aside: the batch is a gap made on the way")
        async with self._busy:
            return await self.aside.refused(run, batch.first_seq, batch.through_seq, reason)

    @_whole
    async def set_aside(self) -> Sequence[SetAside]:
        """See `Outbox.set_aside`."""
        return await self.aside.listed()

    @_whole
    async def send_again(self, ids: Collection[int] | None = None) -> tuple[int, int]:
        """See `Outbox.send_again`."""

        async def keep(lane: Lane, rows: Sequence[Sealed]) -> None:
            for row in rows:
                await self._insert_row(lane, row)
            await self.card.runs.save()

        async with self._busy:
            return await self.aside.send(ids, keep)

    # ---- ask ---------------------------------------------------------------------------------------------------

    @_whole
    async def depth(self) -> Depth:
        """See `Outbox.depth`."""
        pending = {lane: sum(max(0, r.pending) for r in self.card.runs if r.lane is lane) for lane in Lane}
        oldest: Utc | None = None
        async with self._busy:
            for run in self.card.runs:
                if run.pending > 0:
                    found = await self.card.db.all(
                        "SELECT from_us FROM rows WHERE id > ? AND id <= ? AND from_us IS NOT NULL ORDER BY id LIMIT 1",
                        row_id(run, run.acked), row_id(run, run.head),
                    )  # fmt: skip
                    if found and isinstance(found[0][0], int):  # or it is damaged, and told of when it is sent
                        first = Utc(found[0][0])
                        oldest = first if oldest is None else min(oldest, first)
            used = await self.card.db.used_bytes()
            rows = await self.card.db.used_pages() * self.card.db.page_bytes
        held = sum(max(0, r.head - r.held_from + 1) for r in self.card.runs)
        share = sum(pending.values()) / held if held else 0.0
        return Depth(
            pending=pending,
            oldest_us=oldest,
            used_bytes=used,
            limit_bytes=self.card.limit_bytes,
            quarantined=self.aside.count,
            full=min(1.0, rows * min(1.0, share) / self.room.rows_bytes()),
        )

    async def keep(self, values: Mapping[str, bytes | None]) -> None:
        """See `drivers.contract.Keeps.keep`."""
        await self.append({}, (), values)

    @_whole
    async def recent(self, source: str) -> Sequence[bytes]:
        """See `Outbox.recent`."""
        return await self.state.recent(source)

    @_whole
    async def kept(self, prefix: str) -> Mapping[str, bytes]:
        """See `Outbox.kept`."""
        return await self.state.kept(prefix)

    @property
    def blank(self) -> bool:
        """Whether nothing urgent was said yet in the run that is written now: its card is new, or has lost some."""
        return self.card.runs.open(Lane.URGENT).head == 0

    @_whole
    async def newest(self) -> Sequence[Columns]:
        """What was written last: the columns of the NEWEST_ROWS latest bulk rows, latest first."""
        run = self.card.runs.open(Lane.BULK)
        rows = await self.card.db.all(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id > ? AND id <= ?"
            " ORDER BY id DESC LIMIT ?",
            row_id(run, 0), row_id(run, run.head), NEWEST_ROWS,
        )  # fmt: skip
        found: list[Columns] = []
        for *fields, sum_ in rows:
            if not whole(sum_, *fields):
                continue
            body = fields[5]
            with contextlib.suppress(BadInput):  # a damaged row is told of when it is sent
                found += [p.entry for p in codec.decode_row(body) if isinstance(p.entry, Columns)]
        return found

    @_whole
    async def adopt(self, memory: SqliteOutbox) -> None:
        """Take over what an outbox in memory has: see `edge.outbox.adoption`."""
        async with self._busy:
            await adopt(self.card, self.room, memory.card)

    async def history(self, from_us: Utc, to_us: Utc, device: str | None = None) -> AsyncIterator[Columns]:
        """See `Outbox.history`. A file that turns out to be damaged is left for a new one, and read on there."""
        after = 0
        while True:
            began = self.card.rescues
            if self.card.memory:
                found = self._own_history(from_us, to_us)
            else:
                found = read_rows(self.card.path, from_us, to_us, after)
            try:
                async for key, body in found:
                    after = key
                    for columns in columns_of(body, device):
                        yield columns
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                await self.rescue(error, began)
            else:
                return

    async def _own_history(self, from_us: Utc, to_us: Utc) -> AsyncIterator[tuple[int, bytes]]:
        after = 0
        while rows := await self.card.db.all(HISTORY, after, from_us, to_us, PAGE_ROWS):
            for *fields, sum_ in rows:
                after = fields[0]
                if whole(sum_, *fields):
                    yield after, fields[5]
