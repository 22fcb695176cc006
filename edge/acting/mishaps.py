"""Mishaps: bugs of our own that must stop neither a line nor the node. Each is logged once, with where it came from,
and all are counted for health; whoever notes one goes on with the next thing.

Bounds: MAX_SAID different ones are remembered as logged; beyond them they are only counted.
"""

from __future__ import annotations

import logging
from typing import Final

log = logging.getLogger(__name__)

MAX_SAID: Final = 100


class Mishaps:
    """What has gone wrong since the start. `count` counts all."""

    def __init__(self) -> None:
        self.count = 0
        self._said: set[tuple[str, str]] = set()

    def note(self, what: str, error: Exception) -> None:
        """While this was done, that was raised. Call it where it is caught."""
        self.count += 1
        key = what, repr(error)[:200]
        if key in self._said or len(self._said) >= MAX_SAID:
            return
        self._said.add(key)
        log.error("%s failed and was left out: %s", what, error, exc_info=error)
