"""Checks: what must fit together in a plan: names, points, public holidays, and the devices of the node.

They look at the tables as they were written, so that no other mistake in the plan hides what they find; what does not
have the right form is passed over, for that is told where forms are read. Bounds: those of `edge/plans/tables.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from drivers.tables import parse, suggest
from edge.plans.public_holidays import Holidays, none_known, public_holidays
from edge.plans.tables import MAX_CALENDARS, MAX_PROGRAMS, MAX_RULES
from edge.selector import Selector, why_none
from wire.device import Roster

Tell = Callable[[str, str], None]
"""Called with a dotted key and what is wrong with it."""
_DIM = "dim_level"


def tables(raw: object) -> dict[str, dict[str, object]]:
    """Tables by name; those that are none are empty."""
    named = cast("dict[str, object]", raw) if isinstance(raw, dict) else {}
    return {name: _table(one) for name, one in named.items()}


def rules_of(calendar: Mapping[str, object] | None) -> list[dict[str, object]]:
    """The rules of a calendar."""
    return _many((calendar or {}).get("rule"))


def names(raw: Mapping[str, Any], tell: Tell) -> None:
    """Programs and calendars that are named must be there."""
    programs, calendars = tables(raw.get("program")), tables(raw.get("calendar"))
    for name, calendar in calendars.items():
        _named(calendar.get("default"), programs, "program", f"calendar.{name}.default", tell)
        for i, rule in enumerate(rules_of(calendar)):
            _named(rule.get("program"), programs, "program", f"calendar.{name}.rule[{i}].program", tell)
    for i, assign in enumerate(_many(raw.get("assign"))):
        _named(assign.get("calendar"), calendars, "calendar", f"assign[{i}].calendar", tell)


def bounds(raw: Mapping[str, Any], tell: Tell) -> None:
    """What `words` bounds and types of tables cannot."""
    for key, most in (("program", MAX_PROGRAMS), ("calendar", MAX_CALENDARS)):
        found = raw.get(key)
        if found == {}:
            tell(key, f"must not be empty; write [{key}.NAME]")
        if (n := len(tables(found))) > most:
            tell(key, f"must have at most {most}, not {n}")
    rules = sum(len(rules_of(c)) for c in tables(raw.get("calendar")).values())
    if rules > MAX_RULES:
        tell("calendar", f"all calendars together may have {MAX_RULES} rules, not {rules}")


def points(raw: Mapping[str, Any], tell: Tell) -> None:
    """All programs of a calendar set the same point: no lamp may be left where another program had put it."""
    programs = tables(raw.get("program"))
    for name, calendar in tables(raw.get("calendar")).items():
        named = [calendar.get("default"), *(r.get("program") for r in rules_of(calendar))]
        found = sorted({_point(programs[p]) for p in named if isinstance(p, str) and p in programs})
        if len(found) > 1:
            tell(
                f"calendar.{name}",
                f"its programs set different points ({', '.join(found)}); write a calendar for each point",
            )


def holidays(raw: Mapping[str, Any], of_site: str, tell: Tell) -> Holidays:
    """The public holidays that the rules mean; `of_site` is the country of the site."""
    if not any(r.get("holiday") in ("day", "eve") for c in tables(raw.get("calendar")).values() for r in rules_of(c)):
        return none_known
    table = _table(raw.get("holidays"))
    country, part = table.get("country", ""), table.get("subdivision", "")
    if not isinstance(country, str) or not isinstance(part, str):
        return none_known
    if not (country or of_site):
        text = 'is missing; rules name public holidays: write [holidays] country = "FR", or the country of the site'
        tell("holidays.country", text)
        return none_known
    try:
        return public_holidays(country or of_site, part)
    except ValueError as error:
        tell("holidays", str(error))
        return none_known


def devices(raw: Mapping[str, Any], roster: Roster, tell: Tell, *, own: bool) -> None:
    """Devices that follow a calendar can be set by its programs: one problem a profile and point, not one a device.
    `own`: each assignment must select some, if there are any at all."""
    programs, calendars = tables(raw.get("program")), tables(raw.get("calendar"))
    selectors: list[tuple[int, Selector, object]] = []
    for i, assign in enumerate(_many(raw.get("assign"))):
        selector = parse(Selector, assign.get("on"), file="", key="", problems=[])
        if selector is None:
            continue
        selectors.append((i, selector, assign.get("calendar")))
        for key, text in why_none(selector, roster.devices) if own and roster.devices else ():
            tell(f"assign[{i}].on.{key}".rstrip("."), text)
    told: set[tuple[str, str]] = set()
    for device in roster.devices:
        i, name = next(((i, name) for i, on, name in selectors if on.fits(device)), (0, None))
        program = calendars[name].get("default") if isinstance(name, str) and name in calendars else None
        if not isinstance(program, str) or program not in programs:
            continue
        wanted = _point(programs[program])
        if (device.profile, wanted) in told:
            continue
        told.add((device.profile, wanted))
        offered = {p.name: p for p in roster.profiles.get(device.profile, ())}
        if (point := offered.get(wanted)) is None:
            writable = [n for n, p in offered.items() if p.writable]
            near = suggest(wanted, writable) if writable else "; nothing of it can be set: select other devices"
            why = f'has no point "{wanted}"{near}'
        elif not point.writable or point.type not in {"float", "int"}:
            why = f'cannot have its point "{wanted}" set to a level: it must be writable and a number'
        else:
            continue
        tell(f"assign[{i}].on", f'selects "{device.id}", whose profile {device.profile} {why}')


def _named(name: object, known: Iterable[str], what: str, key: str, tell: Tell) -> None:
    known = list(known)
    if isinstance(name, str) and known and name not in known:
        tell(key, f'there is no {what} "{name[:64]}"{suggest(name, known)}')


def _point(program: Mapping[str, object]) -> str:
    found = program.get("point", _DIM)
    return found if isinstance(found, str) else _DIM


def _table(raw: object) -> dict[str, object]:
    return cast("dict[str, object]", raw) if isinstance(raw, dict) else {}


def _many(raw: object) -> list[dict[str, object]]:
    return [_table(one) for one in cast("list[object]", raw)] if isinstance(raw, list) else []
