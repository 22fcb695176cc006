"""What is wrong with a value of JSON, in words that say what to write instead of it. Pure.

msgspec says "Expected `str`, got `int`"; who has written the JSON knows texts in quotes, numbers, lists and objects.
What is not understood of its words is passed on as it is.

Bound: a text that is wrong is shown as far as MAX_SHOWN characters.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SHOWN: Final = 50

_KINDS: Final = {
    "str": "a text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list, in [ ]",
    "object": "an object, in { }",
}
_GOT: Final = {**_KINDS, "null": "null"}
_BOUNDS: Final = {
    ">": "greater than {0}",
    ">=": "not less than {0}",
    "<": "less than {0}",
    "<=": "not greater than {0}",
}
_LENGTHS: Final = {">=": "at least", "<=": "at most"}
_TYPE: Final = re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`")
_LENGTH: Final = re.compile(r"Expected `(str|array)` of length (>=|<=) (\d+)")
_NUMBER: Final = re.compile(r"Expected `(?:int|float)` (>=|<=|>|<) (\S+)")
_PLACE: Final = re.compile(r" - at `\$([^`]*)`$")


def in_words(key: str, error: str, choices: tuple[str, ...] = ()) -> str:
    """What is wrong with the value of a key, from msgspec's message; `choices` where it is one of some texts."""
    found = _PLACE.search(error)
    if found is not None:
        key, error = key + found[1], error[: found.start()]
    return f"{key}: {_told(error, choices)}"


def _told(error: str, choices: tuple[str, ...]) -> str:
    if choices:
        given = error.removeprefix("Invalid enum value ") if error.startswith("Invalid enum value ") else ""
        shown = f"there is no {given[:MAX_SHOWN]}; " if given else ""
        return f"{shown}write one of {', '.join(choices)}, in quotes"
    if (found := _TYPE.fullmatch(error)) is not None:
        kinds = [_KINDS[kind] for kind in _plain(found[1]) if kind in _KINDS]
        if kinds:
            return f"write {_either(kinds)}, not {_GOT.get(found[2], found[2])}"
    if (found := _LENGTH.fullmatch(error)) is not None:
        what, of = ("a text", "character") if found[1] == "str" else ("a list", "item")
        return f"write {what} of {_LENGTHS[found[2]]} {found[3]} {of}{'' if found[3] == '1' else 's'}"
    if (found := _NUMBER.fullmatch(error)) is not None:
        return f"write a number {_BOUNDS[found[1]].format(found[2].removesuffix('.0'))}"
    return error


def _plain(kinds: str) -> list[str]:
    """The kinds of a union; a whole number is a number too."""
    found = kinds.split(" | ")
    return [k for k in found if k != "int" or "float" not in found]


def _either(kinds: list[str]) -> str:
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"
