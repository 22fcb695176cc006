"""Command: the topic and the payload that set a point. Pure; no broker is touched here.

A template has $value once, and placeholders such as {dev_eui} that the device's address fills in. In JSON each stands
either inside a text, where what fills it is escaped, or by itself, where a number stays a number and anything else
becomes a text in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from drivers.errors import Refused
from drivers.mqtt.settings import PLACEHOLDER, VALUE, Access, Address, Whole
from drivers.readings import code_of
from wire.device import Point
from wire.sample import Value

_MARK: Final = re.compile(r'\\.|"|' + re.escape(VALUE) + "|" + PLACEHOLDER.pattern, re.DOTALL)
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_TRUTH: Final[Mapping[str, bool]] = {"true": True, "false": False}


def command(whole: Whole, access: Access, address: Address, point: Point, value: Value) -> tuple[str, bytes]:
    """Where to publish what, to set a point to a value that is already allowed by it.

    Raises:
        Refused: it cannot be said in this device's words.
    """
    raw = raw_of(access, point, value)
    topic = address.filled(access.command_topic or whole.command_topic)

    def fill(mark: str) -> Any:
        return raw if mark == VALUE else getattr(address, mark[1:-1])

    text = json_of(access.command, fill) if whole.commands_in == "json" else text_of(access.command, fill)
    try:
        return topic, text.encode(whole.encoding)
    except UnicodeEncodeError as error:
        raise Refused(f"{point.name} takes texts in {whole.encoding}, not {value!r}") from error


def raw_of(access: Access, point: Point, value: Value) -> Value:
    """A value as the device has it. A code is the number or truth value that it looks like.

    Raises:
        Refused: there is no code for it, or it is beyond all bounds.
    """
    if access.choices is not None:
        code = code_of(point, access.choices, value)
        return int(code) if _WHOLE.fullmatch(code) else _TRUTH.get(code, code)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return access.scaling.steps(value) if access.whole else access.scaling.plain(value)
    except OverflowError as error:
        raise Refused(f"{point.name} cannot be set to {value!r}: no number of the device is so large") from error


def json_of(template: str, fill: Callable[[str], Any]) -> str:
    """JSON with its marks filled in."""
    parts: list[str] = []
    at, inside = 0, False
    for found in _MARK.finditer(template):
        mark = found[0]
        if mark == '"':
            inside = not inside
        if mark == '"' or mark[0] == "\\":
            continue
        given = fill(mark)
        if inside:
            text = given if isinstance(given, str) else _json(given)
            put = _json(text)[1:-1]
        elif mark != VALUE and _WHOLE.fullmatch(given):
            put = given
        else:
            put = _json(given)
        parts += [template[at : found.start()], put]
        at = found.end()
    return "".join(parts) + template[at:]


def text_of(template: str, fill: Callable[[str], Any]) -> str:
    """Plain text with its marks filled in."""

    def put(found: re.Match[str]) -> str:
        mark = found[0]
        if mark != VALUE and not PLACEHOLDER.fullmatch(mark):
            return mark
        given = fill(mark)
        return given if isinstance(given, str) else _json(given)

    return _MARK.sub(put, template)


def is_no_json(template: str) -> bool:
    """Whether a template is no JSON, whatever is filled in."""
    try:
        msgspec.json.decode(json_of(template, lambda mark: 0 if mark == VALUE else "0"))
    except msgspec.DecodeError:
        return True
    return False


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
