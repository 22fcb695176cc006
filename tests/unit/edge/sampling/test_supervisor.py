"""What health says of lines: failures, connections that do not stand, and what drivers note of themselves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from edge.sampling.last_samples import LastSamples
from edge.sampling.supervisor import CONNECT_S, Supervisor
from wire.sample import Clock


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


class NoReceipts:
    async def recent(self, source: str) -> Sequence[bytes]:
        del source
        return ()


def test_what_drivers_note_is_what_health_says() -> None:
    lines: Any = Supervisor((), street=LastSamples(), now=lambda: (0, Clock(1, synced=True)), receipts=NoReceipts())
    old, new = time.monotonic() - CONNECT_S - 1, time.monotonic() + 3600
    lines._drivers = {
        "a": Told(1), "b": Told(1, "forgotten", "refused"), "c": Told(0, "nobody listens"), "d": Silent(),
        "e": Told(0, "nobody listens yet"), "f": Told(0, "x"),
    }  # fmt: skip
    lines._opened = {**dict.fromkeys("abcdf", old), "e": new}
    lines._faults = {"f": "failed"}
    assert lines.faults() == {"c": "not connected; nobody listens", "d": "not connected", "f": "failed"}
    assert lines.troubles() == {
        "b": "forgotten; refused", "c": "not connected; nobody listens", "d": "not connected", "f": "failed",
    }  # fmt: skip
