"""Which body a batch goes up in; and what a cloud that forgets, doubles and restarts reads of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ingest.bases import Bases, NoBase, in_full
from edge.sync.chaining import KEY_S, ChainedBody, Chains
from support.cloud_batches import SECOND, START_US, Sender, columns
from support.examples import many
from wire import chain, codec
from wire.batch import ORIGIN, Ack, Batch, Lane
from wire.chain import MAX_BASE_BYTES
from wire.columns import Columns
from wire.sample import Clock, Sample


def ack(*accepts: int) -> Ack:
    return Ack(generation=1, epoch=7, lane=Lane.BULK, through_seq=0, digest=ORIGIN, accepts=accepts, server_us=0)


def minutes(count: int) -> Sequence[Batch]:
    sender = Sender()
    return [
        sender.batch(*(columns(f"lamp-{d:03}", START_US + i * 60 * SECOND, n=6) for d in range(12)))
        for i in range(count)
    ]


def test_it_leans_on_what_was_taken_once_the_cloud_reads_that() -> None:
    chains = Chains()
    first, second, third, fourth = minutes(4)
    body = chains.body(first, 0)
    assert not body.chained
    assert codec.decode_batch(body.data).first_seq == first.first_seq
    chains.taken(Lane.BULK, body, 0)
    assert not chains.body(second, 1).chained, "the cloud has not said that it reads them"
    chains.heard(ack(1, 2))
    leaning = chains.body(second, 1)
    assert leaning.chained
    assert len(leaning.data) < 0.8 * len(codec.encode_batch(second))
    chains.taken(Lane.BULK, leaning, 1)
    assert chain.decode(chains.body(third, 2).data).base == chain.decode(leaning.data).base, "the base stays"
    chains.refused(Lane.BULK)
    assert not chains.body(third, 2).chained
    chains.taken(Lane.BULK, chains.body(third, 2), 2)
    chains.heard(ack(1))
    assert not chains.body(fourth, 3).chained, "an older cloud"


def test_once_an_hour_it_goes_in_full() -> None:
    chains = Chains()
    first, second = minutes(2)
    chains.heard(ack(1, 2))
    chains.taken(Lane.BULK, chains.body(first, 100), 100)
    assert chains.body(second, 99 + KEY_S).chained
    assert not chains.body(second, 100 + KEY_S).chained


def test_it_goes_in_full_where_leaning_saves_little_and_that_becomes_the_base() -> None:
    chains = Chains()
    chains.heard(ack(1, 2))
    sender, rng = Sender(), random.Random(1)

    def noise(kind: str, n: int) -> Batch:
        values = [{f"{kind}_{p}": rng.random() for p in range(4)} for _ in range(n)]
        samples = [Sample(f"{kind}-{i}", START_US, Clock(1, synced=True), v) for i, v in enumerate(values)]
        return sender.batch(*(Columns.of([s]) for s in samples))

    tiny, large = noise("bin", 1), noise("lamp", 100)
    next_ = sender.batch(*(p.entry for p in large.entries))
    chains.taken(Lane.BULK, chains.body(tiny, 0), 0)
    body = chains.body(large, 1)
    assert not body.chained
    chains.taken(Lane.BULK, body, 1)
    assert chains.body(next_, 2).chained


def test_a_lane_leans_on_its_own_and_a_large_body_is_no_base() -> None:
    chains = Chains()
    chains.heard(ack(1, 2))
    first, second = minutes(2)
    chains.taken(Lane.URGENT, chains.body(first, 0), 0)
    assert not chains.body(second, 0).chained
    chains.taken(Lane.BULK, chains.body(first, 0), 0)
    chains.taken(Lane.BULK, ChainedBody(b"", False, bytes(MAX_BASE_BYTES + 1)), 0)
    assert not chains.body(second, 0).chained


events = st.sampled_from(
    ["taken", "lost before", "lost after", "doubled", "cloud restarts", "node restarts", "refused"]
)


@pytest.mark.slow
@given(st.lists(events, max_size=30))
@settings(max_examples=many(100), deadline=None)
def test_whatever_is_lost_doubled_or_forgotten_it_reads_what_was_written_or_nothing(course: list[str]) -> None:
    chains, bases = Chains(), Bases()
    chains.heard(ack(1, 2))
    sent: list[tuple[ChainedBody, bytes]] = []

    def cloud_reads(body: ChainedBody, plain: bytes) -> bool:
        """What ingest does with a body before it looks at the batch."""
        if not body.chained:
            bases.keep("cab-1", Lane.BULK, body.data)
            return True
        held = bases.of("cab-1", Lane.BULK)
        if held is None:
            return False
        try:
            whole = in_full(chain.decode(body.data), held)
        except NoBase:
            return False
        assert codec.encode_batch(codec.decode_batch(whole)) == whole
        assert whole == codec.squeeze(plain)
        return True

    for now, (event, batch) in enumerate(zip(course, minutes(len(course)), strict=True)):
        body, plain = chains.body(batch, now * 300.0), codec.plain_batch(batch)
        sent.append((body, plain))
        match event:
            case "taken":
                if cloud_reads(body, plain):
                    chains.taken(Lane.BULK, body, now * 300.0)
                else:
                    chains.refused(Lane.BULK)
                    whole = chains.body(batch, now * 300.0)
                    assert not whole.chained
                    assert cloud_reads(whole, plain)
                    chains.taken(Lane.BULK, whole, now * 300.0)
            case "lost after":
                cloud_reads(body, plain)
            case "doubled":
                cloud_reads(*sent[len(sent) // 2])
            case "cloud restarts":
                bases = Bases()
            case "node restarts":
                chains = Chains()
                chains.heard(ack(1, 2))
            case _:
                pass
