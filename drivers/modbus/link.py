"""One Modbus connection: the only place that knows pymodbus.

Promises: one request at a time, each with its own time-out and without retries; an answer is taken only when unit,
function, size and echo fit the request, so a late one never passes for the next; connecting again is left to the
caller, who is told at once when the connection breaks under a request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from drivers.modbus.words import Line, Space

EXCEPTIONS: Final = {
    1: "the device does not know this function",
    2: "the device has no such register",
    3: "the device does not accept this value",
    4: "the device has failed",
    5: "the device is still working on it",
    6: "the device is busy",
    7: "the device cannot do this",
    8: "the device's memory has a parity error",
    10: "the gateway has no path to the device",
    11: "the gateway had no answer from the device",
}

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what it would log is raised to us, and logged once


class NoLine(Exception):
    """There is no connection, or it broke under the request. The devices behind it are not to blame."""


class NoAnswer(Exception):
    """The connection stands, but nothing that fits the request came in time."""


class Said(Exception):
    """The device answered with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{EXCEPTIONS.get(code, 'the device refused')} (exception {code})")
        self.code = code


class HoldingBytes(ReadHoldingRegistersResponse):
    """An answer with registers, kept as the bytes that came."""

    data = b""

    def decode(self, data: bytes) -> None:
        """Cut them out; see the base class."""
        size = data[0]
        if size >= len(data):
            raise ModbusIOException(f"{size} bytes announced, {len(data) - 1} came", function_code=self.function_code)
        self.data = data[1 : 1 + size - size % 2]

    def __str__(self) -> str:
        """What pymodbus makes of each answer for its log, also while nothing is logged: short."""
        return f"{len(self.data)} bytes"


class InputBytes(HoldingBytes):
    """The same of input registers."""

    function_code = 4


class ModbusLink:
    """One TCP connection or serial line. Its caller sees to it that there is one request at a time."""

    def __init__(self, name: str, line: Line) -> None:
        self._name = name
        self._line = line
        self._client: _Client | None = None
        self._asking: _Client | None = None  # whoever owes an answer now
        self._heard_s = 0.0

    @property
    def connected(self) -> bool:
        """Whether requests can be sent."""
        return self._client is not None and self._client.connected

    @property
    def serial(self) -> bool:
        """Whether answers carry no transaction number, so that late ones must be waited out."""
        return bool(self._line.serial)

    @property
    def where(self) -> str:
        """The other end, in words."""
        return self._line.serial or f"{self._line.host}:{self._line.port}"

    async def connect(self) -> None:
        """Connect once.

        Raises:
            NoLine: with the reason.
        """
        self.close()
        client = self._make()
        try:
            async with asyncio.timeout(self._line.connect_timeout_s):
                done = await client.connect()
        except (OSError, TimeoutError) as error:
            client.close()
            raise NoLine(f"{self.where} cannot be opened: {error}") from error
        except BaseException:
            client.close()
            raise
        if not done:
            client.close()
            raise NoLine(f"{self.where} does not accept a connection")
        sock: Any = client.ctx.transport.get_extra_info("socket")
        if isinstance(sock, socket.socket) or hasattr(sock, "setsockopt"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client

    def close(self) -> None:
        """Drop the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def read(
        self, unit: int, space: Space, start: int, count: int, *, timeout_s: float
    ) -> bytes | Sequence[bool]:
        """Registers as big-endian bytes, or bits.

        Raises:
            NoLine, NoAnswer, Said.
        """
        client = self._ready()
        request: Any
        match space:
            case "holding":
                request = client.read_holding_registers(start, count=count, device_id=unit)
            case "input":
                request = client.read_input_registers(start, count=count, device_id=unit)
            case "coil":
                request = client.read_coils(start, count=count, device_id=unit)
            case "discrete":
                request = client.read_discrete_inputs(start, count=count, device_id=unit)
        answer = await self._ask(client, request, timeout_s)
        if answer.function_code != _READS[space]:
            raise NoAnswer("the answer is to another request")
        if space in ("coil", "discrete"):
            if not count <= len(answer.bits) < count + 8:
                raise NoAnswer(f"the answer has {len(answer.bits)} bits where {count} were asked for")
            return answer.bits[:count]
        assert isinstance(answer, HoldingBytes)
        if len(answer.data) != 2 * count:
            raise NoAnswer(f"the answer has {len(answer.data) // 2} registers where {count} were asked for")
        return answer.data

    async def write(
        self, unit: int, space: Space, start: int, registers: Sequence[int], *, multiple: bool, timeout_s: float
    ) -> None:
        """Set one coil, one register (function 6) or several (function 16).

        Raises:
            NoLine, NoAnswer, Said.
        """
        client = self._ready()
        if space == "coil":
            answer = await self._ask(client, client.write_coil(start, bool(registers[0]), device_id=unit), timeout_s)
            fits = (answer.function_code, answer.address, list(answer.bits[:1])) == (5, start, [bool(registers[0])])
        elif multiple or len(registers) > 1:
            answer = await self._ask(client, client.write_registers(start, list(registers), device_id=unit), timeout_s)
            fits = (answer.function_code, answer.address, answer.count) == (16, start, len(registers))
        else:
            answer = await self._ask(client, client.write_register(start, registers[0], device_id=unit), timeout_s)
            echo = (answer.function_code, answer.address, list(answer.registers))
            fits = echo == (6, start, list(registers))
        if not fits:
            raise NoAnswer("the answer does not repeat what was written")

    async def quiet(self) -> None:
        """Wait on a serial line until nothing has been heard for `quiet_s`, at most for twenty times as long."""
        began = time.monotonic()
        while self.serial and self._line.quiet_s:
            now = time.monotonic()
            left = max(self._heard_s, began) + self._line.quiet_s - now
            if left <= 0 or now - began > 20 * self._line.quiet_s:
                return
            await asyncio.sleep(left)

    def _make(self) -> _Client:
        # Retries and reconnects are ours, and so is the time-out of each request: pymodbus has none of its own.
        line = self._line
        common: dict[str, Any] = {
            "name": self._name,
            "timeout": None,
            "retries": 0,
            "reconnect_delay": 0,
            "trace_packet": self._on_packet,
            "trace_connect": self._on_connect,
        }
        if line.serial:
            client = AsyncModbusSerialClient(
                line.serial, baudrate=line.baud, parity=line.parity, stopbits=line.stop_bits, **common
            )
        else:
            client = AsyncModbusTcpClient(line.host, port=line.port, **common)
        client.register(HoldingBytes)
        client.register(InputBytes)
        return client

    def _ready(self) -> _Client:
        if self._client is None or not self._client.connected:
            raise NoLine(f"no connection to {self.where}")
        return self._client

    async def _ask(self, client: _Client, request: Awaitable[ModbusPDU], timeout_s: float) -> ModbusPDU:
        task = asyncio.current_task()
        assert task is not None
        cancelled = task.cancelling()
        timer = asyncio.get_running_loop().call_later(timeout_s, self._late, client, timeout_s)
        self._asking = client
        try:
            answer = await request
        except (ModbusException, OSError) as error:
            if not self.connected:
                raise NoLine(f"{self.where} closed the connection") from error
            raise NoAnswer(f"no answer that can be read: {error}") from error
        finally:
            self._asking = None
            timer.cancel()
        if task.cancelling() > cancelled:
            # Whoever waits for an answer that comes together with a cancellation may give the one and forget the
            # other (asyncio.wait_for does, before Python 3.12): then it is told again.
            raise asyncio.CancelledError
        if answer.isError():
            raise Said(answer.exception_code)
        return answer

    def _late(self, client: _Client, timeout_s: float) -> None:
        if self.connected:
            _give_up(client, NoAnswer(f"no answer within {timeout_s:g} s"))
        else:
            _give_up(client, NoLine(f"{self.where} closed the connection"))

    def _on_packet(self, sending: bool, data: bytes) -> bytes:
        if not sending:
            self._heard_s = time.monotonic()
        return data

    def _on_connect(self, connected: bool) -> None:
        # A broken connection leaves pymodbus waiting: end that now.
        if not connected and self._asking is not None:
            _give_up(self._asking, NoLine(f"{self.where} closed the connection"))


def _give_up(client: _Client, why: Exception) -> None:
    """End the wait for the answer that is owed now."""
    ctx: Any = client.ctx
    owed: asyncio.Future[ModbusPDU] = ctx.response_future
    if not owed.done():
        owed.set_exception(why)


_Client = AsyncModbusTcpClient | AsyncModbusSerialClient
_READS: Final = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
