"""Webhooks: a real aggregator, a real process that follows its feed, and an other end that takes, refuses and hangs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloud_batches import Sender, columns, roster
from support.cloud_process import Process

WAIT_S = 60
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
    return found


class Target:
    """Keeps what it was posted. `answers` are the statuses that come next, 200 after them."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.taken: list[dict[str, Any]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        target = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = target.answers.pop(0) if target.answers else (200, {})
                target.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                if status == 200:
                    target.taken += json.loads(body)
                self.send_response(status)
                for name, text in {"Content-Length": "5", **headers}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(b"said\n")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Stage:
    """All of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cloud = Process(directory / "cloud")
        self.cloud.directory.mkdir()
        self.target = Target()
        self.said = directory / "said.txt"
        self.running: subprocess.Popen[bytes] | None = None

    def configured(self, **more: list[str]) -> Path:
        for name, text in (("token", self.cloud.token("reader")), ("secret", SECRET)):
            (self.directory / name).write_text(text)
        narrowed = "".join(f"{name} = {json.dumps(texts)}\n" for name, texts in more.items())
        path = self.directory / "webhooks.toml"
        path.write_text(
            f'[feed]\nurl = "{self.cloud.url}"\ntoken_file = "token"\n\n'
            f'[[webhook]]\nname = "one"\nurl = "{self.target.url}"\nsecret_file = "secret"\n{narrowed}'
        )
        return path

    def command(self, *more: str) -> list[str]:
        config, data = self.directory / "webhooks.toml", self.directory / "bookmarks"
        return [sys.executable, "-m", "cloud.cli", "webhooks", "--config", str(config), "--data", str(data), *more]

    def start(self) -> None:
        with self.said.open("wb") as out:
            self.running = subprocess.Popen(self.command(), stderr=out)

    def bookmark(self) -> str:
        path = self.directory / "bookmarks/one.json"
        return json.loads(path.read_text())["cursor"] if path.exists() else ""

    def end(self, number: int = signal.SIGTERM) -> str:
        assert self.running is not None
        self.running.send_signal(number)
        code, self.running = self.running.wait(timeout=WAIT_S), None
        errors = self.said.read_text()
        assert code == (0 if number == signal.SIGTERM else -number), errors
        return errors

    def close(self) -> None:
        if self.running is not None:
            self.running.kill()
            self.running.wait()
            print(self.said.read_text())
        self.target.close()
        self.cloud.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.cloud.start()
    yield stage
    stage.close()


def followed(stage: Stage, **more: list[str]) -> Sender:
    """The process has begun, and a node has told its roster."""
    stage.configured(**more)
    stage.start()
    until(stage.bookmark)
    sender = Sender()
    stage.cloud.push(sender.batch(roster()))
    return sender


def test_what_is_taken_is_signed_and_told_once_and_in_order(stage: Stage) -> None:
    sender = followed(stage, types=["reading"])
    for n in (3, 40, 120):
        assert stage.cloud.push(sender.batch(columns(n=n)))[0] == 200
    until(lambda: len(stage.target.taken) == 163)
    with stage.cloud.feed(after="0", type="reading") as feed:
        assert [sent["data"] for sent in feed.take(163)] == stage.target.taken
    for heads, body in stage.target.requests:
        assert heads["content-type"] == "application/cloudevents-batch+json"
        assert len(json.loads(body)) <= 100
        signed = f"{heads['webhook-id']}.{heads['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.digest(b"k" * 32, signed, hashlib.sha256)).decode()
        assert heads["webhook-signature"] == f"v1,{mac}"
        assert abs(int(heads["webhook-timestamp"]) - time.time()) < WAIT_S
        assert "authorization" not in heads
    until(lambda: len(stage.bookmark()) > 0)
    assert "1 webhooks" in stage.end()


def test_what_was_refused_comes_again_and_a_kill_loses_nothing(stage: Stage) -> None:
    stage.target.answers = [(500, {}), (503, {"Retry-After": "1"}), (302, {"Location": stage.target.url}), (429, {})]
    sender = followed(stage, types=["reading"])
    stage.cloud.push(sender.batch(columns(n=2)))
    until(lambda: len(stage.target.taken) == 2)
    assert len({json.loads(body)[0]["id"] for _, body in stage.target.requests}) == 1
    cursor = stage.bookmark
    until(lambda: cursor().count("."))
    stage.end(signal.SIGKILL)
    stage.cloud.push(sender.batch(columns(n=5)))
    stage.cloud.stop(signal.SIGKILL)
    stage.start()  # while there is no feed
    until(lambda: "the feed: ConnectError" in stage.said.read_text())
    stage.end()
    stage.cloud.start()
    stage.configured(types=["reading"])  # it has another port now
    stage.start()
    until(lambda: len({event["id"] for event in stage.target.taken}) == 7)
    assert [e["id"] for e in stage.target.taken[-5:]] == sorted((e["id"] for e in stage.target.taken[-5:]), key=_seq)


def _seq(name: str) -> int:
    return int(name.rpartition("/")[2])


def test_who_wants_nothing_more_is_sent_nothing_more(stage: Stage) -> None:
    stage.target.answers = [(410, {})]
    sender = followed(stage, types=["reading"])
    for _ in range(3):
        stage.cloud.push(sender.batch(columns(n=1)))
    until(lambda: stage.target.requests)
    errors = stage.end()
    assert "410 Gone; nothing more is sent" in errors
    assert len(stage.target.requests) == 1


def test_what_the_feed_has_lost_is_told(stage: Stage) -> None:
    """A cursor of a generation that there never was."""
    stage.configured()
    (stage.directory / "bookmarks").mkdir()
    (stage.directory / "bookmarks/one.json").write_text(json.dumps({"cursor": "7.1", "url": stage.target.url}))
    stage.cloud.push(Sender().batch(roster()))
    stage.start()
    until(lambda: len(stage.target.taken) == 2)
    assert [event["type"] for event in stage.target.taken] == ["city.lamplighter.reset", "city.lamplighter.roster"]
    assert stage.target.taken[0]["data"]["missed_after"] == "7.1"


def test_a_ping_says_whether_it_was_taken(stage: Stage) -> None:
    stage.configured()
    done = subprocess.run(stage.command("--ping"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "one: taken\n")
    assert stage.target.taken[0]["type"] == "city.lamplighter.ping"
    stage.target.answers = [(403, {})]
    done = subprocess.run(stage.command("--ping"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "one: it answers 403: said\n")
    stage.configured(areas=["nowhere"])
    done = subprocess.run(stage.command("--ping"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "one: the feed answers 404" in done.stdout
    (stage.directory / "secret").write_text("none")
    done = subprocess.run(stage.command("--ping"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make one with (printf whsec_" in done.stderr
    assert not (stage.directory / "bookmarks/one.json").exists()


def test_a_disk_that_takes_no_bookmark_is_told_as_that_and_ends_nothing(stage: Stage) -> None:
    sender = followed(stage, types=["reading"])
    place = stage.directory / "bookmarks"
    shutil.rmtree(place)
    place.touch()
    stage.cloud.push(sender.batch(columns(n=1)))
    until(lambda: "its bookmark cannot be kept" in stage.said.read_text())
    assert "the feed: " not in stage.said.read_text()
    place.unlink()
    place.mkdir()
    stage.cloud.push(sender.batch(columns(n=1)))
    until(stage.bookmark)
    until(lambda: len({event["id"] for event in stage.target.taken}) == 2)
    stage.end()
