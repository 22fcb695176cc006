"""One suite for every store of claims and write-offs: what an operator has decided stands, is told once, and shows."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.problem import Problem
from support.cloud_batches import START_US, Sender, Ticking, columns, roster, send
from support.cloud_records import KINDS, Records, records_of
from wire.batch import Lane


@pytest.fixture(params=KINDS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    async with records_of(request.param, tmp_path, Ticking()) as records:
        yield records


async def claimed(kept: Records, *nodes: str) -> None:
    """Both devices by each node, in this order."""
    for node in nodes:
        await send(kept.log, Sender(node).batch(roster("lamp-1", "lamp-2"), lane=Lane.URGENT))


async def owner(kept: Records, device: str) -> str | None:
    detail = await kept.views.device(device, None)
    return None if detail is None else detail.device.node


async def found(kept: Records, kind: str) -> list[tuple[str, object]]:
    """(node, detail) of each finding of a kind."""
    return [(n.finding.node, n.finding.detail) for n in await kept.notices() if n.finding and n.finding.kind == kind]


async def test_a_device_is_its_assigned_node_s_until_that_is_taken_back(kept: Records) -> None:
    await claimed(kept, "cab-1", "cab-2")
    assert await owner(kept, "lamp-1") == "cab-1", "who named it first"
    done = await kept.claims.assign("lamp-1", "cab-2", "anna", START_US)
    assert (done.device, done.node, done.by, done.time_us) == ("lamp-1", "cab-2", "anna", START_US)
    assert [await owner(kept, d) for d in ("lamp-1", "lamp-2")] == ["cab-2", "cab-1"]
    await kept.claims.assign("lamp-1", "cab-1", "anna", START_US + 1)
    assert await owner(kept, "lamp-1") == "cab-1"
    await kept.claims.assign("lamp-1", "cab-2", "anna", START_US + 2)
    assert (await kept.claims.assign("lamp-1", None, "ben", START_US + 3)).node is None
    assert await owner(kept, "lamp-1") == "cab-1"
    assert await found(kept, "assigned") == [
        (told, {"device": "lamp-1", "assigned_to": node, "by": by})
        for told, node, by in (
            ("cab-2", "cab-2", "anna"),
            ("cab-1", "cab-1", "anna"),
            ("cab-2", "cab-2", "anna"),
            ("cab-1", None, "ben"),
        )
    ]


async def test_a_device_may_be_kept_for_a_node_that_has_not_named_it(kept: Records) -> None:
    await claimed(kept, "cab-1")
    await send(kept.log, Sender("cab-2").batch(columns("other")))
    await kept.claims.assign("lamp-1", "cab-2", "anna", START_US)
    assert await owner(kept, "lamp-1") is None
    await claimed(kept, "cab-3")
    assert await kept.claims.doubled() == {("cab-1", "cab-3"): ["lamp-2"]}
    await send(kept.log, Sender("cab-2", epoch=8).batch(columns("lamp-1")))
    assert await owner(kept, "lamp-1") == "cab-2"


async def test_what_cannot_be_assigned_changes_nothing(kept: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    await claimed(kept, "cab-1", "cab-2")
    monkeypatch.setattr(sys.modules[type(kept.claims).__module__], "MAX_ASSIGNED", 1)
    await kept.claims.assign("lamp-1", "cab-2", "anna", START_US)
    head = kept.log.reach().head
    for device, node, status in (("lamp-1", "cab-9", 404), ("lamp-2", None, 404), ("lamp-2", "cab-2", 422)):
        with pytest.raises(Problem) as refused:
            await kept.claims.assign(device, node, "anna", START_US + 1)
        assert refused.value.status == status
    assert kept.log.reach().head == head
    assert [(a.device, a.node, a.time_us) for a in (await kept.claims.page("", 9)).assignments] == [
        ("lamp-1", "cab-2", START_US)
    ]
    await kept.claims.assign("lamp-1", "cab-1", "anna", START_US + 2)  # takes no more room
    assert await owner(kept, "lamp-1") == "cab-1"


async def test_assignments_come_in_pages_by_device(kept: Records) -> None:
    await claimed(kept, "cab-1")
    for device in ("c", "a", "d", "b"):
        await kept.claims.assign(device, "cab-1", "anna", START_US)
    first = await kept.claims.page("", 3)
    assert ([a.device for a in first.assignments], first.next) == (["a", "b", "c"], "c")
    last = await kept.claims.page("c", 1)
    assert ([a.device for a in last.assignments], last.next) == (["d"], None)


async def test_who_is_barred_holds_nothing_unless_nobody_else_does(kept: Records) -> None:
    await claimed(kept, "cab-1", "cab-2", "cab-3")
    assert await kept.claims.doubled() == {
        ("cab-1", "cab-2"): ["lamp-1", "lamp-2"],
        ("cab-1", "cab-3"): ["lamp-1", "lamp-2"],
    }
    await kept.claims.bar({"cab-1"})
    assert await owner(kept, "lamp-1") == "cab-2"
    assert await kept.claims.doubled() == {("cab-2", "cab-3"): ["lamp-1", "lamp-2"]}
    await kept.claims.bar({"cab-2", "cab-3"})
    assert await owner(kept, "lamp-1") == "cab-1", "no others than the last"
    assert await kept.claims.doubled() == {}
    await kept.claims.assign("lamp-1", "cab-2", "anna", START_US)
    assert await owner(kept, "lamp-1") == "cab-2", "an operator has decided"
    await kept.claims.bar({"cab-1", "cab-2", "cab-3"})
    assert await owner(kept, "lamp-2") == "cab-1"


async def test_a_run_is_written_off_once_and_shows_in_the_ledger(kept: Records) -> None:
    await send(kept.log, Sender(epoch=1, after=None).batch(columns(n=3), ahead=4))
    for lane, epoch, status in ((Lane.BULK, 1, 422), (Lane.BULK, 9, 404), (Lane.URGENT, 1, 404)):
        with pytest.raises(Problem) as refused:
            await kept.write_offs.write_off("cab-1", lane, epoch, "anna", START_US, "")
        assert refused.value.status == status
    assert await found(kept, "written_off") == []
    await send(kept.log, Sender(epoch=2, after=None).batch(columns(n=3, at_us=START_US + 10**9)))
    done = await kept.write_offs.write_off("cab-1", Lane.BULK, 1, "anna", START_US, "the card is gone")
    assert (done.by, done.note) == ("anna", "the card is gone")
    assert await kept.write_offs.write_off("cab-1", Lane.BULK, 1, "ben", START_US + 10**6, "again") == done
    assert await found(kept, "written_off") == [
        ("cab-1", {"epoch": 1, "lane": "bulk", "by": "anna", "note": "the card is gone"})
    ]
    detail = await kept.views.node("cab-1")
    assert detail is not None
    assert [(p.epoch, p.written_off) for p in detail.ledger.lanes] == [(1, done), (2, None)]
