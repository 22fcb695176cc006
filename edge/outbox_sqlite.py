"""The outbox on a card: SQLite through aiosqlite; the file itself is `edge/card.py`, its bounds are `edge/room.py`.

One writer connection and its thread; history is read on a connection of its own, `PAGE_ROWS` rows a transaction, so
that no reader keeps the write-ahead log from being folded back.

Whatever SQLite or the disk refuses is NotStored, and leaves everything as it was.

What the cloud has acked is written down with the next commit and not by itself (the card wears); after a power cut
the node asks the cloud for its place anyway.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import CoroutineType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import aiosqlite

from drivers.contract import RECENT, Receipt
from drivers.errors import NotStored
from edge.card import Card, Run, row_id, seq_of
from edge.outbox import Cut, Depth, Place
from edge.room import Room
from edge.rows import join, seal
from wire import codec
from wire.batch import Ack, Batch, Lane, Placed, advance
from wire.columns import Columns
from wire.entries import Entry, Gap

log = logging.getLogger(__name__)

PAGE_ROWS: Final = 64
MAX_CUT_ROWS: Final = 5_000


def _new_epoch() -> int:
    return secrets.randbits(63)


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _whole(
    verb: Callable[Concatenate[SqliteOutbox, _P], CoroutineType[Any, Any, _T]],
) -> Callable[Concatenate[SqliteOutbox, _P], CoroutineType[Any, Any, _T]]:
    """A verb that goes on to its end when its caller is cancelled: a commit under way cannot be half believed."""

    async def told(self: SqliteOutbox, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await verb(self, *args, **kwargs)
        except (sqlite3.Error, OSError) as error:
            raise NotStored(f"the card refuses: {error}") from error

    @wraps(verb)
    async def shielded(self: SqliteOutbox, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        task = asyncio.ensure_future(told(self, *args, **kwargs))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        return await asyncio.shield(task)

    return shielded


class SqliteOutbox:
    """See `edge.outbox.Outbox`. Open it with `async with`."""

    def __init__(
        self,
        directory: Path,
        *,
        node: str,
        limit_bytes: int,
        history_us: int = 7 * 86_400_000_000,
        epoch: Callable[[], int] = _new_epoch,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._node, self._draw_epoch = node, epoch
        self.card = Card(directory, limit_bytes=limit_bytes, epoch=epoch)
        self.room = Room(self.card, history_us=history_us, now_us=now_us)
        self._generation = 0
        self._quarantined = 0
        self._busy = asyncio.Lock()  # one write transaction at a time
        self.under_way: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        """Open or create it.

        Raises:
            RuntimeError: another process has it.
        """
        await self.card.open()
        self.room.hold_reserve()
        self._quarantined = (await self.card.all("SELECT count(*) FROM quarantine"))[0][0]
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Write down what was acked and close."""
        async with self._busy:
            await self.card.close()

    # ---- append ------------------------------------------------------------------------------------------------

    @_whole
    async def append(self, lanes: Mapping[Lane, Sequence[Entry]], receipts: Sequence[Receipt] = ()) -> None:
        """See `Outbox.append`."""
        sealed = [(lane, *seal(entries)) for lane, entries in lanes.items() if entries]
        if not sealed and not receipts:
            return
        async with self._busy:
            coming = sum(len(body) for _, body, *_ in sealed)
            try:
                await self.room.make(coming)
                await self.card.write(lambda: self._insert(sealed, receipts))
            except sqlite3.Error as error:
                log.warning("the card refuses (%s): making room and trying once more", error)
                await self.room.emergency(coming)
                await self.card.write(lambda: self._insert(sealed, receipts))
            self.room.hold_reserve()

    async def _insert(self, sealed: Sequence[tuple[Any, ...]], receipts: Sequence[Receipt]) -> None:
        for lane, body, width, from_us, to_us in sealed:
            run = self._open_run(lane)
            digest = advance(run.head_digest, body)
            await self.card.db.execute(
                "INSERT INTO rows (id, first_seq, from_us, to_us, digest, body) VALUES (?, ?, ?, ?, ?, ?)",
                (row_id(run, run.head + width), run.head + 1, from_us, to_us, digest, body),
            )
            run.head, run.head_digest = run.head + width, digest
        if receipts:
            await self.card.db.executemany(
                "INSERT INTO receipts (source, key) VALUES (?, ?)", [(r.source, r.key) for r in receipts]
            )
            await self.card.db.execute(
                "DELETE FROM receipts WHERE id <= (SELECT max(id) FROM receipts) - ?", (2 * RECENT,)
            )
        await self.card.save_runs()

    def _open_run(self, lane: Lane) -> Run:
        return next(r for r in reversed(self.card.runs) if r.lane is lane and not r.closed)

    # ---- up ----------------------------------------------------------------------------------------------------

    @_whole
    async def cut(self, lane: Lane, limit_bytes: int) -> Cut | Place | None:
        """See `Outbox.cut`. The oldest run goes first."""
        async with self._busy:
            for run in self.card.runs:
                if run.lane is not lane:
                    continue
                if run.ask:
                    return Place(run.epoch, lane)
                if run.pending > 0:
                    return await self._cut(run, limit_bytes)
        return None

    async def _cut(self, run: Run, limit_bytes: int) -> Cut:
        if run.acked + 1 < run.held_from:
            gap = Gap(
                reason="no longer held by the node",
                lost=run.held_from - 1 - run.acked,
                seqs=run.held_from - 1 - run.acked,
            )
            placed = [Placed(range(gap.seqs), gap)]
            return Cut(self._batch(run, run.held_from - 1, run.base, placed), 0)
        rows: list[tuple[int, int, bytes, bytes]] = []
        size = 0
        async with self.card.db.execute(
            "SELECT first_seq, id, digest, body FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (row_id(run, run.acked), row_id(run, run.head), MAX_CUT_ROWS),
        ) as cursor:
            async for row in cursor:
                size += len(row[3])
                if rows and size > limit_bytes:
                    break
                rows.append(tuple(row))
        placed = join([(first - run.acked - 1, codec.decode_row(body)) for first, _, _, body in rows])
        last, digest = seq_of(rows[-1][1]), rows[-1][2]
        run.sent = max(run.sent, last)
        return Cut(self._batch(run, last, digest, placed), len(rows))

    def _batch(self, run: Run, last: int, digest: bytes, placed: Sequence[Placed]) -> Batch:
        return Batch(
            node=self._node,
            epoch=run.epoch,
            lane=run.lane,
            first_seq=run.acked + 1,
            through_seq=last,
            prev=run.told,
            digest=digest,
            held_from=run.held_from,
            head_seq=run.head,
            entries=placed,
        )

    @_whole
    async def confirm(self, ack: Ack) -> bool:
        """See `Outbox.confirm`."""
        async with self._busy:
            if ack.generation < self._generation:
                return False  # an answer from before a restore
            if ack.generation > self._generation:
                self._generation = ack.generation
                for other in self.card.runs:
                    other.ask = True
            run = next((r for r in self.card.runs if r.epoch == ack.epoch and r.lane is ack.lane), None)
            if run is None:
                return False
            run.ask = False
            through, digest = ack.through_seq, ack.digest
            if run.closed and through >= run.head:
                run.acked, run.dirty = run.head, True
                return False
            if through < run.held_from - 1 or await self._place(run, through) == digest:
                run.acked, run.told, run.dirty = through, digest, True
                return False
            await self.card.write(lambda: self._fork(run, through))
            return True

    async def _place(self, run: Run, seq: int) -> bytes | None:
        """The digest at a row end, or None where no row ends."""
        if seq == run.held_from - 1:
            return run.base
        if seq == run.head:
            return run.head_digest
        if not 0 < seq < run.head:
            return None
        found = await self.card.all("SELECT digest FROM rows WHERE id = ?", row_id(run, seq))
        return found[0][0] if found else None

    async def _fork(self, run: Run, through: int) -> None:
        """The cloud stands where this run has never been: close it, and let what it holds beyond go on anew."""
        keep = min(through, run.acked)
        log.warning("run %d (%s) forked at %d: the cloud has another past", run.epoch, run.lane, through)
        run = next(r for r in self.card.runs if r.id == run.id)
        new = await self.card.create_run(run.lane, self._draw_epoch())
        new.ask, new.dirty = False, True
        for id_, first, body in await self.card.all(
            "SELECT id, first_seq, body FROM rows WHERE id > ? AND id <= ? ORDER BY id",
            row_id(run, keep), row_id(run, run.head),
        ):  # fmt: skip
            digest, width = advance(new.head_digest, body), seq_of(id_) - first + 1
            await self.card.db.execute(
                "UPDATE rows SET id = ?, first_seq = ?, digest = ? WHERE id = ?",
                (row_id(new, new.head + width), new.head + 1, digest, id_),
            )
            new.head, new.head_digest = new.head + width, digest
        await self.card.find_head(run)
        run.acked, run.closed, run.dirty = run.head, True, True
        await self.card.save_runs()

    @_whole
    async def quarantine(self, batch: Batch, reason: str) -> None:
        """See `Outbox.quarantine`."""
        async with self._busy:
            await self.card.write(lambda: self._set_aside(batch, reason))
            self._quarantined += 1

    async def _set_aside(self, batch: Batch, reason: str) -> None:
        run = next(r for r in self.card.runs if r.epoch == batch.epoch and r.lane is batch.lane)
        await self.card.db.execute(
            "INSERT INTO quarantine (row, reason, body) SELECT id, ?, body FROM rows WHERE id BETWEEN ? AND ?",
            (reason, row_id(run, batch.first_seq), row_id(run, batch.through_seq)),
        )
        await self.card.gap(run, batch.first_seq, batch.through_seq, f"set aside by the node: {reason}")

    # ---- ask ---------------------------------------------------------------------------------------------------

    @_whole
    async def depth(self) -> Depth:
        """See `Outbox.depth`."""
        pending = {lane: sum(max(0, r.pending) for r in self.card.runs if r.lane is lane) for lane in Lane}
        oldest: int | None = None
        async with self._busy:
            for run in self.card.runs:
                if run.pending > 0:
                    found = await self.card.all(
                        "SELECT from_us FROM rows WHERE id > ? AND id <= ? AND from_us IS NOT NULL ORDER BY id LIMIT 1",
                        row_id(run, run.acked), row_id(run, run.head),
                    )  # fmt: skip
                    if found:
                        oldest = found[0][0] if oldest is None else min(oldest, found[0][0])
            used = await self.card.used_bytes()
        return Depth(
            pending=pending,
            oldest_us=oldest,
            used_bytes=used,
            limit_bytes=self.card.limit_bytes,
            quarantined=self._quarantined,
        )

    @_whole
    async def recent(self, source: str) -> Sequence[bytes]:
        """See `Outbox.recent`."""
        rows = await self.card.all("SELECT key FROM receipts WHERE source = ? ORDER BY id DESC LIMIT ?", source, RECENT)
        return [r[0] for r in reversed(rows)]

    async def history(self, from_us: int, to_us: int, device: str | None = None) -> AsyncIterator[Columns]:
        """See `Outbox.history`."""
        async for columns in read_history(self.card.path, from_us, to_us, device):
            yield columns


async def read_history(path: Path, from_us: int, to_us: int, device: str | None = None) -> AsyncIterator[Columns]:
    """Columns from an outbox file, oldest row first, read-only, a bounded number of rows a transaction."""
    async with aiosqlite.connect(f"file:{path}?mode=ro", uri=True) as db:
        after = 0
        while True:
            rows = list(
                await db.execute_fetchall(
                    "SELECT id, body FROM rows WHERE id > ? AND to_us >= ? AND from_us <= ? ORDER BY id LIMIT ?",
                    (after, from_us, to_us, PAGE_ROWS),
                )
            )
            if not rows:
                return
            for id_, body in rows:
                after = id_
                for placed in codec.decode_row(body):
                    entry = placed.entry
                    if isinstance(entry, Columns) and device in (None, entry.device):
                        yield entry
