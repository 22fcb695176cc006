"""The outbox on a card: SQLite through aiosqlite; the file itself is `edge/outbox/card.py`, its bounds are
`edge/outbox/retention.py`.

One writer connection and its thread; history is read on a connection of its own, `PAGE_ROWS` rows a transaction, so
that no reader keeps the write-ahead log from being folded back.

Whatever SQLite or the disk refuses is NotStored, and leaves everything as it was.

What the cloud has acked is written down with the next commit and not by itself (the card wears); after a power cut
the node asks the cloud for its place anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import wraps
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from types import CoroutineType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import msgspec

from drivers.contract import RECENT, Receipt
from drivers.errors import NotStored
from edge.outbox.card import SEQ_BITS, Card, Run, row_id, seq_of
from edge.outbox.card_lock import HolderDying
from edge.outbox.contract import MAX_CUT_ROWS, NOTHING, Cut, Depth, Place, SetAside
from edge.outbox.generations import Generations, Heard
from edge.outbox.joiner import Opener
from edge.outbox.joining import Row
from edge.outbox.quarantine import Quarantine
from edge.outbox.reading import HISTORY, PAGE_ROWS, columns_of, read_rows
from edge.outbox.records import Damaged, is_damage, sum_of, whole
from edge.outbox.retention import Room
from edge.outbox.sealing import Sealed, seal
from wire import codec
from wire.batch import Ack, Batch, Lane, advance
from wire.columns import Columns
from wire.contents import Contents
from wire.entries import Entry, Gap, Health
from wire.errors import BadInput
from wire.sample import Sample

log = logging.getLogger(__name__)

NEWEST_ROWS: Final = 64
MOVE_ROWS: Final = 128
MAX_RESCUES: Final = 4  # new files in one life of the process; a card that damages more is no card
DAMAGED: Final = "damaged on the card"


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
        history_us: int = 7 * 86_400_000_000,
        epoch: Callable[[], int] = _new_epoch,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        memory: bool = False,
        seed: bool = False,
        busy: Callable[[], None] = lambda: None,
    ) -> None:
        """See `edge.outbox.card.Card`."""
        self._node, self._draw_epoch = node, epoch
        self.card = Card(directory, limit_bytes=limit_bytes, epoch=epoch, memory=memory, seed=seed, busy=busy)
        self.room = Room(self.card, history_us=history_us, now_us=now_us)
        self.opener = Opener()
        self._now_us = now_us
        self.generations = Generations()
        self.aside = Quarantine(self.card, now_us=now_us)
        self._receipts_since = 0
        self.renewed: Callable[[], None] = lambda: (
            None
        )  # called when a new run has begun: the old one may have lost some
        self._busy = asyncio.Lock()  # one write transaction at a time
        self.under_way: set[asyncio.Future[Any]] = set()
        self._unsafe: list[tuple[int, int, asyncio.Future[None]]] = []  # (run, head): what only memory has

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
        for _, _, future in self._unsafe:
            future.cancel()

    def check_usable(self) -> None:
        """Raise OSError while there is no file that could be used: a new one could not be made."""
        if not self.card.usable:
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
        if receipts:
            await self._keep_receipts(receipts)
        for key, value in kept.items():
            if value is None:
                await self.card.execute("DELETE FROM kept WHERE key = ?", key)
            else:
                await self.card.execute(
                    "INSERT OR REPLACE INTO kept (key, value, sum) VALUES (?, ?, ?)", key, value, sum_of(key, value)
                )
        await self.card.save_runs()

    async def _insert_row(self, lane: Lane, row: Sealed) -> None:
        run = self._open_run(lane)
        await self.card.written_on(run)
        digest = advance(run.head_digest, row.body)
        await self.card.put_row(
            row_id(run, run.head + row.width), run.head + 1, row.from_us, row.to_us, digest, row.body
        )
        run.head, run.head_digest = run.head + row.width, digest

    async def _keep_receipts(self, receipts: Sequence[Receipt]) -> None:
        for source, found in groupby(sorted(receipts, key=attrgetter("source")), attrgetter("source")):
            keys = [r.key for r in found]
            fields = (source, len(keys), msgspec.msgpack.encode(keys))
            await self.card.execute(
                "INSERT INTO receipts (source, n, keys, sum) VALUES (?, ?, ?, ?)", *fields, sum_of(*fields)
            )
        # Old ones go now and then: it means looking through all of them, for an index would wear the card.
        self._receipts_since += len(receipts)
        if self._receipts_since >= RECENT // 4:
            self._receipts_since = 0
            await self.card.execute(
                "DELETE FROM receipts WHERE id IN (SELECT id FROM (SELECT id, sum(n) OVER"
                " (PARTITION BY source ORDER BY id DESC) - n AS newer FROM receipts) WHERE newer >= ?)",
                RECENT,
            )

    def _open_run(self, lane: Lane) -> Run:
        return next(r for r in reversed(self.card.runs) if r.lane is lane and not r.closed)

    # ---- up ----------------------------------------------------------------------------------------------------

    @_whole
    async def cut(self, lane: Lane, limit_bytes: int) -> Cut | Place | None:
        """See `Outbox.cut`. The oldest run goes first."""
        while True:
            async with self._busy:
                await self._finish_forks()
                run = next((r for r in self.card.runs if r.lane is lane and (r.ask or r.pending > 0)), None)
                if run is None:
                    return None
                if run.ask:
                    return Place(run.epoch, lane)
                if run.acked + 1 < run.held_from:
                    return self._gap_before(run)
                rows, damage = await self._rows(run, limit_bytes)
                if rows and row_id(run, rows[0].last_seq) in self.card.holes:
                    return self._hole(run, rows[0])
                head = self._batch(run)
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

    async def _rows(self, run: Run, limit_bytes: int) -> tuple[list[Row], int | None]:
        """Unacked rows up to a size, or to a hole or one that is not as it was written. When the first is such a one,
        no row and its last seq.

        Raises:
            Damaged: rows are missing.
        """
        rows: list[Row] = []
        size, after = 0, run.acked
        while (wanted := min(PAGE_ROWS, MAX_CUT_ROWS - len(rows))) > 0:
            # By the page: row by row, SQLite's thread would be asked for each, and a message wait for all of them.
            page = await self.card.all(
                "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id > ? AND id <= ?"
                " ORDER BY id LIMIT ?",
                row_id(run, after), row_id(run, run.head), wanted,
            )  # fmt: skip
            for *fields, sum_ in page:
                id_, first, _, _, digest, body = fields
                is_hole = id_ in self.card.holes
                if not whole(sum_, *fields):
                    return rows, None if rows else seq_of(id_)
                if first != after + 1 and not (is_hole and not rows and first <= after):
                    raise Damaged(f"the rows after {after} are missing")
                size += len(body)
                if rows and (size > limit_bytes or is_hole):
                    return rows, None
                rows.append(Row(first, seq_of(id_), digest, body))
                after = rows[-1].last_seq
                if is_hole:
                    return rows, None
            if len(page) < wanted:
                break
        if not rows:
            raise Damaged(f"the rows after {after} are missing")
        return rows, None

    def _hole(self, run: Run, row: Row) -> Cut:
        """The rest of a hole, from wherever in it the cloud stands."""
        width = row.last_seq - run.acked
        gap = Gap(reason=DAMAGED, lost=width, seqs=width)
        batch = msgspec.structs.replace(
            self._batch(run), through_seq=row.last_seq, digest=row.digest, entries=Contents.of([gap])
        )
        return Cut(batch, 0, 0)

    def _gap_before(self, run: Run) -> Cut:
        """The cloud stands before all that is held."""
        width = run.held_from - 1 - run.acked
        gap = Gap(reason="no longer held by the node", lost=width, seqs=width)
        batch = msgspec.structs.replace(
            self._batch(run),
            through_seq=run.held_from - 1,
            digest=run.base,
            entries=Contents.of([gap]),
        )
        return Cut(batch, 0, 0)

    def _batch(self, run: Run) -> Batch:
        """A batch from where the cloud stands; what is in it is filled in later."""
        return Batch(
            node=self._node,
            epoch=run.epoch,
            lane=run.lane,
            first_seq=run.acked + 1,
            through_seq=run.acked,
            prev=run.told,
            digest=run.told,
            held_from=run.held_from,
            head_seq=run.head,
            entries=(),
            predecessor=msgspec.UNSET if run.acked else self.card.predecessor(run),
        )

    @_whole
    async def confirm(self, ack: Ack) -> bool:
        """See `Outbox.confirm`."""
        async with self._busy:
            heard = self.generations.hear(ack.generation, self._now_us())
            if heard is Heard.IGNORED:
                return False
            if heard is Heard.NEWER:
                for other in self.card.runs:
                    other.ask = True
            run = next((r for r in self.card.runs if r.epoch == ack.epoch and r.lane is ack.lane), None)
            if run is None:
                return False
            if heard is Heard.DOUBTED:
                run.ask = True
                return False
            await self._compare_heads(run, ack)
            run = self.card.run(run.id)
            run.ask = False
            through, digest = ack.through_seq, ack.digest
            if run.settled and through >= run.head:
                run.acked, run.dirty = run.head, True
                return False
            if (
                through < run.held_from - 1
                or await self._place(run, through) == digest
                or await self._in_hole(run, through)
            ):
                run.acked, run.told, run.dirty = through, digest, True
                self._settle()
                return False
            log.warning("run %d (%s) forked at %d: the cloud has another past", run.epoch, run.lane, through)
            await self.card.write(lambda: self._fork(run.id, min(through, run.acked)))
            await self._finish_forks()
            self.renewed()
            return True

    async def _compare_heads(self, run: Run, ack: Ack) -> None:
        """The first answer about a run since the file was opened: has the cloud been told of more than it held then?"""
        held = run.opened_head
        if held is not None and ack.head_seq > held:
            log.error("epoch %d (%s) had %d entries, the card held %d", run.epoch, run.lane, ack.head_seq, held)
            await self.card.begin_after_loss()
            await self._finish_forks()
            self.renewed()
        elif run.unchecked:
            await self.card.write(lambda: self.card.checked(self.card.run(run.id)))
        else:
            run.opened_head = None

    async def _place(self, run: Run, seq: int) -> bytes | None:
        """The digest at a row end, or None where no row ends.

        Raises:
            Damaged: the row is not there that should be.
        """
        if seq == run.held_from - 1:
            return run.base
        if seq == run.head:
            return run.head_digest
        if not 0 < seq < run.head:
            return None
        found = await self.card.all(
            "SELECT id, first_seq, digest FROM rows WHERE id >= ? AND id <= ? ORDER BY id LIMIT 1",
            row_id(run, seq), row_id(run, run.head),
        )  # fmt: skip
        if not found or found[0][1] > seq:
            raise Damaged(f"the row with {seq} is missing")
        return found[0][2] if found[0][0] == row_id(run, seq) else None

    async def _in_hole(self, run: Run, seq: int) -> bool:
        """Whether what the cloud has up to there may well be this run's, for nothing here says otherwise."""
        found = await self.card.all(
            "SELECT id, first_seq FROM rows WHERE id >= ? AND id <= ? ORDER BY id LIMIT 1",
            row_id(run, seq), row_id(run, run.head),
        )  # fmt: skip
        return bool(found) and found[0][0] in self.card.holes and found[0][1] <= seq

    async def _fork(self, run_id: int, keep: int) -> None:
        """The cloud stands where this run has never been: close it, and let what it holds beyond go on anew."""
        run = self.card.run(run_id)
        new = await self.card.create_run(run.lane, self._draw_epoch())
        new.ask, new.dirty = False, True
        kept = await self.card.all(
            "SELECT id FROM rows WHERE id > ? AND id <= ? ORDER BY id DESC LIMIT 1", row_id(run, 0), row_id(run, keep)
        )
        run.acked = seq_of(kept[0][0]) if kept else run.held_from - 1
        run.keep = run.acked
        run.closed = run.moving = run.settled = run.dirty = True
        run.moved = run.acked
        await self.card.save_runs()

    async def _finish_forks(self) -> None:
        """Move what closed runs hold beyond, some rows a transaction: a whole card could not be moved at once."""
        for run_id in [r.id for r in self.card.runs if r.moving]:
            while self.card.run(run_id).moving:
                await self.card.write(lambda run_id=run_id: self._move_some(run_id))

    async def _move_some(self, run_id: int) -> None:
        run = self.card.run(run_id)
        new = self._open_run(run.lane)
        rows = await self.card.all(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id > ? AND id < ?"
            " ORDER BY id LIMIT ?",
            row_id(run, run.keep), (run.id + 1) << SEQ_BITS, MOVE_ROWS,
        )  # fmt: skip
        for *fields, sum_ in rows:
            id_, first, from_us, to_us, _, body = fields
            if not whole(sum_, *fields) or (run.moved and first != run.moved + 1):
                raise Damaged("the rows that are to be moved are not as they were written")
            run.moved = seq_of(id_)
            digest, width = advance(new.head_digest, body), seq_of(id_) - first + 1
            last = row_id(new, new.head + width)
            await self.card.execute(
                "UPDATE rows SET id = ?, first_seq = ?, digest = ?, sum = ? WHERE id = ?",
                last, new.head + 1, digest, sum_of(last, new.head + 1, from_us, to_us, digest, body), id_,
            )  # fmt: skip
            new.head, new.head_digest = new.head + width, digest
        await self.card.find_head(run)
        run.moving, run.dirty = run.head > run.keep, True
        await self.card.save_runs()

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
            await self.card.save_runs()

        async with self._busy:
            return await self.aside.send(ids, keep)

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
            quarantined=self.aside.count,
        )

    async def keep(self, values: Mapping[str, bytes | None]) -> None:
        """See `drivers.contract.Keeps.keep`."""
        await self.append({}, (), values)

    @_whole
    async def recent(self, source: str) -> Sequence[bytes]:
        """See `Outbox.recent`."""
        rows = await self.card.all("SELECT source, n, keys, sum FROM receipts WHERE source = ? ORDER BY id", source)
        sound = (fields[2] for *fields, sum_ in rows if whole(sum_, *fields))
        keys = chain.from_iterable(msgspec.msgpack.decode(keys, type=list[bytes]) for keys in sound)
        return list(deque(keys, RECENT))

    @_whole
    async def kept(self, prefix: str) -> Mapping[str, bytes]:
        """See `Outbox.kept`."""
        rows = await self.card.all(
            "SELECT key, value, sum FROM kept WHERE substr(key, 1, ?) = ?", len(prefix), prefix
        )  # fmt: skip
        if damaged := [key for key, value, sum_ in rows if not whole(sum_, key, value)]:
            raise Damaged(f"{', '.join(damaged)[:200]}: not as it was kept")
        return {key: value for key, value, _ in rows}

    @property
    def blank(self) -> bool:
        """Whether nothing urgent was said yet in the run that is written now: its card is new, or has lost some."""
        return self._open_run(Lane.URGENT).head == 0

    @_whole
    async def newest(self) -> Sequence[Columns]:
        """What was written last: the columns of the NEWEST_ROWS latest bulk rows, latest first."""
        run = self._open_run(Lane.BULK)
        rows = await self.card.all(
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
        """Take over what an outbox in memory has: it stood in for this one. Its runs go on here, under their epochs and
        seqs; what was open here is closed, for nothing was added to it. State by key that it had from here is replaced;
        where it could not read the card, what it has goes before.

        It takes several transactions; a crash in between leaves whole rows, and the rest is lost with the memory.
        """
        async with self._busy:
            mine = {(r.epoch, r.lane): r.id for r in self.card.runs}
            begun: dict[int, int] = {}

            async def begin() -> None:
                for run in self.card.runs:
                    run.dirty |= not run.closed
                    run.closed = run.settled = True
                for other in memory.card.runs:
                    if (other.epoch, other.lane) in mine:
                        continue
                    run = await self.card.create_run(other.lane, other.epoch)
                    run.held_from, run.base = other.held_from, other.base
                    run.acked, run.told, run.dirty = other.acked, other.told, True
                    run.head, run.head_digest = other.held_from - 1, other.base
                    begun[run.id] = other.id
                await self.card.save_runs()

            await self.card.write(begin)
            for run_id, other_id in begun.items():
                await self._adopt_rows(run_id, memory, memory.card.run(other_id))
            await self._adopt_state(memory)

    async def _adopt_rows(self, run_id: int, memory: SqliteOutbox, other: Run) -> None:
        after = row_id(other, 0)
        while rows := await memory.card.all(
            "SELECT id, first_seq, from_us, to_us, digest, body FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            after, row_id(other, other.head), PAGE_ROWS,
        ):  # fmt: skip
            await self.room.make(sum(len(row[5]) for row in rows))

            async def put(rows: Sequence[Any] = rows) -> None:
                run = self.card.run(run_id)
                for id_, first, from_us, to_us, digest, body in rows:
                    await self.card.put_row(row_id(run, seq_of(id_)), first, from_us, to_us, digest, body)
                    run.head, run.head_digest = seq_of(id_), digest

            await self.card.write(put)
            after = rows[-1][0]

    async def _adopt_state(self, memory: SqliteOutbox) -> None:
        kept = await memory.card.all("SELECT key, value, sum FROM kept")
        receipts = await memory.card.all("SELECT source, n, keys, sum FROM receipts ORDER BY id")

        async def put() -> None:
            if memory.card.seeded:
                await self.card.execute("DELETE FROM kept")
                await self.card.execute("DELETE FROM receipts")
            for row in kept:
                await self.card.execute("INSERT OR REPLACE INTO kept (key, value, sum) VALUES (?, ?, ?)", *row)
            for row in receipts:
                await self.card.execute("INSERT INTO receipts (source, n, keys, sum) VALUES (?, ?, ?, ?)", *row)

        await self.card.write(put)

    def safe(self) -> asyncio.Future[None] | None:
        """See `Outbox.safe`."""
        if not self.card.memory:
            return None
        run = self._open_run(Lane.BULK)
        if run.acked >= run.head:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsafe.append((run.id, run.head, future))
        return future

    def _settle(self) -> None:
        """What the city has now is safe."""
        acked = {r.id: r.acked for r in self.card.runs}
        waiting, self._unsafe = self._unsafe, []
        for run_id, head, future in waiting:
            if acked.get(run_id, 0) < head:
                self._unsafe.append((run_id, head, future))
            elif not future.done():
                future.set_result(None)

    async def history(self, from_us: int, to_us: int, device: str | None = None) -> AsyncIterator[Columns]:
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

    async def _own_history(self, from_us: int, to_us: int) -> AsyncIterator[tuple[int, bytes]]:
        after = 0
        while rows := await self.card.all(HISTORY, after, from_us, to_us, PAGE_ROWS):
            for *fields, sum_ in rows:
                after = fields[0]
                if whole(sum_, *fields):
                    yield after, fields[5]
