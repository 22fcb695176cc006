"""Devices: what a page says of each: how it is, in words and as a strip, what to check, its values with their curves.

Bounds: MAX_READINGS points a device; those of `edge.web.drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from drivers.contract import Attachment
from edge.sampling.last_samples import Known
from edge.sampling.lines import AttachedLine, DeviceTable
from edge.sampling.quality_history import BAD, GOOD, PARTLY
from edge.trouble import Trouble
from edge.web import advice, drawing, reasons
from edge.web.advice import Advice, JudgedDevice
from edge.web.language import Speech
from edge.web.sight import DAY_US, Sight
from wire.columns import ABSENT, Columns
from wire.device import Point
from wire.sample import Value
from wire.time import Micros, Utc, micros

MAX_READINGS: Final = 64
MAX_TEXT_CHARS: Final = 60


@dataclass(frozen=True)
class Hung:
    """A device where it hangs."""

    attachment: Attachment
    line: AttachedLine
    table: DeviceTable

    @property
    def id(self) -> str:
        """Its id."""
        return self.attachment.device.id

    @property
    def polled(self) -> bool:
        """Whether it is asked, and does not speak by itself."""
        return bool(self.line.kind.polled(self.attachment.profile))

    @property
    def every_s(self) -> float:
        """How often it is expected."""
        return self.table.poll_s if self.polled else self.table.expect_s


@dataclass(frozen=True)
class Row:
    """One line of the list."""

    id: str
    name: str
    state: str  # well, partly, waiting, act: a class of the style sheet
    words: str
    strip: Sequence[tuple[str, str]]
    strip_words: str


@dataclass(frozen=True)
class Reading:
    """One point."""

    label: str
    name: str
    value: str
    doubt: str
    curve: tuple[str, str] | None
    blocks: str | None
    low: str
    high: str
    main: bool


def hung(lines: Sequence[AttachedLine]) -> dict[str, Hung]:
    """All devices by id, in the order of the configuration."""
    return {a.device.id: Hung(a, line, line.tables[a.device.id]) for line in lines for a in line.attachments}


def address(device: Hung, speech: Speech) -> str:
    """Its address in words."""
    found: Mapping[str, Any] = msgspec.to_builtins(device.attachment.address)
    words = [
        speech.say("unit {n}", n=value) if key == "unit" else str(value)
        for key, value in found.items()
        if value not in ("", None) and not key.endswith("_s")
    ]
    return ", ".join(words)


def judge(device: Hung, trouble: Trouble, sight: Sight, speech: Speech, *, others_answer: bool) -> Advice:
    """What is wrong with one device, and what to check."""
    if trouble.code == "silent" and never(trouble.device, sight):
        trouble = msgspec.structs.replace(trouble, code="never-heard")  # no need to wait for what is plain
    seen = JudgedDevice(
        name=device.attachment.device.name or device.id,
        protocol=device.line.kind.name,
        line=device.line.name,
        address=address(device, speech),
        polled=device.polled,
        others_answer=others_answer,
        since_us=since_us(trouble, sight),
    )
    return advice.of_device(trouble, seen, speech)


def since_us(trouble: Trouble, sight: Sight) -> Utc:
    """When a device's trouble began, in UTC microseconds: before the node's start, where the card remembers."""
    began = utc(trouble.since, sight)
    if trouble.code == "silent" and sight.street.devices[trouble.device].good is None:
        return min(began, sight.history.heard_us(trouble.device) or began)
    return began


def never(device: str, sight: Sight) -> bool:
    """Whether nothing good ever came from a device, as far as the card remembers."""
    known = sight.street.devices[device]
    return known.good is None and not known.recalled and sight.history.heard_us(device) is None


def utc(since: float | None, sight: Sight) -> Utc:
    """When something began, in UTC microseconds."""
    now_us = sight.now()[0]
    return now_us if since is None else now_us - Micros((sight.monotonic() - since) * 1e6)


def row(device: Hung, trouble: Trouble | None, sight: Sight, speech: Speech, *, alarms: int = 0) -> Row:
    """One line of the list."""
    known = sight.street.devices[device.id]
    slots = sight.history.slots(device.id, device.every_s)
    state, words = state_of(known, trouble, sight, speech)
    if alarms:
        state = "act" if state != "act" else state
        words = speech.count("{n} alarm", "{n} alarms", alarms) + " · " + words
    return Row(
        id=device.id,
        name=device.attachment.device.name or device.id,
        state=state,
        words=words,
        strip=drawing.strip(slots),
        strip_words=strip_words(slots, speech),
    )


def state_of(known: Known, trouble: Trouble | None, sight: Sight, speech: Speech) -> tuple[str, str]:
    """`well`, `partly`, `waiting` or `act`, and why."""
    heard_us = None if known.good is None else utc(known.good, sight)
    ago = None if heard_us is None else speech.ago(heard_us)
    if trouble is not None:
        match trouble.code:
            case "misconfigured":
                return "act", speech.say("not read: wrong profile or address")
            case _ if trouble.code == "never-heard" or never(trouble.device, sight):
                return "act", speech.say("never heard since the start")
            case _:
                since = speech.clock(since_us(trouble, sight))
                return "act", speech.say("silent since {since}", since=since)
    if known.why:
        return "partly", speech.say("did not answer the last time")
    if ago is None:
        return "waiting", speech.say("not heard yet since the start")
    if known.sample is not None and any(q.startswith("bad") for q in known.sample.quality.values()):
        n = sum(q.startswith("bad") for q in known.sample.quality.values())
        return "partly", ago + " · " + speech.count("{n} value missing", "{n} values missing", n)
    return "well", ago


def birth(device: Hung, sight: Sight, down: Mapping[str, str], speech: Speech) -> tuple[str, str] | None:
    """Of a device that has just been put up or replaced: `well`, `act` or `waiting`, and how it comes alive."""
    born = sight.birth(device.id)
    if born is None:
        return None
    known = sight.street.devices[device.id]
    when = speech.say("New here since {time}, by {name}.", time=speech.to_the_second(born.time_us), name=born.by)
    if known.good is not None and known.good >= born.at_s:
        return "well", when + " " + speech.say("It is alive: its first values have come.")
    why = known.fault or down.get(device.line.name) or known.why
    if why:
        return "act", when + " " + speech.say("No answer yet: {why}.", why=reasons.said(reasons.plain(why), speech))
    return "waiting", when + " " + speech.say("Its first values are waited for …")


def strip_words(slots: Sequence[int], speech: Speech) -> str:
    """What a strip shows, for who does not see it."""
    known = sum(1 for s in slots if s)
    if not known:
        return speech.say("Last 24 hours: nothing is known")
    good = sum(1 for s in slots if s == GOOD)
    text = speech.say("Last 24 hours: good {percent} % of what is known", percent=speech.number(100 * good / known))
    hours = sum(1 for s in slots if s == BAD) / 4
    partly = sum(1 for s in slots if s == PARTLY) / 4
    if hours:
        text += ", " + speech.say("no answer for {hours} h", hours=speech.number(hours, 1))
    if partly:
        text += ", " + speech.say("with gaps for {hours} h", hours=speech.number(partly, 1))
    return text


def readings(device: Hung, known: Known, day: Sequence[Columns], sight: Sight, speech: Speech) -> list[Reading]:
    """Its points, those first that are not good, then those that people set or watch. What never changes by itself,
    such as a model's number, is not among the main ones."""
    to_us = sight.now()[0]
    from_us = to_us - DAY_US
    sample = known.sample
    values: Mapping[str, Value] = {} if sample is None else sample.values
    quality: Mapping[str, str] = {} if sample is None else sample.quality
    series = _series(day, set(device.attachment.profile.points))
    found: list[tuple[tuple[bool, bool, bool], Reading]] = []
    for point in device.attachment.profile.points.values():
        past = series.get(point.name, [])
        if point.name not in values and not past:
            continue
        value = values.get(point.name, past[-1][1] if past else None)
        doubt = quality.get(point.name, "")
        reading = _reading(point, value, doubt, past, from_us, to_us, device.every_s, speech)
        found.append(((not doubt, not (point.live or point.writable), not point.unit), reading))
    found.sort(key=lambda f: f[0])
    return [r for _, r in found[:MAX_READINGS]]


def _series(day: Sequence[Columns], points: set[str]) -> dict[str, list[tuple[Utc, Value]]]:
    found: dict[str, list[tuple[Utc, Value]]] = {}
    for columns in day:
        at = columns.n - 1  # the row's last: one a step of time is enough
        for name, cell in columns.cells.items():
            if name in points and (value := cell.values(columns.n)[at]) is not ABSENT and value is not None:
                found.setdefault(name, []).append((columns.times[at], value))
    for past in found.values():
        past.sort(key=lambda p: p[0])
    return found


def _reading(
    point: Point,
    value: Value,
    doubt: str,
    past: Sequence[tuple[Utc, Value]],
    from_us: Utc,
    to_us: Utc,
    every_s: float,
    speech: Speech,
) -> Reading:
    curve = blocks = None
    low = high = ""
    apart_us = max(drawing.APART_US, micros(2.5 * every_s))
    flags = [(t, v) for t, v in past if isinstance(v, bool)]
    numbers = [(t, float(v)) for t, v in past if isinstance(v, int | float) and not isinstance(v, bool)]
    if flags and len(flags) > 1:
        blocks = drawing.blocks(flags, from_us, to_us, apart_us)
    elif len(numbers) > 1 and (max(v for _, v in numbers) > min(v for _, v in numbers)):
        as_type = int if point.type == "int" else float
        least, most = as_type(min(v for _, v in numbers)), as_type(max(v for _, v in numbers))
        bottom, top = float(least), float(most)
        if point.unit == "%" and point.low == 0 and point.high == 100:  # a whole scale says more than a magnified one
            bottom, top = 0.0, 100.0
        curve = drawing.line(numbers, from_us, to_us, bottom, top, apart_us)
        low, high = speech.value(least, point), speech.value(most, point)
    return Reading(
        label=speech.label(point),
        name=point.name,
        value=speech.value(value, point)[:MAX_TEXT_CHARS],
        doubt=reasons.said(reasons.plain(doubt), speech) if doubt else "",
        curve=curve,
        blocks=blocks,
        low=low,
        high=high,
        main=bool(doubt or point.unit or point.live or point.writable or point.type == "bool"),
    )


SHOWN: Final = ("serial", "host", "port", "baud", "parity", "adapter")  # of a line; it may hold a password, too


def where(device: Hung, speech: Speech) -> str:
    """The line that it hangs on, in words."""
    settings = device.line.settings
    found = [str(v) for key in SHOWN if (v := getattr(settings, key, None)) not in (None, "")]
    if getattr(settings, "host", ""):
        found = [f"{settings.host}:{settings.port}" if settings.port else settings.host]
    return speech.say("line {line}", line=device.line.name) + (f" ({', '.join(found)})" if found else "")
