"""Reader processes as the one that writes sees them: told, replaced, and ended where they do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from cloud.reader.link import Begin
from cloud.reader.linked import CUT_AFTER
from cloud.reader.processes import ReaderProcesses
from cloud.store import Store, opened
from cloud.views.watching import LIVE_S, Watching
from support.cloud_batches import Sender, Ticking, columns, send

DEAF = "import time; time.sleep(600)"
ENDS = "raise SystemExit(3)"
ANSWERS = """
import asyncio, socket, sys
from cloud.reader.link import *
async def main():
    link = await Link.over(socket.socket(fileno=int(sys.argv[1])))
    assert isinstance(await link.receive(), Begin)
    await link.send(LookedAt(["cab-7"]))
    while (message := await link.receive()) is not None:
        if isinstance(message, State):
            await link.send(Beat(message.head))
        elif isinstance(message, Pause):
            await link.send(Paused(message.number, True))
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def kept(store: Store, script: str, watching: Watching | None = None) -> AsyncGenerator[ReaderProcesses]:
    begin = Begin(
        data="", history="", host="127.0.0.1", tls_cert=None, tls_key=None, trusted_proxy=[], token_feeds=1,
        token_requests=1, feed_cut_s=1, feed_keep_alive_s=1, ticket_key=b"", cors_origins=[],
    )  # fmt: skip
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        processes = ReaderProcesses(
            1,
            begin,
            listener,
            store,
            watching or Watching(),
            lambda link, _listener: [sys.executable, "-c", script, str(link)],
        )
        keeping = asyncio.create_task(processes.keep())
        try:
            yield processes
        finally:
            keeping.cancel()
            await asyncio.wait((keeping,))
    assert keeping.cancelled()
    assert processes.running == 0


async def turned(true: Callable[[], bool]) -> None:
    """Until it is so; the longest of a test ends what never is."""
    while not true():  # noqa: ASYNC110  a process of another one has no event to wait for
        await asyncio.sleep(0.01)


async def test_it_is_told_where_the_log_stands_and_says_what_is_looked_at(tmp_path: Path) -> None:
    watching = Watching(lambda: 0.0)
    async with opened(tmp_path, Ticking()) as store:
        async with kept(store, ANSWERS, watching) as processes:
            await turned(lambda: watching.live_s("cab-7") == LIVE_S)
            await send(store.log, Sender().batch(columns()))
            await turned(lambda: processes.behind == 0 and processes.running == 1)
            for _ in range(CUT_AFTER + 1):
                async with processes.held(30) as ended:
                    assert ended
            assert processes.ended == 0
        assert watching.live_s("cab-7") == 0, "nobody looks in a process that has ended"


async def test_one_that_lets_requests_to_hold_go_by_is_ended_and_another_comes(tmp_path: Path) -> None:
    async with opened(tmp_path, Ticking()) as store, kept(store, DEAF) as processes:
        await turned(lambda: processes.running == 1)
        for _ in range(CUT_AFTER):
            assert processes.ended == 0
            async with processes.held(0.01) as ended:
                assert not ended
        await turned(lambda: processes.ended == 1 and processes.running == 1)


async def test_one_that_ends_at_once_is_tried_again_and_again(tmp_path: Path) -> None:
    async with opened(tmp_path, Ticking()) as store, kept(store, ENDS) as processes:
        await turned(lambda: processes.ended >= 2)
