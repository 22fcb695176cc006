"""A client that does not say what it wants is let go; one that does is not hurried."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from cloud.entrance import connection
from cloud.entrance.connection import Connection


async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.5)  # longer than a head may take
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[uvicorn.Server, int]]:
    """The server, and its port."""
    config = uvicorn.Config(app, port=0, http=Connection, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield server, server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await asyncio.wait_for(serving, 10)


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (b"Content-Length: 9000", b"x" * 2_000),
        (b"Transfer-Encoding: chunked", b"7d0\r\n" + b"x" * 2_000),
        (b"Transfer-Encoding: chunked", b"no chunk\r\n"),
        (b"Transfer-Encoding: chunked", b"1;" + b"x" * (connection.MAX_HEAD_BYTES + 1)),
    ],
)
async def test_a_request_that_was_answered_gets_no_second_answer(
    monkeypatch: pytest.MonkeyPatch, head: bytes, rest: bytes
) -> None:
    """A proxy that keeps the connection would take it for the answer to the next request."""
    monkeypatch.setattr(connection, "MAX_MESSAGE_BYTES", 1_000)
    async with served() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\n%s\r\n\r\n" % head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        writer.write(rest)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_head_that_is_none_after_an_answer_has_an_answer_of_its_own() -> None:
    async with served() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        writer.write(b"no head\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_a_head_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    async with served() as (server, port):
        await its_time(monkeypatch, server, port)


async def its_time(monkeypatch: pytest.MonkeyPatch, server: uvicorn.Server, port: int) -> None:
    async def says(*parts: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            if reader.at_eof():
                break
            writer.write(part)
            await asyncio.sleep(0.05)
        heard = await asyncio.wait_for(reader.read(200), 5)
        writer.close()
        return heard

    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await says() == b""
    assert await says(b"GET / HT") == b""
    assert await says(*[bytes([b]) for b in whole]) == b""  # a byte now and then is not enough
    assert (await says(whole)).startswith(b"HTTP/1.1 204")
    assert (await says(whole[:9], whole[9:])).startswith(b"HTTP/1.1 204")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(whole)
    await reader.readuntil(b"\r\n\r\n")
    (open_,) = server.server_state.connections
    assert isinstance(open_, Connection)
    kernel: socket.socket = open_.transport.get_extra_info("socket")
    assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == connection.GONE_MS
    writer.close()

    monkeypatch.setattr(connection, "STRANGER_S", 0.3)
    monkeypatch.setattr(connection, "REST_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n")
    for _ in range(100):  # what drips in after the answer does not keep it open
        if writer.transport.is_closing():
            break
        writer.write(b"x")
        await asyncio.sleep(0.1)
    assert writer.transport.is_closing()
