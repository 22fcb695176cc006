"""Marker: a file that stands while a process runs, and is taken away when it ends as it should: what the next one finds
tells that the one before did not.

It lies where last words lie: in memory where systemd has made a directory, so that it is gone with the machine; on a
disk it says of which boot it is.

Bounds: one file of MAX_BYTES.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

log = logging.getLogger(__name__)

MAX_BYTES: Final = 4_096
MAX_WHY: Final = 500


class Stood(msgspec.Struct, frozen=True):
    """What was there while a process ran: the boot that it ran in, how many processes the kernel had ended for want of
    memory by then, and why it ended where it could still say so."""

    boot: int
    oom: int = 0
    why: str = ""


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory since the machine's start; 0 where it does not say."""
    with contextlib.suppress(OSError):
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


class Marker:
    """The one of this process."""

    def __init__(self, path: Path, boot: int, oom: Callable[[], int] = oom_kills) -> None:
        """`boot` is of the machine."""
        self._path, self.boot, self.oom = path, boot, oom
        self._mine: Stood | None = None

    def begin(self) -> Stood | None:
        """From now on it stands. What stood there before; None for the second time."""
        if self._mine is not None:
            return None
        before: Stood | None = None
        with contextlib.suppress(OSError, msgspec.DecodeError), self._path.open("rb") as file:
            before = msgspec.json.decode(file.read(MAX_BYTES), type=Stood)
        self._mine = Stood(self.boot, self.oom())
        self._write(self._mine)
        return before

    def failed(self, why: str) -> None:
        """The process is about to end as it should not."""
        if self._mine is not None:
            self._write(msgspec.structs.replace(self._mine, why=why[:MAX_WHY]))

    def end(self) -> None:
        """The process ends as it should."""
        if self._mine is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _write(self, stood: Stood) -> None:
        try:
            temporary = self._path.with_name(f".{self._path.name}")
            temporary.write_bytes(msgspec.json.encode(stood))
            temporary.replace(self._path)
        except OSError as error:
            log.warning("that this process runs cannot be noted: %s", error)
