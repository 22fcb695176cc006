"""A hop between node and aggregator that damages what passes, in both directions: heads, bodies and answers.

The oracle is the street's own ledger: what is held is right, what was given up for it is told, and nothing is held
twice but where the ledger tells of a fork (an answer that names another place is believed: TLS, which is missing here,
is what keeps answers whole).
"""

from __future__ import annotations

import random
import time

import pytest

from stage import Stage
from support.laboratory import draw
from support.relay import Relay
from support.verdict import accounted

NOISY_S = 3.0

pytestmark = pytest.mark.timeout(300)


class NoisyRelay(Relay):
    """Damages one piece of `one_in`, mostly in its body; `up` and `down` count them."""

    def __init__(self, target: tuple[str, int], rng: random.Random, one_in: int) -> None:
        self._rng, self.one_in = rng, one_in
        self.damaged = {True: 0, False: 0}
        super().__init__(target)

    def passed(self, data: bytes, *, up: bool) -> bytes:
        if not self.one_in or self._rng.randrange(self.one_in):
            return data
        self.damaged[up] += 1
        spoilt = bytearray(data)
        body = data.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data and self._rng.random() < 0.7 else 0
        at = self._rng.randrange(body if body < len(data) else 0, len(data))
        match self._rng.randrange(4):
            case 0:
                del spoilt[at : at + self._rng.randint(1, 8)]
            case 1:
                spoilt[at:at] = self._rng.randbytes(self._rng.randint(1, 8))
            case _:
                for _ in range(self._rng.randint(1, 3)):
                    spoilt[at] ^= 1 << self._rng.randrange(8)
        return bytes(spoilt)


@pytest.mark.parametrize("seed", draw("bodies are damaged on the way"))
def test_whatever_is_damaged_on_the_way_nothing_false_is_held(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    host, _, port = stage.cloud_url.removeprefix("http://").rpartition(":")
    relay = NoisyRelay((host, int(port)), rng, rng.choice((2, 3, 5)))
    stage.environment["DEMO_CLOUD_URL"] = f"http://127.0.0.1:{relay.port}"
    try:
        stage.start_node()
        deadline = time.monotonic() + 60
        time.sleep(NOISY_S)
        while not all(relay.damaged.values()):
            assert time.monotonic() < deadline, "something was damaged, up and down"
            time.sleep(0.1)
        relay.one_in = 0
        found = accounted(stage)
        assert found.stored > 400
        counters = stage.health()["counters"]  # it may have hit a batch, an answer, or the stream of orders
        felt = counters["link_failures"] + counters["batches_refused"] + counters["downlink_streams"] - 1
        assert felt > 0, "the damage was felt"
    finally:
        relay.close()
