"""Alarms over real sockets: one list, acts that go to the node, and the aggregator's own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.cloud_batches import SECOND, Sender, columns, roster
from support.cloud_process import Process
from wire.batch import Lane
from wire.entries import Alarm, AlarmState, ClockFix, Gap, Health, Mark, Result

NOW_US = time.time_ns() // 1000


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def alarm(name: str = "a", state: AlarmState = "raised", **more: Any) -> Alarm:
    given = {"device": "lamp-001", "rule": "dark", "severity": "high", "raised_us": NOW_US, "time_us": NOW_US}
    return Alarm(id=name, state=state, **{**given, **more})


def ids(page: dict[str, Any]) -> list[tuple[str, str]]:
    return [(a["node"], a["id"]) for a in page["alarms"]]


def eventually(cloud: Process, **query: Any) -> list[dict[str, Any]]:
    """The alarms that are asked for, once there are any: the aggregator looks every few seconds."""
    deadline = time.monotonic() + 20
    while not (found := cloud.get("/v1/alarms", **query)["alarms"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_one_list_with_filters_and_pages(cloud: Process) -> None:
    cloud.start()
    one, two = Sender("cab-1"), Sender("cab-2")
    cloud.push(one.batch(alarm("x/1"), alarm("b", "cleared"), alarm("c", severity="low"), lane=Lane.URGENT))
    cloud.push(two.batch(alarm("a", "shelved", device="bin-1"), alarm("x/1", boot=3), lane=Lane.URGENT))
    cloud.push(two.batch(ClockFix(boot=3, offset_us=SECOND, error_us=1), lane=Lane.URGENT))
    whole = cloud.get("/v1/alarms")
    assert ids(whole) == [("cab-1", "c"), ("cab-1", "x/1"), ("cab-2", "a"), ("cab-2", "x/1")]
    assert (whole["alarms"][3]["clock"], whole["alarms"][3]["time_us"]) == ("corrected", NOW_US + SECOND)
    assert all(a["asked"] == [] for a in whole["alarms"])
    for query, expected in (
        ({"node": "cab-2"}, 2),
        ({"device": "bin-1"}, 1),
        ({"state": "cleared"}, 1),
        ({"state": ["raised", "cleared"]}, 4),
        ({"severity": ["low", "urgent"]}, 1),
        ({"severity": "urgent"}, 0),
    ):
        assert len(cloud.get("/v1/alarms", **query)["alarms"]) == expected, query
    found: list[tuple[str, str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = cloud.get("/v1/alarms", limit=1, **cursor)
        found += ids(page)
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == ids(whole)


def test_an_act_is_asked_of_the_node_until_it_has_confirmed(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    cloud.push(sender.batch(alarm("x/1"), alarm("old", "cleared"), lane=Lane.URGENT))
    with cloud.downlink() as link:
        answer = cloud.order("/v1/alarms/x/1/acts", {"act": "shelve", "for_s": 3600, "note": "works"})
        assert answer.status_code == 202, answer.text
        (order,) = answer.json()["orders"]
        down = link.order()
        assert (down["order"], down["alarm"], down["act"], down["note"]) == ("alarm_act", "x/1", "shelve", "works")
        assert down["until_us"] - down["issued_us"] == 3_600 * SECOND
    (seen,) = cloud.get("/v1/alarms")["alarms"]
    assert (seen["state"], len(seen["asked"])) == ("raised", 1)
    asked = seen["asked"][0]
    assert (asked["order"], asked["act"], asked["stage"], asked["until"]) == (
        order["id"],
        "shelve",
        "sent",
        order["until"],
    )
    said = alarm("x/1", "shelved", until_us=down["until_us"], by=down["by"])
    done = Result(order=order["id"], stage="verified", time_us=NOW_US)
    cloud.push(sender.batch(said, done, lane=Lane.URGENT))
    (seen,) = cloud.get("/v1/alarms")["alarms"]
    assert (seen["state"], seen["asked"], seen["until_us"]) == ("shelved", [], down["until_us"])
    for path, body, status, part in (
        ("x/2", {"act": "acknowledge"}, 404, "did you mean x/1?"),
        ("old", {"act": "acknowledge"}, 422, "has cleared"),
        ("x/1", {"act": "shelve"}, 422, "one of until"),
        ("x/1", {"act": "unshelve", "for_s": 5}, 422, "go with shelve"),
        ("x/1", {"act": "ignore"}, 400, "act: "),
    ):
        answer = cloud.order(f"/v1/alarms/{path}/acts", body)
        assert (answer.status_code, part in answer.json()["detail"]) == (status, True), answer.text
    cloud.push(Sender("cab-2").batch(alarm("x/1"), lane=Lane.URGENT))
    assert "say which with ?node=" in cloud.order("/v1/alarms/x/1/acts", {"act": "acknowledge"}).json()["detail"]
    assert cloud.order("/v1/alarms/x/1/acts?node=cab-2", {"act": "acknowledge"}).json()["orders"][0]["node"] == "cab-2"


def test_what_is_missing_is_an_alarm_of_the_aggregator(cloud: Process) -> None:
    cloud.start()
    sender = Sender(epoch=1)
    with cloud.feed(type="alarm") as feed:
        cloud.push(sender.batch(columns(n=3, at_us=NOW_US), Gap(reason="disk full", lost=17, seqs=5), ahead=4))
        cloud.push(Sender(epoch=2).batch(columns(n=2, at_us=NOW_US + SECOND), Gap(reason="moved", lost=0)))
        told = {e["data"]["data"]["rule"]: e["data"] for e in feed.take(2)}
    found = {a["rule"]: a for a in eventually(cloud, node="cab-1")}
    assert set(found) == {"missing", "fork"} == set(told)
    missing = found["missing"]
    assert (missing["source"], missing["device"], missing["values"]["lost"]) == ("/aggregator", "cab-1", 17)
    assert missing["text"]["fr"].startswith(
        "des mesures de cab-1 sont perdues : 17 échantillons connus ; dernière cause"
    )
    assert missing["detail"] == missing["text"]["en"]
    assert re.search(r"readings from [-0-9]{10} [:0-9]{8} UTC to .* UTC may be held twice", found["fork"]["detail"])
    event = told["missing"]
    assert (event["source"], event["subject"], event["data"]["id"]) == ("/aggregator", "cab-1", missing["id"])
    done = cloud.order(f"/v1/alarms/{missing['id']}/acts", {"act": "shelve", "for_s": 60}, "k")
    assert (done.status_code, done.json()["state"], done.json()["asked"]) == (200, "shelved", [])
    assert cloud.order(f"/v1/alarms/{missing['id']}/acts", {"act": "shelve", "for_s": 60}, "k").content == done.content
    assert cloud.order(f"/v1/alarms/{missing['id']}/acts", {"act": "unshelve"}, "k").status_code == 422
    cloud.stop()
    cloud.start()
    assert {a["state"] for a in cloud.get("/v1/alarms")["alarms"]} == {"shelved", "raised"}
    for name in (found["missing"]["id"], found["fork"]["id"]):
        assert cloud.order(f"/v1/alarms/{name}/acts", {"act": "acknowledge"}).status_code == 200
    assert [a["rule"] for a in cloud.get("/v1/alarms")["alarms"]] == ["missing"]  # shelved for the minute
    cloud.order(f"/v1/alarms/{missing['id']}/acts", {"act": "unshelve"})
    assert cloud.get("/v1/alarms")["alarms"] == []


def test_a_silent_node_is_an_alarm_and_returns(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    cloud.push(sender.batch(Health(time_us=NOW_US, verdict="ok", interval_s=0.2), lane=Lane.URGENT))
    (silent,) = eventually(cloud, node="cab-1")
    assert (silent["rule"], silent["state"], silent["severity"]) == ("silent", "raised", "high")
    cloud.push(sender.batch(Health(time_us=NOW_US, verdict="ok", interval_s=60), lane=Lane.URGENT))
    (returned,) = eventually(cloud, state="returned")
    assert (returned["id"], returned["active"]) == (silent["id"], False)
    assert silent["detail"].startswith("cab-1 has been silent since ")
    assert returned["detail"].startswith("cab-1 was silent from ")


def test_marks_and_alarms_are_in_the_feed_as_they_were_said(cloud: Process) -> None:
    cloud.start()
    mark = Mark(device="lamp-001", rule="crowd", tag="many", time_us=NOW_US, values={"n": float("inf")}, boot=2)
    cloud.push(Sender().batch(alarm(), mark, lane=Lane.URGENT))
    with cloud.feed(after="0") as feed:
        first, second = (e["data"] for e in feed.take(2))
    assert (first["type"], first["data"]["active"], first["data"]["clock"]) == (
        "city.lamplighter.alarm",
        True,
        "synced",
    )
    assert (second["type"], second["id"]) == ("city.lamplighter.mark", "cab-1/7/urgent/2")
    assert (second["data"]["values"], second["data"]["clock"]) == ({"n": "Infinity"}, "estimated")


OLD_US = NOW_US - 60 * SECOND


def test_alarms_of_a_card_that_was_replaced_are_over_and_can_be_acknowledged(cloud: Process) -> None:
    cloud.start()
    old = Sender(epoch=1, after=None)
    cloud.push(
        old.batch(
            alarm("unseen", detail="dark for 5 min"),
            alarm("seen", "acknowledged", acknowledged=True),
            alarm("shelved", "shelved", until_us=NOW_US + 3_600 * SECOND),
            alarm("explained", "suppressed", cause="unseen"),
            alarm("fixed-id", device="cab-1"),
            lane=Lane.URGENT,
        )
    )
    with cloud.feed(type="alarm") as feed:
        new = Sender(epoch=2, after=None)
        cloud.push(new.batch(Health(time_us=NOW_US, verdict="ok"), alarm("fixed-id", device="cab-1"), lane=Lane.URGENT))
        told = {e["data"]["data"]["id"]: e["data"]["data"] for e in feed.take(6)}
    assert {name: told[name]["state"] for name in told} == {
        "unseen": "returned", "seen": "cleared", "shelved": "returned", "explained": "cleared", "fixed-id": "raised"
    }  # fmt: skip
    assert told["unseen"]["detail"].startswith("over: the node's card was replaced")
    assert told["unseen"]["detail"].endswith("It said: dark for 5 min")
    standing = [a for a in cloud.get("/v1/alarms", node="cab-1")["alarms"] if a["source"] == "/nodes/cab-1"]
    assert [(a["id"], a["state"], a["active"]) for a in standing] == [
        ("fixed-id", "raised", True), ("shelved", "returned", False), ("unseen", "returned", False)
    ]  # fmt: skip
    refused = cloud.order("/v1/alarms/shelved/acts", {"act": "shelve", "for_s": 60})
    assert (refused.status_code, "acknowledge it" in refused.json()["detail"]) == (422, True)
    with cloud.feed(type="alarm") as feed:
        act = {"act": "acknowledge", "note": "lamp was changed"}
        done = cloud.order("/v1/alarms/unseen/acts", act, key="k")
        assert (done.status_code, done.json()["state"], done.json()["detail"]) == (200, "cleared", "lamp was changed")
        assert cloud.order(
            "/v1/alarms/unseen/acts", {"act": "acknowledge", "note": "lamp was changed"}, key="k"
        ).json() == (done.json())
        assert feed.next()["data"]["data"]["state"] == "cleared"
    asked = cloud.order("/v1/alarms/fixed-id/acts", {"act": "acknowledge"})
    assert asked.status_code == 202, "its node knows it"
    before = cloud.get("/v1/alarms", node="cab-1", state=["cleared", "returned", "raised"])
    cloud.stop()
    cloud.verb("rebuild", "--data", str(cloud.data))
    cloud.start()
    assert cloud.get("/v1/alarms", node="cab-1", state=["cleared", "returned", "raised"]) == before


def test_what_a_node_says_again_in_a_new_run_stands(cloud: Process) -> None:
    """A card that was salvaged has lost some, and kept its alarms."""
    cloud.start()
    old = Sender(epoch=1, after=None)
    cloud.push(old.batch(alarm("kept"), alarm("lost"), lane=Lane.URGENT))
    new = Sender(epoch=2, after=old, whole=False)
    cloud.push(new.batch(Health(time_us=NOW_US, verdict="ok"), lane=Lane.URGENT))
    cloud.push(new.batch(alarm("kept"), lane=Lane.URGENT))
    standing = [a for a in cloud.get("/v1/alarms", node="cab-1")["alarms"] if a["source"] == "/nodes/cab-1"]
    assert [(a["id"], a["state"]) for a in standing] == [("kept", "raised"), ("lost", "returned")]


def test_a_run_that_closes_the_one_before_it_ends_no_alarm(cloud: Process) -> None:
    cloud.start()
    for after in ("a node that cannot say", "a node that closes it"):
        node = after.replace(" ", "-")
        old = Sender(node, epoch=1, after=None)
        cloud.push(old.batch(alarm("a"), lane=Lane.URGENT))
        new = Sender(node, epoch=2, after=old if "closes" in after else msgspec.UNSET)
        cloud.push(new.batch(Health(time_us=NOW_US, verdict="ok"), lane=Lane.URGENT))
        (standing,) = cloud.get("/v1/alarms", node=node)["alarms"]
        assert standing["state"] == "raised"


def test_orders_that_a_lost_card_had_accepted_have_failed_and_others_are_sent_again(cloud: Process) -> None:
    cloud.start()
    old = Sender(epoch=1, after=None)
    cloud.push(old.batch(roster("lamp-001"), lane=Lane.URGENT))
    ids: list[str] = []
    with cloud.downlink() as link:
        for value in (40, 50):
            given = cloud.order(
                "/v1/commands", {"devices": ["lamp-001"], "point": "n", "value": value, "expires_in_s": 600}
            )
            assert given.status_code == 202, given.text
            ids.append(link.order()["id"])
    cloud.push(old.batch(Result(order=ids[0], stage="accepted", time_us=NOW_US), lane=Lane.URGENT))
    with cloud.feed(type="result") as feed:
        cloud.push(Sender(epoch=2, after=None).batch(roster("lamp-001"), lane=Lane.URGENT))
        told = feed.next()["data"]["data"]
    assert (told["order"], told["stage"]) == (ids[0], "failed")
    assert "card was replaced" in told["detail"]
    assert cloud.get(f"/v1/commands/{ids[0]}")["orders"][0]["stage"] == "failed"
    with cloud.downlink() as link:
        assert link.order()["id"] == ids[1]


def test_a_run_whose_end_is_unknown_is_alarmed_and_written_off(cloud: Process) -> None:
    cloud.start()
    old = Sender(epoch=1, after=None)
    cloud.push(old.batch(columns(at_us=OLD_US, n=3)))
    cloud.push(Sender(epoch=2, after=None).batch(columns(at_us=NOW_US, n=1)))
    (raised,) = eventually(cloud, node="cab-1")
    assert (raised["rule"], raised["state"]) == ("missing", "raised")
    assert "epoch 1 ended unfinished (bulk, from seq 4 on; its end is not known)" in raised["detail"]
    path = "/v1/nodes/cab-1/runs/bulk/{}/write-off"
    for epoch, status in ((9, 404), (2, 422), ("x", 400)):
        assert cloud.order(path.format(epoch), {}).status_code == status
    assert cloud.order(path.format(1), {}, role="reader").status_code == 403
    with cloud.feed(type="ledger") as feed:
        done = cloud.order(path.format(1), {"note": "the card is in the river"})
        assert (done.status_code, done.json()["note"]) == (200, "the card is in the river"), done.text
        told = feed.next()["data"]["data"]
        assert (told["finding"], told["epoch"], told["lane"], told["note"]) == (
            "written_off", 1, "bulk", "the card is in the river"
        )  # fmt: skip
    assert cloud.order(path.format(1), {"note": "again"}).json() == done.json(), "the first stands"
    cloud.stop()
    cloud.verb("rebuild", "--data", str(cloud.data))
    cloud.start()
    ledger = cloud.get("/v1/nodes/cab-1")["ledger"]
    assert ledger["unfinished"] == []
    assert ledger["missing"]["certainty"] == "at_least", "what is missing is missing still"
    assert [(p["state"], p["written_off"]) for p in ledger["lanes"]] == [
        ("written_off", done.json()), ("current", None)
    ]  # fmt: skip
