"""The notify socket: whatever has become of it, the program goes on and does not wait."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from groundwork.systemd import Notify


def listener(path: str) -> socket.socket:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(path)
    return heard


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_told_arrives(tmp_path: Path, abstract: bool) -> None:
    name = f"lamplighter-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with listener(f"\0{name}" if abstract else name) as heard:
        Notify({"NOTIFY_SOCKET": f"@{name}" if abstract else name}).tell("READY=1")
        assert heard.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "{}/gone", "{}/" + "long" * 50, "{}", "@", "\0"])
def test_a_socket_that_is_not_there_ends_nothing_and_is_logged_once(
    tmp_path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    notify = Notify({"NOTIFY_SOCKET": address.format(tmp_path), "WATCHDOG_USEC": "1000000"})
    for _ in range(3):
        notify.tell("WATCHDOG=1")
    assert len(caplog.records) == (1 if address else 0)


def test_a_full_one_is_not_waited_for_and_told_again_when_it_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "notify")
    with listener(path) as heard:
        notify = Notify({"NOTIFY_SOCKET": path})
        for _ in range(2_000):  # the kernel keeps some hundred; a blocking one would stay here
            notify.tell("WATCHDOG=1")
        assert len(caplog.records) == 1
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            while heard.recv(100):
                pass
        notify.tell("STOPPING=1")
        assert heard.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize(("us", "want_s"), [("200000", 0.1), ("30000000", 15.0), ("0", None), ("", None), ("x", None)])
def test_the_watchdog_is_fed_twice_as_often_as_asked(us: str, want_s: float | None) -> None:
    assert Notify({"WATCHDOG_USEC": us}).watchdog_s == want_s
