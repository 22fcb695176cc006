"""Seldom: something that is done at most once in so long, however often the process begins anew.

When it was done last lies in a file, by the clock that counts on from the machine's start (CLOCK_BOOTTIME), with the
boot that it counted in: a clock that is set changes nothing, and what was done before the machine's start is over.

Bounds: one file of MAX_BYTES.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

log = logging.getLogger(__name__)

MAX_BYTES: Final = 1_024


def since_boot_s() -> float:
    """Seconds since the machine's start, also while it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Done(msgspec.Struct, frozen=True):
    """When it was done, in seconds since the start of the machine that `boot` names."""

    boot: int
    at_s: float


class Seldom:
    """One thing that is done seldom."""

    def __init__(self, path: Path, apart_s: float, boot: int, now_s: Callable[[], float] = since_boot_s) -> None:
        """`path` is the file."""
        self._path, self._apart_s, self._boot, self._now_s = path, apart_s, boot, now_s
        self._done = _read(path)

    def may(self) -> bool:
        """Whether it may be done now."""
        done = self._done
        return done is None or done.boot != self._boot or not 0 <= self._now_s() - done.at_s < self._apart_s

    def does(self) -> None:
        """It is done now. Where that cannot be kept, only this process knows."""
        self._done = Done(self._boot, self._now_s())
        try:
            temporary = self._path.with_name(f".{self._path.name}")
            temporary.write_bytes(msgspec.json.encode(self._done))
            temporary.replace(self._path)
        except OSError as error:
            log.error("when this was done last cannot be kept: %s", error)  # noqa: TRY400 - no bug of ours


def _read(path: Path) -> Done | None:
    with contextlib.suppress(OSError, msgspec.DecodeError), path.open("rb") as file:
        return msgspec.json.decode(file.read(MAX_BYTES), type=Done)
    return None
