"""Frames: the last bytes that a device and its line said to each other, kept for whoever looks for a fault.

Bounds: FRAME_BYTES of a frame, what is longer is cut; the last EXCHANGES of a device (two frames each), fewer on a line
whose devices would have more than LINE_FRAMES together. To keep one costs a tuple; its fields are named when they are
asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from wire.time import Utc

FRAME_BYTES: Final = 512
EXCHANGES: Final = 8
LINE_FRAMES: Final = 4_096
Direction = Literal["out", "in"]


class Field(msgspec.Struct, frozen=True):
    """A part of a frame: its first byte, from 0, how many bytes it has, and what it is called: a point with the
    register or key that holds it, or a word of the protocol."""

    first: int
    length: int
    name: str


class Frame(msgspec.Struct, frozen=True):
    """What was sent (`out`) or came (`in`) at a moment (UTC microseconds). `about` says what the bytes do not: the
    topic of a publish, the company of an advert."""

    time_us: Utc
    direction: Direction
    data: bytes
    fields: tuple[Field, ...] = ()
    about: str = ""


class Noted(NamedTuple):
    """A frame as it was kept; `when` is on whatever clock its driver keeps time by."""

    when: float
    direction: Direction
    data: bytes
    about: str


class Trace:
    """The last frames of each device of a line, known by a key of the driver's choice."""

    def __init__(self, keys: Iterable[Hashable]) -> None:
        known = list(dict.fromkeys(keys))
        each = max(2, min(2 * EXCHANGES, LINE_FRAMES // max(1, len(known))))
        self._kept: dict[Hashable, deque[Noted]] = {key: deque(maxlen=each) for key in known}

    def note(self, key: Hashable, when: float, direction: Direction, data: bytes, about: str = "") -> None:
        """Keep a frame; of a stranger nothing is kept."""
        if (kept := self._kept.get(key)) is not None:
            kept.append(Noted(when, direction, bytes(data[:FRAME_BYTES]), about))

    def heard(self, key: Hashable, when: float, data: bytes) -> None:
        """Keep what came, where a line tells again from its beginning what has come so far of one frame."""
        if not data or (kept := self._kept.get(key)) is None:
            return
        data = bytes(data[:FRAME_BYTES])
        if kept and kept[-1].direction == "in":
            if kept[-1].data.endswith(data):
                return
            if data.startswith(kept[-1].data):
                kept.pop()
        kept.append(Noted(when, "in", data, ""))

    def of(self, key: Hashable) -> Sequence[Noted]:
        """The frames of a device, oldest first."""
        return tuple(self._kept.get(key, ()))
