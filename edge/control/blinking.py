"""Blinking: a point goes to and fro between its two ends, so that somebody finds the lamp in the street. It is one
order of whoever is at the cabinet; the value that it holds is turned over here until the order ends.

It is turned over once it was read back, and no sooner than TURN_S after the last time, or the time that the device
takes (`min_write_s`, `settle_s` of its profile). A device that takes more than SLOWEST_S does not blink: it may hear a
command in minutes, or wear by it. It ends with its order (its time, a relinquish, another order of that level), with
the session of its technician, with the node, and where the device does not take a value. None of it lies on the card:
a node that starts again has forgotten it, and the point is as automatic as it was.

What a relay bears is some 100,000 switchings under load: LONGEST_S of turns every TURN_S are 600, and 0.6 % of that.

Bounds: MOST at a time; an order of LONGEST_S; a write a point every TURN_S. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from drivers.profile import Writing
from edge.control.arbitration import Held
from edge.control.arrays import Key, PriorityArrays
from wire.device import Point
from wire.entries import Name
from wire.sample import Value
from wire.time import Micros, Mono, Utc

TURN_S: Final = 1.0
SLOWEST_S: Final = 10.0
LONGEST_S: Final = 600.0
MOST: Final = 8
LEVEL: Final = "technician"


class Blink(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="order", tag="blink"):
    """Let a point go to and fro until the order expires. Given at the cabinet only: it never crosses. It ends sooner
    with the session of `visit`, where there is one."""

    id: Name
    by: Name
    issued_us: Utc
    expires_us: Utc
    device: Name
    point: Name
    visit: Name = ""
    level: Literal["technician"] = LEVEL


class _Turning(msgspec.Struct):
    """`next` is what it is turned over to. `turned_us` and `due_us` are monotonic; nothing is due while the device does
    not have what it was told."""

    order: str
    visit: str
    next: Value
    turn_us: Micros
    due_us: Mono | None
    turned_us: Mono


def ends_of(point: Point) -> tuple[Value, Value] | None:
    """What a point goes between, the bright one first; None where it has no two ends."""
    if point.type == "bool":
        return True, False
    if point.type == "text" or point.low is None or point.high is None or point.low >= point.high:
        return None
    return (int(point.high), int(point.low)) if point.type == "int" else (float(point.high), float(point.low))


def turn_s(writing: Writing | None) -> float:
    """How long a point stays as it is between two turns."""
    return TURN_S if writing is None else max(TURN_S, writing.min_write_s, writing.settle_s)


def why_not(point: Point, writing: Writing | None) -> str:
    """Why a point cannot blink; nothing where it can."""
    if ends_of(point) is None:
        return f"{point.name} has no two ends between which it could blink"
    if (every_s := turn_s(writing)) > SLOWEST_S:
        return f"{point.name} is left alone for {every_s:g} s after each write, which is no blinking"
    return ""


class Blinking:
    """All points that blink."""

    def __init__(
        self,
        control: PriorityArrays,
        writing: Mapping[Key, Writing],
        monotonic_us: Callable[[], Mono],
        present: Callable[[str], bool],
    ) -> None:
        """`present` says of a visit whether its technician still has a session."""
        self._control, self._writing, self._monotonic_us, self._present = control, writing, monotonic_us, present
        self._turning: dict[Key, _Turning] = {}

    def why_not(self, key: Key) -> str:
        """Why a point cannot begin to blink now; nothing where it can."""
        if len(self._turning) >= MOST and key not in self._turning:
            return f"{MOST} lamps blink here already"
        return why_not(self._control.points[key], self._writing.get(key))

    def begin(self, order: Blink) -> Value:
        """It blinks from now on; what it has first.

        Raises:
            ValueError: it cannot, see `why_not`.
        """
        key = (order.device, order.point)
        ends = ends_of(self._control.points[key])
        if ends is None:
            raise ValueError(self.why_not(key))
        self._turning[key] = _Turning(
            order=order.id,
            visit=order.visit,
            next=ends[1],
            turn_us=Micros(round(turn_s(self._writing.get(key)) * 1e6)),
            due_us=None,
            turned_us=self._monotonic_us(),
        )
        return ends[0]

    def settled(self, key: Key, held: Held | None) -> bool:
        """The device has what it was told; whether that matters here."""
        one = self._turning.get(key)
        if one is None or held is None or held.order != one.order or one.due_us is not None:
            return False
        if held != self._control.array(key).held(LEVEL):
            return False  # what it had before the last turn
        one.due_us = Mono(max(self._monotonic_us(), one.turned_us + one.turn_us))
        return True

    def blinks(self, key: Key, order: str) -> bool:
        """Whether a point blinks by this order."""
        return (one := self._turning.get(key)) is not None and one.order == order

    def advance(self) -> tuple[list[Key], list[Key]]:
        """Turn over what is due: the points that are to be woken for it, and those whose technician has gone."""
        now_us = self._monotonic_us()
        turned: list[Key] = []
        left: list[Key] = []
        for key, one in list(self._turning.items()):
            held = self._control.array(key).held(LEVEL)
            if held is None or held.order != one.order:
                del self._turning[key]  # its order has ended, or another has its place
            elif one.visit and not self._present(one.visit):
                left.append(key)
            elif one.due_us is not None and one.due_us <= now_us:
                self._control.hold(key, LEVEL, msgspec.structs.replace(held, value=one.next))  # nothing is kept of it
                one.next, one.turned_us, one.due_us = held.value, now_us, None
                turned.append(key)
        return turned, left

    def due_us(self) -> Mono | None:
        """When something is to be turned over next, in monotonic time."""
        return min((one.due_us for one in self._turning.values() if one.due_us is not None), default=None)

    @property
    def keys(self) -> list[Key]:
        """The points that blink."""
        return list(self._turning)
