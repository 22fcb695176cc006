"""Write-offs in memory: a fake for tests."""

from __future__ import annotations

from cloud.log.notices import Finding
from cloud.memory.log import MemoryLog
from cloud.memory.views import MemoryViews
from cloud.records.write_offs import end_is_known, no_run
from cloud.times import text
from cloud.views.answers import WrittenOff
from cloud.views.runs import states_of
from wire.batch import Lane
from wire.time import Utc


class MemoryWriteOffs:
    """Kept by the views."""

    def __init__(self, log: MemoryLog, views: MemoryViews) -> None:
        self._log = log
        self._views = views

    async def write_off(self, node: str, lane: Lane, epoch: int, by: str, now_us: Utc, note: str) -> WrittenOff:
        """See `WriteOffStore.write_off`."""
        runs = self._views.runs(node)
        run = next((r for r in runs if (r.lane, r.epoch) == (lane, epoch)), None)
        if run is None:
            raise no_run(node, lane, epoch)
        before = self._views.written_off.setdefault(node, {})
        if (epoch, lane) in before:
            return before[epoch, lane]
        state = states_of(runs)[run.order]
        if state not in {"unfinished", "unknown"}:
            raise end_is_known(state)
        made = before[epoch, lane] = WrittenOff(by=by, time=text(now_us), note=note)
        detail = {"epoch": epoch, "lane": lane.value, "by": by, "note": note}
        await self._log.note([Finding(node=node, kind="written_off", time_us=now_us, detail=detail)])
        return made
