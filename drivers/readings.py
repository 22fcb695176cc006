"""From what a protocol decoded to what a point may hold, and from what someone wants to what it may be set to.

Nothing here raises on a device's account: what has the wrong type is null with a bad quality. Ranges and resolutions
of readings are the node's business; those of writes are checked here, before anything reaches the line.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from typing import Final

from drivers.coded import Choice
from drivers.errors import Misconfigured, Refused
from drivers.scaling import IDENTITY, Scaling
from wire.device import Point
from wire.sample import Clock, Sample, Value, bad, uncertain, why_unstorable
from wire.time import Utc

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
    invalid: Sequence[float | str] = (),
    invalid_bits: Sequence[int] = (),
    choices: Mapping[str, Choice] | None = None,
    scaling: Scaling = IDENTITY,
) -> Finish:
    """From what stands in a device to a point's value: missing values of the whole, bit field, missing values of the
    field, choices, scaling, type; in that order, compiled once."""
    finish = finisher(point)
    missing, missing_bits = absent(invalid), frozenset(invalid_bits)
    scale = scaling.compiled()
    if not (missing or field or choices is not None or scale):
        return finish
    low, mask = (field[0], (1 << (field[1] - field[0] + 1)) - 1) if field is not None else (0, -1)
    meant_by = None if choices is None else {code: _choice(point, told) for code, told in choices.items()}

    def meant(raw: Value) -> tuple[Value, str | None]:
        if missing and isinstance(raw, int | float | str) and raw in missing:
            return None, _NO_VALUE
        if raw is None:
            return None, None
        if field is not None:
            if isinstance(raw, float) and raw.is_integer():
                raw = int(raw)
            if not isinstance(raw, int):
                return None, bad(f"{_short(raw)} is no whole number, which has bits")
            raw = (raw >> low) & mask
            if raw in missing_bits:
                return None, _NO_VALUE
        if meant_by is not None:
            found = meant_by.get(_code(raw))
            if found is None and isinstance(raw, bool):  # a coil, where a data sheet has 0 and 1
                found = meant_by.get(str(int(raw)))
            return found if found is not None else (None, bad(f"code {_short(raw)} has no known meaning"))
        if scale is not None and isinstance(raw, int | float) and not isinstance(raw, bool):
            raw = scale(raw)
        return finish(raw)

    return meant


def absent(invalid: Sequence[float | str]) -> frozenset[float | str]:
    """Numbers by which a device says that it has no value, also as a float of 32 bits holds them: 327.67 is
    327.670013… there, and in what is made of it."""
    found: set[float | str] = set(invalid)
    for number in invalid:
        if isinstance(number, float):
            with suppress(OverflowError):
                found.add(_F32.unpack(_F32.pack(number))[0])
    return frozenset(found)


def chosen(point: Point, told: Choice) -> Value:
    """What a choice of a profile says, as the point has it: true, "true", "on" or 1 for a point that is true or false.

    Raises:
        ValueError: it does not fit the point's type; with what to write.
    """
    match point.type:
        case "text":
            if isinstance(told, str):
                return told
        case "bool":
            value = _truth(told)
            if value is not None:
                return value
        case _:
            if isinstance(told, str):
                with suppress(ValueError):
                    told = float(told) if point.type == "float" or not told.lstrip("+-").isdecimal() else int(told)
            value, wrong = finisher(point)(told)
            if wrong is None and not isinstance(told, bool):
                return value
    shown = f'"{told}"' if isinstance(told, str) else str(told).lower()
    raise ValueError(f"{shown} does not fit a point of type {point.type}; write {_CHOICES[point.type]}")


def code_of(point: Point, choices: Mapping[str, Choice], value: Value) -> str:
    """The first code that stands for a value.

    Raises:
        Refused: there is none.
    """
    for code, told in choices.items():
        with suppress(ValueError):
            meant = chosen(point, told)
            if meant == value and isinstance(meant, bool) == isinstance(value, bool):
                return code
    raise Refused(f"{point.name} cannot be set to {value!r}: its profile has no code for that")


def _choice(point: Point, told: Choice) -> tuple[Value, str | None]:
    try:
        return chosen(point, told), None
    except ValueError as error:  # `check` refuses such a profile
        return None, bad(str(error))


def _truth(raw: Value) -> bool | None:
    """Whether it says true or false, None where neither."""
    if isinstance(raw, str):
        return _TRUTH.get(raw.strip().lower())
    return bool(raw) if isinstance(raw, int | float) and raw in (0, 1) else None


def _code(raw: Value) -> str:
    """How a file writes a code: JSON knows 3.0 and true where a file says 3 and true."""
    if isinstance(raw, bool):
        return str(raw).lower()
    return str(int(raw)) if isinstance(raw, float) and raw.is_integer() else str(raw)


def failed(device: str, points: Sequence[Point], stamp: tuple[Utc, Clock], reason: str) -> Sample:
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


_NO_VALUE: Final = bad("the device says that it has no value")
_F32: Final = struct.Struct("<f")
_TRUTH: Final = {
    **dict.fromkeys(("true", "on", "1"), True),
    **dict.fromkeys(("false", "off", "0"), False),
}
_CHOICES: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "a text in quotes",
}
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
    found = _truth(value)
    return (found, None) if found is not None else (None, bad(f"{_short(value)} is neither true nor false"))


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
