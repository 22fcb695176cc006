"""Alarms that have no room now: they wait, and one alarm says that they do.

At most `limit` alarms stand at a time, `limit // URGENT_PART` of which only urgent ones may take. What finds no room
waits here without being told, the most severe first out, then the oldest; a deadline goes on counting from detection.
Nothing that stands is ever taken away for something else.

Promises: what waits is told as soon as there is room, unless its condition has gone before; the alarm FLOOD on the node
stands active while anything waits, and counts what had to wait.

Bounds: MAX_WAITING wait. Beyond that they are only counted (`dropped`), until the rule says them again. What waits is
not kept over a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from edge.alarms.causes import Key
from edge.alarms.own import FLOOD
from edge.alarms.raised import Raised
from wire.entries import Severity
from wire.sample import Value
from wire.time import Micros, Utc

MAX_STANDING: Final = 2_000
URGENT_PART: Final = 4
MAX_WAITING: Final = 2_000
_RANK: Final[Mapping[Severity, int]] = {"urgent": 0, "high": 1, "medium": 2, "low": 3}
_TEXT: Final[Mapping[str, str]] = {
    "en": "More alarms than the node can show. The most severe ones of the rest follow as others are cleared.",
    "fr": "Plus d’alarmes que le nœud ne peut en montrer. Les plus graves des autres suivront à mesure que celles-ci"
    " seront closes.",
}


class WaitingAlarms:
    """What has found no room. `put_aside` counts since the flood began, `dropped` those of them nobody remembers."""

    def __init__(self, limit: int) -> None:
        """Room for `limit` standing alarms.

        Raises:
            ValueError: for a limit outside 1 to MAX_STANDING.
        """
        if not 1 <= limit <= MAX_STANDING:
            raise ValueError(f"limit is {limit}; write 1 to {MAX_STANDING} alarms")
        self._limit = limit
        self._waiting: dict[Key, tuple[Raised, int | None]] = {}
        self.put_aside = self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def room(self, standing: int, severity: Severity) -> bool:
        """Whether one more of this severity may stand beside so many."""
        return standing < (self._limit if severity == "urgent" else self._limit - self._limit // URGENT_PART)

    def put(self, raised: Raised, boot: int | None) -> bool:
        """Let it wait; False when it does already."""
        if raised.key in self._waiting:
            return False
        self.put_aside += 1
        if len(self._waiting) < MAX_WAITING:
            self._waiting[raised.key] = raised, boot
        else:
            self.dropped += 1
        return True

    def drop(self, key: Key) -> None:
        """Its condition has gone: nobody needs to know."""
        self._waiting.pop(key, None)

    def drop_all(self, gone: Callable[[str, str], bool]) -> None:
        """Those whose device and rule are gone."""
        self._waiting = {key: held for key, held in self._waiting.items() if not gone(*key)}

    def next(self, standing: int) -> Raised | None:
        """Take out the one that is reported next; None while there is no room for it."""
        if not self._waiting:
            return None
        key, (first, _) = min(self._waiting.items(), key=lambda i: (_RANK[i[1][0].severity], i[1][0].time_us, i[0]))
        if not self.room(standing, first.severity):
            return None
        return self._waiting.pop(key)[0]

    def shift(self, offset_us: Micros, boot: int) -> None:
        """Times of this boot move (`wire.entries.ClockFix`)."""
        for key, (raised, of) in self._waiting.items():
            if of == boot:
                self._waiting[key] = replace(raised, time_us=raised.time_us + offset_us), None

    def counted(self) -> Mapping[str, Value]:
        """What the flood's alarm says."""
        return {"put_aside": self.put_aside, "waiting": len(self._waiting), "dropped": self.dropped}

    def recall(self, values: Mapping[str, Value]) -> None:
        """What the flood's alarm has said before a restart."""
        put_aside, dropped = values.get("put_aside"), values.get("dropped")
        self.put_aside = put_aside if isinstance(put_aside, int) else 0
        self.dropped = dropped if isinstance(dropped, int) else 0

    def begin(self) -> None:
        """A new flood: counts start again."""
        self.put_aside, self.dropped = 1, 0

    def flood(self, node: str, time_us: Utc) -> Raised:
        """The alarm that says so."""
        detail = f"{self.put_aside} alarms found no room: {self._limit} may stand at a time"
        return Raised(
            device=node,
            rule=FLOOD,
            severity="urgent",
            time_us=time_us,
            detail=detail,
            text=_TEXT,
            values=self.counted(),
        )
