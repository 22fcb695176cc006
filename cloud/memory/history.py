"""History in memory: a second opinion. Every reading is looked at for every question, one after the other.

Nothing is folded, and nothing of `cloud.history` is used but its calendar and its words: what the real ones answer has
something simple to be compared with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from math import isfinite, isnan, nan
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from cloud.history.calendar import edges
from cloud.history.contract import Block, HistoryAsked, HistoryFound, Series, check, found_of, lead_us, series_of
from cloud.history.grid import Course
from cloud.history.partial import NEVER
from cloud.log.batch_facts import base
from cloud.memory.views import MemoryViews
from cloud.times import Now
from cloud.views.answers import grade_of
from cloud.views.readings_page import corrected
from wire.sample import Value
from wire.time import Utc

_Reading = tuple[Utc, Value, str]  # when, what, its quality


class MemoryHistory:
    """Asks the views for all samples."""

    def __init__(self, views: MemoryViews, now: Now) -> None:
        self._views, self._now = views, now

    async def history(self, asked: HistoryAsked) -> HistoryFound:
        """All of it, in one block."""
        now_us = self._now()
        found = edges(asked.every, ZoneInfo(asked.zone), asked.from_us, min(asked.to_us, now_us))
        buckets = [*found[:-1], min(found[-1], now_us)]
        known = await self._views.targets(asked.which, 10**9)
        series = series_of(known, asked)
        check(len(series), len(buckets) - 1)
        rows = [_course(await self._readings(s), s, buckets) for s in series]
        return found_of(asked, buckets, known, series, _one(series, rows))

    async def _readings(self, series: Series) -> list[_Reading]:
        """Those of one point by time, of each moment only the last."""
        fixes = await self._views.fixes(series.node)
        by: dict[Utc, tuple[tuple[int, str, int], _Reading]] = {}
        for _, batch, seq, sample in self._views.samples(series.node, series.device):
            if series.point not in sample.values:
                continue
            moment = corrected(sample.time_us, base(sample.clock), fixes)
            key = (batch.epoch, batch.lane.value, seq)
            if moment not in by or key > by[moment][0]:
                quality = sample.quality.get(series.point, "good")
                by[moment] = (key, (moment, sample.values[series.point], quality))
        return [reading for _, (_, reading) in sorted(by.items())]


_Bucket = dict[str, Any]


def _course(readings: Sequence[_Reading], series: Series, buckets: Sequence[Utc]) -> list[_Bucket]:
    terms = series.terms
    readings = [r for r in readings if buckets[0] - lead_us(terms) <= r[0] < buckets[-1]]
    rows: list[_Bucket] = []
    for begin, end in pairwise(buckets):
        row: _Bucket = {"good": 0, "uncertain": 0, "bad": 0, "covered_us": 0, "resets": 0, "wraps": 0, "word": None}
        row |= dict.fromkeys(("least", "most", "mean", "first", "last", "increase", "unsure"), nan)
        row["last_us"] = NEVER
        integral = 0.0
        before: float | None = None
        for i, (time_us, value, quality) in enumerate(readings):
            plain = value is not None and (isinstance(value, str) or isfinite(value))
            grade = grade_of(quality) if plain else "bad"
            until = min(time_us + terms.hold_us, readings[i + 1][0] if i + 1 < len(readings) else buckets[-1])
            held = max(0, min(until, end) - max(time_us, begin)) if grade != "bad" else 0
            number = nan if isinstance(value, str) or value is None else float(value)
            if held:
                row["covered_us"] += held
                integral += number * held
            if not begin <= time_us < end:
                before = before if grade == "bad" else number
                continue
            row[grade] += 1
            if grade == "bad":
                continue
            if row["last_us"] == NEVER:
                row |= {"first": number, "increase": 0.0, "unsure": 0.0}
            row |= {"last": number, "last_us": time_us, "word": value if isinstance(value, str) else None}
            row["least"] = float(np.fmin(row["least"], number))
            row["most"] = float(np.fmax(row["most"], number))
            if isinstance(value, str):  # then it is no counter
                row |= {"increase": nan, "unsure": nan}
            if before is not None:
                _rise(row, before, number, terms.wraps_at)
            before = number
        row["mean"] = integral / row["covered_us"] if row["covered_us"] else nan
        rows.append(row)
    return rows


def _rise(row: _Bucket, before: float, after: float, wraps_at: float) -> None:
    if isnan(before) or isnan(after):
        return
    if 0 <= after - before <= wraps_at / 2:
        row["increase"] += after - before
    elif before - after > wraps_at / 2:
        row["increase"] += after - before + wraps_at
        row["wraps"] += 1
    else:
        row["resets"] += 1
        row["unsure"] += after


async def _one(series: Sequence[Series], rows: Sequence[Sequence[_Bucket]]) -> AsyncIterator[Block]:
    if not series:
        return
    names = [n for n in Course.__struct_fields__ if n != "words"]
    columns = {name: np.array([[bucket[name] for bucket in row] for row in rows]) for name in names}
    words = {(s, b): str(x["word"]) for s, row in enumerate(rows) for b, x in enumerate(row) if x["word"] is not None}
    yield Block(series, Course(**columns, words=words))
