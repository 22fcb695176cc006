"""Card: the SQLite file under the outbox, with its runs, its rows and one write transaction at a time.

WAL, synchronous=FULL, one process by lock. A run is one lane of one epoch; a row is what one commit sealed in one lane.
The file never grows beyond `limit_bytes`, the write-ahead log and the reserve (`edge/room.py`) counted.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiosqlite
import msgspec

from edge.rows import count_lost, seal
from wire.batch import ORIGIN, Lane, Predecessor
from wire.entries import Gap

log = logging.getLogger(__name__)

# A commit writes whole pages: those of 4096 bytes would wear the card twice as fast (docs/performance.md).
PAGE_BYTES: Final = 512
WAL_PAGES: Final = 2048  # folded back at 1 MiB: what a small disk can spare
RESERVE_BYTES: Final = (WAL_PAGES + 64) * PAGE_BYTES  # a whole log may have to be folded into new pages of the file
MIN_LIMIT_BYTES: Final = 4 * 1024 * 1024
# What `closed` of a run says in the file: closed, moving, whole, and whether its end was compared with the log's.
_WAYS: Final = {
    0: (False, False, True, False),
    1: (True, False, True, True),
    2: (True, True, True, True),
    3: (True, False, False, False),
    4: (True, True, False, False),
    5: (True, False, False, True),
    6: (True, True, False, True),
}
_WORDS: Final = {way: word for word, way in _WAYS.items()}

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, lane TEXT NOT NULL, epoch INTEGER NOT NULL,
    held_from INTEGER NOT NULL, base BLOB NOT NULL,      -- first seq still held, digest before it
    acked INTEGER NOT NULL, told BLOB NOT NULL,          -- where the cloud stood last, by its own word
    closed INTEGER NOT NULL) STRICT;                     -- a word of `_WAYS`
CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY,                              -- run and last seq in one: see row_id
    first_seq INTEGER NOT NULL, from_us INTEGER, to_us INTEGER, digest BLOB NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY, row INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS receipts (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL,        -- one row a source and commit
    n INTEGER NOT NULL, keys BLOB NOT NULL) STRICT;      -- how many, and a MessagePack array of them
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
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
    moving: bool  # closed, and the rows after `keep` are not all with the new run yet
    head: int
    head_digest: bytes
    whole: bool = True  # false: the card has lost some of what was written after `head`
    settled: bool = False  # closed, and what it still holds lies before the place at which the cloud stood
    keep: int = 0  # while it is moving: its last seq that stays
    opened_head: int | None = None  # where it ended when the file was opened, until the cloud has told its place
    ask: bool = True
    sent: int = 0  # the last seq that was cut: the cloud may stand at any row end up to here
    dirty: bool = False

    @property
    def way(self) -> tuple[bool, bool, bool, bool]:
        """What `_WAYS` has a word for."""
        return self.closed, self.moving, self.whole, self.settled

    @property
    def pending(self) -> int:
        """Seqs that the city does not have yet."""
        return self.head - self.acked


SEQ_BITS: Final = 44  # 17 million million samples a run, and half a million runs


def row_id(run: Run, last_seq: int) -> int:
    """The key of a row: its run, then its last seq. So rows lie in order and need no index, which would cost the
    card another page with every commit."""
    return run.id << SEQ_BITS | last_seq


def seq_of(id_: int) -> int:
    """The last seq of a row, by its key."""
    return id_ & ((1 << SEQ_BITS) - 1)


class Card:
    """Open it before anything else; what is here trusts its one caller to do one thing at a time."""

    def __init__(self, directory: Path, *, limit_bytes: int, epoch: Callable[[], int]) -> None:
        if limit_bytes < MIN_LIMIT_BYTES:
            raise ValueError(f"an outbox needs at least {MIN_LIMIT_BYTES} bytes")
        self.directory, self.limit_bytes = directory, limit_bytes
        self._draw_epoch = epoch
        self._lock_fd = -1
        self.page_bytes = PAGE_BYTES
        self.runs: list[Run] = []
        self.damaged: str | None = None  # what became of a file that could not be read
        self.last_known_us = 0  # the greatest time that it holds: no clock may start before

    @property
    def path(self) -> Path:
        """The database file."""
        return self.directory / "outbox.db"

    def run(self, run_id: int) -> Run:
        """A run as it is now: after a failed write, runs are other objects."""
        return next(r for r in self.runs if r.id == run_id)

    async def open(self) -> None:
        """Open or create the file.

        Raises:
            RuntimeError: another process has it.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(self.directory / "outbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock_fd)
            raise RuntimeError(f"{self.directory} is in use by another node process") from error
        try:
            try:
                await self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._put_aside(error)
                await self._open()
        except BaseException:
            os.close(self._lock_fd)
            raise

    async def close(self) -> None:
        """Write down what was acked and close."""
        try:
            await self.write(self.save_runs)
        except sqlite3.Error:
            log.exception("the last acknowledgements were not written down; the cloud will be asked instead")
        await self.db.close()
        os.close(self._lock_fd)

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        """A file that SQLite cannot read is kept beside, and a new one begun under a new epoch: the node goes on.

        What it held and the city has not is lost; the ledger shows the old epoch as unfinished.
        """
        self.damaged = f"{self.path.name} was unreadable ({error}) and is now {self.path.name}.damaged"
        log.error("%s", self.damaged)
        self.path.replace(self.path.with_name(f"{self.path.name}.damaged"))
        for end in ("-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    async def _open(self) -> None:
        self.db = await aiosqlite.connect(self.path, isolation_level=None)
        try:
            await self._prepare()
        except BaseException:
            await self.db.close()  # its thread would keep the process alive
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
        ):
            await self.db.execute(f"PRAGMA {pragma}")
        self.page_bytes = (await self.all("PRAGMA page_size"))[0][0]  # of an older file it is another
        await self.db.execute(f"PRAGMA max_page_count={self.page_limit()}")
        await self.db.executescript(_SCHEMA)
        await self._load()

    def page_limit(self) -> int:
        """The most pages that the file may have.

        The log may grow to twice its checkpoint mark while one commit is under way; the rest is for the file.
        """
        return (self.limit_bytes - 2 * WAL_PAGES * PAGE_BYTES - RESERVE_BYTES) // self.page_bytes

    async def _load(self) -> None:
        self.runs = []
        columns = "id, lane, epoch, held_from, base, acked, told, closed"
        for id_, lane, epoch, held, base, acked, told, closed in await self.all(
            f"SELECT {columns} FROM runs ORDER BY id"  # noqa: S608 - constants of our own
        ):
            way = _WAYS.get(closed, _WAYS[5])
            run = Run(id_, Lane(lane), epoch, held, base, acked, told, way[0], way[1], held - 1, base, *way[2:])
            if run.moving:
                run.keep = acked
                run.acked = acked if run.settled else held - 1  # asked again; until then nothing counts as acked
            await self.find_head(run)
            run.opened_head = None if run.closed else run.head
            # Kept even when nothing of it is held any more: a restored cloud must still be told of the gap.
            self.runs.append(run)
        if not self.runs:
            epoch = self._draw_epoch()
            await self.write(lambda: self._create_runs(epoch))
        for run in self.runs:
            newest = await self.all(
                "SELECT max(to_us) FROM (SELECT to_us FROM rows WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 100)",
                row_id(run, 0), row_id(run, run.head),
            )  # fmt: skip
            self.last_known_us = max(self.last_known_us, newest[0][0] or 0)

    async def find_head(self, run: Run) -> None:
        """Look where a run ends now."""
        found = await self.all(
            "SELECT id, digest FROM rows WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1",
            row_id(run, 0), (run.id + 1) << SEQ_BITS,
        )  # fmt: skip
        run.head, run.head_digest = (seq_of(found[0][0]), found[0][1]) if found else (run.held_from - 1, run.base)

    async def _create_runs(self, epoch: int) -> None:
        for lane in Lane:
            await self.create_run(lane, epoch)

    async def create_run(self, lane: Lane, epoch: int) -> Run:
        """Begin a run; inside a transaction."""
        cursor = await self.db.execute(
            "INSERT INTO runs (lane, epoch, held_from, base, acked, told, closed) VALUES (?, ?, 1, ?, 0, ?, 0)",
            (lane.value, epoch, ORIGIN, ORIGIN),
        )
        assert cursor.lastrowid is not None
        run = Run(
            cursor.lastrowid, lane, epoch, 1, ORIGIN, 0, ORIGIN, closed=False, moving=False, head=0, head_digest=ORIGIN
        )
        self.runs.append(run)
        return run

    def predecessor(self, run: Run) -> Predecessor | None:
        """What the first batch of a run says of the run before it in its lane; None where there was none: a new card.

        A run that never held anything is passed over: the cloud cannot have heard of it.
        """
        found: Predecessor | None = None
        whole = True
        for before in reversed([r for r in self.runs if r.lane is run.lane and r.id < run.id]):
            whole &= before.whole
            if before.head or not whole:
                found = Predecessor(before.epoch, before.head, before.head_digest, whole=whole)
            if before.head:
                break
        return found

    async def begin_after_loss(self) -> None:
        """Begin new runs after those that are here, and say of these that they had more than the card holds. What was
        there when the file was opened is sent as before, what has come since moves to the new runs; the ledger shows
        the old ones as unfinished.

        For a file that is not all that was written: one that was salvaged, or is older than what was committed. Call
        it after `open`, before anything is appended or cut; later the caller sees to what is `moving`.
        """

        async def begin() -> None:
            epoch = self._draw_epoch()
            for lane in Lane:
                last = next(r for r in reversed(self.runs) if r.lane is lane and not r.closed)
                last.keep = last.head if last.opened_head is None else last.opened_head
                last.moving = last.head > last.keep
                last.closed, last.whole, last.dirty = True, False, True
            for run in self.runs:
                run.opened_head = None  # the file is one: if it went back, it did so in both lanes
            for lane in Lane:
                await self.create_run(lane, epoch)
            await self.save_runs()

        await self.write(begin)

    async def save_runs(self) -> None:
        """Write down what has changed about runs; inside a transaction."""
        for run in self.runs:
            if run.dirty:
                await self.db.execute(
                    "UPDATE runs SET held_from = ?, base = ?, acked = ?, told = ?, closed = ? WHERE id = ?",
                    (
                        run.held_from,
                        run.base,
                        run.keep if run.moving else run.acked,
                        run.told,
                        _WORDS[run.way],
                        run.id,
                    ),
                )
                run.dirty = False

    async def write(self, work: Callable[[], Any]) -> None:
        """One transaction. When it fails, nothing of it is left, in the file or in memory."""
        before = [msgspec.structs.replace(r) for r in self.runs]
        try:
            if self.db.in_transaction:  # the last one could not even be rolled back
                await self.db.execute("ROLLBACK")
            await self.db.execute("BEGIN IMMEDIATE")
            await work()
            await self.db.execute("COMMIT")
        except BaseException:
            self.runs = before
            if self.db.in_transaction:
                await self.db.execute("ROLLBACK")
            raise

    async def all(self, query: str, *args: object) -> list[Any]:
        """All rows that a query finds."""
        return list(await self.db.execute_fetchall(query, args))

    async def used_pages(self) -> int:
        """Pages of the file that hold something."""
        pages = (await self.all("PRAGMA page_count"))[0][0]
        free = (await self.all("PRAGMA freelist_count"))[0][0]
        return pages - free

    async def used_bytes(self) -> int:
        """What file and write-ahead log take on the disk, less what is free inside."""
        wal = self.path.with_name("outbox.db-wal")
        return await self.used_pages() * self.page_bytes + (wal.stat().st_size if wal.exists() else 0)

    async def gap(self, run: Run, first_seq: int, last_seq: int, reason: str) -> None:
        """Put one Gap in the place of the rows from first_seq to last_seq; the row end keeps its digest."""
        rows = await self.all(
            "SELECT id, first_seq, from_us, to_us, body FROM rows WHERE id BETWEEN ? AND ? ORDER BY id",
            row_id(run, first_seq), row_id(run, last_seq),
        )  # fmt: skip
        lost, devices = count_lost((seq_of(r[0]) - r[1] + 1, r[4]) for r in rows)
        gap = Gap(
            reason=reason,
            lost=lost,
            seqs=last_seq - rows[0][1] + 1,
            from_us=min((r[2] for r in rows if r[2] is not None), default=None),
            to_us=max((r[3] for r in rows if r[3] is not None), default=None),
            devices=devices,
        )
        (sealed,) = seal([gap])
        await self.db.execute("DELETE FROM rows WHERE id BETWEEN ? AND ?", (rows[0][0], rows[-1][0] - 1))
        await self.db.execute(
            "UPDATE rows SET first_seq = ?, from_us = ?, to_us = ?, body = ? WHERE id = ?",
            (rows[0][1], gap.from_us, gap.to_us, sealed.body, rows[-1][0]),
        )
