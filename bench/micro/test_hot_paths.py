"""The hot paths of docs/performance.md by themselves: `scripts/bench --micro`. For a look before and after a change;
claims are made by `scripts/bench`, on real processes."""

from __future__ import annotations

import json
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from bench.batches import pushes
from bench.street import Street
from cloud.log.batch_facts import facts_of
from drivers.mqtt.payload import Payload
from drivers.profile import Profile
from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import Problem
from edge.outbox.sealing import seal
from edge.rules.engine import Engine
from edge.rules.load import load_texts
from edge.sampling.intake import Gate
from wire import chain, codec, vector
from wire.batch import Batch
from wire.contents import Contents, join
from wire.device import Device, Roster
from wire.sample import Sample
from wire.vector import Runs

LAMP_RULE = """
[[rule]]
name = "lamp"
on = {{ kind = "streetlight" }}
when = "{when}"
tag = "lamp"
"""


@cache
def street_samples(seconds: float) -> list[Sample]:
    return list(Street().samples(seconds))


@cache
def five_minutes() -> Batch:
    (batch,) = next(iter(pushes(Street(), 300, 300)))
    return batch


@cache
def rows() -> list[tuple[int, Contents]]:
    found: list[tuple[int, Contents]] = []
    first = 0
    for at in range(60):
        (row,) = seal(street_samples(5)[: 30 + at % 5])
        found.append((first, codec.decode_row(row.body)))
        first += row.width
    return found


def profile(name: str) -> Profile:
    return load_profiles([SHIPPED], [], [name])[name]


def test_pack_decimals(benchmark: Any) -> None:
    values = [20 + (i * 37 % 90) / 10 for i in range(900)]
    benchmark(vector.pack, values, Runs([30] * 30))


def test_unpack_decimals(benchmark: Any) -> None:
    runs = Runs([30] * 30)
    packed = vector.pack([20 + (i * 37 % 90) / 10 for i in range(900)], runs)
    benchmark(vector.unpack, packed, runs)


def test_intake_of_a_lamp(benchmark: Any) -> None:
    points = profile("lx-1").points
    sample = next(s for s in street_samples(60) if s.device.startswith("lamp"))
    gate = Gate(points, time_resolution_us=1_000_000)
    benchmark(gate.take, sample)


def engine(rules: str) -> tuple[Engine, list[Sample]]:
    """For one lamp, and its samples; `rules` are TOML."""
    samples = [s for s in street_samples(60) if s.device.startswith("lamp")]
    lamp = samples[0].device
    device = Device(id=lamp, kind="streetlight", profile="lx-1")
    roster = Roster(devices=(device,), profiles={"lx-1": tuple(profile("lx-1").points.values())})
    problems: list[Problem] = []
    made = load_texts({Path("rules.toml"): rules}, roster, problems)
    assert not problems, problems
    return Engine(made, roster.devices, roster.profiles, lambda _: {}), [s for s in samples if s.device == lamp]


def take_in(benchmark: Any, rules: str) -> None:
    """Samples as they arrive, one a second."""
    found, samples = engine(rules)
    clock = count(samples[0].time_us, 1_000_000)
    benchmark(lambda: found.take(samples[0], next(clock)))


def test_rules_with_none_for_the_device(benchmark: Any) -> None:
    take_in(benchmark, "")


def test_rules_with_one_that_is_not_true(benchmark: Any) -> None:
    take_in(benchmark, LAMP_RULE.format(when="active_power > 900.0"))


def test_payload_of_an_air_sensor(benchmark: Any) -> None:
    payload = Payload(profile("aq-2"))
    sent = {"seq": 1, "pm2_5": 7.1, "pm10": 12.3, "no2": 20.5, "noise": 51.2, "t": 11.5, "rh": 71.0}
    benchmark(payload.read, json.dumps(sent).encode())


def test_seal_one_commit(benchmark: Any) -> None:
    samples = street_samples(5)
    benchmark(seal, samples)


def test_join_sixty_rows(benchmark: Any) -> None:
    benchmark(join, rows())


def test_encode_five_minutes(benchmark: Any) -> None:
    benchmark(codec.encode_batch, five_minutes())


def test_decode_five_minutes(benchmark: Any) -> None:
    body = codec.encode_batch(five_minutes())
    benchmark(lambda: facts_of(codec.decode_batch(body)))


def test_chain_five_minutes(benchmark: Any) -> None:
    batch = five_minutes()
    plain = codec.plain_batch(batch)
    base = chain.Base(plain)
    benchmark(chain.encode, plain, base, epoch=batch.epoch, lane=batch.lane)
