"""A lamp that blinks by one order: held against what was written to the lamp, and when; in a time that leaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.profile import Writing
from edge.acting.autonomy import GIVE_BACK_S, LOOK_S
from edge.config import Config, load
from edge.control.arbitration import Held
from edge.control.arrays import PriorityArrays
from edge.control.blinking import LONGEST_S, MOST, SLOWEST_S, TURN_S, Blink, Blinking, ends_of, turn_s, why_not
from support.acting import NODE, UTC0, Cabinet, Lamp, S, live
from wire.device import Point
from wire.entries import Result
from wire.orders import Command, Relinquish

KEY = ("lamp-1", "dim_level")
SAFE = 100  # of its profile: what it has by itself here
DIM = Point(name="dim_level", type="float", low=0, high=100, writable=True)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text("")
    return load(tmp_path / "node.toml", {})


def blink(cabinet: Cabinet, id_: str = "site-1", *, for_s: float = 20, visit: str = "") -> None:
    now_us = cabinet.clock()[0]
    order = Blink(id=id_, by="jean", issued_us=now_us, expires_us=now_us + round(for_s * S), device=KEY[0],
                  point=KEY[1], visit=visit)  # fmt: skip
    cabinet.autonomy.desk.take(order, on_site=True)


def lamp_of(cabinet: Cabinet) -> Lamp:
    assert cabinet.lamp is not None
    return cabinet.lamp


async def results(cabinet: Cabinet) -> list[tuple[str, str]]:
    return [(r.order, r.stage) for r in await cabinet.told(Result)]


def test_one_order_goes_to_and_fro_and_ends_as_automatic_as_before(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        await asyncio.sleep(20)
        began = asyncio.get_running_loop().time()
        blink(cabinet)
        await asyncio.sleep(1.5)
        (decided,) = (h for level, h in cabinet.autonomy.control.array(KEY) if level == "technician")
        assert decided.blinks
        assert decided.ends_us == round((began + 20) * S)
        await asyncio.sleep(30)
        writes = lamp_of(cabinet).writes
        assert [v for _, v in writes[:3]] == [0, 100, 0], "it had 100 already"
        assert all(a != b for (_, a), (_, b) in pairwise(writes[:-1]))
        assert all(b - a >= TURN_S for (a, _), (b, _) in pairwise(writes[:-1]))
        assert 15 <= len(writes) <= 20 / TURN_S
        assert lamp_of(cabinet).level == SAFE
        assert writes[-1][0] <= began + 20.2
        assert await results(cabinet) == [("site-1", s) for s in ("accepted", "verified")]
        (accepted, _) = await cabinet.told(Result)
        assert accepted.detail == "blinking at the cabinet by jean for 20 s"

    live(config, story)


def gives_back(cabinet: Cabinet) -> None:
    now_us = cabinet.clock()[0]
    back = Relinquish(id="site-2", by="jean", issued_us=now_us, expires_us=now_us + 60 * S, device=KEY[0],
                      point=KEY[1], level="technician")  # fmt: skip
    cabinet.autonomy.desk.take(back, on_site=True)


def leaves(cabinet: Cabinet) -> None:
    cabinet.present.clear()


def sets(cabinet: Cabinet) -> None:
    now_us = cabinet.clock()[0]
    order = Command(id="site-2", by="lea", issued_us=now_us, expires_us=now_us + 60 * S, device=KEY[0],
                    point=KEY[1], value=30, level="technician")  # fmt: skip
    cabinet.autonomy.desk.take(order, on_site=True)


@pytest.mark.parametrize(
    ("what", "then", "late_s"), [(gives_back, SAFE, 0.2), (leaves, SAFE, TURN_S + 0.2), (sets, 30, 0.2)]
)
def test_it_ends_before_its_time(config: Config, what: Callable[[Cabinet], None], then: float, late_s: float) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        cabinet.present.add("v1")
        await asyncio.sleep(10)
        blink(cabinet, for_s=300, visit="v1")
        await asyncio.sleep(7.3)
        what(cabinet)
        await asyncio.sleep(late_s)
        assert lamp_of(cabinet).level == then
        before = len(lamp_of(cabinet).writes)
        await asyncio.sleep(40)
        assert len(lamp_of(cabinet).writes) == before, "nothing is turned over any more"
        assert cabinet.autonomy.desk.due_us() is None or what is sets
        assert [s for o, s in await results(cabinet) if o == "site-1"] == ["accepted", "verified"]

    live(config, story)


def test_a_node_that_stops_gives_it_back_and_one_that_starts_again_knows_nothing_of_it(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        await asyncio.sleep(10)
        blink(cabinet, for_s=300)
        await asyncio.sleep(1.5)
        assert lamp_of(cabinet).level == 0
        kept.update(await cabinet.kept())
        began = asyncio.get_running_loop().time()
        await cabinet.autonomy.close()
        assert lamp_of(cabinet).level == SAFE
        assert asyncio.get_running_loop().time() - began < GIVE_BACK_S

    kept: dict[str, bytes] = {}
    live(config, story)
    assert not [k for k in kept if k.startswith("slot/technician")]

    async def again(cabinet: Cabinet) -> None:  # killed: the lamp is as the last turn had it
        lamp_of(cabinet).level = 0.0
        cabinet.open()
        await asyncio.sleep(10)
        assert [v for _, v in lamp_of(cabinet).writes] == [SAFE]
        assert lamp_of(cabinet).level == SAFE

    live(config, again, kept=kept)


def test_what_was_not_verified_has_failed_after_a_restart(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.lamp = None  # its line is down
        await asyncio.sleep(10)
        blink(cabinet, for_s=300)
        await asyncio.sleep(1)
        kept.update(await cabinet.kept())

    kept: dict[str, bytes] = {}
    live(config, story)

    async def again(cabinet: Cabinet) -> None:
        cabinet.open()
        await asyncio.sleep(1)
        (result,) = await cabinet.told(Result)
        assert (result.order, result.stage) == ("site-1", "failed")
        assert "started again" in result.detail

    live(config, again, kept=kept)


def test_a_lamp_that_answers_no_more_is_let_go(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        await asyncio.sleep(10)
        blink(cabinet, for_s=300)
        await asyncio.sleep(5)
        lamp_of(cabinet).stubborn = True
        await asyncio.sleep(30)
        assert cabinet.autonomy.control.array(KEY).held("technician") is None
        lamp_of(cabinet).stubborn = False
        cabinet.say("lamp-1", dim_level=0.0)  # it answers again
        await asyncio.sleep(30)
        assert lamp_of(cabinet).level == SAFE
        before = len(lamp_of(cabinet).writes)
        await asyncio.sleep(30)
        assert len(lamp_of(cabinet).writes) == before

    live(config, story)


def test_a_slow_lamp_is_told_once_it_has_answered(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        lamp = lamp_of(cabinet)
        write = lamp.write

        async def slow(*args: object) -> None:
            await asyncio.sleep(4)
            await write(*args)  # type: ignore[arg-type]

        lamp.write = slow  # type: ignore[method-assign]
        cabinet.open()
        await asyncio.sleep(10)
        blink(cabinet, for_s=60)
        await asyncio.sleep(50)
        assert [v for _, v in lamp.writes[:4]] == [0, 100, 0, 100], "each was written whole"
        assert len(lamp.writes) <= 50 / 4

    live(config, story)


def arrays(*points: Point) -> PriorityArrays:
    return PriorityArrays({("lamp", p.name): p for p in points}, 1)


@pytest.mark.parametrize(
    ("point", "writing", "says"),
    [
        (DIM, None, ""),
        (Point(name="on", type="bool", writable=True), None, ""),
        (Point(name="mode", type="text", choices=("a", "b"), writable=True), None, "no two ends"),
        (Point(name="free", type="float", writable=True), None, "no two ends"),
        (DIM, Writing(reads_back="dim_level", min_write_s=SLOWEST_S), ""),
        (DIM, Writing(reads_back="dim_level", min_write_s=SLOWEST_S + 1), "left alone for 11 s"),
        (DIM, Writing(reads_back="dim_level", settle_s=3_600), "left alone for 3600 s"),
    ],
)
def test_what_cannot_blink_says_why(point: Point, writing: Writing | None, says: str) -> None:
    found = why_not(point, writing)
    assert says in found
    assert bool(found) == bool(says)


def test_no_more_than_so_many_blink_at_a_time() -> None:
    points = [Point(name=f"p{n}", type="bool", writable=True) for n in range(MOST + 1)]
    control = arrays(*points)
    blinking = Blinking(control, {}, lambda: 0, lambda _visit: True)  # type: ignore[arg-type,return-value]
    for n, point in enumerate(points[:MOST]):
        assert blinking.why_not(("lamp", point.name)) == ""
        order = Blink(id=f"o{n}", by="j", issued_us=UTC0, expires_us=UTC0 + 1, device="lamp", point=point.name)
        control.hold(("lamp", point.name), "technician", Held(value=blinking.begin(order), by="j", order=f"o{n}"))
    assert "already" in blinking.why_not(("lamp", points[MOST].name))
    assert blinking.why_not(("lamp", points[0].name)) == "", "it may begin anew"
    control.release(("lamp", points[0].name), "technician")
    blinking.advance()
    assert blinking.why_not(("lamp", points[MOST].name)) == ""


@given(
    low=st.integers(-1_000, 1_000), high=st.integers(-1_000, 1_000), whole=st.booleans(),
    rest_s=st.floats(0, 3_600), settle_s=st.floats(0, 86_400),
)  # fmt: skip
def test_both_ends_are_values_of_the_point_and_no_turn_comes_too_soon(
    low: int, high: int, whole: bool, rest_s: float, settle_s: float
) -> None:
    ends = ends_of(Point(name="p", type="int" if whole else "float", low=low, high=high, writable=True))
    assert (ends is None) == (low >= high)
    if ends is not None:
        assert ends == (high, low)
        assert all(isinstance(e, int if whole else float) for e in ends)
    every_s = turn_s(Writing(reads_back="p", min_write_s=rest_s, settle_s=settle_s))
    assert every_s >= max(TURN_S, rest_s, settle_s)


def test_it_wears_a_relay_as_little_as_is_said() -> None:
    assert LONGEST_S / TURN_S <= 600
    assert LOOK_S < LONGEST_S
