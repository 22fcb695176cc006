"""Opener: has rows opened and joined where that holds up nothing else.

A few rows are opened in a thread. A backlog is opened in a process of its own (`edge.outbox.joining`): in this one it
would share the interpreter with what arrives, which would then wait for it many times over. That process is started
with the first cut of at least ROWS_APART rows and ended when none has come for IDLE_S. Where it cannot be started, dies
or does not answer, the rows are opened in a thread after all, and it is not tried again for RETRY_S.

Bounds: one process, one request at a time, ANSWER_S for its answer, `edge.outbox.joining.MAX_FRAME_BYTES` either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Final

import msgspec

from edge.outbox.joining import HEAD, MAX_FRAME_BYTES, JoinedContents, Request, SealedRow, opened
from wire import codec
from wire.contents import Placed

log = logging.getLogger(__name__)

ROWS_APART: Final = 128  # what is pushed every few minutes has fewer; starting the process costs as much as 500 rows
IDLE_S: Final = 10.0
RETRY_S: Final = 600.0
ANSWER_S: Final = 60.0
END_S: Final = 5.0
NICE: Final = 10  # it steps aside for whatever else is to run on its core
COMMAND: Final = (sys.executable, "-P", "-m", "edge.outbox.joining")


class Opener:
    """`open` rows; `close` it at the end."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._not_before = 0.0  # the loop's time

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    async def open(self, acked: int, rows: Sequence[SealedRow]) -> tuple[Sequence[Placed], int, str]:
        """See `edge.outbox.joining.opened`."""
        loop = asyncio.get_running_loop()
        if len(rows) >= ROWS_APART and loop.time() >= self._not_before:
            try:
                return await self._apart(Request(acked, list(rows)))
            except (OSError, EOFError, ValueError) as error:  # TimeoutError and what msgspec raises are among them
                log.warning(
                    "the process that opens rows: %s; they are opened without it", error or type(error).__name__
                )
                self._not_before = loop.time() + RETRY_S
        return await asyncio.to_thread(opened, acked, rows)

    async def _apart(self, request: Request) -> tuple[Sequence[Placed], int, str]:
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                async with asyncio.timeout(ANSWER_S):
                    told = await self._ask(msgspec.msgpack.encode(request))
            except BaseException:  # also when cancelled: half an answer would be taken for the next
                await self._end(kill=True)
                raise
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_S, lambda: loop.create_task(self.close()))
        return codec.Packed(told.plain), told.taken, told.damage

    async def _ask(self, request: bytes) -> JoinedContents:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
            with contextlib.suppress(OSError):  # forbidden by systemd's unit, or it has ended already
                # At once: its start is work, too.
                os.setpriority(os.PRIO_PROCESS, self._process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        to.write(HEAD.pack(len(request)))
        to.write(request)
        await to.drain()
        (length,) = HEAD.unpack(await back.readexactly(HEAD.size))
        if length > MAX_FRAME_BYTES:
            raise ValueError(f"an answer of {length} bytes; at most {MAX_FRAME_BYTES}")
        return msgspec.msgpack.decode(await back.readexactly(length), type=JoinedContents)

    async def close(self) -> None:
        """End the process, if there is one."""
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            await self._end(kill=False)

    async def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        if not kill:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await process.wait()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
