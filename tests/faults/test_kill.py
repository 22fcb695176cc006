"""kill -9 of either side, and a link that goes dead without a word, at random moments and at named points.

The oracle is the street's own ledger (`support.verdict`): every publish must arrive exactly once, with its values, and
no counter may arrive twice.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import pytest

from edge.sync.http import BATCH_TYPE
from stage import Stage
from support import killable_node
from support.laboratory import draw
from support.relay import Relay
from support.verdict import verdict
from wire import codec
from wire.batch import ORIGIN, Batch, Lane, Placed
from wire.columns import Columns
from wire.sample import Clock, Sample

KILLABLE = [sys.executable, Path(killable_node.__file__)]
KILLS = 5  # with each seed

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("seed", draw("the node is killed"))
def test_kill_the_node_at_random_moments(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    kills: list[float] = []
    stage.start_node()
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.05, 1.2))
        assert stage.node is not None
        kills.append(time.time())
        stage.node.kill()
        if rng.random() < 0.3:
            time.sleep(rng.uniform(0, 0.5))
        stage.start_node()
    time.sleep(1)
    found = verdict(stage, kills)
    assert found.stored > 300


@pytest.mark.parametrize(
    "point", ["commit.before", "commit.after", "ack.before", "ack.after", "answer.before", "answer.after"]
)
def test_kill_the_node_at_a_named_point(stage: Stage, point: str) -> None:
    kills: list[float] = []
    for count in (1, 4, 9):
        actor = stage.start_node(environment={"KILL_AT": f"{point}:{count}"}, command=KILLABLE, wait=False)
        assert actor.process.wait(20) == -9, actor.said()
        kills.append(time.time())
    stage.start_node()
    time.sleep(0.5)
    verdict(stage, kills)


@pytest.mark.parametrize("seed", draw("the aggregator is killed"))
def test_kill_the_aggregator_at_random_moments(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    stage.start_node()
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.05, 1.2))
        assert stage.cloud is not None
        stage.cloud.kill()
        stage.start_cloud()
    time.sleep(1)
    assert verdict(stage).lost == []


@pytest.mark.parametrize("point", ["ingest.before_commit", "ingest.after_commit"])
def test_kill_the_aggregator_at_a_named_point(stage: Stage, point: str) -> None:
    assert stage.cloud is not None
    stage.cloud.end()
    stage.start_node()
    for count in (1, 2, 3):
        actor = stage.start_cloud(environment={"LAMPLIGHTER_CRASH_AT": f"{point}:{count}"})
        assert actor.process.wait(60) == -9, actor.said()
    stage.start_cloud()
    assert verdict(stage).lost == []


@pytest.mark.parametrize("seed", draw("the link goes dead"))
def test_cut_the_link_without_a_word(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    host, _, port = stage.cloud_url.removeprefix("http://").rpartition(":")
    relay = Relay((host, int(port)))
    stage.environment["DEMO_CLOUD_URL"] = f"http://127.0.0.1:{relay.port}"
    try:
        stage.start_node()
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.0))
            relay.cut()
            time.sleep(rng.uniform(0.1, 0.8))
            relay.mend()
        assert verdict(stage).lost == []
        assert stage.health()["counters"]["link_failures"] > 0, "the cuts were felt"
    finally:
        relay.close()


def test_planted_faults_turn_it_red(stage: Stage) -> None:
    """The oracle itself is tried: it must see one sample too few, one that differs, one too many."""
    stage.start_node()
    time.sleep(1.5)
    stage.hush()
    assert stage.settle(lambda c: c.faultless).faultless
    whole = stage.street.ledger.read_text()
    lines = stage.street.offered()
    planted = next(line for line in lines if line["via"] == "mqtt")

    never_sent = {**planted, "points": {**planted["points"], "n": 10**6}}
    stage.street.ledger.write_text(whole + json.dumps(never_sent) + "\n")
    assert stage.compare().lost == [(planted["device"], 10**6, planted["time_us"])]

    differs = whole.replace(json.dumps(planted["points"]["fill_level"]), "-1.0", 1)
    assert differs != whole
    stage.street.ledger.write_text(differs)
    assert stage.compare().wrong >= 1

    stage.street.ledger.write_text(whole)
    sample = Sample(planted["device"], planted["time_us"], Clock(1, synced=True), planted["points"])
    doubled = Batch(
        node="cab-faults",
        epoch=4711,
        lane=Lane.BULK,
        first_seq=1,
        through_seq=1,
        prev=ORIGIN,
        digest=bytes(16),
        held_from=1,
        head_seq=1,
        entries=[Placed((0,), Columns.of([sample]))],
    )
    answer = stage.http.post(
        f"{stage.cloud_url}/v1/nodes/cab-faults/batches",
        content=codec.encode_batch(doubled),
        headers={
            "Authorization": f"Bearer {stage.tokens['node']}",
            "Content-Type": BATCH_TYPE,
            "Content-Encoding": "zstd",
        },
    )
    assert answer.status_code == 200
    found = stage.compare()
    assert (found.doubled, found.missing) == (len(planted["points"]), 0)
