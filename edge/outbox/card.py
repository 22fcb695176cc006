"""Card: all that the outbox has on the card, opened together: the file with its runs and rows, the lock and the mark
beside it. One write transaction at a time.

One process by lock. A row is what one commit sealed in one lane. The file never grows beyond `limit_bytes`, the
write-ahead log and the reserve (`edge/outbox/retention.py`) counted.

A file that is damaged does not stop the node: what can be read of it goes into a new one (`edge/outbox/rescue.py`), at
the start and while the node runs; what SQLite loses without a word is found by `edge/outbox/mark.py`. Whatever was lost
that way ends the runs that it was lost from: what comes later goes into a new epoch. A card in memory stands in for one
that cannot be used; it forgets all when the process ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.clock import kernel_boot
from edge.outbox import card_lock, put_aside
from edge.outbox.database import PAGE_BYTES, Database
from edge.outbox.mark import CardMark, MarkedRun, MarkFile
from edge.outbox.mark import read as read_mark
from edge.outbox.records import Damaged, is_damage, seq_of, sum_of, whole
from edge.outbox.rescue import look, make_new
from edge.outbox.runs import Run, RunRecords, row_id
from edge.outbox.salvage import SalvageReport, hole, salvage
from edge.outbox.sealing import count_lost, seal
from wire.batch import DIGEST_BYTES, Lane, advance
from wire.entries import Gap
from wire.time import Utc

log = logging.getLogger(__name__)


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
        self.directory, self.limit_bytes = directory, limit_bytes
        self.db = Database(directory / "outbox.db", limit_bytes=limit_bytes, memory=memory)
        self.runs = RunRecords(self.db)
        self._draw_epoch, self._boot, self._busy = epoch, boot(), busy
        self.memory, self._seed = memory, seed
        self.seeded = False  # whether all state by key was read of the card that memory stands in for
        self.cut_short = False  # whether the machine went down while it was in use
        self._lock_fd = -1
        self._mark = MarkFile(directory)
        self._mark_fails = False
        self.holes: set[int] = set()  # keys of rows in whose place a salvage has left a Gap
        self.damaged: str | None = None  # what became of a file that could not be read
        self.rescues = 0  # how often a new file has been begun since this was opened
        self.last_known_us = Utc(0)  # the greatest time that it holds: no clock may start before

    @property
    def path(self) -> Path:
        """The database file."""
        return self.db.path

    @property
    def file(self) -> Path | None:
        """The same for whoever reads it beside the node; None while memory stands in for it."""
        return None if self.memory else self.path

    @property
    def stuck_s(self) -> float:
        """See `edge.outbox.database.Database`."""
        return self.db.stuck_s

    @property
    def answered(self) -> int:
        """How often the card has answered."""
        return self.db.answered

    # ---- open and close --------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open or create the file; a damaged one is salvaged.

        Raises:
            edge.card_lock.InUse: another process has it. OSError, sqlite3.Error: the card cannot be used.
        """
        if self.memory:
            await self._open_memory()
            return
        mark = await self.db.aside(self._take)
        self.cut_short = mark is not None and not mark.exact(self._boot)
        try:
            wal_lost, what = await self.db.aside(lambda: look(self.path, mark))
            if what is not None:
                self._tell(what)
            try:
                await self._open(mark=mark)
                await self._reconcile(mark, wal_lost=wal_lost)
                await self._begin_runs()
            except (sqlite3.Error, MemoryError) as error:
                if not is_damage(error):
                    raise
                await self.db.close()
                await self._salvage(str(error), mark)
                await self._open(mark=mark)
                await self._begin_runs()
            await self.db.aside(lambda: self._mark.write(self._marked(), sync=True))
        except BaseException:
            await self.db.close()
            self._let_go()
            raise

    async def touch(self) -> None:
        """Write something: whether the card takes it is known only then.

        Raises:
            sqlite3.Error: it does not.
        """

        async def touch() -> None:
            ((version,),) = await self.db.all("PRAGMA user_version")
            await self.db.execute(f"PRAGMA user_version={(version + 1) % 1000}")

        await self.write(touch)

    async def close(self) -> None:
        """Write down what was acked and close."""
        try:
            if self.db.usable:
                await self.write(self.runs.save)
        except sqlite3.Error:
            log.exception("the last acknowledgements were not written down; the cloud will be asked instead")
        clean = await self.db.close()
        if not self.memory:
            if clean:
                await self.db.aside(lambda: self._try_mark(closed=True))
            self._let_go()

    async def rescue(self, why: BaseException) -> None:
        """The file has turned out to be damaged while it was used: go on with a new one.

        Raises:
            OSError, sqlite3.Error: the card does not take a new one.
        """
        mark = self._marked() if self.runs else None
        await self.db.close()
        await self._salvage(str(why), mark)
        await self._open(mark=mark)
        await self._begin_runs()
        self.rescues += 1

    def _take(self) -> CardMark | None:
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

    async def _open_memory(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        if self._seed:
            part = self.limit_bytes // 4
            try:
                found = await self.db.aside(
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
        await self._open(connection)
        await self._begin_runs()

    async def _open(self, connection: sqlite3.Connection | None = None, *, mark: CardMark | None = None) -> None:
        await self.db.open(connection)
        try:
            await self.runs.load()
            moved = {(m.epoch, m.lane): m.moved for m in mark.runs} if mark is not None else {}
            for run in self.runs:
                run.moved = moved.get((run.epoch, run.lane), 0) if run.moving else 0
            self.holes = {id_ for (id_,) in await self.db.all("SELECT id FROM holes")}
            self.last_known_us = max(self.last_known_us, await self.runs.newest_us())
            await self.db.check()
        except BaseException:
            await self.db.close()
            raise

    async def _begin_runs(self) -> None:
        """Each lane has a run that is open; one epoch for those that begin together."""
        lanes = [lane for lane in Lane if not any(r.lane is lane and not r.closed for r in self.runs)]
        if not lanes:
            return
        epoch = self._draw_epoch()

        async def create() -> None:
            for lane in lanes:
                await self.runs.create(lane, epoch)

        await self.write(create)

    async def _salvage(self, why: str, mark: CardMark | None) -> None:
        """A file that is damaged is kept beside; what can be read of it is in the new one, under its old epoch."""
        log.error("%s is damaged (%s); what can be read of it is saved", self.path.name, why)
        try:
            found = await self._make_new(mark)
        except (sqlite3.Error, OSError) as error:
            log.warning("no room to save it all (%s): without history, and without what was put aside before", error)
            found = await self._make_new(mark, spare=True)
        self._tell(
            f"{self.path.name} was damaged ({why}) and is now {put_aside.damaged(self.path).name}; {found.words()}"
        )

    async def _make_new(self, mark: CardMark | None, *, spare: bool = False) -> SalvageReport:
        return await self.db.aside(
            lambda: make_new(
                self.path, mark, boot=self._boot, limit_bytes=self.limit_bytes, moved=self._moved, spare=spare
            )
        )

    def _tell(self, what: str) -> None:
        self.damaged = what if self.damaged is None else f"{self.damaged}; then {what}"[:1000]
        log.error("%s", what)

    def _moved(self) -> None:
        """A salvage has moved on: the card answers."""
        self.db.answers()
        self._busy()

    async def _reconcile(self, mark: CardMark | None, *, wal_lost: bool) -> None:
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
            await self.db.execute("INSERT OR IGNORE INTO holes VALUES (?)", fields[0])
            self.holes.add(fields[0])
            run.head, run.head_digest = marked.head, marked.digest

        async def work() -> None:
            went_back = wal_lost and not exact
            for marked in reversed(mark.runs):
                run = next((r for r in self.runs if (r.epoch, r.lane) == (marked.epoch, marked.lane)), None)
                if run is None and marked.head > 0:
                    run = await self.runs.create(marked.lane, marked.epoch)
                if run is not None and run.head < marked.head:
                    await lose(run, marked)
                    went_back = True
            if went_back:  # the file is one: what is kept by key has gone back too, and the city must not believe in it
                for run in self.runs:
                    if not run.closed:
                        run.whole, run.opened_head = False, None
                        run.closed = run.settled = run.dirty = True
            await self.runs.save()

        before = [(r.id, r.head, r.closed) for r in self.runs]
        await self.write(work)
        if [(r.id, r.head, r.closed) for r in self.runs] != before:
            was = "its write-ahead log has gone" if wal_lost else f"{self.path.name} is older than its mark"
            self._tell(f"{was}: {lost or 'perhaps some'} entries are lost")

    async def put_row(
        self, id_: int, first_seq: int, from_us: Utc | None, to_us: Utc | None, digest: bytes, body: bytes
    ) -> None:
        """Write a row down; inside a transaction."""
        fields = (id_, first_seq, from_us, to_us, digest, body)
        await self.db.execute(
            "INSERT INTO rows (id, first_seq, from_us, to_us, digest, body, sum) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *fields, sum_of(*fields),
        )  # fmt: skip

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
                await self.runs.checked(run)
            for lane in Lane:
                await self.runs.create(lane, epoch)
            await self.runs.save()

        await self.write(begin)

    async def write(self, work: Callable[[], Any]) -> None:
        """One transaction. When it fails, nothing of it is left, in the file or in memory."""
        before = self.runs.copies()
        try:
            if self.db.in_transaction:  # the last one could not even be rolled back
                await self.db.execute("ROLLBACK")
            await self.db.execute("BEGIN IMMEDIATE")
            await work()
            await self.db.execute("COMMIT")
        except BaseException:
            self.runs.restore(before)
            with contextlib.suppress(sqlite3.Error):  # what went wrong first is what counts
                if self.db.in_transaction:
                    await self.db.execute("ROLLBACK")
            raise
        if not self.memory:
            await self.db.aside(self._try_mark)

    def _marked(self, *, closed: bool = False) -> CardMark:
        runs = [
            MarkedRun(r.id, r.lane, r.epoch, r.head, r.head_digest, r.moved if r.moving else 0)
            for r in reversed(self.runs)
        ]
        return CardMark(self._boot, closed, tuple(runs))

    def _try_mark(self, *, closed: bool = False) -> None:
        try:
            self._mark.write(self._marked(closed=closed), sync=closed)
        except OSError as error:
            if not self._mark_fails:
                log.warning("the mark beside the outbox cannot be written: %s", error)
            self._mark_fails = True
        else:
            self._mark_fails = False

    async def gap(self, run: Run, first_seq: int, last_seq: int, reason: str) -> None:
        """Put one Gap in the place of the rows from first_seq to last_seq; the row end keeps its digest."""
        rows = await self.db.all(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id BETWEEN ? AND ? ORDER BY id",
            row_id(run, first_seq), row_id(run, last_seq),
        )  # fmt: skip
        if not rows:
            raise Damaged(f"the rows from {first_seq} to {last_seq} have gone")
        # Of a row that is not as it was written nothing is believed but where it lies.
        sound: list[Any] = []
        next_seq, digest = first_seq, rows[-1][4]
        for row in rows:
            good = whole(row[6], *row[:6]) and row[1] == next_seq
            sound.append(row if good else (row[0], next_seq, None, None, None, b"", None))
            next_seq = seq_of(row[0]) + 1
        if sound[-1][4] is None:  # the cloud may have it, with a digest that nobody knows here
            await self.db.execute("INSERT OR IGNORE INTO holes VALUES (?)", rows[-1][0])
            self.holes.add(rows[-1][0])
            if last_seq == run.head:
                digest = run.head_digest
            elif not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES:
                digest = advance(run.told, b"%d" % last_seq)
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
        await self.db.execute("DELETE FROM rows WHERE id BETWEEN ? AND ?", rows[0][0], rows[-1][0])
        await self.put_row(rows[-1][0], first_seq, gap.from_us, gap.to_us, digest, sealed.body)
