"""A store that was lost, on a machine whose clock is behind: nodes that run go on by themselves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.ingest.generations import Generations
from cloud.metrics import Metrics
from cloud.store import opened
from edge.outbox.contract import PositionQuery
from edge.outbox.sqlite import SqliteOutbox
from support.cloud_batches import SECOND, Sender, Ticking, columns
from support.cloud_batches import opened as with_facts
from support.cloud_process import BATCH, Process
from wire import codec
from wire.batch import GENERATION_HEADER, Ack, Lane


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def push(cloud: Process, sender: Sender, known: int) -> Ack:
    """The answer to a batch from a node that knows a generation."""
    answer = cloud.client.post(
        f"{cloud.url}/v1/nodes/cab-1/batches",
        content=codec.encode_batch(sender.batch(columns())),
        headers={**BATCH, GENERATION_HEADER: str(known), **cloud.bearer("node", "cab-1")},
    )
    assert answer.status_code == 200, answer.text
    return codec.decode_ack(answer.content)


def test_a_greater_generation_is_drawn_told_and_kept(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    own = push(cloud, sender, 0).generation
    with cloud.feed(after="0") as feed:
        feed.take(3)
        before = feed.cursor
        heard = own + 3_600 * SECOND
        assert push(cloud, sender, heard).generation == heard + 1
        reset = feed.next()
        assert (reset["event"], reset["data"]["reason"]) == ("reset", "generation")
        assert reset["data"]["missed_after"] == before
        assert reset["data"]["missed_through"] == f"{heard + 1}.{before.split('.')[1]}", "nothing was missed"
        told = feed.next()["data"]
        assert told["type"] == "city.lamplighter.ledger"
        assert told["data"] == {
            "node": "cab-1", "finding": "generation", "generation": heard + 1, "previous": own, "heard": heard
        }  # fmt: skip
        assert [e["data"]["type"] for e in feed.take(3)] == ["city.lamplighter.reading"] * 3
    with cloud.feed(last_event_id=before) as feed:
        assert feed.next()["event"] == "reset"
        assert feed.next()["data"]["data"]["finding"] == "generation"
    assert push(cloud, sender, 2**63 - 1).generation == heard + 1
    assert push(cloud, sender, heard + 9).generation == heard + 1, "not twice a day for one node"
    metrics = cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer()).text
    assert 'lamplighter_generations_total{what="drawn"} 1.0' in metrics
    assert 'lamplighter_generations_total{what="not_believed"} 2.0' in metrics
    cloud.stop()
    assert cloud.start().place("cab-1", 7).generation == heard + 1


async def test_a_running_node_goes_on_when_the_store_was_lost(tmp_path: Path) -> None:
    """The node's outbox and the aggregator's store and rule, its clock an hour behind its old generation."""
    now = Ticking()
    async with SqliteOutbox(tmp_path / "card", node="cab-1", limit_bytes=16 << 20, now_us=now) as outbox:
        for n in range(2):
            if n:
                shutil.rmtree(tmp_path / "data")
                now.tick(-3600)
            await outbox.append({Lane.BULK: [columns(at_us=now() + n * 3601 * SECOND)]})
            async with opened(tmp_path / "data", now) as store:
                generations = Generations(store.log, Metrics(), now)
                for _ in range(12):
                    found = await outbox.cut(Lane.BULK, 1 << 20)
                    if found is None:
                        break
                    await generations.hear("cab-1", outbox.generations.known)
                    if not isinstance(found, PositionQuery):
                        await store.log.append(*with_facts(found.batch))
                    run = found if isinstance(found, PositionQuery) else found.batch
                    place = await store.log.place("cab-1", run.epoch, run.lane)
                    ack = Ack(
                        generation=store.log.generation, epoch=place.epoch, lane=place.lane, server_us=now(),
                        through_seq=place.through_seq, digest=place.digest, accepts=(1,), head_seq=place.head_seq,
                    )  # fmt: skip
                    await outbox.confirm(ack)
                detail = await store.views.node("cab-1")
                assert detail is not None
                assert detail.ledger.samples == 3 * (n + 1), "all that the node still held was sent again"
                assert detail.ledger.missing.certainty == "exact"
