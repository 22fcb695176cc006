"""One Modbus connection: the only place that knows pymodbus.

Promises: one request at a time, each with its own time-out and without retries; an answer is taken only when unit,
function, size and echo fit the request: another one is late, and the wait goes on; nothing is sent before the line
has been silent for as long as it wants (`pause_ms`; on a serial line 3.5 characters), whatever it is that is sent;
connecting again is left to the caller, who is told at once when the connection breaks under a request.

Bounds: a wait for silence ends after at most PAUSES pauses; answers that do not fit are looked at until the time-out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from drivers.backoff import Monotonic
from drivers.frames import Trace
from drivers.modbus.words import Line, Space
from drivers.reasons import why

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

PAUSES: Final = 20
RTU_CHARACTERS: Final = 3.5  # Modbus over Serial Line V1.02, 2.5.1.1: silence between frames
RTU_FAST_BAUD: Final = 19_200  # above it the silence is fixed, by the same clause
RTU_FAST_S: Final = 0.00175
RTU_BITS: Final = (
    11  # of a character: start, eight of data, parity and stop; a line without parity should have two stops
)
MBAP_UNIT: Final = 6  # where the unit stands in a frame over TCP (Modbus Messaging on TCP/IP V1.0b, 3.1.3)
HABIT_S: Final = 1.0  # who closes a connection so soon after an answer does it because of the answer
HURRY_S: Final = 0.25  # a request so soon after an answer may be lost on who needs a pause

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what it would log is raised to us, and logged once


def silence_s(line: Line) -> float:
    """The least silence before a request, in seconds."""
    pause_s = line.pause_ms / 1000
    if not line.serial:
        return pause_s
    if line.baud > RTU_FAST_BAUD:
        return max(pause_s, RTU_FAST_S)
    bits = max(RTU_BITS, 9 + (line.parity != "N") + line.stop_bits)
    return max(pause_s, RTU_CHARACTERS * bits / line.baud)


class NoLine(Exception):
    """There is no connection, or it broke under the request. The devices behind it are not to blame.

    `sent`: whether the request may have reached the device. `used`: whether there had been an answer on that
    connection, so that it may be the custom of the other end to close it after a while.
    """

    def __init__(self, text: str, *, sent: bool = False, used: bool = False) -> None:
        super().__init__(text)
        self.sent, self.used = sent, used


class NoAnswer(Exception):
    """The connection stands, but nothing that fits the request came in time.

    `got`: of an answer that fits but for its size, how many of the registers or bits that were asked for came for sure.
    """

    def __init__(self, text: str, got: int = 0) -> None:
        super().__init__(text)
        self.got = got


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


class OneFrame(FramerRTU):
    """RTU frames, one after the other: of several that come together pymodbus would take one and drop the others."""

    def decode(self, data: bytes) -> tuple[int, int, int, bytes]:
        """The first frame, and up to where it reaches; see the base class."""
        used, unit, number, frame = super().decode(data)
        if frame:
            used = data.find(bytes([unit]) + frame) + len(frame) + 3  # unit before, and a checksum of two after it
        return used, unit, number, frame


class ModbusLink:
    """One TCP connection or serial line. Its caller sees to it that there is one request at a time."""

    def __init__(self, name: str, line: Line, clock: Monotonic = time.monotonic, trace: Trace | None = None) -> None:
        """`trace` keeps what passes, by unit."""
        self._name = name
        self._trace = trace or Trace(())
        self._asked = -1  # the unit that was asked last
        self._line = line
        self._clock = clock
        self._silence_s = silence_s(line)
        self._client: _Client | None = None
        self._asking: _Client | None = None  # whoever owes an answer now
        self._heard_s = -HURRY_S
        self._free_s = 0.0  # when the line has been silent long enough
        self._answers = 0  # on this connection
        self._hangs_up = False  # whether the other end closed the last connection right after an answer
        self.hurried = False  # whether the last request was sent right after an answer
        self.heard_of: int | None = None  # the unit that answered last
        self.strays = 0  # answers that fitted no request

    @property
    def connected(self) -> bool:
        """Whether requests can be sent."""
        return self._client is not None and self._client.connected

    @property
    def used(self) -> bool:
        """Whether there was an answer on this connection."""
        return self._answers > 0

    @property
    def lasts(self) -> bool:
        """Whether the other end is seen not to close a connection after each answer."""
        return self.serial or not self.used or (self._answers > 1 and not self._hangs_up)

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
        create = client.ctx.call_create
        failed: BaseException | None = None

        async def tell() -> Any:  # pymodbus would only log what went wrong
            nonlocal failed
            try:
                return await create()
            except BaseException as error:
                failed = error
                raise

        client.ctx.call_create = tell
        done = False
        try:
            async with asyncio.timeout(self._line.connect_timeout_s):
                done = await client.connect()
        except TimeoutError as error:
            raise NoLine(f"{self.where} does not answer within {self._line.connect_timeout_s:g} s") from error
        except (OSError, ValueError) as error:  # pyserial says ValueError of a speed that the port does not have
            raise NoLine(f"{self.where} cannot be opened: {why(error)}") from error
        finally:
            if not done:
                client.close()
        if not done:
            reason = "no reason is known" if failed is None else why(failed)
            raise NoLine(f"{self.where} cannot be opened: {reason}") from failed
        self._answers = 0
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
        self, unit: int, space: Space, start: int, count: int, *, timeout_s: float, doubtful: bool = False
    ) -> bytes | Sequence[bool]:
        """Registers as big-endian bytes, or bits. `doubtful`: a refusal may be a late one, and is believed only when
        nothing else comes within the time-out.

        Raises:
            NoLine, NoAnswer, Said.
        """

        def ask(client: _Client) -> Awaitable[ModbusPDU]:
            match space:
                case "holding":
                    return client.read_holding_registers(start, count=count, device_id=unit)
                case "input":
                    return client.read_input_registers(start, count=count, device_id=unit)
                case "coil":
                    return client.read_coils(start, count=count, device_id=unit)
                case "discrete":
                    return client.read_discrete_inputs(start, count=count, device_id=unit)

        bits = space in ("coil", "discrete")
        what, key = ("bits", "max_bits") if bits else ("registers", "max_registers")
        sure = 0

        def unlike(answer: Any) -> str:
            nonlocal sure
            got = len(answer.bits) if bits else len(answer.data) // 2
            if count <= got < count + (8 if bits else 1):
                return ""
            sure = max(0, got - 7 if bits else got) if got < count else 0  # the last seven bits may be padding
            return f"an answer had {got} {what} where {count} were asked for"

        try:
            answer: Any = await self._ask(ask, READS[space], unlike, timeout_s, doubtful=doubtful)
        except NoAnswer as silent:
            if not sure:
                raise
            text = f"the device gives {sure} {what} where {count} are asked for: set {key} of its profile"
            raise NoAnswer(text, sure) from silent
        return answer.bits[:count] if bits else answer.data

    async def write(
        self, unit: int, space: Space, start: int, registers: Sequence[int], *, multiple: bool, timeout_s: float
    ) -> None:
        """Set one coil, one register (function 6) or several (function 16).

        Raises:
            NoLine, NoAnswer, Said.
        """
        coil, many = space == "coil", multiple or len(registers) > 1

        def ask(client: _Client) -> Awaitable[ModbusPDU]:
            if coil:
                return client.write_coil(start, bool(registers[0]), device_id=unit)
            if many:
                return client.write_registers(start, list(registers), device_id=unit)
            return client.write_register(start, registers[0], device_id=unit)

        def unlike(answer: Any) -> str:
            if coil:
                fits = (answer.address, list(answer.bits[:1])) == (start, [bool(registers[0])])
            elif many:
                fits = (answer.address, answer.count) == (start, len(registers))
            else:
                fits = (answer.address, list(answer.registers)) == (start, list(registers))
            return "" if fits else "an answer did not repeat what was written"

        function = WRITES["coil" if coil else "multiple" if many else "single"]
        await self._ask(ask, function, unlike, timeout_s)

    def hold(self) -> None:
        """Let the next request be none that may be lost for coming right after an answer."""
        self._free_s = max(self._free_s, self._heard_s + HURRY_S)

    async def quiet(self) -> None:
        """Wait on a serial line until nothing has been heard for `quiet_s`, at most for twenty times as long."""
        began = self._clock()
        while self.serial and self._line.quiet_s:
            now = self._clock()
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
            client.ctx.framer = OneFrame(client.ctx.framer.decoder)
        else:
            client = AsyncModbusTcpClient(line.host, port=line.port, **common)
        client.register(HoldingBytes)
        client.register(InputBytes)
        return client

    def _ready(self) -> _Client:
        if self._client is None or not self._client.connected:
            raise NoLine(f"no connection to {self.where}")
        return self._client

    async def _pause(self) -> None:
        """Wait until the line has been silent for long enough."""
        for _ in range(PAUSES):
            if (left_s := self._free_s - self._clock()) <= 0:
                return
            await asyncio.sleep(left_s)

    async def _ask(
        self,
        request: Callable[[_Client], Awaitable[ModbusPDU]],
        function: int,
        unlike: Callable[[ModbusPDU], str],
        timeout_s: float,
        *,
        doubtful: bool = False,
    ) -> ModbusPDU:
        """Send a request, and wait for the answer of this function in which nothing is `unlike`."""
        task = asyncio.current_task()
        assert task is not None
        cancelled = task.cancelling()
        await self._pause()
        client, used = self._ready(), self.used
        ctx: Any = client.ctx
        now = self._clock()
        self.hurried = now - self._heard_s < HURRY_S
        self._free_s = now + self._silence_s
        until_s = now + timeout_s
        stray, said = "", 0
        timer = asyncio.get_running_loop().call_later(timeout_s, self._late, client, timeout_s)
        self._asking = client
        try:
            answer = await request(client)
            while (stray := self._stray(answer, function, unlike)) or (doubtful and answer.isError()):
                if stray:
                    self.strays += 1
                else:
                    said = answer.exception_code
                # A late answer to another request, most likely: ours may still come, or have come with it.
                ctx.response_future = asyncio.get_running_loop().create_future()
                ctx.data_received(b"")
                answer = await ctx.response_future
        except NoLine as gone:
            gone.used = used
            raise
        except NoAnswer as silent:
            if said:
                raise Said(said) from silent
            raise NoAnswer(f"{silent}; {stray}" if stray else str(silent)) from silent
        except (ModbusException, OSError) as error:
            if not self.connected:
                raise NoLine(f"{self.where} closed the connection", sent=True, used=used) from error
            raise NoAnswer(f"no answer that can be read: {error}") from error
        except asyncio.CancelledError:
            if self.serial:  # the device may be about to speak: nobody else may, until it has
                self._free_s = until_s
            raise
        finally:
            self._asking = None
            timer.cancel()
        if task.cancelling() > cancelled:
            # Whoever waits for an answer that comes together with a cancellation may give the one and forget the
            # other (asyncio.wait_for does, before Python 3.12): then it is told again.
            raise asyncio.CancelledError
        self._answers += 1
        self.heard_of = answer.dev_id
        if answer.isError():
            raise Said(answer.exception_code)
        return answer

    @staticmethod
    def _stray(answer: ModbusPDU, function: int, unlike: Callable[[ModbusPDU], str]) -> str:
        """Why this is no answer to the request; nothing where it is one."""
        if answer.function_code & 0x7F != function:
            return "an answer was to another request"
        return "" if answer.isError() else unlike(answer)

    def _late(self, client: _Client, timeout_s: float) -> None:
        if self.connected:
            _give_up(client, NoAnswer(f"no answer within {timeout_s:g} s"))
        else:
            _give_up(client, NoLine(f"{self.where} closed the connection", sent=True))

    def _on_packet(self, sending: bool, data: bytes) -> bytes:
        now_s = self._clock()
        if sending:
            self._asked = data[0 if self.serial else MBAP_UNIT]
            self._trace.note(self._asked, now_s, "out", data)
            return data
        self._heard_s = now_s
        self._free_s = now_s + self._silence_s
        self._trace.heard(self._asked, now_s, data)
        return data

    def _on_connect(self, connected: bool) -> None:
        if connected:
            return
        self._hangs_up = self.used and self._clock() - self._heard_s < HABIT_S
        if self._asking is not None:  # a broken connection leaves pymodbus waiting: end that now
            _give_up(self._asking, NoLine(f"{self.where} closed the connection", sent=True))


def _give_up(client: _Client, why: Exception) -> None:
    """End the wait for the answer that is owed now."""
    ctx: Any = client.ctx
    owed: asyncio.Future[ModbusPDU] = ctx.response_future
    if not owed.done():
        owed.set_exception(why)


_Client = AsyncModbusTcpClient | AsyncModbusSerialClient
READS: Final = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
WRITES: Final = {"coil": 5, "single": 6, "multiple": 16}
