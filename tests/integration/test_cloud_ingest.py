"""The uplink's contract over real sockets: exactly once, whatever is sent, whenever either end dies."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cbor2
import httpx
import msgspec
import pytest
import zstandard

from cloud.ingest.ingest import CHAINED_TYPE
from support.cloud_batches import SECOND, START_US, Sender, columns, places, roster
from support.cloud_process import BATCH, Process
from wire import chain, codec
from wire.batch import ORIGIN, Batch, Lane, Snapshot
from wire.entries import Gap, Health

NOW_US = time.time_ns() // 1000


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def test_what_is_taken_is_held_once_and_answered_with_its_place(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    first = sender.batch(columns(n=3, at_us=NOW_US), roster("lamp-001"))
    assert cloud.place("cab-1", 7).through_seq == 0
    assert cloud.place("cab-1", 7).digest == ORIGIN
    status, ack = cloud.push(first)
    assert (status, ack.epoch, ack.lane, ack.through_seq, ack.digest) == (200, 7, Lane.BULK, 4, first.digest)
    assert ack.accepts == (1, 2)
    assert abs(ack.server_us - time.time_ns() // 1000) < 5 * SECOND
    status, again = cloud.push(first)
    assert (status, again.through_seq, again.digest) == (409, 4, first.digest)
    second, third = sender.batch(columns(n=2, at_us=NOW_US + 9)), sender.batch(columns(n=2, at_us=NOW_US + 99))
    assert cloud.push(third)[0] == 409
    assert [cloud.push(b)[0] for b in (second, third, second, first)] == [200, 200, 409, 409]
    expected = [*places(first), *places(second), *places(third)]
    assert sorted(r["id"] for r in cloud.readings("lamp-001")) == sorted(expected)
    assert cloud.place("cab-1", 7).through_seq == 8
    assert cloud.place("cab-1", 7, Lane.URGENT).through_seq == 0


async def test_doubled_and_reordered_requests_at_once(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    batches = [sender.batch(columns(n=4, at_us=NOW_US + i * SECOND)) for i in range(15)]
    headers = {**BATCH, **cloud.bearer("node", "cab-1")}
    url = f"{cloud.url}/v1/nodes/cab-1/batches"
    async with httpx.AsyncClient() as client:
        for _ in range(60):
            sending = (client.post(url, content=codec.encode_batch(b), headers=headers) for b in reversed(batches))
            answers = await asyncio.gather(*sending)
            assert {a.status_code for a in answers} <= {200, 409, 503}  # 503: more than two of one node at a time
            if any(a.status_code != 503 and codec.decode_ack(a.content).through_seq == 60 for a in answers):
                break
            assert all("retry-after" in a.headers for a in answers if a.status_code == 503)
    rows = cloud.readings("lamp-001")
    assert len(rows) == len({r["id"] for r in rows}) == 60


@pytest.mark.parametrize(("point", "held"), [("ingest.before_commit:3", False), ("ingest.after_commit:3", True)])
def test_killed_around_the_commit(cloud: Process, point: str, held: bool) -> None:
    cloud.start(LAMPLIGHTER_CRASH_AT=point)
    sender = Sender()
    batches = [sender.batch(columns(n=2, at_us=NOW_US + i * SECOND)) for i in range(4)]
    assert [cloud.push(b)[0] for b in batches[:2]] == [200, 200]
    with pytest.raises(httpx.TransportError):
        cloud.push(batches[2])
    assert cloud.stop()[0] == -signal.SIGKILL
    cloud.start()
    assert cloud.place("cab-1", 7).through_seq == (6 if held else 4)
    assert [cloud.push(b)[0] for b in batches[2:]] == [409 if held else 200, 200]
    assert len(cloud.readings("lamp-001")) == 8
    detail = cloud.get("/v1/devices/lamp-001")
    assert detail["latest"]["n"]["time_us"] == NOW_US + 4 * SECOND


def test_what_cannot_be_taken_is_refused_by_name_and_changes_nothing(cloud: Process) -> None:
    cloud.start()
    batch = Sender().batch(columns(n=1))
    good = codec.encode_batch(batch)
    plain = zstandard.ZstdDecompressor().decompress(good)
    body = cbor2.loads(plain)
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    cases: list[tuple[bytes, int]] = [
        (b"", 400),
        (b"not zstd", 400),
        (good[:-5], 400),
        (good + b"x", 400),
        (zstandard.compress(cbor2.dumps({**body, "v": 99})), 415),
        (zstandard.compress(cbor2.dumps({**body, "lane": "fast"})), 400),
        (zstandard.compress(cbor2.dumps({**body, "through_seq": 9})), 400),
        (zstandard.compress(b"\x9f" * 10_000), 400),
        (bomb, 413),
        (bytes(2 << 20), 413),
    ]
    for content, status in cases:
        answer = cloud.post(batch, content)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem["detail"]
        assert problem.get("accepts") == ([1, 2] if status == 415 else None)
    gap = Sender().batch(Gap(reason="x", lost=-1))
    assert cloud.post(gap).status_code == 400
    health = Sender().batch(Health(time_us=1, verdict="ok", uptime_s=float("nan")))
    assert cloud.post(health).status_code == 400
    assert cloud.place("cab-1", 7).through_seq == 0
    assert cloud.push(batch)[0] == 200


def test_other_content_is_unsupported(cloud: Process) -> None:
    cloud.start()
    url, token = f"{cloud.url}/v1/nodes/cab-1/batches", cloud.bearer("node", "cab-1")
    for headers in ({**BATCH, "Content-Type": "application/json"}, {**BATCH, "Content-Encoding": "gzip"}):
        answer = cloud.client.post(url, content=b"{}", headers={**headers, **token})
        assert (answer.status_code, answer.json()["accepts"]) == (415, [1, 2])


def test_a_chained_body_is_held_as_if_it_had_come_in_full(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    first, second, third = (sender.batch(columns(n=3, at_us=START_US + i * 10 * SECOND)) for i in range(3))
    token = cloud.bearer("node", "cab-1")

    def push(batch: Batch, on: Batch) -> tuple[int, int]:
        base = chain.Base(codec.plain_batch(on))
        body = chain.encode(codec.plain_batch(batch), base, epoch=batch.epoch, lane=batch.lane)
        url = f"{cloud.url}/v1/nodes/cab-1/batches"
        answer = cloud.client.post(url, content=body, headers={"Content-Type": CHAINED_TYPE, **token})
        return answer.status_code, codec.decode_ack(answer.content).through_seq

    assert push(second, on=first) == (409, 0)  # nothing to lean on yet
    assert cloud.push(first)[0] == 200
    assert push(second, on=third) == (409, 3)  # another base than the one that is here
    assert push(second, on=first) == (200, 6)
    assert push(second, on=first) == (409, 6)  # a duplicate: the one rule
    cloud.stop(signal.SIGKILL)
    cloud.start()
    assert push(third, on=first) == (409, 6)  # the base is gone: it costs bytes
    assert cloud.push(third)[0] == 200
    assert len(cloud.readings("lamp-001")) == 9


def test_a_chained_body_that_is_none_is_refused(cloud: Process) -> None:
    cloud.start()
    batch = Sender().batch(columns())
    url, token = f"{cloud.url}/v1/nodes/cab-1/batches", cloud.bearer("node", "cab-1")
    assert cloud.push(batch)[0] == 200
    good = cbor2.loads(
        chain.encode(codec.plain_batch(batch), chain.Base(codec.plain_batch(batch)), epoch=batch.epoch, lane=batch.lane)
    )
    for wrong, status in (
        (b"", 400),
        (codec.encode_batch(batch), 400),
        (cbor2.dumps({**good, "v": 3}), 415),
        (cbor2.dumps({**good, "epoch": -1}), 400),
        (cbor2.dumps({**good, "lane": "fast"}), 400),
        (cbor2.dumps({**good, "base": b"short"}), 400),
        (cbor2.dumps({**good, "frame": good["frame"][:-1]}), 409),
        (cbor2.dumps({**good, "frame": codec.encode_batch(batch)}), 409),
    ):
        answer = cloud.client.post(url, content=wrong, headers={"Content-Type": CHAINED_TYPE, **token})
        assert answer.status_code == status, (wrong, answer.text)


def test_a_body_without_end_is_cut_off_early(cloud: Process) -> None:
    cloud.start()
    host, port = cloud.url.removeprefix("http://").split(":")
    token = cloud.token("node", "cab-1")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        head = (
            f"POST /v1/nodes/cab-1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/vnd.lamplighter.batch+cbor\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        raw.sendall(head.encode())
        sent = 0
        try:
            while sent < 64 << 20:
                raw.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                sent += 0x10000
        except (ConnectionError, TimeoutError):
            pass
        else:
            assert raw.recv(200).startswith(b"HTTP/1.1 413")
    assert cloud.push(Sender().batch(columns(n=1)))[0] == 200


def test_tokens_are_of_one_node_and_one_role(cloud: Process) -> None:
    cloud.start()
    batch = Sender().batch(columns())
    body, url = codec.encode_batch(batch), f"{cloud.url}/v1/nodes/cab-1/batches"
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer lamp_x_y"}, 401),
        ({"Authorization": "Basic abc"}, 401),
        (cloud.bearer("node", "cab-2"), 403),
        (cloud.bearer("reader"), 403),
        (cloud.bearer("admin"), 403),
    ):
        answer = cloud.client.post(url, content=body, headers={**BATCH, **headers})
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert ("www-authenticate" in answer.headers) is (status == 401)
    forged = msgspec.structs.replace(batch, node="cab-2")
    answer = cloud.client.post(
        url, content=codec.encode_batch(forged), headers={**BATCH, **cloud.bearer("node", "cab-1")}
    )
    assert answer.status_code == 403
    node = cloud.bearer("node", "cab-1")
    for path in ("/v1/nodes", "/v1/devices", "/v1/feed", "/metrics"):
        assert cloud.client.get(cloud.url + path).status_code == 401
        assert cloud.client.get(cloud.url + path, headers=node).status_code == 403
    assert cloud.client.get(f"{cloud.url}/healthz").status_code == 200
    assert cloud.client.get(f"{cloud.url}/readyz").status_code == 200


def test_a_token_made_or_revoked_beside_the_server_counts_within_seconds(cloud: Process) -> None:
    cloud.start()
    token = cloud.verb("token", "create", "--data", str(cloud.data), "--role", "reader", "--name", "control room")
    headers = {"Authorization": f"Bearer {token}"}
    deadline = time.monotonic() + 60
    while cloud.client.get(f"{cloud.url}/v1/nodes", headers=headers).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    cloud.verb("token", "revoke", "--data", str(cloud.data), token.split("_")[1])
    while cloud.client.get(f"{cloud.url}/v1/nodes", headers=headers).status_code != 401:
        assert time.monotonic() < deadline + 5
        time.sleep(0.1)
    assert "control room" in cloud.verb("token", "list", "--data", str(cloud.data))
    assert token.split("_", 2)[2].encode() not in (cloud.data / "tokens.db").read_bytes()


def test_a_snapshot_is_fresh_before_the_backlog_is_there(cloud: Process) -> None:
    cloud.start()
    fresh = columns(n=1, at_us=NOW_US, t="fresh")
    assert cloud.snapshot(Snapshot(node="cab-1", columns=[fresh])).status_code == 204
    assert cloud.get("/v1/devices/lamp-001")["latest"]["t"]["value"] == "fresh"
    assert cloud.readings("lamp-001") == []
    assert cloud.get("/v1/nodes")["nodes"][0]["ledger"]["samples"] == 0
    cloud.stop()
    cloud.verb("rebuild", "--data", str(cloud.data))
    cloud.start()
    assert cloud.get("/v1/devices/lamp-001")["latest"]["t"]["value"] == "fresh"
    assert cloud.snapshot(Snapshot(node="cab-1", columns=[])).status_code == 204


def test_somebody_watching_makes_the_node_push_sooner(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    assert cloud.push(sender.batch(columns(n=1)))[1].live_s == 0
    cloud.get("/v1/devices/lamp-001")
    assert cloud.push(sender.batch(columns(n=1)))[1].live_s == 30
    other = Sender("cab-2")
    assert cloud.push(other.batch(columns("lamp-002", n=1)))[1].live_s == 0
    with cloud.feed(live=1, node="cab-2"):
        assert cloud.push(other.batch(columns("lamp-002", n=1)))[1].live_s == 30


def squeezed(tables: list[object], entries: list[object], n: int, lane: str = "bulk") -> bytes:
    """A body that no encoder of ours would write."""
    head = {"v": 1, "node": "cab-1", "epoch": 7, "lane": lane, "first_seq": 1, "through_seq": n}
    head |= {"prev": ORIGIN, "digest": ORIGIN, "held_from": 1, "head_seq": n, "clocks": [[1, True]]}
    return zstandard.compress(cbor2.dumps({**head, "seated": False, "tables": tables, "entries": entries}))


def test_one_nodes_slow_bodies_keep_nobody_else_out(cloud: Process) -> None:
    cloud.start()
    host, port = cloud.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/nodes/bad/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {cloud.token('node', 'bad')}\r\n"
        f"Content-Type: {BATCH['Content-Type']}\r\nContent-Length: 1000\r\n\r\nx"
    ).encode()
    slow = [socket.create_connection((host, int(port)), timeout=10) for _ in range(80)]
    try:
        for connection in slow:
            connection.sendall(head)
        assert cloud.push(Sender().batch(columns(n=3, at_us=NOW_US)))[0] == 200
        for connection in slow[2:]:
            answer = connection.recv(2_000)
            assert answer.startswith((b"HTTP/1.1 503", b"HTTP/1.1 429"))  # too many bodies, or connections
            assert b"retry-after: 1" in answer.lower()
    finally:
        for connection in slow:
            connection.close()


def test_integers_beyond_64_bits_are_malformed(cloud: Process) -> None:
    cloud.start()
    batch = Sender().batch(columns(n=1))
    alarm = {"id": "a", "device": "d", "rule": "r", "severity": "low", "state": "raised", "raised_us": 1, "time_us": 1}
    for entry in (
        ["alarm", 0, {**alarm, "values": {"n": -(2**64)}}],
        ["health", 0, {"time_us": 1, "verdict": "ok", "counters": {"c": 2**64}}],
        ["health", 0, {"time_us": 1, "verdict": "ok", "boot": 2**64}],
    ):
        answer = cloud.post(batch, squeezed([], [entry], 1))
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), answer.text


def test_a_small_body_that_expands_is_taken_and_the_others_are_answered_meanwhile(cloud: Process) -> None:
    """That none is opened on the event loop is in `tests/unit/cloud/ingest/test_ingest.py`."""
    cloud.start()
    half = 240_000
    times = [1_000_000, [0, NOW_US // SECOND]]
    tables: list[object] = [[0, ["p"], ["a", "b"], [0, half], [3, [0, 0], 1], times, [[[0, 1]]]]]
    body = squeezed(tables, [], 2 * half)
    assert len(body) < 1_000
    answers: list[int] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=20) as client:
            while not done.is_set() or not answers:
                answers.append(client.get(f"{cloud.url}/healthz").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    answer = cloud.post(Sender().batch(columns(n=1)), body)
    done.set()
    asking.join()
    assert answer.status_code in (200, 413), answer.text
    assert set(answers) == {200}


def test_what_a_node_says_of_its_gaps_is_cut_where_it_is_shown(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    devices = tuple(f"d-{i}" for i in range(500))
    short = [Gap(reason="r", lost=2**53) for _ in range(1_100)]
    long = [Gap(reason="r" * 2_000, lost=2**53, devices=devices) for _ in range(60)]
    for gaps in (short, long):
        assert cloud.push(sender.batch(*gaps))[0] == 200
    page = cloud.client.get(f"{cloud.url}/v1/nodes", headers=cloud.bearer())
    assert page.status_code == 200
    assert len(page.content) < 200_000
    ledger = page.json()["nodes"][0]["ledger"]
    assert (ledger["missing"]["gaps"], ledger["missing"]["samples"]) == (1_160, 2**63 - 1)


def test_a_node_tells_its_rosters_digest_at_a_glance(cloud: Process) -> None:
    cloud.start()
    known = roster("lamp-001", "lamp-002")
    cloud.push(Sender().batch(known, lane=Lane.URGENT))
    cloud.push(Sender("cab-2").batch(columns()))
    nodes = cloud.get("/v1/nodes")["nodes"]
    assert [(n["devices"], n["roster_digest"]) for n in nodes] == [(2, known.digest().hex()), (0, None)]
