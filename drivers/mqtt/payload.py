"""Payload: what a publish says about the points of a profile. With `known.py` the only place that knows
jmespath.

It is JSON, or one plain text (`payload = "text"`), which is then all that the expressions see, as `@`; a number or a
truth value is read out of it where the point is one.

Expressions are compiled once. Where one is only names and indexes (`climate.temp`, `rx[0].rssi`), as nearly all are,
it is walked directly: jmespath's own interpreter takes about ten times as long. There a key that is missing leaves its
point out, and null is null; in any other expression both leave it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from drivers.mishaps import Unreadable
from drivers.mqtt import known
from drivers.mqtt.moment import NotBelieved, moment_us
from drivers.mqtt.settings import Access, Whole
from drivers.profile import Profile
from drivers.readings import Finish, meaning
from drivers.texts import Encoding, NoText, text_of
from wire.device import Point
from wire.sample import Value
from wire.time import Utc

MISSING: Final = object()
Pick = Callable[[Any], Any]
_NUMBER: Final = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?")
_CHOICE: Final = re.compile(r"(?<!\[)\?")  # of other languages; JMESPath has a question mark in filters only
_TRUTH: Final = {"true": True, "on": True, "false": False, "off": False}

_decode = msgspec.json.Decoder().decode


class PayloadReading(msgspec.Struct, frozen=True):
    """What one payload says.

    `packet` is its id, None where the device does not number its publishes; `said` is then what is the same when the
    device says it again, else None. `sent` is the time that it gives, None where it gives none.
    """

    values: Mapping[str, Value]
    quality: Mapping[str, str]
    packet: object
    said: object
    sent: object
    zone: str

    def measured_us(self, now_us: Utc | None) -> Utc:
        """When it was measured, in UTC microseconds, for a node whose time is `now_us`.

        Raises:
            NotBelieved.
        """
        return moment_us(self.sent, self.zone, now_us)

    @property
    def time_us(self) -> Utc | None:
        """When it was measured, as far as that is known without knowing what time it is."""
        try:
            return None if self.sent is None else self.measured_us(None)
        except NotBelieved:
            return None


class Payload:
    """Reads the payloads of one profile, at a site whose time zone has this IANA name (empty: not known)."""

    def __init__(self, profile: Profile, zone: str = "") -> None:
        whole: Whole = profile.whole
        self._packet = picker(whole.packet_id) if whole.packet_id else None
        self._time = picker(whole.time) if whole.time else None
        self._zone = whole.time_zone or zone
        self._encoding: Encoding = whole.encoding
        self._plain = whole.payload == "text"
        self._reception = frozenset(whole.reception)
        self._points: list[tuple[str, Pick, Finish]] = []
        for name, point in profile.points.items():
            access: Access = profile.access[name]
            finish = meaning(
                point,
                field=access.field,
                invalid=access.invalid,
                invalid_bits=access.invalid_bits,
                choices=access.choices,
                scaling=access.scaling,
            )
            if self._plain and access.choices is None and point.type != "text":
                finish = _read_out(point, finish)
            self._points.append((name, picker(access.value), finish))

    def read(self, payload: bytes | bytearray) -> PayloadReading:
        """What a payload says.

        Raises:
            Unreadable.
        """
        body, strict = self._body(payload)
        values: dict[str, Value] = {}
        quality: dict[str, str] = {}
        for name, pick, finish in self._points:
            raw = pick(body)
            if raw is not MISSING:
                values[name], reason = finish(raw)
                if reason is not None:
                    quality[name] = reason
        if not values:
            raise Unreadable("the payload has none of the points")
        if not strict and quality.keys() == values.keys():
            raise Unreadable("the payload is not JSON")  # and nothing in it can be used all the same
        sent = None if self._time is None else self._time(body)
        if sent is MISSING:
            sent = None
        packet = None if self._packet is None else self._packet(body)
        if packet is None or packet is MISSING:
            return PayloadReading(values, quality, None, None, sent, self._zone)
        return PayloadReading(
            values, quality, packet, (packet, *self._lasting(values, quality), sent), sent, self._zone
        )

    def _body(self, payload: bytes | bytearray) -> tuple[Any, bool]:
        """What is in a payload, and whether it is what it should be to the letter."""
        if self._plain or self._encoding != "utf-8":
            try:
                text = text_of(bytes(payload), self._encoding)
            except NoText as error:
                raise Unreadable(f"the payload: {error}") from error
            if self._plain:
                return text.strip(" \t\r\n\0"), True
            payload = text.encode()
        try:
            return _decode(payload), True
        except UnicodeDecodeError as error:
            raise Unreadable("the payload is no text in utf-8; encoding names another") from error
        except msgspec.DecodeError:
            return _lenient(bytes(payload)), False
        except RecursionError as error:
            raise Unreadable("the payload is not JSON") from error

    def _lasting(
        self, values: Mapping[str, Value], quality: Mapping[str, str]
    ) -> tuple[Mapping[str, Value], Mapping[str, str]]:
        """Without what describes the reception."""
        if not self._reception:
            return values, quality
        return (
            {n: v for n, v in values.items() if n not in self._reception},
            {n: q for n, q in quality.items() if n not in self._reception},
        )


def _lenient(payload: bytes) -> Any:
    """What devices send for JSON that is none by RFC 8259: NaN and Infinity, which are a value that is missing and not
    all of them, numbers beyond a double, a NUL at the end, a byte order mark before it.

    Raises:
        Unreadable.
    """
    try:
        return json.loads(payload.rstrip(b"\0").decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Unreadable("the payload is not JSON") from error


def _read_out(point: Point, finish: Finish) -> Finish:
    """For a point that is no text, in a payload that is: the number or the truth value that it says."""

    def read(raw: Value) -> tuple[Value, str | None]:
        if isinstance(raw, str):
            if point.type == "bool" and raw.lower() in _TRUTH:
                raw = _TRUTH[raw.lower()]
            elif _NUMBER.fullmatch(raw):
                raw = int(raw) if raw.lstrip("+-").isdecimal() else float(raw)
        return finish(raw)

    return read


def picker(expression: str) -> Pick:
    """A function that takes the value of an expression out of decoded JSON, or MISSING."""
    parsed = cast("Mapping[str, Any]", jmespath.compile(expression).parsed)
    steps = _steps(parsed)
    if steps is None:

        def search(body: Any) -> Any:
            found = known.search(parsed, body)
            return MISSING if found is None else found

        return search
    if len(steps) == 1 and isinstance(steps[0], str):
        return _named(steps[0])

    def walk(body: Any) -> Any:
        for step in steps:
            if isinstance(body, str):  # which Python would index and JMESPath does not
                return MISSING
            try:
                body = body[step]
            except (KeyError, IndexError, TypeError):
                return MISSING
        return body

    return walk


def _named(key: str) -> Pick:
    def named(body: Any) -> Any:
        try:
            return body[key]
        except (KeyError, TypeError):
            return MISSING

    return named


def why_no_expression(expression: str) -> str | None:
    """What is wrong with an expression, or None."""
    try:
        parsed = cast("Mapping[str, Any]", jmespath.compile(expression).parsed)
    except JMESPathError as error:
        why = " ".join(str(error).split()).partition(", for expression")[0]
        return f"write a && b || c (if a then b, else c): {why}" if _CHOICE.search(expression) else why
    except RecursionError:
        return "it is nested too deep"
    if (function := known.unknown_function(parsed)) is not None:
        return f"it has no function {function}"
    return None


def steps_of(expression: str) -> list[Any] | None:
    """The names and indexes of an expression; None where it is more than these."""
    return _steps(cast("Mapping[str, Any]", jmespath.compile(expression).parsed))


def _steps(node: Mapping[str, Any]) -> list[Any] | None:
    """Names and indexes, where an expression is nothing else."""
    children = cast("Sequence[Mapping[str, Any]]", node["children"])
    match node["type"]:
        case "current":
            return []
        case "field" | "index":
            return [node["value"]]
        case "subexpression" | "index_expression":
            steps: list[Any] = []
            for child in children:
                part = _steps(child)
                if part is None:
                    return None
                steps += part
            return steps
        case _:
            return None
