"""Acting: what a page offers to who may act: their session, what a point may be set to, when it goes back by itself.

The forms go to the routes of `edge.web.writing`, and need no script. Bounds: MAX_CHOICES buttons a point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec

from drivers.profile import Writing
from edge.control.blinking import why_not
from edge.control.decided import Decided
from edge.web.language import Speech
from edge.web.reasons import N_
from edge.web.writing import SessionTold
from wire.device import Point
from wire.sample import Value
from wire.time import Utc

MAX_CHOICES: Final = 8
SHELVE_S: Final = 3_600
PROBLEMS: Final[Mapping[str, str]] = {
    "name": N_("Write your name as you gave it to the control room."),
    "code": N_("This code is wrong, or was used. Ask the control room for another."),
    "too_soon": N_("Too many wrong codes. Try again in {wait}."),
    "full": N_("Too many technicians are at work here. Try again in a minute."),
    "card": N_("The memory card is slow. Give the same code again in a moment."),
    "no_codes": N_("There are no codes for this cabinet: log in on the node."),
    "csrf": N_("This was not taken. Try again."),
    "session": N_("Your session is over. Log in again."),
    "order": N_("This cannot be set so."),
    "refused": N_("The node has refused it."),
    "for_s": N_("This cannot be set so."),
    "not_asked": N_("It cannot be asked: it speaks by itself, or its line is busy."),
    "silent": N_("It has not answered just now."),
    "unknown": N_("There is nothing of this name any more."),
    "stale": N_("The list has changed meanwhile. Look at it again."),
    "unfit": N_("This does not fit the configuration any more."),
    "unusable": N_("It could not be kept: see the memory card, and lamplighter-edge check."),
    "acts": N_("This is as much as one visit may do. Log in again with another code."),
}


@dataclass(frozen=True)
class Acting:
    """Who asks, and what was said to them last. `visit` is empty where they have no session."""

    possible: bool = False
    by: str = ""
    visit: str = ""
    csrf: str = ""
    left_s: int = 0
    here_until_us: Utc | None = None
    problem: str = ""
    retry_s: str = ""

    @classmethod
    def of(cls, told: SessionTold, problem: str, retry_s: str) -> Acting:
        """What `edge.web.writing.TechnicianRoutes.told` says, and what stands in a page's address after a redirect."""
        session = told.session
        known = problem in PROBLEMS
        return cls(
            possible=told.codes,
            by="" if session is None else session.by,
            visit="" if session is None else session.visit,
            csrf="" if session is None else session.csrf,
            left_s=0 if session is None else int(session.left_s),
            here_until_us=None if session is None else session.here_until_us,
            problem=problem if known else "",
            retry_s=retry_s if known and retry_s.isascii() and retry_s.isdigit() and len(retry_s) < 6 else "",
        )

    def message(self, speech: Speech) -> tuple[str, int | None, str] | None:
        """What is to be said of it: in words, with how many seconds they have to wait between two parts of them, where
        they have to."""
        if not self.problem:
            return None
        said, waits, then = speech.say(PROBLEMS[self.problem]).partition("{wait}")
        return said, int(self.retry_s or 60) if waits else None, then


@dataclass(frozen=True)
class Button:
    """A button: what is sent, and what stands on it."""

    value: str
    label: str


@dataclass(frozen=True)
class SettablePoint:
    """A point that may be set. `left_s`: for how long a technician holds it; None where nobody does. `blinks`: it does
    now; `may_blink`: it can be told to."""

    point: str
    label: str
    choices: Sequence[Button]
    held: str
    by: str
    left_s: int | None
    blinks: bool = False
    may_blink: bool = False


def settings(
    points: Iterable[Point],
    decided: Sequence[Decided],
    now_us: Utc,
    speech: Speech,
    writing: Mapping[str, Writing] = MappingProxyType({}),
) -> list[SettablePoint]:
    """What can be set at a device, from a page. `writing` is how, by point."""
    found: list[SettablePoint] = []
    for point in points:
        if not point.writable or not (choices := _choices(point)):
            continue
        levels = next((d.levels for d in decided if d.point == point.name), ())
        held = next((h for h in levels if h.level == "technician"), None)
        left_s = None if held is None or held.until_us is None else max(0, (held.until_us - now_us) // 1_000_000)
        found.append(
            SettablePoint(
                point=point.name,
                label=speech.label(point),
                choices=[
                    Button(v if isinstance(v, str) else msgspec.json.encode(v).decode(), _shown(v, point, speech))
                    for v in choices
                ],
                held="" if held is None else _shown(held.value, point, speech),
                by="" if held is None else held.by,
                left_s=left_s,
                blinks=held is not None and held.blinks,
                may_blink=not why_not(point, writing.get(point.name)),
            )
        )
    return found


def _shown(value: Value, point: Point, speech: Speech) -> str:
    return speech.value(int(value) if isinstance(value, float) and value.is_integer() else value, point)


def _choices(point: Point) -> Sequence[Value]:
    """What is worth a button: the ends of a range and its middle, both of two, each of a few."""
    if point.type == "bool":
        return (False, True)
    if point.choices:
        return point.choices[:MAX_CHOICES]
    if point.type == "text" or point.low is None or point.high is None:
        return ()
    middle = (point.low + point.high) / 2
    if point.type == "int":
        return tuple(dict.fromkeys((int(point.low), int(middle), int(point.high))))
    return (point.low, middle, point.high)
