"""The node alone: no cloud, no broker. Its lamps follow plan and rules, and it can say why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from edge.plans.load import load
from edge.plans.local import Location
from support.lamps import ALONE, PLAN, Lamps, stage, until
from wire.device import Device

# Whoever sets a lamp's mode by hand stands in for someone who passes: the simulator does not let us move people.
RULES = """
[[rule]]
name = "crosswalk"
on = { tag = "crossing" }
when = "mode == 'manual'"

[rule.command]
on = { kind = "streetlight" }
point = "dim_level"
value = 90
hold_s = 6

[[rule]]
name = "by-hand"
on = { kind = "streetlight" }
when = "mode == 'manual'"

[rule.alarm]
severity = "low"
respond_within_s = 3600
text = { en = "In manual mode", fr = "En mode manuel" }
"""


@pytest.fixture
def lamps(tmp_path: Path) -> Iterator[Lamps]:
    found = stage(tmp_path, cloud=ALONE, rules=RULES)
    try:
        found.start_street()
        lamps = Lamps(found)
        for unit in (1, 2):
            lamps.set(unit, 2, 1000)
        found.start_node()
        yield lamps
    finally:
        found.close()


def test_lamps_follow_the_plan_and_are_put_back(lamps: Lamps) -> None:
    until(lambda: lamps.level(1) == lamps.level(2) == 35)
    now_us = time.time_ns() // 1000
    setting = load(PLAN, Location(lat=47.322, lon=5.041, time_zone="Europe/Paris")).at(
        Device(id="lamp-001", kind="streetlight", profile="lx-1"), now_us
    )
    assert setting is not None
    (one, two) = lamps.get("/control")
    assert (one["device"], one["value"], two["device"]) == ("lamp-001", 35, "lamp-002")
    ends = datetime.fromtimestamp(setting.until_us / 1e6).astimezone()
    assert one["why"]["en"].startswith("35 % because plan always until ")
    assert one["levels"][0]["until_us"] == setting.until_us, ends
    assert [held["level"] for held in one["levels"]] == ["plan", "default"]
    lamps.set(2, 2, 800)
    until(lambda: lamps.level(2) == 35)
    assert lamps.get("/control/lamp-03") == {"error": 'there is no device "lamp-03" (did you mean "lamp-002"?)'}
    until(lambda: "autonomy_mishaps" in lamps.stage.health()["counters"])
    assert lamps.stage.health()["counters"]["autonomy_mishaps"] == 0


def test_a_rule_brightens_the_crossing_for_a_while_then_the_plan_has_it_again(lamps: Lamps) -> None:
    until(lambda: lamps.level(1) == lamps.level(2) == 35)
    lamps.set(1, 14, 1)
    assert until(lambda: lamps.level(2) == 90) < 3
    (one,) = lamps.get("/control/lamp-001")
    assert one["why"]["en"].startswith("90 % because rule crosswalk until ")
    assert one["why"]["en"].endswith("; below it: plan 35 %")
    assert one["why"]["fr"].startswith("90 % : règle crosswalk, jusqu'à ")
    (alarm,) = lamps.get("/alarms")
    assert (alarm["device"], alarm["rule"], alarm["state"]) == ("lamp-001", "by-hand", "raised")
    assert alarm["respond_by_us"] == alarm["raised_us"] + 3_600_000_000
    explained = {e["rule"]: e for e in lamps.get("/rules/lamp-001")}
    assert explained["crosswalk"]["values"] == {"mode": "manual"}
    lamps.set(1, 14, 0)
    until(lambda: lamps.level(1) == lamps.level(2) == 35)


def test_what_a_rule_holds_outlives_the_node_and_ends_in_time(lamps: Lamps) -> None:
    until(lambda: lamps.level(1) == 35)
    lamps.set(1, 14, 1)
    until(lambda: lamps.level(1) == 90)
    (alarm,) = lamps.get("/alarms")
    node = lamps.stage.node
    assert node is not None
    node.kill()
    lamps.set(1, 14, 0)
    lamps.set(1, 2, 100)
    lamps.stage.start_node()
    (again,) = [a for a in lamps.get("/alarms") if a["rule"] == "by-hand"]
    assert (again["id"], again["raised_us"]) == (alarm["id"], alarm["raised_us"])
    until(lambda: lamps.level(1) == 90, within_s=3)
    until(lambda: lamps.level(1) == 35)


def test_an_alarm_that_has_ended_while_the_node_was_down_returns_and_one_that_has_not_stays(lamps: Lamps) -> None:
    for unit in (1, 2):
        lamps.set(unit, 14, 1)
    until(lambda: len(lamps.get("/alarms")) == 2)
    before = {a["device"]: a["id"] for a in lamps.get("/alarms")}
    node = lamps.stage.node
    assert node is not None
    node.kill()
    lamps.set(1, 14, 0)
    lamps.stage.start_node()

    # A return is told when it has stayed away for the dead time; nobody has acknowledged it.
    def stand() -> list[dict[str, str]]:
        return [a for a in lamps.get("/alarms") if a["rule"] != "restarted"]

    until(
        lambda: {a["device"]: a["state"] for a in stand()} == {"lamp-001": "returned", "lamp-002": "raised"},
        within_s=20,
    )
    assert {a["device"]: a["id"] for a in stand()} == before
    (told,) = [a for a in lamps.get("/alarms") if a["rule"] == "restarted"]
    assert told["text"]["fr"].startswith("Le nœud a été tué")
