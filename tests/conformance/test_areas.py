"""One suite for every store of areas and groups: versions follow rules, are told once, and the past can be asked."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from cloud.problem import Problem
from cloud.records.area_versions import Content, GroupSelector, Kind, Version, Wanted
from cloud.store import rebuild
from cloud.views.shapes import geometry_of
from support.cloud_batches import SECOND, START_US, Ticking
from support.cloud_records import KINDS, Records, records_of
from wire.device import Device


@pytest.fixture(params=KINDS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    async with records_of(request.param, tmp_path, Ticking()) as records:
        yield records


def square(west: float, south: float, side: float = 1.0) -> Content:
    ring = [[west, south], [west + side, south], [west + side, south + side], [west, south + side], [west, south]]
    geometry = geometry_of({"type": "Polygon", "coordinates": [ring]})
    return Content(label=f"from {west}", geometry=msgspec.Raw(geometry.json()))


async def put(
    kept: Records,
    name: str,
    content: Content | None,
    now_s: int,
    seen: int | Literal["*"] | None = None,
    kind: Kind = "area",
    begins_s: int | None = None,
    ends_s: int | None = None,
) -> Version:
    from_us, to_us = (None if s is None else START_US + s * SECOND for s in (begins_s, ends_s))
    wanted = Wanted(now_us=START_US + now_s * SECOND, seen=seen, from_us=from_us, to_us=to_us)
    return await kept.areas.put(kind, name, content, wanted, "anna")


async def refused(status: int, kept: Records, *given: Any, **more: Any) -> str:
    head = kept.log.reach().head
    with pytest.raises(Problem) as problem:
        await put(kept, *given, **more)
    assert problem.value.status == status, problem.value.detail
    assert kept.log.reach().head == head, "nothing is told of what was refused"
    return problem.value.detail


async def held(kept: Records, name: str, *moments_s: int, kind: Kind = "area") -> Sequence[int | None]:
    """Which revision holds at each moment."""
    found = [await kept.areas.at(kind, name, START_US + s * SECOND) for s in moments_s]
    return [None if v is None else v.revision for v in found]


async def test_a_version_holds_until_the_next_and_the_past_stays_as_it_was(kept: Records) -> None:
    made = await put(kept, "quay", square(5, 47), 10)
    assert (made.revision, made.name, made.by, made.to_us) == (1, "quay", "anna", None)
    await put(kept, "quay", square(6, 47), 20, seen=1)
    assert await held(kept, "quay", 9, 10, 19, 20, 99) == [None, 1, 1, 2, 2]
    first = await kept.areas.at("area", "quay", START_US + 15 * SECOND)
    assert first is not None
    assert first.content == square(5, 47)
    assert (first.from_us, first.to_us) == (START_US + 10 * SECOND, START_US + 20 * SECOND)
    assert "in the past" in await refused(422, kept, "quay", square(7, 47), 30, 2, begins_s=25)
    assert "in the past" in await refused(422, kept, "quay", None, 30, 2, begins_s=25)
    await put(kept, "quay", None, 40, seen=2)
    assert await held(kept, "quay", 39, 40, 99) == [2, None, None]
    assert "over already" in await refused(422, kept, "quay", None, 50, 3)
    await put(kept, "quay", square(8, 47), 60, seen=3)
    assert await held(kept, "quay", 15, 25, 50, 60) == [1, 2, None, 4]
    assert [(h.revision, h.ends, h.withdrawn) for h in await kept.areas.versions("area", "quay")] == [
        (1, False, None), (2, False, None), (3, True, None), (4, False, None),
    ]  # fmt: skip
    told = [(t["what"], t["id"], t["revision"], t["ended"], t["by"]) for t in await kept.told()]
    assert told == [("area", "quay", n, n == 3, "anna") for n in (1, 2, 3, 4)]


async def test_the_first_may_have_begun_long_ago_and_a_version_may_have_an_end(kept: Records) -> None:
    await put(kept, "quay", square(5, 47), 0, begins_s=-1_000, ends_s=50)
    assert await held(kept, "quay", -1_001, -1_000, 49, 50) == [None, 1, 1, None]
    await refused(422, kept, "other", square(5, 47), 0, begins_s=9, ends_s=9)


async def test_what_was_planned_gives_way_to_what_begins_before_it(kept: Records) -> None:
    await put(kept, "quay", square(5, 47), 0)
    await put(kept, "quay", square(6, 47), 1, seen=1, begins_s=100)
    await put(kept, "quay", square(7, 47), 2, seen=2, begins_s=200)
    assert await held(kept, "quay", 50, 150, 250) == [1, 2, 3]
    await put(kept, "quay", square(8, 47), 3, seen=3, begins_s=150, ends_s=180)
    assert await held(kept, "quay", 50, 120, 160, 190, 250) == [1, 2, 4, None, None]
    assert [(h.revision, h.withdrawn) for h in await kept.areas.versions("area", "quay")] == [
        (1, None), (2, None), (3, 4), (4, None),
    ]  # fmt: skip
    await put(kept, "quay", None, 4, seen=4, begins_s=60)
    assert await held(kept, "quay", 50, 60, 160) == [1, None, None]


async def test_of_two_operators_the_second_is_told_what_the_first_has_done(kept: Records) -> None:
    await refused(412, kept, "quay", square(5, 47), 0, 1)
    await refused(412, kept, "quay", square(5, 47), 0, "*")
    await refused(404, kept, "quay", None, 0)
    await put(kept, "quay", square(5, 47), 0, seen=0)
    assert "there already" in await refused(412, kept, "quay", square(6, 47), 1, 0)
    assert "If-Match" in await refused(428, kept, "quay", square(6, 47), 1)
    await put(kept, "quay", square(6, 47), 1, seen=1)
    assert "somebody has changed it" in await refused(412, kept, "quay", square(7, 47), 2, 1)
    await put(kept, "quay", square(7, 47), 2, seen="*")
    assert await held(kept, "quay", 2) == [3]


async def test_areas_and_groups_have_names_of_their_own_and_come_in_pages(kept: Records) -> None:
    for name in ("c", "a", "b"):
        await put(kept, name, square(5, 47), 0)
    await put(kept, "b", None, 10, seen=1)
    await put(kept, "a", Content(devices=("lamp-1",)), 0, kind="group")
    page, after = await kept.areas.page("area", "", 2, START_US)
    assert ([v.name for v in page], after) == (["a", "b"], "b")
    page, after = await kept.areas.page("area", "b", 2, START_US)
    assert ([v.name for v in page], after) == (["c"], None)
    page, after = await kept.areas.page("area", "", 2, START_US + 10 * SECOND)
    assert ([v.name for v in page], after) == (["a", "c"], None)
    assert [v.content for v in (await kept.areas.page("group", "", 9, START_US))[0]] == [Content(devices=("lamp-1",))]
    assert (await kept.areas.names("area"), await kept.areas.names("group")) == (["a", "b", "c"], ["a"])


async def test_a_question_is_answered_by_what_held_at_that_moment(kept: Records) -> None:
    await put(kept, "quay", square(5, 47), 0)
    await put(kept, "quay", square(6, 47), 100, seen=1)
    await put(kept, "park", square(5, 48), 0)
    await put(kept, "lit", Content(selector=GroupSelector(kind="streetlight", tag="quay")), 0, kind="group")
    await put(kept, "few", Content(devices=("bin-1",)), 0, kind="group")
    lamp = Device(id="lamp-1", kind="streetlight", profile="p", lon=5.5, lat=47.5, tags=("quay",))
    lost = Device(id="bin-1", kind="bin", profile="p")
    one = await kept.areas.within({"quay"}, (), START_US + 50 * SECOND)
    then = await kept.areas.within({"quay"}, (), START_US + 150 * SECOND)
    assert [one.takes(d, "cab-1") for d in (lamp, lost)] == [True, False]
    assert not then.takes(lamp, "cab-1")
    assert then.takes(msgspec.structs.replace(lamp, lon=6.5), "cab-1")
    assert one.key != then.key
    assert (one.since_us, then.since_us) == (START_US, START_US + 100 * SECOND)
    both = await kept.areas.within({"park", "quay"}, {"lit", "few"}, START_US)
    assert [both.takes(d, "cab-1") for d in (lamp, lost, msgspec.structs.replace(lamp, tags=()))] == [
        True,
        False,
        False,
    ]
    assert both.takes(msgspec.structs.replace(lost, lon=5.0, lat=48.5), "cab-1"), "on its edge"
    few = await kept.areas.within((), {"few"}, START_US)
    assert [few.takes(d, "cab-1") for d in (lamp, lost)] == [False, True]
    none = await kept.areas.within({"quay", "nowhere"}, {"nobody"}, START_US)
    assert none.missing == (("area", "nowhere"), ("group", "nobody"))
    assert not none.takes(lamp, "cab-1"), "it belongs to no group"
    assert (await kept.areas.within({"quay", "nowhere"}, (), START_US)).takes(lamp, "cab-1")
    assert (await kept.areas.within((), (), START_US)).takes(lost, "cab-1"), "nothing was named"


async def test_there_is_a_bound_on_all_of_them(kept: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[type(kept.areas).__module__]
    monkeypatch.setattr(module, "MAX_NAMES", 2)
    await put(kept, "a", square(5, 47), 0)
    await put(kept, "b", square(5, 47), 0)
    await refused(422, kept, "c", square(5, 47), 0)
    await put(kept, "a", square(6, 47), 1, seen=1)
    await put(kept, "a", Content(devices=("x",)), 0, kind="group")
    monkeypatch.setattr("cloud.records.area_versions.MAX_VERSIONS", 2)
    await refused(422, kept, "a", square(5, 47), 2, 2)
    monkeypatch.setattr(module, "MAX_BYTES", 400)
    await refused(422, kept, "b", square(5, 47), 2, 1)
    await put(kept, "b", None, 3, seen=1)
    await put(kept, "a", None, 3, seen=2)  # what there is can be ended, however much it is


async def test_a_restart_and_a_rebuild_keep_them(tmp_path: Path) -> None:
    async with records_of("sqlite", tmp_path, Ticking()) as kept:
        await put(kept, "quay", square(5, 47), 0)
        await put(kept, "quay", square(6, 47), 10, seen=1)
        before = await kept.areas.versions("area", "quay")
    await rebuild(tmp_path, lambda _done, _of: None)
    async with records_of("sqlite", tmp_path, Ticking()) as kept:
        assert await kept.areas.versions("area", "quay") == before
        found = await kept.areas.at("area", "quay", START_US + 5 * SECOND)
        assert found is not None
        assert found.content == square(5, 47)
