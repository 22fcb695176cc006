"""One request on a Modbus connection: how it ends, with a client that answers when it is told to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pymodbus.pdu.register_message import WriteSingleRegisterResponse

from drivers.modbus.link import HoldingBytes, ModbusLink, NoAnswer, NoLine
from drivers.modbus.settings import Line


class Swallowing:
    """A client that waits as asyncio.wait_for of Python 3.11 does: it gives the answer although it was cancelled, when
    both come in the same round of the loop."""

    connected = True

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = asyncio.Event()
        self.ctx = SimpleNamespace(response_future=asyncio.get_running_loop().create_future())

    async def request(self, *_where: Any, **_how: Any) -> Any:
        self.asked.set()
        try:
            return await self.ctx.response_future
        except asyncio.CancelledError:
            if not self.ctx.response_future.cancelled() and self.ctx.response_future.done():
                return self.ctx.response_future.result()
            raise

    read_holding_registers = write_register = request


def seven() -> HoldingBytes:
    answer = HoldingBytes()
    answer.decode(b"\2\0\7")
    return answer


def link_to(client: Any) -> ModbusLink:
    link = ModbusLink("line", Line(host="nowhere"))
    link._client = client
    return link


async def test_what_was_cancelled_stays_cancelled_when_the_answer_comes_at_the_same_time() -> None:
    read = seven()
    written = WriteSingleRegisterResponse(address=1, registers=[7])
    for kind, answer in (("read", read), ("write", written)):
        client = Swallowing(answer)
        link = link_to(client)
        asking = asyncio.create_task(
            link.read(1, "holding", 1, 1, timeout_s=5)
            if kind == "read"
            else link.write(1, "holding", 1, [7], multiple=False, timeout_s=5)
        )
        await client.asked.wait()
        client.ctx.response_future.set_result(answer)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled(), kind


class Wire:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent = data

    def close(self) -> None:
        pass


async def test_the_same_with_pymodbus_as_it_is() -> None:
    link = ModbusLink("line", Line(host="nowhere"))
    client: Any = link._make()
    client.ctx.transport = wire = Wire()
    link._client = client
    for stop in (False, True):
        asking = asyncio.create_task(link.read(1, "holding", 0, 1, timeout_s=5))
        await asyncio.sleep(0)
        client.ctx.data_received(wire.sent[:4] + bytes.fromhex("0005 01 03 02 0007"))
        if stop:
            asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled() == stop
        assert stop or asking.result() == b"\0\7"
    link.close()


async def test_a_time_out_around_a_request_is_seen_when_the_answer_comes_at_the_same_time() -> None:
    client = Swallowing(seven())
    link = link_to(client)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60) as limit:
            asyncio.get_running_loop().call_soon(client.ctx.response_future.set_result, client.answer)
            limit.reschedule(0)
            await link.read(1, "holding", 1, 1, timeout_s=5)


async def test_a_task_that_was_cancelled_before_may_still_ask() -> None:
    client = Swallowing(seven())
    client.ctx.response_future.set_result(client.answer)
    link = link_to(client)

    async def clean_up() -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return await link.read(1, "holding", 1, 1, timeout_s=5)

    task = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == b"\0\7"


async def test_no_answer_in_time() -> None:
    client = Swallowing(None)
    link = link_to(client)
    with pytest.raises(NoAnswer, match=r"no answer within 0\.01 s"):
        await link.read(1, "holding", 1, 1, timeout_s=0.01)


async def test_a_connection_that_breaks_ends_the_wait_at_once() -> None:
    client = Swallowing(None)
    link = link_to(client)
    asking = asyncio.create_task(link.read(1, "holding", 1, 1, timeout_s=60))
    await client.asked.wait()
    client.connected = False
    link._on_connect(False)
    with pytest.raises(NoLine, match="closed the connection"):
        async with asyncio.timeout(5):
            await asking
