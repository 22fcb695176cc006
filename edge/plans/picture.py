"""Picture: one night of a calendar, drawn for a terminal, so that someone can see what the lamps will do and why.

Text without colour, at most WIDTH columns: the levels over the hours, the sky below them, then each change with the
words of the plan that bring it. In English or French. A column is COLUMN_US of real time, so that the night when the
clock goes forward is shorter, and the one when it goes back is longer.
"""

from __future__ import annotations

from datetime import date
from typing import Final, Literal
from zoneinfo import ZoneInfo

from edge.plans.local import SECOND_US, in_night, to_datetime
from edge.plans.plan import Night, Plan
from edge.plans.sun import CIVIL_DEG, HORIZON_DEG, TURNS, Sun
from edge.plans.tables import PeriodTable
from wire.time import Micros, Utc

Language = Literal["en", "fr"]
WIDTH: Final = 100
COLUMN_US: Final = Micros(20 * 60 * SECOND_US)
ROWS: Final = 5
HOUR_US: Final = Micros(3600 * SECOND_US)
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_MARGIN: Final = 6  # "100 %│" in front of each line

_WEEKDAYS: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "fr": ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
}
_WORDS: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "head": "{name}, version {version}: night of {weekday} {night} ({hours} h)",
        "named": 'because of its rule "{why}"',
        "why": "because of its rule for {why}",
        "eve": "the eve of {why}",
        "every": "every night",
        "default": "as on any night",
        "calendar": "calendar {calendar}: program {program}, {why}",
        "devices": "{n} device(s), point {point}",
        "light": "none (light)",
        "dark": "none (dark)",
        "sunset": "sunset",
        "dusk": "dusk",
        "dawn": "dawn",
        "sunrise": "sunrise",
        "sky": "sky",
        "key": "sky: blank day, ░ twilight, ▓ night",
        "off": "off",
        "noon": "from noon on",
        "constant": "the same all night: {level} %",
        "margin": "photocell: on up to {before} min earlier, off up to {after} min later, when it says dark",
        "by_day": "photocell: on at any time of the day when it says dark",
    },
    "fr": {
        "head": "{name}, version {version} : nuit du {weekday} {night} ({hours} h)",
        "named": "par sa règle « {why} »",
        "why": "par sa règle pour : {why}",
        "eve": "veille de {why}",
        "every": "toutes les nuits",
        "default": "comme toute autre nuit",
        "calendar": "calendrier {calendar} : programme {program}, {why}",
        "devices": "{n} appareil(s), point {point}",
        "light": "aucun (jour)",
        "dark": "aucun (nuit)",
        "sunset": "coucher",
        "dusk": "crépuscule",
        "dawn": "aube",
        "sunrise": "lever",
        "sky": "ciel",
        "key": "ciel : vide = jour, ░ = crépuscule civil, ▓ = nuit",
        "off": "éteint",
        "noon": "dès midi",
        "constant": "constant toute la nuit : {level} %",
        "margin": "cellule : allume jusqu'à {before} min avant, éteint jusqu'à {after} min après, "
        "si elle détecte l'obscurité",
        "by_day": "cellule : allume à toute heure du jour si elle détecte l'obscurité",
    },
}


def picture(plan: Plan, calendar: str, night: date, *, devices: int = 0, language: Language = "en") -> str:
    """One night of a calendar, as lines of text without a newline at the end. `devices`: how many follow it."""
    words = _WORDS[language]
    found = plan.night(calendar, night)
    program = plan.table.program[found.choice.program]
    hours = round((found.end_us - found.start_us) / HOUR_US)
    weekday = _WEEKDAYS[language][night.weekday()]
    lines = [
        words["head"].format(
            name=plan.name, version=plan.version, weekday=weekday, night=night.isoformat(), hours=hours
        ),
        words["calendar"].format(
            calendar=calendar, program=found.choice.program, why=_why(plan, calendar, found, words)
        ),
        words["devices"].format(n=devices, point=program.point),
        _turns(plan.sun, night, plan.zone, words),
        "",
        *_levels(found),
        " " * _MARGIN + _axis(found, plan.zone),
        f"{words['sky'][: _MARGIN - 1]:<{_MARGIN}}" + _sky(found, plan.sun),
        "",
        *_changes(found, plan.zone, words),
        "",
        words["key"],
        *_photocell(program.active, words),
        *([words["by_day"]] if program.photocell_by_day else []),
    ]
    return "\n".join(line.rstrip()[:WIDTH] for line in lines)


def _why(plan: Plan, calendar: str, night: Night, words: dict[str, str]) -> str:
    """By the name of the rule, as errors tell of it too, else by what it is for."""
    choice = night.choice
    if choice.rule is None:
        return words["default"]
    rule = plan.table.calendar[calendar].rule[choice.rule]
    if rule.name:
        return words["named"].format(why=rule.name)
    why = choice.why or words["every"]
    return words["why"].format(why=words["eve"].format(why=why) if rule.holiday == "eve" else why)


def _turns(sun: Sun, night: date, zone: ZoneInfo, words: dict[str, str]) -> str:
    """`sunset 19:02, dusk 19:34, …`, or why they do not come."""
    told: list[str] = []
    for turn in TURNS:
        found = sun.turn(turn, night)
        text = to_datetime(found, zone).strftime("%H:%M") if isinstance(found, int) else words[found]
        told.append(f"{words[turn]} {text}")
    return ", ".join(told)


def _columns(night: Night) -> list[Utc]:
    """The middle of each column."""
    return [Utc(t) for t in range(night.start_us + COLUMN_US // 2, night.end_us, COLUMN_US)]


def _levels(night: Night) -> list[str]:
    step = 100 // ROWS
    levels = [next(s.level for s in night.spans if s.since_us <= t < s.until_us) for t in _columns(night)]
    lines: list[str] = []
    for low in range(100 - step, -1, -step):
        cells = (round((level - low) / step * (len(_BLOCKS) - 1)) for level in levels)
        bar = "".join(_BLOCKS[min(max(c, 0), len(_BLOCKS) - 1)] for c in cells)
        lines.append(f"{low + step:3} %│{bar}")
    return lines


def _axis(night: Night, zone: ZoneInfo) -> str:
    """The hours that the clock shows, every second one."""
    line = [" "] * (len(_columns(night)) + 2)
    for hour in [*range(12, 24, 2), *range(0, 12, 2)]:
        at = (in_night(night.date, hour * 3600, zone) - night.start_us) // COLUMN_US
        line[at : at + 2] = f"{hour:02}"
    return "".join(line)


def _sky(night: Night, sun: Sun) -> str:
    cells: list[str] = []
    for time_us in _columns(night):
        high = sun.elevation_deg(time_us)
        cells.append(" " if high >= HORIZON_DEG else "░" if high >= CIVIL_DEG else "▓")
    return "".join(cells)


def _changes(night: Night, zone: ZoneInfo, words: dict[str, str]) -> list[str]:
    if len(night.spans) == 1:
        return [words["constant"].format(level=night.spans[0].level)]
    lines: list[str] = []
    for span in night.spans:
        if span.since_us == night.start_us and not span.on:
            continue
        clock = to_datetime(span.since_us, zone).strftime("%H:%M")
        level = f"{span.level:3} %" if span.on or span.level else f"{words['off']:>5}"
        lines.append(f"{clock}  {level:<8}{span.why or words['noon']}")
    return lines


def _photocell(periods: tuple[PeriodTable, ...], words: dict[str, str]) -> list[str]:
    return [
        words["margin"].format(before=p.photocell_before_min, after=p.photocell_after_min)
        for p in periods
        if p.photocell_before_min or p.photocell_after_min
    ]
