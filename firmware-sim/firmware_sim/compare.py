"""Hold what a reader has stored against what this street has offered.

A sample is known by its device and its counter (answers, n, sequence, packet id); where a counter has wrapped, the
nearest time tells which one it is. Lines that a reader may rightly not have (`late_s`, `uncertain`, no counter) are
optional: not offered, but not unknown either. Counts are readings: points, not samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

COUNTERS: Final = ("answers", "n", "sequence", "packet_id")
MAX_EXAMPLES: Final = 20

Values = Mapping[str, Any]
Tolerance = Callable[[str, str], float]


@dataclass
class Comparison:
    """Readings `offered` by the street; of those `stored`, `missing`, `doubled` (held more often than offered) and
    `wrong` (held with another value). `unknown` samples were held though never offered."""

    offered: int = 0
    stored: int = 0
    missing: int = 0
    doubled: int = 0
    wrong: int = 0
    unknown: int = 0
    lost: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    examples: list[str] = field(default_factory=list[str])

    @property
    def faultless(self) -> bool:
        """Whether everything offered is held exactly once, and nothing else."""
        return not (self.missing or self.doubled or self.wrong or self.unknown)

    def __str__(self) -> str:
        return f"readings: {self.offered} offered, {self.stored} stored, {self.missing} missing, {self.doubled} doubled"

    def say(self, text: str) -> None:
        """Keep an example of what is wrong."""
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(text)


@dataclass
class _Offer:
    time_us: int
    points: Values
    optional: bool
    held: int = 0


def counter_of(values: Values) -> int | None:
    """The counter in a sample, or None where it has none."""
    return next((values[name] for name in COUNTERS if type(values.get(name)) is int), None)


def compare(
    lines: Iterable[Mapping[str, Any]],
    stored: Iterable[tuple[str, int, Values]],
    tolerance: Tolerance = lambda _device, _point: 0.0,
) -> Comparison:
    """Compare ledger lines with stored (device, time in µs, values).

    `tolerance` is how far a stored float may lie from what was offered: half the resolution that the reader declares.
    """
    found = Comparison()
    offers: dict[tuple[str, int], list[_Offer]] = defaultdict(list)
    for line in lines:
        counter = counter_of(line["points"])
        optional = line.get("late_s") is not None or line.get("uncertain") is True or line["n"] is None
        if counter is not None:
            offers[line["device"], counter].append(_Offer(line["time_us"], line["points"], optional))
    for device, time_us, values in stored:
        counter = counter_of(values)
        if counter is None:
            continue  # a failed reading: it says so itself
        candidates = offers.get((device, counter))
        if not candidates:
            found.unknown += 1
            found.say(f"{device} {counter}: held, but never offered")
            continue
        offer = min(candidates, key=lambda o: abs(o.time_us - time_us))
        offer.held += 1
        if offer.held > 1:
            found.doubled += len(offer.points)
            found.say(f"{device} {counter}: held {offer.held} times")
            continue
        _check(found, (device, counter), offer, values, tolerance)
    for (device, counter), of in offers.items():
        for offer in of:
            if offer.held or not offer.optional:
                found.offered += len(offer.points)
            if not offer.held and not offer.optional:
                found.missing += len(offer.points)
                found.lost.append((device, counter, offer.time_us))
                found.say(f"{device} {counter}: missing")
    return found


def _check(found: Comparison, key: tuple[str, int], offer: _Offer, values: Values, tolerance: Tolerance) -> None:
    device, counter = key
    for point, offered in offer.points.items():
        if point not in values or values[point] is None:
            found.missing += 1
            found.say(f"{device} {counter}: {point} is missing")
            continue
        held = values[point]
        if isinstance(offered, float) or isinstance(held, float):
            slack = tolerance(device, point) * (1 + 1e-9) + 1e-12 * abs(offered)
            same = isinstance(held, int | float) and abs(held - offered) <= slack
        else:
            same = type(held) is type(offered) and held == offered
        if same:
            found.stored += 1
        else:
            found.wrong += 1
            found.say(f"{device} {counter}: {point} is {held!r}, offered was {offered!r}")
