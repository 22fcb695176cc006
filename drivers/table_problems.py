"""Words for tables: what a value of a type must be, what is wrong with one, and what to write instead.

`drivers/tables.py` reads with it. The nearest thing to write is guessed from what was written: a text without its
accents and blanks, seconds for "1h", keys for a table that lacks them; where nothing can be guessed, nothing is said.
No state and no bounds of its own: texts are shown up to 60 letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from msgspec import inspect


def unfit(kind: inspect.Type, value: object) -> str | None:
    """What is wrong with a single value, None where it fits."""
    wrong = f"must be {in_words(kind)}, not {told(value)}"
    match kind:
        case inspect.BoolType():
            return None if isinstance(value, bool) else wrong
        case inspect.IntType() | inspect.FloatType():
            if isinstance(value, bool) or not isinstance(value, int | float):
                return wrong
            if isinstance(kind, inspect.IntType) and isinstance(value, float):
                return wrong
            below = (kind.ge is not None and value < kind.ge) or (kind.gt is not None and value <= kind.gt)
            above = (kind.le is not None and value > kind.le) or (kind.lt is not None and value >= kind.lt)
            nan = value != value  # noqa: PLR0124 -- only NaN differs from itself
            return wrong if below or above or nan else None
        case inspect.StrType():
            if not isinstance(value, str):
                return wrong
            return unlike(kind, value) or length(kind, len(value))
        case inspect.NoneType():
            return None if value is None else wrong
        case _:
            raise TypeError(f"a table cannot hold {kind!r}")


def length(kind: Any, n: int) -> str | None:
    """What is wrong with a number of letters or items, None where it is allowed."""
    if kind.min_length is not None and n < kind.min_length:
        return "must not be empty" if kind.min_length == 1 else f"must have at least {kind.min_length}, not {n}"
    if kind.max_length is not None and n > kind.max_length:
        return f"must have at most {kind.max_length}, not {n}"
    return None


def unlike(kind: inspect.StrType, value: object, about: inspect.Metadata | None = None) -> str | None:
    """What is wrong with a text that a pattern does not fit, and the nearest that it does. `Meta(title=…)` says in
    words what it may be made of, `Meta(examples=[…])` what to write where nothing is near."""
    if not isinstance(value, str) or kind.pattern is None or re.search(kind.pattern, value) is not None:
        return None
    extra = cast("dict[str, Any]", getattr(about, "extra_json_schema", None) or {})
    examples = cast("Sequence[str]", extra.get("examples", ()))
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    tries = [
        *(re.sub(r"[^A-Za-z0-9]+", mark, text).strip(mark)[:64] for text in (plain, plain.lower()) for mark in "-_"),
        *examples,
    ]
    near = next((f'write "{t}"' for t in tries if t and re.search(kind.pattern, t) is not None), "")
    if title := extra.get("title"):
        return f"is {told(value)}; {title}: {near}" if near else f"is {told(value)}; {title}"
    return f"is {told(value)}, which does not look like {kind.pattern}" + (f"; {near}" if near else "")


_NUMBER: Final = re.compile(r"\s*([-+]?\d+(?:[.,]\d+)?)\s*(%|[A-Za-z]*)\s*")
_SECONDS: Final = {"s": 1, "sec": 1, "m": 60, "mn": 60, "min": 60, "h": 3600, "d": 86_400, "j": 86_400}


def as_number(kind: inspect.Type, value: object, key: str) -> str:
    """'; write 3600', where someone has written "1h" or "60%" for a number; by the key it is known whether seconds are
    meant."""
    if not isinstance(kind, inspect.IntType | inspect.FloatType) or not isinstance(value, str):
        return ""
    found = _NUMBER.fullmatch(value)
    if found is None:
        return ""
    number, unit = float(found[1].replace(",", ".")), found[2].lower()
    each = 1 if key.endswith("_s") else 60 if key.endswith("_min") else None
    if each is not None and unit:
        if unit not in _SECONDS:
            return ""
        number *= _SECONDS[unit] / each
    whole = int(number) if number == int(number) else number
    return "" if unfit(kind, whole) is not None else f"; write {whole}"


def as_table(kind: inspect.StructType, value: object, key: str) -> str:
    """'; write text = { en = "…", fr = "Lampe" }', where someone has left out the keys."""
    name = key.rpartition(".")[2]
    fields = [f for f in kind.fields if f.required] or list(kind.fields)
    if not name or not fields:
        return ""
    plain = [_plain(f.type) for f in fields]
    texts = all(isinstance(t, inspect.StrType) for t in plain)
    given = told(value) if isinstance(value, str) else "…"
    if texts:
        parts = [f'{f.encode_name} = "…"' for f in fields[:-1]] + [f"{fields[-1].encode_name} = {given}"]
    elif fields[0].required:
        parts = [f"{f.encode_name} = …" for f in fields]
    else:
        parts = [f"{fields[0].encode_name} = {given}"]
    return f"; write {'' if name.endswith(']') else f'{name} = '}{{ {', '.join(parts)} }}"


def _plain(kind: inspect.Type) -> inspect.Type:
    return _plain(kind.type) if isinstance(kind, inspect.Metadata) else kind


def told(value: Any) -> str:
    """A value as it is shown to whoever wrote it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value[:60]}"'
        case list():
            items = cast("list[object]", value)
            return f"a list of {len(items)}"
        case Mapping():
            return "a table"
        case _:
            return str(value)


def listed(many: Iterable[object]) -> str:
    """Words in a row, texts in quotes."""
    return ", ".join(f'"{w}"' if isinstance(w, str) else str(w) for w in many)


def in_words(kind: inspect.Type) -> str:
    """What to write for a type."""
    match kind:
        case inspect.Metadata():
            return in_words(kind.type)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _bounds(kind)
        case inspect.FloatType():
            return "a number" + _bounds(kind)
        case inspect.StrType():
            return "a text in quotes"
        case inspect.LiteralType():
            return f"one of {listed(kind.values)}"
        case inspect.EnumType():
            return f"one of {listed(str(e.value) for e in kind.cls)}"
        case inspect.UnionType():
            options = [in_words(t) for t in kind.types if not isinstance(t, inspect.NoneType)]
            return " or ".join(dict.fromkeys(options))
        case inspect.TupleType():
            return f"a list of {len(kind.item_types)}: [{', '.join(in_words(t) for t in kind.item_types)}]"
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return f"a list, each item {in_words(kind.item_type)}"
        case inspect.StructType() | inspect.DictType():
            return "a table"
        case _:
            return "anything"


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    low = kind.ge if kind.ge is not None else kind.gt
    high = kind.le if kind.le is not None else kind.lt
    match low, high:
        case None, None:
            return ""
        case _, None:
            return f" of at least {low}" if kind.ge is not None else f" above {low}"
        case None, _:
            return f" of at most {high}"
        case _:
            return f" from {low} to {high}"
