"""A reader process: it opens the store to read, follows the log, and serves questions and feeds on a socket that it
shares with its like. Started by the process that writes (`cloud.reader.processes`), and ended with it.

It takes no part in anything that is written. What is asked of it that it does not serve is answered 421: those routes
are at the aggregator's own address.

Bounds: those of `cloud.entrance.serving`, per process, and of `cloud.reader.holding`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import socket
import sys
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from time import monotonic

import uvloop

from cloud.entrance.addresses import Proxies, networks_of
from cloud.entrance.door import TOKEN_MOST, Bounds, Door
from cloud.entrance.serving import DoorServer, config, descriptors, url_of
from cloud.entrance.shares import Most
from cloud.entrance.tickets import Tickets
from cloud.log.contract import Reach, Unavailable
from cloud.log.cursor import Origins
from cloud.metrics import Metrics
from cloud.reader.holding import Holding
from cloud.reader.link import STATE_S, Beat, Begin, Link, Pause, Resume, State, looked_at
from cloud.reader.serving import reading
from cloud.sqlite.followed import FollowedStore, followed
from cloud.sqlite.tokens import tokens_of
from cloud.times import utc_us
from cloud.views.watching import Watching
from groundwork.terminal import log_to_stderr

LOG = logging.getLogger("lamplighter.cloud")
AGAIN_S = 1.0


def main() -> None:
    """Serve until the link ends."""
    parser = argparse.ArgumentParser(prog="cloud.reader.process", description=__doc__)
    parser.add_argument("--link", type=int, required=True, help="the descriptor of the link to who has started it")
    parser.add_argument("--listen", type=int, required=True, help="the descriptor of the socket to serve on")
    given = parser.parse_args()
    log_to_stderr(logging.INFO)
    for number in (signal.SIGINT, signal.SIGHUP):  # the link says when to end; a terminal asks all processes at once
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(100_000, 50, 100)  # as in `cloud.cli`
    with (
        socket.socket(fileno=given.link) as link,
        socket.socket(fileno=given.listen) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(link.dup(), listener))


async def _serve(sock: socket.socket, listener: socket.socket) -> None:
    link = await Link.over(sock)
    begin = await link.receive()
    if not isinstance(begin, Begin):
        return
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, link.close)
    async with AsyncExitStack() as held:
        store = await held.enter_async_context(followed(Path(begin.data), utc_us, Path(begin.history)))
        tokens = held.enter_context(tokens_of(Path(begin.data)))
        looked = asyncio.Event()
        watching = Watching(changed=looked.set)
        metrics = Metrics()
        most = Most(feeds=begin.token_feeds, requests=begin.token_requests)
        app = reading(
            store,
            tokens,
            metrics,
            watching,
            Tickets(begin.ticket_key, utc_us),
            most,
            begin.feed_cut_s,
            begin.feed_keep_alive_s,
            begin.cors_origins,
        )
        token_most = max(TOKEN_MOST, begin.token_feeds + begin.token_requests)
        door = Door(Bounds.of(descriptors()), Proxies(networks_of(begin.trusted_proxy)), monotonic, token_most)
        gc.collect()
        gc.freeze()
        cert, key = (None if path is None else Path(path) for path in (begin.tls_cert, begin.tls_key))
        server = DoorServer(config(app.asgi, cert, key), door)
        async with server.going(listener) as serving:
            LOG.info("answering questions at %s", url_of(begin.host, listener, cert is not None))
            reader = _Reader(store, link, watching, looked)
            tasks = [asyncio.create_task(part()) for part in (reader.hear, reader.follow, reader.tell)]
            with closing(app):
                await asyncio.wait((serving, *tasks), return_when="FIRST_COMPLETED")
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended


class _Reader:
    """What goes on beside the requests."""

    def __init__(self, store: FollowedStore, link: Link, watching: Watching, looked: asyncio.Event) -> None:
        self._store, self._link, self._watching, self._looked = store, link, watching, looked
        self._moved = asyncio.Event()
        self._state: State | None = None
        self._fresh: set[str] = set()
        self._holding = Holding(link, store.readers.pause)

    async def hear(self) -> None:
        """Until the other end has gone."""
        while (message := await self._link.receive()) is not None:
            match message:
                case State():
                    self._state = message
                    self._fresh.update(message.fresh)
                    for node, heard_us in message.heard.items():
                        self._store.heard.hear(node, heard_us)
                    if message.jumped_us > 0:
                        self._store.heard.clock_was_set(message.jumped_us, utc_us())
                    self._moved.set()
                case Pause():
                    self._holding.pause(message)
                case Resume():
                    self._holding.resume(message)
                case _:
                    raise ValueError(f"the process that writes says {message!r:.100}")

    async def follow(self) -> None:
        """Take in what there is, as it is said to be there."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            state, fresh = self._state, sorted(self._fresh)
            assert state is not None
            self._fresh.clear()
            try:
                self._store.log.drawn(Origins(state.generation, state.previous, state.shared_through))
                await self._store.follow(Reach(state.floor, state.head))
                await self._store.refresh(fresh, state.snapshots)
            except Unavailable as error:
                LOG.warning("the store could not be followed, and will be: %s", error)
                self._fresh.update(fresh)
                self._moved.set()
                await asyncio.sleep(AGAIN_S)

    async def tell(self) -> None:
        """Say what is looked at here, and that this loop turns."""
        with suppress(OSError):
            while True:
                await self._link.send(Beat(self._store.latest.through))
                with suppress(TimeoutError):
                    async with asyncio.timeout(STATE_S):
                        await self._looked.wait()
                self._looked.clear()
                await self._link.send(looked_at(self._watching.looked))


if __name__ == "__main__":
    sys.exit(main())
