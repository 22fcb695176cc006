"""Runs: what the outbox knows of each run, in memory and in the file. A run is one lane of one epoch; one run of each
lane is open, which is the one that is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from edge.outbox.database import Database
from edge.outbox.records import (
    BROKEN,
    CLOSED,
    MOVING,
    OPEN,
    SEQ_BITS,
    UNSETTLED,
    Damaged,
    check_runs,
    row_key,
    seq_of,
    sum_of,
    whole,
)
from wire.batch import ORIGIN, Lane, Predecessor
from wire.time import Utc

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
    moved: int = 0  # while moving: the last seq that went to the new run; 0 where that is not known

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


class RunRecords:
    """Those of one card, oldest first. What changes them runs inside a transaction of the card's, unless it says
    otherwise."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._all: list[Run] = []

    def __iter__(self) -> Iterator[Run]:
        return iter(self._all)

    def __reversed__(self) -> Iterator[Run]:
        return reversed(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def copies(self) -> list[Run]:
        """All of them as they are now, for `restore`."""
        return [msgspec.structs.replace(r) for r in self._all]

    def restore(self, copies: list[Run]) -> None:
        """Let all be as they were: what has been written meanwhile was rolled back."""
        self._all = copies

    def by_id(self, run_id: int) -> Run:
        """A run as it is now: after a failed write, runs are other objects."""
        return next(r for r in self._all if r.id == run_id)

    def open(self, lane: Lane) -> Run:
        """The run of a lane that is written now."""
        return next(r for r in reversed(self._all) if r.lane is lane and not r.closed)

    async def load(self) -> None:
        """Read what the file knows of runs.

        Raises:
            Damaged: a run, or the last row of one, is not as it was written.
        """
        self._all = []
        columns = "id, lane, epoch, held_from, base, acked, told, closed, sum"
        found = await self._db.all(f"SELECT {columns} FROM runs ORDER BY id")  # noqa: S608 - constants of our own
        check_runs(found)
        unchecked = dict(await self._db.all("SELECT run, head FROM unchecked"))
        if not all(isinstance(head, int) for head in unchecked.values()):
            raise Damaged("where a run ended is not as it was written")
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
            self._all.append(run)

    async def newest_us(self) -> Utc:
        """The greatest time among the last rows of all runs that are as they were written; 0 where there is none."""
        found = Utc(0)
        for run in self._all:
            rows = await self._db.all(
                "SELECT id, to_us FROM rows WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 100",
                row_id(run, 0), row_id(run, run.head),
            )  # fmt: skip
            later = [(to_us, id_) for id_, to_us in rows if isinstance(to_us, int) and to_us > found]
            for to_us, id_ in sorted(later, reverse=True):
                if await self.is_whole(id_):
                    found = Utc(to_us)
                    break
        return found

    async def is_whole(self, id_: int) -> bool:
        """Whether the row with a key is as it was written."""
        columns = "id, first_seq, from_us, to_us, digest, body, sum"
        found = await self._db.all(f"SELECT {columns} FROM rows WHERE id = ?", id_)  # noqa: S608 - constants of our own
        return bool(found) and whole(found[0][6], *found[0][:6])

    async def find_head(self, run: Run) -> None:
        """Look where a run ends now."""
        found = await self._db.all(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id >= ? AND id < ?"
            " ORDER BY id DESC LIMIT 1",
            row_id(run, 0), (run.id + 1) << SEQ_BITS,
        )  # fmt: skip
        if found and not whole(found[0][6], *found[0][:6]):
            raise Damaged("the last row of a run is not as it was written")
        run.head, run.head_digest = (seq_of(found[0][0]), found[0][4]) if found else (run.held_from - 1, run.base)

    async def create(self, lane: Lane, epoch: int) -> Run:
        """Begin a run; inside a transaction."""
        id_ = max((r.id for r in self._all), default=0) + 1
        fields = (id_, lane.value, epoch, 1, ORIGIN, 0, ORIGIN, 0)
        await self._db.execute(
            "INSERT INTO runs (id, lane, epoch, held_from, base, acked, told, closed, sum)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *fields, sum_of(*fields),
        )  # fmt: skip
        run = Run(id_, lane, epoch, 1, ORIGIN, 0, ORIGIN, closed=False, moving=False, head=0, head_digest=ORIGIN)
        self._all.append(run)
        return run

    def predecessor(self, run: Run) -> Predecessor | None:
        """What the first batch of a run says of the run before it in its lane; None where there was none: a new card.

        A run that never held anything is passed over: the cloud cannot have heard of it.
        """
        found: Predecessor | None = None
        whole = True
        for before in reversed([r for r in self._all if r.lane is run.lane and r.id < run.id]):
            whole &= before.whole
            if before.head or not whole:
                found = Predecessor(before.epoch, before.head, before.head_digest, whole=whole)
            if before.head:
                break
        return found

    async def written_on(self, run: Run) -> None:
        """A run is about to grow: where it ended when the file was opened must outlive the next start, until the cloud
        has said whether it had been told of more. Inside a transaction."""
        if run.opened_head is not None and not run.unchecked:
            await self._db.execute("INSERT OR REPLACE INTO unchecked VALUES (?, ?)", run.id, run.opened_head)
            run.unchecked = True

    async def checked(self, run: Run) -> None:
        """The cloud has answered for a run. Inside a transaction, and before the cloud is told of what was written on:
        it must not be held against the run after the next start."""
        if run.unchecked:
            await self._db.execute("DELETE FROM unchecked WHERE run = ?", run.id)
        run.opened_head, run.unchecked = None, False

    async def save(self) -> None:
        """Write down what has changed about runs; inside a transaction."""
        for run in self._all:
            if run.dirty:
                fields = (
                    run.held_from,
                    run.base,
                    run.keep if run.moving else run.acked,
                    run.told,
                    _WORDS[run.way],
                )
                await self._db.execute(
                    "UPDATE runs SET held_from = ?, base = ?, acked = ?, told = ?, closed = ?, sum = ? WHERE id = ?",
                    *fields, sum_of(run.id, run.lane.value, run.epoch, *fields), run.id,
                )  # fmt: skip
                run.dirty = False
