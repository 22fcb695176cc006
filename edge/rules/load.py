"""From rules files to rules: everything that is wrong in all of them is reported at once, with file, line and what to
write instead.

Rules are checked against the roster: the devices that they select, the points, types, units, ranges and choices of
those devices' profiles. A rule that passes here cannot fail later for a reason that could have been known. In the
node's own files every rule must select a device; in a bundle from the city, which may be meant for many nodes, one
that selects none is left out. Bounds: MAX_FILES files, and those of `edge/rules/rule.py` and `edge/rules/tables.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from drivers.tables import MAX_FILE_BYTES, Problem
from edge.alarms.own import is_own
from edge.rules.read import Read, read_tables, read_text
from edge.rules.rule import MAX_RULES, MAX_WATCHES, MAX_WINDOWS, Rule, Rules
from edge.rules.street import RuleContext
from wire.device import Roster
from wire.orders import MAX_BUNDLE_BYTES

MAX_FILES: Final = 50


def load(paths: Sequence[Path], roster: Roster, problems: list[Problem]) -> Rules:
    """The rules of these files for the devices of this roster. What is wrong is added to `problems`, and the rules
    that are wrong are left out of what is returned."""
    if len(paths) > MAX_FILES:
        problems.append(Problem("rules", "", f"{len(paths)} files; a node has at most {MAX_FILES}"))
    texts = {path: text for path in paths[:MAX_FILES] if (text := read_text(path, problems)) is not None}
    return load_texts(texts, roster, problems)


def load_texts(texts: Mapping[Path, str], roster: Roster, problems: list[Problem], *, own: bool = True) -> Rules:
    """As `load`, from texts that are at hand; the paths are what they are called. `own`: they are the node's own files,
    and a rule that selects no device is wrong; else it is left out, and named in what is returned."""
    street = RuleContext(roster, own=own)
    read_in: list[Read] = []
    for path, text in texts.items():
        read_in += read_tables(path, text, problems, MAX_FILE_BYTES if own else MAX_BUNDLE_BYTES)
    if len(read_in) > MAX_RULES:
        one = read_in[MAX_RULES]
        text = f"{len(read_in)} rules; a node has at most {MAX_RULES}"
        problems.append(Problem(f"{one.file}:{one.line}", "rule", text))
        read_in = read_in[:MAX_RULES]
    first: dict[str, str] = {}
    rules: list[Rule] = []
    for one in read_in:
        name = one.table.name
        if "name" in one.unknown:
            pass  # told already
        elif name in first:
            one.tell("name", f'there is another rule "{name}", at {first[name]}; choose another name')
        if is_own(name):
            one.tell("name", f'"{name}" is what the node calls an alarm of its own; choose another name')
        first.setdefault(name, f"{one.file}:{one.line}")
        rule = street.rule(one)
        if rule is not None:
            rules.append(rule)
    made = street.suppressions(rules, read_in)
    _bound(made, problems)
    return Rules(tuple(made), tuple(street.left_out))


def _bound(made: Sequence[Rule], problems: list[Problem]) -> None:
    watches = sum(len(r.devices) for r in made)
    windows = sum(len(r.devices) * len(r.windows) for r in made)
    largest = max(made, key=lambda r: len(r.devices), default=None)
    for count, most, what in ((watches, MAX_WATCHES, "devices watched"), (windows, MAX_WINDOWS, "windows kept")):
        if count > most and largest is not None:
            text = f"{count} {what} over all rules; a node has at most {most}: select fewer devices"
            problems.append(Problem(f"{largest.file}:{largest.line}", f"rule.{largest.name}", text))
