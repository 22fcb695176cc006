"""The clocks of node and aggregator jump, forth and back, by seconds, hours and more than a year.

The oracle is the street's own ledger: all is in, once. And as long as the node is not started on a clock that is wrong,
and the aggregator's clock is not wrong by as much (two that agree are believed), its readings bear the times at which
they were offered, jumps or not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from firmware_sim.compare import counter_of
from stage import Stage
from support.clock_shim import SHIM, OwnClock
from support.disk import build_shim
from support.laboratory import draw
from support.verdict import verdict

JUMPS_S = (2, -2, 60, -60, 3_600, -3_600, 86_400, -86_400, 8 * 86_400, 400 * 86_400, -400 * 86_400)
FOLLOWED_S = 15  # a jump of less than 10 s is believed at once; the rest is a busy machine
ROUNDS = 6

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("seed", draw("a clock jumps"))
def test_jumps_lose_and_double_nothing(stage: Stage, need: Callable[[str], str], seed: int) -> None:
    rng = random.Random(seed)
    shim = build_shim(stage.directory, need("gcc"), SHIM)
    node, cloud = (OwnClock(stage.directory / f"{name}.clock", shim) for name in ("node", "cloud"))
    assert stage.cloud is not None
    stage.cloud.end()
    stage.start_cloud(cloud.environment)
    actor = stage.start_node(node.environment)
    kills: list[float] = []
    off_s, agreed = {node: 0, cloud: 0}, False
    killing = rng.random() < 0.5
    for _ in range(ROUNDS):
        time.sleep(rng.uniform(0.2, 0.8))
        clock = rng.choice((node, node, cloud))
        off_s[clock] = rng.choice((0, *JUMPS_S))
        clock.set(off_s[clock])
        agreed |= off_s[node] == off_s[cloud] != 0
        if killing and rng.random() < 0.3:
            time.sleep(rng.uniform(0, 0.5))
            kills.append(time.time())
            actor.kill()
            actor = stage.start_node(node.environment)
    for clock in (node, cloud):
        clock.set(0)
    time.sleep(0.5)
    verdict(stage, kills)
    if kills or agreed:
        return
    offered = {(line["device"], counter_of(line["points"])): line["time_us"] for line in stage.street.offered()}
    for device in stage.devices():
        for row in stage.readings(device["id"]):
            off_us = row["time_us"] - offered.get((device["id"], counter_of(row["values"])), row["time_us"])
            assert abs(off_us) < FOLLOWED_S * 1_000_000, row
    assert stage.health()["clock_synced"]
