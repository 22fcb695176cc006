"""pymodbus alone on uvloop: each PORT is a line of its own, whose units are read one after the other, once a period.

    modbus_alone.py UNITS REGISTERS PERIOD_S PORT [PORT ...]

The registers are thrown away: what is left of our driver when everything is taken away but the library that it uses.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from pymodbus.client import AsyncModbusTcpClient


async def poll(port: int, units: int, registers: int, period_s: float) -> None:
    """One line, until it is ended."""
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
    if not await client.connect():
        raise OSError(f"no server on port {port}")
    now = asyncio.get_running_loop().time
    due = now()
    while True:
        for unit in range(1, units + 1):
            await asyncio.sleep(due - now())
            due += period_s / units
            answer = await client.read_holding_registers(0, count=registers, device_id=unit)
            if len(answer.registers) != registers:
                raise OSError(f"unit {unit} on port {port} answers {answer}")


async def main(units: int, registers: int, period_s: float, ports: list[int]) -> None:
    """All lines at once."""
    async with asyncio.TaskGroup() as lines:
        for port in ports:
            lines.create_task(poll(port, units, registers, period_s))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), [int(p) for p in sys.argv[4:]]))
