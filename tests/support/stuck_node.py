"""`lamplighter-edge` with Modbus lines whose driver hangs for ever, by the device's id: for tests of the other lines.

stuck-open     it never opens
stuck-poll     no poll comes back
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Self

from drivers.modbus.bus import ModbusDriver
from edge.cli import main
from wire.device import Device, Point
from wire.sample import Sample

_open, _poll = ModbusDriver.__aenter__, ModbusDriver.poll


async def opened(self: ModbusDriver) -> Self:  # pyright: ignore[reportGeneralTypeIssues]
    if "stuck-open" in self._units:
        await asyncio.Event().wait()
    return await _open(self)  # type: ignore[return-value]


async def poll(self: ModbusDriver, device: Device, points: Sequence[Point]) -> Sample:
    if device.id == "stuck-poll":
        await asyncio.Event().wait()
    return await _poll(self, device, points)


ModbusDriver.__aenter__ = opened  # type: ignore[method-assign,assignment]
ModbusDriver.poll = poll  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
