"""Rebuild: what it holds in memory is bounded, also where nothing is left of a table but the log."""

from __future__ import annotations

import random
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from cloud.sqlite.rebuild import rebuild
from cloud.sqlite.salvage import COPIED
from cloud.store import opened, silent
from support.cloud_batches import Sender, Ticking, columns, send

BODY_BYTES = 10_000
RECORDS = 5 * COPIED


@pytest.mark.slow
async def test_the_names_of_streams_are_found_in_a_log_that_does_not_fit_into_memory(tmp_path: Path) -> None:
    now = Ticking()
    node = Sender()
    async with opened(tmp_path, now) as store:
        await send(store.log, node.batch(columns()))
        last = await send(store.log, node.batch(columns()))
    rng = random.Random(1)
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO log SELECT max(position) + 1, max(stream_no), max(received_us), ? FROM log",
            ((rng.randbytes(BODY_BYTES),) for _ in range(RECORDS)),
        )
        connection.execute("DELETE FROM streams")
    tracemalloc.start()
    try:
        told = rebuild(tmp_path, silent)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(told.positions) == RECORDS
    assert peak < RECORDS * BODY_BYTES / 2
    async with opened(tmp_path, now) as store:
        assert await store.views.names() == ["cab-1"]
        assert (await store.log.place("cab-1", last.place.epoch, last.place.lane)).through_seq == last.place.through_seq
