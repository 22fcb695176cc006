"""Alarm steps in memory: a fake for tests, and a second opinion: all of the log is gone over for each question."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec

from cloud.log.notices import Notice
from cloud.memory.log import MemoryLog
from cloud.memory.views import MemoryViews
from cloud.records.alarm_steps import AlarmStep, StepPlace, StepsAsked, noticed, said
from cloud.views.reports import alarm_seen
from wire import codec
from wire.entries import Alarm
from wire.time import Micros, Utc


class MemoryAlarmSteps:
    """Keeps nothing but since when nothing is kept."""

    def __init__(self, log: MemoryLog, views: MemoryViews) -> None:
        self._log, self._views = log, views
        self._kept_since = Utc(-(2**62))

    async def page(self, asked: StepsAsked) -> tuple[Sequence[AlarmStep], StepPlace | None]:
        """See `ReadAlarmSteps.page`."""
        states: dict[tuple[str, str, str], AlarmStep] = {}
        found: list[tuple[StepPlace, AlarmStep]] = []
        for taken_us, position, seq, step in await self._all():
            if taken_us < self._kept_since:
                continue
            of = (step.source, step.node, step.id)
            before = states[of].state if of in states else None
            states[of] = step
            if asked.from_us <= step.time_us < asked.to_us and position > asked.after and asked.takes(step):
                found.append(((step.time_us, position, seq), msgspec.structs.replace(step, before=before)))
        found.sort(key=lambda each: each[0])
        rest = [each for each in found if asked.cursor is None or each[0] > asked.cursor]
        page = rest[: asked.limit]
        return [step for _, step in page], page[-1][0] if len(rest) > asked.limit else None

    async def prune(self, now_us: Utc, keep_us: Micros) -> int:
        """See `AlarmSteps.prune`."""
        before, self._kept_since = self._kept_since, max(self._kept_since, now_us - keep_us)
        return sum(before <= taken_us < self._kept_since for taken_us, *_ in await self._all())

    async def _all(self) -> list[tuple[Utc, int, int, AlarmStep]]:
        found: list[tuple[Utc, int, int, AlarmStep]] = []
        for record in await self._log.read(0, sys.maxsize, sys.maxsize):
            if record.notice:
                step = noticed(msgspec.json.decode(record.body, type=Notice))
                found += [] if step is None else [(record.received_us, record.position, 0, step)]
                continue
            batch = codec.decode_batch(record.body)
            fixes = await self._views.fixes(batch.node)
            for item in batch.entries:
                if isinstance(item.entry, Alarm):
                    seq = batch.first_seq + item.places[0]
                    seen = alarm_seen(batch.node, item.entry, fixes)
                    event = f"{batch.node}/{batch.epoch}/{batch.lane.value}/{seq}"
                    step = said(event, seen.source, batch.node, item.entry, seen.clock)
                    step = msgspec.structs.replace(step, time_us=seen.time_us)
                    found.append((record.received_us, record.position, seq, step))
        return found
