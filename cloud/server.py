"""Server: the application over an open store, from the first socket to the last answer.

Bounds: those of `cloud.entrance.serving`; feeds are ended before what is in hand. While the store cannot be opened,
`cloud.waiting` is served. Plain http is served on loopback only, unless that is asked for by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import uvicorn
from starlette.types import ASGIApp

from cloud import waiting
from cloud.alarms.forecast import DiskForecast
from cloud.alarms.own_alarms import StandingCondition
from cloud.alarms.trouble import stopped
from cloud.api.routes import LOG
from cloud.app import application, tend
from cloud.crash import Crash
from cloud.entrance.addresses import Proxies, networks_of
from cloud.entrance.door import TOKEN_MOST, Bounds, Door
from cloud.entrance.origins import origins_of
from cloud.entrance.quota import A_DAY, Used
from cloud.entrance.serving import BACKLOG, DoorServer, bound, config, descriptors, either, url_of
from cloud.entrance.shares import Most
from cloud.entrance.tickets import new_key
from cloud.feed import feed
from cloud.metrics import Metrics
from cloud.orders.downlink import Pace
from cloud.reader.fold_keeper import FIRST_S, FoldKeeper
from cloud.reader.link import Begin, BeginFold
from cloud.reader.processes import MOST, ReaderProcesses
from cloud.records.alarm_steps import ALARM_DAYS
from cloud.records.tokens import Tokens
from cloud.sqlite import database
from cloud.sqlite.folding import HISTORY
from cloud.sqlite.tokens import tokens_of
from cloud.store import Store, opened
from cloud.times import DAY_US, utc_us
from cloud.views.watching import Watching
from groundwork.files import write_atomically
from groundwork.last_words import Ring
from groundwork.systemd import Notify
from groundwork.watchdog import Watchdog
from wire.time import Micros


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; `pace`, `feed_keep_alive_s` and `fold_first_s` are what tests shorten."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    readers: int = 0
    readers_port: int = 8081
    fold: bool = True
    history: Path | None = None
    endpoints: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_http: bool = False
    trusted_proxy: list[str] = []
    cors_origin: list[str] = []
    token_feeds: int = Most().feeds
    token_requests: int = Most().requests
    node_bytes: int = int(A_DAY.size_bytes)
    node_readings: int = int(A_DAY.readings)
    node_requests: int = int(A_DAY.requests)
    node_work_s: float = A_DAY.work_s
    feed_days: float = 7.0
    alarm_days: float = ALARM_DAYS
    feed_cut_s: float = 10.0
    pace: Pace = Pace()
    feed_keep_alive_s: float = feed.KEEP_ALIVE_S
    fold_first_s: float = FIRST_S

    @property
    def history_at(self) -> Path:
        """Where folded hours lie."""
        return self.history or self.data / HISTORY


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """What is written to the endpoints file once the aggregator answers."""

    url: str
    generation: int
    pid: int
    readers_url: str | None = None


def refusal(options: Options) -> str | None:
    """Why it may not be served like this, or None."""
    if (options.tls_cert is None) != (options.tls_key is None):
        return "--tls-cert and --tls-key go together"
    if min(options.token_feeds, options.token_requests) < 1:
        return "--token-feeds and --token-requests are at least 1"
    if options.alarm_days <= 0:
        return "--alarm-days is more than 0"
    if min(options.node_bytes, options.node_readings, options.node_requests, options.node_work_s) <= 0:
        return "--node-bytes, --node-readings, --node-requests and --node-work-s are more than 0"
    if not 0 <= options.readers <= MOST:
        return f"--readers is a number from 0 to {MOST}"
    try:
        networks_of(options.trusted_proxy)
        origins_of(options.cors_origin)
    except ValueError as error:
        return str(error)
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


async def run(options: Options, crash: Crash, ring: Ring | None = None) -> None:
    """Serve until SIGTERM or SIGINT. `ring` has the last lines of the log.

    Raises:
        Misplaced: the store is in use.
        OSError: the address is, the certificate is none, or no more connections can be taken.
    """
    if options.tls_key is not None and options.tls_key.stat().st_mode & 0o077:
        LOG.warning("%s can be read by others than its owner; chmod 600 it", options.tls_key)
    metrics = Metrics()
    notify = Notify()
    watchdog = Watchdog(notify, _last_words_at(options.data), ring=Ring() if ring is None else ring)
    stop = _stopped_by_signals(notify)

    async def open_(held: contextlib.AsyncExitStack) -> tuple[Store, Tokens]:
        tokens = held.enter_context(tokens_of(options.data))
        return await held.enter_async_context(
            opened(
                options.data,
                utc_us,
                crash,
                metrics.committed,
                alive=watchdog.part("writer"),
                history=options.history_at,
            )
        ), tokens

    with bound(options.host, options.port) as listener:
        token_most = max(TOKEN_MOST, options.token_feeds + options.token_requests)  # each feed takes a connection
        door = Door(Bounds.of(descriptors()), Proxies(networks_of(options.trusted_proxy)), monotonic, token_most)
        async with contextlib.AsyncExitStack() as held:
            serve = partial(_served, options, listener, door, stop)
            free = partial(_free, options.data)
            found = await waiting.until_open(held, open_, serve, stop, notify, utc_us, free)
            if found is None or stop.is_set():
                return
            store, tokens = found.what
            await held.enter_async_context(watchdog.kept())
            a_day = Used(
                size_bytes=options.node_bytes,
                readings=options.node_readings,
                requests=options.node_requests,
                work_s=options.node_work_s,
            )
            most = Most(feeds=options.token_feeds, requests=options.token_requests)
            ticket_key = new_key()
            app = application(
                store,
                tokens,
                metrics,
                utc_us,
                options.feed_cut_s,
                options.pace,
                options.feed_keep_alive_s,
                most,
                a_day,
                ticket_key,
                options.cors_origin,
            )
            held.enter_context(watchdog.watching(app.feed.late))
            metrics.gauge("connections", "Connections with a valid token", lambda: door.known)
            metrics.gauge("strangers", "Connections without a valid token", lambda: door.strangers)
            metrics.gauge("strangers_evicted", "Connections without a token closed for others", lambda: door.evicted)
            metrics.gauge("requests_malformed", "Connections ended for what came on them", lambda: door.refused)
            step = store.compaction(Micros(options.feed_days * DAY_US), utc_us, crash, metrics.compacted).step
            gc.collect()
            gc.freeze()  # what is held now stays; see `cloud.app`
            server = DoorServer(_config(options, app.asgi), door)
            missed = stopped(watchdog.words, found.missed)
            readers = held.enter_context(_readers(options, store, app.watching, metrics, ticket_key))
            folder = _folder(options, store, metrics)

            disk = _disk(metrics)

            async def conditions() -> Mapping[str, StandingCondition]:
                disk.look(monotonic(), store.sizes().disk_free)
                return {**await app.conditions(), **folder.conditions(), **disk.conditions()}

            @contextlib.asynccontextmanager
            async def others_held(wait_s: float) -> AsyncGenerator[None]:
                async with folder.held(wait_s), readers.held(wait_s):
                    yield

            ticks = tend(
                store,
                utc_us,
                step,
                conditions,
                missed,
                watchdog.told,
                options.alarm_days,
                others_held,
                readers.clock_was_set,
            )
            async with _alongside(ticks, readers.keep(), folder.keep()) as beside, server.going(listener) as serving:
                with contextlib.closing(app):
                    url = _url(options, listener)
                    LOG.info("serving %s from %s, generation %d", url, options.data, store.log.generation)
                    if options.endpoints is not None:
                        _write_endpoints(options.endpoints, url, store.log.generation, readers.url)
                    notify.tell(f"READY=1\nSTATUS=serving {url}")
                    # Whatever ends first ends both: without its upkeep the store must not go on.
                    await either(serving, beside, event=stop)


@contextlib.contextmanager
def _readers(
    options: Options, store: Store, watching: Watching, metrics: Metrics, ticket_key: bytes
) -> Generator[ReaderProcesses]:
    """The processes that answer questions, as many as were asked for, with the socket that they share.

    Raises:
        OSError: its address cannot be had.
    """
    with contextlib.ExitStack() as held:
        listener = None
        if options.readers:
            listener = held.enter_context(bound(options.host, options.readers_port))
            listener.listen(BACKLOG)  # who comes before the first of them serves, or while one is replaced, waits
        begin = Begin(
            data=str(options.data),
            history=str(options.history_at),
            host=options.host,
            tls_cert=None if options.tls_cert is None else str(options.tls_cert),
            tls_key=None if options.tls_key is None else str(options.tls_key),
            trusted_proxy=options.trusted_proxy,
            token_feeds=options.token_feeds,
            token_requests=options.token_requests,
            feed_cut_s=options.feed_cut_s,
            feed_keep_alive_s=options.feed_keep_alive_s,
            ticket_key=ticket_key,
            cors_origins=options.cors_origin,
        )
        processes = ReaderProcesses(options.readers, begin, listener, store, watching)
        if options.readers:
            processes.measured(metrics)
        yield processes


def _folder(options: Options, store: Store, metrics: Metrics) -> FoldKeeper:
    """The process that folds history, unless nobody wants it."""
    begin = BeginFold(data=str(options.data), history=str(options.history_at)) if options.fold else None
    folder = FoldKeeper(begin, utc_us, options.fold_first_s)
    if options.fold:
        folder.measured(metrics, lambda: store.log.reach().head)
    return folder


def _disk(metrics: Metrics) -> DiskForecast:
    disk = DiskForecast()
    metrics.gauge("disk_bytes_a_day", "How much less is free on the disk each day", lambda: disk.bytes_a_day)
    metrics.gauge("disk_full_days", "Until the disk is full, at this pace", lambda: disk.days_left)
    return disk


def _last_words_at(data: Path) -> Path:
    """In memory where systemd has made a directory there: a disk that hangs takes no words."""
    return Path(os.environ.get("RUNTIME_DIRECTORY") or data) / "last-words.json"


def _free(directory: Path) -> int:
    return database.sizes(directory).disk_free


@contextlib.asynccontextmanager
async def _served(
    options: Options, listener: socket.socket, door: Door, stop: asyncio.Event, app: ASGIApp
) -> AsyncGenerator[None]:
    """Serve something else on the same socket for the length of a block. `stop` is set where that ends early.

    Raises:
        OSError: the certificate is none, or no more connections could be taken.
    """

    def ended(_: object) -> None:
        stop.set()

    with listener.dup() as own:
        async with DoorServer(_config(options, app), door).going(own) as serving:
            LOG.info("waiting at %s", _url(options, listener))
            serving.add_done_callback(ended)
            try:
                yield
            finally:
                serving.remove_done_callback(ended)


@contextlib.asynccontextmanager
async def _alongside(*tasks: Coroutine[Any, Any, None]) -> AsyncGenerator[asyncio.Task[None]]:
    """Do them for the length of a block, which hears when one fails, and raises what it raised."""
    beside = asyncio.create_task(_beside(*tasks))
    try:
        yield beside
    finally:
        beside.cancel()
        await asyncio.wait((beside,))  # a cancellation of this task is not taken for the one above
    if not beside.cancelled():
        beside.result()


async def _beside(*tasks: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task)


def _stopped_by_signals(notify: Notify) -> asyncio.Event:
    """Set by SIGTERM or SIGINT, whatever is done then. SIGHUP is ignored from now on."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def told() -> None:
        notify.tell("STOPPING=1")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    loop.add_signal_handler(signal.SIGHUP, LOG.info, "SIGHUP: there is nothing to read anew; restart for other options")
    return stop


def _config(options: Options, app: ASGIApp) -> uvicorn.Config:
    return config(app, options.tls_cert, options.tls_key)


def _url(options: Options, listener: socket.socket) -> str:
    return url_of(options.host, listener, options.tls_cert is not None)


def _write_endpoints(path: Path, url: str, generation: int, readers_url: str | None) -> None:
    endpoints = Endpoints(url=url, generation=generation, pid=os.getpid(), readers_url=readers_url)
    content = msgspec.json.encode(endpoints)
    write_atomically(path, content + b"\n", mode=0o644)
