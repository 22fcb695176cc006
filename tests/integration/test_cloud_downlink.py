"""The downlink over real sockets: everything open comes, again until something is said, and never to two at once."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.cloud_process import Feed, Process
from support.cloud_street import dim, say, standing, street


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def test_the_newest_stream_of_a_node_wins(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    with cloud.downlink() as old:
        old.next()
        path = f"{cloud.url}/v1/nodes/cab-1/orders"
        assert cloud.client.head(path, headers=cloud.bearer("node", "cab-1")).status_code == 200  # ends nothing
        order = cloud.order("/v1/commands", dim()).json()["orders"][0]
        assert (old.order()["id"], order["reachable"]) == (order["id"], True)
        say(cloud, sender, order["id"], "accepted")
        with cloud.downlink() as new:
            ended = old.next()
            assert ended["event"] == "replaced"
            with pytest.raises(EOFError):
                old.next()
            order = cloud.order("/v1/commands", dim()).json()["orders"][0]
            assert (new.order()["id"], order["reachable"]) == (order["id"], True)
    wrong = cloud.client.get(f"{cloud.url}/v1/nodes/cab-1/orders", headers=cloud.bearer("node", "cab-2"))
    assert wrong.status_code == 403


def test_an_order_of_which_nothing_is_said_comes_again_and_silence_means_something(cloud: Process) -> None:
    cloud.start(pace={"resend_s": 0.5, "beat_s": 0.2, "life_s": 3.0})
    sender = street(cloud)
    one = cloud.order("/v1/commands", dim()).json()["orders"][0]["id"]
    two = cloud.order("/v1/commands", dim("lamp-1-1")).json()["orders"][0]["id"]
    with cloud.downlink() as link:
        headers = link.answer.headers
        assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-store")
        assert [link.order()["id"] for _ in range(4)] == [one, two, one, two]
        say(cloud, sender, one, "accepted")
        seen: list[str] = []
        beats = 0
        try:
            while True:
                down = link.next()["data"]
                beats += "order" not in down
                seen += [down["order"]["id"]] if "order" in down else []
        except EOFError:
            pass  # it has lived its time
    assert (one in seen[1:], two in seen, beats > 5) == (False, True, True)


def test_once_gives_what_is_open_and_ends(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    orders = [cloud.order("/v1/commands", dim(value=v)).json()["orders"][0]["id"] for v in (1, 2)]
    with cloud.downlink(once=1) as link:
        assert [link.order()["id"] for _ in orders] == orders
        assert set(link.next()["data"]) == {"server_us"}
        with pytest.raises(EOFError):
            link.next()
    assert cloud.order("/v1/commands", dim()).json()["orders"][0]["reachable"] is True  # it came a moment ago


def test_a_node_that_takes_nothing_is_cut_off(cloud: Process) -> None:
    cloud.start(pace={"cut_s": 0.5})
    street(cloud)
    big = {"node": "cab-1", "kind": "rules", "version": "1", "text": "#" * 250_000}
    for _ in range(18):
        assert cloud.order("/v1/bundles", big).status_code == 202
    host, port = cloud.url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        token = cloud.token("node", "cab-1")
        head = f"GET /v1/nodes/cab-1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        slow.sendall(head.encode())
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        deadline = time.monotonic() + 60
        metrics = f"{cloud.url}/metrics"
        while 'feeds_cut_total{reason="downlink"} 1.0' not in (
            text := cloud.client.get(metrics, headers=cloud.bearer()).text
        ):
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        assert "lamplighter_downlinks 0.0" in cloud.client.get(metrics, headers=cloud.bearer()).text
    assert cloud.order("/v1/commands", dim()).json()["orders"][0]["reachable"] is False


def test_a_node_has_so_many_answers_to_once_and_no_more(cloud: Process) -> None:
    """Each holds orders for as long as its reader takes, and none of them ends another."""
    cloud.start()
    street(cloud)
    big = {"node": "cab-1", "kind": "rules", "version": "1", "text": "#" * 250_000}
    for _ in range(18):
        assert cloud.order("/v1/bundles", big).status_code == 202
    host, port = cloud.url.removeprefix("http://").split(":")
    token = cloud.token("node", "cab-1")
    head = f"GET /v1/nodes/cab-1/orders?once=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    with contextlib.ExitStack() as open_:
        for _ in range(2):
            slow = open_.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((host, int(port)))
            slow.sendall(head.encode())
            assert slow.recv(15) == b"HTTP/1.1 200 OK"
        path = f"{cloud.url}/v1/nodes/cab-1/orders?once=1"
        refused = cloud.client.get(path, headers=cloud.bearer("node", "cab-1"))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        with cloud.downlink() as link:  # the stream is another matter
            link.next()
    deadline = time.monotonic() + 60
    while cloud.client.get(path, headers=cloud.bearer("node", "cab-1")).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_stopping_ends_downlinks(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    ended = threading.Event()

    def read() -> None:
        with cloud.downlink() as link, pytest.raises((EOFError, httpx.TransportError)):
            link.next()
            _drain(link)
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    while "lamplighter_downlinks 1.0" not in cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer()).text:
        time.sleep(0.05)
    assert cloud.stop()[0] == 0
    reader.join(5)
    assert ended.is_set()


def _drain(link: Feed) -> None:
    while True:
        link.next()


def test_a_node_that_is_not_there_is_told_at_once_and_gets_the_order_when_it_comes(cloud: Process) -> None:
    cloud.start()
    street(cloud)
    answer = cloud.order("/v1/commands", {**dim(), "device": None, "group": {"kind": "streetlight", "tag": "quay"}})
    orders = answer.json()["orders"]
    assert [o["device"] for o in orders] == ["lamp-1-0", "lamp-1-1", "lamp-1-2"]
    assert not any(o["reachable"] for o in orders)
    assert "no downlink open now" in orders[0]["note"]
    with cloud.downlink() as link:
        assert [link.order()["id"] for _ in range(3)] == [o["id"] for o in orders]
        assert standing(cloud, orders[0]["id"])["reachable"] is True
    found = cloud.get(f"/v1/commands/{answer.json()['group']}", limit=2)
    assert (len(found["orders"]), found["stages"]) == (2, {"sent": 3})
    rest = cloud.get(f"/v1/commands/{answer.json()['group']}", limit=2, cursor=found["next"])
    assert ([o["id"] for o in rest["orders"]], rest["next"]) == ([orders[2]["id"]], None)


def test_no_accepted_order_is_lost_by_a_kill(cloud: Process) -> None:
    cloud.start()
    sender = street(cloud)
    taken: list[str] = []
    stop = threading.Event()
    token = cloud.bearer("operator")

    def give() -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                headers = {**token, "Idempotency-Key": f"k{len(taken)}"}
                try:
                    answer = client.post(f"{cloud.url}/v1/commands", json=dim(), headers=headers)
                except httpx.TransportError:
                    return
                taken.append(answer.json()["orders"][0]["id"])

    giving = threading.Thread(target=give)
    giving.start()
    while len(taken) < 30:
        time.sleep(0.01)
    cloud.stop(signal.SIGKILL)
    stop.set()
    giving.join()
    cloud.start()
    with cloud.downlink() as link:
        sent = [link.order()["id"] for _ in taken]
    assert sent == taken
    say(cloud, sender, taken[0], "accepted", "verified")
    assert standing(cloud, taken[0])["stage"] == "verified"
    with cloud.feed(after="0", type="order") as feed:
        assert [e["data"]["data"]["id"] for e in feed.take(len(taken))] == taken
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = cloud.get("/v1/commands", limit=7, **cursor)
        found += [o["id"] for o in page["orders"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found[-len(taken) :] == taken[::-1]
