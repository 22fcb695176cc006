"""A session on a broker that does what brokers do, and what they should not: in pieces, too much, wrong, or nothing."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import Unreachable
from drivers.mqtt.session import MqttSession
from drivers.mqtt.settings import Line
from support.mqtt_packets import CONTENT_TYPE, PINGRESP, cut, publish


class Broker:
    """Says what a test wants it to, and remembers what it is told, packet by packet."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.writer: asyncio.StreamWriter
        self.port = 0
        self.welcome = b"\x20\x03\x00\x00\x00"
        self.connections = 0
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.connections += 1
        try:
            while True:
                head = await reader.readexactly(2)
                length, shift = head[1] & 127, 7
                while head[-1] > 127:
                    head += await reader.readexactly(1)
                    length |= (head[-1] & 127) << shift
                    shift += 7
                body = await reader.readexactly(length)
                if head[0] == 0x10:
                    writer.write(self.welcome)
                elif head[0] == 0x82:
                    writer.write(b"\x90\x04" + body[:2] + b"\x00\x01")
                elif head[0] == 0xC0:
                    writer.write(PINGRESP)
                self.heard.append(head + body)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            self.gone.set()
        finally:
            writer.close()

    @property
    def acknowledged(self) -> list[int]:
        return [int.from_bytes(p[2:4]) for p in self.heard if p[0] == 0x40]


@asynccontextmanager
async def broker(tls: ssl.SSLContext | None = None) -> AsyncIterator[Broker]:
    found = Broker()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found
        found.writer.close()


@asynccontextmanager
async def session(
    server: Broker, on_publish: Callable[[Any], None] = lambda _: None, **keys: Any
) -> AsyncIterator[MqttSession]:
    line = Line(host="127.0.0.1", port=server.port, client_id="node", timeout_s=3, **keys)
    async with asyncio.timeout(20), MqttSession(line, on_publish) as made:
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- a test may wait by looking
            await asyncio.sleep(0.002)


async def test_publishes_with_the_welcome_and_in_pieces_arrive_in_order() -> None:
    got: list[Any] = []
    async with broker() as server:
        server.welcome += publish(b"1", mid=1) + publish(b"2", mid=2)[:4]
        async with session(server, got.append) as made:
            assert not made.resumed
            server.writer.write(publish(b"2", mid=2)[4:])
            for piece in cut(publish(b"3", mid=3) + PINGRESP + publish(b"4", mid=4, props=CONTENT_TYPE), range(40)):
                server.writer.write(piece)
                await server.writer.drain()
                await asyncio.sleep(0)
            await until(lambda: len(got) == 4)
            assert await made.subscribe(["a/b"]) == []
    assert [(g.mid, g.topic, bytes(g.payload)) for g in got] == [(i, "a/b", b"%d" % i) for i in range(1, 5)]


async def test_acknowledgements_of_a_turn_go_out_together_and_before_the_goodbye() -> None:
    async with broker() as server:
        async with session(server) as made:
            queued: list[bytes] = []
            queue = made._paho._packet_queue

            def watched(command: int, packet: bytes, *more: Any) -> Any:
                queued.append(packet)
                return queue(command, packet, *more)

            made._paho._packet_queue = watched
            for mid in (1, 2, 0x1234):
                made.acknowledge(mid, 1)
            assert queued == []
            await until(lambda: len(server.acknowledged) == 3)
            assert queued == [b"\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x12\x34"]
            made.acknowledge(4, 1)
            made.acknowledge(65535, 1)
        await server.gone.wait()
    assert server.acknowledged == [1, 2, 0x1234, 4, 65535]
    assert server.heard[-1][0] == 0xE0


async def test_acknowledging_after_the_end_has_no_effect() -> None:
    async with broker() as server, session(server) as made:
        server.writer.close()
        with pytest.raises(Unreachable):
            await made.gone()
        made.acknowledge(1, 1)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (b"\x30\xff\xff\xff\x7f", "a packet of 268435455 bytes came, and 1114112 is all that was asked for"),
        (b"\x36\x09\x00\x03a/b\x00\x01\x00x", "Protocol error"),  # QoS 3
        (b"\x32\x02\x00\x03", "Protocol error"),
        (b"\x30\x05\x00\x09abc", "Protocol error"),
        (publish(props=b"\x7f\x00"), "Protocol error"),
        (b"\xf0\x00", "Protocol error"),
        (b"\x00\x00", "Protocol error"),
        (b"\xe0\x01\x81", "Malformed packet"),
    ],
)
async def test_what_is_malformed_ends_the_connection_and_is_told(wrong: bytes, said: str) -> None:
    got: list[Any] = []
    async with broker() as server:
        async with session(server, got.append) as made:
            server.writer.write(publish(mid=9) + wrong + publish(mid=10))
            with pytest.raises(Unreachable, match=said):
                async with asyncio.timeout(5):
                    await made.gone()
            await server.gone.wait()  # our side is closed, too
        assert [g.mid for g in got] == [9]
        async with session(server) as again:
            assert await again.subscribe(["x"]) == []
        assert server.connections == 2


async def test_a_fault_in_the_callback_ends_the_connection_and_leaves_nothing_open() -> None:
    def fault(_message: Any) -> None:
        raise RuntimeError("a bug")

    async with broker() as server:
        async with session(server, fault) as made:
            server.writer.write(publish() + publish())
            with pytest.raises(Unreachable, match="a bug"):
                await made.gone()
        await server.gone.wait()


@pytest.mark.parametrize("welcome", [b"", b"\x20\x03\x00\x88\x00"])
async def test_a_broker_that_does_not_let_us_in_is_left(welcome: bytes) -> None:
    async with broker() as server:
        server.welcome = welcome
        with pytest.raises(Unreachable, match=r"timed out|unavailable"):
            async with MqttSession(Line(host="127.0.0.1", port=server.port, client_id="node", timeout_s=0.2), print):
                pass
        await asyncio.wait_for(server.gone.wait(), 2)


async def test_leaving_that_is_cancelled_leaves_nothing_open() -> None:
    async with broker() as server:
        made = MqttSession(Line(host="127.0.0.1", port=server.port, client_id="node"), print)
        await made.__aenter__()
        leaving = asyncio.create_task(made.__aexit__(None, None, None))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert made._paho.socket() is None
        await asyncio.wait_for(server.gone.wait(), 2)


async def test_many_publishes_over_tls(tmp_path: Path) -> None:
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test"]
    files = ["-keyout", "server.key", "-out", "server.pem", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *words, *files], check=True, capture_output=True, cwd=tmp_path)  # noqa: ASYNC221
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    got: list[Any] = []
    async with broker(context) as server:
        async with session(server, got.append, ca=str(tmp_path / "server.pem")) as made:
            server.writer.write(b"".join(publish(b"%d" % i + bytes(i % 300), mid=i + 1) for i in range(3000)))
            server.writer.write(publish(bytes(1 << 20), mid=4000))
            await until(lambda: len(got) == 3001)
            for message in got:
                made.acknowledge(message.mid, message.qos)
        await server.gone.wait()
    assert [g.mid for g in got] == [*range(1, 3001), 4000]
    assert server.acknowledged == [g.mid for g in got]


@pytest.mark.slow
async def test_a_silent_broker_is_asked_while_publishes_are_read_by_the_stream() -> None:
    async with broker() as server, session(server, keepalive_s=5) as made:
        server.writer.write(publish())
        made._paho._last_bytes_received -= 6
        made._paho._last_msg_out -= 6
        await until(lambda: any(p[0] == 0xC0 for p in server.heard))
        await until(lambda: made._paho._ping_t == 0)  # and its answer was heard
