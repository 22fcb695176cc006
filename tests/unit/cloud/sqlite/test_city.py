"""What has changed without a word of its node is not missed by who asks for changes, also over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.records.keys import Keyed
from cloud.store import Store, opened
from cloud.views.contract import LatestAsked
from support.cloud_batches import START_US, Sender, Ticking, columns, roster, send
from wire.batch import Lane
from wire.entries import Alarm, Health

ALARM = Alarm(id="al", device="a", rule="r", severity="high", state="raised", raised_us=START_US, time_us=START_US)


async def told(store: Store, after: int | None) -> tuple[dict[str, int | None], int, bool]:
    """The alarms of each device that is told of, None where it is not meant; the position; whether all are there."""
    found = await store.views.latest(LatestAsked(after=after))
    rows = [row async for chunk in found.chunks for row in chunk]
    return {r.device.id: None if r.now is None else r.now.alarms for r in rows}, found.position, found.complete


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_assignment_that_was_undone(tmp_path: Path, restarted: bool) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await send(store.log, Sender("cab-1").batch(roster("a", "b"), columns("a"), columns("b"), lane=Lane.BULK))
        await send(store.log, Sender("cab-2").batch(roster("c"), lane=Lane.BULK))
        await store.claims.assign("a", "cab-2", "anna", now())
        rows, cursor, complete = await told(store, None)
        assert (sorted(rows), complete) == (["b", "c"], True), "until its node has named it, it is nobody's"
        await store.claims.assign("a", None, "anna", now())
        if not restarted:
            assert "a" in (await told(store, cursor))[0]
            return
    async with opened(tmp_path, now) as store:
        rows, cursor, complete = await told(store, cursor)
        assert "a" in rows
        assert complete, "what went before it was there it cannot know"
        assert not (await told(store, cursor))[2], "from then on it does"


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_alarm_that_ended_with_its_card(tmp_path: Path, restarted: bool) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await send(store.log, Sender("cab-1", 5).batch(roster("a", "b"), columns("a"), columns("b"), lane=Lane.BULK))
        await send(store.log, Sender("cab-1", 1, after=None).batch(ALARM, lane=Lane.URGENT))
        await send(store.log, Sender("cab-1", 2, after=None).batch(Health(time_us=1, verdict="ok"), lane=Lane.URGENT))
        rows, cursor, _ = await told(store, None)
        assert rows["a"] == 1
        await store.ended_alarms.acknowledge("cab-1", "al", "anna", now(), "seen", Keyed("k", b""))
        if not restarted:
            assert (await told(store, cursor))[0].get("a") == 0
            return
    async with opened(tmp_path, now) as store:
        assert (await told(store, cursor))[0].get("a") == 0
