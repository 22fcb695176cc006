"""Tables from TOML files, checked against msgspec structs: everything wrong is reported at once, with what to write.

`parse` never stops at the first mistake: unknown keys (with the nearest known one), missing keys, wrong types and
values, at any depth, each as a Problem that names file and key. A struct's own `__post_init__` may raise ValueError
for what types cannot tell. A file is read up to MAX_FILE_BYTES and within the bounds of `groundwork.toml_text`; of the
unknown keys of one table MAX_UNKNOWN are told, and how many more there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import inspect

from drivers.table_problems import as_number, as_table, in_words, length, listed, told, unfit, unlike
from groundwork.nearest import near
from groundwork.toml_text import BadToml, tables_of

MAX_FILE_BYTES: Final = 1 << 20
MAX_UNKNOWN: Final = 20
MAX_KINDS: Final = 128  # of table, whose types are kept: the structs of all drivers, files and a few plug-ins

T = TypeVar("T", bound=msgspec.Struct)


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong in a file, for the person who wrote it. `key` is dotted; "" is the whole file.

    A `mild` one keeps nothing from working: the city marks it, and a node that has run with it goes on after an update.
    """

    file: str
    key: str
    text: str
    mild: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


class Key(msgspec.Struct, frozen=True):
    """One key that a table may have: for documentation and its tests."""

    name: str
    words: str
    required: bool
    default: Any
    description: str


def read(path: Path, problems: list[Problem]) -> dict[str, Any] | None:
    """The tables of one TOML file, or None when it cannot be read at all; the problem says on which line."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        return tables_of(data, limit_bytes=MAX_FILE_BYTES)
    except OSError as error:
        problems.append(Problem(str(path), "", f"cannot be read: {error.strerror}"))
    except BadToml as error:
        problems.append(Problem(str(path), "", str(error)))
    return None


# Four fifths of what reading a profile takes, and each of its points asks for the same two structs.
@lru_cache(MAX_KINDS)
def _types_of(kind: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(kind)


def parse(kind: type[T], table: object, *, file: str, key: str, problems: list[Problem]) -> T | None:
    """An instance of `kind` made from `table`; None when anything in it was wrong, and then `problems` grew.

    `key` is where the table stands in the file ("" for the whole file).
    """
    reader = _Reader(file, problems)
    value = reader.read(_types_of(kind), table, key)
    return None if value is WRONG else cast("T", value)


def describe(kind: type[msgspec.Struct]) -> list[Key]:
    """The keys of a table, with words for their types and the descriptions given by `msgspec.Meta`."""
    info = _types_of(kind)
    assert isinstance(info, inspect.StructType)
    keys: list[Key] = []
    for field in info.fields:
        default = None if field.default is msgspec.NODEFAULT else field.default
        keys.append(Key(field.encode_name, in_words(field.type), field.required, default, _description(field.type)))
    return keys


def why_unreadable(kind: type[msgspec.Struct]) -> str | None:
    """Which key of a struct has a type that `parse` cannot read from a table; None where all can be.

    Raises:
        Exception: its annotations are none that msgspec understands.
    """
    return _unreadable(_types_of(kind), "", set())


def _unreadable(kind: inspect.Type, key: str, seen: set[type]) -> str | None:
    inner: list[tuple[inspect.Type, str]] = []
    match kind:
        case inspect.Metadata():
            inner = [(kind.type, key)]
        case inspect.StructType():
            if kind.cls not in seen:
                seen.add(kind.cls)
                inner = [(f.type, _dotted(key, f.encode_name)) for f in kind.fields]
        case inspect.UnionType():
            inner = [(t, key) for t in kind.types]
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            inner = [(kind.item_type, key)]
        case inspect.TupleType():
            inner = [(t, key) for t in kind.item_types]
        case inspect.DictType():
            inner = [(kind.key_type, key), (kind.value_type, key)]
        case (
            inspect.AnyType()
            | inspect.LiteralType()
            | inspect.EnumType()
            | inspect.BoolType()
            | inspect.IntType()
            | inspect.FloatType()
            | inspect.StrType()
            | inspect.NoneType()
        ):
            pass
        case _:
            return f"{key} as {type(kind).__name__.removesuffix('Type')}, which no table can hold"
    return next((why for t, k in inner if (why := _unreadable(t, k, seen)) is not None), None)


def _description(kind: inspect.Type) -> str:
    extra = cast("dict[str, Any] | None", getattr(kind, "extra_json_schema", None))
    return str(extra.get("description", "")) if extra else ""


def suggest(word: str, known: Iterable[str]) -> str:
    """' (did you mean "x"?)', or the known words where none is near; nothing where nothing is known."""
    known = sorted(known)
    if not known:
        return ""
    meant = near(word, known)
    return f' (did you mean "{meant}"?)' if meant else f"; there are: {', '.join(known)}"


class _Wrong:
    """The type of WRONG: what stands where no value could be made."""


WRONG: Final = _Wrong()


class _Reader:
    """One walk through one table."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems

    def read(self, kind: inspect.Type, value: Any, key: str) -> Any:
        match kind:
            case inspect.Metadata():
                if isinstance(kind.type, inspect.StrType) and (why := unlike(kind.type, value, kind)) is not None:
                    return self._wrong(key, why)
                return self.read(kind.type, value, key)
            case inspect.StructType():
                return self._struct(kind, value, key)
            case inspect.UnionType():
                return self._union(kind, value, key)
            case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
                return self._many(kind, value, key)
            case inspect.TupleType():
                return self._tuple(kind, value, key)
            case inspect.DictType():
                return self._dict(kind, value, key)
            case _:
                return self._leaf(kind, value, key)

    def _wrong(self, key: str, text: str) -> _Wrong:
        self._problems.append(Problem(self._file, key, text))
        return WRONG

    def _struct(self, kind: inspect.StructType, value: Any, key: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(key, f"must be a table, not {told(value)}{as_table(kind, value, key)}")
        table = cast("Mapping[str, object]", value)
        known = {f.encode_name: f for f in kind.fields}
        if kind.tag_field is not None:
            known.pop(kind.tag_field, None)
        unknown = [name for name in table if name not in known and name != kind.tag_field]
        right = not unknown
        for name in unknown[:MAX_UNKNOWN]:
            self._wrong(_dotted(key, name), f"no such key{suggest(name, known)}")
        if len(unknown) > MAX_UNKNOWN:
            self._wrong(key, f"and {len(unknown) - MAX_UNKNOWN} more keys that are not known")
        made: dict[str, Any] = {}
        for name, field in known.items():
            if name in table:
                made[field.name] = self.read(field.type, table[name], _dotted(key, name))
                right = right and made[field.name] is not WRONG
            elif field.required:
                self._wrong(_dotted(key, name), f"is missing; write {in_words(field.type)}")
                right = False
        if not right:
            return WRONG
        try:
            return kind.cls(**made)
        except (ValueError, TypeError) as error:
            return self._wrong(key, str(error))
        except Exception as error:  # noqa: BLE001 -- a struct of an installed package, whose bug is told like a mistake
            return self._wrong(key, f"cannot be judged ({type(error).__name__}: {error})")

    def _union(self, kind: inspect.UnionType, value: Any, key: str) -> Any:
        structs = [t for t in kind.types if isinstance(t, inspect.StructType)]
        if isinstance(value, Mapping) and structs:
            table = cast("Mapping[str, object]", value)
            if len(structs) == 1:
                return self._struct(structs[0], table, key)
            field = structs[0].tag_field or "type"
            tags = {str(t.tag): t for t in structs}
            tag = table.get(field)
            if tag is None:
                return self._wrong(_dotted(key, field), f"is missing; write one of {listed(tags)}")
            if str(tag) not in tags:
                return self._wrong(_dotted(key, field), f"is {told(tag)}{suggest(str(tag), tags)}")
            return self._struct(tags[str(tag)], table, key)
        for each in kind.types:
            quiet = _Reader(self._file, [])
            made = quiet.read(each, value, key)
            if made is not WRONG:
                return made
        candidates = [t for t in kind.types if not isinstance(t, inspect.NoneType)]
        if len(candidates) == 1:
            return self.read(candidates[0], value, key)
        return self._wrong(key, f"must be {in_words(kind)}, not {told(value)}")

    def _many(self, kind: Any, value: Any, key: str) -> Any:
        if not isinstance(value, list):
            return self._wrong(key, f"must be {in_words(kind)}, not {told(value)}")
        items = [self.read(kind.item_type, v, f"{key}[{i}]") for i, v in enumerate(cast("list[object]", value))]
        if any(item is WRONG for item in items):
            return WRONG
        if (why := length(kind, len(items))) is not None:
            return self._wrong(key, why)
        match kind:
            case inspect.VarTupleType():
                return tuple(items)
            case inspect.SetType():
                return set(items)
            case inspect.FrozenSetType():
                return frozenset(items)
            case _:
                return items

    def _tuple(self, kind: inspect.TupleType, value: Any, key: str) -> Any:
        if not isinstance(value, list) or len(cast("list[object]", value)) != len(kind.item_types):
            return self._wrong(key, f"must be {in_words(kind)}, not {told(value)}")
        pairs = zip(kind.item_types, cast("list[object]", value), strict=True)
        items = [self.read(t, v, f"{key}[{i}]") for i, (t, v) in enumerate(pairs)]
        return WRONG if any(item is WRONG for item in items) else tuple(items)

    def _dict(self, kind: inspect.DictType, value: Any, key: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(key, f"must be a table, not {told(value)}")
        table = cast("Mapping[str, object]", value)
        made = {name: self.read(kind.value_type, v, _dotted(key, name)) for name, v in table.items()}
        named = [self.read(kind.key_type, name, _dotted(key, name)) for name in table]
        return WRONG if any(v is WRONG for v in (*made.values(), *named)) else made

    def _leaf(self, kind: inspect.Type, value: Any, key: str) -> Any:
        if isinstance(kind, inspect.AnyType):
            return value
        if isinstance(kind, inspect.LiteralType):
            if isinstance(value, str | int) and not isinstance(value, bool) and value in kind.values:
                return value
            near = suggest(value, map(str, kind.values)) if isinstance(value, str) else f"; write {in_words(kind)}"
            return self._wrong(key, f"is {told(value)}{near}")
        if isinstance(kind, inspect.EnumType):
            names = {str(e.value): e for e in kind.cls}
            if isinstance(value, str | int) and str(value) in names:
                return names[str(value)]
            return self._wrong(key, f"is {told(value)}; write one of {listed(names)}")
        if (why := unfit(kind, value)) is not None:
            return self._wrong(key, why + as_number(kind, value, key))
        return float(cast("float", value)) if isinstance(kind, inspect.FloatType) else value


def _dotted(key: str, name: str) -> str:
    name = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
    return f"{key}.{name}" if key else name
