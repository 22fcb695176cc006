"""Server: uvicorn over the application, from the first socket to the last answer.

Bounds: MAX_CONNECTIONS at a time, each with as long for a head as `cloud.connection` says; KEEP_ALIVE_S idle, GRACE_S
for what is in hand when it is told to stop; feeds are ended first. While the store cannot be opened, `cloud.waiting` is
served. Plain http is served on loopback only, unless that
is asked for by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncGenerator, Coroutine, Generator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from starlette.types import ASGIApp

from cloud import compact, database, feed, waiting
from cloud.app import Application, application, tend
from cloud.connection import Connection
from cloud.crash import Crash
from cloud.downlink import Pace
from cloud.metrics import Metrics
from cloud.notify import Notify
from cloud.routes import LOG
from cloud.store import Store, opened
from cloud.times import DAY_US, utc_us
from cloud.tokens import Tokens, tokens_of

MAX_CONNECTIONS: Final = 8_192
BACKLOG: Final = 2_048
KEEP_ALIVE_S: Final = 390  # longer than a node keeps its own end (360 s), or it would write into a closed one
GRACE_S: Final = 2


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; `pace` and `feed_keep_alive_s` are what tests shorten."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    endpoints: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_http: bool = False
    feed_days: float = 7.0
    feed_cut_s: float = 10.0
    pace: Pace = Pace()
    feed_keep_alive_s: float = feed.KEEP_ALIVE_S


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """What is written to the endpoints file once the aggregator answers."""

    url: str
    generation: int
    pid: int


def refusal(options: Options) -> str | None:
    """Why it may not be served like this, or None."""
    if (options.tls_cert is None) != (options.tls_key is None):
        return "--tls-cert and --tls-key go together"
    if options.tls_cert is None and not options.insecure_http and not _loopback(options.host):
        return (
            f"plain http on {options.host} would send tokens in the clear: give --tls-cert and --tls-key, listen on"
            " 127.0.0.1 behind a proxy, or say --insecure-http"
        )
    return None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(uvicorn.Server):
    """uvicorn, with signals and the moment of readiness left to us."""

    def __init__(self, config: uvicorn.Config, started: asyncio.Event) -> None:
        super().__init__(config)
        self._started = started

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started.set()


async def run(options: Options, crash: Crash) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        Misplaced: the store is in use.
        OSError: the address is.
    """
    metrics = Metrics()
    notify = Notify()
    stop = _stopped_by_signals()

    async def open_(held: contextlib.AsyncExitStack) -> tuple[Store, Tokens]:
        tokens = held.enter_context(tokens_of(options.data))
        return await held.enter_async_context(opened(options.data, utc_us, crash, metrics.committed)), tokens

    with socket.socket(_family(options.host), socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
        async with contextlib.AsyncExitStack() as held:
            serve = partial(_served, options, listener)
            free = partial(_free, options.data)
            found = await waiting.until_open(held, open_, serve, stop, notify, utc_us, free)
            if found is None:
                return
            store, tokens = found.what
            app = application(
                store, tokens, metrics, utc_us, options.feed_cut_s, options.pace, options.feed_keep_alive_s
            )
            step = compact.Compaction(store, int(options.feed_days * DAY_US), utc_us, crash, metrics.compacted).step
            gc.collect()
            gc.freeze()  # what is held now stays; see `cloud.app`
            started = asyncio.Event()
            server = _Server(_config(options, app.asgi), started)
            beside = asyncio.create_task(_beside(tend(store, utc_us, step, found.missed), notify.watchdog()))
            _stop_on_signals(server, app, notify)
            serving = asyncio.create_task(server.serve([listener]))
            await asyncio.wait((serving, asyncio.ensure_future(started.wait())), return_when="FIRST_COMPLETED")
            if started.is_set():
                url = _url(options, listener)
                LOG.info("serving %s from %s, generation %d", url, options.data, store.log.generation)
                if options.endpoints is not None:
                    _write_endpoints(options.endpoints, url, store.log.generation)
                notify.tell("READY=1")
            # Whatever ends first ends both: without its upkeep the store must not go on.
            await asyncio.wait((serving, beside), return_when="FIRST_COMPLETED")
            app.close()
            server.should_exit = True
            await serving
            beside.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beside


def _free(directory: Path) -> int:
    return database.sizes(directory).disk_free


@contextlib.asynccontextmanager
async def _served(options: Options, listener: socket.socket, app: ASGIApp) -> AsyncGenerator[None]:
    """Serve something else on the same socket for the length of a block."""
    started = asyncio.Event()
    server = _Server(_config(options, app), started)
    serving = asyncio.create_task(server.serve([listener.dup()]))
    await started.wait()
    LOG.info("waiting at %s", _url(options, listener))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def _beside(*tasks: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task)


def _stopped_by_signals() -> asyncio.Event:
    """Set by SIGTERM or SIGINT until `_stop_on_signals` takes over. SIGHUP is ignored from now on."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, LOG.info, "SIGHUP: there is nothing to read anew; restart for other options")
    return stop


def _stop_on_signals(server: uvicorn.Server, app: Application, notify: Notify) -> None:
    def stop() -> None:
        notify.tell("STOPPING=1")
        app.close()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _config(options: Options, app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _url(options: Options, listener: socket.socket) -> str:
    scheme = "http" if options.tls_cert is None else "https"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def _write_endpoints(path: Path, url: str, generation: int) -> None:
    content = msgspec.json.encode(Endpoints(url=url, generation=generation, pid=os.getpid()))
    database.write_atomically(path, content + b"\n", mode=0o644)
