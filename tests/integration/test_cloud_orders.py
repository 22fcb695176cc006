"""Orders over real sockets: given once, sent to the node, never lost, and how each ends is known."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from cloud.api.json_body import MAX_BYTES
from cloud.sqlite import orders
from cloud.times import parse
from support.cloud_process import Process
from support.cloud_street import dim, say, standing, street
from wire.batch import Lane
from wire.entries import ClockFix, Result
from wire.orders import Command, Down


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def test_a_command_goes_to_its_node_and_its_results_come_back(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    with cloud.downlink() as link, cloud.feed(type=["order", "result"]) as feed:
        assert set(link.next()["data"]) == {"server_us"}
        answer = cloud.order("/v1/commands", dim())
        assert answer.status_code == 202, answer.text
        taken = answer.json()
        (order,) = taken["orders"]
        assert (order["node"], order["value"], order["level"], order["stage"]) == (
            "cab-1",
            40.0,
            "hypervisor",
            "issued",
        )
        assert (order["reachable"], order["note"], order["group"]) == (True, "", taken["group"])
        down = link.order()
        assert down["id"] == order["id"]
        assert (down["order"], down["device"], down["point"], down["value"]) == ("command", "lamp-1-0", "dim_level", 40)
        assert (down["group"], down["expires_us"]) == (taken["group"], order["expires_us"])
        known = msgspec.convert({"server_us": 1, "order": down}, Down).order
        assert isinstance(known, Command)
        assert (known.level, known.by, known.issued_us) == ("hypervisor", order["by"], order["issued_us"])
        say(cloud, sender, order["id"], "accepted", "applied", device="lamp-1-0", point="dim_level")
        say(cloud, sender, order["id"], "verified", device="lamp-1-0", point="dim_level", read_back=40.0)
        told = [e["data"] for e in feed.take(4)]
    assert [e["type"].removeprefix("city.lamplighter.") for e in told] == ["order", "result", "result", "result"]
    assert [e["source"] for e in told] == ["/aggregator", "/nodes/cab-1", "/nodes/cab-1", "/nodes/cab-1"]
    assert (told[0]["data"]["id"], told[0]["subject"], told[0]["data"]["stage"]) == (order["id"], "lamp-1-0", "issued")
    assert (told[3]["data"]["stage"], told[3]["data"]["read_back"], told[3]["data"]["clock"]) == (
        "verified",
        40.0,
        "synced",
    )
    seen = standing(cloud, order["id"])
    assert [s["stage"] for s in seen["stages"]] == ["issued", "sent", "accepted", "applied", "verified"]
    assert (seen["stage"], seen["final"], seen["overdue"], seen["late"]) == ("verified", True, False, None)
    assert (seen["stages"][-1]["read_back"], seen["stages"][-1]["source"]) == (40.0, "/nodes/cab-1")
    assert seen["sent"] is not None
    group = cloud.get(f"/v1/commands/{taken['group']}")
    assert (group["stages"], group["orders"]) == ({"verified": 1}, [seen])
    assert cloud.get("/v1/commands", node="cab-1", open=1)["orders"] == []
    assert cloud.get("/v1/commands", node="cab-1")["orders"] == [seen]
    assert cloud.get("/v1/commands", node="cab-2")["orders"] == []


def test_who_gave_an_order_is_the_name_of_the_token(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    order = cloud.order("/v1/commands", dim()).json()["orders"][0]
    assert order["by"] == cloud.token("operator").split("_")[1]  # it has no name
    assert cloud.order("/v1/commands", dim(), role="reader").status_code == 403


def test_the_same_key_is_the_same_order(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    first = cloud.order("/v1/commands", dim(), "once")
    again = cloud.order("/v1/commands", dim(), "once")
    assert (first.status_code, again.status_code, again.content) == (202, 202, first.content)
    other = cloud.order("/v1/commands", dim(value=41), "once")
    assert (other.status_code, other.json()["type"]) == (422, "urn:lamplighter:problem:key-used")
    assert cloud.order("/v1/relinquish", {"device": "lamp-1-0", "point": "dim_level"}, "once").status_code == 422
    assert cloud.order("/v1/commands", dim(), "once", role="admin").status_code == 202  # another's key
    bare = cloud.client.post(f"{cloud.url}/v1/commands", json=dim(), headers=cloud.bearer("operator"))
    assert (bare.status_code, "Idempotency-Key is missing" in bare.json()["detail"]) == (400, True)
    cloud.stop(signal.SIGKILL)
    cloud.start()
    assert cloud.order("/v1/commands", dim(), "once").content == first.content
    assert len(cloud.get("/v1/commands")["orders"]) == 2


def test_the_same_key_at_once_is_the_same_order(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    token = cloud.bearer("operator")

    def give(_: int) -> bytes:
        with httpx.Client() as client:
            answer = client.post(f"{cloud.url}/v1/commands", json=dim(), headers={**token, "Idempotency-Key": "k"})
            assert answer.status_code == 202
            return answer.content

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(give, range(24)))) == 1
    assert len(cloud.get("/v1/commands")["orders"]) == 1


def test_all_that_is_wrong_is_told_at_once(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    answer = cloud.order("/v1/commands", {"devcie": "x", "value": [], "level": "plan", "expires_in_s": -1})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    told = "; ".join(answer.json()["problems"])
    for part in (
        "did you mean device?",
        "point is missing",
        "value: ",
        "write one of hypervisor, emergency",
        "expires_in_s: ",
    ):
        assert part in told
    answer = cloud.order("/v1/commands", {**dim("lmap-1-0"), "expires_in_s": None, "expires": "2020-01-01T00:00:00Z"})
    assert answer.status_code == 404
    assert "did you mean lamp-1-" in answer.json()["detail"]
    assert "not in the future" in answer.json()["detail"]
    for more, part in (
        ({"value": 101}, "outside 0 to 100 %"),
        ({"value": "on"}, "must be a number"),
        ({"value": True}, "must be a number"),
        ({"point": "active_power"}, "cannot be written"),
        ({"point": "dim_levle"}, "did you mean dim_level?"),
        ({"point": "scene", "value": "day"}, "night, feast"),
        ({"point": "switch", "value": 1}, "true or false"),
        ({"expires_in_s": 31 * 86_400}, "more than 30 days"),
        ({"expires": "2099-01-01T00:00:00Z"}, "one of expires"),
        ({"devices": ["lamp-1-1"]}, "one of device, devices, and group or area"),
        ({"device": None, "group": {}}, "at least one of kind"),
        ({"device": None, "devices": ["lamp-1-1", "lamp-1-1"]}, "more than once"),
    ):
        answer = cloud.order("/v1/commands", {**dim(), **more})
        assert (answer.status_code, part in answer.json()["detail"]) == (422, True), answer.text
    assert cloud.order("/v1/commands", {**dim(), "device": None, "group": {"kind": "bin"}}).status_code == 404
    assert cloud.get("/v1/commands")["orders"] == []
    headers = {**cloud.bearer("operator"), "Idempotency-Key": "k", "Content-Type": "application/json"}
    for body, status in ((b"{", 400), (b"[]", 400), (b"[" * 100_000, 400), (b" " * (MAX_BYTES + 1), 413)):
        assert cloud.client.post(f"{cloud.url}/v1/commands", content=body, headers=headers).status_code == status
    headers["Content-Type"] = "text/plain"
    assert cloud.client.post(f"{cloud.url}/v1/commands", content=b"{}", headers=headers).status_code == 415


def test_what_is_wrong_with_device_point_and_value_is_told_beside_a_wrong_key(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    for body, expected in (
        ({**dim(value=101), "levle": "emergency"}, {"did you mean level?", "outside 0 to 100 %"}),
        ({**dim("lmap-1-0"), "level": 3}, {"level: write one of", "did you mean lamp-1-"}),
        ({**dim(), "point": "dim_levle", "value": []}, {"value: write true or false", "did you mean dim_level?"}),
        ({**dim(), "value": None, "point": "active_power"}, {"value: ", "cannot be written"}),
        ({**dim(), "point": 4, "expires_in_s": 3e9}, {"point: write a text", "expires_in_s: write a number"}),
        ({"devcie": "x", "point": "p", "value": 1, "expires_in": 60}, {"mean device?", "mean expires"}),
        ({"all": True, "kind": "plna", "version": 3}, {"kind: there is no 'plna'", "version: ", "text is missing"}),
        ({"node": "cab-11", "kind": "plan", "version": "3"}, {"text is missing", "did you mean cab-1?"}),
    ):
        answer = cloud.order("/v1/bundles" if "kind" in body else "/v1/commands", body)
        assert answer.status_code == 400, answer.text
        told = answer.json()["problems"]
        assert len(told) == len(expected), told
        for part in expected:
            assert any(part in t for t in told), (part, told)
    assert cloud.get("/v1/commands")["orders"] == []


def test_the_answer_says_from_where_on_the_feed_tells_of_the_orders(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    cloud.order("/v1/commands", dim())
    bundle = {"node": "cab-1", "kind": "plan", "version": "2026-11", "text": "", "expires_in_s": 0.5}
    answer = cloud.order("/v1/bundles", bundle, "k").json()
    command = cloud.order("/v1/commands", dim()).json()
    say(cloud, sender, command["orders"][0]["id"], "accepted")
    with cloud.feed(after=answer["cursor"], type=["order", "result"]) as feed:
        told = [e["data"] for e in feed.take(4)]
    ids = [answer["orders"][0]["id"], command["orders"][0]["id"]]
    assert [d["data"].get("id") for d in told[:2]] == ids
    results = {d["data"]["order"]: d["data"] for d in told[2:]}
    ended, accepted = results[ids[0]], results[ids[1]]
    assert (ended["group"], ended["bundle"], ended["version"]) == (answer["group"], "plan", "2026-11")
    assert (ended["device"], ended["point"], ended["alarm"]) == (None, None, None)
    assert (accepted["group"], accepted["device"], accepted["bundle"]) == (command["group"], "lamp-1-0", None)
    assert cloud.order("/v1/bundles", bundle, "k").json()["cursor"] == answer["cursor"]
    with cloud.feed(after=command["cursor"], type="order") as feed:
        assert feed.next()["data"]["data"]["id"] == ids[1]


def test_an_order_that_was_never_sent_expires_by_itself(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    with cloud.feed(type="result") as feed:
        order = cloud.order("/v1/commands", dim(expires_in_s=0.3)).json()["orders"][0]
        told = feed.next()["data"]
    assert (told["source"], told["data"]["stage"], told["data"]["order"]) == ("/aggregator", "expired", order["id"])
    seen = standing(cloud, order["id"])
    assert (seen["stage"], seen["final"], seen["sent"], seen["reachable"]) == ("expired", True, None, None)
    assert "never sent" in seen["stages"][-1]["detail"]
    with cloud.downlink(once=1) as link:
        assert "order" not in link.next()["data"]


def test_an_order_that_was_sent_waits_for_the_word_of_its_node(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    with cloud.downlink() as link:
        order = cloud.order("/v1/commands", dim(expires_in_s=0.3)).json()["orders"][0]["id"]
        assert link.order()["id"] == order
    deadline = time.monotonic() + 10
    while not standing(cloud, order)["overdue"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.2)  # the aggregator has looked for what it ends by itself
    assert standing(cloud, order)["stage"] == "sent"
    say(cloud, sender, order, "expired")
    say(cloud, sender, order, "verified")
    seen = standing(cloud, order)
    assert (seen["stage"], seen["overdue"], seen["late"]["stage"]) == ("expired", False, "verified")


def test_relinquish_and_bundles_by_their_own_routes(cloud: Process) -> None:
    cloud.start()
    street(cloud, "cab-1")
    street(cloud, "cab-2")
    given = {"device": "lamp-1-0", "point": "dim_level", "level": "emergency", "expires_in_s": 60}
    taken = cloud.order("/v1/relinquish", given).json()["orders"][0]
    assert (taken["order"], taken["level"]) == ("relinquish", "emergency")
    plan = {"all": True, "kind": "plan", "version": "2026-11", "text": "#" + "é" * 59_999}
    answer = cloud.order("/v1/bundles", plan)
    assert answer.status_code == 202, answer.text
    assert [(o["node"], o["bundle"], o["version"]) for o in answer.json()["orders"]] == [
        ("cab-1", "plan", "2026-11"),
        ("cab-2", "plan", "2026-11"),
    ]
    with cloud.downlink() as link:
        assert link.order()["order"] == "relinquish"
        assert link.order()["text"] == plan["text"]
    with cloud.feed(after="0", type="order", node="cab-2") as feed:
        data = feed.next()["data"]["data"]
        assert (data["chars"], "text" in data) == (60_000, False)
    near = cloud.order("/v1/bundles", {"node": "cab-11", "kind": "rules", "version": "1", "text": ""})
    assert (near.status_code, "did you mean cab-1?" in near.json()["detail"]) == (404, True)
    assert cloud.order("/v1/bundles", {"kind": "rules", "version": "1", "text": ""}).status_code == 422
    dotted = cloud.order("/v1/bundles", {**plan, "text": ".".join("a" * 40_000) + " = 1"})
    assert (dotted.status_code, "text: has a key of more than 16 parts with dots (at line 1)" in dotted.text) == (
        422,
        True,
    )
    for _ in range(orders.MAX_OPEN_BUNDLES - 1):
        small = {"node": "cab-1", "kind": "rules", "version": "1", "text": ""}
        assert cloud.order("/v1/bundles", small).status_code == 202
    full = cloud.order("/v1/bundles", {"nodes": ["cab-1"], "kind": "rules", "version": "1", "text": ""})
    assert (full.status_code, "20 open bundles" in full.json()["detail"]) == (429, True)


def test_results_for_orders_that_a_restored_store_does_not_know_are_kept_and_shown(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    early = cloud.order("/v1/commands", dim()).json()["orders"][0]["id"]
    cloud.verb("backup", "--data", str(cloud.data), str(cloud.directory / "backup"))
    late = cloud.order("/v1/commands", dim()).json()["orders"][0]["id"]
    cloud.stop()
    cloud.verb("restore", "--data", str(cloud.data), str(cloud.directory / "backup"))
    cloud.start()
    assert cloud.client.get(f"{cloud.url}/v1/commands/{late}", headers=cloud.bearer()).status_code == 404
    now_us = time.time_ns() // 1000
    results = [
        Result(order=late, stage=s, time_us=now_us - 1_000, device="lamp-1-0", boot=4) for s in ("accepted", "failed")
    ]
    cloud.push(sender.batch(*results, ClockFix(boot=4, offset_us=500, error_us=1), lane=Lane.URGENT))
    seen = standing(cloud, late)
    assert (seen["known"], seen["stage"], seen["final"], seen["node"]) == (False, "failed", True, "cab-1")
    assert [(s["stage"], s["clock"], s["time_us"] - now_us) for s in seen["stages"]] == [
        ("accepted", "corrected", -500),
        ("failed", "corrected", -500),
    ]
    seen = standing(cloud, early)  # whether it was sent since the backup is not known: its node has the word
    assert parse(seen["sent"]) == seen["issued_us"]


def test_rebuilding_the_views_leaves_orders_as_they_are(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    orders = [cloud.order("/v1/commands", dim(value=v)).json()["orders"][0]["id"] for v in (1, 2, 3)]
    with cloud.downlink() as link:
        for _ in orders[:2]:
            link.order()
    say(cloud, sender, orders[0], "accepted", "refused", detail="too hot")
    before = cloud.get("/v1/commands")
    cloud.stop()
    cloud.verb("rebuild", "--data", str(cloud.data))
    cloud.start()
    after = cloud.get("/v1/commands")
    assert [o["stages"] for o in after["orders"]] == [o["stages"] for o in before["orders"]]
    assert after["orders"][2]["stages"][-1]["detail"] == "too hot"
