"""What a device refuses to read, found out by asking it: against devices that are tables, on a clock of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conformance.driver_rigs import attach, profile_of
from drivers.modbus.limits import PROBES, RETRY_FIRST_S, RETRY_LONGEST_S
from drivers.modbus.link import Said
from drivers.modbus.reading import PollResult
from drivers.modbus.registers import Block, Decoder
from drivers.modbus.settings import Line
from drivers.modbus.units import Slave, Unit
from support.examples import many


class Device:
    """Holding registers, each with its own address as value. Refuses what its firmware refuses."""

    def __init__(
        self, missing: Sequence[int] = (), *, most: int = 125, walls: Sequence[int] = (), code: int = 2
    ) -> None:
        self.missing, self.most, self.walls, self.code = set(missing), most, walls, code
        self.asked: list[tuple[int, int]] = []
        self.refused = self.joined = 0

    def gives(self, start: int, count: int) -> bool:
        """Whether a read is within its limits; none goes over a wall."""
        where = range(start, start + count)
        return (
            count <= self.most
            and self.missing.isdisjoint(where)
            and not any(where[0] < wall <= where[-1] for wall in self.walls)
        )

    def read(self, block: Block) -> bytes:
        self.asked.append((block.start, block.count))
        if not self.gives(block.start, block.count):
            self.refused += 1
            self.joined += len(block.pieces) > 1
            raise Said(self.code)
        return b"".join(a.to_bytes(2) for a in range(block.start, block.start + block.count))


class Bench:
    """A device and the node's side of it."""

    def __init__(self, device: Device, points: Mapping[str, Mapping[str, Any]], whole: Any = None) -> None:
        table: dict[str, Any] = {"driver": "modbus", "modbus": whole or {}}
        table["point"] = {n: {"type": "int", "at": {"holding": 0, **at}} for n, at in points.items()}
        self.profile = profile_of("model", table)
        self.now_s = 0.0
        clock = lambda: self.now_s  # noqa: E731
        slave = Slave(1, clock, 1)
        self.unit = Unit(attach("d", self.profile, {}), slave, Line(host="x"), clock, Decoder(self.profile))
        self.device = device
        self.requests: list[tuple[int, int]] = []

    def poll(self) -> PollResult:
        """One poll, as the driver does it, without a line."""
        planned = self.unit.plan(list(self.profile.points.values()))
        reading = PollResult(self.unit, planned.readers)
        for name, why in planned.missing.items():
            reading.spoil([name], why)
        self.device.asked.clear()
        self.device.joined = 0
        while (reader := reading.next()) is not None:
            try:
                answer = self.device.read(reader.block)
            except Said as said:
                reading.refused(reader, said)
            else:
                reading.answered(reader, answer)
        self.requests = list(self.device.asked)
        assert self.device.joined <= PROBES
        return reading

    def settle(self, polls: int = 16) -> PollResult:
        """Poll until nothing is refused any more, and the same is asked for."""
        for _ in range(polls):
            refused, requests = self.device.refused, self.requests
            reading = self.poll()
            if self.requests == requests and (self.device.refused == refused or len(requests) == 1):
                return reading  # one refused where there is nothing at all
        raise AssertionError("it goes on asking for what is refused, or for something else")


def single(*addresses: int) -> dict[str, dict[str, Any]]:
    return {f"r{a}": {"holding": a} for a in addresses}


@pytest.mark.parametrize("code", [1, 2, 3, 4, 7, 8, 9, 128])
def test_gaps_that_do_not_exist_cost_one_try(code: int) -> None:
    bench = Bench(Device((2, 3), code=code), single(0, 1, 4))
    assert bench.poll().values == {"r0": 0, "r1": 1, "r4": 4}
    assert bench.requests == [(0, 5), (0, 2), (4, 1)]
    for _ in range(3):
        reading = bench.poll()
        assert (reading.values, reading.quality) == ({"r0": 0, "r1": 1, "r4": 4}, {})
        assert bench.requests == [(0, 2), (4, 1)]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 7, 8, 9, 128])
def test_a_point_that_does_not_exist_is_bad_and_its_neighbours_are_good(code: int) -> None:
    bench = Bench(Device((2,), code=code), single(0, 1, 2))
    for _ in range(3):
        reading = bench.poll()
        assert reading.values == {"r0": 0, "r1": 1, "r2": None}
        assert reading.quality.keys() == {"r2"}
        assert f"(exception {code})" in reading.quality["r2"]
    assert bench.requests == [(0, 2)]


def test_a_limit_of_which_nothing_is_known_yet_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Device(range(0, 120, 7), most=10), single(*range(120)))
    with caplog.at_level("INFO", logger="drivers.modbus.limits"):
        reading = bench.settle()
    assert sum(v is not None for v in reading.values.values()) == 120 - len(range(0, 120, 7))
    assert "at most 0" not in caplog.text
    assert "max_registers = 0" not in caplog.text


def test_how_much_a_device_gives_at_once_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Device(most=10, code=3), single(*range(40)))
    with caplog.at_level("INFO", logger="drivers.modbus.limits"):
        first = bench.poll()
        bench.settle()
    assert first.values == {f"r{a}": a for a in range(40)}
    bench.poll()
    assert bench.requests == [(0, 10), (10, 10), (20, 10), (30, 10)]
    assert "d gives at most 10 in one read of holding: max_registers = 10 in profile model spares it the tries" in (
        caplog.messages
    )


@pytest.mark.parametrize("code", [2, 3])
@pytest.mark.parametrize(("missing", "most"), [(range(0, 120, 7), 10), ((13, 57, 90), 10), ((5, 57, 58, 101), 32)])
def test_a_limit_and_holes_together_are_read_right_at_once_and_in_the_fewest_reads_soon(
    missing: Sequence[int], most: int, code: int
) -> None:
    device = Device(missing, most=most, code=code)
    bench = Bench(device, single(*range(120)))
    refused = 0
    for _ in range(8):
        reading = bench.poll()
        assert {int(n[1:]) for n, v in reading.values.items() if v is None} == set(missing)
        refused = device.refused
    assert len(bench.requests) == len(best(range(120), device, 8))
    assert refused <= len(missing) + 3 * PROBES


def test_a_device_that_has_only_the_last_of_many_points_is_found_out_in_a_few_polls() -> None:
    device = Device(range(60))
    bench = Bench(device, single(*range(61)))
    for _ in range(6):
        before = device.refused
        bench.poll()
        assert device.refused - before <= 2 * PROBES, "nothing is known to be there: it is asked little"
    assert bench.poll().values["r60"] == 60


def test_until_it_is_found_out_the_reason_names_the_key() -> None:
    bench = Bench(Device(most=1, code=3), {"wide": {"as": "u32"}, "narrow": {"holding": 2}})
    quality = bench.poll().quality
    assert quality == {
        "wide": "bad:the device does not give 2 registers at once (exception 3): "
        "set max_registers of its profile to what its manual says"
    }


def test_a_refusal_that_passes_teaches_nothing() -> None:
    device = Device()
    bench = Bench(device, single(*range(20)))
    for code in (5, 6):
        device.code, device.most = code, 0
        assert f"(exception {code})" in bench.poll().quality["r0"]
        assert bench.requests == [(0, 20)]
    device.most = 125
    assert not bench.poll().quality
    assert bench.requests == [(0, 20)]


def test_a_device_that_refuses_everything_is_asked_little_and_taken_back_at_once() -> None:
    device = Device(most=0, code=4)
    bench = Bench(device, single(*range(30)))
    for _ in range(40):
        assert set(bench.poll().values.values()) == {None}
    assert bench.requests == [(0, 1)], "whether it is there at all"
    device.most = 125
    bench.poll()
    reading = bench.poll()
    assert (len(reading.values), reading.quality, bench.requests) == (30, {}, [(0, 30)])


def test_what_was_refused_is_tried_again_ever_more_seldom_and_forgotten_when_it_is_given() -> None:
    device = Device((2,))
    bench = Bench(device, single(*range(5)))
    bench.settle()
    tries = []
    while bench.now_s < 86_400:
        if (block := bench.unit.limits.due()) is not None:
            tries.append(bench.now_s)
            assert (block.start, block.count) == (2, 1)
            bench.unit.limits.still(block)
        bench.now_s += 10
    waits = [b - a for a, b in pairwise(tries)]
    assert (tries[0], waits[:2], waits[-1]) == (RETRY_FIRST_S, [120, 240], RETRY_LONGEST_S)
    device.missing.clear()
    bench.now_s += RETRY_LONGEST_S
    block = bench.unit.limits.due()
    assert block is not None
    device.read(block)
    bench.unit.limits.give(block)
    bench.unit.learnt()
    assert not bench.poll().quality
    assert bench.requests == [(0, 5)]


def best(points: Sequence[int], device: Device, max_gap: int) -> list[tuple[int, int]]:
    """The fewest reads for who knows all limits: each as long as it can be."""
    reads: list[tuple[int, int]] = []
    left = [p for p in points if device.gives(p, 1)]
    while left:
        end = 0
        while (
            end + 1 < len(left)
            and left[end + 1] - left[end] - 1 <= max_gap
            and device.gives(left[0], left[end + 1] - left[0] + 1)
        ):
            end += 1
        reads.append((left[0], left[end] - left[0] + 1))
        left = left[end + 1 :]
    return reads


@settings(max_examples=many(300), deadline=None)
@example(points={*range(8)}, missing=set(), walls={1}, most=32, max_gap=8, code=3)
@example(
    points={*range(8), 9, 10, 11, 14, 45, 54, 63, 71, 84},
    missing={8, 20, 55},
    walls={1, 64},
    most=32,
    max_gap=8,
    code=3,
)
@given(
    points=st.sets(st.integers(0, 120), min_size=1, max_size=60),
    missing=st.sets(st.integers(0, 120), max_size=6),
    walls=st.sets(st.integers(1, 120), max_size=3),
    most=st.sampled_from((1, 2, 7, 10, 32, 125)),
    max_gap=st.sampled_from((0, 3, 8)),
    code=st.sampled_from((1, 2, 3, 4)),
)
def test_whatever_a_device_refuses_all_it_has_is_read_in_the_fewest_reads(
    points: set[int], missing: set[int], walls: set[int], most: int, max_gap: int, code: int
) -> None:
    device = Device(sorted(missing), most=most, walls=sorted(walls), code=code)
    wanted = sorted(points)
    bench = Bench(device, single(*wanted), {"max_gap": max_gap})
    there = {f"r{p}": p for p in wanted if p not in missing}
    for reading in (bench.poll(), bench.settle()):
        assert {n: v for n, v in reading.values.items() if v is not None} == there
        assert reading.quality.keys() == {f"r{p}" for p in wanted if p in missing}
    if there:
        assert len(bench.requests) == len(best(wanted, device, max_gap))


def test_what_is_known_of_a_device_is_planned_once() -> None:
    bench = Bench(Device(range(1, 60, 2)), single(*range(60)))
    bench.settle()
    points = list(bench.profile.points.values())
    planned = bench.unit.plan(points)
    bench.poll()
    assert bench.unit.plan(points) is planned
