"""The real aggregator as a process, and HTTP to it over real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from cloud.records.tokens import Role
from cloud.sqlite.tokens import tokens_of
from wire import codec
from wire.batch import Ack, Batch, Lane, Snapshot

BATCH = {"Content-Type": "application/vnd.lamplighter.batch+cbor", "Content-Encoding": "zstd"}
SNAPSHOT = {"Content-Type": "application/vnd.lamplighter.snapshot+cbor", "Content-Encoding": "zstd"}
START_S = 120


class Process:
    """`lamplighter-cloud run` on a free port, as often as it is started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.running: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=10)
        self.url = ""
        self.readers_url = ""
        self.tokens: dict[str, str] = {}

    def token(self, role: Role, node: str | None = None) -> str:
        key = f"{role} {node}"
        if key not in self.tokens:
            with tokens_of(self.data) as tokens:
                self.tokens[key] = tokens.create(role, node, "", 1)
        return self.tokens[key]

    def bearer(self, role: Role = "reader", node: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(role, node)}"}

    def start(
        self,
        *options: str,
        wait: bool = True,
        pace: dict[str, float] | None = None,
        descriptors: int | None = None,
        **environment: str,
    ) -> Self:
        """`descriptors` is how many files it may have open."""
        endpoints = self.directory / "endpoints.json"
        endpoints.unlink(missing_ok=True)
        command = [sys.executable, "-m", "cloud.cli", "run", "--data", str(self.data), "--port", "0"]
        command += ["--endpoints", str(endpoints), *options]
        if pace is not None:
            # -P: this folder has a cloud.py of its own
            child = Path(__file__).with_name("cloud_child.py")
            command = [sys.executable, "-P", str(child), str(self.data), str(endpoints), json.dumps(pace)]
        if descriptors is not None:
            command = ["prlimit", f"--nofile={descriptors}:{descriptors}", *command]
        self.running = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + START_S
        while wait and not endpoints.exists():
            if self.running.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.running.communicate(timeout=5)[1].decode())
            time.sleep(0.01)
        if wait:
            told = json.loads(endpoints.read_text())
            self.url, self.readers_url = told["url"], told["readers_url"] or ""
        return self

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it, and what it said."""
        assert self.running is not None
        if self.running.poll() is None:
            self.running.send_signal(number)
        errors = self.running.communicate(timeout=10)[1].decode()
        code, self.running = self.running.returncode, None
        return code, errors

    def close(self) -> None:
        if self.running is not None:
            self.stop(signal.SIGKILL)
        self.client.close()

    def verb(self, *arguments: str, ok: bool = True) -> str:
        command = [sys.executable, "-m", "cloud.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode == 0) is ok, done.stderr
        return done.stdout.strip() if ok else done.stderr.strip()

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(self.url + path, params=query, headers=self.bearer())
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, batch: Batch, body: bytes | None = None) -> httpx.Response:
        return self.client.post(
            f"{self.url}/v1/nodes/{batch.node}/batches",
            content=codec.encode_batch(batch) if body is None else body,
            headers={**BATCH, **self.bearer("node", batch.node)},
        )

    def push(self, batch: Batch) -> tuple[int, Ack]:
        answer = self.post(batch)
        assert answer.status_code in (200, 409), answer.text
        assert answer.headers["content-type"] == "application/vnd.lamplighter.ack+cbor"
        return answer.status_code, codec.decode_ack(answer.content)

    def place(self, node: str, epoch: int, lane: Lane = Lane.BULK) -> Ack:
        query = {"epoch": epoch, "lane": lane.value}
        answer = self.client.get(f"{self.url}/v1/nodes/{node}/place", params=query, headers=self.bearer("node", node))
        assert answer.status_code == 200, answer.text
        return codec.decode_ack(answer.content)

    def snapshot(self, snapshot: Snapshot) -> httpx.Response:
        return self.client.post(
            f"{self.url}/v1/nodes/{snapshot.node}/snapshot",
            content=codec.encode_snapshot(snapshot),
            headers={**SNAPSHOT, **self.bearer("node", snapshot.node)},
        )

    def order(self, path: str, body: Any, key: str | None = None, role: Role = "operator") -> httpx.Response:
        """Give an order; the key is drawn where none is given."""
        headers = {**self.bearer(role), "Idempotency-Key": f'"{uuid.uuid4() if key is None else key}"'}
        return self.client.post(f"{self.url}{path}", json=body, headers=headers)

    @contextmanager
    def downlink(self, node: str = "cab-1", **query: Any) -> Iterator[Feed]:
        path = f"{self.url}/v1/nodes/{node}/orders"
        with self.client.stream("GET", path, params=query, headers=self.bearer("node", node)) as answer:
            if answer.status_code != 200:
                answer.read()
                raise AssertionError(answer.text)
            yield Feed(answer)

    def readings(self, device: str, **query: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            page = self.get(f"/v1/devices/{device}/readings", **query)
            rows += page["rows"]
            if page["next"] is None:
                return rows
            query["cursor"] = page["next"]

    @contextmanager
    def feed(self, last_event_id: str | None = None, **query: Any) -> Iterator[Feed]:
        with self.feed_of(self.client, last_event_id, **query) as feed:
            yield feed

    @contextmanager
    def feed_of_url(self, url: str, **query: Any) -> Iterator[Feed]:
        """The same where other processes answer, with a client of its own."""
        with (
            httpx.Client(timeout=60) as client,
            client.stream("GET", f"{url}/v1/feed", params=query, headers=self.bearer()) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                raise AssertionError(answer.text)
            yield Feed(answer)

    @contextmanager
    def feed_of(self, client: httpx.Client, last_event_id: str | None = None, **query: Any) -> Iterator[Feed]:
        """The same with a client of one's own: for what waits while another thread pushes."""
        headers = self.bearer() | ({} if last_event_id is None else {"Last-Event-ID": last_event_id})
        with client.stream("GET", f"{self.url}/v1/feed", params=query, headers=headers) as answer:
            if answer.status_code != 200:
                answer.read()
                raise AssertionError(answer.text)
            yield Feed(answer)


class Feed:
    """Server-sent events, one after another."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.lines = answer.iter_lines()
        self.cursor = ""

    def next(self) -> dict[str, Any]:
        """The next event that carries data, as it stands: id, event, data."""
        found: dict[str, Any] = {}
        for line in self.lines:
            if line.startswith("id:"):
                self.cursor = found["id"] = line[3:].strip()
            elif line.startswith("event:"):
                found["event"] = line[6:].strip()
            elif line.startswith("data:"):
                found["data"] = json.loads(line[5:])
            elif not line and "data" in found:
                return found
            elif not line:
                found = {}
        raise EOFError

    def beat(self) -> str:
        """The cursor of the next comment that says where the reader is."""
        for line in self.lines:
            if line == ": cursor":
                return next(self.lines).removeprefix("id: ")
        raise EOFError

    def order(self) -> dict[str, Any]:
        """The next order of a downlink; what only says the time is passed over."""
        while True:
            found = self.next()
            if "order" in found["data"]:
                return found["data"]["order"]

    def take(self, n: int) -> list[dict[str, Any]]:
        return [self.next() for _ in range(n)]
