"""Payload: what a JSON publish says about the points of a profile. The only place that knows jmespath.

Expressions are compiled once. Where one is only names and indexes (`climate.temp`, `rx[0].rssi`), as nearly all are,
it is walked directly: jmespath's own interpreter takes about ten times as long. There a key that is missing leaves its
point out, and null is null; in any other expression both leave it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from drivers.mishaps import Unreadable
from drivers.mqtt.words import Access, Whole
from drivers.profile import Profile
from drivers.readings import Finish, meaning
from wire.sample import Value

MISSING: Final = object()
Pick = Callable[[Any], Any]
_EARLIEST_US: Final = 1_577_836_800_000_000  # 2020: a device's clock that says less has never been set
_LATEST_US: Final = 4_102_444_800_000_000  # 2100

_decode = msgspec.json.Decoder().decode


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What one payload says. Where it gives a time (`timed`), `time_us` is None if that cannot be one."""

    values: Mapping[str, Value]
    quality: Mapping[str, str]
    packet: object
    timed: bool
    time_us: int | None


class Payload:
    """Reads the payloads of one profile."""

    def __init__(self, profile: Profile) -> None:
        whole: Whole = profile.whole
        self._packet = picker(whole.packet_id) if whole.packet_id else None
        self._time = picker(whole.time) if whole.time else None
        self._points: list[tuple[str, Pick, Finish]] = []
        for name, point in profile.points.items():
            access: Access = profile.access[name]
            finish = meaning(point, choices=access.choices, scaling=access.scaling)
            self._points.append((name, picker(access.value), finish))

    @property
    def numbered(self) -> bool:
        """Whether payloads carry a packet id."""
        return self._packet is not None

    def read(self, payload: bytes | bytearray) -> Reading:
        """What a payload says.

        Raises:
            Unreadable.
        """
        try:
            body = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreadable("the payload is not JSON") from error
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
        packet = MISSING if self._packet is None else self._packet(body)
        time = None if self._time is None else self._time(body)
        timed = time is not None and time is not MISSING
        return Reading(values, quality, None if packet is MISSING else packet, timed, _time_us(time) if timed else None)


def picker(expression: str) -> Pick:
    """A function that takes the value of an expression out of decoded JSON, or MISSING."""
    compiled = jmespath.compile(expression)
    steps = _steps(cast("Mapping[str, Any]", compiled.parsed))
    if steps is None:

        def search(body: Any) -> Any:
            try:
                found = compiled.search(body)
            except (JMESPathError, TypeError, ValueError):
                return MISSING  # a function met a type that it does not take
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
        jmespath.compile(expression)
    except JMESPathError as error:
        return " ".join(str(error).split()).partition(", for expression")[0]
    return None


def _steps(node: Mapping[str, Any]) -> list[Any] | None:
    """Names and indexes, where an expression is nothing else."""
    children = cast("Sequence[Mapping[str, Any]]", node["children"])
    match node["type"]:
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


def _time_us(raw: object) -> int | None:
    try:
        match raw:
            case str():
                moment = datetime.fromisoformat(raw)
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                since = moment - datetime(1970, 1, 1, tzinfo=UTC)
                time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
            case int() | float() if not isinstance(raw, bool):
                time_us = round(raw * (1_000 if raw > 1e11 else 1_000_000))
            case _:
                return None
    except (ValueError, OverflowError):
        return None
    return time_us if _EARLIEST_US <= time_us <= _LATEST_US else None
