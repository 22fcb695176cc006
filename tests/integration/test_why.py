"""Why, asked from the city: a real node and a real aggregator; a plan, a rule, an order, a technician; killed and
started again, and a node of before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.web.reach import reach
from support.cloud_process import Process
from support.cloud_street import street
from support.lamps import Lamps, playing, until
from wire.batch import Lane
from wire.entries import Decision, Decisions

RULES = """
[[rule]]
name = "by-hand"
on = { id = "lamp-002" }
when = "mode == 'manual'"
command = { point = "dim_level", value = 90, hold_s = 600 }
"""


@pytest.fixture
def lamps(tmp_path: Path) -> Iterator[Lamps]:
    with playing(tmp_path, rules=RULES) as found:
        yield found


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def why(lamps: Lamps, device: str = "lamp-001") -> dict[str, Any]:
    return lamps.stage.get(f"/v1/devices/{device}/why")


def levels(found: dict[str, Any]) -> list[tuple[str, Any, str]]:
    (point,) = [p for p in found["points"] if p["point"] == "dim_level"]
    return [(held["level"], held["value"], held.get("by", "")) for held in point["levels"]]


def decided(lamps: Lamps, device: str = "lamp-001") -> dict[str, Any]:
    return lamps.stage.get(f"/v1/devices/{device}")["decided"].get("dim_level", {})


def technician(lamps: Lamps, **order: Any) -> None:
    path = Path(json.loads(lamps.stage.node_endpoints.read_text())["socket"])
    body = {"by": "jean", "device": "lamp-001", "point": "dim_level", **order}
    with reach(path) as address, httpx.Client(transport=httpx.HTTPTransport(uds=address), base_url="http://x") as node:
        assert node.post("/orders", json=body).status_code == 202


def test_the_whole_array_is_asked_of_the_node_and_who_wins_is_told_at_once(lamps: Lamps) -> None:
    found = why(lamps)
    assert (found["source"], found["note"]) == ("node", "")
    assert levels(found)[0][:2] == ("plan", 35.0)
    assert found["plan"] == "always 1"
    assert found["rules"].endswith("rules.toml: 1")
    assert found["points"][0]["text"]["fr"].startswith("35 % : programme")
    order = lamps.command("room", 20)
    technician(lamps, order="command", value=80)
    until(lambda: decided(lamps).get("level") == "technician")
    now = decided(lamps)
    assert (now["value"], now["by"].endswith("for jean"), now["until"] is not None) == (80.0, True, True)
    found = why(lamps)
    assert [held[:2] for held in levels(found)][:3] == [
        ("technician", 80.0), ("hypervisor", 20.0), ("plan", 35.0),
    ]  # fmt: skip
    assert [p["levels"][1].get("order") for p in found["points"] if p["point"] == "dim_level"] == [order]
    assert "dim_level" in {p["point"] for p in found["points"]}
    named = lamps.stage.get("/v1/latest", level="technician", decided=1)["devices"]
    assert [(d["id"], d["decided"]["dim_level"]["level"]) for d in named] == [("lamp-001", "technician")]
    technician(lamps, order="relinquish")
    until(lambda: decided(lamps).get("level") == "hypervisor")


def test_a_rule_is_told_of_with_where_it_stands(lamps: Lamps) -> None:
    (watching,) = why(lamps, "lamp-002")["watching"]
    assert (watching["name"], watching["when"]) == ("by-hand", "mode == 'manual'")
    lamps.set(2, 14, 1)
    until(lambda: decided(lamps, "lamp-002").get("level") == "rule")
    assert levels(why(lamps, "lamp-002"))[0] == ("rule", 90.0, "by-hand")
    assert why(lamps, "lamp-002")["watching"][0]["state"] == "true"


def test_a_node_that_is_away_is_shown_as_it_told_last_and_says_it_again_when_it_is_back(lamps: Lamps) -> None:
    order = lamps.command("room", 20)
    until(lambda: decided(lamps).get("level") == "hypervisor")
    node = lamps.stage.node
    assert node is not None
    node.kill()
    until(lambda: why(lamps)["source"] == "told")
    found = why(lamps)
    assert "cab-lamps" in found["note"]
    assert levels(found) == [("hypervisor", 20.0, "m.dupont")]
    assert found["age_s"] > 0
    assert found["plan"] == "always 1"
    assert found["watching"] is None
    assert not found["points"][0]["whole"]
    lamps.stage.start_node()
    until(lambda: why(lamps)["source"] == "node")
    assert levels(why(lamps))[:2] == [("hypervisor", 20.0, "m.dupont"), ("plan", 35.0, "always")]
    until(lambda: lamps.ordered(order)["stage"] == "verified")


def test_a_node_that_cannot_say_it_is_unknown_and_said_to_be(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    with cloud.downlink() as link:
        link.next()
        found = cloud.get("/v1/devices/lamp-1-0/why")
    assert (found["source"], found["points"], found["plan"], found["age_s"]) == ("unknown", [], None, None)
    assert "cannot be asked" in found["note"]
    assert cloud.get("/v1/devices/lamp-1-0")["lives_by"] is None
    missing = cloud.client.get(f"{cloud.url}/v1/devices/lamp-1-9/why", headers=cloud.bearer())
    assert (missing.status_code, "lamp-1-" in missing.json()["detail"]) == (404, True)


def test_a_node_that_does_not_answer_in_time_is_shown_as_it_told_last(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    said = Decision(point="dim_level", devices=("lamp-1-0",), level="plan", value=35.0, by="street")
    cloud.push(
        sender.batch(Decisions(time_us=1_795_000_000_000_000, decided=(said,), plan="winter 7"), lane=Lane.URGENT)
    )
    with cloud.downlink(answers="why") as link:
        link.next()
        found = cloud.get("/v1/devices/lamp-1-0/why")
        asked = link.next()["data"]["why"]
    assert (found["source"], found["note"]) == ("told", "node cab-1 did not answer within 3 s")
    assert (asked["device"], found["plan"]) == ("lamp-1-0", "winter 7")
    late = {"id": asked["id"], "device": "lamp-1-0", "time_us": 1}
    url = f"{cloud.url}/v1/nodes/cab-1/answers"
    own, other = cloud.bearer("node", "cab-1"), cloud.bearer("node", "cab-2")
    assert cloud.client.post(url, json=late, headers=own).status_code == 204
    assert cloud.client.post(url, json=late, headers=other).status_code == 403
    assert cloud.client.post(url, json=late | {"time_us": 2**63}, headers=own).status_code == 400
    assert (
        cloud.client.post(url, content=b"x" * 300_000, headers=own | {"Content-Type": "application/json"}).status_code
        == 413
    )


def test_who_decides_outlives_the_aggregator(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    said = Decision(point="dim_level", devices=("lamp-1-0",), level="plan", value=35.0, by="street")
    cloud.push(sender.batch(Decisions(time_us=1_795_000_000_000_000, decided=(said,)), lane=Lane.URGENT))
    cloud.stop(9)
    cloud.start()
    assert cloud.get("/v1/devices/lamp-1-0")["decided"]["dim_level"]["by"] == "street"
    printed = cloud.verb("why", "lamp-1-0", "--url", cloud.url, "--token-file", str(token_file(cloud)))
    assert "dim_level: 35 % because of plan (street)" in printed
    assert "what lies below is not known" in printed


def token_file(cloud: Process) -> Path:
    path = cloud.directory / "reader.token"
    path.write_text(cloud.token("reader"))
    return path
