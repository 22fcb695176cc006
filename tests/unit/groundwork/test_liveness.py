"""Liveness: late is who said by when and is not through, and nobody else, however often attempts fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from groundwork.liveness import LOOK_S, SLACK_S, STOPPED_S, Liveness, Part, Running, kept_going

NAMES = st.sampled_from(["commit", "uplink", "downlink"])


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Parts(RuleBasedStateMachine):
    """Against a model that remembers all that was said."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.liveness = Liveness(self.clock)
        self.parts = {name: self.liveness.part(name) for name in ("commit", "uplink", "downlink")}
        self.said: dict[str, tuple[str, float, float]] = {}  # doing, since, how long at most

    @rule(name=NAMES, seconds=st.integers(0, 100))
    def begins(self, name: str, seconds: int) -> None:
        self.parts[name].within(seconds, "an attempt")
        self.said[name] = "an attempt", self.clock.now, seconds

    @rule(name=NAMES, seconds=st.integers(0, 100))
    def waits(self, name: str, seconds: int) -> None:
        self.parts[name].waits(seconds)
        self.said[name] = "a wait", self.clock.now, seconds + SLACK_S

    @rule(name=NAMES)
    def is_through(self, name: str) -> None:
        self.parts[name].rest()
        self.said.pop(name, None)

    @rule(seconds=st.integers(0, 60))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def late_is_who_should_be_through(self) -> None:
        late = {n: (d, self.clock.now - s) for n, (d, s, most) in self.said.items() if self.clock.now > s + most}
        assert {one.part: (one.doing, one.for_s) for one in self.liveness.late()} == late


TestParts = Parts.TestCase


def test_what_a_block_does_is_due_until_it_ends() -> None:
    clock = Clock()
    part = Part("commit", clock)
    with pytest.raises(OSError, match="no"), part.busy(5, "a commit"):
        clock.now += 6
        assert str(part.late()) == "commit: a commit has taken 6 s"
        raise OSError("no")
    assert part.late() is None


def looked_at(running: Running, clock: Clock, seconds: float) -> None:
    """So long it is asked as often as it should be."""
    for _ in range(int(seconds / LOOK_S)):
        clock.now += LOOK_S
        running()


def test_time_in_which_the_process_did_not_run_is_nobodys_lateness() -> None:
    clock = Clock()
    running = Running(clock)
    part = Part("commit", running)
    with running.watching():
        part.within(600, "a commit")
        looked_at(running, clock, 300)
        clock.now += 86_400  # SIGSTOP, a paused machine
        assert part.late() is None
        looked_at(running, clock, 290)
        assert part.late() is None
        looked_at(running, clock, 20)
        late = part.late()
        assert late is not None
        assert late.for_s == pytest.approx(610 + LOOK_S, abs=LOOK_S), "what it took of time that passed for it"
        assert running.stopped_s == 86_400 - LOOK_S


def test_what_takes_long_while_others_run_is_late() -> None:
    clock = Clock()
    running = Running(clock)
    with running.watching():
        part = Part("commit", running)
        part.within(600, "a commit")
        looked_at(running, clock, 300)
        clock.now += STOPPED_S  # a busy machine: the look came late
        assert running() == clock.now
        looked_at(running, clock, 300)
        assert part.late() is not None
    clock.now += 1000
    before = running()
    assert before == clock.now, "where nobody was to ask, that nobody has means nothing"


class Going:
    """Something that goes on: `stuck` says of each start whether it never comes back."""

    def __init__(self, part: Part, clock: Clock, stuck: list[bool], *, stubborn: bool = False) -> None:
        self.part, self.clock, self.stuck, self.stubborn = part, clock, stuck, stubborn
        self.starts = 0
        self.through = asyncio.Event()

    async def run(self) -> None:
        self.starts += 1
        self.part.within(10, "an attempt")
        while self.stuck and self.stuck.pop(0):
            self.clock.now += 11
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise
        self.part.rest()
        self.through.set()
        await asyncio.Event().wait()


async def test_who_is_late_begins_anew() -> None:
    clock = Clock()
    part = Part("uplink", clock)
    going = Going(part, clock, [True, True, False])
    task = asyncio.create_task(kept_going(part, going.run, look_s=0))
    await going.through.wait()
    assert (going.starts, part.again) == (3, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_it_raises_is_raised() -> None:
    async def run() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await kept_going(Part("uplink"), run)


async def test_who_does_not_end_is_left_behind() -> None:
    clock = Clock()
    part = Part("downlink", clock)
    stubborn = Going(part, clock, [True], stubborn=True)
    tries = iter([stubborn.run, Going(part, clock, []).run])
    begun: list[Any] = []

    async def run() -> None:
        begun.append(next(tries))
        await begun[-1]()

    task = asyncio.create_task(kept_going(part, run, look_s=0, end_s=0.01))
    while len(begun) < 2:
        await asyncio.wait([task], timeout=0.001)
    stubborn.stubborn = False
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_whoever_ends_it_does_not_wait_for_what_is_deaf() -> None:
    part = Part("uplink", Clock())
    stubborn = Going(part, Clock(), [True], stubborn=True)
    task = asyncio.create_task(kept_going(part, stubborn.run, end_s=0.0))
    await asyncio.wait([task], timeout=0.01)
    assert stubborn.starts
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stubborn.stubborn = False
    for left in asyncio.all_tasks() - {asyncio.current_task()}:
        left.cancel()
