"""What is shown of who decides: what a node has answered, or what it told last, with its age."""

from __future__ import annotations

import pytest

from cloud.views.answers import DeviceDetail, seen_as
from cloud.views.contract import Fix
from cloud.views.decided import DecidedAt, LivedBy
from cloud.views.reports import decided_seen, lives_by_seen
from cloud.views.why import AtCabinet, answered, check, told
from support.cloud_batches import SECOND, START_US
from wire.device import Point
from wire.entries import Decision
from wire.errors import Malformed
from wire.sample import Value
from wire.why import LevelHolds, WhyAnswer, WhyPoint

NOBODY = AtCabinet((), ())
NO_FIX: dict[int, Fix] = {}


def detail(*decisions: Decision, lived: bool = True, at_us: int = START_US) -> DeviceDetail:
    said = {d.point: decided_seen(DecidedAt(d, at_us), NO_FIX) for d in decisions}
    return DeviceDetail(
        device=seen_as("lamp-1", "cab-1", None, ()),
        points=(Point(name="dim", type="float", unit="%", writable=True),),
        latest={},
        decided=said,
        lives_by=lives_by_seen(LivedBy("winter 7", "", START_US), NO_FIX) if lived else None,
    )


def test_what_was_told_last_is_as_old_as_its_newest_word() -> None:
    plan = Decision(point="dim", devices=(), level="plan", value=40.0, by="street", until_us=START_US + SECOND)
    found = told(detail(plan, at_us=START_US + 5 * SECOND), "away", START_US + 65 * SECOND, NOBODY)
    (point,) = found.points
    assert (found.source, found.note, found.age_s, found.plan, found.rules) == ("told", "away", 60.0, "winter 7", "")
    assert (point.unit, point.whole, [level.level for level in point.levels]) == ("%", False, ["plan"])


def test_below_nothing_and_below_the_safe_value_lies_nothing() -> None:
    safe = Decision(point="dim", devices=(), level="default", value=70.0)
    assert told(detail(safe), "", START_US, NOBODY).points[0].whole
    nobody = told(detail(Decision(point="dim", devices=())), "", START_US, NOBODY).points[0]
    assert (nobody.levels, nobody.whole) == ((), True)


def test_who_has_never_told_is_unknown() -> None:
    found = told(detail(lived=False), "an earlier version", START_US, NOBODY)
    assert (found.source, found.time, found.age_s, found.plan, found.watching) == ("unknown", None, None, None, None)


def test_an_answer_of_a_boot_without_the_time_is_corrected() -> None:
    held = LevelHolds(level="hypervisor", value=float("inf"), by="ops", until_us=START_US + SECOND)
    answer = WhyAnswer(
        id="w", device="lamp-1", time_us=START_US, points=(WhyPoint(point="dim", levels=(held,)),), boot=3
    )
    found = answered(detail(), answer, {3: Fix(10 * SECOND, 1)}, START_US + 10 * SECOND, NOBODY)
    (level,) = found.points[0].levels
    assert (found.time_us, found.clock, found.age_s) == (START_US + 10 * SECOND, "corrected", 0.0)
    assert (level.until_us, level.value) == (START_US + 11 * SECOND, "Infinity")


@pytest.mark.parametrize(
    ("time_us", "until_us", "boot", "value"),
    [(2**63, None, None, 1), (1, -(2**63), None, 1), (1, None, -1, 1), (1, None, 2**63, 1), (1, None, None, 2**64),
     (1, None, None, "x" * 5_000)],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused(time_us: int, until_us: int | None, boot: int | None, value: Value) -> None:
    held = LevelHolds(level="plan", value=value, until_us=until_us)
    points = (WhyPoint(point="dim", levels=(held,)),)
    with pytest.raises(Malformed):
        check(WhyAnswer(id="w", device="lamp-1", time_us=time_us, points=points, boot=boot))
