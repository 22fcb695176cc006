"""The downlink against a real server on this machine; waits are counted and not waited for."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil

import httpx
import pytest
import uvicorn
import zstandard
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.sync import downlink
from edge.sync.downlink import ASK_S, BUFFERED, REPLACED_S, STREAM_AGAIN_S, Downlink
from wire.orders import Command, Down

Script = Callable[[Request], Response]


def beat(at: int = 1) -> str:
    return f'data: {{"server_us": {at}}}\r\n\r\n'


def order(name: str) -> str:
    given = {"order": "command", "id": name, "by": "ops", "issued_us": 1, "expires_us": 2}
    body = {"server_us": 1, "order": {**given, "device": "lamp", "point": "level", "value": 40}}
    return f"event: order\r\nid: {name}\r\ndata: {json.dumps(body)}\r\n\r\n"


def stream(*parts: str, hangs: bool = False) -> Script:
    async def body() -> AsyncIterator[str]:
        for part in parts:
            yield part
        if hangs:
            await asyncio.Event().wait()

    return lambda _: StreamingResponse(body(), media_type="text/event-stream")


class Stopped(Exception):
    """The script is at its end."""


class Scene:
    """A cloud that answers by a script, and a node's end of it whose waits take no time."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[str] = []
        self.taken: list[Down] = []
        self.waits: list[float] = []
        self.time = 0.0
        self.connected: list[bool] = []
        self.take = self.taken.append

    async def answer(self, request: Request) -> Response:
        self.requests.append(str(request.url.query))
        assert request.headers["accept"] == "text/event-stream"
        return self.scripts.pop(0)(request)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 3))
        self.time += seconds
        if not self.scripts:
            raise Stopped

    async def run(self) -> Downlink:
        async with serve(self.answer) as url, httpx.AsyncClient(verify=False) as client:
            found = Downlink(
                client,
                url,
                self._taken,
                max_wait_s=300,
                sleep=self.sleep,
                monotonic=lambda: self.time,
                jitter=lambda most: most,
            )
            self.link = found
            with pytest.raises(Stopped):
                await asyncio.wait_for(found.run(), 20)
        return found

    def _taken(self, down: Down) -> None:
        self.connected.append(self.link.connected)
        self.take(down)

    def ids(self) -> list[str]:
        return [d.order.id for d in self.taken if isinstance(d.order, Command)]


@asynccontextmanager
async def serve(answer: Callable[..., object]) -> AsyncIterator[str]:
    app = Starlette(routes=[Route("/orders", answer)])
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/orders"
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 10)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """For streams that hang, and are waited for in real time."""
    monkeypatch.setattr(downlink, "SILENCE_S", 0.15)
    monkeypatch.setattr(downlink, "BEGIN_S", 0.15)


async def test_orders_come_in_their_order_and_time_comes_between() -> None:
    scene = Scene(stream(beat(5), order("a"), ": nothing\r\n\r\n", order("b"), beat(9)))
    link = await scene.run()
    assert scene.ids() == ["a", "b"]
    assert [d.server_us for d in scene.taken] == [5, 1, 1, 9]
    assert (link.orders, link.unreadable, link.streams) == (2, 0, 1)
    assert scene.connected == [True] * 4
    assert not link.connected


@pytest.mark.parametrize(("told", "asked_s"), [("1200", 1200), ("99999", 3600), ("soon", 0)])
async def test_it_waits_as_long_as_the_cloud_asks(told: str, asked_s: int) -> None:
    """Before its own wait, so that all whom it asks the same do not come back at once."""
    scene = Scene(*[lambda _: Response(status_code=429, headers={"Retry-After": told})] * 2)
    await scene.run()
    assert scene.waits == [asked_s + 2, asked_s + 4]


async def test_an_order_may_come_in_pieces_and_with_any_line_ends() -> None:
    text = (beat() + order("é" * 30) + beat()).replace("\r\n", "\n") + order("b").replace("\r\n", "\r")
    scene = Scene(stream(*[text[n : n + 7] for n in range(0, len(text), 7)]))
    await scene.run()
    assert scene.ids() == ["é" * 30, "b"]


async def test_what_cannot_be_read_or_taken_is_left_out_and_the_rest_comes(caplog: pytest.LogCaptureFixture) -> None:
    newer = 'data: {"server_us": 1, "order": {"order": "dance", "id": "x"}}\n\n'
    deep = 'data: {"server_us": 1, "x": ' + 30_000 * "[" + "\n\n"
    scene = Scene(stream(beat(), newer, "data: \x00{\n\n", deep, order("bug"), order("a")))

    def take(down: Down) -> None:
        if down.order is not None and down.order.id == "bug":
            raise ValueError("a bug of ours")
        scene.taken.append(down)

    scene.take = take
    link = await scene.run()
    assert scene.ids() == ["a"]
    assert link.unreadable == 4
    assert "order bug could not be taken" in caplog.text


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (lambda _: PlainTextResponse("no", 401), "the cloud answered 401"),
        (lambda _: PlainTextResponse("broken", 500), "the cloud answered 500"),
        (lambda _: Response(status_code=302, headers={"location": "http://portal/"}), "the cloud answered 302"),
        (lambda _: PlainTextResponse("<html>Welcome to our WLAN"), "text/event-stream"),
        (stream(), "it ended before it began"),
        (stream("data: " + "x" * 3_000_000), "that are no event of ours"),
        (stream(beat(), *["data: " + "x" * 50_000 + "\n"] * 60), "that are no event of ours"),
    ],
    ids=["401", "500", "portal", "page", "empty", "a line without end", "a field without end"],
)
async def test_what_is_no_stream_is_tried_again_with_waits_that_double(
    script: Script, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene = Scene(script, script, script)
    link = await scene.run()
    assert scene.waits == [2, 4, 8]
    assert scene.requests == ["answers=why"] * 3
    assert says in caplog.text
    said = [r.getMessage() for r in caplog.records if r.name == "edge.sync.downlink"]
    ended = [i for i, text in enumerate(said) if " ended: " in text]
    assert all("open again" in said[i - 1] for i in ended[1:]), "said once, unless it was open in between"
    assert not link.connected


async def test_waits_are_bounded() -> None:
    scene = Scene(*[lambda _: PlainTextResponse("no", 503)] * 14)
    await scene.run()
    assert scene.waits == [2, 4, 8, 16, 32, 64, 128, 256, *[300] * 6]


async def test_nobody_there_is_tried_again() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise Stopped

    async with httpx.AsyncClient(verify=False) as client:
        link = Downlink(client, "http://127.0.0.1:1/", print, max_wait_s=300, sleep=sleep, jitter=lambda m: m)
        with pytest.raises(Stopped):
            await link.run()
    assert waits == [2, 4, 8]


@pytest.mark.usefixtures("short")
async def test_a_stream_that_falls_silent_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(stream(beat(), order("a"), hangs=True), stream(beat(), order("b")))
    await scene.run()
    assert scene.ids() == ["a", "b"]
    assert "nothing came for 0.15 s" in caplog.text
    assert scene.requests == ["answers=why"] * 2, "it had begun: no proxy holds it back"


async def test_a_stream_that_lasted_is_opened_again_soon() -> None:
    scene = Scene(
        lambda _: PlainTextResponse("no", 503), lambda _: PlainTextResponse("no", 503), stream(beat()), stream(beat())
    )
    scene.take = lambda _: setattr(scene, "time", scene.time + 100)  # it went on for a while
    await scene.run()
    assert scene.waits == [2, 4, 1, 1]


async def test_a_stream_that_ends_as_soon_as_it_begins_is_not_opened_over_and_over() -> None:
    scene = Scene(*[stream(beat())] * 5)
    await scene.run()
    assert scene.waits == [2, 4, 8, 16, 32]


async def test_two_with_one_token_do_not_fight() -> None:
    replaced = "event: replaced\ndata: {}\n\n"
    scene = Scene(stream(beat(), replaced, order("not ours")))
    await scene.run()
    assert scene.waits == [REPLACED_S]
    assert scene.ids() == []


@pytest.mark.usefixtures("short")
async def test_behind_a_proxy_that_holds_back_it_asks_and_tries_the_stream_later() -> None:
    held = stream(hangs=True)
    asked = ceil((STREAM_AGAIN_S - 4) / ASK_S)  # from the second try on, 4 s of wait included
    answers = [stream(order(f"o{n}"), beat()) for n in range(asked)]
    scene = Scene(*[held] * BUFFERED, *answers, stream(beat()), stream(beat()), held, stream(beat()))
    await scene.run()
    streams = ["answers=why"]
    expected = [*streams * 2, *["once=1"] * asked, *streams * 4]
    assert scene.requests == expected, "the stream is back; one that is held back later is tried once more first"
    assert scene.ids() == [f"o{n}" for n in range(asked)]
    assert scene.waits[BUFFERED : BUFFERED + asked] == [ASK_S] * asked


@pytest.mark.usefixtures("short")
async def test_asking_that_fails_waits_longer_each_time_and_still_asks() -> None:
    no: Script = lambda _: PlainTextResponse("no", 502)  # noqa: E731
    scene = Scene(*[stream(hangs=True)] * BUFFERED, no, no, no, stream(order("a"), beat()), stream(beat()))
    await scene.run()
    assert scene.requests == ["answers=why", "answers=why", *["once=1"] * 5]
    assert scene.waits == [2, 4, 8, 16, 32, ASK_S, ASK_S]
    assert scene.ids() == ["a"]


async def test_it_ends_when_it_is_cancelled_and_is_not_connected_then() -> None:
    scene = Scene(stream(beat(), hangs=True))
    task = asyncio.create_task(scene.run())
    while not scene.taken:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not scene.link.connected


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "br", "deflate", "identity, gzip"])
async def test_a_stream_in_a_content_encoding_is_not_opened(encoding: str) -> None:
    """48 KB of it could open to 3 GB."""
    squeezed = {"zstd": zstandard.compress, "gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)
    body = squeezed(b": " + bytes(30_000_000)) if squeezed is not bytes else b"x"

    def bomb(request: Request) -> Response:
        assert request.headers["accept-encoding"] == "identity"
        return Response(body, headers={"Content-Encoding": encoding}, media_type="text/event-stream")

    scene = Scene(bomb, stream(order("a")))
    await scene.run()
    assert scene.ids() == ["a"]
    assert len(scene.waits) == 2


async def test_a_stream_brings_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downlink, "MAX_STREAM_BYTES", 10_000)
    scene = Scene(stream(*[beat(n) for n in range(1_000)]), stream(order("a")))
    await scene.run()
    assert 100 < len(scene.taken) < 500
    assert scene.ids() == ["a"]


async def test_letters_that_are_cut_between_pieces_come_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = order("é").encode().replace(b"\\u00e9", "é".encode())

    async def bytewise() -> AsyncIterator[bytes]:
        for byte in text:
            yield bytes([byte])

    scene = Scene(lambda _: StreamingResponse(bytewise(), media_type="text/event-stream; charset=latin-1"))
    await scene.run()
    assert scene.ids() == ["é"]
