"""Alarms at both ends: raised on the node, seen and acknowledged in the city, and the same at both after an outage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.lamps import Lamps, playing, until

RULES = """
[[rule]]
name = "by-hand"
on = { kind = "streetlight" }
when = "mode == 'manual'"

[rule.alarm]
severity = "high"
respond_within_s = 3600
text = { en = "In manual mode", fr = "En mode manuel" }

[[rule]]
name = "hand-seen"
on = { kind = "streetlight" }
when = "mode == 'manual'"
tag = "by-hand"
"""


@pytest.fixture
def lamps(tmp_path: Path) -> Iterator[Lamps]:
    with playing(tmp_path, rules=RULES) as found:
        yield found


def in_the_city(lamps: Lamps) -> dict[str, Any]:
    """The node's alarms as the city has them, by device."""
    found = lamps.stage.get("/v1/alarms", node="cab-lamps")["alarms"]
    return {a["device"]: a for a in found if a["rule"] == "by-hand"}


def on_the_node(lamps: Lamps) -> dict[str, Any]:
    return {a["device"]: a for a in lamps.get("/alarms") if a["rule"] != "restarted"}


def act(lamps: Lamps, alarm: str, key: str, **what: Any) -> str:
    (order,) = lamps.order(f"/v1/alarms/{alarm}/acts", key, **what)["orders"]
    return order["id"]


def test_an_alarm_is_raised_acknowledged_and_cleared_at_both_ends(lamps: Lamps) -> None:
    lamps.set(1, 14, 1)
    until(lambda: "lamp-001" in in_the_city(lamps))
    city, node = in_the_city(lamps)["lamp-001"], on_the_node(lamps)["lamp-001"]
    assert (city["id"], city["state"], city["severity"]) == (node["id"], "raised", "high")
    assert city["respond_by_us"] == node["respond_by_us"] == node["raised_us"] + 3_600_000_000
    assert city["text"] == {"en": "In manual mode", "fr": "En mode manuel"}
    order = act(lamps, city["id"], "ack", act="acknowledge", note="on my way")
    until(lambda: lamps.ordered(order)["stage"] == "verified")
    until(lambda: in_the_city(lamps)["lamp-001"]["state"] == "acknowledged")
    acknowledged = on_the_node(lamps)["lamp-001"]
    assert (acknowledged["state"], acknowledged["by"]) == ("acknowledged", "m.dupont")
    lamps.set(1, 14, 0)
    # The return is told once the condition has stayed away for the dead time.
    until(lambda: not on_the_node(lamps), within_s=25)
    until(lambda: not in_the_city(lamps))
    assert lamps.stage.order(f"/v1/alarms/{city['id']}/acts", "late", act="shelve", for_s=60).status_code >= 400


def test_both_ends_agree_after_an_outage(lamps: Lamps) -> None:
    lamps.set(1, 14, 1)
    lamps.set(2, 14, 1)
    until(lambda: len(in_the_city(lamps)) == 2)
    ids = {device: a["id"] for device, a in in_the_city(lamps).items()}
    cloud, node = lamps.stage.cloud, lamps.stage.node
    assert cloud is not None
    assert node is not None
    cloud.kill()
    lamps.set(1, 14, 0)
    until(lambda: on_the_node(lamps)["lamp-001"]["state"] == "returned", within_s=25)
    node.kill()
    lamps.stage.start_node()
    lamps.stage.start_cloud()
    order = act(lamps, ids["lamp-001"], "ack", act="acknowledge")
    until(lambda: lamps.ordered(order)["stage"] == "verified", within_s=20)
    until(lambda: {d: a["state"] for d, a in in_the_city(lamps).items()} == {"lamp-002": "raised"})
    assert {d: (a["id"], a["state"]) for d, a in on_the_node(lamps).items()} == {
        "lamp-002": (ids["lamp-002"], "raised")
    }


def test_shelving_ends_by_itself_and_marks_reach_the_feed(lamps: Lamps) -> None:
    lamps.set(2, 14, 1)
    until(lambda: in_the_city(lamps))
    alarm = in_the_city(lamps)["lamp-002"]["id"]
    order = act(lamps, alarm, "shelve", act="shelve", for_s=4)
    until(lambda: lamps.ordered(order)["stage"] == "verified")
    until(lambda: in_the_city(lamps)["lamp-002"]["state"] == "shelved")
    until(lambda: in_the_city(lamps)["lamp-002"]["state"] == "raised")
    headers = {"Authorization": f"Bearer {lamps.stage.tokens['reader']}"}
    url = f"{lamps.stage.cloud_url}/v1/feed"
    with lamps.stage.http.stream("GET", url, params={"after": "0", "type": "mark"}, headers=headers) as feed:
        marks = next(line for line in feed.iter_lines() if line.startswith("data:"))
    assert '"tag":"by-hand"' in marks
