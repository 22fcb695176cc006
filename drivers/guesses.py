"""Guesses: how a profile would read what was heard of a device that nobody knows yet.

A protocol makes them (`ProtocolKind.looking`); `edge.identify` judges which one fits. Nothing here touches a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from drivers.profile import Profile
from wire.sample import Value

MAX_SECONDS: Final = 1_800.0
Unit = Annotated[int, Meta(ge=0, le=255)]


class GuessedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one point would be by a guess: a value a reading, None where there is none.

    `bits` of the raw value, `real` where they are a floating-point number, `step` what one step of a whole raw number
    is worth: by these it is told how likely it is that noise would look as good. `blank`: the raw value is all zeros or
    all ones, which is what unused places hold. `why`: why there is no value, where it cannot be read so.
    `absent`: the device said that it has no such place (`bits` unknown); `optional`: models do leave it out.
    `codes` is how many raw values have a meaning, where that is a list.
    """

    values: tuple[Value, ...] = ()
    bits: int = 0
    real: bool = False
    step: float = 1.0
    blank: bool = False
    why: str = ""
    absent: bool = False
    optional: bool = False
    codes: int = 0


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """One way to read what was heard, by one profile.

    `changes` are keys of the profile that would have to be written otherwise, with their values, and `changed` the
    points whose `at` that is about (none: a key of the whole model). `known_by` are bits of evidence beside the values:
    a topic, a company. `address` is what to write as the device's address. `unexplained` is how much was heard that
    the profile does not name.
    """

    points: Mapping[str, GuessedPoint]
    changes: Mapping[str, str | int] = {}
    changed: tuple[str, ...] = ()
    kind: Literal["", "order", "shift", "space", "topic"] = ""
    known_by: float = 0.0
    address: Mapping[str, str | int] = {}
    unexplained: int = 0


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to look at, and for how long at most: a unit or all units of a bus, a topic (a filter), an advertiser."""

    unit: Unit | None = None
    units: tuple[Unit, Unit] | None = None
    topic: Annotated[str, Meta(max_length=1_000)] = ""
    mac: Annotated[str, Meta(max_length=17)] = ""
    seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] = 10.0


Tell = Callable[[str, Mapping[str, Any]], None]
"""Hears how far it has come: a word of progress, and what goes with it."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What answered, or spoke: `address` as a device's address is written, `evidence` as its protocol's `guesses`
    takes it (None where there is only that it is there), `notes` what is to be said of it, by key."""

    address: Mapping[str, str | int]
    evidence: Any = None
    rssi: int | None = None
    notes: Mapping[str, str | int | float] = {}


Guesses = Callable[[Profile, Any], Sequence[Guess]]
