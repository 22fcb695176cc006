"""The aggregator from waiting to serving: what it is told then is heard, what fails then ends it, systemd knows."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cloud_process import Process

GARBAGE = b"no database" * 1_000


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    found = Process(tmp_path)
    found.data.mkdir()
    (found.data / "store.db").write_bytes(GARBAGE)
    yield found
    found.close()


def until_it_waits(cloud: Process) -> subprocess.Popen[bytes]:
    assert cloud.running is not None
    assert cloud.running.stderr is not None
    assert any(b"waiting at" in line for line in cloud.running.stderr), "it has ended"
    return cloud.running


def has_two_of_a_socket(pid: int) -> bool:
    """Whether the listener is there twice, as it is while something else is served at it."""
    found: Counter[str] = Counter()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[str(each.readlink())] += 1
        except FileNotFoundError:
            continue
    return any(many > 1 and name.startswith("socket:") for name, many in found.items())


def test_a_certificate_that_is_none_ends_it_also_while_the_store_cannot_be_opened(cloud: Process) -> None:
    for name in ("cert", "key"):
        (cloud.directory / name).write_text("none")
        (cloud.directory / name).chmod(0o600)
    options = ["--tls-cert", str(cloud.directory / "cert"), "--tls-key", str(cloud.directory / "key")]
    cloud.start(*options, wait=False)
    assert cloud.running is not None
    assert cloud.running.wait(20) != 0
    assert "PEM" in cloud.stop()[1]


def test_told_to_end_while_it_begins_to_serve_it_ends(cloud: Process) -> None:
    cloud.start(wait=False)
    running = until_it_waits(cloud)
    assert has_two_of_a_socket(running.pid)
    (cloud.data / "store.db").unlink()
    while has_two_of_a_socket(running.pid):
        assert running.poll() is None
        time.sleep(0.001)
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 0


def test_systemd_is_told_what_it_does_now(cloud: Process) -> None:
    path = cloud.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.settimeout(20)
        cloud.start(wait=False, NOTIFY_SOCKET=str(path))
        until_it_waits(cloud)
        assert heard.recv(1_000).decode().startswith("READY=1\nSTATUS=waiting: the store is damaged")
        (cloud.data / "store.db").unlink()
        assert heard.recv(1_000).decode().startswith("READY=1\nSTATUS=serving http://127.0.0.1:")
        assert cloud.stop()[0] == 0
        assert heard.recv(1_000) == b"STOPPING=1"


DEAF = """
import asyncio, os, pathlib, socket, sys
import uvloop
from cloud import crash, server

def listeners():
    for each in os.listdir("/proc/self/fd"):
        try:
            one = socket.socket(fileno=os.dup(int(each)))
        except OSError:
            continue
        with one:
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield one

async def main(directory):
    going = asyncio.ensure_future(server.run(server.Options(data=directory, port=0), crash.never))
    while not [one.shutdown(socket.SHUT_RDWR) for one in listeners()] and not going.done():
        await asyncio.sleep(0.01)
    await going

uvloop.run(main(pathlib.Path(sys.argv[1])))
"""


@pytest.mark.parametrize("opens", [True, False])
def test_where_no_connection_can_be_taken_any_more_it_ends(cloud: Process, opens: bool) -> None:
    """systemd starts it again; one that lives on and hears nobody would feed its watchdog for ever."""
    if opens:
        (cloud.data / "store.db").unlink()
    done = subprocess.run(
        [sys.executable, "-c", DEAF, str(cloud.data)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "Invalid argument" in done.stderr
