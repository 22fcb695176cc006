"""Reading a rules file: its `[[rule]]` tables, each with a way to report what is wrong with it, by line.

A table of which some keys are wrong is handed on without them, marked as broken: what else is wrong with it is to be
told in the same breath. What it cannot do without is put there instead, and named in `unknown`. Files are read up to
the bound of `drivers.tables.read`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from drivers.tables import MAX_FILE_BYTES, Problem, parse, read, suggest
from edge.rules.tables import RuleTable
from edge.rules.where import Lines
from groundwork.toml_text import BadToml, tables_of

Tell = Callable[[str, str], None]
"""Called with a dotted key of the rule and what is wrong with it."""


class Read(msgspec.Struct, frozen=True):
    """One table as it was read. `broken`: it is only looked at for what else is wrong with it."""

    table: RuleTable
    tell: Tell
    file: str
    line: int
    broken: bool
    unknown: frozenset[str] = frozenset()  # keys of which nobody knows what was meant
    windows: frozenset[str] = frozenset()  # the names of all windows, also of those that are wrong


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """The text of a file that is TOML; what is wrong with it otherwise has been reported."""
    return None if read(path, problems) is None else path.read_text(encoding="utf-8-sig")


def read_tables(path: Path, text: str, problems: list[Problem], limit_bytes: int = MAX_FILE_BYTES) -> list[Read]:
    """The `[[rule]]` tables of one file; what is wrong with their form is added to `problems`."""
    try:
        raw = tables_of(text, limit_bytes=limit_bytes)
    except BadToml as error:
        problems.append(Problem(str(path), "", str(error)))
        return []
    lines = Lines(text)
    problems += [
        Problem(str(path), key, f"no such table{suggest(key, ['rule'])}; rules are written [[rule]]")
        for key in raw
        if key != "rule"
    ]
    many = raw.get("rule", [])
    if not isinstance(many, list):
        problems.append(Problem(f"{path}:{lines.of(0)}", "rule", "must be written [[rule]], with two brackets"))
        return []
    found: list[Read] = []
    for i, one in enumerate(cast("list[object]", many)):
        raw_rule = _mapping(one)
        called = raw_rule.get("name")
        name = f"rule.{called}" if isinstance(called, str) and called else "rule"  # and its line, for who has none

        def tell(key: str, text: str, i: int = i, name: str = name) -> None:
            problems.append(Problem(f"{path}:{lines.of(i, key)}", f"{name}.{key}" if key else name, text))

        wrong: list[Problem] = []
        table = parse(RuleTable, one, file=str(path), key="", problems=wrong)
        for problem in wrong:
            tell(problem.key, problem.text)
        unknown: frozenset[str] = frozenset()
        if table is None and isinstance(one, Mapping):
            table, unknown = _rest(raw_rule)
        if table is not None:
            windows = frozenset(_mapping(raw_rule.get("window")))
            found.append(Read(table, tell, str(path), lines.of(i), bool(wrong), unknown, windows))
    return found


_PART: Final = re.compile(r'"([^"]*)"|\[(\d+)\]|([\w-]+)')
_TURNS: Final = 8  # what is left out may bring up something else, and at most so often
_NEEDED: Final[Mapping[str, object]] = {
    "name": "x",
    "on": {"id": "*"},
    "when": "true",
    "alarm.severity": "low",
    "alarm.text": {"en": "x"},
    "command.point": "x",
    "command.value": 0,
    "command.hold_s": 1,
}


def _rest(raw: Mapping[str, object]) -> tuple[RuleTable | None, frozenset[str]]:
    """What is right in a table, and the keys for which something was put that nobody has written."""
    rest, unknown = cast("dict[str, Any]", deepcopy(raw)), set[str]()
    for _ in range(_TURNS):
        for key, value in _NEEDED.items():
            table, _, last = key.rpartition(".")
            within: object = rest.get(table) if table else rest
            if isinstance(within, dict) and last not in within:
                cast("dict[str, object]", within)[last] = value
                unknown.add(key)
        if not any(k in rest for k in ("alarm", "command", "tag")):
            rest["tag"] = "x"
        wrong: list[Problem] = []
        made = parse(RuleTable, rest, file="", key="", problems=wrong)
        if made is not None:
            called = raw.get("name")
            unknown |= {"clear"} & (raw.keys() - rest.keys())
            return replace(made, name=called if isinstance(called, str) else ""), frozenset(unknown)
        for problem in reversed(wrong):  # the last of a list first: the places of the others stay
            _drop(rest, problem.key)
    return None, frozenset(unknown)


def _drop(table: dict[str, Any], key: str) -> None:
    """Take out what stands at a dotted key, or, where nothing does, what lacks it."""
    holder: Any = None
    at: Any = None
    here: Any = table
    for quoted, index, plain in _PART.findall(key):
        step: Any = int(index) if index else quoted or plain
        try:
            inner: Any = here[step]
        except (LookupError, TypeError):
            break
        holder, at, here = here, step, inner
    if holder is None:
        return
    if not isinstance(holder, dict) and key.startswith("alarm.suppresses"):
        holder[at] = ""  # an empty name is passed over, and the others keep their numbers
    else:
        del holder[at]


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
