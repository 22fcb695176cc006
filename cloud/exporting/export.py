"""Export: what points did over any span, into files, out of a store that another process may write meanwhile.

A folder gets a file a month of the zone, or a day of it where a month would be more than one answer may be, each with
what the API would answer for that span: the same code makes them. A file is whole and on the disk before it
has its name, so a folder that was begun is gone on with: what is there is left as it is. What was asked for stands in
`_export.json`; another question needs another folder.

Bounds: those of an answer for each file, but for the bodies opened; nothing is begun where less than `least_free` would
be left.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from cloud.api.history_bodies import SHAPES, Function
from cloud.history.calendar import edges
from cloud.history.contract import MAX_PLACES, Block, HistoryAsked, HistoryFound
from cloud.history.folded import FoldedHours
from cloud.sqlite.areas import SqliteReadAreas
from cloud.sqlite.database import STORE, Misplaced, write_atomically
from cloud.sqlite.folding import HISTORY
from cloud.sqlite.history import SqliteHistory
from cloud.sqlite.readers import Readers
from cloud.times import SECOND_US, Now, utc_us
from wire.time import Utc

ASKED: Final = "_export.json"  # which readers of folders leave out
LEAST_FREE_BYTES: Final = 256 << 20
PLACE_BYTES: Final = {"parquet": 3, "csv": 12}  # of one value, and of the rest of a row as of six more in CSV
CSV_HEAD_BYTES: Final = 90
NO_BOUND: Final = 1 << 40
SHOWN: Final = 5  # devices that are not known

Shape = Literal["parquet", "csv"]


class CannotExport(Exception):
    """The text says why, and what to do."""


class ExportAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What is exported: as a question to `/v1/history`, with areas and groups by name. `open` says that it goes on
    until now: whoever goes on with it keeps to the moment at which it was begun."""

    history: HistoryAsked
    areas: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    functions: tuple[Function, ...]
    shape: Shape = "parquet"
    open: bool = False


class ExportProgress(msgspec.Struct, frozen=True):
    """Files done, of how many; series × buckets of them all, and those done; bytes written now."""

    files: int
    files_all: int
    places: int
    places_all: int
    size_bytes: int


Told = Callable[[ExportProgress], None]


async def export(
    data: Path,
    target: Path,
    asked: ExportAsked,
    told: Told = lambda _progress: None,
    history: Path | None = None,
    now: Now = utc_us,
    least_free: int = LEAST_FREE_BYTES,
) -> ExportProgress:
    """Write what is not there yet, and return what is there then.

    Raises:
        CannotExport: there is no store, no such thing in it, no room, or something else in the folder.
        TooMuch: one day alone would be more than an answer may be.
        ValueError: the times are none.
        Unavailable: the store does not answer.
        OSError: the disk does not take it. What is whole stays.
    """
    if not (data / STORE).exists():
        raise Misplaced(f"{data} holds no store")
    asked = _ended(asked, now())
    asked, begun = await asyncio.to_thread(_known, target, asked)
    readers = Readers(data)
    try:
        views = SqliteHistory(readers, now, FoldedHours(history or data / HISTORY), bodies=NO_BOUND)
        question = await _within(asked, SqliteReadAreas(readers), now())
        series, unknown = await views.series(question)
        if unknown:
            more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            names = ", ".join(repr(name[:200]) for name in unknown[:SHOWN])
            raise CannotExport(f"no such devices: {names}{more}; nothing was written. /v1/devices lists all")
        if not series:
            raise CannotExport(
                "no device that is meant has such a point: look at kind, tag, node, area, group and point"
            )
        parts = _parts(question, series)
        left = [p for p in parts if not (target / _name(p, asked.shape)).exists()]
        _room(target, asked, left, series, least_free)
        if not begun:  # one that was refused leaves its folder to the next
            await asyncio.to_thread(_begin, target, asked)
        return await _Writing(target, asked, told, series, parts).write(views, left)
    finally:
        await readers.close()


def _ended(asked: ExportAsked, now_us: Utc) -> ExportAsked:
    history = msgspec.structs.replace(asked.history, to_us=min(asked.history.to_us, now_us))
    return msgspec.structs.replace(asked, history=history, open=asked.history.to_us >= now_us)


def _known(target: Path, asked: ExportAsked) -> tuple[ExportAsked, bool]:
    """What the folder is for, and whether it was begun before; if so, until when it was then."""
    target.mkdir(parents=True, exist_ok=True)
    before = target / ASKED
    if before.exists():
        known = msgspec.json.decode(before.read_bytes(), type=ExportAsked)
        if known.open and asked.open:
            asked = msgspec.structs.replace(
                asked, history=msgspec.structs.replace(asked.history, to_us=known.history.to_us)
            )
        if known != asked:
            raise CannotExport(f"{target} holds an export of something else: give an empty folder")
        return known, True
    if (strange := next((p for p in target.iterdir() if p.name != "lost+found"), None)) is not None:
        raise CannotExport(f"{target} holds {strange.name}: give an empty folder")
    return asked, False


def _begin(target: Path, asked: ExportAsked) -> None:
    write_atomically(target / ASKED, msgspec.json.encode(asked), mode=0o644)


async def _within(asked: ExportAsked, areas: SqliteReadAreas, now_us: Utc) -> HistoryAsked:
    history = asked.history
    if not asked.areas and not asked.groups:
        return history
    within = await areas.within(frozenset(asked.areas), frozenset(asked.groups), min(history.to_us, now_us))
    if within.missing:
        raise CannotExport("; ".join(f"there is no {kind} {name!r} that holds then" for kind, name in within.missing))
    return msgspec.structs.replace(history, which=msgspec.structs.replace(history.which, within=within))


def _parts(asked: HistoryAsked, series: int) -> list[HistoryAsked]:
    """A question a month, or a day. Months begin where the clocks of the zone say so."""
    zone = ZoneInfo(asked.zone)
    days = edges("1d", zone, asked.from_us, asked.to_us)
    months = [d for i, d in enumerate(days) if i in (0, len(days) - 1) or _local(d, zone).day == 1]
    of_month = max(len(edges(asked.every, zone, a, b)) for a, b in pairwise(months))
    cuts = months if of_month * series <= MAX_PLACES else days
    return [
        msgspec.structs.replace(asked, from_us=max(a, asked.from_us), to_us=min(b, asked.to_us))
        for a, b in pairwise(cuts)
        if max(a, asked.from_us) < min(b, asked.to_us)
    ]


def _local(time_us: Utc, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(time_us // SECOND_US, UTC).astimezone(zone)


def _name(part: HistoryAsked, shape: Shape) -> str:
    return f"history-{_local(part.from_us, ZoneInfo(part.zone)):%Y-%m-%d}-{part.every}.{shape}"


def _places(part: HistoryAsked, series: int) -> int:
    return series * (len(edges(part.every, ZoneInfo(part.zone), part.from_us, part.to_us)) - 1)


def _room(target: Path, asked: ExportAsked, parts: Sequence[HistoryAsked], series: int, least_free: int) -> None:
    """Pass if there is room, by a generous guess."""
    places = sum(_places(p, series) for p in parts)
    needed = places * PLACE_BYTES[asked.shape] * len(asked.functions)
    needed += places * CSV_HEAD_BYTES if asked.shape == "csv" else places
    free = shutil.disk_usage(target).free
    if needed + least_free > free:
        raise CannotExport(
            f"{target} has {free >> 20:,} MiB free, and some {needed >> 20:,} MiB are needed, with"
            f" {least_free >> 20} MiB to be left: take another disk, a shorter time, longer buckets (--every), fewer"
            " functions (--fn), or Parquet"
        )


class _Writing:
    def __init__(
        self, target: Path, asked: ExportAsked, told: Told, series: int, parts: Sequence[HistoryAsked]
    ) -> None:
        self._target, self._asked, self._told, self._series = target, asked, told, series
        self._all = sum(_places(p, series) for p in parts)
        self._files_all = len(parts)
        self._files = self._done = self._size = 0

    async def write(self, views: SqliteHistory, left: Sequence[HistoryAsked]) -> ExportProgress:
        self._files = self._files_all - len(left)
        self._done = self._all - sum(_places(p, self._series) for p in left)
        for part in left:
            found = await views.history(part)
            before = self._done
            await self._file(self._target / _name(part, self._asked.shape), part, found)
            self._files, self._done = self._files + 1, before + _places(part, self._series)
            self._told(self._progress())
        return self._progress()

    async def _file(self, path: Path, part: HistoryAsked, found: HistoryFound) -> None:
        _, make = SHAPES[self._asked.shape]
        beside = path.with_name(f".{path.name}.new")
        try:
            with beside.open("wb") as file:
                async for piece in make(part, found, self._counted(found), self._asked.functions):
                    await asyncio.to_thread(file.write, piece)
                    self._size += len(piece)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    async def _counted(self, found: HistoryFound) -> AsyncIterator[Block]:
        buckets = len(found.edges) - 1
        async for block in found.blocks:
            yield block
            self._done += len(block.series) * buckets
            self._told(self._progress())

    def _progress(self) -> ExportProgress:
        return ExportProgress(self._files, self._files_all, self._done, self._all, self._size)
