"""Card: the SQLite file under the outbox, with its runs, its rows and one write transaction at a time.

WAL, synchronous=FULL, one process by lock. A run is one lane of one epoch; a row is what one commit sealed in one lane.
The file never grows beyond `limit_bytes`, the write-ahead log and the reserve (`edge/outbox/retention.py`) counted.

A file that is damaged does not stop the node: what can be read of it goes into a new one (`edge/outbox/salvage.py`), at
the start and while the node runs; what SQLite loses without a word is found by `edge/outbox/mark.py`. Whatever was lost
that way ends the runs that it was lost from: what comes later goes into a new epoch. A card in memory stands in for one
that cannot be used; it forgets all when the process ends.

Nothing here waits on the event loop for the card: file operations go to threads, and `stuck_s` says for how long the
card has not answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite
import msgspec

from edge.clock import kernel_boot
from edge.outbox import card_lock, put_aside
from edge.outbox.mark import Mark, MarkedRun, MarkFile
from edge.outbox.mark import read as read_mark
from edge.outbox.records import (
    BROKEN,
    CLOSED,
    MOVING,
    OPEN,
    SCHEMA,
    SEQ_BITS,
    SUMMED,
    UNSETTLED,
    Damaged,
    check_runs,
    is_damage,
    row_key,
    seq_of,
    sum_of,
    whole,
)
from edge.outbox.salvage import Found, hole, salvage
from edge.outbox.sealing import count_lost, seal
from wire.batch import ORIGIN, Lane, Predecessor
from wire.entries import Gap

__all__ = [
    "MIN_LIMIT_BYTES", "PAGE_BYTES", "RESERVE_BYTES", "SEQ_BITS", "WAL_PAGES", "Card", "Run", "row_id",
    "seq_of",
]  # fmt: skip

log = logging.getLogger(__name__)

# A commit writes whole pages: those of 4096 bytes would wear the card twice as fast (docs/performance.md).
PAGE_BYTES: Final = 512
WAL_PAGES: Final = 2048  # folded back at 1 MiB: what a small disk can spare
RESERVE_BYTES: Final = (WAL_PAGES + 64) * PAGE_BYTES  # a whole log may have to be folded into new pages of the file
MIN_LIMIT_BYTES: Final = 4 * 1024 * 1024
HISTORY_PART: Final = 0.5  # of the limit: the most history that is saved from a damaged file
_T = TypeVar("_T")
# What `closed` of a run says in the file: closed, moving, whole, and whether its end was compared with the log's.
_WAYS: Final = {
    OPEN: (False, False, True, False),
    CLOSED: (True, False, True, True),
    MOVING: (True, True, True, True),
    3: (True, False, False, False),
    UNSETTLED: (True, True, False, False),
    BROKEN: (True, False, False, True),
    6: (True, True, False, True),
}
_WORDS: Final = {way: word for word, way in _WAYS.items()}


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
    unchecked: bool = False  # `opened_head` is in the file: it was opened before, and written on, without an answer
    ask: bool = True
    sent: int = 0  # the last seq that was cut: the cloud may stand at any row end up to here
    dirty: bool = False
    moved: int = 0  # the last seq that a fork has moved away, as far as this process knows

    @property
    def way(self) -> tuple[bool, bool, bool, bool]:
        """What `_WAYS` has a word for."""
        return self.closed, self.moving, self.whole, self.settled

    @property
    def pending(self) -> int:
        """Seqs that the city does not have yet."""
        return self.head - self.acked


def row_id(run: Run, last_seq: int) -> int:
    """The key of a row: see `edge.outbox.records.row_key`."""
    return row_key(run.id, last_seq)


class Card:
    """Open it before anything else; what is here trusts its one caller to do one thing at a time."""

    def __init__(
        self,
        directory: Path,
        *,
        limit_bytes: int,
        epoch: Callable[[], int],
        memory: bool = False,
        seed: bool = False,
        boot: Callable[[], int] = kernel_boot,
        busy: Callable[[], None] = lambda: None,
    ) -> None:
        """`memory`: nothing is written to the directory; with `seed` it begins with what can be read there. `busy` is
        called while a damaged file is read, which may take a while; from another thread."""
        if limit_bytes < MIN_LIMIT_BYTES:
            raise ValueError(f"an outbox needs at least {MIN_LIMIT_BYTES} bytes")
        self.directory, self.limit_bytes = directory, limit_bytes
        self._draw_epoch, self._boot, self._busy = epoch, boot(), busy
        self.memory, self._seed = memory, seed
        self.seeded = False  # whether all state by key was read of the card that memory stands in for
        self._lock_fd = -1
        self._mark = MarkFile(directory)
        self._mark_fails = False
        self.page_bytes = PAGE_BYTES
        self.runs: list[Run] = []
        self.holes: set[int] = set()  # keys of rows in whose place a salvage has left a Gap
        self.damaged: str | None = None  # what became of a file that could not be read
        self.rescues = 0  # how often a new file has been begun since this was opened
        self.last_known_us = 0  # the greatest time that it holds: no clock may start before
        self.usable = False
        self._waiting = 0
        self._since = 0.0  # when the card has last answered, while something waits for it

    @property
    def path(self) -> Path:
        """The database file."""
        return self.directory / "outbox.db"

    @property
    def stuck_s(self) -> float:
        """For how many seconds something has waited for the card without any answer; 0 when nothing waits."""
        return time.monotonic() - self._since if self._waiting else 0.0

    def run(self, run_id: int) -> Run:
        """A run as it is now: after a failed write, runs are other objects."""
        return next(r for r in self.runs if r.id == run_id)

    def open_run(self, lane: Lane) -> Run:
        """The run of a lane that is written now."""
        return next(r for r in reversed(self.runs) if r.lane is lane and not r.closed)

    # ---- open and close --------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open or create the file; a damaged one is salvaged.

        Raises:
            edge.card_lock.InUse: another process has it. OSError, sqlite3.Error: the card cannot be used.
        """
        if self.memory:
            await self._open_memory()
            return
        mark = await self.aside(self._take)
        try:
            wal_lost = await self.aside(lambda: self._look(mark))
            try:
                await self._open()
                await self._reconcile(mark, wal_lost=wal_lost)
                await self._begin_runs()
            except (sqlite3.Error, MemoryError) as error:
                if not is_damage(error):
                    raise
                await self._close_db()
                await self._salvage(str(error), mark)
                await self._open()
                await self._begin_runs()
            await self.aside(lambda: self._mark.write(self._marked(), sync=True))
        except BaseException:
            await self._close_db()
            self._let_go()
            raise

    async def touch(self) -> None:
        """Write something: whether the card takes it is known only then.

        Raises:
            sqlite3.Error: it does not.
        """

        async def touch() -> None:
            ((version,),) = await self.all("PRAGMA user_version")
            await self.execute(f"PRAGMA user_version={(version + 1) % 1000}")

        await self.write(touch)

    async def close(self) -> None:
        """Write down what was acked and close."""
        try:
            if self.usable:
                await self.write(self.save_runs)
        except sqlite3.Error:
            log.exception("the last acknowledgements were not written down; the cloud will be asked instead")
        clean = await self._close_db()
        if not self.memory:
            if clean:
                await self.aside(lambda: self._try_mark(closed=True))
            self._let_go()

    async def rescue(self, why: BaseException) -> None:
        """The file has turned out to be damaged while it was used: go on with a new one.

        Raises:
            OSError, sqlite3.Error: the card does not take a new one.
        """
        mark = self._marked() if self.runs else None
        await self._close_db()
        await self._salvage(str(why), mark)
        await self._open()
        await self._begin_runs()
        self.rescues += 1

    def _take(self) -> Mark | None:
        """The lock; whatever a life before has left half done; the mark."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock_fd = card_lock.take(self.directory / "outbox.lock")
        try:
            put_aside.finish(self.path)
            return read_mark(self.directory)
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        self._mark.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _look(self, mark: Mark | None) -> bool:
        """Put aside what is no file. Whether the write-ahead log of a life that was cut short has gone."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            found = None
            if os.path.lexists(self.path):  # a link to nowhere
                put_aside.put_aside(self.path)
        if found is not None and not stat.S_ISREG(found.st_mode):
            self._tell(f"{self.path.name} was no file and is now {put_aside.damaged(self.path).name}")
            put_aside.put_aside(self.path)
            return False
        wal = self.path.with_name("outbox.db-wal")
        if (found is None or not found.st_size) and wal.exists():
            put_aside.put_aside(self.path)  # SQLite would delete it
        return bool(found is not None and found.st_size and mark is not None and not mark.closed and not wal.exists())

    async def _open_memory(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        if self._seed:
            part = self.limit_bytes // 4
            try:
                found = await self.aside(
                    lambda: salvage(
                        self.path, connection, mark=None, boot=0, limit_bytes=2 * part, history_bytes=part, max_holes=0,
                        moved=self._moved,
                    )
                )  # fmt: skip
                self.seeded = not found.kept_lost and not found.receipts_lost
                log.info("of the card: %s", found.words())
            except (sqlite3.Error, OSError) as error:
                log.warning("nothing could be read of the card: %s", error)
                connection.close()
                connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db = aiosqlite.Connection(lambda: connection, 64)
        await self.db
        self.usable = True
        await self._prepare()
        await self._begin_runs()

    async def _open(self) -> None:
        self._since, self._waiting = time.monotonic(), self._waiting + 1
        try:
            self.db = await aiosqlite.connect(self.path, isolation_level=None)
        finally:
            self._waiting -= 1
        self.usable = True
        try:
            await self._prepare()
        except BaseException:
            await self._close_db()  # its thread would keep the process alive
            raise

    async def _close_db(self) -> bool:
        """Whether it was closed in good order; a damaged file may not let itself be."""
        if not self.usable:
            return False
        self.usable = False
        with self._asking():
            try:
                await self.db.close()
            except (sqlite3.Error, MemoryError) as error:
                log.warning("the outbox was not closed in good order: %s", error)
                return False
        return True

    async def _prepare(self) -> None:
        for pragma in (
            f"page_size={PAGE_BYTES}",
            "auto_vacuum=NONE",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"wal_autocheckpoint={WAL_PAGES}",
            f"journal_size_limit={WAL_PAGES * PAGE_BYTES}",
            "temp_store=MEMORY",
            "cell_size_check=ON",
        ):
            await self.execute(f"PRAGMA {pragma}")
        self.page_bytes = (await self.all("PRAGMA page_size"))[0][0]  # of an older file it is another
        await self.execute(f"PRAGMA max_page_count={self.page_limit()}")
        await self._check_schema()
        await self._load()
        await self._check()

    async def _check_schema(self) -> None:
        tables = {name for (name,) in await self.all("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if tables and not {"runs", "rows"} <= tables:
            raise Damaged("its tables are missing")
        if not {"runs", "rows", "holes", "unchecked", "quarantine", "receipts", "kept"} <= tables:
            with self._asking():
                await self.db.executescript(SCHEMA)
        for table in SUMMED:
            if not any(c[1] == "sum" for c in await self.all(f"PRAGMA table_info({table})")):
                await self.execute(f"ALTER TABLE {table} ADD COLUMN sum BLOB")  # a file of before

    async def _check(self) -> None:
        """Read what is small and must be whole; of rows each is looked at when it is sent.

        Raises:
            Damaged, sqlite3.DatabaseError.
        """
        for key, value, sum_ in await self.all("SELECT key, value, sum FROM kept"):
            if not isinstance(key, str) or not isinstance(value, bytes) or not whole(sum_, key, value):
                raise Damaged(f"{key} is not as it was kept")
        for source, n, keys, sum_ in await self.all("SELECT source, n, keys, sum FROM receipts"):
            if not isinstance(source, str) or not isinstance(keys, bytes) or not whole(sum_, source, n, keys):
                raise Damaged("a receipt is not as it was kept")
        await self.all("SELECT max(id), count(*) FROM quarantine")

    async def _salvage(self, why: str, mark: Mark | None) -> None:
        """A file that is damaged is kept beside; what can be read of it is in the new one, under its old epoch."""
        log.error("%s is damaged (%s); what can be read of it is saved", self.path.name, why)
        try:
            found = await self.aside(lambda: self._make_new(mark))
        except (sqlite3.Error, OSError) as error:
            log.warning("no room to save it all (%s): without history, and without what was put aside before", error)
            found = await self.aside(lambda: self._make_new(mark, spare=True))
        self._tell(
            f"{self.path.name} was damaged ({why}) and is now {put_aside.damaged(self.path).name}; {found.words()}"
        )

    def _make_new(self, mark: Mark | None, *, spare: bool = False) -> Found:
        if spare:
            put_aside.drop(self.path)
            (self.directory / "reserve.bin").unlink(missing_ok=True)
        new = put_aside.making(self.path)
        new.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as into:
            into.execute(f"PRAGMA page_size={PAGE_BYTES}")
            into.execute("PRAGMA journal_mode=OFF")  # until it has taken its place it is nothing
            into.execute("PRAGMA synchronous=OFF")
            found = salvage(
                self.path,
                into,
                mark=mark,
                boot=self._boot,
                limit_bytes=self.limit_bytes,
                history_bytes=0 if spare else int(self.limit_bytes * HISTORY_PART),
                moved=self._moved,
            )
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(put_aside.made(self.path))
        put_aside.sync(self.directory)
        put_aside.finish(self.path)
        return found

    def _tell(self, what: str) -> None:
        self.damaged = what if self.damaged is None else f"{self.damaged}; then {what}"[:1000]
        log.error("%s", what)

    def _moved(self) -> None:
        """A salvage has moved on: the card answers."""
        self._since = time.monotonic()
        self._busy()

    async def _reconcile(self, mark: Mark | None, *, wal_lost: bool) -> None:
        """What the mark knows of and the file does not is lost: a hole is put in its place."""
        if mark is None:
            return
        exact = mark.exact(self._boot)
        lost = 0

        async def lose(run: Run, marked: MarkedRun) -> None:
            nonlocal lost
            lost += marked.head - run.head
            fields = hole(run.id, run.head + 1, marked.head, marked.digest)
            await self.put_row(*fields)
            await self.execute("INSERT OR IGNORE INTO holes VALUES (?)", fields[0])
            self.holes.add(fields[0])
            run.head, run.head_digest = marked.head, marked.digest

        async def work() -> None:
            went_back = wal_lost and not exact
            for marked in reversed(mark.runs):
                run = next((r for r in self.runs if (r.epoch, r.lane) == (marked.epoch, marked.lane)), None)
                if run is None and marked.head > 0:
                    run = await self.create_run(marked.lane, marked.epoch)
                if run is not None and run.head < marked.head:
                    await lose(run, marked)
                    went_back = True
            if went_back:  # the file is one: what is kept by key has gone back too, and the city must not believe in it
                for run in self.runs:
                    if not run.closed:
                        run.whole, run.opened_head = False, None
                        run.closed = run.settled = run.dirty = True
            await self.save_runs()

        before = [(r.id, r.head, r.closed) for r in self.runs]
        await self.write(work)
        if [(r.id, r.head, r.closed) for r in self.runs] != before:
            self.runs.sort(key=lambda r: r.id)
            was = "its write-ahead log has gone" if wal_lost else f"{self.path.name} is older than its mark"
            self._tell(f"{was}: {lost or 'perhaps some'} entries are lost")

    def page_limit(self) -> int:
        """The most pages that the file may have.

        The log may grow to twice its checkpoint mark while one commit is under way; the rest is for the file.
        """
        return (self.limit_bytes - 2 * WAL_PAGES * PAGE_BYTES - RESERVE_BYTES) // self.page_bytes

    async def _load(self) -> None:
        self.runs = []
        columns = "id, lane, epoch, held_from, base, acked, told, closed, sum"
        found = await self.all(f"SELECT {columns} FROM runs ORDER BY id")  # noqa: S608 - constants of our own
        check_runs(found)
        unchecked = dict(await self.all("SELECT run, head FROM unchecked"))
        for id_, lane, epoch, held, base, acked, told, closed, _ in found:
            way = _WAYS[closed]
            run = Run(id_, Lane(lane), epoch, held, base, acked, told, way[0], way[1], held - 1, base, *way[2:])
            if run.moving:
                run.keep = acked
                run.acked = acked if run.settled else held - 1  # asked again; until then nothing counts as acked
            await self.find_head(run)
            if not run.closed:
                run.unchecked = id_ in unchecked
                run.opened_head = min(run.head, unchecked.get(id_, run.head))
            # Kept even when nothing of it is held any more: a restored cloud must still be told of the gap.
            self.runs.append(run)
        self.holes = {id_ for (id_,) in await self.all("SELECT id FROM holes")}
        for run in self.runs:
            newest = await self.all(
                "SELECT max(to_us) FROM (SELECT to_us FROM rows WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 100)",
                row_id(run, 0), row_id(run, run.head),
            )  # fmt: skip
            self.last_known_us = max(self.last_known_us, newest[0][0] or 0)

    async def find_head(self, run: Run) -> None:
        """Look where a run ends now."""
        found = await self.all(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id >= ? AND id < ?"
            " ORDER BY id DESC LIMIT 1",
            row_id(run, 0), (run.id + 1) << SEQ_BITS,
        )  # fmt: skip
        if found and not whole(found[0][6], *found[0][:6]):
            raise Damaged("the last row of a run is not as it was written")
        run.head, run.head_digest = (seq_of(found[0][0]), found[0][4]) if found else (run.held_from - 1, run.base)

    async def _begin_runs(self) -> None:
        """Each lane has a run that is open; one epoch for those that begin together."""
        lanes = [lane for lane in Lane if not any(r.lane is lane and not r.closed for r in self.runs)]
        if not lanes:
            return
        epoch = self._draw_epoch()

        async def create() -> None:
            for lane in lanes:
                await self.create_run(lane, epoch)

        await self.write(create)

    async def create_run(self, lane: Lane, epoch: int) -> Run:
        """Begin a run; inside a transaction."""
        id_ = max((r.id for r in self.runs), default=0) + 1
        fields = (id_, lane.value, epoch, 1, ORIGIN, 0, ORIGIN, 0)
        await self.execute(
            "INSERT INTO runs (id, lane, epoch, held_from, base, acked, told, closed, sum)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *fields, sum_of(*fields),
        )  # fmt: skip
        run = Run(id_, lane, epoch, 1, ORIGIN, 0, ORIGIN, closed=False, moving=False, head=0, head_digest=ORIGIN)
        self.runs.append(run)
        return run

    async def put_row(
        self, id_: int, first_seq: int, from_us: int | None, to_us: int | None, digest: bytes, body: bytes
    ) -> None:
        """Write a row down; inside a transaction."""
        fields = (id_, first_seq, from_us, to_us, digest, body)
        await self.execute(
            "INSERT INTO rows (id, first_seq, from_us, to_us, digest, body, sum) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *fields, sum_of(*fields),
        )  # fmt: skip

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
            for run in self.runs:  # the file is one: if it went back, it did so in both lanes
                await self.checked(run)
            for lane in Lane:
                await self.create_run(lane, epoch)
            await self.save_runs()

        await self.write(begin)

    async def written_on(self, run: Run) -> None:
        """A run is about to grow: where it ended when the file was opened must outlive the next start, until the cloud
        has said whether it had been told of more. Inside a transaction."""
        if run.opened_head is not None and not run.unchecked:
            await self.execute("INSERT OR REPLACE INTO unchecked VALUES (?, ?)", run.id, run.opened_head)
            run.unchecked = True

    async def checked(self, run: Run) -> None:
        """The cloud has answered for a run. Inside a transaction, and before the cloud is told of what was written on:
        it must not be held against the run after the next start."""
        if run.unchecked:
            await self.execute("DELETE FROM unchecked WHERE run = ?", run.id)
        run.opened_head, run.unchecked = None, False

    async def save_runs(self) -> None:
        """Write down what has changed about runs; inside a transaction."""
        for run in self.runs:
            if run.dirty:
                fields = (
                    run.held_from,
                    run.base,
                    run.keep if run.moving else run.acked,
                    run.told,
                    _WORDS[run.way],
                )
                await self.execute(
                    "UPDATE runs SET held_from = ?, base = ?, acked = ?, told = ?, closed = ?, sum = ? WHERE id = ?",
                    *fields, sum_of(run.id, run.lane.value, run.epoch, *fields), run.id,
                )  # fmt: skip
                run.dirty = False

    async def write(self, work: Callable[[], Any]) -> None:
        """One transaction. When it fails, nothing of it is left, in the file or in memory."""
        before = [msgspec.structs.replace(r) for r in self.runs]
        try:
            if self.db.in_transaction:  # the last one could not even be rolled back
                await self.execute("ROLLBACK")
            await self.execute("BEGIN IMMEDIATE")
            await work()
            await self.execute("COMMIT")
        except BaseException:
            self.runs = before
            with contextlib.suppress(sqlite3.Error):  # what went wrong first is what counts
                if self.db.in_transaction:
                    await self.execute("ROLLBACK")
            raise
        if not self.memory:
            await self.aside(self._try_mark)

    def _marked(self, *, closed: bool = False) -> Mark:
        runs = [MarkedRun(r.id, r.lane, r.epoch, r.head, r.head_digest) for r in reversed(self.runs)]
        return Mark(self._boot, closed, tuple(runs))

    def _try_mark(self, *, closed: bool = False) -> None:
        try:
            self._mark.write(self._marked(closed=closed), sync=closed)
        except OSError as error:
            if not self._mark_fails:
                log.warning("the mark beside the outbox cannot be written: %s", error)
            self._mark_fails = True
        else:
            self._mark_fails = False

    # ---- asking the card -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _asking(self) -> Generator[None]:
        """Around whatever waits for the card."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._since = time.monotonic()

    async def aside(self, what: Callable[[], _T]) -> _T:
        """Do something with the card's files in a thread: a card that never answers must not hold up the loop."""
        with self._asking():
            return await asyncio.to_thread(what)

    async def execute(self, query: str, *args: object) -> None:
        """Do one statement."""
        with self._asking():
            await self.db.execute(query, args)

    async def all(self, query: str, *args: object) -> list[Any]:
        """All rows that a query finds."""
        with self._asking():
            return list(await self.db.execute_fetchall(query, args))

    async def used_pages(self) -> int:
        """Pages of the file that hold something."""
        pages = (await self.all("PRAGMA page_count"))[0][0]
        free = (await self.all("PRAGMA freelist_count"))[0][0]
        return pages - free

    async def used_bytes(self) -> int:
        """What file and write-ahead log take on the disk, less what is free inside."""
        used = await self.used_pages() * self.page_bytes
        return used if self.memory else used + await self.aside(self._wal_bytes)

    def _wal_bytes(self) -> int:
        try:
            return self.path.with_name("outbox.db-wal").stat().st_size
        except FileNotFoundError:
            return 0

    async def gap(self, run: Run, first_seq: int, last_seq: int, reason: str) -> None:
        """Put one Gap in the place of the rows from first_seq to last_seq; the row end keeps its digest."""
        rows = await self.all(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id BETWEEN ? AND ? ORDER BY id",
            row_id(run, first_seq), row_id(run, last_seq),
        )  # fmt: skip
        if not rows:
            raise Damaged(f"the rows from {first_seq} to {last_seq} have gone")
        # Of a row that is not as it was written nothing is believed but where it lies.
        sound: list[Any] = []
        next_seq = first_seq
        for row in rows:
            good = whole(row[6], *row[:6]) and row[1] == next_seq
            sound.append(row if good else (row[0], next_seq, None, None, row[4], b"", None))
            next_seq = seq_of(row[0]) + 1
        lost, devices = count_lost((seq_of(r[0]) - r[1] + 1, r[5]) for r in sound)
        gap = Gap(
            reason=reason,
            lost=lost,
            seqs=last_seq - first_seq + 1,
            from_us=min((r[2] for r in sound if r[2] is not None), default=None),
            to_us=max((r[3] for r in sound if r[3] is not None), default=None),
            devices=devices,
        )
        (sealed,) = seal([gap])
        await self.execute("DELETE FROM rows WHERE id BETWEEN ? AND ?", rows[0][0], rows[-1][0])
        await self.put_row(rows[-1][0], first_seq, gap.from_us, gap.to_us, rows[-1][4], sealed.body)
