"""The disk of the node or of the aggregator hangs for a while: no write and no sync comes back. Some nodes are killed.

The oracle is the street's own ledger: what was acknowledged before, meanwhile and afterwards is in, once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from stage import Stage
from support.disk import HANG, build_shim
from support.laboratory import draw
from support.verdict import verdict

ROUNDS = 3

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("seed", draw("writes hang"))
def test_what_hangs_is_neither_lost_nor_doubled(stage: Stage, need: Callable[[str], str], seed: int) -> None:
    rng = random.Random(seed)
    shim = str(build_shim(stage.directory, need("gcc"), HANG))
    hangs = {name: stage.directory / f"{name}-hangs" for name in ("node", "cloud")}
    environment = {name: {"LD_PRELOAD": shim, "HANG": str(at)} for name, at in hangs.items()}
    assert stage.cloud is not None
    stage.cloud.end()
    stage.start_cloud(environment["cloud"])
    actor = stage.start_node(environment["node"])
    kills: list[float] = []
    for _ in range(ROUNDS):
        time.sleep(rng.uniform(0.2, 0.8))
        who = rng.choice((["node"], ["cloud"], ["node", "cloud"]))
        for name in who:
            hangs[name].touch()
        began = time.time()
        time.sleep(rng.uniform(0.1, 2.5))
        if "node" in who and rng.random() < 0.4:
            kills += [began + i / 2 for i in range(round(2 * (time.time() - began)) + 1)]  # nothing since it hung
            actor.kill()
            hangs["node"].unlink()
            actor = stage.start_node(environment["node"])
        for name in who:
            hangs[name].unlink(missing_ok=True)
    verdict(stage, kills)
