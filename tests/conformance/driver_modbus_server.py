"""A Modbus server for tests, written from the Modbus specification alone: it can stall, refuse, and answer late.

Over TCP (MBAP frames) and over a pseudo-terminal (RTU frames). Knows functions 1 to 6 and 16.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
import tty
from dataclasses import dataclass, field
from typing import Self


def crc(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")


@dataclass
class Unit:
    """One device behind the server. Registers that are not in `words` are refused with exception 2."""

    words: dict[int, int] = field(default_factory=dict)
    bits: dict[int, bool] = field(default_factory=dict)
    silent: bool = False
    delay_s: float = 0.0
    exception: int | None = None
    most: int = 125  # more registers than that in one read are refused with exception 3
    no_such: int = 2  # the exception for what it does not have; 0 for none: it says nothing to that
    cuts: int = 125  # more registers than that in one read are left out of its answer
    late: int = 0  # each so-many-th answer comes `late_s` later
    late_s: float = 0.0
    falls_silent_after: int | None = None


@dataclass
class ModbusServer:
    """What was asked is in `asked`: (unit, function, start, count or value), in order."""

    units: dict[int, Unit]
    asked: list[tuple[int, int, int, int]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    connections: int = 0
    drop: set[int] = field(default_factory=set)  # units whose requests break the connection
    deaf_s: float = 0.0  # what comes so soon after an answer of its own is ignored, and not in `asked`
    hangs_up: bool = False  # after each answer
    unnumbered: bool = False  # all its answers have transaction number 0
    _answered_s: float = -1.0
    _count: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def answer(self, unit: int, request: bytes) -> bytes | None:
        function = request[0]
        start, count = struct.unpack(">HH", request[1:5])
        if time.monotonic() - self._answered_s < self.deaf_s:
            return None
        self.asked.append((unit, function, start, count))
        device = self.units.get(unit)
        if device is None or device.silent:
            return None
        if device.falls_silent_after is not None:
            device.falls_silent_after -= 1
            device.silent = device.falls_silent_after == 0
        if self.gate is not None:
            await self.gate.wait()
        self._count += 1
        if device.delay_s:
            await asyncio.sleep(device.delay_s)
        if device.late and self._count % device.late == 0:
            await asyncio.sleep(device.late_s)
        if device.exception is not None:
            return bytes([function | 0x80, device.exception])
        where = range(start, start + count)
        if function in (3, 4) and count > device.most:
            return bytes([function | 0x80, 3])
        match function:
            case 1 | 2 if all(a in device.bits for a in where):
                packed = sum(device.bits[a] << i for i, a in enumerate(where)).to_bytes((count + 7) // 8, "little")
                return bytes([function, len(packed)]) + packed
            case 3 | 4 if all(a in device.words for a in where):
                where = where[: device.cuts]
                return struct.pack(f">BB{len(where)}H", function, 2 * len(where), *(device.words[a] for a in where))
            case 5 if start in device.bits:
                device.bits[start] = count == 0xFF00
                return request[:5]
            case 6 if start in device.words:
                device.words[start] = count
                return request[:5]
            case 16 if all(a in device.words for a in where):
                words = struct.unpack(f">{count}H", request[6 : 6 + 2 * count])
                device.words.update(zip(where, words, strict=True))
                return request[:5]
            case _:
                return bytes([function | 0x80, device.no_such]) if device.no_such else None

    # ---- TCP

    async def serve_tcp(self, port: int = 0) -> asyncio.Server:
        return await asyncio.start_server(self._client, "127.0.0.1", port)

    def disconnect(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readexactly(7)
                number, _, length, unit = struct.unpack(">HHHB", head)
                request = await reader.readexactly(length - 1)
                if unit in self.drop:
                    self.asked.append((unit, request[0], *struct.unpack(">HH", request[1:5])))
                    writer.transport.abort()
                    return
                if (answer := await self.answer(unit, request)) is not None:
                    number = 0 if self.unnumbered else number
                    writer.write(struct.pack(">HHHB", number, 0, len(answer) + 1, unit) + answer)
                    self._answered_s = time.monotonic()
                    if self.hangs_up:
                        return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


class RtuPort:
    """A pseudo-terminal: the driver opens `path`, the server reads and writes the other end."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        tty.setraw(self._master)
        self.path = os.ttyname(self._slave)
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        os.close(self._master)
        os.close(self._slave)

    def say(self, unit: int, answer: bytes) -> None:
        frame = bytes([unit]) + answer
        os.write(self._master, frame + crc(frame))

    def noise(self, data: bytes) -> None:
        os.write(self._master, data)

    def _readable(self) -> None:
        self._buffer += os.read(self._master, 4096)
        while len(self._buffer) >= 8:
            size = 9 + self._buffer[6] if self._buffer[1] == 16 else 8
            if len(self._buffer) < size:
                return
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            assert crc(frame[:-2]) == frame[-2:]
            task = asyncio.create_task(self._one(frame[0], frame[1:-2]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, unit: int, request: bytes) -> None:
        async with self._turn:  # one question after the other, as a device on a line does
            answer = await self._server.answer(unit, request)
        if answer is not None:
            self.say(unit, answer)
            self._server._answered_s = time.monotonic()
