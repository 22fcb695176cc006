"""One suite for every store of the aggregator's own alarms: what has happened is looked at once, in pieces, and what
follows is kept with its notices, its mark and its answer, or not at all.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cloud.log.notices import Announcement, Finding
from cloud.problem import Problem
from cloud.records.ended_alarms import told_of
from cloud.records.keys import Answered, Keyed
from cloud.records.own_alarms import Lost
from support.cloud_batches import START_US, Sender, Ticking, columns, send
from support.cloud_records import KINDS, Records, records_of
from wire.entries import Alarm, Gap

ANSWER = Answered(200, b"{}")
KEYED = Keyed("token k", b"digest")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def kept(kind: str, tmp_path: Path) -> AsyncIterator[Records]:
    async with records_of(kind, tmp_path, Ticking()) as records:
        yield records


def alarm(name: str, state: str = "raised", at_us: int = START_US) -> Alarm:
    made = Alarm(id=name, device="cab-1", rule="r", severity="high", state="raised", raised_us=START_US, time_us=at_us)
    return replace(made, state=state)


def notice(name: str) -> Announcement:
    return told_of("cab-1", alarm(name))


async def names_told(kept: Records) -> list[str]:
    return [t["id"] for t in await kept.told()]


async def test_what_has_happened_comes_in_pieces_each_once(kept: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[type(kept.own_alarms).__module__], "LOOKED", 3)
    node = Sender()
    await send(kept.log, node.batch(columns(n=2), Gap(reason="full", lost=0)))  # nothing is missing
    for i in range(1, 8):
        await send(kept.log, node.batch(Gap(reason="full", lost=i), columns(n=1), Gap(reason="full", lost=1)))
        other = Sender(f"cab-{i}")
        await send(kept.log, other.batch(columns(f"lamp-{i}")))
        await send(kept.log, Sender(f"cab-{i}", epoch=8, after=None).batch(columns(f"lamp-{i}")))
        await kept.own_alarms.keep([], [notice(f"{i}")], None)  # what was only told is no news
    lost: list[Lost] = []
    found: list[Finding] = []
    mark = 0
    for _ in range(100):
        happened = await kept.own_alarms.happened()
        assert happened == await kept.own_alarms.happened(), "until the mark is kept"
        assert happened.mark == mark <= happened.through
        assert len(happened.lost) <= 3
        assert len(happened.findings) <= 3
        lost += happened.lost
        found += happened.findings
        mark = happened.through
        assert await kept.own_alarms.keep([], [], mark) is None
        if not happened.more:
            break
    assert mark == kept.log.reach().head
    assert lost == [Lost("cab-1", "full", i + 1) for i in range(1, 8)]
    assert found == [n.finding for n in await kept.notices() if n.finding is not None]
    assert {f.node for f in found if f.kind == "unfinished"} == {f"cab-{i}" for i in range(1, 8)}
    await send(kept.log, node.batch(Gap(reason="card", lost=9)))
    assert (await kept.own_alarms.happened()).lost == (Lost("cab-1", "card", 9),)


async def test_alarms_and_mark_are_there_after_a_restart_and_a_cleared_one_is_not(kind: str, tmp_path: Path) -> None:
    now = Ticking()
    async with records_of(kind, tmp_path, now) as kept:
        assert kept.own_alarms.stood == {}
        for _ in range(3):
            await send(kept.log, Sender(epoch=now()).batch(columns()))
            now.tick(1)
        assert await kept.own_alarms.keep([alarm("a"), alarm("b"), alarm("c")], [notice("a")], 2) is None
        changes = [alarm("a", "cleared"), alarm("b", "acknowledged"), alarm("none", "cleared")]
        assert await kept.own_alarms.keep(changes, [notice("b")], None) is None
        assert await names_told(kept) == ["a", "b"]
    async with records_of(kind, tmp_path, now, before=kept) as kept:
        assert kept.own_alarms.stood == {"b": alarm("b", "acknowledged"), "c": alarm("c")}
        assert (await kept.own_alarms.happened()).mark == 2
        assert await names_told(kept) == ["a", "b"]


async def test_a_request_that_is_sent_again_is_answered_again_and_not_done(kind: str, tmp_path: Path) -> None:
    async with records_of(kind, tmp_path, Ticking()) as kept:
        assert await kept.own_alarms.answered(KEYED) is None

        async def ask(name: str) -> object:
            return await kept.own_alarms.keep(
                [alarm(name)], [notice(name)], None, (KEYED, Answered(200, name.encode()))
            )

        first = Answered(200, b"a")
        assert await asyncio.gather(ask("a"), ask("b")) == [None, first]
        assert await ask("c") == await kept.own_alarms.answered(KEYED) == first
        assert await names_told(kept) == ["a"]
    async with records_of(kind, tmp_path, Ticking(), before=kept) as kept:
        assert list(kept.own_alarms.stood) == ["a"]
        assert await kept.own_alarms.answered(KEYED) == first


async def test_a_key_that_was_used_for_another_request_changes_nothing(kind: str, tmp_path: Path) -> None:
    other = Keyed(KEYED.key, b"other")
    async with records_of(kind, tmp_path, Ticking()) as kept:
        await kept.orders.take([], other, ANSWER, START_US, lambda: None)  # one key, whatever it was used for
        with pytest.raises(Problem) as refused:
            await kept.own_alarms.answered(KEYED)
        assert refused.value.status == 422
        with pytest.raises(Problem) as refused:
            await kept.own_alarms.keep([alarm("a")], [notice("a")], 7, (KEYED, ANSWER))
        assert refused.value.status == 422
        assert await names_told(kept) == []
        assert (await kept.own_alarms.happened()).mark == 0
    async with records_of(kind, tmp_path, Ticking(), before=kept) as kept:
        assert kept.own_alarms.stood == {}
