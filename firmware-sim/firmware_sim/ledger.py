"""What this street has offered, line by line: the oracle that readers are held against.

Promises: one JSON object a line, appended with a single write that is done when `offered` returns, so that
killing the simulator loses no line that was written and tears none; values are exactly those that a faultless
reader decodes. A line is written only after the answer left, the broker acknowledged, or the advert went out
to a scanner that listens. Flushed to the kernel, not to the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

import msgspec

from firmware_sim.clock import wall_us

Value: TypeAlias = bool | int | float | str
Points: TypeAlias = Mapping[str, Value]
Via: TypeAlias = Literal["modbus", "mqtt", "advert", "gatt"]


class Ledger:
    """The file of what was offered; without a path it only counts."""

    def __init__(self, path: Path | None, now_us: Callable[[], int] = wall_us) -> None:
        self._path = path
        self._now_us = now_us
        self._encode = msgspec.json.Encoder().encode
        self._file: int | None = None
        self.lines = 0
        self.readings = 0

    def __enter__(self) -> Self:
        if self._path is not None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def offered(
        self,
        device: str,
        via: Via,
        points: Points,
        *,
        n: int | None,
        late_s: float = 0.0,
        uncertain: bool = False,
    ) -> None:
        """Write one line. `late_s` tells that a slow fault held the answer back; `uncertain` that nobody knows."""
        line: dict[str, object] = {
            "device": device,
            "via": via,
            "n": n,
            "time_us": self._now_us(),
            "points": points,
        }
        if late_s > 0.0:
            line["late_s"] = late_s
        if uncertain:
            line["uncertain"] = True
        self.lines += 1
        self.readings += len(points)
        if self._file is None:
            return
        data = self._encode(line) + b"\n"
        written = os.write(self._file, data)
        if written != len(data):
            message = f"the ledger took {written} of {len(data)} bytes of a line: no room left?"
            raise OSError(message)
