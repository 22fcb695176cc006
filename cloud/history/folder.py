"""Folder: follows the log and keeps partials of whole hours in Parquet files; whatever it has kept can be dropped.

It has a place of its own, beside its files. Each step does one bounded thing: follow some records, and mark the folded
hours of their nodes that they touch; or, having followed all, fold one node's hours, or put rows of one point together.
An hour is folded SETTLE_US after its end; a day that is over becomes one file; a marked hour is folded anew, the marks
of a day together, and no day sooner than REROLL_US after it was written last. A new file is whole before the place says
that it counts, so wherever this ends, the next one goes on: what was not said is done again.

Runs in any process that has the log and the store to read from, one at a time (`cloud.sqlite.folding`).

Bounds: RECORDS a step, PART_ROWS rows in memory, and those of one point of one day.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from cloud.crash import Crash, never
from cloud.history.calendar import FIRST_US, HOUR_US, LAST_US
from cloud.history.folded import PLACE, load_place, save_place
from cloud.history.partial import HourRow
from cloud.history.place import DAY_HOURS, WHOLE_DAY, FoldedDay, Place, hours_of
from cloud.history.sources import Followed, HoursSource
from cloud.log.batch_facts import SYNCED, facts_of
from cloud.times import DAY_US, SECOND_US, Now
from wire import codec
from wire.batch import Batch
from wire.entries import ClockFix
from wire.errors import BadInput
from wire.time import Micros, Utc

if TYPE_CHECKING:
    from cloud.history.parquet import Keep

LOG: Final = logging.getLogger("lamplighter.cloud")
RECORDS: Final = 200
SETTLE_US: Final = SECOND_US * 600
REROLL_US: Final = SECOND_US * 600
PART_ROWS: Final = 400_000


class FolderProgress(msgspec.Struct, frozen=True):
    """The log read up to `through`; how many days are folded of those that are over; hours of nodes to fold anew."""

    through: int
    days: int
    days_over: int
    marked: int

    def __str__(self) -> str:
        return (
            f"{self.days} of {self.days_over} days folded, {self.marked} hours of nodes to fold anew,"
            f" log read to {self.through}"
        )


class Folder:
    """Call `step` again and again."""

    def __init__(self, directory: Path, log: Followed, source: HoursSource, now: Now, crash: Crash = never) -> None:
        """`directory` is for its files alone."""
        self._directory, self._log, self._source, self._now, self._crash = directory, log, source, now, crash
        self._place: Place | None = None
        self._shadow = Place()  # marks for what is being folded
        self._days: set[int] = set()  # in which anything was read
        self._work: AsyncIterator[None] | None = None

    @property
    def position(self) -> int:
        """How far the log was followed."""
        return 0 if self._place is None else self._place.position

    def progress(self) -> FolderProgress:
        """How far it has come."""
        place = self._place or Place()
        return FolderProgress(
            through=place.position,
            days=sum(day.whole for day in place.days.values()),
            days_over=sum(1 for number in self._days if self._settled(number) == WHOLE_DAY),
            marked=sum(m.bit_count() for day in place.days.values() for m in day.marks.values()),
        )

    async def step(self) -> bool:
        """Do one thing; False where there is nothing to do.

        Raises:
            Unavailable: the store did not answer; nothing is lost.
            OSError: the disk did not take a file.
        """
        place = self._place
        if place is None:
            place = self._place = await self._begin()
        if await self._follow(place):
            return True
        try:
            if self._work is None:
                number = self._due(place)
                if number is None:
                    return False
                self._work = self._fold(place, number)
            await anext(self._work)
        except StopAsyncIteration:
            self._work = None
        except BaseException:  # what was begun is begun again, from what was said last
            self._work = self._place = None
            self._shadow = Place()
            raise
        return True

    async def _begin(self) -> Place:
        """The place as it was left, or a new one where the store is another."""
        origins = await self._source.origins()
        losses = await self._source.losses()
        place = await asyncio.to_thread(load_place, self._directory)
        if place is not None and place.losses != losses:
            LOG.warning("history is folded anew: the store was built again, and something of it was lost")
            place = None
        elif place is not None and place.generation != origins.generation:
            same = place.generation == origins.previous and place.position <= origins.shared_through
            if same:
                place.generation = origins.generation
            else:
                LOG.warning("history is folded anew: the store is of generation %d now", origins.generation)
                place = None
        if place is None:
            place = Place(generation=origins.generation, losses=losses)
            place.offsets = {n: dict(await self._source.offsets(n)) for n in await self._source.nodes()}
            await asyncio.to_thread(_clear, self._directory)
        for number, day in list(place.days.items()):
            folder = self._directory / _day_name(number)
            if not all(map(Path.exists, _files(folder, day))):
                LOG.warning("%s is not whole, and is folded anew", folder)
                del place.days[number]
            elif day.whole:
                await asyncio.to_thread(_sweep, folder, whole=True)
        self._days = await self._source.days()
        reach = await self._source.reach()
        if place.days and place.position < reach.floor:  # what came meanwhile cannot be followed any more
            await self._missed(place)
            place.position = reach.floor
        elif not place.days:
            place.position = max(place.position, reach.head)  # nothing is folded: nothing needs a mark
        await self._save(place)
        return place

    async def _missed(self, place: Place) -> None:
        for node, base, from_us, to_us in await self._source.extents(None, None, place.position):
            await self._mark(place, node, base, from_us, to_us)
        for node in await self._source.nodes():
            for boot, offset in (await self._source.offsets(node)).items():
                if place.offsets.get(node, {}).get(boot) != offset:
                    await self._fixed(place, node, boot, offset)

    async def _follow(self, place: Place) -> bool:
        records = await self._log.read(place.position, RECORDS)
        if not records:
            return False
        for record in records:
            if not record.notice:
                try:
                    batch = await asyncio.to_thread(codec.reopen_batch, record.body)
                    await self._touched(place, batch)
                except BadInput as error:  # damaged on the disk: what can be read of it is found where it is asked for
                    LOG.warning("position %d was not followed: %s", record.position, error)
        place.position = records[-1].position
        await self._save(place)
        self._crash("history.followed")
        return True

    async def _touched(self, place: Place, batch: Batch) -> None:
        facts = facts_of(batch)
        for base, extent in facts.extents.items():
            await self._mark(place, batch.node, base, extent.from_us, extent.to_us)
        for item in facts.others:
            if isinstance(item.entry, ClockFix):
                await self._fixed(place, batch.node, item.entry.boot, item.entry.offset_us)

    async def _mark(self, place: Place, node: str, base: int, from_us: Utc, to_us: Utc) -> None:
        """By what corrects them now, and by what did when its hours were folded."""
        offsets = {Micros(0)}
        if base != SYNCED:
            offsets = {
                (await self._source.offsets(node)).get(base, Micros(0)),
                place.offsets.get(node, {}).get(base, Micros(0)),
            }
        for offset in offsets:
            low, high = from_us + offset, to_us + offset
            for of in (place, self._shadow):
                of.mark(node, low, high)
            if FIRST_US <= low <= high <= LAST_US and high - low < DAY_US * 40:
                self._days.update(range(low // DAY_US, high // DAY_US + 1))

    async def _fixed(self, place: Place, node: str, boot: int, offset: Micros) -> None:
        """All that a boot has stamped lies elsewhere now."""
        for _, base, from_us, to_us in await self._source.extents(node, boot, 0):
            await self._mark(place, node, base, from_us, to_us)
        place.offsets.setdefault(node, {})[boot] = offset
        for _, base, from_us, to_us in await self._source.extents(node, boot, 0):
            await self._mark(place, node, base, from_us, to_us)

    def _due(self, place: Place) -> int | None:
        """The day that is folded next: the newest first, then those with marks."""
        now_us = self._now()
        marked: list[tuple[Utc, int]] = []
        for number in sorted(self._days | place.days.keys(), reverse=True):
            settled, day = self._settled(number), place.days.get(number)
            if settled and (day is None or settled & ~day.hours or (settled == WHOLE_DAY and not day.whole)):
                return number
            if day is not None and day.marks and now_us - day.rolled_us >= REROLL_US:
                marked.append((day.rolled_us, number))
        return min(marked)[1] if marked else None

    def _settled(self, number: int) -> int:
        """The hours of a day that are over for long enough."""
        hours = (self._now() - SETTLE_US - DAY_US * number) // HOUR_US
        return (1 << min(max(hours, 0), DAY_HOURS)) - 1

    async def _fold(self, place: Place, number: int) -> AsyncIterator[None]:
        """Bring a day up to date: fold what is missing or marked, then write it, with what it had, as it should be."""
        from cloud.history import parquet

        day = place.days.get(number) or FoldedDay()
        settled = self._settled(number)
        whole, missing, marks = settled == WHOLE_DAY, settled & ~day.hours, dict(day.marks)
        self._shadow.days[number] = FoldedDay(hours=settled)
        folder = self._directory / _day_name(number)
        await asyncio.to_thread(_sweep, folder)
        parts: list[Path] = []
        rows: list[tuple[str, Sequence[HourRow]]] = []
        for node in await self._source.nodes():
            for first, stop in _runs(missing | (marks.get(node, 0) & settled)):
                begin = Utc(DAY_US * number)
                found = await self._source.hours(node, begin + HOUR_US * first, begin + HOUR_US * stop)
                if found:
                    rows.append((node, found))
                if sum(len(r) for _, r in rows) >= PART_ROWS:
                    await self._part(folder, parts, rows)
                yield
        if rows:
            await self._part(folder, parts, rows)
        self._crash("history.parts")
        try:
            async for _ in self._write(folder, day, parts, marks, missing, whole=whole):
                yield
        except parquet.Damaged as error:
            LOG.warning("a day of history is folded anew: %s", error)
            place.days.pop(number, None)
            del self._shadow.days[number]
            await self._save(place)
            return
        day.hours, day.whole, day.rolled_us = settled, whole, self._now()
        left = {node: day.marks.get(node, 0) & ~mask for node, mask in marks.items()}
        day.marks = {node: mask for node, mask in {**day.marks, **left}.items() if mask}
        for node, mask in self._shadow.days.pop(number).marks.items():
            day.marks[node] = day.marks.get(node, 0) | mask
        place.days[number] = day
        self._crash("history.written")
        await self._save(place)
        self._crash("history.said")
        await asyncio.to_thread(_sweep, folder, whole=whole)

    async def _part(self, folder: Path, parts: list[Path], rows: list[tuple[str, Sequence[HourRow]]]) -> None:
        from cloud.history import parquet

        path = folder / f"_part={len(parts)}.parquet"

        def make() -> None:
            parquet.write(path, [parquet.table_of(node, found) for node, found in rows])

        await asyncio.to_thread(make)
        rows.clear()
        parts.append(path)

    async def _write(
        self,
        folder: Path,
        day: FoldedDay,
        parts: Sequence[Path],
        marks: Mapping[str, int],
        missing: int,
        *,
        whole: bool,
    ) -> AsyncIterator[None]:
        """The file of a day that is over, or one for each hour in which something is new."""
        from cloud.history import parquet

        keep = partial(parquet.without, marks=marks)
        if whole:
            sources: list[tuple[Path, Keep]] = [(path, keep) for path in _files(folder, day)]
            async for _ in self._join(folder / parquet.DAY_FILE, [*sources, *((p, _all) for p in parts)]):
                yield
            return
        touched = missing
        for mask in marks.values():
            touched |= mask
        for hour in hours_of(touched):
            path = folder / _hour_name(hour)
            sources = [(path, keep)] if day.hours >> hour & 1 else []
            of_parts = [(p, partial(parquet.of_hour, hour=hour)) for p in parts]
            async for _ in self._join(path, [*sources, *of_parts]):
                yield

    async def _join(self, path: Path, sources: Sequence[tuple[Path, Keep]]) -> AsyncIterator[None]:
        from cloud.history import parquet

        writing = await asyncio.to_thread(parquet.Writing, path)
        try:
            joining = parquet.join(sources, writing)
            while await asyncio.to_thread(next, joining, True) is None:
                yield
        except BaseException:
            writing.drop()
            raise
        self._crash("history.before_rename")
        await asyncio.to_thread(writing.done)
        self._crash("history.renamed")

    async def _save(self, place: Place) -> None:
        await asyncio.to_thread(save_place, self._directory, place)


def _all(table: object) -> object:
    return table


def _day_name(number: int) -> str:
    from cloud.history import parquet

    return parquet.day_name(number)


def _hour_name(hour: int) -> str:
    return f"_hour={hour:02}.parquet"


def _files(folder: Path, day: FoldedDay) -> list[Path]:
    """Those that count."""
    from cloud.history import parquet

    return [folder / parquet.DAY_FILE] if day.whole else [folder / _hour_name(h) for h in hours_of(day.hours)]


def _runs(mask: int) -> list[tuple[int, int]]:
    """The runs of hours in a mask: first, and the one after the last."""
    found: list[tuple[int, int]] = []
    for hour in hours_of(mask):
        if found and found[-1][1] == hour:
            found[-1] = (found[-1][0], hour + 1)
        else:
            found.append((hour, hour + 1))
    return found


def _sweep(folder: Path, *, whole: bool = False) -> None:
    """Take away what was begun, and hours that stand in the day's file."""
    for pattern in ("_part=*", ".*.new", *(("_hour=*",) if whole else ())):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _clear(directory: Path) -> None:
    """Take away all files of another store; what says that they are ours goes last."""
    for folder in directory.glob("day=*"):
        for path in folder.glob("*"):
            path.unlink(missing_ok=True)
        folder.rmdir()
    (directory / PLACE).unlink(missing_ok=True)
