"""Load: a plan's text, from a file or out of a bundle, becomes a Plan, or one error with everything that is wrong.

A text has at most MAX_TEXT_BYTES; what is in it is bounded in `words`. With the node's roster at hand it is also
checked that every device that follows a calendar has the points that its programs set, and may have them set.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from drivers.tables import Problem, parse, suggest
from edge.plans.local import Place, zone
from edge.plans.plan import Plan
from edge.plans.public_holidays import Holidays, none_known, public_holidays
from edge.plans.words import MAX_CALENDARS, MAX_PROGRAMS, MAX_RULES, MAX_TEXT_BYTES, PlanTable
from wire.device import Roster

MAX_PROBLEMS: Final = 100  # told of one plan; how many more there are is told too


class PlanError(Exception):
    """Everything that is wrong in a plan, a line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def load(text: str | bytes, place: Place, *, source: str = "bundle", roster: Roster | None = None) -> Plan:
    """The plan that a TOML text holds.

    Raises:
        PlanError: with every problem; `source` is what they call the text.
    """
    problems: list[Problem] = []
    plan = read(text, place, source=source, problems=problems, roster=roster)
    if plan is None:
        raise PlanError(problems)
    return plan


def load_file(path: Path, place: Place, *, problems: list[Problem], roster: Roster | None = None) -> Plan | None:
    """The plan that a file holds; None where `problems` grew."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        problems.append(Problem(str(path), "", f"cannot be read: {error.strerror}"))
        return None
    return read(data, place, source=str(path), problems=problems, roster=roster)


def read(
    text: str | bytes, place: Place, *, source: str, problems: list[Problem], roster: Roster | None = None
) -> Plan | None:
    """The plan that a TOML text holds; None where `problems` grew."""
    raw = _tables(text, source, problems)
    if raw is None:
        return None
    found: list[Problem] = []
    table = parse(PlanTable, raw, file=source, key="", problems=found)
    _check_names(raw, source, found)
    try:
        zone(place.time_zone)
    except ValueError as error:
        found.append(Problem(source, "", f"the time zone of the site: {error}"))
    holidays = none_known
    if table is not None:
        _check_bounds(table, source, found)
        _check_points(table, source, found)
        holidays = _holidays(table, place, source, found)
    if found or table is None:
        _tell(found, source, problems)
        return None
    plan = Plan(table, place, holidays)
    if roster is not None:
        _check_roster(plan, roster, source, found)
    _tell(found, source, problems)
    return None if found else plan


def _tell(found: Sequence[Problem], source: str, problems: list[Problem]) -> None:
    problems += found[:MAX_PROBLEMS]
    if len(found) > MAX_PROBLEMS:
        problems.append(Problem(source, "", f"and {len(found) - MAX_PROBLEMS} more; mend these first"))


def _tables(text: str | bytes, source: str, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > MAX_TEXT_BYTES:
            problems.append(Problem(source, "", f"larger than {MAX_TEXT_BYTES} bytes; write a plan for each cabinet"))
            return None
        return tomllib.loads(data.decode())
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        problems.append(Problem(source, "", f"is not UTF-8 (at {error.start}); save it as UTF-8"))
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(source, "", f"is not TOML: {error}"))
    except RecursionError:
        problems.append(Problem(source, "", "is nested too deep; a plan has tables in tables, and no more"))
    return None


def _check_names(raw: Mapping[str, Any], source: str, problems: list[Problem]) -> None:
    """Programs and calendars that are named must be there. On the raw tables, so that no other mistake hides it."""
    programs, calendars = _named(raw.get("program")), _named(raw.get("calendar"))
    for name, calendar in calendars.items():
        if not isinstance(calendar, dict):
            continue
        table = cast("dict[str, object]", calendar)
        _check_name(table.get("default"), programs, "program", f"calendar.{name}.default", source, problems)
        for i, rule in enumerate(_listed(table.get("rule"))):
            key = f"calendar.{name}.rule[{i}].program"
            _check_name(rule.get("program"), programs, "program", key, source, problems)
    for i, assign in enumerate(_listed(raw.get("assign"))):
        _check_name(assign.get("calendar"), calendars, "calendar", f"assign[{i}].calendar", source, problems)


def _check_name(name: object, known: Iterable[str], what: str, key: str, source: str, problems: list[Problem]) -> None:
    known = list(known)
    if isinstance(name, str) and known and name not in known:
        problems.append(Problem(source, key, f'there is no {what} "{name[:64]}"{suggest(name, known)}'))


def _named(tables: object) -> dict[str, object]:
    return cast("dict[str, object]", tables) if isinstance(tables, dict) else {}


def _listed(tables: object) -> list[dict[str, object]]:
    items = cast("list[object]", tables) if isinstance(tables, list) else []
    return [cast("dict[str, object]", t) if isinstance(t, dict) else {} for t in items]


def _check_bounds(table: PlanTable, source: str, problems: list[Problem]) -> None:
    """What `words` bounds and types of tables cannot."""
    for key, n, most in (
        ("program", len(table.program), MAX_PROGRAMS),
        ("calendar", len(table.calendar), MAX_CALENDARS),
    ):
        if not n:
            problems.append(Problem(source, key, f"must not be empty; write [{key}.NAME]"))
        if n > most:
            problems.append(Problem(source, key, f"must have at most {most}, not {n}"))
    rules = sum(len(c.rule) for c in table.calendar.values())
    if rules > MAX_RULES:
        problems.append(Problem(source, "calendar", f"all calendars together may have {MAX_RULES} rules, not {rules}"))


def _check_points(table: PlanTable, source: str, problems: list[Problem]) -> None:
    """All programs of a calendar set the same point: no lamp may be left where another program had put it."""
    for name in table.calendar:
        points = sorted({table.program[p].point for p in _programs(table, name) if p in table.program})
        if len(points) > 1:
            text = f"its programs set different points ({', '.join(points)}); write a calendar for each point"
            problems.append(Problem(source, f"calendar.{name}", text))


def _programs(table: PlanTable, calendar: str) -> list[str]:
    """The programs that a calendar names."""
    found = table.calendar[calendar]
    return [found.default, *(r.program for r in found.rule)]


def _holidays(table: PlanTable, place: Place, source: str, problems: list[Problem]) -> Holidays:
    if not any(r.holiday for c in table.calendar.values() for r in c.rule):
        return none_known
    country = table.holidays.country or place.country
    if not country:
        text = 'is missing; rules name public holidays: write [holidays] country = "FR", or the country of the site'
        problems.append(Problem(source, "holidays.country", text))
        return none_known
    try:
        return public_holidays(country, table.holidays.subdivision)
    except ValueError as error:
        problems.append(Problem(source, "holidays", str(error)))
        return none_known


def _check_roster(plan: Plan, roster: Roster, source: str, problems: list[Problem]) -> None:
    """Devices that follow a calendar can be set by its programs. One problem a profile and point, not one a device."""
    told: set[tuple[str, str]] = set()
    for device in roster.devices:
        calendar = plan.follows(device)
        if calendar is None:
            continue
        name = plan.table.program[plan.table.calendar[calendar].default].point
        if (device.profile, name) in told:
            continue
        told.add((device.profile, name))
        points = {p.name: p for p in roster.profiles.get(device.profile, ())}
        point = points.get(name)
        if point is None:
            why = f'has no point "{name}"{suggest(name, (p for p in points if points[p].writable))}'
        elif not point.writable or point.type not in {"float", "int"}:
            why = f'cannot have its point "{name}" set to a level: it must be writable and a number'
        else:
            continue
        text = f'selects "{device.id}", whose profile {device.profile} {why}'
        place = next(i for i, a in enumerate(plan.table.assign) if a.on.fits(device))
        problems.append(Problem(source, f"assign[{place}].on", text))
