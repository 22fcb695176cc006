"""A private D-Bus daemon that stands in for the system bus.

Promises: it takes connections when `private_bus` yields its address; it ends with the simulator. Clients find it
through `DBUS_SYSTEM_BUS_ADDRESS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from firmware_sim.children import last_words, spawn, stop
from firmware_sim.errors import StreetError

READY_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.02
_CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_type="method_return"/>
    <allow send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="signal"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
  </policy>
</busconfig>
"""


class BusError(StreetError):
    """The private bus did not come up, or died."""


@asynccontextmanager
async def private_bus(directory: Path) -> AsyncGenerator[str]:
    """Run a bus until the block is left; yields its address."""
    address = f"unix:path={directory / 'bus'}"
    path = directory / "bus.conf"
    path.write_text(_CONFIGURATION.format(address=address), encoding="utf-8")
    log = directory / "bus.log"
    child = await spawn(["dbus-daemon", f"--config-file={path}", "--nofork", "--nopidfile", "--nosyslog"], log)
    try:
        await _listening(directory / "bus", child, log)
        yield address
    finally:
        await stop(child)


async def _listening(path: Path, child: asyncio.subprocess.Process, log: Path) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_WITHIN_S
    while loop.time() < deadline and child.returncode is None:
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except OSError:
            await asyncio.sleep(_LOOK_EVERY_S)
            continue
        writer.close()
        return
    message = f"dbus-daemon does not answer at {path}; it said: {last_words(log)}"
    raise BusError(message)
