"""Load: a plan's text, from a file or out of a bundle, becomes a Plan, or one error with everything that is wrong.

A text has at most MAX_TEXT_BYTES; what is in it is bounded in `words`. With the node's roster at hand it is also
checked that every device that follows a calendar has the points that its programs set, and may have them set. The
node's own file must select devices with each of its assignments; a plan from the city, which may be meant for many
nodes, need not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from drivers.tables import Problem, parse
from edge.plans import checks
from edge.plans.local import Location, zone
from edge.plans.plan import Plan
from edge.plans.tables import MAX_TEXT_BYTES, PlanTable
from groundwork.toml_text import BadToml, tables_of
from wire.device import Roster

MAX_PROBLEMS: Final = 100  # told of one plan; how many more there are is told too


class PlanError(Exception):
    """Everything that is wrong in a plan, a line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def load(text: str | bytes, place: Location, *, source: str = "bundle", roster: Roster | None = None) -> Plan:
    """The plan that a TOML text holds.

    Raises:
        PlanError: with every problem; `source` is what they call the text.
    """
    problems: list[Problem] = []
    plan = read(text, place, source=source, problems=problems, roster=roster)
    if plan is None:
        raise PlanError(problems)
    return plan


def load_file(path: Path, place: Location, *, problems: list[Problem], roster: Roster | None = None) -> Plan | None:
    """The plan that the node's own file holds; None where `problems` grew."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        problems.append(Problem(str(path), "", f"cannot be read: {error.strerror}"))
        return None
    return read(data, place, source=str(path), problems=problems, roster=roster, own=True)


def read(
    text: str | bytes,
    place: Location,
    *,
    source: str,
    problems: list[Problem],
    roster: Roster | None = None,
    own: bool = False,
) -> Plan | None:
    """The plan that a TOML text holds; None where `problems` grew. `own`: it is the node's own file."""
    raw = _tables(text, source, problems)
    if raw is None:
        return None
    found: list[Problem] = []
    table = parse(PlanTable, raw, file=source, key="", problems=found)

    def tell(key: str, text: str) -> None:
        found.append(Problem(source, key, text))

    checks.names(raw, tell)
    checks.bounds(raw, tell)
    checks.points(raw, tell)
    holidays = checks.holidays(raw, place.country, tell)
    try:
        zone(place.time_zone)
    except ValueError as error:
        tell("", f"the time zone of the site: {error}")
    if roster is not None:
        checks.devices(raw, roster, tell, own=own)
    problems += [Problem(p.file, _by_name(p.key, raw, text), p.text) for p in found[:MAX_PROBLEMS]]
    if len(found) > MAX_PROBLEMS:
        problems.append(Problem(source, "", f"and {len(found) - MAX_PROBLEMS} more; mend these first"))
    return None if found or table is None else Plan(table, place, holidays)


_RULE: Final = re.compile(r"calendar\.(?P<calendar>[\w-]+|\"[^\"]*\")\.rule\[(?P<n>\d+)\]")


def _by_name(key: str, raw: Mapping[str, Any], text: str | bytes) -> str:
    """A key with the name of a calendar's rule, or its line, in place of its number: as pictures tell of it."""
    found = _RULE.match(key)
    if found is None:
        return key
    n, rules = int(found["n"]), checks.rules_of(checks.tables(raw.get("calendar")).get(found["calendar"].strip('"')))
    name = rules[n].get("name") if n < len(rules) else None
    if not isinstance(name, str) or not name.isprintable():
        lines = (text if isinstance(text, str) else text.decode()).splitlines()
        header = re.compile(rf"\s*\[\[\s*calendar\s*\.\s*{re.escape(found['calendar'])}\s*\.\s*rule\s*\]\]")
        at = [i for i, line in enumerate(lines, 1) if header.match(line)]
        which = f" at line {at[n]}" if n < len(at) else f" {n + 1}"
    else:
        which = f' "{name[:60]}"'
    return f"calendar.{found['calendar']}.rule{which}{key[found.end() :]}"


def _tables(text: str | bytes, source: str, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        return tables_of(text, limit_bytes=MAX_TEXT_BYTES)
    except BadToml as error:
        problems.append(Problem(source, "", str(error)))
    return None
