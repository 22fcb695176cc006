"""An order's whole way: hypervisor, aggregator, downlink, node, lamp, read back, result, feed."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.lamps import Lamps, playing, until

PLAN_50 = """
name = "half"
version = 2

[program.always]
active = [{ on = "00:00", off = "12:00" }, { on = "12:00", off = "00:00" }]
level = 50

[calendar.street]
default = "always"

[[assign]]
calendar = "street"
on = { kind = "streetlight" }
"""


@pytest.fixture
def lamps(tmp_path: Path) -> Iterator[Lamps]:
    with playing(tmp_path) as found:
        yield found


class Feed(threading.Thread):
    """What a control room hears of orders and results."""

    def __init__(self, lamps: Lamps) -> None:
        super().__init__(daemon=True)
        self._stage = lamps.stage
        self.heard: list[dict[str, Any]] = []

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self._stage.tokens['reader']}"}
        params = {"after": "0", "type": ["order", "result"]}
        url = f"{self._stage.cloud_url}/v1/feed"
        try:
            with httpx.stream("GET", url, params=params, headers=headers, timeout=30) as stream:
                for line in stream.iter_lines():
                    if line.startswith("data:"):
                        self.heard.append(json.loads(line[5:]))
        except httpx.HTTPError:
            return  # the aggregator has gone; what was heard stays

    def stages(self, order: str) -> list[str]:
        """What was told of an order, in the order of telling."""
        told = [e for e in self.heard if e["data"].get("order") == order or e["data"].get("id") == order]
        return [e["data"].get("stage", "issued") for e in told]


def test_a_command_is_applied_read_back_and_verified(lamps: Lamps) -> None:
    feed = Feed(lamps)
    feed.start()
    order = lamps.command("k1", 72.5)
    until(lambda: lamps.ordered(order)["final"])
    found = lamps.ordered(order)
    assert found["stage"] == "verified"
    assert [s["read_back"] for s in found["stages"] if s["stage"] == "verified"] == [72.5]
    assert found["by"] == "m.dupont"
    assert lamps.level(1) == 72.5
    (held,) = [d for d in lamps.get("/control") if d["device"] == "lamp-001"]
    assert held["why"]["en"].startswith("72.5 % because of the control room (m.dupont) until ")
    until(lambda: feed.stages(order)[-1:] == ["verified"])
    assert [s for s in feed.stages(order) if s != "issued"] == ["accepted", "applied", "verified"]


def test_the_same_key_is_one_order_and_what_cannot_be_is_told_at_once(lamps: Lamps) -> None:
    first = lamps.command("k1", 60)
    assert lamps.command("k1", 60) == first
    body = {"device": "lamp-001", "point": "dim_level", "value": 61, "expires_in_s": 60}
    assert lamps.stage.order("/v1/commands", "k1", **body).status_code == 422
    assert lamps.stage.order("/v1/commands", "k2", **(body | {"device": "lamp-009"})).status_code == 404
    for wrong in ({"value": 101}, {"point": "active_power"}, {"value": "on"}):
        answer = lamps.stage.order("/v1/commands", f"k{wrong}", **(body | wrong))
        assert 400 <= answer.status_code < 500, answer.text


def test_the_highest_level_wins_and_what_is_taken_back_or_ends_lets_the_next_one_have_it(lamps: Lamps) -> None:
    low = lamps.command("low", 20)
    until(lambda: lamps.ordered(low)["stage"] == "verified")
    high = lamps.command("high", 100, level="emergency", expires_in_s=4)
    until(lambda: lamps.ordered(high)["stage"] == "verified")
    again = lamps.command("again", 25)
    until(lambda: lamps.ordered(again)["stage"] == "accepted")
    assert lamps.level(1) == 100
    until(lambda: lamps.level(1) == 25)
    until(lambda: lamps.ordered(again)["stage"] == "verified")
    body = {"device": "lamp-001", "point": "dim_level", "expires_in_s": 60}
    (back,) = lamps.order("/v1/relinquish", "back", **body)["orders"]
    until(lambda: lamps.ordered(back["id"])["stage"] == "verified")
    assert lamps.level(1) == 35, "the plan has it again"


def test_a_group_is_one_order_a_device(lamps: Lamps) -> None:
    body = {"group": {"kind": "streetlight"}, "point": "dim_level", "value": 80, "expires_in_s": 60}
    taken = lamps.order("/v1/commands", "all", **body)
    assert sorted(o["device"] for o in taken["orders"]) == ["lamp-001", "lamp-002"]
    until(lambda: lamps.level(1) == lamps.level(2) == 80)
    until(lambda: [o["stage"] for o in lamps.stage.get(f"/v1/commands/{taken['group']}")["orders"]] == ["verified"] * 2)


def test_a_node_that_is_away_is_told_of_and_does_not_act_too_late(lamps: Lamps) -> None:
    node = lamps.stage.node
    assert node is not None
    node.kill()
    keys = (f"is it there {n}?" for n in itertools.count())
    asked = {"device": "lamp-002", "point": "dim_level", "expires_in_s": 1}
    until(lambda: not lamps.order("/v1/relinquish", next(keys), **asked)["orders"][0]["reachable"])
    body = {"device": "lamp-001", "point": "dim_level", "value": 90, "expires_in_s": 2}
    (late,) = lamps.order("/v1/commands", "late", **body)["orders"]
    (kept,) = lamps.order("/v1/commands", "kept", **(body | {"device": "lamp-002", "expires_in_s": 60}))["orders"]
    until(lambda: lamps.ordered(late["id"])["stage"] == "expired")
    lamps.stage.start_node()
    until(lambda: lamps.ordered(kept["id"])["stage"] == "verified")
    assert lamps.level(2) == 90
    assert lamps.level(1) == 35
    assert lamps.ordered(late["id"])["stage"] == "expired"


def test_a_plan_comes_down_and_is_followed_also_after_a_restart(lamps: Lamps) -> None:
    (bad,) = lamps.order("/v1/bundles", "bad", node="cab-lamps", kind="plan", version="1", text="name = 3",
                         expires_in_s=60)["orders"]  # fmt: skip
    until(lambda: lamps.ordered(bad["id"])["stage"] == "refused")
    assert "version" in lamps.ordered(bad["id"])["stages"][-1]["detail"]
    (plan,) = lamps.order("/v1/bundles", "plan", node="cab-lamps", kind="plan", version="2", text=PLAN_50,
                          expires_in_s=60)["orders"]  # fmt: skip
    until(lambda: lamps.ordered(plan["id"])["stage"] == "verified")
    assert "2 of 2" in lamps.ordered(plan["id"])["stages"][-1]["detail"]
    until(lambda: lamps.level(1) == lamps.level(2) == 50)
    node = lamps.stage.node
    assert node is not None
    node.kill()
    lamps.set(1, 2, 100)
    lamps.stage.start_node()
    until(lambda: lamps.level(1) == 50)
