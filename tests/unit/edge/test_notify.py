"""The notify socket: whatever has become of it, the node goes on, does not wait, and does not fill its journal."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge.notify import notify, watchdog_s


def test_one_that_is_gone_or_full_is_logged_once_until_it_hears_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    for _ in range(3):
        notify("WATCHDOG=1")
    assert len(caplog.records) == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(path)
        for _ in range(2_000):
            notify("READY=1")
        assert len(caplog.records) == 2
        assert heard.recv(100) == b"READY=1"


@pytest.mark.parametrize(("us", "want_s"), [("200000", 0.1), ("30000000", 15.0), ("0", None), ("", None), ("x", None)])
def test_the_watchdog_is_patted_twice_as_often_as_asked(
    monkeypatch: pytest.MonkeyPatch, us: str, want_s: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", us)
    assert watchdog_s() == want_s
