"""Witness: how far the outbox had come, written beside its file, so that a file which has gone back is found out.

`outbox.witness` names, for each lane, the open run's epoch and its last seq. It is written after each commit that
grew a run, and never before: so it is never ahead of what the card has taken. When the file is opened and holds less
than its witness says, then what was committed is gone: the write-ahead log was deleted, or an older copy put back.

It costs no flush of its own: after a power cut it may be older than the file, and then proves nothing. A witness that
cannot be read or written is none; the node goes on without. The cloud is asked as well (`Ack.head_seq`).

Bound: MAX_BYTES, overwritten in place.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from zlib import crc32

from edge.card import Run
from wire.batch import Lane

log = logging.getLogger(__name__)

MAX_BYTES: Final = 128  # less than any sector: it is there whole, or not


class Witness:
    """For one outbox file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "outbox.witness"
        self._written = b""
        self._told = False

    def note(self, runs: Iterable[Run]) -> None:
        """What the open runs hold now. Blocks as briefly as any write to the page cache; call it beside the loop."""
        last = {run.lane: run for run in runs if not run.closed}
        text = " ".join(f"{lane} {last[lane].epoch} {last[lane].head}" for lane in Lane if lane in last)
        line = f"{text} {crc32(text.encode())}".encode().ljust(MAX_BYTES - 1) + b"\n"
        if line == self._written:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.pwrite(fd, line, 0)
            finally:
                os.close(fd)
        except OSError as error:
            if not self._told:
                log.warning("the witness of the outbox cannot be written: %s", error)
            self._told = True
        else:
            self._written, self._told = line, False

    def accuses(self, runs: Iterable[Run]) -> str | None:
        """Why the file that was just opened, with these runs, is not all that was written; None where it may be."""
        known = list(runs)
        last = {run.lane: run for run in known if not run.closed}
        for lane, (epoch, head) in self._read().items():
            run = last.get(lane)
            if run is None:
                continue
            if run.epoch == epoch and run.head < head:
                return f"{lane}: {head} entries of epoch {epoch} were committed, the file holds {run.head}"
            # An empty run is a new file. One that has closed was followed by a run that is here.
            if run.head and all(r.epoch != epoch for r in known if r.lane is lane):
                return f"{lane}: epoch {epoch} was written last, and the file does not know it"
        return None

    def _read(self) -> Mapping[Lane, tuple[int, int]]:
        with contextlib.suppress(OSError, ValueError):
            with self._path.open("rb") as file:
                *words, checksum = file.read(MAX_BYTES).decode("ascii").split()
            if crc32(" ".join(words).encode()) == int(checksum):
                return {Lane(w): (int(e), int(h)) for w, e, h in zip(*[iter(words)] * 3, strict=True)}
        return {}
