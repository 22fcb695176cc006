"""What nobody has expected: a problem for the one who asked, one traceback in the log, and the server goes on."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest

from cloud.app import application
from cloud.metrics import Metrics
from cloud.sqlite.tokens import tokens_of
from cloud.store import opened
from support.cloud_batches import Ticking


async def test_a_fault_of_ours_is_a_problem_and_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, metrics = Ticking(), Metrics()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret of ours")

    async with opened(tmp_path, now) as store:
        with tokens_of(tmp_path) as tokens:
            monkeypatch.setattr("cloud.sqlite.views.SqliteViews.node", broken)
            app = application(store, tokens, metrics, now)
            headers = {"Authorization": f"Bearer {tokens.create('reader', None, '', 1)}"}
            transport = httpx.ASGITransport(app=app.asgi)  # raises what the application raises
            async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
                with caplog.at_level(logging.ERROR):
                    answer = await client.get("/v1/nodes/cab-1")
                assert (await client.get("/v1/nodes")).status_code == 200
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["type"] == "urn:lamplighter:problem:internal"
    assert "secret" not in answer.text
    assert len(caplog.records) == 1
    assert "ZeroDivisionError" in caplog.text
    assert b"lamplighter_errors_total 1.0" in metrics.text()
