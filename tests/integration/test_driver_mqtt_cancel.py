"""An MQTT line that is ended while it drops a connection ends."""

from __future__ import annotations

import asyncio
from typing import Any

import aiomqtt
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


async def test_a_line_that_is_ended_while_its_broker_answers_and_hangs_up_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer to CONNECT is there, the connection is lost, and who waits for the one is ended just then."""
    line: list[asyncio.Task[Any]] = []
    entered, enter = MqttSession._entered, aiomqtt.Client.__aenter__
    sessions: list[MqttSession] = []

    async def entering(self: MqttSession) -> None:
        sessions.append(self)
        await entered(self)

    async def answering(self: aiomqtt.Client) -> aiomqtt.Client:
        loop = asyncio.get_running_loop()
        await enter(self)
        sessions[0]._on_end(ConnectionResetError("gone"))
        for _ in range(5):
            await asyncio.sleep(0)  # until it is the answer alone that is waited for
        answer = loop.create_future()
        loop.call_soon(answer.set_result, None)
        loop.call_soon(line[0].cancel)
        await asyncio.wait_for(answer, 10)  # which forgets a cancellation that meets the answer
        return self

    monkeypatch.setattr(MqttSession, "_entered", entering)
    monkeypatch.setattr(aiomqtt.Client, "__aenter__", answering)
    async with broker() as server, node(server, Ledger()) as driver:
        line.append(asyncio.create_task(driver.listen([LAMP.device], Ledger())))
        try:
            await asyncio.wait(line, timeout=5)
            assert line[0].cancelled(), "it lives on"
        finally:
            line[0].cancel()
            await asyncio.wait(line)
