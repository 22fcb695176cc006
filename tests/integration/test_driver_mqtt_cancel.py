"""An MQTT line that is ended while it drops a connection ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conformance.driver_rigs import Ledger, broker, until
from drivers.errors import NotStored
from drivers.mqtt.session import MqttSession
from integration.test_driver_mqtt import LAMP, node, publish


async def test_a_line_that_is_ended_while_it_drops_a_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended at the very moment when it waits for what watched the connection."""
    line: list[asyncio.Task[Any]] = []
    gone = MqttSession.gone

    async def watched(self: MqttSession) -> None:
        try:
            await gone(self)
        finally:
            line[0].cancel()

    monkeypatch.setattr(MqttSession, "gone", watched)
    async with broker() as server:
        ledger = Ledger()
        async with node(server, ledger) as driver:
            line.append(asyncio.create_task(driver.listen([LAMP.device], ledger)))
            await until(lambda: driver.counters()["connected"])
            ledger.fail = NotStored("disk full")
            await publish(server, '{"n": 1}')
            await until(lambda: driver.counters().get("disconnects"))
            try:
                await asyncio.wait(line, timeout=10)
                assert line[0].cancelled(), "it lives on"
            finally:
                line[0].cancel()
                await asyncio.wait(line)
