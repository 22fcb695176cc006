"""Condition: a text compiled once, and which names it asks for.

It decides in three values. A name that has no value now is unknown, and so is all that hangs on it: `unknown || true`
is true, `unknown && false` is false, anything else is unknown (None). That is CEL's own rule for what cannot be
computed. A condition that fails in other ways (a division by zero, a number too great) is unknown too, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec

from drivers.tables import suggest
from edge.rules.language import Text, examined
from wire.device import PointType
from wire.time import Micros, micros

AMBIENT: Final[Mapping[str, PointType]] = {"night": "bool", "hour": "float", "weekday": "int", "sun_elevation": "float"}
"""What every condition may ask of the world: whether it is night, the local hour (0 to 24, with fractions), the
weekday (1 Monday to 7 Sunday), the elevation of the sun in degrees."""

SILENT: Final = "silent"
QUALITY: Final = "quality"
AGE: Final = "age_s"
RESERVED: Final = frozenset({*AMBIENT, SILENT, QUALITY, AGE, "true", "false", "null", "in"})

_MEMBER: Final = re.compile(rf"(?<![\w.])({QUALITY}|{AGE})\s*\.\s*(\w+)")
_ROOT: Final = re.compile(rf"(?<![\w.])({QUALITY}|{AGE})\b")
_HAS_AGE: Final = re.compile(rf"\bhas\s*\(\s*{AGE}\s*\.\s*\w+\s*\)")
_NUMBER: Final = r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
_THRESHOLDS: Final = (
    re.compile(rf"(?:^|[(&|!?:])\s*{AGE}\s*\.\s*(\w+)\s*(?:<=|>=|<|>)\s*{_NUMBER}\s*(?=$|[)&|?:])"),
    re.compile(rf"(?:^|[(&|!?:])\s*(?=[\d])(?P<number>{_NUMBER})\s*(?:<=|>=|<|>)\s*{AGE}\s*\.\s*(\w+)\s*(?=$|[)&|?:])"),
)
# What a program raises where a name has no value, or a value cannot be computed.
_UNKNOWN: Final = (RuntimeError, KeyError, TypeError, ValueError, ArithmeticError)


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Made by `read`. `ages_us` holds, for each point whose age is asked, the ages at which the answer changes."""

    text: str
    program: Any
    points: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    ages_us: Mapping[str, tuple[Micros, ...]] = {}
    silent: bool = False

    def decide(self, known: Mapping[str, Any]) -> bool | None:
        """True, false, or None for unknown."""
        try:
            found = self.program.execute(known)
        except _UNKNOWN:
            return None
        return found if found is True or found is False else None

    def why_unknown(self, known: Mapping[str, Any]) -> str:
        """Why `decide` says None, in the library's words, for whoever asks what a rule waits for."""
        try:
            found = self.program.execute(known)
        except KeyError as error:
            return f"{error.args[0]} has no value"
        except _UNKNOWN as error:
            name = re.search(r"Undefined variable or function: '(\w+)'", str(error))
            return f"{name[1]} has no value" if name else str(error).partition(". ")[0]
        return "" if isinstance(found, bool) else f"gives {found!r}"


def read(
    source: str, *, points: Collection[str], windows: Collection[str], tell: Callable[[str], None]
) -> Condition | None:
    """A condition over these points and windows, or None, and then `tell` has heard everything that is wrong."""
    text = Text(source)
    program, told, plain = examined(text)
    if program is None or not plain:
        for each in told:
            tell(each)
        return None
    members = [(m[1], m[2]) for m in _MEMBER.finditer(text.bare)]
    if len(members) != len(_ROOT.findall(text.bare)):
        told.append(f"{QUALITY} and {AGE} are asked of one point each; write {QUALITY}.NAME or {AGE}.NAME")
    names = set(program.variables()) - {QUALITY, AGE}
    known = {*points, *windows, *AMBIENT, SILENT}
    told += [f'there is no "{n}"{suggest(n, known)}' for n in sorted(names - known)]
    told += [f'there is no point "{n}"{suggest(n, points)}' for _, n in sorted(set(members)) if n not in points]
    ages, wrong = _ages(text, [n for root, n in members if root == AGE])
    told += wrong
    for each in told:
        tell(each)
    if told:
        return None
    return Condition(
        text=source,
        program=program,
        points=tuple(sorted(names & set(points))),
        windows=tuple(sorted(names & set(windows))),
        ambient=tuple(sorted(names & AMBIENT.keys())),
        qualities=tuple(sorted({n for root, n in members if root == QUALITY})),
        ages_us=ages,
        silent=SILENT in names,
    )


def _ages(text: Text, asked: list[str]) -> tuple[dict[str, tuple[Micros, ...]], list[str]]:
    """At which ages what is asked of them changes: an age must stand alone before a number, so that this is known."""
    bare = _HAS_AGE.sub(lambda m: "true".ljust(len(m[0])), text.bare)
    found: dict[str, set[Micros]] = {name: set() for name in asked}
    compared = 0
    for pattern in _THRESHOLDS:
        for match in pattern.finditer(bare):
            groups = [g for g in match.groups() if g is not None]
            number = next(g for g in groups if g[0].isdigit())
            name = next(g for g in groups if not g[0].isdigit())
            at_us = micros(float(number))
            found.setdefault(name, set()).update((at_us, at_us + Micros(1)))
            compared += 1
    wrong: list[str] = []
    if compared != len(re.findall(rf"(?<![\w.]){AGE}\s*\.", bare)):
        wrong.append(f"an age is compared with a number, and nothing else; write for example {AGE}.{asked[0]} > 600.0")
    return {name: tuple(sorted(ages)) for name, ages in found.items()}, wrong
