"""An actuator: a writable point and the way to it; and who hears how setting it goes. Pure; `actuators` does it.

Bounds: none of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from drivers.profile import Writing
from edge.control.arbitration import Held
from edge.control.arrays import Key
from edge.sampling.lines import AttachedLine
from wire.device import Device, Point
from wire.entries import Level
from wire.sample import Value

SINGLE: Final = 2**-23  # what a float of 32 bits, as many devices have, keeps of a number


class Actuator(msgspec.Struct, frozen=True):
    """A writable point and the way to it."""

    device: Device
    point: Point
    reads_back: Point
    polled: bool  # whether what it reads back can be asked for
    writing: Writing

    def matches(self, wanted: Value, read: Value) -> bool:
        """Whether what was read is what was wanted, as near as the point can tell."""
        if isinstance(wanted, bool | str) or not isinstance(read, int | float) or isinstance(read, bool):
            return type(wanted) is type(read) and wanted == read
        assert isinstance(wanted, int | float)
        near = self.writing.tolerance
        if near is None:
            near = max(self.reads_back.resolution or self.point.resolution or 0, self.writing.step / 2)
        if isinstance(wanted, float):
            near += abs(wanted) * SINGLE
        return abs(read - wanted) <= near * 1.0001


def actuators_of(lines: Iterable[AttachedLine]) -> dict[Key, Actuator]:
    """The writable points of all devices on these lines."""
    found: dict[Key, Actuator] = {}
    for line in lines:
        for attachment in line.attachments:
            profile = attachment.profile
            polled = line.kind.polled(profile)
            for name, writing in profile.writing.items():
                found[attachment.device.id, name] = Actuator(
                    attachment.device,
                    profile.points[name],
                    profile.points[writing.reads_back],
                    writing.reads_back in polled,
                    writing,
                )
    return found


class ProgressListener(Protocol):
    """Who hears how it goes. Calls never block."""

    def applied(self, key: Key, level: Level, held: Held) -> None:
        """The value was written to the device."""
        ...

    def settled(self, key: Key, level: Level | None, held: Held | None, read_back: Value) -> None:
        """The device has the value; or nothing is held (None), and it is left as it is."""
        ...

    def failed(self, key: Key, level: Level, held: Held, why: str, read_back: Value) -> bool:
        """TRIES have failed, or one more. True when the value has been let go, so that the next one below is tried."""
        ...
