"""A device that two nodes name: told by an alarm, decided by an operator, and free again when a token is revoked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloud_batches import Sender, columns, roster
from support.cloud_process import Process
from wire.batch import Lane


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def until(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 40
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def conflicts(cloud: Process) -> list[dict[str, Any]]:
    return [a for a in cloud.get("/v1/alarms")["alarms"] if a["rule"] == "conflict" and a["state"] == "raised"]


def holder(cloud: Process, device: str = "lamp-001") -> str:
    return cloud.get(f"/v1/devices/{device}")["device"]["node"]


def assigned(cloud: Process, device: str, node: str | None, status: int = 200, role: Any = "operator") -> Any:
    answer = cloud.client.post(
        f"{cloud.url}/v1/assignments", json={"device": device, "node": node}, headers=cloud.bearer(role)
    )
    assert answer.status_code == status, answer.text
    return answer.json()


def told(cloud: Process, node: str, value: str, at: int) -> None:
    sender = Sender(node, epoch=at)
    assert cloud.push(sender.batch(roster("lamp-001", "lamp-002"), lane=Lane.URGENT))[0] == 200
    assert cloud.push(sender.batch(columns("lamp-001", n=1, t=value)))[0] == 200


def test_an_alarm_names_both_and_an_operator_decides(cloud: Process) -> None:
    cloud.start()
    told(cloud, "cab-b", "of b", 7)
    told(cloud, "cab-a", "of a", 8)
    assert holder(cloud) == "cab-b"  # it was first
    (alarm,) = until(lambda: conflicts(cloud))
    assert "cab-a" in alarm["detail"]
    assert "cab-b" in alarm["detail"]
    assert "lamp-001" in alarm["detail"]
    with cloud.feed(type="ledger") as feed:
        done = assigned(cloud, "lamp-001", "cab-a")
        event = feed.next()["data"]
    assert (done["device"], done["node"]) == ("lamp-001", "cab-a")
    assert done["time_us"] > 0
    assert event["data"]["finding"] == "assigned"
    assert (event["data"]["device"], event["data"]["assigned_to"], event["data"]["by"]) == (
        "lamp-001", "cab-a", done["by"],
    )  # fmt: skip
    assert holder(cloud) == "cab-a"
    assert cloud.get("/v1/devices/lamp-001")["latest"]["t"]["value"] == "of a"
    assert cloud.get("/v1/devices/lamp-001")["device"]["conflict"] == []
    until(lambda: "lamp-001" not in str(conflicts(cloud)))
    assert "lamp-002" in str(conflicts(cloud))
    assigned(cloud, "lamp-002", "cab-a")
    until(lambda: not conflicts(cloud))
    cloud.stop()
    cloud.verb("rebuild", "--data", str(cloud.data))
    cloud.start()
    assert holder(cloud) == "cab-a"
    assert [a["device"] for a in cloud.get("/v1/assignments")["assignments"]] == ["lamp-001", "lamp-002"]
    assigned(cloud, "lamp-001", "cab-b")
    assert holder(cloud) == "cab-b"
    assigned(cloud, "lamp-001", None)
    assigned(cloud, "lamp-001", None, status=404)
    assert holder(cloud) == "cab-b"
    assigned(cloud, "lamp-001", "cab-z", status=404)
    assigned(cloud, "lamp-001", "cab-a", status=403, role="reader")


def test_a_device_can_be_kept_from_a_node_before_its_own_has_named_it(cloud: Process) -> None:
    cloud.start()
    told(cloud, "cab-b", "of b", 7)
    assert cloud.push(Sender("cab-a").batch(columns("other", n=1)))[0] == 200
    assigned(cloud, "lamp-001", "cab-a")
    answer = cloud.client.get(f"{cloud.url}/v1/devices/lamp-001", headers=cloud.bearer())
    assert answer.status_code == 404
    answer = cloud.order("/v1/commands", {"device": "lamp-001", "point": "p", "value": 1, "expires_in_s": 60})
    assert answer.status_code == 404
    answer = cloud.order(
        "/v1/commands", {"group": {"kind": "streetlight"}, "point": "p", "value": 1, "expires_in_s": 9}
    )
    assert "cab-b" not in answer.text or "lamp-001" not in answer.text
    told(cloud, "cab-a", "of a", 8)
    assert holder(cloud) == "cab-a"


def test_a_revoked_node_holds_no_claim(cloud: Process) -> None:
    cloud.start()
    told(cloud, "cab-b", "of b", 7)
    told(cloud, "cab-a", "of a", 8)
    until(lambda: conflicts(cloud))
    cloud.verb("token", "revoke", "--data", str(cloud.data), cloud.token("node", "cab-b").split("_")[1])
    until(lambda: holder(cloud) == "cab-a")
    until(lambda: not conflicts(cloud))
    cloud.stop()
    cloud.start()
    assert holder(cloud) == "cab-a"
    assert cloud.get("/v1/devices/lamp-001", node="cab-b")["latest"]["t"]["value"] == "of b"  # what it said stays


def test_the_verb_assigns(cloud: Process, tmp_path: Path) -> None:
    cloud.start()
    told(cloud, "cab-b", "of b", 7)
    told(cloud, "cab-a", "of a", 8)
    file = tmp_path / "token"
    file.write_text(cloud.token("operator") + "\n")
    options = ("--url", cloud.url, "--token-file", str(file))
    assert "lamp-001 is assigned to cab-a, by" in cloud.verb("assign", "lamp-001", "cab-a", *options)
    assert holder(cloud) == "cab-a"
    assert "404: no node 'cab-z' was ever heard" in cloud.verb("assign", "lamp-001", "cab-z", *options, ok=False)
    assert "to no node any more" in cloud.verb("assign", "lamp-001", *options)
    assert holder(cloud) == "cab-b"
