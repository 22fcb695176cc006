"""Bounds of a TOML text, looked at before a parser sees it. Pure, and linear in the length of the text.

`tomllib` takes time and memory that grow with the square of the number of parts of a dotted key: 80 KB of
`a.a.a. … = 1` take 14 s and 6 GB. Nesting without end ends in a RecursionError. So keys and nesting are bounded first;
what passes is parsed in time that grows with its length. Texts and comments are skipped as TOML 1.0 delimits them; a
text without end is refused here, for nobody can say what is in it.

Bounds: MAX_KEY_PARTS parts of a key or table header, MAX_KEY_CHARS characters a key, MAX_DEPTH arrays and inline tables
in each other; the caller says how many characters a text may have.
"""

from __future__ import annotations

import re
from typing import Final

MAX_KEY_PARTS: Final = 16
MAX_KEY_CHARS: Final = 1_024
MAX_DEPTH: Final = 16
_TOKEN: Final = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"""(?:"{1,2})?'
    r"|'''(?:[^']|'(?!''))*'''(?:'{1,2})?"
    r'|"(?:[^"\\\n]|\\[^\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[.=,\[\]{}\n\"']"
)


def beyond(text: str, max_chars: int) -> str | None:
    """Why a text is not given to a parser, in words, with its line; None where it may be."""
    if len(text) > max_chars:
        return f"has {len(text)} characters; at most {max_chars} are read"
    line, depth, dots, start = 1, 0, 0, 0
    in_key = True  # or in a header; otherwise in a value
    for found in _TOKEN.finditer(text):
        mark, at = found[0], found.start()
        if len(mark) > 1 or mark not in "\n.=,[]{}":
            if len(mark) == 1 and mark != "#":
                return f"line {line}: a quoted text has no end on its line"
            line += mark.count("\n")
            continue
        if mark == ".":
            dots += in_key
            if dots >= MAX_KEY_PARTS:
                return f"line {line}: a key has at most {MAX_KEY_PARTS} parts"
            continue
        if mark == "=" and in_key and at - start > MAX_KEY_CHARS:
            return f"line {line}: a key has at most {MAX_KEY_CHARS} characters"
        depth += (mark in "[{") - (mark in "]}")
        if depth > MAX_DEPTH:
            return f"line {line}: more than {MAX_DEPTH} arrays and tables in each other"
        line += mark == "\n"
        in_key, dots, start = mark != "=", 0, at + 1
    return None
