"""The node's own HTTP on real sockets, TCP and Unix; what is slow is waited for by deadlines that are made short."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.web import connections, listening
from edge.web.connections import MAX_CONNECTIONS, MAX_OF_ONE, RESERVED, Places
from edge.web.listening import serve, tcp, unix
from edge.web.pages import Pages
from edge.web.reach import MAX_PATH_BYTES, reach
from groundwork.liveness import Part, kept_going
from groundwork.serving import TURN_S, Server
from wire.entries import Health

HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


async def look() -> Health:
    return Health(time_us=1, verdict="ok")


PAGES = Pages(look=look, decided=list, alarms=list, explain=lambda _: [])


@asynccontextmanager
async def node() -> AsyncIterator[int]:
    listener = tcp("127.0.0.1:0")
    serving = asyncio.create_task(serve(PAGES.app(), listener))
    try:
        yield listener.getsockname()[1]
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def ask(port: int, source: str = "127.0.0.1", path: str = "/health") -> int:
    transport = httpx.AsyncHTTPTransport(local_address=source)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        return (await client.get(path)).status_code


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other end closes."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 20)
    return b""


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_any_number_of_idle_connections_leaves_health_its_place(source: str) -> None:
    async with node() as port, contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            stack.callback(writer.close)
        for _ in range(3):
            assert await ask(port) == 200


async def test_who_comes_beyond_the_bound_is_told_when_to_come_again() -> None:
    async def there(scope: Any, receive: Any, send: Any) -> None:
        await PAGES.app()({**scope, "state": {"reserved": True}}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(there), base_url="http://localhost") as client:
        told = await client.get("/alarms")
        assert (told.status_code, told.headers["Retry-After"]) == (503, "5")
        assert "too many connections" in told.json()["error"]
        page = await client.get("/", headers={"Accept": "text/html,*/*"})
        assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert "Trop de téléphones" in page.text
        assert "Too many phones" in page.text
        assert (await client.get("/health")).status_code == 200


async def test_who_has_no_place_at_all_is_told_so_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Places, "enter", lambda *_: False)
    monkeypatch.setattr(connections, "TOLD", 3)
    async with node() as port:
        found = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for _, writer in found:
            with contextlib.suppress(ConnectionError):
                writer.write(HEAD + b"\r\n")
        said = [await ended(reader) for reader, _ in found]
        assert [s.partition(b"\r\n")[0] for s in said] == [b"HTTP/1.1 503 Service Unavailable"] * 3 + [b""]
        assert b"Retry-After: 5\r\n" in said[0]
        head, _, body = said[0].partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
        for _, writer in found:
            await closed(writer)
        for _ in range(3):  # they have left, and others are told
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await ended(reader)).startswith(b"HTTP/1.1 503")
            await closed(writer)


async def test_connections_that_say_half_of_what_they_want_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    async with node() as port:
        for said in (b"", HEAD):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            assert await ended(reader) == b""
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(HEAD)  # a second one, of which only half comes
        await ended(reader)
        writer.close()


async def test_a_head_without_end_is_refused_before_it_is_kept() -> None:
    async with node() as port:
        for line in (b"X-A: " + b"a" * 100 + b"\r\n", b"a" * 1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                writer.write(HEAD)
                for _ in range(1_000):
                    writer.write(line)
                    await writer.drain()
            answer = await ended(reader)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
            writer.close()
        assert await ask(port) == 200


async def test_a_request_whose_body_never_comes_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.1)
    stuck = asyncio.Event()

    async def app(_scope: object, _receive: object, _send: object) -> None:
        await stuck.wait()

    listener = tcp("127.0.0.1:0")
    serving = asyncio.create_task(serve(app, listener))  # type: ignore[arg-type]
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(HEAD + b"\r\n")
    assert await ended(reader) == b""
    writer.close()
    stuck.set()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


class One:
    def __init__(self, *, idle: bool) -> None:
        self.idle, self.reserved, self.over = idle, False, False

    def end(self) -> None:
        self.over = True


def test_a_new_one_takes_the_place_of_the_longest_idle_of_its_own_address() -> None:
    places = Places()
    theirs = [One(idle=True) for _ in range(3)]
    assert all(places.enter(one, "b") for one in theirs)
    ours = [One(idle=n != 0) for n in range(MAX_OF_ONE)]
    assert all(places.enter(one, "a") for one in ours)
    assert places.enter(One(idle=True), "a")
    assert [one.over for one in ours] == [False, True] + [False] * (MAX_OF_ONE - 2)
    assert not any(one.over for one in theirs)


def test_when_all_are_at_work_there_are_places_for_health_alone() -> None:
    places = Places()
    busy = [One(idle=False) for _ in range(MAX_CONNECTIONS)]
    assert all(places.enter(one, f"{n}") for n, one in enumerate(busy))
    late = [One(idle=n == 1) for n in range(RESERVED)]
    assert all(places.enter(one, "x") for one in late)
    assert all(one.reserved for one in late)
    assert places.enter(One(idle=False), "y")
    assert [one.over for one in late] == [False, True, False, False]
    assert not places.enter(One(idle=False), "z")
    places.leave(busy[0])
    one = One(idle=False)
    assert places.enter(one, "z")
    assert not one.reserved


@pytest.mark.parametrize("long", [False, True])
async def test_a_unix_socket_however_long_its_path_is(tmp_path: Path, long: bool) -> None:
    path = tmp_path / ("x" * MAX_PATH_BYTES if long else "") / "node.sock"
    path.parent.mkdir(exist_ok=True)
    for _ in range(2):
        with unix(path) as listener:
            assert path.stat().st_mode & 0o777 == 0o666
            serving = asyncio.create_task(serve(PAGES.own_app(), listener))
            with reach(path) as address:
                transport = httpx.AsyncHTTPTransport(uds=address)
                async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=20) as client:
                    assert (await client.get("/health")).status_code == 200
                    assert (await client.get("/orders/x")).status_code == 404, "we are who we are"
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        assert list(path.parent.iterdir()) == [], "nothing is left behind"


def test_a_socket_that_was_left_behind_is_replaced_and_one_that_is_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    with reach(path) as address, socket.socket(socket.AF_UNIX) as old:
        old.bind(address)
    assert path.is_socket()
    with unix(path):
        with pytest.raises(OSError, match="another process listens there"), unix(path):
            pass
        assert path.is_socket()
    path.write_text("something else")
    with pytest.raises(FileExistsError, match="is no socket: choose another"), unix(path):
        pass
    assert path.read_text() == "something else"
    assert [each.name for each in tmp_path.iterdir()] == ["node.sock"]


async def test_a_server_that_does_not_turn_any_more_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    alive = Part("http", lambda: clock[0])
    ticks = 0
    on_tick = Server.on_tick

    async def stuck(self: Server, counter: int) -> bool:
        nonlocal ticks
        ticks += 1
        if ticks == 2:
            await on_tick(self, counter)
            clock[0] += TURN_S + 1
            await asyncio.Event().wait()
        return await on_tick(self, counter)

    monkeypatch.setattr(Server, "on_tick", stuck)
    monkeypatch.setattr(listening, "kept_going", partial(kept_going, look_s=0.01, end_s=5.0))
    listener = tcp("127.0.0.1:0")
    serving = asyncio.create_task(serve(PAGES.app(), listener, alive))
    while alive.again == 0:
        await asyncio.wait([serving], timeout=0.01)
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/health")
    assert answer.status_code == 200
    assert alive.again == 1
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    listener.close()
