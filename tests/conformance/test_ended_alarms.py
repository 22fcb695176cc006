"""One suite for every store of ended alarms: somebody acknowledges each once, unless its node speaks of it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from cloud.memory.ended_alarms import MemoryEndedAlarms
from cloud.problem import Problem
from cloud.records.keys import Answered, Keyed
from support.cloud_batches import START_US, Sender, Ticking, send
from support.cloud_records import KINDS, Records, records_of
from wire.batch import Lane
from wire.entries import Alarm, Health

ALARM = Alarm(id="a", device="lamp-1", rule="r", severity="high", state="raised", raised_us=START_US, time_us=START_US)
KEYED = Keyed("token k", b"digest")


@pytest.fixture(params=KINDS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    async with records_of(request.param, tmp_path, Ticking()) as records:
        yield records


async def ended(kept: Records) -> Sender:
    """The alarm was raised, and its node's card replaced: the new card's sender."""
    await send(kept.log, Sender(epoch=1, after=None).batch(ALARM, lane=Lane.URGENT))
    assert not await kept.ended_alarms.has("cab-1", "a")
    new = Sender(epoch=2, after=None)
    await send(kept.log, new.batch(Health(time_us=1, verdict="ok"), lane=Lane.URGENT))
    if isinstance(kept.ended_alarms, MemoryEndedAlarms):
        kept.ended_alarms.end("cab-1", replace(ALARM, state="returned", active=False))
    return new


async def acknowledge(kept: Records, keyed: Keyed = KEYED, node: str = "cab-1", name: str = "a") -> Answered | None:
    return await kept.ended_alarms.acknowledge(node, name, "anna", START_US + 5, "seen", keyed)


async def steps_told(kept: Records) -> list[tuple[str, str, str]]:
    """(id, state, by) of each that somebody has acknowledged."""
    return [(t["id"], t["state"], t["by"]) for t in await kept.told() if t["acknowledged"]]


async def test_one_is_acknowledged_once_and_answered_again(kept: Records) -> None:
    await ended(kept)
    assert [await kept.ended_alarms.has(*of) for of in (("cab-1", "a"), ("cab-1", "b"), ("cab-2", "a"))] == [
        True,
        False,
        False,
    ]
    answer = await acknowledge(kept)
    assert answer is not None
    seen = msgspec.json.decode(answer.body)
    assert (answer.status, seen["state"], seen["by"], seen["detail"], seen["time_us"]) == (
        200, "cleared", "anna", "seen", START_US + 5,
    )  # fmt: skip
    assert await acknowledge(kept) == await kept.orders.answered(KEYED) == answer
    assert await acknowledge(kept, Keyed("token other", b"")) is None
    assert await steps_told(kept) == [("a", "cleared", "anna")]


async def test_what_is_none_or_whose_key_was_used_changes_nothing(kept: Records) -> None:
    await ended(kept)
    for node, name in (("cab-1", "b"), ("cab-9", "a")):
        assert await acknowledge(kept, node=node, name=name) is None
    assert await kept.orders.answered(KEYED) is None
    await kept.orders.take([], Keyed(KEYED.key, b"other"), Answered(202, b""), START_US, lambda: None)
    with pytest.raises(Problem, match="used for another request"):
        await acknowledge(kept)
    assert await steps_told(kept) == []
    assert await acknowledge(kept, Keyed("token new", b"")) is not None


async def test_one_of_which_its_node_speaks_again_is_its_node_s(kept: Records) -> None:
    new = await ended(kept)
    await send(kept.log, new.batch(ALARM, lane=Lane.URGENT))
    assert not await kept.ended_alarms.has("cab-1", "a")
    assert await acknowledge(kept) is None
    assert await steps_told(kept) == []
