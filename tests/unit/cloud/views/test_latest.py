"""The latest of a device: the same whether it is folded early, late, again, or saved and loaded in between."""

from __future__ import annotations

import random

import pytest

from cloud.views.contract import Fix
from cloud.views.latest import AHEAD_US, MAX_BASES, MAX_PENDING, DeviceLatest, fold_all, latest_of
from support.cloud_batches import START_US
from wire.columns import Columns
from wire.sample import Clock, Sample
from wire.table import Table


def runs(rng: random.Random, bases: int = 2) -> list[Columns]:
    found: list[Columns] = []
    for _ in range(60):
        synced = rng.random() < 0.5
        clock = Clock(1 if synced else rng.randint(1, bases), synced=synced)
        samples: list[Sample] = []
        for _ in range(rng.choice([1, 1, 2, 9])):
            values = {p: rng.randint(0, 99) for p in "abc" if rng.random() < rng.choice([0.5, 1, 1])} or {"a": 1}
            quality = {p: "bad:x" for p in values if rng.random() < 0.2}
            samples.append(Sample("d", START_US + rng.randint(0, 50), clock, values, quality))
        if rng.random() < 0.5:
            samples.sort(key=lambda s: s.time_us)
        found.append(Columns.of(samples))
    return found


def shown(device: DeviceLatest) -> object:
    return latest_of([device.cells()], {1: Fix(7, 1)}, (), START_US)


@pytest.mark.parametrize("seed", range(20))
def test_however_it_is_folded(seed: int) -> None:
    rng = random.Random(seed)
    taken = runs(rng)
    late, early, saved, again = DeviceLatest(), DeviceLatest(), DeviceLatest(), DeviceLatest()
    best: dict[tuple[str, int], tuple[int, int, object, str]] = {}
    for position, columns in enumerate(taken):
        base = -1 if columns.clock.synced else columns.clock.boot
        for sample in columns.samples():
            for point, value in sample.values.items():
                key = (sample.time_us, position)
                if (point, base) not in best or key >= best[point, base][:2]:
                    best[point, base] = (*key, value, sample.quality.get(point))
        late.take(position, columns)
        early.take(position, columns)
        early.cells()
        saved = DeviceLatest(saved.saved())
        saved.take(position, columns)
        for older in range(max(0, position - 3), position + 1):
            again.take(older, taken[older])
    assert late.cells() == early.cells() == saved.cells() == again.cells() == best
    assert shown(late) == shown(saved)


def test_what_waits_is_bounded_and_forgets_the_oldest_bases() -> None:
    device = DeviceLatest()
    for boot in range(3 * MAX_PENDING):
        device.take(boot, Columns.of([Sample("d", START_US - boot, Clock(boot, synced=False), {"a": boot})]))
        assert len(device._pending) < MAX_PENDING
    assert len(device.cells()) == MAX_BASES
    assert max(base for _, base in device.cells()) == 3 * MAX_PENDING - 1


def test_newer_runs_take_the_place_of_older_ones_unseen() -> None:
    device = DeviceLatest()
    for i in range(10_000):
        device.take(i, Columns.of([Sample("d", START_US + i, Clock(1, synced=True), {"a": i, "b": 1})]))
    assert len(device._pending) == 1
    assert device.cells()["a", -1] == (START_US + 9_999, 9_999, 9_999, None)


def one(time_us: int, value: int, point: str = "a") -> Columns:
    return Columns.of([Sample("d", time_us, Clock(1, synced=True), {point: value})])


def test_a_time_to_come_wins_against_nothing_and_is_marked() -> None:
    far_us = START_US + 86 * 365 * 86_400_000_000  # as 2112 is
    device = DeviceLatest()
    device.take(1, one(far_us, 7), START_US)
    (alone,) = latest_of([device.cells()], {}, (), START_US).values()
    assert (alone.value, alone.clock, alone.time_us) == (7, "ahead", START_US)
    for position, (time_us, value) in enumerate([(START_US + 10, 1), (far_us, 8), (START_US + 20, 2)], 2):
        device.take(position, one(time_us, value), START_US + 30)
        found = latest_of([device.cells()], {}, (), START_US + 30)["a"]
        assert found.clock == "synced"
        assert found.value == (2 if position == 4 else 1)
    again = DeviceLatest(device.saved())
    assert latest_of([again.cells()], {}, (), START_US)["a"].value == 2


def test_one_sample_of_many_that_is_ahead_takes_none_of_the_others_along() -> None:
    device = DeviceLatest()
    samples = [Sample("d", START_US + s, Clock(1, synced=True), {"a": s, "b": s}) for s in (1, 2, 10**12)]
    device.take(1, Columns.of(samples), START_US)
    found = latest_of([device.cells()], {}, (), START_US)
    assert {p: (x.value, x.clock) for p, x in found.items()} == {"a": (2, "synced"), "b": (2, "synced")}


def test_what_an_older_version_let_win_is_replaced() -> None:
    older = DeviceLatest()
    older.take(1, one(START_US + 10 * AHEAD_US, 9))  # nobody looked when it arrived
    device = DeviceLatest(older.saved(), now_us=START_US)
    assert latest_of([device.cells()], {}, (), START_US)["a"].clock == "ahead"
    device.take(2, one(START_US, 3), START_US)
    assert latest_of([device.cells()], {}, (), START_US)["a"].value == 3


def test_a_little_ahead_is_a_clock_that_drifts() -> None:
    device = DeviceLatest()
    device.take(1, one(START_US + AHEAD_US, 9), START_US)
    device.take(2, one(START_US, 3), START_US)
    assert latest_of([device.cells()], {}, (), START_US)["a"].value == 9


@pytest.mark.parametrize("seed", range(20))
def test_many_folded_at_once_are_as_each_by_itself(seed: int) -> None:
    """Tables of several devices, in order and not, with points left out, marks, boots and times to come."""
    rng = random.Random(seed)
    names = "defg"
    one_by_one, at_once = {n: DeviceLatest() for n in names}, {n: DeviceLatest() for n in names}
    for position in range(40):
        synced = rng.random() < 0.6
        clock = Clock(1 if synced else rng.randint(1, 3), synced=synced)
        points = rng.choice(["abc", "ab", "c"])
        samples = [
            Sample(
                name,
                START_US + rng.randint(0, 50) + (2 * AHEAD_US if rng.random() < 0.05 else 0),
                clock,
                {p: rng.randint(0, 99) for p in points},
                {p: "bad:x" for p in points if rng.random() < 0.1},
            )
            for name in rng.sample(names, rng.randint(1, 4))
            for _ in range(rng.choice([1, 1, 3]))
        ]
        samples.sort(key=lambda s: s.device)
        table = Table.of_samples(samples)
        for i, name in enumerate(table.devices):
            one_by_one[name].wait(position, table, i, START_US)
            at_once[name].wait(position, table, i, START_US)
        if rng.random() < 0.3:
            chosen = rng.sample(names, rng.randint(1, 4))
            assert sum(fold_all(at_once[n] for n in chosen)) >= 0
            assert not any(at_once[n].waiting for n in chosen)
    list(fold_all(at_once.values()))
    for name in names:
        assert at_once[name].cells() == one_by_one[name].cells(), name
