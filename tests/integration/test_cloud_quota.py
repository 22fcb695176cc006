"""What one node brings holds up neither memory nor the others; what is too much is refused, told, and not lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cbor2
import httpx
import pytest
import zstandard

from cloud.ingest.ingest import CHAINED_TYPE
from support.cloud_batches import SECOND, START_US, Sender, columns
from support.cloud_process import Process
from wire import chain, codec
from wire.batch import ORIGIN

MIB = 1 << 20


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def peak(cloud: Process) -> int:
    assert cloud.running is not None
    status = Path(f"/proc/{cloud.running.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10


def heavy(node: str, n: int) -> bytes:
    """The plain CBOR of a body within all bounds that no encoder of ours would write: 4 MB of values as they come."""
    head = {"v": 1, "node": node, "epoch": 99, "lane": "bulk", "first_seq": 1, "through_seq": n, "prev": ORIGIN}
    head |= {"digest": ORIGIN, "held_from": 1, "head_seq": n, "clocks": [[1, True]], "seated": False, "entries": []}
    times = [1_000_000, [0, START_US // SECOND]]
    few = random.Random(1).choices(range(10_000, 100_000), k=6_000)
    texts = [str(number) for number in few] * (n // len(few))
    tables = [[0, ["p"], ["a", "b"], [0, n // 2], [3, [0, 0], 1], times, [[[9, texts]]]]]
    return cbor2.dumps({**head, "tables": tables})


def test_small_bodies_that_open_to_much_take_turns(cloud: Process) -> None:
    cloud.start()
    before = peak(cloud)
    nodes = [f"bad-{i}" for i in range(8)]
    chained: dict[str, bytes] = {}
    for node in nodes:
        first = Sender(node).batch(columns(n=3))
        assert cloud.push(first)[0] == 200
        plain = codec.plain_batch(first)
        base = zstandard.ZstdCompressionDict(plain, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        frame = zstandard.ZstdCompressor(level=12, dict_data=base, write_checksum=True).compress(heavy(node, 480_000))
        body = {"v": chain.CHAINED, "epoch": 99, "lane": "bulk", "base": chain.name_of(plain), "frame": frame}
        chained[node] = cbor2.dumps(body)
        assert len(chained[node]) < 40_000
    token = {node: cloud.bearer("node", node) for node in nodes}
    statuses: list[int] = []

    def pour(node: str) -> None:
        with httpx.Client(timeout=120) as client:
            for _ in range(4):
                answer = client.post(
                    f"{cloud.url}/v1/nodes/{node}/batches",
                    content=chained[node],
                    headers={"Content-Type": CHAINED_TYPE, **token[node]},
                )
                statuses.append(answer.status_code)

    pouring = [threading.Thread(target=pour, args=(node,)) for node in nodes for _ in range(2)]
    for thread in pouring:
        thread.start()
    good = Sender("good")
    worst = 0.0
    while any(thread.is_alive() for thread in pouring):
        began = time.monotonic()
        assert cloud.client.get(f"{cloud.url}/healthz").status_code == 200
        worst = max(worst, time.monotonic() - began)
        assert cloud.push(good.batch(columns(n=1)))[0] == 200
    for thread in pouring:
        thread.join()
    print(f"{len(statuses)} bodies, worst answer {worst:.3f} s, {(peak(cloud) - before) / MIB:.0f} MiB")
    assert set(statuses) <= {200, 400, 409}
    assert peak(cloud) - before < 300 * MIB


def test_beyond_its_quota_a_node_is_refused_and_told_and_others_are_not(cloud: Process) -> None:
    cloud.start("--node-readings", "25")
    sender, other = Sender("cab-1"), Sender("cab-2")
    batches = [sender.batch(columns(n=30, at_us=START_US + i * 100 * SECOND)) for i in range(4)]
    assert [cloud.push(b)[0] for b in batches[:1]] == [200]
    answer = cloud.post(batches[1])
    assert answer.status_code == 429, answer.text
    assert answer.json()["detail"] == "node cab-1 has used up its quota of 25 readings a day"
    assert 60 <= int(answer.headers["retry-after"]) <= 3_600
    assert cloud.push(other.batch(columns(n=10)))[0] == 200
    assert cloud.place("cab-1", 7).through_seq == 30  # asking where one stands is free
    deadline = time.monotonic() + 30
    while not (alarms := [a for a in cloud.get("/v1/alarms")["alarms"] if a["rule"] == "quota"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (alarms[0]["node"], alarms[0]["state"]) == ("cab-1", "raised")
    assert "25 readings" in alarms[0]["detail"]
    with cloud.downlink("cab-1") as link:  # so is hearing what mends it
        assert "server_us" in link.next()["data"]
    metrics = cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer()).text
    assert "lamplighter_over_quota 1.0" in metrics
    assert "lamplighter_over_quota_refusals 1.0" in metrics
    errors = cloud.stop()[1]
    assert errors.count("node cab-1 has used up its quota") == 1
    cloud.start()
    assert [cloud.push(b)[0] for b in batches[1:]] == [200] * 3  # nothing was lost


def test_asking_again_and_again_is_under_the_quota_too(cloud: Process) -> None:
    cloud.start("--node-requests", "4")
    headers = cloud.bearer("node", "cab-1")
    places = f"{cloud.url}/v1/nodes/cab-1/place?epoch=7&lane=bulk"
    orders = f"{cloud.url}/v1/nodes/cab-1/orders?once=1"
    statuses = [cloud.client.get(url, headers=headers).status_code for url in (places, orders) * 3]
    assert (statuses[:4], statuses[-1]) == ([200] * 4, 429)  # what is left comes back by and by, and is never quite 0
    for url in (places, orders):
        answer = cloud.client.get(url, headers=headers)
        assert answer.status_code == 429, answer.text
        assert answer.json()["detail"] == "node cab-1 has used up its quota of 4 requests a day"
        assert 60 <= int(answer.headers["retry-after"]) <= 3_600
    assert cloud.client.head(orders, headers=headers).status_code == 429
    assert cloud.place("cab-2", 7).through_seq == 0
