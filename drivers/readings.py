"""From what a protocol decoded to what a point may hold, and from what someone wants to what it may be set to.

Nothing here raises on a device's account: what has the wrong type is null with a bad quality. Ranges and resolutions
of readings are the node's business; those of writes are checked here, before anything reaches the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Final

from drivers.errors import Misconfigured, Refused
from drivers.scaling import IDENTITY, Scaling
from wire.device import Point
from wire.sample import Clock, Sample, Value, bad, uncertain, why_unstorable

Finish = Callable[[Value], tuple[Value, str | None]]
"""A decoded value in, the point's value and its quality (None where good) out."""


def finisher(point: Point) -> Finish:
    """The last step of decoding for one point, compiled once."""
    match point.type:
        case "float":
            return _float
        case "int":
            return _int
        case "bool":
            return _bool
        case "text":
            return _text(frozenset(point.choices))


def meaning(
    point: Point,
    *,
    field: tuple[int, int] | None = None,
    invalid: Sequence[int] = (),
    choices: Mapping[str, str] | None = None,
    scaling: Scaling = IDENTITY,
) -> Finish:
    """From what stands in a device to a point's value: bit field, missing values, choices, scaling, type; in that
    order, compiled once."""
    finish = finisher(point)
    missing = frozenset(invalid)
    scale = scaling.compiled()
    if not (missing or field or choices or scale):
        return finish
    low, mask = (field[0], (1 << (field[1] - field[0] + 1)) - 1) if field is not None else (0, -1)

    def meant(raw: Value) -> tuple[Value, str | None]:
        if field is not None and isinstance(raw, int):
            raw = (raw >> low) & mask
        if missing and raw in missing:
            return None, bad("the device says that it has no value")
        if choices is not None:
            if raw is None:
                return None, None
            text = choices.get(_code(raw))
            return (text, None) if text is not None else (None, bad(f"code {_short(raw)} has no known meaning"))
        if scale is not None and isinstance(raw, int | float) and not isinstance(raw, bool):
            raw = scale(raw)
        return finish(raw)

    return meant


def _code(raw: Value) -> str:
    """How a file writes a code: JSON knows 3.0 and true where a file says 3 and true."""
    if isinstance(raw, bool):
        return str(raw).lower()
    return str(int(raw)) if isinstance(raw, float) and raw.is_integer() else str(raw)


def failed(device: str, points: Sequence[Point], stamp: tuple[int, Clock], reason: str) -> Sample:
    """A sample that says of each point why there is no value."""
    quality = bad(reason)
    return Sample(device, *stamp, {p.name: None for p in points}, {p.name: quality for p in points})


def tainted(values: Mapping[str, Value], quality: Mapping[str, str], reason: str) -> dict[str, str]:
    """The qualities with every good point made uncertain."""
    doubt = uncertain(reason)
    return {name: quality.get(name, doubt) for name in values}


def allowed(point: Point, value: Value) -> Value:
    """A value as the point wants it, fit to be written.

    Raises:
        Misconfigured: the point is not writable.
        Refused: the value has the wrong type or is out of range, in words.
    """
    if not point.writable:
        raise Misconfigured(f"{point.name} is not writable")
    match point.type:
        case "bool":
            right = isinstance(value, bool)
        case "text":
            right = isinstance(value, str)
            if right and point.choices and value not in point.choices:
                raise Refused(f"{point.name} takes {', '.join(point.choices)}, not {value!r}")
        case _:
            return _number(point, value)
    if not right:
        raise Refused(f"{point.name} takes {_A[point.type]}, not {value!r}")
    return value


def _number(point: Point, value: Value) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        if (point.low is not None and value < point.low) or (point.high is not None and value > point.high):
            raise Refused(f"{point.name} takes {point.low:g} to {point.high:g} {point.unit}, not {value!r}")
        if point.type == "float":
            return float(value)
        if value == int(value):
            return int(value)
    raise Refused(f"{point.name} takes {_A[point.type]}, not {value!r}")


_A: Final = {"float": "a number", "int": "a whole number", "bool": "true or false", "text": "a text"}


def _float(value: Value) -> tuple[Value, str | None]:
    if type(value) is not float:
        if value is None:
            return None, None
        if type(value) is not int:
            return None, bad(f"{_short(value)} is not a number")
        try:
            value = float(value)
        except OverflowError:
            return None, bad("a number beyond all bounds")
    return (value, None) if isfinite(value) else (None, bad("not a finite number"))


def _int(value: Value) -> tuple[Value, str | None]:
    if type(value) is not int:
        if value is None:
            return None, None
        if type(value) is not float or not value.is_integer():
            return None, bad(f"{_short(value)} is not a whole number")
        value = int(value)
    why = why_unstorable(value)
    return (value, None) if why is None else (None, bad(why))


def _bool(value: Value) -> tuple[Value, str | None]:
    if value is None or isinstance(value, bool):
        return value, None
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value), None
    return None, bad(f"{_short(value)} is neither true nor false")


def _text(choices: frozenset[str]) -> Finish:
    def finish(value: Value) -> tuple[Value, str | None]:
        if value is None:
            return None, None
        if not isinstance(value, str):
            return None, bad(f"{_short(value)} is not a text")
        if (why := why_unstorable(value)) is not None:
            return None, bad(why)
        if choices and value not in choices:
            return None, bad(f"{_short(value)} is none of the known choices")
        return value, None

    return finish


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
    return text if len(text) <= 40 else text[:37] + "..."
