"""TALQ shapes: a plan as TALQ 2.7.1 control programs, calendars, groups and assignments, and back.

What TALQ has no word for travels under the key `x-lamplighter`; docs/plans.md lists it. For test_talq.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import msgspec

from edge.plans.dates import DAYS, span
from edge.plans.public_holidays import Holidays, public_holidays
from edge.plans.tables import (
    AssignTable,
    CalendarRuleTable,
    CalendarTable,
    HolidaysTable,
    PeriodTable,
    PlanTable,
    ProgramTable,
    StepTable,
)
from edge.plans.times import ClockTime, SunTime, told, when
from edge.selector import Selector
from wire.device import Device

X, CMS, NOON = "x-lamplighter", "cms", "12:00:00"
YEARS = range(2026, 2029)
DEVICES = (
    Device(id="lamp-1", kind="streetlight", profile="lx-1"),
    Device(id="lamp-003", kind="streetlight", profile="lx-1", tags=("school",)),
    Device(id="bin-1", kind="bin", profile="bn-1"),
)
Json = dict[str, Any]


def without_empty(table: Json) -> Json:
    return {k: v for k, v in table.items() if v not in ({}, None)}


def level_command(level: int) -> Json:
    return {"state": {"name": "LevelState", "value": level}}


def clock(text: str) -> str:
    return text if text.count(":") == 2 else f"{text}:00"


def solar(text: str) -> tuple[str, int, Json]:
    """TALQ's turn of the sun, the minutes, and what it cannot say: that civil twilight is meant."""
    time = when(text)
    assert isinstance(time, SunTime)
    word = {"dusk": "sunset", "dawn": "sunrise"}.get(time.turn, time.turn)
    return word, time.offset_min, {} if word == time.turn else {X: {"turn": time.turn}}


def period_to(period: PeriodTable) -> Json:
    if isinstance(when(period.on), ClockTime):
        return {"name": "AbsoluteActivePeriod", "startTime": clock(period.on), "endTime": clock(period.off)}
    _, on_min, on_x = solar(period.on)
    _, off_min, off_x = solar(period.off)
    extra = without_empty({"on": on_x.get(X), "off": off_x.get(X)})
    made: Json = {"name": "AstroClockActivePeriod", "sunsetOffset": on_min, "sunriseOffset": off_min}
    if period.photocell_before_min or period.photocell_after_min:
        # TALQ counts the cell's minutes back from the latest end, a plan forward from the sure one.
        made |= {
            "name": "AstroAndSensorActivePeriod",
            "sensor": {},
            "sunriseOffset": off_min + period.photocell_after_min,
            "pcActiveBeforeSunset": period.photocell_before_min,
            "pcActiveBeforeSunrise": period.photocell_after_min,
        }
    return made | ({X: extra} if extra else {})


def step_to(step: StepTable) -> Json:
    turn, offset, extra = solar(step.at)
    operation = (step.op or "set").capitalize()
    if step.op is None:
        extra = {X: extra.get(X, {}) | {"yields": True}}  # to the next step by the clock; TALQ's would hide it
    command = level_command(step.level)
    return {"offset": offset, "solarEventType": turn, "operation": operation, "command": command} | extra


def program_to(name: str, program: ProgramTable) -> Json:
    periods = [period_to(p) for p in program.active]
    if program.photocell_by_day:
        periods.append({"name": "SensorActivePeriod", "sensor": {}, "onLevel": 1, "offLevel": 0})
    by_clock = [s for s in program.steps if isinstance(when(s.at), ClockTime)]
    by_clock.sort(key=lambda s: (clock(s.at) < NOON, clock(s.at)))
    fixed = [{"startTime": clock(s.at), "command": level_command(s.level)} for s in by_clock]
    extra = without_empty(
        {
            "dayLevel": program.day_level or None,
            "point": None if program.point == "dim_level" else program.point,
        }
    )
    return {
        "type": "ControlProgramOne",
        "id": name,
        "ownerCMS": CMS,
        "activePeriods": periods,
        "fixedTimeControls": [{"startTime": NOON, "command": level_command(program.level)}, *fixed],
        "astroClockTimeControls": [step_to(s) for s in program.steps if isinstance(when(s.at), SunTime)],
    } | ({X: extra} if extra else {})


def talq_day(text: str) -> str:
    return f"---{text[2:]}" if text.startswith("*") else f"--{text}"


def ranged(text: str, mark: str, read: Callable[[str], Any]) -> Json:
    first, dots, last = text.partition(mark)
    return {"start": read(first)} | ({"end": read(last)} if dots else {})


def talq_date(text: str) -> str:
    return text if len(text) == 10 else f"--{text}"


def rule_to(rule: CalendarRuleTable, holidays: Holidays, key: int) -> list[Json]:
    made: Json = {"program": rule.program}
    if rule.holiday is not None:
        # TALQ knows no public holidays: a rule for each, for the years that are asked for.
        shift = timedelta(days=rule.holiday == "eve")
        first = date(YEARS[0], 1, 1)
        days = [first + timedelta(days=i) for i in range(366 * len(YEARS))]
        inside = span(rule.from_, rule.until)
        note = {"rule": key, "holiday": rule.holiday, "name": rule.name, "from": rule.from_, "until": rule.until}
        return [
            made | {"startDate": d.isoformat(), "endDate": d.isoformat(), X: note}
            for d in days
            if d.year in YEARS and inside.has(d) and holidays(d + shift)
        ]
    if rule.from_:
        made["startDate"] = talq_date(rule.from_)
    if rule.until:
        made["endDate"] = talq_date(rule.until)
    if rule.dates:
        made["condition"] = {"type": "ccDate", "dates": [ranged(d, "..", talq_day) for d in rule.dates]}
    if rule.days:
        made["condition"] = {"type": "ccDay", "days": [ranged(d, "-", lambda w: DAYS.index(w) + 1) for d in rule.days]}
        if rule.nth:
            made["condition"]["occurrences"] = ["L" if n == "last" else n for n in rule.nth]
    return [made | ({X: {"name": rule.name}} if rule.name else {})]


def calendar_to(name: str, calendar: CalendarTable, holidays: Holidays) -> Json:
    rules = [r for i, rule in enumerate(calendar.rule) for r in rule_to(rule, holidays, i)]
    return {"id": name, "ownerCMS": CMS, "rules": rules, "defaultProgram": calendar.default}


def assign_to(i: int, assign: AssignTable, taken: set[str]) -> tuple[Json, Json]:
    members = [d.id for d in DEVICES if assign.on.fits(d) and d.id not in taken]
    taken |= set(members)
    only_ids = not (assign.on.kind or assign.on.profile or assign.on.tag)
    group: Json = {
        "address": f"assign-{i}",
        "ownerCMS": CMS,
        "purpose": "calendar",
        "members": [{"resource": "devices", "address": m} for m in (assign.on.id if only_ids else members)],
    }
    if not only_ids:
        group[X] = {"selector": msgspec.to_builtins(assign.on)}
    command: Json = {
        "addresses": [{"resource": "groups", "address": f"assign-{i}"}],
        "entity": {"resource": "calendars", "address": assign.calendar},
    }
    return group, command


def plan_to(plan: PlanTable) -> Json:
    holidays = public_holidays(plan.holidays.country or "FR", plan.holidays.subdivision)
    taken: set[str] = set()
    pairs = [assign_to(i, a, taken) for i, a in enumerate(plan.assign)]
    return {
        "ControlProgramOne": [program_to(n, p) for n, p in plan.program.items()],
        "Calendar": [calendar_to(n, c, holidays) for n, c in plan.calendar.items()],
        "Group": [g for g, _ in pairs],
        "AssignCommand": [c for _, c in pairs],
        X: {"name": plan.name, "version": plan.version, "holidays": msgspec.to_builtins(plan.holidays)},
    }


def short(text: str) -> str:
    return told(when(text))


def sun_time(turn: str, offset: int, extra: Json) -> str:
    return told(SunTime(extra.get("turn", turn), offset))


def period_from(made: Json) -> PeriodTable:
    if made["name"] == "AbsoluteActivePeriod":
        return PeriodTable(on=short(made["startTime"]), off=short(made["endTime"]))
    extra = made.get(X, {})
    after = made.get("pcActiveBeforeSunrise", 0)
    return PeriodTable(
        on=sun_time("sunset", made["sunsetOffset"], extra.get("on", {})),
        off=sun_time("sunrise", made["sunriseOffset"] - after, extra.get("off", {})),
        photocell_before_min=made.get("pcActiveBeforeSunset", 0),
        photocell_after_min=after,
    )


def step_from(made: Json) -> StepTable:
    extra = made.get(X, {})
    at = sun_time(made["solarEventType"], made["offset"], extra)
    return StepTable(
        at=at, level=made["command"]["state"]["value"], op=None if extra.get("yields") else made["operation"].lower()
    )


def program_from(made: Json) -> ProgramTable:
    extra = made.get(X, {})
    fixed = [
        StepTable(at=short(f["startTime"]), level=f["command"]["state"]["value"]) for f in made["fixedTimeControls"]
    ]
    assert fixed[0].at == "12:00"
    return ProgramTable(
        active=tuple(period_from(p) for p in made["activePeriods"] if p["name"] != "SensorActivePeriod"),
        level=fixed[0].level,
        steps=(*fixed[1:], *(step_from(s) for s in made["astroClockTimeControls"])),
        day_level=extra.get("dayLevel", 0),
        photocell_by_day=any(p["name"] == "SensorActivePeriod" for p in made["activePeriods"]),
        point=extra.get("point", "dim_level"),
    )


def day_from(text: str) -> str:
    return f"*-{text[3:]}" if text.startswith("---") else text[2:]


def joined(item: Json, mark: str, read: Callable[[Any], str]) -> str:
    return read(item["start"]) + (f"{mark}{read(item['end'])}" if "end" in item else "")


def rules_from(made: list[Json]) -> Iterator[CalendarRuleTable]:
    def key(item: tuple[int, Json]) -> tuple[int, int]:
        i, rule = item
        found = rule.get(X, {}).get("rule")
        return (0, found) if found is not None else (1, i)

    for _, group in groupby(enumerate(made), key):
        rule = next(group)[1]
        extra, condition = rule.get(X, {}), rule.get("condition", {})
        if "holiday" in extra:
            yield CalendarRuleTable(
                program=rule["program"], holiday=extra["holiday"], name=extra["name"],
                from_=extra["from"], until=extra["until"],
            )  # fmt: skip
            continue
        yield CalendarRuleTable(
            program=rule["program"],
            name=extra.get("name", ""),
            days=tuple(joined(d, "-", lambda n: DAYS[n - 1]) for d in condition.get("days", ())),
            nth=tuple("last" if n == "L" else n for n in condition.get("occurrences", ())),
            dates=tuple(joined(d, "..", day_from) for d in condition.get("dates", ())),
            from_=rule.get("startDate", "").removeprefix("--"),
            until=rule.get("endDate", "").removeprefix("--"),
        )


def plan_from(made: Json) -> PlanTable:
    groups = {g["address"]: g for g in made["Group"]}
    assign: list[AssignTable] = []
    for command in made["AssignCommand"]:
        group = groups[command["addresses"][0]["address"]]
        selector = group.get(X, {}).get("selector") or {"id": [m["address"] for m in group["members"]]}
        assign.append(AssignTable(calendar=command["entity"]["address"], on=msgspec.convert(selector, Selector)))
    return PlanTable(
        program={p["id"]: program_from(p) for p in made["ControlProgramOne"]},
        calendar={
            c["id"]: CalendarTable(default=c["defaultProgram"], rule=tuple(rules_from(c["rules"])))
            for c in made["Calendar"]
        },
        assign=tuple(assign),
        name=made[X]["name"],
        version=made[X]["version"],
        holidays=msgspec.convert(made[X]["holidays"], HolidaysTable),
    )
