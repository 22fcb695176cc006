"""What may come before a token has been looked at: bounded in bytes, lines and connections, and nobody pays for it."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from support.cloud_batches import Sender, columns
from support.cloud_process import BATCH, Process
from wire import codec

MIB = 1 << 20
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def address(cloud: Process) -> tuple[str, int]:
    host, port = cloud.url.removeprefix("http://").split(":")
    return host, int(port)


def resident(cloud: Process) -> int:
    assert cloud.running is not None
    return psutil.Process(cloud.running.pid).memory_info().rss


def poured(cloud: Process, begin: bytes, again: bytes, most: int = 24 * MIB) -> tuple[int, bytes]:
    """How much of it went through until the connection was ended, at most so much, and what was answered."""
    with socket.create_connection(address(cloud), timeout=20) as raw:
        sent, answer = 0, b""
        part = again * max(1, (64 << 10) // len(again))
        try:
            raw.sendall(begin)
            while sent < most:
                raw.sendall(part)
                sent += len(part)
        except OSError:
            pass
        try:
            while piece := raw.recv(64 << 10):
                answer += piece
        except OSError:
            pass
        return sent, answer


def all_of(raw: socket.socket) -> bytes:
    """What is answered until the other end closes."""
    heard = b""
    while piece := raw.recv(4_096):
        heard += piece
    return heard


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def problem(answer: bytes) -> dict[str, object]:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_a_head_without_end_is_refused_before_it_is_kept(cloud: Process) -> None:
    cloud.start()
    before = resident(cloud)
    endless: list[tuple[bytes, bytes, int]] = [
        (GET, b"X-A: b\r\n", 431),
        (GET, b"X-%s: b\r\n" % (b"a" * 2_000), 431),
        (GET + b"X-A: ", b"v", 431),
        (GET + b"X-A:", b" ", 431),
        (GET, b"n", 431),
        (b"GET /", b"u", 431),
        (b"GET ", b" ", 431),
        (b"", b"\r\n", 431),
        (b"", b"G", 400),
    ]
    for begin, again, expected in endless:
        for _ in range(8 if expected == 431 and begin == GET else 1):
            sent, answer = poured(cloud, begin, again)
            assert status(answer) == expected, (begin, again, answer[:300])
            assert sent < 16 * MIB
        assert b"application/problem+json" in answer
        assert problem(answer)["status"] == expected
    assert resident(cloud) - before < 24 * MIB
    assert cloud.client.get(f"{cloud.url}/healthz").status_code == 200


def test_many_heads_at_once_that_have_no_end_take_no_memory(cloud: Process) -> None:
    cloud.start()
    before = resident(cloud)
    with ExitStack() as open_:
        raws = [open_.enter_context(socket.create_connection(address(cloud), timeout=20)) for _ in range(200)]
        for raw in raws:
            raw.sendall(GET + b"X-A: " + b"v" * 30_000)  # within the bound, and kept until its time is up
        for _ in range(60):
            if resident(cloud) - before > 32 * MIB:
                break
            time.sleep(0.01)
        assert resident(cloud) - before < 32 * MIB
        assert cloud.push(Sender().batch(columns(n=1)))[0] == 200


def test_a_head_within_its_bounds_is_taken_however_it_is_cut(cloud: Process) -> None:
    cloud.start()
    long = GET + b"".join(b"X-%d: %s\r\n" % (i, b"v" * 300) for i in range(90)) + b"Connection: close\r\n\r\n"
    assert len(long) > 24_000
    for size in (1, 7, 5_000, len(long)):
        with socket.create_connection(address(cloud), timeout=20) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(long), size):
                raw.sendall(long[at : at + size])
            assert raw.recv(1_000).startswith(b"HTTP/1.1 200"), size
    many = GET + b"".join(b"X-%d: v\r\n" % i for i in range(101)) + b"\r\n"
    with socket.create_connection(address(cloud), timeout=20) as raw:
        raw.sendall(many)
        assert raw.recv(1_000).startswith(b"HTTP/1.1 431")


def test_what_is_between_the_pieces_of_a_body_and_after_it_is_bounded(cloud: Process) -> None:
    cloud.start()
    before = resident(cloud)
    token = cloud.token("node", "cab-1")
    head = (
        f"POST /v1/nodes/cab-1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {BATCH['Content-Type']}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    for begin, again in (
        (head + b"5;", b"x"),  # an extension of a chunk
        (head + b"5;", b"x=y;"),
        (head + b"5\r\nhello\r\n0\r\n", b"T: x\r\n"),  # trailers
        (head + b"5\r\nhello\r\n0\r\nT: ", b"x"),
        (head + b"5\r\nhello\r\n0\r\nT", b"x"),
    ):
        sent, answer = poured(cloud, begin, again)
        assert status(answer) == 400, (begin[-20:], answer[:300])
        assert sent < 16 * MIB
    assert resident(cloud) - before < 24 * MIB
    assert cloud.push(Sender().batch(columns(n=1)))[0] == 200


def test_trailers_are_no_headers(cloud: Process) -> None:
    cloud.start()
    batch = Sender().batch(columns(n=1))
    body = codec.encode_batch(batch)
    token = cloud.token("node", "cab-1")
    with socket.create_connection(address(cloud), timeout=20) as raw:
        raw.sendall(
            f"POST /v1/nodes/cab-1/batches HTTP/1.1\r\nHost: x\r\nContent-Type: {BATCH['Content-Type']}\r\n"
            f"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode()
        )
        raw.sendall(body + f"\r\n0\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        assert raw.recv(2_000).startswith(b"HTTP/1.1 401")


def test_a_body_that_nobody_reads_has_an_end(cloud: Process) -> None:
    cloud.start()
    before = resident(cloud)
    for line in (b"GET /healthz", b"POST /healthz", b"GET /v1/nowhere", b"POST /v1/commands"):
        sent, answer = poured(cloud, line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"x")
        assert status(answer) in (200, 401, 404, 405), answer[:200]
        assert sent < 24 * MIB
    assert resident(cloud) - before < 24 * MIB


def test_requests_that_wait_for_their_turn_are_few(cloud: Process) -> None:
    cloud.start()
    before = resident(cloud)
    sent, answer = poured(cloud, b"", GET + b"\r\n")
    assert sent < 16 * MIB
    assert 1 <= answer.count(b"HTTP/1.1 200") <= 5
    assert resident(cloud) - before < 24 * MIB
    with socket.create_connection(address(cloud), timeout=20) as raw:
        raw.sendall((GET + b"\r\n") * 3 + GET + b"Connection: close\r\n\r\n")
        heard = all_of(raw)
    assert heard.count(b"HTTP/1.1 200") == 4


def test_a_feed_with_a_request_behind_it_ends_with_its_connection(cloud: Process) -> None:
    cloud.start()
    token = cloud.token("reader")
    lines = f"Host: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(address(cloud), timeout=20) as raw:
            raw.sendall(f"GET /v1/feed HTTP/1.1\r\n{lines}GET /v1/nodes HTTP/1.1\r\n{lines}".encode())
            assert raw.recv(2_000).startswith(b"HTTP/1.1 200")
    deadline = time.monotonic() + 10
    while "lamplighter_feeds 0.0" not in (
        text := cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer()).text
    ):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)


def test_an_upgrade_is_not_made_and_no_body_is_lost_to_it(cloud: Process) -> None:
    cloud.start()
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with socket.create_connection(address(cloud), timeout=20) as raw:
        raw.sendall(f"GET /healthz HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n".encode())
        assert all_of(raw).startswith(b"HTTP/1.1 200")
    body = '{"device": "lamp-001"}'
    with socket.create_connection(address(cloud), timeout=20) as raw:
        raw.sendall(
            f"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{upgrade}\r\n{body}".encode()
        )
        answer = all_of(raw)
        assert answer.startswith(b"HTTP/1.1 501")
        assert "Upgrade" in str(problem(answer)["detail"])
    errors = cloud.stop()[1]
    assert "Unsupported upgrade" not in errors


def test_a_client_that_asks_before_it_sends_is_told_to_go_on_or_not_to(cloud: Process) -> None:
    cloud.start()
    batch = Sender().batch(columns(n=1))
    body = codec.encode_batch(batch)
    head = f"POST /v1/nodes/cab-1/batches HTTP/1.1\r\nHost: x\r\nContent-Type: {BATCH['Content-Type']}\r\n"
    head += f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(address(cloud), timeout=20) as raw:
        raw.sendall(f"{head}Authorization: Bearer {cloud.token('node', 'cab-1')}\r\n\r\n".encode())
        assert raw.recv(2_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(body)
        assert raw.recv(2_000).startswith(b"HTTP/1.1 200")
    with socket.create_connection(address(cloud), timeout=20) as raw:
        raw.sendall(f"{head}Authorization: Bearer lamp_x_y\r\n\r\n".encode())
        assert raw.recv(2_000).startswith(b"HTTP/1.1 401")


# ---- connections ------------------------------------------------------------------------------------------------


def opened(cloud: Process, count: int, source: str, open_: ExitStack) -> list[socket.socket]:
    """So many connections from one address, on which nothing is said."""
    return [
        open_.enter_context(socket.create_connection(address(cloud), timeout=20, source_address=(source, 0)))
        for _ in range(count)
    ]


def asked(raw: socket.socket, path: str, token: str = "") -> int:
    raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return status(answer)
        piece = raw.recv(4_096)
        if not piece:
            return 0
        answer += piece


def test_idle_connections_without_a_token_take_no_place_of_nodes(cloud: Process) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(8_300, hard - 1_200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        cloud.start()
        nodes = [f"cab-{i}" for i in range(450)]
        tokens = {node: cloud.token("node", node) for node in nodes}
        with ExitStack() as open_:
            early = opened(cloud, 1, "127.0.0.1", open_)[0]
            assert asked(early, "/v1/nodes/cab-0/place?epoch=1&lane=bulk", tokens["cab-0"]) == 200
            for source in range(2, 10):
                opened(cloud, wanted // 8, f"127.0.0.{source}", open_)
            assert cloud.client.get(f"{cloud.url}/healthz").status_code == 200
            assert cloud.push(Sender("cab-1").batch(columns(n=1)))[0] == 200
            # All nodes behind one carrier's address, connected before the first of them has said a word.
            raws = opened(cloud, len(nodes), "127.0.0.9", open_)
            for raw, node in zip(raws, nodes, strict=True):
                assert asked(raw, f"/v1/nodes/{node}/place?epoch=1&lane=bulk", tokens[node]) == 200
            opened(cloud, 1_500, "127.0.0.9", open_)  # and those who come later drive none of them out
            for raw, node in zip(raws, nodes, strict=True):
                assert asked(raw, f"/v1/nodes/{node}/place?epoch=1&lane=bulk", tokens[node]) == 200
            assert asked(early, "/v1/nodes/cab-0/place?epoch=1&lane=bulk", tokens["cab-0"]) == 200
            counters = cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer()).text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    values = dict(line.rsplit(" ", 1) for line in counters.splitlines() if not line.startswith("#"))
    assert float(values["lamplighter_strangers"]) <= 4_096
    assert float(values["lamplighter_connections"]) >= 451
    assert float(values["lamplighter_strangers_evicted"]) > 0
    errors = cloud.stop()[1]
    assert errors.count("without a valid token were closed") == 1  # not a line each


def test_with_few_file_descriptors_strangers_go_first(cloud: Process) -> None:
    cloud.start(descriptors=400)
    with ExitStack() as open_:
        early = opened(cloud, 1, "127.0.0.1", open_)[0]
        place = "/v1/nodes/cab-2/place?epoch=1&lane=bulk"
        assert asked(early, place, cloud.token("node", "cab-2")) == 200
        opened(cloud, 600, "127.0.0.2", open_)
        assert asked(early, place, cloud.token("node", "cab-2")) == 200
        assert cloud.client.get(f"{cloud.url}/healthz").status_code == 200
        assert cloud.push(Sender("cab-1").batch(columns(n=1)))[0] == 200
    errors = cloud.stop()[1]
    assert "400 file descriptors are allowed" in errors
    assert "no more connections can be taken" not in errors


def test_a_stranger_is_let_go_sooner_than_a_node(cloud: Process) -> None:
    cloud.start()
    with ExitStack() as open_:
        silent = opened(cloud, 1, "127.0.0.1", open_)[0]
        silent.settimeout(60)
        drip = opened(cloud, 1, "127.0.0.1", open_)[0]
        assert asked(drip, "/healthz") == 200
        known = opened(cloud, 1, "127.0.0.1", open_)[0]
        place = "/v1/nodes/cab-2/place?epoch=1&lane=bulk"
        assert asked(known, place, cloud.token("node", "cab-2")) == 200
        for _ in range(60):  # line ends before a request count for nothing
            try:
                drip.sendall(b"\r\n")
            except OSError:
                break
            time.sleep(0.5)
        else:
            raise AssertionError("it is still there")
        assert silent.recv(1) == b""
        assert asked(known, place, cloud.token("node", "cab-2")) == 200


def test_one_token_has_so_many_connections(cloud: Process) -> None:
    cloud.start()
    token = cloud.token("node", "cab-1")
    place = "/v1/nodes/cab-1/place?epoch=1&lane=bulk"
    with ExitStack() as open_:
        raws = opened(cloud, 20, "127.0.0.1", open_)
        assert [asked(raw, place, token) for raw in raws] == [200] * 20
        alive = 0
        for raw in raws:
            with suppress(OSError):
                alive += asked(raw, place, token) == 200
        assert alive == 16  # the longest idle have made room
