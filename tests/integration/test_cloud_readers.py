"""Reader processes: the same answers beside the one process that writes, whoever of them is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.cloud_batches import SECOND, Sender, columns, places, roster
from support.cloud_process import Process
from wire.batch import Lane, Snapshot
from wire.entries import Alarm

NOW_US = time.time_ns() // 1000
WAIT_S = 60


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    if process.running is not None:
        print(process.stop(signal.SIGKILL)[1])  # shown where a test fails
    process.close()


def at_reader(cloud: Process, path: str, **query: Any) -> httpx.Response:
    return cloud.client.get(cloud.readers_url + path, params=query, headers=cloud.bearer(), timeout=WAIT_S)


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return found


def readers_of(cloud: Process) -> list[int]:
    """The process numbers of its reader processes."""
    assert cloud.running is not None
    found: list[int] = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = each.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == cloud.running.pid and words[0] != "Z":
            found.append(int(each.parent.name))
    return found


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def caught_up(cloud: Process) -> str:
    """Where both stand, once they do."""

    def same() -> str | None:
        here = cloud.get("/v1/latest")["cursor"]
        return here if at_reader(cloud, "/v1/latest").json()["cursor"] == here else None

    return until(same)


def test_both_answer_the_same_and_what_is_not_there_says_where_it_is(cloud: Process) -> None:
    cloud.start("--readers", "2", "--readers-port", "0")
    sender = Sender()
    cloud.push(sender.batch(roster("lamp-001", "lamp-002"), columns(n=3, at_us=NOW_US)))
    caught_up(cloud)
    with cloud.feed_of_url(cloud.readers_url, after="0") as whole, cloud.feed_of_url(cloud.readers_url) as live:
        sent = [sender.batch(columns(n=3, at_us=NOW_US + i * SECOND), columns("lamp-002", n=2)) for i in range(4)]
        for batch in sent:
            cloud.push(batch)
        wanted = [place for batch in sent for place in places(batch)]
        assert [e["data"]["id"] for e in live.take(len(wanted))] == wanted
        assert [e["data"]["id"] for e in whole.take(4 + len(wanted))][4:] == wanted
    caught_up(cloud)
    quay = {"type": "Polygon", "coordinates": [[[5.0, 47.0], [6.0, 47.0], [6.0, 48.0], [5.0, 47.0]]]}
    url = f"{cloud.url}/v1/areas/quay"
    assert cloud.client.put(url, json={"geometry": quay}, headers=cloud.bearer("operator")).status_code == 201
    given = {"id": "a-1", "device": "lamp-001", "rule": "full", "severity": "high", "state": "raised"}
    cloud.push(sender.batch(Alarm(**given, raised_us=NOW_US, time_us=NOW_US), lane=Lane.URGENT))
    caught_up(cloud)
    assert [step["id"] for step in at_reader(cloud, "/v1/alarms/steps").json()["steps"]] == ["a-1"]
    for path in (
        "/v1/nodes", "/v1/nodes/cab-1", "/v1/devices", "/v1/devices/lamp-002/readings", "/v1/latest", "/v1/areas",
        "/v1/areas/quay", "/v1/groups", "/v1/alarms/steps",
    ):  # fmt: skip
        here, there = cloud.get(path), at_reader(cloud, path).json()
        assert timeless(there) == timeless(here), path
    asked = {
        "kind": "streetlight",
        "point": "n",
        "from": NOW_US - 600 * SECOND,
        "to": NOW_US - 60 * SECOND,
        "every": "1m",
        "fn": "count",
    }
    history = at_reader(cloud, "/v1/history", **asked).json()
    assert history == cloud.get("/v1/history", **asked)
    assert [series["device"] for series in history["series"]] == ["lamp-001", "lamp-002"]
    assert at_reader(cloud, "/v1/devices/lamp-001").json()["latest"].keys() == {"n"}

    for path in ("/v1/orders", "/v1/devices/lamp-001/why"):
        refused = at_reader(cloud, path)
        assert refused.status_code == 421, path
        assert "aggregator's own" in refused.json()["detail"]
    assert cloud.client.get(f"{cloud.readers_url}/v1/latest").status_code == 401
    url = f"{cloud.readers_url}/v1/areas/quay"
    changed = cloud.client.put(url, json={"geometry": quay}, headers=cloud.bearer("operator"))
    assert changed.status_code == 421, "what is written is written in one place"
    assert cloud.stop()[0] == 0


def timeless(answer: Any) -> Any:
    """Without what moves by itself: ages."""
    if isinstance(answer, dict):
        return {k: timeless(v) for k, v in answer.items() if not k.startswith("age")}
    return [timeless(v) for v in answer] if isinstance(answer, list) else answer


def test_a_snapshot_is_seen_there_and_who_looks_there_makes_the_node_push(cloud: Process) -> None:
    cloud.start("--readers", "1", "--readers-port", "0")
    sender = Sender()
    cloud.push(sender.batch(roster("lamp-001"), columns(n=1, at_us=NOW_US)))
    caught_up(cloud)
    tag = at_reader(cloud, "/v1/latest").headers["etag"]
    later = columns(n=1, at_us=NOW_US + 60 * SECOND)
    assert cloud.snapshot(Snapshot(node="cab-1", columns=(later,))).status_code == 204
    until(lambda: at_reader(cloud, "/v1/latest").headers["etag"] != tag)
    here, there = cloud.get("/v1/latest"), at_reader(cloud, "/v1/latest").json()
    assert timeless(there) == timeless(here)
    assert cloud.push(sender.batch(columns(n=1, at_us=NOW_US + SECOND)))[1].live_s == 0
    at_reader(cloud, "/v1/devices/lamp-001")
    until(lambda: cloud.push(sender.batch(columns(n=1, at_us=NOW_US + SECOND)))[1].live_s > 0)


def test_a_reader_that_is_killed_is_replaced_and_its_feeds_go_on_where_they_were(cloud: Process) -> None:
    cloud.start("--readers", "1", "--readers-port", "0")
    sender = Sender()
    wanted: list[str] = []
    seen: list[str] = []
    cursor = "0"
    for _ in range(3):
        batch = sender.batch(columns(n=4, at_us=NOW_US))
        cloud.push(batch)
        wanted += places(batch)
        with cloud.feed_of_url(cloud.readers_url, after=cursor) as feed:
            seen += [e["data"]["id"] for e in feed.take(len(wanted) - len(seen))]
            cursor = feed.cursor
            (pid,) = until(lambda: readers_of(cloud))
            os.kill(pid, signal.SIGKILL)
        until(lambda: [p for p in readers_of(cloud) if p != pid])  # noqa: B023  asked at once
    assert seen == wanted
    assert cloud.get("/v1/latest")["cursor"]


def test_without_the_one_that_writes_no_reader_goes_on(cloud: Process) -> None:
    cloud.start("--readers", "2", "--readers-port", "0")
    pids = until(lambda: found if len(found := readers_of(cloud)) == 2 else None)
    at_reader(cloud, "/v1/latest")
    cloud.stop(signal.SIGKILL)
    until(lambda: not any(map(running, pids)))
    cloud.start("--readers", "2", "--readers-port", "0")
    assert cloud.stop(signal.SIGTERM)[0] == 0
    assert json.loads((cloud.directory / "endpoints.json").read_text())["readers_url"]
