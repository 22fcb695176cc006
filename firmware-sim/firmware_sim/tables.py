"""Reads TOML tables and collects everything that is wrong with them.

Promises: nothing raises on bad input; each problem names file, key, and what to write instead; a key that
nobody asked for is a problem too, with the nearest known key named.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import cast


class Problems:
    """All that is wrong with one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[str] = []

    def add(self, key: str, what: str) -> None:
        """Note one problem."""
        self.found.append(f"{self.file}: {key}: {what}")


class Table:
    """One table of the file, at `path`."""

    def __init__(self, raw: Mapping[str, object], path: str, problems: Problems) -> None:
        self._raw = raw
        self._path = path
        self._problems = problems
        self._asked: list[str] = []

    def key(self, name: str) -> str:
        """The full name of a key, for messages."""
        return f"{self._path}.{name}" if self._path else name

    def wrong(self, name: str, what: str) -> None:
        """Note a problem with one key."""
        self._problems.add(self.key(name), what)

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return name in self._raw

    def text(self, name: str, default: str | None = None, *, pattern: str = r".+", hint: str = "text") -> str:
        """A string that matches a pattern; `default` None makes it required."""
        value = self._take(name, default, hint)
        if value is None:
            return default or ""
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            self.wrong(name, f"{value!r} is not {hint}")
            return default or ""
        return value

    def choice(self, name: str, default: str | None, choices: Sequence[str]) -> str:
        """One of a few words."""
        hint = "one of " + ", ".join(f'"{choice}"' for choice in choices)
        value = self._take(name, default, hint)
        if isinstance(value, str) and value in choices:
            return value
        if value is not None:
            self.wrong(name, f"{value!r} is not {hint}{nearest(str(value), choices)}")
        return default or ""

    def number(self, name: str, default: float | None, low: float, high: float) -> float:
        """A number within bounds."""
        hint = f"a number from {low:g} to {high:g}"
        value = self._take(name, default, hint)
        if value is None:
            return low if default is None else default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.wrong(name, f"{value!r} is not {hint}")
            return low if default is None else default
        return float(value)

    def whole(self, name: str, default: int | None, low: int, high: int) -> int:
        """An integer within bounds."""
        hint = f"a whole number from {low} to {high}"
        value = self._take(name, default, hint)
        if value is None:
            return low if default is None else default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(name, f"{value!r} is not {hint}")
            return low if default is None else default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(name, default, "true or false")
        if isinstance(value, bool):
            return value
        self.wrong(name, f"{value!r} is not true or false")
        return default

    def table(self, name: str) -> Table:
        """A table inside this one; an empty one if it is not there."""
        value = self._take(name, {}, "a table")
        if not isinstance(value, dict):
            self.wrong(name, f"{value!r} is not a table; write [{self.key(name)}]")
            value = {}
        return Table(cast("dict[str, object]", value), self.key(name), self._problems)

    def tables(self, name: str, most: int) -> list[Table]:
        """A list of tables inside this one, at most so many."""
        value = self._take(name, [], "a list of tables")
        items = cast("list[object]", value) if isinstance(value, list) else [None]
        if not all(isinstance(item, dict) for item in items):
            self.wrong(name, f"is not a list of tables; write [[{self.key(name)}]]")
            return []
        if len(items) > most:
            self.wrong(name, f"has {len(items)} entries; at most {most} are taken")
            items = items[:most]
        return [
            Table(cast("dict[str, object]", item), f"{self.key(name)}[{index}]", self._problems)
            for index, item in enumerate(items)
        ]

    def done(self) -> None:
        """Complain about the keys that nobody asked for."""
        for name in self._raw:
            if name not in self._asked:
                known = nearest(name, self._asked) or "; it may have: " + ", ".join(sorted(set(self._asked)))
                self.wrong(name, f"is not a key of this table{known}")

    def _take(self, name: str, default: object, hint: str) -> object:
        self._asked.append(name)
        if name in self._raw:
            return self._raw[name]
        if default is None:
            self.wrong(name, f"is missing; write {hint}")
        return default


def nearest(word: str, words: Sequence[str]) -> str:
    """A remark that names the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, words, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
