"""One lamp in memory that does what a test tells it: slow, deaf, wilful; and what was written to it and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from drivers.contract import Attachment
from drivers.errors import Unreachable
from drivers.fake import Access, Address, FakeDriver, Line, Whole
from drivers.profile import Profile, Writing
from edge.control.actuators import Actuator
from edge.control.arrays import Key
from wire.device import Device, Point
from wire.sample import Clock, Sample, Value, bad

LAMP: Key = ("lamp", "level")
DEVICE = Device(id="lamp", kind="streetlight", profile="stubborn")
LEVEL = Point(name="level", type="int", unit="%", low=0, high=100, writable=True)
CLOCK = Clock(1, synced=True)


def loop_us() -> int:
    """The loop's time as a monotonic clock."""
    return round(asyncio.get_running_loop().time() * 1e6)


class StubbornLamp(FakeDriver):
    """It starts at 0."""

    def __init__(self, *, polled: bool = True, answer_s: float = 0.01) -> None:
        profile = Profile(
            name="stubborn",
            kind="streetlight",
            driver="fake",
            points={"level": LEVEL},
            access={"level": Access(start=0)},
            whole=Whole(polled=polled),
        )
        attachment = Attachment(DEVICE, profile, Address())
        super().__init__("line", Line(delay_s=answer_s), [attachment], lambda: (loop_us(), CLOCK))
        self.answer_s = answer_s
        self.becomes: Callable[[Value], Value] = lambda value: value  # what it has after it was told
        self.raises: Exception | None = None  # by a write
        self.poll_raises: Exception | None = None
        self.null = False
        self.told: list[tuple[float, Value]] = []  # every write that began, and when
        self.polls = 0

    @property
    def level(self) -> Value:
        return self.values["lamp"]["level"]

    @level.setter
    def level(self, value: Value) -> None:
        self.values["lamp"]["level"] = value

    def deaf(self, *, deaf: bool = True) -> None:
        if deaf:
            self.failures["lamp"] = Unreachable("no answer")
        else:
            self.failures.clear()

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        self.polls += 1
        if self.poll_raises is not None:
            raise self.poll_raises
        sample = await super().poll(device, points)
        if self.null:
            return Sample(sample.device, sample.time_us, sample.clock, {"level": None}, {})
        return sample

    async def write(self, device: Device, point: Point, value: Value) -> None:
        self.told.append((asyncio.get_running_loop().time(), value))
        await asyncio.sleep(self.answer_s)
        if self.raises is not None:
            raise self.raises
        had = self.level
        await super().write(device, point, value)
        became = self.becomes(value)
        self.level = had if became is None else became

    @property
    def numbers(self) -> list[Value]:
        """What it was told, without when."""
        return [value for _, value in self.told]

    def says(self, value: Value = None) -> Sample:
        """A sample as a poll or a report brings it; without a value: a failed one."""
        if value is None:
            return Sample("lamp", loop_us(), CLOCK, {"level": None}, {"level": bad("no answer")})
        return Sample("lamp", loop_us(), CLOCK, {"level": value}, {})


def actuator(
    *, polled: bool = True, settle_s: float = 0, min_write_s: float = 0, tolerance: float | None = None
) -> Actuator:
    writing = Writing(reads_back="level", settle_s=settle_s, min_write_s=min_write_s, tolerance=tolerance)
    return Actuator(DEVICE, LEVEL, LEVEL, polled, writing)
