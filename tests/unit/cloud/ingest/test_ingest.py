"""No body is opened on the event loop, however small: what it expands to is known only afterwards."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from cloud.app import application
from cloud.ingest.ingest import BATCH_TYPE, SNAPSHOT_TYPE
from cloud.metrics import Metrics
from cloud.sqlite.tokens import tokens_of
from cloud.store import opened
from support.cloud_batches import Sender, Ticking, columns
from wire import codec
from wire.batch import Snapshot


async def test_no_body_is_opened_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Ticking()
    threads: list[int] = []

    def decode_batch(body: bytes) -> object:
        threads.append(threading.get_ident())
        return codec.decode_batch(body)

    def decode_snapshot(body: bytes) -> object:
        threads.append(threading.get_ident())
        return codec.decode_snapshot(body)

    monkeypatch.setattr("cloud.ingest.opening.decode_batch", decode_batch)
    monkeypatch.setattr("cloud.ingest.opening.decode_snapshot", decode_snapshot)
    run = columns(n=1)
    async with opened(tmp_path, now) as store:
        with tokens_of(tmp_path) as tokens:
            transport = httpx.ASGITransport(app=application(store, tokens, Metrics(), now).asgi)
            headers = {"Authorization": f"Bearer {tokens.create('node', 'cab-1', '', 1)}"}
            async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
                for path, media_type, body, status in (
                    ("batches", BATCH_TYPE, codec.encode_batch(Sender().batch(run)), 200),
                    ("snapshot", SNAPSHOT_TYPE, codec.encode_snapshot(Snapshot(node="cab-1", columns=[run])), 204),
                ):
                    answer = await client.post(
                        f"/v1/nodes/cab-1/{path}", content=body, headers={"Content-Type": media_type}
                    )
                    assert answer.status_code == status
    assert len(threads) == 2
    assert threading.get_ident() not in threads
