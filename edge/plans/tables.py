"""Words: what a plan file says, as tables and as texts.

Bounds: 256 KiB of text, 100 programs of 50 steps and 8 active periods, 100 calendars with 400 rules together, 200
assignments of 2,000 device ids each. The words map onto TALQ 2.7.1 (docs/plans.md has the table).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from edge.plans.dates import Nth, day_ranges, span, span_end, weekdays
from edge.plans.times import ClockTime, SunTime, when
from edge.sampling.lines import says
from edge.selector import Selector
from wire.orders import MAX_BUNDLE_BYTES

MAX_TEXT_BYTES: Final = MAX_BUNDLE_BYTES  # of a file too
MAX_PROGRAMS: Final = 100  # these two and MAX_RULES are checked in load, where the whole is known
MAX_STEPS: Final = 50
MAX_PERIODS: Final = 8
MAX_CALENDARS: Final = 100
MAX_RULES: Final = 400
MAX_ASSIGNMENTS: Final = 200
MAX_MARGIN_MIN: Final = 120

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$",
        title="up to 64 letters without accents, digits and . _ : -",
        examples=["street"],
    ),
]
# It is shown in terminals.
Line = Annotated[
    str, Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", title="one line, without control characters")
]
Level = Annotated[int, Meta(ge=0, le=100)]
Margin = Annotated[int, Meta(ge=0, le=MAX_MARGIN_MIN)]
Operation = Literal["set", "max", "min", "add", "sub", "mul"]


def _wrong(found: Mapping[str, Callable[[], object]]) -> None:
    """Try to read some texts; what is wrong in any of them is reported at once.

    Raises:
        ValueError: names the keys and says what to write.
    """
    told: list[str] = []
    for key, read in found.items():
        try:
            read()
        except ValueError as error:
            told.append(f"{key} {error}")
    if told:
        raise ValueError("; ".join(told))


class PeriodTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`active = [{ … }]`: when the lamps of a program are on. Both ends by the clock, or both by the sun."""

    on: Annotated[str, says('when it begins: a clock time, or dusk or sunset with minutes, such as "dusk-10"')]
    off: Annotated[str, says('when it ends: a clock time, or dawn or sunrise with minutes, such as "sunrise+5"')]
    photocell_before_min: Annotated[
        Margin, says("by how many minutes a photocell that says dark may bring on forward")
    ] = 0
    photocell_after_min: Annotated[Margin, says("by how many minutes a photocell that says dark may put off back")] = 0

    def __post_init__(self) -> None:
        """Refuse ends that are not a pair."""
        _wrong({"on": lambda: when(self.on), "off": lambda: when(self.off)})
        match when(self.on), when(self.off):
            case ClockTime(), ClockTime():
                if self.photocell_before_min or self.photocell_after_min:
                    raise ValueError("a photocell moves on and off by the sun only; here they are clock times")
            case SunTime() as on, SunTime() as off:
                if not on.evening or off.evening:
                    raise ValueError("on must be by dusk or sunset, off by dawn or sunrise")
            case _:
                raise ValueError(
                    "on and off must both be clock times or both be by the sun; "
                    'write on and off by the sun, and a step such as { at = "23:00", level = 0 } for the hours without'
                )


class StepTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`steps = [{ … }]`: from when on which level."""

    at: Annotated[str, says('a clock time, or dusk, dawn, sunset, sunrise with minutes, such as "dawn-30"')]
    level: Annotated[Level, says("percent")]
    op: Annotated[
        Operation | None,
        says(
            "only with the sun: lay this level over the steps by the clock, until the next step by the sun; "
            "left out: a step like the others, until the next one"
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what is no time, and a layer by the clock."""
        _wrong({"at": lambda: when(self.at)})
        if self.op is not None and isinstance(when(self.at), ClockTime):
            raise ValueError("op is for steps by the sun (dusk, dawn, sunset, sunrise); leave it out here")


class ProgramTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[program.NAME]`: one night of a lamp."""

    active: Annotated[
        Annotated[tuple[PeriodTable, ...], Meta(max_length=MAX_PERIODS)],
        says("when the lamps are on; an empty list: day and night"),
    ]
    level: Annotated[Level, says("percent, from the beginning of the night to the first step")]
    steps: Annotated[
        Annotated[tuple[StepTable, ...], Meta(max_length=MAX_STEPS)], says("the other levels of the night")
    ] = ()
    day_level: Annotated[Level, says("percent, when the program is not active")] = 0
    photocell_by_day: Annotated[
        bool, says("a photocell that says dark turns the lamps on at any time of the day, as in a storm")
    ] = False
    point: Annotated[
        Annotated[
            str,
            Meta(pattern="^[a-z0-9_]{1,64}$", title="small letters, digits and _", examples=["dim_level"]),
        ],
        says("the point that is set"),
    ] = "dim_level"

    def __post_init__(self) -> None:
        """Refuse two steps at the same time: which of them counts?"""
        times = [when(s.at) for s in self.steps]
        if twice := sorted({s.at for s, time in zip(self.steps, times, strict=True) if times.count(time) > 1}):
            raise ValueError(f"steps has {', '.join(twice)} twice; keep one of them")


class CalendarRuleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[[calendar.NAME.rule]]`: a program for some nights. Of `days`, `dates` and `holiday` at most one is written."""

    program: Annotated[str, says("the program of these nights")]
    name: Annotated[Line, says("why, for people")] = ""
    days: Annotated[
        Annotated[tuple[str, ...], Meta(max_length=7)], says('weekdays: "mon" … "sun", or from-to as in "mon-fri"')
    ] = ()
    nth: Annotated[
        Annotated[tuple[Nth, ...], Meta(max_length=5)],
        says("with days: only the first, second … last of them in the month"),
    ] = ()
    dates: Annotated[
        Annotated[tuple[str, ...], Meta(max_length=100)],
        says('dates of every year: "07-14", "*-01" (of every month), or from..to as in "12-24..12-31"'),
    ] = ()
    holiday: Annotated[
        Literal["day", "eve"] | None, says('public holidays ("day"), or the days before them ("eve")')
    ] = None
    from_: Annotated[str, says('first night: "2026-06-21", or "06-21" for every year')] = msgspec.field(
        default="", name="from"
    )
    until: Annotated[str, says("last night, written in the same way")] = ""

    def __post_init__(self) -> None:
        """Refuse what names no nights."""
        _wrong(
            {
                "has": self._one_of_three,
                "nth": self._nth_of_days,
                "days": lambda: weekdays(self.days, self.nth),
                "dates": lambda: day_ranges(self.dates),
                "from": lambda: span_end(self.from_),
                "until": lambda: span_end(self.until),
            }
        )
        _wrong({"until": lambda: span(self.from_, self.until)})

    def _one_of_three(self) -> None:
        if [bool(self.days), bool(self.dates), self.holiday is not None].count(True) > 1:
            raise ValueError("more than one of days, dates, holiday; write a rule for each")

    def _nth_of_days(self) -> None:
        if self.nth and not self.days:
            raise ValueError('needs days, as in days = ["sun"], nth = ["last"]')


class CalendarTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[calendar.NAME]`: which program on which night. The first rule that fits decides."""

    default: Annotated[str, says("the program of nights that no rule names")]
    rule: Annotated[
        Annotated[tuple[CalendarRuleTable, ...], Meta(max_length=MAX_RULES)], says("its rules, in order")
    ] = ()


class AssignTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[[assign]]`: which devices follow which calendar. The first that fits a device decides."""

    calendar: Annotated[str, says("the calendar that they follow")]
    on: Annotated[Selector, says("the devices: kind, profile, tag, id")]


class HolidaysTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[holidays]`: whose public holidays are meant."""

    country: Annotated[str, says('ISO 3166-1 code, such as "FR"; left out: the country of the site')] = ""
    subdivision: Annotated[str, says("a part of it with holidays of its own, by its ISO 3166-2 code")] = ""


class PlanTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The whole file."""

    name: Annotated[Line, says("what people call it")]
    version: Annotated[int | Line, says("a number or a text that changes with it")]
    program: Annotated[Mapping[Name, ProgramTable], says("programs by name")]
    calendar: Annotated[
        Mapping[Name, CalendarTable],
        says("calendars by name"),
    ]
    assign: Annotated[
        Annotated[tuple[AssignTable, ...], Meta(min_length=1, max_length=MAX_ASSIGNMENTS)],
        says("who follows which calendar"),
    ]
    holidays: Annotated[HolidaysTable, says("whose public holidays are meant")] = HolidaysTable()
