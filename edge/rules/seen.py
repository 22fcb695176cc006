"""Seen: what is known of one point of one device, and of the device. Times are microseconds of the engine's axis.

A value is unknown when its quality is bad, when it is null or of another type than its point, and when it is older
than its point's stale-after. An uncertain value counts; a condition may ask for its quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from edge.rules.window import Window
from wire.device import Point
from wire.sample import Sample, Value
from wire.time import AxisTime, Micros, micros

if TYPE_CHECKING:
    from edge.rules.watch import Watch

DEFAULT_STALE_US: Final = Micros(300_000_000)
MAX_TOGETHER: Final = 64
GOOD: Final = "good"
UNCERTAIN: Final = "uncertain"
BAD: Final = "bad"
_TYPES: Final = {"int": int, "float": float, "bool": bool, "text": str}


class Seen(msgspec.Struct):
    """One point. `late_us` is how late a reading of it may come and still count for rules; `stale_us` is how old its
    value may grow, None without end."""

    type: type
    late_us: Micros
    stale_us: Micros | None
    watches: tuple[Watch, ...] = ()
    windows: tuple[Window, ...] = ()
    value: Value = None
    quality: str | None = None
    read_us: AxisTime = AxisTime(-1)  # the latest reading
    value_us: AxisTime = AxisTime(-1)  # the latest that had a value
    age_from_us: AxisTime = AxisTime(-1)  # the same, without the time in which nobody listened

    @classmethod
    def of(cls, point: Point, heartbeat_s: float | None) -> Seen:
        """Nothing yet. A point that reports by exception may be as much older as its heartbeat is long."""
        extra_us = micros(heartbeat_s or 0)
        declared_us = None if point.stale_after_s is None else micros(point.stale_after_s) + extra_us
        late_us = DEFAULT_STALE_US if point.stale_after_s is None else micros(point.stale_after_s)
        return cls(type=_TYPES[point.type], late_us=late_us, stale_us=declared_us)

    def take(self, value: Value, why: str | None, now_us: AxisTime, late_us: Micros) -> bool:
        """A reading, with why it is not good. True when rules are to look at it."""
        time_us = now_us - late_us
        quality = GOOD if why is None else BAD if why.startswith(BAD) else UNCERTAIN
        if value.__class__ is not self.type:
            # A whole number is a fine value of a point that holds fractions; everything else is none at all.
            value = float(value) if self.type is float and value.__class__ is int and value is not None else None
        usable = value is not None and quality is not BAD
        if usable and self.windows and value.__class__ is not str:
            for window in self.windows:
                window.add(time_us, float(value), now_us)  # type: ignore[arg-type]
        elif usable:
            for window in self.windows:  # a text can only be counted
                window.add(time_us, 1.0, now_us)
        if not usable:
            for window in self.windows:
                window.lost(time_us)
        if late_us > self.late_us or time_us < self.read_us:
            return False
        self.read_us, self.quality = time_us, quality
        self.value = value if usable else None
        if usable:
            self.value_us = self.age_from_us = time_us
        return True

    def now(self, now_us: AxisTime) -> Value:
        """The value that counts now, or None."""
        if self.stale_us is not None and now_us - self.value_us > self.stale_us:
            return None
        return self.value


class WatchedDevice(msgspec.Struct):
    """One device that some rule watches."""

    id: str
    points: dict[str, Seen]
    watches: tuple[Watch, ...] = ()
    asks_silence: tuple[Watch, ...] = ()
    silent_us: Micros = DEFAULT_STALE_US
    together: dict[tuple[str | Watch, ...], tuple[Watch, ...]] = {}
    heard_us: AxisTime = AxisTime(0)  # the latest sign of life, without the time in which nobody listened

    def take(self, sample: Sample, now_us: AxisTime, late_us: Micros) -> tuple[Watch, ...]:
        """A sample of this device: the watches that must look, in their order."""
        values, quality = sample.values, sample.quality
        touched: list[str] = []
        for name, seen in self.points.items():
            if name in values and seen.take(values[name], quality.get(name) if quality else None, now_us, late_us):
                touched.append(name)
        woken: tuple[Watch, ...] = ()
        if self.asks_silence and (len(quality) < len(values) or any(not q.startswith(BAD) for q in quality.values())):
            self.heard_us = max(self.heard_us, now_us - late_us)
            woken = tuple(w for w in self.asks_silence if w.silent)
        if not (touched or woken):
            return ()
        # A device mostly sends the same points: who watches them is put together once.
        key = (*touched, *woken)
        found = self.together.get(key)
        if found is None:
            if len(self.together) >= MAX_TOGETHER:
                self.together.clear()
            watches = {*woken, *(w for name in touched for w in self.points[name].watches)}
            found = self.together[key] = tuple(sorted(watches, key=_order))
        return found


def _order(watch: Watch) -> int:
    return watch.index
