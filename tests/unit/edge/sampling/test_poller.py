from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import Misconfigured, Unreachable
from edge.sampling.poller import TICK_S, Poller, begin, phase
from wire.device import Device, Point
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)
LAMP = Device(id="lamp-001", kind="streetlight", profile="x")
POINTS = [Point(name="a", type="int"), Point(name="b", type="int")]


class Done(Exception):
    pass


class Scene:
    """A clock that moves when someone sleeps, and a driver whose polls take as long as told."""

    def __init__(self, takes: Sequence[float | Exception]) -> None:
        self.time, self.takes, self.samples = 100.0, list(takes), list[Sample]()

    async def sleep(self, seconds: float) -> None:
        self.time += seconds

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        if not self.takes:
            raise Done
        takes = self.takes.pop(0)
        if isinstance(takes, Exception):
            raise takes
        self.time += takes
        return Sample(device.id, -1, Clock(0, synced=False), {p.name: 1 for p in points})

    def poller(self, period: float) -> Poller:
        return Poller(
            LAMP,
            POINTS,
            period,
            now=lambda: (round(self.time * 1e6), CLOCK),
            accept=self.samples.append,
            monotonic=lambda: self.time,
            sleep=self.sleep,
        )

    async def run(self, period: float = 10) -> Poller:
        poller = self.poller(period)
        with pytest.raises(Done):
            await poller.run(self)  # type: ignore[arg-type]
        return poller

    def times(self) -> list[float]:
        first = begin(LAMP.id, 10, 100)
        return [round(s.time_us / 1e6 - first, 3) for s in self.samples]


async def test_samples_are_stamped_by_the_schedule() -> None:
    scene = Scene([0.3, 2.0, 0.1])
    await scene.run()
    assert scene.times() == [0, 10, 20]
    assert scene.samples[0].clock is CLOCK


async def test_a_late_poll_does_not_shift_the_others_and_missed_ones_are_counted() -> None:
    scene = Scene([0.1, 35.0, 0.1, 0.1])
    poller = await scene.run()
    assert scene.times() == [0, 10, 40, 50], "the turn at 40 runs late, at 45, under its own time"
    assert poller.missed == 2


async def test_a_failed_poll_is_bad_readings_and_never_silence() -> None:
    scene = Scene([Unreachable("no answer within 1 s"), 0.1])
    poller = await scene.run()
    assert scene.samples[0].values == {"a": None, "b": None}
    assert scene.samples[0].quality == dict.fromkeys("ab", "bad:no answer within 1 s")
    assert (poller.polls, poller.failed) == (3, 1)


async def test_a_misconfigured_device_is_told_and_left() -> None:
    scene = Scene([Misconfigured("no such register")])
    with pytest.raises(Misconfigured):
        await scene.poller(10).run(scene)  # type: ignore[arg-type]
    assert scene.samples[0].quality["a"] == "bad:no such register"


def test_polls_are_spread_over_the_period() -> None:
    phases = sorted(phase(f"lamp-{n:03}") for n in range(1000))
    assert phases[0] >= 0
    assert phases[-1] < 1
    assert max(b - a for a, b in pairwise(phases)) < 0.02, "no gap, so no crowd either"


@given(st.floats(0.1, 86_400), st.floats(0, 1e8), st.text(min_size=1, max_size=8))
def test_a_device_begins_in_its_phase_at_the_end_of_the_tick(period_s: float, now_s: float, device: str) -> None:
    shift_s = begin(device, period_s, now_s) - (now_s + phase(device) * period_s)
    assert -1e-6 <= shift_s < min(TICK_S, period_s / 20) + 1e-6


def test_what_is_due_together_is_due_at_the_same_moment() -> None:
    lamps = [f"lamp-{n:03}" for n in range(200)]
    # Their lines were opened at different times.
    begins = [begin(lamp, period_s, 100 + n / 7) for n, lamp in enumerate(lamps) for period_s in (1, 10)]
    dues = {round(b * 1e6) for b in begins}
    assert all(due % 50_000 == 0 for due in dues), "one clock for all"
    one_period = {round(begin(lamp, 1, 100) * 1e6) for lamp in lamps}
    assert len(one_period) in (20, 21), "and still spread over the period"


async def test_a_cancellation_that_a_library_swallows_still_ends_it() -> None:
    scene = Scene([])
    asked, answer = asyncio.Event(), asyncio.Event()

    async def poll(device: Device, points: Sequence[Point]) -> Sample:
        asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await answer.wait()
        return Sample(device.id, -1, Clock(0, synced=False), {p.name: 1 for p in points})

    scene.poll = poll  # type: ignore[method-assign]
    polling = asyncio.create_task(scene.poller(10).run(scene))  # type: ignore[arg-type]
    await asked.wait()
    polling.cancel()
    done, _ = await asyncio.wait([polling], timeout=5)
    assert done
    assert polling.cancelled()
    assert len(scene.samples) == 1, "the answer that came is kept"
