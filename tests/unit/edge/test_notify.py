"""The notify socket: whatever has become of it, the node goes on, does not wait, and does not fill its journal."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge.notify import notify


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
