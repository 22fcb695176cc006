"""One Modbus TCP connection, with framing of our own: a poll spends most of its time here.

Promises: what `link.py` promises of a connection. An answer is taken only when transaction number, unit, function, size
and echo fit the request; anything else is passed over, and the request ends with its time-out at the latest. Nothing is
sent twice, and nothing is kept of a request that was given up.

Bounds: one request at a time; less than one frame (260 bytes) waits for its rest; bytes that nobody asked for, and
those behind a header that is none, are dropped as they come.

Frames are those of the MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3: transaction number, protocol 0 and
length as u16, unit as u8, then what the MODBUS Application Protocol V1.1b3 states in section 6 for each function.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from struct import Struct
from typing import Final, cast

from drivers.modbus.link import NoAnswer, NoLine, Said
from drivers.modbus.words import Line, Space

HEADER_BYTES: Final = 7
LENGTH_MAX: Final = 254  # unit and 253 bytes: the longest frame is 260 bytes
REFUSAL_BYTES: Final = 9
READS: Final[dict[Space, int]] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
WRITE_COIL: Final = 5
WRITE_REGISTER: Final = 6
WRITE_REGISTERS: Final = 16
ON: Final = 0xFF00
REFUSED: Final = 0x80  # or'ed to the function of a refusal

_ASK = Struct(">HHHBBHH")  # header, function, start, count or value: a whole request, and the echo of a write
_ANSWER = Struct(">HHHBBB")  # header, function, bytes of data
_HEADER = Struct(">HHHB")


class _Owed:
    """The one request that waits for its answer."""

    __slots__ = ("answer", "begins", "function", "odd", "size", "unit")

    def __init__(self, function: int, unit: int, begins: bytes, size: int, answer: asyncio.Future[bytes]) -> None:
        self.function, self.unit = function, unit
        self.begins = begins  # of the frame that answers: all that can be known of it before
        self.size = size  # of that frame
        self.answer = answer
        self.odd = ""  # what came instead

    def ends(self, why: Exception) -> None:
        """Without an answer."""
        if not self.answer.done():
            self.answer.set_exception(why)


class TcpLink:
    """One TCP connection. Its caller sees to it that there is one request at a time."""

    serial: Final = False  # answers carry a transaction number

    def __init__(self, line: Line) -> None:
        self._line = line
        self._wire: _Wire | None = None
        self.where: Final = f"{line.host}:{line.port}"  # the other end, in words

    @property
    def connected(self) -> bool:
        """Whether requests can be sent."""
        return self._wire is not None and self._wire.open

    async def connect(self) -> None:
        """Connect once.

        Raises:
            NoLine: with the reason.
        """
        self.close()
        line, wire = self._line, _Wire(self.where)
        try:
            async with asyncio.timeout(line.connect_timeout_s):
                await asyncio.get_running_loop().create_connection(lambda: wire, line.host, line.port)
        except TimeoutError as error:
            wire.close()
            raise NoLine(f"{self.where} cannot be opened: nothing within {line.connect_timeout_s:g} s") from error
        except OSError as error:
            raise NoLine(f"{self.where} does not accept a connection") from error
        except BaseException:
            wire.close()
            raise
        self._wire = wire

    def close(self) -> None:
        """Drop the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    async def read(
        self, unit: int, space: Space, start: int, count: int, *, timeout_s: float
    ) -> bytes | Sequence[bool]:
        """Registers as big-endian bytes, or bits.

        Raises:
            NoLine, NoAnswer, Said.
        """
        wire, function = self._ready(), READS[space]
        bits = function <= 2
        size = (count + 7) // 8 if bits else 2 * count
        number = wire.next_number()
        request = _ASK.pack(number, 0, 6, unit, function, start, count)
        begins = _ANSWER.pack(number, 0, 3 + size, unit, function, size)
        frame = await wire.ask(request, function, unit, begins, 9 + size, timeout_s)
        data = frame[9 : 9 + size]
        return [bool(data[i >> 3] >> (i & 7) & 1) for i in range(count)] if bits else data

    async def write(
        self, unit: int, space: Space, start: int, registers: Sequence[int], *, multiple: bool, timeout_s: float
    ) -> None:
        """Set one coil, one register (function 6) or several (function 16).

        Raises:
            NoLine, NoAnswer, Said.
        """
        wire, rest = self._ready(), b""
        number = wire.next_number()
        if space == "coil":
            function, value = WRITE_COIL, ON if registers[0] else 0
        elif multiple or len(registers) > 1:
            function, value = WRITE_REGISTERS, len(registers)
            rest = bytes([2 * value]) + b"".join(r.to_bytes(2) for r in registers)
        else:
            function, value = WRITE_REGISTER, registers[0]
        request = _ASK.pack(number, 0, 6 + len(rest), unit, function, start, value) + rest
        echo = _ASK.pack(number, 0, 6, unit, function, start, value)
        await wire.ask(request, function, unit, echo, len(echo), timeout_s)

    async def quiet(self) -> None:
        """Nothing to wait for: a late answer has another number."""

    def _ready(self) -> _Wire:
        wire = self._wire
        if wire is None or not wire.open:
            raise NoLine(f"no connection to {self.where}")
        return wire


class _Wire(asyncio.Protocol):
    """One connection while it lasts."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._owed: _Owed | None = None
        self._part = b""  # of a frame whose rest has not come

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()  # not close(), which waits until all is sent
        self._lost()

    def next_number(self) -> int:
        """Never 0, which devices may put into answers to nothing."""
        self._number = self._number % 0xFFFF + 1
        return self._number

    async def ask(self, request: bytes, function: int, unit: int, begins: bytes, size: int, timeout_s: float) -> bytes:
        """Send it; the frame that answers it, which begins with `begins` and has `size` bytes or more.

        Raises:
            NoLine, NoAnswer, Said.
        """
        transport = self._transport
        assert transport is not None
        assert self._owed is None, "one request at a time"
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        owed = self._owed = _Owed(function, unit, begins, size, answer)
        self._part = b""  # the rest of a frame that got stuck would only take this answer for its own end
        timer = loop.call_later(timeout_s, self._late, owed, timeout_s)
        try:
            transport.write(request)
            # Awaited as it is: unlike asyncio.wait_for of Python 3.11, that never forgets a cancellation.
            return await answer
        finally:
            self._owed = None
            timer.cancel()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        self._transport = None
        self._lost()

    def data_received(self, data: bytes) -> None:
        owed = self._owed
        if owed is None:  # late, or never asked for
            self._part = b""
            return
        if len(data) == owed.size and not self._part and data.startswith(owed.begins):
            if not owed.answer.done():  # nearly every answer is this: one frame, whole, as it should be
                owed.answer.set_result(data)
            return
        self._part = _search(self._part + data, owed)

    # ----

    def _late(self, owed: _Owed, timeout_s: float) -> None:
        instead = f", only {owed.odd}" if owed.odd else ""
        owed.ends(NoAnswer(f"no answer within {timeout_s:g} s{instead}"))

    def _lost(self) -> None:
        if self._owed is not None:
            self._owed.ends(NoLine(f"{self._where} closed the connection"))


def _search(data: bytes, owed: _Owed) -> bytes:
    """Go through whole frames until one answers; returns the bytes of a frame whose rest is still to come."""
    while len(data) >= HEADER_BYTES and not owed.answer.done():
        number, protocol, length, unit = _HEADER.unpack_from(data)
        if protocol or not 2 <= length <= LENGTH_MAX:
            owed.odd = "bytes that are not Modbus TCP"
            return b""  # where the next frame begins cannot be known
        if length == 2 and len(data) == REFUSAL_BYTES and data[HEADER_BYTES] > REFUSED:
            length = 3  # some devices do not count the code of their refusal
        if len(data) < 6 + length:
            return data
        frame, data = data[: 6 + length], data[6 + length :]
        if number != int.from_bytes(owed.begins[:2]):
            owed.odd = "one to another request"
        elif unit != owed.unit and owed.unit:  # unit 0 is whoever is there
            owed.odd = "one of another unit"
        else:
            _take(frame, owed)
    return b"" if owed.answer.done() else data


def _take(frame: bytes, owed: _Owed) -> None:
    """The frame has the request's number: it answers, refuses, or makes no sense."""
    body, begins = frame[HEADER_BYTES:], owed.begins[HEADER_BYTES:]
    if body[0] > REFUSED and len(body) > 1:
        owed.ends(Said(body[1]))
    elif body[0] != owed.function:
        owed.ends(NoAnswer("the answer is to another request"))
    elif len(frame) >= owed.size and body.startswith(begins):  # what is behind it is nobody's
        owed.answer.set_result(frame)
    elif owed.function in (WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS):
        owed.ends(NoAnswer("the answer does not repeat what was written"))
    else:
        came, want = len(body) - 2, begins[1]
        stated = body[1] if came >= 0 else 0
        owed.ends(NoAnswer(f"the answer has {max(came, 0)} bytes and states {stated} where {want} were asked for"))
