"""Log, views and records together, in memory and in SQLite: for the conformance suites."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from cloud.log.contract import Log
from cloud.log.notices import Notice
from cloud.memory.alarm_steps import MemoryAlarmSteps
from cloud.memory.areas import MemoryAreas
from cloud.memory.claims import MemoryClaims
from cloud.memory.codes import MemoryCodes
from cloud.memory.ended_alarms import MemoryEndedAlarms
from cloud.memory.keys import MemoryKeys
from cloud.memory.log import MemoryLog
from cloud.memory.orders import MemoryOrders
from cloud.memory.own_alarms import MemoryOwnAlarms
from cloud.memory.views import MemoryViews
from cloud.memory.write_offs import MemoryWriteOffs
from cloud.records.alarm_steps import AlarmSteps
from cloud.records.areas import AreaStore
from cloud.records.claims import Claims
from cloud.records.codes import CodeStore
from cloud.records.ended_alarms import EndedAlarms
from cloud.records.orders import OrderStore
from cloud.records.own_alarms import OwnAlarmStore
from cloud.records.write_offs import WriteOffStore
from cloud.store import opened
from cloud.views.contract import Views
from support.cloud_batches import Ticking

KINDS = ("memory", "sqlite")


class Records(msgspec.Struct, frozen=True):
    """What a store keeps, as the contracts have it."""

    log: Log
    views: Views
    orders: OrderStore
    own_alarms: OwnAlarmStore
    claims: Claims
    write_offs: WriteOffStore
    ended_alarms: EndedAlarms
    codes: CodeStore
    areas: AreaStore
    alarm_steps: AlarmSteps

    async def notices(self) -> list[Notice]:
        """All that the log has, by position."""
        return [msgspec.json.decode(r.body, type=Notice) for r in await self.log.read(0, 10_000) if r.notice]

    async def told(self) -> list[Any]:
        """The data of those for the feed alone."""
        return [n.told.data for n in await self.notices() if n.told is not None]


@asynccontextmanager
async def records_of(
    kind: str, directory: Path, now: Ticking, before: Records | None = None
) -> AsyncGenerator[Records]:
    """Records of a kind for the length of a block; as after a restart where there were some `before`."""
    if before is not None and isinstance(before.own_alarms, MemoryOwnAlarms):
        yield msgspec.structs.replace(before, own_alarms=before.own_alarms.after_restart())
    elif kind == "memory":
        keys, views = MemoryKeys(), MemoryViews(now)
        log = MemoryLog(views, now)
        yield Records(
            log,
            views,
            MemoryOrders(log, keys),
            MemoryOwnAlarms(log, keys),
            MemoryClaims(log, views),
            MemoryWriteOffs(log, views),
            MemoryEndedAlarms(log, keys),
            MemoryCodes(log, keys),
            MemoryAreas(log),
            MemoryAlarmSteps(log, views),
        )
    else:
        async with opened(directory, now) as store:
            yield Records(
                store.log,
                store.views,
                store.orders,
                store.own_alarms,
                store.claims,
                store.write_offs,
                store.ended_alarms,
                store.codes,
                store.areas,
                store.alarm_steps,
            )
