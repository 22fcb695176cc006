"""A driver in memory, for tests of whoever uses drivers: passes the same conformance suite as the real ones.

Its profile says of each point `at = { start = 0, step = 1 }`: a value that grows with each poll. A test reaches into
`FakeDriver` to set values, to make devices fail, and to send samples as a device would.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from drivers.contract import Attachment, Deliver, Now, ProtocolKind, Receipt, Receipts
from drivers.errors import DriverError, Misconfigured
from drivers.profile import Profile
from drivers.readings import allowed
from wire.device import Device, Point
from wire.sample import Sample, Value, bad


class Line(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of a line."""

    delay_s: Annotated[float, Meta(ge=0, le=60, description="how long each answer takes")] = 0.0


class Address(msgspec.Struct, kw_only=True, frozen=True):
    """The address of one device; nothing is needed."""


class Whole(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of `[fake]` in a profile."""

    polled: Annotated[bool, Meta(description="whether it answers polls, or speaks by itself")] = True


class Access(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of `at` for a point."""

    start: Annotated[int | float | bool | str, Meta(description="the first value")] = 0
    step: Annotated[float, Meta(description="what a number grows by with each poll")] = 0


class FakeDriver:
    """Devices that are tables."""

    def __init__(
        self, name: str, line: Line, attachments: Sequence[Attachment], now: Now, receipts: Receipts | None = None
    ) -> None:
        del name, receipts  # nothing is ever repeated here
        self.values: dict[str, dict[str, Value]] = {}
        self.failures: dict[str, DriverError] = {}
        self.refused: dict[tuple[str, str], str] = {}
        self.written: list[tuple[str, str, Value]] = []
        self._profiles: dict[str, Profile] = {}
        for a in attachments:
            self._profiles[a.device.id] = a.profile
            self.values[a.device.id] = {n: a.profile.access[n].start for n in a.profile.points}
        self._line = line
        self._now = now
        self._deliver: Deliver | None = None
        self._counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._deliver = None

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        """Read points of one device now; see the contract."""
        profile = self._profile(device, points)
        if not profile.whole.polled:
            raise Misconfigured(f"{device.id} speaks by itself; it cannot be polled")
        self._counts["requests"] += 1
        await asyncio.sleep(self._line.delay_s)
        if (failure := self.failures.get(device.id)) is not None:
            self._counts["failures"] += 1
            raise failure
        values = {p.name: self.values[device.id][p.name] for p in points}
        quality: dict[str, str] = {}
        for name in values:
            if (why := self.refused.get((device.id, name))) is not None:
                values[name], quality[name] = None, bad(why)
            elif step := profile.access[name].step:
                self.values[device.id][name] += step  # type: ignore[operator] # a step goes with numbers only
        return Sample(device.id, *self._now(), values, quality)

    async def listen(self, devices: Sequence[Device], deliver: Deliver) -> None:
        """Deliver what devices send by themselves; see the contract."""
        if all(self._profiles[d.id].whole.polled for d in devices):
            return
        self._deliver = deliver
        await asyncio.Event().wait()

    async def write(self, device: Device, point: Point, value: Value) -> None:
        """Set one writable point; see the contract."""
        self._profile(device, [point])
        value = allowed(point, value)
        if (failure := self.failures.get(device.id)) is not None:
            raise failure
        self.values[device.id][point.name] = value
        self.written.append((device.id, point.name, value))

    def send(self, device: str, values: Mapping[str, Value], receipt: Receipt | None = None) -> asyncio.Future[None]:
        """A device speaks by itself; the future ends when the node has it."""
        assert self._deliver is not None, "nobody listens"
        return self._deliver((Sample(device, *self._now(), values),), receipt)

    def counters(self) -> Mapping[str, int]:
        """What was counted since it was opened."""
        return {**self._counts, "connected": 1}

    def _profile(self, device: Device, points: Sequence[Point]) -> Profile:
        profile = self._profiles.get(device.id)
        if profile is None:
            raise Misconfigured(f"{device.id} is not on this line")
        for point in points:
            if point.name not in profile.points:
                raise Misconfigured(f"profile {profile.name} has no point {point.name}")
        return profile


def _polled(profile: Profile) -> frozenset[str]:
    whole: Whole = profile.whole
    return frozenset(profile.points) if whole.polled else frozenset()


def _nothing(_profile: Profile, _address: Any = None) -> Sequence[tuple[str, str]]:
    return ()


PROTOCOL = ProtocolKind(
    name="fake",
    Line=Line,
    Address=Address,
    Access=Access,
    Whole=Whole,
    open=FakeDriver,
    polled=_polled,
    check=_nothing,
    fits=_nothing,
)
