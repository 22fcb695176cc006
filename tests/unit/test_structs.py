"""Structs that the collector does not see (msgspec's gc=False) can be part of no cycle: nothing would ever free one.

Read from the types: what a struct's fields hold, what an own class is constructed from or declares, and, where a field
is a Sequence or a Mapping, every class of ours that is one.
"""

from __future__ import annotations

import asyncio
import collections.abc
import importlib
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

import cloud
import drivers
import edge
import wire

PLAIN = (int, float, str, bytes, bool, type(None), range, msgspec.UnsetType)

# Fields whose types do not say what they hold, and why none of it can lead back.
KNOWN = {
    "wire.columns.Cell.vector": "a list of numbers, texts and bytes, packed or as the codec has opened it",
    "wire.table.Table.order": "the same",
    "wire.table.Table.ticks": "the same",
    "wire.table.Table._ready": "the same, by point",
    "wire.table.Table.points": "texts",
    "wire.table.Table.dense": "a bool",
    "wire.table.Table.plain": "a bool",
    "wire.vector.Runs.starts": "numbers",
    "wire.vector.Runs.n": "a number",
    "wire.vector.Runs._inner": "numbers",
    "cloud.feed.events.CloudEvent.data": "made and encoded in one breath; what it is made of knows of no event",
    "drivers.mqtt.payload.PayloadReading.packet": "what msgspec.json has decoded",
}


def modules() -> Iterator[types.ModuleType]:
    for package in (wire, drivers, edge, cloud):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


OURS = [
    kind
    for module in modules()
    for kind in vars(module).values()
    if inspect.isclass(kind) and kind.__module__ == module.__name__
]
UNSEEN = [
    kind
    for kind in OURS
    if issubclass(kind, msgspec.Struct) and kind.__struct_config__.gc is False
]  # fmt: skip


def name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def held(kind: type) -> Iterator[tuple[str, Any]]:
    """What an instance holds, by name and type."""
    scope = vars(sys.modules[kind.__module__])
    hints = {} if kind in PLAIN else get_type_hints(kind, scope)
    if not issubclass(kind, msgspec.Struct):
        hints |= get_type_hints(kind.__init__, scope)
        said = {hint.lstrip("_") for hint in hints} | {
            k.rpartition(".")[2].lstrip("_") for k in KNOWN if name(kind) in k
        }
        stray = [s for base in kind.__mro__ for s in getattr(base, "__slots__", ()) if s.lstrip("_") not in said]
        assert not stray, f"{name(kind)} holds {stray}: declare in the class what they are"
    for field, hint in hints.items():
        if field != "return" and f"{name(kind)}.{field}" not in KNOWN:
            yield field, hint


def implementations(origin: type, of: Any) -> Iterator[type]:
    """Our classes that are a Sequence[X] or a Mapping[X, Y]."""
    for kind in OURS:
        for base in getattr(kind, "__orig_bases__", ()):
            if get_origin(base) is origin and get_args(base)[-1] == of:
                yield kind


def classes(hint: Any, where: str) -> Iterator[type]:
    """The classes that a type speaks of.

    Raises:
        AssertionError: the type does not say.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        raise AssertionError(f"{where} is {hint}: nobody can tell that it never leads back")
    if origin in (Union, types.UnionType, typing.Annotated, typing.Final):
        for each in arguments[:1] if origin is typing.Annotated else arguments:
            yield from classes(each, where)
    elif origin is typing.Literal:
        return
    elif origin is None:
        yield hint
    elif issubclass(origin, asyncio.Future):
        yield origin
    else:
        assert issubclass(origin, (collections.abc.Collection, tuple)), f"{where} is {hint}"
        for each in arguments:
            if each is not ...:
                yield from classes(each, where)
        yield from implementations(origin, arguments[-1])


def reached(start: type) -> Iterator[tuple[type, str]]:
    """Every class that an instance can lead to, and by which way."""
    seen: set[type] = set()
    waiting = [(start, name(start))]
    while waiting:
        kind, way = waiting.pop()
        for field, hint in held(kind):
            for found in classes(hint, f"{way}.{field}"):
                yield found, f"{way}.{field}"
                if found not in seen and not issubclass(found, (*PLAIN, Enum)):
                    seen.add(found)
                    assert found in OURS, f"{way}.{field} is a {found}, of which nothing is known"
                    waiting.append((found, f"{way}.{field} → {name(found)}"))


def test_they_are_found() -> None:
    assert len(UNSEEN) > 10


@pytest.mark.parametrize("kind", UNSEEN, ids=name)
def test_none_can_be_part_of_a_cycle(kind: type) -> None:
    for found, way in reached(kind):
        assert not issubclass(kind, found), f"{way} leads back"
