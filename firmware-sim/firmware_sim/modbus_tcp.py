"""Modbus TCP: several units behind one listening socket.

Promises: binds the port that the scene names (0 means any free one, told in `port`); at most
`MAX_CONNECTIONS` clients and `MAX_IN_FLIGHT` requests of each are held, further ones wait; an answer is either
handed to the kernel whole, or its connection is closed and the answer does not count. A request for a unit
that is not there is refused with exception 11, as gateways do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping

from firmware_sim.modbus import Refusal, Unit, refuse

MAX_CONNECTIONS = 32
MAX_IN_FLIGHT = 16
_HEADER_BYTES = 7
_MAX_LENGTH = 254
_READ_BYTES = 4_096


class ModbusTcp:
    """One server. Use `open`, then `run` until cancelled."""

    def __init__(self, name: str, host: str, port: int, units: Mapping[int, Unit]) -> None:
        self.name = name
        self._units = units
        self._socket = socket.create_server((host, port), backlog=MAX_CONNECTIONS)
        self._socket.setblocking(False)
        self.host = host
        self.port: int = self._socket.getsockname()[1]

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(MAX_CONNECTIONS)
        try:
            async with asyncio.TaskGroup() as clients:
                while True:
                    await places.acquire()
                    client, _ = await loop.sock_accept(self._socket)
                    client.setblocking(False)
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    task = clients.create_task(self._serve(client))
                    task.add_done_callback(lambda _: places.release())
        finally:
            self._socket.close()

    async def _serve(self, client: socket.socket) -> None:
        try:
            async with asyncio.TaskGroup() as answers:
                pending: set[asyncio.Task[None]] = set()
                try:
                    await self._listen(client, answers, pending)
                except ConnectionError:
                    pass  # the client is gone, and with it whoever would have read what is still pending
                finally:
                    for task in pending:
                        task.cancel()
        finally:
            client.close()

    async def _listen(
        self, client: socket.socket, answers: asyncio.TaskGroup, pending: set[asyncio.Task[None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(MAX_IN_FLIGHT)
        buffer = b""

        def done(task: asyncio.Task[None]) -> None:
            pending.discard(task)
            places.release()

        while data := await loop.sock_recv(client, _READ_BYTES):
            buffer += data
            while len(buffer) >= _HEADER_BYTES + 1:
                number, protocol, length, unit = struct.unpack(">HHHB", buffer[:_HEADER_BYTES])
                if protocol != 0 or not 2 <= length <= _MAX_LENGTH:
                    return  # not Modbus: nothing on this connection can be trusted to be in step again
                if len(buffer) < 6 + length:
                    break
                pdu, buffer = buffer[_HEADER_BYTES : 6 + length], buffer[6 + length :]
                await places.acquire()
                task = answers.create_task(self._answer(client, number, unit, pdu))
                pending.add(task)
                task.add_done_callback(done)

    async def _answer(self, client: socket.socket, number: int, unit: int, pdu: bytes) -> None:
        asked = self._units.get(unit)
        answer = refuse(pdu, Refusal.GATEWAY_NO_RESPONSE) if asked is None else await asked.answer(pdu)
        if answer is None:
            return
        header = b"" if answer.raw else struct.pack(">HHHB", number, 0, len(answer.body) + 1, unit)
        frame = header + answer.body
        try:
            # Not awaited: between counting an answer and sending it nobody may come in between.
            whole = client.send(frame) == len(frame)
        except (BlockingIOError, ConnectionError):
            whole = False
        if whole:
            answer.sent()
        else:
            with contextlib.suppress(OSError):  # already closed by the other side
                client.shutdown(socket.SHUT_RDWR)
