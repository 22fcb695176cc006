from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from edge.acting.planning import AGAIN_S, LOOK_S, LOST_S, PHOTOCELL_FRESH_S, STEADY_S, Planning
from edge.control.arbitration import Held
from edge.control.arrays import Key, PriorityArrays
from edge.plans.load import load
from edge.plans.local import Location, to_us
from edge.plans.plan import Plan
from edge.sampling.last_samples import LastSamples
from wire.device import Device, Point
from wire.entries import Entry
from wire.sample import Clock, Sample, Value, bad

DIJON = Location(lat=47.322, lon=5.041, time_zone="Europe/Paris")
PARIS = ZoneInfo("Europe/Paris")
LEVEL = Point(name="dim_level", type="float", unit="%", low=0, high=100, writable=True, safe=100.0)
OTHER = Point(name="mode", type="text", writable=True)
PLAN = """
name = "half"
version = 1

[program.night]
active = [{ on = "22:00", off = "05:00" }]
level = 50

[calendar.street]
default = "night"

[[assign]]
calendar = "street"
on = { id = ["lamp-1", "lamp-2"] }
"""
SENSITIVE = """
name = "sensitive"
version = 1

[program.night]
active = [{ on = "22:00", off = "05:00" }]
level = 50
photocell_by_day = true

[calendar.street]
default = "night"

[[assign]]
calendar = "street"
on = { kind = "streetlight" }
"""


def plan(text: str = PLAN) -> Plan:
    return load(text, DIJON)


def at(hour: int, minute: int = 0, second: int = 0) -> int:
    return to_us(datetime(2026, 11, 24, hour, minute, second, tzinfo=PARIS))


class Cabinet:
    def __init__(self, time_us: int, followed: Plan | None, *, synced: bool = True, lamps: int = 3) -> None:
        self.time_us, self.mono, self.synced = time_us, 1_000.0, synced
        self.devices = [Device(id=f"lamp-{n}", kind="streetlight", profile="lx-1") for n in range(1, lamps + 1)]
        points = {(d.id, p.name): p for d in self.devices for p in (LEVEL, OTHER)}
        self.control = PriorityArrays(points, 1)
        self.street = LastSamples()
        for device in self.devices:
            self.street.expect(device.id, 10, self.mono)
        self.woken: list[Key] = []
        self.kept: dict[str, bytes | None] = {}
        self.planning = Planning(
            [*self.devices, Device(id="bin-1", kind="bin", profile="bn-1")],
            control=self.control,
            street=self.street,
            now=lambda: (self.time_us, Clock(1, synced=self.synced)),
            monotonic=lambda: self.mono,
            wake=self.wake,
            put=self.put,
            plan=followed,
        )

    def put(self, *entries: Entry, kept: Mapping[str, bytes | None]) -> None:
        assert not entries
        self.kept |= kept

    def wake(self, key: Key, after: asyncio.Future[None] | None = None) -> None:
        assert after is None
        self.woken.append(key)

    def wait(self, seconds: float) -> float:
        self.mono += seconds
        self.time_us += round(seconds * 1e6)
        self.planning.advance()
        return self.planning.due_s()

    def say(self, **values: Value) -> None:
        quality = {name: bad("no answer") for name, value in values.items() if value is None}
        sample = Sample("lamp-1", self.time_us, Clock(1, synced=True), values, quality)
        self.street.note(sample, self.mono)
        self.planning.seen(sample)

    def level(self, lamp: str = "lamp-1") -> Value:
        held = self.control.array((lamp, "dim_level")).held("plan")
        return None if held is None else held.value


def test_a_setting_changes_at_the_second_it_is_due_and_not_before() -> None:
    cabinet = Cabinet(at(21, 59, 50), plan())
    cabinet.planning.advance()
    assert cabinet.planning.due_s() == 10
    assert cabinet.level() == 0
    assert cabinet.woken == [("lamp-1", "dim_level"), ("lamp-2", "dim_level")]
    cabinet.woken.clear()
    assert cabinet.wait(9.5) == pytest.approx(0.5)
    assert (cabinet.level(), cabinet.woken) == (0, [])
    assert cabinet.wait(0.5) == LOOK_S
    assert (cabinet.level(), cabinet.level("lamp-2"), cabinet.level("lamp-3")) == (50, 50, None)
    assert cabinet.woken == [("lamp-1", "dim_level"), ("lamp-2", "dim_level")]


def test_asked_again_it_does_nothing_until_something_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    cabinet = Cabinet(at(12), plan())
    cabinet.planning.advance()
    assert cabinet.planning.due_s() == LOOK_S
    looked: list[str] = []
    good = Plan.at

    def counted(self: Plan, device: Device, time_us: int, dark: bool | None = None) -> object:
        looked.append(device.id)
        return good(self, device, time_us, dark)

    monkeypatch.setattr(Plan, "at", counted)
    assert cabinet.wait(7) == LOOK_S - 7
    assert looked == []
    assert cabinet.wait(13) == LOOK_S
    assert looked == ["lamp-1", "lamp-2", "lamp-3"], "one step a device, and none for those that cannot be set"


def test_a_clock_that_is_set_is_followed_when_asked_to_look_again() -> None:
    cabinet = Cabinet(at(21), plan())
    cabinet.planning.advance()
    cabinet.time_us = at(23)
    cabinet.planning.advance()
    assert cabinet.level() == 0
    cabinet.planning.look_again()
    cabinet.planning.advance()
    assert cabinet.level() == 50


def test_a_plan_that_says_nothing_of_a_lamp_any_more_lets_it_go() -> None:
    cabinet = Cabinet(at(23), plan())
    cabinet.planning.advance()
    cabinet.woken.clear()
    cabinet.planning.follow(plan(PLAN.replace('["lamp-1", "lamp-2"]', '["lamp-2", "lamp-3"]').replace("night", "late")))
    assert (cabinet.level("lamp-1"), cabinet.level("lamp-2"), cabinet.level("lamp-3")) == (None, 50, 50)
    assert cabinet.woken == [("lamp-1", "dim_level"), ("lamp-3", "dim_level")], "lamp-2 has it already"
    top = cabinet.control.top(("lamp-1", "dim_level"))
    assert top is not None
    assert top[0] == "default"


def test_a_new_plan_is_followed_at_once_also_where_there_was_none() -> None:
    cabinet = Cabinet(at(23), None)
    cabinet.planning.advance()
    assert cabinet.planning.due_s() == LOOK_S
    assert cabinet.level() is None
    cabinet.planning.follow(plan())
    assert cabinet.level() == 50


def test_it_leaves_other_levels_and_other_points_alone() -> None:
    cabinet = Cabinet(at(23), plan())
    cabinet.control.hold(("lamp-1", "mode"), "rule", Held(value="manual", by="r"))
    cabinet.control.hold(("lamp-1", "dim_level"), "hypervisor", Held(value=80.0, by="m"))
    cabinet.planning.advance()
    cabinet.planning.follow(plan(PLAN.replace('"lamp-1", ', "")))
    top = cabinet.control.top(("lamp-1", "dim_level"))
    assert top is not None
    assert top[0] == "hypervisor"
    mode = cabinet.control.array(("lamp-1", "mode"))
    assert mode.held("rule") is not None
    assert mode.held("plan") is None


def test_without_the_time_for_a_day_the_lamps_are_safe_and_when_it_is_found_they_follow_again() -> None:
    cabinet = Cabinet(at(23), plan(), synced=False)
    cabinet.planning.advance()
    assert cabinet.level() == 50, "a guess is good enough for a day"
    cabinet.mono += LOST_S
    cabinet.planning.advance()
    assert (cabinet.planning.lost, cabinet.level()) == (False, 50)
    cabinet.woken.clear()
    cabinet.mono += LOOK_S
    cabinet.planning.advance()
    assert (cabinet.planning.lost, cabinet.level()) == (True, None)
    assert cabinet.woken == [("lamp-1", "dim_level"), ("lamp-2", "dim_level")]
    assert cabinet.control.top(("lamp-1", "dim_level")) == ("default", Held(value=100.0, by=""))
    cabinet.synced = True
    cabinet.planning.look_again()
    cabinet.planning.advance()
    assert (cabinet.planning.lost, cabinet.level()) == (False, 50)


def test_a_photocell_adds_light_while_it_is_believed() -> None:
    cabinet = Cabinet(at(21, 30), plan(SENSITIVE))
    cabinet.planning.advance()
    assert cabinet.level() == 0
    cabinet.say(dark=True)
    cabinet.wait(LOOK_S)
    assert (cabinet.level(), cabinet.level("lamp-2")) == (50, 0), "a lamp is believed for itself"
    cabinet.say(dark=False)
    cabinet.wait(STEADY_S + LOOK_S)
    assert cabinet.level() == 0


def test_a_photocell_that_reports_by_exception_is_believed_while_its_lamp_is_heard() -> None:
    cabinet = Cabinet(at(21, 10), plan(SENSITIVE))
    cabinet.say(dark=True)
    for _ in range(20):
        cabinet.say(active_power=3.0)  # nothing new of the photocell
        cabinet.wait(LOOK_S)
        assert cabinet.level() == 50
    cabinet.wait(PHOTOCELL_FRESH_S - LOOK_S)
    assert cabinet.level() == 50
    cabinet.wait(LOOK_S)
    assert cabinet.level() == 0, "the lamp has not been heard for too long"


def test_a_photocell_that_is_bad_is_believed_a_little_longer() -> None:
    cabinet = Cabinet(at(21, 10), plan(SENSITIVE))
    cabinet.say(dark=True)
    cabinet.wait(LOOK_S)
    cabinet.say(dark=None, active_power=3.0)
    for _ in range(int(PHOTOCELL_FRESH_S / LOOK_S)):
        cabinet.wait(LOOK_S)
        cabinet.say(dark=None, active_power=3.0)
        assert cabinet.level() == 50
    cabinet.wait(LOOK_S)
    assert cabinet.level() == 0
    cabinet.say(dark=True)
    cabinet.wait(LOOK_S)
    assert cabinet.level() == 50


def test_one_look_costs_a_step_a_point_and_not_one_for_each_pair() -> None:
    class Counting(dict[Key, Point]):
        walks = 0

        def __iter__(self) -> object:  # type: ignore[override]
            Counting.walks += 1
            return super().__iter__()

    cabinet = Cabinet(at(21), plan(SENSITIVE), lamps=200)
    cabinet.control.points = Counting(cabinet.control.points)
    again = Planning(
        cabinet.devices,
        control=cabinet.control,
        street=cabinet.street,
        now=lambda: (cabinet.time_us, Clock(1, synced=True)),
        monotonic=lambda: cabinet.mono,
        wake=cabinet.wake,
        put=cabinet.put,
        plan=plan(SENSITIVE),
    )
    again.advance()
    assert Counting.walks == 1


def test_what_goes_wrong_is_tried_again_after_a_pause() -> None:
    class Broken:
        def at(self, *_: object) -> None:
            raise ZeroDivisionError

    broken: Any = Broken()
    cabinet = Cabinet(at(23), broken)
    with pytest.raises(ZeroDivisionError):
        cabinet.planning.advance()
    assert cabinet.planning.due_s() == AGAIN_S
    cabinet.planning.plan = plan()
    cabinet.wait(AGAIN_S)
    assert cabinet.level() == 50


def test_the_plan_of_the_examples_is_one_that_can_be_followed() -> None:
    text = (Path(__file__).parents[4] / "examples" / "street" / "plan.toml").read_text()
    cabinet = Cabinet(at(23), load(text, Location(lat=47.322, lon=5.041, time_zone="Europe/Paris", country="FR")))
    cabinet.planning.advance()
    assert 0 < cabinet.planning.due_s() <= LOOK_S
    assert isinstance(cabinet.level(), float)


def test_headlights_are_no_day_and_a_cloud_is_no_night() -> None:
    cabinet = Cabinet(at(13), plan(SENSITIVE))
    cabinet.say(dark=False)
    cabinet.wait(1)
    assert cabinet.level() == 0
    cabinet.say(dark=True)
    for _ in range(5):
        cabinet.wait(10)
        cabinet.say(dark=True)
        assert cabinet.level() == 0, "it has not said so for long enough"
    cabinet.say(dark=False)
    cabinet.wait(30)
    cabinet.say(dark=True)
    cabinet.wait(59)
    assert cabinet.level() == 0, "it counts from when it said so last"
    cabinet.wait(30)
    assert cabinet.level() == 50


def test_what_the_plan_has_held_is_marked_so_that_a_restart_without_a_plan_falls_to_the_safe_value() -> None:
    cabinet = Cabinet(at(23), plan())
    cabinet.planning.advance()
    assert {name.partition("/")[0] for name in cabinet.kept} == {"slot"}
    again = PriorityArrays(cabinet.control.points, 1)
    again.restore({n: b for n, b in cabinet.kept.items() if b is not None}, 0, cabinet.time_us)
    found = again.top(("lamp-1", "dim_level"))
    assert found is not None
    assert (found[0], found[1].value) == ("default", LEVEL.safe)
