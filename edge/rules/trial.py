"""Trial: a condition is tried with values of the types that its names have, before it is armed.

The library knows no types ahead of time, so they are found by trying: each name gets values on either side of every
number in the text, its bounds, every choice and every quality, in all combinations up to MAX_TRIALS (beyond, as many
drawn always alike). What cannot be computed is told with the nearest text that can. Where all combinations were tried
and the condition neither computes nor asks `has`, one that is never true, or always, is told too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise, product
from math import prod
from typing import Any, Final

import msgspec

from drivers.tables import suggest
from edge.rules.condition import AMBIENT, Condition
from edge.rules.language import Text, compiled
from edge.rules.rule import WindowOf
from wire.device import Point

MAX_TRIALS: Final = 4_096
MAX_REWRITES: Final = 64
QUALITIES: Final = ("good", "uncertain", "bad")
_WORLD: Final[Mapping[str, tuple[Any, ...]]] = {
    "night": (True, False),
    "weekday": (1, 2, 3, 4, 5, 6, 7),
}
_BOUNDS: Final = {"hour": (0.0, 24.0), "sun_elevation": (-90.0, 90.0)}
_WORLD_WORDS: Final = {
    "weekday": "goes from 1 (Monday) to 7 (Sunday)",
    "hour": "goes from 0 to 24",
    "sun_elevation": "goes from -90 to 90 degrees",
}
_NUMBER: Final = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])")
_ARITHMETIC: Final = re.compile(r"[*/%]|\bhas\b|\bdouble\b|\bint\b|\bsize\b|[\w)]\s*[-+]\s*[\w(]")
_TOO_MUCH: Final = (ZeroDivisionError, OverflowError)


class Kind(msgspec.Struct, frozen=True):
    """What a name may be: its type as CEL calls it, values to try, and in words which values there are."""

    type: str
    values: tuple[Any, ...]
    words: str = ""


def kinds(condition: Condition, points: Mapping[str, Point], windows: Iterable[WindowOf]) -> dict[str, Kind]:
    """What each name of a condition may be on devices with these points; `age_s.x` and `quality.x` by those names."""
    text = Text(condition.text)
    numbers = sorted({float(n) for n in _NUMBER.findall(text.bare)})
    numbers = sorted({*numbers, *(-n for n in numbers)}) if "-" in text.bare else numbers
    found: dict[str, Kind] = {}
    for name in condition.points:
        found[name] = _of_point(points[name], numbers, text.strings)
    for window in windows:
        if window.name in condition.windows:
            point = points[window.point]
            if window.operation == "count":
                found[window.name] = Kind("int", _whole(numbers, 0, None), "is at least 0")
            elif window.operation == "rate":
                found[window.name] = Kind("double", _between(numbers, None, None))
            else:
                low, high = (0.0, 1.0) if point.type == "bool" else (point.low, point.high)
                share = "goes from 0 to 1" if point.type == "bool" else _range(point)
                found[window.name] = Kind("double", _between(numbers, low, high), share)
    for name in condition.ambient:
        if name in _WORLD:
            found[name] = Kind("bool" if AMBIENT[name] == "bool" else "int", _WORLD[name], _WORLD_WORDS.get(name, ""))
        else:
            found[name] = Kind("double", _between(numbers, *_BOUNDS[name]), _WORLD_WORDS[name])
    if condition.silent:
        found["silent"] = Kind("bool", (True, False))
    for name in condition.ages_us:
        found[f"age_s.{name}"] = Kind("double", _between(numbers, 0.0, None), "is at least 0 s")
    for name in condition.qualities:
        found[f"quality.{name}"] = Kind("string", QUALITIES, f"is one of {', '.join(QUALITIES)}")
    if "/" in text.bare:  # by nothing: unknown when it happens, and no sign of a wrong type
        found = {
            n: Kind(k.type, tuple(v for v in k.values if v is False or v != 0) or k.values, k.words)
            for n, k in found.items()
        }
    return found


def problems(condition: Condition, named: Mapping[str, Kind]) -> list[str]:
    """What is wrong with a condition whose names are of these kinds."""
    text = Text(condition.text)
    tried = _try(condition.program.execute, named)
    if tried.wrong:
        near = _rewritten(text, named)
        said = f"; write for example: {near}" if near else f"; {_types(named)}"
        return [tried.wrong + said, *_strange_words(text, named)]
    found = _strange_words(text, named)
    if not found and tried.all and not _ARITHMETIC.search(text.bare) and tried.answers in ({True}, {False}):
        when = "always" if True in tried.answers else "never"
        said = (_over_midnight(text.text) if when == "never" else "") or _ranges(named)
        found.append(f"is {when} true, whatever the devices say; {said}")
    return found


class _Tried(msgspec.Struct):
    wrong: str
    answers: set[bool]
    all: bool


def _try(execute: Any, named: Mapping[str, Kind]) -> _Tried:
    answers: set[bool] = set()
    for values in combinations(named):
        try:
            answer = execute(values)
        except _TOO_MUCH:
            continue
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            return _Tried(_plain(error), answers, all=False)
        if not isinstance(answer, bool):
            return _Tried(f"gives {answer!r}, not true or false", answers, all=False)
        answers.add(answer)
    return _Tried("", answers, all=prod(len(k.values) for k in named.values()) <= MAX_TRIALS)


def _plain(error: Exception) -> str:
    told = str(error)
    if operation := re.match(r"Unsupported operation: (.*?)\. ", told):
        words = re.sub(r"\bfloat\b", "double", operation[1])
        return f"CEL cannot compute {words}: both must be of one type"
    if method := re.search(r"Undefined variable or function: '(\w+)'", told):
        return f"{method[1]}() does not take what it is given"
    return "compares or computes with values of types that do not go together"


def combinations(named: Mapping[str, Kind]) -> Iterator[dict[str, Any]]:
    """Values for all names, as a program takes them: in the order of `itertools.product` where there are no more than
    MAX_TRIALS."""
    lists: Sequence[tuple[Any, ...]] = [k.values for k in named.values()]
    if prod(map(len, lists)) <= MAX_TRIALS:
        rows: Iterable[tuple[Any, ...]] = product(*lists)
    else:
        drawn = random.Random(0)  # always the same: a file that was sound once stays so
        rows = (tuple(drawn.choice(values) for values in lists) for _ in range(MAX_TRIALS))
    for row in rows:
        values: dict[str, Any] = {}
        for name, value in zip(named, row, strict=True):
            root, dot, member = name.partition(".")
            if dot:
                values.setdefault(root, {})[member] = value
            else:
                values[root] = value
        yield values


def _rewritten(text: Text, named: Mapping[str, Kind]) -> str:
    """The nearest text that can be computed: a number written as the other type, a name made a double, or both."""
    numbers = list(_NUMBER.finditer(text.bare))
    whole = [n for n, k in named.items() if k.type == "int" and "." not in n]

    def numbered(matches: Sequence[re.Match[str]]) -> str:
        new, at = "", 0
        for m in matches:
            other = f"{m[0]}.0" if "." not in m[0] and "e" not in m[0].lower() else m[0].removesuffix(".0")
            new, at = new + text.text[at : m.start()] + other, m.end()
        return new + text.text[at:]

    def doubled(source: str, names: Iterable[str]) -> str:
        for name in names:
            source = re.sub(rf"(?<![\w.(]){name}\b(?!\s*\()", f"double({name})", source)
        return source

    integers = [m for m in numbers if "." not in m[0]]
    tries = [
        *(numbered([m]) for m in numbers),
        numbered(integers),
        *(doubled(text.text, [n]) for n in whole),
        doubled(text.text, whole),
        doubled(numbered(integers), whole),
    ]
    for candidate in islice(dict.fromkeys(tries), MAX_REWRITES):
        try:
            program = compiled(Text(candidate))
        except ValueError:
            continue
        if candidate != text.text and not _try(program.execute, named).wrong:
            return candidate
    return ""


def _types(named: Mapping[str, Kind]) -> str:
    return ", ".join(f"{name} is {_KINDS[kind.type]}" for name, kind in named.items()) or "it names nothing"


def _ranges(named: Mapping[str, Kind]) -> str:
    told = (f"{name} {kind.words or f'is {_KINDS[kind.type]}'}" for name, kind in named.items())
    return ", ".join(told) or "it names nothing"


_HOUR: Final = r"(?:hour\s*[<>]=?\s*\d+(?:\.\d+)?|\d+(?:\.\d+)?\s*[<>]=?\s*hour)"
_BETWEEN_HOURS: Final = re.compile(rf"(?<![\w.])({_HOUR})\s*&&\s*({_HOUR})(?![\w.])")


def _over_midnight(text: str) -> str:
    """What to write for "after ten and before five", which is no hour."""
    found = _BETWEEN_HOURS.search(text)
    if found is None:
        return ""
    either = f"{found[1]} || {found[2]}"
    return f"hour begins again at 0 at midnight: write {either if found[0] == text.strip() else f'({either})'}"


_KINDS: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "double": "a number with fractions",
    "string": "a text",
}


def _strange_words(text: Text, named: Mapping[str, Kind]) -> list[str]:
    """Quoted texts that none of the names can be."""
    texts = [k for k in named.values() if k.type == "string"]
    if not texts or any(_OTHER in k.values for k in texts):
        return []
    if re.search(r"\b(startsWith|endsWith|contains)\b", text.bare):
        return []
    known = {v for k in texts for v in k.values}
    return [f'nothing here can be "{s}"{suggest(s, known)}' for s in dict.fromkeys(text.strings) if s not in known]


_OTHER: Final = "\x00any other text"


def _of_point(point: Point, numbers: Sequence[float], strings: Sequence[str]) -> Kind:
    match point.type:
        case "bool":
            return Kind("bool", (True, False))
        case "text":
            words = f"is one of {', '.join(point.choices)}" if point.choices else ""
            return Kind("string", point.choices or (*dict.fromkeys(strings), _OTHER), words)
        case "int":
            return Kind("int", _whole(numbers, point.low, point.high), _range(point))
        case "float":
            return Kind("double", _between(numbers, point.low, point.high), _range(point))


def _range(point: Point) -> str:
    match point.low, point.high:
        case None, None:
            return ""
        case low, None:
            text = f"is at least {low:g}"
        case None, high:
            text = f"is at most {high:g}"
        case low, high:
            text = f"goes from {low:g} to {high:g}"
    return f"{text} {point.unit if point.unit != '1' else ''}".rstrip()


def _between(numbers: Sequence[float], low: float | None, high: float | None) -> tuple[float, ...]:
    """Values on, between and beyond these numbers, within the bounds."""
    edges = [low if low is not None else -1e9, *numbers, high if high is not None else 1e9]
    middle = [(a + b) / 2 for a, b in pairwise(numbers)]
    around = [n + d for n in numbers for d in (-0.5, 0.5)]
    found = {v for v in (*edges, *middle, *around) if (low is None or v >= low) and (high is None or v <= high)}
    return tuple(sorted(map(float, found)))


def _whole(numbers: Sequence[float], low: float | None, high: float | None) -> tuple[int, ...]:
    """The same with whole numbers."""
    around = [int(n) + d for n in numbers for d in (-1, 0, 1)]
    edges = [int(low) if low is not None else -(10**9), int(high) if high is not None else 10**9]
    found = {v for v in (*edges, *around) if (low is None or v >= low) and (high is None or v <= high)}
    return tuple(sorted(found))
