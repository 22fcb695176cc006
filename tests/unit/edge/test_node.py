"""What health says of lines: failures, connections that do not stand, and what drivers note of themselves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.health import CONNECT_S
from edge.node import Node
from unit.edge.test_config import good


class Told:
    """A driver, as far as health asks it."""

    def __init__(self, connected: int, *notes: str) -> None:
        self._connected, self._notes = connected, notes

    def counters(self) -> Mapping[str, int]:
        return {"connected": self._connected}

    def notes(self) -> Sequence[str]:
        return list(self._notes)


class Silent:
    def counters(self) -> Mapping[str, int]:
        return {"connected": 0}


def test_what_drivers_note_is_what_health_says(tmp_path: Path) -> None:
    node: Any = Node(good(tmp_path / "node.toml"))
    old, new = time.monotonic() - CONNECT_S - 1, time.monotonic() + 3600
    node._drivers = {
        "a": Told(1), "b": Told(1, "forgotten", "refused"), "c": Told(0, "nobody listens"), "d": Silent(),
        "e": Told(0, "nobody listens yet"), "f": Told(0, "x"),
    }  # fmt: skip
    node._opened = {**dict.fromkeys("abcdf", old), "e": new}
    node._faults = {"f": "failed"}
    assert node._line_faults() == {"c": "not connected; nobody listens", "d": "not connected", "f": "failed"}
    assert node._line_troubles() == {
        "b": "forgotten; refused", "c": "not connected; nobody listens", "d": "not connected", "f": "failed",
    }  # fmt: skip
