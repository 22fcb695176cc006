"""Modbus RTU: several units on one serial line, which is a pair of pseudo terminals.

Promises: `path` is a terminal that a client opens like a serial port, and stays the same while clients come and
go; frames with a bad checksum or for units that are not there get no answer; a line is half duplex, so a new
request makes the unit give up the answer it has not begun; answers take the time that the baud rate asks for.
At most `MAX_BUFFER` bytes are kept of what is not yet a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Mapping
from pathlib import Path

from firmware_sim.modbus import WRITE_MULTIPLE, Unit

MAX_BUFFER = 512
# A frame of unknown length is over when the line is still. The specification's 3.5 characters are 4 ms at
# 9600 baud, but a pseudo terminal delivers in bursts, so longer is safer here.
STILL_S = 0.03
_MIN_FRAME = 4
_FIXED_FRAME = 8
_BITS_PER_BYTE = 10
_READ_BYTES = 1_024
_POLYNOMIAL = 0xA001


def crc16(data: bytes) -> bytes:
    """The Modbus checksum, low byte first as it goes on the line."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ _POLYNOMIAL if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


def frame_length(buffer: bytes) -> int | None:
    """How long the request that begins here is, or None if its function does not say."""
    if len(buffer) < 2:
        return None
    if 1 <= buffer[1] <= 6:
        return _FIXED_FRAME
    if buffer[1] == WRITE_MULTIPLE and len(buffer) > 6:
        return 9 + buffer[6]
    return None


class ModbusRtu:
    """One line."""

    def __init__(self, name: str, directory: Path, baudrate: int, units: Mapping[int, Unit]) -> None:
        self.name = name
        self._units = units
        self._baudrate = baudrate
        # We keep the client's side open too: otherwise a client that leaves would hang up our own side.
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.path = directory / name
        self.path.symlink_to(os.ttyname(self._theirs))
        self._buffer = b""
        self._still: asyncio.TimerHandle | None = None
        self._requests: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ours, self._readable)
        answer: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as answers:
                while True:
                    frame = await self._requests.get()
                    if answer is not None:
                        answer.cancel()
                    answer = answers.create_task(self._answer(frame))
        finally:
            loop.remove_reader(self._ours)
            if self._still is not None:
                self._still.cancel()
            self.path.unlink(missing_ok=True)
            os.close(self._ours)
            os.close(self._theirs)

    def _readable(self) -> None:
        try:
            self._buffer += os.read(self._ours, _READ_BYTES)
        except BlockingIOError:
            return
        if self._still is not None:
            self._still.cancel()
            self._still = None
        length = frame_length(self._buffer)
        if length is not None and len(self._buffer) == length and self._take(self._buffer):
            self._buffer = b""
            return
        self._buffer = self._buffer[-MAX_BUFFER:]
        self._still = asyncio.get_running_loop().call_later(STILL_S, self._line_is_still)

    def _line_is_still(self) -> None:
        frame, self._buffer, self._still = self._buffer, b"", None
        self._take(frame)

    def _take(self, frame: bytes) -> bool:
        if len(frame) < _MIN_FRAME or crc16(frame[:-2]) != frame[-2:]:
            return False
        with contextlib.suppress(asyncio.QueueEmpty):
            self._requests.get_nowait()  # the newest request is the one that the client waits for
        self._requests.put_nowait(frame)
        return True

    async def _answer(self, frame: bytes) -> None:
        unit = self._units.get(frame[0])
        answer = await unit.answer(frame[1:-2]) if unit is not None else None
        if unit is None or answer is None:
            return
        body = answer.body if answer.raw else frame[:1] + answer.body
        data = body if answer.raw else body + crc16(body)
        if self._baudrate:
            # Request and answer as they would pass over the wire; still within reach of a newer request.
            await asyncio.sleep((len(frame) + len(data)) * _BITS_PER_BYTE / self._baudrate)
            if unit.silent():
                return
        try:
            whole = os.write(self._ours, data) == len(data)
        except BlockingIOError:
            whole = False  # nobody reads this line
        if whole:
            answer.sent()
