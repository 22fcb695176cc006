"""What the cloud's answers mean, against a real HTTP server on loopback, with and without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.sync.http import BATCH_TYPE, CHAINED_TYPE, MAX_ANSWER_BYTES, SNAPSHOT_TYPE, Cloud, CloudLink, LinkDown, trust
from support.authority import Authority
from wire import codec
from wire.batch import ORIGIN, Ack, Batch, Lane, Placed, Snapshot
from wire.columns import Columns
from wire.errors import Malformed, TooLarge, Unsupported
from wire.sample import Clock, Sample

COLUMNS = Columns.of([Sample("lamp", 1, Clock(1, synced=True), {"n": 1})])
BATCH = Batch(
    node="cab-1",
    epoch=7,
    lane=Lane.BULK,
    first_seq=1,
    through_seq=1,
    prev=ORIGIN,
    digest=ORIGIN,
    held_from=1,
    head_seq=1,
    entries=[Placed((0,), COLUMNS)],
)
ACK = Ack(generation=1, epoch=7, lane=Lane.BULK, through_seq=1, digest=ORIGIN, accepts=(1,), server_us=5)
PROBLEM = "application/problem+json"
OURS = "urn:lamplighter:problem:"


class Server:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, codec.encode_ack(ACK), dict[str, str]()
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections = 0
        self.url = ""
        self.raw: bytes | None = None  # said instead of any answer
        self.hang = False
        self.then: list[tuple[int, bytes | Mapping[str, Any]]] = []  # said first, each once

    def answer(self, status: int, body: bytes | Mapping[str, Any] = b"", **headers: str) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {k.replace("_", "-"): v for k, v in headers.items()}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {k.lower(): v for k, _, v in (h.partition(": ") for h in head[1:] if h)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((method, path, headers, body))
                if self.hang:
                    await asyncio.Event().wait()
                if self.raw is not None:
                    writer.write(self.raw)
                    return
                status, said = self.then.pop(0) if self.then else (self.status, self.body)
                content = said if isinstance(said, bytes) else json.dumps(said).encode()
                lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(content)}"]
                lines += [f"{k}: {v}" for k, v in self.headers.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def served(context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    talks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(server.talk(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)

    listener = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if context else 'http'}://localhost:{port}"
    try:
        yield server
    finally:
        listener.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with served() as found:
        yield found


def link_to(server: Server, **more: Any) -> CloudLink:
    cloud = Cloud(url=server.url, **{"node": "cab-1", "token": "secret", "timeout_s": 5, **more})
    return CloudLink(cloud, None if cloud.ca_file else system_trust())


@functools.cache
def system_trust() -> ssl.SSLContext:
    """Read once: it takes longer than the rest of most tests here."""
    return trust()


@pytest.fixture
async def link(server: Server) -> AsyncIterator[CloudLink]:
    async with link_to(server) as found:
        yield found


async def test_each_question_and_batch_says_which_generation_is_known(server: Server) -> None:
    known = 7
    cloud = Cloud(url=server.url, node="cab-1", token="secret", timeout_s=5)
    async with CloudLink(cloud, generation=lambda: known) as link:
        await link.place(5, Lane.BULK)
        known = 8
        await link.send(BATCH)
    assert [headers["lamplighter-generation"] for _, _, headers, _ in server.requests] == ["7", "8"]


@pytest.mark.parametrize("status", [200, 409])
async def test_an_ack_is_an_answer_whatever_its_status(server: Server, link: CloudLink, status: int) -> None:
    server.answer(status, codec.encode_ack(ACK))
    answer = await link.send(BATCH)
    assert answer.ack == ACK
    method, path, headers, body = server.requests[0]
    assert (method, path) == ("POST", "/v1/nodes/cab-1/batches")
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-type"] == BATCH_TYPE
    assert headers["content-encoding"] == "zstd"
    assert answer.sent_bytes == len(body)
    assert codec.decode_batch(body).first_seq == 1


async def test_place_and_snapshot(server: Server, link: CloudLink) -> None:
    assert (await link.place(7, Lane.URGENT)).ack == ACK
    assert server.requests[0][:2] == ("GET", "/v1/nodes/cab-1/place?epoch=7&lane=urgent")
    server.answer(204)
    await link.snapshot(Snapshot(node="cab-1", columns=[COLUMNS]))
    method, path, headers, _ = server.requests[1]
    assert "lamplighter-generation" not in headers, "none is known"
    assert (method, path, headers["content-type"]) == ("POST", "/v1/nodes/cab-1/snapshot", SNAPSHOT_TYPE)


async def test_one_connection_is_kept_alive(server: Server, link: CloudLink) -> None:
    for status in (200, 401, 503, 409, 413, 200):
        server.answer(status, codec.encode_ack(ACK))
        try:
            await link.send(BATCH)
        except (LinkDown, TooLarge):
            assert status not in (200, 409)
    assert len(server.requests) == 6
    assert server.connections == 1


@pytest.mark.parametrize("status", [201, 301, 302, 401, 402, 403, 404, 405, 408, 418, 429, 500, 502, 503, 504])
async def test_no_usable_answer_is_link_down(server: Server, link: CloudLink, status: int) -> None:
    server.answer(status, {"title": "no", "detail": "why not"}, content_type=PROBLEM, location="https://login.example")
    with pytest.raises(LinkDown, match=f"^{status}: why not$"):
        await link.send(BATCH)
    with pytest.raises(LinkDown):
        await link.place(7, Lane.BULK)
    with pytest.raises(LinkDown):
        await link.snapshot(Snapshot(node="cab-1", columns=[COLUMNS]))
    assert len(server.requests) == 3, "no redirect is followed"


@pytest.mark.parametrize("status", [200, 409])
@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Please accept our terms</body></html>",
        b"",
        b"\xa0",
        codec.encode_batch(BATCH),
        codec.encode_ack(ACK) + b"x",
        b"\x28\xb5\x2f\xfd" + bytes(20),
    ],
)
async def test_what_is_no_ack_of_ours_is_never_an_ack(
    server: Server, link: CloudLink, status: int, body: bytes
) -> None:
    server.answer(status, body, content_type="text/html")
    with pytest.raises(LinkDown, match="captive portal"):
        await link.send(BATCH)


async def test_a_page_instead_of_a_problem_leaves_the_status(server: Server, link: CloudLink) -> None:
    server.answer(502, b"<html>Bad gateway</html>")
    with pytest.raises(LinkDown, match=r"^502: Said$"):
        await link.send(BATCH)


async def test_an_endless_answer_is_cut(server: Server, link: CloudLink) -> None:
    server.answer(200, bytes(MAX_ANSWER_BYTES + 1))
    with pytest.raises(LinkDown, match=f"more than {MAX_ANSWER_BYTES}"):
        await link.send(BATCH)
    server.answer(200, codec.encode_ack(ACK))
    assert (await link.send(BATCH)).ack == ACK, "the link is of use afterwards"


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", b"SSH-2.0-x\r\n", b"\x00" * 99]
)
async def test_half_an_answer(server: Server, link: CloudLink, raw: bytes) -> None:
    server.raw = raw
    with pytest.raises(LinkDown):
        await link.send(BATCH)
    server.raw = None
    assert (await link.send(BATCH)).ack == ACK


async def test_no_answer_in_time(server: Server) -> None:
    server.hang = True
    async with link_to(server, timeout_s=0.05) as link:
        with pytest.raises(LinkDown, match=r"Timeout|no whole answer"):
            await link.send(BATCH)


async def test_nobody_there(server: Server) -> None:
    async with link_to(server) as link:
        link._base = "http://127.0.0.1:1/v1/nodes/cab-1"
        with pytest.raises(LinkDown, match="Connect"):
            await link.send(BATCH)


@pytest.mark.parametrize(
    ("text", "retry_s"), [("7", 7), ("99999", 3600), ("soon", 0), ("-3", 0), ("9" * 400, 3600), ("", 0)]
)
async def test_retry_after(server: Server, link: CloudLink, text: str, retry_s: float) -> None:
    server.answer(503, b"", retry_after=text)
    with pytest.raises(LinkDown) as caught:
        await link.send(BATCH)
    assert caught.value.retry_s == retry_s


@pytest.mark.parametrize(("status", "error"), [(400, Malformed), (413, TooLarge)])
async def test_what_is_wrong_with_the_body(
    server: Server, link: CloudLink, status: int, error: type[Exception]
) -> None:
    kind = "malformed" if status == 400 else "too-large"
    server.answer(status, {"type": OURS + kind, "detail": "entry 3 is no entry"}, content_type=PROBLEM)
    with pytest.raises(error, match=r"^entry 3 is no entry$"):
        await link.send(BATCH)


async def test_a_chained_body_that_is_refused_goes_in_full_at_once(server: Server, link: CloudLink) -> None:
    accepting = msgspec.structs.replace(ACK, accepts=(1, 2))
    server.answer(200, codec.encode_ack(accepting))
    await link.send(BATCH)
    await link.send(BATCH)
    assert [r[2]["content-type"] for r in server.requests] == [BATCH_TYPE, CHAINED_TYPE]
    assert "content-encoding" not in server.requests[1][2]
    for status, body in ((409, codec.encode_ack(accepting)), (415, b"{}"), (400, b"{}"), (413, b"{}")):
        kinds = {415: "unsupported", 400: "malformed", 413: "too-large"}
        problem = {"type": f"{OURS}{kinds[status]}"} if status in kinds else body
        server.requests.clear()
        server.then = [(status, problem)]
        answer = await link.send(BATCH)
        assert [r[2]["content-type"] for r in server.requests] == [CHAINED_TYPE, BATCH_TYPE]
        assert answer.sent_bytes == sum(len(r[3]) for r in server.requests)


@pytest.mark.parametrize(("body", "accepts"), [({"detail": "v", "accepts": [2, 3]}, (2, 3)), ({"detail": "v"}, ())])
async def test_an_unsupported_version_says_what_is_accepted(
    server: Server, link: CloudLink, body: Mapping[str, Any], accepts: tuple[int, ...]
) -> None:
    server.answer(415, {"type": f"{OURS}unsupported", **body}, content_type=PROBLEM)
    with pytest.raises(Unsupported) as caught:
        await link.send(BATCH)
    assert caught.value.accepts == accepts


async def test_a_version_that_was_sent_and_is_accepted_was_damaged_on_the_way(server: Server, link: CloudLink) -> None:
    """Its lane is not held for that: the next try gets through."""
    problem = {"type": f"{OURS}unsupported", "detail": "version 49 is not spoken here", "accepts": [1, 2]}
    server.answer(415, problem, content_type=PROBLEM)
    with pytest.raises(LinkDown, match="version 49 is not spoken here"):
        await link.send(BATCH)
    with pytest.raises(LinkDown, match="version 49 is not spoken here"):
        await link.snapshot(Snapshot(node="cab-1", columns=[COLUMNS]))


async def test_a_name_with_a_slash_stays_one_part_of_the_path(server: Server) -> None:
    async with link_to(server, node="a/b c") as link:
        await link.place(1, Lane.BULK)
    assert server.requests[0][1].startswith("/v1/nodes/a%2Fb%20c/place?")


# ---- https -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, need: Callable[[str], str]) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "city", need("openssl"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, need: Callable[[str], str]) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "other", need("openssl"))


async def test_https_with_a_private_authority(city: Authority) -> None:
    context = city.context(city.issue("own", "localhost"))
    async with served(context) as server, link_to(server, ca_file=city.ca) as link:
        assert (await link.send(BATCH)).ack == ACK


async def test_https_with_an_authority_that_is_not_trusted(city: Authority, other: Authority) -> None:
    async with served(city.context(city.issue("own", "localhost"))) as server:
        for ca in (other.ca, None):
            async with link_to(server, ca_file=ca) as link:
                with pytest.raises(LinkDown, match=r"(?i)certificate"):
                    await link.send(BATCH)
        assert server.requests == [], "the token was shown to nobody"


async def test_https_for_another_host(city: Authority) -> None:
    async with served(city.context(city.issue("elsewhere", "elsewhere.example"))) as server:
        async with link_to(server, ca_file=city.ca) as link:
            with pytest.raises(LinkDown, match=r"(?i)hostname mismatch"):
                await link.send(BATCH)
        assert server.requests == []


async def test_a_certificate_of_the_node(city: Authority) -> None:
    async with served(city.context(city.issue("own", "localhost"), ask=True)) as server:
        async with link_to(server, ca_file=city.ca, client_cert=city.issue("node", "cab-1")) as link:
            assert (await link.send(BATCH)).ack == ACK
        async with link_to(server, ca_file=city.ca) as link:
            with pytest.raises(LinkDown):
                await link.send(BATCH)


async def test_files_that_are_none(city: Authority, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        trust(tmp_path / "none.pem")
    with pytest.raises(OSError, match="PEM"):
        trust(None, city.ca)


@pytest.mark.parametrize("status", [400, 413, 415])
@pytest.mark.parametrize(
    "body",
    [b"<html>bad request</html>", {"type": "about:blank", "detail": "no"}, b'{"x":' + 60_000 * b"["],
    ids=["a page", "a problem", "deep"],
)
async def test_a_refusal_that_is_not_ours_says_nothing_about_the_body(
    server: Server, link: CloudLink, status: int, body: Any
) -> None:
    """A proxy that does not understand must not make the node set its readings aside."""
    server.answer(status, body, content_type=PROBLEM if isinstance(body, dict) else "text/html")
    with pytest.raises(LinkDown, match=str(status)):
        await link.send(BATCH)


@pytest.mark.parametrize(("status", "kind"), [(400, "malformed"), (413, "too-large"), (415, "unsupported")])
async def test_a_question_for_a_place_that_is_refused_is_no_answer(
    server: Server, link: CloudLink, status: int, kind: str
) -> None:
    server.answer(status, {"type": OURS + kind, "detail": "x"}, content_type=PROBLEM)
    with pytest.raises(LinkDown):
        await link.place(1, Lane.BULK)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "deflate", "gzip, gzip"])
@pytest.mark.parametrize("status", [200, 400, 409])
async def test_an_answer_in_a_content_encoding_is_not_opened(
    server: Server, link: CloudLink, encoding: str, status: int
) -> None:
    server.answer(status, gzip.compress(bytes(10_000_000)), Content_Encoding=encoding)
    for asked in (link.send(BATCH), link.place(7, Lane.BULK), link.snapshot(Snapshot(node="cab-1", columns=[COLUMNS]))):
        with pytest.raises(LinkDown, match=f"Content-Encoding '{encoding}' is none of ours"):
            await asked


@asynccontextmanager
async def proxy_to(port: int, asked: list[str], *, status: str = "200 OK") -> AsyncIterator[str]:
    """An HTTP proxy that tunnels to one port of this machine, whatever it is asked for."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if not status.startswith("200"):
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.close()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await back.wait_closed()
                await writer.wait_closed()

    talks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.get_running_loop().create_task(talk(reader, writer)))

    listener = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def test_through_a_proxy_https_is_a_tunnel_and_the_proxy_sees_no_token(city: Authority) -> None:
    asked: list[str] = []
    async with served(city.context(city.issue("far", "city.example"))) as server:
        port = int(server.url.rpartition(":")[2])
        async with proxy_to(port, asked) as proxy:
            cloud = Cloud(
                url="https://city.example",
                node="cab-1",
                token="secret",
                timeout_s=5,
                ca_file=city.ca,
                proxy=f"http://me:pass@{proxy}",
            )
            async with CloudLink(cloud) as link:
                assert (await link.send(BATCH)).ack == ACK
                assert (await link.place(7, Lane.BULK)).ack == ACK
    assert len(asked) == 1, "one connection"
    assert asked[0].startswith("CONNECT city.example:443 HTTP/1.1")
    assert "Basic bWU6cGFzcw==" in asked[0]
    assert "secret" not in asked[0]
    assert server.requests[0][2]["authorization"] == "Bearer secret"


async def test_a_proxy_that_says_no_is_told() -> None:
    async with proxy_to(1, [], status="407 Proxy Authentication Required") as proxy:
        cloud = Cloud(url="https://city.example", node="cab-1", token="t", timeout_s=5, proxy=f"http://{proxy}")
        async with CloudLink(cloud) as link:
            with pytest.raises(LinkDown, match="ProxyError: 407"):
                await link.send(BATCH)
