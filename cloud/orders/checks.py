"""Checks: what is asked for, against what is known of the devices; orders, or all that is wrong. Pure.

The same is checked again by the node, which has the last word: what is refused here never leaves, what is refused
there comes back as a result.

Bounds: MAX_GROUP_DEVICES orders a request, an order lives MAX_LIFE_US, devices that are not known are named up to
MAX_UNKNOWN, a text that is wrong is told as far as MAX_SHOWN characters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from cloud.orders.requests import CommandGiven, GroupGiven, RelinquishGiven
from cloud.records.orders import Draft
from cloud.records.tokens import TokenScope
from cloud.times import DAY_US, SECOND_US, parse, text
from cloud.views.contract import KnownDevice, TargetsAsked
from cloud.views.within import Within
from groundwork.nearest import near
from groundwork.plain_names import why_not_plain
from wire.device import Point
from wire.orders import Command, Relinquish
from wire.sample import why_unstorable
from wire.time import Micros, Utc

MAX_GROUP_DEVICES: Final = 10_000
MAX_LIFE_US: Final = Micros(30 * DAY_US)
MAX_UNKNOWN: Final = 5
MAX_SHOWN: Final = 50
MAX_BY: Final = 200  # as `wire.entries.Name`

Draw = Callable[[], str]  # a name that nobody has drawn before


class Wrongs(msgspec.Struct):
    """What is wrong so far; `unknown` are devices, for 404 goes before all else."""

    problems: list[str] = msgspec.field(default_factory=list[str])
    unknown: list[str] = msgspec.field(default_factory=list[str])


class Given(msgspec.Struct, frozen=True):
    """Who gives the orders and when; `group` is one for all of a request."""

    by: str
    now_us: Utc
    group: str
    draw: Draw


def author(token: str, person: str, wrongs: Wrongs) -> str:
    """Who gives orders, as it is shown everywhere: the person, where one is named, and always the token."""
    if not person:
        return token
    if (why := why_not_plain(person)) is not None:
        wrongs.problems.append(f"on_behalf: {person[:MAX_SHOWN]!r} {why}")
    return f"{person} ({token[: MAX_BY - len(person) - 3]})"


def permitted(scope: TokenScope, within: Within, target: KnownDevice) -> bool:
    """Say whether a token may order a device; `within` is what its areas and groups mean now."""
    device = target.described
    return device is not None and (not scope.kinds or device.kind in scope.kinds) and within.takes(device, target.node)


def aimed_at(given: CommandGiven | RelinquishGiven, wrongs: Wrongs) -> TargetsAsked | None:
    """Which devices are meant; what its area and the group that it names mean is to be added."""
    said = [n for n in ("device", "devices") if getattr(given, n) is not None]
    said += [" and ".join(n for n in ("group", "area") if getattr(given, n) is not None)]
    said = [n for n in said if n]
    if len(said) != 1:
        wrongs.problems.append(
            f"write one of device, devices, and group or area or both, not {' and '.join(said) or 'none of them'}"
        )
        return None
    if given.device is not None:
        return TargetsAsked(devices=(given.device,))
    if given.devices is not None:
        doubled, times = Counter(given.devices).most_common(1)[0]
        if times > 1:
            wrongs.problems.append(f"devices: {doubled!r} stands there more than once")
        return TargetsAsked(devices=given.devices)
    group = given.group
    if not isinstance(group, GroupGiven):
        return TargetsAsked()
    if group.kind is group.profile is group.tag is group.node is None:
        wrongs.problems.append("group: say at least one of kind, profile, tag and node")
        return None
    return TargetsAsked(kind=group.kind, profile=group.profile, tag=group.tag, node=group.node)


def names_in(given: CommandGiven | RelinquishGiven) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The area and the kept group that are named, where there are any."""
    return (
        () if given.area is None else (given.area,),
        (given.group,) if isinstance(given.group, str) else (),
    )


def end_of(
    until: str | float | None,
    for_s: float | None,
    names: tuple[str, str],
    now_us: Utc,
    wrongs: Wrongs,
    default_us: Micros | None = None,
) -> Utc:
    """UTC microseconds of an end that is written as a time or as seconds from now: in the future, within
    MAX_LIFE_US."""
    if until is None and for_s is None and default_us is not None:
        return now_us + default_us
    if (until is None) == (for_s is None):
        wrongs.problems.append(f"write one of {names[0]} (RFC 3339) and {names[1]}")
        return now_us
    try:
        end_us = now_us + Micros((for_s or 0) * SECOND_US) if until is None else parse(str(until))
    except ValueError as error:
        wrongs.problems.append(f"{names[0]}: {error}")
        return now_us
    name = names[1] if until is None else names[0]
    if end_us <= now_us:
        wrongs.problems.append(f"{name}: {text(end_us)} is not in the future; it is {text(now_us)} now")
    elif end_us > now_us + MAX_LIFE_US:
        wrongs.problems.append(f"{name}: {text(end_us)} is more than {MAX_LIFE_US // DAY_US} days from now")
    return end_us


def drafts_of(
    given: CommandGiven | RelinquishGiven, targets: Sequence[KnownDevice], expires_us: Utc, by: Given, wrongs: Wrongs
) -> list[Draft]:
    """One order for each device, all with the group's id; what is wrong is reported once for each profile."""
    if len(targets) > MAX_GROUP_DEVICES:
        wrongs.problems.append(f"more than {MAX_GROUP_DEVICES} devices are meant; give the order in parts")
        return []
    checked: dict[tuple[str, int], bool | int | float | str | None] = {}
    drafts: list[Draft] = []
    for target in targets:
        if target.described is None:
            wrongs.problems.append(f"device {target.id!r} is in no roster now: which points it has is not known")
            continue
        key = (target.described.profile, id(target.points))
        if key not in checked:
            checked[key] = _checked(given, target, wrongs)
        value = checked[key]
        if value is None:
            continue
        fields: dict[str, Any] = {"id": f"o-{by.draw()}", "group": by.group, "by": by.by, "issued_us": by.now_us}
        fields |= {"expires_us": expires_us, "device": target.id, "point": given.point, "level": given.level}
        if isinstance(given, RelinquishGiven):
            drafts.append(Draft(Relinquish(**fields), target.node, target.described.kind))
        else:
            drafts.append(Draft(Command(**fields, value=value), target.node, target.described.kind))
    return drafts


def _checked(
    given: CommandGiven | RelinquishGiven, target: KnownDevice, wrongs: Wrongs
) -> bool | int | float | str | None:
    """The value as the point takes it (True where none is given), or None when something is wrong."""
    points = {p.name: p for p in target.points}
    point = points.get(given.point)
    if point is None:
        meant = near(given.point, points)
        writable = ", ".join(p.name for p in target.points if p.writable)
        hint = f"did you mean {meant}?" if meant else f"writable are: {writable or 'none'}"
        wrongs.problems.append(f"point: {target.id} has no point {given.point!r}; {hint}")
        return None
    if not point.writable:
        wrongs.problems.append(f"point: {point.name} of {target.id} cannot be written")
        return None
    if isinstance(given, RelinquishGiven):
        return True
    if (why := why_not(point, given.value)) is not None:
        wrongs.problems.append(f"value: {why}, for {point.name} of {target.id}")
        return None
    return float(given.value) if point.type == "float" else given.value


def why_not(point: Point, value: bool | float | str) -> str | None:
    """Say why a point cannot have a value, or None when it can."""
    told = f"{value[:MAX_SHOWN]!r}" if isinstance(value, str) else str(value).lower()
    match point.type:
        case "bool":
            return None if isinstance(value, bool) else f"must be true or false, not {told}"
        case "text":
            if not isinstance(value, str):
                return f"must be a text, not {told}"
            if point.choices and value not in point.choices:
                return f"is {told}; it is one of {', '.join(point.choices)}"
            return why_unstorable(value)
        case "int" | "float":
            if isinstance(value, bool | str):
                return f"must be a number, not {told}"
            if point.type == "int" and isinstance(value, float):
                return f"must be a whole number, not {told}"
    if (why := why_unstorable(value)) is not None:
        return why
    if not math.isfinite(value):  # 1e999 is one in JSON
        return "must be a finite number"
    if (point.low is not None and value < point.low) or (point.high is not None and value > point.high):
        return f"{told} lies outside {_range(point)}"
    return None


def _range(point: Point) -> str:
    low = "…" if point.low is None else f"{point.low:g}"
    high = "…" if point.high is None else f"{point.high:g}"
    return f"{low} to {high} {point.unit}".rstrip()
