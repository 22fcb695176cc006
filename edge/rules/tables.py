"""The words of a rules file, as `[[rule]]` tables hold them. `edge/rules/load.py` reads and checks them.

What a single table can tell by itself is checked here; what needs the roster is not. Bounds: MAX_WINDOWS_A_RULE,
MAX_CONDITION_CHARS, MAX_WINDOW_S, MAX_HOLD_S.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from edge.selector import Selector
from wire.entries import Severity

MAX_CONDITION_CHARS: Final = 1_000
MAX_WINDOW_S: Final = 86_400
MAX_WINDOWS_A_RULE: Final = 8
MAX_HOLD_S: Final = 86_400
MAX_WAIT_S: Final = 604_800
OPERATIONS: Final = ("mean", "max", "min", "count", "rate")

Condition = Annotated[str, Meta(min_length=1, max_length=MAX_CONDITION_CHARS)]
WindowName = Annotated[
    str,
    Meta(pattern=r"^[a-z_][a-z0-9_]{0,63}$", title="small letters, digits and _, a letter first", examples=["busy"]),
]


def says(text: str) -> Any:
    """What docs/rules.md says of a key."""
    return Meta(description=text)


class WindowTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`window.NAME`: one number over a stretch of time that ends now."""

    mean: Annotated[str, says("the point whose mean it is; of a yes or no point: the share of yes")] = ""
    max: Annotated[str, says("the point whose greatest value it is")] = ""
    min: Annotated[str, says("the point whose least value it is")] = ""
    count: Annotated[str, says("the point whose values are counted")] = ""
    rate: Annotated[str, says("the point whose change per second it is, first to last value")] = ""
    over_s: Annotated[float, Meta(ge=1, le=MAX_WINDOW_S), says("how long the stretch is")]

    def __post_init__(self) -> None:
        if len([o for o in OPERATIONS if getattr(self, o)]) != 1:
            raise ValueError(f"write exactly one of {', '.join(OPERATIONS)}, with the name of a point")

    @property
    def operation(self) -> str:
        """Which of OPERATIONS."""
        return next(o for o in OPERATIONS if getattr(self, o))


class Consequence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `alarm.suppresses`, narrowed to some devices."""

    rule: Annotated[str, says("the rule whose alarms are a consequence of this one")]
    on: Annotated[Selector, says("of which devices")]


class TextTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`alarm.text`"""

    en: Annotated[str, Meta(max_length=300), says("in English")] = ""
    fr: Annotated[str, Meta(max_length=300), says("in French")] = ""

    def __post_init__(self) -> None:
        if not (self.en or self.fr):
            raise ValueError('has no words; write en = "…" and fr = "…"')


class AlarmTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`alarm`"""

    severity: Annotated[Severity, says("how bad it is")]
    text: Annotated[TextTable, says("what it says, in en and fr; {NAME} stands for a value that the rule names")]
    respond_within_s: Annotated[
        Annotated[float, Meta(ge=1, le=30 * 86_400)] | None, says("by when someone must have acted")
    ] = None
    suppresses: Annotated[
        Annotated[tuple[str | Consequence, ...], Meta(max_length=50)],
        says("rules whose alarms are a consequence of this one; { rule, on } narrows to some devices"),
    ] = ()


class CommandTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`command`"""

    point: Annotated[str, says("the writable point that is set")]
    value: Annotated[bool | int | float | str, says("what to")]
    hold_s: Annotated[
        float, Meta(ge=1, le=MAX_HOLD_S), says("how long it is held after the rule was last known to be true")
    ]
    on: Annotated[Selector | None, says("which devices are set; left out: the device itself")] = None
    release: Annotated[bool, says("give the point back as soon as the rule is over")] = False


class RuleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[rule]]`"""

    name: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", title='small letters, digits and "-"', examples=["cold-lamp"]),
        says("its name, once a node: small letters, digits and -"),
    ]
    on: Annotated[Selector, says("which devices it watches: kind, profile, tag, id")]
    when: Annotated[Condition, says("the condition")]
    clear: Annotated[
        Annotated[str, Meta(max_length=MAX_CONDITION_CHARS)],
        says("what ends it; left out: `when` is not true"),
    ] = ""
    for_s: Annotated[float, Meta(ge=0, le=MAX_WINDOW_S), says("how long `when` must hold before anything happens")] = 0
    min_interval_s: Annotated[
        float, Meta(ge=0, le=MAX_WAIT_S), says("the least time from one beginning to the next on a device")
    ] = 0
    silent_s: Annotated[
        Annotated[float, Meta(ge=1, le=MAX_WAIT_S)] | None,
        says("after how long `silent` is true; left out: the longest stale_after_s of the profile, else 300"),
    ] = None
    window: Annotated[
        Annotated[dict[WindowName, WindowTable], Meta(max_length=MAX_WINDOWS_A_RULE)],
        says("numbers over a time, by name"),
    ] = {}
    units: Annotated[dict[str, str], says("units that you rely on, by point; they must be the profile's")] = {}
    alarm: Annotated[AlarmTable | None, says("an alarm is raised")] = None
    command: Annotated[CommandTable | None, says("a point is set")] = None
    tag: Annotated[str, Meta(max_length=64), says("the feed is tagged with this word")] = ""

    def __post_init__(self) -> None:
        if self.alarm is None and self.command is None and not self.tag:
            raise ValueError("does nothing; write an alarm, a command or a tag")
        if len(self.window) > MAX_WINDOWS_A_RULE:
            raise ValueError(f"window: has {len(self.window)}; a rule has at most {MAX_WINDOWS_A_RULE}")
