"""Reading a rules file: its `[[rule]]` tables, each with the way to tell what is wrong with it, by line.

A table of which one key is wrong is handed on without that key, marked as broken: what else is wrong with it is to be
told in the same breath. Files are read up to the bound of `drivers.tables.read`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import msgspec

from drivers.tables import Problem, parse, read, suggest
from edge.rules.tables import RuleTable
from edge.rules.where import Lines

Tell = Callable[[str, str], None]
"""Called with a dotted key of the rule and what is wrong with it."""


class Read(msgspec.Struct, frozen=True):
    """One table as it was read. `broken`: it is only looked at for what else is wrong with it."""

    table: RuleTable
    tell: Tell
    file: str
    line: int
    broken: bool


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """The text of a file that is TOML; what is wrong with it otherwise has been told."""
    return None if read(path, problems) is None else path.read_text()


def read_tables(path: Path, text: str, problems: list[Problem]) -> list[Read]:
    """The `[[rule]]` tables of one file; what is wrong with their form is added to `problems`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(str(path), "", f"is not TOML: {error}"))
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
        name = f"rule.{called}" if isinstance(called, str) and called else f"rule[{i}]"

        def tell(key: str, text: str, i: int = i, name: str = name) -> None:
            problems.append(Problem(f"{path}:{lines.of(i, key)}", f"{name}.{key}" if key else name, text))

        wrong: list[Problem] = []
        table = parse(RuleTable, one, file=str(path), key="", problems=wrong)
        for problem in wrong:
            tell(problem.key, problem.text)
        if table is None:
            # One wrong key must not hide what is wrong with the others: look at the rule without it.
            keys = {re.split(r"[.\[]", p.key)[0] for p in wrong}
            rest = {k: v for k, v in raw_rule.items() if k not in keys} | {"tag": "?"}
            table = None if "window" in keys else parse(RuleTable, rest, file=str(path), key="", problems=[])
        if table is not None:
            found.append(Read(table, tell, str(path), lines.of(i), bool(wrong)))
    return found


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
