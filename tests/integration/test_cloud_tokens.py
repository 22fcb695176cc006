"""What one token may have, and what is said to those whose token is none, over real sockets."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from support.cloud_batches import Sender, columns
from support.cloud_process import Process


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def counter(cloud: Process, name: str) -> float:
    text = cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer("admin")).text
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).rsplit(" ", 1)[1])


def test_one_token_opens_so_many_feeds_and_another_still_gets_its_own(cloud: Process) -> None:
    cloud.start("--token-feeds", "20")
    with ExitStack() as open_, httpx.Client(limits=httpx.Limits(max_connections=None)) as client:
        for number in range(30):
            answer = open_.enter_context(client.stream("GET", f"{cloud.url}/v1/feed", headers=cloud.bearer("reader")))
            assert answer.status_code == (200 if number < 20 else 429), number
        answer.read()
        assert "at most 20 (--token-feeds)" in answer.json()["detail"]
        assert answer.headers["retry-after"] == "30"
        with client.stream("GET", f"{cloud.url}/v1/feed", headers=cloud.bearer("operator")) as other:
            assert other.status_code == 200
    deadline = time.monotonic() + 10
    while counter(cloud, "lamplighter_feeds"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with cloud.feed():
        pass


def test_wrong_tokens_are_slowed_down_counted_and_told_and_the_right_one_passes(cloud: Process) -> None:
    cloud.start()
    statuses: list[int] = []
    with httpx.Client() as client:
        for number in range(300):
            token = f"lamp_{number:010x}_{'A' * 43}"
            answer = client.get(f"{cloud.url}/v1/nodes", headers={"Authorization": f"Bearer {token}"})
            statuses.append(answer.status_code)
    assert set(statuses) == {401, 429}
    assert statuses[:20] == [401] * 20
    assert int(answer.headers["retry-after"]) >= 1
    assert "without a valid token" in answer.json()["detail"]
    assert cloud.push(Sender().batch(columns(n=1)))[0] == 200  # from the same address
    assert counter(cloud, 'lamplighter_requests_denied_total{reason="unknown"}') == 300
    errors = cloud.stop()[1]
    assert errors.count("with a token that is not valid here") == 1


def test_what_a_proxy_says_counts_only_from_one_that_is_named(cloud: Process) -> None:
    for options, limited in (((), True), (("--trusted-proxy", "127.0.0.1"), False)):
        cloud.start(*options)
        with httpx.Client() as client:
            statuses = [
                client.get(f"{cloud.url}/v1/nodes", headers={"X-Forwarded-For": f"192.0.2.{i}"}).status_code
                for i in range(60)
            ]
        assert (429 in statuses) is limited
        cloud.stop()


def test_a_token_ends_and_says_so(cloud: Process) -> None:
    cloud.start()
    data = ("--data", str(cloud.data), "--role", "reader")
    brief = cloud.verb("token", "create", *data, "--days", "0.00002")
    lasting = cloud.verb("token", "create", *data, "--until", "2100-01-01T00:00:00Z")
    assert "has ended already" in cloud.verb("token", "create", *data, "--until", "2020-01-01T00:00:00Z", ok=False)
    cloud.verb("token", "create", *data, "--days", "0", ok=False)

    def answer(token: str) -> httpx.Response:
        return cloud.client.get(f"{cloud.url}/v1/nodes", headers={"Authorization": f"Bearer {token}"})

    deadline = time.monotonic() + 20
    while answer(brief).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer(brief).status_code == 401
    assert "has expired" in answer(brief).json()["detail"]
    assert answer(brief).headers["www-authenticate"]
    assert [answer(brief).status_code for _ in range(40)] == [401] * 40  # known, so not slowed down
    assert answer(lasting).status_code == 200
    listed = cloud.verb("token", "list", "--data", str(cloud.data))
    assert "expired" in listed
    assert "valid until 2100-01-01" in listed
    cloud.verb("token", "revoke", "--data", str(cloud.data), lasting.split("_")[1])
    while answer(lasting).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "was revoked" in answer(lasting).json()["detail"]


def test_an_open_feed_ends_with_its_token(cloud: Process) -> None:
    cloud.start(pace={"keep_alive_s": 0.2})
    token = cloud.verb("token", "create", "--data", str(cloud.data), "--role", "reader", "--days", "0.00004")
    with cloud.client.stream("GET", f"{cloud.url}/v1/feed", headers={"Authorization": f"Bearer {token}"}) as answer:
        for _ in answer.iter_lines():
            pass  # until it ends by itself


def test_readiness_is_looked_up_once_for_all_who_ask(cloud: Process) -> None:
    cloud.start()
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(httpx.get(f"{cloud.url}/readyz", timeout=30).status_code)

    asking = [threading.Thread(target=ask) for _ in range(40)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert statuses == [200] * 40


def test_a_note_that_a_terminal_would_obey_is_shown(cloud: Process) -> None:
    data = ("--data", str(cloud.data))
    note = "\x1b]0;owned\x07\nffff  admin  \u202eforged"
    told = cloud.verb("token", "create", *data, "--role", "reader", "--name", note, ok=False)
    assert "has U+001B at character 1" in told
    assert "\x1b" not in told
    cloud.verb("token", "create", *data, "--role", "reader", "--name", "made before names were looked at")
    with closing(sqlite3.connect(cloud.data / "tokens.db")) as connection, connection:
        connection.execute("UPDATE tokens SET name = ?", (note,))
    listed = cloud.verb("token", "list", *data)
    assert len(listed.splitlines()) == 1
    assert "\\x1b]0;owned\\x07\\nffff  admin  \\u202eforged" in listed
    told = cloud.verb("token", "revoke", *data, "\x1b[2J\nforged", ok=False)
    assert "\\x1b[2J\\nforged" in told
