"""Where in a rules file a key stands: the TOML reader gives values without lines, and whoever wrote one wants them.

A plain look at the lines: headers and `key =`. Where it finds nothing it falls back to what is around: the table, the
rule, line 1. It is only for what is told to people; nothing is decided by it.
"""

from __future__ import annotations

import re
from typing import Final

_HEADER: Final = re.compile(r"\s*\[{1,2}\s*rule\s*((?:\.\s*[\w\"'-]+\s*)*)\]{1,2}")
_KEY: Final = re.compile(r"\s*([\w\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=")
_INNER: Final = re.compile(r"[{,]\s*([\w-]+)\s*=")


class Lines:
    """The lines of one file's rules, counted from 1."""

    def __init__(self, text: str) -> None:
        self._found: dict[tuple[int, str], int] = {}
        rule, prefix = -1, ""
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                prefix = _plain(header[1])
                if line.lstrip().startswith("[[") and not prefix:
                    rule += 1
                self._found.setdefault((rule, prefix), number)
            elif (key := _KEY.match(line)) and rule >= 0:
                name = f"{prefix}.{_plain(key[1])}".strip(".")
                self._found.setdefault((rule, name), number)
                for inner in _INNER.finditer(line, key.end()):
                    self._found.setdefault((rule, f"{name}.{inner[1]}"), number)

    def of(self, rule: int, key: str = "") -> int:
        """The line of a dotted key of the rule with this number, counted from 0."""
        key = re.sub(r"\[\d+\]", "", key).replace('"', "")
        while key:
            if (line := self._found.get((rule, key))) is not None:
                return line
            key = key.rpartition(".")[0]
        return self._found.get((rule, ""), 1)


def _plain(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split(".") if part.strip())
