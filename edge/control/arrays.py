"""Control: the priority arrays of all writable points, and what of them is known again after a restart.

What an order or a rule has given is kept on the card, in the same commit as the entry that tells of it; the plan and
the safe value are found again from what they come from. A value that was held ends by monotonic time. After a reboot
its end is counted from UTC; where UTC is not known then, it is let go, and the point falls to the plan.

A point that nobody has ever held anything for is left alone. From the first value on, its profile's safe value lies
below all others, so that a lamp is never left as some rule last had it: not by a restart either, for that it has been
held is kept as well. Pure: the caller keeps, tells and writes. Bounds: the writable points of the node's devices, six
levels each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from drivers.errors import DriverError
from drivers.readings import allowed
from edge.control.arbitration import Held, PriorityArray
from wire.device import Point
from wire.entries import Level
from wire.sample import Value
from wire.time import Mono, Utc

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""A device and one of its points."""

PREFIX: Final = "slot/"
KEPT: Final[frozenset[Level]] = frozenset({"technician", "emergency", "hypervisor", "rule"})
MARK: Final[Level] = "default"  # kept without a value: this point has been held, its safe value lies below


class _Slot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a level holds, as it is kept."""

    device: str
    point: str
    level: Level
    value: Value
    by: str
    order: str
    boot: int  # whose monotonic clock `ends_us` counts by
    ends_us: Mono | None
    until_us: Utc | None


class Ended(msgspec.Struct, frozen=True):
    """A value whose time is over."""

    key: Key
    level: Level
    held: Held


class PriorityArrays:
    """All arrays of the node."""

    def __init__(self, points: Mapping[Key, Point], boot: int) -> None:
        self.points = points
        self._boot = boot
        self._arrays: dict[Key, PriorityArray] = {}
        self._marked: set[Key] = set()
        self._touched: set[Key] = set()

    def hold(self, key: Key, level: Level, held: Held) -> tuple[Held | None, dict[str, bytes | None]]:
        """Let a level of a point hold a value. What it held before, and what to keep.

        Raises:
            KeyError: there is no such writable point.
        """
        array, kept = self._array(key), self._kept(key, level, held)
        self._touched.add(key)
        if key not in self._marked:
            kept |= self._mark(key)
            if level in KEPT:  # what the plan gives comes again by itself, so that its mark may not have been kept
                self._marked.add(key)
        return array.put(level, held), kept

    def release(self, key: Key, level: Level) -> tuple[Held | None, dict[str, bytes | None]]:
        """Let a level of a point hold nothing. What it held before, and what to keep."""
        array = self._arrays.get(key)
        before = None if array is None else array.relinquish(level)
        self._touched.add(key)
        return before, {} if before is None or level not in KEPT else {_name(key, level): None}

    def expire(self, now_us: Mono) -> tuple[list[Ended], dict[str, bytes | None]]:
        """Let go of all that has ended by monotonic time, and what to keep."""
        ended = [Ended(key, *pair) for key, array in self._arrays.items() for pair in array.expire(now_us)]
        self._touched.update(e.key for e in ended)
        return ended, {_name(e.key, e.level): None for e in ended if e.level in KEPT}

    def due_us(self) -> Mono | None:
        """When something ends next, in monotonic time."""
        return min((due for a in self._arrays.values() if (due := a.due_us()) is not None), default=None)

    def top(self, key: Key) -> tuple[Level, Held] | None:
        """What the point should have now."""
        array = self._arrays.get(key)
        return None if array is None else array.top()

    def array(self, key: Key) -> PriorityArray:
        """The array of a point, to look at."""
        return self._arrays.get(key) or PriorityArray()

    def held(self) -> Iterable[Key]:
        """The points for which something is held."""
        return [key for key, array in self._arrays.items() if array.top() is not None]

    def touched(self) -> set[Key]:
        """The points of whose arrays something may be another since this was asked last; those that were restored are
        left out."""
        touched, self._touched = self._touched, set()
        return touched

    def restore(
        self, kept: Mapping[str, bytes], now_us: Mono, utc_us: Utc | None
    ) -> tuple[list[Ended], dict[str, bytes | None]]:
        """Take back what was kept: what could not be, because it has ended, or nobody knows whether it has, or the
        point is not there or does not take it any more; and what to keep from now on.

        `now_us` is monotonic; `utc_us` is None where UTC is not known. Afterwards every point of `held` is to be
        looked at: also one whose value was let go, for the device may still have it.
        """
        dropped: list[Ended] = []
        changed: dict[str, bytes | None] = {}
        for name, body in kept.items():
            try:
                slot = msgspec.msgpack.decode(body, type=_Slot)
            except msgspec.DecodeError as error:
                log.error("%s was kept and cannot be read: %s", name, error)  # noqa: TRY400 - no bug of ours
                changed[name] = None
                continue
            key = (slot.device, slot.point)
            held = self._again(key, slot, now_us, utc_us)
            if key not in self.points:
                changed[name] = None
            elif slot.level == MARK:
                self._array(key)
                self._marked.add(key)
                continue
            elif held is None:
                self._array(key)  # its safe value takes over
                changed[name] = None
            else:
                self._array(key).put(slot.level, held)
                again = self._kept(key, slot.level, held)
                changed |= {n: b for n, b in again.items() if b != body}
                continue
            if slot.level != MARK:
                was = Held(value=slot.value, by=slot.by, order=slot.order, until_us=slot.until_us)
                dropped.append(Ended(key, slot.level, was))
        for key in self._arrays.keys() - self._marked:
            changed |= self._mark(key)
            self._marked.add(key)
        return dropped, changed

    def _again(self, key: Key, slot: _Slot, now_us: Mono, utc_us: Utc | None) -> Held | None:
        """What a level held, by this boot's clock; None when it may not be held any more."""
        ends_us = slot.ends_us
        if ends_us is not None and slot.boot != self._boot:
            if utc_us is None or slot.until_us is None:
                return None
            ends_us = now_us + (slot.until_us - utc_us)
        if ends_us is not None and ends_us <= now_us:
            return None
        try:
            allowed(self.points[key], slot.value)
        except (KeyError, DriverError):  # the site file or the profile has changed since
            return None
        return Held(value=slot.value, by=slot.by, order=slot.order, ends_us=ends_us, until_us=slot.until_us)

    def _array(self, key: Key) -> PriorityArray:
        array = self._arrays.get(key)
        if array is None:
            safe = self.points[key].safe
            array = self._arrays[key] = PriorityArray()
            if safe is not None:
                array.put("default", Held(value=safe, by=""))
        return array

    def _kept(self, key: Key, level: Level, held: Held) -> dict[str, bytes | None]:
        if level not in KEPT:
            return {}
        return {_name(key, level): None if held.blinks else self._slot(key, level, held)}

    def _mark(self, key: Key) -> dict[str, bytes | None]:
        return {_name(key, MARK): self._slot(key, MARK, Held(value=None, by=""))}

    def _slot(self, key: Key, level: Level, held: Held) -> bytes:
        return msgspec.msgpack.encode(
            _Slot(
                device=key[0],
                point=key[1],
                level=level,
                value=held.value,
                by=held.by,
                order=held.order,
                boot=self._boot,
                ends_us=held.ends_us,
                until_us=held.until_us,
            )
        )


def _name(key: Key, level: Level) -> str:
    return f"{PREFIX}{level}/{key[1]}/{key[0]}"
