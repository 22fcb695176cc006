"""A process that receives publishes and never gets to keep them, to be killed with SIGKILL. Argument: broker port."""
# ruff: noqa: ASYNC110 -- a test may wait by looking, and block for a moment

from __future__ import annotations

import asyncio
import sys

from conformance.driver_rigs import BIN, Ledger, attach, open_driver, profile_of


async def main(port: int) -> None:
    ledger = Ledger()
    ledger.hold = []
    lamp = attach("lamp", profile_of("test-bin", BIN), {"serial": "A1"})
    line = {"host": "127.0.0.1", "port": port, "client_id": "node", "session_expiry_s": 600}
    async with open_driver("mqtt", line, [lamp], ledger) as driver:
        task = asyncio.create_task(driver.listen([lamp.device], ledger))
        while not driver.counters()["connected"]:
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await ledger.count(5, timeout_s=30)
        print("received", flush=True)
        await task


asyncio.run(main(int(sys.argv[1])))
