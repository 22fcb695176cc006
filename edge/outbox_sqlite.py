"""The outbox on a card: SQLite through aiosqlite, WAL, synchronous=FULL, one process by lock.

One writer connection and its thread; history is read on a connection of its own, `PAGE_ROWS` rows a transaction, so
that no reader keeps the write-ahead log from being folded back. `reserve.bin` beside the database holds
`RESERVE_BYTES` that are given back to the disk when it is full, so that the log can be folded back and pruning has
room to work in; from then on the file grows no more until the disk has `EASE_BYTES` free.

Whatever SQLite or the disk refuses is NotStored, and leaves everything as it was.

What the cloud has acked is written down with the next commit and not by itself (the card wears); after a power cut
the node asks the cloud for its place anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import wraps
from itertools import takewhile
from pathlib import Path
from types import CoroutineType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import aiosqlite
import msgspec

from drivers.contract import RECENT, Receipt
from drivers.errors import NotStored
from edge.outbox import Cut, Depth, Place
from edge.rows import count_lost, join, seal
from wire import codec
from wire.batch import ORIGIN, Ack, Batch, Lane, Placed, advance
from wire.columns import Columns
from wire.entries import Entry, Gap

log = logging.getLogger(__name__)

PAGE_BYTES: Final = 4096
WAL_PAGES: Final = 256  # folded back at 1 MiB: what a small disk can spare
RESERVE_BYTES: Final = (WAL_PAGES + 64) * PAGE_BYTES  # a whole log may have to be folded into new pages of the file
SPARE_BYTES: Final = 256 * 1024  # kept free inside the file, for pruning
EASE_BYTES: Final = 16 * 1024 * 1024
MIN_LIMIT_BYTES: Final = 4 * 1024 * 1024
PRUNE_ROWS: Final = 256
GENTLE_ROWS: Final = 16  # so many at a time while the disk is full: no more than has to go
GENTLE_BYTES: Final = 8 * PAGE_BYTES
PAGE_ROWS: Final = 64
MAX_CUT_ROWS: Final = 5_000
PRUNE_TRIES: Final = 64

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, lane TEXT NOT NULL, epoch INTEGER NOT NULL,
    held_from INTEGER NOT NULL, base BLOB NOT NULL,      -- first seq still held, digest before it
    acked INTEGER NOT NULL, told BLOB NOT NULL,          -- where the cloud stood last, by its own word
    closed INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY,                              -- run and last seq in one: see row_id
    first_seq INTEGER NOT NULL, from_us INTEGER, to_us INTEGER, digest BLOB NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY, row INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS receipts (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, key BLOB NOT NULL) STRICT;
"""


class Run(msgspec.Struct):
    """One lane of one epoch, as the outbox remembers it."""

    id: int
    lane: Lane
    epoch: int
    held_from: int
    base: bytes
    acked: int
    told: bytes
    closed: bool
    head: int
    head_digest: bytes
    ask: bool = True
    sent: int = 0  # the last seq that was cut: the cloud may stand at any row end up to here
    dirty: bool = False

    @property
    def pending(self) -> int:
        """Seqs that the city does not have yet."""
        return self.head - self.acked


_SEQ_BITS: Final = 44  # 17 million million samples a run, and half a million runs


def row_id(run: Run, last_seq: int) -> int:
    """The key of a row: its run, then its last seq. So rows lie in order and need no index, which would cost the
    card another page with every commit."""
    return run.id << _SEQ_BITS | last_seq


def _seq(id_: int) -> int:
    return id_ & ((1 << _SEQ_BITS) - 1)


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
        if limit_bytes < MIN_LIMIT_BYTES:
            raise ValueError(f"an outbox needs at least {MIN_LIMIT_BYTES} bytes")
        self._directory = directory
        self._node = node
        self._limit_bytes = limit_bytes
        self._history_us = history_us
        self._draw_epoch = epoch
        self._now_us = now_us
        self._runs: list[Run] = []
        self._generation = 0
        self._quarantined = 0
        self._busy = asyncio.Lock()  # one write transaction at a time
        self._lock_fd = -1
        self.under_way: set[asyncio.Future[Any]] = set()
        self._disk_pages: int | None = None  # what the file may have while the disk is full
        self._reserve_told = False
        self.pruned_rows = 0
        self.last_known_us = 0  # the greatest time that it holds: no clock may start before

    @property
    def path(self) -> Path:
        """The database file."""
        return self._directory / "outbox.db"

    # ---- open and close ----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open or create the file.

        Raises:
            RuntimeError: another process has it.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(self._directory / "outbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock_fd)
            raise RuntimeError(f"{self._directory} is in use by another node process") from error
        try:
            await self._open()
        except BaseException:
            os.close(self._lock_fd)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Write down what was acked and close."""
        try:
            async with self._busy:
                await self._write(self._save_runs)
        except sqlite3.Error:
            log.exception("the last acknowledgements were not written down; the cloud will be asked instead")
        await self._db.close()
        os.close(self._lock_fd)

    async def _open(self) -> None:
        self._db = await aiosqlite.connect(self.path, isolation_level=None)
        try:
            await self._prepare()
        except BaseException:
            await self._db.close()  # its thread would keep the process alive
            raise

    async def _prepare(self) -> None:
        for pragma in (
            f"page_size={PAGE_BYTES}",
            "auto_vacuum=NONE",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"wal_autocheckpoint={WAL_PAGES}",
            f"journal_size_limit={WAL_PAGES * PAGE_BYTES}",
            "temp_store=MEMORY",
            f"max_page_count={self._page_limit()}",
        ):
            await self._db.execute(f"PRAGMA {pragma}")
        await self._db.executescript(_SCHEMA)
        self._hold_reserve()
        await self._load()

    def _page_limit(self) -> int:
        # The log may grow to twice its checkpoint mark while one commit is under way; the rest is for the file.
        return (self._limit_bytes - 2 * WAL_PAGES * PAGE_BYTES - RESERVE_BYTES) // PAGE_BYTES

    async def _load(self) -> None:
        self._runs = []
        columns = "id, lane, epoch, held_from, base, acked, told, closed"
        for id_, lane, epoch, held, base, acked, told, closed in await self._all(
            f"SELECT {columns} FROM runs ORDER BY id"  # noqa: S608 - constants of our own
        ):
            run = Run(id_, Lane(lane), epoch, held, base, acked, told, bool(closed), held - 1, base)
            await self._find_head(run)
            # Kept even when nothing of it is held any more: a restored cloud must still be told of the gap.
            self._runs.append(run)
        if not self._runs:
            epoch = self._draw_epoch()
            await self._write(lambda: self._create_runs(epoch))
        self._quarantined = (await self._all("SELECT count(*) FROM quarantine"))[0][0]
        for run in self._runs:
            newest = await self._all(
                "SELECT max(to_us) FROM (SELECT to_us FROM rows WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 100)",
                row_id(run, 0), row_id(run, run.head),
            )  # fmt: skip
            self.last_known_us = max(self.last_known_us, newest[0][0] or 0)

    async def _find_head(self, run: Run) -> None:
        found = await self._all(
            "SELECT id, digest FROM rows WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1",
            row_id(run, 0), (run.id + 1) << _SEQ_BITS,
        )  # fmt: skip
        run.head, run.head_digest = (_seq(found[0][0]), found[0][1]) if found else (run.held_from - 1, run.base)

    async def _create_runs(self, epoch: int) -> None:
        for lane in Lane:
            await self._create_run(lane, epoch)

    async def _create_run(self, lane: Lane, epoch: int) -> Run:
        cursor = await self._db.execute(
            "INSERT INTO runs (lane, epoch, held_from, base, acked, told, closed) VALUES (?, ?, 1, ?, 0, ?, 0)",
            (lane.value, epoch, ORIGIN, ORIGIN),
        )
        assert cursor.lastrowid is not None
        run = Run(cursor.lastrowid, lane, epoch, 1, ORIGIN, 0, ORIGIN, closed=False, head=0, head_digest=ORIGIN)
        self._runs.append(run)
        return run

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
                await self._make_room(coming)
                await self._write(lambda: self._insert(sealed, receipts))
            except sqlite3.Error as error:
                log.warning("the card refuses (%s): making room and trying once more", error)
                await self._emergency(coming)
                await self._write(lambda: self._insert(sealed, receipts))
            self._hold_reserve()

    async def _insert(self, sealed: Sequence[tuple[Any, ...]], receipts: Sequence[Receipt]) -> None:
        for lane, body, width, from_us, to_us in sealed:
            run = self._open_run(lane)
            digest = advance(run.head_digest, body)
            await self._db.execute(
                "INSERT INTO rows (id, first_seq, from_us, to_us, digest, body) VALUES (?, ?, ?, ?, ?, ?)",
                (row_id(run, run.head + width), run.head + 1, from_us, to_us, digest, body),
            )
            run.head, run.head_digest = run.head + width, digest
        if receipts:
            await self._db.executemany(
                "INSERT INTO receipts (source, key) VALUES (?, ?)", [(r.source, r.key) for r in receipts]
            )
            await self._db.execute("DELETE FROM receipts WHERE id <= (SELECT max(id) FROM receipts) - ?", (2 * RECENT,))
        await self._save_runs()

    def _open_run(self, lane: Lane) -> Run:
        return next(r for r in reversed(self._runs) if r.lane is lane and not r.closed)

    async def _save_runs(self) -> None:
        for run in self._runs:
            if run.dirty:
                await self._db.execute(
                    "UPDATE runs SET held_from = ?, base = ?, acked = ?, told = ?, closed = ? WHERE id = ?",
                    (run.held_from, run.base, run.acked, run.told, run.closed, run.id),
                )
                run.dirty = False

    async def _write(self, work: Callable[[], Any]) -> None:
        """One transaction. When it fails, nothing of it is left, in the file or in memory."""
        before = [msgspec.structs.replace(r) for r in self._runs]
        try:
            if self._db.in_transaction:  # the last one could not even be rolled back
                await self._db.execute("ROLLBACK")
            await self._db.execute("BEGIN IMMEDIATE")
            await work()
            await self._db.execute("COMMIT")
        except BaseException:
            self._runs = before
            if self._db.in_transaction:
                await self._db.execute("ROLLBACK")
            raise

    async def _all(self, query: str, *args: object) -> list[Any]:
        return list(await self._db.execute_fetchall(query, args))

    # ---- up ----------------------------------------------------------------------------------------------------

    @_whole
    async def cut(self, lane: Lane, limit_bytes: int) -> Cut | Place | None:
        """See `Outbox.cut`. The oldest run goes first."""
        async with self._busy:
            for run in self._runs:
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
        async with self._db.execute(
            "SELECT first_seq, id, digest, body FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (row_id(run, run.acked), row_id(run, run.head), MAX_CUT_ROWS),
        ) as cursor:
            async for row in cursor:
                size += len(row[3])
                if rows and size > limit_bytes:
                    break
                rows.append(tuple(row))
        placed = join([(first - run.acked - 1, codec.decode_row(body)) for first, _, _, body in rows])
        last, digest = _seq(rows[-1][1]), rows[-1][2]
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
                for other in self._runs:
                    other.ask = True
            run = next((r for r in self._runs if r.epoch == ack.epoch and r.lane is ack.lane), None)
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
            await self._write(lambda: self._fork(run, through))
            return True

    async def _place(self, run: Run, seq: int) -> bytes | None:
        """The digest at a row end, or None where no row ends."""
        if seq == run.held_from - 1:
            return run.base
        if seq == run.head:
            return run.head_digest
        if not 0 < seq < run.head:
            return None
        found = await self._all("SELECT digest FROM rows WHERE id = ?", row_id(run, seq))
        return found[0][0] if found else None

    async def _fork(self, run: Run, through: int) -> None:
        """The cloud stands where this run has never been: close it, and let what it holds beyond go on anew."""
        keep = min(through, run.acked)
        log.warning("run %d (%s) forked at %d: the cloud has another past", run.epoch, run.lane, through)
        run = next(r for r in self._runs if r.id == run.id)
        new = await self._create_run(run.lane, self._draw_epoch())
        new.ask, new.dirty = False, True
        for id_, first, body in await self._all(
            "SELECT id, first_seq, body FROM rows WHERE id > ? AND id <= ? ORDER BY id",
            row_id(run, keep), row_id(run, run.head),
        ):  # fmt: skip
            digest, width = advance(new.head_digest, body), _seq(id_) - first + 1
            await self._db.execute(
                "UPDATE rows SET id = ?, first_seq = ?, digest = ? WHERE id = ?",
                (row_id(new, new.head + width), new.head + 1, digest, id_),
            )
            new.head, new.head_digest = new.head + width, digest
        await self._find_head(run)
        run.acked, run.closed, run.dirty = run.head, True, True
        await self._save_runs()

    @_whole
    async def quarantine(self, batch: Batch, reason: str) -> None:
        """See `Outbox.quarantine`."""
        async with self._busy:
            await self._write(lambda: self._set_aside(batch, reason))
            self._quarantined += 1

    async def _set_aside(self, batch: Batch, reason: str) -> None:
        run = next(r for r in self._runs if r.epoch == batch.epoch and r.lane is batch.lane)
        await self._db.execute(
            "INSERT INTO quarantine (row, reason, body) SELECT id, ?, body FROM rows WHERE id BETWEEN ? AND ?",
            (reason, row_id(run, batch.first_seq), row_id(run, batch.through_seq)),
        )
        await self._gap(run, batch.first_seq, batch.through_seq, f"set aside by the node: {reason}")

    async def _gap(self, run: Run, first_seq: int, last_seq: int, reason: str) -> None:
        """Put one Gap in the place of the rows from first_seq to last_seq; the row end keeps its digest."""
        rows = await self._all(
            "SELECT id, first_seq, from_us, to_us, body FROM rows WHERE id BETWEEN ? AND ? ORDER BY id",
            row_id(run, first_seq), row_id(run, last_seq),
        )  # fmt: skip
        lost, devices = count_lost(r[4] for r in rows)
        gap = Gap(
            reason=reason,
            lost=lost,
            seqs=last_seq - rows[0][1] + 1,
            from_us=min((r[2] for r in rows if r[2] is not None), default=None),
            to_us=max((r[3] for r in rows if r[3] is not None), default=None),
            devices=devices,
        )
        body, *_ = seal([gap])
        await self._db.execute("DELETE FROM rows WHERE id BETWEEN ? AND ?", (rows[0][0], rows[-1][0] - 1))
        await self._db.execute(
            "UPDATE rows SET first_seq = ?, from_us = ?, to_us = ?, body = ? WHERE id = ?",
            (rows[0][1], gap.from_us, gap.to_us, body, rows[-1][0]),
        )

    # ---- room --------------------------------------------------------------------------------------------------

    async def _used_bytes(self) -> int:
        pages = (await self._all("PRAGMA page_count"))[0][0]
        free = (await self._all("PRAGMA freelist_count"))[0][0]
        wal = self.path.with_name("outbox.db-wal")
        return (pages - free) * PAGE_BYTES + (wal.stat().st_size if wal.exists() else 0)

    async def _make_room(self, coming_bytes: int) -> None:
        """Prune before the cap is met: history by age, then whatever is oldest, in bounded steps."""
        horizon_us = self._now_us() - self._history_us
        room = self._room_bytes()
        for _ in range(PRUNE_TRIES):
            pages = (await self._all("PRAGMA page_count"))[0][0] - (await self._all("PRAGMA freelist_count"))[0][0]
            full = pages * PAGE_BYTES + 2 * coming_bytes > room
            if not await (self._prune() if full else self._drop_aged(horizon_us)):
                return

    def _room_bytes(self) -> int:
        """What rows may take of the file."""
        room = self._page_limit() * PAGE_BYTES - SPARE_BYTES
        if self._disk_pages is not None:
            disk = os.statvfs(self._directory)
            if disk.f_bavail * disk.f_frsize > EASE_BYTES:
                self._disk_pages = None
            else:
                room = min(room, self._disk_pages * PAGE_BYTES - GENTLE_BYTES)
        return room

    def _prune_rows(self) -> int:
        return PRUNE_ROWS if self._disk_pages is None else GENTLE_ROWS

    async def _prune(self) -> bool:
        """Drop some acked history, or else turn some of the oldest unsent bulk into a Gap. False: nothing left."""
        for run in self._runs:
            if await self._drop_history(run):
                return True
        for run in self._runs:
            if run.lane is Lane.BULK and await self._drop_unsent(run):
                return True
        return False

    async def _drop_aged(self, horizon_us: int) -> bool:
        for run in self._runs:
            oldest = await self._all(
                "SELECT to_us FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT 1",
                row_id(run, 0), row_id(run, run.acked),
            )  # fmt: skip
            if oldest and (oldest[0][0] or 0) < horizon_us and await self._drop_history(run, horizon_us):
                return True
        return False

    async def _drop_history(self, run: Run, horizon_us: int | None = None) -> bool:
        """Some of the oldest acked rows, all of them or only those that end before the horizon."""
        rows = await self._all(
            "SELECT id, digest, to_us FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            row_id(run, 0), row_id(run, run.acked), self._prune_rows(),
        )  # fmt: skip
        if horizon_us is not None:
            rows = list(takewhile(lambda r: (r[2] or 0) < horizon_us, rows))
        if not rows:
            return False

        async def drop() -> None:
            last = rows[-1]
            await self._db.execute("DELETE FROM rows WHERE id BETWEEN ? AND ?", (rows[0][0], last[0]))
            run.held_from, run.base, run.dirty = _seq(last[0]) + 1, last[1], True
            await self._save_runs()

        await self._write(drop)
        self.pruned_rows += len(rows)
        return True

    async def _drop_unsent(self, run: Run) -> bool:
        """The oldest bulk rows that were never sent become one Gap: the cloud cannot stand inside it."""
        rows = await self._all(
            "SELECT first_seq, id FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            row_id(run, max(run.acked, run.sent)), row_id(run, run.head), self._prune_rows(),
        )  # fmt: skip
        if len(rows) < 2:
            return False
        await self._write(lambda: self._gap(run, rows[0][0], _seq(rows[-1][1]), "the card was full"))
        self.pruned_rows += len(rows) - 1
        return True

    async def _emergency(self, coming_bytes: int) -> None:
        """The disk said no. Give it the reserve, fold the log back, prune; each step may fail in its turn."""
        try:
            self._reserve.unlink(missing_ok=True)
            await self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # gives the room of the log back to the disk
            self._disk_pages = (await self._all("PRAGMA page_count"))[0][0]
            await self._make_room(coming_bytes)
            await self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (sqlite3.Error, OSError) as error:
            log.warning("making room failed too: %s", error)

    @property
    def _reserve(self) -> Path:
        return self._directory / "reserve.bin"

    def _hold_reserve(self) -> None:
        if self._reserve.exists():
            return
        told, self._reserve_told = self._reserve_told, False
        try:
            fd = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            self._reserve_told = True
            if not told:
                log.warning("no room for the reserve of %d bytes: %s", RESERVE_BYTES, error)
            with contextlib.suppress(OSError):  # on a disk that has become read-only there is nothing to take away
                self._reserve.unlink(missing_ok=True)

    # ---- ask ---------------------------------------------------------------------------------------------------

    @_whole
    async def depth(self) -> Depth:
        """See `Outbox.depth`."""
        pending = {lane: sum(max(0, r.pending) for r in self._runs if r.lane is lane) for lane in Lane}
        oldest: int | None = None
        async with self._busy:
            for run in self._runs:
                if run.pending > 0:
                    found = await self._all(
                        "SELECT from_us FROM rows WHERE id > ? AND id <= ? AND from_us IS NOT NULL ORDER BY id LIMIT 1",
                        row_id(run, run.acked), row_id(run, run.head),
                    )  # fmt: skip
                    if found:
                        oldest = found[0][0] if oldest is None else min(oldest, found[0][0])
            used = await self._used_bytes()
        return Depth(
            pending=pending,
            oldest_us=oldest,
            used_bytes=used,
            limit_bytes=self._limit_bytes,
            quarantined=self._quarantined,
        )

    @_whole
    async def recent(self, source: str) -> Sequence[bytes]:
        """See `Outbox.recent`."""
        rows = await self._all("SELECT key FROM receipts WHERE source = ? ORDER BY id DESC LIMIT ?", source, RECENT)
        return [r[0] for r in reversed(rows)]

    async def history(self, from_us: int, to_us: int, device: str | None = None) -> AsyncIterator[Columns]:
        """See `Outbox.history`."""
        async for columns in read_history(self.path, from_us, to_us, device):
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
