"""Polling: each device at its own pace, spread over the period, stamped by the schedule.

A poll that is late does not shift those after it: the cadence runs from the start, and missed polls are counted. A poll
that fails yields bad readings, never silence.

Schedules begin on ticks of the monotonic clock that all of them share, so that what is due together wakes the process
once: twenty polls in a row cost much less than twenty apart. A tick is at most TICK_S, and a period has at least
TICKS of them: no device is shifted by more than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from math import ceil, floor
from typing import Final

import msgspec

from drivers.contract import Driver, Now
from drivers.errors import Misconfigured, Refused, Unreachable
from edge.sampling.intake import failed
from groundwork.liveness import running_s
from wire.device import Device, Point
from wire.sample import Sample
from wire.time import Micros

log = logging.getLogger(__name__)

TICK_S: Final = 0.05  # longer ones cost less CPU, and whatever else arrives waits longer for those polls
TICKS: Final = 20


def phase(device: str) -> float:
    """Where in its period a device is polled, 0 … 1: by its id, so that it stays the same over restarts."""
    return int.from_bytes(blake2b(device.encode(), digest_size=4).digest(), "big") / 2**32


def begin(device: str, period_s: float, now_s: float) -> float:
    """When a device is polled first, on the clock of `now_s`, in seconds: in its phase, at the end of that tick."""
    tick_s = min(TICK_S, period_s / TICKS)
    return ceil((now_s + phase(device) * period_s) / tick_s) * tick_s


class Poller:
    """Polls one device until cancelled, or until it turns out to be misconfigured."""

    def __init__(
        self,
        device: Device,
        points: Sequence[Point],
        period_s: float,
        *,
        now: Now,
        accept: Callable[[Sample], object],
        monotonic: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._device, self._points, self._period_s = device, points, period_s
        self.device = device.id
        self._now, self._accept, self._sleep = now, accept, sleep
        self._monotonic = monotonic
        self.polls = self.failed = self.missed = 0
        # On the clock of `running_s`: since when the attempt lasts (None: there is none now), and when the last ended.
        self.began: float | None = None
        self.ended = float("-inf")

    async def ask(self, driver: Driver) -> Sample:
        """Poll once more, now, beside the schedule.

        Raises:
            Misconfigured: it will never work.
        """
        now_us, clock = self._now()
        try:
            sample = msgspec.structs.replace(await driver.poll(self._device, self._points), time_us=now_us, clock=clock)
        except (Unreachable, Refused) as error:
            sample = failed(self._device.id, self._points, now_us, clock, str(error))
        self._accept(sample)
        return sample

    async def run(self, driver: Driver) -> None:
        """Poll through an open driver.

        Raises:
            Misconfigured: it will never work; the caller tells.
        """
        monotonic = self._monotonic or asyncio.get_running_loop().time
        start = begin(self._device.id, self._period_s, monotonic())
        turn = 0
        while True:
            due = start + turn * self._period_s
            await self._sleep(max(0.0, due - monotonic()))
            late_us = max(Micros(0), Micros((monotonic() - due) * 1e6))
            now_us, clock = self._now()
            self.polls += 1
            self.began = running_s()
            try:
                sample = await driver.poll(self._device, self._points)
                sample = msgspec.structs.replace(sample, time_us=now_us - late_us, clock=clock)
            except (Unreachable, Refused) as error:
                self.failed += 1
                sample = failed(self._device.id, self._points, now_us - late_us, clock, str(error))
            except Misconfigured as error:
                self.began = None
                self._accept(failed(self._device.id, self._points, now_us - late_us, clock, str(error)))
                raise
            self.began, self.ended = None, running_s()
            self._accept(sample)
            # A library may lose a cancellation that meets its answer, as asyncio.wait_for of Python 3.11 does.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError
            passed = floor((monotonic() - start) / self._period_s)
            self.missed += max(0, passed - turn - 1)
            turn = max(turn + 1, passed)
