"""Places: where in a JSON payload the values of a profile's points stand. Pure.

For whoever looks at the bytes: a payload that is cut, or no JSON, has the places of what comes before that. Bounds:
MAX_DEPTH levels, MAX_PLACES values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from drivers.frames import Field, Frame, Noted
from drivers.mqtt.payload import steps_of
from drivers.mqtt.settings import Access, Whole
from drivers.profile import Profile
from wire.time import Utc

MAX_DEPTH: Final = 16
MAX_PLACES: Final = 512
_BLANK: Final = re.compile(rb"[ \t\r\n]*")
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PLAIN: Final = re.compile(rb"[^,\[\]{}\" \t\r\n]+")
Path = tuple[str | int, ...]


class _EndError(Exception):
    """There is nothing more that can be read."""


def named(noted: Sequence[Noted], profile: Profile) -> list[Frame]:
    """Frames as they were kept, by UTC microseconds, with the values of points named by point and key."""
    whole: Whole = profile.whole
    keys: dict[Path, list[str]] = {}
    for name in profile.points:
        access: Access = profile.access[name]
        if (steps := steps_of(access.value)) is not None:
            keys.setdefault(tuple(steps), []).append(name)
    found: list[Frame] = []
    for each in noted:
        there: dict[Path, tuple[int, int]] = {}
        if each.direction == "in":
            there = {(): (0, len(each.data))} if whole.payload == "text" else places(each.data)
        fields = [
            Field(*there[path], f"{'.'.join(map(str, path)) or '@'} {', '.join(names)}")
            for path, names in keys.items()
            if path in there
        ]
        found.append(
            Frame(Utc(round(each.when)), each.direction, each.data, tuple(sorted(fields, key=_first)), each.about)
        )
    return found


def _first(field: Field) -> int:
    return field.first


def places(payload: bytes) -> dict[Path, tuple[int, int]]:
    """The first byte and the length of each value, by the keys and indexes that lead to it."""
    found: dict[Path, tuple[int, int]] = {}
    with suppress(_EndError):
        _value(payload, 0, (), found)
    return found


def _value(data: bytes, at: int, path: Path, found: dict[Path, tuple[int, int]]) -> int:
    """Take the value that begins here; where it ends."""
    at = _blank(data, at)
    head = data[at : at + 1]
    if head in (b"{", b"["):
        end = _inside(data, at, path, found)
    else:
        match = (_TEXT if head == b'"' else _PLAIN).match(data, at)
        if match is None:
            raise _EndError
        end = match.end()
    if len(found) >= MAX_PLACES:
        raise _EndError
    found[path] = (at, end - at)
    return end


def _inside(data: bytes, at: int, path: Path, found: dict[Path, tuple[int, int]]) -> int:
    if len(path) >= MAX_DEPTH:
        raise _EndError
    table, close = data[at : at + 1] == b"{", b"}" if data[at : at + 1] == b"{" else b"]"
    at = _blank(data, at + 1)
    index = 0
    while data[at : at + 1] != close:
        key: str | int = index
        if table:
            match = _TEXT.match(data, at)
            if match is None:
                raise _EndError
            key = _key(match[0])
            at = _blank(data, match.end())
            if data[at : at + 1] != b":":
                raise _EndError
            at += 1
        at = _blank(data, _value(data, at, (*path, key), found))
        index += 1
        if data[at : at + 1] == b",":
            at = _blank(data, at + 1)
        elif data[at : at + 1] != close:
            raise _EndError
    return at + 1


def _key(text: bytes) -> str:
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise _EndError from error


def _blank(data: bytes, at: int) -> int:
    match = _BLANK.match(data, at)
    return at if match is None else match.end()
