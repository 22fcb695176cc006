"""Cutting columns gives the samples that lie there, whatever form the values are packed in."""

from __future__ import annotations

import random

import pytest

from support.cloud_batches import SECOND, START_US
from wire.columns import Columns
from wire.sample import Clock, Sample, Value

CLOCK = Clock(1, synced=True)


def values(rng: random.Random, i: int) -> dict[str, Value]:
    everything: dict[str, Value] = {
        "same": 7,
        "ints": rng.randint(-(2**40), 2**40),
        "steps": 2**40 + i * 3 + rng.randint(0, 1),
        "even": 5 * i,
        "decimal": round(rng.random(), 2),
        "single": float(rng.choice([0.1, 0.25])) if i % 2 else 1e30,
        "double": rng.random(),
        "bools": rng.random() < 0.5,
        "texts": rng.choice(["on", "off", "å"]),
        "any": rng.choice([None, 1, 1.5, "x", True]),
        "sparse": i,
        "rare": i,
    }
    return {p: v for p, v in everything.items() if not (p == "sparse" and i % 3) and not (p == "rare" and i != 40)}


@pytest.mark.parametrize("seed", range(10))
def test_a_part_has_the_samples_that_lie_there(seed: int) -> None:
    rng = random.Random(seed)
    samples = [
        Sample("d", START_US + i * SECOND, CLOCK, v := values(rng, i), {p: "bad:x" for p in v if rng.random() < 0.1})
        for i in range(60)
    ]
    whole = Columns.of(samples)
    for _ in range(200):
        start = rng.randint(0, 59)
        stop = rng.randint(start + 1, 70)
        part = whole.cut(start, stop)
        assert part.n == min(stop, 60) - start
        for found, expected in zip(part.samples(), samples[start:stop], strict=True):
            assert (found.time_us, dict(found.quality)) == (expected.time_us, dict(expected.quality))
            assert [(p, repr(v)) for p, v in sorted(found.values.items())] == [
                (p, repr(v)) for p, v in sorted(expected.values.items())
            ]
