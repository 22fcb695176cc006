"""TOML text, read within bounds: `tables_of` for whoever has the bytes of a file or of a bundle, on a node as in the
aggregator, so that both take and refuse the same texts in the same words.

`tomllib` takes quadratic time and memory for a dotted key, recursion for each bracket, and raises more than its own
error; so the text is looked through once, in linear time, before it is parsed. Bounds, whoever wrote it: the caller's
`limit_bytes`; MAX_PARTS parts in a dotted key or table name; MAX_DEPTH brackets within each other, and as many tables
and lists in what was read; MAX_KEY_CHARS characters a key; whole numbers of 64 bits. A NUL
character, written as it is or as an escape, stands in no text that a person means, and no file name can hold it.

Parsing takes about a second for each MiB at most: a caller on an event loop parses elsewhere.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final, cast

MAX_PARTS: Final = 16
MAX_DEPTH: Final = 16
MAX_KEY_CHARS: Final = 256
SHOWN_CHARS: Final = 60  # of a text of the file in an error
_WHOLE: Final = range(-(2**63), 2**64)  # 64 bits, signed as TOML v1.0.0 has them, or unsigned as registers do

_NEXT: Final = re.compile(r"""["'#.=,\n\[\]{}]""")
_IN_BASIC: Final = re.compile(r'\\.|["\n]', re.DOTALL)
_IN_BASIC_LINES: Final = re.compile(r'\\.|"""', re.DOTALL)


class BadToml(ValueError):
    """Why a text cannot be read, in words that follow its name: "is not TOML: … (at line 3, column 1)".
    It says where, and what to write where that is not plain."""


def tables_of(data: bytes | str, *, limit_bytes: int) -> dict[str, Any]:
    """The tables that a TOML text holds. A byte order mark at its beginning is passed over.

    Raises:
        BadToml: it is too large, not UTF-8, not TOML, or beyond a bound; the text says where.
    """
    if len(data) > limit_bytes:  # characters are never more than bytes
        raise BadToml(f"larger than {limit_bytes} bytes; split it")
    try:
        if isinstance(data, bytes):
            text = data.decode()
        else:
            text = data
            if len(text.encode()) > limit_bytes:
                raise BadToml(f"larger than {limit_bytes} bytes; split it")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise BadToml(f"is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if (at := text.find("\0")) >= 0:
        raise BadToml(f"has a NUL character (at line {_line(text, at)}); it is damaged, or no text file")
    _look_through(text)
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also where a number has too many digits for Python
        raise BadToml(f"is not TOML: {error}") from error
    _check_values(tables)
    return tables


def _look_through(text: str) -> None:
    """Count what tomllib takes more than linear time for. A text that is no TOML ends this early or late: tomllib gets
    no further than the mistake itself.

    Raises:
        BadToml.
    """
    at, depth, parts = 0, 0, 1
    while (found := _NEXT.search(text, at)) is not None:
        mark, here, at = found[0], found.start(), found.end()
        match mark:
            case "#":
                end = text.find("\n", at)
                at = len(text) if end < 0 else end
                continue
            case '"' | "'":
                at = _after_string(text, here)
                if at < 0:
                    return
                continue
            case ".":
                parts += 1
                if parts > MAX_PARTS:
                    line = _line(text, here)
                    raise BadToml(f"has a key of more than {MAX_PARTS} parts with dots (at line {line}); write fewer")
                continue
            case "[" | "{":
                depth += 1
                if depth > MAX_DEPTH:
                    raise BadToml(f"is nested deeper than {MAX_DEPTH} (at line {_line(text, here)}); write it flatter")
            case "]" | "}":
                depth -= 1
            case _:
                pass
        parts = 1


def _after_string(text: str, at: int) -> int:
    """Where the string that begins here has ended; -1 where it does not end."""
    mark = text[at]
    if text.startswith(3 * mark, at):
        if mark == "'":
            end = text.find("'''", at + 3)
        else:
            end = next((m.start() for m in _IN_BASIC_LINES.finditer(text, at + 3) if m[0] == '"""'), -1)
        if end < 0:
            return -1
        end += 3
        for _ in range(2):  # one or two quotes may stand before the three that end it
            end += text.startswith(mark, end)
        return end
    if mark == "'":
        end = text.find("'", at + 1)
        return -1 if end < 0 or text.find("\n", at, end) >= 0 else end + 1
    last = next((m for m in _IN_BASIC.finditer(text, at + 1) if m[0] in '"\n'), None)
    return -1 if last is None or last[0] == "\n" else last.end()


def _check_values(value: Any, key: str = "", depth: int = 0) -> None:
    """What TOML's grammar lets through and nobody here can use. Recursion ends at MAX_DEPTH.

    Raises:
        BadToml.
    """
    if depth > MAX_DEPTH:
        raise BadToml(f"{_shown(key)}: is nested deeper than {MAX_DEPTH}; write it flatter")
    match value:
        case dict():
            for name, inner in cast("dict[str, Any]", value).items():
                if len(name) > MAX_KEY_CHARS:
                    raise BadToml(f"has a key of {len(name)} characters, {_shown(name)}; write at most {MAX_KEY_CHARS}")
                inside = f"{key}.{name}" if key else name
                if "\0" in name:
                    raise BadToml(f"{_shown(inside)}: has a NUL character in its name; take it out")
                _check_values(inner, inside, depth + 1)
        case list():
            for i, inner in enumerate(cast("list[Any]", value)):
                _check_values(inner, f"{key}[{i}]", depth + 1)
        case str() if "\0" in value:
            raise BadToml(f"{_shown(key)}: has a NUL character; take it out")
        case int() if value not in _WHOLE:
            raise BadToml(
                f"{_shown(key)}: is a whole number of more than 64 bits; write a smaller one, or a text in quotes"
            )
        case _:
            pass


def _shown(key: str) -> str:
    shown = key if len(key) <= SHOWN_CHARS else key[: SHOWN_CHARS - 1] + "…"
    return "".join(c if c.isprintable() else "?" for c in shown)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
