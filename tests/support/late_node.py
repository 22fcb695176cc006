"""`lamplighter-edge` some part of which never returns once a file is there, and whose watchdog is impatient: for tests
of what becomes of such a node. LATE names the file; it holds the word for the part.

loop      a poll blocks the event loop
commit    no commit comes back
line      no poll of the line comes back, until it is opened anew
stubborn  the same, and the driver does not end when it is cancelled
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import edge.lives
import edge.outbox.group_commit
import edge.sampling.supervisor
import groundwork.last_words
import groundwork.liveness
import groundwork.watchdog
from drivers.modbus.bus import ModbusDriver
from edge.cli import main
from edge.outbox.sqlite import SqliteOutbox
from wire.device import Device, Point
from wire.sample import Sample

LATE = Path(os.environ["LATE"])

groundwork.watchdog.Watchdog.__init__.__kwdefaults__["loop_s"] = 1.0  # type: ignore[index]
groundwork.last_words.LOOK_S = 0.2  # type: ignore[misc]
edge.outbox.group_commit.COMMIT_S = 1.0  # type: ignore[misc]
edge.sampling.supervisor.LOOK_S = 0.2  # type: ignore[misc]
edge.sampling.supervisor.STOP_S = 0.5  # type: ignore[misc]
edge.sampling.supervisor.STUCK_S = 1.0  # type: ignore[misc]
edge.sampling.supervisor.RESTART_FIRST_S = 0.2  # type: ignore[misc]
edge.lives.LEFT_S = 0.5  # type: ignore[misc]
groundwork.liveness.ended.__defaults__ = (0.5,)

_poll, _append = ModbusDriver.poll, SqliteOutbox.append
_drivers: list[ModbusDriver] = []


def late() -> str:
    try:
        return LATE.read_text()
    except FileNotFoundError:
        return ""


async def poll(self: ModbusDriver, device: Device, points: Sequence[Point]) -> Sample:
    word = late()
    if word == "loop":
        time.sleep(3600)  # noqa: ASYNC251 - that is the fault
    if self not in _drivers:
        _drivers.append(self)
    if word in ("line", "stubborn") and (_drivers[0] is self or word == "stubborn"):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if word == "line":
                    raise
    return await _poll(self, device, points)


async def append(self: SqliteOutbox, *what: Any) -> None:
    if late() == "commit":
        await asyncio.Event().wait()
    await _append(self, *what)


ModbusDriver.poll = poll  # type: ignore[method-assign]
SqliteOutbox.append = append  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
