"""Arbitration: who decides what a writable point is set to (a priority array, as in BACnet, ASHRAE 135 clause 19.2).

Each level holds one value with an end, or nothing; the highest level that holds a value wins; when that ends or is
taken back, the next one below takes over. `why` says in words how it stands. Times are microseconds on any axis that
the caller goes on with (the node's: monotonic); `until_us` is UTC and only for telling. Bounds: six levels a point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal

import msgspec

from wire.entries import Level
from wire.orders import LEVELS
from wire.sample import Value
from wire.time import Micros, Mono, Utc

Language = Literal["en", "fr"]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A value that a level holds. `by` names who gave it, `order` the order it came with, where it was one.

    It holds while now < `ends_us`; None: until it is taken back. `blinks`: it is turned over again and again
    (`edge.control.blinking`), and what it is at the moment says little.
    """

    value: Value
    by: str
    order: str = ""
    ends_us: Mono | None = None
    until_us: Utc | None = None
    blinks: bool = False


class PriorityArray:
    """The levels of one point."""

    def __init__(self) -> None:
        self._levels: dict[Level, Held] = {}

    def put(self, level: Level, held: Held) -> Held | None:
        """Let a level hold a value; what it held before."""
        before = self._levels.get(level)
        self._levels[level] = held
        return before

    def relinquish(self, level: Level) -> Held | None:
        """Let a level hold nothing; what it held before."""
        return self._levels.pop(level, None)

    def held(self, level: Level) -> Held | None:
        """What a level holds, ended or not."""
        return self._levels.get(level)

    def expire(self, now_us: Mono) -> list[tuple[Level, Held]]:
        """Let go of what has ended; it is returned, the highest first."""
        ended = [pair for pair in self if (ends_us := pair[1].ends_us) is not None and ends_us <= now_us]
        for level, _ in ended:
            del self._levels[level]
        return ended

    def top(self) -> tuple[Level, Held] | None:
        """What wins. `expire` first."""
        return next(iter(self), None)

    def due_us(self) -> Mono | None:
        """When something ends next."""
        return min((held.ends_us for _, held in self if held.ends_us is not None), default=None)

    def __iter__(self) -> Iterator[tuple[Level, Held]]:
        """The levels that hold something, the highest first."""
        return ((level, held) for level in LEVELS if (held := self._levels.get(level)) is not None)


HOUR_US: Final = Micros(3_600_000_000)

_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "technician": "technician",
        "emergency": "emergency",
        "hypervisor": "control room",
        "rule": "rule",
        "plan": "plan",
        "default": "safe value",
        "because technician": "{value} because of the technician{by}{until}",
        "because emergency": "{value} because of an emergency{by}{until}",
        "because hypervisor": "{value} because of the control room{by}{until}",
        "because rule": "{value} because rule {name}{until}",
        "because plan": "{value} because plan {name}{until}",
        "because default": "{value} because of its safe value",
        "until": " until {}",
        "below": "; below it: {level} {value}",
        "blinks": "blinking",
        "true": "true",
        "false": "false",
        "nothing": "nothing is held: the device is left as it is",
    },
    "fr": {
        "technician": "technicien",
        "emergency": "urgence",
        "hypervisor": "poste de contrôle",
        "rule": "règle",
        "plan": "programme",
        "default": "valeur de repli",
        "because technician": "{value} : technicien{by}{until}",
        "because emergency": "{value} : urgence{by}{until}",
        "because hypervisor": "{value} : poste de contrôle{by}{until}",
        "because rule": "{value} : règle {name}{until}",
        "because plan": "{value} : programme {name}{until}",
        "because default": "{value} : valeur de repli",
        "until": ", jusqu'à {}",
        "below": " ; en dessous : {level}, {value}",
        "blinks": "clignote",
        "true": "vrai",
        "false": "faux",
        "nothing": "rien n'est imposé : l'appareil reste comme il est",
    },
}


def why(
    array: PriorityArray, unit: str, zone: tzinfo = UTC, language: Language = "en", now_us: Utc | None = None
) -> str:
    """Why the point has its value, such as `100 % because rule crosswalk-night until 22:14; below it: plan 40 %`.

    Times are those of `zone`. `now_us` (UTC) is given so that an end on another day is told with its date, one within
    the hour with its seconds. `expire` first.
    """
    words = _WORDS[language]
    found = list(array)
    if not found:
        return words["nothing"]
    level, held = found[0]
    until = "" if held.until_us is None else words["until"].format(_when(held.until_us, zone, now_us))
    text = words[f"because {level}"].format(
        value=words["blinks"] if held.blinks else _shown(held.value, unit, language),
        name=held.by,
        by=f" ({held.by})" if held.by else "",
        until=until,
    )
    if len(found) > 1:
        level, held = found[1]
        text += words["below"].format(level=words[level], value=_shown(held.value, unit, language))
    return text


def _when(until_us: Utc, zone: tzinfo, now_us: Utc | None) -> str:
    until = datetime.fromtimestamp(until_us / 1e6, zone)
    if now_us is not None and 0 <= until_us - now_us < HOUR_US:
        return f"{until:%H:%M:%S}"
    if now_us is None or datetime.fromtimestamp(now_us / 1e6, zone).date() == until.date():
        return f"{until:%H:%M}"
    return f"{until:%Y-%m-%d %H:%M}"


def _shown(value: Value, unit: str, language: Language) -> str:
    if isinstance(value, bool):
        text = _WORDS[language]["true" if value else "false"]
    elif isinstance(value, float):
        text = f"{value:.12g}"  # without the noise of binary fractions
    else:
        text = str(value)
    return f"{text} {unit}".rstrip()
