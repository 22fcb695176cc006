"""Mark: how far each run had come, in a file beside the database that no damage to the database touches.

What SQLite loses silently (a write-ahead log that is deleted or breaks off, a file that is emptied or replaced by an
older one) shows in the mark: it is written after each commit and so is never ahead of what was durable. It is not
synced, for that would wear the card twice as fast: after a power cut it may be half a minute behind, and then says so
(another boot, and not closed). Within one boot it is exact.

Bounds: one file of MARK_BYTES, which names the latest MAX_RUNS runs.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from edge.outbox.records import sum_of
from wire.batch import Lane

NAME: Final = "outbox.mark"
MARK_BYTES: Final = 1024
MAX_RUNS: Final = 8


class MarkedRun(msgspec.Struct, frozen=True, array_like=True):
    """One run: its last seq and the digest after it."""

    id: int
    lane: Lane
    epoch: int
    head: int
    digest: bytes


class CardMark(msgspec.Struct, frozen=True, array_like=True):
    """The runs, newest first. `boot` is the boot of the machine in which it was written."""

    boot: int
    closed: bool
    runs: tuple[MarkedRun, ...]

    def exact(self, boot: int) -> bool:
        """Whether nothing can have been committed after it was written."""
        return self.closed or self.boot == boot


def read(directory: Path) -> CardMark | None:
    """The mark; None where there is none, or none that is whole.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with (directory / NAME).open("rb") as file:
            raw = file.read(MARK_BYTES)
    except (FileNotFoundError, IsADirectoryError):
        return None
    try:
        body, sum_ = msgspec.msgpack.decode(raw[2 : 2 + int.from_bytes(raw[:2])], type=tuple[bytes, bytes])
        return msgspec.msgpack.decode(body, type=CardMark) if sum_ == sum_of(body) else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class MarkFile:
    """Writes the mark. One write of less than a page each time: the kernel brings it to the card when it likes."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._fd = -1

    def write(self, mark: CardMark, *, sync: bool = False) -> None:
        """Write it. It is synced where a life begins or ends: a mark that says `closed` must not outlive what follows.

        Raises:
            OSError: the card does not take it.
        """
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        body = msgspec.msgpack.encode(msgspec.structs.replace(mark, runs=mark.runs[:MAX_RUNS]))
        framed = msgspec.msgpack.encode((body, sum_of(body)))
        os.pwrite(self._fd, (len(framed).to_bytes(2) + framed).ljust(MARK_BYTES, b"\0"), 0)
        if sync:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
