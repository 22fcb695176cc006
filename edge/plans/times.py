"""Times: how a plan's words name a moment of the night: by the clock, or by the sun with minutes before or after it."""

from __future__ import annotations

import re
from typing import Final, cast

import msgspec

from edge.plans.local import DAY_S
from edge.plans.sun import EVENING, TURNS, Turn

MAX_OFFSET_MIN: Final = 360


class ClockTime(msgspec.Struct, frozen=True):
    """A time that the clock shows: seconds after midnight."""

    second: int


class SunTime(msgspec.Struct, frozen=True):
    """A turn of the sun, and so many minutes after it (negative: before)."""

    turn: Turn
    offset_min: int

    @property
    def evening(self) -> bool:
        """Whether it comes in the evening."""
        return self.turn in EVENING


When = ClockTime | SunTime
_CLOCK: Final = re.compile(r"(\d\d):(\d\d)(?::(\d\d))?")
_SUN: Final = re.compile(rf"({'|'.join(TURNS)})(?:([+-])(\d{{1,3}}))?")


def when(text: str) -> When:
    """The time that a text means: "22:30", "22:30:15", "dusk", "dusk-10", "sunrise+15" (minutes).

    Raises:
        ValueError: it means none; it says what to write.
    """
    if (found := _CLOCK.fullmatch(text)) is not None:
        hour, minute, second = (int(g or 0) for g in found.groups())
        if hour < DAY_S // 3600 and minute < 60 and second < 60:
            return ClockTime(hour * 3600 + minute * 60 + second)
    elif (found := _SUN.fullmatch(text)) is not None:
        offset = int(found[3] or 0) * (-1 if found[2] == "-" else 1)
        if abs(offset) <= MAX_OFFSET_MIN:
            return SunTime(cast("Turn", found[1]), offset)
        raise ValueError(f'is "{text}"; at most {MAX_OFFSET_MIN} minutes before or after the sun')
    raise ValueError(f'is "{text[:60]}"; write a time such as "22:30", or dusk, dawn, sunset, sunrise as in "dusk-10"')


def told(time: When) -> str:
    """The text of a time, in its shortest form."""
    if isinstance(time, SunTime):
        return f"{time.turn}{time.offset_min:+d}" if time.offset_min else time.turn
    minutes, second = divmod(time.second, 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{second:02}" if second else text
