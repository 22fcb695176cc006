"""Typed: a device's table as the fields of a form, and what was typed as a table again; what is wrong with it in the
reader's language, where the text is known. Pure: nothing is checked here.

Bounds: MAX_CHARS of a field are taken; a form has `edge.web.writing.MAX_FIELDS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import msgspec

from drivers.tables import describe
from edge.sampling.lines import DeviceTable
from edge.web.reasons import N_, Says

MAX_CHARS: Final = 500
ADDRESS: Final = "address."
LABELS: Final[Mapping[str, str]] = {
    "address.unit": N_("Unit (its number on the line)"),
    "address.mac": N_("Bluetooth address (MAC)"),
    "address.serial": N_("Serial number"),
    "address.name": N_("Name in its topic"),
    "address.dev_eui": N_("Device EUI"),
    "address.id": N_("Id in its topic"),
    "address.channel": N_("Channel"),
    "address.timeout_s": N_("Answers within (seconds)"),
    "id": N_("Id (unique in the city)"),
    "name": N_("What people call it"),
    "profile": N_("Model (profile)"),
    "line": N_("Line"),
    "poll_s": N_("Read every (seconds)"),
    "expect_s": N_("Expected every (seconds)"),
    "lon": N_("Longitude"),
    "lat": N_("Latitude"),
    "tags": N_("Tags, with commas"),
}
WRONG: Final[Sequence[tuple[str, str]]] = (  # as `drivers` says it, and for who stands there
    (r'"(?P<what>[^"]+)" is taken already; .*', N_("{what} is taken already.")),
    (r'.* is taken already by "(?P<what>[^"]+)" .*', N_("{what} has this already.")),
    (r"must be a whole number from (?P<low>\S+) to (?P<high>\S+), not .*", N_("A whole number from {low} to {high}.")),
    (r"must be a whole number.*", N_("A whole number.")),
    (r"must be a number from (?P<low>\S+) to (?P<high>\S+), not .*", N_("A number from {low} to {high}.")),
    (r"must be a number above (?P<low>\S+), not .*", N_("A number above {low}.")),
    (r"must be a number.*", N_("A number.")),
    (r"is missing; .*", N_("This is missing.")),
    (r"must not be empty", N_("This is missing.")),
    (r".*which does not look like \^\(\[0-9A-Fa-f\]\{2\}:\).*", N_("Write it like C4:64:E3:12:34:56.")),
    (r".*which does not look like.*", N_("Letters, digits and . _ : - only, at most 64.")),
    (r"0 is the broadcast address.*", N_("0 is everybody on a serial line: a number from 1 to 247.")),
    (r'no profile "(?P<what>[^"]*)".*', N_("There is no profile {what}.")),
    (r'no line "(?P<what>[^"]*)".*', N_("There is no line {what}.")),
    (r'profile "(?P<what>[^"]+)" speaks (?P<low>\S+); .*', N_("{what} speaks {low}, and this line does not.")),
    (r"the file says something else.*", N_("The file says something else.")),
)


@dataclass(frozen=True)
class FormField:
    """One field of a form. `kind` is how a phone should ask for it: "", "decimal" or "choice"."""

    key: str
    label: str
    value: str
    kind: str = ""
    choices: Sequence[str] = ()
    required: bool = False
    wrong: str = ""
    english: bool = False  # whether `wrong` is not in the reader's language


def keys_of(address: type[msgspec.Struct]) -> dict[str, str]:
    """The keys of a protocol's address as a form has them, each with the words for its type."""
    return {ADDRESS + key.name: key.words for key in describe(address)}


@cache
def _words() -> Mapping[str, str]:
    return {key.name: key.words for key in describe(DeviceTable)}


def field(key: str, value: object, words: str, wrong: str, speech: Says, choices: Sequence[str] = ()) -> FormField:
    """One field, with what was typed or what there is."""
    text, known = told(wrong, speech)
    return FormField(
        key=key,
        label=speech.say(LABELS[key]) if key in LABELS else key.removeprefix(ADDRESS),
        value=shown(value),
        kind="choice" if choices else "decimal" if "number" in words and "." not in key[8:] else "",
        choices=choices,
        required=key in ("id", "profile", "line", "address.mac"),
        wrong=text,
        english=bool(text) and not known,
    )


def shown(value: object) -> str:
    """A value of a table as it stands in a field."""
    match value:
        case None:
            return ""
        case list():
            return ", ".join(map(str, cast("list[object]", value)))
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def table_of(fields: Mapping[str, Any], address: type[msgspec.Struct], before: Mapping[str, Any]) -> dict[str, Any]:
    """The table that was typed: what was left empty is left out. `before` is the table that the form has shown: what
    nobody has touched stays as it was, and so does what no form shows; what would be so anyway is not written down."""
    words = {k: w for k, w in _words().items() if k not in ("report", "address")}
    table: dict[str, Any] = dict(before)
    plain = {f.encode_name: shown(f.default) for f in msgspec.structs.fields(DeviceTable)}
    _put(table, {k: v for k, v in fields.items() if k in before or v != plain.get(k)}, words)
    if isinstance(tags := table.get("tags"), str):
        table["tags"] = [tag for part in tags.split(",") if (tag := part.strip())]
        if not table["tags"]:
            del table["tags"]
    found: dict[str, Any] = dict(before.get("address", {}))
    own = {k.removeprefix(ADDRESS): w for k, w in keys_of(address).items()}
    _put(found, {k.removeprefix(ADDRESS): v for k, v in fields.items() if k.startswith(ADDRESS)}, own)
    table["address"] = found
    return table


def _put(table: dict[str, Any], fields: Mapping[str, Any], words: Mapping[str, str]) -> None:
    """The fields that these words are for, into a table."""
    for key in [key for key in words if key in fields]:
        given = fields[key]
        if key in table and given == shown(table[key]):
            continue  # what a form shows may be less than what a file has
        value = _typed(given, words[key])
        if value in ("", []):
            table.pop(key, None)
        else:
            table[key] = value


def _typed(value: object, words: str) -> object:
    """A number where one is asked for and typed, with a comma as people write it; else the text."""
    if not isinstance(value, str):
        return value
    text = value.strip()[:MAX_CHARS]
    if "number" in words and re.fullmatch(r"[-+]?\d{1,15}([.,]\d{0,20})?", text):
        number = float(text.replace(",", "."))
        return int(number) if number.is_integer() else number
    return text


def told(wrong: str, speech: Says) -> tuple[str, bool]:
    """What is wrong, and whether it is in the reader's language."""
    for pattern, message in WRONG:
        if (found := re.fullmatch(pattern, wrong, flags=re.DOTALL)) is not None:
            return speech.say(message, **found.groupdict()), True
    return wrong, not wrong
