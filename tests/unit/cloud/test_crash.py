"""The named points do nothing unless the environment asks, and count down when it does."""

from __future__ import annotations

import os
import signal

import pytest

from cloud import crash


def test_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("killed"))
    crash.from_environment({})("ingest.before_commit")


def test_the_third_time(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: killed.append(number))
    reached = crash.from_environment({crash.VARIABLE: "ingest.after_commit:3"})
    for _ in range(2):
        reached("ingest.after_commit")
        reached("ingest.before_commit")
    assert not killed
    reached("ingest.after_commit")
    assert killed == [signal.SIGKILL]
