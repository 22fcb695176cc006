"""What goes on beside the requests goes on whatever of the files is damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from cloud import app
from cloud.metrics import Metrics
from cloud.sqlite.tokens import CHECK_S, TOKENS, SqliteTokens
from cloud.store import Store, opened
from support.cloud_batches import Sender, Ticking, send
from wire.batch import Lane
from wire.entries import Health


async def nothing_to_compact() -> bool:
    return False


def standing(store: Store) -> set[str]:
    return {seen.id for seen in store.alarms.standing() if seen.state != "cleared"}


async def until(holds: Callable[[], bool], tending: asyncio.Task[None]) -> None:
    while not holds():
        await asyncio.sleep(0)
        assert not tending.done(), "it goes on"


async def test_with_damaged_tokens_silence_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for period in ("SILENCE_S", "FOLD_S", "TROUBLE_S", "END_S", "PRUNE_S"):
        monkeypatch.setattr(app, period, 0)
    now, seconds = Ticking(), count(step=2 * CHECK_S)
    async with opened(tmp_path, now) as store:
        with closing(SqliteTokens(tmp_path, lambda: next(seconds), now)) as tokens:
            tokens.create("node", "cab-1", "", now())
            conditions = app.application(store, tokens, Metrics(), now).conditions
            health = Health(time_us=now(), verdict="ok", interval_s=0.1)
            await send(store.log, Sender().batch(health, lane=Lane.URGENT))
            async with asyncio.TaskGroup() as tasks:
                tending = tasks.create_task(app.tend(store, now, nothing_to_compact, conditions))
                await asyncio.sleep(0)
                (tmp_path / TOKENS).write_bytes(b"\xff" * 8192)
                await until(lambda: "the tokens could not be looked through" in caplog.text, tending)
                now.tick(1)  # no more, or the clock was set
                await until(lambda: "aggregator:silent:cab-1" in standing(store), tending)
                tending.cancel()
