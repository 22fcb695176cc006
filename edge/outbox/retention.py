"""Room: what goes when the card is full, and what is held back so that it can go.

Acked history goes by age, in steps of five minutes, then oldest first; after it the oldest bulk rows that were never
sent become one Gap; urgent rows are never dropped. `reserve.bin` beside the database holds RESERVE_BYTES that are
given back to the disk when it is full, so that the write-ahead log can be folded back and pruning has room to work in;
from then on the file grows no more until the disk has EASE_BYTES free.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from itertools import accumulate, groupby, takewhile
from pathlib import Path
from typing import Final

from edge.outbox import put_aside
from edge.outbox.card import Card
from edge.outbox.contract import MAX_CUT_BYTES, MAX_CUT_ROWS
from edge.outbox.database import RESERVE_BYTES
from edge.outbox.records import Damaged, seq_of
from edge.outbox.runs import Run, row_id
from wire import codec
from wire.batch import Lane
from wire.entries import Gap, Health
from wire.errors import BadInput
from wire.time import Micros, Utc

log = logging.getLogger(__name__)

SPARE_BYTES: Final = 256 * 1024  # kept free inside the file, for pruning
EASE_BYTES: Final = 16 * 1024 * 1024
URGENT_BYTES: Final = 256 * 1024  # of the file, for urgent rows alone
HEALTH_LOOK_ROWS: Final = 512
PRUNE_ROWS: Final = 256
GENTLE_ROWS: Final = 16  # so many at a time while the disk is full: no more than has to go
GENTLE_BYTES: Final = 32 * 1024
AGED_EVERY_US: Final = Micros(300 * 1_000_000)  # a transaction by itself wears the card: history goes in larger steps
PRUNE_TRIES: Final = 64


class Retention:
    """Makes room on one card."""

    def __init__(self, card: Card, *, history_us: Micros, now_us: Callable[[], Utc]) -> None:
        self._card, self._history_us, self._now_us = card, history_us, now_us
        self._disk_pages: int | None = None  # what the file may have while the disk is full
        self._reserve_told = False
        self._aged_us = 0  # when aged history was looked for last
        self.pruned_rows = 0

    async def make(self, coming_bytes: int, *, urgent: bool = False) -> None:
        """Prune before the cap is met: history by age, then whatever is oldest, in bounded steps.

        Urgent rows with more than Health in them may use URGENT_BYTES that others may not.
        """
        now_us = self._now_us()
        aged = abs(now_us - self._aged_us) >= AGED_EVERY_US
        if aged:
            self._aged_us = now_us
        room = await self._room_bytes() - (0 if urgent else URGENT_BYTES)
        for _ in range(PRUNE_TRIES):
            full = await self._card.db.used_pages() * self._card.db.page_bytes + 2 * coming_bytes > room
            if not full and not aged:
                return
            if not await (self._prune() if full else self._drop_aged(now_us - self._history_us)):
                return

    def rows_bytes(self) -> int:
        """What rows that are not urgent may take of the file, while the disk has room for it."""
        return self._card.db.page_limit() * self._card.db.page_bytes - SPARE_BYTES - URGENT_BYTES

    async def _room_bytes(self) -> int:
        """What rows may take of the file."""
        room = self.rows_bytes() + URGENT_BYTES
        if self._disk_pages is not None:
            disk = await self._card.db.aside(lambda: os.statvfs(self._card.directory))
            if disk.f_bavail * disk.f_frsize > EASE_BYTES:
                self._disk_pages = None
            else:
                room = min(room, self._disk_pages * self._card.db.page_bytes - GENTLE_BYTES)
        return room

    def _prune_rows(self) -> int:
        return PRUNE_ROWS if self._disk_pages is None else GENTLE_ROWS

    async def _prune(self) -> bool:
        """Drop some acked history, or else turn some of the oldest unsent bulk into a Gap. False: nothing left."""
        bulk = [r for r in self._card.runs if r.lane is Lane.BULK]
        urgent = [r for r in self._card.runs if r.lane is Lane.URGENT]
        for run in self._card.runs:
            if await self.drop_history(run):
                return True
        for run in bulk:
            if await self.drop_unsent(run):
                return True
        for run in urgent:
            if await self._drop_health(run):
                return True
        # Better a fork, which is told, than a new reading refused.
        for run in bulk:
            if run.ask and await self.drop_unsent(run, careful=False):
                return True
        for run in urgent:
            if run.ask and await self._drop_health(run, careful=False):
                return True
        return False

    async def _drop_health(self, run: Run, *, careful: bool = True) -> bool:
        """After everything else: how the node was while nobody could hear it. Alarms, clock and roster stay."""
        rows = await self._unsent(run, HEALTH_LOOK_ROWS, careful=careful)
        if not rows:
            return False
        bodies = dict(
            await self._card.db.all("SELECT id, body FROM rows WHERE id BETWEEN ? AND ?", rows[0][1], rows[-1][1])
        )
        for alike, group in groupby(rows, key=lambda r: _only_health(bodies[r[1]])):
            found = list(group)
            if alike and len(found) > 1:
                await self._merge(run, found)
                return True
        return False

    async def _merge(self, run: Run, rows: list[tuple[int, int]]) -> None:
        """One Gap in the place of several rows."""
        await self._card.write(lambda: self._card.gap(run, rows[0][0], seq_of(rows[-1][1]), "the card was full"))
        self.pruned_rows += len(rows) - 1

    async def _unsent(self, run: Run, limit: int, *, careful: bool = True) -> list[tuple[int, int]]:
        """(first seq, id) of the oldest rows that the cloud cannot have, oldest first.

        What was cut may have been taken; before the cloud has told its place, so may whatever fits into a body.
        """
        from_seq = max(run.acked, run.sent)
        rows = await self._card.db.all(
            "SELECT id, length(body) FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            row_id(run, from_seq), row_id(run, run.head), limit + (MAX_CUT_ROWS if careful and run.ask else 0),
        )  # fmt: skip
        lasts = [seq_of(id_) for id_, _ in rows]  # each begins where the one before ends, whatever a damaged one says
        found = [(last + 1, id_) for last, (id_, _) in zip([from_seq, *lasts], rows, strict=False)]
        if careful and run.ask:
            sizes = accumulate(size for _, size in rows)
            found = [row for row, size in zip(found, sizes, strict=True) if size > MAX_CUT_BYTES][:limit]
        return found

    async def _drop_aged(self, horizon_us: Utc) -> bool:
        for run in self._card.runs:
            oldest = await self._card.db.all(
                "SELECT to_us FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT 1",
                row_id(run, 0), row_id(run, run.acked),
            )  # fmt: skip
            if oldest and _time(oldest[0][0]) < horizon_us and await self.drop_history(run, horizon_us):
                return True
        return False

    async def drop_history(self, run: Run, horizon_us: Utc | None = None) -> bool:
        """Some of the oldest acked rows, all of them or only those that end before the horizon."""
        rows = await self._card.db.all(
            "SELECT id, digest, to_us FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            row_id(run, 0), row_id(run, run.acked), self._prune_rows(),
        )  # fmt: skip
        if horizon_us is not None:
            rows = list(takewhile(lambda r: _time(r[2]) < horizon_us, rows))
        if not rows:
            return False
        while rows and not await self._card.runs.is_whole(rows[-1][0]):  # what is held begins with its digest
            rows.pop()
        if not rows and horizon_us is None:
            raise Damaged("the oldest rows are not as they were written")
        if not rows:
            return False

        async def drop() -> None:
            last = rows[-1]
            await self._card.db.execute("DELETE FROM rows WHERE id BETWEEN ? AND ?", rows[0][0], last[0])
            run.held_from, run.base, run.dirty = seq_of(last[0]) + 1, last[1], True
            await self._card.runs.save()

        await self._card.write(drop)
        self.pruned_rows += len(rows)
        return True

    async def drop_unsent(self, run: Run, *, careful: bool = True) -> bool:
        """The oldest bulk rows that were never sent become one Gap: the cloud cannot stand inside it."""
        rows = await self._unsent(run, self._prune_rows(), careful=careful)
        if len(rows) < 2:
            return False
        await self._merge(run, rows)
        return True

    async def emergency(self, coming_bytes: int, *, urgent: bool = False) -> None:
        """The disk said no. Give it the reserve, fold the log back, prune; each step may fail in its turn."""
        if self._card.memory:
            return
        try:
            await self._card.db.aside(lambda: self._reserve.unlink(missing_ok=True))
            await self._card.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # gives the room of the log back to the disk
            self._disk_pages = (await self._card.db.all("PRAGMA page_count"))[0][0]
            await self.make(coming_bytes, urgent=urgent)
            await self._card.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (sqlite3.Error, OSError) as error:
            log.warning("making room failed too: %s", error)

    @property
    def _reserve(self) -> Path:
        return self._card.directory / "reserve.bin"

    async def give_up_reserve(self) -> None:
        """Give the disk what there is to give: the reserve, and damaged files that were kept."""

        def give() -> None:
            with contextlib.suppress(OSError):
                self._reserve.unlink(missing_ok=True)
            put_aside.drop(self._card.path)

        await self._card.db.aside(give)

    async def hold_reserve(self) -> None:
        """Set the reserve aside again, where the disk has room for it."""
        if not self._card.memory:
            await self._card.db.aside(self._hold_reserve)

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


def _time(of_row: object) -> int:
    """When a row ends; one that says no time, or is damaged, is as old as any."""
    return of_row if isinstance(of_row, int) else 0


def _only_health(body: bytes) -> bool:
    """Whether a row holds nothing but Health entries, or gaps where some were."""
    try:
        return all(isinstance(p.entry, Health | Gap) for p in codec.decode_row(body))
    except BadInput:
        return False
